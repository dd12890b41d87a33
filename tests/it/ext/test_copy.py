"""COPY into and out of distributed tables beside COPY of the same data and plain tables."""
import contextlib
import io
import os
import random
import tempfile
import threading
import time

import psycopg2
import pytest

TABLES = """
create type mood as enum ('sad', 'ok', 'happy');
create domain small as int check (value < 1000);
create domain word as text not null default 'dflt';
create sequence numbers;
create table {s}.t (k int not null, v text, n numeric(8,2), m mood, d small, b bool, j jsonb, a int[],
    ts timestamptz, check (n > -100));
create table {s}.nk (v text, k text, x int);
create table {s}.dflt (id bigint default nextval('{s}.ids'), k int, v text default 'a"b\\c,d' || chr(10),
    w word, g int generated always as (k * 2) stored, at timestamptz default now(), u int);
create table {s}.one (k int, v text);
create table {s}.ref (k int primary key, v text);
create table {s}.uk (k bigint primary key, u uuid);
create table {s}.tx (k varchar(5), v int);
create table {s}.cs (k int[], v int);
create table {s}.da (k date, v int, primary key (k, v));
"""


class Pair:
    """One session with the plain tables in schema p and the distributed ones in d."""

    def __init__(self, conn):
        self.conn = conn

    def copy(self, schema, table, data, tail="", columns="", path=None):
        """What a COPY gives: its count or its error and the context of that; then all rows."""
        cur = self.conn.cursor()
        command = "copy %s.%s %s from %s %s" % (schema, table, columns, path or "stdin", tail)
        cur.execute("begin; savepoint s")
        try:
            if path:
                cur.execute(command)
            else:
                cur.copy_expert(command, io.BytesIO(data), size=random.choice([7, 100, 8192]))
            said = cur.rowcount
        except psycopg2.Error as e:
            context = [line for line in (e.diag.context or "").split("\n") if "command on" not in line]
            said = (e.pgcode, e.diag.message_primary, e.diag.message_detail, e.diag.message_hint,
                    "\n".join(context), e.diag.column_name, e.diag.constraint_name)
            cur.execute("rollback to s")
        cur.execute("select * from %s.%s t order by t::text" % (schema, table))
        rows = cur.fetchall()
        cur.execute("rollback")
        return said, rows

    def same(self, table, data, *args, **kw):
        if isinstance(data, str):
            data = data.encode()
        plain = self.copy("p", table, data, *args, **kw)
        for schema in ["d"]:
            got = self.copy(schema, table, data, *args, **kw)
            assert got == plain, (table, data[:200], args, kw)
        return plain


@pytest.fixture(scope="module")
def pair(nodes):
    c = nodes.session()
    cur = c.cursor()
    for sql in TABLES.split(";\n")[:3]:
        cur.execute(sql)
    for s in ("p", "d"):
        cur.execute("create schema %s; create sequence %s.ids" % (s, s))
        cur.execute(";".join(TABLES.split(";\n")[4:]).replace("{s}", s))
    cur.execute("set citus.shard_count = 8")
    for table, key in (("t", "k"), ("nk", "k"), ("dflt", "k"), ("uk", "k"), ("tx", "k"), ("cs", "k"),
                       ("da", "k")):
        cur.execute("select create_distributed_table('d.%s', %%s)" % table, (key,))
    cur.execute("select create_distributed_table('d.one', null); select create_reference_table('d.ref')")
    yield Pair(c)
    c.close()


