"""MERGE row by row from the node that plans: triggers, policies, foreign keys and moved rows are as on plain tables."""
import psycopg
import pytest

import rules_herd
import test_move_key

TABLES = """
create table t (k int primary key, a int, b text, g int generated always as (a * 2) stored);
create table audit (id int, n bigint generated always as identity, what text, old text, new text);
create table ref (id int primary key, name text);
create table src (id int primary key, k int, v int, w text);
--herd select create_distributed_table('t', 'k');
--herd select create_distributed_table('audit', 'id', colocate_with => 'none');
--herd select create_distributed_table('src', 'id', colocate_with => 'none');
--herd select create_reference_table('ref');
insert into t (k, a, b) select i, i % 7, 'b' || i % 5 from generate_series(1, 30) i;
insert into ref select i, 'r' || i from generate_series(0, 6) i;
insert into src select i, i + 20, i * 10, 'w' || i from generate_series(1, 20) i;
create function log_it() returns trigger language plpgsql as $$
begin
  raise notice '% % % % % %', tg_name, tg_when, tg_level, tg_op, tg_table_name,
    case when tg_level = 'STATEMENT' then '' when tg_op = 'INSERT' then new::text when tg_op = 'DELETE' then old::text else old::text || new::text end;
  if tg_when = 'BEFORE' and tg_level = 'ROW' and tg_op <> 'DELETE' then
    new.b := coalesce(new.b, '') || '!';
  end if;
  return case when tg_op = 'DELETE' then old else new end;
end $$;
create function audit_it() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into audit (id, what, new) values (new.k, tg_op, new::text);
  elsif tg_op = 'UPDATE' then
    insert into audit (id, what, old, new) values (old.k, tg_op, old::text, new::text);
  else
    insert into audit (id, what, old) values (old.k, tg_op, old::text);
    return old;
  end if;
  return new;
end $$;
create function changes() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' then
    raise notice 'changes: % % %', (select count(*) from o), (select sum(k - a) from o), (select sum(k - a + g) from n);
  elsif tg_op = 'INSERT' then
    raise notice 'new: % %', (select count(*) from n), (select sum(k - a + g) from n);
  else
    raise notice 'old: % %', (select count(*) from o), (select sum(k - a + g) from o);
  end if;
  return null;
end $$;
create function skip_some() returns trigger language plpgsql as $$
begin
  insert into audit (id, what) values (0, tg_op);
  if tg_op = 'DELETE' then
    return case when old.a = 3 then null else old end;
  end if;
  return case when new.a in (5, 110) then null else new end;
end $$;
create function number_it() returns trigger language plpgsql as $$
begin
  select coalesce(max(a), 0) + 1 into new.a from t where b = new.b and k <> new.k;
  return new;
end $$;
"""

MOVES = """
merge into t using src on src.k = t.k when matched and src.v < 30 then update set k = t.k + 100, a = src.v when matched and src.v < 50 then delete when matched then update set b = src.w when not matched and src.v > 150 then insert (k, a, b) values (src.k, src.v, src.w);
merge into t using (values (1, 301), (2, 302), (99, 399)) s(k, n) on s.k = t.k when matched then update set k = s.n, b = 'moved' when not matched then insert (k, a) values (s.n, s.k);
merge into t using ref on ref.id = t.a and t.k < 20 when matched and t.k < 5 then delete when matched then update set k = t.k + 500, b = ref.name;
merge into t using (values (505)) s(k) on s.k = t.k when matched then update set k = k;
merge into t using (values (507)) s(k) on s.k = t.k when matched then update set k = null;
with s as (select 508 as k) merge into t using s on s.k = t.k when matched then update set k = t.k + 1001 + (select count(*) from ref), a = (select max(v) from src where id = t.a);
prepare p as merge into t using (select $1::int as k) s on s.k = t.k when matched then update set k = $2 when not matched then insert (k, a) values ($1, $2);
execute p(509, 709);
execute p(710, 711);
execute p(709, 712);
begin;
merge into t using (values (712)) s(k) on s.k = t.k when matched then update set k = 800;
savepoint s;
merge into t using (values (800)) s(k) on s.k = t.k when matched then update set k = 801;
rollback to s;
select * from t where k >= 800 order by k;
commit;
select * from t order by k;
select id, what, old, new from audit order by id, what, old, new;
"""

