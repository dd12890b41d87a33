-- INSERT, UPDATE, DELETE, upsert, RETURNING, TRUNCATE. A block is rolled back unless it says autocommit.

insert into orders (customer_id, id, total) values (3, 1000, 12.5);

insert into orders (customer_id, id, total) values (3, 1000, 12.5) returning *;

insert into orders (customer_id, id, total, status) values (3, 1000, 1, 'a'), (4, 1001, 2, 'b'), (5, 1002, null, default) returning id, status, total * 2 as twice;

insert into orders values (7, 1003, '2024-05-05 10:00+02', default, 3.335, 'n', '[2024-01-01,2024-02-01)') returning placed, total, ship;

insert into order_lines (customer_id, order_id, line, product_id, qty, price) values (3, 1, 9, 2, 4, 2.5) returning amount, discount, price;

insert into customers (id, name, home, tags, feeling, extra) values (100, 'x', row ('s', 1, 'c'), '{a,b}', 'ok', '{"a": [1]}'), (101, 'y', null, array['z'], 'sad', null) returning *;

insert into customers (id, name, home.city, tags[2]) values (102, 'part', 'Rome', 'second') returning home, tags;

insert into customers (id, name) select 200 + id, upper(name) from customers where country = 'DE' returning id, name;

insert into orders (customer_id, id, total) select customer_id, id + 1000, total * 2 from orders where status = 'done';

insert into orders (customer_id, id, total) select customer_id, id + 5000, amount from payments;

insert into orders (customer_id, id, total) select 1 + id % 50, 7000 + id, total from orders where id < 40;

insert into orders (customer_id, id) select id, 8000 + row_number() over (order by id) from customers;

insert into payments (id, customer_id, method, amount) select 3000 + customer_id, customer_id, 'sum', sum(total) from orders group by customer_id;

insert into payments (id, customer_id, method, amount) select 3000 + min(id), 5, status, sum(total) from orders group by status;

insert into payments (id, customer_id, amount) select 4000 + id, id, credit from customers order by credit desc nulls last, id limit 5 returning id, customer_id;

insert into events (device, seq, kind) select serial, 5000, 'sync' from devices where owner > 20;

insert into events (device, seq, value) select 'dev-' || (id % 10), 6000 + id, total from orders where total is not null;

insert into events (device, seq, kind) select d.serial, 7000 + o.id, o.status from devices d join orders o on o.customer_id = d.owner;

insert into products (id, name, price) values (50, 'new one', 1.5), (51, 'another', 2.5) returning *;

insert into products (id, name, price) select 100 + id, 'copy of ' || name, price * 1.1 from products where category = 'toys' returning id, price;

insert into products (id, name) select 300 + customer_id, 'p' || customer_id from orders group by customer_id having count(*) > 3;

insert into notes (id, customer_id, body) select 500 + id, id, name from customers where country = 'FR';

insert into orders (customer_id, id, note) select customer_id, 9000 + id, body from notes where id < 10;

insert into readings (sensor, at, v) values (1, '2025-06-01', 9.5), (2, '2023-06-01', 1), (3, '2024-06-02', null) returning *;

insert into readings select sensor + 100, at, v * 2, flag from readings where at < '2023-12-01';

insert into tenant_a.docs (id, title) select 100 + id, title from tenant_b.docs returning id;

insert into tenant_a.docs (id, title, owner) select 1000 + id, name, id from customers where active is false;

insert into customers (id, name) values (300, 'a'), (301, 'b'), (302, 'c') on conflict do nothing;

insert into customers (id, name) values (3, 'again'), (303, 'fresh') on conflict do nothing returning id;

insert into customers (id, name) values (3, 'again'), (304, 'fresh') on conflict (id) do update set name = excluded.name || '!' returning id, name;

insert into customers as c (id, name, credit) values (3, 'again', 5) on conflict (id) do update set credit = c.credit + excluded.credit, name = default where c.active returning credit;

insert into customers as c (id, name, credit) values (4, 'again', 5), (5, 'more', 6) on conflict (id) do update set credit = coalesce(c.credit, 0) + excluded.credit returning id, credit;

