"""The proxy as a process: SUSPEND, PAUSE and their kin, signals, sockets, log, service manager."""
import os
import pwd
import signal
import socket
import subprocess
import threading
import time

import psycopg
import pytest

from conftest import AS_POSTGRES, BASE, PGHERD, Box, Proxy, free_port, run, users, wait_for
from rawpg import Client, Gone

ADMIN = dict(db="pgbouncer", user="admin", cursor_factory=psycopg.ClientCursor)


@pytest.fixture(scope="module")
def own_box():
    box = Box()
    users(box)
    try:
        yield box
    finally:
        box.close()


def ini(server, more="", databases=""):
    return BASE.format(pg=server.port, mode="transaction", auth="trust", databases=databases,
                       more=more)


@pytest.fixture(scope="module")
def px(own_box, server):
    return Proxy(own_box, ini(server, "suspend_timeout = 1",
                              f"other = host=127.0.0.1 port={server.port} dbname=db"))


def state(px, console=None):
    """Nobody new is let in while suspended."""
    if console:
        return dict(console.execute("show state").fetchall())
    return {r["key"]: r["value"] for r in px.console("show state")}


def refused(console, statement, words):
    with pytest.raises(psycopg.Error, match=words):
        console.execute(statement)


def test_suspend(px):
    done = []
    with px.connect() as c, px.connect(**ADMIN) as console, Client(px.port) as slow:
        c.execute("select 1")
        slow.ask("select pg_sleep(0.3), 7")
        console.execute("suspend")
        assert state(px, console) == {"active": "no", "paused": "no", "suspended": "yes"}
        refused(console, "suspend", "already suspended/paused")
        refused(console, "pause", "already suspended/paused")
        t = threading.Thread(target=lambda: done.append(c.execute("select 2").fetchone()[0]))
        t.start()
        slow.sock.settimeout(0.6)
        with pytest.raises(TimeoutError):
            slow.result()
        assert not done
        console.execute("resume")
        t.join(20)
        assert done == [2]
        slow.sock.settimeout(20)
        slow.result()
        refused(console, "resume", "pooler is not paused/suspended")
        assert state(px)["active"] == "yes"


def test_suspend_closes_what_stays_loud(px):
    with Client(px.port) as half, px.connect(**ADMIN) as console:
        half.query("select 1")
        half.sock.sendall(b"Q\0\0\0\x20select")
        wait_for(lambda: any(r["recv_pos"] for r in px.console("show sockets")
                             if r["type"] == "C" and r["database"] == "db"))
        console.execute("suspend")
        with pytest.raises((Gone, RuntimeError)):
            half.result()
            half.result()
        assert "suspend_timeout" in px.log()
        console.execute("resume")


def test_only_the_console_that_suspends_ends_it(px):
    with px.connect(**ADMIN) as second:
        with px.connect(**ADMIN) as first:
            first.execute("suspend")
            first.execute("resume")
            second.execute("suspend")
        wait_for(lambda: second.execute("show clients").rowcount == 1)
        assert state(px, second)["suspended"] == "yes"
        second.execute("resume")


def test_suspend_ends_with_its_console(px):
    console = px.connect(**ADMIN)
    console.execute("suspend")
    console.close()
    wait_for(lambda: state(px)["suspended"] == "no")
    assert "admin disappeared when suspended, doing RESUME" in px.log()
    assert px.sql("select 1") == [(1,)]


def test_words_of_commands(px):
    px.sql("select 1")
    px.sql("select 1", db="other")
    with px.connect(**ADMIN) as c:
        for verb, word in (("pause", "pause"), ("kill", "kill"), ("disable", "disable"),
                           ("reconnect", "reconnect"), ("wait_close", "wait in")):
            refused(c, verb + " pgbouncer", f"cannot {word} admin db: pgbouncer")
            refused(c, verb + " nosuch", "no such database: nosuch")
        refused(c, "disable", "a database is required")
        refused(c, "resume other", "database other is not paused")
        refused(c, "shutdown later", "later")
        c.execute("pause other")
        refused(c, "suspend", "cannot suspend with paused databases")
        c.execute("resume other")
        c.execute("reconnect other")
        c.execute("wait_close other")
        c.execute("kill other")
        assert [r["paused"] for r in px.console("show databases") if r["name"] == "other"] == [1]
        c.execute("resume other")
    assert px.sql("select 1", db="other") == [(1,)]
    for line in ("PAUSE 'other' command issued", "RESUME 'other' command issued",
                 "KILL 'other' command issued", "WAIT_CLOSE 'other' command issued"):
        assert line in px.log()


