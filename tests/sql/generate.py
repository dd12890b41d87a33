#!/usr/bin/python3
"""Random statements from a seed, as trees that can be made smaller while they still show a fault.

    generate.py SEED [COUNT]        prints COUNT (10) queries

A tree's leaves are text, Number (becomes a parameter when the statement is prepared), and Optional and
Choice, which the reduction turns off or replaces by something simpler. Queries have one answer: LIMIT comes
with an ORDER BY of all columns, subqueries used as values give one row. Writes are in generate_writes.py. Tables are those of tests/it/ext/plan_herd.py.
"""
import random
import sys
import time

# column -> kind; i: integer, s: text, n: numeric, b: boolean, t: timestamp. The keys are told apart.
TABLES = {
    "a": {"k": "i", "x": "i", "s": "s", "n": "n", "ts": "t", "flag": "b"},
    "b": {"k": "i", "y": "i", "t": "s"},
    "e": {"k": "i", "x": "i"},
    "c": {"ck": "s", "k": "i", "v": "i"},
    "r": {"id": "i", "name": "s", "grp": "i"},
    "r2": {"id": "i", "label": "s"},
    "l": {"id": "i", "note": "s"},
    "o": {"k": "i", "x": "i", "w": "s"},
    "p": {"k": "i", "d": "i", "x": "i"},
}
KEYS = {"a": "k", "b": "k", "e": "k", "c": "ck", "p": "k"}
WHOLE = "b c e o p r r2".split()  # all of their columns are above
WEIGHTS = "a a a a b b b b e c c r r r2 l o p p".split()


class Node:
    """Text and nodes, one after the other."""

    def __init__(self, *parts):
        self.parts = list(parts)

    def render(self, out):
        for part in self.parts:
            if isinstance(part, str):
                out.text.append(part)
            else:
                part.render(out)

    def children(self):
        return [p for p in self.parts if not isinstance(p, str)]


class Number(Node):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def render(self, out):
        if out.values is None:
            out.text.append(str(self.value))
        else:
            out.values.append(self.value)
            out.text.append("$%d" % len(out.values))


class Optional(Node):
    """What may be left out."""
    off = False

    def render(self, out):
        if not self.off:
            super().render(out)

    def children(self):
        return [] if self.off else super().children()


class Choice(Node):
    """May be replaced by the simpler text."""
    off = False

    def __init__(self, simple, *parts):
        super().__init__(*parts)
        self.simple = simple

    def render(self, out):
        if self.off:
            out.text.append(self.simple)
        else:
            super().render(out)

    def children(self):
        return [] if self.off else super().children()


class Out:
    def __init__(self, parameters):
        self.text, self.values = [], [] if parameters else None


def text_of(tree, parameters=False):
    """The statement; with parameters, and the list of their values."""
    out = Out(parameters)
    tree.render(out)
    text = "".join(out.text)
    return (text, out.values) if parameters else text


def walk(tree):
    yield tree
    for child in tree.children():
        yield from walk(child)


def reduce(tree, differs, seconds=20):
    """Switches off what is not needed for differs(tree) to hold; the largest parts first."""
    changed, end = True, time.monotonic() + seconds
    while changed and time.monotonic() < end:
        changed = False
        for node in list(walk(tree)):
            if not isinstance(node, (Optional, Choice)) or node.off or time.monotonic() > end:
                continue
            before = text_of(tree)
            node.off = True
            if text_of(tree) != before and differs(tree):
                changed = True
            else:
                node.off = False
    return tree


def join(nodes, by):
    """Nodes with text between them; each may be left out if it is not the only one."""
    result = []
    for i, node in enumerate(nodes):
        result.append(node if i == 0 else Optional(by, node))
    return Node(*result)


class Item:
    """Something of FROM: its name, and the columns by kind."""

    def __init__(self, name, columns, table=None):
        self.name, self.columns, self.table = name, columns, table

    def of(self, kinds):
        return ["%s.%s" % (self.name, c) for c, k in self.columns.items() if k in kinds]

    def key(self):
        return ["%s.%s" % (self.name, KEYS[self.table])] if self.table in KEYS else []


