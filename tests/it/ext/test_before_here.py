"""BEFORE row triggers that use rows of other nodes fire where a statement is planned: as on plain tables."""
import psycopg
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
    "update": """
create trigger b_log before update on t for each row execute function log_it('arg');
create trigger a_limit before update of a, b on t for each row execute function check_limit();
create trigger c_skip before update on t for each row when (old.k > 20) execute function skip_some();
create trigger z_after after update of a on t for each row execute function log_it('after');
update t set a = 100 where k = 1;
update t set a = a + 1, b = 'b' || (k + 1) % 5 where k between 10 and 14 returning *;
update t set a = 5 where k > 25 returning k, a, g;
update t set k = k where k = 3;
update t set b = 'nothing' where k = 2;
update t set b = 'nothing' where k in (4, 5, 6) and k = 5;
update t set a = 1 where k = 1000;
update t set a = ref.id * 10, b = 'b0' from ref where ref.id = t.a and t.k < 20 returning t.k, t.a, ref.name, ref.id;
update t set a = x.a from (values (7, 50), (8, 60), (7, 70)) x(k, a) where x.k = t.k and x.a <> 70;
update t set a = (select count(*) from audit) where k in (15, 16);
update t set (a, b) = (select id, 'b2' from ref where name = 'r3') where k = 17 returning a, b;
with w as (update t set a = 9 where k in (20, 21) returning k, a) select * from w order by k;
with s as (select 22 k) update t set a = 3 from s where s.k = t.k;
prepare p as update t set a = $1 where k = $2 returning a + $1;
execute p(1, 9);
execute p(100, 9);
execute p(2, 10);
begin;
update t set a = 70 where k = 9;
savepoint s;
update t set a = 71 where k = 9;
rollback to s;
commit;
update t set a = 2 where a = 4 and k < 20;
insert into t (k, a, b) values (9, 4, 'b1') on conflict do nothing;
""" + SHOW,
    "delete": """
create trigger b_log before delete on t for each row execute function log_it('arg');
create trigger c_skip before delete on t for each row execute function skip_some();
delete from t where k = 1;
delete from t where k between 5 and 12 returning *;
delete from t using ref where ref.id = t.a and ref.name = 'r2' returning t.k, ref.name;
with d as (delete from t where k > 28 returning k) select * from d order by k;
delete from t where k = 1000;
begin;
delete from t where k = 15;
rollback;
delete from t where exists (select 1 from audit where audit.id = t.k + 1) returning k;
""" + SHOW,
    "changes_others": """
create function next_one() returns trigger language plpgsql as $$
begin
  update t set b = b || '!' where k = new.k + 1;
  return new;
end $$;
create trigger n before update of a on t for each row execute function next_one();
update t set a = 1 where k in (3, 9);
update t set a = 1 where k = 20 or k = 23;
update t set a = a + (select count(*) from audit) where k = 11;
create function kill_me() returns trigger language plpgsql as $$
begin
  delete from t where a = old.a and k = old.k;
  return old;
end $$;
create trigger d before delete on t for each row execute function kill_me();
delete from t where k = 2;
select * from t order by k;
""",
    "functions": """
create function how_many(int) returns bigint language plpgsql as $$
begin return (select count(*) from counts) + (select count(*) from t where a = $1); end $$;
create function most_of(text) returns int stable language plpgsql as $$
begin return (select most from lim where grp = $1); end $$;
create function noted(int) returns int language plpgsql as $$
begin
  insert into audit (id, what) values ($1, 'noted');
  insert into loc values ($1, 'noted');
  return $1 * 2;
end $$;
update t set a = how_many(a) where k = 5;
update t set a = most_of(b) where k < 5 returning k, a, b;
update t set a = most_of(b) + a where most_of(b) > 6 and k > 20;
update t set b = (select name from ref where id = 2), a = noted(k) where k in (8, 9) returning *;
delete from t where most_of(b) = 3 returning k;
delete from t where k > 20 and noted(k) > 50;
delete from t using ref where ref.id = t.a and most_of(t.b) >= 0 returning t.k, ref.name;
with w as (update t set a = most_of(b) where k = 9 returning *) select * from w;
prepare q as update t set a = most_of(b) + $1 where k = $2;
execute q(1, 9);
execute q(1, 10);

select * from loc order by id;
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


SCRIPTS["functions_of_partitioned"] = """
create table pt (k int, d int, v int, b text, g int generated always as (d * 2) stored, primary key (k, d)) partition by range (d);
create table pt1 partition of pt for values from (0) to (10);
create table pt2 (b text, v int, k int not null, d int not null, g int generated always as (d * 2) stored);
alter table pt attach partition pt2 for values from (10) to (20);
--herd select create_distributed_table('pt', 'k');
insert into pt select i, i % 20, i, 'b' || i % 5 from generate_series(1, 40) i;
create function most(x text) returns int language plpgsql volatile as $$ begin return (select l.most from lim l where grp = x); end $$;
create function sum_v() returns int language plpgsql volatile as $$ begin return (select sum(v) from pt); end $$;
create trigger r after update or delete on pt for each row execute function log_it('r');
update pt set v = most(b) where k < 9;
update pt set v = most(b), d = 19 - d where k between 9 and 12 returning k, d, g, tableoid::regclass;
update pt set b = 'b1' where most(b) = 6 and k < 20 returning *;
update pt set v = sum_v() where k = 13;
update pt set v = most(pt.b) + l.most from lim l where l.grp = pt.b and pt.k between 14 and 18 returning pt.k, pt.v, l.grp;
update pt set v = most(pt.b) from ref where ref.id = pt.d and pt.k < 5 returning pt.k, ref.name;
delete from pt where most(b) > 8 and k < 25 returning k, b;
delete from pt using lim l where l.grp = pt.b and most(pt.b) = l.most and pt.k between 25 and 30;
with u as (update pt set v = most(b) where k = 36 returning *) select k, v from u;
prepare p as update pt set v = most(b) + $1 where k = $2 returning v;
execute p(1, 37);
execute p(2, 38);
select tableoid::regclass, * from pt order by k, d;
select id, what, old, new from audit order by id, what, old, new;
"""


SCRIPTS["on_conflict"] = """
create table u (x text, k int, gone int, a int default 7, v text, b text, id int generated by default as identity,
  g text generated always as (b || a) stored, primary key (k), unique (k, v));
