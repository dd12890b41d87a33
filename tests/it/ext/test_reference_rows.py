"""UPDATE and DELETE of reference tables whose copies would each do otherwise: as on plain tables, and all copies alike."""
import pytest

import rules_herd

TABLES = """
create table r (id int primary key, a int, b text, g int generated always as (a * 2) stored);
create table n (a int, b text, j json, p point);
create table d (k int, x int);
create table l (id int, note text);
create sequence s;
--herd select create_reference_table('r');
--herd select create_reference_table('n');
--herd select create_distributed_table('d', 'k');
insert into r (id, a, b) select i, i % 5, 'b' || i from generate_series(1, 12) i;
insert into n select i / 2, 'n', '{"a": 1}', point(i / 4, 1) from generate_series(0, 11) i;
insert into d select i, i * 10 from generate_series(1, 20) i;
create function twice(x int) returns int volatile language plpgsql as $$ begin return x * 2; end $$;
create function total(x int) returns bigint stable language plpgsql as $$ begin return (select sum(d.x) from d where k <= total.x); end $$;
create function noted(x int) returns int volatile language plpgsql as $$ begin insert into l values (x, 'noted'); return x; end $$;
create function log_it() returns trigger language plpgsql as $$
begin
  raise notice '% % % % %', tg_name, tg_when, tg_op, old, new;
  return coalesce(new, old);
end $$;
create function note_it() returns trigger language plpgsql as $$
begin
  insert into l values (old.id, tg_op || old::text || coalesce(new::text, ''));
  return null;
end $$;
create function from_d() returns trigger language plpgsql as $$
begin
  new.b := (select max(x) from d where k = new.a);
  return new;
end $$;
"""

# What may differ is looked at by its properties.
SCRIPTS = {
    "volatile": """
update r set a = twice(a) where id < 5;
update r set b = random()::text where id = 5 returning id, length(b) > 3;
update r set b = clock_timestamp()::text where id = 6;
update r set a = twice(a) where twice(id) between 13 and 20 returning *;
delete from r where twice(id) = 8 returning *;
delete from r where random() < 2 and id = 3;
update r set id = id + 100, a = twice(a) where id in (9, 10);
update r set a = twice(r.a) from n where n.a = r.id and n.b = 'n' returning r.id, r.a, n.b;
with w as (update r set a = twice(a) where id = 1 returning *) select * from w;
prepare q(int, int) as update r set a = twice($1) where id = $2 returning a + $1;
execute q(3, 1);
execute q(4, 2);
select id, a, g from r order by id;
""",
    "what triggers on the copies say": """
create trigger said after insert or update or delete on r for each row execute function log_it();
create trigger before_said before update on r for each row execute function log_it();
insert into r (id, a) values (50, 1), (51, 2);
update r set a = a + 1 where id > 49;
insert into r (id, a) values (50, 5) on conflict (id) do update set a = excluded.a;
begin;
delete from r where id = 50;
update r set b = 'said' where id in (1, 2, 3);
rollback;
delete from r where id > 49;
select count(*) from d;
""",
    "sequence": """
update r set a = nextval('s') where id <= 3;
update r set a = nextval('s') * 10 where id = 4 returning a;
update r set a = nextval('s') + (select max(k) from d) where id = 5 returning a;
with w as (update r set a = nextval('s') where id in (6, 7) returning *) select count(*) from w;
update r set (a, b) = (select nextval('s'), 'list') where id = 8;
update d set x = nextval('s') where k between 1 and 4;
with w as (update d set x = nextval('s') where k between 5 and 9 returning *) select count(*), min(x), max(x) from w;
update d set (k, x) = (select d.k, nextval('s')) where k between 10 and 12;
update d set x = nextval('s') where k in (select id from r where id > 10 and random() < 2);
select count(distinct x), max(x) from d where k < 13;
select id in (1, 2, 3) as three, count(*), min(a), max(a) from r group by 1 order by 1;
select nextval('s');
""",
    "other_tables": """
update r set a = (select max(x) from d where k = r.id and random() < 2) where id < 4 returning *;
update r set a = d.x from d where d.k = r.id and twice(d.k) = 8 returning r.*, d.k;
delete from r using d where d.k = r.id + 1 and twice(d.k) = 10 returning r.id;
update r set b = total(id)::text where id in (6, 7) returning b;
update r set a = noted(id) where id in (8, 9);
select * from l order by 1;
select * from r order by id;
""",
    "same_rows": """
update n set b = 'x' || twice(a) where a = 1;
update n set a = twice(a) where p[0] = 1 returning a, b;
delete from n where twice(a) = 10;
update n set b = random()::text where a = 0;
select a, count(*), count(distinct b) from n group by a order by a;
""",
    "triggers": """
create trigger b before update on r for each row execute function log_it();
create trigger c before update on r for each row execute function from_d();
create trigger z after update or delete on r for each row execute function note_it();
update r set a = a + 1 where id < 4 returning *;
update r set a = twice(a) where id = 5;
delete from r where id = 6;
delete from r where twice(id) = 14;
select * from l order by 1, 2;
select * from r order by id;
""",
    "keys": """
create table c (id int primary key, r int references r on delete cascade on update cascade);
--herd select create_distributed_table('c', 'id');
insert into c select i, i % 6 + 1 from generate_series(1, 12) i;
update r set id = twice(id) + 100 where id = 2;
delete from r where twice(id) = 6;
update r set a = twice(a) where id = 4;
select * from c order by id;
select id, a from r order by id;
""",
}

herd, same = rules_herd.fixtures(TABLES)


def copies(con, table):
    """The rows of each copy, as text."""
    return [row[0] for row in con.execute(
        "select result from run_command_on_placements(%s, $$select string_agg(t::text, ';' order by t::text) from %%s t$$)",
        (table,))]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(same, name):
    same(SCRIPTS[name])


def test_copies_are_alike(herd):
    with herd.connect() as con:
        con.execute("create schema alike; set search_path = alike;" + TABLES.replace("--herd ", ""))
        con.execute("update r set a = (random() * 1e6)::int, b = clock_timestamp()::text || random() where id <> 3")
        con.execute("update n set b = random()::text, a = (random() * 1e6)::int")
        con.execute("delete from n where random() < 0.3")
        con.execute("delete from r where id > 10 and random() < 2")
        for table, rows in (("r", 10), ("n", None)):
            every = copies(con, "alike." + table)
            assert len(every) == 3 and len(set(every)) == 1, every
            assert rows is None or con.execute("select count(*) from " + table).fetchone() == (rows,)
        con.execute("set client_min_messages = error; drop schema alike cascade")
