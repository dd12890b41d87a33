"""Every function of the extension, called with what nobody should pass, by users who should not.

No call may end a server process, and a plain user's calls change nothing that is not his.
"""
import contextlib
import random

import psycopg2
import pytest

# By type; each an expression of SQL. The first ones are what a careful caller would pass.
TEXTS = ["'t'", "''", "'a'", "repeat('x', 3000)", "'a''b\"c;--\\'", "'{VAR'", "'../../x'",
         "'{VAR :varno 1 :varattno 99999 :vartype 0 :vartypmod -1 :varcollid 0'",
         "'{CONST :consttype 25 :constvalue 99 [ ]}'", "'sum(integer)'", "'array_agg(anynonarray)'",
         "'avg(numeric)'", "'citus_0_1_2_3'", "'citus_0_1_800000000000000_3_0'", "'%s%n$1'",
         "'SELECT 1'", "'COPY t FROM STDIN'", "'BEGIN'", "'int4'", "'hashint4(integer)'",
         "'select g, g from generate_series(1, 9) g'", "'mine'"]
INTS = ["1", "0", "-1", "2147483647", "-2147483648", "7", "102009"]
BLOCK = "decode('%s', 'hex')"
VALUES = {
    "int4": ["%s::int" % v for v in INTS],
    "int8": ["%s::bigint" % v for v in INTS] + ["9223372036854775807", "-9223372036854775808"],
    "text": [v + "::text" for v in TEXTS],
    "name": ["'t'::name", "''::name", "'plain'::name", "'no such'::name", "'heap'::name"],
    "cstring": ["'x'::cstring"],
    "bool": ["true", "false"],
    "char": ["'%s'::\"char\"" % v for v in ["h", "n", "''", "x"]],
    "regclass": [v + "::regclass" for v in ["'t'", "'mine'", "'local'", "'r'", "'pg_class'", "0",
                                            "1", "4294967295", "'t_pkey'", "'citus_tables'",
                                            "'seq'", "'parts'", "'secret'"]],
    "regtype": ["'int4'::regtype", "0::regtype", "4294967295::oid::regtype"],
    "regproc": ["0::regproc"],
    "oid": [v + "::oid" for v in ["'t'::regclass", "'mine'::regclass", "0", "1", "4294967295",
                                  "'local'::regclass"]],
    "bytea": ["''::bytea", "'\\x00'::bytea", "'\\xdeadbeef'::bytea", BLOCK % ("00" * 16),
              BLOCK % ("ff" * 32), BLOCK % ("00" * 8 + "04000000ffffffff" + "00000000"),
              BLOCK % ("7f" * 400)],
    "interval": ["'1 day'::interval", "'0'::interval", "'-1 day'::interval",
                 "'100000 years'::interval", "'3 months'::interval"],
    "timestamptz": ["now()", "'infinity'::timestamptz", "'-infinity'::timestamptz",
                    "'4714-11-24 00:00:00+00 BC'::timestamptz"],
    "float8": ["0::float8", "'NaN'::float8", "'inf'::float8"],
    "internal": ["NULL"],
    "record": ["row(1, 'a')", "row()", "row(null)"],
    "distribution_type": ["'hash'", "'range'"],
    "noderole": ["'primary'", "'secondary'"],
}
for kind in ("int4", "int8", "text", "regclass"):
    item = VALUES[kind][0]
    VALUES["_" + kind] = ["array[%s]" % item, "'{}'::%s[]" % kind, "array[%s, null]" % item,
                          "array[[%s], [%s]]" % (item, item), "array_fill(%s, array[3000])" % item,
                          "array_fill(%s, array[2], array[-7])" % item]
ANY = ["1", "'x'::text", "'unknown'", "1.5", "array[1]", "row(1, 'a')", "'{}'::jsonb", "now()",
       "'1'::bytea", "null::int"]
for kind in ("any", "anyelement"):
    VALUES[kind] = ANY
TIMEOUT_MS = 1500
# What is fatal for the herd when a superuser means it; and a session that is given away.
TOO_STRONG = ["bind_session", "citus_remove_node", "citus_disable_node", "citus_update_node",
              "citus_set_coordinator_host", "citus_add_node", "citus_activate_node",
              "citus_add_secondary_node", "citus_add_inactive_node", "citus_set_node_property"]

