"""UPDATE and DELETE that shards cannot compute: nextval and its like, volatile functions off the key."""
import threading

import psycopg
import pytest

import plan_herd

TABLES = """
create sequence seq;
create table a (k int not null, x int, s text);
create table b (k int not null, y int, t text);
create table c (ck text not null, k int, v bigint);
create table o (k int, x int);
create table r (id int primary key, x int);
create table p (k int not null, d int not null, x int, primary key (k, d)) partition by range (d);
create table p_low partition of p for values from (minvalue) to (3);
create table p_high partition of p for values from (3) to (maxvalue);
"""
DISTRIBUTE = """
select create_distributed_table('a', 'k');
select create_distributed_table('b', 'k', colocate_with => 'a');
select create_distributed_table('p', 'k', colocate_with => 'a');
select create_distributed_table('c', 'ck');
select create_distributed_table('o', null, colocate_with => 'none');
select create_reference_table('r');
"""
ROWS = """
insert into a select i % 12, i, 's' || i from generate_series(1, 40) i;
insert into b select i % 12, i, 't' || i from generate_series(1, 9) i;
insert into c select 'c' || (i % 17), i % 40, i * 100 from generate_series(1, 60) i;
insert into o select i, i from generate_series(1, 10) i;
insert into r select i, i from generate_series(1, 10) i;
insert into p select i, i % 6, i from generate_series(1, 20) i;
"""
NAMES = ["a", "b", "c", "o", "p"]

herd, con = plan_herd.fixtures(lambda h: h.load(TABLES, DISTRIBUTE, ROWS))

# nextval('seq') > 0 is always true, and the difference of two calls 1 or -1
LINES = """
update a set x = nextval('seq') - nextval('seq') where k = 3 returning *
update a set x = nextval('seq') - nextval('seq') where x > 20
update a set x = nextval('seq') - nextval('seq'), s = s || '!' returning s, x
update a set x = x + 1 where nextval('seq') > 0 and k = 4 returning *
update a set s = 'lock' where pg_advisory_xact_lock(k) is not null and x < 9
update a set x = nextval('seq') * 0 + b.y from b where b.k = a.k and b.y < 6 returning a.k, a.x, b.t
update a set x = nextval('seq') * 0 + (select count(*) from c where c.k = a.x) where x % 3 = 0 returning *
update a set s = 'far', x = nextval('seq') * 0 from c where c.k = a.x and c.v > 3000 returning a.k, a.s, c.ck
update a set s = set_config('my.value', s, true) where x < 5 returning s
update o set x = nextval('seq') * 0 + x + 1 where k > 4 returning *
update p set x = nextval('seq') * 0 + x + 1 where x > 4 returning *
update p set d = 5 - d, x = nextval('seq') * 0 + x where k < 9 returning *
with q as (select k, max(y) as y from b group by k) update a set x = nextval('seq') * 0 + q.y from q where q.k = a.k returning a.*
delete from a where nextval('seq') > 0 and k = 5 returning *
delete from a where nextval('seq') > 0 and x % 4 = 1
delete from a using c where c.k = a.x and nextval('seq') > 0 and c.v < 1500
delete from p where nextval('seq') > 0 and d > 2 returning k, d
update a set x = 0 from c where c.k = a.x and random() >= 0 returning a.k, a.s
delete from a using c where c.k = a.x and random() >= 0
update a set k = k + (random() * 0)::int + 1 where x < 20
update a set k = k + nextval('seq')::int * 0 + 7
update p set k = k + 1, x = nextval('seq')::int * 0 where d < 4
update a set s = 'no row', x = nextval('seq') where k = 3 and k = 4
""".strip().splitlines()


@pytest.mark.parametrize("number", range(len(LINES)))
def test_same_as_plain(con, number):
    with con.transaction(force_rollback=True):
        plan_herd.compare(con, LINES[number])
        plan_herd.contents(con, NAMES)


def test_numbers(con):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    with con.transaction(force_rollback=True):
        before = con.execute("select nextval('seq')").fetchone()[0]
        got = con.execute("update a set x = nextval('seq') where k < 6 returning x").fetchall()
        assert sorted(x for x, in got) == list(range(before + 1, before + 1 + len(got)))
        assert con.execute("select currval('seq')").fetchone()[0] == before + len(got)
        con.execute("prepare n(int) as update a set x = nextval('seq') + $1 where k = $2"
                    .replace("n(int)", "n(int, int)"))
        for i in range(8):
            last = con.execute("select currval('seq')").fetchone()[0]
            con.execute("execute n(1000, 3)")
            rows = con.execute("select x from a where k = 3 order by x").fetchall()
            assert [x for x, in rows] == [last + 1001 + j for j in range(len(rows))]
        con.execute("deallocate n")
        con.execute("do $$ begin update a set x = nextval('seq') where k = 3; end $$")


def test_refused(con):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="changes the session"):
        con.execute("update r set x = nextval('seq') from b where b.k = r.id returning b.ctid")


def test_rows_that_others_change(herd):
    """The row is read again when somebody else has changed it meanwhile, as PostgreSQL does."""
    results = []
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        with herd.connect() as one, herd.connect() as two:
            for c in (one, two):
                c.execute("set search_path = %s" % schema)
            two.execute("begin")
            two.execute("update a set x = x + 100 where x in (11, 12)")
            got = []
            t = threading.Thread(target=lambda: got.extend(one.execute(
                "update a set x = x + nextval('seq') * 0 + 1000 where x between 10 and 12 "
                "or x = 112 returning x").fetchall()))
            t.start()
            t.join(0.5)
            assert t.is_alive()
            two.execute("commit")
            t.join(60)
            rows = one.execute("select k, x from a order by 1, 2").fetchall()
            results.append((sorted(got), rows))
            one.execute("update a set x = x % 100")
    assert results[0] == results[1]
