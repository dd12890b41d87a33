CREATE FUNCTION citus_internal.truncate_shards(relations regclass[], cascade_too bool) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_truncate_shards';

-- For objects that a node may be unable to have: it goes on without them.
CREATE FUNCTION citus_internal.try_ddl(search_path text, commands text[]) RETURNS void
	LANGUAGE plpgsql AS $$
BEGIN
	PERFORM citus_internal.run_ddl(search_path, commands);
EXCEPTION WHEN OTHERS THEN
	RAISE LOG 'propagated statement failed: %', SQLERRM;
END $$;

CREATE FUNCTION citus_internal.dropped() RETURNS event_trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_dropped';
CREATE EVENT TRIGGER herd_dropped ON sql_drop EXECUTE FUNCTION citus_internal.dropped();

CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(function_arg regclass)
	RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	-- create_distributed_table leaves no rows behind in the local table
	PERFORM citus_internal.require_distributed(function_arg);
END $$;
