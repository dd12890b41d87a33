#!/usr/bin/python3
"""Random transactions over foreign keys with actions, triggers, rules, policies and partitions, from a seed.

    generate_rules.py SEED [COUNT]        prints COUNT (10) transactions

par, kid, prt, pol, log and tree are of one co-location group, far and sub of another. The rows that a statement
writes do not depend on the order in which rows are met.
"""
import random
import re
import sys

ROLES = ("rules_one", "rules_two")
TABLES = """
create table ref (id int primary key, name text unique, up int references ref deferrable initially deferred);
create table par (k int primary key, v int check (v < 900), s text);
create table kid (k int references par on delete cascade on update cascade, n int, v int, primary key (k, n)) partition by range (n);
create table kid_1 partition of kid for values from (minvalue) to (20);
create table kid_2 partition of kid for values from (20) to (maxvalue);
create table prt (k int not null, d int not null, x int, primary key (k, d)) partition by range (d);
create table prt_1 partition of prt for values from (minvalue) to (5);
create table prt_2 partition of prt for values from (5) to (10);
create table prt_3 partition of prt default;
create table far (id int primary key, fk int references par on delete set null on update cascade,
  dk int default 2 references par on delete set default, rid int references ref on delete cascade, w int);
create table sub (id int not null, k int, d int, foreign key (k, d) references prt on delete cascade on update cascade
  deferrable initially deferred) partition by range (id);
create table sub_1 partition of sub for values from (minvalue) to (30);
create table sub_2 partition of sub default;
create table tree (id int primary key, up int references tree on delete cascade on update cascade deferrable, v int);
create table pol (k int not null, owner text, v int);
create table log (k int not null, what text);
"""
DISTRIBUTE = """
select create_reference_table('ref');
select create_distributed_table('par', 'k', shard_count => 8);
select create_distributed_table('kid', 'k', colocate_with => 'par');
select create_distributed_table('prt', 'k', colocate_with => 'par');
select create_distributed_table('tree', 'id', colocate_with => 'par');
select create_distributed_table('pol', 'k', colocate_with => 'par');
select create_distributed_table('log', 'k', colocate_with => 'par');
select create_distributed_table('far', 'id', shard_count => 5, colocate_with => 'none');
select create_distributed_table('sub', 'id', colocate_with => 'far');
"""
ROWS = """
insert into ref values (0, 'r0', null), (1, 'r1', 0), (2, 'r2', 1), (3, 'r3', 1), (4, 'r4', 4), (5, 'r5', null);
insert into par select i, nullif(i % 60, 7), 's' || i % 5 from generate_series(1, 30) i;
insert into kid select i % 20 + 1, i, i + 20 from generate_series(1, 40) i;
insert into prt select i % 20, i % 13, i % 8 from generate_series(1, 60) i;
insert into far select i, nullif(i % 15, 0), i % 9 + 1, nullif(i % 6, 3), i % 9 from generate_series(1, 30) i;
insert into sub select k * 3, k, d from prt where x % 2 = 0;
insert into tree select i, nullif(i / 3, 0), i from generate_series(1, 30) i;
insert into pol select i, case i % 3 when 0 then 'rules_one' when 1 then 'rules_two' else 'postgres' end, i % 17
  from generate_series(1, 40) i;
"""
# no statement trigger stands on a table that actions of foreign keys change
GUARDS = """
create function logged() returns trigger language plpgsql as $$ begin
  insert into log values (coalesce(new.k, old.k), concat_ws(' ', tg_table_name, tg_op, old.v, new.v)); return null; end $$;
create function before_kid() returns trigger language plpgsql as $$ begin
  if new.v = 19 then return null; end if;
  if new.v = 18 then raise exception 'eighteen'; end if;
  new.v := coalesce(new.v, (select max(id) from ref where id < new.n)); return new; end $$;
create function noted() returns trigger language plpgsql as $$ begin
  insert into log values (0, concat_ws(' ', tg_table_name, tg_op, tg_when)); return null; end $$;
create function moved() returns trigger language plpgsql as $$ begin
  insert into log select 1, 'moved ' || count(*) || '/' || coalesce(sum(v), 0) from fresh; return null; end $$;
create function carried() returns trigger language plpgsql as $$ begin
  update far set w = coalesce(w, 0) + 1 where id = new.v; return null; end $$;
create function parts() returns trigger language plpgsql as $$ begin
  insert into log values (coalesce(new.k, old.k), concat_ws(' ', tg_op, old.d, new.d)); return null; end $$;
create trigger t1 after insert or update or delete on par for each row execute function logged();
create trigger t2 before insert or update on kid for each row execute function before_kid();
create trigger t3 before insert or update or delete on par for each statement execute function noted();
create trigger t4 after insert or update or delete on par for each statement execute function noted();
create trigger t5 after update on par referencing new table as fresh for each statement execute function moved();
create trigger t6 after insert or update on tree for each row when (new.v < 12) execute function carried();
create trigger t7 after insert or update or delete on prt for each row execute function parts();
create constraint trigger t8 after update on kid deferrable initially deferred for each row execute function logged();
create view seen as select k, v, s from par where v < 50 or v is null with check option;
create view pairs as select kid.k, n, kid.v, par.s from kid join par using (k);
create rule r1 as on insert to pairs do instead insert into kid values (new.k, new.n, new.v);
create rule r2 as on delete to pairs do instead delete from kid where k = old.k and n = old.n;
create rule r3 as on update to pairs do instead update kid set v = new.v where k = old.k and n = old.n;
create rule r4 as on update to pol where new.v > 30 do also insert into log values (new.k, 'rule');
create rule r5 as on delete to tree where old.v = 4 do instead update tree set v = 5 where id = old.id;
alter table pol enable row level security;
create policy q1 on pol for select using (owner = current_user or v % 3 = 0);
create policy q2 on pol for insert with check (v < 40);
create policy q3 on pol for update using (owner = current_user) with check (v <> 13 and owner = current_user);
create policy q4 on pol for delete using (owner = current_user and exists (select from ref where ref.id = pol.v % 10));
"""
COLUMNS = {"ref": "id up", "par": "k k v", "kid": "k n v", "prt": "k d x", "far": "id fk dk rid w", "sub": "id k d",
           "tree": "id up v", "pol": "k v", "seen": "k v", "pairs": "k n v"}
