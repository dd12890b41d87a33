"""MERGE does to distributed tables what it does to plain ones."""
import psycopg
import pytest

import plan_herd

TABLES = """
create table t (k int, v int, s text, b bigint default 7, unique (k, v));
create table nn (k bigint not null primary key, v int default 3, note text);
create table src (k int, v int, w text);
create table far (id text, k int, v int);
create table ref (id int primary key, name text, grp int);
create table loc (id int, note text);
create table ser (k int not null, n bigserial, i serial, v int);
create table one (k int primary key, v int);
create table pt (k int not null, d date not null, v int, primary key (k, d)) partition by range (d);
create table pt1 partition of pt for values from ('2024-01-01') to ('2024-02-01');
create table pt2 partition of pt for values from ('2024-02-01') to ('2024-03-01');
"""
DISTRIBUTE = """
select create_distributed_table('t', 'k');
select create_distributed_table('nn', 'k');
select create_distributed_table('src', 'k', colocate_with => 't');
select create_distributed_table('far', 'id');
select create_distributed_table('ser', 'k');
select create_distributed_table('one', null);
select create_reference_table('ref');
select create_distributed_table('pt', 'k', colocate_with => 't');
"""
ROWS = """
insert into t select i, i % 5, 's' || i from generate_series(1, 40) i;
insert into nn select i, i % 5, 'n' || i from generate_series(1, 40, 2) i;
insert into src select i, i % 7, 'w' || i from generate_series(20, 60) i;
insert into far select 'f' || i, i, i * 2 from generate_series(30, 50) i;
insert into ref select i, 'r' || i, i % 4 from generate_series(10, 50, 5) i;
insert into loc select i, 'l' || i from generate_series(35, 45) i;
insert into ser (k, v) select i, i from generate_series(1, 5) i;
insert into one select i, i from generate_series(1, 30) i;
insert into pt select i, '2024-01-05'::date + i, i from generate_series(1, 40) i;
"""
TARGETS = ("t", "nn", "ref", "loc", "one", "pt")