insert into customers (id, name) values (8, 'n') on conflict on constraint customers_pkey do update set name = 'constraint' returning *;

insert into orders (customer_id, id, total) select customer_id, id, 1 from orders where status = 'paid' on conflict (customer_id, id) do update set total = orders.total + 1 returning id, total;

insert into orders (customer_id, id, total) select customer_id, id, 1 from payments on conflict do nothing returning id;

insert into payments (id, customer_id, amount) select id, customer_id, 2 from payments on conflict (id, customer_id) do update set amount = excluded.amount where payments.amount > 100;

insert into products (id, name) values (3, 'dup') on conflict (id) do update set name = excluded.name || ' ' || products.name returning *;

insert into products (id, name) values (77, 'product 3') on conflict (name) do nothing returning *;

insert into products (id, name) values (77, 'product 3') on conflict (id) do nothing;

insert into customers (id, name) values (310, 'x'), (310, 'y') on conflict (id) do update set name = excluded.name;

insert into customers (id, name) values (3, 'again');

insert into customers (id, name) values (320, null);

insert into customers (id) values (null);

insert into customers default values;

insert into order_lines (customer_id, order_id, line, qty, price) values (1, 1, 1, 0, 5);

insert into order_lines (customer_id, order_id, line, qty, price) values (1, 1, 1, 2, -5);

insert into order_lines (customer_id, order_id, line, product_id, qty, price) values (1, 1, 1, 999, 2, 5);

insert into orders (customer_id, id) values (999, 1);

insert into orders (customer_id, id, status) values ('3', '3000', 4);

insert into orders (customer_id, id, total) values (3, 3001, 99999999999999);

insert into customers (id, name, feeling) values (330, 'x', 'angry');

insert into orders (customer_id, id) values (1, 2, 3);

insert into orders (customer_id, nothing) values (1, 2);

insert into order_lines (customer_id, order_id, line, qty, price, amount) values (1, 1, 1, 2, 5, 10);

insert into customers (id, name, born) values (340, 'd', now()::date), (341, 'e', '2020-02-29'::date + 365) returning born - now()::date < 1;

insert into customers (id, name, credit) values (350, 'x' || (select count(*) from orders), (select max(total) from orders)) returning name, credit;

insert into customers (id, name) values ((select max(id) + 1 from customers), 'next') returning id;

insert into customers (id, name) values (length('four'), 'x') on conflict (id) do update set name = customers.name || length(excluded.name);

insert into visits values (3, '2024-01-01', 5, null, 'empty', 'x') returning span, isempty(span);

insert into visits (customer_id, at, path) select customer_id, min(at), array_agg(path[2] order by at) from visits group by customer_id having count(*) > 2 returning customer_id, path;

insert into countries values ('AA', 'A', 'R', 1), ('AB', 'B', 'R', 2) on conflict (code) do update set population = countries.population + 1 returning *;

insert into rates select 'CHF', day, avg(rate) from rates group by day returning day, rate;

insert into settings values ('new', '1'), ('limit', '2') on conflict (key) do update set value = excluded.value returning *;

update customers set credit = 0;

update customers set credit = credit * 1.1 where country = 'DE' returning id, credit;

update customers set name = name || '*', active = not active where id = 8 returning *;

update customers set (name, country) = ('tuple', 'XX') where id in (8, 15, 22) returning id, name, country;

update customers set (credit, born) = (select max(total), max(placed)::date from orders o where o.customer_id = customers.id) where id < 20 returning id, credit, born;

update customers set credit = (select sum(amount) from payments p where p.customer_id = customers.id);

update customers set credit = (select avg(price) from products) where id % 10 = 0 returning id, credit;

update customers set tags[1] = 'first', home.city = 'Paris' where id between 10 and 14 returning tags, home;

update customers set tags = tags || 'more'::text, extra = extra || '{"seen": true}' where 't1' = any (tags) returning id, tags, extra;

update customers set extra = jsonb_set(extra, '{n}', to_jsonb(id * 2)) where extra @> '{"vip": true}' returning extra;

update customers set feeling = default, active = default where feeling = 'sad' returning id, active;

