"""Replication slots on real servers: who has which, where they stand, and what a change of leader
does to a client that decodes."""

import contextlib
import json
import os
import re
import signal
import subprocess

import pytest

from herd import BIN_DIR, PASSWORD, Herd, wait_for

LOGICAL = {"type": "logical", "database": "postgres", "plugin": "test_decoding"}
PARAMETERS = {"wal_level": "logical", "max_replication_slots": 12}


def slots(m):
    return {r[0]: r[1:] for r in m.sql(
        "select slot_name, slot_type, active, coalesce(confirmed_flush_lsn, restart_lsn)::text, xmin::text"
        " from pg_replication_slots")}


def position(m, slot):
    return m.sql("select coalesce(confirmed_flush_lsn, restart_lsn) - '0/0' from pg_replication_slots"
                 " where slot_name = %s", slot)[0][0]


def patch(herd, **config):
    status, text = herd.leader().request("PATCH", "/config", config)
    assert status == 200, text


def has(m, *names):
    return lambda: set(names) <= set(slots(m))


def lacks(m, *names):
    return lambda: not set(names) & set(slots(m))


def document(herd):
    return json.loads(herd.keys()["/service/batman/status"])


@pytest.fixture(scope="module")
def herd():
    with Herd(3, dcs={"postgresql": {"use_pg_rewind": True, "parameters": PARAMETERS}}) as h:
        h.wait_healthy()
        yield h


def consume(m, slot="orders"):
    """What a client would get, and confirm: rows of table t."""
    with contextlib.closing(m.connect()) as c, c.cursor() as cur:
        cur.execute("select data from pg_logical_slot_get_changes(%s, null, null)", (slot,))
        return [int(r[0].rsplit(":", 1)[1]) for r in cur.fetchall() if "INSERT" in r[0]]


def test_members(herd):
    """Every node has a slot for every other, as far as that has come."""
    leader = herd.leader()
    for m in herd.members:
        others = [x.name for x in herd.members if x is not m]
        wait_for(has(m, *others), what=f"slots of {m.name}")
        assert m.name not in slots(m)
    leader.sql("create table noise as select generate_series(1, 20000)")
    lsn = leader.sql("select pg_current_wal_lsn() - '0/0'")[0][0]
    a, b = herd.replicas()
    wait_for(lambda: position(a, b.name) >= lsn and position(b, a.name) >= lsn, 30, "advance")
    wait_for(lambda: position(a, leader.name) >= lsn, 30, "the leader's own")
    doc = document(herd)
    assert set(doc["slots"]) == {m.name for m in herd.members} == set(doc["retain_slots"])


def test_permanent_physical(herd):
    patch(herd, slots={"backup": 0, "bad-name": 0, "n9": {"type": "physical"},
                       "else_where": {"type": "physical", "cluster_type": "standby"}})
    for m in herd.members:
        wait_for(has(m, "backup", "n9"), what=m.name)
        assert "else_where" not in slots(m)
    # Its client moves it on the primary; the others follow.
    leader = herd.leader()
    leader.sql("select pg_replication_slot_advance('backup', pg_current_wal_lsn())")
    lsn = position(leader, "backup")
    for m in herd.replicas():
        wait_for(lambda m=m: position(m, "backup") == lsn, 30, m.name)
    # Permanent ones need not be retained.
    assert "n9" not in document(herd)["retain_slots"]
    patch(herd, slots=None)
    for m in herd.members:
        wait_for(lacks(m, "backup", "n9"), what=m.name)


def test_unknown_and_ignored(herd):
    patch(herd, ignore_slots=[{"name": "mine"}, {"type": "logical", "plugin": "test_decoding"},
                              {"name": "yours", "type": "logical"}])
    leader = herd.leader()
    for name in ("mine", "yours"):
        leader.sql("select pg_create_physical_replication_slot(%s, true)", name)
    leader.sql("select pg_create_logical_replication_slot('decoded', 'test_decoding')")
    wait_for(lacks(leader, "yours"), what="yours is dropped")
    assert has(leader, "mine", "decoded")()
    # In pause nothing is dropped.
    patch(herd, ignore_slots=None, pause=True)
    wait_for(lambda: leader.status().get("pause"))
    patch(herd, loop_wait=1)
    wait_for(lambda: document(herd)["slots"].get("mine"))
    assert has(leader, "mine", "decoded")()
    patch(herd, pause=None)
    wait_for(lacks(leader, "mine", "decoded"), what="dropped after the pause")


