"""The REST API as HAProxy, monitoring and people call it: one herd through its roles and states.

A file of its own for the table of endpoint x role x state, access, and what bad clients do.
"""
import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time

import pytest

import herd as herds
from herd import PGHERD, Herd, free_port


def wait_for(fn, seconds=60, what="condition"):
    """With patience: other suites may run beside this one."""
    return herds.wait_for(fn, max(seconds, 60), what)


HEALTH = ["/", "/primary", "/master", "/read-write", "/standby-leader", "/standby_leader",
          "/leader", "/replica", "/read-only", "/health", "/sync", "/synchronous", "/quorum",
          "/async", "/asynchronous", "/read-only-sync", "/read-only-synchronous",
          "/read-only-quorum", "/liveness", "/readiness"]
LEADER = {"/", "/primary", "/master", "/read-write", "/leader", "/read-only", "/health",
          "/read-only-sync", "/read-only-synchronous", "/read-only-quorum", "/liveness",
          "/readiness"}
REPLICA = {"/replica", "/read-only", "/health", "/async", "/asynchronous", "/liveness",
           "/readiness"}
SYNC = REPLICA - {"/async", "/asynchronous"} | {"/sync", "/synchronous", "/read-only-sync",
                                                "/read-only-synchronous"}
QUORUM = REPLICA - {"/async", "/asynchronous"} | {"/quorum", "/read-only-quorum"}


def good(m, method="GET"):
    """The health checks that answer 200; every other one must answer 503."""
    answers = {p: m.request(method, p, timeout=5) for p in HEALTH}
    assert {s for s, _ in answers.values()} <= {200, 503}
    return {p for p, (status, _) in answers.items() if status == 200}


def shows(m, paths, seconds=30):
    wait_for(lambda: good(m) == paths, seconds, f"{m.name}: {sorted(paths)}")
    for method in ("HEAD", "OPTIONS"):
        assert good(m, method) == paths


@pytest.fixture(scope="module")
def herd():
    patch = {"tags": {"zone": "b", "rack": 3, "fast": True},
             "restapi": {"allowlist": ["192.0.2.0/24", "localhost"], "server_tokens": "minimal",
                         "http_extra_headers": {"X-Frame-Options": "SAMEORIGIN", "X-N": 1},
                         "https_extra_headers": {"X-Tls": "never"}}}
    with Herd(2, dcs={"ttl": 10}, patch=patch) as h:
        h.wait_healthy()
        yield h


def pair(herd):
    leader = herd.wait_healthy()
    return leader, herd.replicas()[0]


def test_health_by_role(herd):
    leader, replica = pair(herd)
    shows(leader, LEADER)
    shows(replica, REPLICA)
    # A trailing path counts for nothing; a document's HEAD is its GET's status.
    assert leader.get("/patroni/x")[0] == 200 == leader.request("HEAD", "/patroni")[0]
    assert leader.get("/nothing")[0] == 503
    assert leader.request("HEAD", "/failsafe")[0] == 502


def test_synchronous(herd):
    leader, replica = pair(herd)
    for mode, paths, key in (("on", SYNC, "sync_standby"), ("quorum", QUORUM, "quorum_standby")):
        assert leader.request("PATCH", "/config", {"synchronous_mode": mode})[0] == 200
        shows(replica, paths)
        shows(leader, LEADER)
        assert replica.status()[key] is True
        role = {m["name"]: m["role"] for m in json.loads(leader.get("/cluster")[1])["members"]}
        assert role == {leader.name: "leader", replica.name: key}
    leader.request("PATCH", "/config", {"synchronous_mode": None})
    shows(replica, REPLICA)


