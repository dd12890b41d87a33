"""split = auto: statements that are proved to be reads go to replicas, all others stay."""
import psycopg
import pytest

from split import Trio, routes, wait_for, warm

WHERE = "current_setting('port')::int"  # of the server that answers; stable, so that it may be read


@pytest.fixture(scope="module")
def trio():
    t = Trio()
    try:
        t.a.sql("create view plain as select a, b from t",
                "create sequence seq", "create unlogged table light (i int)",
                "create view counting as select nextval('seq') from t",
                "create view outer_counting as select * from counting",
                "create view servers as select * from pg_stat_activity",
                "create view locking as select * from t for update",
                "create function vol(i int) returns int language sql volatile as 'select i'",
                "create function stab(i int) returns int language sql stable as 'select i'",
                "create function over(i int) returns int language sql stable as 'select i'",
                "create function over(i text) returns int language sql volatile as 'select 1'",
                "create function dflt(i bigint default nextval('seq')) returns bigint language sql "
                "stable as 'select i'",
                "create function volsum(int, int) returns int language sql volatile as 'select $1'",
                "create aggregate volagg(int) (sfunc = volsum, stype = int, initcond = '0')",
                "create function rowf(t) returns int language sql volatile as 'select 1'",
                "create function volop(int, text) returns bool language sql volatile as "
                "'select true'",
                "create operator ==> (leftarg = int, rightarg = text, function = volop)",
                "create domain checked as int check (vol(value) > 0)",
                "create table secret (i int)", "alter table secret enable row level security",
                "create policy p on secret using (vol(i) = 1)",
                "create table parent (i int) partition by range (i)",
                "create extension postgres_fdw",
                "create server far foreign data wrapper postgres_fdw",
                "create foreign table part partition of parent for values from (0) to (9) "
                "server far",
                "create schema other", "create table other.t2 (i int)",
                "create table dup (i int)", "create unlogged table other.dup (i int)",
                "insert into t values (1, 'one')", db="db")
        t.caught_up()
        yield t
    finally:
        t.box.close()


@pytest.fixture(scope="module")
def px(trio):
    p = trio.proxy("db = cluster=demo group=0 role=primary split=auto")
    return warm(p)


def verdicts(px):
    return {r["query"]: r for r in px.console("show split")}


def verdict(px, key):
    """Waits until it is no longer unknown."""
    def known():
        got = verdicts(px).get(key)
        return got if got and got["verdict"] != "unknown" else None
    return wait_for(known)


# As SHOW SPLIT writes them: a space between all words, '?' for constants.
READS = ["select * from t", "select a , b from plain where a = $1", "table t",
         "select count ( * ) from other . t2", "select stab ( a ) from t",
         "with q as ( select a from t ) select * from q", "select now ( ) , random ( )",
         "select relname from pg_class", "select a from t union select a from plain",
         "explain select * from t", "select t . a from t order by a"]
NOT = {"select vol ( a ) from t": "function vol is volatile",
       "select over ( a ) from t": "function over is volatile",
       "select dflt ( )": "function dflt is volatile",
       "select volagg ( a ) from t": "function volagg is volatile",
       "select nextval ( ? )": "function nextval is volatile",
       "select pg_advisory_lock ( ? )": "function pg_advisory_lock is volatile",
       "select t . rowf from t": "field rowf may be",
       "select a ==> b from t": "operator ==> is volatile",
       "select a :: checked from t": "type checked has volatile",
       "select * from counting": "calls volatile functions",
       "select * from outer_counting": "relation counting calls volatile functions",
       "select * from servers": "tells of the server",
       "select * from locking": "locks rows",
       "select * from light": "is unlogged",
       "select * from dup": "is unlogged",
       "select last_value from seq": "is a sequence",
       "select * from secret": "calls volatile functions",
       "select * from parent": "is a foreign table",
       "select * from nowhere": "relation nowhere is not known",
       "select nothing ( )": "function nothing is not known",
       "select * from t for update": "locks rows",
       "select * into temp made from t": "SELECT INTO",
       "with x as ( insert into t values ( ? ) returning a ) select * from x": "InsertStmt"}


def run(c, sql):
    try:
        return c.execute(sql.replace("?", "'1'").replace("$1", "1")
                         .replace("nextval ( '1' )", "nextval ( 'seq' )"))
    except psycopg.Error:
        return None


def test_verdicts(px):
    for sql in [*READS, *NOT]:
        with px.connect(cursor_factory=psycopg.ClientCursor) as c:
            run(c, sql)
    for sql in READS:
        got = verdict(px, sql.replace("$1", "?"))
        assert got["verdict"] == "read", (sql, got)
    for sql, why in NOT.items():
        got = verdict(px, sql)
        assert got["verdict"] == "primary" and why in got["reason"], (sql, got)


def replica_serves(trio, c, sql, *args):
    return c.execute(sql, args or None).fetchone()[0] != trio.a.port


