#include "sql/lex.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

enum {
	SPACE = 1,
	START = 2, /* begins a word */
	DIGIT = 4,
	OPER = 8,
	SELF = 16,     /* stands for itself */
	INTERJECT = 32 /* an operator with one of these may end in + or - */
};

/* clang-format off */
static const uint8_t cls[256] = {
	[' '] = SPACE, ['\t'] = SPACE, ['\n'] = SPACE, ['\r'] = SPACE, ['\f'] = SPACE, ['\v'] = SPACE,
	['0'] = DIGIT, ['1'] = DIGIT, ['2'] = DIGIT, ['3'] = DIGIT, ['4'] = DIGIT,
	['5'] = DIGIT, ['6'] = DIGIT, ['7'] = DIGIT, ['8'] = DIGIT, ['9'] = DIGIT,
	['a' ... 'z'] = START, ['A' ... 'Z'] = START, ['_'] = START, [128 ... 255] = START,
	['~'] = OPER | INTERJECT, ['!'] = OPER | INTERJECT, ['@'] = OPER | INTERJECT,
	['#'] = OPER | INTERJECT, ['^'] = OPER | INTERJECT, ['&'] = OPER | INTERJECT,
	['|'] = OPER | INTERJECT, ['`'] = OPER | INTERJECT, ['?'] = OPER | INTERJECT,
	['%'] = OPER | INTERJECT,
	['+'] = OPER, ['-'] = OPER, ['*'] = OPER, ['/'] = OPER,
	['<'] = OPER, ['>'] = OPER, ['='] = OPER,
	[','] = SELF, ['('] = SELF, [')'] = SELF, ['['] = SELF, [']'] = SELF, ['.'] = SELF,
	[';'] = SELF, [':'] = SELF,
};
/* clang-format on */

static bool is(char c, int what)
{
	return (cls[(uint8_t)c] & what) != 0;
}

static bool word_part(char c)
{
	return is(c, START | DIGIT) || c == '$';
}

enum herd_sql_bytes herd_sql_bytes_of(const char *encoding)
{
	static const char *const two[] = { "BIG5",       "WIN950",     "WINDOWS950", "GBK",
					   "WIN936",     "WINDOWS936", "UHC",        "WIN949",
					   "WINDOWS949", "JOHAB",      "GB18030" };
	static const char *const sjis[] = { "SJIS",   "MSKANJI",    "SHIFTJIS",
					    "WIN932", "WINDOWS932", "SHIFTJIS2004" };
	char flat[24];
	size_t n = 0;

	/* Asked for every statement, and nearly always this. */
	if (!encoding || strcmp(encoding, "UTF8") == 0)
		return HERD_SQL_SAFE;
	/* The server compares letters and digits only. */
	for (; encoding && *encoding && n + 1 < sizeof(flat); encoding++) {
		if (is(*encoding, START | DIGIT) && *encoding != '_')
			flat[n++] = *encoding;
	}
	flat[n] = '\0';
	for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++) {
		if (strcasecmp(flat, two[i]) == 0)
			return HERD_SQL_DOUBLE;
	}
	for (size_t i = 0; i < sizeof(sjis) / sizeof(sjis[0]); i++) {
		if (strcasecmp(flat, sjis[i]) == 0)
			return HERD_SQL_SJIS;
	}
	return HERD_SQL_SAFE;
}

struct herd_sql_lex herd_sql_lex_init(const char *text, size_t n, bool backslash,
				      enum herd_sql_bytes bytes)
{
	const char *nul = n > 0 ? memchr(text, 0, n) : NULL;

	return (struct herd_sql_lex){
		.p = text, .end = nul ? nul : text + n, .backslash = backslash, .bytes = bytes
	};
}

static char peek(const struct herd_sql_lex *l, size_t ahead)
{
	return (size_t)(l->end - l->p) > ahead ? l->p[ahead] : '\0';
}

