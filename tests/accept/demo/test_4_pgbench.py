"""pgbench's own TPC-B on distributed tables, through the endpoint for writes."""
import os
import subprocess

import pytest


def pgbench(herd, *args, timeout=120):
    env = dict(os.environ, PGPASSFILE=str(herd.dir / 'pgpass'), PGPASSWORD=herd.password())
    p = subprocess.run(['pgbench', '-h', '127.0.0.1', '-p', str(herd.base), '-U', 'postgres', *args, 'citus'],
                       capture_output=True, text=True, timeout=timeout, env=env)
    assert p.returncode == 0, p.stdout + p.stderr
    return p.stdout + p.stderr


@pytest.fixture(scope='module')
def tables(herd):
    herd.wait('a whole herd', herd.healthy)
    pgbench(herd, '-i', '-s', '2', '-q')
    for table, key in (('branches', 'bid'), ('tellers', 'tid'), ('accounts', 'aid'), ('history', 'aid')):
        herd.sql(f"select create_distributed_table('pgbench_{table}', '{key}', colocate_with => 'none')")
    yield
    herd.sql('drop table pgbench_branches, pgbench_tellers, pgbench_accounts, pgbench_history')


@pytest.mark.parametrize('protocol', ['simple', 'extended', 'prepared'])
def test_tpcb_adds_up(herd, tables, protocol):
    out = pgbench(herd, '-n', '-c', '8', '-j', '2', '-T', '5', '-M', protocol)
    assert 'number of failed transactions: 0' in out
    sums = [herd.sql(f'select coalesce(sum({c}), 0) from pgbench_{t}')[0][0] for t, c in
            (('branches', 'bbalance'), ('tellers', 'tbalance'), ('accounts', 'abalance'), ('history', 'delta'))]
    assert len(set(sums)) == 1, sums
    herd.wait('no prepared transaction left', lambda: all(
        herd.sql('select count(*) from pg_prepared_xacts', port=herd.pg_port(herd.leader(g))) == [(0,)]
        for g in (0, 1, 2)))
