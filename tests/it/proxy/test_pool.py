"""What pooling may not change for a client, and its limits."""
import random
import socket
import struct
import subprocess
import threading
import time

import psycopg
import pytest

import rawpg
from conftest import wait_for
from test_as_without_us import rounds_of


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(make, mode, server):
    px = make(more="max_prepared_statements = 20\nreserve_pool_size = 4\nreserve_pool_timeout = 0")
    subprocess.run(["pgbench", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-i",
                    "-q", "-s", "1", "db"], check=True, capture_output=True)
    out = px.pgbench("-M", mode, "-c", "8", "-j", "2", "-t", "200", "-n")
    assert "number of transactions actually processed: 1600/1600" in out
    sums = server.sql("select (select sum(abalance) from pgbench_accounts), "
                      "(select sum(bbalance) from pgbench_branches), "
                      "(select sum(delta) from pgbench_history)", db="db")[0]
    assert sums[0] == sums[1] == sums[2]


def test_transaction_pooling_shares(make):
    px = make(more="default_pool_size = 1")
    conns = [px.connect() for _ in range(10)]
    pids = {c.execute("select pg_backend_pid()").fetchone()[0] for c in conns}
    assert len(pids) == 1
    for c in conns:
        c.close()


def test_session_pooling_resets(make):
    px = make(mode="session", more="default_pool_size = 1")
    with px.connect() as c:
        pid = c.execute("select pg_backend_pid()").fetchone()[0]
        c.execute("set work_mem = '77MB'")
        c.execute("create temp table x (a int)")
        assert c.execute("show work_mem").fetchone() == ("77MB",)
    with px.connect() as c:
        assert c.execute("select pg_backend_pid()").fetchone()[0] == pid
        assert c.execute("show work_mem").fetchone() != ("77MB",)
        assert c.execute("select to_regclass('x')").fetchone() == (None,)


def test_statement_pooling_refuses_transactions(make):
    px = make(mode="statement")
    assert px.sql("select 1") == [(1,)]
    with px.connect() as c, pytest.raises(psycopg.OperationalError, match="transaction blocks"):
        c.execute("begin")


@pytest.mark.parametrize("begin", [[rawpg.query("begin")], [rawpg.query("select 1; start transaction")],
                                   [rawpg.parse("", "begin"), rawpg.bind(""), rawpg.execute(), rawpg.SYNC]])
def test_statement_pooling_does_not_say_begin(make, begin):
    """The error is the only answer to it, as PgBouncer has it."""
    px = make(mode="statement")
    with rawpg.Client(px.port) as c:
        c.send(rawpg.query("select 1"), *begin)
        assert [k for k, _ in c.until("Z")] == ["T", "D", "C", "Z"]
        got = c.until("E")
        assert [k for k, _ in got] == ["E"]
        assert rawpg.fields(got[0][1])["M"] == "transaction blocks not allowed in statement pooling mode"
        with pytest.raises(rawpg.Gone):
            c.read()
    assert px.sql("select 1") == [(1,)]


def test_parameters_follow_the_client(make):
    px = make(more="default_pool_size = 1")
    a = px.connect(options="-c datestyle=german,dmy", application_name="one")
    b = px.connect(client_encoding="latin1", application_name="two")
    for _ in range(3):
        assert a.execute("select current_setting('application_name')").fetchone() == ("one",)
        assert a.execute("show datestyle").fetchone() == ("German, DMY",)
        assert b.execute("select current_setting('application_name')").fetchone() == ("two",)
        assert b.execute("show client_encoding").fetchone() == ("LATIN1",)
        assert b.execute("show datestyle").fetchone() == ("ISO, MDY",)
    b.execute("set timezone = 'Asia/Tokyo'")
    assert a.execute("show timezone").fetchone() != ("Asia/Tokyo",)
    assert b.execute("show timezone").fetchone() == ("Asia/Tokyo",)
    a.close()
    b.close()


