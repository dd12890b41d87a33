"""Replication connections: each client has a server of its own, and what it asks for reaches it."""
import os
import signal
import subprocess
import time

import psycopg
import psycopg2
import psycopg2.extras
import pytest

from conftest import AS_POSTGRES, BASE, BIN, Box, Postgres, Proxy, prepare, run, users, wait_for


@pytest.fixture(scope="module")
def world():
    box = Box()
    try:
        users(box)
        pg = Postgres(box, "pg")
        prepare(pg)
        pg.sql("alter system set wal_level = logical", "alter system set max_wal_senders = 20",
               "create user rep replication password 'secret'", "create user nobody_special")
        with open(os.path.join(pg.data, "pg_hba.conf"), "w") as f:
            f.write("local all all trust\nhost replication rep 127.0.0.1/32 scram-sha-256\n"
                    "host all rep 127.0.0.1/32 scram-sha-256\nhost replication u_trust all trust\n"
                    "host all all 127.0.0.1/32 trust\n")
        pg.stop()
        pg.start()
        with open(box.path("users.txt"), "a") as f:
            f.write('"rep" "secret"\n"nobody_special" ""\n')
        px = Proxy(box, BASE.format(
            pg=pg.port, mode="transaction", auth="hba",
            databases=f"small = host=127.0.0.1 port={pg.port} dbname=db pool_size=2\n"
                      f"replication = host=127.0.0.1 port={pg.port} dbname=db",
            more="auth_hba_file = @DIR@/hba.conf\napplication_name_add_host = 0"), name="px") \
            if box.write("hba.conf", "host replication rep all scram-sha-256\n"
                         "host db,small rep all scram-sha-256\n"
                         "host replication u_trust,nobody_special all trust\n"
                         "host all u_trust,admin,nobody_special all trust\n") else None
        yield pg, px
    finally:
        box.close()


def rows(px, column, of="servers"):
    return [r[column] for r in px.console(f"show {of}")]


def gone(px):
    wait_for(lambda: not [r for r in rows(px, "replication") if r != "none"])


def test_logical(world):
    pg, px = world
    with px.connect(replication="database", application_name="abc",
                    options="-c enable_seqscan=off -c work_mem=7MB") as c:
        assert c.execute("show application_name").fetchone() == ("abc",)
        assert c.execute("show enable_seqscan").fetchone() == ("off",)
        assert c.execute("show work_mem").fetchone() == ("7MB",)
        assert c.execute("IDENTIFY_SYSTEM").fetchone()[3] == "db"
        assert "logical" in rows(px, "replication")
        assert "logical" in rows(px, "replication", "clients")
        # An ordinary client of the same pool has another server.
        assert px.sql("show enable_seqscan") == [("on",)]
    gone(px)
    assert "login attempt: db=db user=u_trust tls=no replication=database" in px.log()
    assert "closing because: replication client was closed" in px.log()
    assert "db/u_trust@" in px.log() and "closing because: client close request" in [
        line for line in px.log().splitlines() if "C-" in line and "closing" in line][0]


@pytest.mark.parametrize("word", ["true", "on", "yes", "1", "TRUE"])
def test_physical(world, word):
    pg, px = world
    with px.connect(replication=word) as c:
        c.pgconn.exec_(b"IDENTIFY_SYSTEM")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="physical replication"):
            c.cursor().execute("select 1")
        assert "physical" in rows(px, "replication")
    gone(px)


def test_words(world):
    pg, px = world
    for word in ("false", "off", "no", "0"):
        with px.connect(replication=word) as c:
            assert c.execute("select 1").fetchone() == (1,)
            # Those that have just left may not be gone yet.
            wait_for(lambda: rows(px, "replication", "clients").count("none") == 2)
    with pytest.raises(psycopg.OperationalError, match='invalid value for parameter "replication"'):
        px.connect(replication="perhaps")


