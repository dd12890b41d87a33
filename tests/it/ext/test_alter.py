"""Tables are distributed anew, and changed, with all that hangs on them."""
import psycopg
import pytest

import plan_herd


herd, _ = plan_herd.fixtures(lambda h: None)


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


def test_several_subcommands(con):
    """What is combined in one ALTER TABLE reaches the shards each in its way, or not at all."""
    con.execute("create table ref (id int primary key); insert into ref select generate_series(1, 9);"
                "select create_reference_table('ref');"
                "create table t (k int not null, t text); select create_distributed_table('t', 'k');"
                "insert into t select i, 'x' from generate_series(1, 50) i")
    con.execute("alter table t add column j int default 3 references ref")
    con.execute("alter table t add column p numeric(10,2) default 1.5 check (p > 0 and p <> 7), "
                "add column q text default 'a,b(' || $$,($$, alter column t set default E'y\\',', "
                "add constraint chk check (k > 0), alter column q set not null")
    assert con.execute("select distinct j, p, q from t").fetchall() == [(3, 1.5, "a,b(,(")]
    assert con.execute("insert into t (k) values (60) returning t").fetchone() == ("y',",)
    for sql, error in (("insert into t (k, j) values (1, 99)", psycopg.errors.ForeignKeyViolation),
                       ("insert into t (k, p) values (1, -1)", psycopg.errors.CheckViolation),
                       ("insert into t (k) values (-1)", psycopg.errors.CheckViolation)):
        with pytest.raises(error):
            con.execute(sql)
    con.execute("alter table t drop constraint t_p_check, drop constraint chk, drop column q, "
                "alter column t type varchar(10), alter column t drop default")
    assert con.execute("insert into t (k, p) values (-7, -1) returning t").fetchone() == (None,)
    with pytest.raises(psycopg.Error):
        con.execute("alter table t add column z int, add column p int")
    assert not con.execute("select from pg_attribute where attrelid = 't'::regclass and "
                           "attname = 'z'").fetchall()
    con.execute("create unique index t_kj on t (k, j); alter table t add constraint t_uq unique using "
                "index t_kj")
    with pytest.raises(psycopg.errors.UniqueViolation):
        con.execute("insert into t (k) values (60)")
    con.execute("alter table t drop constraint t_uq; insert into t (k) values (60)")
    con.execute("create sequence sq; alter table t alter column j set default nextval('sq')")
    assert con.execute("insert into t (k) values (61) returning j").fetchone() == (1,)
    for sql, message in (("alter table t add column z int unique", "distribution column"),
                         ("alter table t of nothing", "does not exist|not supported")):
        with pytest.raises(psycopg.Error, match=message):
            con.execute(sql)


def on_shards(herd, sql):
    found = []
    for node in (1, 2):
        with herd.connect_to_shards(node) as c:
            found += c.execute(sql).fetchall()
    return found


