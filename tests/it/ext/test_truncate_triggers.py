"""TRUNCATE triggers: BEFORE ones see the rows, AFTER ones do not, as on plain tables."""
import pytest

import rules_herd

TABLES = """
create table t (k int primary key, a int);
create table c (k int, n int, primary key (k, n), foreign key (k) references t);
create table plain (x int);
--herd select create_distributed_table('t', 'k');
--herd select create_distributed_table('c', 'k', colocate_with => 't');
insert into t select i, i from generate_series(1, 9) i;
insert into c select i, i from generate_series(1, 5) i;
insert into plain values (1);
create function counted() returns trigger language plpgsql as $$
begin
  raise notice '% % % % t: % c: % plain: %', tg_name, tg_when, tg_op, tg_table_name,
    (select count(*) from t), (select count(*) from c), (select count(*) from plain);
  return null;
end $$;
create trigger b before truncate on t for each statement execute function counted();
create trigger a after truncate on t for each statement execute function counted();
create trigger a2 after truncate on c for each statement execute function counted();
create trigger b2 before truncate on c for each statement execute function counted();
create trigger a3 after truncate on plain for each statement execute function counted();
"""

SCRIPTS = {
    "one": """
truncate c;
truncate t;
truncate t, c;
insert into t values (1, 1);
truncate t cascade;
select count(*) from t;
""",
    "several": """
truncate plain, t, c restart identity;
""",
    "states": """
alter table c disable trigger a2;
truncate c;
alter table c enable always trigger a2;
truncate c;
set session_replication_role = replica;
truncate c;
reset session_replication_role;
alter table c enable replica trigger b2;
truncate c;
select tgname, tgenabled from pg_trigger where tgrelid in ('t'::regclass, 'c'::regclass) and not tgisinternal order by 1;
""",
    "errors": """
create function fails() returns trigger language plpgsql as $$
begin
  insert into t values (100, (select count(*) from t));
  raise exception 'no: %', (select count(*) from c);
end $$;
create trigger z after truncate on c for each statement execute function fails();
truncate c;
select count(*) from c;
begin;
savepoint s;
truncate c;
rollback to s;
drop trigger z on c;
truncate c;
rollback;
select count(*) from c;
select tgname, tgenabled from pg_trigger where tgrelid = 'c'::regclass and not tgisinternal order by 1;
""",
    "writes": """
create function fills() returns trigger language plpgsql as $$
begin
  insert into c select k, 100 from t where k < 3;
  return null;
end $$;
create trigger z after truncate on c for each statement execute function fills();
truncate c;
select * from c order by 1, 2;
""",
    "partitions": """
create table p (k int, d int, primary key (k, d)) partition by range (d);
create table p1 partition of p for values from (0) to (10);
create table p2 partition of p for values from (10) to (20);
--herd select create_distributed_table('p', 'k');
insert into p select g, g from generate_series(1, 15) g;
create function counted_p() returns trigger language plpgsql as $$
begin
  raise notice '% % %: % % %', tg_name, tg_when, tg_table_name,
    (select count(*) from p), (select count(*) from p1), (select count(*) from p2);
  return null;
end $$;
create trigger a after truncate on p for each statement execute function counted_p();
create trigger b before truncate on p1 for each statement execute function counted_p();
create trigger a after truncate on p1 for each statement execute function counted_p();
truncate p1;
truncate p;
""",
    "roles": """
grant usage on schema SCHEMA to truncate_one, truncate_two;
grant select on t, plain, c to truncate_one, truncate_two;
grant truncate on c to truncate_one;
set role truncate_two;
truncate c;
set role truncate_one;
truncate c;
truncate t cascade;
reset role;
""",
}

herd, same = rules_herd.fixtures(TABLES, ["truncate_one", "truncate_two"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])
