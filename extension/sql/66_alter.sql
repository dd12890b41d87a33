CREATE FUNCTION pg_catalog.alter_distributed_table(table_name regclass,
	distribution_column text DEFAULT NULL, shard_count int DEFAULT NULL,
	colocate_with text DEFAULT NULL, cascade_to_colocated bool DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_alter_distributed_table';
CREATE FUNCTION citus_internal.undistribute_connected(table_name regclass) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_undistribute_connected';
CREATE FUNCTION citus_internal.set_colocation(relation regclass, colocation_id int) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_set_colocation';
CREATE FUNCTION citus_internal.next_colocation_id() RETURNS bigint
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_next_colocation_id';
CREATE FUNCTION pg_catalog.update_distributed_table_colocation(table_name regclass,
	colocate_with text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_update_colocation';
CREATE FUNCTION pg_catalog.alter_table_set_access_method(table_name regclass, access_method text)
	RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
	EXECUTE pg_catalog.format('ALTER TABLE %s SET ACCESS METHOD %I', table_name, access_method);
END $$;
