-- Errors: the SQLSTATE is PostgreSQL's.

select nothing from customers;

select * from nothing;

select id from customers where id = 'x';

select 1 / (id - id) from customers;

select 1 / (id - 3) from customers where id = 3;

select id + name from customers;

select count(*), id from customers;

select id from customers group by name;

select c.id from customers c join orders o on c.id = o.customer_id where id = 3;

select sum(count(*)) from orders group by status;

select id from customers where count(*) > 3;

select nothing(id) from customers;

select id::mood from customers;

select name::int from customers;

select (select id from customers);

select (select id, name from customers where id = 1);

select id from customers where id = (select customer_id from orders);

select id from customers union select id, name from products;

select id from customers union select name from products;

select id from customers limit -1;

select id from customers offset -5;

select id from customers order by 5;

select distinct on (id) id from customers order by name;

select id from customers for update of nothing;

select count(*) from customers for update;

select row_number() over (order by id) from customers where row_number() over () > 3;

select lag(id) from customers;

select array[1, 'x'] from customers;

select '{"a": }'::jsonb from customers;

select '[5,1]'::int4range from customers where id = 1;

select 'x'::date from orders where customer_id = 3;

select to_date('2024-99-99', 'YYYY-MM-DD') from customers where id = 3;

select 99999999999::int from customers;

select (id * 2000000000)::int from customers where id = 60;

select 1e400::float8 from customers where id = 3;

select sqrt(-id) from customers where id = 3;

select ln(id - 3) from customers where id = 3;

select substring(name from 1 for -1) from customers where id = 3;

select power(0, -id) from customers where id = 3;

select 'a' ~ '(' from customers;

select name like 'x\' from customers where id = 1;

select total::numeric(3, 2) from orders where customer_id = 8;

select chr(0) from customers where id = 3;

select (-1)::positive from customers where id = 2;

select nextval('nothing') from customers;

select 1 from customers where id in (select id, name from products);

select * from customers, lateral (select nothing.id) x;

with a as (select * from a) select * from a;

with recursive a as (select id from customers union all select count(*) from a) select * from a;

insert into nothing values (1);

insert into customers (id, name, id) values (1, 'a', 2);

insert into customers (id) select name from customers;

insert into orders select * from customers;

insert into customers (id, name) values (970, 'a') on conflict (name) do nothing;

insert into customers (id, name) values (3, 'a') on conflict on constraint nothing do nothing;

insert into customers (id, name, credit) values (971, 'a', 1e10);

insert into customers (id, name, tags) values (972, 'a', '{a,b');

insert into orders (customer_id, id, ship) values (3, 7000, '[2024-02-01,2024-01-01]');

insert into devices (serial, bits) values ('x', B'1');

insert into devices (serial, uid) values ('x', 'nope');

insert into rates values ('EURO', '2024-01-01', 1);

insert into rates values ('EUR', '2024-01-01', 1);

insert into products (id, name) values (1000, 'product 1');

insert into products (name) values ('no id');

update customers set nothing = 1;

update customers set name = null where id = 3;

update customers set id = null where id = 3;

update customers set name = 5 / (id - 3) where id = 3;

update orders set total = 'x';

update orders set customer_id = 4 where customer_id = 3 and id = (select min(id) from orders where customer_id = 3) and false;

update orders set id = 1 where customer_id = 8;

update order_lines set qty = -1 where customer_id = 8;

update products set name = 'product 1' where id = 2;

update order_lines set amount = 5;

update customers set (name, credit) = ('a', 1, 2);

delete from nothing;

delete from customers where nothing = 1;

delete from orders where id = any ('{x}');

truncate nothing;

copy customers from '/nothing/here';

create table customers (id int);

create index on customers (nothing);

alter table customers add column name text;

alter table customers drop column nothing;

alter table orders add check (id < 5);

alter table customers alter column name type int;

drop table nothing;

drop table customers;

drop type mood;

prepare q as select nothing from customers;

execute nothing;

fetch 1 from nothing;

release nothing;

select pg_sleep(0), 1 / 0;

savepoint outside;

begin;
select * from nothing;
select 1;
insert into customers (id, name) values (3, 'x');
commit;
select count(*) from customers;

do $$ begin raise exception 'own' using errcode = 'U0001'; end $$;

do $$ declare x int; begin select id into strict x from customers; end $$;

do $$ declare x int; begin select id into strict x from customers where id = 12345; end $$;

do $$ begin assert (select count(*) from customers) = 0, 'not empty'; end $$;

set statement_timeout = 'x';

select set_config('nothing.at all', '1', true);

selec 1;

select 'unterminated;
select 1';

select * from customers where;

select $1 from customers;

merge into customers c using (select distinct customer_id from orders) o on c.id = o.customer_id when matched then update set id = 5;
