"""pgherdctl on a live herd: what a person sees and types. (Every word and option of it against a
store without agents: tests/it/ctl.)"""
import json
import os
import pty
import re
import select
import subprocess
import time

import pytest

import herd as herds
from herd import PGHERD, Herd


def wait_for(fn, seconds=60, what="condition"):
    """With patience: other suites may run beside this one."""
    return herds.wait_for(fn, max(seconds, 60), what)



@pytest.fixture(scope="module")
def herd():
    with Herd(3, patch={"tags": {"zone": "a"}}, start=False) as h:
        own = h["n3"].config
        h["n3"].config = lambda: {**own(), "tags": {"replicatefrom": "n2", "nofailover": True}}
        h["n1"].start()
        h.wait_leader()
        h["n2"].start()
        h["n3"].start()
        wait_for(lambda: all(m.get("/replica")[0] == 200 for m in (h["n2"], h["n3"])), 90,
                 "replicas")
        yield h


@pytest.fixture
def ctl(herd, tmp_path):
    config = tmp_path / "ctl.yml"
    config.write_text(json.dumps({"scope": "batman", "etcd3": {
        "hosts": [f"127.0.0.1:{herd.etcd.port}"]}}))

    def run(*args, typed="", rc=0, env=None):
        done = subprocess.run([PGHERD, "ctl", "-c", str(config), *map(str, args)], input=typed,
                              text=True, capture_output=True, timeout=120,
                              env={**os.environ, **(env or {})})
        assert done.returncode == rc, (args, done.stdout, done.stderr)
        return done.stdout + done.stderr
    run.config = str(config)
    return run


