"""What people ask for: switchover, failover, restart; now, later, and under conditions."""

import base64
import contextlib
import json
import os
import signal
import threading
import time

import pytest

from herd import Herd, Writer, wait_for

ROOT = "/service/batman/"


@pytest.fixture(scope="module")
def herd():
    with Herd(3) as h:
        h.wait_healthy()
        yield h


def soon(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + seconds))


def member(herd, m):
    return json.loads(herd.keys()[ROOT + "members/" + m.name])


def started(m):
    return m.sql("select pg_postmaster_start_time()")[0][0]


def others(herd, leader):
    return [m for m in herd.members if m is not leader]


def tag(m, **tags):
    c = m.config()
    c["tags"] = tags
    (m.dir / "config.yml").write_text(json.dumps(c))
    assert m.request("POST", "/reload")[0] == 202
    wait_for(lambda: member(m.herd, m).get("tags", {}) == {k: v for k, v in tags.items() if v},
             20, "tags")


def test_scheduled_switchover(herd):
    leader = herd.wait_healthy()
    target = others(herd, leader)[0]
    body = {"leader": leader.name, "candidate": target.name, "scheduled_at": soon(60)}
    assert leader.request("POST", "/switchover", body)[0] == 202
    shown = json.loads(leader.get("/cluster")[1])["scheduled_switchover"]
    assert (shown["from"], shown["to"]) == (leader.name, target.name)
    assert leader.request("DELETE", "/switchover")[0] == 200
    assert leader.request("DELETE", "/switchover")[0] == 404
    body["scheduled_at"] = soon(3)
    assert target.request("POST", "/switchover", body)[0] == 202
    assert herd.leader() is leader
    assert herd.wait_leader(but=leader) is target
    wait_for(lambda: ROOT + "failover" not in herd.keys(), 20, "the request is cleared")
    herd.wait_healthy()


def test_a_schedule_of_another_leader_is_dropped(herd):
    leader = herd.wait_healthy()
    a, b = others(herd, leader)
    assert leader.request("POST", "/switchover", {
        "leader": leader.name, "candidate": a.name, "scheduled_at": soon(3600)})[0] == 202
    leader.stop()
    herd.wait_leader(but=leader)
    wait_for(lambda: ROOT + "failover" not in herd.keys(), 20, "the request is cleared")
    leader.start()
    herd.wait_healthy()


def test_stale_schedule(herd):
    """A time that passed while nobody could act is not made up for."""
    leader = herd.wait_healthy()
    a = others(herd, leader)[0]
    doc = json.dumps({"leader": leader.name, "member": a.name, "scheduled_at": soon(-60)})
    herd.etcd.call("kv/put", {"key": base64.b64encode((ROOT + "failover").encode()).decode(),
                              "value": base64.b64encode(doc.encode()).decode()})
    wait_for(lambda: ROOT + "failover" not in herd.keys(), 20, "the request is dropped")
    assert herd.leader() is leader


def test_restart_conditions(herd):
    leader = herd.wait_healthy()
    replica = others(herd, leader)[0]
    no = (503, "restart conditions are not satisfied")
    assert replica.request("POST", "/restart", {"role": "primary"}) == no
    assert leader.request("POST", "/restart", {"role": "replica"}) == no
    assert leader.request("POST", "/restart", {"postgres_version": "9.5.0"}) == no
    assert leader.request("POST", "/restart", {"restart_pending": True}) == no
    before = started(leader)
    assert leader.request("PATCH", "/config", {
        "postgresql": {"parameters": {"max_connections": 60}}})[0] == 200
    wait_for(lambda: member(herd, leader).get("pending_restart"), 30, "pending_restart")
    assert leader.request("POST", "/restart", {"restart_pending": True, "role": "primary"}) == (
        200, "restarted successfully")
    assert started(leader) > before and herd.leader() is leader
    assert leader.sql("show max_connections") == [("60",)]
    wait_for(lambda: not member(herd, leader).get("pending_restart"), 30, "done")


def test_scheduled_restart(herd):
    leader = herd.wait_healthy()
    replica, third = others(herd, leader)
    before = started(replica)
    body = {"schedule": soon(3600), "role": "replica"}
    assert replica.request("POST", "/restart", body)[0] == 202
    assert replica.request("POST", "/restart", body)[0] == 409
    wait_for(lambda: member(herd, replica).get("scheduled_restart"), 20, "it is published")
    # It stands through a change of leader elsewhere ...
    assert herd.switchover(third.name)[0] == 200
    herd.wait_healthy()
    assert member(herd, replica)["scheduled_restart"]["role"] == "replica"
    # ... and is void when the server was restarted otherwise.
    assert replica.request("POST", "/restart", {})[0] == 200
    wait_for(lambda: "scheduled_restart" not in member(herd, replica), 20, "it is dropped")
    assert replica.request("DELETE", "/restart")[0] == 404
    again = started(replica)
    assert again > before
    herd.wait_healthy()
    assert replica.request("POST", "/restart", {"schedule": soon(2)})[0] == 202
    wait_for(lambda: started(replica) > again, 30, "it is restarted")
    herd.wait_healthy()


