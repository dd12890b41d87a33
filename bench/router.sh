#!/bin/bash
# bench/router.sh [ARGUMENTS of router-beside.py]: single-shard statements beside plain PostgreSQL, in one
# run on one machine: coordinator, two workers and a plain server (bench/shard/cluster.sh), pgbench.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export SCALE=${SCALE:-20} EXT=pgherd PRELOAD=pgherd COLEXT= PORT=${PORT:-7800} BASE=${BASE:-/tmp/pgherd-bench/pgherd}
"$here/shard/cluster.sh" init
trap '"$here/shard/cluster.sh" destroy' EXIT
/usr/bin/python3 "$here/shard/bench.py" pgbload
/usr/bin/python3 "$here/router-beside.py" "$@"
