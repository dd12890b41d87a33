"""The agent on real servers: etcd, PostgreSQL, several members."""

import contextlib
import json
import os
import signal
import threading
import time

import pytest

from herd import Herd, Writer, wait_for


@pytest.fixture
def herd():
    with Herd(3) as h:
        h.wait_healthy()
        yield h


def test_bootstrap(herd):
    leader = herd.leader()
    keys = herd.keys()
    root = "/service/batman/"
    assert keys[root + "leader"] == leader.name
    assert keys[root + "initialize"] == str(
        leader.sql("select system_identifier from pg_control_system()")[0][0])
    assert json.loads(keys[root + "config"])["ttl"] == 5
    for m in herd.members:
        member = wait_for(lambda m=m: (lambda v: v if v["state"] == "running" else None)(
            json.loads(herd.keys()[root + "members/" + m.name])))
        assert member["conn_url"] == f"postgres://127.0.0.1:{m.port}/postgres"
        assert member["api_url"] == f"http://127.0.0.1:{m.rest}/patroni"
    # What health checks answer, by role.
    for m in herd.members:
        leads = m is leader
        want = {"/": leads, "/primary": leads, "/leader": leads, "/read-write": leads,
                "/replica": not leads, "/read-only": True, "/health": True,
                "/sync": False, "/async": not leads, "/liveness": True, "/nonsense": False}
        for path, ok in want.items():
            assert m.get(path)[0] == (200 if ok else 503), (m.name, path)
        assert m.status()["role"] == ("primary" if leads else "replica")
        assert m.status()["patroni"]["scope"] == "batman"
    wait_for(lambda: all(m.status().get("replication_state") == "streaming"
                         for m in herd.replicas()), what="streaming")
    wait_for(lambda: herd.replicas()[0].get("/readiness")[0] == 200, what="readiness")
    cluster = json.loads(leader.get("/cluster")[1])
    assert sorted(m["name"] for m in cluster["members"]) == ["n1", "n2", "n3"]
    assert [m["role"] for m in cluster["members"]].count("leader") == 1
    text = leader.get("/metrics")[1]
    assert f'patroni_primary{{scope="batman",name="{leader.name}"}} 1' in text
    # Replicas have the rows, and slots keep their WAL.
    leader.sql("create table t as select 1 as i")
    wait_for(lambda: all(m.sql("select * from t") == [(1,)] for m in herd.replicas()))
    slots = leader.sql("select slot_name from pg_replication_slots where active order by 1")
    assert [s[0] for s in slots] == sorted(m.name for m in herd.replicas())


def test_switchover(herd):
    old = herd.leader()
    target = herd.replicas()[0]
    with Writer(herd) as writer:
        status, text = herd.switchover(target.name)
        assert (status, text) == (200, f'Successfully switched over to "{target.name}"')
        new = herd.wait_leader(but=old)
        assert new is target
        n = len(writer.acked)
        wait_for(lambda: len(writer.acked) > n + 20, what="the writer goes on")
        writer.finish()
        assert writer.lost() == []
    wait_for(lambda: old.get("/replica")[0] == 200, 20, "the old leader follows")
    herd.wait_streaming(2)
    history = json.loads(new.get("/history")[1])
    assert history[-1][0] == 1 and history[-1][4] == new.name


def test_promotion_does_not_wait_for_wal():
    """The order to promote may come just when recovery is about to sleep: that sleep is cut short."""
    with Herd(2, patch={"postgresql": {"parameters": {"wal_retrieve_retry_interval": "60s"}}}) as h:
        h.wait_healthy()
        with Writer(h) as writer:
            for _ in range(3):
                target = h.replicas()[0]
                assert h.switchover(target.name)[0] == 200
                n = len(writer.acked)
                wait_for(lambda n=n: len(writer.acked) > n + 20, 30, "the writer goes on")
                wait_for(lambda: h.replicas()[0].get("/replica")[0] == 200, 50, "the old leader follows")
            writer.finish()
            assert writer.lost() == []


