"""SHOW, as monitoring and drivers use it: both protocols, parameters, binary results, rights."""
import decimal
import os
import socket
import struct

import psycopg
import psycopg2
import pytest

from conftest import BASE, Box, Proxy, users, wait_for


@pytest.fixture(scope="module")
def px(server):
    box = Box()
    users(box)
    try:
        p = Proxy(box, BASE.format(
            pg=server.port, mode="transaction", auth="trust",
            databases=f"two = host=127.0.0.1,127.0.0.1 port={server.port} dbname=db pool_size=3",
            more="stats_users = u_plain\nserver_check_delay = 60"))
        p.sql("select 1")
        yield p
    finally:
        box.close()


def old_driver(px, user="admin"):
    c = psycopg2.connect(host="127.0.0.1", port=px.port, user=user, dbname="pgbouncer")
    c.autocommit = True
    return c


def test_what_the_exporter_asks(px):
    """pgbouncer_exporter: these, by name of column; a (database, user) must come once."""
    c = old_driver(px)
    cur = c.cursor()
    got = {}
    for what in ("STATS", "VERSION", "LISTS", "CONFIG", "DATABASES", "STATS_TOTALS", "POOLS"):
        cur.execute(f"SHOW {what};")
        names = [d.name for d in cur.description]
        got[what] = [dict(zip(names, row)) for row in cur.fetchall()]
    c.close()
    assert got["VERSION"][0]["version"].startswith("PgBouncer 1.25")
    assert set(got["CONFIG"][0]) == {"key", "value", "default", "changeable"}
    config = {r["key"]: r["value"] for r in got["CONFIG"]}
    assert float(config["max_client_conn"]) == 100 and float(config["max_user_connections"]) == 0
    assert all(isinstance(r["items"], int) for r in got["LISTS"])
    for rows, key in ((got["POOLS"], ("database", "user")), (got["STATS_TOTALS"], ("database",)),
                      (got["DATABASES"], ("name",))):
        keys = [tuple(r[k] for k in key) for r in rows]
        assert len(keys) == len(set(keys))
    totals = next(r for r in got["STATS_TOTALS"] if r["database"] == "db")
    assert isinstance(totals["query_count"], decimal.Decimal) and totals["query_count"] >= 1
    two = next(r for r in got["DATABASES"] if r["name"] == "two")
    assert (two["pool_size"], two["load_balance_hosts"], two["disabled"]) == (3, "round-robin", 0)
    assert ("pgbouncer", "pgbouncer") in [(r["database"], r["user"]) for r in got["POOLS"]]


def test_lists(px):
    with px.connect(), px.connect(db="two"):
        def settled():
            got = {r["list"]: r["items"] for r in px.console("show lists")}
            # Two of them and the console that asks; those before may still be leaving.
            return got if (got["used_clients"], got["login_clients"]) == (3, 0) else None
        lists = wait_for(settled)
        assert lists["databases"] == 3
        assert lists["free_servers"] + lists["used_servers"] >= 1
    mem = {r["name"]: r for r in px.console("show mem")}
    assert {"user_cache", "db_cache", "pool_cache", "server_cache", "client_cache",
            "iobuf_cache"} <= set(mem)
    assert all(r["memtotal"] == r["size"] * (r["used"] + r["free"]) for r in mem.values())


def test_states(px):
    with px.connect() as c:
        c.execute("begin")
        c.execute("select 1")
        row = next(r for r in px.console("show pools") if r["database"] == "db")
        assert (row["sv_active"], row["cl_active"], row["cl_waiting"]) == (1, 1, 0)
        fds = px.console("show fds")
        client = next(r for r in fds if r["task"] == "client" and r["database"] == "db")
        assert all(os.readlink(f"/proc/{px.process.pid}/fd/{r['fd']}").startswith("socket:")
                   for r in fds if r["database"] != "pgbouncer")
        assert all(r["password"] is None for r in fds)
        server = next(r for r in fds if r["task"] == "server" and r["fd"] == client["link"])
        assert server["link"] == client["fd"] and client["client_encoding"] == "UTF8"
        assert server["password"] is None and server["scram_client_key"] is None
        mine = next(r for r in px.console("show sockets")
                    if r["type"] == "C" and r["database"] == "db")
        theirs = next(r for r in px.console("show active_sockets")
                      if r["type"] == "S" and r["database"] == "db")
        assert mine["link"] == theirs["ptr"] and theirs["link"] == mine["ptr"]
        assert theirs["remote_pid"] == c.execute("select pg_backend_pid()").fetchone()[0]
        c.execute("commit")


def test_states(make):
    """The words of PgBouncer: SOCKETS names the lists, where a client that rests is among the active ones."""
    px = make(more="server_check_delay = 0.2\n")

    def states(what, kind):
        return sorted((r["database"], r["state"]) for r in px.console("show " + what) if r["type"] == kind)
    with px.connect() as c:
        c.execute("begin")
        c.execute("select 1")
        assert states("clients", "C") == [("db", "active"), ("pgbouncer", "idle")]
        assert states("servers", "S") == [("db", "active")]
        assert states("sockets", "C") == [("db", "cl_active"), ("pgbouncer", "cl_active")]
        assert states("sockets", "S") == [("db", "sv_active")]
        assert states("active_sockets", "C") == [("db", "cl_active")]
        c.execute("commit")
        assert states("clients", "C") == [("db", "idle"), ("pgbouncer", "idle")]
        assert states("sockets", "C") == [("db", "cl_active"), ("pgbouncer", "cl_active")]
        # Which has to be checked before it is used again.
        wait_for(lambda: states("servers", "S") == [("db", "used")])
        assert states("sockets", "S") == [("db", "sv_used")]


