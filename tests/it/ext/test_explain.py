"""EXPLAIN of distributed statements: tier, tasks, texts, remote plans, and what came from where."""
import json
import os
import xml.etree.ElementTree

import pytest
import yaml

import plan_herd


def load(h):
    h.load()
    with h.connect() as con:
        con.execute("alter system set citus.max_tasks_per_node = 2")
        con.execute("select pg_reload_conf()")


herd, _ = plan_herd.fixtures(load)


@pytest.fixture()
def con(herd):
    with herd.connect() as c:
        c.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
        c.execute("set citus.max_tasks_per_node = 2")
        yield c


def text(con, sql):
    return "\n".join(r[0] for r in con.execute(sql).fetchall())


def scan_of(plan):
    """The node that says its tier."""
    if "Tier" in plan:
        return plan
    for sub in plan.get("Plans", []):
        found = scan_of(sub)
        if found:
            return found
    return None


def json_scan(con, options, sql):
    data = con.execute("explain (format json, %s) %s" % (options, sql)).fetchone()[0]
    data = json.loads(data) if isinstance(data, str) else data
    return scan_of(data[0]["Plan"])


def test_not_run(con):
    before = con.execute("select count(*) from a").fetchone()
    plan = text(con, "explain select x, count(*) from a group by x")
    assert "Tier: all shards" in plan and "Task Count: 4" in plan and "Tasks Shown: One of 4" in plan
    assert "UNION ALL" in plan and "Node: host=" in plan and "rows=" in plan
    assert "Received" not in plan and "actual" not in plan
    text(con, "explain update a set x = 99")
    assert con.execute("select count(*) from a").fetchone() == before
    assert con.execute("select count(*) from a where x = 99").fetchone() == (0,)


def test_read(con):
    plan = text(con, "explain (analyze, verbose, buffers) select x, count(*) from a group by x")
    assert plan.count("Node host=") == 2 and "tasks=2" in plan and "bytes=" in plan and "time=" in plan
    task = plan[plan.index("->  Task"):]
    assert "Received: rows=" in task and "actual time=" in task and "Buffers: shared" in task and "Output:" in task
    plan = text(con, "explain (analyze, timing off, summary off, costs off) select count(*) from a")
    assert "time=" not in plan and "cost=" not in plan and "Received: rows=1" in plan


@pytest.mark.parametrize("sql", ["select count(*) from a", "select * from a where k = 7", "select * from r",
                                 "select * from a join c on a.x = c.k and a.n < c.v",
                                 "update a set x = x where k = 7", "delete from a where k < 0",
                                 "insert into e values (1, 1)"])
@pytest.mark.parametrize("format", ["json", "yaml", "xml", "text"])
def test_formats(con, sql, format):
    con.execute("begin")
    data = con.execute("explain (analyze, verbose, buffers, format %s) %s" % (format, sql)).fetchall()
    con.execute("rollback")
    if format == "yaml":
        assert yaml.safe_load(data[0][0])[0]["Plan"]
    elif format == "xml":
        xml.etree.ElementTree.fromstring(data[0][0])
    elif format == "json":
        assert (json.loads(data[0][0]) if isinstance(data[0][0], str) else data[0][0])[0]["Plan"]


def test_sums(con):
    scan = json_scan(con, "analyze", "select * from a")
    assert scan["Task Count"] == 4 and len(scan["Nodes"]) == 2
    assert sum(n["Rows"] for n in scan["Nodes"]) == 152
    assert all(n["Bytes"] > n["Rows"] * 8 and n["Time"] > 0 and n["Tasks"] == 2 for n in scan["Nodes"])
    con.execute("set citus.explain_all_tasks = on")
    scan = json_scan(con, "analyze", "select * from a")
    assert len(scan["Tasks"]) == 4 and sum(t["Rows"] for t in scan["Tasks"]) == 152
    assert all(any("actual" in line for line in t["Remote Plan"]) for t in scan["Tasks"])


