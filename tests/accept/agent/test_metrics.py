"""GET /metrics: Patroni's names, and values that SQL and the store agree with."""
import json
import re

import pytest

import herd as herds
from herd import Herd


def wait_for(fn, seconds=60, what="condition"):
    """With patience: other suites may run beside this one."""
    return herds.wait_for(fn, max(seconds, 60), what)


NAMES = """patroni_version patroni_postgres_running patroni_postmaster_start_time patroni_primary
patroni_xlog_location patroni_standby_leader patroni_replica patroni_sync_standby
patroni_quorum_standby patroni_xlog_received_location patroni_xlog_replayed_location
patroni_xlog_replayed_timestamp patroni_xlog_paused patroni_postgres_streaming
patroni_postgres_in_archive_recovery patroni_postgres_server_version patroni_cluster_unlocked
patroni_failsafe_mode_is_active patroni_failsafe_mode_enabled patroni_failsafe_member
patroni_postgres_timeline patroni_dcs_last_seen patroni_pending_restart patroni_is_paused
patroni_postgres_state patroni_failover_priority""".split()
COUNTERS = {"patroni_xlog_location", "patroni_xlog_received_location",
            "patroni_xlog_replayed_location"}


@pytest.fixture(scope="module")
def herd():
    with Herd(2, dcs={"synchronous_mode": "on", "failsafe_mode": True}) as h:
        h.wait_healthy()
        yield h


def metrics(m):
    """{name: value}; every line is looked at."""
    status, text = m.get("/metrics")
    assert status == 200 and text.endswith("\n")
    helped, types, values = set(), {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            assert re.fullmatch(r"# HELP \w+ .+", line)
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            types[line.split()[2]] = line.split()[3]
        elif line.startswith("# Values: "):
            assert "5 = running" in line and "14 = crashed" in line
        else:
            name, labels, value = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line).groups()
            assert labels == f'scope="batman",name="{m.name}"'
            assert name not in values
            values[name] = float(value)
    assert helped == set(types) == set(values) and set(NAMES) <= helped
    for name in NAMES:
        assert types[name] == ("counter" if name in COUNTERS else "gauge"), name
    return values


def test_leader(herd):
    leader = herd.wait_healthy()
    wait_for(lambda: metrics(leader)["patroni_failsafe_member"] == 1)
    v = metrics(leader)
    start, lsn, version = leader.sql(
        "select extract(epoch from pg_postmaster_start_time())::float8, "
        "pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::int8, "
        "current_setting('server_version_num')::int")[0]
    timeline = leader.sql("select timeline_id from pg_control_checkpoint()")[0][0]
    assert abs(v["patroni_postmaster_start_time"] - start) < 0.00001
    assert 0 < v["patroni_xlog_location"] <= lsn
    assert v["patroni_postgres_server_version"] == version
    assert v["patroni_postgres_timeline"] == timeline
    assert re.search(r"patroni_version\{.*\} 04\d{4}\n", leader.get("/metrics")[1])
    for name, want in {"postgres_running": 1, "primary": 1, "replica": 0, "standby_leader": 0,
                       "sync_standby": 0, "quorum_standby": 0, "xlog_received_location": 0,
                       "xlog_replayed_location": 0, "xlog_replayed_timestamp": 0,
                       "xlog_paused": 0, "postgres_streaming": 0,
                       "postgres_in_archive_recovery": 0, "cluster_unlocked": 0,
                       "failsafe_mode_is_active": 0, "failsafe_mode_enabled": 1,
                       "pending_restart": 0, "is_paused": 0, "postgres_state": 5,
                       "failover_priority": 1}.items():
        assert v["patroni_" + name] == want, name


def test_replica(herd):
    leader = herd.wait_healthy()
    replica = herd.replicas()[0]
    leader.sql("create table if not exists t as select 1")
    wait_for(lambda: metrics(replica)["patroni_sync_standby"] == 1)
    wait_for(lambda: metrics(replica)["patroni_xlog_replayed_timestamp"] > 0)
    v = metrics(replica)
    received, replayed, at = replica.sql(
        "select pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::int8, "
        "pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::int8, "
        "extract(epoch from pg_last_xact_replay_timestamp())::float8")[0]
    assert 0 < v["patroni_xlog_received_location"] <= received
    assert 0 < v["patroni_xlog_replayed_location"] <= replayed
    assert at - 60 < v["patroni_xlog_replayed_timestamp"] <= at + 0.00001
    for name, want in {"primary": 0, "replica": 1, "xlog_location": 0, "postgres_streaming": 1,
                       "postgres_state": 5, "cluster_unlocked": 0}.items():
        assert v["patroni_" + name] == want, name


def test_changes(herd):
    leader = herd.wait_healthy()
    replica = herd.replicas()[0]
    leader.request("PATCH", "/config", {"synchronous_mode": "quorum"})
    wait_for(lambda: metrics(replica)["patroni_quorum_standby"] == 1)
    assert metrics(replica)["patroni_sync_standby"] == 0
    leader.request("PATCH", "/config", {"pause": True, "postgresql": {
        "parameters": {"max_connections": 101}}})
    for m in herd.members:
        wait_for(lambda m=m: metrics(m)["patroni_is_paused"] == 1)
        wait_for(lambda m=m: metrics(m)["patroni_pending_restart"] == 1)
    # The agent lets a paused replay go on: it is seen for a moment only.
    def paused():
        replica.sql("select pg_wal_replay_pause()")
        return replica.status()["xlog"]["paused"] and metrics(replica)["patroni_xlog_paused"]
    wait_for(paused)
    replica.sql("select pg_wal_replay_resume()")
    wait_for(lambda: metrics(replica)["patroni_xlog_paused"] == 0)
    start = metrics(replica)["patroni_postmaster_start_time"]
    assert replica.request("POST", "/restart", {"restart_pending": True})[0] == 200
    wait_for(lambda: metrics(replica)["patroni_pending_restart"] == 0)
    wait_for(lambda: metrics(replica)["patroni_postmaster_start_time"] > start)
    seen = json.loads(leader.get("/patroni")[1])["dcs_last_seen"]
    wait_for(lambda: metrics(leader)["patroni_dcs_last_seen"] > seen)
    leader.request("PATCH", "/config", {"pause": None})