FUNCTIONS = """
select p.oid::regprocedure::text, n.nspname, p.proname, p.prokind, p.proretset,
  p.prorettype::regtype::text,
  array(select t.typname from unnest(p.proargtypes) with ordinality a(o, i)
        join pg_type t on t.oid = a.o order by i), p.provariadic <> 0, p.pronargdefaults
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
join pg_depend d on d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e'
join pg_extension e on e.oid = d.refobjid and d.refclassid = 'pg_extension'::regclass
where e.extname = 'pgherd' order by 1
"""
# Of others than plain: what a node believes, and what it has.
STATE = """
with own as (select c.oid from pg_class c join pg_roles o on o.oid = c.relowner
             where o.rolname <> 'plain')
select 'node', n::text from pg_dist_node n union all
select 'group', g::text from pg_dist_local_group g union all
select 'table', p::text from pg_dist_partition p join own on own.oid = p.logicalrelid union all
select 'shard', s::text from pg_dist_shard s join own on own.oid = s.logicalrelid union all
select 'placement', p.shardid || ' ' || p.groupid from pg_dist_placement p
  join pg_dist_shard s using (shardid) join own on own.oid = s.logicalrelid union all
select 'object', o::text from pg_dist_object o union all
select 'schema', o::text from pg_dist_schema o union all
select 'cleanup', o::text from pg_dist_cleanup o union all
select 'job', o::text from pg_dist_background_job o union all
select 'role', r.rolname || r.rolsuper::text from pg_roles r union all
select 'function', p.oid::regprocedure::text || p.proacl::text from pg_proc p where p.oid >= 16384
union all select 'relation', c.oid::regclass::text || c.relkind::text from pg_class c
  join own using (oid) where c.relkind <> 't' and c.relnamespace <> 'pg_toast'::regnamespace
union all select 'size', t || pg_relation_size(to_regclass(t))::text
  from unnest(array['r', 'secret', 'pg_dist_authinfo']) t where to_regclass(t) is not null
order by 1, 2
"""


@pytest.fixture(scope="module")
def herd(nodes, table):
    nodes.psql(0, "create role plain login; grant create on schema public to plain")
    nodes.psql(0, "create table r (id int primary key, b text); "
                  "select create_reference_table('r'); insert into r values (1, 'one')")
    nodes.psql(0, "create table secret (a int, b text); insert into secret values (1, 'hidden'); "
                  "create sequence seq; revoke all on r, secret, t from public")
    nodes.psql(0, "create table mine (a int, b text); create table local (a int); "
                  "create table parts (a int, at timestamptz) partition by range (at); "
                  "select create_distributed_table('mine', 'a')", user="plain")
    return nodes


def calls(function, chance, most):
    """Statements that call the function."""
    name, schema, proname, kind, retset, result, types, variadic, defaults = function
    target = '%s."%s"' % (schema, proname)
    made = set()
    for n in range(most):
        args = []
        for i, t in enumerate(types):
            values = VALUES.get(t.lstrip("\""), ["NULL"])
            if n == 0:
                value = "NULL"
            elif n == 1:
                value = values[0]
            elif n - 2 < len(types):
                value = chance.choice(values) if i == n - 2 else values[0]
            else:
                value = chance.choice(values + ["NULL"])
            args.append(value)
        if variadic and chance.random() < 0.3:
            args = args[:-1] + [chance.choice(ANY) for _ in range(3)]
        call = "%s(%s)" % (target, ", ".join(args))
        if kind == "p":
            made.add("CALL " + call)
        elif kind == "a":
            made.add("SELECT %s FROM generate_series(1, 3) x" % call)
            made.add("SELECT %s OVER (ORDER BY x) FROM generate_series(1, 3) x" % call)
        elif retset and result == "record":
            made.add("SELECT * FROM " + call)
            made.add("SELECT * FROM %s AS (a int, b text, c numeric)" % call)
            made.add("SELECT %s LIMIT 1" % call)
        else:
            made.add("SELECT " + call)
    return sorted(made)


def attempt(c, sql):
    """True if it came to an end without an error. A lost connection is a failure."""
    cur = c.cursor()
    try:
        cur.execute(sql)
        return True
    except psycopg2.Error as e:
        assert not c.closed, "the server process ended at: %s: %s" % (sql, e)
        assert e.pgcode not in (None, "57P02", "57P01"), sql
        return False


def connection(nodes, user, timeout=TIMEOUT_MS):
    return nodes.session(0, user=user, options="-c statement_timeout=%d -c lock_timeout=500 "
                         "-c client_min_messages=error" % timeout)


def assert_nothing_crashed(nodes):
    for n in range(len(nodes.ports)):
        with open(nodes.data(n) + ".log", errors="replace") as f:
            bad = [line for line in f if "terminated by signal" in line or "PANIC" in line or
                   "TRAP:" in line]
        assert not bad, bad
        assert nodes.value(n, "select 1") == 1


def states(nodes):
    return [nodes.rows(n, STATE) for n in range(len(nodes.ports))]


def functions_of(nodes):
    found = nodes.rows(0, FUNCTIONS)
    assert len(found) > 100
    return found


