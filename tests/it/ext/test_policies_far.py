"""Policies that shards cannot check: they read rows of other nodes. The same as on one PostgreSQL."""
import psycopg
import pytest

import rules_herd

ROLES = ["far_a", "far_b", "far_boss"]
TABLES = """
create table docs (id int primary key, team int, body text, n int default 7);
create table members (team int, usr text, level int default 1);
create table kinds (id int primary key, usr text);
create table one (id int primary key, team int);
--herd select create_distributed_table('docs', 'id');
--herd select create_distributed_table('members', 'usr', colocate_with => 'none');
--herd select create_reference_table('kinds');
--herd select create_distributed_table('one', null);
insert into docs select i, i % 6, 'd' || i from generate_series(1, 24) i;
insert into members select t, 'far_' || chr(97 + t % 3), t from generate_series(0, 5) t;
insert into kinds values (0, 'far_a'), (1, 'far_b'), (2, 'far_b'), (3, 'far_a');
insert into one select i, i % 6 from generate_series(1, 12) i;
grant all on docs, members, kinds, one to far_a, far_b, far_boss;
alter table docs enable row level security;
"""
MEMBERS = """
create policy p on docs using (exists
  (select 1 from members m where m.team = docs.team and m.usr = current_user));
"""

herd, same = rules_herd.fixtures(TABLES, ROLES)


def test_reads_of_local_tables(same):
    same("""
create table lists (team int, usr text);
--herd select citus_add_local_table_to_metadata('lists');
insert into lists values (1, 'far_a'), (2, 'far_b'), (3, 'far_a');
grant select on lists to far_a, far_b;
create policy p on docs using (team in (select l.team from lists l where l.usr = current_user));
set role far_a;
select * from docs order by id;
update docs set body = body || '!' where id < 8 returning *;
update docs set team = 2 where id = 1;
insert into docs values (100, 1, 'x') returning id;
insert into docs values (101, 2, 'x');
merge into docs d using kinds k on d.id = k.id when matched then update set n = 0;
delete from docs where id > 15 returning id;
reset role;
insert into lists values (2, 'far_a');
set role far_a;
select count(*), sum(n) from docs;
""")


def test_refused_reads(herd):
    with herd.connect() as con:
        con.execute("create schema refr; set search_path = refr")
        con.execute("create table t (k int); create table l (k int); create view v as select k from l")
        con.execute("create materialized view m as select 1 k; create temp view tv as select k from t")
        con.execute("select create_distributed_table('t', 'k')")
        for relation, detail, hint in (("l", "local table refr.l", "citus_add_local_table"),
                                       ("v", "local table refr.l", "citus_add_local_table"),
                                       ("m", "materialized view refr.m", "Use a view"),
                                       ("tv", "temporary view pg_temp", "into the policy")):
            with pytest.raises(psycopg.errors.FeatureNotSupported) as e:
                con.execute("create policy p on t using (k in (select k from %s))" % relation)
            assert detail in e.value.diag.message_detail and hint in e.value.diag.message_hint
        con.execute("create view w as select k from t; create view ww as select * from w")
        con.execute("create policy p on t using (k in (select k from ww))")
        with pytest.raises(psycopg.errors.FeatureNotSupported) as e:
            con.execute("create or replace view w as select k from l")
        assert "local table refr.l" in e.value.diag.message_detail
        con.execute("drop schema refr cascade")


VIEWS = """
create view mine as select m.team, m.level from members m where m.usr = current_user;
create view low with (security_barrier) as select team from mine where level < 5;
create view kind as select k.id, k.usr from kinds k;
grant select on %s to far_a, far_b;
revoke select on members, kinds from far_a, far_b;
create policy p on docs using (team in (select team from low));
create policy r on docs as restrictive using (not exists (select from kind where kind.id = docs.n));
"""


