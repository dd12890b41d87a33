"""The progress probe: a server that lives and does not work is noticed, reported and replaced."""

import contextlib
import os
import signal
import subprocess
import threading
import time

import psycopg2
import pytest

from herd import Herd, own, wait_for

PROBE = {"mode": "report", "timeout": 3}


@pytest.fixture(scope="module")
def herd():
    with Herd(2, start=False, dcs={"probe": PROBE}) as h:
        small = h.members[0]
        small.dir.mkdir(exist_ok=True)
        small.data.mkdir()
        mounted = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", small.data],
            stderr=subprocess.DEVNULL).returncode == 0
        own(small.dir)
        h.small_disk = mounted
        small.start()
        h.wait_leader()
        h.members[1].start()
        h.wait_healthy()
        yield h
        if mounted:
            for m in h.members:
                m.stop()
            subprocess.run(["umount", "-l", small.data], check=True)


def child(member, title):
    """The pid of a process of the server."""
    with open(f"/proc/{member.postmaster()}/task/{member.postmaster()}/children") as f:
        for pid in f.read().split():
            with contextlib.suppress(OSError):
                if title in open(f"/proc/{pid}/cmdline").read():
                    return int(pid)


def stalled(member):
    return member.status().get("stalled", "")


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)


def reported(herd, member, word):
    wait_for(lambda: word in stalled(member), 40, f"{word} reported")
    assert f'pgherd_postgres_stalled{{scope="batman",name="{member.name}"}} 1' in \
        member.get("/metrics")[1]
    wait_for(lambda: word in herd.keys()[f"/service/batman/members/{member.name}"],
             what="in the member's key")
    assert "PostgreSQL makes no progress" in member.log.read_text(errors="replace")


def test_busy_server_is_no_alarm(herd):
    """Load, checkpoints, a transaction that waits for its client with unflushed WAL."""
    leader = herd.leader()
    end = threading.Event()
    leader.sql("create table idle (i int)")

    def load(n):
        with contextlib.suppress(psycopg2.Error), \
                contextlib.closing(leader.connect()) as c, c.cursor() as cur:
            cur.execute(f"create table load{n} (i int, t text)")
            while not end.is_set():
                cur.execute(f"truncate load{n}")
                cur.execute(f"insert into load{n} select i, repeat('x', 500) "
                            "from generate_series(1, 2000) i")
                cur.execute("checkpoint")

    with contextlib.closing(leader.connect()) as idle:
        idle.autocommit = False
        idle.cursor().execute("insert into idle values (1)")
        time.sleep(4)
        assert not stalled(leader)
        threads = [threading.Thread(target=load, args=(n,), daemon=True) for n in range(4)]
        for t in threads:
            t.start()
        time.sleep(6)
        assert not stalled(leader)
        end.set()
        for t in threads:
            t.join()
    for m in herd.members:
        assert "makes no progress" not in m.log.read_text(errors="replace")


def test_stopped_process(herd):
    """On the leader and on a replica; a postmaster that is stopped leaves new clients without answer,
    while sessions that are open work."""
    leader, replica = herd.leader(), herd.replicas()[0]
    with stopped(child(leader, "walwriter")), stopped(replica.postmaster()):
        reported(herd, leader, "walwriter")
        reported(herd, replica, "postmaster")
        assert leader.get("/primary")[0] == 200  # reported, not more
        assert "makes no progress: process" in leader.get("/explain")[1]
    wait_for(lambda: not stalled(leader) and not stalled(replica), 40, "all is well again")


def fill(member, path):
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=64k"], check=True,
                       stderr=subprocess.DEVNULL)


def test_full_disk(herd):
    if not herd.small_disk:
        pytest.skip("needs root, for a small file system")
    small, other = herd.members
    if herd.leader() is not small:
        assert herd.switchover(small.name)[0] == 200
        herd.wait_healthy()
    fill(small, small.data / "filler")
    reported(herd, small, "No space left on device")
    assert herd.leader() is small
    # Now another is to lead.
    status, _ = other.request("PATCH", "/config", {"probe": {"mode": "failover"}})
    assert status == 200
    assert herd.wait_leader(60, but=small) is other
    other.sql("create table after_failover ()")
    assert "demoting self because postgres makes no progress" in \
        small.log.read_text(errors="replace")
    (small.data / "filler").unlink()
    wait_for(lambda: small.get("/replica")[0] == 200, 60, "it follows")
    wait_for(lambda: not stalled(small), 40, "all is well again")


def test_hung_server_is_replaced(herd):
    old = herd.wait_healthy()
    old.request("PATCH", "/config", {"probe": {"mode": "failover"}})
    postmaster = old.postmaster()
    with stopped(postmaster):
        new = herd.wait_leader(60, but=old)
    assert new is not old
    wait_for(lambda: old.get("/replica")[0] == 200, 60, "it follows")
    assert old.postmaster() != postmaster