def test_prepared_statements(make):
    px = make(more="default_pool_size = 2\nmax_prepared_statements = 3")
    conns = [px.connect() for _ in range(4)]
    for c in conns:
        c.prepare_threshold = 0
    for turn in range(4):
        for c in conns:
            for k in range(6):
                assert c.execute(f"select {k}, %s::int", (turn,)).fetchone() == (k, turn)
    servers = [r for r in px.console("show servers") if r["database"] == "db"]
    assert servers and all(r["prepared_statements"] <= 3 for r in servers)
    for c in conns:
        with pytest.raises(psycopg.Error):
            c.execute("select 1 / %s::int", (0,))
        assert c.execute("select 0, %s::int", (5,)).fetchone() == (0, 5)
        c.execute("deallocate all")
    for c in conns:
        c.close()


def test_parse_error_is_forgotten(make):
    px = make(more="default_pool_size = 1")
    with px.connect() as c:
        c.prepare_threshold = 0
        with pytest.raises(psycopg.errors.UndefinedTable):
            c.execute("select * from nothere")
        c.execute("create table nothere (a int)")
        try:
            assert c.execute("select * from nothere").fetchall() == []
        finally:
            c.execute("drop table nothere")


def test_pipeline(make):
    px = make(more="default_pool_size = 1")
    with px.connect() as c:
        c.prepare_threshold = 0
        with c.pipeline() as p:
            curs = [c.execute("select %s::int", (i,)) for i in range(500)]
            p.sync()
            assert [cur.fetchone()[0] for cur in curs] == list(range(500))
        with c.pipeline() as p:
            good = c.execute("select 1")
            bad = c.execute("select 1/0")
            with pytest.raises(psycopg.Error):
                p.sync()
                bad.fetchone()
        assert c.execute("select 3").fetchone() == (3,)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_copy_and_large(make, mode):
    px = make(mode=mode)
    with px.connect() as c:
        with c.cursor() as cur:
            with cur.copy("copy t from stdin") as copy:
                for i in range(50000):
                    copy.write_row((i, "copied"))
            with pytest.raises(psycopg.Error):
                with cur.copy("copy t from stdin") as copy:
                    copy.write(b"not a number\tx\n" * 5000)
            with pytest.raises(psycopg.Error):
                with cur.copy("copy t from stdin") as copy:
                    raise psycopg.Error("given up")
            n = 0
            with cur.copy("copy (select * from t where b = 'copied') to stdout") as copy:
                for _ in copy.rows():
                    n += 1
            assert n == 50000
        c.execute("delete from t where b = 'copied'")
        text = "z" * 20_000_000
        assert c.execute("select %s::text", (text,)).fetchone()[0] == text
        assert c.execute("select length(%s)", (text,)).fetchone() == (20_000_000,)


def test_slow_reader(make):
    """A client that does not read stops its server, and nobody else."""
    px = make()
    with socket.create_connection(("127.0.0.1", px.port)) as s:
        body = b"user\0u_trust\0database\0db\0\0"
        s.sendall(struct.pack("!ii", 8 + len(body), 196608) + body)
        time.sleep(0.3)
        sql = b"select repeat('x', 100000) from generate_series(1, 1000)\0"
        s.sendall(b"Q" + struct.pack("!i", 4 + len(sql)) + sql)
        time.sleep(0.5)
        assert px.sql("select 1") == [(1,)]
        got = 0
        s.settimeout(20)
        while got < 100_000_000:
            data = s.recv(1 << 20)
            assert data
            got += len(data)


def test_cancel(make):
    px = make(more="default_pool_size = 1")
    with px.connect() as c:
        threading.Timer(0.5, c.cancel).start()
        start = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            c.execute("select pg_sleep(20)")
        assert time.monotonic() - start < 15
        assert c.execute("select 1").fetchone() == (1,)


def test_pool_size_and_queue(make, server):
    px = make(more="default_pool_size = 2\nquery_wait_timeout = 1")
    held = [px.connect(autocommit=False) for _ in range(2)]
    for c in held:
        c.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
        px.sql("select 1")
    row = px.console("show pools")[0]
    assert (row["sv_active"], row["sv_idle"]) == (2, 0)
    for c in held:
        c.rollback()
        c.close()
    assert px.sql("select 1") == [(1,)]


