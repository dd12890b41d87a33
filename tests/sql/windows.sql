-- Window functions, partitioned by the key, by others, with frames, filters, named windows.

select id, row_number() over (order by id) from customers;

select id, rank() over (order by country), dense_rank() over (order by country nulls first) from customers;

select customer_id, id, row_number() over (partition by customer_id order by id) from orders;

select customer_id, id, sum(total) over (partition by customer_id order by id) from orders;

select status, id, sum(total) over (partition by status order by id) from orders;

select id, total, avg(total) over (order by id rows between 2 preceding and current row) from orders;

select id, total, sum(total) over (order by id rows between unbounded preceding and 1 preceding) from orders order by id;

select id, max(total) over (order by placed range between interval '1 day' preceding and interval '1 day' following) from orders;

select id, count(*) over (order by customer_id groups between 1 preceding and 1 following exclude ties) from orders;

select id, array_agg(id) over (order by id rows between 1 preceding and 1 following exclude current row) from customers where id < 10;

select id, lag(total) over (partition by customer_id order by id), lead(total, 2, 0.0) over (partition by customer_id order by id) from orders;

select id, first_value(status) over w, last_value(status) over w, nth_value(id, 2) over w from orders window w as (partition by customer_id order by id rows between unbounded preceding and unbounded following);

select id, ntile(4) over (order by id), percent_rank() over (order by id), cume_dist() over (order by id) from products;

select customer_id, ntile(2) over (partition by customer_id order by id) from orders where customer_id < 20;

select id, count(*) filter (where status = 'done') over (partition by customer_id) from orders;

select id, sum(total) over (partition by customer_id) / nullif(sum(total) over (), 0) from orders;

select country, count(*), sum(count(*)) over (order by country) from customers group by country;

select customer_id, sum(total), rank() over (order by sum(total) desc nulls last) from orders group by customer_id;

select customer_id, status, sum(total), sum(sum(total)) over (partition by customer_id) from orders group by 1, 2;

select * from (select id, customer_id, rank() over (partition by customer_id order by total desc nulls last, id) r from orders) x where r = 1;

select * from (select id, rank() over (order by total desc nulls last) r from orders) x where r < 6;

select id, total - avg(total) over (partition by status) from orders where customer_id = 8;

select c.country, o.id, row_number() over (partition by c.country order by o.id) from customers c join orders o on o.customer_id = c.id;

select p.category, l.order_id, l.line, sum(l.amount) over (partition by p.category order by l.order_id, l.line) from order_lines l join products p on p.id = l.product_id where l.order_id < 30;

select distinct first_value(id) over (partition by country order by id) from customers;

select distinct on (c) c, n from (select country c, count(*) over (partition by country) n from customers) x order by c;

select id, row_number() over () from customers where id = 5;

select id, sum(id) over (order by id desc) from orders order by id limit 5;

select id, lag(id, 1) over w + lead(id) over w from customers window w as (order by id) order by id limit 4;

select id, rank() over w1, sum(id) over w2 from orders window w1 as (partition by status order by id), w2 as (w1 rows 3 preceding) order by id;

select device, seq, value - lag(value) over (partition by device order by seq) from events;

select device, seq, at - lag(at) over (partition by device order by at) as gap from events order by gap desc nulls last, device, seq limit 10;

select kind, seq, ntile(3) over (partition by kind order by seq) from events;

select serial, model, rank() over (partition by model order by cost desc) from devices;

select sensor, at, v - lag(v) over (partition by sensor order by at) from readings;

select currency, day, rate / first_value(rate) over (partition by currency order by day) from rates;

select doc, no, sum(size) over (partition by doc order by no) from tenant_a.revisions;

select id, title, row_number() over (partition by owner % 3 order by id) from tenant_a.docs;

select id, min(credit) over (order by id rows between 3 preceding and 1 following exclude group) from customers order by id;

select id, string_agg(status, ',') over (partition by customer_id order by id) from orders where customer_id in (8, 15, 22);

select id, count(*) over (partition by customer_id, status), count(*) over (partition by status) from orders;

select id, count(*) over (partition by customer_id % 3 order by id) from orders;

select customer_id, max(sum(total)) over () from orders group by customer_id having sum(total) is not null;

select id from orders order by row_number() over (partition by status order by id), status limit 8;

select id, (select count(*) over () from payments p where p.customer_id = o.customer_id limit 1) from orders o where id < 10;

select sum(r) from (select row_number() over (partition by customer_id order by id) r from orders) x;

select c.id, x.r from customers c join (select customer_id, row_number() over (partition by customer_id order by id desc) r, id from orders) x on x.customer_id = c.id and x.r = 1;

select id, percentile from (select id, percent_rank() over (partition by status order by total nulls first, id) percentile from orders) x where percentile > 0.9;

select id, bool_or(total > 1000) over (partition by customer_id), every(total > 10) over (partition by status) from orders;

select id, json_agg(id) over (partition by customer_id order by id) from orders where customer_id < 9;

select a.id, a.total, rank() over (partition by a.customer_id order by b.amount nulls last, a.id, b.id) from orders a join payments b on b.customer_id = a.customer_id;

select seconds, avg(seconds) over (partition by customer_id order by at rows between 1 preceding and 1 following) from visits;

select id, rank() over (order by total), total from orders where total is null or total > 1400;

select id, nth_value(total, 3) over (partition by status order by id) from orders;

select status, id, first_value(id) over (partition by status order by total desc nulls last, id), count(*) over (partition by status) from orders order by status, id;

select lag(x) over (order by x) from (select distinct customer_id % 7 x from orders) y;

select id, sum(1) over (partition by tags order by id) from customers;

select id, rank() over (partition by home order by id), rank() over (partition by feeling order by id) from customers where id < 25;
