"""Members whose data went another way, or are half of something, come back without hands."""

import json
import os
import signal

import pytest
from herd import Herd, merge, own, wait_for

BIN = os.environ.get("PG_BIN_DIR", "/usr/lib/postgresql/15/bin")


def wrapper(herd, name, body):
    """A bin_dir in which one program is replaced by a script that may call the real one."""
    d = herd.dir / "bin"
    if not d.exists():
        d.mkdir()
        for f in os.listdir(BIN):
            (d / f).symlink_to(f"{BIN}/{f}")
    (d / name).unlink()
    (d / name).write_text(f"#!/bin/bash\n{body}\n")
    (d / name).chmod(0o755)
    own(d)
    return str(d)


def has(member, table):
    return bool(member.sql("select 1 from pg_class where relname = %s", table))


def diverge(herd):
    """The leader writes what nobody gets, dies with its machine, and another one leads."""
    old = herd.wait_healthy()
    new = next(m for m in herd.members if m is not old)
    new.kill()
    os.kill(new.postmaster(), signal.SIGQUIT)
    wait_for(lambda: not new.postmaster(), 30, "its end")
    old.sql("create table lost as select * from generate_series(1, 1000) i")
    old.sql("select pg_switch_wal()")
    old.kill()
    old.kill_postgres()
    new.start()
    assert herd.wait_leader(but=old) is new
    new.sql("create table if not exists kept (i int)")
    return old, new


def back(herd, old, new, seconds=90):
    wait_for(lambda: old.get("/replica")[0] == 200 and has(old, "kept"), seconds, "it follows")
    assert not has(old, "lost")
    herd.wait_streaming(1)


def rejoin(member):
    return member.status()["rejoin"]


@pytest.fixture(scope="module")
def herd():
    archive = {"maximum_lag_on_failover": 1 << 30,
               "postgresql": {"use_pg_rewind": True, "parameters": {"archive_mode": "on"}}}
    with Herd(2, dcs=archive, start=False) as h:
        (h.dir / "wal").mkdir()
        own(h.dir / "wal")
        # Nothing is archived as long as the file "closed" is there.
        merge(h.dcs, {"postgresql": {"parameters": {
            "archive_command": f"test ! -e {h.dir}/closed && cp %p {h.dir}/wal/%f"}}})
        merge(h.patch, {"postgresql": {"bin_dir": wrapper(h, "pg_rewind", f"""
[ -e {h.dir}/cut ] || exec {BIN}/pg_rewind "$@"
rm {h.dir}/cut
{BIN}/pg_rewind "$@" & sleep 0.01; echo "pg_rewind: need to copy 1 MB"; kill -9 $!; kill -9 $$""")}})
        for m in h.members:
            m.start()
        h.wait_healthy()
        yield h


def test_rewind(herd):
    """What waited for the archive is in it before pg_rewind removes it."""
    (herd.dir / "closed").write_text("")
    old, new = diverge(herd)
    ready = [f[:-6] for f in os.listdir(old.data / "pg_wal/archive_status") if f.endswith(".ready")]
    assert ready
    (herd.dir / "closed").unlink()
    old.start()
    back(herd, old, new)
    assert set(ready) <= set(os.listdir(herd.dir / "wal"))
    note = rejoin(old)
    assert note["what"] == "pg_rewind" and note["from"] == new.name and note["result"] == "done"
    doc = json.loads(herd.keys()[f"/service/batman/members/{old.name}"])
    assert doc["pgherd"]["rejoin"]["what"] == "pg_rewind"
    assert not os.path.exists(str(old.data) + ".diverged")


def test_rewind_that_is_cut_short(herd):
    """Half a rewind is no data directory: a new copy takes its place."""
    old, new = diverge(herd)
    (herd.dir / "cut").write_text("")
    own(herd.dir / "cut")
    os.chmod(herd.dir, 0o777)
    old.start()
    back(herd, old, new)
    assert not (herd.dir / "cut").exists()
    assert rejoin(old)["what"] == "new copy"


def test_agent_killed_during_a_rewind(herd):
    old, new = diverge(herd)
    (herd.dir / "cut").write_text("")
    own(herd.dir / "cut")
    (herd.dir / "bin/pg_rewind").write_text(
        f"#!/bin/bash\nif [ -e {herd.dir}/cut ]; then rm {herd.dir}/cut; touch {herd.dir}/begun; "
        f"sleep 60; fi\nexec {BIN}/pg_rewind \"$@\"\n")
    old.start()
    wait_for((herd.dir / "begun").exists, 60, "pg_rewind")
    old.kill()
    old.start()
    back(herd, old, new)


def test_without_rewind_the_data_are_put_aside(herd):
    leader = herd.wait_healthy()
    conf = {"postgresql": {"use_pg_rewind": False}}
    assert leader.request("PATCH", "/config", conf)[0] == 200
    old, new = diverge(herd)
    old.start()
    back(herd, old, new)
    assert os.path.isdir(str(old.data) + ".diverged")
    assert "putting the data directory aside" in old.log.read_text()


def test_removal_where_it_is_configured(herd):
    leader = herd.wait_healthy()
    conf = {"postgresql": {"remove_data_directory_on_diverged_timelines": True}}
    assert leader.request("PATCH", "/config", conf)[0] == 200
    old, new = diverge(herd)
    before = os.listdir(old.dir)
    old.start()
    back(herd, old, new)
    assert "reinitializing because data has diverged" in old.log.read_text()
    assert [f for f in os.listdir(old.dir) if f.startswith("data.")] == \
        [f for f in before if f.startswith("data.")]


def test_copy_that_is_cut_short(herd):
    """The agent dies in the middle of a base backup; a later one begins again."""
    leader = herd.wait_healthy()
    other = next(m for m in herd.members if m is not leader)
    (herd.dir / "bin/pg_basebackup").unlink()
    (herd.dir / "bin/pg_basebackup").write_text(
        f"#!/bin/bash\n{BIN}/pg_basebackup \"$@\" || exit 1\n"
        f"if [ ! -e {herd.dir}/copied ]; then touch {herd.dir}/copied; rm {other.data}/pg_hba.conf; "
        f"sleep 60; fi\n")
    (herd.dir / "bin/pg_basebackup").chmod(0o755)
    assert other.request("POST", "/reinitialize", {})[0] == 200
    wait_for((herd.dir / "copied").exists, 60, "the copy")
    other.kill()
    other.start()
    wait_for(lambda: other.get("/replica")[0] == 200, 90, "a replica")
    assert rejoin(other)["what"] == "new copy"


def test_half_a_data_directory(herd):
    """No mark says what it was: files are missing."""
    leader = herd.wait_healthy()
    other = next(m for m in herd.members if m is not leader)
    other.stop()
    (other.data / "global/pg_control").unlink()
    other.start()
    wait_for(lambda: other.get("/replica")[0] == 200, 90, "a replica")
