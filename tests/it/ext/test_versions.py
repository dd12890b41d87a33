"""What PostgreSQL 16, 17 and 18 have brought: the same statements on plain and distributed tables."""
import psycopg
import pytest

import plan_herd

TABLES = """
create table t (k int primary key, v int, s text, j jsonb);
create table src (k int, v int, w text);
create table far (id text, k int, v int);
create table ref (id int primary key, name text);
"""
DISTRIBUTE = """
select create_distributed_table('t', 'k');
select create_distributed_table('src', 'k', colocate_with => 't');
select create_distributed_table('far', 'id');
select create_reference_table('ref');
"""
ROWS = """
insert into t select i, i % 5, 's' || i, jsonb_build_object('a', i, 'b', jsonb_build_array(i, i+1))
	from generate_series(1, 40) i;
insert into src select i, i % 7, 'w' || i from generate_series(20, 60) i;
insert into far select 'f' || i, i, i * 2 from generate_series(30, 50) i;
insert into ref select i, 'r' || i from generate_series(1, 10) i;
"""

herd, con = plan_herd.fixtures(lambda h: h.load(TABLES, DISTRIBUTE, ROWS))


@pytest.fixture(scope="module")
def names(con):
    """Objects that both schemas would make under one name in the database."""
    con.execute("create extension if not exists btree_gist with schema public")


def needs(con, major):
    if con.info.server_version < major * 10000:
        pytest.skip("needs PostgreSQL %d" % major)


def outcome(con, schema, sql):
    try:
        rows, names, count = plan_herd.answer(con, schema, sql)
        return "rows", sorted(rows, key=plan_herd.key), names, count
    except psycopg.Error as e:
        return "error", e.sqlstate


def run(con, text):
    """
    Each statement on both sets: equal answers, or the same error where it begins with a code. What
    begins with 'only:' is for the distributed tables.
    """
    for statement in text.strip().split(";\n"):
        statement = statement.strip(" ;\n")
        if statement.startswith("only:"):
            con.execute("set search_path = %s, public" % plan_herd.DISTRIBUTED)
            con.execute(statement[5:])
            continue
        fails = statement[:5] if statement[5:6] == ":" else None
        if fails:
            statement = statement[6:]
        want = outcome(con, plan_herd.PLAIN + ", public", statement)
        got = outcome(con, plan_herd.DISTRIBUTED + ", public", statement)
        assert got == want, statement
        assert fails == (want[1] if want[0] == "error" else None), (statement, want)


# -- 15: what changed together with the later forms --------------------------------------------------

CONSTRAINTS_15 = """
create table parent (id int primary key, v int);
only: select create_distributed_table('parent', 'id', colocate_with => 't');
create table child (id int, pid int, constraint cfk foreign key (id) references parent);
only: select create_distributed_table('child', 'id', colocate_with => 't');
alter table child alter constraint cfk deferrable initially deferred;
do $$ begin insert into child values (1, 1); insert into parent values (1, 1); end $$;
23503:insert into child values (2, 1);
alter table child alter constraint cfk not deferrable;
23503:do $$ begin insert into child values (3, 1); insert into parent values (3, 1); end $$;
42704:alter table child alter constraint nope deferrable;
create table dd (k int not null, v int, w int default 3);
only: select create_distributed_table('dd', 'k');
insert into dd values (1, 1), (2, null), (3, 3);
alter table dd alter column w set not null;
23502:insert into dd values (4, 4, null);
alter table dd add column x int not null default 5;
alter table dd add column y int constraint ynn not null default 6;
23502:insert into dd values (4, 4, 4, 4, null);
23502:alter table dd add primary key (k, v);
delete from dd where v is null;
alter table dd add primary key (k, v);
23502:insert into dd values (6, null);
23505:insert into dd values (1, 1);
alter table dd drop constraint dd_pkey;
alter table dd alter column w drop not null;
insert into dd values (67, 1, null);
select * from dd;
"""


def test_constraints(con):
    run(con, CONSTRAINTS_15)


