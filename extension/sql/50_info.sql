CREATE FUNCTION citus_internal.run_on_nodes(node_ids int[], commands text[], parallel bool,
	OUT index int, OUT success bool, OUT result text) RETURNS SETOF record
	LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_run_on_nodes';

CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(table_name regclass,
	distribution_value "any" DEFAULT NULL) RETURNS bigint
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'herd_shard_id_for_value';
CREATE FUNCTION pg_catalog.worker_hash("any") RETURNS int
	LANGUAGE C STRICT IMMUTABLE AS 'MODULE_PATHNAME', 'herd_worker_hash';
CREATE FUNCTION pg_catalog.shard_name(object_name regclass, shard_id bigint,
	skip_qualify_public bool DEFAULT true) RETURNS text
	LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'herd_shard_name_sql';
CREATE FUNCTION pg_catalog.column_to_column_name(table_name regclass, column_var_text text)
	RETURNS text LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'herd_column_name';
CREATE FUNCTION pg_catalog.citus_is_coordinator() RETURNS bool
	LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'herd_is_coordinator';

CREATE FUNCTION pg_catalog.citus_version() RETURNS text LANGUAGE sql STABLE AS $$
	SELECT format('Citus %s (pgherd %s) on PostgreSQL %s',
		pg_catalog.current_setting('citus.version'), e.extversion,
		pg_catalog.current_setting('server_version'))
	FROM pg_catalog.pg_extension e WHERE e.extname = 'pgherd'
$$;
CREATE FUNCTION pg_catalog.citus_server_id() RETURNS uuid LANGUAGE sql STABLE AS $$
	SELECT (metadata->>'server_id')::uuid FROM pg_catalog.pg_dist_node_metadata
$$;
CREATE FUNCTION pg_catalog.citus_nodename_for_nodeid(nodeid int) RETURNS text
	LANGUAGE sql STRICT STABLE AS $$
	SELECT nodename FROM pg_catalog.pg_dist_node n WHERE n.nodeid = $1 $$;
CREATE FUNCTION pg_catalog.citus_nodeport_for_nodeid(nodeid int) RETURNS int
	LANGUAGE sql STRICT STABLE AS $$
	SELECT nodeport FROM pg_catalog.pg_dist_node n WHERE n.nodeid = $1 $$;
CREATE FUNCTION pg_catalog.get_nodeid_for_groupid(groupid int) RETURNS int
	LANGUAGE sql STRICT STABLE AS $$
	SELECT nodeid FROM pg_catalog.pg_dist_node n
	WHERE n.groupid = $1 AND noderole = 'primary' $$;
CREATE FUNCTION pg_catalog.citus_coordinator_nodeid() RETURNS int LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT nodeid FROM pg_catalog.pg_dist_node
		WHERE groupid = 0 AND noderole = 'primary'), 0) $$;
CREATE FUNCTION pg_catalog.citus_is_primary_node() RETURNS bool LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_dist_node n,
		pg_catalog.pg_dist_local_group l WHERE n.groupid = l.groupid) THEN NULL
		ELSE NOT pg_catalog.pg_is_in_recovery() END $$;
CREATE FUNCTION pg_catalog.citus_get_active_worker_nodes(OUT node_name text, OUT node_port bigint)
	RETURNS SETOF record LANGUAGE sql STABLE AS $$
	SELECT nodename, nodeport::bigint FROM pg_catalog.pg_dist_node
	WHERE isactive AND noderole = 'primary' AND groupid <> 0 ORDER BY nodeid $$;

CREATE FUNCTION pg_catalog.run_command_on_all_nodes(command text, parallel bool DEFAULT true,
	give_warning_for_connection_errors bool DEFAULT false,
	OUT nodeid int, OUT success bool, OUT result text) RETURNS SETOF record
	LANGUAGE sql AS $$
	WITH n AS (SELECT pg_catalog.array_agg(nodeid ORDER BY nodeid) ids
		FROM pg_catalog.pg_dist_node WHERE isactive AND noderole = 'primary')
	SELECT n.ids[r.index], r.success, r.result FROM n, citus_internal.run_on_nodes(n.ids,
		pg_catalog.array_fill(command, ARRAY[pg_catalog.cardinality(n.ids)]), parallel) r
	WHERE n.ids IS NOT NULL