def test_parameters(herd):
    leader, replica = pair(herd)

    def settles(m, path, status):
        wait_for(lambda: m.get(path)[0] == status, 30, f"{m.name} {path}: {status}")

    leader.sql("create table big as select generate_series(1, 200000) i")
    settles(replica, "/replica?lag=0", 200)
    # What is no size is no limit, and the leader is never behind.
    for query, status in (("lag=1GB", 200), ("lag=16MB", 200), ("lag=many", 200), ("lag=-1", 503),
                          ("replication_state=streaming", 200), ("replication_state=in%20archive",
                                                                 503),
                          ("tag_zone=b", 200), ("tag_zone=c", 503), ("tag_rack=3", 200),
                          ("tag_fast=true", 200), ("tag_fast=True", 503), ("tag_none=1", 503),
                          ("tag_zone=b&tag_rack=4", 503), ("lag", 200), ("%zz=&&==", 200)):
        settles(replica, "/replica?" + query, status)
        if query != "lag=-1":
            settles(replica, "/read-only?" + query, status)
        settles(leader, "/primary?" + query, 200)
        settles(leader, "/read-only?" + query, 200)
    for query in ("lag=1MB", "mode=write", "mode=apply&lag=10MB", "lag=x"):
        settles(replica, "/readiness?" + query, 200)

    # A query on the standby holds the replay up.
    leader.sql("create table small as select 1 as i")
    wait_for(lambda: replica.sql("select count(*) from small") == [(1,)])
    with contextlib.closing(replica.connect()) as c, c.cursor() as cur:
        c.autocommit = False
        cur.execute("select * from small")
        leader.sql("truncate small")
        leader.sql("create table big2 as select generate_series(1, 200000) i")
        settles(replica, "/replica?lag=1MB", 503)
        settles(replica, "/replica", 200)
        settles(replica, "/replica?lag=1GB", 200)
        settles(replica, "/readiness?mode=apply", 503)
        settles(replica, "/readiness?mode=write", 200)
        settles(replica, "/readiness?lag=1GB", 200)
    settles(replica, "/replica?lag=0", 200)


def patronis(v):
    """Patroni's keys in their order; ours are between them."""
    return [k for k in v if k not in ("guard", "rejoin", "storage", "progress")]


def test_status(herd):
    leader, replica = pair(herd)
    status, text = leader.get("/patroni")
    v = json.loads(text)
    assert status == 200
    assert patronis(v) == ["state", "postmaster_start_time", "role", "server_version", "xlog",
                           "timeline", "replication", "dcs_last_seen", "tags",
                           "database_system_identifier", "patroni"]
    start = leader.sql("select to_char(pg_postmaster_start_time(), "
                       "'YYYY-MM-DD HH24:MI:SS.USTZH:TZM'), "
                       "(select system_identifier::text from pg_control_system()), "
                       "current_setting('server_version_num')::int")[0]
    assert (v["postmaster_start_time"], v["database_system_identifier"],
            v["server_version"]) == start
    assert v["state"] == "running" and v["role"] == "primary"
    assert list(v["xlog"]) == ["location"]
    assert v["replication"] == [{"usename": "replicator", "application_name": replica.name,
                                 "client_addr": "127.0.0.1", "state": "streaming",
                                 "sync_state": "async", "sync_priority": 0}]
    assert v["tags"] == {"zone": "b", "rack": 3, "fast": True}
    assert v["patroni"] == {"version": v["patroni"]["version"], "scope": "batman",
                            "name": leader.name}
    assert abs(v["dcs_last_seen"] - time.time()) < 30
    assert json.loads(leader.get("/")[1]).keys() == v.keys()

    v = replica.status()
    assert patronis(v) == ["state", "postmaster_start_time", "role", "server_version", "xlog",
                           "timeline", "replication_state", "dcs_last_seen", "tags",
                           "database_system_identifier", "patroni"]
    assert list(v["xlog"]) == ["received_location", "replayed_location", "replayed_timestamp",
                               "paused"]
    assert v["role"] == "replica" and v["replication_state"] == "streaming"


