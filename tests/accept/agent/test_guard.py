"""The guard on real servers: whatever befalls an agent, no two members take writes, and with
synchronous replication no acknowledged row is lost."""

import contextlib
import os
import re
import signal
import threading
import time

import psycopg2
import pytest

from herd import Herd, PASSWORD, alive, guard_pages, wait_for
from namespaces import Net

TABLE = "create table if not exists stamps (node text, i int, at timestamptz)"


class Stamper(threading.Thread):
    """Writes to one member, whatever its role: what is acknowledged carries the server's clock."""

    def __init__(self, member):
        super().__init__(daemon=True)
        self.member, self.acked, self.end = member, [], threading.Event()

    def run(self):
        c, i = None, 0
        while not self.end.is_set():
            try:
                if c is None:
                    c = psycopg2.connect(
                        host=self.member.host, port=self.member.port, user="postgres",
                        password=PASSWORD, dbname="postgres", connect_timeout=2)
                    c.autocommit = True
                i += 1
                with c.cursor() as cur:
                    cur.execute("insert into stamps values (%s, %s, clock_timestamp()) "
                                "returning at", (self.member.name, i))
                    self.acked.append((i, cur.fetchone()[0]))
                time.sleep(0.002)
            except psycopg2.errors.ReadOnlySqlTransaction:
                time.sleep(0.02)
            except psycopg2.Error:
                if c:
                    c.close()
                c = None
                time.sleep(0.02)


@contextlib.contextmanager
def stampers(herd):
    herd.leader().sql(TABLE)
    herd.leader().sql("truncate stamps")
    threads = [Stamper(m) for m in herd.members]
    for t in threads:
        t.start()
    try:
        wait_for(lambda: any(len(t.acked) > 50 for t in threads), what="writers")
        yield threads
    finally:
        for t in threads:
            t.end.set()


def check(herd, threads, lossless):
    """No two reigns overlap; nothing that was acknowledged is missing."""
    for t in threads:
        t.end.set()
    for t in threads:
        t.join(30)
    reigns = sorted((t for t in threads if t.acked), key=lambda t: t.acked[0][1])
    for one, other in zip(reigns, reigns[1:]):
        assert one.acked[-1][1] < other.acked[0][1], (one.member.name, other.member.name)
    there = set(herd.wait_leader().sql("select node, i from stamps"))
    lost = [(t.member.name, i) for t in threads for i, _ in t.acked
            if (t.member.name, i) not in there]
    if lossless:
        assert lost == []


def guard_of(member):
    """The pids of the guards of a member."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
            if words[0] == b"pgherd-guard" and words[1] == str(member.data).encode() and \
                    alive(int(pid)):
                found.append(int(pid))
    return found


def servers(member):
    """All processes of the member's PostgreSQL."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd") == str(member.data) and alive(int(pid)) and \
                    "postgres" in open(f"/proc/{pid}/comm").read():
                found.append(int(pid))
    return found


@pytest.fixture(scope="module")
def sync_herd():
    with Herd(3, dcs={"synchronous_mode": True}) as h:
        h.wait_healthy()
        yield h


def healthy(herd):
    herd.wait_healthy()
    wait_for(lambda: any(m.get("/sync")[0] == 200 for m in herd.members), 30, "a sync standby")
    return herd.leader()


def takes_over(herd, old):
    new = wait_for(lambda: next((m for m in herd.members if m is not old and m.process and
                                 m.get("/primary")[0] == 200 and not m.in_recovery()), None),
                   60, "a new leader")
    wait_for(lambda: new.sql("select count(*) from stamps where node = %s", new.name)[0][0] > 20,
             30, "rows on the new leader")
    return new


def test_process(sync_herd):
    """Small, alone, its file private; a dead or stopped guard is replaced."""
    leader = healthy(sync_herd)
    (guard,) = guard_of(leader)
    status = open(f"/proc/{guard}/status").read()
    assert int(re.search(r"^Threads:\s+(\d+)", status, re.M).group(1)) == 1
    pss = re.search(r"^Pss:\s+(\d+) kB", open(f"/proc/{guard}/smaps_rollup").read(), re.M)
    assert int(pss.group(1)) < 1024
    (page,) = [p for p in guard_pages(leader.dir)]
    assert page.stat().st_mode & 0o777 == 0o600
    assert leader.status()["guard"] == "on"
    assert "guard: process" in leader.log.read_text(errors="replace")
    os.kill(guard, signal.SIGKILL)
    again = wait_for(lambda: [g for g in guard_of(leader) if g != guard], what="another guard")
    os.kill(again[0], signal.SIGSTOP)
    wait_for(lambda: again[0] not in guard_of(leader) and guard_of(leader), 30,
             "another for the stopped one")
    assert sync_herd.leader() is leader
    assert leader.status()["guard"] == "on"


def test_frozen_agent(sync_herd):
    old = healthy(sync_herd)
    with stampers(sync_herd) as threads:
        old.freeze()
        try:
            new = takes_over(sync_herd, old)
            assert servers(old) == []
        finally:
            old.thaw()
        check(sync_herd, threads, True)
    wait_for(lambda: old.get("/replica")[0] == 200, 60, "the old leader follows")
    assert "PostgreSQL was stopped because the lease was not renewed" in \
        old.log.read_text(errors="replace")
    assert "pgherd_guard_fired_total" in old.get("/metrics")[1]
    assert sync_herd.leader() is new


