"""Whose rights count: views of other owners, policies below them, and those who try to get round."""
import psycopg
import pytest

import rules_herd

ROLES = ["rights_owner", "rights_user", "rights_other"]
TABLES = """
grant all on schema SCHEMA to rights_owner;
set role rights_owner;
create table t (k int primary key, a int, b text);
create table u (k int, x int, note text);
create table ref (id int primary key, name text);
--herd select create_distributed_table('t', 'k');
--herd select create_distributed_table('u', 'k', colocate_with => 't');
--herd select create_reference_table('ref');
insert into t select i, i % 7, 'b' || i % 5 from generate_series(1, 30) i;
insert into u select i, i * 2, 'n' || i from generate_series(1, 20) i;
insert into ref select i, 'r' || i from generate_series(0, 6) i;
create view v as select k, a, b from t where a < 4;
create view w as select t.k, t.b, u.x, r.name from t join u using (k) join ref r on r.id = t.a;
create view far as select t.k, u.k as uk, u.note from t join u on t.a = u.x;
create view total as select a, count(*) n, sum(k) s from t group by a;
create view who as select k, current_user me, session_user::text is not null s from t where k < 3;
create view hidden with (security_barrier) as select * from t where a < 2;
create view checked as select * from t where a < 4 with check option;
grant all on v, w, far, total, who, hidden, checked to rights_user;
reset role;
create table mine (k int, m text);
--herd select create_distributed_table('mine', 'k', colocate_with => 't');
insert into mine select i, 'm' || i from generate_series(1, 12) i;
alter table mine owner to rights_user;
set role rights_user;
"""


herd, same = rules_herd.fixtures(TABLES, ROLES)


def test_reads_through_views(same):
    same("""
select * from t;
select * from v order by k;
select * from v where k = 2;
select count(*), max(b) from v;
select * from w order by k;
select w.*, m.m from w join mine m using (k) order by k;
select v.k, m.m from v left join mine m on m.k = v.a order by 1, 2;
select * from far order by 1, 2;
select f.note, m.m from far f join mine m on m.k = f.uk order by 1, 2;
select * from total order by a;
select * from who order by k;
select * from hidden order by k;
select * from hidden where k = 8 and b like 'b%';
select k from v where exists (select from mine m where m.k = v.k) order by k;
select k, (select max(x) from w where w.k = v.k) from v order by k;
select m from mine where k in (select k from v) order by m;
select m from mine where k in (select a from v) order by m;
with recursive r as (select k, a from v where k = 1 union all
	select v.k, v.a from v join r on v.k = r.k + 1) select count(*) from r;
with x as materialized (select * from v) select count(*) from x a, x b where a.k = b.a;
select k, row_number() over (order by k) from v order by k;
select name, count(*) from w group by name order by name;
select k from v union select k from mine order by k;
select k from v order by k for update;
prepare p as select * from v where k = $1;
execute p(1);
execute p(8);
set plan_cache_mode = force_generic_plan;
execute p(8);
reset role;
set role rights_other;
execute p(8);
select * from v;
reset role;
set role rights_owner;
execute p(8);
revoke select on v from rights_user;
set role rights_user;
execute p(8);
select * from v;
""")


def test_the_owner_loses_his_rights(same):
    same("""
reset role;
alter table t owner to rights_other;
set role rights_user;
select count(*) from v;
select count(*) from total;
reset role;
grant select (k, a) on t to rights_owner;
set role rights_user;
select k from v order by k;
select count(*) from total;
reset role;
grant select on t to rights_owner;
set role rights_user;
select count(*) from v;
insert into v values (100, 1, 'x');
reset role;
grant insert on t to rights_owner;
set role rights_user;
insert into v values (100, 1, 'x');
update v set b = 'y' where k = 100;
""")


