"""How a member gets its data, and whom it follows."""

import contextlib
import os

import pytest
from herd import BIN_DIR, Herd, own, wait_for

COPY = """#!/bin/bash
echo "$(basename $0)" "$@" >> {dir}/calls
{then}
"""


def upstream_of(member):
    rows = member.sql("select sender_port from pg_stat_wal_receiver where status = 'streaming'")
    return rows[0][0] if rows else None


def healthy(member, seconds=90):
    wait_for(lambda: member.get("/replica")[0] == 200, seconds, f"{member.name} healthy")


def retag(member, **tags):
    member.patch = {"tags": tags}
    member.stop()
    member.start()


def calls(herd):
    with contextlib.suppress(FileNotFoundError):
        return [line.split() for line in (herd.dir / "calls").read_text().splitlines()]
    return []


def script(herd, name, then):
    path = herd.dir / name
    path.write_text(COPY.format(dir=herd.dir, then=then))
    path.chmod(0o755)
    own(path)
    return str(path)


@pytest.fixture(scope="module")
def herd():
    with Herd(3, start=False) as h:
        h.dir.chmod(0o777)
        (h.dir / "ts").mkdir()
        own(h.dir / "ts")
        h["n1"].start()
        leader = h.wait_leader()
        leader.sql(f"create tablespace space location '{h.dir}/ts'")
        leader.sql("create table there (i int) tablespace space")
        leader.sql("insert into there values (1)")
        yield h


def test_methods_in_order(herd):
    """The first that ends well wins; basebackup is one of them, with its options."""
    n2 = herd["n2"]
    (herd.dir / "wal2").mkdir()
    own(herd.dir / "wal2")
    n2.patch = {"postgresql": {
        "create_replica_methods": ["broken", "empty", "basebackup", "never"],
        "broken": {"command": script(herd, "broken", "exit 1"), "keep_data": True, "wal": "x y"},
        "empty": {"command": script(herd, "empty", "exit 0"), "no_params": True, "depth": 3,
                  "no_leader": True},
        "never": {"command": script(herd, "never", "exit 0")},
        "basebackup": [{"tablespace-mapping": f"{herd.dir}/ts={herd.dir}/ts2"}, "verbose",
                       {"waldir": str(herd.dir / "wal2")}, {"format": "tar"}]}}
    n2.start()
    healthy(n2)
    broken, empty = calls(herd)
    assert broken[0] == "broken" and empty == ["empty", "--depth=3"]
    text = " ".join(broken[1:])
    assert text.startswith("--keep_data=True --wal=x y --scope=batman --role=replica "
                           f"--datadir={n2.data} --connstring=dbname=postgres user=replicator ")
    assert f"port={herd['n1'].port}" in text and "password" not in text
    assert os.path.realpath(n2.data / "pg_wal") == str(herd.dir / "wal2")
    assert n2.sql("select i from there") == [(1,)]
    assert os.listdir(herd.dir / "ts2")
    assert 'option "format" is not allowed' in n2.log.read_text()


def test_reinitialize_with_links(herd):
    """WAL and tablespaces behind links are emptied with the data directory, and filled again."""
    n2, leader = herd["n2"], herd.leader()
    leader.sql("insert into there values (2)")
    start = n2.status()["postmaster_start_time"]
    assert n2.request("POST", "/reinitialize", {})[0] == 200
    wait_for(lambda: n2.get("/replica")[0] == 200
             and n2.status()["postmaster_start_time"] != start, 90, "the new copy")
    assert n2.sql("select i from there order by i") == [(1,), (2,)]
    assert os.path.realpath(n2.data / "pg_wal") == str(herd.dir / "wal2")


