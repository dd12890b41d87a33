"""Policies that read other tables: the same rows as on one PostgreSQL, by every way to them."""
import psycopg
import pytest

import rules_herd

ROLES = ["policy_a", "policy_b", "policy_boss"]
TABLES = """
create table docs (tenant int, id int, body text, primary key (tenant, id));
create table members (tenant int, usr text, level int default 1);
create table kinds (id int primary key, usr text);
--herd select create_distributed_table('docs', 'tenant');
--herd select create_distributed_table('members', 'tenant', colocate_with => 'docs');
--herd select create_reference_table('kinds');
insert into docs select t, i, 'd' || t || '-' || i from generate_series(1, 12) t, generate_series(1, 3) i;
insert into members select t, 'policy_' || chr(97 + t % 3) from generate_series(1, 12) t;
insert into kinds values (1, 'policy_a'), (2, 'policy_b');
grant all on docs, members, kinds to policy_a, policy_b, policy_boss;
alter table docs enable row level security;
"""
MEMBERS = """
create policy p on docs using (exists
  (select 1 from members m where m.tenant = docs.tenant and m.usr = current_user));
"""

herd, same = rules_herd.fixtures(TABLES, ROLES)


def test_reads_and_writes_of_several_roles(same):
    same(MEMBERS + """
set role policy_a;
select * from docs order by tenant, id;
select * from docs where tenant = 3;
select * from docs where tenant = 4;
select count(*), sum(tenant) from docs;
select d.body, k.usr from docs d join kinds k on k.id = d.id order by 1;
select count(*) from docs a join docs b on a.id = b.id;
select count(*) from members m where exists (select from docs d where d.tenant = m.level + 2);
insert into docs values (3, 10, 'mine');
insert into docs values (4, 10, 'not mine');
insert into docs values (3, 11, 'mine'), (6, 11, 'mine');
insert into docs values (3, 12, 'mine'), (4, 12, 'not mine');
insert into docs select tenant, 20, 'copy' from members where usr = current_user;
insert into docs select tenant, 21, 'copy' from members;
insert into docs values (3, 1, 'again') on conflict (tenant, id) do update set body = excluded.body;
insert into docs values (4, 1, 'again') on conflict (tenant, id) do update set body = excluded.body;
update docs set body = body || '!';
update docs set body = 'none' where tenant = 4;
update docs set body = body || k.usr from kinds k where k.id = docs.id;
delete from docs where id = 3 returning tenant, id;
with d as (delete from docs where id = 2 returning *) select count(*) from d;
reset role;
select * from docs order by tenant, id;
set role policy_b;
select count(*), min(tenant) from docs;
reset role;
set role policy_boss;
select count(*) from docs;
reset role;
alter policy p on docs using (tenant in (select tenant from members where usr = current_user and level > 1));
update members set level = 2 where tenant < 5;
set role policy_a;
select distinct tenant from docs order by 1;
reset role;
create policy r on docs as restrictive using (not exists
  (select from kinds k where k.id = docs.tenant and k.usr <> current_user));
create policy counts on docs for select
  using ((select count(*) from members where members.tenant = docs.tenant) > 1);
insert into members values (5, 'policy_x'), (7, 'policy_x');
set role policy_b;
select tenant, count(*) from docs group by 1 order by 1;
reset role;
drop policy counts on docs;
select polname from pg_policy where polrelid = 'docs'::regclass order by 1;
""")


def test_transactions_prepared_and_views(same):
    same(MEMBERS + """
prepare q as select count(*), max(tenant) from docs;
prepare one(int) as select body from docs where tenant = $1 and id = 1;
set role policy_a;
execute q;
execute one(3);
execute one(4);
reset role;
execute q;
set role policy_b;
execute q;
execute one(3);
execute one(4);
reset role;
begin;
update members set usr = 'policy_a' where tenant = 4;
insert into members values (5, 'policy_a');
set local role policy_a;
select distinct tenant from docs order by 1;
insert into docs values (5, 50, 'new'), (4, 50, 'new');
rollback;
set role policy_a;
select distinct tenant from docs order by 1;
reset role;
create view theirs as select * from docs;
create view own with (security_invoker) as select * from docs;
alter view theirs owner to policy_b;
grant select on theirs, own to policy_a;
set role policy_a;
select distinct tenant from theirs order by 1;
select distinct tenant from own order by 1;
select count(*) from theirs join members using (tenant) where usr = current_user;
reset role;
create function leak(text) returns bool language plpgsql cost 0.0001 as $$
begin raise notice 'saw %', $1; return true; end $$;
set role policy_a;
select tenant, id from docs where leak(body) and tenant in (3, 4) order by 1, 2;
set row_security = off;
select count(*) from docs;
reset row_security;
reset role;
revoke select on members from policy_a;
set role policy_a;
select count(*) from docs where tenant = 3;
reset role;
alter table members enable row level security;
create policy m on members using (level < 3);
grant select on members to policy_a;
update members set level = 3 where tenant = 3;
set role policy_a;
select distinct tenant from docs order by 1;
reset role;
drop table members;
drop table members cascade;
set role policy_a;
select count(*) from docs;
""")


