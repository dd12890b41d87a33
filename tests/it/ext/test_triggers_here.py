"""Triggers that fire where a statement is planned, with rows of the shards: as on plain tables."""
import pytest

import rules_herd

TABLES = """
create table t (k int primary key, a int, b text, f float8, at timestamptz, r int4range, j jsonb);
create table audit (id int, what text, k int, old text, new text);
create table counts (name text primary key, n bigint);
create table ref (id int primary key, name text);
create table loc (id int, note text);
--herd select create_distributed_table('t', 'k');
--herd select create_distributed_table('audit', 'id', colocate_with => 'none');
--herd select create_distributed_table('counts', 'name', colocate_with => 'none');
--herd select create_reference_table('ref');
insert into t select i, i % 7, 'b' || i % 5, i / 3.0, '2024-01-01'::timestamptz + i * interval '1 h 7 s',
	int4range(i, i + 3), jsonb_build_object('i', i, 'x', 'a "q"') from generate_series(1, 30) i;
insert into ref select i, 'r' || i from generate_series(0, 6) i;
insert into counts values ('t', 0), ('ref', 0), ('one', 0);
create function show() returns trigger language plpgsql as $$
declare o text; n text;
begin
  if tg_op in ('UPDATE', 'DELETE') then
    select string_agg(x::text, '; ' order by x::text) into o from oldt x;
  end if;
  if tg_op in ('UPDATE', 'INSERT') then
    select string_agg(x::text, '; ' order by x::text) into n from newt x;
  end if;
  raise notice '% % % % % old: % new: %', tg_name, tg_level, tg_op, tg_table_name, pg_trigger_depth(), o, n;
  return null;
end $$;
create function log_sets() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into audit select n.k, 'ins', n.k, null, n.b from newt n;
    update counts set n = n + (select count(*) from newt) where name = tg_table_name;
  elsif tg_op = 'UPDATE' then
    insert into audit select o.k, 'upd', n.k, o.b, n.b from oldt o join newt n using (k);
  else
    insert into audit select o.k, 'del', o.k, o.b, null from oldt o;
    update counts set n = n - (select count(*) from oldt) where name = tg_table_name;
  end if;
  return null;
end $$;
create function log_row() returns trigger language plpgsql as $$
begin
  if tg_op <> 'INSERT' then insert into audit values (1, tg_op, old.k, old::text, null); end if;
  if tg_op <> 'DELETE' then insert into audit values (2, tg_op, new.k, null, new::text); end if;
  update counts set n = n + 1 where name = 't';
  raise notice '% % % % %', tg_name, tg_op, tg_table_name, tg_argv[0], pg_trigger_depth();
  return null;
end $$;
"""