# N: a number; W(table): a condition on it; a write of rows, for each table
INSERTS = {
    "ref": ["values (N, 'n' || N, N)"], "par": ["values (N, N, 'i')", "select id + 40, w, 'q' from far where W(far)"],
    "kid": ["values (N, N, N)", "select k, d, x from prt where W(prt)"], "prt": ["values (N, N % 14, N)"],
    "far": ["values (N, N, N, N % 8, N)"], "sub": ["values (N, N, N % 14)"], "tree": ["values (N, N, N)", "values (N, N, N), (N + 50, N, N)"],
    "pol": ["values (N, 'rules_one', N)", "values (N, current_user, N)"], "seen": ["values (N, N * 2, 'v')"], "pairs": ["values (N, N, N)"]}
CONFLICTS = {"ref": "(id) do update set name = excluded.name", "par": "(k) do update set v = excluded.v + par.v", "kid": "(k, n) do update set v = excluded.v",
             "prt": "(k, d) do update set x = excluded.x + prt.x", "far": "(id) do update set fk = excluded.fk",
             "tree": "(id) do update set v = tree.v + 1, up = excluded.up"}
SETS = {"ref": ["up = N", "name = name || 'x'", "id = id + 10"],
        "par": ["v = v + 1", "v = N * 22", "k = k + 100", "v = (select count(*) from kid where kid.k = par.k)"],
        "kid": ["v = N", "v = null", "n = n + 100"], "prt": ["x = x + 1", "d = d + 20", "x = N"],
        "far": ["fk = N", "dk = N", "dk = default", "rid = N % 8", "id = id + 40", "fk = (select min(k) from par where v > far.id)"],
        "sub": ["k = N", "d = N % 14", "d = null"], "tree": ["v = v + 1", "up = N", "id = id + 50", "v = up"],
        "pol": ["v = N", "v = v + 1", "owner = 'rules_two'", "k = k + 1"], "seen": ["v = N * 2", "k = k + 60"], "pairs": ["v = N"]}
SOURCES = ["(select id, w from far where W(far))", "(select k, max(x) from prt where W(prt) group by 1)",
           "(select id, up from tree where W(tree))", "(values (N, N))"]
MERGES = ["par t using Q on t.k = q.id when matched and q.v > 5 then delete when matched then update set v = t.v + q.v "
          "when not matched then insert values (q.id, q.v, 'm')",
          "far t using Q on t.id = q.id when matched and q.v > 5 then update set fk = q.v when matched then delete "
          "when not matched then insert values (q.id, q.v, 1, null, 1)",
          "prt t using Q on t.k = q.id and t.d < 4 when matched and q.v > 5 then update set d = t.d + 30 when matched then update set x = q.v",
          "pol t using Q on t.k = q.id when matched and t.v > N then delete when matched then update set v = q.v "
          "when not matched then insert values (q.id, current_user, q.v)",
          "seen t using Q on t.k = q.id when matched then update set v = q.v when not matched then insert values (q.id, q.v, 'V')"]
