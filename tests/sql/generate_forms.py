#!/usr/bin/python3
"""Random queries with more of the language than generate.py has; same trees, same use.

    generate_forms.py SEED [COUNT]        prints COUNT (10) queries

Documents, arrays and ranges (table j), frames of windows, grouping sets, recursive WITH, functions in
FROM, DISTINCT ON, joins with USING, rows as values, subqueries in HAVING and ORDER BY. What an answer
could choose freely is ordered by all columns.
"""
import sys

from generate import KEYS, TABLES, WEIGHTS, Choice, Item, Maker, Node, Optional, text_of

# kinds; j: jsonb, A: integer[], T: text[], R: int4range
TABLES["j"] = {"k": "i", "doc": "j", "arr": "A", "tags": "T", "span": "R"}
KEYS["j"] = "k"
WEIGHTS += ["j", "j", "j"]
CREATE = """
create table j (k int not null, doc jsonb, arr int[], tags text[], span int4range);
"""
DISTRIBUTE = """
select create_distributed_table('j', 'k', colocate_with => 'a');
"""
ROWS = """
insert into j select i % 40, case when i % 9 > 0 then jsonb_build_object('i', i % 7, 's', 't' || i % 6, 'l',
	jsonb_build_array(i % 5, i % 3), 'o', jsonb_build_object('x', nullif(i % 4, 2))) end,
	case when i % 8 > 0 then array[i % 7, nullif(i % 5, 3), i % 11] end,
	case i % 5 when 0 then '{}' when 1 then null else array['s' || i % 11, 't' || i % 6] end,
	case when i % 7 > 0 then int4range(i % 20, i % 20 + i % 6) end from generate_series(1, 70) i;
"""
LITERALS = {"j": ["'{\"i\": 3}'::jsonb", "'[1, 2]'::jsonb", "null::jsonb"], "A": ["array[1, 2, null]", "'{}'::int[]"],
            "T": ["array['s1', 't2']", "'{}'::text[]"], "R": ["int4range(3, 9)", "'empty'::int4range"]}
# an array is an error for some functions, and which rows get as far as that depends on the plan
NO_OBJECT = ", '[1, 2]')"
FRAMES = ["", " range between unbounded preceding and unbounded following", " groups between 1 preceding and 1 following",
          " range between 2 preceding and 3 following", " groups between current row and 2 following",
          " range between current row and unbounded following"]
EXCLUDE = ["", "", "", " exclude current row", " exclude group", " exclude ties", " exclude no others"]
ROW_FRAMES = ["", " rows between 2 preceding and current row", " rows between 1 following and 3 following",
              " rows between unbounded preceding and 1 preceding"]


