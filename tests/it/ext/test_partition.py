"""Partitioned distributed tables do what plain partitioned tables do, on every node."""
import psycopg
import pytest

import plan_herd

PARTITIONED = """
create table ref (id int primary key, name text);
insert into ref select i, 'r' || i from generate_series(0, 9) i;
create table pt (k int not null, d date not null, g int not null default 0 references REF, v text,
	n numeric default 1.5, primary key (k, d, g)) partition by range (d);
create table pt1 partition of pt for values from ('2024-01-01') to ('2024-02-01');
create table pt2 partition of pt for values from ('2024-02-01') to ('2024-03-01')
	partition by list (g);
create table pt2a (v text, junk int, d date not null, g int not null, n numeric, k int not null);
alter table pt2a drop column junk;
alter table pt2 attach partition pt2a for values in (1, 2);
create table pt2d partition of pt2 default;
create index pt_v on pt (v);
insert into pt select i % 40, '2024-01-01'::date + i % 59, i % 5, chr(97 + i % 5), i
	from generate_series(1, 400) i;
create table hp (k int not null, v int, primary key (k)) partition by hash (k);
create table hp0 partition of hp for values with (modulus 2, remainder 0);
create table hp1 partition of hp for values with (modulus 2, remainder 1);
insert into hp select i, i * 3 from generate_series(1, 50) i;
create table other (k int primary key, w text);
insert into other select i, 'w' || i from generate_series(1, 60) i;
"""
DISTRIBUTE = """
select create_distributed_table('pt', 'k');
select create_distributed_table('hp', 'k', colocate_with => 'pt');
select create_distributed_table('other', 'k', colocate_with => 'pt');
"""

STATEMENTS = """
select tableoid::regclass::text ~ 'pt', count(*), sum(n) from pt group by 1
select k, count(*) from pt group by k
select * from pt where k = 7
select * from pt where k = 7 and d < '2024-01-20'
select * from pt2a
select * from pt2d where k = 3
select * from pt2 where g = 2
select pt.k, pt.d, other.w from pt join other using (k) where pt.d > '2024-02-10'
select pt.v, count(*) from pt join hp on hp.v = pt.k group by 1
select p.k, hp.v from pt1 p left join hp using (k)
select d, sum(n) over (order by d, k, g) from pt where g = 1
select r.name, count(*) from pt join ref r on r.id = pt.g group by 1
select pt from pt where k = 5
insert into pt values (1, '2024-01-05', 3, 'new')
insert into pt values (1, '2024-01-06', 3, 'new'), (2, '2024-02-06', 4, 'two') returning *
insert into pt select k, '2024-02-15', 9, w from other returning *
insert into pt2a (k, d, g, v) values (100, '2024-02-03', 1, 'direct') returning *
insert into pt values (7, '2024-01-08', 2, 'again') on conflict (k, d, g) do update set v = excluded.v
insert into hp select v, k from hp where v > 150
update pt set v = 'x' where k = 3 returning *
update pt set v = upper(v)
update pt set d = d + 30, g = 8 where k = 3 and d < '2024-01-28' returning *
update pt set g = g + 5, d = d + 27 where g in (0, 3) and d < '2024-01-28' and n < 60
update pt2 set g = 4, v = 'moved' where g = 1 and n < 100 returning *
update pt set v = other.w from other where other.k = pt.k and pt.g = 2
update hp set k = k + 1000 where v < 20
delete from pt where k = 3
delete from pt where d >= '2024-02-01' returning k, d
delete from pt2d
delete from pt using hp where hp.k = pt.k and hp.v < 30
truncate pt2a
truncate pt
alter table pt add column c int default 5; update pt set c = k where g = 1; select * from pt
alter table pt rename column v to vv; select vv, count(*) from pt group by 1
alter table pt alter column n type int using n::int; select * from pt where k = 1
create table pt3 partition of pt for values from ('2024-03-01') to ('2024-04-01'); insert into pt select k, '2024-03-05', 0, w from other; select * from pt3; select count(*) from pt
create table pt3 (like pt including defaults); insert into pt3 select k, '2024-03-05', 0, w from other; alter table pt attach partition pt3 for values from ('2024-03-01') to ('2024-04-01'); select * from pt; select * from pt3 where k = 4
create table pt3 partition of pt default partition by hash (k); create table pt3a partition of pt3 for values with (modulus 2, remainder 0); create table pt3b partition of pt3 for values with (modulus 2, remainder 1); insert into pt select k, '2025-03-05', 0, w from other; select * from pt3; select * from pt3b
alter table pt detach partition pt1; select * from pt; select * from pt1; insert into pt1 values (1, '2029-01-01', 1, 'free'); select * from pt1 where k = 1
alter table pt2 detach partition pt2d; alter table pt2 attach partition pt2d default; select * from pt
alter table pt2 rename to renamed; select * from renamed; insert into renamed values (9, '2024-02-02', 8, 'q') returning *
drop table pt2a; select * from pt; select * from pt2
drop table pt1; drop table pt2; select * from pt
create view w as select k, d, v from pt where g = 1; select * from w; update w set v = 'view' where k < 5
"""
LINES = [s for s in STATEMENTS.strip().splitlines() if s]

