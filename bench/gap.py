#!/usr/bin/python3
"""bench/gap.py [--reps N] [--dir DIR] [EVENT...]: how long a steady writer stands still, and what it is told.

Starts a demo herd, lets one client insert a row every 10 ms through the endpoint for writes (the statement of
the seeds), and makes something happen. Per event: the longest time between two acknowledged rows from the
injection on (gap), the same for the rows of the group that was hit (outage), errors the client saw, rows
acknowledged and not found afterwards (lost).

Events: sw-work sw-coord (planned switchover), pk-work pk-coord (kill -9 of the postmaster),
        nl-work nl-coord (kill -9 of agent and PostgreSQL). Default: all.
"""
import argparse
import pathlib
import os
import signal
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tests/accept/demo'))
from conftest import Herd, Writer, free_base_port  # noqa: E402

EVENTS = ['sw-work', 'sw-coord', 'pk-work', 'pk-coord', 'nl-work', 'nl-coord']
GROUP_OF = "select id, groupid from (select id, get_shard_id_for_distribution_column('my_distributed_table', id) s " \
           'from unnest(%s::bigint[]) id) x join pg_dist_placement p on p.shardid = x.s'


class TimedWriter(Writer):
    """Remembers when each row was acknowledged."""

    def __init__(self, herd):
        super().__init__(herd)
        self.times = []

    def run(self):
        class Acked(list):
            def append(inner, value):
                self.times.append((time.monotonic(), value))
                list.append(inner, value)
        self.acked = Acked()
        super().run()


def longest(times, start):
    before = [t for t in times if t <= start]
    points = ([before[-1]] if before else []) + [t for t in times if t > start]
    return max((b - a for a, b in zip(points, points[1:])), default=0) * 1000


def inject(herd, event, group):
    name = herd.leader(group)
    if event.startswith('sw'):
        start = time.monotonic()
        herd.ctl('switchover', 'demo', '--group', group, '--force')
    elif event.startswith('pk'):
        pid = herd.postmaster_of(name)
        start = time.monotonic()
        os.kill(pid, signal.SIGKILL)
    else:
        start = time.monotonic()
        herd.kill_node(name)
    return start


def once(herd, event, rep):
    group = 0 if event.endswith('coord') else 1 + rep % 2
    herd.wait('a whole herd', herd.healthy)
    w = TimedWriter(herd)
    w.start()
    w.wait_progress(100)
    start = inject(herd, event, group)
    w.wait_progress(100)
    if event.startswith('nl'):
        herd.wait('a new leader', lambda: herd.leader(group) is not None)
        w.wait_progress(100)
        herd.start()
    herd.wait('healing', herd.healthy)
    w.wait_progress(50)
    w.stop()
    present = {r[0] for r in herd.sql('select id from my_distributed_table')}
    hit = w.times
    if group:
        groups = dict(herd.sql(GROUP_OF, ([i for _, i in w.times],)))
        hit = [(t, i) for t, i in w.times if groups[i] == group]
    return {'gap': longest([t for t, _ in w.times], start), 'outage': longest([t for t, _ in hit], start),
            'errors': len(w.errors), 'acked': len(w.acked), 'lost': len(set(w.acked) - present)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--reps', type=int, default=5)
    p.add_argument('--dir')
    p.add_argument('events', nargs='*', default=EVENTS)
    a = p.parse_args()
    top = a.dir or tempfile.mkdtemp(prefix='pgherd-gap.')
    os.chmod(top, 0o755)
    herd = Herd(os.path.join(top, 'herd'), free_base_port())
    try:
        herd.start()
        herd.sql('create table my_distributed_table(id bigint not null generated always as identity, '
                 'value double precision)')
        herd.sql("select create_distributed_table('my_distributed_table', 'id')")
        print('| event | n | gap ms: median / min / max | outage ms: median / min / max | errors (max) | acked | lost |')
        print('|---|---|---|---|---|---|---|')
        for event in a.events or EVENTS:
            rows = [once(herd, event, rep) for rep in range(a.reps)]
            cells = []
            for key in ('gap', 'outage'):
                v = [r[key] for r in rows]
                cells.append(f'{statistics.median(v):.0f} / {min(v):.0f} / {max(v):.0f}')
            print(f'| {event} | {a.reps} | {cells[0]} | {cells[1]} | {max(r["errors"] for r in rows)} | '
                  f'{sum(r["acked"] for r in rows)} | {sum(r["lost"] for r in rows)} |', flush=True)
    finally:
        herd.demo('destroy', '--force', check=False)


if __name__ == '__main__':
    main()
