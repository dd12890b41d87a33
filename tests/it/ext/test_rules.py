"""The rules of one PostgreSQL, one script for each: run on plain tables and on distributed ones."""
import psycopg
import pytest

import rules_herd

ROLES = ["rules_a", "rules_b"]
TABLES = """
create table t (k int primary key, a int, b text);
create table u (k int, x int, note text);
create table ref (id int primary key, name text);
create table loc (id int, note text);
--herd select create_distributed_table('t', 'k');
--herd select create_distributed_table('u', 'k', colocate_with => 't');
--herd select create_reference_table('ref');
insert into t select i, i % 7, 'b' || i % 5 from generate_series(1, 30) i;
insert into u select i, i * 2, 'n' || i from generate_series(1, 20) i;
insert into ref select i, 'r' || i from generate_series(0, 6) i;
insert into loc select i, 'l' || i from generate_series(0, 9) i;
"""


herd, same = rules_herd.fixtures(TABLES, ROLES)


def test_errors_name_the_users_objects(same):
    same("""
alter table t add constraint pos check (a >= 0);
create table fk (k int primary key references t, rid int references ref);
--herd select create_distributed_table('fk', 'k', colocate_with => 't');
create table a_table_with_a_name_that_is_as_long_as_it_can_be_in_postgres_x (k int primary key);
--herd select create_distributed_table('a_table_with_a_name_that_is_as_long_as_it_can_be_in_postgres_x', 'k');
insert into a_table_with_a_name_that_is_as_long_as_it_can_be_in_postgres_x values (1);
insert into a_table_with_a_name_that_is_as_long_as_it_can_be_in_postgres_x values (1);
insert into t values (1, 1, 'x');
insert into t values (1, 1, 'x'), (500, 1, 'x');
insert into t values (900, -1, 'x');
update t set a = -1 where k = 1;
insert into fk values (1, 1);
insert into fk values (2, 99);
insert into fk values (9999, 1);
delete from t where k = 1;
delete from ref where id = 1;
insert into ref values (1, 'twice');
alter table t alter b set not null;
insert into t values (901, 1, null);
update t set b = null where k = 1;
create unique index one on t (k, a);
grant select on u to rules_a;
set role rules_a;
select count(*) from t;
insert into u values (1);
update t set a = 1;
""")


def test_now_sequences_and_identity(same):
    same("""
create table s (k int primary key, at timestamptz default now(), n serial, x float default random());
--herd select create_distributed_table('s', 'k');
begin;
insert into s (k) values (1);
insert into s (k) values (2), (3), (4);
insert into s (k) select g from generate_series(5, 20) g;
select count(distinct at), count(*) filter (where at = now()) from s;
update s set at = now() where k = 1;
update s set at = now() where k > 10;
select count(distinct at), count(distinct now()) from s;
commit;
select currval('s_n_seq'), lastval(), count(distinct n), max(n), count(distinct x) from s;
select setval('s_n_seq', 500);
insert into s (k) values (30) returning n;
insert into s (k) values (31), (32) returning n;
create sequence seq;
select nextval('seq'), k from t where k = 5;
select nextval('seq') > 0, k from t where k < 5 order by k;
select currval('seq');
insert into u select k, nextval('seq'), 'x' from t where k < 4 returning k;
select min(x), max(x), count(distinct x) from u where note = 'x';
select setval('seq', 100) from t where k = 1;
select nextval('seq');
create table i (id bigint generated always as identity, k int, g int generated always as (k * 2) stored);
--herd select create_distributed_table('i', 'id');
insert into i (k) values (1), (2), (3) returning *;
insert into i (id, k) values (10, 1);
insert into i (id, k) overriding system value values (10, 1) returning *;
update i set k = k + 1 where id = 10 returning g;
update i set g = 3;
select id, k, g from i order by id;
select count(*) > 20 from (select distinct random() from t) q;
select set_config('my.setting', 'b1', false);
select count(*), min(current_setting('my.setting')) from t where b = current_setting('my.setting');
select set_config('my.setting', 'b2', false) from t where k = 1;
select current_setting('my.setting');
""")


