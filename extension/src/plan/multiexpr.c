#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "rewrite/rewriteManip.h"

#include "plan/multiexpr.h"

static bool is_multiexpr(const Node *node)
{
	return IsA(node, Param) && ((const Param *)node)->paramkind == PARAM_MULTIEXPR;
}

static bool any_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return is_multiexpr(node) || expression_tree_walker(node, any_walker, context);
}

bool herd_multiexpr_any(List *tlist)
{
	return any_walker((Node *)tlist, NULL);
}

/* Other columns have a say in how many rows there are. */
static bool columns_count(const Query *sub)
{
	return sub->setOperations != NULL || sub->distinctClause != NIL || sub->hasTargetSRFs ||
	       (sub->hasAggs && sub->groupClause == NIL);
}

/* SELECT of the subquery, below another one. */
static Query *wrap(Query *sub)
{
	Query *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List *names = NIL;
	ListCell *lc;

	IncrementVarSublevelsUp((Node *)sub, 1, 1);
	foreach (lc, sub->targetList) {
		TargetEntry *tle = lfirst(lc);

		if (tle->resjunk)
			continue;
		names = lappend(names, makeString(psprintf("c%d", tle->resno)));
		query->targetList =
			lappend(query->targetList,
				makeTargetEntry((Expr *)makeVarFromTargetEntry(1, tle),
						list_length(query->targetList) + 1, NULL, false));
	}
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = sub;
	rte->alias = makeAlias("q", NIL);
	rte->eref = makeAlias("q", names);
	rte->inFromCl = true;
	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	return query;
}

/* The subquery with this of its columns only. */
static Query *select_column(const Query *original, int column)
{
	Query *sub = copyObject((Query *)original);
	List *tlist = NIL;
	ListCell *lc;

	if (columns_count(sub))
		sub = wrap(sub);
	tlist = list_make1(list_nth(sub->targetList, column - 1));
	foreach (lc, sub->targetList) {
		TargetEntry *tle = lfirst(lc);

		if (tle != linitial(tlist) && tle->ressortgroupref != 0) {
			tle->resjunk = true;
			tlist = lappend(tlist, tle);
		}
	}
	foreach (lc, tlist)
		((TargetEntry *)lfirst(lc))->resno = foreach_current_index(lc) + 1;
	sub->targetList = tlist;
	return sub;
}

static Node *split_mutator(Node *node, void *context)
{
	List *sublinks = context;
	ListCell *lc;

	if (node == NULL)
		return NULL;
	if (!is_multiexpr(node))
		return expression_tree_mutator(node, split_mutator, context);
	foreach (lc, sublinks) {
		SubLink *sublink = lfirst(lc);
		SubLink *own;

		if (sublink->subLinkId != ((Param *)node)->paramid >> 16)
			continue;
		own = makeNode(SubLink);
		own->subLinkType = EXPR_SUBLINK;
		own->location = -1;
		own->subselect = (Node *)select_column(castNode(Query, sublink->subselect),
						       ((Param *)node)->paramid & 0xFFFF);
		return (Node *)own;
	}
	elog(ERROR, "no subquery for column %d of a list in SET", ((Param *)node)->paramid);
}

List *herd_multiexpr_split(List *tlist)
{
	List *sublinks = NIL, *kept = NIL;
	ListCell *lc;

	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		SubLink *sublink = (SubLink *)tle->expr;
		Query *sub;

		if (!IsA(sublink, SubLink) || sublink->subLinkType != MULTIEXPR_SUBLINK) {
			kept = lappend(kept, tle);
			continue;
		}
		sub = castNode(Query, sublink->subselect);
		if (contain_volatile_functions((Node *)sub) || sub->limitCount != NULL ||
		    sub->limitOffset != NULL || sub->cteList != NIL)
			return NIL;
		sublinks = lappend(sublinks, sublink);
	}
	return (List *)split_mutator((Node *)kept, sublinks);
}
