"""Configuration: what is refused and how, reloads, the cache, the commands around it, systemd."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading

import psycopg2
import pytest
import yaml

from herd import BIN_DIR, PASSWORD, PGHERD, Herd, free_port, own, wait_for


class Notifications:
    """What the agents tell systemd, on an abstract socket."""

    def __init__(self):
        self.name = f"pgherd-test-{os.getpid()}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.name)
        self.seen = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            self.seen.append(self.socket.recv(4096).decode())

    def wait(self, text):
        wait_for(lambda: any(text in line for line in self.seen), 30,
                 f"notification {text} after {self.seen[-9:]}")


@pytest.fixture(scope="module")
def systemd():
    return Notifications()


@pytest.fixture(scope="module")
def herd(systemd):
    with Herd(2, env={"NOTIFY_SOCKET": "@" + systemd.name}) as h:
        h.wait_healthy()
        for m in h.members:
            systemd.wait(f"READY=1\nMAINPID={m.process.pid}\nSTATUS={m.name} of batman is running")
        yield h


def config_of(m):
    return json.loads(m.get("/config")[1])


def rewrite(m, change):
    """Changes the member's file and tells it to reload."""
    path = m.dir / "config.yml"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config, indent=1))
    own(m.dir)
    m.process.send_signal(signal.SIGHUP)


def log_has(m, text, seconds=30):
    wait_for(lambda: text in m.log.read_text(errors="replace"), seconds, f"log line {text!r}")


BAD = [
    ({"ttl": [30]}, "ttl must be a time in seconds"),
    ({"ttl": "soon"}, "ttl must be"),
    ({"pause": "maybe"}, "pause must be a boolean (on or off), not \"maybe\""),
    ({"synchronous_mode": "always"}, "synchronous_mode must be off, on or quorum"),
    ({"maximum_lag_on_failover": "1 mile"}, "maximum_lag_on_failover must be a size"),
    ({"postgresql": 5}, "postgresql must be a map, not 5"),
    ({"postgresql": {"parameters": ["a"]}}, "postgresql.parameters must be a map"),
    ({"postgresql": {"parameters": {"work_mem": {"x": 1}}}},
     "postgresql.parameters.work_mem must be a single value"),
    ({"postgresql": {"pg_hba": {"a": 1}}}, "postgresql.pg_hba must be a list of lines"),
    ({"postgresql": {"use_slots": "perhaps"}}, "postgresql.use_slots must be a boolean"),
    ({"slots": {"a": {"type": "odd"}}}, "slots.a must be {type: physical or logical"),
    ({"standby_cluster": 1}, "standby_cluster must be a map"),
]


def test_bad_values_are_not_stored(herd):
    m = herd.leader()
    before = config_of(m)
    for body, reason in BAD:
        status, text = m.request("PATCH", "/config", body)
        assert status == 400 and reason in text, (body, status, text)
        status, text = m.request("PUT", "/config", {**before, **body})
        assert status == 400 and reason in text, (body, status, text)
        assert config_of(m) == before
    # ctl says the same, and stores nothing.
    run = subprocess.run([PGHERD, "ctl", "-c", str(m.dir / "config.yml"), "edit-config", "--force",
                          "-s", "ttl=soon"], capture_output=True, text=True)
    assert run.returncode == 1 and "ttl must be" in run.stdout + run.stderr
    assert config_of(m) == before


def test_good_values(herd):
    m = herd.leader()
    before = config_of(m)
    status, text = m.request("PATCH", "/config", {
        "maximum_lag_on_failover": "2MB", "own_key": {"a": {"b": 1}}, "member_slots_ttl": "10min",
        "postgresql": {"parameters": {"work_mem": "7MB"}}})
    assert status == 200 and json.loads(text)["own_key"] == {"a": {"b": 1}}
    for member in herd.members:
        wait_for(lambda: member.sql("show work_mem") == [("7MB",)], 30, "work_mem")
    # Null takes away, also below.
    status, text = m.request("PATCH", "/config", {"own_key": {"a": {"b": None, "c": 2}},
                                                  "member_slots_ttl": None})
    got = json.loads(text)
    assert got["own_key"] == {"a": {"c": 2}} and "member_slots_ttl" not in got
    # What does not fit together is stored, and repaired where it counts.
    m.request("PATCH", "/config", {"loop_wait": 4})
    log_has(m, 'Violated the rule "loop_wait + 2*retry_timeout <= ttl", where ttl=5 and '
               'retry_timeout=1. Adjusting loop_wait from 4 to 3')
    assert m.request("PUT", "/config", before)[0] == 200
    assert config_of(m) == before


