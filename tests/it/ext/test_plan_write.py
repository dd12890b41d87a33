"""Writes do to distributed tables what they do to plain ones, and return the same rows."""
import psycopg
import pytest

import plan_herd

# each line runs on both sets of tables in a transaction that is rolled back after the comparison;
# statements of one line are separated by ";"
WRITES = """
insert into a values (5, 1, 'x')
insert into a (s, k) values ('x', 5) returning *
insert into a (s, k) values ('x', 5), ('y', 6), ('z', 5) returning k, s
insert into a (k, x) values (2 + 3, length('abc')) returning k, x, s is null
insert into a (k) select generate_series(2000, 2100)
insert into a (k, s) select g, 's' || g from generate_series(3000, 4700) g
insert into a (x, k) select y, k from b where y > 30 returning k, x
insert into a (x, k) select k, y from b where y > 30 returning k, x
insert into a (s, x, k) select s, x, k from a where k = 7 returning *
insert into a (k, x) select k, count(*) from b group by k returning k, x
insert into a (k, x) select x, count(*) from a where x is not null group by x
insert into a (k, x) select k, x from a order by f limit 5
insert into a (k, s) select id, name from r returning k, s
insert into a (k, s) select id, note from l returning k, s
insert into a (k) select k from a where k = 7 union select k from b where k = 8
insert into e select k, x from a
insert into e select k + 1, x from a where x is not null
insert into b values (7, 7, 'new') on conflict (k, y) do update set t = excluded.t returning *
insert into b values (7, 7, 'new'), (8, 8, 'other'), (99, 1, 'z') on conflict (k, y) do update set t = b.t || excluded.t where b.k > 7 returning *
insert into b values (7, 7, 'new'), (100, 1, 'q') on conflict do nothing returning *
insert into b values (7, 7, 'new') on conflict on constraint b_pkey do update set t = 'c' returning *
insert into b select k, y, 'again' from b on conflict (k, y) do update set t = excluded.t
insert into b select k + 1, y, 'again' from b on conflict (k, y) do update set t = excluded.t || b.k
insert into r values (50, 'fifty', 1) returning *
insert into r values (51, 'a', 1), (52, 'b', 2) returning *
insert into r select id + 100, name, grp from r where id < 100 returning *
insert into r (name, id) select max(s), 500 + k from a group by k
insert into r values (1, 'conflict', 1) on conflict (id) do update set name = excluded.name returning *
insert into l select k, s from a where x = 1 returning *
insert into l select id, name from r
update a set x = 100 where k = 7
update a set x = x + 1, s = upper(s) where k = 7 returning *
update a set x = x + 1
update a set x = x + 1 where x > 3 returning k, x
update a set x = b.y from b where a.k = b.k and b.y < 30 and a.f < 9
update a set x = b.y from b where a.k = b.k and a.k = 7 and b.y = 7 returning a.k, a.x, b.t
update a set s = r.name from r where a.x = r.id returning a.k, a.s
update a set x = 1 where k in (1, 2, 3)
update a set x = 1 where k in (select k from b where y > 60)
update a set x = 1 where exists (select 1 from b where b.k = a.k and b.t is null)
update a set x = 1 where not exists (select 1 from b where b.k = a.k)
update a set x = (select max(y) from b where b.k = a.k)
update a set (x, s) = (1, 'multi') where k = 3 returning *
update a set (x, s) = (select max(y), min(t) from b where b.k = a.k) where k < 5
update a set k = k, x = 3 where x = 2
update a set x = v.x from (values (1, 10), (2, 20)) v(k, x) where a.k = v.k
update a set x = q.n from (select k, count(*) as n from b group by k) q where q.k = a.k
update a t set x = null where t.s = 's1' returning t.k
update r set name = name || '!' where id < 5 returning *
update r set grp = r2.id from r2 where r2.id = r.id
update r set name = 'x' returning id, name
update l set note = a.s from a where a.k = l.id and a.x = 2
update l set note = (select count(*) from a where a.x = l.id)
update l set note = q.n from (select x, count(*) as n from a group by x) q where q.x = l.id
update a set x = 1 where false
delete from a where k = 7
delete from a where k = 7 and x > 2 returning *
delete from a
delete from a where x = 1 returning k, x
delete from a using b where a.k = b.k and b.y > 40
delete from a using r where a.x = r.id and r.grp = 1 returning a.k, r.name
delete from a where k in (select k from b where t is null)
delete from r where id = 3 returning *
delete from r where grp = 1
delete from l where id in (select x from a)
with q as (insert into a (k, s) values (5, 'cte') returning k, s) select * from q
with q as (insert into a (k, s) values (5, 'cte') returning k, s) select q.k, b.y from q join b using (k)
with q as (delete from a where k = 7 returning *) select count(*) from q
with q as (delete from a where k = 7 returning *) insert into e select k, x from q returning *
with q as (delete from a where x = 1 returning *) insert into e select k, x from q
with q as (delete from a where x = 1 returning *) select s, count(*) from q group by s
with q as (update a set x = x + 10 where x < 3 returning k, x) select sum(x) from q
with q as (delete from a where x = 1) select 1
with q as (select k from b) delete from p t using (select q.k from q join l on q.k = l.id union all select k from p) u where t.k = u.k and not exists (select from q where k < 0) returning t.k, t.d
with q as (select k from b) delete from p t using (select q.k from q join l on q.k = l.id union all select k from p) u where t.k = u.k and t.d not in (select k from q where k < 3)
with q as (select k from b) delete from p where k in (select q.k from q join l on l.id = q.k) and d not in (select k from q where k < 3) returning *
with q as (select k from b) update a set x = (select count(*) from q join l on l.id = q.k) where k in (select k + 1 from q) and exists (select from q join l on true where k > a.x)
with q as (delete from a where x = 1 returning k) select k from b where k = 3 and y < 60
with q as (select k from b where k = 7) update a set x = 0 where k = 7 and k in (select k from q)
insert into a (k, x) values (5, 1); update a set x = 2 where k = 5; delete from a where k = 6; select count(*) from a
savepoint s1; delete from a where k = 5; rollback to s1; update a set x = 7 where k = 6
savepoint s1; delete from a; rollback to s1; update a set x = 7 where x = 6
update a set x = (select max(y) from b)
update a set x = (select max(y) from b) where k = 7 returning k, x
update a set s = 'rich' where x > (select avg(x) from a) returning k
update a set s = 'none' where exists (select 1 from c where v > 5900)
update a set s = 'none' where exists (select 1 from c where v > 59000)
delete from a where x in (select y from b)
delete from a where x not in (select y from b where y > 2)
delete from a where x not in (select x from a where k < 4)
delete from a where k in (select k from c where v > 3000) returning *
delete from a where k in (select k from l join c on l.id = c.k)
delete from a where s in (select ck from c) or s in (select name from r)
delete from a where ctid in (select null::tid) or x = any (array(select y from b))
delete from a where x <= all (select y from b where y > 2)
update r set name = (select max(s) from a) where id < 5 returning *
delete from r where id in (select x from a)
with q as (select x from a group by x having count(*) > 20) delete from a where x in (select x from q)
with q as (select k from b where y > 50) update a set x = -1 where k in (select k from q)
update a set x = q.m from (select k, max(v) as m from c group by k) q where q.k = a.k
update a set x = q.m from (select k, max(v) as m from c group by k) q where q.k = a.k and a.k = 7 returning a.k, q.m
update a set s = l.note from l where l.id = a.k returning a.k, l.note
delete from a using l where l.id = a.k
delete from a using l, r where l.id = a.x and r.id = a.k returning a.k, l.note, r.name
delete from a using c where c.ck = a.s and c.v > 5000
delete from a using (select x from a order by f limit 5) q where q.x = a.x
with q as (select k, max(v) as m from c group by k) update a set x = q.m from q where q.k = a.k
with q as (select x from a group by x having count(*) > 20), w as (select * from q where x > 1) delete from a using w where w.x = a.x
with q as (delete from b where y > 50 returning k) update a set s = 'gone' from (select distinct k from q) d where d.k = a.k
update r set name = q.s from (select x, max(s) as s from a group by x) q where q.x = r.id returning r.id, r.name
delete from r using l where l.id = r.id
truncate l; insert into l select k, s from a where k = 7
update a set k = 3 where k = 4
update a set k = k + 1
update a set k = k + 1, x = k, s = upper(s) where x > 2 returning k, x, s
update a set k = b.y from b where b.k = a.k and b.y < 20
update a set k = c.v from c where c.ck = a.s and c.v % 300 = 0 and a.x = 1 and c.k = 3
update b set k = k + 1000; update b set k = k - 1000 where y % 2 = 0 returning y, k
update b set k = k where y < 5; update e set k = 1
delete from a where (x, s) in (select y, t from b)
update a set s = (q.b).t from (select b from b where y < 40) q(b) where a.x = (q.b).y
insert into a (k, x) select y, k from b
insert into a (k, s) select x, s from a where x is not null
insert into b select v::int, c.k + 1000, 'q' from c on conflict do nothing
insert into b as o select x, 3, min(s) from a where x is not null group by x on conflict (k, y) do update set t = excluded.t returning k, t
insert into b (k, y, t) select k, 500 + sum(x), max(s) from a group by k having sum(x) > 2 returning *
create view va as select k as n, x as m from a where x < 9; update va set m = 5 where n = 7 returning n, m; delete from va where n = 3
create view va as select k as n, x as m from a where x < 9; update va set m = m + 1; delete from va where m = 2 returning *; insert into va values (5, 5)
create view va as select k as n, x as m from a; update va set m = b.y from b where b.k = va.n and b.y < 30; delete from va using b where b.k = va.n and b.y > 40
"""
LINES = [q for q in WRITES.strip().splitlines() if q]

