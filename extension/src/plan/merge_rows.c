/*
 * plan/merge_rows.c - the new rows of a MERGE, when they are computed on this node.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/rel.h"

#include "compat.h"
#include "plan/merge_parts.h"

/* Vars of the source belong to the query around that of the target. */
static Node *outward_mutator(Node *node, void *context)
{
	int *depth = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var)) {
		Var *var = copyObject((Var *)node);

		if (var->varlevelsup == (Index)*depth && var->varno == HERD_MERGE_SOURCE) {
			var->varno = var->varnosyn = 1;
			var->varlevelsup++;
		}
		return (Node *)var;
	}
	if (IsA(node, Query)) {
		Query *result;

		(*depth)++;
		result = query_tree_mutator((Query *)node, outward_mutator, context, 0);
		(*depth)--;
		return (Node *)result;
	}
	return expression_tree_mutator(node, outward_mutator, context);
}

/* NOT EXISTS (SELECT FROM target WHERE on) */
static Expr *without_match(const HerdMergeParts *m, Node *on)
{
	Query *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	RangeTblEntry *target = copyObject(rt_fetch(HERD_MERGE_TARGET, m->query->rtable));
	SubLink *exists = makeNode(SubLink);
	int depth = 0;

	ref->rtindex = 1;
	target->inFromCl = true;
	herd_drop_permissions(query, target);
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(target);
	query->jointree = makeFromExpr(list_make1(ref), outward_mutator(on, &depth));
	query->hasSubLinks = m->query->hasSubLinks;
	query->targetList =
		list_make1(makeTargetEntry((Expr *)makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
							     Int32GetDatum(1), false, true),
					   1, "c1", false));
	exists->subLinkType = EXISTS_SUBLINK;
	exists->subselect = (Node *)query;
	exists->location = -1;
	return make_notclause((Expr *)exists);
}

static Node *as_first_relation(Node *node)
{
	ListCell *lc;

	node = copyObject(node);
	foreach (lc, pull_vars_of_level(node, 0)) {
		Var *var = lfirst(lc);

		Assert(var->varno == HERD_MERGE_SOURCE);
		var->varno = var->varnosyn = 1;
	}
	return node;
}

static Node *condition_of(const MergeAction *action)
{
	if (action->qual == NULL)
		return makeBoolConst(true, false);
	if (IsA(action->qual, List))
		return (Node *)make_ands_explicit((List *)action->qual);
	return action->qual;
}

/* CASE WHEN condition of the first action THEN its value .. END; attno 0: whether it inserts. */
static Expr *by_action(const HerdMergeParts *m, AttrNumber attno, Oid type, int32 typmod,
		       Oid collation)
{
	CaseExpr *expr = makeNode(CaseExpr);
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		CaseWhen *when = makeNode(CaseWhen);
		Expr *value = herd_merge_value(action->targetList, attno);

		if (!herd_merge_is_insert(action))
			continue;
		if (attno == 0)
			value = (Expr *)makeBoolConst(action->commandType == CMD_INSERT, false);
		else if (value == NULL)
			value = (Expr *)makeNullConst(type, typmod, collation);
		when->expr = (Expr *)condition_of(action);
		when->result = value;
		when->location = -1;
		if (action->qual == NULL && expr->args == NIL)
			return (Expr *)as_first_relation((Node *)value);
		expr->args = lappend(expr->args, when);
	}
	expr->casetype = type;
	expr->casecollid = collation;
	expr->defresult = (Expr *)makeNullConst(type, typmod, collation);
	expr->location = -1;
	return (Expr *)as_first_relation((Node *)expr);
}

static bool given_by_any(const HerdMergeParts *m, AttrNumber attno)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList)
		if (herd_merge_is_insert((MergeAction *)lfirst(lc)) &&
		    herd_merge_value(((MergeAction *)lfirst(lc))->targetList, attno) != NULL)
			return true;
	return false;
}

void herd_merge_rows(const HerdMergeParts *m, HerdMerge *result)
{
	Query *select = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Relation rel = table_open(m->table->relid, NoLock);
	Expr *inserts = by_action(m, 0, BOOLOID, -1, InvalidOid);

	ref->rtindex = 1;
	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->hasSubLinks = true;
	select->rtable = list_make1(herd_merge_source_rte(copyObject(m->source)));
	select->jointree = makeFromExpr(
		list_make1(ref), (Node *)make_ands_explicit(list_make2(
					 without_match(m, herd_merge_on(m->query)), inserts)));
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		int pos = list_length(result->attnums) + 1;

		if (att->attisdropped || att->attgenerated || !given_by_any(m, att->attnum))
			continue;
		result->attnums = lappend_int(result->attnums, att->attnum);
		select->targetList =
			lappend(select->targetList,
				makeTargetEntry(by_action(m, att->attnum, att->atttypid,
							  att->atttypmod, att->attcollation),
						pos, pstrdup(NameStr(att->attname)), false));
	}
	table_close(rel, NoLock);
	result->select = select;
}
