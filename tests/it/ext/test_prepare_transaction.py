"""PREPARE TRANSACTION over several nodes, and what decides about it later: COMMIT or ROLLBACK PREPARED."""
import contextlib
import itertools
import os
import random
import signal
import threading
import time

import psycopg2
import pytest
from conftest import eventually, run


@pytest.fixture
def prepare(nodes, table, keys):
    """prepare(gid, text): both rows get the text in a transaction that is prepared under the name."""
    def prepare(gid, text, node=0):
        with contextlib.closing(nodes.session(node, autocommit=False)) as c:
            assert run(c, "update t set b = %s where a in %s", (text, keys)) == 2
            run(c, "prepare transaction %s", (gid,))
    yield prepare
    for node in range(3):
        for (gid,) in nodes.rows(node, "select gid from pg_prepared_xacts where gid !~ '^citus_'"):
            nodes.rows(node, "rollback prepared '%s'" % gid)


def values(nodes, keys):
    return {nodes.value(0, "select b from t where a = %d" % k) for k in keys}


def recovered(nodes, node=0):
    return nodes.value(node, "select recover_prepared_transactions()")


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_another_session_decides(nodes, prepare, keys, how, node):
    before = values(nodes, keys)
    prepare("mine", how, node)
    assert len(nodes.all_prepared()) == (2 if node == 0 else 1)
    assert recovered(nodes, node) == 0, "recovery leaves it alone"
    assert values(nodes, keys) == before
    nodes.rows(node, how + " prepared 'mine'")
    assert nodes.all_prepared() == []
    assert values(nodes, keys) == ({"commit"} if how == "commit" else before)
    assert recovered(nodes, node) == 0
    assert nodes.value(node, "select count(*) from pg_dist_transaction") == 0


def test_rows_stay_locked(nodes, prepare, keys):
    prepare("locked", "locked")
    with contextlib.closing(nodes.session()) as c:
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            run(c, "select * from t where a = %s for update nowait", (keys[1],))
        run(c, "commit prepared 'locked'")
        assert run(c, "select b from t where a = %s for update nowait", (keys[1],)) == [("locked",)]


def test_the_interface_of_drivers(nodes, table, keys):
    """XA's functions, as psycopg has them."""
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        xid = c.xid(7, "global", "branch")
        c.tpc_begin(xid)
        run(c, "update t set b = 'xa' where a in %s", (keys,))
        c.tpc_prepare()
        c.reset()
        assert [x.gtrid for x in c.tpc_recover()] == ["global"], "parts on nodes are not listed"
        c.reset()
        c.tpc_commit(xid)
    assert values(nodes, keys) == {"xa"}
    assert nodes.all_prepared() == []


def test_a_name_that_is_taken(nodes, prepare, keys):
    nodes.rows(0, "create table if not exists plain (i int)")
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        run(c, "insert into plain values (1)")
        run(c, "prepare transaction 'taken'")
    before = values(nodes, keys)
    with pytest.raises(psycopg2.errors.DuplicateObject):
        prepare("taken", "second")
    assert nodes.all_prepared() == []
    assert values(nodes, keys) == before


def test_what_is_deferred_is_checked(nodes, prepare, keys):
    """The rows that a key between nodes asks for are looked at by PREPARE, as by COMMIT."""
    nodes.psql(0, """
        create table pt_parent (k int primary key);
        create table pt_child (k int primary key, p int);
        select create_distributed_table('pt_parent', 'k');
        select create_distributed_table('pt_child', 'k', colocate_with => 'none');
        alter table pt_child add constraint pt_fk foreign key (p) references pt_parent (k)
            deferrable initially deferred""")
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        run(c, "insert into pt_child select i, i from generate_series(1, 20) i")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            run(c, "prepare transaction 'far'")
        c.rollback()
        assert nodes.all_prepared() == []
        run(c, "insert into pt_child select i, i from generate_series(1, 20) i")
        run(c, "insert into pt_parent select generate_series(1, 20)")
        run(c, "prepare transaction 'far'")
    nodes.rows(0, "commit prepared 'far'")
    assert nodes.value(0, "select count(*) from pt_child join pt_parent on p = pt_parent.k") == 20
    nodes.psql(0, "drop table pt_child, pt_parent")


def test_local_and_reference_tables_savepoints_and_definitions(nodes, prepare, keys):
    nodes.psql(0, """create table pt_local (i int); create table pt_ref (i int);
        select create_reference_table('pt_ref')""")
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        run(c, "insert into pt_local values (1)")
        run(c, "insert into pt_ref values (1)")
        run(c, "savepoint s")
        run(c, "insert into pt_ref values (2)")
        run(c, "update t set b = 'lost' where a = %s", (keys[0],))
        run(c, "rollback to s")
        run(c, "alter table t add column extra int default 5")
        run(c, "prepare transaction 'all'")
    nodes.rows(0, "commit prepared 'all'")
    assert nodes.all_prepared() == []
    for node in range(3):
        assert nodes.value(node, "select array_agg(i) from pt_ref") == [1]
        assert nodes.value(node, "select extra from t where a = %d" % keys[1]) == 5
    assert nodes.value(0, "select count(*) from pt_local") == 1
    assert "lost" not in values(nodes, keys)
    nodes.psql(0, "alter table t drop column extra; drop table pt_local, pt_ref")


