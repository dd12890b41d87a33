#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "guc.h"
#include "plan/facts.h"
#include "plan/remote.h"
#include "plan/rewrite.h"
#include "plan/route.h"
#include "plan/sysattrs.h"

/* A round trip to other nodes, in the planner's units: worth a hash or a materialized copy. */
#define REMOTE_STARTUP_COST 100.0

/* So many rows are worth what it takes to have them in blocks. */
#define PACK_ROWS 1000.0

static set_rel_pathlist_hook_type next_hook;

static Plan *plan_rows(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
		       List *clauses, List *custom_plans);

static const CustomPathMethods path_methods = {
	.CustomName = "Herd Remote",
	.PlanCustomPath = plan_rows,
};

static bool unpushable_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node)) {
	case T_Var:
		return ((Var *)node)->varno != *(int *)context || ((Var *)node)->varattno <= 0 ||
		       ((Var *)node)->varlevelsup != 0;
	case T_SubPlan:
	case T_AlternativeSubPlan:
	case T_PlaceHolderVar:
	case T_Aggref:
	case T_WindowFunc:
	case T_GroupingFunc:
	case T_CurrentOfExpr:
	case T_ConvertRowtypeExpr:
		return true;
	case T_Param:
		if (((Param *)node)->paramkind != PARAM_EXTERN &&
		    ((Param *)node)->paramkind != PARAM_EXEC)
			return true;
		return get_typtype(((Param *)node)->paramtype) == TYPTYPE_PSEUDO;
	case T_Const:
		return get_typtype(((Const *)node)->consttype) == TYPTYPE_PSEUDO;
	default:
		return expression_tree_walker(node, unpushable_walker, context);
	}
}

bool herd_can_push(Node *clause, int relid)
{
	return !herd_volatile(clause) && !unpushable_walker(clause, &relid);
}

/* The arguments of TABLESAMPLE, as they stand behind the first one of the function in FROM. */
static void give_sample(TableSampleClause *sample, List *args, List **evals)
{
	ListCell *lc;
	int i = 1;

	if (list_length(args) <= i)
		return;
	foreach (lc, sample->args)
		lfirst(lc) = herd_eval_param(evals, list_nth(args, i++));
	if (sample->repeatable != NULL)
		sample->repeatable = (Expr *)herd_eval_param(evals, list_nth(args, i));
}

HerdRemote *herd_read_table(RangeTblEntry *rte, int relid, List *columns, List *clauses,
			    const RowMarkClause *lock, List *sample)
{
	HerdRemote *remote = palloc0(sizeof(HerdRemote));
	const HerdTable *table = herd_table_get(rte->relid);
	Query *query = makeNode(Query);
	HerdLevel level = { .query = query };
	RangeTblRef *ref = makeNode(RangeTblRef);
	Node *quals = NULL;
	List *facts = NIL;
	ListCell *lc;

	if (clauses != NIL) {
		quals = copyObject((Node *)make_ands_explicit(clauses));
		ChangeVarNodes(quals, relid, 1, 0);
		quals = herd_evals_extract_expr(quals, &remote->evals);
	}
	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	rte = copyObject(rte);
	if (rte->tablesample != NULL)
		give_sample(rte->tablesample, sample, &remote->evals);
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), quals);
	foreach (lc, columns) {
		TargetEntry *tle = copyObject(lfirst_node(TargetEntry, lc));

		ChangeVarNodes((Node *)tle->expr, relid, 1, 0);
		query->targetList = lappend(query->targetList, tle);
	}
	if (lock != NULL) {
		RowMarkClause *mark = copyObject((RowMarkClause *)lock);

		mark->rti = 1;
		query->rowMarks = list_make1(mark);
		query->hasForUpdate = true;
		remote->in_txn = true;
	}
	remote->tier = 2;
	remote->command = CMD_SELECT;
	remote->anchor = rte->relid;
	remote->shards = table->kind == HERD_TABLE_HASH ? HERD_SHARDS_ALL : HERD_SHARDS_FIRST;
	/* as a write of it would, a lock is taken on all replicas */
	if (lock != NULL && table->kind == HERD_TABLE_REFERENCE)
		remote->shards = HERD_SHARDS_REPLICAS;
	remote->ntext = list_length(remote->evals);
	remote->unites = table->kind == HERD_TABLE_HASH && rte->inh && rte->tablesample == NULL &&
			 lock == NULL && herd_tasks_per_node >= 0 &&
			 herd_rights_on_all_columns(rte->relid);
	herd_facts_of_quals(&level, quals, &facts);
	if (table->kind == HERD_TABLE_HASH) {
		HerdTerm key = { .query = query, .varno = 1, .attno = table->keyattno };
		HerdFact *one = herd_fact_constant(facts, key, table, false);
		HerdFact *some = herd_fact_constant(facts, key, table, true);

		if (one != NULL)
			remote->shards = HERD_SHARDS_KEY;
		else if (some != NULL)
			remote->shards = HERD_SHARDS_IN;
		if (one != NULL || some != NULL)
			herd_remote_add_key(remote, table, one != NULL ? one : some, true);
	}
	remote->tmpl = herd_deparse(query);
	return remote;
}