def test_switchover_refused(herd):
    leader = herd.leader()
    post = lambda path, body: leader.request("POST", path, body)  # noqa: E731
    assert post("/switchover", {"leader": "nobody"})[0] == 412
    assert post("/switchover", {"leader": leader.name, "candidate": "x"}) == (
        412, "candidate does not exists")
    assert post("/switchover", {"candidate": "n1"})[0] == 400
    assert post("/switchover", {"leader": leader.name, "candidate": leader.name})[0] == 400
    assert post("/failover", {}) [0] == 400
    assert post("/switchover", {"leader": leader.name, "scheduled_at": "yesterday"})[0] == 422
    assert leader.request("POST", "/switchover")[0] in (400, 411)
    assert leader.request("DELETE", "/switchover")[0] == 404
    assert leader.request("POST", "/nonsense", {"a": 1})[0] == 501
    assert leader.request("POST", "/reinitialize", {})[0] == 503


def test_config(herd):
    leader = herd.leader()
    status, text = leader.request("PATCH", "/config", {
        "maximum_lag_on_failover": 12345, "postgresql": {"parameters": {"work_mem": "7MB"}}})
    assert status == 200 and json.loads(text)["maximum_lag_on_failover"] == 12345
    wait_for(lambda: all(m.sql("show work_mem") == [("7MB",)] for m in herd.members),
             what="work_mem everywhere")
    assert (leader.data / "patroni.dynamic.json").exists()
    assert leader.request("PATCH", "/config", {"maximum_lag_on_failover": None})[0] == 200
    wait_for(lambda: "maximum_lag_on_failover" not in json.loads(leader.get("/config")[1]))
    # It was promoted and has reloaded: recovery's settings are no reason to restart.
    assert not any(m.status().get("pending_restart") for m in herd.members)
    # A parameter that needs a restart is pending until there was one.
    leader.request("PATCH", "/config", {"postgresql": {"parameters": {"max_connections": 110}}})
    wait_for(lambda: leader.status().get("pending_restart"), what="pending restart")
    assert leader.request("POST", "/restart", {})[1] == "restarted successfully"
    wait_for(lambda: leader.sql("show max_connections") == [("110",)])
    assert herd.wait_leader() is leader


def test_kill_postmaster(herd):
    """The agent lives: its PostgreSQL starts again, or another takes over; no row is lost."""
    leader = herd.leader()
    with Writer(herd) as writer:
        leader.kill_postgres()
        n = len(writer.acked)
        wait_for(lambda: len(writer.acked) > n + 20, 20, "the writer goes on")
        writer.finish()
    herd.wait_healthy()


def test_lost_node_rejoins(herd):
    """Agent and PostgreSQL die together; the old leader comes back as a replica."""
    old = herd.leader()
    old.sql("create table t (i int)")
    old.kill()
    old.kill_postgres()
    new = herd.wait_leader(but=old)
    new.sql("insert into t values (1)")
    old.start()
    wait_for(lambda: old.get("/replica")[0] == 200, 30, "the old leader follows")
    wait_for(lambda: old.sql("select * from t") == [(1,)])
    assert new.is_primary()
    herd.wait_streaming(2)


def test_store_outage(herd):
    """Without the store the leader gives up before its lease can end; then all is well again."""
    leader = herd.leader()
    herd.etcd.stop()
    wait_for(lambda: leader.get("/primary")[0] == 503, 15, "the leader steps down")
    wait_for(lambda: not leader.postmaster() or leader.in_recovery(), 15, "no primary")
    herd.etcd.start()
    herd.wait_healthy()


def test_stop(herd):
    """A leader that is asked to end hands over; the others lead at once."""
    leader = herd.leader()
    with Writer(herd) as writer:
        assert leader.stop() == 0
        assert leader.postmaster() == 0
        herd.wait_leader(10, but=leader)
        n = len(writer.acked)
        wait_for(lambda: len(writer.acked) > n + 20, what="the writer goes on")
        writer.finish()
        assert writer.lost() == []
    leader.start()
    herd.wait_healthy()


