#include "plan/lookup.h"

#include "access/hash.h"
#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "compat.h"

/* A lookup: what to hash, how, and the first and last hash of each shard. */
typedef struct Lookup {
	Expr *key;
	Oid proc;
	Oid collation;
	List *mins; /* of int, ascending */
	List *maxs;
} Lookup;

typedef struct LookupState {
	CustomScanState css;
	ExprState *key;
	FmgrInfo hash;
	Oid collation;
	int n;
	int32 *mins;
	int32 *maxs;
	PlanState **shards;
	PlanState *current; /* the one that is read, or NULL */
	bool started;
	Bitmapset *changed; /* parameters that have changed since the plan began */
} LookupState;

static Node *lookup_create_state(CustomScan *scan);
static Plan *lookup_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
			 List *clauses, List *custom_plans);

static const CustomScanMethods lookup_methods = {
	.CustomName = "Herd Shard Lookup",
	.CreateCustomScanState = lookup_create_state,
};

static const CustomPathMethods path_methods = {
	.CustomName = "Herd Shard Lookup",
	.PlanCustomPath = lookup_plan,
};

/* -- planner ----------------------------------------------------------------------------------- */

static bool is_key(Node *node, const RelOptInfo *shard, AttrNumber attno)
{
	while (IsA(node, RelabelType))
		node = (Node *)((RelabelType *)node)->arg;
	return IsA(node, Var) && ((Var *)node)->varno == (int)shard->relid &&
	       ((Var *)node)->varattno == attno && ((Var *)node)->varlevelsup == 0;
}

/* What the clause wants the shard's key to be equal to, when its hash says where that is. */
static bool lookup_of_clause(const RestrictInfo *rinfo, const RelOptInfo *shard, AttrNumber attno,
			     const HerdTable *table, Lookup *lookup)
{
	const OpExpr *op = (const OpExpr *)rinfo->clause;
	Oid type = getBaseType(get_atttype(table->relid, table->keyattno));
	Oid family = lookup_type_cache(type, TYPECACHE_HASH_OPFAMILY)->hash_opf;
	Oid left, right;
	bool swapped;

	if (!IsA(op, OpExpr) || list_length(op->args) != 2 || !OidIsValid(family) ||
	    get_op_opfamily_strategy(op->opno, family) != HTEqualStrategyNumber ||
	    !op_strict(op->opno) || op->inputcollid != table->keycollation)
		return false;
	swapped = !is_key(linitial(op->args), shard, attno);
	if (swapped && !is_key(lsecond(op->args), shard, attno))
		return false;
	if (bms_overlap(swapped ? rinfo->left_relids : rinfo->right_relids, shard->relids))
		return false;
	op_input_types(op->opno, &left, &right);
	if (swapped)
		right = left;
	lookup->key = swapped ? linitial(op->args) : lsecond(op->args);
	lookup->collation = op->inputcollid;
	lookup->proc = get_opfamily_proc(family, right, right, HASHSTANDARD_PROC);
	return OidIsValid(lookup->proc);
}

/* The first shard tells for all: what is asked of them is the same. */
static bool find_lookup(PlannerInfo *root, const Path *path, const HerdTable *table, Lookup *lookup)
{
	const RelOptInfo *shard = path->parent;
	const RangeTblEntry *rte = planner_rt_fetch(shard->relid, root);
	AttrNumber attno;
	ListCell *lc;

	if (path->param_info == NULL)
		return false;
	attno = get_attnum(rte->relid, get_attname(table->relid, table->keyattno, false));
	foreach (lc, path->param_info->ppi_clauses)
		if (lookup_of_clause(lfirst(lc), shard, attno, table, lookup))
			return true;
	return false;
}

static bool only_columns(const List *exprs)
{
	ListCell *lc;

	foreach (lc, exprs)
		if (!IsA(lfirst(lc), Var))
			return false;
	return true;
}

/*
 * PostgreSQL has shared what is read of a shard among as many scans as the nested loop has rows:
 * of n shards each gets a part of them only. By how much a scan costs more.
 */
