#include "ingest/lines.h"

#include <ctype.h>

void herd_lines_init(HerdLines *l, CopyFromState cstate)
{
	CopyFormatOptions *opts = &cstate->opts;

	memset(l, 0, sizeof(*l));
	l->csv = opts->csv_mode;
	l->delim = opts->delim[0];
	if (l->csv) {
		l->quote = opts->quote[0];
		l->escape = opts->escape[0] == l->quote ? '\0' : opts->escape[0];
	}
	l->null_print = opts->null_print;
	l->null_len = opts->null_print_len;
	l->eol = cstate->eol_type;
	l->lineno = cstate->cur_lineno;
}

void herd_lines_moved(HerdLines *l)
{
	l->cr = l->special = NULL;
}

/* -- line ends --------------------------------------------------------------------------------- */

static void bad_return(const HerdLines *l)
{
	ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			l->csv ? errmsg("unquoted carriage return found in data")
			       : errmsg("literal carriage return found in data"),
			l->csv ? errhint("Use quoted CSV field to represent carriage return.")
			       : errhint("Use \"\\r\" to represent carriage return.")));
}

static void bad_newline(const HerdLines *l)
{
	ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			l->csv ? errmsg("unquoted newline found in data")
			       : errmsg("literal newline found in data"),
			l->csv ? errhint("Use quoted CSV field to represent newline.")
			       : errhint("Use \"\\n\" to represent newline.")));
}

static void bad_marker(void)
{
	ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			errmsg("end-of-copy marker does not match previous newline style")));
}

/*
 * After "\." at p: 1 when a proper line end (or the end) follows, 0 when not, -1 when that cannot
 * be known yet. In CSV anything else is data.
 */
static int marker_ends(const HerdLines *l, const char *p, const char *end, bool eof)
{
#if PG_VERSION_NUM >= 180000
	if (l->csv)
		return 0;
#endif
	if (p == end && !eof)
		return -1;
	if (p < end && p[0] == '\r' && l->eol != EOL_NL) {
		if (l->eol != EOL_CRNL)
			return 1;
		if (p + 1 == end && !eof)
			return -1;
		if (p + 1 < end && p[1] == '\n')
			return 1;
	} else if (p < end && p[0] == '\n' && l->eol != EOL_CR && l->eol != EOL_CRNL) {
		return 1;
	}
	if (l->csv)
		return 0;
	if (p < end && (p[0] == '\n' || p[0] == '\r'))
		bad_marker();
	ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
#if PG_VERSION_NUM >= 180000
			errmsg("end-of-copy marker is not alone on its line")));
#else
			errmsg("end-of-copy marker corrupt")));
#endif
	return 0;
}

/* The kind of line end at p (a return or newline outside quotes), its length; -1: not known yet. */
static int line_end(HerdLines *l, const char *p, const char *end, bool eof)
{
	if (*p == '\n') {
		if (l->eol == EOL_CR || l->eol == EOL_CRNL)
			bad_newline(l);
		l->eol = EOL_NL;
		return 1;
	}
	if (l->eol == EOL_NL)
		bad_return(l);
	if (l->eol == EOL_CR)
		return 1;
	if (p + 1 == end && !eof)
		return -1;
	if (p + 1 < end && p[1] == '\n') {
		l->eol = EOL_CRNL;
		return 2;
	}
	if (l->eol == EOL_CRNL)
		bad_return(l);
	l->eol = EOL_CR;
	return 1;
}

static HerdLineFound found(HerdLines *l, HerdLine *line, int len, int consumed)
{
	line->len = len;
	line->consumed = consumed;
	l->lineno++;
	return HERD_LINE_ROW;
}

static HerdLineFound ended(HerdLines *l, HerdLine *line, int len)
{
	if (len == 0)
		return HERD_LINE_END;
	return found(l, line, len, len);
}

