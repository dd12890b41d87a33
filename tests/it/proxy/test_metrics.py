"""/metrics, /health, /ready; SHOW HISTOGRAMS; slow statements in the log."""
import re
import signal
import urllib.error
import urllib.request

import psycopg
import pytest

from conftest import BASE, PGHERD, Box, Proxy, free_port, run, users, wait_for


@pytest.fixture(scope="module")
def px(server):
    box = Box()
    users(box)
    port = free_port()
    ini = BASE.format(pg=server.port, mode="transaction", auth="trust",
                      databases=f"other = host=127.0.0.1 port={server.port} dbname=db pool_size=2",
                      more="max_client_conn = 77\nstats_period = 1")
    ini += f"metrics_listen = 127.0.0.1:{port}\nslow_query_ms = 200\n"
    try:
        p = Proxy(box, ini)
        p.web = port
        yield p
    finally:
        box.close()


def get(px, path, method="GET"):
    req = urllib.request.Request(f"http://127.0.0.1:{px.web}{path}", method=method)
    try:
        with urllib.request.urlopen(req, timeout=30) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


LINE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? '
                  r'([-+.e0-9]+|NaN|\+Inf)$')


def metrics(px):
    """Reads the format strictly: every family has its help and type once, and before it."""
    status, text = get(px, "/metrics")
    assert status == 200 and text.endswith("\n")
    values, types, current = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name], current = kind, name
        elif not line.startswith("# HELP "):
            m = LINE.match(line)
            assert m, line
            base = re.sub("_(bucket|sum|count)$", "", m[1]) if types[current] == "histogram" else m[1]
            assert base == current, line
            key = (m[1], m[3] or "")
            assert key not in values, line
            values[key] = float(m[4])
    return values


def test_metrics(px):
    for _ in range(5):
        px.sql("select 1")
    v = metrics(px)
    pool = 'database="db",user="u_trust"'
    assert v["pgbouncer_up", ""] == 1
    assert v["pgbouncer_config_max_client_connections", ""] == 77
    assert v["pgbouncer_stats_totals_queries_pooled_total", 'database="db"'] >= 5
    assert v["pgbouncer_stats_totals_sql_transactions_pooled_total", 'database="db"'] >= 5
    assert v["pgbouncer_pools_server_idle_connections", pool] >= 1
    assert v["pgbouncer_pools_client_waiting_connections", pool] == 0
    sizes = {k[1]: n for k, n in v.items() if k[0] == "pgbouncer_databases_pool_size"}
    assert [n for k, n in sizes.items() if 'name="other"' in k] == [2]
    for kind in ("wait", "query", "transaction"):
        name, labels = f"pgherd_pool_{kind}_seconds", pool + ',role=""'
        count = v[name + "_count", labels]
        assert count >= 5
        assert v[name + "_bucket", labels + ',le="+Inf"'] == count
        buckets = [n for k, n in v.items() if k[0] == name + "_bucket" and pool in k[1]]
        assert buckets == sorted(buckets) and len(buckets) > 10
        assert v[name + "_sum", labels] >= 0
    assert v["process_resident_memory_bytes", ""] > 1e6
    assert v["process_start_time_seconds", ""] > 1.6e9


def test_odd_names(px):
    """What a client calls itself cannot spoil the format."""
    for db in ('a"b\\c\nd', "ä"):
        with pytest.raises(psycopg.Error):
            px.sql("select 1", db=db)
    metrics(px)


def test_other_paths(px):
    assert get(px, "/nothing")[0] == 404
    assert get(px, "/metrics", "POST")[0] == 405
    assert get(px, "/health") == (200, "ok\n")
    assert get(px, "/ready") == (200, "ok\n")


def test_health(px):
    px.console("pause")
    try:
        assert get(px, "/health")[0] == 200
        assert get(px, "/ready") == (503, "paused\n")
        assert metrics(px)["pgherd_paused", ""] == 1
    finally:
        px.console("resume")
    assert get(px, "/ready")[0] == 200


def test_histograms(px):
    for _ in range(20):
        px.sql("select pg_sleep(0.01)")
    rows = {r["time"]: r for r in px.console("show histograms") if r["database"] == "db"}
    q = rows["query"]
    assert set(rows) == {"wait", "query", "transaction"}
    assert q["total_count"] >= 20 and q["total_us"] >= 200000
    # Statements of other tests are among them, so only what must hold of any set.
    assert 0 < q["p50_us"] <= q["p90_us"] <= q["p99_us"] <= q["p999_us"] <= q["max_us"]
    assert q["max_us"] >= 10000


def test_slow_statements(px):
    with px.connect() as c:
        c.execute("select pg_sleep(0.3), 'hidden' /* so */ , 12345")
        c.execute("select pg_sleep(%s), %s", (0.3, "bound secret"), prepare=True)
        c.execute("select pg_sleep(%s), %s", (0.3, "bound secret"), prepare=True)
    wait_for(lambda: px.log().count("slow query:") >= 3)
    slow = [line for line in px.log().splitlines() if "slow query:" in line]
    assert any(line.endswith(": select pg_sleep($1), $2 , $3") for line in slow), slow
    assert sum(line.endswith(": select pg_sleep($1), $2") for line in slow) >= 2, slow
    assert "hidden" not in px.log() and "secret" not in px.log() and "12345" not in px.log()
    assert all(re.search(r"db/u_trust@127.0.0.1:\d+ slow query: \d+\.\d{3} ms on 127.0.0.1:\d+ pid=\d+:",
                         line) for line in slow)


def test_few_lines(px):
    """A storm of slow statements is a few lines, and says how many it left out."""
    px.console("set slow_query_ms = 1")
    try:
        with px.connect() as c:
            with c.pipeline():
                for _ in range(60):
                    c.execute("select pg_sleep(0.002)", prepare=True)

            def told():
                for _ in range(60):
                    c.execute("select pg_sleep(0.002), 1")
                return re.search(r"slow query: \d+ more were not logged", px.log())
            wait_for(told, 60)
    finally:
        px.console("set slow_query_ms = 200")


def test_health_at_the_end(px):
    """Last of this file: clients that are there keep it running, and nobody new is sent to it."""
    with px.connect() as c:
        px.signal(signal.SIGTERM)
        wait_for(lambda: get(px, "/health") == (503, "shutting down\n"))
        assert get(px, "/ready")[0] == 503
        assert metrics(px)["pgherd_stopping", ""] == 1
        assert c.execute("select 1").fetchone() == (1,)


def test_address_taken(px, server):
    box = Box()
    users(box)
    try:
        ini = BASE.format(pg=server.port, mode="session", auth="trust", databases="", more="")
        path = box.write("bad.ini", ini.replace("@PORT@", str(free_port())).replace("@DIR@", box.dir)
                         + "metrics_listen = 256.0.0.1:1\n")
        done = run(PGHERD, "proxy", path, check=False)
        assert done.returncode == 1 and 'could not listen on "256.0.0.1:1"' in done.stderr
    finally:
        box.close()