MERGES = """
merge into t using (values (1, 'a')) q(k, s) on t.k = q.k when matched then update set s = q.s when not matched then insert (k, s) values (q.k, q.s)
merge into t using (values (101, 'a')) q(k, s) on t.k = q.k when matched then update set s = q.s when not matched then insert (k, s) values (q.k, q.s)
merge into t using (select 102 as k, 'b' as s) q on t.k = q.k when not matched then insert values (q.k, 1, q.s)
merge into t using (select 1) q on t.k = 5 when matched then delete
merge into t using (select 1) q on t.k = 105 when not matched then insert (k, v) values (105, 9)
merge into t using (select 1) q on t.k = 105 when not matched then insert (k, v) values (106, 9)
merge into t using (values (1, 'a'), (2, 'b'), (101, 'c'), (102, 'd')) q(k, s) on t.k = q.k when matched then update set s = q.s when not matched then insert (k, s) values (q.k, q.s)
merge into t using src on t.k = src.k when matched then update set v = src.v, s = src.w when not matched then insert (k, v, s) values (src.k, src.v, src.w)
merge into t using src on t.k = src.k when matched and src.v > 3 then delete when matched then update set v = t.v + src.v when not matched and src.v < 5 then insert (k, v) values (src.k, src.v) when not matched then do nothing
merge into t as x using src as y on x.k = y.k and y.v = 2 when matched then update set s = 'two' when not matched then insert values (y.k, y.v + 300, 'new', 5)
merge into t using src on t.k = src.k and t.k = 25 when matched then update set s = 'one' when not matched then insert (k, v, s) values (src.k, 50, 'x')
merge into t using src on t.k = src.k when matched then update set k = src.k, s = 'same'
merge into t using src on t.k = src.k when matched then do nothing when not matched then insert (k, v) values (src.k + 1000, src.v)
merge into t using src on t.k = src.k when matched then update set s = 'x' when not matched then insert (k, v) values (src.v + 2000, src.k)
merge into t using src on t.k = src.k when matched then update set s = 'x' when not matched and src.v = 1 then insert (k, v) values (src.k, 77) when not matched and src.v = 2 then do nothing when not matched then insert (v, k, s) values (src.k, src.v + 3000, src.w)
merge into t using far on t.k = far.k when matched then update set v = far.v, s = far.id when not matched then insert (k, v, s) values (far.k, far.v, far.id)
merge into t using far on t.v = far.v and far.k < 34 when matched then update set s = 'v' when not matched then insert (k, v, s) values (far.k + 500, far.v, far.id)
merge into t using far on t.s = 's' || far.k when matched then delete when not matched then insert (k, v) values (far.v, far.k)
merge into t using far on t.s = 's' || far.k when matched and far.v > 70 then delete when matched then update set s = far.id
merge into t using ref on t.k = ref.id when matched then update set s = ref.name when not matched then insert (k, s) values (ref.id, ref.name)
merge into t using ref on t.k = ref.id when matched then update set s = ref.name
merge into t using ref on t.v = ref.grp and t.k = ref.id when matched then update set s = ref.name when not matched then insert (k, v, s) values (ref.id + 100, 8, ref.name)
merge into t using loc on t.k = loc.id when matched then update set s = loc.note when not matched then insert (k, s) values (loc.id, loc.note)
merge into t using loc on t.s = 's' || loc.id when matched then update set s = loc.note when not matched then insert (k, s) values (loc.id + 90, loc.note)
merge into t using (select k, max(v) as m, count(*) as n from src group by k) q on q.k = t.k when matched then update set b = q.n when not matched then insert (k, v, b) values (q.k, q.m, q.n)
merge into t using (select v, max(k) as m from src group by v) q on q.m = t.k when matched then update set b = q.v when not matched then insert (k, v) values (q.m, q.v)
merge into t using (select k, v from src order by k limit 30) q on q.k = t.k when matched then update set b = 9 when not matched then insert (k, v) values (q.k, q.v)
merge into t using (select src.k, far.v, far.id from src join far on far.k = src.k) q on q.k = t.k when matched then update set s = q.id when not matched then insert (k, v, s) values (q.k, q.v, q.id)
merge into t using (src join ref on ref.id = src.k) on src.k = t.k when matched then update set s = ref.name || src.w when not matched then insert (k, v, s) values (src.k, 1, name)
merge into t using (src left join loc on loc.id = src.k) on src.k = t.k when matched then update set s = loc.note when not matched then insert (k, v, s) values (src.k, 1, note)
merge into t using generate_series(35, 45) g on g = t.k when matched then update set s = 'g' || g when not matched then insert (k, v) values (g, g)
with q as (select k, v from src where v < 4) merge into t using q on q.k = t.k when matched then update set v = 100 when not matched then insert (k, v) values (q.k, 200)
with q as (select id from loc), z as (select * from q where id > 38) merge into t using z on z.id = t.k when matched then delete when not matched then insert (k) values (id)
merge into t using src on t.k = src.k when matched and exists (select 1 from ref where ref.id = t.k) then update set s = 'in ref' when not matched and src.v in (select grp from ref) then insert (k, v) values (src.k, -1)
merge into t using src on t.k = src.k when matched and src.v > (select avg(v) from far) / 20 then update set s = 'big' when matched then update set s = (select max(id) from far) when not matched then insert (k, v) values (src.k, (select count(*) from src))
merge into t using src on t.k = src.k when matched and exists (select 1 from src z where z.k = t.k and z.v = 3) then delete
merge into t using t q on q.k = t.k when matched then update set v = q.v + 50
merge into t using t q on q.k = t.k + 10 when matched then update set s = q.s when not matched then insert (k, v, s) values (q.k + 200, q.v, q.s)
merge into nn using src on nn.k = src.k when matched then update set v = src.v, note = src.w when not matched then insert (k, v, note) values (src.k, src.v, src.w)
merge into nn using src on nn.k = src.k when not matched then insert values (src.k, default, upper(src.w))
merge into nn using src on nn.k = src.k when not matched then insert (k) values (src.k)
merge into nn using far on nn.k = far.k when matched then delete when not matched then insert (k, v) values (far.k, far.v)
merge into nn using loc on nn.k = loc.id when matched then update set note = loc.note when not matched then insert (k, note) values (loc.id, loc.note)
merge into ref using (values (10, 'x'), (11, 'y')) q(id, name) on ref.id = q.id when matched then update set name = q.name when not matched then insert values (q.id, q.name, 0)
merge into ref using src on ref.id = src.k when matched then update set name = src.w when not matched then insert values (src.k, src.w, src.v)
merge into ref using loc on ref.id = loc.id when matched then delete when not matched then insert (id, name) values (loc.id, loc.note)
merge into ref using ref q on q.id = ref.id + 5 when matched then update set name = q.name
merge into ref using (select max(k) as m from far) q on q.m = ref.id when matched then update set name = 'max' when not matched then insert (id) values (m)
merge into one using (values (5, 50), (77, 70)) q(k, v) on one.k = q.k when matched then update set v = q.v when not matched then insert values (q.k, q.v)
merge into one using src on one.k = src.k when matched then update set v = src.v when not matched then insert values (src.k, src.v)
merge into one using ref on one.k = ref.id when matched then update set v = ref.grp when not matched then insert values (ref.id, ref.grp)
merge into one using loc on one.k = loc.id when matched then delete when not matched then insert values (loc.id, 0)
merge into loc using src on loc.id = src.k when matched then update set note = src.w when not matched then insert values (src.k, src.w)
merge into loc using ref on loc.id = ref.id when matched then delete when not matched then insert values (ref.id, ref.name)
merge into loc using (select v, count(*) as n from far group by v) q on loc.id = q.v when matched then delete when not matched then insert values (q.v, q.n::text)
merge into t using loc on t.k = loc.id when matched then do nothing
merge into t using loc on t.k = loc.id when not matched then do nothing
merge into t using src on false when not matched then insert (k, v) values (src.k, src.v + 100)
merge into t using src on t.k = src.k and false when matched then delete when not matched then insert (k, v) values (src.k, src.v + 100)
merge into t using src on t.k = src.k or t.v = src.k when matched then update set s = 'or'
merge into t using (select null::int as k, 5 as v) q on t.k = q.k when matched then delete
merge into t using src on t.k = src.k when matched and ((t) is null) is not true then update set s = 'row' when matched then delete
merge into t using ref on t.k = ref.id when matched and t.tableoid = 't'::regclass then update set s = 'oid'
merge into pt using src on pt.k = src.k and pt.v > 3 when matched then update set d = '2024-02-20', v = src.v when not matched then insert values (src.k, '2024-01-28', src.v)
merge into pt using far on pt.k = far.k when matched and far.v > 70 then delete when matched then update set v = 0 when not matched then insert values (far.k, '2024-02-28', far.v)
merge into t using src on t.k = src.k when matched then update set k = t.k + 100, s = src.w
merge into t using src on t.k = src.k when matched and src.v > 3 then update set k = 500 + src.v * 100 + t.k, s = 'moved' when matched then delete when not matched then insert (k, v, s) values (src.k, src.v, 'new')
merge into t using far on t.s = 's' || far.k when matched and far.v > 70 then update set k = far.v when matched then update set s = far.id when not matched then insert (k, v) values (far.v + 1, far.k)
merge into t using src on t.k = src.k when matched then update set k = src.k + 1 when not matched and src.v = 2 then do nothing when not matched then insert (k, v, s) values (src.v + 3000, src.k, src.w)
merge into t using src on t.k = src.k when matched and exists (select 1 from far where far.v = t.v + src.k) then update set s = 'tied' when not matched and src.v in (select v from far where far.k < src.k) then insert (k, v) values (src.k, src.v) when not matched then insert (k, v) values (src.k + 3000, (select max(v) from far where far.k <= src.k))
merge into t using src on t.k = src.k and exists (select 1 from far where far.k = t.v + 30) when matched then update set s = 'on' when not matched then insert (k, v) values (src.k + 4000, 5)
merge into t using src on t.k = src.k and random() < 2 when matched then delete
merge into t using (select 30 + (random() * 0)::int as k) q on t.v = q.k when not matched then insert (k) values (k)
merge into t using src on t.k = src.k and t.v < 3 when matched then update set s = 'away' when not matched then insert (k, v) values (src.k + 6000, src.v + random() * 0)
merge into one using src on one.k = src.k and exists (select 1 from far where far.k = one.v) when matched then update set v = -1 when not matched then insert values (src.k + 100, src.v)
merge into pt using src on pt.k = src.k when matched then update set k = src.k + 100, d = '2024-02-20', v = src.v when not matched then insert values (src.k + 200, '2024-01-28', src.v)
merge into pt using src on pt.k = src.k when matched and src.v = (select max(v) from far where far.k < src.k) % 7 then delete when matched then update set v = 7 when not matched then insert values (src.v + 1000, '2024-01-10'::date + src.k % 20, src.v)
merge into nn using src on nn.k = src.k when matched then update set k = nn.k + 1000 when not matched then insert (k, v, note) values (src.k + 2000, src.v, default)
"""
LINES = [q for q in MERGES.strip().splitlines() if q]

