#!/usr/bin/python3
"""Three members under writers and random faults: no acknowledged row is lost, and the herd always recovers.

  tests/soak/soak.py [--seconds 1200] [--seed N] [--mode quorum|on|off] [--every 4] [--keep]

A fault every few seconds, some of them at the same time: agents killed, stopped or frozen, postmasters killed, etcd
gone, switchovers, restarts, copies made anew, pauses, settings changed. From time to time the faults stop: then the
herd has to be healthy within a minute, and every row that was acknowledged has to be there (in mode off only what
was written while no failover happened is promised, so rows are only counted). Prints a line per fault; exit status
1 when something is wrong. Not a part of ./check: it takes as long as you let it.
"""

import argparse
import contextlib
import pathlib
import random
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "it"))

from herd import Herd, Writer, wait_for  # noqa: E402

CALM_EVERY = 45  # seconds between two checks
HEAL = 90        # seconds in which a herd without faults is healthy


class Soak:
    def __init__(self, herd, rng, every):
        self.herd, self.rng, self.every = herd, rng, every
        self.lock = threading.Lock()
        self.busy = set()  # names of members that a fault holds; "etcd"
        self.threads = []
        self.counts = {}
        self.began = time.monotonic()

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.1f}  {text}", flush=True)

    # Each fault ends with what it has broken put right, and takes its time.

    def kill_agent(self, m):
        m.kill()
        time.sleep(self.rng.choice([0, 0.5, 3, 9]))
        m.start()

    def stop_agent(self, m):
        m.stop(60)
        time.sleep(self.rng.choice([0, 2]))
        m.start()

    def freeze_agent(self, m):
        m.freeze()
        time.sleep(self.rng.choice([1, 4, 8, 12]))
        m.thaw()

    def kill_postgres(self, m):
        if m.postmaster():
            m.kill_postgres()

    def lose_node(self, m):
        m.kill()
        self.kill_postgres(m)
        time.sleep(self.rng.choice([0, 2, 8]))
        m.start()

    def lose_etcd(self, _):
        self.herd.etcd.stop()
        time.sleep(self.rng.choice([0.5, 2, 4, 8]))
        self.herd.etcd.start()

    def switchover(self, m):
        leader = self.herd.leader()
        if leader and leader is not m:
            self.say(f"   {leader.request('POST', '/switchover', {'leader': leader.name, 'candidate': m.name})}")

    def restart(self, m):
        m.request("POST", "/restart", {})

    def reinitialize(self, m):
        if m is not self.herd.leader():
            m.request("POST", "/reinitialize", {"force": True})

    def pause(self, m):
        m.request("PATCH", "/config", {"pause": True})
        time.sleep(self.rng.choice([1, 3]))
        for x in self.rng.sample(self.herd.members, 3):
            with contextlib.suppress(OSError):
                if x.request("PATCH", "/config", {"pause": None})[0] == 200:
                    return

    def configure(self, m):
        m.request("PATCH", "/config", {"postgresql": {"parameters": {
            "work_mem": f"{self.rng.randint(1, 20)}MB",
            "max_connections": self.rng.choice([90, 100, 110])}}})

    FAULTS = [(kill_agent, 3), (stop_agent, 3), (freeze_agent, 3), (kill_postgres, 3), (lose_node, 4),
              (lose_etcd, 2), (switchover, 4), (restart, 2), (reinitialize, 2), (pause, 1), (configure, 1)]

    def fault(self):
        what = self.rng.choices([f for f, _ in self.FAULTS], [w for _, w in self.FAULTS])[0]
        with self.lock:
            free = [m for m in self.herd.members if m.name not in self.busy and m.process]
            name = "etcd" if what is Soak.lose_etcd else None
            # One disk and one agent at least are left alone.
            if len(self.busy - {"etcd"}) > 1 or not free or name in self.busy:
                return
            m = self.rng.choice(free)
            held = name or m.name
            self.busy.add(held)
        self.say(f"{what.__name__} {held}")
        self.counts[what.__name__] = self.counts.get(what.__name__, 0) + 1

        def run():
            try:
                what(self, m)
            except (OSError, ValueError) as e:
                self.say(f"   {what.__name__} {held}: {e}")
            finally:
                with self.lock:
                    self.busy.discard(held)
        t = threading.Thread(target=run, daemon=True)
        t.start()
        self.threads.append(t)

    def calm(self):
        """Nothing is broken any more: healthy soon?"""
        for t in self.threads:
            t.join(120)
        self.threads.clear()
        # A pause that nobody could end.
        wait_for(lambda: self.herd.members[0].request("PATCH", "/config", {"pause": None})[0] == 200,
                 HEAL, "the settings can be changed")
        t = time.monotonic()
        leader = self.herd.wait_healthy(HEAL)
        self.say(f"healthy after {time.monotonic() - t:.1f} s, {leader.name} leads")
        return leader


def rows_lost(leader, writers):
    acked = [i for w in writers for i in list(w.acked)]
    got = {r[0] for r in leader.sql("select i from rows")}
    return [i for i in acked if i not in got]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=int, default=1200)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--mode", default="quorum", choices=["quorum", "on", "off"])
    p.add_argument("--every", type=float, default=4)
    p.add_argument("--keep", action="store_true", help="leave everything when something is wrong")
    a = p.parse_args()
    print(f"seed {a.seed}", flush=True)
    with Herd(3, dcs={"synchronous_mode": a.mode}) as herd:
        soak = Soak(herd, random.Random(a.seed), a.every)
        herd.wait_healthy()
        herd.leader().sql("create table rows (i bigint)")
        writers = [Writer(herd, first=1), Writer(herd, first=1 << 40)]
        for w in writers:
            w.start()
        wrong = []
        try:
            calm = time.monotonic() + CALM_EVERY
            while not wrong and time.monotonic() - soak.began < a.seconds:
                time.sleep(soak.rng.uniform(0, 2 * a.every))
                if time.monotonic() < calm:
                    soak.fault()
                    continue
                leader = soak.calm()
                before = [len(w.acked) for w in writers]
                wait_for(lambda: all(len(w.acked) > n + 5 for w, n in zip(writers, before)), 60,
                         "the writers go on")
                lost = rows_lost(leader, writers)
                soak.say(f"{sum(len(w.acked) for w in writers)} rows acknowledged, {len(lost)} lost")
                if lost and a.mode != "off":
                    wrong.append(f"lost rows: {lost[:20]}")
                calm = time.monotonic() + CALM_EVERY
            soak.calm()
        except AssertionError as e:
            wrong.append(str(e))
        for w in writers:
            w.finish()
        print(", ".join(f"{k} {v}" for k, v in sorted(soak.counts.items())))
        print(f"longest time without an acknowledged row {max(w.longest for w in writers):.1f} s, "
              f"{sum(w.errors for w in writers)} errors")
        if wrong:
            print("WRONG: " + "; ".join(wrong), f"(seed {a.seed})")
            herd.show_logs()
            if a.keep:
                print("left as it is:", herd.dir, "- end with ^C")
                signal.pause()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
