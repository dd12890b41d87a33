#include "catalog/schemas.h"

#include "access/transam.h"
#include "catalog/kept.h"
#include "catalog/metadata.h"
#include "catalog/namespace.h"
#include "catalog/nodes.h"
#include "catalog/pg_namespace.h"
#include "catalog/tables.h"
#include "compat.h"
#include "ddl/local.h"
#include "fmgr.h"
#include "guc.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define ANY_GROUP (-1)

uint32 herd_schema_colocation(Oid schema)
{
	List *rows = herd_sql_rows("SELECT colocationid::text FROM pg_dist_schema WHERE schemaid = "
				   "%u",
				   schema);

	return rows == NIL ? 0 : (uint32)strtoul(((char **)linitial(rows))[0], NULL, 10);
}

static char *name_of(Oid schema)
{
	char *name = get_namespace_name(schema);

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_SCHEMA),
				errmsg("schema with OID %u does not exist", schema)));
	return name;
}

static void require_schema_owner(Oid schema)
{
	if (!herd_owns_schema(schema, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_SCHEMA, name_of(schema));
}

/* add_schema(name, colocation id): this node's part of herd_schema_make. */
PG_FUNCTION_INFO_V1(herd_add_schema);
PGDLLEXPORT Datum herd_add_schema(PG_FUNCTION_ARGS)
{
	Oid schema = get_namespace_oid(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	int32 colocationid = PG_GETARG_INT32(1);

	require_schema_owner(schema);
	if (herd_sql_int("SELECT count(*) FROM pg_dist_partition WHERE colocationid = %d AND "
			 "(partmethod <> 'n' OR repmodel = 't' OR logicalrelid IN (SELECT oid FROM "
			 "pg_class WHERE relnamespace <> %u))",
			 colocationid, schema) > 0)
		ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("colocation group %d has tables of other schemas", colocationid)));
	herd_sql_exec_owner("INSERT INTO pg_catalog.pg_dist_colocation VALUES (%d, 1, 1, 0, 0) ON "
			    "CONFLICT DO NOTHING",
			    colocationid);
	herd_sql_exec_owner("INSERT INTO pg_catalog.pg_dist_schema VALUES (%u, %d)", schema,
			    colocationid);
	PG_RETURN_VOID();
}

/* remove_schema(name): it is an ordinary one again, on this node. */
PG_FUNCTION_INFO_V1(herd_remove_schema);
PGDLLEXPORT Datum herd_remove_schema(PG_FUNCTION_ARGS)
{
	Oid schema = get_namespace_oid(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);

	require_schema_owner(schema);
	herd_schema_forget(schema);
	PG_RETURN_VOID();
}

void herd_schema_forget(Oid schema)
{
	uint32 colocationid = herd_schema_colocation(schema);

	if (colocationid == 0)
		return;
	herd_sql_exec_owner("DELETE FROM pg_catalog.pg_dist_schema WHERE schemaid = %u", schema);
	herd_sql_exec_owner("DELETE FROM pg_catalog.pg_dist_colocation WHERE colocationid = %u",
			    colocationid);
}

static char *add_command(const char *name, const char *colocationid)
{
	return psprintf("SELECT citus_internal.add_schema(%s, %s)", quote_literal_cstr(name),
			colocationid);
}

static void on_all_nodes(char *command)
{
	herd_ddl_send(NULL, list_make1(command));
	herd_sql_exec("%s", command);
}

void herd_schema_make(Oid schema)
{
	char *id =
		psprintf(INT64_FORMAT, herd_sql_int("SELECT citus_internal.next_colocation_id()"));

	herd_ensure_coordinator();
	herd_changes_lock(true);
	on_all_nodes(add_command(name_of(schema), id));
}

static void unmake(Oid schema)
{
	on_all_nodes(psprintf("SELECT citus_internal.remove_schema(%s)",
			      quote_literal_cstr(name_of(schema))));
}

void herd_schema_add_table(Oid relid)
{
	herd_table_distribute_single(relid, herd_schema_colocation(get_rel_namespace(relid)),
				     ANY_GROUP);
}

List *herd_schema_commands(void)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT nspname::text, colocationid::text FROM pg_dist_schema "
				   "JOIN pg_namespace n ON n.oid = schemaid ORDER BY 2"))
		out = lappend(out, add_command(((char **)lfirst(lc))[0], ((char **)lfirst(lc))[1]));
	return out;
}

