"""SELECTs give the same rows over distributed tables as over plain ones."""
import time

import psycopg
import pytest

import plan_herd

# one statement a line; a line that starts with "!" compares the order of the rows too
QUERIES = """
select * from a where k = 7
select * from a
select k, x from a where k = 7 and x > 2
select * from a where k = 7 or k = 8
select * from a where k in (3, 5, 9)
select * from a where k = any(array[3, 5, 9]) and x = 1
select * from a where k in (1, null)
select * from a where k = null
select count(*) from a where k = null
select * from a where k = 5 and k = 6
select * from a where k = 2 + 3
select * from a where k = 5::bigint
select * from a where k = 5000000000
select * from a where k::bigint = 5
select * from a where k = 5.0
select * from c where ck = 'c3'
select * from c where ck = 'c3'::varchar
select * from c where ck in ('c1', 'c2')
select * from c where ck like 'c1%'
select * from e
select count(*), sum(x), max(x), min(x), avg(x) from e
select k, count(*) from e group by k
select count(*) from a
select count(x), count(s), count(*) from a
select sum(x), avg(x), min(x), max(x) from a
select sum(f), avg(f), min(f), max(f) from a
select sum(n), avg(n), min(n), max(n) from a
select sum(k::bigint), avg(k::bigint), sum(k::smallint), avg(x::smallint) from a
select sum(f::real), avg(f::real) from a where k < 3
select min(s), max(s), min(ts), max(ts) from a
select bool_and(flag), bool_or(flag), every(flag), bit_and(x), bit_or(x) from a
select stddev(x), variance(x), stddev_pop(n), var_samp(f) from a where k < 20
select count(distinct x), count(distinct s), count(distinct k) from a
select sum(distinct x), avg(distinct x), count(distinct x % 2) from a
select count(distinct x), count(distinct k), count(*), sum(n), stddev(n) from a
select x, count(distinct s), count(distinct k), avg(f), variance(x) from a group by x
select count(distinct s) filter (where x > 2), count(distinct s) filter (where flag), count(*) from a
select flag, string_agg(distinct s, ',' order by s), count(*) from a group by flag
select flag, string_agg(distinct s, ',' order by s) filter (where x > 1), max(s) from a group by flag
select count(distinct n), count(distinct ts), min(ts) from a where k < 0
select count(distinct 's'), avg(x) from a where k < 0
select count(distinct 's') filter (where x > 100), avg(x) from a
select x, count(distinct 5), count(*) from a group by x
select avg(f::real), avg(ts - '2024-01-01'::timestamptz), sum(ts - '2024-01-01'::timestamptz) from a
select stddev(k), stddev_pop(k::bigint), var_pop(n), variance(f::real), stddev(x::smallint) from a
select regr_count(x, f), regr_avgx(x, f), regr_r2(x, f), covar_samp(n::float8, f), corr(f, k) from a
select x, stddev(n), regr_intercept(f, k) from a group by x having stddev(n) > 3
select avg(f::real), stddev(n), count(*) from a where k < 0
select s, x, count(distinct k), sum(n), stddev(f) from a group by rollup(s, x)
select grouping(s, x), s, x, count(distinct flag), avg(n) from a group by grouping sets ((s), (x), ()) having count(*) > 3
select grouping(flag), count(*) from a where k < 0 group by grouping sets ((flag), ())
select x % 2, s, count(*) from a group by cube(x % 2, s) having grouping(s) = 0 or count(*) > 20
select summed(n), summed(k) from a
select x, summed(n), keep_first(s) is null from a group by x
select summed(n) from a where k < 0
select string_agg(s, ',' order by s) from a
select array_agg(x order by x, k) from a
select json_agg(x order by x nulls last) from a where k < 4
select count(*) filter (where x > 2), sum(x) filter (where s = 's1'), avg(n) filter (where flag) from a
select percentile_cont(0.5) within group (order by x), mode() within group (order by x) from a
select corr(x, f), regr_slope(f, x), covar_pop(x, f) from a where k < 30
select count(*) + 1, sum(x) * 2 + count(x), coalesce(max(x), 0) from a
select x, count(*) from a group by x
select x, count(*), sum(n), avg(f) from a group by x having count(*) > 10
select k, count(*), sum(x) from a group by k
select k, count(*) from a group by k having sum(x) > 5
select k, x, count(*) from a group by k, x
select s, x, count(*), min(f) from a group by s, x having min(f) > 3
select x % 2, count(*) from a group by x % 2
select x % 2 as odd, count(*) from a group by odd having count(*) > 1
select x + 1, count(*) + x from a group by x
select upper(s), count(*) from a group by upper(s)
select x, s from a group by x, s
select 1, count(*) from a group by 1
select k from a group by k having count(*) > 3
select count(*) from a having count(*) > 1000
select count(*) from a having count(*) > 10
select date_trunc('month', ts), count(*) from a group by 1
select extract(year from ts), max(ts) - min(ts) from a group by 1
select x, count(distinct s) from a group by x
select k, count(distinct s) from a group by k
select x, array_agg(s order by s) from a group by x
select x, s, count(*) from a group by rollup(x, s)
select x, s, count(*) from a group by grouping sets ((x), (s), ())
select x, flag, count(*), grouping(x) from a group by cube(x, flag)
!select k, x, s from a order by k, x, s, f limit 10
!select k, x, s, f from a order by f desc nulls last, k limit 7 offset 3
!select k, x from a order by x nulls first, k, f limit 5
!select s, f from a order by f offset 140
!select f from a order by k, f fetch first 3 rows with ties
!select k, count(*) as n from a group by k order by n desc, k limit 5
!select x, sum(f) from a group by x order by sum(f) desc nulls last limit 3
!select x, sum(f) as total from a group by x order by x nulls last offset 2 limit 3
!select distinct x from a order by x
!select distinct on (x) x, k, f from a order by x, k, f
!select distinct on (k) k, f from a order by k, f desc
!select k, x from a where s = 's1' order by k + x, f
!select f, k from a order by k desc, f limit 2 + 3
!select k from a order by k limit null
!select k from a order by k, f limit 0
select distinct x, s from a
select distinct k from a
select distinct x % 3 from a where flag
select distinct count(*) from a group by x
select count(*) from (select distinct x, s from a) q
select a.k, a.x, b.y from a join b on a.k = b.k
select a.k, b.y from a, b where a.k = b.k and a.x = 1
select count(*) from a join b using (k)
select k, count(*) from a join b using (k) group by k
select b.t, sum(a.x) from a join b using (k) group by b.t
select a.k, b.y from a join b on a.k = b.k where a.k = 7
select a.k, b.y from a, b where a.k = 7 and b.k = 7
select a.k, b.y from a, b where a.k = 7 and b.k = 8
select a.k, b.k from a, b where a.k = 7 and b.y = 8
select a1.k, a2.x from a a1 join a a2 on a1.k = a2.k where a1.x > a2.x
select a.k, a.x, b.y from a left join b on a.k = b.k
select a.k, b.k, b.y from a right join b on a.k = b.k
select a.k, b.k, b.y from a full join b on a.k = b.k
select k, a.x, b.y from a full join b using (k)
select count(*), count(a.x), count(b.y) from a full join b using (k)
select b.k, count(*) from a left join b on a.k = b.k group by b.k
select a.k, count(b.y) from a left join b on a.k = b.k group by a.k
select k, count(*) from a full join b using (k) group by k
select distinct b.k from a left join b on a.k = b.k
select a.k, b.y from a left join b on a.k = b.k and b.y > 50
select a.k, b.y from a left join b on a.k = b.k and a.x = 1
select a.k, b.y from a left join b on a.k = b.k where a.k = 7
select a.k, b.y from a left join b on a.k = b.k and b.k = 7
select a.k, b.y from a left join b on a.k = b.k and a.k = 7
select a.k, b.y from a left join b on a.k = b.k where b.k = 7
select a.k, b.y from a left join b on a.k = 7 and b.k = 7
select a.k, b.y from a left join b on a.k = b.k where b.y is null
select a.k, e.x from a left join e on a.k = e.k
select a.k, b.y, e.x from a left join b on a.k = b.k left join e on b.k = e.k
select a.k, b.y, a2.x from a left join b on a.k = b.k left join a a2 on b.k = a2.k where a.x = 2
select a.k, b.y, a2.x from a left join b on a.k = b.k join a a2 on b.k = a2.k where a.x = 2
select a.k, r.name from a join r on a.x = r.id
select a.k, r.name from a left join r on a.x = r.id
select r.id, a.k from r left join a on a.x = r.id
select r.id, a.k from r left join a on a.k = r.id
select r.id, a.k from a right join r on a.k = r.id
select r.id, count(a.k) from r left join a on a.x = r.id group by r.id
select r.id, a.k from r full join a on a.k = r.id
select r.name, count(*) from a join r on a.x = r.id group by r.name
select r.name, a.k, b.y from a join b using (k) left join r on r.id = b.y
select count(*) from a, r
select count(*) from r
select * from r
select r.id, r2.label from r left join r2 using (id)
select r.id, l.note from r join l using (id)
select a.k, l.note from a join l on a.x = l.id
select l.note, count(a.k) from l left join a on a.x = l.id group by l.note
select * from l where id in (select k from a)
select a.k, c.v from a join c on a.k = c.k
select a.k, c.v from a join c on a.s = c.ck
select c.ck, count(*) from a join c on a.k = c.k group by c.ck
select a.x, sum(c.v) from a left join c on a.k = c.k group by a.x
select a.k, b.y from a join b on a.x = b.y
select a.k, b.y from a left join b on a.x = b.y where a.k < 5
select count(*) from a cross join b where a.k < 3 and b.k < 3
select a.k, b.y from a join b on a.k = b.k + 1
select a.k, b.y from a join b on a.k < b.k where a.k > 36 and b.k < 42
select * from (select k, count(*) as n from a group by k) q where n > 3
select * from (select k, count(*) as n from a group by k) q where k = 7
select q.k, q.n, b.y from (select k, count(*) as n from a group by k) q join b on q.k = b.k
select q.x, q.n from (select x, count(*) as n from a group by x) q where n > 5
select b.y, q.n from (select x, count(*) as n from a group by x) q join b on b.y = q.x
select avg(n) from (select k, count(*) as n from a group by k) q
select max(n) from (select x, count(*) as n from a group by x) q
select * from (select k, x from a order by f limit 5) q
select count(*) from (select k, x from a order by f limit 5) q
select q.k, b.y from (select k, f from a order by f limit 9) q join b on q.k = b.k
select q.k from (select k, f from a order by f limit 9) q where q.k = 7
select count(*) from (select k from a union all select k from b) u
select count(*) from (select k from a union select k from b) u
select k from a union select k from b
select k from a union all select k from b where y < 10
select k from a intersect select k from b
select k from a except select k from b
select x from a union select y from b
select x from a intersect select y from b
select x from a except select y from b
select k from a union select id from r
select k from a where k = 3 union select k from b where k = 3
select k from a where k = 3 union select k from b where k = 4
!select k, 'a' as w from a union all select k, 'b' from b order by 2, 1 limit 12
select ck from c union all select s from a
select * from a where k in (select k from b where y > 60)
select * from a where x in (select y from b)
select * from a where k in (select id from r where grp = 1)
select * from a where k not in (select k from b)
select * from a where x not in (select y from b where y > 3)
select * from a where k not in (select x from a where x is not null)
select * from a where exists (select 1 from b where b.k = a.k and b.y > 40)
select * from a where not exists (select 1 from b where b.k = a.k)
select * from a where exists (select 1 from b where b.y = a.x)
select * from a where not exists (select 1 from b where b.y = a.x)
select * from a where exists (select 1 from r where r.id = a.x)
select * from r where exists (select 1 from a where a.k = r.id)
select * from r where not exists (select 1 from a where a.x = r.id)
select * from r where id in (select x from a)
select * from a where x > (select avg(x) from a)
select * from a where x = (select max(x) from a where k = 3)
select k, (select count(*) from b where b.k = a.k) from a
select k, (select count(*) from b where b.y = a.x) from a where k < 4
select k, (select max(y) from b) from a where k < 4
select k, (select name from r where r.id = a.x) from a
select r.id, (select count(*) from a where a.x = r.id) from r
select r.id, (select count(*) from a where a.k = r.id) from r
select a.k from a where a.k = 7 and exists (select 1 from b where b.k = 7)
select a.k from a where a.k = 7 and x in (select y from b)
select k, x from a where (k, x) in (select k, y from b)
select count(*) from a where x > all (select y from b where y < 3)
select k from a where k = 7 and x = (select max(x) from a where k = 7)
with q as (select k, x from a where x > 3) select * from q
with q as (select k, x from a where x > 3) select count(*) from q
with q as (select k, x from a where x > 3) select q1.k from q q1 join q q2 on q1.k = q2.k
with q as (select k, x from a) select q1.k, q2.k from q q1, q q2 where q1.k = 7 and q2.k = 8 and q2.x = 1
with q as materialized (select k, x from a) select x, count(*) from q group by x
with q as (select x, count(*) as n from a group by x) select * from q where n > 3
with q as (select * from a where k = 7) select * from q join b using (k)
with q as (select k from a where x = 1), w as (select k from b where y > 20) select * from q join w using (k)
with q as (select k from a order by f limit 3) select * from b where k in (select k from q)
with recursive t(n) as (select 1 union all select n + 1 from t where n < 5) select a.k, t.n from a join t on a.x = t.n
with recursive t(k) as (select k from a where k = 1 union select b.k + 1 from b join t on b.k = t.k where b.k < 6) select * from t
select k, row_number() over (partition by k order by f) from a
select k, f, rank() over (order by f desc) from a where f is not null
select k, sum(x) over (partition by k), count(*) over () from a
select x, sum(f) over (partition by x order by f rows between 1 preceding and current row) from a where k < 8 and f is not null
select * from (select k, f, row_number() over (partition by k order by f) as rn from a) q where rn = 1
select * from (select k, x, f, row_number() over (partition by x order by f, k) as rn from a) q where rn = 1
select x, sum(count(*)) over () from a group by x
select k, sum(count(*)) over (order by k) from a group by k
select a.k, v.n from a join (values (1, 'one'), (2, 'two')) v(x, n) on a.x = v.x
select v.x, a.k from (values (1), (2), (99)) v(x) left join a on a.x = v.x
select a.k, g from a join generate_series(1, 3) g on a.x = g
select g, count(a.k) from generate_series(1, 9) g left join a on a.x = g group by g
select k, generate_series(1, x) from a where x < 3
select k, unnest(array[x, k]) from a where k < 3
!select k, generate_series(1, 3) as g from a where k < 3 order by f, g limit 7
select a.k, q.y from a, lateral (select y from b where b.k = a.k order by y limit 1) q
select a.k, q.y from a left join lateral (select y from b where b.k = a.k order by y limit 1) q on true
select a.k, q.y from a left join lateral (select k, y from b where b.k = a.k) q on true where q.y is null or q.y > 20
select q.k, count(*) from a left join lateral (select k, y from b where b.k = a.k) q on true group by q.k
select a.k, q.y from a left join lateral (select y from b where b.k = a.k and b.k = 5) q on true
select r.id, q.n from r, lateral (select count(*) as n from a where a.x = r.id) q
select a from a where k = 3
select a from a where x = 3
select count(a) from a
select row(k, x) from a where k < 3
select b from a left join b on a.k = b.k where a.x = 1
select count(b) from a left join b on a.k = b.k
select (a).x from a where k < 3
select a.*, b.* from a join b using (k) where a.x = 2
select k, case when x > 3 then 'big' when x is null then 'none' else 'small' end as size, count(*) from a group by 1, 2
select coalesce(s, 'none'), count(*) from a group by 1
select k, x::text || '-' || coalesce(s, '') from a where s like 's1%'
select array[k, x], jsonb_build_object('k', k, 's', s) from a where k < 5
select max(array[k, x]) from a
select length(s), count(*) from a where s is not null group by length(s) having length(s) > 1
select s is null, count(*) from a group by s is null
select now() = now(), current_date = now()::date, count(*) from a
select count(*) from a where ts < now()
select count(*) from a where ts > current_timestamp - interval '1 day'
select current_user, current_schema is not null, count(*) from a group by 1, 2
select tableoid::regclass, k from a where k < 3
select tableoid::regclass, count(*) from a where k = 3 group by 1
select tableoid::regclass = 'a'::regclass, k from a where k = 3
select b.tableoid::regclass, a.k from a left join b using (k) where a.x = 2
select k from a where k = 7 and now() > '2000-01-01'
select 'public'::regnamespace is not null from a where k = 3
select k, x from a tablesample system (100) where k = 3
select to_char(ts, 'YYYY-MM-DD HH24:MI:SS TZ') from a where k = 3
select ts::text, f::text, n::text from a
select exists (select 1 from a where k = 1), exists (select 1 from e)
select (select count(*) from a), (select count(*) from b), (select sum(v) from c)
select 1 where exists (select 1 from a where x = 1)
select a.k from a where a.k + 0 = 7
select x, k from a where (x, k) < (2, 7)
select count(*) from a where not (k = 7)
select count(*) from a where k between 3 and 9
select count(*) from a where k <> 3 and x is distinct from 2
select * from a join b on a.k = b.k and a.k in (1, 2, 3)
select a.k, b.y, r.name from a, b, r where a.k = b.k and b.y = r.id and a.k = 3
select r.grp, count(distinct a.k) from r join a on a.x = r.id group by r.grp
select r.grp, a.k, count(*) from r join a on a.x = r.id group by r.grp, a.k
select q.s, q.n, r.name from (select s, count(*) n, min(x) m from a group by s) q left join r on r.id = q.m
select a.k, (select sum(y) from b where b.k = a.k and b.y > (select avg(id) from r)) from a where k < 9
select a.x, b.y from a, b where a.k = b.k and a.k = (select min(k) from a)
select k, x from a where x = 1 union all (select k, y from b order by y limit 3)
select s, sum(x) from (select s, x from a where k < 9 union all select t, y from b where k < 9) u group by s
select k, s from (select k, s from a union all select k, t from b) u where k = 3
select k, count(*) from (select k from a union all select k from b) u group by k
select (select string_agg(distinct s, ',' order by s) from a), k from b where k = 3 and y < 60
select count(*) from a natural join b
select first_value(f) over w, last_value(f) over w from a where k < 4 window w as (partition by k order by f)
select k from a group by k, x having x > 5 and count(*) >= 1
select max(k) filter (where x = 1) - min(k), bool_or(x is null) from a
select x from a where k = 3 for update
select regexp_replace(s, 's', 'z') as z, count(*) from a group by z
select sum(x) from a where false
select k from a where false
select count(*) from a join b using (k) where b.t is not null and a.s <> b.t
select row_to_json(x.*)::text from a join b using (k) as x
select row_to_json(x.*)::text from a join b using (k) as x where a.k = 7
select row_to_json(xx)::text from (a join b using (k)) xx where y < 20
select to_json(x.*)::text, count(*) from a join b using (k) as x group by 1
"""