$$;
CREATE FUNCTION pg_catalog.run_command_on_coordinator(command text,
	give_warning_for_connection_errors bool DEFAULT false,
	OUT nodeid int, OUT success bool, OUT result text) RETURNS SETOF record
	LANGUAGE sql AS $$
	WITH n AS (SELECT ARRAY[nodeid] ids
		FROM pg_catalog.pg_dist_node WHERE groupid = 0 AND noderole = 'primary')
	SELECT n.ids[r.index], r.success, r.result FROM n,
		citus_internal.run_on_nodes(n.ids, ARRAY[command], true) r
$$;
CREATE FUNCTION pg_catalog.run_command_on_workers(command text, parallel bool DEFAULT true,
	OUT nodename text, OUT nodeport int, OUT success bool, OUT result text)
	RETURNS SETOF record LANGUAGE sql AS $$
	WITH n AS (SELECT pg_catalog.array_agg(nodeid ORDER BY nodeid) ids
		FROM pg_catalog.pg_dist_node
		WHERE isactive AND noderole = 'primary' AND groupid <> 0)
	SELECT d.nodename, d.nodeport, r.success, r.result FROM n,
		citus_internal.run_on_nodes(n.ids, pg_catalog.array_fill(command,
			ARRAY[pg_catalog.cardinality(n.ids)]), parallel) r,
		pg_catalog.pg_dist_node d WHERE d.nodeid = n.ids[r.index] ORDER BY r.index
$$;
-- In the command, %s and %1$s stand for the quoted name of the shard.
CREATE FUNCTION pg_catalog.run_command_on_placements(table_name regclass, command text,
	parallel bool DEFAULT true, OUT nodename text, OUT nodeport int, OUT shardid bigint,
	OUT success bool, OUT result text) RETURNS SETOF record LANGUAGE sql AS $$
	WITH p AS (SELECT n.nodeid, n.nodename, n.nodeport, s.shardid,
			pg_catalog.row_number() OVER (ORDER BY s.shardid, n.nodeid) AS i,
			pg_catalog.format(command,
				pg_catalog.shard_name(s.logicalrelid, s.shardid, false)) AS sql
		FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_dist_placement USING (shardid)
		JOIN pg_catalog.pg_dist_node n USING (groupid)
		WHERE s.logicalrelid = table_name AND n.isactive AND n.noderole = 'primary'),
	a AS (SELECT pg_catalog.array_agg(nodeid ORDER BY i) ids,
		pg_catalog.array_agg(sql ORDER BY i) sqls FROM p)
	SELECT p.nodename, p.nodeport, p.shardid, r.success, r.result
	FROM a, citus_internal.run_on_nodes(a.ids, a.sqls, parallel) r, p
	WHERE p.i = r.index ORDER BY p.i
$$;
CREATE FUNCTION pg_catalog.run_command_on_shards(table_name regclass, command text,
	parallel bool DEFAULT true, OUT shardid bigint, OUT success bool, OUT result text)
	RETURNS SETOF record LANGUAGE sql AS $$
	SELECT shardid, success, result
	FROM pg_catalog.run_command_on_placements(table_name, command, parallel)
$$;

