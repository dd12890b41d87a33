"""A primary and two standbys behind one database name, and a proxy that splits reads."""
import psycopg

from conftest import Box, Etcd, Postgres, Proxy, free_port, prepare, users, wait_for

INI = """[pgherd]
dcs = etcd3://127.0.0.1:{etcd}
namespace = service
worker_threads = 2
proxy_id = px1
hold_timeout = 20
{ours}
[databases]
{databases}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir =
auth_type = trust
auth_file = @DIR@/users.txt
admin_users = admin
pool_mode = transaction
default_pool_size = 6
verbose = 1
"""


class Trio:
    def __init__(self):
        self.box = Box()
        try:
            users(self.box)
            self.a = Postgres(self.box, "a")
            prepare(self.a)
            self.b = Postgres(self.box, "b", primary=self.a)
            self.c = Postgres(self.box, "c", primary=self.a)
            self.etcd = Etcd(self.box)
            self.etcd.put("/service/demo/0/initialize", str(self.a.system_id()))
            self.etcd.member(self.a, "primary")
            self.etcd.member(self.b, "replica")
            self.etcd.member(self.c, "replica")
            self.etcd.put("/service/demo/0/leader", "a")
        except BaseException:
            self.box.close()
            raise

    def proxy(self, databases, ours="", name="proxy"):
        return Proxy(self.box, INI.format(etcd=self.etcd.port, databases=databases, ours=ours),
                     name=name)

    def pause(self, *standbys):
        for pg in standbys:
            pg.sql("select pg_wal_replay_pause()")
            wait_for(lambda: pg.sql("select pg_get_wal_replay_pause_state()")[0][0] == "paused")

    def resume(self, *standbys):
        for pg in standbys:
            pg.sql("select pg_wal_replay_resume()")

    def caught_up(self):
        lsn = self.a.sql("select pg_current_wal_lsn()")[0][0]
        for pg in (self.b, self.c):
            wait_for(lambda: pg.sql(f"select pg_last_wal_replay_lsn() >= '{lsn}'")[0][0], 30)


PORT = "select current_setting('port')::int, pg_is_in_recovery()"


def standby(conn_or_cursor, prefix=""):
    """Is it served by a standby?"""
    return conn_or_cursor.execute(prefix + "select pg_is_in_recovery()").fetchone()[0]


def warm(px):
    """The first connections to both places are there."""
    def replica():
        with px.connect(autocommit=False) as c:
            c.read_only = True
            return standby(c)
    px.sql("select 1")
    wait_for(replica, 60)
    return px


def routes(px, db="db"):
    return {r["reason"]: int(r["total"]) for r in px.console("show routes") if r["database"] == db}


__all__ = ["PORT", "Trio", "free_port", "psycopg", "routes", "standby", "wait_for", "warm"]
