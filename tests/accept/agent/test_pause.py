"""Pause: people act by hand, the agents look on."""

import json
import subprocess
import time

import pytest

from herd import BIN_DIR, Herd, wait_for

ROOT = "/service/batman/"


@pytest.fixture(scope="module")
def herd():
    with Herd(3) as h:
        h.wait_healthy()
        yield h


def pause(herd, on):
    leader = next(m for m in herd.members if m.process)
    # An agent that has started without the store may not listen yet.
    wait_for(lambda: leader.request("PATCH", "/config", {"pause": on or None})[0] == 200, 30,
             f"pause={on} is taken")

    def told():
        keys = herd.keys()
        members = [json.loads(v) for k, v in keys.items() if k.startswith(ROOT + "members/")]
        return members and all(bool(m.get("pause")) == on for m in members)
    wait_for(told, 30, f"all members know pause={on}")


@pytest.fixture
def paused(herd):
    herd.wait_healthy()
    pause(herd, True)
    yield herd
    pause(herd, False)
    herd.wait_healthy()


def pg_ctl(m, *args):
    subprocess.run(["runuser", "-u", "postgres", "--", f"{BIN_DIR}/pg_ctl", "-D", str(m.data),
                    *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def key(herd, name):
    return herd.keys().get(ROOT + name)


def test_stopped_by_hand(paused):
    """A stopped leader gives the key up; nobody takes it; a restart makes it the leader again."""
    leader = paused.leader()
    pg_ctl(leader, "stop", "-m", "fast")
    wait_for(lambda: key(paused, "leader") is None, 30, "the key is released")
    time.sleep(2)
    assert key(paused, "leader") is None and leader.postmaster() == 0
    assert all(m.in_recovery() for m in paused.members if m is not leader)
    assert leader.status()["pause"] is True
    status, text = leader.request("POST", "/restart", {})
    assert (status, text) == (200, "restarted successfully")
    wait_for(lambda: key(paused, "leader") == leader.name, 30, "it leads again")
    assert not leader.in_recovery()


def test_agents_leave_postgres_alone(paused):
    leader = paused.leader()
    before = {m.name: m.postmaster() for m in paused.members}
    for m in paused.members:
        m.stop()
    assert {m.name: m.postmaster() for m in paused.members} == before
    wait_for(lambda: key(paused, "leader") is None, 30, "the lease ends")
    for m in paused.members:
        m.start()
    wait_for(lambda: key(paused, "leader") == leader.name, 30, "the primary has the key again")
    assert {m.name: m.postmaster() for m in paused.members} == before


def test_store_away_and_agent_again(paused):
    """An agent that starts while the store is down knows of no pause, and does nothing."""
    leader = paused.leader()
    before = leader.postmaster()
    paused.etcd.stop()
    leader.kill()
    leader.start()
    time.sleep(8)
    assert leader.postmaster() == before and not leader.in_recovery()
    paused.etcd.start()
    wait_for(lambda: key(paused, "leader") == leader.name, 40, "it holds the key")
    assert leader.postmaster() == before


def test_promoted_by_hand(paused):
    """A second primary is told of, not stopped. Whom people leave running gets the key."""
    leader = paused.leader()
    other = next(m for m in paused.members if m is not leader)
    pg_ctl(other, "promote")
    wait_for(lambda: not other.in_recovery(), 20, "promoted")
    time.sleep(2)
    assert not leader.in_recovery() and not other.in_recovery()
    assert key(paused, "leader") == leader.name
    assert "runs as a primary too" in other.log.read_text(errors="replace")
    pg_ctl(leader, "stop", "-m", "fast")
    wait_for(lambda: key(paused, "leader") == other.name, 30, "the other one leads")


def test_switchover_by_name(paused):
    leader = paused.leader()
    target = next(m for m in paused.members if m is not leader)
    status, text = leader.request("POST", "/switchover", {"leader": leader.name})
    assert (status, text) == (
        400, "Switchover is possible only to a specific candidate in a paused state")
    status, text = leader.request("POST", "/switchover",
                                  {"leader": leader.name, "candidate": target.name})
    assert (status, text) == (200, f'Successfully switched over to "{target.name}"')
    paused.wait_leader(but=leader)
    # The old one runs on as a standby, and the third follows too.
    paused.wait_streaming(2, 60)


def test_failover_without_a_leader(paused):
    leader = paused.leader()
    target = next(m for m in paused.members if m is not leader)
    leader.kill_postgres()
    wait_for(lambda: key(paused, "leader") is None, 30, "the key is released")
    status, text = target.request("POST", "/failover", {"candidate": target.name})
    assert (status, text) == (200, f'Successfully failed over to "{target.name}"')
    assert key(paused, "leader") == target.name
    assert leader.postmaster() == 0


def test_a_scheduled_switchover_waits(herd):
    leader = herd.wait_healthy()
    target = herd.replicas()[0]
    at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 4))
    assert leader.request("POST", "/switchover", {
        "leader": leader.name, "candidate": target.name, "scheduled_at": at})[0] == 202
    pause(herd, True)
    time.sleep(6)
    assert herd.leader() is leader and key(herd, "failover") is not None
    # Nothing else wakes up because of it.
    leader.kill_postgres()
    time.sleep(2)
    assert leader.postmaster() == 0
    assert leader.request("DELETE", "/switchover")[0] == 200
    pause(herd, False)
    herd.wait_healthy()
