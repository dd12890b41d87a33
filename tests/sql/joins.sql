-- Inner joins: on the key, off it, between groups, with reference, local, partitioned and one-shard tables.

select c.name, o.id from customers c join orders o on o.customer_id = c.id where o.total > 500 order by o.id;

select c.name, o.id, l.line from customers c join orders o on o.customer_id = c.id join order_lines l on l.customer_id = o.customer_id and l.order_id = o.id where c.id = 12;

select count(*) from customers c, orders o, order_lines l, payments p where c.id = o.customer_id and o.customer_id = l.customer_id and p.customer_id = c.id;

select * from orders natural join payments;

select o.id, p.amount from orders o join payments p using (customer_id) order by o.id, p.id limit 20;

select o.*, p.id as payment from orders o join payments p using (customer_id) where o.status = 'paid' and p.method = 'card';

select * from orders join payments using (id) order by 1, 2, 3 limit 15;

select a.id, b.id from orders a join orders b on a.id = b.id + 1 where a.total > 1200;

select a.id, b.id from orders a join orders b on a.customer_id = b.customer_id and a.id < b.id;

select a.id, b.id, c.id from orders a join orders b on a.customer_id = b.customer_id join orders c on b.customer_id = c.customer_id where a.id < b.id and b.id < c.id;

select p.name, sum(l.qty) from products p join order_lines l on l.product_id = p.id group by p.name;

select p.category, c.country, count(*), sum(l.amount) from order_lines l join products p on p.id = l.product_id join customers c on c.id = l.customer_id group by 1, 2;

select d.serial, c.name from devices d join customers c on c.id = d.owner;

select d.serial, e.seq from devices d join events e on e.device = d.serial where e.level = 3;

select d.model, count(e.seq) from devices d join events e on e.device = d.serial group by d.model having count(e.seq) > 20;

select c.id, d.serial, e.kind from customers c join devices d on d.owner = c.id join events e on e.device = d.serial where c.feeling = 'happy';

select v.customer_id, c.name from visits v join customers c on c.id = v.customer_id and v.seconds > 40;

select v.at, c.name from visits v, customers c where v.customer_id + 0 = c.id and v.seconds = 7;

select v.customer_id, e.device from visits v join events e on v.seconds = e.seq;

select co.name, count(*) from customers c join countries co on co.code = c.country group by co.name;

select co.region, r.currency, max(r.rate) from countries co cross join rates r group by 1, 2;

select count(*) from customers cross join products;

select count(*) from customers, devices;

select count(*) from orders o, events e where o.id = e.seq and o.customer_id > 10;

select o.id, e.device from orders o join events e on o.id = e.seq and e.kind = 'alarm' and o.status in ('new', 'paid') order by o.id;

select n.body, c.name from notes n join customers c on c.id = n.customer_id;

select n.id, o.id from notes n join orders o on o.customer_id = n.customer_id where o.total between 100 and 300;

select n.body, p.name from notes n join products p on p.id = n.id;

select s.key, count(*) from settings s, orders o where s.key = 'limit' and o.id > s.value::int group by 1;

select a.title, b.title from tenant_a.docs a join tenant_b.docs b on a.id = b.id;

select d.title, r.no from tenant_a.docs d join tenant_a.revisions r on r.doc = d.id where r.size > 2500;

select d.title, c.name from tenant_a.docs d join customers c on c.id = d.owner;

select d.title, o.id, p.name from tenant_a.docs d join orders o on o.customer_id = d.owner join products p on p.id = d.id;

select d.id, dd.id from tenant_a.docs d join tenant_a.docs dd on dd.parent = d.id;

select r.sensor, r.at, o.id from readings r join orders o on o.id = r.sensor order by 2, 1, 3;

select r.sensor, sum(r.v) from readings r join customers c on c.id = r.sensor where r.at >= '2024-01-01' group by 1;

select a.sensor, a.at, b.at from readings a join readings b on a.sensor = b.sensor and b.at = a.at + 30;

select c.id, o.id from customers c join orders o on (c.id, 'done') = (o.customer_id, o.status);

select c.id, o.id from customers c join orders o on o.customer_id = c.id and o.id % c.id = 0;

select c.id, o.id from customers c join orders o on o.customer_id between c.id and c.id + 1 where c.id < 5;

select c.id, p.id from customers c join payments p on p.customer_id >= c.id where c.id > 55 order by 1, 2;

select c1.id, c2.id from customers c1 join customers c2 on c1.country = c2.country and c1.id < c2.id where c1.credit > 800;

select c1.id, c2.id from customers c1 join customers c2 on c1.tags && c2.tags and c1.id = c2.id - 1;

select c1.id, c2.id from customers c1 join customers c2 on c1.tags = c2.tags and c1.id <> c2.id and c1.feeling is not distinct from c2.feeling;

select x.id, y.serial from customers x join devices y on x.name = 'customer ' || y.owner;

select * from (customers c join orders o on c.id = o.customer_id) join products p on p.id = o.id;

