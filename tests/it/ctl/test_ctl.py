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
    (["--force", "--candidate", "a"], "", "Member a is already the leader of cluster demo"),
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
    assert "No any among provided members" in ctl("restart", "demo", "x", rc=1).stderr
    n = len(plain[1].calls)
    assert "Success" not in ctl("restart", "demo", "--force", "--pending").stdout
    for version, why in (("x", "Invalid PostgreSQL version: x"), ("15", "version format: X.Y")):
        assert why in ctl("restart", "demo", "--force", "--pg-version", version, rc=1).stderr
    assert len(plain[1].calls) == n


def test_restart_role(ctl, plain):
    ctl("restart", "demo", "--force", "-r", "replica")
    assert plain[0].calls == [] and plain[1].calls and plain[2].calls
    assert ctl("restart", "demo", "-r", "queen", rc=2).stderr


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
    assert "Success: reinitialize for member b" in out
    assert "Reinitialize is completed on: b" in out
    assert [c[1] for c in plain[1].calls if c[1]][-1] == {"force": True, "from_leader": True}


def test_flush(ctl, plain, etcd, members):
    etcd.put("/service/demo/members/b", members[1].document(
        5433, scheduled_restart={"schedule": "2036-11-22T05:04:00+00:00"}))
    assert "No pending scheduled switchover" in ctl("flush", "demo", "switchover").stdout
    etcd.put("/service/demo/failover", {"leader": "a", "scheduled_at": "2036-11-22T05:04:00+00:00"})
    plain[0].answers["DELETE /switchover"] = (200, "scheduled switchover deleted")
    assert ("Success: scheduled switchover deleted" in ctl("flush", "demo", "switchover").stdout)
    assert "Aborted!" in ctl("flush", "demo", "restart", rc=1).stderr
    out = ctl("flush", "demo", "restart", "--force").stdout
    assert "No scheduled restart for member a" in out
    assert [c[0] for c in plain[1].calls] == ["DELETE /restart"]


def test_pause_and_resume(ctl, plain, etcd):
    assert "Success: cluster management is paused" in ctl("pause").stdout
    assert plain[0].calls == [("PATCH /config", {"pause": True}, "Basic dTpw")]
    assert "Cluster is not paused" in ctl("resume", rc=1).stderr
    etcd.put("/service/demo/config", {"pause": True, "loop_wait": 1})
    assert "Cluster is already paused" in ctl("pause", rc=1).stderr
    out = ctl("resume", "--wait").stdout
    assert "'resume' request sent, waiting until it is recognized by all nodes" in out
    assert "Success: cluster management is resumed" in out
    assert plain[0].calls[-1][1] == {"pause": None}
    plain[0].answers["PATCH /config"] = (401, "no auth header received")
    assert ("Failed: resume cluster management status code=401, (no auth header received)"
            in ctl("resume").stdout)


def test_pause_asks_the_next_member(ctl, plain):
    plain[0].stop()
    ctl("pause")
    assert plain[1].calls


def test_pause_needs_a_group(ctl, sharded):
    assert "--group" in ctl("pause", rc=1).stderr
    ctl("pause", "--group", "2")
    ctl("pause", env={"PATRONI_CITUS_GROUP": "0"})
    assert len(sharded[1].calls) == 2


def test_show_config(ctl, plain):
    assert ctl("show-config").stdout == "loop_wait: 10\nretry_timeout: 10\nttl: 30\n\n"


def test_edit_config_set(ctl, plain, etcd):
    out = ctl("edit-config", "-s", "ttl=20", "-s", "loop_wait=null", "-s", "slots.a={type: physical}",
              "-p", "max_connections=200", "--force").stdout
    assert "-ttl: 30\n" in out and "+ttl: 20\n" in out and "Configuration changed" in out
    assert json.loads(etcd.get("/service/demo/config")) == {
        "ttl": 20, "retry_timeout": 10, "slots": {"a": {"type": "physical"}},
        "postgresql": {"parameters": {"max_connections": 200}}}
    assert ctl("edit-config", "-s", "ttl=20", "-s", "x.y=", "--force").stdout == "Not changed\n"
    assert "Invalid parameter setting" in ctl("edit-config", "-s", "ttl", "--force", rc=1).stderr
    assert ctl("edit-config", "-q", "-s", "ttl=25", typed="n\n").stdout == (
        "Apply these changes? [y/N]: ")
    assert json.loads(etcd.get("/service/demo/config"))["ttl"] == 20


