"""Tables that had lost columns when they were distributed: numbers of columns are not the same then."""
import pytest

import rules_herd

TABLES = """
create table ref (g1 int, a int primary key, b text, g2 text, c int default 7);
alter table ref drop column g1, drop column g2;
create table dist (g1 text, k int, v int, g2 int, t text);
alter table dist drop column g1, drop column g2;
create table sums (v int, g1 int, a int, b int generated always as (a * 2) stored, primary key (a));
alter table sums drop column g1;
create table parts (g int, k int, p int, x text) partition by range (p);
alter table parts drop column g;
create table parts_1 partition of parts for values from (0) to (10);
create table parts_2 (x text, gone int, p int, k int);
alter table parts_2 drop column gone;
alter table parts attach partition parts_2 for values from (10) to (20);
insert into ref (a, b) select i, 'r' || i from generate_series(1, 9) i;
insert into dist select i, i % 10, 't' || i from generate_series(1, 40) i;
insert into sums select i, i from generate_series(1, 9) i;
insert into parts select i, i % 20, 'p' || i from generate_series(1, 40) i;
create table log (what text);
--herd select create_reference_table('ref');
--herd select create_distributed_table('dist', 'k');
--herd select create_distributed_table('sums', null, colocate_with => 'none');
--herd select create_distributed_table('parts', 'k');
--herd select create_reference_table('log');
"""
SCRIPTS = {
    "reads": """
select * from ref order by a;
select ref from ref order by a;
select a, c from ref where b = 'r3';
select b, count(*) from ref group by b order by b;
select (ref).b from ref order by 1;
select row_to_json(ref)::text from ref order by a;
select dist, v from dist order by k;
select r.b, d.t from ref r join dist d on r.a = d.v order by d.k;
select r.*, d.* from ref r left join dist d on r.a = d.k order by r.a;
select r, (select count(*) from dist where v = r.a) from ref r order by r.a;
select a from ref r where not exists (select 1 from dist d where d.v = r.a and d.k > 30) order by a;
with w as (select * from ref) select w, ref.a from w join ref using (a) order by a;
select k, (d) is not null, (d) is null from dist d order by k;
select v, count(*) filter (where (d) is not null), min(array[k]) filter (where (d) is not null), (select max(a) from ref where a < d.v) from dist d group by v order by v;
select s.v, count(*) filter (where (s) is not null), (select max(d.k) from dist d where d.k < s.v and (s) is null) from sums s group by s.v, s order by 1;
select r.a, (d) is null, (d) is not null, (r) is not null from ref r left join dist d on r.a = d.k - 35 order by 1, 2;
select a from ref r where (r) is not null and exists (select from dist d where d.k = r.a and (d) is not null and (r) is not null) order by a;
select k from parts p where (p) is null or (p) is not null order by k;
select * from sums order by a;
select s, r from sums s join ref r on r.a = s.a order by s.a;
select parts, tableoid::regclass::text from parts order by k;
select * from parts_2 order by k;
select p.x, r.b from parts p join ref r on r.a = p.p order by p.k;
select * from ref r, lateral (select * from dist d where d.v = r.a order by d.k limit 1) q order by r.a;
select a from ref for update;
select array_agg(r order by a) from ref r where a < 3;
analyze ref;
analyze dist;
select b from ref where c = 7 order by a;
select t from dist where v between 2 and 3 order by k;
""",
    "writes": """
insert into ref values (20, 'new', 1) returning *;
insert into ref (b, a) values ('x', 21) returning ref;
update dist d set t = case when k = 2 then null else t end where k < 4 and (d) is not null returning k, (d) is not null, (d) is null;
delete from dist d using ref r where r.a = d.k and (d) is not null and (r) is not null and d.k = 9 returning (r) is null;
insert into ref values (20, 'again', 2) on conflict (a) do update set b = excluded.b || ref.b returning *;
update ref set b = b || '!' where a < 4 returning a, b;
update ref set c = d.k from dist d where d.v = ref.a and d.k < 8 returning ref.*;
delete from ref where a = 5 returning *;
insert into dist values (50, 1, 'a') returning dist;
update dist set t = r.b from ref r where r.a = dist.v and dist.k < 5 returning dist.*;
update dist set k = k + 100 where k in (3, 4) returning *;
insert into dist select a, c, b from ref;
insert into sums select 100 + a, 100 + a from ref;
update sums set v = v + 1 returning sums;
insert into parts values (60, 15, 'z') returning *, tableoid::regclass::text;
update parts set p = 19 - p where k < 9 returning *;
delete from parts where k = 12 returning parts;
merge into ref using dist on dist.k = ref.a when matched then update set c = dist.v
	when not matched and dist.k < 30 then insert values (dist.k, dist.t);
select * from ref order by a;
select * from dist order by k, v, t;
select * from sums order by a;
select * from parts order by k;
""",
    "triggers and policies": """
create function note() returns trigger language plpgsql as $$ begin
	insert into log values (tg_op || old || new);
	return new;
end $$;
create trigger note_ref after update on ref for each row execute function note();
create trigger note_dist after update on dist for each row execute function note();
create trigger note_parts after update on parts for each row execute function note();
update ref set b = 'x' where a < 3;
update dist set v = v + 1 where k < 3;
update parts set x = 'y' where k < 3;
create function before() returns trigger language plpgsql as $$ begin
	new.b := new.b || new.c;
	return new;
end $$;
create trigger before_ref before insert or update on ref for each row execute function before();
insert into ref values (30, 'b', 5);
update ref set c = 9 where a = 30;
select * from log order by 1;
select * from ref order by a;
""",
    "more of them are lost and added": """
alter table ref drop column b;
alter table ref add column b int default 5;
alter table dist drop column t;
alter table dist add column u text default 'u', add column t int;
select * from ref order by a;
select ref, dist from ref join dist on a = k order by k;
update ref set b = a;
update dist set t = v;
alter table ref add check (b < 20);
insert into ref values (31, 5, 32);
alter table parts add column late int default 3;
select * from parts order by k;
create table parts_3 partition of parts for values from (20) to (30);
insert into parts values (70, 25, 'q', 1);
select * from parts_3;
create index on ref (b);
create view seen as select ref, b from ref;
select * from seen order by 2;
""",
    "foreign keys": """
create table child (g int, k int, r int, d int);
alter table child drop column g;
--herd select create_distributed_table('child', 'k');
alter table child add foreign key (r) references ref on delete cascade on update cascade;
insert into child values (1, 1, 1), (2, 2, 2);
insert into child values (3, 99, 1);
update ref set a = 77 where a = 1;
delete from ref where a = 2;
create table far (g int, id int, v int);
alter table far drop column g;
alter table far add primary key (id);
--herd select create_distributed_table('far', 'id', colocate_with => 'none', shard_count => 3);
insert into far select i, i from generate_series(1, 5) i;
alter table child add foreign key (d) references far on update cascade on delete set null;
insert into child values (5, null, 9);
insert into child values (6, null, 4);
update far set id = 40 where id = 4;
delete from far where id = 1;
select * from child order by k;
""",
    "changed once more": """
--herd select alter_distributed_table('dist', shard_count => 3, cascade_to_colocated => false);
--herd select undistribute_table('ref');
--herd select create_reference_table('ref');
--herd select undistribute_table('sums');
--herd select create_distributed_table('sums', 'a');
select * from ref order by a;
select * from dist order by k;
select sums, ref from sums join ref using (a) order by a;
truncate ref;
insert into ref values (1, 'one');
select * from ref;
""",
}

