"""Long answers: the proxy lets their pieces gather, and nobody may notice but by the processor time."""
import hashlib
import signal
import threading
import time

import psycopg
import pytest
import rawpg as raw
from conftest import make_cert

ROWS = "select i, repeat(md5(i::text), 30) from generate_series(1, 40000) i"


def digest(rows):
    h, size = hashlib.md5(), 0
    for data in rows:
        h.update(bytes(data))
        size += len(data)
    return h.hexdigest(), size


def copied(conn):
    with conn.cursor().copy(f"copy ({ROWS}) to stdout") as copy:
        return digest(copy)


@pytest.fixture(scope="module")
def expected(server):
    with psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", dbname="db") as c:
        return copied(c)


TLS = """client_tls_sslmode = allow
client_tls_key_file = @DIR@/server.key
client_tls_cert_file = @DIR@/server.crt
server_tls_sslmode = {server}
"""


@pytest.mark.parametrize("mode", ["plain", "tls"])
def test_copy_out_whole(make, box, expected, mode):
    make_cert(box)
    proxy = make(more=TLS.format(server="require" if mode == "tls" else "disable"))
    with proxy.connect(sslmode="require" if mode == "tls" else "disable") as c:
        for _ in range(2):
            assert copied(c) == expected
            assert c.execute("select count(*), sum(length(t)) from (" + ROWS + ") x(i, t)").fetchone() \
                == (40000, 40000 * 960)
            assert len(c.execute(ROWS).fetchall()) == 40000
            # What follows on the same server is an ordinary statement.
            assert c.execute("select 1").fetchone() == (1,)


def test_several_at_once(make, expected):
    """More streams than threads, and clients with short statements beside them."""
    proxy = make(workers=1)
    got, short = [], []

    def stream():
        with proxy.connect() as c:
            got.append(copied(c))

    threads = [threading.Thread(target=stream) for _ in range(3)]
    for t in threads:
        t.start()
    with proxy.connect() as c:
        while any(t.is_alive() for t in threads):
            short.append(c.execute("select 7").fetchone())
    for t in threads:
        t.join()
    assert got == [expected] * 3
    assert short and set(short) == {(7,)}


def rows_so_far(client, want):
    """Reads until so many rows have come; the answer goes on."""
    rows = 0
    while rows < want:
        kind, _ = client.read()
        assert kind in "TD"
        rows += kind == "D"
    return rows


def test_what_stands_still_is_not_kept(make):
    """All that the server has sent before it pauses arrives, however little the last of it is."""
    proxy = make()
    sql = ("select repeat('x', 8000), case when i in (4000, 4010) then pg_sleep(%s) end "
           "from generate_series(1, 4020) i")
    with raw.Client(proxy.port, timeout=30) as c:
        c.send(raw.query(sql % 1))
        # The server itself keeps up to 8 kB back: one row.
        rows_so_far(c, 3998)
        rows_so_far(c, 10)
        c.until("Z")
        assert c.query("select 2") == (["2"], None)
        c.send(raw.query(sql % 600))
        rows_so_far(c, 3998)
        with raw.Client(proxy.port, timeout=30) as k:
            k.query("select pg_cancel_backend(pid) from pg_stat_activity where state = 'active' and "
                    "query like '%pg_sleep(600)%' and pid <> pg_backend_pid()")
        last = c.until("Z")
        assert [raw.fields(b)["C"] for k, b in last if k == "E"] == ["57014"]
        assert c.query("select 3") == (["3"], None)


def test_slow_reader_and_suspend(make):
    """A client that reads nothing for a while stops its server, and a SUSPEND in the midst loses nothing."""
    proxy = make(more="suspend_timeout = 20")

    def suspend():
        try:
            proxy.console("SUSPEND")
        except psycopg.Error:
            pass  # RESUME came before all was silent

    with raw.Client(proxy.port, timeout=60) as c:
        c.send(raw.query("select repeat('y', 1000) from generate_series(1, 60000)"))
        rows_so_far(c, 5000)
        time.sleep(0.3)
        rows_so_far(c, 5000)
        t = threading.Thread(target=suspend)
        t.start()
        time.sleep(0.3)
        rows_so_far(c, 100)
        proxy.signal(signal.SIGUSR2)
        rows_so_far(c, 49900)
        c.until("Z")
        t.join(30)
        assert c.query("select 4") == (["4"], None)
