"""Single-shard statements: what a session keeps of them, and what must make it forget."""
import contextlib

import psycopg
import psycopg2
import pytest
from conftest import run


TABLE = """create table %s (k int primary key, n numeric(10,2), s text, f char(6), ts timestamptz,
    d date, j jsonb, a int[], v int)"""


@pytest.fixture(scope="module")
def pair(nodes):
    """The same table distributed (dt) and plain (pt)."""
    for t in ("dt", "pt"):
        nodes.psql(0, TABLE % t)
    nodes.psql(0, "select create_distributed_table('dt', 'k')")
    return ("dt", "pt")


@pytest.fixture
def s(nodes, pair):
    with contextlib.closing(nodes.session()) as c:
        yield c


STATEMENTS = [
    "insert into {t} values ({k}, {k}.5, 'it''s {k}', 'c{k}', '2024-02-29 12:00+03', '2024-02-0{d}', "
    "'{{\"a\": {k}}}', '{{{k},2}}', -{k})",
    "insert into {t} (k, n, s) values ({k} + 100, 1.005, null) returning *",
    "insert into {t} (k, v) values ({k}, 7) on conflict (k) do update set v = {t}.v + excluded.v + {d} "
    "where {t}.v < 1000 returning v",
    "select * from {t} where k = {k}",
    "select s || '!', n * 2, '{d}' from {t} where {k} = k and n > {d}.25 and s like 'it%'",
    "select j -> 'a', a[1], d + {d} from {t} where k = {k} and j @> '{{\"a\": {k}}}'",
    "select count(*), sum(v), max(s) from {t} where k = {k} and (v < {d} or d = '2024-02-0{d}')",
    "select k, d - date '2024-01-0{d}' from {t} where k = {k} and ts > '2024-01-0{d}' order by 2 limit {d}",
    "select v from {t} where k = {k} and v in (-{k}, {d}, null) for update",
    "update {t} set v = v + {d}, s = upper(s) || '{d}', f = 'u{d}', n = {d} where k = {k} returning *",
    "update {t} set s = null, a = a || {d}, ts = ts + interval '{d} hours' where k = {k} and v is not null",
    "select k, v, s, f, n, ts, a from {t} where k = {k}::bigint",
    "select k from {t} where k = {k} and k = {k} + {d}",
    "select k from {t} where k = null",
    "select k, extract(day from d) from {t} where k = {k} and extract(year from ts) = 2024 and "
    "substring(s from {d} for 2) <> 'x' and position('t' in s) >= 0 and trim(both 'i' from s) <> overlay(s placing 'q' from {d})",
    "select k from {t} where k = {k} and ts at time zone 'utc' > '2024-01-0{d}' and (ts, ts) overlaps (ts, interval '1 day') "
    "and normalize(s, nfc) is nfc normalized",
    "update {t} set v = extract(month from ts)::int + {d}, s = trim(leading 'i' from s) where k = {k} returning v, s",
    "delete from {t} where k = {k} + 100 and n = 1.01 returning k, n",
]


@pytest.mark.parametrize("kind", ["simple", "unnamed", "named"])
def test_same_answers_as_a_plain_table(nodes, pair, kind):
    with contextlib.closing(nodes.session()) as c:
        for t in pair:
            run(c, "truncate " + t)
    conninfo = "host=127.0.0.1 port=%d user=postgres dbname=postgres" % nodes.ports[0]
    with psycopg.connect(conninfo, autocommit=True) as c:
        c.prepare_threshold = 0 if kind == "named" else None
        cursor = psycopg.ClientCursor if kind == "simple" else psycopg.Cursor

        def answer(sql):
            with cursor(c) as cur:
                if kind == "unnamed" and sql.startswith(("select", "delete")):
                    # a parameter makes psycopg use the extended protocol
                    cur.execute(sql.replace("%", "%%").replace(" where ", " where %s and ", 1), [True])
                else:
                    cur.execute(sql)
                return cur.statusmessage, sorted(map(str, cur.fetchall())) if cur.description else None

        for k in (1, 2, 3, 4, 2):
            for text in STATEMENTS:
                if k == 2 and text.startswith("insert into {t} v"):
                    text += " on conflict do nothing"
                got = [answer(text.format(t=t, k=k, d=k)) for t in pair]
                assert got[0] == got[1], text


def logged(c, sql):
    c.notices.clear()
    got = run(c, sql)
    return got, "".join(c.notices)