def test_who_may_take_over(herd):
    leader = herd.wait_healthy()
    a, b = others(herd, leader)
    tag(a, nofailover=True)
    status, text = leader.request("POST", "/failover", {"candidate": a.name})
    assert (status, text) == (
        412, "failover is not possible: no good candidates have been found")
    # A request that was written to the store by hand is refused by the leader.
    doc = json.dumps({"leader": leader.name, "member": a.name})
    herd.etcd.call("kv/put", {"key": base64.b64encode((ROOT + "failover").encode()).decode(),
                              "value": base64.b64encode(doc.encode()).decode()})
    wait_for(lambda: ROOT + "failover" not in herd.keys(), 20, "the request is dropped")
    assert herd.leader() is leader
    # Nobody named: only the other may.
    assert leader.request("POST", "/switchover", {"leader": leader.name}) == (
        200, f'Successfully switched over to "{b.name}"')
    tag(a)
    herd.wait_healthy()


def test_failover_priority(herd):
    leader = herd.wait_healthy()
    a, b = others(herd, leader)
    tag(b, failover_priority=5)
    leader.stop()
    assert herd.wait_leader(but=leader) is b
    leader.start()
    tag(b)
    herd.wait_healthy()


def test_candidate_that_stops_receiving(herd):
    """It cannot confirm the last bytes: the leader takes everything back and goes on."""
    leader = herd.wait_healthy()
    target = others(herd, leader)[0]
    with Writer(herd) as writer:
        receiver = target.sql("select pid from pg_stat_wal_receiver")[0][0]
        os.kill(receiver, signal.SIGSTOP)
        try:
            status, text = leader.request("POST", "/switchover",
                                          {"leader": leader.name, "candidate": target.name})
        finally:
            with contextlib.suppress(OSError):
                os.kill(receiver, signal.SIGCONT)
        assert status in (200, 503), text
        herd.wait_leader()
        n = len(writer.acked)
        wait_for(lambda: len(writer.acked) > n + 20, 60, "the writer goes on")
        writer.finish()
    assert writer.lost() == []
    herd.wait_healthy()


def test_candidate_that_dies(herd):
    leader = herd.wait_healthy()
    target = others(herd, leader)[0]
    with Writer(herd) as writer, contextlib.closing(leader.connect()) as c:
        # A transaction holds the shutdown up, meanwhile the candidate goes.
        c.autocommit = False
        with c.cursor() as cur:
            cur.execute("create table if not exists held (i int)")
            answer = []
            t = threading.Thread(target=lambda: answer.append(leader.request(
                "POST", "/switchover", {"leader": leader.name, "candidate": target.name})))
            t.start()
            target.kill()
            target.kill_postgres()
            t.join(90)
        assert answer and answer[0][0] in (412, 503), answer
        herd.wait_leader()
        n = len(writer.acked)
        wait_for(lambda: len(writer.acked) > n + 20, 60, "the writer goes on")
        writer.finish()
    assert writer.lost() == []
    target.start()
    herd.wait_healthy()


def test_asynchronous_candidate(herd):
    """synchronous_mode: a switchover takes a synchronous one, a failover may take any."""
    leader = herd.wait_healthy()
    assert leader.request("PATCH", "/config", {"synchronous_mode": True})[0] == 200

    def standby():
        return json.loads(herd.keys().get(ROOT + "sync", "{}")).get("sync_standby")
    sync = wait_for(standby, 30, "a synchronous standby")
    other = next(m for m in others(herd, leader) if m.name != sync)
    assert leader.request("POST", "/switchover",
                          {"leader": leader.name, "candidate": other.name}) == (
        412, "candidate name does not match with sync_standby")
    assert leader.request("POST", "/failover", {"candidate": other.name}) == (
        200, f'Successfully failed over to "{other.name}"')
    herd.wait_healthy()
    wait_for(standby, 30, "a synchronous standby again")
    assert herd.leader().request("PATCH", "/config", {"synchronous_mode": None})[0] == 200


def test_crash_with_primary_start_timeout_zero(herd):
    """Fail over at once instead of starting again in place."""
    leader = herd.wait_healthy()
    assert leader.request("PATCH", "/config", {"primary_start_timeout": 0})[0] == 200
    wait_for(lambda: json.loads(leader.get("/config")[1]).get("primary_start_timeout") == 0)
    leader.kill_postgres()
    new = herd.wait_leader(but=leader)
    herd.wait_healthy()
    history = json.loads(new.get("/history")[1])
    assert history[-1][2].startswith("no recovery target specified")
    assert history[-1][4] == new.name
    assert new.request("PATCH", "/config", {"primary_start_timeout": None})[0] == 200
