"""Stock Citus under our agent: the SQL that it gets.

Citus itself is in no Debian archive, so an extension of that name takes its place that has the functions the
agent calls, and keeps a record of the calls.
"""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from herd import ROOT, Herd, wait_for
from stock import PATIENT, Stock, our_ctl, swap

CONTROL = """comment = 'what the agent calls of Citus, with a record of the calls'
default_version = '1.0'
relocatable = false
schema = pg_catalog
"""

SQL = """
CREATE TABLE public.calls (n serial, tx bigint DEFAULT txid_current(), call text);
CREATE TABLE public.pg_dist_authinfo (nodeid int, rolename name, authinfo text);
CREATE TABLE public.pg_dist_node (nodeid serial PRIMARY KEY, groupid int, nodename text,
	nodeport int, noderole text, UNIQUE (nodename, nodeport));
ALTER TABLE public.pg_dist_authinfo SET SCHEMA pg_catalog;
ALTER TABLE public.pg_dist_node SET SCHEMA pg_catalog;

CREATE FUNCTION citus_set_coordinator_host(host text, port int DEFAULT 5432,
	node_role text DEFAULT 'primary', node_cluster name DEFAULT 'default')
RETURNS void LANGUAGE sql AS $$
	INSERT INTO public.calls (call) VALUES (format('coordinator %s:%s %s %s', $1, $2, $3, $4));
	INSERT INTO pg_catalog.pg_dist_node (groupid, nodename, nodeport, noderole)
		VALUES (0, $1, $2, $3) $$;

CREATE FUNCTION citus_add_node(nodename text, nodeport int, groupid int DEFAULT -1,
	noderole text DEFAULT 'primary', nodecluster name DEFAULT 'default')
RETURNS int LANGUAGE sql AS $$
	INSERT INTO public.calls (call)
		VALUES (format('add %s:%s group %s %s %s', $1, $2, $3, $4, $5));
	INSERT INTO pg_catalog.pg_dist_node (groupid, nodename, nodeport, noderole)
		VALUES ($3, $1, $2, $4) RETURNING nodeid $$;

CREATE FUNCTION citus_update_node(node_id int, new_node_name text, new_node_port int,
	force bool DEFAULT false, lock_cooldown int DEFAULT 10000)
RETURNS void LANGUAGE sql AS $$
	INSERT INTO public.calls (call)
		VALUES (format('update %s to %s:%s force %s', $1, $2, $3, $4));
	UPDATE pg_catalog.pg_dist_node SET nodename = $2, nodeport = $3 WHERE nodeid = $1 $$;

CREATE FUNCTION citus_remove_node(nodename text, nodeport int)
RETURNS void LANGUAGE sql AS $$
	INSERT INTO public.calls (call) VALUES (format('remove %s:%s', $1, $2));
	DELETE FROM pg_catalog.pg_dist_node d WHERE d.nodename = $1 AND d.nodeport = $2 $$;
"""

LIBRARY = '#include "postgres.h"\n#include "fmgr.h"\nPG_MODULE_MAGIC;\n'

NODES = "select groupid, nodename, nodeport, noderole from pg_dist_node order by 1, 4"


@pytest.fixture(scope="module")
def bin_dir():
    top = pathlib.Path("/tmp") / f"herd-citus-{os.getpid()}"
    try:
        config = subprocess.run([ROOT / "tests/lib/private-pg", top], check=True, text=True,
                                capture_output=True).stdout.strip()

        def where(what):
            return pathlib.Path(subprocess.run([config, "--" + what], check=True, text=True,
                                               capture_output=True).stdout.strip())
        extensions = where("sharedir") / "extension"
        (extensions / "citus.control").write_text(CONTROL)
        (extensions / "citus--1.0.sql").write_text(SQL)
        (where("pkglibdir") / "citus.so").unlink(missing_ok=True)  # may be a link to ours
        (top / "citus.c").write_text(LIBRARY)
        subprocess.run(["gcc", "-shared", "-fPIC", f"-I{where('includedir-server')}",
                        "-o", where("pkglibdir") / "citus.so", top / "citus.c"], check=True)
        subprocess.run(["chmod", "-R", "a+rX", top], check=True)
        yield str(pathlib.Path(config).parent)
    finally:
        shutil.rmtree(top, ignore_errors=True)


def calls(coordinator, after=0):
    return coordinator.sql("select n, tx, call from calls where n > %s order by n", after,
                           dbname="citus")


