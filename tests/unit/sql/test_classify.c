#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "sql/classify.h"
#include "sql/plain.h"

/* clang-format off */
static const char *const kinds[] = {
	[HERD_ACT_SET] = "set", [HERD_ACT_RESET] = "reset", [HERD_ACT_RESET_ALL] = "resetall",
	[HERD_ACT_DISCARD_ALL] = "discard", [HERD_ACT_LISTEN] = "listen",
	[HERD_ACT_UNLISTEN] = "unlisten", [HERD_ACT_NOTIFY] = "notify", [HERD_ACT_COMMIT] = "end",
	[HERD_ACT_SAVEPOINT] = "save", [HERD_ACT_RELEASE] = "release",
	[HERD_ACT_ROLLBACK_TO] = "back", [HERD_ACT_SEQUENCE] = "seq", [HERD_ACT_PIN] = "pin",
	[HERD_ACT_UNPIN] = "unpin", [HERD_ACT_MAYBE] = "maybe", [HERD_ACT_PREPARE] = "prepare",
	[HERD_ACT_DEALLOCATE] = "dealloc",
};

/* Acts as "stmt:kind name {text} pins", joined by "; ". */
static const struct { const char *sql, *want; } rows[] = {
	{ "", "" },
	{ "select 1", "" },
	{ "begin read only", "" },
	{ "insert into t values ('set x to 1; listen a')", "" },
	{ "update t set a = 1 where b = 'x'", "" },
	{ "select * from pg_advisory_lock", "" },
	{ "select pg_advisory_xact_lock(1)", "" },
	{ "select 'pg_advisory_lock(1)', /* pg_advisory_lock(1) */ 2 -- pg_advisory_lock(1)", "" },
	{ "lock table t", "" },
	{ "create table t (a int)", "" },
	/* SET */
	{ "set search_path to a, \"B\"", "0:set search_path {set search_path to a, \"B\"}" },
	{ "SET SESSION Work_Mem = '64MB' ;", "0:set work_mem {SET SESSION Work_Mem = '64MB'}" },
	{ "set a.B.c = 1", "0:set a.b.c {set a.B.c = 1}" },
	{ "set \"Statement_Timeout\" = 1", "0:set statement_timeout {set \"Statement_Timeout\" = 1}" },
	{ "/* x */ set x = 1 -- y", "0:set x {set x = 1}" },
	{ "set x to default", "0:reset x" },
	{ "set local x = 1", "" },
	{ "set transaction isolation level serializable", "" },
	{ "set constraints all deferred", "" },
	{ "set transaction_read_only = on", "" },
	{ "set time zone 'UTC'", "0:set timezone {set time zone 'UTC'}" },
	{ "set session time zone local", "0:reset timezone" },
	{ "set time zone interval '-08:00' hour to minute",
	  "0:set timezone {set time zone interval '-08:00' hour to minute}" },
	{ "set schema 'x'", "0:set search_path {set schema 'x'}" },
	{ "set names 'utf8'", "0:set client_encoding {set names 'utf8'}" },
	{ "set role joe", "0:set role {set role joe}" },
	{ "set role = 'joe'", "0:set role {set role = 'joe'}" },
	{ "set role none", "0:reset role" },
	{ "set role to 'none'", "0:reset role" },
	{ "set session role joe", "0:set role {set session role joe}" },
	{ "set session authorization joe", "0:set session_authorization {set session authorization joe}" },
	{ "set session authorization default", "0:reset session_authorization" },
	{ "set session characteristics as transaction read only",
	  "0:set session characteristics {set session characteristics as transaction read only}" },
	{ "set xml option document", "0:set xmloption {set xml option document}" },
	{ "set seed to 0.5", "0:pin session state" },
	{ "reset x", "0:reset x" },
	{ "reset A.b", "0:reset a.b" },
	{ "reset all", "0:resetall" },
	{ "reset session authorization", "0:reset session_authorization" },
	{ "reset role", "0:reset role" },
	{ "reset time zone", "0:reset timezone" },
	{ "select 1; set x = 1; ; reset y", "1:set x {set x = 1}; 2:reset y" },
	{ "select set_config('A.b', 'it''s', false)",
	  "0:set a.b {SELECT pg_catalog.set_config('A.b', 'it''s', false)}" },
	{ "SELECT pg_catalog.set_config('search_path', '', false);",
	  "0:set search_path {SELECT pg_catalog.set_config('search_path', '', false)}" },
	{ "select set_config('a','b',false), set_config('c','d',false)",
	  "0:set a {SELECT pg_catalog.set_config('a','b',false)}; 0:set c {SELECT pg_catalog.set_config('c','d',false)}" },
	{ "select set_config('a', 'b', true)", "" },
	{ "select set_config('a', x, true), f(y) from t", "" },
	{ "select set_config('a', $1, false)", "0:pin setting" },
	{ "select set_config('a', 'b', false) from t", "0:pin setting" },
	{ "select 1, set_config('a', 'b', false)", "0:pin setting" },
	{ "select set_config('a', 'b', $1)", "0:pin setting" },
	/* DISCARD */
	{ "discard all", "0:discard" },
	{ "discard temp", "0:unpin temporary objects" },
	{ "discard sequences", "0:unpin sequence values" },
	{ "discard plans", "" },
	/* LISTEN */
	{ "listen Chan", "0:listen chan" },
	{ "listen \"Chan \"\"x\"", "0:listen Chan \"x" },
	{ "unlisten chan; unlisten *", "0:unlisten chan; 1:unlisten" },
	{ "notify c, 'x'", "0:notify" },
	{ "select pg_notify('a', 'b')", "0:notify" },
	/* transactions */
	{ "begin; commit", "1:end" },
	{ "end work", "0:end" },
	{ "abort", "0:end" },
	{ "rollback and chain", "0:end" },
	{ "rollback prepared 'x'", "" },
	{ "commit prepared 'x'", "" },
	{ "prepare transaction 'x'", "0:end" },
	{ "savepoint A", "0:save a" },
	{ "release savepoint a", "0:release a" },
	{ "release a", "0:release a" },
	{ "rollback to savepoint a", "0:back a" },
	{ "rollback work to \"A\"", "0:back A" },
	/* what one server alone has */
	{ "prepare p as select 1", "0:prepare p {prepare p as select 1}" },
	{ "select 1; PREPARE \"P x\" (int) AS select $1 -- y\n; select 2",
	  "1:prepare P x {PREPARE \"P x\" (int) AS select $1}" },
	{ "prepare transaction as select 1", "0:prepare transaction {prepare transaction as select 1}" },
	{ "prepare p as select '\\'", "0:pin prepare" },
	{ "prepare p as select '\303\244'", "0:pin prepare" },
	{ "prepare U&\"p\" as select 1", "0:pin prepare" },
	{ "prepare p as select pg_advisory_lock(1)", "0:pin advisory locks, prepare" },
	{ "prepare p as select set_config('a', 'b', false)", "0:pin prepare, setting" },
	{ "prepare p as select lastval()", "0:pin prepare; 0:seq" },
	{ "deallocate p", "0:dealloc p; 0:maybe prepare" },
	{ "deallocate prepare \"P\"", "0:dealloc P; 0:maybe prepare" },
	{ "deallocate prepare", "0:dealloc prepare; 0:maybe prepare" },
	{ "close c", "0:maybe cursor with hold" },
	{ "drop table t", "0:maybe temporary objects" },
	{ "deallocate all", "0:dealloc; 0:unpin prepare" },
	{ "deallocate prepare all", "0:dealloc; 0:unpin prepare" },
	{ "declare c cursor with hold for select 1", "0:pin cursor with hold" },
	{ "declare c scroll cursor without hold for select 1", "" },
	{ "declare c cursor for select 'with hold'", "" },
	{ "close all", "0:unpin cursor with hold" },
	{ "create temp table t (a int)", "0:pin temporary objects" },
	{ "create local temporary view v as select 1", "0:pin temporary objects" },
	{ "create or replace temp view v as select 1", "0:pin temporary objects" },
	{ "create temp table t (a int) on commit drop", "" },
	{ "create temp table t on commit drop as select 1", "" },
	{ "create temp table t (a int) on commit delete rows", "0:pin temporary objects" },
	{ "select a into temp x from t", "0:pin temporary objects" },
	{ "create table pg_temp.x (a int)", "0:pin temporary objects" },
	{ "create function pg_temp.f() returns int language sql as 'select 1'", "0:pin temporary objects" },
	{ "select temp from weather", "" },
	{ "select pg_advisory_lock(1)", "0:pin advisory locks" },
	{ "SELECT pg_catalog.PG_TRY_ADVISORY_LOCK_SHARED (1, 2)", "0:pin advisory locks; 0:maybe advisory locks" },
	{ "select \"pg_advisory_lock\"(1)", "0:pin advisory locks" },
	{ "with x as (select pg_try_advisory_lock(1)) select * from x", "0:pin advisory locks; 0:maybe advisory locks" },
	{ "explain analyze select pg_advisory_lock(1)", "0:pin advisory locks" },
	{ "select pg_advisory_unlock(1)", "0:maybe advisory locks" },
	{ "select pg_advisory_unlock_all()", "0:unpin advisory locks" },
	{ "load 'x'", "0:pin session state" },
	{ "select setseed(0.1)", "0:pin session state" },
	{ "select lastval()", "0:seq" },
	{ "select currval('s'), nextval('s')", "" },
	{ "insert into t values (1) returning lastval()", "" },
	/* DO */
	{ "do $$begin perform pg_advisory_lock(1); end$$", "0:pin advisory locks" },
	{ "do $x$begin update t set a = 1; set local y = 1; end$x$", "" },
	{ "do language plpgsql $x$begin set y = 1; end$x$", "0:pin setting" },
	{ "do $$begin create temp table x (a int); listen y; end$$", "0:pin temporary objects, listen" },
	/* the words that a quick look must not pass over */
	{ "select \"PG_Advisory_lock\", PG_ADVISORY_LOCK(1);", "0:pin advisory locks" },
	{ "select DBLINK_CONNECT('x')", "0:pin session state" },
	{ "select pg_replication_origin_session_setup('x')", "0:pin session state" },
	{ "select a INTO TEMPORARY x from t", "0:pin temporary objects" },
	{ "insert into PG_TEMP.x values (1)", "0:pin temporary objects" },
	{ "values (LASTVAL())", "0:seq" },
	{ "select CURRVAL('s') ; ", "0:seq" },
	{ "with x as (select 1) select Set_Config('a', 'b', x) from x", "0:pin setting" },
	{ "select SETSEED(1)", "0:pin session state" },
	{ "select PG_NOTIFY('a', 'b')", "0:notify" },
	{ "select now()::timestamp; listen a", "1:listen a" },
	{ "select 1;;", "" },
	{ "select pg_try_advisory_lock(1) -- ;", "0:pin advisory locks; 0:maybe advisory locks" },
	/* several */
	{ "select pg_advisory_lock(1), pg_notify('a','b'); listen x",
	  "0:pin advisory locks; 0:notify; 1:listen x" },
	/* garbage */
	{ "set", "" }, { "set ;", "" }, { "set session", "" }, { "reset", "" }, { "listen", "" },
	{ "listen 'x'", "" }, { "unlisten", "" }, { "set role", "" }, { "set time", "" },
	{ "set x", "" }, { "set x.", "" }, { "set 'x' = 1", "" }, { "select set_config(", "0:pin setting" },
	{ "discard", "" }, { "prepare", "" }, { "rollback to", "" }, { "do", "" }, { "do $$", "" },
	{ "do ''", "" }, { "do '", "" }, { "close", "" }, { "deallocate", "" }, { ")))(((", "" },
};
/* clang-format on */

