"""failsafe_mode: a leader goes on without the store while all members let it."""

import json
import time

import pytest

from herd import Herd, Writer, wait_for


@pytest.fixture(scope="module")
def herd():
    with Herd(3, dcs={"failsafe_mode": True}) as h:
        h.wait_healthy()
        yield h


def names(m):
    status, text = m.get("/failsafe")
    return sorted(json.loads(text)) if status == 200 else []


def ask(m, name):
    return m.request("POST", "/failsafe", {
        "name": name, "conn_url": "postgres://127.0.0.1:1/postgres",
        "api_url": "http://127.0.0.1:1/patroni", "slots": {}})


def test_key_and_words(herd):
    leader = herd.leader()
    wait_for(lambda: names(leader) == ["n1", "n2", "n3"], what="all members in /failsafe")
    key = json.loads(herd.keys()["/service/batman/failsafe"])
    assert key == {m.name: f"http://127.0.0.1:{m.rest}/patroni" for m in herd.members}
    assert leader.status().get("failsafe_mode_is_active") is None
    assert ask(leader, "n9") == (500, "Running as a leader")
    assert leader.request("POST", "/failsafe", [])[0] == 400


def test_store_down(herd):
    leader = herd.wait_healthy()
    wait_for(lambda: names(leader) == ["n1", "n2", "n3"], what="all members in /failsafe")
    before = leader.sql("select pg_postmaster_start_time()")
    with Writer(herd) as writer:
        herd.etcd.stop()
        wait_for(lambda: leader.status().get("failsafe_mode_is_active"), 30, "failsafe mode")
        # Longer than the lease lives: without members' word it would be over now.
        end = time.monotonic() + 8
        while time.monotonic() < end:
            assert leader.get("/primary")[0] == 200
            time.sleep(0.5)
        for m in herd.members:
            assert m.status()["role"] == ("primary" if m is leader else "replica")
            assert m.status()["failsafe_mode_is_active"] is True
        text = leader.get("/metrics")[1]
        assert 'patroni_failsafe_mode_is_active{scope="batman",name="%s"} 1' % leader.name in text
        # Its PostgreSQL dies: it is started again in place.
        leader.kill_postgres()
        n = len(writer.acked)
        wait_for(lambda: len(writer.acked) > n + 20, 30, "writes go on")
        herd.etcd.start()
        wait_for(lambda: herd.keys().get("/service/batman/leader") == leader.name, 30,
                 "the key is the same one's")
        wait_for(lambda: leader.status().get("failsafe_mode_is_active") is None, 30, "normal life")
        writer.finish()
    assert leader.sql("select pg_postmaster_start_time()") != before
    assert leader.sql("select timeline_id from pg_control_checkpoint()") == [(1,)]
    assert herd.wait_healthy() is leader


def test_leader_cut_off_from_the_store(herd):
    """The store lives, the leader's way to it does not: nobody takes over, by their word."""
    leader = herd.wait_healthy()
    wait_for(lambda: names(leader) == ["n1", "n2", "n3"], what="all members in /failsafe")
    path = "/service/batman/leader"
    other = herd.replicas()[0]
    # Every member is told that another leads without the store; then the real one goes.
    for m in herd.replicas():
        assert ask(m, "n9")[0] == 200
    herd.etcd.call("kv/deleterange", {"key": "L3NlcnZpY2UvYmF0bWFuL2xlYWRlcg=="})
    wait_for(lambda: herd.keys().get(path) == leader.name, 30, "the primary takes it again")
    assert other.status()["role"] == "replica"
    assert herd.wait_healthy() is leader


def test_one_member_missing(herd):
    leader = herd.wait_healthy()
    wait_for(lambda: names(leader) == ["n1", "n2", "n3"], what="all members in /failsafe")
    gone = herd.replicas()[0]
    herd.etcd.stop()
    wait_for(lambda: leader.status().get("failsafe_mode_is_active"), 30, "failsafe mode")
    gone.kill()
    wait_for(leader.in_recovery, 30, "the leader is read-only")
    assert leader.get("/primary")[0] == 503
    herd.etcd.start()
    gone.start()
    herd.wait_healthy()


def test_switched_off(herd):
    leader = herd.wait_healthy()
    assert leader.request("PATCH", "/config", {"failsafe_mode": False})[0] == 200
    wait_for(lambda: "/service/batman/failsafe" not in herd.keys(), 30, "the key is gone")
    wait_for(lambda: leader.get("/failsafe")[0] == 502, 30, "502")
    replica = herd.replicas()[0]
    wait_for(lambda: ask(replica, "n9")[0] == 502, 30, "refused when off")