def test_edit_config_files(ctl, plain, etcd, tmp_path):
    file = tmp_path / "new.yml"
    file.write_text("ttl: 40\nretry_timeout: null\n")
    ctl("edit-config", "--apply", str(file), typed="y\n")
    assert json.loads(etcd.get("/service/demo/config")) == {"ttl": 40, "loop_wait": 10}
    out = ctl("edit-config", "--replace", "-", typed="ttl: 50\n").stdout
    assert out.endswith("Use --force option to apply changes\n")
    ctl("edit-config", "--replace", "-", "--force", typed="ttl: 50\n")
    assert json.loads(etcd.get("/service/demo/config")) == {"ttl": 50}
    assert "holds no map" in ctl("edit-config", "--replace", "-", typed="[1]", rc=1).stderr


def test_edit_config_editor(ctl, plain, etcd, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i s/30/33/ \"$2\"; test \"$1\" = --flag\n")
    editor.chmod(0o755)
    ctl("edit-config", typed="y\n", env={"EDITOR": f"{editor} --flag"})
    assert json.loads(etcd.get("/service/demo/config"))["ttl"] == 33
    assert ("Editor exited with return code 1"
            in ctl("edit-config", env={"EDITOR": "false"}, rc=1).stderr)


def test_history(ctl, plain):
    assert ctl("history").stdout == (
        "+----+----------+------------------------------+---------------------------+------------+\n"
        "| TL |      LSN | Reason                       | Timestamp                 | New Leader |\n"
        "+----+----------+------------------------------+---------------------------+------------+\n"
        "|  1 | 50331808 | no recovery target specified | 2026-11-22T05:04:00+00:00 | a          |\n"
        "+----+----------+------------------------------+---------------------------+------------+\n")
    assert json.loads(ctl("history", "-f", "json").stdout)[0]["TL"] == 1


def test_version(ctl, plain):
    for m in plain:
        m.answers["GET /patroni"] = (200, '{"patroni": {"version": "4.1.0"}, '
                                          '"server_version": 150004}')
    lines = ctl("version", "demo").stdout.splitlines()
    assert re.match(r"pgherdctl version \d+\.\d+\.\d+$", lines[0])
    assert lines[1:] == [""] + [f"{n}: Patroni 4.1.0 PostgreSQL 15.4" for n in "abc"]


def test_dsn(ctl, plain):
    assert ctl("dsn").stdout == "host=127.0.0.1 port=5432\n"
    assert ctl("dsn", "-m", "c").stdout == "host=127.0.0.1 port=5434\n"
    assert ctl("dsn", "-r", "replica").stdout == "host=127.0.0.1 port=5433\n"
    assert "suitable" in ctl("dsn", "-m", "x", rc=1).stderr
    ctl("dsn", "-m", "c", "-r", "any", rc=1)


def test_query_refused(ctl, plain):
    assert "--command or --file" in ctl("query", rc=1).stderr
    assert "mutually exclusive" in ctl("query", "-c", "x", "-f", "y", rc=1).stderr
    assert "could not open file" in ctl("query", "-f", "/nonexistent", rc=1).stderr


def test_remove(ctl, plain, etcd):
    etcd.put("/service/demonstration/leader", "z")
    ctl("remove", "demo", typed="demo\nyes\n", rc=1)
    ctl("remove", "demo", typed="x\n", rc=1)
    ctl("remove", "demo", typed="demo\nYes I am aware\nb\n", rc=1)
    assert etcd.get("/service/demo/leader") == "a"
    ctl("remove", "demo", typed="demo\nYes I am aware\na\n")
    assert etcd.ctl("get", "--prefix", "--keys-only", "/").split() == [
        "/service/demonstration/leader"]


def test_remove_a_group(ctl, sharded, etcd):
    assert "--group" in ctl("remove", "demo", typed="demo\n", rc=1).stderr
    ctl("remove", "demo", "--group", 2, typed="demo\nYes I am aware\nwork2-2\n")
    keys = etcd.ctl("get", "--prefix", "--keys-only", "/").split()
    assert keys and all(k.startswith("/service/demo/0/") for k in keys)


def test_store_gone(ctl, tmp_path):
    config = tmp_path / "gone.yml"
    config.write_text("scope: demo\netcd3: {host: '127.0.0.1:1'}\n")
    done = ctl("list", file=config, rc=1)
    assert "could not read the cluster" in done.stderr
