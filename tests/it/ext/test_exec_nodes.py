"""Nodes that freeze, fail, change their leader or run out of connections; roles; settings."""
import contextlib
import os
import signal
import threading
import time

import psycopg2
import pytest
from conftest import eventually, run


@pytest.fixture
def session(nodes, table):
    with contextlib.closing(nodes.session()) as c:
        yield c


def signal_server(postmaster, what):
    for pid in [postmaster] + [int(p) for p in os.popen("pgrep -P %d" % postmaster).read().split()]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


@contextlib.contextmanager
def frozen(nodes, node):
    """The whole server stands still, its postmaster as well: it accepts and never answers."""
    postmaster = nodes.postmaster(node)
    try:
        os.kill(postmaster, signal.SIGSTOP)
        signal_server(postmaster, signal.SIGSTOP)
        yield
    finally:
        signal_server(postmaster, signal.SIGCONT)


class Job(threading.Thread):
    """A statement in a session of its own, in the background."""

    def __init__(self, nodes, *statements, **kw):
        super().__init__()
        self.c = nodes.session(**kw)
        self.pid = run(self.c, "select pg_backend_pid()")[0][0]
        self.statements = statements
        self.error = self.rows = None
        self.start()

    def run(self):
        try:
            for s in self.statements:
                self.rows = run(self.c, s)
        except psycopg2.Error as e:
            self.error = e
        finally:
            self.c.close()


def gone(nodes, pid):
    return not nodes.rows(0, "select 1 from pg_stat_activity where pid = %d" % pid)


def waits(nodes, pid):
    return nodes.rows(0, "select 1 from pg_stat_activity where pid = %d and state = 'active' and "
                      "wait_event_type = 'Extension'" % pid)


@pytest.mark.parametrize("what", ["select count(*) from t", "update t set b = b",
                                  "select b from t where a = (select min(a) from t)"])
def test_terminate_while_a_node_is_frozen(nodes, table, what):
    job = Job(nodes, "select count(*) from t", what)
    with frozen(nodes, 1):
        other = Job(nodes, what)  # this one has no connection yet
        eventually(lambda: waits(nodes, other.pid), what="the wait for the node")
        time.sleep(0.2)
        for one in (job, other):
            nodes.psql(0, "select pg_terminate_backend(%d)" % one.pid)
            eventually(lambda p=one.pid: gone(nodes, p), timeout=15, what="the backend's end")
    job.join()
    other.join()
    assert other.error


def test_cancel_in_a_block_while_a_node_is_frozen(nodes, table):
    """The node has done its part and says nothing more; cancel and rollback return."""
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        run(c, "update t set b = 'frozen'")
        with frozen(nodes, 1):
            run(c, "set local statement_timeout = '300ms'")
            with pytest.raises(psycopg2.errors.QueryCanceled):
                run(c, "update t set b = 'again'")
            c.rollback()
    assert nodes.value(0, "select count(*) from t where b = 'frozen'") == 0


def test_terminate_while_a_node_commits(nodes, table):
    """The answer to COMMIT does not come; that holds nobody up either."""
    key = nodes.keys_on("t", 1)[0]
    c = nodes.session(autocommit=False)
    pid = run(c, "select pg_backend_pid()")[0][0]
    run(c, "update t set b = b where a = %s", (key,))
    with frozen(nodes, 1):
        t = threading.Thread(target=_commit, args=(c,))
        t.start()
        eventually(lambda: nodes.rows(0, "select 1 from pg_stat_activity where pid = %d and query "
                                      "ilike 'commit%%'" % pid))
        nodes.psql(0, "select pg_terminate_backend(%d)" % pid)
        eventually(lambda: gone(nodes, pid), timeout=15)
    t.join()
    c.close()


def _commit(c):
    with contextlib.suppress(psycopg2.Error):
        c.commit()