def test_calls_of_a_plain_user(herd):
    """Each call is a transaction of its own, and stays if it can."""
    before, chance, done = states(herd), random.Random(5), 0
    with contextlib.closing(connection(herd, "plain")) as c:
        for function in functions_of(herd):
            for sql in calls(function, chance, 12):
                done += attempt(c, sql)
        cur = c.cursor()
        cur.execute("select count(*) from mine")
    after = states(herd)
    for n, (a, b) in enumerate(zip(before, after)):
        assert a == b, "node %d: %s" % (n, set(a) ^ set(b))
    assert done > 50
    assert_nothing_crashed(herd)
    assert herd.value(0, "select count(*) from t") == 1000


def test_calls_of_a_superuser(herd):
    chance = random.Random(6)
    with contextlib.closing(connection(herd, "postgres")) as c:
        for function in functions_of(herd):
            strong = function[2] in TOO_STRONG
            for sql in calls(function, chance, 1 if strong else 10):
                attempt(c, "BEGIN")
                attempt(c, sql)
                attempt(c, "ROLLBACK")
    assert_nothing_crashed(herd)
    assert herd.value(0, "select count(*) from t") == 1000


def refused(c, sql, code):
    """In a subtransaction of what is open."""
    cur = c.cursor()
    cur.execute("savepoint s")
    with pytest.raises(psycopg2.Error) as e:
        cur.execute(sql)
    assert e.value.pgcode == code, e.value
    cur.execute("rollback to s")


def test_functions_of_triggers_are_not_for_tables_of_others(herd):
    with contextlib.closing(herd.session(0, autocommit=False)) as c:
        cur = c.cursor()
        cur.execute("create table odd (a int, b text); create table empty ()")
        for function in ("authinfo_changed", "catalog_changed"):
            for table in ("odd", "empty"):
                cur.execute("create or replace trigger x after insert on %s for each row "
                            "execute function citus_internal.%s()" % (table, function))
                refused(c, "insert into %s default values" % table, "39P01")
        for table in ("odd", "empty"):
            cur.execute("create or replace trigger x before insert on %s for each row "
                        "execute function citus_internal.shard_trigger()" % table)
            cur.execute("insert into %s default values" % table)
        cur.execute("set role plain; create table odd2 (a int)")
        refused(c, "create trigger x after insert on odd2 for each row "
                "execute function citus_internal.authinfo_changed()", "42501")


def test_a_table_with_a_shards_name_fires_no_triggers_of_others(herd):
    herd.psql(0, "create table noted (a int); create table notes (by text); "
                 "create function noting() returns trigger language plpgsql security definer as "
                 "$$ begin insert into notes values ('x'); return new; end $$; "
                 "revoke execute on function noting() from public; "
                 "select create_distributed_table('noted', 'a'); "
                 "create trigger n before insert on noted for each row execute function noting()")
    shard = herd.value(0, "select min(shardid) from pg_dist_shard where logicalrelid = "
                       "'noted'::regclass")
    herd.psql(0, "create table noted_%d (a int); create trigger n before insert on noted_%d "
                 "for each row execute function citus_internal.shard_trigger(); "
                 "insert into noted_%d values (1)" % (shard, shard, shard), user="plain")
    assert herd.value(0, "select count(*) from notes") == 0
    herd.psql(0, "drop table noted_%d; drop table noted, notes" % shard)


DESCRIBE = ("select citus_internal.add_table_metadata('fresh', %s, %s, %s, 's', %s, %s, %s, %s, %s)")


def test_a_table_cannot_be_described_wrongly(herd):
    """Ranges with gaps, other tables' shards, colocation with what it does not fit."""
    group = herd.value(0, "select colocationid from pg_dist_partition where logicalrelid = "
                       "'t'::regclass")
    of_t = herd.value(0, "select min(shardid) from pg_dist_shard where logicalrelid = "
                      "'t'::regclass")
    low, high = "{-2147483648}", "{2147483647}"
    herd.psql(0, "create table fresh (a int)", user="plain")
    with contextlib.closing(herd.session(0, autocommit=False, user="plain")) as c:
        for args, code in [
                (("h", "a", 0, "{900001}", "{-5}", high, "{900001}", "{1}"), "XX001"),
                (("h", "a", 0, "{900001}", low, "{5}", "{900001}", "{1}"), "XX001"),
                (("h", "a", 0, "{}", "{}", "{}", "{}", "{}"), "XX001"),
                (("n", None, 0, "{}", "{}", "{}", "{}", "{}"), "22023"),
                (("h", "a", 0, "{900001}", low, high, "{}", "{}"), "22023"),
                (("h", "a", 0, "{900001}", low, high, "{%d}" % of_t, "{1}"), "22023"),
                (("h", "a", 0, "{%d}" % of_t, low, high, "{%d}" % of_t, "{1}"), "23505"),
                (("h", "a", group, "{900001}", low, high, "{900001}", "{1}"), "22023"),
                (("h", "a", 0, "{900001,900002}", low, high, "{900001}", "{1}"), "2202E"),
                (("h", "a", 0, "{900001,null}", "{1,2}", "{1,2}", "{900001}", "{1}"), "22004"),
                (("'", "a", 0, "{900001}", low, high, "{900001}", "{1}"), "22023"),
                (("h", "nothing", 0, "{900001}", low, high, "{900001}", "{1}"), "42703")]:
            cur = c.cursor()
            refused(c, cur.mogrify(DESCRIBE, args).decode(), code)
        cur.execute("set citus.shard_count = 3; create table three (a int); "
                    "select create_distributed_table('three', 'a', colocate_with := 'none')")
        refused(c, "select citus_internal.set_colocation('three', %d)" % group, "22023")
        refused(c, "select citus_internal.set_colocation('t', 1)", "42501")
        c.rollback()
    herd.psql(0, "drop table fresh")
    assert_nothing_crashed(herd)


