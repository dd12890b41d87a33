"""Transactions over several nodes: savepoints, two-phase commit, crashes between its phases."""
import contextlib
import select
import signal
import socket
import os
import threading
import time

import psycopg2
import pytest
from conftest import run


@pytest.fixture
def txn(nodes, table):
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        yield c


def values(nodes, keys):
    return [nodes.value(0, "select b from t where a = %d" % k) for k in keys]


def write_both(c, keys, text):
    for k in keys:
        assert run(c, "update t set b = %s where a = %s", (text, k)) == 1


def test_commit_and_rollback(nodes, txn, keys):
    write_both(txn, keys, "one")
    assert run(txn, "select count(*) from t where b = 'one'") == [(2,)]
    txn.rollback()
    assert "one" not in values(nodes, keys)
    write_both(txn, keys, "two")
    txn.commit()
    assert values(nodes, keys) == ["two", "two"]
    assert nodes.all_prepared() == []


def test_savepoints_over_shards(nodes, txn, keys):
    write_both(txn, keys, "base")
    run(txn, "savepoint a")
    write_both(txn, keys, "inner")
    run(txn, "savepoint b")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(txn, "insert into t values (%s, 'dup')", (keys[0],))
    run(txn, "rollback to b")
    assert run(txn, "select count(*) from t where b = 'inner'") == [(2,)]
    run(txn, "rollback to a")
    assert run(txn, "select count(*) from t where b = 'base'") == [(2,)]
    run(txn, "savepoint c")
    run(txn, "update t set b = 'kept' where a = %s", (keys[1],))
    run(txn, "release c")
    txn.commit()
    assert values(nodes, keys) == ["base", "kept"]


def test_exception_blocks_in_plpgsql(nodes, table, keys):
    nodes.psql(0, """do $$ begin
        for i in 1..20 loop
            begin
                update t set b = 'loop' where a = %d;
                if i %% 2 = 0 then
                    insert into t values (%d, 'dup');
                end if;
            exception when unique_violation then null;
            end;
        end loop;
        update t set b = 'end' where a = %d;
    end $$""" % (keys[0], keys[1], keys[1]))
    assert values(nodes, keys) == ["loop", "end"]


def test_node_first_used_inside_a_savepoint(nodes, txn, keys):
    run(txn, "savepoint a")
    write_both(txn, keys, "gone")
    run(txn, "rollback to a")
    run(txn, "update t set b = 'stays' where a = %s", (keys[0],))
    txn.commit()
    assert values(nodes, keys)[0] == "stays"
    assert values(nodes, keys)[1] != "gone"


def test_one_writer_commits_in_one_phase(nodes, table, keys):
    with contextlib.closing(nodes.session()) as c:
        run(c, "set citus.log_remote_commands = on")
        run(c, "begin; update t set b = 'w' where a = %d; select count(*) from t; commit" % keys[0])
        sent = "".join(c.notices)
        assert "COMMIT" in sent and "PREPARE" not in sent


def test_local_writes_commit_together_with_remote_ones(nodes, table, keys):
    nodes.psql(0, "create table plain (i int)")
    with contextlib.closing(nodes.session()) as c:
        run(c, "set citus.log_remote_commands = on")
        run(c, "begin; insert into plain values (1); update t set b = 'lw' where a = %d; commit"
            % keys[0])
        assert "PREPARE TRANSACTION" in "".join(c.notices)
    assert nodes.value(0, "select count(*) from plain") == 1
    assert values(nodes, keys)[0] == "lw"


def test_deferred_failure_rolls_all_back(nodes, txn, keys):
    """The local commit fails after the workers have prepared."""
    with contextlib.closing(nodes.session()) as c:
        run(c, "create table if not exists d (i int unique deferrable initially deferred)")
    before = values(nodes, keys)
    run(txn, "insert into d values (1), (1)")
    write_both(txn, keys, "deferred")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        txn.commit()
    assert values(nodes, keys) == before
    assert nodes.all_prepared() == []


def test_read_only_transactions_write_nothing(nodes, txn, keys):
    run(txn, "set transaction read only")
    run(txn, "select count(*) from t")
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        run(txn, "update t set b = 'ro' where a = %s", (keys[0],))
    txn.rollback()