FAILING = [
    ("insert into pt values (1, '2029-01-05', 3, 'new')", "no partition of relation"),
    ("insert into pt values (1, '2024-01-05', 77, 'new')", "violates foreign key"),
    ("insert into pt1 values (1, '2024-02-05', 3, 'new')", "violates partition constraint"),
    ("insert into pt (d) values ('2024-01-05')", "cannot be null|violates not-null"),
    ("create unique index on pt (k, g)", "must include all|partition"),
    ("create unique index on pt (d, g)", "distribution column"),
    ("create table pf partition of pt for values from ('2024-01-15') to ('2024-04-01')",
     "would overlap"),
    ("create table inh () inherits (other)", "inheritance"),
    ("alter table plainp attach partition hp0 for values in (1)", "already a partition|distributed"),
    ("alter table plainp attach partition other for values in (1)", "not distributed"),
    ("alter table plaint inherit other", "inheritance"),
    ("select create_distributed_table('plainp1', 'k')", "it is a partition"),
    ("select create_reference_table('plainp')", "reference"),
    ("select undistribute_table('pt1')", "it is a partition"),
]


def load(h):
    before = PARTITIONED.replace("REF", "ref")
    h.load(before, DISTRIBUTE, "", first=("create table pt ", "select create_reference_table('ref');\ncreate table pt "))


herd, con = plan_herd.fixtures(load)


def contents(con):
    plan_herd.contents(con, ("pt", "pt1", "pt2", "pt2a", "pt2d", "hp", "hp1"))


@pytest.mark.parametrize("line", LINES)
def test_same(con, line):
    con.execute("begin")
    try:
        for statement in line.split("; "):
            plan_herd.compare(con, statement)
        contents(con)
    finally:
        con.execute("rollback")


def test_same_from_a_worker(herd, con):
    with herd.connect(1) as worker:
        for line in LINES:
            if line.startswith(("select", "insert", "update", "delete")):
                con.execute("begin")
                worker.execute("begin")
                plan_herd.compare(con, line, other=worker)
                con.execute("rollback")
                worker.execute("rollback")


@pytest.mark.parametrize("statement,message", FAILING)
def test_failing(con, statement, message):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("begin")
    try:
        con.execute("create table plainp (k int not null, w text) partition by list (k);"
                    "create table plainp1 partition of plainp for values in (5);"
                    "create table plaint (k int, w text)")
        with pytest.raises(psycopg.Error, match=message):
            con.execute(statement)
    finally:
        con.execute("rollback")


