"""Reads that go to replicas on a database of the primary: by transaction, session, hint, proof."""
import re
import socket
import urllib.request

import psycopg
import pytest

from split import Trio, free_port, routes, standby, wait_for, warm


@pytest.fixture(scope="module")
def trio():
    t = Trio()
    try:
        yield t
    finally:
        t.box.close()


@pytest.fixture(scope="module")
def px(trio):
    p = trio.proxy("db = cluster=demo group=0 role=primary split=transaction\n"
                   "off = cluster=demo group=0 role=primary dbname=db\n"
                   "sess = cluster=demo group=0 role=primary dbname=db split=transaction "
                   "pool_mode=session", "causal_reads = off")
    return warm(p)


def test_read_only_transactions(px):
    with px.connect(autocommit=False) as c:
        assert standby(c) is False
        c.rollback()
        c.read_only = True
        for _ in range(3):
            assert standby(c) is True
            assert standby(c) is True
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                c.execute("insert into t values (1)")
            c.rollback()
        c.read_only = False
        c.execute("insert into t values (1, 'x')")
        assert standby(c) is False
        c.rollback()


@pytest.mark.parametrize("begin,want", [
    ("begin read only", True), ("START TRANSACTION READ ONLY", True),
    ("begin isolation level repeatable read, read only", True),
    ("begin; set transaction read only", True),
    ("/*NO LOAD BALANCE*/ begin read only", False), ("begin", False), ("begin read write", False),
    ("begin isolation level serializable read only", False),
    ("/* pgherd: replica */ begin", True)])
def test_begins(px, begin, want):
    with px.connect(cursor_factory=psycopg.ClientCursor) as c:
        for _ in range(2):
            c.execute(begin)
            assert standby(c) is want
            c.execute("commit")
        assert standby(c) is False


def test_set_transaction_moves(px):
    """The transaction began on the primary; its first statement says that it only reads."""
    with px.connect(cursor_factory=psycopg.ClientCursor) as c:
        for _ in range(3):
            c.execute("begin isolation level repeatable read")
            c.execute("set transaction read only")
            assert standby(c) is True
            assert c.execute("show transaction_isolation").fetchone() == ("repeatable read",)
            assert c.execute("show transaction_read_only").fetchone() == ("on",)
            c.execute("commit")
            c.execute("begin")
            c.execute("select 1")
            c.execute("set transaction read only")
            assert standby(c) is False
            c.execute("rollback")
    wait_for(lambda: all(s["state"] != "active" for s in px.console("show servers")))


def test_session(px):
    with px.connect(options="-c default_transaction_read_only=on") as c:
        assert standby(c) is True
        assert c.execute("show default_transaction_read_only").fetchone() == ("on",)
        c.execute("set default_transaction_read_only = off")
        assert standby(c) is False
        c.execute("insert into t values (2, 'session')")
        c.execute("set default_transaction_read_only = on")
        assert standby(c) is True
    with px.connect(options="-c target_session_attrs=prefer-standby") as c:
        assert standby(c) is True
        c.execute("insert into t values (3, 'session')")
        assert standby(c) is True
    with px.connect(options="-c target_session_attrs=primary", autocommit=False) as c:
        c.read_only = True
        assert standby(c) is False


def test_options_refused(px):
    with pytest.raises(psycopg.OperationalError, match="is not known"):
        px.connect(options="-c target_session_attrs=best")
    with pytest.raises(psycopg.OperationalError, match="needs a database with split"):
        px.connect(db="off", options="-c target_session_attrs=standby")


def test_off_and_session_pooling(px):
    for db in ("off", "sess"):
        with px.connect(db=db, autocommit=False) as c:
            c.read_only = True
            assert standby(c) is False


def test_prepared(px):
    """Named statements follow to the replica, and a pipeline up to its Sync is one place's."""
    with px.connect(autocommit=False, prepare_threshold=0) as c:
        for read_only in (True, False, True):
            c.read_only = read_only
            for i in range(3):
                assert c.execute("select %s + 1, pg_is_in_recovery()", (i,)).fetchone() == \
                    (i + 1, read_only)
            c.rollback()
    with px.connect(cursor_factory=psycopg.ClientCursor) as c:
        with c.pipeline():
            c.execute("begin read only")
            b = c.execute("select pg_is_in_recovery()")
            c.execute("commit")
        assert b.fetchone() == (True,)


def message(kind, *parts):
    body = b"".join(p if isinstance(p, bytes) else p.encode() + b"\0" for p in parts)
    return kind + (len(body) + 4).to_bytes(4, "big") + body