static List *scan_columns(PlannerInfo *root, RelOptInfo *rel, List *needed)
{
	List *columns = NIL;
	ListCell *lc;

	foreach (lc, needed) {
		Var *var = lfirst(lc);

		if (!IsA(var, Var) || var->varno != (int)rel->relid)
			continue;
		if (var->varattno <= 0)
			elog(ERROR, "rows from shards have no system columns");
		columns = lappend(
			columns, makeTargetEntry((Expr *)copyObject(var), list_length(columns) + 1,
						 psprintf("c%d", list_length(columns) + 1), false));
	}
	return columns;
}

static HerdRemote *read_rows(const HerdRows *rows, const RangeTblFunction *func, int relid,
			     List *columns, List *clauses)
{
	AttrNumber first = func->funccolcount - list_length(rows->system) + 1;

	HerdRemote *remote;

	columns = (List *)herd_system_columns_again((Node *)columns, relid, rows->system, first);
	clauses = (List *)herd_system_columns_again((Node *)clauses, relid, rows->system, first);
	remote = herd_read_table(rows->rte, relid, columns, clauses, rows->lock,
				 ((FuncExpr *)func->funcexpr)->args);
	remote->unites = remote->unites && rows->system == NIL;
	return remote;
}

static Plan *plan_rows(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
		       List *clauses, List *custom_plans)
{
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	HerdRows *rows = herd_rows_of_rte(rte);
	HerdRemote *remote = rows->remote;
	List *local = NIL;
	List *pushed = NIL;
	List *needed = NIL;
	List *columns;
	CustomScan *scan;
	ListCell *lc;
	int flags = PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS;

	clauses = extract_actual_clauses(clauses, false);
	foreach (lc, clauses) {
		if (remote == NULL && herd_can_push(lfirst(lc), rel->relid))
			pushed = lappend(pushed, lfirst(lc));
		else
			local = lappend(local, lfirst(lc));
	}
	if (remote == NULL) {
		/* the target list may still be replaced by another one over the path's columns */
		List *used = list_concat_copy(path->path.pathtarget->exprs, local);

		foreach (lc, pull_var_clause((Node *)list_concat(used, list_copy(tlist)), flags))
			needed = list_append_unique(needed, lfirst(lc));
	} else {
		RangeTblFunction *func = linitial(rte->functions);

		for (int i = 0; i < func->funccolcount; i++)
			needed = lappend(needed,
					 makeVar(rel->relid, i + 1,
						 list_nth_oid(func->funccoltypes, i),
						 list_nth_int(func->funccoltypmods, i),
						 list_nth_oid(func->funccolcollations, i), 0));
	}
	columns = scan_columns(root, rel, needed);
	if (columns == NIL && remote == NULL)
		columns = list_make1(
			makeTargetEntry((Expr *)makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
							  Int32GetDatum(1), false, true),
					1, "c1", false));
	if (remote == NULL)
		remote = read_rows(rows, linitial(rte->functions), rel->relid, columns, pushed);
	remote->packs = (rel->tuples >= PACK_ROWS || herd_move_min_kb == 0) && !remote->in_txn &&
			remote->command == CMD_SELECT && rows->lock == NULL;
	scan = herd_remote_plan(remote, columns);
	scan->flags = path->flags;
	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = local;
	scan->custom_relids = bms_copy(rel->relids);
	return &scan->scan.plan;
}

static void add_rows_path(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	HerdRows *rows;
	CustomPath *path;

	if (next_hook)
		next_hook(root, rel, rti, rte);
	if (rte->rtekind != RTE_FUNCTION || IS_DUMMY_REL(rel) ||
	    (rows = herd_rows_of_rte(rte)) == NULL)
		return;
	rel->tuples = rows->nrows;
	rel->rows = clamp_row_est(rows->nrows * clauselist_selectivity(root, rel->baserestrictinfo,
								       0, JOIN_INNER, NULL));
	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	/* what a lateral subquery takes from the query around it is a parameter */
	path->path.param_info = get_baserel_parampathinfo(root, rel, rel->lateral_relids);
	path->path.rows = rel->rows;
	path->path.startup_cost = REMOTE_STARTUP_COST;
	path->path.total_cost = REMOTE_STARTUP_COST + rel->rows * cpu_tuple_cost * 2;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = &path_methods;
	rel->pathlist = list_make1(path);
	rel->partial_pathlist = NIL;
}

void herd_scan_init(void)
{
	next_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = add_rows_path;
}
