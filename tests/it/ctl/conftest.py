"""A real etcd, members that are small HTTP servers, and the ctl under test."""
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lib"))

from ports import free_port  # noqa: E402,F401

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
PGHERD = os.environ.get("PGHERD", os.path.join(ROOT, "build/pgherd"))


class Etcd:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="herd-ctl-")
        self.port, peer = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            ["etcd", "--data-dir", self.dir, "--listen-client-urls", self.url,
             "--advertise-client-urls", self.url,
             "--listen-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--unsafe-no-fsync"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                urllib.request.urlopen(self.url + "/health", timeout=1)
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("etcd does not start")

    def ctl(self, *args):
        env = dict(os.environ, ETCDCTL_API="3")
        return subprocess.run(["etcdctl", "--endpoints", self.url, *args], env=env, check=True,
                              capture_output=True, text=True).stdout

    def put(self, key, value):
        self.ctl("put", key, value if isinstance(value, str) else json.dumps(value))

    def get(self, key):
        return self.ctl("get", "--print-value-only", key).rstrip("\n")

    def clear(self):
        self.ctl("del", "--prefix", "/")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir)


class Member:
    """Answers every call with what `answers` holds for "METHOD path"; keeps what it was asked."""

    def __init__(self):
        self.answers, self.calls = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                call = f"{self.command} {self.path}"
                outer.calls.append((call, json.loads(body) if body else None,
                                    self.headers.get("Authorization")))
                status, text = outer.answers.get(call, (200, "ok"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self, port=5432, **more):
        return {"conn_url": f"postgres://127.0.0.1:{port}/postgres",
                "api_url": f"http://127.0.0.1:{self.port}/patroni", "state": "running",
                "version": "4.1.0", "timeline": 1, **more}

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="session")
def etcd_server():
    server = Etcd()
    yield server
    server.stop()


@pytest.fixture
def etcd(etcd_server):
    etcd_server.clear()
    yield etcd_server


@pytest.fixture
def members():
    made = [Member(), Member(), Member()]
    yield made
    for m in made:
        m.stop()


@pytest.fixture
def ctl(etcd, tmp_path):
    config = tmp_path / "ctl.yml"
    config.write_text(
        f"scope: demo\netcd3: {{host: '127.0.0.1:{etcd.port}'}}\n"
        "ctl: {authentication: {username: u, password: p}}\n")

    def run(*args, typed="", file=config, env=None, rc=0):
        command = [PGHERD, "ctl"] + (["-c", str(file)] if file else []) + [str(a) for a in args]
        done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60,
                              env=dict(os.environ, TZ="UTC", **(env or {})))
        assert done.returncode == rc, (done.returncode, done.stdout, done.stderr)
        return done

    return run


def replica(**more):
    return {"role": "replica", "replication_state": "streaming", "receive_lsn": 68733704,
            "replay_lsn": 68733704, "xlog_location": 68733704, **more}


@pytest.fixture
def plain(etcd, members):
    """Three members, a leads."""
    etcd.put("/service/demo/initialize", "7197024670041272347")
    etcd.put("/service/demo/leader", "a")
    etcd.put("/service/demo/config", {"ttl": 30, "loop_wait": 10, "retry_timeout": 10})
    etcd.put("/service/demo/status", {"optime": 68733704})
    etcd.put("/service/demo/history", [[1, 50331808, "no recovery target specified",
                                        "2026-11-22T05:04:00+00:00", "a"]])
    etcd.put("/service/demo/members/a", members[0].document(5432, role="primary"))
    etcd.put("/service/demo/members/b", members[1].document(5433, **replica()))
    etcd.put("/service/demo/members/c",
             members[2].document(5434, **replica(tags={"nofailover": True})))
    return members


@pytest.fixture
def sharded(etcd, members):
    """Groups 0 and 2."""
    for group, names in ((0, ["coord1", "coord2"]), (2, ["work2-1", "work2-2"])):
        root = f"/service/demo/{group}"
        etcd.put(f"{root}/initialize", f"719702467004127234{group}")
        etcd.put(f"{root}/leader", names[1])
        etcd.put(f"{root}/config", {"synchronous_mode": True})
        etcd.put(f"{root}/sync", {"leader": names[1], "sync_standby": names[0]})
        etcd.put(f"{root}/status", {"optime": 68733704})
        etcd.put(f"{root}/members/{names[0]}", members[0].document(5432, **replica()))
        etcd.put(f"{root}/members/{names[1]}", members[1].document(5433, role="primary"))
    return members
