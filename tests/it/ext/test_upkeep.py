"""Statements that look after tables: extended statistics, VACUUM and ANALYZE of everything."""
import psycopg
import pytest

import plan_herd


herd, con = plan_herd.fixtures(lambda h: None)


def objects(herd, node, schema):
    """Name, table and target of what a node has."""
    with herd.connect_to_shards(node) as con:
        return con.execute(
            "select stxname, relname, stxstattarget from pg_statistic_ext s join pg_class c on "
            "c.oid = stxrelid where relnamespace = %s::regnamespace order by 1",
            (schema,)).fetchall()


def test_statistics_are_on_tables_and_shards(herd):
    with herd.connect() as con:
        con.execute("create schema st; set search_path = st; "
                    "create table t (k int, a int, b int, \"C d\" int); "
                    "create statistics early (dependencies) on a, b from t; "
                    "alter statistics early set statistics 50")
        con.execute("select create_distributed_table('t', 'k')")
        shards = con.execute("select count(*) from pg_dist_shard where logicalrelid = "
                             "'t'::regclass").fetchone()[0]
        con.execute("create statistics later on (a + b), \"C d\" from t")
        con.execute("create statistics if not exists later on (a + b), \"C d\" from t")

        def check(names, target=None):
            total = 0
            for node in range(3):
                found = objects(herd, node, "st")
                assert [f[0] for f in found if f[1] == "t"] == names, (node, found)
                total += len([f for f in found if f[1] != "t"])
                if target is not None:
                    assert {f[2] for f in found if f[0].startswith("early")} == {target}
            assert total == shards * len(names)

        check(["early", "later"], 50)
        con.execute("alter statistics early set statistics 20")
        check(["early", "later"], 20)
        con.execute("alter statistics later rename to last")
        check(["early", "last"])
        con.execute("insert into t select i, i % 10, i % 10, i from generate_series(1, 3000) i")
        con.execute("analyze t")
        plan = con.execute("explain (format json) select * from t where a = 3 and b = 3"
                           ).fetchone()[0]
        assert plan[0]["Plan"]["Plan Rows"] > 150  # 300 rows; without them 30
        con.execute("drop statistics early, last")
        check([])
        with pytest.raises(psycopg.errors.UndefinedObject):
            con.execute("drop statistics last")
        con.execute("create statistics again on a, b from t; alter table t drop column b")
        check([])
        con.execute("drop schema st cascade")


def test_vacuum_and_analyze_of_everything(herd):
    with herd.connect() as con:
        con.execute("create schema va; set search_path = va; create table t (k int, a int)")
        con.execute("select create_distributed_table('t', 'k')")
        con.execute("insert into t select i, i from generate_series(1, 2000) i")
        con.execute("analyze")
        assert con.execute("select reltuples from pg_class where oid = 't'::regclass"
                           ).fetchone()[0] == 2000
        analyzed = con.execute(
            "select sum(result::int) from run_command_on_shards('va.t', $$select "
            "(pg_stat_get_last_analyze_time('%s'::regclass) is not null)::int$$)").fetchone()[0]
        shards = con.execute("select count(*) from pg_dist_shard where logicalrelid = "
                             "'t'::regclass").fetchone()[0]
        assert analyzed == shards
        con.execute("delete from t where k > 10")
        con.execute("vacuum (analyze)")
        assert con.execute("select reltuples from pg_class where oid = 't'::regclass"
                           ).fetchone()[0] == 10
        con.execute("begin; analyze; rollback")
        with pytest.raises(psycopg.errors.ActiveSqlTransaction):
            con.execute("begin; vacuum")
        con.execute("rollback")
        con.execute("drop schema va cascade")


def everywhere(herd, sql):
    """The same answer on all nodes; it."""
    answers = []
    for node in range(3):
        with herd.connect_to_shards(node) as con:
            answers.append(con.execute(sql).fetchall())
    assert answers[0] == answers[1] == answers[2], answers
    return answers[0]


