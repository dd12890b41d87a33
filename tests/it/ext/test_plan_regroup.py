"""Groups, distinct values and windows off the distribution column: rows move to where they are."""
import pytest

import plan_herd

ROWS = 120000  # fewer are combined on the node that plans
TABLES = """
create table m (k int not null, v int, s text, g smallint, d date, n numeric(10,2));
create table small (k int not null, v int);
"""
FILL = """
insert into m select i, nullif((i * 7919::bigint %% 60013)::int, 5), 's' || i %% 50021, i %% 40,
	date '2020-01-01' + i %% 30011, (i %% 977) / 4.0 from generate_series(1, %d) i;
insert into small select i, i %% 17 from generate_series(1, 200) i;
""" % ROWS
# what is moved, and the statement
MOVED = """
select count(*) from (select v, count(*) c from m group by v) x where c > 1
select count(distinct v) from m
select count(distinct v), count(*), sum(n), avg(g), min(s) from m
select g, count(distinct v), sum(n) from m group by g
select g, count(distinct v) filter (where n > 10) from m group by g having count(distinct v) > 3
select v, count(*), avg(n) from m group by v order by 2 desc, v nulls first limit 20
select s, sum(n), string_agg(distinct g::text, ',' order by g::text) from m group by s order by s limit 10
select count(*), sum(c) from (select s, v, count(*) c from m group by s, v) x
select count(*) from (select distinct s, g from m) x
select count(*), max(r), sum(r) from (select row_number() over (partition by v order by k) r from m) x
select sum(r), sum(t) from (select rank() over (partition by s order by k) r,
	 sum(n) over (partition by s, g) t from m) x
select count(*), sum(c) from (select v % 20000 w, count(*) c, percentile_disc(0.5) within group (order by k) p
	 from m group by v % 20000) x where p > 5
select v is null, count(*) from (select v, max(k) from m group by v) x group by 1
select count(*) from (select date_trunc('day', d) t, count(*) from m where n > 1 group by 1) x
select max(c), count(*) from (select coalesce(v, -1) w, array_agg(k order by k) a, count(*) c from m
	 group by coalesce(v, -1)) x where cardinality(a) = c
select count(*) from (select v, count(*) c from m group by v) x join
	 (select v, max(k) m from m group by v) y on x.v = y.v where y.m > x.c
"""
STAYS = """
select g, count(*) from m group by g
select g, count(*), sum(n) from m group by g
select count(distinct k) from m
select k, count(*) from m group by k order by k limit 3
select v, count(*) from small group by v
select count(*) from (select v, count(*) from m group by v limit 5) x
"""


def statements(text):
    return [line.replace("\\n", " ") for line in text.replace("\n\t", " ").strip().splitlines()]


@pytest.fixture(scope="module")
def con():
    herd = plan_herd.Herd()
    try:
        with herd.connect() as c:
            for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
                c.execute("create schema %s" % schema)
                c.execute("set search_path = %s" % schema)
                c.execute(TABLES)
                if schema == plan_herd.DISTRIBUTED:
                    c.execute("select create_distributed_table('m', 'k')")
                    c.execute("select create_distributed_table('small', 'k')")
                for line in FILL.strip().split(";\n"):
                    c.execute(line)
                c.execute("analyze m")
                c.execute("analyze small")
            yield c
    finally:
        herd.stop()


def plan(con, sql, force=False):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    con.execute("set citus.repartition_join_min_size = '%s'" % ("0" if force else "1MB"))
    return "\n".join(r[0] for r in con.execute("explain (verbose, costs off) " + sql))


@pytest.mark.parametrize("sql", statements(MOVED))
def test_rows_move_to_their_groups(con, sql):
    assert "Moved: groups" in plan(con, sql, force=True)
    plan_herd.compare(con, sql, ordered="order by" in sql.rsplit(")", 1)[-1])


