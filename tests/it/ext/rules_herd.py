"""One script on plain tables and on distributed ones; everything that a client sees is compared."""
import itertools
import re
import threading
import time

import psycopg
import pytest
from psycopg import sql as quoting

import plan_herd

_number = itertools.count(1)


def statements(script):
    """Statements end with ; at the end of a line, outside of $$ quotes. Comments are lines."""
    text, quoted = [], False
    for line in script.splitlines():
        if not quoted and (not line.strip() or line.strip().startswith("--")
                           and not line.strip().startswith("--herd ")):
            continue
        text.append(line)
        if line.count("$$") % 2:
            quoted = not quoted
        if not quoted and line.rstrip().endswith(";"):
            yield "\n".join(text).strip()
            text = []
    assert not text, text


def _rows(cur, ordered):
    rows = [tuple(round(v, 9) if isinstance(v, float) else v for v in row)
            for row in cur.fetchall()]
    return rows if ordered else sorted(rows, key=str)


def _ordered(statement):
    return re.search(r"\border by\b|^\s*(fetch|move|explain|show)\b", statement, re.I) is not None


class Run:
    """What a script's statements gave, in a schema of its own."""

    def __init__(self, con, schema, user=None):
        self.con, self.schema, self.notices, self.log = con, schema, [], []
        con.execute(quoting.SQL("drop schema if exists {} cascade").format(
            quoting.Identifier(schema)))
        con.execute(quoting.SQL("create schema {}").format(quoting.Identifier(schema)))
        con.execute(quoting.SQL("grant all on schema {} to public").format(
            quoting.Identifier(schema)))
        con.execute(quoting.SQL("set search_path = {}").format(quoting.Identifier(schema)))
        con.add_notice_handler(self.notice)

    def clean(self, text):
        return (text or "").replace(self.schema, "SCHEMA")

    def notice(self, diag):
        self.notices.append((diag.severity_nonlocalized, self.clean(diag.message_primary)))

    def one(self, statement):
        del self.notices[:]
        try:
            cur = self.con.execute(statement.replace("SCHEMA", self.schema), prepare=False)
            result = [cur.statusmessage]
            if cur.description:
                result.append([c.name for c in cur.description])
                result.append([tuple(self.clean(v) if isinstance(v, str) else v for v in row)
                               for row in _rows(cur, _ordered(statement))])
        except psycopg.Error as e:
            d = e.diag
            result = ["ERROR", d.sqlstate, self.clean(d.message_primary),
                      self.clean(d.message_detail), self.clean(d.table_name),
                      self.clean(d.constraint_name), self.clean(d.column_name)]
        if self.notices:
            result.append(sorted(self.notices))
        return result


def both(con, other, script, stop=True):
    """
    Runs the script, on con with plain tables and on other with distributed ones: lines that begin
    with --herd are statements for these alone. Returns the differences (statement, plain, herd).
    """
    n = next(_number)
    plain, herd = Run(con, "plain%d" % n), Run(other, "herd%d" % n)
    different = []
    try:
        for statement in statements(script):
            if statement.startswith("--herd "):
                other.execute(statement[len("--herd "):])
                continue
            want, got = plain.one(statement), herd.one(statement)
            if want != got:
                different.append((statement, want, got))
    finally:
        for run in (plain, herd):
            run.con.remove_notice_handler(run.notice)
            run.con.execute("rollback")
            run.con.execute("reset all")
            run.con.execute("reset session authorization")
            with run.con.transaction():
                run.con.execute("set client_min_messages = error")
                run.con.execute(quoting.SQL("drop schema {} cascade").format(
                    quoting.Identifier(run.schema)))
            run.con.execute("reset all")
    return different


def same(con, other, script):
    different = both(con, other, script)
    assert not different, "\n".join("%s\n  plain: %s\n  herd:  %s" % d for d in different)


def fixtures(tables="", roles=()):
    """The fixtures of a module: a herd that has the roles, and same(): tables and a script, compared."""
    def load(herd):
        with herd.connect() as con:
            for role in roles:
                con.execute("create role %s login" % role)

    herd, _ = plan_herd.fixtures(load)

    @pytest.fixture(name="same")
    def compared(herd):
        with herd.connect() as plain, herd.connect() as other:
            yield lambda script: same(plain, other, tables + script)

    return herd, compared


def waits_for(con, one, ends, other, statement, error):
    """
    The statement on other waits for what one has done and not committed; it goes on when that ends
    (commit, rollback). Returns its errors of that class.
    """
    errors = []

    def run():
        try:
            other.execute(statement)
        except error as e:
            errors.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 60
    while not con.execute("select exists (select from dump_global_wait_edges())").fetchone()[0]:
        assert thread.is_alive() and time.monotonic() < deadline
        time.sleep(0.05)
    one.execute(ends)
    thread.join(60)
    assert not thread.is_alive()
    return errors
