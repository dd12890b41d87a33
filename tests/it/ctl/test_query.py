"""`query` on a real PostgreSQL."""
import glob
import os
import shutil
import subprocess
import tempfile

import pytest

from conftest import free_port

BIN = os.path.dirname(sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))[-1])


def as_postgres(*args):
    prefix = (["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
              if os.getuid() == 0 else [])
    subprocess.run(prefix + list(args), check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def postgres():
    top = tempfile.mkdtemp(prefix="herd-query-")
    data, port = f"{top}/data", free_port()
    if os.getuid() == 0:
        shutil.chown(top, "postgres", "postgres")
    as_postgres(f"{BIN}/initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
    as_postgres(f"{BIN}/pg_ctl", "-D", data, "-w", "-l", f"{top}/log", "-o",
                f"-p {port} -k {top} -c listen_addresses=127.0.0.1 -c fsync=off", "start")
    yield port
    as_postgres(f"{BIN}/pg_ctl", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(top)


def test_query(ctl, plain, etcd, members, postgres):
    etcd.put("/service/demo/members/a", members[0].document(postgres, role="primary"))
    options = ["-m", "a", "-U", "postgres"]
    assert ctl("query", *options, "-c", "select 1 as a, null as b, true as c").stdout == (
        "a\tb\tc\n1\tNone\tTrue\n")
    assert ctl("query", *options, "--format", "json", "-c", "select 1 as a, true as b, 'x' as c"
               ).stdout == '[{"a": 1, "b": true, "c": "x"}]\n'
    assert ctl("query", *options, "--format", "pretty", "-c", "select 1 as a").stdout == (
        "+---+\n| a |\n+---+\n| 1 |\n+---+\n")
    assert ctl("query", *options, "--delimiter", "|", "-c", "select 1 as a, 2 as a").stdout == (
        "a|a\n1|2\n")
    assert "syntax error" in ctl("query", *options, "-c", "selct", rc=1).stderr
    assert ctl("query", "-r", "leader", "-U", "postgres", "-c", "select current_database()",
               "-d", "template1").stdout == "current_database\ntemplate1\n"
