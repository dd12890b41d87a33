"""ctl on a herd that lives: two agents with a PostgreSQL each."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from conftest import PGHERD, free_port
from test_query import BIN

CONFIG = """
scope: live
name: {name}
restapi: {{listen: "127.0.0.1:{rest}", connect_address: "127.0.0.1:{rest}"}}
etcd3: {{host: "127.0.0.1:{etcd}"}}
bootstrap:
  dcs: {{ttl: 20, loop_wait: 1, retry_timeout: 5}}
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {dir}/data
  bin_dir: {bin}
  pgpass: {dir}/pgpass
  authentication:
    superuser: {{username: postgres, password: p}}
    replication: {{username: repl, password: r}}
  pg_hba: ["local all all trust", "host all all 127.0.0.1/32 scram-sha-256",
           "host replication repl 127.0.0.1/32 scram-sha-256"]
  parameters: {{shared_buffers: 16MB, unix_socket_directories: "{dir}", fsync: "off"}}
"""


@pytest.fixture(scope="module")
def live(etcd_server):
    top = tempfile.mkdtemp(prefix="herd-live-")
    os.chmod(top, 0o755)
    prefix = (["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
              if os.getuid() == 0 else [])
    etcd_server.clear()
    agents = []
    try:
        for name in ("m1", "m2"):
            home = f"{top}/{name}"
            os.mkdir(home)
            if prefix:
                shutil.chown(home, "postgres", "postgres")
            with open(f"{top}/{name}.yml", "w") as f:
                f.write(CONFIG.format(name=name, rest=free_port(), port=free_port(), dir=home,
                                      etcd=etcd_server.port, bin=BIN))
            with open(f"{top}/{name}.log", "w") as log:
                agents.append(subprocess.Popen(prefix + [PGHERD, "agent", f"{top}/{name}.yml"],
                                               stdout=log, stderr=log))
        yield f"{top}/m1.yml"
    finally:
        for agent in agents:
            agent.send_signal(signal.SIGTERM)
        for agent in agents:
            try:
                agent.wait(30)
            except subprocess.TimeoutExpired:
                agent.kill()
        for name in ("m1", "m2"):
            try:
                with open(f"{top}/{name}/data/postmaster.pid") as f:
                    os.kill(int(f.readline()), signal.SIGQUIT)
            except (OSError, ValueError):
                pass
        shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def run(live):
    def ctl(*args, typed=""):
        done = subprocess.run([PGHERD, "ctl", "-c", live, *args], input=typed, text=True,
                              capture_output=True, timeout=120,
                              env=dict(os.environ, PGPASSWORD="p"))
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def wait(wanted):
        """Until the members' (role, state) are these, in any order; the names, leader first."""
        for _ in range(600):
            rows = json.loads(ctl("list", "-f", "json"))
            if sorted((r["Role"], r["State"]) for r in rows) == wanted:
                return [r["Member"] for r in sorted(rows, key=lambda r: r["Role"])]
            time.sleep(0.1)
        raise AssertionError(rows)

    ctl.wait = lambda: wait([("Leader", "running"), ("Replica", "streaming")])
    return ctl


def test_switchover(run):
    leader, replica = run.wait()
    out = run("switchover", typed="\n\n\ny\n")
    assert f'Successfully switched over to "{replica}"' in out
    assert run.wait() == [replica, leader]
    assert replica in run("history")
    assert run("query", "-U", "postgres", "-r", "replica", "-c",
               "select pg_is_in_recovery()") == "pg_is_in_recovery\nTrue\n"


def test_restart_pending(run):
    run.wait()
    run("edit-config", "-p", "max_connections=90", "--force")
    for _ in range(300):
        if "max_connections: 100->90" in run("list"):
            break
        time.sleep(0.1)
    assert "Success: restart on member" in run("restart", "live", "--pending", "--force")
    leader = run.wait()[0]
    assert run("query", "-U", "postgres", "-m", leader, "-c", "show max_connections") == "max_connections\n90\n"


def test_pause_schedule_reinit_failover(run):
    leader, replica = run.wait()
    assert "is paused" in run("pause", "--wait")
    assert "Maintenance mode: on" in run("list")
    assert "is resumed" in run("resume", "--wait")
    assert "Switchover scheduled" in run("switchover", "--force", "--scheduled",
                                         "2036-01-01T00:00")
    assert re.search(r"Switchover scheduled at: 2036-01-01T00:00:00.*\n *from: " + leader,
                     run("list"))
    assert "Success: scheduled switchover deleted" in run("flush", "live", "switchover")
    out = run("reinit", "live", replica, "--force", "--wait")
    assert f"Reinitialize is completed on: {replica}" in out
    run.wait()
    assert (f'Successfully failed over to "{replica}"'
            in run("failover", "--candidate", replica, "--force"))
    assert run.wait() == [replica, leader]
    assert len(run("version", "live").splitlines()) == 4