/* How many bytes the character at l->p has, as far as it matters for what follows. */
static size_t width(const struct herd_sql_lex *l)
{
	uint8_t c = (uint8_t)*l->p;

	if (l->bytes == HERD_SQL_SAFE || c < 0x80 || l->end - l->p < 2)
		return 1;
	if (l->bytes == HERD_SQL_SJIS && c >= 0xa1 && c <= 0xdf)
		return 1;
	/* A four-byte character of GB18030 is two pairs, the second of which begins like the first.
	 */
	return 2;
}

static void skip_line(struct herd_sql_lex *l)
{
	while (l->p < l->end && *l->p != '\n' && *l->p != '\r')
		l->p += width(l);
}

/* At the slash. False: it is never closed. */
static bool skip_comment(struct herd_sql_lex *l)
{
	int depth = 0;

	while (l->p < l->end) {
		if (*l->p == '/' && peek(l, 1) == '*') {
			depth++;
			l->p += 2;
		} else if (*l->p == '*' && peek(l, 1) == '/') {
			l->p += 2;
			if (--depth == 0)
				return true;
		} else {
			l->p += width(l);
		}
	}
	return false;
}

/* White space and comments. Where a comment begins that is not closed, or NULL. */
static const char *skip_blank(struct herd_sql_lex *l)
{
	while (l->p < l->end) {
		const char *start = l->p;

		if (is(*l->p, SPACE)) {
			l->p++;
		} else if (*l->p == '-' && peek(l, 1) == '-') {
			skip_line(l);
		} else if (*l->p == '/' && peek(l, 1) == '*') {
			if (!skip_comment(l))
				return start;
		} else {
			break;
		}
	}
	return NULL;
}

/* At the opening quote; moves behind the closing one. Doubled quotes are part of the text. */
static bool skip_quoted(struct herd_sql_lex *l, char quote, bool escapes)
{
	l->p++;
	while (l->p < l->end) {
		if (*l->p == '\\' && escapes) {
			l->p++;
			if (l->p < l->end)
				l->p += width(l);
		} else if (*l->p == quote && peek(l, 1) == quote) {
			l->p += 2;
		} else if (*l->p == quote) {
			l->p++;
			return true;
		} else {
			l->p += width(l);
		}
	}
	return false;
}

/*
 * Behind a string: does it go on after a line end? Then l->p moves to the next quote. Only line
 * comments may stand between, and each must end in a line end itself.
 */
static bool continues(struct herd_sql_lex *l)
{
	const char *start = l->p;
	bool newline = false;

	while (l->p < l->end) {
		if (is(*l->p, SPACE)) {
			newline = newline || *l->p == '\n' || *l->p == '\r';
			l->p++;
		} else if (*l->p == '-' && peek(l, 1) == '-') {
			skip_line(l);
			if (l->p == l->end)
				break;
			newline = true;
		} else {
			break;
		}
	}
	if (newline && l->p < l->end && *l->p == '\'')
		return true;
	l->p = start;
	return false;
}

/* prefix bytes stand before the quote. */
static enum herd_sql_kind string(struct herd_sql_lex *l, struct herd_sql_token *t, size_t prefix,
				 bool escapes)
{
	l->p += prefix;
	t->escapes = escapes;
	do {
		if (!skip_quoted(l, '\'', escapes))
			return HERD_SQL_BAD;
	} while (continues(l));
	return HERD_SQL_STRING;
}

/* At a dollar: a string, a parameter, or nothing that the server knows. */
static enum herd_sql_kind dollar(struct herd_sql_lex *l)
{
	const char *start = l->p, *tag = l->p + 1;

	if (is(peek(l, 1), DIGIT)) {
		for (l->p++; l->p < l->end && is(*l->p, DIGIT);)
			l->p++;
		return HERD_SQL_PARAM;
	}
	if (tag < l->end && is(*tag, START)) {
		while (tag < l->end && is(*tag, START | DIGIT))
			tag++;
	}
	if (tag == l->end || *tag != '$') {
		l->p++;
		return HERD_SQL_BAD;
	}
	size_t n = (size_t)(tag + 1 - start);