def test_client_limits(make):
    px = make(more="max_client_conn = 3\nmax_db_client_connections = 2")
    a, b = px.connect(), px.connect()
    with pytest.raises(psycopg.OperationalError, match="max_db_client_connections"):
        px.connect()
    a.close()
    b.close()
    wait_for(lambda: px.sql("select 1"))


@pytest.mark.parametrize("limit", ["max_db_connections", "max_user_connections"])
def test_connection_limits_evict(make, server, limit):
    """One connection in all: whoever comes takes the idle one of the others, on any thread."""
    px = make(databases=f"two = host=127.0.0.1 port={server.port} dbname=db",
              more=limit + " = 1")
    with px.connect(autocommit=False) as c:
        c.execute("select 1")
        assert len(px.console("show servers")) == 1
        c.rollback()
    for _ in range(6):
        if limit == "max_db_connections":
            assert px.sql("select current_user", user="u_plain") == [("u_plain",)]
        assert px.sql("select current_user", db="two" if "user" in limit else "db") == [("u_trust",)]
        assert px.sql("select current_user") == [("u_trust",)]


def test_reserve_pool(make):
    px = make(more="default_pool_size = 1\nreserve_pool_size = 1\nreserve_pool_timeout = 1")
    with px.connect(autocommit=False) as c:
        c.execute("select 1")
        assert px.sql("select 2") == [(2,)]
        assert "taking connection from reserve_pool" in px.log()


def test_min_pool_size(make):
    px = make(more="min_pool_size = 3")
    with px.connect() as c:
        c.execute("select 1")
        wait_for(lambda: px.console("show pools")[0]["sv_idle"] == 3)


@pytest.mark.parametrize("setting,text", [("client_idle_timeout", "client_idle_timeout"),
                                          ("idle_transaction_timeout",
                                           "idle transaction timeout"),
                                          ("query_timeout", "query timeout")])
def test_timeouts(make, setting, text):
    px = make(more=f"{setting} = 1")
    c = px.connect(autocommit=False)
    with pytest.raises(psycopg.OperationalError, match=text):
        if setting == "query_timeout":
            c.execute("select pg_sleep(10)")
        if setting == "idle_transaction_timeout":
            c.execute("select 1")
        time.sleep(2)
        c.execute("select 1")


def test_server_dies(make, server):
    px = make()
    with px.connect() as c:
        pid = c.execute("select pg_backend_pid()").fetchone()[0]
        server.sql(f"select pg_terminate_backend({pid})")
        time.sleep(0.3)
        assert c.execute("select pg_backend_pid()").fetchone()[0] != pid


def test_idle_servers_are_tested(make):
    px = make(more="server_check_delay = 0.3\nserver_check_query = select 1")
    pid = px.sql("select pg_backend_pid()")
    time.sleep(0.6)
    assert px.sql("select pg_backend_pid()") == pid


def test_server_dies_in_a_transaction(make, server):
    px = make()
    c = px.connect(autocommit=False)
    pid = c.execute("select pg_backend_pid()").fetchone()[0]
    server.sql(f"select pg_terminate_backend({pid})")
    time.sleep(0.3)
    with pytest.raises(psycopg.OperationalError, match="terminating connection"):
        c.execute("select 1")
    assert px.sql("select 1") == [(1,)]


def test_server_lifetime(make):
    px = make(more="server_lifetime = 1\nserver_idle_timeout = 1")
    px.sql("select 1")
    wait_for(lambda: px.console("show pools")[0]["sv_idle"] == 0)


def test_connect_query(make, server):
    px = make(databases=f"cq = host=127.0.0.1 port={server.port} dbname=db "
                        "connect_query='set work_mem = ''55MB'''")
    assert px.sql("show work_mem", db="cq") == [("55MB",)]


