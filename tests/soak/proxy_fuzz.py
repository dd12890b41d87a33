#!/usr/bin/python3
"""Nonsense around a running proxy: from clients in every phase, and from a server.

  tests/soak/proxy_fuzz.py [--seconds 60] [--seed N] [--threads 6]

Clients send sequences of messages that are nearly right: truncated, with wrong lengths, in wrong states, after
garbage or before TLS; a server of ours answers in the same manner. The proxy must not crash, hang or leak (use a
build with sanitizers: PGHERD=build-asan/pgherd), may answer with well-formed messages only, and clients that
behave, beside all that, get their own answers. Exit status 1 otherwise.
"""

import argparse
import pathlib
import random
import re
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "it/proxy"))

import conftest  # noqa: E402
import rawpg as raw  # noqa: E402
from conftest import Box, Postgres, Proxy, wait_for  # noqa: E402

INI = """[pgherd]
worker_threads = 2
[databases]
db = host=127.0.0.1 port={pg} pool_size=8
session = host=127.0.0.1 port={pg} dbname=db pool_mode=session pool_size=4
statement = host=127.0.0.1 port={pg} dbname=db pool_mode=statement pool_size=4
fake = host=127.0.0.1 port={fake} pool_size=4
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir =
auth_type = hba
auth_file = @DIR@/users.txt
auth_hba_file = @DIR@/hba.conf
admin_users = admin
pool_mode = transaction
max_client_conn = 500
max_prepared_statements = 10
server_login_retry = 0.1
server_connect_timeout = 5
query_wait_timeout = 5
query_timeout = 10
idle_transaction_timeout = 5
client_login_timeout = 30
client_tls_sslmode = allow
client_tls_key_file = @DIR@/server.key
client_tls_cert_file = @DIR@/server.crt
max_packet_size = 1000000
log_connections = 0
log_disconnections = 0
log_pooler_errors = 0
ignore_startup_parameters = extra_float_digits
"""
PROXY_HBA = """host all u_md5 all md5
host all u_scram all scram-sha-256
host all u_plain all password
host all u_trust,admin all trust
"""
SQL = ["select 1", "", ";", "select 1; select 2", "begin", "commit", "rollback", "begin; select 1/0",
       "select * from generate_series(1, 2000)", "select repeat('x', 30000)", "select 1/0", "sel",
       "copy t from stdin", "copy (select 1) to stdout", "copy t from stdin; select 1",
       "prepare a as select 1", "execute a", "deallocate all", "discard all", "set datestyle = german",
       "set application_name = 'x'", "listen a", "notify a", "declare c cursor for select 1",
       "create temp table if not exists x (a int)", "savepoint a", "select $1", "insert into t values ($1, $2)",
       "select pg_sleep(0.01)", "show server_version", "set transaction read only", "fetch all c"]
CONSOLE = ["show pools", "show clients", "show config", "show stats", "show help", "show", "show x", ";",
           "show lists", "show fds", "set verbose = 0", "set", "set x = 'y", "kill_client 0xffffffffff",
           "kill_client", "wait_close db", "reload", "select 1", "show servers; show pools", "reconnect nothing",
           "disable", "enable nothing", "pause nothing", "resume nothing", "\\", "show \"pools", "show mem"]
NAMES = ["", "a", "b", "s" * 70, "\xff"]
BACKEND = set("RSKZTDCEN123InstdcAGHWVv")


# A byte less of these and the console does what it is told: to everybody.
ORDERS = re.compile(rb"(?i)pause|kill|disable|suspend|shutdown")


