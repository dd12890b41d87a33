"""Constraint triggers that are deferrable and use rows of any node, compared with plain tables."""
import psycopg
import pytest

import rules_herd

TABLES = """
create table entry (gone int, id int primary key, account int, amount int);
alter table entry drop column gone;
create table account (k int primary key, total int default 0);
create table rate (code text primary key, v int);
create table log (what text);
create table part (k int, p int, v int, primary key (k, p)) partition by range (p);
create table part_1 partition of part for values from (0) to (10);
create table part_2 partition of part for values from (10) to (20);
create table line (entry int references entry on delete cascade on update restrict, n int, primary key (entry, n));
create table own (id int primary key, other int unique deferrable initially deferred);
--herd select create_distributed_table('entry', 'id');
--herd select create_distributed_table('line', 'entry');
--herd select create_distributed_table('account', 'k', colocate_with => 'none', shard_count => 5);
--herd select create_distributed_table('part', 'k');
--herd select create_reference_table('rate');
--herd select create_distributed_table('log', null, colocate_with => 'none');
create function balanced() returns trigger language plpgsql as $$
declare
	s int;
begin
	select coalesce(sum(amount), 0) into s from entry;
	insert into log values (format('%s %s %s %s: %s', tg_name, tg_op, old, new, s));
	if s <> 0 then
		raise exception 'not balanced: %', s using errcode = 'check_violation';
	end if;
	return null;
end $$;
create function counted() returns trigger language plpgsql as $$
begin
	insert into log values (format('%s %s %s %s', tg_name, tg_op, old, new));
	return null;
end $$;
create constraint trigger zero after insert or update or delete on entry deferrable initially deferred
	for each row execute function balanced();
create constraint trigger counted_rate after insert or update of v or delete on rate deferrable initially deferred
	for each row execute function counted();
create constraint trigger counted_part after insert or update or delete on part deferrable initially deferred
	for each row execute function counted();
create constraint trigger counted_line after insert or delete on line deferrable
	for each row execute function counted();
create constraint trigger large after insert or update on account deferrable initially deferred
	for each row when (new.total > 100) execute function counted();
"""
ALL = """
select * from entry order by 1;
select * from account order by 1;
select * from rate order by 1;
select * from part order by 1, 2;
select * from line order by 1, 2;
select what, count(*) from log group by 1 order by 1;
"""
SCRIPTS = {
    "at the end": """
insert into entry values (1, 1, 5);
insert into entry values (1, 1, 5), (2, 2, -5);
begin;
insert into entry values (3, 1, 7);
select count(*) from log;
insert into entry values (4, 1, -7);
commit;
begin;
update entry set amount = amount + 1 where id in (1, 2);
update entry set amount = amount - 2 where id = 4;
commit;
begin;
delete from entry where id = 1;
commit;
begin;
delete from entry where id = 1;
update entry set amount = 0;
commit;
begin;
update entry set amount = 3 where id = 2;
rollback;
""" + ALL,
    "set constraints": """
begin;
set constraints zero immediate;
insert into entry values (1, 1, 5);
rollback;
begin;
set constraints all immediate;
insert into entry values (1, 1, 5), (2, 1, -5);
set constraints all deferred;
insert into entry values (3, 1, 5);
insert into entry values (4, 1, -5);
set constraints zero immediate;
insert into rate values ('a', 1);
select count(*) from log;
commit;
begin;
insert into entry values (5, 1, 5);
set constraints SCHEMA.zero immediate;
rollback;
begin;
set constraints counted_line deferred;
insert into line values (1, 1), (2, 1);
select count(*) from log;
commit;
insert into line values (3, 1);
do $$ begin
	set constraints counted_line deferred;
	insert into line values (3, 2);
	insert into log values ('now');
end $$;
""" + ALL,
    "savepoints": """
begin;
insert into entry values (1, 1, 5);
savepoint a;
insert into entry values (2, 1, -4);
savepoint b;
insert into entry values (3, 1, 100);
rollback to b;
insert into entry values (4, 1, -1);
release a;
commit;
begin;
insert into entry values (5, 1, 6);
savepoint a;
set constraints zero immediate;
rollback to a;
insert into entry values (6, 1, -6);
savepoint b;
set constraints zero immediate;
rollback to b;
commit;
begin;
savepoint a;
insert into entry values (7, 1, 70);
rollback to a;
savepoint b;
insert into entry values (8, 1, 0);
release b;
commit;
do $$ begin
	insert into entry values (10, 1, 9);
	begin
		insert into entry values (11, 1, 1000);
		raise exception 'no';
	exception when others then
		insert into entry values (12, 1, -9);
	end;
end $$;
""" + ALL,
    "other ways to write": """
insert into rate values ('a', 1), ('b', 2) on conflict (code) do update set v = 7;
insert into rate values ('a', 1), ('c', 2) on conflict (code) do update set v = excluded.v + 10;
update rate set code = code || 'x';
update rate set v = v + 1;
delete from rate where code = 'cx';
insert into part select i, i, i from generate_series(0, 19) i;
update part set p = 19 - p where k in (3, 12);
update part_1 set v = 0 where k = 4;
delete from part where k > 15;
insert into account select i, 0 from generate_series(1, 9) i;
update account set total = 50 * k where k < 5;
merge into account using (values (1, 500), (4, 1), (20, 900)) s (k, t) on s.k = account.k
	when matched and t > 100 then update set total = t when matched then delete when not matched then insert values (s.k, t);
with w as (insert into entry values (1, 1, 5), (2, 2, -5) returning id)
	insert into line select id, 1 from w;
insert into line values (1, 2), (2, 2);
delete from entry where id in (1, 2);
update account set k = k + 100 where k < 4;
""" + ALL,
    "triggers that write more": """
create function onward() returns trigger language plpgsql as $$
begin
	if new.v < 5 then
		insert into rate values (new.code || new.v, new.v + 1);
		insert into own values (new.v, 1);
	end if;
	return null;
end $$;
create constraint trigger onward after insert on rate deferrable initially deferred for each row execute function onward();
insert into rate values ('a', 4);
insert into rate values ('b', 3);
delete from own;
begin;
insert into rate values ('c', 2);
select count(*) from rate;
set constraints onward immediate;
select count(*) from rate;
delete from own where id > 2;
commit;
select * from own order by 1;
""" + ALL,
    "changes of the trigger": """
alter table rate disable trigger counted_rate;
insert into rate values ('a', 1);
alter table rate enable trigger counted_rate;
insert into rate values ('b', 1);
create or replace function counted() returns trigger language plpgsql as $$
begin
	raise exception 'changed';
end $$;
insert into rate values ('c', 1);
drop trigger counted_rate on rate;
insert into rate values ('c', 1);
alter trigger zero on entry rename to nil;
begin;
set constraints nil immediate;
insert into entry values (1, 1, 1);
rollback;
""" + ALL,
    "a prepared transaction of two nodes": """
begin;
insert into entry select i, 1, case when i % 2 = 0 then i - 1 else -i end from generate_series(1, 40) i;
insert into account select i, 200 from generate_series(1, 20) i;
commit;
""" + ALL,
}