def test_wrong_ones_are_replaced(herd):
    leader = herd.leader()
    leader.sql("select pg_create_physical_replication_slot('x', true)")
    patch(herd, slots={"x": {**LOGICAL, "plugin": "pgoutput"}})
    kind = lambda: leader.sql("select slot_type, plugin from pg_replication_slots"  # noqa: E731
                              " where slot_name = 'x'")
    wait_for(lambda: kind() == [("logical", "pgoutput")])
    patch(herd, slots={"x": LOGICAL})
    wait_for(lambda: kind() == [("logical", "test_decoding")])
    patch(herd, slots=None)
    for m in herd.members:
        wait_for(lacks(m, "x"), 30, m.name)


def test_logical(herd):
    """A client that decodes goes on with the next leader: nothing is missing, nothing out of order."""
    leader = herd.leader()
    leader.sql("create table t (i int)")
    started = {m.name: m.postmaster() for m in herd.members}
    patch(herd, slots={"orders": LOGICAL})
    wait_for(has(leader, "orders"), what="made on the primary")
    leader.sql("insert into t select generate_series(1, 10)")
    got = consume(leader)
    assert got == list(range(1, 11))
    for m in herd.replicas():
        wait_for(lambda m=m: has(m, "orders")(), 30, f"copied to {m.name}")
        assert m.postmaster() != started[m.name]
        assert m.sql("show hot_standby_feedback") == [("on",)]
    assert leader.postmaster() == started[leader.name]
    herd.wait_streaming(2)
    leader.sql("insert into t select generate_series(11, 20)")
    got += consume(leader)
    lsn = position(leader, "orders")
    for m in herd.replicas():
        wait_for(lambda m=m: position(m, "orders") >= lsn, 30, f"moved on {m.name}")
        wait_for(lambda m=m: "Logical slot orders is safe" in m.log.read_text(), 40, "it is safe")
    # Rows that nobody has read when the leader dies.
    leader.sql("insert into t select generate_series(21, 30)")
    target = herd.replicas()[0]
    assert herd.switchover(target.name)[0] == 200
    new = herd.wait_leader(but=leader)
    assert new is target
    assert "might be unsafe" not in new.log.read_text()
    new.sql("insert into t select generate_series(31, 40)")
    assert got + consume(new) == list(range(1, 41))
    # And again after a crash of machine and server; now some may come twice, none may be missing.
    herd.wait_healthy()
    wait_for(lambda: has(leader, "orders")(), 30, "the old leader keeps it")
    for m in herd.replicas():
        wait_for(lambda m=m: position(m, "orders") >= position(new, "orders"), 30, m.name)
    new.sql("insert into t select generate_series(41, 50)")
    for m in herd.replicas():
        wait_for(lambda m=m: m.sql("select count(*) from t") == [(50,)])
    new.kill()
    new.kill_postgres()
    last = herd.wait_leader(but=new)
    last.sql("insert into t values (51)")
    rows = consume(last)
    assert rows[-11:] == list(range(41, 52)) and rows == sorted(rows)
    new.start()
    herd.wait_healthy()
    patch(herd, slots=None)
    for m in herd.members:
        wait_for(lacks(m, "orders"), 30, m.name)
        wait_for(lambda m=m: m.sql("show hot_standby_feedback") == [("off",)])


