#include "plan/returning.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "attach/before.h"
#include "catalog/metadata.h"
#include "compat.h"
#include "deparse/code.h"

/* No name that a user would give. */
#define WRITE_NAME "*RETURNING*"

bool herd_returns_here(const Query *query)
{
	Node *list = (Node *)query->returningList;
	const HerdTable *table = NULL;

	if (query->resultRelation != 0 && list != NULL)
		table = herd_table_get(rt_fetch(query->resultRelation, query->rtable)->relid);
	return table != NULL && (herd_expr_of_session(list) ||
				 herd_expr_reaches(list, table->relid) != HERD_REACH_SHARD);
}

bool herd_returns_subqueries(const Query *query)
{
	return query->commandType != CMD_SELECT &&
	       checkExprHasSubLink((Node *)query->returningList);
}

typedef struct Taken {
	Index depth;   /* of the expression at hand below the list */
	List *columns; /* of TargetEntry: what the write returns */
} Taken;

/* What only the write itself can tell, of the level of the list. */
static bool of_write(Node *node, Index depth)
{
	if (IsA(node, Var))
		return ((Var *)node)->varlevelsup == depth;
#if PG_VERSION_NUM >= 170000
	if (IsA(node, MergeSupportFunc))
		return depth == 0;
#endif
#if PG_VERSION_NUM >= 180000
	if (IsA(node, ReturningExpr))
		return ((ReturningExpr *)node)->retlevelsup == (int)depth;
#endif
	return false;
}

/* The column of the write's rows that has the expression's value. */
static Node *column_for(Taken *taken, Node *expr)
{
	Expr *own = (Expr *)copyObject(expr);
	ListCell *lc;
	TargetEntry *found = NULL;

	IncrementVarSublevelsUp((Node *)own, -(int)taken->depth, taken->depth);
	foreach (lc, taken->columns) {
		found = lfirst(lc);
		if (equal(found->expr, own))
			break;
		found = NULL;
	}
	if (found == NULL) {
		int pos = list_length(taken->columns) + 1;

		found = makeTargetEntry(own, (AttrNumber)pos, psprintf("column%d", pos), false);
		taken->columns = lappend(taken->columns, found);
	}
	return (Node *)makeVar(1, found->resno, exprType(expr), exprTypmod(expr),
			       exprCollation(expr), taken->depth);
}

static Node *take_mutator(Node *node, void *context)
{
	Taken *taken = context;

	if (node == NULL)
		return NULL;
	if (of_write(node, taken->depth))
		return column_for(taken, node);
	if (IsA(node, Query)) {
		Query *query;

		taken->depth++;
		query = query_tree_mutator((Query *)node, take_mutator, context, 0);
		taken->depth--;
		return (Node *)query;
	}
	return expression_tree_mutator(node, take_mutator, context);
}

/* References to the WITH of the query at depth 0 are to that of the one around it. */
static bool lift_walker(Node *node, void *context)
{
	Index *depth = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry)) {
		RangeTblEntry *rte = (RangeTblEntry *)node;

		if (rte->rtekind == RTE_CTE && rte->ctelevelsup == *depth)
			rte->ctelevelsup++;
		return false;
	}
	if (IsA(node, Query)) {
		++*depth;
		query_tree_walker((Query *)node, lift_walker, context, QTW_EXAMINE_RTES_BEFORE);
		--*depth;
		return false;
	}
	return expression_tree_walker(node, lift_walker, context);
}

static CommonTableExpr *cte_of(Query *write)
{
	CommonTableExpr *cte = makeNode(CommonTableExpr);
	ListCell *lc;

	cte->ctename = pstrdup(WRITE_NAME);
	cte->ctematerialized = CTEMaterializeAlways;
	cte->ctequery = (Node *)write;
	cte->location = -1;
	cte->cterefcount = 1;
	foreach (lc, write->returningList) {
		const TargetEntry *tle = lfirst(lc);
		Node *expr = (Node *)tle->expr;

		cte->ctecolnames = lappend(cte->ctecolnames, makeString(pstrdup(tle->resname)));
		cte->ctecoltypes = lappend_oid(cte->ctecoltypes, exprType(expr));
		cte->ctecoltypmods = lappend_int(cte->ctecoltypmods, exprTypmod(expr));
		cte->ctecolcollations = lappend_oid(cte->ctecolcollations, exprCollation(expr));
	}
	return cte;
}

static RangeTblEntry *rte_of(const CommonTableExpr *cte)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_CTE;
	rte->ctename = pstrdup(cte->ctename);
	rte->eref = makeAlias(cte->ctename, copyObject(cte->ctecolnames));
	rte->coltypes = list_copy(cte->ctecoltypes);
	rte->coltypmods = list_copy(cte->ctecoltypmods);
	rte->colcollations = list_copy(cte->ctecolcollations);
	rte->inFromCl = true;
	return rte;
}

Query *herd_return_here(const Query *write)
{
	Query *inner = copyObject((Query *)write);
	Query *outer = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Taken taken = { 0 };
	Index depth = 0;
	CommonTableExpr *cte;

	outer->commandType = CMD_SELECT;
	outer->canSetTag = write->canSetTag;
	outer->hasModifyingCTE = true;
	outer->hasRecursive = write->hasRecursive;
	outer->hasRowSecurity = write->hasRowSecurity;
	outer->cteList = inner->cteList;
	inner->cteList = NIL;
	inner->hasModifyingCTE = inner->hasRecursive = false;
	outer->targetList = (List *)take_mutator((Node *)inner->returningList, &taken);
	outer->hasSubLinks = checkExprHasSubLink((Node *)outer->targetList);
	if (taken.columns == NIL)
		taken.columns = list_make1(makeTargetEntry((Expr *)makeBoolConst(true, false), 1,
							   pstrdup("column1"), false));
	inner->returningList = taken.columns;
	query_tree_walker(inner, lift_walker, &depth, QTW_EXAMINE_RTES_BEFORE);
	cte = cte_of(inner);
	outer->cteList = lappend(outer->cteList, cte);
	ref->rtindex = 1;
	outer->rtable = list_make1(rte_of(cte));
	outer->jointree = makeFromExpr(list_make1(ref), NULL);
	return outer;
}
