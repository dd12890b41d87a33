-- Tables of one shard: distributed schemas, local tables that all nodes know.
-- Distributed schemas: src/catalog/schemas.c.
CREATE FUNCTION citus_internal.add_schema(name text, colocation_id int) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_add_schema';
CREATE FUNCTION citus_internal.remove_schema(name text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_remove_schema';
CREATE FUNCTION pg_catalog.citus_schema_distribute(schemaname regnamespace) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_schema_distribute_sql';
CREATE FUNCTION pg_catalog.citus_schema_undistribute(schemaname regnamespace) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_schema_undistribute_sql';
CREATE FUNCTION pg_catalog.citus_schema_move(schema_id regnamespace, target_node_id int,
	shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto') RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_schema_move_sql';
CREATE FUNCTION pg_catalog.citus_schema_move(schema_id regnamespace, target_node_name text,
	target_node_port int, shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto')
	RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
	id int := (SELECT nodeid FROM pg_catalog.pg_dist_node
		WHERE nodename = target_node_name AND nodeport = target_node_port);
BEGIN
	IF id IS NULL THEN
		RAISE EXCEPTION 'node "%:%" does not exist', target_node_name, target_node_port
			USING ERRCODE = 'undefined_object', HINT = 'See pg_dist_node.';
	END IF;
	PERFORM pg_catalog.citus_schema_move(schema_id, id, shard_transfer_mode);
END $$;

-- Local tables that all nodes know: src/catalog/managed.c.
CREATE FUNCTION pg_catalog.citus_add_local_table_to_metadata(table_name regclass,
	cascade_via_foreign_keys bool DEFAULT false) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_add_local_table';
CREATE FUNCTION pg_catalog.remove_local_tables_from_metadata() RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_remove_local_tables';
