"""Prepared statements, functions, cursors, EXPLAIN, privileges: the ways a statement arrives."""
import json

import psycopg
import pytest

import plan_herd


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        h.load()
        yield h
    finally:
        h.stop()


@pytest.fixture(params=[0, 1], ids=["coordinator", "worker"])
def con(herd, request):
    with herd.connect(request.param) as c:
        c.execute("set search_path = " + plan_herd.DISTRIBUTED)
        yield c


@pytest.fixture
def coordinator(herd):
    with herd.connect() as c:
        c.execute("set search_path = " + plan_herd.DISTRIBUTED)
        yield c


def rows(con, sql, *args, **kw):
    return con.execute(sql, *args, **kw).fetchall()


def test_protocol_prepared_by_key(con):
    for k in list(range(12)) + [3, 3, 3]:
        got = rows(con, "select count(*) from a where k = %s", (k,), prepare=True)
        want = rows(con, "select count(*) from a where k = " + str(k))
        assert got == want


def test_protocol_prepared_all_shards(con):
    for x in range(10):
        got = rows(con, "select count(*), min(s) from a where x > %s and s like %s", (x, "s%"),
                   prepare=True)
        assert got == rows(con, "select count(*), min(s) from a where x > %d and s like 's%%%%'"
                           % x)


def test_prepared_with_two_keys(con):
    con.execute("prepare two(int, int) as select a.k, b.y from a, b where a.k = $1 and b.k = $2")
    for _ in range(2):
        for pair in [(1, 1), (1, 2), (3, 4), (5, 5), (7, 8), (8, 7), (9, 9), (2, 2)]:
            got = sorted(rows(con, "execute two(%d, %d)" % pair))
            assert got == sorted(rows(
                con, "select a.k, b.y from a, b where a.k = %d and b.k = %d" % pair))


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_plan_cache_modes(con, mode):
    con.execute("set plan_cache_mode = " + mode)
    con.execute("prepare one(int) as select count(*) from a where k = $1")
    con.execute("prepare many(int[]) as select count(*) from a where k = any($1)")
    con.execute("prepare lim(int, int) as select k from a order by k, f limit $1 offset $2")
    con.execute("prepare two(int, int) as select count(*) from a, b where a.k = $1 and b.k = $2")
    for k in range(4):
        assert rows(con, "execute one(%d)" % k) == rows(
            con, "select count(*) from a where k = %d" % k)
        assert rows(con, "execute many(array[%d, 9])" % k) == rows(
            con, "select count(*) from a where k in (%d, 9)" % k)
        assert rows(con, "execute lim(3, %d)" % k) == rows(
            con, "select k from a order by k, f limit 3 offset %d" % k)
        assert rows(con, "execute two(%d, 3)" % k) == rows(
            con, "select count(*) from a, b where a.k = %d and b.k = 3" % k)
    assert rows(con, "execute one(null)") == [(0,)]
    assert rows(con, "execute many(null)") == [(0,)]


@pytest.mark.parametrize("expression", [
    "jsonb_path_query_first($1::text::jsonb, '$')::int", "make_interval(days => $1)::text",
    "jsonb_path_exists('[1, 2]', '$[*] ? (@ == $n)', jsonb_build_object('n', $1))"])
def test_defaults_and_names_of_arguments_in_generic_plans(con, expression):
    """They are computed here: only the planner knows the arguments that are left out."""
    for n, where in enumerate(("k = $1", "x = $1", "k > $1 and x = length((%s)::text)")):
        sql = "select %s, k, x from a where %s order by 1, 2, 3" % (
            expression, where.replace("%s", expression))
        con.execute("set plan_cache_mode = force_generic_plan")
        con.execute("prepare left_out%d (int) as %s" % (n, sql))
        got = [rows(con, "execute left_out%d (%d)" % (n, k)) for k in (1, 5)]
        con.execute("deallocate left_out%d" % n)
        con.execute("reset plan_cache_mode")
        assert got == [rows(con, sql.replace("$1", str(k))) for k in (1, 5)]


def test_untyped_parameters(con):
    con.execute("prepare untyped as select k, s from a where k = $1 and s = $2")
    assert rows(con, "execute untyped(7, 's7')") == rows(
        con, "select k, s from a where k = 7 and s = 's7'")
    con.execute("begin")
    con.execute("prepare ins as insert into a (k, s, x) values ($1, $2, length($2) + $3) returning x")
    for i in range(8):
        assert rows(con, "execute ins(%d, 'abc', %d)" % (5000 + i, i)) == [(3 + i,)]
    assert rows(con, "select count(*) from a where k >= 5000") == [(8,)]
    con.execute("rollback")


