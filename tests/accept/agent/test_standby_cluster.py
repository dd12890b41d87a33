"""Standby clusters: a herd that follows another one."""

import base64
import json

import pytest
from herd import BIN_DIR, PASSWORD, Herd, ctl, own, wait_for


def remote(member, **more):
    return {"host": "127.0.0.1", "port": member.port, **more}


def standby_leader(herd, seconds=60, but=None):
    def ready():
        for m in herd.members:
            if m is not but and m.process and m.get("/standby_leader")[0] == 200:
                return m
    return wait_for(ready, seconds, "a standby leader")


def upstream_of(member):
    rows = member.sql("select sender_host, sender_port from pg_stat_wal_receiver"
                      " where status = 'streaming'")
    return rows[0][1] if rows else None


def replicates(source, target, table, seconds=60):
    source.sql(f"create table {table} (i int)")
    wait_for(lambda: target.sql(f"select 1 from pg_class where relname = '{table}'"), seconds,
             f"{table} on {target.name}")


@pytest.fixture(scope="module")
def main():
    with Herd(1, dcs={"slots": {"dr_site": {"type": "physical"}}}) as herd:
        herd.wait_leader()
        yield herd


@pytest.fixture(scope="module")
def site(main):
    leader = main.wait_leader()
    section = remote(leader, primary_slot_name="dr_site",
                     create_replica_methods=["none_such", "basebackup"])
    patch = {"tags": {}, "postgresql": {"none_such": {"command": "/bin/false"}}}
    with Herd(2, dcs={"standby_cluster": section}, patch=patch, prefix="s") as herd:
        yield herd


def test_bootstrap(main, site):
    leader, source = standby_leader(site), main.leader()
    assert leader.get("/primary")[0] == 503 and leader.get("/replica")[0] == 503
    assert leader.get("/leader")[0] == 200
    status = leader.status()
    assert status["role"] == "standby_leader"
    replicates(source, leader, "first")
    wait_for(lambda: leader.status()["replication_state"] == "streaming", 30, "streaming")
    assert upstream_of(leader) == source.port
    active = lambda: source.sql("select active from pg_replication_slots"  # noqa: E731
                                " where slot_name = 'dr_site'")[0][0]
    wait_for(active, 30, "the slot on the primary")
    other = next(m for m in site.members if m is not leader)
    wait_for(lambda: other.get("/replica")[0] == 200, 60, "the replica")
    wait_for(lambda: upstream_of(other) == leader.port, 30, "the replica streams from its leader")
    replicates(source, other, "second")
    keys = site.keys()
    doc = json.loads(keys[f"/service/batman/members/{leader.name}"])
    assert doc["role"] == "standby_leader" and doc["replication_state"] == "streaming"
    assert keys["/service/batman/initialize"] == main.keys()["/service/batman/initialize"]
    assert json.loads(keys["/service/batman/status"])["optime"] > 0


def test_metrics_and_list(site):
    leader = standby_leader(site)
    assert "patroni_standby_leader{" in leader.get("/metrics")[1]
    value = [x for x in leader.get("/metrics")[1].splitlines()
             if x.startswith("patroni_standby_leader{")][0]
    assert value.endswith(" 1")
    out = ctl(site, "list", "batman").stdout
    row = next(x for x in out.splitlines() if leader.name in x)
    assert "Standby Leader" in row and "streaming" in row
    members = json.loads(leader.get("/cluster")[1])["members"]
    assert {m["role"] for m in members} == {"standby_leader", "replica"}


def test_switchover(main, site):
    old = standby_leader(site)
    new = next(m for m in site.members if m is not old)
    done = ctl(site, "switchover", "batman", "--force")
    assert f'Successfully switched over to "{new.name}"' in done.stdout, done.stdout + done.stderr
    assert standby_leader(site, but=old) is new
    wait_for(lambda: upstream_of(new) == main.leader().port, 60, "streams from outside")
    wait_for(lambda: upstream_of(old) == new.port, 60, "the former one follows")
    replicates(main.leader(), old, "third")


