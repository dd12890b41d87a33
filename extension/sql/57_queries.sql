-- Counters of this node, by database.
CREATE FUNCTION citus_internal.stat_counters(OUT database_id oid,
	OUT connection_establishment_succeeded bigint, OUT connection_establishment_failed bigint,
	OUT connection_reused bigint, OUT query_execution_single_shard bigint,
	OUT query_execution_multi_shard bigint, OUT stats_reset timestamptz)
	RETURNS SETOF record LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_stat_counters';
CREATE FUNCTION citus_internal.stat_counters_reset(database oid) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_stat_counters_reset';
CREATE FUNCTION pg_catalog.citus_stat_counters(database_id oid DEFAULT 0, OUT database_id oid,
	OUT connection_establishment_succeeded bigint, OUT connection_establishment_failed bigint,
	OUT connection_reused bigint, OUT query_execution_single_shard bigint,
	OUT query_execution_multi_shard bigint, OUT stats_reset timestamptz)
	RETURNS SETOF record LANGUAGE sql STRICT AS $$
	SELECT * FROM citus_internal.stat_counters() s WHERE $1 IN (0, s.database_id) $$;
CREATE FUNCTION pg_catalog.citus_stat_counters_reset(database_oid oid DEFAULT 0) RETURNS void
	LANGUAGE sql STRICT AS $$
	SELECT citus_internal.stat_counters_reset(CASE $1 WHEN 0 THEN (SELECT oid
		FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) ELSE $1 END) $$;
REVOKE ALL ON FUNCTION pg_catalog.citus_stat_counters_reset(oid),
	citus_internal.stat_counters_reset(oid) FROM public;
CREATE VIEW citus.citus_stat_counters AS
	SELECT d.oid, d.datname AS name, s.connection_establishment_succeeded,
		s.connection_establishment_failed, s.connection_reused, s.query_execution_single_shard,
		s.query_execution_multi_shard, s.stats_reset
	FROM pg_catalog.pg_database d JOIN citus_internal.stat_counters() s ON s.database_id = d.oid;
ALTER VIEW citus.citus_stat_counters SET SCHEMA pg_catalog;
GRANT SELECT ON pg_catalog.citus_stat_counters TO public;

-- Statements that reached shards from this node.
CREATE FUNCTION citus_internal.query_stats(OUT queryid bigint, OUT userid oid, OUT dbid oid,
	OUT partition_key text, OUT calls bigint) RETURNS SETOF record
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_query_stats';
REVOKE ALL ON FUNCTION citus_internal.query_stats() FROM public;
CREATE FUNCTION pg_catalog.citus_stat_statements_reset() RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_query_stats_reset';
REVOKE ALL ON FUNCTION pg_catalog.citus_stat_statements_reset() FROM public;

-- pg_stat_statements' texts by its id of the statement; no rows where it is not there.
CREATE FUNCTION citus_internal.known_queries(texts boolean, OUT userid oid, OUT dbid oid,
	OUT queryid bigint, OUT query text) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE place text := (SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e
	JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname OPERATOR(pg_catalog.=) 'pg_stat_statements');
BEGIN
	IF place IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY EXECUTE 'SELECT s.userid, s.dbid, s.queryid, pg_catalog.min(s.query) FROM '
		|| place || '.pg_stat_statements($1) s WHERE s.queryid IS NOT NULL GROUP BY 1, 2, 3'
		USING texts;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	RETURN; -- its library is not loaded
END $$;
CREATE FUNCTION citus_internal.known_query_ids() RETURNS SETOF bigint LANGUAGE sql AS $$
	SELECT DISTINCT queryid FROM citus_internal.known_queries(false)
	UNION SELECT queryid FROM citus_internal.query_stats() WHERE NOT EXISTS (
		SELECT FROM citus_internal.known_queries(false)) $$;
REVOKE ALL ON FUNCTION citus_internal.known_query_ids() FROM public;

CREATE FUNCTION citus_internal.own_query_stats(OUT queryid bigint, OUT userid oid, OUT dbid oid,
	OUT partition_key text, OUT calls bigint) RETURNS SETOF record
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
	SELECT s.* FROM citus_internal.query_stats() s JOIN pg_roles r ON r.rolname = session_user
	WHERE s.userid = r.oid OR pg_has_role(session_user, 'pg_read_all_stats', 'USAGE') $$;
CREATE FUNCTION pg_catalog.citus_stat_statements(OUT queryid bigint, OUT userid oid, OUT dbid oid,
	OUT query text, OUT executor text, OUT partition_key text, OUT calls bigint)
	RETURNS SETOF record LANGUAGE sql AS $$
	SELECT s.queryid, s.userid, s.dbid, k.query, 'adaptive', s.partition_key, s.calls
	FROM citus_internal.own_query_stats() s
	LEFT JOIN citus_internal.known_queries(true) k USING (userid, dbid, queryid) $$;
