"""Subqueries tied to the query around them by other columns than the key: the answers of plain tables, and no
statement for each row."""
import pytest

import plan_herd

# a.k, b.k: keys of co-located tables; c: key ck; r, r2: reference tables; l: a table of this node
QUERIES = """
select k, x from a where f > (select avg(f) from a a2 where a2.x = a.x)
select k, x from a where f > (select 0.5 * sum(a2.f) from a a2 where a2.x = a.x and a2.s = a.s)
select k, x from a where f >= (select max(f) from a a2 where a2.x = a.x and a2.flag)
select k, x from a where (select min(v) from c where c.k = a.x) < n
select k, x from a where (select min(v) from c where c.k = a.x) + 1 < n and flag
select k, x from a where x = (select count(*) from c where c.k = a.x)
select k, x from a where f > (select coalesce(max(f), 0) from a a2 where a2.x = a.k)
select k, x from a where (select max(f) from a a2 where a2.x = a.k) is null
select k, x from a where f > (select avg(f) from a a2 where a2.x < a.x)
select k, x from a where f > (select avg(f) from a a2 where a2.x = a.x and a2.k < a.k)
select k, x from a where f > (select avg(f) from a a2 where a2.x = a.x group by a2.x)
select k, x from a where f > (select avg(f) from a a2 where a2.x = a.x having count(*) > 3)
select k, x from a where f > (select avg(f) from a a2 where a2.x = a.x) or x is null
select k, x from a where not (f > (select avg(f) from a a2 where a2.x = a.x))
select k, y from b where y > (select avg(a.x) from a, c where a.x = c.k and c.k = b.y)
select k, y from b where y > (select avg(a.x) from a join r on a.x = r.id where r.grp = b.y % 3)
select k, y from b where y > (select avg(a.x) from a join r on a.x = r.id where r.grp = b.y)
select * from r where id > (select avg(x) from a where a.x = r.grp)
select * from r where name > 'r3' and id > (select avg(x) from a where a.x = r.grp)
select * from r, r2 where r.id = r2.id and r.id >= (select max(x) from a where a.x = r2.id)
select sum(a.f) from a, r where r.id = a.x and r.name like 'r%' and a.f < (select 2 * avg(f) from a a2 where a2.x = r.id)
select * from l where id > (select min(x) from a where a.x = l.id)
select * from r where exists (select 1 from a where a.x = r.id)
select * from r where not exists (select 1 from a where a.x = r.id)
select * from r where not exists (select * from a where a.x = r.id and a.s = r.name)
select * from r where grp = 1 and not exists (select * from a where a.x = r.id and flag)
select * from r where grp = 1 and exists (select * from a where a.x = r.id and flag limit 1)
select * from r where grp = 1 and exists (select * from a where a.x = r.id and flag limit 0)
select * from r where exists (select sum(x) from a where a.x = r.id)
select * from r where exists (select 1 from a where a.x = r.id) or id > 5
select id, exists (select 1 from a where a.x = r.id) as e from r
select r.id, r2.label from r left join r2 on r2.id = r.id and exists (select 1 from a where a.x = r2.id)
select k, x from a where not exists (select 1 from c where c.k = a.x)
select k, x from a where exists (select 1 from c where c.k = a.x and c.v > 1000)
select k, x from a where x > 2 and not exists (select 1 from c join r on r.id = c.k where c.k = a.x and r.grp = 1)
select * from r where grp in (select grp from r where name = 'r4') and not exists (select 1 from a where a.x = r.id)
select * from r where id > (select avg(id) from r) and not exists (select 1 from a where a.x = r.id)
select count(*) from a where exists (select 1 from c where c.k = a.x and exists (select 1 from b where b.y = c.k))
select k from a where x in (select k from c where c.v > a.n)
select k from a where f > (select avg(f) from a a2 where a2.x = a.x) and f < (select max(v) from c where c.k = a.x)
select k, (select count(*) from c where c.k = a.x) as n from a
select x, count(*) from a where f > (select avg(f) from a a2 where a2.x = a.x) group by x having count(*) > 1
with w as (select k, x, f from a where f > (select avg(f) from a a2 where a2.x = a.x)) select * from w w1 join w w2 using (k)
select * from b where y > (select avg(x) from a where a.k = b.k)
select count(*), sum(x) from only a
select k, x from only a where s = 's3'
select j.k1, j.x1, j.v from (a join c on a.x = c.k) as j(k1, x1)
select * from (a join c on a.x = c.k) as j(k1, x1) where j.x1 < 3
select k1 from (a join c on a.x = c.k) as j(k1, x1) where j.v < 300
select (select count(*) from (a join c on a.x = c.k) as j(k1, x1) where j.x1 < b.y and j.ck like 'c%') from b where y < 9
select j.k, j.v from (a join c using (k)) as j
select j from (b join o using (k)) j
select k, c.v, a.x from a full join c using (k)
select k, j.y, (select max(u.v) from c u join (b join o using (k)) as i on i.k = u.k where i.y < j.y) from (b left join (c join o using (k)) using (k)) as j where y < 20
select count(*) from b natural join c
select a.k, c.v from only a join only c on a.x = c.k
select s from a where ts > (select min(ts) from a a2 where a2.s = a.s)
select s from a where x::bigint > (select avg(v) / 1000 from c where c.k::bigint = a.x)
select c.k, a.k from c, a where c.k = a.x and c.k = 3 and a.f <= (select avg(f) from a a2 where a2.x = c.k)
select c.k, a.k from c, a where c.k = a.x and c.v = 17 and a.f <= (select max(f) from a a2 where a2.x = c.k)
select c.k from c where c.k = 5 and c.k in (select x from a) and c.v >= (select min(f) from a where a.x = c.k)
select b.y from b where b.k = 7 and exists (select 1 from a where a.x = b.y and a.flag)
select a.k, c.k from a, c where a.x = c.k and ((a.flag and c.v > 50 and a.n > 3) or (not a.flag and c.v < 20) or (a.n is null and c.k = 2))
select a.k, c.k from a, c where a.x = c.k and ((a.n > 3 and c.v > 50) or c.k = a.k)
select a.k, c.k from a left join c on a.x = c.k and c.v > 40 and a.flag
select a.k, c.k from a left join c on a.x = c.k where (c.v > 40 and a.flag) or (c.v is null and not a.flag)
select a.k, c.k from a left join c on a.x = c.k and ((a.flag and c.v > 50) or (a.n > 2 and c.v < 20)) where a.s > 's2'
select a.k, c.k from c right join a on a.x = c.k and c.v > 40 where a.flag and a.n > 1
select a.k, c.k from a full join c on a.x = c.k and c.v > 40 where a.flag or c.v < 90
select a.k, b.k, c.k from (a join b on a.x = b.y and a.flag) left join c on c.k = b.y and c.v > 30 where b.k > 2
select a.k, c.k from a join c on a.x = c.k and c.k = 3
select a.k, c.k from a join c on true where a.x = c.k and c.k in (3, 4) and c.v > 0
select a.k, c.k from a, c where a.x = c.k and c.v > 10 and c.v + a.x > 30 and a.s like 's%'
"""


@pytest.fixture(scope="module")
def con():
    h = plan_herd.Herd()
    try:
        h.load()
        with h.connect() as c:
            yield c
    finally:
        h.stop()


@pytest.mark.parametrize("sql", [q for q in QUERIES.strip().splitlines()])
@pytest.mark.parametrize("size", ["0", "1MB"])
def test_same(con, size, sql):
    con.execute("set citus.repartition_join_min_size = '%s'" % size)
    plan_herd.compare(con, sql)


@pytest.mark.parametrize("sql", [
    "select k, x from a where f > (select avg(f) from a a2 where a2.x = a.x)",
    "select * from r where grp = 1 and exists (select * from a where a.x = r.id and flag)",
    "select * from r where grp = 1 and not exists (select * from a where a.x = r.id)",
])
def test_once(con, sql):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    plan = "\n".join(r[0] for r in con.execute("explain (costs off) " + sql))
    assert "SubPlan" not in plan and "GROUP BY" in plan, plan