static void print(struct herd_buf *b, const struct herd_sql_act *a)
{
	herd_buf_printf(b, "%s%u:%s", b->len ? "; " : "", a->stmt, kinds[a->kind]);
	if (a->name)
		herd_buf_printf(b, " %s", a->name);
	if (a->text)
		herd_buf_printf(b, " {%s}", a->text);
	for (unsigned i = 0, n = 0; i < HERD_NPINS; i++) {
		if (a->pins >> i & 1)
			herd_buf_printf(b, "%s %s", n++ ? "," : "", herd_sql_pin_name(1U << i));
	}
}

static void acts_are_told(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_sql_acts *acts = NULL;
		struct herd_buf b = { 0 };

		assert_int_equal(herd_sql_classify(rows[i].sql, strlen(rows[i].sql),
						   (struct herd_sql_dialect){ 0 }, &acts),
				 0);
		for (size_t k = 0; acts && k < acts->n; k++)
			print(&b, &acts->act[k]);
		if (strcmp(herd_buf_str(&b), rows[i].want) != 0)
			print_message("of: %s\n", rows[i].sql);
		assert_string_equal(herd_buf_str(&b), rows[i].want);
		herd_buf_free(&b);
		herd_sql_acts_unref(acts);
	}
	(void)state;
}

static void spans_cut_the_statement_out(void **state)
{
	const char *sql = "select 1;\n listen a ; unlisten b";
	struct herd_sql_acts *acts = NULL;

	herd_sql_classify(sql, strlen(sql), (struct herd_sql_dialect){ 0 }, &acts);
	assert_int_equal(acts->n, 2);
	assert_memory_equal(sql + acts->act[0].from, "listen a", acts->act[0].len);
	assert_int_equal(acts->act[0].len, 8);
	assert_memory_equal(sql + acts->act[1].from, "unlisten b", 10);
	assert_int_equal(acts->act[1].len, 10);
	assert_int_equal(acts->kinds,
			 HERD_ACT_BIT(HERD_ACT_LISTEN) | HERD_ACT_BIT(HERD_ACT_UNLISTEN));
	herd_sql_acts_unref(herd_sql_acts_ref(acts));
	herd_sql_acts_unref(acts);
	(void)state;
}

