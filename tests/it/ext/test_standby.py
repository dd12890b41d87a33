"""Reads on standbys of workers: never older than is allowed, never without what the session wrote."""
import contextlib
import re
import time

import psycopg2
import pytest

from conftest import eventually

LSN = "select pg_current_wal_insert_lsn()"


def add_standby(nodes, worker, cluster="default"):
    import cluster as herd
    n = len(nodes.ports)
    nodes.ports.append(herd.free_port())
    herd.checked([nodes.bin + "/pg_basebackup", "-h", "127.0.0.1", "-p", str(nodes.ports[worker]), "-U", "postgres",
                  "-D", nodes.data(n), "-R", "-c", "fast"])
    with open(nodes.data(n) + "/postgresql.conf", "a") as f:
        f.write("port = %d\nwal_retrieve_retry_interval = 200ms\nhot_standby_feedback = on\n" % nodes.ports[n])
    nodes.boot(n)
    nodes.psql(0, "select citus_add_secondary_node('127.0.0.1', %d, '127.0.0.1', %d, '%s')" % (
        nodes.ports[n], nodes.ports[worker], cluster))
    return n


@pytest.fixture(scope="module")
def standbys(nodes, table):
    """Of worker 1 and worker 2, in that order."""
    nodes.psql(0, "create table r (a int); select create_reference_table('r'); insert into r values (1)")
    return [add_standby(nodes, 1), add_standby(nodes, 2)]


def caught_up(nodes, standby, worker):
    lsn = nodes.value(worker, LSN)
    eventually(lambda: nodes.value(standby, "select pg_last_wal_replay_lsn() >= '%s'" % lsn), what="replay")


@pytest.fixture
def reader(nodes, standbys):
    for worker, standby in zip((1, 2), standbys):
        caught_up(nodes, standby, worker)
    with contextlib.closing(nodes.session()) as c:
        run(c, "set citus.use_secondary_nodes = auto; set citus.max_secondary_lag = '60s'; "
               "set citus.log_remote_commands = on")
        yield c


def run(c, sql, *args):
    """Rows, or the count of rows that were written."""
    del c.notices[:]
    cur = c.cursor()
    cur.execute(sql, args)
    return cur.fetchall() if cur.description else cur.rowcount


def asked(nodes, c):
    """The servers whose shards the last statement has used."""
    ports = set()
    for notice in c.notices:
        if re.search(r"\b[tr]_\d+", notice):
            ports.update(int(p) for p in re.findall(r"127\.0\.0\.1:(\d+)", notice))
    return sorted(nodes.ports.index(p) for p in ports)


def goes_to(nodes, c, places, rows, sql, *args):
    """The answer is right each time; the places are used once the standbys are up to date and can be reached."""
    def once():
        assert run(c, sql, *args) == rows
        return asked(nodes, c) == places
    eventually(once, timeout=60, what="%s at %s" % (sql, places))


def test_reads_go_to_standbys_when_nothing_is_written(nodes, standbys, reader):
    key = nodes.keys_on("t", 1)[0]
    goes_to(nodes, reader, standbys, [(1000, 500500)], "select count(*), sum(a) from t")
    goes_to(nodes, reader, standbys[:1], [("x%d" % key,)], "select b from t where a = %s", key)
    goes_to(nodes, reader, standbys, [(1000,)], "select count(*) from t x join t y on x.a = y.a join r on true")
    assert run(reader, "select count(*) from t x join t y on x.a + 1 = y.a") == [(999,)]
    # what may write or lock, and blocks that may write, use primaries
    run(reader, "select b from t where a = %s for update", key)
    assert asked(nodes, reader) == [1]
    run(reader, "begin")
    run(reader, "select count(*) from t")
    assert asked(nodes, reader) == [1, 2]
    run(reader, "commit")
    run(reader, "begin read only")
    goes_to(nodes, reader, standbys, [(1000,)], "select count(*) from t")
    run(reader, "commit")
    run(reader, "begin isolation level repeatable read read only")
    run(reader, "select count(*) from t")
    assert asked(nodes, reader) == [1, 2]
    run(reader, "commit")
    run(reader, "set citus.cluster_name = 'elsewhere'")
    run(reader, "select count(*) from t")
    assert asked(nodes, reader) == [1, 2]


def test_a_session_sees_what_it_wrote(nodes, standbys, reader):
    keys = nodes.keys_on("t", 1, 3)
    for i in range(60):
        value = "w%d" % i
        if i % 3 == 0:
            run(reader, "update t set b = %s where a = %s", value, keys[0])
        elif i % 3 == 1:
            run(reader, "begin")
            run(reader, "update t set b = %s where a = %s", value, keys[0])
            assert run(reader, "select b from t where a = %s", keys[0]) == [(value,)]
            run(reader, "commit")
        else:
            run(reader, "update t set b = %s where a <= 1000", value)
        assert run(reader, "select b from t where a = %s", keys[0]) == [(value,)], i
    # a standby that stands still does not change that
    nodes.psql(standbys[0], "select pg_wal_replay_pause()")
    try:
        for i in range(5):
            run(reader, "update t set b = %s where a = %s", "p%d" % i, keys[0])
            assert run(reader, "select b from t where a = %s", keys[0]) == [("p%d" % i,)]
            assert asked(nodes, reader) in ([1], [1, standbys[0]])
    finally:
        nodes.psql(standbys[0], "select pg_wal_replay_resume()")
    run(reader, "update t set b = 'x' || a")