def test_cache(herd):
    m = herd.leader()
    for member in herd.members:
        path = member.data / "patroni.dynamic.json"
        wait_for(lambda: json.loads(path.read_text()) == config_of(m), 30, "the cache")
        assert path.stat().st_mode & 0o777 == 0o600
        path.unlink()
        wait_for(path.exists, 30, "the cache again")
    # The key is lost: the leader writes what it knows, not what the file said at first.
    m.request("PATCH", "/config", {"own_key": 7})
    wait_for(lambda: json.loads((m.data / "patroni.dynamic.json").read_text()).get("own_key") == 7,
             30, "own_key in the cache")
    want = config_of(m)
    herd.etcd.call("kv/deleterange", {"key": __import__("base64").b64encode(
        f"/service/{herd.scope}/config".encode()).decode()})
    wait_for(lambda: config_of(m) == want, 30, "the key config again")


def test_reload(herd, systemd):
    m = herd.replicas()[0]

    def good(c):
        c["tags"] = {"rack": "r7", "nofailover": True}
        c["postgresql"]["parameters"]["log_min_duration_statement"] = "12s"
        c["restapi"]["authentication"] = {"username": "u", "password": "p"}
        c["log"]["level"] = "DEBUG"
        c["tahs"] = {}

    systemd.seen.clear()
    rewrite(m, good)
    wait_for(lambda: m.status().get("tags", {}).get("rack") == "r7", 30, "the new tags")
    wait_for(lambda: m.sql("show log_min_duration_statement") == [("12s",)], 30, "the parameter")
    wait_for(lambda: json.loads(herd.keys()[f"/service/batman/members/{m.name}"])["tags"]["rack"]
             == "r7", 30, "the tags in the store")
    assert m.request("POST", "/reload")[0] == 401
    log_has(m, "tahs is not a known setting and has no effect; did you mean tags?")
    log_has(m, " DEBUG: ")
    systemd.wait("RELOADING=1\nMONOTONIC_USEC=")
    systemd.wait("READY=1")
    # What is wrong is told with its place, and changes nothing.
    def bad(c):
        c["tags"] = {"rack": "r8"}
        c["postgresql"]["pg_ctl_timeout"] = "soon"

    rewrite(m, bad)
    path = m.dir / "config.yml"
    line = next(i for i, s in enumerate(path.read_text().splitlines(), 1) if "pg_ctl_timeout" in s)
    log_has(m, f"configuration not reloaded: {path}:{line}: postgresql.pg_ctl_timeout must be a "
               f"time in seconds or with a unit (ms, s, min, h, d), not \"soon\"")
    assert m.status()["tags"]["rack"] == "r7"
    path.write_text("{ not: [yaml")
    assert m.request("POST", "/reload", auth="u:p")[0] == 202
    log_has(m, f"configuration not reloaded: {path}: line ")
    assert m.status()["tags"]["rack"] == "r7"
    rewritten = m.config()
    rewritten["log"] = {"level": "INFO"}
    path.write_text(json.dumps(rewritten))
    own(m.dir)
    m.process.send_signal(signal.SIGHUP)
    wait_for(lambda: m.request("POST", "/reload")[0] == 202, 30, "no authentication again")


def auth_sql(herd, password, text):
    with contextlib.closing(psycopg2.connect(host="127.0.0.1", port=herd.leader().port,
                                             user="postgres", password=password,
                                             dbname="postgres")) as c:
        c.autocommit = True
        with c.cursor() as cur:
            cur.execute(text)
            return cur.fetchall() if cur.description else None


