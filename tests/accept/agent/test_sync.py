"""Synchronous replication: /sync and synchronous_standby_names through all that happens."""

import contextlib
import json
import time

import pytest

from herd import Herd, Writer, wait_for

ROOT = "/service/batman/"


@pytest.fixture(scope="module")
def herd():
    with Herd(3, dcs={"synchronous_mode": "quorum"}) as h:
        h.wait_healthy()
        yield h


def sync(herd):
    return json.loads(herd.keys().get(ROOT + "sync", "{}"))


def ssn(m):
    return m.sql("show synchronous_standby_names")[0][0]


def others(herd, leader):
    return sorted(m.name for m in herd.members if m is not leader)


def config(m, **patch):
    assert m.request("PATCH", "/config", patch)[0] == 200


def wait_sync(herd, leader, names, quorum, text):
    want = {"leader": leader.name, "quorum": quorum,
            "sync_standby": ",".join(names) if names else None}

    def there():
        doc = sync(herd)
        return {k: doc.get(k) for k in want} == want and ssn(leader) == text
    wait_for(there, 40, f"/sync {want} and {text!r}")


def test_modes_at_run_time(herd):
    leader = herd.leader()
    a, b = others(herd, leader)
    wait_sync(herd, leader, [a, b], 1, f"ANY 1 ({a},{b})")
    assert all(m.get("/quorum")[0] == 200 for m in herd.replicas())
    config(leader, synchronous_node_count=2)
    wait_sync(herd, leader, [a, b], 0, f"ANY 2 ({a},{b})")
    config(leader, synchronous_mode=True)
    wait_sync(herd, leader, [a, b], 0, f"2 ({a},{b})")
    wait_for(lambda: all(m.get("/sync")[0] == 200 for m in herd.replicas()), 20, "/sync")
    config(leader, synchronous_node_count=1)
    wait_for(lambda: sync(herd)["sync_standby"] in (a, b), 40, "one of them")
    config(leader, synchronous_mode=False)
    wait_for(lambda: ROOT + "sync" not in herd.keys() and ssn(leader) == "", 40, "off")
    config(leader, synchronous_mode="quorum")
    wait_sync(herd, leader, [a, b], 1, f"ANY 1 ({a},{b})")


def test_nosync_and_strict(herd):
    leader = herd.wait_healthy()
    a, b = others(herd, leader)
    for m in herd.replicas():
        c = m.config()
        c["tags"] = {"nosync": True}
        (m.dir / "config.yml").write_text(json.dumps(c))
        assert m.request("POST", "/reload")[0] == 202
    wait_sync(herd, leader, [], 0, "")
    config(leader, synchronous_mode_strict=True)
    wait_for(lambda: ssn(leader) == "ANY 1 (*)", 40, "strict")
    for m in herd.replicas():
        (m.dir / "config.yml").write_text(json.dumps(m.config()))
        assert m.request("POST", "/reload")[0] == 202
    wait_sync(herd, leader, [a, b], 1, f"ANY 1 ({a},{b})")
    config(leader, synchronous_mode_strict=False)


def test_standby_leaves_before_it_ends(herd):
    """Commits do not hang while a synchronous standby is shut down."""
    leader = herd.wait_healthy()
    gone = herd.replicas()[0]
    wait_for(lambda: gone.name in (sync(herd).get("sync_standby") or ""), 40, "it is in /sync")
    seen = []
    with contextlib.closing(leader.connect()) as c, c.cursor() as cur:
        cur.execute("create table if not exists leaving (i int)")
        gone.process.terminate()

        def left():
            cur.execute("insert into leaving values (1)")
            key = json.loads(herd.keys().get(ROOT + "members/" + gone.name, "{}"))
            if key.get("tags", {}).get("nosync"):
                seen.append(key["tags"])
            return gone.process.poll() is not None
        wait_for(left, 40, "its end")
    gone.process = None
    assert {"nosync": True, "sync_priority": 0} in seen
    assert gone.name not in (sync(herd).get("sync_standby") or "")
    gone.start()
    herd.wait_healthy()


@pytest.mark.parametrize("mode", ["quorum", True, False])
def test_leader_ends(herd, mode):
    """SIGTERM of a leader hands over as a switchover does: nothing is lost, nobody is asked."""
    leader = herd.wait_healthy()
    config(leader, synchronous_mode=mode)
    if mode:
        wait_for(lambda: (sync(herd).get("sync_standby") or "") != "", 40, "a synchronous standby")
    else:
        wait_for(lambda: ROOT + "sync" not in herd.keys(), 40, "off")
    with Writer(herd) as writer:
        leader.stop()
        herd.wait_leader(but=leader)
        n = len(writer.acked)
        wait_for(lambda: len(writer.acked) > n + 20, 40, "the writer goes on")
        writer.finish()
    assert writer.lost() == []
    text = leader.log.read_text(errors="replace")
    assert "handing over the leader key before the shutdown" in text
    assert "shutdown: demoted myself" in text
    leader.start()
    herd.wait_healthy()
    wait_for(lambda: ROOT + "handover" not in herd.keys(), 20, "no handover is left")


def test_leader_ends_while_a_standby_joins(herd):
    """Half way into /sync is no reason to be without a leader."""
    leader = herd.wait_healthy()
    config(leader, synchronous_mode="quorum")
    back = herd.replicas()[0]
    for m in herd.replicas():
        m.stop()
    wait_sync(herd, leader, [], 0, "")
    back.start()
    wait_for(lambda: back.name in (sync(herd).get("sync_standby") or ""), 60, "it joins")
    leader.stop()
    assert herd.wait_leader(but=leader) is back
    for m in herd.members:
        if not m.process:
            m.start()
    herd.wait_healthy()