T = ["1", "x", "1.5", "ok", "5", "t", '{"a": 1}', "{1,2}", "2024-01-01 00:00:00+00"]
# (table, data, options, columns): each is loaded into both tables and everything compared
CASES = [
    ("one", b"", "", ""),
    ("one", b"1\ta\n2\tb\n", "", ""),
    ("one", b"1\ta\n2\tb", "", ""),
    ("nk", b"\\N\tk\t\\N\nv\tk2\t7\n", "", ""),
    ("nk", b"a\\tb\tk\\\\\t1\n\\x41\\101\\n\tk\\\nx\t2\n", "", ""),
    ("nk", b"a\tk\t1\n\\.\nrest is not read", "", ""),
    ("nk", b"a\tk\t1\r\nb\tl\t2\r\n", "", ""),
    ("nk", b"a\tk\t1\rb\tl\t2\r", "", ""),
    ("nk", b"a\tk\t1\nb\tl\t2\r\nc\tm\t3\n", "", ""),
    ("nk", b"a\tk\t1\r\nb\tl\t2\nc\tm\t3\n", "", ""),
    ("nk", b"a\tk\t1\rb\tl\t2\nc\tm\t3\n", "", ""),
    ("nk", b"a\tk\t1\nb\\.\n", "", ""),
    ("nk", b"a\tk\t1\n\\.x\n", "", ""),
    ("nk", b"a|k|1\nb|l\\|x|2\n", "delimiter '|'", ""),
    ("nk", b"a|k|1\nb|none|none\n", "(delimiter '|', null 'none')", "(k, v, x)"),
    ("nk", b"a,k,1\nnone,\"none\",none\n", "(format csv, null 'none')", ""),
    ("nk", b"k,1\n\"k,2\",2\n\"k\"\"3\",\n", "csv", "(k, x)"),
    ("nk", b"'k''1',1\n'a\nb',2\nc,x\n", "(format csv, quote '''')", "(k, x)"),
    ("nk", b"\"k\\\"1\",1\n\"a\\\\\",2\n\"\\n\",3\n", "(format csv, escape '\\')", "(k, x)"),
    ("nk", b"v,k,x\na,k,1\n", "(format csv, header)", ""),
    ("nk", b"v,k,x\na,k,1\n", "(format csv, header match)", ""),
    ("nk", b"v,k,y\na,k,1\n", "(format csv, header match)", ""),
    ("nk", b"v,k\na,k,1\n", "(format csv, header match)", ""),
    ("nk", b"k\tx\nk\t1\n", "(header match)", "(k, x)"),
    ("nk", b"v,k,x\n", "(format csv, header)", ""),
    ("nk", b"a,\"multi\r\nline\",1\nb,\"one\nmore\",2\nc,k,x\n", "csv", ""),
    ("nk", b"a,\"k\n1\",1\n\"b\n\n\",k,2\nc,k,3\nd,e,f\n", "csv", ""),
    ("nk", b"\\.\na,k,1\n", "csv", ""),
    ("nk", b"a,k,1\n\\.\nb,k,2\n", "csv", ""),
    ("nk", b"\\.x,k,1\n\\a,k,2\n", "csv", ""),
    ("nk", b"a,\"k,1\nb,k,2\n", "csv", ""),
    ("nk", b"a,k,1\rb,k,2\r", "csv", ""),
    ("nk", b"a,k,1\r\nb,k,2\r\n", "csv", ""),
    ("nk", b"a,k,1\r\nb,k,2\n", "csv", ""),
    ("nk", b"a,k,1\nb,\rk,2\n", "csv", ""),
    ("nk", b"a,,1\n", "(format csv, force_not_null (k))", ""),
    ("nk", b"a,\"\",1\n", "(format csv, force_not_null (v))", ""),
    ("nk", b"\"\",k,\"\"\n", "(format csv, force_null (v, x))", ""),
    ("nk", b"\"\",k,\"\"\n", "(format csv, force_null (v))", ""),
    ("nk", b"a,k\n", "csv", ""),
    ("nk", b"a\n", "csv", ""),
    ("nk", b"a,k,1,2\n", "csv", ""),
    ("nk", b"a,k,1\n\nb,k,2\n", "csv", ""),
    ("nk", b"a,k,1\nb,k,x\nc,k,3\n", "csv", ""),
    ("nk", b"a,k,1\nb,k,99999999999\n", "csv", ""),
    ("nk", b"a,k\xc3\xa4,1\n\xe2\x82\xac,k,2\n", "csv", ""),
    ("nk", b"a,k,1\nb\xff,k,2\n", "csv", ""),
    ("nk", b"a,k\x00,1\n", "csv", ""),
    ("nk", b"a,k\xe4,1\n\xa4,k,2\n", "(format csv, encoding 'LATIN1')", ""),
    ("nk", b"\x83\x5c,k,1\n", "(format csv, encoding 'SJIS')", ""),
    ("nk", b"a,k,1\nb,l,2\nc,m,3\n", "csv where x > 1", ""),
    ("nk", b"a,k,1\nb,l,2\nc,m,3\n", "csv where v = 'a' or nk.x = 3 and nk.k like 'm%'", ""),
    ("nk", b"a,k,1\nb,l,2\nc,m,3\n", "csv where random() < 2 and x > 1", ""),
    ("nk", b"a,k,1\nb,l,2\n", "csv where nk is not null and x = 2", ""),
    ("nk", b"a,k,1\n", "csv where y = 2", ""),
    ("nk", b"a,k,1\n", "csv where x", ""),
    ("nk", b"a,k,1\n", "csv where x in (select 1)", ""),
    ("t", "\n".join("\t".join([str(i)] + T[1:]) for i in range(300)).encode(), "", ""),
    ("t", b"1\tx\tbad\tok\t5\tt\t{}\t{}\tnow\n", "", ""),
    ("t", b"1\n2\nx\n4\n", "", "(k)"),
    ("t", b"1\n2\n\\N\n4\n", "", "(k)"),
    ("t", b"99999999999\n", "", "(k)"),
    ("t", b" 12 \n+7\n-5\n0012\n-2147483648\n2147483647\n", "", "(k)"),
    ("t", b"1\tok\n2\tgreat\n", "", "(k, m)"),
    ("t", b"1\t5\n2\t5000\n", "", "(k, d)"),
    ("t", b"1\t5\n2\t-500\n", "", "(k, n)"),
    ("t", b"1\t{}\n2\t{bad}\n", "", "(k, j)"),
    ("t", b"1\t{}\n2\t{1,x}\n", "", "(k, a)"),
    ("t", b"1\tabc\n", "", "(k, k)"),
    ("t", b"1\tabc\n", "", "(k, nope)"),
    ("t", b"1\n", "(format csv, force_null (v))", "(k)"),
    ("t", b"1\n", "(format nonsense)", "(k)"),
    ("t", b"1\n", "(delimiter 'xx')", "(k)"),
    ("t", b"1\n", "(freeze)", "(k)"),
    ("dflt", b"1\ta\n2\tb\n3\t\\N\n", "", "(k, u)"),
    ("dflt", b"1\n2\n3\n", "", "(k)"),
    ("dflt", b"1\n2\n3\n", "csv", "(k)"),
    ("dflt", b"5,1\n6,2\n", "csv", "(u, k)"),
    ("dflt", b"5,1\n6,2\n6,x\n", "csv", "(u, k)"),
    ("dflt", b"5,1\n6\n", "csv", "(u, k)"),
    ("dflt", b"5,1\n6,2,3\n", "csv", "(u, k)"),
    ("dflt", b"1\n", "csv", "(g)"),
    ("dflt", b"1,2\n3,4\n", "csv where g > 2", "(k, u)"),
    ("dflt", b"1,2\n3,4\n", "csv where id > 0 and u > 2", "(k, u)"),
    ("dflt", b"1,\n2,x\n", "(format csv, null 'x')", "(k, w)"),
    ("ref", b"1,a\n2,b\n", "csv", ""),
    ("ref", b"1,a\n2,b\n1,c\n", "csv", ""),
    ("uk", b"1,00000000-0000-0000-0000-000000000001\n9223372036854775807,\n-3,\n", "csv", ""),
    ("uk", b"1,\n9223372036854775808,\n", "csv", ""),
    ("uk", b"1,\n2,\n1,\n", "csv", ""),
    ("uk", b"1,\n2,zzz\n", "csv", ""),
    ("tx", b"abc,1\nabcde   ,2\n", "csv", ""),
    ("tx", b"abc,1\nabcdef,2\n", "csv", ""),
    ("cs", b"\"{1,2}\",1\n{},2\n", "csv", ""),
    ("da", b"2024-02-29,1\nepoch,2\n", "csv", ""),
    ("da", b"2024-02-29,1\n2023-02-29,2\n", "csv", ""),
]