# -- 16 ----------------------------------------------------------------------------------------------

READ_16 = """
select v, any_value(s) is not null from t group by v;
select v, any_value(v) from t group by v;
select k, any_value(s) from t group by k;
select v, array_length(array_shuffle(array_agg(k)), 1), array_length(array_sample(array_agg(k), 2), 1) from t group by v;
select system_user, count(*) from t group by 1;
select json_object('k': k, 'v' value v null on null) from t where k < 4;
select json_object('k' value k absent on null with unique keys returning jsonb) from t where k < 4;
select json_array(k, v, s null on null) from t where k < 4;
select v, json_arrayagg(k order by k) from t group by v;
select json_arrayagg(k order by k desc returning jsonb) from t;
select json_objectagg(s: k with unique keys returning jsonb) from t;
select v, json_objectagg(k value s absent on null)::jsonb from t group by v;
select json_arrayagg(s order by k) filter (where v > 2) from t;
select json_array(select k from t where v = 1 order by k);
select s is json, j::text is json object with unique keys, '[1]' is json array, s is not json scalar from t where k = 3;
select count(*) from t where j::text is json object;
select t.k, far.id from t join far on t.v = far.v % 5 and json_object('x': t.k)::jsonb ->> 'x' = far.k::text;
select count(*) from (select random_normal(0, 1) r from t) q where r is not null;
select sum(x), count(*) from (select k::bigint as x from t), (select 1);
select 0x1f + k, 1_000 * k, 0b11, 0o17 from t where k = 0x02;
select pg_input_is_valid(s, 'int') from t where k = 1;
select string_agg(distinct s, ',' order by s), array_agg(distinct v order by v) from t;
select count(*) > 0, min(reads) >= 0 or min(reads) is null from pg_stat_io;
"""


def test_reads_of_16(con):
    needs(con, 16)
    run(con, READ_16)


def test_memberships_of_16(con, herd):
    """GRANT of roles with options is the same on every node."""
    needs(con, 16)
    con.execute("create role v_group; create role v_member; "
                "grant v_group to v_member with inherit false, set true, admin true")
    try:
        for node in range(3):
            with herd.connect(node) as c:
                assert c.execute("select admin_option, inherit_option, set_option from "
                                 "pg_auth_members where member = 'v_member'::regrole"
                                 ).fetchall() == [(True, False, True)]
        con.execute("revoke admin option for v_group from v_member; "
                    "grant v_group to v_member with set false")
        for node in range(3):
            with herd.connect(node) as c:
                assert c.execute("select admin_option, inherit_option, set_option from "
                                 "pg_auth_members where member = 'v_member'::regrole"
                                 ).fetchall() == [(False, False, False)]
    finally:
        con.execute("drop role v_member; drop role v_group")


# -- 17 ----------------------------------------------------------------------------------------------