LOG = """
create trigger a before insert or update or delete on t for each statement execute function log_it();
create trigger b after insert or update or delete on t for each statement execute function log_it();
"""

SCRIPTS = {
    "after_row": LOG + """
create trigger c after insert or update or delete on t for each row execute function log_it();
""" + MOVES,
    "after_row_elsewhere": """
create trigger a after insert or update or delete on t for each row execute function audit_it();
""" + MOVES,
    "before_row": """
create trigger a before insert or update or delete on t for each row execute function log_it();
""" + MOVES,
    "before_row_elsewhere": """
create trigger a before insert or update or delete on t for each row execute function audit_it();
""" + MOVES,
    "before_row_of_column": """
create trigger a before update of b on t for each row execute function audit_it();
create trigger c after update of a on t for each row execute function log_it();
""" + MOVES,
    "errors": """
create trigger a before insert or update or delete on t for each row execute function log_it();
merge into t using (values (6), (6)) s(k) on s.k = t.k when matched then update set k = t.k + 1000;
merge into t using (values (6), (6)) s(k) on s.k = t.k when matched and t.k = 6 then delete;
merge into t using (values (7)) s(k) on s.k = t.k when matched then update set k = 8;
merge into t using (values (7)) s(k) on s.k = t.k when matched then update set k = 100 / (t.a - 0);
merge into t using (values (17), (17)) s(k) on s.k = t.k when matched and t.k < 10 then update set k = 100 when not matched then insert values (10, 1);
create trigger n before update on t for each row when (old.k = 9) execute function skip_some();
merge into t using (values (9), (9)) s(k) on s.k = t.k when matched then update set k = 2000 + t.k, a = 5;
merge into t using (values (9), (9)) s(k) on s.k = t.k when matched then update set k = 2000 + t.k, a = 1;
create function write_others() returns trigger language plpgsql as $$
begin
  update t set a = 100 where k = old.k;
  return coalesce(new, old);
end $$;
create trigger w before update or delete on t for each row when (old.k > 20 and pg_trigger_depth() = 0) execute function write_others();
merge into t using (values (21)) s(k) on s.k = t.k when matched then update set k = 4000;
merge into t using (values (22)) s(k) on s.k = t.k when matched then delete;
select * from t order by k;
""",
    "transition_tables": """
create trigger a after update on t referencing old table as o new table as n for each statement execute function changes();
create trigger b after insert on t referencing new table as n for each statement execute function changes();
create trigger c after delete on t referencing old table as o for each statement execute function changes();
""" + MOVES,
    "before_skips": """
create trigger a before insert or update or delete on t for each row execute function skip_some();
create trigger z after insert or update or delete on t for each row execute function log_it();
""" + MOVES,
    "before_changes_key": """
create function new_key() returns trigger language plpgsql as $$
begin
  new.k := old.k + 5000;
  insert into audit (id, what) values (new.k, tg_op);
  return new;
end $$;
create trigger n before update on t for each row execute function new_key();
merge into t using src on src.k = t.k when matched then update set a = src.v;
merge into t using ref on ref.id = t.k when matched then update set k = t.k + 1;
select * from t order by k;
select id, what from audit order by id;
""",
    "before_reads": """
create trigger n before insert or update on t for each row execute function number_it();
merge into t using src on src.k = t.k when matched and src.id = 3 then update set b = 'x' when not matched and src.id = 19 then insert (k, b) values (src.k, 'b1');
merge into t using (values (3, 'b1'), (77, 'b2')) s(k, b) on s.k = t.k when matched then update set b = s.b when not matched then insert (k, b) values (s.k, s.b);
select * from t order by k;
""",
}

