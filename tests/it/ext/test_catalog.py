"""Catalogs, nodes, distribution of tables, and DDL, on a coordinator and two workers."""
import io
import itertools
import os
import sys
import threading
import time

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(TOP, "extension", "tests"))
import cluster as herd_cluster  # noqa: E402

numbers = itertools.count()


@pytest.fixture(scope="module")
def herd():
    c = herd_cluster.Cluster(workers=2, pg_config=os.environ.get("HERD_TEST_PG"))
    try:
        yield c.start()
    finally:
        c.stop()


@pytest.fixture
def schema(herd, request):
    name = request.node.name.split("[")[0] + str(next(numbers))
    herd.psql(0, "create schema %s" % name)
    yield name
    herd.psql(0, "drop schema %s cascade" % name)
    assert leftovers(herd, name) == ["0"] * 3


def leftovers(herd, name):
    return herd.psql(0, "select result from run_command_on_all_nodes("
                     "'select count(*) from pg_namespace where nspname = ''%s''')" % name).split()


def refused(herd, node, sql, words):
    with pytest.raises(RuntimeError) as e:
        herd.psql(node, sql)
    assert words in str(e.value)


def on_shards(herd, table, command):
    """Results of a command on all shards, all of which must succeed."""
    rows = herd.psql(0, "select success, result from run_command_on_placements('%s', $x$%s$x$)" %
                     (table, command)).splitlines()
    assert all(r.startswith("t|") for r in rows), rows
    return [r[2:] for r in rows]


def test_identity_works_on_every_node(herd, schema):
    herd.psql(0, "set search_path = %s; create table t (id bigint not null generated always as "
              "identity, value double precision); select create_distributed_table('t', 'id')" %
              schema)
    ids = [int(herd.psql(n, "with inserted as (insert into %s.t (value) values (random()) "
                         "returning id) select id from inserted" % schema)) for n in range(3)]
    assert ids == [1, (1 << 48) + 1, (2 << 48) + 1]
    assert herd.psql(2, "select count(*) from %s.t" % schema) == "3"
    placed = herd.psql(0, "select groupid, count(*) from pg_dist_placement join pg_dist_shard "
                       "using (shardid) where logicalrelid = '%s.t'::regclass group by 1 order by 1"
                       % schema)
    assert placed == "1|16\n2|16"


def test_serial_is_drawn_from_the_coordinator(herd, schema):
    herd.psql(0, "create table %s.t (id serial, k int); select create_distributed_table('%s.t', 'k')"
              % (schema, schema))
    for n in (0, 1, 2, 0):
        herd.psql(n, "insert into %s.t (k) values (%d)" % (schema, n))
    assert herd.psql(1, "select id, k from %s.t order by id" % schema) == "1|0\n2|1\n3|2\n4|0"


def test_rows_move_into_shards_and_back(herd, schema):
    herd.psql(0, "set search_path = %s; create table t (id int primary key, v text default 'd', arr "
              "int[], g int generated always as (id * 2) stored, f float8);"
              "insert into t (id, v, arr, f) select i, repeat(E'x\\'\\\\y', i %% 4), array[i, null],"
              "1.0 / i from generate_series(1, 2000) i" % schema)
    digest = "select count(*), md5(string_agg(x::text, '|' order by id)) from (select * from %s.t) x"
    before = herd.psql(0, digest % schema)
    herd.psql(0, "select create_distributed_table('%s.t', 'id')" % schema)
    assert sum(map(int, on_shards(herd, schema + ".t", "select count(*) from %s"))) == 2000
    assert herd.psql(0, "select pg_relation_size('%s.t')" % schema) == "0"
    assert herd.psql(1, digest % schema) == before
    herd.psql(0, "select undistribute_table('%s.t')" % schema)
    assert herd.psql(0, digest % schema) == before
    refused(herd, 1, "select * from %s.t" % schema, "does not exist")