class Attack:
    """A sequence of messages that is nearly right."""

    def __init__(self, rng):
        self.rng = rng

    def sql(self, console=False):
        s = self.rng.choice(CONSOLE if console else SQL)
        if self.rng.random() < 0.05:
            s += " " * self.rng.randrange(40000)
        return s

    def message(self, console=False):
        rng = self.rng
        name, other = rng.choice(NAMES), rng.choice(NAMES)
        kind = rng.randrange(16)
        if kind < 3:
            return raw.query(self.sql(console))
        if kind == 3:
            return raw.parse(name, self.sql(console))
        if kind == 4:
            return raw.bind(name, *["1"] * rng.randrange(3), portal=other)
        if kind == 5:
            return raw.execute(other, rng.randrange(3))
        if kind == 6:
            return raw.msg("D", rng.choice([b"S", b"P", b"x"]) + raw.text(name))
        if kind == 7:
            return raw.msg("C", rng.choice([b"S", b"P", b"x"]) + raw.text(name))
        if kind in (8, 9):
            return raw.SYNC
        if kind == 10:
            return raw.msg("H")
        if kind == 11:
            return raw.msg("d", b"1\tx\n" * rng.randrange(2000))
        if kind == 12:
            return raw.msg(rng.choice("cf"), raw.text("no"))
        if kind == 13:
            return raw.msg("F", rng.randbytes(rng.randrange(40)))
        if kind == 14:
            return raw.parse(name, self.sql()) + raw.bind(name) + raw.execute() + raw.SYNC
        return raw.msg(chr(rng.randrange(256)) if rng.random() < 0.3 else rng.choice("pXQPBES"),
                       rng.randbytes(rng.randrange(60))) if rng.random() < 0.5 else b"X\0\0\0\4"

    def spoil(self, data):
        rng, data = self.rng, bytearray(data)
        if not data:
            return bytes(data)
        how = rng.randrange(7)
        if how == 0:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif how == 1 and len(data) >= 5:
            data[1:5] = struct.pack("!i", rng.choice([0, 1, 3, 4, 5, -1, -2**31, 2**31 - 1, 10**6, len(data), 100]))
        elif how == 2:
            del data[rng.randrange(len(data)):]
        elif how == 3:
            at = rng.randrange(len(data) + 1)
            data[at:at] = rng.randbytes(rng.randrange(1, 30))
        elif how == 4:
            for _ in range(5):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif how == 5:
            data *= 2
        return bytes(data)

    def startup(self):
        rng = self.rng
        how = rng.randrange(13)
        if how == 0:
            return rng.randbytes(rng.randrange(1, 60))
        if how == 1:
            return raw.SSL_REQUEST + rng.choice([raw.startup(user="u_trust", database="db"), b"x" * 300])
        if how == 2:
            return raw.GSS_REQUEST + raw.startup(user="u_trust")
        if how == 3:
            return raw.cancel(rng.getrandbits(31), rng.randbytes(rng.choice([0, 3, 4, 32, 256, 300])))
        if how == 4:
            return struct.pack("!i", rng.choice([0, 7, 8, 9, 10000, 10001, -1, 2**31 - 1])) + rng.randbytes(20)
        version = rng.choice([(3, 0), (3, 2), (3, 9999), (2, 0), (4, 0), (1234, 5678)])
        params = {"user": rng.choice(["u_trust", "u_md5", "u_scram", "u_plain", "nobody", ""]),
                  "database": rng.choice(["db", "fake", "pgbouncer", "nowhere", ""])}
        for _ in range(rng.randrange(3)):
            key = rng.choice(["options", "replication", "_pq_.a", "datestyle", "client_encoding", "a" * 500, "x"])
            params[key] = rng.choice(["", "-c a=b", "-c", "database", "true", "utf8", "\\", "y" * 3000])
        got = raw.startup(version, **params)
        return self.spoil(got) if rng.random() < 0.4 else got


