"""The proxy before real agents that lose their leader: node dead, network dead. Their REST API speaks
TLS and wants certificates, their servers want passwords; one proxy follows the store, one follows
the members alone. What was acknowledged is read back afterwards, by whoever serves it."""
import os
import shutil
import ssl
import sys
import threading
import time

import psycopg
import pytest

from conftest import Box, Proxy, free_port, wait_for
from test_tls import certificate

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import herd as herds  # noqa: E402
from namespaces import Net  # noqa: E402

INI = """[pgherd]
{source}
namespace = /service/
worker_threads = 2
hold_timeout = 90
split = auto
rest_ca_file = @DIR@/ca.crt
rest_cert_file = @DIR@/proxy.crt
rest_key_file = @DIR@/proxy.key
[databases]
shop = cluster=batman role=primary dbname=postgres
sess = cluster=batman role=primary dbname=postgres pool_mode=session split=off
reads = cluster=batman role=replica dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir =
auth_type = scram-sha-256
auth_file = @DIR@/users.txt
admin_users = postgres
pool_mode = transaction
default_pool_size = 8
"""


class AgentProxy(Proxy):
    def connect(self, db="shop", user="app", password="apps", **kw):
        return super().connect(db=db, user=user, password=password, **kw)

    def herd(self):
        with self.connect(db="pgbouncer", user="postgres", password=herds.PASSWORD,
                          cursor_factory=psycopg.ClientCursor) as c:
            cur = c.execute("show herd")
            names = [d.name for d in cur.description]
            return {r["member"]: r for r in (dict(zip(names, row)) for row in cur.fetchall())}


class World:
    """Three agents, each in a network of its own where that can be had."""

    def __init__(self, net):
        self.net, self.box = net, Box()
        self.herd = herds.Herd(3, start=False, dcs={"synchronous_mode": True, "ttl": 5},
                               etcd={"listen": "0.0.0.0", "advertise": "10.77.0.254"} if net else {})
        box = self.box
        certificate(box, "ca", "ca", "/CN=authority")
        certificate(box, "proxy", "ca", "/CN=proxy")
        for m in self.herd.members:
            self.prepare(m)
            m.start()

    def prepare(self, m):
        box, own = self.box, "127.0.0.1"
        store = f"127.0.0.1:{self.herd.etcd.port}"
        if self.net:
            i = self.net.add()
            own, store = f"10.77.0.{i + 1}", f"10.77.0.254:{self.herd.etcd.port}"
            m.wrap, m.host = self.net.inside(i), own
        certificate(box, m.name, "ca", f"/CN={m.name}", f"subjectAltName=IP:{own}")
        for name in ("ca.crt", f"{m.name}.crt", f"{m.name}.key"):
            shutil.copy(box.path(name), self.herd.dir)
        d = self.herd.dir
        herds.own(d)
        tls = {"certfile": f"{d}/{m.name}.crt", "keyfile": f"{d}/{m.name}.key",
               "cafile": f"{d}/ca.crt"}
        m.patch = {
            "etcd3": {"hosts": [store]},
            "restapi": {"connect_address": f"{own}:{m.rest}", "listen": f"0.0.0.0:{m.rest}",
                        "verify_client": "required", **tls},
            "ctl": {"cacert": f"{d}/ca.crt", "certfile": tls["certfile"],
                    "keyfile": tls["keyfile"]},
            "postgresql": {"connect_address": f"{own}:{m.port}", "listen": f"0.0.0.0:{m.port}",
                           "pg_hba": ["local all all trust", "host all all all scram-sha-256",
                                      "host replication all all scram-sha-256"]}}
        m.tls = ssl.create_default_context(cafile=box.path("ca.crt"))
        m.tls.load_cert_chain(box.path("proxy.crt"), box.path("proxy.key"))

    def close(self):
        try:
            self.box.close()
        finally:
            self.herd.close()

    def proxy(self, name, source):
        return AgentProxy(self.box, INI.format(source=source), name=name)


@pytest.fixture(scope="module")
def net():
    if os.geteuid() != 0 or not shutil.which("iptables") or not shutil.which("nsenter"):
        yield None
        return
    with Net() as n:
        yield n


