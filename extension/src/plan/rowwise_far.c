/*
 * plan/rowwise_far.c - the rows of a statement that reads tables of other nodes beside its target.
 *
 * No shard answers such a SELECT, and where rows are put together ctid and row locks are unknown.
 * So the target becomes a subquery of its own, with the conditions that need nothing else: it is
 * what shards answer, and lock.
 */
#include "plan/rowwise.h"

#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "catalog/metadata.h"
#include "compat.h"
#include "deparse/code.h"
#include "plan/merge_parts.h"

typedef struct Far {
	int target;
	int depth;
	const List *atts;
	bool partitioned;
	bool failed;
} Far;

typedef struct Others {
	const RangeTblEntry *target;
	bool found;
} Others;

/* Tables beside the target that are not on every node. */
static bool others_walker(Node *node, void *context)
{
	Others *o = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		ListCell *lc;

		foreach (lc, ((Query *)node)->rtable) {
			const RangeTblEntry *rte = lfirst(lc);
			const HerdTable *table;

			/* a view that was updated is there for its rights only */
			if (rte->rtekind != RTE_RELATION || rte == o->target ||
			    rte->relkind == RELKIND_VIEW)
				continue;
			table = herd_table_get(rte->relid);
			o->found = o->found || table == NULL || table->kind != HERD_TABLE_REFERENCE;
		}
		return query_tree_walker((Query *)node, others_walker, context, 0);
	}
	return expression_tree_walker(node, others_walker, context);
}

static Node *far_mutator(Node *node, void *context)
{
	Far *far = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *)node)->varno == far->target &&
	    ((Var *)node)->varlevelsup == (Index)far->depth) {
		Var *var = copyObject((Var *)node);
		ListCell *lc;
		int pos = 0;

		foreach (lc, far->atts)
			if (lfirst_int(lc) == var->varattno)
				pos = foreach_current_index(lc) + 1;
		if (var->varattno == SelfItemPointerAttributeNumber)
			pos = list_length(far->atts) + 1;
		if (var->varattno == TableOidAttributeNumber && far->partitioned)
			pos = list_length(far->atts) + 2;
		if (pos == 0)
			far->failed = true;
		var->varattno = var->varattnosyn = pos;
		var->varnosyn = var->varno;
		return (Node *)var;
	}
	if (IsA(node, Query)) {
		Query *result;

		far->depth++;
		result = query_tree_mutator((Query *)node, far_mutator, context, 0);
		far->depth--;
		return (Node *)result;
	}
	return expression_tree_mutator(node, far_mutator, context);
}

static bool other_var_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		return true;
	if (IsA(node, Var))
		return ((Var *)node)->varno != *(int *)context || ((Var *)node)->varattno <= 0 ||
		       ((Var *)node)->varlevelsup > 0;
	return expression_tree_walker(node, other_var_walker, context);
}

/* Conditions of the target alone, out of the SELECT. */
static Node *own_conditions(Query *select, int target)
{
	FromExpr *from = select->jointree;
	List *own = NIL, *stay = NIL;
	ListCell *lc;

	foreach (lc, from->quals == NULL ? NIL : make_ands_implicit((Expr *)from->quals)) {
		if (other_var_walker(lfirst(lc), &target) || herd_volatile(lfirst(lc)))
			stay = lappend(stay, lfirst(lc));
		else
			own = lappend(own, lfirst(lc));
	}
	from->quals = stay == NIL ? NULL : (Node *)make_ands_explicit(stay);
	if (own == NIL)
		return NULL;
	ChangeVarNodes((Node *)own, target, 1, 0);
	return (Node *)make_ands_explicit(own);
}

static Query *target_query(Query *select, int target, int n)
{
	Query *query = makeNode(Query);
	RangeTblEntry *rte = copyObject(rt_fetch(target, select->rtable));
	RangeTblRef *ref = makeNode(RangeTblRef);
	RowMarkClause *mark = linitial_node(RowMarkClause, select->rowMarks);
	Node *own = own_conditions(select, target);

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex != 0) {
		query->rteperminfos =
			list_make1(copyObject(getRTEPermissionInfo(select->rteperminfos, rte)));
		rte->perminfoindex = 1;
	}
#endif
	ref->rtindex = mark->rti = 1;
	query->jointree = makeFromExpr(list_make1(ref), own);
	/* the SELECT begins with these columns */
	query->targetList = copyObject(list_copy_head(select->targetList, n));
	ChangeVarNodes((Node *)query->targetList, target, 1, 0);
	query->rowMarks = list_make1(mark);
	query->hasForUpdate = true;
	return query;
}

bool herd_rowwise_far(HerdRowwise *parts, int target)
{
	Query *select = parts->select;
	Far far = { .target = target, .atts = parts->atts, .partitioned = parts->partitioned };
	int n = list_length(parts->atts) + (parts->partitioned ? 2 : 1);
	Others others = { .target = rt_fetch(target, select->rtable) };
	RangeTblEntry *rte;

	(void)others_walker((Node *)select, &others);
	if (!others.found)
		return true;
	rte = herd_merge_source_rte(target_query(select, target, n));
	select->rowMarks = NIL;
	select->hasForUpdate = false;
	lfirst(list_nth_cell(select->rtable, target - 1)) = rte;
	select->targetList = (List *)far_mutator((Node *)select->targetList, &far);
	select->jointree = (FromExpr *)far_mutator((Node *)select->jointree, &far);
	select->cteList = (List *)far_mutator((Node *)select->cteList, &far);
	select->rtable = range_table_mutator(select->rtable, far_mutator, &far, 0);
	return !far.failed;
}