READ_17 = """
select t.k, jt.* from t, json_table(t.j, '$' columns (a int path '$.a', nested path '$.b[*]' columns (b int path '$'))) jt where t.k < 5;
select sum(jt.b) from t, json_table(t.j, '$.b[*]' columns (b int path '$')) jt;
select v, sum(jt.b) from t, json_table(t.j, '$.b[*]' columns (n for ordinality, b int path '$' default 3 on empty error on error)) jt group by v;
select jt.a, f.id from json_table('[{"a":30},{"a":31}]', '$[*]' columns (a int path '$.a')) jt join far f on f.k = jt.a;
select t.s, jt.a from json_table('[{"a":3},{"a":4}]', '$[*]' columns (a int path '$.a')) jt left join t on t.k = jt.a * 20;
select t.s, jt.* from t left join lateral json_table(t.j, '$.b[*]' passing t.v as x columns (b int path '$', ex bool exists path '$.z')) jt on jt.b > t.v + 36;
select json_value(j, '$.a' returning int), json_query(j, '$.b' with wrapper), json_exists(j, '$.b[*] ? (@ > $x)' passing v as x) from t;
select json_query(j, '$.b[*]' with conditional wrapper keep quotes), json_value(j, '$.zz' default -1 on empty) from t where k < 3;
select json_value(j, '$.a' returning int) % 3 x, count(*) from t group by 1;
select t.k, far.id from t join far on json_value(t.j, '$.a' returning int) = far.k;
select json_scalar(k), json_serialize(j), json(j::text) from t where k < 3;
22012:select json_value(j, '$.a' returning int) / 0 from t;
select count(*) from (select random(1, 10) r from t) where r between 1 and 10;
select to_bin(k), to_oct(k), uuid_extract_version(gen_random_uuid()) from t where k < 4;
select sum('infinity'::interval - k * interval '1 day') from t where k < 3;
select k, now() at local is not null from t where k < 4;
"""
WRITE_17 = """
update t set v = json_value(j, '$.a' returning int) where k = 5;
update t set v = json_value(j, '$.a' returning int) where json_exists(j, '$.b[*] ? (@ == 7)');
merge into t using src on t.k = src.k when matched then update set v = src.v when not matched by source then update set s = 'gone' when not matched by target then insert (k, v, s) values (src.k, src.v, src.w) returning merge_action(), t.k, t.v, t.s;
merge into t using far on t.k = far.k when matched then delete when not matched by source and t.k < 10 then delete when not matched then insert (k, v) values (far.k, far.v) returning merge_action(), t.*, far.id;
create view tv as select k, v, s from t where v < 100;
merge into tv using src on tv.k = src.k when matched then update set s = 'view' when not matched then insert (k, v, s) values (src.k, src.v, src.w) returning tv.k, merge_action();
merge into tv using (values (1, 5)) q(k, v) on tv.k = q.k when matched then update set v = q.v when not matched then insert (k, v) values (q.k, q.v) returning tv.*;
select * from t;
"""
SHAPES_17 = """
create table idp (k int generated always as identity, d date not null, v int) partition by range (d);
create table idp1 partition of idp for values from ('2024-01-01') to ('2025-01-01');
create table idp2 partition of idp for values from ('2025-01-01') to ('2026-01-01');
only: select create_distributed_table('idp', 'k');
insert into idp (d, v) select date '2024-06-01' + i * 30, i from generate_series(1, 12) i;
insert into idp1 (d, v) values ('2024-03-03', 100) returning k > 0;
insert into idp (k, d, v) overriding system value values (9000, '2024-03-03', 101);
428C9:insert into idp (k, d, v) values (9000, '2024-03-03', 101);
create table idp3 partition of idp for values from ('2026-01-01') to ('2027-01-01');
insert into idp (d, v) select date '2026-06-01' + i, i from generate_series(1, 12) i;
select count(distinct k), count(*) from idp;
create table pv (k int, d int, g int generated always as (d * 2) stored, v int default 4) partition by range (d);
create table pv1 partition of pv for values from (0) to (10);
only: select create_distributed_table('pv', 'k');
insert into pv (k, d) select i, i % 10 from generate_series(1, 20) i;
alter table pv alter column g set expression as (d * 3);
select * from pv;
insert into pv (k, d) values (30, 5) returning g;
"""


def test_reads_of_17(con):
    needs(con, 17)
    run(con, READ_17)


def test_writes_of_17(con):
    needs(con, 17)
    run(con, WRITE_17)


def test_shapes_of_17(con):
    needs(con, 17)
    run(con, SHAPES_17)


def test_maintain_of_17(con, herd):
    """Who has MAINTAIN vacuums, analyzes and rebuilds the shards."""
    needs(con, 17)
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("create table kept (k int primary key, v int); "
                "select create_distributed_table('kept', 'k'); "
                "insert into kept select i, i from generate_series(1, 100) i")
    con.execute("create role v_keeper login")
    try:
        con.execute("grant usage on schema %s to v_keeper" % plan_herd.DISTRIBUTED)
        with herd.connect(user="v_keeper") as c:
            c.execute("set search_path = " + plan_herd.DISTRIBUTED)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                c.execute("begin; lock table kept in share mode")
            c.execute("rollback")
            con.execute("grant maintain on kept to v_keeper")
            c.execute("vacuum kept")
            c.execute("analyze kept")
            c.execute("reindex table kept")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                c.execute("select * from kept")
    finally:
        con.execute("drop table kept; revoke usage on schema %s from v_keeper" %
                    plan_herd.DISTRIBUTED)
        con.execute("drop role v_keeper")


