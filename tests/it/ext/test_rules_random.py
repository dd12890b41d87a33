"""
Random transactions over tables with foreign keys that act on other nodes, triggers, rules, policies and partitions
(tests/sql/generate_rules.py), on plain and on distributed tables. HERD_SEED and HERD_RANDOM_SECONDS make another,
longer run.
"""
import os
import sys
import time

import psycopg
import pytest

import plan_herd
import test_sessions_random as sessions

sys.path.insert(0, os.path.join(plan_herd.TOP, "tests", "sql"))
import generate_rules as rules  # noqa: E402

SEED = int(os.environ.get("HERD_SEED", "1"))
SECONDS = float(os.environ.get("HERD_RANDOM_SECONDS", "12"))
NAMES = [line.split()[2] for line in rules.TABLES.splitlines() if line.startswith("create table")]
# What the herd may say where PostgreSQL does not: refusals, and null in the distribution column of a table.
DOCUMENTED = ("0A000", "23502")


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        with h.connect() as con:
            for role in rules.ROLES:
                con.execute("drop role if exists " + role)
                con.execute("create role " + role)
        yield h
    finally:
        h.stop()


def prepare(herd, con, schema):
    """The session's settings; what stands on the tables."""
    con.execute("set search_path = " + schema)
    con.execute("set statement_timeout = '30s'")
    with herd.connect(options="-c search_path=" + schema) as first:
        first.execute(rules.GUARDS)
        for role in rules.ROLES:
            first.execute("grant usage on schema %s to %s" % (schema, role))
            first.execute("grant all on all tables in schema %s to %s" % (schema, role))


def documented(here, there):
    """The herd may refuse, and of several violations one is told."""
    both_violations = (here[0] or "")[:2] == (there[0] or "")[:2] == "23"
    return there[0] in DOCUMENTED or both_violations


def finish(con, statement, schema):
    """The outcome of the end of a transaction; a prepared one is committed."""
    if statement != "prepare transaction":
        return sessions.outcome(con, statement)
    said = sessions.outcome(con, "prepare transaction '%s'" % schema)
    if said[0] or said[1][0] != "PREPARE TRANSACTION":
        return said
    return sessions.outcome(con, "commit prepared '%s'" % schema)


def step(pair, statement):
    """The outcomes of a statement; one that failed is undone, and does not end the transaction."""
    said = []
    for con, _ in pair:
        con.execute("savepoint z")
    for con, _ in pair:
        said.append(sessions.outcome(con, statement))
    if said[0][0] or said[1][0]:
        for con, _ in pair:
            con.execute("rollback to z")
    return said


def transact(pair, steps, done):
    """None, or the outcomes that differ; False when the sides stand apart for a documented reason."""
    for con, _ in pair:
        con.execute("begin")
    done.append("begin")
    for statement in steps[:-1]:
        done.append(statement)
        here, there = step(pair, statement)
        if sessions.differs(here, there, statement) and not documented(here, there):
            return here, there
    done.append(steps[-1])
    here, there = [finish(con, steps[-1], schema) for con, schema in pair]
    if here[0] == there[0] or (here[0] and documented(here, there)):
        return None
    return False if documented(here, there) else (here, there)


def rows(pair, done):
    """None, or how the tables differ."""
    for table in NAMES:
        done.append("select * from " + table)
        here, there = [sessions.outcome(con, done[-1]) for con, _ in pair]
        if here != there:
            return here, there
        done.pop()
    return None


def run(herd, seed):
    """None, or the statements and how the last one differs."""
    herd.load(rules.TABLES, rules.DISTRIBUTE, rules.ROWS)
    done = []
    with herd.connect(prepare_threshold=None) as plain, herd.connect(prepare_threshold=None) as spread:
        pair = ((plain, plan_herd.PLAIN), (spread, plan_herd.DISTRIBUTED))
        for con, schema in pair:
            prepare(herd, con, schema)
        for i in range(12):
            found = transact(pair, rules.Rules(seed * 1009 + i).transaction(), done)
            if found is False:
                break
            found = found or rows(pair, done)
            if found:
                for con, _ in pair:
                    con.execute("rollback")
                return done, *found
        for con, schema in pair:
            con.execute("set client_min_messages = error")
            con.execute("drop schema %s cascade" % schema)
    return None


def test_rules(herd):
    end, failures, i = time.monotonic() + SECONDS, [], 0
    while (time.monotonic() < end or i < 2) and len(failures) < 3:
        i += 1
        found = run(herd, SEED * 100003 + i)
        if found:
            done, here, there = found
            failures.append("%d: %s\nplain %.800s\nherd  %.800s" % (i, ";\n".join(done), here, there))
    assert not failures, "HERD_SEED=%d\n%s" % (SEED, "\n\n".join(failures))
