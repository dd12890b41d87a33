"""Callbacks and hooks, as scripts see them: arguments, moments, environment, what ends them."""

import os
import time

import pytest

from herd import Herd, alive, own, wait_for

CALLBACK = """#!/bin/sh
echo "$@" >> {dir}/calls
env > {dir}/env.$1
if [ -e {dir}/slow ]; then
    echo $$ > {dir}/slow.$1
    setsid sleep 300 &
    echo $! >> {dir}/slow.$1
    sleep 300
fi
echo "the word of $1"
sleep 0.2
echo "$1 ended" >> {dir}/ended
"""
PRE_PROMOTE = """#!/bin/sh
echo pre_promote >> {dir}/calls
test ! -e {dir}/refuse
"""
BEFORE_STOP = """#!/bin/sh
echo before_stop >> {dir}/calls
kill -0 $(head -1 {dir}/data/postmaster.pid) && echo running >> {dir}/calls
exit 3
"""
POST_BOOTSTRAP = """#!/bin/sh
echo "$@" > {dir}/bootstrap
env > {dir}/env.bootstrap
{bin}/psql -d "$2" -c "create table made_by_post_bootstrap ()"
"""
ACTIONS = ("on_start", "on_stop", "on_restart", "on_reload", "on_role_change")


def calls(member):
    path = member.dir / "calls"
    return path.read_text().splitlines() if path.exists() else []


def forget(member):
    (member.dir / "calls").unlink(missing_ok=True)
    (member.dir / "ended").unlink(missing_ok=True)


def called(member, *want, seconds=30):
    try:
        wait_for(lambda: calls(member) == list(want), seconds)
    except AssertionError:
        assert calls(member) == list(want), member.name


@pytest.fixture(scope="module")
def herd():
    with Herd(2, start=False, env={"PATRONI_SUPERUSER_PASSWORD": "herd-secret"}) as h:
        for m in h.members:
            m.dir.mkdir(exist_ok=True)
            scripts = {"callback": CALLBACK, "pre_promote": PRE_PROMOTE,
                       "before_stop": BEFORE_STOP, "post_bootstrap": POST_BOOTSTRAP}
            for name, text in scripts.items():
                (m.dir / name).write_text(text.replace("{dir}", str(m.dir)).replace(
                    "{bin}", m.config()["postgresql"]["bin_dir"]))
                (m.dir / name).chmod(0o755)
            m.patch = {
                "bootstrap": {"post_bootstrap": f"{m.dir}/post_bootstrap 'a word'"},
                "postgresql": {
                    "callbacks": {a: f"/bin/sh {m.dir}/callback" for a in ACTIONS},
                    "pre_promote": f"{m.dir}/pre_promote",
                    "before_stop": f"{m.dir}/before_stop"}}
            own(m.dir)
        h.members[0].start()
        h.wait_leader()
        h.members[1].start()
        h.wait_healthy()
        yield h


def test_start(herd):
    leader, replica = herd.leader(), herd.replicas()[0]
    called(leader, "on_start primary batman")
    called(replica, "on_start replica batman")
    # post_bootstrap: a connection string, as its last word, and the way to the password.
    words = (leader.dir / "bootstrap").read_text()
    assert words.startswith("a word ") and "host" in words and "herd-secret" not in words
    assert "PGPASSFILE=" in (leader.dir / "env.bootstrap").read_text()
    assert leader.sql("select count(*) from pg_class where relname = 'made_by_post_bootstrap'") \
        == [(1,)]
    for name in ("env.on_start", "env.bootstrap"):
        env = (leader.dir / name).read_text()
        assert "herd-secret" not in env and "PATRONI_" not in env and "PGHERD_" not in env
    wait_for(lambda: "callback on_start primary: the word of on_start"
             in leader.log.read_text(errors="replace"), what="its word in the log")


def test_reload_and_restart(herd):
    leader, replica = herd.leader(), herd.replicas()[0]
    for m in herd.members:
        forget(m)
    leader.request("POST", "/reload")
    called(leader, "on_reload primary batman")
    forget(leader)
    assert leader.request("POST", "/restart", {})[0] == 200
    called(leader, "before_stop", "running", "on_restart primary batman")
    assert replica.request("POST", "/restart", {})[0] == 200
    called(replica, "before_stop", "running", "on_restart replica batman")
    herd.wait_healthy()


def test_switchover(herd):
    old, new = herd.wait_healthy(), herd.replicas()[0]
    for m in herd.members:
        forget(m)
    assert herd.switchover(new.name)[0] == 200
    called(new, "pre_promote", "on_role_change primary batman")
    wait_for(lambda: calls(old)[-1] == "on_role_change replica batman", 30, "the old one's change")
    # The start follows so soon that on_stop may be ended before its first word.
    said = [c for c in calls(old) if c != "on_stop primary batman"]
    assert said == ["before_stop", "running", "on_role_change replica batman"]
    herd.wait_healthy()


def test_promotion_refused(herd):
    old, new = herd.wait_healthy(), herd.replicas()[0]
    (new.dir / "refuse").touch()
    for m in herd.members:
        forget(m)
    herd.switchover(new.name)
    wait_for(lambda: "pre_promote script failed" in new.log.read_text(errors="replace"), 30)
    assert herd.wait_leader() is old
    assert calls(new)[0] == "pre_promote" and "on_role_change primary batman" not in calls(new)
    (new.dir / "refuse").unlink()
    herd.wait_healthy()


def pids(member, action):
    return [int(w) for w in (member.dir / f"slow.{action}").read_text().split()]


def test_the_next_ends_the_one_before(herd):
    leader = herd.wait_healthy()
    (leader.dir / "slow").touch()
    assert leader.request("POST", "/restart", {})[0] == 200  # it does not wait for the callback
    first = wait_for(lambda: (lambda p: p if len(p) == 2 else None)(pids(leader, "on_restart")))
    leader.request("POST", "/reload")
    reload = wait_for(lambda: (lambda p: p if len(p) == 2 else None)(pids(leader, "on_reload")))
    assert all(alive(p) for p in first)  # on_reload is apart
    (leader.dir / "slow").unlink()
    assert leader.request("POST", "/restart", {})[0] == 200
    wait_for(lambda: not any(alive(p) for p in first), what="its whole family ended")
    assert all(alive(p) for p in reload)
    leader.request("POST", "/reload")
    wait_for(lambda: not any(alive(p) for p in reload), what="on_reload ended by the next")
    herd.wait_healthy()


def test_stop(herd):
    """on_stop goes on when the agent is gone, whatever it says."""
    replica = (herd.wait_healthy(), herd.replicas()[0])[1]
    forget(replica)
    assert replica.stop() == 0
    called(replica, "before_stop", "running", "on_stop replica batman")
    wait_for(lambda: (replica.dir / "ended").exists(), what="its end")
    replica.start()
    herd.wait_healthy()
