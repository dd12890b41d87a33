"""UPDATE and DELETE tied to other tables by other columns than the distribution column."""
import threading
import time

import psycopg
import pytest

import plan_herd

LINES = """
update a set x = (select max(v) from c where c.k = a.x)
update a set s = 'far' where exists (select 1 from c where c.k = a.x and c.v > 1000) returning k, x, s
update a set s = 'none' where not exists (select 1 from b where b.y = a.x)
update a set s = 'in' where x in (select y from b where b.k < a.k) returning *
update a set s = 'not in' where x not in (select y from b where y is not null and b.k < a.k)
update a set s = 'any' where x > any (select grp from r where r.id < a.x)
update a set s = 'self' where f > (select avg(f) from a z where z.x = a.x) returning k, f
update a set (x, s) = (select max(y), min(t) from b where b.y % 7 = a.x)
update a set (x, s) = (select max(y), min(t) from b where b.y % 7 = a.x), f = 0 where k % 2 = 0 returning k, x, s, f
update a set x = (select count(*) from c where c.k = a.x), s = (select max(s) from a z where z.x > a.x)
update a set x = q.n from (select k, count(*) as n from c group by k) q where q.k = a.x returning a.k, q.n
update a set x = q.n from b, lateral (select count(*) as n from c where c.k = b.y) q where b.k = a.k and b.y < 20 returning a.k, b.y, q.n
update a set s = q.m from lateral (select max(t) as m from b where b.y > 10) q where a.x = 1
update a set s = q.t from c, lateral (select t from b where b.y = c.k order by t limit 1) q where c.k = a.x and c.v < 4000 returning a.k, a.s, c.v, q.t
update a set x = q.rn from (select y, row_number() over (order by y desc) as rn from b) q where q.y = a.x returning a.k, a.x
update a set x = w.rn from (select k, f, row_number() over (order by f) as rn from a) w where w.k = a.k and w.f = a.f
with q as (select k, max(v) as m from c group by k) update a set x = q.m from q where q.k = a.x and exists (select 1 from q z where z.k > a.x) returning a.k, a.x, q.m
with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) update a set s = 'n' where exists (select 1 from n where n.i = a.x)
with q as (select k, v from c), z as (select y from b where y in (select k from q)) delete from a where exists (select 1 from z where z.y = a.x) returning k, x
update a set s = 'u' where x = (select max(k) from c where c.v in (select b.y * 100 from b where b.k >= a.k))
update a set s = 'or' where x = 1 or exists (select 1 from c where c.k = a.x)
update a set s = case when exists (select 1 from c where c.k = a.x) then 'yes' else 'no' end
update a set x = coalesce((select v from c where c.k = a.x order by v limit 1), -1)
update a set x = (select v from c where c.k = a.x order by v offset 0 limit 1) where k < 9 returning (select name from r where r.id = a.k), x
update a set x = 0 where k < 9 returning k, (select count(*) from c where c.k = a.x), (select max(y) from b)
update a set s = (select string_agg(c.ck, ',' order by c.ck) from c join b on b.y = c.k where b.k > a.x and c.v < 900)
update a set s = 'union' where x in (select k from c where c.v > a.f union select y from b where b.y > a.x)
update a set s = 'l' where exists (select 1 from l where l.id = a.x and l.note <> a.s)
update a set s = array(select b.y from b order by 1)::text where (k, k) in (select z.k, z.x from a z) returning k, s
update a set s = array(select c.v from c where c.k = a.x order by 1 desc)::text where k in (select y from b where y > 3)
update a set s = 'o' where exists (select 1 from o where o.x = a.x and o.k < a.k)
update a set s = 'p' where exists (select 1 from p where p.x = a.x and p.d > 3)
update p set x = (select max(v) from c where c.k = p.x)
update p set x = -1 where exists (select 1 from b where b.y = p.x + p.d) returning *
update p set x = 0 from c where c.k = p.x and c.v > 3000
delete from a where exists (select 1 from c where c.k = a.x)
delete from a where not exists (select 1 from c where c.k = a.x and c.v > 1000) returning *
delete from a using b where b.y = a.x and exists (select 1 from c where c.k = b.y and c.v > a.f) returning a.k, b.t
delete from a using a z where z.x = a.x and z.f > a.f returning a.k, a.f
delete from a where f < (select avg(f) from a z where z.x = a.x)
delete from a where ctid in (select ctid from a z where z.k = a.k and z.x = 1)
delete from a using b, lateral (select 1 from c where c.k = b.y limit 1) q where b.y = a.x
delete from a where x = (select max(y) from b where b.y = a.x)
update r set name = (select max(s) from a where a.k = r.id)
delete from p where x = (select max(x) from p z where z.d = p.d) returning *
delete from p where x in (select y from b where b.k = p.d)
delete from e using a where a.x = e.x
update r set name = (select max(s) from a where a.x = r.id) returning *
update r set name = 'x' where exists (select 1 from a where a.x = r.id and a.k > r.grp)
update r set name = q.m from (select x, max(s) as m from a group by x) q where q.x = r.id returning *
update r set (name, grp) = (select max(s), count(*) from a where a.x = r.id)
update r set name = a.s from a where a.k = 7 and a.x = r.id and exists (select 1 from c where c.k = r.id)
with q as (select x, count(*) as n from a group by x) update r set grp = q.n from q where q.x = r.id and exists (select 1 from q z where z.n > r.id)
delete from r where not exists (select 1 from a where a.x = r.id) returning *
delete from r using a where a.x = r.id and exists (select 1 from r2 where r2.id = r.grp)
update o set w = (select max(s) from a where a.x = o.x)
update o set w = 'e' where exists (select 1 from b where b.y = o.k and b.t > o.w) returning *
update o set x = a.k from a where a.x = o.x and a.f = (select max(f) from a z where z.x = o.x)
delete from o where x in (select x from a where a.k > o.k) returning *
update l set note = (select max(s) from a where a.x = l.id)
update l set note = (select max(s) from a where a.x = l.id) where exists (select 1 from b where b.y = l.id) returning *
delete from l using a where a.x = l.id and exists (select 1 from c where c.k = a.x)
insert into b values (7, 7, 'new'), (8, 8, 'x'), (99, 1, 'z') on conflict (k, y) do update set t = (select max(s) from a where a.x = b.y) returning *
insert into b select k, y, 'again' from b on conflict (k, y) do update set t = excluded.t || (select count(*) from c where c.k = b.y) where exists (select 1 from a where a.x = excluded.y) returning k, y, t
insert into b values (7, 7, 'new'), (8, 8, 'x') on conflict (k, y) do update set t = (select max(s) from a) where b.y < (select max(x) from a)
insert into b values (101, 7, 'new'), (102, 8, 'x') returning k, (select max(s) from a where a.x = b.y), t
insert into b select x, k, s from a where x is not null on conflict (k, y) do update set t = (select min(ck) from c where c.k = b.k) returning *
with u as (update a set x = (select max(v) from c where c.k = a.x) where k < 20 returning k, x) select * from u
with d as (delete from a where exists (select 1 from c where c.k = a.x) returning *) select count(*), sum(f) from d
insert into r values (1, 'c', 1), (60, 'n', 2) on conflict (id) do update set name = (select max(s) from a where a.x = r.id) returning *, (select count(*) from a where a.x > r.id)
insert into o values (1, 1, 'o'), (2, 2, 'p') returning *, (select max(y) from b where b.k = o.x)
insert into b values (7, 7, 'new') on conflict (k, y) do update set t = (select max(s) from a where a.x = excluded.y) returning *
insert into b (t, y, k) values ('z', 7, 7), ('zz', 500, 9) on conflict (k, y) do update set (t) = row((select max(s) from a where a.x > excluded.y)) where exists (select 1 from c where c.k = b.k) returning k, t
with d as (delete from a where exists (select 1 from c where c.k = a.x) returning k, x, s) insert into l select x, s from d
"""
LINES = [line for line in LINES.strip().splitlines() if line]