def test_seed_statement(coordinator):
    con = coordinator
    con.execute("create table seed (id bigint not null generated always as identity, value float8)")
    con.execute("select create_distributed_table('seed', 'id')")
    text = ("with inserted as (insert into seed (value) values (random()) returning id) "
            "select now(), id from inserted")
    seen = [rows(con, text)[0][1] for _ in range(4)]
    seen += [rows(con, text, prepare=True)[0][1] for _ in range(8)]
    con.execute("prepare seed as " + text)
    seen += [rows(con, "execute seed")[0][1] for _ in range(8)]
    assert len(set(seen)) == 20
    assert rows(con, "select count(*), count(distinct value) from seed") == [(20, 20)]
    plan = "\n".join(r[0] for r in rows(con, "explain " + text))
    assert "Tier: router" in plan
    con.execute("insert into seed (value) select g from generate_series(1, 30) g")
    con.execute("insert into seed (value) values (1), (2), (3)")
    assert rows(con, "select count(distinct id) from seed") == [(53,)]


def test_volatile_defaults_once_per_row(coordinator):
    con = coordinator
    con.execute("create table vol (k int, u uuid default gen_random_uuid(), "
                "at timestamptz default now(), n serial)")
    con.execute("select create_distributed_table('vol', 'k')")
    con.execute("insert into vol (k) values (1)")
    con.execute("insert into vol (k) values (1), (2), (3)")
    con.execute("insert into vol (k) select g from generate_series(1, 20) g")
    assert rows(con, "select count(*), count(distinct u), count(distinct n), count(distinct at) "
                "from vol") == [(24, 24, 24, 3)]
    con.execute("begin")
    con.execute("insert into vol (k) values (50)")
    con.execute("insert into vol (k) select g from generate_series(51, 60) g")
    assert rows(con, "select distinct at = now() from vol where k >= 50") == [(True,)]
    con.execute("rollback")


def test_plpgsql(coordinator):
    con = coordinator
    con.execute("""
        create function total(key int) returns bigint language plpgsql as $$
        declare n bigint; r record; m bigint := 0;
        begin
            select count(*) into n from a where k = key;
            for r in select k, x from a where k = key loop
                m := m + 1;
                perform 1 from b where b.k = r.k;
            end loop;
            if n <> m then raise exception '% <> %', n, m; end if;
            execute 'select count(*) from a where k = $1' into m using key;
            if n <> m then raise exception '% <> %', n, m; end if;
            return n;
        end $$""")
    for k in list(range(10)) * 2:
        assert rows(con, "select total(%d)" % k) == rows(
            con, "select count(*) from a where k = %d" % k)
    con.execute("""
        create function put(key int, v text) returns text language plpgsql as $$
        declare r a%rowtype; out text;
        begin
            r.k := key; r.s := v;
            insert into a (k, s) values (r.k, r.s) returning s into out;
            update a set s = a.s || '!' where k = r.k returning a.s into out;
            delete from a where k = r.k;
            return out;
        end $$""")
    for k in range(6000, 6010):
        assert rows(con, "select put(%d, 'v')" % k) == [("v!",)]
    con.execute("create function sqlf(int) returns bigint language sql as "
                "'select count(*) from a where k = $1'")
    assert rows(con, "select sqlf(7)") == rows(con, "select count(*) from a where k = 7")


def test_cursors(con):
    con.execute("begin")
    for query in ("select k, x, f from a where k = 7 order by f",
                  "select k, x, f from a order by k, f, x",
                  "select x, count(*) from a group by x order by x"):
        want = rows(con, query)
        con.execute("declare c cursor for " + query)
        got = rows(con, "fetch 2 from c")
        con.execute("select count(*) from b")
        got += rows(con, "fetch 1 from c") + rows(con, "fetch all from c")
        con.execute("close c")
        assert got == want
        con.execute("declare c scroll cursor for " + query)
        assert rows(con, "fetch last from c") == want[-1:]
        assert rows(con, "fetch first from c") == want[:1]
        assert rows(con, "fetch relative 1 from c") == want[1:2]
        con.execute("close c")
        con.execute("declare c cursor for " + query)
        assert rows(con, "fetch 1 from c") == want[:1]
        con.execute("close c")
    con.execute("declare h cursor with hold for select k from a order by k")
    con.execute("commit")
    assert len(rows(con, "fetch all from h")) == 152
    con.execute("close h")


