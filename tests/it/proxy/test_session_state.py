"""Session state in transaction and statement mode: one or two servers, several clients in turn."""
import threading
import time

import psycopg
import psycopg2
import pytest

from conftest import BASE, Box, Proxy, users, wait_for

EXTRA = """two = host=127.0.0.1 port={pg} dbname=db pool_size=2
off = host=127.0.0.1 port={pg} dbname=db pool_size=1 session_state=off
stmt = host=127.0.0.1 port={pg} dbname=db pool_size=1 pool_mode=statement
sess = host=127.0.0.1 port={pg} dbname=db pool_size=1 pool_mode=session
conn = host=127.0.0.1 port={pg} dbname=db pool_size=1 connect_query='set work_mem = 3000'
lim = host=127.0.0.1 port={pg} dbname=db pool_size=3
"""


@pytest.fixture(scope="module")
def px(server):
    box = Box()
    users(box)
    try:
        server.sql("create role reader", "grant reader to u_trust", "create sequence if not exists s",
                   db="db")
        yield Proxy(box, BASE.format(pg=server.port, mode="transaction", auth="trust",
                                     databases=EXTRA.format(pg=server.port),
                                     more="max_db_connections = 0\nquery_wait_timeout = 60")
                    .replace("default_pool_size = 4", "default_pool_size = 1"))
    finally:
        box.close()


def one(c, sql, *args):
    return c.execute(sql, *args).fetchone()[0]


def pinned(px):
    return {r["application_name"]: r["pinned"] for r in px.console("show clients")}


def test_settings_follow_their_client(px):
    with px.connect() as a, px.connect() as b, px.connect() as c:
        a.execute("set search_path to aaa, public")
        b.execute("SET search_path = bbb; set statement_timeout = '7s'")
        for _ in range(3):
            assert one(a, "show search_path") == "aaa, public"
            assert one(b, "show search_path") == "bbb"
            assert one(b, "show statement_timeout") == "7s"
            assert one(a, "show statement_timeout") == "0"
            assert one(c, "show search_path") == '"$user", public'
        b.execute("reset search_path")
        assert one(a, "show search_path") == "aaa, public"
        assert one(b, "show search_path") == '"$user", public'
        b.execute("reset all")
        assert one(b, "show statement_timeout") == "0"
        a.execute("discard all")
        assert one(c, "show search_path") == '"$user", public'
        assert one(a, "show search_path") == '"$user", public'


def test_settings_follow_the_transaction(px):
    with px.connect(autocommit=False) as a, px.connect() as b:
        a.execute("set work_mem = 1000")
        a.rollback()
        assert one(a, "show work_mem") == "4MB"
        a.commit()
        a.execute("set work_mem = 2000")
        a.execute("savepoint x")
        a.execute("set work_mem = 2001")
        a.execute("rollback to x")
        a.commit()
        assert one(b, "show work_mem") == "4MB"
        assert one(a, "show work_mem") == "2000kB"
        with pytest.raises(psycopg.Error):
            a.execute("set work_mem = 3000; select 1/0")
        a.rollback()
        assert one(b, "show work_mem") == "4MB"
        assert one(a, "show work_mem") == "2000kB"
        a.commit()


def test_extended_protocol_and_functions(px):
    with px.connect(prepare_threshold=0) as a, px.connect() as b:
        for value in (1001, 1002):
            a.execute(f"set work_mem = {value}", prepare=True)
            assert one(b, "show work_mem") == "4MB"
            assert one(a, "show work_mem") == f"{value}kB"
        a.execute("set work_mem = 1001", prepare=True)
        assert one(b, "show work_mem") == "4MB"
        assert one(a, "show work_mem") == "1001kB"
        a.execute("select set_config('my.Var', 'x y', false)")
        assert one(b, "select coalesce(current_setting('my.var', true), '')") == ""
        assert one(a, "select current_setting('my.var')") == "x y"
        with a.pipeline():
            a.execute("set work_mem = 5000")
            a.execute("select 1")
        assert one(b, "show work_mem") == "4MB"
        assert one(a, "show work_mem") == "5000kB"


