"""Host names of servers, asked of a DNS server of the test's own; host lists with dead hosts."""
import socket
import struct
import threading
import time

import psycopg
import pytest

from conftest import (BASE, PGHERD, Box, Postgres, Proxy, free_port, prepare, run, users,
                      wait_for)


class Names:
    """Answers A questions from a dict; what is not in it does not exist. Zones have a serial."""

    def __init__(self):
        self.known, self.asked, self.mute = {}, [], False
        self.serials, self.garbled = {}, False
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                data, peer = self.sock.recvfrom(2000)
            except OSError:
                return
            labels, at = [], 12
            while data[at]:
                labels.append(data[at + 1:at + 1 + data[at]].decode())
                at += 1 + data[at]
            question = data[12:at + 5]
            kind = struct.unpack(">H", data[at + 1:at + 3])[0]
            name = ".".join(labels).lower()
            self.asked.append((name, kind))
            if self.mute:
                continue
            addrs = self.known.get(name, [])
            here = addrs if kind == 1 else []
            head = data[:2] + struct.pack(">HHHHH", 0x8180 | (0 if addrs else 3), 1, len(here), 0, 0)
            body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 3600, 4) + socket.inet_aton(a)
                            for a in here)
            if kind == 6:
                head, body = self.authority(data, name)
            self.sock.sendto(head + question + body, peer)

    def authority(self, data, name):
        """The zone's record as the answer, or beside none when the name is only in the zone."""
        zone = next((z for z in self.serials if name == z or name.endswith("." + z)), None)
        if zone is None:
            return data[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0), b""
        here = 1 if zone == name else 0
        owner = b"".join(bytes([len(x)]) + x.encode() for x in zone.split(".")) + b"\0"
        record = b"\2ns\xc0\x0c\4root\xc0\x0c" + struct.pack(">5I", self.serials[zone], 1, 1, 1, 1)
        if self.garbled:
            record = record[:9]
        body = owner + struct.pack(">HHIH", 6, 1, 3600, len(record)) + record
        return data[:2] + struct.pack(">HHHHH", 0x8180, 1, here, 1 - here, 0), body

    def close(self):
        self.sock.close()


@pytest.fixture(scope="module")
def place():
    box = Box()
    users(box)
    names = Names()
    try:
        # Listens on several addresses of the loopback.
        pg = Postgres(box, "pg")
        with open(box.path("pg", "postgresql.conf"), "a") as f:
            f.write("listen_addresses = '127.0.0.1,127.0.0.2,127.0.0.3'\n")
        with open(box.path("pg", "pg_hba.conf"), "a") as f:
            f.write("host all all 127.0.0.0/8 trust\n")
        pg.stop()
        pg.start()
        prepare(pg)
        box.names, box.pg = names, pg
        box.write("resolv.conf", f"nameserver 127.0.0.1:{names.port}\noptions timeout:1 attempts:1\n")
        yield box
    finally:
        names.close()
        box.close()


@pytest.fixture
def proxy(place):
    made = []

    def fn(databases, more="", mode="transaction"):
        ini = BASE.format(pg=place.pg.port, mode=mode, auth="trust", databases=databases,
                          more="resolv_conf = @DIR@/resolv.conf\n" + more)
        made.append(Proxy(place, ini.replace("@PG@", str(place.pg.port)), name=f"p{free_port()}"))
        return made[-1]

    yield fn
    for p in made:
        p.kill()


def addresses(px, db):
    with px.connect(db=db) as c:
        return c.execute("select host(inet_server_addr())").fetchone()[0]


def hosts(px):
    return {r["hostname"]: r for r in px.console("show dns_hosts")}


