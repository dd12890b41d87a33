-- Views: plain, updatable, with check option, over views, joins, security barriers, materialised; rules on views.

--! here
create view v as select id, name, credit from customers where country = 'DE';
select * from v;
select v.name, count(o.id) from v left join orders o on o.customer_id = v.id group by v.name;
update v set credit = 1 where id < 20 returning *;
insert into v values (900, 'through a view', 5) returning *;
delete from v where credit > 500 returning id;

--! here
create view v as select * from customers where active with cascaded check option;
insert into v (id, name, active) values (901, 'ok', true);
select count(*) from v;
insert into v (id, name, active) values (902, 'bad', false);

--! here
create view v as select * from customers with cascaded check option;
insert into v (id, name) values (3, 'foo') on conflict (id) do update set name = excluded.name returning id, name;
insert into v (id, name) values (903, 'foo') on conflict (id) do nothing;
select name from customers where id in (3, 903);

--! here
create view v as select id, credit from customers where credit > 100;
create view w as select id, credit from v where credit < 500 with local check option;
update w set credit = credit + 1 where id < 30 returning *;
update w set credit = 50 where id = 20;
update w set credit = 700;

--! here
create view v as select o.id, c.name, o.total from orders o join customers c on c.id = o.customer_id;
select * from v where total > 1200 order by id;
select name, sum(total) from v group by name having count(*) > 3;
select a.id, b.id from v a join v b on a.name = b.name and a.id < b.id where a.total > 700;

--! here
create view v as select customer_id, count(*) n, sum(total) s from orders group by customer_id;
select * from v where customer_id = 8;
select c.id, v.n from customers c left join v on v.customer_id = c.id where v.s is null or v.s > 2000;
update v set n = 5;

--! here
create view v with (security_barrier) as select id, name from customers where country = 'IT';
select * from v where name like '%1%';
select count(*) from v join orders o on o.customer_id = v.id;

--! here
create view v as select id, name from customers union all select id, name from products;
select count(*), sum(id) from v;
select * from v where id = 8 order by name;

--! here
create view v as select status, rank() over (partition by customer_id order by id) r, id from orders;
select * from v where r = 3;

--! here
create view v as select * from orders where id < 50;
create rule v_ins as on insert to v do instead insert into orders (customer_id, id, note) values (new.customer_id, new.id + 1000, 'by rule');
create rule v_del as on delete to v do instead update orders set status = 'gone' where customer_id = old.customer_id and id = old.id;
insert into v (customer_id, id) values (3, 7);
delete from v where id = 8;
select id, note, status from orders where id in (1007, 8);

--! here
create materialized view m as select country, count(*) n from customers group by country;
select * from m;
insert into customers (id, name, country) values (904, 'x', 'DE');
refresh materialized view m;
select * from m where country = 'DE';
drop materialized view m;

--! here
create view v as select p.id, p.name, (select sum(qty) from order_lines l where l.product_id = p.id) sold from products p;
select * from v where sold > 60;
create or replace view v as select p.id, p.name, (select count(*) from order_lines l where l.product_id = p.id) sold from products p;

--! here
create view v as with a as (select * from orders where total > 500) select customer_id, max(id) m from a group by 1;
select * from v where customer_id between 5 and 15;
create view w as select * from v where m > 100;
select count(*) from w;
drop view v;

--! here
create recursive view r (n) as values (1) union all select n + 1 from r where n < 8;
select r.n, c.name from r join customers c on c.id = r.n;

--! here
create temp view tv as select id, status from orders where customer_id = 8;
select * from tv;
update tv set status = 'tmp';
select * from tv;

--! here
create view v as select id, tags, (home).city as city, extra ->> 'n' as n from customers;
select * from v where city = 'city 2' and tags is not null;
select city, count(*), max(n::int) from v group by city;

--! here
create view v as select id, name, credit from customers;
alter view v rename column credit to money;
alter view v alter column name set default 'nobody';
insert into v (id) values (905) returning *;
alter view v rename to vv;
select money from vv where id = 4;

--! here
create table vt (id int primary key, a int, b text);
--! herd: select create_distributed_table('vt', 'id');
create view v as select id, a from vt;
create function vf() returns trigger language plpgsql as $$ begin insert into vt values (new.id, new.a * 10, 'trigger'); return new; end $$;
create trigger t instead of insert on v for each row execute function vf();
insert into v values (1, 5), (2, 6) returning *;
select * from vt;


--! here
create table vr (id int primary key, a int, b int);
--! herd: select create_distributed_table('vr', 'id');
insert into vr select i, i, i from generate_series(1, 9) i;
create view v as select id, a, b from vr;
create rule u as on update to v do instead update vr set a = new.a, b = new.b where id = old.id;
update v set b = 42 where a = 2;
update v set b = b + 1 where id > 5;
select * from vr order by id;
create rule i as on insert to v do instead insert into vr values (new.id, new.a, new.b) on conflict (id) do update set a = excluded.a + vr.b where vr.* <> excluded.* returning *;
insert into v values (1, 7, 7), (20, 20, 20) returning *;
insert into v values (20, 20, 20) returning *;
select * from vr order by id;
