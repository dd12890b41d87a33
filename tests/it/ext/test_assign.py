"""
Values on their way into columns: their length is looked at as on one node; lists of columns from one subquery;
names that a query printed for a shard must not mistake. Distributed and plain tables are compared.
"""
import psycopg
import pytest

import plan_herd

TABLES = """
create table a (k int not null, x int, s text);
create table short (k int not null, v varchar(3), c char(3), n numeric(3,1), i int, w varchar(3)[], z bit(3));
create table far (id int not null, k int, v varchar(3), c char(3));
create table everywhere (k int, v varchar(3), c char(3), w varchar(3)[]);
"""
DISTRIBUTE = """
select create_distributed_table('a', 'k');
select create_distributed_table('short', 'k', colocate_with => 'a');
select create_distributed_table('far', 'id', colocate_with => 'none');
select create_reference_table('everywhere');
"""
ROWS = """
insert into a select i, i % 5, repeat('s', i % 6) from generate_series(1, 30) i;
insert into short select i, 'x' from generate_series(1, 10) i;
insert into far select i, i % 4 + 1, 'x' from generate_series(1, 10) i;
"""
LONG = [
    "insert into short (k, v) select k, s from a",
    "insert into short (k, v) select k + 1, s from a",
    "insert into short (k, c) select k + 1, s from a",
    "insert into short (k, w) select k + 1, array[s] from a",
    "insert into short (k, z) select k + 1, k::bit(5) from a",
    "insert into short (k, i) select k + 1, k * 1000000000::bigint from a",
    "insert into short (k, n) select k + 1, k * 100.0 from a",
    "insert into everywhere (k, v) select k, s from a",
    "insert into everywhere (k, w) select k, array[s] from a",
    "insert into short (k, v) values (1, 'x'), (2, (select max(s) from a))",
    "update far set v = s from a where a.k = far.k",
    "update far set id = far.id + 5, v = (select max(s) from a)",
    "update far set id = far.id + 5, c = (select max(s) from a)",
    "merge into short t using a on t.k = a.k when matched then update set v = a.s",
    "merge into short t using a on t.k = a.x + 20 when not matched then insert (k, v) values (a.k, a.s)",
]
EQUAL = [
    "insert into everywhere select k, 'abc     ', 'x' from a returning v || '|', c || '|'",
    "insert into short (k, v, c) select k + 1, 'abc   ', 'x' from a returning v || '|', c || '|'",
    "insert into short (k, v) select k + 1, s::varchar(3) from a returning v",
    "insert into short (k, i) values (1, 5), (2, (select count(*) from a)) returning i",
    "update a set (k, s) = (select min(x) + 100 + a.k, max(s) from a i where i.x = a.x) where k < 5 returning *",
    "update a set (s, k) = (select distinct s, a.k + 7 from a i where i.k = 3) where x = 1",
    "update a set (x, k) = (select k, 9 from a i where i.k = 4 union select k, 9 from a i where i.k = 4) where x = 1",
    "update a set (k, x) = (select 1, 2)",
    "with w as (select max(k) m from a) update a set k = k + m from w where x = 0",
    "with w as (select max(k) m from a) update a set k = (select m + 1 from w) + k where x = 0 returning a.*",
    "merge into a t using (select 1 as k) q on t.x = q.k when matched then update set (x, s) = "
    "(select min(x), max(s) from a i where i.x = t.k)",
    "with w as (select max(k) m from a) insert into a select k + 1000, k from a where k < 4 returning k, (select m from w)",
    "with w as (select 1 from a) delete from a where k = 3",
    "with w as (select 1 from a), v as (select * from w) update everywhere set k = 5",
]


def load(herd):
    herd.load(TABLES, DISTRIBUTE, ROWS)


herd, con = plan_herd.fixtures(load)


@pytest.mark.parametrize("statement", LONG)
def test_too_long(con, statement):
    """An error as on one node, and nothing is cut."""
    states = []
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        with pytest.raises(psycopg.Error) as e:
            plan_herd.answer(con, schema, statement)
        states.append(e.value.sqlstate)
    assert states[0] == states[1]


@pytest.mark.parametrize("statement", EQUAL)
def test_writes(con, statement):
    con.execute("begin")
    try:
        plan_herd.compare(con, statement)
        plan_herd.contents(con, ["a", "short", "far", "everywhere"])
    finally:
        con.execute("rollback")


def test_row_of_sorted_subquery(con):
    """A column that only sorts is no part of the row."""
    for query in ("select q from (select max(k) from a group by x order by x) q",
                  "select array_agg(q) from (select max(k) from a group by x order by x desc) q",
                  "select q::text from (select s from a where k < 9 order by k) q limit 3"):
        plan_herd.compare(con, query, ordered=True)


def test_results_called_like_columns(con):
    """In ORDER BY a name is that of a result before it is that of a column."""
    for query in ("select x as k, 'c' as x from (select k, x from a) q order by q.x, 2, 1 limit 7",
                  "select x as s, s as x from a order by a.x desc, a.k limit 5",
                  "select distinct on (a.x) s as x, x as y from a order by a.x, s"):
        plan_herd.compare(con, query, ordered=True)