alter table u drop column gone;
--herd select create_distributed_table('u', 'k');
insert into u (k, a, b, v) select i, i % 7, 'b' || i % 5, 'v' || i from generate_series(1, 30) i;
create trigger a_limit before insert or update of a, b on u for each row execute function check_limit();
create trigger b_log before update on u for each row execute function log_it('arg');
create trigger c_skip before update on u for each row when (old.k > 20) execute function skip_some();
create trigger z_after after insert or update of a on u for each row execute function log_it('after');
create function tables() returns trigger language plpgsql as $$
begin
  raise notice '% % % %', tg_op, tg_when, (select string_agg(o::text, ' ' order by k) from o), (select string_agg(n::text, ' ' order by k) from n);
  return null;
end $$;
create function level() returns trigger language plpgsql as $$ begin raise notice '% %', tg_op, tg_when; return null; end $$;
create trigger s1 before insert or update on u for each statement execute function level();
create trigger s2 after update on u referencing old table as o new table as n for each statement execute function tables();
insert into u (k, a, b) values (1, 100, 'b3') on conflict (k) do update set a = excluded.a + u.a, b = excluded.b returning *;
insert into u (k, a, b) values (100, 100, 'b3') on conflict (k) do update set a = 0 returning *;
insert into u (k, a, b) values (2, 50, 'b1'), (101, 1, 'b2'), (3, 50, 'b2') on conflict (k) do update set (a, b) = (excluded.a, u.b), v = excluded.g returning k, a, b, v, g;
insert into u (k, a, b) values (4, 50, 'b1'), (5, 50, 'b1') on conflict (k) do update set a = excluded.a where u.k = 5 returning u, k * 2;
insert into u as w (k, a, b) select i, 5, 'b4' from generate_series(19, 32) i on conflict on constraint u_pkey do update set a = excluded.a + w.a % 2;
insert into u (k, a, b) values (6, 1, 'b1') on conflict (k) do update set b = 'nothing';
insert into u (k, a, b) values (7, 1, 'b1'), (8, 1, 'nothing') on conflict (k) do update set b = 'b2';
insert into u (k, v, b) values (9, 'v9', 'b1') on conflict (k, v) do update set v = null, x = 'x';
insert into u (k, v, b) values (10, 'v9', 'b1') on conflict do nothing;
insert into u (k, b) values (11, 'b1') on conflict (k) do update set id = 77 returning tableoid::regclass, k, id;
with i as (insert into u (k, b) values (12, 'b1'), (200, 'b1') on conflict (k) do update set a = 2 returning *) select k, a from i order by k;
prepare p as insert into u (k, a, b) values ($1, $2, $3) on conflict (k) do update set a = excluded.a + $4 where u.a >= $5 returning a, $2 + $4;
execute p(13, 1, 'b1', 1, 0);
execute p(14, 1, 'b2', 1, 0);
execute p(15, 1, 'b3', 1, 100);
execute p(300, 1, 'b3', 1, 0);
execute p(13, 1, 'b1', 1, 0);
execute p(13, 2, 'b1', 1, 0);
execute p(13, 3, 'b1', 1, 0);
begin;
insert into u (k, a, b) values (16, 1, 'b1') on conflict (k) do update set a = 3;
savepoint s;
insert into u (k, a, b) values (16, 1, 'b1') on conflict (k) do update set a = 4;
insert into u (k, a, b) values (16, 1, 'b1') on conflict (k) do update set b = 'nothing';
rollback to s;
insert into u (k, a, b) values (16, 1, 'b1') on conflict (k) do update set a = u.a + 1;
commit;
create function upsert(int, int) returns int language plpgsql as $$
declare r int;
begin
  insert into u (k, a, b) values ($1, $2, 'b4') on conflict (k) do update set a = excluded.a returning a into r;
  return r;
