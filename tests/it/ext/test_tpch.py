"""TPC-H's 22 queries over shards: with reference tables around lineitem, and with all large tables distributed."""
import os
import sys

import pytest

import plan_herd

sys.path.insert(0, os.path.join(plan_herd.TOP, "bench", "shard"))
os.environ.setdefault("SF", "0.01")
import tpch  # noqa: E402

TABLES = ["region", "nation", "supplier", "part", "partsupp", "customer", "orders", "lineitem"]
WAYS = {
    "around_orders": {"orders": "o_orderkey", "lineitem": "l_orderkey"},
    "all_large": {"orders": "o_orderkey", "lineitem": "l_orderkey", "customer": "c_custkey",
                  "part": "p_partkey", "partsupp": "ps_partkey", "supplier": "s_suppkey"},
}
COLOCATED = {"lineitem": "orders", "partsupp": "part"}


@pytest.fixture(scope="module")
def con():
    h = plan_herd.Herd()
    try:
        with h.connect() as c:
            c.execute(tpch.DDL.split("create table", 1)[0].replace("tpch", "plain"))
            c.execute("create table" + tpch.DDL.split("create table", 1)[1])
            c.execute(tpch.H)
            for table in TABLES:
                c.execute("insert into %s %s" % (table, tpch.GEN[table].replace("h(", "pg_temp.h(")))
            c.execute("analyze")
            for way, keys in WAYS.items():
                distribute(c, way, keys)
            c.execute("set citus.repartition_join_min_size = 0")
            c.execute("set statement_timeout = '120s'")
            yield c
    finally:
        h.stop()


def distribute(c, way, keys):
    c.execute("create schema %s" % way)
    c.execute("set search_path = %s" % way)
    c.execute("create table" + tpch.DDL.split("create table", 1)[1])
    for table in TABLES:
        if table not in keys:
            c.execute("select create_reference_table('%s')" % table)
        elif table in COLOCATED:
            c.execute("select create_distributed_table('%s', '%s', colocate_with => '%s')" % (
                table, keys[table], COLOCATED[table]))
        else:
            c.execute("select create_distributed_table('%s', '%s', colocate_with => 'none', "
                      "shard_count => 8)" % (table, keys[table]))
        c.execute("insert into %s.%s select * from plain.%s" % (way, table, table))


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("number", sorted(tpch.Q))
def test_query(con, way, number):
    want, names, _ = plan_herd.answer(con, "plain", tpch.Q[number])
    got, got_names, _ = plan_herd.answer(con, way, tpch.Q[number])
    assert (got_names, got) == (names, want)
