-- COPY in all formats, both ways.

copy customers to stdout;

copy customers (id, name, tags, home) to stdout csv header;

copy (select id, total from orders where customer_id = 8 order by id) to stdout csv;

copy (select status, count(*) from orders group by status order by status) to stdout with (format csv, header, delimiter ';', force_quote *);

copy (select c.name, o.id from customers c join orders o on o.customer_id = c.id order by 2 limit 5) to stdout (delimiter '|', null 'NIL');

copy orders to stdout (format text, encoding 'latin1');

copy products to stdout csv;

copy notes to stdout;

copy tenant_a.docs (id, title) to stdout;

copy (insert into payments (id, customer_id) values (7000, 3), (7001, 4) returning id, customer_id) to stdout;

copy (update payments set amount = 1 where id < 4 returning id) to stdout;

copy payments from stdin;
1001	3	2024-01-01	3.5	cash
1002	4	\N	\N	wire
1003	5	2024-01-02	4.25	tab\there\\
\.
select * from payments where id > 1000;

copy payments (customer_id, id, method) from stdin csv;
3,2001,"quoted, comma"
4,2002,
5,2003,""
6,2004,"two
lines"
\.
select * from payments where id > 2000;

copy payments (customer_id, id, method) from stdin (format csv, header true, null 'x', delimiter ';', quote '''');
customer_id;id;method
3;2101;'a;b'
4;2102;x
\.
select * from payments where id > 2000;

copy payments (customer_id, id, method) from stdin (format csv, header match);
customer_id,id,method
3,2101,a
\.

copy payments (customer_id, id, method) from stdin (format csv, header match);
customer_id,method,id
3,2101,a
\.

copy payments (id, customer_id, amount) from stdin (format csv) where id % 2 = 0;
3001,1,5
3002,2,6
3004,3,7
\.
select * from payments where id > 3000;

copy orders (customer_id, id) from stdin;
3	4000
4	4001
\.
select status, count(*) from orders where id >= 4000 group by 1;

copy order_lines (customer_id, order_id, line, qty, price) from stdin csv;
3,1,8,2,2.5
4,1,8,3,3.5
\.
select line, amount, discount from order_lines where line = 8;

copy order_lines (customer_id, order_id, line, qty, price) from stdin csv;
3,1,8,2,2.5
4,1,8,-3,3.5
\.

copy payments from stdin;
1	12	2024-01-01	3.5	cash
\.

copy payments from stdin;
4001	3	2024-01-01
\.

copy payments from stdin;
4001	3	2024-13-01	3.5	cash
\.

copy payments from stdin;
4001	\N	2024-01-01	3.5	cash
\.

copy payments from stdin;
4001	3	2024-01-01	3.5	cash	more
\.

copy customers from stdin csv;
700,Zoë,DE,2000-01-01,5,happy,"(street,1,town)","{a,b}","{""x"": 1}",t
701,,,,,,,,,
\.

copy customers from stdin csv;
700,Zoë,DE,2000-01-01,5,happy,"(street,1,town)","{a,b}","{""x"": 1}",t
\.
select * from customers where id = 700;

copy products (id, name) from stdin;
500	five hundred
501	five hundred one
\.
select * from products where id >= 500;

copy products (id, name) from stdin;
3	there already
\.

copy events (device, seq, raw, took, payload) from stdin;
dev-1	8000	\\x00ff	1 day 02:00:00	{"a": null}
dev-2	8001	\\xdead	\N	[]
\.
select * from events where seq >= 8000;

copy readings from stdin csv;
1,2022-01-01,1.5,a
1,2024-01-01,1.5,b
1,2026-01-01,,
\.
select * from readings where at in ('2022-01-01', '2024-01-01', '2026-01-01');

copy tenant_b.docs (id, title) from stdin;
100	a
101	b
\.
select count(*) from tenant_b.docs;

copy notes (id, body) from stdin;
900	x
\.
select * from notes where id = 900;

truncate payments;
copy payments from stdin (freeze);
5001	3	2024-01-01	3.5	cash
\.

copy orders (customer_id, id) from stdin;
999	4000
\.

copy visits (customer_id, at, path, span) from stdin;
3	2024-01-01 00:00+00	{/a,"b c"}	["2024-01-01 00:00+00","2024-01-02 00:00+00")
\.
select path, span from visits where at = '2024-01-01';

copy nothing from stdin;
1
\.

copy payments (nothing) from stdin;
1
\.

copy (select) to stdout;

copy (values (1, 'a'), (2, null)) to stdout csv;
