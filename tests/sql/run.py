#!/usr/bin/python3
"""Runs the statements of tests/sql on one PostgreSQL and on a herd, and compares what they give.

    run.py --plain CONNINFO --herd CONNINFO [--worker CONNINFO]... [--update] [-v] [FILE.sql[:LINE]...]

The schemas corpus, tenant_a and tenant_b are dropped and made anew in both databases. Of each statement
the rows (in any order, unless it has an ORDER BY of its own), the names and types of columns, the command
tag, what COPY sends, notices that begin with '>' and the SQLSTATE of an error must be the same; after
statements that write, so must be the rows of the tables that they name.

A file is made of blocks, parted by empty lines. A block that only reads one thing runs by itself; others run
in a transaction that is rolled back, or as they are if they have a BEGIN of their own. Directives:

    --! autocommit      no transaction around the block: what it writes stays
    --! herd: SQL       on the herd only (its errors count as refusals), create_distributed_table for example
    --! plain: SQL      on the plain server only
    --! here            not from a worker as well

With --worker, blocks that read, or are rolled back, run through that node too. What the herd refuses today
(SQLSTATE 0A000, where PostgreSQL has an answer) stands in refused.txt; what is refused and not listed there
fails, and so does what is listed and passes. --update writes the file anew. There is no list for wrong
answers. Ends with exit status 0 if nothing failed.
"""
import argparse
import os
import re
import sys
import time

from psycopg import pq
from psycopg.pq import ExecStatus as Status
from psycopg.pq import DiagnosticField as Diag

HERE = os.path.dirname(os.path.abspath(__file__))
REFUSED = os.path.join(HERE, "refused.txt")
SETTINGS = ("set client_min_messages = notice; set timezone = 'UTC'; set statement_timeout = '30s'; "
            "set search_path = corpus; set extra_float_digits = 1; ")
FLOATS = {700, 701, 1021, 1022, 600, 603, 718}
NOT_FOR_WORKERS = re.compile(r"\b(notes|settings|nextval|currval|setval|serial|lastval|create|alter|drop|pg_class|"
                             r"information_schema|generated|identity|copy|truncate|comment|grant|revoke)\b", re.I)


class Statement:
    def __init__(self, sql, line, where="both", data=None):
        self.sql, self.line, self.where, self.data = sql, line, where, data


class Block:
    def __init__(self, path):
        self.file = os.path.basename(path)
        self.statements, self.flags = [], set()

    @property
    def text(self):
        return "\n".join(s.sql for s in self.statements)

    @property
    def reads(self):
        return len(self.statements) == 1 and bool(re.match(
            r"\(*\s*(select|values|table|with)\b", self.statements[0].sql, re.I)) and not re.search(
            r"\b(insert into|update|delete from|merge|nextval|setval|into)\b", self.text, re.I)

    @property
    def transaction(self):
        """Whether a transaction that is rolled back goes around it."""
        return not (self.reads or "autocommit" in self.flags or re.search(
            r"^\s*(begin|start transaction)\b", self.text, re.I | re.M))

    @property
    def for_workers(self):
        return ("here" not in self.flags and "autocommit" not in self.flags and
                (self.reads or self.transaction) and not NOT_FOR_WORKERS.search(self.text) and
                all(s.where == "both" for s in self.statements))


TOKEN = re.compile(r"""--[^\n]*|/\*.*?\*/|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"[^"]*"|"""
                   r"""(\$[A-Za-z_]*\$).*?\1|;|\w+|\s+|.""", re.S)


def statement_end(text, at):
    """The position behind the semicolon that ends the statement at this one."""
    atomic = False
    for m in TOKEN.finditer(text, at):
        word = m.group().lower()
        if word == "atomic":
            atomic = True
        elif word == "end" and atomic:
            atomic = False
        elif word == ";" and not atomic:
            return m.end()
    return len(text)


