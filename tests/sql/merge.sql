-- MERGE.

merge into orders o using payments p on o.customer_id = p.customer_id and o.id = p.id when matched then update set total = p.amount when not matched then insert (customer_id, id, total) values (p.customer_id, p.id, p.amount);

merge into customers c using (select customer_id, sum(total) s from orders group by 1) o on c.id = o.customer_id when matched and o.s > 1500 then delete when matched then update set credit = o.s;

merge into customers c using (values (3, 'x'), (900, 'y')) v (id, n) on c.id = v.id when matched then update set name = v.n when not matched then insert (id, name) values (v.id, v.n);

merge into customers c using (values (3)) v (id) on c.id = v.id when matched then do nothing when not matched then do nothing;

merge into customers c using (select 8 as id) s on c.id = s.id and c.id = 8 when matched then update set name = 'eight';

merge into payments p using orders o on p.customer_id = o.customer_id and p.id = o.id when matched and o.status = 'done' then delete when matched then update set method = o.status when not matched and o.id > 150 then insert values (o.id, o.customer_id, null, o.total, 'merged');

merge into products p using (values (1, 'one'), (99, 'ninety nine')) v (id, n) on p.id = v.id when matched then update set name = v.n when not matched then insert (id, name) values (v.id, v.n);

merge into products p using (select product_id, sum(qty) q from order_lines group by 1) l on p.id = l.product_id when matched then update set weight = l.q when not matched then do nothing;

merge into devices d using customers c on c.id = d.owner when matched and c.active then update set model = c.name when matched then delete;

merge into events e using devices d on e.device = d.serial and e.seq = 10000 when not matched then insert (device, seq, kind) values (d.serial, 10000, 'merged');

merge into events e using (select 'dev-' || id as s, id from orders where id < 30) o on e.device = o.s and e.seq = o.id when matched then update set kind = 'm' when not matched then insert (device, seq) values (o.s, o.id);

merge into notes n using customers c on n.customer_id = c.id and n.id = c.id when matched then update set body = c.name;

merge into orders o using notes n on o.customer_id = n.customer_id and o.id = n.id when matched then update set note = n.body when not matched then insert (customer_id, id, note) values (n.customer_id, n.id + 9000, n.body);

merge into tenant_a.docs d using tenant_b.docs b on d.id = b.id when matched then update set title = b.title when not matched then insert (id, title) values (b.id, b.title);

merge into tenant_a.docs d using tenant_a.revisions r on d.id = r.doc and r.no = 3 when matched then delete;

merge into readings r using (values (1, date '2023-10-01', 5.5), (50, date '2024-10-01', 6.5)) v (s, d, v) on r.sensor = v.s and r.at = v.d when matched then update set v = v.v when not matched then insert values (v.s, v.d, v.v);

merge into orders o using payments p on o.id = p.id when matched then update set total = 0;

merge into customers c using (values (3, 'a'), (3, 'b')) v (id, n) on c.id = v.id when matched then update set name = v.n;

merge into customers c using (select 8 as id) s on c.id = s.id when matched then update set nothing = 1;

merge into devices d using customers c on d.owner = c.id when matched then update set model = c.name when not matched and c.id < 20 then insert (serial, owner) values ('new' || c.id, c.id)

merge into devices d using customers c on d.owner = c.id and exists (select 1 from orders o where o.id = d.owner) when matched then update set model = c.country

merge into visits v using payments p on v.customer_id = p.customer_id and v.seconds = p.id when matched then update set customer_id = v.customer_id + 1000 when not matched and p.id < 30 then insert (customer_id, at, seconds) values (p.id, '2024-05-05 00:00+00', -1)

merge into readings r using (select distinct seq from events) e on r.sensor = e.seq and r.at < '2023-06-01' when matched then update set sensor = r.sensor + 5000, v = 0 when not matched then insert (sensor, at, v) values (e.seq + 9000, '2024-02-02', 1)