def test_writes_through_views(same):
    same("""
insert into v values (100, 1, 'x'), (101, 9, 'y');
insert into v select g, g % 3, 'g' from generate_series(200, 230) g;
insert into v select g, g % 3, 'g' from generate_series(2000, 2800) g;
insert into v select k + 300, k, m from mine;
insert into v values (100, 2, 'z') on conflict (k) do update set b = excluded.b || 'conflict' returning *;
insert into v values (1, 2, 'z'), (901, 1, 'n') on conflict do nothing;
update v set b = 'u' where k = 8 returning *;
update v set b = b || '!' where a = 1;
update v set b = m.m from mine m where m.k = v.k;
update v set b = m.m from mine m where m.k = v.a;
update v set b = (select max(m) from mine) where k < 3;
update v set k = 5000 where k = 100;
delete from v where k = 9;
delete from v using mine m where m.k = v.k and m.k > 10 returning v.k, m.m;
delete from v where k in (select k from mine where k < 3);
insert into checked values (6000, 9, 'no');
insert into checked values (6000, 1, 'yes');
update checked set a = 9 where k = 6000;
update checked set a = 2 where k = 6000 returning *;
update hidden set b = 'h' where k = 7 or k = 8 returning k;
delete from hidden where b = 'h';
merge into v using (values (3, 'mm'), (7001, 'nn')) s(k, b) on v.k = s.k when matched then update set b = s.b when not matched then insert values (s.k, 1, s.b);
with d as (delete from v where k = 3 returning *) select * from d;
begin;
insert into v values (7777, 1, 'tx');
insert into mine values (7777, 'tx');
select v.b, m.m from v join mine m using (k) where k = 7777;
savepoint s;
update v set b = 'later' where k = 7777;
rollback to s;
select b from v where k = 7777;
commit;
reset role;
select * from t order by k;
""")


@pytest.mark.parametrize("size", ["0", "1GB"])
def test_writes_that_read_views(same, size):
    """What is tied to the target by other columns than the key, in every place of a write."""
    same("""
--herd set citus.repartition_join_min_size = 'SIZE';
create table own (k int primary key, a int, n int);
--herd select create_distributed_table('own', 'k', colocate_with => 'none', shard_count => 5);
insert into own select i, i % 7, i from generate_series(1, 20) i;
select a, count(*), sum(k) from v group by a;
select count(distinct b), count(distinct a) from v;
update own set n = 0 where exists (select from v where v.a = own.a);
update own set n = 1 where a in (select a from v where k > 20) returning *;
update own set n = v.k from v where v.a = own.a and v.k < 4 returning own.*, v.b;
update own set n = (select max(k) from v where v.a = own.a);
update own set n = (select max(k) from hidden where hidden.a = own.a and b like 'b%') where k < 9 returning k, n;
update own set (n, a) = (select max(k), min(a) from v where v.a = own.a) where k > 15;
update own set n = t.n from total t where t.a = own.a;
with w as (select a, count(*) n from v group by a) update own set n = w.n from w where w.a = own.a returning own.*;
delete from own using v where v.a = own.n and own.k < 3 returning own.k;
delete from own where a = any (select a from hidden where k = 1);
insert into own select a + 100, a, k from v where k < 4;
insert into own select k, a, 1 from v where k < 12 on conflict (k) do nothing;
insert into own select k, a, 1 from v where k < 12 on conflict (k) do update set n = own.n + excluded.a returning *;
insert into own (k, n) select a + 200, count(*) from v group by a returning *;
insert into own select 300 + v.k, m.k, 2 from v join mine m on m.k = v.a where v.k < 9;
insert into own values (400, 1, (select count(*) from far)) returning n;
merge into own using v on v.a = own.n and v.k < 5 when matched then update set n = 5;
merge into own using (select a, count(*) n from v group by a) s on s.a = own.k when matched then update set n = s.n
	when not matched then insert values (s.a, 1, 1);
merge into own using v on v.k = own.k when matched and exists (select from total where total.a = own.a) then update set n = 9
	when not matched then insert values (v.k, v.a, 0);
delete from own where (select count(*) from v where v.a = own.a) > 3;
select * from own order by k;
select own.k from own where exists (select from v where v.a = own.n) order by k for update;
""".replace("SIZE", size))


