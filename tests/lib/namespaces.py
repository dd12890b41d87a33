"""Network namespaces for tests that lose packets."""
import ctypes
import os
import shutil
import subprocess
import time

import pytest

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def sh(*words):
    subprocess.run(words, check=True)


class Net:
    """A network of our own, where packets may be lost without harm to others: a namespace for each
    member, one wire to the store and the others (10.77.0.0/24), one for clients (10.78.0.0/24).
    Members are started behind inside(); the thread of the test is in it until the with ends."""

    def __init__(self):
        self.here = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.holders = []

    def __enter__(self):
        if os.geteuid() != 0 or not shutil.which("iptables") or LIBC.unshare(CLONE_NEWNET) != 0:
            os.close(self.here)
            pytest.skip("needs root and iptables")
        sh("ip", "link", "set", "lo", "up")
        for net in (77, 78):
            sh("ip", "link", "add", f"br{net}", "type", "bridge")
            sh("ip", "addr", "add", f"10.{net}.0.254/24", "dev", f"br{net}")
            sh("ip", "link", "set", f"br{net}", "up")
        return self

    def __exit__(self, *_):
        for p in self.holders:
            p.kill()
            p.wait()
        LIBC.setns(self.here, CLONE_NEWNET)
        os.close(self.here)

    def inside(self, i):
        return ["nsenter", f"--net=/proc/{self.holders[i].pid}/ns/net"]

    def add(self):
        """A namespace; returns its number."""
        i = len(self.holders)
        holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self.holders.append(holder)
        mine = os.stat("/proc/self/ns/net").st_ino
        while os.stat(f"/proc/{holder.pid}/ns/net").st_ino == mine:
            time.sleep(0.01)
        for net in (77, 78):
            sh("ip", "link", "add", f"v{net}n{i}", "type", "veth", "peer", "name", f"e{net}",
               "netns", str(holder.pid))
            sh("ip", "link", "set", f"v{net}n{i}", "master", f"br{net}", "up")
            sh(*self.inside(i), "ip", "addr", "add", f"10.{net}.0.{i + 1}/24", "dev", f"e{net}")
            sh(*self.inside(i), "ip", "link", "set", f"e{net}", "up")
        sh(*self.inside(i), "ip", "link", "set", "lo", "up")
        return i

    def cut(self, i, how="-A", wires=("e77",)):
        """Every packet between member i and the others is lost; how="-D": no more."""
        for wire in wires:
            for chain, side in (("INPUT", "-i"), ("OUTPUT", "-o")):
                sh(*self.inside(i), "iptables", how, chain, side, wire, "-j", "DROP")
