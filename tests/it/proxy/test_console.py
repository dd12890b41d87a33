"""The console: columns as PgBouncer's, both protocols, commands that change things."""
import signal
import threading
import time

import psycopg
import pytest

from conftest import wait_for

COLUMNS = {
    "pools": "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req "
             "sv_active sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login "
             "maxwait maxwait_us pool_mode load_balance_hosts",
    "clients": "type user database replication state addr port local_addr local_port connect_time "
               "request_time wait wait_us close_needed ptr link remote_pid tls application_name "
               "prepared_statements id",
    "databases": "name host port database force_user pool_size min_pool_size reserve_pool_size "
                 "server_lifetime pool_mode load_balance_hosts max_connections "
                 "current_connections max_client_connections current_client_connections paused "
                 "disabled",
    "users": "name pool_size reserve_pool_size pool_mode max_user_connections "
             "current_connections max_user_client_connections current_client_connections",
    "lists": "list items",
    "config": "key value default changeable",
    "version": "version",
    "state": "key value",
    "stats_totals": "database server_assignment_count xact_count query_count bytes_received "
                    "bytes_sent xact_time query_time wait_time client_parse_count "
                    "server_parse_count bind_count client_login_count",
    "totals": "name value",
    "mem": "name size used free memtotal",
    "fds": "fd task user database addr port cancel link client_encoding std_strings datestyle "
           "timezone password scram_client_key scram_server_key",
}


@pytest.mark.parametrize("what", COLUMNS)
def test_columns(make, what):
    px = make()
    assert px.sql("select 1") == [(1,)]
    with px.connect(db="pgbouncer", user="admin", cursor_factory=psycopg.ClientCursor) as c:
        cur = c.execute("show " + what)
        names = COLUMNS[what].split()
        assert [d.name for d in cur.description][:len(names)] == names
        cur.fetchall()
    servers = px.psql("show servers", db="pgbouncer", user="admin").stdout
    assert servers.startswith("S|u_trust|db|none|idle|127.0.0.1|")


def test_both_protocols(make):
    px = make()
    px.sql("select 1")
    simple = px.psql("show version", db="pgherd", user="admin").stdout.strip()
    with px.connect(db="pgherd", user="admin") as c:
        assert c.execute("show version").fetchone() == (simple,)
        assert c.execute("show pools").fetchone()[0] == "db"
        row = c.cursor(binary=True).execute("show pools").fetchone()
        assert row[0] == "db" and row[9] == 1
        with pytest.raises(psycopg.Error, match="invalid command"):
            c.execute("select 1")
        assert c.execute("show lists").fetchall()
    with px.connect(db="pgherd", user="admin", autocommit=False) as c:
        c.execute("show stats")
        c.commit()
    assert "SHOW" in px.psql("show help", db="pgbouncer", user="admin").stderr


def test_only_admins(make):
    px = make(more="stats_users = u_plain")
    with pytest.raises(psycopg.OperationalError, match="not allowed"):
        px.sql("show pools", db="pgbouncer")
    assert "could" not in px.psql("show pools", db="pgbouncer", user="u_plain").stdout
    done = px.psql("pause", db="pgbouncer", user="u_plain", check=False)
    assert "admin access needed" in done.stderr


def test_pause_resume(make):
    px = make()
    c = px.connect(autocommit=False)
    c.execute("select 1")
    paused = threading.Thread(target=px.console, args=("pause",))
    paused.start()
    time.sleep(0.4)
    assert paused.is_alive()
    c.commit()
    paused.join(10)
    assert not paused.is_alive()
    assert {r["key"]: r["value"] for r in px.console("show state")}["paused"] == "yes"
    got = []
    waits = threading.Thread(target=lambda: got.append(c.execute("select 5").fetchone()))
    waits.start()
    time.sleep(0.4)
    assert not got
    px.console("resume")
    waits.join(10)
    assert got == [(5,)]
    c.close()


@pytest.mark.parametrize("what", ["", " db"])
def test_resume_while_pause_waits(make, what):
    px = make()
    with px.connect() as c, px.connect("pgbouncer", user="admin") as console:
        c.execute("begin")
        console.pgconn.send_query(f"pause{what}".encode())
        # The transaction goes on: the pause does not end by itself.
        wait_for(lambda: "PAUSE" in px.log())
        px.console(f"resume{what}")
        assert b"ended by RESUME" in console.pgconn.get_result().error_message
        assert console.pgconn.get_result() is None
        c.execute("commit")
        assert px.sql("select 1") == [(1,)]


def test_pause_of_one_database(make, server):
    px = make(databases=f"other = host=127.0.0.1 port={server.port} dbname=db")
    px.sql("select 1")
    px.console("pause db")
    assert px.sql("select 1", db="other") == [(1,)]
    px.console("resume db")
    assert px.sql("select 1") == [(1,)]


