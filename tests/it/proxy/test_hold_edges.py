"""Clients that wait for a leader: how many, how long, and what else may happen to them meanwhile."""
import signal
import threading
import time

import psycopg
import pytest

from conftest import HERD, Box, Herd, Proxy, free_port, users, wait_for
from test_hold import Writer, count


class Waiter(threading.Thread):
    """One statement of one client, in the background."""

    def __init__(self, conn, sql="select pg_is_in_recovery()"):
        super().__init__(daemon=True)
        self.conn, self.sql, self.row, self.error = conn, sql, None, None
        self.start()

    def run(self):
        try:
            self.row = self.conn.execute(self.sql).fetchone()
        except psycopg.Error as e:
            self.error = e

    def end(self):
        self.join(60)
        assert not self.is_alive()
        return self


@pytest.fixture(scope="module")
def shared():
    box = Box()
    users(box)
    try:
        yield Herd(box)
    finally:
        box.close()


@pytest.fixture
def start(shared):
    made = []

    def fn(name, hold=30, more=""):
        reads = free_port()
        p = Proxy(shared.box, HERD.format(etcd=shared.etcd.port, reads=reads, plain=free_port(),
                                          hold=hold, mode="transaction", more=more), name=name)
        p.reads = reads
        made.append(p)
        return p
    yield fn
    shared.lead("a")
    for p in made:
        print(p.log()[-4000:])
        p.kill()
        shared.box.ends.remove(p.kill)


def held(px, clients=None):
    rows = [r for r in px.console("show holds") if r["database"] == "db"]
    return rows and rows[0]["held"] == "yes" and clients in (
        None, sum(r["clients"] for r in rows))


def connected(px, n):
    conns = [px.connect() for _ in range(n)]
    for c in conns:
        c.execute("select 1")
    return conns


def test_routes(shared, start):
    px = start("routes")
    assert px.sql("select pg_is_in_recovery()") == [(False,)]
    assert px.sql("select pg_is_in_recovery()", port=px.reads) == [(True,)]
    rows = px.console("show herd")
    assert [(r["member"], r["leader"]) for r in rows] == [("a", "yes"), ("b", "no")]
    wait_for(lambda: '"px1"' in shared.etcd.get("/service/demo/proxies/px1"))


def test_handover_aborted(shared, start):
    px = start("handover")
    w = Writer(px, 1)
    wait_for(lambda: w.ok > 10)
    shared.handover("prepare")
    wait_for(lambda: held(px, 1))
    before = w.ok
    time.sleep(0.3)
    assert w.ok == before
    shared.handover("aborted")
    wait_for(lambda: w.ok > before + 10)
    w.stop()
    assert w.errors == [] and count(shared.a, 1) == w.ok
    shared.etcd.delete("/service/demo/0/handover")


def test_stale_primary_is_refused(shared, start):
    """The leader key names a server that is not writable: nobody is let onto it."""
    px = start("stale_pr", hold=1)
    assert px.sql("select 1") == [(1,)]
    shared.lead("b")
    wait_for(lambda: "no longer the right member" in px.log())
    with pytest.raises(psycopg.OperationalError, match="no usable server"):
        px.sql("insert into t values (9, '')")
    shared.lead("a")
    assert px.sql("select 1") == [(1,)]


def test_hold_timeout(shared, start):
    px = start("hold_tim", hold=1)
    assert px.sql("select 1") == [(1,)]
    shared.lead(None)
    wait_for(lambda: held(px))
    with pytest.raises(psycopg.OperationalError, match="no usable server"):
        px.sql("select 1")
    assert held(px)


def test_wrong_cluster_is_refused(shared, start):
    shared.etcd.put("/service/demo/0/initialize", "123456")
    px = start("wrong_cl", hold=1)
    with pytest.raises(psycopg.OperationalError, match="no usable server"):
        px.sql("select 1")
    shared.etcd.put("/service/demo/0/initialize", str(shared.a.system_id()))
    assert "system identifier differs" in px.log()