class Raw:
    """A client without a driver's manners."""

    def __init__(self, px, db="db", user="u_trust"):
        self.s = socket.create_connection(("127.0.0.1", px.port), 20)
        body = b"\0\3\0\0user\0" + user.encode() + b"\0database\0" + db.encode() + b"\0\0"
        self.s.sendall((len(body) + 4).to_bytes(4, "big") + body)
        self.buf = b""
        self.until(1)

    def until(self, rounds):
        """Messages up to the rounds-th ReadyForQuery."""
        got = []
        while rounds:
            while len(self.buf) < 5 or len(self.buf) < 1 + int.from_bytes(self.buf[1:5], "big"):
                more = self.s.recv(65536)
                assert more, "closed"
                self.buf += more
            n = 1 + int.from_bytes(self.buf[1:5], "big")
            got.append((self.buf[:1], self.buf[5:n]))
            self.buf = self.buf[n:]
            rounds -= got[-1][0] == b"Z"
        return got

    def send(self, *messages):
        self.s.sendall(b"".join(messages))


def rows(messages):
    return [body[6:].decode() for kind, body in messages if kind == b"D"]


def test_many_requests_at_once(px):
    """What was sent without waiting for the end of a READ ONLY transaction still finds its place."""
    r = Raw(px)
    q = lambda text: message(b"Q", text)  # noqa: E731
    for _ in range(5):
        r.send(q("begin read only"), q("select pg_is_in_recovery()"), q("commit"),
               q("select pg_is_in_recovery()"), q("insert into t values (4, 'once')"),
               q("begin read only"), q("select pg_is_in_recovery()"), q("rollback"))
        got = r.until(8)
        # Behind the INSERT, which was sent to the primary, all that had come already follows it.
        assert rows(got) == ["t", "f", "f"]
        assert not [b for k, b in got if k == b"E"]
    # A Flush between two requests opens no batch.
    r.send(q("begin read only"), message(b"H"), q("commit"), message(b"H"),
           q("insert into t values (5, 'flush')"), message(b"S"))
    got = r.until(4)
    assert not [b for k, b in got if k == b"E"]
    r.s.close()


def test_no_replica(trio, px):
    with px.connect(autocommit=False) as c:
        c.read_only = True
        assert standby(c) is True
        c.rollback()
        for name in ("b", "c"):
            trio.etcd.delete(f"/service/demo/0/members/{name}")
        try:
            def primary():
                here = standby(c)
                c.rollback()
                return not here
            wait_for(primary)
            assert routes(px)["no replica"] > 0
        finally:
            trio.etcd.member(trio.b, "replica")
            trio.etcd.member(trio.c, "replica")

        def back():
            here = standby(c)
            c.rollback()
            return here
        wait_for(back)


def test_counters(px):
    got = routes(px)
    assert got["read only transaction"] > 10 and got["session"] > 3 and got["may write"] > 3
    assert {p["role"] for p in px.console("show pools")
            if p["database"].startswith("db")} == {"primary", "replica"}


def test_settings_refused(trio):
    for line, why in (("x = host=127.0.0.1 split=auto", "needs \"cluster\""),
                      ("x = cluster=demo group=0 role=replica split=auto", "needs role"),
                      ("x = cluster=demo group=0 role=primary split=maybe", "invalid value")):
        trio.box.write("bad.ini", f"[databases]\n{line}\n[pgherd]\ndcs = etcd3://127.0.0.1:1\n")
        from conftest import PGHERD, run
        done = run(PGHERD, "proxy", trio.box.path("bad.ini"), check=False)
        assert done.returncode != 0 and why in done.stderr + done.stdout


def test_routes_by_http(trio):
    """/metrics counts what SHOW ROUTES does."""
    port = free_port()
    px = trio.proxy("db = cluster=demo group=0 role=primary split=transaction\n",
                    f"metrics_listen = 127.0.0.1:{port}", name="web")
    warm(px)
    px.sql("insert into t values (1, 'x')")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as r:
        text = r.read().decode()
    told = {m[1]: int(m[2]) for m in re.finditer(
        r'pgherd_routed_requests_total{database="db",served_by="(?:primary|replica)",'
        r'reason="([^"]*)"} (\d+)', text)}
    assert told == routes(px) and told
    leads = dict(re.findall(r'pgherd_member_leader{cluster="demo",group="0",member="(.)"} (\d)',
                            text))
    assert leads == {"a": "1", "b": "0", "c": "0"}
    conns = dict(re.findall(r'pgherd_member_connections{cluster="demo",group="0",member="(.)"} '
                            r'(\d+)', text))
    assert int(conns["a"]) > 0 and int(conns["b"]) + int(conns["c"]) > 0
    assert 'pgherd_member_ejected{cluster="demo",group="0",member="a"} 0' in text