def test_killed_agent(sync_herd):
    """Nobody comes back: the guard acts, and takes its page with it."""
    old = healthy(sync_herd)
    with stampers(sync_herd) as threads:
        old.kill()
        takes_over(sync_herd, old)
        assert servers(old) == []
        check(sync_herd, threads, True)
    wait_for(lambda: guard_of(old) == [] and guard_pages(old.dir) == [], 20, "guard and page gone")
    old.start()
    wait_for(lambda: old.get("/replica")[0] == 200, 60, "the old leader follows")


def test_killed_agent_and_postmaster(sync_herd):
    """Backends of a killed postmaster may go on until they notice."""
    old = healthy(sync_herd)
    with stampers(sync_herd) as threads:
        old.kill()
        old.kill_postgres()
        takes_over(sync_herd, old)
        assert servers(old) == []
        check(sync_herd, threads, True)
    old.start()
    wait_for(lambda: old.get("/replica")[0] == 200, 60, "the old leader follows")


def test_everything_stopped(sync_herd):
    """Agent, postmaster and backends are stopped, as by a machine that swaps: all end."""
    old = healthy(sync_herd)
    with stampers(sync_herd) as threads:
        old.freeze()
        stopped = servers(old)
        for pid in stopped:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        try:
            takes_over(sync_herd, old)
            assert servers(old) == []
        finally:
            old.thaw()
        check(sync_herd, threads, True)
    wait_for(lambda: old.get("/replica")[0] == 200, 60, "the old leader follows")


def test_agent_again(sync_herd):
    """An agent that is started within the lease disturbs nothing."""
    leader = healthy(sync_herd)
    postmaster = leader.postmaster()
    before = leader.sql("select pg_postmaster_start_time()")
    for _ in range(2):
        leader.kill()
        leader.start()
        wait_for(lambda: leader.get("/primary")[0] == 200, 15, "it leads again")
    time.sleep(6)  # longer than the lease: no guard of the former ones acts
    assert leader.postmaster() == postmaster
    assert leader.sql("select pg_postmaster_start_time()") == before
    assert len(guard_of(leader)) == 1


def test_broken_agent_again(sync_herd):
    """An agent that finds the server, and ends at once for a reason of its own, leaves the guard."""
    old = healthy(sync_herd)
    with stampers(sync_herd) as threads:
        old.kill()
        old.patch = {"restapi": {"certfile": "/nonexistent", "keyfile": "/nonexistent"}}
        old.start()
        assert old.process.wait(20) != 0
        old.process = None
        old.patch = {}
        takes_over(sync_herd, old)
        assert servers(old) == []
        check(sync_herd, threads, True)
    old.start()
    wait_for(lambda: old.get("/replica")[0] == 200, 60, "the old leader follows")


def test_pause(sync_herd):
    """Deliberate maintenance switches it off."""
    leader = healthy(sync_herd)
    leader.request("PATCH", "/config", {"pause": True})
    wait_for(lambda: all(m.status().get("guard") == "paused" for m in sync_herd.members),
             what="paused")
    postmaster = leader.postmaster()
    leader.freeze()
    time.sleep(6)
    leader.thaw()
    assert leader.postmaster() == postmaster
    wait_for(lambda: leader.get("/primary")[0] == 200, 30, "it has the lock again")
    leader.request("PATCH", "/config", {"pause": None})
    wait_for(lambda: all(m.status().get("guard") == "on" for m in sync_herd.members),
             what="resumed")
    assert healthy(sync_herd) is leader


def test_no_guard(sync_herd):
    """Its file cannot be had: who requires a guard does not start, others have Patroni's limits."""
    member = next(m for m in sync_herd.members if m is not healthy(sync_herd))
    (page,) = guard_pages(member.dir)
    assert member.stop() == 0
    wait_for(lambda: not page.exists(), what="the page is removed")
    page.symlink_to("/dev/null")
    try:
        member.patch = {"guard": {"mode": "required"}}
        member.start()
        assert member.process.wait(20) == 1
        member.process, member.patch = None, {}
        assert f'could not open "{page}"' in member.log.read_text(errors="replace")
        member.start()
        wait_for(lambda: member.status().get("guard") == "failed", 30, "it goes on without")
        assert "it cannot be started; going on without" in member.log.read_text(errors="replace")
    finally:
        page.unlink()
    wait_for(lambda: member.status().get("guard") == "on", 30, "one that could be started later")
    healthy(sync_herd)


# --- packets lost, not connections ended --------------------------------------------------------

def test_lost_packets():
    """The leader's way to the store and the others loses every packet; clients still reach it."""
    with Net() as net, Herd(3, start=False,
                            etcd={"listen": "0.0.0.0", "advertise": "10.77.0.254"}) as herd:
        for m in herd.members:
            i = net.add()
            own = f"10.77.0.{i + 1}"
            m.wrap, m.host = net.inside(i), f"10.78.0.{i + 1}"
            m.patch = {
                "etcd3": {"hosts": [f"10.77.0.254:{herd.etcd.port}"]},
                "restapi": {"connect_address": f"{own}:{m.rest}", "listen": f"0.0.0.0:{m.rest}"},
                "postgresql": {"connect_address": f"{own}:{m.port}", "listen": f"0.0.0.0:{m.port}",
                               "pg_hba": ["local all all trust",
                                          "host all all all scram-sha-256",
                                          "host replication all 10.0.0.0/8 scram-sha-256"]}}
            m.start()
        old = herd.wait_healthy()
        with stampers(herd) as threads:
            net.cut(herd.members.index(old))
            takes_over(herd, old)
            net.cut(herd.members.index(old), "-D")
            check(herd, threads, False)
        wait_for(lambda: old.get("/replica")[0] == 200, 60, "the old leader follows")