def test_only_so_many_wait(shared, start):
    px = start("many", more="hold_max_clients = 2")
    conns = connected(px, 4)
    shared.lead(None)
    wait_for(lambda: held(px))
    first = [Waiter(c) for c in conns[:2]]
    wait_for(lambda: held(px, 2))
    for c in conns[2:]:
        with pytest.raises(psycopg.OperationalError, match="hold_max_clients"):
            c.execute("select 1")
    shared.lead("a")
    assert [w.end().row for w in first] == [(False,)] * 2
    # There is room again.
    again = connected(px, 3)
    assert all(c.execute("select 2").fetchone() == (2,) for c in again)


def test_cancel_and_leave(shared, start):
    px = start("leave")
    stays, leaves = connected(px, 2)
    shared.lead(None)
    wait_for(lambda: held(px))
    waits, gone = Waiter(stays), Waiter(leaves)
    wait_for(lambda: held(px, 2))
    stays.cancel()
    assert waits.end().error.sqlstate == "57014"
    wait_for(lambda: held(px, 1))
    leaves.pgconn.finish()
    wait_for(lambda: held(px, 0))
    gone.join(30)
    back = Waiter(stays)
    wait_for(lambda: held(px, 1))
    shared.lead("a")
    assert back.end().row == (False,)


def test_a_proxy_that_starts_meanwhile(shared, start):
    shared.lead(None)
    px = start("young")
    newcomer = []
    t = threading.Thread(target=lambda: newcomer.append(px.sql("select 5")), daemon=True)
    t.start()
    time.sleep(0.5)
    assert newcomer == []
    shared.lead("a")
    t.join(60)
    assert newcomer == [[(5,)]]


def test_terminated_meanwhile(shared, start):
    px = start("ending")
    conn, = connected(px, 1)
    shared.lead(None)
    wait_for(lambda: held(px))
    waits = Waiter(conn)
    wait_for(lambda: held(px, 1))
    px.signal(signal.SIGTERM)
    time.sleep(0.3)
    assert waits.is_alive() and px.process.poll() is None
    shared.lead("a")
    assert waits.end().row == (False,)
    conn.close()
    assert px.process.wait(60) == 0


def test_the_store_goes_away_meanwhile(shared, start):
    """What was announced last stays true; the hold ends at its time."""
    px = start("lost", hold=2)
    conn, other = connected(px, 2)
    shared.lead(None)
    wait_for(lambda: held(px))
    shared.etcd.process.send_signal(signal.SIGSTOP)
    try:
        w = Waiter(conn)
        assert "no usable server" in str(w.end().error)
    finally:
        shared.etcd.process.send_signal(signal.SIGCONT)
    shared.lead("a")
    wait_for(lambda: px.sql("select 6") == [(6,)])
    assert other.execute("select 7").fetchone() == (7,)


def test_announced_and_never_done(shared, start):
    """A handover whose deadline passes is none: the leader serves again."""
    px = start("late")
    conn, = connected(px, 1)
    shared.handover("prepare", ident="late", seconds=2)
    wait_for(lambda: held(px))
    assert conn.execute("select pg_is_in_recovery()").fetchone() == (False,)
    shared.etcd.delete("/service/demo/0/handover")


def test_a_primary_that_goes_on_by_itself(shared, start):
    """b leads, and a does not know: nothing is acknowledged by a any more."""
    px = start("stale", hold=2)
    busy, idle = connected(px, 2)
    busy.execute("begin")
    busy.execute("insert into t values (90, 'stale')")
    shared.b.promote()
    shared.etcd.member(shared.b, "primary", 2)
    shared.lead("b")
    wait_for(lambda: idle.execute("select inet_server_port()").fetchone() == (shared.b.port,))
    with pytest.raises(psycopg.OperationalError, match="does not lead any more"):
        busy.execute("insert into t values (90, 'stale')")
    idle.execute("insert into t values (91, 'new')")
    # The key names the old one again (a store restored from a backup): its timeline tells.
    shared.lead("a")
    wait_for(lambda: "closing because: no longer the right member" in px.log())
    with pytest.raises(psycopg.OperationalError, match="no usable server"):
        px.sql("insert into t values (92, 'stale')")
    assert "server is a primary of an older timeline" in px.log()
    shared.lead("b")
    assert px.sql("select count(*) from t where a = 91") == [(1,)]
    assert shared.a.sql("select count(*) from t where a between 90 and 92", db="db") == [(0,)]
