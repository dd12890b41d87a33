#!/usr/bin/python3
"""Statements by the million in one session of a small herd; its backend must not grow.

    tests/soak/ext_soak.py [--statements N] [--pg PG_CONFIG] [--seed N]

Router reads and writes, prepared and not, reads of all shards, errors, transactions over nodes with
savepoints, cursors that are left in the middle, SET, and now and then a lost connection. Says the
anonymous memory and the open files of the backend as it goes, and fails when, after the first
tenth, memory has grown by more than 8 MB or files by more than 8.
"""
import argparse
import contextlib
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../extension/tests"))
import cluster  # noqa: E402
import psycopg2  # noqa: E402

ROWS = 2000
MOST_GROWTH_KB = 8 * 1024
MOST_FILES = 8


def memory_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))


def files(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


class Load:
    def __init__(self, herd, seed):
        self.herd, self.random = herd, random.Random(seed)
        self.c = herd.connect(0)
        self.c.autocommit = True
        self.cur = self.c.cursor()
        self.cur.execute("select pg_backend_pid()")
        self.pid = self.cur.fetchone()[0]
        self.cur.execute("prepare one(int) as select b from t where a = $1")
        self.cur.execute("prepare change(int, text) as update t set b = $2 where a = $1")
        self.kinds = [(self.read, 40), (self.write, 25), (self.all, 8), (self.fail, 8),
                      (self.block, 6), (self.cursor, 4), (self.setting, 4), (self.lose, 0.05)]

    def key(self):
        return self.random.randint(1, ROWS)

    def read(self):
        if self.random.random() < 0.5:
            self.cur.execute("execute one(%s)", (self.key(),))
        else:
            self.cur.execute("select b from t where a = %s", (self.key(),))
        assert self.cur.rowcount == 1

    def write(self):
        if self.random.random() < 0.5:
            self.cur.execute("execute change(%s, 'x')", (self.key(),))
        else:
            self.cur.execute("update t set b = 'y' where a = %s returning a, b", (self.key(),))
            assert self.cur.fetchall()

    def all(self):
        self.cur.execute("select count(*), max(b) from t where a <> %s", (-self.key(),))
        assert self.cur.fetchone()[0] == ROWS

    def fail(self):
        with contextlib.suppress(psycopg2.Error):
            self.cur.execute("insert into t values (%s, 'twice')", (self.key(),))
            raise AssertionError("a key twice")

    def block(self):
        self.cur.execute("begin")
        self.write()
        self.cur.execute("savepoint s")
        self.write()
        self.fail()
        self.cur.execute("rollback to s")
        self.write()
        self.cur.execute(self.random.choice(["commit", "rollback"]))

    def cursor(self):
        self.cur.execute("begin; declare c cursor for select a, repeat(b, 100) from t; fetch 3 from c")
        self.cur.execute(self.random.choice(["close c; commit", "commit", "rollback"]))

    def setting(self):
        self.cur.execute("set my.value = '%d'" % self.key())
        self.cur.execute("set timezone = '%s'" % self.random.choice(["UTC", "Asia/Tokyo"]))

    def lose(self):
        self.herd.psql(1, "select pg_terminate_backend(pid) from pg_stat_activity where "
                       "application_name like 'citus_internal%' and state = 'idle'")
        self.all()  # a write by itself, sent before the end is seen, could not be done again

    def run(self, n):
        step = max(n // 20, 1)
        weights = [w for _, w in self.kinds]
        base = None
        for i in range(1, n + 1):
            self.random.choices(self.kinds, weights)[0][0]()
            if i % step == 0:
                now = memory_kb(self.pid), files(self.pid)
                print("%9d statements: %d kB, %d files" % (i, *now), flush=True)
                if i >= n // 10 and base is None:
                    base = now
        grown = now[0] - base[0], now[1] - base[1]
        print("grown by %d kB, %d files" % grown)
        return grown[0] <= MOST_GROWTH_KB and grown[1] <= MOST_FILES


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--statements", type=int, default=1000000)
    ap.add_argument("--pg", help="pg_config of an installation that has the extension")
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    herd = cluster.Cluster(pg_config=a.pg)
    try:
        herd.start()
        herd.psql(0, "create table t (a int primary key, b text); "
                  "select create_distributed_table('t', 'a')")
        herd.psql(0, "insert into t select g, 'x' from generate_series(1, %d) g" % ROWS)
        ok = Load(herd, a.seed).run(a.statements)
    finally:
        herd.stop()
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