# forms that PostgreSQL 17 brought
MERGES_17 = """
create view tv as select k, v, s from t where v < 3; merge into tv using src on tv.k = src.k when matched then update set s = 'v'
create view tv as select k, v, s from t where v < 3; merge into tv using src on tv.k = src.k when matched then update set s = 'v' when not matched by source then delete
create view tv as select k as kk, v, s from t; merge into tv using src on tv.kk = src.k when matched then update set s = 'v' when not matched by source then delete when not matched then insert (kk) values (src.k) returning kk
create view tv as select k as kk, v, s from t where v < 3; merge into tv using far on tv.kk = far.k when matched then update set s = 'v' when not matched then insert (kk, v) values (far.k + 500, 1)
merge into t using src on t.k = src.k when not matched by source then delete
merge into t using src on t.k = src.k when matched then update set v = src.v when not matched by source and t.v > 2 then update set s = 'gone' when not matched by target then insert (k, v) values (src.k, src.v) returning merge_action(), t.*
merge into t using far on t.k = far.k when not matched by source then delete when not matched then insert (k, v) values (far.k, far.v) returning merge_action(), t.k, far.id
merge into t using far on t.s = 's' || far.k when not matched by source then delete when matched then update set s = far.id returning merge_action(), t.k, t.s
merge into t using far on t.s = 's' || far.k when not matched by source then delete when not matched then insert (k, v) values (far.k + 77, far.v)
merge into t using ref on t.k = ref.id when not matched by source then update set s = 'none' when not matched then insert (k) values (id)
merge into t using (values (5, 'x')) q(k, s) on t.k = q.k when not matched by source then delete when matched then update set s = q.s returning merge_action(), t.k
merge into t using (values (5, 'x')) q(k, s) on t.k = q.k when matched then update set s = q.s when not matched then insert (k, s) values (q.k, q.s) returning merge_action(), t.k, q.s
merge into t using (values (505, 'x')) q(k, s) on t.k = q.k when matched then update set s = q.s when not matched then insert (k, s) values (q.k, q.s) returning merge_action(), t.k, q.s
merge into ref using src on ref.id = src.k when not matched by source then delete when matched then update set name = src.w returning merge_action(), ref.id
merge into one using src on one.k = src.k when not matched by source then delete when not matched then insert values (src.k, src.v) returning *
merge into loc using src on loc.id = src.k when not matched by source then delete when not matched then insert values (src.k, src.w) returning merge_action(), loc.id
merge into t using loc on t.k = loc.id when not matched by source and t.k < 10 then delete when not matched then insert (k, s) values (loc.id, loc.note) returning merge_action(), t.k
merge into pt using src on pt.k = src.k when not matched by source then delete when matched then update set d = '2024-02-20' returning merge_action(), pt.k, pt.d
merge into t using src on t.k = src.k when matched then update set k = t.k + 100, s = 'gone far' when not matched then insert (k, v) values (src.k + 1000, src.v) returning merge_action(), t.*, src.w
merge into t using src on t.k = src.k when matched and src.v = 3 then delete when matched then update set s = 'gone far' when not matched by source then update set k = t.k + 2000 when not matched then insert (k, v) values (src.v + 3000, src.k) returning merge_action(), t.k, t.v, src.k, (select max(f.v) from far f where f.k < t.k)
merge into pt using far on pt.v = far.v / 2 and far.v <> 70 when not matched by source and pt.k > 20 then update set k = pt.k + 500 when matched then update set v = (select count(*) from src where src.k < pt.k) when not matched then insert values (far.k + 700, '2024-01-29', far.v) returning merge_action(), pt.k, pt.d, far.id, 'gone far'
"""