/* Byte by byte, for lines with quotes, backslashes or returns. */
static HerdLineFound next_carefully(HerdLines *l, const char *data, const char *end, bool eof,
				    HerdLine *line)
{
	bool quoted = false, escaped = false;
	uint64 inner = 0;
	const char *p;

	line->plain = false;
	line->nlines = line->nfirst = 1;
	for (p = data; p < end; p++) {
		char c = *p;

		if (l->csv) {
			if (quoted && l->escape != '\0' && c == l->escape)
				escaped = !escaped;
			if (c == l->quote && !escaped)
				quoted = !quoted;
			if (c != l->escape || l->escape == '\0')
				escaped = false;
			if (quoted && c == (l->eol == EOL_NL ? '\n' : '\r'))
				inner++;
			line->nlines += quoted && c == '\n';
			line->nfirst += quoted && c == '\r';
		}
		if ((c == '\n' || c == '\r') && !quoted) {
			int n = line_end(l, p, end, eof);

			if (n < 0)
				return HERD_LINE_MORE;
			l->lineno += inner;
			return found(l, line, p - data, p - data + n);
		}
		if (c == '\\' && (!l->csv || p == data)) {
			int ends;

			if (p + 1 == end) {
				if (!eof)
					return HERD_LINE_MORE;
				continue;
			}
			ends = p[1] == '.' ? marker_ends(l, p + 2, end, eof) : 0;
			if (ends < 0)
				return HERD_LINE_MORE;
#if PG_VERSION_NUM >= 180000
			if (ends > 0 && p > data)
				ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
						errmsg("end-of-copy marker is not alone on its "
						       "line")));
#endif
			if (ends > 0) {
				HerdLineFound what = ended(l, line, p - data);

				line->consumed = -1; /* nothing may follow */
				return what;
			}
			if (!l->csv)
				p++;
		}
	}
	if (!eof)
		return HERD_LINE_MORE;
	l->lineno += inner;
	return ended(l, line, end - data);
}

static const char *find(const char *p, const char *end, char c)
{
	const char *at = memchr(p, c, end - p);

	return at ? at : end;
}

HerdLineFound herd_lines_next(HerdLines *l, const char *data, int len, bool eof, HerdLine *line)
{
	const char *end = data + len, *eol = find(data, end, '\n');

	line->start = data;
	if (l->cr == NULL || l->cr < data)
		l->cr = find(data, end, '\r');
	if (l->special == NULL || l->special < data)
		l->special = find(data, end, l->csv ? l->quote : '\\');
	if (l->special < eol || (l->csv && len > 0 && *data == '\\') || l->eol == EOL_CR)
		return next_carefully(l, data, end, eof, line);
	if (l->cr < eol && !(l->eol == EOL_CRNL && l->cr == eol - 1 && eol < end))
		return next_carefully(l, data, end, eof, line);
	line->plain = true;
	line->nlines = line->nfirst = 1;
	if (eol == end)
		return eof ? ended(l, line, len) : HERD_LINE_MORE;
	if (l->cr == eol - 1 && l->cr >= data)
		return found(l, line, l->cr - data, eol + 1 - data);
	if (l->eol == EOL_CRNL)
		bad_newline(l);
	l->eol = EOL_NL;
	return found(l, line, eol - data, eol + 1 - data);
}

/* -- fields ------------------------------------------------------------------------------------ */

static int hex_digit(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	return tolower((unsigned char)c) - 'a' + 10;
}

/* What stands behind a backslash at p; returns the place after it. */
static const char *unescape(const char *p, const char *end, StringInfo out)
{
	static const char from[] = "bfnrtv", to[] = "\b\f\n\r\t\v";
	const char *known;
	int value = 0, n = 0;

	if (p == end) {
		appendStringInfoCharMacro(out, '\\');
		return p;
	}
	if (*p >= '0' && *p <= '7') {
		for (; n < 3 && p < end && *p >= '0' && *p <= '7'; n++)
			value = value * 8 + (*p++ - '0');
		appendStringInfoCharMacro(out, value & 0377);
		return p;
	}
	if (*p == 'x' && p + 1 < end && isxdigit((unsigned char)p[1])) {
		for (p++; n < 2 && p < end && isxdigit((unsigned char)*p); n++)
			value = value * 16 + hex_digit(*p++);
		appendStringInfoCharMacro(out, value & 0xff);
		return p;
	}
	known = strchr(from, *p);
	appendStringInfoCharMacro(out, known && *p ? to[known - from] : *p);
	return p + 1;
}

/* The end of a field of the text format: a delimiter that no backslash precedes. */
static const char *text_end(const HerdLines *l, const char *p, const char *end, bool *escapes)
{
	for (*escapes = false; p < end && *p != l->delim; p++) {
		if (*p == '\\') {
			*escapes = true;
			if (++p == end)
				break;
		}
	}
	return p;
}