SCRIPTS["functions"] = """
create function most() returns int language sql as 'select max(v) from src';
create function next_of(x int) returns int language plpgsql volatile as $$ begin return (select count(*) from src where v > x); end $$;
merge into t using (values (1), (2), (77)) s(k) on s.k = t.k when matched and next_of(t.k) > 2 then update set k = most() + t.k, b = next_of(t.a)::text when not matched then insert (k, a) values (next_of(100) + 1000, most());
merge into t using src on src.k = t.k when matched then update set a = next_of(src.v) when not matched then insert (k, a) values (src.k, next_of(src.v));
select * from t order by k;
"""

SCRIPTS["reference"] = """
create sequence s;
create function twice(x int) returns int language plpgsql volatile as $$ begin return x * 2; end $$;
merge into ref using src on src.id = ref.id when matched and src.id < 3 then update set name = twice(src.v)::text when matched then delete when not matched and src.id > 18 then insert values (src.id, nextval('s')::text);
select id, case when id < 10 then name end from ref order by id;
merge into ref using (values (0), (1), (50)) x(id) on x.id = twice(ref.id) / 2 when matched then update set id = ref.id + 100, name = (select count(*)::text from t where t.a > ref.id) when not matched then insert values (x.id, 'new');
create trigger a before insert or update or delete on ref for each row execute function ref_audit();
create trigger l after insert or update or delete on ref for each statement execute function log_it();
merge into ref using (values (100, 'a'), (101, 'b'), (50, 'c'), (60, 'd')) x(id, n) on x.id = ref.id when matched and ref.id = 50 then delete when matched then update set name = x.n || ref.name when not matched then insert values (x.id, x.n);
merge into ref using (values (100), (100)) x(id) on x.id = ref.id when matched then delete;
select id, name from ref where id < 19 or id > 20 order by id;
select id, what from audit order by id, what;
create table bag (x int, y text);
--herd select create_reference_table('bag');
insert into bag select i % 2, 'y' from generate_series(1, 8) i;
merge into bag using (values (1)) s(x) on s.x = bag.x when matched then update set y = twice(bag.x)::text;
select * from bag order by x, y;
""".replace("create trigger a before", """create function ref_audit() returns trigger language plpgsql as $$
begin
  insert into audit (id, what) values (coalesce(new.id, old.id), tg_op);
  return coalesce(new, old);
end $$;
create trigger a before""")
SCRIPTS["partitioned"] = """
create table pt (k int, d int, v int, primary key (k, d)) partition by range (d);
create table pt1 partition of pt for values from (0) to (10);
create table pt2 partition of pt for values from (10) to (20);
--herd select create_distributed_table('pt', 'k');
insert into pt select i, (i % 20), i from generate_series(1, 40) i;
create function far(x int) returns int language plpgsql volatile as $$ begin return (select count(*) from src where v > x); end $$;
merge into pt using src on src.id = pt.k when matched and pt.d = 3 then delete when matched then update set v = far(src.v), d = (pt.d + 5) % 20 when not matched then insert values (src.k, 1, far(1));
merge into pt using (values (1), (2), (99)) s(k) on s.k = pt.k when matched then update set d = 19 - pt.d, v = far(pt.v) when not matched then insert values (s.k, 11, far(s.k));
merge into pt using (values (4), (4)) s(k) on s.k = pt.k when matched then update set v = far(0);
select tableoid::regclass, * from pt order by k, d;
"""
SCRIPTS["whole_rows"] = """
alter table t add drop_me int, add z int default 3;
alter table t drop drop_me;
merge into t using src on src.k = t.k when matched and (t).a > 2 and t.tableoid <> 0 and t.ctid is not null then update set k = t.k + 100, b = t::text when matched and t is not null then update set b = (select count(*) from ref where ref::text < t::text)::text || src::text when not matched then insert (k, b) values (src.k, src::text);
create trigger a after update on t for each row execute function log_it();
merge into t using src on src.k = t.k when matched and (t).a > 1 then update set k = t.k + 200, b = t::text when matched and t is not null then update set b = (select count(*) from ref where ref::text < t::text)::text || src::text when not matched then insert (k, b) values (src.k, src::text);
select * from t order by k;
"""

