"""Ports for servers of tests that nobody else takes, neither now nor while a server is away.

A port that the kernel picked (bind to 0) may be picked again for any outgoing connection as soon as
its server stops, so these come from below the range the kernel picks from. A lock on a file for each
keeps tests that run side by side apart; it goes with the process.
"""
import fcntl
import os
import pathlib
import random
import socket
import tempfile

LOW, HIGH = 12000, 32000
_held = {}


def _lock(port):
    directory = pathlib.Path(tempfile.gettempdir()) / "pgherd-ports"
    directory.mkdir(mode=0o1777, exist_ok=True)
    fd = os.open(directory / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return False
    _held[port] = fd
    return True


def _free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """One port; it stays this process's."""
    return free_ports(1)


def free_ports(count):
    """The first of count ports in a row."""
    for _ in range(2000):
        base = random.randrange(LOW, HIGH - count)
        taken = []
        for port in range(base, base + count):
            if port in _held or not _lock(port):
                break
            taken.append(port)
            if not _free(port):
                break
        else:
            return base
        for port in taken:
            os.close(_held.pop(port))
    raise RuntimeError("no free ports")
