-- Sessions between nodes: the owner of the extension, who has logged in, gives its session away.
CREATE FUNCTION citus_internal.bind_session(role text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_bind_session';
REVOKE ALL ON FUNCTION citus_internal.bind_session(text) FROM public;

CREATE FUNCTION citus_internal.connection_stats(OUT hostname text, OUT port int, OUT connections int)
	RETURNS SETOF record LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_connection_stats';
CREATE FUNCTION pg_catalog.citus_remote_connection_stats(OUT hostname text, OUT port int,
	OUT database_name text, OUT connection_count_to_node int) RETURNS SETOF record
	LANGUAGE sql STRICT AS $$
	SELECT hostname, port, pg_catalog.current_database()::text, connections
	FROM citus_internal.connection_stats() $$;
REVOKE ALL ON FUNCTION citus_internal.connection_stats(), pg_catalog.citus_remote_connection_stats()
	FROM public;
GRANT EXECUTE ON FUNCTION citus_internal.connection_stats(),
	pg_catalog.citus_remote_connection_stats() TO pg_monitor;

-- Credentials that a superuser changes on one node hold on all of them.
CREATE FUNCTION citus_internal.authinfo_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_authinfo_changed';
CREATE TRIGGER authinfo_changed AFTER INSERT OR UPDATE OR DELETE ON pg_catalog.pg_dist_authinfo
	FOR EACH ROW EXECUTE FUNCTION citus_internal.authinfo_changed();

-- Reads on standbys: where a primary is, and whether a standby has got there.
CREATE FUNCTION citus_internal.wal_position(OUT lsn bigint, OUT timeline int) RETURNS record
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_wal_position';
CREATE FUNCTION citus_internal.check_standby(lsn bigint, timeline int) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_check_standby';

-- What nodes sign for one another, see conn/rights.h: all nodes have that of the coordinator.
CREATE TABLE citus_internal.node_secret (secret text NOT NULL);
REVOKE ALL ON citus_internal.node_secret FROM public;
INSERT INTO citus_internal.node_secret
	SELECT pg_catalog.gen_random_uuid()::text || pg_catalog.gen_random_uuid();
CREATE FUNCTION citus_internal.use_rights(message text, number bigint, backend int, own text,
	signature text) RETURNS void LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_use_rights';
-- The statements that follow are parts of one, see conn/moment.h.
CREATE FUNCTION citus_internal.part_of(number bigint) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_part_of';
CREATE FUNCTION citus_internal.act_as(role text, number bigint, backend int, own text)
	RETURNS void LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_act_as';