@pytest.mark.parametrize("rights", ["owner", "invoker"])
def test_views(same, rights):
    views = VIEWS % "mine, low, kind"
    if rights == "invoker":
        views += "".join("alter view %s set (security_invoker);\n" % v for v in ("mine", "low", "kind"))
        views += "grant select on members, kinds to far_a, far_b;\n"
    same(views + """
set role far_a;
select * from docs order by id;
select count(*), sum(id) from docs;
select a.id, b.id from docs a join docs b on a.id = b.team order by 1, 2;
update docs set body = body || '!' where id < 8 returning *;
update docs set team = 2 where id = 1;
update docs set n = 2 where id = 3;
insert into docs values (100, 3, 'x') returning id;
insert into docs values (101, 2, 'x');
insert into docs select i, 3, 'y' from generate_series(110, 115) i;
insert into docs values (3, 3, 'c') on conflict (id) do update set body = excluded.body, n = 8 returning *;
insert into docs values (3, 3, 'c1'), (120, 3, 'c2'), (121, 0, 'c3') on conflict (id) do update set body = excluded.body
  where docs.team in (select team from mine) returning *;
insert into docs values (3, 3, 'c1'), (120, 3, 'c2') on conflict (id) do update set body = excluded.body returning *;
insert into docs select i, 3, 'c3' from generate_series(118, 123) i on conflict (id) do update set
  body = docs.body || (select count(*) from mine), n = (select max(level) from mine) returning *;
insert into docs values (3, 3, 'd') on conflict (id) do update set team = 2;
insert into docs values (4, 3, 'd') on conflict (id) do update set body = 'e';
insert into docs values (3, 3, 'd'), (4, 3, 'd') on conflict (id) do update set body = 'e';
insert into docs values (3, 2, 'd') on conflict (id) do nothing;
insert into docs values (3, 3, 'd'), (122, 3, 'n') on conflict (id) do nothing returning *;
prepare up(int, int) as insert into docs values ($1, $2, 'p') on conflict (id) do update set body = excluded.body || docs.team returning id, body;
execute up(3, 3);
execute up(3, 2);
execute up(4, 3);
execute up(130, 3);
set plan_cache_mode = force_generic_plan;
execute up(3, 3);
execute up(3, 2);
execute up(4, 3);
execute up(131, 3);
reset plan_cache_mode;
merge into docs d using (values (3), (400)) v(id) on d.id = v.id when matched then update set n = 9
  when not matched then insert values (v.id, 3, 'm');
delete from docs where id > 15 and id < 100 returning id;
prepare q(int) as select id, body from docs where id = $1 or team = $1 order by id;
execute q(3);
reset role;
execute q(3);
insert into members values (2, 'far_a', 1);
set role far_a;
execute q(2);
select count(*), sum(n) from docs;
set role far_b;
select * from docs order by id;
reset role;
select count(*), sum(n) from docs;
create or replace view kind as select k.id, k.usr from kinds k where id < 0;
set role far_a;
update docs set n = 3 where id = 3 returning *;
reset role;
drop view kind cascade;
set role far_a;
select count(*), sum(n) from docs;
update docs set n = 2 where id = 9 returning *;
""")


def test_what_policies_read_is_dropped(same):
    """What is left of the policies is all that counts, on shards, too."""
    same("""
create view team as select team from members;
grant select on team to far_a;
create policy p on docs using (id < 20);
create policy r on docs as restrictive using (team in (select team from team where team < 3));
create policy k on docs as restrictive using (exists (select from kinds k where k.id = docs.team));
set role far_a;
select * from docs order by id;
reset role;
drop view team cascade;
set role far_a;
select * from docs order by id;
insert into docs values (0, 1) returning *;
reset role;
drop table kinds cascade;
set role far_a;
select * from docs order by id;
update docs set team = 5 where id = 1 returning *;
reset role;
create function loud() returns trigger language plpgsql as $$begin raise notice 'loud %', new.id; return new; end$$;
create trigger t before insert on docs for each row execute function loud();
insert into docs values (200, 1);
drop function loud() cascade;
insert into docs values (201, 1);
create function loud() returns trigger language plpgsql as $$begin raise notice 'loud %', new.id; return new; end$$;
insert into docs values (202, 1);
create table parts (id int, k int) partition by list (k);
create table parts1 partition of parts for values in (1);
create table parts2 partition of parts for values in (2);
--herd select create_distributed_table('parts', 'id');
create trigger t after insert on parts for each row execute function loud();
create trigger u after insert on parts2 for each row execute function loud();
insert into parts values (1, 1), (2, 2);
drop trigger t on parts;
insert into parts values (3, 1), (4, 2);
create trigger t after insert on parts for each row execute function loud();
drop function loud() cascade;
insert into parts values (5, 1), (6, 2);
""")