def test_addresses_in_turn_and_shown(place, proxy):
    place.names.known["two.example.org"] = ["127.0.0.1", "127.0.0.2"]
    px = proxy("two = host=two.example.org port=@PG@ dbname=db", "server_lifetime = 0")
    assert {addresses(px, "two") for _ in range(6)} == {"127.0.0.1", "127.0.0.2"}
    row = hosts(px)["two.example.org"]
    assert sorted(row["addrs"].split(",")) == ["127.0.0.1", "127.0.0.2"]
    assert 0 < row["ttl"] <= 15
    lists = {r["list"]: r["items"] for r in px.console("show lists")}
    assert (lists["dns_names"], lists["dns_zones"], lists["dns_queries"]) == (1, 1, 0)
    assert px.console("show dns_zones") == [{"zonename": "example.org", "serial": 0, "count": 1}]
    # It is asked once within dns_max_ttl.
    assert place.names.asked.count(("two.example.org", 1)) == 1


def test_unknown_name(place, proxy):
    px = proxy("no = host=no.example.org port=@PG@ dbname=db",
               "dns_nxdomain_ttl = 1\nserver_login_retry = 0.5\nquery_wait_timeout = 1")
    with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
        px.sql("select 1", db="no")
    assert "DNS lookup failed: no.example.org: no such host" in px.log()
    assert "closing because: server DNS lookup failed (age=" in px.log()
    place.names.known["no.example.org"] = ["127.0.0.1"]
    assert wait_for(lambda: px.sql("select 1", db="no")) == [(1,)]


def test_moved(place, proxy):
    """Servers at an address that a name has no longer are closed: also when nobody asks anew."""
    place.names.known["move.example.org"] = ["127.0.0.1"]
    px = proxy("move = host=move.example.org port=@PG@ dbname=db", "dns_zone_check_period = 0.3")
    assert addresses(px, "move") == "127.0.0.1"
    place.names.known["move.example.org"] = ["127.0.0.3"]
    wait_for(lambda: not [r for r in px.console("show servers") if r["database"] == "move"])
    assert addresses(px, "move") == "127.0.0.3"
    assert "host name move.example.org has address 127.0.0.1 no longer" in px.log()


def test_zone(place, proxy):
    """The names of a zone are asked for again when its serial changes, and not before."""
    names = place.names
    names.known.update({"a.zone.test": ["127.0.0.1"], "b.zone.test": ["127.0.0.1"],
                        "c.sub.zone.test": ["127.0.0.1"]})
    names.serials["zone.test"] = 7
    px = proxy("a = host=a.zone.test port=@PG@ dbname=db\nb = host=b.zone.test port=@PG@ dbname=db\n"
               "c = host=c.sub.zone.test port=@PG@ dbname=db",
               "dns_zone_check_period = 0.2\ndns_max_ttl = 3600")
    for db in "abc":
        assert addresses(px, db) == "127.0.0.1"

    def zones():
        return sorted((r["zonename"], r["serial"], r["count"]) for r in px.console("show dns_zones"))

    wait_for(lambda: zones() == [("sub.zone.test", 7, 1), ("zone.test", 7, 2)])
    # Known for the first time, the serial says nothing of what was before: asked once more.
    wait_for(lambda: all(names.asked.count((n, 1)) == 2 for n in names.known if n.endswith("zone.test")))
    before = names.asked.count(("zone.test", 6))
    wait_for(lambda: names.asked.count(("zone.test", 6)) > before + 3)
    assert names.asked.count(("a.zone.test", 1)) == 2
    names.known["a.zone.test"] = ["127.0.0.3"]
    names.serials["zone.test"] = 0xfffffffe
    wait_for(lambda: addresses(px, "a") == "127.0.0.3")
    assert addresses(px, "b") == "127.0.0.1"
    assert "zone 'zone.test' serial changed: old=7 new=4294967294" in px.log()
    wait_for(lambda: zones()[1] == ("zone.test", 0xfffffffe, 2))