def line(password):
    return ":replicator:" + password.replace("\\", "\\\\").replace(":", "\\:")


def change_passwords(herd, old, new):
    """In PostgreSQL, then in the files; every session that used the old ones is ended."""
    auth_sql(herd, old, "".join(f"alter role {r} password '{new.replace(chr(39), chr(39) * 2)}';"
                                for r in ("postgres", "replicator", "rewinder")))
    for m in herd.members:
        rewrite(m, lambda c: [c["postgresql"]["authentication"][k].update(password=new)
                              for k in ("superuser", "replication", "rewind")])
    wait_for(lambda: all(line(new) in (m.dir / "pgpass").read_text() for m in herd.replicas()), 30,
             "the new password in pgpass")
    auth_sql(herd, new, "select pg_terminate_backend(pid) from pg_stat_activity where "
                        "pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')")
    wait_for(lambda: auth_sql(herd, new, "select 1 from pg_stat_replication where "
                                         "state = 'streaming'"), 60, "streaming again")
    wait_for(lambda: auth_sql(herd, new, "select 1 from pg_stat_activity where "
                                         "application_name = 'Patroni heartbeat'"), 30, "heartbeat")


def test_passwords(herd):
    """Changed without a restart of anything."""
    pid = {m.name: m.postmaster() for m in herd.members}
    change_passwords(herd, PASSWORD, "n'e:w\\")
    change_passwords(herd, "n'e:w\\", PASSWORD)
    assert pid == {m.name: m.postmaster() for m in herd.members}


def test_systemd(herd, systemd):
    systemd.wait("STATUS=no action. I am (")
    # The postmaster does not know of systemd, nor of our variables.
    text = pathlib.Path(f"/proc/{herd.leader().postmaster()}/environ").read_bytes().decode()
    assert "NOTIFY_SOCKET" not in text and "PATRONI_" not in text
    m = herd.replicas()[0]
    assert m.stop() == 0
    systemd.wait("STOPPING=1")
    m.start()
    herd.wait_healthy()


# --- commands -----------------------------------------------------------------------------------

def agent(*words, env=None, **more):
    return subprocess.run([PGHERD, "agent", *map(str, words)], capture_output=True, text=True,
                          env={**os.environ, **(env or {})}, **more)


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="herd-cfg-") as d:
        path = pathlib.Path(d)
        path.chmod(0o755)
        yield path


def write(place, text, name="c.yml"):
    path = place / name
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text, sort_keys=False))
    path.chmod(0o644)
    return path


def good_config(herd):
    c = herd.members[0].config()
    c["restapi"] = {"listen": "127.0.0.1:1", "connect_address": "192.0.2.1:8008"}
    c["postgresql"].update(listen="127.0.0.1:1", connect_address="192.0.2.1:5432",
                           data_dir="/nowhere/data")
    return c