def test_cluster(herd):
    leader, replica = pair(herd)
    v = json.loads(leader.get("/cluster")[1])
    assert list(v) == ["members", "scope"] and v["scope"] == "batman"
    a, b = sorted(v["members"], key=lambda m: m["role"])
    assert [m["name"] for m in v["members"]] == ["n1", "n2"]
    assert list(a) == ["name", "role", "state", "api_url", "host", "port", "timeline", "tags"]
    assert list(b) == ["name", "role", "state", "api_url", "host", "port", "timeline", "tags",
                       "receive_lsn", "receive_lag", "replay_lsn", "replay_lag", "lsn", "lag"]
    assert (a["name"], a["state"], a["host"], a["port"], a["api_url"]) == (
        leader.name, "running", "127.0.0.1", leader.port,
        f"http://127.0.0.1:{leader.rest}/patroni")
    assert b["state"] == "streaming" and re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", b["replay_lsn"])
    assert json.loads(leader.get("/history")[1]) == json.loads(
        herd.keys().get("/service/batman/history", "[]"))
    assert json.loads(leader.get("/config")[1]) == json.loads(herd.keys()["/service/batman/config"])


def test_config(herd):
    leader, replica = pair(herd)
    config = json.loads(leader.get("/config")[1])
    assert json.loads(replica.request("PATCH", "/config", {"x": {"y": 1, "z": [2]}})[1])["x"] == {
        "y": 1, "z": [2]}
    assert json.loads(leader.request("PATCH", "/config", {"x": {"y": None}})[1])["x"] == {"z": [2]}
    for method in ("PATCH", "PUT"):
        for body in ("{", "[]", "{}", "null", "1", ""):
            status, text = raw_body(leader, method, "/config", body)
            assert status == 400 and "Bad Request" in text, (method, body)
        assert raw_body(leader, method, "/config", None)[0] == 411
    status, text = leader.request("PUT", "/config", config)
    assert status == 200 and json.loads(text) == config
    wait_for(lambda: json.loads(replica.get("/config")[1]) == config)
    # Two at a time: one may be told that it came second, none is lost without a word.
    answers = [m.request("PATCH", "/config", {f"k{i}": i})[0]
               for i, m in enumerate([leader, replica] * 3)]
    assert set(answers) <= {200, 409}
    got = json.loads(herd.keys()["/service/batman/config"])
    assert all((f"k{i}" in got) == (s == 200) for i, s in enumerate(answers))
    assert leader.request("PUT", "/config", config)[0] == 200


def raw_body(m, method, path, body):
    c = http.client.HTTPConnection("127.0.0.1", m.rest, timeout=20)
    with contextlib.closing(c):
        c.putrequest(method, path)
        if body is not None:
            c.putheader("Content-Length", str(len(body)))
        c.endheaders(body.encode() if body else None)
        r = c.getresponse()
        return r.status, r.read().decode()


