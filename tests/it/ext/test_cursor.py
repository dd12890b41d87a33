"""WHERE CURRENT OF, with cursors of SQL and of PL/pgSQL; what is written while a cursor is open."""
import threading

import psycopg
import pytest

import plan_herd

TABLES = """
create table a (k int not null, x int, s text);
create table v (k varchar(20) primary key, x int);
create table b (k int not null, y int, t text);
create table r (id int, sub text, name text, primary key (id, sub));
create table o (k int, x int);
create table p (k int not null, d int not null, x int) partition by range (d);
create table p_low partition of p for values from (minvalue) to (3);
create table p_high partition of p for values from (3) to (maxvalue);
create table l (id int, x int);
create table n (id int);
"""
DISTRIBUTE = """
select create_distributed_table('a', 'k');
select create_distributed_table('b', 'k', colocate_with => 'a');
select create_distributed_table('v', 'k');
select create_distributed_table('p', 'k');
select create_distributed_table('o', null, colocate_with => 'none');
select create_reference_table('r');
select create_reference_table('n');
"""
ROWS = """
insert into a select i % 12, i, 's' || i from generate_series(1, 40) i;
insert into b select i % 12, i, 't' || i from generate_series(1, 9) i;
insert into v select 'v' || i, i from generate_series(1, 10) i;
insert into r select i, 's' || i, 'r' || i from generate_series(1, 10) i;
insert into o select i, i from generate_series(1, 10) i;
insert into p select i, i % 6, i from generate_series(1, 20) i;
insert into l select i, i from generate_series(1, 10) i;
insert into n values (1), (2);
"""
NAMES = ["a", "b", "v", "r", "o", "p", "l", "n"]

herd, con = plan_herd.fixtures(lambda h: h.load(TABLES, DISTRIBUTE, ROWS))


def both(con, script, tables=NAMES, ordered=False):
    """Runs the statements in one transaction on both sets, and compares answers and contents."""
    got = []
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        con.execute("set search_path = %s" % schema)
        answers = []
        con.execute("begin")
        try:
            for sql in script:
                cur = con.execute(sql, prepare=False)
                answers.append((cur.statusmessage,
                                cur.fetchall() if cur.description else None))
            for table in tables:
                answers.append((table, sorted(con.execute("select * from " + table).fetchall(),
                                              key=plan_herd.key)))
        except psycopg.Error as e:
            answers.append((e.sqlstate, e.diag.message_primary))
        con.execute("rollback")
        got.append(answers)
    assert got[1] == got[0], script
    return got[1]


