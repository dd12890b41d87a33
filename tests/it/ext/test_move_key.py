"""UPDATE of the distribution column moves rows, and everything that hangs on them: as on plain tables."""
import concurrent.futures

import pytest

import rules_herd

TABLES = """
create table ref (id int primary key, name text);
create table audit (id int, n bigint generated always as identity, what text, old text, new text);
create table t (k int primary key, a int, b text default 'd', drop_me int,
                g int generated always as (a * 2) stored, i int generated always as identity);
alter table t drop drop_me;
--herd select create_reference_table('ref');
--herd select create_distributed_table('t', 'k');
--herd select create_distributed_table('audit', 'id', colocate_with => 'none');
insert into t (k, a, b) select i, i % 7, 'b' || i % 5 from generate_series(1, 30) i;
insert into ref select i, 'r' || i from generate_series(0, 6) i;
create function log_it() returns trigger language plpgsql as $$
begin
  if tg_level = 'STATEMENT' then
    raise notice '% % % % %', tg_name, tg_when, tg_level, tg_op, tg_table_name;
    return null;
  end if;
  raise notice '% % % % % % %', tg_name, tg_when, tg_level, tg_op, tg_table_name, old, new;
  return coalesce(new, old);
end $$;
create function audit_it() returns trigger language plpgsql as $$
begin
  insert into audit (id, what, old, new) values (old.k, tg_op, old::text, new::text);
  return new;
end $$;
create function changes() returns trigger language plpgsql as $$
begin
  raise notice 'changes: % % %', (select count(*) from o), (select sum(k - a) from o), (select sum(k - a + g) from n);
  return null;
end $$;
"""

MOVES = """
update t set k = k + 100 where k = 1;
update t set k = k + 100, a = a + 1 where k between 2 and 6 returning *;
update t set k = 200 where k = 1000;
update t set k = k where k in (7, 8) returning k, b;
update t set k = k + 300, b = ref.name from ref where ref.id = t.a and t.k between 11 and 16 returning t.k, t.b, ref.name;
update t set k = x.n from (values (17, 417), (18, 418), (17, 419)) x(k, n) where x.k = t.k and x.n <> 419;
with s as (select 20 k) update t set k = t.k + 500 from s where s.k = t.k returning t.*;
with w as (update t set k = k + 600 where k in (21, 22) returning k, a, g) select * from w order by k;
prepare p as update t set k = $1 where k = $2 returning k + $1;
execute p(701, 23);
execute p(702, 24);
begin;
update t set k = 800 where k = 26;
savepoint s;
update t set k = 801 where k = 800;
update t set k = 802 where k = 801 returning *;
rollback to s;
select * from t where k >= 800 order by k;
commit;
update t set k = null where k = 27;
update t set k = k + 1000;
select * from t order by k;
select id, what, old, new from audit order by id, what, old, new;
"""

