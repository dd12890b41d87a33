/*
 * plan/merge_form.c - a MERGE as target and source, each one relation.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "plan/merge_parts.h"

void herd_merge_refuse(const HerdMergeParts *m, const char *detail, const char *hint)
{
	if (m->plain)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("this %s of distributed table \"%s\" cannot be sent to its "
				       "shards",
				       m->plain == CMD_UPDATE ? "UPDATE" : "DELETE",
				       get_rel_name(m->table->relid)),
				errdetail("%s", detail), errhint("%s", hint)));
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("this MERGE into distributed table \"%s\" is not supported",
			       get_rel_name(m->table->relid)),
			errdetail("%s", detail), errhint("%s", hint)));
}

Expr *herd_merge_value(const List *tlist, AttrNumber attno)
{
	ListCell *lc;

	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk && tle->resno == attno)
			return tle->expr;
	}
	return NULL;
}

typedef struct NormalContext {
	int target;
	int depth;
	List *columns; /* of TargetEntry: what the statement needs of the source */
} NormalContext;

static int source_column(NormalContext *cxt, const Var *var)
{
	Var *column = copyObject((Var *)var);
	int pos = list_length(cxt->columns) + 1;
	ListCell *lc;

	column->varlevelsup = 0;
	foreach (lc, cxt->columns)
		if (equal(((TargetEntry *)lfirst(lc))->expr, column))
			return foreach_current_index(lc) + 1;
	cxt->columns = lappend(cxt->columns,
			       makeTargetEntry((Expr *)column, pos, psprintf("c%d", pos), false));
	return pos;
}

static Node *normal_mutator(Node *node, void *context)
{
	NormalContext *cxt = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var)) {
		Var *var = copyObject((Var *)node);

		if (var->varlevelsup != (Index)cxt->depth)
			return (Node *)var;
		if ((int)var->varno == cxt->target) {
			var->varno = HERD_MERGE_TARGET;
		} else {
			var->varattno = source_column(cxt, var);
			var->varno = HERD_MERGE_SOURCE;
		}
#if PG_VERSION_NUM >= 160000
		var->varnullingrels = NULL;
#endif
		var->varnosyn = var->varno;
		var->varattnosyn = var->varattno;
		return (Node *)var;
	}
	if (IsA(node, Query)) {
		Query *result;

		cxt->depth++;
		result = query_tree_mutator((Query *)node, normal_mutator, context, 0);
		cxt->depth--;
		return (Node *)result;
	}
	return expression_tree_mutator(node, normal_mutator, context);
}

static Query *source_query(const Query *parse, List *columns)
{
	Query *source = makeNode(Query);
	RangeTblEntry *nothing = makeNode(RangeTblEntry);

	nothing->rtekind = RTE_RESULT;
	nothing->eref = makeAlias("*RESULT*", NIL);
	source->commandType = CMD_SELECT;
	source->canSetTag = true;
	source->rtable = copyObject(parse->rtable);
	lfirst(list_nth_cell(source->rtable, parse->resultRelation - 1)) = nothing;
#if PG_VERSION_NUM >= 160000
	source->rteperminfos = copyObject(parse->rteperminfos);
#endif
	source->jointree = makeFromExpr(copyObject(parse->jointree->fromlist), NULL);
	source->cteList = copyObject(parse->cteList);
	source->hasModifyingCTE = parse->hasModifyingCTE;
	source->hasSubLinks = parse->hasSubLinks;
	if (columns == NIL)
		columns = list_make1(
			makeTargetEntry((Expr *)makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
							  Int32GetDatum(1), false, true),
					1, "c1", false));
	source->targetList = columns;
	return source;
}

RangeTblEntry *herd_merge_source_rte(Query *source)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	ListCell *lc;

	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = source;
	rte->eref = makeAlias("source", NIL);
	rte->alias = makeAlias("source", NIL);
	rte->inFromCl = true;
	foreach (lc, source->targetList)
		if (!((TargetEntry *)lfirst(lc))->resjunk)
			rte->eref->colnames =
				lappend(rte->eref->colnames,
					makeString(pstrdup(((TargetEntry *)lfirst(lc))->resname)));
	return rte;
}