def test_system_columns_are_the_tables(same):
    same("""
select tableoid::regclass from t where k = 1;
select distinct tableoid::regclass from t;
select distinct tableoid = 't'::regclass, 't'::regclass = tableoid from t;
select count(*) from t where tableoid = 't'::regclass;
select tableoid::regclass, count(*) from (select * from t) t2, lateral (select t2.k) l,
	u where u.k = l.k group by 1;
select count(ctid), count(xmin) from t where k = 1;
""")


def test_session_objects_stay_with_the_session(same):
    same("""
select pg_advisory_lock('t'::regclass::oid::int) from t where k = 1;
select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()
	and objid = 't'::regclass;
select pg_advisory_unlock('t'::regclass::oid::int);
select txid_current() = txid_current(), pg_backend_pid() =
	(select pg_backend_pid() from t where k = 1) from t where k = 1;
select current_user, session_user, current_schema, current_database() from t where k = 1;
""")


FUNCTIONS = """
create function how_many(i int) returns bigint language plpgsql stable as $$
begin return (select count(*) from t where a = i); end $$;
create function how_many_sql(i int) returns bigint language sql stable as
	'select count(*) from t where a = i';
create function note(i int) returns int language plpgsql as $$
begin insert into loc values (i, 'noted'); return i; end $$;
"""


def test_functions_that_read_tables(same):
    same(FUNCTIONS + """
select how_many(3), how_many_sql(3);
select k, how_many(k), how_many_sql(k) from u where k < 4 order by k;
select k, how_many(k) from u where k = 3;
select k from u where how_many(k) > 4 order by k;
select k from u where k = 3 and how_many(k) > 0;
select how_many(k), count(*) from u group by 1 order by 1;
select sum(how_many(x)) from u;
select k from u order by how_many(k), k limit 5;
select k, (select max(how_many(u.k)) from u where u.k = t.k) from t order by k limit 3;
update u set x = how_many(3) where k < 5;
update u set x = how_many(k);
select k, x from u order by k, x;
insert into u select k, how_many(k), 'f' from t where k < 5;
insert into u values (77, how_many(1), 'g') returning x;
update u set x = 0 where note = 'f' returning k, how_many(k);
select k, x from u where note in ('f', 'g') order by k;
select note(k) from t where k = 1;
select note(k) from t where k in (2, 3) order by 1;
select * from loc where note = 'noted' order by id;
""")


def test_row_triggers(same):
    same("""
create function changed() returns trigger language plpgsql as $$
begin
  raise notice '% % % % % % % %', tg_name, tg_when, tg_level, tg_op, tg_relname, tg_table_name,
    tg_argv[0], tg_relid = 't'::regclass;
  if tg_op = 'DELETE' then return old; end if;
  new.b := coalesce(new.b, '') || '+' || tg_op;
  return new;
end $$;
create trigger first before insert or update or delete on t for each row execute function changed('arg');
insert into t values (100, 1) returning k, a, b;
insert into t values (101, 1), (102, 2);
insert into t select g, g from generate_series(110, 115) g;
insert into t values (100, 7) on conflict (k) do update set a = excluded.a returning *;
update t set a = 3 where k = 100 returning b;
update t set a = a where k in (100, 101);
delete from t where k = 102;
select * from t where k >= 100 order by k;
alter trigger first on t rename to renamed;
update t set a = 4 where k = 1;
alter table t disable trigger renamed;
update t set a = 5 where k = 1;
alter table t enable trigger renamed;
update t set a = 5 where k = 1;
alter table t disable trigger all;
update t set a = 5 where k = 1;
alter table t enable trigger user;
create function skip() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger a_skip before update on t for each row when (new.a = 99 and old.* is distinct from new.*)
	execute function skip();
update t set a = 99 where k < 5;
update t set a = 98 where k < 3;
drop trigger a_skip on t;
create or replace trigger renamed before update of b on t for each row execute function skip();
update t set a = 1 where k < 5;
update t set b = 'no' where k < 5;
drop trigger renamed on t;
update t set b = 'yes' where k < 5;
create function touch() returns trigger language plpgsql as $$
begin new.b := case when now() = transaction_timestamp() then now()::text end; return new; end $$;
create trigger touch before update on t for each row execute function touch();
begin;
update t set a = 1;
select count(*) from t where b is distinct from now()::text;
rollback;
create table g (k int primary key, a int, twice int generated always as (a * 2) stored, check (a < 100));
--herd select create_distributed_table('g', 'k');
create function tenfold() returns trigger language plpgsql as $$
begin new.a := new.a * 10; return new; end $$;
create trigger tenfold before insert or update on g for each row execute function tenfold();
insert into g values (1, 2) returning *;
insert into g values (2, 50);
insert into g values (1, 3) on conflict (k) do update set a = 4 returning *;
select * from g order by k;
create trigger on_ref before insert or update on ref for each row execute function skip();
insert into ref values (50, 'never');
drop trigger on_ref on ref;
insert into ref values (50, 'now');
select count(*) from ref;
""")