def test_upkeep(herd, con):
    con.execute("create table t (k int not null, j int); select create_distributed_table('t', 'k');"
                "insert into t select i, i from generate_series(1, 50) i; create index t_j on t (j)")
    files = ("select current_setting('port'), relname, relfilenode from pg_class where "
             "relname ~ '^t_j_1'")
    for sql in ("reindex table t", "reindex index t_j", "reindex index concurrently t_j",
                "reindex table concurrently t", "cluster t using t_j", "cluster t"):
        before = on_shards(herd, files)
        con.execute(sql)
        after = on_shards(herd, files)
        assert len(after) == 32 and not set(before) & set(after), sql
    con.execute("comment on table t is 'tee'; comment on column t.j is 'jay'; "
                "comment on index t_j is 'idx'; alter index t_j set (fillfactor = 50)")
    with herd.connect(2) as c:
        assert c.execute("select obj_description('al.t'::regclass), col_description('al.t'::regclass, 2), "
                         "obj_description('al.t_j'::regclass)").fetchone() == ("tee", "jay", "idx")
    assert on_shards(herd, "select distinct reloptions from pg_class where relname ~ '^t_j_1'") == [
        (["fillfactor=50"],)] * 2
    con.execute("create unique index concurrently t_u on t (k, j)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        con.execute("insert into t values (1, 1)")
    con.execute("drop index concurrently t_u")
    con.execute("insert into t values (1, 1)")
    assert on_shards(herd, "select 1 from pg_class where relname ~ '^t_u'") == []
    with pytest.raises(psycopg.Error, match="must contain the distribution column"):
        con.execute("create unique index concurrently t_bad on t (j)")
    con.execute("begin")
    with pytest.raises(psycopg.Error, match="cannot run inside a transaction block"):
        con.execute("drop index concurrently t_j")
    con.execute("rollback")
    assert len(on_shards(herd, files)) == 32


def test_copies_of_distributed_tables(con):
    con.execute("create table t (k int, j int); select create_distributed_table('t', 'k');"
                "insert into t select i, i % 5 from generate_series(1, 50) i")
    con.execute("create materialized view mv as select j, count(*) as n from t group by j")
    con.execute("insert into t values (51, 5); refresh materialized view mv")
    assert con.execute("select count(*), sum(n) from mv").fetchone() == (6, 51)
    con.execute("create table made as select * from t where j < 3")
    con.execute("select * into taken from t where j >= 3")
    assert con.execute("select (select count(*) from made), (select count(*) from taken)"
                       ).fetchone() == (30, 21)


def test_serial_and_identity_columns_are_added(herd, con):
    con.execute("create table ser (k int primary key, v text); select create_distributed_table('ser', 'k');"
                "insert into ser select i, 'x' from generate_series(1, 10) i;"
                "alter table ser add column a bigserial, add column b serial not null, add column c int;"
                "alter table ser add column d bigint generated always as identity;"
                "alter table ser add column if not exists d bigint generated always as identity")
    assert con.execute("insert into ser (k) values (100) returning a, b, c, d").fetchone() == (11, 11, None, 11)
    assert con.execute("select count(distinct a), count(distinct b), count(distinct d), max(a), max(b), max(d) "
                       "from ser").fetchone() == (11,) * 6
    with pytest.raises(psycopg.Error, match="non-DEFAULT"):
        con.execute("insert into ser (k, d) values (101, 1)")
    with pytest.raises(psycopg.errors.NotNullViolation):
        con.execute("insert into ser (k, a) values (101, null)")
    with herd.connect(1) as c:
        a, b, d = c.execute("insert into al.ser (k) values (101) returning a, b, d").fetchone()
        assert a == d == (1 << 48) + 1 and b > 11
    con.execute("alter table ser alter column d drop identity;"
                "alter table ser alter column d add generated by default as identity (start with 500)")
    assert con.execute("insert into ser (k) values (102) returning d").fetchone() == (500,)
    con.execute("insert into ser (k, d) values (103, 9)")
    con.execute("begin; alter table ser add column z bigserial; rollback; alter table ser drop column a")
    for node in range(3):
        with herd.connect(node) as c:
            assert c.execute("select array_agg(relname::text order by relname::text) from pg_class where relkind = 'S' and "
                             "relname like 'ser\\_%'").fetchone() == (["ser_b_seq", "ser_d_seq"],)
    for sql, message in (("e serial primary key", "with other constraints cannot be added"),
                         ("e int generated always as identity (sequence name x)", "this option cannot be added")):
        with pytest.raises(psycopg.Error, match=message):
            con.execute("alter table ser add column " + sql)
    con.execute("alter table ser add column f bigint generated by default as identity (start 100 increment 5 "
                "minvalue 100 no maxvalue cache 1 no cycle), add column g int generated always as identity "
                "(increment -2 start with -1 maxvalue -1)")
    n = con.execute("select count(*) from ser").fetchone()[0]
    assert con.execute("select min(f), max(f), count(distinct f), min(g), max(g) from ser").fetchone() == (
        100, 95 + 5 * n, n, 1 - 2 * n, -1)
    assert con.execute("insert into ser (k) values (200) returning f, g").fetchone() == (100 + 5 * n, -1 - 2 * n)
    with herd.connect(1) as c:
        assert c.execute("insert into al.ser (k, g) overriding system value values (201, 1) returning f"
                         ).fetchone()[0] > 1 << 48
    con.execute("alter table ser drop column f, drop column g")
    con.execute("create function quiet() returns trigger language plpgsql as 'begin return new; end';"
                "create trigger tr before update on ser for each row execute function quiet()")
    with pytest.raises(psycopg.Error, match="triggers, rules or policies"):
        con.execute("alter table ser add column e serial")
    con.execute("truncate ser; alter table ser add column e serial; insert into ser (k) values (1)")
    assert con.execute("select e from ser").fetchone() == (1,)