/* Tables of the schema that are no partitions and belong to no extension, as a list of Oid. */
static List *tables_of(Oid schema)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT c.oid::text FROM pg_class c WHERE relnamespace = %u AND "
				   "relkind IN ('r', 'p') AND NOT relispartition AND "
				   "relpersistence <> 't' AND NOT EXISTS (SELECT FROM pg_depend d "
				   "WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND "
				   "d.deptype = 'e') AND NOT relation_is_a_known_shard(c.oid) "
				   "ORDER BY 1",
				   schema))
		out = lappend_oid(out, atooid(((char **)lfirst(lc))[0]));
	return out;
}

static Oid open_schema(FunctionCallInfo fcinfo, const char *what)
{
	Oid schema = PG_GETARG_OID(0);
	char *name = name_of(schema);

	herd_require_coordinator(what);
	herd_ensure_coordinator();
	herd_changes_lock(true);
	require_schema_owner(schema);
	if (isAnyTempNamespace(schema) ||
	    (schema < FirstNormalObjectId && strcmp(name, "public") != 0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("schema \"%s\" cannot be distributed", name),
				errdetail("It is a system schema.")));
	return schema;
}

static void require_distributed(Oid schema)
{
	if (herd_schema_colocation(schema) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("schema \"%s\" is not distributed", name_of(schema)),
				errhint("Run citus_schema_distribute first.")));
}

/* The schema and its tables, on one node: group, or whichever. */
static void distribute(Oid schema, List *tables, int32 group)
{
	uint32 colocationid;
	ListCell *lc;

	herd_schema_make(schema);
	colocationid = herd_schema_colocation(schema);
	foreach (lc, tables)
		herd_table_distribute_single(lfirst_oid(lc), colocationid, group);
}

static void undistribute(Oid schema, List *tables)
{
	ListCell *lc;

	foreach (lc, tables)
		if (herd_table_get(lfirst_oid(lc)))
			herd_sql_exec("SELECT undistribute_table(%u)", lfirst_oid(lc));
	unmake(schema);
}

/* citus_schema_distribute(schema) */
PG_FUNCTION_INFO_V1(herd_schema_distribute_sql);
PGDLLEXPORT Datum herd_schema_distribute_sql(PG_FUNCTION_ARGS)
{
	Oid schema = open_schema(fcinfo, "distribute a schema");
	HerdKept kept = { .tables = tables_of(schema) };
	ListCell *lc;

	if (herd_schema_colocation(schema) != 0) {
		ereport(NOTICE, (errmsg("schema \"%s\" is already distributed", name_of(schema))));
		PG_RETURN_VOID();
	}
	foreach (lc, kept.tables)
		if (herd_table_get(lfirst_oid(lc)))
			ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("schema \"%s\" cannot be distributed", name_of(schema)),
				 errdetail("Its table \"%s\" is already distributed.",
					   get_rel_name(lfirst_oid(lc))),
				 errhint("Run undistribute_table on it, or move it to another "
					 "schema.")));
	herd_kept_take_away(&kept);
	distribute(schema, kept.tables, ANY_GROUP);
	herd_kept_put_back(&kept);
	PG_RETURN_VOID();
}

/* citus_schema_undistribute(schema) */
PG_FUNCTION_INFO_V1(herd_schema_undistribute_sql);
PGDLLEXPORT Datum herd_schema_undistribute_sql(PG_FUNCTION_ARGS)
{
	Oid schema = open_schema(fcinfo, "undistribute a schema");
	HerdKept kept = { .tables = tables_of(schema) };

	require_distributed(schema);
	herd_kept_take_away(&kept);
	undistribute(schema, kept.tables);
	herd_kept_put_back(&kept);
	PG_RETURN_VOID();
}

/*
 * citus_schema_move(schema, node id, mode): rewrites the tables on another node. Nobody else uses
 * them meanwhile, whatever the mode says.
 */
PG_FUNCTION_INFO_V1(herd_schema_move_sql);
PGDLLEXPORT Datum herd_schema_move_sql(PG_FUNCTION_ARGS)
{
	Oid schema = open_schema(fcinfo, "move a schema");
	const HerdNode *node = herd_node_by_id(PG_GETARG_INT32(1));
	HerdKept kept = { .tables = tables_of(schema) };

	require_distributed(schema);
	if (node == NULL || !node->primary || !node->active)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("node %d is no active primary", PG_GETARG_INT32(1)),
				errhint("See pg_dist_node.")));
	if (kept.tables == NIL)
		ereport(NOTICE, (errmsg("schema \"%s\" has no tables to move", name_of(schema))));
	if (kept.tables == NIL ||
	    herd_table_get(linitial_oid(kept.tables))->shards[0].groups[0] == node->groupid)
		PG_RETURN_VOID();
	herd_kept_take_away(&kept);
	undistribute(schema, kept.tables);
	distribute(schema, kept.tables, node->groupid);
	herd_kept_put_back(&kept);
	PG_RETURN_VOID();
}
