-- Left, right and full joins of any sides.

select c.country, count(*), count(o.id) from customers c left join orders o on o.customer_id = c.id group by 1;

select c.id from customers c left join orders o on o.customer_id = c.id where o.id is null;

select c.id, o.id from customers c left join orders o on o.customer_id = c.id and o.status = 'done' order by 1, 2;

select c.id, o.id from orders o right join customers c on o.customer_id = c.id and o.total > 1000;

select v.customer_id, c.id from visits v full join customers c on c.id = v.customer_id where v.customer_id is null or c.id is null;

select coalesce(o.customer_id, p.customer_id) as k, count(o.id), count(p.id) from orders o full join payments p on o.customer_id = p.customer_id group by 1;

select * from (select customer_id, count(*) n from orders group by 1) a full join (select customer_id, sum(amount) s from payments group by 1) b using (customer_id);

select p.id, l.order_id from products p left join order_lines l on l.product_id = p.id and l.qty = 5;

select p.id, count(l.line) from products p left join order_lines l on l.product_id = p.id group by p.id;

select p.name, sum(l.amount) from order_lines l right join products p on p.id = l.product_id and p.category = 'food' group by p.name;

select l.order_id, l.line, p.name from order_lines l left join products p on p.id = l.product_id where l.product_id is null or p.price > 60;

select l.order_id, p.id from order_lines l full join products p on p.id = l.product_id + 5;

select co.code, c.id from countries co left join customers c on c.country = co.code;

select co.code, count(c.id) from customers c full join countries co on c.country = co.code group by co.code;

select co.code, o.id from countries co left join (customers c join orders o on o.customer_id = c.id and o.total > 900) on c.country = co.code;

select d.serial, e.seq from devices d left join events e on e.device = d.serial and e.kind = 'stop';

select e.device, count(*), count(d.serial) from events e left join devices d on d.serial = e.device group by 1;

select d.serial, c.id from devices d left join customers c on c.id = d.owner;

select d.serial, c.id from devices d right join customers c on c.id = d.owner;

select d.serial, c.id from devices d full join customers c on c.id = d.owner;

select d.serial, c.id from devices d full join customers c on c.id = d.owner and d.model = 'model 2';

select c.id, o.id, l.line from customers c left join orders o on o.customer_id = c.id left join order_lines l on l.customer_id = o.customer_id and l.order_id = o.id where c.id < 10;

select c.id, o.id, p.id from customers c left join orders o on o.customer_id = c.id and o.status = 'paid' left join payments p on p.customer_id = c.id and p.method = 'cash';

select c.id, o.id, p.id from customers c left join (orders o join payments p on p.customer_id = o.customer_id and p.amount > 200) on o.customer_id = c.id;

select c.id, d.serial, e.seq from customers c left join devices d on d.owner = c.id left join events e on e.device = d.serial and e.level = 1;

select n.id, c.id from notes n left join customers c on c.id = n.customer_id and c.active;

select n.id, c.id from notes n right join customers c on c.id = n.customer_id;

select n.id, c.id from notes n full join customers c on c.id = n.id;

select n.id, p.id from notes n full join products p on p.id = n.id;

select n.id, p.id, o.id from products p left join notes n on n.id = p.id left join orders o on o.id = n.id;

select a.id, b.id from tenant_a.docs a left join tenant_b.docs b on a.id = b.id + 5;

select a.id, c.id from tenant_a.docs a full join customers c on c.id = a.owner where c.id < 10 or c.id is null;

select r.sensor, c.id from readings r left join customers c on c.id = r.sensor and c.country = 'DE' where r.at < '2023-11-15';

select c.id, r.at from customers c left join readings r on r.sensor = c.id and r.v > 10 where c.id < 20;

select a.id, b.id from orders a left join orders b on b.customer_id = a.customer_id and b.id = a.id + 55;

select a.id, b.id from orders a left join orders b on b.id = a.id + 1 where a.id > 150;

select a.id, b.id from orders a full join orders b on b.id = a.id + 100;

select c.id, x.n from customers c left join (select customer_id, count(*) n from orders group by customer_id having count(*) > 3) x on x.customer_id = c.id;

select c.id, x.* from customers c left join (select method, max(amount) m from payments group by method) x on x.m > c.credit;

select c.id, x.id from customers c left join (select * from orders order by total desc nulls last, id limit 5) x on x.customer_id = c.id where x.id is not null;