def test_triggers_write_beside_the_row(same):
    same("""
create function audit() returns trigger language plpgsql as $$
begin
  insert into u values (new.k, new.a, 'audit ' || tg_op || coalesce(current_setting('my.who', true), '-'));
  return null;
end $$;
create trigger audit after insert or update of a on t for each row execute function audit();
update t set b = 'q' where k = 7;
update t set a = 7 where k = 7;
set my.who = 'somebody';
insert into t values (150, 1);
update t set a = 70 where k between 20 and 25;
begin;
set local my.who = 'other';
update t set a = 71 where k < 4;
reset my.who;
update t set a = 72 where k < 4;
savepoint s;
update t set a = 73 where k < 4;
rollback to s;
commit;
select k, x, note from u where note like 'audit%' order by k, x;
drop function audit() cascade;
update t set a = 80 where k < 4;
""")


def test_statement_triggers(same):
    same("""
create function says() returns trigger language plpgsql as $$
begin
  raise notice '% % % % %', tg_name, tg_when, tg_op, tg_table_name, (select count(*) from t);
  return null;
end $$;
create trigger s1 before update of a on t execute function says();
create trigger s2 after update or insert or delete on t execute function says();
create trigger s3 before insert on t execute function says();
create trigger s4 before truncate on t execute function says();
update t set a = 1 where k = 1;
update t set b = 'x' where k < 10;
insert into t values (170), (171);
insert into t select g from generate_series(1000, 1700) g;
insert into t values (170) on conflict (k) do update set a = 2;
delete from t where k = 170;
delete from t where k = 9999;
with d as (delete from t where k < 5 returning k) select count(*) from d;
truncate t;
create function fails() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
create trigger last after insert on t execute function fails();
insert into t values (1);
select count(*) from t;
""")


def test_triggers_and_rules_of_views(same):
    same("""
create view v as select k, a from t;
create function instead() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then insert into t values (new.k, new.a); return new; end if;
  if tg_op = 'UPDATE' then update t set a = new.a where k = old.k; return new; end if;
  delete from t where k = old.k; return old;
end $$;
create trigger i instead of insert or update or delete on v for each row execute function instead();
insert into v values (900, 1) returning *;
update v set a = 55 where k in (900, 1, 2);
delete from v where k = 900;
select k, a from t where a = 55 or k = 900 order by k;
create view r as select k, x from u;
create rule ins as on insert to r do instead insert into u values (new.k, new.x, 'rule') returning k, x;
create rule upd as on update to r do instead update u set x = new.x where k = old.k;
create rule del as on delete to r do instead (delete from u where k = old.k; delete from t where k = old.k);
insert into r values (800, 8) returning *;
update r set x = x + 1 where k = 800;
select * from u where k = 800;
delete from r where k in (800, 10);
select count(*) from t where k = 10;
""")