static double fewer_loops(PlannerInfo *root, const Path *shard, int n)
{
	IndexPath again;
	double loops = -1;
	int relid = -1;

	if (!IsA(shard, IndexPath) || shard->total_cost <= 0)
		return 1;
	while ((relid = bms_next_member(PATH_REQ_OUTER(shard), relid)) >= 0) {
		const RelOptInfo *outer =
			relid < root->simple_rel_array_size ? root->simple_rel_array[relid] : NULL;

		if (outer != NULL && (loops < 0 || outer->rows < loops))
			loops = outer->rows;
	}
	again = *(const IndexPath *)shard;
	cost_index(&again, root, clamp_row_est(loops / n), false);
	return Max(again.path.total_cost / shard->total_cost, 1);
}

static Path *lookup_path(PlannerInfo *root, const AppendPath *append, const HerdTable *table,
			 const int *indexes, int n)
{
	const Path *like = &append->path;
	CustomPath *path;
	Lookup lookup = { 0 };

	/* shards that are known to have no rows are left out: then it is not clear which are there
	 */
	if (like->param_info == NULL || like->parallel_aware ||
	    list_length(append->subpaths) != n ||
	    !find_lookup(root, linitial(append->subpaths), table, &lookup))
		return NULL;
	for (int i = 0; i < n; i++) {
		lookup.mins = lappend_int(lookup.mins, table->shards[indexes[i]].hashmin);
		lookup.maxs = lappend_int(lookup.maxs, table->shards[indexes[i]].hashmax);
	}
	path = makeNode(CustomPath);
	path->path = *like;
	path->path.type = T_CustomPath;
	path->path.pathtype = T_CustomScan;
	path->path.pathkeys = NIL;
	path->path.rows = clamp_row_est(like->rows / n);
	path->path.startup_cost = like->startup_cost / n;
	path->path.total_cost =
		like->total_cost / n * fewer_loops(root, linitial(append->subpaths), n) +
		4 * cpu_operator_cost + path->path.rows * cpu_tuple_cost * 0.5;
	path->custom_paths = append->subpaths;
	path->custom_private =
		list_make4(list_make1(lookup.key), list_make2_oid(lookup.proc, lookup.collation),
			   lookup.mins, lookup.maxs);
	path->methods = &path_methods;
	return &path->path;
}

void herd_lookup_paths(PlannerInfo *root, RelOptInfo *rel, const HerdTable *table,
		       const int *indexes, int n)
{
	List *paths = NIL;
	ListCell *lc;

	if (!only_columns(rel->reltarget->exprs) || !bms_is_empty(rel->lateral_relids))
		return;
	for (int i = 1; i < n; i++)
		if (indexes[i - 1] >= indexes[i])
			return;
	foreach (lc, rel->pathlist) {
		Path *path = lfirst(lc);

		path = IsA(path, AppendPath)
			       ? lookup_path(root, (AppendPath *)path, table, indexes, n)
			       : NULL;
		if (path != NULL)
			paths = lappend(paths, path);
	}
	/* frees those that are worse */
	foreach (lc, paths)
		add_path(rel, lfirst(lc));
}

/* The clauses are asked by the shards, as those of an Append. */
static Plan *lookup_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
			 List *clauses, List *custom_plans)
{
	CustomScan *scan = makeNode(CustomScan);
	ListCell *lc;

	foreach (lc, path->path.pathtarget->exprs)
		scan->custom_scan_tlist =
			lappend(scan->custom_scan_tlist,
				makeTargetEntry(copyObject(lfirst(lc)),
						foreach_current_index(lc) + 1, NULL, false));
	scan->methods = &lookup_methods;
	scan->flags = path->flags;
	scan->scan.plan.targetlist = tlist;
	scan->custom_plans = custom_plans;
	scan->custom_exprs = copyObject(linitial(path->custom_private));
	scan->custom_private = list_copy_tail(path->custom_private, 1);
	return &scan->scan.plan;
}

/* -- executor ---------------------------------------------------------------------------------- */

static int32 *int_array(const List *list)
{
	int32 *array = palloc(list_length(list) * sizeof(int32));
	ListCell *lc;

	foreach (lc, list)
		array[foreach_current_index(lc)] = lfirst_int(lc);
	return array;
}

