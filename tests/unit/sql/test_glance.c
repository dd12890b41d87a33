#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sql/glance.h"

/* clang-format off */
static const struct { const char *text; enum herd_glance_kind kind; enum herd_glance_hint hint; } rows[] = {
	{ "", HERD_GLANCE_EMPTY, 0 },
	{ " ; -- x", HERD_GLANCE_EMPTY, 0 },
	{ "begin", HERD_GLANCE_BEGIN, 0 },
	{ "BEGIN WORK;", HERD_GLANCE_BEGIN, 0 },
	{ "start transaction isolation level repeatable read", HERD_GLANCE_BEGIN, 0 },
	{ "BEGIN READ ONLY", HERD_GLANCE_BEGIN_READ, 0 },
	{ "/* x */ Start Transaction /*y*/ Read -- z\n Only", HERD_GLANCE_BEGIN_READ, 0 },
	{ "begin isolation level repeatable read, read only, not deferrable", HERD_GLANCE_BEGIN_READ, 0 },
	{ "begin isolation level read committed read only", HERD_GLANCE_BEGIN_READ, 0 },
	{ "begin read write", HERD_GLANCE_BEGIN_WRITE, 0 },
	{ "begin read only read write", HERD_GLANCE_BEGIN_WRITE, 0 },
	{ "begin isolation level serializable read only", HERD_GLANCE_BEGIN_WRITE, 0 },
	{ "begin read only nonsense", HERD_GLANCE_BEGIN_WRITE, 0 },
	{ "begin; set transaction read only", HERD_GLANCE_BEGIN_READ, 0 },
	{ "begin; set transaction isolation level repeatable read, read only; select 1", HERD_GLANCE_BEGIN_READ, 0 },
	{ "begin; select 1; set transaction read only", HERD_GLANCE_OTHER, 0 },
	{ "begin; set transaction read only; commit; insert into t values (1)", HERD_GLANCE_OTHER, 0 },
	{ "begin; insert into t values (1)", HERD_GLANCE_OTHER, 0 },
	{ "begin read only; select 1", HERD_GLANCE_BEGIN_READ, 0 },
	{ "begin read only; select 1; commit", HERD_GLANCE_OTHER, 0 },
	{ "begin read only; commit; delete from t", HERD_GLANCE_OTHER, 0 },
	{ "set transaction read only", HERD_GLANCE_SET_READ, 0 },
	{ "set transaction isolation level repeatable read read only", HERD_GLANCE_SET_READ, 0 },
	{ "set transaction isolation level serializable read only", HERD_GLANCE_OTHER, 0 },
	{ "set transaction read write", HERD_GLANCE_OTHER, 0 },
	{ "set transaction snapshot 'x'", HERD_GLANCE_OTHER, 0 },
	{ "set x = 1", HERD_GLANCE_SESSION, 0 },
	{ "show all", HERD_GLANCE_SESSION, 0 },
	{ "commit", HERD_GLANCE_COMMIT, 0 },
	{ "END TRANSACTION;", HERD_GLANCE_COMMIT, 0 },
	{ "commit and chain", HERD_GLANCE_OTHER, 0 },
	{ "commit prepared 'x'", HERD_GLANCE_OTHER, 0 },
	{ "commit; begin", HERD_GLANCE_OTHER, 0 },
	{ "rollback", HERD_GLANCE_ROLLBACK, 0 },
	{ "ABORT WORK", HERD_GLANCE_ROLLBACK, 0 },
	{ "rollback to x", HERD_GLANCE_OTHER, 0 },
	{ "rollback prepared 'x'", HERD_GLANCE_OTHER, 0 },
	{ "select 1", HERD_GLANCE_QUERY, 0 },
	{ "((select 1) union select 2)", HERD_GLANCE_QUERY, 0 },
	{ "with x as (insert into t values (1)) select 1", HERD_GLANCE_QUERY, 0 },
	{ "select 1; select 2", HERD_GLANCE_QUERY, 0 },
	{ "select 1; insert into t values (1)", HERD_GLANCE_OTHER, 0 },
	{ "select ';insert'", HERD_GLANCE_QUERY, 0 },
	{ "insert into t values (1)", HERD_GLANCE_CHANGE, 0 },
	{ "insert into t values (1); select 1", HERD_GLANCE_OTHER, 0 },
	{ "call f()", HERD_GLANCE_OTHER, 0 },
	{ "\"select\"", HERD_GLANCE_OTHER, 0 },
	{ "/*NO LOAD BALANCE*/ select 1", HERD_GLANCE_QUERY, HERD_HINT_PRIMARY },
	{ "/* no load balance */select 1", HERD_GLANCE_QUERY, HERD_HINT_PRIMARY },
	{ "-- pgherd: primary\nbegin read only", HERD_GLANCE_BEGIN_READ, HERD_HINT_PRIMARY },
	{ "/* pgherd: replica */ select f()", HERD_GLANCE_QUERY, HERD_HINT_REPLICA },
	{ "select '/*NO LOAD BALANCE*/'", HERD_GLANCE_QUERY, 0 },
	{ "select 1 /*NO LOAD BALANCE*/", HERD_GLANCE_QUERY, 0 },
};

static const struct { const char *text, *want; } normal[] = {
	{ "select  1", "select ?" },
	{ "select 'a', x from t -- c", "select ? , x from t" },
	{ "select * from t where i in (1, 2,3)", "select * from t where i in ( ? )" },
	{ "select * from t where i in (1)", "select * from t where i in ( ? )" },
	{ "values (1,'a'),(2,'b')", "values ( ? ) , ( ? )" },
	{ "select f(1, x, 2)", "select f ( ? , x , ? )" },
	{ "select \"A\", $1, E'\\''", "select \"A\" , $1 , ?" },
	{ "select 1,", "select ? ," },
	{ "select /* x */ 1/* y */;", "select ? ;" },
};
/* clang-format on */

static void kinds(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_glance g = herd_glance(rows[i].text, strlen(rows[i].text));

		if (g.kind != rows[i].kind || g.hint != rows[i].hint)
			fail_msg("%s: kind %d hint %d", rows[i].text, g.kind, g.hint);
	}
}

static void words(void **state)
{
	static const struct {
		const char *text;
		bool writes, temp;
	} w[] = {
		{ "set x = 1", false, false },
		{ "set default_transaction_read_only = off; insert into t values (1)", true,
		  false },
		{ "set session characteristics as transaction read write", true, false },
		{ "create temp table x (i int)", false, true },
		{ "create table x (temporary_i int)", false, false },
	};

	for (size_t i = 0; i < sizeof(w) / sizeof(w[0]); i++) {
		struct herd_glance g = herd_glance(w[i].text, strlen(w[i].text));

		if (g.writes != w[i].writes || g.temp != w[i].temp)
			fail_msg("%s: writes %d temp %d", w[i].text, g.writes, g.temp);
	}
}

static void normalized(void **state)
{
	for (size_t i = 0; i < sizeof(normal) / sizeof(normal[0]); i++) {
		struct herd_buf b = { 0 };

		assert_true(herd_glance_normalize(normal[i].text, strlen(normal[i].text), &b));
		assert_string_equal(herd_buf_str(&b), normal[i].want);
		herd_buf_free(&b);
	}
	struct herd_buf b = { 0 };

	assert_false(herd_glance_normalize("select 'open", 12, &b));
	herd_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds),
		cmocka_unit_test(words),
		cmocka_unit_test(normalized),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
