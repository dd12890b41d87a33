"""Stock Patroni and ours in one herd: the release that Debian ships, and the one after it."""

import json
import re
import time

import pytest

from herd import Herd, Writer, wait_for
from stock import PATIENT, Stock, our_ctl, swap

SYNC = {**PATIENT, "synchronous_mode": True}


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stock(request):
    return Stock(request.param)


@pytest.fixture(scope="module")
def herd(stock):
    """n1 and n2 are ours, p1 is a stock Patroni that joined as a replica."""
    with Herd(2, dcs={**PATIENT, "slots": {"kept": {"type": "physical"}}}) as h:
        h.wait_healthy()
        h.members.append(stock.member(h, "p1").start())
        h.wait_healthy()
        yield h


def rows(text):
    """The table of `list`: {member: [role, timeline]}."""
    lines = [[c.strip() for c in x.strip("|").split("|")] for x in text.splitlines() if "|" in x]
    at = {name: i for i, name in reversed(list(enumerate(lines[0])))}
    return {x[at["Member"]]: [x[at["Host"]], x[at["Role"]], x[at["TL"]]] for x in lines[1:]}


def same_list(herd, stock):
    """Both programs read the same out of the store."""
    theirs, ours = rows(stock.ctl(herd, "list")), rows(our_ctl(herd, "list"))
    assert theirs == ours
    return ours


def settle(herd, leader=None):
    """Everybody follows, and both lists say so."""
    assert herd.wait_healthy() is (leader or herd.wait_leader())
    timeline = herd.leader().status()["timeline"]
    wait_for(lambda: all(json.loads(v).get("timeline") == timeline
                         for k, v in herd.keys().items() if "/members/" in k), what="one timeline")


def test_joined(herd, stock):
    settle(herd)
    listed = same_list(herd, stock)
    assert sorted(r[1] for r in listed.values()) == ["Leader", "Replica", "Replica"]
    leader = herd.leader()
    assert {s[0] for s in leader.sql("select slot_name from pg_replication_slots")} >= {
        "kept", "p1"}
    # What either writes about itself is told apart by the version only.
    keys = herd.keys()
    replica = next(m for m in herd.replicas() if m.name != "p1")
    ours = json.loads(keys["/service/batman/members/" + replica.name])
    theirs = json.loads(keys["/service/batman/members/p1"])
    assert set(theirs) <= set(ours) | {"pending_restart"}
    if stock.version >= (4, ):
        assert [k for k in ours if k in theirs] == [k for k in theirs if k in ours]


def test_switchover_to_stock_and_back(herd, stock):
    p1 = herd["p1"]
    with Writer(herd) as writer:
        our_ctl(herd, "switchover", "--candidate", "p1", "--force")
        settle(herd, p1)
        assert same_list(herd, stock)["p1"][1] == "Leader"
        stock.ctl(herd, "switchover", "--candidate", "n2", "--force")
        settle(herd, herd["n2"])
        assert same_list(herd, stock)["n2"][1] == "Leader"
        writer.finish()
    assert writer.lost() == []
    history = json.loads(herd.keys()["/service/batman/history"])
    assert [h[4] for h in history] == ["p1", "n2"]
    assert rows_of_history(our_ctl(herd, "history")) == rows_of_history(stock.ctl(herd, "history"))


def rows_of_history(text):
    return [re.split(r"\s*\|\s*", x)[1:3] for x in text.splitlines() if re.match(r"\|\s+\d", x)]


def test_ours_is_lost(herd, stock):
    """The only one that is left to lead is the stock one."""
    herd["n1"].stop()
    old = herd.leader()
    assert old is herd["n2"]
    with Writer(herd):
        old.kill()
        old.kill_postgres()
        assert herd.wait_leader(but=old) is herd["p1"]
    herd["n1"].start()
    old.start()
    settle(herd, herd["p1"])
    same_list(herd, stock)


def test_stock_is_lost(herd, stock):
    old = herd["p1"]
    with Writer(herd):
        old.kill()
        old.kill_postgres()
        new = herd.wait_leader(but=old)
    old.start()
    settle(herd, new)
    same_list(herd, stock)
