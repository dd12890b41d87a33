"""A herd on this machine for tests: one etcd, N agents, private directories, free ports.

    with Herd(3, dcs={"ttl": 5}) as herd:
        leader = herd.wait_leader()
        leader.sql("create table t(i int)")
        herd.switchover(candidate="n2")

Nothing outlives the `with`: every process that was started is killed by its pid, with everything
below its directory. As root the agents run as user postgres (they drop to it themselves).
"""

import base64
import contextlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import psycopg2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

from ports import free_port  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PGHERD = os.environ.get("PGHERD", str(ROOT / "build" / "pgherd"))
BIN_DIR = os.environ.get("PG_BIN_DIR", "/usr/lib/postgresql/15/bin")
PASSWORD = "herd-secret"


def wait_for(fn, seconds=15, what="condition", step=0.05):
    """Calls fn until it returns something true; errors count as false."""
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        try:
            value = fn()
            if value:
                return value
        except Exception as e:  # noqa: BLE001 - whatever is not there yet
            last = e
        time.sleep(step)
    raise AssertionError(f"{what}: not within {seconds} s (last: {last!r})")


def alive(pid):
    """Not a zombie, and there."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def guard_pages(directory):
    """The files that agents below directory share with their guards (see guard_page.h)."""
    found = []
    for path in pathlib.Path("/dev/shm").glob("pgherd-guard.*"):
        with contextlib.suppress(OSError):
            if str(directory).encode() + b"/" in path.read_bytes():
                found.append(path)
    return found


class Etcd:
    def __init__(self, directory, listen="127.0.0.1", advertise="127.0.0.1"):
        self.dir, self.listen, self.advertise = pathlib.Path(directory), listen, advertise
        self.port, self.peer = free_port(), free_port()
        self.process = None
        self.start()

    def start(self):
        url, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer}"
        self.process = subprocess.Popen(
            ["etcd", "--data-dir", str(self.dir / "etcd"), "--listen-client-urls",
             f"http://{self.listen}:{self.port}",
             "--advertise-client-urls", f"http://{self.advertise}:{self.port}", "--listen-peer-urls", peer,
             "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
             "--heartbeat-interval", "50", "--election-timeout", "500",
             "--unsafe-no-fsync"] if self._no_fsync() else
            ["etcd", "--data-dir", str(self.dir / "etcd"), "--listen-client-urls",
             f"http://{self.listen}:{self.port}",
             "--advertise-client-urls", f"http://{self.advertise}:{self.port}", "--listen-peer-urls", peer,
             "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
             "--heartbeat-interval", "50", "--election-timeout", "500"],
            stdout=open(self.dir / "etcd.log", "ab"), stderr=subprocess.STDOUT)
        wait_for(lambda: b"true" in urllib.request.urlopen(url + "/health", timeout=1).read(),
                 20, "etcd")

    @staticmethod
    def _no_fsync():
        return "--unsafe-no-fsync" in subprocess.run(["etcd", "--help"], capture_output=True,
                                                     text=True).stdout

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def call(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v3/{path}",
                                         json.dumps(body).encode())
        return json.loads(urllib.request.urlopen(request, timeout=3).read())

    def get(self, prefix):
        """{key: text} of all keys below prefix."""
        key = base64.b64encode(prefix.encode()).decode()
        end = base64.b64encode((prefix[:-1] + chr(ord(prefix[-1]) + 1)).encode()).decode()
        kvs = self.call("kv/range", {"key": key, "range_end": end}).get("kvs", [])
        return {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv.get("value", "")).decode()
                for kv in kvs}


class Member:
    cwd = "/"  # where the agent is started
    password = PASSWORD

    def __init__(self, herd, name, group=None):
        self.herd, self.name, self.group = herd, name, group
        self.dir = herd.dir / name
        self.data = self.dir / "data"
        self.port, self.rest = free_port(), free_port()
        self.process = None
        self.patch = {}  # of this member alone; goes over the herd's
        self.host = "127.0.0.1"  # where its clients reach it
        self.tls = None  # an ssl.SSLContext when its REST API speaks TLS
        self.wrap = os.environ.get("HERD_WRAP", "").split()  # its command goes behind this
        self.log = self.dir / "log"

    def config(self):
        c = {
            "scope": self.herd.scope, "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self.rest}",
                        "connect_address": f"127.0.0.1:{self.rest}"},
            "etcd3": {"hosts": [f"127.0.0.1:{self.herd.etcd.port}"]},
            "bootstrap": {"dcs": self.herd.dcs,
                          "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"]},
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}", "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.data), "bin_dir": BIN_DIR if not self.herd.bin_dir else self.herd.bin_dir,
                "pgpass": str(self.dir / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": PASSWORD},
                    "replication": {"username": "replicator", "password": PASSWORD},
                    "rewind": {"username": "rewinder", "password": PASSWORD}},
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 scram-sha-256",
                           "host replication all 127.0.0.1/32 scram-sha-256"],
                "parameters": {"shared_buffers": "16MB", "fsync": "off",
                               "unix_socket_directories": str(self.dir),
                               "wal_retrieve_retry_interval": "50ms",
                               "password_encryption": "scram-sha-256"}},
            "log": {"level": os.environ.get("HERD_LOG", "INFO")},
        }
        if self.group is not None:
            c["citus"] = {"group": self.group, "database": "citus"}
        for patch in (self.herd.patch, self.patch):
            merge(c, patch)
        return c

    def start(self):
        self.dir.mkdir(exist_ok=True)
        path = self.dir / "config.yml"
        path.write_text(json.dumps(self.config()))  # JSON is YAML
        own(self.dir)
        env = dict(os.environ, **self.herd.env)
        self.process = subprocess.Popen([*self.wrap, PGHERD, "agent", str(path)], env=env,
                                        stdout=open(self.log, "ab"), stderr=subprocess.STDOUT,
                                        cwd=self.cwd)
        return self

    def stop(self, seconds=30):
        if self.process:
            self.process.terminate()
            try:
                return self.process.wait(seconds)
            finally:
                if self.process.poll() is None:
                    self.process.kill()
                    self.process.wait()
                self.process = None

    def kill(self):
        """The agent dies at once; PostgreSQL stays."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def postmaster(self):
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return 0
        return pid if alive(pid) else 0

    def kill_postgres(self):
        os.kill(self.postmaster(), signal.SIGKILL)

    def connect(self, dbname="postgres", timeout=3, **more):
        c = psycopg2.connect(host=self.host, port=self.port, user="postgres", dbname=dbname,
                             password=self.password, connect_timeout=timeout, **more)
        c.autocommit = True
        return c

    def sql(self, text, *args, dbname="postgres"):
        with contextlib.closing(self.connect(dbname)) as c, c.cursor() as cur:
            cur.execute(text, args or None)
            return cur.fetchall() if cur.description else None

    def request(self, method, path, body=None, timeout=60, auth=None):
        data = json.dumps(body).encode() if body is not None else None
        scheme = "https" if self.tls else "http"
        r = urllib.request.Request(f"{scheme}://{self.host}:{self.rest}{path}", data, method=method)
        if auth:
            r.add_header("Authorization", "Basic " + base64.b64encode(auth.encode()).decode())
        try:
            with urllib.request.urlopen(r, timeout=timeout, context=self.tls) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def get(self, path):
        return self.request("GET", path, timeout=5)

    def status(self):
        return json.loads(self.get("/patroni")[1])

    def is_primary(self):
        return self.get("/primary")[0] == 200

    def in_recovery(self):
        return self.sql("select pg_is_in_recovery()")[0][0]


