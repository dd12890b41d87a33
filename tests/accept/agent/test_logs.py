"""The agent's log: format, JSON, files that are rotated, moved, or cannot be written; levels."""

import json
import re
import shutil
import signal

import pytest

from herd import Herd, own, wait_for

LEADER = "no action. I am (n1), the leader with the lock"


@pytest.fixture(scope="module")
def herd():
    with Herd(1) as h:
        h.wait_healthy()
        yield h


class Log:
    """Section log of a member, changed by SIGHUP."""

    def __init__(self, member):
        self.m = member
        self.dir = member.dir / "logs"
        self.file = self.dir / "patroni.log"

    def set(self, **section):
        path = self.m.dir / "config.yml"
        config = json.loads(path.read_text())
        config["log"] = section
        path.write_text(json.dumps(config))
        own(self.m.dir)
        self.m.process.send_signal(signal.SIGHUP)

    def alive(self):
        return self.m.process.poll() is None and self.m.get("/primary")[0] == 200


@pytest.fixture
def log(herd):
    log = Log(herd.members[0])
    yield log
    log.set(level="INFO")
    assert log.alive()


def has(path, text):
    wait_for(lambda: text in path.read_text(errors="replace"), 30, f"{text!r} in {path.name}")


def test_plain(log):
    """The lines that tools look for, with the level at column 24."""
    has(log.m.log, LEADER)
    lines = [x for x in log.m.log.read_text().splitlines() if x.endswith(LEADER)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO: " + re.escape(LEADER), lines[0])
    text = log.m.log.read_text()
    for words in ("INFO: trying to bootstrap a new cluster", "INFO: initialized a new cluster",
                  "INFO: Lock owner: None; I am n1"):
        assert words in text, words
    log.set(format="%(asctime)s %(levelname)-8s|%(name)s|%(process)06d|%(message)s",
            dateformat="%Y")
    has(log.m.log, f"INFO    |patroni.ha|{log.m.process.pid:06d}|{LEADER}")
    assert re.search(r"(?m)^20\d\d INFO    \|patroni\.ha\|", log.m.log.read_text())


def test_format_that_is_none(log):
    before = log.m.log.read_text().count("not reloaded")
    log.set(format="%(nonsense)s")
    wait_for(lambda: log.m.log.read_text().count("not reloaded") > before, 30, "the refusal")
    assert 'log.format log lines have no field "nonsense"' in log.m.log.read_text()


def test_json(log):
    log.set(type="json", format=["asctime", {"levelname": "severity"}, "message", {"name": "part"}],
            static_fields={"app": "herd", "n": 1})
    line = wait_for(lambda: next((x for x in log.m.log.read_text().splitlines()
                                  if x.startswith("{") and LEADER in x), None), 30, "a JSON line")
    got = json.loads(line)
    assert got.pop("asctime")
    assert got == {"severity": "INFO", "message": LEADER, "part": "patroni.ha", "app": "herd", "n": 1}


def test_file(log):
    """Rotated by size; moved by others; its directory taken away: nothing stops the agent."""
    log.set(level="DEBUG", dir=str(log.dir), file_num=2, file_size=700, mode="0640")
    wait_for((log.dir / "patroni.log.2").exists, 60, "two rotations")
    assert log.file.stat().st_mode & 0o777 == 0o640
    wait_for(lambda: 0 < log.file.stat().st_size <= 700, 30, "a file within its size")
    assert not (log.dir / "patroni.log.3").exists()
    log.set(dir=str(log.dir))
    log.file.rename(log.dir / "moved")
    wait_for(log.file.exists, 30, "a new file")
    shutil.rmtree(log.dir)
    wait_for(log.file.exists, 30, "the directory again")
    has(log.file, LEADER)
    # Something that cannot be a directory.
    shutil.rmtree(log.dir)
    log.dir.write_text("in the way")
    has(log.m.log, "the log goes to standard error meanwhile")
    assert log.alive()
    log.dir.unlink()
    has(log.file, LEADER)
    shutil.rmtree(log.dir)


def test_levels(log):
    log.set(level="ERROR", loggers={"patroni.ha": "DEBUG"})
    has(log.m.log, "DEBUG: Lock owner: n1; I am n1")
    # A path by which nothing that is left could come but the error.
    log.set(level="ERROR", format="@%(levelname)s@%(message)s")
    log.m.request("POST", "/reload")
    size = log.m.log.stat().st_size
    (log.m.dir / "config.yml").write_text("[")
    log.m.process.send_signal(signal.SIGHUP)
    has(log.m.log, "@ERROR@configuration not reloaded")
    config = log.m.config()
    (log.m.dir / "config.yml").write_text(json.dumps(config))
    tail = log.m.log.read_bytes()[size:].decode(errors="replace")
    assert "@INFO@" not in tail and "@WARNING@" not in tail


def test_deduplicate(log):
    log.set(deduplicate_heartbeat_logs=True, format="#%(message)s")

    def count():
        return sum(line == "#" + LEADER for line in log.m.log.read_text().splitlines())

    # Another thing to say comes between: then the heartbeat is told again, once.
    log.m.request("PATCH", "/config", {"pause": True})
    has(log.m.log, "#PAUSE: no action. I am (n1), the leader with the lock")
    log.m.request("PATCH", "/config", {"pause": None})
    wait_for(lambda: count() == 1, 30, "one heartbeat")
    stamp = json.loads(log.m.get("/patroni")[1])["dcs_last_seen"]
    wait_for(lambda: json.loads(log.m.get("/patroni")[1])["dcs_last_seen"] >= stamp + 4, 30,
             "further heartbeats")
    assert count() == 1
