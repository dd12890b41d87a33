-- ctid of a row of one shard, as one of all shards, and back: see deparse/rowid.h.
CREATE FUNCTION citus_internal.row_id(tid, zero int, shard int) RETURNS tid
	LANGUAGE c STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'herd_sql_row_id';
CREATE FUNCTION citus_internal.shard_tid(tid, zero int, shard int) RETURNS tid
	LANGUAGE c STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'herd_sql_shard_tid';
CREATE FUNCTION citus_internal.shard_tid(tid[], zero int, shard int) RETURNS tid[]
	LANGUAGE sql STRICT IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
	SELECT ARRAY(SELECT citus_internal.shard_tid(t, 0, $3) FROM unnest($1) t)
$$;

-- The OID, on the node that asks, of the partition whose shard this relation of this node is.
CREATE FUNCTION citus_internal.oid_of_shard(oid, partitions regclass[], oids oid[]) RETURNS oid
	LANGUAGE sql STRICT STABLE SET search_path = pg_catalog AS $$
	SELECT coalesce(oids[array_position(partitions, s.t)], s.t::oid)
	FROM (SELECT citus_internal.table_of_shard($1)) s(t)
$$;