def test_rules_triggers_and_functions(same):
    same("""
reset role;
create table log (k int, who text);
--herd select create_distributed_table('log', 'k');
alter table log owner to rights_owner;
create view ruled as select k, b from t;
alter view ruled owner to rights_owner;
create rule ins as on insert to ruled do instead insert into t values (new.k, 1, new.b);
create rule also as on insert to mine do also insert into log values (new.k, current_user);
grant all on ruled to rights_user;
create function mark() returns trigger language plpgsql as $$
begin new.b := new.b || current_user; return new; end $$;
create trigger mark before insert or update on t for each row execute function mark();
create function peek(text) returns text language plpgsql as $$
declare n text; begin n := current_user; return n || $1; end $$;
create function total_of() returns bigint language sql security definer as $$ select count(*) from t $$;
alter function total_of() owner to rights_owner;
set role rights_user;
insert into ruled values (500, 'r');
insert into ruled values (501, 'r'), (502, 's');
insert into mine values (600, 'm');
insert into mine values (601, 'm'), (602, 'm');
insert into v values (700, 1, 'v');
update v set b = 'w' where k = 700;
select k, b from v where k = 700;
select peek(b) from v where k in (1, 2) order by k;
select k from v where peek(b) = 'rights_userb1' order by k;
select total_of();
begin;
insert into v values (800, 1, 'sd');
select total_of();
rollback;
reset role;
select * from log order by k;
select * from t where k >= 500 order by k;
""")


def test_policies_below_views(same):
    same("""
reset role;
alter table t enable row level security;
alter table t force row level security;
create policy p1 on t to rights_owner using (a in (1, 2));
create policy p2 on t to rights_user using (a = 3);
create view inv with (security_invoker) as select * from t;
grant select on inv to rights_user;
set role rights_user;
select k, a from v order by k;
select * from v where k = 1;
select * from total order by a;
select count(*) from w;
select count(*) from inv;
insert into v values (100, 1, 'ok');
insert into v values (101, 3, 'no');
update v set a = 3 where k = 1;
update v set b = 'seen';
delete from v where k = 3;
reset role;
set role rights_owner;
select k, a from t order by k;
reset role;
drop policy p1 on t;
create policy p3 on t to rights_owner using (b = current_user or a = 0);
grant update on t to rights_owner;
set role rights_user;
select k, a, b from v order by k;
select * from t;
reset role;
grant select on t to rights_user;
set role rights_user;
select k, a from t order by k;
select k, a, b from v order by k;
""")


def test_values_of_types_of_users(same):
    same("""
reset role;
create type pair as (a int, b date);
create domain small as int check (value < 50);
create domain pairs as pair check ((value).a < 50);
create type span as range (subtype = int);
create table typed (k int, p pair, s small, r span, q pairs, l pair[]);
--herd select create_distributed_table('typed', 'k');
insert into typed select i, row(i, date '2026-02-03' + i)::pair, i, span(i, i + 3), row(i, null)::pairs,
  array[row(i, null)::pair] from generate_series(1, 12) i;
create view vt as select * from typed where k < 10;
alter view vt owner to rights_owner;
grant all on typed to rights_owner;
grant all on vt to rights_user;
set role rights_user;
set datestyle = 'SQL, DMY';
select k from vt where p = '(3,06/02/2026)'::pair;
select k, r from vt where r @> 4 and r <> '[4,7)'::span order by k;
select k from vt where s = '5'::small or q = '(6,)'::pairs or l = '{"(7,)"}'::pair[] order by k;
select k from vt where k = 3 and p > '(2,)'::pair;
select '(1,03/04/2026)'::pair x, '7'::small, k from vt where k = 2;
select k from vt where s = '70'::small;
update vt set p = '(60,07/08/2026)', s = 9::small, r = '[1,2)', l = '{}' where k = 4 returning p, s, r, l;
update vt set s = 77 where k = 4;
insert into vt values (5, '(5,09/10/2026)', 3, '[2,9)', '(1,)', '{"(1,)","(2,03/04/2026)"}');
insert into vt values (6, '(5,09/10/2026)', 3, '[2,9)', '(1,)'), (7, null, 4, 'empty', null);
insert into vt (k, s) values (8, 99);
delete from vt where r = 'empty'::span returning k;
select * from vt order by k, s, p;
""")


def test_schema_without_usage(same):
    same("""
reset role;
revoke all on schema SCHEMA from public;
create schema SCHEMA_open;
create view SCHEMA_open.v as select * from t where a < 4;
alter view SCHEMA_open.v owner to rights_owner;
grant usage on schema SCHEMA_open to public;
grant all on SCHEMA_open.v to rights_user;
set role rights_user;
select * from t;
select count(*) from SCHEMA_open.v;
select * from SCHEMA_open.v where k = 1;
update SCHEMA_open.v set b = 'open' where k = 1 returning *;
insert into SCHEMA_open.v values (900, 1, 'n');
select current_user;
reset role;
drop schema SCHEMA_open cascade;
""")