def test_transactions_that_only_read(nodes, table):
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        run(c, "select count(*) from t")
        run(c, "prepare transaction 'read'")
        assert nodes.all_prepared() == []
    nodes.rows(0, "commit prepared 'read'")


def test_only_its_owner_may_end_it(nodes, prepare, keys):
    nodes.psql(0, "create role pt_other login")
    prepare("owned", "owned")
    with contextlib.closing(nodes.session(user="pt_other")) as c:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(c, "commit prepared 'owned'")
        with pytest.raises(psycopg2.errors.UndefinedObject):
            run(c, "commit prepared 'nobody''s'")
    assert len(nodes.all_prepared()) == 2
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        run(c, "select 1")
        with pytest.raises(psycopg2.errors.ActiveSqlTransaction):
            run(c, "commit prepared 'owned'")
    nodes.rows(0, "commit prepared 'owned'")
    assert values(nodes, keys) == {"owned"}
    nodes.psql(0, "drop role pt_other")


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_the_server_of_the_session_is_killed(nodes, prepare, keys, how):
    before = values(nodes, keys)
    prepare("crash", how + " after a crash")
    nodes.kill(0)
    nodes.revive(0)
    assert recovered(nodes) == 0, "the number is still locked"
    assert len(nodes.all_prepared()) == 2
    nodes.rows(0, how + " prepared 'crash'")
    assert nodes.all_prepared() == []
    assert values(nodes, keys) == ({"commit after a crash"} if how == "commit" else before)


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_a_node_is_away_when_it_is_decided(nodes, prepare, keys, how):
    before = values(nodes, keys)
    prepare("away", how + " without a node")
    nodes.kill(2)
    try:
        with contextlib.closing(nodes.session()) as c:
            run(c, how + " prepared 'away'")
            assert "will be finished by recovery" in "".join(c.notices)
    finally:
        nodes.revive(2)
    eventually(lambda: recovered(nodes) == 0 and nodes.all_prepared() == [])
    assert values(nodes, keys) == ({"commit without a node"} if how == "commit" else before)


def test_the_server_is_killed_before_its_own_part_is_prepared(nodes, table, keys):
    """The nodes have prepared, nothing is prepared here: recovery rolls them back."""
    before = values(nodes, keys)

    def prepare(c):
        with pytest.raises(psycopg2.OperationalError):
            run(c, "prepare transaction 'half'")

    with contextlib.closing(nodes.session(autocommit=False)) as c, \
            contextlib.closing(nodes.session(autocommit=False)) as lock:
        run(lock, "lock table pg_dist_transaction in exclusive mode")
        run(c, "update t set b = 'half' where a in %s", (keys,))
        waits = threading.Thread(target=prepare, args=(c,))
        waits.start()
        eventually(lambda: len(nodes.all_prepared()) == 2)
        nodes.kill(0)
        waits.join()
    nodes.revive(0)
    eventually(lambda: recovered(nodes) >= 0 and nodes.all_prepared() == [])
    assert values(nodes, keys) == before


def transfer(nodes, rng, gid):
    """Between two rows; how far it comes is for those who kill it to say."""
    with contextlib.suppress(psycopg2.Error):
        with contextlib.closing(nodes.session(rng.choice((0, 0, 1, 2)), autocommit=False)) as c:
            run(c, "set local lock_timeout = '300ms'")
            one, other = rng.sample(range(1, 41), 2)
            run(c, "update pt_account set v = v - 1 where k = %s", (one,))
            run(c, "update pt_account set v = v + 1 where k = %s", (other,))
            run(c, "prepare transaction %s", (gid,))
            c.rollback()
            c.autocommit = True
            if rng.random() < 0.9:
                run(c, "%s prepared '%s'" % (rng.choice(("commit", "rollback")), gid))


def kill_one(nodes, rng):
    """A backend of any node; now and then so that its server starts anew."""
    with contextlib.suppress(psycopg2.Error):
        found = nodes.rows(rng.randrange(3), "select pid, pg_terminate_backend(pid) from pg_stat_activity where "
                           "backend_type = 'client backend' and pid <> pg_backend_pid() order by random() limit 1")
        if found and rng.random() < 0.1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[0][0], signal.SIGKILL)


def test_transfers_amid_kills(nodes):
    """Nothing is lost, half done, or left behind."""
    nodes.psql(0, """create table pt_account (k int primary key, v int);
        select create_distributed_table('pt_account', 'k');
        insert into pt_account select i, 100 from generate_series(1, 40) i""")
    end = time.monotonic() + 10

    def work(number):
        rng = random.Random(number)
        for i in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
            transfer(nodes, rng, "pt_%d_%d" % (number, i))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    rng = random.Random(7)
    while time.monotonic() < end:
        time.sleep(rng.random() / 2)
        kill_one(nodes, rng)
    for t in threads:
        t.join()

    def nothing_prepared():
        with contextlib.suppress(psycopg2.Error):
            for node in range(3):
                for (gid,) in nodes.rows(node, "select gid from pg_prepared_xacts where gid ~ '^pt_'"):
                    nodes.rows(node, "commit prepared '%s'" % gid)
                recovered(nodes, node)
            return nodes.all_prepared() == []

    eventually(nothing_prepared)
    assert nodes.rows(0, "select sum(v), count(*) from pt_account") == [(4000, 40)]
    assert all(recovered(nodes, n) == 0 and nodes.value(n, "select count(*) from pg_dist_transaction") == 0
               for n in range(3))
    nodes.psql(0, "drop table pt_account")