def names(herd, node):
    """Indexes and constraints of the shards of a node, and the names they should have."""
    with herd.connect_to_shards(node) as c:
        found = c.execute("""
            select s.relname, i.relname from pg_index x join pg_class i on i.oid = x.indexrelid
            join pg_class s on s.oid = x.indrelid
            where s.relnamespace = to_regnamespace(%s) and s.relname ~ '_1[0-9]{5}$'
            order by 1, 2""", (plan_herd.DISTRIBUTED,)).fetchall()
        wanted = c.execute("""
            select shard_name(p.logicalrelid, s.shardid, false), shard_name(i.oid::regclass, s.shardid, false)
            from pg_dist_partition p join pg_dist_shard s using (logicalrelid)
            join pg_dist_placement using (shardid) join pg_index x on x.indrelid = logicalrelid
            join pg_class i on i.oid = x.indexrelid join pg_class t on t.oid = logicalrelid
            where groupid = (select groupid from pg_dist_local_group)
            and t.relnamespace = to_regnamespace(%s)""", (plan_herd.DISTRIBUTED,)).fetchall()
    return found, sorted(tuple(n.split(".")[-1] for n in pair) for pair in wanted)


def test_names_on_shards(herd, con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("create index pt_vn on pt (v, n)")
    con.execute("alter table pt add constraint pt_u unique (k, d, g, v)")
    con.execute("create index pt2_g on pt2 (g)")
    con.execute("create table ptn partition of pt for values from ('2024-05-01') to ('2024-06-01')")
    for node in (1, 2):
        found, wanted = names(herd, node)
        assert sorted(found) == wanted
    con.execute("alter table pt drop constraint pt_u")
    con.execute("drop index pt_vn, pt2_g")
    con.execute("drop table ptn")
    for node in (1, 2):
        found, wanted = names(herd, node)
        assert sorted(found) == wanted


def test_sizes_and_views(con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    whole, parts = con.execute(
        "select citus_total_relation_size('pt'), citus_total_relation_size('pt1') + "
        "citus_total_relation_size('pt2')").fetchone()
    assert whole == parts > 0
    assert con.execute("select count(*) from citus_tables where table_name in ('pt'::regclass, 'pt1', "
                       "'pt2a', 'pt2', 'pt2d') and citus_table_type = 'distributed'"
                       ).fetchone()[0] == 5
    assert con.execute("select count(distinct colocation_id) from citus_shards where table_name in "
                       "('pt'::regclass, 'pt1', 'hp0')").fetchone()[0] == 1


def test_copy_and_maintenance(con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("begin")
    with con.cursor().copy("copy pt (k, d, g, v) from stdin") as copy:
        for i in range(100):
            copy.write_row((i, "2024-02-%02d" % (i % 28 + 1), 5 + i % 4, "c"))
    assert con.execute("select count(*) from pt2d where v = 'c'").fetchone()[0] >= 100
    with con.cursor().copy("copy pt to stdout") as copy:
        assert len(list(copy.rows())) == 500
    con.execute("rollback")
    con.execute("vacuum pt")
    con.execute("vacuum (analyze) pt1")
    con.execute("analyze pt")


def test_undistribute(con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("select undistribute_table('hp')")
    plan_herd.compare(con, "select * from hp")
    plan_herd.compare(con, "select * from hp1")
    assert con.execute("select count(*) from " + plan_herd.DISTRIBUTED + ".hp").fetchone()[0] == 50
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("select create_distributed_table('hp', 'k', colocate_with => 'none', "
                "shard_count => 5)")
    plan_herd.compare(con, "select * from hp")
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("select undistribute_table('hp')")
    con.execute("select create_distributed_table('hp', 'k', colocate_with => 'pt')")
    plan_herd.compare(con, "select * from hp1 join pt using (k)")


def test_single_shard(con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("create table one (k int, v int) partition by list (k);"
                "create table one1 partition of one for values in (1);"
                "insert into one values (1, 1)")
    con.execute("select create_distributed_table('one', null)")
    con.execute("create table one2 partition of one for values in (2)")
    con.execute("insert into one values (2, 2), (1, 3)")
    assert con.execute("select v from one2").fetchall() == [(2,)]
    assert con.execute("select sum(v) from one").fetchone()[0] == 6
    con.execute("drop table one")


def test_time_partitions(con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("create table ev (k int, at timestamptz not null) partition by range (at)")
    con.execute("select create_distributed_table('ev', 'k')")
    con.execute("set timezone = 'Europe/Berlin'")
    assert con.execute("select create_time_partitions('ev', '1 month', '2024-06-10', '2024-02-15')"
                       ).fetchone()[0]
    got = con.execute("select partition::text, from_value, to_value, access_method from "
                      "time_partitions where parent_table = 'ev'::regclass order by 2").fetchall()
    assert [g[0] for g in got] == ["ev_p2024_%02d" % m for m in range(2, 7)]
    assert got[1][1:] == ("2024-03-01 00:00:00+01", "2024-04-01 00:00:00+02", "heap")
    assert not con.execute("select create_time_partitions('ev', '1 month', '2024-06-10', "
                           "'2024-02-15')").fetchone()[0]
    missing = con.execute("select * from get_missing_time_partition_ranges('ev', '1 month', "
                          "'2024-08-01', '2024-06-20')").fetchall()
    assert missing == [("ev_p2024_07", "2024-07-01 00:00:00+02", "2024-08-01 00:00:00+02")]
    con.execute("insert into ev select i, '2024-02-10'::timestamptz + i * interval '1 day' "
                "from generate_series(1, 100) i")
    assert con.execute("select count(*) from ev").fetchone()[0] == 100
    with pytest.raises(psycopg.Error, match="interval does not match"):
        con.execute("select create_time_partitions('ev', '1 week', '2024-09-01', '2024-07-01')")
    con.execute("call drop_old_time_partitions('ev', '2024-04-15')")
    assert con.execute("select min(at)::text from ev").fetchone()[0] == "2024-04-01 00:00:00+02"
    con.execute("call alter_old_partitions_set_access_method('ev', '2024-05-05', 'heap')")
    with pytest.raises(psycopg.Error, match='access method "columnar" does not exist'):
        con.execute("call alter_old_partitions_set_access_method('ev', '2024-05-05', 'columnar')")
    con.execute("reset timezone")
    for width, start, end, want in (
            ("1 day", "2024-02-27", "2024-03-01", ["dt_p2024_02_27", "dt_p2024_02_28",
                                                    "dt_p2024_02_29"]),
            ("1 week", "2024-01-03", "2024-01-09", ["dt_p2024w01", "dt_p2024w02"]),
            ("3 months", "2024-02-03", "2024-05-01", ["dt_p2024q1", "dt_p2024q2"]),
            ("1 year", "2024-02-03", "2025-05-01", ["dt_p2024", "dt_p2025"])):
        con.execute("begin; create table dt (k int, at date not null) partition by range (at)")
        con.execute("select create_time_partitions('dt', %s::interval, %s::date, %s::date)",
                    (width, end, start))
        assert [r[0] for r in con.execute("select partition::text from time_partitions where "
                                          "parent_table = 'dt'::regclass order by from_value"
                                          ).fetchall()] == want
        con.execute("rollback")


def test_node_added_later(herd, con):
    if not herd.own:
        pytest.skip("needs a cluster of its own")
    node = herd.cluster.add_server()
    con.execute("select citus_add_node('127.0.0.1', %d)" % herd.cluster.ports[node])
    with herd.connect(node) as late:
        plan_herd.compare(con, "select * from pt", other=late)
        plan_herd.compare(con, "select * from pt2a", other=late)
        late.execute("set search_path = " + plan_herd.DISTRIBUTED)
        late.execute("insert into pt values (77, '2024-01-03', 1, 'late')")
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    assert con.execute("select v from pt where k = 77").fetchall() == [("late",)]
