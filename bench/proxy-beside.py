#!/usr/bin/python3
"""bench/proxy-beside.py: our proxy beside PgBouncer and direct connections, in one run of about 12 minutes.

Starts one PostgreSQL and fresh proxies with the same ini, runs every case on each target in turn (A/B/C within a
round, so that drift hits all alike) and prints one table in markdown: medians over the rounds, ratios as the medians
of the ratios within a round. All of it on private ports below one temporary directory.

  --quick              one round, short runs, fewer clients (about 2 minutes)
  --cases REGEX        only these cases; --list shows their names
  --threads 1,2        one target of ours per number of worker threads
  --pgbouncer PATH     which PgBouncer (1.21 or newer pools prepared statements; an older one sits those cases out)
  --target NAME=PORT   something else that listens already on 127.0.0.1 (with a database bench and roles b_trust, b_md5...)
  --serve              start everything, print the ports, wait: for measuring by hand

CPU is that of the proxy's process (from the scheduler's nanoseconds, all threads), in seconds per 100,000 transactions
or connections, per GB for the streams; memory is PSS from a fresh start.
"""
import argparse
import glob
import hashlib
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests/lib'))
import ports  # noqa: E402

PGBIN = pathlib.Path(os.environ.get('PGBIN', '/usr/lib/postgresql/15/bin'))
LOAD = str(ROOT / 'bench/pgload.py')
INI = """[databases]
* = host={host} port={pg}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = hba
auth_hba_file = {dir}/hba.conf
auth_file = {dir}/users.txt
pool_mode = transaction
max_client_conn = 20000
default_pool_size = 20
max_prepared_statements = 200
log_connections = 0
log_disconnections = 0
admin_users = postgres
listen_backlog = 4096
client_tls_sslmode = allow
client_tls_key_file = {dir}/key.pem
client_tls_cert_file = {dir}/cert.pem
server_tls_sslmode = disable
"""
ODYSSEY = """daemonize no
unix_socket_dir "{dir}"
unix_socket_mode "0644"
locks_dir "{dir}/odylocks"
log_format "%p %t %l [%i %s] (%c) %m\\n"
log_to_stdout no
log_file "{dir}/odyssey.log"
log_config no
log_session no
log_query no
log_stats no
workers {threads}
resolvers 1
readahead 8192
coroutine_stack_size 16
nodelay yes
client_max 20000
listen {{
	host "127.0.0.1"
	port {port}
	backlog 4096
	tls "allow"
	tls_cert_file "{dir}/cert.pem"
	tls_key_file "{dir}/key.pem"
}}
storage "pg" {{
	type "remote"
	host "127.0.0.1"
	port {pg}
}}
database "bench" {{
{users}}}
"""
ODYSSEY_USER = """	user "{user}" {{
		authentication "{method}"
		password "bench"
		storage "pg"
		storage_user "{user}"
		storage_password "bench"
		pool "transaction"
		pool_size 20
		pool_timeout 0
		pool_discard no
		pool_cancel yes
		pool_rollback yes
		pool_reserve_prepared_statement yes
		client_fwd_error yes
	}}
"""
HBA = 'host all b_trust 127.0.0.1/32 trust\nhost all b_md5 127.0.0.1/32 md5\n' \
      'host all b_scram,b_plain 127.0.0.1/32 scram-sha-256\n'


def setpriv():
    if os.getuid() == 0:
        pw = pwd.getpwnam('postgres')
        return {'user': pw.pw_uid, 'group': pw.pw_gid, 'extra_groups': []}
    return {}


def wait_port(port):
    for _ in range(400):
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f'nothing listens on port {port}')


def cpu(pid):
    """Seconds that the process has used; its threads live as long as it does."""
    return sum(int(open(f).read().split()[0]) for f in glob.glob(f'/proc/{pid}/task/*/schedstat')) / 1e9


class Target:
    def __init__(self, name, port, argv=None, lacks=''):
        self.name, self.port, self.argv, self.lacks, self.proc = name, port, argv, lacks, None
        self.pid = None


