-- The partition whose shard this relation of this node is.
CREATE FUNCTION citus_internal.table_of_shard(oid) RETURNS regclass
	LANGUAGE sql STRICT STABLE SET search_path = pg_catalog AS $$
	SELECT s.logicalrelid FROM pg_class c
	JOIN pg_dist_shard s ON s.shardid = substring(c.relname FROM '_([0-9]+)$')::bigint
	JOIN pg_class t ON t.oid = s.logicalrelid AND t.relnamespace = c.relnamespace
	WHERE c.oid = $1
$$;

-- Tables partitioned by ranges of time.
CREATE FUNCTION pg_catalog.time_partition_range(table_name regclass, OUT lower_bound text,
	OUT upper_bound text) RETURNS record
	LANGUAGE plpgsql STRICT STABLE SET search_path = pg_catalog AS $$
DECLARE
	bound text;
	strategy "char";
	m text[];
BEGIN
	SELECT pg_get_expr(c.relpartbound, c.oid), p.partstrat INTO bound, strategy
	FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
	JOIN pg_partitioned_table p ON p.partrelid = i.inhparent
	WHERE c.oid = table_name AND c.relispartition;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'relation "%" is not a partition', table_name
			USING ERRCODE = 'wrong_object_type';
	END IF;
	IF strategy <> 'r' THEN
		RAISE EXCEPTION 'relation "%" is not a range partition', table_name
			USING ERRCODE = 'wrong_object_type';
	END IF;
	m := regexp_match(bound, '^FOR VALUES FROM \((?:''(.*)''|MINVALUE)\) TO \((?:''(.*)''|MAXVALUE)\)$');
	lower_bound := m[1];
	upper_bound := m[2];
END $$;

CREATE VIEW citus.time_partitions AS
SELECT p.partrelid::regclass AS parent_table, a.attname AS partition_column,
	c.oid::regclass AS partition, r.lower_bound AS from_value, r.upper_bound AS to_value,
	coalesce(am.amname, 'heap') AS access_method
FROM pg_catalog.pg_partitioned_table p
JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
JOIN pg_catalog.pg_inherits i ON i.inhparent = p.partrelid
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
CROSS JOIN LATERAL pg_catalog.time_partition_range(c.oid) r
WHERE p.partstrat = 'r' AND p.partnatts = 1 AND c.relispartition
	AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
	AND pg_catalog.pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
ORDER BY p.partrelid::regclass::text, r.lower_bound;
ALTER VIEW citus.time_partitions SET SCHEMA pg_catalog;
GRANT SELECT ON pg_catalog.time_partitions TO public;

-- The type of the one column by whose ranges the table is partitioned.
CREATE FUNCTION citus_internal.time_partition_type(table_name regclass) RETURNS regtype
	LANGUAGE plpgsql STRICT STABLE SET search_path = pg_catalog AS $$
DECLARE
	p record;
BEGIN
	SELECT partstrat, partnatts, partattrs[0] AS attnum INTO p
	FROM pg_partitioned_table WHERE partrelid = table_name;
	IF NOT FOUND THEN
		RAISE EXCEPTION '% is not partitioned', table_name USING ERRCODE = 'wrong_object_type';
	ELSIF p.partstrat <> 'r' OR p.partnatts <> 1 OR p.attnum = 0 THEN
		RAISE EXCEPTION '% is not partitioned by the range of one column', table_name
			USING ERRCODE = 'wrong_object_type';
	END IF;
	RETURN (SELECT atttypid FROM pg_attribute WHERE attrelid = table_name AND attnum = p.attnum);
END $$;

