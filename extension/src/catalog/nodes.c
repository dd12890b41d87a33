#include "catalog/nodes.h"

#include "commands/dbcommands.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "conn/conn.h"
#include "ddl/local.h"
#include "fmgr.h"
#include "guc.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#define PROBE_TIMEOUT_MS 2000
/* Short: a change of nodes waits for it. */
#define SYNC_TIMEOUT_MS 2000

static const HerdNode *find_node(const char *host, int port)
{
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (strcmp(node->host, host) == 0 && node->port == port)
			return node;
	}
	return NULL;
}

static const HerdNode *require_node(const char *host, int port)
{
	const HerdNode *node = find_node(host, port);

	if (!node)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("node at \"%s:%d\" does not exist", host, port)));
	return node;
}

static const HerdNode *group_primary(int32 groupid)
{
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (node->groupid == groupid && node->primary)
			return node;
	}
	return NULL;
}

static void check_address(const char *host, int port)
{
	if (!*host || strlen(host) > 255)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("node name must have 1 to 255 characters")));
	if (port < 1 || port > 65535)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("node port %d is not between 1 and 65535", port)));
}

List *herd_nodes_commands(void)
{
	List *rows = herd_sql_rows(
		"SELECT format('(%%s, %%s, %%L, %%s, %%L, %%L, %%L, %%L, %%L, %%L, %%L)', nodeid, "
		"groupid, nodename, nodeport, noderack, hasmetadata, isactive, noderole, "
		"nodecluster, metadatasynced, shouldhaveshards) FROM pg_dist_node ORDER BY 1");
	StringInfoData sql;
	ListCell *lc;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO pg_catalog.pg_dist_node VALUES ");
	foreach (lc, rows)
		appendStringInfo(&sql, "%s%s", lc == list_head(rows) ? "" : ", ",
				 ((char **)lfirst(lc))[0]);
	if (rows == NIL)
		return list_make1("DELETE FROM pg_catalog.pg_dist_node");
	return list_make2("DELETE FROM pg_catalog.pg_dist_node", sql.data);
}

/* Sends pg_dist_node to every node but the groups in except. */
static void publish_nodes(List *except)
{
	List *groups = list_difference_int(herd_other_groups(), except);

	if (groups != NIL)
		herd_remote_exec_groups(groups, herd_ddl_run_sql(NULL, herd_nodes_commands()));
}

/* For functions that change nodes: only here, one at a time. */
static void begin_change(bool tables_too)
{
	herd_require_coordinator("change nodes");
	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("must be superuser to change nodes")));
	if (tables_too)
		herd_changes_lock(true);
	(void)herd_nodes_lock(true);
}

static int32 insert_node(const char *host, int port, int32 groupid, const char *role,
			 const char *cluster, bool active, bool shards)
{
	List *rows;

	check_address(host, port);
	if (groupid < 0)
		groupid = (int32)herd_sql_int("SELECT nextval('pg_dist_groupid_seq')");
	else if (groupid > 0) /* groups that were named must not be given out again */
		herd_sql_exec("SELECT setval('pg_dist_groupid_seq', greatest(%d, last_value), "
			      "is_called OR %d >= last_value) FROM pg_dist_groupid_seq",
			      groupid, groupid);
	rows = herd_sql_rows("SELECT nextval('pg_dist_node_nodeid_seq')");
	herd_sql_exec_owner(
		"INSERT INTO pg_dist_node (nodeid, groupid, nodename, nodeport, hasmetadata, "
		"isactive, noderole, nodecluster, metadatasynced, shouldhaveshards) VALUES (%s, "
		"%d, %s, %d, %s, %s, %s, %s, %s, %s)",
		((char **)linitial(rows))[0], groupid, quote_literal_cstr(host), port,
		strcmp(role, "primary") == 0 ? "true" : "false", active ? "true" : "false",
		quote_literal_cstr(role), quote_literal_cstr(cluster),
		active && strcmp(role, "primary") == 0 ? "true" : "false",
		shards ? "true" : "false");
	return atoi(((char **)linitial(rows))[0]);
}

