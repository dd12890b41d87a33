-- Subqueries in FROM, WHERE, SELECT, HAVING, ORDER BY; correlated on and off the key; lateral.

select name from customers where id in (select customer_id from orders where total > 1000);

select name from customers where id not in (select customer_id from orders);

select name from customers where id not in (select owner from devices);

select name from customers where id not in (select owner from devices where owner is not null);

select id from orders o where exists (select from payments p where p.customer_id = o.customer_id and p.amount > o.total);

select id from orders o where not exists (select from payments p where p.customer_id = o.customer_id);

select id from orders o where exists (select from payments p where p.id = o.id and p.method = o.status);

select id from orders o where not exists (select from events e where e.seq = o.id and e.level > 2) and id < 30;

select id, (select count(*) from orders o where o.customer_id = c.id) from customers c;

select id, (select max(e.value) from events e where e.seq > c.id) from customers c where id < 8;

select id, (select name from products p where p.id = c.id % 20) from customers c;

select id, (select body from notes n where n.id = c.id) from customers c where id < 30;

select id, (select count(*) from customers) from products order by id;

select id, (select string_agg(p.method, ',' order by p.id) from payments p where p.customer_id = c.id) from customers c where country = 'FR';

select id, total, total > (select avg(total) from orders) as above from orders order by id;

select id from orders o where total > (select avg(total) from orders i where i.customer_id = o.customer_id);

select id from orders o where total = (select max(total) from orders i where i.status = o.status);

select id from orders where total > all (select amount from payments where amount is not null);

select id from orders where total < any (select amount from payments where method = 'card');

select id from orders where (customer_id, id) in (select customer_id, order_id from order_lines where qty = 5);

select id from orders where (status, customer_id) = (select 'paid', 8);

select id from orders where (id, status) in (select seq, kind from events) or id = 3;

select id from payments where row (customer_id, method) in (select customer_id, 'card' from orders where status = 'done');

select * from (select customer_id, sum(total) s from orders group by customer_id) x where s > 1500;

select max(s), min(s), avg(s) from (select customer_id, sum(total) s from orders group by customer_id) x;

select status, avg(n) from (select customer_id, status, count(*) n from orders group by 1, 2) x group by status;

select avg(m) from (select status, max(total) m from orders group by status) x;

select x.status, c.id from (select status, min(customer_id) k from orders group by status) x join customers c on c.id = x.k;

select * from (select * from orders order by id desc limit 7) x where customer_id > 20;

select * from (select * from orders order by total desc nulls last, id offset 3 limit 4) x order by id;

select count(*) from (select distinct customer_id, status from orders) x;

select count(*) from (select distinct status from orders) x;

select * from (select distinct on (customer_id) customer_id, id, total from orders order by customer_id, id desc) x where total > 300;

select * from (select distinct on (status) status, id from orders order by status, id desc) x;

select c.id, x.n from customers c, lateral (select count(*) n from orders o where o.customer_id = c.id) x;

select c.id, x.id from customers c, lateral (select id from orders o where o.customer_id = c.id order by total desc nulls last limit 1) x;

select c.id, x.id, x.total from customers c cross join lateral (select id, total from orders o where o.customer_id = c.id order by id limit 2) x where c.id < 12;

select c.id, x.id from customers c left join lateral (select id from orders o where o.customer_id = c.id and o.total > 700 order by id limit 1) x on true;

select c.id, x.seq from customers c, lateral (select seq from events e where e.seq = c.id * 2) x;

select p.id, x.m from products p, lateral (select max(qty) m from order_lines l where l.product_id = p.id) x;

select p.id, x.order_id from products p left join lateral (select order_id from order_lines l where l.product_id = p.id order by order_id desc, line limit 2) x on true;

select c.id, g from customers c, generate_series(1, c.id % 3) g where c.id < 10;

select c.id, t, n from customers c, unnest(c.tags) with ordinality u (t, n);

select c.id, e.key, e.value from customers c, jsonb_each_text(c.extra) e where c.id in (4, 5);

select o.id, x.a, y.b from orders o, lateral (select o.total * 2 a) x, lateral (select x.a + 1 b) y where o.id < 6;

select d.serial, x.* from devices d, lateral (select e.seq, e.value from events e where e.device = d.serial order by e.value desc nulls last, e.seq limit 1) x;

select d.serial, x.* from devices d, lateral (select c.name from customers c where c.id = d.owner) x;

select n.id, x.n from notes n, lateral (select count(*) n from orders o where o.customer_id = n.customer_id) x;

select a.id, x.c from tenant_a.docs a, lateral (select count(*) c from tenant_a.revisions r where r.doc = a.id) x;

select r.sensor, x.name from readings r, lateral (select name from customers c where c.id = r.sensor) x where r.at = '2024-01-29';

select c.id from customers c where (select count(*) from orders o where o.customer_id = c.id) = 3;

select c.id from customers c where (select count(*) from orders o where o.customer_id = c.id and o.total > (select avg(amount) from payments p where p.customer_id = c.id)) > 2;

select c.id from customers c where exists (select from orders o where o.customer_id = c.id and not exists (select from order_lines l where l.customer_id = o.customer_id and l.order_id = o.id and l.qty < 3));

