#!/usr/bin/python3
"""Loads like TPC-C's (payment, new order) and YCSB's A on a herd of its own and, in turn, on plain tables of one server.

    bench/loads.py [--secs 10] [--rounds 3] [--clients 4] [--warehouses 10] [--records 20000]

The transactions and the conditions that must hold afterwards are those of tests/it/ext/test_loads.py. One line for each load:
transactions a second, medians over the rounds. PGHERD_TEST_PG_CONFIG names an installation with the extension.
"""
import argparse
import os
import random
import statistics
import sys
import threading
import time

import psycopg

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, "tests", "it", "ext"), os.path.join(TOP, "extension", "tests")]
import cluster  # noqa: E402
import test_loads as loads  # noqa: E402

CONF = "shared_buffers = 256MB\nmax_wal_size = 4GB\njit = off\n"


def connect(c, schema, **kw):
    return psycopg.connect(host="127.0.0.1", port=c.ports[0], user="postgres", dbname="postgres",
                           options="-c search_path=" + schema, **kw)


def clients(c, schema, one, n, secs):
    """Transactions a second of n clients, and the sum of what they gave."""
    done, given, errors = [0] * n, [0] * n, []
    end = time.monotonic() + secs

    def client(i):
        rnd = random.Random(i)
        try:
            with connect(c, schema) as con:
                while time.monotonic() < end:
                    try:
                        with con.transaction():
                            got = one(con, rnd)
                        done[i] += 1
                        given[i] += got if isinstance(got, int) else 0
                    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                        pass
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return sum(done) / secs, sum(given)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--secs", type=float, default=10)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--clients", type=int, default=4)
    ap.add_argument("--warehouses", type=int, default=10)
    ap.add_argument("--records", type=int, default=20000)
    a = ap.parse_args()
    loads.WAREHOUSES, loads.DISTRICTS, loads.ITEMS, loads.RECORDS = a.warehouses, 10, 900, a.records
    c = cluster.Cluster(workers=2, pg_config=os.environ.get("PGHERD_TEST_PG_CONFIG"), conf=CONF)
    try:
        c.start()
        for schema, distributed in (("plain", False), ("herd", True)):
            with connect(c, schema, autocommit=True) as con:
                con.execute("create schema " + schema)
                loads.load(con, distributed)
        for name, one in (("tpcc", loads.tpcc), ("ycsb", loads.ycsb)):
            tps, updates = {"plain": [], "herd": []}, {"plain": 0, "herd": 0}
            for _ in range(a.rounds):
                for schema in tps:
                    rate, given = clients(c, schema, one, a.clients, a.secs)
                    tps[schema].append(rate)
                    updates[schema] += given
            for schema in tps:
                with connect(c, schema) as con:
                    if name == "tpcc":
                        loads.check_tpcc(con)
                    else:
                        assert con.execute("select sum(version), count(*) from usertable").fetchone() == (
                            updates[schema], a.records)
            plain, herd = (statistics.median(tps[s]) for s in ("plain", "herd"))
            print("%s clients=%d plain=%.0f herd=%.0f ratio=%.2f, consistent" % (name, a.clients, plain, herd, herd / plain))
    finally:
        c.stop()


if __name__ == "__main__":
    main()