def test_views_on_the_table_itself(same):
    """Of rows that the policy's table has, on every node and after it is distributed anew."""
    same("""
create view leads as select team from one where id < 3;
grant select on leads to far_a;
create policy p on one using (team in (select team from leads));
alter table one enable row level security;
set role far_a;
select * from one order by id;
insert into one values (50, 1), (51, 5);
insert into one values (50, 1);
select * from one order by id;
reset role;
--herd select alter_distributed_table('docs', shard_count => 8);
set role far_a;
select count(*) from one;
""")


def test_reads(same):
    same(MEMBERS + """
select count(*) from docs;
set role far_a;
select * from docs order by id;
select * from docs where id = 3;
select * from docs where id = 4;
select count(*), sum(id) from docs;
select d, d.tableoid::regclass from docs d where id < 10 order by id;
select team, count(*), max(body) from docs group by team order by team;
select d.body, k.usr from docs d join kinds k on k.id = d.team order by 1;
select d.id, m.usr from docs d left join members m on m.team = d.team order by 1;
select m.team, d.id from members m left join docs d on d.team = m.team order by 1, 2;
select m.team, d is null from members m left join docs d on d.team = m.team order by 1, 2;
select count(*) from docs a join docs b on a.id = b.team;
select count(*) from members m where exists (select from docs d where d.team = m.level);
select id, (select count(*) from docs e where e.team = d.team) from docs d order by id;
select id from docs where team = 3 order by id for update;
select id from docs where team = 3 order by id limit 2 for share skip locked;
select id, row_number() over (partition by team order by id) from docs order by id;
select id from docs union select team from members order by 1;
with x as materialized (select * from docs) select count(*) from x a join x b using (team);
prepare q(int) as select id, body from docs where id = $1 or team = $1 order by id;
execute q(3);
execute q(4);
set plan_cache_mode = force_generic_plan;
execute q(3);
execute q(4);
reset plan_cache_mode;
reset role;
execute q(4);
set role far_b;
execute q(4);
set row_security = off;
select count(*) from docs;
reset row_security;
reset role;
revoke select on members from far_b;
set role far_b;
select count(*) from docs;
reset role;
alter table docs owner to far_boss;
set role far_boss;
select count(*) from docs;
alter table docs force row level security;
select count(*) from docs;
reset role;
alter role far_boss bypassrls;
set role far_boss;
select count(*) from docs;
reset role;
alter role far_boss nobypassrls;
alter table docs disable row level security;
set role far_a;
select count(*) from docs;
""")