def same_dflt(pair, table, data, tail, columns):
    """Ids count from one again, the time is now."""
    got = []
    for schema in ("p", "d"):
        pair.conn.cursor().execute("alter sequence %s.ids restart" % schema)
        said, rows = pair.copy(schema, table, data, tail, columns)
        got.append((said, [(r[:5], r[5] is not None, r[6]) for r in rows]))
    assert got[0] == got[1]


@pytest.mark.parametrize("n", range(len(CASES)))
def test_same_as_plain(pair, n):
    table, data, tail, columns = CASES[n]
    if table == "dflt":
        same_dflt(pair, table, data, tail, columns)
    else:
        pair.same(table, data, tail, columns)


def test_null_in_the_distribution_column(pair):
    for tail in ("csv", "(format csv, encoding 'LATIN1')"):
        (code, message, _, _, context, *_), rows = pair.copy("d", "nk", b"a,k,1\nb,,2\n", tail)
        assert (code, rows) == ("23502", []) and "distribution column" in message
        assert context == 'COPY nk, line 2: "b,,2"'


def test_random_data_in_all_formats(pair):
    rng = random.Random(5)
    cur = pair.conn.cursor()
    chars = "abc,;'\"\\\t\n\r|N. é€\x01"
    cur.execute("truncate p.nk")
    for i in range(400):
        cur.execute("insert into p.nk values (%s, %s, %s)", (
            None if rng.random() < .1 else "".join(rng.choices(chars, k=rng.randrange(9))),
            "".join(rng.choices(chars, k=rng.randrange(9))), None if rng.random() < .2 else i))
    for tail in ("", "csv", "(format binary)", "(format csv, quote '''', escape '\\', delimiter ';')",
                 "(format csv, force_quote *)", "(delimiter '|', null 'NN')",
                 "(format csv, header, delimiter '|')", "(encoding 'UTF8', header)"):
        out = io.BytesIO()
        cur.execute("truncate d.nk")
        cur.copy_expert("copy p.nk to stdout " + tail, out)
        cur.copy_expert("copy d.nk from stdin " + tail.replace("force_quote *", "null ''"),
                        io.BytesIO(out.getvalue()), size=1000)
        assert cur.rowcount == 400, tail
        cur.execute("(table p.nk except all table d.nk) union all (table d.nk except all table p.nk)")
        assert cur.fetchall() == [], tail
        for source in ("d.nk", "(select * from d.nk)", "d.nk (k, v)", "(select k, v from d.nk)"):
            back = io.BytesIO()
            cur.copy_expert("copy %s to stdout %s" % (source, tail), back)
            plain = io.BytesIO()
            cur.copy_expert("copy %s to stdout %s" % (source.replace("d.", "p."), tail), plain)
            assert len(back.getvalue()) == len(plain.getvalue()), (source, tail)
    cur.execute("truncate d.nk; truncate p.nk")


