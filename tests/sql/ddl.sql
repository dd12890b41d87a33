-- DDL on tables of its own, each in a transaction that is rolled back.

--! here
create table dt (id int primary key, a text, b numeric default 1.5);
--! herd: select create_distributed_table('dt', 'id', shard_count => 4);
insert into dt (id, a) values (1, 'x'), (2, 'y'), (3, null);
alter table dt add column c int default 5;
select * from dt;
alter table dt add column d date not null default '2024-01-01', drop column b;
select * from dt where id = 2;
alter table dt rename column a to aa;
update dt set aa = 'z' where id = 3 returning *;
alter table dt alter column c type bigint using c * 2;
select sum(c), pg_typeof(sum(c)) from dt;
alter table dt alter column c set default 9, alter column aa set not null;
insert into dt (id) values (4);

--! here
create table dt (id int, a int);
--! herd: select create_distributed_table('dt', 'id', shard_count => 4);
alter table dt add constraint pos check (a > 0), add primary key (id);
insert into dt values (1, 5);
insert into dt values (2, -5);

--! here
create table dt (id int, a int);
--! herd: select create_distributed_table('dt', 'id', shard_count => 4);
create unique index dti on dt (id, a);
create index on dt (a desc) where a > 5;
create index on dt using hash (a);
create index on dt ((a + id));
insert into dt values (1, 1), (1, 2);
select count(*) from dt where a + id = 2;
drop index dti;
insert into dt values (1, 1);
select * from dt;

--! here
create table dt (id int primary key, a int);
insert into dt select g, g * 2 from generate_series(1, 50) g;
--! herd: select create_distributed_table('dt', 'id', shard_count => 4);
select count(*), sum(a) from dt;
alter table dt rename to dt2;
select max(a) from dt2;
--! herd: select undistribute_table('dt2');
select count(*), sum(a) from dt2;
drop table dt2;
select count(*) from dt2;

--! here
create table p (id int primary key, n text);
--! herd: select create_distributed_table('p', 'id', shard_count => 4);
create table c (pid int references p on delete cascade on update cascade, x int, primary key (pid, x));
--! herd: select create_distributed_table('c', 'pid', colocate_with => 'p');
insert into p values (1, 'a'), (2, 'b');
insert into c values (1, 1), (1, 2), (2, 1);
delete from p where id = 1;
select * from c;
insert into c values (5, 5);

--! here
create table r (id int primary key, n text);
--! herd: select create_reference_table('r');
create table c (id int primary key, rid int references r);
--! herd: select create_distributed_table('c', 'id', shard_count => 4);
insert into r values (1, 'a');
insert into c values (1, 1), (2, null);
alter table r add column more int default 3;
select c.id, r.more from c left join r on r.id = c.rid;
delete from r;

--! here
create table t as select id, name from customers where country = 'DE';
select count(*) from t;
--! herd: select create_distributed_table('t', 'id', shard_count => 4);
select t.name, o.id from t join orders o on o.customer_id = t.id where o.total > 900;

--! here
create schema other;
create table other.t (id int primary key, v text);
--! herd: select create_distributed_table('other.t', 'id', shard_count => 4);
insert into other.t values (1, 'a');
alter table other.t set schema corpus;
select * from t;
drop schema other;

--! here
create type color as enum ('red', 'green');
create domain short as text check (length(value) < 4);
create type pair as (a int, b text);
create table t (id int primary key, c color, s short, p pair);
--! herd: select create_distributed_table('t', 'id', shard_count => 4);
insert into t values (1, 'red', 'abc', row (1, 'x')), (2, 'green', null, null) returning *;
insert into t values (3, 'red', 'abcd', null);

--! here
create table t (id int primary key, "Weird Name" text, "select" int);
--! herd: select create_distributed_table('t', 'id', shard_count => 4);
insert into t values (1, 'it''s', 5) returning "Weird Name", "select";
update t set "Weird Name" = '"quoted"' where "select" = 5 returning *;
select "Weird Name" as "Other ""One""", "select" from t;

--! here
create table "Odd.Table" ("Id" int primary key, v int);
--! herd: select create_distributed_table('"Odd.Table"', 'Id', shard_count => 4);
insert into "Odd.Table" values (1, 2), (2, 3);
select sum(v) from "Odd.Table" where "Id" > 0;
select o."Id", c.name from "Odd.Table" o join customers c on c.id = o."Id";

--! here
create table t (id int primary key, a int);
--! herd: select create_distributed_table('t', 'id', shard_count => 4);
comment on table t is 'comment';
comment on column t.a is 'column';
select obj_description('t'::regclass), col_description('t'::regclass, 2);
alter table t alter column a set statistics 500, alter column a set storage plain;
alter table t set (fillfactor = 70);
alter table t cluster on t_pkey;

--! here
create table t (a int, b int, unique (a, b));
--! herd: select create_distributed_table('t', 'a', shard_count => 4);
insert into t values (1, 1), (1, null), (1, null);
insert into t values (1, 1);

--! here
create table t (id int primary key, a int) partition by hash (id);
create table t0 partition of t for values with (modulus 2, remainder 0);
create table t1 partition of t for values with (modulus 2, remainder 1);
--! herd: select create_distributed_table('t', 'id', shard_count => 4);
insert into t select g, g from generate_series(1, 20) g;
select count(*) from t0;
select count(*), sum(a) from t;
update t set a = 0 where id = 5 returning *;

--! here
create table t (k int, d date, v int) partition by range (d);
create table t1 partition of t for values from ('2024-01-01') to ('2024-02-01');
--! herd: select create_distributed_table('t', 'k', shard_count => 4);
create table t2 partition of t for values from ('2024-02-01') to ('2024-03-01');
insert into t select g, date '2024-01-01' + g, g from generate_series(0, 50) g;
select count(*) from t2;
update t set d = d + 31 where k < 5 and d < '2024-01-20';
select count(*) from t1;
insert into t values (1, '2025-01-01', 1);

--! here
create table t (k int, c text) partition by list (c);
create table ta partition of t for values in ('a');
create table td partition of t default;
--! herd: select create_distributed_table('t', 'k', shard_count => 4);
insert into t values (1, 'a'), (2, 'b'), (3, null);
select tableoid::regclass, * from t;
alter table t detach partition ta;
select * from t;
drop table td;
select count(*) from t;

--! here
create table t (id int primary key, a int);
--! herd: select create_distributed_table('t', 'id', shard_count => 4);
create function tf() returns trigger language plpgsql as $$ begin new.a := coalesce(new.a, 0) + 1; return new; end $$;
create trigger tt before insert or update on t for each row execute function tf();
insert into t values (1, 5), (2, null) returning *;
update t set a = 10 where id = 1 returning a;
select * from t;

--! here
create table t (id int primary key, owner text);
--! herd: select create_distributed_table('t', 'id', shard_count => 4);
alter table t enable row level security;
create policy own on t using (owner = 'me');
insert into t values (1, 'me'), (2, 'you');
select count(*) from t;
