/*
 * TRUNCATE, VACUUM and ANALYZE of distributed tables, and the shards of dropped ones.
 */
#include "ddl/utility.h"

#include "access/xact.h"
#include "attach/truncate.h"
#include "catalog/kept.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "catalog/schemas.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/event_trigger.h"
#include "compat.h"
#include "conn/conn.h"
#include "ddl/functions.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "fmgr.h"
#include "guc.h"
#include "miscadmin.h"
#include "stats/stats.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

static List *distributed_of(List *rangevars)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, rangevars) {
		const HerdTable *table = herd_utility_table(lfirst(lc), NoLock);

		if (table)
			out = lappend(out, (void *)table);
	}
	return out;
}

/* Groups but this one that have shards of the tables. */
static List *groups_of(List *tables)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, tables) {
		const HerdTable *table = lfirst(lc);

		for (int i = 0; i < table->nshards; i++)
			for (int g = 0; g < table->shards[i].ngroups; g++)
				out = list_append_unique_int(out, table->shards[i].groups[g]);
	}
	return list_delete_int(out, herd_local_group());
}

/* The names of a group's shards of the tables, joined by commas; NULL when it has none. */
static char *shard_names(List *tables, int32 group)
{
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	foreach (lc, tables) {
		const HerdTable *table = lfirst(lc);

		for (int i = 0; i < table->nshards; i++)
			for (int g = 0; g < table->shards[i].ngroups; g++)
				if (table->shards[i].groups[g] == group)
					appendStringInfo(&out, "%s%s", out.len ? ", " : "",
							 herd_shape_name(table->relid,
									 table->shards[i].shardid));
	}
	return out.len ? out.data : NULL;
}

/* truncate_shards(tables, cascade): those on this node, in one statement for the foreign keys. */
PG_FUNCTION_INFO_V1(herd_truncate_shards);
PGDLLEXPORT Datum herd_truncate_shards(PG_FUNCTION_ARGS)
{
	List *tables = NIL;
	Datum *elems;
	char *names;
	int n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), REGCLASSOID, 4, true, TYPALIGN_INT, &elems,
			  NULL, &n);
	for (int i = 0; i < n; i++) {
		const HerdTable *table = herd_table_get(DatumGetObjectId(elems[i]));

		if (table)
			tables = lappend(tables, (void *)table);
	}
	names = shard_names(tables, herd_local_group());
	if (names)
		herd_ddl_run(NULL, list_make1(psprintf("TRUNCATE %s%s", names,
						       PG_GETARG_BOOL(1) ? " CASCADE" : "")));
	PG_RETURN_VOID();
}

/* For CASCADE: with those that refer to them, of which shards do not know all. */
static List *with_referring(List *tables)
{
	List *oids = NIL, *out = NIL;
	ListCell *lc;

	foreach (lc, tables)
		oids = lappend_oid(oids, ((HerdTable *)lfirst(lc))->relid);
	for (int i = 0; i < list_length(oids); i++)
		foreach (lc, herd_sql_rows("SELECT DISTINCT conrelid::oid::text FROM pg_constraint "
					   "WHERE contype = 'f' AND confrelid IN (%s)",
					   herd_kept_with_partitions(
						   list_make1_oid(list_nth_oid(oids, i)))))
			oids = list_append_unique_oid(oids, atooid(((char **)lfirst(lc))[0]));
	foreach (lc, oids) {
		const HerdTable *table = herd_table_get(lfirst_oid(lc));

		if (table != NULL)
			out = lappend(out, (void *)table);
	}
	return out;
}

bool herd_utility_truncate(HerdUtility *u)
{
	TruncateStmt *stmt = castNode(TruncateStmt, u->stmt);
	List *tables, *groups, *waiting;
	StringInfoData sql;
	ListCell *lc;

	if (u->applying)
		return false;
	tables = distributed_of(stmt->relations);
	if (tables == NIL)
		return false;
	if (stmt->behavior == DROP_CASCADE)
		tables = with_referring(tables);
	initStringInfo(&sql);
	foreach (lc, tables)
		appendStringInfo(
			&sql, "%s%s", sql.len ? ", " : "",
			quote_literal_cstr(herd_shape_name(((HerdTable *)lfirst(lc))->relid, 0)));
	groups = groups_of(tables);
	/* The shells are empty, but rights, foreign keys and RESTART IDENTITY are theirs. */
	waiting = herd_truncate_begin(stmt);
	herd_utility_run(u);
	herd_truncate_restore(waiting);
	sql.data = psprintf("SELECT citus_internal.truncate_shards(ARRAY[%s]::regclass[], %s)",
			    sql.data, stmt->behavior == DROP_CASCADE ? "true" : "false");
	herd_sql_exec("%s", sql.data);
	if (groups != NIL)
		herd_remote_exec_groups(groups, sql.data);
	herd_truncate_fire(waiting);
	return true;
}

