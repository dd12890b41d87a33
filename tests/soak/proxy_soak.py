#!/usr/bin/python3
"""Thousands of clients and random faults around the proxy: no wrong answer, nobody stuck, nothing grows.

  tests/soak/proxy_soak.py [--seconds 300] [--clients 10000] [--active 400] [--seed N] [--csv FILE]

Clients (tests/soak/clients.c) check every answer; some leave in the middle of a statement. Meanwhile servers are
restarted, backends killed and terminated, etcd stopped and frozen, the leader key taken away, and the proxy is told
to RELOAD (with good and with bad files), PAUSE, KILL and RECONNECT. From time to time all is calm: then every
client has to be logged in and idle, and descriptors that belong to no connection and the memory (PSS) are
compared with those of the first calm moments. Exit status 1 when something is wrong or grows.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "it/proxy"))

import conftest  # noqa: E402
from conftest import AS_POSTGRES, ROOT, Box, Etcd, Herd, Proxy, wait_for  # noqa: E402
from ports import free_ports  # noqa: E402

CLIENTS = os.environ.get("SOAK_CLIENTS", os.path.join(ROOT, "build/tests/soak/soak_clients"))
SLACK_BYTES = 4 << 20   # of memory, and
SLACK_PART = 0.10       # this part, that may be more at the end than in the first calm moments
SLACK_FDS = 4
HEAL = 120              # seconds in which everybody is back when the faults have stopped

INI = """[pgherd]
dcs = etcd3://127.0.0.1:{etcd}
worker_threads = 2
hold_timeout = 60
[databases]
db = host=127.0.0.1 port={pg} pool_size={pool}
shop = cluster=demo group=0 role=primary dbname=db pool_size={pool}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
listen_backlog = 4096
unix_socket_dir =
auth_type = trust
auth_file = @DIR@/users.txt
admin_users = admin
pool_mode = transaction
max_client_conn = 20000
max_prepared_statements = 50
server_login_retry = 1
server_idle_timeout = 20
query_wait_timeout = 80
log_connections = 0
log_disconnections = 0
log_pooler_errors = 0
"""


class Store(Etcd):
    """An etcd that can be ended and started again."""

    def __init__(self, box):
        self.box, self.data = box, tempfile.mkdtemp(dir=box.dir)
        self.port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()
        box.ends.append(self.stop)

    def start(self):
        peer = f"http://127.0.0.1:{self.port + 1}"
        self.process = subprocess.Popen(
            ["etcd", "--data-dir", self.data, "--listen-client-urls", self.url,
             "--advertise-client-urls", self.url, "--listen-peer-urls", peer,
             "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
             "--unsafe-no-fsync"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: self.ctl("endpoint", "health") is not None, 60)


class Clients:
    def __init__(self, port, seed):
        self.process = subprocess.Popen(
            [CLIENTS, "127.0.0.1", str(port), "u_trust", "db,shop", str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def report(self):
        self.tell("report")
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the clients have ended by themselves")
        return json.loads(line)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Soak:
    def __init__(self, args):
        self.args, self.rng = args, random.Random(args.seed)
        self.box = Box()
        self.began = time.monotonic()
        self.pool = 30
        self.samples = []
        self.counts = {}

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.1f}  {text}", flush=True)

    def setup(self):
        conftest.Etcd = Store
        conftest.users(self.box)
        self.herd = Herd(self.box)
        self.proxy = Proxy(self.box, self.ini())
        self.clients = Clients(self.proxy.port, self.args.seed)
        self.box.ends.append(self.clients.end)
        for line in (f"target {self.args.clients}", f"active {self.args.active}", "think 50", "churn 10"):
            self.clients.tell(line)

    def ini(self):
        return INI.format(etcd=self.herd.etcd.port, pg=self.herd.a.port, pool=self.pool)

    # Faults. Each puts right what it has broken.

    def backends(self):
        return [r[0] for r in self.herd.a.sql(
            "select pid from pg_stat_activity where application_name = 'soak'")]

    def terminate_some(self):
        self.herd.a.sql("select pg_terminate_backend(pid) from pg_stat_activity "
                        "where application_name = 'soak' and random() < 0.3")

    def terminate_all(self):
        self.herd.a.sql("select pg_terminate_backend(pid) from pg_stat_activity "
                        "where backend_type = 'client backend' and pid <> pg_backend_pid()")

    def kill_backend(self):
        pids = self.backends()
        if pids:
            os.kill(self.rng.choice(pids), signal.SIGKILL)

    def restart_postgres(self):
        self.herd.a.stop(self.rng.choice(["fast", "immediate"]))
        time.sleep(self.rng.choice([0, 1]))
        self.herd.a.start()

    def lose_store(self):
        self.herd.etcd.stop()
        time.sleep(self.rng.choice([0.2, 1, 3]))
        self.herd.etcd.start()

    def freeze_store(self):
        self.herd.etcd.process.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.choice([0.5, 3]))
        self.herd.etcd.process.send_signal(signal.SIGCONT)

    def no_leader(self):
        self.herd.lead(None)
        time.sleep(self.rng.choice([0.2, 2]))
        self.herd.lead("a")

    def reload(self):
        self.pool = self.rng.choice([20, 30, 40])
        self.proxy.write(self.ini())
        self.proxy.console("RELOAD")

    def reload_bad(self):
        self.proxy.write(self.ini() + "pool_mode = sometimes\n")
        try:
            self.proxy.console("RELOAD")
            raise AssertionError("RELOAD took a bad file")
        except conftest.psycopg.Error:
            pass
        self.proxy.write(self.ini())

    def sighup_storm(self):
        for _ in range(100):
            self.proxy.signal(signal.SIGHUP)

    def pause(self):
        watch = threading.Timer(self.rng.choice([0.3, 1.5]), self.proxy.console, ["RESUME"])
        watch.start()
        try:
            self.proxy.console("PAUSE")
        except conftest.psycopg.Error as e:
            self.say(f"   PAUSE: {str(e).strip()}")
        watch.join()

    def kill(self):
        db = self.rng.choice(["db", "shop"])
        self.proxy.console(f"KILL {db}")
        time.sleep(0.2)
        self.proxy.console(f"RESUME {db}")

    def reconnect(self):
        self.proxy.console("RECONNECT")

    def clients_go(self):
        self.clients.tell(f"target {self.args.clients // 2}")
        time.sleep(0.5)
        self.clients.tell(f"target {self.args.clients}")

    FAULTS = [terminate_some, terminate_all, kill_backend, restart_postgres, lose_store,
              freeze_store, no_leader, reload, reload_bad, sighup_storm, pause, kill, reconnect,
              clients_go]

    # What has to be so when nothing happens.

    def pss(self):
        with open(f"/proc/{self.proxy.process.pid}/smaps_rollup") as f:
            return next(int(line.split()[1]) << 10 for line in f if line.startswith("Pss:"))

    def stray_fds(self):
        """Descriptors that are neither a client's nor a server's."""
        lists = {r["list"]: int(r["items"]) for r in self.proxy.console("SHOW LISTS")}
        fds = len(os.listdir(f"/proc/{self.proxy.process.pid}/fd"))
        return fds - len(self.proxy.console("SHOW SERVERS")) - lists["used_clients"]

    def calm(self):
        self.clients.tell("active 0")
        last = {}

        def settled():
            last.update(self.clients.report())
            assert last["wrong"] == 0 and last["stuck"] == 0, last
            return last["busy"] == 0 and last["login"] == 0 and last["idle"] == self.args.clients
        try:
            wait_for(settled, HEAL, every=0.2)
        except AssertionError:
            raise AssertionError(f"not everybody is back: {last}; {self.proxy.console('SHOW POOLS')}")
        for db in ("db", "shop"):
            assert self.proxy.sql("select 1", db=db) == [(1,)]
        time.sleep(1)
        fds = min(self.stray_fds() for _ in range(3))
        self.samples.append((time.monotonic() - self.began, fds, self.pss(), last["statements"]))
        self.say(f"calm: {fds} other descriptors, {self.samples[-1][2] / 2**20:.1f} MB, "
                 f"{last['statements']} statements, {last['logins']} logins, {last['errors']}")
        self.clients.tell(f"active {self.args.active}")
        return last

    def check_growth(self):
        base = self.samples[1:3] if len(self.samples) > 3 else self.samples[:1]
        fds, pss = max(s[1] for s in base), max(s[2] for s in base)
        _, last_fds, last_pss, _ = self.samples[-1]
        assert last_fds <= fds + SLACK_FDS, f"descriptors grow: {[s[1] for s in self.samples]}"
        assert last_pss <= pss * (1 + SLACK_PART) + SLACK_BYTES, \
            f"memory grows: {[s[2] for s in self.samples]}"

    def run(self):
        self.setup()
        wait_for(lambda: self.clients.report()["idle"] > self.args.clients * 0.9, HEAL, every=0.5)
        self.say("everybody is there")
        last = self.calm()
        end = time.monotonic() + self.args.seconds  # of faults, however long it took to begin
        while time.monotonic() < end:
            until = min(end, time.monotonic() + self.args.calm)
            while time.monotonic() < until:
                fault = self.rng.choice(self.FAULTS)
                name = fault.__name__
                self.counts[name] = self.counts.get(name, 0) + 1
                self.say(name)
                fault(self)
                assert self.proxy.process.poll() is None, self.proxy.log()[-3000:]
                time.sleep(self.rng.uniform(0.2, self.args.every))
            last = self.calm()
        if not self.args.no_growth:
            self.check_growth()
        assert last["statements"] > 0
        self.say(f"faults: {self.counts}")
        if self.args.csv:
            with open(self.args.csv, "w") as f:
                f.write("seconds,other_descriptors,pss_bytes,statements\n")
                f.writelines("%.0f,%d,%d,%d\n" % s for s in self.samples)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--clients", type=int, default=10000)
    p.add_argument("--active", type=int, default=400)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--every", type=float, default=1.5, help="seconds between faults at most")
    p.add_argument("--calm", type=float, default=30, help="seconds between calm moments")
    p.add_argument("--no-growth", action="store_true", help="do not compare memory (sanitizers)")
    p.add_argument("--csv", help="write the samples there")
    soak = Soak(p.parse_args())
    soak.say(f"seed {soak.args.seed}, {' '.join(AS_POSTGRES) or 'as ourselves'}")
    failed = True
    try:
        soak.run()
        failed = False
    finally:
        if failed and hasattr(soak, "proxy"):
            print("\n".join(l for l in soak.proxy.log().splitlines() if " LOG " not in l)[-4000:])
        soak.box.close()
    print("nothing lost, nothing stuck, nothing grows")


if __name__ == "__main__":
    main()
