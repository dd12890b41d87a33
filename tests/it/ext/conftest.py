"""Real servers for the extension's tests: a coordinator and two workers per test module."""
import contextlib
import os
import signal
import sys
import time

import psycopg2
import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(TOP, "extension", "tests"))

import cluster as herd  # noqa: E402


class Nodes(herd.Cluster):
    """The test cluster with what these tests do to it. Node 0 is the coordinator."""

    def rows(self, node, sql, **kw):
        """Rows of a statement in a session of its own."""
        with contextlib.closing(self.connect(node, **kw)) as c:
            c.autocommit = True
            cur = c.cursor()
            cur.execute(sql)
            return cur.fetchall() if cur.description else None

    def value(self, node, sql, **kw):
        return self.rows(node, sql, **kw)[0][0]

    def session(self, node=0, autocommit=True, **kw):
        c = self.connect(node, **kw)
        c.autocommit = autocommit
        return c

    def postmaster(self, node):
        with open(self.data(node) + "/postmaster.pid") as f:
            return int(f.readline())

    def kill(self, node):
        """kill -9 of the whole server at one moment: a backend that saw the postmaster's end would
        leave by itself, and let others have its locks."""
        pid = self.postmaster(node)
        children = [int(p) for p in os.popen("pgrep -P %d" % pid).read().split()]
        for one, what in ([(c, signal.SIGSTOP) for c in children] + [(pid, signal.SIGKILL)] +
                          [(c, signal.SIGKILL) for c in children]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, what)
        if node in self.running:
            self.running.remove(node)

    def revive(self, node):
        """Starts a killed server; its children may take a moment to leave shared memory."""
        for attempt in range(50):
            try:
                self.boot(node)
                return
            except RuntimeError:
                if attempt == 49:
                    raise
                time.sleep(0.2)

    def prepared(self, node):
        return [r[0] for r in self.rows(
            node, "select gid from pg_prepared_xacts where gid like 'citus%' order by 1")]

    def all_prepared(self):
        return [g for n in range(len(self.ports)) for g in self.prepared(n)]

    def node_of(self, table, key):
        """The node that owns a key."""
        return self.value(0, "select groupid from pg_dist_placement where shardid = "
                          "get_shard_id_for_distribution_column('%s', %s)" % (table, key))

    def keys_on(self, table, node, n=1, start=1):
        """The first n integers from start on that live on the node."""
        found, key = [], start
        while len(found) < n:
            if self.node_of(table, key) == node:
                found.append(key)
            key += 1
        return found


    @contextlib.contextmanager
    def blocked(self, table, node):
        """Statements on the table's shards of this node wait for the end of the with block."""
        shards = self.rows(0, "select shard_name(logicalrelid, shardid) from pg_dist_shard join "
                           "pg_dist_placement using (shardid) where logicalrelid = '%s'::regclass "
                           "and groupid = %d" % (table, node))
        with contextlib.closing(self.session(node, autocommit=False)) as c:
            c.cursor().execute("lock table %s in access exclusive mode" %
                               ", ".join(s for s, in shards))
            yield c
            c.rollback()


def run(c, sql, args=None):
    cur = c.cursor()
    cur.execute(sql, args)
    return cur.fetchall() if cur.description else cur.rowcount


def eventually(predicate, timeout=20, what="condition"):
    deadline = time.monotonic() + timeout
    while True:
        got = predicate()
        if got:
            return got
        assert time.monotonic() < deadline, "timed out waiting for " + what
        time.sleep(0.05)


@pytest.fixture(scope="session")
def pg_config(tmp_path_factory):
    """One private install for all modules; PGHERD_TEST_PG_CONFIG names one that is there already."""
    given = os.environ.get("PGHERD_TEST_PG_CONFIG")
    if given:
        return given
    directory = tmp_path_factory.mktemp("install")
    for parent in [directory, *directory.parents]:
        with contextlib.suppress(PermissionError):
            parent.chmod(parent.stat().st_mode | 0o755)
        if parent == parent.parent.parent:
            break
    one = herd.Cluster(directory=str(directory))
    one.install()
    return one.pg_config


@pytest.fixture(scope="module")
def nodes(pg_config):
    c = Nodes(pg_config=pg_config, conf="deadlock_timeout = 200ms\ncitus.recover_2pc_interval = 1s\n"
              "citus.node_connection_timeout = 15s\n")
    try:
        c.start()
        yield c
    finally:
        c.stop()


@pytest.fixture(scope="module")
def table(nodes):
    """A distributed table t(a, b) with a thousand rows."""
    nodes.psql(0, "create table t (a int primary key, b text)")
    nodes.psql(0, "select create_distributed_table('t', 'a')")
    nodes.psql(0, "insert into t select g, 'x' || g from generate_series(1, 1000) g")
    return "t"


@pytest.fixture
def keys(nodes, table):
    """A key on each worker."""
    return nodes.keys_on("t", 1)[0], nodes.keys_on("t", 2)[0]


@pytest.fixture
def wait_until():
    return eventually


__all__ = ["Nodes", "eventually", "psycopg2", "run"]