def test_failover(main, site):
    old = standby_leader(site)
    new = next(m for m in site.members if m is not old)
    old.kill()
    old.kill_postgres()
    assert standby_leader(site, but=old) is new
    replicates(main.leader(), new, "fourth")
    old.start()
    wait_for(lambda: upstream_of(old) == new.port, 60, "it comes back as a replica")


def test_pause_and_restart(site):
    leader = standby_leader(site)
    ctl(site, "pause", "batman", "--wait", check=True)
    leader.kill()
    leader.start()
    assert standby_leader(site) is leader
    ctl(site, "resume", "batman", "--wait", check=True)
    done = ctl(site, "restart", "batman", leader.name, "--force")
    assert f"Success: restart on member {leader.name}" in done.stdout
    assert standby_leader(site) is leader


def test_new_settings_of_the_section(main, site):
    leader = standby_leader(site)
    section = {"primary_slot_name": None, "restore_command": "false %f",
               "recovery_min_apply_delay": "10ms"}
    assert leader.request("PATCH", "/config", {"standby_cluster": section})[0] == 200
    show = lambda name: leader.sql(f"show {name}")[0][0]  # noqa: E731
    wait_for(lambda: show("primary_slot_name") == "" and show("restore_command") == "false %f"
             and show("recovery_min_apply_delay") == "10ms", 30, "the settings")
    replica = next(m for m in site.members if m is not leader)
    assert replica.sql("show recovery_min_apply_delay")[0][0] == "0"
    replicates(main.leader(), leader, "fifth")


def test_promote_and_demote(main, site):
    """The site takes over, and the former main herd follows it."""
    leader, source = standby_leader(site), main.leader()
    none = ctl(site, "demote-cluster", "batman", "--force")
    assert none.returncode == 1 and "At least --host" in none.stderr
    again = ctl(site, "demote-cluster", "batman", "--force", "--host", "h")
    assert again.returncode == 1 and "already in the required state" in again.stderr
    source.sql("create table before_demotion (i int)")
    out = ctl(main, "demote-cluster", "batman", "--force", "--host", "127.0.0.1", "--port",
              str(leader.port))
    assert out.returncode == 0 and "successfully demoted" in out.stdout, out.stdout + out.stderr
    assert source.get("/standby_leader")[0] == 200
    wait_for(lambda: leader.sql("select 1 from pg_class where relname = 'before_demotion'"), 30,
             "the last table")
    no = ctl(site, "promote-cluster", "batman", input="n\n")
    assert no.returncode == 1 and "Are you sure you want to promote batman cluster?" in no.stdout
    out = ctl(site, "promote-cluster", "batman", "--force")
    assert out.returncode == 0 and "successfully promoted" in out.stdout, out.stdout + out.stderr
    assert leader.is_primary() and leader.get("/standby_leader")[0] == 503
    replicates(leader, source, "after_promotion")
    other = next(m for m in site.members if m is not leader)
    wait_for(lambda: other.sql("select 1 from pg_class where relname = 'after_promotion'"), 60,
             "its own replica")
    history = json.loads(leader.get("/history")[1])
    assert history[-1][4] == leader.name


def test_configuration_that_is_lost(site):
    """It was bootstrapped as a standby cluster, and is none any more, also when /config is gone."""
    leader = site.wait_leader()
    site.etcd.call("kv/deleterange", {
        "key": base64.b64encode(b"/service/batman/config").decode()})
    wait_for(lambda: "/service/batman/config" in site.keys(), 30, "the key")
    assert "standby_cluster" not in json.loads(site.keys()["/service/batman/config"])
    assert leader.is_primary() and not leader.in_recovery()


def test_timeline_of_the_remote(main, site):
    """What we follow fails over to another of the hosts that we know."""
    first = site.wait_leader()
    second = next(m for m in site.members if m is not first)
    hosts = {"host": "127.0.0.1,127.0.0.1", "port": f"{first.port},{second.port}"}
    follower = standby_leader(main)
    assert follower.request("PATCH", "/config", {"standby_cluster": hosts})[0] == 200
    site.wait_healthy()
    assert site.switchover()[0] == 200
    second = site.wait_leader(but=first)
    replicates(second, follower, "after_switchover")
    wait_for(lambda: follower.status()["timeline"] == second.status()["timeline"], 30,
             "the timeline")
    assert standby_leader(main) is follower


