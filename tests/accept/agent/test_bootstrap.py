"""Custom bootstrap: a backup is restored, recovered to a point in time, and becomes a cluster."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from herd import BIN_DIR, PASSWORD, Herd, merge, own, wait_for

RESTORE = """#!/bin/bash
echo "$0 $*" >> {dir}/calls
for a in "$@"; do case $a in --datadir=*) data=${{a#*=}};; esac; done
cp -a {dir}/backup "$data" && chmod 700 "$data"
"""
POST = """#!/bin/bash
echo "$*" > {dir}/post
psql -X -w -d "${{@: -1}}" -c "create table made_by_post_bootstrap (i int)" || exit 1
"""


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A backup, an archive, and the moments between three rows."""
    archive = {"postgresql": {"parameters": {"archive_mode": "on"}}}
    with Herd(1, dcs=archive, start=False) as herd:
        n, work = herd["n1"], herd.dir / "work"
        (work / "wal").mkdir(parents=True)
        own(work)
        merge(herd.dcs, {"postgresql": {"parameters": {
            "archive_command": f"cp %p {work}/wal/%f", "max_connections": 60}}})
        n.start()
        herd.wait_leader()
        backup = [f"{BIN_DIR}/pg_basebackup", "-D", str(work / "backup"), "-c", "fast", "-X", "none",
                  "-h", "127.0.0.1", "-p", str(n.port), "-U", "postgres"]
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run([*as_postgres, *backup], check=True, cwd="/", capture_output=True,
                       env=dict(os.environ, PGPASSWORD=PASSWORD))
        n.sql("create table rows (i int)")
        moments = []
        for i in range(3):
            n.sql("insert into rows values (%s)", i)
            moments.append(n.sql("select clock_timestamp()::text")[0][0])
            n.sql("select pg_switch_wal()")
        wait_for(lambda: n.sql("select last_archived_wal >= pg_walfile_name(pg_current_wal_lsn()"
                               " - 16777216) from pg_stat_archiver")[0][0], 30, "the archive")
        sysid = n.status()["database_system_identifier"]
        yield {"dir": work, "moments": moments, "sysid": sysid}


def cluster(source, n=1, method=None, bootstrap=None, **more):
    work = source["dir"]
    own_dir = pathlib.Path(work, f"c{len(os.listdir(work))}")
    own_dir.mkdir()
    shutil.copytree(work / "backup", own_dir / "backup", symlinks=True)
    script(own_dir / "restore", RESTORE.format(dir=own_dir))
    script(own_dir / "post", POST.format(dir=own_dir))
    own(own_dir)
    patch = {"bootstrap": {"method": "mine", "mine": {"command": f"{own_dir}/restore", **method},
                           "post_bootstrap": f"{own_dir}/post one", **(bootstrap or {})}}
    herd = Herd(n, patch=patch, **more)
    herd.own_dir = own_dir
    return herd


def test_point_in_time(source):
    conf = {"restore_command": f"cp {source['dir']}/wal/%f %p",
            "recovery_target_time": source["moments"][1], "recovery_target_timeline": "latest"}
    method = {"recovery_conf": conf, "retention": 7, "check": True}
    with cluster(source, 2, method) as herd:
        leader = herd.wait_healthy()
        assert leader.sql("select i from rows order by i") == [(0,), (1,)]
        assert leader.sql("select timeline_id from pg_control_checkpoint()") == [(2,)]
        assert leader.status()["database_system_identifier"] == source["sysid"]
        history = json.loads(herd.keys()["/service/batman/history"])
        assert [line[0] for line in history] == [1]
        assert leader.sql("select 1 from pg_class where relname = 'made_by_post_bootstrap'")
        # What served the recovery is over.
        assert leader.sql("show restore_command") == [("",)]
        assert leader.sql("show hba_file")[0][0].endswith("/pg_hba.conf")
        assert not (leader.data / "recovery.signal").exists()
        call = (herd.own_dir / "calls").read_text().split()
        assert call[1:] == ["--scope=batman", f"--datadir={leader.data}", "--retention=7",
                            "--check=True"]
        words = (herd.own_dir / "post").read_text().split()
        assert words[0] == "one" and not any("password" in w for w in words)
        assert any(w == f"port={leader.port}" for w in words)


def test_keep_existing_recovery_conf(source):
    method = {"keep_existing_recovery_conf": True, "no_params": True, "datadir": "held back"}
    with cluster(source, 1, method, start=False) as herd:
        data = herd["n1"].data
        lines = [f"restore_command = 'cp {source['dir']}/wal/%f %p'",
                 "recovery_target_action = 'promote'"]
        script(herd.own_dir / "restore",
               f"#!/bin/bash\necho \"$0 $*\" > {herd.own_dir}/calls\n"
               f"cp -a {herd.own_dir}/backup {data} && chmod 700 {data} || exit 1\n"
               f"touch {data}/recovery.signal\n"
               f"cat >> {data}/postgresql.auto.conf <<'E'\n" + "\n".join(lines) + "\nE\n")
        own(herd.own_dir)
        herd["n1"].start()
        leader = herd.wait_leader()
        assert leader.sql("select count(*) from rows") == [(3,)]
        assert leader.sql("show restore_command") == [("",)]
        assert len((herd.own_dir / "calls").read_text().split()) == 1


def failed(herd, seconds=60):
    n = herd["n1"]
    assert wait_for(lambda: n.process.poll() is not None and n.process, seconds,
                    "the end").returncode == 1
    assert "/service/batman/initialize" not in herd.keys()
    assert not n.data.exists() or not os.listdir(n.data)
    text = n.log.read_text()
    assert "removed initialize key after failed attempt to bootstrap the cluster" in text
    return text


def test_method_that_fails(source):
    with cluster(source, 1, {"command": "sh -c 'echo the tape is broken >&2; exit 3'"}) as herd:
        assert "the tape is broken" in failed(herd)


def test_post_bootstrap_that_fails(source):
    conf = {"restore_command": f"cp {source['dir']}/wal/%f %p"}
    with cluster(source, 1, {"recovery_conf": conf}, {"post_bootstrap": "/bin/false"}) as herd:
        failed(herd)
        assert os.path.isdir(str(herd["n1"].data) + ".failed")
        assert not herd["n1"].postmaster()


def test_target_that_is_never_reached(source):
    conf = {"restore_command": f"cp {source['dir']}/wal/%f %p", "recovery_target_name": "nowhere"}
    with cluster(source, 1, {"recovery_conf": conf}) as herd:
        failed(herd)


def test_initdb_options():
    boot = {"initdb": {"encoding": "UTF8", "locale": "C", "data-checksums": True, "wal-segsize": 32},
            "pg_hba": ["host template1 all 127.0.0.1/32 reject"], "post_init": "/bin/true"}
    with Herd(1, patch={"bootstrap": boot, "postgresql": {"pg_hba": None}}) as herd:
        n = herd["n1"]
        wait_for(lambda: n.status()["role"] == "primary", 60, "a leader")
        text = (n.data / "pg_hba.conf").read_text()
        assert text.rstrip().endswith("host template1 all 127.0.0.1/32 reject")
        assert "# TYPE" in text, "what initdb wrote"


@pytest.mark.skipif(not shutil.which("pgbackrest"), reason="pgbackrest is not installed")
def test_pgbackrest():
    """A replica by delta restore, and a new cluster at a point in time."""
    with Herd(2, dcs={"postgresql": {"parameters": {"archive_mode": "on"}}}, start=False) as herd:
        n1, n2 = herd.members
        (herd.dir / "repo").mkdir()
        conf = herd.dir / "pgbackrest.conf"
        conf.write_text(f"[global]\nrepo1-path={herd.dir}/repo\nlog-path={herd.dir}\n"
                        f"lock-path={herd.dir}/repo\nlog-level-file=off\nstart-fast=y\n"
                        f"[main]\npg1-path={n1.data}\npg1-port={n1.port}\n"
                        f"pg1-socket-path={n1.dir}\n")
        own(herd.dir / "repo")
        herd.dir.chmod(0o777)
        tool = ["pgbackrest", f"--config={conf}", "--stanza=main"]
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

        def run(*words):
            subprocess.run([*as_postgres, *tool, *words], check=True, cwd="/", timeout=120)
        merge(herd.dcs, {"postgresql": {"parameters": {
            "archive_command": " ".join([*tool, "archive-push", "%p"])}}})
        n1.start()
        herd.wait_leader()
        run("stanza-create")
        run("backup")
        n1.sql("select pg_sleep(1.5)")  # a backup ends in a whole second for pgBackRest
        n1.sql("create table rows as select 1 as i")
        moment = n1.sql("select clock_timestamp()::text")[0][0]
        n1.sql("insert into rows values (2)")
        last = n1.sql("select pg_walfile_name(pg_switch_wal())")[0][0]
        wait_for(lambda: n1.sql("select last_archived_wal >= %s from pg_stat_archiver", last)[0][0],
                 30, "the archive")
        restore = " ".join([*tool, f"--pg1-path={n2.data}", "--delta", "--type=standby", "restore"])
        n2.patch = {"postgresql": {
            "create_replica_methods": ["pgbackrest", "basebackup"],
            "pgbackrest": {"command": restore, "keep_data": True, "no_params": True},
            "recovery_conf": {"restore_command": " ".join([*tool, "archive-get", "%f", '"%p"'])}}}
        n2.start()
        herd.wait_healthy()
        assert n2.sql("select i from rows order by i") == [(1,), (2,)]
        assert "pg_basebackup" not in n2.log.read_text()
        with Herd(1, start=False) as other:
            data = other["n1"].data
            command = " ".join([*tool, f"--pg1-path={data}", "--type=time", f'--target="{moment}"',
                                "--target-action=promote", "restore"])
            other.patch = {"bootstrap": {"method": "pitr", "pitr": {
                "command": command, "no_params": True, "keep_existing_recovery_conf": True}}}
            other["n1"].start()
            assert other.wait_leader().sql("select i from rows") == [(1,)]