class Forms(Maker):
    def literal(self, kind):
        return Node(self.rnd.choice(LITERALS[kind])) if kind in LITERALS else super().literal(kind)

    # -- expressions ----------------------------------------------------------------------------

    def built(self, scope, kind, depth, outer):
        if kind in "isbn" and self.chance(0.45) or kind in LITERALS and self.chance(0.7):
            made = self.special(scope, kind, depth, outer)
            if made is not None:
                return made
        if kind in LITERALS:
            def v():
                return self.value(scope, kind, 0, outer)
            return self.pick(lambda: Node("coalesce(", v(), ", ", v(), ")"),
                             lambda: Node("case when ", self.condition(scope, 0, outer), " then ", v(), " end"))()
        return super().built(scope, kind, depth, outer)

    def special(self, scope, kind, depth, outer):
        """Something with a document, an array or a range in it, or another function."""
        def v(k):
            return self.value(scope, k, 0, outer)
        if kind == "b":
            return Node("(", self.contained(scope, 0, outer), ")")
        made = {
            "i": lambda: self.pick(
                Node("(", v("j"), " ->> 'i')::int"), Node("(", v("j"), " #>> '{l,0}')::int"), Node("cardinality(", v("A"), ")"),
                Node("(", v("A"), ")[", self.pick("1", "2", "3"), "]"), Node("upper(", v("R"), ")"), Node("lower(", v("R"), ")"),
                Node("array_position(", v("A"), ", ", v("i"), ")"), Node("array_length(", v("T"), ", 1)"),
                Node("(select max(u) from unnest(", v("A"), ") u)"), Node("(select count(*) from jsonb_each(", v("j"), "))"),
                Node("position('1' in ", v("s"), ")"), Node("width_bucket(", v("i"), ", 0, 30, 5)"),
                Node("case ", v("i"), " when 1 then 2 when 3 then 4 else ", v("i"), " end"), Node("num_nulls(", v("i"), ", ", v("s"), ")")),
            "s": lambda: self.pick(
                Node("(", v("j"), " ->> 's')"), Node("(", v("j"), " -> 'o')::text"), Node("array_to_string(", v("T"), ", '-', '?')"),
                Node("(", v("R"), ")::text"), Node("(", v("T"), ")[1]"), self.whole(scope), Node("row(", v("i"), ", ", v("s"), ")::text"),
                Node("jsonb_path_query_first(", v("j"), ", '$.l[*] ? (@ > 2)')::text"), Node("concat(", v("s"), ", '/', ", v("i"), ")"),
                Node("regexp_replace(", v("s"), ", '[0-9]', '#')"), Node("to_char(", v("t"), " at time zone 'UTC', 'YYYY-MM')"),
                Node("format('%s:%s', ", v("s"), ", ", v("i"), ")"), Node("lpad(", v("s"), ", 4, '*')"),
                Node("split_part(", v("s"), ", '1', 1)")),
            "n": lambda: self.pick(
                Node("(", v("j"), " ->> 'i')::numeric"), Node("trunc(", v("n"), " / 3, 2)"),
                Node("extract(epoch from ", v("t"), ")"), Node("mod(", v("n"), ", 7)")),
            "j": lambda: self.pick(
                Node("(", v("j"), " -> 'l')"), Node("(", v("j"), " || jsonb_build_object('z', ", v("i"), "))"),
                Node("jsonb_build_array(", v("i"), ", ", v("s"), ")"), Node("to_jsonb(", v(self.pick("A", "T", "i", "s")), ")"),
                Node("(", v("j"), " - 'l')"), Node("jsonb_path_query_array(", v("j"), ", '$.*')"),
                Node("(", v("j"), ")['o']"), Node("jsonb_strip_nulls(", v("j"), ")")),
            "A": lambda: self.pick(
                Node("(", v("A"), " || ", v("i"), ")"), Node("array[", v("i"), ", ", v("i"), "]"), Node("(", v("A"), ")[2:3]"),
                Node("array_remove(", v("A"), ", ", v("i"), ")"), self.array_of(scope)),
            "T": lambda: self.pick(
                Node("(", v("T"), " || ", v("s"), "::text)"), Node("array[", v("s"), "::text]"), Node("string_to_array(", v("s"), ", '1')")),
            "R": lambda: self.pick(
                Node("(", v("R"), " * int4range(2, 12))"), Node("int4range(", v("i"), ", null)"),
                Node("range_merge(", v("R"), ", int4range(4, 5))"))}
        return made[kind]() if kind in made else None

    def scalar(self, scope, kind, depth):
        if kind not in LITERALS:
            return super().scalar(scope, kind, depth)
        item, node = self.item(scope, depth - 1, plain=True)
        one = text_of(self.value([item], kind, 0))
        return Node("(select ", self.first(one, kind), " from ", node, self.link(item, scope, 0), ")")

    def first(self, one, kind):
        """An aggregate that gives one of the values."""
        return {"b": "bool_and(%s)", "j": "(array_agg({0} order by {0}))[1]", "R": "(array_agg({0} order by {0}))[1]"}.get(
            kind, "max(%s)").replace("{0}", one).replace("%s", one)

    def array_of(self, scope):
        """array(SELECT ..), ordered."""
        item, node = self.item(scope, 0, plain=True)
        of = self.value([item], "i", 0)
        return Node("array(select ", of, " from ", node, self.link(item, scope, 0), " order by 1)")

    def whole(self, scope):
        """A row of something in FROM as text."""
        item = self.rnd.choice(scope) if scope else None
        return Node("(%s)::text" % item.name) if item and item.columns else Node("'s2'")

    def contained(self, scope, depth, outer):
        """A condition on a document, an array, a range, a row."""
        def v(k):
            return self.value(scope, k, depth, outer)
        return self.pick(
            lambda: Node(v("j"), " @> ", self.pick("'{\"i\": 3}'", "'{\"l\": [1]}'", "'{\"o\": {\"x\": 1}}'")),
            lambda: Node(v("j"), self.pick(" ? 'i'", " ?| array['z', 's']", " @? '$.l[*] ? (@ >= 3)'", " @@ '$.i > 3'")),
            lambda: Node(v("i"), " = any (", v("A"), ")"), lambda: Node(v("s"), " <> all (", v("T"), ")"),
            lambda: Node(v("A"), self.pick(" && ", " @> ", " = ", " < "), v("A")), lambda: Node(v("T"), self.pick(" && ", " @> "), v("T")),
            lambda: Node(v("R"), " @> ", v("i")), lambda: Node(v("R"), self.pick(" && ", " << ", " -|- ", " <@ ", " = "), v("R")),
            lambda: Node("isempty(", v("R"), ")"), lambda: Node(v("j"), " = ", v("j")),
            lambda: Node("(", v("i"), ", ", v("s"), ")", self.pick(" < ", " = ", " >= ", " <> "), "(", v("i"), ", ", v("s"), ")"),
            lambda: Node("row(", v("i"), ", ", v("s"), ")", self.pick(" is distinct from ", " is not distinct from "),
                         "row(", v("i"), ", ", v("s"), ")"),
            lambda: Node("(", v("i"), ", ", v("i"), ") in ((1, 2), (3, ", v("i"), "), (null, 4))"),
            lambda: Node(v("i"), self.pick(" in ", " not in "), "(values (1), (", v("i"), "), (7))"),
            lambda: Node(v("i"), " between symmetric ", v("i"), " and ", self.number(30)),
            lambda: Node(v("s"), self.pick(" ilike 'S%'", " similar to '(s|t)[1-5]'", " in ('s1', 't2', 'r3')", " = any ('{s1,t4}')")),
            lambda: Node("(%s)" % self.rnd.choice(scope).name, self.pick(" is null", " is not null"))
            if scope else Node("true"))()

    def condition(self, scope, depth, outer=()):
        made = super().condition(scope, depth, outer)
        return Choice("true", "(", made, ") is not true") if self.chance(0.25) else made  # most hold for few rows

    def comparison(self, scope, depth, outer):
        if self.chance(0.2):
            return self.contained(scope, depth, outer)
        return super().comparison(scope, depth, outer)

    # -- FROM -----------------------------------------------------------------------------------

    def item(self, outer, depth, plain=False, lateral=False):
        if lateral and self.chance(0.5):
            return self.function(outer)
        return super().item(outer, depth, plain, lateral)

    def function(self, outer):
        """Functions in FROM over columns of what is before them."""
        name = self.name()

        def v(k):
            return self.value(outer, k, 0)
        return self.pick(
            lambda: (Item(name, {"g": "i", "h": "i"}), Node("unnest(", v("A"), ") with ordinality %s (g, h)" % name)),
            lambda: (Item(name, {"g": "i", "h": "s", "m": "i"}),
                     Node("rows from (unnest(", v("A"), "), unnest(", v("T"), ")) with ordinality %s (g, h, m)" % name)),
            lambda: (Item(name, {"g": "s", "h": "s"}), Node("jsonb_each_text(nullif(", v("j"), NO_OBJECT, ") %s (g, h)" % name)),
            lambda: (Item(name, {"g": "s"}), Node("jsonb_array_elements_text(", v("j"), " -> 'l') %s (g)" % name)),
            lambda: (Item(name, {"i": "i", "s": "s"}), Node("jsonb_to_record(nullif(", v("j"), NO_OBJECT, ") %s (i int, s text)" % name)),
            lambda: (Item(name, {"g": "i"}), Node("generate_series(1, least(", v("i"), ", 4)) %s (g)" % name)),
            lambda: (Item(name, {"g": "i", "h": "s"}), Node("(values (", v("i"), ", ", v("s"), "), (1, 's1')) %s (g, h)" % name)))()

    def from_clause(self, depth, outer=()):
        if self.chance(0.93):
            return super().from_clause(depth, outer)
        (left, first), (right, second) = self.item(outer, depth), self.item(outer, depth)
        both = [c for c, k in left.columns.items() if right.columns.get(c) == k]
        if not both:
            return Node(first, " cross join ", second), [left, right]
        used, name = both[:self.pick(1, 1, 2)], self.name("u")
        how = self.pick("full join", "full join", "left join", "right join", "join")
        return Node(first, " ", Choice("join", how), " ", second, " using (%s) as %s" % (", ".join(used), name)), [
            left, right, Item(name, {c: left.columns[c] for c in used})]

    # -- queries --------------------------------------------------------------------------------

    def aggregate(self, scope):
        if self.chance(0.6):
            return super().aggregate(scope)

        def v(k):
            return self.value(scope, k, 0)
        i, s, other = text_of(v("i")), text_of(v("s")), text_of(v("i"))
        made, kind = self.pick(
            lambda: (Node("jsonb_agg(%s order by %s, %s)" % (s, s, i)), "j"),
            lambda: (Node("jsonb_object_agg(coalesce(%s, '?'), %s order by %s)" % (s, i, i)), "j"),
            lambda: (Node("array_agg(%s order by %s desc nulls last)" % (i, i)), "A"),
            lambda: (Node("array_agg(distinct %s order by %s)" % (i, i)), "A"),
            lambda: (Node("array_agg(%s::text order by %s, %s)" % (s, other, s)), "T"),
            lambda: (Node("percentile_cont(0.25) within group (order by ", v("i"), ")::numeric"), "n"),
            lambda: (Node("mode() within group (order by ", v("s"), ")"), "s"),
            lambda: (Node("rank(5) within group (order by ", v("i"), " desc)"), "i"),
            lambda: (Node("range_agg(", v("R"), ")::text"), "s"), lambda: (Node("range_intersect_agg(", v("R"), ")"), "R"),
            lambda: (Node("count(", v(self.pick("j", "A", "R", "t")), ")"), "i"),
            lambda: (Node("count(distinct ", v(self.pick("A", "j", "R", "n")), ")"), "i"),
            lambda: (Node("min(", v("A"), ")"), "A"), lambda: (Node("max(", v("n"), ")"), "n"),
            lambda: (Node("count(distinct (%s, %s))" % (i, s)), "i"),
            lambda: (Node("stddev_samp(", v("i"), ")"), "n"), lambda: (Node("max(%s)" % text_of(self.whole(scope))), "s"))()
        if self.chance(0.25) and "::numeric" not in text_of(made) and "::text" != text_of(made)[-6:]:
            made = Node(made, Optional(" filter (where ", self.condition(scope, 1), ")"))
        return made, kind

    def window(self, scope):
        if self.chance(0.3):
            return super().window(scope)
        part = Node("partition by ", self.value(scope, self.pick("i", "s"), 0), " ") if self.chance(0.5) else Node("")
        keys = [k for item in scope for k in item.key()]
        if keys and self.chance(0.4):
            part = Node("partition by ", self.rnd.choice(keys), " ")
        order = self.column(scope, "i") or "1 + 1"
        if self.chance(0.5):  # peers are in one frame together
            frame = self.rnd.choice(FRAMES)
            f = self.pick("sum(%s)" % order, "count(*)", "max(%s)" % order, "array_length(array_agg(%s), 1)" % order, "count(%s)" % order)
            return Node(f if not f.startswith("array") else "count(*)", " over (", part, "order by ", order, self.pick("", " desc"),
                        Choice("", frame + (self.rnd.choice(EXCLUDE) if frame else "")), ")")
        every = [c for item in scope for c in item.of("isnbtjATR")] or ["1"]
        self.rnd.shuffle(every)
        f = self.pick("row_number()", "lag(%s)" % order, "lead(%s, 2, -1)" % order, "first_value(%s)" % order, "ntile(4)",
                      "last_value(%s)" % order, "nth_value(%s, 2)" % order, "sum(%s)" % order, "count(*)")
        return Node(f, " over (", part, "order by ", ", ".join(every), Choice("", self.rnd.choice(ROW_FRAMES)), ")")

    def grouped(self, scope, wanted, exact):
        if not exact:
            return super().grouped(scope, wanted, exact)
        out, got, groups = [], [], []
        for kind in wanted:
            column = self.column(scope, kind)
            if column and self.chance(0.6):
                out.append(Node(column))
                groups.append(column)
            else:
                out.append(Node(self.first(text_of(self.value(scope, kind, 0)), kind)))
            got.append(kind)
        return out, got, groups

    def grouping_sets(self, depth):
        """Grouping sets, and GROUPING of them."""
        source, scope = self.from_clause(depth)
        groups = list(dict.fromkeys(c for c in (self.column(scope, self.pick("i", "i", "s", "b")) for _ in range(3)) if c))
        if not groups:
            return None
        groups = groups[:2]
        one, every, some = groups[0], ", ".join(groups), groups[-1]
        by = self.pick("grouping sets ((%s), (%s), ())" % (one, every), "rollup (%s), %s" % (every, one),
                       "cube (%s)" % every, "grouping sets (%s, rollup (%s))" % (one, every),
                       "distinct rollup (%s), rollup (%s)" % (one, some), "grouping sets (cube (%s), (%s))" % (one, some))
        node, kind = self.aggregate(scope)
        where = Optional(" where ", self.condition(scope, 1))
        having = Optional(" having ", self.pick("count(*) > 1", "grouping(%s) = 0" % one, "not (%s is null)" % one))
        columns = {"c%d" % i: next(k for it in scope for c, k in it.columns.items() if "%s.%s" % (it.name, c) == g)
                   for i, g in enumerate(groups)}
        listed = ", ".join("%s as c%d" % (g, i) for i, g in enumerate(groups))
        columns.update(c8=kind, c9="i")
        return Node("select ", listed, ", ", node, " as c8, grouping(%s) as c9 from " % every, source, where, " group by ",
                    Choice(every, by), having if self.chance(0.3) else ""), columns

    def select(self, depth, outer=(), kinds=None):
        if kinds is None and not outer and depth > 0 and self.chance(0.08):
            made = self.grouping_sets(depth - 1)
            if made:
                return made
        if kinds is None and self.chance(0.06):
            return self.by_subquery(depth, outer)
        return super().select(depth, outer, kinds)

    def by_subquery(self, depth, outer):
        """GROUP BY with a subquery in HAVING."""
        item, node = self.item(outer, 0, plain=True)
        group = self.column([item], "i") or self.column([item], "s")
        if not group:
            return super().select(depth, outer)
        other, theirs = self.item([item], 0, plain=True)
        link = self.column([other], "i" if item.of("i") else "s")
        made, kind = self.aggregate([item])
        having = Optional(" having count(*) ", self.pick(">", "<=", "<>"), " (select count(*) from ", theirs,
                          " where %s = %s" % (link, group) if link else "", ")")
        return Node("select %s as c0, " % group, made, " as c1, (select max(%s) from " % (link or "1"), theirs,
                    " where %s < %s" % (link, group) if link else "", ") as c2 from ", node, " group by %s" % group, having), {
                        "c0": "i" if item.of("i") else "s", "c1": kind, "c2": "i" if item.of("i") and link else "n"}

    def query(self, depth, outer=(), top=False):
        if self.chance(0.05):
            return self.distinct_on(depth, outer)
        if self.chance(0.04):
            first, columns = self.select(0, outer)
            kinds = list(columns.values())
            second, third = self.select(0, outer, kinds)[0], self.select(0, outer, kinds)[0]
            by = [self.pick(" union ", " union all ", " intersect ", " intersect all ", " except ", " except all ") for _ in "ab"]
            if self.chance(0.5):
                return Node("(", first, ")", by[0], "((", second, ")", by[1], "(", third, "))"), columns
            return Node("((", first, ")", by[0], "(", second, "))", by[1], "(", third, ")"), columns
        if top and self.chance(0.05):
            source, scope = self.from_clause(depth)
            return Node("select ", self.value(scope, "i", 1), " as c0 from ", source, " order by ", self.scalar(scope, "i", 0)), {"c0": "i"}
        return super().query(depth, outer, top)

    def distinct_on(self, depth, outer):
        source, scope = self.from_clause(max(depth - 1, 0), outer)
        kinds = [self.pick("i", "s", "i", "n") for _ in range(3)]
        out = [x for i, k in enumerate(kinds) for x in (", " if i else "", self.value(scope, k, 1), " as c%d" % i)]
        where = Optional(" where ", self.condition(scope, 1, outer))
        return Node("select distinct on (%s) " % self.pick("1", "1, 2"), *out, " from ", source, where,
                    " order by 1, 2, 3" + self.pick("", " desc", " nulls first")), {"c%d" % i: k for i, k in enumerate(kinds)}

    def recursive(self):
        """WITH RECURSIVE and a query over it."""
        name, table = self.name("w"), self.rnd.choice(["a", "b", "e", "o", "p", "r", "c"])
        to = {"b": "y", "r": "grp", "c": "v", "o": "x"}.get(table, "x")
        key = "id" if table == "r" else "k"
        start, scope = self.item((), 0, plain=True)[::-1]
        union = self.pick("union", "union", "union all")
        step = Node("select (t.%s)::int, %s.c1 + 1 from %s join %s t on t.%s = %s.c0%s where %s.c1 < %d" % (
            to, name, name, table, key, name, self.pick("", "", " + 1"), name, 2 if union == "union all" else 4))
        first = Node("select (", self.value([scope], "i", 0), ")::int as c0, 0 as c1 from ", start,
                     Optional(" where ", self.condition([scope], 0)))
        self.ctes.append((name, {"c0": "i", "c1": "i"}))
        node, _ = self.query(1, top=True)
        if name not in text_of(node):
            node = Node("select count(*), sum(c0), max(c1) from ", name)
        return Node("with recursive %s as (" % name, first, " %s " % union, step, ") ", node)

    def statement(self):
        return self.recursive() if self.chance(0.05) else super().statement()


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10
    for i in range(count):
        print(text_of(Forms(seed * 100003 + i).statement()) + ";\n")


if __name__ == "__main__":
    main()