class Bench:
    def __init__(self, a):
        self.a, self.procs, self.all, self.drop = a, [], [], setpriv()
        self.top = tempfile.mkdtemp(prefix='pgherd-proxy-bench.')
        if self.drop:
            os.chown(self.top, self.drop['user'], self.drop['group'])
        self.env = dict(os.environ, PGPASSWORD='bench', PGCONNECT_TIMEOUT='20', PGGSSENCMODE='disable')

    def spawn(self, argv):
        log = open(f'{self.top}/servers.log', 'ab')
        return subprocess.Popen([str(x) for x in argv], cwd=self.top, stdout=log, stderr=log, **self.drop)

    def stop(self, proc):
        if proc and proc.poll() is None:
            proc.send_signal(signal.SIGINT)
            try:
                proc.wait(10)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait()

    def sql(self, *statements, db='postgres', env=None):
        args = [x for s in statements for x in ('-c', s)]
        out = subprocess.run([str(PGBIN / 'psql'), '-h', '127.0.0.1', '-p', str(self.pg), '-U', 'postgres', '-AtqX', *args,
                              db], check=True, cwd=self.top, capture_output=True, text=True, env=env or self.env)
        return out.stdout.strip()

    def write(self, name, text):
        path = pathlib.Path(f'{self.top}/{name}')
        path.write_text(text)
        os.chmod(path, 0o600)
        if self.drop:
            os.chown(path, self.drop['user'], self.drop['group'])

    def server(self):
        self.pg = ports.free_port()
        run = lambda *args: subprocess.run([str(x) for x in args], check=True, cwd=self.top, stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL, env=self.env, **self.drop)
        run(PGBIN / 'initdb', '-D', f'{self.top}/pg', '-U', 'postgres', '-A', 'trust')
        run('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-keyout',
            f'{self.top}/key.pem', '-out', f'{self.top}/cert.pem')
        self.write('pg/pg_hba.conf', 'host all postgres 127.0.0.1/32 trust\nlocal all all trust\n' + HBA)
        self.procs.append(self.spawn(
            [PGBIN / 'postgres', '-D', f'{self.top}/pg', '-p', self.pg, '-k', self.top] + [x for kv in (
                'max_connections=400', 'shared_buffers=512MB', 'fsync=off', 'synchronous_commit=off',
                'full_page_writes=off', 'autovacuum=off', 'jit=off', 'wal_level=minimal', 'max_wal_senders=0', 'ssl=on',
                f'ssl_cert_file={self.top}/cert.pem', f'ssl_key_file={self.top}/key.pem') for x in ('-c', kv)]))
        wait_port(self.pg)
        for _ in range(100):
            try:
                self.sql('select 1')
                break
            except subprocess.CalledProcessError:
                time.sleep(0.1)
        self.sql(*[f"set password_encryption = '{'md5' if u == 'b_md5' else 'scram-sha-256'}'; "
                   f"create role {u} login superuser password 'bench'" for u in ('b_trust', 'b_md5', 'b_scram', 'b_plain')])
        self.sql('create database bench')
        self.sql('create table bench_big as select i as id, repeat(md5(i::text), 31) as t from generate_series(1, 100000) i',
                 'create unlogged table bench_sink(t text)', 'vacuum analyze bench_big', db='bench')
        run(PGBIN / 'pgbench', '-h', '127.0.0.1', '-p', self.pg, '-U', 'postgres', '-i', '-q', '-s', self.a.scale, 'bench')
        secret = self.sql("select rolpassword from pg_authid where rolname = 'b_scram'")
        md5 = 'md5' + hashlib.md5(b'benchb_md5').hexdigest()
        self.write('users.txt', f'"b_trust" "bench"\n"b_md5" "{md5}"\n"b_scram" "{secret}"\n"b_plain" "bench"\n')
        self.write('hba.conf', HBA)
        self.write('one.sql', 'select 1\n')
        os.chmod(f'{self.top}/one.sql', 0o644)

    def targets(self):
        a, t = self.a, [Target('direct', self.pg)]
        host = self.top if a.unix else '127.0.0.1'
        if a.pgbouncer and os.access(a.pgbouncer, os.X_OK):
            v = subprocess.run([a.pgbouncer, '-V'], capture_output=True, text=True).stdout
            v = [int(x) for x in re.search(r'(\d+)\.(\d+)\.?(\d*)', v).groups() if x]
            old = v < [1, 21]
            shutil.copy(a.pgbouncer, f'{self.top}/pgbouncer')
            port = ports.free_port()
            text = INI.format(host=host, pg=self.pg, port=port, dir=self.top)
            if old:
                text = text.replace('max_prepared_statements = 200\n', '')
            self.write('pgbouncer.ini', text)
            t.append(Target('pgbouncer', port, [f'{self.top}/pgbouncer', f'{self.top}/pgbouncer.ini'],
                            'prepared' if old else ''))
            print(f'PgBouncer {".".join(map(str, v))}', file=sys.stderr)
        shutil.copy(a.pgherd, f'{self.top}/pgherd')
        for n in a.threads.split(','):
            port = ports.free_port()
            self.write(f'ours{n}.ini', INI.format(host=host, pg=self.pg, port=port, dir=self.top) +
                       f'[pgherd]\nworker_threads = {n}\n{a.ini}\n')
            t.append(Target(f'pgherd-{n}', port, [f'{self.top}/pgherd', 'proxy', f'{self.top}/ours{n}.ini']))
        if a.odyssey:
            port = ports.free_port()
            users = ''.join(ODYSSEY_USER.format(user='b_' + u, method=m) for u, m in (
                ('trust', 'none'), ('md5', 'md5'), ('scram', 'scram-sha-256'), ('plain', 'scram-sha-256')))
            self.write('odyssey.conf', ODYSSEY.format(pg=self.pg, port=port, dir=self.top, users=users,
                                                      threads=a.threads.split(',')[0]))
            os.makedirs(f'{self.top}/odylocks')
            if self.drop:
                os.chown(f'{self.top}/odylocks', self.drop['user'], self.drop['group'])
            t.append(Target('odyssey', port, [a.odyssey, f'{self.top}/odyssey.conf']))
        for spec in a.target:
            name, port = spec.split('=')
            other = Target(name, int(port))
            out = subprocess.run(['ss', '-ltnpH', f'sport = :{port}'], capture_output=True, text=True).stdout
            other.pid = int(re.search(r'pid=(\d+)', out).group(1))
            t.append(other)
        return t

    def start(self, t):
        if t.argv:
            t.proc = self.spawn(t.argv)
            t.pid = t.proc.pid
            wait_port(t.port)

    # one measurement each: a dict of numbers, or None when the target cannot do it

    def pgbench(self, t, secs, user, tls, args, sample=0.25):
        for f in glob.glob(f'{self.top}/log.*'):
            os.unlink(f)
        c0 = cpu(t.pid) if t.pid else 0
        env = dict(self.env, PGSSLMODE='require' if tls else 'disable')
        out = subprocess.run([str(PGBIN / 'pgbench'), '-n', '-h', '127.0.0.1', '-p', str(t.port), '-U', user, '-T', str(secs),
                              '-l', f'--log-prefix={self.top}/log', f'--sampling-rate={sample}', *args, 'bench'],
                             cwd=self.top, env=env, capture_output=True, text=True, timeout=secs + 60)
        c1 = cpu(t.pid) if t.pid else 0
        tps = re.search(r'^tps = ([0-9.]+)', out.stdout, re.M)
        n = re.search(r'actually processed: (\d+)', out.stdout)
        if not tps or 'aborted' in out.stderr or not int(n.group(1)):
            print(f'! {t.name} {" ".join(args)}: {out.stderr.strip().splitlines()[-1:]}', file=sys.stderr)
            return None
        lat = sorted(int(line.split()[2]) for f in glob.glob(f'{self.top}/log.*') for line in open(f))
        r = {'rate': float(tps.group(1))}
        if t.pid:
            r['cpu'] = (c1 - c0) / int(n.group(1)) * 1e5
        if len(lat) > 20:
            r['p50'], r['p99'] = lat[len(lat) // 2], lat[len(lat) * 99 // 100]
        return r

    def load(self, t, *args):
        out = subprocess.run([sys.executable, LOAD, args[0], '127.0.0.1', str(t.port), 'b_trust', 'bench', str(args[1]),
                              str(t.pid or '')], env=self.env, capture_output=True, text=True, timeout=180)
        line = (out.stdout.strip().splitlines() or [''])[-1]
        if out.returncode or '=' not in line:
            print(f'! {t.name} {args}: {(out.stderr.strip().splitlines() or [line])[-1]}', file=sys.stderr)
            return None
        return dict(x.split('=', 1) for x in re.findall(r'\w+=\S+', line))

    def bulk(self, t, kind):
        c0 = cpu(t.pid) if t.pid else 0
        v = self.load(t, 'bulk', kind)
        c1 = cpu(t.pid) if t.pid else 0
        if not v:
            return None
        return dict({'rate': float(v['mb_s'])}, **({'cpu': (c1 - c0) / float(v['mb']) * 1000} if t.pid else {}))

    def storm(self, t, n):
        """From a fresh start of the proxy."""
        if not t.argv:
            return None
        self.stop(t.proc)
        self.start(t)
        time.sleep(0.3)
        v = self.load(t, 'storm', n)
        if not v:
            return None
        if int(v['ok']) < n or int(v['query_err']):
            print(f'! {t.name} storm: {v}', file=sys.stderr)
        return {'rate': n / float(v['login_s']), 'p50': float(v['p50_ms']) * 1000, 'p99': float(v['p99_ms']) * 1000,
                'cpu': float(v['login_cpu_s']) / n * 1e5, 'kb': float(v['kb_per_client'])}

    def cases(self):
        a, c = self.a, {}
        some = [1, 16] if a.quick else [1, 16, 64]

        def add(name, fn, rounds=None):
            c[name] = (fn, rounds or a.rounds)

        def pg(user, tls, args, secs=a.secs, sample=0.25):
            return lambda t: self.pgbench(t, secs, user, tls, args, sample)
        for tls in (False, True):
            for proto in ('simple', 'extended', 'prepared'):
                for n in some:
                    if not (a.quick and tls and (n == 1 or proto != 'prepared')):
                        add(f'{"tls" if tls else "select"}-{proto}-c{n}',
                            pg('b_trust', tls, ['-S', '-M', proto, '-c', str(n), '-j', '2' if n > 1 else '1']))
        for proto in ('simple', 'prepared'):
            add(f'tpcb-{proto}-c16', pg('b_trust', False, ['-M', proto, '-c', '16', '-j', '2']))
        one = ['-C', '-c', '4', '-j', '2', '-f', f'{self.top}/one.sql']
        for user in ('trust', 'md5', 'scram', 'plain'):
            add('conn-' + {'plain': 'scram-of-plaintext'}.get(user, user), pg(f'b_{user}', False, one, sample=1))
        for user in ('trust', 'scram'):
            add(f'conn-tls-{user}', pg(f'b_{user}', True, one, sample=1))
        for kind in ('select', 'copyout', 'copyin'):
            add(f'bulk-{kind}', lambda t, kind=kind: self.bulk(t, kind), a.rounds + (0 if a.quick else 2))
        n = 1000 if a.quick else 10000
        add(f'storm-{n}', lambda t: self.storm(t, n), 1 if a.quick else 2)
        return {k: v for k, v in c.items() if re.search(a.cases, k)}

    def table(self, case, results):
        """One row per target; results: name -> list of dicts or None, by round."""
        unit = 'MB/s' if case.startswith('bulk') else 'conn/s' if re.match('conn|storm', case) else 'tps'
        med = lambda name, k: (lambda x: statistics.median(x) if x else None)([r[k] for r in results[name] if r and k in r])

        def ratio(name, ref, k):
            x = [r[k] / o[k] for r, o in zip(results[name], results.get(ref, [])) if r and o and r.get(k) and o.get(k)]
            return statistics.median(x) if x else None
        f = lambda v, p=0: '' if v is None else f'{v:.{p}f}'
        for name in results:
            row = [case, name, f'{f(med(name, "rate"))} {unit}', f(med(name, 'p50')), f(med(name, 'p99')),
                   f(med(name, 'cpu'), 2), f(ratio(name, 'direct', 'rate'), 2), f(ratio(name, 'pgbouncer', 'rate'), 2),
                   f(ratio(name, 'pgbouncer', 'cpu'), 2), f(ratio(name, 'pgbouncer', 'p99'), 2), f(med(name, 'kb'), 2)]
            self.say('| ' + ' | '.join(row) + ' |')

    def say(self, text):
        print(text, flush=True)
        if self.a.out:
            with open(self.a.out, 'a') as f:
                f.write(text + '\n')

    def go(self):
        cases = self.cases()
        if self.a.list:
            print('\n'.join(cases))
            return
        self.server()
        targets = self.all = self.targets()
        for t in targets:
            self.start(t)
        if self.a.serve:
            print(' '.join(f'{t.name}={t.port}/{t.pid or ""}' for t in targets), self.top, flush=True)
            signal.pause()
        self.say(f'`{time.strftime("%F %T")}` {os.uname().release}, {os.cpu_count()} processors, load '
                 f'{os.getloadavg()[0]:.1f}; {self.a.rounds} rounds of {self.a.secs} s\n')
        self.say('| case | target | rate | p50 us | p99 us | CPU s/100k (s/GB) | rate : direct | rate : PgBouncer | '
                 'CPU : PgBouncer | p99 : PgBouncer | kB/client |')
        self.say('|' + '---|' * 11)
        for case, (fn, rounds) in cases.items():
            results = {t.name: [] for t in targets if not (t.lacks and t.lacks in case)}
            for _ in range(rounds):
                for t in targets:
                    if t.name in results:
                        results[t.name].append(fn(t))
            self.table(case, {k: v for k, v in results.items() if any(v)})

    def close(self):
        for proc in [t.proc for t in self.all] + self.procs[::-1]:
            self.stop(proc)
        shutil.rmtree(self.top, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true')
    p.add_argument('--cases', default='.', metavar='REGEX')
    p.add_argument('--list', action='store_true')
    p.add_argument('--secs', type=float)
    p.add_argument('--rounds', type=int)
    p.add_argument('--scale', default='10', help='of the pgbench tables')
    p.add_argument('--threads', default='1,2')
    p.add_argument('--pgbouncer', default=os.environ.get('PGBOUNCER', '/usr/sbin/pgbouncer'))
    p.add_argument('--odyssey', help='which Odyssey, to run it beside, too (with as many workers as our first target)')
    p.add_argument('--pgherd', default=str(ROOT / 'build/pgherd'))
    p.add_argument('--ini', default='', help='lines for our [pgherd] section')
    p.add_argument('--unix', action='store_true', help='the proxies reach PostgreSQL through its unix socket')
    p.add_argument('--target', action='append', default=[], metavar='NAME=PORT')
    p.add_argument('--serve', action='store_true')
    p.add_argument('--out', help='append the table to this file, too')
    a = p.parse_args()
    a.secs = int(a.secs) if a.secs else 1 if a.quick else 2
    a.rounds = a.rounds or (1 if a.quick else 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    b = Bench(a)
    try:
        b.go()
    except KeyboardInterrupt:
        pass
    finally:
        b.close()


if __name__ == '__main__':
    main()