def test_validate(herd, place):
    c = good_config(herd)
    run = agent("--validate-config", write(place, c))
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    taken = herd.members[0].rest
    c["restapi"] = {"listen": f"127.0.0.1:{taken}", "connect_address": "localhost:8008"}
    c["postgresql"]["pg_ctl_timeout"] = "soon"
    c["postgresql"]["bin_dir"] = "/usr/bin/env"
    c["etcd3"]["hosts"] = ["127.0.0.1:1"]
    del c["postgresql"]["authentication"]["replication"]
    del c["name"]
    c["log"], c["tags"], c["postgresql"]["parameters"] = {"file_num": "many"}, {"nofailover": 3}, [1]
    path = write(place, c)
    run = agent("--validate-config", path)
    assert run.returncode == 1
    for line in (f"restapi.listen 127.0.0.1:{taken} didn't pass validation: Port {taken} is already "
                 "in use.",
                 "restapi.connect_address localhost:8008 didn't pass validation: must not contain "
                 '"127.0.0.1", "0.0.0.0", "*", "::1", "localhost"',
                 "log.file_num many is not an integer",
                 "tags.nofailover 3 is not a boolean",
                 "postgresql.parameters [1] is not a dictionary",
                 "postgresql.pg_ctl_timeout soon didn't pass validation: must be a time in seconds "
                 'or with a unit (ms, s, min, h, d), not "soon"',
                 "postgresql.bin_dir Directory '/usr/bin/env' does not exist.",
                 "etcd3.hosts [\"127.0.0.1:1\"] didn't pass validation: 127.0.0.1:1 is not reachable",
                 "name is not defined.",
                 "postgresql.authentication.replication is not defined."):
        assert line in run.stdout.splitlines(), (line, run.stdout)
    assert "already in use" not in agent("--validate-config", "-i", path).stdout
    c = good_config(herd)
    c["postgresql"]["bin_dir"] = str(place)
    c["postgresql"]["data_dir"] = str(place)
    c["etcd"] = c.pop("etcd3")
    run = agent("--validate-config", write(place, c))
    assert run.returncode == 1
    assert f"postgresql.bin_dir does not contain 'pg_ctl' in '{place}'\n" in run.stdout
    assert "doesn't look like a valid data directory" in run.stdout
    assert "etcd didn't pass validation: this is etcd's API v2" in run.stdout
    del c["etcd"]
    run = agent("--validate-config", write(place, c))
    assert all(f"{s} is not defined.\n" in run.stdout for s in ("consul", "etcd3", "zookeeper"))
    run = agent("--validate-config", write(place, "scope: x\npostgresql: 5\n"))
    assert "postgresql 5 is not a dictionary\n" in run.stdout
    assert "restapi is not defined.\n" in run.stdout and "restapi.listen" not in run.stdout
    # The data directory of a server that runs: right version, and another.
    c = good_config(herd)
    c["postgresql"]["data_dir"] = str(herd.members[0].data)
    assert agent("--validate-config", write(place, c)).stdout == ""
    fake = place / "data"
    (fake / "pg_wal").mkdir(parents=True)
    write(fake, "9.6\n", "PG_VERSION")
    c["postgresql"]["data_dir"] = str(fake)
    run = agent("--validate-config", write(place, c))
    assert "its version does not match the one of 'postgres', which is 1" in run.stdout


def test_print_and_usage(herd, place):
    c = good_config(herd)
    c["restapi"]["authentication"] = {"username": "u", "password": "hush"}
    run = agent("--print", write(place, c))
    assert run.returncode == 0 and "hush" not in run.stdout and PASSWORD not in run.stdout
    assert yaml.safe_load(run.stdout)["scope"] == "batman"
    assert agent("--version").stdout.startswith("patroni 4.1")
    assert agent().returncode == 1 and "Usage:" in agent().stderr
    assert agent("--nonsense").returncode == 2
    assert agent("--validate-config", "--generate-config").returncode == 2
    assert agent("a", "b").returncode == 2
    assert agent("--dsn", "x", "a").returncode == 2
    run = agent(place / "missing.yml")
    assert run.returncode == 1 and "could not open configuration file" in run.stderr
    run = agent(write(place, "scope: [\n"))
    assert run.returncode == 1 and "c.yml: line 2" in run.stderr
    # Other stores are refused with what to do.
    c["consul"] = {"host": "x"}
    run = agent(write(place, c), env={"PGHERD_GUARD": "off"})
    assert run.returncode == 1
    assert 'section "consul" is not available in this version' in run.stdout + run.stderr
    assert "Supported is etcd (3.4 or later) with section etcd3." in run.stdout + run.stderr


