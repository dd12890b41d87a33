"""Sessions of other nodes by their global pid, locks of shards, and the cluster clock."""
import threading
import time

import psycopg
import pytest

import plan_herd


def load(herd):
    with herd.connect() as con:
        con.execute("""
            create table t (k int primary key, v int);
            select create_distributed_table('t', 'k');
            insert into t select i, i from generate_series(1, 40) i;
            create role sessions_user login;
            create role sessions_other login""")


herd, con = plan_herd.fixtures(load)


def value(con, sql, params=None):
    return con.execute(sql, params).fetchone()[0]


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gpid(con):
    return value(con, "select citus_backend_gpid()")


@pytest.mark.parametrize("node", [0, 1])
def test_a_statement_is_cancelled_by_global_pid(herd, con, node):
    with herd.connect(node) as sleeper:
        number, errors = gpid(sleeper), []

        def sleep():
            try:
                sleeper.execute("select pg_sleep(300)")
            except psycopg.errors.QueryCanceled as e:
                errors.append(e)

        thread = threading.Thread(target=sleep)
        thread.start()
        wait_for(lambda: value(con, "select count(*) from citus_stat_activity where global_pid = %s "
                               "and query ~ '^select pg_sleep' and state = 'active'", (number,)) == 1)
        assert value(con, "select pg_cancel_backend(%s::bigint)", (number,)) is True
        thread.join(60)
        assert len(errors) == 1


@pytest.mark.parametrize("node", [0, 2])
def test_a_session_is_terminated_by_global_pid(herd, con, node):
    with herd.connect(node) as other:
        assert value(con, "select pg_terminate_backend(%s::bigint, 60000)", (gpid(other),)) is True
        with pytest.raises(psycopg.OperationalError):
            other.execute("select 1")


def test_signals_ask_for_the_rights_of_postgres(herd):
    with herd.connect(1, user="sessions_other") as other, \
            herd.connect(user="sessions_user") as con:
        number = gpid(other)
        with pytest.raises(psycopg.errors.ConnectionFailure) as e:
            con.execute("select pg_cancel_backend(%s::bigint)", (number,))
        detail = e.value.diag.message_detail  # its own detail says so since PostgreSQL 16
        assert "pg_signal_backend" in detail or detail == "permission denied to cancel query"
        other.execute("select 1")
        for none in (99 * 10 ** 10 + 5, -5 * 10 ** 10, 2 ** 63 - 1):
            with pytest.raises(psycopg.errors.UndefinedObject, match="does not exist"):
                con.execute("select pg_cancel_backend(%s::bigint)", (none,))


def test_pids_of_this_node_work_as_ever(herd, con):
    with herd.connect() as other:
        pid = other.info.backend_pid
        for form in ("%d", "%d::bigint"):
            assert value(con, "select pg_cancel_backend(%s)" % (form % pid)) is True
    # psycopg sends small numbers as smallint
    assert value(con, "select pg_cancel_backend(%s)", (3,)) is False
    assert value(con, "select pg_terminate_backend(%s)", (3,)) is False


def test_who_waits_for_whom(herd, con):
    with herd.connect(autocommit=False) as holder, herd.connect() as waiter:
        holder.execute("update t set v = v + 1 where k = 1")
        thread = threading.Thread(target=lambda: waiter.execute("update t set v = 0 where k = 1"))
        thread.start()
        edge = (waiter.info.backend_pid, holder.info.backend_pid)
        edges = ("select citus_pid_for_gpid(waiting_gpid), citus_pid_for_gpid(blocking_gpid), "
                 "waiting_nodeid = blocking_nodeid from dump_global_wait_edges()")
        wait_for(lambda: con.execute(edges).fetchall() == [edge + (True,)])
        assert value(con, "select citus_blocking_pids(%s)", (edge[0],)) == [edge[1]]
        assert value(con, "select citus_blocking_pids(%s)", (edge[1],)) == []
        holder.rollback()
        thread.join(60)


