"""Running tasks: fast path, parallel reads, streaming, cancel, errors, COPY, cached connections."""
import contextlib
import io
import os
import threading
import time

import psycopg2
import pytest
from cluster import free_port
from conftest import run


@pytest.fixture
def session(nodes, table):
    with contextlib.closing(nodes.session()) as c:
        yield c


def internal_sessions(nodes, node, what="true"):
    return nodes.value(node, "select count(*) from pg_stat_activity where application_name like "
                       "'citus_internal%%' and %s" % what)


def test_reads_and_writes_by_key(session):
    assert run(session, "select b from t where a = 17") == [("x17",)]
    assert run(session, "update t set b = 'y' where a = 17") == 1
    assert run(session, "select b from t where a = 17") == [("y",)]
    assert run(session, "delete from t where a = 17") == 1
    assert run(session, "insert into t values (17, 'x17')") == 1


def test_all_shards_are_read_and_written(session):
    assert run(session, "select count(*), sum(a) from t") == [(1000, 500500)]
    assert run(session, "update t set b = 'x' || a") == 1000
    assert run(session, "select count(*) from t where b = 'x' || a") == [(1000,)]


def test_lone_write_opens_no_block(nodes, session):
    """One statement, one message: the workers see neither BEGIN nor PREPARE."""
    session.notices.clear()
    run(session, "set citus.log_remote_commands = on")
    run(session, "update t set b = b where a = 5")
    sent = "".join(session.notices)
    assert "UPDATE" in sent
    assert "BEGIN" not in sent and "PREPARE" not in sent and "COMMIT" not in sent


def test_write_in_a_function_is_part_of_its_transaction(nodes, session):
    one, two = nodes.keys_on("t", 1)[0], nodes.keys_on("t", 2)[0]
    run(session, "create or replace procedure fails(i int, j int) language plpgsql as $$ begin "
        "update t set b = 'no' where a = i; update t set b = 'no' where a = j; "
        "perform 1 / 0; end $$")
    with pytest.raises(psycopg2.errors.DivisionByZero):
        run(session, "call fails(%s, %s)", (one, two))
    assert run(session, "select count(*) from t where b = 'no'") == [(0,)]


def test_large_result_streams_and_limit_stops_it(session):
    run(session, "set work_mem = '1MB'")
    cur = session.cursor()
    cur.execute("select a, repeat(b, 1000) from t")
    assert len(cur.fetchall()) == 1000
    assert len(run(session, "select a from t limit 3")) == 3
    assert run(session, "select count(*) from t") == [(1000,)]


def test_two_cursors_share_the_connections(nodes, table):
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        run(c, "update t set b = b where a <= 10")  # from here on one connection per node
        one, two = c.cursor("one"), c.cursor("two")
        one.itersize = two.itersize = 7
        one.execute("select a from t order by a")
        two.execute("select a from t where a > 500 order by a")
        a = [one.fetchone()[0] for _ in range(20)]
        b = [two.fetchone()[0] for _ in range(20)]
        a += [r[0] for r in one.fetchall()]
        b += [r[0] for r in two.fetchall()]
        assert a == list(range(1, 1001))
        assert b == list(range(501, 1001))


def test_remote_errors_arrive_whole(nodes, session):
    with pytest.raises(psycopg2.errors.UniqueViolation) as e:
        run(session, "insert into t values (1, 'again')")
    assert "already exists" in e.value.diag.message_detail
    assert e.value.diag.constraint_name.startswith("t_pkey")
    assert "127.0.0.1:" in e.value.diag.context
    assert run(session, "select count(*) from t") == [(1000,)]


def waiting(nodes, node):
    return internal_sessions(nodes, node, "wait_event_type = 'Lock'")


def test_statement_timeout_stops_the_nodes(nodes, session, wait_until):
    run(session, "set statement_timeout = '300ms'")
    began = time.monotonic()
    with nodes.blocked("t", 1):
        with pytest.raises(psycopg2.errors.QueryCanceled):
            run(session, "select count(*) from t")
        wait_until(lambda: waiting(nodes, 1) == 0)
    assert time.monotonic() - began < 8
    run(session, "reset statement_timeout")
    assert run(session, "select count(*) from t") == [(1000,)]