update customers c set credit = o.s from (select customer_id, sum(total) s from orders group by customer_id) o where o.customer_id = c.id returning c.id, c.credit;

update customers c set name = d.model from devices d where d.owner = c.id and d.serial < 'dev-15' returning c.id, d.serial, c.name;

update orders o set note = c.name from customers c where c.id = o.customer_id and c.country = 'IT' returning o.id, c.name;

update orders o set note = p.name from products p where p.id = o.id returning o.*, p.category;

update orders o set note = n.body from notes n where n.customer_id = o.customer_id and n.id < 8;

update orders o set note = n.body from notes n where n.id = o.id returning o.id, n.body;

update orders o set total = v.t from (values (3, 1.5), (5, 2.5), (500, 3)) v (i, t) where v.i = o.id returning o.id, v.t;

update orders o set total = l.s from (select order_id, sum(amount) s from order_lines group by order_id) l where l.order_id = o.id;

update orders set total = total + 1 where customer_id = 8 and id in (select order_id from order_lines where qty > 3);

update orders set status = 'late' where placed < '2024-02-01' and exists (select from payments p where p.customer_id = orders.customer_id and p.amount < orders.total) returning id;

update orders set status = 'top' where total > (select avg(total) * 1.5 from orders) returning id, total;

update orders set status = 'none' where id not in (select order_id from order_lines) returning id;

update orders set id = id + 10000 where customer_id = 8 returning id;

update orders set ship = ship * daterange('2024-01-05', '2024-03-01') where ship is not null returning id, ship;

update orders set placed = placed + interval '1 month', note = coalesce(note, '') || extract(day from placed) where status = 'new';

update order_lines set qty = qty + 1 where product_id = 5 returning order_id, qty, amount;

update order_lines set qty = 0 where customer_id = 8;

update order_lines set product_id = 12345 where customer_id = 8;

update order_lines l set price = p.price from products p where p.id = l.product_id and p.category = 'food' returning l.order_id, l.line, l.amount;

update payments set customer_id = customer_id + 1 where id = 7 returning *;

update payments set customer_id = 5 where method = 'wire';

update payments set amount = amount where false returning *;

update payments p set method = q.method from payments q where q.id = p.id + 1 and p.method = 'cash' returning p.id, p.method;

update events set value = value + level, kind = upper(kind) where device = 'dev-5' returning *;

update events e set kind = d.model from devices d where d.serial = e.device and d.config @> '{"rate": 2}' returning e.device, e.seq, e.kind;

update devices set cost = cost * 2, caps = array_append(caps, 99), ip = ip + 1 where model = 'model 3' returning serial, cost, caps, ip;

update devices d set owner = (select min(c.id) from customers c where c.id > d.owner) returning serial, owner;

update products set price = price + 1 where category = 'books' returning id, price;

update products p set weight = x.w from (select product_id, avg(qty)::float8 w from order_lines group by 1) x where x.product_id = p.id returning p.id, weight;

update products set attrs = attrs - 'sizes' where attrs ->> 'color' = 'red' returning *;

update products set id = 3 where id = 4;

update countries set population = population + (select count(*) from customers c where c.country = countries.code) returning *;

update readings set v = v + 1 where sensor = 3 and at > '2024-01-01' returning *;

update readings set at = at + 365 where sensor = 4 and at < '2023-12-31';

update notes set body = c.name from customers c where c.id = notes.customer_id returning notes.id, body;

update notes set body = (select count(*)::text from orders o where o.customer_id = notes.customer_id) where id < 9 returning id, body;

update tenant_a.docs set body = title || id, parent = null where id % 2 = 0 returning id, body;

update tenant_a.docs d set title = r.no::text from tenant_a.revisions r where r.doc = d.id and r.size < 1500 returning d.id, title;

update tenant_a.docs d set title = c.name from customers c where c.id = d.owner returning d.id, title;

delete from payments;

delete from payments where customer_id = 8 returning *;

delete from payments where method = 'cash' and paid < '2024-02-15' returning id, amount;

delete from payments p using customers c where c.id = p.customer_id and c.country = 'DE' returning p.id, c.name;

delete from payments p using orders o where o.id = p.id and o.status = 'new' returning p.id, o.id;

