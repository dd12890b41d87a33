/* libFuzzer: the lexer over any bytes: it ends, moves on, and stays within the text. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

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
		while (herd_sql_statement(&l, &s))
			assert(s.len > 0 && s.p >= text && s.p + s.len <= text + n);
	}
	return 0;
}