def test_reinitialize(herd):
    replica = herd.replicas()[0]
    made = (replica.data / "PG_VERSION").stat().st_ctime_ns
    assert replica.request("POST", "/reinitialize", {}) == (200, "reinitialize started")
    wait_for(lambda: (replica.data / "PG_VERSION").stat().st_ctime_ns != made, 20, "a new copy")
    herd.wait_healthy()


def test_pause(herd):
    leader = herd.leader()
    leader.request("PATCH", "/config", {"pause": True})
    wait_for(lambda: all(m.status().get("pause") for m in herd.members), what="paused")
    # The agent may go and come; PostgreSQL and leadership stay, and no guard acts.
    postmaster = leader.postmaster()
    assert leader.stop() == 0
    time.sleep(6)
    assert leader.postmaster() == postmaster
    leader.start()
    wait_for(lambda: leader.get("/primary")[0] == 200, what="leads again")
    leader.request("PATCH", "/config", {"pause": None})
    wait_for(lambda: not leader.status().get("pause"))
    herd.wait_healthy()


def test_lost_synchronous_standby_releases_commits():
    """A commit that waits for a standby that is gone goes on with the next one, which has it already.

    Without wal_receiver_status_interval that one says so only when it gets something more.
    """
    postgresql = {"use_pg_rewind": True, "parameters": {"wal_receiver_status_interval": 0}}
    with Herd(3, dcs={"synchronous_mode": "on", "postgresql": postgresql}) as herd:
        leader = herd.wait_healthy()
        sync = wait_for(lambda: next((m for m in herd.replicas() if m.get("/sync")[0] == 200), None),
                        what="a synchronous standby")
        leader.sql("create table w (i int)")
        with contextlib.closing(leader.connect()) as c, c.cursor() as cur:
            sync.kill()
            sync.kill_postgres()
            wait_for(lambda: leader.sql("select count(*) from pg_stat_replication") == [(1,)],
                     step=0.01)
            # A commit cannot be cancelled, only its wait, which then says so.
            limit = threading.Timer(10, c.cancel)
            limit.start()
            cur.execute("insert into w values (1)")
            limit.cancel()
            assert c.notices == []


@pytest.mark.parametrize("mode", ["on", "quorum"])
def test_synchronous(mode):
    with Herd(3, dcs={"synchronous_mode": mode}) as herd:
        old = herd.wait_healthy()
        path = "/sync" if mode == "on" else "/quorum"
        count = 1 if mode == "on" else 2
        wait_for(lambda: sum(m.get(path)[0] == 200 for m in herd.members) == count,
                 what="synchronous standbys")
        quorum = 0 if mode == "on" else 1
        wait_for(lambda: json.loads(herd.keys()["/service/batman/sync"])["quorum"] == quorum)
        ssn = old.sql("show synchronous_standby_names")[0][0]
        assert ssn.startswith("ANY 1") == (mode == "quorum"), ssn
        with Writer(herd) as writer:
            # The leader's machine is gone: nothing that was acknowledged may be.
            old.process.send_signal(signal.SIGSTOP)
            os.kill(old.postmaster(), signal.SIGKILL)
            old.kill()
            herd.wait_leader(but=old)
            n = len(writer.acked)
            wait_for(lambda: len(writer.acked) > n + 20, 20, "the writer goes on")
            writer.finish()
            assert writer.lost() == []
        old.start()
        herd.wait_healthy()


def test_access():
    auth = {"restapi": {"authentication": {"username": "admin", "password": "x:y"}}}
    with Herd(1, patch=auth) as herd:
        m = herd.wait_leader()
        assert m.request("PATCH", "/config", {"ttl": 6}) == (401, "no auth header received")
        assert m.request("PATCH", "/config", {"ttl": 6}, auth="admin:no")[1] == "not authenticated"
        assert m.request("PATCH", "/config", {"ttl": 6}, auth="admin:x:y")[0] == 200
        assert m.get("/primary")[0] == 200
        log = m.log.read_text()
        assert "herd-secret" not in log and "x:y" not in log
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                assert b"herd-secret" not in open(f"/proc/{pid}/cmdline", "rb").read()
            except OSError:
                pass