delete from payments p using products r where r.id = p.id;

delete from payments where id in (select id from orders where total > 800) returning id;

delete from payments p where not exists (select from orders o where o.customer_id = p.customer_id) returning *;

delete from payments p where amount < (select avg(amount) from payments q where q.customer_id = p.customer_id);

delete from payments where amount > (select avg(amount) from payments) returning id;

delete from customers where id = 8 returning id;

delete from customers where id > 50;

delete from customers c using devices d where d.owner = c.id and d.model = 'model 1' returning c.id, c.name;

delete from products where id = 3;

delete from products where id not in (select product_id from order_lines where product_id is not null) returning id;

delete from countries where code = 'XX' returning *;

delete from events where (device, seq) in (select device, max(seq) from events group by device) returning device, seq;

delete from devices where serial in ('dev-1', 'dev-2', 'nothing') returning serial, words;

delete from devices d using events e where e.device = d.serial and e.level = 5 returning d.serial;

delete from readings where at >= '2024-06-01' returning sensor, at;

delete from notes using customers c where c.id = notes.customer_id and not c.active returning notes.id;

delete from tenant_a.docs where id in (select doc from tenant_a.revisions where no > 30);

delete from order_lines l using orders o, customers c where o.customer_id = l.customer_id and o.id = l.order_id and c.id = o.customer_id and c.feeling = 'sad' returning l.order_id, l.line;

truncate payments;

truncate order_lines, payments;
insert into payments (id, customer_id) values (1, 1) returning *;

truncate customers cascade;
select count(*) from orders;

truncate customers;

truncate readings;

truncate tenant_a.docs, notes;

--! autocommit
insert into payments (id, customer_id, amount, method) values (10001, 3, 5, 'auto');
update payments set amount = amount + 1 where id > 10000 returning *;
insert into payments (id, customer_id, amount, method) values (10002, 4, 5, 'auto'), (10003, 5, 6, 'auto') on conflict (customer_id, id) do update set amount = 0;
update payments set method = 'many' where method = 'auto' and customer_id > 3;
update payments set customer_id = 40 where id = 10002 returning customer_id;
delete from payments where method in ('many', 'auto') returning id, customer_id, amount;

--! autocommit
insert into products values (90, 'temp', 'x', 1, '{}', 1);
update products set name = 'temp2' where id = 90;
delete from products where id = 90 returning name;

--! autocommit
insert into customers (id, name) select 400 + g, 'g' || g from generate_series(1, 20) g;
insert into orders (customer_id, id) select id, id from customers where id > 400;
delete from customers where id between 401 and 410;
select count(*) from orders where customer_id > 400;
delete from customers where id > 400;
select count(*) from orders where customer_id > 400;

--! autocommit
insert into customers (id, name) values (500, 'ok'), (501, null);
insert into customers (id, name) values (3, 'dup'), (502, 'never');
select count(*) from customers where id >= 500;

update orders o set note = (select max(c.name) from customers c where c.id > o.id % 50), total = 0 where o.id % 3 = 0 returning o.id, o.note

update visits v set seconds = (select count(*) from events e where e.seq = v.seconds % 20)

update devices d set owner = p.customer_id from payments p where p.id = d.owner and exists (select 1 from events e where e.device = d.serial and e.seq > p.id % 5)

update readings r set v = (select avg(x.v) from readings x where x.at = r.at) returning sensor, at, round(v, 2)

delete from readings r where v < (select avg(x.v) from readings x where x.at = r.at)

delete from orders o using devices d where d.owner = o.customer_id and not exists (select 1 from payments p where p.customer_id = d.owner + 1 and p.id > o.id)

update products p set price = (select sum(l.line) from order_lines l where l.product_id = p.id)

update tenant_a.docs d set title = (select max(name) from customers c where c.id < d.owner) where exists (select 1 from orders o where o.id = d.id)

insert into customers (id, name) values (3, 'three'), (4, 'four'), (900, 'new') on conflict (id) do update set country = (select max(d.serial) from devices d where d.owner >= excluded.id) returning id, country, (select count(*) from devices x where x.owner > customers.id)
