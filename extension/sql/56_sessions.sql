-- pg_cancel_backend and pg_terminate_backend by global pid, with the rights that they ask for: the
-- command runs as the user on the session's node. Numbers without a node are processes here.
CREATE FUNCTION citus_internal.signal_session(gpid bigint, command text) RETURNS bool
	LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
	pid bigint := gpid % 10000000000;
	node bigint := gpid / 10000000000;
	done bool;
	result text;
BEGIN
	IF node = 0 OR node = (SELECT nodeid FROM pg_dist_node JOIN pg_dist_local_group USING (groupid)
		WHERE noderole = 'primary') THEN
		EXECUTE format(command, pid) INTO done;
		RETURN done;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_dist_node WHERE nodeid = node) THEN
		RAISE EXCEPTION 'node % of global pid % does not exist', node, gpid
			USING ERRCODE = 'undefined_object',
			HINT = 'Global pids stand in view citus_stat_activity.';
	END IF;
	SELECT r.success, r.result INTO done, result
	FROM citus_internal.run_on_nodes(ARRAY[node::int], ARRAY[format(command, pid)], false) r;
	IF NOT done THEN
		RAISE EXCEPTION 'could not signal process % on node %', pid, node
			USING ERRCODE = 'connection_failure', DETAIL = result;
	END IF;
	RETURN result::bool;
END $$;
CREATE FUNCTION pg_catalog.pg_cancel_backend(global_pid bigint) RETURNS bool
	LANGUAGE sql STRICT AS $$
	SELECT citus_internal.signal_session(global_pid,
		'SELECT pg_catalog.pg_cancel_backend(%s::int)') $$;
CREATE FUNCTION pg_catalog.pg_terminate_backend(global_pid bigint, timeout bigint DEFAULT 0)
	RETURNS bool LANGUAGE sql STRICT AS $$
	SELECT citus_internal.signal_session(global_pid, 'SELECT pg_catalog.pg_terminate_backend(%s::int, '
		|| timeout || '::bigint)') $$;
-- Small numbers that drivers send as smallint would fit both forms.
CREATE FUNCTION pg_catalog.pg_cancel_backend(pid smallint) RETURNS bool
	LANGUAGE sql STRICT AS $$ SELECT pg_catalog.pg_cancel_backend(pid::int) $$;
CREATE FUNCTION pg_catalog.pg_terminate_backend(pid smallint, timeout bigint DEFAULT 0)
	RETURNS bool LANGUAGE sql STRICT AS $$
	SELECT pg_catalog.pg_terminate_backend(pid::int, timeout) $$;

-- The processes on this node that a process on it waits for, here or by way of another node.
CREATE FUNCTION pg_catalog.citus_blocking_pids(pid int) RETURNS int[]
	LANGUAGE sql STRICT AS $$
	WITH own AS (SELECT coalesce((SELECT nodeid FROM pg_catalog.pg_dist_node n
			JOIN pg_catalog.pg_dist_local_group USING (groupid)
			WHERE n.noderole = 'primary'), 0) AS nodeid)
	SELECT coalesce(pg_catalog.array_agg(DISTINCT p), '{}') FROM (
		SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid)) AS p
		UNION ALL
		SELECT pg_catalog.citus_pid_for_gpid(w.blocking_gpid)
		FROM own, citus_internal.lock_waits() w
		WHERE w.waiting_gpid = pg_catalog.citus_calculate_gpid(own.nodeid, pid)
			AND w.blocking_gpid <> w.waiting_gpid
			AND pg_catalog.citus_nodeid_for_gpid(w.blocking_gpid) = own.nodeid) x $$;

-- Who waits for whom, over all nodes: the edges of the graph in which deadlocks are circles.
CREATE FUNCTION pg_catalog.dump_global_wait_edges(OUT waiting_gpid bigint, OUT waiting_nodeid int,
	OUT blocking_gpid bigint, OUT blocking_nodeid int) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT DISTINCT w.waiting_gpid, pg_catalog.citus_nodeid_for_gpid(w.waiting_gpid),
		w.blocking_gpid, pg_catalog.citus_nodeid_for_gpid(w.blocking_gpid)
	FROM citus_internal.lock_waits() w WHERE w.waiting_gpid <> w.blocking_gpid $$;

-- Locks of shards for tools: those who change placements wait for them until the transaction ends.
CREATE FUNCTION citus_internal.lock_shards(lock_mode int, shard_id bigint[]) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'herd_lock_shards';
CREATE FUNCTION pg_catalog.lock_shard_metadata(lock_mode int, shard_id bigint[]) RETURNS void
	LANGUAGE sql STRICT AS $$ SELECT citus_internal.lock_shards(lock_mode, shard_id) $$;
CREATE FUNCTION pg_catalog.lock_shard_resources(lock_mode int, shard_id bigint[]) RETURNS void
	LANGUAGE sql STRICT AS $$ SELECT citus_internal.lock_shards(lock_mode, shard_id) $$;