def test_cancel_by_the_user(nodes, session, wait_until):
    failed = []

    def work():
        try:
            run(session, "update t set b = b")
        except psycopg2.errors.QueryCanceled as e:
            failed.append(e)

    with nodes.blocked("t", 1):
        t = threading.Thread(target=work, daemon=True)
        t.start()
        wait_until(lambda: waiting(nodes, 1))
        session.cancel()
        t.join(20)
        assert failed
        wait_until(lambda: waiting(nodes, 1) == 0)
    assert run(session, "select count(*) from t") == [(1000,)]
    assert nodes.all_prepared() == []


def test_connections_are_kept_within_the_limit(nodes, session):
    for _ in range(5):
        run(session, "select count(*) from t")
        run(session, "update t set b = b")
    run(session, "select 1 from t where a = 1")
    pid = run(session, "select pg_backend_pid()")[0][0]
    for n in (1, 2):
        mine = internal_sessions(nodes, n, "application_name like '%%%010d'" % pid)
        assert mine <= 1


def test_session_end_closes_connections(nodes, wait_until, table):
    with contextlib.closing(nodes.session()) as c:
        run(c, "select count(*) from t")
        pid = run(c, "select pg_backend_pid()")[0][0]
    for n in (1, 2):
        wait_until(lambda n=n: internal_sessions(
            nodes, n, "application_name like '%%%010d'" % pid) == 0)


def test_cached_connection_is_replaced_after_a_restart(nodes, session):
    assert run(session, "select count(*) from t") == [(1000,)]
    nodes.halt(1)
    nodes.boot(1)
    key = nodes.keys_on("t", 1)[0]
    assert run(session, "update t set b = b where a = %s", (key,)) == 1
    assert run(session, "select count(*) from t") == [(1000,)]


def test_a_restarting_worker_is_waited_for(nodes, session):
    key = nodes.keys_on("t", 1)[0]
    nodes.halt(1, "immediate")
    t = threading.Timer(1.5, lambda: nodes.boot(1))
    t.start()
    try:
        assert run(session, "update t set b = b where a = %s", (key,)) == 1
    finally:
        t.join()


def test_waiting_can_be_cancelled_and_ends(nodes, session):
    key = nodes.keys_on("t", 1)[0]
    nodes.halt(1, "immediate")
    try:
        run(session, "set statement_timeout = '500ms'")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            run(session, "select b from t where a = %s", (key,))
        run(session, "set statement_timeout = 0; set citus.node_connection_timeout = '1s'; "
            "set citus.node_hold_timeout = '2s'")
        with pytest.raises(psycopg2.errors.SqlclientUnableToEstablishSqlconnection) as e:
            run(session, "select b from t where a = %s", (key,))
        assert "password" not in str(e.value)
    finally:
        nodes.boot(1)
    run(session, "reset citus.node_connection_timeout; reset citus.node_hold_timeout")
    assert run(session, "select count(*) from t") == [(1000,)]


def test_copy_into_shards(nodes, session):
    run(session, "create table c (a int, b text, c numeric)")
    run(session, "select create_distributed_table('c', 'a')")
    data = "".join("%d\ttab \\t %d\t%s\n" % (i, i, "\\N" if i % 7 == 0 else i / 10)
                   for i in range(20000))
    cur = session.cursor()
    cur.copy_expert("copy c from stdin", io.StringIO(data))
    assert cur.rowcount == 20000
    assert run(session, "select count(*), count(c), sum(a) from c") == [
        (20000, 20000 - 2858, sum(range(20000)))]
    assert run(session, "select b from c where a = 123") == [("tab \t 123",)]
    with pytest.raises(psycopg2.errors.NotNullViolation):
        cur.copy_expert("copy c from stdin", io.StringIO("1\ta\t1\n\\N\tb\t2\n"))
    assert run(session, "select count(*) from c") == [(20000,)]
    run(session, "drop table c")


def test_reference_table_is_written_everywhere(nodes, session):
    run(session, "create table r (k int primary key, v text)")
    run(session, "select create_reference_table('r')")
    assert run(session, "insert into r values (1, 'a'), (2, 'b')") == 2
    assert run(session, "update r set v = v || '!'") == 2
    shard = run(session, "select shardid from pg_dist_shard where logicalrelid = 'r'::regclass")
    for n in (0, 1, 2):
        assert nodes.rows(n, "select k, v from r_%d order by k" % shard[0][0]) == [
            (1, "a!"), (2, "b!")]
    cur = session.cursor()
    cur.copy_expert("copy r from stdin", io.StringIO("3\tc\n"))
    for n in (0, 1, 2):
        assert nodes.value(n, "select count(*) from r_%d" % shard[0][0]) == 3


