"""Foreign keys between rows of different nodes, compared with those of plain tables."""
import psycopg
import pytest

import rules_herd

TABLES = """
--herd set citus.shard_count = 6;
create table country (code text primary key, name text);
create table customer (id int primary key, country text default 'at' references country on update cascade
	on delete set default, boss int references customer on delete set null, v int);
create table item (a int, b int, v int, primary key (a, b));
create table label (note text primary key, v int);
create table orders (id int primary key, customer bigint, a int, b int, note text,
	foreign key (customer) references customer on delete cascade,
	constraint orders_item foreign key (a, b) references item match full on update cascade,
	constraint orders_note foreign key (note) references label on delete restrict on update set null);
create table part (k int primary key, a int, b int, x int,
	foreign key (a, b) references item on delete set null (b));
--herd select create_reference_table('country');
--herd select create_distributed_table('customer', 'id');
--herd select create_distributed_table('item', 'a', colocate_with => 'none', shard_count => 5);
--herd select create_distributed_table('label', 'note');
--herd select create_distributed_table('orders', 'id');
--herd select create_reference_table('part');
insert into country values ('at', 'Austria'), ('de', 'Germany'), ('fr', 'France');
insert into customer select i, (array['at', 'de', 'fr'])[1 + i % 3], nullif(i / 2, 0), i from generate_series(1, 20) i;
insert into item select i, j, 0 from generate_series(1, 6) i, generate_series(1, 3) j;
insert into label select 'n' || i || j, i from generate_series(1, 6) i, generate_series(1, 3) j;
insert into orders select i, 1 + i % 20, 1 + i % 6, 1 + i % 3, 'n' || (1 + i % 6) || (1 + i % 3) from generate_series(1, 60) i;
insert into part select i, 1 + i % 6, 1 + i % 3, i from generate_series(1, 9) i;
"""
ALL = """
select * from country order by 1;
select * from customer order by 1;
select * from item order by 1, 2;
select * from label order by 1;
select * from orders order by 1;
select * from part order by 1;
"""
SCRIPTS = {
    "new rows": """
insert into orders values (100, 5, 1, 1, null);
insert into orders values (101, 99, 1, 1, null);
insert into orders values (102, 5, 1, 9, null);
insert into orders values (103, 5, 1, null, null);
insert into orders values (104, null, null, null, null);
insert into orders (id, customer) values (105, 1), (106, 2), (107, 3);
insert into orders (id, customer) values (108, 1), (109, 77), (110, 3);
insert into orders (id, note) values (111, 'n11'), (112, 'none');
insert into orders (id, customer) select i, i % 20 + 1 from generate_series(200, 260) i;
insert into orders (id, customer) select i, i % 21 + 1 from generate_series(300, 360) i;
insert into orders (id, a, b) select i, i % 6 + 1, i % 3 + 1 from generate_series(400, 460) i;
insert into orders (id, a, b) select i, i % 6 + 1, case i when 530 then 4 else 1 end from generate_series(500, 560) i;
insert into customer (id, boss) values (30, 30), (31, 32), (32, 31);
insert into customer (id, boss) values (33, 34);
insert into part values (20, 1, 1, 0), (21, null, 7, 0);
insert into part values (22, 1, 7, 0);
""" + ALL,
    "changed rows": """
update orders set customer = 7 where id = 3;
update orders set customer = 70 where id = 3;
update orders set customer = customer + 1 where customer < 20;
update orders set customer = customer + 1;
update orders set a = null where id = 5;
update orders set a = null, b = null where id = 5;
update orders set a = a, b = b, customer = customer;
update orders set note = 'n11' where id < 9;
update orders set note = 'nowhere' where id = 9;
update part set b = 3 where b = 2;
update part set b = 4 where b = 3 and k = 2;
insert into orders values (1, 5, 1, 1, null) on conflict (id) do update set customer = 88;
insert into orders values (1, 5, 1, 1, null) on conflict (id) do update set customer = 8;
insert into orders values (1, 88, 1, 1, null) on conflict (id) do nothing;
""" + ALL,
    "rows that are referred to": """
delete from customer where id = 5;
delete from customer where id between 6 and 8;
delete from item where a = 1 and b = 1;
delete from orders where a = 1 and b = 1;
delete from item where a = 1 and b = 1;
update orders set note = null, a = null, b = null;
delete from item where a = 2;
update customer set id = id where id = 3;
update label set v = v + 1 where v > 3;
update item set v = v + 1 where a > 3;
delete from label where note = 'n11';
delete from label;
update country set code = 'xx' where code = 'fr';
delete from country where code = 'xx';
delete from country;
update customer set v = v + 1;
delete from customer;
""" + ALL,
    "values that follow": """
update item set b = b + 10 where a = 4;
update item set b = b + 10 where a = 2;
delete from label where v = 4;
update orders set note = null;
delete from label where v = 3;
update item set b = b;
""" + ALL,
    "in transactions": """
begin;
insert into customer (id) values (50);
insert into orders (id, customer) values (150, 50);
savepoint s;
insert into orders (id, customer) values (151, 51);
rollback to s;
delete from customer where id = 50;
select count(*) from orders where customer = 50;
insert into customer (id) values (51);
insert into orders (id, customer) values (151, 51);
commit;
begin;
delete from customer where id = 51;
rollback;
with c as (insert into customer (id) values (60) returning id) select * from c;
with d as (delete from orders where customer = 3 returning id) select count(*) from d;
with d as (delete from customer where id = 3 returning id) select count(*) from d;
merge into orders o using (values (1, 19), (2, 18), (900, 17)) s(id, c) on s.id = o.id
	when matched then update set customer = s.c when not matched then insert (id, customer) values (s.id, s.c);
merge into orders o using (values (1, 190), (900, 17)) s(id, c) on s.id = o.id
	when matched then update set customer = s.c when not matched then insert (id, customer) values (s.id, s.c);
merge into customer c using (values (1), (2)) s(id) on s.id = c.id when matched then delete;
do $$ begin insert into orders (id, customer) values (160, 999); exception when foreign_key_violation then raise notice 'no'; end $$;
""" + ALL,
    "constraints come and go": """
alter table orders drop constraint orders_customer_fkey;
insert into orders (id, customer) values (170, 999);
alter table orders add constraint again foreign key (customer) references customer;
alter table orders add constraint again foreign key (customer) references customer not valid;
insert into orders (id, customer) values (171, 999);
alter table orders validate constraint again;
delete from orders where id = 170;
alter table orders validate constraint again;
alter table orders rename constraint again to renamed;
insert into orders (id, customer) values (172, 999);
delete from customer where id = 1;
select conname, convalidated, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'orders'::regclass and contype = 'f' order by 1;
alter table orders add column other int references customer (id);
insert into orders (id, other) values (173, 4), (174, 400);
insert into orders (id, other) values (175, 4);
alter table orders disable trigger all;
insert into orders (id, other) values (176, 400);
alter table orders enable trigger all;
insert into orders (id, other) values (177, 400);
alter table customer drop constraint customer_pkey;
alter table customer drop constraint customer_pkey cascade;
insert into orders (id, other) values (178, 400);
drop table item;
drop table item cascade;
insert into part values (90, 900, 900);
truncate customer;
alter table orders rename column other to another;
alter table part rename to parts;
""",
    "deferred": """
create table author (id int primary key, best int);
create table book (id int primary key, author int references author deferrable initially deferred, n int);
--herd select create_distributed_table('author', 'id');
--herd select create_distributed_table('book', 'id');
alter table author add constraint best foreign key (best) references book deferrable;
begin;
insert into book values (1, 10, 0);
insert into author values (10, 1);
commit;
begin;
insert into book values (2, 11, 0);
commit;
select count(*) from book;
begin;
insert into book values (2, 11, 0), (3, 12, 0);
delete from book where id = 2;
update book set author = 10 where id = 3;
commit;
begin;
savepoint a;
insert into book values (4, 14, 0);
rollback to a;
savepoint b;
insert into book values (5, 10, 0);
release b;
commit;
begin;
savepoint a;
insert into book values (6, 16, 0);
release a;
commit;
insert into author values (20, 99);
begin;
set constraints best deferred;
insert into author values (20, 21);
insert into book values (21, 20, 0);
set constraints all immediate;
insert into author values (22, 99);
rollback;
begin;
set constraints all deferred;
insert into author values (30, 31);
insert into book values (32, 33, 0);
savepoint s;
set constraints best immediate;
rollback to s;
insert into book values (31, 30, 0);
set constraints best immediate;
insert into author values (33, 31);
commit;
begin;
delete from author where id = 10;
update book set author = 33 where author = 10;
commit;
begin;
set constraints all deferred;
delete from book where id = 31;
insert into book values (31, 33, 1);
commit;
begin;
delete from author where id = 33;
commit;
begin;
delete from author where id = 33;
insert into author values (33, null);
commit;
set constraints nowhere deferred;
select * from author order by 1;
select * from book order by 1;
""",
    "roles": """
set session_replication_role = replica;
insert into orders (id, customer) values (180, 999);
delete from customer where id = 2;
reset session_replication_role;
insert into orders (id, customer) values (181, 999);
create table child (k int primary key, c int);
alter table child owner to far_other;
grant usage on schema SCHEMA to far_other;
grant references on customer to far_other;
--herd select create_distributed_table('child', 'k');
alter table child add foreign key (c) references customer on delete cascade;
set role far_other;
insert into child values (1, 5), (2, 6), (3, null);
insert into child values (4, 999);
delete from customer;
reset role;
grant select, delete on customer to far_other;
set role far_other;
delete from customer where id = 6;
select * from child order by 1;
reset role;
""",
}