def test_writes(same):
    same(MEMBERS + """
set role far_a;
insert into docs values (101, 3, 'mine');
insert into docs values (102, 4, 'not mine');
insert into docs values (103, 0, 'mine'), (104, 3, 'mine');
insert into docs values (105, 3, 'mine'), (106, 4, 'not mine');
insert into docs (id, body) values (107, 'nobody''s');
insert into docs select team + 200, team, 'copy' from members where usr = current_user;
insert into docs select team + 300, team, 'copy' from members;
insert into docs select team + 310, 4, 'none' from members where team > 100;
insert into docs (id, team) values (401, 3) returning *;
insert into docs (team, id) select 0, id + 500 from docs returning id, n;
insert into docs values (3, 3, 'again') on conflict (id) do update set body = excluded.body returning *;
insert into docs values (3, 3, 'again') on conflict do nothing;
insert into docs values (4, 3, 'other''s') on conflict (id) do update set body = excluded.body;
insert into docs values (4, 3, 'other''s') on conflict do nothing;
insert into docs values (4, 4, 'other''s') on conflict do nothing;
insert into docs values (3, 3, 'away') on conflict (id) do update set team = 4;
insert into docs values (6, 3, 'x'), (9, 0, 'y') on conflict (id) do update set n = docs.n + 1, body = excluded.body;
update docs set body = body || '!';
update docs set body = 'none' where team = 4;
update docs set team = 0 where team = 3;
update docs set team = 4 where id = 6;
update docs set team = 4 where id = 4;
update docs set team = 3 - team, n = n + 1 where id < 10 returning *;
update docs set team = null where id = 6;
update docs set body = body || k.usr from kinds k where k.id = docs.team;
update docs set body = m.usr from members m where m.team = docs.team returning docs.id, m.usr;
update docs set n = (select count(*) from members m where m.team = docs.team);
delete from docs where id = 3 returning id, team;
delete from docs where id = 4;
delete from docs using members m where m.team = docs.team and docs.id in (6, 7);
with d as (delete from docs where id > 400 returning *) select count(*), max(id) from d;
with i as (insert into docs values (601, 3, 'w') returning *) select i.id, i.team from i;
with i as (insert into docs values (602, 4, 'w') returning *) select i.id, i.team from i;
prepare u(int, int) as update docs set team = $2 where id = $1;
execute u(9, 0);
execute u(9, 4);
reset role;
select * from docs order by id;
set role far_b;
select count(*), min(team) from docs;
delete from docs;
reset role;
select count(*) from docs;
""")


def test_policies_of_several_kinds(same):
    same(MEMBERS + """
create policy r on docs as restrictive using (not exists
  (select from members m where m.usr <> current_user and m.level = docs.id % 7));
create policy w on docs for insert to far_b with check (n < (select max(level) from members));
create policy u on docs for update to far_b using (true) with check (team in (select team from members where level > 2));
set role far_a;
select id, team from docs order by id;
reset role;
set role far_b;
select id, team from docs order by id;
update docs set n = n + 1 returning id, n;
update docs set team = 1 where id = 20;
insert into docs values (701, 1, 'r', 4);
insert into docs values (709, 4, 'r', 4);
insert into docs values (713, 4, 'r', 9);
reset role;
alter policy p on docs using (team in (select team from members where usr = current_user and level > 1));
alter policy r on docs rename to rr;
set role far_a;
select id, team from docs order by id;
reset role;
drop policy rr on docs;
drop policy w on docs;
drop policy u on docs;
set role far_a;
select id, team from docs order by id;
reset role;
alter table members enable row level security;
create policy m on members using (level < 3);
set role far_a;
select id, team from docs order by id;
select count(*) from members m join docs using (team);
reset role;
alter table kinds enable row level security;
create policy k on kinds using (exists (select from members m where m.team = kinds.id and m.usr = kinds.usr));
alter table one enable row level security;
create policy o on one using (exists (select from members m where m.team = one.team and m.usr = current_user));
set role far_a;
select * from kinds order by id;
select * from one order by id;
update one set team = 0 where team = 0;
update one set team = 4;
insert into one values (50, 4);
insert into one values (51, 0) returning *;
insert into kinds values (9, 'x');
update kinds set usr = usr;
delete from one where id > 3;
select one.id, d.id from one join docs d using (team) order by 1, 2;
reset role;
select * from one order by id;
create policy loop on members using (exists (select from docs d where d.team = members.team));
set role far_a;
select * from docs;
""")


