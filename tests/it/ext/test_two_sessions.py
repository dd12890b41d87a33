"""
Two and three sessions at once: each schedule runs on plain tables and on distributed ones, and the
same statements must wait, go on, fail and give the same rows.

A schedule has one statement in a line, after the name of its session: a, b or c. K1 .. K4 stand for
four keys, ALL for a condition that finds these rows. After each statement the sessions are left alone
until each is idle or waits for a lock; after a! .. until this one ends.

No schedule has two sessions that wait for the same row: which of them is first is chance.
"""
import concurrent.futures
import time

import psycopg
import pytest

import plan_herd

# rows (key, g = 1 .. 4, v = 10 .. 40); s has the same rows, u is another table by another column
TABLES = """
create table t (k int primary key, g int, v int);
create table s (k int primary key, g int, v int);
create table u (g int primary key, v int);
"""
LAYOUTS = {
    "one shard": "select create_distributed_table('t', 'k', shard_count => 1, colocate_with => 'none')",
    "one node": "select create_distributed_table('t', 'k', shard_count => 12, colocate_with => 'none')",
    "nodes": "select create_distributed_table('t', 'k', shard_count => 12, colocate_with => 'none')",
    "one table": "select create_distributed_table('t', null, colocate_with => 'none')",
    "reference": "select create_reference_table('t')",
}
LEVELS = ["read committed", "repeatable read"]
# The shards of a node are written one after the other, each with a snapshot of its own.
ONE_SNAPSHOT = {"update of all, update of some"}
# Where LIMIT is below the row locks it holds for each shard.
ONE_SHARD = {"work from a queue of one shard"}
# Writes and row locks of a reference table wait for each other before they look at a row.
ROW_BY_ROW = {
    "delete and insert, update", "for key share, for no key update, delete", "for share, for share, update",
    "for update of one of two tables", "insert from a select, update", "lock timeout",
    "merge of rows that others insert", "nowait", "savepoints of those who wait", "skip locked",
    "skip locked of one", "update from a table by another column", "update of all, update of some",
    "update of two, update of all, by two", "update with a subquery", "update, delete",
    "update, update of a row that matches only now", "work from a queue of one shard"}