def test_repeatable_read_keeps_its_snapshot_per_node(nodes, table, keys):
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        c.set_session(isolation_level="REPEATABLE READ")
        before = run(c, "select a, b from t where a in %s order by a", (keys,))
        nodes.psql(0, "update t set b = 'later' where a in (%d, %d)" % keys)
        assert run(c, "select a, b from t where a in %s order by a", (keys,)) == before
        c.commit()


def in_background(nodes, keys, text):
    """A transaction over both workers, and this server, whose end is not waited for."""
    nodes.psql(0, "create table if not exists here (i int)")

    def work():
        with contextlib.suppress(psycopg2.Error):
            with contextlib.closing(nodes.session(autocommit=False)) as c:
                write_both(c, keys, text)
                run(c, "insert into here values (1)")
                c.commit()
    t = threading.Thread(target=work, daemon=True)
    t.start()
    return t


def test_coordinator_dies_before_it_decides(nodes, table, keys, wait_until):
    """Prepared everywhere, no decision: recovery rolls back."""
    before = values(nodes, keys)
    with contextlib.closing(nodes.session(autocommit=False)) as blocker:
        run(blocker, "lock table pg_dist_transaction in share mode")
        t = in_background(nodes, keys, "undecided")
        wait_until(lambda: nodes.prepared(1) and nodes.prepared(2))
        nodes.kill(0)
    t.join()
    assert nodes.prepared(1) and nodes.prepared(2)
    nodes.revive(0)
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == before


def test_coordinator_dies_after_it_decided(nodes, table, keys, wait_until):
    """The commit is on disk, no worker knows: recovery commits."""
    nodes.psql(0, "alter system set synchronous_standby_names = 'nobody'")
    nodes.psql(0, "select pg_reload_conf()")
    wait_until(lambda: nodes.value(0, "show synchronous_standby_names") == "nobody")
    t = in_background(nodes, keys, "decided")
    wait_until(lambda: nodes.value(0, "select count(*) from pg_stat_activity "
                                   "where wait_event = 'SyncRep' and query ilike 'commit%'"))
    assert nodes.prepared(1) and nodes.prepared(2)
    nodes.kill(0)
    t.join()
    with open(nodes.data(0) + "/postgresql.auto.conf", "a") as f:
        f.write("synchronous_standby_names = ''\n")
    nodes.revive(0)
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == ["decided", "decided"]
    wait_until(lambda: nodes.value(0, "select count(*) from pg_dist_transaction") == 0)


def test_worker_dies_between_prepare_and_commit(nodes, table, keys, wait_until):
    """Its prepared transaction survives it and is committed when it is back."""
    with contextlib.closing(nodes.session(autocommit=False)) as blocker:
        run(blocker, "lock table pg_dist_transaction in share mode")
        t = in_background(nodes, keys, "survives")
        wait_until(lambda: nodes.prepared(1) and nodes.prepared(2))
        nodes.kill(2)
        blocker.rollback()
    t.join()
    nodes.revive(2)
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == ["survives", "survives"]


def test_worker_dies_before_prepare(nodes, txn, keys, wait_until):
    before = values(nodes, keys)
    write_both(txn, keys, "lost")
    nodes.kill(1)
    try:
        with pytest.raises(psycopg2.Error):
            txn.commit()
    finally:
        nodes.revive(1)
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == before


def test_recovery_leaves_transactions_in_progress_alone(nodes, table, keys, wait_until):
    with contextlib.closing(nodes.session(autocommit=False)) as blocker:
        run(blocker, "lock table pg_dist_transaction in share mode")
        t = in_background(nodes, keys, "patient")
        wait_until(lambda: nodes.prepared(1) and nodes.prepared(2))
        blocker.rollback()
        blocker.autocommit = True
        run(blocker, "select recover_prepared_transactions()")
    t.join()
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == ["patient", "patient"]


def test_backend_terminated_while_prepared(nodes, table, keys, wait_until):
    before = values(nodes, keys)
    with contextlib.closing(nodes.session(autocommit=False)) as blocker:
        run(blocker, "lock table pg_dist_transaction in share mode")
        t = in_background(nodes, keys, "terminated")
        wait_until(lambda: nodes.prepared(1) and nodes.prepared(2))
        nodes.psql(0, "select pg_terminate_backend(pid) from pg_stat_activity "
                   "where query ilike 'commit%'")
        t.join()
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == before


