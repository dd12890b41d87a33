"""Tasks that join several shards of each table: the answers, and how the nodes join."""
import contextlib
import re

import pytest

import plan_herd

TABLES = """
create table big (k int not null, n int not null, x int, v numeric(10,2), s text, primary key (k, n));
create index on big (x);
create table side (k int not null, y int, d date, drop_me int, w text);
create index on side (k);
create index on side (y);
alter table side drop column drop_me;
create table words (w varchar(20) not null, n int);
create index on words (w);
create table notes (id int, w varchar(20) not null primary key);
create table other (k int not null primary key, x int);
create table ref (id int primary key, grp int, name text);
create table tiny (id bigint, label text);
"""
DISTRIBUTE = """
select create_distributed_table('big', 'k');
select create_distributed_table('side', 'k', colocate_with => 'big');
select create_distributed_table('words', 'w');
select create_distributed_table('notes', 'w', colocate_with => 'words');
select create_distributed_table('other', 'k', colocate_with => 'none');
select create_reference_table('ref');
select create_reference_table('tiny');
"""
ROWS = """
insert into big select i / 4, i % 4, nullif(i % 501, 7), i * 0.25, 's' || i % 91 from generate_series(0, 11999) i;
insert into side select i % 3500, nullif(i % 701, 5), date '2024-01-01' + i % 90, 'w' || i % 37
	from generate_series(0, 4999) i;
insert into words select 'w' || i % 1500, i from generate_series(0, 2999) i;
insert into notes select i, 'w' || i from generate_series(0, 999) i;
insert into other select i, i % 10 from generate_series(0, 99) i;
insert into ref select i, i % 40, 'r' || i % 13 from generate_series(0, 2999) i;
insert into tiny values (1, 'one'), (3, 'three'), (3, 'drei'), (2999, 'last'), (null, 'none'), (99999, 'far');
"""
# joins that one task makes for several shards
UNITED = """
select count(*), sum(v), max(w) from big join side on big.k = side.k
select count(*), sum(v) from big, side, ref where big.k = side.k and side.y = ref.id and ref.grp = 7
select r.name, count(*), sum(b.v) from ref r, side d, big b where d.y = r.id and b.k = d.k and r.grp < 3 group by r.name
select count(*), count(side.k), sum(v) from big left join side on big.k = side.k and y < 100
select count(*), count(big.k) from big right join side on big.k = side.k and x < 100
select count(*), count(big.k), count(side.k) from big full join side on big.k = side.k
select count(*), sum(b.v) from tiny t, big b, side d where t.id = b.k and b.k = d.k
select t.label, count(b.k), count(d.k) from tiny t join big b on t.id = b.k left join side d on d.k = b.k and d.y > 3 group by 1
select count(*), sum(a.v) from big a, big b, side where a.k = b.k and a.n < b.n and side.k = a.k
select count(*), sum(n) from words join notes on words.w = notes.w where id < 300
select count(*), sum(n) from words, notes, ref where words.w = notes.w and ref.id = notes.id and ref.grp = 5
select count(*) from big b join side d on b.k = d.k and b.x = d.y
select count(*) from big b, side d where b.k = d.k and b.k = b.n and d.d < date '2024-02-01'
select b.k, b.n, d.y from big b join side d on b.k = d.k where d.y between 10 and 13
select b.k, d.y, sum(b.v) from big b join side d on b.k = d.k where x < 20 group by b.k, d.y
select b.k, row_number() over (partition by b.k order by n, y) from big b join side d on b.k = d.k where x = 11
select count(*) from (select k, x from big where x < 300) b join (select k, y + 1 z from side) d on b.k = d.k and z > 20
select distinct s from big join side on big.k = side.k where y = 9
select count(*) from big join side on big.k = side.k where big.k in (1, 2, 3, 17, 200)
select sum(x) from (select k, x from big union all select k, y from side) u join ref on ref.id = u.x where grp = 3
select count(*), max(d.y) from big b left join side d on d.k = b.k left join ref on ref.id = d.y where ref.id is null
select max(array['s1', 't2']), max(k) from big where (s > s) is not true and k = any (array[4, 30, 17])
select min(x), max(x) from big where k in (4, 30, 17, 200)
"""
# one task for each shard, or something else
APART = """
select b.k, b.n, b.x, b.s, count(*) from big b join side d on b.k = d.k where x < 9 group by b.k, b.n
select k, n, x, s, count(*) from big where x < 9 group by k, n
select ref.id, ref.name, count(*) from big join side on big.k = side.k join ref on ref.id = y group by ref.id having count(*) > 3
select count(*) from big b where exists (select 1 from side d where d.k = b.k and d.y < 50)
select count(*) from big b where not exists (select 1 from side d where d.k = b.k)
select count(*) from big b where x > (select avg(y) from side d where d.k = b.k)
select count(*), sum(c) from (select k, count(*) c from side group by k) g join big on big.k = g.k
select b.k, b from big b join side d on b.k = d.k where d.y = 9
select count(*) from big b join other o on b.k = o.k join side d on d.k = b.k
select count(*) from side d, lateral (select * from big b where b.k = d.k order by n limit 2) q
"""


