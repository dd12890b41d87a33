"""The programs for hooks and replica creation, against stand-ins of the services they talk to."""
import http.server
import json
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import threading
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
PGHERD = os.environ.get("PGHERD", str(ROOT / "build" / "pgherd"))
BIN_DIR = os.environ.get("PG_BIN_DIR", "/usr/lib/postgresql/15/bin")


class Service:
    """An HTTP service that answers from a table {(method, path): [answers]}; the last one stays."""

    def __init__(self, answers):
        self.answers, self.seen = answers, []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                service.seen.append((self.command, self.path, body, dict(self.headers)))
                left = service.answers.get((self.command, self.path), [(404, "nothing here")])
                code, text = left.pop(0) if len(left) > 1 else left[0]
                if callable(text):
                    text = text(body)
                if not isinstance(text, str):
                    text = json.dumps(text)
                self.send_response(code)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()


def run(*args, env=None):
    return subprocess.run([PGHERD, *map(str, args)], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **(env or {})})


# --- Barman

OPERATIONS = "/servers/pg/operations"


def barman(url, *args):
    return run("barman", "--api-url", url, "--retry-wait", 0, *args)


def recover(url, *more):
    return barman(url, "recover", "--barman-server", "pg", "--ssh-command", "ssh me",
                  "--datadir", "/data", "--loop-wait", 0, *more)


def api(statuses, status="OK"):
    return Service({("GET", "/status"): [(200, status)],
                    ("POST", OPERATIONS): [(202, {"operation_id": "7"})],
                    ("GET", OPERATIONS + "/7"): [(200, {"status": s} if s else {"what": 1})
                                                for s in statuses]})


def test_recover():
    with api(['"OK"']) as s:
        s.answers[("GET", "/status")] = [(200, '"OK"')]
        s.answers[("GET", OPERATIONS + "/7")] = [(200, {"status": "IN_PROGRESS"}),
                                                 (200, {"no": "status"}), (200, {"status": "DONE"})]
        # What the agent adds for a replica method is let pass.
        r = recover(s.url, "--scope", "demo", "--role=replica", "--connstring", "")
        assert r.returncode == 0, r.stderr
        assert "still in progress" in r.stderr
        body = json.loads([x for x in s.seen if x[0] == "POST"][0][2])
        assert body == {"type": "recovery", "backup_id": "latest", "remote_ssh_command": "ssh me",
                        "destination_directory": "/data"}


@pytest.mark.parametrize("status, operation, code", [
    ('"OK"', [(200, {"status": "FAILED"})], 1), ('"DOWN"', [], 2), ("no json", [], 2),
    ('"OK"', [(200, {"what": 1})], 3), ('"OK"', [(500, "oh")], 3)])
def test_recover_fails(status, operation, code):
    with api([]) as s:
        s.answers[("GET", "/status")] = [(200, status)]
        s.answers[("GET", OPERATIONS + "/7")] = operation or [(404, "")]
        assert recover(s.url).returncode == code


def test_recover_without_api():
    assert recover("http://127.0.0.1:1").returncode == 2


def switch(url, role, *args):
    return barman(url, "config-switch", "--barman-server", "pg", *args, "on_role_change", role,
                  "demo")


def test_config_switch():
    with api([]) as s:
        s.answers[("GET", "/status")] = [(200, '"OK"')]
        s.answers[("GET", OPERATIONS + "/7")] = [(200, {"status": "DONE"})]
        assert switch(s.url, "primary", "--barman-model", "m", "--switch-when",
                      "promoted").returncode == 0
        assert json.loads(s.seen[1][2]) == {"type": "config_switch", "model_name": "m"}
        s.seen.clear()
        assert switch(s.url, "replica", "--reset", "--switch-when", "always").returncode == 0
        assert json.loads(s.seen[1][2]) == {"type": "config_switch", "reset": True}
        s.seen.clear()
        assert switch(s.url, "replica", "--reset", "--switch-when", "promoted").returncode == 1
        assert switch(s.url, "primary", "--reset", "--switch-when", "demoted").returncode == 1
        assert s.seen == []
        assert switch(s.url, "primary", "--switch-when", "always").returncode == 5
        s.answers[("GET", OPERATIONS + "/7")] = [(200, {"status": "FAILED"})]
        assert switch(s.url, "primary", "--reset", "--switch-when", "always").returncode == 2


