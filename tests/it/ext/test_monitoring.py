"""Settings that limit, switch or do nothing, and the views that count statements and connections."""
import contextlib
import re
import subprocess

import psycopg2
import pytest

from conftest import eventually


def run(c, sql, *args):
    del c.notices[:]
    cur = c.cursor()
    cur.execute(sql, args)
    return cur.fetchall() if cur.description else cur.rowcount


@pytest.fixture
def session(nodes, table):
    with contextlib.closing(nodes.session()) as c:
        yield c


def test_settings_without_effect_say_so_once(session):
    run(session, "set citus.count_distinct_error_rate = 0.1")
    assert 'setting "citus.count_distinct_error_rate" has no effect' in session.notices[0]
    run(session, "set citus.count_distinct_error_rate = 0.2")
    assert session.notices == []
    for quiet in ("set citus.cpu_priority = 0", "set citus.shard_count = 8", "set citus.subquery_pushdown = on",
                  "reset citus.count_distinct_error_rate", "set local citus.max_adaptive_executor_pool_size = 3"):
        run(session, quiet)
        assert not any("no effect" in n for n in session.notices), quiet


def test_every_setting_is_in_the_reference(nodes, table):
    import os
    from conftest import TOP
    with open(os.path.join(TOP, "docs", "extension.md")) as f:
        text = f.read()
    names = {n for n, in nodes.rows(0, "select name from pg_settings where name like 'citus.%'")}
    described = set(re.findall(r"^\| `(citus\.[a-z_0-9]+)`", text, re.M))
    assert names - described == set() and described - names == set()
    idle = {n for n, in nodes.rows(0, "select name from pg_settings where name like 'citus.%' "
                                   "and short_desc like '%without effect%'")}
    assert idle == set(re.findall(r"^\| `(citus\.[a-z_0-9]+)` \|[^|]*\| none", text, re.M))


def test_intermediate_results_are_limited(nodes, session):
    nodes.psql(0, "create table big (k int, v int, pad text); select create_distributed_table('big', 'k'); "
                  "insert into big select g, g, repeat('x', 100) from generate_series(1, 3000) g")
    join = "select count(*) from big a full join big b on a.v = b.v + 1 and a.pad = b.pad"
    assert run(session, join) == [(3001,)]
    for size, sql in (("4kB", join), ("4kB", "select count(*) from t join (select v, pad from big order by pad, v limit 2000) s "
                                      "on s.v = t.a and s.pad <> t.b")):
        run(session, "set citus.max_intermediate_result_size = '%s'" % size)
        with pytest.raises(psycopg2.errors.ProgramLimitExceeded, match="citus.max_intermediate_result_size"):
            run(session, sql)
        run(session, "set citus.max_intermediate_result_size = '10MB'")
        big = run(session, sql)
        run(session, "set citus.max_intermediate_result_size = -1")
        assert run(session, sql) == big
    # what is not a part of a statement has no limit
    run(session, "set citus.max_intermediate_result_size = '4kB'")
    assert len(run(session, "select * from big")) == 3000
    assert len(run(session, "select * from big order by v")) == 3000


def test_clients_are_counted(nodes, table):
    nodes.psql(0, "create role guest login")
    nodes.psql(0, "alter system set citus.max_client_connections = 2")
    nodes.psql(0, "select pg_reload_conf()")
    eventually(lambda: nodes.value(0, "show citus.max_client_connections") == "2")
    try:
        with contextlib.closing(nodes.session(user="guest")), contextlib.closing(nodes.session(user="guest")):
            with pytest.raises(psycopg2.OperationalError, match="too many clients"):
                nodes.session(user="guest")
            nodes.value(0, "select 1")  # a superuser
            with contextlib.closing(nodes.session(1)) as c:  # from a node
                assert run(c, "select count(*) from t") == [(1000,)]
        eventually(lambda: connects(nodes))
    finally:
        nodes.psql(0, "alter system reset citus.max_client_connections")
        nodes.psql(0, "select pg_reload_conf()")