/* The statement's options, then the shards. */
static char *vacuum_text(const HerdUtility *u, const VacuumStmt *stmt, List *tables, int32 group)
{
	char *names = shard_names(tables, group);
	int start;

	if (names == NULL)
		return NULL;
	if (stmt->rels == NIL) /* all tables: a semicolon is not part of the text */
		return psprintf("%s\n%s", u->text, names);
	start = linitial_node(VacuumRelation, stmt->rels)->relation->location - u->base;
	return psprintf("%.*s%s", start, u->text, names);
}

/* All distributed tables that the user may treat so. */
static List *own_tables(void)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT logicalrelid::oid FROM pg_dist_partition p JOIN "
				   "pg_class c ON c.oid = logicalrelid WHERE relkind = 'r' "
				   "AND " HERD_MAY_MAINTAIN_SQL " ORDER BY 1")) {
		const HerdTable *table = herd_table_get(atooid(((char **)lfirst(lc))[0]));

		if (table)
			out = lappend(out, (void *)table);
	}
	return out;
}

static void vacuum_nodes(const char *what, List *nodes, List *sqls)
{
	List *results = nodes == NIL ? NIL : herd_remote_query_nodes(nodes, sqls, 0);
	ListCell *ln, *lr;

	forboth(ln, nodes, lr, results)
	{
		const HerdNode *node = lfirst(ln);
		const HerdRemoteResult *r = lfirst(lr);

		if (!r->ok)
			ereport(WARNING, (errmsg("%s failed on node \"%s:%d\": %s", what,
						 node->host, node->port, r->message)));
	}
}

/*
 * A transaction for each part. VACUUM leaves one open that holds a lock which its like, run beside
 * it on this server's shards, needs too; and the locks of a whole ANALYZE would keep others from
 * tables that it is through with. What was allocated stays.
 */
static void next_transaction(void)
{
	MemoryContext old = CurrentMemoryContext;

	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	StartTransactionCommand();
	MemoryContextSwitchTo(old);
}

/*
 * The shells' statistics, here and, with others, on the other nodes, which take them of the shards
 * themselves. Not in a transaction block: they would wait for the locks that it has on the shards.
 */
static void gather_statistics(const List *relids, bool rows, bool others)
{
	List *nodes = NIL, *sqls = NIL;
	StringInfoData sql;
	ListCell *lc;

	initStringInfo(&sql);
	foreach (lc, relids) {
		const HerdTable *table;
		bool pushed = !ActiveSnapshotSet();

		if (pushed)
			PushActiveSnapshot(GetTransactionSnapshot());
		table = herd_table_get(lfirst_oid(lc));
		if (table)
			herd_stats_gather(table, rows, true);
		if (pushed)
			PopActiveSnapshot();
		if (!table)
			continue;
		appendStringInfo(&sql,
				 "%scitus_internal.gather_statistics(%s::pg_catalog.regclass, %s)",
				 sql.len ? ", " : "SELECT ",
				 quote_literal_cstr(herd_shape_name(table->relid, 0)),
				 rows ? "true" : "false");
		if (others)
			next_transaction();
	}
	foreach (lc, others ? herd_other_groups() : NIL) {
		nodes = lappend(nodes, (void *)herd_node_primary(lfirst_int(lc)));
		sqls = lappend(sqls, sql.data);
	}
	if (sql.len > 0)
		vacuum_nodes("gathering of statistics", nodes, sqls);
}

bool herd_utility_vacuum(HerdUtility *u)
{
	VacuumStmt *stmt = castNode(VacuumStmt, u->stmt);
	List *rangevars = NIL, *tables, *groups, *relids = NIL, *sqls = NIL, *nodes = NIL;
	bool analyze = !stmt->is_vacuumcmd;
	ListCell *lc, *ls;
	char *here;

	if (u->applying)
		return false;
	foreach (lc, stmt->rels)
		if (((VacuumRelation *)lfirst(lc))->relation)
			rangevars = lappend(rangevars, ((VacuumRelation *)lfirst(lc))->relation);
	foreach (lc, stmt->options)
		if (strcmp(((DefElem *)lfirst(lc))->defname, "only_database_stats") == 0)
			return false;
	tables = stmt->rels == NIL ? own_tables() : distributed_of(rangevars);
	if (tables == NIL)
		return false;
	/* VACUUM ends the transaction, and with it what the tables are read from. */
	groups = groups_of(tables);
	foreach (lc, groups)
		sqls = lappend(sqls, vacuum_text(u, stmt, tables, lfirst_int(lc)));
	/* shards of this node are tables like others */
	here = stmt->rels == NIL ? NULL : vacuum_text(u, stmt, tables, herd_local_group());
	foreach (lc, tables)
		relids = lappend_oid(relids, ((HerdTable *)lfirst(lc))->relid);
	herd_utility_run(u);
	if (!stmt->is_vacuumcmd && IsInTransactionBlock(u->context == PROCESS_UTILITY_TOPLEVEL)) {
		forboth(lc, groups, ls, sqls) herd_remote_exec(lfirst_int(lc), lfirst(ls));
		if (here)
			herd_ddl_run(NULL, list_make1(here));
		gather_statistics(relids, true, false);
		return true;
	}
	foreach (lc, stmt->options) {
		DefElem *option = lfirst(lc);

		if (strcmp(option->defname, "analyze") == 0)
			analyze = defGetBoolean(option);
	}
	next_transaction();
	if (here) {
		groups = lappend_int(groups, herd_local_group());
		sqls = lappend(sqls, here);
	}
	foreach (lc, groups)
		nodes = lappend(nodes, (void *)herd_node_primary(lfirst_int(lc)));
	vacuum_nodes(stmt->is_vacuumcmd ? "VACUUM" : "ANALYZE", nodes, sqls);
	gather_statistics(relids, analyze, true);
	return true;
}

