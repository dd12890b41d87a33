"""Statements that write in WITH: their parts see one moment, whatever order they run in."""
import psycopg
import pytest

import plan_herd

# each line runs on both sets of tables in a transaction that is rolled back after the comparison
SAME = """
with d as (delete from a where x = 1 returning *), i as (insert into e select k, x from d returning *) update c set v = c.v + i.k from i where i.k = c.k
with d as (delete from a where x = 1 returning *), i as (insert into e select k, x from d returning *) select i.k, count(*) from i group by i.k
with d as (delete from a where x = 1 returning *), i as (insert into e select k + 1, x from d) select count(*) from d
with d as (delete from a where x = 1 returning k), u as (update b set t = 'u' from d where d.k = b.k returning b.k, b.y), x as (delete from e) insert into c select 'w' || y, k, y from u returning *
with moved as (delete from a where x < 3 returning *) insert into l select k, s from moved returning *
with moved as (delete from l where id < 5 returning *) insert into a (k, s) select id, note from moved returning k, s
with moved as (delete from l where id < 5 returning *) update a set s = note from moved where moved.id = a.k
with moved as (delete from l where id < 5 returning *) delete from a using moved where moved.id = a.k returning a.k, note
with moved as (delete from l where id < 5 returning id) select a.k, a.x from a where a.k in (select id from moved)
with moved as (delete from l where id < 5 returning id) select (select count(*) from l), (select count(*) from moved), (select count(*) from a)
with u as (update l set note = a.s from a where a.k = l.id and a.x = 2 returning l.*) select * from u
with u as (update l set note = a.s from a where a.k = l.id and a.x = 2 returning l.*), w as (insert into l select k, 'w' from b where y < 4 returning id) select * from u union all select id, 'new' from w
with u as (update l set note = 'n' where id = 3) update a set x = 5 where k = 3
with d as (delete from a) select count(*) from a
with d as (delete from a returning *) select (select count(*) from d), (select count(*) from a), (select count(*) from a, b where a.k = b.k)
with d as (delete from a returning *) select (select count(*) from a where k = 7), (select count(*) from d)
with d as (delete from a where k = 7 returning *) select d.k, a.k, a.x from d join a using (k)
with d as (delete from a where k = 7 returning *) select a.k, a.x from d right join a on a.x = d.x
with u as (update a set x = 100 returning k, x) select a.x, count(*) from a join u using (k) group by a.x
with u as (update a set x = 100 where x = 1), w as (update a set x = 1 where x = 2) select count(*) from a where x = 100
with u as (update a set x = x + 1 where k < 10), w as (update a set s = 'w' where k >= 10) delete from b where y = 39 returning *
with i as (insert into a (k, x) values (500, 1), (501, 2) returning k) select count(*) from a where k >= 500
with i as (insert into a (k, x) values (500, 1), (501, 2) returning k), u as (update a set x = 99 where k >= 500 returning k) select (select count(*) from i), (select count(*) from u)
with i as (insert into a (k, x) select y, x from b join r on r.id = b.y join e on true returning k) select count(*) from i
with i as (insert into a (k, x) select y, k from b where y > 30 returning *) select k, x from i
with i as (insert into a (k, x) select g, g * 2 from generate_series(900, 1600) g returning *) select count(*), sum(x) from i
with recursive t(n) as (select 1 union all select n + 1 from t where n < 20), i as (insert into a (k, x) select n, n * n from t returning k, x) select * from i
with recursive t(n) as (select 1 union all select n + 1 from t where n < 20), i as (insert into a (k, x) select n, n * n from t returning k, x) select * from i join t on t.n = i.k
with recursive d as (delete from e where k < 5 returning k), t(n) as (select k from d union select n + 1 from t where n < 9) update a set x = t.n from t where t.n = a.k and a.f < 5 returning a.k, t.n
with i as (insert into a (k, x) values (5, 1), (6, 2), (5, 3) returning *), j as (insert into e select k, x from i returning *), m as (insert into r select 100 + x, s, k from i returning id) select (select count(*) from j), m.id from m
with i as (insert into b values (7, 7, 'new'), (8, 8, 'other'), (99, 1, 'z') on conflict (k, y) do update set t = excluded.t || b.t returning *) select * from i
with i as (insert into b select k, y, 'again' from b where y < 20 on conflict (k, y) do update set t = excluded.t returning *) insert into e select k, y from i returning *
with i as (insert into b select k, y, 'again' from b where y < 20 on conflict do nothing returning *) select count(*) from i
with d as (delete from b where y % 2 = 0 returning *) insert into b select k + 1, y, t from d returning *
with d as (delete from b returning *) insert into b select k + 1000, y, t from d
with u as (update r set name = name || '!' where id < 5 returning *) update a set s = u.name from u where u.id = a.x returning a.k, a.s
with u as (update r set name = name || '!' where id < 5 returning *) select count(*) from r join u using (name)
with u as (update r set name = name || '!' where id < 5 returning *), d as (delete from r where id in (select x from a)) select * from u
with d as (delete from a where x = 1 returning k), u as (update r set grp = q.n from (select count(*) as n from d) q where id < 3 returning *) select * from u
with d as (delete from o where k < 5 returning *) insert into a select k, x, w from d
with d as (delete from a where k < 5 returning *) insert into o select k, x, s from d returning *
with d as (delete from p where d < 2 returning *) insert into p select k, d + 3, x from d on conflict (k, d) do update set x = -1 returning *
with u as (update a set k = k + 1 where x = 2 returning k, s) select * from u
with u as (update a set k = k + 1 where x = 2 returning k, s) insert into e select k, 5 from u returning *
with q as (select k, max(y) as m from b group by k) update a set k = q.m from q where q.k = a.k and q.m < 60
with q as materialized (select x, count(*) as n from a group by x) update a set k = q.n from q where q.x = a.x returning a.k, a.x
with d as (delete from e where k < 9 returning k) update a set k = d.k + 50 from d where d.k = a.k
with q as materialized (select k from b where y < 30), d as (delete from a using q where q.k = a.k returning a.k) select count(*) from d, q
with q as (select k, row_number() over (order by k, y) as n from b), d as (delete from a where k in (select n from q) returning k), u as (update e set x = 0 where k in (select k from q)) select * from d
with d as (delete from a where x = 1 returning k, s) select k, s from d order by k, s limit 5
with d as (delete from a where x = 1 returning k, s) select k, row_number() over (order by k, s) from d
with d as (delete from a where x = 1) delete from b where y = 1
with d as (delete from a where x = 1 returning a) select (d.a).k, (d.a).s from d
with d as (delete from a where x = 1 returning *) select d from d
with d as (delete from a where x = 1 returning k) insert into a (k, x) select k, (select count(*) from a b where b.k = d.k) from d returning k, x
with d as (delete from a where x = 1 returning k) update a set x = (select count(*) from d where d.k > a.k) where k < 5
with d as (delete from a where x = 1 returning k) delete from a where exists (select 1 from d where d.k = a.k) and x = 2
with d as (delete from a where x = 1 returning k) delete from a where k not in (select k from d)
with d as (delete from a where x = 1 returning k) delete from b where k in (select k from d) and y > 9 returning *
with d as (delete from a where x = 1 returning k), e2 as (delete from b where k in (select k from d) and y > 9 returning *), f as (update c set v = 0 where k in (select y from e2)) insert into r select 1000 + y, t, k from e2 returning *
with x as (select k, y from b where y < 20 order by y limit 3 for update skip locked) update b set t = 'taken' from x where x.k = b.k and x.y = b.y returning b.*
with x as (select k, y from b where y < 20 order by y limit 3 for update skip locked), d as (delete from b using x where x.k = b.k and x.y = b.y returning b.*) insert into l select k, t from d returning *
create view va as select k as n, x as m from a where x < 9; with d as (delete from va where m = 3 returning *) insert into va select n + 1, m from d returning *
create view va as select k as n, x as m from a where x < 9 with check option; with d as (delete from e where x < 3 returning *), i as (insert into va select k, x from d returning *) select count(*) from i
with d as (delete from a where x = 1 returning *) insert into a (k, x) values ((select max(k) from d), (select count(*) from d)) returning k, x
insert into a (k) values (7000); with d as (delete from a where k > 6000 returning k) insert into a (k) select k + 1 from d returning k; with d as (update a set x = 1 where k > 6000 returning k) select a.x from a join d using (k)
savepoint s1; with d as (delete from a where x = 1 returning k) insert into e select k + 1 from d; rollback to s1; with d as (delete from a where x = 2 returning k) insert into e select k + 1 from d; select count(*) from a; select count(*) from e
with w as (delete from a t returning t.k, t.x) select count(*) from w t1 join a t2 on t1.k = t2.x
with w as (delete from a t returning t.k, t.x) select count(*) from w t1 full join a t2 on t1.k = t2.x
with w as (delete from b t using (select i.k, count(j.x)::int m from p i left join a j on i.k = j.k where j.s is null group by 1) q returning t.k) insert into a (k, x, s) values (27, 8, (select min(t) from b where y is distinct from y))
with w as (insert into a (k, x) select k, y from b returning k), v as (update a set x = 3 where k in (select k from w) returning k) select count(*), (select count(*) from w), (select count(*) from a) from v
with d as (delete from e where k < 9 returning *) merge into a using d on d.k = a.k when matched then update set x = d.x when not matched then insert (k, x) values (d.k, d.x)
with d as (delete from l where id < 9 returning *) merge into b using d on d.id = b.y when matched then update set t = note when not matched then insert (k, y, t) values (d.id + 900, d.id, note)
"""
MERGES = """
with m as (merge into a using (select k, max(y) as y from b group by k) q on q.k = a.k when matched and a.x = 1 then update set x = q.y when matched and a.x = 2 then delete when not matched then insert (k, x) values (q.k, q.y) returning merge_action() as did, a.k, a.x) select did, count(*), sum(x) from m group by did
with m as (merge into e using a on a.k = e.k and a.f < 5 when matched then delete returning e.k), i as (insert into a (k) select k from m returning k) select (select count(*) from e), (select count(*) from a), count(*) from i
with m as (merge into l using r on r.id = l.id when matched then update set note = r.name when not matched then insert values (r.id, 'new') returning l.*) insert into a (k, s) select id, note from m where id is not null returning k, s
"""
TABLES = ("a", "b", "c", "e", "r", "l", "o", "p", "log")