def connects(nodes):
    try:
        nodes.session(user="guest").close()
        return True
    except psycopg2.OperationalError:
        return False


def test_switches_of_propagation_and_explain(nodes, session):
    run(session, "set citus.enable_create_role_propagation = off")
    run(session, "create role only_here")
    run(session, "set citus.enable_create_type_propagation = off")
    run(session, "create type here_only as enum ('a')")
    assert nodes.rows(1, "select 1 from pg_roles where rolname = 'only_here'") == []
    assert nodes.rows(1, "select 1 from pg_type where typname = 'here_only'") == []
    run(session, "drop role only_here")
    run(session, "drop type here_only")
    assert "Tasks Shown" in str(run(session, "explain select * from t"))
    run(session, "set citus.explain_distributed_queries = off")
    assert "Tasks Shown" not in str(run(session, "explain select * from t"))


def counters(nodes):
    return nodes.rows(0, "select query_execution_single_shard, query_execution_multi_shard, connection_reused, "
                         "connection_establishment_succeeded from citus_stat_counters where name = 'postgres'")


def test_counters(nodes, session):
    run(session, "set citus.enable_stat_counters = on")
    run(session, "select citus_stat_counters_reset()")
    for _ in range(3):
        run(session, "select * from t where a = 5")
    run(session, "select count(*) from t")
    run(session, "select count(*) from t a join t b on a.a = b.a + 1")
    run(session, "insert into t values (2001, 'x')")
    run(session, "delete from t where a = 2001")
    single, multi, reused, opened = counters(nodes)[0]
    assert (single, multi) == (5, 2) and opened >= 2 and reused >= 4
    assert run(session, "select query_execution_single_shard from citus_stat_counters(0)")[0][0] == 5
    run(session, "select citus_stat_counters_reset()")
    assert counters(nodes)[0][:2] == (0, 0)
    assert run(session, "select stats_reset is not null from citus_stat_counters") == [(True,)]


def statements(c):
    return run(c, "select partition_key, executor, calls from citus_stat_statements where dbid = (select oid from "
                  "pg_database where datname = current_database()) order by calls, partition_key")


def test_statements(nodes, session):
    run(session, "set compute_query_id = on; set citus.stat_statements_track = 'all'")
    run(session, "select citus_stat_statements_reset()")
    for key in (1, 1, 1, 2):
        run(session, "select b from t where a = %s", key)
    for _ in range(5):
        run(session, "select count(*) from t")
    run(session, "do $$ begin for i in 1..7 loop perform sum(a.a) from t a join t b on a.a = b.a + 1; end loop; end $$")
    assert statements(session) == [("2", "adaptive", 1), ("1", "adaptive", 3), (None, "adaptive", 5), (None, "adaptive", 7)]
    with contextlib.closing(nodes.session()) as c:
        c.cursor().execute("create role watcher login; set role watcher")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(c, "select citus_stat_statements_reset()")
    with contextlib.closing(nodes.session(user="watcher")) as c:
        assert statements(c) == []
    run(session, "select citus_stat_statements_reset()")
    assert statements(session) == []
    run(session, "set citus.stat_statements_track = 'none'")
    run(session, "select count(*) from t")
    assert statements(session) == []


def test_tenants(nodes, session):
    run(session, "set citus.stat_tenants_track = 'all'; set citus.stat_tenants_period = '1d'")
    run(session, "select citus_stat_tenants_reset()")
    for _ in range(4):
        run(session, "select b from t where a = 11")
    run(session, "update t set b = b where a = 11")
    run(session, "update t set b = b where a = 12")
    run(session, "select count(*) from t")
    with contextlib.closing(nodes.session(1)) as c:
        run(c, "set citus.stat_tenants_track = 'all'; set citus.stat_tenants_period = '1d'")
        run(c, "select b from t where a = 13")
    for view, rows in (("citus_stat_tenants_local", [("11", 4, 5), ("12", 0, 1)]),
                       ("citus_stat_tenants", [("11", 4, 5), ("12", 0, 1), ("13", 1, 1)])):
        assert sorted(run(session, "select tenant_attribute, greatest(read_count_in_this_period, read_count_in_last_period), "
                                   "greatest(query_count_in_this_period, query_count_in_last_period) from %s" % view)) == rows
    assert run(session, "select tenant_attribute from citus_stat_tenants limit 1") == [("11",)]
    run(session, "select citus_stat_tenants_reset()")
    assert run(session, "select * from citus_stat_tenants") == []


