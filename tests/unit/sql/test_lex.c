#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "sql/lex.h"

/* clang-format off */
/* Every token as its kind's letter and text, e.g. "w:select n:1". */
static const struct { const char *text, *want; } rows[] = {
	{ "", "" },
	{ " \t\r\n\f\v ", "" },
	{ "select 1", "w:select n:1" },
	{ "SELECT a.b, \"A\"\"b\" ;", "w:SELECT w:a p:. w:b p:, q:\"A\"\"b\" p:;" },
	{ "-- c\nselect -- d", "w:select" },
	{ "a/* x /* y */ z */b", "w:a w:b" },
	{ "a/* x /* y */ z", "w:a x:/* x /* y */ z" },
	{ "/**/a", "w:a" },
	{ "1-- x\r2", "n:1 n:2" },
	{ "'it''s' x", "s:'it''s' w:x" },
	{ "'a\\' b", "s:'a\\' w:b" },
	{ "E'a\\' b' c", "s:E'a\\' b' w:c" },
	{ "e'\\\\' c", "s:e'\\\\' w:c" },
	{ "'a'\n  'b' c", "s:'a'\n  'b' w:c" },
	{ "'a' 'b'", "s:'a' s:'b'" },
	{ "'a' -- x\n 'b'", "s:'a' -- x\n 'b'" },
	{ "'a'\n-- x\n'b'", "s:'a'\n-- x\n'b'" },
	{ "'a'\n/* x */'b'", "s:'a' s:'b'" },
	{ "E'a'\n'\\' b'", "s:E'a'\n'\\' b'" },
	{ "B'01' x'ff' N'q\\' U&'\\0041' y", "s:B'01' s:x'ff' s:N'q\\' s:U&'\\0041' w:y" },
	{ "u&\"a;b\" uescape '!'", "q:u&\"a;b\" w:uescape s:'!'" },
	{ "u & x", "w:u o:& w:x" },
	{ "'open", "x:'open" },
	{ "\"open", "x:\"open" },
	{ "$$a;'b$$ c", "s:$$a;'b$$ w:c" },
	{ "$x$ $$ $y$ $x$z", "s:$x$ $$ $y$ $x$ w:z" },
	{ "$x$ $", "x:$x$ $" },
	{ "a$$b$$", "w:a$$b$$" },
	{ "$1 $2a", "d:$1 d:$2 w:a" },
	{ "$ 1", "x:$ n:1" },
	{ "$1a$ x $1a$", "d:$1 w:a$ w:x d:$1 w:a$" },
	{ "1.5 .5 5. 1e10 1.e-3 1e 1..2", "n:1.5 n:.5 n:5. n:1e10 n:1.e-3 n:1 w:e n:1 o:.. n:2" },
	{ "0x1F 0b11 0o17 1_000 1_a", "n:0x1F n:0b11 n:0o17 n:1_000 n:1 w:_a" },
	{ "a<=b<>c=>d", "w:a o:<= w:b o:<> w:c o:=> w:d" },
	{ "a=-1", "w:a o:= o:- n:1" },
	{ "a@-1", "w:a o:@- n:1" },
	{ "a+--x\nb", "w:a o:+ w:b" },
	{ "a*/* x */b", "w:a o:* w:b" },
	{ "a::int", "w:a o::: w:int" },
	{ "a:=1", "w:a o::= n:1" },
	{ "x[1:2]", "w:x p:[ n:1 p:: n:2 p:]" },
	{ "\xc3\xa9t\xc3\xa9 = 1", "w:\xc3\xa9t\xc3\xa9 o:= n:1" },
	{ "{", "x:{" },
	{ "\\", "x:\\" },
};

static const struct { const char *text; const char *want[6]; } splits[] = {
	{ "", { NULL } },
	{ " ; ;; -- x\n;", { NULL } },
	{ "select 1", { "select 1" } },
	{ "select 1;", { "select 1" } },
	{ " a ; b -- c\n; /* d */ e /* f */", { "a", "b", "e" } },
	{ "select ';', \";\", $$;$$ ; b", { "select ';', \";\", $$;$$", "b" } },
	{ "create rule r as on insert to t do (select 1; select 2); b",
	  { "create rule r as on insert to t do (select 1; select 2)", "b" } },
	{ "create function f() returns int begin atomic select case when true then 1 end; select 2; end; b",
	  { "create function f() returns int begin atomic select case when true then 1 end; select 2; end", "b" } },
	{ "create or replace procedure p() begin atomic select 1; end; b",
	  { "create or replace procedure p() begin atomic select 1; end", "b" } },
	{ "create function f() language sql as 'x; y'; b",
	  { "create function f() language sql as 'x; y'", "b" } },
	{ "begin; select 1; end", { "begin", "select 1", "end" } },
	{ "create table begin (a int); b", { "create table begin (a int)", "b" } },
	{ "a ) ; b", { "a )", "b" } },
	{ "'open ; b", { "'open ; b" } },
};
/* clang-format on */

