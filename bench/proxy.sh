#!/bin/bash
# Compare PostgreSQL proxies with each other and with direct connections.
#
#   TARGETS="direct=127.0.0.1:15432 pgbouncer=127.0.0.1:16432 ours=127.0.0.1:16440" \
#       bench/proxy.sh [tps] [tpcb] [tls] [conn] [mem] [bulk]
#
# Nothing is started here: PostgreSQL and the proxies already run. A target is
# NAME=HOST:PORT[+PORT...]; processes listening on those ports, and all their
# descendants, are what CPU and memory are charged to ("+PORT": a second program
# of the same stack). "direct" (no proxy) and "pgbouncer" are the reference columns.
#
# On the server: database $DB with pgbench tables; users b_trust, b_md5, b_scram
# (password bench) which every target must log in by trust, md5, scram-sha-256;
# TLS offered. For bulk: tables bench_big(id int, t text) of ~100 MB and
# bench_sink(t text). See docs/measurements.md.
#
# Every case runs ROUNDS times, the targets one after another within a round
# (A/B/A/B), so drift hits all alike; a printed value is the median over rounds,
# a ratio the median of the per-round ratios.
#
# Environment: DB=bench ROUNDS=3 SECS=4 CLIENTS="1 16 64 256" PROTOS="simple extended
#   prepared" MEM="1000 5000 10000" ONLY / SKIP (regex on target names), OUT (dir for raw.tsv)
set -u
cd "$(dirname "$0")" || exit 2
HERE=$PWD
: "${TARGETS:?TARGETS=\"direct=host:port pgbouncer=host:port ...\"}"
DB=${DB:-bench} ROUNDS=${ROUNDS:-3} SECS=${SECS:-4}
CLIENTS=${CLIENTS:-1 16 64 256} PROTOS=${PROTOS:-simple extended prepared} MEM=${MEM:-1000 5000 10000}
PGBENCH=${PGBENCH:-$(ls /usr/lib/postgresql/*/bin/pgbench 2>/dev/null | sort -V | tail -1)}
PY=${PYTHON:-/usr/bin/python3}
export PGPASSWORD=bench PGCONNECT_TIMEOUT=20
W=$(mktemp -d /tmp/pbench.XXXXXX)
trap 'rm -rf "$W"' EXIT
trap 'exit 130' INT TERM
RAW=$W/raw.tsv; : >"$RAW"
ulimit -n "$(ulimit -Hn)"
HZ=$(getconf CLK_TCK)
echo 'select 1' >"$W/one.sql"

names=()
declare -A HOST PORT PORTS
for t in $TARGETS; do
    n=${t%%=*}; a=${t#*=}
    [[ -n "${ONLY:-}" && ! $n =~ $ONLY ]] && continue
    [[ -n "${SKIP:-}" && $n =~ $SKIP ]] && continue
    names+=("$n"); HOST[$n]=${a%%:*}; a=${a#*:}; PORTS[$n]=${a//+/ }; PORT[$n]=${a%%+*}
done

pids_of() { # all processes of a target, comma separated; none for direct
    [ "$1" = direct ] && return
    local p roots="" all q
    for p in ${PORTS[$1]}; do
        roots+=" $(ss -ltnpH "sport = :$p" | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u | tr '\n' ' ')"
    done
    all=$(echo $roots)
    q=$all
    while [ -n "$q" ]; do
        q=$(for p in $q; do cat /proc/"$p"/task/*/children 2>/dev/null; done | tr ' ' '\n' | sort -u | tr '\n' ' ')
        q=$(for p in $q; do case " $all " in *" $p "*) ;; *) echo "$p" ;; esac; done | tr '\n' ' ')
        all="$all $q"
    done
    echo $all | tr ' ' '\n' | sort -un | paste -sd,
}
ticks() { # CPU ticks used by the listed processes and their dead children
    local p s=0 a
    for p in ${1//,/ }; do
        a=$(sed 's/.*) //' /proc/"$p"/stat 2>/dev/null | cut -d' ' -f12-15 | tr ' ' '+')
        [ -n "$a" ] && s=$((s + a))
    done
    echo "$s"
}
rec() { printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$@" >>"$RAW"; } # case target round metric value (pad)

# pg CASE TARGET ROUND USER SSLMODE PGBENCH-ARGUMENTS...
pg() {
    local case=$1 n=$2 r=$3 user=$4 ssl=$5 pids c0 c1 out tps tx
    shift 5
    pids=$(pids_of "$n"); c0=$(ticks "$pids")
    rm -f "$W"/log.*
    out=$(cd "$W" && PGSSLMODE=$ssl timeout $((SECS + 60)) "$PGBENCH" -n -h "${HOST[$n]}" -p "${PORT[$n]}" -U "$user" \
        -T "$SECS" -l --log-prefix="$W/log" --sampling-rate="${SAMPLE:-0.25}" "$@" "$DB" 2>&1)
    c1=$(ticks "$pids")
    tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$out" | tail -1)
    tx=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' <<<"$out")
    if [ -z "$tps" ] || grep -q aborted <<<"$out"; then
        echo "   ! $case $n round $r: $(grep -iE 'error|fatal|abort' <<<"$out" | head -1)" >&2
        [ -z "$tps" ] && return
    fi
    rec "$case" "$n" "$r" tps "$tps" -
    [ "$n" != direct ] && rec "$case" "$n" "$r" cpu100k "$(awk -v a=$((c1 - c0)) -v h="$HZ" -v t="$tx" 'BEGIN{if(t)printf "%.2f",a/h/t*100000}')" -
    cat "$W"/log.* 2>/dev/null | awk '{print $3}' | sort -n >"$W/lat"
    local k; k=$(wc -l <"$W/lat")
    [ "$k" -gt 20 ] && {
        rec "$case" "$n" "$r" p50 "$(sed -n "$(((k + 1) / 2))p" "$W/lat")" -
        rec "$case" "$n" "$r" p99 "$(sed -n "$((k * 99 / 100))p" "$W/lat")" -
    }
}
each() { # each CASE USER SSL ARGS...: all rounds over all targets
    local case=$1 r n; shift
    for ((r = 1; r <= ROUNDS; r++)); do for n in "${names[@]}"; do pg "$case" "$n" "$r" "$@"; done; done
    table "$case"
}
table() { # print a case
    [ -n "${HEAD:-}" ] || { printf '%-24s %-12s %9s %8s %8s %9s %9s %9s\n' case target tps p50_us p99_us cpu/100k x_direct x_pgbouncer; HEAD=1; }
    "$PY" - "$RAW" "$1" "${names[@]}" <<'PY'
import sys, statistics as st
raw, case, names = sys.argv[1], sys.argv[2], sys.argv[3:]
d = {}
for l in open(raw):
    c, n, r, m, v, _ = l.rstrip("\n").split("\t")
    if c == case and v: d.setdefault((n, m), {})[r] = float(v)
def med(n, m):
    x = d.get((n, m)); return st.median(x.values()) if x else None
def ratio(n, ref):
    a, b = d.get((n, "tps"), {}), d.get((ref, "tps"), {})
    x = [a[r] / b[r] for r in a if b.get(r)]
    return st.median(x) if x else None
f = lambda v, w, p: f"{v:{w}.{p}f}" if v is not None else " " * (w - 1) + "-"
for n in names:
    print(f"{case:24} {n:12} {f(med(n,'tps'),9,0)} {f(med(n,'p50'),8,0)} {f(med(n,'p99'),8,0)} {f(med(n,'cpu100k'),9,2)} {f(ratio(n,'direct'),9,3)} {f(ratio(n,'pgbouncer'),9,3)}", flush=True)
PY
}

do_tps() {
    local m c
    for m in $PROTOS; do for c in $CLIENTS; do
        each "S-$m-c$c" b_trust disable -S -M "$m" -c "$c" -j $((c > 1 ? 2 : 1))
    done; done
}
do_tpcb() {
    local m
    for m in $PROTOS; do each "tpcb-$m-c16" b_trust disable -M "$m" -c 16 -j 2; done
}
do_tls() {
    local c
    for c in ${TLSC:-16 64}; do each "tls-prepared-c$c" b_trust require -S -M prepared -c "$c" -j 2; done
}
do_conn() { # one query per connection; tps is connections per second
    SAMPLE=1
    each conn-trust b_trust disable -C -c 4 -j 2 -f "$W/one.sql"
    each conn-md5 b_md5 disable -C -c 4 -j 2 -f "$W/one.sql"
    each conn-scram b_scram disable -C -c 4 -j 2 -f "$W/one.sql"
    each conn-tls-trust b_trust require -C -c 4 -j 2 -f "$W/one.sql"
    each conn-tls-scram b_scram require -C -c 4 -j 2 -f "$W/one.sql"
}
do_mem() {
    local k n
    echo "== N clients log in at once, idle, then each runs one query"
    for k in $MEM; do for n in "${names[@]}"; do
        [ "$n" = direct ] && continue
        [[ $n =~ ${MEMSKIP:-^$} ]] && continue
        local p1 lim; p1=$(pids_of "$n"); p1=${p1%%,*}
        lim=$(awk '/open files/{print $4}' /proc/"${p1:-self}"/limits)
        [ "$lim" != unlimited ] && [ "$lim" -lt $((k + 100)) ] && { echo "   ! $n: only $lim open files allowed, $k clients skipped" >&2; continue; }
        printf '%-12s ' "$n"
        timeout 150 "$PY" "$HERE/pgload.py" storm "${HOST[$n]}" "${PORT[$n]}" "${MEMUSER:-b_trust}" "$DB" "$k" "$(pids_of "$n")" 2>&1 | tail -1
    done; done
}
do_bulk() {
    local r n k
    echo "== 100 MB streams (ratios: median per-round MB/s)"
    for k in select copyout copyin; do
        for ((r = 1; r <= ROUNDS; r++)); do for n in "${names[@]}"; do
            o=$(timeout 120 "$PY" "$HERE/pgload.py" bulk "${HOST[$n]}" "${PORT[$n]}" b_trust "$DB" "$k" "$(pids_of "$n")" 2>&1 | tail -1)
            case $o in kind=*) ;; *) echo "   ! $n $k: $o" >&2; continue ;; esac
            rec "bulk-$k(MB/s)" "$n" "$r" tps "$(grep -o ' mb_s=[0-9]*' <<<"$o" | cut -d= -f2)" -
            [ "$n" != direct ] && rec "bulk-$k(MB/s)" "$n" "$r" cpu100k "$(grep -o 'cpu_s_per_gb=[0-9.]*' <<<"$o" | cut -d= -f2)" -
        done; done
        table "bulk-$k(MB/s)"
    done
    echo "   (cpu/100k column in bulk rows: CPU seconds per GB)"
}

echo "# $(date -u +%FT%TZ) $(uname -r) $(nproc) cores, $("$PGBENCH" --version); rounds=$ROUNDS secs=$SECS targets: ${names[*]}"
[ $# -gt 0 ] || set -- tps tpcb tls conn mem bulk
for s in "$@"; do declare -F "do_$s" >/dev/null || { echo "unknown section $s" >&2; exit 2; }; do_$s; done
if [ -n "${OUT:-}" ]; then mkdir -p "$OUT" && cp "$RAW" "$OUT/raw.$(date +%s).tsv"; fi