def test_roles(px):
    with px.connect() as a, px.connect() as b:
        a.execute("set role reader")
        assert one(b, "select current_user") == "u_trust"
        assert one(a, "select current_user") == "reader"
        a.execute("set session authorization reader")
        assert one(b, "select session_user") == "u_trust"
        assert one(a, "select session_user") == "reader"
        a.execute("reset session authorization")
        assert one(b, "select current_user") == "u_trust"
        assert one(a, "select current_user") == "u_trust"
        a.execute("set session characteristics as transaction read only")
        assert one(b, "show transaction_read_only") == "off"
        assert one(a, "show transaction_read_only") == "on"


def test_what_cannot_be_set_again_ends_the_client(px, server):
    server.sql("create role goner", "grant goner to u_trust")
    a, b = px.connect(), px.connect()
    a.execute("set role goner")
    assert one(b, "select current_user") == "u_trust"
    server.sql("drop role goner")
    with pytest.raises(psycopg.OperationalError, match="could not restore session state"):
        a.execute("select 1")
    assert one(b, "select current_user") == "u_trust"
    b.close()


def test_psycopg2(px):
    def connect():
        c = psycopg2.connect(host="127.0.0.1", port=px.port, user="u_trust", dbname="db")
        return c, c.cursor()
    (a, ca), (b, cb) = connect(), connect()
    try:
        ca.execute("set search_path to a2")
        a.commit()
        cb.execute("show search_path")
        assert cb.fetchone()[0] == '"$user", public'
        b.commit()
        ca.execute("show search_path")
        assert ca.fetchone()[0] == "a2"
        a.rollback()
    finally:
        a.close()
        b.close()


def test_connect_query_is_kept(px):
    with px.connect("conn") as a, px.connect("conn") as b:
        a.execute("set work_mem = 2000")
        assert one(b, "show work_mem") == "3000kB"
        assert one(a, "show work_mem") == "2000kB"


@pytest.mark.parametrize("make, use, undo", [
    ("create temp table x (a int)", "select count(*) from x", "discard temp"),
    ("select pg_advisory_lock(77)", "select count(*) from pg_locks where locktype = 'advisory' "
     "and pid = pg_backend_pid() and objid = 77", "select pg_advisory_unlock_all()"),
    ("prepare p1 as select E'\\x35'", "execute p1", "deallocate all"),
    ("begin; declare c1 cursor with hold for select 7; commit", "fetch next from c1", "close all"),
])
def test_pins(px, make, use, undo):
    with px.connect("two", application_name="pinner") as a, px.connect("two") as b:
        pid = one(a, "select pg_backend_pid()")
        a.execute(make)
        mine = one(a, "select pg_backend_pid()")
        for _ in range(3):
            assert one(b, "select pg_backend_pid()") != mine
            a.execute(use)
        assert pinned(px)["pinner"] != ""
        assert [r["sv_pinned"] for r in px.console("show pools")
                if r["database"] == "two"] == [1]
        assert "client pinned to its server: " in px.log()
        a.execute(undo)
        assert pinned(px)["pinner"] == ""
        assert [r["sv_pinned"] for r in px.console("show pools")
                if r["database"] == "two"] == [0]
        assert pid


@pytest.mark.parametrize("make, undo", [
    ("create temp table y{} (a int)", "drop table y{}"),
    ("select pg_advisory_lock({})", "select pg_advisory_unlock({})"),
    ("select pg_try_advisory_lock({})", "select pg_advisory_unlock({})"),
    ("prepare p{} as select E'\\x35'", "deallocate p{}"),
    ("begin; declare c{} cursor with hold for select 7; commit", "close c{}"),
])
def test_pins_end_when_the_server_says_so(px, make, undo):
    with px.connect("two", application_name="pinner") as a, px.connect("two") as b:
        a.execute(make.format(1))
        a.execute(make.format(2))
        assert pinned(px)["pinner"] != ""
        a.execute(undo.format(1))
        assert one(a, "select 1") == 1
        assert pinned(px)["pinner"] != ""
        a.execute(undo.format(2))
        wait_for(lambda: pinned(px)["pinner"] == "")
        assert one(a, "select 1") == one(b, "select 1") == 1