class Receiver:
    """pg_recvlogical: what a client gets that is always there, row by row, in a file."""

    def __init__(self, herd, slot):
        self.herd, self.slot, self.path = herd, slot, herd.dir / f"{slot}.out"
        self.process = None

    def start(self, m):
        self.process = subprocess.Popen(
            [f"{BIN_DIR}/pg_recvlogical", "--start", "-S", self.slot, "-f", str(self.path), "-F", "0",
             "-s", "1", "-o", "skip-empty-xacts=1", "-n", "-d",
             f"host=127.0.0.1 port={m.port} user=postgres dbname=postgres"],
            env={**os.environ, "PGPASSWORD": PASSWORD}, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def rows(self):
        return [int(x) for x in re.findall(r"INSERT: i\[integer\]:(\d+)", self.path.read_text())]


def test_streaming_consumer(herd):
    """A client that is connected all the time: everything comes, in order, over two switchovers."""
    leader = herd.wait_healthy()
    leader.sql("create table s (i int)")
    patch(herd, slots={"feed": LOGICAL})
    wait_for(has(leader, "feed"), what="made")
    receiver = Receiver(herd, "feed")
    receiver.start(leader)
    sent = 0
    for _ in range(2):
        leader = herd.wait_healthy()
        for m in herd.replicas():
            wait_for(has(m, "feed"), 40, f"copied to {m.name}")
        herd.wait_streaming(2)
        for sent in range(sent + 1, sent + 21):
            leader.sql("insert into s values (%s)", sent)
        wait_for(lambda: receiver.rows()[-1:] == [sent], 30, "received")
        lsn = leader.sql("select pg_current_wal_lsn() - '0/0'")[0][0]
        wait_for(lambda: position(leader, "feed") >= lsn - 8192, 30, "confirmed")
        target = herd.replicas()[0]
        assert herd.switchover(target.name)[0] == 200
        assert receiver.process.wait(30) != 0  # its server went away
        new = herd.wait_leader(but=leader)
        receiver.start(new)
        leader = new
    leader.sql("insert into s select generate_series(%s, %s)", sent + 1, sent + 10)
    wait_for(lambda: receiver.rows()[-1:] == [sent + 10], 30, "received to the end")
    rows = receiver.rows()
    assert sorted(set(rows)) == list(range(1, sent + 11))
    # What the primary had not heard to be confirmed comes again, from there on and in order.
    steps = [b - a for a, b in zip(rows, rows[1:])]
    assert all(d == 1 or d <= 0 for d in steps) and sum(d <= 0 for d in steps) <= 2, rows
    receiver.stop()
    patch(herd, slots=None)
    for m in herd.members:
        wait_for(lacks(m, "feed"), 40, m.name)


def remove_wal(m, segment):
    """A segment, of whatever timeline: after a change of leader it is there twice."""
    for path in (m.data / "pg_wal").glob("????????" + segment[8:]):
        path.unlink()


def go_on(m, slot):
    """What a client does that has nothing to wait for: the slot needs less WAL then."""
    m.sql("checkpoint")
    m.sql("select count(*) from pg_logical_slot_get_changes(%s, null, null)", slot)


def test_lagging_consumer(herd):
    """A slot whose WAL a standby has no more is not copied in vain, again and again."""
    leader = herd.wait_healthy()
    replica = herd.replicas()[0]
    patch(herd, slots={"lags": {**LOGICAL, "cluster_type": "standby"}})  # made by hand at first
    patch(herd, ignore_slots=[{"name": "lags"}])
    leader.sql("select pg_create_logical_replication_slot('lags', 'test_decoding')")
    segment = leader.sql("select pg_walfile_name(restart_lsn) from pg_replication_slots"
                         " where slot_name = 'lags'")[0][0]
    for _ in range(2):
        leader.sql("create table if not exists t3 (i int)")
        leader.sql("insert into t3 values (1)")
        leader.sql("select pg_switch_wal()")
    lsn = leader.sql("select pg_current_wal_lsn() - '0/0'")[0][0]
    wait_for(lambda: replica.sql("select pg_last_wal_replay_lsn() - '0/0'")[0][0] >= lsn, 30)
    remove_wal(replica, segment)
    postmaster = replica.postmaster()
    patch(herd, slots={"lags": {**LOGICAL, "cluster_type": None}})
    said = '"lags" is not copied now'
    wait_for(lambda: said in replica.log.read_text(), 30, "it is said")
    leader.sql("select count(*) from pg_logical_slot_get_changes('lags', null, null)")
    leader.sql("insert into t3 values (2)")
    assert replica.postmaster() == postmaster
    # Its client goes on, and so can the standby.

    def copied():
        go_on(leader, "lags")
        return has(replica, "lags")()
    wait_for(copied, 60, "copied in the end", step=1)
    patch(herd, slots=None, ignore_slots=None)
    for m in herd.members:
        wait_for(lacks(m, "lags"), 40, m.name)


def test_wal_gone(herd):
    """A standby's slot that needs WAL which is not there any more is copied anew."""
    leader = herd.wait_healthy()
    replica = herd.replicas()[0]
    patch(herd, slots={"late": LOGICAL})
    wait_for(has(leader, "late"), what="made")
    wait_for(has(replica, "late"), 40, "copied")
    herd.wait_streaming(2)
    # As if the segments had been removed: PostgreSQL itself does not while a slot is there.
    at = replica.sql("select pg_walfile_name(restart_lsn) from pg_replication_slots where slot_name ="
                     " 'late'") if not replica.in_recovery() else leader.sql(
        "select pg_walfile_name(%s)", replica.sql(
            "select restart_lsn::text from pg_replication_slots where slot_name = 'late'")[0][0])
    for _ in range(2):
        leader.sql("create table if not exists t2 (i int)")
        leader.sql("insert into t2 select generate_series(1, 1000)")
        leader.sql("select pg_switch_wal()")
    lsn = leader.sql("select pg_current_wal_lsn() - '0/0'")[0][0]
    wait_for(lambda: replica.sql("select pg_last_wal_replay_lsn() - '0/0'")[0][0] >= lsn, 30)
    remove_wal(replica, at[0][0])
    postmaster = replica.postmaster()


    def again():
        go_on(leader, "late")
        return replica.postmaster() not in (0, postmaster)
    wait_for(again, 60, "a restart", step=1)
    wait_for(lambda: position(replica, "late") >= position(leader, "late") - 8192, 40, "in its place")
    patch(herd, slots=None)
    for m in herd.members:
        wait_for(lacks(m, "late"), 40, m.name)


def test_settings_that_slots_need(herd):
    """A server with logical slots would not start below wal_level logical: it keeps what it needs."""
    leader = herd.wait_healthy()
    restart = lambda: leader.request("POST", "/restart", {})[0] == 200  # noqa: E731
    patch(herd, slots={"needs": LOGICAL})
    wait_for(has(leader, "needs"), what="made")
    for m in herd.replicas():
        wait_for(has(m, "needs"), 40, m.name)
    patch(herd, postgresql={"parameters": {"wal_level": "replica"}})
    wait_for(lambda: leader.status().get("pending_restart"), 30)
    assert restart()
    assert leader.sql("show wal_level") == [("logical",)]
    wait_for(lambda: leader.status().get("pending_restart_reason") == {
        "wal_level": {"old_value": "logical", "new_value": "replica"}}, 30, "still pending")
    patch(herd, postgresql={"parameters": PARAMETERS}, slots=None)
    for m in herd.members:
        wait_for(lacks(m, "needs"), 40, m.name)
        wait_for(lambda m=m: not m.status().get("pending_restart"), 30)


def test_failover_slots(herd):
    """PostgreSQL 17 copies slots with `failover` by itself: they are left alone, and a demoted primary's
    makes room for the copy."""
    leader = herd.wait_healthy()
    if int(leader.sql("show server_version_num")[0][0]) < 170000:
        pytest.skip("PostgreSQL 17")
    patch(herd, postgresql={"parameters": {"sync_replication_slots": "on", "hot_standby_feedback": "on"}})
    leader.sql("select pg_create_logical_replication_slot('own', 'test_decoding', false, false, true)")
    synced = lambda m: m.sql("select synced from pg_replication_slots where slot_name = 'own'"  # noqa: E731
                             " and not temporary") == [(True,)]
    for m in herd.replicas():
        wait_for(lambda m=m: synced(m), 60, m.name)
    old, new = leader, herd.replicas()[0]
    assert herd.switchover(new.name)[0] == 200
    herd.wait_leader(but=old)
    herd.wait_healthy()
    # PostgreSQL copies a slot only when that has moved on.
    new.sql("create table own (i int)")

    def moved():
        new.sql("insert into own values (1)")
        new.sql("select pg_log_standby_snapshot()")
        new.sql("select count(*) from pg_logical_slot_get_changes('own', null, null)")
        return synced(old)
    wait_for(moved, 90, "the old primary has a copy", step=1)
    assert has(new, "own")()
    new.sql("select pg_drop_replication_slot('own')")
    for m in herd.members:
        wait_for(lacks(m, "own"), 60, m.name)
    patch(herd, postgresql={"parameters": {"sync_replication_slots": None, "hot_standby_feedback": None}})


def test_retained(herd):
    """The slot of a member that went stays for a while."""
    leader = herd.wait_healthy()
    gone = herd.replicas()[0]
    other = herd.replicas()[1]
    gone.stop()
    wait_for(lambda: f"/service/batman/members/{gone.name}" not in herd.keys(), 20)
    wait_for(lambda: gone.name in document(herd)["retain_slots"])
    assert has(leader, gone.name)() and has(other, gone.name)()
    patch(herd, member_slots_ttl=0)
    wait_for(lacks(leader, gone.name), 30, "dropped")
    # Then a standby keeps none for others, either.
    wait_for(lambda: not slots(other), 30, "none on the standby")
    patch(herd, member_slots_ttl=None)
    gone.start()
    herd.wait_healthy()


def test_off(herd):
    patch(herd, postgresql={"use_slots": False})
    for m in herd.members:
        wait_for(lambda m=m: not [s for s, v in slots(m).items() if not v[1]], 30, m.name)
    for m in herd.replicas():
        wait_for(lambda m=m: m.sql("show primary_slot_name") == [("",)], 30, m.name)
    wait_for(lambda: not slots(herd.leader()), 30, "none is left")
    patch(herd, postgresql={"use_slots": None})
    herd.wait_healthy()
    for m in herd.members:
        wait_for(has(m, *[x.name for x in herd.members if x is not m]), 30, m.name)