static Node *values_mutator(Node *node, void *context)
{
	List *row = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *)node)->varlevelsup == 0)
		return copyObject(list_nth(row, ((Var *)node)->varattno - 1));
	return expression_tree_mutator(node, values_mutator, context);
}

/* A source of one row of VALUES is a SELECT of constants, as far as anything can be known of it. */
static void inline_values(Query *query)
{
	RangeTblRef *ref = query->jointree && list_length(query->jointree->fromlist) == 1
				   ? linitial(query->jointree->fromlist)
				   : NULL;
	RangeTblEntry *rte;

	if (ref == NULL || !IsA(ref, RangeTblRef) || query->setOperations != NULL)
		return;
	rte = rt_fetch(ref->rtindex, query->rtable);
	if (rte->rtekind == RTE_SUBQUERY)
		inline_values(rte->subquery);
	if (rte->rtekind != RTE_VALUES || list_length(rte->values_lists) != 1 ||
	    query->hasSubLinks || query->jointree->quals != NULL ||
	    contain_volatile_functions((Node *)rte->values_lists) || query->sortClause != NIL ||
	    query->groupClause != NIL || query->hasAggs || query->hasWindowFuncs)
		return;
	query->targetList =
		(List *)values_mutator((Node *)query->targetList, linitial(rte->values_lists));
	query->jointree->fromlist = NIL;
	query->rtable = NIL;
}

#if PG_VERSION_NUM >= 170000
/*
 * The condition of a view that is the target hangs in the jointree: rows below the view that do not
 * meet it match nothing, and are no target rows without a match.
 */
static void add_view_condition(Query *query, Node *condition)
{
	ListCell *lc;

	if (condition == NULL)
		return;
	herd_merge_on(query) = make_and_qual(herd_merge_on(query), copyObject(condition));
	foreach (lc, query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		if (herd_merge_is_by_source(action))
			action->qual = make_and_qual(copyObject(condition), action->qual);
	}
}
#endif

HerdMergeParts herd_merge_parts(const Query *parse, HerdPlanning *planning)
{
	NormalContext cxt = { .target = parse->resultRelation };
	RangeTblEntry *target = copyObject(rt_fetch(parse->resultRelation, parse->rtable));
	HerdMergeParts m = { .planning = planning, .table = herd_table_get(target->relid) };
	Query *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Node *on = normal_mutator((Node *)herd_merge_on(parse), &cxt);
#if PG_VERSION_NUM >= 170000
	Node *condition = normal_mutator(parse->jointree->quals, &cxt);
#endif

	m.security = target->securityQuals;
	target->securityQuals = NIL;
	ChangeVarNodes((Node *)m.security, parse->resultRelation, 1, 0);
	query->commandType = CMD_MERGE;
	query->canSetTag = true;
	query->mergeActionList = (List *)normal_mutator((Node *)parse->mergeActionList, &cxt);
	query->returningList = (List *)normal_mutator((Node *)parse->returningList, &cxt);
	herd_copy_returning_names(query, parse);
	query->resultRelation = HERD_MERGE_TARGET;
	query->hasSubLinks = parse->hasSubLinks;
	m.source = source_query(parse, cxt.columns);
	herd_inline_ctes(m.source);
	inline_values(m.source);
	target->inFromCl = false;
	query->rtable = list_make2(target, herd_merge_source_rte(m.source));
#if PG_VERSION_NUM >= 160000
	query->rteperminfos = copyObject(parse->rteperminfos);
#endif
	ref->rtindex = HERD_MERGE_SOURCE;
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	herd_merge_on(query) = on;
#if PG_VERSION_NUM >= 170000
	query->mergeTargetRelation = HERD_MERGE_TARGET;
	add_view_condition(query, condition);
	if (parse->mergeTargetRelation != parse->resultRelation)
		herd_merge_refuse(&m, "Its target is a view.", "Name the table below the view.");
#endif
	m.query = query;
	m.level.query = query;
	m.key = (HerdTerm){ .query = query,
			    .varno = HERD_MERGE_TARGET,
			    .attno = m.table->keyattno };
	return m;
}