SCRIPTS = {
    "statement": """
create trigger i after insert on t referencing new table as newt for each statement execute function show();
create trigger u after update on t referencing old table as oldt new table as newt
	for each statement execute function show();
create trigger d after delete on t referencing old table as oldt for each statement execute function show();
insert into t values (100, 1, 'x');
insert into t values (101, 1, 'y', 'nan', 'infinity', 'empty', '[1, null]'), (102, null, E'q''\\\\\\n"z', 0.1, null, null, null) returning k;
insert into t select g, g, 'g' from generate_series(110, 113) g;
insert into t select k + 1000, a from t where k < 4;
insert into t select k, a from t where false;
update t set a = a + 1, b = b || '!' where k = 100;
update t set a = 0 where k > 100 returning k, a;
update t set a = 0 where false;
update t set a = x.a from (values (100, 5), (101, 6)) x(k, a) where x.k = t.k;
insert into t values (100, 7), (200, 8) on conflict (k) do update set a = excluded.a, b = 'up' returning *;
insert into t values (100, 7), (201, 8) on conflict do nothing;
delete from t where k = 100;
delete from t where k between 101 and 113;
delete from t using ref where ref.id = t.k;
with w as (update t set a = 9 where k in (20, 21) returning k) select k from w order by k;
set session_replication_role = replica;
update t set a = 1 where k = 9;
alter table t enable always trigger u;
update t set a = 1 where k = 9;
reset session_replication_role;
alter table t disable trigger u;
update t set a = 2 where k = 9;
alter table t enable trigger u;
alter trigger u on t rename to u2;
update t set a = 3 where k = 9;
create trigger u3 after update on t referencing new table as newt old table as oldt
	for each statement when (pg_trigger_depth() = 0) execute function show();
update t set a = 4 where k = 9;
drop trigger u2 on t;
update t set a = 5 where k in (9, 10);
alter table t drop column f;
update t set a = 6 where k in (9, 10);
alter table t add column z int default 4;
update t set a = 7 where k in (9, 10);
prepare q as update t set a = $1 where k = $2;
execute q(1, 9);
execute q(2, 9);
execute q(2, 10);
begin;
savepoint s;
update t set a = 70 where k = 9;
rollback to s;
update t set a = 71 where k = 9;
commit;
""",
    "audit": """
create trigger i after insert on t referencing new table as newt for each statement execute function log_sets();
create trigger u after update on t referencing old table as oldt new table as newt
	for each statement execute function log_sets();
create trigger d after delete on t referencing old table as oldt for each statement execute function log_sets();
insert into t values (100, 1, 'x');
insert into t select g, g, 'g' || g from generate_series(110, 113) g;
update t set b = b || '!' where k > 20;
delete from t where k < 10;
select * from audit order by id, what;
select * from counts order by 1;
select count(*), sum(a) from t;
""",
    "row_sets": """
create function shown() returns trigger language plpgsql as $$
begin
  raise notice '% % of %', old.k, new.a, (select array_agg(o.k order by o.k) from oldt o);
  return null;
end $$;
create trigger u after update on t referencing old table as oldt for each row
	when (old.k <> 3) execute function shown();
update t set a = a + 10 where k < 5;
create trigger u2 after update on t referencing old table as oldt new table as newt
	for each statement execute function show();
update t set a = a + 10 where k = 5;
""",
    "rows": """
create trigger r after insert or update or delete on t for each row execute function log_row('arg');
create trigger w after update of a on t for each row when (new.a > 3) execute function log_row('when');
insert into t values (100, 1, 'x');
insert into t select g, g, 'g' || g from generate_series(110, 113) g;
insert into t values (100, 7) on conflict (k) do update set a = excluded.a;
update t set b = b || '!' where k > 20;
update t set a = k where k < 5 returning k, a;
delete from t where k < 3;
select id, what, k, old, new from audit order by id, what, k, old, new;
select * from counts order by 1;
set session_replication_role = replica;
update t set a = 1 where k = 9;
reset session_replication_role;
alter table t disable trigger r;
update t set a = 1 where k = 9;
alter table t enable always trigger r;
update t set a = 1 where k = 9;
begin;
update t set a = 1 where k = 10;
rollback;
select count(*) from audit;
select n from counts where name = 't';
""",
    "rows_local": """
create function log_loc() returns trigger language plpgsql as $$
begin
  insert into loc values (new.k, tg_op || (select count(*) from loc));
  perform pg_notify('ch', new.k::text);
  return new;
end $$;
create trigger r after insert or update on t for each row execute function log_loc();
insert into t values (100), (101), (102);
update t set a = 5 where k = 100;
select count(*) from loc;
select id from loc order by id, note;
""",
    "reference": """
create trigger i after insert or delete on ref for each row execute function log_row();
alter table audit alter k drop not null;
create function log_ref() returns trigger language plpgsql as $$
begin
  update counts set n = n + 1 where name = 'ref';
  insert into audit values (new.id, tg_op, new.id);
  return null;
end $$;
create trigger r2 after update on ref for each row execute function log_ref();
create trigger s after update on ref referencing old table as oldt new table as newt
	for each statement execute function show();
update ref set name = name || 'x' where id < 3;
update ref set name = 'y' where id = 1 returning *;
select * from audit order by id;
select * from counts order by 1;
select * from ref order by id;
""",
    "one_shard": """
create table one (id int primary key, b text);
--herd select create_distributed_table('one', null, colocate_with => 'none');
create function log_one() returns trigger language plpgsql as $$
begin
  update counts set n = n + 1 where name = 'one';
  return null;
end $$;
create trigger r after insert on one for each row execute function log_one();
create trigger s after insert on one referencing new table as newt for each statement execute function show();
insert into one select g, 'x' from generate_series(1, 5) g;
insert into one values (8, 'y');
select * from counts order by 1;
""",
    "partitions": """
create table p (k int, d int, a int, primary key (k, d)) partition by range (d);
create table p1 partition of p for values from (0) to (10);
create table p2 (x int, a int, d int not null, k int not null, primary key (k, d));
alter table p2 drop column x;
--herd select create_distributed_table('p', 'k');
alter table p attach partition p2 for values from (10) to (20);
create trigger i after insert on p referencing new table as newt for each statement execute function show();
create trigger u after update on p referencing old table as oldt new table as newt
	for each statement execute function show();
create trigger d after delete on p referencing old table as oldt for each statement execute function show();
insert into p select g, g, 1 from generate_series(1, 15) g;
update p set a = a + 1 where d > 7;
update p set d = d + 10 where d = 5;
delete from p where d > 12;
create function plog() returns trigger language plpgsql as $$
begin
  update counts set n = n + 1 where name = 't';
  raise notice '% % %', tg_table_name, tg_op, new;
  return null;
end $$;
create trigger r after insert on p for each row execute function plog();
create trigger r1 after insert on p1 for each row execute function plog();
insert into p values (50, 1, 2), (51, 12, 3);
insert into p1 values (60, 2, 2);
select * from counts order by 1;
""",
    "merge": """
create trigger i after insert on t referencing new table as newt for each statement execute function show();
create trigger u after update on t referencing old table as oldt new table as newt
	for each statement execute function show();
create trigger d after delete on t referencing old table as oldt for each statement execute function show();
create trigger r after insert or update or delete on t for each row execute function log_row('merge');
merge into t using (select g k, g % 4 a from generate_series(28, 33) g) s on t.k = s.k
	when matched and s.a = 0 then delete
	when matched then update set a = s.a, b = 'm'
	when not matched then insert (k, a) values (s.k, s.a);
merge into t using (values (1)) s(x) on t.k = s.x when matched then delete;
merge into t using (select k + 1 kk, a from t where k < 4) s on t.k = s.kk
	when matched then update set a = s.a + 100;
select id, what, k, old, new from audit order by id, what, k, old, new;
select k, a, b from t order by k;
""",
    "foreign_keys": """
create table ch (k int, n int, note text, primary key (k, n));
--herd select create_distributed_table('ch', 'k', colocate_with => 't');
alter table ch add foreign key (k) references t (k) on delete cascade;
insert into ch select k, 1, 'c' from t;
create trigger d after delete on ch referencing old table as oldt for each statement execute function show();
create function gone() returns trigger language plpgsql as $$
begin
  update counts set n = n + 1 where name = 't';
  return null;
end $$;
create trigger r after delete on ch for each row execute function gone();
delete from t where k = 3;
select * from counts order by 1;
""",
    "errors": """
create function fails() returns trigger language plpgsql as $$
begin
  insert into audit values (new.k, 'bad', 1 / (new.a - 3));
  return null;
end $$;
create trigger r after update on t for each row execute function fails();
update t set a = 3 where k = 5;
update t set a = 4 where k = 5;
create function missing() returns trigger language plpgsql as $$
begin
  insert into nothing_there values (1);
  return null;
end $$;
create trigger r2 after insert on t for each row execute function missing();
insert into t values (100);
select count(*) from t;
select * from audit;
""",
}


