-- The tables of the corpus. Group one: customers, orders, order_lines, payments, visits by the customer.
-- Group two: devices, events by a text. readings: partitioned. Reference: products, countries, rates.
-- Local: notes, settings. One shard each: tenant_a.docs, tenant_b.docs with their tables.

create schema corpus;

create schema tenant_a;

create schema tenant_b;

create type corpus.mood as enum ('sad', 'ok', 'happy');

create domain corpus.positive as int check (value > 0);

create type corpus.address as (street text, zip int, city text);

--! herd: set citus.shard_count = 8;
create table customers (id int primary key, name text not null, country text, born date, credit numeric(10,2),
	feeling mood, home address, tags text[], extra jsonb, active bool default true);
--! herd: select create_distributed_table('customers', 'id');

create table orders (customer_id int not null, id bigint not null, placed timestamptz, status text default 'new',
	total numeric(12,2), note text, ship daterange, primary key (customer_id, id),
	foreign key (customer_id) references customers (id) on delete cascade);
--! herd: select create_distributed_table('orders', 'customer_id', colocate_with => 'customers');

create table products (id int primary key, name text not null unique, category text, price numeric(8,2),
	attrs jsonb default '{}', weight float8);
--! herd: select create_reference_table('products');

create table order_lines (customer_id int not null, order_id bigint not null, line int not null, product_id int references products,
	qty positive not null, price numeric(8,2) not null check (price >= 0), discount float8 default 0,
	amount numeric(12,2) generated always as (qty * price) stored,
	primary key (customer_id, order_id, line));
--! herd: select create_distributed_table('order_lines', 'customer_id', colocate_with => 'customers');

create table payments (id bigint not null, customer_id int not null, paid date, amount numeric(12,2), method text,
	unique (customer_id, id));
create index on payments (paid);
--! herd: select create_distributed_table('payments', 'customer_id', colocate_with => 'customers');

create table visits (customer_id int not null, at timestamptz not null, seconds int, path text[], span tstzrange,
	agent text collate "C");
--! herd: select create_distributed_table('visits', 'customer_id', colocate_with => 'customers');

--! herd: set citus.shard_count = 6;
create table devices (serial text primary key, model text, owner int, installed date, config jsonb, caps int[],
	words tsvector, cost money, mac macaddr, ip inet, bits bit(8), uid uuid);
--! herd: select create_distributed_table('devices', 'serial', colocate_with => 'none');

create table events (device text not null, seq int not null, at timestamp, kind text, level smallint, value float8, payload jsonb,
	raw bytea, took interval, primary key (device, seq));
--! herd: select create_distributed_table('events', 'device', colocate_with => 'devices');

create table readings (sensor int not null, at date not null, v numeric(8,3), flag "char", primary key (sensor, at))
	partition by range (at);
create table readings_2023 partition of readings for values from ('2023-01-01') to ('2024-01-01');
create table readings_2024 partition of readings for values from ('2024-01-01') to ('2025-01-01');
create table readings_rest partition of readings default;
--! herd: select create_distributed_table('readings', 'sensor', colocate_with => 'none');

create table countries (code text primary key, name text, region text, population bigint);
--! herd: select create_reference_table('countries');

create table rates (currency char(3) not null, day date not null, rate numeric(12,6), primary key (currency, day));
--! herd: select create_reference_table('rates');

create table notes (id int primary key, customer_id int, body text, at timestamptz);

create table settings (key text primary key, value text);

create table tenant_a.docs (id int primary key, title text, body text, owner int, parent int);
--! herd: select create_distributed_table('tenant_a.docs', null, colocate_with => 'none');

create table tenant_a.revisions (doc int, no int, at date, size int, primary key (doc, no));
--! herd: select create_distributed_table('tenant_a.revisions', null, colocate_with => 'tenant_a.docs');

create table tenant_b.docs (id int primary key, title text, body text, owner int, parent int);
--! herd: select create_distributed_table('tenant_b.docs', null, colocate_with => 'none');

insert into customers select i, 'customer ' || i, (array['DE','FR','IT','US','JP',null])[1 + i % 6], date '1950-01-01' + i * 397 % 20000,
	case when i % 7 = 0 then null else (i * 37 % 1000) * 1.25 end, (array['sad','ok','happy',null])[1 + i % 4]::mood,
	case when i % 5 = 0 then null else row('street ' || i % 9, 10000 + i, 'city ' || i % 4)::address end,
	case when i % 3 = 0 then null else array['t' || i % 4, 't' || i % 5] end,
	jsonb_build_object('n', i, 'vip', i % 10 = 0, 'langs', jsonb_build_array('l' || i % 3, 'l' || i % 2)), i % 8 <> 0
	from generate_series(1, 60) i;