-- The command as its argument is, on the shards of both tables that lie side by side.
CREATE FUNCTION pg_catalog.run_command_on_colocated_placements(table_name1 regclass,
	table_name2 regclass, command text, parallel bool DEFAULT true, OUT nodename text,
	OUT nodeport int, OUT shardid1 bigint, OUT shardid2 bigint, OUT success bool,
	OUT result text) RETURNS SETOF record LANGUAGE sql AS $$
	WITH one AS (SELECT shardid, logicalrelid, pg_catalog.row_number() OVER
			(ORDER BY shardminvalue::int) AS pos
		FROM pg_catalog.pg_dist_shard WHERE logicalrelid = table_name1),
	two AS (SELECT shardid, logicalrelid, pg_catalog.row_number() OVER
			(ORDER BY shardminvalue::int) AS pos
		FROM pg_catalog.pg_dist_shard WHERE logicalrelid = table_name2),
	p AS (SELECT n.nodeid, n.nodename, n.nodeport, one.shardid AS s1, two.shardid AS s2,
			pg_catalog.row_number() OVER (ORDER BY one.shardid, n.nodeid) AS i,
			pg_catalog.format(command,
				pg_catalog.shard_name(one.logicalrelid, one.shardid, false),
				pg_catalog.shard_name(two.logicalrelid, two.shardid, false)) AS sql
		FROM one JOIN two USING (pos)
		JOIN pg_catalog.pg_dist_placement a ON a.shardid = one.shardid
		JOIN pg_catalog.pg_dist_placement b ON b.shardid = two.shardid
			AND b.groupid = a.groupid
		JOIN pg_catalog.pg_dist_node n ON n.groupid = a.groupid
		WHERE n.isactive AND n.noderole = 'primary'),
	a AS (SELECT pg_catalog.array_agg(nodeid ORDER BY i) ids,
		pg_catalog.array_agg(sql ORDER BY i) sqls FROM p)
	SELECT p.nodename, p.nodeport, p.s1, p.s2, r.success, r.result
	FROM a, citus_internal.run_on_nodes(a.ids, a.sqls, parallel) r, p
	WHERE p.i = r.index ORDER BY p.i
$$;

CREATE FUNCTION pg_catalog.distributed_tables_colocated(table1 regclass, table2 regclass)
	RETURNS bool LANGUAGE sql STRICT STABLE AS $$
	SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition a, pg_catalog.pg_dist_partition b
		WHERE a.logicalrelid = table1 AND b.logicalrelid = table2
		AND a.colocationid = b.colocationid AND a.colocationid <> 0) $$;
CREATE FUNCTION pg_catalog.get_colocated_table_array(regclass) RETURNS regclass[]
	LANGUAGE sql STRICT STABLE AS $$
	SELECT pg_catalog.array_agg(b.logicalrelid ORDER BY b.logicalrelid)
	FROM pg_catalog.pg_dist_partition a JOIN pg_catalog.pg_dist_partition b USING (colocationid)
	WHERE a.logicalrelid = $1 $$;
CREATE FUNCTION pg_catalog.relation_is_a_known_shard(regclass) RETURNS bool
	LANGUAGE sql STRICT STABLE AS $$
	SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_dist_shard s
		ON s.shardid = pg_catalog.substring(c.relname, '_(\d{6,18})$')::bigint
		JOIN pg_catalog.pg_class t ON t.oid = s.logicalrelid
			AND t.relnamespace = c.relnamespace
		WHERE c.oid = $1 AND t.oid <> c.oid) $$;
-- Put before what clients ask of pg_class: src/plan/hide.h.
CREATE FUNCTION citus_internal.shard_is_hidden(oid) RETURNS bool
	LANGUAGE C STRICT STABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'herd_shard_is_hidden_sql';
CREATE FUNCTION pg_catalog.recover_prepared_transactions() RETURNS int
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_recover_prepared_sql';
REVOKE EXECUTE ON FUNCTION pg_catalog.recover_prepared_transactions() FROM public;
CREATE FUNCTION pg_catalog.citus_create_restore_point(text) RETURNS pg_lsn
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_create_restore_point';
REVOKE EXECUTE ON FUNCTION pg_catalog.citus_create_restore_point(text) FROM public;