SCRIPTS["lists"] = """
create table o (id int primary key, t int, v int, w text);
--herd select create_distributed_table('o', 'id', colocate_with => 'none');
insert into o select i, i % 30, i * 3, 'w ' || i from generate_series(1, 60) i;
merge into t using (values (1), (2), (77)) s(k) on s.k = t.k when matched then update set (a, b) = (select o.v, o.w from o where o.t = t.k order by o.id limit 1) when not matched then insert (k, b) values (s.k, 'new');
merge into t using (values (3), (4), (5)) s(k) on s.k = t.k when matched and t.k = 3 then delete when matched and t.k = 4 then update set (k, a) = (select o.id + 100 + s.k, o.v from o where o.t = t.k order by o.id desc limit 1), b = 'x' || t.b when matched then update set b = 'y', (a) = row (t.a + 1);
merge into t using (values (6), (7)) s(k) on s.k = t.k when matched and t.k = 6 then update set (a, b) = (select v, w from o where id < s.k) when matched then update set b = 'one';
merge into t using (values (7), (8)) s(k) on s.k = t.k when matched and t.k = 8 then update set (a, b) = (select v, w from o where id = s.k limit 5) when matched then update set b = 'one';
merge into t using src on src.k = t.k when matched then update set (b, a) = (with q as (select * from ref where id < 3) select max(name), max(id) from q);
merge into ref using (values (1), (2)) s(id) on s.id = ref.id when matched then update set (id, name) = (select o.id + 100, o.w from o where o.t = ref.id order by o.id limit 1);
prepare p as merge into t using (values (9), (10)) s(k) on s.k = t.k when matched then update set (a, b) = (select o.v + $1, o.w from o where o.t = t.k order by o.id limit 1);
execute p(1);
execute p(2);
select * from t order by k;
select * from ref order by id;
"""

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
merge into p using (values (4, 104), (8, 108), (50, 51)) s(k, n) on s.k = p.k when matched then update set k = s.n when not matched then insert values (s.k, s.n);
merge into p using (values (2, 102)) s(k, n) on s.k = p.k when matched then update set k = s.n;
merge into p using (values (1, 101), (12, 112)) s(k, n) on s.k = p.k when matched then update set k = s.n;
merge into p using (values (5), (6), (12)) s(k) on s.k = p.k when matched and p.k < 10 then update set k = p.k + 100 when matched then delete;
merge into p using (values (9), (10)) s(k) on s.k = p.k when matched and p.k = 9 then delete when matched then update set k = p.k + 100;
merge into c using (values (23, 1, 22, 1)) s(k, id, n, m) on s.k = c.k and s.id = c.id when matched then update set k = s.n, id = s.m;
merge into c using (values (23, 1, 22, 7)) s(k, id, n, m) on s.k = c.k and s.id = c.id when matched then update set k = s.n, id = s.m;
merge into c using (values (25, 500)) s(k, n) on s.k = c.k when matched then update set k = s.n;
merge into f using (values (5), (29)) s(k) on s.k = f.pk when matched then update set id = f.id + 1000;
merge into f using (values (33)) s(k) on s.k = f.pk when matched then update set id = f.id + 1000, pk = 3000;
begin;
set constraints all deferred;
merge into p using (values (37), (38)) s(k) on s.k = p.k when matched then update set k = p.k + 200;
merge into c using (values (37), (38)) s(k) on s.k = c.k when matched then update set k = c.k + 200;
merge into f using (values (37), (38)) s(k) on s.k = f.pk when matched then update set pk = f.pk + 200;
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


for name, action in (("no_action", ""), ("deferred", "deferrable initially deferred")):
    SCRIPTS["keys_" + name] = keys(action, action)
