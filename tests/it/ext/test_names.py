"""Names that have to be quoted, or are as long as names can be, compared with plain tables."""
import pytest

import rules_herd

TABLES = '''
create type "Mood ü" as enum ('sad', 'it''s', 'UP "q"');
create domain "Pos" as int check (value > 0);
create type "Pair (x)" as ("A b" int, gone text, "C,d" text);
alter type "Pair (x)" drop attribute gone;
create table "T a""b" ("K ey" int, "select" text, "UPPER" int default 5, "ünï" "Mood ü", "p""q" "Pair (x)", "a.b" "Pos", "$1" int, primary key ("K ey"));
create table "Order" ("User" int, "K ey" int, "%s" text, "x'y" numeric);
create table "a_very_long_name_of_a_table_that_has_sixty_three_characters_in__" (a_very_long_name_of_a_column_that_has_sixty_three_characters_in int primary key, v int);
create table "Ref t" ("I d" int primary key, "N" text unique);
--herd select create_distributed_table('"T a""b"', 'K ey');
--herd select create_distributed_table('"Order"', 'User', colocate_with => 'none');
--herd select create_distributed_table('a_very_long_name_of_a_table_that_has_sixty_three_characters_in__', 'a_very_long_name_of_a_column_that_has_sixty_three_characters_in');
--herd select create_reference_table('"Ref t"');
insert into "T a""b" select i, E's\\'' || i, i % 4, (array['sad', 'it''s', 'UP "q"'])[1 + i % 3]::"Mood ü", (i, 'c"' || i)::"Pair (x)", i, -i from generate_series(1, 20) i;
insert into "Order" select i, i % 20 + 1, '%d' || i, i / 3.0 from generate_series(1, 30) i;
insert into "a_very_long_name_of_a_table_that_has_sixty_three_characters_in__" select i, i from generate_series(1, 9) i;
insert into "Ref t" select i, 'n' || i from generate_series(1, 5) i;
'''
SCRIPTS = {
    "reads": '''
select * from "T a""b" order by 1;
select t."ünï", count(*), max("$1") from "T a""b" t group by 1 order by 1;
select ("p""q")."C,d", ("p""q")."A b" from "T a""b" order by 2;
select "T a""b", "Order" from "T a""b" join "Order" using ("K ey") order by "K ey", "User";
select "T a""b"."select", o."%s", r."N" from "T a""b" join "Order" o on o."K ey" = "T a""b"."K ey" join "Ref t" r on r."I d" = o."User" order by 1, 2;
select "x'y" as "a ""b""", sum("User") over (partition by "K ey") from "Order" order by 1;
select count(distinct "%s") from "Order";
select * from a_very_long_name_of_a_table_that_has_sixty_three_characters_in__ order by 1;
select l.*, t."K ey" from a_very_long_name_of_a_table_that_has_sixty_three_characters_in__ l join "T a""b" t on t."UPPER" = l.v order by 1, 3;
select "ünï"::text, array_agg("a.b" order by "a.b") from "T a""b" where "ünï" in ('sad', 'UP "q"') group by 1 order by 1;
with "W x" as (select "K ey" "k k" from "T a""b" where "UPPER" = 2) select * from "W x" join "Order" on "k k" = "User" order by 1;
''',
    "writes": '''
insert into "T a""b" ("K ey", "p""q", "ünï") values (50, (7, 'x'), 'it''s') returning *;
insert into "T a""b" ("K ey", "a.b") values (51, 0);
insert into "T a""b" ("K ey", "ünï") values (51, 'nope');
insert into "T a""b" values (50, 'again') on conflict ("K ey") do update set "select" = excluded."select" || "T a""b"."UPPER" returning "select";
update "T a""b" set "p""q"."C,d" = 'set' where "K ey" < 4 returning *;
update "T a""b" t set "select" = o."%s" from "Order" o where o."K ey" = t."K ey" and o."User" < 9 returning t.*;
update "Order" set "User" = "User" + 100 where "User" < 4 returning *;
delete from "Order" using "Ref t" r where r."I d" = "Order"."K ey" returning "Order".*, r;
merge into "Order" o using "T a""b" t on t."K ey" = o."User" when matched and t."UPPER" = 1 then delete when matched then update set "%s" = t."select" when not matched then insert ("User", "%s") values (t."K ey", 'new');
select * from "Order" order by 1;
alter table "T a""b" rename "select" to "Sel ect";
alter table "T a""b" add column "new ""c""" int default 3, drop column "$1";
alter table "T a""b" add constraint "Ck ""x""" check ("new ""c""" < 10);
update "T a""b" set "new ""c""" = 11 where "K ey" = 5;
create index "I x ü" on "T a""b" ("Sel ect" desc, lower("Sel ect"));
create unique index on "Order" ("User", "%s");
insert into "Order" select * from "Order" where "User" = 25;
alter table "Order" add constraint "F k" foreign key ("K ey") references "T a""b" on delete cascade;
insert into "Order" values (1000, 999);
delete from "T a""b" where "K ey" = 9;
alter table "Order" rename to "Order 2";
alter type "Mood ü" add value 'mid' before 'it''s';
insert into "T a""b" ("K ey", "ünï") values (60, 'mid');
select "ünï" from "T a""b" order by "ünï", "K ey";
alter type "Mood ü" rename value 'sad' to 'SAD';
select "ünï", count(*) from "T a""b" group by 1 order by 1;
create function "F n"() returns trigger language plpgsql as $$ begin new."Sel ect" := tg_name || tg_table_name; return new; end $$;
create trigger "Tr ""g""" before update on "T a""b" for each row execute function "F n"();
update "T a""b" set "UPPER" = 1 where "K ey" = 4 returning "Sel ect";
create policy "P o" on "T a""b" using ("UPPER" = 1);
create view "V w" as select "K ey", "Sel ect" as "S" from "T a""b";
select * from "V w" order by 1;
alter table a_very_long_name_of_a_table_that_has_sixty_three_characters_in__ rename v to "v v";
alter table a_very_long_name_of_a_table_that_has_sixty_three_characters_in__ add unique (a_very_long_name_of_a_column_that_has_sixty_three_characters_in, "v v");
insert into a_very_long_name_of_a_table_that_has_sixty_three_characters_in__ values (1, 1);
alter table a_very_long_name_of_a_table_that_has_sixty_three_characters_in__ rename to "A_very_long_name_of_a_table_that_has_sixty_three_characters_in__";
select count(*) from "A_very_long_name_of_a_table_that_has_sixty_three_characters_in__";
'''}

herd, same = rules_herd.fixtures(TABLES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])