SCRIPTS = [
    # the row of the cursor, router and over all shards
    ["declare c cursor for select * from a where k = 3 order by x for update",
     "fetch 2 from c", "update a set x = -x, s = 'u' where current of c returning *",
     "fetch 1 from c", "delete from a where current of c returning k, x", "fetch 1 from c"],
    ["declare c cursor for select s, x from a where x = 17 for update", "fetch c",
     "update a set s = 'all' where current of c"],
    ["declare c cursor for select x from a order by x for update", "fetch 5 from c",
     "delete from a where current of c", "fetch 3 from c",
     "update a set s = 'eight' where current of c returning *", "fetch 3 from c"],
    ["declare c cursor for select * from a where k = 5", "move 1 in c", "fetch c",
     "update a set x = x + 1000 where current of c", "fetch all from c"],
    # the same row twice, and after another statement has changed it
    ["declare c cursor for select * from a where x = 7", "fetch c",
     "update a set s = s || '!' where current of c returning s",
     "update a set s = s || '?' where x = 7",
     "update a set s = s || '#' where current of c returning s"],
    ["declare c cursor for select * from a where x = 7 for update", "fetch c",
     "delete from a where x = 7", "update a set s = 'gone' where current of c",
     "delete from a where current of c"],
    # other keys, tables without a key, partitions
    ["declare c cursor for select x from v where k = 'v3'", "fetch c",
     "update v set x = 0 where current of c returning *"],
    ["declare c cursor for select x from v order by x desc for update", "fetch 2 from c",
     "delete from v where current of c returning *"],
    ["declare c cursor for select * from o where x = 4 for update", "fetch c",
     "update o set x = 44 where current of c returning *"],
    ["declare c cursor for select * from o where x = 4", "fetch c",
     "update o set x = 44 where current of c returning *", "delete from o where current of c"],
    ["declare c cursor for select * from r where id = 4", "fetch c",
     "update r set name = 'four' where current of c returning *",
     "delete from r where current of c"],
    ["declare c cursor for select name from r where id = 5 for update", "fetch c",
     "update r set name = 'five' where current of c returning *"],
    ["declare c cursor for select * from p order by k for update", "fetch 4 from c",
     "update p set x = 100 where current of c returning *", "fetch 2 from c",
     "delete from p where current of c returning *"],
    ["declare c cursor for select x from p where k = 2", "fetch c",
     "update p set d = 5, x = 200 where current of c returning *",
     "update p set x = 300 where current of c returning *"],
    # joins with row locks
    ["declare c cursor for select a.x, b.t from a join b using (k) order by a.x for update of a",
     "fetch 3 from c", "update a set s = 'joined' where current of c returning *",
     "delete from a where current of c"],
    ["declare c cursor for select a.x, b.t from a join b using (k) order by a.x, b.y for update",
     "fetch 3 from c", "update a set s = 'joined' where current of c returning *",
     "delete from b where current of c returning *"],
    # with more in the statement
    ["declare c cursor for select * from a where x = 9 for update", "fetch c",
     "with w as (update a set s = 'w' where current of c returning k, s) select * from w"],
    ["declare c cursor for select * from a where x = 9 for update", "fetch c",
     "update a set s = b.t from b where b.y = 9 and current_user is not null and a.k = b.k "
     "and a.x = 9", "update a set s = (select max(name) from r) where current of c returning s"],
    ["declare c cursor for select * from a where x = 9 for update", "fetch c",
     "update a set x = (select count(*) from v) where current of c returning x"],
    ["declare c cursor for select * from a where x = 9", "fetch c",
     "prepare u(text) as update a set s = $1 where current of c returning s",
     "execute u('one')", "execute u('two')", "deallocate u"],
    ["declare c cursor with hold for select * from a where x = 3", "fetch c",
     "update a set s = 'held' where current of c returning *", "close c"],
    # savepoints
    ["declare c cursor for select * from a where x = 3 for update", "fetch c", "savepoint s",
     "update a set s = 'undone' where current of c", "rollback to s",
     "update a set s = s || ' kept' where current of c returning *"],
    # a table of this node in a statement with others
    ["declare c cursor for select * from l where id = 3", "fetch c",
     "update l set x = (select count(*) from a) where current of c returning *"],
]


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_same_as_plain(con, number):
    both(con, SCRIPTS[number])


ERRORS = [
    ["update a set x = 0 where current of nobody"],
    ["declare c cursor for select * from b where y = 3", "fetch c", "update a set x = 0 where current of c"],
    ["declare c cursor for select * from b where y = 3 for update", "fetch c",
     "update a set x = 0 where current of c"],
    ["declare c cursor for select x, count(*) from a group by x", "fetch c",
     "update a set x = 0 where current of c"],
    ["declare c cursor for select * from l", "fetch c", "delete from a where current of c"],
    ["declare c cursor for select * from l for update", "fetch c",
     "delete from a where current of c"],
    ["declare c cursor for select * from a where x = 1", "fetch c", "delete from l where current of c"],
    ["declare c cursor for select * from a where k = 3", "delete from a where current of c"],
    ["declare c cursor for select * from a where k = 3", "fetch all from c",
     "delete from a where current of c"],
    ["declare c cursor for select * from a order by x for update", "fetch all from c",
     "delete from a where current of c"],
    ["declare c cursor for select 1 from a join a z using (k) for update", "fetch c",
     "delete from a where current of c"],
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_same_errors(con, number):
    assert both(con, ERRORS[number])[-1][0] in ("24000", "34000")


def test_scroll(con):
    """One PostgreSQL refuses it for plans that sort; here the plan does not matter."""
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    for where in ("where k = 3", "where k % 12 = 3"):
        with con.transaction(force_rollback=True):
            con.execute("declare c scroll cursor for select x from a %s order by x" % where)
            con.execute("fetch 3 from c")
            assert con.execute("fetch prior from c").fetchall() == [(15,)]
            assert con.execute("update a set s = 'back' where current of c returning x, s"
                               ).fetchall() == [(15, "back")]
            con.execute("fetch last from c")
            assert con.execute("delete from a where current of c returning x").fetchall() == [(39,)]
            con.execute("fetch first from c")
            assert con.execute("delete from a where current of c returning x").fetchall() == [(3,)]


def test_held_cursor(con):
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        con.execute("set search_path = %s" % schema)
        con.execute("begin")
        con.execute("declare h cursor with hold for select * from a where k = 3 order by x")
        con.execute("commit")
        con.execute("fetch h")
        with pytest.raises(psycopg.errors.InvalidCursorState, match="held from a previous"):
            con.execute("update a set x = 0 where current of h")
        con.execute("close h")


PLPGSQL = [
    """do $$ declare c cursor for select * from a where x % 3 = 0 order by x for update;
       begin for q in c loop
         if q.x % 2 = 0 then update a set s = 'even ' || q.x where current of c;
         else delete from a where current of c; end if;
       end loop; end $$""",
    """do $$ declare c cursor (n int) for select * from a where k = n; begin
       for i in 1..6 loop for q in c(i) loop
         update a set s = 'key ' || q.k, x = q.x + i where current of c;
       end loop; end loop; end $$""",
    """do $$ declare c refcursor; q record; begin
       open c for select * from p where x > 4 for update;
       loop fetch c into q; exit when not found;
         update p set x = x * 10 where current of c; end loop; close c; end $$""",
    """do $$ declare c refcursor := 'named'; q record; begin
       open c for execute 'select k from v where k > $1 for update' using 'v3';
       loop fetch c into q; exit when not found;
         execute 'update v set x = x + 1 where current of named'; end loop; end $$""",
    """do $$ declare c cursor for select * from r; begin
       for q in c loop update r set name = name || q.id where current of c; end loop; end $$""",
]


@pytest.mark.parametrize("number", range(len(PLPGSQL)))
def test_plpgsql(con, number):
    both(con, [PLPGSQL[number]])


def test_reference_table_without_key(con):
    con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
    with con.transaction(force_rollback=True):
        con.execute("declare c cursor for select * from n")
        con.execute("fetch c")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="WHERE CURRENT OF"):
            con.execute("delete from n where current of c")