static void lookup_begin(CustomScanState *node, EState *estate, int eflags)
{
	LookupState *state = (LookupState *)node;
	CustomScan *scan = (CustomScan *)node->ss.ps.plan;
	List *oids = linitial(scan->custom_private);
	ListCell *lc;

	state->key = ExecInitExpr(linitial(scan->custom_exprs), &node->ss.ps);
	fmgr_info(linitial_oid(oids), &state->hash);
	state->collation = lsecond_oid(oids);
	state->mins = int_array(lsecond(scan->custom_private));
	state->maxs = int_array(lthird(scan->custom_private));
	state->n = list_length(scan->custom_plans);
	state->shards = palloc(state->n * sizeof(PlanState *));
	foreach (lc, scan->custom_plans) {
		PlanState *shard = ExecInitNode(lfirst(lc), estate, eflags);

		state->shards[foreach_current_index(lc)] = shard;
		node->custom_ps = lappend(node->custom_ps, shard);
	}
}

static PlanState *shard_of_hash(const LookupState *state, int32 hash)
{
	int low = 0, high = state->n - 1;

	while (low <= high) {
		int middle = (low + high) / 2;

		if (hash < state->mins[middle])
			high = middle - 1;
		else if (hash > state->maxs[middle])
			low = middle + 1;
		else
			return state->shards[middle];
	}
	return NULL;
}

static void lookup_start(LookupState *state)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	bool isnull;
	Datum key;
	int32 hash;

	state->started = true;
	state->current = NULL;
	key = ExecEvalExprSwitchContext(state->key, econtext, &isnull);
	if (isnull)
		return;
	hash = DatumGetInt32(FunctionCall1Coll(&state->hash, state->collation, key));
	state->current = shard_of_hash(state, hash);
	/* it may not have been asked for long */
	if (state->current != NULL && state->changed != NULL)
		UpdateChangedParamSet(state->current, state->changed);
}

static TupleTableSlot *lookup_next(ScanState *ss)
{
	LookupState *state = (LookupState *)ss;
	TupleTableSlot *slot = ss->ss_ScanTupleSlot;
	TupleTableSlot *row;

	ExecClearTuple(slot);
	if (!state->started)
		lookup_start(state);
	if (state->current == NULL)
		return slot;
	row = ExecProcNode(state->current);
	if (TupIsNull(row)) {
		state->current = NULL;
		return slot;
	}
	/* values stay where they are until the next row */
	slot_getallattrs(row);
	memcpy(slot->tts_values, row->tts_values, row->tts_nvalid * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, row->tts_nvalid * sizeof(bool));
	return ExecStoreVirtualTuple(slot);
}

static bool lookup_recheck(ScanState *ss, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *lookup_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, lookup_next, lookup_recheck);
}

static void lookup_end(CustomScanState *node)
{
	ListCell *lc;

	foreach (lc, node->custom_ps)
		ExecEndNode(lfirst(lc));
}

static void lookup_rescan(CustomScanState *node)
{
	LookupState *state = (LookupState *)node;
	const Bitmapset *changed = node->ss.ps.chgParam;

	if (changed != NULL && !bms_is_subset(changed, state->changed)) {
		MemoryContext old = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);

		state->changed = bms_add_members(state->changed, changed);
		MemoryContextSwitchTo(old);
	}
	/* nothing it depends on has changed: it begins anew all the same */
	if (changed == NULL)
		for (int i = 0; i < state->n; i++)
			ExecReScan(state->shards[i]);
	state->started = false;
	state->current = NULL;
	ExecScanReScan(&node->ss);
}

static const CustomExecMethods lookup_exec_methods = {
	.CustomName = "Herd Shard Lookup",
	.BeginCustomScan = lookup_begin,
	.ExecCustomScan = lookup_exec,
	.EndCustomScan = lookup_end,
	.ReScanCustomScan = lookup_rescan,
};

static Node *lookup_create_state(CustomScan *scan)
{
	LookupState *state = (LookupState *)newNode(sizeof(LookupState), T_CustomScanState);

	state->css.methods = &lookup_exec_methods;
	return (Node *)state;
}

void herd_lookup_init(void)
{
	RegisterCustomScanMethods(&lookup_methods);
}
