"""Online restart: a new process takes over, and clients notice nothing."""
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request

import psycopg
import pytest

from conftest import (AS_POSTGRES, PGHERD, Box, Chain, ended, free_port, make_cert, run, users,
                      wait_for)
from rawpg import Client, send_cancel

INI = """[databases]
db = host=127.0.0.1 port={pg}
tlsdb = host=127.0.0.1 port={pg} dbname=db
sess = host=127.0.0.1 port={pg} dbname=db pool_mode=session
scram = host=127.0.0.1 port={pg} dbname=db
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir = @DIR@
server_tls_sslmode = disable
pidfile = @DIR@/{name}.pid
auth_type = {auth}
auth_file = @DIR@/{users}
admin_users = admin
pool_mode = transaction
default_pool_size = 4
{more}
[pgherd]
worker_threads = 2
"""


class Single(Chain):
    """In front of one server, with a pidfile."""

    def __init__(self, box, server, name, auth="trust", more="", users_file="users.txt"):
        self.pidfile = box.path(name + ".pid")
        super().__init__(box, INI.format(pg=server.port, name=name, auth=auth, more=more,
                                         users=users_file), name)
        wait_for(lambda: self.pid() == self.process.pid)

    def pid(self):
        with open(self.pidfile) as f:
            return int(f.read() or 0)


@pytest.fixture(scope="module")
def own_box(server):
    box = Box()
    users(box)
    box.write("few.txt", '"admin" ""\n"u_scram" "' + secret(server) + '"\n', 0o600)
    make_cert(box)
    try:
        yield box
    finally:
        box.close()


def secret(server):
    return server.sql("select rolpassword from pg_authid where rolname = 'u_scram'")[0][0]


