-- Stands in a rewritten query for rows that come from shards; never called.
CREATE FUNCTION citus_internal.remote_rows(int) RETURNS SETOF record
	LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_remote_rows';

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
