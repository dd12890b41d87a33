#include "postgres.h"

#include "nodes/makefuncs.h"
#include "optimizer/clauses.h"
#include "parser/parsetree.h"

#include "compat.h"
#include "deparse/code.h"
#include "plan/merge_parts.h"
#include "plan/rekey.h"
#include "plan/rights.h"
#include "plan/update_here.h"

bool herd_update_calls_session(const Query *query)
{
	return (query->commandType == CMD_UPDATE || query->commandType == CMD_DELETE) &&
	       (herd_expr_of_session((Node *)query->targetList) ||
		herd_expr_of_session((Node *)query->jointree));
}

/* SET with a list of columns from a subquery. */
static bool has_multiexpr(const Query *update)
{
	ListCell *lc;

	foreach (lc, update->targetList)
		if (lfirst_node(TargetEntry, lc)->resjunk)
			return true;
	return false;
}

/* MERGE INTO target USING the other relations ON its conditions WHEN MATCHED THEN .. */
static Query *as_merge(const Query *update)
{
	Query *merge = copyObject((Query *)update);
	MergeAction *action = makeNode(MergeAction);
	Node *quals = merge->jointree->quals;
	List *sources = NIL;
	ListCell *lc;

	herd_inline_ctes(merge);
	foreach (lc, merge->jointree->fromlist) {
		RangeTblRef *ref = lfirst(lc);

		if (!IsA(ref, RangeTblRef) || ref->rtindex != update->resultRelation)
			sources = lappend(sources, ref);
	}
	action->commandType = update->commandType;
	action->targetList = merge->targetList;
#if PG_VERSION_NUM >= 170000
	action->matchKind = MERGE_WHEN_MATCHED;
	merge->mergeTargetRelation = update->resultRelation;
#else
	action->matched = true;
#endif
	merge->commandType = CMD_MERGE;
	merge->targetList = NIL;
	merge->mergeActionList = list_make1(action);
	merge->jointree = makeFromExpr(sources, NULL);
	herd_merge_on(merge) = quals;
	return merge;
}

HerdRemote *herd_update_here(const Query *update, HerdPlanning *planning)
{
	const HerdTable *table =
		herd_table_get(rt_fetch(update->resultRelation, update->rtable)->relid);
	bool rekeys = update->commandType == CMD_UPDATE &&
		      herd_changes_key(update, update->targetList, table);
	Query *merge;
	HerdMergeParts m;

	if (table->kind == HERD_TABLE_REFERENCE || has_multiexpr(update) ||
	    herd_rights_read((Query *)update) || update->withCheckOptions != NIL)
		return NULL;
	merge = as_merge(update);
	/* subqueries of the target's rows do not see its WITH */
	if (merge->cteList != NIL && merge->hasSubLinks)
		return NULL;
	/* rows that move are written by MERGE, each once */
	if (rekeys && (merge->jointree->fromlist != NIL ||
		       (PG_VERSION_NUM < 170000 && update->returningList != NIL)))
		return NULL;
	if (rekeys)
		herd_rekey_check(table);
	m = herd_merge_parts(merge, planning);
	m.plain = update->commandType;
	return herd_merge_here(&m);
}