def test_frozen_worker_does_not_hang_the_cancel(nodes, table, keys):
    """A worker that does not answer at all: cancel returns, the session stays usable."""
    with contextlib.closing(nodes.session()) as c:
        run(c, "select 1 from t where a = %s", (keys[0],))
        backend = nodes.value(1, "select pid from pg_stat_activity where application_name like "
                              "'citus_internal%%%010d'" % run(c, "select pg_backend_pid()")[0][0])
        os.kill(backend, signal.SIGSTOP)
        try:
            run(c, "set statement_timeout = '300ms'")
            with pytest.raises(psycopg2.errors.QueryCanceled):
                run(c, "select b from t where a = %s", (keys[0],))
        finally:
            os.kill(backend, signal.SIGCONT)
        run(c, "reset statement_timeout")
        assert run(c, "select a from t where a = %s", (keys[0],)) == [(keys[0],)]


def test_drop_database_is_not_held_up(nodes):
    nodes.psql(1, "create database other")
    nodes.psql(1, "create extension pgherd", db="other")
    nodes.psql(1, "drop database other")


def crossed(nodes, first, second, where=(0, 0)):
    """Two transactions that lock the two keys in opposite order; their errors, None without."""
    errors = [None, None]
    barrier = threading.Barrier(2, timeout=20)

    def work(i, one, two):
        with contextlib.closing(nodes.session(where[i], autocommit=False)) as c:
            run(c, "update t set b = b where a = %s", (one,))
            barrier.wait()
            try:
                run(c, "update t set b = 'dl%s' where a = %s", (i, two))
                c.commit()
            except psycopg2.Error as e:
                errors[i] = e

    threads = [threading.Thread(target=work, args=(0, first, second), daemon=True),
               threading.Thread(target=work, args=(1, second, first), daemon=True)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    assert not any(t.is_alive() for t in threads)
    return errors


@pytest.mark.parametrize("where", [(0, 0), (0, 1), (1, 2)])
def test_deadlock_over_two_nodes(nodes, table, keys, where):
    errors = crossed(nodes, keys[0], keys[1], where)
    failed = [e for e in errors if e]
    assert len(failed) == 1
    assert failed[0].pgcode == "40P01"
    assert nodes.all_prepared() == []


@pytest.mark.parametrize("level", ["serializable", "repeatable read", "serializable read only deferrable"])
def test_isolation_after_ddl(nodes, level):
    """What was prepared before is thrown away first, which must not begin the transaction."""
    with contextlib.closing(nodes.session()) as c:
        cur = c.cursor()
        cur.execute("create table after_ddl (a int primary key, b int)")
        cur.execute("select create_distributed_table('after_ddl', 'a')")
        for a in range(3):
            cur.execute("insert into after_ddl values (%s, 1)" % a)
        for kind in ("bigint", "int"):
            cur.execute("alter table after_ddl alter b type %s" % kind)
            cur.execute("begin isolation level " + level)
            cur.execute("select count(*), sum(b) from after_ddl")
            assert cur.fetchone() == (3, 3)
            if "read only" not in level:
                cur.execute("update after_ddl set b = b where a = 1")
            cur.execute("commit")
        cur.execute("drop table after_ddl")


# -- savepoints that a node did not set ------------------------------------------------------------


class Relay:
    """In front of a worker. `spoil` is a text whose last letter it turns into another, once."""

    CANCEL = b"\x04\xd2\x16\x2e"

    def __init__(self, port):
        self.to, self.spoil, self.hold, self.seen, self.cancels = port, None, False, b"", 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.pump, args=(s,), daemon=True).start()

    def asked(self, data):
        self.seen += data
        self.cancels += data[4:8] == self.CANCEL
        # A whole Parse: "ROLLBACK TO SAVEPOINT" is none.
        text = self.spoil and b"\0" + self.spoil + b"\0"
        if text and text in data:
            data = data.replace(text, text[:-2] + b"#\0")
            self.spoil = None
        return data

    def pump(self, a):
        with a, socket.create_connection(("127.0.0.1", self.to)) as b:
            while True:
                for s in select.select([a] if self.hold else [a, b], [], [], 0.05)[0]:
                    try:
                        data = s.recv(65536)
                        (b if s is a else a).sendall(self.asked(data) if s is a else data)
                    except OSError:
                        return
                    if not data:
                        return


