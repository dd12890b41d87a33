/* Statements without their data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "sql/normalize.h"

static const struct {
	const char *sql, *want;
} rows[] = {
	{ "select 1", "select $1" },
	{ "  select\n\t a ,b  -- c\n from t ", "select a ,b from t" },
	{ "select $1, 'x', $3, 4.5e3", "select $1, $4, $3, $5" },
	{ "select /* secret 'x' */ E'a\\'b' , $tag$ any 'thing' $tag$", "select $1 , $2" },
	{ "alter role r password 'geheim'", "alter role r password $1" },
	{ "do $$ begin perform 'x'; end $$", "do $1" },
	{ "select \"Odd 'name'\" from t where a=-5 and b in (1,2)",
	  "select \"Odd 'name'\" from t where a=-$1 and b in ($2,$3)" },
	{ "select a from t; select 2", "select a from t; select $1" },
	/* What was cut may be the middle of a secret. */
	{ "select 'unclosed and secret", "select..." },
	{ "select $$unclosed", "select..." },
	{ "", "" },
};

static void statements(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_buf b = { 0 };

		herd_sql_normalize(
			herd_sql_lex_init(rows[i].sql, strlen(rows[i].sql), false, HERD_SQL_SAFE),
			1000, &b);
		assert_string_equal(herd_buf_str(&b), rows[i].want);
		herd_buf_free(&b);
	}
}

static void long_ones_are_cut(void **state)
{
	static const char sql[] =
		"select aaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbb, ccccccccccccccccccc";
	struct herd_buf b = { 0 };

	(void)state;
	herd_sql_normalize(herd_sql_lex_init(sql, strlen(sql), false, HERD_SQL_SAFE), 50, &b);
	assert_string_equal(herd_buf_str(&b), "select aaaaaaaaaaaaaaaa,...");
	herd_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statements),
		cmocka_unit_test(long_ones_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
