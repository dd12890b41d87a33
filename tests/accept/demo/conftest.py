"""The acceptance tests run ./demo as a newcomer does, and use what it prints."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import psycopg
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'lib'))

from ports import free_ports  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[3]
SEED_SQL = ('WITH inserted AS (INSERT INTO my_distributed_table(value) VALUES (random()) RETURNING id) '
            'SELECT now(), id FROM inserted')


def free_base_port(count=40):
    """A run of ports nobody listens on."""
    return free_ports(count)


class Writer(threading.Thread):
    """The writer of the seeds: one row every 10 ms, for ever, through the endpoint for writes."""

    def __init__(self, herd, sql=SEED_SQL, port=None):
        super().__init__(daemon=True)
        self.herd, self.sql, self.port = herd, sql, port
        self.acked, self.errors, self.gaps = [], [], []
        self.quit = threading.Event()

    def run(self):
        conn, last = None, time.monotonic()
        while not self.quit.is_set():
            try:
                if conn is None or conn.closed:
                    conn = self.herd.connect(port=self.port, autocommit=True)
                row = conn.execute(self.sql).fetchone()
                self.acked.append(row[-1])
                self.gaps.append(time.monotonic() - last)
                last = time.monotonic()
            except psycopg.Error as e:
                self.errors.append((time.monotonic(), e.sqlstate, str(e)))
            self.quit.wait(0.01)
        if conn is not None:
            conn.close()

    def wait_progress(self, rows=20, timeout=60):
        want, end = len(self.acked) + rows, time.monotonic() + timeout
        while len(self.acked) < want:
            assert time.monotonic() < end, f'the writer does not go on; last errors: {self.errors[-3:]}'
            time.sleep(0.02)

    def stop(self):
        self.quit.set()
        self.join(60)
        assert not self.is_alive()


class Herd:
    def __init__(self, dir, base, args=()):
        self.dir, self.base, self.args = pathlib.Path(dir), base, list(args)

    def demo(self, *args, check=True, timeout=600, **kw):
        p = subprocess.run([str(ROOT / 'demo'), *map(str, args), '--dir', str(self.dir)], cwd=ROOT, timeout=timeout,
                           capture_output=True, text=True, stdin=subprocess.DEVNULL, **kw)
        assert not check or p.returncode == 0, f'demo {args}: exit {p.returncode}\n{p.stdout}\n{p.stderr}'
        return p

    def start(self):
        return self.demo('start', '--base-port', self.base, *self.args)

    def password(self):
        return (self.dir / 'pgpass').read_text().strip().split(':', 4)[4]

    def connect(self, port=None, dbname='citus', **kw):
        return psycopg.connect(host='127.0.0.1', port=port or self.base, user='postgres', dbname=dbname,
                               password=self.password(), connect_timeout=30, **kw)

    def sql(self, text, params=None, port=None, dbname='citus'):
        with self.connect(port=port, dbname=dbname, autocommit=True) as conn:
            cur = conn.execute(text, params)
            return cur.fetchall() if cur.description else None

    def ctl_argv(self, *args):
        return [str(self.dir / 'bin/pgherd'), 'ctl', '-c', str(self.dir / 'ctl.yml'), *map(str, args)]

    def ctl(self, *args, check=True, timeout=120):
        p = subprocess.run(self.ctl_argv(*args), capture_output=True, text=True, timeout=timeout,
                           stdin=subprocess.DEVNULL)
        assert not check or p.returncode == 0, f'ctl {args}: exit {p.returncode}\n{p.stdout}\n{p.stderr}'
        return p

    def members(self):
        return json.loads(self.ctl('list', '-f', 'json').stdout)

    def leader(self, group):
        for m in self.members():
            if m['Group'] == group and m['Role'] == 'Leader':
                return m['Member']
        return None

    def pid_of(self, name):
        return int((self.dir / 'run' / f'{name}.pid').read_text().split()[0])

    def postmaster_of(self, name):
        return int((self.dir / 'data' / name / 'postmaster.pid').read_text().split()[0])

    def pg_port(self, name):
        for m in self.members():
            if m['Member'] == name:
                return int(m['Host'].rsplit(':', 1)[1])
        raise KeyError(name)

    def wait(self, what, condition, timeout=90):
        end, last = time.monotonic() + timeout, None
        while time.monotonic() < end:
            try:
                last = condition()
                if last:
                    return last
            except (psycopg.Error, AssertionError, OSError, ValueError, StopIteration) as e:
                last = e
            time.sleep(0.1)
        raise AssertionError(f'{what}: not within {timeout} s; last: {last!r}\n'
                             + self.ctl('list', check=False).stdout)

    def healthy(self):
        """Every group has a leader, every other member streams, pg_dist_node names the leaders."""
        members = self.members()
        groups = {m['Group'] for m in members}
        leaders = {m['Group']: m for m in members if m['Role'] == 'Leader' and m['State'] == 'running'}
        if groups != set(leaders):
            return False
        if any(m['State'] != 'streaming' for m in members if m['Role'] != 'Leader'):
            return False
        nodes = dict(self.sql("select groupid, nodeport from pg_dist_node where noderole = 'primary'"))
        if nodes != {g: int(m['Host'].rsplit(':', 1)[1]) for g, m in leaders.items()}:
            return False
        total = self.sql('select count(*) from pg_dist_node where isactive')[0][0]
        return total == len(members)

    def kill_node(self, name):
        """kill -9 of the agent and of PostgreSQL: what a lost host looks like, but for the network."""
        postmaster = self.postmaster_of(name)
        os.kill(self.pid_of(name), signal.SIGKILL)
        os.kill(postmaster, signal.SIGKILL)


@pytest.fixture(scope='session')
def herd():
    # Below /tmp a directory of root's must let postgres pass.
    top = tempfile.mkdtemp(prefix='pgherd-accept.')
    os.chmod(top, 0o755)
    h = Herd(os.path.join(top, 'herd'), free_base_port())
    try:
        h.first_output = h.start().stdout
        h.wait('a whole herd', h.healthy)
        yield h
    finally:
        if os.environ.get('KEEP'):
            print('kept:', top)
        else:
            h.demo('destroy', '--force', check=False)
            subprocess.run(['rm', '-rf', top])