def prepared(c):
    return sorted(r[0] for r in c.execute("select name from pg_prepared_statements where from_sql"))


def test_reported_settings_follow_whoever_sets_them(px, server):
    """What a function does is not seen, but the server reports some settings."""
    server.sql("""create or replace function tz(z text) returns text language plpgsql as
                  $$ begin return set_config('Time' || 'Zone', z, false); end $$""", db="db")
    with px.connect("two") as a, px.connect("two") as b:
        was = one(b, "show timezone")
        a.execute("select tz('Asia/Tokyo')")
        for _ in range(4):
            with b.transaction():
                assert one(b, "show timezone") == was
                assert one(a, "show timezone") == "Asia/Tokyo"


def test_prepare_follows_its_client(px, server):
    """PREPARE is made again on every server, and is nobody else's."""
    # psycopg says DEALLOCATE ALL after a ROLLBACK when it has prepared something itself.
    kw = {"prepare_threshold": None}
    with px.connect("two", application_name="prep", **kw) as a, px.connect("two", **kw) as b, \
            px.connect("two", **kw) as c:
        pids = set()
        a.execute("prepare p (int) as select $1 + 1, pg_backend_pid()")
        b.execute("PREPARE \"P x\" AS select 'b'; prepare p as select 'other'")
        for i in range(12):
            # Others take and give back both servers, in turn and together.
            with c.transaction():
                assert prepared(c) == []
                if i % 3:
                    assert (one(b, "execute \"P x\""), one(b, "execute p")) == ("b", "other")
                n, pid = a.execute(f"execute p({i})").fetchone()
                assert n == i + 1
                pids.add(pid)
            assert prepared(a) == ["p"] and prepared(b) == ["P x", "p"]
        assert pinned(px)["prep"] == ""
        # As in PostgreSQL it is not part of the transaction.
        a.execute("begin; prepare q as select 'q'; deallocate p; rollback")
        for _ in range(4):
            assert one(a, "execute q") == "q" and prepared(b) == ["P x", "p"]
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            a.execute("execute p(1)")
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
            a.execute("prepare q as select 2")
        assert one(a, "execute q") == "q"
        a.execute("prepare r as select 1; deallocate prepare q")
        assert prepared(c) == [] and prepared(a) == ["r"]
        a.execute("deallocate all")
        assert prepared(c) == prepared(a) == [] and prepared(b) == ["P x", "p"]
        b.execute("discard all")
        assert prepared(c) == prepared(b) == []
        assert pids


def test_prepare_that_cannot_be_made_again(px, server):
    """What it names is gone, or is found by another search_path: EXECUTE fails, nothing else does."""
    with px.connect("two", prepare_threshold=None) as a, px.connect("two") as b:
        a.execute("create table gone (a int)")
        a.execute("prepare g as select * from gone")
        a.execute("prepare h as select 7")
        a.execute("drop table gone")
        for _ in range(4):
            with b.transaction():
                b.execute("select 1")
                assert one(a, "execute h") == 7
            assert prepared(b) == []
        with pytest.raises(psycopg.Error):
            a.execute("execute g")
        a.execute("create schema s1; create table s1.t1 as select 's1' v; "
                  "create schema s2; create table s2.t1 as select 's2' v")
        a.execute("set search_path to s1")
        a.execute("prepare w as select v from t1")
        for _ in range(4):
            with b.transaction():
                b.execute("select 1")
                assert one(a, "execute w") == "s1"
            prepared(b)
        a.execute("set search_path to s2")
        assert one(a, "execute w") == "s2"
        a.execute("reset search_path; drop schema s1, s2 cascade")