def test_host_name(make, server):
    px = make(databases=f"named = host=localhost port={server.port} dbname=db\n"
                        f"nowhere = host=nowhere.invalid port={server.port} query_wait_timeout=1\n"
                        f"sock = host={server.box.dir} port={server.port} dbname=db")
    for _ in range(2):
        assert px.sql("select 1", db="named") == [(1,)]
        px.console("reconnect")
    assert px.sql("select inet_server_addr()", db="sock") == [(None,)]
    with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
        px.sql("select 1", db="nowhere")
    assert "closing because: server DNS lookup failed" in px.log()


def test_refused_parameters(make):
    px = make(more="ignore_startup_parameters = extra_float_digits")
    assert px.sql("select 1", options="-c extra_float_digits=2") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
        px.sql("select 1", options="-c geqo=off")


def test_garbage_does_no_harm(make):
    px = make()
    junk = [b"\0" * 100, b"\xff" * 100, b"GET / HTTP/1.0\r\n\r\n", struct.pack("!ii", 8, 12345),
            struct.pack("!ii", 9999, 196608), struct.pack("!ii", 16, 80877102) + b"\xff" * 8,
            struct.pack("!ii", 8, 80877103) + b"\x16\x03\x01" * 50]
    login = b"user\0u_trust\0database\0db\0\0"
    login = struct.pack("!ii", 8 + len(login), 196608) + login
    junk += [login + b"Q\0\0\0\1", login + b"Q\xff\xff\xff\xff", login + b"z\0\0\0\4",
             login + b"P\0\0\0\5x", login + b"B\0\0\0\4S\0\0\0\4", login + b"D\0\0\0\6Xx",
             login + b"d\0\0\0\4c\0\0\0\4S\0\0\0\4"]
    for data in junk:
        with socket.create_connection(("127.0.0.1", px.port)) as s:
            s.settimeout(0.3)
            s.sendall(data)
            try:
                while s.recv(65536):
                    pass
            except OSError:
                pass
    assert px.sql("select 1") == [(1,)]


def test_many_clients(make):
    px = make(more="max_client_conn = 2000\nlisten_backlog = 1024\nlog_connections = 0")
    conns = []
    body = b"user\0u_trust\0database\0db\0\0"
    login = struct.pack("!ii", 8 + len(body), 196608) + body
    query = b"Q" + struct.pack("!i", 4 + 9) + b"select 1\0"
    for _ in range(900):
        s = socket.create_connection(("127.0.0.1", px.port))
        s.sendall(login)
        conns.append(s)
    for s in conns:
        s.sendall(query)
    for s in conns:
        s.settimeout(30)
        data = b""
        while data.count(b"Z\0\0\0\5I") < 2:
            got = s.recv(4096)
            assert got, data
            data += got
        s.close()
    assert px.sql("select 1") == [(1,)]


