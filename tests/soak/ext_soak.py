#!/usr/bin/python3
"""Statements by the million over a small herd; nothing may grow, nothing may be left.

    tests/soak/ext_soak.py [--statements N] [--pg PG_CONFIG] [--seed N] [--seconds S] [--each N]
                           [--threads N]

In each of some threads, which have tables of their own, a session that lasts and one that is opened
anew now and then run, in turn and by chance: router reads and writes (simple and prepared), reads of all shards, repartitioned joins, groups off the key,
writes of many shards, transactions over nodes, row triggers, COPY both ways, INSERT .. SELECT, MERGE,
cursors left in the middle or held, rows at a cursor, moved rows, writes in WITH, triggers with
transition tables, distributed schemas, savepoints, PL/pgSQL with exceptions, EXPLAIN, settings, tables
made and dropped, errors of every stage, statement_timeout, cancels, lost connections, sessions that
end in the middle of a transaction.

As it goes it says, of the sessions and of their connections to the workers, the anonymous memory, what
pg_backend_memory_contexts has, and the open files. After the first tenth none of them may grow by
more than the limits below; prepared transactions, files of results, and connections may not be left.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import io
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../extension/tests"))
import cluster  # noqa: E402
import psycopg2  # noqa: E402

ROWS = 2000
MOST_GROWTH_KB = 8 * 1024
MOST_CONTEXT_KB = 4 * 1024
MOST_FILES = 16
MOST_CONNECTIONS = 40
CONF = "log_min_messages = fatal\nlog_min_error_statement = panic\nwork_mem = 1MB\n" \
       "max_files_per_process = 300\n"

SCHEMA = """
create schema %(s)s;
set search_path = %(s)s;
set citus.shard_count = 8;
create table t (a int primary key, b text, n int default 0, at timestamptz default now());
create table log (a int, old text, at timestamptz);
create table u (k int, a int, v int);
create table v (a int primary key, b text);
create table r (id int primary key, name text);
create function note() returns trigger language plpgsql as $$
begin insert into %(s)s.log values (new.a, old.b, now()); return new; end $$;
create function risky(x int) returns int language plpgsql as $$
declare n int;
begin
  begin
    insert into t values (x, 'twice');
  exception when unique_violation then
    update t set b = 'kept' where a = x;
  end;
  select count(*) into n from t where a between x and x + 3;
  return n;
end $$;
create table tally (what text primary key, n bigint);
create function tallied() returns trigger language plpgsql as $$
begin
  update %(s)s.tally set n = tally.n + (select count(*) from changed) where what = tg_op;
  return null;
end $$;
set citus.enable_schema_based_sharding = on;
create schema %(s)s_one;
create table %(s)s_one.z (a int primary key, b text);
insert into %(s)s_one.z select g, 'z' from generate_series(1, 100) g;
reset citus.enable_schema_based_sharding;
select create_distributed_table('tally', 'what', colocate_with := 'none');
insert into tally values ('UPDATE', 0), ('INSERT', 0);
select create_distributed_table('t', 'a');
select create_distributed_table('log', 'a', colocate_with := 't');
select create_distributed_table('u', 'k', colocate_with := 'none');
select create_reference_table('r');
create trigger note after update of n on t for each row execute function note();
insert into t select g, 'x' from generate_series(1, %(rows)d) g;
select create_distributed_table('v', 'a', colocate_with := 't');
insert into v select g, 'v' from generate_series(1, %(rows)d) g;
insert into u select g, g %% 500, g %% 7 from generate_series(1, %(rows)d) g;
create trigger tallied after update on u referencing new table as changed
	for each statement execute function tallied();
insert into r select g, 'name ' || g from generate_series(0, 6) g;
"""


def memory_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))


def files(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def inner_name(session):
    """The condition on a worker's sessions that this one has opened."""
    return "application_name like 'citus\\_internal gpid=%%%010d'" % session.pid