def test_rules_of_tables(same):
    same("""
create rule also as on insert to u do also insert into loc values (new.k, 'rule');
insert into u values (700, 1, 'r');
insert into u values (701, 1, 'r'), (702, 1, 'r');
select * from loc where note = 'rule' order by id;
create rule nothing as on update to u where old.x = 1 do instead nothing;
update u set note = 'changed' where k in (700, 701, 5);
select k, note from u where k in (700, 5) order by k;
create rule other as on delete to u do instead update t set b = 'gone' where k = old.k;
delete from u where k = 5;
delete from u where k < 4;
select k, b from t where b = 'gone' order by k;
alter table u disable rule other;
delete from u where k = 6;
alter rule also on u rename to also2;
drop rule also2 on u;
insert into u values (703, 1, 'r');
select count(*) from loc where note = 'rule';
create rule late as on insert to ref do instead nothing;
insert into ref values (70, 'x');
select count(*) from ref;
""")


def test_conditions_of_rules(same):
    same("""
create table mid (k int, note text);
create table high (k int, note text);
--herd select create_distributed_table('mid', 'k');
--herd select create_distributed_table('high', 'k', colocate_with => 'none');
create rule to_mid as on insert to u where new.k between 10 and 19 do instead insert into mid values (new.k, new.note);
create rule to_high as on insert to u where new.k >= 20 do also insert into high values (new.k, new.note || ' too');
create rule on_mid as on insert to mid where exists (select from ref where id = new.k - 12) do also
    insert into high values (new.k, (select name from ref where id = new.k - 12));
insert into u values (1, 1, 'one');
insert into u values (12, 1, 'twelve');
insert into u values (100, 1, 'hundred');
insert into u values (2, 1, 'two'), (13, 1, 'thirteen'), (101, 1, 'more');
insert into u select k + 5, x, note from u where k between 6 and 9;
prepare ins (int, text) as insert into u values ($1, 3, $2);
execute ins (3, 'three');
execute ins (14, 'fourteen');
execute ins (103, 'last');
execute ins (15, 'fifteen');
execute ins (104, 'very last');
execute ins (4, 'four');
execute ins (16, 'sixteen');
select * from u;
select * from mid;
select * from high;
create table log (k int, a int, b text, tag text);
--herd select create_distributed_table('log', 'k', colocate_with => 't');
create rule changes as on update to t do also insert into log values (old.*, 'old'), (new.*, 'new');
update t set a = a * 10 where k < 4;
update t set b = b || '!' where k = 7;
select * from log;
""")


def test_check_options(same):
    same("""
create view v as select * from t where a < 3 with check option;
insert into v values (310, 1, 'v');
insert into v values (311, 9, null);
insert into v values (312, 1, 'v'), (313, 9, repeat('long', 20));
insert into v select g, g % 2, 'c' from generate_series(320, 330) g;
update v set a = 5 where k = 310;
update v set a = 2 where k = 310 returning *;
update v set a = 9 where k = 2;
insert into v values (310, 1, 'dup') on conflict (k) do update set a = 9;
insert into v values (310, 1, 'dup') on conflict (k) do update set a = 1 returning *;
create view w as select * from v where k > 10 with local check option;
insert into w values (400, 1, 'x') returning b, k;
insert into w values (-5, 1, 'x');
insert into w values (401, 7, 'x');
delete from w where k > 300;
select count(*) from t;
create view barrier with (security_barrier) as select * from t where a = 2;
create function leak(text) returns bool language plpgsql immutable cost 0.0001 as $$
begin raise notice 'leak %', $1; return true; end $$;
update barrier set b = 'sb' where k < 10 and leak(b);
delete from barrier where leak(b) and k = 2;
select k, b from t where b = 'sb' order by k;
""")


