-- A global pid names a session of the herd: the number of its node and its process there.
CREATE FUNCTION pg_catalog.citus_calculate_gpid(nodeid int, pid int) RETURNS bigint
	LANGUAGE sql STRICT IMMUTABLE AS $$ SELECT nodeid * 10000000000::bigint + pid $$;
CREATE FUNCTION pg_catalog.citus_nodeid_for_gpid(gpid bigint) RETURNS int
	LANGUAGE sql STRICT IMMUTABLE AS $$ SELECT (gpid / 10000000000::bigint)::int $$;
CREATE FUNCTION pg_catalog.citus_pid_for_gpid(gpid bigint) RETURNS int
	LANGUAGE sql STRICT IMMUTABLE AS $$ SELECT (gpid % 10000000000::bigint)::int $$;
-- The session that a connection between nodes works for, or the session itself.
CREATE FUNCTION citus_internal.gpid_of(application_name text, nodeid int, pid int) RETURNS bigint
	LANGUAGE sql IMMUTABLE AS $$
	SELECT coalesce(pg_catalog.substring(application_name, '^citus_internal gpid=(\d{1,18})')::bigint,
		pg_catalog.citus_calculate_gpid(nodeid, pid)) $$;
CREATE FUNCTION pg_catalog.citus_backend_gpid() RETURNS bigint LANGUAGE sql STABLE AS $$
	SELECT citus_internal.gpid_of(pg_catalog.current_setting('application_name'),
		coalesce((SELECT nodeid FROM pg_catalog.pg_dist_node n
			JOIN pg_catalog.pg_dist_local_group USING (groupid)
			WHERE n.noderole = 'primary'), 0), pg_catalog.pg_backend_pid()) $$;

-- What every node shows; a node that does not answer is left out.
CREATE FUNCTION citus_internal.activity(OUT nodeid int, OUT session pg_catalog.pg_stat_activity)
	RETURNS SETOF record LANGUAGE sql AS $$
	SELECT r.nodeid, s FROM pg_catalog.run_command_on_all_nodes(
		'SELECT pg_catalog.json_agg(a) FROM pg_catalog.pg_stat_activity a') r,
		pg_catalog.json_populate_recordset(NULL::pg_catalog.pg_stat_activity, r.result::json) s
	WHERE r.success $$;
CREATE FUNCTION citus_internal.locks(OUT nodeid int, OUT relation_name text,
	OUT application_name text, OUT held pg_catalog.pg_locks)
	RETURNS SETOF record LANGUAGE sql AS $$
	SELECT r.nodeid, e->>'relation_name', e->>'application_name',
		pg_catalog.json_populate_record(NULL::pg_catalog.pg_locks, e->'held')
	FROM pg_catalog.run_command_on_all_nodes(
		'SELECT pg_catalog.json_agg(pg_catalog.json_build_object(''held'', l,
			''relation_name'', CASE WHEN l.relation IS NOT NULL AND l.database =
				(SELECT oid FROM pg_catalog.pg_database
				 WHERE datname = pg_catalog.current_database())
				THEN l.relation::regclass::text END,
			''application_name'', a.application_name))
		FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)') r,
		pg_catalog.json_array_elements(r.result::json) e
	WHERE r.success $$;
CREATE FUNCTION citus_internal.lock_waits(OUT nodeid int, OUT waiting_gpid bigint,
	OUT blocking_gpid bigint) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT r.nodeid,
		citus_internal.gpid_of(e->>'wa', r.nodeid, (e->>'wp')::int),
		citus_internal.gpid_of(e->>'ba', r.nodeid, (e->>'bp')::int)
	FROM pg_catalog.run_command_on_all_nodes(
		'SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(''wa'',
			w.application_name, ''wp'', w.pid, ''ba'', b.application_name, ''bp'', b.pid)),
			''[]'')
		FROM pg_catalog.pg_stat_activity w, LATERAL pg_catalog.unnest(
			pg_catalog.pg_blocking_pids(w.pid)) p JOIN pg_catalog.pg_stat_activity b
			ON b.pid = p WHERE w.wait_event_type = ''Lock''') r,
		pg_catalog.json_array_elements(r.result::json) e
	WHERE r.success $$;

CREATE VIEW citus.citus_stat_activity AS
	SELECT citus_internal.gpid_of((a.session).application_name, a.nodeid, (a.session).pid)
			AS global_pid,
		a.nodeid, coalesce((a.session).application_name LIKE 'citus\_internal%', false)
			AS is_worker_query, (a.session).*
	FROM citus_internal.activity() a;
CREATE VIEW citus.citus_dist_stat_activity AS
	SELECT * FROM citus.citus_stat_activity WHERE NOT is_worker_query;
CREATE VIEW citus.citus_locks AS
	SELECT citus_internal.gpid_of(l.application_name, l.nodeid, (l.held).pid) AS global_pid,
		l.nodeid, (l.held).locktype, l.relation_name, (l.held).page, (l.held).tuple,
		(l.held).virtualxid, (l.held).transactionid, (l.held).classid, (l.held).objid,
		(l.held).objsubid, (l.held).virtualtransaction, (l.held).pid, (l.held).mode,
		(l.held).granted, (l.held).fastpath, (l.held).waitstart
	FROM citus_internal.locks() l;
CREATE VIEW citus.citus_lock_waits AS
	WITH a AS MATERIALIZED (SELECT global_pid, query, nodeid FROM citus.citus_dist_stat_activity),
	w AS (SELECT DISTINCT waiting_gpid, blocking_gpid FROM citus_internal.lock_waits()
		WHERE waiting_gpid <> blocking_gpid)
	SELECT w.waiting_gpid, w.blocking_gpid, x.query AS blocked_statement,
		y.query AS current_statement_in_blocking_process,
		pg_catalog.citus_nodeid_for_gpid(w.waiting_gpid) AS waiting_nodeid,
		pg_catalog.citus_nodeid_for_gpid(w.blocking_gpid) AS blocking_nodeid
	FROM w LEFT JOIN a x ON x.global_pid = w.waiting_gpid
		LEFT JOIN a y ON y.global_pid = w.blocking_gpid;
ALTER VIEW citus.citus_stat_activity SET SCHEMA pg_catalog;
ALTER VIEW citus.citus_dist_stat_activity SET SCHEMA pg_catalog;
ALTER VIEW citus.citus_locks SET SCHEMA pg_catalog;
ALTER VIEW citus.citus_lock_waits SET SCHEMA pg_catalog;
GRANT SELECT ON pg_catalog.citus_stat_activity, pg_catalog.citus_dist_stat_activity,
	pg_catalog.citus_locks, pg_catalog.citus_lock_waits TO public;