def test_what_is_too_old_is_not_read(nodes, standbys, reader):
    """recovery_min_apply_delay: what others wrote is seen at the latest when the lag that is allowed is over."""
    key = nodes.keys_on("t", 1)[0]
    nodes.psql(standbys[0], "alter system set recovery_min_apply_delay = '1h'")
    nodes.psql(standbys[0], "select pg_reload_conf()")
    try:
        run(reader, "set citus.max_secondary_lag = '500ms'")
        for i in range(3):
            nodes.psql(0, "update t set b = 'd%d' where a = %d" % (i, key))
            time.sleep(0.6)
            assert run(reader, "select b from t where a = %s", key) == [("d%d" % i,)]
        run(reader, "set citus.max_secondary_lag = 0")
        for i in range(20):
            nodes.psql(0, "update t set b = 'e%d' where a = %d" % (i, key))
            assert run(reader, "select b from t where a = %s", key) == [("e%d" % i,)]
            assert asked(nodes, reader)[:1] == [1]
        # the other group's standby has no delay, and is used
        other = nodes.keys_on("t", 2)[0]
        goes_to(nodes, reader, [standbys[1]], [(1,)], "select count(*) from t where a = %s", other)
    finally:
        nodes.psql(standbys[0], "alter system reset recovery_min_apply_delay")
        nodes.psql(standbys[0], "select pg_reload_conf()")
    run(reader, "update t set b = 'x' || a")


def test_a_standby_that_is_lost_is_replaced_by_the_primary(nodes, standbys, reader):
    goes_to(nodes, reader, standbys, [(1000,)], "select count(*) from t")
    nodes.halt(standbys[0], "immediate")
    try:
        assert run(reader, "select count(*) from t") == [(1000,)]
        for _ in range(5):
            goes_to(nodes, reader, [1, standbys[1]], [(1000,)], "select count(*) from t")
        with contextlib.closing(nodes.session()) as c:
            run(c, "set citus.use_secondary_nodes = auto; set citus.log_remote_commands = on")
            assert run(c, "select count(*) from t") == [(1000,)]
    finally:
        nodes.boot(standbys[0])
    caught_up(nodes, standbys[0], 1)
    with contextlib.closing(nodes.session()) as c:
        run(c, "set citus.use_secondary_nodes = auto; set citus.log_remote_commands = on")
        goes_to(nodes, c, standbys, [(1000,)], "select count(*) from t")


def test_a_statement_under_way_goes_on_at_the_primary(nodes, standbys, reader):
    """The standby goes away while it works for the statement, before it has given rows."""
    import threading
    key = nodes.keys_on("t", 1)[0]
    got = []
    thread = threading.Thread(target=lambda: got.append(run(reader, "select b from t where a = %s", key)))
    waits = ("select count(*) from pg_stat_activity where wait_event_type = 'Lock' and "
             "application_name like 'citus_internal%'")
    with nodes.blocked("t", 1):
        nodes.psql(1, "create table flushed as select 1; drop table flushed")
        caught_up(nodes, standbys[0], 1)
        thread.start()
        eventually(lambda: nodes.value(standbys[0], waits) + nodes.value(1, waits) > 0)
        nodes.halt(standbys[0], "immediate")
        eventually(lambda: nodes.value(1, waits) > 0)
    thread.join()
    nodes.boot(standbys[0])
    assert got == [[("x%d" % key,)]]


def test_always_uses_another_secondary(nodes, standbys):
    third = add_standby(nodes, 1)
    try:
        caught_up(nodes, third, 1)
        caught_up(nodes, standbys[0], 1)
        nodes.halt(standbys[0], "immediate")
        for policy in ("greedy", "round-robin", "first-replica"):
            with contextlib.closing(nodes.session()) as c:
                run(c, "set citus.use_secondary_nodes = always; set citus.log_remote_commands = on; "
                       "set citus.task_assignment_policy = '%s'" % policy)
                goes_to(nodes, c, sorted([third, standbys[1]]), [(1000,)], "select count(*) from t")
                with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
                    run(c, "delete from t")
        nodes.boot(standbys[0])
        caught_up(nodes, standbys[0], 1)
        with contextlib.closing(nodes.session()) as c:
            run(c, "set citus.use_secondary_nodes = auto; set citus.log_remote_commands = on; "
                   "set citus.task_assignment_policy = 'round-robin'")
            seen = set()

            def both():
                run(c, "select count(*) from t")
                seen.update(asked(nodes, c))
                return {standbys[0], third} <= seen
            eventually(both, timeout=60)
    finally:
        nodes.psql(0, "select citus_remove_node('127.0.0.1', %d)" % nodes.ports[third])
        nodes.halt(third, "immediate")


def test_reference_tables_are_read_in_turn(nodes, standbys):
    with contextlib.closing(nodes.session()) as c:
        run(c, "set citus.log_remote_commands = on")
        seen = set()
        for policy, places in (("greedy", set()), ("round-robin", {1, 2}), ("first-replica", set())):
            run(c, "set citus.task_assignment_policy = '%s'" % policy)
            seen = set()
            for _ in range(6):
                assert run(c, "select a from r") == [(1,)]
                seen.update(asked(nodes, c))
            assert seen == places


def test_a_standby_that_was_promoted_is_not_read(nodes, standbys, reader):
    assert run(reader, "select count(*) from t") == [(1000,)]
    nodes.psql(standbys[1], "select pg_promote()")
    nodes.psql(standbys[1], "truncate t_%d" % nodes.value(
        0, "select min(shardid) from pg_dist_shard join pg_dist_placement using (shardid) "
           "where logicalrelid = 't'::regclass and groupid = 2"))
    assert run(reader, "select count(*) from t") == [(1000,)]
    run(reader, "set citus.max_secondary_lag = 0")
    for _ in range(3):
        assert run(reader, "select count(*) from t") == [(1000,)]
