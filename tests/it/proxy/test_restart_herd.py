"""Online restart of a proxy in front of a herd: clients and servers of a cluster go along, what a
client wrote is still read, and a change of leader in the midst of it is held as always."""
import json
import subprocess
import threading
import time

import pytest

from conftest import AS_POSTGRES, Chain, ended, free_port
from split import Trio, wait_for

INI = """[pgherd]
dcs = etcd3://127.0.0.1:{etcd}
namespace = service
worker_threads = 2
proxy_id = px1
hold_timeout = 60
split = auto
[databases]
db = cluster=demo group=0 role=primary
sess = cluster=demo group=0 role=primary dbname=db pool_mode=session split=off
reads = cluster=demo group=0 role=replica dbname=db
[listeners]
writes = port={writes} cluster=demo group=0 role=primary dbname=db split=off
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir = @DIR@
server_tls_sslmode = disable
auth_type = trust
auth_file = @DIR@/users.txt
admin_users = admin
pool_mode = transaction
default_pool_size = 6
"""


@pytest.fixture(scope="module")
def trio():
    t = Trio()
    try:
        t.a.sql("create table seen (k int primary key, v int)",
                "insert into seen select g, 0 from generate_series(0, 31) g",
                "grant all on seen to public", db="db")
        t.caught_up()
        yield t
    finally:
        t.box.close()


@pytest.fixture
def chain(trio):
    made = []

    def fn(name):
        writes = free_port()
        px = Chain(trio.box, INI.format(etcd=trio.etcd.port, writes=writes), name)
        px.writes = writes
        made.append(px)
        return px
    yield fn
    for px in made:
        trio.box.ends.remove(px.kill)
        px.kill()


def where(c):
    return c.execute("select inet_server_port()").fetchone()[0]


def where_of_reads(c):
    return c.execute("/* pgherd: replica */ select inet_server_port()").fetchone()[0]