@pytest.mark.parametrize("method", ["execution-time", "taskId"])
def test_order(con, method):
    con.execute("set citus.explain_all_tasks = on")
    con.execute("set citus.explain_analyze_sort_method = '%s'" % method)
    tasks = json_scan(con, "analyze", "select count(*) from a")["Tasks"]
    times = [t["Time"] for t in tasks]
    if method == "execution-time":
        assert times == sorted(times, reverse=True)
    else:
        shards = [t["Query"] for t in tasks]
        con.execute("set citus.explain_analyze_sort_method = 'execution-time'")
        assert shards == [t["Query"] for t in json_scan(con, "costs", "select count(*) from a")["Tasks"]]


def test_moved(con):
    con.execute("set citus.repartition_join_min_size = 0")
    scan = json_scan(con, "analyze", "select count(*) from a join c on a.x = c.k")
    moved = [m for m in scan["Moved"] if "rows=0 " not in m]
    assert moved and all("bytes=" in m for m in moved), scan["Moved"]


def test_writes(con):
    """They take place, once, and the nodes say how."""
    con.execute("insert into e select 5000 + i, 0 from generate_series(1, 20) i")
    plan = text(con, "explain analyze update e set x = x + 1 where k > 5000")
    assert "Update on" in plan and "actual time=" in plan[plan.index("->  Task"):]
    assert con.execute("select distinct x, count(*) from e where k > 5000 group by 1").fetchall() == [(1, 20)]
    con.execute("begin")
    plan = text(con, "explain analyze update e set x = x + 1 where k > 5000 returning *")
    assert con.execute("select distinct x from e where k > 5000").fetchall() == [(2,)]
    con.execute("rollback")
    plan = text(con, "explain analyze update e set x = x + 1 where k = 5001")
    assert "Tier: router" in plan and "Update on" in plan
    plan = text(con, "explain (analyze, costs off) with d as (delete from e where k > 5001 returning *) select count(*) from d")
    assert con.execute("select k, x from e where k > 5000").fetchall() == [(5001, 2)]
    con.execute("explain analyze update r set name = name || '!' where id = 1")
    assert con.execute("select name from r where id = 1").fetchall() == [("r1!",)]
    con.execute("explain analyze insert into e values (6000, 1), (6001, 2)")
    con.execute("explain analyze delete from e where k > 5000")
    assert con.execute("select count(*) from e where k > 5000").fetchall() == [(0,)]


def test_write_in_function(con):
    """The rows of a write that is not the statement of the EXPLAIN are wanted."""
    con.execute("create or replace function put(k int) returns int language plpgsql as "
                "'declare r int; begin insert into e values (k, k + 1) returning x into r; return r; end'")
    con.execute("create temp table got (x int)")
    con.execute("explain analyze insert into got select put(7000)")
    assert con.execute("select x from got").fetchall() == [(7001,)]
    con.execute("delete from e where k = 7000")


def test_parallel_query(herd):
    """Tasks that keep their node busy use none; one by itself on its node does."""
    sql = "explain select x, count(*) from a group by x"
    for node in (1, 2):
        with herd.connect(node) as there:
            name = "debug_parallel_query" if there.info.server_version >= 160000 else "force_parallel_mode"
            there.execute("alter database %s set %s = on" % (there.info.dbname, name))
    try:
        with herd.connect() as con:
            con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
            con.execute("set citus.max_tasks_per_node = 1")
            assert "Gather" in text(con, sql)
            assert "Gather" in text(con, "explain select * from a where k = 7")
            if os.cpu_count() > 8:
                return
            con.execute("set citus.max_tasks_per_node = 4")
            for prefix in ("", "analyze, costs off"):
                assert "Gather" not in text(con, sql.replace("explain", "explain (%s)" % prefix if prefix else "explain"))
            plan_sql = "select sum(x) from a"
            want = con.execute(plan_sql).fetchone()
            for _ in range(8):
                assert con.execute(plan_sql, prepare=True).fetchone() == want
            con.execute("set citus.max_adaptive_executor_pool_size = 1")
            if os.cpu_count() > 3:
                assert "Gather" in text(con, sql)
    finally:
        for node in (1, 2):
            with herd.connect(node) as there:
                there.execute("alter database %s reset %s" % (there.info.dbname, name))
