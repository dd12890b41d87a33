#!/usr/bin/python3
"""Everything at once around a running proxy: orders of the console, reloads, restarts, cancel requests, and servers
that are mute, slow, dead or mad in every state of theirs, also within TLS and SCRAM.

  tests/soak/proxy_storm.py [--seconds 60] [--seed N] [--threads 5] [--restart] [--only NAMES]

proxy_fuzz.py is about messages, this is about states: SHOW of everything goes on all the time, and the databases
that suffer are not those whose clients behave. The same must not happen: no crash, no hang, no leak (a build with
sanitizers: PGHERD=build-asan/pgherd), no wrong answer. With --restart the proxy is replaced (-R) now and then.
"""

import argparse
import os
import pathlib
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "it/proxy"))

import conftest  # noqa: E402
import rawpg as raw  # noqa: E402
from conftest import AS_POSTGRES, PGHERD, Chain, wait_for  # noqa: E402
from proxy_fuzz import Attack, Fake  # noqa: E402
from split import Trio  # noqa: E402

INI = """[pgherd]
dcs = etcd3://127.0.0.1:{etcd}
namespace = service
worker_threads = 2
hold_timeout = 5
slow_query_ms = {slow}
session_state = {state}
causal_wait = {causal_wait}
metrics_listen = 127.0.0.1:{metrics}
[databases]
db = host=127.0.0.1 port={pg} pool_size=8
split = cluster=demo group=0 role=primary split=auto dbname=db pool_size=8
prey = host=127.0.0.1 port={pg} dbname=db pool_size={size}
preysplit = cluster=demo group=0 role=primary split={split} dbname=db pool_size={size}
preysession = host=127.0.0.1 port={pg} dbname=db pool_mode=session pool_size={size}
fake = host=127.0.0.1 port={fake} pool_size={size} password=secret
fakesession = host=127.0.0.1 port={fake} pool_mode=session pool_size={size}
mute = host=127.0.0.1 port={mute} pool_size=4
tlsmute = host=127.0.0.1 port={tlsmute} pool_size=4
dead = host=127.0.0.1 port={dead} pool_size=4
lost = host=nobody.lost.example port=5432
far = host=192.0.2.1 port=5432
two = host=127.0.0.1,127.0.0.1,192.0.2.1 port={fake} dbname=db pool_size=2
asks = host=127.0.0.1 port={pg} dbname=db auth_user=u_trust pool_size={size}
asksfake = host=127.0.0.1 port={pg} dbname=db auth_user=u_trust auth_dbname=fake
{extra}
[peers]
2 = host=127.0.0.1 port={fake}
3 = host=127.0.0.1 port={mute}
[pgbouncer]
peer_id = 1
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir = @DIR@
auth_type = hba
auth_file = @DIR@/users.txt
auth_hba_file = @DIR@/hba.conf
auth_query = select usename, passwd from pg_shadow where usename = $1
resolv_conf = @DIR@/resolv.conf
admin_users = admin
pool_mode = transaction
max_client_conn = 600
max_prepared_statements = {prepared}
server_login_retry = 0.1
server_connect_timeout = 2
server_lifetime = {lifetime}
server_fast_close = {fast}
query_wait_timeout = {wait}
query_timeout = 10
cancel_wait_timeout = 2
idle_transaction_timeout = 5
client_login_timeout = 5
suspend_timeout = 2
client_tls_sslmode = allow
client_tls_key_file = @DIR@/server.key
client_tls_cert_file = @DIR@/server.crt
server_tls_sslmode = {tls}
log_connections = 0
log_disconnections = 0
log_pooler_errors = 0
verbose = {verbose}
pkt_buf = {pkt}
ignore_startup_parameters = extra_float_digits
"""
HBA = """host all u_md5 all md5
host all u_scram all scram-sha-256
host all u_plain all password
host all u_trust,admin,good all trust
local all all trust
host asks,asksfake all all scram-sha-256
"""
SHOWS = ["pools", "clients", "servers", "databases", "users", "stats", "stats_totals", "stats_averages", "totals",
         "lists", "peers", "peer_pools", "config", "state", "version", "mem", "sockets", "active_sockets", "fds",
         "dns_hosts", "dns_zones", "help", "histograms", "herd", "holds", "routes", "split"]
