"""Functions that are STABLE do not see what the statement that calls them has changed so far."""
import pytest

import rules_herd

TABLES = """
--herd set citus.shard_count = 8;
create table t (k int primary key, v int, s text);
create table far (id int primary key, v int);
--herd select create_distributed_table('t', 'k');
--herd select create_distributed_table('far', 'id', colocate_with => 'none', shard_count => 5);
insert into t select i, i, 's' || i from generate_series(1, 24) i;
insert into far select i, i from generate_series(1, 9) i;
create function total(a int) returns bigint language sql stable as $$select sum(v) from SCHEMA.t where k > a$$;
create function farther(a int) returns bigint language plpgsql stable as $$begin
	return (select sum(v) from SCHEMA.far where id <> a); end$$;
create function partner(a int) returns int language plpgsql stable as $$begin
	return (select max(v) from SCHEMA.t where k = 25 - a); end$$;
create function seen(a int) returns bigint language plpgsql volatile as $$begin
	return (select count(*) from SCHEMA.t where v < 0); end$$;
"""
ALL = "select * from t order by 1;\nselect * from far order by 1;\n"
SCRIPTS = {
    "values": """
update t set v = total(2);
""" + ALL + """
update t set v = total(k), s = s || 'x' where k % 2 = 0 returning *;
update far set v = farther(id);
update far set v = farther(id) where v > 250 returning *;
update t set v = null, s = total(k)::text where k > 7;
update t set (v, s) = (select total(t.k), 'q' || f.id from far f where f.id = t.k) where k < 12;
""" + ALL,
    "conditions": """
update t set v = v + 1 where total(0) = 300;
update t set v = v - 1 where total(0) = 324 and k > 3 returning k, v;
update far set v = 0 where farther(0) = 45;
delete from far where farther(id) = 0 and id > 2 returning id;
delete from t where total(20) > 20;
""" + ALL,
    "rows of shards of one node": """
update t set v = partner(k);
""" + ALL + """
update t set v = partner(k) where k in (1, 24, 5, 20, 9, 16) returning *;
update t set v = partner(k) * 2 from far where far.id = t.k returning t.k, t.v;
delete from t where partner(k) is not null;
""" + ALL,
    "values of rows that are not changed": """
update t set v = 100 / (total(k) - total(k)) where total(k) < 0;
update t set v = 100 / (total(k) - total(k)) where total(k) > 0;
update t set v = total(k), k = k + 30 where total(k) > 100 returning k, v;
""" + ALL,
    "returning": """
update t set v = v + 1 returning k, total(0);
update t set v = v + 1 where k < 9 returning total(k), farther(0), partner(k), (select sum(v) from far);
insert into t select k + 50, 1, 'n' from t where k < 5 returning k, total(0), partner(k);
insert into far values (77, 7) returning farther(0), total(0);
delete from t where k > 20 returning k, total(0), farther(k);
delete from far where id = 3 returning farther(0), v;
begin;
update t set v = v + 1 where k = 1 returning total(0);
update t set v = v + 1 where k = 2 returning total(0);
update t set v = v + 1 where k < 4 returning total(0);
rollback;
do $$declare n bigint; begin update t set v = 0 where k = 2 returning total(0) into n;
	update t set s = n::text where k = 2; end$$;
""" + ALL,
    "beside writes in WITH": """
with w as (update t set v = v * 2 returning k, total(0) as s) select count(*), min(s), max(s), total(0) from w;
with w as (delete from far where id < 5 returning id) select count(*), farther(0), total(0) from w;
with w as (insert into far values (50, 50) returning id, farther(0) as f), u as (update t set v = 1 where k = 3
	returning total(0)) select * from w, u where farther(1) > 0;
select total(0), farther(0);
""" + ALL,
    "volatile ones do": """
update t set v = -1 where k in (3, 4, 5) and seen(k) < 2;
select count(*) from t where v = -1;
""",
    "with BEFORE triggers": """
create function counted() returns trigger language plpgsql as $$begin
	new.s := (select sum(v) from SCHEMA.far); update SCHEMA.far set v = v + 1 where id = 1; return new; end$$;
create trigger b before update on t for each row execute function counted();
update t set v = farther(0) where farther(0) = 45 and k < 9;
select v, count(*), count(distinct s) from t group by 1 order by 1;
select * from far order by 1;
""",
}

herd, compared = rules_herd.fixtures(TABLES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_stable(same, name):
    same(SCRIPTS[name])