def test_row_level_security(same):
    same("""
grant all on t, u, ref, loc to rules_a, rules_b;
alter table t enable row level security;
create policy p1 on t for select using (a = 1);
create policy p2 on t for insert with check (a = 1);
create policy p3 on t for update using (a in (1, 2)) with check (a < 3);
create policy p4 on t for delete to rules_b using (true);
set role rules_a;
select k, a from t order by k;
select * from t where k = 1;
select a from t where k = 2;
insert into t values (500, 1);
insert into t values (501, 2);
insert into t values (502, 1), (503, 2);
insert into t select g, 1 from generate_series(600, 610) g;
insert into t select g, 1 from generate_series(1600, 2210) g;
insert into t select g, 2 from generate_series(620, 630) g;
update t set a = 1 where k = 1;
update t set b = 'z';
select count(*) from t where b = 'z';
update t set a = 5 where k = 1;
delete from t;
select count(*) from t join loc on loc.id = t.a;
select count(*) from t join u using (k);
select count(*) from t join u on t.a = u.x;
select count(*) from u where exists (select from t where t.k = u.x);
reset role;
set role rules_b;
delete from t where k < 10;
reset role;
select count(*) from t;
alter policy p1 on t using (a = 2);
set role rules_a;
select count(*) from t;
reset role;
drop policy p1 on t;
create policy own on t using (b = current_user) with check (true);
update t set b = 'rules_a' where k % 5 = 0;
set role rules_a;
select k from t order by k;
select k from t where k = 15;
reset role;
drop policy own on t;
create policy setting on t using (b = current_setting('my.tenant', true));
update t set b = 'x' || a;
set role rules_a;
select count(*) from t;
set my.tenant = 'x3';
select count(*) from t;
select k from t where k = 24;
begin;
set local my.tenant = 'x5';
select count(*) from t;
select count(*) from t join u on u.x = t.a;
rollback;
select count(*) from t;
reset role;
set role rules_b;
set row_security = off;
select count(*) from t;
set row_security = on;
reset role;
alter table t owner to rules_b;
set role rules_b;
select count(*) from t;
alter table t force row level security;
select count(*) from t;
alter table t no force row level security;
reset role;
alter table t disable row level security;
set role rules_a;
select count(*) from t;
reset role;
create policy refs on t using (a in (select id from ref where name = 'r3'));
alter table t enable row level security;
set role rules_a;
select count(*) from t;
select count(*) from t where k = 24;
update t set b = 'refs';
select count(*) from t where k = 24;
reset role;
create table late (k int, who text);
alter table late enable row level security;
create policy q on late using (who = current_user);
grant all on late to rules_a;
--herd select create_distributed_table('late', 'k');
insert into late values (1, 'rules_a'), (2, 'rules_b'), (3, 'rules_a');
set role rules_a;
select * from late order by k;
""")


def test_policies_about_whole_rows(same):
    same("""
create table w (k int, s text);
--herd select create_distributed_table('w', 'k');
grant all on w to rules_a;
alter table w enable row level security;
create policy whole on w using (w is not null) with check (w = row(3, 'c')::w or w.k = 4);
set role rules_a;
insert into w values (3, 'c');
insert into w values (4, 'x');
insert into w values (5, 'x');
insert into w values (4, null);
select * from w;
reset role;
select * from w;
""")


def test_policies_hold_on_the_shards_too(herd):
    with herd.connect() as con:
        con.execute("create schema ps; grant usage on schema ps to public; "
                    "create table ps.t (k int, who text); grant all on ps.t to rules_a; "
                    "alter table ps.t enable row level security; "
                    "create policy own on ps.t using (who = current_user)")
        con.execute("select create_distributed_table('ps.t', 'k')")
        con.execute("insert into ps.t select g, 'rules_' || chr(97 + g % 2) "
                    "from generate_series(1, 40) g")
        seen = con.execute(
            "select sum(result::int) from run_command_on_shards('ps.t', "
            "'select count(*) from %s')").fetchone()[0]
        assert seen == 40
        with herd.connect(1, user="rules_a") as worker:
            shards = [r[0] for r in con.execute(
                "select shard_name('ps.t', shardid) from pg_dist_shard_placement "
                "join pg_dist_shard using (shardid) where logicalrelid = 'ps.t'::regclass "
                "and nodeport = %s", (herd.cluster.ports[1],)).fetchall()]
            assert shards
            for shard in shards:
                rows = worker.execute("select who from " + shard).fetchall()
                assert all(r == ("rules_a",) for r in rows)
            assert worker.execute("select count(*) from ps.t").fetchone() == (20,)
        con.execute("drop schema ps cascade")


def test_attached_objects_survive_undistribute(same):
    same("""
create function up() returns trigger language plpgsql as $$
begin new.b := upper(new.b) || '!'; return new; end $$;
create trigger up before insert on t for each row execute function up();
create rule twice as on insert to t do also insert into u values (new.k, 0, 'rule');
insert into t values (100, 1, 'abc');
--herd select undistribute_table('t');
select * from t where k < 4 or k > 99 order by k;
insert into t values (101, 1, 'abc');
select * from t where k > 99 order by k;
select count(*) from u;
""")