def test_distributed_with_policies_and_back(same):
    same(MEMBERS + """
create table late (tenant int, note text);
insert into late select t, 'n' from generate_series(1, 12) t;
alter table late enable row level security;
create policy q on late using (tenant in (select m.tenant from members m where m.usr = current_user));
grant all on late to policy_a;
--herd select create_distributed_table('late', 'tenant', colocate_with => 'members');
set role policy_a;
select tenant from late order by 1;
reset role;
--herd select alter_distributed_table('docs', shard_count => 4, cascade_to_colocated => true);
set role policy_a;
select tenant from late order by 1;
select distinct tenant from docs order by 1;
insert into docs values (4, 60, 'x');
reset role;
--herd select undistribute_table('late');
set role policy_a;
select tenant from late order by 1;
insert into late values (3, 'y');
insert into late values (4, 'y');
""")


def test_columns_dropped_before(same):
    same("""
create table notes (gone int, tenant int, lost text, note text);
alter table notes drop column gone, drop column lost;
create table crew (x text, y int, usr text, tenant int, level int);
alter table crew drop column x, drop column y;
create table mixed (a int, tenant int, b text);
alter table mixed drop column a;
--herd select create_distributed_table('notes', 'tenant', colocate_with => 'docs');
--herd select create_distributed_table('crew', 'tenant', colocate_with => 'docs');
--herd select create_distributed_table('mixed', 'tenant', colocate_with => 'docs');
insert into notes select t, 'n' || t from generate_series(1, 12) t;
insert into crew select 'policy_' || chr(97 + t % 3), t, t % 4 from generate_series(1, 12) t;
insert into mixed select t, 'm' from generate_series(1, 12) t;
grant all on notes, crew, mixed to policy_a;
alter table notes enable row level security;
create policy p on notes using (exists (select from crew c where c.tenant = notes.tenant and c.usr = current_user));
create policy r on notes as restrictive using (tenant in (select c.tenant from crew c where
  c.tenant = notes.tenant and (select max(d.level) from crew d where d.tenant = c.tenant) < 3) and notes is not null);
alter table mixed enable row level security;
create policy q on mixed using (exists (select from crew c, notes n where c.tenant = mixed.tenant
  and n.tenant = c.tenant and n.note > 'n3' and c.level > 0));
set role policy_a;
select * from notes order by tenant;
select * from mixed order by tenant;
insert into notes values (9, 'mine');
insert into notes values (4, 'not mine');
update notes set note = note || '!' returning *;
reset role;
alter table crew add column more int default 5;
alter table crew drop column level cascade;
alter policy p on notes using (exists (select from crew c where c.tenant = notes.tenant and c.usr = current_user and c.more = 5));
set role policy_a;
select * from notes order by tenant, note;
""")


def distributed(con, schema, extra=""):
    con.execute("create schema %s; set search_path = %s" % (schema, schema))
    con.execute("grant usage on schema %s to public" % schema)
    for s in rules_herd.statements(TABLES + extra):
        con.execute(s[len("--herd "):] if s.startswith("--herd ") else s)


def test_who_logs_in_to_a_worker(herd):
    with herd.connect() as con:
        distributed(con, "direct", MEMBERS)
        shards = con.execute(
            "select shard_name('docs', shardid) from pg_dist_shard_placement "
            "join pg_dist_shard using (shardid) where logicalrelid = 'docs'::regclass "
            "and nodeport = %s", (herd.cluster.ports[1],)).fetchall()
        with herd.connect(1, user="policy_a") as worker:
            seen = {r[0] for (shard,) in shards
                    for r in worker.execute("select tenant from " + shard).fetchall()}
            assert seen and seen <= {3, 6, 9, 12}
            rows = worker.execute("select distinct tenant from direct.docs order by 1").fetchall()
            assert [r[0] for r in rows] == [3, 6, 9, 12]
        con.execute("drop schema direct cascade")


@pytest.mark.parametrize("statement, message", [
    ("create policy x on docs using (id in (select id from plain))", "policy \"x\""),
    ("create policy x on docs using (tableoid = 'docs'::regclass)", "policy \"x\""),
    ("alter table docs add check (tableoid = 'docs'::regclass)", "tableoid in constraint"),
    ("create table span (r int4range, exclude using gist (r with &&)); "
     "select create_distributed_table('span', 'r')", "cannot create constraint"),
    ("create table gen (tenant int, o oid generated always as (tableoid) stored); "
     "select create_distributed_table('gen', 'tenant')", "tableoid in generated column \"o\""),
    (MEMBERS + "; select undistribute_table('members')", "cannot undistribute table \"members\""),
])
def test_refused(herd, statement, message):
    with herd.connect(autocommit=False) as con:
        distributed(con, "refused")
        con.execute("create table plain (id int)")
        with pytest.raises((psycopg.errors.FeatureNotSupported,
                            psycopg.errors.InvalidTableDefinition)) as e:
            con.execute(statement)
        assert message in str(e.value)