REFUSED = [
    ("update a set k = null where k = 4", "null value in column"),
    ("insert into b values (7, 7, 'n') on conflict (k, y) do update set k = 9",
     "distribution column"),
    ("insert into a (x) values (1)", "null value in column"),
    ("insert into a (k) values (null)", "null value in column"),
    ("insert into a (k) select null::int from generate_series(1, 3)", "null value in column"),
    ("insert into a (k, x) values (null, 1), (2, 2)", "null value in column"),
    ("insert into a (k, s) select x, s from a", "null value in column"),
    ("select (select max(x) from a for update)", "FOR UPDATE is not allowed"),
]


herd, con = plan_herd.fixtures(plan_herd.Herd.load)


def contents(con):
    plan_herd.contents(con, ("a", "b", "e", "r", "l"))


@pytest.mark.parametrize("line", LINES)
def test_same_effect(con, line):
    con.execute("begin")
    try:
        for statement in line.split(";"):
            plan_herd.compare(con, statement)
        contents(con)
    finally:
        con.execute("rollback")
    contents(con)


@pytest.mark.parametrize("statement,message", REFUSED)
def test_refused(con, statement, message):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    with pytest.raises(Exception) as caught:
        con.execute(statement)
    assert message in str(caught.value)
    assert caught.value.sqlstate in ("0A000", "23502")