herd, con = plan_herd.fixtures(plan_herd.Herd.load)


@pytest.fixture(scope="module")
def worker(herd):
    with herd.connect(1) as c:
        yield c


LINES = [q for q in QUERIES.strip().splitlines() if q]


@pytest.mark.parametrize("query", LINES)
def test_same_rows(con, query):
    plan_herd.compare(con, query.lstrip("!"), ordered=query.startswith("!"))


# by default these tables are too small for rows to be moved
@pytest.mark.parametrize("query", [q for q in LINES if "join" in q or "," in q.split(" from ")[-1]])
def test_same_rows_when_moved(con, query):
    con.execute("set citus.repartition_join_min_size = 0")
    try:
        plan_herd.compare(con, query.lstrip("!"), ordered=query.startswith("!"))
    finally:
        con.execute("reset citus.repartition_join_min_size")


@pytest.mark.parametrize("sql, moved", [
    ("select * from a join c on a.k = c.k", ["c by column 3 to the shards of a"]),
    ("select a.k from a, b, c where a.x = b.y and b.y = c.v",
     ["a by column 2 to the shards of a", "b by column 3 to the shards of a",
      "c by column 4 to the shards of a"]),
    ("select a.k from a left join b on a.x = b.y full join c on a.x = c.v",
     ["a by column 2 to the shards of a", "b by column 3 to the shards of a",
      "c by column 4 to the shards of a"]),
    ("select a.k from a join c on a.x < c.v", ["c to all nodes"]),
    ("select a.k from a, b, c where a.k = b.k and b.y = c.k", ["c to all nodes"]),
    ("select a.k from a join (select k, count(*) n from b group by k) q on a.x = q.k",
     ["a by column 2 to the shards of b"]),
])
def test_what_is_moved(con, sql, moved):
    con.execute("set citus.repartition_join_min_size = 0")
    text = explained(con, sql)
    assert "Moved: " + ", ".join(moved) in text
    plan_herd.compare(con, sql)
    con.execute("set citus.enable_repartition_joins = off")
    assert "Moved" not in explained(con, sql)
    con.execute("reset citus.enable_repartition_joins")
    con.execute("reset citus.repartition_join_min_size")


