#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "plan/leaves.h"
#include "plan/order.h"
#include "plan/rewrite.h"

/* The one subquery of FROM if its rows have an order; NULL: there is none to keep. */
static RangeTblEntry *sorted_subquery(Query *query, int *varno)
{
	RangeTblRef *ref;
	RangeTblEntry *rte;
	Query *sub;

	if (query->commandType != CMD_SELECT || query->setOperations != NULL ||
	    query->rowMarks != NIL || query->jointree == NULL ||
	    list_length(query->jointree->fromlist) != 1)
		return NULL;
	ref = linitial(query->jointree->fromlist);
	if (!IsA(ref, RangeTblRef))
		return NULL;
	rte = rt_fetch(ref->rtindex, query->rtable);
	if (rte->rtekind != RTE_SUBQUERY || rte->lateral)
		return NULL;
	sub = rte->subquery;
	(void)herd_keep_order(sub);
	/* with LIMIT it is run by itself, and its rows come in their order */
	if (sub->commandType != CMD_SELECT || sub->sortClause == NIL || sub->limitCount != NULL ||
	    sub->limitOffset != NULL || sub->rowMarks != NIL || sub->cteList != NIL)
		return NULL;
	*varno = ref->rtindex;
	return rte;
}

/* -- who needs it ------------------------------------------------------------------------------ */

/* The order of rows does not show in their results. */
static bool ignores_order(const Aggref *agg)
{
	static const char *const names[] = { "count",
					     "sum",
					     "avg",
					     "min",
					     "max",
					     "bool_and",
					     "bool_or",
					     "every",
					     "bit_and",
					     "bit_or",
					     "bit_xor",
					     "stddev",
					     "variance",
					     "var_pop",
					     "var_samp",
					     "stddev_pop",
					     "stddev_samp",
					     "corr",
					     "covar_pop",
					     "regr_avgx",
					     "regr_avgy",
					     "regr_count",
					     "regr_intercept",
					     "regr_r2",
					     "regr_slope",
					     "regr_sxx",
					     "regr_sxy",
					     "regr_syy",
					     "covar_samp",
					     "range_agg",
					     "range_intersect_agg" };
	const char *name;

	if (agg->aggkind != AGGKIND_NORMAL || agg->aggorder != NIL || agg->aggdistinct != NIL)
		return true;
	name = agg->aggfnoid < FirstNormalObjectId ? get_func_name(agg->aggfnoid) : NULL;
	for (size_t i = 0; name != NULL && i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool needs_order_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
		return ((Aggref *)node)->agglevelsup == 0 && !ignores_order((Aggref *)node);
	return expression_tree_walker(node, needs_order_walker, context);
}

/* One window over all rows as they come. */
static bool has_plain_window(const Query *query)
{
	ListCell *lc;

	foreach (lc, query->windowClause) {
		const WindowClause *window = lfirst(lc);

		if (window->partitionClause == NIL && window->orderClause == NIL)
			return true;
	}
	return false;
}

/* -- columns to order by ----------------------------------------------------------------------- */

typedef struct WholeRow {
	int varno;
	int depth;
} WholeRow;

static bool whole_row_walker(Node *node, void *context)
{
	WholeRow *cxt = context;
	bool found;

	if (node == NULL)
		return false;
	if (IsA(node, Var)) {
		const Var *var = (Var *)node;

		return var->varno == cxt->varno && (int)var->varlevelsup == cxt->depth &&
		       var->varattno == InvalidAttrNumber;
	}
	if (IsA(node, Query)) {
		cxt->depth++;
		found = query_tree_walker((Query *)node, whole_row_walker, context, 0);
		cxt->depth--;
		return found;
	}
	return expression_tree_walker(node, whole_row_walker, context);
}

/* A column that is shown would be one of the row. */
static bool row_would_grow(Query *query, const RangeTblEntry *rte, int varno)
{
	WholeRow cxt = { .varno = varno };
	ListCell *lc;

	foreach (lc, rte->subquery->targetList)
		if (((TargetEntry *)lfirst(lc))->resjunk)
			return query_tree_walker(query, whole_row_walker, &cxt, 0);
	return false;
}

/* What the subquery sorts by becomes a column that can be read. */
static void show_columns(RangeTblEntry *rte)
{
	ListCell *lc;

	foreach (lc, rte->subquery->targetList) {
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk)
			continue;
		tle->resjunk = false;
		if (tle->resname == NULL)
			tle->resname = psprintf("order_%d", tle->resno);
		rte->eref->colnames =
			lappend(rte->eref->colnames, makeString(pstrdup(tle->resname)));
		if (rte->alias != NULL && rte->alias->colnames != NIL)
			rte->alias->colnames =
				lappend(rte->alias->colnames, makeString(pstrdup(tle->resname)));
	}
}