def test_a_killed_worker_fails_no_statement(nodes, table):
    """kill -9 of a worker under load; statements wait until it is back."""
    stop, done, failed = threading.Event(), [0] * 4, []

    def load(i):
        with contextlib.closing(nodes.session()) as c:
            key = i
            while not stop.is_set():
                key = key % 1000 + 1
                try:
                    got = run(c, "select count(*) from t") if key % 8 == 0 else \
                        run(c, "select a from t where a = %s", (key,))
                    assert got == ([(1000,)] if key % 8 == 0 else [(key,)])
                    done[i] += 1
                except psycopg2.Error as e:
                    failed.append(e)
                    return

    threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    try:
        eventually(lambda: sum(done) > 50)
        nodes.kill(1)
        time.sleep(1)
        nodes.revive(1)
        before = list(done)
        eventually(lambda: failed or all(d > b + 5 for d, b in zip(done, before)), timeout=60)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failed


def test_a_statement_under_way_is_done_again(nodes, table):
    """The sessions of a read, and of a write that nothing came before, are ended on the node."""
    for sql, want in (("select count(*) from t where b like 'x%'", [(1000,)]),
                      ("update t set b = 'x' || a", 1000),
                      ("update t set b = 'x' || a where a = %d" % nodes.keys_on("t", 1)[0], 1)):
        with nodes.blocked("t", 1) as lock:
            job = Job(nodes, sql)
            held = "select pid from pg_stat_activity where application_name like " \
                   "'citus_internal%' and wait_event_type = 'Lock'"
            pids = eventually(lambda: nodes.rows(1, held))
            for pid, in pids:
                nodes.psql(1, "select pg_terminate_backend(%d)" % pid)
            eventually(lambda: [p for p in nodes.rows(1, held) if p not in pids])
            lock.rollback()
            job.join()
        assert not job.error and job.rows == want


def test_a_transaction_that_loses_its_work_fails(nodes, table):
    key = nodes.keys_on("t", 1)[0]
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        run(c, "update t set b = 'lost' where a = %s", (key,))
        nodes.psql(1, "select pg_terminate_backend(pid) from pg_stat_activity where "
                   "application_name like 'citus_internal%' and state like 'idle in%'")
        with pytest.raises(psycopg2.OperationalError) as e:
            run(c, "update t set b = 'more' where a = %s", (key,))
        assert "127.0.0.1:%d" % nodes.ports[1] in str(e.value)
    assert nodes.value(0, "select count(*) from t where b in ('lost', 'more')") == 0


def test_a_group_without_primary_is_waited_for(nodes, table):
    """Its row is gone for a moment, as while a new leader is entered."""
    key = nodes.keys_on("t", 2)[0]
    nodes.psql(0, "update pg_dist_node set isactive = false where groupid = 2")
    try:
        job = Job(nodes, "select a from t where a = %d" % key)
        eventually(lambda: waits(nodes, job.pid))
        with contextlib.closing(nodes.session()) as c:
            run(c, "set citus.node_hold_timeout = '200ms'")
            with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
                run(c, "select a from t where a = %s", (key,))
    finally:
        nodes.psql(0, "update pg_dist_node set isactive = true where groupid = 2")
    job.join()
    assert job.rows == [(key,)]


def test_pool_sizes(nodes, table, session):
    count = "select coalesce(sum(connection_count_to_node), 0) from " \
            "citus_remote_connection_stats() where port = %d" % nodes.ports[1]
    before = nodes.value(0, count)
    run(session, "set citus.force_max_query_parallelization = on")
    run(session, "set citus.max_tasks_per_node = -1; set citus.max_adaptive_executor_pool_size = 5")
    run(session, "set citus.max_cached_conns_per_worker = 5")
    with nodes.blocked("t", 1) as lock:
        t = threading.Thread(target=run, args=(session, "select count(*) from t"))
        t.start()
        eventually(lambda: nodes.value(1, "select count(*) from pg_stat_activity where "
                                       "application_name like 'citus_internal%' and "
                                       "wait_event_type = 'Lock'") == 5)
        lock.rollback()
        t.join()
    assert nodes.value(0, count) == before + 5
    run(session, "set citus.max_cached_conns_per_worker = 1")
    run(session, "select count(*) from t")
    assert nodes.value(0, count) == before + 1
    session.close()
    eventually(lambda: nodes.value(0, count) == before)