def test_moved_rows_leave_nothing_behind(herd, con):
    con.execute("set citus.repartition_join_min_size = 0")
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    left = "select count(*) from pg_ls_dir('base/pgsql_tmp', true, false) f where f like '%herd%'"

    def found():
        got = []
        for node in range(3):
            with herd.connect(node) as other:
                got.append(other.execute(left).fetchone()[0])
        return got
    join = "select count(*) from a join c on a.k = c.k"
    with con.transaction():
        con.execute(join)
        assert found()[1:] == [1, 1]
        con.execute(join)
    assert found() == [0, 0, 0]
    with pytest.raises(psycopg.errors.DivisionByZero):
        con.execute("select 1 / (a.k - a.k) from a join c on a.k = c.k")
    assert found() == [0, 0, 0]
    with herd.connect() as victim:
        victim.execute("set citus.repartition_join_min_size = 0")
        victim.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
        victim.execute("begin")
        victim.execute(join)
        con.execute("select pg_terminate_backend(%d)" % victim.info.backend_pid)
        deadline = time.time() + 30
        while found() != [0, 0, 0] and time.time() < deadline:
            time.sleep(0.1)
        assert found() == [0, 0, 0]
        with pytest.raises(psycopg.Error):
            victim.execute("select 1")
    con.execute("reset citus.repartition_join_min_size")