def test_on_a_worker(herd, con):
    with herd.connect(1) as other:
        other.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
        for table, column in (("a", "s"), ("v", "x"), ("o", "x"), ("r", "name"), ("p", "x")):
            with other.transaction(force_rollback=True):
                other.execute("declare c cursor for select * from %s for update" % table)
                row = other.execute("fetch 3 from c").fetchall()[-1]
                got = other.execute("update %s set %s = '7' where current of c returning *"
                                    % (table, column)).fetchall()
                assert len(got) == 1 and got[0][0] == row[0]


@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_updated_by_another(herd, level):
    """What another transaction has made of the row since, as PostgreSQL does it."""
    results = []
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        with herd.connect() as one, herd.connect() as two:
            for c in (one, two):
                c.execute("set search_path = %s" % schema)
            one.execute("begin isolation level " + level)
            one.execute("declare c cursor for select * from a where x = 11")
            one.execute("fetch c")
            two.execute("update a set s = 'theirs' where x = 11")
            try:
                got = one.execute("update a set s = s || ' and ours' where current of c "
                                  "returning s").fetchall()
            except psycopg.Error as e:
                got = e.sqlstate
            results.append(got)
            one.execute("rollback")
            two.execute("update a set s = 's11' where x = 11")
    assert results[0] == results[1]


def test_waits_for_another(herd):
    results = []
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        with herd.connect() as one, herd.connect() as two:
            for c in (one, two):
                c.execute("set search_path = %s" % schema)
            one.execute("begin")
            one.execute("declare c cursor for select * from a where x = 11 and s <> 'x'")
            one.execute("fetch c")
            two.execute("begin")
            two.execute("update a set s = 'theirs' where x = 11")
            got = []
            t = threading.Thread(target=lambda: got.extend(one.execute(
                "update a set s = s || ' and ours' where current of c returning s").fetchall()))
            t.start()
            t.join(0.5)
            assert t.is_alive()
            two.execute("commit")
            t.join(60)
            results.append(got)
            one.execute("rollback")
            two.execute("update a set s = 's11' where x = 11")
    assert results[0] == results[1] == [("theirs and ours",)]


READ_AGAIN = ["select t.y, count(*), (select max(x) from a where k < t.y) from b t group by t.y order by 1",
              "select k, x, (select max(y) from b where b.y < a.k + a.x % 5) from a order by k, x",
              "select a.k, q.* from a, lateral (select v.k, v.x from v where v.x = a.x order by 1 limit 2) q order by 1, 2",
              "select k, (select count(*) from a) from b order by k, y"]