def test_constants_share_a_plan(s):
    run(s, "set citus.log_remote_commands = on")
    run(s, "insert into dt (k, v) values (11, 1), (12, 2) on conflict do nothing")
    for k, v in ((11, 1), (12, 2), (11, 1)):
        got, sent = logged(s, "select v from dt where k = %d" % k)
        assert got == [(v,)]
        assert "$1" in sent and "BEGIN" not in sent
    # what cannot be one value of one shard is not taken for it
    assert run(s, "select v from dt where k in (11, 12) order by 1") == [(1,), (2,)]
    assert run(s, "select v from dt where k = 11 or k = 12 order by 1") == [(1,), (2,)]
    assert run(s, "select v from dt where k >= 11 and k < 13 order by 1") == [(1,), (2,)]


def test_explain_shows_the_constants(s):
    text = "\n".join(r[0] for r in run(s, "explain select v from dt where k = 11"))
    assert "router" in text and "$1" not in text


def test_ddl_of_another_session(nodes, s):
    nodes.psql(0, "create table chg (k int primary key, v int, w text)")
    nodes.psql(0, "select create_distributed_table('chg', 'k')")
    run(s, "insert into chg values (1, 10, 'a')")
    for _ in range(7):
        assert run(s, "select * from chg where k = 1") == [(1, 10, "a")]
    run(s, "prepare p as select v from chg where k = $1")
    for _ in range(7):
        assert run(s, "execute p(1)") == [(10,)]
    nodes.psql(0, "alter table chg add column x int default 5")
    assert run(s, "select * from chg where k = 1") == [(1, 10, "a", 5)]
    nodes.psql(0, "alter table chg alter column w type int using length(w)")
    assert run(s, "select * from chg where k = 1") == [(1, 10, 1, 5)]
    nodes.psql(0, "alter table chg rename column w to ww")
    with pytest.raises(psycopg2.errors.UndefinedColumn):
        run(s, "select w from chg where k = 1")
    assert run(s, "select ww from chg where k = 1") == [(1,)]
    assert run(s, "execute p(1)") == [(10,)]
    nodes.psql(0, "alter table chg rename to chg2")
    with pytest.raises(psycopg2.errors.UndefinedTable):
        run(s, "select v from chg where k = 1")
    nodes.psql(0, "create table chg (k bigint primary key, v text)")
    nodes.psql(0, "select create_distributed_table('chg', 'k')")
    run(s, "insert into chg values (1, 'new')")
    assert run(s, "select v from chg where k = 1") == [("new",)]
    nodes.psql(0, "drop table chg, chg2")
    with pytest.raises(psycopg2.errors.UndefinedTable):
        run(s, "select v from chg where k = 1")


def test_ddl_in_the_same_transaction(nodes, s):
    nodes.psql(0, "create table own (k int primary key, v int)")
    nodes.psql(0, "select create_distributed_table('own', 'k')")
    run(s, "insert into own values (1, 1)")
    for _ in range(3):
        assert run(s, "select * from own where k = 1") == [(1, 1)]
    run(s, "begin")
    run(s, "alter table own alter column v type text using 'x' || v")
    assert run(s, "select * from own where k = 1") == [(1, "x1")]
    run(s, "rollback")
    assert run(s, "select * from own where k = 1") == [(1, 1)]


def test_functions_that_change(nodes, s):
    nodes.psql(0, "create function twice(int) returns int language sql immutable as 'select $1 * 2'")
    run(s, "insert into dt (k, v) values (21, 3) on conflict (k) do update set v = 3")
    for _ in range(3):
        assert run(s, "select twice(v) from dt where k = 21") == [(6,)]
    nodes.psql(0, "alter function twice(int) rename to double")
    with pytest.raises(psycopg2.errors.UndefinedFunction):
        run(s, "select twice(v) from dt where k = 21")
    assert run(s, "select double(v) from dt where k = 21") == [(6,)]


def test_search_path(nodes, s):
    for n in ("one", "two"):
        nodes.psql(0, "create schema %s" % n)
        nodes.psql(0, "create table %s.here (k int primary key, v text)" % n)
        nodes.psql(0, "select create_distributed_table('%s.here', 'k')" % n)
        nodes.psql(0, "insert into %s.here values (1, '%s')" % (n, n))
    run(s, "set search_path = one")
    run(s, "prepare p as select v from here where k = $1")
    for n in ("one", "two", "one"):
        run(s, "set search_path = " + n)
        for _ in range(6):
            assert run(s, "select v from here where k = 1") == [(n,)]
            assert run(s, "execute p(1)") == [(n,)]