def test_aggregates(session):
    assert run(session, "select b from (select cardinality(array_cat_agg(array[a, a])) b from t) x") == [(2000,)]
    assert run(session, "select array_cat_agg(array[a] order by a) from t where a < 4") == [([1, 2, 3],)]
    assert run(session, "select jsonb_array_length(jsonb_cat_agg(jsonb_build_array(a))) from t") == [(1000,)]
    assert run(session, "select jsonb_cat_agg(jsonb_build_object(b, a)) from t where a < 3") == [({"x1": 1, "x2": 2},)]
    assert run(session, "select any_value(7) from t where a in (1, 2, 3)") == [(7,)]
    assert run(session, "select any_value(a), array_cat_agg(array[a]) from t where a < 0") == [(None, None)]
    assert run(session, "select count(*) from (select any_value(b) v, a from t group by a) s where v = 'x' || a") == [(1000,)]


def test_restore_point(nodes, session):
    """A restore point on every node, and no commit over several nodes decided meanwhile."""
    for node in (0, 1):
        name = "herd_point_%d" % node
        lsn = nodes.value(node, "select citus_create_restore_point('%s')" % name)
        assert nodes.value(node, "select '%s'::pg_lsn <= pg_current_wal_insert_lsn()" % lsn)
        for other in range(3):
            wal = nodes.data(other) + "/pg_wal"
            first = nodes.value(other, "select pg_walfile_name(pg_current_wal_flush_lsn())")
            nodes.rows(other, "checkpoint")
            found = subprocess.run([nodes.bin + "/pg_waldump", "-r", "XLOG", "-p", wal, first],
                                   capture_output=True, text=True).stdout
            assert "RESTORE_POINT " + name in found, other
    with contextlib.closing(nodes.session(1, autocommit=False)) as deciding:
        run(deciding, "lock table pg_dist_transaction in row exclusive mode")
        run(session, "set lock_timeout = '500ms'")
        with pytest.raises(psycopg2.Error, match="lock timeout"):
            run(session, "select citus_create_restore_point('never')")
    with contextlib.closing(nodes.session(0, autocommit=False)) as holding:
        run(holding, "select citus_create_restore_point('held')")
        run(session, "begin")
        run(session, "update t set b = b")
        with pytest.raises(psycopg2.Error):
            run(session, "set local statement_timeout = '500ms'; commit")
        holding.rollback()
    run(session, "rollback")
    assert run(session, "update t set b = b") > 0
    with pytest.raises(psycopg2.Error, match="permission denied"):
        run(session, "create role restorer; set role restorer; select citus_create_restore_point('no')")


def test_statistics_of_columns(nodes, session):
    run(session, "create table counted (k int primary key, v int);"
                 "insert into counted select i, case when mod(i, 4) > 0 then mod(i, 2) end from generate_series(1, 1000) i")
    run(session, "select create_distributed_table_concurrently('counted', 'k')")
    assert "wait until its rows have moved" in session.notices[-1]
    assert run(session, "select count(*) from counted") == [(1000,)]
    assert run(session, "select citus_table_type from citus_tables where table_name = 'counted'::regclass"
               ) == [("distributed",)]
    run(session, "analyze counted")
    assert run(session, "select null_frac, most_common_vals, most_common_freqs from citus_stats "
                        "where tablename = 'counted' and attname = 'v'") == [(0.25, "{1,0}", [0.5, 0.25])]
    run(session, "drop table counted")
