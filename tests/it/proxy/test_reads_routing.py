"""Which server a route means: by lag, zone, failures and load, by the store or by the members' own
word. One primary and two standbys for all checks; the last ones change who leads."""
import http.server
import json
import threading
import time

import psycopg
import pytest

from conftest import Box, Etcd, Postgres, Proxy, free_port, prepare, users, wait_for

INI = """[pgherd]
{source}
namespace = service
worker_threads = 2
proxy_id = {ident}
hold_timeout = {hold}
{herd}
[listeners]
reads = port=@PORT@ cluster=demo group=0 role=replica dbname=db {reads}
[databases]
db = cluster=demo group=0 role=primary
any = cluster=demo group=0 role=any dbname=db
near = cluster=demo group=0 role=replica dbname=db max_lag=1MB
soon = cluster=demo group=0 role=replica dbname=db max_lag=5s
sure = cluster=demo group=0 role=replica dbname=db max_lag=1MB fallback=primary
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {plain}
unix_socket_dir =
auth_type = trust
auth_file = @DIR@/users.txt
admin_users = admin
pool_mode = transaction
default_pool_size = 6
server_login_retry = 1
"""


class Rest(http.server.ThreadingHTTPServer):
    """The agents' REST API: GET /<member>/patroni and GET /cluster."""
    daemon_threads = True

    def __init__(self):
        self.said, self.port = {}, free_port()
        super().__init__(("127.0.0.1", self.port), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/{name}/patroni"


class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        said = self.server.said
        if self.path == "/cluster":
            members = [{"name": n, "host": "127.0.0.1", "port": v["_port"],
                        "api_url": self.server.url(n)} for n, v in said.items()]
            body = {"scope": "demo", "members": members}
        else:
            body = said.get(self.path.split("/")[1])
            if body is None or body.get("_silent"):
                self.close_connection = True
                return
        text = json.dumps(body).encode()
        self.send_response(200 if body.get("role") == "primary" or "members" in body else 503)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Three:
    """a leads b and c; somebody writes what their agents would write and say."""

    def __init__(self, box):
        self.box = box
        self.a = Postgres(box, "a")
        prepare(self.a)
        self.b = Postgres(box, "b", primary=self.a)
        self.c = Postgres(box, "c", primary=self.a)
        self.etcd = Etcd(box)
        self.rest = Rest()
        box.ends.append(self.rest.shutdown)
        self.etcd.put("/service/demo/0/initialize", str(self.a.system_id()))
        self.reset()

    def reset(self):
        self.member("a", "primary")
        self.member("b", zone="east")
        self.member("c", zone="west")
        self.etcd.put("/service/demo/0/leader", "a")

    def member(self, name, role="replica", timeline=1, behind=0, state="running", seconds=0,
               silent=False, **tags):
        end = 100 << 20
        port = getattr(self, name).port
        doc = {"conn_url": f"postgres://127.0.0.1:{port}/postgres", "api_url": self.rest.url(name),
               "state": state, "role": role, "version": "4.1.0", "timeline": timeline,
               "xlog_location": end - behind, "tags": tags}
        self.etcd.put(f"/service/demo/0/members/{name}", doc)
        then = time.strftime("%Y-%m-%d %H:%M:%S+00:00", time.gmtime(time.time() - seconds))
        xlog = {"location": end} if role == "primary" else {
            "received_location": end - behind, "replayed_location": end - behind,
            "replayed_timestamp": then, "paused": False}
        self.rest.said[name] = {
            "state": state, "role": role, "timeline": timeline, "xlog": xlog, "tags": tags,
            "database_system_identifier": str(self.a.system_id_text),
            "patroni": {"version": "4.1.0", "scope": "demo", "name": name},
            "_port": port, "_silent": silent}

    def name_of(self, port):
        return {getattr(self, n).port: n for n in "abc"}[port]


class Postgres(Postgres):
    @property
    def system_id_text(self):
        if not hasattr(self, "_id"):
            self._id = self.system_id()
        return self._id


class RouteProxy(Proxy):
    def __init__(self, three, ident, herd="", reads="", source=None, hold=20):
        self.three, self.plain = three, free_port()
        source = source or f"dcs = etcd3://127.0.0.1:{three.etcd.port}"
        super().__init__(three.box, INI.format(ident=ident, herd=herd, reads=reads, source=source,
                                               plain=self.plain, hold=hold), name=ident)

    def where(self, n=8, db="db", port=None):
        """Which servers n transactions of one client ran on."""
        with self.connect(db=db, port=port or self.port) as c:
            return {self.three.name_of(c.execute("select inet_server_port()").fetchone()[0])
                    for _ in range(n)}

    def named(self, db, **kw):
        return self.where(db=db, port=self.plain, **kw)

    def herd(self):
        with self.connect(db="pgbouncer", user="admin", port=self.plain,
                          cursor_factory=psycopg.ClientCursor) as c:
            cur = c.execute("show herd")
            names = [d.name for d in cur.description]
            return {r[2]: dict(zip(names, r)) for r in cur.fetchall()}


@pytest.fixture(scope="module")
def three():
    box = Box()
    users(box)
    try:
        yield Three(box)
    finally:
        box.close()


@pytest.fixture
def proxy(three):
    started = []

    def fn(ident, **kw):
        started.append(RouteProxy(three, ident, **kw))
        return started[-1]
    yield fn
    for p in started:
        p.kill()
        three.box.ends.remove(p.kill)


def test_load(three, proxy):
    px = proxy("load")
    wait_for(lambda: px.where() == {"b", "c"})
    with px.connect() as one, px.connect() as two:
        for _ in range(3):
            one.execute("begin")
            two.execute("begin")
            ports = {c.execute("select inet_server_port()").fetchone()[0] for c in (one, two)}
            one.execute("commit")
            two.execute("commit")
            assert len(ports) == 2
    assert px.named("any", n=12) <= {"a", "b", "c"}
    wait_for(lambda: px.named("any", n=12) == {"a", "b", "c"})
    herd = px.herd()
    assert herd["b"]["connections"] > 0 and herd["b"]["zone"] == "east"
    assert herd["b"]["ejected_ms"] == 0 and herd["a"]["leader"] == "yes"


def test_zone_and_tags(three, proxy):
    px = proxy("zone", herd="zone = west")
    assert px.where() == {"c"}
    three.member("c", zone="west", noloadbalance=True)
    wait_for(lambda: px.where() == {"b"})
    three.reset()
    # Clients of the far one are moved back one by one.
    wait_for(lambda: px.where() == {"c"})


def test_lag(three, proxy):
    px = proxy("lag", hold=2)
    wait_for(lambda: px.named("near") == {"b", "c"})
    with px.connect(db="near", port=px.plain) as stays:
        three.member("c", behind=2 << 20)
        wait_for(lambda: px.named("near") == {"b"})
        ports = {stays.execute("select inet_server_port()").fetchone()[0] for _ in range(6)}
        assert ports == {three.b.port}
        assert px.herd()["c"]["lag"] == 2 << 20
        wait_for(lambda: px.where() == {"b", "c"})
        three.member("b", behind=3 << 20)
        wait_for(lambda: px.named("sure") == {"a"})
        with pytest.raises(psycopg.OperationalError, match="no usable server"):
            stays.execute("select 1")
    three.reset()
    wait_for(lambda: px.named("near") == {"b", "c"})
    wait_for(lambda: px.named("sure", n=20) == {"b", "c"})


def test_lag_by_time(three, proxy):
    px = proxy("time")
    three.member("b", behind=10, seconds=60)
    wait_for(lambda: px.named("soon") == {"c"})
    three.reset()
    wait_for(lambda: px.named("soon") == {"b", "c"})


def test_ejected_and_readmitted(three, proxy):
    px = proxy("eject")
    wait_for(lambda: px.where() == {"b", "c"})
    with px.connect() as stays:
        stays.execute("select 1")
        three.b.stop("fast")
        # The store goes on saying that it runs: nobody hears of it all the same.
        for _ in range(30):
            assert stays.execute("select inet_server_port()").fetchone() == (three.c.port,)
        wait_for(lambda: px.herd()["b"]["ejected_ms"] > 0)
        assert px.herd()["b"]["last_error"]
        three.b.start()
        wait_for(lambda: {stays.execute("select inet_server_port()").fetchone()[0]
                          for _ in range(8)} == {three.b.port, three.c.port}, 40)
        assert px.herd()["b"]["failures"] == 0
    assert "member \"b\" can be used again" in px.log()


def test_reload_follows_a_new_cluster(three, proxy):
    px = proxy("reload")
    for key, value in (("initialize", str(three.a.system_id())), ("leader", "a")):
        three.etcd.put(f"/service/other/{key}", value)
    three.etcd.put("/service/other/members/a",
                   {"conn_url": f"postgres://127.0.0.1:{three.a.port}/postgres",
                    "state": "running", "role": "primary", "timeline": 1})
    with open(px.file) as f:
        text = f.read()
    px.box.write(px.name + ".ini", text.replace(
        "[databases]", "[databases]\nelse = cluster=other role=primary dbname=db"))
    px.console_reload = px.psql("reload", db="pgbouncer", user="admin")
    assert px.named("else", n=1) == {"a"}


def test_the_members_are_asked_when_the_store_is_away(three, proxy):
    px = proxy("away", hold=2)
    assert px.named("db", n=2) == {"a"}
    wait_for(lambda: px.herd()["a"]["source"] == "dcs")
    three.etcd.process.kill()
    three.etcd.process.wait()
    wait_for(lambda: px.herd()["a"]["source"] == "rest", 30)
    assert px.named("db", n=2) == {"a"}
    wait_for(lambda: px.where() == {"b", "c"})
    # Two that claim to lead on one timeline: nobody is trusted.
    three.rest.said["b"].update(role="primary", xlog={"location": 100 << 20})
    wait_for(lambda: px.herd()["a"]["leader"] == "no")
    with pytest.raises(psycopg.OperationalError, match="no usable server"):
        px.named("db", n=1)
    # The leader's agent falls silent, nobody else leads.
    three.rest.said["b"].update(role="replica", xlog={"replayed_location": 100 << 20})
    wait_for(lambda: px.herd()["a"]["leader"] == "yes")
    three.rest.said["a"]["_silent"] = True
    wait_for(lambda: px.herd()["a"]["leader"] == "no", 30)
    with pytest.raises(psycopg.OperationalError, match="no usable server"):
        px.named("db", n=1)
    # It answers again, and one on a newer timeline leads: the older one is stale.
    three.rest.said["a"]["_silent"] = False
    wait_for(lambda: px.herd()["a"]["leader"] == "yes", 30)


def test_members_as_the_only_source(three, proxy):
    """No store at all; and a primary that goes on running when another one leads."""
    px = proxy("only", source=f"rest = 0@127.0.0.1:{three.rest.port}")
    assert px.named("db", n=2) == {"a"}
    wait_for(lambda: px.where() == {"b", "c"})
    with px.connect(port=px.plain) as busy, px.connect(port=px.plain) as idle:
        idle.execute("select 1")
        busy.execute("begin")
        busy.execute("insert into t values (77, 'stale')")
        three.b.promote()
        three.rest.said["b"].update(role="primary", timeline=2, xlog={"location": 100 << 20})
        # a says that it leads, too: on an older timeline.
        wait_for(lambda: px.herd()["b"]["leader"] == "yes")
        assert idle.execute("select inet_server_port()").fetchone() == (three.b.port,)
        with pytest.raises(psycopg.OperationalError, match="does not lead any more"):
            busy.execute("insert into t values (77, 'stale')")
        idle.execute("insert into t values (78, 'new')")
    assert three.a.sql("select count(*) from t where a in (77, 78)", db="db") == [(0,)]
    assert three.b.sql("select count(*) from t where a = 78", db="db") == [(1,)]


def test_a_primary_that_only_reads_is_given_up(three, proxy):
    px = proxy("fenced", source=f"rest = 0@127.0.0.1:{three.rest.port}")
    assert px.named("db", n=2) == {"b"}
    three.b.sql("alter system set default_transaction_read_only = on", "select pg_reload_conf()")
    with px.connect(port=px.plain) as c:
        wait_for(lambda: c.execute("show default_transaction_read_only").fetchone() == ("on",))
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            c.execute("insert into t values (1, '')")
        assert "read only: not used as a primary any more" in px.log()
        # What only the user wished does no harm to the server.
        three.b.sql("set default_transaction_read_only = off",
                    "alter system reset default_transaction_read_only", "select pg_reload_conf()")
        wait_for(lambda: c.execute("show default_transaction_read_only").fetchone() == ("off",))
        pid = c.execute("select pg_backend_pid()").fetchone()
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), c.transaction():
            c.execute("set transaction read only")
            c.execute("insert into t values (1, '')")
        assert c.execute("select pg_backend_pid()").fetchone() == pid