SCRIPTS["keys_of_delete"] = keys("on delete cascade", "on delete set null")
SCRIPTS["keys_follow"] = keys("on update cascade", "on update cascade on delete cascade")
SCRIPTS["keys_itself"] = """
create table tree (id int primary key, up int, n text);
--herd select create_distributed_table('tree', 'id');
insert into tree values (1, null, 'root'), (2, 1, 'a'), (3, 1, 'b'), (4, 2, 'c');
alter table tree add foreign key (up) references tree;
merge into tree using (values (1)) s(id) on s.id = tree.id when matched then update set id = 10;
merge into tree using (values (1)) s(id) on true when matched then update set id = tree.id + 10, up = up + 10;
merge into tree using (values (14), (30)) s(id) on s.id = tree.id when matched then update set id = 20 when not matched then insert values (s.id, 20, 'new');
select * from tree order by id;
"""
SCRIPTS["keys_reference"] = """
alter table t add foreign key (a) references ref (id);
merge into t using (values (1, 3), (2, 4)) s(k, a) on s.k = t.k when matched then update set k = t.k + 100, a = s.a;
merge into t using (values (3, 33)) s(k, a) on s.k = t.k when matched then update set k = t.k + 100, a = s.a;
select k, a from t where k < 5 or k > 100 order by k;
"""
SCRIPTS["policies"] = """
alter table t enable row level security;
create policy see on t for select using (a < 6);
create policy change on t for update using (a < 5) with check (k < 5000 and a < 6);
create policy add on t for insert with check (k < 5000);
create policy del on t for delete using (a < 2);
create trigger a after update on t for each row execute function log_it();
grant select, insert, update, delete on t to merger;
grant select on ref, src to merger;
set role merger;
merge into t using (values (1), (2), (6)) s(k) on s.k = t.k when matched then update set k = t.k + 100;
merge into t using (values (5)) s(k) on s.k = t.k when matched then update set k = t.k + 100;
merge into t using (values (3)) s(k) on s.k = t.k when matched then update set k = 6000;
merge into t using (values (3)) s(k) on s.k = t.k when matched then update set k = 2000, a = 6;
merge into t using (values (3), (700)) s(k) on s.k = t.k when matched then update set k = t.k + 2000 when not matched then insert values (s.k, 1);
merge into t using (values (700)) s(k) on s.k = t.k + 1 when matched then update set k = t.k + 2000 when not matched then insert values (s.k + 6000, 1);
merge into t using (values (8), (9)) s(k) on s.k = t.k when matched and t.k = 8 then delete when matched then update set k = t.k + 2000;
merge into t using (values (10), (11)) s(k) on s.k = t.k when matched and t.k = 10 then delete when matched then update set k = t.k + 2000;
reset role;
revoke update on t from merger;
grant update (k) on t to merger;
set role merger;
merge into t using (values (14)) s(k) on s.k = t.k when matched then update set k = t.k + 2000;
merge into t using (values (15)) s(k) on s.k = t.k when matched then update set k = t.k + 2000, b = 'x';
reset role;
select * from t order by k;
"""