@pytest.mark.parametrize("columns", ["", "(k, g)", "(k, k)", "(k, none)", "(u, k)"])
def test_columns_that_are_copied_out(pair, columns):
    cur = pair.conn.cursor()
    answers = []
    for schema in "pd":
        cur.execute("begin; insert into %s.dflt (id, k, at) values (1, 2, 'epoch')" % schema)
        out = io.BytesIO()
        try:
            cur.copy_expert("copy %s.dflt %s to stdout" % (schema, columns), out)
            answers.append(out.getvalue())
        except psycopg2.Error as e:
            answers.append((e.pgcode, e.diag.message_primary, e.diag.message_detail))
        cur.execute("rollback")
    assert answers[0] == answers[1]


def test_files_programs_and_rights(pair, nodes):
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o777)
        cur = pair.conn.cursor()
        cur.execute("insert into d.nk select 'v' || i, 'k' || i, i from generate_series(1, 1000) i")
        cur.execute("copy d.nk to '%s/nk.csv' (format csv, header)" % path)
        assert cur.rowcount == 1000
        cur.execute("copy (select x, k from d.nk where x < 11) to program 'cat > %s/p.txt'" % path)
        assert cur.rowcount == 10
        cur.execute("truncate d.nk")
        for source in ("'%s/nk.csv'" % path, "program 'cat %s/nk.csv'" % path):
            cur.execute("copy d.nk from %s (format csv, header match)" % source)
            cur.execute("select count(*), sum(x), count(distinct k) from d.nk")
            assert cur.fetchone() == (1000, 500500, 1000)
            cur.execute("truncate d.nk")
        for source in ("'%s/none'" % path, "'%s'" % path, "program 'exit 3'"):
            pair.same("nk", "", path=source)
        with open(path + "/bad.csv", "w") as f:
            f.write("a,k,1\n" * 5000 + "a,k,oops\n" + "a,k,1\n" * 1000)
        pair.same("nk", "", "csv", path="'%s/bad.csv'" % path)
        cur.execute("create role loader login; grant usage on schema p, d to loader;"
                    "grant insert, select, truncate on p.nk, d.nk to loader")
        with contextlib.closing(nodes.session(user="loader")) as c:
            user = Pair(c)
            for source in ("'%s/nk.csv'" % path, "program 'cat %s/nk.csv'" % path):
                user.same("nk", "", "csv", path=source)
            with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="pg_write_server_files"):
                c.cursor().execute("copy d.nk to '%s/x'" % path)
            cur.execute("grant pg_read_server_files to loader")
            assert user.same("nk", "", "(format csv, header)", path="'%s/nk.csv'" % path)[0] == 1000
            cur.execute("revoke insert on p.nk, d.nk from loader; "
                        "grant insert (k, v) on p.nk, d.nk to loader")
            user.same("nk", "a,k,1\n", "csv")
            assert user.same("nk", "k,a\n", "csv", "(k, v)")[0] == 1
            cur.execute("revoke select on p.nk, d.nk from loader")
            for schema in ("p", "d"):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    c.cursor().copy_expert("copy %s.nk (k, v) from stdin csv where v = 'a'" % schema,
                                           io.StringIO("k,a\n"))