def test_copies_of_reference_table_stay_equal(herd, con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("update r set name = name || '*' where id = 2")
    con.execute("insert into r select 700 + g, md5(random()::text), 1 from generate_series(1, 5) g")
    seen = []
    for node in range(3):
        with herd.connect(node) as other:
            seen.append(sorted(other.execute("select * from %s.r" % plan_herd.DISTRIBUTED).fetchall(), key=str))
    assert seen[0] == seen[1] == seen[2]
    con.execute("delete from r where id > 700 and id < 800")
    con.execute("update r set name = 'r2' where id = 2")


@pytest.mark.parametrize("query, waits", [
    ("select * from a where x = 2 for update", True),
    ("select a.k, b.y from a join b using (k) where a.x = 2 order by a.f for share of a", True),
    ("select k from a where x = 2 order by f limit 3 for no key update", True),
    ("select a.k from a join b using (k) where a.x = 2 for update of b", False),
])
def test_rows_of_several_shards_are_locked(herd, con, query, waits):
    con.execute("begin")
    try:
        plan_herd.compare(con, query)
        with herd.connect() as other:
            other.execute("set search_path = " + plan_herd.DISTRIBUTED)
            other.execute("set lock_timeout = '300ms'")
            change = "update a set s = s where x = 2"
            if waits:
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute(change)
            else:
                other.execute(change)
            other.execute("update a set s = s where x = 4")
            left = other.execute("select k from a where x = 2 for update skip locked")
            assert (len(left.fetchall()) == 0) == waits
    finally:
        con.execute("rollback")