def test_directory_and_environment(herd, place):
    c = good_config(herd)
    write(place, c, "10-base.yml")
    write(place, "scope: other\nlog: {level: DEBUG}\n", "20-more.yaml")
    write(place, "log: {level: null, format: '%(message)s'}\n", "30-last.yml")
    write(place, "scope: [", "40-not-ours.txt")
    run = agent("-p", place, env={"PATRONI_NAME": "by-env", "PATRONI_ETCD3_HOSTS": "'a:1', b:2",
                                  "PATRONI_LOG_LOGGERS": "{patroni.ha: DEBUG}",
                                  "PATRONI_REPLICATION_USERNAME": "rep"})
    got = yaml.safe_load(run.stdout)
    assert (got["scope"], got["name"]) == ("other", "by-env")
    assert got["log"] == {"format": "%(message)s", "loggers": {"patroni.ha": "DEBUG"}}
    assert got["etcd3"]["hosts"] == ["a:1", "b:2"]
    assert got["postgresql"]["authentication"]["replication"]["username"] == "rep"
    run = agent("-p", env={"PATRONI_CONFIGURATION": yaml.safe_dump(c), "PATRONI_NAME": "ignored"})
    assert yaml.safe_load(run.stdout)["name"] == "n1"
    run = agent("-p", place, env={"PATRONI_LOG_FILE_NUM": "many"})
    assert run.returncode == 1
    assert "variable PATRONI_LOG_FILE_NUM: log.file_num must be an integer" in run.stderr