def test_reference_table_and_foreign_keys(herd, schema):
    herd.psql(0, "set search_path = %s; create table r (a int primary key, b text);"
              "insert into r values (1, 'one'), (2, 'two'); create table t (k int, a int references "
              "r, primary key (k)); create table u (k int references t, n int, primary key (k, n));"
              "select create_reference_table('r'); select create_distributed_table('t', 'k');"
              "select create_distributed_table('u', 'k')" % schema)
    assert on_shards(herd, schema + ".r", "select count(*) from %s") == ["2"] * 3
    herd.psql(1, "insert into %s.t values (1, 1), (2, 2); insert into %s.u values (1, 1)" %
              (schema, schema))
    refused(herd, 0, "insert into %s.t values (3, 9)" % schema, "violates foreign key")
    refused(herd, 2, "insert into %s.u values (7, 1)" % schema, "violates foreign key")
    refused(herd, 0, "delete from %s.r where a = 1" % schema, "violates foreign key")
    refused(herd, 0, "truncate %s.t" % schema, "referenced in a foreign key")
    herd.psql(0, "truncate %s.t cascade" % schema)
    assert herd.psql(0, "select count(*) from %s.u" % schema) == "0"


@pytest.mark.parametrize("ddl, call, words", [
    ("a int, b int primary key", "create_distributed_table('t', 'a')", "must contain"),
    ("a json", "create_distributed_table('t', 'a')", "no hash function"),
    ("a int", "create_distributed_table('t', 'nope')", "does not exist"),
    ("a int", "create_distributed_table('t', 'a', 'range')", "not supported"),
    ("a int, g int generated always as (a) stored", "create_distributed_table('t', 'g')",
     "is generated"),
    ("a int", "create_distributed_table('t', 'a', shard_count => 0)", "between 1 and 64000"),
    ("a int, p int references other", "create_distributed_table('t', 'a')", "local table"),
])
def test_what_cannot_be_distributed(herd, schema, ddl, call, words):
    refused(herd, 0, "set search_path = %s; create table other (x int primary key); "
            "create table t (%s); select %s" % (schema, ddl, call), words)


def test_colocation(herd, schema):
    herd.psql(0, "set search_path = %s; create table a (k int); create table b (k int); create table "
              "c (k int); create table d (k text); create table e (k int);"
              "select create_distributed_table('a', 'k', colocate_with => 'none', shard_count => 4);"
              "select create_distributed_table('b', 'k', colocate_with => 'a');"
              "select create_distributed_table('c', 'k');"
              "select create_distributed_table('e', null)" % schema)
    assert herd.psql(0, "set search_path = %s; select distributed_tables_colocated('a', 'b'), "
                     "distributed_tables_colocated('a', 'c')" % schema) == "t|f"
    refused(herd, 0, "set search_path = %s; select create_distributed_table('d', 'k', colocate_with "
            "=> 'a')" % schema, "different types")
    assert herd.psql(0, "select citus_table_type, distribution_column, shard_count from citus_tables "
                     "where table_name::text ~ '^%s' order by table_name::text" % schema) == (
        "distributed|k|4\ndistributed|k|4\ndistributed|k|32\ndistributed|<none>|1")
    herd.psql(2, "insert into %s.e values (1)" % schema)
    assert herd.psql(0, "select count(*) from %s.e" % schema) == "1"


def test_copy(herd, schema):
    herd.psql(0, "create table %s.t (id bigserial, k int not null, v text default 'd'); "
              "select create_distributed_table('%s.t', 'k')" % (schema, schema))
    cn = herd.connect(1)
    with cn.cursor() as cu:
        cu.copy_expert("copy %s.t (k, v) from stdin csv" % schema,
                       io.StringIO("".join("%d,v%d\n" % (i, i) for i in range(500))))
        assert cu.rowcount == 500
        out = io.BytesIO()
        cu.copy_expert("copy %s.t to stdout (format binary)" % schema, out)
        cu.execute("create temp table back (id bigint, k int, v text)")
        cu.copy_expert("copy back from stdin (format binary)", io.BytesIO(out.getvalue()))
        cu.execute("select count(*), sum(k), count(distinct id), min(v) from back")
        assert cu.fetchone() == (500, 124750, 500, "v0")
        with pytest.raises(Exception, match="null value in column"):
            cu.copy_expert("copy %s.t (k) from stdin" % schema, io.StringIO("\\N\n"))
    cn.close()
    assert herd.psql(0, "select count(*) from %s.t" % schema) == "0"
    herd.psql(0, "copy %s.t (k, v) from program $$seq 0 499 | sed 's/.*/&,v&/'$$ csv" % schema)
    assert herd.psql(2, "select count(*), sum(k) from %s.t" % schema) == "500|124750"


