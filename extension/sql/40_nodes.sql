CREATE FUNCTION citus_internal.lock_group(groupid int, cooldown_ms int) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_lock_group';
CREATE FUNCTION citus_internal.lock_shard(shardid bigint) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_lock_shard';
CREATE FUNCTION citus_internal.sync_pending_metadata() RETURNS int
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_sync_pending';

CREATE FUNCTION citus_internal.require_writable() RETURNS void
	LANGUAGE plpgsql AS $$
BEGIN
	IF pg_catalog.pg_is_in_recovery() THEN
		RAISE EXCEPTION 'node is in recovery' USING ERRCODE = 'read_only_sql_transaction';
	END IF;
END $$;

-- A role of the coordinator. A superuser that is here already keeps its own password and rights.
CREATE FUNCTION citus_internal.ensure_role(role name, options text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
	protected bool;
BEGIN
	SELECT rolsuper OR rolreplication INTO protected FROM pg_roles WHERE rolname = role;
	IF NOT FOUND THEN
		EXECUTE format('CREATE ROLE %I %s', role, options);
	ELSIF NOT protected THEN
		EXECUTE format('ALTER ROLE %I %s', role, options);
	END IF;
END $$;

CREATE FUNCTION citus_internal.ensure_type(type_name text, definition text, owner name)
	RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	IF to_regtype(type_name) IS NULL THEN
		EXECUTE definition;
		EXECUTE format('ALTER TYPE %s OWNER TO %I', type_name, owner);
	END IF;
END $$;

-- What makes a function or a view on another node, with its owner and grants.
CREATE FUNCTION citus_internal.function_commands(function oid) RETURNS text[]
	LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
	SELECT ARRAY[pg_get_functiondef(p.oid),
		format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, pg_get_userbyid(p.proowner)),
		format('REVOKE ALL ON ROUTINE %s FROM public', p.oid::regprocedure)]
		|| ARRAY(SELECT format('GRANT EXECUTE ON ROUTINE %s TO %s', p.oid::regprocedure,
			CASE a.grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
			FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a)
	FROM pg_proc p WHERE p.oid = function
$$;
CREATE FUNCTION citus_internal.view_commands(relation oid) RETURNS text[]
	LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
	SELECT ARRAY[format('CREATE OR REPLACE VIEW %s%s AS %s', c.oid::regclass,
			CASE WHEN c.reloptions IS NULL THEN ''
				ELSE ' WITH (' || array_to_string(c.reloptions, ', ') || ')' END,
			pg_get_viewdef(c.oid)),
		format('ALTER VIEW %s OWNER TO %I', c.oid::regclass, pg_get_userbyid(c.relowner))]
		|| ARRAY(SELECT format('GRANT %s ON %s TO %s', a.privilege_type, c.oid::regclass,
			CASE a.grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
			FROM aclexplode(c.relacl) a)
	FROM pg_class c WHERE c.oid = relation
$$;

-- CREATE TYPE or DOMAIN for enums, composite types and domains; NULL for others.
CREATE FUNCTION citus_internal.type_definition(type oid) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
	SELECT CASE t.typtype
	WHEN 'e' THEN format('CREATE TYPE %s AS ENUM (%s)', format_type(t.oid, NULL),
		(SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
		 FROM pg_enum WHERE enumtypid = t.oid))
	WHEN 'c' THEN (SELECT format('CREATE TYPE %s AS (%s)', format_type(t.oid, NULL),
		(SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', '
			ORDER BY attnum)
		 FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped))
		FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')
	WHEN 'd' THEN format('CREATE DOMAIN %s AS %s%s%s %s', format_type(t.oid, NULL),
		format_type(t.typbasetype, t.typtypmod),
		CASE WHEN t.typdefault IS NULL THEN '' ELSE ' DEFAULT ' || t.typdefault END,
		CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END,
		(SELECT string_agg(format('CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)), ' ')
		 FROM pg_constraint WHERE contypid = t.oid AND contype = 'c'))
	END || ''
	FROM pg_type t WHERE t.oid = type
$$;

-- Creates a shell table unless the node has it from an earlier membership.
CREATE FUNCTION citus_internal.ensure_shell(relation text, commands text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	IF to_regclass(relation) IS NULL THEN
		EXECUTE commands;
	END IF;
END $$;

-- A shard to be filled anew: rows of an earlier membership are removed.
CREATE FUNCTION citus_internal.ensure_empty_shard(shard text, commands text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	IF to_regclass(shard) IS NULL THEN
		EXECUTE commands;
	ELSE
		SET LOCAL session_replication_role = replica;
		EXECUTE format('DELETE FROM %s', shard);
		SET LOCAL session_replication_role = origin;
	END IF;
END $$;

-- What the node believed before is forgotten; a table of users in the way of a shell table is not.
-- Shell tables and copies of reference tables of an earlier membership go: they may have missed
-- changes since.
CREATE FUNCTION citus_internal.reset_metadata(groupid int) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
	shells oid[] := '{}';
	name text;
BEGIN
	IF EXISTS (SELECT FROM pg_dist_local_group g WHERE g.groupid NOT IN (0, reset_metadata.groupid)) THEN
		SELECT coalesce(array_agg(oid), '{}') INTO shells FROM (
			SELECT p.logicalrelid::oid FROM pg_dist_partition p
			UNION
			SELECT to_regclass(shard_name(p.logicalrelid, s.shardid, false))
			FROM pg_dist_local_group g JOIN pg_dist_placement l USING (groupid)
			JOIN pg_dist_shard s USING (shardid) JOIN pg_dist_partition p USING (logicalrelid)
			WHERE p.repmodel = 't') x (oid);
	END IF;
	DELETE FROM pg_dist_placement;
	DELETE FROM pg_dist_shard;
	DELETE FROM pg_dist_partition;
	DELETE FROM pg_dist_colocation;
	DELETE FROM pg_dist_schema;
	DELETE FROM pg_dist_node;
	UPDATE pg_dist_local_group SET groupid = reset_metadata.groupid;
	LOOP
		SELECT oid::regclass INTO name FROM pg_class WHERE oid = ANY (shells) LIMIT 1;
		EXIT WHEN NOT FOUND;
		EXECUTE format('DROP TABLE %s CASCADE', name);
	END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION citus_internal.reset_metadata(int), citus_internal.lock_group(int, int),
	citus_internal.lock_shard(bigint), citus_internal.sync_pending_metadata() FROM public;

CREATE FUNCTION pg_catalog.citus_set_coordinator_host(host text,
	port int DEFAULT current_setting('port')::int, node_role noderole DEFAULT 'primary',
	node_cluster name DEFAULT 'default') RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_set_coordinator_host';
CREATE FUNCTION pg_catalog.citus_add_node(nodename text, nodeport int, groupid int DEFAULT -1,
	noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default') RETURNS int
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_add_node';
CREATE FUNCTION pg_catalog.citus_add_inactive_node(nodename text, nodeport int,
	groupid int DEFAULT -1, noderole noderole DEFAULT 'primary',
	nodecluster name DEFAULT 'default') RETURNS int
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_add_inactive_node';
CREATE FUNCTION pg_catalog.citus_add_secondary_node(nodename text, nodeport int, primaryname text,
	primaryport int, nodecluster name DEFAULT 'default') RETURNS int
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_add_secondary_node';
CREATE FUNCTION pg_catalog.citus_activate_node(nodename text, nodeport int) RETURNS int
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_activate_node';
CREATE FUNCTION pg_catalog.citus_disable_node(nodename text, nodeport int,
	synchronous bool DEFAULT false) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_disable_node';
CREATE FUNCTION pg_catalog.citus_remove_node(nodename text, nodeport int) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_remove_node';
CREATE FUNCTION pg_catalog.citus_set_node_property(nodename text, nodeport int, property text,
	value bool) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_set_node_property';
CREATE FUNCTION pg_catalog.citus_update_node(node_id int, new_node_name text, new_node_port int,
	force bool DEFAULT false, lock_cooldown int DEFAULT 10000) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_update_node';
REVOKE EXECUTE ON FUNCTION pg_catalog.citus_set_coordinator_host(text, int, noderole, name),
	pg_catalog.citus_add_node(text, int, int, noderole, name),
	pg_catalog.citus_add_inactive_node(text, int, int, noderole, name),
	pg_catalog.citus_add_secondary_node(text, int, text, int, name),
	pg_catalog.citus_activate_node(text, int), pg_catalog.citus_disable_node(text, int, bool),
	pg_catalog.citus_remove_node(text, int),
	pg_catalog.citus_set_node_property(text, int, text, bool),
	pg_catalog.citus_update_node(int, text, int, bool, int) FROM public;

-- Transactions over several nodes that this node decides: see txn/decide.h.
CREATE PROCEDURE citus_internal.decide_commit(groupid int, gid text)
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_decide_commit';
CREATE FUNCTION citus_internal.decided(groupid int, gid text) RETURNS bool
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_decided';
REVOKE ALL ON FUNCTION citus_internal.decided(int, text) FROM public;