SCHEDULES = {
    "update, update": """
a update t set v = v + 1 where k = K1
b update t set v = v * 10 where k = K1 returning *
a commit
b select * from t where k = K1
b commit
""",
    "update, update of a row that does not match any more": """
a update t set v = v + 1 where k = K1
b update t set g = 0 where k = K1 and v = 10 returning *
a commit
b commit
""",
    "update, update of a row that matches only now": """
a update t set v = 99 where k = K1
b update t set g = 0 where k = K1 and v = 99 returning *
b update t set g = 7 where k = K1 and v > 5 returning *
a commit
b commit
""",
    "update rolled back, update": """
a update t set v = v + 1 where k = K1
b update t set v = v * 10 where k = K1 and v = 10 returning *
a rollback
b commit
""",
    "update of all, update of some": """
a update t set v = v + 1 where ALL
b update t set v = v * 10 where ALL and v in (11, 20, 31) returning *
a commit
b commit
""",
    "update of one, update of all": """
a update t set v = v + 100 where k = K2
b update t set v = v * 10 where ALL and v < 100 returning *
a commit
b select * from t where ALL
b commit
""",
    "update of two, update of all, by two": """
a update t set v = v + 1 where k = K1
c update t set v = v + 2 where k = K3
b update t set v = v * 10 where ALL and v <> 11 returning *
a commit
c commit
b commit
""",
    "delete, update": """
a delete from t where k = K1
b update t set v = 0 where k = K1 returning *
a commit
b commit
""",
    "delete rolled back, update": """
a delete from t where k = K1
b update t set v = 0 where k = K1 returning *
a rollback
b commit
""",
    "update, delete": """
a update t set v = v + 1 where k = K1
b delete from t where k = K1 and v = 11 returning *
a commit
b commit
""",
    "update, delete of what matched": """
a update t set v = v + 1 where k = K1
b delete from t where ALL and v in (10, 20) returning *
a commit
b commit
""",
    "delete, delete": """
a delete from t where ALL and v > 20 returning *
b delete from t where ALL returning *
a commit
b commit
""",
    "delete and insert, update": """
a delete from t where k = K1
a insert into t values (K1, 5, 5)
b update t set v = v + 1 where k = K1 returning *
a commit
b update t set v = v + 1 where k = K1 returning *
b commit
""",
    "update with a subquery": """
a update t set v = v + 1 where k = K1
b update t set v = (select sum(v) from t x where x.g < 9) where k = K1 returning *
a commit
b commit
""",
    "update with a subquery tied to the row": """
a update t set g = 4, v = 7 where k = K1
b update t set v = v + (select max(v) from s where s.k = t.k and s.g <= t.g) where ALL returning *
a commit
b commit
""",
    "update from a table": """
a update t set v = v + 1 where k = K2
b update t set v = t.v + s.v from s where s.k = t.k and t.v > 10 returning t.*, s.v
a commit
b commit
""",
    "update from a table by another column": """
a update t set g = 4, v = 21 where k = K2
b update t set v = t.v + u.v from u where u.g = t.g and t.v > 10 returning t.*, u.v
a commit
b commit
""",
    "update from a table whose row changes": """
a update s set v = v + 1 where k = K2
b update t set v = t.v + s.v from s where s.k = t.k returning t.*, s.v
a commit
b commit
""",
    "delete using a table": """
a update t set v = 35 where k = K2
b delete from t using s where s.k = t.k and t.v < 30 returning t.*
a commit
b commit
""",
    "insert, insert": """
a delete from t where k = K1
a commit
a insert into t values (K1, 1, 1)
b insert into t values (K1, 2, 2)
a commit
b commit
""",
    "insert rolled back, insert": """
a delete from t where k = K1
a commit
a insert into t values (K1, 1, 1)
b insert into t values (K1, 2, 2) returning *
a rollback
b commit
""",
    "insert of many, insert of one": """
a delete from t
a commit
a insert into t values (K1, 1, 1), (K2, 2, 2), (K3, 3, 3)
b insert into t values (K4, 4, 4), (K3, 4, 4)
a commit
b commit
""",
    "insert, on conflict do nothing": """
a delete from t where k = K1
a commit
b select count(*) from t
a insert into t values (K1, 1, 1)
b insert into t values (K1, 2, 2), (K2, 2, 2) on conflict do nothing returning *
a commit
b commit
""",
    "insert, on conflict do update": """
a delete from t where k = K1
a commit
b select count(*) from t
a insert into t values (K1, 1, 1)
b insert into t values (K1, 2, 2) on conflict (k) do update set v = t.v + excluded.v returning *
a commit
b commit
""",
    "insert rolled back, on conflict do update": """
a delete from t where k = K1
a commit
a insert into t values (K1, 1, 1)
b insert into t values (K1, 2, 2) on conflict (k) do update set v = t.v + excluded.v returning *
a rollback
b commit
""",
    "update, on conflict do update": """
a update t set v = 50 where k = K1
b insert into t values (K1, 2, 2) on conflict (k) do update set v = t.v + excluded.v where t.v = 50 returning *
a commit
b commit
""",
    "update, on conflict do update that does not match": """
a update t set v = 50 where k = K1
b insert into t values (K1, 2, 2), (K2, 2, 2) on conflict (k) do update set v = t.v + excluded.v where t.v < 50 returning *
a commit
b commit
""",
    "delete, on conflict do update": """
a delete from t where k = K1
b insert into t values (K1, 2, 2), (K3, 3, 3) on conflict (k) do update set v = t.v + excluded.v returning *
a commit
b commit
""",
    "delete, on conflict do nothing": """
a delete from t where k = K1
b insert into t values (K1, 2, 2) on conflict do nothing returning *
a commit
b commit
""",
    "on conflict, on conflict": """
a insert into t values (K1, 2, 2) on conflict (k) do update set v = t.v + excluded.v
b insert into t values (K1, 2, 2) on conflict (k) do update set v = t.v + excluded.v returning v
a commit
b commit
""",
    "insert from a select, update": """
a insert into t select k, g, v + 1 from s on conflict (k) do update set v = excluded.v
b update t set v = v * 10 where ALL and v > 20 returning *
a commit
b commit
""",
    "insert from a select of rows that change": """
a update s set v = v + 1 where k = K1
b insert into t select k, g, v from s on conflict (k) do update set v = t.v + excluded.v returning *
a commit
b commit
""",
    "update, for update": """
a update t set v = v + 1 where k = K1
b select * from t where k = K1 for update
a commit
b update t set v = v + 1 where k = K1 returning *
b commit
""",
    "update, for update of what matched": """
a update t set v = v + 1 where k = K1
b select * from t where ALL and v in (10, 20) for update
a commit
b commit
""",
    "delete, for update": """
a delete from t where k = K1
b select * from t where k = K1 for update
a commit
b commit
""",
    "update, for update with ORDER BY": """
a update t set v = 45 where k = K1
b select * from t where ALL order by v for update
a commit
b commit
""",
    "for update, for update": """
a select * from t where k = K1 for update
b select * from t where k = K1 for update
a commit
b commit
""",
    "for share, for share, update": """
a select * from t where ALL for share
b select * from t where k = K1 for share
b update t set v = 0 where k = K1
a commit
b commit
""",
    "for key share, for no key update, delete": """
a select * from t where k = K1 for key share
b select * from t where k = K1 for no key update
b update t set v = 0 where k = K1 returning *
b delete from t where k = K1
a commit
b commit
""",
    "skip locked": """
a update t set v = 0 where k = K2
b select * from t where ALL for update skip locked
c select * from t where ALL for update skip locked
a commit
b commit
c select * from t where ALL for update skip locked
c commit
""",
    "skip locked of one": """
a select * from t where k = K2 for update
b select * from t where k = K2 for update skip locked
b select * from t where k = K1 for update skip locked
a commit
b commit
""",
    "nowait": """
a update t set v = 0 where k = K2
b savepoint x
b select * from t where ALL for update nowait
b rollback to x
b select * from t where k = K1 for update nowait
a commit
b select * from t where ALL for update nowait
b commit
""",
    "work from a queue of one shard": """
a delete from t where k = (select k from t where v < 100 order by v limit 1 for update skip locked) returning *
b delete from t where k = (select k from t where v < 100 order by v limit 1 for update skip locked) returning *
c delete from t where k = (select k from t where v < 100 order by v limit 1 for update skip locked) returning *
a commit
b rollback
c commit
b delete from t where k = (select k from t where v < 100 order by v limit 1 for update skip locked) returning *
b commit
""",
    "for update of one of two tables": """
a update t set v = v + 1 where k = K1
b select t.v, s.v from t join s on s.k = t.k where t.k = K1 for update of s
b select t.v, s.v from t join s on s.k = t.k where t.k = K1 for update of t
a commit
b commit
""",
    "for update of a join off the key": """
a update t set v = 15 where k = K1
b select t.v, u.v from t join u on u.g = t.g where ALL and t.v < 20 for update of t
a commit
b commit
""",
    "merge": """
a update t set v = v + 1 where k = K1
b merge into t using s on s.k = t.k when matched and t.v = 11 then delete when matched then update set v = 0
a commit
b select * from t where ALL
b commit
""",
    "merge of rows that go": """
a delete from t where k = K1
b merge into t using s on s.k = t.k when matched then update set v = t.v + 1 when not matched then insert values (s.k, 0, 0)
a commit
b commit
""",
    "merge of rows that others insert": """
a delete from t
a commit
a insert into t values (K1, 1, 1)
b merge into t using s on s.k = t.k when matched then update set v = t.v + 1 when not matched then insert values (s.k, 0, 0)
a commit
b commit
""",
    "savepoints let go": """
a savepoint x
a update t set v = v + 1 where ALL
b update t set v = v * 10 where k = K1 returning *
a rollback to x
b commit
a update t set v = v + 1 where k = K1 returning *
a commit
""",
    "savepoints of those who wait": """
a update t set v = v + 1 where k = K1
b update t set v = 7 where k = K2
b savepoint x
b update t set v = v * 10 where k = K1 returning *
a commit
b rollback to x
b commit
""",
    "a snapshot": """
b select * from t where ALL
a update t set v = v + 1 where ALL
b select * from t where ALL
a commit
b select * from t where ALL
b update t set v = v * 10 where k = K1 and v = 11 returning *
b commit
""",
    "a snapshot and rows that go": """
b select * from t where ALL
a delete from t where k = K1
a commit
b select * from t where ALL
b select * from t where k = K1 for update
b commit
""",
    "a snapshot and rows that come": """
b delete from t where k = K1
b commit
b select count(*) from t
a insert into t values (K1, 1, 1)
a commit
b select count(*) from t
b insert into t values (K1, 2, 2)
b commit
""",
    "a snapshot and other rows": """
b select count(*) from t
a update t set v = v + 1 where k = K1
a commit
b update t set v = v + 1 where k = K2 returning *
b commit
""",
    "with": """
a update t set v = v + 1 where k = K1
b with x as (update t set v = v * 10 where ALL and v < 30 returning *) select x.k, x.v, s.v from x join s on s.k = x.k
a commit
b commit
""",
    "current of": """
b declare c cursor for select * from t where k = K1 for update
b fetch c
a update t set v = v + 1 where k = K1
b update t set v = v * 10 where current of c returning *
b commit
a commit
""",
    "lock timeout": """
a update t set v = v + 1 where k = K1
b set local lock_timeout = '200ms'
b savepoint x
b! update t set v = 0 where k = K1
b rollback to x
b select * from t where k = K2 for update
a commit
b commit
""",
    "lock table": """
a lock table t in share mode
b select count(*) from t
b update t set v = v + 1 where k = K1
a commit
b commit
""",
    "truncate": """
a update t set v = v + 1 where k = K1
b truncate t
c select count(*) from t
a commit
b commit
c commit
""",
    "alter table": """
a select count(*) from t
b alter table t add column w int default 3
c update t set v = v + 1 where k = K1 returning *
a commit
b commit
c commit
b alter table t drop column w
b commit
""",
    "a function that waits": """
a update t set v = v + 1 where k = K1
b do $$ begin update t set v = v * 10 where k = K1; update t set g = 9 where k = K1 and v = 110; end $$
a commit
b select * from t where ALL
b commit
""",
    "an error caught": """
a delete from t where k = K1
a commit
a insert into t values (K1, 1, 1)
b do $$ begin insert into t values (K1, 2, 2); exception when unique_violation then update t set v = v + 1 where k = K1; end $$
a commit
b select * from t where ALL
b commit
""",
}