def merge(into, patch):
    for k, v in patch.items():
        if isinstance(v, dict) and isinstance(into.get(k), dict):
            merge(into[k], v)
        else:
            into[k] = v


def own(path):
    if os.geteuid() == 0:
        pw = pwd.getpwnam("postgres")
        for p in [path, *path.rglob("*")]:
            with contextlib.suppress(OSError):
                os.chown(p, pw.pw_uid, pw.pw_gid, follow_symlinks=False)


# What PostgreSQL says again and again while it waits for its primary.
NOISE = ("waiting for WAL to become", "Is the server running on that host",
         "could not connect to the primary", "STATEMENT:  START_REPL", "checkpoint starting",
         "checkpoint complete", "listening on", "could not start WAL streaming",
         "before or while processing the request", "This probably means the server terminated")

FAST = {"ttl": 5, "loop_wait": 1, "retry_timeout": 1}


class Herd:
    """groups: None for one group of n members n1..; else {group: members} named g<group>n<i>.
    prefix: of the members' names, "n"; of another herd that streams from this one it must differ.
    """

    live = set()

    def __init__(self, n=3, dcs=None, patch=None, env=None, groups=None, bin_dir=None, start=True,
                 prefix="n", etcd=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="herd-", dir="/tmp"))
        self.dir.chmod(0o755)
        self.scope = "batman"
        self.dcs = {**FAST, "postgresql": {"use_pg_rewind": True}, **(dcs or {})}
        self.patch, self.env, self.bin_dir = patch or {}, env or {}, bin_dir
        self.etcd = None
        Herd.live.add(self)
        if groups:
            self.members = [Member(self, f"g{g}n{i + 1}", g)
                            for g, count in groups.items() for i in range(count)]
        else:
            self.members = [Member(self, f"{prefix}{i + 1}") for i in range(n)]
        try:
            self.etcd = Etcd(self.dir, **(etcd or {}))
            if start:
                for m in self.members:
                    m.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            self.show_logs()
        self.close()

    def __getitem__(self, name):
        return next(m for m in self.members if m.name == name)

    def logs(self, lines=int(os.environ.get("HERD_LINES", "60"))):
        out = []
        for m in self.members:
            with contextlib.suppress(OSError):
                text = [x for x in m.log.read_text(errors="replace").splitlines()
                        if not any(noise in x for noise in NOISE)][-lines:]
                code = m.process.poll() if m.process else "stopped"
                out += [f"--- {m.name} (exit status {code})", *text]
        return "\n".join(out)

    def show_logs(self, lines=60):
        print(self.logs(lines))

    def close(self):
        Herd.live.discard(self)
        for m in self.members:
            if m.process:
                m.process.kill()
                m.process.wait()
        # What works below our directory is ours: postmasters, backends, guards of dead agents.
        for _ in range(50):
            left = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if self._ours(pid)]
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            if not left:
                break
            time.sleep(0.05)
        for page in guard_pages(self.dir):
            with contextlib.suppress(OSError):
                page.unlink()
        if self.etcd:
            self.etcd.stop()
        if os.environ.get("HERD_KEEP"):
            print("kept", self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def _ours(self, pid):
        try:
            if not alive(pid):
                return False
            cwd = os.readlink(f"/proc/{pid}/cwd")
            cmd = open(f"/proc/{pid}/cmdline", "rb").read().decode(errors="replace")
        except OSError:
            return False
        return cwd.startswith(str(self.dir)) or (str(self.dir) in cmd and "etcd" not in cmd
                                                 and ("pgherd" in cmd or "postgres" in cmd
                                                      or "pg_" in cmd))

    def of(self, group):
        return [m for m in self.members if m.group == group]

    def leader(self, group=None):
        return next((m for m in self.of(group) if m.process and m.is_primary()), None)

    def wait_leader(self, seconds=90, group=None, but=None):
        def ready():
            m = self.leader(group)
            return m if m and m is not but and not m.in_recovery() else None
        return wait_for(ready, seconds, "a leader")

    def replicas(self, group=None):
        leader = self.leader(group)
        return [m for m in self.of(group) if m is not leader]

    def wait_streaming(self, n, seconds=90, group=None):
        """n standbys stream from the leader."""
        def ready():
            rows = self.leader(group).sql(
                "select application_name from pg_stat_replication where state = 'streaming'")
            return len(rows) >= n
        wait_for(ready, seconds, f"{n} streaming standbys")

    def wait_healthy(self, seconds=90, group=None):
        leader = self.wait_leader(seconds, group)
        self.wait_streaming(len(self.of(group)) - 1, seconds, group)
        for m in self.of(group):
            if m is not leader:
                wait_for(lambda m=m: m.get("/replica")[0] == 200, seconds, f"{m.name} healthy")
        return leader

    def switchover(self, candidate=None, group=None):
        leader = self.leader(group)
        body = {"leader": leader.name}
        if candidate:
            body["candidate"] = candidate
        return leader.request("POST", "/switchover", body)

    def keys(self):
        return self.etcd.get(f"/service/{self.scope}/")


def ctl(herd, *args, check=False, input=None, env=None):
    """pgherd ctl against the herd's store; the completed process, output and errors as text."""
    return subprocess.run([PGHERD, "ctl", "-d", f"etcd3://127.0.0.1:{herd.etcd.port}", *args],
                          capture_output=True, text=True, input=input, check=check, timeout=120,
                          env=dict(os.environ, **(env or {})), cwd="/")


class Writer(threading.Thread):
    """Inserts 1, 2, 3 ... wherever the primary is; acked holds what was acknowledged."""

    def __init__(self, herd, group=None, gap=0.005, first=1):
        super().__init__(daemon=True)
        self.herd, self.group, self.gap, self.first = herd, group, gap, first
        self.acked, self.errors, self.stop_it = [], 0, threading.Event()
        self.last_ack = time.monotonic()
        self.longest = 0.0

    def run(self):
        ports = ",".join(str(m.port) for m in self.herd.of(self.group))
        hosts = ",".join(m.host for m in self.herd.of(self.group))
        c, i = None, self.first - 1
        while not self.stop_it.is_set():
            try:
                if c is None:
                    c = psycopg2.connect(host=hosts, port=ports, user="postgres",
                                         dbname="postgres", password=PASSWORD, connect_timeout=2,
                                         target_session_attrs="read-write",
                                         options="-c statement_timeout=5000")
                    c.autocommit = True
                i += 1
                with c.cursor() as cur:
                    cur.execute("insert into rows values (%s)", (i,))
                now = time.monotonic()
                self.longest = max(self.longest, now - self.last_ack)
                self.last_ack = now
                self.acked.append(i)
                time.sleep(self.gap)
            except psycopg2.Error:
                self.errors += 1
                if c:
                    c.close()
                c = None
                time.sleep(0.02)

    def __enter__(self):
        self.herd.leader(self.group).sql("create table if not exists rows (i int)")
        self.start()
        wait_for(lambda: len(self.acked) > 20, 10, "the writer")
        return self

    def __exit__(self, *_):
        self.finish()

    def finish(self):
        self.stop_it.set()
        self.join(15)

    def lost(self):
        got = {r[0] for r in self.herd.wait_leader(group=self.group).sql("select i from rows")}
        return [i for i in self.acked if i not in got]
