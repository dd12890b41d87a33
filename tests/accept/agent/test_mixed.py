"""Stock Patroni and ours in one herd: the release that Debian ships, and the one after it."""

import gzip
import json
import re
import subprocess

import pytest
import yaml

from herd import BIN_DIR, PASSWORD, Herd, Member, Writer, wait_for
from stock import PATIENT, Stock, debian_layout, our_ctl, swap


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stock(request):
    try:
        return Stock(request.param)
    except subprocess.CalledProcessError:
        pytest.skip(f"Debian's package patroni ({request.param}) cannot be fetched")


@pytest.fixture(scope="module")
def herd(stock):
    """n1 and n2 are ours, p1 is a stock Patroni that joined as a replica."""
    with Herd(2, dcs={**PATIENT, "slots": {"kept": {"type": "physical"}}}) as h:
        h.wait_healthy()
        h.members.append(stock.member(h, "p1").start())
        h.wait_healthy()
        yield h


# What takes long, and does not depend on the release, is done with one of them.
THIS_RELEASE = pytest.mark.parametrize("stock", ["bookworm"], indirect=True)
NEXT_RELEASE = pytest.mark.parametrize("stock", ["trixie"], indirect=True)


def rows(text):
    """The table of `list`: {member: [role, timeline]}."""
    lines = [[c.strip() for c in x.strip("|").split("|")] for x in text.splitlines() if "|" in x]
    at = {name: i for i, name in reversed(list(enumerate(lines[0])))}
    return {x[at["Member"]]: [x[at["Host"]], x[at["Role"]], x[at["TL"]]] for x in lines[1:]}


def same_list(herd, stock):
    """Both programs read the same out of the store, which may change between the two."""
    def read():
        theirs, ours = rows(stock.ctl(herd, "list")), rows(our_ctl(herd, "list"))
        return ours if theirs == ours else None
    return wait_for(read, 30, "the same list by both")


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


@THIS_RELEASE
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


@THIS_RELEASE
def test_stock_is_lost(herd, stock):
    old = herd["p1"]
    with Writer(herd):
        old.kill()
        old.kill_postgres()
        new = herd.wait_leader(but=old)
    old.start()
    settle(herd, new)
    same_list(herd, stock)


def commands(herd, ctl):
    """Every verb of patronictl that people use, against a healthy herd."""
    leader = herd.wait_healthy()
    member = next(m for m in herd.members if m is not leader)
    assert len(rows(ctl("list"))) == 3
    assert f"| + {member.name} " in ctl("topology")
    assert ctl("dsn").split() == ["host=127.0.0.1", f"port={leader.port}"]
    assert ctl("dsn", "-m", member.name).split() == ["host=127.0.0.1", f"port={member.port}"]
    assert "use_pg_rewind: true" in ctl("show-config")
    assert "TL" in ctl("history")
    assert f"{member.name}: Patroni" in ctl("version", "batman")
    out = ctl("query", "-U", "postgres", "-d", "postgres", "-r", "replica", "--password",
              "-c", "select pg_is_in_recovery() as standby", stdin=PASSWORD + "\n")
    assert "True" in out
    out = ctl("edit-config", "-p", "work_mem=9MB", "--force")
    assert "+    work_mem: 9MB" in out and "Configuration changed" in out
    wait_for(lambda: all(m.sql("show work_mem") == [("9MB",)] for m in herd.members),
             what="work_mem everywhere")
    out = ctl("restart", "batman", member.name, "--force")
    assert f"Success: restart on member {member.name}" in out
    herd.wait_healthy()
    out = ctl("restart", "batman", member.name, "--force", "--scheduled", "2099-01-01T10:00")
    assert f"Success: restart scheduled on member {member.name}" in out
    wait_for(lambda: "2099-01-01T10:00" in ctl("list"), what="the scheduled restart in list")
    assert "Success" in ctl("flush", "batman", member.name, "restart", "--force")
    assert "Reload request received" in ctl("reload", "batman", "--force")
    assert "paused" in ctl("pause", "--wait")
    assert "Maintenance mode: on" in ctl("list")
    assert "resumed" in ctl("resume", "--wait")
    out = ctl("reinit", "batman", member.name, "--force", "--wait")
    assert f"Success: reinitialize for member {member.name}" in out
    herd.wait_healthy()
    assert "Switchover scheduled" in ctl("switchover", "--force", "--scheduled",
                                         "2099-01-01T10:00")
    assert "Switchover scheduled at: 2099-01-01T10:00" in ctl("list")
    assert "deleted" in ctl("flush", "batman", "switchover", "--force")
    assert f'over to "{member.name}"' in ctl("switchover", "--candidate", member.name, "--force")
    herd.wait_healthy()
    other = next(m for m in herd.members if m not in (leader, member))
    assert f'over to "{other.name}"' in ctl("failover", "--candidate", other.name, "--force")
    assert herd.wait_healthy() is other
    assert f"| {other.name} " in ctl("history")