# p is referred to by c, which has a row for each of K1 and K2
FAMILY = """
create table p (k int primary key, v int);
create table c (id int, p int references p, primary key (id, p));
"""
FAMILIES = {
    "co-located": "select create_distributed_table('p', 'k'), create_distributed_table('c', 'p')",
    "reference": "select create_reference_table('p'), create_distributed_table('c', 'id')",
    "nodes": "select create_distributed_table('p', 'k', colocate_with => 'none'), "
             "create_distributed_table('c', 'id', colocate_with => 'none')",
}
FAMILY_SCHEDULES = {
    "insert of a child, delete of its parent": """
a insert into c values (9, K3)
b delete from p where k = K3
a commit
b commit
""",
    "insert of a child rolled back, delete of its parent": """
a insert into c values (9, K3)
b delete from p where k = K3 returning *
a rollback
b commit
""",
    "delete of a parent, insert of a child": """
a delete from p where k = K3
b insert into c values (9, K3)
a commit
b commit
""",
    "delete of a parent rolled back, insert of a child": """
a delete from p where k = K3
b insert into c values (9, K3)
a rollback
b commit
""",
    "delete of a parent, insert of several": """
a delete from p where k in (K3, K4)
b insert into c values (9, K1), (10, K3), (11, K4)
a commit
b commit
""",
    "update of a parent, insert of a child": """
a update p set v = v + 1
b insert into c values (9, K1), (9, K3)
a commit
b commit
""",
    "children of one parent": """
a insert into c values (9, K1)
b insert into c values (10, K1)
b commit
a commit
""",
    "delete of a child, delete of its parent": """
a delete from c where p = K1
b delete from p where k = K1 returning *
a commit
b commit
""",
    "delete of a child rolled back, delete of its parent": """
a delete from c where p = K1
b delete from p where k = K1
a rollback
b commit
""",
    "a parent for update, insert of a child": """
a select * from p where k = K1 for update
b insert into c values (9, K1)
a commit
b commit
""",
    "a parent for no key update, insert of a child": """
a select * from p where k = K1 for no key update
b insert into c values (9, K1)
a commit
b commit
""",
    "insert of a parent, insert of a child": """
b delete from p where k = K4
b commit
a insert into p values (K4, 0)
b insert into c values (9, K4)
a commit
b insert into c values (9, K4)
b commit
""",
}
# Each session then waits for the other.
CIRCLES = {
    "updates": """
a update t set v = 1 where k = K1
b update t set v = 2 where k = K4
a update t set v = 1 where k = K4
b! update t set v = 2 where k = K1
""",
    "inserts": """
a delete from t
a commit
a insert into t values (K1, 1, 1)
b insert into t values (K4, 2, 2)
a insert into t values (K4, 1, 1)
b! insert into t values (K1, 2, 2)
""",
}


