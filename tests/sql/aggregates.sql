-- Aggregates of all kinds, grouped by the key, by others, by expressions; DISTINCT, ORDER BY, FILTER, HAVING.

select count(*), count(credit), sum(credit), avg(credit), min(credit), max(credit) from customers;

select count(*), sum(id) from customers where false;

select sum(total), avg(total), stddev(total), variance(total), stddev_pop(total), var_pop(total), stddev_samp(total), var_samp(total) from orders;

select sum(value), avg(value), stddev(value), variance(value), stddev_pop(value) from events;

select corr(value, level), covar_pop(value, level), covar_samp(value, level), regr_slope(value, level), regr_intercept(value, level), regr_count(value, level), regr_r2(value, level), regr_avgx(value, level), regr_avgy(value, level), regr_sxx(value, level), regr_syy(value, level), regr_sxy(value, level) from events;

select bool_and(active), bool_or(active), every(active) from customers;

select bit_and(id), bit_or(id), bit_xor(id) from customers;

select bit_and(bits), bit_or(bits), bit_xor(bits) from devices;

select min(name), max(name), min(born), max(born), min(feeling), max(feeling) from customers;

select min(ip), max(ip), min(cost), sum(cost), max(took), sum(took), avg(took) from devices d join events e on e.device = d.serial;

select min(tags), max(tags) from customers;

select country, count(*), avg(credit) from customers group by country;

select country, feeling, count(*) from customers group by 1, 2 having count(*) > 1 order by 3 desc, 1, 2;

select customer_id, count(*), sum(total), min(placed), max(placed) from orders group by customer_id;

select customer_id, status, count(*) from orders group by customer_id, status having sum(total) > 500;

select count(distinct customer_id) from orders;

select count(distinct status) from orders;

select count(distinct status), count(distinct customer_id), sum(distinct total), avg(distinct id % 7) from orders;

select status, count(distinct customer_id), count(distinct note), count(*) from orders group by status;

select customer_id % 5, count(distinct status), sum(distinct id % 10) from orders group by 1;

select count(distinct (customer_id, status)) from orders;

select count(distinct o.status), count(distinct p.category) from orders o join order_lines l on l.customer_id = o.customer_id and l.order_id = o.id join products p on p.id = l.product_id;

select array_agg(id order by id) from customers where country = 'DE';

select status, array_agg(id order by id desc) from orders group by status;

select status, array_agg(distinct customer_id % 4 order by customer_id % 4) from orders group by status;

select string_agg(name, ', ' order by id) from products;

select country, string_agg(name, '|' order by name) from customers group by country;

select string_agg(distinct status, '+' order by status) from orders;

select string_agg(raw, '\x00' order by seq) from events where level = 2 and kind = 'stop';

select json_agg(id order by id), jsonb_agg(name order by id) from customers where id < 5;

select jsonb_object_agg(key, value) from settings;

select jsonb_object_agg(id, name) from customers where id < 9;

select country, jsonb_object_agg(id, credit) from customers group by country;

select json_object_agg(id, status order by id) from orders where customer_id = 12;

select array_agg(tags order by id) from customers where tags is not null and id < 10 and array_length(tags, 1) = 2;

select range_agg(ship order by id) from orders where id < 12;

select range_intersect_agg(ship) from orders where id < 5;

select status, range_agg(ship) from orders group by status;

select xmlagg(xmlelement(name n, id) order by id)::text from customers where id < 4;

select percentile_cont(0.5) within group (order by total), percentile_disc(0.25) within group (order by total), mode() within group (order by status) from orders;

select customer_id, percentile_cont(0.5) within group (order by total) from orders group by 1;

select country, percentile_disc(array[0.25, 0.5, 0.75]) within group (order by credit) from customers group by country;

select rank(500) within group (order by total), dense_rank(500) within group (order by total), percent_rank(500) within group (order by total), cume_dist(500) within group (order by total) from orders;

select status, mode() within group (order by customer_id % 3) from orders group by status;

select count(*) filter (where active), sum(credit) filter (where country = 'DE'), count(distinct country) filter (where id > 20) from customers;

select country, count(*) filter (where feeling = 'sad') sad, count(*) filter (where feeling = 'ok') ok from customers group by country;

select array_agg(id order by id) filter (where total > 1000) from orders;

select customer_id, string_agg(status, ',' order by id) filter (where total is not null) from orders group by customer_id having count(*) > 2;

select extract(month from placed), sum(total) from orders group by 1 order by 1;

select date_trunc('week', placed), count(*), sum(total) from orders group by 1 order by 1;

select case when total > 500 then 'big' when total is null then 'none' else 'small' end size, count(*) from orders group by size;

select (extra ->> 'vip')::bool vip, count(*), sum((extra ->> 'n')::int) from customers group by vip;

select (home).city, count(*) from customers group by 1;

select home, count(*) from customers where id < 20 group by home;

select tags, count(*) from customers group by tags;