SCRIPTS["defaults that go"] = """
create table owed (id int primary key, customer int default 2 references customer on delete set default on update set default);
create table pair (id int primary key, a int default 1, b int default 2, foreign key (a, b) references item on delete set default (b));
--herd select create_distributed_table('owed', 'id');
--herd select create_distributed_table('pair', 'id');
delete from orders;
insert into owed select i, 1 + i % 6 from generate_series(1, 18) i;
insert into pair select i, 1, 1 + i % 3 from generate_series(1, 9) i;
delete from customer where id = 5;
delete from customer where id in (3, 4);
delete from customer where id = 2;
update customer set id = 102 where id = 2;
update customer set id = 103 where id = 3;
select * from owed order by 1;
delete from item where a = 1 and b = 3;
delete from item where a = 1 and b = 2;
select * from pair order by 1;
update owed set customer = 6;
delete from customer where id = 2;
delete from customer where id = 6;
select * from owed order by 1;
""" + ALL
SCRIPTS["nulls of MATCH FULL, deferred"] = """
create table full_key (id int primary key, a int, b int,
	foreign key (a, b) references item match full on delete cascade deferrable initially deferred);
--herd select create_distributed_table('full_key', 'id');
begin;
insert into full_key values (1, 1, null), (2, 1, 1), (3, null, null);
update full_key set b = 2 where id = 1;
commit;
begin;
insert into full_key values (4, null, 1);
savepoint s;
update full_key set a = null where id = 2;
rollback to s;
delete from full_key where id = 4;
commit;
begin;
insert into full_key values (4, null, 1), (5, 1, 3);
set constraints all immediate;
rollback;
insert into full_key values (4, null, 1);
begin;
update full_key set a = null where id = 2;
commit;
begin;
set constraints all immediate;
update full_key set a = null where id = 2;
commit;
select * from full_key order by 1;
"""
SCRIPTS["tables that refer to each other"] = """
create table person (id int primary key, team int);
create table team (id int primary key, lead int references person deferrable initially deferred);
create table badge (id int primary key, team int references team on delete cascade);
alter table person add foreign key (team) references team on delete set null;
insert into team values (1), (2), (3);
insert into person select i, 1 + i % 3 from generate_series(1, 12) i;
insert into badge select i, 1 + i % 3 from generate_series(1, 6) i;
update team set lead = id + 3;
--herd select create_distributed_table('person', 'id');
insert into person values (20, 9);
insert into badge values (20, 9);
delete from person where id = 4;
delete from team where id = 1;
insert into team values (4, 40);
begin;
insert into team values (4, 40);
insert into person values (40, 4);
commit;
select * from person order by 1;
select * from team order by 1;
select * from badge order by 1;
--herd select create_distributed_table('team', 'id');
insert into person values (20, 9);
delete from person where id = 5;
delete from team where id = 2;
insert into team values (5, 50);
begin;
insert into team values (5, 50);
insert into person values (50, 5);
commit;
--herd select create_distributed_table('badge', 'id');
insert into badge values (20, 9);
delete from team where id = 3;
select * from person order by 1;
select * from team order by 1;
select * from badge order by 1;
--herd select undistribute_table('person', cascade_via_foreign_keys => true);
insert into person values (20, 9);
delete from person where id = 50;
"""
SCRIPTS["a circle of three, one of them a reference table"] = """
create table sun (id int primary key, next int);
create table earth (id int primary key, next int references sun);
create table moon (id int primary key, next int references earth on delete cascade);
alter table sun add foreign key (next) references moon on update cascade;
insert into sun values (1), (2), (3);
insert into earth select id, id from sun;
insert into moon select id, id from earth;
update sun set next = id;
--herd select create_reference_table('sun');
delete from earth where id = 1;
delete from sun where id = 1;
--herd select create_distributed_table('moon', 'id');
update moon set next = 7 where id = 1;
--herd select create_distributed_table('earth', 'id');
delete from earth where id = 1;
insert into earth values (4, 5);
insert into moon values (4, 5);
update sun set next = 5 where id = 2;
update sun set next = 3 where id = 2;
delete from earth where id = 2;
select * from sun order by 1;
select * from earth order by 1;
select * from moon order by 1;
"""
SCRIPTS["a reference table that refers to local tables"] = """
create table base (id int primary key);
create table place (id int primary key, base int references base on delete cascade);
create table town (id int primary key, place int references place);
insert into base select generate_series(1, 5);
insert into place select id, id from base;
--herd select create_reference_table('town');
insert into town values (1, 1), (2, 2);
insert into town values (3, 9);
delete from base where id = 1;
delete from base where id = 5;
--herd set client_min_messages = warning;
create table far (id int primary key);
insert into far values (1);
alter table town add column far int references far;
update town set far = 1 where id = 1;
update town set far = 2 where id = 1;
delete from far;
create table near (id int primary key);
insert into near values (1);
alter table town add column near int;
alter table town add foreign key (near) references near on delete set null;
update town set near = 1;
delete from near;
--herd select create_reference_table('near');
insert into near values (3);
update town set near = 3 where id = 2;
update town set near = 4 where id = 2;
select * from town order by 1;
select * from place order by 1;
"""

