#include "move/pack.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "move/columns.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_pack_rows);

enum {
	FIRST_BYTES = 4 * 1024, /* whoever wants a few rows gets them soon */
	MOST_BYTES = 128 * 1024
};

typedef struct PackState {
	CustomScanState css;
	int natts;
	Oid *types;
	HerdColumn *columns;
	MemoryContext row;
	StringInfoData out; /* a bytea */
	int limit;
	bool done;
} PackState;

static Node *create_state(CustomScan *scan);

static const CustomScanMethods scan_methods = {
	.CustomName = "Herd Pack",
	.CreateCustomScanState = create_state,
};

/* -- planning ---------------------------------------------------------------------------------- */

static bool is_pack_call(const Node *node)
{
	const FuncExpr *call = (const FuncExpr *)node;
	char *name;

	if (!IsA(call, FuncExpr) || call->funcid < FirstNormalObjectId ||
	    call->funcresulttype != BYTEAOID || list_length(call->args) != 1)
		return false;
	name = get_func_name(call->funcid);
	return name != NULL && strcmp(name, "pack_rows") == 0 &&
	       get_func_namespace(call->funcid) == get_namespace_oid("citus_internal", true);
}

/* Junk columns come after the others. */
static bool columns_in_order(const Query *query)
{
	bool junk = false;
	ListCell *lc;

	foreach (lc, query->targetList) {
		const TargetEntry *tle = lfirst(lc);

		if (junk && !tle->resjunk)
			return false;
		junk = tle->resjunk;
	}
	return true;
}

Query *herd_packed_query(Query *query)
{
	const Var *row;
	Query *sub;

	if (query->commandType != CMD_SELECT || list_length(query->targetList) != 1 ||
	    list_length(query->rtable) != 1 || query->cteList != NIL || query->rowMarks != NIL ||
	    query->jointree->quals != NULL || list_length(query->jointree->fromlist) != 1 ||
	    query->limitCount != NULL || query->limitOffset != NULL || query->sortClause != NIL ||
	    query->groupClause != NIL || query->distinctClause != NIL ||
	    linitial_node(RangeTblEntry, query->rtable)->rtekind != RTE_SUBQUERY ||
	    !is_pack_call((Node *)linitial_node(TargetEntry, query->targetList)->expr))
		return NULL;
	row = linitial(((FuncExpr *)linitial_node(TargetEntry, query->targetList)->expr)->args);
	sub = linitial_node(RangeTblEntry, query->rtable)->subquery;
	if (!IsA(row, Var) || row->varattno != InvalidAttrNumber || row->varlevelsup != 0 ||
	    sub->commandType != CMD_SELECT || sub->hasModifyingCTE || !columns_in_order(sub))
		return NULL;
	return sub;
}

PlannedStmt *herd_pack_plan(const Query *query, PlannedStmt *inner)
{
	TargetEntry *tle = linitial(query->targetList);
	CustomScan *scan = makeNode(CustomScan);
	Plan *child = inner->planTree;
	Plan *plan = &scan->scan.plan;

	scan->methods = &scan_methods;
	scan->custom_plans = list_make1(child);
	scan->custom_scan_tlist = list_make1(makeTargetEntry(
		(Expr *)makeNullConst(BYTEAOID, -1, InvalidOid), 1, tle->resname, false));
	plan->targetlist = list_make1(
		makeTargetEntry((Expr *)makeVar(INDEX_VAR, 1, BYTEAOID, -1, InvalidOid, 0), 1,
				tle->resname, false));
	plan->startup_cost = child->startup_cost;
	plan->total_cost = child->total_cost;
	plan->plan_rows = 1;
	plan->plan_width = MOST_BYTES;
	plan->plan_node_id = child->plan_node_id;
	plan->extParam = bms_copy(child->extParam);
	plan->allParam = bms_copy(child->allParam);
	inner->planTree = plan;
	inner->queryId = query->queryId;
	inner->canSetTag = query->canSetTag;
	inner->stmt_location = query->stmt_location;
	inner->stmt_len = query->stmt_len;
	return inner;
}

/* -- blocks ------------------------------------------------------------------------------------ */

static void append_uint32(StringInfo out, uint32 value)
{
	appendBinaryStringInfo(out, (char *)&value, sizeof(value));
}

/* A bytea without rows yet. */
static void begin_block(StringInfo out, int natts, const Oid *types)
{
	resetStringInfo(out);
	append_uint32(out, 0); /* the varlena header */
	append_uint32(out, 0); /* rows */
	append_uint32(out, natts);
	for (int i = 0; i < natts; i++)
		append_uint32(out, types[i]);
}

static bytea *end_block(StringInfo out, uint32 rows)
{
	memcpy(out->data + VARHDRSZ, &rows, sizeof(rows));
	SET_VARSIZE(out->data, out->len);
	return (bytea *)out->data;
}

