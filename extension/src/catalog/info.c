/*
 * Functions that say where things are, and run commands there.
 */
#include "catalog/metadata.h"

#include "catalog/namespace.h"
#include "catalog/nodes.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "catalog/tables.h"
#include "conn/conn.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "txn/txn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* Sessions that run_command_on_* holds open at a time. */
#define COMMANDS_AT_ONCE 16

static const HerdTable *require_table(Oid relid)
{
	const HerdTable *table = herd_table_get(relid);

	if (!table)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				errmsg("relation \"%s\" is not distributed",
				       get_rel_name(relid) ? get_rel_name(relid) : "?")));
	return table;
}

/* The value as one of the key's type, by way of its text when the types differ. */
static Datum as_key(const HerdTable *table, Datum value, Oid type)
{
	Oid output, input, ioparam;
	bool varlena;

	if (type == table->keytype)
		return value;
	getTypeOutputInfo(type, &output, &varlena);
	getTypeInputInfo(table->keytype, &input, &ioparam);
	return OidInputFunctionCall(input, OidOutputFunctionCall(output, value), ioparam,
				    table->keytypmod);
}

/* get_shard_id_for_distribution_column(table, value "any") */
PG_FUNCTION_INFO_V1(herd_shard_id_for_value);
PGDLLEXPORT Datum herd_shard_id_for_value(PG_FUNCTION_ARGS)
{
	const HerdTable *table;
	Datum value;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("relation cannot be null")));
	table = require_table(PG_GETARG_OID(0));
	if (table->kind != HERD_TABLE_HASH)
		PG_RETURN_INT64((int64)table->shards[0].shardid);
	if (PG_NARGS() < 2 || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("distribution value cannot be null")));
	value = as_key(table, PG_GETARG_DATUM(1), get_fn_expr_argtype(fcinfo->flinfo, 1));
	PG_RETURN_INT64(
		(int64)table->shards[herd_table_shard_index(table, herd_table_hash(table, value))]
			.shardid);
}

/* worker_hash("any"): the hash that decides the shard. */
PG_FUNCTION_INFO_V1(herd_worker_hash);
PGDLLEXPORT Datum herd_worker_hash(PG_FUNCTION_ARGS)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	TypeCacheEntry *entry;

	if (!OidIsValid(type))
		elog(ERROR, "cannot determine the type of the value");
	entry = lookup_type_cache(getBaseType(type), TYPECACHE_HASH_PROC_FINFO);
	if (!OidIsValid(entry->hash_proc))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("type %s has no hash function", format_type_be(type))));
	return FunctionCall1Coll(&entry->hash_proc_finfo,
				 type_is_collatable(type) ? DEFAULT_COLLATION_OID : InvalidOid,
				 PG_GETARG_DATUM(0));
}

/* shard_name(table, shardid, skip_qualify_public) */
PG_FUNCTION_INFO_V1(herd_shard_name_sql);
PGDLLEXPORT Datum herd_shard_name_sql(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	char *relname = get_rel_name(relid), *schema, *name;

	if (PG_GETARG_INT64(1) <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("shard id must be positive")));
	if (!relname)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation with OID %u does not exist", relid)));
	schema = get_namespace_name(get_rel_namespace(relid));
	name = herd_shard_name(relname, (uint64)PG_GETARG_INT64(1));
	if (PG_GETARG_BOOL(2) && schema && strcmp(schema, "public") == 0)
		PG_RETURN_TEXT_P(cstring_to_text(quote_identifier(name)));
	PG_RETURN_TEXT_P(cstring_to_text(quote_qualified_identifier(schema, name)));
}

/* column_to_column_name(table, partkey) */
PG_FUNCTION_INFO_V1(herd_column_name);
PGDLLEXPORT Datum herd_column_name(PG_FUNCTION_ARGS)
{
	char *name;
	Var key;

	if (!herd_key_parse(text_to_cstring(PG_GETARG_TEXT_PP(1)), &key))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("not a distribution column")));
	name = get_attname(PG_GETARG_OID(0), key.varattno, true);
	if (!name)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

PG_FUNCTION_INFO_V1(herd_is_coordinator);
PGDLLEXPORT Datum herd_is_coordinator(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(herd_local_group() == HERD_COORDINATOR_GROUP);
}

static void put_result(ReturnSetInfo *rsinfo, int index, const HerdRemoteResult *r)
{
	bool has_value = r->ok && r->nrows > 0 && r->ncols > 0;
	const char *shown = has_value ? r->values[0] : r->ok && r->ncols > 0 ? "" : r->message;
	Datum values[3] = { Int32GetDatum(index), BoolGetDatum(r->ok), (Datum)0 };
	bool nulls[3] = { false, false, shown == NULL };

	if (shown)
		values[2] = CStringGetTextDatum(shown);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void run_chunk(ReturnSetInfo *rsinfo, Datum *nodeids, Datum *commands, int first, int count)
{
	List *nodes = NIL, *sqls = NIL, *results;
	ListCell *lc;
	int index = first;

	for (int i = first; i < first + count; i++) {
		const HerdNode *node = herd_node_by_id(DatumGetInt32(nodeids[i]));

		if (!node)
			ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("node %d does not exist", DatumGetInt32(nodeids[i]))));
		nodes = lappend(nodes, (void *)node);
		sqls = lappend(sqls, TextDatumGetCString(commands[i]));
	}
	results = herd_remote_query_nodes(nodes, sqls, 0);
	foreach (lc, results)
		put_result(rsinfo, ++index, lfirst(lc));
}

/*
 * run_on_nodes(node ids, commands, parallel): commands[i] on node ids[i], outside the transaction.
 * Rows: position from 1, success, first value of the first row (or command tag, or error).
 */
PG_FUNCTION_INFO_V1(herd_run_on_nodes);
PGDLLEXPORT Datum herd_run_on_nodes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
	Datum *nodeids, *commands;
	int n, m, step = PG_GETARG_BOOL(2) ? COMMANDS_AT_ONCE : 1;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), INT4OID, 4, true, TYPALIGN_INT, &nodeids, NULL,
			  &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &commands,
			  NULL, &m);
	if (n != m)
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("as many commands as nodes are needed")));
	for (int i = 0; i < n; i += step)
		run_chunk(rsinfo, nodeids, commands, i, Min(step, n - i));
	PG_RETURN_NULL();
}

/* recover_prepared_transactions(): what the maintenance worker does now and then, at once. */
PG_FUNCTION_INFO_V1(herd_recover_prepared_sql);
PGDLLEXPORT Datum herd_recover_prepared_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(herd_recover_prepared());
}