def test_nobody_sees_what_a_view_hides(herd):
    """Functions of the user in WHERE, shards on the workers, messages of nodes by hand."""
    with herd.connect() as con:
        con.execute("create schema steal; grant all on schema steal to public; "
                    "set search_path = steal; create table t (k int primary key, a int, b text); "
                    "select create_distributed_table('t', 'k'); "
                    "insert into t select i, i % 2, 'secret' || i from generate_series(1, 40) i; "
                    "create view v with (security_barrier) as select * from t where a = 0; "
                    "create view soft as select * from t where a = 0; "
                    "create view mine with (security_barrier) as select * from t "
                    "where b = 'secret' || case current_user when 'rights_user' then '1' else '2' end; "
                    "grant all on v, soft, mine to rights_user; "
                    "create table own (k int, a int); alter table own owner to rights_user")
        con.execute("select create_distributed_table('own', 'k', colocate_with => 't')")
        con.execute("insert into own select i, i % 5 from generate_series(1, 40) i")
    seen = []
    with herd.connect(user="rights_user") as thief:
        thief.add_notice_handler(lambda d: seen.append(d.message_primary))
        thief.execute("set search_path = steal")
        thief.execute("create function leak(text) returns bool language plpgsql cost 0.0000001 as "
                      "$$ begin raise notice 'leak %', $1; return true; end $$")
        thief.execute("create function tap(text) returns bigint language plpgsql as $$ "
                      "declare n bigint; s text; begin execute format('select count(*) from %s', $1) "
                      "into n; return n; exception when others then return -1; end $$")
        for sql in ["select k from v where leak(b)", "select k from v where leak(b) and k > 3",
                    "select count(*) from v where leak(b)", "update v set a = 0 where leak(b)",
                    "select v.k from v join own using (k) where leak(b)",
                    "select v.k from v join own on v.k = own.a where leak(b)",
                    "select k from v where k in (select a from own) and leak(b)",
                    "select a, count(*) from v where leak(b) group by a",
                    "delete from v where leak(b) and k = 2 returning k"]:
            thief.execute(sql)
            assert seen, sql
            assert not [s for s in seen if int(s[len("leak secret"):]) % 2], (sql, seen[:5])
            del seen[:]
        shards = thief.execute("select shard_name('t', shardid) from pg_dist_shard "
                               "where logicalrelid = 'steal.t'::regclass").fetchall()
        # the function of the user runs in the task that has the rights: it has not
        tapped = thief.execute("select tap('%s') from soft where k = 4" % shards[0][0]).fetchall()
        assert tapped == [(-1,)]
        for sql in ["select * from t", "select * from t_102008",
                    "select citus_internal.use_rights('{usage,steal,t,rights_owner}', 1, 0, "
                    "repeat('a', 64), repeat('a', 64))",
                    "select * from citus_internal.node_secret"]:
            with pytest.raises(psycopg.Error) as e:
                thief.execute(sql)
            assert e.value.sqlstate in ("42501", "42P01"), sql
        # a value whose check runs when it is read: when the rights have been forgotten
        thief.execute("create domain evil as int check (steal.tap('%s') = -1)" % shards[0][0])
        thief.execute("create type bag as (x evil)")
        rows = thief.execute("select k from v where (row(k)::bag) = '(4)'::bag").fetchall()
        assert rows == [(4,)]
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            thief.execute("prepare p(bag) as select k from v where (row(k)::bag) = $1; "
                          "set plan_cache_mode = force_generic_plan")
            thief.execute("execute p('(4)')")
        # another session of the same user must not take over a plan of somebody else
        assert thief.execute("select k from mine order by k").fetchall() == [(1,)]
    for node in (1, 2):
        with herd.connect_to_shards(node, user="rights_user") as thief:
            thief.execute("set search_path = steal")
            names = [r[0] for r in thief.execute(
                "select relname from pg_class where relname like 't\\_1%' "
                "and relnamespace = 'steal'::regnamespace and relkind = 'r'").fetchall()]
            assert names
            for name in names[:2]:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    thief.execute("select * from " + name)
            assert thief.execute("select count(*) from soft where a = 0").fetchone()[0] == 19
            assert thief.execute("select current_user").fetchone()[0] == "rights_user"
    with herd.connect(user="rights_other") as other:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("select * from steal.v")
    with herd.connect() as con:
        con.execute("set client_min_messages = error; drop schema steal cascade")