def test_alter_reaches_all_shards(herd, schema):
    herd.psql(0, "set search_path = %s; create table t (k int primary key, v text); "
              "select create_distributed_table('t', 'k'); insert into t select i, i::text from "
              "generate_series(1, 100) i; alter table t add column n int default 7; "
              "alter table t add constraint positive check (n > 0); create index on t (v); "
              "create unique index both_cols on t (k, v); alter table t alter v type bigint using "
              "v::bigint; alter table t rename v to w; alter table t rename to renamed; "
              "alter index both_cols rename to both2" % schema)
    assert herd.psql(1, "select sum(w), sum(n) from %s.renamed" % schema) == "5050|700"
    shape = on_shards(herd, schema + ".renamed", "select count(*) from pg_index where indrelid = "
                      "'%s'::regclass")
    assert shape == ["3"] * 32
    refused(herd, 0, "insert into %s.renamed values (500, 1, 0)" % schema, "positive")
    refused(herd, 0, "create unique index on %s.renamed (w)" % schema, "must contain")
    refused(herd, 0, "alter table %s.renamed drop column k" % schema, "distribution column")
    refused(herd, 0, "create unique index concurrently on %s.renamed (w)" % schema, "must contain")
    herd.psql(0, "create index concurrently built on %s.renamed (w) where w > 3" % schema)
    assert on_shards(herd, schema + ".renamed", "select count(*) from pg_index where indrelid = "
                     "'%s'::regclass and indisvalid") == ["4"] * 32
    assert herd.psql(2, "select count(*) from pg_index where indrelid = '%s.renamed'::regclass" %
                     schema) == "4"
    herd.psql(0, "drop index %s.built" % schema)
    refused(herd, 1, "alter table %s.renamed add column z int" % schema, "on a worker node")
    refused(herd, 1, "drop table %s.renamed" % schema, "on a worker node")
    herd.psql(0, "set search_path = %s; drop index both2; alter table renamed drop constraint "
              "positive; alter table renamed drop column n; alter table renamed drop constraint "
              "t_pkey; alter table renamed add primary key (k, w)" % schema)
    herd.psql(0, "vacuum (analyze) %s.renamed" % schema)
    assert on_shards(herd, schema + ".renamed", "select count(*) from pg_index where indrelid = "
                     "'%s'::regclass") == ["2"] * 32


def test_names_that_need_quotes(herd, schema):
    herd.psql(0, 'create table %s."T.""x" ("K k" int primary key, "V" text); '
              "select create_distributed_table('%s.\"T.\"\"x\"', 'K k'); "
              'alter table %s -- one\n . /* two /* three */ */ "T.""x" add column "N" int default 3; '
              'alter table %s."T.""x" rename "V" to "V v"; create index "I ""i" on %s."T.""x" '
              '("V v"); do $$ begin execute \'alter table %s."T.""x" rename to "ÄÖ"\'; end $$' %
              ((schema,) * 6))
    herd.psql(1, 'insert into %s."ÄÖ" values (1, \'a\')' % schema)
    assert herd.psql(0, 'select * from %s."ÄÖ"' % schema) == "1|a|3"


def test_ddl_is_transactional(herd, schema):
    herd.psql(0, "begin; set search_path = %s; create table t (k int); insert into t values (1); "
              "select create_distributed_table('t', 'k'); insert into t values (2); "
              "alter table t add column v int; rollback" % schema)
    counts = herd.psql(0, "select result from run_command_on_all_nodes($$select count(*) from "
                       "pg_class where relnamespace = '%s'::regnamespace$$)" % schema).split()
    assert counts == ["0", "0", "0"]


def test_roles_and_grants(herd, schema):
    herd.psql(0, "create role herd_app login password 'x'; grant all on schema %s to herd_app" %
              schema)
    hashes = herd.psql(0, "select distinct result from run_command_on_all_nodes("
                       "'select rolpassword from pg_authid where rolname = ''herd_app''')")
    assert hashes.startswith("SCRAM-SHA-256") and "\n" not in hashes
    herd.psql(0, "create table %s.own (k int, v int); select create_distributed_table('%s.own', 'k');"
              "insert into %s.own values (1, 2); alter table %s.own add w int; truncate %s.own" %
              ((schema,) * 5), user="herd_app")
    herd.psql(0, "create table %s.other (k int); select create_distributed_table('%s.other', 'k')" %
              (schema, schema))
    with pytest.raises(RuntimeError, match="permission denied"):
        herd.psql(1, "select * from %s.other" % schema, user="herd_app")
    with pytest.raises(RuntimeError, match="permission denied"):
        herd.psql(0, "select citus_add_node('x', 1)", user="herd_app")
    with pytest.raises(RuntimeError, match="permission denied"):
        herd.psql(0, "select * from pg_dist_authinfo", user="herd_app")
    herd.psql(0, "grant select on %s.other to herd_app" % schema)
    assert herd.psql(1, "select count(*) from %s.other" % schema, user="herd_app") == "0"
    herd.psql(0, "drop table %s.own; drop owned by herd_app" % schema)
    for n in (1, 2):
        herd.psql(n, "drop owned by herd_app")
    herd.psql(0, "drop role herd_app")