def test_transaction_timeout_of_17(herd, con):
    """It ends a statement that waits on a node, and what it did there."""
    needs(con, 17)
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    with herd.connect() as c:
        c.execute("set search_path = %s; set transaction_timeout = '1s'" % plan_herd.DISTRIBUTED)
        with pytest.raises(psycopg.Error) as e:
            c.execute("update t set v = -1 where k = 1; select pg_sleep(60) from t where k = 1")
        assert e.value.sqlstate in ("25P04", None) and "transaction timeout" in str(e.value)
    assert con.execute("select count(*) from t where v = -1").fetchone() == (0,)
    con.execute("update t set v = v")  # nothing is locked any more


def copy_in(con, schema, command, data):
    con.execute("set search_path = " + schema)
    notices = []
    con.add_notice_handler(notices.append)
    try:
        with con.cursor() as cur:
            with cur.copy(command) as copy:
                copy.write(data)
            return cur.rowcount
    except psycopg.Error as e:
        return e.sqlstate, e.diag.message_primary, e.diag.context
    finally:
        con.remove_notice_handler(notices.append)


def copy_both(con, command, data, table):
    want = copy_in(con, plan_herd.PLAIN, command, data)
    got = copy_in(con, plan_herd.DISTRIBUTED, command, data)
    assert got == want, command
    plan_herd.compare(con, "select * from " + table)
    plan_herd.compare(con, "delete from " + table)
    return got


def test_copy_of_later_versions(con):
    needs(con, 16)
    run(con, "create table cp (k int, v int default 7, s text default 'x' || 1);\n"
             "only: select create_distributed_table('cp', 'k')")
    copy_both(con, "copy cp from stdin (default '\\D')", "1\t\\D\t\\D\n2\t3\t\\D\n", "cp")
    copy_both(con, "copy cp (k, s) from stdin (format csv, default 'DD')", "1,DD\n2,a\n", "cp")
    if con.info.server_version < 170000:
        return
    bad = "1\t2\ta\nx\t2\tb\n3\ty\tc\n4\t5\td\n"
    for options in ("on_error ignore", "on_error stop", "on_error ignore, log_verbosity verbose",
                    "on_error ignore, format csv, delimiter E'\\t'", "force_null *, format csv"):
        copy_both(con, "copy cp from stdin (%s)" % options, bad, "cp")
    if con.info.server_version < 180000:
        return
    for options in ("on_error ignore, reject_limit 1", "on_error ignore, reject_limit 2",
                    "on_error ignore, log_verbosity silent", "reject_limit 3"):
        copy_both(con, "copy cp from stdin (%s)" % options, bad, "cp")


# -- 18 ----------------------------------------------------------------------------------------------

