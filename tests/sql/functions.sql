-- Functions, DO blocks, prepared statements, sequences, generated and identity columns, defaults.

--! here
create function f(k int) returns bigint language sql as $$ select count(*) from orders where customer_id = k $$;
select f(8), f(99);
select id, f(id) from customers where id < 6;
select c.id from customers c where f(c.id) > 3;
select sum(f(g)) from generate_series(1, 10) g;

--! here
create function f(k int) returns setof orders language sql stable as $$ select * from orders where customer_id = k $$;
select id, status from f(8);
select c.name, f.id from customers c, f(c.id) f where c.id < 5;
select count(*) from f(3) a join f(4) b on a.status = b.status;

--! here
create function f(k int, out n bigint, out t numeric) language plpgsql as $$ begin select count(*), sum(total) into n, t from orders where customer_id = k; end $$;
select * from f(8);
select (f(15)).t;
select f(22);

--! here
create function f() returns table (k int, n bigint) language plpgsql as $$ begin return query select customer_id, count(*) from orders group by 1 having count(*) > 3; end $$;
select * from f();
select c.name from customers c join f() on f.k = c.id;

--! here
create function f(int) returns int language plpgsql as $$
declare r record; s int := 0;
begin
	for r in select id, total from orders where customer_id = $1 order by id loop
		s := s + r.id;
		update orders set note = 'seen ' || r.id where customer_id = $1 and id = r.id;
	end loop;
	return s;
end $$;
select f(8);
select id, note from orders where customer_id = 8;
select f(id) from customers where id in (3, 4, 5);
select count(*) from orders where note like 'seen%';

--! here
create function f(int, text) returns void language plpgsql as $$
begin
	insert into customers (id, name) values ($1, $2);
exception when unique_violation then
	update customers set name = $2 where id = $1;
end $$;
select f(3, 'upserted'), f(950, 'fresh');
select id, name from customers where id in (3, 950);
select f(id, 'x') from generate_series(949, 951) id;
select id, name from customers where id > 900;

--! here
create procedure p(int) language plpgsql as $$ begin delete from orders where customer_id = $1; insert into payments (id, customer_id) values (9999, $1); end $$;
call p(8);
select count(*) from orders where customer_id = 8;
select * from payments where id = 9999;

--! here
create procedure p(inout n bigint) language plpgsql as $$ begin select count(*) + n into n from orders; end $$;
call p(5);

--! here
do $$ declare n bigint; begin select count(*) into n from orders; raise notice '> % orders', n; end $$;
do $$ begin for i in 1 .. 3 loop insert into orders (customer_id, id) values (i, 7000 + i); end loop; end $$;
do $$ declare r record; begin for r in select c.name, count(*) n from customers c join orders o on o.customer_id = c.id group by c.name order by n desc, c.name limit 3 loop raise notice '> % %', r.name, r.n; end loop; end $$;
select customer_id from orders where id > 7000;

--! here
do $$ begin begin insert into customers (id, name) values (3, 'dup'); exception when unique_violation then raise notice '> caught'; end; insert into customers (id, name) values (960, 'after'); end $$;
select name from customers where id = 960;

--! here
do $$ declare c cursor (k int) for select id from orders where customer_id = k order by id; r record; begin for r in c (8) loop raise notice '> %', r.id; end loop; end $$;
do $$ declare c refcursor; x bigint; begin open c for select id from orders order by id; fetch c into x; move 5 in c; fetch c into x; raise notice '> %', x; close c; end $$;
do $$ declare t text; begin execute 'select string_agg(status, $1 order by id) from orders where customer_id = $2' into t using '/', 8; raise notice '> %', t; end $$;
do $$ declare n int; begin update orders set note = 'n' where customer_id in (8, 15); get diagnostics n = row_count; raise notice '> %', n; end $$;
do $$ declare i bigint; begin insert into orders (customer_id, id) values (3, 7777) returning id into i; raise notice '> % %', i, found; end $$;
do $$ begin perform 1 from orders where customer_id = 12345; raise notice '> %', found; end $$;
do $$ declare a int[]; begin a := array(select id from customers where id < 5 order by 1); raise notice '> %', a; end $$;
do $$ begin if exists (select from orders where total > 1000) and not exists (select from customers where id = 9999) then raise notice '> yes'; end if; end $$;
do $$ begin select 1 / 0 from customers; end $$;

prepare q (int) as select id, status from orders where customer_id = $1;
execute q (8);
execute q (15);
execute q (8);
execute q (null);
execute q (3);
execute q (4);
execute q (5);
deallocate q;

