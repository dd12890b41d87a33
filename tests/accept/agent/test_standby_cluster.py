"""Standby clusters: a herd that follows another one."""

import json

import pytest
from herd import Herd, ctl, wait_for


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
