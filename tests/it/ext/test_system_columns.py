"""System columns, samples and row locks where the rows of shards are read by another node."""
import psycopg
import pytest

import plan_herd
from plan_herd import compare

SYSTEM_COLUMNS = """
select tableoid::regclass::text like '%a', k from a where x=3;
select a.tableoid = c.tableoid from a join c on c.k=a.x;
select a.k from a join c on c.k=a.x where a.ctid is null;
select a.k, a.ctid is null, a.xmin is null, a.cmin is null from a left join c on c.k=a.x and
	c.ctid is null;
select a.k, c.ctid is null, c.xmin is null from a left join c on c.k=a.x;
select a.k, c.tableoid is null from a left join c on c.k=a.x;
select a.k, c.tableoid::regclass::text like '%c' from a left join c on c.k=a.x;
select a.k, c.tableoid = 'c'::regclass from a left join c on c.k=a.x;
select p.k, p.d, c.tableoid = 'c'::regclass from p left join c on c.k=p.x;
select p.k, p.d, p.tableoid = 'p_low'::regclass from p left join c on c.k=p.x;
select p.k, p.d, p.tableoid = 'p_low'::regclass from p;
select p.tableoid = 'p_low'::regclass, count(*) from p group by 1;
select p.tableoid = 'p_low'::regclass, count(*) from p group by p.tableoid;
select relname,count(*) from p join pg_class on pg_class.oid=p.tableoid group by 1;
select relname,count(*) from p join pg_class on pg_class.oid=p.tableoid where k=3 group by 1;
select relname,count(*) from a join pg_class on pg_class.oid=a.tableoid group by 1;
select k, (select relname from pg_class where oid=a.tableoid) from a where k=5;
select k, (select relname from pg_class where oid=p.tableoid) from p;
select k, row_number() over (partition by tableoid order by k) from p where d=0;
select count(distinct tableoid) from p;
select tableoid::regclass::text like '%p_low' from p;
select tableoid::regclass::text like '%p_low' from p where k=3;
select distinct tableoid::regclass::text like '%p_low' from p;
update p set x = 5 where tableoid = 'p_low'::regclass returning k,d;
update p set x = 5 where k=3 returning k,d, tableoid = 'p_low'::regclass;
update p set x = 5 returning k,d, tableoid = 'p_low'::regclass;
update p set x = 5 from c where c.k=p.x returning p.k,d, p.tableoid = 'p_low'::regclass;
delete from p using c where c.k=p.x and p.tableoid = 'p_low'::regclass returning p.k,d,
	p.tableoid = 'p_low'::regclass;
insert into p values (70,1,1),(71,10,1) returning tableoid = 'p_low'::regclass;
insert into p values (70,1,1) returning tableoid = 'p_low'::regclass;
insert into a (k) values (70),(71) returning tableoid = 'a'::regclass;
insert into p values (70,1,1) returning tableoid::regclass::text like '%p_low';
select q.t = 'a'::regclass from (select k,x,tableoid as t from a) q join c on c.k=q.x;
select a.ctid = (select b.ctid from b where false) from a;
with q as (select ctid, tableoid t, k from a) select q.k, q.t='a'::regclass from q join c on
	c.k=q.k;
select r.tableoid='r'::regclass, a.k from r join a on a.x=r.id;
select r.tableoid='r'::regclass from r;
select r.tableoid='r'::regclass from r full join l on l.id=r.id;
select o.tableoid='o'::regclass,a.k from o left join a on a.x=o.k;
select l.id, a.tableoid = 'a'::regclass from l left join a on a.x=l.id;
select l.id from l left join a on a.x=l.id where a.ctid is null;
select count(*) from a join a a2 on a.ctid=a2.ctid and a.k=a2.k;
select min(tableoid) = 'a'::regclass from a;
select max(tableoid) = 'p_high'::regclass from p;
select array_agg(distinct tableoid::regclass::text like '%p_low') from p;
select * from a where (a.xmin::text)::int8 = 0 and exists (select 1 from c where c.k=a.x);
select p.* from p where tableoid in (select oid from pg_class where relname='p_low');
select count(*) from a where xmin::text in (select xmin::text from a);
select (tableoid = 'a'::regclass) and exists (select 1 from l where l.id=a.x) from a;
select e.k from e, a where e.tableoid <> a.tableoid and a.x=e.x;
"""
SAMPLES = """
select k from a tablesample system (100) where x=3;
select k from a tablesample bernoulli (100) repeatable (3), l where a.x=l.id;
select k from a tablesample bernoulli ((select 100));
select l.id,q.* from l, lateral (select k,count(*) from a tablesample bernoulli (l.id*0+100)
	where a.k=l.id group by 1) q;
select l.id,q.* from l, lateral (select k,count(*) from a tablesample bernoulli (100) repeatable
	(l.id) where a.k=l.id group by 1) q;
select r.id,q.* from r, lateral (select k,count(*) from a tablesample bernoulli
	(coalesce(r.id*0+100,100)) where a.k=r.id group by 1) q;
select e.k,q.* from e, lateral (select x,count(*) from a tablesample bernoulli (e.k*0+100) where
	a.x=e.k group by 1) q;
"""
LOCAL_TARGETS = """
select l.id from l join a on a.k=l.id for update of l;
select l.id, a.x from l left join a on a.k=l.id and a.x=3 for update of l;
select l.id from l where exists (select 1 from a where a.x=l.id) for update;
select l.id from l join a on a.k=l.id for update;
select l.id from l join a on a.x=l.id join c on c.k=a.k for share of l;
select l.id, a from l join a on a.k=l.id for update of l;
select l.id from l join (select k, count(*) from a group by k) q on q.k=l.id for update of l;
select l.id from l join r on r.id=l.id for update of l;
select l.id from l join (select x from a union select y from b) q on q.x=l.id for update of l;
select l.id, o.k from l join o on o.k=l.id for update of l;
select l.id from l, lateral (select x from a where a.k=l.id limit 1) q for update of l;
update l set note = a.s from a where a.k=l.id and a.x=3 returning l.*, a.k;
update l set note = 'q' from a where a.x=l.id returning l.id;
update l set note = q.m from (select k, max(s) m from a group by k) q where q.k=l.id returning *;
delete from l using a where a.k=l.id and a.x is null returning l.id, a;
delete from l using a, c where a.k=l.id and c.k = a.k returning l.id;
update l set note = (select max(s) from a where a.k=l.id) returning *;
update l set note='z' where id in (select x from a) returning *;
with q as (select * from a where x=3) update l set note=q.s from q where q.k=l.id returning l.*;
update l set note = a.s from a left join c using (k) where a.k=l.id and c.v > 5 and a.n > 10
	returning l.id;
merge into l using a on a.k = l.id and a.x=2 when matched then update set note=a.s when not
	matched then insert values (a.k, a.s);
merge into l using (select k, max(s) m from a group by k) q on q.k = l.id when matched then
	update set note=m when not matched then insert values (k, m);
insert into l select k, s from a for update;
"""
QUEUES = """
select x from a where k in (select k from a where x = 3 order by n limit 5 for update skip locked);
select k from b where (k,y) in (select k,y from b order by y limit 5 for update skip locked);
update b set t='q' where y in (select y from b where t = 't1' order by y for update skip locked
	limit 1) returning *;
update b set t='q' where y = (select y from b where t = 't1' order by y for update skip locked
	limit 1) returning *;
update b set t='q' where (k,y) in (select k,y from b where t = 't1' order by y for update skip
	locked limit 3) returning *;
update b set t='q' where (k,y) = (select k,y from b where t = 't1' order by y for update skip
	locked limit 1) returning *;
update b set t='q' from (select k,y from b where t = 't1' order by y for update skip locked
	limit 3) q where q.k=b.k and q.y=b.y returning b.*;
update b set t='q' from (select y from b where t = 't1' order by y for update skip locked limit
	3) q where q.y=b.y returning b.*;
with q as (select k, y from b where t='t1' order by y for update skip locked limit 3) update b
	set t='q' from q where q.y=b.y returning b.*;
with q as (select k, y from b where t='t1' order by y for update skip locked limit 3) update b
	set t='q' from q where q.k=b.k and q.y=b.y returning b.*;
with q as (select k, y from b where t='t1' order by y for update skip locked limit 3) delete
	from b using q where q.y=b.y returning b.*;
delete from b where y in (select y from b where t = 't1' order by y for update skip locked limit
	1) returning *;
delete from b where y = any(array(select y from b where t = 't1' order by y for update skip
	locked limit 2)) returning *;
delete from b where (k,y) in (select k,y from b where t = 't1' order by y for update skip locked
	limit 2) returning *;
with q as (delete from b where y in (select y from b where t = 't1' order by y for update skip
	locked limit 1) returning *) select * from q;
with q as (select k, y from b where t='t1' order by y for update skip locked limit 3) select *
	from q;
with q as (select k, y from b where t='t1' order by y for update skip locked limit 3) select *
	from q join b using (y);
with q as (select k, y from b where t='t1' order by y for no key update limit 3), u as (update b
	set t='q' from q where q.y=b.y returning b.*) select * from u;
with q as (select k, y from b where t='t1' order by y for no key update limit 3), u as (update b
	set t='q' from q where q.y=b.y returning b.*) insert into l select y,t from u returning *;
update r set name='q' where id in (select id from r where grp=1 order by id limit 1 for update
	skip locked) returning *;
update r set name='q' where id = (select id from r where grp=1 order by id limit 1 for update
	skip locked) returning *;
with q as (select id from r where grp=1 order by id limit 2 for update) update r set name='q'
	from q where q.id=r.id returning r.*;
update o set w='q' where k in (select k from o order by x limit 2 for update) returning *;
update p set x=99 where (k,d) in (select k,d from p order by k,d limit 2 for update) returning *;
with q as (select k,d from p order by k,d limit 2 for update) update p set x=99 from q where
	(p.k,p.d)=(q.k,q.d) returning p.*;
delete from p where (k,d) in (select k,d from p order by k,d limit 2 for update) returning *;
select * from (select k,y from b order by y limit 4 for update) q join c on c.k=q.k;
select count(*) from (select k,y from b order by y limit 4 for update) q;
select * from b where exists (select 1 from a where a.x=b.y for update);
select * from b where exists (select 1 from a where a.k=b.k for share);
update b set t=(select s from a where a.x=3 order by n limit 1 for update) where y<5 returning *;
insert into l select k,t from b where t='t1' order by y limit 3 for update returning *;
insert into b select k+1000,y,t from b where t='t1' order by y limit 3 for update returning *;
select k,y from b order by y limit 5 for update;
select b.k,y from b join c on c.k=b.k order by y,v limit 5 for update of b;
select b.k,y from b join c on c.k=b.k order by y,v limit 5 for update;
select b.k,y from b left join c on c.k=b.k order by y,v limit 5 for update of b;
update b set t='q' where y in (select y from b join c on c.k=b.k where t='t1' order by y,v limit
	2 for update of b) returning *;
update b set t='q' where ctid in (select ctid from b where t='t1' order by y limit 2 for update)
	returning *;
with q as (select y from b where t='t1' order by y limit 2 for update), w as (select x from a
	order by n,k limit 2 for share) update b set t='q' from q,w where q.y=b.y returning b.*;
"""
NESTED_LOCKS = """
select * from (select l.id from l join a on a.k=l.id for update of l) q join c on c.k=q.id;
select * from (select l.id, a.x from l join a on a.x=l.id for update of l offset 0) q;
with q as (select l.id, a.x from l join a on a.x=l.id for update of l) select * from q;
with q as (select l.id, a.x from l join a on a.x=l.id for update of l) select * from q join b on
	b.y=q.id;
select id, (select l2.id from l l2 join a on a.k=l2.id where l2.id=l.id limit 1 for update of
	l2) from l;
select k from a where x in (select l.id from l join c on c.k=l.id for update of l);
with u as (update l set note='x' from a where a.x=l.id returning l.id) select * from u join c on
	c.k=u.id;
with u as (delete from l using a where a.x=l.id returning l.*) insert into o select id, 1, note
	from u returning *;
insert into o select q.id, 1, 'x' from (select l.id from l join a on a.x=l.id for update of l) q
	returning *;
update b set t='q' from (select l.id from l join a on a.x=l.id for update of l) q where q.id=b.y
	returning b.*;
select l.id, q.k, q.s from l cross join lateral (select k, s from a where a.x = l.id order by n
	limit 2) q for update of l;
select l.id, a.x, r.name from l left join a on a.k=l.id left join r on r.id=a.x for no key
	update of l;
select l, a from l full join a on a.k=l.id and a.x=2 where l.id>2;
select l.*, (select count(*) from a where a.x=l.id) from l for update;
select l.id from l join a on a.k=l.id join lateral (select max(v) m from c where c.k=a.x) q on
	true for update of l;
update l set note = (select max(v)::text from c where c.k=a.x) from a where a.k=l.id and a.x=2
	returning l.*, a.*;
update l set (id,note) = (select a.k, a.s from a where a.x=l.id order by n,k limit 1) returning *;
"""
LOCKS_IN_WITH = """
with q as materialized (select k, y from b where t='t1' order by y for update limit 3) update b
	set t='q' where y in (select y from q) returning b.*;
with q as (select k, y from b where t='t1' order by y for update limit 3) update b set t='q'
	where y in (select y from q) returning b.*;
with q as (select k, y from b where t='t1' order by y for update limit 3) delete from b where
	(k,y) in (select k,y from q) returning b.*;
with q as (select k, y from b where t='t1' order by y for update limit 3) delete from b where y
	in (select y from q) returning b.*;
with q as (select y from b where t='t1' order by y for update limit 1) delete from b where y =
	(select y from q) returning b.*;
with q as (select y from b where t='t1' order by y for update limit 1) delete from b where
	exists (select 1 from q where q.y=b.y) returning b.*;
with q as materialized (select y from b where t='t1' order by y limit 3) delete from b where y
	in (select y from q) returning b.*;
with q as (select ctid c from b where t='t1' order by y for update limit 3) delete from b where
	ctid in (select c from q) returning b.*;
with q as (select ctid c from b where t='t1' order by y for update limit 3) delete from b using
	q where ctid = q.c returning b.*;
delete from b where ctid = any(array(select ctid from b where t='t1' order by y limit 2 for
	update)) returning *;
update l set note='q' where ctid in (select ctid from l order by id limit 2 for update skip
	locked) returning *;
update o set w='q' where ctid in (select ctid from o order by k limit 2 for update skip locked)
	returning *;
update r set name='q' where ctid in (select ctid from r order by id limit 2 for update skip
	locked) returning *;
"""