def test_roles(nodes, s):
    nodes.psql(0, "create role reader login")
    nodes.psql(0, "grant select on dt to reader")
    run(s, "insert into dt (k, v) values (31, 3) on conflict (k) do update set v = 3")
    for _ in range(3):
        assert run(s, "update dt set v = v where k = 31") == 1
        assert run(s, "select v from dt where k = 31") == [(3,)]
    run(s, "prepare u as update dt set v = v where k = $1")
    run(s, "execute u(31)")
    run(s, "set role reader")
    assert run(s, "select v from dt where k = 31") == [(3,)]
    assert run(s, "select current_user::text from dt where k = 31") == [("reader",)]
    for sql in ("update dt set v = v where k = 31", "execute u(31)"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(s, sql)
    run(s, "reset role")
    assert run(s, "update dt set v = v where k = 31") == 1
    assert run(s, "select current_user::text from dt where k = 31") == [("postgres",)]


def test_settings_in_a_transaction(s):
    run(s, "insert into dt (k, ts) values (41, '2024-01-01 00:00+00') on conflict (k) do nothing")
    sql = "select ts::text, to_char(ts, 'HH24') from dt where k = 41"
    run(s, "set timezone = 'UTC'")
    assert run(s, sql) == [("2024-01-01 00:00:00+00", "00")]
    run(s, "begin")
    run(s, "set local timezone = 'Asia/Tokyo'")
    assert run(s, sql) == [("2024-01-01 09:00:00+09", "09")]
    run(s, "set local datestyle = 'German'")
    assert run(s, sql) == [("01.01.2024 09:00:00 JST", "09")]
    run(s, "rollback")
    assert run(s, sql) == [("2024-01-01 00:00:00+00", "00")]


def test_a_shard_that_moves(nodes, s):
    """The metadata say another node from one statement to the next, within prepared ones, too."""
    run(s, "insert into dt (k, s) values (51, 'before') on conflict (k) do update set s = 'before'")
    run(s, "prepare m as select s from dt where k = $1")
    for _ in range(7):
        assert run(s, "execute m(51)") == run(s, "select s from dt where k = 51") == [("before",)]
    shard = nodes.value(0, "select get_shard_id_for_distribution_column('dt', 51)")
    old = nodes.node_of("dt", 51)
    name = "dt_%d" % shard
    nodes.rows(3 - old, TABLE % name)
    nodes.rows(3 - old, "insert into %s (k, s) values (51, 'after')" % name)
    for n in (0, 1, 2):
        nodes.rows(n, "update pg_dist_placement set groupid = %d where shardid = %d" % (3 - old, shard))
    try:
        assert run(s, "execute m(51)") == run(s, "select s from dt where k = 51") == [("after",)]
    finally:
        for n in (0, 1, 2):
            nodes.rows(n, "update pg_dist_placement set groupid = %d where shardid = %d" % (old, shard))
        nodes.rows(3 - old, "drop table " + name)
    assert run(s, "execute m(51)") == run(s, "select s from dt where k = 51") == [("before",)]


def test_many_statements(s):
    """More than a session, and a connection, keep."""
    run(s, "insert into dt (k, v) values (61, 1) on conflict (k) do update set v = 1")
    for _ in range(2):
        for n in range(300):
            assert run(s, "select v + 1 as c%d from dt where k = 61" % n) == [(2,)]


def test_errors_leave_nothing_behind(s):
    for _ in range(3):
        with pytest.raises(psycopg2.errors.DivisionByZero):
            run(s, "select 1 / (v - v) from dt where k = 61")
        with pytest.raises(psycopg2.errors.UniqueViolation):
            run(s, "insert into dt (k) values (61)")
        with pytest.raises(psycopg2.errors.NotNullViolation):
            run(s, "insert into dt (k, v) values (null, 1)")
        assert run(s, "select v from dt where k = 61") == [(1,)]


def test_in_process(nodes, pair):
    """A client of the node that has the shard: plans are kept there, too, and follow changes."""
    nodes.psql(0, "create table near (k int primary key, v int)")
    nodes.psql(0, "select create_distributed_table('near', 'k')")
    key = nodes.keys_on("near", 1)[0]
    with contextlib.closing(nodes.session(1)) as c:
        run(c, "set citus.log_remote_commands = on")
        run(c, "prepare p as select v from near where k = $1")
        c.notices.clear()
        assert run(c, "insert into near values (%d, 1)" % key) == 1
        for n in range(1, 8):
            assert run(c, "execute p(%d)" % key) == [(n,)]
            assert run(c, "update near set v = v + 1 where k = %d returning v" % key) == [(n + 1,)]
            assert run(c, "select * from near where k = %d" % key) == [(key, n + 1)]
        assert c.notices == []
        nodes.psql(0, "alter table near alter column v type text using 'n' || v")
        assert run(c, "select * from near where k = %d" % key) == [(key, "n8")]
        with pytest.raises(psycopg2.errors.UniqueViolation):
            run(c, "insert into near values (%d, '1')" % key)
        for n in range(300):
            assert run(c, "select v || '%d' from near where k = %d" % (n % 7, key))
        nodes.psql(0, "drop table near")
        with pytest.raises(psycopg2.errors.UndefinedTable):
            run(c, "select * from near where k = %d" % key)


def test_constants_mean_the_same_under_other_settings(nodes, pair):
    """Of prepared statements the text for the shard may be older than the session's settings."""
    for node in (0, 1, 2):
        with contextlib.closing(nodes.session(node)) as c:
            if node == 0:
                run(c, "insert into dt (k, d, n) values (71, '2024-02-01', 1.5) on conflict do nothing")
            run(c, "set datestyle = 'German'")
            run(c, "set intervalstyle = 'sql_standard'")
            run(c, "set extra_float_digits = -10")
            run(c, "prepare p as select d - date '01.02.2024', extract(epoch from d + interval '-1 day "
                "2:03')::int, n::float8 * 1.0000000000001::float8 > 1.5 "
                "from dt where k = $1 and d = '01.02.2024'")
            # in this style the sign is that of the hours, too
            want = [(0, 1706651820, True)]
            assert run(c, "execute p(71)") == want
            run(c, "set datestyle = 'ISO, MDY'")
            run(c, "set intervalstyle = 'postgres'")
            for _ in range(7):
                assert run(c, "execute p(71)") == want


ONE_PLAN = [
    ("select v from gu where k = $1", [23]),
    ("select v from gu where v > $2 and (k = $1 and true)", [23, 23]),
    ("update gu set v = v + 1 where $1 = k and u is null", [23]),
    ("delete from gu where u = $1", [25]),
    ("insert into gu values ($1, 1, $2) on conflict (k) do update set v = gu.v + 1", [23, 25]),
    ("insert into gu values ($1, 1), ($2, 2) on conflict do nothing", [23, 23]),
]
PLAN_BY_VALUE = [
    ("select v from gu where v = $1", [23]),
    ("select v from gu where k > $1", [23]),
    ("select v from gu where k = $1 or v = $2", [23, 23]),
    ("select v from gu where p = $1", [23]),
    ("select k from gu where k = v and v = $1", [23]),
    ("select v from gup where k = $1", [23]),
    ("select v from gur where k = $1", [23]),
]


def test_a_statement_of_a_shard_that_finds_one_row_is_planned_once(nodes):
    """As the coordinator prepares it on a node; others are planned for their values as ever."""
    nodes.psql(1, "set citus.enable_ddl_propagation = off; "
                  "create table gu (k int primary key, v int, u text unique, p int); "
                  "create unique index on gu (p) where p > 100; "
                  "create table gup (k int primary key, v int) partition by list (k); "
                  "create table gup1 partition of gup for values in (1); "
                  "create table gur (k int primary key, v int); create table gur1 () inherits (gur)")
    conninfo = "host=127.0.0.1 port=%d user=postgres dbname=postgres" % nodes.ports[1]
    cases = [(q, t, True) for q, t in ONE_PLAN] + [(q, t, False) for q, t in PLAN_BY_VALUE]

    def plans(c, name, times):
        for value in range(times):
            n = len(cases[int(name.rsplit("_", 1)[1])][1])
            assert not c.pgconn.exec_prepared(name.encode(), [b"%d" % (value + i) for i in range(n)]
                                              ).error_message
        return c.execute("select custom_plans, generic_plans from pg_prepared_statements "
                         "where name = %s", [name]).fetchone()

    with psycopg.connect(conninfo, autocommit=True) as c:
        for i, (sql, types, once) in enumerate(cases):
            for name in ("herd_%d" % i, "other_%d" % i):
                assert not c.pgconn.prepare(name.encode(), sql.encode(), types).error_message
            assert plans(c, "herd_%d" % i, 4) == ((1, 3) if once else (4, 0)), sql
            assert plans(c, "other_%d" % i, 4) == (4, 0), sql
        c.execute("set plan_cache_mode = force_custom_plan")
        assert plans(c, "herd_0", 2) == (3, 3)
        c.execute("deallocate all")
    nodes.psql(1, "set citus.enable_ddl_propagation = off; drop table gu, gup, gur cascade")