herd, same = rules_herd.fixtures(TABLES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])


def test_copy_and_many_rows(herd):
    script = TABLES + """
create function seen() returns trigger language plpgsql as $$
begin
  raise notice '% %', tg_op, (select (count(*), sum(k), count(distinct b), max(length(b))) from newt);
  return null;
end $$;
create trigger i after insert on t referencing new table as newt for each statement execute function seen();
create trigger u after update on t referencing new table as newt for each statement execute function seen();
"""
    notices = {}
    for con, schema in ((herd.connect(), "many_p"), (herd.connect(), "many_d")):
        notices[schema] = []
        with con:
            con.execute("create schema %s" % schema)
            con.execute("set search_path = %s" % schema)
            for s in rules_herd.statements(script):
                if not s.startswith("--herd "):
                    con.execute(s)
                elif schema == "many_d":
                    con.execute(s[len("--herd "):])
            con.add_notice_handler(lambda d, to=notices[schema]: to.append(d.message_primary))
            con.execute("set work_mem = 64")
            with con.cursor().copy("copy t (k, b) from stdin") as copy:
                for i in range(1000, 4000):
                    copy.write_row((i, "é" * (i % 50)))
            con.execute("insert into t (k, b) select g, repeat('x', 60) || g from generate_series(10000, 20000) g")
            con.execute("update t set b = b || 'y'")
            con.execute("insert into t (k, b) values (50000, repeat('long', 100000))")
            con.execute("drop schema %s cascade" % schema)
    assert notices["many_p"][:4] == notices["many_d"][:4] and len(notices["many_p"]) >= 4


@pytest.mark.parametrize("node", [0, 1])
def test_rows_of_a_shard_that_go_to_disk(herd, node):
    """More rows of one statement on one shard than work_mem has room for, there and here."""
    with herd.connect() as con, herd.connect(node) as one:
        con.execute("""
            drop table if exists large, seen;
            create table large (k int, b text);
            create table seen (what text, n bigint, total bigint, length bigint);
            select create_distributed_table('large', 'k', colocate_with => 'none', shard_count => 1);
            select create_reference_table('seen');
            create or replace function public.count_rows() returns trigger language plpgsql as $$ begin
                if tg_op = 'DELETE' then
                    insert into public.seen select tg_op, count(*), sum(k), sum(length(b)) from oldt;
                else
                    insert into public.seen select tg_op, count(*), sum(k), sum(length(b)) from newt;
                end if;
                return null;
            end $$;
            create trigger i after insert on large referencing new table as newt
                for each statement execute function public.count_rows();
            create trigger u after update on large referencing old table as oldt new table as newt
                for each statement execute function public.count_rows();
            create trigger d after delete on large referencing old table as oldt
                for each statement execute function public.count_rows()""")
        one.execute("insert into large select g, repeat('x', 100) from generate_series(1, 60000) g")
        one.execute("update large set b = b || k")
        one.execute("delete from large")
        total = 60000 * 60001 // 2
        digits = sum(len(str(k)) for k in range(1, 60001))
        assert con.execute("select * from seen order by what").fetchall() == [
            ("DELETE", 60000, total, 6000000 + digits), ("INSERT", 60000, total, 6000000),
            ("UPDATE", 60000, total, 6000000 + digits)]
