#include "catalog/tables.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/table.h"
#include "attach/attach.h"
#include "attach/farkey.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "ddl/shape.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static void require_owner(Oid relid)
{
	if (!get_rel_name(relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation with OID %u does not exist", relid)));
	if (!herd_owns_relation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
}

char *herd_table_key_name(const HerdTable *table)
{
	return table->keyattno ? get_attname(table->relid, table->keyattno, false) : NULL;
}

char *herd_table_metadata_sql(const HerdTable *table)
{
	const char *key = herd_table_key_name(table);
	StringInfoData ids, mins, maxs, pids, pgroups, sql;
	const char *comma = "", *pcomma = "";

	initStringInfo(&ids);
	initStringInfo(&mins);
	initStringInfo(&maxs);
	initStringInfo(&pids);
	initStringInfo(&pgroups);
	initStringInfo(&sql);
	for (int i = 0; i < table->nshards; i++, comma = ",") {
		const HerdShard *shard = &table->shards[i];

		appendStringInfo(&ids, "%s" UINT64_FORMAT, comma, shard->shardid);
		appendStringInfo(&mins, "%s%d", comma, shard->hashmin);
		appendStringInfo(&maxs, "%s%d", comma, shard->hashmax);
		for (int g = 0; g < shard->ngroups; g++, pcomma = ",") {
			appendStringInfo(&pids, "%s" UINT64_FORMAT, pcomma, shard->shardid);
			appendStringInfo(&pgroups, "%s%d", pcomma, shard->groups[g]);
		}
	}
	appendStringInfo(&sql,
			 "SELECT citus_internal.add_table_metadata(%s, '%c', %s, %u, '%c', '{%s}', "
			 "'{%s}', '{%s}', '{%s}', '{%s}')",
			 quote_literal_cstr(herd_shape_name(table->relid, 0)), table->partmethod,
			 key ? quote_literal_cstr(key) : "NULL", table->colocationid,
			 table->repmodel, ids.data, mins.data, maxs.data, pids.data, pgroups.data);
	return sql.data;
}

/* Without nulls: an array that has one says nothing about a shard. */
static char *array_text(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg) || array_contains_nulls(PG_GETARG_ARRAYTYPE_P(arg)))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the description of a table must not have nulls")));
	return quote_literal_cstr(OidOutputFunctionCall(F_ARRAY_OUT, PG_GETARG_DATUM(arg)));
}

/* The column as Citus stores it: the text of a Var node. */
static char *key_node_text(Oid relid, const char *column, Var **key)
{
	AttrNumber attno = get_attnum(relid, column);
	Oid type, collation;
	int32 typmod;

	if (attno <= 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of table \"%s\" does not exist", column,
				       get_rel_name(relid))));
	get_atttypetypmodcoll(relid, attno, &type, &typmod, &collation);
	*key = makeVar(1, attno, type, typmod, collation, 0);
	return nodeToString(*key);
}

static int array_items(FunctionCallInfo fcinfo, int arg)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(arg);

	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

/* Of the arguments as such; what they make together is looked at when it is there. */
static void check_description(FunctionCallInfo fcinfo)
{
	char method = PG_GETARG_CHAR(1), repmodel = PG_GETARG_CHAR(4);

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3) || PG_ARGISNULL(4))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the description of a table must not have nulls")));
	if ((method != HERD_METHOD_HASH && method != HERD_METHOD_NONE) ||
	    (repmodel != HERD_REPMODEL_2PC && repmodel != HERD_REPMODEL_STREAMING))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a table cannot be distributed in this way"),
				errhint("Known are hash distributed, single shard and reference "
					"tables.")));
	(void)array_text(fcinfo, 5);
	(void)array_text(fcinfo, 6);
	(void)array_text(fcinfo, 7);
	(void)array_text(fcinfo, 8);
	(void)array_text(fcinfo, 9);
	if (array_items(fcinfo, 5) != array_items(fcinfo, 6) ||
	    array_items(fcinfo, 5) != array_items(fcinfo, 7) ||
	    array_items(fcinfo, 8) != array_items(fcinfo, 9))
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("the description of a table has arrays of unequal length")));
}