def test_results_of_others_cannot_be_read(con):
    for call, error in [("read_result('../../x', 1, 0) as t(a int)", "is not the name"),
                        ("read_result('', 1, 0) as t(a int)", "is not the name"),
                        ("read_result('nothing', 1, 0) as t(a int)", "does not exist"),
                        ("fetch_result('nothing', 1, '{0}', 1)", "does not exist"),
                        ("make_result('nothing', 1, 0, 'select 1', 0, '', '{}', 0)",
                         "does not exist"),
                        ("make_result(null, 1, 0, 'select 1', 0, '', '{}', 0)", "is null"),
                        ("result_blocks('a/b', 1, '{0}')", "is not the name")]:
        with pytest.raises(psycopg.Error, match=error):
            con.execute("select * from citus_internal." + call)


def explained(con, sql):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    return "\n".join(r[0] for r in con.execute("explain (costs off) " + sql))


@pytest.mark.parametrize("sql, there", [
    ("select stddev(n) from a", "partial_agg('pg_catalog.stddev(numeric)'"),
    ("select avg(ts - now()) from a", "partial_agg('pg_catalog.avg("),
    ("select count(distinct s) from a", "GROUP BY s"),
    ("select s, x, sum(n) from a group by rollup(s, x)", "GROUP BY s, x"),
])
def test_shards_do_their_part(con, sql, there):
    assert there in explained(con, sql)