void herd_ensure_coordinator(void)
{
	if (group_primary(HERD_COORDINATOR_GROUP) || herd_local_group() != HERD_COORDINATOR_GROUP)
		return;
	(void)herd_nodes_lock(true);
	if (group_primary(HERD_COORDINATOR_GROUP))
		return;
	herd_sql_exec_owner(
		"INSERT INTO pg_dist_node (nodeid, groupid, nodename, nodeport, hasmetadata, "
		"isactive, noderole, nodecluster, metadatasynced, shouldhaveshards) VALUES "
		"(nextval('pg_dist_node_nodeid_seq'), 0, %s, %d, true, true, 'primary', 'default', "
		"true, false)",
		quote_literal_cstr(herd_local_hostname), PostPortNumber);
}

static char *enum_label(Oid value)
{
	return DatumGetCString(OidFunctionCall1(F_ENUM_OUT, ObjectIdGetDatum(value)));
}

/* A node that this one cannot use is refused before anything is stored about it. */
static void probe_new_node(const char *host, int port)
{
	HerdRemoteResult *r = herd_remote_query(
		host, port, get_database_name(MyDatabaseId),
		"SELECT pg_catalog.pg_is_in_recovery(), e.extversion, s.system_identifier, "
		"(SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts) FROM "
		"pg_catalog.pg_control_system() s LEFT JOIN pg_catalog.pg_extension e ON "
		"e.extname = 'pgherd'",
		herd_node_connection_timeout_ms, false);

	if (!r->ok)
		ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
				errmsg("cannot add node \"%s:%d\"", host, port),
				errdetail("%s", r->message)));
	if (r->nrows != 1 || !r->values[1])
		ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("extension pgherd does not exist on node \"%s:%d\"", host, port),
			 errhint("Run CREATE EXTENSION pgherd in database \"%s\" there.",
				 get_database_name(MyDatabaseId))));
	if (strcmp(r->values[0], "t") == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("node \"%s:%d\" is in recovery", host, port),
				errhint("Add a standby with noderole => 'secondary'.")));
	if (strtoull(r->values[2], NULL, 10) == GetSystemIdentifier())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("node \"%s:%d\" is the coordinator itself or a copy of it",
				       host, port)));
}

static int32 add_node(const char *host, int port, int32 groupid, const char *role,
		      const char *cluster, bool activate)
{
	bool primary = strcmp(role, "primary") == 0;
	const HerdNode *old;
	int32 nodeid;

	begin_change(true);
	check_address(host, port);
	old = find_node(host, port);
	if (old && (old->active || !activate))
		return old->nodeid;
	if (groupid != HERD_COORDINATOR_GROUP || !primary)
		herd_ensure_coordinator();
	if (!primary && groupid < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a secondary node needs the group of its primary")));
	if (primary && groupid >= 0 && !old && group_primary(groupid))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("group %d already has a primary node", groupid),
				errhint("Use citus_update_node to change its address.")));
	if (primary && activate && groupid != HERD_COORDINATOR_GROUP)
		probe_new_node(host, port);
	if (old) {
		nodeid = old->nodeid;
		herd_sql_exec_owner("UPDATE pg_dist_node SET isactive = true, hasmetadata = "
				    "hasmetadata OR %s, metadatasynced = %s WHERE nodeid = %d",
				    primary ? "true" : "false", primary ? "true" : "false", nodeid);
	} else {
		nodeid = insert_node(host, port, groupid, role, cluster, activate,
				     groupid != HERD_COORDINATOR_GROUP);
	}
	if (primary && activate && groupid != HERD_COORDINATOR_GROUP)
		herd_node_activate(herd_node_by_id(nodeid));
	publish_nodes(NIL);
	return nodeid;
}

PG_FUNCTION_INFO_V1(herd_add_node);
PGDLLEXPORT Datum herd_add_node(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(add_node(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1),
				 PG_GETARG_INT32(2), enum_label(PG_GETARG_OID(3)),
				 NameStr(*PG_GETARG_NAME(4)), true));
}