class Fake(threading.Thread):
    """A server that lets everybody in and answers in a manner of its own."""

    def __init__(self, seed, run):
        super().__init__(daemon=True)
        self.rng, self.run_ = random.Random(seed), run
        self.sock = socket.create_server(("127.0.0.1", conftest.free_port()))
        self.port = self.sock.getsockname()[1]

    def run(self):
        while True:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer, random.Random(self.rng.random())), daemon=True).start()

    def greeting(self, rng):
        hello = raw.msg("R", struct.pack("!i", 0))
        for name, value in (("server_version", "15.1"), ("client_encoding", "UTF8"), ("DateStyle", "ISO")):
            hello += raw.msg("S", raw.text(name) + raw.text(value))
        hello += raw.msg("K", rng.randbytes(8)) + raw.msg("Z", b"I")
        return Attack(rng).spoil(hello) if rng.random() < 0.3 else hello

    def answer(self, rng):
        cell = struct.pack("!hi", 1, 1) + b"1"
        column = struct.pack("!h", 1) + raw.text("a") + struct.pack("!ihihih", 0, 0, 23, 4, -1, 0)
        parts = [raw.msg("T", column), raw.msg("D", cell), raw.msg("C", raw.text("SELECT 1")), raw.msg("1"),
                 raw.msg("2"), raw.msg("3"), raw.msg("n"), raw.msg("I"), raw.msg("s"),
                 raw.msg("E", b"SERROR\0C57014\0Mno\0\0"), raw.msg("E", rng.randbytes(9)),
                 raw.msg("S", raw.text("DateStyle") + raw.text("x")), raw.msg("S", b"x"),
                 raw.msg("A", struct.pack("!i", 1) + raw.text("a") + raw.text("")), raw.msg("G", b"\0\0\0"),
                 raw.msg("H", b"\0\0\0"), raw.msg("d", b"1\n"), raw.msg("c"), raw.msg("Z", b"T"), raw.msg("Z", b"?"),
                 raw.msg("Z"), raw.msg("N", rng.randbytes(9)), raw.msg("t", b"\0\0"), raw.msg("?", b"")]
        got = b"".join(rng.choice(parts) for _ in range(rng.randrange(5)))
        if rng.random() < 0.3:
            got = Attack(rng).spoil(got)
        return got + (raw.msg("Z", b"I") if rng.random() < 0.8 else b"")

    def serve(self, peer, rng):
        try:
            with peer:
                peer.settimeout(20)
                if peer.recv(8) == raw.SSL_REQUEST:
                    peer.sendall(rng.choice([b"N", b"N", b"N", b"S", b"x", b"E", b"Nx"]))
                    if not peer.recv(2000):
                        return
                peer.sendall(self.greeting(rng))
                while peer.recv(65536):
                    peer.sendall(self.answer(rng))
                    if rng.random() < 0.1:
                        return
        except OSError:
            pass