CREATE VIEW citus.citus_stat_statements AS SELECT * FROM pg_catalog.citus_stat_statements();
ALTER VIEW citus.citus_stat_statements SET SCHEMA pg_catalog;
GRANT SELECT ON pg_catalog.citus_stat_statements TO public;

-- Statements by the value of their distribution column.
CREATE FUNCTION citus_internal.tenant_stats(OUT colocation_id int, OUT tenant_attribute text,
	OUT read_count_in_this_period bigint, OUT read_count_in_last_period bigint,
	OUT query_count_in_this_period bigint, OUT query_count_in_last_period bigint,
	OUT cpu_usage_in_this_period double precision, OUT cpu_usage_in_last_period double precision,
	OUT score bigint) RETURNS SETOF record
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_tenant_stats';
CREATE FUNCTION pg_catalog.citus_stat_tenants_local_reset() RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_tenant_stats_reset';
CREATE FUNCTION pg_catalog.citus_stat_tenants_reset() RETURNS void LANGUAGE sql AS $$
	SELECT FROM pg_catalog.run_command_on_all_nodes(
		'SELECT pg_catalog.citus_stat_tenants_local_reset()') $$;
CREATE FUNCTION pg_catalog.citus_stat_tenants_local(return_all_tenants boolean DEFAULT false,
	OUT colocation_id int, OUT tenant_attribute text,
	OUT read_count_in_this_period bigint, OUT read_count_in_last_period bigint,
	OUT query_count_in_this_period bigint, OUT query_count_in_last_period bigint,
	OUT cpu_usage_in_this_period double precision, OUT cpu_usage_in_last_period double precision,
	OUT score bigint) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT * FROM citus_internal.tenant_stats() ORDER BY score DESC LIMIT CASE WHEN $1 THEN NULL
		ELSE pg_catalog.current_setting('citus.stat_tenants_limit')::bigint END $$;
CREATE FUNCTION pg_catalog.citus_stat_tenants(return_all_tenants boolean DEFAULT false,
	OUT nodeid int, OUT colocation_id int, OUT tenant_attribute text,
	OUT read_count_in_this_period bigint, OUT read_count_in_last_period bigint,
	OUT query_count_in_this_period bigint, OUT query_count_in_last_period bigint,
	OUT cpu_usage_in_this_period double precision, OUT cpu_usage_in_last_period double precision,
	OUT score bigint) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT r.nodeid, t.* FROM pg_catalog.run_command_on_all_nodes(pg_catalog.format(
		'SELECT pg_catalog.json_agg(t) FROM pg_catalog.citus_stat_tenants_local(%L) t', $1)) r,
	pg_catalog.json_to_recordset(r.result::json) AS t(colocation_id int, tenant_attribute text,
		read_count_in_this_period bigint, read_count_in_last_period bigint,
		query_count_in_this_period bigint, query_count_in_last_period bigint,
		cpu_usage_in_this_period double precision, cpu_usage_in_last_period double precision,
		score bigint)
	WHERE r.success AND r.result <> '' ORDER BY t.score DESC LIMIT CASE WHEN $1 THEN NULL
		ELSE pg_catalog.current_setting('citus.stat_tenants_limit')::bigint END $$;
REVOKE ALL ON FUNCTION citus_internal.tenant_stats(), pg_catalog.citus_stat_tenants_local_reset(),
	pg_catalog.citus_stat_tenants_reset(), pg_catalog.citus_stat_tenants_local(boolean),
	pg_catalog.citus_stat_tenants(boolean) FROM public;
GRANT EXECUTE ON FUNCTION citus_internal.tenant_stats(),
	pg_catalog.citus_stat_tenants_local(boolean), pg_catalog.citus_stat_tenants(boolean) TO pg_monitor;
CREATE VIEW citus.citus_stat_tenants_local AS SELECT colocation_id, tenant_attribute,
	read_count_in_this_period, read_count_in_last_period, query_count_in_this_period,
	query_count_in_last_period, cpu_usage_in_this_period, cpu_usage_in_last_period
	FROM pg_catalog.citus_stat_tenants_local() ORDER BY score DESC;
CREATE VIEW citus.citus_stat_tenants AS SELECT nodeid, colocation_id, tenant_attribute,
	read_count_in_this_period, read_count_in_last_period, query_count_in_this_period,
	query_count_in_last_period, cpu_usage_in_this_period, cpu_usage_in_last_period
	FROM pg_catalog.citus_stat_tenants() ORDER BY score DESC;
ALTER VIEW citus.citus_stat_tenants_local SET SCHEMA pg_catalog;
ALTER VIEW citus.citus_stat_tenants SET SCHEMA pg_catalog;
GRANT SELECT ON pg_catalog.citus_stat_tenants_local, pg_catalog.citus_stat_tenants TO pg_monitor;