RETURNING_18 = """
insert into t values (101, 1, 'a') returning old.k, new.k, new.s, old.*;
insert into t values (101, 2, 'b'), (102, 2, 'c') on conflict (k) do update set s = excluded.s || t.s returning old.s, new.s, s, old is null, new is null;
update t set v = v + 1 where k = 3 returning old.v, new.v, v;
update t set v = v + 1 returning old.v, new.v, k, old.v - new.v;
update t set v = v + 1 returning with (old as o, new as n) o.v, n.v, t.k;
update t set v = t.v + src.v from src where t.k = src.k returning old.v, new.v, src.v;
update t set v = far.v from far where t.k = far.k returning old, new, far.id;
update ref set name = name || 'x' where id < 4 returning old.name, new.name;
delete from t where k in (1, 2) returning old.k, new.k, old.*, new;
delete from t using far where t.k = far.v returning old.v, new, far.id, (select max(id) from ref where ref.id < old.v);
merge into t using src on t.k = src.k when matched and src.v = 2 then delete when matched then update set v = src.v when not matched then insert (k, v) values (src.k, src.v) returning merge_action(), old.v, new.v, old.k, new.k, src.w;
merge into t using far on t.k = far.k when matched then update set v = far.v when not matched by source and t.k < 10 then delete when not matched then insert (k, v) values (far.k, far.v) returning merge_action(), old, new, far.id;
with u as (update t set v = v * 2 where k < 20 returning old.v o, new.v n) select sum(o), sum(n) from u;
with u as (update t set v = v * 2 returning old.v o, new.v n) select sum(o), sum(n) from u;
with d as (delete from t where k % 4 = 0 returning old.k as a, old.v, new.s) insert into far select a::text, a, v from d returning new.*, old.id;
insert into t select k + 500, v from src returning new.k, old.k;
insert into t select distinct on (k) k, v from far order by k, v on conflict (k) do update set v = 0 returning old.v, new.v;
insert into far select 'z' || k, k, v from t where k < 30 returning new.id, old.id;
insert into ref values (1, 'q'), (77, 'n') on conflict (id) do update set name = excluded.name returning old.*, new.*;
update t set s = 'qq' where k in (11, 13) returning old.s || new.s, old.ctid is null, old.tableoid is null, to_jsonb(old), to_jsonb(new);
insert into t values (3333, 1, 'zz') returning old.ctid is null, old.tableoid is null, to_jsonb(old), coalesce(old.s, new.s);
update t set v = v + 1 where k < 15 returning (select count(*) from far where far.k = old.k + 30), (select max(far.id) from far where far.v = new.v * 10), old.v;
create view vw as select k, v, v * 2 as vv, s || '!' as ss, 7 as seven from t;
insert into vw (k, v) values (301, 3), (302, 4) returning old.vv, new.vv, old.seven, new.seven, old.ss, k, seven, old, new;
update vw set v = v + 1 where k < 4 returning old.vv, new.vv, new.ss, old.seven;
update vw set v = src.v from src where vw.k = src.k and src.k < 40 returning old.vv, new.vv, new.ss, old.seven, src.w, old;
update vw set v = far.v from far where vw.k = far.k and far.id like 'f%' and far.k < 40 returning old.vv, new.vv, new.ss, old.seven, far.id, old, new;
delete from vw where k < 8 returning old.vv, new.vv, new.seven, vv, new;
merge into vw using src on vw.k = src.k when matched and src.k < 35 then delete when matched then update set v = 1 when not matched then insert (k, v) values (src.k, 9) returning merge_action(), old.vv, new.vv, old.seven, new.seven, new.ss;
insert into vw (k, v) values (11, 3), (402, 4) on conflict (k) do update set v = excluded.v + vw.v returning old.vv, new.vv, old.seven, new.seven, old.ss;
do $$ declare a int; b int; begin for i in 1..7 loop update t set v = v + 1 where k = 11 returning old.v, new.v into a, b; if a + 1 <> b then raise 'wrong'; end if; end loop; end $$;
do $$ declare a int; b int; begin for i in 1..9 loop insert into t values (90000 + i / 2, i) on conflict (k) do update set v = excluded.v returning old.v, new.v into a, b; if a + 1 <> b or (a is null) <> (i % 2 = 0 or i = 1) then raise 'wrong % % %', i, a, b; end if; end loop; end $$;
select * from t;
select * from far;
"""
VIRTUAL_18 = """
create table vg (k int primary key, a int, b int generated always as (a * 2), c text generated always as (upper('x' || a::text)) virtual);
only: select create_distributed_table('vg', 'k');
insert into vg (k, a) select i, i from generate_series(1, 20) i;
insert into vg (k, a, b) values (100, 1, default) returning *;
select * from vg where b = 20;
select b, c, count(*) from vg group by b, c;
select vg.b, src.w from vg join src on vg.b = src.v;
select sum(b), max(c) from vg where k = 5;
update vg set a = 50 where b = 10 returning b, old.b, c;
428C9:update vg set b = 1;
select x.k, y.k, x.b from vg x join vg y on x.b = y.b;
select row_number() over (order by c, k), b from vg;
select (q).b from (select vg q from vg where k = 4) z;
insert into far select 'v' || b, b, k from vg returning *;
merge into vg using src on vg.k = src.k when matched then update set a = src.v when not matched then insert (k, a) values (src.k, 1) returning vg.b, merge_action(), old.b, new.c;
delete from vg where c = 'X1' returning b;
alter table vg add column d int generated always as (a + 1) virtual;
select k, d, b from vg;
alter table vg alter column d set expression as (a + 2);
select k, d, b from vg;
alter table vg drop column d;
create table rv (id int primary key, a int, b int generated always as (a * 2));
only: select create_reference_table('rv');
insert into rv select i, i from generate_series(1, 20) i;
select * from rv join src on src.k = rv.b;
"""
TEMPORAL_18 = """
create table tp (id int, valid daterange, x text, primary key (id, valid without overlaps));
only: select create_distributed_table('tp', 'id');
insert into tp values (1, '[2024-01-01,2024-02-01)', 'a'), (1, '[2024-02-01,2024-03-01)', 'b'), (2, '[2024-01-01,2024-02-01)', 'c');
23P01:insert into tp values (1, '[2024-01-15,2024-02-05)', 'dup');
insert into tp values (1, '[2024-01-15,2024-02-05)', 'dup') on conflict do nothing;
create table tf (id int, d int, valid daterange, foreign key (id, period valid) references tp (id, period valid));
only: select create_distributed_table('tf', 'id', colocate_with => 'tp');
insert into tf values (1, 1, '[2024-01-10,2024-02-10)');
23503:insert into tf values (1, 1, '[2024-01-10,2024-05-10)');
alter table tf add constraint q unique (id, d, valid without overlaps);
23P01:insert into tf values (1, 1, '[2024-02-09,2024-02-12)');
23503:delete from tp where x = 'a';
select * from tp;
select * from tf;
"""
CONSTRAINTS_18 = """
create table ck (k int primary key, v int);
only: select create_distributed_table('ck', 'k', colocate_with => 't');
alter table ck add constraint low check (v < 10) not enforced;
insert into ck values (1, 100), (2, null);
create table ne (k int check (k > 0) not enforced, v int, constraint kfk foreign key (k) references ck (k) not enforced);
only: select create_distributed_table('ne', 'k', colocate_with => 't');
insert into ne values (-5, 1), (123456, 2);
23503:alter table ne alter constraint kfk enforced;
delete from ne;
alter table ne alter constraint kfk enforced;
23503:insert into ne values (123456, 2);
alter table ne alter constraint kfk not enforced;
insert into ne values (123456, 2);
alter table ck add constraint vnn not null v not valid;
23502:insert into ck values (3, null);
23502:alter table ck validate constraint vnn;
delete from ck where v is null;
alter table ck validate constraint vnn;
alter table ck rename constraint vnn to vnn2;
alter table ck alter constraint vnn2 no inherit;
alter table ck alter constraint vnn2 inherit;
23502:insert into ck values (3, null);
alter table ck drop constraint vnn2;
insert into ck values (3, null);
create table cn (k int constraint knn not null, v int constraint vnn not null no inherit);
only: select create_distributed_table('cn', 'k');
55000:alter table cn add constraint cn_pk primary key (k, v);
alter table cn add constraint cn_pk primary key (k);
23505:insert into cn values (1, 1), (1, 2);
23502:insert into cn values (1, null);
create table nn (k int, d int, v int, constraint named not null v) partition by range (d);
create table nna partition of nn for values from (0) to (10);
only: select create_distributed_table('nn', 'k');
23502:insert into nn values (1, 1, null);
alter table nn add constraint dnn not null d;
create table nnb partition of nn for values from (10) to (20);
alter table nn drop constraint named;
insert into nn values (1, 11, null);
create table nnc (k int, d int not null, v int);
alter table nn attach partition nnc for values from (20) to (30);
insert into nn values (1, 21, null);
select * from nn;
"""
VALUES_18 = """
select uuid_extract_version(uuidv7()), uuid_extract_version(uuidv4()) from src where k = 30;
select count(distinct u) = count(*) from (select uuidv7() u from src);
create table uu (id uuid default uuidv7() primary key, v int);
only: select create_distributed_table('uu', 'id');
insert into uu (v) select i from generate_series(1, 50) i;
insert into uu (v) values (99) returning uuid_extract_version(id);
select count(*), count(distinct id) from uu;
select v from uu order by id limit 5;
select casefold('ABC' || w), crc32('a'::bytea), reverse('abc'::bytea), array_reverse(array[k, v]), array_sort(array[v, k]) from src;
select v, array_sort(array_agg(k)) from src group by v;
select min(row(k, v)), max(row(v, k)), min(array[k, v]), max(w::bytea) from src;
select sum(v) from src where w like 'w3%' collate pg_c_utf8;
analyze only src;
vacuum only src;
"""