herd, same = rules_herd.fixtures(TABLES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])


@pytest.mark.parametrize("node", [0, 1])
def test_nothing_is_left(herd, node):
    """What fails at COMMIT has not happened on any node."""
    with herd.connect() as con, herd.connect(node) as one:
        con.execute("""
            drop table if exists pair;
            create table pair (id int primary key, v int);
            select create_distributed_table('pair', 'id');
            create or replace function public.even() returns trigger language plpgsql as $$
            begin
                if (select count(*) from public.pair) % 2 = 1 then raise exception 'odd'; end if;
                return null;
            end $$;
            create constraint trigger even after insert or delete on pair deferrable initially deferred
                for each row execute function public.even()""")
        one.execute("insert into pair select i, i from generate_series(1, 10) i")
        for statement in ("insert into pair select i, i from generate_series(11, 15) i",
                          "delete from pair where id < 4"):
            with pytest.raises(psycopg.errors.RaiseException, match="odd"):
                one.execute(statement)
            one.execute("begin")
            one.execute(statement)
            one.execute("update pair set v = -1")
            with pytest.raises(psycopg.errors.RaiseException, match="odd"):
                one.execute("commit")
        assert con.execute("select count(*), sum(v) from pair").fetchone() == (10, 55)
        with one.cursor().copy("copy pair from stdin") as copy:
            for i in (100, 101):
                copy.write_row((i, i))
        with pytest.raises(psycopg.errors.RaiseException, match="odd"):
            with one.cursor().copy("copy pair from stdin") as copy:
                copy.write_row((102, 1))
        assert con.execute("select count(*) from pair").fetchone() == (12,)
        for n in range(3):
            with herd.connect(n) as c:
                assert c.execute("select count(*) from pg_prepared_xacts").fetchone() == (0,)


def test_named_where_shards_are(herd):
    """SET CONSTRAINTS finds the trigger of the table and not those of the node's own shards."""
    with herd.connect() as con, herd.connect(1) as worker:
        con.execute("""
            drop table if exists few;
            create table few (id int primary key);
            select create_distributed_table('few', 'id');
            create or replace function public.few() returns trigger language plpgsql as $$ begin
                if (select count(*) from public.few) > 3 then raise exception 'too many'; end if;
                return null;
            end $$;
            create constraint trigger few after insert on few deferrable
                for each row execute function public.few()""")
        for one in (con, worker):
            one.execute("truncate few")
            one.execute("begin")
            one.execute("set constraints few deferred")
            one.execute("insert into few select generate_series(1, 9)")
            one.execute("delete from few where id > 3")
            one.execute("set constraints few immediate")
            with pytest.raises(psycopg.errors.RaiseException, match="too many"):
                one.execute("insert into few values (4)")
            one.execute("rollback")
