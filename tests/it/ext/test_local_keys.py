"""Foreign keys of local tables that refer to reference tables, compared with those of plain tables."""
import psycopg
import pytest

import rules_herd

TABLES = """
create table country (gone int, code text primary key, n int, unique (n), unique (code, n));
alter table country drop column gone;
insert into country values ('at', 1), ('de', 2), ('es', 3), ('fr', 4), ('it', 5), ('nl', 6);
create table town (id int primary key, c text references country);
create table tree (id int primary key, c text default 'at' references country on delete set default on update cascade);
create table road (id int primary key, c text, n int,
	constraint road_both foreign key (c, n) references country (code, n) match full
		on delete cascade on update set null);
create table late (id int primary key, n int references country (n) deferrable initially deferred);
create table strict (id int primary key, n int references country (n) on delete restrict on update restrict);
insert into town values (1, 'de'), (2, null);
insert into tree values (1, 'es'), (2, 'fr');
insert into road values (1, 'it', 5), (2, null, null);
insert into late values (1, 6);
--herd select create_reference_table('country');
"""
ALL = """
select * from country order by 1;
select * from town order by 1;
select * from tree order by 1;
select * from road order by 1;
select * from late order by 1;
"""
SCRIPTS = {
    "rows that are referred to": """
delete from country where code = 'de';
delete from country;
update country set code = 'DE' where code = 'de';
update country set n = n where code = 'de';
update country set n = n + 10 where code = 'de';
delete from country where code = 'es';
update country set code = 'FR' where n = 4;
update country set code = code || 'x' where n in (1, 3, 4);
delete from country where code = 'it' returning *;
""" + ALL,
    "two columns": """
update country set n = 50 where code = 'it';
insert into road values (3, 'nl', null);
insert into road values (3, 'nl', 9);
insert into road values (3, 'nl', 6);
delete from late;
update country set code = 'NL' where n = 6;
""" + ALL,
    "deferred": """
begin;
delete from country where n = 6;
insert into country values ('xx', 6);
commit;
begin;
delete from country where n = 6;
commit;
begin;
savepoint s;
delete from country where n = 6;
rollback to s;
commit;
begin;
delete from country where n = 6;
delete from late;
commit;
begin;
insert into late values (7, 70);
insert into country values ('yy', 70);
commit;
begin;
set constraints all immediate;
update country set n = 71 where n = 70;
commit;
""" + ALL,
    "restrict": """
insert into strict values (1, 1), (2, 2);
delete from country where n = 1;
update country set n = 99 where n = 1;
begin;
delete from strict where n = 1;
delete from country where n = 1;
rollback;
delete from strict;
delete from country where n = 1;
""" + ALL,
    "tables that come later": """
create table a (id int, c text references country on delete cascade);
create table b (id int, c text);
insert into b values (1, 'zz');
alter table b add foreign key (c) references country;
insert into country values ('zz', 26), ('yy', 25);
alter table b add constraint to_country foreign key (c) references country;
insert into a values (1, 'yy'), (2, 'zz');
insert into a values (3, 'ww');
delete from country where n = 25;
delete from country where n = 26;
select * from a order by 1;
alter table b drop constraint to_country;
delete from country where n = 26;
select * from a order by 1;
alter table b add column d text references country;
insert into b values (2, null, 'at');
delete from country where code = 'at';
drop table b;
delete from country where code = 'at';
create table parts (id int, c text references country) partition by list (id);
create table parts_1 partition of parts for values in (1);
insert into parts values (1, 'nl');
delete from late;
delete from country where code = 'nl';
""",
    "from a function": """
create function later() returns void language plpgsql as $$ begin
	execute 'create table dynamic (id int, c text references country)';
	insert into dynamic values (1, 'at');
end $$;
select later();
delete from country where code = 'at';
""",
    "tables that become a part of the metadata": """
--herd select citus_add_local_table_to_metadata('town');
--herd select create_distributed_table('tree', 'id');
delete from country where code = 'de';
delete from country where code = 'es';
update country set code = 'FR' where code = 'fr';
""" + ALL,
    "merge, upsert and data of other nodes": """
--herd set client_min_messages = warning;
create table source (k int, code text);
--herd select create_distributed_table('source', 'k');
insert into source values (1, 'de'), (2, 'it'), (3, 'fr');
delete from country using source where source.code = country.code;
delete from country using source where source.code = country.code and k = 2;
merge into country using source on source.code = country.code when matched then delete;
insert into country values ('fr', 9) on conflict (code) do update set code = 'F';
""" + ALL,
    "a reference table that is local again": """
--herd select undistribute_table('country', cascade_via_foreign_keys => true);
delete from country where code = 'de';
delete from country where code = 'it';
""" + ALL,
    "truncate": """
set client_min_messages = warning;
truncate country;
truncate country cascade;
""" + ALL,
}

