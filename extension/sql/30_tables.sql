-- What nodes tell each other. Each function checks that the caller owns the table it is about.
CREATE FUNCTION citus_internal.run_ddl(search_path text, commands text[]) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_run_ddl';
CREATE FUNCTION citus_internal.add_table_metadata(relation regclass, method "char",
	key_column text, colocation_id int, replication_model "char", shard_ids int8[],
	hash_minima int4[], hash_maxima int4[], placement_shards int8[], placement_groups int4[])
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'herd_add_table_metadata';
CREATE FUNCTION citus_internal.create_shards(relation regclass) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_create_shards';
CREATE FUNCTION citus_internal.create_shard_keys(relation regclass) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_create_shard_keys';
CREATE FUNCTION citus_internal.drop_shards(relation oid, schema text, name text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_drop_shards';
CREATE FUNCTION citus_internal.localize_sequence(sequence regclass) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_localize_sequence';
-- The default of serial and smallserial columns on workers: their sequences are too narrow for a
-- range of its own for every node.
CREATE FUNCTION citus_internal.coordinator_nextval(sequence text) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
	ok bool;
	answer text;
BEGIN
	SELECT r.success, r.result INTO ok, answer
	FROM run_command_on_coordinator(format('SELECT nextval(%L)', sequence)) r;
	IF ok IS DISTINCT FROM true THEN
		RAISE EXCEPTION 'cannot get the next value of sequence % from the coordinator', sequence
			USING DETAIL = answer, ERRCODE = 'connection_failure';
	END IF;
	RETURN answer;
END $$;
CREATE FUNCTION citus_internal.ensure_schema(schema name, owner name) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = schema) THEN
		EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', schema, owner);
	END IF;
END $$;

CREATE FUNCTION pg_catalog.create_distributed_table(table_name regclass, distribution_column text,
	distribution_type citus.distribution_type DEFAULT 'hash',
	colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_create_distributed_table';
CREATE FUNCTION pg_catalog.create_distributed_table_concurrently(table_name regclass,
	distribution_column text, distribution_type citus.distribution_type DEFAULT 'hash',
	colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'statements on table "%" wait until its rows have moved', table_name
		USING DETAIL = 'It is distributed as by create_distributed_table.';
	PERFORM pg_catalog.create_distributed_table($1, $2, $3, $4, $5);
END $$;
CREATE FUNCTION pg_catalog.create_reference_table(table_name regclass) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_create_reference_table';
CREATE FUNCTION pg_catalog.undistribute_table(table_name regclass,
	cascade_via_foreign_keys bool DEFAULT false) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_undistribute_table';