def test_any_node_takes_queries(nodes, table):
    with contextlib.closing(nodes.session(1)) as c:
        assert run(c, "select count(*), sum(a) from t") == [(1000, 500500)]
        assert run(c, "update t set b = 'w' where a <= 100") == 100
        assert run(c, "select count(*) from t where b = 'w'") == [(100,)]
        assert run(c, "update t set b = 'x' || a") == 1000


def test_settings_travel(session):
    run(session, "set timezone = 'Asia/Kathmandu'; set datestyle = 'SQL, DMY'")
    assert run(session, "select extract(timezone from '2024-01-01'::timestamptz + a * '0s'::interval)"
               "::int from t where a = 3") == [(20700,)]


def test_a_statement_follows_its_group_to_another_address(nodes, session, wait_until):
    """The worker goes away and comes back elsewhere; who waited for it notices nothing else."""
    key = nodes.keys_on("t", 2)[0]
    node = nodes.value(0, "select nodeid from pg_dist_node where groupid = 2")
    done = []
    assert run(session, "select a from t where a = %s", (key,)) == [(key,)]
    nodes.halt(2)
    nodes.ports[2] = free_port()
    with open(nodes.data(2) + "/postgresql.conf", "a") as f:
        f.write("port = %d\n" % nodes.ports[2])
    t = threading.Thread(target=lambda: done.append(
        run(session, "update t set b = 'moved' where a = %s", (key,))), daemon=True)
    t.start()
    time.sleep(0.5)
    assert not done
    nodes.boot(2)
    nodes.psql(0, "select citus_update_node(%d, '127.0.0.1', %d)" % (node, nodes.ports[2]))
    t.join(20)
    assert done == [1]
    wait_until(lambda: nodes.value(1, "select nodeport from pg_dist_node where groupid = 2")
               == nodes.ports[2])
    with contextlib.closing(nodes.session(1)) as c:
        assert run(c, "select b from t where a = %s", (key,)) == [("moved",)]
        assert run(c, "update t set b = 'x' || a where a = %s", (key,)) == 1


def test_an_open_transaction_holds_up_a_change_of_its_group_only(nodes, table):
    key, other = nodes.keys_on("t", 1)[0], nodes.keys_on("t", 2)[0]
    node = nodes.value(0, "select nodeid from pg_dist_node where groupid = 1")
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        run(c, "update t set b = b where a = %s", (key,))
        moved = []
        t = threading.Thread(target=lambda: moved.append(nodes.psql(
            0, "select citus_update_node(%d, 'localhost', %d)" % (node, nodes.ports[1]))),
            daemon=True)
        t.start()
        time.sleep(0.5)
        assert not moved
        assert nodes.rows(0, "select a from t where a = %d" % other) == [(other,)]
        c.commit()
        t.join(20)
        assert moved
    nodes.psql(0, "select citus_update_node(%d, '127.0.0.1', %d)" % (node, nodes.ports[1]))
    assert nodes.value(0, "select count(*) from t") == 1000


def open_files(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def test_errors_leak_neither_descriptors_nor_sessions(nodes, session):
    pid = run(session, "select pg_backend_pid()")[0][0]

    def fail(i):
        with pytest.raises(psycopg2.Error):
            if i % 3 == 0:
                run(session, "select 1 / (a - 500) from t")
            elif i % 3 == 1:
                run(session, "insert into t values (%s, 'dup')", (i + 1,))
            else:
                run(session, "do $$ begin update t set b = b; perform 1 / 0; end $$")

    for i in range(6):
        fail(i)
    run(session, "select count(*) from t")
    before = open_files(pid)
    for i in range(60):
        fail(i)
    run(session, "select count(*) from t")
    assert open_files(pid) <= before + 2
    for n in (1, 2):
        assert internal_sessions(nodes, n, "application_name like '%%%010d'" % pid) <= 1
    assert nodes.all_prepared() == []


def test_hundreds_of_shards(nodes, session):
    run(session, "set citus.shard_count = 256; create table many (a int primary key, b int)")
    run(session, "select create_distributed_table('many', 'a', colocate_with => 'none')")
    assert run(session, "insert into many select g, g from generate_series(1, 5000) g") == 5000
    assert run(session, "select count(*), sum(b) from many") == [(5000, 12502500)]
    assert run(session, "update many set b = b + 1") == 5000
    run(session, "begin; update many set b = b + 1; savepoint s; update many set b = 0; "
        "rollback to s; commit")
    assert run(session, "select sum(b) from many") == [(12512500,)]
    run(session, "drop table many; reset citus.shard_count")