-- Every node asked to reach every other: a matrix of who sees whom.
CREATE FUNCTION pg_catalog.citus_check_connection_to_node(nodename text, nodeport int DEFAULT 5432)
	RETURNS bool LANGUAGE sql STRICT AS $$
	SELECT coalesce((SELECT r.success FROM pg_catalog.pg_dist_node n,
		citus_internal.run_on_nodes(ARRAY[n.nodeid], ARRAY['SELECT 1'], true) r
		WHERE n.nodename = $1 AND n.nodeport = $2), false) $$;
CREATE FUNCTION pg_catalog.citus_check_cluster_node_health(OUT from_nodename text,
	OUT from_nodeport int, OUT to_nodename text, OUT to_nodeport int, OUT result bool)
	RETURNS SETOF record LANGUAGE sql AS $$
	WITH p AS (SELECT f.nodeid, f.nodename fn, f.nodeport fp, t.nodename tn, t.nodeport tp,
			pg_catalog.row_number() OVER (ORDER BY f.nodeid, t.nodeid) AS i,
			pg_catalog.format('SELECT pg_catalog.citus_check_connection_to_node(%L, %s)',
				t.nodename, t.nodeport) AS sql
		FROM pg_catalog.pg_dist_node f, pg_catalog.pg_dist_node t
		WHERE f.isactive AND f.noderole = 'primary' AND t.isactive
			AND t.noderole = 'primary'),
	a AS (SELECT pg_catalog.array_agg(nodeid ORDER BY i) ids,
		pg_catalog.array_agg(sql ORDER BY i) sqls FROM p)
	SELECT p.fn, p.fp, p.tn, p.tp, CASE WHEN r.success THEN r.result::bool END
	FROM a, citus_internal.run_on_nodes(a.ids, a.sqls, true) r, p
	WHERE p.i = r.index ORDER BY p.i
$$;

-- Sizes of the shards on this node, as {shard id: [main fork, table, total]}.
CREATE FUNCTION citus_internal.local_shard_sizes() RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
	SELECT coalesce(jsonb_object_agg(shardid, jsonb_build_array(pg_relation_size(r),
		pg_table_size(r), pg_total_relation_size(r))), '{}')
	FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid)
	CROSS JOIN LATERAL to_regclass(shard_name(s.logicalrelid, shardid, false)) r
	WHERE p.groupid = (SELECT groupid FROM pg_dist_local_group) AND r IS NOT NULL
$$;
-- For each placement; nodes that do not answer are left out unless fail_on_error.
CREATE FUNCTION citus_internal.placement_sizes(fail_on_error bool, OUT groupid int,
	OUT shardid bigint, OUT main bigint, OUT heap bigint, OUT total bigint)
	RETURNS SETOF record LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
	ids int[];
	r record;
BEGIN
	SELECT array_agg(nodeid ORDER BY nodeid) INTO ids FROM pg_dist_node n
	WHERE isactive AND noderole = 'primary'
		AND EXISTS (SELECT FROM pg_dist_placement p WHERE p.groupid = n.groupid);
	IF ids IS NULL THEN
		RETURN;
	END IF;
	FOR r IN SELECT n.groupid AS node_group, n.nodename, n.nodeport, x.*
		FROM citus_internal.run_on_nodes(ids, array_fill(
			'SELECT citus_internal.local_shard_sizes()'::text,
			ARRAY[cardinality(ids)]), true) x
		JOIN pg_dist_node n ON n.nodeid = ids[x.index]
	LOOP
		IF r.success THEN
			RETURN QUERY SELECT r.node_group, e.key::bigint, (e.value->>0)::bigint,
				(e.value->>1)::bigint, (e.value->>2)::bigint
			FROM jsonb_each(r.result::jsonb) e;
		ELSIF fail_on_error THEN
			RAISE EXCEPTION 'cannot get sizes from node "%:%"', r.nodename, r.nodeport
				USING DETAIL = r.result, ERRCODE = 'connection_failure';
		END IF;
	END LOOP;
