"""Online restart from PgBouncer to us and back (-R): clients stay, in the middle of a transaction, too."""
import shutil
import subprocess

import pytest

from conftest import AS_POSTGRES, PGHERD, Box, free_port, run, users, wait_for
from rawpg import Client, Raw, send_cancel

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
INI = """[databases]
db = host=127.0.0.1 port={pg}
sess = host=127.0.0.1 port={pg} dbname=db pool_mode=session
scram = host=127.0.0.1 port={pg} dbname=db
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {dir}
pidfile = {dir}/pooler.pid
logfile = {dir}/{name}.log
server_tls_sslmode = disable
auth_type = trust
auth_file = {dir}/users.txt
admin_users = admin
pool_mode = transaction
default_pool_size = 3
{more}
"""


class Pooler:
    """PgBouncer or the proxy, in one place; one takes over from the other."""

    def __init__(self, server, **kw):
        self.box, self.port, self.processes, self.n = Box(), free_port(), [], 0
        self.server = server
        self.more = "\n".join(f"{k} = {v}" for k, v in kw.items())
        users(self.box)

    def start(self, which, *args):
        self.n += 1
        name = f"{which}{self.n}"
        ini = self.box.write(name + ".ini", INI.format(
            pg=self.server.port, port=self.port, dir=self.box.dir, name=name, more=self.more))
        self.log = self.box.path(name + ".log")
        program = [PGBOUNCER] if which == "pgbouncer" else [PGHERD, "proxy"]
        p = subprocess.Popen([*AS_POSTGRES, *program, *args, ini], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        self.processes.append(p)
        try:
            wait_for(lambda: "process up" in self.text() or p.poll() is not None, 8)
        except AssertionError:
            raise AssertionError(f"{name}: {self.text()}") from None
        assert p.poll() is None, self.text()
        return p

    def text(self):
        try:
            with open(self.log) as f:
                return f.read()
        except OSError:
            return ""

    def take_over(self, which):
        """The next process is there, and the one before has gone."""
        old = self.processes[-1]
        new = self.start(which, "-R")
        try:
            assert old.wait(30) == 0
        except subprocess.TimeoutExpired:
            raise AssertionError(self.text()) from None
        wait_for(lambda: self.pid() == new.pid, 30)
        return new

    def pid(self):
        with open(self.box.path("pooler.pid")) as f:
            return int(f.read() or 0)

    def client(self, db="db", **kw):
        return Client(self.port, db=db, **kw)

    def close(self):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
            p.wait()
        self.box.close()


@pytest.fixture
def pooler(server):
    if not PGBOUNCER:
        pytest.skip("no PgBouncer is installed")
    p = Pooler(server)
    try:
        yield p
    finally:
        p.close()


@pytest.mark.parametrize("first,second", [("pgbouncer", "pgherd"), ("pgherd", "pgbouncer"),
                                          ("pgherd", "pgherd")])
def test_clients_stay(pooler, first, second):
    pooler.start(first)
    idle, busy = pooler.client(), pooler.client()
    local, session = pooler.client(host=pooler.box.dir), pooler.client("sess")
    assert idle.query("select 1") == (["1"], None)
    assert local.query("select 2") == (["2"], None)
    busy.query("begin")
    pid = busy.query("select pg_backend_pid()")
    session.query("create temp table kept as select 7 as x")
    pooler.take_over(second)
    # The one in a transaction has the same server, and it ends well.
    if (first, second) == ("pgherd", "pgherd"):
        busy.query("commit")
    else:
        assert busy.query("select pg_backend_pid()") == pid
        assert busy.query("select txid_current() > 0") == (["t"], None)
        assert busy.query("commit") == ([], None)
        assert session.query("select x from kept") == (["7"], None)
    for c in (idle, local, busy):
        assert c.query("select 3") == (["3"], None)
    new = pooler.client()
    assert new.query("select 4") == (["4"], None)
    # Cancel keys of before are good.
    idle.ask("select pg_sleep(60)")
    wait_for(lambda: pooler.server.sql("select count(*) from pg_stat_activity where "
                                       "query = 'select pg_sleep(60)' and state = 'active'")[0][0])
    send_cancel(pooler.port, idle.key)
    assert idle.result() == ([], "57014")


def test_there_and_back(pooler):
    pooler.start("pgbouncer")
    c, t = pooler.client(), pooler.client()
    for i, which in enumerate(("pgherd", "pgbouncer", "pgherd", "pgbouncer")):
        assert c.query(f"select {i}") == ([str(i)], None)
        t.query("begin")
        pid = t.query("select pg_backend_pid()")
        pooler.take_over(which)
        assert t.query("select pg_backend_pid()") == pid
        t.query("commit")
    assert c.query("select 9") == (["9"], None)


def test_keys_of_scram_go_along(server):
    """Clients' SCRAM keys open new servers in the next process as well."""
    if not PGBOUNCER:
        pytest.skip("no PgBouncer is installed")
    secret = server.sql("select rolpassword from pg_authid where rolname = 'u_scram'")[0][0]
    p = Pooler(server)
    p.box.write("users.txt", f'"u_scram" "{secret}"\n"admin" ""\n', 0o600)
    p.more = "auth_type = scram-sha-256"
    try:
        p.start("pgbouncer")
        with Raw(p.port) as c:
            c.login("u_scram", "scram", "secret")
            assert c.query("select current_user") == [["u_scram"]]
            for which in ("pgherd", "pgbouncer", "pgherd"):
                p.take_over(which)
                assert c.query("select current_user") == [["u_scram"]]
    finally:
        p.close()


def test_refused_takeover_changes_nothing(pooler):
    """A process that cannot start lets the one before go on."""
    pooler.start("pgbouncer")
    c = pooler.client()
    ini = pooler.box.write("bad.ini", INI.format(pg=1, port=pooler.port, dir=pooler.box.dir,
                                                 name="bad", more="").replace(
                                                     "listen_addr = 127.0.0.1",
                                                     "listen_addr = 203.0.113.1"))
    done = run(PGHERD, "proxy", "-R", ini, check=False)
    assert done.returncode != 0
    assert c.query("select 1") == (["1"], None)


def test_show_fds_gives_descriptors(pooler):
    """As PgBouncer does it: beside each row, to the console of our own user, one that works."""
    pooler.start("pgherd")
    c = pooler.client()
    c.query("select 1")
    script = pooler.box.write("ask.py", ASK)
    got = run("/usr/bin/python3", script, pooler.box.path(f".s.PGSQL.{pooler.port}")).stdout
    rows = [line.split("|") for line in got.splitlines()]
    assert {r[0] for r in rows} == {"pooler", "client", "server"}
    assert all(r[1] == "True" for r in rows), rows
    ours = [r for r in rows if r[0] == "client"]
    assert len(ours) == 1 and int(ours[0][2]).to_bytes(8, "big", signed=True) == c.key
    # To others rows only, and nothing secret.
    with Raw(pooler.port) as admin:
        admin.login("admin", "pgbouncer")
        shown = admin.query("show fds")
        assert {r[1] for r in shown} == {"pooler", "client", "server"}
        assert all(r[6] == "0" for r in shown if r[1] == "client")
        assert all(r[12] is r[13] is r[14] is None for r in shown)


ASK = '''import array, os, socket, stat, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
body = struct.pack("!i", 196608) + b"user\\0pgbouncer\\0database\\0pgbouncer\\0\\0"
s.sendall(struct.pack("!i", len(body) + 4) + body)
data = b""
while b"Z\\0\\0\\0\\5I" not in data:
    data += s.recv(4096)
q = b"SHOW FDS;\\0"
s.sendall(b"Q" + struct.pack("!i", len(q) + 4) + q)
data, fds = b"", []
while b"Z\\0\\0\\0\\5I" not in data:
    more, control, *_ = s.recvmsg(65536, 4096)
    data += more
    for level, kind, raw in control:
        a = array.array("i")
        a.frombytes(raw[:len(raw) // 4 * 4])
        fds += a
while data:
    kind, size = data[:1], struct.unpack("!i", data[1:5])[0]
    body, data = data[5:size + 1], data[size + 1:]
    if kind != b"D":
        continue
    at, cells = 2, []
    for _ in range(struct.unpack("!h", body[:2])[0]):
        n = struct.unpack("!i", body[at:at + 4])[0]
        at += 4
        cells.append(None if n < 0 else body[at:at + n].decode())
        at += max(n, 0)
    fd = fds.pop(0)
    print(cells[1], stat.S_ISSOCK(os.fstat(fd).st_mode), cells[6], sep="|")
assert not fds
'''