SCRIPTS_17 = {
    "returning": """
create trigger a after insert or update or delete on t for each row execute function log_it();
merge into t using src on src.k = t.k when matched and src.v < 30 then update set k = t.k + 100, a = src.v when matched and src.v < 50 then delete when matched then update set b = src.w when not matched and src.v > 150 then insert (k, a, b) values (src.k, src.v, src.w) returning merge_action(), t.*, src.*;
merge into t using (values (1, 301), (99, 399)) s(k, n) on s.k = t.k when matched then update set k = s.n, b = 'moved' when not matched then insert (k, a) values (s.n, s.k) returning s.n, merge_action() || t.b, s.k + t.k, t;
merge into t using ref on ref.id = t.k when not matched by source and t.k < 12 then delete when not matched by source and t.k > 300 then update set k = t.k + 300 when matched then update set b = ref.name when not matched by target then insert values (900 + ref.id, 5) returning merge_action(), ref.name, t.k;
merge into t using ref on ref.id = t.k when not matched by source then update set k = t.k + 1000 returning t.k, ref.id;
with m as (merge into t using src on src.k + 1000 = t.k when matched then delete when not matched then insert (k, b) values (src.k, src.w) returning merge_action() as did, t.k) select did, count(*), sum(k) from m group by did;
select * from t order by k;
""",
    "before_elsewhere": """
create trigger a before insert or update or delete on t for each row execute function audit_it();
merge into t using src on src.k = t.k when matched and src.v < 30 then update set k = t.k + 100, a = src.v when matched and src.v < 50 then delete when matched then update set b = src.w when not matched then insert (k, a, b) values (src.k, src.v, src.w) returning merge_action(), t.*, src.*;
merge into t using ref on ref.id = t.k when not matched by source and t.k < 12 then delete when not matched by source then update set a = t.a + 1 when matched then do nothing returning merge_action(), ref.name, t.k;
select * from t order by k;
select id, what, old, new from audit order by id, what, old, new;
""",
    "reference": """
create function twice(x int) returns int language plpgsql volatile as $$ begin return x * 2; end $$;
merge into ref using (values (0), (1), (50)) x(id) on x.id = ref.id when matched then update set name = twice(ref.id)::text when not matched then insert values (x.id, 'new') when not matched by source and ref.id = 4 then delete returning merge_action(), ref.*, x.id;
select * from ref order by id;
""",
    "views": """
create view v as select k, a, b from t where a < 5;
create trigger a after update on t for each row execute function log_it();
merge into v using (values (1), (2), (5), (50)) s(k) on s.k = v.k when matched then update set k = v.k + 100 when not matched then insert values (s.k + 500, 1, 'v') returning merge_action(), v.*, s.k;
grant select, insert, update on v to merger;
set role merger;
merge into v using (values (101), (7)) s(k) on s.k = v.k when matched then update set k = v.k + 1000 returning merge_action(), v.*, s.k;
reset role;
select * from t order by k;
""",
    "checks": """
create view c as select k, a, b from t where a < 5 with check option;
create view n as select * from c where k < 500 with local check option;
create view o as select k, a, b from t where b <> (select name from ref where id = t.a) with check option;
merge into c using (values (1, 4), (50, 1)) s(k, a) on s.k = c.k when matched then update set a = s.a when not matched then insert values (s.k, s.a, 'v') returning merge_action(), c.*;
merge into c using (values (1, 5), (51, 1)) s(k, a) on s.k = c.k when matched then update set a = s.a when not matched then insert values (s.k, s.a, 'v');
merge into c using (values (1, 4), (52, 6)) s(k, a) on s.k = c.k when matched then update set a = s.a when not matched then insert values (s.k, s.a, 'v');
merge into c using src on src.k = c.k when matched and src.v < 40 then delete when matched then update set a = 2 when not matched and src.v > 150 then insert values (src.k, 1, src.w);
merge into c using src on src.k = c.k and src.id = 4 when matched then update set a = src.v;
merge into n using (values (2), (60)) s(k) on s.k = n.k when matched then update set k = n.k + 200 when not matched then insert values (s.k + 100, 1, 'n') returning n.k, merge_action();
merge into n using (values (3)) s(k) on s.k = n.k when matched then update set k = n.k + 600;
merge into n using (values (3)) s(k) on s.k = n.k when matched then update set k = n.k + 300, a = 6;
merge into n using (values (700)) s(k) on s.k = n.k when not matched then insert values (s.k, 1, 'n');
merge into o using (values (4), (8)) s(k) on s.k = o.k when matched then update set b = 'x';
merge into o using (values (4)) s(k) on s.k = o.k when matched then update set b = 'r4';
create trigger a after update on t for each row execute function log_it();
merge into c using (values (7), (8)) s(k) on s.k = c.k when matched and c.k = 8 then delete when matched then update set k = c.k + 200, b = 'moved';
merge into c using (values (9)) s(k) on s.k = c.k when matched then update set k = c.k + 200, a = 6;
merge into c using (values (9)) s(k) on s.k = c.k when matched then update set k = c.k + 300 returning c.k, merge_action();
select * from t order by k;
""",
    "barriers": """
create function leak(text) returns bool language plpgsql cost 0.0001 as $$
begin if $1 like 'b4%' then raise notice 'saw %', $1; end if; return true; end $$;
create view v with (security_barrier) as select k, a, b from t where a < 4 and b <> 'b4';
create view w with (security_barrier) as select * from v where k > 2;
grant select, insert, update, delete on v, w to merger;
grant select on src, ref to merger;
set role merger;
merge into v using src on src.k = v.k and leak(v.b) when matched and leak(v.b) then update set b = src.w when not matched and src.v < 30 then insert values (src.k + 100, 1, src.w);
merge into w using (values (1), (3), (4), (10)) s(k) on s.k = w.k when matched then update set b = w.b || '!' when not matched then insert values (s.k + 200, 1, 'w') returning merge_action(), w.*;
merge into w using ref on ref.id = w.k when not matched by source and leak(w.b) then update set a = w.a + 1 when matched then delete;
reset role;
select * from t order by k;
""",
    "reference_returning": """
create sequence s;
merge into ref using (values (0), (50), (51)) x(id) on x.id = ref.id when matched then update set name = 'old' when not matched then insert values (x.id, 'n' || length(nextval('s')::text)) returning merge_action(), ref.*, x.id;
select * from ref order by id;
""",
    "policies": """
alter table t enable row level security;
create policy see on t for select using (a < 6);
create policy change on t for update using (a < 5) with check (k < 5000 and a < 6);
create policy add on t for insert with check (k < 5000);
grant select, insert, update, delete on t to merger;
set role merger;
merge into t using (values (1), (2), (6)) s(k) on s.k = t.k when matched then update set k = t.k + 100 returning merge_action(), t.*;
merge into t using (values (5)) s(k) on s.k = t.k when matched then update set k = t.k + 100 returning t.k;
merge into t using (values (3), (700)) s(k) on s.k = t.k when matched then update set k = t.k + 2000 when not matched then insert values (s.k, 1) returning merge_action(), t.*, s.k;
reset role;
select * from t order by k;
""",
}
SCRIPTS_18 = {
    "old_and_new": """
create trigger a after update on t for each row execute function log_it();
merge into t using src on src.k = t.k when matched and src.v < 30 then update set k = t.k + 100, a = src.v when matched and src.v < 50 then delete when matched then update set b = src.w when not matched then insert (k, a, b) values (src.k, src.v, src.w) returning merge_action(), old.k, new.k, old.b, new.b, old, new, src.id;
select * from t order by k;
""",
}