def test_citus(bin_dir):
    with Herd(groups={0: 1, 1: 2}, bin_dir=bin_dir) as herd:
        coordinator = herd.wait_leader(group=0)
        old = herd.wait_healthy(group=1)
        new = herd.replicas(1)[0]
        wait_for(lambda: coordinator.sql(NODES, dbname="citus") == [
            (0, "127.0.0.1", coordinator.port, "primary"),
            (1, "127.0.0.1", old.port, "primary"),
            (1, "127.0.0.1", new.port, "secondary")], 60, "the registration")
        # The library comes first, and its needs are met, as are the nodes' logins.
        for m in herd.members:
            assert m.sql("show shared_preload_libraries")[0][0].split(",")[0] == "citus"
            assert m.sql("show wal_level") == [("logical",)]
            assert m.sql("show citus.local_hostname") == [("127.0.0.1",)]
            assert int(m.sql("show max_prepared_transactions")[0][0]) >= 200
            assert m.sql("select extname from pg_extension where extname in ('citus', 'pgherd')",
                         dbname="citus") == [("citus",)]
        assert "password=" in old.sql("select authinfo from pg_dist_authinfo where nodeid = 0",
                                      dbname="citus")[0][0]
        said = calls(coordinator)
        assert said[0][2] == f"coordinator 127.0.0.1:{coordinator.port} primary default"
        assert f"add 127.0.0.1:{old.port} group 1 primary default" in [c[2] for c in said]
        assert f"add 127.0.0.1:{new.port} group 1 secondary default" in [c[2] for c in said]
        # A switchover of the worker: blocked under the name of nobody, and open with the new one,
        # in one transaction.
        # Until the new standby is confirmed as a synchronous one there is nobody to switch over to.
        wait_for(lambda: herd.switchover(new.name, group=1)[0] == 200, 30, "a switchover")
        wait_for(lambda: (1, "127.0.0.1", new.port, "primary") in coordinator.sql(
            NODES, dbname="citus"), 30, "the new primary's row")
        said = calls(coordinator, said[-1][0])
        first = said[0]
        assert first[2].startswith("update ") and f"-demoted:{old.port} force t" in first[2]
        switched = [c for c in said if c[1] == first[1]]
        node = first[2].split()[1]
        assert any(c[2].startswith(f"update {node} to 127.0.0.1:{new.port} force t")
                   for c in switched), said
        wait_for(lambda: (1, "127.0.0.1", old.port, "secondary") in coordinator.sql(
            NODES, dbname="citus"), 60, "the old primary's row")


def synchronous(herd):
    """The worker's leader has a synchronous standby."""
    wait_for(lambda: json.loads(herd.keys()["/service/batman/1/sync"]).get("sync_standby"), 60,
             "a synchronous standby of the worker")


def test_mixed_groups(bin_dir):
    """A worker and then the coordinator are led by a stock Patroni; either tells the other."""
    try:
        stock = Stock("trixie")
    except subprocess.CalledProcessError:
        pytest.skip("Debian's package patroni cannot be fetched")
    with Herd(groups={0: 1, 1: 1}, bin_dir=bin_dir, dcs=PATIENT) as herd:
        coordinator = herd.wait_leader(group=0)
        ours = herd.wait_leader(group=1)
        theirs = stock.member(herd, "p1")
        theirs.group = 1
        herd.members.append(theirs.start())
        for also_coordinator in (False, True):
            if also_coordinator:
                coordinator = swap(herd, coordinator,
                                   stock.member(herd, coordinator.name, of=coordinator))
                herd.wait_leader(group=0)
            for to in (theirs, ours):
                herd.wait_healthy(group=1)
                synchronous(herd)
                wait_for(lambda: len(coordinator.sql(NODES, dbname="citus")) == 3, 60, "the rows")
                last = calls(coordinator)[-1][0]
                ctl = our_ctl if to is theirs else stock.ctl
                out = ctl(herd, "switchover", "--group", "1", "--candidate", to.name, "--force")
                assert f'over to "{to.name}"' in out
                wait_for(lambda to=to: (1, "127.0.0.1", to.port, "primary") in coordinator.sql(
                    NODES, dbname="citus"), 60, "the new primary's row")
                said = calls(coordinator, last)
                assert "-demoted:" in said[0][2], said
                assert any(f"to 127.0.0.1:{to.port} force t" in c[2] and c[1] == said[0][1]
                           for c in said), said
            for ctl in (our_ctl, stock.ctl):
                assert all(f"| {m.name} " in ctl(herd, "list") for m in herd.members)
                assert "g0n1" not in ctl(herd, "list", "--group", "1")