PG_FUNCTION_INFO_V1(herd_add_inactive_node);
PGDLLEXPORT Datum herd_add_inactive_node(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(add_node(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1),
				 PG_GETARG_INT32(2), enum_label(PG_GETARG_OID(3)),
				 NameStr(*PG_GETARG_NAME(4)), false));
}

PG_FUNCTION_INFO_V1(herd_add_secondary_node);
PGDLLEXPORT Datum herd_add_secondary_node(PG_FUNCTION_ARGS)
{
	const HerdNode *primary =
		require_node(text_to_cstring(PG_GETARG_TEXT_PP(2)), PG_GETARG_INT32(3));

	PG_RETURN_INT32(add_node(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1),
				 primary->groupid, "secondary", NameStr(*PG_GETARG_NAME(4)), true));
}

PG_FUNCTION_INFO_V1(herd_activate_node);
PGDLLEXPORT Datum herd_activate_node(PG_FUNCTION_ARGS)
{
	char *host = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const HerdNode *node = require_node(host, PG_GETARG_INT32(1));

	PG_RETURN_INT32(add_node(host, PG_GETARG_INT32(1), node->groupid,
				 node->primary ? "primary" : "secondary", node->cluster, true));
}

/* citus_set_coordinator_host(host, port, role, cluster) */
PG_FUNCTION_INFO_V1(herd_set_coordinator_host);
PGDLLEXPORT Datum herd_set_coordinator_host(PG_FUNCTION_ARGS)
{
	char *host = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *role = enum_label(PG_GETARG_OID(2));
	int port = PG_GETARG_INT32(1);
	const HerdNode *old;

	begin_change(false);
	check_address(host, port);
	old = strcmp(role, "primary") == 0 ? group_primary(HERD_COORDINATOR_GROUP)
					   : find_node(host, port);
	if (!old)
		(void)insert_node(host, port, HERD_COORDINATOR_GROUP, role,
				  NameStr(*PG_GETARG_NAME(3)), true, false);
	else if (strcmp(old->host, host) != 0 || old->port != port)
		herd_sql_exec_owner(
			"UPDATE pg_dist_node SET nodename = %s, nodeport = %d WHERE nodeid = %d",
			quote_literal_cstr(host), port, old->nodeid);
	publish_nodes(NIL);
	PG_RETURN_VOID();
}

static void refuse_shards(const HerdNode *node, const char *verb)
{
	if (herd_sql_int("SELECT count(*) FROM pg_dist_placement JOIN pg_dist_shard USING "
			 "(shardid) JOIN pg_dist_partition USING (logicalrelid) WHERE groupid = "
			 "%d AND repmodel <> 't'",
			 node->groupid) > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot %s node \"%s:%d\": it has shards", verb, node->host,
				       node->port),
				errhint("Undistribute or drop the tables first.")));
}

/* The node's copies of reference tables are no longer written to. */
static void drop_reference_placements(const HerdNode *node)
{
	char *sql = psprintf("DELETE FROM pg_catalog.pg_dist_placement WHERE groupid = %d",
			     node->groupid);
	List *groups = list_difference_int(herd_other_groups(), list_make1_int(node->groupid));

	herd_sql_exec_owner("%s", sql);
	if (groups != NIL)
		herd_remote_exec_groups(groups, sql);
}

PG_FUNCTION_INFO_V1(herd_remove_node);
PGDLLEXPORT Datum herd_remove_node(PG_FUNCTION_ARGS)
{
	const HerdNode *node;

	begin_change(true);
	node = require_node(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1));
	if (node->primary) {
		refuse_shards(node, "remove");
		if (node->groupid == HERD_COORDINATOR_GROUP && list_length(herd_nodes()) > 1)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("cannot remove the coordinator while there are "
					       "other nodes")));
		drop_reference_placements(node);
	}
	herd_sql_exec_owner("DELETE FROM pg_dist_node WHERE nodeid = %d", node->nodeid);
	publish_nodes(NIL);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(herd_disable_node);