def test_usr1_usr2(px):
    px.signal(signal.SIGUSR2)
    wait_for(lambda: "got SIGUSR2, but not paused/suspended" in px.log())
    px.signal(signal.SIGUSR1)
    wait_for(lambda: state(px)["paused"] == "yes")
    px.signal(signal.SIGUSR1)
    wait_for(lambda: "got SIGUSR1, but already paused/suspended" in px.log())
    with Client(px.port, timeout=20) as c:
        c.ask("select 5")
        px.signal(signal.SIGUSR2)
        assert c.result() == (["5"], None)
    with px.connect(**ADMIN) as console:
        console.execute("suspend")
        px.signal(signal.SIGUSR2)
        wait_for(lambda: "continuing from SUSPEND" in px.log())


def ended(px, code=0):
    px.process.wait(20)
    assert px.process.returncode == code
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", px.port), timeout=2)


def test_term_waits_for_clients_twice_does_not(own_box, server):
    px = Proxy(own_box, ini(server), name="term")
    with px.connect() as c:
        px.signal(signal.SIGTERM)
        wait_for(lambda: "waiting for all clients disconnect" in px.log())
        assert c.execute("select 1").fetchone() == (1,)
        time.sleep(0.5)
        assert px.process.poll() is None
    ended(px)
    px.start()
    with px.connect():
        px.signal(signal.SIGTERM)
        wait_for(lambda: px.log().count("waiting for all clients disconnect") == 2)
        px.signal(signal.SIGINT)
        ended(px)
    assert "got SIGINT while shutting down, fast exit" in px.log()


def test_int_waits_for_servers(own_box, server):
    px = Proxy(own_box, ini(server), name="int")
    with Client(px.port) as c, Client(px.port) as idle:
        c.query("begin")
        px.signal(signal.SIGINT)
        with pytest.raises((Gone, OSError)):
            idle.query("select 1")
            idle.query("select 1")
        assert px.process.poll() is None
        assert c.query("select 1") == (["1"], None)
        c.query("commit")
    ended(px)


def test_daemon(own_box, server):
    box, port = own_box, free_port()
    text = ini(server).replace("@PORT@", str(port)).replace("@DIR@", box.dir)
    file = box.write("daemon.ini", text)
    assert "daemon needs pidfile configured" in run(PGHERD, "proxy", "-d", file,
                                                    check=False).stderr
    pidfile, log = box.path("daemon.pid"), box.path("daemon.log")
    box.write("daemon.ini", text.replace("[pgherd]",
                                         f"pidfile = {pidfile}\nlogfile = {log}\n[pgherd]"))
    assert run(PGHERD, "proxy", "-d", file).stderr == ""
    pid = wait_for(lambda: int(open(pidfile).read() or 0))
    try:
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), timeout=1))
        assert os.stat(log).st_mode & 0o777 == 0o600
        again = run(PGHERD, "proxy", file, check=False)
        assert again.returncode == 1 and "could not listen" in again.stderr
        # Who reads the log only learns of it, too.
        assert "could not listen" in open(log).read()
        assert int(open(pidfile).read()) == pid
    finally:
        os.kill(pid, signal.SIGQUIT)
    wait_for(lambda: not os.path.exists(pidfile))
    # One that was left behind is no obstacle.
    box.write("daemon.pid", "4194303\n")
    quiet = subprocess.Popen([*AS_POSTGRES, PGHERD, "proxy", "-q", file], stderr=subprocess.PIPE)
    wait_for(lambda: int(open(pidfile).read() or 0) == quiet.pid)
    quiet.send_signal(signal.SIGQUIT)
    assert quiet.communicate(timeout=20)[1] == b"" and quiet.returncode == 0