def test_barman_arguments():
    assert run("barman").returncode == 255
    assert run("barman", "--help").returncode == 0
    for args in (["recover"], ["dance"], ["--retry-wait", "x", "recover"], ["--api-url"]):
        r = run("barman", *args)
        assert r.returncode == 2 and r.stderr, args


# --- WAL-E

LIST = ("name last_modified expanded_size_bytes wal_segment_backup_start "
        "wal_segment_offset_backup_start wal_segment_backup_stop wal_segment_offset_backup_stop\n"
        "base_0 2026-01-01T00:00:00.000Z {size} {segment} {offset} 00000001000000000000007F 00000240\n")


@pytest.fixture
def wale(tmp_path):
    """envdir and wal-e that say what a file holds, and note how they are called."""
    bin_dir, env_dir = tmp_path / "bin", tmp_path / "env"
    bin_dir.mkdir()
    env_dir.mkdir()
    (bin_dir / "envdir").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (bin_dir / "wal-e").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        f'case "$*" in *backup-list*) cat {tmp_path}/list;;\n'
        f'*backup-fetch*) exit $(cat {tmp_path}/fetch);; esac\n')
    for f in bin_dir.iterdir():
        f.chmod(f.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "fetch").write_text("0")

    def call(connstring, size=1 << 30, segment="00000001000000000000007F", offset="00000040", *args):
        (tmp_path / "list").write_text(LIST.format(size=size, segment=segment, offset=offset))
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        return run("wale-restore", "--scope", "demo", "--datadir", data, "--connstring", connstring,
                   "--envdir", env_dir, "--retries", 1, *args,
                   env={"PATH": f"{bin_dir}:{os.environ['PATH']}"})
    call.dir = tmp_path
    return call


