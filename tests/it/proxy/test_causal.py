"""Read your writes: replicas that are behind never show a client less than it wrote."""
import threading
import time

import psycopg
import pytest

from split import Trio, routes, wait_for, warm

DBS = "db = cluster=demo group=0 role=primary split=transaction\n"


@pytest.fixture(scope="module")
def trio():
    t = Trio()
    try:
        t.a.sql("create table seen (k int primary key, v int)",
                "insert into seen select g, 0 from generate_series(0, 31) g", db="db")
        t.caught_up()
        yield t
    finally:
        t.box.close()


def proxy(trio, name, **settings):
    p = trio.proxy(DBS, "\n".join(f"{k} = {v}" for k, v in settings.items()), name=name)
    return warm(p)


@pytest.fixture(scope="module")
def causal(trio):
    return proxy(trio, "causal")


@pytest.fixture(scope="module")
def careless(trio):
    return proxy(trio, "careless", causal_reads="off")


def read(c, key):
    """In a READ ONLY transaction of its own: the value, and whether a standby gave it."""
    c.read_only = True
    row = c.execute("select v, pg_is_in_recovery() from seen where k = %s", (key,)).fetchone()
    c.rollback()
    c.read_only = False
    return row


class Pairs(threading.Thread):
    """Writes and reads back, one after the other."""

    def __init__(self, px, key, n=0, seconds=0, start=1):
        super().__init__(daemon=True)
        self.px, self.key, self.n, self.seconds, self.first = px, key, n, seconds, start
        self.stale, self.replica, self.done, self.error = 0, 0, 0, None
        self.start()

    def run(self):
        try:
            end = time.monotonic() + self.seconds
            with self.px.connect(autocommit=False) as c:
                v = self.first
                while self.done < self.n or time.monotonic() < end:
                    c.execute("update seen set v = %s where k = %s", (v, self.key))
                    c.commit()
                    got, there = read(c, self.key)
                    self.stale += got < v
                    self.replica += there
                    self.done += 1
                    v += 1
        except Exception as e:  # noqa: BLE001 - told by the test
            self.error = e


def pairs(px, keys, **kw):
    threads = [Pairs(px, k, **kw) for k in keys]
    for t in threads:
        t.join(120)
        assert t.error is None, t.error
        assert not t.is_alive()
    return (sum(t.done for t in threads), sum(t.stale for t in threads),
            sum(t.replica for t in threads))


class Stutter(threading.Thread):
    """Stops and goes on with the replay of both standbys, in turn and together."""

    def __init__(self, trio):
        super().__init__(daemon=True)
        self.trio, self.over = trio, threading.Event()
        self.start()

    def run(self):
        sets = [(self.trio.b,), (self.trio.c,), (self.trio.b, self.trio.c)]
        turn = 0
        while not self.over.is_set():
            chosen = sets[turn % 3]
            turn += 1
            self.trio.pause(*chosen)
            self.over.wait(0.08)
            self.trio.resume(*chosen)
            self.over.wait(0.05)

    def stop(self):
        self.over.set()
        self.join(30)
        self.trio.resume(self.trio.b, self.trio.c)


def test_paused_replicas(trio, causal, careless):
    """Both stand still: every read sees the write; and without causal_reads, none does."""
    trio.caught_up()
    trio.pause(trio.b, trio.c)
    try:
        done, stale, replica = pairs(causal, range(4), n=50)
        assert (done, stale, replica) == (200, 0, 0)
        done, stale, replica = pairs(careless, range(4, 8), n=50)
        assert (done, replica) == (200, 200) and stale == 200
    finally:
        trio.resume(trio.b, trio.c)
    assert routes(causal)["replica behind"] >= 200


def test_thousands_of_pairs(trio, causal):
    """Replicas that stutter: both places serve reads, and never an old one."""
    s = Stutter(trio)
    try:
        done, stale, replica = pairs(causal, range(8, 16), n=150, seconds=8, start=10000)
    finally:
        s.stop()
    print("pairs:", done, "from replicas:", replica)
    assert done >= 1200 and stale == 0


def test_replica_is_used_again(trio, causal):
    with causal.connect(autocommit=False) as c:
        c.execute("update seen set v = 77 where k = 20")
        c.commit()
        trio.caught_up()
        wait_for(lambda: read(c, 20) == (77, True))


def test_unwritten_reads_go_anywhere(trio, causal):
    """Who wrote nothing is not kept from replicas by the writes of others."""
    trio.caught_up()
    trio.pause(trio.b, trio.c)
    try:
        with causal.connect(autocommit=False) as c, causal.connect() as other:
            assert read(c, 21)[1] is True
            other.execute("update seen set v = 1 where k = 21")
            assert read(c, 21) == (0, True)
            c.execute("select 1")
            c.rollback()
            assert read(c, 21) == (0, True)
            c.execute("update seen set v = 2 where k = 21")
            c.rollback()
            assert read(c, 21) == (0, True)
            c.execute("update seen set v = 2 where k = 21")
            c.execute("commit; begin")
            c.rollback()
            assert read(c, 21) == (2, False)
    finally:
        trio.resume(trio.b, trio.c)


