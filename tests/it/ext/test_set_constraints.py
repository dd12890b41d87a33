"""SET CONSTRAINTS with names: of shards and of tables on one node as on plain tables."""
import pytest

import rules_herd

TABLES = """
create table parent (k int primary key);
create table child (k int, n int, v int, primary key (k, n) deferrable initially deferred,
	constraint to_parent foreign key (k) references parent deferrable,
	constraint to_parent_late foreign key (k) references parent deferrable initially deferred);
--herd select create_distributed_table('parent', 'k');
--herd select create_distributed_table('child', 'k', colocate_with => 'parent');
create table ref (id int primary key, up int, constraint "Up" foreign key (up) references ref deferrable);
--herd select create_reference_table('ref');
create function shown() returns trigger language plpgsql as $$
begin
  raise notice '% %', tg_name, new.k;
  return null;
end $$;
create constraint trigger late after insert on child deferrable for each row execute function shown();
insert into parent select i from generate_series(1, 9) i;
"""

SCRIPTS = {
    "keys": """
insert into child values (20, 1);
begin;
set constraints to_parent deferred;
insert into child select g, 1 from generate_series(20, 29) g;
select count(*) from child;
insert into parent select g from generate_series(20, 29) g;
commit;
begin;
set constraints to_parent deferred;
insert into child values (30, 1);
set constraints to_parent immediate;
rollback;
begin;
set constraints to_parent, to_parent_late deferred;
insert into child values (31, 1);
commit;
begin;
insert into parent values (30);
set constraints SCHEMA.to_parent_late immediate;
insert into child values (30, 2);
insert into child values (33, 2);
rollback;
begin;
set constraints child_pkey immediate;
insert into child values (20, 1);
rollback;
begin;
insert into child values (21, 1);
insert into child values (22, 1);
savepoint a;
set constraints child_pkey immediate;
rollback to a;
update child set n = 9 where n = 1 and v is null and ctid = any (array(select ctid from child where k in (21, 22) and n = 1));
delete from child where k in (21, 22);
commit;
select k, n from child order by 1, 2;
""",
    "savepoints": """
begin;
savepoint a;
set constraints to_parent deferred;
insert into child values (40, 1);
rollback to a;
savepoint b;
insert into child values (41, 1);
rollback to b;
set constraints to_parent deferred;
insert into child values (42, 1);
savepoint c;
set constraints all immediate;
rollback to c;
insert into parent values (42);
commit;
select k from child order by 1;
""",
    "triggers": """
insert into child values (1, 1), (2, 1), (3, 1);
begin;
set constraints late deferred;
insert into child values (4, 1), (5, 1);
insert into child values (6, 1);
set constraints late immediate;
insert into child values (7, 1);
commit;
begin;
set constraints late deferred;
insert into child values (8, 1), (9, 1);
commit;
""",
    "reference": """
begin;
set constraints "Up" deferred;
insert into ref values (1, 2), (2, 3);
insert into ref values (3, 1);
commit;
begin;
set constraints "Up" deferred;
delete from ref where id = 3;
set constraints "Up" immediate;
rollback;
begin;
set constraints "Up" deferred;
delete from ref where id = 3;
set constraints all immediate;
rollback;
insert into ref values (5, 6);
select * from ref order by 1;
""",
    "errors": """
set constraints nowhere deferred;
begin;
set constraints parent_pkey deferred;
rollback;
set constraints parent_pkey immediate;
begin;
set constraints SCHEMA.nothing immediate;
rollback;
""",
    "functions": """
create function put(a int) returns void language plpgsql as $$
begin
  set constraints to_parent deferred;
  insert into child values (a, 1);
  insert into parent values (a);
end $$;
select put(50);
begin;
select put(51), put(52);
commit;
select k from child order by 1;
""",
}

SCRIPTS["rows that workers fetch from each other"] = """
create table y (k int not null, n int, c text);
--herd set citus.shard_count = 8;
--herd select create_distributed_table('y', 'k');
--herd set citus.repartition_join_min_size = 0;
insert into y select i, i % 7, 'c' || i % 5 from generate_series(1, 100) i;
begin;
set constraints all immediate;
update y set n = 3 where k < 20;
select n, c, count(*) from y group by 1, 2 order by 1, 2;
commit;
begin;
set constraints all deferred;
insert into y select n, n, c from y;
select count(*) from y a join y b on a.n = b.k;
commit;
select n, c, count(*) from y group by 1, 2 order by 1, 2;
"""

herd, same = rules_herd.fixtures(TABLES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])
