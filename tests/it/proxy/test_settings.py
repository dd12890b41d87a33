"""Settings of [pgbouncer], [databases] and [users] that no other file is about."""
import os
import re
import threading
import time

import psycopg
import pytest

from conftest import BASE, Box, Proxy, users, wait_for


@pytest.fixture(scope="module")
def place(server):
    box = Box()
    users(box)
    try:
        yield box
    finally:
        box.close()


@pytest.fixture
def make(place, server):
    made = []

    def fn(databases="", more="", tail="", mode="transaction", name=None):
        ini = BASE.format(pg=server.port, mode=mode, auth="trust", databases=databases, more=more)
        made.append(Proxy(place, ini.replace("@PG@", str(server.port)) + tail,
                          name=name or f"p{len(os.listdir(place.dir))}"))
        return made[-1]

    yield fn
    for p in made:
        p.kill()


def names(px, what, column):
    return {r[column] for r in px.console("show " + what)}


def config(px):
    return {r["key"]: r for r in px.console("show config")}


def test_auto_databases_go(make, server):
    px = make("* = host=127.0.0.1 port=@PG@", "autodb_idle_timeout = 0.5\nserver_idle_timeout = 0.2")
    for _ in range(2):
        with px.connect(db="postgres") as c:
            assert c.execute("select current_database()").fetchone() == ("postgres",)
            assert "postgres" in names(px, "databases", "name")
            time.sleep(1.2)  # it is in use
            assert c.execute("select 1").fetchone() == (1,)
        wait_for(lambda: "postgres" not in names(px, "databases", "name"))
        assert "postgres" not in names(px, "stats", "database")
        assert "postgres" not in names(px, "pools", "database")
    assert px.log().count("registered new auto-database: db=postgres") == 2
    assert "dropping database 'postgres' as it does not exist anymore or inactive" in px.log()
    assert "db" in names(px, "databases", "name")
    # Coming and going at the same time.
    end = time.monotonic() + 4
    failed = []

    def churn():
        while time.monotonic() < end:
            try:
                px.sql("select 1", db="postgres")
                time.sleep(0.7)
            except psycopg.Error as e:
                failed.append(e)
    threads = [threading.Thread(target=churn) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_idle_pools_go(make):
    px = make(more="pool_idle_timeout = 0.5\nserver_idle_timeout = 0.2")
    assert px.sql("select 1") == [(1,)]
    assert "u_trust" in names(px, "pools", "user")
    wait_for(lambda: "u_trust" not in names(px, "pools", "user"))
    assert "db" in names(px, "stats", "database")
    assert px.sql("select 1") == [(1,)]


def test_databases_that_the_file_forgets_go(make):
    px = make("gone = host=127.0.0.1 port=@PG@ dbname=db")
    assert px.sql("select 1", db="gone") == [(1,)]
    text = open(px.file).read()
    px.box.write(px.name + ".ini", re.sub("(?m)^gone = .*$", "", text))
    px.console("reload")
    wait_for(lambda: "gone" not in names(px, "stats", "database"))
    with pytest.raises(psycopg.OperationalError, match="no such database: gone"):
        px.sql("select 1", db="gone")


def test_reload_says_what_is_wrong(make):
    px = make()
    text = open(px.file).read()
    px.box.write(px.name + ".ini", text.replace("default_pool_size = 4", "default_pool_size = many"))
    with pytest.raises(psycopg.Error, match=r'invalid value "many" for setting "default_pool_size"'):
        px.console("reload")
    assert config(px)["default_pool_size"]["value"] == "4"
    px.box.write(px.name + ".ini", text + "listen_backlog = 5\n")
    with pytest.raises(psycopg.Error, match="unknown setting"):
        px.console("reload")  # it stands in [pgherd]
    px.box.write(px.name + ".ini", text.replace("pool_mode =", "listen_backlog = 5\npool_mode ="))
    px.console("reload")
    assert config(px)["listen_backlog"] == {"key": "listen_backlog", "value": "128",
                                            "default": "128", "changeable": "no"}
    assert 'setting "listen_backlog" is changed by a restart only' in px.log()
    with pytest.raises(psycopg.Error, match="cannot be changed at run time"):
        px.console("set listen_backlog = 7")


def test_include_anywhere(make, place):
    place.write("more-dbs.ini", "incl = host=127.0.0.1 port=1 dbname=x\n")
    place.write("deep.ini", "[pgbouncer]\nmax_client_conn = 33\n%include @DIR@/deeper.ini\n"
                .replace("@DIR@", place.dir))
    place.write("deeper.ini", "query_timeout = 44\n")
    px = make("%include @DIR@/more-dbs.ini", "%include @DIR@/deep.ini")
    assert "incl" in names(px, "databases", "name")
    got = config(px)
    assert (got["max_client_conn"]["value"], got["query_timeout"]["value"]) == ("33", "44")


def test_config_columns(make):
    got = config(make())
    # PgBouncer 1.25's, but for those that take a restart there and here.
    fixed = {k for k, r in got.items() if r["changeable"] == "no"}
    assert fixed >= {"disable_pqexec", "job_name", "listen_addr", "listen_backlog", "listen_port",
                     "pidfile", "pkt_buf", "resolv_conf", "so_reuseport", "unix_socket_dir",
                     "track_extra_parameters", "unix_socket_group", "unix_socket_mode", "user"}
    for key, default in {"auth_type": "md5", "autodb_idle_timeout": "3600", "dns_max_ttl": "15",
                         "max_prepared_statements": "200", "query_wait_timeout": "120",
                         "scram_iterations": "4096", "server_check_query": "<empty>",
                         "server_idle_timeout": "600", "server_lifetime": "3600",
                         "server_login_retry": "15", "stats_period": "60",
                         "pool_idle_timeout": "0", "query_wait_notify": "5"}.items():
        assert got[key]["default"] == default


def test_size_of_reads(make):
    def buffer_size(px):
        return [r["size"] for r in px.console("show mem") if r["name"] == "iobuf_cache"]
    for size, want in ((4096, 128 * 1024), (300000, 300000), (2000000000, 16 * 1024 * 1024)):
        px = make(more=f"pkt_buf = {size}\nsbuf_loopcnt = 1")
        assert buffer_size(px) == [want]
    # Whatever one connection may read in a row, all of it comes.
    for loops in (1, 0, 5):
        px.console(f"set sbuf_loopcnt = {loops}")
        with px.connect() as c:
            wide = "copy (select repeat('x', 100000) from generate_series(1, 200)) to stdout"
            with c.cursor().copy(wide) as copy:
                assert sum(len(part) for part in copy) == 200 * 100001
            c.execute("create temp table if not exists t (a text)")
            with c.cursor().copy("copy t from stdin") as copy:
                for _ in range(200):
                    copy.write("y" * 100000 + "\n")
            assert c.execute("select sum(length(a)) from t").fetchone() == (200 * 100000,)
    assert "has no effect" not in px.log()


def test_application_name_add_host(make):
    px = make(more="application_name_add_host = 1")
    name = px.sql("show application_name", application_name="me")[0][0]
    assert re.fullmatch(r"me - 127\.0\.0\.1:\d+", name)


def test_disable_pqexec(make):
    px = make(more="disable_pqexec = 1")
    done = px.psql("select 1", check=False)
    assert "PQexec disallowed" in done.stderr
    with px.connect() as c:
        assert c.pgconn.exec_params(b"select 1", []).get_value(0, 0) == b"1"


def pids_of(px, n, **kw):
    return [px.sql("select pg_backend_pid()", **kw)[0][0] for _ in range(n)]


def test_round_robin(make):
    for on, want in (("0", 1), ("1", 3)):
        px = make(more=f"server_round_robin = {on}")
        conns = [px.connect() for _ in range(3)]
        for c in conns:
            c.execute("begin")
            c.execute("select 1")
        for c in conns:
            c.execute("commit")
            c.close()
        one = px.connect()
        seen = {one.execute("select pg_backend_pid()").fetchone()[0] for _ in range(9)}
        one.close()
        assert len(seen) == want


def test_query_wait_notify(make):
    px = make(more="default_pool_size = 1\nquery_wait_notify = 0.3")
    with px.connect() as a, px.connect() as b:
        told = []
        b.add_notice_handler(lambda d: told.append(d.message_primary))
        a.execute("begin")
        a.execute("select 1")
        timer = threading.Timer(1.2, lambda: a.execute("commit"))
        timer.start()
        assert b.execute("select 2").fetchone() == (2,)
        timer.join()
        assert any("client being queued" in t for t in told)


def test_check_query(make, server):
    px = make(more="default_pool_size = 1\nserver_check_delay = 0.2\nserver_check_query = select 'are you there'")
    px.sql("select 1")
    pid = pids_of(px, 1)[0]
    time.sleep(0.5)
    row = next(r for r in px.console("show pools") if r["database"] == "db")
    assert row["sv_used"] == 1 and row["sv_idle"] == 0
    assert pids_of(px, 1) == [pid]
    # One that died is found out before anybody gets it.
    time.sleep(0.5)
    server.sql(f"select pg_terminate_backend({pid})")
    assert pids_of(px, 1) != [pid]


def test_database_keys(make, server):
    px = make("full = host=127.0.0.1 port=@PG@ dbname=db user=u_trust pool_size=1 min_pool_size=1 "
              "pool_mode=session server_lifetime=1 connect_query='set work_mem = ''123kB''' "
              "client_encoding=LATIN1 datestyle=German timezone=Asia/Tokyo application_name=fromdb "
              "max_db_connections=5 max_db_client_connections=2 query_wait_timeout=0.5 "
              "reserve_pool_size=2")
    row = next(r for r in px.console("show databases") if r["name"] == "full")
    assert (row["force_user"], row["pool_size"], row["min_pool_size"], row["reserve_pool_size"],
            row["server_lifetime"], row["pool_mode"], row["max_connections"],
            row["max_client_connections"]) == ("u_trust", 1, 1, 2, 1, "session", 5, 2)
    wait_for(lambda: next(r for r in px.console("show databases")
                          if r["name"] == "full")["current_connections"] == 1)
    with px.connect(db="full", user="u_plain") as c:
        assert c.execute("select current_user").fetchone() == ("u_trust",)
        assert c.execute("show work_mem").fetchone() == ("123kB",)
        assert c.execute("show timezone").fetchone() == ("Asia/Tokyo",)
        assert "German" in c.execute("show datestyle").fetchone()[0]
        with px.connect(db="full"):
            with pytest.raises(psycopg.OperationalError, match="max_db_client_connections"):
                px.connect(db="full")


def test_users(make, server):
    px = make(more="query_timeout = 100\nclient_idle_timeout = 100\nreserve_pool_timeout = 0.1",
              tail="[users]\n"
              "u_trust = query_timeout=0.5 idle_transaction_timeout=0.5 client_idle_timeout=1\n"
              "u_plain = pool_mode=session max_user_client_connections=2\n"
              "u_md5 = pool_size=1 query_wait_timeout=0.5\n"
              "u_scram = transaction_timeout=0.5 reserve_pool_size=3 pool_size=1 "
              "max_user_connections=3\n")
    shown = {r["name"]: r for r in px.console("show users")}
    assert shown["u_md5"]["pool_size"] == "1" and shown["u_trust"]["pool_size"] == ""
    assert shown["u_plain"]["pool_mode"] == "session"
    assert shown["u_scram"]["max_user_connections"] == 3
    for what, sql in (("query timeout|query_timeout", ["select pg_sleep(5)"]),
                      ("idle.transaction.timeout", ["begin", "wait"]),
                      ("client_idle_timeout", ["select 1", "wait"])):
        # Whether the reason is read before the connection is found closed is the driver's luck.
        with pytest.raises(psycopg.OperationalError):
            with px.connect() as c:
                for s in sql:
                    if s != "wait":
                        c.execute(s)
                if sql[-1] == "wait":
                    wait_for(lambda: re.search(f"closing because: ({what})", px.log()))
                    c.execute("select 1")
        assert re.search(f"closing because: ({what})", px.log())
    with px.connect(user="u_plain") as a, px.connect(user="u_plain"):
        pid = a.execute("select pg_backend_pid()").fetchone()
        assert a.execute("select pg_backend_pid()").fetchone() == pid
        with pytest.raises(psycopg.OperationalError, match="max_user_client_connections"):
            px.connect(user="u_plain")
    with px.connect(user="u_md5") as a, px.connect(user="u_md5") as b:
        a.execute("begin")
        a.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
            b.execute("select 1")
    with pytest.raises(psycopg.OperationalError):
        with px.connect(user="u_scram") as c:
            c.execute("begin")
            for _ in range(100):
                c.execute("select pg_sleep(0.05)")
    assert re.search("closing because: transaction.timeout", px.log())
    # Three at once: the pool's one, and the reserve's up to max_user_connections.
    conns = [px.connect(user="u_scram") for _ in range(3)]
    for c in conns:
        c.execute("select 1")
    threads = [threading.Thread(target=lambda c=c: c.execute("select pg_sleep(0.3)")) for c in conns]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for c in conns:
        c.close()


def test_log_lines(make, server):
    px = make(more="stats_period = 1\nserver_idle_timeout = 0.5")
    with px.connect() as c:
        c.execute("select 1")
        wait_for(lambda: "stats: " in px.log())
    wait_for(lambda: "server idle timeout" in px.log())
    for line in (r"LOG C-0x\w+: db/u_trust@127.0.0.1:\d+ login attempt: db=db user=u_trust tls=no",
                 r"LOG S-0x\w+: db/u_trust@127.0.0.1:\d+ new connection to server \(from 127.0.0.1:\d+\)",
                 r"LOG C-0x\w+: db/u_trust@127.0.0.1:\d+ closing because: client close request \(age=\d+s\)",
                 r"LOG S-0x\w+: db/u_trust@127.0.0.1:\d+ closing because: server idle timeout \(age=\d+s\)",
                 r"LOG stats: \d+ xacts/s, \d+ queries/s, \d+ client parses/s, \d+ server parses/s, "
                 r"\d+ binds/s, in \d+ B/s, out \d+ B/s, xact \d+ us, "
                 r"query \d+ us, wait \d+ us"):
        assert wait_for(lambda: re.search(line, px.log())), line
    with pytest.raises(psycopg.OperationalError):
        px.sql("select 1", db="nosuch")
    assert re.search(r"WARNING C-0x\w+: .* pooler error: no such database: nosuch", px.log())


def test_quiet(make):
    px = make(more="log_connections = 0\nlog_disconnections = 0\nlog_pooler_errors = 0\nlog_stats = 0\n"
              "stats_period = 0.5")
    px.sql("select 1")
    with pytest.raises(psycopg.OperationalError):
        px.sql("select 1", db="nosuch")
    time.sleep(1)
    for word in ("login attempt", "client close request", "pooler error", "stats:"):
        assert word not in px.log()