SCRIPTS = {
    "after_row": """
create trigger a after update on t for each row execute function log_it();
create trigger i after insert or delete on t for each row execute function log_it();
""" + MOVES,
    "after_row_elsewhere": """
create trigger a after update of k on t for each row when (new.k <> old.k) execute function audit_it();
create trigger b after insert or delete on t for each row execute function audit_it();
""" + MOVES,
    "before_row": """
create trigger a before update on t for each row execute function log_it();
create trigger i before insert or delete on t for each row execute function log_it();
""" + MOVES,
    "before_row_elsewhere": """
create trigger a before update on t for each row execute function audit_it();
""" + MOVES,
    "statements": """
create trigger a before update on t for each statement execute function log_it();
create trigger b after update on t for each statement execute function log_it();
create trigger c after insert on t for each statement execute function log_it();
create trigger d before delete on t for each statement execute function log_it();
create trigger e after update on t referencing old table as o new table as n for each statement execute function changes();
""" + MOVES,
    "before_changes_key": """
create function new_key() returns trigger language plpgsql as $$
begin
  if new.a = 3 then
    new.k := old.k + 5000;
    new.b := 'moved';
  elsif new.a = 4 then
    return null;
  end if;
  return new;
end $$;
create trigger n before update on t for each row execute function new_key();
create trigger e after update on t referencing old table as o new table as n for each statement execute function changes();
update t set a = 3 where k < 6 returning *;
update t set a = 3, b = 'x' where k = 6;
update t set a = 4, k = 6000 where k = 7;
update t set k = k + 7000, a = 5 where k between 8 and 12 returning *;
select * from t order by k;
""",
    "volatile": """
create sequence s;
create function twice(x int) returns int language plpgsql volatile as $$ begin return x * 2; end $$;
update t set k = twice(k) + 100 where k < 5 returning k, a, b;
update t set k = twice(t.k) + 200 from ref where ref.id = t.a and t.k between 5 and 9 returning t.k, t.a, ref.name;
update t set k = 1000 + nextval('s') where k between 10 and 14;
select k - 1000 as n from t where k > 1000 order by 1;
update t set k = k + 2000, b = random()::text where k between 15 and 17 returning k, a, length(b) > 2;
update t set k = k + 3000, a = (select count(*) from audit) where k = 18 returning *;
select k from t order by k;
select a, g, count(*) from t group by a, g order by a, g;
""",
    "lists": """
update t set (k, b) = (select 100 + t.k, name from ref where id = t.a) where k < 4 returning k, b;
update t set (k, b) = (select 200 + t.k, max(name) from ref where id <= t.a) where k between 4 and 8 returning *;
update t set (k, a) = (select t.k, 1 from ref) where k = 13;
select * from t order by k;
""",
    # a subquery is asked once for a row: split by columns it could give two
    "lists_asked_once": """
create table o (id int primary key, t int, v int, w text, at timestamptz, z numeric[]);
--herd select create_distributed_table('o', 'id', colocate_with => 'none');
insert into o select i, i % 30, i * 3, 'w ' || i, '2024-01-01'::timestamptz + i * '1 day'::interval, array[i, null, i / 7.0] from generate_series(1, 60) i;
update t set (k, a) = (select o.id + 100, o.v from o where o.t = t.k order by o.id limit 1) where k < 5;
with u as (update t set (k, b) = (select t.k + 200, name from ref where id = t.a order by name limit 1) where k between 5 and 8 returning k, a, b, g) select * from u order by k;
update t set (b, k) = (select o.w, max(o.id) + 300 from o where o.t = t.k group by o.w order by 1 limit 1), a = a + 1 where k = 9 returning *;
update t set (k, a) = (select o.id + 100, o.v from o where o.t = t.k) where k = 10;
update t set (k, a) = (with q as (select * from ref where id < 3) select t.k + 400, max(id) from q) where k = 11 returning *;
with q as (select id, v from o) update t set (k, a) = (select q.id + 400, q.v from q where q.id = t.k limit 1) where k in (12, 13) returning k, a;
update t set (k, b) = (select o.id + 500, o.at::text || o.z::text from o where o.t = t.k order by o.id limit 1) where k = 17 returning k, b;
update t set (k, a, b) = (select 600 + t.k, (random() * 0)::int, 'r') where k between 18 and 20 returning k, a, b;
prepare p as update t set (k, a) = (select o.id + $1, o.v from o where o.t = t.k order by o.id desc limit 1) where k = $2 returning k, a;
execute p(700, 21);
execute p(700, 22);
execute p(700, 23);
create trigger a before update on t for each row execute function log_it();
update t set (k, a) = (select o.id + 800, o.v from o where o.t = t.k order by o.id limit 1) where k = 24 returning *;
select * from t order by k;
""",
    "returning_subqueries": """
create table o (id int primary key, t int, v int, w text);
--herd select create_distributed_table('o', 'id', colocate_with => 'none');
insert into o select i, i % 30, i * 3, 'w' || i from generate_series(1, 60) i;
update t set k = k + 100, a = a + 1 where k < 4 returning k, a, (select max(w) from o), (select count(*) from t x where x.k > 100), (select name from ref where id = t.a);
update t set k = k + 100 where k between 4 and 6 returning k, (select sum(v) from o where o.t = t.k), (select sum(v) from o where o.t = t.k - 100), exists (select from o where o.id = t.a), t.a in (select v from o);
update t set k = t.k + 200, b = o.w from o where o.id = t.k and t.k between 7 and 9 returning t.*, (select t.b || o.w || x.w from o x where x.id = o.id + 1), (select array_agg(id) from ref where id = t.a);
update t set k = (select max(v) + t.k + 1000 from o) where k = 10 returning k, (select t.k + count(*) from o where v < t.k);
update t set k = k + 1, a = (select count(*) from o) where k = 16 returning k, a, (select w from o where o.id = t.a), (select count(*) from (select v from o where o.t < (select t.a)) y);
update t set k = k + 300 where k = 11 returning (select t.k + x.k from t x where x.k = t.k - 300), k + (select count(*) from t x where x.k = t.k);
create trigger z after update on t for each row execute function log_it();
update t set k = k + 300 where k in (12, 13) returning k, (select count(*) from o where o.t < t.k);
with u as (update t set k = k + 300 where k in (14, 15) returning k, (select w from o where o.id = t.k - 300) w) select * from u order by k;
select * from t order by k;
""",
    "returning": """
update t set k = t.k + 100 from ref where ref.id = t.a and t.k < 6 returning ref.*, t.*, t.k + ref.id;
update t set k = t.k + 200 from ref r join audit on true where r.id = t.a returning r.id;
update t set k = t.k + 300 from (select id, count(*) n from ref group by id) x where x.id = t.a and t.k between 7 and 9 returning x.n, x.id, t.k;
update t set k = k + 500 where k = 13 returning t;
select * from t order by k;
""",
}

