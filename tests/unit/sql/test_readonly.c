#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "sql/readonly.h"

/* names: those to be looked up, "kind:[schema.]name"; NULL: not a read, why says part of the
 * reason. */
/* clang-format off */
static const struct { const char *text, *names, *why; } rows[] = {
	{ "select 1", "", 0 },
	{ "select a, b.c from t b where a > 1", "a:c o:> r:t", 0 },
	{ "table s.t", "r:s.t", 0 },
	{ "values (1, 'a'), (2, default)", 0, "SetToDefault" },
	{ "values (1, 'a')", "", 0 },
	{ "select 1; select 2", "", 0 },
	{ "select 1; delete from t", 0, "DeleteStmt" },
	{ "select count(*) from t group by a having sum(b) > 1 order by 1", "f:count f:sum o:< o:= o:> r:t", 0 },
	{ "select f(g(1), s.h(x => 2))", "f:f f:g f:s.h", 0 },
	{ "select * from f(1) with ordinality", "f:f", 0 },
	{ "select * from rows from (f(1), g(2) as (a int, b u.v)) x", "f:f f:g t:pg_catalog.int4 t:u.v", 0 },
	{ "select a::int, cast(b as my.dom)", "t:my.dom t:pg_catalog.int4", 0 },
	{ "with q as (select 1) select * from q", "c:q r:q", 0 },
	{ "with recursive q as (select 1 union all select x + 1 from q) select * from q", "c:q o:+ o:= r:q", 0 },
	{ "with q as (delete from t returning *) select * from q", 0, "DeleteStmt" },
	{ "with q as (insert into t values (1) returning 1) select * from q", 0, "InsertStmt" },
	{ "select * from (select * from t for update) x", 0, "locks rows" },
	{ "select * from t for share", 0, "locks rows" },
	{ "select * from t for key share of t skip locked", 0, "locks rows" },
	{ "select * into x from t", 0, "SELECT INTO" },
	{ "select * into temp x from t", 0, "SELECT INTO" },
	{ "(select 1 into x) union select 2", 0, "SELECT INTO" },
	{ "select a from t where exists (select 1 from u where u.x = t.y)", "a:x a:y o:= r:t r:u", 0 },
	{ "select x = any (select y from u)", "o:= r:u", 0 },
	{ "select x in (select y from u)", "o:= r:u", 0 },
	{ "select x operator(s.<->) y", "o:s.<->", 0 },
	{ "select * from t order by a using >", "o:> r:t", 0 },
	{ "select a from t union select b from u intersect all select c from v", "o:= r:t r:u r:v", 0 },
	{ "select * from t natural join u", "o:= r:t r:u", 0 },
	{ "select * from t join u using (a) left join v on t.a = v.a", "a:a o:= r:t r:u r:v", 0 },
	{ "select x between 1 and 2 or y like 'a'", "o:< o:<= o:> o:>= o:~~", 0 },
	{ "select sum(x) filter (where f(y)) over (partition by g(z) order by h(w)) from t", "f:f f:g f:h f:sum o:< r:t", 0 },
	{ "select sum(x) over w from t window w as (order by f(a) rows between g(1) preceding and current row)", "f:f f:g f:sum o:< r:t", 0 },
	{ "select a[f(1)], (b).c, array[g(2)], row(h(3)), (x).y.z from t", "a:c a:y a:z f:f f:g f:h r:t", 0 },
	{ "select case f(1) when g(2) then h(3) else i(4) end, coalesce(j(5)), greatest(k(6)), nullif(l(7), 1)",
	  "f:f f:g f:h f:i f:j f:k f:l o:=", 0 },
	{ "select current_timestamp, extract(year from now()), trim(a), interval '1' day, x at time zone 'y'",
	  "f:now f:pg_catalog.btrim f:pg_catalog.extract f:pg_catalog.timezone t:pg_catalog.interval", 0 },
	{ "select * from t limit f(1) offset g(2)", "f:f f:g r:t", 0 },
	{ "select * from t, lateral (select * from f(t.x)) y", "a:x f:f r:t", 0 },
	{ "select distinct on (f(a)) a from t", "f:f o:= r:t", 0 },
	{ "select a, grouping(a) from t group by rollup (a, f(b))", "f:f o:= r:t", 0 },
	{ "select nextval('s')", "f:nextval", 0 },
	{ "select pg_catalog.nextval('s')", "f:pg_catalog.nextval", 0 },
	{ "select txid_current()", 0, "txid_current" },
	{ "select pg_backend_pid()", 0, "pg_backend_pid" },
	{ "select query_to_xml('delete from t', true, true, '')", 0, "query_to_xml" },
	{ "select * from t tablesample system (1)", 0, "RangeTableSample" },
	{ "select xmlelement(name a)", 0, "XmlExpr" },
	{ "explain select f(1)", "f:f", 0 },
	{ "explain (costs off) select 1", "", 0 },
	{ "explain analyze select 1", 0, "EXPLAIN ANALYZE" },
	{ "explain (analyze off) select 1", 0, "EXPLAIN ANALYZE" },
	{ "explain (verbose, analyze) select 1", 0, "EXPLAIN ANALYZE" },
	{ "explain delete from t", 0, "DeleteStmt" },
	{ "explain create table x as select 1", 0, "CreateTableAsStmt" },
	{ "explain execute p", 0, "ExecuteStmt" },
	{ "insert into t values (1)", 0, "InsertStmt" },
	{ "update t set a = 1", 0, "UpdateStmt" },
	{ "merge into t using u on true when matched then delete", 0, "MergeStmt" },
	{ "truncate t", 0, "TruncateStmt" },
	{ "copy t to stdout", 0, "CopyStmt" },
	{ "copy (select 1) to program 'x'", 0, "CopyStmt" },
	{ "create table x as select 1", 0, "CreateTableAsStmt" },
	{ "declare c cursor for select 1", 0, "DeclareCursorStmt" },
	{ "show x", 0, "VariableShowStmt" },
	{ "set x = 1", 0, "VariableSetStmt" },
	{ "listen x", 0, "ListenStmt" },
	{ "lock t", 0, "LockStmt" },
	{ "call p()", 0, "CallStmt" },
	{ "do 'x'", 0, "DoStmt" },
	{ "execute p", 0, "ExecuteStmt" },
	{ "prepare p as select 1", 0, "PrepareStmt" },
	{ "begin", 0, "TransactionStmt" },
	{ "refresh materialized view m", 0, "RefreshMatViewStmt" },
	{ "select 1 from", 0, "syntax error" },
	{ "select 'open", 0, "unterminated" },
	{ "", 0, "empty" },
	{ ";", 0, "empty" },
};
/* clang-format on */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *names_of(const struct herd_readonly *r)
{
	char **text = calloc(r->n + 1, sizeof(*text));
	struct herd_buf all = { 0 };

	for (size_t i = 0; i < r->n; i++) {
		struct herd_buf b = { 0 };
		const struct herd_name *n = &r->names[i];

		herd_buf_printf(&b, "%c:%s%s%s", n->kind, n->schema ? n->schema : "",
				n->schema ? "." : "", n->name);
		text[i] = herd_buf_steal(&b);
	}
	qsort(text, r->n, sizeof(*text), by_text);
	for (size_t i = 0; i < r->n; i++) {
		herd_buf_printf(&all, "%s%s", i ? " " : "", text[i]);
		free(text[i]);
	}
	free(text);
	return herd_buf_steal(&all);
}

