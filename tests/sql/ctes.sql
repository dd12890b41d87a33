-- WITH: plain, materialised or not, recursive, search and cycle, writing.

with a as (select * from customers where country = 'DE') select count(*) from a;

with a as (select customer_id, sum(total) s from orders group by 1) select c.name, a.s from a join customers c on c.id = a.customer_id where a.s > 1500;

with a as materialized (select * from orders where total > 800) select status, count(*) from a group by status;

with a as not materialized (select * from orders) select * from a where customer_id = 8;

with a as materialized (select * from orders) select * from a where customer_id = 8;

with a as (select id from orders where customer_id = 8), b as (select id from payments where customer_id = 8) select * from a union all select * from b;

with a as (select id, customer_id from orders), b as (select count(*) n, customer_id from a group by 2) select a.id, b.n from a join b using (customer_id);

with a as (select max(id) m from orders) select * from orders, a where id = m;

with a as (select * from orders order by total desc nulls last, id limit 5) select c.name, a.id from a join customers c on c.id = a.customer_id;

with a as (select status, avg(total) m from orders group by status) select o.id from orders o join a using (status) where o.total > a.m * 1.8;

with a as (select * from products where price > 40), b as (select l.* from order_lines l join a on a.id = l.product_id) select customer_id, sum(amount) from b group by 1;

with a (x, y) as (values (1, 'a'), (8, 'b')) select a.y, o.id from a join orders o on o.customer_id = a.x;

with a as (select 1 as x), b as (select x + 1 as x from a), c as (select id from customers, b where id = b.x) select * from c;

with a as (select id from customers where active) select count(*) from orders where customer_id in (select id from a);

with a as (select id from customers where active) select (select count(*) from a), (select max(id) from a), count(*) from orders;

with a as (select * from orders) select x.id, y.id from a x join a y on x.customer_id = y.customer_id and x.id < y.id;

with a as (with b as (select * from customers where id < 10) select * from b where country = 'FR') select * from a;

select * from (with a as (select customer_id, count(*) n from orders group by 1) select * from a where n > 4) x;

select id, (with a as (select * from orders o where o.customer_id = c.id) select count(*) from a) from customers c where id < 10;

select id from customers where id in (with a as (select customer_id from orders where status = 'new') select * from a);

with recursive t (n) as (select 1 union all select n + 1 from t where n < 10) select sum(n) from t;

with recursive t (n) as (select 1 union all select n + 1 from t where n < 10) select t.n, c.name from t join customers c on c.id = t.n;

with recursive t as (select id, parent, title from tenant_a.docs where parent is null union all select d.id, d.parent, t.title || '/' || d.title from tenant_a.docs d join t on d.parent = t.id) select * from t;

with recursive t as (select id, parent, 0 as depth from tenant_b.docs where id = 1 union all select d.id, d.parent, depth + 1 from tenant_b.docs d join t on d.parent = t.id) select depth, count(*) from t group by depth;

with recursive t as (select id, customer_id from orders where id = 3 union select o.id, o.customer_id from orders o join t on o.id = t.id + 7 where o.id < 60) select * from t order by id;

with recursive t as (select c.id from customers c where c.id = 1 union all select o.customer_id from orders o join t on o.id = t.id * 2 and t.id < 40) select count(*), max(id) from t;

with recursive t as (select customer_id, min(id) id from orders where customer_id = 8 group by 1 union all select o.customer_id, o.id from orders o join t on o.customer_id = t.customer_id and o.id > t.id where o.customer_id = 8) select count(*) from t;

with recursive t (id, path) as (select 1, array[1] union all select c.id, path || c.id from customers c join t on c.id = t.id * 2 or c.id = t.id * 2 + 1) select id, path from t where id > 40 order by id;

with recursive t (id, parent) as (select id, parent from tenant_a.docs where id = 1 union all select d.id, d.parent from tenant_a.docs d join t on d.parent = t.id) search depth first by id set o select id, parent from t order by o;