prepare q (text, numeric) as select count(*), max(total) from orders where status = $1 and total > $2;
execute q ('new', 100);
execute q ('paid', 10);
execute q (null, 10);
execute q ('new', null);
deallocate q;

prepare q (int, text) as update customers set name = $2 where id = $1 returning id, name;
execute q (3, 'p3');
execute q (4, 'p4');
execute q (99999, 'none');
deallocate q;

prepare q (int, bigint, numeric) as insert into orders (customer_id, id, total) values ($1, $2, $3) on conflict (customer_id, id) do update set total = excluded.total + 1 returning *;
execute q (3, 7001, 5);
execute q (3, 7001, 6);
execute q (4, 7002, null);
execute q (3, 7001, 7);
deallocate q;

prepare q (int[]) as select id, name from customers where id = any ($1);
execute q ('{1,2,3}');
execute q (array[5]);
execute q ('{}');
execute q (null);
deallocate q;

prepare q (int, int) as select o.id, p.id from orders o join payments p on p.customer_id = o.customer_id where o.customer_id = $1 and p.id > $2;
execute q (8, 0);
execute q (9, 10);
execute q (12, 1);
execute q (20, 0);
execute q (8, 50);
execute q (15, 1);
deallocate q;

prepare q as select count(*) from orders where placed < now() and customer_id = 8;
execute q;
execute q;
deallocate q;

prepare q (int) as delete from payments where customer_id = $1 and amount > (select avg(amount) from payments) returning id;
execute q (8);
execute q (20);
deallocate q;

prepare q (int) as with a as (select * from orders where customer_id = $1), b as (select * from payments where customer_id = $1) select (select count(*) from a), (select count(*) from b);
execute q (8);
execute q (12);
deallocate q;

prepare q (int) as select id from orders order by id limit $1 offset 2;
execute q (3);
execute q (1);
execute q (null);
deallocate q;

--! here
set local plan_cache_mode = force_generic_plan;
prepare q (int, text) as select c.id, o.id from customers c left join orders o on o.customer_id = c.id and o.status = $2 where c.id = $1;
execute q (8, 'new');
execute q (9, 'paid');
execute q (null, 'paid');
prepare r (int) as select count(*) from orders where customer_id in ($1, $1 + 1, 20);
execute r (8);
execute r (19);
deallocate all;

--! here
create sequence s start 100 increment 5;
select nextval('s'), nextval('s'), currval('s');
insert into orders (customer_id, id) values (3, nextval('s')), (4, nextval('s')) returning id;
select setval('s', 500), lastval();
select count(distinct nextval('s')) from customers;
drop sequence s;

--! here
create table ft (k int default 7, a int default 1 + 2, b int generated always as (a * 2) stored, c text default 'x' || 1, d bool not null default false);
--! herd: select create_distributed_table('ft', 'k');
insert into ft default values returning *;
insert into ft (k, a) values (1, 10), (2, default), (default, 5) returning *;
update ft set a = a + 1 returning k, a, b;
update ft set a = default, c = default where k = 1 returning *;
update ft set b = default where k = 2 returning b;
insert into ft (k, b) values (1, 5);
select * from ft;

--! here
create table ft (k bigint generated always as identity primary key, a int);
--! herd: select create_distributed_table('ft', 'k');
insert into ft (a) select g from generate_series(1, 5) g;
select count(distinct k), sum(a) from ft;
insert into ft values (100, 1);
insert into ft overriding system value values (100, 1) returning *;

--! here
create table ft (k int, n bigserial, v text default upper('def'));
--! herd: select create_distributed_table('ft', 'k');
insert into ft (k) values (1), (2), (3) returning n, v;
select count(distinct n) from ft;

select count(*) from customers where random() < 2;

select count(distinct gen_random_uuid()) = 60 from customers;

select count(distinct random()) > 50 from customers;

select max(now()) = min(now()) and max(clock_timestamp()) >= now() from orders;

select current_user, current_database() is not null, current_schema, session_user = current_user from customers where id = 3;

select current_setting('timezone'), count(*) from orders;

select set_config('corpus.x', id::text, true) from customers where id = 5;

select id, count(*) over () from (select id from customers where id < generate_series(1, 1) + 3) x;

select generate_series(1, id) from customers where id in (2, 3);

select id, generate_series(1, 2), unnest(array['a', 'b', 'c']) from customers where id < 3;

select * from generate_series(1, (select count(*) from orders where customer_id = 8)::int) g;

select * from json_to_recordset((select json_agg(o) from orders o where customer_id = 8)) as x (id int, status text);

select abs(id - 30), id ^ 2, sqrt(id), mod(id, 7), id & 3, id # 5, ~id, id << 1, @ (id - 5), |/ id from customers where id < 4;