# the same error on both
ERRORS = """
merge into t using (values (1, 'a'), (1, 'b')) q(k, s) on t.k = q.k when matched then update set s = q.s
merge into t using (select 1 as k from src) q on t.k = q.k when matched then delete
merge into t using src on t.v = src.v when matched then update set s = src.w
merge into t using far on t.v * 2 + 60 = far.v or t.k = far.k when matched then update set s = far.id
merge into one using (values (1), (1)) q(k) on one.k = q.k when matched then update set v = 3
merge into ref using src on ref.grp = src.v when matched then update set name = src.w
merge into nn using far on nn.v = far.v when not matched then insert (k) values (1)
merge into t using src on t.k = src.k when not matched then insert (k, v) values (2, 2)
"""

REFUSED = [
    ("merge into t using src on t.k = src.k when matched then update set k = null",
     "cannot be null"),
    ("merge into t using src on t.k = src.k when not matched then insert (v) values (1)",
     "cannot be null"),
    ("merge into nn using src on nn.k = src.k when not matched then insert (v) values (1)",
     "cannot be null|violates not-null"),
    ("merge into t using (values (null::int, 2)) q(k, v) on t.k = q.k when not matched then "
     "insert (k, v) values (q.k, q.v)", "cannot be null"),
    ("merge into t using (select nullif(k, 55) as k, v from src) q on t.k = q.k "
     "when not matched then insert (k, v) values (q.k, q.v)", "cannot be null"),
]