END $$;
CREATE FUNCTION citus_internal.require_distributed(relation regclass) RETURNS regclass
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = relation) THEN
		RAISE EXCEPTION 'relation "%" is not distributed', relation
			USING ERRCODE = 'invalid_table_definition';
	END IF;
	RETURN relation;
END $$;
-- A partitioned table has no storage of its own: its size is that of all below it.
CREATE FUNCTION citus_internal.with_partitions(relation regclass) RETURNS SETOF regclass
	LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
	SELECT relation UNION SELECT relid FROM pg_partition_tree(relation)
$$;
CREATE FUNCTION pg_catalog.citus_relation_size(logicalrelid regclass, fail_on_error bool
	DEFAULT true) RETURNS bigint LANGUAGE sql STRICT AS $$
	SELECT pg_catalog.sum(z.main)::bigint FROM citus_internal.placement_sizes(fail_on_error) z
	JOIN pg_catalog.pg_dist_shard s USING (shardid)
	WHERE s.logicalrelid IN (SELECT citus_internal.with_partitions(
		citus_internal.require_distributed($1))) $$;
CREATE FUNCTION pg_catalog.citus_table_size(logicalrelid regclass, fail_on_error bool
	DEFAULT true) RETURNS bigint LANGUAGE sql STRICT AS $$
	SELECT pg_catalog.sum(z.heap)::bigint FROM citus_internal.placement_sizes(fail_on_error) z
	JOIN pg_catalog.pg_dist_shard s USING (shardid)
	WHERE s.logicalrelid IN (SELECT citus_internal.with_partitions(
		citus_internal.require_distributed($1))) $$;
CREATE FUNCTION pg_catalog.citus_total_relation_size(logicalrelid regclass, fail_on_error bool
	DEFAULT true) RETURNS bigint LANGUAGE sql STRICT AS $$
	SELECT pg_catalog.sum(z.total)::bigint FROM citus_internal.placement_sizes(fail_on_error) z
	JOIN pg_catalog.pg_dist_shard s USING (shardid)
	WHERE s.logicalrelid IN (SELECT citus_internal.with_partitions(
		citus_internal.require_distributed($1))) $$;
CREATE FUNCTION pg_catalog.citus_shard_sizes(OUT shard_id int, OUT size bigint)
	RETURNS SETOF record LANGUAGE sql AS $$
	SELECT shardid::int, pg_catalog.max(total) FROM citus_internal.placement_sizes(false)
	GROUP BY shardid $$;

CREATE FUNCTION citus_internal.table_type(method "char", replication_model "char", colocation int)
	RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN method <> 'n' THEN 'distributed' WHEN replication_model = 't' THEN 'reference'
		WHEN colocation = 0 THEN 'local'
		WHEN EXISTS (SELECT FROM pg_catalog.pg_dist_schema WHERE colocationid = colocation)
			THEN 'schema' ELSE 'distributed' END $$;

CREATE VIEW citus.citus_nodes AS
	SELECT nodename, nodeport, CASE WHEN groupid = 0 THEN 'coordinator' ELSE 'worker' END AS role,
		isactive AS active FROM pg_catalog.pg_dist_node;
CREATE VIEW citus.pg_dist_shard_placement AS
	SELECT shardid, shardstate, shardlength, nodename, nodeport, placementid
	FROM pg_catalog.pg_dist_placement JOIN pg_catalog.pg_dist_node USING (groupid)
	WHERE noderole = 'primary';
CREATE VIEW citus.citus_shards AS
	SELECT s.logicalrelid AS table_name, s.shardid,
		pg_catalog.shard_name(s.logicalrelid, s.shardid) AS shard_name,
		citus_internal.table_type(t.partmethod, t.repmodel, t.colocationid) AS citus_table_type,
		t.colocationid AS colocation_id, n.nodename, n.nodeport,
		coalesce(z.total, 0) AS shard_size
	FROM pg_catalog.pg_dist_shard s
	JOIN pg_catalog.pg_dist_partition t USING (logicalrelid)
	JOIN pg_catalog.pg_dist_placement p USING (shardid)
	JOIN pg_catalog.pg_dist_node n ON n.groupid = p.groupid AND n.noderole = 'primary'
	LEFT JOIN citus_internal.placement_sizes(false) z
		ON z.shardid = s.shardid AND z.groupid = p.groupid;