def parse(path):
    """The blocks of a file."""
    with open(path) as f:
        text = f.read()
    blocks, block, at = [], None, 0
    while at < len(text):
        line_end = text.find("\n", at)
        line_end = len(text) if line_end < 0 else line_end
        line = text[at:line_end].strip()
        number = text.count("\n", 0, at) + 1
        if not line:
            block = None
        elif not line.startswith("--") or line.startswith("--!"):
            if block is None:
                block = Block(path)
                blocks.append(block)
            m = re.match(r"--!\s*(herd|plain):\s*(.*)", line)
            if m:
                block.statements.append(Statement(m.group(2).rstrip(";"), number, m.group(1)))
            elif line.startswith("--!"):
                block.flags.update(line[3:].split())
            else:
                end = statement_end(text, at)
                statement = Statement(text[at:end].strip().rstrip(";").strip(), number)
                line_end = text.find("\n", end)
                line_end = len(text) if line_end < 0 else line_end
                if re.match(r"copy\b.*\bfrom stdin\b", statement.sql, re.I | re.S):
                    stop = text.index("\n\\.\n", end)
                    statement.data = text[line_end + 1:stop + 1]
                    line_end = stop + 3
                block.statements.append(statement)
        at = line_end + 1
    return [b for b in blocks if b.statements]


def ordered(sql):
    """Whether the outermost query has an ORDER BY (RETURNING gives rows in no order)."""
    if re.match(r"insert\b", sql, re.I):
        return False
    depth, last = 0, ""
    for m in TOKEN.finditer(sql):
        word = m.group().lower()
        depth += {"(": 1, ")": -1}.get(word, 0)
        if word.strip():
            if depth == 0 and word == "by" and last == "order":
                return True
            last = word
    return False


def rounded(value):
    """The last digits of a sum of floats depend on the order of the rows."""
    return re.sub(rb"-?\d+\.\d+(e[-+]?\d+)?|-?\d+e[-+]?\d+", lambda m: b"%.10g" % float(m.group()), value)


class Answer:
    """What a statement gave."""

    def __init__(self):
        self.state, self.message = None, ""
        self.tag, self.columns, self.rows, self.notices = b"", [], [], []

    def differs(self, other, in_order):
        """In what it is not the other's, as text; or None. The other one is what is wanted."""
        if self.state != other.state:
            return "error %s (%s), wanted %s (%s)" % (self.state, self.message, other.state,
                                                      other.message)
        if self.state:
            return None
        for what in ("tag", "columns", "notices"):
            if getattr(self, what) != getattr(other, what):
                return "%s %s, wanted %s" % (what, getattr(self, what), getattr(other, what))
        mine, theirs = self.rows, other.rows
        if not in_order:
            mine, theirs = sorted(mine, key=repr), sorted(theirs, key=repr)
        if mine != theirs:
            missing, extra = list(theirs), []
            for r in mine:
                if r in missing:
                    missing.remove(r)
                else:
                    extra.append(r)
            return "%d rows, wanted %d\n  missing: %s\n  extra: %s%s" % (
                len(mine), len(theirs), missing[:4], extra[:4],
                "" if missing or extra else "\n  order: %s, wanted %s" % (mine[:6], theirs[:6]))
        return None


class Server:
    def __init__(self, conninfo, name):
        self.name, self.conninfo, self.con = name, conninfo, None
        self.notices = []

    def connect(self):
        if self.con:
            self.con.finish()
        self.con = pq.PGconn.connect(self.conninfo.encode())
        if self.con.status != pq.ConnStatus.OK:
            sys.exit("run.py: %s: %s" % (self.name, self.con.error_message.decode()))
        self.con.notice_handler = lambda r: self.notices.append(
            (r.error_field(Diag.MESSAGE_PRIMARY) or b"").decode())
        self.con.exec_(SETTINGS.encode())

    def copied(self, data, answer):
        """COPY: the data given, or the lines sent."""
        result = self.con.exec_(answer.sql)
        if result.status == Status.COPY_IN:
            self.con.put_copy_data((data or "").encode())
            self.con.put_copy_end()
            return self.con.get_result()
        while result.status == Status.COPY_OUT:
            n, line = self.con.get_copy_data(0)
            if n < 0:
                return self.con.get_result()
            answer.rows.append((bytes(line),))
        return result

    def run(self, sql, data=None, extended=False):
        answer = Answer()
        answer.sql = sql.encode()
        self.notices.clear()
        if extended:
            result = self.con.exec_params(answer.sql, [])
        elif re.match(r"copy\b", sql, re.I):
            result = self.copied(data, answer)
            while self.con.get_result():
                pass
        else:
            result = self.con.exec_(answer.sql)
        if result is None or result.status in (Status.FATAL_ERROR, Status.BAD_RESPONSE):
            state = result and result.error_field(Diag.SQLSTATE)
            answer.state = (state or b"lost").decode()
            answer.message = (result and result.error_field(Diag.MESSAGE_PRIMARY) or
                              self.con.error_message).decode().strip()
            if self.con.status != pq.ConnStatus.OK:
                self.recover()
        else:
            answer.tag = result.command_status
            self.take(result, answer)
        answer.notices = [n for n in self.notices if n.startswith(">")]
        return answer

    @staticmethod
    def take(result, answer):
        types = [result.ftype(i) for i in range(result.nfields)]
        answer.columns = [(result.fname(i).decode(), t if t < 16384 else "own", result.fmod(i))
                          for i, t in enumerate(types)]
        for row in range(result.ntuples):
            values = [result.get_value(row, i) for i in range(len(types))]
            answer.rows.append(tuple(
                rounded(v) if v is not None and t in FLOATS else v for v, t in zip(values, types)))

    def recover(self):
        """A server that went down comes up again."""
        for _ in range(100):
            time.sleep(0.2)
            con = pq.PGconn.connect(self.conninfo.encode())
            if con.status == pq.ConnStatus.OK:
                break
        self.connect()

    def idle(self):
        if self.con.transaction_status != pq.TransactionStatus.IDLE:
            self.con.exec_(b"rollback")


