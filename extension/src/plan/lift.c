#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

#include "plan/leaves.h"
#include "plan/lift.h"

static Node *lifted_column(List **tlist, SubLink *sublink)
{
	int pos = list_length(*tlist) + 1;
	Node *expr = (Node *)sublink;

	*tlist =
		lappend(*tlist, makeTargetEntry((Expr *)sublink, pos, psprintf("v%d", pos), false));
	return (Node *)makeVar(OUTER_VAR, pos, exprType(expr), exprTypmod(expr),
			       exprCollation(expr), 0);
}

/* x IN (SELECT ..) becomes x = ANY (array of what it selects); NULL if it is not that simple. */
static Node *lift_any(List **tlist, SubLink *sublink)
{
	OpExpr *test = (OpExpr *)sublink->testexpr;
	ScalarArrayOpExpr *result = makeNode(ScalarArrayOpExpr);
	Node *right;
	Node *array;
	Oid element;
	SubLink *values;

	if (test == NULL || !IsA(test, OpExpr) || list_length(test->args) != 2)
		return NULL;
	right = lsecond(test->args);
	element = exprType(right);
	if (IsA(right, RelabelType))
		right = (Node *)((RelabelType *)right)->arg;
	if (!IsA(right, Param) || ((Param *)right)->paramkind != PARAM_SUBLINK ||
	    !OidIsValid(get_array_type(element)) || !OidIsValid(get_array_type(exprType(right))) ||
	    OidIsValid(get_element_type(exprType(right))))
		return NULL;
	values = copyObject(sublink);
	values->subLinkType = ARRAY_SUBLINK;
	values->testexpr = NULL;
	values->operName = NIL;
	array = lifted_column(tlist, values);
	if (exprType(array) != get_array_type(element))
		array = (Node *)makeRelabelType((Expr *)array, get_array_type(element), -1,
						exprCollation(array), COERCE_IMPLICIT_CAST);
	result->opno = test->opno;
	result->opfuncid = get_opcode(test->opno);
	result->useOr = sublink->subLinkType == ANY_SUBLINK;
	result->inputcollid = test->inputcollid;
	result->args = list_make2(linitial(test->args), array);
	result->location = -1;
	return (Node *)result;
}

static Node *lift_mutator(Node *node, void *context)
{
	List **tlist = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return node;
	if (IsA(node, SubLink)) {
		SubLink *sublink = (SubLink *)node;
		Node *lifted = NULL;

		if (herd_query_is_correlated(castNode(Query, sublink->subselect)) ||
		    herd_query_any_table((Query *)sublink->subselect) == NULL)
			return node;
		switch (sublink->subLinkType) {
		case EXPR_SUBLINK:
		case EXISTS_SUBLINK:
		case ARRAY_SUBLINK:
			return lifted_column(tlist, copyObject(sublink));
		case ANY_SUBLINK:
		case ALL_SUBLINK:
			lifted = lift_any(tlist, sublink);
			break;
		default:
			break;
		}
		return lifted != NULL ? lifted : node;
	}
	return expression_tree_mutator(node, lift_mutator, context);
}

Query *herd_lift_sublinks(Query *query)
{
	Query *select;
	List *tlist = NIL;

	if (!query->hasSubLinks)
		return NULL;
	query->targetList = (List *)lift_mutator((Node *)query->targetList, &tlist);
	query->returningList = (List *)lift_mutator((Node *)query->returningList, &tlist);
	query->jointree = (FromExpr *)lift_mutator((Node *)query->jointree, &tlist);
	if (tlist == NIL)
		return NULL;
	select = makeNode(Query);
	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->hasSubLinks = true;
	select->jointree = makeFromExpr(NIL, NULL);
	select->targetList = tlist;
	return select;
}