	for (l->p = tag + 1; (size_t)(l->end - l->p) >= n;) {
		if (*l->p == '$' && memcmp(l->p, start, n) == 0) {
			l->p += n;
			return HERD_SQL_STRING;
		}
		l->p += width(l);
	}
	l->p = l->end;
	return HERD_SQL_BAD;
}

static void skip_digits(struct herd_sql_lex *l, int base)
{
	for (; l->p < l->end; l->p++) {
		char c = *l->p;
		bool hex = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');

		if (c == '_' ? !(is(peek(l, 1), DIGIT) || base == 16)
			     : !(is(c, DIGIT) || (base == 16 && hex)))
			return;
	}
}

/* Numbers as of PostgreSQL 16; what earlier ones read differently they do not accept or is a name.
 */
static void number(struct herd_sql_lex *l)
{
	char second = (char)(peek(l, 1) | 0x20);

	if (*l->p == '0' && (second == 'x' || second == 'o' || second == 'b')) {
		l->p += 2;
		skip_digits(l, second == 'x' ? 16 : 10);
		return;
	}
	skip_digits(l, 10);
	/* "1..2" is a range of PL/pgSQL */
	if (peek(l, 0) == '.' && peek(l, 1) != '.') {
		l->p++;
		skip_digits(l, 10);
	}
	if ((peek(l, 0) | 0x20) == 'e') {
		size_t sign = peek(l, 1) == '+' || peek(l, 1) == '-';

		if (is(peek(l, 1 + sign), DIGIT)) {
			l->p += 1 + sign;
			skip_digits(l, 10);
		}
	}
}

static void operator_(struct herd_sql_lex *l)
{
	const char *start = l->p;
	bool may_end_in_sign = false;

	while (l->p < l->end && is(*l->p, OPER)) {
		/* A comment begins within: the operator ends before. */
		if (l->p > start &&
		    ((*l->p == '-' && peek(l, 1) == '-') || (*l->p == '/' && peek(l, 1) == '*')))
			break;
		may_end_in_sign = may_end_in_sign || is(*l->p, INTERJECT);
		l->p++;
	}
	while (!may_end_in_sign && l->p - start > 1 && (l->p[-1] == '+' || l->p[-1] == '-'))
		l->p--;
}

static enum herd_sql_kind punct(struct herd_sql_lex *l)
{
	char c = *l->p, next = peek(l, 1);

	if ((c == ':' && (next == ':' || next == '=')) || (c == '.' && next == '.')) {
		l->p += 2;
		return HERD_SQL_OP;
	}
	l->p++;
	return HERD_SQL_PUNCT;
}

/* A word, or a string or quoted identifier with a letter before it. */
static enum herd_sql_kind word(struct herd_sql_lex *l, struct herd_sql_token *t)
{
	char next = peek(l, 1);

	if (next == '\'') {
		switch (*l->p | 0x20) {
		case 'e':
			return string(l, t, 1, true);
		case 'b':
		case 'x':
			return string(l, t, 1, false);
		case 'n':
			return string(l, t, 1, l->backslash);
		default:
			break;
		}
	} else if (next == '&' && (*l->p | 0x20) == 'u') {
		if (peek(l, 2) == '\'')
			return string(l, t, 2, false);
		if (peek(l, 2) == '"') {
			l->p += 2;
			return skip_quoted(l, '"', false) ? HERD_SQL_QUOTED : HERD_SQL_BAD;
		}
	}
	while (l->p < l->end && word_part(*l->p))
		l->p += width(l);
	return HERD_SQL_WORD;
}

enum herd_sql_kind herd_sql_next(struct herd_sql_lex *l, struct herd_sql_token *ret)
{
	const char *open = skip_blank(l);