def test_hba_and_password(world):
    """The word replication in the hba file is for physical connections, as in PostgreSQL."""
    pg, px = world
    for kind in ("yes", "database"):
        with px.connect(user="rep", password="secret", replication=kind) as c:
            assert c.pgconn.exec_(b"IDENTIFY_SYSTEM").ntuples == 1
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            px.connect(user="rep", password="wrong", replication=kind)
    with pytest.raises(psycopg.OperationalError, match="no authentication method is found"):
        px.connect(db="replication", user="rep", password="secret", replication="database")
    with pytest.raises(psycopg.OperationalError, match="no authentication method is found|no such database"):
        px.connect(user="stranger", replication="yes")


def test_refused_by_the_server(world):
    pg, px = world
    with pytest.raises(psycopg.OperationalError, match="login failed.*replication role"):
        px.connect(user="nobody_special", replication="database")
    with pytest.raises(psycopg.OperationalError, match="login failed.*no pg_hba.conf entry"):
        px.connect(user="nobody_special", replication="yes")
    # That was theirs: others of the pool go on.
    assert px.sql("select 1", user="nobody_special") == [(1,)]


def test_decoding(world):
    pg, px = world
    c = psycopg2.connect(host="127.0.0.1", port=px.port, user="u_trust", dbname="db",
                         connection_factory=psycopg2.extras.LogicalReplicationConnection)
    cur = c.cursor()
    cur.create_replication_slot("s1", output_plugin="test_decoding")
    cur.start_replication(slot_name="s1", decode=True)
    px.sql("insert into t select i, repeat('x', 1000) from generate_series(1, 3000) i")
    px.sql("insert into t values (-1, 'last')")
    seen = []

    def more():
        m = cur.read_message()
        while m:
            seen.append(m.payload)
            m.cursor.send_feedback(flush_lsn=m.data_start)
            m = cur.read_message()
        return any("'last'" in s for s in seen)
    wait_for(more, timeout=30)
    assert sum("INSERT" in s for s in seen) == 3001
    c.close()
    gone(px)
    wait_for(lambda: not pg.sql("select 1 from pg_replication_slots where active"))
    pg.sql("select pg_drop_replication_slot('s1')")
    px.sql("delete from t")


def test_tools(world):
    """Before PostgreSQL 17 the tools ask for a database called replication, whatever they are told."""
    pg, px = world
    to = px.box.path("copy")
    run(f"{BIN}/pg_basebackup", "-D", to, "-h", "127.0.0.1", "-p", px.port, "-U", "rep", "-c", "fast", "-X",
        "stream", "-N",
        env=dict(os.environ, PGPASSWORD="secret"))
    assert os.path.exists(os.path.join(to, "PG_VERSION"))
    wal = px.box.path("wal")
    run("mkdir", wal)
    p = subprocess.Popen([*AS_POSTGRES, f"{BIN}/pg_receivewal", "-D", wal, "-h", "127.0.0.1",
                          "-p", str(px.port), "-U", "u_trust", "-s", "1", "--no-sync"])
    try:
        # There is a file as soon as there is something to write to it.
        wait_for(lambda: pg.sql("select pg_logical_emit_message(false, 'x', 'y')") and
                 os.listdir(wal))
        pg.sql("select pg_switch_wal()")
        wait_for(lambda: any(not n.endswith(".partial") for n in os.listdir(wal)))
    finally:
        p.send_signal(signal.SIGINT)
        assert p.wait(20) == 0
    gone(px)


