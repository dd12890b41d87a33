/*
 * alter_distributed_table and its relatives: a table is made local and distributed anew, with the
 * tables that have to follow. Foreign keys and views, which would be in the way or get lost on the
 * other nodes, are taken away before and put back after.
 */
#include "catalog/tables.h"

#include "attach/attach.h"
#include "catalog/kept.h"
#include "catalog/namespace.h"
#include "compat.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "ddl/shape.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

static List *oids_of(List *rows)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, rows)
		out = lappend_oid(out, atooid(((char **)lfirst(lc))[0]));
	return out;
}

/* With all distributed tables that foreign keys connect it with. */
static List *connected_tables(Oid relid)
{
	List *tables = list_make1_oid(relid);
	bool grown = true;

	while (grown) {
		char *oids = herd_kept_with_partitions(tables);
		ListCell *lc;

		grown = false;
		foreach (lc,
			 oids_of(herd_sql_rows(
				 "SELECT confrelid::oid::text FROM pg_constraint WHERE contype = "
				 "'f' AND conrelid IN (%s) UNION SELECT conrelid::oid::text FROM "
				 "pg_constraint WHERE contype = 'f' AND confrelid IN (%s)",
				 oids, oids))) {
			Oid other = lfirst_oid(lc);

			if (get_rel_relispartition(other) || !herd_table_get(other) ||
			    list_member_oid(tables, other))
				continue;
			tables = lappend_oid(tables, other);
			grown = true;
		}
	}
	return tables;
}

static const HerdTable *require_hash(Oid relid)
{
	const HerdTable *table = herd_table_get(relid);

	if (table == NULL || table->kind != HERD_TABLE_HASH)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				errmsg("table \"%s\" is not distributed by a column",
				       get_rel_name(relid) ? get_rel_name(relid) : "?")));
	if (!herd_owns_relation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	if (get_rel_relispartition(relid))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot alter table \"%s\": it is a partition",
				       get_rel_name(relid)),
				errhint("Alter the partitioned table.")));
	return table;
}

/* undistribute_tables(table): with all that foreign keys connect it with. */
PG_FUNCTION_INFO_V1(herd_undistribute_connected);
PGDLLEXPORT Datum herd_undistribute_connected(PG_FUNCTION_ARGS)
{
	HerdKept kept = { 0 };
	ListCell *lc;

	herd_require_coordinator("undistribute a table");
	herd_changes_lock(true);
	kept.tables = connected_tables(PG_GETARG_OID(0));
	herd_kept_take_away(&kept);
	foreach (lc, kept.tables)
		if (herd_table_get(lfirst_oid(lc)))
			herd_sql_exec("SELECT pg_catalog.undistribute_table(%u::regclass, false)",
				      lfirst_oid(lc));
	herd_kept_put_back(&kept);
	PG_RETURN_VOID();
}

/* Tables of the colocation group but the table and partitions, which follow their parents. */
static List *neighbours(const HerdTable *table)
{
	return oids_of(herd_sql_rows("SELECT p.logicalrelid::oid::text FROM pg_dist_partition p "
				     "JOIN pg_class c ON c.oid = p.logicalrelid WHERE "
				     "p.colocationid = %u AND p.colocationid <> 0 AND p.partmethod "
				     "= 'h' AND NOT c.relispartition AND c.oid <> %u ORDER BY 1",
				     table->colocationid, table->relid));
}

typedef struct Change {
	char *column; /* NULL: as it is */
	int nshards;  /* 0: as many */
	char *colocate;
	bool cascade, cascade_given;
} Change;

static void check_change(const HerdTable *table, const Change *change, List *others)
{
	bool fewer = change->nshards && change->nshards != table->nshards;

	if (!change->column && !change->nshards && !change->colocate)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("you have to specify at least one of the "
				       "distribution_column, shard_count or colocate_with "
				       "parameters")));
	if (change->nshards < 0 || change->nshards > 64000)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("shard_count must be between 1 and 64000")));
	if (change->cascade && change->column)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("distribution_column changes cannot be cascaded to "
				       "colocated tables")));
	if (!change->colocate && !fewer &&
	    (!change->column || strcmp(change->column, herd_table_key_name(table)) == 0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("this call doesn't change any properties of the table")));
	if (fewer && others != NIL && !change->cascade_given)
		ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cascade_to_colocated parameter is necessary"),
			 errdetail("this table is colocated with some other tables"),
			 errhint("cascade_to_colocated := false will break the current "
				 "colocation, cascade_to_colocated := true will change the shard "
				 "count of colocated tables too.")));
}

static void distribute_again(Oid relid, const char *column, const char *colocate, int nshards)
{
	herd_sql_exec("SELECT pg_catalog.create_distributed_table(%u::regclass, %s, colocate_with "
		      "=> %s%s)",
		      relid, quote_literal_cstr(column), quote_literal_cstr(colocate),
		      nshards ? psprintf(", shard_count => %d", nshards) : "");
}