def test_leaks_triggers_and_functions(same):
    same(MEMBERS + """
create function leak(text) returns bool stable language plpgsql cost 0.0001 as $$
begin if $1 not like 'd%' or $1 in ('d1', 'd4') then raise notice 'saw %', $1; end if; return true; end $$;
create function teams() returns bigint language sql security definer as 'select count(*) from docs';
create function mine() returns bigint language sql stable as 'select count(*) from docs';
create view theirs as select * from docs;
create view own with (security_invoker) as select * from docs;
create view barred with (security_barrier) as select * from docs where n = 7;
alter view theirs owner to far_b;
grant select, update on theirs, own, barred to far_a;
set role far_a;
select id from docs where leak(body) order by id;
select teams(), mine();
select count(*) from theirs;
select count(*) from own;
select count(*) from barred;
select t.id, d.id from theirs t join docs d on t.team = d.team + 1 order by 1, 2;
select count(*) from theirs t, own o where t.id = o.id;
update own set n = 9 where id = 12 returning id;
update theirs set n = 9 where id = 13 returning id;
reset role;
create function stamp() returns trigger language plpgsql as $$
begin new.body := new.body || '+'; if new.id = 803 then new.team := 4; end if; return new; end $$;
create trigger stamp before insert or update on docs for each row execute function stamp();
set role far_a;
insert into docs values (801, 3, 's');
insert into docs values (802, 4, 's');
insert into docs values (803, 3, 's');
update docs set team = 0 where id = 801 returning *;
update docs set team = 4 where id = 801;
reset role;
select * from docs where id > 700 order by id;
""")


def test_merge(same):
    same(MEMBERS + """
set role far_a;
merge into docs using kinds k on k.id = docs.id when matched then update set body = body || '!' when not matched then insert values (k.id + 100, 3, 'new');
merge into docs using (values (3), (9), (101)) s(id) on s.id = docs.id when matched then update set body = body || '!' when not matched then insert values (s.id, 3, 'new');
merge into docs using (values (4), (9)) s(id) on s.id = docs.id when matched then update set body = body || '!';
merge into docs using (values (4)) s(id) on s.id = docs.id when not matched then insert values (s.id, 3, 'taken');
merge into docs using (values (102)) s(id) on s.id = docs.id when not matched then insert values (s.id, 4, 'not mine');
merge into docs using (values (103)) s(id) on s.id = docs.id when not matched then insert (id) values (s.id);
merge into docs using (values (3)) s(id) on s.id = docs.id when matched then update set team = 4;
merge into docs using (values (3)) s(id) on s.id = docs.id when matched then update set team = 3 - team, id = docs.id + 500;
merge into docs using (values (503), (101)) s(id) on s.id = docs.id when matched and s.id = 101 then delete when matched then update set id = 3, n = (select count(*) from members m where m.team = docs.team);
merge into docs using members m on m.team = docs.team when matched and docs.id < 12 then update set body = m.usr when matched then do nothing;
prepare m(int, int) as merge into docs using (select $1 as id, $2 as team) s on s.id = docs.id when matched then update set team = s.team when not matched then insert values (s.id, s.team);
execute m(9, 0);
execute m(9, 4);
execute m(120, 0);
execute m(121, 4);
reset role;
select * from docs order by id;
create policy u on docs for update using (n < (select 8 + max(level) from members));
create policy d on docs for delete using (false);
create policy r on docs as restrictive for update using (id < (select count(*) * 3 from members));
create policy rd on docs as restrictive for delete using (id < (select count(*) from members));
set role far_a;
merge into docs using (values (9), (15)) s(id) on s.id = docs.id when matched then update set n = n + 1;
merge into docs using (values (21)) s(id) on s.id = docs.id when matched then update set n = n + 1;
merge into docs using (values (9)) s(id) on s.id = docs.id when matched then delete;
merge into docs using (values (3)) s(id) on s.id = docs.id when matched and docs.n > 100 then delete when matched then update set body = 'm';
merge into docs using (values (3), (3)) s(id) on s.id = docs.id when matched then delete;
merge into docs using (values (3)) s(id) on s.id = docs.id when matched then delete;
reset role;
set role far_b;
merge into docs using (select * from docs) s on s.id = docs.id when matched then update set body = s.body || '?';
reset role;
select * from docs order by id;
alter table kinds enable row level security;
create policy k on kinds using (exists (select from members m where m.team = kinds.id and m.usr = kinds.usr));
set role far_a;
merge into kinds using members m on m.team = kinds.id when matched then update set usr = m.usr when not matched then insert values (m.team, m.usr);
merge into kinds using members m on m.team = kinds.id when matched then update set usr = 'x';
merge into kinds using (values (7)) m(team) on m.team = kinds.id when not matched then insert values (m.team, 'far_a');
reset role;
select * from kinds order by id;
""")