class Session:
    def __init__(self, herd, node, schema, level):
        self.con = herd.connect(node, autocommit=False, prepare_threshold=None)
        with self.con.transaction():
            self.con.execute("set search_path = %s" % schema)
            self.gpid = self.con.execute("select citus_backend_gpid()").fetchone()[0]
        self.con.isolation_level = psycopg.IsolationLevel[level.upper().replace(" ", "_")]
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.running = None

    def one(self, sql):
        try:
            cur = self.con.execute(sql)
            return (cur.statusmessage, sorted(cur.fetchall(), key=repr) if cur.description else None)
        except psycopg.Error as e:
            return (e.sqlstate, e.diag.message_primary, e.diag.message_detail)

    def close(self):
        if self.running:
            self.con.cancel()
        self.pool.shutdown()
        self.con.close()


class Schedule:
    """What each statement of a schedule gave, and during which one it came to its end."""

    def __init__(self, herd, watcher, schema, nodes, level):
        self.watcher, self.schema = watcher, schema
        self.sessions = {name: Session(herd, node, schema, level) for name, node in nodes.items()}

    def waiting(self):
        return {r[0] for r in self.watcher.execute("select waiting_gpid from dump_global_wait_edges()")}

    def settle(self):
        """Until every session that runs a statement waits for a lock, seen twice."""
        calm, deadline = 0, time.monotonic() + 30
        while calm < 2:
            assert time.monotonic() < deadline, "a session neither waits nor ends"
            running = [s for s in self.sessions.values() if s.running]
            concurrent.futures.wait([s.running for s in running], timeout=0.02)
            if all(s.running.done() for s in running):
                return
            waiting = self.waiting()
            calm = calm + 1 if all(s.gpid in waiting for s in running if not s.running.done()) else 0

    def run(self, script):
        log, of = [], {}
        for n, line in enumerate(script.strip().splitlines()):
            name, sql = line.split(" ", 1)
            ends, name = name.endswith("!"), name[0]
            s = self.sessions[name]
            assert not s.running, "session %s still waits: %s" % (name, line)
            s.running, of[name] = s.pool.submit(s.one, sql), n
            log.append([line])
            if ends:
                concurrent.futures.wait([s.running], timeout=30)
            self.settle()
            for other, s in self.sessions.items():
                if s.running and s.running.done():
                    when = "" if of[other] == n else "after: " + line
                    log[of[other]] += [when, clean(s.running.result(), self.schema)]
                    s.running = None
        return log

    def close(self):
        for s in self.sessions.values():
            s.close()


