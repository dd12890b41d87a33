"""Clients through a change of leader: held, released, and told an error only for work in flight."""
import json
import threading
import time

import psycopg
import pytest

from conftest import wait_for


class Writer(threading.Thread):
    """Inserts one row after the other; counts errors; reconnects when it must."""

    def __init__(self, proxy, key, transaction=False):
        super().__init__()
        self.proxy, self.key, self.transaction = proxy, key, transaction
        self.ok, self.errors, self.reconnects, self.longest = 0, [], 0, 0.0
        self.daemon = True
        self.done = threading.Event()
        self.start()

    def run(self):
        conn = None
        while not self.done.is_set():
            start = time.monotonic()
            try:
                if conn is None or conn.closed:
                    conn = self.proxy.connect(autocommit=not self.transaction)
                with conn.cursor() as cur:
                    cur.execute("insert into t values (%s, %s)", (self.key, str(self.ok)))
                if self.transaction:
                    conn.commit()
                self.ok += 1
            except psycopg.Error as e:
                self.errors.append(str(e).strip())
                if conn is not None and conn.closed:
                    self.reconnects += 1
                elif conn is not None:
                    conn.rollback()
            self.longest = max(self.longest, time.monotonic() - start)
            time.sleep(0.002)
        if conn:
            conn.close()

    def stop(self):
        self.done.set()
        self.join(60)
        assert not self.is_alive()


def count(pg, key):
    return pg.sql(f"select count(*) from t where a = {key}", db="db")[0][0]


def test_handover(herd, herd_proxy):
    px = herd_proxy()
    writers = [Writer(px, k, transaction=k % 2) for k in range(4)]
    idle = px.connect()
    idle.execute("select 1")
    time.sleep(1)
    herd.handover("prepare")
    acked = wait_for(lambda: json.loads(herd.etcd.get("/service/demo/proxies/px1"))["acks"])
    assert acked == {"0": "h1"}
    time.sleep(0.3)
    late = []
    newcomer = threading.Thread(target=lambda: late.append(px.sql("select 42")))
    newcomer.start()
    herd.handover("shutdown")
    herd.a.stop("fast")
    herd.handover("done")
    herd.lead("b")
    herd.b.promote()
    newcomer.join(30)
    assert late == [[(42,)]]
    herd.etcd.member(herd.b, "primary", 2)
    herd.etcd.delete("/service/demo/0/handover")
    assert idle.execute("select pg_is_in_recovery()").fetchone() == (False,)
    time.sleep(1)
    for w in writers:
        w.stop()
    idle.close()
    print("longest:", [f"{w.longest * 1000:.0f} ms" for w in writers])
    assert [w.errors for w in writers] == [[]] * 4
    assert [w.reconnects for w in writers] == [0] * 4
    for w in writers:
        assert w.ok > 100
        assert count(herd.b, w.key) == w.ok


def test_crash(herd, herd_proxy):
    px = herd_proxy()
    writers = [Writer(px, k, transaction=k % 2) for k in range(4)]
    idle = px.connect()
    idle.execute("select 1")
    time.sleep(0.7)
    herd.a.stop("immediate")
    time.sleep(0.5)
    late = []
    newcomer = threading.Thread(target=lambda: late.append(px.sql("select 43")))
    newcomer.start()
    herd.lead(None)
    time.sleep(0.5)
    herd.lead("b")
    herd.b.promote()
    newcomer.join(30)
    assert late == [[(43,)]]
    assert idle.execute("select pg_is_in_recovery()").fetchone() == (False,)
    time.sleep(1)
    for w in writers:
        w.stop()
    idle.close()
    print("errors:", [w.errors for w in writers], [f"{w.longest * 1000:.0f} ms" for w in writers])
    # At most the statement that was in flight.
    for w in writers:
        assert len(w.errors) <= 1


def test_sessions_are_carried(herd, herd_proxy):
    """Session pooling: what holds nothing but tracked parameters goes on with the new leader."""
    px = herd_proxy(mode="session")
    plain, rooted, busy = px.connect(), px.connect(), px.connect(autocommit=False)
    plain.execute("set timezone = 'Asia/Tokyo'")
    plain.execute("insert into t values (50, 'x')")
    for n in range(2):
        assert plain.execute("select %s::int", [n], prepare=True).fetchone() == (n,)
    rooted.execute("create temp table mine (a int)")
    busy.execute("insert into t values (51, 'never')")
    writer = Writer(px, 52)
    pid = plain.execute("select pg_backend_pid()").fetchone()
    herd.handover("prepare")
    wait_for(lambda: json.loads(herd.etcd.get("/service/demo/proxies/px1"))["acks"])
    herd.handover("shutdown")
    herd.a.stop("fast")
    herd.handover("done")
    herd.lead("b")
    herd.b.promote()
    assert plain.execute("show timezone").fetchone() == ("Asia/Tokyo",)
    assert plain.execute("select %s::int", [7], prepare=True).fetchone() == (7,)
    assert plain.execute("select inet_server_port()").fetchone() == (herd.b.port,)
    assert plain.execute("select pg_backend_pid()").fetchone() != pid
    for lost in (rooted, busy):
        with pytest.raises(psycopg.OperationalError) as e:
            lost.execute("select 1")
        assert e.value.sqlstate in ("57P01", None) and lost.closed
    seen = writer.ok
    wait_for(lambda: writer.ok > seen + 20)
    writer.stop()
    assert (writer.errors, writer.reconnects) == ([], 0)
    assert count(herd.b, 52) == writer.ok and count(herd.b, 51) == 0
