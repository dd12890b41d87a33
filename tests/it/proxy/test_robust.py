"""Clients and servers that are slow, gone, rude or too many; files that are wrong; limits of the system."""
import hashlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import psycopg
import pytest

import conftest
import rawpg
from conftest import BASE, Proxy, make_cert, wait_for
from ports import free_port
from rawpg import Raw, fields

TLS = """client_tls_sslmode = allow
client_tls_key_file = @DIR@/server.key
client_tls_cert_file = @DIR@/server.crt
"""


def pss(px):
    with open(f"/proc/{px.process.pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def cpu(px):
    with open(f"/proc/{px.process.pid}/stat") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def fds(px):
    return len(os.listdir(f"/proc/{px.process.pid}/fd"))


def fatal(c):
    """The text of the error that the connection ends with."""
    got = c.ends()
    assert got and got[-1][0] == "E", got
    assert fields(got[-1][1])["S"] == "FATAL"
    return fields(got[-1][1])["M"]


@pytest.fixture(scope="module")
def shared(server):
    """One proxy for all checks that leave it as it was."""
    from conftest import Box, users
    box = Box()
    users(box)
    try:
        make_cert(box)
        more = TLS + "max_packet_size = 200000\nmax_client_conn = 1000\nclient_login_timeout = 20\n"
        yield Proxy(box, BASE.format(pg=server.port, mode="transaction", auth="trust", more=more,
                                     databases=f"one = host=127.0.0.1 port={server.port} dbname=db pool_size=1"))
    finally:
        box.close()


# Clients that are slow, or do not read at all

def test_slow_reader_disturbs_nobody(shared):
    with Raw(shared.port, rcvbuf=4096) as slow, Raw(shared.port, rcvbuf=4096) as never:
        slow.login()
        never.login()
        before = pss(shared)
        big = rawpg.query("select repeat('x', 1000000) from generate_series(1, 60)")
        slow.send(big)
        never.send(big)
        for _ in range(30):
            slow.take(1)
            assert shared.sql("select 1") == [(1,)]
        assert pss(shared) - before < 8000, "what nobody reads is kept in memory"
        busy = [r for r in shared.console("SHOW SERVERS") if r["state"] == "active"]
        assert len(busy) == 2
        never.reset()
        slow.close()
        wait_for(lambda: not [r for r in shared.console("SHOW SERVERS") if r["state"] == "active"])


def test_slow_writer(shared):
    with Raw(shared.port) as c:
        for b in rawpg.startup(user="u_trust", database="db"):
            c.sock.sendall(bytes([b]))
        assert c.until("Z")[-1][1] == b"I"
        for b in rawpg.parse("", "select 7") + rawpg.bind("") + rawpg.execute() + rawpg.SYNC:
            c.sock.sendall(bytes([b]))
        assert rawpg.rows(c.until("Z")) == [["7"]]


def test_slow_server(make):
    """A server that sends a byte at a time; others of its pool are not needed for that."""
    listener = socket.create_server(("127.0.0.1", free_port()))

    def serve():
        peer, _ = listener.accept()
        assert peer.recv(8) == rawpg.SSL_REQUEST
        peer.sendall(b"N")
        peer.recv(1000)
        answers = [rawpg.msg("R", struct.pack("!i", 0)) + rawpg.msg("S", b"server_version\x0015.1\0") +
                   rawpg.msg("K", b"12345678") + rawpg.msg("Z", b"I"),
                   rawpg.msg("D", struct.pack("!hi", 1, 3) + b"abc") + rawpg.msg("C", b"SELECT 1\0") + rawpg.msg("Z", b"I")]
        for i, answer in enumerate(answers):
            if i:
                peer.recv(1000)
            for b in answer:
                peer.sendall(bytes([b]))
                time.sleep(0.003)
        peer.recv(10)
    threading.Thread(target=serve, daemon=True).start()
    with listener:
        px = make(databases=f"slow = host=127.0.0.1 port={listener.getsockname()[1]}")
        with Raw(px.port) as c:
            assert c.login(database="slow").query("select 1") == [["abc"]]
            assert px.sql("select 1") == [(1,)]


@pytest.mark.skipif(subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0,
                    reason="no network namespaces")
def test_half_open(make):
    """A client's network goes away without a word: its server is free again, as tcp_user_timeout says."""
    name = f"pxh{os.getpid() % 100000}"
    net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    peer = f"import sys, time; sys.path.insert(0, {os.path.dirname(__file__)!r})\nfrom rawpg import *\n" \
           f"c = Raw(PORT, host='{net}.1').login(); c.query('begin'); print('in', flush=True); time.sleep(300)"
    sh = lambda *a: subprocess.run(a, check=True, capture_output=True)  # noqa: E731
    holder = subprocess.Popen(["unshare", "-n", "sleep", "300"])
    try:
        wait_for(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        try:
            sh("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        except subprocess.CalledProcessError:
            pytest.skip("no veth devices")
        sh("ip", "addr", "add", f"{net}.1/24", "dev", name)
        sh("ip", "link", "set", name, "up")
        inside = ["nsenter", "-t", str(holder.pid), "-n"]
        sh(*inside, "ip", "addr", "add", f"{net}.2/24", "dev", "eth0")
        sh(*inside, "ip", "link", "set", "eth0", "up")
        px = make(more=f"listen_addr = 127.0.0.1,{net}.1\ntcp_keepidle = 1\ntcp_keepintvl = 1\n"
                       "tcp_keepcnt = 2\ntcp_user_timeout = 3000\ndefault_pool_size = 1")
        lost = subprocess.Popen([*inside, "/usr/bin/python3", "-c", peer.replace("PORT", str(px.port))],
                                stdout=subprocess.PIPE)
        try:
            assert lost.stdout.readline() == b"in\n"
            assert len(px.console("SHOW CLIENTS")) == 2
            # What it would answer goes nowhere.
            sh(*inside, "ip", "route", "add", "blackhole", f"{net}.1/32")
            wait_for(lambda: len(px.console("SHOW CLIENTS")) == 1, 40, every=0.2)
            assert px.sql("select 1") == [(1,)]
        finally:
            lost.kill()
            lost.wait()
    finally:
        holder.kill()
        holder.wait()
        subprocess.run(["ip", "link", "del", name], capture_output=True)


# Packets that are too large, wrong, or out of place

@pytest.mark.parametrize("data,text", [
    (rawpg.query("select '" + "x" * 300000 + "'"), "packet too large"),
    (b"Q\0\0\0\3", "bad packet header"),
    (b"Q\xff\xff\xff\xff", "bad packet header"),
    (rawpg.msg("?", b"what"), "unknown pkt"),
    (rawpg.msg("p", b"secret\0"), "unknown pkt"),
])
def test_bad_packets(shared, data, text):
    with Raw(shared.port) as c:
        c.login()
        c.send(data)
        assert text in fatal(c)


@pytest.mark.parametrize("data,text", [
    (struct.pack("!i", 3) + b"x", "bad packet header"),
    (struct.pack("!i", 100000) + b"\0\3\0\0" + b"x" * 3000, "bad packet header"),
    (rawpg.startup((2, 0), user="u_trust"), "old V2 protocol not supported"),
    (rawpg.startup((4, 0), user="u_trust"), "unsupported frontend protocol"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""),
    (rawpg.msg("p", b"secret\0"), ""),
    (rawpg.startup(database="db"), ""),
    (rawpg.startup(user="u_trust", database="db", nonsense="1"), "unsupported startup parameter: nonsense"),
    (rawpg.startup(user="u_trust", database="db", options="--x"), "options"),
    (rawpg.startup(user="u_trust", database="d" * 5000), "no such database"),
    (rawpg.startup(user="u" * 5000, database="db"), ""),
])
def test_bad_startup(shared, data, text):
    with Raw(shared.port) as c:
        c.send(data)
        assert text in fatal(c)


def test_newer_protocol(shared):
    """3.2 and what else a client asks for is negotiated, not refused."""
    with Raw(shared.port) as c:
        c.send(rawpg.startup((3, 9999), user="u_trust", database="db", **{"_pq_.news": "1"}))
        got = c.until("Z", "E")
        kind, body = got[0]
        assert kind == "v" and b"_pq_.news" in body
        assert struct.unpack("!i", body[:4])[0] & 0xffff <= 2
        assert got[-1][0] == "Z"
        assert c.query("select 5") == [["5"]]
    with Raw(shared.port) as c:
        c.login(version=(3, 2))
        assert c.query("select 6") == [["6"]]


def test_plain_text_before_tls(shared):
    """What came before the handshake must not count as said inside of it (CVE-2021-3935)."""
    with Raw(shared.port) as c:
        c.send(rawpg.SSL_REQUEST, rawpg.startup(user="u_trust", database="db"), rawpg.query("select 1"))
        c.sock.settimeout(20)
        got = b""
        try:
            while part := c.sock.recv(4096):
                got += part
        except ConnectionResetError:
            pass
        assert b"T\0\0\0" not in got and b"select" not in got, got


def test_garbage_after_tls(shared):
    with Raw(shared.port) as c:
        c.tls()
        c.send(b"\xff" * 500)
        assert "bad packet header" in fatal(c)
    with Raw(shared.port) as c:
        c.send(rawpg.SSL_REQUEST)
        assert c.take(1) == b"S"
        c.send(os.urandom(2000))
        with pytest.raises((rawpg.Gone, OSError)):
            while True:
                c.more()
    with Raw(shared.port) as c:
        c.tls()
        assert c.login().query("select 1") == [["1"]]


# Too many

def test_cancel_flood(shared, server):
    with Raw(shared.port) as mine:
        mine.login()
        before = fds(shared)
        for n in range(300):
            with Raw(shared.port) as c:
                c.send(rawpg.cancel(n, os.urandom(4)))
        assert mine.query("select 1") == [["1"]]
        mine.send(rawpg.query("select pg_sleep(60)"))
        # Ours is found among them, also when it is asked for many times.
        wait_for(lambda: server.sql("select 1 from pg_stat_activity where query ~ '^select pg_sleep' "
                                    "and state = 'active'"))
        for _ in range(20):
            with Raw(shared.port) as c:
                c.send(rawpg.cancel(mine.pid, mine.key))
        assert any(fields(b).get("C") == "57014" for k, b in mine.until("Z") if k == "E")
        # Some of the twenty may still be on their way.
        def answers():
            try:
                return mine.query("select 2") == [["2"]]
            except RuntimeError as e:
                assert "57014" in str(e)
        wait_for(answers)
        wait_for(lambda: fds(shared) <= before + 4)


@pytest.mark.parametrize("limit", ["max_client_conn = 3", "max_db_client_connections = 3",
                                   "max_user_client_connections = 3"])
def test_logins_at_the_same_time(make, limit):
    """Limits hold for those, too, that were all let in to the password before anybody had given it."""
    px = make(auth="md5", more=limit, mode="transaction")
    clients = [Raw(px.port) for _ in range(12)]
    for c in clients:
        c.send(rawpg.startup(user="u_plain", database="db"))
        kind, body = c.read()
        assert kind == "R" and body[:4] == struct.pack("!i", 5), (kind, body)
        c.salt = body[4:8]
    for c in clients:
        inner = hashlib.md5(b"secretu_plain").hexdigest().encode()
        c.send(rawpg.msg("p", rawpg.text("md5" + hashlib.md5(inner + c.salt).hexdigest())))
    ends = [c.until("Z", "E")[-1] for c in clients]
    assert [kind for kind, _ in ends].count("Z") == 3
    for kind, body in ends:
        assert kind == "Z" or limit.split()[0] in fields(body)["M"]
    for c in clients:
        c.close()
    for _ in range(3):
        wait_for(lambda: px.sql("select 1", user="u_plain", password="secret"))


def test_connection_flood(make):
    px = make(more="max_client_conn = 20\nclient_login_timeout = 2")
    good = px.connect()
    crowd = []
    try:
        refused = 0
        for _ in range(60):
            c = Raw(px.port)
            crowd.append(c)
            try:
                c.login()
            except RuntimeError as e:
                assert "no more connections allowed (max_client_conn)" in str(e)
                refused += 1
        assert refused == 41
        assert good.execute("select 1").fetchone() == (1,)
    finally:
        for c in crowd:
            c.close()
    wait_for(lambda: px.sql("select 1") == [(1,)])
    # Those that never say anything go after client_login_timeout.
    silent = [Raw(px.port) for _ in range(50)]
    for c in silent:
        c.ends()
        c.close()
    assert px.sql("select 1") == [(1,)]


def limited(px, option):
    """Starts it again with a limit of the system: only a process itself may always set its own."""
    px.kill()
    plain = conftest.AS_POSTGRES
    conftest.AS_POSTGRES = [*plain, "prlimit", option]
    try:
        px.start()
    finally:
        conftest.AS_POSTGRES = plain
    return px


def test_no_descriptors_left(make):
    px = make()
    assert px.sql("select 1") == [(1,)]
    limit = fds(px) + 30
    limited(px, f"--nofile={limit}:{limit}")
    assert px.sql("select 1") == [(1,)]
    crowd = [Raw(px.port) for _ in range(80)]
    wait_for(lambda: fds(px) >= limit - 1)
    began = cpu(px)
    time.sleep(1.5)
    assert cpu(px) - began < 0.75, "spins without descriptors"
    for c in crowd:
        c.close()
    assert wait_for(lambda: px.sql("select 1") == [(1,)], 30)
    assert "accept" in px.log()


# The system and the files

def test_log_file_on_a_full_disk(make):
    px = make(more="logfile = /dev/full")
    for _ in range(3):
        assert px.sql("select 1") == [(1,)]
    px.console("RELOAD")
    px.signal(signal.SIGHUP)
    assert px.sql("select 2") == [(2,)]


def test_out_of_memory(make):
    """Clients that want more than there is get an error or are closed; the others go on."""
    px = make(more="max_client_conn = 500\ndefault_pool_size = 40")
    assert px.sql("select 1") == [(1,)]
    with open(f"/proc/{px.process.pid}/status") as f:
        now = next(int(line.split()[1]) for line in f if line.startswith("VmData:"))
    limited(px, f"--data={(now + 12000) * 1024}")
    assert px.sql("select 1") == [(1,)]
    crowd = []
    try:
        for n in range(300):
            c = Raw(px.port, timeout=30)
            crowd.append(c)
            try:
                c.login()
                # Held back: a name is longer than what may be passed on before it is known.
                c.send(rawpg.parse("s" + str(n), "select '" + "x" * 60000 + "'"), rawpg.msg("H"))
            except (RuntimeError, OSError, rawpg.Gone):
                pass
        assert px.process.poll() is None
    finally:
        for c in crowd:
            c.close()
    assert wait_for(lambda: px.sql("select 1") == [(1,)], 30)


@pytest.mark.parametrize("bad,text", [
    ("pool_mode = sometimes", "pool_mode"),
    ("no_such_setting = 1", "no_such_setting"),
    ("%include /nowhere/at/all.ini", "/nowhere/at/all.ini"),
    ("max_client_conn = lots", "max_client_conn"),
    ("[databases]\nx = host=1 port=abc", "port"),
])
def test_bad_file_at_reload(shared, bad, text):
    """The old settings stay, and the reason is told: to who asked, and in the log."""
    good = open(shared.file).read()
    shared.write(good.replace("[pgherd]", bad + "\n[pgherd]"))
    try:
        with pytest.raises(psycopg.Error, match=text):
            shared.console("RELOAD")
        shared.signal(signal.SIGHUP)
        wait_for(lambda: "could not reload" in shared.log())
        assert shared.sql("select 1") == [(1,)]
    finally:
        shared.write(good)
    shared.console("RELOAD")


def test_sighup_storm(shared):
    with shared.connect() as c:
        for n in range(200):
            shared.signal(signal.SIGHUP)
            if n % 10 == 0:
                assert c.execute("select 1").fetchone() == (1,)
    # What a storm needs once stays; a second and a third need no more.
    sizes = []
    for _ in range(3):
        for n in range(300):
            shared.signal(signal.SIGHUP)
            time.sleep(0.002)
        wait_for(lambda: shared.sql("select 1") == [(1,)])
        sizes.append(pss(shared))
    assert sizes[2] - sizes[0] < 4000, sizes


# What PgBouncer has had to put right (each in a release of its own)

def test_cve_2012_4575_long_database_name(make):
    px = make(databases="* = host=127.0.0.1 port=1 dbname=db", more="query_wait_timeout = 3")
    with Raw(px.port) as c:
        c.send(rawpg.startup(user="u_trust", database="d" * 9000))
        assert fatal(c)
    assert px.sql("select 1") == [(1,)]


def test_cve_2015_4054_password_before_startup(make):
    px = make(auth="md5")
    for data in (rawpg.msg("p", b"md5\0"), rawpg.msg("p", b""), rawpg.SSL_REQUEST[:4]):
        with Raw(px.port) as c:
            c.send(data)
            c.sock.shutdown(socket.SHUT_WR)
            c.ends()
    assert px.sql("select 1", user="u_md5", password="secret") == [(1,)]


def test_cve_2015_6817_unknown_user_is_not_auth_user(make, box):
    box.write("users.txt", '"postgres" ""\n"admin" ""\n')
    px = make(auth="md5", more="auth_user = postgres\nauth_dbname = db")
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            px.sql("select current_user", user="nobody_at_all", password="x")


def test_cve_2025_2291_expired_password(make, server, box):
    box.write("users.txt", '"postgres" ""\n"admin" ""\n')
    server.sql("drop role if exists u_old", "create role u_old login password 'secret' valid until '2001-01-01'")
    px = make(auth="scram-sha-256", more="auth_user = postgres\nauth_dbname = db")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        px.sql("select 1", user="u_old", password="secret")


def test_cve_2025_12819_search_path_before_login(make, server, box):
    """A search_path of the client must not reach the query that looks its password up."""
    server.sql("drop schema if exists evil cascade", "create schema evil",
               "create table evil.secrets as select 'u_scram'::text as name, 'known'::text as secret",
               "drop table if exists secrets",
               "create table secrets as select 'u_scram'::text as name, 'secret'::text as secret", db="db")
    box.write("users.txt", '"postgres" ""\n"admin" ""\n')
    px = make(auth="plain", more="auth_user = postgres\nauth_dbname = db\ntrack_extra_parameters = search_path\n"
                                 "auth_query = select name, secret from secrets where name = $1")
    with Raw(px.port) as c, pytest.raises(RuntimeError):
        c.login(user="u_scram", password="known", search_path="evil,pg_catalog")
    with Raw(px.port) as c:
        c.login(user="u_scram", password="secret")


@pytest.mark.parametrize("data", [
    rawpg.msg("p", rawpg.text("SCRAM-SHA-256") + struct.pack("!i", 0x7fffffff) + b"n,,n=,r=x"),
    rawpg.msg("p", rawpg.text("SCRAM-SHA-256") + struct.pack("!i", -2) + b"n,,n=,r=x"),
    rawpg.msg("p", rawpg.text("SCRAM-SHA-256") + struct.pack("!i", -1)),
    rawpg.msg("p", b"SCRAM-SHA-256"),
    rawpg.msg("p", rawpg.text("SCRAM-SHA-256") + struct.pack("!i", 40000) + b"n,,n=,r=" + b"x" * 39992),
    b"p\x7f\xff\xff\xff",
])
def test_cve_2026_6664_scram_lengths(scram_proxy, data):
    with Raw(scram_proxy.port) as c:
        c.send(rawpg.startup(user="u_scram", database="db"))
        c.until("R")
        c.send(data)
        assert fatal(c)
    assert scram_proxy.sql("select 1", user="u_scram", password="secret") == [(1,)]


@pytest.fixture(scope="module")
def scram_proxy(server):
    from conftest import Box, users
    box = Box()
    users(box)
    try:
        yield Proxy(box, BASE.format(pg=server.port, mode="transaction", auth="scram-sha-256", more="",
                                     databases=""))
    finally:
        box.close()


@pytest.mark.parametrize("answer", [
    rawpg.msg("E", b"SERROR\0Mno state\0\0"), rawpg.msg("E", b"\0"), rawpg.msg("E", b""), rawpg.msg("E", b"SFATAL"),
    rawpg.msg("R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0") + rawpg.msg("R", struct.pack("!i", 11) + b"r=" + b"x" * 60000),
    rawpg.msg("R", b"\0"), rawpg.msg("R", struct.pack("!i", 77)), rawpg.msg("Z", b"I"), b"\xff" * 100,
    rawpg.msg("R", struct.pack("!i", 0)) + rawpg.msg("K", b"") + rawpg.msg("S", b"x"),
])
def test_cve_2026_6666_server_without_sqlstate(make, answer):
    """A server that answers the login in a manner of its own fails that login, and nothing else."""
    listener = socket.create_server(("127.0.0.1", free_port()))

    def serve():
        while True:
            try:
                peer, _ = listener.accept()
                with peer:
                    peer.recv(8)
                    peer.sendall(b"N")
                    peer.recv(1000)
                    peer.sendall(answer)
                    peer.settimeout(1)
                    peer.recv(1000)
            except OSError:
                if listener.fileno() < 0:
                    return
    threading.Thread(target=serve, daemon=True).start()
    with listener:
        px = make(databases=f"rude = host=127.0.0.1 port={listener.getsockname()[1]} password=x",
                  more="query_wait_timeout = 3\nserver_connect_timeout = 2")
        with Raw(px.port) as c, pytest.raises((RuntimeError, rawpg.Gone)):
            c.login(database="rude")
        assert px.sql("select 1") == [(1,)]
        listener.shutdown(socket.SHUT_RDWR)


def test_cve_2026_6667_kill_client_is_for_administrators(make):
    px = make(more="stats_users = u_trust")
    victim = px.connect()
    ident = [r for r in px.console("SHOW CLIENTS") if r["database"] == "db"][0]["ptr"]
    with px.connect(db="pgbouncer", user="u_trust", cursor_factory=psycopg.ClientCursor) as c:
        with pytest.raises(psycopg.Error, match="admin access needed|permission"):
            c.execute(f"KILL_CLIENT {ident}")
    assert victim.execute("select 1").fetchone() == (1,)