select c.id, coalesce(x.n, 0) from customers c left join (select o.customer_id, count(*) n from orders o join order_lines l on l.customer_id = o.customer_id and l.order_id = o.id group by 1) x on x.customer_id = c.id order by 2 desc, 1;

select c.id, o.id from customers c left join orders o on false where c.id < 4;

select c.id, o.id from customers c left join orders o on true where c.id = 2 and (o.id < 4 or o.id is null);

select c.id, o.id from customers c left join orders o on c.id = 5 and o.id = 7;

select c.id, count(o.id) from customers c left join orders o on o.customer_id = c.id and c.country = 'DE' group by c.id;

select c.id, p.id from customers c full join products p on false where coalesce(c.id, 0) < 3 and coalesce(p.id, 0) < 3;

select p.id, c.id from products p left join customers c on true where p.id = 3 and c.id < 3;

select g, o.id from generate_series(1, 5) g left join orders o on o.customer_id = g and o.total > 400;

select g, c.id from generate_series(55, 65) g full join customers c on c.id = g where c.id is null or c.id > 50;

select v.x, c.name from (values (1), (61), (null)) v (x) left join customers c on c.id = v.x;

select v.x, o.id from (values (1), (161), (null)) v (x) left join orders o on o.id = v.x;

select c.id, v.x from customers c left join (values (1), (2)) v (x) on v.x = c.id where c.id < 5;

select c.id, o.id from customers c left join orders o on o.customer_id = c.id where c.id = 60;

select c.id, o.id, p.id from customers c left join orders o on o.customer_id = c.id left join payments p on p.customer_id = o.customer_id where c.id = 33;

select c.id, o.id from orders o full join customers c on o.customer_id = c.id where c.id = 4;

select c.id, o.id from customers c full join orders o using (id);

select id, c.name, o.status, p.amount from customers c full join orders o using (id) full join payments p using (id) where id > 85 order by id;

select id, c.name, pr.name from customers c full join products pr using (id) order by id;

select customer_id, o.id, v.seconds, p.id from orders o left join visits v using (customer_id) left join payments p using (customer_id) where o.id < 6;

select customer_id, count(*) from orders natural left join customers group by 1;

select count(*) from (select c.id from customers c left join orders o on o.customer_id = c.id) x left join payments p on p.customer_id = x.id;

select c.id, s.value from customers c left join settings s on s.key = 'limit' and s.value::int > c.id where c.id between 8 and 12;

select a.id, b.k, d.serial from customers a left join (select o.customer_id k, p.name from orders o join products p on p.id = o.id) b on b.k = a.id left join devices d on d.owner = b.k;

select c.id, l.line from customers c left join order_lines l on l.customer_id = c.id and l.product_id in (select id from products where category = 'toys');

select c.id, o.id from customers c left join orders o on o.customer_id = c.id and exists (select 1 from payments p where p.customer_id = o.customer_id and p.method = 'wire');

select c.id, o.id from customers c left join orders o on o.customer_id = c.id and o.total > (select avg(total) from orders);

select c.id, sum(o.total) filter (where o.status = 'done'), max(v.seconds) from customers c left join orders o on o.customer_id = c.id left join visits v on v.customer_id = c.id group by c.id;

select distinct on (c.id) c.id, o.id from customers c left join orders o on o.customer_id = c.id order by c.id, o.id desc nulls last;

select c.country, d.model from customers c full join devices d on d.owner = c.id group by 1, 2;

select o.id, e.seq from orders o full join events e on e.seq = o.id where o.id is null or e.seq is null;

select o.status, e.kind, count(*) from orders o full join events e on e.seq = o.id and e.level > 2 group by 1, 2;

select c.id from customers c left join orders o on o.customer_id = c.id left join payments p on p.customer_id = c.id where o.id is null and p.id is null;

select x.id, y.id from (select id from customers where id < 5 union all select id from orders where id < 5) x left join (select id from payments where id between 3 and 6) y using (id);

select a.code, b.code from countries a left join countries b on a.region = b.region and a.code < b.code;

select co.name, n.body from countries co full join notes n on n.customer_id::text = co.code where co.code in ('DE', 'FR') or n.id < 3;

select count(*) from customers c left join orders o on o.customer_id = c.id right join payments p on p.customer_id = c.id full join visits v on v.customer_id = p.customer_id;
