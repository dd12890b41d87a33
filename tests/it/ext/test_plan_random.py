"""
Random statements (tests/sql/generate.py): distributed and plain tables must agree. HERD_SEED and
HERD_RANDOM_SECONDS (for each test) make another, longer run; what differs is made smaller before it is told.
"""
import os
import sys
import time

import pytest

import plan_herd

sys.path.insert(0, os.path.join(plan_herd.TOP, "tests", "sql"))
import generate  # noqa: E402

SEED = int(os.environ.get("HERD_SEED", "1"))
SECONDS = float(os.environ.get("HERD_RANDOM_SECONDS", "7"))
TOLD = int(os.environ.get("HERD_RANDOM_FAILURES", "4"))
SLOW = "57014"


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        h.load()
        yield h
    finally:
        h.stop()


def state(error):
    return getattr(error, "sqlstate", None) or type(error).__name__


class Comparison:
    """What plain tables say to a statement, and whether the distributed ones differ."""

    def __init__(self, con, other=None, refusals=()):
        self.con, self.other, self.refusals = con, other or con, set(refusals)

    def run(self, schema, con, sql):
        """Rows and the rest, or the state of the error."""
        try:
            rows, names, count = plan_herd.answer(con, schema, sql)
        except Exception as e:
            con.execute("rollback") if con.info.transaction_status != 0 else None
            return state(e), str(e)
        return (sorted(rows, key=plan_herd.key), names, count), None

    def difference(self, sql):
        """None, or what differs."""
        want, why = self.run(plan_herd.PLAIN, self.con, sql)
        if want == SLOW:
            return None
        got, error = self.run(plan_herd.DISTRIBUTED, self.other, sql)
        if got == want or got == SLOW or got in self.refusals:
            return None
        if isinstance(want, str):  # which of two errors comes first is not said, nor if a row is looked at
            return None
        if isinstance(got, str):
            return "error %s: %s" % (got, error)
        return "missing: %s\nextra: %s\nnames %s %s count %s %s" % (
            [x for x in want[0] if x not in got[0]][:4], [x for x in got[0] if x not in want[0]][:4], got[1],
            want[1], got[2], want[2])

    def check(self, tree):
        """None, or the difference and the smallest statement that has one of its kind."""
        found = self.difference(generate.text_of(tree))
        if not found:
            return None
        first = generate.text_of(tree)
        kind = found.split(":")[0]
        generate.reduce(tree, lambda t: (self.difference(generate.text_of(t)) or "").split(":")[0] == kind)
        return "%s;\n%s\n(from %s)" % (generate.text_of(tree), self.difference(generate.text_of(tree)), first)


def tell(failures):
    assert not failures, "HERD_SEED=%d\n%s" % (SEED, "\n\n".join(failures))


def numbers(least):
    """0, 1, .. for as long as the test may take, and for least of them at any rate."""
    end = time.monotonic() + SECONDS
    i = 0
    while i < least or time.monotonic() < end:
        yield i
        i += 1


@pytest.mark.parametrize("smallest", ["1MB", "0"])
def test_queries(herd, smallest):
    """smallest: 0 moves rows between nodes wherever that is possible."""
    failures = []
    with herd.connect() as con, herd.connect(1) as worker:
        for c in (con, worker):
            c.execute("set citus.repartition_join_min_size = '%s'" % smallest)
            c.execute("set statement_timeout = '5s'")
        for i in numbers(50):
            through = worker if i % 7 == 0 else None
            tree = generate.Maker(SEED * 100003 + i, local=through is None).statement()
            found = Comparison(con, through).check(tree)
            if found:
                failures.append("%d: %s" % (i, found))
                if len(failures) >= TOLD:
                    break
    tell(failures)


def test_generic_plans(herd):
    """Numbers become parameters of a plan that must do for all their values."""
    failures = []
    with herd.connect() as con:
        con.execute("set statement_timeout = '5s'")
        con.execute("set plan_cache_mode = force_generic_plan")
        con.prepare_threshold = None
        compared = Comparison(con)
        for i in numbers(20):
            tree = generate.Maker(SEED * 200003 + i).statement()
            text, values = generate.text_of(tree, parameters=True)
            head = "(%s)" % ", ".join(["int"] * len(values)) if values else ""
            for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
                con.execute("set search_path = " + schema)
                con.execute("prepare %s_q%s as %s" % (schema[0], head, text))
            for turn in range(2):
                call = "execute q%s" % ("(%s)" % ", ".join(str(v + turn) for v in values) if values else "")
                want, _ = compared.run(plan_herd.PLAIN, con, call.replace("q", "p_q"))
                got, error = compared.run(plan_herd.DISTRIBUTED, con, call.replace("q", "d_q"))
                if got != want and not isinstance(want, str) and got != SLOW:
                    failures.append("%d: prepare q%s as %s; %s\n%s" % (
                        i, head, text, call, error or (got, want)))
                    break
            con.execute("deallocate all")
            if len(failures) >= TOLD:
                break
    tell(failures)


@pytest.mark.parametrize("smallest", ["1MB", "0"])
def test_writes(herd, smallest):
    """Each in a transaction that is rolled back after the tables have been compared."""
    failures, done = [], 0
    with herd.connect() as con:
        con.execute("set citus.repartition_join_min_size = '%s'" % smallest)
        con.execute("set statement_timeout = '5s'")
        for i in numbers(30):
            made = generate.Maker(SEED * 300007 + i)
            writes = [made.write() for _ in range(made.pick(1, 1, 2))]
            found = transaction(con, writes)
            if found == "refused":
                continue
            done += 1
            if found:
                tree, table = writes[-1]
                if len(writes) == 1:
                    generate.reduce(tree, lambda t: (transaction(con, writes) or "")[:5] == found[:5])
                failures.append("%d: %s;\n%s" % (i, ";\n".join(generate.text_of(t) for t, _ in writes),
                                                 transaction(con, writes)))
                if len(failures) >= TOLD:
                    break
    tell(failures)
    assert done > 10


def transaction(con, writes):
    """What differs after the writes; 'refused' when one is."""
    con.execute("begin")
    try:
        for tree, table in writes:
            text = generate.text_of(tree)
            answers = {}
            for schema in (plan_herd.PLAIN, plan_herd.DISTRIBUTED):
                con.execute("savepoint w")
                try:
                    rows, names, count = plan_herd.answer(con, schema, text)
                    answers[schema] = sorted(rows, key=plan_herd.key), names, count
                except Exception as e:
                    con.execute("rollback to w")
                    answers[schema] = state(e), str(e)
            want, got = answers[plan_herd.PLAIN], answers[plan_herd.DISTRIBUTED]
            if got[0] == "0A000" or SLOW in (got[0], want[0]) or (len(want) == 2 and len(got) == 2):
                return "refused"
            if got != want:
                return "answer %s, wanted %s" % tuple(
                    a if len(a) == 2 else (a[0][:4], a[2]) for a in (got, want))
            for name in {table, "a"}:
                contents = [plan_herd.answer(con, s, "select * from " + name)[0]
                            for s in (plan_herd.PLAIN, plan_herd.DISTRIBUTED)]
                here, there = (sorted(c, key=plan_herd.key) for c in contents)
                if here != there:
                    return "table %s: missing %s, extra %s" % (name, [x for x in here if x not in there][:3],
                                                               [x for x in there if x not in here][:3])
        return None
    finally:
        con.execute("rollback")
