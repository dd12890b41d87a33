-- Triggers of shards; what a session of a node takes over from the one it works for; check options
-- of views.
CREATE FUNCTION citus_internal.shard_trigger() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_shard_trigger';
CREATE FUNCTION citus_internal.shard_transition() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_shard_transition';
CREATE FUNCTION citus_internal.adopt_session(started bigint) RETURNS void
	LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'herd_adopt_session';
CREATE FUNCTION citus_internal.check_option(view text, condition bool, checked record, given text[])
	RETURNS bool LANGUAGE C IMMUTABLE AS 'MODULE_PATHNAME', 'herd_check_option';
CREATE FUNCTION citus_internal.check_policy(kind int, policy text, relation text, condition bool, value "any")
	RETURNS bool LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'herd_check_policy';

CREATE FUNCTION citus_internal.missing_rule(rule text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'rule "%" uses objects that this node does not have', rule
		USING ERRCODE = 'feature_not_supported', HINT = 'Use the coordinator.';
END $$;
CREATE FUNCTION citus_internal.make_rule(definition text, otherwise text) RETURNS void
	LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE definition;
EXCEPTION WHEN undefined_table OR undefined_function OR undefined_object OR undefined_column THEN
	EXECUTE otherwise;
END $$;

-- The seed of TABLESAMPLE .. REPEATABLE for one shard.
CREATE FUNCTION citus_internal.sample_seed(seed float8, zero int, shard int) RETURNS float8
	LANGUAGE sql IMMUTABLE AS 'SELECT seed + shard * 0.6180339887';

-- Functions of triggers, called by those that are there: whoever may execute one can make another.
REVOKE EXECUTE ON FUNCTION citus_internal.catalog_changed(), citus_internal.authinfo_changed(),
	citus_internal.dropped() FROM public;