static void settled_ends_are_not_noted(void **state)
{
	struct herd_sql_dialect d = { .settled = true };
	struct herd_sql_acts *acts = NULL;

	herd_sql_classify("commit", 6, d, &acts);
	assert_null(acts);
	herd_sql_classify("savepoint a", 11, d, &acts);
	assert_null(acts);
	herd_sql_classify("begin; set x = 1; commit", 24, d, &acts);
	assert_int_equal(acts->n, 2);
	herd_sql_acts_unref(acts);
	(void)state;
}

static void long_names_are_cut(void **state)
{
	char sql[128] = "listen ";
	struct herd_sql_acts *acts = NULL;

	memset(sql + 7, 'a', 80);
	herd_sql_classify(sql, 87, (struct herd_sql_dialect){ 0 }, &acts);
	assert_int_equal(strlen(acts->act[0].name), 63);
	herd_sql_acts_unref(acts);
	(void)state;
}

/* A word is found wherever it stands, and nothing is found where none is. */
static void plain_texts_have_no_word(void **state)
{
	static const char *const words[] = { "pg_advisory_lock",
					     "SETSEED",
					     "pg_notify",
					     "pg_replication_origin_session_setup",
					     "Temp",
					     "set_config",
					     "dblink_connect",
					     "currval",
					     "lastval",
					     "; x" };
	static const char filler[] = "select timestamp, abc from accounts where aid = $1 and b > 2 "
				     "or c is null order by d limit 10";
	char text[200];

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		for (size_t at = 7; at < sizeof(filler); at++) {
			snprintf(text, sizeof(text), "%.*s %s %s", (int)at, filler, words[i],
				 filler + at);
			assert_false(herd_sql_plain(text, strlen(text)));
			/* The same at the end. */
			snprintf(text, sizeof(text), "%.*s %s", (int)at, filler, words[i]);
			assert_false(herd_sql_plain(text, strlen(text)));
		}
	}
	for (size_t at = 7; at < sizeof(filler); at++) {
		snprintf(text, sizeof(text), "%.*s; \n", (int)at, filler);
		assert_true(herd_sql_plain(text, strlen(text) + 1));
		assert_true(herd_sql_plain(filler, at));
	}
}

static void plain_texts_begin_with_rows(void **state)
{
	static const char *const yes[] = { "SELECT 1",
					   "select\t1",
					   " insert into t values (1)",
					   "With a as (select 1) table a",
					   "values (1)",
					   "/* a */ Update t set a = 1",
					   "DELETE from t" };
	static const char *const no[] = { "",           "s",         "selectx",
					  "selects 1",  "set x = 1", "values1 ",
					  "begin",      "listen a",  "SELEC\x14 1",
					  "\023elect 1" };

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(herd_sql_plain(yes[i], strlen(yes[i])));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(herd_sql_plain(no[i], strlen(no[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acts_are_told),
		cmocka_unit_test(plain_texts_have_no_word),
		cmocka_unit_test(plain_texts_begin_with_rows),
		cmocka_unit_test(spans_cut_the_statement_out),
		cmocka_unit_test(settled_ends_are_not_noted),
		cmocka_unit_test(long_names_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
