"""ANALYZE of distributed tables: the planner's row counts are those that plain tables have."""
import json
import threading
import time

import pytest

import plan_herd

LOAD = """
create table t (k int, u int primary key, few int, many int, skew int, word text, nul int, d date, arr int[]);
create table o (id int primary key, k int, v numeric(10,2));
create table r (few int primary key, name text);
"""
ROWS = """
insert into t select i %% 2000, i, i %% 10, hashint4(i) %% 5000,
	case when i %% 3 = 0 then 7 else hashint4(i * 3) %% 100 end,
	'w' || (hashint4(i) & 1023), case when i %% 4 = 0 then i end, date '2024-01-01' + i / 100,
	array[i %% 5, i %% 7] from generate_series(1, 40000) i;
insert into o select i, i %% 2000, i * 0.25 from generate_series(1, 8000) i;
insert into r select i, 'n' || i from generate_series(0, 9) i;
"""
# the rows that the top of the plan, or the node named, is expected to give
SAME = [
    "select * from t",
    "select * from t where few = 3",
    "select * from t where u < 4000",
    "select * from t where u between 10000 and 20000 and few = 2",
    "select * from t where skew = 7",
    "select * from t where skew = 8",
    "select * from t where many = 17",
    "select * from t where word = 'w55'",
    "select * from t where word like 'w1%'",
    "select * from t where nul is null",
    "select * from t where nul is not null and few in (1, 2, 3)",
    "select * from t where d < date '2024-03-01'",
    "select * from t where arr @> array[3]",
    "select * from t join o using (k)",
    "select * from t join o using (k) where few = 3 and v < 500",
    "select * from t join r using (few) where name = 'n3'",
    "select few, count(*) from t group by few",
    "select many, count(*) from t group by many",
    "select few, skew, count(*) from t group by few, skew",
    "select k, count(*) from t group by k",
    "select distinct word from t",
    "select * from t order by u limit 30",
    # plans of this node over rows read from the shards
    "select * from t tablesample_ join o on tablesample_.many = o.id",
    "select * from t where u in (select id from o where v < 100 offset 0)",
    "select * from (select many, count(*) c from t group by many offset 0) x where c > 0",
]


def load(h):
    with h.connect() as con:
        for schema in ("plain", "dist"):
            con.execute("create schema %s" % schema)
            con.execute("set search_path = %s" % schema)
            con.execute(LOAD.replace("u int primary key", "u int primary key" if schema == "plain"
                                     else "u int, primary key (k, u)")
                        .replace("id int primary key, k int", "id int primary key, k int" if
                                 schema == "plain" else "id int, k int, primary key (k, id)"))
            if schema == "dist":
                con.execute("select create_distributed_table('t', 'k', shard_count => 8)")
                con.execute("select create_distributed_table('o', 'k', colocate_with => 't')")
                con.execute("select create_reference_table('r')")
            for line in ROWS.replace("%%", "%").strip().split(";\n"):
                con.execute(line)
            for table in ("t", "o", "r"):
                con.execute("analyze %s" % table)


herd, con = plan_herd.fixtures(load)


def rows_of(con, schema, sql):
    con.execute("set search_path = %s" % schema)
    con.execute("set max_parallel_workers_per_gather = 0")
    plan = con.execute("explain (format json) " + sql).fetchone()[0]
    plan = plan if isinstance(plan, list) else json.loads(plan)
    return plan[0]["Plan"]["Plan Rows"]


@pytest.mark.parametrize("sql", SAME)
def test_rows(con, sql):
    """Samples are random: a factor of two is near for what a plan decides by."""
    want, got = rows_of(con, "plain", sql), rows_of(con, "dist", sql)
    assert want / 2 - 20 <= got <= want * 2 + 20, "%s: %s, plain %s" % (sql, got, want)


def statistics(con, schema):
    return {r[0]: r[1:] for r in con.execute(
        "select attname, null_frac, avg_width, case when n_distinct < 0 then -n_distinct * 40000 else "
        "n_distinct end, most_common_vals is null, histogram_bounds is null, correlation "
        "from pg_stats where schemaname = %s and tablename = 't'", (schema,)).fetchall()}