def test_reassign_and_drop_owned(herd):
    """Of tables, shards, functions and privileges."""
    with herd.connect() as con:
        con.execute("create role owner_a; create role owner_b; create schema own; set search_path = own; "
                    "create table t (k int primary key); create table kept (k int)")
        con.execute("select create_distributed_table('t', 'k')")
        con.execute("select create_distributed_table('kept', 'k')")
        con.execute("create function f(int) returns int language sql as 'select 1'")
        con.execute("alter table t owner to owner_a")
        con.execute("alter function f owner to owner_a")
        con.execute("grant select on kept to owner_b")
        con.execute("reassign owned by owner_a to owner_b")
        assert everywhere(herd, "select distinct pg_get_userbyid(relowner) from pg_class where relname ~ '^t(_[0-9]+)?$' "
                          "and relnamespace = 'own'::regnamespace and relkind = 'r'") == [("owner_b",)]
        assert everywhere(herd, "select pg_get_userbyid(proowner) from pg_proc where oid = 'own.f(int)'::regprocedure"
                          ) == [("owner_b",)]
        con.execute("drop owned by owner_b")
        assert everywhere(herd, "select count(*) from pg_class where relname ~ '^t(_[0-9]+)?$' "
                          "and relnamespace = 'own'::regnamespace") == [(0,)]
        assert everywhere(herd, "select to_regprocedure('own.f(int)') is null, bool_or(has_table_privilege('owner_b', "
                          "oid, 'select')) from pg_class where relname ~ '^kept(_[0-9]+)?$'") == [(True, False)]
        con.execute("drop role owner_a, owner_b; drop schema own cascade")
        assert everywhere(herd, "select count(*) from pg_roles where rolname like 'owner\\_%'") == [(0,)]


def test_default_privileges_and_comments(herd):
    with herd.connect() as con:
        con.execute("create schema dp; set search_path = dp; create role dp_reader")
        con.execute("alter default privileges in schema dp grant usage on types to dp_reader")
        con.execute("alter default privileges revoke execute on functions from public")
        con.execute("create function hidden() returns int language sql as 'select 1'")
        assert everywhere(herd, "select has_function_privilege('dp_reader', 'dp.hidden()', 'execute')") == [(False,)]
        con.execute("alter default privileges grant execute on functions to public")
        con.execute("create function seen() returns int language sql as 'select 1'")
        assert everywhere(herd, "select has_function_privilege('dp_reader', 'dp.seen()', 'execute')") == [(True,)]
        con.execute("comment on function seen() is 'to be seen'; comment on schema dp is 'for tests'")
        assert everywhere(herd, "select obj_description('dp.seen()'::regprocedure, 'pg_proc'), "
                          "obj_description('dp'::regnamespace, 'pg_namespace')") == [("to be seen", "for tests")]
        con.execute("drop schema dp cascade; drop owned by dp_reader; drop role dp_reader")


def test_renamed_roles_and_constraints(herd):
    with herd.connect() as con:
        con.execute("create schema rn; set search_path = rn; create role rn_old; alter role rn_old rename to rn_new; "
                    "alter role rn_new set work_mem = '5MB'; grant set on parameter work_mem to rn_new")
        assert everywhere(herd, "select rolname, has_parameter_privilege('rn_new', 'work_mem', 'set') from pg_roles "
                          "where rolname like 'rn\\_%'") == [("rn_new", True)]
        con.execute("create domain d as int constraint old check (value > 0); alter domain d rename constraint old to young")
        assert everywhere(herd, "select conname from pg_constraint where contypid = 'rn.d'::regtype") == [("young",)]
        con.execute("drop schema rn cascade; drop owned by rn_new; drop role rn_new")


def test_a_session_forgets_tables_that_are_gone(herd):
    """What is known of a table stays in memory, of one that was dropped it does not."""
    def remembered(con):
        return con.execute("select count(*), sum(total_bytes) from pg_backend_memory_contexts "
                           "where name = 'herd table'").fetchone()

    with herd.connect() as con, herd.connect() as other:
        for session in (con, other):
            con.execute("create table kept (k int); select create_distributed_table('kept', 'k')")
            session.execute("select * from kept")
            before = remembered(session)
            assert before[0] > 0
            for _ in range(4):
                con.execute("create table gone (k int)")
                con.execute("select create_distributed_table('gone', 'k')")
                session.execute("insert into gone values (1), (2), (3)")
                con.execute("drop table gone")
            assert session.execute("select count(*) from kept").fetchone() == (0,)
            assert remembered(session) == before
            con.execute("drop table kept")