-- with recursive t (id, parent) as (select id, parent from tenant_b.docs where parent is null union all select d.id, d.parent from tenant_b.docs d join t on d.parent = t.id) search breadth first by id set o select id from t order by o;

with recursive t (a, b) as (select 1, 2 union all select t.b, (o.id % 5)::int from t join orders o on o.id = t.b) cycle a set is_cycle using path select a, b, is_cycle from t;

with recursive t as (select serial, owner from devices where owner = 3 union select d.serial, d.owner from devices d join t on d.owner = t.owner + 2 where d.owner < 30) select serial from t;

with recursive a as (select 1 as n union all select n + 1 from a where n < 3), b as (select n * 10 as m from a) select a.n, b.m, c.id from a, b, customers c where c.id = a.n + b.m;

with recursive t as (select 1 as id union all (with x as (select id from t) select c.id from customers c join x on c.id = x.id + 5)) select * from t;

with w as (insert into orders (customer_id, id, total) values (3, 1000, 5), (4, 1001, 6) returning *) select customer_id, id, status from w;

with w as (update orders set total = total + 1 where customer_id = 8 returning id, total) select count(*), sum(total) from w;

with w as (delete from payments where method = 'cash' returning *) select customer_id, sum(amount) from w group by 1;

with w as (delete from payments where customer_id = 3 returning *) insert into orders (customer_id, id, total, status) select customer_id, id + 5000, amount, 'moved' from w;

with w as (update orders set status = 'paid' where status = 'new' returning customer_id) select c.name, count(*) from w join customers c on c.id = w.customer_id group by c.name;

with w as (delete from orders where id > 150 returning customer_id, id), v as (insert into payments (id, customer_id, method) select id + 9000, customer_id, 'card' from w returning id) select count(*), max(id) from v;

with a as (select customer_id, max(id) m from orders group by 1) update payments p set method = 'max' || a.m from a where a.customer_id = p.customer_id;

with a as (select id from customers where country = 'DE') delete from visits v using a where v.customer_id = a.id returning v.customer_id;

with a as (select id from customers where country = 'IT') update orders set note = 'it' where customer_id in (select id from a);

with a as (select 8 as k) delete from orders using a where customer_id = a.k returning id;

with a (k, n, t) as (values (5, 2000, 1.5), (6, 2001, 2.5)) insert into orders (customer_id, id, total) select * from a returning *;

with w as (update products set price = price * 2 where id < 4 returning id, price) select * from w join order_lines l on l.product_id = w.id;

with w as (insert into countries values ('ZZ', 'Zed', 'None', 1) returning code) select code, (select count(*) from countries) from w;

with w as (insert into notes (id, customer_id, body) values (100, 1, 'x') returning id) select id from w;

with w as (insert into notes (id, customer_id, body) select 200 + id, customer_id, status from orders where id < 5 returning id, body) select * from w;

with w as (update notes set body = 'seen' where id < 5 returning customer_id) select c.id, c.name from customers c join w on w.customer_id = c.id;

with d as (delete from tenant_a.revisions where size > 4000 returning doc), u as (update tenant_a.docs set body = 'cut' where id in (select doc from d) returning id) select count(*) from u;

with w as (insert into events (device, seq, kind) select serial, 9000, 'check' from devices where model = 'model 1' returning device) select d.owner from devices d join w on w.device = d.serial;

with t as (select * from orders where customer_id = 8 for update) select count(*) from t;

with a as (select id, row_number() over (order by id) r from customers) select * from a where r between 10 and 12;

with a as (select country c, count(*) n from customers group by 1) select sum(n), (select c from a order by n desc, c limit 1) from a;

with a as (select * from events where level > 3), b as (select device, count(*) n from a group by 1) select d.serial, b.n from devices d left join b on b.device = d.serial where d.model = 'model 3';

with x as (select id from customers), y as (select id from x where id > 55), z as (select count(*) from y) select * from z, y;

with unused as (select 1 / 0) select count(*) from customers;

with unused as (delete from payments where id = 5) select count(*) from customers;

with r as (select sensor, sum(v) s from readings group by 1) select c.name, r.s from r join customers c on c.id = r.sensor;