def test_new_worker_gets_everything(herd, schema):
    herd.psql(0, "create role herd_reader; create role herd_app2; grant usage on schema %s to herd_reader; set search_path "
              "= %s; create type mood as enum ('a', 'b'); create function plus(int) returns int "
              "language sql as 'select $1 + 1'; create function whoami() returns text language sql security "
              "definer as 'select current_user::text'; alter function whoami() owner to "
              "herd_reader; revoke all on function whoami() from public; create table r (a int primary key, b text, ts "
              "timestamptz); insert into r select i, E'\\'q\\\\' || i, now() from "
              "generate_series(1, 1500) i; select create_reference_table('r'); create table t (k int "
              "primary key, m mood default 'a', a int references r); "
              "select create_distributed_table('t', 'k'); insert into t (k, a) select i, i from "
              "generate_series(1, 50) i; grant select on t to herd_reader; "
              "create view v as select sum(a) from t; create view low as select t.k from t join r using (a) "
              "where k <= 20; grant usage on schema %s to herd_reader; grant select on low to herd_reader; create "
              "policy p on t using (k in (select k from low)); alter table t enable row level "
              "security" % (schema, schema, schema))
    assert herd.psql(1, "select * from %s.v" % schema) == "1275"
    n = herd.add_server()
    herd.psql(0, "select citus_add_node('127.0.0.1', %d)" % herd.ports[n])
    try:
        assert len(set(on_shards(herd, schema + ".r", "select count(*) || md5(string_agg(x::text, "
                                 "'' order by a)) from %s x"))) == 1
        assert herd.psql(n, "select count(*), %s.plus(1), has_table_privilege('herd_reader', "
                         "'%s.t', 'select') from %s.t" % ((schema,) * 3)) == "50|2|t"
        assert herd.psql(n, "select %s.whoami(), has_function_privilege('herd_app2', "
                         "'%s.whoami()', 'execute'), (select sum from %s.v)" % ((schema,) * 3)
                         ) == "herd_reader|f|1275"
        assert herd.psql(n, "set role herd_reader; select count(*) from %s.t" % schema).endswith("20")
        herd.psql(n, "insert into %s.r values (-1)" % schema)
        assert set(on_shards(herd, schema + ".r", "select min(a) from %s")) == {"-1"}
        herd.psql(0, "select citus_disable_node('127.0.0.1', %d)" % herd.ports[n])
        herd.psql(0, "insert into %s.r values (-2)" % schema)
        herd.psql(0, "select citus_activate_node('127.0.0.1', %d)" % herd.ports[n])
        assert on_shards(herd, schema + ".r", "select min(a) from %s") == ["-2"] * 4
        refused(herd, 0, "select citus_remove_node('127.0.0.1', %d)" % herd.ports[1], "has shards")
    finally:
        herd.psql(0, "select citus_remove_node('127.0.0.1', %d)" % herd.ports[n])
        herd.halt(n)
        for w in (0, 1, 2):
            herd.psql(w, "drop owned by herd_reader")
        herd.psql(0, "drop role herd_reader, herd_app2")


def node_id(herd, group):
    return int(herd.psql(0, "select nodeid from pg_dist_node where groupid = %d and "
                         "noderole = 'primary'" % group))