def test_the_shared_limit_holds(nodes, table):
    nodes.psql(0, "alter system set citus.max_shared_pool_size = 4")
    nodes.psql(0, "select pg_reload_conf()")
    try:
        eventually(lambda: nodes.value(0, "show citus.max_shared_pool_size") == "4")
        seen = []
        jobs = [Job(nodes, "set citus.force_max_query_parallelization = on",
                    "set citus.max_tasks_per_node = -1",
                    *["select count(*) from t"] * 10, "update t set b = b where a = 1")
                for _ in range(10)]
        while any(j.is_alive() for j in jobs):
            seen.append(nodes.value(0, "select coalesce(max(connection_count_to_node), 0) from "
                                    "citus_remote_connection_stats()"))
            time.sleep(0.02)
        assert not [j.error for j in jobs if j.error]
        assert max(seen) <= 4 + 2  # who holds one node's connections goes over another's limit
    finally:
        nodes.psql(0, "alter system reset citus.max_shared_pool_size")
        nodes.psql(0, "select pg_reload_conf()")


@pytest.fixture(scope="module")
def roles(nodes, table):
    nodes.psql(0, "create role app login noinherit password 'a'; create role crew nologin; "
               "grant crew to app; grant select on t to crew; create table mine(a int, b text); "
               "select create_distributed_table('mine', 'a'); alter table mine owner to app")
    yield
    nodes.psql(0, "drop table mine; revoke all on t from crew; drop role app; drop role crew")


def test_set_role_without_login(nodes, roles):
    with contextlib.closing(nodes.session(user="app")) as c:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(c, "select count(*) from t")
        run(c, "set role crew")
        assert run(c, "select count(*) from t") == [(1000,)]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(c, "update t set b = 'no'")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(c, "insert into mine values (1, 'no')")
        run(c, "reset role")
        assert run(c, "insert into mine values (1, 'yes')") == 1