/* An entry of the list for the column, with a number to sort by; appended as junk when missing. */
static Index reference_to(List **tlist, Var *column)
{
	TargetEntry *found = NULL;
	Index most = 0;
	ListCell *lc;

	foreach (lc, *tlist) {
		TargetEntry *tle = lfirst(lc);

		most = Max(most, tle->ressortgroupref);
		if (found == NULL && equal(tle->expr, column))
			found = tle;
	}
	if (found == NULL) {
		found = makeTargetEntry((Expr *)column, list_length(*tlist) + 1, NULL, true);
		*tlist = lappend(*tlist, found);
	}
	if (found->ressortgroupref == 0)
		found->ressortgroupref = most + 1;
	return found->ressortgroupref;
}

/* The subquery's ORDER BY, by columns of the subquery, over an expression list of the query. */
static List *order_for(const RangeTblEntry *rte, int varno, List **tlist)
{
	List *order = NIL;
	ListCell *lc;

	foreach (lc, rte->subquery->sortClause) {
		SortGroupClause *clause = copyObject(lfirst_node(SortGroupClause, lc));
		TargetEntry *tle = get_sortgroupclause_tle(clause, rte->subquery->targetList);
		Node *expr = (Node *)tle->expr;

		clause->tleSortGroupRef =
			reference_to(tlist, makeVar(varno, tle->resno, exprType(expr),
						    exprTypmod(expr), exprCollation(expr), 0));
		if (!targetIsInSortList(get_sortgroupref_tle(clause->tleSortGroupRef, *tlist),
					InvalidOid, order))
			order = lappend(order, clause);
	}
	return order;
}

typedef struct Source {
	const RangeTblEntry *rte;
	int varno;
} Source;

static bool order_aggregates_walker(Node *node, void *context)
{
	const Source *source = context;

	if (node == NULL)
		return false;
	if (IsA(node, Aggref)) {
		Aggref *agg = (Aggref *)node;

		if (agg->agglevelsup == 0 && !ignores_order(agg))
			agg->aggorder = order_for(source->rte, source->varno, &agg->args);
		return false;
	}
	return expression_tree_walker(node, order_aggregates_walker, context);
}

/* -- conditions on the subquery ---------------------------------------------------------------- */

/* They leave rows out before the rows are sent here. */
static void push_conditions(Query *query, RangeTblEntry *rte, int varno)
{
	Query *sub = rte->subquery;
	Node *quals = query->jointree->quals;

	if (quals == NULL || rte->security_barrier || sub->setOperations != NULL || sub->hasAggs ||
	    sub->groupClause != NIL || sub->groupingSets != NIL || sub->havingQual != NULL ||
	    sub->distinctClause != NIL || sub->hasWindowFuncs || sub->hasTargetSRFs ||
	    sub->hasSubLinks || query->hasSubLinks || contain_volatile_functions(quals) ||
	    contain_volatile_functions((Node *)sub->targetList))
		return;
	quals = ReplaceVarsFromTargetList(quals, varno, 0, rte, sub->targetList,
#if PG_VERSION_NUM >= 180000
					  0,
#endif
					  REPLACEVARS_REPORT_ERROR, 0, NULL);
	sub->jointree->quals = make_and_qual(sub->jointree->quals, quals);
	query->jointree->quals = NULL;
}

bool herd_keep_order(Query *query)
{
	int varno;
	RangeTblEntry *rte = sorted_subquery(query, &varno);
	bool grouped = query->groupClause != NIL || query->groupingSets != NIL || query->hasAggs ||
		       query->havingQual != NULL;

	if (rte == NULL || herd_query_any_table(rte->subquery) == NULL)
		return false;
	if (!grouped &&
	    (has_plain_window(query) || (query->hasDistinctOn && query->sortClause == NIL))) {
		push_conditions(query, rte, varno);
		return true;
	}
	if (grouped) {
		Source source = { .rte = rte, .varno = varno };

		if (!needs_order_walker((Node *)query->targetList, NULL) &&
		    !needs_order_walker(query->havingQual, NULL))
			return false;
		if (row_would_grow(query, rte, varno))
			return true;
		show_columns(rte);
		order_aggregates_walker((Node *)query->targetList, &source);
		order_aggregates_walker(query->havingQual, &source);
		return false;
	}
	if (query->sortClause != NIL || query->distinctClause != NIL || query->hasWindowFuncs)
		return false;
	if (row_would_grow(query, rte, varno))
		return true;
	show_columns(rte);
	query->sortClause = order_for(rte, varno, &query->targetList);
	/* DISTINCT ON takes the first rows of the order */
	if (!rte->subquery->hasDistinctOn)
		rte->subquery->sortClause = NIL;
	return false;
}