def wait_for(what, seconds=30):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_update_node_blocks_and_then_lets_go(herd, schema):
    herd.psql(0, "create table %s.t (k int); select create_distributed_table('%s.t', 'k')" %
              (schema, schema))
    change, port, nodeid = herd.connect(0), herd.ports[1], node_id(herd, 1)
    cu = change.cursor()
    cu.execute("select citus_update_node(%s, '127.0.0.1-demoted', %s, true, 1000)", (nodeid, port))
    done = []
    threads = [threading.Thread(target=lambda n=n: done.append(
        herd.psql(n, "insert into %s.t select generate_series(1, 100)" % schema))) for n in (0, 2)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    assert done == []
    cu.execute("select citus_update_node(%s, '127.0.0.1', %s, true, 1000)", (nodeid, port))
    change.commit()
    for t in threads:
        t.join()
    assert herd.psql(1, "select count(*) from %s.t" % schema) == "200"
    change.close()


def test_update_node_forces_holders_out(herd, schema):
    herd.psql(0, "create table %s.t (k int); select create_distributed_table('%s.t', 'k')" %
              (schema, schema))
    holder = herd.connect(2)
    hc = holder.cursor()
    hc.execute("select count(*) from %s.t" % schema)
    nodeid = node_id(herd, 1)
    herd.psql(0, "select citus_update_node(%d, 'localhost', %d, true, 300)" % (nodeid, herd.ports[1]))
    with pytest.raises(Exception):
        hc.execute("select 1")
    # the node that changed is told in the background
    for n in (0, 1, 2):
        wait_for(lambda: herd.psql(n, "select nodename from pg_dist_node where nodeid = %d" %
                                   nodeid) == "localhost")
    wait_for(lambda: herd.psql(0, "select metadatasynced from pg_dist_node where nodeid = %d" %
                               nodeid) == "t")
    herd.psql(0, "select citus_update_node(%d, '127.0.0.1', %d)" % (nodeid, herd.ports[1]))
    wait_for(lambda: herd.psql(1, "select nodename from pg_dist_node where nodeid = %d" %
                               nodeid) == "127.0.0.1")


def test_update_node_while_others_are_away(herd):
    for n in (1, 2):
        herd.halt(n, "immediate")
    herd.psql(0, "select citus_update_node(%d, 'localhost', %d, true, 300)" %
              (node_id(herd, 1), herd.ports[1]))
    for n in (1, 2):
        herd.boot(n)
    for n in (1, 2):
        wait_for(lambda: herd.psql(n, "select nodename from pg_dist_node where groupid = 1") ==
                 "localhost")
    herd.psql(0, "select citus_update_node(%d, '127.0.0.1', %d, true, 300)" %
              (node_id(herd, 1), herd.ports[1]))


def test_secondaries_and_lookups(herd):
    herd.psql(0, "select citus_add_secondary_node('127.0.0.1', 6001, '127.0.0.1', %d)" %
              herd.ports[1])
    try:
        assert herd.psql(2, "select count(*) from pg_dist_node where noderole = 'secondary' and "
                         "groupid = 1") == "1"
        assert herd.psql(0, "select count(*) from run_command_on_workers('select 1') where success"
                         ) == "2"
        assert herd.psql(0, "select count(*) from citus_check_cluster_node_health() where result"
                         ) == "9"
        assert herd.psql(1, "select citus_is_coordinator(), citus_is_primary_node(), "
                         "citus_version() ~ '^Citus '") == "f|t|t"
        refused(herd, 0, "select citus_add_node('127.0.0.1', 1)", "cannot add node")
    finally:
        herd.psql(0, "select citus_remove_node('127.0.0.1', 6001)")


def test_hot_standby_of_the_coordinator_reads(herd, schema):
    herd.psql(0, "create table %s.t (k int); select create_distributed_table('%s.t', 'k'); insert "
              "into %s.t select generate_series(1, 20)" % ((schema,) * 3))
    herd.ports.append(herd_cluster.free_port())
    n = len(herd.ports) - 1
    herd_cluster.checked([herd.bin + "/pg_basebackup", "-h", "127.0.0.1", "-p", str(herd.ports[0]),
                          "-U", "postgres", "-D", herd.data(n), "-R", "-c", "fast"])
    with open(herd.data(n) + "/postgresql.conf", "a") as f:
        f.write("port = %d\n" % herd.ports[n])
    herd.boot(n)
    try:
        assert herd.psql(n, "select count(*) from %s.t" % schema) == "20"
        assert herd.psql(n, "select count(*) > 31 from citus_shards") == "t"
        assert herd.psql(n, "select shard_count from citus_tables where table_name = '%s.t'::regclass"
                         % schema) == "32"
        refused(herd, n, "truncate %s.t" % schema, "read-only transaction")
        refused(herd, n, "select create_reference_table('%s.t')" % schema, "during recovery")
    finally:
        herd.halt(n)


def test_dump_and_restore(herd, schema):
    herd.psql(0, "create table %s.t (k int primary key, v text); select "
              "create_distributed_table('%s.t', 'k'); insert into %s.t select i, 'v' || i from "
              "generate_series(1, 300) i" % ((schema,) * 3))
    base = ["-h", "127.0.0.1", "-p", str(herd.ports[0]), "-U", "postgres"]
    dump = herd.dir + "/dump.sql"
    herd_cluster.checked([herd.bin + "/pg_dump", *base, "-n", schema, "-f", dump, "postgres"])
    herd.psql(0, "create database restored")
    try:
        herd_cluster.checked([herd.bin + "/psql", "-Xq", "-v", "ON_ERROR_STOP=1", *base, "-d",
                              "restored", "-f", dump])
        assert herd.psql(0, "select count(*) from %s.t" % schema, db="restored") == "300"
    finally:
        herd.psql(0, "drop database restored with (force)")


def test_settings_are_accepted(herd):
    herd.psql(0, "set citus.shard_count = 4; set citus.multi_shard_modify_mode = 'sequential'; "
              "set citus.task_assignment_policy = 'round-robin'; set citus.stat_tenants_track = "
              "'all'; set citus.max_intermediate_result_size = '2GB'")
    refused(herd, 0, "set citus.no_such_setting = 1", "invalid configuration parameter")
    assert int(herd.psql(0, "select count(*) from pg_settings where name ~ '^citus\\.'")) > 90


def test_activity_and_lock_waits(herd, schema):
    herd.psql(0, "create table %s.t (k int primary key, v int); select create_distributed_table("
              "'%s.t', 'k'); insert into %s.t values (1, 1)" % ((schema,) * 3))
    holder, waiter = herd.connect(1), herd.connect(2)
    hc, wc = holder.cursor(), waiter.cursor()
    hc.execute("select citus_backend_gpid()")
    held_by = hc.fetchone()[0]
    hc.execute("update %s.t set v = 2 where k = 1" % schema)
    wc.execute("select citus_backend_gpid()")
    waits = wc.fetchone()[0]
    thread = threading.Thread(target=lambda: wc.execute("update %s.t set v = 3 where k = 1" % schema))
    thread.start()
    try:
        wait_for(lambda: herd.psql(0, "select waiting_gpid, blocking_gpid, blocked_statement ~ 'v = 3'"
                                   " from citus_lock_waits") == "%d|%d|t" % (waits, held_by))
        assert herd.psql(0, "select count(distinct nodeid) from citus_stat_activity") == "3"
        assert herd.psql(0, "select count(*) from citus_dist_stat_activity where global_pid = %d and "
                         "query ~ 'v = 3'" % waits) == "1"
        assert int(herd.psql(0, "select count(*) from citus_locks where not granted")) > 0
    finally:
        holder.rollback()
        thread.join()
        holder.close()
        waiter.close()


def test_under_the_name_of_citus(herd):
    """Scripts made for Citus say citus in shared_preload_libraries and in CREATE EXTENSION."""
    c = herd_cluster.Cluster(workers=0, pg_config=herd.pg_config,
                             conf="shared_preload_libraries = 'citus'\n")
    try:
        c.start()
        assert c.psql(0, "show shared_preload_libraries") == "citus"
        c.psql(0, "create database app")
        for sql in ("create extension if not exists citus", "create extension if not exists citus",
                    "select citus_set_coordinator_host('127.0.0.1', %d)" % c.ports[0],
                    "create table t (a int primary key)", "select create_distributed_table('t', 'a')",
                    "insert into t select generate_series(1, 50)"):
            c.psql(0, sql, db="app")
        assert c.psql(0, "select string_agg(extname, ' ' order by extname) from pg_extension where "
                      "extname in ('citus', 'pgherd')", db="app") == "citus pgherd"
        assert c.psql(0, "select count(*) from t", db="app") == "50"
        with pytest.raises(RuntimeError, match="other objects depend on it"):
            c.psql(0, "drop extension pgherd", db="app")
        c.psql(0, "drop extension citus", db="app")
        assert c.psql(0, "select sum(a) from t", db="app") == "1275"
    finally:
        c.stop()


def test_must_be_the_first_library(herd):
    c = herd_cluster.Cluster(workers=0, pg_config=herd.pg_config,
                             conf="shared_preload_libraries = 'auto_explain, pgherd'\n")
    try:
        with pytest.raises(RuntimeError, match="pgherd must be the first of shared_preload_libraries"):
            c.start()
        with open(c.data(0) + "/postgresql.conf", "a") as f:
            f.write("shared_preload_libraries = '$libdir/pgherd, auto_explain'\n")
        c.boot(0)
        assert c.psql(0, "select 1") == "1"
    finally:
        c.stop()
