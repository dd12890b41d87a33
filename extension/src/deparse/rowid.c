#include "deparse/rowid.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "storage/itemptr.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "catalog/metadata.h"
#include "compat.h"
#include "deparse/code.h"
#include "deparse/deparse.h"
#include "move/move.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_sql_row_id);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_sql_shard_tid);

/* So many bits of a line pointer's number are used in a page of any size. */
#define LINE_BITS (MaxHeapTuplesPerPage < 512 ? 9 : 11)
#define SHARD_BITS (16 - LINE_BITS)

/* The part of the shard's number that stands in the block's, from its highest bit down. */
static BlockNumber block_part(uint32 shard)
{
	BlockNumber part = 0;

	shard >>= SHARD_BITS;
	for (int bit = 31; shard != 0; shard >>= 1, bit--)
		part |= (BlockNumber)(shard & 1) << bit;
	return part;
}

static Datum make_tid(BlockNumber block, uint32 line)
{
	ItemPointer tid = palloc(sizeof(ItemPointerData));

	ItemPointerSet(tid, block, (OffsetNumber)line);
	return PointerGetDatum(tid);
}

/* row_id(ctid, zero, shard) */
Datum herd_sql_row_id(PG_FUNCTION_ARGS)
{
	ItemPointer tid = (ItemPointer)PG_GETARG_POINTER(0);
	uint32 shard = (uint32)PG_GETARG_INT32(2);
	uint32 line = ItemPointerGetOffsetNumberNoCheck(tid);

	return make_tid(ItemPointerGetBlockNumberNoCheck(tid) ^ block_part(shard),
			line | (shard & ((1u << SHARD_BITS) - 1)) << LINE_BITS);
}

/* shard_tid(row_id, zero, shard): a place where no row is when it is of another shard. */
Datum herd_sql_shard_tid(PG_FUNCTION_ARGS)
{
	ItemPointer tid = (ItemPointer)PG_GETARG_POINTER(0);
	uint32 shard = (uint32)PG_GETARG_INT32(2);
	uint32 line = ItemPointerGetOffsetNumberNoCheck(tid);

	if (line >> LINE_BITS != (shard & ((1u << SHARD_BITS) - 1)))
		return make_tid(InvalidBlockNumber, 0);
	return make_tid(ItemPointerGetBlockNumberNoCheck(tid) ^ block_part(shard),
			line & ((1u << LINE_BITS) - 1));
}

static bool has_row_ids(const HerdTable *table)
{
	return table->kind == HERD_TABLE_HASH && table->nshards > 1;
}

ItemPointer herd_row_id_at(const HerdTable *table, int shard, ItemPointer place)
{
	if (!has_row_ids(table)) {
		ItemPointer copy = palloc(sizeof(ItemPointerData));

		*copy = *place;
		return copy;
	}
	return (ItemPointer)DatumGetPointer(DirectFunctionCall3(
		herd_sql_row_id, PointerGetDatum(place), Int32GetDatum(0), Int32GetDatum(shard)));
}

static Oid internal_function(const char *name, int nargs, const Oid *types)
{
	return LookupFuncName(list_make2(makeString("citus_internal"), makeString(pstrdup(name))),
			      nargs, types, false);
}

static Expr *int_const(int value)
{
	return (Expr *)makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(value),
				 false, true);
}