	*ret = (struct herd_sql_token){ .p = open ? open : l->p };
	if (open) {
		ret->kind = HERD_SQL_BAD;
	} else if (l->p == l->end) {
		ret->kind = HERD_SQL_END;
	} else if (is(*l->p, START)) {
		ret->kind = word(l, ret);
	} else if (is(*l->p, DIGIT) || (*l->p == '.' && is(peek(l, 1), DIGIT))) {
		number(l);
		ret->kind = HERD_SQL_NUMBER;
	} else if (*l->p == '\'') {
		ret->kind = string(l, ret, 0, l->backslash);
	} else if (*l->p == '"') {
		ret->kind = skip_quoted(l, '"', false) ? HERD_SQL_QUOTED : HERD_SQL_BAD;
	} else if (*l->p == '$') {
		ret->kind = dollar(l);
	} else if (is(*l->p, SELF)) {
		ret->kind = punct(l);
	} else if (is(*l->p, OPER)) {
		operator_(l);
		ret->kind = HERD_SQL_OP;
	} else {
		l->p++;
		ret->kind = HERD_SQL_BAD;
	}
	ret->len = (size_t)(l->p - ret->p);
	if (ret->len == 1 && (ret->kind == HERD_SQL_PUNCT || ret->kind == HERD_SQL_OP))
		ret->punct = *ret->p;
	return ret->kind;
}

bool herd_sql_is(const struct herd_sql_token *t, const char *w)
{
	if (t->kind != HERD_SQL_WORD || (*t->p | 0x20) != *w)
		return false;
	for (size_t i = 1; i < t->len; i++) {
		char c = t->p[i];

		if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != w[i])
			return false;
	}
	return w[t->len] == '\0';
}

bool herd_sql_names(const struct herd_sql_token *t, const char *name)
{
	if (t->kind == HERD_SQL_WORD)
		return herd_sql_is(t, name);
	return t->kind == HERD_SQL_QUOTED && *t->p == '"' && t->len == strlen(name) + 2 &&
	       memcmp(t->p + 1, name, t->len - 2) == 0;
}

bool herd_sql_nest_ends(struct herd_sql_nest *n, const struct herd_sql_token *t)
{
	if (t->kind == HERD_SQL_END ||
	    (herd_sql_punct(t, ';') && n->parens == 0 && n->begins == 0)) {
		*n = (struct herd_sql_nest){ 0 };
		return true;
	}
	if (t->kind == HERD_SQL_PUNCT) {
		n->parens += t->punct == '(';
		n->parens -= t->punct == ')' && n->parens > 0;
		n->words += 8;
		return false;
	}
	/* CREATE [OR REPLACE] FUNCTION or PROCEDURE; word by word */
	if (!n->routine) {
		if (n->words > 3)
			return false;
		n->words++;
		if (n->words == 1 && !herd_sql_is(t, "create"))
			n->words += 8;
		else if (herd_sql_is(t, "function") || herd_sql_is(t, "procedure"))
			n->routine = n->words == 2 || n->words == 4;
		return false;
	}
	if (n->parens > 0)
		return false;
	bool begin = herd_sql_is(t, "begin");

	if (n->begins == 0 && n->begin && herd_sql_is(t, "atomic"))
		n->begins = 1;
	else if (n->begins > 0 && herd_sql_is(t, "case"))
		n->begins++;
	else if (n->begins > 0 && herd_sql_is(t, "end"))
		n->begins--;
	n->begin = begin;
	return false;
}

bool herd_sql_statement(struct herd_sql_lex *l, struct herd_sql_span *ret)
{
	struct herd_sql_nest nest = { 0 };
	struct herd_sql_token t;
	const char *first = NULL, *last = NULL;

	for (;;) {
		herd_sql_next(l, &t);
		bool ends = herd_sql_nest_ends(&nest, &t);

		if (ends && first) {
			*ret = (struct herd_sql_span){ .p = first, .len = (size_t)(last - first) };
			return true;
		}
		if (t.kind == HERD_SQL_END)
			return false;
		if (ends)
			continue;
		if (!first)
			first = t.p;
		last = t.p + t.len;
	}
}