herd, con = plan_herd.fixtures(lambda h: h.load(TABLES, DISTRIBUTE, ROWS))


def contents(con):
    plan_herd.contents(con, TARGETS)


@pytest.mark.parametrize("line", LINES)
def test_same_effect(con, line):
    con.execute("begin")
    try:
        plan_herd.compare(con, line)
        contents(con)
    finally:
        con.execute("rollback")


@pytest.mark.parametrize("line", [q for q in MERGES_17.strip().splitlines() if q])
def test_same_effect_17(con, line):
    if con.info.server_version < 170000:
        pytest.skip("needs PostgreSQL 17")
    con.execute("begin")
    try:
        for statement in line.split("; "):
            plan_herd.compare(con, statement)
        contents(con)
    finally:
        con.execute("rollback")


def test_rows_are_in_their_shards(con):
    """New rows are found by their key, which a row in a wrong shard is not."""
    for line in LINES:
        con.execute("begin")
        con.execute("set search_path = " + plan_herd.DISTRIBUTED)
        con.execute(line)
        for table in ("t", "nn", "pt"):
            wrong = con.execute(
                "select sum(result::int) from run_command_on_shards('%s', $$select count(*) from %%s "
                "where not citus_internal.in_shard('%s.%s', k, (select i from (select shardid, "
                "row_number() over (order by shardminvalue::int) - 1 as i from pg_dist_shard where "
                "logicalrelid = '%s.%s'::regclass) q where '%%1$s' like '%%%%\\_' || shardid)::int)$$)"
                % ((table,) + (plan_herd.DISTRIBUTED, table) * 2)).fetchone()[0]
            assert wrong == 0, line
        con.execute("rollback")


def test_from_a_worker(herd, con):
    with herd.connect(1) as worker:
        for line in LINES:
            if " loc" in line:
                continue
            con.execute("begin")
            worker.execute("begin")
            plan_herd.compare(con, line, other=worker)
            con.execute("rollback")
            worker.execute("rollback")


def code_of(con, schema, sql):
    con.execute("begin")
    try:
        con.execute("set search_path = " + schema)
        con.execute(sql)
        return None
    except psycopg.Error as e:
        return e.sqlstate
    finally:
        con.execute("rollback")