PREY = ["prey", "preysplit", "preysession", "fake", "fakesession", "mute", "tlsmute", "dead", "lost", "far", "two",
        "asks", "asksfake"]
SQL = ["select 1", "begin", "commit", "rollback", "select pg_sleep(0.3)", "select pg_sleep(0.02)", "listen a",
       "listen b", "notify a, 'x'", "unlisten *", "select a from t limit 3", "insert into t values (1, 'x')",
       "begin read only", "create temp table if not exists tmp (a int)", "drop table if exists tmp",
       "select pg_advisory_lock(1)", "select pg_advisory_unlock_all()", "set work_mem = '5MB'",
       "set local work_mem = '4MB'",
       "set application_name = 'y'", "reset all", "discard all", "prepare p as select 1", "execute p",
       "deallocate all", "declare c cursor with hold for select generate_series(1, 100)", "fetch all c", "close all",
       "select repeat('x', 200000)", "select * from generate_series(1, 20000)", "copy t to stdout", "copy t from stdin",
       "select pg_terminate_backend(pg_backend_pid())", "select 1/0", "set role nobody", "savepoint a",
       "rollback to a", "alter table t add if not exists c int", "select count(*) from t",
       "/* pgherd: replica */ select 1",
       "select lastval()", "begin; set transaction read only", "set session characteristics as transaction read only",
       "select set_config('work_mem', '6MB', false)", "do 'begin execute ''set work_mem = 100''; end'"]


def tls_context(box):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(box.path("server.crt"), box.path("server.key"))
    return c


