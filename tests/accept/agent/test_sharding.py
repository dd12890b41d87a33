"""Groups: registration of nodes, and statements while a worker changes its leader."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import psycopg2
import pytest

from herd import BIN_DIR, PASSWORD, PGHERD, ROOT, Herd, wait_for
from ports import free_port

NODES = "select groupid, nodename, nodeport, noderole from pg_dist_node order by 1, 4, 3"


@pytest.fixture(scope="session")
def bin_dir(tmp_path_factory):
    """A PostgreSQL with the extension of this tree; PGHERD_BIN_DIR names a ready one."""
    ready = os.environ.get("PGHERD_BIN_DIR")
    if ready:
        yield ready
        return
    if (pathlib.Path(BIN_DIR) / "../share/extension/pgherd.control").exists():
        yield BIN_DIR
        return
    top = pathlib.Path("/tmp") / f"herd-pg-{os.getpid()}"
    try:
        config = subprocess.run([ROOT / "tests/lib/private-pg", top], check=True, text=True,
                                capture_output=True).stdout.strip()
        shutil.copytree(ROOT / "extension", top / "build")
        subprocess.run(["make", "-s", "-C", top / "build", f"PG_CONFIG={config}", "install"],
                       check=True, capture_output=True)
        subprocess.run(["chmod", "-R", "a+rX", top], check=True)
        yield str(pathlib.Path(config).parent)
    finally:
        shutil.rmtree(top, ignore_errors=True)


class Inserter(threading.Thread):
    """Rows through the coordinator, in one session as long as it lives."""

    def __init__(self, coordinator):
        super().__init__(daemon=True)
        self.coordinator = coordinator
        self.acked, self.errors, self.stop_it = [], [], threading.Event()
        self.longest = 0.0

    def run(self):
        c, i, last = None, 0, time.monotonic()
        while not self.stop_it.is_set():
            i += 1
            try:
                c = c or self.coordinator.connect("citus")
                with c.cursor() as cur:
                    cur.execute("insert into t values (%s)", (i,))
                self.acked.append(i)
                self.longest = max(self.longest, time.monotonic() - last)
            except psycopg2.Error as e:
                self.errors.append(str(e))
                if c and c.closed:
                    c = None
                time.sleep(0.02)
            last = time.monotonic()
            time.sleep(0.005)

    def __enter__(self):
        self.start()
        wait_for(lambda: len(self.acked) > 20 or None, 10, "first rows")
        return self

    def __exit__(self, *_):
        self.stop_it.set()
        self.join(20)

    def goes_on(self, seconds=20):
        n = len(self.acked)
        wait_for(lambda: len(self.acked) > n + 20, seconds, "rows go on")


@pytest.fixture
def herd(bin_dir):
    with Herd(groups={0: 1, 1: 2}, bin_dir=bin_dir, dcs={"synchronous_mode": "on"}) as h:
        c = h.wait_leader(40, group=0)
        h.wait_healthy(group=1)
        wait_for(lambda: any(m.get("/sync")[0] == 200 for m in h.of(1)), what="a sync standby")
        wait_for(lambda: len(c.sql(NODES, dbname="citus")) == 3, 20, "all nodes")
        c.sql("create table t (id bigint primary key)", dbname="citus")
        c.sql("select create_distributed_table('t', 'id')", dbname="citus")
        yield h


def registered(herd):
    """pg_dist_node as the roles are."""
    worker = herd.leader(1)
    want = [(0, "127.0.0.1", herd.leader(0).port, "primary")]
    want += [(1, "127.0.0.1", m.port, "primary" if m is worker else "secondary")
             for m in sorted(herd.of(1), key=lambda m: m is not worker)]
    return herd.leader(0).sql(NODES, dbname="citus") == want


def rows(herd):
    return {r[0] for r in herd.leader(0).sql("select id from t", dbname="citus")}


def test_registration(herd):
    c = herd.leader(0)
    assert registered(herd)
    assert c.sql("select count(*) from pg_dist_authinfo", dbname="citus")[0][0] == 1
    assert c.sql("show shared_preload_libraries")[0][0].split(",")[0] in ("pgherd", "citus")
    assert c.sql("show max_prepared_transactions") == [("200",)]
    assert c.sql("show wal_level") == [("logical",)]
    # A standby that is gone is no node; one that comes back is.
    standby = herd.replicas(1)[0]
    standby.stop()
    wait_for(lambda: len(c.sql(NODES, dbname="citus")) == 2, 20, "the standby's row is gone")
    standby.start()
    wait_for(lambda: registered(herd), 30, "the standby is registered")


def test_permanent_logical_slot(herd):
    """It is made in its database, once; not made, dropped and made again."""
    c = herd.leader(0)
    status, text = c.request("PATCH", "/config", {"slots": {"app": {
        "type": "logical", "database": "citus", "plugin": "pgoutput"}}})
    assert status == 200, text
    slot = "select database, restart_lsn from pg_replication_slots where slot_name = 'app'"
    first = wait_for(lambda: c.sql(slot), 20, "the slot")
    assert first[0][0] == "citus"
    time.sleep(3)  # steps that could drop it
    assert c.sql(slot) == first
    assert c.request("PATCH", "/config", {"slots": None})[0] == 200
    wait_for(lambda: not c.sql(slot), 20, "the slot is gone")


def test_worker_switchover(herd):
    """Statements wait while the worker changes its leader: none fails."""
    old = herd.leader(1)
    with Inserter(herd.leader(0)) as writer:
        status, text = herd.switchover(group=1)
        assert status == 200, text
        writer.goes_on()
        assert herd.leader(1) is not old
        wait_for(lambda: registered(herd), 20, "pg_dist_node follows")
        writer.stop_it.set()
    assert writer.errors == []
    assert set(writer.acked) - rows(herd) == set()


def test_worker_lost(herd):
    """Agent and PostgreSQL of a worker die: errors only until the next one leads."""
    old = herd.leader(1)
    with Inserter(herd.leader(0)) as writer:
        old.kill()
        old.kill_postgres()
        herd.wait_leader(20, group=1, but=old)
        writer.goes_on()
    assert set(writer.acked) - rows(herd) == set()
    old.start()
    wait_for(lambda: old.get("/replica")[0] == 200, 30, "the old leader follows")
    wait_for(lambda: registered(herd), 20, "pg_dist_node follows")


PROXY = """[pgherd]
dcs = etcd3://127.0.0.1:{etcd}
[databases]
g1 = cluster=batman group=1 role=primary dbname=citus
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = postgres
pool_mode = transaction
user = postgres
"""


@contextlib.contextmanager
def proxy_before_workers(herd):
    port = free_port()
    users, ini = herd.dir / "users.txt", herd.dir / "proxy.ini"
    users.write_text(f'"postgres" "{PASSWORD}"\n')
    ini.write_text(PROXY.format(etcd=herd.etcd.port, port=port, users=users))
    with open(herd.dir / "proxy.log", "w") as log:
        process = subprocess.Popen([PGHERD, "proxy", ini], stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)


def test_poolinfo(herd):
    """What nodes send to a worker goes through the proxy, also while it changes its leader."""
    c = herd.leader(0)
    rows_sql = "select groupid, poolinfo from pg_dist_poolinfo join pg_dist_node using (nodeid)"
    with proxy_before_workers(herd) as port:
        c.patch = {"citus": {"poolinfo": f"host=127.0.0.1 port={port} dbname=g{{group}}"}}
        (c.dir / "config.yml").write_text(json.dumps(c.config()))
        assert c.request("POST", "/reload")[0] == 202
        want = [(1, f"host=127.0.0.1 port={port} dbname=g1")]
        wait_for(lambda: c.sql(rows_sql, dbname="citus") == want, 20, "pg_dist_poolinfo")
        wait_for(lambda: herd.leader(1).sql(rows_sql, dbname="citus") == want, 20, "on the worker")
        with Inserter(c) as writer:
            used = herd.leader(1).sql("select count(*) from pg_stat_activity where "
                                      "application_name like 'citus_internal%'")
            assert used[0][0] > 0
            assert herd.switchover(group=1)[0] == 200
            writer.goes_on()
            wait_for(lambda: registered(herd), 20, "pg_dist_node follows")
            writer.stop_it.set()
        assert writer.errors == []
        assert c.sql(rows_sql, dbname="citus") == want
        log = (herd.dir / "proxy.log").read_text()
        assert "g1/postgres" in log
        assert set(writer.acked) - rows(herd) == set()
