"""Random conversations, held with PostgreSQL and with the proxy in front of it: the same answers."""
import random
import struct

import pytest

import rawpg

NAMES = ["", "a", "b", "c"]
PORTALS = ["", "p"]
SQL = ["select 1", "select generate_series(1, 3)", "select 1/0", "selec", "", "select 'x' where false",
       "select repeat('x', 20000)", "insert into told values (1)", "select 1 as a, null as b",
       "copy told from stdin", "copy (select generate_series(1, 3)) to stdout", "show datestyle",
       "values (1), (2)", "select $1::int"]
SIMPLE = SQL + ["select 1; select 2", "select 1; select 1/0; select 3", "begin", "commit", "rollback",
                "begin; select 1", "begin; select 1/0", "savepoint s", "rollback to s", "; ;",
                "copy told from stdin; select 5", "select 6; copy (select 7) to stdout; select 8",
                "insert into told values (1), (2)", "create table if not exists told (a int)",
                "do $$ begin raise notice 'hear'; end $$", "select set_config('a.b', 'c', true)"]


def copied(rng):
    """What a client sends for a COPY that it has asked for."""
    data = rawpg.msg("d", b"%d\n" % rng.randrange(100)) * rng.randrange(3)
    how = rng.random()
    if how < 0.6:
        return data + rawpg.msg("c")
    if how < 0.8:
        return data + rawpg.msg("f", rawpg.text("no more"))
    return data + rawpg.msg("d", b"x\n") + rawpg.msg("c")


def simple(rng, sql):
    message = rawpg.query(sql)
    return message + copied(rng) if "from stdin" in sql else message


def extended(rng):
    """A batch up to its Sync; COPY FROM stands last, for its data ends where the Sync is."""
    out = b""
    for _ in range(rng.randrange(1, 7)):
        name, portal, what = rng.choice(NAMES), rng.choice(PORTALS), rng.random()
        if what < 0.25:
            out += rawpg.parse(name, rng.choice([s for s in SQL if "stdin" not in s]))
        elif what < 0.45:
            out += rawpg.bind(name, *["1"] * (rng.random() < 0.15), portal=portal)
        elif what < 0.6:
            out += rawpg.execute(portal, rng.choice([0, 0, 1, 2]))
        elif what < 0.75:
            out += rawpg.msg("D", rng.choice([b"S" + rawpg.text(name), b"P" + rawpg.text(portal)]))
        elif what < 0.85:
            out += rawpg.msg("C", rng.choice([b"S" + rawpg.text(name), b"P" + rawpg.text(portal)]))
        elif what < 0.92:
            out += rawpg.msg("H")
        else:
            out += rawpg.parse("", rng.choice(SQL[:2])) + rawpg.bind("") + rawpg.execute()
    if rng.random() < 0.1:
        out += rawpg.parse("", "copy told from stdin") + rawpg.bind("") + rawpg.execute() + copied(rng)
    return out + rawpg.SYNC


def call(rng):
    """A function call: upper(text), or none that exists."""
    oid = rng.choice([871, 1])
    return rawpg.msg("F", struct.pack("!IHHi", oid, 0, 1, 3) + b"abc" + struct.pack("!H", 0))


def conversation(rng, blocks):
    rounds = []
    for _ in range(rng.randrange(2, 10)):
        what = rng.random()
        if what < 0.4:
            sql = rng.choice(SIMPLE)
            if blocks or not any(w in sql for w in ("begin", "commit", "rollback", "savepoint")):
                rounds.append(simple(rng, sql))
        elif what < 0.95:
            rounds.append(extended(rng))
        else:
            rounds.append(call(rng))
    return rounds + [rawpg.query("rollback"), rawpg.query("select 'over'")]


def words(kind, body):
    if kind in "EN":
        f = rawpg.fields(body)
        # A statement has another name on the server, so that clients can share it.
        return (kind, f["S"], f["C"], f["M"] if "prepared statement" not in f["M"] else None, f.get("P"))
    return kind, body


def held(conn, rounds, rng, step):
    """Everything that is answered, but for reports of parameters."""
    data, got = b"".join(rounds), []
    if step == "rounds":
        for r in rounds:
            conn.send(r)
            got += conn.until("Z")
    else:
        at = 0
        while at < len(data):
            n = len(data) if step is None else rng.randrange(1, step)
            conn.send(data[at:at + n])
            at += n
        for _ in rounds:
            got += conn.until("Z")
    return [words(k, b) for k, b in got if k != "S"]


def rounds_of(messages):
    got = [[]]
    for m in messages:
        got[-1].append(m)
        if m[0] == "Z":
            got.append([])
    return got


def same(got, right, rounds):
    """But for two things: a Parse of what the server has already is answered without it, and names that failed."""
    got, right = rounds_of(got), rounds_of(right)
    for g, r in list(zip(got, right, strict=True))[:rawpg.failed_names(rounds, right)]:
        if g != r and r and r[0][0] == "E" and r[0][2] == "25P02" and g[0] == ("1", b""):
            return True  # in a transaction that has failed in a batch sent just before
        if g != r:
            return False
    return True


@pytest.mark.parametrize("mode,most", [("transaction", 50), ("transaction", 2), ("session", 50),
                                       ("statement", 50)])
def test_conversations(make, server, mode, most):
    px = make(mode=mode, more=f"default_pool_size = 2\nmax_prepared_statements = {most}")
    for seed in range(250):
        rounds = conversation(random.Random(seed), mode != "statement")
        with rawpg.Client(server.port, db="db") as c:
            c.query("create table if not exists told (a int)")
            right = held(c, rounds, None, "rounds")
        for step in ("rounds", None, 3, 200):
            with rawpg.Client(px.port) as c:
                got = held(c, rounds, random.Random(seed), step)
                assert same(got, right, rounds), (seed, step, rounds)