static Oid *types_of(TupleDesc desc, int natts)
{
	Oid *types = palloc(Max(natts, 1) * sizeof(Oid));

	for (int i = 0; i < natts; i++)
		types[i] = getBaseType(TupleDescAttr(desc, i)->atttypid);
	return types;
}

static uint32 read_uint32(char **p, const char *end)
{
	uint32 value;

	if (end - *p < (ptrdiff_t)sizeof(value))
		elog(ERROR, "a block of rows is too short");
	memcpy(&value, *p, sizeof(value));
	*p += sizeof(value);
	return value;
}

char *herd_pack_open(char *p, const char *end, int natts, const Oid *types, uint32 *rows)
{
	int n;

	*rows = read_uint32(&p, end);
	n = (int)read_uint32(&p, end);
	if (n != natts)
		ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("a node returned %d columns where %d were expected", n, natts)));
	for (int i = 0; i < natts; i++) {
		Oid type = read_uint32(&p, end);

		if (OidIsValid(types[i]) && type != types[i])
			ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a node returned type %s in column %d where %s was "
					"expected",
					format_type_be(type), i + 1, format_type_be(types[i]))));
	}
	return p;
}

/* One row: for whoever calls it where no plan of ours is made of it. */
Datum herd_pack_rows(PG_FUNCTION_ARGS)
{
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(row),
						     HeapTupleHeaderGetTypMod(row));
	HeapTupleData tuple = { .t_len = HeapTupleHeaderGetDatumLength(row), .t_data = row };
	Datum *values = palloc(Max(desc->natts, 1) * sizeof(Datum));
	bool *isnull = palloc(Max(desc->natts, 1) * sizeof(bool));
	StringInfoData out;

	heap_deform_tuple(&tuple, desc, values, isnull);
	initStringInfo(&out);
	begin_block(&out, desc->natts, types_of(desc, desc->natts));
	herd_row_put(&out, herd_columns_of(desc, true), desc->natts, values, isnull);
	PG_RETURN_BYTEA_P(end_block(&out, 1));
}

/* -- running ----------------------------------------------------------------------------------- */

static void pack_begin(CustomScanState *node, EState *estate, int eflags)
{
	PackState *s = (PackState *)node;
	Plan *child = linitial(((CustomScan *)node->ss.ps.plan)->custom_plans);
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	PlanState *state = ExecInitNode(child, estate, eflags);
	TupleDesc desc = ExecGetResultType(state);
	ListCell *lc;

	node->custom_ps = list_make1(state);
	foreach (lc, child->targetlist)
		s->natts += !lfirst_node(TargetEntry, lc)->resjunk;
	s->types = types_of(desc, s->natts);
	s->columns = herd_columns_of(desc, true);
	s->row = AllocSetContextCreate(estate->es_query_cxt, "herd packed row",
				       ALLOCSET_DEFAULT_SIZES);
	s->limit = FIRST_BYTES;
	initStringInfo(&s->out);
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *pack_exec(CustomScanState *node)
{
	PackState *s = (PackState *)node;
	TupleTableSlot *result = node->ss.ss_ScanTupleSlot;
	uint32 rows = 0;

	ExecClearTuple(result);
	begin_block(&s->out, s->natts, s->types);
	while (!s->done && s->out.len < s->limit) {
		TupleTableSlot *slot = ExecProcNode(linitial(node->custom_ps));
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (TupIsNull(slot)) {
			s->done = true;
			break;
		}
		slot_getsomeattrs(slot, s->natts);
		old = MemoryContextSwitchTo(s->row);
		herd_row_put(&s->out, s->columns, s->natts, slot->tts_values, slot->tts_isnull);
		MemoryContextSwitchTo(old);
		MemoryContextReset(s->row);
		rows++;
	}
	if (rows == 0)
		return result;
	s->limit = Min(s->limit * 2, MOST_BYTES);
	result->tts_values[0] = PointerGetDatum(end_block(&s->out, rows));
	result->tts_isnull[0] = false;
	return ExecStoreVirtualTuple(result);
}

static void pack_end(CustomScanState *node)
{
	ExecEndNode(linitial(node->custom_ps));
}

static void pack_rescan(CustomScanState *node)
{
	PackState *s = (PackState *)node;

	s->done = false;
	ExecReScan(linitial(node->custom_ps));
}

static const CustomExecMethods exec_methods = {
	.CustomName = "Herd Pack",
	.BeginCustomScan = pack_begin,
	.ExecCustomScan = pack_exec,
	.EndCustomScan = pack_end,
	.ReScanCustomScan = pack_rescan,
};

static Node *create_state(CustomScan *scan)
{
	PackState *s = (PackState *)newNode(sizeof(PackState), T_CustomScanState);

	s->css.methods = &exec_methods;
	return (Node *)s;
}

void herd_pack_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
}
