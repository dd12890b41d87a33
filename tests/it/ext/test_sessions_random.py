"""
Random sessions: several cursors open at once, half read, while the same session writes, fails, rolls back to
savepoints and commits; prepared statements, PL/pgSQL loops and COPY between. The same steps are done with plain and
with distributed tables and must have the same answers. HERD_SEED and HERD_RANDOM_SECONDS make another, longer run.
"""
import os
import random
import time

import psycopg
import pytest

import plan_herd

SEED = int(os.environ.get("HERD_SEED", "1"))
SECONDS = float(os.environ.get("HERD_RANDOM_SECONDS", "20"))
TABLES = """
create table m (k int primary key, v int, t text);
create table n (k int, i int, w text, g int generated always as (i % 5) stored, primary key (k, i));
create table s (name text primary key, k int, q int);
create table ref (g int primary key, label text);
create table loc (z int primary key, y text);
create table log (k int, what text, old int, new int);
"""
FUNCTIONS = """
create function total(which int) returns bigint language plpgsql as $$
declare r record; sum bigint := 0;
begin
  for r in select n.i, ref.label from n join ref on ref.g = n.i % 5 where n.k = which order by n.i loop
    sum := sum + r.i + length(r.label);
    update m set v = coalesce(v, 0) + 1 where k = which;
  end loop;
  return sum;
end $$;
create function walk(step int) returns int language plpgsql as $$
declare c cursor for select k, v from m where k % step = 0 order by k; r record; seen int := 0;
begin
  open c;
  loop
    fetch c into r;
    exit when not found;
    seen := seen + 1;
    begin
      insert into n values (r.k, 0, 'walked');
    exception when unique_violation then
      update n set w = 'again' where k = r.k and i = 0;
    end;
    if seen = 5 then move relative 2 from c; end if;
  end loop;
  close c;
  return seen;
end $$;
create procedure steps(times int) language plpgsql as $$
begin
  for j in 1 .. times loop
    update m set t = 'step ' || j where k = j;
    if j % 2 = 0 then commit; else rollback; end if;
  end loop;
end $$;
"""
DISTRIBUTE = """
select create_distributed_table('m', 'k');
select create_distributed_table('n', 'k', colocate_with => 'm');
select create_distributed_table('s', 'name');
select create_reference_table('ref');
select create_distributed_table('log', 'k', colocate_with => 'm');
"""
ROWS = """
insert into m select i, i % 13, 't' || i % 7 from generate_series(1, 60) i;
insert into n select i % 60 + 1, i, 'w' || i % 9 from generate_series(1, 300) i;
insert into s select 's' || i, i % 60 + 1, i from generate_series(1, 80) i;
insert into ref select i, 'label ' || i from generate_series(0, 9) i;
insert into loc select i, 'y' || i from generate_series(0, 9) i;
"""
QUERIES = [
    "select k, v, t from m order by k",
    "select k, v from m where k = {a} order by 1",
    "select m.k, n.i, n.w from m join n using (k) order by m.k, n.i",
    "select m.k, n.i from m join n using (k) where m.k = {a} order by 2",
    "select s.name, m.v from s join m on m.k = s.k order by s.name",
    "select n.i % {b} as g, count(*), sum(n.i), max(w) from n group by 1 order by 1",
    "select m.k, ref.label from m join ref on ref.g = m.v order by 1, 2",
    "select m.k, loc.y from m left join loc on loc.z = m.v order by 1, 2",
    "select k, v from m where k in (select k from n where i % {b} = 0) order by k",
    "select k, row_number() over (order by v desc, k) from m order by 1",
    "select k, v from m where v > {a} order by k for update",
    "select distinct w from n order by w",
    "select k from m union select q from s order by 1",
    "with x as (select k, count(*) c from n group by k) select m.k, c from m left join x using (k) order by 1",
    "select g, label from ref order by g",
    "select generate_series(1, {a}), {b}",
    "select k, (select count(*) from s where s.k = m.k) from m order by k",
]
WRITES = [
    "update m set v = v + 1 where k = {a}", "update m set v = v + {b} where k % {b} = 0",
    "delete from n where k = {a}", "delete from m where v = {b}", "insert into m values ({a}, {b}, 'new')",
    "insert into m values ({a}, {b}, 'new') on conflict (k) do update set v = excluded.v + m.v",
    "insert into n select k, {a} * 1000 + k, 'copied' from m where v < {b}",
    "insert into s select 'x' || k || '_' || {a}, k, v from m where k % {b} = 1 on conflict do nothing",
    "update ref set label = label || '+' where g = {b}", "update loc set y = y || '+' where z = {b}",
    "update m set t = x.name from (select k, min(name) as name from s where q > {a} group by k) x where x.k = m.k",
    "with d as (delete from n where k % {b} = 2 returning k, i) insert into s select 'd' || k || '_' || i, k, i from d on conflict do nothing",
    "update m set k = k + 1000 where k = {a}", "delete from s using m where m.k = s.k and m.v = {b}",
    "insert into m select k + 2000, v, t from m where k = {a} returning k, v",
    "update n set w = w || '!' where i % {b} = 0 returning k, i",
]
FAILS = ["select 1 / (k - k) from m", "insert into m select k from m", "insert into m values (null)", "select nothing from m",
         "update m set v = 1 / (v - v) where k = {a}", "insert into ref values (1, 'twice')", "select * from nowhere",
         "do $$ begin update m set v = 0; raise exception 'no'; end $$"]
