/*
 * plan/srf.c - functions in SQL that the planner would replace by their query.
 */
#include "postgres.h"

#include "access/transam.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"

#include "plan/leaves.h"
#include "plan/srf.h"

static bool inline_walker(Node *node, void *context);

/* Only if a table of the herd comes to light; the planner does the others. */
static void inline_item(RangeTblEntry *rte, PlannerInfo *root)
{
	RangeTblFunction *func;
	RangeTblEntry *item;
	Query *query;

	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1)
		return;
	func = linitial(rte->functions);
	if (!IsA(func->funcexpr, FuncExpr) ||
	    ((FuncExpr *)func->funcexpr)->funcid < FirstNormalObjectId)
		return;
	item = copyObject(rte);
	item->functions = (List *)eval_const_expressions(root, (Node *)item->functions);
	query = inline_set_returning_function(root, item);
	if (query == NULL)
		return;
	inline_walker((Node *)query, root);
	if (herd_query_any_table(query) == NULL)
		return;
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->security_barrier = false;
	rte->functions = NIL;
	rte->funcordinality = false;
}

static bool inline_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		ListCell *lc;

		foreach (lc, ((Query *)node)->rtable)
			inline_item(lfirst(lc), context);
		return query_tree_walker((Query *)node, inline_walker, context, 0);
	}
	return expression_tree_walker(node, inline_walker, context);
}

List *herd_inline_functions(Query *query, ParamListInfo bound)
{
	PlannerInfo *root;

	if (query->commandType == CMD_UTILITY)
		return NIL;
	root = makeNode(PlannerInfo);
	root->parse = query;
	root->glob = makeNode(PlannerGlobal);
	root->glob->boundParams = bound;
	root->query_level = 1;
	inline_walker((Node *)query, root);
	return root->glob->invalItems;
}