PGDLLEXPORT Datum herd_disable_node(PG_FUNCTION_ARGS)
{
	const HerdNode *node;

	begin_change(true);
	node = require_node(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1));
	if (node->primary && node->groupid == HERD_COORDINATOR_GROUP)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("cannot disable the coordinator")));
	if (node->primary) {
		refuse_shards(node, "disable");
		drop_reference_placements(node);
	}
	herd_sql_exec_owner("UPDATE pg_dist_node SET isactive = false, metadatasynced = false "
			    "WHERE nodeid = %d",
			    node->nodeid);
	publish_nodes(NIL);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(herd_set_node_property);
PGDLLEXPORT Datum herd_set_node_property(PG_FUNCTION_ARGS)
{
	char *property = text_to_cstring(PG_GETARG_TEXT_PP(2));
	const HerdNode *node;

	begin_change(false);
	node = require_node(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1));
	if (strcmp(property, "shouldhaveshards") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("node property \"%s\" does not exist", property),
				errhint("The property is shouldhaveshards.")));
	herd_sql_exec_owner("UPDATE pg_dist_node SET shouldhaveshards = %s WHERE nodeid = %d",
			    PG_GETARG_BOOL(3) ? "true" : "false", node->nodeid);
	publish_nodes(NIL);
	PG_RETURN_VOID();
}

/*
 * Groups whose primary's row this transaction has changed: on the move (what the row says now may
 * be no address at all), or found to be away.
 */
static List *groups_changed_here(void)
{
	List *groups = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT groupid FROM pg_dist_node WHERE noderole = 'primary' "
				   "AND xmin = pg_current_xact_id()::xid"))
		groups = lappend_int(groups, atoi(((char **)lfirst(lc))[0]));
	return groups;
}

/*
 * Groups that do not answer now. A change of address must not wait for a node that is away as
 * well: it learns of the change when it is back (herd_sync_pending_metadata). A node with which
 * this transaction has a session is not asked again.
 */
static List *unreachable_groups(int32 except)
{
	List *nodes = NIL, *sqls = NIL, *away = NIL, *changed = groups_changed_here(), *results;
	ListCell *lc, *lr;

	foreach (lc, herd_other_groups()) {
		int32 group = lfirst_int(lc);

		if (group == except)
			continue;
		if (list_member_int(changed, group)) {
			away = lappend_int(away, group);
			continue;
		}
		if (herd_remote_in_use(group))
			continue;
		nodes = lappend(nodes, (void *)herd_node_primary(lfirst_int(lc)));
		sqls = lappend(sqls, "SELECT pg_catalog.pg_is_in_recovery()");
	}
	results = nodes == NIL ? NIL : herd_remote_query_nodes(nodes, sqls, PROBE_TIMEOUT_MS);
	forboth(lc, nodes, lr, results)
	{
		const HerdNode *node = lfirst(lc);
		const HerdRemoteResult *r = lfirst(lr);

		if (r->ok && r->nrows == 1 && strcmp(r->values[0], "f") == 0)
			continue;
		ereport(NOTICE, (errmsg("node \"%s:%d\" is told of the change later", node->host,
					node->port),
				 errdetail("%s", r->ok ? "It is in recovery." : r->message)));
		away = lappend_int(away, node->groupid);
	}
	return away;
}

static void mark_unsynced(List *groups)
{
	ListCell *lc;

	foreach (lc, groups)
		herd_sql_exec_owner("UPDATE pg_dist_node SET metadatasynced = false WHERE "
				    "groupid = %d AND noderole = 'primary'",
				    lfirst_int(lc));
}

static void update_primary(const HerdNode *node, const char *host, int port, int cooldown_ms)
{
	int32 group = node->groupid;
	List *skip = unreachable_groups(group), *groups;

	herd_group_lock_force(group, cooldown_ms);
	if (group != HERD_COORDINATOR_GROUP)
		skip = lappend_int(skip, group);
	groups = list_difference_int(herd_other_groups(), skip);
	if (groups != NIL)
		herd_remote_exec_groups(groups, psprintf("SELECT citus_internal.lock_group(%d, %d)",
							 group, cooldown_ms));
	herd_sql_exec_owner(
		"UPDATE pg_dist_node SET nodename = %s, nodeport = %d WHERE nodeid = %d",
		quote_literal_cstr(host), port, node->nodeid);
	mark_unsynced(skip);
	publish_nodes(skip);
}