DEFINITIONS = ["alter table m add column c{a} int default {b}", "create index on n (w, i)", "truncate s", "analyze m",
               "alter table n alter column w type varchar(200)", "create or replace view seen as select k, count(*) as c from n group by k",
               "create temp table if not exists mine as select k, v from m where v = {b}", "drop view if exists seen"]
COPIES = ["copy (select k, v from m order by k) to stdout", "copy n (k, i) from stdin"]
CALLS = ["select total({a})", "select walk({b})", "do $$ begin perform total({a}); perform total({b}); end $$",
         "do $$ declare r record; begin for r in select k from m where v = {b} order by k loop perform total(r.k); end loop; end $$"]


class Session:
    """The state that both sides are in."""

    def __init__(self, rng, defines, guarded):
        self.guarded = guarded
        self.rng, self.cursors, self.held, self.savepoints, self.n = rng, [], [], 0, 0
        self.within, self.failed, self.prepared, self.defines = False, False, {}, defines

    def fill(self, text):
        return text.replace("{a}", str(self.rng.randrange(1, 61))).replace("{b}", str(self.rng.randrange(2, 8)))

    def one(self, texts):
        return self.fill(self.rng.choice(texts))

    def declare(self):
        self.n += 1
        # What FOR UPDATE gives depends on the moment of each FETCH.
        name, query = "c%d" % self.n, self.one([q for q in QUERIES if "for update" not in q])
        hold = "" if self.rng.random() < 0.8 else "with hold "
        scroll = "" if self.rng.random() < 0.6 else "scroll "
        (self.held if hold else self.cursors).append((name, scroll))
        return "declare %s %scursor %sfor %s" % (name, scroll, hold, query)

    def fetch(self):
        name, scroll = self.rng.choice(self.cursors + self.held)
        how = ["1", "2", "7", "all"] + (["backward 2", "first", "last", "absolute 5", "relative -1", "prior"] if scroll else [])
        return "%s %s from %s" % (self.rng.choice(["fetch", "fetch", "fetch", "move"]), self.rng.choice(how), name)

    def prepare(self):
        self.n += 1
        texts = ["select k, v, t from m where k = $1", "update m set v = v + $1 where k = $1", "select count(*) from n where k > $1",
                 "select s.name from s join m on m.k = s.k where m.v = $1 order by 1",
                 "insert into s values ('p' || $1, $1, $1) on conflict (name) do update set q = s.q + 1"]
        name = "p%d" % self.n
        self.prepared[name] = None
        return "prepare %s(int) as %s" % (name, self.rng.choice(texts))

    def step(self):
        """The next statement."""
        rng = self.rng
        if self.failed:
            if self.savepoints and rng.random() < 0.6:
                self.failed = False
                return "rollback to s%d" % self.savepoints
            return self.end("rollback")
        draw = rng.random()
        if not self.within:
            if draw < 0.6:
                self.within = True
                return "begin" + ("" if self.guarded else rng.choice(["", "", " isolation level repeatable read"]))
            return self.one(rng.choice([WRITES, QUERIES, FAILS, CALLS, ["call steps({b})"]])) if draw < 0.85 or not self.held \
                else self.fetch()
        if draw < 0.16:
            return self.declare()
        if draw < 0.45 and self.cursors + self.held:
            return self.fetch()
        if draw < 0.62:
            return self.one(WRITES)
        if draw < 0.72:
            return self.one(QUERIES)
        if draw < 0.78:
            return self.one(CALLS)
        if draw < 0.82:
            return self.prepare()
        if draw < 0.87 and self.prepared:
            return "execute %s(%d)" % (rng.choice(list(self.prepared)), rng.randrange(1, 61))
        if draw < 0.91:
            self.savepoints += 1
            return "savepoint s%d" % self.savepoints
        if draw < 0.93 and self.savepoints:
            return "rollback to s%d" % self.savepoints
        if draw < 0.95:
            defines = [d for d in DEFINITIONS if not (self.guarded and "truncate" in d)]  # checks may wait for it
            return self.one(rng.choice([FAILS, FAILS, COPIES] + [defines] * self.defines))
        return self.end(rng.choice(["commit", "commit", "rollback"]))

    def end(self, how):
        self.within, self.failed, self.savepoints, self.cursors = False, False, 0, []
        return how


