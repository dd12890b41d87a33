-- UNION, INTERSECT, EXCEPT, with and without ALL, nested, ordered, in subqueries.

select id from customers union select id from products;

select id from customers union all select id from products;

select customer_id from orders intersect select customer_id from payments;

select customer_id from orders except select customer_id from payments;

select customer_id from orders except all select customer_id from payments;

select customer_id from orders intersect all select customer_id from payments;

select id from customers except select customer_id from orders;

select customer_id, status from orders union select customer_id, method from payments;

select status from orders union select method from payments union select kind from events order by 1;

select status from orders union all select method from payments order by 1 limit 7;

(select id from orders order by id limit 3) union all (select id from payments order by id desc limit 3);

(select id, total from orders where total is not null order by total desc, id limit 4) union (select id, amount from payments order by id limit 2) order by 1;

(select id from customers union select id from orders) except select id from payments order by 1;

select id from customers union (select id from orders intersect select id from payments);

select id from customers except (select id from products union all select 30) order by id;

(select id from customers intersect select id from orders) intersect (select id from payments intersect select id from products);

select country, count(*) from customers group by country union all select 'all', count(*) from customers;

select 'o' as t, id, total from orders where customer_id = 8 union all select 'p', id, amount from payments where customer_id = 8;

select 'o', id from orders where customer_id = 8 union select 'p', id from payments where customer_id = 15;

select code from countries union select country from customers;

select code from countries except select country from customers;

select country from customers except select code from countries;

select key from settings union select status from orders;

select id, title from tenant_a.docs union select id, title from tenant_b.docs order by 1, 2;

select id from tenant_a.docs except select id from customers where active;

select sensor from readings intersect select id from customers;

select null as x union select id from customers where id < 3;

select 1 as x, 'a' as y union all select id, name from products where id < 3 union all values (9, 'z');

select id::numeric from customers where id < 3 union select total from orders where id < 4;

select id from customers where id < 4 union select id::bigint from orders where id < 6;

select 'txt' union all select status from orders where id = 3;

select count(*) from (select id from customers union select customer_id from visits) x;

select x.k, count(*) from (select customer_id k from orders union all select customer_id from payments union all select customer_id from visits) x group by 1;

select c.name from customers c join (select customer_id from orders intersect select customer_id from payments) x on x.customer_id = c.id;

select c.name from customers c left join (select customer_id from orders except select customer_id from payments) x on x.customer_id = c.id where x.customer_id is null;

select name from customers where id in (select customer_id from orders where total > 1200 union select customer_id from payments where amount > 350);

select name from customers c where exists (select from orders o where o.customer_id = c.id except select from payments p where p.customer_id = c.id);

select id, (select count(*) from (select id from orders o where o.customer_id = c.id union select id from payments p where p.customer_id = c.id) x) from customers c where id < 10;

select * from (select customer_id, sum(total) from orders group by 1 union all select customer_id, sum(amount) from payments group by 1) x (k, s) where s > 900;

select k, max(s) from (select customer_id, sum(total) from orders group by 1 union select customer_id, sum(amount) from payments group by 1) x (k, s) group by k having max(s) > 500;

select distinct customer_id from orders union all select distinct customer_id from payments;

select feeling from customers union select 'ok'::mood;

select tags from customers union select array['t1', 't2'];

select home from customers where id < 4 union select row ('street 1', 10001, 'city 1')::address;

select extra from customers where id < 3 union select extra from customers where id < 5;

select array_agg(id order by id) from (select id from customers where id < 5 union select id from orders where id < 8) x;

select id, row_number() over (order by id) from (select id from customers where id < 5 union all select id from orders where id < 4) x order by 2, 1;

with a as (select id from customers union select id from products) select count(*), sum(id) from a;

select id from customers where id = 5 union select customer_id from orders where customer_id = 5;

select id from customers where id = 5 intersect select customer_id from orders where customer_id = 6;

select id from customers where id in (5, 6) except select customer_id from orders where customer_id in (5, 6);

(select id from customers order by credit desc nulls last, id limit 5) except (select customer_id from orders where status = 'done');

(select id from customers order by id offset 50) intersect all (select customer_id from payments);

select id % 3, count(*) from customers group by 1 intersect select id % 3, count(*) from products group by 1 order by 1;

select * from (values (1), (2), (2), (3)) v (x) except all select id from customers where id in (2, 3);

select * from (values (1), (2), (2), (3)) v (x) intersect all select id from customers;

select device from events union select serial from devices order by 1 limit 12;

select device from events except select serial from devices;

select serial from devices except select device from events where level >= 2;

select device, seq from events intersect select 'dev-' || id, id from orders;

select id from orders where customer_id = 3 union all select id from orders where customer_id = 4 order by id;

table countries union table countries order by code;

table countries except select * from countries where region = 'Europe';

select x from (select id x from customers union all select id from products) a where x > 15 group by x having count(*) = 2;

select a.x, b.x from (select id x from customers intersect select id from products) a join (select id x from orders except select id from payments where id < 12) b on a.x = b.x;

select 1 where exists (select id from customers except select customer_id from visits);

(select id from customers limit 0) union all select id from products where id = 1;

select id from customers where false union select id from products where id < 3;

select (select count(*) from customers) union select (select count(*) from products) union select null;

select * from (select 1 union select id from customers where id < 3) a, (select 2 union all select id from products where id < 3) b;

select id from customers union select id from orders order by id desc limit 3 offset 2;

select min(id) from customers union all select max(id) from orders union all select count(*) from events order by 1;