class Session:
    """One connection to the coordinator; every statement is counted."""

    def __init__(self, load):
        self.load, self.herd, self.random = load, load.herd, load.random
        self.open()

    def open(self):
        self.c = self.herd.connect(0)
        self.c.autocommit = True
        self.cur = self.c.cursor()
        self.pid = self.c.get_backend_pid()
        self.run("set search_path = " + self.load.schema)
        self.run("set citus.enable_repartition_joins = on")
        self.run("prepare one(int) as select b from t where a = $1")
        self.run("prepare change(int, text) as update t set b = $2 where a = $1")
        self.run("prepare many(int) as select count(*) from t where n >= $1")

    def run(self, sql, args=None):
        self.load.done += 1
        self.cur.execute(sql, args)

    def fails(self, sql, args=None, code=None):
        try:
            self.run(sql, args)
        except psycopg2.Error as e:
            if code is None or e.pgcode == code:
                return
            raise
        raise AssertionError("no error: " + sql)

    def key(self):
        return self.random.randint(1, ROWS)

    # -- one shard

    def read(self):
        if self.random.random() < 0.5:
            self.run("execute one(%s)", (self.key(),))
        else:
            self.run("select b from t where a = %s", (self.key(),))
        assert self.cur.rowcount == 1

    def write(self):
        if self.random.random() < 0.5:
            self.run("execute change(%s, 'x')", (self.key(),))
        else:
            self.run("update t set b = 'y' where a = %s returning a, b", (self.key(),))
            assert self.cur.fetchall()

    def triggered(self):
        self.run("update t set n = n + 1 where a = %s", (self.key(),))
        if self.random.random() < 0.02:
            self.run("delete from log")

    # -- many

    def all(self):
        self.run("select count(*), max(b) from t where a <> %s", (-self.key(),))
        assert self.cur.fetchone()[0] == ROWS
        if self.random.random() < 0.2:
            self.run("execute many(0)")

    def grouped(self):
        self.run(self.random.choice([
            "select v, count(*), sum(k), avg(a) from u group by v having count(*) > 0 order by v",
            "select count(distinct v), string_agg(distinct v::text, ',') from u",
            "select t.a, log.old, r.name from t left join log using (a) join r on r.id = t.a % 7 "
            "order by t.a limit 5",
            "select a, row_number() over (partition by a order by b) from t order by a limit 5",
            "select v, sum(k) over (partition by v order by k) from u where k < 50",
            "with x as (select a from t where a < 50 union select k from u where k < 20) "
            "select count(*) from x"]))
        assert self.cur.fetchall()

    def moved(self):
        self.run(self.random.choice([
            "select count(*), sum(u.v) from t join u on t.a = u.a",
            "select count(*) from u x full join u y on x.a = y.k",
            "select count(*) from t where exists (select from u where u.a = t.a and v > 2)",
            "select t.a, (select max(v) from u where u.a = t.a) from t order by t.a limit 20"]))
        assert self.cur.fetchall()

    def write_all(self):
        with contextlib.suppress(psycopg2.errors.DeadlockDetected):
            self.run(self.random.choice([
                "update t set b = 'all' where a % 100 = 3",
                "update u set v = (v + 1) % 7 where a < 5",
                "insert into t values (1, 'a'), (2, 'b'), (3, 'c') on conflict (a) do update set "
                "b = excluded.b",
                "with d as (delete from u where k between 10 and 30 returning *) "
                "insert into u select * from d",
                "insert into t (a, b) select k, 'moved' from u where k < 100 on conflict (a) "
                "do update set b = excluded.b",
                "merge into t using (select k, v from u where k < 30) s on t.a = s.k "
                "when matched then update set b = s.v::text when not matched then do nothing"]))

    def copy(self):
        if self.random.random() < 0.5:
            self.load.done += 1
            self.cur.copy_expert("copy (select * from u) to stdout", io.StringIO())
            return
        self.run("begin")
        text = "".join("%d\t%d\t1\n" % (ROWS + i, i) for i in range(200))
        self.load.done += 1
        self.cur.copy_expert("copy u from stdin", io.StringIO(text))
        with contextlib.suppress(psycopg2.Error):
            self.load.done += 1
            self.cur.copy_expert("copy u from stdin", io.StringIO(text + "rubbish\n"))
        self.run("rollback")

    # -- transactions

    def block(self):
        self.run("begin")
        self.write()
        self.run("savepoint s")
        self.write()
        self.fail()
        self.run("rollback to s")
        self.write()
        self.run(self.random.choice(["commit", "rollback"]))

    def two_phase(self):
        self.run("begin")
        for key in sorted(self.random.sample(range(1, ROWS), 4)):
            self.run("update t set b = 'two' where a = %s", (key,))
        self.run("commit")

    def cursor(self):
        self.run("begin")
        self.run("declare c %s for select a, repeat(b, 100) from t" %
                 self.random.choice(["cursor", "cursor with hold", "scroll cursor"]))
        self.run("fetch 3 from c")
        self.run(self.random.choice(["close c", "move 10 in c"]))
        self.run(self.random.choice(["commit", "rollback"]))
        self.run("close all")

    def current(self):
        self.run("begin")
        self.run("declare c cursor for select a, b from t where a < 40 for update")
        self.run("fetch %d from c" % self.random.randint(1, 5))
        self.run("update t set b = 'current' where current of c")
        self.run(self.random.choice(["commit", "rollback"]))

    def keys(self):
        key = self.key()
        self.run("begin")
        self.run("update v set a = a + 100000 where a = %s returning a", (key,))
        self.run("update v set a = a - 100000 where a > 100000")
        self.run("commit")

    def within(self):
        self.run("begin")
        self.run(self.random.choice([
            "with w as (update t set b = 'w' where a < 20 returning a), "
            "d as (delete from u where k in (select a from w) returning *) insert into u select * from d",
            "with w as (insert into t select -k, 'new' from u where k < 9 returning a) "
            "select count(*) from w join u on u.v = -w.a",
            "with w as (update u set v = v where k < 10 returning *), "
            "m as (delete from log returning a) select * from w left join m on m.a = w.k"]))
        self.run("rollback")

    def schema(self):
        self.run("update %s_one.z set b = 's' where a = %d" % (self.load.schema, self.key()))
        self.run("select count(*) from %s_one.z join t using (a)" % self.load.schema)

    def code(self):
        self.run(self.random.choice([
            "select risky(%d)" % self.key(),
            "do $$ declare x record; begin for x in select a from t where a < 20 loop "
            "perform b from t where a = x.a; end loop; end $$",
            "explain (analyze, verbose, costs off) select count(*) from t group by n",
            "explain select * from t join u using (a)"]))

    # -- what goes wrong

    def fail(self):
        self.fails(*self.random.choice([
            ("insert into t values (%d, 'twice')" % self.key(), None, "23505"),
            ("select 1 / (a - a) from t", None, "22012"),
            ("select 1 / (a - %d) from t" % self.key(), None, "22012"),
            ("select t.a / (t.a - t.a) from t join u on t.a = u.a", None, "22012"),
            ("insert into t (a, b) select k, 'z' from u", None, "23505"),
            ("select nothing from t", None, "42703"),
            ("update t set a = a + 1", None, None),
            ("select from t where a =", None, "42601")]))

    def late(self):
        self.run("set statement_timeout = %d" % self.random.randint(5, 40))
        self.fails(self.random.choice([
            "select pg_sleep(10) from t where a = %d" % self.key(),
            "select count(pg_sleep(0.5)) from t",
            "select count(pg_sleep(0.5)) from t join u on t.a = u.a"]), None, "57014")
        self.run("reset statement_timeout")

    def cancel(self):
        ended, delay = threading.Event(), self.random.random() / 20

        def ask():
            while not ended.wait(delay):
                self.c.cancel()

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            self.fails("update t set b = pg_sleep(1)::text", None, "57014")
        finally:
            ended.set()
            asker.join()
        with contextlib.suppress(psycopg2.errors.QueryCanceled):
            self.run("select 1")  # the last one may have come late

    def lose(self):
        sessions = self.load.lasting + [self.load.fleeting]
        self.herd.psql(self.random.randint(1, 2),
                       "select pg_terminate_backend(pid) from pg_stat_activity where "
                       "state = 'idle' and (%s)" % " or ".join(map(inner_name, sessions)))
        # a write by itself, sent before the end is seen, could not be done again
        for session in sessions:
            session.all()

    def setting(self):
        self.run("set my.value = '%d'" % self.key())
        self.run("set timezone = '%s'" % self.random.choice(["UTC", "Asia/Tokyo"]))
        self.run("discard temp")

    def ddl(self):
        self.run("create table passing (x int, y text)")
        self.run("select create_distributed_table('passing', 'x', colocate_with := 't')")
        self.run("insert into passing select a, b from t")
        self.run("create index on passing (y)")
        self.run("truncate passing")
        self.run("drop table passing")


