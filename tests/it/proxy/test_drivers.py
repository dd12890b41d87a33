"""Real drivers through a proxy that pools transactions, with TLS and SCRAM on both sides: few servers, many clients."""
import asyncio
import io
import os
import shutil
import subprocess

import psycopg
import psycopg2
import pytest

from conftest import ROOT, Box, Proxy, make_cert, users

HERE = os.path.dirname(os.path.abspath(__file__))
LIBPQ = os.environ.get("PROXY_LIBPQ", os.path.join(ROOT, "build/tests/it/proxy_libpq"))
# Debian's package node-pg, or what ./setup --tests has got by npm.
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
NODE_PATH = os.environ.get("NODE_PATH") or os.path.join(CACHE, "pgherd-tests/node_modules")
JDBC = "/usr/share/java/postgresql.jar"
INI = """[databases]
db = host=127.0.0.1 port={pg}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir =
auth_type = scram-sha-256
auth_file = @DIR@/users.txt
admin_users = admin, u_scram
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
max_prepared_statements = 20
ignore_startup_parameters = extra_float_digits
client_tls_sslmode = require
client_tls_key_file = @DIR@/server.key
client_tls_cert_file = @DIR@/server.crt
server_tls_sslmode = require
[pgherd]
worker_threads = 2
"""
WHO = {"user": "u_scram", "password": "secret", "sslmode": "require", "host": "127.0.0.1", "dbname": "db"}


@pytest.fixture(scope="module")
def px(server):
    box = Box()
    users(box)
    make_cert(box)
    server.sql("drop table if exists drv", "create table drv (a int, b text)", "grant all on drv to public", db="db")
    try:
        yield Proxy(box, INI.format(pg=server.port))
    finally:
        box.close()


def program(*cmd, timeout=120, **env):
    done = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, timeout=timeout,
                          env=dict(os.environ, PGPASSWORD="secret", PGSSLMODE="require", PGUSER="u_scram",
                                   PGHOST="127.0.0.1", **env))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def psql(px, *args):
    return program("psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-p", px.port, "-d", "db", *args)


def test_psql(px, tmp_path):
    assert "SSL connection" in psql(px, "-c", "\\conninfo")
    psql(px, "-c", "truncate drv")
    rows = tmp_path / "rows"
    rows.write_text("".join(f"{i}\trow {i}\n" for i in range(5000)))
    psql(px, "-c", f"\\copy drv from {rows}")
    psql(px, "-c", f"\\copy drv to {tmp_path / 'back'}")
    assert (tmp_path / "back").read_text() == rows.read_text()
    assert psql(px, "-c", "\\d drv", "-c", "\\dt").count("drv") >= 1
    # Rows in portions by a cursor; a result that is described before it is run.
    got = psql(px, "-v", "FETCH_COUNT=100", "-c", "select a from drv order by a")
    assert got.split() == [str(i) for i in range(5000)]
    assert psql(px, "-c", "begin; select 1; select 2; commit") == "BEGIN\n1\n2\nCOMMIT\n"
    script = tmp_path / "script"
    script.write_text("select 1 as a \\gset\nbegin;\nselect :a + 1;\nsavepoint s;\nselect 1/0;\nrollback to s;\n"
                      "select 3;\ncommit;\nselect 4 \\gdesc\nselect 'select 5' \\gexec\n")
    assert psql(px, "-v", "ON_ERROR_STOP=0", "-f", str(script)).split() == \
        ["BEGIN", "2", "SAVEPOINT", "ROLLBACK", "3", "COMMIT", "?column?|integer", "5"]


@pytest.mark.parametrize("args", [("-M", "simple"), ("-M", "extended"), ("-M", "prepared"), ("-C", "-M", "prepared")])
def test_pgbench(px, args):
    # pgbench waits for each Parse alone: in a transaction of one client, with all others of that thread.
    lines = ["\\set n random(1, 1000)", "begin;", "select :n;", "insert into drv values (:n, 'x');",
             "select count(*) from drv where a = :n;", "end;"]
    if "prepared" in args:
        lines = [line for line in lines if line not in ("begin;", "end;")]
    script = px.box.write("bench.sql", "\n".join(lines) + "\n")
    count = 5 if "-C" in args else 100
    out = program("pgbench", "-n", "-f", script, "-c", 10, "-j", 2, "-t", count, *args, "-p", px.port, "db")
    assert f"actually processed: {10 * count}/{10 * count}" in out
    assert "failed transactions: 0 " in out


def test_libpq(px):
    if not os.path.exists(LIBPQ):
        pytest.skip("tests/it/proxy/drivers/libpq.c is not built")
    info = f"host=127.0.0.1 port={px.port} user=u_scram password=secret dbname=db sslmode=require"
    program(LIBPQ, info, info + " application_name=other")