static char letter(enum herd_sql_kind k)
{
	return " wqsndopx"[k];
}

static void add(struct herd_buf *b, const struct herd_sql_token *t)
{
	herd_buf_printf(b, "%s%c:", b->len ? " " : "", letter(t->kind));
	herd_buf_add(b, t->p, t->len);
}

static void tokens_are_the_servers(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_buf b = { 0 };
		struct herd_sql_token t;
		struct herd_sql_lex l =
			herd_sql_lex_init(rows[i].text, strlen(rows[i].text), false, HERD_SQL_SAFE);

		while (herd_sql_next(&l, &t) != HERD_SQL_END)
			add(&b, &t);
		assert_string_equal(herd_buf_str(&b), rows[i].want);
		herd_buf_free(&b);
	}
	(void)state;
}

static void statements_are_split(void **state)
{
	for (size_t i = 0; i < sizeof(splits) / sizeof(splits[0]); i++) {
		struct herd_sql_lex l = herd_sql_lex_init(splits[i].text, strlen(splits[i].text),
							  false, HERD_SQL_SAFE);
		struct herd_sql_span s;
		size_t n = 0;

		for (; herd_sql_statement(&l, &s); n++) {
			char text[256];

			assert_non_null(splits[i].want[n]);
			snprintf(text, sizeof(text), "%.*s", (int)s.len, s.p);
			assert_string_equal(text, splits[i].want[n]);
		}
		assert_null(splits[i].want[n]);
	}
	(void)state;
}

static void backslashes_follow_the_setting(void **state)
{
	const char *text = "'a\\' b' c";
	struct herd_sql_lex l = herd_sql_lex_init(text, strlen(text), true, HERD_SQL_SAFE);
	struct herd_sql_token t;

	assert_int_equal(herd_sql_next(&l, &t), HERD_SQL_STRING);
	assert_int_equal(t.len, 7);
	assert_true(t.escapes);
	assert_int_equal(herd_sql_next(&l, &t), HERD_SQL_WORD);
	(void)state;
}

static void second_bytes_are_no_ascii(void **state)
{
	/* 0x95 0x5c is one letter of SJIS, and its second byte looks like a backslash */
	const char *text = "E'\x95\x5c' a";
	struct herd_sql_token t;
	struct herd_sql_lex l =
		herd_sql_lex_init(text, strlen(text), false, herd_sql_bytes_of("Shift_JIS_2004"));

	assert_int_equal(herd_sql_next(&l, &t), HERD_SQL_STRING);
	assert_int_equal(herd_sql_next(&l, &t), HERD_SQL_WORD);
	l = herd_sql_lex_init(text, strlen(text), false, herd_sql_bytes_of("UTF8"));
	assert_int_equal(herd_sql_next(&l, &t), HERD_SQL_BAD);
	/* a single-byte katakana */
	l = herd_sql_lex_init("E'\xb1\\' a'", 9, false, herd_sql_bytes_of("sjis"));
	assert_int_equal(herd_sql_next(&l, &t), HERD_SQL_STRING);
	assert_int_equal(herd_sql_next(&l, &t), HERD_SQL_END);
	assert_int_equal(herd_sql_bytes_of("gb18030"), HERD_SQL_DOUBLE);
	assert_int_equal(herd_sql_bytes_of("BIG5"), HERD_SQL_DOUBLE);
	assert_int_equal(herd_sql_bytes_of("latin1"), HERD_SQL_SAFE);
	assert_int_equal(herd_sql_bytes_of(NULL), HERD_SQL_SAFE);
	(void)state;
}

static void words_are_compared(void **state)
{
	struct herd_sql_token t;
	struct herd_sql_lex l =
		herd_sql_lex_init("SeLeCt \"select\" \"Select\" selec selects", 40, false, 0);

	herd_sql_next(&l, &t);
	assert_true(herd_sql_is(&t, "select"));
	assert_true(herd_sql_names(&t, "select"));
	herd_sql_next(&l, &t);
	assert_false(herd_sql_is(&t, "select"));
	assert_true(herd_sql_names(&t, "select"));
	herd_sql_next(&l, &t);
	assert_false(herd_sql_names(&t, "select"));
	herd_sql_next(&l, &t);
	assert_false(herd_sql_is(&t, "select"));
	herd_sql_next(&l, &t);
	assert_false(herd_sql_is(&t, "select"));
	l = herd_sql_lex_init("a\0b", 3, false, 0);
	assert_int_equal(herd_sql_next(&l, &t), HERD_SQL_WORD);
	assert_int_equal(herd_sql_next(&l, &t), HERD_SQL_END);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens_are_the_servers),
		cmocka_unit_test(statements_are_split),
		cmocka_unit_test(backslashes_follow_the_setting),
		cmocka_unit_test(second_bytes_are_no_ascii),
		cmocka_unit_test(words_are_compared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