herd, con = plan_herd.fixtures(plan_herd.Herd.load)


def contents(con):
    plan_herd.contents(con, ("a", "b", "e", "r", "l", "o", "p"))


@pytest.mark.parametrize("line", LINES)
def test_same_effect(con, line):
    con.execute("begin")
    try:
        plan_herd.compare(con, line)
        contents(con)
    finally:
        con.execute("rollback")


def waiting(con, n):
    return con.execute("select count(*) from citus_lock_waits").fetchone()[0] >= n


CONCURRENT = [
    # computed by a SELECT, then found by ctid
    ("merge into ct using cs on ct.v = cs.k when matched then update set n = ct.n + 1 "
     "when not matched then insert (k, v, n) values (cs.k + 100, cs.k, -1)", "MERGE 25"),
    ("update ct set n = n + 1 where exists (select 1 from cs where cs.k = ct.v and cs.id < 40)",
     "UPDATE 20"),
]


@pytest.mark.parametrize("sql,tag", CONCURRENT)
def test_no_update_is_lost(herd, con, sql, tag):
    """A row that another transaction is changing: the statement waits for it and sees what it wrote."""
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    con.execute("create table ct (k int primary key, v int, n int); create table cs (id int, k int)")
    con.execute("select create_distributed_table('ct', 'k'), create_distributed_table('cs', 'id')")
    con.execute("insert into ct select i, i, 0 from generate_series(1, 20) i")
    con.execute("insert into cs select i, i from generate_series(1, 25) i")
    done = []
    with herd.connect(autocommit=False) as one, herd.connect() as two:
        for c in (one, two):
            c.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
        one.commit()
        one.execute("update ct set n = n + 100 where k = 5")
        thread = threading.Thread(target=lambda: done.append(two.execute(sql).statusmessage))
        thread.start()
        for _ in range(600):
            if waiting(con, 1) or done:
                break
            time.sleep(0.1)
        assert not done
        one.commit()
        thread.join(120)
        assert done == [tag]
        assert con.execute("select n from ct where k = 5").fetchone() == (101,)
        one.execute("update ct set n = n + 100 where k = 5")
        two.execute("set default_transaction_isolation = 'repeatable read'")
        failed = []

        def serializable():
            try:
                two.execute(sql)
            except psycopg.errors.SerializationFailure as e:
                failed.append(e)
        thread = threading.Thread(target=serializable)
        thread.start()
        for _ in range(600):
            if waiting(con, 1) or failed:
                break
            time.sleep(0.1)
        one.commit()
        thread.join(120)
        assert len(failed) == 1
    con.execute("drop table ct, cs")
