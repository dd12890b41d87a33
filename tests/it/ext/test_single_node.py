"""The coordinator is the only node and has all shards: tasks run in the session's own process."""
import psycopg
import pytest

import plan_herd
import test_plan_select
import test_plan_subqueries
import test_plan_write


def load(herd):
    with herd.connect() as con:
        con.execute("select citus_set_node_property(nodename, nodeport, 'shouldhaveshards', true) "
                    "from pg_dist_node where groupid = 0")
        con.execute("select citus_remove_node(nodename, nodeport) from pg_dist_node "
                    "where groupid <> 0")
    herd.load()


herd, con = plan_herd.fixtures(load)


@pytest.mark.parametrize("query", test_plan_select.LINES)
def test_same_rows(con, query):
    plan_herd.compare(con, query.lstrip("!"), ordered=query.startswith("!"))


@pytest.mark.parametrize("query", test_plan_subqueries.QUERIES.strip().splitlines())
def test_same_rows_of_subqueries(con, query):
    with con.transaction(force_rollback=True):
        con.execute("set local citus.repartition_join_min_size = 0")
        plan_herd.compare(con, query)


@pytest.mark.parametrize("line", test_plan_write.LINES)
def test_same_effect(con, line):
    test_plan_write.test_same_effect(con, line)


TABLES = """
create type latin as (a text, b varchar(9));
create table words (k int, s text, c char(4), v varchar(9), j json, x text[], l latin);
create table others (k int, s text, j jsonb);
"""
ROWS = """
insert into words select i, 'é' || i % 7, 'ü' || i % 5, 'ñ' || i, json_build_object('ä', i % 3, 'b', 'ö'), array['å' || i % 4, 'z'],
	('é' || i % 3, 'ß')::latin from generate_series(1, 60) i;
insert into others select i, 'é' || i % 9, jsonb_build_object('é', i) from generate_series(1, 60) i;
create temp table here as select 'é' || i as s, 'ü' || i as c, 'å' || i as x from generate_series(1, 3) i;
"""
QUERIES = """
select k, s, c, v, j::text, x, (l).b from words
select words::text from words
select s, count(*) from words group by s
select s, c, count(*), max(v) from words group by s, c having max(v) > 'ñ2'
select w.s, o.k from words w join others o on w.s = o.s where w.k < 20
select count(*), max(k) from words join here using (s)
select w.k, h.s from words w join here h on w.c = h.c
select w.k from words w join here h on w.x[1] = h.x
select (l).a, count(*) from words group by 1
select l, j::text from words where k < 10
select string_agg(s, ',' order by k) from words
select array_agg(s order by k), array_agg(x[1] order by k) from words
select json_agg(j order by k)::text from words
select o.j->>'é', w.j->>'ä' from others o join words w on o.k = w.k % 9
select upper(s), length(v) from words where s like 'é%' and v <> 'ñ1'
select s from words where s in (select s from others where k < 4)
select s from words where exists (select 1 from others where others.s = words.s and k < 9)
select distinct on (s) s, k from words order by s, k
select row_number() over (partition by s order by k), s from words
insert into words (k, s) select k, s || 'ø' from others returning k, s
insert into words (k, s, l) values (100, 'æ', ('é', 'ß')) returning words::text
update words set s = s || 'é', v = 'ç' where c = 'ü1' returning s, v
update words set s = o.s from others o where o.s = words.s and o.k = 3 returning words.s
update words set v = h.x from here h where h.c = words.c returning v
delete from words using others o where words.s = o.s returning words.v
select repeat('é', 20000), count(*) from words group by words.s
"""


@pytest.mark.parametrize("size", ["0", "1MB"])
@pytest.mark.parametrize("where", ["single", "nodes"])
def test_another_encoding(herd, where, size):
    """What a task and a moved row have is in the encoding of the database, wherever it runs."""
    other = herd
    if where == "nodes":
        other = plan_herd.Herd()
    try:
        other.load(TABLES, "select create_distributed_table('words', 'k');\n"
                   "select create_distributed_table('others', 'k')", "")
        with other.connect() as c:
            for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
                c.execute("set search_path = %s, public" % schema)
                c.execute("drop table if exists here")
                plan_herd.run_all(c, ROWS)
            c.execute("set client_encoding = 'LATIN1'")
            c.execute("set citus.repartition_join_min_size = '%s'" % size)
            for query in QUERIES.strip().splitlines():
                with c.transaction(force_rollback=True):
                    plan_herd.compare(c, query, ordered="order by s, k" in query)
            c.execute("set search_path = %s, public" % plan_herd.DISTRIBUTED)
            with pytest.raises(psycopg.errors.RaiseException, match="nö: é1") as e:
                c.execute("do $$ begin raise exception 'nö: %', (select min(s) from words where "
                          "s > 'é0'); end $$")
            assert e.value.diag.message_primary == "nö: é1"
    finally:
        if where == "nodes":
            other.stop()


PUT_OFF = """
drop table if exists late_child, late_parent;
create table late_parent (k int constraint late_parent_key primary key deferrable initially deferred);
create table late_target (k int primary key);
create table late_child (k int primary key,
    constraint late_ref foreign key (k) references late_target deferrable initially deferred);
select create_distributed_table('late_parent', 'k');
select create_distributed_table('late_target', 'k');
select create_distributed_table('late_child', 'k');
insert into late_parent select generate_series(1, 20);
"""


@pytest.mark.parametrize("way", [
    "{}", "begin; {}; commit", "begin; savepoint a; {}; commit and chain",
    "do $$ begin {}; commit; end $$"])
@pytest.mark.parametrize("write, constraint, message, detail", [
    ("insert into late_child values (7)", "late_ref",
     'insert or update on table "late_child" violates foreign key constraint "late_ref"',
     'Key (k)=(7) is not present in table "late_target".'),
    ("insert into late_parent values (3)", "late_parent_key",
     'duplicate key value violates unique constraint "late_parent_key"',
     'Key (k)=(3) already exists.')])
def test_what_fails_at_commit_names_tables(herd, way, write, constraint, message, detail):
    """Checked at the end of the transaction, outside of any statement."""
    with herd.connect() as con:
        if con.execute("select to_regclass('late_target')").fetchone()[0] is None:
            con.execute(PUT_OFF)
    with herd.connect() as con, pytest.raises(psycopg.IntegrityError) as failed:
        con.execute(way.format(write))
    diag = failed.value.diag
    assert (diag.message_primary, diag.message_detail) == (message, detail)
    assert (diag.table_name, diag.constraint_name) == (write.split()[2], constraint)