def test_cancel_while_queued(make):
    px = make(more="default_pool_size = 1")
    with px.connect(autocommit=False) as holder, px.connect() as waiting:
        holder.execute("select 1")
        timer = threading.Timer(0.5, waiting.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            waiting.execute("select 2")
        timer.join()
        holder.rollback()
        assert waiting.execute("select 3").fetchone() == (3,)


def test_statement_name_is_taken(make):
    px = make(more="max_prepared_statements = 10")
    with px.connect() as c:
        ok, fatal = psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.FATAL_ERROR
        assert c.pgconn.prepare(b"s", b"select 1").status == ok
        again = c.pgconn.prepare(b"s", b"select 2")
        assert again.status == fatal
        assert again.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"42P05"
        assert c.pgconn.exec_prepared(b"s", []).get_value(0, 0) == b"1"
        # A name whose Parse failed is free.
        assert c.pgconn.prepare(b"t", b"select nothing").status == fatal
        assert c.pgconn.prepare(b"t", b"select 4").status == ok
        assert c.pgconn.exec_prepared(b"t", []).get_value(0, 0) == b"4"


def eviction(c):
    """In one pipeline a good and a failing statement; then the good one again."""
    with c.pipeline() as p:
        curs = [c.cursor() for _ in range(3)]
        curs[0].execute("select 1", prepare=True)
        # The error may be there before all is sent.
        # The driver takes it for prepared when it comes again.
        with pytest.raises((psycopg.errors.SyntaxError,
                            psycopg.errors.InvalidSqlStatementName)):
            curs[1].execute("bad query", prepare=True)
            p.sync()
        p.sync()
        assert curs[0].fetchall() == [(1,)]
        curs[0].execute("select 1", prepare=True)
        p.sync()
        assert curs[0].fetchall() == [(1,)]


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("size", [1, 2])
def test_eviction_that_an_error_skips(make, mode, size):
    px = make(mode=mode, more=f"default_pool_size = {size}\nmax_prepared_statements = 1\n"
              "query_timeout = 10")
    with px.connect() as a, px.connect() as b:
        for _ in range(3):
            eviction(a)
            eviction(b)
            assert b.execute("select 2", prepare=True).fetchone() == (2,)
            assert a.execute("select 1", prepare=True).fetchone() == (1,)


def test_our_own_parse_fails(make):
    """The statement is known to one of two servers only, and its table goes."""
    px = make(more="default_pool_size = 2\nmax_prepared_statements = 10\nquery_timeout = 10")
    ok, fatal = psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.FATAL_ERROR
    with px.connect() as a, px.connect() as b:
        a.execute("create table goes (a int)")
        try:
            assert a.pgconn.prepare(b"s", b"select * from goes").status != fatal
            assert a.pgconn.exec_prepared(b"s", []).status == ok
            b.execute("begin")
            here = b.execute("select pg_backend_pid()").fetchone()
            a.execute("drop table goes")
            for _ in range(3):
                got = a.pgconn.exec_prepared(b"s", [])
                assert got.status == fatal
                assert got.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"42P01"
            assert a.execute("select pg_backend_pid()").fetchone() != here
            b.execute("commit")
            a.execute("create table goes (a int)")
            assert a.pgconn.exec_prepared(b"s", []).status == ok
        finally:
            a.execute("drop table if exists goes")


def test_server_lifetime_zero_uses_once(make):
    px = make(more="server_lifetime = 0")
    with px.connect() as c:
        pids = {c.execute("select pg_backend_pid()").fetchone()[0] for _ in range(3)}
    assert len(pids) == 3


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("step", [None, 1])
def test_a_name_whose_parse_was_skipped_is_free(make, mode, step):
    """An error before it in its batch; all batches are sent before the first answer comes."""
    px = make(mode=mode, more="default_pool_size = 1\nmax_prepared_statements = 50")
    bad, sync = rawpg.parse("", "selec"), rawpg.SYNC
    batches = b"".join(
        bad + rawpg.parse(f"n{i % 5}", f"select {i}") + sync +
        rawpg.parse(f"n{i % 5}", f"select {100 + i}") + rawpg.bind(f"n{i % 5}") +
        rawpg.execute() + sync + rawpg.msg("C", b"S" + rawpg.text(f"n{i % 5}")) + sync
        for i in range(20))
    with rawpg.Client(px.port) as c:
        for at in range(0, len(batches), step or len(batches)):
            c.send(batches[at:at + (step or len(batches))])
        got = []
        for _ in range(60):
            got += [(k, b) for k, b in c.until("Z") if k in ("D", "E")]
    values = [rawpg.row(b)[0] for k, b in got if k == "D"]
    assert [int(v) for v in values] == [100 + i for i in range(20)]
    assert [k for k, _ in got] == ["E", "D"] * 20


def test_a_name_taken_in_the_batch_before(make):
    px = make(more="default_pool_size = 1")
    sync = rawpg.SYNC
    with rawpg.Client(px.port) as c:
        c.send(rawpg.parse("a", "select 1"), sync, rawpg.parse("a", "select 2"), sync,
               rawpg.bind("a"), rawpg.execute(), sync)
        got = [[k for k, _ in c.until("Z")] for _ in range(3)]
    assert got == [["1", "Z"], ["E", "Z"], ["2", "D", "C", "Z"]]


def test_a_client_that_leaves_while_a_name_is_undecided(make):
    """Its second Parse waits for an answer that takes long: nobody waits with it."""
    px = make(more="default_pool_size = 1")
    with rawpg.Client(px.port) as c:
        c.send(rawpg.parse("a", "select 1"), rawpg.parse("", "select pg_sleep(300)"), rawpg.bind(""), rawpg.execute(),
               rawpg.SYNC, rawpg.parse("a", "select 2"), rawpg.SYNC)
        wait_for(lambda: px.console("show pools")[0]["sv_active"] == 1)
    wait_for(lambda: px.console("show pools")[0]["cl_active"] == 0)
    assert px.sql("select 1") == [(1,)]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_evicted_in_a_batch_that_failed(make, mode):
    """The server skips our Close then, and still holds what the next batch asks for."""
    px = make(mode=mode, more="default_pool_size = 1\nmax_prepared_statements = 3")
    with rawpg.Client(px.port) as c:
        c.send(*(rawpg.parse(f"n{i}", f"select {i}") + rawpg.bind(f"n{i}") + rawpg.execute() +
                 rawpg.parse("bad", "selec") + rawpg.SYNC for i in range(12)),
               *(rawpg.bind(f"n{i}") + rawpg.execute() + rawpg.SYNC for i in range(12)),
               *(rawpg.parse(f"m{i}", f"select {i}") + rawpg.parse("bad", "selec") + rawpg.SYNC
                 for i in range(12)))
        got = [[k for k, _ in c.until("Z")] for _ in range(36)]
    assert got == [["1", "2", "D", "C", "E", "Z"]] * 12 + [["2", "D", "C", "Z"]] * 12 + [
        ["1", "E", "Z"]] * 12


def pipeline(rng):
    """Batches over a few names, many of which fail somewhere."""
    batches, texts = [], iter(range(1000))
    for _ in range(rng.randrange(2, 12)):
        batch = b""
        for _ in range(rng.randrange(1, 6)):
            name, what = rng.choice("abc"), rng.random()
            if what < 0.35:
                # Texts come again: the server may hold them already.
                n = next(texts) if rng.random() < 0.5 else rng.randrange(3)
                batch += rawpg.parse(name, f"select {n}")
            elif what < 0.65:
                batch += rawpg.bind(name) + rawpg.execute()
            elif what < 0.9:
                batch += rawpg.msg("C", b"S" + rawpg.text(name))
            else:
                batch += rawpg.parse("", "selec")
        batches.append(batch + rawpg.SYNC)
    return batches


def told(conn, batches, step):
    """What is answered: types, values, SQLSTATEs."""
    data, got = b"".join(batches), []
    for at in range(0, len(data), step or len(data)):
        conn.send(data[at:at + (step or len(data))])
    for _ in batches:
        for kind, body in conn.until("Z"):
            got.append((kind, rawpg.row(body)[0] if kind == "D" else
                        rawpg.fields(body)["C"] if kind == "E" else None))
    return got


@pytest.mark.parametrize("mode,most", [("transaction", 50), ("transaction", 1), ("session", 50)])
def test_pipelines_of_names_as_without_us(make, server, mode, most):
    """Seeded: Parse, Bind and Close of few names, sent at once, in pieces or one by one."""
    px = make(mode=mode, more=f"default_pool_size = 2\nmax_prepared_statements = {most}")
    for seed in range(150):
        rng = random.Random(seed)
        batches = pipeline(rng)
        with rawpg.Client(server.port, db="db") as c:
            right = told(c, batches, None)
        most_rounds = rawpg.failed_names(batches, rounds_of(right))
        for step in (None, 1, rng.randrange(2, 40)):
            with rawpg.Client(px.port) as c:
                got = told(c, batches, step)
                assert rounds_of(got)[:most_rounds] == rounds_of(right)[:most_rounds], (seed, step, batches)
