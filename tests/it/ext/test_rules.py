"""The rules of one PostgreSQL, one script for each: run on plain tables and on distributed ones."""
import pytest

import plan_herd
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


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        with h.connect() as con:
            for role in ROLES:
                con.execute("create role %s login" % role)
        yield h
    finally:
        h.stop()


@pytest.fixture
def same(herd):
    with herd.connect() as plain, herd.connect() as other:
        yield lambda script: rules_herd.same(plain, other, TABLES + script)


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
