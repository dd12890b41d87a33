-- Transactions, savepoints, isolation levels, reading of own writes, row locks, cursors.

begin;
insert into orders (customer_id, id, total) values (3, 1000, 1), (4, 1001, 2);
select count(*), sum(total) from orders where id >= 1000;
update orders set total = total * 10 where id >= 1000 returning total;
savepoint a;
delete from orders where customer_id = 3;
select count(*) from orders where customer_id = 3;
rollback to a;
select count(*) from orders where customer_id = 3;
release a;
select sum(total) from orders where id >= 1000;
rollback;

begin;
savepoint a;
insert into orders (customer_id, id) values (3, 1000);
savepoint b;
insert into orders (customer_id, id) values (4, 1001);
savepoint c;
update orders set status = 'c' where id >= 1000;
rollback to b;
select customer_id, id, status from orders where id >= 1000;
insert into orders (customer_id, id) values (5, 1002);
release a;
select customer_id, id, status from orders where id >= 1000;
rollback;

begin;
insert into orders (customer_id, id) values (3, 1000);
savepoint a;
insert into orders (customer_id, id) values (3, 1000);
rollback to a;
insert into orders (customer_id, id) values (3, 1001);
select id from orders where id >= 1000;
rollback;

begin;
insert into orders (customer_id, id) values (3, 1000);
insert into orders (customer_id, id) values (3, 1000);
select 1;
commit;
select count(*) from orders where id = 1000;

begin;
select 1 / 0;
select count(*) from orders;
rollback;
select count(*) from orders;

begin;
savepoint s;
select 1 / (id - 8) from customers;
rollback to s;
select count(*) from customers;
rollback;

begin isolation level repeatable read;
select count(*) from orders;
insert into orders (customer_id, id) values (3, 1000);
select count(*) from orders;
commit;
begin isolation level serializable;
delete from orders where id = 1000 returning customer_id;
select count(*) from orders where id >= 1000;
commit;

begin read only;
select count(*) from orders;
insert into orders (customer_id, id) values (3, 1000);
rollback;

begin read only;
update orders set status = 'x';
rollback;

begin read only;
select id from orders where id = 3 for update;
rollback;

begin;
set transaction read only;
delete from payments where id = 3;
rollback;

begin;
set local citus.multi_shard_modify_mode = 'sequential';
update orders set status = 'seq' where total > 500;
select count(*) from orders where status = 'seq';
rollback;

begin;
update orders set status = 'x' where customer_id = 3;
update orders set status = 'y' where customer_id = 4;
select status, count(*) from orders where customer_id in (3, 4) group by status;
update orders set status = 'z';
select distinct status from orders;
delete from orders using customers c where c.id = customer_id and c.country = 'DE';
select count(*) from orders;
insert into orders (customer_id, id, status) select id, 5000 + id, 'back' from customers;
select status, count(*) from orders group by status;
rollback;

begin;
insert into products (id, name) values (60, 'tx');
select p.name, c.id from products p join customers c on c.id = p.id where p.id = 60;
update products set name = 'tx2' where id = 60;
select p.name, c.id from products p join customers c on c.id = p.id where p.id = 60;
rollback;
select count(*) from products where id = 60;

begin;
truncate payments;
select count(*) from payments;
insert into payments (id, customer_id) values (1, 1);
select * from payments;
savepoint a;
truncate payments;
rollback to a;
select count(*) from payments;
rollback;
select count(*) from payments;

begin;
insert into notes (id, body) values (700, 'local');
insert into orders (customer_id, id) values (3, 1000);
insert into products (id, name) values (70, 'ref');
insert into tenant_a.docs (id) values (700);
commit;
select n.id, o.id, p.id, d.id from notes n, orders o, products p, tenant_a.docs d where n.id = 700 and o.id = 1000 and p.id = 70 and d.id = 700;
begin;
delete from notes where id = 700;
delete from orders where id = 1000;
delete from products where id = 70;
delete from tenant_a.docs where id = 700;
commit;

begin;
declare c cursor for select id from orders order by id;
fetch 3 from c;
fetch forward 2 from c;
move 5 in c;
fetch next from c;
fetch relative 2 from c;
close c;
fetch 1 from c;
rollback;

begin;
declare c scroll cursor for select id, customer_id from orders order by id;
fetch last from c;
fetch prior from c;
fetch first from c;
fetch absolute 10 from c;
fetch backward 2 from c;
fetch all from c;
rollback;

begin;
declare c cursor with hold for select id from orders where status = 'new' order by id limit 6;
fetch 2 from c;
commit;
fetch 2 from c;
fetch all from c;
close c;