class Corpus:
    def __init__(self, plain, herd, workers, verbose=False):
        self.plain, self.herd = Server(plain, "plain"), Server(herd, "herd")
        self.workers = [Server(w, "worker %d" % (i + 1)) for i, w in enumerate(workers)]
        self.verbose = verbose
        self.refused, self.wrong, self.passed, self.ran, self.slow = {}, [], set(), 0, []
        self.tables, self.here = [], re.compile(r"(?!)")

    def servers(self):
        return [self.plain, self.herd] + self.workers

    def setup(self):
        for s in (self.plain, self.herd):
            s.connect()
            for schema in ("corpus", "tenant_a", "tenant_b"):
                s.run("drop schema if exists %s cascade" % schema)
        for block in parse(os.path.join(HERE, "schema.sql")):
            for statement in block.statements:
                self.both(block, statement, self.herd, check=True)
        if self.wrong:
            sys.exit("run.py: the tables cannot be made:\n" + self.wrong[0])
        # a table that could not be distributed is on the coordinator only
        here = re.findall(r"create_\w+_table\('(\w+)'", "\n".join(self.refused))
        if here:
            self.here = re.compile(r"\b(%s)" % "|".join(here))
        for s in self.servers():
            s.connect()
        self.tables = [r[0].decode() for r in self.plain.run(
            "select case nspname when 'corpus' then relname else nspname || '.' || relname end "
            "from pg_class c join pg_namespace n on n.oid = relnamespace where nspname in "
            "('corpus', 'tenant_a', 'tenant_b') and relkind in ('r', 'p') and not relispartition").rows]

    def report(self, block, statement, server, text):
        self.wrong.append("%s:%d: through %s: %s\n  %s" % (
            block.file, statement.line, server.name, statement.sql.replace("\n", "\n  "), text))
        if self.verbose:
            print(self.wrong[-1], flush=True)

    def refuse(self, block, statement, answer):
        """A refusal; the same text for all shards and servers."""
        self.refused[block.file + ": " + " ".join(statement.sql.split())] = answer.message

    def both(self, block, statement, server, check=False, extended=False):
        """One statement on both; whether the block can go on."""
        if statement.where == "plain":
            return self.plain.run(statement.sql).state is None
        got = server.run(statement.sql, statement.data, extended)
        if got.state is None:
            self.passed.add(block.file + ": " + " ".join(statement.sql.split()))
        if statement.where == "herd":
            if got.state == "0A000":
                self.refuse(block, statement, got)
            elif got.state:
                self.report(block, statement, server, "%s: %s" % (got.state, got.message))
            return got.state is None
        aside = got.state and self.plain.con.transaction_status == pq.TransactionStatus.IDLE and not check
        if aside:
            self.plain.run("begin")
        want = self.plain.run(statement.sql, statement.data, extended and not aside)
        if aside:
            self.plain.idle()
        if got.state == "0A000" and want.state != "0A000":
            self.refuse(block, statement, got)
            return False
        difference = got.differs(want, ordered(statement.sql))
        if difference:
            self.report(block, statement, server, difference)
            return False
        if check and want.state:
            self.report(block, statement, server, "%s: %s" % (want.state, want.message))
        return True

    def contents(self, block, server):
        """The tables that a block names have the same rows."""
        if self.plain.con.transaction_status == pq.TransactionStatus.INERROR:
            return
        for table in self.tables:
            if re.search(r"\b%s\b" % re.escape(table.split(".")[-1]), block.text):
                statement = Statement("select * from " + table, block.statements[-1].line)
                got, want = server.run(statement.sql), self.plain.run(statement.sql)
                difference = got.differs(want, False)
                if difference:
                    self.report(block, Statement("-- then\n" + statement.sql, statement.line), server,
                                difference)

    def block(self, block, number, server):
        started = time.monotonic()
        if block.transaction:
            server.run("begin")
            self.plain.run("begin")
        wrong, whole = len(self.wrong), True
        for statement in block.statements:
            if not self.both(block, statement, server, extended=block.reads and number % 2 == 0):
                whole = False
                break
            self.ran += 1
        if whole and not block.reads and len(self.wrong) == wrong:
            self.contents(block, server)
        self.plain.idle()
        server.idle()
        self.slow.append((time.monotonic() - started, "%s:%d" % (block.file, block.statements[0].line)))

    def run(self, paths):
        for path in paths:
            path, _, line = path.partition(":")
            for number, block in enumerate(parse(path)):
                lines = [s.line for s in block.statements]
                if line and not lines[0] <= int(line) <= lines[-1]:
                    continue
                self.block(block, number, self.herd)
                for i, worker in enumerate(self.workers):
                    # each worker has its share, that the time stays in bounds
                    if block.for_workers and not self.here.search(block.text) and (line or number % (2 * len(self.workers)) == 2 * i):
                        self.block(block, number, worker)
        return self