def test_daemon_without_a_log(own_box, server):
    pidfile = own_box.path("mute.pid")
    text = ini(server).replace("@PORT@", str(free_port())).replace("@DIR@", own_box.dir)
    file = own_box.write("mute.ini", text.replace("[pgherd]", f"pidfile = {pidfile}\n[pgherd]"))
    assert "nothing will be logged" in run(PGHERD, "proxy", "-d", file).stderr
    pid = wait_for(lambda: int(open(pidfile).read() or 0))
    os.kill(pid, signal.SIGQUIT)
    wait_for(lambda: not os.path.exists(pidfile))


@pytest.mark.parametrize("held,why", [("1\n", "another instance is running (pid 1)"),
                                      ("key = value\n", "is no pidfile"), ("-5\n", "is no pidfile")])
def test_pidfile_of_others(own_box, server, held, why):
    """One of a process that we may not signal, and a file that is none: neither is overwritten."""
    pidfile = own_box.write("held.pid", held)
    text = ini(server).replace("@PORT@", str(free_port())).replace("@DIR@", own_box.dir)
    file = own_box.write("held.ini", text.replace("[pgherd]", f"pidfile = {pidfile}\n[pgherd]"))
    done = run(PGHERD, "proxy", file, check=False)
    assert done.returncode == 1 and why in done.stderr
    assert open(pidfile).read() == held


@pytest.mark.parametrize("args", [["-x"], ["--foo"], [], ["a", "b"], ["-u"]])
def test_wrong_arguments(args):
    assert run(PGHERD, "proxy", *args, check=False).returncode == 1