def test_disable_enable(make):
    px = make()
    px.console("disable db")
    with pytest.raises(psycopg.OperationalError, match="disabled"):
        px.sql("select 1")
    px.console("enable db")
    assert px.sql("select 1") == [(1,)]


def test_kill_and_kill_client(make):
    px = make()
    c = px.connect()
    c.execute("select 1")
    mine = next(r for r in px.console("show clients") if r["database"] == "db")
    px.console(f"kill_client {mine['id']}")
    with pytest.raises(psycopg.OperationalError):
        c.execute("select 1")
    d = px.connect()
    d.execute("select 1")
    px.console("kill db")
    with pytest.raises(psycopg.OperationalError):
        d.execute("select 1")
    assert "closing because: database removed" in px.log()
    px.console("resume db")
    assert px.sql("select 1") == [(1,)]


def test_reconnect_and_wait_close(make):
    px = make()
    with px.connect() as c:
        pid = c.execute("select pg_backend_pid()").fetchone()[0]
        px.console("reconnect")
        px.console("wait_close")
        wait_for(lambda: c.execute("select pg_backend_pid()").fetchone()[0] != pid)


def test_set_and_reload(make):
    px = make()
    px.console("set query_wait_timeout = '7'")
    value = {r["key"]: r["value"] for r in px.console("show config")}
    assert value["query_wait_timeout"] == "7"
    with pytest.raises(psycopg.Error, match="unknown setting"):
        px.console("set nonsense = 1")
    with pytest.raises(psycopg.Error, match="invalid value"):
        px.console("set query_wait_timeout = 'soon'")
    with open(px.file) as f:
        text = f.read()
    px.write(text.replace("[pgbouncer]", "second = host=127.0.0.1 dbname=db port="
                          + text.split("port=")[1].split()[0] + "\n[pgbouncer]", 1))
    px.console("reload")
    assert px.sql("select 1", db="second") == [(1,)]
    px.write(text + "\n[pgbouncer]\nnonsense = 1\n")
    with pytest.raises(psycopg.Error, match="unknown setting"):
        px.console("reload")
    px.signal(signal.SIGHUP)
    assert px.sql("select 1") == [(1,)]


def test_stats_count(make):
    px = make()
    with px.connect() as c:
        c.execute("select 1")
        c.execute("begin")
        c.execute("select 2")
        c.execute("commit")
    row = next(r for r in px.console("show stats") if r["database"] == "db")
    assert row["total_xact_count"] == 2 and row["total_query_count"] == 4
    assert row["total_client_login_count"] == 1


def test_shutdown(make):
    px = make()
    c = px.connect(autocommit=False)
    c.execute("select 1")
    px.signal(signal.SIGINT)
    time.sleep(0.5)
    assert px.process.poll() is None
    c.execute("select 2")
    c.commit()
    assert px.process.wait(10) == 0


def test_sigterm_waits_for_clients(make):
    px = make()
    c = px.connect()
    px.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert c.execute("select 1").fetchone() == (1,)
    c.close()
    assert px.process.wait(10) == 0


def test_shutdown_command(make):
    px = make()
    with px.connect() as c:
        c.execute("select 1")
        try:
            px.console("shutdown")
        except psycopg.OperationalError:
            pass
        assert px.process.wait(10) == 0


def test_fast_close(make):
    """A session ends between two statements when its server is to be replaced."""
    px = make(mode="session", more="server_fast_close = 1")
    c = px.connect()
    c.execute("begin")
    px.console("reconnect")
    assert c.execute("select 1").fetchone() == (1,)
    c.execute("commit")
    wait_for(lambda: "closing because: database configuration changed" in px.log())
    with pytest.raises(psycopg.OperationalError):
        c.execute("select 1")


def test_verbose_at_run_time(make):
    px = make(databases="* = host=127.0.0.1 port=1")
    px.console("set verbose = 1")
    with pytest.raises(psycopg.OperationalError):
        px.sql("select 1", db="somewhere", connect_timeout=2)
    assert "registered new auto-database: db=somewhere" in px.log()


def test_waiting_is_cancelled(make):
    """What a console waits for in vain is cancelled as any statement is; a PAUSE ends with that."""
    px = make()
    with px.connect(autocommit=False) as c, px.connect(db="pgbouncer", user="admin") as admin:
        c.execute("select 1")
        for command in ("pause", "pause db", "wait_close"):
            c.execute("select 1")
            if command == "wait_close":
                px.console("reconnect")
            got = []

            def wait():
                try:
                    admin.execute(command)
                except psycopg.Error as e:
                    got.append(e.sqlstate)

            t = threading.Thread(target=wait)
            t.start()
            if command == "wait_close":
                time.sleep(0.3)
            else:
                wait_for(lambda: "PAUSE" in px.log())
            while t.is_alive():
                admin.cancel()
                t.join(0.2)
            assert got == ["57014"]
        c.commit()
        assert px.sql("select 2") == [(2,)]
        assert {r["paused"] for r in px.console("show databases")} == {0}
