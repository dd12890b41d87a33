"""HAProxy in front of a herd, with the checks of deploy/examples/haproxy.cfg (Patroni's)."""

import contextlib
import pathlib
import re
import subprocess

import psycopg2

from herd import PASSWORD, ROOT, Herd, free_port, wait_for


def config(herd, writes, reads):
    """The example, with this herd's addresses and quicker checks."""
    text = (ROOT / "deploy/examples/haproxy.cfg").read_text()
    text = text.replace("*:5000", f"127.0.0.1:{writes}").replace("*:5001", f"127.0.0.1:{reads}")
    for i, m in enumerate(herd.members):
        text = re.sub(rf"(server {m.name}) \S+ (.*) check port \d+",
                      rf"\1 127.0.0.1:{m.port} \2 check port {m.rest}", text)
    assert text.count("check port 8008") == 0
    return text.replace("inter 3s fall 3 rise 2", "inter 200ms fall 2 rise 1")


def port_behind(port):
    with contextlib.closing(psycopg2.connect(
            host="127.0.0.1", port=port, user="postgres", dbname="postgres", password=PASSWORD,
            connect_timeout=3)) as c, c.cursor() as cur:
        cur.execute("select inet_server_port()")
        return cur.fetchone()[0]


def test_haproxy():
    with Herd(3) as herd:
        leader = herd.wait_healthy()
        writes, reads = free_port(), free_port()
        path = pathlib.Path(herd.dir) / "haproxy.cfg"
        path.write_text(config(herd, writes, reads))
        haproxy = subprocess.Popen(["haproxy", "-db", "-f", path], stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: port_behind(writes) == leader.port, 30, "the leader behind HAProxy")
            replicas = {m.port for m in herd.replicas()}
            wait_for(lambda: {port_behind(reads) for _ in range(4)} == replicas, 30,
                     "the replicas behind HAProxy")
            target = herd.replicas()[0]
            assert herd.switchover(target.name)[0] == 200
            wait_for(lambda: port_behind(writes) == target.port, 30, "the new leader")
            wait_for(lambda: target.port not in {port_behind(reads) for _ in range(4)}, 30,
                     "the new leader is no replica any more")
        finally:
            haproxy.kill()
            haproxy.wait()