def test_as_root_it_needs_a_user(own_box, server):
    if os.getuid() != 0:
        pytest.skip("needs root")
    text = ini(server).replace("@PORT@", str(free_port())).replace("@DIR@", own_box.dir)
    file = own_box.write("root.ini", text)
    done = subprocess.run([PGHERD, "proxy", file], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "will not run as root" in done.stderr
    p = subprocess.Popen([PGHERD, "proxy", "-u", "postgres", file], stderr=subprocess.PIPE)
    try:
        want = pwd.getpwnam("postgres").pw_uid
        wait_for(lambda: os.stat(f"/proc/{p.pid}").st_uid == want)
    finally:
        p.send_signal(signal.SIGQUIT)
        p.communicate(timeout=20)


def test_help_and_version():
    for flag, words in (("-V", "PgBouncer 1.25"), ("--help", "-R, --reboot")):
        assert words in run(PGHERD, "proxy", flag).stdout


def test_unix_sockets(own_box, server):
    group = "daemon"
    more = f"unix_socket_mode = 0750\nunix_socket_group = {os.getgid() if os.getuid() else group}"
    text = ini(server, more).replace("unix_socket_dir =", f"unix_socket_dir = {own_box.dir}")
    port = free_port()
    if os.getuid() == 0:
        # A server of one's own user cannot give files away to another group.
        text = text.replace(f"unix_socket_group = {group}",
                            f"unix_socket_group = {pwd.getpwnam('postgres').pw_gid}")
    px = Proxy(own_box, text, name="unix", port=port)
    wait_for(lambda: "process up" in px.log())
    path = own_box.path(f".s.PGSQL.{port}")
    assert os.stat(path).st_mode & 0o777 == 0o750
    with Client(port, host=own_box.dir) as c:
        assert c.query("select 1") == (["1"], None)
    assert run("psql", "-X", "-h", own_box.dir, "-p", port, "-U", "pgbouncer", "-Atc",
               "show version", "pgbouncer").stdout.startswith("PgBouncer")
    px.kill()
    assert not os.path.exists(path)


def test_abstract_sockets(own_box, server):
    """Ours as the server of another one of ours, by a name without a file."""
    name, port = f"@herd-test-{os.getpid()}", free_port()
    inner = ini(server).replace("unix_socket_dir =", f"unix_socket_dir = {name}")
    inner = Proxy(own_box, inner, name="inner", port=port)
    outer = ini(server, databases=f"far = host={name} port={port} dbname=db")
    outer = Proxy(own_box, outer, name="outer")
    assert outer.sql("select 41 + 1", db="far") == [(42,)]
    assert any(r["addr"] == "unix" for r in outer.console("show servers"))
    assert any(r["addr"] == "unix" for r in inner.console("show clients"))


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_addresses(own_box, server):
    hosts = "127.0.0.1, 127.0.0.2" + (", ::1" if has_ipv6() else "")
    more = ("tcp_defer_accept = 7\ntcp_user_timeout = 5000\ntcp_keepalive = 0\n"
            "tcp_socket_buffer = 16384\nlisten_backlog = 17")
    text = ini(server, more).replace("listen_addr = 127.0.0.1", f"listen_addr = {hosts}")
    px = Proxy(own_box, text, name="addresses")
    for host in hosts.split(", "):
        assert px.sql("select 1", host=host) == [(1,)]
    ss = run("ss", "-Hltn", f"sport = :{px.port}", check=False).stdout
    if ss:
        assert {line.split()[2] for line in ss.splitlines()} == {"17"}
    px.console("set tcp_defer_accept = 0")
    star = Proxy(own_box, ini(server).replace("listen_addr = 127.0.0.1", "listen_addr = *"),
                 name="star")
    assert star.sql("select 1", host="127.0.0.3") == [(1,)]
    if has_ipv6():
        assert star.sql("select 1", host="::1") == [(1,)]


def test_several_on_one_port(own_box, server):
    port = free_port()
    two = [Proxy(own_box, ini(server, f"so_reuseport = 1\npeer_id = {i}").replace(
        "unix_socket_dir =", f"unix_socket_dir = @reuse{i}-{os.getpid()}").replace(
        "[pgherd]", f"[peers]\n1 = host=@reuse1-{os.getpid()} port={port}\n"
                    f"2 = host=@reuse2-{os.getpid()} port={port}\n[pgherd]"),
        name=f"reuse{i}", port=port) for i in (1, 2)]
    for px in two:
        wait_for(lambda: "process up" in px.log())
    clients = [Client(port) for _ in range(24)]
    for c in clients:
        assert c.query("select 1") == (["1"], None)
    assert {int.from_bytes(c.key[6:], "big") >> 2 for c in clients} == {1, 2}
    two[0].signal(signal.SIGTERM)
    wait_for(lambda: "waiting for all clients" in two[0].log())
    for _ in range(10):
        assert two[1].sql("select 1") == [(1,)]
    for c in clients:
        c.close()
    two[0].process.wait(20)


def test_service_manager(own_box, server):
    """What systemd does: it listens, passes the socket on, and is told how we are."""
    port = free_port()
    text = ini(server).replace("@PORT@", str(port)).replace("@DIR@", own_box.dir)
    file = own_box.write("systemd.ini", text)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(own_box.path("notify"))
    os.chmod(own_box.path("notify"), 0o777)
    notify.settimeout(20)
    listener = socket.create_server(("127.0.0.1", port))
    script = 'exec 3<&$FD; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
    env = dict(os.environ, NOTIFY_SOCKET=own_box.path("notify"), FD=str(listener.fileno()))
    p = subprocess.Popen([*AS_POSTGRES, "bash", "-c", script, "bash", PGHERD, "proxy", file],
                         stderr=subprocess.DEVNULL, env=env, pass_fds=[listener.fileno()])
    try:
        assert notify.recv(100) == b"READY=1"
        with Client(port) as c:
            assert c.query("select 1") == (["1"], None)
        p.send_signal(signal.SIGHUP)
        assert notify.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notify.recv(100) == b"READY=1"
    finally:
        p.send_signal(signal.SIGTERM)
        p.wait(20)
    assert notify.recv(100) == b"STOPPING=1" and p.returncode == 0
    # The socket is the manager's: whoever connects now waits for the next one of us.
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    listener.close()
    notify.close()


def test_syslog(own_box, server):
    if os.getuid() != 0 or os.path.exists("/dev/log"):
        pytest.skip("needs a machine without a system log, and root")
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind("/dev/log")
    try:
        os.chmod("/dev/log", 0o777)
        log.settimeout(20)
        px = Proxy(own_box, ini(server, "syslog = 1\nsyslog_ident = herdtest\n"
                                        "syslog_facility = local3"), name="syslog")
        line = log.recv(4096).decode()
        assert line.startswith("<158>") and f" herdtest[{px.process.pid}]: " in line
        px.console("set syslog = 0")
    finally:
        log.close()
        os.unlink("/dev/log")
    bad = own_box.write("bad.ini", "[pgbouncer]\nsyslog_facility = nosuch\n")
    assert "syslog_facility" in run(PGHERD, "proxy", bad, check=False).stderr
