"""Transactions that wrote on workers only: one of the workers decides, whoever dies."""
import contextlib
import threading

import psycopg2
import pytest
from conftest import run


def values(nodes, keys):
    return [nodes.value(0, "select b from t where a = %d" % k) for k in keys]


class Held:
    """A transaction over both workers that waits where it is to be decided."""

    def __init__(self, nodes, keys, text, wait_until):
        self.nodes, self.error = nodes, None
        self.blockers = [nodes.session(n, autocommit=False) for n in (1, 2)]
        for b in self.blockers:
            run(b, "lock table pg_dist_transaction in share mode")
        self.client = threading.Thread(target=self.work, args=(keys, text), daemon=True)
        self.client.start()
        wait_until(self.deciding)
        self.decider = 1 if nodes.prepared(2) else 2
        (self.gid,) = nodes.prepared(3 - self.decider)

    def work(self, keys, text):
        try:
            with contextlib.closing(self.nodes.session(autocommit=False)) as c:
                for k in keys:
                    assert run(c, "update t set b = %s where a = %s", (text, k)) == 1
                c.commit()
        except psycopg2.Error as e:
            self.error = e

    def waiting(self, node):
        return [p for p, in self.nodes.rows(
            node, "select pid from pg_stat_activity where query like 'CALL%' and "
            "wait_event_type = 'Lock' and application_name like 'citus_internal%'")]

    def deciding(self):
        return self.waiting(1) or self.waiting(2)

    def release(self):
        for b in self.blockers:
            with contextlib.suppress(psycopg2.Error):
                b.rollback()
            b.close()

    def end_decider(self):
        (pid,) = self.waiting(self.decider)
        self.nodes.psql(self.decider, "select pg_terminate_backend(%d)" % pid)


@pytest.fixture
def hold(nodes, keys, wait_until):
    made = []

    def make(text):
        made.append(Held(nodes, keys, text, wait_until))
        return made[-1]
    yield make
    for h in made:
        h.release()


def test_one_is_not_prepared(nodes, table, keys):
    with contextlib.closing(nodes.session()) as c:
        run(c, "set citus.log_remote_commands = on")
        # rows of the tests' preparations are on their way out
        before = nodes.value(0, "select count(*) from pg_dist_transaction")
        for n in range(4):
            c.notices.clear()
            run(c, "begin; update t set b = 'n%d' where a in (%d, %d); commit" % ((n,) + keys))
            sent = "".join(c.notices)
            assert sent.count("PREPARE TRANSACTION") == sent.count("COMMIT PREPARED") == 1
            assert sent.count("CALL citus_internal.decide_commit") == 1
            assert values(nodes, keys) == ["n%d" % n] * 2
        assert nodes.all_prepared() == []
        assert nodes.value(0, "select count(*) from pg_dist_transaction") <= before


def test_rows_of_decisions_go(nodes, table, keys, wait_until):
    nodes.psql(0, "update t set b = 'forget' where a in (%d, %d)" % keys)
    wait_until(lambda: all(nodes.value(n, "select count(*) from pg_dist_transaction "
                                       "where outer_xid <> '0'") == 0 for n in (1, 2)))


def test_origin_dies_and_the_decider_commits(nodes, table, keys, hold, wait_until):
    """Its COMMIT is on the way when the coordinator dies: it counts."""
    h = hold("on its way")
    nodes.kill(0)
    h.client.join()
    h.release()
    wait_until(lambda: not h.waiting(h.decider))
    nodes.revive(0)
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == ["on its way"] * 2


def test_origin_and_decider_die(nodes, table, keys, hold, wait_until):
    """Recovery refuses, for ever, what nobody has decided."""
    before = values(nodes, keys)
    h = hold("never")
    nodes.kill(0)
    h.client.join()
    h.end_decider()
    h.release()
    nodes.revive(0)
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == before
    with pytest.raises(psycopg2.errors.UniqueViolation):
        nodes.rows(h.decider, "call citus_internal.decide_commit(%d, '%s')" %
                   (3 - h.decider, h.gid))
    # the refusal outlives what it refused
    nodes.rows(h.decider, "select recover_prepared_transactions()")
    assert nodes.value(h.decider, "select outer_xid::text from pg_dist_transaction "
                       "where gid = '%s'" % h.gid) == "0"


def test_connection_to_the_decider_is_lost(nodes, table, keys, hold, wait_until):
    """Nobody here can tell what became of it: an error that says so, then recovery."""
    before = values(nodes, keys)
    h = hold("unknown")
    h.end_decider()
    h.client.join()
    assert h.error.pgcode == "08007"
    h.release()
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == before


def test_decider_refuses(nodes, table, keys, hold, wait_until):
    """Its cancelled command is an error, and nothing is left."""
    before = values(nodes, keys)
    h = hold("cancelled")
    (pid,) = h.waiting(h.decider)
    nodes.psql(h.decider, "select pg_cancel_backend(%d)" % pid)
    h.client.join()
    assert h.error.pgcode == "57014"
    assert nodes.all_prepared() == []
    assert values(nodes, keys) == before


def test_recovery_waits_for_a_decision(nodes, table, keys, hold, wait_until):
    """The other worker is away while the decision is made, and gets it when it is back."""
    h = hold("late")
    other = 3 - h.decider
    nodes.kill(other)
    h.release()
    h.client.join()
    nodes.revive(other)
    wait_until(lambda: not nodes.all_prepared())
    assert values(nodes, keys) == ["late"] * 2


def test_only_gids_of_this_node_are_decided(nodes, table):
    for gid in ("mine", "citus_0_1_2_3", "citus_0_1_2_3_2", "citus_0_1_2_3_1"):
        with pytest.raises(psycopg2.Error) as e:
            nodes.rows(1, "call citus_internal.decide_commit(2, '%s')" % gid)
        assert e.value.pgcode in ("22023", "55000")