def test_catalogs(con):
    sizes = [con.execute("select reltuples, relpages from pg_class where oid = %s::regclass",
                         (name,)).fetchone() for name in ("plain.t", "dist.t")]
    assert sizes[0][0] == sizes[1][0] == 40000
    # from 16 on a table grows by several pages at once, and there are 32 shards
    assert sizes[0][1] <= sizes[1][1] <= sizes[0][1] + 128
    want, got = statistics(con, "plain"), statistics(con, "dist")
    assert want.keys() == got.keys()
    for name in want:
        w, g = want[name], got[name]
        assert abs(w[0] - g[0]) < 0.05 and abs(w[1] - g[1]) <= 1, (name, w, g)
        assert w[2] / 1.5 <= g[2] <= w[2] * 1.5, (name, w, g)
        # of evenly spread values chance decides whether some are thought to be common
        if name in ("few", "skew", "u"):
            assert w[3:5] == g[3:5], (name, w, g)
    assert got["u"][5] > 0.9 and got["d"][5] > 0.9, "the order that each shard has"


@pytest.mark.parametrize("node", [1, 2])
def test_every_node(herd, node):
    with herd.connect(node) as con:
        assert con.execute("select reltuples from pg_class where oid = 'dist.t'::regclass").fetchone()[0] == 40000
        assert rows_of(con, "dist", "select * from t where skew = 7") > 10000


def test_vacuum(herd, con):
    con.execute("set search_path = dist")
    for way in ("vacuum analyze", "vacuum (analyze off)", "vacuum"):
        for table in ("t", "r"):
            con.execute("%s %s" % (way, table))
        rows = con.execute("select reltuples from pg_class where oid = 't'::regclass").fetchone()[0]
        assert abs(rows - 40000) <= 2000, way  # VACUUM of 18 counts some pages and estimates the others
        assert con.execute("select reltuples from pg_class where oid = 'r'::regclass").fetchone()[0] == 10, way


def test_in_transaction(herd, con):
    con.execute("set search_path = dist")
    con.execute("create table tx (k int, x int)")
    con.execute("select create_distributed_table('tx', 'k')")
    with con.transaction():
        con.execute("insert into tx select i, i % 5 from generate_series(1, 3000) i")
        con.execute("analyze tx")
        assert rows_of(con, "dist", "select * from tx") == 3000
        assert rows_of(con, "dist", "select x, count(*) from tx group by x") == 5
    con.execute("drop table tx")


def test_after_ddl_in_a_transaction(herd, con):
    """The transaction's own locks on the shards are in nobody's way."""
    con.execute("set statement_timeout = '60s'")
    with con.transaction(force_rollback=True):
        con.execute("alter table dist.o add column more int")
        con.execute("update dist.o set more = id % 3")
        con.execute("analyze dist.o")
        assert con.execute("select n_distinct from pg_stats where schemaname = 'dist' and tablename = 'o' "
                           "and attname = 'more'").fetchone() == (3,)
        con.execute("create table dist.fresh (k int primary key)")
        con.execute("select create_distributed_table('dist.fresh', 'k')")
        con.execute("insert into dist.fresh select generate_series(1, 1000)")
        con.execute("analyze dist.fresh")
        assert con.execute("select reltuples from pg_class where oid = 'dist.fresh'::regclass").fetchone() == (1000,)
    con.execute("reset statement_timeout")


def test_autovacuum(herd, con):
    """What ANALYZE of the shards finds reaches the shells by itself."""
    con.execute("set search_path = dist")
    con.execute("create table auto (k int, x int)")
    con.execute("select create_distributed_table('auto', 'k', shard_count => 4)")
    con.execute("insert into auto select i, i % 5 from generate_series(1, 3000) i")
    for node in range(3):
        with herd.connect(node) as other:
            other.execute("alter system set autovacuum_naptime = '1s'")
            other.execute("select pg_reload_conf()")
    con.execute("select run_command_on_shards('auto', 'analyze %s')")
    for node in range(3):
        with herd.connect(node) as other:
            end = time.time() + 120
            found = None
            while found != (3000, 5) and time.time() < end:
                # the size is there at once, the rest at the end of the transaction
                found = other.execute(
                    "select reltuples::int, (select n_distinct::int from pg_stats where schemaname = 'dist' "
                    "and tablename = 'auto' and attname = 'x') from pg_class "
                    "where oid = 'dist.auto'::regclass").fetchone()
                time.sleep(0.2)
            assert found == (3000, 5), node
    con.execute("drop table auto")


