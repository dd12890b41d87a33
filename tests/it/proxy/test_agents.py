"""Proxy and agents together: who writes the keys is the real agent."""
import os
import sys
import threading
import time

import psycopg
import pytest

from conftest import Box, Proxy, free_port, wait_for
from test_hold import Writer

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import herd as herds  # noqa: E402

INI = """[pgherd]
dcs = etcd3://127.0.0.1:{etcd}
namespace = /service/
[listeners]
writes = port=@PORT@ cluster=batman role=primary
reads = port={reads} cluster=batman role=replica
[databases]
* = cluster=batman role=primary
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {plain}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = @DIR@/users.txt
auth_user = postgres
auth_dbname = postgres
admin_users = postgres
pool_mode = transaction
default_pool_size = 10
ignore_startup_parameters = extra_float_digits,options,search_path
"""


class AgentProxy(Proxy):
    def connect(self, db="postgres", user="app", password="apps", **kw):
        return super().connect(db=db, user=user, password=password, **kw)


@pytest.fixture
def both():
    box = Box()
    try:
        with herds.Herd(3) as h:
            h.wait_healthy()
            h.wait_streaming(2)
            leader = h.leader()
            leader.sql("create user app password 'apps'")
            leader.sql("create table t (a int, b text)")
            leader.sql("grant all on t to app")
            box.write("users.txt", f'"postgres" "{herds.PASSWORD}"\n', 0o600)
            px = AgentProxy(box, INI.format(etcd=h.etcd.port, reads=free_port(),
                                            plain=free_port()))
            yield h, px
    finally:
        box.close()


def rows(member, key):
    return member.sql(f"select count(*) from t where a = {key}")[0][0]


def test_switchover(both):
    herd, px = both
    old = herd.leader()
    writers = [Writer(px, k, transaction=k % 2) for k in range(4)]
    idle = px.connect()
    idle.execute("select 1")
    time.sleep(1)
    status, text = herd.switchover(herd.replicas()[0].name)
    assert status == 200, text
    new = herd.wait_leader(but=old)
    seen = [w.ok for w in writers]
    wait_for(lambda: all(w.ok > n + 20 for w, n in zip(writers, seen)))
    assert idle.execute("select pg_is_in_recovery()").fetchone() == (False,)
    herd.wait_streaming(2)
    for w in writers:
        w.stop()
    idle.close()
    print("longest:", [f"{w.longest * 1000:.0f} ms" for w in writers])
    assert [w.errors for w in writers] == [[]] * 4
    assert [w.reconnects for w in writers] == [0] * 4
    assert [rows(new, w.key) for w in writers] == [w.ok for w in writers]


def test_crash_of_the_postmaster(both):
    herd, px = both
    writers = [Writer(px, k) for k in range(3)]
    idle = px.connect()
    idle.execute("select 1")
    late = []
    time.sleep(1)
    herd.leader().kill_postgres()
    newcomer = threading.Thread(target=lambda: late.append(px.sql("select 5")), daemon=True)
    newcomer.start()
    seen = [w.ok for w in writers]
    wait_for(lambda: all(w.ok > n + 20 for w, n in zip(writers, seen)), 40)
    newcomer.join(30)
    assert late == [[(5,)]]
    assert idle.execute("select pg_is_in_recovery()").fetchone() == (False,)
    for w in writers:
        w.stop()
    idle.close()
    print("errors:", [w.errors for w in writers], [f"{w.longest * 1000:.0f} ms" for w in writers])
    assert all(len(w.errors) <= 1 for w in writers)


def test_unknown_password(both):
    herd, px = both
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        px.sql("select 1", password="wrong")
    assert px.sql("select current_user") == [("app",)]