def test_under_load(trio, chain):
    """Writers on the primary, readers on replicas, reads that are split, a session: no error."""
    px = chain("load")
    sessions = [px.connect(db="sess") for _ in range(2)]
    pids = [s.execute("select pg_backend_pid()").fetchone() for s in sessions]
    sessions[0].execute("create temp table mine (a int)")
    trio.box.write("w.sql", "\\set k random(0, 31)\nbegin;\nupdate seen set v = v + 1 where k = :k;"
                            "\nselect v from seen where k = :k;\nend;\n")
    trio.box.write("r.sql", "\\set k random(0, 31)\nselect v from seen where k = :k;\n")
    jobs = []
    for db, port, script, mode in (("db", px.port, "w.sql", "prepared"),
                                   ("db", px.port, "r.sql", "prepared"),
                                   ("reads", px.port, "r.sql", "simple"),
                                   ("any", px.writes, "w.sql", "extended")):
        jobs.append(subprocess.Popen(
            [*AS_POSTGRES, "pgbench", "-n", "-h", "127.0.0.1", "-p", str(port), "-U", "u_trust",
             "-M", mode, "-c", "6", "-j", "1", "-T", "6", "-f", trio.box.path(script), db],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for _ in range(3):
        time.sleep(1)
        ended(px.reboot())
    for job in jobs:
        out, err = job.communicate(timeout=60)
        assert job.returncode == 0 and "ERROR" not in err and "FATAL" not in err, err
        assert "number of failed transactions: 0" in out, out
    assert [s.execute("select pg_backend_pid()").fetchone() for s in sessions] == pids
    sessions[0].execute("insert into mine values (1)")
    for s in sessions:
        s.close()
    assert "wrong" not in px.log()


def test_servers_go_along(trio, chain):
    """Connections to members are the same ones afterwards, and known as what they are."""
    px = chain("along")
    kept = [px.connect(), px.connect(db="reads"), px.connect(port=px.writes, db="any")]
    try:
        assert where(kept[0]) == trio.a.port
        assert where(kept[1]) in (trio.b.port, trio.c.port)
        assert where(kept[2]) == trio.a.port
        with px.connect() as c:
            wait_for(lambda: where_of_reads(c) != trio.a.port)
        wait_for(lambda: all(s["remote_pid"] for s in px.console("show servers")))
        before = {s["remote_pid"]: (s["database"], s["port"]) for s in px.console("show servers")}
        ended(px.reboot())
        after = {s["remote_pid"]: (s["database"], s["port"]) for s in px.console("show servers")}
        assert before.items() <= after.items()
        assert where(kept[0]) == trio.a.port and where(kept[2]) == trio.a.port
        assert where(kept[1]) in (trio.b.port, trio.c.port)
        herd = {r["member"]: r for r in px.console("show herd")}
        assert herd["a"]["leader"] == "yes"
        for name in "abc":
            port = getattr(trio, name).port
            assert int(herd[name]["connections"]) == \
                sum(s["port"] == port for s in px.console("show servers"))
    finally:
        for c in kept:
            c.close()


def test_writes_are_still_read(trio, chain):
    """What a client wrote before the restart is not unseen after it."""
    px = chain("causal")
    with px.connect() as c, px.connect() as other:
        wait_for(lambda: where_of_reads(c) != trio.a.port)
        trio.caught_up()
        trio.pause(trio.b, trio.c)
        try:
            c.execute("update seen set v = -7 where k = 3")
            ended(px.reboot())
            hint = "/* pgherd: replica */ select v, inet_server_port() from seen where k = 3"
            assert c.execute(hint).fetchone() == (-7, trio.a.port)
            # Who wrote nothing reads the past, from a replica.
            wait_for(lambda: other.execute(hint).fetchone()[1] != trio.a.port)
            assert other.execute(hint).fetchone()[0] != -7
        finally:
            trio.resume(trio.b, trio.c)
        wait_for(lambda: c.execute(hint).fetchone()[1] != trio.a.port)
        assert c.execute(hint).fetchone()[0] == -7


def test_during_a_handover(trio, chain):
    """Clients that are held wait on through the restart; both processes acknowledge. Last: it changes
    who leads."""
    px = chain("held")
    idle, waits = px.connect(), px.connect()
    idle.execute("select 1")
    waits.execute("select 1")
    trio.etcd.put("/service/demo/0/handover", {
        "id": "h1", "from": "a", "to": "b", "phase": "prepare",
        "deadline_ms": int((time.time() + 60) * 1000)})
    acks = "/service/demo/proxies/px1"
    wait_for(lambda: json.loads(trio.etcd.get(acks))["acks"] == {"0": "h1"})
    got = []
    t = threading.Thread(target=lambda: got.append(waits.execute(
        "insert into seen values (100, 1) returning v").fetchone()))
    t.start()
    wait_for(lambda: any(int(r["cl_waiting"]) for r in px.console("show pools")))
    px.reboot()
    wait_for(lambda: any(int(r["cl_waiting"]) for r in px.console("show pools")))
    wait_for(lambda: json.loads(trio.etcd.get(acks))["acks"] == {"0": "h1"})
    late = []
    n = threading.Thread(target=lambda: late.append(px.sql("select 42")))
    n.start()
    time.sleep(0.5)
    assert not got and not late
    trio.a.stop("fast")
    trio.etcd.put("/service/demo/0/leader", "b")
    trio.b.promote()
    trio.etcd.delete("/service/demo/0/handover")
    t.join(60)
    n.join(60)
    assert got == [(1,)] and late == [[(42,)]]
    assert where(idle) == trio.b.port
    for old in px.olds:
        ended(old)
    # The one that has gone does not take the name of the one that is there with it.
    assert json.loads(trio.etcd.get(acks))
    idle.close()
    waits.close()
    assert trio.b.sql("select v from seen where k = 100", db="db") == [(1,)]
