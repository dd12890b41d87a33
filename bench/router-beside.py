#!/usr/bin/python3
"""Single-shard statements beside plain PostgreSQL, on a cluster made by shard/cluster.sh.

usage: router-beside.py [--rounds N] [--secs S] [--cases REGEX]

Runs of plain and of the herd alternate; a line for each case gives the median over the rounds of
p50 and transactions per second of the second half of each run, their ratios, and processor time per transaction of clients and
servers together, which other work on the machine disturbs least. Cases named "here" connect to a
worker: half of the shards are its own and are used in process.
"""
import argparse
import glob
import math
import os
import re
import statistics
import subprocess
import tempfile
import time

PORT = int(os.environ.get("PORT", "7800"))
DB = os.environ.get("DB", "bench")
BASE = os.environ.get("BASE", "/tmp/pgherd-bench/pgherd")
BIN = os.environ.get("PGBIN", "/usr/lib/postgresql/15/bin")
SCALE = int(os.environ.get("SCALE", "5"))
TPCB_BID = """\\set bid random(1, :scale)
\\set aid (:bid - 1) * 100000 + random(1, 100000)
\\set tid (:bid - 1) * 10 + random(1, 10)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid AND bid = :bid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid AND bid = :bid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid AND bid = :bid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime)
    VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
"""
SCRIPTS = {
    "insert": "\\set aid random(1, 100000)\nINSERT INTO pgbench_history (tid, bid, aid, delta, mtime) "
              "VALUES (1, 1, :aid, 1, now());\n",
    "insert10": "\\set aid random(1, 100000)\nINSERT INTO pgbench_history (tid, bid, aid, delta, mtime) "
                "VALUES " + ", ".join("(%d, 1, :aid, 1, now())" % i for i in range(10)) + ";\n",
    "update": "\\set aid random(1, 100000 * :scale)\nUPDATE pgbench_accounts SET abalance = abalance + 1 "
              "WHERE aid = :aid;\n",
    "tpcb-bid": TPCB_BID,
}
# name, script or built-in, clients, node, modes
CASES = [(name, what, 1, 0, "simple extended prepared")
         for name, what in (("select", "-S"), ("insert", "insert"), ("update", "update"))]
CASES += [("insert10", "insert10", 1, 0, "simple prepared"),
          ("select here", "-S", 1, 1, "prepared"), ("update here", "update", 1, 1, "prepared"),
          ("select c=8", "-S", 8, 0, "simple prepared"),
          ("tpcb-id c=8", "-btpcb-like", 8, 0, "prepared"),
          ("tpcb-bid c=8", "tpcb-bid", 8, 0, "prepared")]


def postmasters():
    return {int(open(f).readline()) for f in glob.glob(BASE + "/*/postmaster.pid")}


def cpu_seconds(client, servers):
    """Of the client and the servers' backends."""
    total = 0
    for p in os.listdir("/proc"):
        try:
            stat = open("/proc/%s/stat" % p).read() if p.isdigit() else ""
            if stat and (int(p) == client or int(stat.rsplit(") ", 1)[1].split()[1]) in servers):
                total += int(open("/proc/%s/schedstat" % p).read().split()[0])
        except OSError:
            pass
    return total / 1e9


def pgbench(port, what, clients, mode, secs, directory):
    prefix = directory + "/log"
    for f in glob.glob(prefix + "*"):
        os.unlink(f)
    schema = "pgb_bid" if what == "tpcb-bid" else "pgb_id"
    env = dict(os.environ, PGOPTIONS="-c search_path=%s,public" % schema)
    argv = [BIN + "/pgbench", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-n", "-c", str(clients),
            "-j", str(min(clients, 2)), "-T", str(secs), "-M", mode, "-l", "--log-prefix", prefix]
    if what in SCRIPTS:
        argv += ["-f", "%s/%s.sql" % (directory, what), "-D", "scale=%d" % SCALE]
    else:
        argv += [what, "-s", str(SCALE)]
    servers = postmasters()
    with subprocess.Popen(argv + [DB], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as p:
        time.sleep(secs * 0.6)
        before, at = cpu_seconds(p.pid, servers), time.monotonic()
        time.sleep(secs * 0.3)
        used, took = cpu_seconds(p.pid, servers) - before, time.monotonic() - at
        out = p.communicate()[0]
        if p.returncode:
            raise SystemExit(out)
    lines = [l.split() for f in glob.glob(prefix + "*") for l in open(f)]
    # the second half: connections are open and statements prepared
    ends = [(float(l[4]) + float(l[5]) / 1e6, int(l[2])) for l in lines]
    start, end = min(ends)[0] + secs * 0.5, max(ends)[0]
    late = sorted(took for at, took in ends if at >= start)
    tps = len(late) / (end - start)
    return {"p50": late[len(late) // 2], "tps": tps, "cpu": used / took / tps * 1e6}


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--secs", type=float, default=4)
    args.add_argument("--cases", default="")
    args = args.parse_args()
    print("%-24s %8s %8s %6s   %8s %8s %6s   %6s %6s %6s" % (
        "", "p50 us", "plain", "ratio", "tps", "plain", "ratio", "cpu us", "plain", "ratio"))
    with tempfile.TemporaryDirectory() as directory:
        for name, text in SCRIPTS.items():
            with open("%s/%s.sql" % (directory, name), "w") as f:
                f.write(text)
        for name, what, clients, node, modes in CASES:
            for mode in modes.split():
                title = "%s %s" % (name, mode)
                if not re.search(args.cases, title):
                    continue
                rows = {PORT + 9: [], PORT + node: []}
                for _ in range(args.rounds):
                    for port, got in rows.items():
                        got.append(pgbench(port, what, clients, mode, math.ceil(args.secs), directory))
                plain, ours = [{k: statistics.median(r[k] for r in got) for k in got[0]}
                               for got in rows.values()]
                line = [title]
                for k in ("p50", "tps", "cpu"):
                    line += [ours[k], plain[k], ours[k] / plain[k]]
                print("%-24s %8.0f %8.0f %6.2f   %8.0f %8.0f %6.2f   %6.0f %6.0f %6.2f" % tuple(line),
                      flush=True)


if __name__ == "__main__":
    main()