def test_pool_size(world):
    """They count for their pool: an idle server makes room, a busy one is waited for."""
    pg, px = world
    px.sql("select 1", db="small")
    one = px.connect(db="small", replication="database")
    two = px.connect(db="small", replication="database")
    assert "closing because: evicted" in px.log()
    start = time.monotonic()
    late = subprocess.Popen(["psql", "-X", "-At", "-c", "select 7",
                             f"host=127.0.0.1 port={px.port} user=u_trust dbname=small "
                             "replication=database connect_timeout=30"],
                            stdout=subprocess.PIPE, text=True)
    wait_for(lambda: "waiting" in rows(px, "state", "clients"))
    assert len([r for r in px.console("show servers") if r["database"] == "small"]) == 2
    one.close()
    assert late.communicate(timeout=30)[0] == "7\n"
    assert time.monotonic() - start < 30
    two.close()
    assert px.sql("select 1", db="small") == [(1,)]


def test_cancel(world):
    pg, px = world
    with px.connect(replication="database") as c:
        c.pgconn.send_query(b"select pg_sleep(60)")
        wait_for(lambda: pg.sql("select 1 from pg_stat_activity where query like '%pg_sleep(60)%' "
                                "and backend_type = 'walsender'"))
        c.cancel()
        assert b"canceling statement" in c.pgconn.get_result().error_message
        assert c.pgconn.get_result() is None


def test_dies_with_its_server(world):
    pg, px = world
    with px.connect(replication="database") as c:
        pid = c.execute("select pg_backend_pid()").fetchone()[0]
        pg.sql(f"select pg_terminate_backend({pid})")
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            for _ in range(100):
                c.execute("select 1")
                time.sleep(0.05)


def test_subscription(world):
    """A subscriber that reaches its publisher through the proxy."""
    pg, px = world
    pg.sql("create database sub")
    pg.sql("create table r (a int)", "create publication p for table r", "insert into r values (1)",
           db="db")
    pg.sql("select pg_create_logical_replication_slot('sub1', 'pgoutput')", db="db")
    pg.sql("create table r (a int)",
           f"create subscription s connection 'host=127.0.0.1 port={px.port} user=u_trust dbname=db'"
           " publication p with (slot_name = sub1, create_slot = false)", db="sub")
    try:
        wait_for(lambda: pg.sql("select count(*) from r", db="sub") == [(1,)], timeout=30)
        pg.sql("insert into r values (2)", db="db")
        wait_for(lambda: pg.sql("select count(*) from r", db="sub") == [(2,)], timeout=30)
    finally:
        pg.sql("alter subscription s disable", "alter subscription s set (slot_name = none)",
               "drop subscription s", db="sub")


def test_in_a_herd(herd, herd_proxy):
    """They go where others go, after the same questions, and wait for a leader."""
    px = herd_proxy()
    ask = "select pg_is_in_recovery(), inet_server_port()"
    with px.connect(replication="database") as c:
        assert c.execute(ask).fetchone() == (False, herd.a.port)
    with px.connect(port=px.reads, replication="database") as c:
        assert c.execute(ask).fetchone() == (True, herd.b.port)
    for port in (px.port, px.reads):
        with px.connect(port=port, replication="yes") as c:
            got = c.pgconn.exec_(b"IDENTIFY_SYSTEM")
            assert got.get_value(0, 0).decode() == str(herd.a.system_id())
    herd.lead(None)
    wait_for(lambda: [h for h in px.console("show holds") if h["held"] == "yes"])
    late = subprocess.Popen(["psql", "-X", "-At", "-c", "select 7",
                             f"host=127.0.0.1 port={px.port} user=u_trust dbname=db "
                             "replication=database connect_timeout=30"],
                            stdout=subprocess.PIPE, text=True)
    wait_for(lambda: "waiting" in rows(px, "state", "clients"))
    herd.lead("a")
    assert late.communicate(timeout=30)[0] == "7\n"
    # A primary of another herd behind the member's address is no server of ours.
    herd.etcd.put("/service/demo/0/initialize", "1234567890")
    wait_for(lambda: "differs" in why(px))


def why(px):
    """What comes of a connection that is not let through soon."""
    try:
        px.connect(replication="yes", connect_timeout=3).close()
    except psycopg.Error:
        pass
    return px.log()