/*
 * add_table_metadata(table, method, key column, colocation id, replication model, shard ids, hash
 * minima, hash maxima, shard ids of placements, groups of placements): the owner of a table says
 * where its rows are. Run on every node with the same arguments.
 */
PG_FUNCTION_INFO_V1(herd_add_table_metadata);
PGDLLEXPORT Datum herd_add_table_metadata(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	char method = PG_GETARG_CHAR(1), repmodel = PG_GETARG_CHAR(4);
	int32 colocationid = PG_GETARG_INT32(3);
	char *keytext = NULL, *placed_shards, *placed_groups;
	Var *key = NULL;
	uint64 placed;

	check_description(fcinfo);
	require_owner(relid);
	if (!PG_ARGISNULL(2))
		keytext = key_node_text(relid, text_to_cstring(PG_GETARG_TEXT_PP(2)), &key);
	if (colocationid)
		herd_sql_exec_owner(
			"INSERT INTO pg_catalog.pg_dist_colocation VALUES (%d, "
			"cardinality(%s::int8[]), %d, %u, %u) ON CONFLICT DO NOTHING",
			colocationid, array_text(fcinfo, 5), repmodel == HERD_REPMODEL_2PC ? -1 : 1,
			key ? key->vartype : InvalidOid, key ? key->varcollid : InvalidOid);
	herd_sql_exec_owner("INSERT INTO pg_catalog.pg_dist_partition VALUES "
			    "(%u, '%c', %s, %d, '%c', false)",
			    relid, method, keytext ? quote_literal_cstr(keytext) : "NULL",
			    colocationid, repmodel);
	herd_sql_exec_owner("INSERT INTO pg_catalog.pg_dist_shard SELECT %u, id, 't', %s FROM "
			    "unnest(%s::int8[], %s::int4[], %s::int4[]) u(id, low, high)",
			    relid, method == HERD_METHOD_HASH ? "low, high" : "NULL, NULL",
			    array_text(fcinfo, 5), array_text(fcinfo, 6), array_text(fcinfo, 7));
	placed_shards = array_text(fcinfo, 8);
	placed_groups = array_text(fcinfo, 9);
	placed = herd_sql_exec_owner(
		"INSERT INTO pg_catalog.pg_dist_placement (shardid, groupid) SELECT p.* FROM "
		"unnest(%s::int8[], %s::int4[]) p(shard, place) JOIN pg_catalog.pg_dist_shard s "
		"ON s.shardid = p.shard AND s.logicalrelid = %u",
		placed_shards, placed_groups, relid);
	if (placed != array_items(fcinfo, 8))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a placement is not one of a shard of the table")));
	herd_table_check_described(relid);
	PG_RETURN_VOID();
}

/* Forgets a table; its relation may be gone already, then only a superuser or the trigger asks. */
static void drop_metadata(Oid relid)
{
	herd_sql_exec_owner("DELETE FROM pg_catalog.pg_dist_placement WHERE shardid IN (SELECT "
			    "shardid FROM pg_catalog.pg_dist_shard WHERE logicalrelid = %u)",
			    relid);
	herd_sql_exec_owner("DELETE FROM pg_catalog.pg_dist_shard WHERE logicalrelid = %u", relid);
	herd_sql_exec_owner("DELETE FROM pg_catalog.pg_dist_partition WHERE logicalrelid = %u",
			    relid);
}

static bool local_placement(const HerdShard *shard)
{
	for (int g = 0; g < shard->ngroups; g++)
		if (shard->groups[g] == herd_local_group())
			return true;
	return false;
}

static List *local_shard_commands(Oid relid, bool keys)
{
	const HerdTable *table = herd_table_get(relid);
	List *commands = NIL;

	if (!table)
		elog(ERROR, "relation %u is not distributed", relid);
	for (int i = 0; i < table->nshards; i++) {
		const HerdShard *shard = &table->shards[i];

		if (!local_placement(shard))
			continue;
		if (keys) {
			commands = list_concat(commands,
					       herd_shape_foreign_keys(relid, shard->shardid));
			commands = list_concat(commands, herd_attach_shape(relid, shard->shardid));
			continue;
		}
		commands = list_concat(commands, herd_shape_create_here(relid, shard->shardid));
		commands = list_concat(commands, herd_shape_indexes(relid, shard->shardid));
		commands = list_concat(commands, herd_shape_privileges(relid, shard->shardid));
		if (get_rel_relispartition(relid))
			commands = lappend(commands, herd_partition_attach(relid, shard->shardid));
	}
	return commands;
}