def test_limit_leaves_the_session_usable(con):
    for _ in range(5):
        assert len(rows(con, "select * from a, b limit 3")) == 3
        assert rows(con, "select count(*) from a") == [(152,)]


def test_explain(con):
    def plan(sql):
        return "\n".join(r[0] for r in rows(con, sql))
    text = plan("explain select * from a where k = 7")
    assert "Tier: router" in text and "Task Count: 1" in text and "Scan on" in text
    text = plan("explain select x, count(*) from a group by x")
    assert "Tier: all shards" in text and "UNION ALL" in text
    assert "Tasks Shown: One of " in text and "GROUP BY" in text
    text = plan("explain select * from a join c on a.k = c.k where a.x > 3")
    assert "Tier: table" in text and "x > 3" in text
    assert "(actual" in plan("explain (analyze) select count(*) from a")
    assert "Output" in plan("explain (verbose) select s, count(*) from a group by s")
    assert "Output" in plan("explain (verbose) select s from a where k = 7")
    con.execute("set citus.max_tasks_per_node = 2")
    assert "Task Count: 2" in plan("explain select * from a where k in (7, 8)")
    con.execute("reset citus.max_tasks_per_node")
    con.execute("begin")
    text = plan("explain analyze update a set x = 1 where k = 7")
    assert "Tier: router" in text
    assert rows(con, "select distinct x from a where k = 7") == [(1,)]
    con.execute("rollback")
    data = rows(con, "explain (format json) select count(*) from a")[0][0]
    data = json.loads(data) if isinstance(data, str) else data
    assert data[0]["Plan"]["Plans"][0]["Tier"] == "all shards"
    con.execute("prepare ex(int) as select * from a where k = $1")
    assert "Tier: router" in plan("explain execute ex(7)")
    assert "rows through this node" in plan("explain insert into a (k) values (1), (2)")
    con.execute("set citus.explain_all_tasks = on")
    con.execute("set citus.max_tasks_per_node = -1")
    assert plan("explain select count(*) from a").count("->  Task") == 32
    con.execute("set citus.max_tasks_per_node = 3")
    assert plan("explain select count(*) from a").count("->  Task") == 6


def test_results_into_other_places(coordinator):
    con = coordinator
    con.execute("create temp table t1 as select k, count(*) as n from a group by k")
    assert rows(con, "select sum(n) from t1") == [(152,)]
    assert rows(con, "select count(*) from a join t1 using (k)") == [(152,)]
    con.execute("create view v1 as select a.k, b.y from a join b using (k)")
    assert rows(con, "select count(*) from v1") == rows(con,
                                                        "select count(*) from a join b using (k)")
    assert rows(con, "select count(*) from v1 where k = 7") == rows(
        con, "select count(*) from a join b using (k) where k = 7")
    con.execute("create materialized view m1 as select x, sum(f) as f from a group by x")
    con.execute("refresh materialized view m1")
    assert rows(con, "select count(*) from m1") == rows(con, "select count(distinct x) + 1 from a")
    with con.cursor().copy("copy (select k from a where x = 2 order by k) to stdout") as copy:
        out = b"".join(bytes(chunk) for chunk in copy)
    assert out.decode().split() == [str(r[0]) for r in
                                    rows(con, "select k from a where x = 2 order by k")]