def test_generated_columns(same):
    same("""
alter table docs add g int generated always as (team + n) stored;
create policy p on docs using (exists (select 1 from members m where m.team = docs.g - 7 and m.usr = current_user));
set role far_a;
select * from docs order by id;
insert into docs values (3, 3, 'a') on conflict (id) do update set body = excluded.body returning *;
insert into docs values (3, 3, 'a') on conflict (id) do update set team = 2, n = 8 returning *;
insert into docs values (3, 3, 'a') on conflict (id) do update set team = 4;
insert into docs values (3, 3, 'a', 9) on conflict (id) do update set team = 3;
insert into docs values (4, 3, 'a') on conflict (id) do update set team = 3;
insert into docs values (101, 0), (102, 3) on conflict (id) do nothing returning *;
insert into docs (id, body) values (103, 'b') on conflict (id) do update set n = 1;
update docs set team = 1, n = 6 where id = 6 returning *;
update docs set team = 1, n = 7 where id = 6;
merge into docs using (values (9, 0, 10), (104, 2, 8)) s(id, team, n) on s.id = docs.id when matched then update set team = s.team, n = s.n when not matched then insert values (s.id, s.team, 'm', s.n);
merge into docs using (values (9, 1)) s(id, n) on s.id = docs.id when matched then update set n = s.n;
merge into docs using (values (105, 1)) s(id, n) on s.id = docs.id when not matched then insert (id, n) values (s.id, s.n);
merge into docs using (values (9, 1)) s(id, n) on s.id = docs.id when matched then update set (team, n) = (select 3, 7 from kinds where kinds.id = s.n);
reset role;
select * from docs order by id;
""")


def test_merge_of_several_roles(same):
    same("""
create policy a on docs to far_a using (team in (0, 3)) with check (team < 4);
create policy b on docs to far_b using (team = 1);
create view theirs as select * from docs;
alter view theirs owner to far_b;
grant all on theirs to far_a;
set role far_a;
merge into docs using theirs t on t.id = docs.id + 4 when matched then update set body = t.body when not matched then insert values (t.id + 200, 2, t.body);
merge into docs using theirs t on t.id = docs.id when not matched then insert values (t.id + 300, 5, t.body);
merge into docs using theirs t on t.id = docs.id + 4 when matched and t.id < 10 then delete when matched then update set team = 5;
reset role;
select * from docs order by id;
""")


def test_colocation_makes_them_near_and_far(same):
    same("""
create table notes (team int, note text);
insert into notes select t, 'n' || t from generate_series(0, 5) t;
create table crew (team int, usr text);
insert into crew select t, 'far_' || chr(97 + t % 3) from generate_series(0, 5) t;
--herd select create_distributed_table('notes', 'team', colocate_with => 'none');
--herd select create_distributed_table('crew', 'team', colocate_with => 'none');
grant all on notes, crew to far_a;
alter table notes enable row level security;
create policy p on notes using (exists (select from crew c where c.team = notes.team and c.usr = current_user));
set role far_a;
select * from notes order by team;
reset role;
--herd select update_distributed_table_colocation('crew', colocate_with => 'notes');
set role far_a;
select * from notes order by team;
insert into notes values (3, 'x');
insert into notes values (4, 'x');
reset role;
--herd select update_distributed_table_colocation('crew', colocate_with => 'none');
set role far_a;
select * from notes order by team, note;
insert into notes values (4, 'x');
reset role;
--herd select alter_distributed_table('notes', shard_count => 4);
set role far_a;
select * from notes order by team, note;
reset role;
--herd select undistribute_table('notes');
set role far_a;
select * from notes order by team, note;
""")