def test_in_transactions_and_functions(pair):
    cur = pair.conn.cursor()
    cur.execute("begin; create table d.fresh (k int, v text); "
                "select create_distributed_table('d.fresh', 'k')")
    cur.copy_expert("copy d.fresh from stdin csv freeze", io.StringIO("1,a\n2,b\n"))
    cur.execute("select count(*) from d.fresh; ")
    assert cur.fetchone() == (2,)
    cur.execute("savepoint s")
    cur.copy_expert("copy d.fresh from stdin csv", io.StringIO("3,c\n"))
    with pytest.raises(psycopg2.DataError):
        cur.copy_expert("copy d.fresh from stdin csv", io.StringIO("4,d\nx,e\n"))
    cur.execute("rollback to s")
    cur.copy_expert("copy d.fresh from stdin csv", io.StringIO("5,e\n"))
    cur.execute("commit; select array_agg(k order by k) from d.fresh")
    assert cur.fetchone() == ([1, 2, 5],)
    cur.execute("""
        create function load(bad bool) returns int language plpgsql as $$
        declare n int;
        begin
            copy d.fresh from program 'seq 10 20 | sed s/$/,x/' csv;
            begin
                if bad then copy d.fresh from program 'echo 21,a; echo y,b' csv; end if;
            exception when others then raise notice 'no: %', sqlerrm;
            end;
            get diagnostics n = row_count;
            return n;
        end $$""")
    cur.execute("select load(false)")
    assert cur.fetchone() == (11,)
    cur.execute("select load(true)")
    cur.execute("select count(*), max(k) from d.fresh")
    assert cur.fetchone() == (25, 20)
    cur.execute("drop function load; drop table d.fresh")


def test_progress_and_cancel(pair, nodes, wait_until):
    cur = pair.conn.cursor()
    read, write = os.pipe()
    failed = []

    def load():
        with contextlib.closing(nodes.session()) as c, os.fdopen(read, "rb") as f:
            try:
                c.cursor().copy_expert("copy d.nk from stdin csv", f, size=1000)
            except psycopg2.Error as e:
                failed.append(e.pgcode)
    t = threading.Thread(target=load)
    t.start()
    with os.fdopen(write, "wb") as f:
        f.write(b"a,key,1\n" * 50000)
        f.flush()

        def progress():
            cur.execute("select relid::regclass::text, command, type, bytes_processed, tuples_processed, "
                        "pid from pg_stat_progress_copy where relid = 'd.nk'::regclass")
            row = cur.fetchone()
            return row if row and row[4] > 10000 else None
        row = wait_until(progress)
        assert row[:3] == ("d.nk", "COPY FROM", "PIPE") and row[3] >= row[4] * 8
        cur.execute("select pg_cancel_backend(%s)", (row[5],))
        with contextlib.suppress(BrokenPipeError):
            for _ in range(200):
                if failed:
                    break
                f.write(b"a,key,1\n" * 1000)
                f.flush()
                time.sleep(0.01)
    t.join(60)
    assert failed == ["57014"]
    cur.execute("select count(*) from d.nk")
    assert cur.fetchone() == (0,)


def test_error_at_the_end_undoes_all(pair):
    data = b"".join(b"v,key%d,%d\n" % (i, i) for i in range(200000)) + b"v,key,x\n"
    cur = pair.conn.cursor()
    with pytest.raises(psycopg2.DataError) as e:
        cur.copy_expert("copy d.nk from stdin csv", io.BytesIO(data))
    assert 'COPY nk, line 200001, column x: "x"' in e.value.diag.context
    cur.execute("select count(*) from d.nk")
    assert cur.fetchone() == (0,)