def statements(text):
    return text.strip().splitlines()


def analyze(con):
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        con.execute("set search_path = %s" % schema)
        for table in ("big", "side", "words", "notes", "other", "ref", "tiny"):
            con.execute("analyze " + table)


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        h.load(TABLES, DISTRIBUTE, ROWS)
        with h.connect() as c:
            analyze(c)
        yield h
    finally:
        h.stop()


@contextlib.contextmanager
def connection_without(herd, names):
    """To nodes that do not join in these ways: sessions that begin now have the settings."""
    for node in (1, 2):
        with herd.connect(node) as c:
            for name in names:
                c.execute("alter database postgres set %s = off" % name)
    try:
        with herd.connect() as c:
            yield c
    finally:
        for node in (1, 2):
            with herd.connect(node) as c:
                for name in names:
                    c.execute("alter database postgres reset " + name)


@pytest.fixture(scope="module", params=[(), ("enable_hashjoin", "enable_mergejoin")], ids=["", "loops"])
def con(request, herd):
    with connection_without(herd, request.param) as c:
        yield c


def explained(con, sql):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    return "\n".join(r[0] for r in con.execute("explain (verbose) " + sql))


@pytest.mark.parametrize("sql", statements(UNITED) + statements(APART))
def test_same_rows(con, sql):
    plan_herd.compare(con, sql)


@pytest.mark.parametrize("tasks", [-1, 1, 3])
def test_same_rows_by_tasks(con, tasks):
    con.execute("set citus.max_tasks_per_node = %d" % tasks)
    try:
        for sql in statements(UNITED)[:12]:
            plan_herd.compare(con, sql)
    finally:
        con.execute("reset citus.max_tasks_per_node")


def test_same_rows_by_parameters(con):
    for name, value in (("text", "r3"), ("int", "7")):
        column = {"text": "r.name", "int": "r.grp"}[name]
        sql = "select count(*), sum(v) from ref r, side d, big b where d.y = r.id and b.k = d.k and %s = %%s::%s"
        for _ in range(7):  # a generic plan too
            plan_herd.compare(con, sql % (column, name), (value,))


def test_one_task_for_several_shards(herd):
    with herd.connect() as con:
        con.execute("set citus.max_tasks_per_node = 1")
        for sql in statements(UNITED)[:17]:
            assert "Task Count: 2" in explained(con, sql), sql
        con.execute("set citus.max_tasks_per_node = -1")
        assert "Task Count: 32" in explained(con, statements(UNITED)[0])


def test_shard_joins_shard(herd):
    with herd.connect() as con:
        con.execute("set citus.max_tasks_per_node = 1")
        text = explained(con, "select count(*), sum(v), max(w) from big join side on big.k = side.k")
        join = re.search(r"^( *)->  (?:Parallel )?Append.*\n\1 +(?:Output.*\n\1 +)?->  (?:Parallel )?(?:Hash|Merge|Nested)",
                         text, re.M)
        assert join, text
        assert len(re.findall(r"(?:Hash|Merge) Join|Nested Loop", text)) >= 10, text


def test_key_is_looked_up_in_one_shard(herd):
    with connection_without(herd, ("enable_hashjoin", "enable_mergejoin")) as con:
        con.execute("set citus.max_tasks_per_node = 1")
        sql = "select count(*), sum(v) from ref, side, big where ref.grp = 7 and side.y = ref.id and big.k = side.k"
        text = explained(con, sql)
        assert "Herd Shard Lookup" in text, text
        plan_herd.compare(con, sql)


def test_writes_of_the_transaction_are_seen(con):
    sql = "select count(*), sum(v), min(y) from big join side on big.k = side.k"
    with con.transaction(force_rollback=True):
        for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
            con.execute("set search_path = %s" % schema)
            con.execute("update big set v = v + 1 where k % 7 = 3")
            con.execute("insert into side values (50000, -4, null, 'x')")
            con.execute("insert into big values (50000, 1, 1, 1, 'x')")
            con.execute("delete from side where k = 12")
        plan_herd.compare(con, sql)
    plan_herd.compare(con, sql)
