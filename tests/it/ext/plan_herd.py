"""The same tables distributed (schema d..) and plain (schema p..), and the comparison of answers."""
import os
import re
import sys

import psycopg
import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(TOP, "extension", "tests"))
import cluster as herd_cluster  # noqa: E402

# one pair of schemas for each module that loads them: a running herd can be used again
PLAIN = "p%x" % os.getpid()
DISTRIBUTED = "d%x" % os.getpid()
TABLES = """
create table a (k int not null, x int, s text, f float8, n numeric(12,3), ts timestamptz, flag bool);
create table b (k int not null, y int, t text, primary key (k, y));
create table c (ck text not null, k int, v bigint);
create table e (k int not null, x int);
create table r (id int primary key, name text, grp int);
create table r2 (id int, label text);
create table l (id int, note text);
create table o (k int, x int, w text);
create table p (k int not null, d int not null, x int, primary key (k, d)) partition by range (d);
create table p_low partition of p for values from (minvalue) to (3);
create table p_high partition of p for values from (3) to (maxvalue);
"""
# their states combine; the one of keep_first is null until a strict function has seen a value
AGGREGATES = """
create aggregate summed(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0',
	combinefunc = numeric_add);
create aggregate summed(int) (sfunc = int4_sum, stype = bigint, initcond = '0', combinefunc = int8pl);
create aggregate keep_first(text) (sfunc = text_smaller, stype = text, combinefunc = text_smaller);
"""
ROWS = """
insert into a select i % 40, nullif(i % 7, 3), 's' || (i % 11), i * 0.25, i * 1.125,
	'2024-01-01 00:00:00+00'::timestamptz + i * interval '7 hours', i % 3 = 0
	from generate_series(1, 150) i;
insert into a values (1000, null, null, null, null, null, null), (1001, 5, '', 0, 0, null, true);
insert into b select i % 50, i, case when i % 5 = 0 then null else 't' || (i % 6) end
	from generate_series(1, 90) i;
insert into c select 'c' || (i % 17), i % 40, i * 100 from generate_series(1, 60) i;
insert into r select i, 'r' || i, i % 3 from generate_series(0, 12) i;
insert into r values (2000, null, null);
insert into r2 select i % 5, 'l' || i from generate_series(1, 9) i;
insert into l select i, 'n' || i from generate_series(0, 9) i;
insert into o select i, nullif(i % 9, 4), 't' || i % 6 from generate_series(0, 20) i;
insert into p select i % 40, i / 20, nullif(i % 13, 5) from generate_series(0, 119) i;
"""
DISTRIBUTE = """
select create_distributed_table('a', 'k');
select create_distributed_table('b', 'k', colocate_with => 'a');
select create_distributed_table('e', 'k', colocate_with => 'a');
select create_distributed_table('c', 'ck');
select create_reference_table('r');
select create_reference_table('r2');
select create_distributed_table('o', null, colocate_with => 'none');
select create_distributed_table('p', 'k', colocate_with => 'a');
"""


class Herd:
    """A coordinator and two workers; HERD_TEST_DIR names a running one to use instead."""

    def __init__(self):
        self.own = "HERD_TEST_DIR" not in os.environ
        self.cluster = herd_cluster.Cluster(workers=2,
                                            pg_config=os.environ.get("PGHERD_TEST_PG_CONFIG"),
                                            directory=os.environ.get("HERD_TEST_DIR"))
        if self.own:
            try:
                self.cluster.start()
            except BaseException:
                self.cluster.stop()
                raise
        else:
            self.cluster.attach()

    def stop(self):
        if self.own:
            self.cluster.stop()

    def connect(self, node=0, **kw):
        kw.setdefault("autocommit", True)
        kw.setdefault("options", os.environ.get("HERD_TEST_OPTIONS", ""))
        kw.setdefault("user", "postgres")
        return psycopg.connect(host="127.0.0.1", port=self.cluster.ports[node],
                               dbname="postgres", **kw)

    def connect_to_shards(self, node, **kw):
        """A session that finds shards in pg_class: clients do not."""
        return self.connect(node, options="-c citus.show_shards_for_app_name_prefixes=*", **kw)

    def load(self, tables=TABLES + AGGREGATES, distribute=DISTRIBUTE, rows=ROWS, first=None):
        """Both sets; first: what stands otherwise in the text of the distributed tables."""
        global PLAIN, DISTRIBUTED
        PLAIN, DISTRIBUTED = PLAIN + "x", DISTRIBUTED + "x"
        with self.connect() as con:
            for schema in (PLAIN, DISTRIBUTED):
                con.execute("create schema %s" % schema)
                con.execute("set search_path = %s" % schema)
                text = tables
                if schema == DISTRIBUTED:
                    text = tables.replace(*first, 1) if first else tables
                if schema == DISTRIBUTED:
                    text = with_dropped(text)
                run_all(con, text)
                if schema == DISTRIBUTED:
                    run_all(con, distribute)
                run_all(con, rows)


def with_dropped(text):
    """Some of the tables had one more column: numbers of columns are not the same everywhere."""
    def one(m):
        return ("create table %s (gone int, %s;\nalter table %s drop column gone;"
                % (m[1], m[2], m[1]))
    return re.sub(r"^create table ([bcrop]) \(((?:.|\n)*?);$", one, text, flags=re.M)


def run_all(con, text):
    for statement in text.strip().split(";\n"):
        if statement.strip(" ;\n"):
            con.execute(statement)


def fixtures(load):
    """The fixtures of a module: a herd after load(herd), and a connection to its coordinator."""
    @pytest.fixture(scope="module")
    def herd():
        h = Herd()
        try:
            load(h)
            yield h
        finally:
            h.stop()

    @pytest.fixture(scope="module")
    def con(herd):
        with herd.connect() as c:
            yield c

    return herd, con


def contents(con, tables):
    """Compares the tables, those that are there."""
    for table in tables:
        if con.execute("select to_regclass('%s.%s')" % (PLAIN, table)).fetchone()[0]:
            compare(con, "select * from " + table)


def normal(value):
    """Sums of floats depend on the order of the rows."""
    if isinstance(value, float):
        return float("%.9g" % value)
    if isinstance(value, list):
        return tuple(normal(v) for v in value)
    if isinstance(value, dict):
        return tuple(sorted((k, normal(v)) for k, v in value.items()))
    return value


def answer(con, schema, sql, params=None):
    con.execute("set search_path = %s" % schema)
    cur = con.execute(sql, params, prepare=False)
    rows = cur.fetchall() if cur.description else []
    names = [c.name for c in cur.description] if cur.description else []
    return [tuple(normal(v) for v in row) for row in rows], names, cur.rowcount


def key(row):
    return tuple((v is None, str(type(v)), str(v)) for v in row)


def compare(con, sql, params=None, ordered=False, other=None):
    """
    Runs sql on both sets of tables (on the distributed ones through other, if given); raises
    AssertionError with the difference.
    """
    want, want_names, want_count = answer(con, PLAIN, sql, params)
    got, got_names, got_count = answer(other or con, DISTRIBUTED, sql, params)
    if not ordered:
        want, got = sorted(want, key=key), sorted(got, key=key)
    assert got == want, "%s\nmissing: %s\nextra: %s" % (
        sql, [x for x in want if x not in got][:5], [x for x in got if x not in want][:5])
    assert got_names == want_names, sql
    assert got_count == want_count, sql