WORDS = [
    # method, path, body, status, text
    ("POST", "/switchover", {"leader": ""}, 400,
     "Switchover could be performed only from a specific leader"),
    ("POST", "/switchover", {"candidate": "B"}, 400,
     "Switchover could be performed only from a specific leader"),
    ("POST", "/switchover", {"leader": "A", "candidate": "A"}, 400,
     "Switchover target and source are the same"),
    ("POST", "/switchover", {"leader": "B"}, 412, "leader name does not match"),
    ("POST", "/switchover", {"leader": "A", "candidate": "x"}, 412, "candidate does not exists"),
    ("POST", "/switchover", {"leader": "A", "scheduled_at": "soon"}, 422,
     "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"),
    ("POST", "/switchover", {"leader": "A", "scheduled_at": 1}, 422,
     "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"),
    ("POST", "/switchover", {"leader": "A", "scheduled_at": "2036-01-01T00:00"}, 400,
     "Timezone information is mandatory for the scheduled switchover"),
    ("POST", "/switchover", {"leader": "A", "scheduled_at": "2016-01-01T00:00Z"}, 422,
     "Cannot schedule switchover in the past"),
    ("DELETE", "/switchover", None, 404, "no switchover is scheduled"),
    ("POST", "/failover", {"leader": "B", "candidate": "B"}, 400,
     "Switchover target and source are the same"),
    ("POST", "/failover", {"leader": "x", "candidate": "B"}, 412, "leader name does not match"),
    ("POST", "/failover", {"x": 1}, 400,
     "Failover could be performed only to a specific candidate"),
    ("POST", "/failover", {"member": "x"}, 412, "candidate does not exists"),
    ("POST", "/failover", {"candidate": "B", "scheduled_at": "2036-01-01T00:00Z"}, 400,
     "Failover can't be scheduled"),
    ("POST", "/restart", {"foo": 1}, 400, "Unknown filter for the scheduled restart: foo"),
    ("POST", "/restart", {"role": "boss"}, 400,
     "PostgreSQL role should be either primary, standby_leader, or replica"),
    ("POST", "/restart", {"role": "replica"}, 503, "restart conditions are not satisfied"),
    ("POST", "/restart", {"postgres_version": "x"}, 400, "Invalid PostgreSQL version: x"),
    ("POST", "/restart", {"postgres_version": "15"}, 400,
     "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 15"),
    ("POST", "/restart", {"postgres_version": "9.6.1"}, 503,
     "restart conditions are not satisfied"),
    ("POST", "/restart", {"timeout": "x"}, 400, "Timeout should be a positive number of seconds"),
    ("POST", "/restart", {"timeout": 0}, 400, "Timeout should be a positive number of seconds"),
    ("POST", "/restart", {"restart_pending": True, "timeout": "1min"}, 503,
     "restart conditions are not satisfied"),
    ("POST", "/restart", {"schedule": "x"}, 422,
     "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"),
    ("POST", "/restart", {"schedule": "2036-01-01T00:00"}, 400,
     "Timezone information is mandatory for the scheduled restart"),
    ("POST", "/restart", {"schedule": "2016-01-01T00:00Z"}, 422,
     "Cannot schedule restart in the past"),
    ("DELETE", "/restart", None, 404, "no restarts are scheduled"),
    ("POST", "/reinitialize", None, 503, "I am the leader, can not reinitialize"),
    ("POST", "/citus", {"type": "x"}, 200, "OK"),
    ("POST", "/mpp", {"type": "x"}, 200, "OK"),
    ("POST", "/reload", None, 202, "reload scheduled"),
    ("POST", "/sigterm", None, 202, "shutdown scheduled"),
]


def test_words(herd):
    leader, replica = pair(herd)
    names = {"A": leader.name, "B": replica.name}
    for method, path, body, status, text in WORDS:
        body = body and {k: names.get(v, v) for k, v in body.items()}
        assert leader.request(method, path, body) == (status, text), (method, path, body)
    for method, path in (("POST", "/x"), ("PUT", "/x"), ("PATCH", "/patroni"), ("DELETE", "/"),
                         ("PROPFIND", "/"), ("TRACE", "/")):
        status, text = leader.request(method, path)
        assert status == 501 and "Server does not support this operation" in text, method
    for path in ("/switchover", "/failover", "/citus"):
        assert leader.request("POST", path)[0] in (400, 411)
    assert leader.request("POST", "/failsafe", {"name": "x"})[0] in (500, 502)
    assert replica.request("POST", "/failsafe", {"name": "x"})[0] == 502
    assert leader.get("/failsafe")[0] == 502