def load(h):
    h.load()
    with h.connect() as con:
        for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
            con.execute("set search_path = %s" % schema)
            for statement in MORE:
                con.execute(statement)


MORE = ("""create function archive(wanted int) returns bigint language plpgsql as $$
declare n bigint;
begin
	with d as (delete from a where x = wanted returning k, x),
	i as (insert into e select k + 1, x from d returning k) select count(*) into n from i;
	return n;
end $$""", "create table log (line text)", """create function log_it() returns trigger
language plpgsql as $$
begin
	insert into log values (tg_op || ' ' || (select count(*) from l));
	return null;
end $$""", """create trigger logged after insert or update on l for each row
execute function log_it()""")

herd, con = plan_herd.fixtures(load)


def both(con, line):
    """The statements of the line on both sets; their last rows and all tables are compared."""
    for statement in line.split("; "):
        if statement.startswith(("savepoint", "rollback to")):
            con.execute(statement)
        elif statement.startswith("create"):
            for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
                con.execute("set search_path = %s" % schema)
                con.execute(statement)
        else:
            plan_herd.compare(con, statement)
    plan_herd.contents(con, TABLES)


@pytest.mark.parametrize("line", [q for q in SAME.strip().splitlines() if q])
def test_same(con, line):
    con.execute("begin")
    try:
        both(con, line)
    finally:
        con.execute("rollback")


