"""The watchdog, with a FIFO in place of the device (driver: testing)."""

import os
import threading
import time

import pytest

from herd import Herd, own, wait_for


class Device(threading.Thread):
    """Reads what the agent writes, and knows what a device would know."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.text, self.open, self.closed, self.end = path, b"", False, 0, False
        os.mkfifo(path, 0o666)
        os.chmod(path, 0o666)

    def run(self):
        while not self.end:
            try:
                fd = os.open(self.path, os.O_RDONLY)
            except OSError:
                return
            self.open, self.text = True, b""
            while chunk := os.read(fd, 100):
                self.text += chunk
            os.close(fd)
            self.closed += 1
            self.open = False

    def timeouts(self):
        return [int(w.split(b"\n")[0]) for w in self.text.split(b"Ctimeout=")[1:]]

    def pings(self):
        return self.text.count(b"1") - b"".join(str(t).encode() for t in self.timeouts()).count(b"1")


@pytest.fixture(scope="module")
def herd():
    with Herd(2, start=False) as h:
        one, two = h.members
        for m in h.members:
            m.dir.mkdir(exist_ok=True)
            own(m.dir)
            m.patch = {"watchdog": {"mode": "required", "driver": "testing",
                                    "device": str(m.dir / "watchdog")}}
        one.device = Device(one.dir / "watchdog")
        one.device.start()
        one.start()
        h.wait_leader()
        two.start()
        h.wait_healthy()
        yield h
        one.device.end = True


def test_active(herd):
    one, two = herd.members
    assert herd.leader() is one
    assert one.device.timeouts() == [2]  # half of ttl
    n = one.device.pings()
    wait_for(lambda: one.device.pings() > n + 2, what="pings")
    text = one.log.read_text(errors="replace")
    assert "activated with 2 second timeout, timing slack 1 seconds" in text
    # Before it takes writes.
    assert text.index("watchdog:") < text.index("the leader with the lock")
    one.request("PATCH", "/config", {"ttl": 30})
    wait_for(lambda: one.device.timeouts()[-1] == 25, what="another ttl")
    one.request("PATCH", "/config", {"ttl": 5})
    wait_for(lambda: one.device.timeouts()[-1] == 2, what="the ttl of before")
    # The other one has no device: it cannot be chosen.
    assert two.status()["watchdog_failed"] is True
    assert "watchdog_failed" not in one.status()
    assert herd.switchover(two.name)[0] == 412


def test_pause(herd):
    one = herd.leader()
    one.request("PATCH", "/config", {"pause": True})
    wait_for(lambda: not one.device.open, what="closed while paused")
    one.request("PATCH", "/config", {"pause": None})
    wait_for(lambda: one.device.open and one.device.pings() > 1, what="opened again")
    assert herd.leader() is one


def test_stop_and_start(herd):
    """Nobody else may lead; the device is closed with the server, and opened before the next reign."""
    one, two = herd.members
    closed = one.device.closed
    assert one.stop() == 0
    wait_for(lambda: one.device.closed == closed + 1, what="closed")
    assert one.device.text.endswith(b"V")
    time.sleep(6)
    assert two.in_recovery() and not two.is_primary()
    one.start()
    assert herd.wait_leader() is one
    wait_for(lambda: one.device.open and one.device.pings() > 1, what="opened again")
    herd.wait_healthy()


def test_killed_agent(herd):
    """It stays armed for who comes next: no magic close."""
    one = herd.leader()
    closed = one.device.closed
    one.kill()
    wait_for(lambda: one.device.closed == closed + 1, what="the end of the agent")
    assert not one.device.text.endswith(b"V")
    one.start()
    wait_for(lambda: one.device.open and one.device.pings() > 1, what="opened again")
    assert herd.wait_leader() is one


def test_device_lost(herd):
    """A leader that loses a required device stops being one."""
    one, two = herd.members
    os.unlink(one.dir / "watchdog")
    one.request("PATCH", "/config", {"pause": True})
    wait_for(lambda: not one.device.open, what="closed while paused")
    one.request("PATCH", "/config", {"pause": None})
    wait_for(lambda: one.get("/primary")[0] == 503 and one.in_recovery(), 30, "demoted")
    assert "Demoting self because watchdog could not be activated" in \
        one.log.read_text(errors="replace")
    assert not two.is_primary()
