"""The corpus of tests/sql on plain PostgreSQL and on a herd."""
import importlib.util
import os
import warnings

import pytest

import plan_herd

SQL = os.path.join(plan_herd.TOP, "tests", "sql")
spec = importlib.util.spec_from_file_location("corpus_run", os.path.join(SQL, "run.py"))
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


@pytest.fixture(scope="module")
def corpus():
    """The herd's coordinator and workers, and a database without the extension beside."""
    h = plan_herd.Herd()
    try:
        h.cluster.psql(0, "create database plain template template0")

        def conninfo(node, db="postgres"):
            return "host=127.0.0.1 port=%d user=postgres dbname=%s" % (h.cluster.ports[node], db)

        c = run.Corpus(conninfo(0, "plain"), conninfo(0), [conninfo(1), conninfo(2)])
        c.setup()
        yield c
    finally:
        h.stop()


def test_size():
    """None gets lost."""
    assert sum(len(b.statements) for f in run.all_files() for b in run.parse(f)) >= 1500


@pytest.mark.parametrize("path", run.all_files(), ids=os.path.basename)
def test_statements(corpus, path):
    corpus.wrong.clear()
    corpus.run([path])
    failures, needless = run.judge(corpus, run.known_refusals(), [path])
    for text in needless:
        warnings.warn(text)
    assert not failures, "\n".join(failures)