@THIS_RELEASE
def test_commands_of_stock(herd, stock):
    commands(herd, lambda *a, **k: stock.ctl(herd, *a, **k))


@NEXT_RELEASE
def test_commands_of_ours(herd, stock):
    commands(herd, lambda *a, **k: our_ctl(herd, *a, **k))


def test_migration(stock):
    """Three of Patroni become three of ours, one by one under a writer, and back again."""
    debian = stock.suite == "bookworm"
    sync = {"synchronous_mode": True if debian else "quorum"}
    with Herd(0, dcs={**PATIENT, **sync}) as herd:
        old = [stock.member(herd, f"n{i + 1}") for i in range(3)]
        new = [Member(herd, m.name) for m in old]
        for a, b in zip(old, new):
            b.port, b.rest = a.port, a.rest
        if debian:
            for m in old + new:
                debian_layout(m)
        herd.members = list(old)
        for m in old:
            m.start()
        herd.wait_healthy()
        wait_for(lambda: standbys(herd), what="a synchronous standby")
        same_list(herd, stock)
        with Writer(herd) as writer:
            for places in (zip(old, new), zip(new, old)):
                for a, b in places:
                    if a is herd.leader():
                        to = standbys(herd)[0]
                        our_ctl(herd, "switchover", "--candidate", to, "--force")
                        herd.wait_healthy()
                    swap(herd, a, b)
                    herd.wait_healthy()
                    wait_for(lambda: standbys(herd), what="a synchronous standby")
                    same_list(herd, stock)
                if debian and herd.members == new:
                    fresh = herd.replicas()[0]
                    our_ctl(herd, "reinit", "batman", fresh.name, "--force", "--wait")
                    herd.wait_healthy()
                    assert fresh.sql("show data_directory") == [(str(fresh.data), )]
            n = len(writer.acked)
            wait_for(lambda: len(writer.acked) > n + 20, what="the writer goes on")
            writer.finish()
        assert writer.lost() == []


@NEXT_RELEASE
def test_swap_in_pause(stock):
    """In a pause the agents are changed and no server notices: one connection lives through it."""
    with Herd(0, dcs=PATIENT) as herd:
        old = [stock.member(herd, f"n{i + 1}") for i in range(2)]
        new = [Member(herd, m.name) for m in old]
        for a, b in zip(old, new):
            b.port, b.rest = a.port, a.rest
        herd.members = list(old)
        for m in old:
            m.start()
        leader = herd.wait_healthy()
        place = old.index(leader)
        before = {m.name: m.postmaster() for m in old}
        connection = leader.connect()
        for a, b in ((old, new), (new, old)):
            our_ctl(herd, "pause", "--wait")
            for x, y in zip(a, b):
                swap(herd, x, y)
                wait_for(lambda y=y: y.status()["state"] == "running", 30, f"{y.name} is back")
            wait_for(lambda b=b: herd.leader() is b[place], 40, "the leader is the same")
            our_ctl(herd, "resume", "--wait")
            herd.wait_healthy()
            same_list(herd, stock)
            assert herd.leader() is b[place]
            assert {m.name: m.postmaster() for m in b} == before
        with connection.cursor() as cur:
            cur.execute("select pg_is_in_recovery()")
            assert cur.fetchone() == (False, )
        connection.close()


@THIS_RELEASE
def test_example_of_patroni(stock):
    """The example files that come with Patroni, with other ports and etcd3 for etcd."""
    with Herd(0) as herd:
        for i in range(2):
            path = stock.source.parents[1].parent / f"share/doc/patroni/examples/postgres{i}.yml"
            text = path.read_text() if path.exists() else gzip.decompress(
                path.with_suffix(".yml.gz").read_bytes()).decode()
            example = yaml.safe_load(text.replace("\netcd:", "\netcd3:"))
            m = Member(herd, example["name"])
            example["etcd3"]["host"] = f"127.0.0.1:{herd.etcd.port}"
            example["postgresql"].update(listen=f"127.0.0.1:{m.port}", bin_dir=BIN_DIR,
                                         connect_address=f"127.0.0.1:{m.port}",
                                         pgpass=str(m.dir / "pgpass"))
            example["restapi"].update(listen=f"127.0.0.1:{m.rest}",
                                      connect_address=f"127.0.0.1:{m.rest}")
            assert not example["postgresql"]["data_dir"].startswith("/")
            m.cwd, m.data = m.dir, m.dir / example["postgresql"]["data_dir"]
            m.config = lambda example=example: example
            m.password = example["postgresql"]["authentication"]["superuser"]["password"]
            herd.members.append(m)
            m.start()
        leader = herd.wait_healthy()
        hba = (leader.data / "pg_hba.conf").read_text()
        assert "host replication replicator 127.0.0.1/32 md5" in hba
        assert not (leader.data / "pg_hba.bootstrap.conf").exists()


def standbys(herd):
    """Who is in /sync beside the leader, and still there."""
    text = herd.keys().get("/service/batman/sync")
    return (json.loads(text or "{}").get("sync_standby") or "").split(",") if text else []