@pytest.fixture(scope="module")
def world(net):
    w = World(net)
    try:
        leader = w.herd.wait_healthy()
        leader.sql("create user app password 'apps'")
        leader.sql("create table seen (k int primary key, v int)")
        leader.sql("insert into seen select g, 0 from generate_series(0, 63) g")
        leader.sql("create table t (a int, b text)")
        leader.sql("grant all on seen, t to app")
        w.box.write("users.txt", f'"postgres" "{herds.PASSWORD}"\n"app" "apps"\n', 0o600)
        rest = ",".join(f"https://{m.patch['restapi']['connect_address']}" for m in w.herd.members)
        store = w.herd.members[0].patch["etcd3"]["hosts"][0] if not net else \
            f"127.0.0.1:{w.herd.etcd.port}"
        w.by_store = w.proxy("bystore", f"dcs = etcd3://{store}")
        w.by_rest = w.proxy("byrest", f"rest = {rest}")
        w.both = (w.by_store, w.by_rest)
        yield w
    finally:
        w.close()


class Pairs(threading.Thread):
    """Writes a number, and reads it back where a replica may answer. After an error, which only what
    was under way may have, it finds out what became of it and goes on."""

    def __init__(self, px, key):
        super().__init__(daemon=True)
        self.px, self.key, self.v = px, key, 0
        self.stale, self.lost, self.errors, self.fatal = [], [], [], None
        self.done, self.replica = 0, 0
        self.over = threading.Event()
        self.start()

    def run(self):
        conn = None
        try:
            while not self.over.is_set():
                try:
                    if conn is None or conn.closed:
                        conn = self.px.connect()
                    self.step(conn)
                except psycopg.Error as e:
                    self.errors.append(f"{e.sqlstate}: {e}")
        except Exception as e:  # noqa: BLE001 - told by the test
            self.fatal = e
        finally:
            if conn:
                conn.close()

    def step(self, c):
        self.v += 1
        c.execute("update seen set v = %s where k = %s", (self.v, self.key))
        acked = self.v
        v, there = c.execute("/* pgherd: replica */ select v, pg_is_in_recovery() from seen "
                             "where k = %s", (self.key,)).fetchone()
        if v < acked:
            self.stale.append((acked, v, there))
        self.replica += there
        self.done += 1

    def stop(self):
        self.over.set()
        self.join(120)
        assert not self.is_alive() and self.fatal is None, self.fatal


class Load:
    """Pairs through both proxies, idle clients and sessions beside them."""

    def __init__(self, world, first):
        self.world = world
        world.herd.wait_healthy()
        self.pairs = [Pairs(px, first + i) for i, px in enumerate(world.both * 2)]
        self.idle = [px.connect() for px in world.both]
        self.plain, self.rooted, self.busy = ([px.connect(db="sess", **kw) for px in world.both]
                                              for kw in ({}, {}, {"autocommit": False}))
        for c in self.idle:
            c.execute("select 1")
        for c in self.plain:
            c.execute("set timezone = 'Asia/Tokyo'")
            assert c.execute("select %s::int", [1], prepare=True).fetchone() == (1,)
        for c in self.rooted:
            c.execute("create temp table mine (a int)")
        for c in self.busy:
            c.execute("insert into t values (%s, 'never')", (first,))
        wait_for(lambda: all(p.done > 20 for p in self.pairs), 60)
        wait_for(lambda: all(p.replica for p in self.pairs), 60)

    def after(self, old):
        """The new leader serves; nobody saw an error but for what was under way."""
        new = self.world.herd.wait_leader(but=old)
        late = []
        threads = [threading.Thread(target=lambda px=px: late.append(px.sql("select 7")), daemon=True)
                   for px in self.world.both]
        for t in threads:
            t.start()
        seen = [p.done for p in self.pairs]
        wait_for(lambda: all(p.done > n + 20 for p, n in zip(self.pairs, seen)), 90)
        for t in threads:
            t.join(60)
        assert late == [[(7,)]] * 2
        for c in self.idle:
            assert c.execute("select pg_is_in_recovery(), inet_server_port()").fetchone() == \
                (False, new.port)
        for c in self.plain:
            assert c.execute("show timezone").fetchone() == ("Asia/Tokyo",)
            assert c.execute("select %s::int", [7], prepare=True).fetchone() == (7,)
            assert c.execute("select inet_server_port()").fetchone() == (new.port,)
        for c in self.rooted + self.busy:
            with pytest.raises(psycopg.OperationalError):
                c.execute("select 1")
            assert c.closed
        # A replica of the new leader serves those who wrote, when it is known to follow.
        seen = [p.replica for p in self.pairs]
        wait_for(lambda: all(p.replica > n for p, n in zip(self.pairs, seen)), 90)
        return new

    def close(self):
        for p in self.pairs:
            p.over.set()
        for c in self.idle + self.plain + self.rooted + self.busy:
            c.close()
        for p in self.pairs:
            p.stop()

    def check(self, first):
        print("pairs:", [(p.done, p.replica, p.errors) for p in self.pairs])
        for p in self.pairs:
            assert p.stale == []
            assert len(p.errors) <= 2, p.errors
        leader = self.world.herd.wait_leader()
        for p in self.pairs:
            assert leader.sql("select v from seen where k = %s", p.key)[0][0] == p.v
        assert leader.sql("select count(*) from t where a = %s", first) == [(0,)]


