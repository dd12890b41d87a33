#!/bin/bash
# bench/router.sh: latency of single-shard statements beside plain PostgreSQL, in one run on one machine.
# Coordinator, two workers and a plain server (bench/shard/cluster.sh), pgbench with one connection.
# Prints the table of bench/shard/bench.py "latency": p50 of SELECT, INSERT, UPDATE by key in simple,
# extended and prepared protocol, distributed and plain.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export SCALE=${SCALE:-5} SECS=${SECS:-4} EXT=pgherd PRELOAD=pgherd COLEXT= PORT=${PORT:-7800} BASE=${BASE:-/tmp/pgherd-bench/pgherd}
"$here/shard/cluster.sh" init
trap '"$here/shard/cluster.sh" destroy' EXIT
/usr/bin/python3 "$here/shard/bench.py" pgbload latency "$@"