def test_under_load(own_box, server):
    """Five restarts while pgbench runs in each protocol, with more clients than servers."""
    px = Single(own_box, server, "load")
    own_box.write("load.sql", "select 1;\nbegin;\nselect count(*) from pg_class;\ncommit;\n")
    jobs = []
    for protocol in ("simple", "extended", "prepared"):
        jobs.append(subprocess.Popen(
            [*AS_POSTGRES, "pgbench", "-n", "-h", "127.0.0.1", "-p", str(px.port), "-U", "u_trust",
             "-M", protocol, "-c", "6", "-j", "6", "-T", "9", "-f", own_box.path("load.sql"), "db"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    time.sleep(1)
    errors, stop = [], threading.Event()

    def connect_on_and_on():
        while not stop.is_set():
            try:
                assert px.sql("select 1") == [(1,)]
            except Exception as e:
                errors.append(e)

    t = threading.Thread(target=connect_on_and_on)
    t.start()
    try:
        for _ in range(5):
            ended(px.reboot())
            time.sleep(0.3)
    finally:
        stop.set()
        t.join()
    for job in jobs:
        out, err = job.communicate(timeout=60)
        assert job.returncode == 0 and "ERROR" not in err and "FATAL" not in err, err
        assert "number of failed transactions: 0" in out, out
    assert not errors, errors[:3]
    assert px.pid() == px.process.pid


def started(web):
    """When the process began that answers for metrics, None: nobody does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/metrics", timeout=30) as r:
            line = re.search(r"^process_start_time_seconds (\S+)$", r.read().decode(), re.M)
            return float(line[1])
    except OSError:
        return None


def test_metrics_move(own_box, server):
    """Both processes are told of one address; it is the new one's at once, and comes back if that dies."""
    web = free_port()
    px = Single(own_box, server, "web", more=f"[pgherd]\nmetrics_listen = 127.0.0.1:{web}\n[pgbouncer]\n")
    first = started(web)
    assert first
    time.sleep(0.05)  # the kernel counts in hundredths of seconds
    with Client(px.port) as busy:
        busy.ask("select pg_sleep(60)")
        old = px.reboot()
        wait_for(lambda: (started(web) or first) > first)
        assert old.poll() is None
        px.process.kill()
        px.process.wait()
        wait_for(lambda: started(web) == first)
        px.process = px.olds.pop()
    px.reboot()
    wait_for(lambda: (started(web) or first) > first)


def test_one_that_fails_late(own_box, server):
    """It cannot follow the herd that it is told of: the old one goes on, and is found by its pidfile."""
    px = Single(own_box, server, "late")
    with px.connect() as c:
        with open(px.file) as f:
            text = f.read()
        px.write(text.replace("[databases]", "[databases]\nherd = cluster=c").replace(
            "[pgherd]", "[pgherd]\nrest = none@127.0.0.1:1"))
        done = run(PGHERD, "proxy", "-R", px.file, check=False)
        assert done.returncode == 1 and "setting \"rest\" takes" in done.stderr, done.stderr
        assert c.execute("select 1").fetchone() == (1,) and px.sql("select 2") == [(2,)]
    assert px.pid() == px.process.pid and px.process.poll() is None


def test_what_a_client_keeps(own_box, server):
    px = Single(own_box, server, "keeps")
    console = px.connect(db="pgbouncer", user="admin", cursor_factory=psycopg.ClientCursor)
    with Client(px.port, minor=2) as raw, px.connect(prepare_threshold=1) as c, \
            px.connect(db="sess") as session:
        c.execute("set timezone = 'Asia/Tokyo'")
        c.execute("set application_name = 'before'")
        c.execute("set statement_timeout = '77s'")
        c.execute("prepare mine as select 'prepared'")
        for _ in range(3):
            c.execute("select %s::int + 1", (1,))
        session.execute("create temp table mine (a int)")
        pid = session.execute("select pg_backend_pid()").fetchone()[0]
        raw.query("begin")
        raw.query("select set_config('application_name', 'in it', true)")
        assert console.execute("show state").fetchone() == ("active", "yes")
        before = {r["id"]: r["remote_pid"] for r in px.console("show servers")}
        ended(px.reboot())
        assert c.execute("show timezone").fetchone() == ("Asia/Tokyo",)
        assert c.execute("show application_name").fetchone() == ("before",)
        assert c.execute("show statement_timeout").fetchone() == ("77s",)
        for _ in range(3):
            assert c.execute("execute mine").fetchone() == ("prepared",)
            assert px.sql("select count(*) from pg_prepared_statements where from_sql") == [(0,)]
        assert px.sql("show statement_timeout") == [("0",)]
        assert c.execute("select %s::int + 1", (41,)).fetchone() == (42,)
        session.execute("insert into mine values (1)")
        assert session.execute("select pg_backend_pid()").fetchone()[0] == pid
        assert raw.query("show application_name") == (["in it"], None)
        assert raw.query("commit")[1] is None
        assert console.execute("show state").fetchone() == ("active", "yes")
        after = {r["remote_pid"] for r in px.console("show servers")}
        assert after >= set(before.values())
        raw.ask("select pg_sleep(60)")
        wait_for(lambda: server.sql("select count(*) from pg_stat_activity where "
                                    "query like 'select pg_sleep%' and state = 'active'")[0][0])
        send_cancel(px.port, raw.key)
        assert raw.result() == ([], "57014")
    console.close()


def test_a_long_statement_ends_where_it_began(own_box, server):
    """... and is canceled through the new process."""
    px = Single(own_box, server, "long")
    with Client(px.port) as a, Client(px.port) as b, Client(px.port) as queued:
        a.ask("select pg_sleep(60)")
        b.ask("select pg_sleep(1.5), 1")
        queued.query("select 1")
        busy = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and " \
               "state = 'active'"
        wait_for(lambda: server.sql(busy) == [(2,)])
        old = px.reboot()
        assert queued.query("select 1") == (["1"], None)
        b.result()
        assert b.query("select 2") == (["2"], None)
        assert old.poll() is None
        send_cancel(px.port, a.key)
        assert a.result() == ([], "57014")
        ended(old)
        assert a.query("select 3") == (["3"], None)


def test_scram_keys_move(own_box, server):
    """What the client brought opens servers in the next process, too; nobody logs in anew."""
    px = Single(own_box, server, "scram", auth="scram-sha-256", more="server_lifetime = 1",
               users_file="few.txt")
    kw = dict(db="scram", user="u_scram", password="secret")
    with px.connect(**kw) as c:
        assert c.execute("select 1").fetchone() == (1,)
        time.sleep(1.2)
        ended(px.reboot())
        assert c.execute("select current_user").fetchone() == ("u_scram",)


def test_tls_stays(own_box, server):
    px = Single(own_box, server, "tls", more=(
        "client_tls_sslmode = allow\nclient_tls_key_file = @DIR@/server.key\n"
        "client_tls_cert_file = @DIR@/server.crt"))
    with px.connect(sslmode="disable") as plain, px.connect(db="tlsdb", sslmode="require") as tls:
        tls.execute("select 1")
        plain.execute("select 1")
        old = px.reboot()
        for i in range(10):
            assert tls.execute("select %s::int", (i,)).fetchone() == (i,)
            assert plain.execute("select %s::int", (i,)).fetchone() == (i,)
        assert px.sql("select 1", sslmode="require") == [(1,)]
        wait_for(lambda: any(r["database"] == "db" and not r["tls"]
                             for r in px.console("show clients")))
        assert old.poll() is None
        # The next one comes before the first has ended.
        second = px.reboot()
        assert tls.execute("select 1").fetchone() == (1,)
        assert plain.execute("select 1").fetchone() == (1,)
    ended(old)
    ended(second)
    assert px.sql("select 1") == [(1,)]


def test_restart_from_the_console(own_box, server):
    """Who upgraded the binary says RESTART: the program on the disk takes over."""
    px = Single(own_box, server, "console")
    first = px.process
    with px.connect() as c:
        c.execute("select 1")
        px.console("restart")
        wait_for(lambda: px.pid() != first.pid)
        ended(first)
        assert c.execute("select 1").fetchone() == (1,)
    pid = px.pid()
    try:
        assert px.sql("select 1") == [(1,)]
        assert f"process {pid} takes over" in px.log()
        # A configuration that is no good is no harm.
        good = open(px.file).read()
        px.box.write("console.ini", good + "\n[nonsense]\na = b\n")
        px.console("restart")
        wait_for(lambda: "was to take over, has failed" in px.log())
        assert px.sql("select 1") == [(1,)] and px.pid() == pid
        px.box.write("console.ini", good)
    finally:
        os.kill(pid, signal.SIGQUIT)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}") or
             open(f"/proc/{pid}/stat").read().split()[2] == "Z")


def test_the_new_one_dies(own_box, server):
    px = Single(own_box, server, "dies")
    with Client(px.port) as busy:
        busy.ask("select pg_sleep(2), 5")
        old = px.reboot()
        new = px.process
        wait_for(lambda: "handing connections" in px.log())
        new.kill()
        new.wait()
        wait_for(lambda: "going on without it" in px.log())
        assert px.sql("select 1") == [(1,)]
        busy.result()
        assert busy.query("select 1") == (["1"], None)
    px.process = old
    px.olds.remove(old)
    px.olds.append(new)
    ended(px.reboot())
    assert px.sql("select 1") == [(1,)]


def test_without_a_process_it_starts(own_box, server):
    px = Single(own_box, server, "alone")
    px.kill()
    px.out = open(px.log_file, "a")
    px.process = subprocess.Popen([*AS_POSTGRES, PGHERD, "proxy", "-R", px.file], stdout=px.out,
                                  stderr=px.out)
    wait_for(lambda: px.sql("select 1") == [(1,)])
    assert "no process to take over from" in px.log()


def test_only_the_same_user_takes_over(own_box, server):
    px = Single(own_box, server, "others")
    with px.connect(db="pgbouncer", user="admin", cursor_factory=psycopg.ClientCursor) as c:
        with pytest.raises(psycopg.Error, match="only a process of the same user"):
            c.execute("takeover")
    text = open(px.file).read().replace(f"unix_socket_dir = {own_box.dir}", "unix_socket_dir =")
    file = own_box.write("nodir.ini", text)
    assert "cannot reboot if unix dir not configured" in run(PGHERD, "proxy", "-R", file,
                                                             check=False).stderr
    assert px.sql("select 1") == [(1,)]


def test_another_port(own_box, server):
    """The process is found by its pidfile when the socket is called by another port now."""
    px = Single(own_box, server, "port")
    was, px.port = px.port, free_port()
    with px.connect(port=was) as c:
        c.execute("select 1")
        text = open(px.file).read()
        px.box.write("port.ini", text.replace(f"listen_port = {was}", f"listen_port = {px.port}"))
        ended(px.reboot())
        assert c.execute("select 1").fetchone() == (1,)
        assert px.sql("select 1") == [(1,)]
    with pytest.raises(psycopg.OperationalError):
        px.sql("select 1", port=was)


def test_doors_follow_the_configuration(own_box, server):
    px = Single(own_box, server, "doors")
    more = free_port()
    with px.connect() as c:
        text = open(px.file).read()
        px.box.write("doors.ini", text.replace("listen_addr = 127.0.0.1",
                                               "listen_addr = 127.0.0.1,127.0.0.2"))
        ended(px.reboot())
        assert c.execute("select 1").fetchone() == (1,)
        assert px.sql("select 1", host="127.0.0.2") == [(1,)]
    assert more