exception when sqlstate 'P1234' then return -1;
end $$;
select upsert(17, 9);
select upsert(400, 9);
create view uv as select k, a, b from u where a < 8 with check option;
insert into uv values (18, 2, 'b1') on conflict (k) do update set a = 3;
insert into uv values (18, 2, 'b4') on conflict (k) do update set a = 10;
create function kill_it() returns trigger language plpgsql as $$ begin delete from u where k = old.k; return new; end $$;
create trigger y_kill before update on u for each row when (old.k = 18) execute function kill_it();
insert into uv values (18, 2, 'b1') on conflict (k) do update set a = 1;
drop trigger y_kill on u;
alter table u disable trigger b_log;
insert into u (k, b) values (18, 'b2') on conflict (k) do update set a = 1 returning a;
select * from u order by k;
""" + SHOW

SCRIPTS["on_conflict_of_reference"] = """
create function skip_ref() returns trigger language plpgsql as $$
begin
  update counts set n = n + 1 where name = 'ref';
  insert into loc values (new.id, old.name || tg_op);
  new.name := new.name || (select n from counts where name = 'ref');
  return case when old.id = 3 then null else new end;
end $$;
create trigger l before update on ref for each row execute function skip_ref();
insert into ref values (1, 'x'), (3, 'y'), (4, 'z'), (100, 'n') on conflict (id) do update set name = excluded.name returning *;
insert into ref values (1, 'x') on conflict (id) do update set name = excluded.name, id = 50 where ref.id < 50 returning *;
insert into ref values (50, 'x') on conflict (id) do update set name = excluded.name where ref.id < 50 returning *;
create table ref2 (id int, name text, g int generated always as (id * 2) stored);
create unique index on ref2 (lower(name)) where id > 0;
--herd select create_reference_table('ref2');
insert into ref2 values (1, 'A'), (2, 'B'), (-1, 'B'), (-1, 'B');
create trigger l before update on ref2 for each row execute function skip_ref();
insert into ref2 values (7, 'a'), (8, 'b'), (-2, 'b') on conflict (lower(name)) where id > 0 do update set id = excluded.id returning *;
select * from ref order by id;
select * from ref2 order by id;
select * from loc order by id, note;
select * from counts order by name;
"""

SCRIPTS["on_conflict_policies"] = """
create policy r on t for select using (a < 50);
create policy i on t for insert with check (true);
create policy up on t for update using (a <> 3) with check (b <> 'b0');
alter table t enable row level security;
grant all on t, audit, lim, counts to before_r;
create trigger a_limit before update on t for each row execute function check_limit();
create trigger b_log before update on t for each row execute function log_it('arg');
set role before_r;
insert into t (k, a, b) values (1, 2, 'b1') on conflict (k) do update set a = 2;
insert into t (k, a, b) values (3, 2, 'b1') on conflict (k) do update set a = 2;
insert into t (k, a, b) values (2, 2, 'b1') on conflict (k) do update set b = 'b0';
insert into t (k, a, b) values (4, 2, 'b1') on conflict (k) do update set a = 70 returning *;
reset role;
alter table t disable row level security;
alter table t drop column a cascade;
alter table t add column z text default 'zz';
create or replace function check_limit() returns trigger language plpgsql as $$
begin
  select most into new.z from lim where grp = new.b;
  return new;
end $$;
insert into t (k, b) values (5, 'b3') on conflict (k) do update set b = excluded.b returning *, t;
insert into t (k, b) values (6, 'b3') on conflict (k) do update set b = excluded.b returning *, (select count(*) from audit);
insert into t (k, b) select k + 1, b from t where k < 5 on conflict (k) do update set b = excluded.b returning k, b;
create view ov as select k, b, z from t;
grant all on ov to before_r;
revoke all on t from before_r;
set role before_r;
insert into ov (k, b) values (5, 'b4') on conflict (k) do update set b = excluded.b, z = 'v' returning *;
insert into t (k, b) values (5, 'b4') on conflict (k) do update set b = excluded.b;
reset role;
""" + SHOW

herd, same = rules_herd.fixtures(TABLES, roles=["before_r"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])


def test_copy(herd):
    logs = []
    for schema, distributed in (("copy_plain", False), ("copy_herd", True)):
        with herd.connect() as con:
            run = rules_herd.Run(con, schema)
            for s in rules_herd.statements(TABLES + """