def load(h):
    h.load()


herd, con = plan_herd.fixtures(load)


def listed(text):
    return [s for s in text.strip().split(";\n") if s.strip(" ;\n")]


@pytest.mark.parametrize("sql", [s.rstrip(";\n") for text in
                                 (SYSTEM_COLUMNS, SAMPLES, LOCAL_TARGETS, QUEUES,
                                  NESTED_LOCKS, LOCKS_IN_WITH)
                                 for s in listed(text)])
def test_as_plain(con, sql):
    """The same rows as of plain tables; what is written is undone."""
    with con.transaction(force_rollback=True):
        compare(con, sql)


def test_ctid_names_one_row(con):
    """ctid is one row's in all of the table, and finds it again."""
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    rows = con.execute("select k, x, ctid::text from a").fetchall()
    assert len({r[2] for r in rows}) == len(rows)
    for k, x, ctid in rows[:10]:
        assert con.execute("select k, x from a where ctid = %s::text::tid", [ctid]).fetchall() == [
            (k, x)]
    with con.transaction(force_rollback=True):
        some = [r[2] for r in rows[:20]]
        got = con.execute("delete from a where ctid = any(%s::text[]::tid[]) returning ctid::text",
                          [some]).fetchall()
        assert sorted(r[0] for r in got) == sorted(some)
    plan = "\n".join(r[0] for r in con.execute(
        "explain (costs off) select k from a where ctid = '(0,1)'").fetchall())
    assert "Tid Scan" in plan, plan