def test_a_session_that_was_given_away_stays_so(nodes, roles):
    """Whatever the role runs on the node, it does not become the one who logged in."""
    with contextlib.closing(nodes.session(1)) as c:
        run(c, "select citus_internal.bind_session('crew')")
        assert run(c, "select current_user::text, session_user::text") == [("crew", "crew")]
        for sql in ("set session authorization postgres", "set role postgres",
                    "select set_config('session_authorization', 'postgres', false)",
                    "select citus_internal.bind_session('postgres')"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                run(c, sql)
        for sql in ("reset session authorization", "reset role", "reset all", "discard all"):
            run(c, sql)
            assert run(c, "select current_user::text, session_user::text") == [("crew", "crew")]
    with contextlib.closing(nodes.session(1, user="app")) as c:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(c, "select citus_internal.bind_session('crew')")


def test_roles_need_no_credentials_of_their_own(nodes, roles):
    """The workers ask for passwords; only the superuser's is known between the nodes."""
    saved = {}
    for n in (1, 2):
        with open(nodes.data(n) + "/pg_hba.conf") as f:
            saved[n] = f.read()
    for n in range(3):  # the initial superuser is every server's own
        nodes.psql(n, "alter role postgres password 'pw'")
    nodes.psql(0, "insert into pg_dist_authinfo values (0, 'postgres', 'password=pw')")
    try:
        for n in (1, 2):  # rows of pg_dist_authinfo reach all nodes
            assert nodes.value(n, "select authinfo from pg_dist_authinfo") == "password=pw"
            with open(nodes.data(n) + "/pg_hba.conf", "w") as f:
                f.write("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
            nodes.rows(n, "select pg_reload_conf()", host=nodes.dir)

        def refused():
            try:
                nodes.session(1, user="app").close()
            except psycopg2.OperationalError:
                return True
        eventually(refused)
        with contextlib.closing(nodes.session(user="app")) as c:
            assert run(c, "insert into mine select g, 'x' from generate_series(2, 100) g") == 99
            assert run(c, "select count(*) from mine where b = 'x'") == [(99,)]
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                run(c, "select count(*) from t")
            run(c, "set role crew")
            assert run(c, "select count(*) from t") == [(1000,)]
        nodes.psql(0, "insert into pg_dist_authinfo values (0, 'app', 'password=a')")
        with contextlib.closing(nodes.session(user="app")) as c:
            assert run(c, "select count(*) from mine where b = 'x'") == [(99,)]
        nodes.psql(0, "update pg_dist_authinfo set authinfo = 'password=b' where rolename = 'app'")
        with contextlib.closing(nodes.session(user="app")) as c:
            with pytest.raises(psycopg2.OperationalError):
                run(c, "select count(*) from mine")
    finally:
        for n in (1, 2):
            with open(nodes.data(n) + "/pg_hba.conf", "w") as f:
                f.write(saved[n])
            nodes.rows(n, "select pg_reload_conf()", host=nodes.dir)
        eventually(lambda: not refused())
        nodes.psql(0, "delete from pg_dist_authinfo")
    assert nodes.value(1, "select count(*) from pg_dist_authinfo") == 0


def test_settings_of_the_user_travel(nodes, table, session):
    """A policy or function on the node reads what the session was given."""
    nodes.psql(0, "create or replace function who(int) returns text stable language plpgsql as "
               "$$ begin return current_setting('my.tenant', true) || '/' || $1 - $1; end $$")
    read = "select distinct who(a) from t"
    assert run(session, read) == [(None,)]
    run(session, "set my.tenant = 'one'")
    assert run(session, read) == [("one/0",)]
    run(session, "begin; select set_config('my.tenant', 'it''s two', true)")
    assert run(session, read) == [("it's two/0",)]
    run(session, "savepoint s; set local my.tenant = 'three'")
    assert run(session, read) == [("three/0",)]
    run(session, "rollback to s")
    assert run(session, read) == [("it's two/0",)]
    run(session, "rollback")
    assert run(session, read) == [("one/0",)]
    run(session, "reset my.tenant")
    assert run(session, read) == [("/0",)]


def test_names_mean_the_same_on_all_nodes(nodes, table, session):
    nodes.psql(0, "create schema other; create function other.f() returns text immutable language "
               "sql as $$ select 'other' $$; create or replace function path(int) returns text "
               "stable language plpgsql as $$ begin return f() || $1 - $1; end $$")
    run(session, "set search_path = other, public, pg_catalog")
    assert run(session, "select distinct path(a) from t") == [("other0",)]
    run(session, "set search_path = ''")
    assert run(session, "select count(*) from public.t") == [(1000,)]
    run(session, "set search_path = \"$user\", public; set default_text_search_config = 'simple'")
    assert run(session, "select count(*) from t where to_tsvector('the ' || b) @@ 'the'") == \
        [(1000,)]
    run(session, "set default_text_search_config = 'english'")
    assert run(session, "select count(*) from t where to_tsvector('the ' || b) @@ 'the'") == [(0,)]


def test_set_local_reaches_the_nodes(nodes, table, session):
    def sent(sql):
        session.notices.clear()
        run(session, sql)
        return [n.split("issuing ")[1].split("\n")[0] for n in session.notices
                if "issuing SET LOCAL" in n and "@127.0.0.1:%d" % nodes.ports[1] in n]

    read = "select count(*) from t"
    run(session, "set citus.log_remote_commands = on")
    assert sent("begin; set local work_mem = '123MB'; " + read) == []
    run(session, "rollback; set citus.propagate_set_commands = local")
    assert sent("begin; set local work_mem = '123MB'; " + read) == ["SET LOCAL work_mem = '125952'"]
    assert sent(read) == []
    assert sent("savepoint s; set local work_mem = '7MB'; " + read) == \
        ["SET LOCAL work_mem = '7168'"]
    # what stands there again may have been sent after the savepoint
    assert sent("rollback to s; " + read) == ["SET LOCAL work_mem = '125952'"]
    assert sent("set local enable_seqscan = off; " + read) == ["SET LOCAL enable_seqscan = 'off'"]
    run(session, "commit")
    assert sent(read) == []


def test_statements_for_many_shards_are_told(nodes, table, session):
    run(session, "set citus.multi_task_query_log_level = notice")
    session.notices.clear()
    run(session, "select b from t where a = 1")
    assert session.notices == []
    run(session, "select count(*) from t")
    assert "more than one shard" in session.notices[0]


def backend_memory(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))


def test_a_huge_result_does_not_grow_the_backend(nodes, table):
    """300 MB pass through; also while another cursor makes the rest of them be kept on disk."""
    with contextlib.closing(nodes.session(autocommit=False)) as c:
        pid = run(c, "select pg_backend_pid()")[0][0]
        run(c, "set work_mem = '1MB'")
        run(c, "update t set b = b where a <= 10")  # from here on one connection per node
        run(c, "declare big no scroll cursor for select a, repeat(b, 10000) from t, "
               "generate_series(1, 6)")
        run(c, "fetch 10 from big")
        before = backend_memory(pid)
        run(c, "declare other no scroll cursor for select a, repeat(b, 10000) from t, "
               "generate_series(1, 6)")
        run(c, "fetch 10 from other")
        most, rows = 0, 20
        for name in ("other", "big"):
            while True:
                got = len(run(c, "fetch 100 from " + name))
                rows += got
                most = max(most, backend_memory(pid))
                if got == 0:
                    break
        assert rows == 12000
        assert most - before < 48 * 1024


@pytest.fixture
def standby(nodes, table):
    """Of worker 1, registered as its group's secondary in the cluster "reads"."""
    import cluster
    n = len(nodes.ports)
    nodes.ports.append(cluster.free_port())
    cluster.checked([nodes.bin + "/pg_basebackup", "-h", "127.0.0.1", "-p", str(nodes.ports[1]),
                     "-U", "postgres", "-D", nodes.data(n), "-R", "-c", "fast"])
    with open(nodes.data(n) + "/postgresql.conf", "a") as f:
        f.write("port = %d\n" % nodes.ports[n])
    nodes.boot(n)
    nodes.psql(0, "select citus_add_secondary_node('127.0.0.1', %d, '127.0.0.1', %d, 'reads')" %
               (nodes.ports[n], nodes.ports[1]))
    yield n
    nodes.psql(0, "select citus_remove_node('127.0.0.1', %d)" % nodes.ports[n])
    nodes.halt(n)
    nodes.ports.pop()


def test_secondaries_serve_reads(nodes, table, standby):
    key = nodes.keys_on("t", 1)[0]
    lsn = nodes.value(1, "select pg_current_wal_lsn()")
    eventually(lambda: nodes.value(standby, "select pg_last_wal_replay_lsn() >= '%s'" % lsn))
    with contextlib.closing(nodes.session()) as c:
        run(c, "set citus.use_secondary_nodes = always; set citus.cluster_name = 'reads'")
        run(c, "set citus.log_remote_commands = on")
        assert run(c, "select a from t where a = %s", (key,)) == [(key,)]
        assert any("127.0.0.1:%d" % nodes.ports[standby] in n for n in c.notices)
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            run(c, "update t set b = b where a = %s", (key,))
        run(c, "set citus.node_hold_timeout = 0")
        with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
            run(c, "select count(*) from t")  # group 2 has none
        run(c, "set citus.use_secondary_nodes = never")
        assert run(c, "select count(*) from t") == [(1000,)]
        assert run(c, "update t set b = b where a = %s", (key,)) == 1


def test_connection_lost_that_has_done_its_part(nodes, table):
    """The statement waits for the other node, and can be cancelled meanwhile."""
    answers = []

    def run(sql):
        with contextlib.closing(nodes.session()) as c:
            cur = c.cursor()
            try:
                cur.execute(sql)
                answers.append(cur.fetchone()[0])
            except psycopg2.Error as e:
                answers.append(e.pgcode)

    for sql in ("select count(*) from t", "set statement_timeout = '2s'; select count(*) from t"):
        with nodes.blocked("t", 2) as blocker:
            thread = threading.Thread(target=run, args=(sql,))
            thread.start()
            eventually(lambda: nodes.value(2, "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"),
                       what="a task that waits")
            eventually(lambda: nodes.value(1, "select count(*) from pg_stat_activity where application_name like "
                                           "'citus_internal%' and state = 'idle' and query like '%t_1%'"),
                       what="tasks that are done")
            nodes.rows(1, "select pg_terminate_backend(pid) from pg_stat_activity where application_name like "
                       "'citus_internal%' and state = 'idle' and query like '%t_1%'")
            time.sleep(0.3)
            if "timeout" in sql:
                thread.join(30)
            blocker.rollback()
            thread.join(30)
        assert not thread.is_alive()
    assert answers == [1000, "57014"]
