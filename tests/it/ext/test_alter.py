"""Tables are distributed anew, and changed, with all that hangs on them."""
import psycopg
import pytest

import plan_herd


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        yield h
    finally:
        h.stop()


@pytest.fixture()
def con(herd):
    with herd.connect() as c:
        c.execute("drop schema if exists al cascade; create schema al; set search_path = al")
        yield c
        c.execute("drop schema al cascade")


TABLES = """
create table ref (id int primary key);
insert into ref select generate_series(1, 9);
create table a (k int primary key, j int default 3 references ref, t text);
create table b (k int primary key references a (k), x int);
create table p (k int, d int, primary key (k, d)) partition by range (d);
create table p1 partition of p for values from (1) to (100);
insert into a select i, i % 9 + 1, 'x' from generate_series(1, 50) i;
insert into b select i, i from generate_series(1, 50) i;
insert into p select i, i from generate_series(1, 50) i;
select create_reference_table('ref');
select create_distributed_table('a', 'k'), create_distributed_table('b', 'k'),
	create_distributed_table('p', 'k');
create view va as select a.*, b.x from a join b using (k);
create view vb as select count(*) as n, sum(x) as s from va;
"""


def shards(con):
    return {r[0]: r[1:] for r in con.execute(
        "select table_name::text, shard_count, distribution_column, colocation_id from citus_tables "
        "join pg_class c on c.oid = table_name where relnamespace = 'al'::regnamespace").fetchall()}


def intact(herd, con):
    for node in (0, 1):
        with herd.connect(node) as c:
            assert c.execute("select n, s from al.vb").fetchone() == (50, 1275)
            assert c.execute("select count(*), sum(d) from al.p1").fetchone() == (50, 1275)
    for wrong in ("insert into b values (1000, 1)", "insert into a values (1000, 77)"):
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            con.execute(wrong)


def test_alter_distributed_table(herd, con):
    con.execute(TABLES)
    with pytest.raises(psycopg.Error, match="cascade_to_colocated parameter is necessary"):
        con.execute("select alter_distributed_table('a', shard_count => 6)")
    con.execute("select alter_distributed_table('a', shard_count => 6, cascade_to_colocated => true)")
    got = shards(con)
    assert {got[t][0] for t in ("a", "b", "p", "p1")} == {6}
    assert len({got[t][2] for t in ("a", "b", "p", "p1")}) == 1
    intact(herd, con)
    con.execute("select alter_distributed_table('p', shard_count => 4, cascade_to_colocated => false)")
    con.execute("select alter_distributed_table('p', distribution_column => 'd')")
    assert shards(con)["p1"][:2] == (4, "d")
    assert con.execute("select k from p where d = 7").fetchall() == [(7,)]
    con.execute("select update_distributed_table_colocation('p', 'none')")
    with pytest.raises(psycopg.Error, match="cannot colocate table"):
        con.execute("select update_distributed_table_colocation('p', 'a')")
    con.execute("select alter_distributed_table('p', colocate_with => 'a')")
    assert shards(con)["p1"][2] == shards(con)["a"][2]
    con.execute("select update_distributed_table_colocation('p', 'none')")
    assert shards(con)["p1"][2] == shards(con)["p"][2] != shards(con)["a"][2]
    con.execute("select update_distributed_table_colocation('p', 'a')")
    assert shards(con)["p1"][2] == shards(con)["a"][2]
    intact(herd, con)
    for sql, message in (
            ("select alter_distributed_table('a')", "at least one"),
            ("select alter_distributed_table('a', distribution_column => 'k')", "doesn't change"),
            ("select alter_distributed_table('p1', shard_count => 3)", "it is a partition"),
            ("select alter_distributed_table('ref', shard_count => 3)", "not distributed by a column"),
            ("select alter_distributed_table('a', distribution_column => 't', "
             "cascade_to_colocated => false)", "distribution column|foreign key")):
        with pytest.raises(psycopg.Error, match=message):
            con.execute(sql)
    intact(herd, con)


def test_undistribute_cascade(con):
    con.execute(TABLES)
    with pytest.raises(psycopg.Error, match="it has foreign keys"):
        con.execute("select undistribute_table('b')")
    con.execute("select undistribute_table('b', cascade_via_foreign_keys => true)")
    assert sorted(shards(con)) == ["p", "p1"]
    assert con.execute("select n, s from vb").fetchone() == (50, 1275)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        con.execute("insert into b values (1000, 1)")