def test_moves_when_it_pays(con):
    """One value for each row, or nearly: moved without being asked."""
    for by, moved in (("k / 2, v", True), ("g", False), ("v % 1000", False)):
        sql = "select count(*) from (select %s, count(*) from m group by %s) x" % (by, by)
        assert ("Moved: groups" in plan(con, sql)) == moved, sql
        plan_herd.compare(con, sql)


@pytest.mark.parametrize("sql", statements(STAYS))
def test_rows_stay(con, sql):
    assert "Moved: groups" not in plan(con, sql)
    if "limit 5" not in sql:
        plan_herd.compare(con, sql)


def test_parameters_and_transactions(con):
    sql = "select count(*) from (select v, count(*) from m where n > %s and v <> %s group by v) x"
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    got = con.execute(sql, (3, 8)).fetchone()
    with con.transaction():
        con.execute("update m set v = 1000000 where k = 17")
        con.execute("savepoint a")
        n = con.execute("select count(distinct v) from m").fetchone()[0]
        assert con.execute("select count(*) from (select v, count(*) from m where v = 1000000 "
                           "group by v) x").fetchone() == (1,)
        con.execute("rollback to a")
        assert con.execute("select count(distinct v) from m").fetchone()[0] == n
        con.execute("update m set v = (17 * 7919) % 60013 where k = 17")
    con.execute("set search_path = %s" % plan_herd.PLAIN)
    assert con.execute(sql, (3, 8)).fetchone() == got


# many rows come in blocks: each type as it is
BLOCKS = """
select * from m order by k limit 5000
select k, v, s, g, d, n from m where k % 3 = 0
select k as q, s, v as "Q" from m where k < 3000
select k, case when k % 2 = 0 then s end, n / 3, k * 1.5::float8, d + interval '1 hour', g::bool_int from m
select array[k, v], row_to_json(m)::text, s::varchar(3), s::char(8), k::text::bytea, '{}'::jsonb, g::float4 from m where k < 3000
select s::name, int4range(k, k + 2), (k || ' days')::interval, '1.2.3.4'::inet, null::int from m where k < 2500
"""


@pytest.mark.parametrize("sql", statements(BLOCKS.replace("g::bool_int", "g::int::bool")))
def test_rows_in_blocks(con, sql):
    plan_herd.compare(con, sql, ordered="order by" in sql)


def test_rows_in_blocks_stop_and_go(con):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    with con.transaction():
        con.execute("declare c cursor for select k from m")
        con.execute("declare d cursor for select k, s from m order by k")
        seen = [r[0] for r in con.execute("fetch 1000 from c")]
        assert [r[0] for r in con.execute("fetch 3 from d")] == [1, 2, 3]
        seen += [r[0] for r in con.execute("fetch all from c")]
        assert sorted(seen) == list(range(1, ROWS + 1))
    lines = plan(con, "select k from m").lower()
    assert "pack" not in lines


@pytest.mark.parametrize("force", [False, True])
def test_encoding_of_the_client(con, force):
    """What travels between nodes is in the encoding of the database."""
    plan(con, "select 1", force)
    with con.transaction(force_rollback=True):
        con.execute("set local client_encoding = 'LATIN1'")
        con.execute("insert into m values (-1, 1, %s, 1, null, null)", ("é",))
        con.execute("create temp table here as select 'é'::text as s")
        assert con.execute("select length(s) from m where s = %s and k < 3", ("é",)).fetchall() == [(1,)]
        assert sum(r == ("é",) for r in con.execute("select s from m")) == 1
        assert con.execute("select length(s) from (select s from m order by k limit 1) x"
                           ).fetchall() == [(1,)]
        assert con.execute("select count(*), max(k) from m join here using (s)").fetchall() == [(1, -1)]
        assert con.execute("select s, count(*) from m group by s order by 1 desc limit 1"
                           ).fetchall() == [("é", 1)]
        assert con.execute("select array_agg(s) from (select s from m order by k limit 1) x"
                           ).fetchall() == [(["é"],)]