def test_scheduled(herd):
    leader, replica = pair(herd)
    filters = {"schedule": "2036-01-01 01:30+01:00", "role": "primary", "postgres_version": "16.1",
               "timeout": "1min", "restart_pending": True}
    assert leader.request("POST", "/restart", filters) == (202, "Restart scheduled")
    assert leader.request("POST", "/restart", {"schedule": "2036-01-01T00:00Z"}) == (
        409, "Another restart is already scheduled")
    want = {"schedule": "2036-01-01T01:30:00+01:00", "role": "primary",
            "postgres_version": "16.1", "timeout": 60, "restart_pending": True}
    assert leader.status()["scheduled_restart"] == want

    def published():
        member = next(m for m in json.loads(replica.get("/cluster")[1])["members"]
                      if m["name"] == leader.name)
        return member.get("scheduled_restart")
    want["postmaster_start_time"] = leader.status()["postmaster_start_time"]
    wait_for(lambda: published() == want)
    assert leader.request("DELETE", "/restart") == (200, "scheduled restart deleted")
    wait_for(lambda: not published())

    assert leader.request("POST", "/switchover", {
        "leader": leader.name, "candidate": replica.name,
        "scheduled_at": "2036-01-01T00:00Z"}) == (202, "Switchover scheduled")
    wait_for(lambda: json.loads(replica.get("/cluster")[1]).get("scheduled_switchover") == {
        "at": "2036-01-01T00:00:00+00:00", "from": leader.name, "to": replica.name})
    assert json.loads(herd.keys()["/service/batman/failover"]) == {
        "leader": leader.name, "member": replica.name, "scheduled_at": "2036-01-01T00:00:00+00:00"}
    assert wait_for(lambda: leader.request("DELETE", "/switchover")) == (
        200, "scheduled switchover deleted")

    # Due: once, and only where the server is still the one that was meant.
    before = replica.status()["postmaster_start_time"]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    assert replica.request("POST", "/restart", {"schedule": at, "role": "replica"})[0] == 202
    wait_for(lambda: replica.status().get("postmaster_start_time", before) != before, 40)
    assert replica.request("POST", "/restart", {"schedule": "2036-01-01T00:00Z"})[0] == 202
    assert replica.request("POST", "/restart", {}) == (200, "restarted successfully")
    wait_for(lambda: "scheduled_restart" not in replica.status())


def test_pause_and_states(herd):
    leader, replica = pair(herd)
    assert leader.request("PATCH", "/config", {"pause": True})[0] == 200
    wait_for(lambda: replica.status().get("pause") and leader.status().get("pause"))
    assert json.loads(leader.get("/cluster")[1])["pause"] is True
    for method, path, body, status, text in (
            ("POST", "/restart", {"schedule": "2036-01-01T00:00Z"}, 500,
             "Can't schedule restart in the paused state"),
            ("POST", "/switchover", {"leader": leader.name}, 400,
             "Switchover is possible only to a specific candidate in a paused state"),
            ("POST", "/switchover", {"leader": leader.name, "scheduled_at": "2036-01-01T00:00Z"},
             400, "Can't schedule switchover in the paused state")):
        assert leader.request(method, path, body) == (status, text)
    shows(leader, LEADER)
    shows(replica, REPLICA)
    # A server that is gone: alive, and nothing else.
    os.kill(replica.postmaster(), signal.SIGQUIT)
    shows(replica, {"/liveness"})
    v = replica.status()
    assert v["state"] in ("crashed", "stopped") and v["role"] == "replica" and "xlog" not in v
    assert leader.request("PATCH", "/config", {"pause": None})[0] == 200
    shows(replica, REPLICA, 60)


def test_server_hangs(herd):
    _, replica = pair(herd)
    pm = replica.postmaster()
    pids = [pm] + [int(p) for p in subprocess.run(["pgrep", "-P", str(pm)], text=True,
                                                  capture_output=True).stdout.split()]
    for p in pids:
        os.kill(p, signal.SIGSTOP)
    try:
        shows(replica, {"/liveness"}, 60)
        v = replica.status()
        assert v["state"] == "unknown" and v["role"] == "replica" and "xlog" not in v
        assert re.search(r"patroni_postgres_state\{.*\} -1\n", replica.get("/metrics")[1])
    finally:
        for p in pids:
            os.kill(p, signal.SIGCONT)
    shows(replica, REPLICA, 60)


def test_store_away(herd):
    leader, replica = pair(herd)
    herd.etcd.stop()
    wait_for(lambda: leader.get("/primary")[0] == 503, 40, "the lease ends")
    wait_for(lambda: good(leader) & {"/primary", "/leader", "/read-write"} == set())
    # Nothing new can be had from the store, and nobody knows who is synchronous.
    wait_for(lambda: good(replica) & {"/replica", "/async"} == {"/replica"}, 30)
    assert leader.get("/cluster")[0] == 503
    assert leader.get("/config")[0] == 200
    assert leader.request("PATCH", "/config", {"x": 1}, timeout=60)[0] == 503
    herd.etcd.start()
    herd.wait_healthy()