void herd_table_create_local_shards(Oid relid)
{
	herd_ddl_run(NULL, local_shard_commands(relid, false));
}

PG_FUNCTION_INFO_V1(herd_create_shards);
PGDLLEXPORT Datum herd_create_shards(PG_FUNCTION_ARGS)
{
	require_owner(PG_GETARG_OID(0));
	herd_table_create_local_shards(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(herd_create_shard_keys);
PGDLLEXPORT Datum herd_create_shard_keys(PG_FUNCTION_ARGS)
{
	require_owner(PG_GETARG_OID(0));
	herd_ddl_run(NULL, list_concat(local_shard_commands(PG_GETARG_OID(0), true),
				       herd_far_key_shapes_around(PG_GETARG_OID(0))));
	PG_RETURN_VOID();
}

/*
 * drop_shards(table oid, schema, name): drops the shards on this node of a table that is about to
 * be, or just was, dropped, and forgets it. name is what the table was called.
 */
PG_FUNCTION_INFO_V1(herd_drop_shards);
PGDLLEXPORT Datum herd_drop_shards(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	char *schema = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(2));
	const HerdTable *table = herd_table_get(relid);
	List *commands = NIL;

	if (!table)
		PG_RETURN_VOID();
	if (get_rel_name(relid))
		require_owner(relid);
	for (int i = 0; i < table->nshards; i++) {
		char *shard = herd_shard_name(name, table->shards[i].shardid);

		if (local_placement(&table->shards[i]) &&
		    OidIsValid(get_relname_relid(shard, get_namespace_oid(schema, true))))
			commands = lappend(commands,
					   psprintf("DROP TABLE %s CASCADE",
						    quote_qualified_identifier(schema, shard)));
	}
	drop_metadata(relid);
	herd_ddl_run(NULL, commands);
	PG_RETURN_VOID();
}

void herd_table_truncate_local(Oid relid)
{
	Relation rel = table_open(relid, AccessExclusiveLock);
	Oid toast = rel->rd_rel->reltoastrelid;
	ReindexParams params = { 0 };

	herd_set_new_file(rel);
	if (OidIsValid(toast)) {
		Relation toast_rel = relation_open(toast, AccessExclusiveLock);

		herd_set_new_file(toast_rel);
		table_close(toast_rel, NoLock);
	}
	herd_reindex_relation(relid, REINDEX_REL_PROCESS_TOAST, &params);
	table_close(rel, NoLock);
}

/* Each node draws from a range of its own, so nextval works everywhere without asking. */
PG_FUNCTION_INFO_V1(herd_localize_sequence);
PGDLLEXPORT Datum herd_localize_sequence(PG_FUNCTION_ARGS)
{
	Oid seqid = PG_GETARG_OID(0);
	int64 group = herd_local_group(), low;
	HeapTuple tuple;
	Form_pg_sequence seq;
	List *commands;

	require_owner(seqid);
	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(seqid));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("relation %u is not a sequence", seqid)));
	seq = (Form_pg_sequence)GETSTRUCT(tuple);
	low = (group << 48) + 1;
	if (group != HERD_COORDINATOR_GROUP && seq->seqmin != low) {
		if (seq->seqtypid == INT8OID && group < (1 << 15) - 1)
			commands = list_make1(psprintf(
				"ALTER SEQUENCE %s MINVALUE " INT64_FORMAT " MAXVALUE " INT64_FORMAT
				" START WITH " INT64_FORMAT " RESTART",
				herd_shape_name(seqid, 0), low, ((group + 1) << 48), low));
		else /* too narrow to share: nextval raises on workers */
			commands =
				list_make1(psprintf("SELECT setval(%u::regclass, " INT64_FORMAT ")",
						    seqid, seq->seqmax));
		herd_ddl_run(NULL, commands);
	}
	ReleaseSysCache(tuple);
	PG_RETURN_VOID();
}