@pytest.mark.parametrize("how", ["no zone", "garbled", "mute"])
def test_zone_that_tells_no_serial(place, proxy, how):
    """Its names are asked for instead, and others do not wait."""
    names, host = place.names, "d.%s.test" % how.replace(" ", "")
    names.known[host] = ["127.0.0.1"]
    if how == "garbled":
        names.serials[host[2:]] = 5
        names.garbled = True
    px = proxy("d = host=%s port=@PG@ dbname=db" % host,
               "dns_zone_check_period = 0.2\ndns_max_ttl = 3600")
    try:
        assert addresses(px, "d") == "127.0.0.1"
        names.mute = how == "mute"
        asked = names.asked.count((host, 1))
        wait_for(lambda: names.asked.count((host, 1)) > asked + 1)
        assert px.sql("select 1", db="d") == [(1,)]
        assert px.log().count("could not get the serial of zone") == 1
        assert px.console("show dns_zones") == [{"zonename": host[2:], "serial": 0, "count": 1}]
    finally:
        names.mute = names.garbled = False


def test_others_do_not_wait(place, proxy):
    """A DNS server that says nothing delays nobody but those who need the name."""
    place.names.known["late.example.org"] = ["127.0.0.1"]
    px = proxy("late = host=late.example.org port=@PG@ dbname=db", "server_login_retry = 0.2\ndns_nxdomain_ttl = 0.2")
    place.names.mute = True
    got = []

    def late():
        for _ in range(200):
            try:
                got.append(px.sql("select 1", db="late"))
                return
            except psycopg.Error:
                time.sleep(0.1)

    t = threading.Thread(target=late)
    t.start()
    try:
        wait_for(lambda: ("late.example.org", 1) in place.names.asked)
        for _ in range(20):
            assert px.sql("select 1") == [(1,)]
        assert not got
    finally:
        place.names.mute = False
        t.join()
    assert got == [[(1,)]]


def test_cancel_goes_to_the_server_itself(place, proxy):
    place.names.known["can.example.org"] = ["127.0.0.1", "127.0.0.2"]
    px = proxy("can = host=can.example.org port=@PG@ dbname=db", "dns_max_ttl = 0")
    with px.connect(db="can") as c:
        timer = threading.Timer(0.5, c.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            c.execute("select pg_sleep(30)")
        timer.join()


def test_etc_hosts(place, proxy):
    px = proxy("local = host=localhost port=@PG@ dbname=db")
    assert px.sql("select 1", db="local") == [(1,)]


def test_dead_hosts_are_passed_over(place, proxy):
    dead = free_port()
    px = proxy("ring = host=127.0.0.9,127.0.0.1,127.0.0.2 port=@PG@ dbname=db\n"
               "first = host=127.0.0.9,127.0.0.2,127.0.0.1 port=@PG@ dbname=db "
               "load_balance_hosts=disable\n"
               f"gone = host=127.0.0.1,127.0.0.2 port={dead} dbname=db query_wait_timeout=1",
               "server_lifetime = 0\nserver_login_retry = 1")
    # Nothing listens at 127.0.0.9; no client hears of it.
    assert {addresses(px, "ring") for _ in range(8)} == {"127.0.0.1", "127.0.0.2"}
    assert {addresses(px, "first") for _ in range(4)} == {"127.0.0.2"}
    with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
        px.sql("select 1", db="gone")
    assert "connect failed" in px.log()
    shown = {r["name"]: r["load_balance_hosts"] for r in px.console("show databases")}
    assert shown["ring"] == "round-robin" and shown["first"] == "disable"


def test_bad_resolv_conf(place):
    ini = BASE.format(pg=place.pg.port, mode="session", auth="trust", databases="",
                      more="resolv_conf = /nowhere/at/all")
    path = place.write("bad.ini", ini.replace("@PORT@", str(free_port()))
                       .replace("@DIR@", place.dir))
    done = run(PGHERD, "proxy", path, check=False)
    assert done.returncode == 1 and "could not use resolv_conf" in done.stderr
