import json
import re
import time

import pytest


def test_list_is_the_table(ctl, sharded):
    lines = ctl("list").stdout.splitlines()
    assert re.match(r"\+ Citus cluster: demo -+\+[-+]+\+$", lines[0])
    assert lines[1].split() == ("| Group | Member | Host | Role | State | TL | Receive LSN | Lag "
                                "| Replay LSN | Lag |").split()
    assert lines[3].split() == ("| 0 | coord1 | 127.0.0.1:5432 | Sync Standby | streaming | 1 | "
                                "0/418CB08 | 0 | 0/418CB08 | 0 |").split()
    assert len(set(map(len, lines))) == 1
    assert json.loads(ctl("list", "-f", "json").stdout)[3]["Role"] == "Leader"
    assert len(ctl("list", "--group", 2, "--format=tsv").stdout.splitlines()) == 3


def test_list_of_nothing(ctl, etcd):
    assert "+ Cluster: other (uninitialized) " in ctl("list", "other").stdout


def test_list_is_quick(ctl, plain):
    times = []
    for _ in range(5):
        start = time.monotonic()
        ctl("list")
        times.append(time.monotonic() - start)
    print("list:", ", ".join(f"{t * 1000:.0f} ms" for t in times))


def test_topology(ctl, plain, etcd, members):
    etcd.put("/service/demo/members/c", members[2].document(5434, tags={"replicatefrom": "b"}))
    names = re.findall(r"^\| (.*?) *\| 127", ctl("topology").stdout, re.M)
    assert names == ["a", "+ b", "  + c"]


def test_store_by_url_and_environment(ctl, plain, etcd):
    assert "| a " in ctl("-d", f"etcd3://127.0.0.1:{etcd.port}/service/", "list", "demo",
                         file=None, env={"HOME": "/nonexistent"}).stdout
    env = {"HOME": "/nonexistent", "PATRONI_ETCD3_HOSTS": f"['127.0.0.1:{etcd.port}']",
           "PATRONI_SCOPE": "demo"}
    assert "| a " in ctl("list", file=None, env=env).stdout


def test_bad_configurations(ctl, tmp_path):
    done = ctl("list", file="/nonexistent/x.yml", rc=1)
    assert "not existing or no read rights" in done.stderr
    bad = tmp_path / "bad.yml"
    bad.write_text("a: [")
    assert "line 2" in ctl("list", file=bad, rc=1).stderr
    bad.write_text("scope: x\nconsul: {host: y}")
    assert "not available in this version" in ctl("list", file=bad, rc=1).stderr
    bad.write_text("scope: x\n")
    assert "etcd3" in ctl("list", file=bad, rc=1).stderr


@pytest.mark.parametrize("args", [[], ["nonsense"], ["list", "--nonsense"], ["list", "--group"],
                                  ["restart"], ["list", "-f", "xml"], ["flush", "demo", "x"],
                                  ["list", "--group", "x"]])
def test_usage(ctl, etcd, args):
    assert ctl(*args, rc=2).stderr


def test_help(ctl):
    names = re.findall(r"^  ([a-z-]+)  ", ctl("--help", file=None).stdout, re.M)
    assert {"list", "switchover", "failover", "restart"} <= set(names)
    for name in names:
        assert "--help" in ctl(name, "--help", file=None).stdout


def test_switchover_as_in_the_seeds(ctl, sharded):
    leader = sharded[1]
    leader.answers["POST /switchover"] = (200, 'Successfully switched over to "work2-1"')
    out = ctl("switchover", typed="2\n\n\n\ny\n").stdout
    assert out.startswith("Current cluster topology\n+ Citus cluster: demo ---")
    assert re.search(r"Citus group: Primary \[work2-2\]: Candidate \['work2-1'\] \[\]: "
                     r"When should the switchover take place \(e\.g\. \d{4}-\d\d-\d\dT\d\d:\d\d \)"
                     r"  \[now\]: Are you sure you want to switchover cluster demo, demoting "
                     r"current leader work2-2\? \[y/N\]: ", out)
    assert re.search(r'^.*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{5} Successfully switched over to '
                     r'"work2-1"$', out, re.M)
    assert "+ Citus cluster: demo (group: 2, 7197024670041272342) " in out
    assert leader.calls == [("POST /switchover", {"leader": "work2-2"}, "Basic dTpw")]


def test_switchover_by_options(ctl, sharded):
    ctl("switchover", "demo", "--group", 2, "--primary", "work2-2", "--candidate", "work2-1",
        "--scheduled", "2036-11-22T05:04", "--force")
    assert sharded[1].calls[0][1] == {"leader": "work2-2", "candidate": "work2-1",
                                      "scheduled_at": "2036-11-22T05:04:00+00:00"}


@pytest.mark.parametrize("args,typed,error", [
    (["--force", "--leader", "b"], "", "Member b is not the leader of cluster demo"),
    (["--force", "--candidate", "a"], "", "Switchover target and source are the same."),
    (["--force", "--candidate", "c"], "", "Member c does not exist in cluster demo or is tagged "
                                          "as nofailover"),
    (["--force", "--scheduled", "soon"], "", "Unable to parse scheduled timestamp (soon)"),
    ([], "a\nb\nnow\nn\n", "Aborting switchover"),
    ([], "a\n", "Aborted!"),
])
def test_switchover_refused(ctl, plain, args, typed, error):
    assert error in ctl("switchover", *args, typed=typed, rc=1).stderr
    assert plain[0].calls == []