@pytest.mark.parametrize("line", [q for q in MERGES.strip().splitlines() if q])
def test_merge(con, line):
    if con.info.server_version < 170000:
        pytest.skip("MERGE in WITH is of PostgreSQL 17")
    test_same(con, line)


def test_prepared_and_in_functions(con):
    con.execute("begin")
    try:
        plan_herd.compare(con, "select archive(1)")
        plan_herd.compare(con, "select archive(x) from (values (2), (1)) v(x)")
        plan_herd.contents(con, TABLES)
    finally:
        con.execute("rollback")
    for mode in ("force_generic_plan", "force_custom_plan"):
        con.execute("set plan_cache_mode = " + mode)
        rows = {}
        for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
            con.execute("set search_path = %s" % schema)
            con.execute("""prepare moves(int) as with d as (delete from a where x = $1 returning k, x),
                i as (insert into e select k + $1, x from d returning *)
                select count(*), sum(k), (select count(*) from a where x = $1) from i""")
            con.execute("begin")
            rows[schema] = [con.execute("execute moves(%d)" % n).fetchall() for n in (1, 2, 1, 6)]
            con.execute("rollback")
            con.execute("deallocate moves")
        assert rows[plan_herd.PLAIN] == rows[plan_herd.DISTRIBUTED]
    con.execute("reset plan_cache_mode")


def test_atomic(con):
    """An error of a later part undoes the earlier ones."""
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    with pytest.raises(psycopg.errors.UniqueViolation):
        con.execute("with d as (delete from a returning k), w as (delete from l) "
                    "insert into b select k, y, t from b where y < 5")
    plan_herd.contents(con, TABLES)


def test_explain_shows_the_steps(con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("begin")
    shown = con.execute("""explain (analyze, format json) with d as (delete from a where x = 1
        returning k) insert into e select k + 1, 1 from d""").fetchone()[0][0]["Plan"]
    con.execute("rollback")
    assert [step["Step"] for step in shown["Steps"]] == ["d", "the statement"]
    assert shown["Steps"][0]["Plan"]["Actual Rows"] > 0


def test_only_nodes_say_what_is_a_part(con):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        con.execute("select citus_internal.part_of(1)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        con.execute("select * from citus_internal.held_rows(0) as t(k int)")
