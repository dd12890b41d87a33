"""Distributed schemas: all tables of one on one node."""
import psycopg
import pytest

import plan_herd

PLACES = ("select logicalrelid::text, groupid from pg_dist_shard join pg_dist_placement using "
          "(shardid) where logicalrelid::text like %s order by 1")


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        with h.connect() as con:
            con.execute("create table ref (id int primary key, n text);"
                        "select create_reference_table('ref');"
                        "insert into ref values (1, 'one'), (2, 'two');"
                        "create table spread (k int primary key, v int);"
                        "select create_distributed_table('spread', 'k');"
                        "insert into spread select i, i % 3 from generate_series(1, 30) i;"
                        "create role schemas_user login; create role schemas_other login;"
                        "grant create on database postgres to schemas_user;"
                        "grant select, references on ref to schemas_user")
        yield h
    finally:
        h.stop()


@pytest.fixture
def con(herd):
    with herd.connect() as c:
        yield c


def one(con, sql, *args):
    return con.execute(sql, args or None).fetchone()[0]


def groups(con, schema):
    return {g for _, g in con.execute(PLACES, (schema + ".%",)).fetchall()}


def colocation(con, schema):
    found = con.execute("select colocation_id from citus_schemas where schema_name::text = %s",
                        (schema,)).fetchone()
    return found and found[0]


def refused(con, sql, message):
    with pytest.raises(psycopg.Error, match=message):
        con.execute(sql)


def test_create_schema_makes_a_distributed_one(herd, con):
    con.execute("set citus.enable_schema_based_sharding = on")
    con.execute("create schema made create table a (id serial primary key, v text) "
                "create table b (id int, a_id int references a, r int references public.ref) "
                "create view vv as select * from a")
    con.execute("create schema if not exists made")
    con.execute("create schema empty_one; reset citus.enable_schema_based_sharding; "
                "create schema ordinary; create table ordinary.t (i int)")
    assert colocation(con, "made") and colocation(con, "empty_one")
    assert colocation(con, "made") != colocation(con, "empty_one")
    assert colocation(con, "ordinary") is None
    assert len(groups(con, "made")) == 1 and groups(con, "made") <= {1, 2}
    # Later tables follow, however they are made.
    con.execute("create table made.c (like made.a including all);"
                "create table made.d as select i, 'd' || i as v from generate_series(1, 50) i;"
                "select * into made.e from ref;"
                "create table made.p (k int, d date) partition by range (d);"
                "create table made.p1 partition of made.p for values from ('2024-01-01') to ('2025-01-01');"
                "create table if not exists made.d (i int);"
                "create temp table t_temp (i int); create unlogged table made.f (i int)")
    assert len(con.execute(PLACES, ("made.%",)).fetchall()) == 8
    assert len(groups(con, "made")) == 1
    kinds = con.execute("select distinct citus_table_type from citus_tables where colocation_id = %s",
                        (colocation(con, "made"),)).fetchall()
    assert kinds == [("schema",)]
    con.execute("insert into made.p values (1, '2024-06-06'); insert into made.a (v) values ('x'), ('y');"
                "insert into made.b values (1, 1, 1)")
    refused(con, "insert into made.b values (1, 77, 1)", "violates foreign key")
    refused(con, "insert into made.b values (1, 1, 77)", "violates foreign key")
    # Every node answers, by search_path too, and joins go anywhere.
    for node in range(3):
        with herd.connect(node) as c:
            c.execute("set search_path = made")
            assert one(c, "select count(*) from a join b on b.a_id = a.id join public.ref on ref.id = r") == 1
            assert one(c, "select count(*) from d join public.spread on i = k where spread.v = 0") == 10
            assert one(c, "select count(*) from vv") == 2
            assert colocation(c, "made") == colocation(con, "made")
    with herd.connect(1) as c:
        refused(c, "create table made.no (i int)", "worker node")
        c.execute("set citus.enable_schema_based_sharding = on")
        refused(c, "create schema no", "worker node")
        assert one(c, "select to_regnamespace('no')") is None