def test_switchover_without_candidates(ctl, plain, etcd):
    etcd.ctl("del", "/service/demo/members/b")
    assert ("Error: No candidates found to switchover to"
            in ctl("switchover", "--force", rc=1).stderr)


def test_switchover_paused(ctl, plain, etcd):
    etcd.put("/service/demo/config", {"pause": True})
    assert ("Can't schedule switchover in the paused state"
            in ctl("switchover", "--force", "--scheduled", "2036-01-01T00:00Z", rc=1).stderr)


def test_switchover_refused_by_the_server(ctl, plain):
    plain[0].answers["POST /switchover"] = (412, "no good candidates have been found")
    assert ("Switchover failed, details: 412, no good candidates have been found"
            in ctl("switchover", "--force").stdout)


def test_switchover_without_a_rest_interface(ctl, plain, etcd):
    plain[0].stop()
    out = ctl("switchover", "--force", "--candidate", "b").stdout
    assert "Could not switchover using Patroni api, falling back to DCS" in out
    assert json.loads(etcd.get("/service/demo/failover")) == {"leader": "a", "member": "b"}


def test_sharded_needs_a_group(ctl, sharded):
    assert "--group" in ctl("switchover", "--force", rc=1).stderr


def test_failover(ctl, plain, etcd):
    assert "specific candidate" in ctl("failover", "--force", rc=1).stderr
    etcd.ctl("del", "/service/demo/leader")
    ctl("failover", "--candidate", "b", typed="y\n")
    assert plain[1].calls == [("POST /failover", {"candidate": "b"}, "Basic dTpw")]


def test_failover_to_an_asynchronous_node(ctl, plain, etcd):
    etcd.put("/service/demo/config", {"synchronous_mode": True})
    etcd.put("/service/demo/sync", {"leader": "a", "sync_standby": "x"})
    out = ctl("failover", "--candidate", "b", typed="n\n", rc=1)
    assert "Are you sure you want to failover to the asynchronous node b? [y/N]:" in out.stdout
    assert "Aborting failover" in out.stderr


def test_restart(ctl, plain):
    plain[1].answers["POST /restart"] = (503, "restart failed")
    out = ctl("restart", "demo", "--force", "--timeout", "5").stdout
    assert "Success: restart on member a" in out
    assert "Failed: restart for member b, status code=503, (restart failed)" in out
    assert plain[0].calls[0][:2] == ("POST /restart", {"timeout": "5"})
    out = ctl("restart", "demo", "b", typed="\ny\n15.9\n").stdout
    assert "Are you sure you want to restart members b? [y/N]:" in out
    assert plain[1].calls[-1][1] == {"postgres_version": "15.9"}
    assert "x is not a member" in ctl("restart", "demo", "x", rc=1).stderr
    assert "no" in ctl("restart", "demo", "--force", "--pending", rc=1).stderr


def test_restart_role(ctl, plain):
    ctl("restart", "demo", "--force", "-r", "replica")
    assert plain[0].calls == [] and plain[1].calls and plain[2].calls
    assert ctl("restart", "demo", "-r", "queen", rc=1).stderr


def test_reload(ctl, plain):
    for m in plain:
        m.answers["POST /reload"] = (202, "reload scheduled")
    out = ctl("reload", "demo", typed="y\n").stdout
    assert ("Reload request received for member a and will be processed within 10 seconds" in out)
    assert len(plain[2].calls) == 1


def test_reload_all_groups(ctl, sharded):
    ctl("reload", "demo", "--force")
    assert len(sharded[0].calls) == 2 and len(sharded[1].calls) == 2


def test_reinit(ctl, plain):
    plain[1].answers["POST /reinitialize"] = (503, "restarting after failure already in progress")
    out = ctl("reinit", "demo", "b", typed="y\nn\n").stdout
    assert "Do you want to cancel it and reinitialize anyway? [y/N]:" in out
    plain[1].answers = {"POST /reinitialize": (200, "reinitialize started"),
                        "GET /patroni": (200, '{"state": "running"}')}
    out = ctl("reinit", "demo", "b", "--force", "--wait", "--from-leader").stdout
    assert "Success: reinitialize on member b" in out
    assert "Reinitialize is completed on: b" in out
    assert [c[1] for c in plain[1].calls if c[1]][-1] == {"force": True, "from-leader": True}


def test_flush(ctl, plain, etcd, members):
    etcd.put("/service/demo/members/b", members[1].document(
        5433, scheduled_restart={"schedule": "2036-11-22T05:04:00+00:00"}))
    assert "No pending scheduled switchover" in ctl("flush", "demo", "switchover").stdout
    etcd.put("/service/demo/failover", {"leader": "a", "scheduled_at": "2036-11-22T05:04:00+00:00"})
    plain[0].answers["DELETE /switchover"] = (200, "scheduled switchover deleted")
    assert ("Success: scheduled switchover deleted" in ctl("flush", "demo", "switchover").stdout)
    out = ctl("flush", "demo", "restart").stdout
    assert "No scheduled restart for member a" in out
    assert [c[0] for c in plain[1].calls] == ["DELETE /restart"]