def test_generate(herd, place):
    sample = yaml.safe_load(agent("--generate-sample-config").stdout)
    assert sample["bootstrap"]["dcs"]["ttl"] == 30 and sample["scope"] == "#FIXME"
    path = place / "sample.yml"
    assert agent("--generate-sample-config", path).returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600 and yaml.safe_load(path.read_text()) == sample
    # Out of a running server.
    m = herd.leader()
    path = place / "made.yml"
    dsn = f"host=127.0.0.1 port={m.port} user=postgres dbname=postgres"
    run = agent("--generate-config", "--dsn", dsn, path, env={"PGPASSWORD": PASSWORD})
    assert run.returncode == 0, run.stderr
    made = yaml.safe_load(path.read_text())
    pg = made["postgresql"]
    assert (made["scope"], pg["data_dir"], pg["bin_dir"]) == ("batman", str(m.data), BIN_DIR)
    assert pg["listen"] == f"127.0.0.1:{m.port}"
    assert pg["authentication"]["superuser"] == {"username": "postgres", "password": PASSWORD}
    assert pg["pg_hba"] == m.config()["postgresql"]["pg_hba"]
    assert pg["parameters"]["shared_buffers"] == "16MB" and "max_connections" not in pg["parameters"]
    assert made["bootstrap"]["dcs"]["postgresql"]["parameters"]["max_connections"] == "100"
    # Once filled in, it is one that an agent takes.
    made["etcd3"]["hosts"] = [f"127.0.0.1:{herd.etcd.port}"]
    run = agent("--validate-config", "-i", write(place, made, "filled.yml"))
    assert (run.returncode, run.stdout) == (0, "")
    # Without a password and a terminal there is nobody to ask.
    run = agent("--generate-config", "--dsn", dsn, env={"PGPASSFILE": "/dev/null"},
                start_new_session=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 1 and "no terminal" in run.stderr
    run = agent("--generate-config", "--dsn", "host=127.0.0.1 port=1")
    assert run.returncode == 1 and "could not connect to the server" in run.stderr


def test_process_1(herd, place):
    """In a container: what is orphaned is reaped, signals are passed on, the status is the agent's."""
    wrap = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*wrap, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces here")
    with Herd(1, env={"PGHERD_GUARD": "off"}, start=False) as h:
        m = h.members[0]
        script = place / "orphan"
        script.write_text("#!/bin/sh\n(sleep 0.2 &)\n")
        script.chmod(0o755)
        h.patch = {"postgresql": {"callbacks": {"on_start": str(script)}}}
        m.wrap = wrap
        m.start()
        h.wait_leader()
        log_has(m, "Reaped pid=")
        children = pathlib.Path(f"/proc/{m.process.pid}/task/{m.process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGTERM)
        assert m.process.wait(60) == 0
        log_has(m, "the agent ends")
        assert not (m.data / "postmaster.pid").exists()
        m.process = None


def certificates(place):
    """A CA, and a certificate of it for etcd and for its clients: ca.pem, one.pem, one.key. It has no
    CN: with authentication on, etcd's gateway refuses clients that have one."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)

    new = ["req", "-new", "-newkey", "rsa:2048", "-nodes"]
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*new, "-subj", "/O=no name", "-keyout", "one.key", "-out", "one.csr")
    (place / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("x509", "-req", "-days", "2", "-in", "one.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-extfile", "ext", "-out", "one.pem")
    for f in place.iterdir():
        f.chmod(0o644)
    own(place)


class SecureEtcd:
    """TLS with certificates on both sides, and a user."""

    def __init__(self, place):
        self.place, self.port = place, free_port()
        self.url, peer = f"https://127.0.0.1:{self.port}", f"http://127.0.0.1:{free_port()}"
        self.argv = ["etcd", "--data-dir", str(place / "etcd"), "--listen-client-urls", self.url,
                     "--advertise-client-urls", self.url, "--listen-peer-urls", peer,
                     "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                     "--client-cert-auth", "--trusted-ca-file", str(place / "ca.pem"),
                     "--cert-file", str(place / "one.pem"), "--key-file", str(place / "one.key")]
        self.start()
        for words in ("user add root:secret", "user grant-role root root", "auth enable"):
            self.ctl(words)

    def start(self):
        self.process = subprocess.Popen(self.argv, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for(lambda: self.ctl("endpoint health", check=False) == 0, 30, "etcd with TLS")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def ctl(self, words, check=True):
        run = subprocess.run(
            ["etcdctl", "--endpoints", self.url, "--cacert", self.place / "ca.pem", "--cert",
             self.place / "one.pem", "--key", self.place / "one.key", *words.split()],
            env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True)
        assert not check or run.returncode == 0, run.stderr
        return run.returncode


def test_etcd_with_tls_and_a_user(place):
    certificates(place)
    etcd = SecureEtcd(place)
    patch = {"etcd3": {"url": f"https://root:secret@localhost:{etcd.port}", "hosts": None,
                       "cacert": str(place / "ca.pem"), "cert": str(place / "one.pem"),
                       "key": str(place / "one.key")}}
    try:
        with Herd(1, patch=patch, dcs={"ttl": 20, "retry_timeout": 5}) as h:
            m = h.wait_leader()
            # The tokens are gone with the server's memory; the agent gets a new one.
            etcd.stop()
            etcd.start()
            seen = m.status()["dcs_last_seen"]
            wait_for(lambda: m.status()["dcs_last_seen"] > seen + 2, 60, "the store again")
            wait_for(lambda: m.request("PATCH", "/config", {"own_key": seen})[0] == 200, 60, "a write")
            assert m.is_primary()
            assert "secret" not in m.log.read_text()
            run = subprocess.run([PGHERD, "ctl", "-c", str(m.dir / "config.yml"), "list"],
                                 capture_output=True, text=True)
            assert "Leader" in run.stdout, run.stderr
    finally:
        etcd.stop()


class Forwarder:
    """A TCP port that leads to another, until it is closed with all that goes through it."""

    def __init__(self, to):
        self.to, self.open = to, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                pair = [self.listener.accept()[0], socket.create_connection(("127.0.0.1", self.to))]
                self.open += pair
                for a, b in (pair, pair[::-1]):
                    threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    @staticmethod
    def copy(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

    def close(self):
        for s in [self.listener, *self.open]:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


def test_members_of_etcd():
    """One server is named; when the way to it is cut, the one that etcd itself names is used."""
    with Herd(1, start=False) as h:
        way = Forwarder(h.etcd.port)
        h.patch = {"etcd3": {"hosts": [f"127.0.0.1:{way.port}"]}}
        m = h.members[0].start()
        h.wait_leader()
        way.close()
        seen = m.status()["dcs_last_seen"]
        wait_for(lambda: m.status()["dcs_last_seen"] > seen + 7, 60, "the store by another way")
        wait_for(m.is_primary, 60, "a leader by another way")