def test_distribute_move_undistribute(con):
    con.execute("create schema s; create table s.t (id int primary key, b text);"
                "create table s.u (id int references s.t, r int references ref);"
                "create table s.q (k int) partition by hash (k);"
                "create table s.q1 partition of s.q for values with (modulus 1, remainder 0);"
                "insert into s.t select i, 'x' || i from generate_series(1, 10) i;"
                "insert into s.u select i, 1 from generate_series(1, 10) i; insert into s.q values (5);"
                "create view s.w as select count(*) as n, sum(t.id) as s from s.t join s.u using (id)")
    con.execute("select citus_schema_distribute('s')")
    (first,) = groups(con, "s")
    assert one(con, "select n from s.w") == 10
    refused(con, "insert into s.u values (99, 1)", "violates foreign key")
    other = one(con, "select nodeid from pg_dist_node where groupid = %s", 3 - first)
    con.execute("select citus_schema_move('s', %s)", (other,))
    assert groups(con, "s") == {3 - first}
    assert one(con, "select s from s.w") == 55
    refused(con, "insert into s.u values (1, 99)", "violates foreign key")
    con.execute("create table s.later (i int)")
    assert groups(con, "s") == {3 - first}
    con.execute("select citus_schema_move('s', nodename, nodeport) from pg_dist_node where groupid = %s",
                (first,))
    assert groups(con, "s") == {first} and one(con, "select n from s.w") == 10
    refused(con, "select citus_schema_move('s', 4711)", "no active primary")
    refused(con, "select citus_schema_move('s', 'nowhere', 1)", "does not exist")
    # Rolled back, nothing has happened.
    con.execute("begin; select citus_schema_undistribute('s'); rollback")
    assert groups(con, "s") == {first}
    con.execute("alter table s.u drop constraint u_r_fkey; select citus_schema_undistribute('s')")
    assert groups(con, "s") == set() and colocation(con, "s") is None
    assert one(con, "select n from s.w") == 10
    refused(con, "insert into s.u values (99, 1)", "violates foreign key")
    refused(con, "select citus_schema_undistribute('s')", "is not distributed")


def test_tables_come_and_go(con):
    con.execute("create schema x; create schema y; select citus_schema_distribute('x');"
                "select citus_schema_distribute('y'); create table roaming (i int);"
                "insert into roaming values (1), (2)")
    for schema in ("x", "y", "public"):
        con.execute("alter table %s set schema %s" % (
            one(con, "select c.oid::regclass::text from pg_class c where relname = 'roaming'"), schema))
        assert one(con, "select count(*) from %s.roaming" % schema) == 2
        kind = con.execute("select citus_table_type, colocation_id from citus_tables where "
                           "table_name::text like '%%roaming'").fetchone()
        assert kind == (None if schema == "public" else ("schema", colocation(con, schema)))
    refused(con, "alter table spread set schema x", "cannot move distributed table")
    refused(con, "alter table ref set schema x", "cannot move distributed table")
    con.execute("create table x.z (i int); alter schema x rename to xx")
    assert colocation(con, "xx") and groups(con, "xx")


def test_drop_schema(herd, con):
    con.execute("create schema gone; create table gone.t (i int); select citus_schema_distribute('gone')")
    id_ = colocation(con, "gone")
    con.execute("drop schema gone cascade")
    for node in range(3):
        with herd.connect(node) as c:
            assert one(c, "select count(*) from pg_dist_schema where colocationid = %s", id_) == 0
            assert one(c, "select count(*) from pg_dist_colocation where colocationid = %s", id_) == 0
            assert one(c, "select to_regnamespace('gone')") is None


def test_who_may(herd, con):
    with herd.connect(user="schemas_user") as c:
        c.execute("create schema mine; create table mine.t (i int primary key);"
                  "insert into mine.t values (1); select citus_schema_distribute('mine');"
                  "create table mine.u (i int references mine.t, r int references ref);"
                  "insert into mine.u values (1, 1)")
        assert len(groups(c, "mine")) == 1
        assert one(c, "select count(*) from mine.u join mine.t using (i)") == 1
        refused(c, "select citus_schema_distribute('public')", "must be owner of schema")
    with herd.connect(user="schemas_other") as c:
        for sql in ("select citus_schema_undistribute('mine')", "select citus_schema_move('mine', 2)",
                    "select citus_internal.add_schema('mine', 1)",
                    "select citus_internal.remove_schema('mine')"):
            refused(c, sql, "must be owner of schema")
    refused(con, "select citus_schema_distribute('pg_catalog')", "system schema")
    refused(con, "select citus_schema_distribute('nothing')", "does not exist")
    con.execute("create schema taken; create table taken.d (k int);"
                "select create_distributed_table('taken.d', 'k')")
    refused(con, "select citus_schema_distribute('taken')", "already distributed|cannot be distributed")
    with herd.connect(1) as c:
        refused(c, "select citus_schema_distribute('ordinary')", "worker node")