static void statements(void **state)
{
	if (!herd_readonly_available())
		skip();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_readonly r;

		herd_readonly_check(rows[i].text, strlen(rows[i].text), &r);
		char *names = names_of(&r);

		if (r.maybe != (rows[i].names != NULL))
			fail_msg("%s: maybe %d, %s", rows[i].text, r.maybe, r.why ? r.why : "");
		if (r.maybe && strcmp(names, rows[i].names) != 0)
			fail_msg("%s: %s", rows[i].text, names);
		if (!r.maybe && !strstr(r.why, rows[i].why))
			fail_msg("%s: %s", rows[i].text, r.why);
		free(names);
		herd_readonly_free(&r);
	}
}

/* Depth and length are bounded, and bytes that are no text do no harm. */
static void hostile(void **state)
{
	static const char *const units[][2] = { { "1+", "" },        { "(", ")" },
						{ "-(", ")" },       { "array[", "]" },
						{ "f(", ")" },       { "not ", "" },
						{ "(select ", ")" }, { "case when ", "" } };
	struct herd_readonly r;

	for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
		for (size_t total = 1000; total <= 40000; total += 13000) {
			struct herd_buf b = { 0 };
			size_t n = total / (strlen(units[u][0]) + strlen(units[u][1]));

			herd_buf_addstr(&b, "select ");
			for (size_t i = 0; i < n; i++)
				herd_buf_addstr(&b, units[u][0]);
			herd_buf_addstr(&b, "1");
			for (size_t i = 0; i < n; i++)
				herd_buf_addstr(&b, units[u][1]);
			herd_readonly_check(b.data, b.len, &r);
			assert_true(r.maybe || r.why);
			if (b.len > HERD_READONLY_MAX_BYTES)
				assert_false(r.maybe);
			herd_readonly_free(&r);
			herd_buf_free(&b);
		}
	}
	herd_readonly_check("select 1\0; delete from t", 24, &r);
	assert_false(r.maybe);
	herd_readonly_free(&r);
	herd_readonly_check("select '\xff\xfe'", 11, &r);
	herd_readonly_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statements),
		cmocka_unit_test(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