def test_states_of_aggregates_are_not_taken_from_anybody(herd, con):
    con.execute("create role plain_user login")
    with herd.connect() as other:
        other.execute("set role plain_user")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only be called by plans"):
            other.execute("select citus_internal.combine_agg('pg_catalog.sum(numeric)', '\\x00', "
                          "null::numeric)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only be called by plans"):
        con.execute("select citus_internal.combine_agg('pg_catalog.sum(numeric)', s::bytea, "
                    "null::numeric) from %s.a" % plan_herd.DISTRIBUTED)
    for call, error in [
            ("partial_agg('pg_catalog.sum(numeric)', 5)", "not those of aggregate"),
            ("partial_agg('pg_catalog.sum(numeric)', 5.0, 6)", "not those of aggregate"),
            ("partial_agg('pg_catalog.abs(int)', 5)", "is not an aggregate"),
            ("partial_agg('pg_catalog.json_agg(anyelement)', 5)", "cannot be combined"),
            ("partial_agg(null, 5)", "the name of the aggregate is null"),
            ("combine_agg('pg_catalog.sum(numeric)', '\\x00', null::int)", "another result type"),
            ("combine_agg('pg_catalog.sum(numeric)', '\\x00', null::numeric)", "")]:
        with pytest.raises(psycopg.Error, match=error):
            con.execute("select citus_internal." + call)
    con.execute("drop role plain_user")