class Mad(Fake):
    """A server that is mad in every state of a login, and within TLS."""

    def __init__(self, seed, run, context):
        super().__init__(seed, run)
        self.context = context

    def dribble(self, rng, peer, data):
        if rng.random() < 0.2:
            for b in data[:60]:
                peer.sendall(bytes([b]))
            data = data[60:]
        at = rng.randrange(len(data) + 1)
        peer.sendall(data[:at])
        if rng.random() < 0.2:
            time.sleep(rng.random() * 0.2)
        peer.sendall(data[at:])

    def login(self, rng, peer):
        a, how = Attack(rng), rng.randrange(8)
        asks = {1: raw.msg("R", struct.pack("!i", 3)), 2: raw.msg("R", struct.pack("!i", 5) + rng.randbytes(4)),
                3: raw.msg("R", struct.pack("!i", rng.choice([1, 2, 4, 5, 6, 7, 8, 9, 13, -1]))),
                4: raw.msg("R", struct.pack("!i", 10) + b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
                5: raw.msg("R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"),
                6: raw.msg("v", struct.pack("!ii", 0, 0))}.get(how)
        if not asks:
            return
        self.dribble(rng, peer, a.spoil(asks) if rng.random() < 0.3 else asks)
        if how == 6:
            return
        got = peer.recv(4000)
        if how in (4, 5) and b"r=" in got:
            nonce = got[got.index(b"r=") + 2:].split(b",")[0]
            first = b"r=" + nonce + b"xyz,s=c2FsdHNhbHRzYWx0,i=" + rng.choice(
                [b"4096", b"1", b"0", b"-1", b"99999999999", b"a"])
            first = raw.msg("R", struct.pack("!i", 11) + first)
            self.dribble(rng, peer, a.spoil(first) if rng.random() < 0.5 else first)
            peer.recv(4000)
            last = raw.msg("R", struct.pack("!i", 12) + b"v=" + rng.choice([b"", b"AAAA", b"=" * 44, b"x" * 5000]))
            self.dribble(rng, peer, a.spoil(last) if rng.random() < 0.5 else last)

    def answer(self, rng):
        if rng.random() < 0.3:
            n = rng.randrange(1, 3000)
            column = struct.pack("!h", 1) + raw.text("a") + struct.pack("!ihihih", 0, 0, 23, 4, -1, 0)
            return raw.msg("T", column) + raw.msg("D", struct.pack("!hi", 1, 1) + b"1") * n + \
                raw.msg("C", raw.text("SELECT 1")) + raw.msg("Z", b"I")
        return super().answer(rng)

    def serve(self, peer, rng):
        try:
            peer.settimeout(8)
            with peer:
                got = peer.recv(8, socket.MSG_PEEK)
                if got == raw.SSL_REQUEST:
                    peer.recv(8)
                    say = rng.choice([b"N", b"N", b"S", b"S", b"S", b"E", b"Sx",
                                      raw.msg("E", b"SFATAL\0C57P03\0Mno\0\0")])
                    peer.sendall(say)
                    if say == b"S" and rng.random() < 0.15:
                        peer.recv(50)
                        peer.sendall(rng.randbytes(rng.randrange(1, 200)))
                        return
                    if say == b"S":
                        if rng.random() < 0.1:
                            return
                        peer = self.context.wrap_socket(peer, server_side=True)
                if not peer.recv(2000):
                    return
                if rng.random() < 0.1:
                    return
                self.login(rng, peer)
                self.dribble(rng, peer, self.greeting(rng))
                while peer.recv(65536):
                    self.dribble(rng, peer, self.answer(rng))
                    if rng.random() < 0.1:
                        return
        except (OSError, ValueError, IndexError):
            pass
        finally:
            peer.close()


class Mute(threading.Thread):
    """Accepts, perhaps agrees to TLS, and says nothing; now and then it lets go of somebody."""

    def __init__(self, word):
        super().__init__(daemon=True)
        self.word, self.peers = word, []
        self.sock = socket.create_server(("127.0.0.1", conftest.free_port()))
        self.port = self.sock.getsockname()[1]

    def run(self):
        while True:
            try:
                peer, _ = self.sock.accept()
                peer.settimeout(5)
                if self.word and peer.recv(8) == raw.SSL_REQUEST:
                    peer.sendall(self.word)
            except TimeoutError:
                continue
            except OSError:
                if self.sock.fileno() < 0:
                    return
                continue
            self.peers.append(peer)
            while len(self.peers) > 6:
                self.peers.pop(0).close()


class Storm:
    def __init__(self, args):
        self.args = args
        self.trio = Trio()
        self.box = self.trio.box
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.faults, self.counts, self.keys, self.killed = [], {}, [], 0

    def fault(self, text):
        with self.lock:
            self.faults.append(text)
        self.stop.set()

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def ini(self, rng=None):
        def pick(first, *others):
            return rng.choice([first, *others]) if rng else first
        return INI.format(
            **self.ports, slow=pick(0, 1, 100), state=pick("auto", "auto", "off"), causal_wait=pick(0, 0.2),
            size=pick(3, 1, 6), split=pick("auto", "transaction", "off"), prepared=pick(10, 3, 100),
            lifetime=pick(3600, 0, 1), fast=pick(0, 1), wait=pick(5, 2, 20), tls=pick("prefer", "disable", "require")
            if not rng or rng.random() < 0.2 else "prefer", verbose=pick(0, 1, 2), pkt=pick(4096, 200000),
            extra=pick("", "extra = host=127.0.0.1 port=1\n", "* = host=127.0.0.1 port=1\n"))

    def setup(self):
        conftest.make_cert(self.box)
        self.box.write("users.txt", "\n".join(conftest.USERS + ['"good" ""']) + "\n", 0o600)
        self.box.write("hba.conf", HBA)
        a = self.trio.a
        a.sql("create user good superuser")
        for pg in (a, self.trio.b, self.trio.c):
            with open(f"{pg.data}/postgresql.conf", "a") as f:
                f.write("ssl = on\n")
            pg.sql("select pg_reload_conf()")
        a.sql("create table mine (who text primary key, n int)", db="db")
        self.trio.caught_up()
        # Nobody answers there.
        self.box.write("resolv.conf", "nameserver 127.0.0.9\noptions timeout:1\n")
        self.fake, self.mute, self.tlsmute = Mad(self.args.seed, self, tls_context(self.box)), Mute(b""), Mute(b"S")
        for t in (self.fake, self.mute, self.tlsmute):
            t.start()
            self.box.ends.append(t.sock.close)
        self.ports = {"etcd": self.trio.etcd.port, "pg": a.port, "fake": self.fake.port, "mute": self.mute.port,
                      "tlsmute": self.tlsmute.port, "dead": conftest.free_port(), "metrics": conftest.free_port()}
        # What libevent has at the end of a process is its own affair.
        os.environ.setdefault("LSAN_OPTIONS", "suppressions=" + self.box.write("leaks.txt", "leak:libevent\n"))
        self.proxy = Chain(self.box, self.ini(), "proxy")
        for name in ("db", "split"):
            wait_for(lambda: self.proxy.sql("select 1", db=name, user="good"), 60)

    # Those who suffer.

    def scram_wrong(self, rng, c, database):
        a = Attack(rng)
        c.send(raw.startup(user=rng.choice(["u_scram", "u_trust2", "nobody"]), database=database))
        c.read()
        first = raw.text("SCRAM-SHA-256") + struct.pack("!i", 20) + b"n,,n=,r=abcdefghijkl"
        first = raw.msg("p", first)
        c.send(a.spoil(first) if rng.random() < 0.5 else first)
        kind, body = c.read()
        nonce = body[4:].split(b",")[0] if kind == "R" else b"r=x"
        final = raw.msg("p", b"c=biws," + nonce + b",p=" + rng.choice([b"", b"A" * 43 + b"=", b"!", b"x" * 9000]))
        c.send(a.spoil(final) if rng.random() < 0.5 else final)
        c.ends()

    def attack(self, rng):
        a, database = Attack(rng), rng.choice(PREY)
        with raw.Raw(self.proxy.port, timeout=rng.choice([0.3, 2, 4])) as c:
            try:
                if rng.random() < 0.1:
                    c.send(raw.SSL_REQUEST)
                    c.take(1)
                    if rng.random() < 0.5:
                        c.send(b"\x16\x03\x01" + rng.randbytes(50))
                    time.sleep(rng.random())
                    return
                if rng.random() < 0.2:
                    c.tls()
                if rng.random() < 0.15:
                    self.scram_wrong(rng, c, database)
                    return
                more = {"replication": rng.choice(["database", "true"])} if rng.random() < 0.1 else {}
                user = rng.choice(["u_trust", "u_trust", "u_scram", "u_md5", "unknown"])
                c.login(user=user, database=database, password="secret", **more)
                if c.key:
                    with self.lock:
                        self.keys = [(c.pid, c.key), *self.keys[:30]]
                for _ in range(rng.randrange(1, 15)):
                    sql = rng.choice(SQL)
                    how = rng.random()
                    if how < 0.5:
                        m = raw.query(sql)
                    elif how < 0.85:
                        name = rng.choice(["", "a", "b", "c"])
                        m = raw.parse(name, sql) + raw.bind(name) + raw.execute() + \
                            rng.choice([raw.SYNC, raw.SYNC, raw.msg("H"), b""])
                    elif more and how < 0.95:
                        m = raw.query(rng.choice(["IDENTIFY_SYSTEM", "START_REPLICATION 0/0", "BASE_BACKUP",
                                                  "CREATE_REPLICATION_SLOT x TEMPORARY PHYSICAL"]))
                    else:
                        m = a.message()
                    c.send(m)
                    if rng.random() < 0.7 and m[-5:] != raw.msg("H"):
                        c.until("Z", "G")
                    elif rng.random() < 0.3:
                        time.sleep(rng.random() * 0.2)
                c.sock.settimeout(0.2)
                c.ends()
            except (OSError, raw.Gone, RuntimeError, AssertionError, ValueError, struct.error, TypeError):
                pass
            if rng.random() < 0.3:
                c.reset()
        self.count("attacks")

    def attacker(self, rng):
        self.attack(rng)

    def canceler(self, rng):
        with self.lock:
            pid, key = rng.choice(self.keys) if self.keys else (1, b"abcd")
        if rng.random() < 0.2:
            key = rng.randbytes(len(key))
        if rng.random() < 0.2:  # somebody else's peer
            key = bytes(rng.choice([b ^ 1, b, b, b]) for b in key)
        with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=3) as s:
            s.sendall(raw.cancel(pid, key))
            if rng.random() < 0.7:
                s.recv(1)
        self.count("cancels")
        time.sleep(0.01)

    def shower(self, rng):
        names = list(SHOWS)
        rng.shuffle(names)
        with raw.Raw(self.proxy.port, timeout=30) as c:
            c.login(user="admin", database="pgbouncer")
            for n in names:
                if rng.random() < 0.3:
                    c.send(raw.parse("", "show " + n), raw.bind(""), raw.msg("D", b"P\0"), raw.execute(), raw.SYNC)
                    got = raw.rows(c.until("Z"))
                else:
                    got = c.query("show " + n)
                if n == "pools" and len(got) < 2:
                    self.fault(f"show pools: {got}")
            self.count("shows")
        if rng.random() < 0.3:
            self.metrics(rng)
        time.sleep(0.02)

    def metrics(self, rng):
        try:
            with socket.create_connection(("127.0.0.1", self.ports["metrics"]), timeout=5) as s:
                s.sendall(b"GET /" + rng.choice([b"metrics", b"health", b"ready", b"x"]) + b" HTTP/1.0\r\n\r\n")
                while s.recv(65536):
                    pass
        except ConnectionError:  # of a restart
            pass

    def orders(self, rng):
        prey = rng.choice(PREY)
        with raw.Raw(self.proxy.port, timeout=rng.choice([0.05, 1, 3])) as c:
            try:
                c.login(user="admin", database="pgbouncer")
                suspended = False
                for _ in range(rng.randrange(1, 5)):
                    order = rng.choice(["pause {}", "pause {}", "resume {}", "reconnect {}", "kill {}", "disable {}",
                                        "enable {}", "wait_close {}", "kill_client", "set query_wait_timeout = 3",
                                        "set server_lifetime = 1", "suspend", "reconnect", "reload"])
                    if order == "kill_client":
                        if suspended:  # no new console is let in
                            continue
                        got = [r["id"] for r in self.proxy.console("show clients") if r["database"] in PREY]
                        order = f"kill_client {rng.choice(got)}" if got else "reload"
                    elif order == "suspend" and rng.random() < 0.7:
                        continue
                    try:
                        c.query(order.format(prey))
                        suspended = suspended or order == "suspend"
                    except RuntimeError:
                        pass
                    self.count("orders")
            except (OSError, raw.Gone, RuntimeError, struct.error):
                pass
        if rng.random() < 0.6:
            self.mend(prey)
        time.sleep(0.05)

    def mend(self, *preys):
        """What was paused, suspended or disabled goes on."""
        with raw.Raw(self.proxy.port, timeout=20) as c:
            c.login(user="admin", database="pgbouncer")
            for order in ["resume", *(o for p in preys for o in (f"enable {p}", f"resume {p}"))]:
                try:
                    c.query(order)
                except RuntimeError:
                    pass

    def reloader(self, rng):
        self.proxy.write(self.ini(rng))
        try:
            self.proxy.console("reload")
            self.count("reloads")
        except Exception:
            self.count("reloads refused")
        time.sleep(rng.random())

    def delayer(self, rng):
        pg = rng.choice([self.trio.b, self.trio.c])
        pg.sql("select pg_wal_replay_pause()")
        time.sleep(rng.random())
        pg.sql("select pg_wal_replay_resume()")
        if rng.random() < 0.3:
            pg.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'u_trust'")
        if rng.random() < 0.3:
            self.trio.a.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'u_trust'")
        self.count("delays")

    def restarter(self, rng):
        time.sleep(rng.uniform(2, 5))
        old = self.proxy.process
        if rng.random() < 0.2:  # one that dies amid the takeover
            p = subprocess.Popen([*AS_POSTGRES, PGHERD, "proxy", "-R", self.proxy.file],
                                 stdout=self.proxy.out, stderr=self.proxy.out)
            time.sleep(rng.random() * 0.3)
            self.killed = time.monotonic()  # with the clients that it had by then
            p.kill()
            p.wait()
            self.count("restarts killed")
            return
        self.proxy.write(self.ini(rng))
        self.proxy.reboot()
        self.count("restarts")
        try:
            if old.wait(40) != 0:
                self.fault(f"the old process ended with {old.returncode}")
        except subprocess.TimeoutExpired:
            self.count("old ones that stay")

    # Those who behave.

    def good(self, rng, database, tls):
        who, n, began = f"{database}.{rng.random()}", 0, time.monotonic()
        try:
            with raw.Raw(self.proxy.port, timeout=25) as c:
                if tls:
                    c.tls()
                c.login(user="good", database=database)
                c.query(f"insert into mine values ('{who}', 0)")
                c.send(raw.parse("mine", "select n from mine where who = $1"), raw.SYNC)
                c.until("Z")
                while not self.stop.is_set():
                    n, began = n + 1, time.monotonic()
                    c.query(f"update mine set n = {n} where who = '{who}'")
                    got = c.query(f"select n from mine where who = '{who}'")
                    assert got == [[str(n)]], (got, n)
                    c.send(raw.bind("mine", who), raw.execute(), raw.SYNC)
                    got = raw.rows(c.until("Z"))
                    assert got == [[str(n)]], (got, n)
                    self.count("good " + database)
                    time.sleep(0.005)
        except Exception as e:
            if "query_wait_timeout" in str(e) or time.monotonic() - self.killed < 3:
                self.count("good waits")
                return
            self.fault(f"a good client of {database} (tls {tls}): {type(e).__name__} {e} "
                       f"after {time.monotonic() - began:.1f} s")

    def loop(self, fn, seed, *args):
        rng = random.Random(seed)
        while not self.stop.is_set():
            try:
                fn(rng, *args)
            except ConnectionRefusedError:
                self.fault(f"{fn.__name__}: the proxy does not listen any more")
            except TimeoutError as e:
                if fn == self.shower:
                    self.fault(f"{fn.__name__}: {e}")
            except (OSError, raw.Gone, RuntimeError) as e:
                self.count(f"{fn.__name__}: {type(e).__name__} {str(e)[:90]}")
            except Exception as e:
                self.fault(f"{fn.__name__}: {type(e).__name__} {e}")

    def run(self):
        self.setup()
        rng = random.Random(self.args.seed)
        roles = {"attacker": self.attacker, "canceler": self.canceler, "shower": self.shower, "orders": self.orders,
                 "reloader": self.reloader, "delayer": self.delayer}
        if self.args.restart:
            roles["restarter"] = self.restarter
        jobs = [(fn,) for n, fn in roles.items() if not self.args.only or n in self.args.only.split(",")]
        jobs += [(self.attacker,)] * (self.args.threads - 1)
        jobs += [(self.good, "db", False), (self.good, "split", False)]
        threads = [threading.Thread(target=self.loop, args=(j[0], rng.random(), *j[1:])) for j in jobs]
        for t in threads:
            t.start()
        self.stop.wait(self.args.seconds)
        self.stop.set()
        for t in threads:
            t.join()
        self.judge()

    def judge(self):
        print(self.counts, flush=True)
        log = self.proxy.log()
        for word in ("Sanitizer", "runtime error"):
            if word in log:
                print(log[max(0, log.index(word) - 500):][:12000])
                self.faults.append(word)
        for f in self.faults[:5]:
            print("fault:", f)
        if self.proxy.process.poll() is not None:
            print("the proxy ended:", self.proxy.process.returncode)
            print(log[-6000:])
        assert not self.faults and self.counts.get("good db") and self.counts.get("good split")
        self.mend(*PREY)
        self.proxy.write(self.ini())
        self.proxy.console("reload")
        wait_for(lambda: len(self.proxy.console("SHOW CLIENTS")) == 1, 60, every=0.3)
        self.mend(*PREY)
        for name in ("db", "prey", "preysplit", "preysession", "asks"):
            assert self.proxy.sql("select 1", db=name) == [(1,)], name



def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--threads", type=int, default=5)
    p.add_argument("--restart", action="store_true")
    p.add_argument("--only", help="of the roles beside attackers and those who behave: these, with commas")
    storm = Storm(p.parse_args())
    print("seed", storm.args.seed, flush=True)
    try:
        storm.run()
    finally:
        storm.stop.set()
        storm.box.close()
    print("no crash, no hang, no leak")


if __name__ == "__main__":
    main()