MEANWHILE = ["delete from a", "update b set y = y + 100", "delete from v"]


@pytest.mark.parametrize("kind", ["cursor", "scroll cursor", "cursor with hold"])
@pytest.mark.parametrize("query", READ_AGAIN)
def test_scans_that_run_again_see_nothing_newer(con, kind, query):
    for write in MEANWHILE:
        back = ["fetch backward 2 from c", "fetch all from c", "fetch absolute 4 from c", "fetch backward all from c",
                "fetch first from c"] if kind.startswith("scroll") else []
        both(con, ["declare c %s for %s" % (kind, query), "fetch 3 from c", write, "fetch 2 from c", "delete from o"] +
             back + ["fetch all from c", "close c"])


def test_loops_that_write(con):
    both(con, ["create temp table seen (a int, b int) on commit drop",
               "do $$ declare r record; begin for r in select k, x, (select max(y) from b where b.y < a.k + 5) m from a "
               "order by k, x loop update b set t = 'u' where k = r.k; delete from b where y = r.m; "
               "insert into seen values (r.k, r.m); end loop; end $$", "select * from seen order by 1, 2"])


@pytest.mark.parametrize("query", ["select x from a where k = 3 order by x", "select x from a order by x",
                                   "select a.x, b.y from a join b on b.y = a.x order by 1"])
@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_read_below_a_savepoint(con, query, level):
    """What nodes send for it is not of the savepoint that is rolled back."""
    for write in ("delete from a where x > 4", "update b set y = y + 1", "select count(*) from a"):
        both(con, ["set transaction isolation level " + level, "declare c scroll cursor for " + query, "savepoint s",
                   "fetch 2 from c", "rollback to s", write, "fetch all from c", "fetch first from c", "close c"])
        both(con, ["set transaction isolation level " + level, "declare c cursor for " + query, "fetch 1 from c",
                   "savepoint s", "fetch 1 from c", "savepoint t", write, "rollback to s", "fetch 1 from c", write,
                   "fetch all from c", "close c"])


@pytest.mark.parametrize("command", ["truncate a", "alter table a add column more int", "alter table a alter column s type varchar(90)",
                                     "drop table a", "truncate r"])
@pytest.mark.parametrize("query", ["select * from a", "select * from a where k = 3", "select a.x from a, v where a.x = v.x",
                                   "select a.k, name from a join r on id = k"])
def test_tables_of_an_open_cursor(con, query, command):
    """Are in use, as the error of PostgreSQL says."""
    if command == "truncate r" and " r " not in query:
        return
    assert both(con, ["declare c cursor for " + query, "move 1 from c", command])[-1][0] == "55006"
    assert both(con, ["declare c cursor for " + query, command])[-1][0] == "55006"
    tables = [t for t in NAMES if t not in ("a", "v")]
    both(con, ["declare c cursor for " + query, "move 1 from c", "close c", "truncate v", command], tables)


def test_commit_behind_rows_that_were_moved(herd):
    """What nodes have read for each other does not keep them from preparing."""
    with herd.connect() as con:
        con.execute("set search_path = %s" % plan_herd.DISTRIBUTED)
        con.execute("set citus.repartition_join_min_size = '0'")
        for level in ("read committed", "repeatable read", "serializable"):
            con.execute("begin isolation level " + level)
            con.execute("select count(*) from a join b on b.y = a.x join v on v.x = a.x")
            con.execute("update a set s = s || '.'")
            con.execute("commit")
        assert con.execute("select count(*) from a where s like '%...'").fetchone() == (40,)
        con.execute("update a set s = rtrim(s, '.')")


def test_held_cursor_of_a_commit_that_fails(con):
    """Nodes refuse the transaction when the rows of the cursor are kept already."""
    for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
        con.execute("set search_path = %s" % schema)
        con.execute("create table f (k varchar(20) references v deferrable initially deferred)")
        if schema == plan_herd.DISTRIBUTED:
            con.execute("select create_distributed_table('f', 'k', colocate_with => 'v')")
        con.execute("begin")
        con.execute("declare older cursor with hold for select x from v order by x")
        con.execute("commit")
        con.execute("begin")
        con.execute("declare h cursor with hold for select x from v order by x")
        con.execute("insert into f values ('nobody')")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            con.execute("commit")
        with pytest.raises(psycopg.errors.InvalidCursorName):
            con.execute("fetch h")
        assert con.execute("fetch older").fetchone() == (1,)
        con.execute("close older")
        con.execute("drop table f")