def test_goes_to_replicas(trio, px):
    simple = dict(cursor_factory=psycopg.ClientCursor)
    text = f"select {WHERE}, * from t where a = "
    with px.connect(**simple) as c:
        wait_for(lambda: replica_serves(trio, c, text + "1"))
        # Once proved, with whatever constant.
        assert all(replica_serves(trio, c, f"{text}{i}") for i in (1, 1))
        seen = {c.execute(text + "1").fetchone()[0] for _ in range(5)}
        assert trio.a.port not in seen
        assert not replica_serves(trio, c, "/*NO LOAD BALANCE*/ " + text + "1")
        # In a transaction that may write everything is the primary's.
        c.execute("begin")
        assert not replica_serves(trio, c, text + "1")
        c.execute("commit")
        assert not replica_serves(trio, c, f"select {WHERE}; select vol(1)")
    with px.connect(prepare_threshold=0) as c:
        sql = f"select {WHERE}, %s::int"
        wait_for(lambda: replica_serves(trio, c, sql, 5))
        for i in range(20):
            got = c.execute(sql, (i,)).fetchone()
            assert got[0] != trio.a.port and got[1] == i
    assert routes(px)["proved read"] > 20


def test_pipelines(trio, px):
    with px.connect() as c:
        sql = f"select {WHERE}, 'pipe'"
        wait_for(lambda: replica_serves(trio, c, sql))
        with c.pipeline() as p:
            a = c.execute(sql)
            p.sync()
            b = c.execute("insert into t values (7, 'pipe')")
            p.sync()
            d = c.execute(sql)
            p.sync()
            e = c.execute("select count(*) from t where a = 7")
            p.sync()
            assert a.fetchone()[0] != trio.a.port
            assert b.rowcount == 1
            assert d.fetchone() and e.fetchone() == (1,)
        with c.pipeline():
            a = c.execute(sql)
            c.execute("insert into t values (8, 'pipe')")
        assert a.fetchone()[0] == trio.a.port


def test_schema_changes(trio, px):
    """A function that becomes volatile is noticed at once."""
    with px.connect(cursor_factory=psycopg.ClientCursor) as c:
        c.execute("create function turns() returns int language sql stable as 'select 1'")
        trio.caught_up()
        sql = f"select {WHERE}, turns()"
        wait_for(lambda: replica_serves(trio, c, sql))
        c.execute("begin")
        c.execute("alter function turns() volatile")
        c.execute("commit")
        assert not replica_serves(trio, c, sql)
        got = verdict(px, "select current_setting ( ? ) :: int , turns ( )")
        assert got["verdict"] == "primary", got
        assert not replica_serves(trio, c, sql)


def test_schema_changes_elsewhere(trio, px):
    """What others change is noticed long before a verdict is a minute old."""
    trio.a.sql("create function moody() returns int language sql stable as 'select 1'", db="db")
    trio.caught_up()
    with px.connect() as c:
        def looked_at():
            c.execute("select moody()")
            return verdicts(px)["select moody ( )"]

        wait_for(lambda: looked_at()["verdict"] == "read")
        trio.a.sql("alter function moody() volatile", db="db")
        wait_for(lambda: "volatile" in (looked_at()["reason"] or ""), 50, 0.2)


def test_refused_by_a_standby(trio, px):
    """Stable, and yet it writes: the primary does it, the client sees no error."""
    trio.a.sql("create table done (i int)",
               "create function inner_put() returns int language sql volatile as "
               "'insert into done values (1) returning 1'",
               "create function put() returns int language sql stable as 'select inner_put()'",
               db="db")
    trio.caught_up()
    with px.connect(cursor_factory=psycopg.ClientCursor) as c:
        for _ in range(50):
            try:
                c.execute("select put()")
            except psycopg.errors.FeatureNotSupported:
                pass  # what the primary itself says of such a function
            if routes(px).get("replica refused"):
                break
        assert c.execute("select 1").fetchone() == (1,)
    # One made a moment ago is not there yet on a replica that stands still.
    with px.connect(cursor_factory=psycopg.ClientCursor) as c, px.connect() as other:
        other.execute("create table fresh (i int)")
        trio.caught_up()
        sql = "select count(*) from fresh"
        c.execute(sql)
        verdict(px, "select count ( * ) from fresh")
        trio.pause(trio.b, trio.c)
        try:
            other.execute("alter table fresh add column j int")
            c.execute("select count(j) from fresh")
            verdict(px, "select count ( j ) from fresh")
            before = routes(px).get("replica refused", 0)
            for prepare in (False, True):
                with px.connect(prepare_threshold=0 if prepare else None) as d:
                    for _ in range(3):
                        assert d.execute("select count(j) from fresh").fetchone() == (0,)
            assert routes(px)["replica refused"] >= before + 6
        finally:
            trio.resume(trio.b, trio.c)


def test_own_writes_are_seen(trio, px):
    with px.connect() as c:
        count = "select count(*) from t where a = 55"
        c.execute(count)
        verdict(px, "select count ( * ) from t where a = ?")
        trio.pause(trio.b, trio.c)
        try:
            for i in range(1, 30):
                c.execute("insert into t values (55, 'x')")
                assert c.execute(count).fetchone() == (i,)
        finally:
            trio.resume(trio.b, trio.c)


def test_standby_dies(trio, px):
    """A read on a standby that goes away is made somewhere else."""
    with px.connect() as c:
        sql = f"select {WHERE}, 'dies', pg_sleep(0.3)"
        wait_for(lambda: replica_serves(trio, c, sql))
        for victim in (trio.b, trio.c):
            victim.sql("select pg_terminate_backend(pid) from pg_stat_activity where "
                       "backend_type = 'client backend' and pid <> pg_backend_pid()")
            assert c.execute(sql).fetchone()[1] == "dies"
        trio.c.stop("immediate")
        for _ in range(4):
            assert c.execute(sql).fetchone()[1] == "dies"
        trio.c.start()