select c.id from customers c where exists (select from devices d where d.owner = c.id and exists (select from events e where e.device = d.serial and e.kind = 'alarm'));

select country, count(*) from customers group by country having count(*) > (select count(*) from products where category = 'food') * 2;

select customer_id, sum(total) from orders o group by customer_id having sum(total) > (select sum(amount) from payments p where p.customer_id = o.customer_id);

select status, (select count(*) from customers c where c.id > min(o.id)) from orders o group by status;

select id from customers c order by (select count(*) from orders o where o.customer_id = c.id) desc, id limit 6;

select id, case when exists (select from orders o where o.customer_id = c.id) then 'yes' else 'no' end from customers c order by id;

select id, array(select o.id from orders o where o.customer_id = c.id order by 1) from customers c where id < 15;

select id, array(select serial from devices d where d.owner = c.id order by 1) from customers c where id < 30;

select array(select distinct status from orders order by 1);

select (select max(total) from orders) - (select min(total) from orders), exists (select from customers where id = 99);

select (select name from customers where id = 7), (select count(*) from orders where customer_id = 7);

select (select row (c.id, c.country) from customers c where c.id = 7);

select (select o from orders o where o.id = 7);

select id from customers where id = (select min(customer_id) from orders where status = 'sent');

select id from customers where id = (select customer_id from orders where id = 5000);

select id from customers where id = (select customer_id from orders where status = 'sent');

select (select customer_id from orders where id < 3);

select id from customers where country in (select code from countries where region = 'Europe');

select id from customers where country = (select code from countries order by population desc nulls last limit 1);

select code from countries co where exists (select from customers c where c.country = co.code and c.credit > 1000);

select code from countries where code not in (select country from customers where country is not null);

select id from products where id in (select product_id from order_lines group by product_id having sum(qty) > 60);

select id from products p where (select count(*) from order_lines l where l.product_id = p.id) > 18;

select key from settings where value::text in (select (id / 2)::text from orders);

select id from notes n where exists (select from customers c where c.id = n.customer_id and c.feeling = 'sad');

select id from customers c where id in (select customer_id from notes) and id in (select customer_id from visits where seconds > 25);

select id from tenant_a.docs where owner in (select id from customers where active = false);

select a.id from (select id, customer_id from orders where total > 100) a join (select customer_id, max(amount) m from payments group by 1) b on a.customer_id = b.customer_id where b.m > 250;

select x.a, y.b from (select customer_id a, count(*) from orders group by 1) x join (select owner b, count(*) from devices group by 1) y on x.a = y.b;

select * from (select c.id, o.n from customers c left join (select customer_id, count(*) n from orders group by 1) o on o.customer_id = c.id) q where n is null or n > 3;

select q.k, count(*) from (select customer_id k from orders union all select customer_id from payments) q group by q.k having count(*) > 5;

select * from (select id, rank() over (order by total desc nulls last) r from orders) q where r <= 5 order by r, id;

select * from (select id, customer_id, row_number() over (partition by customer_id order by id) r from orders) q where r = 2;

select count(*) from (select * from customers c join orders o on o.customer_id = c.id where o.status = 'new' offset 0) q;

select sum(x) from (select total as x from orders where customer_id = 8 union all select amount from payments where customer_id = 8) q;

select id from customers c where c.credit > (select avg(credit) from customers c2 where c2.country is not distinct from c.country);

select c.id, (select sum(qty * price) from order_lines l where l.customer_id = c.id and l.product_id in (select p.id from products p where p.weight < c.id)) from customers c where c.id < 9;

select o.id, (select (select name from customers c where c.id = o.customer_id) || '!') from orders o where o.id < 5;

select o.id from orders o where o.id = (select max(i.id) from orders i where i.customer_id = o.customer_id and i.placed < o.placed + interval '1 year');

select distinct (select category from products p where p.id = l.product_id) from order_lines l;

select count(*) from orders where customer_id in (select id from customers where id in (select owner from devices where serial in (select device from events where level = 5)));

select count(*) filter (where exists (select from payments p where p.customer_id = o.customer_id)) from orders o;

select sum((select count(*) from payments p where p.customer_id = o.customer_id)) from orders o;

select o.status, sum((select max(price) from products p where p.id < o.id)) from orders o group by 1;

select * from rows from (generate_series(1, 3), unnest(array['a', 'b'])) r (n, t) where n in (select id from customers);

select * from (table countries) c where exists (select from customers where country = c.code and id = 5);

select exists (select from orders where customer_id = 3 and total > 20), 3 in (select customer_id from orders), 1000 = any (select id from customers);

select c.id from customers c where c.id <> all (select customer_id from orders) order by 1;

select c.id from customers c where (c.country, c.id % 3) in (select co.code, length(co.code) - 1 from countries co);

select * from orders a left join lateral (select *, a.id as x from payments b) ss on a.total = ss.amount;

select a.id, ss.x, ss.id from customers a left join lateral (select b.id, a.credit as x from orders b) ss on a.id = ss.id where a.id < 12;

select c.id, s.* from customers c left join lateral (select coalesce(c.credit, 42) as x, e.seq from events e) s on c.id = s.seq where c.id > 50;