SCRIPTS["partitioned tables"] = """
create table parent (id int primary key, v int) partition by range (id);
create table parent_1 partition of parent for values from (0) to (10);
create table parent_2 partition of parent for values from (10) to (200);
create table child (k int, p int references parent, x int) partition by range (x);
create table child_1 partition of child for values from (0) to (10);
create table child_2 partition of child for values from (10) to (20);
--herd select create_distributed_table('parent', 'id');
--herd select create_distributed_table('child', 'k');
insert into parent select i, i from generate_series(1, 29) i;
insert into child select i, i % 25 + 1, i % 20 from generate_series(1, 50) i;
insert into child values (60, 99, 0);
insert into child_2 values (61, 99, 15);
insert into child_2 values (62, 9, 15);
insert into child values (63, 1, 1), (64, 99, 2), (65, 2, 17);
update child set p = 77 where k = 3;
update child set p = 3, x = 19 - x where k < 9;
update child set p = 88, x = 19 - x where k < 9;
delete from parent where id = 3;
delete from parent where id = 13;
delete from parent_1 where id = 2;
delete from parent where id = 29;
create table child_3 (k int, p int, x int);
insert into child_3 values (70, 500, 21);
alter table child attach partition child_3 for values from (20) to (30);
update child_3 set p = 1;
alter table child attach partition child_3 for values from (20) to (30);
insert into child values (71, 700, 22);
insert into child values (71, 1, 22);
create table parent_4 partition of parent for values from (200) to (300);
insert into parent values (210, 1);
insert into child values (72, 210, 22);
insert into child values (73, 211, 22);
delete from parent_4;
delete from parent where id = 210;
alter table child detach partition child_1;
insert into child_1 values (80, 999, 1);
update child set p = p + 1 where p < 5;
delete from parent where id = 1;
select * from child order by 1;
select * from parent order by 1;
select * from child_1 order by 1;
alter table child drop constraint child_p_fkey;
insert into child values (90, 999, 11);
alter table child add constraint again foreign key (p) references parent on delete cascade;
delete from child where p = 999;
alter table child add constraint again foreign key (p) references parent on delete cascade;
delete from parent where id = 12;
delete from parent_2 where id = 14;
insert into child_2 values (91, 998, 11);
select * from child order by 1;
create table sub (k int, p int references parent on update cascade, x int) partition by list (p);
create table sub_1 partition of sub for values in (1, 4, 5, 6) partition by range (x);
create table sub_1_1 partition of sub_1 for values from (0) to (100);
create table sub_2 partition of sub default;
--herd select create_distributed_table('sub', 'x');
insert into sub select i, 3 + i % 3, i from generate_series(1, 30) i where i % 3 > 0;
insert into sub values (40, 3, 3);
insert into sub_1_1 values (41, 6, 3), (42, 1, 4);
update sub set p = 7 where k = 5;
update sub set p = 13 where k = 5;
delete from parent where id in (5, 6);
delete from parent where id in (7, 8);
select * from sub order by 1;
begin;
alter table sub alter constraint sub_p_fkey deferrable initially deferred;
commit;
begin;
insert into sub values (50, 77, 1);
insert into parent values (77, 77);
insert into sub_1_1 values (51, 1, 1);
commit;
insert into parent values (1, 1);
begin;
delete from parent where id = 77;
insert into sub_1_1 values (52, 1, 1);
commit;
select * from sub order by 1;
create table full_part (k int, a int, b int, foreign key (a, b) references item match full) partition by range (k);
create table full_part_1 partition of full_part for values from (0) to (10);
create table full_part_2 partition of full_part for values from (10) to (20);
--herd select create_distributed_table('full_part', 'k');
insert into full_part values (1, 1, 1), (2, null, null);
insert into full_part values (3, 1, 1), (12, null, 1);
insert into full_part values (3, 1, 1), (12, 1, 9);
select * from full_part order by 1;
"""
SCRIPTS["MERGE moves rows between partitions"] = """
create table up (k int, d int, x int, primary key (k, d)) partition by range (d);
create table up_1 partition of up for values from (0) to (10);
create table up_2 partition of up for values from (10) to (100);
create table elsewhere (i int, k int, d int, foreign key (k, d) references up on update cascade on delete set null);
create table source (k int, v int);
--herd select create_distributed_table('up', 'k');
--herd select create_distributed_table('elsewhere', 'i', colocate_with => 'none', shard_count => 5);
--herd select create_distributed_table('source', 'k', colocate_with => 'up');
insert into up select i, i, 0 from generate_series(1, 9) i;
insert into elsewhere select i, i % 9 + 1, i % 9 + 1 from generate_series(1, 18) i;
insert into source select i, i % 3 from generate_series(1, 12) i;
merge into up using (values (3, 4), (4, 4)) s(k, v) on up.k = s.k when matched then update set d = d + 20;
select * from elsewhere order by 1;
merge into up using source s on up.k = s.k when matched and s.v = 0 then delete
	when matched and s.v = 1 then update set d = d + 40 when matched then update set x = 5
	when not matched then insert values (s.k, 50, 1);
select * from up order by 1, 2;
select * from elsewhere order by 1;
create function raised() returns trigger language plpgsql as 'begin new.x := new.x + 1; return new; end';
create trigger raised before insert or update on up for each row execute function raised();
merge into up using source s on up.k = s.k when matched and s.v = 2 then update set d = 99, x = 7
	when matched then update set d = d - 30, x = 8 when not matched then insert values (s.k, 60, 1);
select * from up order by 1, 2;
select * from elsewhere order by 1;
"""
SCRIPTS["partitions with rows that others refer to are detached"] = """
create table up (k int, d int, primary key (k, d)) partition by range (d);
create table up_1 partition of up for values from (0) to (10);
create table up_2 partition of up for values from (10) to (20) partition by list (k);
create table up_2_a partition of up_2 for values in (4, 5);
create table up_2_b partition of up_2 default;
create table up_rest partition of up default;
create table by_key (k int, d int, foreign key (k, d) references up);
create table elsewhere (i int, k int, d int, constraint up_elsewhere foreign key (k, d) references up);
create table beside (i int, k int, d int, foreign key (k, d) references up deferrable initially deferred);
create table everywhere (i int, k int, d int, foreign key (k, d) references up);
create table here (i int, k int, d int);
--herd select create_distributed_table('up', 'k');
--herd select create_distributed_table('by_key', 'k', colocate_with => 'up');
--herd select create_distributed_table('elsewhere', 'i', colocate_with => 'none', shard_count => 5);
--herd select create_distributed_table('beside', 'i', colocate_with => 'up');
--herd select create_reference_table('everywhere');
insert into up select i, i * 3 from generate_series(1, 8) i;
alter table up detach partition up_rest;
alter table up attach partition up_rest default;
insert into elsewhere values (1, 7, 21), (2, 1, 3), (3, null, 12);
alter table up detach partition up_rest;
set role far_other;
alter table up detach partition up_rest;
reset role;
alter table up detach partition up_1;
alter table up detach partition up_2;
alter table up attach partition up_2 for values from (10) to (20);
delete from elsewhere;
insert into beside values (1, 4, 12);
alter table up detach partition up_2;
alter table up_2 detach partition up_2_b;
alter table up_2 detach partition up_2_a;
begin;
update beside set k = 8, d = 24;
alter table up detach partition up_2;
alter table up detach partition up_rest;
rollback;
delete from beside;
insert into everywhere values (1, 4, 12);
alter table up_2 detach partition up_2_a;
alter table up detach partition up_1;
delete from everywhere;
insert into by_key values (7, 21);
alter table up detach partition up_rest;
delete from by_key;
insert into here values (1, 7, 21);
alter table here add foreign key (k, d) references up;
alter table up detach partition up_rest;
delete from here;
alter table up detach partition up_rest;
select * from up order by 1;
"""
SCRIPTS["partitions that are detached concurrently"] = """
--herd set client_min_messages = warning;
create table m (k int, t int, p int references customer) partition by range (t);
create table m_1 partition of m for values from (0) to (10);
create table m_2 partition of m for values from (10) to (20);
--herd select create_distributed_table('m', 'k');
insert into m select i, i, 1 + i % 5 from generate_series(0, 19) i;
begin;
alter table m detach partition m_1 concurrently;
rollback;
alter table m detach partition m_1 concurrently;
alter table m detach partition m_1 concurrently;
alter table m detach partition m_1 finalize;
select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'm_1'::regclass and contype = 'c';
select count(*) from m;
select count(*) from m_1;
insert into m_1 values (1, 50, 1);
insert into m_1 values (1, 5, 99);
insert into m_1 values (1, 5, 9);
create table m_d partition of m default;
alter table m detach partition m_2 concurrently;
alter table m attach partition m_1 for values from (0) to (10);
select * from m order by 1, 2, 3;
"""
SCRIPTS["truncate cascade"] = """
--herd set client_min_messages = warning;
truncate customer;
set client_min_messages = warning;
truncate item cascade;
""" + ALL + """
truncate customer cascade;
""" + ALL + """
create table p (id int primary key) partition by range (id);
create table p_1 partition of p for values from (0) to (10);
create table p_2 partition of p for values from (10) to (20);
create table c (k int, p int references p) partition by hash (k);
create table c_1 partition of c for values with (modulus 1, remainder 0);
--herd select create_distributed_table('p', 'id');
--herd select create_distributed_table('c', 'k');
insert into p values (1), (12);
insert into c values (1, 1), (2, 12);
truncate p_1;
truncate p_1 cascade;
select * from p;
select * from c;
insert into p values (1);
insert into c values (1, 1), (2, 12);
truncate p cascade;
select count(*) from p;
select count(*) from c;
"""