GIVING = ["delete from far where W(far) returning id, fk as v", "delete from prt where W(prt) returning k * 100 + d as id, x as v",
          "update tree set v = v + 1 where W(tree) returning id, v", "update ref set name = name || 'w' where W(ref) returning id, up as v"]
TAKING = ["insert into par select id + 40, max(v) from w group by id on conflict do nothing", "insert into log select id, v::text from w",
          "update pol set v = N where k in (select v from w) returning *", "delete from kid where n in (select id from w)",
          "select * from w left join par on par.k = w.v", "select sum(v), count(*) from w"]
DEFINES = ["alter table prt detach partition prt_2", "alter table prt attach partition prt_2 for values from (5) to (10)",
           "alter table sub detach partition sub_1", "alter table sub attach partition sub_1 for values from (minvalue) to (30)",
           "alter table kid detach partition kid_1", "alter table kid attach partition kid_1 for values from (minvalue) to (20)"]
READS = ["select * from T where W(T)", "select count(*) from T where W(T)", "select * from pol join far on far.fk = pol.v where W(far)",
         "select * from par where k = N for update"]


class Rules:
    def __init__(self, seed):
        self.rnd = random.Random(seed)

    def pick(self, *of):
        return self.rnd.choice(of)

    def chance(self, p):
        return self.rnd.random() < p

    def number(self):
        return "null" if self.chance(0.02) else str(self.rnd.randrange(45))

    def where(self, table):
        column = "%s.%s" % (table, self.pick(*COLUMNS[table].split()))
        draw = self.rnd.random()
        if draw < 0.45:
            return "%s = %s" % (column, self.number())
        if draw < 0.65:
            low = self.rnd.randrange(45)
            return "%s between %d and %d" % (column, low, low + 8)
        if draw < 0.75:
            return "%s is null" % column
        if draw < 0.9:
            other, key = self.pick(("par", "k"), ("far", "fk"), ("ref", "id"), ("prt", "x"), ("pol", "v"))
            return "%s in (select zz.%s from %s zz where zz.%s < %s)" % (column, key, other, key, self.number())
        return "%s %% %s = 1" % (column, self.pick("3", "4", "7"))

    def fill(self, text):
        text = text.replace("Q on", self.pick(*SOURCES) + " q(id, v) on") if " Q on" in text else text
        text = re.sub(r"\bW\((\w+)\)", lambda m: self.where(m[1]), text)
        return re.sub(r"\bN\b", lambda m: self.number(), text)

    def returning(self):
        return " returning *" if self.chance(0.3) else ""

    def insert(self, table):
        text = "insert into %s %s" % (table, self.pick(*INSERTS[table]))
        if table in CONFLICTS and self.chance(0.5):
            text += " on conflict " + self.pick("do nothing", CONFLICTS[table])
        return text + (self.returning() if table != "pairs" else "")

    def change(self, table):
        if self.chance(0.6):
            text = "update %s set %s where W(%s)" % (table, self.pick(*SETS[table]), table)
        else:
            text = "delete from %s where W(%s)" % (table, table)
        return text + (self.returning() if table not in ("pairs", "tree") else "")

    def write(self):
        draw = self.rnd.random()
        if draw < 0.12:
            return self.fill("merge into " + self.pick(*MERGES))
        if draw < 0.24:
            return self.fill("with w as (%s) %s" % (self.pick(*GIVING), self.pick(*TAKING)))
        if draw < 0.28:
            return self.pick(*DEFINES)
        table = self.pick(*INSERTS)
        return self.fill(self.insert(table) if draw < 0.5 else self.change(table))

    def read(self):
        return self.fill(self.pick(*READS).replace("T", self.pick(*COLUMNS)))

    def end(self):
        draw = self.rnd.random()
        return "commit" if draw < 0.7 else "rollback" if draw < 0.8 else "prepare transaction"

    def transaction(self):
        """Statements without BEGIN; the last one ends it."""
        steps = ["set local role " + self.pick(*ROLES)] if self.chance(0.25) else []
        if self.chance(0.2):
            steps.append("set constraints all " + self.pick("deferred", "immediate"))
        for _ in range(self.pick(1, 1, 2, 3, 5)):
            steps.append(self.write() if self.chance(0.8) else self.read())
        if self.chance(0.1):
            steps.append("set constraints all immediate")
        return steps + [self.end()]


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10
    for i in range(count):
        print(";\n".join(["begin"] + Rules(seed * 300007 + i).transaction()) + ";\n")


if __name__ == "__main__":
    main()
