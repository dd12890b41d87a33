#!/usr/bin/python3
"""bench/proxy-beside.py [--secs S] [--rounds N] [--clients "1 16"]: our proxy beside PgBouncer and direct connections.

Starts one PostgreSQL, one PgBouncer and one pgherd proxy with the same ini, then runs bench/proxy.sh (pgbench,
the targets in turn within each round). All of it on private ports below one temporary directory.
"""
import argparse
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PGBIN = pathlib.Path(os.environ.get('PGBIN', '/usr/lib/postgresql/15/bin'))
INI = """[databases]
* = host=127.0.0.1 port={pg}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = {auth}
auth_file = {dir}/users.txt
pool_mode = transaction
max_client_conn = 20000
default_pool_size = 16
log_connections = 0
log_disconnections = 0
admin_users = postgres
"""


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def as_postgres():
    if os.getuid() == 0:
        pw = pwd.getpwnam('postgres')
        return {'user': pw.pw_uid, 'group': pw.pw_gid, 'extra_groups': []}
    return {}


def wait_port(port):
    for _ in range(200):
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f'nothing listens on port {port}')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--secs', default='4')
    p.add_argument('--rounds', default='3')
    p.add_argument('--clients', default='1 16')
    p.add_argument('--protos', default='simple extended',
                   help='Debian 12 has PgBouncer 1.18, which does not pool prepared statements')
    p.add_argument('--threads', default='1', help='worker threads of our proxy')
    a = p.parse_args()
    top = tempfile.mkdtemp(prefix='pgherd-proxy-bench.')
    drop = as_postgres()
    if drop:
        os.chown(top, drop['user'], drop['group'])
    pg, bouncer, ours = free_port(), free_port(), free_port()
    procs = []
    run = lambda *args: subprocess.run([str(x) for x in args], check=True, cwd=top, stdout=subprocess.DEVNULL, **drop)
    try:
        run(PGBIN / 'initdb', '-D', f'{top}/pg', '-U', 'postgres', '-A', 'trust')
        procs.append(subprocess.Popen([str(PGBIN / 'postgres'), '-D', f'{top}/pg', '-p', str(pg), '-c',
                                       'max_connections=400', '-c', f'unix_socket_directories={top}', '-c',
                                       'shared_buffers=256MB', '-c', 'fsync=off'],
                                      cwd=top, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **drop))
        wait_port(pg)
        time.sleep(0.5)
        sql = ("create role b_trust login superuser password 'bench'; create role b_md5 login superuser password 'bench'; "
               "create role b_scram login superuser password 'bench'; create database bench")
        for statement in sql.split('; '):
            run(PGBIN / 'psql', '-h', '127.0.0.1', '-p', pg, '-U', 'postgres', '-c', statement)
        run(PGBIN / 'pgbench', '-h', '127.0.0.1', '-p', pg, '-U', 'postgres', '-i', '-q', '-s', '4', 'bench')
        pathlib.Path(f'{top}/users.txt').write_text(''.join(f'"{u}" "bench"\n' for u in ('b_trust', 'b_md5', 'b_scram')))
        for name, port in (('bouncer', bouncer), ('ours', ours)):
            text = INI.format(pg=pg, port=port, dir=top, auth='trust')
            if name == 'ours':
                text += f'max_prepared_statements = 200\n[pgherd]\nworker_threads = {a.threads}\n'
            pathlib.Path(f'{top}/{name}.ini').write_text(text)
        for f in ('users.txt', 'bouncer.ini', 'ours.ini'):
            os.chmod(f'{top}/{f}', 0o644)
        shutil.copy(ROOT / 'build/pgherd', f'{top}/pgherd')
        log = open(f'{top}/proxies.log', 'ab')
        for argv in (['/usr/sbin/pgbouncer', f'{top}/bouncer.ini'], [f'{top}/pgherd', 'proxy', f'{top}/ours.ini']):
            procs.append(subprocess.Popen(argv, cwd=top, stdout=log, stderr=log, **drop))
        wait_port(bouncer)
        wait_port(ours)
        env = dict(os.environ, TARGETS=f'direct=127.0.0.1:{pg} pgbouncer=127.0.0.1:{bouncer} ours=127.0.0.1:{ours}',
                   SECS=a.secs, ROUNDS=a.rounds, CLIENTS=a.clients, PROTOS=a.protos)
        subprocess.run([str(ROOT / 'bench/proxy.sh'), 'tps'], env=env, check=True)
    finally:
        for proc in reversed(procs):
            proc.send_signal(signal.SIGINT)
            try:
                proc.wait(10)
            except subprocess.TimeoutExpired:
                proc.kill()
        shutil.rmtree(top, ignore_errors=True)


if __name__ == '__main__':
    main()
