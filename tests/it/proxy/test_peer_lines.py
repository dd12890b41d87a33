"""What tools look for in PgBouncer's log and console, word for word (compared with PgBouncer 1.24 side by side)."""
import os
import re
import signal
import time

import psycopg
import pytest
import rawpg as raw
from conftest import wait_for

MORE = """logfile = @DIR@/px.log
pidfile = @DIR@/px.pid
unix_socket_dir = @DIR@
server_login_retry = 1
stats_users = u_trust
"""


@pytest.fixture(scope="module")
def px(server):
    from conftest import BASE, Box, Proxy, users
    box = Box()
    users(box)
    try:
        ini = BASE.format(pg=server.port, mode="transaction", auth="trust", more=MORE, databases=f"""
one = host=127.0.0.1 port={server.port} dbname=db pool_size=1
nosuch = host=127.0.0.1 port={server.port} dbname=nosuch
down = host=127.0.0.1 port=1""")
        yield Proxy(box, ini.replace("unix_socket_dir =\n", ""))
    finally:
        box.close()


def said(px, pattern, since=0):
    """One line of the log, without its time and process, from byte since on."""
    def look():
        with open(px.box.path("px.log")) as f:
            return re.search(r"^\S+ \S+ \S+ \[\d+\] (" + pattern + r")$", f.read()[since:], re.M)
    return wait_for(look).group(1)


def size(px):
    return os.path.getsize(px.box.path("px.log"))


WHO = r"C-0x[0-9a-f]+: db/u_trust@127\.0\.0\.1:\d+ "
SERVER = r"S-0x[0-9a-f]+: db/u_trust@127\.0\.0\.1:\d+ "


def test_process_lines(px):
    assert said(px, r"LOG listening on 127\.0\.0\.1:\d+")
    assert said(px, r"LOG listening on unix:/\S+/\.s\.PGSQL\.\d+")


def test_a_client_from_begin_to_end(px):
    at = size(px)
    with raw.Client(px.port) as c:
        assert c.query("select 1") == (["1"], None)
        c.send(raw.msg("X"))
    said(px, "LOG " + WHO + "login attempt: db=db user=u_trust tls=no replication=no", at)
    said(px, "LOG " + SERVER + r"SSL established: TLSv1\.3/TLS_\w+/ECDH=\w+", at)
    said(px, "LOG " + SERVER + r"new connection to server \(from 127\.0\.0\.1:\d+\)", at)
    said(px, "LOG " + WHO + r"closing because: client close request \(age=\d+s\)", at)


def test_attempts_that_fail_are_logged(px):
    at = size(px)
    with pytest.raises(psycopg.OperationalError):
        px.sql("select 1", db="nope")
    said(px, r"LOG C-\S+ \S+ login attempt: db=nope user=u_trust tls=no replication=no", at)
    said(px, r"LOG C-\S+ \S+ login failed: db=nope user=u_trust", at)
    said(px, r"WARNING C-\S+ \S+ pooler error: no such database: nope", at)
    with open(px.box.path("px.log")) as f:
        lines = [m[1] for m in re.finditer(r"(closing because|pooler error): no such database: nope", f.read()[at:])]
    assert lines == ["closing because", "pooler error"]  # PgBouncer's order
    with pytest.raises(psycopg.OperationalError):
        px.sql("select 1", db="nosuch")
    said(px, r"LOG C-\S+ \S+ login attempt: db=nosuch user=u_trust tls=no replication=no", at)
    said(px, r'WARNING .*server login failed: FATAL database "nosuch" does not exist', at)


def test_console_logins_and_goodbyes(px):
    at = size(px)
    px.console("SHOW VERSION")
    said(px, r"LOG C-\S+ pgbouncer/admin@\S+ login attempt: db=pgbouncer user=admin tls=no replication=no", at)
    said(px, r"LOG C-\S+ pgbouncer/admin@\S+ closing because: client close request \(age=0s\)", at)


def test_monitors_that_only_look_are_not_told(px):
    at = size(px)
    raw.Raw(px.port).close()
    c = raw.Raw(px.port)
    c.send(b"\0\0")
    c.close()
    said(px, r"LOG C-\S+ \S+ closing because: client unexpected eof \(age=0s\)", at)
    time.sleep(0.2)
    with open(px.box.path("px.log")) as f:
        assert f.read()[at:].count("client unexpected eof") == 1


