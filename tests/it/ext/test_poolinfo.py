"""pg_dist_poolinfo: what nodes send one another goes through the proxy."""
import contextlib
import os
import signal
import subprocess

import psycopg2
import pytest
from cluster import free_port
from conftest import TOP, eventually

PGHERD = os.environ.get("PGHERD", os.path.join(TOP, "build/pgherd"))
INI = """[databases]
g1 = host=127.0.0.1 port={w1} dbname=postgres user=postgres
g2 = host=127.0.0.1 port={w2} dbname=postgres user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
admin_users = postgres
pool_mode = transaction
default_pool_size = 10
user = postgres
"""


@pytest.fixture(scope="module")
def proxy(nodes):
    port = free_port()
    path = nodes.dir + "/proxy.ini"
    with open(path, "w") as f:
        f.write(INI.format(port=port, w1=nodes.ports[1], w2=nodes.ports[2]).replace(
            "auth_type = any", "auth_type = trust\nauth_file = " + nodes.dir + "/users.txt"))
    with open(nodes.dir + "/users.txt", "w") as f:
        f.write('"postgres" ""\n')
    with open(nodes.dir + "/proxy.log", "w") as log:
        p = subprocess.Popen([PGHERD, "proxy", path], stdout=log, stderr=log)

    def console(sql):
        with contextlib.closing(psycopg2.connect(host="127.0.0.1", port=port, user="postgres",
                                                 dbname="pgbouncer")) as c:
            c.autocommit = True
            cur = c.cursor()
            cur.execute(sql)
            return [dict(zip([d[0] for d in cur.description], r)) for r in cur.fetchall()]

    def up():
        assert p.poll() is None, open(nodes.dir + "/proxy.log").read()
        try:
            return console("show version")
        except psycopg2.OperationalError:
            return None
    try:
        eventually(up)
        yield port, console
    finally:
        p.send_signal(signal.SIGQUIT)
        p.wait(20)


def queries(console):
    return {r["database"]: int(r["total_query_count"]) for r in console("show stats")
            if r["database"] in ("g1", "g2")}


def test_statements_go_through_the_pooler(nodes, table, proxy):
    port, console = proxy
    one = nodes.keys_on(table, 1)[0]
    nodes.psql(0, "insert into pg_dist_poolinfo select nodeid, format('host=127.0.0.1 port=%s "
                  f"dbname=g%s', {port}, groupid) from pg_dist_node where groupid > 0")
    with contextlib.closing(nodes.session(0)) as c:
        cur = c.cursor()
        cur.execute("set timezone = 'Asia/Tokyo'")
        for key in range(1, 40):
            cur.execute("select b from t where a = %s", [key])
            assert cur.fetchall() == [(f"x{key}",)]
        cur.execute("select count(*) from t")
        assert cur.fetchall() == [(1000,)]
        # Two-phase commit over both workers, and what is rolled back.
        cur.execute("begin")
        cur.execute("update t set b = 'y' || a")
        cur.execute("rollback")
        cur.execute("update t set b = 'z' || a")
        cur.execute("select count(*) from t where b like 'z%'")
        assert cur.fetchall() == [(1000,)]
        cur.execute("update t set b = 'x' || a")
        seen = queries(console)
        assert seen["g1"] > 0 and seen["g2"] > 0
        assert nodes.all_prepared() == []
    assert {r["addr"] for r in console("show clients") if r["database"] in ("g1", "g2")} <= {
        "127.0.0.1"}
    assert nodes.node_of(table, one) == 1


def test_without_a_row_it_is_direct_again(nodes, table, proxy):
    port, console = proxy
    nodes.psql(0, "delete from pg_dist_poolinfo")
    before = queries(console)
    assert nodes.value(0, "select count(*) from t") == 1000
    assert queries(console) == before


def test_a_bad_row_is_an_error(nodes, table):
    nodes.psql(0, "insert into pg_dist_poolinfo select nodeid, 'hst=here' from pg_dist_node "
                  "where groupid = 1")
    with pytest.raises(psycopg2.Error, match="pg_dist_poolinfo.poolinfo is not a valid"):
        nodes.value(0, "select count(*) from t")
    nodes.psql(0, "delete from pg_dist_poolinfo")