def test_defaults_that_use_the_shards(pair):
    """A default's function may itself read and write distributed tables, over the same connections."""
    cur = pair.conn.cursor()
    cur.execute("""
        create table d.log (k int, n int); select create_distributed_table('d.log', 'k');
        create function note() returns int language plpgsql as $$
        declare n int;
        begin
            insert into d.log values (1, 1), (2, 2);
            select count(*) into n from d.log;
            return n;
        end $$;
        create table d.uses (k int, v text, n int default note());
        select create_distributed_table('d.uses', 'k')""")
    cur.copy_expert("copy d.uses (k, v) from stdin csv",
                    io.StringIO("".join("%d,%s\n" % (i, "x" * 5000) for i in range(200))))
    cur.execute("select count(*), sum(n) from d.uses")
    assert cur.fetchone() == (200, sum(range(2, 401, 2)))
    cur.execute("drop table d.uses, d.log; drop function note")


def test_trigger_that_loads_another_table(pair, nodes):
    """On the node that has the shards a row trigger loads rows while rows of its own are loaded."""
    cur = pair.conn.cursor()
    cur.execute("""
        create table d.inner_rows (k int, n int not null);
        select create_distributed_table('d.inner_rows', 'k');
        create function load_more() returns trigger language plpgsql as $$
        begin
            execute format('copy d.inner_rows from program %L', 'seq -f "' || new.k || E'\\t%.0f" 20');
            begin
                insert into d.inner_rows select new.k, nullif(g, 20) from generate_series(1, 20) g;
            exception when not_null_violation then null;
            end;
            return new;
        end $$;
        create table d.outer_rows (k int, v text); select create_distributed_table('d.outer_rows', 'k');
        create trigger more before insert on d.outer_rows for each row execute function load_more()""")
    with contextlib.closing(nodes.session(1)) as c:
        worker = c.cursor()
        worker.copy_expert("copy d.outer_rows from stdin csv", io.StringIO(
            "".join("%d,%s\n" % (i, "x" * 30000) for i in range(1, 61))))
    cur.execute("select count(*), sum(k), sum(length(v)) from d.outer_rows")
    assert cur.fetchone() == (60, 1830, 60 * 30000)
    cur.execute("select count(*), sum(k), sum(n) from d.inner_rows")
    assert cur.fetchone() == (60 * 20, 20 * 1830, 60 * 210)
    cur.execute("drop table d.outer_rows, d.inner_rows; drop function load_more")


def test_long_lines(pair):
    data = b"".join(b"%s,key%d,%d\n" % (b"x" * n, i, i)
                    for i, n in enumerate([5 << 20, 10, 70000, 1, 9 << 20, 3]))
    cur = pair.conn.cursor()
    cur.copy_expert("copy d.nk from stdin csv", io.BytesIO(data))
    cur.execute("select sum(length(v)), count(*) from d.nk")
    assert cur.fetchone() == ((14 << 20) + 70014, 6)
    cur.execute("truncate d.nk")


def test_a_worker_dies_in_the_middle(pair, nodes, wait_until):
    cur = pair.conn.cursor()
    failed = []
    read, write = os.pipe()

    def load():
        with contextlib.closing(nodes.session()) as c, os.fdopen(read, "rb") as f:
            try:
                c.cursor().copy_expert("copy d.nk from stdin csv", f, size=8192)
            except psycopg2.Error as e:
                failed.append(str(e))
    t = threading.Thread(target=load)
    t.start()
    with os.fdopen(write, "wb") as f, contextlib.suppress(BrokenPipeError):
        f.write(b"".join(b"v,key%d,%d\n" % (i, i) for i in range(100000)))
        f.flush()
        nodes.kill(2)
        for _ in range(400):
            if failed:
                break
            f.write(b"".join(b"v,key%d,%d\n" % (i, i) for i in range(10000)))
            f.flush()
    t.join(60)
    assert failed and "127.0.0.1" in failed[0]
    nodes.revive(2)
    wait_until(lambda: not nodes.all_prepared())
    cur.execute("select count(*) from d.nk")
    assert cur.fetchone() == (0,)
