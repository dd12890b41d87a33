-- GROUPING SETS, ROLLUP, CUBE.

select country, feeling, count(*) from customers group by rollup (country, feeling);

select country, feeling, count(*), sum(credit) from customers group by cube (country, feeling);

select country, feeling, count(*), grouping(country, feeling) from customers group by grouping sets ((country), (feeling), ());

select customer_id, status, count(*) from orders group by rollup (customer_id, status);

select customer_id, count(*), sum(total) from orders group by rollup (customer_id) having count(*) > 3;

select status, sum(total), grouping(status) from orders group by rollup (status) order by grouping(status), status;

select coalesce(status, 'all'), avg(total), count(distinct customer_id) from orders group by rollup (status);

select status, extract(month from placed) m, count(*) from orders group by cube (status, m) order by 1, 2;

select status, count(*) from orders group by grouping sets ((status), (status), ());

select status, note, count(*) from orders group by status, rollup (note);

select status, note, customer_id % 2, count(*) from orders group by rollup (status, (note, customer_id % 2));

select p.category, c.country, sum(l.amount) from order_lines l join products p on p.id = l.product_id join customers c on c.id = l.customer_id group by cube (1, 2);

select p.category, l.qty, count(*) from order_lines l left join products p on p.id = l.product_id group by grouping sets (p.category, l.qty);

select kind, level, array_agg(distinct seq % 4 order by seq % 4) from events group by rollup (kind, level);

select model, string_agg(serial, ',' order by serial) from devices group by rollup (model);

select device, count(*) from events where device in ('dev-3', 'dev-4') group by rollup (device);

select customer_id, status, sum(total) from orders where customer_id = 8 group by cube (customer_id, status);

select region, code, sum(population) from countries group by rollup (region, code);

select sensor, date_trunc('year', at) y, sum(v) from readings group by rollup (sensor, y);

select grouping(status), grouping(note), count(*) from orders group by cube (status, note) having grouping(status) = 1;

select status, count(*), rank() over (order by count(*) desc) from orders group by rollup (status);

select * from (select country, count(*) n from customers group by rollup (country)) x where n > 9;

select country, max(n) from (select country, id % 3, count(*) n from customers group by grouping sets ((country, 2), (country))) x group by country;

select count(*) from orders group by grouping sets ((), ());

select sum(total) from orders where false group by grouping sets ((), (status));

select distinct grouping(status), count(*) > 30 from orders group by rollup (status);

select status, percentile_disc(0.5) within group (order by id) from orders group by rollup (status);

select status, count(*) filter (where total > 500) from orders group by rollup (status);

select (home).city, country, count(*) from customers group by cube ((home).city, country);

select case grouping(country) when 1 then 'total' else coalesce(country, 'none') end, count(*) from customers group by rollup (country);

select country, feeling, active, count(*) from customers group by rollup (country), cube (feeling, active);

select c.country, count(o.id), sum(o.total) from customers c left join orders o on o.customer_id = c.id group by grouping sets ((c.country), ());

select status from orders group by grouping sets (status, ()) order by status nulls first;

select status, count(*) from orders group by distinct rollup (status, note), rollup (status);