class Maker:
    """local: whether tables of this node may be used."""

    def __init__(self, seed, local=True):
        self.rnd = random.Random(seed)
        self.names = 0
        self.local = local
        self.ctes = []

    def chance(self, p):
        return self.rnd.random() < p

    def pick(self, *some):
        return self.rnd.choice(some)

    def name(self, letter="t"):
        self.names += 1
        return "%s%d" % (letter, self.names)

    def number(self, top=45):
        return Number(self.rnd.randrange(top))

    # -- expressions ----------------------------------------------------------------------------

    def column(self, scope, kinds):
        some = [c for item in scope for c in item.of(kinds)]
        return self.rnd.choice(some) if some else None

    def literal(self, kind):
        if kind == "i":
            return self.number(30)
        return Node({"s": self.pick("'s1'", "'t3'", "'c5'", "'r7'", "''"), "n": self.pick("3.5", "27.000", "0"),
                     "b": self.pick("true", "false"),
                     "t": "'2024-01-%02d'::timestamptz" % self.rnd.randrange(1, 29)}[kind])

    def value(self, scope, kind, depth=1, outer=()):
        """An expression of the kind."""
        column = self.column(scope, kind)
        draw = self.rnd.random()
        if depth > 0 and draw > 0.6:
            simple = column or text_of(self.literal(kind))
            made = self.built(scope, kind, depth - 1, outer)
            if made is not None:
                return Choice(simple, made)
        if column and draw > 0.05:
            return Node(column)
        return self.literal(kind)

    def built(self, scope, kind, depth, outer):
        def v(k):
            return self.value(scope, k, depth, outer)
        draw = self.rnd.random()
        if draw < 0.2:
            return Node("case when ", self.condition(scope, depth, outer), " then ", v(kind), " else ", v(kind),
                        " end")
        if draw < 0.35:
            return Node("coalesce(", v(kind), ", ", v(kind), ")")
        if draw < 0.45:
            return Node("nullif(", v(kind), ", ", v(kind), ")")
        if draw < 0.6 and depth > 0:
            return self.scalar(scope, kind, depth)
        if kind == "i":
            return self.pick(lambda: Node("(", v("i"), self.pick(" + ", " - ", " * "), self.number(5), ")"),
                             lambda: Node("(", v("i"), " % ", Node(self.pick("3", "5", "7")), ")"),
                             lambda: Node("length(", v("s"), ")"), lambda: Node("abs(", v("i"), ")"),
                             lambda: Node("extract(day from ", v("t"), ")::int"),
                             lambda: Node("greatest(", v("i"), ", ", v("i"), ")"))()
        if kind == "s":
            return self.pick(lambda: Node("(", v("s"), " || ", v("s"), ")"), lambda: Node("upper(", v("s"), ")"),
                             lambda: Node("substr(", v("s"), ", 1, 2)"), lambda: Node("(", v("i"), ")::text"))()
        if kind == "n":
            return self.pick(lambda: Node("round(", v("n"), ", 1)"), lambda: Node("(", v("i"), ")::numeric"),
                             lambda: Node("(", v("n"), " + ", v("n"), ")"))()
        if kind == "b":
            return Node("(", self.condition(scope, depth, outer), ")")
        return Node("(", v("t"), " + interval '3 days')")

    def scalar(self, scope, kind, depth):
        """A subquery of one row."""
        item, node = self.item(scope, depth - 1, plain=True)
        where = self.link(item, scope, depth - 1)
        if kind in "st" or kind == "n" or self.chance(0.6):
            f = self.pick("min", "max") if kind != "b" else "bool_or"
            return Node("(select ", f, "(", self.value([item], kind, 0), ") from ", node, where, ")")
        if kind == "i":
            return Node("(select count(*) from ", node, where, ")")
        return Node("exists (select from ", node, where, ")")

    def link(self, item, outer, depth):
        """WHERE of a subquery, most times with something of the query around it."""
        parts = [Optional(self.condition([item], 0))] if self.chance(0.4) else []
        if self.chance(0.75):
            kind = self.pick("i", "i", "i", "s")
            theirs, mine = self.column(outer, kind), self.column([item], kind)
            keys = [k for o in outer for k in o.key()]
            if item.key() and keys and self.chance(0.6):
                mine, theirs = item.key()[0], self.rnd.choice(keys)
                if (item.table == "c") != theirs.endswith(".ck"):
                    theirs = None
            if mine and theirs:
                op = self.pick(" = ", " = ", " = ", " < ", " is not distinct from ")
                parts.append(Optional(mine, op, theirs))
        if not parts:
            return Node("")
        return Node(" where ", *[x for i, p in enumerate(parts) for x in ([" and "] if i else []) + [
            Choice("true", *p.parts)]])

    def condition(self, scope, depth, outer=()):
        draw = self.rnd.random()
        if depth > 0 and draw < 0.15:
            return Choice("true", "(", Choice("true", self.condition(scope, depth - 1, outer)), self.pick(" or ", " and "),
                          Choice("false", self.condition(scope, depth - 1, outer)), ")")
        if depth > 0 and draw < 0.2:
            return Choice("true", "not (", self.condition(scope, depth - 1, outer), ")")
        if depth > 0 and draw < 0.4:
            return Choice("true", self.sublink(scope, depth - 1))
        return Choice("true", self.comparison(scope, max(depth - 1, 0), outer))

    def comparison(self, scope, depth, outer):
        keys = [k for item in scope for k in item.key()]
        draw = self.rnd.random()
        if keys and draw < 0.25:
            key = self.rnd.choice(keys)
            if key.endswith(".ck"):
                return Node(key, self.pick(" = 'c3'", " in ('c1', 'c2')", " = any (array['c4', 'c5', null])"))
            return self.pick(lambda: Node(key, " = ", self.number()),
                             lambda: Node(key, " in (", self.number(), ", ", self.number(), ")"),
                             lambda: Node(key, " = any (array[", self.number(), ", ", self.number(), "])"))()
        kind = self.pick("i", "i", "i", "s", "n", "b", "t")
        if not self.column(scope, kind):  # of constants only: says little
            kind = self.pick("i", "s")
        left = self.value(scope, kind, depth, outer)
        if kind == "b":
            return Node(left, self.pick("", " is true", " is not true", " is null"))
        if draw < 0.4:
            return Node(left, self.pick(" is null", " is not null"))
        if kind == "s" and draw < 0.55:
            return Node(left, self.pick(" like 's1%'", " ~ '[1-4]$'", " > 'r'", " not like '%5'"))
        if kind == "i" and draw < 0.5:
            return Node(left, " between ", self.number(20), " and ", self.number(40))
        if draw < 0.6:
            return Node(left, " is distinct from ", self.value(scope, kind, 0, outer))
        return Node(left, self.pick(" = ", " = ", " < ", " > ", " <> ", " <= "),
                    self.value(list(scope) + list(outer), kind, depth))

    def sublink(self, scope, depth):
        item, node = self.item(scope, depth, plain=self.chance(0.6))
        where = self.link(item, scope, depth)
        kind = self.pick("i", "i", "s")
        draw = self.rnd.randrange(6)
        if draw < 2:
            return Node(self.pick("", "not "), "exists (select from ", node, where, ")")
        mine, theirs = self.value(scope, kind, 0), self.value([item], kind, 0)
        if draw < 4:
            return Node(mine, self.pick(" in ", " in ", " not in "), "(select ", theirs, " from ", node, where, ")")
        if draw == 4:
            return Node(mine, self.pick(" > all ", " < any ", " <> all "), "(select ", theirs, " from ", node, where, ")")
        return Node("(", mine, ", ", self.value(scope, "i", 0), ") in (select ", theirs, ", ",
                    self.value([item], "i", 0), " from ", node, where, ")")

    # -- FROM -----------------------------------------------------------------------------------

    def item(self, outer, depth, plain=False, lateral=False):
        """An item of FROM and its node."""
        name = self.name()
        draw = self.rnd.random()
        if self.ctes and draw < 0.3:
            cte, columns = self.rnd.choice(self.ctes)
            return Item(name, dict(columns)), Node("%s %s" % (cte, name))
        if not plain and depth > 0 and draw < 0.55:
            node, columns = self.query(depth - 1, outer if lateral else ())
            return Item(name, columns), Node("lateral " if lateral else "", "(", node, ") ", name)
        if not plain and draw > 0.96:
            return Item(name, {"g": "i"}), Node("generate_series(1, ", self.number(9), ") %s (g)" % name)
        if not plain and draw > 0.93:
            return Item(name, {"g": "i", "h": "s"}), Node(
                "(values (", self.number(), ", 's1'), (", self.number(), ", 't2'), (null, null)) %s (g, h)" % name)
        if not plain and draw > 0.9:
            return self.named_join(name)
        table = self.rnd.choice(WEIGHTS)
        if table == "l" and not self.local:
            table = "a"
        return Item(name, dict(TABLES[table]), table), Node("%s %s" % (table, name))

    def named_join(self, name):
        """Two tables that others see under one name, with names of columns by position."""
        scope, nodes = [], []
        for table in self.rnd.choices(WHOLE, k=2):
            inner = self.name()
            scope.append(Item(inner, dict(TABLES[table]), table))
            nodes.append("%s %s" % (table, inner))
        on = self.on(scope[:1], scope[1])
        how = self.pick("join", "left join") if not text_of(on).startswith("true") else "join"
        kinds = [kind for item in scope for kind in item.columns.values()]
        columns = {"c%d" % i: kind for i, kind in enumerate(kinds)}
        return Item(name, columns), Node("(", nodes[0], " ", Choice("join", how), " ", nodes[1], " on ", on, ") ",
                                         "%s (%s)" % (name, ", ".join(columns)))

    def on(self, scope, item):
        """The condition of a join."""
        left, right = [k for i in scope for k in i.key()], item.key()
        left = [k for k in left if right and k.endswith(".ck") == right[0].endswith(".ck")]
        kind = self.pick("i", "i", "i", "i", "s")
        if left and right and self.chance(0.65):
            equal = "%s = %s" % (self.rnd.choice(left), right[0])
        else:
            mine, theirs = self.column(scope, kind), self.column([item], kind)
            if not mine or not theirs:
                return Node("true")
            equal = "%s = %s" % (mine, theirs)
        parts = [equal]
        if self.chance(0.2):
            parts.append(Optional(" and ", self.condition(scope + [item], 1)))
        return Node(*parts)

    def from_clause(self, depth, outer=()):
        item, node = self.item(outer, depth)
        scope, nodes = [item], [node]
        for _ in range(self.pick(0, 0, 1, 1, 1, 2, 3)):
            if depth > 0 and self.chance(0.08):
                item, node = self.item(list(scope), depth, lateral=True)
                how = self.pick(" cross join ", " left join ")
                nodes.append(Optional(how, node, " on true" if how == " left join " else ""))
                scope.append(item)
                continue
            for _ in range(3):  # a condition can be found with most
                item, node = self.item(outer, depth)
                on = self.on(scope, item)
                if not text_of(on).startswith("true"):
                    break
            how = self.pick("join", "join", "join", "left join", "left join", "right join", "full join")
            if how == "full join":  # only conditions that can be merged or hashed
                on = Node(*on.parts[:1])
            if text_of(on).startswith("true") and how in ("right join", "full join", "left join"):
                how = "join"
            nodes.append(Optional(" ", Choice("join", how), " ", node, " on ", on))
            scope.append(item)
        return Node(*nodes), scope

    # -- queries --------------------------------------------------------------------------------

    def aggregate(self, scope):
        i, s, n = (lambda: self.value(scope, "i", 1)), (lambda: self.value(scope, "s", 0)), \
            (lambda: self.value(scope, "n", 1))
        made, kind = self.pick(
            lambda: (Node("count(*)"), "i"), lambda: (Node("count(", i(), ")"), "i"),
            lambda: (Node("sum(", i(), ")"), "i"), lambda: (Node("sum(", n(), ")"), "n"),
            lambda: (Node("avg(", i(), ")"), "n"), lambda: (Node("min(", s(), ")"), "s"),
            lambda: (Node("max(", i(), ")"), "i"), lambda: (Node("max(", self.value(scope, "t", 0), ")"), "t"),
            lambda: (Node("count(distinct ", i(), ")"), "i"), lambda: (Node("count(distinct ", s(), ")"), "i"),
            lambda: (Node("sum(distinct ", i(), ")"), "i"),
            lambda: (Node("bool_or(", self.condition(scope, 0), ")"), "b"),
            lambda: (self.ordered_agg(scope), "s"),
            lambda: (Node("percentile_disc(0.5) within group (order by ", i(), ")"), "i"),
            lambda: (Node("var_pop(", i(), ")"), "n"), lambda: (Node("bit_xor(", i(), ")"), "i"),
            lambda: (Node("array_length(array_agg(", i(), "), 1)"), "i"))()
        if self.chance(0.15) and not text_of(made).startswith("array_length"):
            made = Node(made, Optional(" filter (where ", self.condition(scope, 0), ")"))
        return made, kind

    def ordered_agg(self, scope):
        s = text_of(self.value(scope, "s", 0)) + "::text"
        return Node("string_agg(%s%s, ',' order by %s)" % (self.pick("", "distinct "), s, s))

    def window(self, scope):
        over = Node("partition by ", self.value(scope, self.pick("i", "i", "s"), 0)) if self.chance(0.75) else Node("")
        keys = [k for item in scope for k in item.key()]
        if keys and self.chance(0.5):
            over = Node("partition by ", self.rnd.choice(keys))
        order = self.value(scope, "i", 0)
        return self.pick(
            lambda: Node("count(*) over (", over, ")"), lambda: Node("sum(", self.value(scope, "i", 0), ") over (", over, ")"),
            lambda: Node("rank() over (", over, " order by ", order, ")"),
            lambda: Node("dense_rank() over (", over, " order by ", order, " desc nulls last)"),
            lambda: Node("max(", self.value(scope, "i", 0), ") over (", over, " order by ", order, ")"))()

    def select(self, depth, outer=(), kinds=None):
        """The node and the kinds of its columns, which are named c0, c1, .."""
        source, scope = self.from_clause(depth, outer)
        visible = scope
        there = sorted({k for item in visible for k in item.columns.values()}) * 3 + list("isnbt")
        wanted = kinds or [self.rnd.choice(there) for _ in range(self.pick(1, 2, 2, 3))]
        where = [Optional(" and ", self.condition(visible, depth, outer)) for _ in range(self.pick(0, 1, 1, 2))]
        where = Optional(" where true", *where) if where else Node("")
        form = self.rnd.random()
        tail, distinct = [], ""
        if form < 0.35:
            out, got, groups = self.grouped(visible, wanted, kinds is not None)
            if groups:
                style = self.pick(None, None, None, None, None, "rollup", "cube")
                listed = ", ".join(groups)
                tail.append(Node(" group by ", Choice(listed, "%s (%s)" % (style, listed)) if style else listed))
                if self.chance(0.2):
                    tail.append(Optional(" having ", self.pick("count(*) > 1", "count(distinct %s) < 2" % groups[0])))
        else:
            out, got = [self.value(visible, k, depth, outer) for k in wanted], list(wanted)
            if form > 0.88 and kinds is None:
                out.append(self.window(visible))
                got.append("i")
            elif self.chance(0.2):
                distinct = "distinct "
        columns = ["c%d" % i for i in range(len(out))]
        nodes = []
        for i, node in enumerate(out):
            nodes += [", " if i else "", node, " as c%d" % i]
        return Node("select ", Optional(distinct), Node(*nodes), " from ", source, where, *tail), dict(zip(columns, got))

    def grouped(self, scope, wanted, exact):
        out, got, groups = [], [], []
        for kind in wanted:
            column = self.column(scope, kind)
            if column and self.chance(0.6):
                out.append(Node(column))
                groups.append(column)
                got.append(kind)
                continue
            if exact:
                f = "bool_and" if kind == "b" else self.pick("min", "max")
                out.append(Node(f, "(", self.value(scope, kind, 0), ")"))
                got.append(kind)
            else:
                node, what = self.aggregate(scope)
                out.append(node)
                got.append(what)
        if len(out) == len(groups):  # by all columns: nothing to compute
            out.append(Node("count(*)")) if not exact else None
            got.append("i") if not exact else None
        return out, got, groups

    def query(self, depth, outer=(), top=False):
        """A query that can stand in FROM; its node and columns."""
        node, columns = self.select(depth, outer)
        if self.chance(0.12):
            kinds = list(columns.values())
            other, _ = self.select(max(depth - 1, 0), outer, kinds)
            node = Node("(", node, ")", self.pick(" union ", " union all ", " intersect ", " except ", " except all "),
                        "(", other, ")")
        if self.chance(0.3 if top else 0.15):
            order = ", ".join("%d%s" % (i + 1, self.pick("", "", " desc", " nulls first")) for i in range(len(columns)))
            limit = [Optional(" limit ", self.number(20))] if self.chance(0.7) else []
            if limit and self.chance(0.3):
                limit.append(Optional(" offset ", self.number(5)))
            node = Node(node, Optional(" order by " + order, *limit))
        return node, columns

    def statement(self):
        """A query for the client."""
        withs = []
        for _ in range(self.pick(0, 0, 0, 0, 1, 1, 2)):
            node, columns = self.query(1)
            name = self.name("w")
            withs.append(Node(name, " as ", self.pick("", "", "materialized ", "not materialized "), "(", node, ")"))
            self.ctes.append((name, columns))
        node, _ = self.query(2, top=True)
        if not withs:
            return node
        return Node("with ", *[x for i, w in enumerate(withs) for x in ([", "] if i else []) + [w]], Node(" "), node)


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10
    for i in range(count):
        print(text_of(Maker(seed * 100003 + i).statement()) + ";\n")


if __name__ == "__main__":
    main()