create trigger a_limit before insert on t for each row execute function check_limit();
create trigger b_log before insert on t for each row execute function log_it('arg');
create trigger c_skip before insert on t for each row execute function skip_some();
create trigger z_after after insert on t for each row execute function log_it('after');
"""):
                if not s.startswith("--herd "):
                    con.execute(s)
                elif distributed:
                    con.execute(s[len("--herd "):])
            log = []
            with con.cursor() as cur:
                with cur.copy("copy t (k, a, b) from stdin") as copy:
                    for i in range(100, 160):
                        copy.write_row((i, i % 11, "b%d" % (i % 5)))
                log.append(cur.statusmessage)
                with cur.copy("copy t (b, k) from stdin (format csv) where k <> 201") as copy:
                    copy.write("b1,200\nb1,201\nb2,202\n")
                log.append(cur.statusmessage)
                with pytest.raises(psycopg.Error) as e:
                    with cur.copy("copy t (b, k) from stdin (format csv)") as copy:
                        copy.write("b1,300\nnothing,301\n")
                log.append((e.value.sqlstate, e.value.diag.message_primary))
            log += [run.one(s) for s in rules_herd.statements(SHOW)]
            logs.append(log)
            con.execute("drop schema %s cascade" % schema)
    assert logs[0] == logs[1]


def test_conflict_that_moves(herd):
    """A trigger cannot take a row that ON CONFLICT has found to another shard."""
    with herd.connect() as con:
        run = rules_herd.Run(con, "conflict_moves")
        for s in rules_herd.statements(TABLES):
            con.execute(s[len("--herd "):] if s.startswith("--herd ") else s)
        con.execute("""create function mv() returns trigger language plpgsql as
            'begin perform 1 from lim; new.k := 5000 + new.k; return new; end'""")
        con.execute("create trigger mv before update on t for each row execute function mv()")
        got = run.one("insert into t (k, b) values (7, 'b3') on conflict (k) do update set b = 'x'")
        assert got[:2] == ["ERROR", "0A000"] and "cannot be updated here" in got[2]
        assert run.one("select b from t where k = 7")[2] == [("b2",)]
        con.execute("drop schema conflict_moves cascade")


COLOCATED = """
create table orders (k int primary key, grp text, total int default 0);
create table lines (k int, n int, v int, note text, primary key (k, n));
--herd select create_distributed_table('orders', 'k');
--herd select create_distributed_table('lines', 'k', colocate_with => 'orders');
insert into orders select i, 'g' || i % 3 from generate_series(1, 20) i;
create function add_up() returns trigger language plpgsql as $$
begin
  update orders set total = total + new.v where k = new.k;
  return new;
end $$;
create trigger a before insert on lines for each row execute function add_up();
insert into lines values (1, 1, 10), (2, 1, 20), (1, 2, 30);
insert into lines select k, 3, k from orders returning k, n;
select * from orders order by k;
create function add_up_others() returns trigger language plpgsql as $$
begin
  update orders set total = total + 1 where k = new.k % 20 + 1;
  new.note := (select count(*) from lines) || ' lines';
  return new;
end $$;
create trigger b before insert or update on lines for each row execute function add_up_others();
insert into lines values (5, 10, 10), (6, 10, 20) returning *;
insert into lines values (7, 10, 10);
update lines set v = v + 1 where n = 10 and k = 5 returning *;
prepare p as insert into lines values ($1, $2, $3) returning note;
execute p(8, 10, 1);
execute p(9, 10, 1);
begin;
insert into lines values (10, 10, 10);
savepoint s;
insert into lines values (10, 11, 10);
rollback to s;
commit;
with w as (insert into lines values (11, 10, 10) returning note) select * from w;
create function total_of(text) returns bigint language plpgsql as $$
begin return (select sum(total) from orders where grp = $1); end $$;
update orders set total = total_of(grp) where k = 3 returning *;
update orders set total = total_of(grp) where k = 3 returning *;
delete from orders where total_of(grp) < 0;
select * from orders order by k;
select * from lines order by k, n;
"""


def test_colocated_tables(herd):
    """Shards do it when they have the rows, else this node. Names count, so one after the other."""
    logs = []
    for schema, distributed in (("one_after", False), ("the_other", True)):
        with herd.connect() as con:
            run = rules_herd.Run(con, schema)
            log = []
            for s in rules_herd.statements(COLOCATED):
                if not s.startswith("--herd "):
                    log.append((s, run.one(s)))
                elif distributed:
                    con.execute(s[len("--herd "):])
            logs.append(log)
            con.execute("drop schema %s cascade" % schema)
    for plain, other in zip(*logs):
        assert plain == other