def on_terminal(argv, until, env=None, seconds=60, columns=120):
    """What a terminal shows, up to the text that is waited for; then the program is ended."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, {**os.environ, "TERM": "xterm", **(env or {})})
    out, end = b"", time.monotonic() + seconds
    try:
        while until not in out and time.monotonic() < end:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    out += os.read(fd, 65536)
                except OSError:
                    break
        return out.decode()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(fd)


def test_list(herd, ctl):
    leader = herd.leader()
    rows = json.loads(ctl("list", "-f", "json"))
    assert [r["Member"] for r in rows] == ["n1", "n2", "n3"]
    row = next(r for r in rows if r["Member"] == leader.name)
    assert row == {"Cluster": "batman", "Member": leader.name,
                   "Host": f"127.0.0.1:{leader.port}", "Role": "Leader", "State": "running",
                   "TL": row["TL"], "Tags": {"zone": "a"}}
    other = next(r for r in rows if r["Role"] == "Replica")
    assert other["State"] == "streaming" and {"Receive LSN", "Replay LSN"} < other.keys()
    wait_for(lambda: [(r.get("Receive Lag"), r.get("Replay Lag"))
                      for r in json.loads(ctl("list", "-f", "json"))] == [(None, None), (0, 0),
                                                                          (0, 0)], 30)
    text = ctl("list")
    sysid = leader.sql("select system_identifier from pg_control_system()")[0][0]
    assert text.startswith(f"+ Cluster: batman ({sysid}) ")
    assert re.search(r"^\| Member \| Host +\| Role +\| State +\| TL \| Receive LSN \| Lag \| "
                     r"Replay LSN \| Lag \| Tags +\|$", text, re.M)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n\+ Cluster", ctl("list", "-t"))
    assert "Pending restart reason" in ctl("list", "-e")
    assert ctl("list", "-f", "yaml").endswith("\n\n")
    tree = ctl("topology")
    assert re.search(r"^\| n1 +\|.*\n\| \+ n2 +\|.*\n\|   \+ n3 +\|", tree, re.M), tree


def test_configured_by_environment(herd, ctl, tmp_path):
    env = {"PATRONI_ETCD3_HOST": f"127.0.0.1:{herd.etcd.port}", "PATRONI_SCOPE": "batman",
           "HOME": "/nonexistent"}

    def run(*args, **more):
        done = subprocess.run([PGHERD, "ctl", *args], capture_output=True, text=True, timeout=60,
                              env={"PATH": os.environ["PATH"], **more})
        return done.returncode, done.stdout + done.stderr
    assert run("dsn", **env)[0] == 0
    assert run("dsn", PATRONICTL_CONFIG_FILE=ctl.config)[0] == 0
    home = tmp_path / "home" / ".config" / "patroni"
    home.mkdir(parents=True)
    (home / "patronictl.yaml").write_text(open(ctl.config).read())
    assert run("dsn", HOME=str(tmp_path / "home"))[0] == 0
    url = f"etcd3://127.0.0.1:{herd.etcd.port}"
    assert run("-d", url, "dsn", "batman", HOME="/nonexistent")[0] == 0
    assert run("dsn", "batman", HOME="/nonexistent", DCS_URL=url + "/service")[0] == 0
    assert run("-d", url + "/other", "dsn", "batman", HOME="/nonexistent")[0] == 1
    rc, text = run("-c", "/nonexistent.yml", "list")
    assert rc == 1 and "Provided config file /nonexistent.yml not existing" in text
    rc, text = run("list", "batman", HOME="/nonexistent")
    assert rc == 1 and "store" in text


def test_watch_colours_and_pager(herd, ctl):
    argv = [PGHERD, "ctl", "-c", ctl.config]
    seen = on_terminal([*argv, "list", "-w", "0.2"], b"\x1b[H\x1b[2J+ Cluster", seconds=30)
    assert "Cluster: batman" in seen
    # In a pipe nothing but text, however often.
    p = subprocess.Popen([*argv, "list", "-w", "0.1"], stdout=subprocess.PIPE, text=True)
    try:
        lines = [p.stdout.readline() for _ in range(20)]
        assert "\x1b" not in "".join(lines) and sum("Cluster:" in x for x in lines) >= 2
    finally:
        p.kill()
        p.wait()
    edit = [*argv, "edit-config", "-s", "ttl=11"]
    seen = on_terminal(edit, b"[y/N]", env={"PAGER": "cat"})
    assert "\x1b[32m+ttl: 11\x1b[0m" in seen and "Apply these changes? [y/N]:" in seen
    assert "paged" in on_terminal(edit, b"[y/N]", env={"PAGER": "sed s/^/paged/"})
    assert "\x1b" not in ctl("edit-config", "-s", "ttl=11", typed="n\n")


def test_edit_restart_pending(herd, ctl):
    out = ctl("edit-config", "-p", "max_connections=177", "-s", "x.y=[1, 2]", "--force")
    assert "+    max_connections: 177\n" in out and out.endswith("Configuration changed\n")
    wait_for(lambda: ctl("list").count("max_connections: 100->177") == 3, 30)
    assert "x:\n  y:\n  - 1\n  - 2\n" in ctl("show-config")
    out = ctl("restart", "batman", "n3", "--pending", "--force")
    assert "Success: restart on member n3" in out
    wait_for(lambda: ctl("list").count("max_connections: 100->177") == 2, 30)
    assert ctl("restart", "batman", "n3", "--pending", "--force").count("Success") == 0
    out = ctl("restart", "batman", "n2", "--scheduled", "2036-01-01T00:00:00+00:00",
              "--pg-version", "99.1", "--force")
    assert "Success: restart scheduled on member n2" in out
    wait_for(lambda: "2036-01-01T00:00:00+00:00 if version < 99.1" in ctl("list"), 30)
    assert ("Success: flush scheduled restart for member n2"
            in ctl("flush", "batman", "n2", "restart", typed="y\n"))
    assert "Reload request received for member n1" in ctl("reload", "batman", "n1", "--force")
    assert ctl("version", "batman", "n1").endswith(
        "n1: Patroni 4.1.4 PostgreSQL %s\n" % herd["n1"].sql("show server_version")[0][0].split()[0])


def test_pause_and_explain(herd, ctl):
    leader = herd.leader()
    assert "Success: cluster management is paused" in ctl("pause", "--wait")
    wait_for(lambda: " Maintenance mode: on\n Guard: off (n1, n2, n3)\n" in ctl("list"), 30)
    assert "maintenance mode is on: nobody is promoted by itself" in ctl("explain", "n2")
    assert "guard: paused (off in maintenance mode)" in ctl("explain", leader.name)
    assert "Success: cluster management is resumed" in ctl("resume", "--wait")
    wait_for(lambda: "Guard" not in ctl("list"), 30)

    text = ctl("explain")
    assert text.startswith("n1 is the leader: it holds the leader key.\n")
    assert "if it went away now, n2 could take over" in text
    assert "not n3: it has the tag nofailover" in text
    assert "It could take over now.\n" in ctl("explain", "n2")
    v = json.loads(ctl("explain", "n3", "-f", "json"))[0]
    assert [r["code"] for r in v["reasons"]] == ["nofailover"] and not v["eligible"]
    assert v["leader"] == "n1" and v["agent"]["rule"] and v["position"]["lag"] >= 0
    status, doc = herd["n3"].get("/explain")
    assert status == 200 and json.loads(doc)["summary"] == v["summary"]
    assert "- member: n1" in ctl("explain", "-f", "yaml")
    assert "No any among provided members" in ctl("explain", "x", rc=1)
    # An agent that does not answer: what the store says.
    herd["n3"].freeze()
    try:
        text = ctl("explain", "n3")
        assert "nofailover" in text and "its agent does not answer" in text
    finally:
        herd["n3"].thaw()


def test_switchover_and_reinit(herd, ctl):
    herd.wait_leader()
    wait_for(lambda: herd["n2"].get("/replica?lag=1MB")[0] == 200, 60)
    out = ctl("switchover", typed="n1\nn2\nnow\ny\n")
    assert 'Successfully switched over to "n2"' in out
    wait_for(lambda: herd["n1"].get("/replica")[0] == 200 and herd["n3"].get("/replica")[0] == 200,
             90)
    assert "| n2" in ctl("history")
    assert ctl("dsn", "-r", "leader") == f"host=127.0.0.1 port={herd['n2'].port}\n"
    out = ctl("reinit", "batman", "n3", "--from-leader", "--wait", "--force")
    assert "Success: reinitialize for member n3" in out
    assert "Reinitialize is completed on: n3" in out
    assert "trying to bootstrap from leader 'n2'" in herd["n3"].log.read_text()
    wait_for(lambda: herd["n1"].get("/replica?lag=1MB")[0] == 200, 60)
    assert 'Successfully failed over to "n1"' in ctl("failover", "--candidate", "n1", typed="y\n")
    herd.wait_leader()


def test_reinit_that_is_cancelled(herd, ctl):
    """A copy that never ends: asked again, it says so, and is ended and begun anew on demand."""
    leader = herd.wait_leader()
    n3 = herd["n3"]
    wait_for(lambda: n3.get("/replica")[0] == 200, 60)
    own = n3.config
    slow = {**own()}
    slow["postgresql"] = {**slow["postgresql"], "create_replica_methods": ["slow"],
                          "slow": {"command": "sleep 1000", "no_params": True}}
    (n3.dir / "config.yml").write_text(json.dumps(slow))
    assert n3.request("POST", "/reload")[0] == 202
    wait_for(lambda: n3.log.read_text().count("reloading the configuration") >= 1, 30)
    assert leader.request("POST", "/reinitialize") == (
        503, "I am the leader, can not reinitialize")
    assert n3.request("POST", "/reinitialize") == (200, "reinitialize started")
    wait_for(lambda: n3.status()["state"] == "creating replica", 60)
    status, text = n3.request("POST", "/reinitialize")
    assert status == 503 and text.endswith(" already in progress")
    (n3.dir / "config.yml").write_text(json.dumps(own()))
    assert n3.request("POST", "/reload")[0] == 202
    out = ctl("reinit", "batman", "n3", "--wait", typed="y\ny\n")
    assert "already in progress. Do you want to cancel it and reinitialize anyway? [y/N]:" in out
    assert "Reinitialize is completed on: n3" in out
    wait_for(lambda: n3.get("/replica")[0] == 200, 60)