herd, same = rules_herd.fixtures(TABLES, roles=["merger"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(same, name):
    same(SCRIPTS[name])


@pytest.mark.parametrize("major,name", [(17, n) for n in SCRIPTS_17] + [(18, n) for n in SCRIPTS_18])
def test_returning(herd, same, major, name):
    with herd.connect() as con:
        if con.info.server_version < major * 10000:
            pytest.skip("needs PostgreSQL %d" % major)
    same((SCRIPTS_17 if major == 17 else SCRIPTS_18)[name])


def test_waits_for_others(herd):
    """A row that somebody else has changed meanwhile is merged as it is then."""
    test_move_key.check_waits(
        herd, "merge into conc.t using (values (1), (2), (3), (90)) s(k) on s.k = t.k and t.a > 0 "
        "when matched then update set k = t.k + 100, a = t.a + 1 "
        "when not matched then insert values (s.k + 200, 0, 'new')", "MERGE 4",
        [(3, -1, "b!"), (101, 52, "b!!"), (102, 53, "b!!"), (203, 0, "new"), (290, 0, "new")])


def test_partitions(herd):
    """Rows of a partitioned table do not leave their shard in a MERGE that is run row by row."""
    with herd.connect() as con:
        for s in rules_herd.statements("""
drop schema if exists parts cascade;
create schema parts;
set search_path = parts;
create table p (k int, d int, v int) partition by range (d);
create table p1 partition of p for values from (0) to (10);
create table o (id int, v int);
select create_distributed_table('p', 'k');
select create_distributed_table('o', 'id', colocate_with => 'none');
insert into p select i, 1, i from generate_series(1, 10) i;
insert into o select i, i from generate_series(1, 10) i;
"""):
            con.execute(s)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="distribution column"):
            con.execute("merge into p using (values (1), (2), (3)) s(k) on s.k = p.k when matched then "
                        "update set (k, v) = (select o.v + 100, 1 from o where o.id = p.k limit 1)")
        con.execute("merge into p using (values (1), (2), (3)) s(k) on s.k = p.k when matched then "
                    "update set (k, v) = (select o.v, 1 from o where o.id = p.k limit 1)")
        assert con.execute("select k, v from p where k < 5 order by k").fetchall() == [(1, 1), (2, 1), (3, 1), (4, 4)]
        con.execute("drop schema parts cascade")
