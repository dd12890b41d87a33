-- Stands in a rewritten query for rows that come from shards; never called.
CREATE FUNCTION citus_internal.remote_rows(int) RETURNS SETOF record
	LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_remote_rows';
