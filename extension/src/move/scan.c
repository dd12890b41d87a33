#include "move/scan.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "move/columns.h"
#include "move/move.h"
#include "move/store.h"

typedef struct ResultScan {
	CustomScanState css;
	List *args; /* of ExprState */
	HerdColumn *columns;
	MemoryContext row;
	bool started;
	List *files; /* of HerdResultFile */
	int next;
	int fd; /* of the one before next; -1: none is open */
	StringInfoData block;
	char *at;    /* in block */
	uint32 left; /* rows in it that have not been read */
} ResultScan;

static Plan *make_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
		       List *clauses, List *custom_plans);
static Node *create_state(CustomScan *scan);

static const CustomPathMethods path_methods = {
	.CustomName = "Herd Result",
	.PlanCustomPath = make_plan,
};

static const CustomScanMethods scan_methods = {
	.CustomName = "Herd Result",
	.CreateCustomScanState = create_state,
};

static set_rel_pathlist_hook_type next_hook;

/* -- planning ---------------------------------------------------------------------------------- */

FuncExpr *herd_read_result_call(const RangeTblEntry *rte)
{
	FuncExpr *call;
	char *name;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality || list_length(rte->functions) != 1)
		return NULL;
	call = (FuncExpr *)((RangeTblFunction *)linitial(rte->functions))->funcexpr;
	if (!IsA(call, FuncExpr) || call->funcid < FirstNormalObjectId ||
	    call->funcresulttype != RECORDOID || list_length(call->args) != 3)
		return NULL;
	name = get_func_name(call->funcid);
	if (name == NULL || strcmp(name, HERD_READ_RESULT) != 0 ||
	    get_func_namespace(call->funcid) != get_namespace_oid("citus_internal", true))
		return NULL;
	return call;
}

static void add_path_of_result(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	CustomPath *path;

	if (next_hook)
		next_hook(root, rel, rti, rte);
	/* whole rows are wanted in a write that may have to look again (EvalPlanQual) */
	if (rte->rtekind != RTE_FUNCTION || IS_DUMMY_REL(rel) ||
	    !bms_is_empty(rel->lateral_relids) || herd_read_result_call(rte) == NULL ||
	    !bms_is_empty(rel->attr_needed[InvalidAttrNumber - rel->min_attr]))
		return;
	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.rows = rel->rows;
	path->path.total_cost =
		rel->tuples * cpu_tuple_cost + rel->rows * rel->reltarget->cost.per_tuple;
	path->path.total_cost += rel->baserestrictcost.per_tuple * rel->tuples;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = &path_methods;
	rel->pathlist = list_make1(path);
	rel->partial_pathlist = NIL;
}

static Plan *make_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
		       List *clauses, List *custom_plans)
{
	RangeTblFunction *func = linitial(planner_rt_fetch(rel->relid, root)->functions);
	CustomScan *scan = makeNode(CustomScan);

	scan->methods = &scan_methods;
	scan->flags = path->flags;
	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->custom_exprs = copyObject(((FuncExpr *)func->funcexpr)->args);
	scan->custom_relids = bms_copy(rel->relids);
	for (int i = 0; i < func->funccolcount; i++) {
		Var *var = makeVar(rel->relid, i + 1, list_nth_oid(func->funccoltypes, i),
				   list_nth_int(func->funccoltypmods, i),
				   list_nth_oid(func->funccolcollations, i), 0);

		scan->custom_scan_tlist = lappend(scan->custom_scan_tlist,
						  makeTargetEntry((Expr *)var, i + 1, NULL, false));
	}
	return &scan->scan.plan;
}

/* -- running ----------------------------------------------------------------------------------- */

static void scan_begin(CustomScanState *node, EState *estate, int eflags)
{
	ResultScan *s = (ResultScan *)node;
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);

	s->args = ExecInitExprList(((CustomScan *)node->ss.ps.plan)->custom_exprs, &node->ss.ps);
	s->columns = herd_columns_of(node->ss.ss_ScanTupleSlot->tts_tupleDescriptor, false);
	s->row = AllocSetContextCreate(estate->es_query_cxt, "herd result row",
				       ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&s->block);
	s->fd = -1;
	MemoryContextSwitchTo(old);
}

static void scan_start(ResultScan *s)
{
	MemoryContext old;
	Datum values[3];
	ListCell *lc;
	int32 part;

	foreach (lc, s->args) {
		bool isnull;

		values[foreach_current_index(lc)] =
			ExecEvalExprSwitchContext(lfirst(lc), s->css.ss.ps.ps_ExprContext, &isnull);
		if (isnull)
			elog(ERROR, "an argument of " HERD_READ_RESULT " is null");
	}
	part = DatumGetInt32(values[2]);
	old = MemoryContextSwitchTo(s->css.ss.ps.state->es_query_cxt);
	s->files = herd_result_files(TextDatumGetCString(values[0]), DatumGetInt32(values[1]),
				     &part, 1);
	MemoryContextSwitchTo(old);
	s->started = true;
}

static void close_file(ResultScan *s)
{
	if (s->fd >= 0)
		CloseTransientFile(s->fd);
	s->fd = -1;
}

static bool next_block(ResultScan *s)
{
	HerdBlock block;

	if (!s->started)
		scan_start(s);
	for (;;) {
		HerdResultFile *file;

		if (s->fd < 0) {
			if (s->next == list_length(s->files))
				return false;
			s->fd = herd_result_open(list_nth(s->files, s->next++));
		}
		file = list_nth(s->files, s->next - 1);
		if (herd_result_read_block(s->fd, file->path, &block, &s->block)) {
			s->at = s->block.data;
			s->left = block.rows;
			if (s->left > 0)
				return true;
		} else {
			close_file(s);
		}
	}
}

static TupleTableSlot *scan_next(ScanState *ss)
{
	ResultScan *s = (ResultScan *)ss;
	TupleTableSlot *slot = ss->ss_ScanTupleSlot;
	MemoryContext old;

	ExecClearTuple(slot);
	if (s->left == 0 && !next_block(s))
		return slot;
	MemoryContextReset(s->row);
	old = MemoryContextSwitchTo(s->row);
	s->at = herd_row_get(s->at, s->block.data + s->block.len, s->columns,
			     slot->tts_tupleDescriptor->natts, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
	s->left--;
	return ExecStoreVirtualTuple(slot);
}

static bool scan_recheck(ScanState *ss, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *scan_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, scan_next, scan_recheck);
}

static void scan_end(CustomScanState *node)
{
	close_file((ResultScan *)node);
}

static void scan_rescan(CustomScanState *node)
{
	ResultScan *s = (ResultScan *)node;

	close_file(s);
	s->next = 0;
	s->left = 0;
	s->started = false;
	ExecScanReScan(&node->ss);
}

static const CustomExecMethods exec_methods = {
	.CustomName = "Herd Result",
	.BeginCustomScan = scan_begin,
	.ExecCustomScan = scan_exec,
	.EndCustomScan = scan_end,
	.ReScanCustomScan = scan_rescan,
};

static Node *create_state(CustomScan *scan)
{
	ResultScan *s = (ResultScan *)newNode(sizeof(ResultScan), T_CustomScanState);

	s->css.methods = &exec_methods;
	return (Node *)s;
}

void herd_result_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	next_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = add_path_of_result;
}