@pytest.fixture(scope="module")
def relay(nodes, table):
    r = Relay(nodes.ports[2])
    node = nodes.value(0, "select nodeid from pg_dist_node where groupid = 2")
    host = nodes.value(0, "select nodename from pg_dist_node where groupid = 2")
    move = "select citus_update_node(%d, '%s', %d)"
    nodes.psql(0, move % (node, "127.0.0.1", r.port))
    yield r
    r.hold = False
    nodes.psql(0, move % (node, host, nodes.ports[2]))
    r.listener.close()


def fails(c, sql, relay, spoil):
    relay.spoil = spoil
    with pytest.raises(psycopg2.errors.SyntaxError):
        run(c, sql)
    assert relay.spoil is None


@pytest.mark.parametrize("spoil", [b"BEGIN ISOLATION LEVEL READ COMMITTED", b"SAVEPOINT herd_2"])
def test_failed_savepoint_of_a_node_that_did_nothing(nodes, txn, keys, relay, spoil):
    run(txn, "set local citus.propagate_set_commands to 'local'")
    run(txn, "set local my.own to 'mine'")
    run(txn, "update t set b = 'base' where a = %s", (keys[0],))
    run(txn, "savepoint s")
    fails(txn, "update t set b = 'gone' where a in (%d, %d)" % keys, relay, spoil)
    run(txn, "rollback to s")
    assert run(txn, "select b from t where a = %d" % keys[0]) == [("base",)]
    run(txn, "update t set b = current_setting('my.own', true) || a where a = %s", (keys[1],))
    txn.commit()
    assert values(nodes, keys) == ["base", "mine%d" % keys[1]]


def test_failed_savepoint_of_a_node_that_wrote(nodes, txn, keys, relay):
    before = values(nodes, keys)
    write_both(txn, keys, "base")
    run(txn, "savepoint s")
    fails(txn, "update t set b = 'gone' where a = %d" % keys[1], relay, b"SAVEPOINT herd_2")
    run(txn, "rollback to s")
    with pytest.raises(psycopg2.OperationalError, match="could not set a savepoint"):
        run(txn, "select b from t where a = %d" % keys[1])
    txn.rollback()
    assert values(nodes, keys) == before
    write_both(txn, keys, "again")
    txn.commit()
    assert values(nodes, keys) == ["again", "again"]


def test_failed_release(nodes, txn, keys, relay):
    """The savepoint of the same name that is still there would take back too much."""
    before = values(nodes, keys)
    write_both(txn, keys, "base")
    run(txn, "savepoint s")
    write_both(txn, keys, "kept")
    run(txn, "release s; savepoint s")
    fails(txn, "update t set b = 'gone' where a = %d" % keys[1], relay,
          b"RELEASE SAVEPOINT herd_2")
    run(txn, "rollback to s")
    with pytest.raises(psycopg2.OperationalError, match="could not set a savepoint"):
        txn.commit()
    assert values(nodes, keys) == before


def test_cancel_spares_the_savepoint(nodes, txn, keys, relay, wait_until):
    write_both(txn, keys, "base")
    errors = []

    def fail():
        try:
            run(txn, "update t set b = (1 / (a - %d))::text where a in (%d, %d)" %
                (keys[0], keys[0], waits))
        except psycopg2.Error as e:
            errors.append(e.pgcode)

    waits = nodes.keys_on("t", 2, 2)[1]
    with contextlib.closing(nodes.session(autocommit=False)) as other:
        run(other, "update t set b = 'other' where a = %s", (waits,))
        run(txn, "savepoint s")
        relay.seen, relay.cancels, relay.hold = b"", 0, True
        failing = threading.Thread(target=fail)
        failing.start()
        wait_until(lambda: b"SAVEPOINT herd_2" in relay.seen, what="SAVEPOINT")
        time.sleep(0.5)  # the other node has failed by now; if not, this proves less
        assert relay.cancels == 0
        relay.hold = False
        failing.join(30)  # the lock is still held: now the request was sent
    assert errors == ["22012"]
    run(txn, "rollback to s")
    assert run(txn, "select count(*) from t where b = 'base'") == [(2,)]
    write_both(txn, keys, "after")
    txn.commit()
    assert values(nodes, keys) == ["after", "after"]