insert into orders select 1 + i * 7 % 55, i, timestamptz '2024-01-01 00:00+00' + i * interval '13 hours',
	(array['new','paid','sent','done'])[1 + i % 4], case when i % 11 = 0 then null else i * 9.5 end,
	case when i % 3 = 0 then 'note ' || i % 5 end,
	case when i % 6 = 0 then null else daterange(date '2024-01-01' + i, date '2024-01-03' + i + i % 9) end
	from generate_series(1, 160) i;

insert into products select i, 'product ' || i, (array['food','toys','books',null])[1 + i % 4], i * 3.75,
	jsonb_build_object('color', (array['red','green','blue'])[1 + i % 3], 'sizes', jsonb_build_array(i, i + 1)), i * 0.5
	from generate_series(1, 20) i;

insert into order_lines (customer_id, order_id, line, product_id, qty, price, discount) select customer_id, id, l, case when (id + l) % 13 = 0
	then null else 1 + (id * 3 + l) % 20 end, 1 + (id + l) % 5, 2.5 * (1 + (id + l) % 8), (id % 4) * 0.05
	from orders, generate_series(1, 3) l where (id + l) % 4 <> 0;

insert into payments select i, 1 + i * 11 % 58, date '2024-01-05' + i % 90, case when i % 9 = 0 then null else i * 4.2 end,
	(array['card','cash','wire'])[1 + i % 3] from generate_series(1, 90) i;

insert into visits select 1 + i * 3 % 62, timestamptz '2024-02-01 00:00+00' + i * interval '37 minutes', nullif(i % 50, 13), array['/', '/p' || i % 6, '/q' || i % 4],
	tstzrange(timestamptz '2024-02-01 00:00+00' + i * interval '37 minutes', timestamptz '2024-02-01 00:30+00' + i * interval '40 minutes'),
	(array['Firefox','chrome','Safari','curl'])[1 + i % 4] from generate_series(1, 150) i;

insert into devices select 'dev-' || i, 'model ' || i % 5, nullif(1 + i * 2 % 70, 9), date '2023-03-01' + i * 11, jsonb_build_object('rate', i % 4, 'limits', jsonb_build_object('low', i, 'high', i * 2)),
	array[i % 3, i % 7, i], to_tsvector('simple', 'word' || i % 4 || ' term' || i % 6 || ' all'), (i * 1.5)::numeric::money,
	('08:00:2b:01:02:' || lpad(to_hex(i), 2, '0'))::macaddr, ('10.0.' || i % 3 || '.' || i)::inet, i::bit(8), ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid
	from generate_series(1, 40) i;

insert into events select 'dev-' || (1 + i % 44), i, timestamp '2024-03-01' + i * interval '11 minutes', (array['start','stop','alarm',null])[1 + i % 4], i % 6,
	case when i % 10 = 0 then null else sqrt(i) end, jsonb_build_object('i', i, 'k', jsonb_build_object('x', i % 3)), decode(lpad(to_hex(i), 4, '0'), 'hex'), i * interval '1 second'
	from generate_series(1, 180) i;

insert into readings select 1 + i % 12, date '2023-10-01' + (i / 12) * 30, i * 0.125, (array['a','b','c'])[1 + i % 3]::"char" from generate_series(0, 143) i;

insert into countries values ('DE', 'Germany', 'Europe', 84000000), ('FR', 'France', 'Europe', 68000000), ('IT', 'Italy', 'Europe', 59000000),
	('US', 'United States', 'America', 335000000), ('BR', 'Brazil', 'America', 203000000), ('JP', 'Japan', 'Asia', 124000000), ('XX', null, null, null);

insert into rates select c, date '2024-01-01' + d, 1 + d * 0.015625 + length(c) from unnest(array['EUR','USD','JPY']) c, generate_series(0, 9) d;

insert into notes select i, 1 + i * 5 % 60, 'about ' || i % 7, timestamptz '2024-01-01 12:00+00' + i * interval '1 day' from generate_series(1, 25) i;

insert into settings values ('limit', '10'), ('mode', 'fast'), ('empty', ''), ('none', null);

insert into tenant_a.docs select i, 'title ' || i, repeat('text ' || i || ' ', i % 4), i % 60, nullif(i / 3, 0) from generate_series(1, 30) i;

insert into tenant_a.revisions select i % 30 + 1, i, date '2024-01-01' + i, i * 100 from generate_series(1, 50) i;

insert into tenant_b.docs select i, 'titel ' || i, null, i % 20, nullif(i / 2, 0) from generate_series(1, 20) i;
