/*
 * sql/lex.h - PostgreSQL's lexical rules over a text in memory, without copying or allocating.
 *
 * Follows the server's own scanner: nested comments, '' E'' B'' X'' N'' U&'' strings with their
 * continuation over line ends, $tag$ strings, quoted identifiers, operators that end before a
 * comment, parameters. Total: every text gives tokens up to HERD_SQL_END; what the server would
 * refuse (an unclosed string, a stray byte) is HERD_SQL_BAD. A NUL byte ends the text.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum herd_sql_kind {
	HERD_SQL_END = 0,
	HERD_SQL_WORD,   /* keyword or identifier, without quotes */
	HERD_SQL_QUOTED, /* "identifier", U&"identifier": with its quotes */
	HERD_SQL_STRING, /* any string constant: with prefix, quotes and continuations */
	HERD_SQL_NUMBER,
	HERD_SQL_PARAM, /* $1 */
	HERD_SQL_OP,    /* an operator, also := => :: .. */
	HERD_SQL_PUNCT, /* one of , ( ) [ ] . ; : */
	HERD_SQL_BAD
};

struct herd_sql_token {
	enum herd_sql_kind kind;
	char punct;    /* of HERD_SQL_PUNCT, and of an operator of one byte; else 0 */
	bool escapes;  /* of HERD_SQL_STRING: a backslash in it means something */
	const char *p; /* first byte */
	size_t len;
};

/* How bytes from 0x80 on are spelled: in these encodings the byte after one may look like ASCII. */
enum herd_sql_bytes {
	HERD_SQL_SAFE = 0, /* every encoding that a server can have */
	HERD_SQL_DOUBLE,   /* BIG5, GBK, UHC, JOHAB, GB18030 */
	HERD_SQL_SJIS      /* SJIS, SHIFT_JIS_2004 */
};
/* Of a client_encoding; NULL is safe. */
enum herd_sql_bytes herd_sql_bytes_of(const char *encoding);

struct herd_sql_lex {
	const char *p, *end;
	bool backslash; /* standard_conforming_strings is off */
	enum herd_sql_bytes bytes;
};

struct herd_sql_lex herd_sql_lex_init(const char *text, size_t n, bool backslash,
				      enum herd_sql_bytes bytes);
/* The next token, and its kind. */
enum herd_sql_kind herd_sql_next(struct herd_sql_lex *l, struct herd_sql_token *ret);

/* Is it this word (given in lower case), as a keyword: without quotes, in any case? */
bool herd_sql_is(const struct herd_sql_token *t, const char *word);
/* Is it this identifier: a word in any case, or a quoted one that spells it (in lower case)? */
bool herd_sql_names(const struct herd_sql_token *t, const char *name);
static inline bool herd_sql_punct(const struct herd_sql_token *t, char c)
{
	return t->kind == HERD_SQL_PUNCT && t->punct == c;
}

/* One statement of a text: from its first token to the end of its last, without the semicolon. */
struct herd_sql_span {
	const char *p;
	size_t len;
};
/*
 * The next statement that is not empty. False at the end. A semicolon in parentheses (CREATE RULE)
 * or in the body of a routine in standard form (BEGIN ATOMIC ... END) ends none.
 */
bool herd_sql_statement(struct herd_sql_lex *l, struct herd_sql_span *ret);
/* The same for callers that look at the tokens themselves: feed every token. */
struct herd_sql_nest {
	int parens, begins;
	unsigned words; /* seen at the start of the statement */
	bool routine, begin;
};
/* True when t is the semicolon (or the end) behind a statement; the struct starts anew then. */
bool herd_sql_nest_ends(struct herd_sql_nest *n, const struct herd_sql_token *t);