@pytest.mark.parametrize("setting, sql, reason", [
    ("query_timeout", ["select pg_sleep(30)"], "query timeout"),
    ("idle_transaction_timeout", ["begin"], "idle transaction timeout"),
    ("transaction_timeout", ["begin", "select pg_sleep(30)"], "transaction timeout"),
])
def test_timeouts_close_the_server_with_their_name(px, setting, sql, reason):
    at = size(px)
    px.console(f"SET {setting} = 0.5")
    try:
        with raw.Client(px.port) as c:
            for s in sql[:-1]:
                c.query(s)
            c.send(raw.query(sql[-1]))
            with pytest.raises(raw.Gone):
                while True:
                    c.read()
    finally:
        px.console(f"SET {setting} = 0")
    said(px, "WARNING " + WHO + f"pooler error: {reason}", at)
    said(px, "LOG " + SERVER + f"closing because: {reason} " + r"\(age=\d+s\)", at)


@pytest.mark.parametrize("bytes_, error", [
    (b"Y\0\0\0\4", "unknown pkt"),
    (b"Q\0\0\0\1", "bad packet header: '5100000001'"),
])
def test_what_is_no_message(px, bytes_, error):
    with raw.Client(px.port) as c:
        c.send(bytes_)
        got = raw.fields(c.until("E")[-1][1])
    assert (got["C"], got["M"]) == ("08P01", error)


@pytest.mark.parametrize("command, tag", [
    ("SET query_timeout = 7", "SET query_timeout=7"),
    ("SET query_timeout = '0'", "SET query_timeout=0"),
    ("set server_reset_query = 'a''b'", "SET server_reset_query=a'b"),
    ("SET server_reset_query TO 'DISCARD ALL'", "SET server_reset_query=DISCARD ALL"),
    ("RELOAD", "RELOAD"),
    ("DISABLE one", "DISABLE"),
    ("ENABLE one", "ENABLE"),
])
def test_tags_of_commands(px, command, tag):
    with px.connect(db="pgbouncer", user="admin", cursor_factory=psycopg.ClientCursor) as c:
        assert c.execute(command).statusmessage == tag
    with px.connect(db="pgbouncer", user="admin") as c:
        assert c.execute(command).statusmessage == tag


def test_nothing_behind_a_quote_is_lost(px):
    with pytest.raises(psycopg.Error, match="invalid command"):
        px.console("SET query_timeout = '3'; SHOW USERS")
    assert px.console("SHOW USERS ; ")


def test_commands_are_logged(px):
    at = size(px)
    for command, line in [("DISABLE one", "DISABLE 'one' command issued"),
                          ("ENABLE one", "ENABLE 'one' command issued"),
                          ("PAUSE one", "PAUSE 'one' command issued"),
                          ("RESUME one", "RESUME 'one' command issued"),
                          ("RELOAD", "RELOAD command issued")]:
        px.console(command)
        said(px, "LOG " + line, at)


def test_pause_closes_servers_with_its_name(px):
    px.sql("select 1")
    at = size(px)
    px.console("PAUSE db")
    said(px, "LOG " + SERVER + r"closing because: pause mode \(age=\d+s\)", at)
    px.console("RESUME db")


def test_lists_and_users(px):
    px.sql("select 1")
    lists = {r["list"]: r["items"] for r in px.console("SHOW LISTS")}
    servers = px.console("SHOW SERVERS")
    # Those of pools that are idle count as used: free is memory.
    assert lists["used_servers"] == len(servers) >= 1 and lists["free_servers"] == 0
    names = [r["name"] for r in px.console("SHOW USERS")]
    assert names == sorted(names) and "pgbouncer" in names and len(names) == lists["users"]


@pytest.mark.parametrize("how, lines", [
    ("SIGTERM", ["got SIGTERM, shutting down, waiting for all clients disconnect",
                 "client connections dropped, exiting"]),
    ("SIGINT", ["got SIGINT, shutting down, waiting for all servers connections to be released",
                "server connections dropped, exiting"]),
    ("SHUTDOWN WAIT_FOR_CLIENTS", ["SHUTDOWN WAIT_FOR_CLIENTS command issued",
                                   "client connections dropped, exiting"]),
    ("SHUTDOWN WAIT_FOR_SERVERS", ["SHUTDOWN WAIT_FOR_SERVERS command issued",
                                   "server connections dropped, exiting"]),
])
def test_the_end(make, how, lines):
    proxy = make(more="logfile = @DIR@/px.log")
    with raw.Client(proxy.port) as c:
        c.query("begin")
        if how.startswith("SIG"):
            proxy.signal(getattr(signal, how))
        else:
            proxy.console(how)
        said(proxy, "LOG " + lines[0])
        assert proxy.process.poll() is None
        c.query("commit")
        c.send(raw.msg("X"))
    assert proxy.process.wait(20) == 0
    said(proxy, "LOG " + lines[1])