def clean(result, schema):
    return tuple(v.replace(schema + ".", "") if isinstance(v, str) else v for v in result)


def keys(con, table, spread):
    """Four keys, of a node or of two."""
    found = {}
    for k, shard, node in con.execute(
            "select k, shardid, groupid from generate_series(1, 200) k, lateral "
            "get_shard_id_for_distribution_column('%s', k) shardid join pg_dist_placement "
            "using (shardid)" % table):
        found.setdefault(node, {}).setdefault(shard, k)
    nodes = [list(shards.values()) for node, shards in sorted(found.items()) if len(shards) >= 2]
    return nodes[0][:2] + nodes[1][:2] if spread else nodes[0][:4]


def fill(con, k):
    con.execute("truncate t, s, u")
    rows = ", ".join("(%d, %d, %d)" % (key, i + 1, 10 * (i + 1)) for i, key in enumerate(k))
    for table in "ts":
        con.execute("insert into %s values %s" % (table, rows))
    con.execute("insert into u values (1, 100), (2, 200), (3, 300), (4, 400)")


def fill_family(con, k):
    con.execute("truncate p, c")
    con.execute("insert into p values (%d, 1), (%d, 2), (%d, 3), (%d, 4)" % tuple(k))
    con.execute("insert into c values (1, %d), (2, %d)" % tuple(k[:2]))