def test_autocommit_and_functions(trio, causal):
    """What writes need not look like it."""
    trio.a.sql("""create or replace function put(key int, val int) returns int language sql
                  as 'update seen set v = val where k = key returning v'""",
               """create or replace procedure putp(key int, val int) language plpgsql as $$
                  begin update seen set v = val where k = key; commit; perform 1/(val - 5); end $$""",
               db="db")
    trio.caught_up()
    trio.pause(trio.b, trio.c)
    try:
        with causal.connect() as c, causal.connect(autocommit=False) as t:
            def sees():
                c.execute("begin read only")
                got = c.execute("select v from seen where k = 22").fetchone()[0]
                c.execute("commit")
                return got
            assert sees() == 0
            c.execute("select put(22, 1)")
            assert sees() == 1
            c.execute("insert into seen values (22, 2) on conflict (k) do update set v = 2")
            assert sees() == 2
            c.execute("do $$ begin update seen set v = 3 where k = 22; end $$")
            assert sees() == 3
            c.execute("with x as (update seen set v = 4 where k = 22) select 1")
            assert sees() == 4
            with pytest.raises(psycopg.errors.DivisionByZero):
                c.execute("call putp(22, 5)")
            assert sees() == 5
            with c.cursor().copy("copy seen from stdin") as copy:
                copy.write_row((100, 100))
            c.execute("begin read only")
            assert c.execute("select v from seen where k = 100").fetchone() == (100,)
            c.execute("commit")
            t.execute("update seen set v = 6 where k = 23")
            t.rollback()
            assert read(t, 23) == (0, True)
    finally:
        trio.resume(trio.b, trio.c)


def test_causal_wait(trio):
    """A replica that comes soon enough is waited for."""
    px = proxy(trio, "waits", causal_wait=20)
    trio.caught_up()
    trio.pause(trio.b, trio.c)
    with px.connect(autocommit=False) as c:
        c.execute("update seen set v = 5 where k = 24")
        c.commit()
        got = []
        t = threading.Thread(target=lambda: got.append(read(c, 24)))
        t.start()
        time.sleep(0.5)
        assert not got
        trio.resume(trio.b, trio.c)
        t.join(30)
        assert got == [(5, True)]
    assert "replica behind" not in routes(px)


def test_client_that_leaves_at_once(trio, causal):
    """The question behind its last write does not cost a server connection."""
    def ids():
        return {s["id"] for s in causal.console("show servers") if s["database"] == "db"}
    with causal.connect() as c:
        c.execute("select 1")
    before = ids()
    for i in range(30):
        with causal.connect() as c:
            c.execute("update seen set v = %s where k = 25", (i,))
    wait_for(lambda: all(s["state"] in ("idle", "used") for s in causal.console("show servers")))
    assert before <= ids() and len(ids() - before) <= 2


def test_writes_in_a_row(trio, causal):
    """Who goes from write to write is asked only when it reads; and then it reads what it wrote."""
    trio.caught_up()
    trio.pause(trio.b, trio.c)
    try:
        with causal.connect(autocommit=False) as c:
            for i in range(1, 11):
                c.execute("update seen set v = %s where k = 26", (i,))
                c.commit()
            assert read(c, 26) == (10, False)
            # It has changed its habit; and again.
            for i in range(11, 14):
                c.execute("update seen set v = %s where k = 26", (i,))
                c.commit()
                c.execute("update seen set v = %s where k = 27", (i,))
                c.commit()
                assert read(c, 26) == (i, False)
                assert read(c, 27) == (i, False)
    finally:
        trio.resume(trio.b, trio.c)
    with causal.connect(autocommit=False) as c:
        for i in range(20, 25):
            c.execute("update seen set v = %s where k = 26", (i,))
            c.commit()
        trio.caught_up()
        assert read(c, 26) == (24, True)


def test_debts_are_settled(trio):
    """A client that rests after its writes is asked for meanwhile: its read needs no primary."""
    px = proxy(trio, "settles")
    with px.connect(autocommit=False) as c:
        for i in range(5):
            c.execute("update seen set v = %s where k = 28", (100 + i,))
            c.commit()
        after = trio.a.sql("select clock_timestamp()")[0][0]
        wait_for(lambda: trio.a.sql(
            "select count(*) from pg_stat_activity where query like '%pgherd: causal_reads%' "
            f"and pid <> pg_backend_pid() and query_start > '{after}'")[0][0] == 1)
        trio.caught_up()
        wait_for(lambda: read(c, 28) == (104, True))