def test_clonefrom(herd):
    """A member that offers itself is the source; from_leader goes past it."""
    n2, n3 = herd["n2"], herd["n3"]
    retag(n2, clonefrom=True)
    n2.patch["postgresql"] = {"basebackup": []}
    healthy(n2)
    wait_for(lambda: '"clonefrom":true' in herd.keys()["/service/batman/members/n2"], 30, "the tag")
    ts = f"--tablespace-mapping={herd.dir}/ts2={herd.dir}/ts3 " \
         f"--tablespace-mapping={herd.dir}/ts={herd.dir}/ts3"
    n3.patch = {"postgresql": {
        "create_replica_methods": ["own"],
        "own": {"command": script(herd, "own", f"""
for a in "$@"; do case $a in --connstring=*) from=${{a#*=}};; --datadir=*) data=${{a#*=}};; esac; done
echo "$from" >> {herd.dir}/sources
rm -rf {herd.dir}/ts3
exec {BIN_DIR}/pg_basebackup -D $data -c fast -X stream {ts} -d "$from"
""")}}}
    n3.start()
    healthy(n3)
    sources = (herd.dir / "sources").read_text().splitlines()
    assert f"port={n2.port}" in sources[0]
    assert n3.sql("select i from there order by i") == [(1,), (2,)]
    start = n3.status()["postmaster_start_time"]
    assert n3.request("POST", "/reinitialize", {"from_leader": True})[0] == 200
    wait_for(lambda: n3.get("/replica")[0] == 200
             and n3.status()["postmaster_start_time"] != start, 90, "the new copy")
    sources = (herd.dir / "sources").read_text().splitlines()
    assert f"port={herd['n1'].port}" in sources[-1]


def test_replicatefrom(herd):
    """A cascade, and the leader when the member that is to feed it is away."""
    n1, n2, n3 = (herd[n] for n in ("n1", "n2", "n3"))
    n3.patch["tags"] = {"replicatefrom": "n2"}
    n3.stop()
    n3.start()
    wait_for(lambda: upstream_of(n3) == n2.port, 60, "the cascade")
    slots = lambda m: {r[0]: r[1] for r in m.sql(  # noqa: E731
        "select slot_name, active from pg_replication_slots")}
    wait_for(lambda: slots(n2).get("n3"), 30, "its slot")
    n2.stop()
    wait_for(lambda: upstream_of(n3) == n1.port, 60, "from the leader meanwhile")
    n2.start()
    wait_for(lambda: upstream_of(n3) == n2.port, 60, "the cascade again")
    n1.sql("create table through_the_cascade (i int)")
    wait_for(lambda: n3.sql("select 1 from pg_class where relname = 'through_the_cascade'"), 30,
             "the table")


def test_nostream(herd):
    """WAL comes by the archive alone."""
    leader, n3 = herd.leader(), herd["n3"]
    (herd.dir / "archive").mkdir()
    own(herd.dir / "archive")
    params = {"archive_mode": "on", "archive_command": f"cp %p {herd.dir}/archive/%f"}
    assert leader.request("PATCH", "/config", {"postgresql": {"parameters": params}})[0] == 200
    wait_for(lambda: leader.status().get("pending_restart"), 30, "pending restart")
    assert leader.request("POST", "/restart", {})[0] == 200
    n3.patch["tags"] = {"nostream": True}
    n3.patch["postgresql"]["recovery_conf"] = {"restore_command": f"cp {herd.dir}/archive/%f %p"}
    n3.stop()
    n3.start()
    wait_for(lambda: n3.status().get("replication_state") == "in archive recovery", 60, "the state")
    assert n3.sql("show primary_conninfo") == [("",)]
    leader.sql("create table by_the_archive (i int)")
    leader.sql("select pg_switch_wal()")
    wait_for(lambda: n3.sql("select 1 from pg_class where relname = 'by_the_archive'"), 60, "the table")
    slot = "select 1 from pg_replication_slots where slot_name = 'n3' and active"
    assert not leader.sql(slot)
    assert n3.get("/replica?replication_state=streaming")[0] == 503


def test_copy_without_a_leader(herd):
    """no_leader: a member comes into being while nobody serves."""
    n1, n2, n3 = (herd[n] for n in ("n1", "n2", "n3"))
    n3.stop()
    backup = script(herd, "cold", f'cp -a {herd.dir}/cold-copy {n3.data}; chmod 700 {n3.data}')
    n2.stop()
    n1.stop()
    (herd.dir / "cold-copy").unlink(missing_ok=True)
    os.rename(n3.data, herd.dir / "cold-copy")
    n3.patch = {"postgresql": {"create_replica_methods": ["basebackup", "cold"],
                               "cold": {"command": backup, "no_leader": 1}}}
    n3.start()
    wait_for(lambda: calls(herd)[-1][0] == "cold", 60, "the call")
    assert calls(herd)[-1][-1] == "--connstring=" and "--no_leader=1" in calls(herd)[-1]
    wait_for(lambda: n3.sql("select 1 from pg_class where relname = 'by_the_archive'"), 60, "data")
    n1.start()
    n2.start()
    herd.wait_leader()