def test_too_much_is_prepared(px):
    with px.connect("two", application_name="many") as a, px.connect("two") as b:
        for i in range(80):
            a.execute(f"prepare m{i} as select {i}")
        assert pinned(px)["many"] == "prepare"
        for i in range(80):
            assert one(a, f"execute m{i}") == i
            assert prepared(b) == []
        a.execute("deallocate all")
        assert pinned(px)["many"] == ""
        assert prepared(a) == []


def test_prepare_by_extended_protocol(px):
    with px.connect("two", prepare_threshold=0) as a, px.connect("two") as b:
        with a.pipeline():
            a.execute("prepare e1 as select 11")
            a.execute("prepare e2 as select 12")
            cur = a.execute("execute e2")
        assert cur.fetchone() == (12,)
        for _ in range(3):
            with b.transaction():
                b.execute("select 1")
                assert one(a, "execute e1") == 11
        assert prepared(b) == []


def test_what_did_not_happen_does_not_pin(px):
    with px.connect("lim", application_name="none") as a, px.connect("lim") as b:
        b.execute("select pg_advisory_lock(73)")
        assert one(a, "select pg_try_advisory_lock(73)") is False
        wait_for(lambda: pinned(px)["none"] == "")
        a.execute("begin; create temp table z (a int); rollback")
        wait_for(lambda: pinned(px)["none"] == "")
        with pytest.raises(psycopg.Error):
            a.execute("create temp table z (a nosuchtype)")
        wait_for(lambda: pinned(px)["none"] == "")
        # leaves in the midst of the question
        for _ in range(20):
            with px.connect("lim") as c:
                c.execute("select pg_try_advisory_lock(74)")
                c.execute("select pg_advisory_unlock(74)")
        assert one(a, "select 1") == 1


def test_pinned_servers_are_reset(px):
    with px.connect() as a:
        a.execute("create temp table leftover (a int)")
        a.execute("set work_mem = 2222")
        a.execute("select pg_advisory_lock(78)")
        pid = one(a, "select pg_backend_pid()")
    with px.connect() as b:
        assert one(b, "select pg_backend_pid()") == pid
        assert one(b, "select to_regclass('leftover')") is None
        assert one(b, "show work_mem") == "4MB"
        assert one(b, "select count(*) from pg_locks where locktype = 'advisory'") == 0


def test_no_pin_without_need(px):
    with px.connect(application_name="free") as a:
        a.execute("begin; create temp table d (a int) on commit drop; commit")
        a.execute("select pg_advisory_xact_lock(1)")
        a.execute("set local work_mem = 1000")
        a.execute("select 'create temp table x; listen y'")
        assert pinned(px)["free"] == ""


def test_sequence_values(px):
    with px.connect(application_name="seq") as a:
        notices = []
        a.add_notice_handler(lambda d: notices.append(d.message_primary))
        a.execute("begin")
        a.execute("select nextval('s')")
        assert one(a, "select lastval()") > 0
        a.execute("commit")
        assert pinned(px)["seq"] == "" and not notices
        a.execute("select lastval()")
        assert pinned(px)["seq"] == "sequence values"
        assert "lastval() and currval()" in notices[0]


def test_statement_mode_refuses(px):
    with px.connect("stmt", application_name="stmt") as a:
        for sql in ("create temp table x (a int)", "select pg_advisory_lock(1)",
                    "prepare p as select E'\\x35'"):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="statement pooling mode"):
                a.execute(sql)
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="statement pooling mode"):
                a.execute(sql, prepare=True)
        a.execute("set work_mem = 2000")
        with px.connect("stmt") as b:
            assert one(b, "show work_mem") == "4MB"
        assert one(a, "show work_mem") == "2000kB"
        assert pinned(px)["stmt"] == ""