def test_by_rest_with_certificates(world):
    """The members say who leads, by TLS both ways; both proxies see the same."""
    leader = world.herd.leader()
    for px in world.both:
        wait_for(lambda: px.herd().get(leader.name, {}).get("leader") == "yes")
        wait_for(lambda: {m for m in px.herd()} == {m.name for m in world.herd.members})
        wait_for(lambda: px.sql("select pg_is_in_recovery()", db="reads") == [(True,)])
    wait_for(lambda: {r["source"] for r in world.by_rest.herd().values()} == {"rest"})
    # One that has no certificate learns nothing, and says why.
    text = INI.format(source=f"rest = https://{leader.patch['restapi']['connect_address']}")
    bare = AgentProxy(world.box, "\n".join(
        x for x in text.splitlines() if not x.startswith(("rest_cert", "rest_key"))).replace(
            "hold_timeout = 90", "hold_timeout = 1"), name="bare")
    with pytest.raises(psycopg.OperationalError):
        bare.sql("select 1")
    assert not bare.herd()


def test_switchover(world):
    load = Load(world, 0)
    try:
        old = world.herd.leader()
        status, text = old.request("POST", "/switchover", {
            "leader": old.name, "candidate": sync_standby(world)})
        assert status == 200, text
        load.after(old)
    finally:
        load.close()
    load.check(0)
    # The store announced it: nothing was under way when it happened.
    assert all(p.errors == [] for p in load.pairs if p.px is world.by_store)


def sync_standby(world):
    """Its name. PostgreSQL knows it before the store does, and only who stands there may lead next."""
    leader = world.herd.leader()
    wait_for(lambda: any(m is not leader and m.get("/sync")[0] == 200 for m in world.herd.members), 60)
    return wait_for(lambda: leader.sql("select application_name from pg_stat_replication where "
                                       "sync_state in ('sync', 'quorum')")[0][0], 60)


def test_dead_node(world):
    """The leader's agent and its postmaster die at once (kill -9)."""
    load = Load(world, 10)
    sync_standby(world)
    old = world.herd.leader()
    try:
        old.kill()
        old.kill_postgres()
        load.after(old)
    finally:
        load.close()
        old.start()
    load.check(10)


def test_dead_network(world):
    """Every packet from and to the leader is lost: nobody is told that a connection has ended."""
    if not world.net:
        pytest.skip("needs root, iptables and nsenter")
    load = Load(world, 20)
    sync_standby(world)
    old = world.herd.leader()
    i = world.herd.members.index(old)
    wires = ("e77", "e78")
    world.net.cut(i, wires=wires)
    try:
        load.after(old)
    finally:
        load.close()
        world.net.cut(i, "-D", wires=wires)
    load.check(20)
    wait_for(lambda: old.get("/replica")[0] == 200, 90)