-- The last boundary of ranges of that length that is not after the time; with_zone: days and
-- months are those of the session's time zone, else the time is meant as it is written in UTC.
CREATE FUNCTION citus_internal.time_partition_start(at timestamptz, width interval,
	with_zone bool) RETURNS timestamptz
	LANGUAGE sql STRICT STABLE SET search_path = pg_catalog AS $$
	SELECT CASE WHEN with_zone THEN date_trunc(u, at)
		ELSE date_trunc(u, at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' END
	FROM (SELECT CASE WHEN width < interval '1 hour' THEN 'hour'
		WHEN width < interval '1 week' THEN 'day'
		WHEN width < interval '1 month' THEN 'week'
		WHEN width = interval '3 months' THEN 'quarter'
		WHEN width < interval '1 year' THEN 'month' ELSE 'year' END) s(u)
$$;

-- The n-th boundary after base, and what it is called as a value of the column.
CREATE FUNCTION citus_internal.time_partition_bound(base timestamptz, width interval, n int,
	with_zone bool) RETURNS timestamptz
	LANGUAGE sql STRICT STABLE SET search_path = pg_catalog AS $$
	SELECT CASE WHEN with_zone THEN base + n * width
		ELSE ((base AT TIME ZONE 'UTC') + n * width) AT TIME ZONE 'UTC' END
$$;
CREATE FUNCTION citus_internal.time_partition_text(at timestamptz, kind regtype) RETURNS text
	LANGUAGE sql STRICT STABLE SET search_path = pg_catalog AS $$
	SELECT CASE kind WHEN 'timestamptz'::regtype THEN at::text
		WHEN 'date'::regtype THEN (at AT TIME ZONE 'UTC')::date::text
		ELSE (at AT TIME ZONE 'UTC')::text END
$$;
CREATE FUNCTION citus_internal.time_partition_value(value text, kind regtype) RETURNS timestamptz
	LANGUAGE sql STRICT STABLE SET search_path = pg_catalog AS $$
	SELECT CASE kind WHEN 'timestamptz'::regtype THEN value::timestamptz
		ELSE value::timestamp AT TIME ZONE 'UTC' END
$$;
CREATE FUNCTION citus_internal.time_partition_name(parent regclass, at timestamptz,
	width interval, kind regtype) RETURNS text
	LANGUAGE sql STRICT STABLE SET search_path = pg_catalog AS $$
	SELECT c.relname || '_p' || to_char(
		CASE kind WHEN 'timestamptz'::regtype THEN at::timestamp ELSE at AT TIME ZONE 'UTC' END,
		CASE WHEN width = interval '3 months' THEN 'YYYY"q"Q'
			WHEN width = interval '1 month' THEN 'YYYY_MM'
			WHEN width = interval '1 week' THEN 'IYYY"w"IW'
			WHEN width = interval '1 year' THEN 'YYYY'
			WHEN width >= interval '1 day' THEN 'YYYY_MM_DD'
			ELSE 'YYYY_MM_DD_HH24MI' END)
	FROM pg_class c WHERE c.oid = parent
$$;
CREATE FUNCTION citus_internal.time_partition_check(table_name regclass, width interval)
	RETURNS regtype LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
	kind regtype := citus_internal.time_partition_type(table_name);
BEGIN
	IF kind NOT IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN
		RAISE EXCEPTION 'type of the partition column of the table % must be date, timestamp or timestamptz',
			table_name USING ERRCODE = 'wrong_object_type';
	ELSIF width <= interval '0' THEN
		RAISE EXCEPTION 'partition interval must be a positive value'
			USING ERRCODE = 'invalid_parameter_value';
	ELSIF kind = 'date'::regtype AND justify_interval(width) <> date_trunc('day', width) THEN
		RAISE EXCEPTION 'partition interval of date partitioned table must be day or multiple days'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN kind;
END $$;

CREATE FUNCTION pg_catalog.get_missing_time_partition_ranges(table_name regclass,
	partition_interval interval, to_value timestamptz, from_value timestamptz DEFAULT now())
	RETURNS TABLE (partition_name text, range_from_value text, range_to_value text)
	LANGUAGE plpgsql STRICT STABLE SET search_path = pg_catalog AS $$
DECLARE
	kind regtype := citus_internal.time_partition_check(table_name, partition_interval);
	zoned bool := kind = 'timestamptz'::regtype;
	-- partitions there are, as points in time
	froms timestamptz[];
	tos timestamptz[];
	base timestamptz;
	low timestamptz;
	high timestamptz;
	n int := 0;
	clash int;
BEGIN
	IF NOT zoned THEN
		from_value := from_value::timestamp AT TIME ZONE 'UTC';
		to_value := to_value::timestamp AT TIME ZONE 'UTC';
	END IF;
	SELECT array_agg(coalesce(citus_internal.time_partition_value(p.from_value, kind), '-infinity')
			ORDER BY citus_internal.time_partition_value(p.from_value, kind)),
		array_agg(coalesce(citus_internal.time_partition_value(p.to_value, kind), 'infinity')
			ORDER BY citus_internal.time_partition_value(p.from_value, kind))
	INTO froms, tos FROM time_partitions p WHERE p.parent_table = table_name;
	base := citus_internal.time_partition_start(from_value, partition_interval, zoned);
	IF froms IS NOT NULL AND isfinite(froms[1]) THEN
		base := froms[1];
		IF citus_internal.time_partition_bound(base, partition_interval, 1, zoned) <> tos[1] THEN
			RAISE EXCEPTION 'partition interval does not match that of the first partition of "%"',
				table_name USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = format('The first partition is from %s to %s.', froms[1], tos[1]);
		END IF;
		WHILE citus_internal.time_partition_bound(base, partition_interval, n, zoned) > from_value LOOP
			n := n - 1;
		END LOOP;
		WHILE citus_internal.time_partition_bound(base, partition_interval, n + 1, zoned) <= from_value LOOP
			n := n + 1;
		END LOOP;
	END IF;
	LOOP
		low := citus_internal.time_partition_bound(base, partition_interval, n, zoned);
		high := citus_internal.time_partition_bound(base, partition_interval, n + 1, zoned);
		EXIT WHEN low >= to_value;
		n := n + 1;
		SELECT i INTO clash FROM generate_subscripts(froms, 1) i
		WHERE froms[i] < high AND tos[i] > low LIMIT 1;
		IF clash IS NULL THEN
			partition_name := citus_internal.time_partition_name(table_name, low,
				partition_interval, kind);
			range_from_value := citus_internal.time_partition_text(low, kind);
			range_to_value := citus_internal.time_partition_text(high, kind);
			RETURN NEXT;
		ELSIF froms[clash] <> low OR tos[clash] <> high THEN
			RAISE EXCEPTION 'a partition of "%" from % to % would overlap with one from % to %',
				table_name, low, high, froms[clash], tos[clash]
				USING ERRCODE = 'object_not_in_prerequisite_state';
		END IF;
	END LOOP;
END $$;

CREATE FUNCTION pg_catalog.create_time_partitions(table_name regclass,
	partition_interval interval, end_at timestamptz, start_from timestamptz DEFAULT now())
	RETURNS bool LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
	p record;
	made bool := false;
	schema name := (SELECT nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
		WHERE c.oid = table_name);
BEGIN
	FOR p IN SELECT * FROM get_missing_time_partition_ranges(table_name, partition_interval,
		end_at, start_from)
	LOOP
		EXECUTE format('CREATE TABLE %I.%I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)', schema,
			p.partition_name, table_name, p.range_from_value, p.range_to_value);
		made := true;
	END LOOP;
	RETURN made;
END $$;

CREATE PROCEDURE pg_catalog.drop_old_time_partitions(table_name regclass, older_than timestamptz)
	LANGUAGE plpgsql AS $$
DECLARE
	p record;
	kind regtype := citus_internal.time_partition_check(table_name, NULL);
BEGIN
	FOR p IN SELECT t.partition, t.from_value, t.to_value FROM pg_catalog.time_partitions t
		WHERE t.parent_table = table_name AND
			citus_internal.time_partition_value(t.to_value, kind)
			OPERATOR(pg_catalog.<=) CASE kind WHEN 'timestamptz'::pg_catalog.regtype THEN older_than
				ELSE older_than::pg_catalog.timestamp AT TIME ZONE 'UTC' END
		ORDER BY citus_internal.time_partition_value(t.to_value, kind)
	LOOP
		RAISE NOTICE 'dropping % with start time % and end time %', p.partition, p.from_value,
			p.to_value;
		EXECUTE pg_catalog.format('DROP TABLE %s', p.partition);
	END LOOP;
END $$;

CREATE PROCEDURE pg_catalog.alter_old_partitions_set_access_method(
	parent_table_name regclass, older_than timestamptz, new_access_method name)
	LANGUAGE plpgsql AS $$
DECLARE
	p record;
	kind regtype := citus_internal.time_partition_check(parent_table_name, NULL);
BEGIN
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_am WHERE amname = new_access_method AND amtype = 't') THEN
		RAISE EXCEPTION 'access method "%" does not exist', new_access_method
			USING ERRCODE = 'undefined_object';
	END IF;
	FOR p IN SELECT t.partition, t.from_value, t.to_value FROM pg_catalog.time_partitions t
		WHERE t.parent_table = parent_table_name AND t.access_method <> new_access_method AND
			citus_internal.time_partition_value(t.to_value, kind)
			OPERATOR(pg_catalog.<=) CASE kind WHEN 'timestamptz'::pg_catalog.regtype THEN older_than
				ELSE older_than::pg_catalog.timestamp AT TIME ZONE 'UTC' END
		ORDER BY citus_internal.time_partition_value(t.to_value, kind)
	LOOP
		RAISE NOTICE 'converting % with start time % and end time %', p.partition, p.from_value,
			p.to_value;
		EXECUTE pg_catalog.format('ALTER TABLE %s SET ACCESS METHOD %I', p.partition,
			new_access_method);
	END LOOP;
END $$;

-- Names of indexes of shards follow from those of the tables: there is nothing to mend.
CREATE FUNCTION pg_catalog.fix_partition_shard_index_names(table_name regclass) RETURNS void
	LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
BEGIN
	PERFORM citus_internal.require_distributed(table_name);
END $$;
CREATE FUNCTION pg_catalog.fix_all_partition_shard_index_names() RETURNS SETOF regclass
	LANGUAGE sql SET search_path = pg_catalog AS $$ SELECT NULL::regclass WHERE false $$;