herd, same = rules_herd.fixtures(TABLES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])


def test_on_every_node(herd):
    """Other nodes have the table as it is, and one that comes later too."""
    with herd.connect() as con:
        con.execute("""
            drop table if exists early;
            create table early (gone int, a int, b int, z text);
            alter table early drop column gone;
            insert into early values (1, 10, 'x'), (2, 20, 'y');
            select create_reference_table('early');
            alter table early drop column b, add column c int default 4""")
        want = [(1, "x", 4), (2, "y", 4)]
        for node in range(3):
            with herd.connect(node) as one:
                assert one.execute("select * from early order by a").fetchall() == want
                assert one.execute("select early::text from early order by a").fetchall() == [
                    ("(1,x,4)",), ("(2,y,4)",)]
        host, port = con.execute("select nodename, nodeport from pg_dist_node where groupid = 2"
                                 ).fetchone()
        con.execute("select citus_remove_node(%s, %s)", (host, port))
        con.execute("alter table early drop column z")
        con.execute("select citus_add_node(%s, %s)", (host, port))
        con.execute("update early set c = 5 where a = 2")
        for node in range(3):
            with herd.connect(node) as one:
                assert one.execute("select * from early order by a").fetchall() == [(1, 4), (2, 5)]
                assert one.execute("select e from early e where c = 5").fetchall() == [("(2,5)",)]


@pytest.mark.parametrize("distribute", [
    "create_distributed_table('%s', 'k')", "create_reference_table('%s')",
    "create_distributed_table('%s', null, colocate_with => 'none')"])
@pytest.mark.parametrize("form", ["text", "csv", "binary"])
def test_copy(herd, distribute, form):
    with herd.connect() as con, herd.connect(1) as worker:
        con.execute("""
            drop table if exists was, became;
            create table was (g1 int, k int, g2 text, v text, w int default 4, g3 int,
                gen int generated always as (k * 2) stored);
            create table became (like was including all);
            alter table was drop column g1, drop column g2, drop column g3;
            alter table became drop column g1, drop column g2, drop column g3;
            insert into was select i, 'v' || i, nullif(i % 5, 0) from generate_series(1, 500) i""")
        con.execute("select " + distribute % "became")
        for columns in ("", " (w, k, v)", " (v, k)"):
            for other in (con, worker):
                con.execute("truncate became")
                with con.cursor().copy("copy was%s to stdout (format %s)" % (columns, form)) as copy:
                    data = b"".join(bytes(part) for part in copy)
                with other.cursor().copy("copy became%s from stdin (format %s)" % (columns, form)) as copy:
                    copy.write(data)
                want = con.execute("select k, v, %s, gen from was order by k"
                                   % ("w" if "w" in columns or not columns else "4")).fetchall()
                assert other.execute("select k, v, w, gen from became order by k").fetchall() == want
                with other.cursor().copy("copy became%s to stdout (format %s)" % (columns, form)) as copy:
                    back = b"".join(bytes(part) for part in copy)
                if form != "binary":
                    assert sorted(back.splitlines()) == sorted(data.splitlines())
                else:
                    assert len(back) == len(data)
