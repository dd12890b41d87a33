"""Shards do not show up among the tables that clients list."""
import subprocess

import pytest

import plan_herd


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        with h.connect() as con:
            con.execute("""
                create table many (k bigint primary key, v text);
                create index many_v on many (v);
                select create_distributed_table('many', 'k');
                create table everywhere (id int primary key);
                select create_reference_table('everywhere');
                insert into many select i, 'v' || i from generate_series(1, 100) i;
                insert into everywhere values (1);
                -- Names like those of shards: a table of the user's and an id that is no shard's.
                create table many_1 (a int);
                create table many_999999 (a int);
                create table "x_102008" (a int);
                create role hide_user login""")
        yield h
    finally:
        h.stop()


LISTED = ["everywhere", "everywhere_pkey", "many", "many_1", "many_999999", "many_pkey", "many_v",
          "x_102008"]
QUERY = ("select relname from pg_class where relnamespace = 'public'::regnamespace "
         "and relkind in ('r', 'i') order by 1")


def names(con, query=QUERY, **kw):
    return [r[0] for r in con.execute(query, **kw).fetchall()]


@pytest.mark.parametrize("node,own", [(0, LISTED), (1, ["everywhere", "everywhere_pkey", "many",
                                                        "many_pkey", "many_v"])])
def test_a_client_sees_tables_only(herd, node, own):
    with herd.connect(node) as con:
        assert names(con) == own
        assert names(con, prepare=True) == own
        tables = [n for n in own if not n.endswith(("_pkey", "_v"))]
        for view in ("select tablename from pg_tables where schemaname = 'public' order by 1",
                     "select table_name from information_schema.tables where table_schema = "
                     "'public' order by 1",
                     "select relname from pg_stat_user_tables where schemaname = 'public' order by 1",
                     "with c as (select * from pg_class) select relname from c left join pg_index i "
                     "on i.indrelid = c.oid and false where relkind = 'r' and relnamespace = "
                     "'public'::regnamespace order by 1"):
            assert names(con, view) == tables, view
        # A row that is not there leaves an outer join's other side.
        assert con.execute("select count(*) from pg_index i left join pg_class c on c.oid = "
                           "i.indexrelid where c.oid is null").fetchone()[0] == \
            con.execute("select count(*) from pg_index i where not exists (select from pg_class c "
                        "where c.oid = i.indexrelid)").fetchone()[0] > 0


def test_who_sees_shards(herd):
    with herd.connect(1) as con:
        few = names(con)
        con.execute("set citus.show_shards_for_app_name_prefixes = 'other, my tool'")
        assert names(con) == few
        con.execute("set application_name = 'my tool 1.2'")
        every = names(con)
        # 16 shards with two indexes each, and a copy of the reference table with one
        assert len(every) == len(few) + 16 * 3 + 2
        con.execute("reset citus.show_shards_for_app_name_prefixes")
        assert names(con) == few
        con.execute("set citus.override_table_visibility = off")
        assert names(con) == every
        con.execute("reset citus.override_table_visibility")
        # Code in functions is not a client.
        con.execute("create function seen() returns bigint language sql as $$ "
                    "select count(*) from pg_class where relname ~ '^many_1' $$")
        assert con.execute("select seen()").fetchone()[0] == 16
    with herd.connect() as con:
        shards = con.execute("select sum(result::int) from run_command_on_workers($$select count(*) "
                             "from pg_class where relname ~ '^many_1.....$' and relkind = 'r'$$)")
        assert shards.fetchone()[0] == 32
        assert con.execute("select count(*) from citus_shards where table_name = 'many'::regclass "
                           "and shard_size > 0").fetchone()[0] == 32
    with herd.connect_to_shards(2, user="hide_user") as con:
        assert len(names(con)) > 48
    with herd.connect(2, user="hide_user") as con:
        assert len(names(con)) == 5


def test_psql_and_pg_dump(herd):
    where = ["-h", "127.0.0.1", "-p", str(herd.cluster.ports[1]), "-U", "postgres"]

    def run(program, *args):
        return subprocess.run([herd.cluster.bin + "/" + program, *where, *args], check=True,
                              capture_output=True, text=True).stdout

    assert "_102" not in run("psql", "-Xc", r"\d+", "-c", r"\di+", "-c", r"\d many*", "postgres")
    dump = run("pg_dump", "postgres")
    assert "_102" not in dump and "CREATE TABLE public.many" in dump
    rows = dump.split("COPY public.many (k, v) FROM stdin;\n")[1].split("\\.")[0]
    assert len(rows.splitlines()) == 100