def known_refusals(path=REFUSED):
    """{file: statement -> text} of refused.txt"""
    known = {}
    with open(path) as f:
        for line in f:
            if line.startswith("\t"):
                known[statement] = line.strip()
            elif line.strip() and not line.startswith("#"):
                statement = line.strip()
    return known


def write_refusals(refused, files):
    kept = {k: v for k, v in known_refusals().items() if k.split(":")[0] not in files}
    kept.update(refused)
    with open(REFUSED) as f:
        head = [line for line in f if line.startswith("#")]
    with open(REFUSED, "w") as f:
        f.writelines(head)
        for statement in sorted(kept):
            f.write("\n%s\n\t%s\n" % (statement, kept[statement]))


def all_files():
    return sorted(os.path.join(HERE, f) for f in os.listdir(HERE) if f.endswith(".sql") and f != "schema.sql")


def judge(corpus, known, files):
    """What is not as it should be, and what refused.txt lists without need; texts."""
    names = {os.path.basename(f.partition(":")[0]) for f in files} | {"schema.sql"}
    failures, needless = list(corpus.wrong), []
    got, listed = ({k for k in some if k.split(":")[0] in names} for some in (corpus.refused, known))
    for statement in sorted(got - listed):
        failures.append("refused, and not in refused.txt: %s\n  %s" % (
            statement, corpus.refused[statement]))
    for statement in sorted(listed - got):
        if not any(":" in f for f in files):
            needless.append("in refused.txt, but %s: take it off: %s" % (
                "it passes" if statement in corpus.passed else "not run", statement))
    return failures, needless


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--plain", required=True)
    ap.add_argument("--herd", required=True)
    ap.add_argument("--worker", action="append", default=[])
    ap.add_argument("--update", action="store_true")
    ap.add_argument("-v", "--verbose", action="store_true")
    ap.add_argument("files", nargs="*")
    a = ap.parse_args()
    files = [f if os.path.exists(f.partition(":")[0]) else os.path.join(HERE, f) for f in a.files] or all_files()
    began = time.monotonic()
    corpus = Corpus(a.plain, a.herd, a.worker, a.verbose)
    corpus.setup()
    made = time.monotonic()
    corpus.run(files)
    if a.update:
        write_refusals(corpus.refused, {os.path.basename(f.partition(":")[0]) for f in files} | {"schema.sql"})
    failures = sum(judge(corpus, known_refusals(), files), [])
    for failure in failures if not a.verbose else failures[len(corpus.wrong):]:
        print(failure)
    if a.verbose:
        for seconds, where in sorted(corpus.slow, reverse=True)[:8]:
            print("%.2f s  %s" % (seconds, where))
    print("%d runs of statements, %d refused, %d failures; schema %.1f s, statements %.1f s" % (
        corpus.ran, len(corpus.refused), len(failures), made - began, time.monotonic() - made))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