def test_off_is_as_ever(px):
    with px.connect("off", application_name="off") as a, px.connect("off") as b:
        a.execute("set work_mem = 2345")
        a.execute("create temp table seen (a int)")
        assert one(b, "show work_mem") == "2345kB"
        assert one(b, "select count(*) from seen") == 0
        assert pinned(px)["off"] == ""


def test_limits(px):
    px.console("set max_pinned = 1")
    px.console("set pin_timeout = 1")
    try:
        with px.connect("lim") as a, px.connect("lim") as b:
            a.execute("create temp table x (a int)")
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="max_pinned"):
                b.execute("create temp table x (a int)")
            assert one(b, "select 1") == 1

            def gone():
                return any(r["database"] == "lim" and r["sv_pinned"] == 0
                           for r in px.console("show pools"))
            wait_for(gone)
            with pytest.raises(psycopg.OperationalError, match="pin_timeout"):
                a.execute("select 1")
    finally:
        px.console("set max_pinned = 0")
        px.console("set pin_timeout = 0")


def test_long_texts(px):
    with px.connect("two", application_name="long") as a:
        a.execute("select '" + "x" * 100000 + "'; set work_mem = 1111")
        assert pinned(px)["long"] == ""
        assert one(a, "show work_mem") == "1111kB"
        a.execute("select '" + "x" * 300000 + "'; set work_mem = 1112")
        assert pinned(px)["long"] == "setting"
        assert one(a, "show work_mem") == "1112kB"


EARS = {}


def ear(c):
    """What comes with the answer to a statement goes to the handler, the rest is asked for."""
    EARS[c] = []
    c.add_notify_handler(lambda n: EARS[c].append((n.channel, n.payload, n.pid)))
    return c


def heard(c, n=1, timeout=60):
    got, end = EARS[c], time.monotonic() + timeout
    while len(got) < n and time.monotonic() < end:
        c.pgconn.consume_input()
        while (note := c.pgconn.notifies()):
            got.append((note.relname.decode(), note.extra.decode(), note.be_pid))
        time.sleep(0.01)
    EARS[c] = []
    return got


def names(got):
    return [g[:2] for g in got]


def test_listen(px, server):
    with px.connect() as a, px.connect() as b, px.connect() as c:
        ear(a), ear(b), ear(c)
        assert a.execute("listen news").statusmessage == "LISTEN"
        assert b.execute("LISTEN \"Weird \"\"x\"").statusmessage == "LISTEN"
        c.execute("notify news, 'one'")
        assert names(heard(a)) == [("news", "one")]
        # also from elsewhere, with the sender's own process id
        with psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", dbname="db",
                             autocommit=True) as direct:
            direct.execute("select pg_notify('news', 'two')")
            direct.execute("select pg_notify('Weird \"x', 'three')")
            pid = direct.info.backend_pid
        assert heard(a) == [("news", "two", pid)]
        assert heard(b) == [("Weird \"x", "three", pid)]
        assert heard(c, timeout=0.3) == []
        assert not any(r["pinned"] for r in px.console("show clients"))
        a.execute("unlisten news")
        c.execute("notify news, 'four'")
        c.execute("notify \"Weird \"\"x\", 'five'")
        assert names(heard(b)) == [("Weird \"x", "five")]
        assert heard(a, timeout=0.3) == []
        b.execute("unlisten *")
        b.execute("listen x1; listen x2; select 1")
        c.execute("notify x2, 'multi'")
        assert names(heard(b)) == [("x2", "multi")]
        b.execute("discard all")
        c.execute("notify x2")
        assert heard(b, timeout=0.3) == []
        # nobody listens: the connection goes
        wait_for(lambda: server.sql("select count(*) from pg_stat_activity where datname = 'db' "
                                    "and query ilike '%listen%' and pid <> pg_backend_pid() and "
                                    "query not ilike '%pg_stat_activity%'")[0][0] == 0)