def test_cursors_do_not_see_later_writes(same):
    same("""
begin;
declare c cursor for select k, a from t where k = 8;
declare d cursor for select k, a from t order by k;
declare e cursor for select t.k, l.id from t join loc l on l.id = t.a order by 1, 2;
declare h cursor with hold for select k, a from t order by k;
fetch 2 from d;
savepoint s;
update t set a = 100;
insert into t select g, g from generate_series(1000, 1900) g;
delete from t where k > 20;
fetch all from c;
fetch 5 from d;
rollback to s;
update t set a = 101;
fetch all from d;
fetch all from e;
commit;
fetch 3 from h;
close h;
do $$
declare r record; n int := 0; s int := 0;
begin
  for r in select k, a from t order by k loop
    update t set a = a + 1000; s := s + r.a; n := n + 1;
  end loop;
  raise notice '% %', n, s;
end $$;
begin;
declare c scroll cursor for select t.k from t join loc on loc.id = t.a % 7 order by 1;
fetch last from c;
fetch absolute 5 from c;
fetch relative -2 from c;
fetch backward all from c;
commit;
""")


def test_row_locks_over_shards(same):
    same("""
begin;
select k from t where a < 3 order by k for update;
select t.k from t join loc on loc.id = t.a order by 1 for update of t;
select t.k, u.x from t join u on t.a = u.x order by 1, 2 for update;
select t.k, u.x from t join u using (k) where t.k < 4 order by 1 for share;
select t.k from t join ref on ref.id = t.a where t.k < 4 order by 1 for update;
select k from t order by k limit 3 for update skip locked;
select k from t order by k limit 3 for no key update nowait;
select * from (select k from t order by k limit 3 for update) q;
select count(*) from (select k from t for update) q;
with q as (select k from t where k < 5 for update) select count(*) from q;
select nextval('pg_dist_shardid_seq') > 0, k from t where k = 1 for update;
commit;
""")


def test_row_locks_are_taken(herd):
    with herd.connect() as con, herd.connect(autocommit=False) as holder:
        con.execute("create schema rl")
        con.execute("set search_path = rl")
        for s in rules_herd.statements(TABLES):
            con.execute(s[len("--herd "):] if s.startswith("--herd ") else s)
        holder.execute("set search_path = rl")
        holder.execute("select t.k from t join loc on loc.id = t.a where t.k = 3 for update of t")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            con.execute("select t.k from t join u on t.a = u.x where t.k in (3, 4) for update of t "
                        "nowait")
        assert con.execute("select t.k from t join loc on loc.id = t.a where t.k in (3, 4) "
                           "for update of t skip locked").fetchall() == [(4,)]
        holder.rollback()
        con.execute("drop schema rl cascade")


def test_samples(same):
    same("""
select count(*) from t tablesample bernoulli (100);
select count(*) from t tablesample system (100) where k = 1;
select count(*) from t tablesample bernoulli (100) join loc on loc.id = t.a;
select count(*) from t tablesample bernoulli (0) join loc on loc.id = t.a;
select count(*) from t tablesample bernoulli (100) repeatable (3) join u on t.a = u.x;
insert into t select g, g from generate_series(100, 1000) g;
select count(*) between 300 and 630 from t tablesample bernoulli (50) repeatable (7);
select (select count(*) from t tablesample bernoulli (50) repeatable (7)) =
	(select count(*) from t tablesample bernoulli (50) repeatable (7));
select count(*) between 1 and 900 from t tablesample system (50) repeatable (7);
""")