def test_psycopg2(px):
    a, b = (psycopg2.connect(port=px.port, **WHO) for _ in range(2))
    for n in range(10):
        for c in (a, b):
            with c, c.cursor() as cur:
                cur.execute("select %s, %s::text", (n, "x" * n))
                assert cur.fetchone() == (n, "x" * n)
    with a, a.cursor("portal") as cur:  # a cursor of the server lives as long as the transaction
        cur.itersize = 100
        cur.execute("select i from generate_series(1, 1000) i")
        assert [r[0] for r in cur] == list(range(1, 1001))
    with b, b.cursor() as cur:
        cur.execute("truncate drv")
        cur.copy_expert("copy drv from stdin", io.StringIO("".join(f"{i}\tx\n" for i in range(1000))))
        out = io.StringIO()
        cur.copy_expert("copy drv to stdout", out)
        assert out.getvalue().count("\n") == 1000
    with a:
        large = a.lobject(0, "wb")
        large.write(b"L" * 100000)
        oid = large.oid
        large.close()
    with a:
        assert len(a.lobject(oid, "rb").read()) == 100000
    with pytest.raises(psycopg2.errors.DivisionByZero):
        with a, a.cursor() as cur:
            cur.execute("select 1/0")
    with a, a.cursor() as cur:
        cur.execute("select 1")
    a.close()
    b.close()


def test_psycopg(px):
    a, b = (psycopg.connect(port=px.port, prepare_threshold=0, **WHO) for _ in range(2))
    for n in range(10):
        for c in (a, b):
            with c.transaction():
                assert c.execute("select %s::int8, %s", (n, "t"), binary=bool(n % 2)).fetchone() == (n, "t")
                assert c.execute("select %b::bytea", (b"\0\1",), binary=True).fetchone() == (b"\0\1",)
    with a.pipeline() as p:
        curs = [a.execute("select %s", (n,)) for n in range(200)]
        p.sync()
        assert [c.fetchone()[0] for c in curs] == list(range(200))
    a.commit()
    with pytest.raises(psycopg.errors.DivisionByZero):
        with a.pipeline():
            a.execute("select 1")
            a.execute("select 1/0")
            a.execute("select 2")
    a.rollback()
    with b.cursor() as cur:
        cur.execute("truncate drv")
        with cur.copy("copy drv (a, b) from stdin (format binary)") as copy:
            copy.set_types(["int4", "text"])
            for i in range(1000):
                copy.write_row((i, "x"))
        with cur.copy("copy drv to stdout") as copy:
            assert sum(1 for _ in copy.rows()) == 1000
    b.commit()
    with b.cursor(name="portal") as cur:
        cur.execute("select i, repeat('y', 10000) from generate_series(1, 300) i")
        assert len(cur.fetchall()) == 300
    b.commit()
    list(a.cursor().stream("select i from generate_series(1, 2000) i"))
    a.commit()
    a.close()
    b.close()


def test_psycopg_async(px):
    """Twenty at the same time on three servers."""
    async def one(n):
        async with await psycopg.AsyncConnection.connect(port=px.port, prepare_threshold=0, **WHO) as c:
            for i in range(10):
                async with c.transaction():
                    cur = await c.execute("select pg_backend_pid(), %s::int", (i,))
                    pid, got = await cur.fetchone()
                    assert got == i
                    assert (await (await c.execute("select pg_backend_pid()")).fetchone())[0] == pid
        return n

    async def main():
        assert await asyncio.gather(*[one(n) for n in range(20)]) == list(range(20))
    asyncio.run(main())


def test_psycopg_console(px):
    """SHOW by all of its ways: simple, extended, prepared, binary, streamed, in a pipeline."""
    with psycopg.connect(**dict(WHO, dbname="pgbouncer"), port=px.port, autocommit=True) as c, \
            psycopg.connect(**WHO, port=px.port) as busy:
        busy.execute("select 1")
        for what in ("stats", "stats_totals", "stats_averages", "totals", "servers", "clients", "pools", "lists", "users",
                     "databases", "fds", "sockets", "active_sockets", "config", "mem", "version", "state"):
            cur = psycopg.ClientCursor(c)
            rows, types = cur.execute("show " + what).fetchall(), [d.type_code for d in cur.description]
            kinds = [type(v) for v in rows[0]]
            for binary in (False, True):
                for prepare in (False, True, True):
                    cur = c.cursor(binary=binary)
                    again = cur.execute("show " + what, prepare=prepare).fetchall()
                    assert [d.type_code for d in cur.description] == types
                    assert len(again) == len(rows)
                    assert all(a is b or type(None) in (a, b) for a, b in zip(kinds, map(type, again[0])))
            with psycopg.connect(**dict(WHO, dbname="pgbouncer"), port=px.port, autocommit=True) as other:
                assert len(list(other.cursor().stream("show " + what))) >= len(rows)
        with c.pipeline():
            a, b = c.execute("show version"), c.execute("show state")
            assert a.fetchone()[0].startswith("PgBouncer") and b.fetchone() == ("active", "yes")


def test_node(px):
    if not shutil.which("node"):
        pytest.skip("no node")
    where = dict(NODE_PATH=f"{NODE_PATH}:/usr/share/nodejs:/usr/lib/nodejs")
    if subprocess.run(["node", "-e", "require('pg')"], env=dict(os.environ, **where),
                      capture_output=True).returncode:
        pytest.skip("no node-postgres")
    program("node", os.path.join(HERE, "drivers/node.js"), px.port, "secret", **where)


def test_jdbc(px):
    if not (shutil.which("javac") and os.path.exists(JDBC)):
        pytest.skip("no JDBC driver or no compiler for Java")
    program("java", "-XX:TieredStopAtLevel=1", "--class-path", JDBC, os.path.join(HERE, "drivers/Jdbc.java"), px.port,
            "secret")
