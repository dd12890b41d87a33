#include "sql/normalize.h"

#include <stdlib.h>

/* The highest parameter that the text has itself. */
static int highest_param(struct herd_sql_lex lex)
{
	struct herd_sql_token t;
	int max = 0;

	while (herd_sql_next(&lex, &t) != HERD_SQL_END) {
		int n = 0;

		for (size_t i = 1; t.kind == HERD_SQL_PARAM && i < t.len && n < 100000; i++)
			n = n * 10 + (t.p[i] - '0');
		if (n > max)
			max = n;
	}
	return max;
}

void herd_sql_normalize(struct herd_sql_lex lex, size_t max, struct herd_buf *out)
{
	int param = highest_param(lex);
	size_t from = out->len;
	const char *end = NULL;
	struct herd_sql_token t;

	while (herd_sql_next(&lex, &t) != HERD_SQL_END) {
		if (t.kind == HERD_SQL_BAD || out->len - from + t.len + 16 > max) {
			herd_buf_addstr(out, "...");
			return;
		}
		if (end && t.p > end)
			herd_buf_addc(out, ' ');
		end = t.p + t.len;
		if (t.kind == HERD_SQL_STRING || t.kind == HERD_SQL_NUMBER)
			herd_buf_printf(out, "$%d", ++param);
		else
			herd_buf_add(out, t.p, t.len);
	}
}