select tags[1], count(*), max(tags[2]) from customers group by tags[1];

select ship, count(*) from orders where id < 30 group by ship;

select length(name), count(*) from customers group by length(name) having count(*) > 5;

select id % 4 as a, id % 3 as b, count(*) from customers group by a, b order by a desc, b;

select distinct status from orders;

select distinct customer_id, status from orders;

select distinct country, feeling, active from customers order by 1, 2, 3;

select distinct on (country) country, id, credit from customers order by country, credit desc nulls last, id;

select distinct on (customer_id) customer_id, id from orders order by customer_id, placed desc;

select distinct count(*) from orders group by customer_id order by 1;

select distinct max(total) from orders group by status;

select count(*) from (select 1 from orders group by customer_id having count(*) > 2) x;

select max(n), min(n), avg(n)::numeric(8,3) from (select count(*) n from orders group by customer_id) x;

select sum(qty * price * (1 - discount)) from order_lines;

select product_id, sum(qty), sum(amount), avg(discount) from order_lines group by product_id order by 2 desc, 1 limit 5;

select p.category, sum(l.qty), count(distinct l.customer_id) from order_lines l left join products p on p.id = l.product_id group by 1;

select p.category, sum(l.amount) s from order_lines l join products p on p.id = l.product_id group by p.category having sum(l.amount) > (select avg(amount) from order_lines) order by s;

select customer_id, max(id) - min(id) as spread, count(*) * 2 + 1 from orders group by customer_id order by spread desc, 1 limit 10;

select sum(total) / count(*), sum(total) / nullif(count(total), 0), round(avg(total), 2) from orders;

select max(total) filter (where status = 'none'), sum(id) filter (where false), count(*) filter (where false) from orders;

select count(*), sum(id) from orders having count(*) > 1000;

select count(*) from orders having count(*) > 100;

select 1 from orders having true;

select max(id) from orders where customer_id = 8;

select status, max(id) from orders where customer_id = 8 group by status;

select count(*), max(id) from orders where customer_id in (8, 15);

select count(*), string_agg(serial, ',' order by serial) from devices where serial in ('dev-1', 'dev-2', 'dev-77');

select model, max(installed), min(installed), count(*) from devices group by model order by model;

select kind, level, count(*), avg(value)::numeric(10,4) from events group by kind, level having count(*) > 5;

select kind, sum(took), min(took), max(at) from events group by kind;

select payload -> 'k' ->> 'x' x, count(*), sum((payload ->> 'i')::int) from events group by x;

select device, count(*), max(value) from events group by device order by 2 desc, 1 limit 6;

select region, sum(population), count(*) from countries group by region;

select currency, avg(rate), max(rate) from rates group by currency;

select key, count(value) from settings group by key;

select sensor, avg(v), count(*), min(at) from readings group by sensor;

select date_trunc('quarter', at), sum(v) from readings group by 1;

select owner % 3, count(*), sum(length(body)) from tenant_a.docs group by 1;

select co.region, c.feeling, count(*), avg(c.credit) from customers c join countries co on co.code = c.country group by 1, 2;

select c.id, c.name, sum(o.total) from customers c join orders o on o.customer_id = c.id group by c.id having sum(o.total) > 2000;

select o.status, count(distinct c.country) from orders o join customers c on c.id = o.customer_id group by o.status;

select (count(*) > 10)::text, bool_or(total > 1500) from orders group by status;

select sum(id) over (), count(*) from orders group by id having id < 5;

select count(*), count(all status), sum(all id) from orders;

select greatest(max(total), 2000), least(min(total), 5), coalesce(sum(total) filter (where false), -1) from orders;

select avg(id), sum(id::numeric), sum(id::float8), sum(id::smallint), avg(id::bigint) from customers;

select max(placed) - min(placed), sum(age(placed, '2024-01-01')) from orders;

select any_value from (select max(id) any_value from orders) x;

select count(o.*), count(o) from orders o;

select id, count(*) from (select customer_id id from orders) x group by x.id order by count(*), id;

select status, count(*) from orders group by status order by max(total) desc nulls last;

select status from orders group by status order by count(*), status;

select grouped, count(*) from (select customer_id / 10 grouped from orders) x group by grouped order by grouped;

select md5(string_agg(name || coalesce(country, '-'), ',' order by id)) from customers;

select array_agg(row (id, status) order by id)::text from orders where customer_id = 8;

select json_agg(o order by o.id) from orders o where customer_id = 8;

select json_agg(json_build_object('id', c.id, 'orders', (select json_agg(o.id order by o.id) from orders o where o.customer_id = c.id)) order by c.id) from customers c where id in (7, 8);

select jsonb_agg(distinct status order by status) from orders;

select sum(x.n * x.m) from (select customer_id, count(*) n, max(id) m from orders group by 1) x;

select count(*) from orders group by ();

select min(id), max(id) from orders where total is null group by note is null;