static int text_field(const HerdLines *l, const HerdLine *line, int number, StringInfo buf,
		      const char **value, int *len, bool *isnull)
{
	const char *p = line->start, *end = p + line->len, *stop;
	bool escapes;

	for (int i = 0;; i++) {
		stop = text_end(l, p, end, &escapes);
		if (i == number)
			break;
		if (stop == end)
			return i + 1;
		p = stop + 1;
	}
	*isnull = stop - p == l->null_len && memcmp(p, l->null_print, l->null_len) == 0;
	*value = p;
	*len = stop - p;
	if (escapes && !*isnull) {
		resetStringInfo(buf);
		while (p < stop) {
			if (*p == '\\')
				p = unescape(p + 1, stop, buf);
			else
				appendStringInfoCharMacro(buf, *p++);
		}
		*value = buf->data;
		*len = buf->len;
	}
	return number + 1;
}

/* One field of CSV into buf; returns its end. */
static const char *csv_unquote(const HerdLines *l, const char *p, const char *end, StringInfo buf,
			       bool *saw_quote)
{
	char escape = l->escape ? l->escape : l->quote;

	resetStringInfo(buf);
	*saw_quote = false;
	while (p < end && *p != l->delim) {
		if (*p != l->quote) {
			appendStringInfoCharMacro(buf, *p++);
			continue;
		}
		*saw_quote = true;
		for (p++;; p++) {
			if (p == end)
				ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
						errmsg("unterminated CSV quoted field")));
			if (*p == escape && p + 1 < end && (p[1] == escape || p[1] == l->quote)) {
				appendStringInfoCharMacro(buf, *++p);
			} else if (*p == l->quote) {
				p++;
				break;
			} else {
				appendStringInfoCharMacro(buf, *p);
			}
		}
	}
	return p;
}

static int csv_field(const HerdLines *l, const HerdLine *line, int number, StringInfo buf,
		     const char **value, int *len, bool *isnull)
{
	const char *p = line->start, *end = p + line->len, *stop;
	bool quoted = false;

	for (int i = 0;; i++) {
		stop = line->plain ? find(p, end, l->delim) : csv_unquote(l, p, end, buf, &quoted);
		if (i == number)
			break;
		if (stop == end)
			return i + 1;
		p = stop + 1;
	}
	*isnull = !quoted && stop - p == l->null_len && memcmp(p, l->null_print, l->null_len) == 0;
	*value = line->plain ? p : buf->data;
	*len = line->plain ? stop - p : buf->len;
	return number + 1;
}

int herd_lines_field(const HerdLines *l, const HerdLine *line, int number, StringInfo buf,
		     const char **value, int *len, bool *isnull)
{
	return (l->csv ? csv_field : text_field)(l, line, number, buf, value, len, isnull);
}

/* -- writing ----------------------------------------------------------------------------------- */

static void append_quoted(const HerdLines *l, StringInfo out, const char *value)
{
	appendStringInfoCharMacro(out, l->quote);
	for (; *value; value++) {
		if (*value == l->quote || (l->escape && *value == l->escape))
			appendStringInfoCharMacro(out, l->escape ? l->escape : l->quote);
		appendStringInfoCharMacro(out, *value);
	}
	appendStringInfoCharMacro(out, l->quote);
}

static void append_escaped(const HerdLines *l, StringInfo out, const char *value)
{
	static const char from[] = "\b\f\n\r\t\v", to[] = "bfnrtv";

	for (; *value; value++) {
		const char *known = strchr(from, *value);

		if (known) {
			appendStringInfoCharMacro(out, '\\');
			appendStringInfoCharMacro(out, to[known - from]);
			continue;
		}
		if (*value == '\\' || *value == l->delim)
			appendStringInfoCharMacro(out, '\\');
		appendStringInfoCharMacro(out, *value);
	}
}

void herd_lines_append(const HerdLines *l, StringInfo out, const char *value)
{
	if (value == NULL)
		appendBinaryStringInfo(out, l->null_print, l->null_len);
	else if (l->csv)
		append_quoted(l, out, value);
	else
		append_escaped(l, out, value);
	appendStringInfoCharMacro(out, l->delim);
}