class Fleeting(Session):
    """Ends now and then, at times in the middle of a transaction."""

    def reopen(self):
        if self.random.random() < 0.5:
            self.run("begin")
            self.write()
            self.run("select * from t")
        self.c.close()
        self.open()


class Load:
    KINDS = {"read": 300, "write": 180, "triggered": 20, "all": 40, "grouped": 12, "moved": 3,
             "write_all": 4, "copy": 1, "block": 25, "two_phase": 12, "cursor": 8, "code": 6,
             "current": 4, "keys": 4, "within": 3, "schema": 6,
             "fail": 40, "late": 0.4, "cancel": 0.4, "lose": 0.1, "setting": 8, "ddl": 0.1}

    def __init__(self, herd, schema, seed):
        herd.psql(0, SCHEMA % {"rows": ROWS, "s": schema})
        self.herd, self.schema, self.random, self.done = herd, schema, random.Random(seed), 0
        self.count = collections.Counter()
        self.lasting = [Session(self)]
        self.fleeting = Fleeting(self)

    def one(self):
        kind = self.random.choices(list(self.KINDS), self.KINDS.values())[0]
        session = self.random.choice(self.lasting * 2 + [self.fleeting])
        if session is self.fleeting and self.random.random() < 0.01:
            kind = "reopen"
        self.count[kind] += 1
        getattr(session, kind)()

    def every_kind(self, n):
        """Each kind so often, in each session."""
        for kind in self.KINDS:
            for _ in range(n):
                for session in self.lasting[:1] + [self.fleeting]:
                    getattr(session, kind)()
            print("%s, %d statements" % (kind, self.done), flush=True)
        self.fleeting.reopen()

    def rounds(self, gate):
        """Until the gate ends; it stands still while the gate is held."""
        try:
            while not gate.ended.is_set():
                with gate.mine():
                    self.one()
        except BaseException:
            gate.ended.set()
            raise


