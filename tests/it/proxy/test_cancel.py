"""Cancel requests: their keys, peers, the states they show, and that none hits the wrong statement."""
import os
import select
import socket
import threading
import time

import pytest

from conftest import Box, Proxy, free_port, users, wait_for
from rawpg import Client, open_cancel, send_cancel

INI = """[databases]
db = host=127.0.0.1 port={pg}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir =
auth_type = trust
auth_file = @DIR@/users.txt
admin_users = admin
pool_mode = transaction
default_pool_size = 2
{more}
[pgherd]
worker_threads = 2
"""


class Relay:
    """In front of a server: while `stall` is set, new connections are taken and not passed on."""

    def __init__(self, port):
        self.to, self.stall, self.held = port, False, []
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            if self.stall:
                self.held.append(s)
            else:
                self.start(s)

    def start(self, s):
        threading.Thread(target=self.pump, args=(s,), daemon=True).start()

    def go_on(self):
        self.stall = False
        for s in self.held:
            self.start(s)
        self.held = []

    def pump(self, a):
        with a, socket.create_connection(("127.0.0.1", self.to)) as b:
            while True:
                for s in select.select([a, b], [], [])[0]:
                    try:
                        data = s.recv(65536)
                        (b if s is a else a).sendall(data)
                    except OSError:
                        return
                    if not data:
                        return

    def close(self):
        self.listener.close()


@pytest.fixture(scope="module")
def own_box(server):
    box = Box()
    users(box)
    try:
        yield box
    finally:
        box.close()


@pytest.fixture(scope="module")
def peers(own_box, server):
    """Three processes. What the third believes of peers 8 and 9 is that each other has them."""
    ports = [free_port() for _ in range(3)]
    known = "\n".join(f"{i + 1} = host=127.0.0.1 port={p}" for i, p in enumerate(ports))
    loop = f"9 = host=127.0.0.1 port={ports[2]} pool_size=3"
    made = []
    for i, port in enumerate(ports):
        ini = INI.format(pg=server.port, more=f"peer_id = {i + 1}")
        ini = ini.replace("[pgherd]", f"[peers]\n{known}\n{loop}\n[pgherd]")
        made.append(Proxy(own_box, ini, name=f"peer{i + 1}", port=port))
    return made


def sleeping(server, n=1):
    return server.sql("select count(*) from pg_stat_activity where query like 'select pg_sleep%' "
                      "and state = 'active'")[0][0] >= n


def test_reaches_its_peer(peers, server):
    with Client(peers[0].port) as c:
        for px in peers:
            c.ask("select pg_sleep(60)")
            wait_for(lambda: sleeping(server))
            assert send_cancel(px.port, c.key) == b""
            assert c.result() == ([], "57014")
        assert c.query("select 1") == (["1"], None)
    shown = peers[1].console("show peers")
    assert [(r["peer_id"], r["port"]) for r in shown] == [
        (1, peers[0].port), (2, peers[1].port), (3, peers[2].port), (9, peers[2].port)]
    assert [r["pool_size"] for r in shown] == [2, 2, 2, 3]
    assert peers[1].console("show peer_pools") == [
        {"peer_id": 1, "cl_active_cancel_req": 0, "cl_waiting_cancel_req": 0,
         "sv_active_cancel": 0, "sv_login": 0}]
    lists = {r["list"]: r["items"] for r in peers[1].console("show lists")}
    assert lists["peers"] == 4 and lists["peer_pools"] == 1


def test_hops_end(peers):
    # Whoever gets it hands it to the third, which hands it to itself, until it may not any more.
    key = bytes(6) + (9 << 2 | 3).to_bytes(2, "big")
    assert send_cancel(peers[0].port, key) == b""
    wait_for(lambda: "handed on too often" in peers[2].log())


def test_wrong_keys(peers, server):
    with Client(peers[0].port) as c:
        c.ask("select pg_sleep(60)")
        wait_for(lambda: sleeping(server))
        for i in range(len(c.key)):
            wrong = bytes(b ^ (1 if k == i else 0) for k, b in enumerate(c.key))
            if i != 7:  # the number of hops is no secret
                assert send_cancel(peers[0].port, wrong) == b""
        assert sleeping(server)
        send_cancel(peers[0].port, c.key)
        assert c.result() == ([], "57014")