def test_demotion_of_what_has_diverged(main, site):
    """Both were writable: the demoted one is rewound to what the other has."""
    leader, other = standby_leader(main), site.wait_leader()
    out = ctl(main, "promote-cluster", "batman", "--force")
    assert out.returncode == 0, out.stdout + out.stderr
    leader.sql("create table only_here (i int)")
    other.sql("create table only_there (i int)")
    out = ctl(main, "demote-cluster", "batman", "--force", "--host", "127.0.0.1", "--port",
              str(other.port))
    assert out.returncode == 0, out.stdout + out.stderr
    replicates(other, leader, "after_rewind")
    assert leader.sql("select 1 from pg_class where relname = 'only_there'")
    assert not leader.sql("select 1 from pg_class where relname = 'only_here'")


def test_remote_that_lost_what_we_have(main, site):
    """The primary outside was replaced by one that had less: the whole site goes back to that."""
    first = site.wait_healthy()
    second = next(m for m in site.members if m is not first)
    follower = standby_leader(main)
    hosts = {"host": "127.0.0.1,127.0.0.1", "port": f"{first.port},{second.port}"}
    assert follower.request("PATCH", "/config", {"standby_cluster": hosts})[0] == 200
    wait_for(lambda: upstream_of(follower) == first.port, 60, "streams from the first")
    second.kill()
    second.kill_postgres()
    wait_for(lambda: not second.postmaster(), 30, "its end")
    first.sql("create table only_we_have_it (i int)")
    wait_for(lambda: follower.sql("select 1 from pg_class where relname = 'only_we_have_it'"), 30,
             "the table")
    first.kill()
    first.kill_postgres()
    second.start()
    assert site.wait_leader(but=first) is second
    second.sql("create table after_the_loss (i int)")
    wait_for(lambda: follower.sql("select 1 from pg_class where relname = 'after_the_loss'"), 90,
             "back on its way")
    assert not follower.sql("select 1 from pg_class where relname = 'only_we_have_it'")
    assert follower.status()["rejoin"]["from"] == "standby_cluster"
    first.start()


def test_archive_alone(main, site):
    """A standby cluster that knows the other one by its backups and its archive only."""
    source = site.wait_leader()
    work = site.dir / "archive"
    work.mkdir()
    own(work)
    params = {"archive_mode": "on", "archive_command": f"cp %p {work}/%f"}
    assert source.request("PATCH", "/config", {"postgresql": {"parameters": params}})[0] == 200
    wait_for(lambda: source.status().get("pending_restart"), 30, "pending restart")
    assert source.request("POST", "/restart", {})[0] == 200
    fetch = site.dir / "fetch"
    fetch.write_text(f"""#!/bin/bash
for a in "$@"; do case $a in --datadir=*) data=${{a#*=}};; esac; done
PGPASSWORD={PASSWORD} exec {BIN_DIR}/pg_basebackup -D $data -c fast -X none -h 127.0.0.1 \\
    -p {source.port} -U postgres
""")
    fetch.chmod(0o755)
    section = {"restore_command": f"cp {work}/%f %p", "create_replica_methods": ["fetch"]}
    patch = {"postgresql": {"fetch": {"command": str(fetch), "no_leader": True}}}
    with Herd(1, dcs={"standby_cluster": section}, patch=patch, prefix="x") as herd:
        leader = standby_leader(herd)
        source.sql("create table through_the_archive (i int)")
        source.sql("select pg_switch_wal()")
        wait_for(lambda: leader.sql("select 1 from pg_class where relname = 'through_the_archive'"),
                 60, "the table")
        wait_for(lambda: leader.status()["replication_state"] == "in archive recovery", 30, "state")
        assert leader.sql("show primary_conninfo") == [("",)]
        out = ctl(herd, "promote-cluster", "batman", "--force")
        assert out.returncode == 0, out.stdout + out.stderr
        assert leader.is_primary()
