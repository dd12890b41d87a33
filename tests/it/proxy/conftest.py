"""Real PostgreSQL servers, a real etcd, and the proxy under test. Everything private, all of it gone
at the end. PostgreSQL refuses root, so as root all of them run as user postgres."""
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import psycopg
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lib"))

from ports import free_port  # noqa: E402

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
PGHERD = os.environ.get("PGHERD", os.path.join(ROOT, "build/pgherd"))
BIN = os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin")
AS_POSTGRES = []
if os.getuid() == 0:
    AS_POSTGRES = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]


def wait_for(what, timeout=20, every=0.02):
    end = time.monotonic() + timeout
    while True:
        try:
            got = what()
        except (OSError, psycopg.Error):
            got = None
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("timed out waiting")
        time.sleep(every)


def run(*cmd, check=True, **kw):
    done = subprocess.run([*AS_POSTGRES, *map(str, cmd)], capture_output=True, text=True,
                          timeout=60, **kw)
    if check and done.returncode:
        raise RuntimeError(f"{cmd}: {done.stdout}{done.stderr}")
    return done


class Box:
    """A directory that user postgres owns, and the processes started in it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="herd-px-")
        if os.getuid() == 0:
            os.chown(self.dir, pwd.getpwnam("postgres").pw_uid, -1)
        os.chmod(self.dir, 0o755)
        self.ends = []

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        if os.getuid() == 0:
            os.chown(self.path(name), pwd.getpwnam("postgres").pw_uid, -1)
        return self.path(name)

    def close(self):
        failed = None
        for end in reversed(self.ends):
            try:
                end()
            except Exception as e:
                failed = failed or e
        shutil.rmtree(self.dir, ignore_errors=True)
        if failed:
            raise failed


HBA = """local all all trust
host replication all 127.0.0.1/32 trust
host all u_md5 127.0.0.1/32 md5
host all u_scram 127.0.0.1/32 scram-sha-256
host all u_plain 127.0.0.1/32 password
host all all 127.0.0.1/32 trust
"""
CONF = """unix_socket_directories = '{dir}'
fsync = off
max_connections = 200
wal_level = replica
hot_standby = on
wal_retrieve_retry_interval = 50ms
max_wal_senders = 5
shared_buffers = 32MB
ssl = {ssl}
ssl_cert_file = '{dir}/server.crt'
ssl_key_file = '{dir}/server.key'
"""


class Postgres:
    def __init__(self, box, name, primary=None, ssl=False):
        self.box, self.name, self.port = box, name, free_port()
        self.data = box.path(name)
        if ssl:
            make_cert(box)
        if primary:
            run(f"{BIN}/pg_basebackup", "-D", self.data, "-h", "127.0.0.1", "-p", primary.port,
                "-U", "postgres", "-R", "-c", "fast", "-X", "stream")
        else:
            run(f"{BIN}/initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-N")
            conf = CONF.format(dir=box.dir, ssl="on" if ssl else "off")
            with open(os.path.join(self.data, "postgresql.conf"), "a") as f:
                f.write(conf)
            with open(os.path.join(self.data, "pg_hba.conf"), "w") as f:
                f.write(HBA)
        box.ends.append(lambda: self.stop("immediate", check=False))
        self.start()

    def start(self):
        run(f"{BIN}/pg_ctl", "-D", self.data, "-l", self.box.path(self.name + ".log"), "-w",
            "-o", f"-p {self.port}", "start")

    def stop(self, mode="fast", check=True):
        run(f"{BIN}/pg_ctl", "-D", self.data, "-m", mode, "-w", "stop", check=check)

    def promote(self):
        run(f"{BIN}/pg_ctl", "-D", self.data, "-w", "promote")

    def sql(self, *statements, db="postgres"):
        with psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname=db,
                             autocommit=True) as c:
            rows = None
            for s in statements:
                cur = c.execute(s)
                rows = cur.fetchall() if cur.description else None
            return rows

    def system_id(self):
        return self.sql("select system_identifier from pg_control_system()")[0][0]


def make_cert(box):
    if os.path.exists(box.path("server.key")):
        return
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
        "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout",
        box.path("server.key"), "-out", box.path("server.crt"))
    os.chmod(box.path("server.key"), 0o600)


class Proxy:
    def __init__(self, box, ini, name="proxy", port=None):
        self.box, self.name = box, name
        self.port = port or free_port()
        self.file = box.path(name + ".ini")
        self.log_file = box.path(name + ".log")
        self.write(ini)
        self.start()
        box.ends.append(self.kill)

    def write(self, ini):
        self.box.write(self.name + ".ini",
                       ini.replace("@PORT@", str(self.port)).replace("@DIR@", self.box.dir))

    def start(self):
        self.out = open(self.log_file, "a")
        ups = self.log().count("process up")
        self.process = subprocess.Popen([*AS_POSTGRES, PGHERD, "proxy", self.file],
                                        stdout=self.out, stderr=self.out)
        def up():
            assert self.process.poll() is None, self.log()
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                # The socket listens before anybody serves, or obeys signals.
                return self.log().count("process up") > ups
        wait_for(up)

    def log(self):
        with open(self.log_file, errors="replace") as f:
            return f.read()

    def signal(self, signo):
        self.process.send_signal(signo)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the proxy does not stop: " + self.log()[-2000:])
        self.out.close()
        assert self.process.returncode == 0, self.log()[-4000:]

    def connect(self, db="db", user="u_trust", password=None, port=None, **kw):
        kw.setdefault("autocommit", True)
        kw.setdefault("connect_timeout", 30)
        kw.setdefault("host", "127.0.0.1")
        return psycopg.connect(port=port or self.port, user=user, dbname=db,
                               password=password, **kw)

    def sql(self, statement, **kw):
        with self.connect(**kw) as c:
            cur = c.execute(statement)
            return cur.fetchall() if cur.description else None

    def console(self, statement, db="pgbouncer"):
        with self.connect(db=db, user="admin", cursor_factory=psycopg.ClientCursor) as c:
            cur = c.execute(statement)
            if not cur.description:
                return None
            names = [d.name for d in cur.description]
            return [dict(zip(names, row)) for row in cur.fetchall()]

    def psql(self, statement, db="db", user="u_trust", password=None, check=True, extra=()):
        env = dict(os.environ, PGPASSWORD=password or "", PGCONNECT_TIMEOUT="30")
        return run("psql", "-X", "-h", "127.0.0.1", "-p", self.port, "-U", user, "-At", *extra,
                   "-c", statement, db, check=check, env=env)

    def pgbench(self, *args, db="db", user="u_trust"):
        done = run("pgbench", "-h", "127.0.0.1", "-p", self.port, "-U", user, *args, db)
        assert "ERROR" not in done.stderr and "FATAL" not in done.stderr, done.stderr
        return done.stdout


class Chain(Proxy):
    """A proxy that is restarted (-R); all of its processes write one log."""

    def __init__(self, box, ini, name):
        self.olds = []
        super().__init__(box, ini, name=name)

    def reboot(self, *args):
        """Starts the next one; returns the one before when it has handed the doors over."""
        old = self.process
        before = len(self.log())
        self.olds.append(old)
        # One that has lost a new process needs a moment for that.
        wait_for(lambda: self.started(old, before, *args), every=0.2)
        return old

    def started(self, old, before, *args):
        self.process = subprocess.Popen([*AS_POSTGRES, PGHERD, "proxy", "-R", *args, self.file],
                                        stdout=self.out, stderr=self.out)
        wait_for(lambda: f"taking over from process {old.pid}" in self.log()[before:] or
                 self.process.poll() is not None)
        said = self.log()[before:]
        refused = self.process.poll() is not None and "another process is taking over" in said
        assert refused or self.process.poll() is None, said[-3000:]
        return not refused

    def kill(self):
        for p in self.olds:
            if p.poll() is None:
                p.kill()
            p.wait()
        super().kill()


def ended(process):
    assert process.wait(60) == 0


USERS = ['"u_trust" ""', '"u_md5" "secret"', '"u_scram" "secret"', '"u_plain" "secret"',
         '"admin" ""', '"postgres" ""']


def users(box):
    box.write("users.txt", "\n".join(USERS) + "\n", 0o600)


def prepare(pg):
    pg.sql("create user u_trust superuser", "create user u_scram password 'secret'",
           "create user u_plain password 'secret'", "set password_encryption = md5",
           "create user u_md5 password 'secret'")
    pg.sql("create database db")
    pg.sql("create table t (a int, b text)", "grant all on t to public", db="db")


@pytest.fixture(scope="session")
def server():
    box = Box()
    try:
        pg = Postgres(box, "pg", ssl=True)
        prepare(pg)
        yield pg
    finally:
        box.close()


@pytest.fixture
def box():
    b = Box()
    users(b)
    try:
        yield b
    finally:
        b.close()


BASE = """[databases]
db = host=127.0.0.1 port={pg}
{databases}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir =
auth_type = {auth}
auth_file = @DIR@/users.txt
admin_users = admin
pool_mode = {mode}
default_pool_size = 4
{more}
[pgherd]
worker_threads = 2
"""


@pytest.fixture
def make(box, server):
    def fn(mode="transaction", auth="trust", databases="", more="", workers=2, **kw):
        ini = BASE.format(pg=server.port, mode=mode, auth=auth, databases=databases, more=more)
        return Proxy(box, ini.replace("worker_threads = 2", f"worker_threads = {workers}"), **kw)
    return fn


class Etcd:
    def __init__(self, box):
        self.port, peer = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            ["etcd", "--data-dir", tempfile.mkdtemp(dir=box.dir), "--listen-client-urls", self.url,
             "--advertise-client-urls", self.url,
             "--listen-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--unsafe-no-fsync"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        box.ends.append(self.stop)
        wait_for(lambda: self.ctl("endpoint", "health") is not None)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def ctl(self, *args):
        done = subprocess.run(["etcdctl", "--endpoints", self.url, *args], text=True, timeout=20,
                              env=dict(os.environ, ETCDCTL_API="3"), capture_output=True)
        return done.stdout if done.returncode == 0 else None

    def put(self, key, value):
        assert self.ctl("put", key, value if isinstance(value, str) else json.dumps(value))

    def get(self, key):
        return (self.ctl("get", "--print-value-only", key) or "").rstrip("\n")

    def delete(self, key):
        self.ctl("del", key)

    def member(self, pg, role, timeline=1, state="running", group=0):
        """What the agent of that server would say of it."""
        self.put(f"/service/demo/{group}/members/{pg.name}", {
            "conn_url": f"postgres://127.0.0.1:{pg.port}/postgres",
            "api_url": "http://127.0.0.1:1/patroni", "state": state, "role": role,
            "version": "4.1.0", "timeline": timeline})


class Herd:
    """Two servers, a primary and its standby, and somebody who writes what agents would write."""

    def __init__(self, box):
        self.box = box
        self.a = Postgres(box, "a")
        prepare(self.a)
        self.b = Postgres(box, "b", primary=self.a)
        self.etcd = Etcd(box)
        self.etcd.put("/service/demo/0/initialize", str(self.a.system_id()))
        self.etcd.member(self.a, "primary")
        self.etcd.member(self.b, "replica")
        self.lead("a")

    def lead(self, name):
        if name:
            self.etcd.put("/service/demo/0/leader", name)
        else:
            self.etcd.delete("/service/demo/0/leader")

    def handover(self, phase, ident="h1", seconds=30):
        self.etcd.put("/service/demo/0/handover", {
            "id": ident, "from": "a", "to": "b", "phase": phase,
            "deadline_ms": int((time.time() + seconds) * 1000)})


HERD = """[pgherd]
dcs = etcd3://127.0.0.1:{etcd}
namespace = service
worker_threads = 2
proxy_id = px1
hold_timeout = {hold}
{more}
[listeners]
writes = port=@PORT@ cluster=demo group=0 role=primary
reads = port={reads} cluster=demo group=0 role=replica
[databases]
* = cluster=demo group=0 role=primary
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {plain}
unix_socket_dir =
auth_type = trust
auth_file = @DIR@/users.txt
admin_users = admin
pool_mode = {mode}
default_pool_size = 8
"""


@pytest.fixture
def herd(box):
    return Herd(box)


@pytest.fixture
def herd_proxy(box, herd):
    reads = free_port()

    def fn(hold=20, mode="transaction", more="", **kw):
        p = Proxy(box, HERD.format(etcd=herd.etcd.port, reads=reads, plain=free_port(), hold=hold,
                                   mode=mode, more=more), **kw)
        p.reads = reads
        return p
    return fn
