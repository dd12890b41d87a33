/*
 * What is said of a table in calls and in the catalogs is not believed.
 *
 * The owner of a table describes it to every node by functions that any session can call, as any
 * node may be the one that asks. The planner relies on the description: shards that cover all
 * hashes, the same ones in all tables of a colocation group. So it is looked at when it is made.
 */
#include "catalog/tables.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "ddl/local.h"
#include "nodes/primnodes.h"
#include "utils/lsyscache.h"

bool herd_key_parse(const char *node, Var *key)
{
	int varno, attno, typmod;
	unsigned int type, collation;

	if (sscanf(node, "{VAR :varno %d :varattno %d :vartype %u :vartypmod %d :varcollid %u",
		   &varno, &attno, &type, &typmod, &collation) != 5)
		return false;
	if (attno <= 0 || attno > MaxHeapAttributeNumber)
		return false;
	*key = (Var){ .varno = varno,
		      .varattno = attno,
		      .vartype = type,
		      .vartypmod = typmod,
		      .varcollid = collation };
	return true;
}

static bool same_ranges(const HerdTable *a, const HerdTable *b)
{
	if (a->nshards != b->nshards || a->kind != b->kind || a->keytype != b->keytype ||
	    a->keycollation != b->keycollation)
		return false;
	for (int i = 0; i < a->nshards; i++)
		if (a->shards[i].hashmin != b->shards[i].hashmin ||
		    a->shards[i].hashmax != b->shards[i].hashmax)
			return false;
	return true;
}

void herd_table_check_colocation(const HerdTable *table, uint32 colocationid)
{
	List *rows;
	const HerdTable *other;

	if (colocationid == 0)
		return;
	rows = herd_sql_rows_owner("SELECT logicalrelid::pg_catalog.oid FROM "
				   "pg_catalog.pg_dist_partition WHERE colocationid = %d AND "
				   "logicalrelid <> %u LIMIT 1",
				   (int32)colocationid, table->relid);
	if (rows == NIL)
		return;
	other = herd_table_get(atooid(((char **)linitial(rows))[0]));
	if (other && !same_ranges(table, other))
		ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("table \"%s\" does not have the shards of colocation group %u",
				get_rel_name(table->relid), colocationid)));
}

void herd_table_check_described(Oid relid)
{
	const HerdTable *table;

	CommandCounterIncrement();
	table = herd_table_get(relid);
	if (!table || table->nshards == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("table \"%s\" has no shards", get_rel_name(relid))));
	for (int i = 0; i < table->nshards; i++)
		if (table->shards[i].ngroups == 0)
			ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("shard " UINT64_FORMAT " of table \"%s\" has no placement",
					table->shards[i].shardid, get_rel_name(relid))));
	herd_table_check_colocation(table, table->colocationid);
}