def test_rows_without_doubles(con):
    """The usual way to take out rows that are there twice, by columns that are not the key."""
    with con.transaction(force_rollback=True):
        for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
            con.execute("set search_path = " + schema)
            con.execute("insert into e select i, i % 7 from generate_series(1, 60) i")
            con.execute("delete from e where ctid not in (select min(ctid) from e group by x)")
            assert con.execute("select x from e order by 1").fetchall() == [
                (i,) for i in range(7)]


def test_oid_of_partition(con):
    """tableoid is the partition's on the node that plans; also of one that is new."""
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("prepare oids as select distinct tableoid from p order by 1")
    con.execute("set plan_cache_mode = force_generic_plan")
    for _ in range(2):
        con.execute("execute oids")
    with con.transaction(force_rollback=True):
        con.execute("delete from p where d >= 3")
        con.execute("drop table p_high")
        con.execute("create table p_new partition of p for values from (3) to (9)")
        con.execute("insert into p values (1, 5, 5)")
        want = con.execute("select oid from pg_class where oid in ('p_low'::regclass, "
                           "'p_new'::regclass) order by 1").fetchall()
        assert con.execute("execute oids").fetchall() == want
    con.execute("reset plan_cache_mode")
    con.execute("deallocate oids")


def test_two_workers_of_a_queue(herd, con):
    """SKIP LOCKED by ctid: rows that one session has are not those of the other."""
    text = ("delete from %s.a where ctid in (select ctid from %s.a order by k, n for update "
            "skip locked limit 3) returning k, n" % ((plan_herd.DISTRIBUTED,) * 2))
    with herd.connect(autocommit=False) as one, herd.connect(autocommit=False) as two:
        first, second = one.execute(text).fetchall(), two.execute(text).fetchall()
        assert len(first) == len(second) == 3 and not set(first) & set(second)
        one.rollback()
        two.rollback()