def test_a_new_node_is_told(herd, con):
    con.execute("create schema told; create table told.t (i int);"
                "select citus_schema_distribute('told')")
    herd.cluster.add_server()
    con.execute("select citus_add_node('127.0.0.1', %s)", (herd.cluster.ports[3],))
    with herd.connect(3) as c:
        assert colocation(c, "told") == colocation(con, "told")
        assert one(c, "select count(*) from told.t") == 0
    # Tables stay together though a number of the group would now mean another node.
    con.execute("create table told.u (i int); create table told.v (i int)")
    assert len(groups(con, "told")) == 1


def test_local_tables_that_all_nodes_know(herd, con):
    con.execute("create table l1 (id serial primary key, r int references ref, v text);"
                "create table l2 (id int references l1, x text);"
                "insert into l1 (r, v) values (1, 'a'), (2, 'b'); insert into l2 values (1, 'z')")
    refused(con, "select citus_add_local_table_to_metadata('l1')", "foreign keys with local table")
    con.execute("select citus_add_local_table_to_metadata('l1', cascade_via_foreign_keys => true)")
    assert con.execute("select table_name::text, citus_table_type from citus_tables where table_name "
                       "in ('l1'::regclass, 'l2') order by 1").fetchall() == [("l1", "local"), ("l2", "local")]
    assert {g for _, g in con.execute(PLACES, ("l_",)).fetchall()} == {0}
    for node in range(3):
        with herd.connect(node) as c:
            assert c.execute("select l1.v, x, n from l1 join l2 using (id) join ref on ref.id = r "
                             "join spread on k = l1.id").fetchall() == [("a", "z", "one")]
            c.execute("insert into l1 (r, v) values (1, %s)", (str(node),))
            refused(c, "insert into l2 values (99, 'q')", "violates foreign key")
            refused(c, "insert into l1 (r, v) values (99, 'q')", "violates foreign key")
    assert con.execute("select count(distinct id), count(*) from l1").fetchone() == (5, 5)
    with herd.connect(1) as c:
        refused(c, "select citus_add_local_table_to_metadata('spread')", "worker node")
    refused(con, "select citus_add_local_table_to_metadata('spread')", "already distributed")
    con.execute("select remove_local_tables_from_metadata()")
    assert con.execute("select count(*) from citus_tables where citus_table_type = 'local'"
                       ).fetchone() == (0,)
    assert con.execute("select count(*) from l1 join l2 using (id) join ref on ref.id = r").fetchone() == (1,)
    assert one(con, "select citus_table_type from citus_tables where table_name = 'ref'::regclass") == "reference"
    refused(con, "insert into l2 values (99, 'q')", "violates foreign key")


def test_distributed_functions(herd, con):
    con.execute("create function f(a text, k int, out o int) language sql as 'select k + 1';"
                "create procedure pr(k int) language sql as 'select 1';"
                "create type one_of as enum ('x')")
    noted = ("select objid::regproc::text, distribution_argument_index, colocationid, force_delegation "
             "from pg_dist_object where classid = 'pg_proc'::regclass order by 1")
    id_ = one(con, "select colocationid from pg_dist_partition where logicalrelid = 'spread'::regclass")
    con.execute("select create_distributed_function('f(text, int)', 'k', colocate_with => 'spread');"
                "select create_distributed_function('pr(int)', '$1', force_delegation => true);"
                "select create_distributed_function('pr(int)')")
    for node in range(3):
        with herd.connect(node) as c:
            assert c.execute(noted).fetchall() == [("f", 1, id_, None), ("pr", None, None, None)]
            assert one(c, "select f('x', 1)") == 2
    for sql, message in (("'f(text, int)', 'nope'", "has no argument"), ("'f(text, int)', '$3'", "has no arg"),
                         ("'f(text, int)', 'o'", "has no argument"),
                         ("'f(text, int)', 'a', 'spread'", "no distributed table to colocate"),
                         ("'f(text, int)', 'k', 'ref'", "no distributed table to colocate"),
                         ("'f(text, int)', 'k', 'nothing'", "does not exist"),
                         ("'pg_catalog.now()', null", "cannot be null")):
        refused(con, "select create_distributed_function(%s)" % sql, message)
    with herd.connect(user="schemas_other") as c:
        refused(c, "select create_distributed_function('f(text, int)')", "must be owner")
        refused(c, "select citus_internal.note_function('f(text, int)', 1, 1, null)", "must be owner")
    con.execute("drop function f; drop procedure pr")
    for node in range(3):
        with herd.connect(node) as c:
            assert c.execute(noted).fetchall() == []
