"""BEFORE row triggers that use rows of other nodes fire where a statement is planned: as on plain tables."""
import pytest

import rules_herd

TABLES = """
create table t (k int primary key, a int, b text, g int generated always as (a * 2) stored);
create table audit (id int, n bigint generated always as identity, what text, old text, new text);
create table counts (name text primary key, n bigint);
create table lim (grp text primary key, most int);
create table ref (id int primary key, name text);
create table loc (id int, note text);
--herd select create_distributed_table('t', 'k');
--herd select create_distributed_table('audit', 'id', colocate_with => 'none');
--herd select create_distributed_table('counts', 'name', colocate_with => 'none');
--herd select create_distributed_table('lim', 'grp', colocate_with => 'none');
--herd select create_reference_table('ref');
insert into t (k, a, b) select i, i % 7, 'b' || i % 5 from generate_series(1, 30) i;
insert into ref select i, 'r' || i from generate_series(0, 6) i;
insert into counts values ('t', 0), ('ref', 0);
insert into lim select 'b' || i, i * 3 from generate_series(0, 4) i;
create function log_it() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into audit (id, what, new) values (coalesce(new.k, 0), tg_op, new::text);
  elsif tg_op = 'UPDATE' then
    insert into audit (id, what, old, new) values (old.k, tg_op, old::text, new::text);
  else
    insert into audit (id, what, old) values (old.k, tg_op, old::text);
    return old;
  end if;
  raise notice '% % % % % % %', tg_name, tg_when, tg_level, tg_op, tg_table_name, tg_argv[0], pg_trigger_depth();
  return new;
end $$;
create function check_limit() returns trigger language plpgsql as $$
declare m int;
begin
  select most into m from lim where grp = new.b;
  if not found then
    raise exception 'no group %', new.b using errcode = 'P1234', detail = 'k = ' || new.k;
  end if;
  if new.a > m then
    new.a := m;
  end if;
  return new;
end $$;
create function skip_some() returns trigger language plpgsql as $$
begin
  update counts set n = n + 1 where name = 't';
  if tg_op = 'DELETE' then
    return case when old.a = 3 then null else old end;
  end if;
  return case when new.a = 5 then null else new end;
end $$;
create function number_it() returns trigger language plpgsql as $$
begin
  select coalesce(max(a), 0) + 1 into new.a from t where b = new.b and k <> new.k;
  return new;
end $$;
"""

SHOW = """
select * from t order by k;
select id, what, old, new from audit order by id, what, old, new;
select * from counts order by 1;
"""

SCRIPTS = {
    "insert": """
create trigger b_log before insert on t for each row execute function log_it('arg');
create trigger a_limit before insert on t for each row execute function check_limit();
create trigger c_skip before insert on t for each row when (new.k > 100) execute function skip_some();
insert into t values (100, 100, 'b1');
insert into t (k, a, b) values (101, 1, 'b2'), (102, 50, 'b3'), (103, 5, 'b4') returning *;
insert into t (k, a, b) select g, g, 'b' || g % 5 from generate_series(200, 210) g;
insert into t (k, b) select k + 1000, b from t where k < 4 returning k, a, g;
insert into t (k, a, b) values (110, 1, 'nothing');
insert into t (k, a, b) values (111, 1, 'b1'), (112, 1, 'nothing');
insert into t (k, a, b) values (1, 1, 'b1');
insert into t (k, a, b) values (1, 2, 'b1'), (120, 2, 'b1') on conflict do nothing;
insert into t (k, a, b) values (2, 2, 'b1'), (121, 2, 'b1') on conflict (k) do update set b = excluded.b || '!' returning *;
with i as (insert into t (k, a, b) values (130, 1, 'b1'), (131, 5, 'b4') returning k) select * from i order by k;
with s as (select 140 k) insert into t (k, a, b) select k, 1, 'b0' from s;
prepare p as insert into t (k, a, b) values ($1, $2, $3) returning a;
execute p(150, 1, 'b1');
execute p(151, 100, 'b2');
execute p(152, 100, 'b3');
begin;
insert into t (k, a, b) values (160, 1, 'b1');
savepoint s;
insert into t (k, a, b) values (161, 1, 'b1');
rollback to s;
insert into t (k, a, b) values (162, 1, 'b1');
commit;
""" + SHOW,
    "own_rows": """
create trigger n before insert on t for each row execute function number_it();
insert into t (k, b) values (100, 'new'), (101, 'new'), (102, 'b1'), (103, 'new');
insert into t (k, b) select g, 'many' from generate_series(200, 209) g returning k;
select b, count(*), sum(a), min(a), max(a) from t group by b order by b;
""",
    "key": """
create function new_key() returns trigger language plpgsql as $$
begin
  new.k := (select max(n) from counts) + 500 + coalesce(new.k, 0);
  return new;
end $$;
create trigger n before insert on t for each row execute function new_key();
insert into t (k, a) values (1, 1), (2, 2), (null, 3) returning k;
select * from t where k = 501;
select * from t where k in (500, 502) order by k;
select count(*) from t;
""",
    "local_and_reference": """
create function log_loc() returns trigger language plpgsql as $$
begin
  insert into loc values (new.id, tg_op || (select count(*) from loc));
  update counts set n = n + 1 where name = 'ref';
  new.name := new.name || (select n from counts where name = 'ref');
  return new;
end $$;
create trigger l before insert on ref for each row execute function log_loc();
insert into ref values (100, 'x'), (101, 'y') returning *;
insert into ref select g, 'g' from generate_series(200, 202) g;
select * from ref order by id;
select * from loc order by id, note;
""",
    "roles": """
create view v as select k, a, b from t where a < 1000;
create trigger a_limit before insert on t for each row execute function check_limit();
insert into v values (100, 100, 'b1');
insert into v values (101, 100, 'b2'), (102, 1, 'b3') returning *;
insert into t (k, a, b) values (103, default, 'b1');
alter table t add column z int default 7;
insert into t (k, a, b) values (104, 4, 'b1') returning *;
alter table t drop column a cascade;
create or replace function check_limit() returns trigger language plpgsql as $$
begin
  select most into new.z from lim where grp = new.b;
  return new;
end $$;
insert into t (k, b) values (105, 'b4') returning *;
alter table t disable trigger a_limit;
insert into t (k, b) values (106, 'b4') returning *;
alter table t enable trigger a_limit;
set session_replication_role = replica;
insert into t (k, b) values (107, 'b4') returning *;
reset session_replication_role;
drop trigger a_limit on t;
insert into t (k, b) values (108, 'b4') returning *;
select * from t order by k;
""",
}


herd, same = rules_herd.fixtures(TABLES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])
