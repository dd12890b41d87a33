"""Foreign keys and writes in WITH: looked at when the whole statement is done, as on one PostgreSQL."""
import contextlib

import psycopg2
import pytest

TABLES = """
create schema {0};
set search_path = {0};
create table parent (k int, id int, v text, primary key (k, id));
create table child (k int, id int, p int, v text, primary key (k, id),
                    constraint child_parent foreign key (k, p) references parent);
create table cascades (k int, p int, foreign key (k, p) references parent on delete cascade);
create table kind (id int primary key);
create table of_kind (k int, kind int references kind);
"""
ROWS = """
insert into parent select i, 1, 'p' from generate_series(1, 12) i;
insert into child select i, 1, 1, 'c' from generate_series(1, 8) i;
insert into cascades select i, 1 from generate_series(5, 12) i;
insert into kind select generate_series(1, 3);
insert into of_kind select i, i % 3 + 1 from generate_series(1, 9) i;
"""
DISTRIBUTE = """
select create_distributed_table('parent', 'k'), create_distributed_table('child', 'k', colocate_with => 'parent'),
       create_distributed_table('cascades', 'k', colocate_with => 'parent'), create_reference_table('kind'),
       create_distributed_table('of_kind', 'k', colocate_with => 'parent')
"""
ONE_LEFT = ("with p as (delete from parent where k between 1 and 4 returning k) delete from child using p "
            "where child.k = p.k and p.k <> 3")
PARENTS_FIRST = ("with p as (delete from parent where k between 1 and 4 returning k) delete from child using p "
                 "where child.k = p.k returning child.k")
# the row that is referred to comes after, or goes before, the one that refers to it
STATEMENTS = [
    "with c as (insert into child values (20, 1, 1, 'x'), (21, 1, 1, 'y') returning k) "
    "insert into parent select k, 1, 'new' from c",
    "with c as (insert into child values (22, 1, 1, 'x') returning k) insert into parent values (22, 1, 'new')",
    PARENTS_FIRST,
    "with p as (delete from parent where k = 1 returning k), c as (delete from child where k = 1) select * from p",
    "with p as (delete from parent where k <= 8 returning *) delete from child",
    "with p as (delete from parent returning *), c as (delete from child returning *) select count(*) from p, c",
    "with c as (insert into child select i, 1, 1 from generate_series(50, 90) i returning k) "
    "insert into parent select k, 1 from c",
    "with n as (select i, pg_catalog.random() r from generate_series(50, 90) i), "
    "c as (insert into child select i, 1, 1, (r < 2)::text from n returning k) insert into parent select k, 1 from n, c where i = k",
    # what is missing is missing at the end, too
    "with c as (insert into child values (30, 1, 1, 'x') returning k) insert into parent select k + 1, 1 from c",
    ONE_LEFT,
    "with p as (delete from parent where k = 2 returning k) select * from p",
    "with p as (update parent set id = 2 where k <= 4 returning k) update child set p = 2 from p where child.k = p.k",
    "with p as (update parent set id = 2 where k <= 4 returning k) update child set p = 3 from p where child.k = p.k",
    # with a third, and rows that go along
    "with p as (delete from parent where k > 4 returning k), c as (delete from child where k > 4 returning k) "
    "insert into of_kind select k, 1 from p",
    "with o as (insert into of_kind values (40, 9), (41, 9), (42, 9) returning *) insert into kind values (9)",
    "with o as (insert into of_kind values (40, 9), (41, 8) returning *) insert into kind values (9)",
    "with k as (delete from kind where id = 2 returning id) delete from of_kind using k where kind = k.id",
    "with k as (delete from kind where id = 2 returning id) delete from of_kind using k where kind = k.id and k < 4",
]


def outcome(c, sql):
    try:
        c.execute(sql)
        return (c.rowcount, sorted(c.fetchall()) if c.description else None)
    except psycopg2.Error as e:
        return (e.pgcode, e.diag.constraint_name, e.diag.message_primary.split('"')[1:2])


def contents(c):
    rows = []
    for table in "parent", "child", "cascades", "kind", "of_kind":
        c.execute("select * from %s order by 1, 2" % table if table != "kind" else "select * from kind order by 1")
        rows.append(c.fetchall())
    return rows


@pytest.fixture(scope="module")
def sessions(nodes):
    """{schema: cursor} of the distributed tables and plain ones, each in a session of its own."""
    with contextlib.ExitStack() as stack:
        found = {}
        for schema in "plain_keys", "spread_keys":
            c = stack.enter_context(contextlib.closing(nodes.session())).cursor()
            c.execute(TABLES.format(schema))
            if schema == "spread_keys":
                c.execute(DISTRIBUTE)
            c.execute(ROWS)
            found[schema] = c
        yield found
        for schema, c in found.items():
            c.execute("rollback; drop schema %s cascade" % schema)


@pytest.mark.parametrize("block", ["alone", "block", "savepoint", "function"])
@pytest.mark.parametrize("sql", STATEMENTS)
def test_as_on_one_server(sessions, sql, block):
    seen = []
    for c in sessions.values():
        c.execute("begin")
        if block == "savepoint":
            c.execute("update parent set v = 'before'; savepoint s")
        if block == "function":
            c.execute("do $do$ begin update kind set id = id; begin execute $$%s$$; "
                      "exception when foreign_key_violation then update parent set v = sqlerrm; end; end $do$" % sql)
            seen.append(contents(c))
        else:
            if block == "alone":
                c.execute("commit")
            seen.append([outcome(c, sql)])
            c.execute("rollback to s" if block == "savepoint" else "rollback")
            seen[-1].append(contents(c))
        c.execute("rollback")
        if block == "alone":
            c.execute("truncate parent, child, cascades, kind, of_kind")
            c.execute(ROWS)
    assert seen[0] == seen[1]


def test_it_goes_on_after_an_error(sessions):
    """The same connections to the nodes serve the statements after it."""
    for c in sessions.values():
        c.execute("begin; savepoint s")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            c.execute(ONE_LEFT)
        c.execute("rollback to s")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            c.execute("delete from parent where k = 1")
        c.execute("rollback to s")
        c.execute(PARENTS_FIRST)
        c.execute("savepoint s2; release s; select count(*) from parent")
        assert c.fetchall() == [(8,)]
        c.execute("rollback")


def test_prepared(sessions):
    for c in sessions.values():
        c.execute("prepare moved (int) as with p as (delete from parent where k = $1 returning k) "
                  "delete from child using p where child.k = p.k")
        c.execute("begin")
        for k in range(1, 9):
            c.execute("execute moved (%s)", (k,))
            assert c.rowcount == 1
        c.execute("rollback; deallocate moved")
