/* libFuzzer: lexer and classifier over any bytes: they end, move on, and stay within the text. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "sql/classify.h"
#include "sql/lex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void tokens(const char *text, size_t n, bool backslash, enum herd_sql_bytes bytes)
{
	struct herd_sql_lex l = herd_sql_lex_init(text, n, backslash, bytes);
	struct herd_sql_token t;
	const char *last = text;

	while (herd_sql_next(&l, &t) != HERD_SQL_END) {
		assert(t.p >= last && t.p + t.len <= text + n);
		assert(t.len > 0);
		last = t.p + t.len;
	}
}

static void classify(const char *text, size_t n, struct herd_sql_dialect d)
{
	struct herd_sql_acts *acts = NULL;

	if (herd_sql_classify(text, n, d, &acts) < 0 || !acts)
		return;
	for (size_t i = 0; i < acts->n; i++)
		assert(acts->act[i].from + acts->act[i].len <= n);
	herd_sql_acts_unref(acts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *text = (const char *)data;
	struct herd_sql_span s;

	if (n == 0)
		return 0;
	for (int bytes = HERD_SQL_SAFE; bytes <= HERD_SQL_SJIS; bytes++) {
		bool backslash = *data & 1;
		struct herd_sql_lex l = herd_sql_lex_init(text, n, backslash, bytes);

		tokens(text, n, backslash, bytes);
		classify(text, n, (struct herd_sql_dialect){ backslash, bytes });
		while (herd_sql_statement(&l, &s))
			assert(s.len > 0 && s.p >= text && s.p + s.len <= text + n);
	}
	return 0;
}