class Gate:
    """Lets all threads work, or one look at what they have left while they wait."""

    def __init__(self):
        self.ended, self.changed, self.working, self.held = threading.Event(), \
            threading.Condition(), 0, False

    @contextlib.contextmanager
    def mine(self):
        with self.changed:
            self.changed.wait_for(lambda: not self.held)
            self.working += 1
        try:
            yield
        finally:
            with self.changed:
                self.working -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def alone(self):
        with self.changed:
            self.held = True
            self.changed.wait_for(lambda: not self.working)
        try:
            yield
        finally:
            with self.changed:
                self.held = False
                self.changed.notify_all()


class Watch:
    """What the loads' sessions use and leave."""

    def __init__(self, herd, loads):
        self.herd, self.loads = herd, loads

    def contexts_kb(self, session):
        session.cur.execute("select sum(total_bytes) / 1024 from pg_backend_memory_contexts")
        return int(session.cur.fetchone()[0])

    def figures(self):
        """Of the sessions that last and of the workers' ends of their connections: the most."""
        lasting = [s for load in self.loads for s in load.lasting]
        inner = []
        for node in range(1, len(self.herd.ports)):
            got = self.herd.psql(node, "select pid from pg_stat_activity where " +
                                 " or ".join(map(inner_name, lasting)))
            inner += [int(p) for p in got.split()]
        return {"memory": max(memory_kb(s.pid) for s in lasting),
                "contexts": max(self.contexts_kb(s) for s in lasting),
                "files": max(files(s.pid) for s in lasting),
                "worker memory": max((memory_kb(p) for p in inner), default=0),
                "worker files": max((files(p) for p in inner), default=0),
                "connections": len(inner), "prepared": self.kept()[0], "results": self.kept()[1]}

    def kept(self):
        """The numbers of prepared transactions and of files of results, on all nodes."""
        nodes = range(len(self.herd.ports))
        return (sum(int(self.herd.psql(n, "select count(*) from pg_prepared_xacts")) for n in nodes),
                sum(len(dirs + found) for n in nodes
                    for _, dirs, found in os.walk(self.herd.data(n) + "/base/pgsql_tmp")))

    def left(self):
        """What nobody uses any more."""
        deadline = time.monotonic() + 120
        while self.kept() != (0, 0) and time.monotonic() < deadline:
            time.sleep(1)
        return self.kept()

    def done(self):
        return sum(load.done for load in self.loads)

    def looks(self, n, seconds, gate):
        """Tells the figures now and then; those after the first tenth."""
        step, next_look, base, start = max(n // 20, 1), 0, None, time.monotonic()
        while self.done() < n and not gate.ended.wait(0.2) and (
                not seconds or time.monotonic() - start < seconds):
            if self.done() < next_look:
                continue
            with gate.alone():
                now = self.figures()
            print("%9d statements, %d s: %s" % (self.done(), time.monotonic() - start, ", ".join(
                "%s %d" % x for x in now.items())), flush=True)
            next_look += step
            if self.done() >= n // 10 and base is None:
                base = now
        return base

    def run(self, n, seconds):
        gate = Gate()
        with concurrent.futures.ThreadPoolExecutor(len(self.loads)) as pool:
            works = [pool.submit(load.rounds, gate) for load in self.loads]
            try:
                base = self.looks(n, seconds, gate)
            finally:
                gate.ended.set()
        for work in works:
            work.result()
        now = self.figures()
        print("%d statements: %s" % (self.done(), dict(sum((x.count for x in self.loads),
                                                           collections.Counter()))))
        grown = {k: now[k] - (base or now)[k] for k in now}
        prepared, kept = self.left()
        print("grown by %s; left: %d prepared transactions, %d files of results" % (
            ", ".join("%s %d" % x for x in grown.items()), prepared, kept))
        return (grown["memory"] <= MOST_GROWTH_KB and grown["worker memory"] <= MOST_GROWTH_KB and
                grown["contexts"] <= MOST_CONTEXT_KB and grown["files"] <= MOST_FILES and
                grown["worker files"] <= MOST_FILES and now["connections"] <= MOST_CONNECTIONS and
                prepared == 0 and kept == 0)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--statements", type=int, default=1000000)
    ap.add_argument("--seconds", type=int, default=0, help="no longer than that")
    ap.add_argument("--each", type=int, help="instead, each kind of statement so often")
    ap.add_argument("--pg", help="pg_config of an installation that has the extension")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=3)
    a = ap.parse_args()
    herd = cluster.Cluster(pg_config=a.pg, conf=CONF)
    try:
        herd.start()
        loads = [Load(herd, "s%d" % i, a.seed * 1000 + i) for i in range(1 if a.each else a.threads)]
        watch = Watch(herd, loads)
        if a.each:
            loads[0].every_kind(a.each)
            ok = watch.left() == (0, 0)
        else:
            ok = watch.run(a.statements, a.seconds)
    finally:
        herd.stop()
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
