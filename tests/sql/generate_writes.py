#!/usr/bin/python3
"""Random writes, and transactions of them, from a seed; see generate.py.

    generate_writes.py SEED [COUNT]        prints COUNT (10) transactions

A write gives the same rows whatever the order in which rows are met: a source that is joined to the target of
an UPDATE or MERGE has one row for each value it is joined by.
"""
import sys

from generate import KEYS, TABLES, Choice, Item, Node, Number, Optional, text_of
from generate_forms import Forms

UNIQUE = {"b": ("k", "y"), "r": ("id",), "p": ("k", "d")}
TARGETS = "a a a a b b b c e r r o p p l j j".split()
# a column that any write may change, and the one of integers that a source gives
FREE = {"a": "n", "b": "t", "c": "v", "e": "x", "r": "grp", "o": "x", "p": "x", "l": "note", "j": "doc"}
GIVEN = {"a": "x", "b": "y", "c": "v", "e": "x", "r": "grp", "p": "x", "o": "x", "r2": "id", "l": "id"}


def listed(nodes, by=", "):
    return [x for i, n in enumerate(nodes) for x in ([by] if i else []) + [n]]


class Writer(Forms):
    def target(self):
        table = self.rnd.choice(TARGETS)
        return "a" if table == "l" and not self.local else table

    def source(self, q="q"):
        """A subquery q (k, m) with one row for each k."""
        draw = self.rnd.random()
        if draw < 0.12:
            return Node("(values (", self.number(), ", ", self.number(), "), (1000, null), (5000, ", self.number(),
                        ")) %s (k, m)" % q), Item(q, {"k": "i", "m": "i"})
        table = self.rnd.choice("a b c e r p o r2".split())
        key = "id" if table in ("r", "r2") else "k"
        columns = dict(TABLES[table])
        inner = Item("i", columns, table)
        node, scope = Node("%s i" % table), [inner]
        if draw > 0.75:  # of a join
            other = self.rnd.choice("a b c e r p".split())
            item = Item("j", dict(TABLES[other]), other)
            node = Node(node, self.pick(" join ", " left join "), "%s j on " % other, self.on(scope, item))
            scope.append(item)
        given = self.column(scope, "i") if self.chance(0.5) else "i." + GIVEN[table]
        if self.chance(0.2):
            key = self.column([inner], "i").split(".")[1]
        return Node("(select i.%s as k, " % key, self.pick("max", "min", "sum", "count"), "(%s)::int as m from " % given,
                    node, Optional(" where ", self.condition(scope, 1)), " group by 1) " + q), Item(
                        q, {"k": "i", "m": "i"})

    def where(self, parts):
        return [Optional(" where ", *listed(parts, " and "))] if parts else []

    def sets(self, table, scope, keys=True):
        """SET of an UPDATE; the row may move to another shard."""
        first = FREE[table]
        made = [Node(first, " = ", self.value(scope, TABLES[table][first], 2))]
        rest = [c for c in TABLES[table] if c not in (KEYS.get(table), "id", "y", "d", first)]
        if len(rest) > 1 and self.chance(0.2):
            pair, rest = rest[:2], rest[2:]
            kinds = [TABLES[table][c] for c in pair]
            if self.chance(0.7):
                item, node = self.item(scope, 0, plain=True)
                values = Node("(select ", *listed([Node(self.pick("min", "max") if k != "b" else "bool_or", "(",
                                                        self.value([item], k, 0), ")") for k in kinds]),
                              " from ", node, self.link(item, scope, 0), ")")
            else:
                values = Node("row(", *listed([self.value(scope, k, 1) for k in kinds]), ")")
            made.append(Optional(", (%s) = " % ", ".join(pair), values))
        for column in rest:
            if self.chance(0.5):
                made.append(Optional(", ", column, " = ", Node("default") if self.chance(0.07) else
                                     self.value(scope, TABLES[table][column], 2)))
        if keys and table in KEYS and self.chance(0.12):
            key = KEYS[table]
            made.insert(0, Node("%s = coalesce(" % key, self.value(scope, TABLES[table][key], 1), ", ",
                                self.literal(TABLES[table][key]), "), "))
        return made

    def returning(self, scope, p=0.4):
        """RETURNING or nothing."""
        if not self.chance(p):
            return []
        t = scope[0]
        draw = self.rnd.random()
        if draw < 0.4:
            what = [Node(t.name + ".*")] + ([Node(c) for c in scope[1].of("is")] if len(scope) > 1 else [])
        else:
            what = [self.value(scope, self.pick("i", "i", "s"), self.pick(0, 1, 2)) for _ in range(self.pick(1, 2))]
        return [Optional(" returning ", *listed(what))]

    def update(self, table, t):
        source, q = self.source() if self.chance(0.4) else (None, None)
        scope = [t] + ([q] if q else [])
        where = [self.condition(scope if self.chance(0.3) else [t], 2) for _ in range(self.pick(0, 1, 1))]
        if q:
            where.append(Node("q.k = %s" % self.column([t], "i")))
            if self.chance(0.3):
                second, q2 = self.source("q2")
                source = Node(source, ", ", second)
                where.append(Node("q2.k = %s" % self.column([t, q], "i")))
                scope.append(q2)
        return Node("update %s t set " % table, *self.sets(table, scope), *([" from ", source] if q else []),
                    *self.where(where), *self.returning(scope))

    def delete(self, table, t):
        where = [self.condition([t], 2) for _ in range(self.pick(0, 1, 1))]
        draw = self.rnd.random()
        if draw < 0.25:
            source, q = self.source()
            where.append(Node("q.k = %s" % self.column([t], "i")))
            return Node("delete from %s t using " % table, source, *self.where(where), *self.returning([t, q]))
        if draw < 0.45:  # several rows of the other table may meet one of the target: it is returned once
            item, node = self.item([], 1)
            where.append(self.on([t], item))
            if self.chance(0.3):
                second, more = self.item([], 0)
                node = Node(node, ", ", more)
                where.append(self.on([t, item], second))
            return Node("delete from %s t using " % table, node, *self.where(where), *self.returning([t]))
        return Node("delete from %s t" % table, *self.where(where), *self.returning([t]))

    def insert(self, table):
        columns = [c for c in TABLES[table] if c == KEYS.get(table) or c in ("id", "y", "d") or self.chance(0.7)]
        kinds = [TABLES[table][c] for c in columns]
        must = [i for i, c in enumerate(columns) if c == KEYS.get(table) or c in ("id", "y", "d")]
        node = None
        if self.chance(0.45):
            rows = []
            for i in range(self.pick(1, 1, 2, 4)):
                row = [Number(self.rnd.randrange(2000, 2100) + i) if c in ("id", "y") and self.chance(0.6)
                       else self.scalar([], k, 0) if self.chance(0.06) and k in "is" and j not in must
                       else Node("default") if self.chance(0.04) and j not in must
                       else self.literal(k) for j, (c, k) in enumerate(zip(columns, kinds))]
                rows.append(Optional(", " if i else "", "(", *listed(row), ")"))
            rows[0] = Node(*rows[0].parts)
            node = Node("values ", *rows)
        else:
            node, _ = self.select(1, (), kinds)
            # a key may not be null, and may not come twice
            one = ", ".join("c%d" % i for i, c in enumerate(columns))
            first = ", ".join("c%d" % columns.index(c) for c in UNIQUE.get(table, columns))
            node = Node("select %s from (select distinct on (%s) * from (" % (one, first), node,
                        ") q1 order by %s) q2" % ", ".join([first, one]),
                        " where " + " and ".join("c%d is not null" % i for i in must) if must else "")
        t = Item("t", dict(TABLES[table]), table)
        tail = self.conflict(table, t, columns) if table in UNIQUE and self.chance(0.6) else []
        return Node("insert into %s as t (%s) " % (table, ", ".join(columns)), node, *tail, *self.returning([t]))

    def conflict(self, table, t, columns):
        on = "(%s)" % ", ".join(UNIQUE[table])
        if self.chance(0.4):
            return [Optional(" on conflict ", Optional(on), " do nothing")]
        excluded = Item("excluded", {c: TABLES[table][c] for c in columns}, table)
        scope = [t, excluded]
        tail = [Optional(" where ", self.condition(scope, self.pick(0, 1)))] if self.chance(0.4) else []
        return [Optional(" on conflict ", on, " do update set ", FREE[table], " = ",
                         self.value(scope, TABLES[table][FREE[table]], self.pick(0, 1, 2)), *tail)]

    def merge(self, table, t):
        source, q = self.source()
        scope = [t, q]
        on = [Node("%s = q.k" % self.rnd.choice(t.key() if t.key() and self.chance(0.6) and table != "c" else t.of("i")))]
        if self.chance(0.2):
            on.append(Optional(" and ", self.condition([t], 0)))
        if self.chance(0.1):
            on.append(Optional(" and ", self.condition([q], 0)))
        clauses = []
        for i in range(self.pick(1, 1, 2, 3)):
            some = Optional(" and ", self.condition(scope, self.pick(0, 0, 1))) if self.chance(0.5) else Node("")
            action = self.pick(lambda: Node("update set ", *self.sets(table, scope, self.chance(0.3))),
                               lambda: Node("update set ", *self.sets(table, scope, False)), lambda: Node("delete"),
                               lambda: Node("do nothing"))()
            clauses.append(Optional(" when matched", some, " then ", action))
        if self.chance(0.6):
            some = Optional(" and ", self.condition([q], self.pick(0, 0, 1))) if self.chance(0.4) else Node("")
            columns = [c for c in TABLES[table] if c == KEYS.get(table) or c in ("id", "y", "d") or self.chance(0.6)]
            values = [Node("coalesce(", self.pick("q.k", "q.m", "q.k"), ", 3000)") if c in (KEYS.get(table), "id", "y", "d")
                      and TABLES[table][c] == "i" else Node("'c' || q.k") if c == "ck"
                      else self.value([q], TABLES[table][c], self.pick(0, 1)) for c in columns]
            clauses.append(Node(" when not matched and q.k is not null", some, " then ", self.pick(
                Node("do nothing"), *[Node("insert (%s) values (" % ", ".join(columns), *listed(values), ")")] * 4)))
        clauses[0] = Node(*clauses[0].parts)
        return Node("merge into %s t using " % table, source, " on ", *on, *clauses)

    def plain_write(self, table):
        t = Item("t", dict(TABLES[table]), table)
        draw = self.rnd.random()
        if draw < 0.3:
            return self.insert(table)
        return self.update(table, t) if draw < 0.7 else self.delete(table, t)

    def giving(self, table):
        """A write that gives rows, and their columns by kind."""
        t = Item("t", dict(TABLES[table]), table)
        columns = [c for c, k in TABLES[table].items() if k in "is"]
        node = self.pick(self.insert, lambda n: self.update(n, t), lambda n: self.delete(n, t))(table)
        node.parts = [p for p in node.parts if isinstance(p, str) or not text_of(p).startswith(" returning ")]
        return (Node(node, " returning " + ", ".join("t.%s as c%d" % (c, i) for i, c in enumerate(columns))),
                {"c%d" % i: TABLES[table][c] for i, c in enumerate(columns)})

    def writing_with(self, table):
        """Writes in WITH whose rows are read, or written elsewhere; the tables. None is written twice: which of
        two writes of one row is done is not said."""
        node, kinds = self.giving(table)
        head, tables = Node("with w as (", node, ") "), {table}
        self.ctes.append(("w", kinds))
        if self.chance(0.3):
            other = self.rnd.choice([x for x in TARGETS if x not in tables and (x != "l" or self.local)])
            node, more = self.giving(other)
            head = Node(*head.parts[:-1], "), w2 as (", node, ") ")
            self.ctes.append(("w2", more))
            tables.add(other)
        draw, main = self.rnd.random(), None
        if draw < 0.3:
            other = self.rnd.choice([x for x in TARGETS if x not in tables and (x != "l" or self.local)])
            main = self.plain_write(other)
            tables.add(other)
        elif draw < 0.6:
            into = next(x for x in "eol" if x not in tables)
            kept = [c for c, k in kinds.items() if k == "i"][:1 if into == "l" else 2]
            main = Node("insert into %s (%s) select %s from w where %s is not null" % (
                into, ", ".join((["id"] if into == "l" else ["k", "x"])[:len(kept)]), ", ".join(kept), kept[0]))
            tables.add(into)
        elif draw < 0.8:
            main, _ = self.query(1, top=True)
        if main is None:
            item = Item("w", kinds)
            main = Node("select ", *listed([self.value([item], k, 1) for k in ("i", "s", "i")]), " from w",
                        Optional(" where ", self.comparison([item], 0, ())))
        self.ctes = [c for c in self.ctes if c[0] not in ("w", "w2")]
        return Node(head, main), tables

    def write(self):
        """The tree and the tables that it writes."""
        table = self.target()
        draw = self.rnd.random()
        if draw < 0.15:
            return self.merge(table, Item("t", dict(TABLES[table]), table)), {table}
        if draw < 0.27:
            return self.writing_with(table)
        if draw < 0.37:
            node, columns = self.query(1)
            name = self.name("w")
            self.ctes.append((name, columns))
            made = self.plain_write(table)
            self.ctes.pop()
            return Node("with ", name, " as (", node, ") ", made), {table}
        return self.plain_write(table), {table}

    def failing(self):
        """A statement that fails."""
        return Node(self.pick("insert into b select * from b", "update a set k = null where x = 1", "insert into p values (null, 1)",
                              "select 1 / (k - k) from a", "update e set x = k / (x - x)", "insert into r values (1, 'twice')",
                              "delete from a where s::int > 0", "select nothing from a",
                              "with w as (update a set x = 1 returning *) insert into r select k, s from w"))

    def cursor(self):
        """A query and what is done while its cursor is open."""
        return Node(self.query(1)[0], "; " + self.pick("delete from a", "update a set x = 1", "update e set k = k + 1", "select"))

    def current(self):
        """Rows of a, ordered, and what is done to the row of a cursor."""
        t = Item("t", dict(TABLES["a"]), "a")
        return Node("select * from a t", Optional(" where ", self.comparison([t], 0, ())), " order by k, n for update; ", self.pick(
            "update a set n = n + 0.5, s = 'new' where current of c", "delete from a where current of c"))

    def transaction(self):
        """Steps: ("write", tree, tables), ("read", tree, None), ("savepoint" or "rollback to", None, None), ("fail", tree,
        None), ("cursor", a query; a statement, None), ("current", a query; a write where current of c, tables)."""
        steps, open_ = [], False
        for _ in range(self.pick(1, 1, 1, 2, 3)):
            if self.chance(0.15):
                steps.append(("rollback to" if open_ else "savepoint", None, None))
                open_ = True
            if self.chance(0.12):
                steps.append(self.pick(lambda: ("fail", self.failing(), None), lambda: ("cursor", self.cursor(), None),
                                       lambda: ("current", self.current(), {"a"}))())
            tree, tables = self.write()
            steps.append(("write", tree, tables))
            if self.chance(0.3):
                steps.append(("read", self.query(1, top=True)[0], None))
        if open_ and self.chance(0.5):
            steps.append(("rollback to", None, None))
            steps.append(("read", self.query(1, top=True)[0], None))
        return steps


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10
    for i in range(count):
        for what, tree, _ in Writer(seed * 300007 + i).transaction():
            print(text_of(tree) + ";" if tree else what + " s;")
        print()


if __name__ == "__main__":
    main()