/* Of the shard for which the text is. */
static Node *call_of_shard(const char *name, Node *value, Oid type)
{
	Oid types[3] = { type, INT4OID, INT4OID };

	return (Node *)makeFuncExpr(internal_function(name, 3, types), type,
				    list_make3(value, int_const(0), int_const(HERD_MOVE_SHARD)),
				    InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

bool herd_is_row_id(Var *var, List *queries)
{
	RangeTblEntry *rte;
	const HerdTable *table;

	/* varnosyn 0: compare_rows has seen to it */
	if (var->varattno != SelfItemPointerAttributeNumber || var->varnosyn == 0)
		return false;
	rte = herd_distributed_rte(var, queries);
	table = rte != NULL ? herd_table_get(rte->relid) : NULL;
	return table != NULL && has_row_ids(table) && !herd_is_excluded(var, queries);
}

Node *herd_row_id(Var *var)
{
	return call_of_shard(HERD_ROW_ID, (Node *)var, TIDOID);
}

static Const *array_const(Datum *values, int n, Oid element, Oid array)
{
	return makeConst(array, -1, InvalidOid, -1,
			 PointerGetDatum(construct_array(values, n, element, sizeof(Oid), true,
							 TYPALIGN_INT)),
			 false, false);
}

/*
 * Rows of a partitioned table are in its partitions: the node of the shard knows in which. Their
 * OIDs on this node go with the text.
 */
static Node *partition_oid(Var *var, Oid relid, Oid type)
{
	Oid types[3] = { OIDOID, REGCLASSARRAYOID, OIDARRAYOID };
	List *relids;
	Datum *values;
	ListCell *lc;

	if (type == REGCLASSOID)
		return (Node *)makeFuncExpr(internal_function("table_of_shard", 1, types),
					    REGCLASSOID, list_make1(var), InvalidOid, InvalidOid,
					    COERCE_EXPLICIT_CALL);
	relids = find_all_inheritors(relid, AccessShareLock, NULL);
	values = palloc(list_length(relids) * sizeof(Datum));
	foreach (lc, relids)
		values[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	return (Node *)makeFuncExpr(
		internal_function("oid_of_shard", 3, types), OIDOID,
		list_make3(var,
			   array_const(values, list_length(relids), REGCLASSOID, REGCLASSARRAYOID),
			   array_const(values, list_length(relids), OIDOID, OIDARRAYOID)),
		InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

Node *herd_table_oid(Var *var, Oid relid, Oid type, bool there)
{
	Expr *value = (Expr *)makeConst(type, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(relid),
					false, true);
	Var typed = *var;

	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		return partition_oid(var, relid, type);
	typed.vartype = type;
	return there ? (Node *)value : herd_unless_null_row(&typed, value);
}

static bool is_table_oid(Node *node, List *queries)
{
	while (IsA(node, RelabelType))
		node = (Node *)((RelabelType *)node)->arg;
	return IsA(node, Var) && ((Var *)node)->varattno == TableOidAttributeNumber &&
	       herd_distributed_rte((Var *)node, queries) != NULL;
}

static Node *compare_oids(OpExpr *op, List *queries)
{
	OpExpr *copy;
	ListCell *lc;
	bool found = false;

	foreach (lc, op->args)
		found = found || is_table_oid(lfirst(lc), queries);
	if (!found)
		return (Node *)op;
	copy = copyObject(op);
	foreach (lc, copy->args) {
		Node *arg = lfirst(lc);

		while (IsA(arg, RelabelType))
			arg = (Node *)((RelabelType *)arg)->arg;
		if (IsA(arg, Const) && ((Const *)arg)->consttype == REGCLASSOID &&
		    !((Const *)arg)->constisnull) {
			((Const *)arg)->consttype = OIDOID;
			lfirst(lc) = arg;
		} else if (is_table_oid(arg, queries)) {
			lfirst(lc) = arg;
		}
	}
	return (Node *)copy;
}

/* WHERE CURRENT OF: places in the shard come of one that is asked for with all shards' ctid. */
static Node *places_in_shard(Node *value)
{
	FuncExpr *latest;

	value = copyObject(value);
	if (!IsA(value, FuncExpr) || !herd_func_is_of_shards(((FuncExpr *)value)->funcid))
		return call_of_shard(HERD_SHARD_TID, value, exprType(value));
	latest = (FuncExpr *)value;
	lsecond(latest->args) = call_of_shard(HERD_SHARD_TID, lsecond(latest->args), TIDOID);
	return value;
}

/* Of ctid IN (SELECT ..) the operator alone is printed, not what stands on its right side. */
static bool is_of_sublink(Node *value)
{
	return IsA(value, Param) && ((Param *)value)->paramkind == PARAM_SUBLINK;
}

/* ctid = ANY (array), or ctid = value, either way around. */
static Node *compare_rows(Node *node, List *args, List *queries)
{
	for (int i = 0; i < (IsA(node, OpExpr) ? 2 : 1); i++) {
		Var *var = list_nth(args, i);
		Node *value = list_nth(args, 1 - i);
		List **copied;

		if (!IsA(var, Var) || is_of_sublink(value) || !herd_is_row_id(var, queries))
			continue;
		node = copyObject(node);
		copied = IsA(node, OpExpr) ? &((OpExpr *)node)->args
					   : &((ScalarArrayOpExpr *)node)->args;
		var = copyObject(var);
		var->varnosyn = 0;
		list_nth_cell(*copied, i)->ptr_value = var;
		list_nth_cell(*copied, 1 - i)->ptr_value = places_in_shard(value);
		return node;
	}
	return node;
}

Node *herd_compare_rows(Node *node, List *queries)
{
	if (IsA(node, ScalarArrayOpExpr)) {
		ScalarArrayOpExpr *any = (ScalarArrayOpExpr *)node;

		return any->opno == TIDEqualOperator && any->useOr
			       ? compare_rows(node, any->args, queries)
			       : node;
	}
	if (((OpExpr *)node)->opno == TIDEqualOperator)
		return compare_rows(node, ((OpExpr *)node)->args, queries);
	return compare_oids((OpExpr *)node, queries);
}