select t.* from (orders o join payments p on o.customer_id = p.customer_id) as t (a, b, c, d, e, f, g, h) where d = 'done' order by b, h limit 10;

select c.*::text from customers c join orders o on o.customer_id = c.id where o.id = 5;

select c, o.id from customers c join orders o on o.customer_id = c.id where o.id < 4;

select count(*) from customers c join (values (1, 'a'), (2, 'b'), (70, 'c')) v (id, t) on v.id = c.id;

select v.t, o.id from (values ('new', 1), ('done', 2)) v (t, n) join orders o on o.status = v.t where o.id % 10 = v.n;

select g, o.id from generate_series(1, 10) g join orders o on o.id = g;

select g, count(o.id) from generate_series(1, 5) g join orders o on o.customer_id = g group by g;

select u, d.serial from unnest(array['dev-1', 'dev-7', 'dev-99']) u join devices d on d.serial = u;

select d.serial, e.seq from devices d join events e on e.device = d.serial and e.payload -> 'k' ->> 'x' = (d.config ->> 'rate');

select d.serial, p.id from devices d join products p on p.id = any (d.caps);

select c.id, p.id from customers c join products p on p.attrs ->> 'color' = 'red' and p.id = c.id % 20;

select o.customer_id, v.at from orders o join visits v on v.customer_id = o.customer_id and v.span @> o.placed;

select a.customer_id, b.customer_id from visits a join visits b on a.span && b.span and a.customer_id < b.customer_id where a.seconds = 9;

select o1.id, o2.id from orders o1 join orders o2 on o1.ship && o2.ship and o1.id < o2.id where o1.id < 20;

select distinct c.country, p.category from customers c join order_lines l on l.customer_id = c.id join products p on p.id = l.product_id where p.category is not null;

select c.id, sum(p.amount) as paid, sum(o.total) as ordered from customers c join payments p on p.customer_id = c.id join orders o on o.customer_id = c.id group by c.id order by paid desc nulls last, c.id limit 8;

select c.id, c.name, count(*) from customers c join orders o on o.customer_id = c.id group by c.id order by count(*) desc, c.id;

select l.order_id, p.name, l.amount from order_lines l join products p on p.id = l.product_id and p.price < l.price order by 1, 2, 3;

select co.name, sum(l.amount) from countries co join customers c on c.country = co.code join order_lines l on l.customer_id = c.id join products p on p.id = l.product_id where p.category = 'toys' group by co.name;

select r.rate * o.total from rates r join orders o on r.day = o.placed::date where r.currency = 'EUR';

select e.device, d.serial, o.id from events e join devices d on d.serial = e.device join orders o on o.id = e.seq where d.owner = o.customer_id;

select c.id from customers c join orders o on o.customer_id = c.id where c.id in (3, 9, 27) and o.total is not null;

select c.id, o.id from customers c join orders o on o.customer_id = c.id where c.id = 8 or o.id = 30;

select c.id, o.id from customers c join orders o on o.customer_id = c.id and c.id = 8 where o.customer_id = 9;

select c.id, o.id from customers c join orders o on o.customer_id = c.id where c.id = any (array[1, 8, 15, null]);

select c.id from customers c, orders o where c.id = 8 and o.customer_id = 15;

select a.id, b.id from customers a, customers b where a.id = 3 and b.id in (3, 4, 5);

select a.serial, b.serial from devices a join devices b on a.ip << inet '10.0.1.0/24' and b.bits = a.bits;

select a.serial, b.serial from devices a join devices b on a.uid = b.uid and a.mac = b.mac where a.cost > 30::money;

select count(*) from orders o tablesample bernoulli (100) join payments p on p.customer_id = o.customer_id;

select o.id, row_number() over (partition by o.customer_id order by o.id) from orders o join customers c on c.id = o.customer_id where c.active;

select p.id, q.id from payments p join payments q on p.method = q.method and p.paid = q.paid + 1;

select p.id from payments p join orders o on o.customer_id = p.customer_id and o.total = (p.amount * 2.5)::numeric;

select max(o.total), min(e.value) from orders o join events e on e.seq = o.id join devices d on d.serial = e.device join customers c on c.id = d.owner;

select c.name, d.serial, r.sensor from customers c join devices d on d.owner = c.id join readings r on r.sensor = c.id and r.at = '2024-02-28';

select c.id, c2.id, c3.id from customers c join customers c2 on c2.id = c.id + 1 join customers c3 on c3.id = c2.id + 1 where c.id < 6;

select c.id, o.id, n.id, d.id from customers c join orders o on o.customer_id = c.id join notes n on n.customer_id = c.id join tenant_b.docs d on d.owner = c.id;

select count(*) from order_lines a join order_lines b on a.product_id = b.product_id and a.order_id < b.order_id;

select a.product_id, count(distinct a.customer_id) from order_lines a join order_lines b on a.product_id = b.product_id and a.customer_id <> b.customer_id group by 1;