def test_rights(herd, con):
    con.execute("set search_path = dist")
    con.execute("create role looker login")
    con.execute("grant usage on schema dist to looker")
    with pytest.raises(Exception, match="must be owner"):
        with herd.connect() as other:
            other.execute("set role looker")
            other.execute("select citus_internal.gather_statistics('dist.t', true)")
    con.execute("revoke usage on schema dist from looker")
    con.execute("drop role looker")


def test_yields_to_ddl(herd):
    """A node that was told to gather waits for a locked shard without a lock of its own table."""
    with herd.connect(0) as con, herd.connect_to_shards(1) as locker, herd.connect(2) as gatherer, \
            herd.connect(2) as looker:
        con.execute("set search_path = dist")
        shard, port = con.execute("select shard_name('t', shardid), nodeport from citus_shards where table_name = "
                                  "'dist.t'::regclass and nodeport = %s limit 1",
                                  (herd.cluster.ports[1],)).fetchone()
        locker.autocommit = False
        locker.execute("lock table %s in access exclusive mode" % (shard if "." in shard else "dist." + shard))
        pid = gatherer.info.backend_pid
        thread = threading.Thread(target=gatherer.execute,
                                  args=("select citus_internal.gather_statistics('dist.t', true)",))
        thread.start()
        end = time.time() + 60
        while time.time() < end and not locker.execute(
                "select 1 from pg_locks where not granted and relation = (select oid from pg_class "
                "where relname = %s)", (shard.split(".")[-1],)).fetchone():
            time.sleep(0.1)
        held = looker.execute("select mode from pg_locks where pid = %s and relation = 'dist.t'::regclass",
                              (pid,)).fetchall()
        locker.rollback()
        thread.join()
        assert held == []


@pytest.mark.parametrize("command", ["analyze", "vacuum analyze", "analyze dist.t, dist.o, dist.late"])
def test_others_change_tables_meanwhile(herd, con, command):
    """It waits for one table, and holds none of those that it is through with, on no node."""
    con.execute("set search_path = dist")
    con.execute("create table late (k int)")
    con.execute("select create_distributed_table('late', 'k')")
    failed = []

    def analyze():
        try:
            with herd.connect() as one:
                one.execute("set statement_timeout = '100s'")
                one.execute(command)
        except Exception as e:
            failed.append(e)

    shard, = con.execute("select shard_name('late', shardid) from citus_shards where table_name = 'late'::regclass "
                         "and nodeport = %s limit 1", (herd.cluster.ports[1],)).fetchone()

    def waits(looker, name):
        end = time.time() + 60
        while time.time() < end and not looker.execute("select 1 from pg_locks where not granted and relation = %s::regclass",
                                                       (name,)).fetchone():
            time.sleep(0.1)

    def change(other):
        other.execute("set lock_timeout = '10s'")
        for table in ("t", "o"):
            other.execute("alter table %s add column z int" % table)
            other.execute("alter table %s drop column z" % table)

    with herd.connect() as other, herd.connect() as holder, herd.connect_to_shards(1) as locker:
        for c in (other, holder, locker):
            c.execute("set search_path = dist")
        locker.execute("begin")
        locker.execute("lock table %s in access exclusive mode" % shard)
        thread = threading.Thread(target=analyze)
        thread.start()
        try:
            waits(locker, shard)
            change(other)
            # The next step is the coordinator's, for all tables.
            holder.execute("begin")
            holder.execute("lock table only late in share update exclusive mode")
            locker.execute("rollback")
            waits(other, "late")
            change(other)
        finally:
            for c in (locker, holder):
                c.execute("rollback")
            thread.join()
    assert not failed
    assert con.execute("select reltuples from pg_class where oid = 'late'::regclass").fetchone() == (0,)
    con.execute("drop table late")