@pytest.mark.parametrize("line", [q for q in ERRORS.strip().splitlines() if q])
def test_same_error(con, line):
    want = code_of(con, plan_herd.PLAIN, line)
    assert want is not None
    assert code_of(con, plan_herd.DISTRIBUTED, line) == want
    contents(con)


@pytest.mark.parametrize("statement,message", REFUSED)
def test_refused(con, statement, message):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    with pytest.raises(psycopg.Error, match=message):
        con.execute(statement)
    contents(con)


def test_defaults_are_drawn_here(con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("begin")
    con.execute("merge into ser using src on ser.k = src.k when matched then update set v = 0 "
                "when not matched then insert (k, v) values (src.k, src.v)")
    rows = con.execute("select n, i from ser").fetchall()
    assert len(rows) == 46
    assert sorted(r[0] for r in rows) == sorted(r[1] for r in rows) == list(range(1, 47))
    con.execute("rollback")


def test_prepared(con):
    sql = ("merge into t using (select $1::int as k, $2::text as s) q on t.k = q.k "
           "when matched then update set s = q.s when not matched then insert (k, s) values (q.k, q.s)")
    con.execute("begin")
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        con.execute("set search_path = " + schema)
        con.execute("prepare m%s as %s" % (schema, sql))
        for i in range(30, 50):
            con.execute("execute m%s(%d, 'p%d')" % (schema, i, i))
        con.execute("deallocate m" + schema)
    contents(con)
    con.execute("rollback")
    con.execute("begin")
    sql = ("merge into t using (select k, v from src where v > $1) q on t.k = q.k when matched then "
           "update set s = 'x' || $2 when not matched then insert (k, s) values (q.k + $1, $2::text)")
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        con.execute("set search_path = " + schema)
        con.execute("prepare m%s (int, int) as %s" % (schema, sql))
        for i in range(8):
            con.execute("execute m%s(%d, %d)" % (schema, i % 4, i))
        con.execute("deallocate m" + schema)
    contents(con)
    con.execute("rollback")


def test_plpgsql_and_tag(con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    con.execute("begin")
    cur = con.execute("merge into t using far on t.k = far.k when matched then delete "
                      "when not matched then insert (k, v) values (far.v, far.k)")
    assert cur.statusmessage == "MERGE 21"
    n = con.execute("select count(*) from t").fetchone()[0]
    con.execute("do $$ declare n int; begin merge into t using ref on t.k = ref.id when matched then "
                "update set s = 'do' when not matched then insert (k) values (id); "
                "get diagnostics n = row_count; assert n = 9; end $$")
    assert con.execute("select count(*) from t").fetchone()[0] > n
    con.execute("rollback")


def test_tiers(con):
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)

    def plan(sql):
        return "\n".join(r[0] for r in con.execute("explain " + sql).fetchall())

    routed = plan("merge into t using (values (1, 'a')) q(k, s) on t.k = q.k when matched then "
                  "update set s = q.s when not matched then insert (k, s) values (q.k, q.s)")
    assert "router" in routed
    beside = plan("merge into t using src on t.k = src.k when matched then update set v = src.v "
                  "when not matched then insert (k, v) values (src.k, src.v)")
    assert "all shards" in beside and "Moved" not in beside
    reference = plan("merge into t using ref on t.k = ref.id when not matched then insert (k) "
                     "values (id)")
    assert "all shards" in reference and "Moved" not in reference
    assert "Moved" in plan("merge into t using far on t.k = far.k when not matched then insert (k) "
                           "values (far.k)")
    assert "Moved" in plan("merge into t using far on t.k = far.k when not matched then insert (k) "
                           "values (far.k + 1)")


def test_atomic(con):
    """The last shard's error undoes what the others did."""
    con.execute("set search_path = " + plan_herd.DISTRIBUTED)
    with pytest.raises(psycopg.errors.DivisionByZero):
        con.execute("merge into t using src on t.k = src.k when matched then update set v = 1 / "
                    "(t.k - 33) when not matched then insert (k) values (src.k)")
    contents(con)
    with pytest.raises(psycopg.errors.UniqueViolation):
        con.execute("merge into t using far on t.k = far.k when matched then delete "
                    "when not matched then insert (k, v) values (1, 1)")
    contents(con)