static void alter(const HerdTable *table, const Change *change)
{
	List *others = neighbours(table), *columns = NIL;
	bool named = change->colocate && pg_strcasecmp(change->colocate, "none") != 0 &&
		     pg_strcasecmp(change->colocate, "default") != 0;
	int nshards = change->nshards ? change->nshards : (named ? 0 : table->nshards);
	const char *colocate = change->colocate;
	HerdKept kept = { .tables = list_make1_oid(table->relid) };
	ListCell *lc;

	check_change(table, change, others);
	if (change->cascade)
		kept.tables = list_concat(kept.tables, others);
	if (!colocate)
		colocate = change->cascade ? "none" : "default";
	foreach (lc, kept.tables)
		columns = lappend(columns, herd_table_key_name(herd_table_get(lfirst_oid(lc))));
	if (change->column)
		linitial(columns) = change->column;
	herd_kept_take_away(&kept);
	foreach (lc, kept.tables)
		herd_sql_exec("SELECT pg_catalog.undistribute_table(%u::regclass, false)",
			      lfirst_oid(lc));
	foreach (lc, kept.tables) {
		int i = foreach_current_index(lc);

		distribute_again(lfirst_oid(lc), list_nth(columns, i),
				 i ? herd_shape_name(table->relid, 0) : colocate, i ? 0 : nshards);
	}
	herd_kept_put_back(&kept);
}

/* The name as it is understood whatever the search_path. */
static char *qualified(text *name)
{
	char *word = text_to_cstring(name);
	RangeVar *rv;

	if (pg_strcasecmp(word, "none") == 0 || pg_strcasecmp(word, "default") == 0)
		return word;
	rv = makeRangeVarFromNameList(textToQualifiedNameList(name));
	return herd_shape_name(RangeVarGetRelid(rv, AccessShareLock, false), 0);
}

/* alter_distributed_table(table, column, shard_count, colocate_with, cascade_to_colocated) */
PG_FUNCTION_INFO_V1(herd_alter_distributed_table);
PGDLLEXPORT Datum herd_alter_distributed_table(PG_FUNCTION_ARGS)
{
	Change change = { 0 };
	HerdTable table;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("table_name cannot be null")));
	herd_require_coordinator("alter a distributed table");
	herd_changes_lock(true);
	table = *require_hash(PG_GETARG_OID(0));
	if (!PG_ARGISNULL(1))
		change.column = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!PG_ARGISNULL(2))
		change.nshards = PG_GETARG_INT32(2) ? PG_GETARG_INT32(2) : -1;
	if (!PG_ARGISNULL(3))
		change.colocate = qualified(PG_GETARG_TEXT_PP(3));
	change.cascade_given = !PG_ARGISNULL(4);
	change.cascade = change.cascade_given && PG_GETARG_BOOL(4);
	alter(&table, &change);
	PG_RETURN_VOID();
}

/* -- colocation without moving anything -------------------------------------------------------- */

static bool same_places(const HerdTable *a, const HerdTable *b)
{
	if (a->nshards != b->nshards || a->keytype != b->keytype ||
	    a->keycollation != b->keycollation)
		return false;
	for (int i = 0; i < a->nshards; i++)
		if (a->shards[i].hashmin != b->shards[i].hashmin ||
		    a->shards[i].hashmax != b->shards[i].hashmax ||
		    a->shards[i].ngroups != b->shards[i].ngroups ||
		    memcmp(a->shards[i].groups, b->shards[i].groups,
			   a->shards[i].ngroups * sizeof(int32)) != 0)
			return false;
	return true;
}

/* set_colocation(table, id): on one node. */
PG_FUNCTION_INFO_V1(herd_set_colocation);
PGDLLEXPORT Datum herd_set_colocation(PG_FUNCTION_ARGS)
{
	const HerdTable *table = require_hash(PG_GETARG_OID(0));
	ListCell *lc;

	if (PG_GETARG_INT32(1) <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("colocation id must be positive")));
	herd_table_check_colocation(table, (uint32)PG_GETARG_INT32(1));
	herd_sql_exec_owner("INSERT INTO pg_catalog.pg_dist_colocation SELECT %d, shardcount, "
			    "replicationfactor, distributioncolumntype, "
			    "distributioncolumncollation FROM pg_catalog.pg_dist_colocation WHERE "
			    "colocationid = %u ON CONFLICT DO NOTHING",
			    PG_GETARG_INT32(1), table->colocationid);
	foreach (lc, herd_partition_tree(table->relid))
		herd_sql_exec_owner("UPDATE pg_catalog.pg_dist_partition SET colocationid = %d "
				    "WHERE logicalrelid = %u",
				    PG_GETARG_INT32(1), lfirst_oid(lc));
	PG_RETURN_VOID();
}

/* update_distributed_table_colocation(table, colocate_with) */
PG_FUNCTION_INFO_V1(herd_update_colocation);
PGDLLEXPORT Datum herd_update_colocation(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(1)), *sql;
	const HerdTable *table, *model;
	Oid relid = PG_GETARG_OID(0);
	int64 id;

	herd_require_coordinator("change the colocation of a table");
	herd_changes_lock(true);
	table = require_hash(relid);
	if (pg_strcasecmp(name, "none") == 0) {
		id = herd_sql_int("SELECT citus_internal.next_colocation_id()");
	} else {
		RangeVar *rv =
			makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(1)));

		model = require_hash(RangeVarGetRelid(rv, AccessShareLock, false));
		if (!same_places(table, model))
			ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot colocate table \"%s\" with \"%s\"",
					get_rel_name(table->relid), name),
				 errdetail("Their shards have other ranges, or are not on the same "
					   "nodes."),
				 errhint("Use alter_distributed_table, which moves the rows.")));
		id = model->colocationid;
	}
	sql = psprintf("SELECT citus_internal.set_colocation(%s, " INT64_FORMAT ")",
		       quote_literal_cstr(herd_shape_name(table->relid, 0)), id);
	herd_sql_exec("%s", sql);
	herd_ddl_send(NULL, list_make1(sql));
	herd_attach_new_colocation(relid);
	PG_RETURN_VOID();
}
