-- Types: json, arrays, ranges, text search, enums, domains, composites, dates, network, money, bits, bytea, xml.

select id, extra -> 'langs' -> 0, extra ->> 'n', extra #> '{langs,1}', extra #>> '{langs,0}' from customers where id < 6;

select id from customers where extra @> '{"vip": true}';

select id from customers where extra ? 'vip' and extra ?| array['n', 'x'] and not extra ?& array['a', 'n'];

select id from customers where extra @? '$.langs[*] ? (@ == "l2")' and id < 20;

select id, jsonb_path_query(extra, '$.langs[*]') from customers where id < 4;

select jsonb_path_query_array(extra, '$.n ? (@ > $x)', '{"x": 55}') from customers where id > 50;

select jsonb_pretty(extra) from customers where id = 10;

select key, count(*) from customers, jsonb_each(extra) group by key;

select x.n, x.vip from customers, jsonb_to_record(extra) as x (n int, vip bool) where id < 7;

select id, jsonb_array_elements_text(extra -> 'langs') from customers where id < 5;

select jsonb_set(extra, '{langs,0}', '"new"'), jsonb_insert(extra, '{langs,0}', '1'), extra - 'n', extra #- '{langs,0}', extra || '{"a": 1}' from customers where id = 3;

select jsonb_typeof(extra -> 'langs'), jsonb_array_length(extra -> 'langs'), jsonb_strip_nulls('{"a": null}') from customers where id = 9;

select to_jsonb(c) - 'extra' from customers c where id in (5, 6);

select row_to_json(o) from orders o where customer_id = 8;

select json_build_array(id, name, tags) from customers where id < 4;

select json_agg(payload order by seq) from events where device = 'dev-3';

select payload ->> 'i' i, sum(level) from events where (payload -> 'k' ->> 'x')::int = 2 group by 1 having sum(level) > 4;

select sum((value ->> 0)::int) from (select jsonb_build_array(payload -> 'i') as value from events) x;

select d.serial, c.name from devices d join customers c on (d.config ->> 'rate')::int = c.id;

select id, tags from customers where tags @> array['t1'];

select id from customers where tags && array['t0', 't4'] and cardinality(tags) = 2;

select id, tags[1], tags[1:1], array_length(tags, 1), array_to_string(tags, '-', 'none') from customers where id < 8;

select id, array_append(tags, 'x'), array_prepend('y', tags), tags || array['z'], array_remove(tags, 't1'), array_replace(tags, 't1', 'q') from customers where id in (1, 4, 6);

select array_position(tags, 't1'), array_positions(tags, 't2'), 't1' = any (tags), 't1' <> all (tags) from customers where id < 12;

select t, count(*) from customers, unnest(tags) t group by t;

select distinct unnest(caps) % 5 from devices;

select serial, caps[array_upper(caps, 1)], (select sum(x) from unnest(caps) x) from devices where serial < 'dev-2';

select array_agg(distinct c order by c) from (select unnest(caps) c from devices where owner < 20) x;

select serial from devices where caps = array[1, 1, 1] or caps > array[2, 6];

select array(select unnest(caps) order by 1 desc) from devices where serial = 'dev-7';

select id, lower(ship), upper(ship), lower_inc(ship), isempty(ship) from orders where id < 7;

select id from orders where ship @> date '2024-02-10';

select id from orders where ship && daterange('2024-02-01', '2024-02-05') and not ship <@ daterange('2024-02-01', '2024-02-20');

select id, ship + daterange(lower(ship), upper(ship) + 2), ship * daterange('2024-01-05', null), ship - daterange(lower(ship), lower(ship) + 1) from orders where id in (1, 2, 3);

select id from orders where ship -|- daterange('2024-02-10', '2024-02-12') or ship << daterange('2024-01-05', '2024-01-06');

select range_merge(a.ship, b.ship) from orders a join orders b on a.id = b.id + 1 where a.id < 9;

select customer_id, unnest(range_agg(ship)) from orders where customer_id = 8 group by customer_id;

select seconds, upper(span) - lower(span) from visits where lower(span) > '2024-02-03';

select serial from devices where words @@ to_tsquery('simple', 'word1 & term5');

select serial, ts_rank(words, q) from devices, to_tsquery('simple', 'word2 | term3') q where words @@ q order by 2 desc, 1 limit 6;

select count(*) from devices where words @@ 'all & !word0';

select model, ts_headline('simple', 'word1 and term2 here', to_tsquery('simple', 'term' || (length(model) - 5))) from devices where serial = 'dev-3';

select strip(words), length(words), setweight(words, 'A') from devices where serial = 'dev-9';

select id from customers where feeling > 'sad' order by feeling, id;

select feeling, count(*) from customers group by feeling order by feeling desc nulls first;

select enum_range(null::mood), enum_first(null::mood), max(feeling), min(feeling) from customers;

select id, feeling::text || '!', feeling = 'ok' from customers where id < 5;

select id, (home).street, (home).zip + 1 from customers where (home).city = 'city 3' and id < 30;

select home from customers where home = row ('street 1', 10001, 'city 1')::address;

select id, home is null, home is not null, (home).* from customers where id in (4, 5);

select c.home.zip, count(*) over (partition by (c.home).city) from (select id, home from customers where id < 9) c where (c.home).zip is not null;

select qty, qty::int / 2 from order_lines where qty = 5 and order_id < 20;

select 0::positive;

