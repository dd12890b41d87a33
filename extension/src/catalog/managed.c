/*
 * citus_add_local_table_to_metadata: tables that stay on the coordinator, known to all nodes. They
 * have one shard, there, and no colocation group.
 */
#include "catalog/kept.h"
#include "catalog/metadata.h"
#include "catalog/tables.h"
#include "catalog/tied.h"
#include "ddl/local.h"
#include "fmgr.h"
#include "utils/lsyscache.h"

#define NO_COLOCATION 0

/* citus_add_local_table_to_metadata(table, cascade_via_foreign_keys) */
PG_FUNCTION_INFO_V1(herd_add_local_table);
PGDLLEXPORT Datum herd_add_local_table(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	HerdKept kept = { .tables = list_make1_oid(relid) };
	List *more;
	ListCell *lc;

	herd_require_coordinator("add a local table");
	herd_changes_lock(true);
	while ((more = herd_tied_neighbours(kept.tables)) != NIL) {
		if (!PG_GETARG_BOOL(1))
			ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("table \"%s\" has foreign keys with local table \"%s\"",
					get_rel_name(relid), get_rel_name(linitial_oid(more))),
				 errhint("Use cascade_via_foreign_keys => true.")));
		kept.tables = list_concat_unique_oid(kept.tables, more);
	}
	herd_kept_take_away(&kept);
	foreach (lc, kept.tables)
		herd_table_distribute_single(lfirst_oid(lc), NO_COLOCATION, HERD_COORDINATOR_GROUP);
	herd_kept_put_back(&kept);
	PG_RETURN_VOID();
}

/* remove_local_tables_from_metadata(): those of the caller's; tables that stay known refer to none.
 */
PG_FUNCTION_INFO_V1(herd_remove_local_tables);
PGDLLEXPORT Datum herd_remove_local_tables(PG_FUNCTION_ARGS)
{
	HerdKept kept = { 0 };
	ListCell *lc;

	herd_require_coordinator("remove local tables");
	herd_changes_lock(true);
	foreach (lc,
		 herd_sql_rows("SELECT c.oid::text FROM pg_dist_partition p JOIN pg_class c ON "
			       "c.oid = p.logicalrelid WHERE p.partmethod = 'n' AND p.repmodel = "
			       "'s' AND p.colocationid = 0 AND NOT c.relispartition AND "
			       "pg_has_role(c.relowner, 'USAGE') ORDER BY 1"))
		kept.tables = lappend_oid(kept.tables, atooid(((char **)lfirst(lc))[0]));
	herd_kept_take_away(&kept);
	foreach (lc, kept.tables)
		herd_sql_exec("SELECT undistribute_table(%u)", lfirst_oid(lc));
	herd_kept_put_back(&kept);
	PG_RETURN_VOID();
}
