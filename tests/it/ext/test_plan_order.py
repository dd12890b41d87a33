"""Rows of a sorted subquery are read in its order, as PostgreSQL does: the very same rows, in the same order."""
import pytest

import plan_herd

QUERIES = """
select array_agg(y) from (select y from b order by y) s
select array_agg(y), count(*), max(t) from (select y, t from b order by y desc) s where t like 't%'
select string_agg(t, ',') from (select k, y, t from b order by k desc, y) s
select string_agg(t, ',' order by t desc, y) from (select y, t from b order by y) s
select json_agg(s) from (select y, t from b order by y limit 20) s
select json_agg(s) from (select y, t from b order by y) s
select t, array_agg(y) from (select t, y from b order by y) s group by t order by t
select t, array_agg(y) filter (where y > 20) from (select t, y from b order by k, y) s group by t having count(*) > 2 order by t
select k, array_agg(y) from (select k, y from b order by y desc) s group by k order by k
select array_agg(distinct t) from (select t from b order by y) s
select * from (select k, y from b order by y desc) s
select * from (select k, y from b order by y desc) s limit 7
select y from (select k, y, t from b order by t nulls first, y) s offset 3 limit 9
select y + 1 as z from (select k, y from b order by y desc) s where k < 20 limit 5
select * from (select x, s from a order by n) u limit 6
select * from (select n, x, s from a order by f + 1 desc nulls last, n) u where x > 2 limit 6
select * from (select * from (select k, y, t from b order by y desc) i where t is not null) s limit 4
select * from (select distinct t from b order by t desc) s limit 3
select * from (select t, count(*) as c, max(y) from b group by t order by max(y) desc) s limit 3
select * from (select t from b group by t order by max(y)) s
select * from (select y from b where y < 9 union select v::int from c where v < 900 order by 1 desc) s limit 8
select * from (select distinct on (t) t, y from b order by t, y desc) s
select * from (select distinct on (t) y, t from b order by t, y desc) s
select row_number() over (), y, t from (select y, t from b order by y desc) s
select row_number() over (), y from (select y, k from b order by y) s where k > 30
select row_number() over w, lag(y) over w, sum(y) over w from (select y from b order by y desc) s window w as ()
select first_value(y) over (), y from (select y, t from b order by t, y) s limit 4
select distinct on (t) t, y from (select t, y from b order by t, y desc) s
with s as (select k, y from b order by y desc) select * from s limit 3
with s as (select k, y from b order by y desc) select array_agg(y) from s
with s as materialized (select k, y from b order by y desc) select array_agg(y) from s
with s as (select y from b order by y desc) select array_agg(s1.y) from (select y from s where y > 70) s1
select (select array_agg(y) from (select y from b order by y) s)
select r.id, (select string_agg(t, '') from (select t from b where b.y % 13 = r.id order by y) s) from r where id < 13 order by id
select id, n from r, lateral (select array_agg(y) as n from (select y from b where b.k = r.id order by y desc) s) z where id < 9 order by id
select array_agg(name) from (select r.name from r join b on b.y = r.id order by r.id desc) s
select array_agg(v) from (select c.v from c join a on a.x = c.k order by c.v, a.n) s
select array_agg(y) from v
select y from v limit 5
select y from v where t = 't3' limit 2
select row_number() over (), y from vb where y > 40
select count(*), sum(y) from v
select xmlagg(xmlelement(name e, y))::text from (select y from b order by y) s
select keep_first(t) from (select t from b order by y desc) s
"""
herd, con = plan_herd.fixtures(lambda h: h.load(rows=plan_herd.ROWS + """
create view v as select k, y, t from b order by y desc;
create view vb with (security_barrier) as select k, y, t from b order by y desc;
"""))


@pytest.mark.parametrize("sql", QUERIES.strip().split("\n"))
def test_same_order(con, sql):
    plan_herd.compare(con, sql, ordered=True)


def test_numbers_of_new_rows(con):
    """INSERT .. SELECT .. ORDER BY numbers the rows in that order."""
    for schema, distribute in ((plan_herd.PLAIN, False), (plan_herd.DISTRIBUTED, True)):
        con.execute("set search_path = %s" % schema)
        con.execute("create table numbered (id bigint generated always as identity, y int)")
        if distribute:
            con.execute("select create_distributed_table('numbered', 'y')")
        con.execute("insert into numbered (y) select y from b order by y desc")
    plan_herd.compare(con, "select row_number() over (order by id), y from numbered order by id", ordered=True)


def test_conditions_and_limits_reach_the_shards(con):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    for sql in ("select y from v where t = 't3' limit 2", "select row_number() over (), y from v where t = 't3'",
                "select array_agg(y) from v where t = 't3'"):
        plan = "\n".join(r[0] for r in con.execute("explain (verbose, costs off) " + sql))
        assert "'t3'" in plan.split("Query:", 1)[1], plan
    assert "LIMIT" in "\n".join(r[0] for r in con.execute("explain (verbose, costs off) select y from v limit 2"))