@pytest.fixture
def server():
    """A real server; yields how to connect to it."""
    with tempfile.TemporaryDirectory(prefix="herd-tools-") as d:
        drop = []
        if os.geteuid() == 0:
            shutil.chown(d, "postgres", "postgres")
            drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

        def pg(*args):
            subprocess.run([*drop, f"{BIN_DIR}/{args[0]}", "-D", f"{d}/data", *args[1:]], check=True,
                           stdout=subprocess.DEVNULL, timeout=60, cwd=d)
        pg("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
        pg("pg_ctl", "-w", "-l", f"{d}/log", "-o", f"-k {d} -c listen_addresses= -c fsync=off",
           "start")
        try:
            yield f"host={d} user=postgres dbname=postgres"
        finally:
            pg("pg_ctl", "-m", "immediate", "stop")


def test_wale_without_primary(wale):
    r = wale("")
    assert r.returncode == 0, r.stderr
    assert (wale.dir / "data" / "pg_wal").is_dir()
    assert (wale.dir / "calls").read_text().splitlines() == [
        "backup-list --detail LATEST", f"backup-fetch {wale.dir}/data LATEST"]


def test_wale_primary_is_away(wale):
    nobody = "host=127.0.0.1 port=1 connect_timeout=1"
    assert wale(nobody).returncode == 2
    r = wale(nobody, 1 << 30, "00000001000000000000007F", "00000040", "--no_leader", 1, "--use_iam", 1)
    assert r.returncode == 0, r.stderr
    assert "--aws-instance-profile backup-fetch" in (wale.dir / "calls").read_text()


def test_wale_measures_the_wal(wale, server):
    """The server's WAL is at 16 MB or so: little beside a backup of 1 GB, much beside one of 1 MB."""
    r = wale(server, 1 << 30, "000000010000000000000001", "0")
    assert r.returncode == 0, r.stderr
    r = wale(server, 1 << 20, "000000010000000000000000", "0")
    assert r.returncode == 2 and "a base backup is less work" in r.stderr
    r = wale(server, 1 << 40, "000000010000000000000000", "0", "--threshold_megabytes", 1)
    assert r.returncode == 2, r.stderr


def test_wale_fetch_fails(wale):
    (wale.dir / "fetch").write_text("3")
    r = wale("")
    assert r.returncode == 1
    assert (wale.dir / "calls").read_text().count("backup-fetch") == 2


@pytest.mark.parametrize("segment, offset", [
    ("00000001000000000000007", "1"), ("0000000100000000000001FF", "1"),
    ("00000001000000000000007F", "-4"), ("00000001000000000000007F", "16777216"),
    ("zz0000010000000000000001", "1")])
def test_wale_bad_list(wale, segment, offset):
    assert wale("", 1, segment, offset).returncode == 1


def test_wale_arguments(wale):
    assert run("wale-restore").returncode == 2
    assert run("wale-restore", "--retries", "many").returncode == 2
    r = run("wale-restore", "--scope", "s", "--datadir", "/nowhere", "--connstring", "", "--envdir",
            "/not/there")
    assert r.returncode == 2 and "/not/there" in r.stderr


# --- EC2

IDENTITY = "/latest/dynamic/instance-identity/document"
ROLES = "/latest/meta-data/iam/security-credentials/"
VOLUMES = ("<r><volumeSet><item><volumeId>vol-1</volumeId><attachmentSet><item><volumeId>vol-1"
           "</volumeId></item></attachmentSet></item><item><volumeId>vol-2</volumeId></item>"
           "</volumeSet></r>")


def test_aws():
    with Service({("PUT", "/latest/api/token"): [(200, "tok")],
                  ("GET", IDENTITY): [(200, {"instanceId": "i-1", "region": "eu-west-1"})],
                  ("GET", ROLES): [(200, "node\n")],
                  ("GET", ROLES + "node"): [(200, {"AccessKeyId": "AK", "SecretAccessKey": "SK",
                                                   "Token": "T0"})],
                  ("POST", "/"): [(503, "later"), (200, lambda body: VOLUMES)]}) as s:
        env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": s.url, "AWS_ENDPOINT_URL_EC2": s.url + "/"}
        for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.pop(k, None)
        r = run("aws", "on_role_change", "primary", "demo & co", env=env)
        assert r.returncode == 0, r.stderr
        posts = [x for x in s.seen if x[0] == "POST"]
        calls = [dict(urllib.parse.parse_qsl(x[2])) for x in posts]
        assert [c["Action"] for c in calls] == ["CreateTags", "CreateTags", "DescribeVolumes",
                                               "CreateTags"]
        assert calls[1]["ResourceId.1"] == "i-1" and calls[1]["Tag.1.Value"] == "primary"
        assert calls[2]["Filter.1.Value.1"] == "i-1"
        last = calls[3]
        assert (last["ResourceId.1"], last["ResourceId.2"]) == ("vol-1", "vol-2")
        assert "ResourceId.3" not in last
        assert last["Tag.1.Value"] == "spilo_demo & co" and last["Tag.3.Value"] == "i-1"
        head = {k.lower(): v for k, v in posts[3][3].items()}
        assert head["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AK/")
        assert "/eu-west-1/ec2/" in head["authorization"]
        assert head["x-amz-security-token"] == "T0"
        assert [x[3] for x in s.seen if x[1] == IDENTITY][0]["X-aws-ec2-metadata-token"] == "tok"
        assert "SK" not in r.stderr


def test_aws_elsewhere():
    r = run("aws", "on_start", "replica", "demo",
            env={"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"})
    assert r.returncode == 1 and "cannot query AWS meta-data" in r.stderr
    assert run("aws").returncode == 1
    assert run("aws", "on_reload", "replica", "demo").returncode == 1
    assert run("aws", "--help").returncode == 0
