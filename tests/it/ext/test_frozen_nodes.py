"""A worker that accepts and says nothing more holds no backend, whatever phase a statement is in.

In each phase the statement ends by statement_timeout and its backend by pg_terminate_backend. But
COMMIT waits for the answer of the node that decides: nobody can say before what became of it.
"""
import contextlib
import io
import threading
import time

import psycopg2
import pytest
from conftest import eventually
from test_exec_nodes import frozen, gone, run

ROWS = "".join("%d\tcopied\n" % n for n in range(100000, 140000))
# Before the worker freezes, and then. A callable gets the cursor.
PHASES = {
    "first connection": ([], "select count(*) from t"),
    "router": (["select b from t where a = 1", "select b from t where a = 2"],
               "select count(b) from t where a in (1, 2, 3, 4, 5, 6, 7, 8)"),
    "merged read": (["select count(*) from t"],
                    "select b, count(distinct a) from t group by b order by 1"),
    "repartition": (["select count(*) from t x join u y on x.b = y.b"],
                    "select count(*) from t x join u y on x.b = y.b"),
    "write": (["begin", "update t set b = b"], "update t set b = b"),
    "insert select": ([], "insert into u select a + 100000, b from t"),
    "reference table": (["select count(*) from r"], "update r set b = b"),
    "copy": ([], lambda cur: cur.copy_expert("copy t from stdin", io.StringIO(ROWS))),
    "copy to": ([], lambda cur: cur.copy_expert("copy t to stdout", io.StringIO())),
    "fetch": (["begin", "declare c cursor for select a, repeat(b, 2000) from t", "fetch 1 from c"],
              "fetch all from c"),
    "savepoint": (["begin", "savepoint s", "update t set b = 'x'"], "rollback to s"),
    "rollback": (["begin", "update t set b = 'x'"], "rollback"),
    "commit of two": (["begin", "update t set b = b"], "commit"),
    "distribute": (["create table d (a int)"], "select create_distributed_table('d', 'a')"),
    "index": ([], "create index on t (b)"),
    "truncate": ([], "truncate u"),
    "analyze": ([], "analyze t"),
    "explain": ([], "explain (analyze) select count(*) from t"),
    "commands": ([], "select * from run_command_on_workers('select 1')"),
    "sizes": ([], "select * from citus_tables"),
    "code": ([], "do $$ begin perform count(*) from t; exception when others then "
                 "perform count(*) from t; end $$"),
}


@pytest.fixture(scope="module")
def herd(nodes, table):
    nodes.psql(0, "create table u (a int primary key, b text); "
                  "select create_distributed_table('u', 'a', colocate_with := 'none'); "
                  "insert into u select g, 'x' || g from generate_series(1, 1000) g; "
                  "create table r (id int primary key, b text); "
                  "select create_reference_table('r'); insert into r values (1, 'one')")
    return nodes


class Statement(threading.Thread):
    def __init__(self, nodes, phase, timeout_ms):
        super().__init__(daemon=True)
        before, self.last = PHASES[phase]
        self.c = nodes.session()
        self.pid = self.c.get_backend_pid()
        run(self.c, "set citus.enable_repartition_joins = on")
        for sql in before:
            run(self.c, sql)
        run(self.c, "set statement_timeout = %d" % timeout_ms)
        self.error = None

    def run(self):
        cur = self.c.cursor()
        try:
            self.last(cur) if callable(self.last) else cur.execute(self.last)
        except psycopg2.Error as e:
            self.error = e


@contextlib.contextmanager
def under_way(nodes, phase, timeout_ms):
    statement = Statement(nodes, phase, timeout_ms)
    try:
        with frozen(nodes, 1):
            statement.start()
            yield statement
        statement.join(60)
        assert not statement.is_alive()
    finally:
        statement.c.close()
    eventually(lambda: gone(nodes, statement.pid), timeout=60, what="the backend's end")
    nodes.psql(0, "drop table if exists d")


@pytest.mark.parametrize("phase", PHASES)
def test_nobody_waits_for_a_frozen_node(herd, phase):
    if phase != "commit of two":
        with under_way(herd, phase, 300) as statement:
            statement.join(60)
            assert not statement.is_alive(), "statement_timeout"
            if statement.error is not None and statement.error.pgcode:
                assert statement.error.pgcode not in ("XX000", "57P02"), statement.error
    with under_way(herd, phase, 0) as statement:
        time.sleep(0.3)
        herd.psql(0, "select pg_terminate_backend(%d)" % statement.pid)
        eventually(lambda: gone(herd, statement.pid), timeout=60, what="the backend's end")
    assert herd.value(0, "select count(*) from t") == 1000