def test_a_publication_would_be_empty(con):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    for sql in ["create publication p for table l, a", "create publication p for table a (k, x)"]:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match='"a" cannot be published'):
            con.execute(sql)
    con.execute("create publication p for table l")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match='"b" cannot be published'):
        con.execute("alter publication p add table b")
    con.execute("drop publication p")
    warnings = []
    con.add_notice_handler(lambda diag: warnings.append(diag.message_primary))
    con.execute("create schema bare; set client_min_messages = warning")
    for of, warned in [("all tables", True), ("tables in schema current_schema", True),
                       ("tables in schema bare", False)]:
        del warnings[:]
        con.execute("create publication p for " + of)
        con.execute("drop publication p")
        assert any("rows of distributed tables are not published" in w for w in warnings) == warned
    con.execute("drop schema bare; reset client_min_messages")


def test_columns_of_a_view_that_was_replaced(con):
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        con.execute("set search_path = %s" % schema)
        con.execute("create view grows as select k, x from a")
        con.execute("create view reads_it as select k as key, x, to_json(grows)::text as js from grows")
        con.execute("create or replace view grows as select k, x, s as more, 2 + 2 as four from a")
    for sql in ("select * from reads_it", "select * from reads_it where key = 7", "select * from grows"):
        plan_herd.compare(con, sql)