def test_prepared_by_name(px):
    """A driver keeps several statements, binds values, and wants numbers in binary."""
    with px.connect(db="pgbouncer", user="admin") as c:
        for _ in range(2):
            assert c.execute("show version", prepare=True).fetchone()[0].startswith("PgBouncer")
            assert c.execute("show state", prepare=True).fetchall()[0] == ("active", "yes")
        c.execute("set query_wait_timeout = %s", (77,))
        c.execute("set server_reset_query = %s", ("select 'a b', 1",))
        value = {r[0]: r[1] for r in c.execute("show config").fetchall()}
        assert value["query_wait_timeout"] == "77"
        assert value["server_reset_query"] == "select 'a b', 1"
        cur = c.cursor(binary=True)
        pools = cur.execute("show pools").fetchall()
        assert any(r[0] == "db" and isinstance(r[2], int) for r in pools)
        text = {r[0]: r for r in c.execute("show stats_totals").fetchall()}
        binary = {r[0]: r for r in cur.execute("show stats_totals").fetchall()}
        assert text["db"] == binary["db"]
        with pytest.raises(psycopg.errors.ProtocolViolation, match="invalid command 'show nothing'"):
            c.execute("show nothing")
        assert c.execute("show state").fetchall()
    px.console("reload")


def say(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def talk(px, *messages):
    """Types of the answers, as a driver of another language might provoke them."""
    with socket.create_connection(("127.0.0.1", px.port), timeout=30) as s:
        start = b"user\0admin\0database\0pgbouncer\0\0"
        s.sendall(struct.pack("!ii", len(start) + 8, 196608) + start)
        stream = s.makefile("rb")

        def read(until):
            got = []
            while not got or got[-1][0] != until:
                head = stream.read(5)
                got.append((head[:1], stream.read(struct.unpack("!i", head[1:])[0] - 4)))
            return got
        read(b"Z")
        s.sendall(b"".join(messages) + say(b"S", b""))
        return read(b"Z")


def test_named_statement_step_by_step(px):
    """Parse, Describe, Bind (int4 in binary), Execute twice, Close: as JDBC does."""
    got = talk(px, say(b"P", b"S_1\0set query_wait_timeout = $1\0" + struct.pack("!hi", 1, 23)),
               say(b"D", b"SS_1\0"),
               say(b"B", b"p\0S_1\0" + struct.pack("!hhhii", 1, 1, 1, 4, 55) + struct.pack("!h", 0)),
               say(b"E", b"p\0" + struct.pack("!i", 0)),
               say(b"C", b"SS_1\0"))
    assert b"".join(t for t, _ in got) == b"1tn2C3Z"
    assert got[1][1] == struct.pack("!hi", 1, 23)
    got = talk(px, say(b"P", b"\0show config\0\0\0"), say(b"B", b"\0\0\0\0\0\0\0\0"),
               say(b"D", b"P\0"), say(b"E", b"\0\0\0\0\0"))
    types = b"".join(t for t, _ in got)
    assert types.startswith(b"12TDDD") and types.endswith(b"CZ")
    assert any(b"query_wait_timeout" in body and b"\x00\x0255" in body for _, body in got)
    px.console("reload")


def test_errors_skip_to_sync(px):
    for messages, state in (([say(b"B", b"\0nosuch\0\0\0\0\0\0\0")], b"26000"),
                            ([say(b"E", b"nosuch\0\0\0\0\0")], b"34000"),
                            ([say(b"D", b"Snosuch\0")], b"26000"),
                            ([say(b"P", b"\0" + b"show $9\0" + b"\0\0")], b"08P01")):
        got = talk(px, *messages, say(b"E", b"\0\0\0\0\0"), say(b"D", b"P\0"))
        assert b"".join(t for t, _ in got) == b"EZ"
        assert b"C" + state + b"\0" in got[0][1]


def test_who_may(px):
    c = old_driver(px, "u_plain")
    cur = c.cursor()
    cur.execute("show pools")
    for sql, text in (("show fds", "admin access needed"), ("reload", "admin access needed"),
                      ("kill_client 1", "admin access needed"),
                      ("set max_client_conn = 3", "admin access needed"),
                      ("pause", "admin access needed"), ("nonsense", "invalid command 'nonsense'")):
        with pytest.raises(psycopg2.Error, match=text) as e:
            cur.execute(sql)
        assert e.value.pgcode == "08P01"
    c.close()
    assert px.console("show state")[1] == {"key": "paused", "value": "no"}


@pytest.mark.parametrize("sql,text", [
    ("foo bar", "invalid command 'foo bar', use SHOW HELP;"),
    ("show", "invalid command 'show', use SHOW HELP;"),
    ("show config me", "invalid command 'show config me', use SHOW HELP;"),
    ("show pools; show stats", "invalid command 'show pools; show stats', use SHOW HELP;"),
    ("select 1", "invalid command 'select 1', use SHOW HELP;"),
    ("resume", "pooler is not paused/suspended"),
    ("resume db", "database db is not paused"),
])
def test_refusals(px, sql, text):
    with pytest.raises(psycopg.Error) as e:
        px.console(sql)
    assert text in str(e.value) and e.value.sqlstate == "08P01"


def test_help_and_empty(px):
    done = px.psql("show help", db="pgbouncer", user="admin")
    for word in ("SHOW HELP|CONFIG|DATABASES|POOLS", "SHOW STATS|STATS_TOTALS", "HISTOGRAMS",
                 "SUSPEND", "WAIT_CLOSE"):
        assert word in done.stderr
    assert px.psql(" ; ", db="pgbouncer", user="admin").stdout == ""
