"""Statements that look after tables: extended statistics, VACUUM and ANALYZE of everything."""
import psycopg
import pytest

import plan_herd


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        yield h
    finally:
        h.stop()


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