def test_locks_of_shards(herd, con):
    shards = [r[0] for r in con.execute("select shardid from pg_dist_shard where logicalrelid = "
                                        "'t'::regclass order by 1 desc limit 2")]
    with herd.connect(autocommit=False) as one, herd.connect(autocommit=False) as other:
        one.execute("select lock_shard_metadata(1, %s)", (shards,))
        other.execute("select lock_shard_resources(5, %s)", (shards,))
        other.execute("set local lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("select lock_shard_resources(7, %s)", (shards,))
        other.rollback()
        one.rollback()
        other.execute("select lock_shard_resources(7, %s)", (shards,))
    for mode in (0, 9):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            con.execute("select lock_shard_metadata(%s, %s)", (mode, shards))
    with pytest.raises(psycopg.errors.UndefinedObject):
        con.execute("select lock_shard_metadata(1, '{17}')")
    with herd.connect(user="sessions_user") as user:
        for mode in (1, 7):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                user.execute("select lock_shard_metadata(%s, %s)", (mode, shards))


def test_the_type_of_clocks(con):
    assert con.execute("select '(5,1)'::cluster_clock::text, cluster_clock_logical('(7,3)'), "
                       "citus_is_clock_after('(5,2)', '(5,1)'), citus_is_clock_after('(5,1)', "
                       "'(5,1)')").fetchone() == ("(5,1)", 7, True, False)
    assert con.execute("select array_agg(c::text order by c) from (values ('(5,9)'::cluster_clock), "
                       "('(4398046511103,4194303)'), ('(0,0)'), ('(5,10)')) v(c)").fetchone()[0] == [
                           "(0,0)", "(5,9)", "(5,10)", "(4398046511103,4194303)"]
    for bad in ("(5", "5,1", "(-5,1)", "(5,1)x", "(4398046511104,0)", "(1,4194304)", "", "(,)"):
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            con.execute("select %s::text::cluster_clock", (bad,))


def test_readings_never_go_back(herd):
    after = "select citus_is_clock_after(citus_get_node_clock(), %s::text::cluster_clock)"
    with herd.connect(2) as con:
        assert value(con, "select count(distinct c) from (select citus_get_node_clock() c from "
                     "generate_series(1, 2000)) x") == 2000
        ahead = value(con, "select '(' || cluster_clock_logical(citus_get_node_clock()) + 3600000 "
                      "|| ',7)'")
        con.execute("select citus_internal.advance_clock(%s::text::cluster_clock)", (ahead,))
        assert value(con, after, (ahead,))
    # A crash does not take it back to the machine's clock.
    herd.cluster.halt(2, "immediate")
    herd.cluster.boot(2)
    with herd.connect(2) as con:
        assert value(con, after, (ahead,))


def test_a_transaction_moves_the_clocks_of_its_nodes(herd):
    with herd.connect(autocommit=False) as con, herd.connect(1) as worker:
        ahead = value(worker, "select '(' || cluster_clock_logical(citus_get_node_clock()) + 7200000 "
                      "|| ',7)'")
        worker.execute("select citus_internal.advance_clock(%s::text::cluster_clock)", (ahead,))
        con.execute("update t set v = v + 1")
        clock = value(con, "select citus_get_transaction_clock()::text")
        con.commit()
        for node in range(3):
            with herd.connect(node) as c:
                assert value(c, "select citus_is_clock_after(citus_get_node_clock(), "
                             "%s::text::cluster_clock)", (clock,))
        assert value(worker, "select citus_is_clock_after(%s::text::cluster_clock, "
                     "%s::text::cluster_clock)", (clock, ahead))
        con.execute("set local citus.enable_cluster_clock = off")
        assert value(con, "select citus_get_transaction_clock()") is None
        con.rollback()
    with herd.connect(user="sessions_user") as user:
        assert value(user, "select citus_get_transaction_clock() > '(1,1)'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            user.execute("select citus_internal.advance_clock('(9,1)')")


def test_aggregates_of_json(con):
    rows = con.execute(
        "select json_cat_agg(j order by n)::text from (values (1, '[1,2]'::json), (2, '[]'), "
        "(3, ' [{\"a\":{\"b\":1}}] '), (4, '{\"x\":1}'), (5, '7'), (6, null)) v(n, j) union all "
        "select json_cat_agg(j order by n)::text from (values (1, '{\"x\":{\"y\":1}}'::json), "
        "(2, '{}'), (3, '{\"z\":2}')) v(n, j)").fetchall()
    assert rows == [('[1,2, {"a":{"b":1}}, {"x":1}, 7]',), ('{"x":{"y":1}, "z":2}',)]
    got = value(con, "select json_cat_agg(json_build_array(k)) from t")
    assert sorted(got) == list(range(1, 41))