KEYS = """
create table p (k int primary key, a int);
create table c (k int, id int, x text, primary key (k, id));
create table f (id int primary key, pk int, y text);
--herd select create_distributed_table('p', 'k');
--herd select create_distributed_table('c', 'k', colocate_with => 'p');
--herd select create_distributed_table('f', 'id', colocate_with => 'none');
insert into p select i, i from generate_series(1, 40) i;
insert into c select i, j, 'x' from generate_series(1, 40) i, generate_series(1, 2) j where i % 4 <> 0;
insert into f select i * 10, i, 'y' from generate_series(1, 40) i where i % 4 = 1;
"""

WORK = """
update p set k = 104 where k = 4;
update p set k = k + 100 where k in (8, 12, 16) returning *;
update p set k = k + 100 where k = 2;
update p set k = k + 100 where k = 1;
update p set k = k + 100 where k between 5 and 8;
update p set k = k + 0, a = -1 where k in (9, 10, 11);
update p set k = 20 where k = 21;
update c set k = 22 where k = 23 and id = 1;
update c set k = 22, id = 7 where k = 23 and id = 1;
update c set k = 500 where k = 25;
update c set k = k + 1, id = id + 10 where k in (26, 30) returning *;
update f set id = id + 1000 where pk in (5, 29);
update f set id = id + 1000, pk = 3000 where pk = 33;
update f set id = id + 1000, pk = 34 where pk = 33;
begin;
update p set k = k + 200 where k in (36, 37);
update c set k = k + 200 where k = 37;
select * from p where k > 200 order by k;
commit;
begin;
set constraints all deferred;
update p set k = k + 200 where k in (38, 37);
update c set k = k + 200 where k in (37, 38);
update f set pk = pk + 200 where pk in (37, 38);
commit;
begin;
set constraints all deferred;
update p set k = k + 200 where k = 39;
commit;
select * from p order by k;
select * from c order by k, id;
select * from f order by id;
"""


def keys(colocated, far):
    return KEYS + """
alter table c add constraint c_k foreign key (k) references p (k) %s;
alter table f add constraint f_pk foreign key (pk) references p (k) %s;
""" % (colocated, far) + WORK


for name, action in (("no_action", ""), ("restrict", "on update restrict"),
                     ("deferred", "deferrable initially deferred"),
                     ("deferrable", "deferrable")):
    SCRIPTS["keys_" + name] = keys(action, action)