static List *dropped_objects(const char *type)
{
	return herd_sql_rows("SELECT objid::text, schema_name, object_name FROM "
			     "pg_event_trigger_dropped_objects() WHERE object_type = '%s' AND "
			     "NOT is_temporary",
			     type);
}

static void drop_table(char **row, bool origin)
{
	Oid relid = atooid(row[0]);

	if (!herd_table_get(relid))
		return;
	if (origin)
		herd_require_coordinator("drop a distributed table");
	if (origin && herd_enable_ddl_propagation) {
		herd_changes_lock(false);
		herd_ddl_send(NULL,
			      list_make1(psprintf("DROP TABLE IF EXISTS %s CASCADE",
						  quote_qualified_identifier(row[1], row[2]))));
	}
	herd_sql_exec("SELECT citus_internal.drop_shards(%u, %s, %s)", relid,
		      quote_literal_cstr(row[1]), quote_literal_cstr(row[2]));
}

/* Not a trigger that goes with that of a partitioned table. */
static bool has_attached(const char *shard, bool policy, const char *name)
{
	if (policy)
		return herd_sql_int("SELECT count(*) FROM pg_policy WHERE polrelid = %s::regclass "
				    "AND polname = %s",
				    quote_literal_cstr(shard), quote_literal_cstr(name)) > 0;
	return herd_sql_int("SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass AND "
			    "tgname = %s AND tgparentid = 0",
			    quote_literal_cstr(shard), quote_literal_cstr(name)) > 0;
}

/*
 * Policies and triggers that went with what they use: those of the shards do not use it, and go
 * here on each node. What the statement itself names is sent to the shards with it.
 */
static void drop_attached(void)
{
	ListCell *lc, *ls;

	foreach (lc, herd_sql_rows("SELECT object_type, address_names[3], r::oid::text FROM "
				   "pg_event_trigger_dropped_objects(), to_regclass(format("
				   "'%%I.%%I', address_names[1], address_names[2])) r WHERE "
				   "object_type IN ('policy', 'trigger') AND NOT original AND r IS "
				   "NOT NULL AND address_names[3] !~ '^RI_ConstraintTrigger_'")) {
		char **row = lfirst(lc);
		const HerdTable *table = herd_table_get(atooid(row[2]));
		bool policy = strcmp(row[0], "policy") == 0;

		foreach (ls, table ? herd_utility_local_shards(table) : NIL) {
			char *shard = herd_shape_name(table->relid, *(uint64 *)lfirst(ls));

			if (has_attached(shard, policy, row[1]))
				herd_sql_exec_owner("DROP %s %s ON %s",
						    policy ? "POLICY" : "TRIGGER",
						    quote_identifier(row[1]), shard);
		}
	}
}

/* sql_drop: whatever way a distributed table goes, its shards and its metadata follow. */
PG_FUNCTION_INFO_V1(herd_dropped);
PGDLLEXPORT Datum herd_dropped(PG_FUNCTION_ARGS)
{
	bool origin = !herd_ddl_applying();
	ListCell *lc;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("citus_internal.dropped is an event trigger")));
	if (!herd_enabled())
		PG_RETURN_NULL();
	foreach (lc, dropped_objects("table"))
		drop_table(lfirst(lc), origin);
	drop_attached();
	herd_functions_forget();
	foreach (lc, dropped_objects("schema"))
		herd_schema_forget(atooid(((char **)lfirst(lc))[0]));
	if (!origin || !herd_enable_ddl_propagation || herd_local_group() != HERD_COORDINATOR_GROUP)
		PG_RETURN_NULL();
	foreach (lc, dropped_objects("schema"))
		herd_ddl_send(NULL,
			      list_make1(psprintf("DROP SCHEMA IF EXISTS %s CASCADE",
						  quote_identifier(((char **)lfirst(lc))[2]))));
	PG_RETURN_NULL();
}
