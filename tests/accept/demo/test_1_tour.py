"""The first steps of the README's tour: what a newcomer sees after ./demo."""
import re

from conftest import SEED_SQL


def test_demo_ends_with_the_table_and_a_psql_line(herd):
    out = herd.first_output
    assert '+ Citus cluster: demo ' in out
    assert re.search(r'writes\s+127\.0\.0\.1:%d' % herd.base, out)
    assert re.search(r'psql -h 127\.0\.0\.1 -p %d -U postgres citus' % herd.base, out)


def test_list_prints_the_table_of_the_seeds(herd):
    lines = herd.ctl('list').stdout.splitlines()
    assert re.match(r'^\+ Citus cluster: demo -+\+[-+]+$', lines[0])
    header = [c.strip() for c in lines[1].strip('|').split('|')]
    assert header[:6] == ['Group', 'Member', 'Host', 'Role', 'State', 'TL']
    rows = [[c.strip() for c in line.strip('|').split('|')] for line in lines if line.startswith('|')][1:]
    assert [r[1] for r in rows] == ['coord1', 'coord2', 'coord3', 'work1-1', 'work1-2', 'work2-1', 'work2-2']
    assert [r[0] for r in rows] == ['0', '0', '0', '1', '1', '2', '2']
    roles = [r[3] for r in rows]
    assert roles.count('Leader') == 3
    assert all(r in ('Leader', 'Sync Standby', 'Quorum Standby', 'Replica') for r in roles)
    assert roles.count('Sync Standby') + roles.count('Quorum Standby') >= 3


def test_extension_and_nodes(herd):
    assert herd.sql("select count(*) from pg_extension where extname = 'pgherd'") == [(1,)]
    nodes = herd.sql('select nodeid, groupid, nodename, nodeport, noderole from pg_dist_node order by groupid')
    assert sorted((n[1], n[4]) for n in nodes) == [
        (0, 'primary'), (0, 'secondary'), (0, 'secondary'),
        (1, 'primary'), (1, 'secondary'), (2, 'primary'), (2, 'secondary')]
    authinfo = herd.sql('select nodeid, rolename, authinfo from pg_dist_authinfo')
    assert authinfo[0][:2] == (0, 'postgres') and 'password=' in authinfo[0][2]


def test_distributed_table_of_the_seeds(herd):
    herd.sql('create table my_distributed_table(id bigint not null generated always as identity, '
             'value double precision)')
    herd.sql("select create_distributed_table('my_distributed_table', 'id')")
    ids = [herd.sql(SEED_SQL)[0][1] for _ in range(50)]
    assert len(set(ids)) == 50
    assert herd.sql('select count(*) from my_distributed_table') == [(50,)]
    assert herd.sql("select count(*) from pg_dist_shard where logicalrelid = 'my_distributed_table'::regclass") == [(32,)]
    placed = herd.sql("""select groupid, count(*) from pg_dist_placement join pg_dist_shard using (shardid)
                         where logicalrelid = 'my_distributed_table'::regclass group by 1 order by 1""")
    assert placed == [(1, 16), (2, 16)]
    assert herd.sql("select count(distinct nodeport) from citus_shards "
                    "where table_name = 'my_distributed_table'::regclass") == [(2,)]


def test_every_endpoint(herd):
    for offset in range(3):
        assert herd.sql('select 1', port=herd.base + offset) == [(1,)]
    assert herd.sql('select pg_is_in_recovery()') == [(False,)]
    assert herd.sql('select pg_is_in_recovery()', port=herd.base + 2) == [(True,)]
    # Any node takes queries: a worker answers for the whole table and may write to it.
    assert herd.sql('select count(*) from my_distributed_table', port=herd.base + 1) == [(50,)]
    assert herd.sql(SEED_SQL, port=herd.base + 1)[0][1] > 0
    herd.wait('the standby has it', lambda: herd.sql(
        'select count(*) from my_distributed_table', port=herd.base + 2) == [(51,)])