herd, same = rules_herd.fixtures(TABLES, ["far_other"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_plain_tables(same, name):
    same(SCRIPTS[name])


def load(con):
    con.execute("""
        set citus.shard_count = 6;
        drop table if exists child, parent;
        create table parent (id int primary key, v int);
        create table child (k int primary key, p int references parent);
        select create_distributed_table('parent', 'id');
        select create_distributed_table('child', 'k');
        insert into parent select i, i from generate_series(1, 30000) i""")


def test_many_rows_by_copy(herd):
    with herd.connect() as con:
        load(con)
        for rows, wrong in ((25000, None), (25000, 24000)):
            con.execute("begin")
            try:
                with con.cursor().copy("copy child from stdin") as copy:
                    for i in range(1, rows):
                        copy.write_row((i, 99999 if i == wrong else i % 29000 + 1))
                assert wrong is None
            except psycopg.errors.ForeignKeyViolation as e:
                assert wrong and e.diag.message_detail == (
                    'Key (p)=(99999) is not present in table "parent".')
                assert (e.diag.table_name, e.diag.constraint_name) == ("child", "child_p_fkey")
            con.execute("rollback" if wrong else "commit")
            if not wrong:
                assert con.execute("select count(*) from child").fetchone()[0] == rows - 1
                con.execute("truncate child")


@pytest.mark.parametrize("ends", ["commit", "rollback"])
@pytest.mark.parametrize("first,second", [
    ("insert into child values (1, 7)", "delete from parent where id = 7"),
    ("delete from parent where id = 7", "insert into child values (1, 7)"),
    ("delete from parent where id between 6 and 8", "insert into child values (1, 6), (2, 7), (3, 9)"),
    ("insert into child select i, i from generate_series(5, 9) i",
     "delete from parent where id in (7, 70)")])
def test_two_sessions(herd, first, second, ends):
    """The second waits for the first, and sees what has become of it."""
    with herd.connect(autocommit=False) as one, herd.connect() as other, herd.connect() as con:
        load(con)
        one.execute(first)
        errors = rules_herd.waits_for(con, one, ends, other, second,
                                      psycopg.errors.ForeignKeyViolation)
        assert len(errors) == (ends == "commit")
        assert con.execute("select count(*) from child left join parent on id = p where id is null"
                           ).fetchone()[0] == 0


def test_tables_change_how_they_are_distributed(herd):
    with herd.connect() as con:
        load(con)
        con.execute("insert into child values (1, 1)")
        for change in ("select alter_distributed_table('child', shard_count => 7, "
                       "cascade_to_colocated => false)",
                       "select alter_distributed_table('parent', shard_count => 3, "
                       "colocate_with => 'none')"):
            con.execute(change)
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                con.execute("insert into child values (2, 99999)")
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                con.execute("delete from parent where id = 1")
            con.execute("update parent set v = v + 1 where id = 1")
        con.execute("select undistribute_table('parent', cascade_via_foreign_keys => true)")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            con.execute("insert into child values (2, 99999)")


def test_from_a_worker(herd):
    with herd.connect() as con, herd.connect(1) as worker:
        load(con)
        worker.execute("insert into child values (1, 1), (2, 2)")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            worker.execute("insert into child values (3, 99999)")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            worker.execute("delete from parent where id < 9")


def test_a_key_that_moves(herd):
    with herd.connect() as con:
        load(con)
        con.execute("insert into child values (1, 7)")
        with pytest.raises(psycopg.errors.ForeignKeyViolation) as e:
            con.execute("update parent set id = id + 70000 where id in (7, 8)")
        assert "still referenced" in e.value.diag.message_detail
        con.execute("update parent set id = id + 70000 where id between 8 and 12")
        assert con.execute("select count(*) from parent where id > 70000").fetchone() == (5,)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_older_snapshots(herd, level):
    with herd.connect() as con, herd.connect() as other:
        load(con)
        con.execute("begin isolation level " + level)
        con.execute("select count(*) from parent")
        other.execute("delete from parent where id = 9")
        con.execute("insert into child values (1, 8)")
        con.execute("savepoint s")
        for row, error in ((9, psycopg.errors.SerializationFailure),
                           (99999, psycopg.errors.ForeignKeyViolation)):
            with pytest.raises(error):
                con.execute("insert into child values (2, %d)" % row)
            con.execute("rollback to s")
        con.execute("update parent set v = 0 where id = 7")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="isolation level"):
            con.execute("delete from parent where id = 7")
        con.execute("rollback")


def test_refused(herd):
    with herd.connect() as con:
        load(con)
        con.execute("create table l (k int primary key); create table c (k int, p int references l)")
        for call, setting in (("create_distributed_table('c', 'k')", "on"),
                              ("create_reference_table('c')", "off")):
            con.execute("set citus.enable_local_reference_table_foreign_keys = " + setting)
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot keep foreign key") as e:
                con.execute("select " + call)
            assert "citus_add_local_table_to_metadata" in e.value.diag.message_hint
        con.execute("drop table c; select citus_add_local_table_to_metadata('l');"
                    "create table c (k int, p int references l); select create_distributed_table('c', 'k')")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            con.execute("insert into c values (1, 1)")