def test_long_keys(peers, server):
    with Client(peers[0].port, minor=2) as c, Client(peers[0].port, minor=9999) as newer:
        assert c.negotiated is None and len(c.key) == 36
        assert newer.negotiated == 3 << 16 | 2 and len(newer.key) == 36
        c.ask("select pg_sleep(60)")
        wait_for(lambda: sleeping(server))
        send_cancel(peers[0].port, c.key[:8])
        send_cancel(peers[0].port, c.key[:-1] + bytes([c.key[-1] ^ 1]))
        assert sleeping(server)
        send_cancel(peers[1].port, c.key)
        assert c.result() == ([], "57014")
        with Client(peers[0].port) as old:
            assert len(old.key) == 8


def pool(px, database="db"):
    return next(r for r in px.console("show pools") if r["database"] == database)


def states(px, what):
    return sorted(r["state"] for r in px.console("show " + what)
                  if r["state"] != "active" and r["database"] != "pgbouncer")


@pytest.fixture
def slow(own_box, server):
    """A proxy whose server takes cancel requests only when told."""
    relay = Relay(server.port)
    box = Box()
    users(box)
    try:
        px = Proxy(box, INI.format(pg=relay.port, more="cancel_wait_timeout = 2"))
        yield relay, px
    finally:
        relay.close()
        box.close()


def test_server_waits_for_its_cancels(slow, server):
    relay, px = slow
    with Client(px.port) as a, Client(px.port) as b:
        a.query("select 1")
        a.ask("select pg_sleep(60)")
        wait_for(lambda: sleeping(server))
        relay.stall = True
        asks = [open_cancel(px.port, a.key) for _ in range(6)]
        # One server and three of these: twice the pool's size.
        wait_for(lambda: states(px, "clients") ==
                 3 * ["active_cancel_req"] + ["idle"] + 3 * ["waiting_cancel_req"])
        shown = pool(px)
        assert shown["cl_active_cancel_req"] == 3 and shown["cl_waiting_cancel_req"] == 3
        assert shown["sv_active_cancel"] == 3
        assert states(px, "servers") == 3 * ["active_cancel"]
        # Those that wait give up, with their connections.
        wait_for(lambda: pool(px)["cl_waiting_cancel_req"] == 0)
        assert px.log().count("cancel_wait_timeout") == 3
        pid = server.sql("select pid from pg_stat_activity where query like 'select pg_sleep%' "
                         "and state = 'active'")[0][0]
        server.sql(f"select pg_cancel_backend({pid})")
        assert a.result() == ([], "57014")
        assert pool(px)["sv_being_canceled"] == 1 and "being_canceled" in states(px, "servers")
        # Late requests hit nobody: whoever comes next gets another server.
        relay.stall = False
        assert b.query("select pg_backend_pid()")[0] != [str(pid)]
        b.ask("begin; select pg_sleep(0.5); select pg_backend_pid(); commit")
        relay.go_on()
        for s in asks:
            assert s.recv(1) == b""
            s.close()
        assert b.result()[1] is None
        wait_for(lambda: pool(px)["sv_being_canceled"] == 0 and pool(px)["sv_idle"] == 2)
        assert {r["remote_pid"] for r in px.console("show servers")} >= {pid}


def test_flood(peers, server):
    px = peers[0]
    with Client(px.port) as c:
        c.query("select 1")
        c.ask("select pg_sleep(60)")
        wait_for(lambda: sleeping(server))
        asks = [open_cancel(px.port, c.key if i % 2 else os.urandom(6) + c.key[6:])
                for i in range(300)]
        assert c.result() == ([], "57014")
        for s in asks:
            assert s.recv(1) == b""
            s.close()
        # What was late did not hit the statements that followed.
        for _ in range(20):
            assert c.query("select pg_sleep(0.001), 1")[1] is None
    wait_for(lambda: pool(px)["cl_active_cancel_req"] == 0)
    assert pool(px)["cl_waiting_cancel_req"] == 0


def test_over_tls(own_box, server):
    ini = INI.format(pg=server.port, more="server_tls_sslmode = require")
    px = Proxy(own_box, ini, name="tls")
    with Client(px.port) as c:
        c.ask("select pg_sleep(60)")
        wait_for(lambda: sleeping(server))
        assert send_cancel(px.port, c.key) == b""
        assert c.result() == ([], "57014")
    assert "cancel request failed" not in px.log()


def test_waiting_statement_is_canceled(peers, server):
    with Client(peers[0].port) as a, Client(peers[0].port) as b, Client(peers[0].port) as c:
        a.query("begin")
        b.query("begin")
        c.ask("select 1")
        time.sleep(0.1)
        send_cancel(peers[2].port, c.key)
        assert c.result() == ([], "57014")
        a.query("commit")
        assert c.query("select 2") == (["2"], None)