def outcome(con, statement):
    """(SQLSTATE or None, rows or tag)."""
    try:
        if statement.startswith("copy "):
            with con.cursor().copy(statement) as copy:
                if statement.endswith("to stdout"):
                    return None, b"".join(copy)
                for k in range(40):
                    copy.write_row((k, 7000 + k))
            return None, None
        cur = con.execute(statement)
        rows = cur.fetchall() if cur.description else None
    except psycopg.Error as e:
        return e.sqlstate, str(e)
    if rows is not None and " order by " not in statement and not statement.startswith("fetch"):
        rows.sort(key=str)
    return None, (cur.statusmessage, rows)


def differs(here, there, statement):
    if here[0] or there[0]:
        # Which row fails first is not said.
        return here[0] != there[0]
    return here[1] != there[1]


# Keys between the tables, of one node and across, and triggers that write.
GUARDS = """
alter table n add foreign key (k) references m on update cascade on delete cascade deferrable;
alter table s add foreign key (k) references m on delete set null deferrable initially deferred;
alter table n add foreign key (g) references ref;
create function noted() returns trigger language plpgsql as $$ begin
  insert into log values (coalesce(new.k, old.k), tg_op, old.v, new.v); return null; end $$;
create trigger noted after insert or update or delete on m for each row execute function noted();
create function capped() returns trigger language plpgsql as $$ begin
  if new.v > 100 then new.v := 100; end if; if new.v = 66 then return null; end if; return new; end $$;
create trigger capped before insert or update on m for each row execute function capped();
create function counted() returns trigger language plpgsql as $$ begin
  insert into log select k, 'gone ' || count(*), null, null from gone where k is not null group by k; return null; end $$;
create trigger counted after delete on s referencing old table as gone for each statement execute function counted();
"""


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        yield h
    finally:
        h.stop()


def run(herd, seed, settings=(), node=0, guarded=False):
    """None, or the statements and how the last one differs."""
    rng = random.Random(seed)
    herd.load(TABLES, DISTRIBUTE, ROWS)
    session, done = Session(rng, node == 0, guarded), []
    with herd.connect() as plain, herd.connect(node) as spread:
        plain.prepare_threshold = spread.prepare_threshold = None
        for con, schema in ((plain, plan_herd.PLAIN), (spread, plan_herd.DISTRIBUTED)):
            with herd.connect() as first:
                first.execute("set search_path = " + schema)
                first.execute(FUNCTIONS)
                if guarded:
                    first.execute(GUARDS)
                if node > 0 and con == spread:
                    first.execute("select citus_add_local_table_to_metadata('loc')")
            con.execute("set search_path = " + schema)
            con.execute("set statement_timeout = '20s'")
            con.execute("set max_parallel_workers_per_gather = 0")
        for s in settings:
            spread.execute(s)
        for _ in range(120):
            statement = session.step()
            done.append(statement)
            here, there = outcome(plain, statement), outcome(spread, statement)
            if differs(here, there, statement):
                plain.rollback(), spread.rollback()
                return done, here, there
            if here[0] and session.within:
                session.failed = True
        for con in (plain, spread):
            con.execute("rollback")
        for table in ("m", "n", "s", "ref", "loc", "log"):
            statement = "select * from %s order by 1, 2" % table + (", 3, 4" if table == "log" else "")
            done.append(statement)
            here, there = outcome(plain, statement), outcome(spread, statement)
            if here != there:
                return done, here, there
        for con in (plain, spread):
            con.execute("set client_min_messages = error")
        plain.execute("drop schema %s, %s cascade" % (plan_herd.PLAIN, plan_herd.DISTRIBUTED))
    return None


SETTINGS = {
    "plain": ((), 0),
    "moved": (("set citus.max_tasks_per_node = 2", "set work_mem = '64kB'", "set citus.repartition_join_min_size = '0'"), 0),
    "worker": ((), 1),
    "guarded": ((), 0, True),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_sessions(herd, name):
    end, failures, i = time.monotonic() + SECONDS / len(SETTINGS), [], 0
    while (time.monotonic() < end or i < 2) and len(failures) < 3:
        i += 1
        found = run(herd, SEED * 100003 + i, *SETTINGS[name])
        if found:
            done, here, there = found
            failures.append("%d: %s\nplain %.800s\nherd  %.800s" % (i, ";\n".join(done), here, there))
    assert not failures, "HERD_SEED=%d\n%s" % (SEED, "\n\n".join(failures))