class Fuzz:
    def __init__(self, args):
        self.args = args
        self.box = Box()
        self.stop = threading.Event()
        self.faults = []
        self.counts = {"attacks": 0, "errors": 0, "good": 0}
        self.lock = threading.Lock()

    def fault(self, text):
        with self.lock:
            self.faults.append(text)
        self.stop.set()

    def count(self, what, n=1):
        with self.lock:
            self.counts[what] += n

    def setup(self):
        conftest.make_cert(self.box)
        conftest.users(self.box)
        self.pg = Postgres(self.box, "pg")
        conftest.prepare(self.pg)
        self.fake = Fake(self.args.seed, self)
        self.fake.start()
        self.box.ends.append(self.fake.sock.close)
        self.box.write("hba.conf", PROXY_HBA)
        self.proxy = Proxy(self.box, INI.format(pg=self.pg.port, fake=self.fake.port))

    def check_stream(self, data, tls):
        """What came back has to be messages of the protocol, one after the other."""
        if not tls and data[:1] in (b"S", b"N") and (len(data) == 1 or data[1:2] != b"\0"):
            data = data[1:]  # the answer to SSLRequest or GSSRequest
        at = 0
        while at + 5 <= len(data):
            kind, size = chr(data[at]), struct.unpack("!i", data[at + 1:at + 5])[0]
            if kind not in BACKEND or size < 4:
                self.fault(f"not a message at {at}: {data[max(0, at - 40):at + 40]!r}")
                return
            if kind == "E":
                self.count("errors")
            at += 1 + size

    def send_spread(self, rng, conn, data):
        if rng.random() < 0.2:
            for b in data[:40]:
                conn.sock.sendall(bytes([b]))
            data = data[40:]
        conn.sock.sendall(data)

    def attack(self, rng):
        a, answer = Attack(rng), b""
        tls = rng.random() < 0.15
        database = rng.choice(["db", "db", "db", "session", "statement", "fake", "pgbouncer"])
        checked = database != "fake"  # what our server says is passed on as it is
        with raw.Raw(self.proxy.port, timeout=2) as c:
            try:
                if tls:
                    c.tls()
                if rng.random() < 0.35:
                    checked = False if b"fake" in (first := a.startup()) else checked
                    self.send_spread(rng, c, first)
                    if rng.random() < 0.5:
                        self.send_spread(rng, c, raw.msg("p", rng.randbytes(rng.randrange(50))))
                else:
                    c.login(user="admin" if database == "pgbouncer" else rng.choice(
                        ["u_trust", "u_trust", "u_md5", "u_plain"]), database=database, password="secret")
                answer = c.data
                for _ in range(rng.randrange(1, 12)):
                    m = a.message(database == "pgbouncer")
                    self.send_spread(rng, c, a.spoil(m) if rng.random() < 0.25 and not ORDERS.search(m) else m)
                c.sock.settimeout(rng.choice([0.05, 0.3]))
                for _ in range(200):
                    got = c.sock.recv(65536)
                    if not got:
                        break
                    answer += got
            except (OSError, raw.Gone, RuntimeError, AssertionError, ValueError, struct.error):
                pass
            if rng.random() < 0.2:
                c.reset()
        if checked and not tls:
            self.check_stream(answer, tls)
        self.count("attacks")

    def attacker(self, seed):
        rng = random.Random(seed)
        while not self.stop.is_set():
            try:
                self.attack(rng)
            except ConnectionRefusedError:
                self.fault("the proxy does not listen any more")
            except OSError:
                pass

    def good(self, seed, user, tls):
        """One that behaves: gets what it asks for, and soon."""
        n = 0
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                with raw.Raw(self.proxy.port, timeout=60) as c:
                    if tls:
                        c.tls()
                    c.login(user=user, password="secret")
                    for _ in range(50):
                        n += 1
                        began = time.monotonic()
                        mine = f"{seed}.{n}"
                        assert c.query("begin") == []
                        assert c.query(f"select '{mine}'") == [[mine]]
                        c.send(raw.parse("mine", "select $1::text || '!'"), raw.bind("mine", mine), raw.execute(),
                               raw.msg("C", b"Smine\0"), raw.SYNC)
                        got = raw.rows(c.until("Z"))
                        assert got == [[mine + "!"]], got
                        assert c.query("commit") == []
                        self.count("good")
                        if self.stop.is_set():
                            break
                        time.sleep(0.005)
            except Exception as e:
                # Queues may be full of attackers' statements for their timeout; nothing else is forgiven.
                if "query_wait_timeout" in str(e) and time.monotonic() - began > 4:
                    continue
                self.fault(f"a good client: {type(e).__name__} {e} after {time.monotonic() - began:.1f} s")

    def run(self):
        self.setup()
        rng = random.Random(self.args.seed)
        threads = [threading.Thread(target=self.attacker, args=(rng.random(),)) for _ in range(self.args.threads)]
        threads += [threading.Thread(target=self.good, args=a) for a in
                    ((1, "u_trust", False), (2, "u_scram", True), (3, "u_md5", False))]
        for t in threads:
            t.start()
        self.stop.wait(self.args.seconds)
        self.stop.set()
        for t in threads:
            t.join()
        print(self.counts, flush=True)
        for f in self.faults[:5]:
            print("fault:", f)
        if self.proxy.process.poll() is not None:
            print("the proxy ended:", self.proxy.process.returncode)
            print(self.proxy.log()[-6000:])
        assert not self.faults and self.counts["good"] > 0
        # Everybody is gone: what is left is the console's own connection.
        wait_for(lambda: len(self.proxy.console("SHOW CLIENTS")) == 1, 60, every=0.3)
        assert self.proxy.sql("select 1") == [(1,)]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--threads", type=int, default=6)
    fuzz = Fuzz(p.parse_args())
    print("seed", fuzz.args.seed, flush=True)
    try:
        fuzz.run()
    finally:
        fuzz.stop.set()
        fuzz.box.close()
    print("no crash, no hang, no leak")


if __name__ == "__main__":
    main()
