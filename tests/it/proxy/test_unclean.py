"""What a client leaves behind on a server must never reach the next client of that server."""
import struct

import pytest
import rawpg as raw

POOL = "default_pool_size = 1\nquery_timeout = 15\nserver_connect_timeout = 10\n"


@pytest.fixture
def transaction(make):
    """A proxy with one server connection, and one thread, so that it stays with it."""
    return make(more=POOL, workers=1)


def head(kind, size):
    return kind.encode() + struct.pack("!i", size + 4)


def slowly(c, *behind):
    """A query, and behind it what reaches the server before it has answered."""
    c.send(raw.query("select pg_sleep(0.5)"), *behind)


def next_client(proxy):
    """Two transactions of somebody else."""
    with raw.Client(proxy.port, timeout=30) as c:
        assert c.query("select 1") == (["1"], None)
        c.send(raw.parse("", "select $1::text"), raw.bind("", "a"), raw.execute(), raw.SYNC)
        assert raw.rows(c.until("Z")) == [["a"]]


@pytest.mark.parametrize("kind", "df")
def test_half_a_message(transaction, kind):
    """COPY data behind a COPY that failed, say: the server still waits for the rest of a message."""
    with raw.Client(transaction.port, timeout=30) as c:
        slowly(c, head(kind, 40000), b"x" * 20000)
        c.until("Z")
        next_client(transaction)
        c.send(b"x" * 20000)
        assert c.query("select 2") == (["2"], None)
    next_client(transaction)


def test_half_a_message_and_gone(make):
    proxy = make(mode="session", more=POOL)
    with raw.Client(proxy.port, timeout=30) as c:
        slowly(c, head("d", 40000), b"x" * 20000)
        c.until("Z")
    next_client(proxy)
    assert "test query timed out" not in proxy.log()


def test_failed_copy_of_long_rows(transaction):
    """As a driver does it: it sends on until it sees the error."""
    with raw.Client(transaction.port, timeout=30) as c:
        c.query("create table wide (a int, b text)")
        c.send(raw.query("copy wide from stdin"))
        c.until("G")
        row = b"x\t" + b"y" * 100000 + b"\n"
        c.send(raw.msg("d", row), head("d", len(row)), row[:50000])
        assert "E" in [kind for kind, _ in c.until("Z")]
        next_client(transaction)
        c.send(row[50000:], raw.msg("c"))
        assert c.query("select 2") == (["2"], None)
        c.query("drop table wide")


def test_server_that_does_not_read(transaction):
    """Its answer comes while the proxy still holds what the client had sent behind the request."""
    with raw.Client(transaction.port, timeout=30) as c:
        c.sock.settimeout(30)
        slowly(c, *[raw.msg("d", b"x" * 8000)] * 1500)
        c.until("Z")
        for _ in range(5):
            next_client(transaction)
    next_client(transaction)


@pytest.mark.parametrize("bad", [head("H", 3) + b"xyz", head("c", 12000) + b"x" * 12000, head("c", 1) + b"x"],
                         ids=["flush", "long", "short"])
def test_messages_without_an_answer_of_their_own(transaction, bad):
    """The server would answer them with an error of which nobody knows whose it is."""
    with raw.Client(transaction.port, timeout=30) as c:
        slowly(c, bad)
        assert "invalid message format" in str(c.ends())
    next_client(transaction)
    with raw.Client(transaction.port, timeout=30) as c:
        c.send(bad)
        assert "invalid message format" in str(c.ends())
    next_client(transaction)