def load(herd):
    with herd.connect() as con:
        for n, layout in enumerate([*LAYOUTS, *FAMILIES]):
            family = n >= len(LAYOUTS)
            for schema in ("plain%d" % n, "herd%d" % n):
                con.execute("create schema %s; set search_path = %s" % (schema, schema))
                con.execute(FAMILY if family else TABLES)
            if family:
                con.execute(FAMILIES[layout])
            else:
                con.execute(LAYOUTS[layout])
                con.execute(LAYOUTS[layout].replace("'t'", "'s'").replace("'none'", "'t'"))
                con.execute(LAYOUTS["nodes"].replace("'t'", "'u'").replace("'k'", "'g'"))


herd, con = plan_herd.fixtures(load)


def run_both(herd, con, schedule, n, k, nodes, fill, tables, level="read committed"):
    """The logs of the schedule, of the schemas plain.. and herd.. number n."""
    text = schedule.replace("ALL", "t.k in (K1, K2, K3, K4)")
    for i, key in enumerate(k):
        text = text.replace("K%d" % (i + 1), str(key))
    logs = []
    for schema, where in (("plain%d" % n, dict.fromkeys(nodes, 0)), ("herd%d" % n, nodes)):
        con.execute("set search_path = %s" % schema)
        fill(con, k)
        run = Schedule(herd, con, schema, where, level)
        try:
            log = run.run(text)
        finally:
            run.close()
        for table in tables:
            log.append((table, sorted(con.execute("select * from %s" % table).fetchall())))
        logs.append(log)
    return logs


def compare(*args, **kw):
    different = ["%s\n  plain: %s\n  herd:  %s" % (p[0], p[1:], h[1:])
                 for p, h in zip(*run_both(*args, **kw)) if p != h]
    assert not different, "\n".join(different)


def place(con, layout):
    """The number of the layout's schemas, and its keys."""
    n = list(LAYOUTS).index(layout)
    if layout not in ("one node", "nodes"):
        return n, [1, 2, 3, 4]
    con.execute("set search_path = herd%d" % n)
    return n, keys(con, "t", layout == "nodes")


def cases():
    for name in SCHEDULES:
        for layout in LAYOUTS:
            if layout == "one node" and name in ONE_SNAPSHOT:
                continue
            if layout in ("one node", "nodes") and name in ONE_SHARD:
                continue
            if layout == "reference" and name in ROW_BY_ROW:
                continue
            for level in LEVELS if layout in ("one node", "nodes") else LEVELS[:1]:
                yield name, layout, level


@pytest.mark.parametrize("name, layout, level", cases())
def test_schedule(herd, con, name, layout, level):
    n, k = place(con, layout)
    compare(herd, con, SCHEDULES[name], n, k, dict(a=0, b=0, c=0), fill, "tsu", level=level)


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n not in ONE_SHARD and n != "alter table"])
def test_schedule_of_which_one_goes_by_a_worker(herd, con, name):
    n, k = place(con, "nodes")
    compare(herd, con, SCHEDULES[name], n, k, dict(a=0, b=1, c=1), fill, "tsu")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("layout", FAMILIES)
@pytest.mark.parametrize("name", FAMILY_SCHEDULES)
def test_foreign_keys(herd, con, name, layout, level):
    if layout == "nodes" and level != "read committed":
        pytest.skip("such keys are for READ COMMITTED")
    n = len(LAYOUTS) + list(FAMILIES).index(layout)
    con.execute("set search_path = herd%d" % n)
    k = [1, 2, 3, 4] if layout == "reference" else keys(con, "p", True)
    for b in (0, 1):
        compare(herd, con, FAMILY_SCHEDULES[name], n, k, dict(a=0, b=b), fill_family, "pc", level=level)


@pytest.mark.parametrize("layout", ["one shard", "one node", "nodes"])
@pytest.mark.parametrize("name", CIRCLES)
def test_one_of_a_circle_fails(herd, con, name, layout):
    n, k = place(con, layout)
    for b in (0, 1):
        for log in run_both(herd, con, CIRCLES[name], n, k, dict(a=0, b=b), fill, ""):
            results = [step[-1][0] for step in log[-2:]]
            assert sorted(results)[0] == "40P01" and sorted(results)[1] != "40P01", log