select sum(qty), max(qty), pg_typeof(max(qty)) from order_lines;

select born, born + 10, born - interval '1 year', age('2024-01-01', born), extract(dow from born), to_char(born, 'YYYY-Mon-DD Day') from customers where id < 4;

select date_trunc('month', placed), extract(epoch from placed), placed at time zone 'Asia/Tokyo', placed::time, date_part('isodow', placed) from orders where id < 4;

select id from orders where placed between '2024-02-01' and '2024-02-03' and placed::time > '12:00';

select placed - lag(placed) over (order by placed) from orders where customer_id in (8, 15) order by placed;

select make_date(2024, 1 + id % 12, 1), make_interval(days => id), justify_hours(make_interval(hours => id * 7)) from customers where id < 5;

select (placed, interval '5 days') overlaps ('2024-02-01'::timestamptz, '2024-02-02'::timestamptz), id from orders where id < 60;

select took, took * 2, extract(epoch from took), justify_interval(took * 10000) from events where seq < 4;

select serial, host(ip), masklen(ip), ip << '10.0.1.0/24', network(set_masklen(ip, 24)) from devices where owner < 15;

select trunc(mac), mac > '08:00:2b:01:02:20', count(*) from devices group by 1, 2;

select sum(cost), avg(cost::numeric), max(cost) - min(cost) from devices;

select bits, ~bits, bits & B'00001111', bits << 2, get_bit(bits, 7), bits::int from devices where serial in ('dev-5', 'dev-6');

select uid from devices where uid > '00000000-0000-0000-0000-000000000035' order by uid desc;

select encode(raw, 'hex'), length(raw), raw || '\x01', get_byte(raw, 1), md5(raw), substring(raw from 2) from events where seq < 4;

select raw from events where raw between '\x0010' and '\x0014';

select value, round(value::numeric, 3), trunc(value), ceil(value), value::int, value = 'NaN'::float8 from events where seq in (2, 4, 9, 10);

select 'Infinity'::float8 > max(value), sum(value) = 'NaN', max(value * 'NaN'::float8) from events;

select upper(name), initcap(name), reverse(name), lpad(name, 15, '*'), replace(name, 'customer', 'c'), split_part(name, ' ', 2), substring(name from '[0-9]+') from customers where id < 4;

select name from customers where name ~ '^customer [1-3]$' or name similar to '%(4|5)5' or name ilike 'CUSTOMER 6_';

select regexp_replace(name, '(\d)(\d)', '\2\1'), regexp_matches(name, '(\w)(\d)?$'), regexp_split_to_array(name, ' ') from customers where id in (12, 13);

select name collate "C", agent from visits v join customers c on c.id = v.customer_id where agent > 'a' and v.seconds = 5 order by name collate "C", v.at;

select distinct agent from visits order by agent;

select agent, count(*) from visits group by agent having min(agent) < 'S' order by lower(agent) collate "C";

select format('%s-%L-%I', id, name, country) from customers where id < 4;

select concat_ws(',', id, country, null, active), chr(64 + id), ascii(name), position('m' in name), overlay(name placing 'XX' from 2 for 3) from customers where id < 4;

select id::text::varchar(1), id::char(3), name::name, id::regclass is null from customers where id = 7;

select total::int, total::float4, total::text, to_char(total, '9G999D00'), round(total, -1), mod(total, 7), sign(total - 100), power(total, 2) from orders where id < 5;

select numeric '1e-10' * total, total / 3, div(total, 3), width_bucket(total, 0, 1500, 10), scale(total) from orders where id in (1, 2);

select greatest(id, 5, null), least(name, 'b'), nullif(country, 'DE'), coalesce(credit, -1), num_nulls(country, credit, tags) from customers where id < 8;

select id between symmetric 10 and 5, id in (5, null), not (id = 5) is distinct from true from customers where id < 8;

select xmlelement(name c, xmlattributes(id as n), name)::text, xmlforest(id, country)::text from customers where id < 3;

select xpath('/c/@n', xmlelement(name c, xmlattributes(id as n)))::text from customers where id = 4;

select point(id, id + 1), box(point(0, 0), point(id, id)) @> point(1, 1), circle(point(id, 0), 2) from customers where id < 3;

select id, count(*) over w, sum(credit) over w from customers window w as (partition by feeling order by id rows 1 preceding) order by id limit 6;

select sensor, flag, count(*) from readings group by sensor, flag having sensor < 3;

select currency || '|', length(currency), currency = 'EUR' from rates where day = '2024-01-01';

select pg_typeof(id), pg_typeof(extra), pg_typeof(home), pg_typeof(feeling), pg_typeof(tags), pg_column_size(id) from customers where id = 3;

select o.customer_id::bigint + c.id::smallint, 5::numeric + o.id from orders o join customers c on c.id = o.customer_id::bigint where o.id < 4;

select (c).name from (select c from customers c where id < 4) x;

select (x.o).id, (x.o).total from (select o from orders o where customer_id = 8) x;

select array_agg(c.feeling order by id), array_agg(c.home order by id) from customers c where id < 5;

select to_json(array_agg(o.ship order by id)) from orders o where id < 4;

select row (1, id, name) = row (1, 3, 'customer 3'), row (id, country) < row (4, 'X') from customers where id < 6;

select string_to_table('a,b,' || id, ','), generate_subscripts(array[1, 2], 1) from customers where id = 3;
