#include "catalog/tied.h"

#include "access/transam.h"
#include "catalog/tables.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "guc.h"
#include "utils/lsyscache.h"

#define NO_COLOCATION 0

static List *local_tables(List *rows)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, rows) {
		Oid relid = atooid(((char **)lfirst(lc))[0]);

		if (herd_table_get(relid) == NULL)
			out = lappend_oid(out, relid);
	}
	return out;
}

List *herd_tied_neighbours(List *tables)
{
	char *oids = herd_kept_with_partitions(tables);
	List *found = local_tables(
		herd_sql_rows("SELECT confrelid::oid::text FROM pg_constraint WHERE contype = 'f' "
			      "AND conparentid = 0 AND conrelid IN (%s) UNION SELECT "
			      "conrelid::oid::text FROM pg_constraint WHERE contype = 'f' AND "
			      "conparentid = 0 AND confrelid IN (%s)",
			      oids, oids));

	return list_difference_oid(found, tables);
}

/* Local tables the table refers to; circles: only those that refer to it, through others or not. */
static List *referred_to(Oid relid, bool circles)
{
	char *oids = herd_kept_with_partitions(list_make1_oid(relid));

	return local_tables(herd_sql_rows(
		"WITH RECURSIVE way (first, at) AS (SELECT confrelid, confrelid FROM pg_constraint "
		"WHERE contype = 'f' AND conparentid = 0 AND conrelid IN (%s) AND confrelid NOT IN "
		"(%s) UNION SELECT way.first, c.confrelid FROM way JOIN pg_constraint c ON "
		"c.contype = 'f' AND c.conrelid = way.at AND way.at NOT IN (%s)) "
		"SELECT DISTINCT first::oid::text FROM way%s",
		oids, oids, oids, circles ? psprintf(" WHERE at IN (%s)", oids) : ""));
}

/* With all local tables that are connected, but the one that is being distributed. */
static List *connected(List *tables, Oid without)
{
	List *more;

	while (tables != NIL && (more = list_difference_oid(herd_tied_neighbours(tables),
							    herd_partition_tree(without))) != NIL)
		tables = list_concat_unique_oid(tables, more);
	return tables;
}

static void say_added(Oid relid, Oid because)
{
	ereport(NOTICE,
		(errmsg("local table \"%s\" is added to the metadata", get_rel_name(relid)),
		 errdetail("Foreign keys connect it with table \"%s\".", get_rel_name(because)),
		 errhint("Distribute it as well, or leave it on the coordinator.")));
}

static bool is_managed(const HerdTable *table)
{
	return table->kind == HERD_TABLE_LOCAL && !get_rel_relispartition(table->relid);
}

void herd_tied_begin(Oid relid, HerdTableKind kind, HerdKept *kept)
{
	bool reference = kind == HERD_TABLE_REFERENCE;
	const HerdTable *table;
	ListCell *lc;

	if (relid < FirstNormalObjectId)
		return;
	herd_require_coordinator("distribute a table");
	herd_changes_lock(true);
	table = herd_table_get(relid);
	if (table != NULL && !is_managed(table))
		return;
	if (table != NULL) {
		kept->tables = list_make1_oid(relid);
		herd_kept_take_away(kept);
		herd_sql_exec("SELECT pg_catalog.undistribute_table(%u::regclass, false)", relid);
		return;
	}
	if (reference && !herd_enable_local_reference_keys)
		return;
	kept->tables = connected(referred_to(relid, !reference), relid);
	herd_kept_take_away(kept);
	foreach (lc, kept->tables) {
		herd_table_distribute_single(lfirst_oid(lc), NO_COLOCATION, HERD_COORDINATOR_GROUP);
		say_added(lfirst_oid(lc), relid);
	}
}

void herd_tied_refer(const HerdTable *table, Oid target)
{
	if (!herd_enable_local_reference_keys || table->kind != HERD_TABLE_REFERENCE ||
	    !OidIsValid(target) || herd_table_get(target) != NULL)
		return;
	herd_sql_exec("SELECT pg_catalog.citus_add_local_table_to_metadata(%u::regclass, true)",
		      target);
	say_added(target, table->relid);
}
