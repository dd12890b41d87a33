-- A hybrid logical clock over the nodes: see txn/clock.h.
CREATE TYPE pg_catalog.cluster_clock;
CREATE FUNCTION pg_catalog.cluster_clock_in(cstring) RETURNS pg_catalog.cluster_clock
	LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'herd_clock_in';
CREATE FUNCTION pg_catalog.cluster_clock_out(pg_catalog.cluster_clock) RETURNS cstring
	LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'herd_clock_out';
CREATE FUNCTION pg_catalog.cluster_clock_recv(internal) RETURNS pg_catalog.cluster_clock
	LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'herd_clock_recv';
CREATE FUNCTION pg_catalog.cluster_clock_send(pg_catalog.cluster_clock) RETURNS bytea
	LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'herd_clock_send';
CREATE TYPE pg_catalog.cluster_clock (
	INPUT = pg_catalog.cluster_clock_in, OUTPUT = pg_catalog.cluster_clock_out,
	RECEIVE = pg_catalog.cluster_clock_recv, SEND = pg_catalog.cluster_clock_send,
	INTERNALLENGTH = 8, PASSEDBYVALUE, ALIGNMENT = double, STORAGE = plain);

CREATE FUNCTION pg_catalog.cluster_clock_lt(pg_catalog.cluster_clock, pg_catalog.cluster_clock)
	RETURNS bool LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'herd_clock_lt';
CREATE FUNCTION pg_catalog.cluster_clock_le(pg_catalog.cluster_clock, pg_catalog.cluster_clock)
	RETURNS bool LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'herd_clock_le';
CREATE FUNCTION pg_catalog.cluster_clock_eq(pg_catalog.cluster_clock, pg_catalog.cluster_clock)
	RETURNS bool LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'herd_clock_eq';
CREATE FUNCTION pg_catalog.cluster_clock_ne(pg_catalog.cluster_clock, pg_catalog.cluster_clock)
	RETURNS bool LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'herd_clock_ne';
CREATE FUNCTION pg_catalog.cluster_clock_ge(pg_catalog.cluster_clock, pg_catalog.cluster_clock)
	RETURNS bool LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'herd_clock_ge';
CREATE FUNCTION pg_catalog.cluster_clock_gt(pg_catalog.cluster_clock, pg_catalog.cluster_clock)
	RETURNS bool LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'herd_clock_gt';
CREATE FUNCTION pg_catalog.cluster_clock_cmp(pg_catalog.cluster_clock, pg_catalog.cluster_clock)
	RETURNS int LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'herd_clock_cmp';
CREATE OPERATOR pg_catalog.< (LEFTARG = pg_catalog.cluster_clock,
	RIGHTARG = pg_catalog.cluster_clock, FUNCTION = pg_catalog.cluster_clock_lt,
	COMMUTATOR = OPERATOR(pg_catalog.>), NEGATOR = OPERATOR(pg_catalog.>=),
	RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR pg_catalog.<= (LEFTARG = pg_catalog.cluster_clock,
	RIGHTARG = pg_catalog.cluster_clock, FUNCTION = pg_catalog.cluster_clock_le,
	COMMUTATOR = OPERATOR(pg_catalog.>=), NEGATOR = OPERATOR(pg_catalog.>),
	RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR pg_catalog.= (LEFTARG = pg_catalog.cluster_clock,
	RIGHTARG = pg_catalog.cluster_clock, FUNCTION = pg_catalog.cluster_clock_eq,
	COMMUTATOR = OPERATOR(pg_catalog.=), NEGATOR = OPERATOR(pg_catalog.<>),
	RESTRICT = eqsel, JOIN = eqjoinsel, MERGES);
CREATE OPERATOR pg_catalog.<> (LEFTARG = pg_catalog.cluster_clock,
	RIGHTARG = pg_catalog.cluster_clock, FUNCTION = pg_catalog.cluster_clock_ne,
	COMMUTATOR = OPERATOR(pg_catalog.<>), NEGATOR = OPERATOR(pg_catalog.=),
	RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR pg_catalog.>= (LEFTARG = pg_catalog.cluster_clock,
	RIGHTARG = pg_catalog.cluster_clock, FUNCTION = pg_catalog.cluster_clock_ge,
	COMMUTATOR = OPERATOR(pg_catalog.<=), NEGATOR = OPERATOR(pg_catalog.<),
	RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR pg_catalog.> (LEFTARG = pg_catalog.cluster_clock,
	RIGHTARG = pg_catalog.cluster_clock, FUNCTION = pg_catalog.cluster_clock_gt,
	COMMUTATOR = OPERATOR(pg_catalog.<), NEGATOR = OPERATOR(pg_catalog.<=),
	RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR CLASS pg_catalog.cluster_clock_ops DEFAULT FOR TYPE pg_catalog.cluster_clock
	USING btree AS
	OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=,
	OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
	FUNCTION 1 pg_catalog.cluster_clock_cmp(pg_catalog.cluster_clock, pg_catalog.cluster_clock);

CREATE FUNCTION pg_catalog.cluster_clock_logical(pg_catalog.cluster_clock) RETURNS bigint
	LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'herd_clock_logical';
CREATE FUNCTION pg_catalog.citus_is_clock_after(pg_catalog.cluster_clock, pg_catalog.cluster_clock)
	RETURNS bool LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'herd_clock_gt';

-- What the clock can have reached when the server stops: it gives no time from before that. The
-- functions that move it run as the owner, to whom the sequence belongs.
CREATE SEQUENCE citus_internal.clock_mark AS bigint MINVALUE 0 START 0;
SELECT pg_catalog.setval('citus_internal.clock_mark', 0);
REVOKE ALL ON SEQUENCE citus_internal.clock_mark FROM public;
CREATE FUNCTION pg_catalog.citus_get_node_clock() RETURNS pg_catalog.cluster_clock
	LANGUAGE C STRICT VOLATILE SECURITY DEFINER SET search_path = pg_catalog
	AS 'MODULE_PATHNAME', 'herd_clock_now';
CREATE FUNCTION citus_internal.advance_clock(pg_catalog.cluster_clock) RETURNS void
	LANGUAGE C STRICT VOLATILE SECURITY DEFINER SET search_path = pg_catalog
	AS 'MODULE_PATHNAME', 'herd_clock_advance';
REVOKE ALL ON FUNCTION citus_internal.advance_clock(pg_catalog.cluster_clock) FROM public;
CREATE FUNCTION pg_catalog.citus_get_transaction_clock() RETURNS pg_catalog.cluster_clock
	LANGUAGE C STRICT VOLATILE SECURITY DEFINER SET search_path = pg_catalog
	AS 'MODULE_PATHNAME', 'herd_clock_of_transaction';
