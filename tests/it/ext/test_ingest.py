"""Rows in bulk from several clients at once, long VALUES lists, and nodes that are away while reference tables change."""
import contextlib
import io
import threading

import psycopg2
import pytest

from conftest import eventually


def run(c, sql, *args):
    cur = c.cursor()
    cur.execute(sql, args)
    return cur.fetchall() if cur.description else cur.rowcount


def lines(first, n):
    return "".join("%d\trow %d\n" % (i, i) for i in range(first, first + n))


def copy(nodes, node, first, n, errors):
    try:
        with contextlib.closing(nodes.session(node, autocommit=False)) as c:
            c.cursor().copy_expert("copy streams from stdin", io.StringIO(lines(first, n)))
            c.commit()
    except Exception as e:
        errors.append(e)


def test_copy_streams_of_several_clients(nodes, table):
    """Through different nodes, into the same shards, beside single writes; one of them fails and leaves nothing."""
    nodes.psql(0, "create table streams (k int primary key, v text); select create_distributed_table('streams', 'k')")
    n, errors, bad = 20000, [], []
    threads = [threading.Thread(target=copy, args=(nodes, node, i * n, n, errors))
               for i, node in enumerate((0, 0, 1, 2))]
    threads.append(threading.Thread(target=copy, args=(nodes, 0, 2 * n - 500, n, bad)))  # some keys twice
    for t in threads:
        t.start()
    with contextlib.closing(nodes.session()) as c:
        for i in range(50):
            run(c, "insert into streams values (%s, 'single')", 1000000 + i)
    for t in threads:
        t.join()
    # whoever comes second waits for the other and fails as a whole: the fifth, or those it overlaps
    assert bad or errors
    assert all(isinstance(e, (psycopg2.errors.UniqueViolation, psycopg2.errors.DeadlockDetected)) for e in errors + bad)
    total = nodes.value(0, "select count(*) from streams where v = 'row ' || k")
    assert total == (5 - len(errors) - len(bad)) * n
    assert nodes.value(0, "select count(*) from streams where v = 'single'") == 50
    assert nodes.all_prepared() == []


def test_thousands_of_values(nodes, table):
    """One command for each shard, one transaction, the same as on a plain table."""
    nodes.psql(0, "create table many (k int primary key, v text default 'none', w int check (w <> 4999)); "
                  "create table plain (like many including all); select create_distributed_table('many', 'k')")
    with contextlib.closing(nodes.session()) as c:
        for n in (40, 900, 4000):
            for name in ("plain", "many"):
                run(c, "truncate " + name)
                values = ", ".join("(%d, %s, %d)" % (i, "default" if i % 3 else "'v%d'" % i, i) for i in range(n))
                assert run(c, "insert into %s values %s" % (name, values)) == n
            assert run(c, "select * from many except select * from plain") == []
            assert run(c, "select count(*) from many") == [(n,)]
        with pytest.raises(psycopg2.errors.CheckViolation):
            run(c, "insert into many (k, w) values " + ", ".join("(%d, %d)" % (i, i) for i in range(4000, 6000)))
        assert run(c, "select count(*) from many") == [(4000,)]
    assert nodes.all_prepared() == []


def test_a_node_that_is_away_can_be_left_out_and_comes_back(nodes, table):
    nodes.psql(0, "create table places (a int); select create_reference_table('places'); insert into places values (1)")
    n = nodes.add_server()
    address = "'127.0.0.1', %d" % nodes.ports[n]
    nodes.psql(0, "select citus_add_node(%s)" % address)
    nodes.psql(0, "select citus_set_node_property(%s, 'shouldhaveshards', false)" % address)
    assert nodes.rows(n, "select a from places") == [(1,)]
    nodes.halt(n, "immediate")
    with contextlib.closing(nodes.session()) as c:
        run(c, "set citus.node_hold_timeout = 0")
        with pytest.raises(psycopg2.OperationalError, match=str(nodes.ports[n])):
            run(c, "insert into places values (2)")
        run(c, "select citus_disable_node(%s)" % address)
        run(c, "insert into places values (3)")
        run(c, "create table later (a int)")
        run(c, "select create_reference_table('later')")
        with pytest.raises(psycopg2.Error):
            run(c, "select citus_activate_node(%s)" % address)
        assert run(c, "select isactive from pg_dist_node where nodeport = %s", nodes.ports[n]) == [(False,)]
    nodes.boot(n)
    nodes.psql(0, "select citus_activate_node(%s)" % address)
    nodes.psql(0, "insert into later values (7)")
    assert nodes.rows(n, "select a from places order by 1") == [(1,), (3,)]
    assert nodes.rows(n, "select a from later") == [(7,)]
    nodes.halt(n, "immediate")
    nodes.psql(0, "select citus_remove_node(%s)" % address)
    nodes.psql(0, "insert into places values (4)")
    eventually(lambda: nodes.value(1, "select count(*) from places") == 3)