SCRIPTS["keys_of_delete"] = keys("on delete cascade", "on delete set null")
SCRIPTS["keys_far_follow"] = keys("", "on update cascade")
SCRIPTS["keys_far_null"] = keys("on delete cascade", "on update set null")
SCRIPTS["keys_follow"] = keys("on update cascade", "on update cascade on delete cascade")
SCRIPTS["keys_itself"] = """
create table tree (id int primary key, up int, n text);
--herd select create_distributed_table('tree', 'id');
insert into tree values (1, null, 'root'), (2, 1, 'a'), (3, 1, 'b'), (4, 2, 'c');
alter table tree add foreign key (up) references tree;
update tree set id = 10 where id = 1;
update tree set id = id + 10, up = up + 10;
update tree set id = 20 where id = 14 returning *;
update tree set up = 99, id = 21 where id = 20;
select * from tree order by id;
"""
SCRIPTS["keys_reference"] = """
alter table t add foreign key (a) references ref (id);
update t set k = k + 100, a = 3 where k = 1;
update t set k = k + 100, a = 33 where k = 2;
update t set k = k + 100, a = 33 where k in (3, 4);
select k, a from t where k < 5 or k > 100 order by k;
"""

SCRIPTS["policies"] = """
alter table t enable row level security;
create policy mine on t for select using (a < 6);
create policy change on t for update using (a < 5) with check (k < 5000 and a < 6);
create policy add on t for insert with check (false);
create trigger a after update on t for each row execute function log_it();
grant select, update on t to mover;
grant select on ref to mover;
set role mover;
update t set k = k + 100 where k in (1, 2, 3);
update t set k = k + 100 where k between 4 and 8 returning *;
update t set k = 6000 where k = 9;
update t set k = 1000, a = 7 where k = 10;
update t set k = k + 2000 from ref where ref.id = t.a and ref.id < 3 and k > 20 returning t.k, name;
reset role;
revoke update on t from mover;
grant update (k) on t to mover;
set role mover;
update t set k = k + 200 where k = 14;
update t set k = k + 200, b = 'x' where k = 15;
reset role;
alter table t force row level security;
update t set k = 3000 where k = 17;
select * from t order by k;
"""
SCRIPTS["views"] = """
create view v as select k, a, b from t where a < 5;
create view w as select k, a from t where a < 5 with check option;
create trigger a after update on t for each row execute function log_it();
update v set k = k + 100 where k < 6 returning *;
update w set k = k + 100 where k between 7 and 10 returning *;
update w set k = k + 100, a = 6 where k = 11;
update w set k = k + 100 where k in (14, 15);
grant select, update on v to mover;
set role mover;
update v set k = k + 1000 where k between 13 and 17 returning *;
reset role;
select * from t order by k;
"""

herd, same = rules_herd.fixtures(TABLES, roles=["mover"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(same, name):
    same(SCRIPTS[name])


def check_waits(herd, statement, tag, rows):
    """The statement waits for somebody who changes rows 1 to 3, and finds these rows in the end."""
    with herd.connect() as one, herd.connect() as two:
        for s in rules_herd.statements("""
drop schema if exists conc cascade;
create schema conc;
create table conc.t (k int primary key, a int, b text);
select create_distributed_table('conc.t', 'k');
insert into conc.t select i, i, 'b' from generate_series(1, 10) i;
create function conc.mark() returns trigger language plpgsql as $$ begin new.b := new.b || '!'; return new; end $$;
create trigger m before update on conc.t for each row execute function conc.mark();
"""):
            one.execute(s)
        one.execute("begin")
        one.execute("update conc.t set a = a + 50 where k in (1, 2)")
        one.execute("update conc.t set a = -1 where k = 3")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            moved = pool.submit(lambda: two.execute(statement).statusmessage)
            with pytest.raises(concurrent.futures.TimeoutError):
                moved.result(timeout=1)
            one.execute("commit")
            assert moved.result(timeout=60) == tag
        assert one.execute("select * from conc.t where k < 4 or k > 10 order by k").fetchall() == rows
        one.execute("drop schema conc cascade")


def test_waits_for_others(herd):
    """A row that somebody else has changed meanwhile is looked at again, and moves as it is then."""
    check_waits(herd, "update conc.t set k = k + 100, a = a + 1 where k < 4 and a > 0", "UPDATE 2",
                [(3, -1, "b!"), (101, 52, "b!!"), (102, 53, "b!!")])
