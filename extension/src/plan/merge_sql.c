/*
 * plan/merge_sql.c - what shards call in the text of a MERGE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/metadata.h"
#include "plan/facts.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_require_key);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_in_shard);

/* require_key(value, name of the table): the value, which must not be null. */
Datum herd_require_key(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("the distribution column of table \"%s\" cannot be null",
				PG_ARGISNULL(1) ? "?" : text_to_cstring(PG_GETARG_TEXT_PP(1)))));
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/* in_shard(table, value, number): a null belongs to the first shard. */
Datum herd_in_shard(PG_FUNCTION_ARGS)
{
	const HerdTable *table = PG_ARGISNULL(0) ? NULL : herd_table_get(PG_GETARG_OID(0));
	FmgrInfo *hash = fcinfo->flinfo->fn_extra;

	if (table == NULL || table->kind != HERD_TABLE_HASH || PG_ARGISNULL(2))
		elog(ERROR, "in_shard needs a table with a distribution column");
	if (PG_ARGISNULL(1))
		PG_RETURN_BOOL(PG_GETARG_INT32(2) == 0);
	if (hash == NULL) {
		Oid proc = herd_key_hash_proc(table, get_fn_expr_argtype(fcinfo->flinfo, 1));

		if (!OidIsValid(proc))
			elog(ERROR, "a value of this type cannot be a distribution column");
		hash = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(FmgrInfo));
		fmgr_info_cxt(proc, hash, fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = hash;
	}
	PG_RETURN_BOOL(herd_table_shard_index(
			       table, DatumGetInt32(FunctionCall1Coll(hash, table->keycollation,
								      PG_GETARG_DATUM(1)))) ==
		       PG_GETARG_INT32(2));
}