def test_returning_old_and_new(con):
    needs(con, 18)
    run(con, RETURNING_18)


def test_old_row_that_has_moved(con):
    needs(con, 18)
    run(con, """
update t set k = k + 100000 where k < 8 returning old.k, new.k, old.v, k;
merge into t using src on t.k = src.k when matched then update set k = t.k + 200000 when not matched then insert (k, v) values (src.k + 300000, 1) returning merge_action(), old.k, new.k, old, new, src.w;
delete from t where k > 100000 returning old.k, new.k;
""")


def test_virtual_columns(con):
    needs(con, 18)
    run(con, VIRTUAL_18)


def test_temporal_keys(con, names):
    needs(con, 18)
    run(con, TEMPORAL_18)


def test_constraints_of_18(con, herd):
    """Also: names of NOT NULL constraints are the same on all nodes."""
    needs(con, 18)
    run(con, CONSTRAINTS_18)
    listed = ("select c.relname, n.conname, n.convalidated, n.connoinherit from pg_constraint n "
              "join pg_class c on c.oid = n.conrelid where contype = 'n' and c.relnamespace = "
              "'%s'::regnamespace and c.relname in ('ck', 'cn', 'nn', 'nna', 'nnb', 'nnc') "
              "order by 1, 2")
    want = con.execute(listed % plan_herd.PLAIN).fetchall()
    assert len(want) > 5
    for node in range(3):
        with herd.connect(node) as c:
            assert c.execute(listed % plan_herd.DISTRIBUTED).fetchall() == want, node


def test_values_of_18(con):
    needs(con, 18)
    run(con, VALUES_18)


def test_foreign_table_like(con):
    """CREATE FOREIGN TABLE (LIKE ..): its columns are those of the distributed table."""
    needs(con, 18)
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("create foreign data wrapper v_dummy; create server v_sv foreign data wrapper "
                "v_dummy; create foreign table ft (like src including all) server v_sv")
    try:
        assert con.execute("select attname from pg_attribute where attrelid = 'ft'::regclass and "
                           "attnum > 0 order by attnum").fetchall() == [("k",), ("v",), ("w",)]
    finally:
        con.execute("drop foreign data wrapper v_dummy cascade")


def test_explain_of_18(con):
    needs(con, 18)
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    for options in ("analyze", "analyze, buffers off", "analyze, memory, serialize, wal", "verbose",
                    "analyze, format json, settings", "generic_plan"):
        text = str(con.execute("explain (%s) select v, count(*) from t where k > 3 group by v" %
                               options).fetchall())
        assert "t_10" in text or "Tasks" in text or "Tier" in text, (options, text)