/* citus_update_node(id, host, port, force, lock_cooldown) */
PG_FUNCTION_INFO_V1(herd_update_node);
PGDLLEXPORT Datum herd_update_node(PG_FUNCTION_ARGS)
{
	int32 nodeid = PG_GETARG_INT32(0);
	char *host = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int port = PG_GETARG_INT32(2), cooldown = PG_GETARG_INT32(4);
	const HerdNode *node, *other;

	begin_change(false);
	check_address(host, port);
	if (cooldown < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("lock_cooldown must not be negative")));
	node = herd_node_by_id(nodeid);
	if (!node)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("node %d does not exist", nodeid)));
	other = find_node(host, port);
	if (other && other->nodeid != nodeid)
		ereport(ERROR, (errcode(ERRCODE_UNIQUE_VIOLATION),
				errmsg("there is already another node at \"%s:%d\"", host, port)));
	if (other)
		PG_RETURN_VOID();
	if (node->primary && node->active) {
		update_primary(node, host, port, PG_GETARG_BOOL(3) ? cooldown : -1);
	} else {
		List *away = unreachable_groups(HERD_INVALID_GROUP);

		herd_sql_exec_owner(
			"UPDATE pg_dist_node SET nodename = %s, nodeport = %d WHERE nodeid = %d",
			quote_literal_cstr(host), port, nodeid);
		mark_unsynced(away);
		publish_nodes(away);
	}
	PG_RETURN_VOID();
}

static bool sync_node(const HerdNode *node)
{
	List *commands;
	HerdRemoteResult *r;
	StringInfoData sql;
	ListCell *lc;

	/* In the copy that it gets, the node is in sync. */
	herd_sql_exec_owner("UPDATE pg_dist_node SET metadatasynced = true WHERE nodeid = %d",
			    node->nodeid);
	commands = herd_nodes_commands();
	initStringInfo(&sql);
	appendStringInfoString(&sql, "BEGIN; SELECT citus_internal.require_writable(); ");
	foreach (lc, commands)
		appendStringInfo(&sql, "%s; ", (char *)lfirst(lc));
	appendStringInfoString(&sql, "COMMIT");
	r = herd_remote_query(node->host, node->port, get_database_name(MyDatabaseId), sql.data,
			      SYNC_TIMEOUT_MS, true);
	if (r->ok)
		return true;
	herd_sql_exec_owner("UPDATE pg_dist_node SET metadatasynced = false WHERE nodeid = %d",
			    node->nodeid);
	ereport(DEBUG1, (errmsg_internal("node \"%s:%d\" is still behind: %s", node->host,
					 node->port, r->message)));
	return false;
}

int herd_sync_pending_metadata(void)
{
	List *pending = NIL;
	ListCell *lc;
	int behind = 0;

	if (!herd_enabled() || RecoveryInProgress() || herd_local_group() != HERD_COORDINATOR_GROUP)
		return 0;
	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (node->primary && node->active && node->hasmetadata && !node->metadatasynced)
			pending = lappend_int(pending, node->nodeid);
	}
	if (pending == NIL)
		return 0;
	if (!herd_nodes_lock(false))
		return list_length(pending);
	foreach (lc, pending) {
		const HerdNode *node = herd_node_by_id(lfirst_int(lc));

		if (node && node->groupid == HERD_COORDINATOR_GROUP)
			herd_sql_exec_owner("UPDATE pg_dist_node SET metadatasynced = true "
					    "WHERE nodeid = %d",
					    node->nodeid);
		else if (node && !sync_node(node))
			behind++;
	}
	return behind;
}

PG_FUNCTION_INFO_V1(herd_sync_pending);
PGDLLEXPORT Datum herd_sync_pending(PG_FUNCTION_ARGS)
{
	herd_require_coordinator("synchronize nodes");
	PG_RETURN_INT32(herd_sync_pending_metadata());
}