CREATE VIEW citus.citus_tables AS
	SELECT t.logicalrelid AS table_name,
		citus_internal.table_type(t.partmethod, t.repmodel, t.colocationid) AS citus_table_type,
		coalesce(pg_catalog.column_to_column_name(t.logicalrelid, t.partkey), '<none>')
			AS distribution_column,
		t.colocationid AS colocation_id,
		pg_catalog.pg_size_pretty(coalesce(z.size, 0)) AS table_size,
		coalesce(z.shards, 0) AS shard_count,
		pg_catalog.pg_get_userbyid(c.relowner) AS table_owner,
		coalesce(a.amname, '') AS access_method
	FROM pg_catalog.pg_dist_partition t
	JOIN pg_catalog.pg_class c ON c.oid = t.logicalrelid
	LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
	LEFT JOIN (WITH own AS MATERIALIZED (SELECT s.logicalrelid,
				pg_catalog.count(DISTINCT s.shardid) AS shards,
				pg_catalog.sum(p.total)::bigint AS size
			FROM pg_catalog.pg_dist_shard s
			LEFT JOIN citus_internal.placement_sizes(false) p USING (shardid) GROUP BY 1)
		SELECT own.logicalrelid, own.shards, (SELECT pg_catalog.sum(o.size)::bigint FROM own o
			WHERE o.logicalrelid IN (SELECT citus_internal.with_partitions(own.logicalrelid)))
			AS size FROM own) z ON z.logicalrelid = t.logicalrelid;
CREATE VIEW citus.citus_schemas AS
	SELECT schemaid::regnamespace AS schema_name, colocationid AS colocation_id,
		pg_catalog.pg_size_pretty(coalesce((SELECT pg_catalog.sum(z.total)
			FROM pg_catalog.pg_dist_partition t
			JOIN pg_catalog.pg_dist_shard USING (logicalrelid)
			JOIN citus_internal.placement_sizes(false) z USING (shardid)
			WHERE t.colocationid = d.colocationid), 0)::bigint) AS schema_size,
		pg_catalog.pg_get_userbyid(n.nspowner) AS schema_owner
	FROM pg_catalog.pg_dist_schema d JOIN pg_catalog.pg_namespace n ON n.oid = d.schemaid;
ALTER VIEW citus.citus_nodes SET SCHEMA pg_catalog;
ALTER VIEW citus.pg_dist_shard_placement SET SCHEMA pg_catalog;
ALTER VIEW citus.citus_shards SET SCHEMA pg_catalog;
ALTER VIEW citus.citus_tables SET SCHEMA pg_catalog;
-- Of all rows of a table, as ANALYZE has found them: src/stats/stats.h.
CREATE VIEW citus.citus_stats AS
	SELECT s.schemaname, s.tablename, s.attname, s.null_frac,
		s.most_common_vals::text AS most_common_vals, s.most_common_freqs
	FROM pg_catalog.pg_stats s
	JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname
	JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
	JOIN pg_catalog.pg_dist_partition p ON p.logicalrelid = c.oid;
ALTER VIEW citus.citus_stats SET SCHEMA pg_catalog;
GRANT SELECT ON pg_catalog.citus_stats TO public;
ALTER VIEW citus.citus_schemas SET SCHEMA pg_catalog;
GRANT SELECT ON pg_catalog.citus_nodes, pg_catalog.pg_dist_shard_placement,
	pg_catalog.citus_shards, pg_catalog.citus_tables, pg_catalog.citus_schemas TO public;