def test_states_are_those_of_one_aggregate(herd):
    with contextlib.closing(herd.session(0, autocommit=False, user="plain")) as c:
        cur = c.cursor()
        refused(c, "select citus_internal.partial_agg(n, 7::bigint) from "
                "(values ('sum(bigint)'), ('count(\"any\")'), ('max(bigint)')) v(n)", "0A000")
        refused(c, "select citus_internal.partial_agg(n, 7::bigint) from "
                "(values ('sum(bigint)'), ('max(bigint)')) v(n)", "22023")
        cur.execute("create function keep(anyelement, anyelement) returns anyelement language sql "
                    "as 'select $1'; create aggregate one(anyelement) (sfunc = keep, "
                    "stype = anyelement, combinefunc = keep)")
        refused(c, "select citus_internal.partial_agg('one(anyelement)', repeat('x', 99)) from "
                "generate_series(1, 9)", "0A000")
        refused(c, "select citus_internal.combine_agg('avg(numeric)', '\\x00ffffffffff', "
                "null::numeric)", "42501")


def test_the_start_of_a_transaction_is_not_for_users(herd):
    with contextlib.closing(herd.session(0, autocommit=False, user="plain")) as c:
        refused(c, "select citus_internal.adopt_session(0)", "42501")
    with contextlib.closing(herd.session(0, autocommit=False,
                                         application_name="citus_internal gpid=1")) as c:
        for started in ("9223372036854775807", "-9223372036854775808", "800000000000000000"):
            refused(c, "select citus_internal.adopt_session(%s)" % started, "22008")
        cur = c.cursor()
        cur.execute("select now()")
        before = cur.fetchone()
        cur.execute("select citus_internal.adopt_session(86400000000)")
        cur.execute("select now() = '2000-01-02 UTC'")
        assert cur.fetchone() == (True,)
        c.rollback()
        cur.execute("select now() > %s", before)
        assert cur.fetchone() == (True,)


def test_decisions_are_about_nodes_that_there_are(herd):
    with contextlib.closing(herd.session(0, user="plain")) as c:
        cur = c.cursor()
        cur.execute("select (extract(epoch from now() - '2000-01-01 UTC') * 1000000)::bigint")
        now = cur.fetchone()[0]
        for group, gid in [(77, "citus_1_1_%d_1_0" % now), (1, "citus_77_1_%d_1_0" % now)]:
            with pytest.raises(psycopg2.errors.UndefinedObject):
                cur.execute("call citus_internal.decide_commit(%s, %s)", (group, gid))
        cur.execute("call citus_internal.decide_commit(1, %s)", ("citus_1_1_%d_1_0" % now,))
    herd.psql(0, "select recover_prepared_transactions()")
    assert herd.value(0, "select count(*) from pg_dist_transaction") == 0


def test_results_of_a_role_go_with_its_function(herd):
    """Kept under the rights of a function's owner, removed at the end of the caller's."""
    herd.psql(1, "create function pg_temp.held() returns bigint language sql security definer as "
                 "$$ select citus_internal.hold_results('of_a_function') $$; "
                 "grant execute on function pg_temp.held() to public; set role plain; "
                 "select pg_temp.held()")
    assert herd.value(1, "select count(*) from pg_ls_dir('base/pgsql_tmp') f "
                      "where f like '%of_a_function'") == 0


def test_blocks_are_bounded(herd):
    with contextlib.closing(herd.session(0, autocommit=False)) as c:
        cur = c.cursor()
        cur.execute("set temp_file_limit = '100kB'; select citus_internal.hold_results('many')")
        with pytest.raises(psycopg2.errors.ConfigurationLimitExceeded):
            cur.execute("select count(citus_internal.store_block('many', 1, decode(repeat('00', 8) "
                        "|| '10270000' || '00000000' || repeat('00', 10000), 'hex'))) "
                        "from generate_series(1, 20)")
