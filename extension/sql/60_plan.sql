-- Stands in a rewritten query for rows that come from shards; never called.
CREATE FUNCTION citus_internal.remote_rows(int) RETURNS SETOF record
	LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_remote_rows';

-- Rows of one step of a statement for another, on the node that runs it: see plan/steps.h.
CREATE FUNCTION citus_internal.held_rows(int) RETURNS SETOF record
	LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'herd_held_rows';

-- Rows kept on nodes while a statement runs; only plans call these.
CREATE FUNCTION citus_internal.execution_id() RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'herd_execution_id';
CREATE FUNCTION citus_internal.hold_results(id text) RETURNS bigint
	LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_hold_results';
CREATE FUNCTION citus_internal.make_result(id text, move int, task int, query text, key int,
	hash text, mins int[], VARIADIC params "any", OUT part int, OUT rows bigint, OUT bytes bigint)
	RETURNS SETOF record LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'herd_make_result';
CREATE FUNCTION citus_internal.fetch_result(id text, move int, parts text, source_group int)
	RETURNS bigint LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_fetch_result';
CREATE FUNCTION citus_internal.store_block(id text, move int, block bytea) RETURNS bigint
	LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_store_block';
CREATE FUNCTION citus_internal.result_blocks(id text, move int, parts int[]) RETURNS SETOF bytea
	LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_result_blocks';
CREATE FUNCTION citus_internal.read_result_support(internal) RETURNS internal
	LANGUAGE C STRICT IMMUTABLE AS 'MODULE_PATHNAME', 'herd_read_result_support';
CREATE FUNCTION citus_internal.read_result(id text, move int, part int) RETURNS SETOF record
	LANGUAGE C STRICT STABLE SUPPORT citus_internal.read_result_support
	AS 'MODULE_PATHNAME', 'herd_read_result';
-- The rows of a query in blocks: SELECT pack_rows(q.*) FROM (query) q; see move/pack.h.
CREATE FUNCTION citus_internal.pack_rows(record) RETURNS bytea
	LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'herd_pack_rows';

-- An aggregate in two steps: its states on the nodes of the shards, and what they make together.
CREATE FUNCTION citus_internal.partial_trans(internal, aggregate text, VARIADIC "any")
	RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'herd_partial_trans';
CREATE FUNCTION citus_internal.partial_final(internal) RETURNS bytea
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'herd_partial_final';
CREATE AGGREGATE citus_internal.partial_agg(aggregate text, VARIADIC "any") (
	SFUNC = citus_internal.partial_trans, STYPE = internal, PARALLEL = SAFE,
	FINALFUNC = citus_internal.partial_final, FINALFUNC_MODIFY = READ_WRITE);
CREATE FUNCTION citus_internal.combine_trans(internal, aggregate text, state bytea,
	result anyelement) RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'herd_combine_trans';
CREATE FUNCTION citus_internal.combine_final(internal, aggregate text, state bytea,
	result anyelement) RETURNS anyelement LANGUAGE C IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'herd_combine_final';
CREATE AGGREGATE citus_internal.combine_agg(aggregate text, state bytea, result anyelement) (
	SFUNC = citus_internal.combine_trans, STYPE = internal, PARALLEL = SAFE,
	FINALFUNC = citus_internal.combine_final, FINALFUNC_EXTRA, FINALFUNC_MODIFY = READ_WRITE);

-- Statistics of the table here, from the rows of its shards: told by the node where ANALYZE ran.
CREATE FUNCTION citus_internal.gather_statistics(relation regclass, with_rows bool) RETURNS void
	LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_gather_statistics';

-- In the text of a MERGE for a shard.
CREATE FUNCTION citus_internal.require_key(value anyelement, relation text) RETURNS anyelement
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'herd_require_key';
CREATE FUNCTION citus_internal.in_shard(relation regclass, value "any", shard int) RETURNS bool
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'herd_in_shard';

-- In statements with WHERE CURRENT OF: see plan/cursor.h.
CREATE FUNCTION citus_internal.cursor_value(cursor text, relation oid, attribute int, anyelement)
	RETURNS anyelement LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'herd_cursor_value';
CREATE FUNCTION citus_internal.cursor_relation(cursor text, relation oid) RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'herd_cursor_relation';
CREATE FUNCTION citus_internal.cursor_partition(cursor text, relation oid) RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'herd_cursor_partition';
CREATE FUNCTION citus_internal.latest_rows(relation text, place tid) RETURNS tid[]
	LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'herd_latest_rows';
CREATE FUNCTION citus_internal.is_table(relation oid, name text) RETURNS bool
	LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'herd_is_table';