def test_own_notifications_have_the_own_pid(px):
    with px.connect() as a:
        ear(a)
        a.execute("listen own")
        a.execute("notify own, 'x'")
        assert heard(a) == [("own", "x", a.info.backend_pid)]
        a.execute("select pg_notify('own', %s)", ["y"])
        assert heard(a) == [("own", "y", a.info.backend_pid)]


def test_listen_is_transactional(px):
    with px.connect("two", autocommit=False) as a, px.connect("two") as b:
        ear(a)
        a.execute("listen t1")
        a.rollback()
        b.execute("notify t1, 'lost'")
        a.execute("listen t1")
        a.commit()
        b.execute("notify t1, 'heard'")
        got = names(heard(a))
        assert got == [("t1", "heard")]
        # in a transaction nothing comes, then everything in order
        a.execute("select 1")
        for i in range(5):
            b.execute(f"notify t1, '{i}'")
        assert heard(a, timeout=0.5) == []
        a.commit()
        assert names(heard(a, 5)) == [("t1", str(i)) for i in range(5)]
        a.execute("savepoint x")
        with pytest.raises(psycopg.Error):
            a.execute("listen t2; select 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            a.execute("listen t3")
        a.rollback()


def test_notify_in_the_transaction_of_its_listen(px):
    """As in PostgreSQL, the session hears itself; whatever thread is the faster one."""
    clients = [ear(px.connect("two", autocommit=False)) for _ in range(4)]
    try:
        for i in range(60):
            c, how = clients[i % 4], i // 4 % 3
            name = f"self{i}"
            if how == 0:
                c.execute(f"listen {name}")
                c.execute(f"notify {name}, 'me'")
                c.commit()
            elif how == 1:
                c.execute(f"select pg_notify('{name}', 'me')")
                c.execute(f"listen {name}")
                c.execute("commit")
            else:
                c.rollback()
                c.autocommit = True
                c.cursor(binary=False).execute(f"listen {name}; notify {name}, 'me'")
                c.autocommit = False
            assert heard(c) == [(name, "me", c.info.backend_pid)]
        c, other = clients[:2]
        other.autocommit = True
        c.execute("listen late")
        other.execute("notify late, 'before its commit'")
        time.sleep(0.3)
        c.commit()
        other.execute("notify late, 'after it'")
        assert names(heard(c)) == [("late", "after it")]
        c.execute("listen never")
        c.execute("notify never, 'x'")
        c.rollback()
        assert heard(c, timeout=0.5) == []
    finally:
        for c in clients:
            c.close()


def test_listen_by_extended_protocol(px):
    with px.connect(prepare_threshold=0) as a, px.connect() as b:
        ear(a)
        for _ in range(2):
            assert a.execute("listen e1", prepare=True).statusmessage == "LISTEN"
            b.execute("notify e1, 'x'")
            assert names(heard(a)) == [("e1", "x")]
            assert a.execute("unlisten e1", prepare=True).statusmessage == "UNLISTEN"
        with a.pipeline():
            a.execute("listen e2")
            a.execute("select 1")
        b.execute("notify e2, 'p'")
        assert names(heard(a)) == [("e2", "p")]


def test_listen_of_many(px):
    clients = [ear(px.connect("two")) for _ in range(20)]
    try:
        for n, c in enumerate(clients):
            c.execute(f"listen all_; listen c{n % 5}")
        for i in range(10):
            clients[0].execute(f"select pg_notify('all_', '{i}'), pg_notify('c{i % 5}', 'd{i}')")
        for n, c in enumerate(clients):
            got = names(heard(c, 12))
            assert [p for ch, p in got if ch == "all_"] == [str(i) for i in range(10)]
            assert [p for ch, p in got if ch != "all_"] == [f"d{n % 5}", f"d{n % 5 + 5}"]
    finally:
        for c in clients:
            c.close()


def test_listener_comes_back(px, server):
    with px.connect("two") as a:
        ear(a)
        a.execute("listen back")
        server.sql("select pg_terminate_backend(pid) from pg_stat_activity where query like "
                   "'LISTEN \"back\"%'")

        def again():
            server.sql("notify back, 'x'", db="db")
            return heard(a, timeout=0.3)
        assert names(wait_for(again))[0] == ("back", "x")
        assert "the listener's connection ended" in px.log()


def test_listen_alone_where_there_is_no_listener(px, server):
    px.console("set max_db_connections = 2")
    try:
        server.sql("alter role u_plain connection limit 1")
        with px.connect("two", user="u_plain") as a:
            ear(a)
            a.execute("select 1")
            a.execute("listen alone")
            rows = {r["user"]: r["pinned"] for r in px.console("show clients")}
            assert rows["u_plain"] == "listen"
            server.sql("notify alone, 'x'", db="db")
            assert names(heard(a)) == [("alone", "x")]
            a.execute("unlisten *")
            rows = {r["user"]: r["pinned"] for r in px.console("show clients")}
            assert rows["u_plain"] == ""
    finally:
        server.sql("alter role u_plain connection limit -1")
        px.console("set max_db_connections = 0")


def test_slow_reader_of_notifications(px, server):
    with px.connect("two") as a, px.connect("two", autocommit=False) as b:
        ear(a)
        a.execute("listen flood")
        b.execute("listen flood")
        b.commit()
        b.execute("select 1")
        payload = "x" * 7000
        for _ in range(7):
            server.sql(f"select pg_notify('flood', i || '{payload}') from generate_series(1, 100) i",
                       db="db")
            assert len(heard(a, 100)) == 100
        wait_for(lambda: "too many notifications wait for the end of its transaction" in px.log())
        with pytest.raises(psycopg.OperationalError):
            b.execute("select 1")
        # and one that does not read at all: what the kernel does not take any more is bounded, too
        with px.connect("two") as c:
            a.execute("unlisten *")
            c.execute("listen flood")
            for _ in range(4):
                server.sql(f"select pg_notify('flood', i || '{payload}') "
                           "from generate_series(1, 1200) i", db="db")
            wait_for(lambda: "client does not read its notifications" in px.log(), timeout=60)


def test_over_a_change_of_leader(herd, herd_proxy):
    p = herd_proxy()
    with p.connect(application_name="a") as a, p.connect(port=p.reads) as r, p.connect() as b:
        ear(a), ear(r)
        a.execute("set work_mem = 1717")
        a.execute("listen news")
        # a standby has no notifications: its clients get those of the leader
        r.execute("listen news")
        assert one(r, "select pg_is_in_recovery()")
        pin = p.connect()
        pin.execute("create temp table x (a int)")
        herd.a.sql("notify news, 'before'", db="db")
        assert names(heard(a)) == names(heard(r)) == [("news", "before")]
        herd.a.stop("immediate")
        herd.lead(None)
        herd.lead("b")
        herd.b.promote()
        assert one(a, "show work_mem") == "1717kB"
        assert one(b, "show work_mem") == "4MB"
        with pytest.raises(psycopg.OperationalError):
            pin.execute("select * from x")

        def again(c):  # each listens on a connection of its own, back in its own time
            herd.b.sql("notify news, 'after'", db="db")
            return heard(c, timeout=0.3)
        assert names(wait_for(lambda: again(a)))[0] == ("news", "after")
        assert names(wait_for(lambda: again(r)))[0] == ("news", "after")


def test_many_clients_interleaved(px):
    failures = []

    def work(n):
        try:
            with px.connect("two") as c:
                c.execute(f"set my.id = '{n}'")
                for i in range(30):
                    if i % 10 == 0:
                        c.execute(f"set work_mem = {1000 + n * 100 + i}")
                    if one(c, "select current_setting('my.id')") != str(n):
                        failures.append(n)
                    if one(c, "show work_mem") != f"{1000 + n * 100 + i // 10 * 10}kB":
                        failures.append(n)
        except Exception as e:
            failures.append(e)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not failures
    with px.connect("two") as c:
        assert one(c, "select coalesce(current_setting('my.id', true), '')") == ""