begin;
declare a cursor for select id from orders order by id;
declare b cursor for select id from customers order by id;
fetch 2 from a;
fetch 2 from b;
fetch 2 from a;
fetch 2 from b;
update orders set status = 'cur' where id = 1;
fetch 2 from a;
commit;
update orders set status = 'paid' where id = 1;

begin;
declare c cursor for select * from orders where customer_id = 8 and id = 1 for update;
fetch 1 from c;
update orders set note = 'here' where current of c;
select count(*) from orders where note = 'here';
rollback;

begin;
declare c cursor for select * from payments where customer_id = 8 and id = 65;
fetch 1 from c;
delete from payments where current of c;
select count(*) from payments;
rollback;

begin;
declare c no scroll cursor for select c.name, o.id from customers c left join orders o on o.customer_id = c.id order by c.id, o.id;
fetch 4 from c;
fetch backward 1 from c;
rollback;

begin;
declare c binary cursor for select id from orders where id < 3 order by id;
fetch all from c;
rollback;

begin;
select id from customers where id = 3 for update;
select id from customers where id in (3, 4, 5) for share;
select id from customers where country = 'DE' order by id for no key update;
select id from customers order by id limit 3 for key share;
rollback;

begin;
select o.id, c.id from orders o join customers c on c.id = o.customer_id where c.id < 4 for update of o;
select o.id, p.name from orders o join products p on p.id = o.id for update of o skip locked;
select id from products where id = 3 for update;
select id from customers for update nowait;
rollback;

begin;
select id from orders where customer_id in (select id from customers where country = 'DE') for update;
select * from (select id from orders where status = 'new' for update) x order by id;
select count(*) from (select id from orders for share) x;
select n.id, c.id from notes n join customers c on c.id = n.customer_id for update;
select a.id, b.id from orders a join payments b on a.id = b.id for update;
rollback;

begin;
select sum(total) from orders for update;
rollback;

begin;
lock table orders in share row exclusive mode;
lock orders, customers;
lock products in access share mode;
select count(*) from orders;
rollback;

lock table orders;

begin;
set local search_path = tenant_a;
select count(*) from docs;
set local search_path = tenant_b;
select count(*) from docs;
rollback;

begin;
set local timezone = 'America/New_York';
select id, placed from orders where id < 4;
select placed::text, extract(hour from placed), placed::date from orders where customer_id = 8;
set local datestyle = 'German';
select placed from orders where id in (3, 4);
insert into orders (customer_id, id, placed) values (3, 1000, '01.02.2024 10:00') returning placed;
set local intervalstyle = 'iso_8601';
select took from events where seq < 4;
rollback;

begin;
set constraints all deferred;
insert into orders (customer_id, id) values (1, 1000);
rollback;

begin;
select now() = now(), now() = transaction_timestamp(), count(distinct now()) from orders;
select count(*) from orders where placed < now();
select txid_current_if_assigned() is null;
rollback;

begin;
update customers set name = 'a' where id = 3;
update customers set name = 'b' where id = 3;
update customers set name = name || 'c' where id in (3, 4);
select name from customers where id in (3, 4) order by id;
delete from customers where id = 3;
insert into customers (id, name) values (3, 'new');
select name, country from customers where id = 3;
rollback;

begin;
create temp table tmp as select id, name from customers where id < 6;
select t.name, o.id from tmp t join orders o on o.customer_id = t.id;
insert into payments (id, customer_id, method) select 9000 + id, id, name from tmp;
update payments p set method = 'tmp' from tmp t where t.id = p.customer_id;
delete from tmp where id in (select customer_id from payments where amount > 100) returning *;
insert into tmp select id, name from products where id < 3;
select count(*) from tmp;
rollback;

begin;
select id into temp picked from orders where total > 1000;
select count(*) from picked;
create temp table t2 on commit drop as select p.id, o.customer_id from picked p join orders o using (id);
select count(*), sum(customer_id) from t2;
commit;
drop table picked;

start transaction;
commit and chain;
select count(*) from orders;
rollback and chain;
rollback;

begin;
insert into orders (customer_id, id) select 3, g from generate_series(2000, 2050) g;
savepoint x;
insert into orders (customer_id, id) select 1 + g % 50, g from generate_series(3000, 3200) g;
select count(*) from orders where id >= 2000;
rollback to x;
select count(*) from orders where id >= 2000;
copy orders (customer_id, id) from stdin;
3	3000
4	3001
\.
select count(*) from orders where id >= 2000;
commit;
delete from orders where id >= 2000;
