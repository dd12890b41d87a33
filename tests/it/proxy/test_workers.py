"""role=workers: the primaries of all groups of a sharded cluster but the coordinator's."""
import time

import psycopg
import pytest

from conftest import Box, Etcd, Postgres, Proxy, free_port, prepare, users, wait_for
from test_hold import Writer

INI = """[pgherd]
dcs = etcd3://127.0.0.1:{etcd}
namespace = service
worker_threads = 2
proxy_id = px1
hold_timeout = 20
[databases]
w = cluster=demo role=workers dbname=db
w1 = cluster=demo group=1 role=primary dbname=db
[listeners]
workers = port=@PORT@ cluster=demo role=workers
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {plain}
unix_socket_dir =
auth_type = trust
auth_file = @DIR@/users.txt
admin_users = admin
pool_mode = transaction
default_pool_size = 6
"""


class Groups:
    """A coordinator c, worker a with its standby as, worker b; keys as their agents would write."""

    def __init__(self, box):
        self.box, self.etcd = box, Etcd(box)
        self.c, self.a, self.b = (Postgres(box, n) for n in "cab")
        for pg in (self.c, self.a, self.b):
            prepare(pg)
        self.s = Postgres(box, "as", primary=self.a)
        for group, pg in ((0, self.c), (1, self.a), (2, self.b)):
            self.etcd.put(f"/service/demo/{group}/initialize", str(pg.system_id()))
            self.etcd.member(pg, "primary", group=group)
            self.etcd.put(f"/service/demo/{group}/leader", pg.name)
        self.etcd.member(self.s, "replica", group=1)


@pytest.fixture(scope="module")
def groups():
    box = Box()
    users(box)
    try:
        yield Groups(box)
    finally:
        box.close()


@pytest.fixture
def px(groups):
    plain = free_port()
    p = Proxy(groups.box, INI.format(etcd=groups.etcd.port, plain=plain))
    p.plain = plain
    yield p
    groups.box.ends.remove(p.kill)
    p.kill()


def where(px, n=8, **kw):
    with px.connect(**kw) as c:
        return {c.execute("select inet_server_port()").fetchone()[0] for _ in range(n)}


def spread(px, *nodes, **kw):
    """All of these serve, and when they do nobody else does."""
    want = {n.port for n in nodes}
    for _ in range(5):
        wait_for(lambda: where(px, **kw) == want)
        assert where(px, **kw) <= want


def test_all_workers_and_nobody_else(groups, px):
    spread(px, groups.a, groups.b)
    spread(px, groups.a, groups.b, db="w", port=px.plain)
    assert where(px, db="w1", port=px.plain) == {groups.a.port}
    with px.connect(db="pgbouncer", user="admin", port=px.plain,
                    cursor_factory=psycopg.ClientCursor) as c:
        cur = c.execute("show herd")
        names = [d.name for d in cur.description]
        rows = [dict(zip(names, r)) for r in cur.fetchall()]
    assert {(r["member"], r["leader"]) for r in rows} == \
        {("c", "yes"), ("a", "yes"), ("b", "yes"), ("as", "no")}
    assert all(int(r["connections"]) == 0 for r in rows if r["member"] in ("c", "as"))


def test_a_worker_that_dies_is_left_out(groups, px):
    spread(px, groups.a, groups.b)
    groups.b.stop("immediate")
    with px.connect() as c:
        def ok():
            return c.execute("select inet_server_port()").fetchone() == (groups.a.port,)
        wait_for(lambda: all(ok() for _ in range(8)))
        for _ in range(20):
            assert ok()
    groups.b.start()
    spread(px, groups.a, groups.b)


def test_one_group_hands_over(groups, px):
    """Writers through role=workers see no error while one group changes its leader; the clients of that
    group alone wait. Last: it changes who leads."""
    spread(px, groups.a, groups.b)
    writers = [Writer(px, k) for k in range(4)]
    only = px.connect(db="w1", port=px.plain)
    only.execute("select 1")
    wait_for(lambda: all(w.ok > 20 for w in writers))
    put = groups.etcd.put
    put("/service/demo/1/handover", {"id": "h1", "from": "a", "to": "as", "phase": "prepare",
                                     "deadline_ms": int((time.time() + 30) * 1000)})
    wait_for(lambda: '"1"' in groups.etcd.get("/service/demo/proxies/px1"))
    seen = [w.ok for w in writers]
    wait_for(lambda: all(w.ok > n + 20 for w, n in zip(writers, seen)))
    # Statements that run on it end; nothing new begins.
    wait_for(lambda: groups.a.sql("select count(*) from pg_stat_activity where usename = 'u_trust' "
                                  "and state <> 'idle'")[0][0] == 0)
    groups.a.stop("fast")
    put("/service/demo/1/leader", "as")
    groups.s.promote()
    groups.etcd.member(groups.s, "primary", 2, group=1)
    groups.etcd.delete("/service/demo/1/handover")
    assert only.execute("select inet_server_port()").fetchone() == (groups.s.port,)
    spread(px, groups.s, groups.b)
    seen = [w.ok for w in writers]
    wait_for(lambda: all(w.ok > n + 20 for w, n in zip(writers, seen)))
    for w in writers:
        w.stop()
    only.close()
    assert [w.errors for w in writers] == [[]] * 4
    assert [w.reconnects for w in writers] == [0] * 4
    for w in writers:
        assert w.ok == sum(pg.sql(f"select count(*) from t where a = {w.key}", db="db")[0][0]
                           for pg in (groups.s, groups.b))
