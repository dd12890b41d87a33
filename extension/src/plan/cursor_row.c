/*
 * plan/cursor_row.c - functions in the statements with WHERE CURRENT OF.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/execdesc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#include "catalog/metadata.h"
#include "plan/cursor.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_cursor_value);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_cursor_relation);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_cursor_partition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_latest_rows);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_is_table);

static void bad_cursor(const char *message, const char *cursor, Oid relid)
{
	const char *table = get_rel_name(relid);

	if (table == NULL)
		elog(ERROR, "cache lookup failed for relation %u", relid);
	ereport(ERROR, (errcode(ERRCODE_INVALID_CURSOR_STATE), errmsg(message, cursor, table)));
}

static QueryDesc *query_of(Portal portal, const char *cursor)
{
	if (!PortalIsValid(portal))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_CURSOR),
				errmsg("cursor \"%s\" does not exist", cursor)));
	if (portal->strategy != PORTAL_ONE_SELECT)
		ereport(ERROR, (errcode(ERRCODE_INVALID_CURSOR_STATE),
				errmsg("cursor \"%s\" is not a SELECT query", cursor)));
	if (portal->queryDesc == NULL || portal->queryDesc->estate == NULL)
		ereport(ERROR,
			(errcode(ERRCODE_INVALID_CURSOR_STATE),
			 errmsg("cursor \"%s\" is held from a previous transaction", cursor)));
	return portal->queryDesc;
}

/* Raises PostgreSQL's errors when the cursor has no current row of the table. */
static const HerdCursorColumn *column_of(const char *cursor, Oid relid, AttrNumber attno)
{
	Portal portal = GetPortalByName(cursor);
	QueryDesc *query = query_of(portal, cursor);
	const HerdCursorColumn *columns = NULL;
	const HerdCursorColumn *found = NULL;
	int n = 0;
	bool locks = query->estate->es_rowmarks != NULL;

	if (herd_cursor_columns(query->planstate, &columns, &n, &locks) || locks) {
		for (int i = 0; i < n; i++) {
			if (columns[i].relid != relid || columns[i].attno != attno)
				continue;
			if (found != NULL)
				bad_cursor("cursor \"%s\" has multiple FOR UPDATE/SHARE references "
					   "to table \"%s\"",
					   cursor, relid);
			found = &columns[i];
		}
	}
	if (found == NULL && locks)
		bad_cursor("cursor \"%s\" does not have a FOR UPDATE/SHARE reference to table "
			   "\"%s\"",
			   cursor, relid);
	if (found == NULL)
		bad_cursor("cursor \"%s\" is not a simply updatable scan of table \"%s\"", cursor,
			   relid);
	if (portal->atStart || portal->atEnd)
		ereport(ERROR, (errcode(ERRCODE_INVALID_CURSOR_STATE),
				errmsg("cursor \"%s\" is not positioned on a row", cursor)));
	return found;
}

static char *cursor_arg(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the name of a cursor cannot be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/* cursor_value(cursor, table, attribute number, null of its type) */
Datum herd_cursor_value(PG_FUNCTION_ARGS)
{
	const HerdCursorColumn *column =
		column_of(cursor_arg(fcinfo), PG_GETARG_OID(1), (AttrNumber)PG_GETARG_INT32(2));

	if (column->isnull)
		PG_RETURN_NULL();
	if (get_fn_expr_argtype(fcinfo->flinfo, 3) != column->type)
		elog(ERROR, "the column of the cursor is not of this type");
	PG_RETURN_DATUM(column->value);
}

/* The table that has the row: of a partitioned one, a partition. */
static const HerdTable *table_of(const char *cursor, Oid relid)
{
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE) {
		const HerdCursorColumn *column = column_of(cursor, relid, TableOidAttributeNumber);

		return column->isnull ? NULL : herd_table_get(DatumGetObjectId(column->value));
	}
	return herd_table_get(relid);
}

/* cursor_relation(cursor, table): the shard of the current row. */
Datum herd_cursor_relation(PG_FUNCTION_ARGS)
{
	char *cursor = cursor_arg(fcinfo);
	Oid relid = PG_GETARG_OID(1);
	const HerdTable *table = table_of(cursor, relid);
	const HerdTable *whole = herd_table_get(relid);
	int index = 0;

	if (table == NULL || whole == NULL)
		PG_RETURN_NULL();
	if (whole->kind == HERD_TABLE_HASH) {
		const HerdCursorColumn *key = column_of(cursor, relid, whole->keyattno);

		if (key->isnull)
			PG_RETURN_NULL();
		index = herd_table_shard_index(
			whole, DatumGetInt32(FunctionCall1Coll(whole->keyhash, whole->keycollation,
							       key->value)));
	}
	if (index >= table->nshards || table->shards[index].name == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(
		"%s.%s", quote_identifier(get_namespace_name(get_rel_namespace(table->relid))),
		table->shards[index].name)));
}

/* cursor_partition(cursor, table): the name of the partition of the current row. */
Datum herd_cursor_partition(PG_FUNCTION_ARGS)
{
	const HerdTable *table = table_of(cursor_arg(fcinfo), PG_GETARG_OID(1));

	if (table == NULL || table->relname == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(quote_qualified_identifier(
		get_namespace_name(get_rel_namespace(table->relid)), table->relname)));
}

static ItemPointer latest(Relation rel, ItemPointer tid, Snapshot snapshot)
{
	ItemPointer result = palloc(sizeof(ItemPointerData));
	TableScanDesc scan = table_beginscan_tid(rel, snapshot);

	*result = *tid;
	if (table_tuple_tid_valid(scan, result))
		table_tuple_get_latest_tid(scan, result);
	table_endscan(scan);
	return result;
}

/*
 * latest_rows(relation, tid): on the node of the shard, the version of the row that the statement
 * sees, as that of the cursor may have been updated since; and the last that was committed, which
 * the statement is to take when it has waited for it.
 */
Datum herd_latest_rows(PG_FUNCTION_ARGS)
{
	List *name = textToQualifiedNameList(PG_GETARG_TEXT_PP(0));
	ItemPointer tid = (ItemPointer)PG_GETARG_POINTER(1);
	Relation rel = table_openrv(makeRangeVarFromNameList(name), AccessShareLock);
	Snapshot now = RegisterSnapshot(GetLatestSnapshot());
	Datum tids[2];

	if (rel->rd_rel->relkind != RELKIND_RELATION ||
	    pg_class_aclmask(RelationGetRelid(rel), GetUserId(),
			     ACL_SELECT | ACL_UPDATE | ACL_DELETE, ACLMASK_ANY) == 0)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(rel));
	tids[0] = PointerGetDatum(latest(rel, tid, GetActiveSnapshot()));
	tids[1] = PointerGetDatum(latest(rel, tid, now));
	UnregisterSnapshot(now);
	table_close(rel, AccessShareLock);
	PG_RETURN_ARRAYTYPE_P(
		construct_array(tids, 2, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT));
}

/* is_table(table, name) */
Datum herd_is_table(PG_FUNCTION_ARGS)
{
	RangeVar *name = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(1)));

	PG_RETURN_BOOL(RangeVarGetRelid(name, NoLock, true) == PG_GETARG_OID(0));
}