def test_access_list_and_headers(herd):
    leader, _ = pair(herd)
    assert leader.request("POST", "/reload") == (202, "reload scheduled")  # by name: localhost
    c = http.client.HTTPConnection("127.0.0.1", leader.rest, timeout=20)
    with contextlib.closing(c):
        for path in ("/patroni", "/config", "/metrics"):
            c.request("GET", path)  # one connection
            r = c.getresponse()
            r.read()
            assert r.getheader("Server").startswith("Patroni/")
            assert r.getheader("X-Frame-Options") == "SAMEORIGIN" and r.getheader("X-N") == "1"
            assert not r.getheader("X-Tls")
    path = leader.dir / "config.yml"
    config = json.loads(path.read_text())
    config["restapi"]["allowlist"] = ["192.0.2.0/24", "2001:db8::/32", "no-such-host.invalid"]
    config["restapi"]["server_tokens"] = "productonly"
    path.write_text(json.dumps(config))
    leader.process.send_signal(signal.SIGHUP)
    wait_for(lambda: leader.request("POST", "/reload") == (403, "Access is denied"), 30)
    assert leader.get("/primary")[0] == 200
    assert leader.request("POST", "/unknown")[0] == 501
    config["restapi"]["allowlist_include_members"] = True
    path.write_text(json.dumps(config))
    leader.process.send_signal(signal.SIGHUP)
    wait_for(lambda: leader.request("POST", "/reload") == (202, "reload scheduled"), 30)


def talk(port, data, seconds=20, end=True):
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as s:
        out = b""
        with contextlib.suppress(OSError):
            s.sendall(data)
            if end:
                s.shutdown(socket.SHUT_WR)
            while piece := s.recv(65536):
                out += piece
        return out


def test_bad_clients(herd):
    leader, _ = pair(herd)
    assert talk(leader.rest, b"garbage\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert talk(leader.rest, b"GET / HTTP/1.0\r\n" + b"X: y\r\n" * 50000 + b"\r\n")[:12] in (
        b"HTTP/1.1 400", b"HTTP/1.0 400", b"")
    assert b"413" in talk(leader.rest, b"POST /restart HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
                          end=False)[:20]
    both = talk(leader.rest, b"GET /liveness HTTP/1.1\r\nHost: x\r\n\r\n" * 2 +
                b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", end=False)
    assert both.count(b"HTTP/1.1 200") == 3
    # Many that say nothing: the health check is answered all the same.
    silent = []
    try:
        for _ in range(600):
            silent.append(socket.create_connection(("127.0.0.1", leader.rest), timeout=20))
        assert leader.get("/primary")[0] == 200
    finally:
        for s in silent:
            s.close()
    assert leader.get("/primary")[0] == 200


def certificates(d):
    def run(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=d)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "ca.key", "-out",
        "ca.crt", "-subj", "/CN=test ca")
    for name in ("one", "two", "client"):
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out",
            f"{name}.csr", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-copy_extensions", "copy", "-out", f"{name}.crt")
    run("rsa", "-aes128", "-passout", "pass:geheim", "-in", "one.key", "-out", "one.enc")