def test_sample_with_a_parameter(con):
    """A parameter of the statement, with rows that are joined elsewhere."""
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    cur = con.cursor()
    for percent, want in ((0, 0), (100, 9)):
        got = cur.execute("select count(distinct l.id) from l join a tablesample bernoulli "
                          "(%s::float4) repeatable (%s::float8) on a.k = l.id where l.id > 0",
                          [percent, 3]).fetchone()[0]
        assert got == want
    with pytest.raises(psycopg.Error, match="sample percentage"):
        cur.execute("select count(*) from l join a tablesample bernoulli (%s::float4) "
                    "on a.k = l.id", [101])


def test_values_of_several_shards(con):
    """Conditions on one key by two values, which a plan that is kept cannot know."""
    statements = (
        "select count(*) from a where k = $1 and k = $2",
        "select count(*) from a join b using (k) where a.k = $1 and b.k = $2",
        "select count(*) from a, b where a.k = $1 and b.k = $2",
        "with q as (update a set x = 1 from b where a.k = $1 and b.k = $2 returning a.k) "
        "select count(*) from q",
        "with q as (delete from a where k = $1 and exists (select from b where b.k = $2) "
        "returning k) select count(*) from q",
        "select count(*) from a where k = current_setting('herd_test.a')::int + $1 * 0 "
        "and k = current_setting('herd_test.b')::int + $2 * 0",
        "select count(*) from a where k = current_setting('herd_test.a')::int and k = "
        "current_setting('herd_test.b')::int and $1 < 100 and $2 < 100")
    con.execute("set plan_cache_mode = force_generic_plan")
    try:
        for text in statements:
            seen = []
            for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
                con.execute("set search_path = " + schema)
                con.execute("prepare two(int, int) as " + text)
                with con.transaction(force_rollback=True):
                    got = []
                    for values in ((1, 1), (1, 2), (3, 8)):
                        con.execute("set herd_test.a = %d" % values[0])
                        con.execute("set herd_test.b = %d" % values[1])
                        got.append(con.execute("execute two(%d, %d)" % values).fetchone())
                seen.append(got)
                con.execute("deallocate two")
            assert seen[0] == seen[1], text
    finally:
        con.execute("reset plan_cache_mode")