def test_who_logs_in_to_a_worker(herd):
    with herd.connect() as con:
        con.execute("create schema direct; set search_path = direct")
        con.execute("grant usage on schema direct to public")
        for s in rules_herd.statements(TABLES + MEMBERS):
            con.execute(s[len("--herd "):] if s.startswith("--herd ") else s)
        con.execute("create policy r on docs as restrictive using "
                    "(not exists (select from members where level = docs.id))")
        con.execute("create policy all_team_2 on docs using (team = 2)")
        shards = con.execute(
            "select shard_name('docs', shardid) from pg_dist_shard_placement "
            "join pg_dist_shard using (shardid) where logicalrelid = 'docs'::regclass "
            "and nodeport = %s", (herd.cluster.ports[1],)).fetchall()
        con.execute("set role far_a")
        rows = con.execute("select id from docs order by 1").fetchall()
        with con.cursor().copy("copy docs to stdout") as out:
            assert len(list(out.rows())) == len(rows) > 3
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="COPY FROM"):
            with con.cursor().copy("copy docs from stdin") as out:
                out.write("901\t3\tx\t1\n")
        con.execute("reset role")
        with herd.connect(1, user="far_a") as worker:
            assert shards
            assert worker.execute("select id from direct.docs order by 1").fetchall() == rows
            for (shard,) in shards:
                assert worker.execute("select * from " + shard).fetchall() == []
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                    worker.execute("insert into %s values (1, 2, 'x')" % shard)
        con.execute("drop schema direct cascade")


def test_several_roles_in_one_statement(same):
    same("""
create policy a on docs to far_a using (team in (0, 3)) with check (team < 4);
create policy b on docs to far_b using (team = 1);
create policy boss on docs to far_boss using (true);
create view theirs as select * from docs;
create view boss as select team, count(*) n from docs group by team;
create view own with (security_invoker) as select * from docs;
create view barred with (security_barrier) as select * from docs where n > 0;
alter view theirs owner to far_b;
alter view boss owner to far_boss;
alter view barred owner to far_b;
grant all on theirs, boss, own, barred to far_a;
create function teams() returns bigint language sql security definer as 'select count(*) from docs d join own using (id)';
set role far_a;
select d.id, t.id from docs d full join theirs t using (id) order by 1, 2;
select d.id, t.id from docs d join theirs t on t.id = d.id + 1 order by 1;
select id, (select n from boss b where b.team = d.team) from docs d order by id;
select count(*) from docs where team in (select team from boss where n > 3);
select count(*) from docs a, own b, theirs c, barred d where a.id = b.id and c.id = d.id;
select d, t from docs d, theirs t where d.id = 3 and t.id = 7;
select id from docs union all select id from theirs order by 1;
select id from docs where id = 3 union all select id from theirs where id in (3, 7) order by 1;
update docs set body = 't' from theirs t where t.id = docs.id + 4 returning docs.id;
update docs set team = 5 where id in (select id - 1 from theirs);
update docs set team = 2 where id in (select id - 1 from theirs) returning *;
update theirs set n = 5 where exists (select from docs) returning id;
update barred set n = 6 where id in (select id + 4 from docs) returning id;
with d as (delete from docs where id = 3 returning id) select d.id, t.id from d, theirs t order by 2;
select teams();
reset role;
select * from docs order by id;
""")


def test_on_conflict_of_rows_that_change_on_the_way(herd):
    with herd.connect() as con:
        con.execute("drop schema if exists onway cascade; create schema onway; grant usage on schema onway to public;"
                    "set search_path = onway;" + TABLES.replace("--herd ", "") + MEMBERS)
        con.execute("create function same() returns trigger language plpgsql as 'begin return new; end'")
        con.execute("create trigger s before update on docs for each row execute function same()")
        con.execute("set role far_a")
        con.execute("insert into docs values (100, 3, 'mine')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            con.execute("insert into docs values (101, 4, 'not mine')")
        with pytest.raises(psycopg.errors.FeatureNotSupported) as e:
            con.execute("insert into docs values (100, 3, 'mine') on conflict (id) do update set body = 'x'")
        assert "BEFORE row triggers" in e.value.diag.message_detail
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="BEFORE row triggers"):
            con.execute("merge into docs using kinds k on k.id = docs.id when matched then update set body = 'x'")
        con.execute("reset role; set client_min_messages = error; drop schema onway cascade")