def test_tls(tmp_path):
    """Encrypted key, client certificates, new certificates and a new address by SIGHUP."""
    tmp_path.chmod(0o755)
    for p in tmp_path.parents:
        if str(p).startswith("/tmp/"):
            p.chmod(0o755)
    certificates(tmp_path)
    for f in tmp_path.iterdir():
        f.chmod(0o644)
    t = str(tmp_path)
    patch = {"restapi": {"certfile": f"{t}/one.crt", "keyfile": f"{t}/one.enc",
                         "keyfile_password": "geheim", "cafile": f"{t}/ca.crt",
                         "ciphers": "HIGH:!aNULL", "verify_client": "optional",
                         "https_extra_headers": {"Strict-Transport-Security": "max-age=1"},
                         "authentication": {"username": "u", "password": "p:w"}},
             "ctl": {"cacert": f"{t}/ca.crt", "certfile": f"{t}/client.crt",
                     "keyfile": f"{t}/client.key"}}

    def ask(method, path, port, cert=True, auth=None):
        context = ssl.create_default_context(cafile=f"{t}/ca.crt")
        if cert:
            context.load_cert_chain(f"{t}/client.crt", f"{t}/client.key")
        c = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
        with contextlib.closing(c):
            c.request(method, path, headers={"Authorization": "Basic " + base64.b64encode(
                auth.encode()).decode()} if auth else {})
            r = c.getresponse()
            who = dict(x[0] for x in c.sock.getpeercert()["subject"])["commonName"] if c.sock else 0
            return r.status, r.read().decode(), who, r

    with Herd(1, patch=patch) as herd:
        m = herd.members[0]
        wait_for(lambda: ask("GET", "/primary", m.rest)[0] == 200, 90, "a leader")
        assert ask("GET", "/primary", m.rest, cert=False)[0] == 200
        assert ask("POST", "/reload", m.rest, cert=False)[:2] == (403, "client certificate required")
        status, text, _, r = ask("POST", "/reload", m.rest)
        assert (status, text) == (401, "no auth header received")
        assert r.getheader("WWW-Authenticate") == 'Basic realm="Patroni"'
        assert r.getheader("Strict-Transport-Security") == "max-age=1"
        assert ask("POST", "/reload", m.rest, auth="u:no")[:2] == (401, "not authenticated")
        assert ask("POST", "/reload", m.rest, auth="u:p:w")[0] == 202

        # ctl and its settings: whom it trusts, what it shows, --insecure.
        path = m.dir / "config.yml"
        config = json.loads(path.read_text())
        ctl_config = {k: config[k] for k in ("scope", "etcd3", "ctl")}
        ctl_config["ctl"]["authentication"] = config["restapi"]["authentication"]

        def ctl(*options, **changes):
            settings = dict(ctl_config, ctl={**ctl_config["ctl"], **changes})
            (tmp_path / "ctl.yml").write_text(json.dumps(settings))
            done = subprocess.run([PGHERD, "ctl", "-c", f"{t}/ctl.yml", *options, "reload",
                                   "batman", "--force"], capture_output=True, text=True, timeout=60)
            return done.stdout + done.stderr
        assert "Reload request received for member n1" in ctl()
        assert "client certificate required" in ctl(certfile=None, keyfile=None)
        assert "no auth header received" in ctl(authentication=None)
        assert "Reload request received" not in ctl(cacert=f"{t}/client.crt")
        assert "Reload request received" in ctl(cacert=f"{t}/client.crt", insecure=True)
        assert "Reload request received" in ctl("-k", cacert=f"{t}/client.crt")

        config["restapi"].update(certfile=f"{t}/two.crt", keyfile=f"{t}/two.key",
                                 verify_client="required")
        path.write_text(json.dumps(config))
        m.process.send_signal(signal.SIGHUP)

        def refused():
            try:
                ask("GET", "/primary", m.rest, cert=False)
            except (ssl.SSLError, ConnectionError):
                return True
        wait_for(refused, 30, "a client certificate is required")
        port = free_port()
        config["restapi"].update(listen=f"[::]:{port}", connect_address=f"127.0.0.1:{port}")
        path.write_text(json.dumps(config))
        m.process.send_signal(signal.SIGHUP)
        wait_for(lambda: ask("GET", "/primary", port)[0] == 200, 30, "the new address")
        with socket.socket(socket.AF_INET6) as s:
            s.settimeout(20)
            s.connect(("::1", port))
        wait_for(lambda: f":{port}/" in herd.keys()["/service/batman/members/n1"])