def test_privileges(herd, coordinator):
    con = coordinator
    name = "reader_" + plan_herd.DISTRIBUTED
    con.execute("create role %s login" % name)
    with psycopg.connect(host="127.0.0.1", port=herd.cluster.ports[0], user=name,
                         dbname="postgres", autocommit=True) as other:
        for sql in ("select * from {}.a where k = 7", "select count(*) from {}.a",
                    "insert into {}.a (k) values (1)", "select * from {}.r",
                    "select * from {0}.a join {0}.c on a.k = c.k"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(sql.format(plan_herd.DISTRIBUTED))


def test_read_only(con):
    con.execute("begin read only")
    assert rows(con, "select count(*) from a") == [(152,)]
    for sql in ("insert into a (k) values (1)", "update a set x = 1", "delete from a where k = 1"):
        con.execute("savepoint s")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            con.execute(sql)
        con.execute("rollback to s")
    con.execute("rollback")


KEYS = [
    ("bigint", ["1", "-5", "9000000000"]),
    ("smallint", ["1", "-5", "300"]),
    ("text", ["''", "'a'", "'ä''x'"]),
    ("varchar(20)", ["'a'", "'b c'"]),
    ("char(5)", ["'a'", "'b'"]),
    ("uuid", ["'6a2f41a3-c54c-4b1a-9d3c-6a2f41a3c54c'"]),
    ("date", ["'2024-02-29'"]),
    ("timestamptz", ["'2024-02-29 12:00+03'"]),
    ("timestamp", ["'2024-02-29 12:00'"]),
    ("numeric", ["1.50", "2"]),
    ("float8", ["1.5", "0"]),
    ("bytea", ["'\\x0001'"]),
    ("inet", ["'10.0.0.1'"]),
    ("boolean", ["true", "false"]),
    ("int[]", ["array[1,2]"]),
    ("jsonb", ["'{\"a\": 1}'"]),
]


@pytest.mark.parametrize("number", range(len(KEYS)), ids=[k[0] for k in KEYS])
def test_key_types(coordinator, number):
    con = coordinator
    kind, values = KEYS[number]
    table = "kt%d" % number
    con.execute("create table %s (k %s, n int)" % (table, kind))
    con.execute("select create_distributed_table('%s', 'k')" % table)
    for n, v in enumerate(values):
        con.execute("insert into %s values (%s, %d)" % (table, v, n))
        con.execute("insert into %s values (%s, %d), (%s, %d)" % (table, v, n, v, n))
        con.execute("insert into %s select k, n from %s where k = %s limit 1" % (table, table, v))
    for n, v in enumerate(values):
        assert rows(con, "select n from %s where k = %s" % (table, v)) == [(n,)] * 4
        con.execute("prepare kp%d_%d(%s) as select n from %s where k = $1" % (number, n, kind,
                                                                             table))
        for _ in range(7):
            assert rows(con, "execute kp%d_%d(%s)" % (number, n, v)) == [(n,)] * 4
        # by the other path, without pruning
        assert rows(con, "select n from %s where k = %s or false" % (table, v)) == [(n,)] * 4
        assert rows(con, "select t1.n from %s t1 join %s t2 on t1.k = t2.k where t1.k = %s"
                    % (table, table, v)) == [(n,)] * 16
    assert rows(con, "select count(*) from (select distinct k from %s) q" % table) == [
        (len(values),)]


def test_plans_follow_the_metadata(coordinator):
    con = coordinator
    con.execute("create table turn (k int, v int)")
    con.execute("insert into turn select g, g from generate_series(1, 20) g")
    con.execute("prepare tp(int) as select v from turn where k = $1")
    con.execute("prepare tall as select count(*) from turn")
    for _ in range(7):
        assert rows(con, "execute tp(3)") == [(3,)]
    con.execute("select create_distributed_table('turn', 'k')")
    for _ in range(7):
        assert rows(con, "execute tp(3)") == [(3,)]
        assert rows(con, "execute tall") == [(20,)]
    con.execute("insert into turn values (3, 33)")
    assert sorted(rows(con, "execute tp(3)")) == [(3,), (33,)]
    con.execute("select undistribute_table('turn')")
    con.execute("insert into turn values (3, 333)")
    assert sorted(rows(con, "execute tp(3)")) == [(3,), (33,), (333,)]
    con.execute("select create_reference_table('turn')")
    assert sorted(rows(con, "execute tp(3)")) == [(3,), (33,), (333,)]
    assert rows(con, "execute tall") == [(22,)]


def test_cached_plans_lock_what_they_move(coordinator):
    """The shard of a reference table that is read here for a move, by a plan that was made before."""
    con = coordinator
    con.execute("set plan_cache_mode = force_generic_plan")
    con.execute("set citus.repartition_join_min_size = '0'")
    con.execute("prepare moves(int) as select a.k, x.c from a left join (select r.id, dense_rank() over "
                "(order by r.grp) as c from r where r.id > $1) x on a.k = x.c")
    assert "Moved:" in str(rows(con, "explain execute moves(1)"))
    first = sorted(rows(con, "execute moves(1)"), key=repr)
    with con.transaction():
        assert sorted(rows(con, "execute moves(1)"), key=repr) == first
        assert rows(con, "select mode from pg_locks where pid = pg_backend_pid() and "
                    "relation = shard_name('r', (select shardid from pg_dist_shard "
                    "where logicalrelid = 'r'::regclass))::regclass") == [("AccessShareLock",)]