def test_types_of_users_change_everywhere(same):
    same("""
create type comp as (x int, y text);
create type mood as enum ('sad', 'happy');
create domain positive as int check (value > 0);
create table c (k int, c comp, m mood, p positive);
--herd select create_distributed_table('c', 'k');
insert into c select i, row(i, 'y')::comp, 'sad', i from generate_series(1, 9) i;
alter type mood add value 'ok' before 'happy';
alter type comp add attribute z int;
alter domain positive drop constraint positive_check;
insert into c values (98, row(1, 'a', 3), 'ok', -1), (99, null, 'happy', 1);
select * from c order by m, k;
update c set c.z = 5 where k = 3 returning c;
select (c).z, count(*) from c group by 1 order by 1;
alter type comp rename attribute z to zz;
select (c).zz from c where k = 98;
""")


def test_on_conflict_with_exclusion_constraints(same):
    same("""
create table ex (k int, v int, note text, constraint "Ex clude" exclude using btree (k with =, v with =));
--herd select create_distributed_table('ex', 'k');
create table rex (id int primary key, r int4range, constraint rex_r exclude using gist (r with &&));
--herd select create_reference_table('rex');
insert into ex values (1, 1, 'a'), (2, 1, 'b'), (3, 1, 'c');
insert into ex values (1, 1, 'x') on conflict on constraint "Ex clude" do nothing;
insert into ex values (1, 1, 'x'), (2, 2, 'x'), (7, 1, 'x'), (7, 1, 'y')
  on conflict on constraint "Ex clude" do nothing returning k, v;
insert into ex select g, 1, 's' from generate_series(1, 9) g
  on conflict on constraint "Ex clude" do nothing;
insert into ex select k, v, 't' from ex on conflict on constraint "Ex clude" do nothing;
insert into ex values (1, 1, 'x') on conflict on constraint "Ex clude" do update set note = 'u';
insert into ex values (1, 1, 'x');
insert into rex values (1, '[1,5)'), (2, '[5,9)');
insert into rex values (3, '[4,6)') on conflict on constraint rex_r do nothing;
insert into rex values (4, '[8,10)'), (5, '[9,10)') on conflict on constraint rex_r do nothing returning id;
insert into rex values (1, '[20,30)') on conflict on constraint rex_r do nothing;
prepare p(int, int) as insert into ex values ($1, $2) on conflict on constraint "Ex clude" do nothing;
execute p(1, 1);
execute p(1, 5);
execute p(1, 5);
alter table ex rename constraint "Ex clude" to other;
execute p(1, 5);
insert into ex values (1, 1, 'x') on conflict on constraint other do nothing;
select k, v from ex order by 1, 2;
select * from rex order by 1;
""")