herd, same = rules_herd.fixtures(TABLES, ["local_owner"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])


def load(con):
    con.execute("""
        set client_min_messages = warning;
        drop table if exists city, land;
        create table land (code int primary key, v int);
        insert into land select i, i from generate_series(1, 100) i;
        select create_reference_table('land');
        create table city (id int primary key, c int references land)""")


@pytest.mark.parametrize("ends", ["commit", "rollback"])
@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("first,second", [
    ("insert into city values (1, 7)", "delete from land where code = 7"),
    ("delete from land where code = 7", "insert into city values (1, 7)")])
def test_two_sessions(herd, node, first, second, ends):
    """The second waits for the first, and sees what has become of it, wherever the row is deleted."""
    where = {first: node if "delete" in first else 0, second: node if "delete" in second else 0}
    with herd.connect(where[first], autocommit=False) as one, \
            herd.connect(where[second]) as other, herd.connect() as con:
        load(con)
        one.execute(first)
        errors = rules_herd.waits_for(con, one, ends, other, second,
                                      psycopg.errors.ForeignKeyViolation)
        assert len(errors) == (ends == "commit")
        assert con.execute("select count(*) from city left join land on code = c where code is null"
                           ).fetchone()[0] == 0


def test_from_a_worker(herd):
    with herd.connect() as con, herd.connect(1) as worker:
        load(con)
        con.execute("insert into city values (1, 7), (2, 8)")
        with pytest.raises(psycopg.errors.ForeignKeyViolation) as e:
            worker.execute("delete from land where code in (7, 9)")
        assert e.value.diag.message_detail == 'Key (code)=(7) is still referenced from table "city".'
        assert (e.value.diag.table_name, e.value.diag.constraint_name) == ("city", "city_c_fkey")
        worker.execute("delete from land where code = 9")
        con.execute("alter table city drop constraint city_c_fkey, add foreign key (c) references "
                    "land on delete cascade")
        worker.execute("delete from land where code = 7")
        assert con.execute("select id from city").fetchall() == [(2,)]


def test_table_of_another_owner(herd):
    """Who may only refer to the reference table has his foreign keys kept as well."""
    with herd.connect() as con:
        load(con)
        con.execute("grant create on schema public to local_owner")
        con.execute("grant references on land to local_owner")
        with herd.connect(user="local_owner") as his:
            his.execute("drop table if exists his")
            his.execute("create table his (id int, c int references land on delete cascade)")
            his.execute("insert into his values (1, 7), (2, 8)")
            con.execute("delete from land where code = 7")
            assert his.execute("select id from his").fetchall() == [(2,)]
            his.execute("drop table his")
        con.execute("revoke create on schema public from local_owner")


def test_many_rows(herd):
    with herd.connect() as con:
        load(con)
        con.execute("insert into land select i, i from generate_series(101, 30000) i")
        con.execute("insert into city values (1, 29000)")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            con.execute("delete from land")
        con.execute("delete from land where code <> 29000")
        assert con.execute("select count(*) from land").fetchone() == (1,)


@pytest.mark.parametrize("node", [0, 1])
def test_copies_stay_the_same(herd, node):
    """What fails on the coordinator's copy has not happened in the others."""
    with herd.connect() as con, herd.connect(node) as one:
        load(con)
        con.execute("insert into city values (1, 7)")
        with one.transaction():
            for statement in ("delete from land where code < 20", "update land set code = code + 1000"):
                one.execute("savepoint s")
                with pytest.raises(psycopg.errors.ForeignKeyViolation):
                    one.execute(statement)
                one.execute("rollback to s")
            one.execute("delete from land where code = 50")
        for n in range(3):
            with herd.connect(n) as reader:
                assert reader.execute("select count(*), sum(code) from land").fetchone() == (99, 5000)