def test_lock_table_locks_on_every_node(herd):
    with herd.connect() as con, herd.connect(1) as worker:
        con.execute("create schema lt; create table lt.t (k int)")
        con.execute("select create_distributed_table('lt.t', 'k')")
        con.execute("begin; lock table lt.t in share mode")
        worker.execute("set lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            worker.execute("insert into lt.t values (1)")
        assert worker.execute("select count(*) from lt.t").fetchone() == (0,)
        con.execute("commit")
        worker.execute("insert into lt.t values (1)")
        worker.execute("begin; lock table lt.t")
        con.execute("set lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            con.execute("select count(*) from lt.t")
        worker.execute("rollback")
        assert con.execute("select count(*) from lt.t").fetchone() == (1,)
        con.execute("drop schema lt cascade")


@pytest.mark.parametrize("statement, message", [
    ("create table plain (x int); create policy x on t using (a in (select x from plain))",
     "is not supported"),
])
def test_refused(herd, statement, message):
    with herd.connect(autocommit=False) as con:
        con.execute("create schema refused")
        con.execute("set search_path = refused")
        con.execute("create sequence q")
        for s in rules_herd.statements(TABLES + """
create function skip() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger s before delete on t execute function skip();
"""):
            con.execute(s[len("--herd "):] if s.startswith("--herd ") else s)
        with pytest.raises(psycopg.errors.FeatureNotSupported) as e:
            con.execute(statement)
        assert message in str(e.value) + str(e.value.diag.message_detail)


def test_sessions_and_transactions(same):
    same("""
do $$
declare n bigint; r record;
begin
  for r in select k from t where k < 4 order by k loop
    update t set a = a + 1 where k = r.k;
    insert into u values (r.k, 0, 'do');
  end loop;
  begin
    insert into t values (700), (701);
    insert into t values (1);
  exception when unique_violation then raise notice 'caught % %', sqlstate, sqlerrm;
  end;
  begin
    update t set a = 1 / 0;
  exception when division_by_zero then raise notice 'div';
  end;
  raise notice 'left % %', (select count(*) from t where k >= 700), (select count(*) from u);
end $$;
begin;
insert into t values (800), (801);
savepoint a;
delete from t where k in (800, 801);
rollback to a;
select count(*) from t where k >= 800;
savepoint b;
insert into t values (800);
rollback to b;
release a;
commit;
select count(*) from t where k >= 800;
prepare p as insert into u values ($1, 1, $2) returning *;
set plan_cache_mode = force_generic_plan;
execute p(901, 'prep');
execute p(902, 'prep');
deallocate p;
execute p(903, 'prep');
begin isolation level repeatable read read only;
select count(*) from t;
insert into t values (999);
rollback;
begin;
set transaction isolation level serializable, read only, deferrable;
select count(*) from t;
select count(*) from t where k = 1;
commit;
create temp table tmp (k int, note text);
insert into tmp select g, 'tmp' from generate_series(1, 10) g;
select count(*) from t join tmp using (k);
update t set b = tmp.note from tmp where tmp.k = t.k;
insert into tmp select k, b from t where k < 5;
delete from t using tmp where tmp.k = t.k and t.k > 8;
select count(*) from tmp;
drop table tmp;
with i as (insert into u values (950, 1, 'cte') returning k), d as (delete from u where note = 'prep' returning k), s as (update t set a = 5 where k = 3 returning k) select (select count(*) from i), (select count(*) from d), (select count(*) from s);
with d as (delete from u where note = 'do' returning *) insert into loc select k, note from d;
with l as (insert into loc values (1000, 'cte') returning id) insert into u select id, 0, 'fromloc' from l;
with l as (update loc set note = 'upd' where id = 1 returning id) select count(*) from t join l on l.id = t.a;
with recursive r as (select k, a from t where k = 1 union all select t.k, t.a from t join r on t.k = r.k + 1 where t.k < 8) select count(*) from r;
create materialized view mv as select a, count(*) n from t group by a;
insert into t values (1200, 1);
create unique index on mv (a);
refresh materialized view concurrently mv;
select * from mv order by a;
select t.k from t join mv on mv.a = t.a order by 1 limit 3;
""")


def test_rules_with_conflicts(same):
    same("""
create table h (k text primary key, c text);
--herd select create_distributed_table('h', 'k');
create table hv (k text, c text);
create rule hats as on insert to hv do instead insert into h values (new.k, new.c) on conflict (k)
	do update set c = 'Orange' where excluded.c <> 'forbidden' and h.* != excluded.* returning *;
insert into hv values ('a', 'b') returning *;
insert into hv values ('a', 'x') returning *;
insert into hv values ('a', 'forbidden') returning *;
select * from h;
""")


def test_set_constraints_all(same):
    same("""
create table ci (k int, id int, primary key (k, id), foreign key (k) references t deferrable);
create table cd (k int, id int, primary key (k, id), foreign key (k) references t deferrable initially deferred);
--herd select create_distributed_table('ci', 'k', colocate_with => 't');
--herd select create_distributed_table('cd', 'k', colocate_with => 't');
begin;
insert into ci values (100, 1);
rollback;
begin;
set constraints all deferred;
insert into ci values (100, 1);
insert into t values (100);
commit;
begin;
set constraints all deferred;
insert into ci values (101, 1);
commit;
begin;
insert into cd values (102, 1);
set constraints all immediate;
rollback;
begin;
insert into cd values (102, 1);
savepoint a;
set constraints all immediate;
rollback to a;
insert into t values (102);
set constraints all immediate;
insert into cd values (103, 1);
rollback;
begin;
savepoint a;
set constraints all immediate;
rollback to a;
insert into cd values (104, 1);
insert into t values (104);
commit;
do $$ begin set constraints all deferred; insert into ci values (105, 1); insert into t values (105); end $$;
select * from ci order by 1;
select * from cd order by 1;
""")
