/*
 * plan/decorrelate.c - subqueries in WHERE that refer to the query around them by equalities.
 *
 * Shards answer them when the equality is that of the distribution columns. Others would be run
 * once for each row. A scalar aggregate becomes a subquery in FROM, grouped by the columns of the
 * equalities and joined by them; what EXISTS looks into is reduced to the values of these columns,
 * each once, which shards can compute. Rows that cannot match are left out below where the
 * condition for that is at hand: the other side is a table with conditions of its own that leave
 * few of its rows.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_oper.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "guc.h"
#include "plan/decorrelate.h"
#include "plan/leaves.h"
#include "plan/rewrite.h"
#include "stats/stats.h"

typedef struct Correlation {
	List *ops;   /* of OpExpr of the subquery: inner = outer, in either order */
	List *inner; /* of Node, columns of the subquery */
	List *outer; /* of Node, seen from the subquery */
	List *rest;  /* conditions that do not refer to the outside */
} Correlation;

/* -- what the subquery is tied by -------------------------------------------------------------- */

static bool depends_on(Node *node, int level)
{
	return contain_vars_of_level(node, level);
}

/* Equal for the operator means equal for GROUP BY. */
static bool groups_like(const OpExpr *op, Node *inner)
{
	Oid eqop = InvalidOid;
	Oid collation = exprCollation(inner);
	bool hashable;

	get_sort_group_operators(exprType(inner), false, false, false, NULL, &eqop, NULL,
				 &hashable);
	if (!OidIsValid(eqop) || !op_strict(op->opno) ||
	    !op_mergejoinable(op->opno, exprType(linitial(op->args))) ||
	    !(eqop == op->opno || equality_ops_are_compatible(eqop, op->opno)))
		return false;
	return !OidIsValid(op->inputcollid) || op->inputcollid == collation ||
	       (get_collation_isdeterministic(op->inputcollid) &&
		get_collation_isdeterministic(collation));
}

static bool add_correlation(Correlation *c, OpExpr *op)
{
	Node *left, *right, *inner, *outer;

	if (!IsA(op, OpExpr) || list_length(op->args) != 2)
		return false;
	left = linitial(op->args);
	right = lsecond(op->args);
	inner = depends_on(left, 0) ? left : right;
	outer = inner == left ? right : left;
	if (!depends_on(inner, 0) || depends_on(inner, 1) || depends_on(outer, 0) ||
	    !depends_on(outer, 1) || contain_subplans(inner) || contain_subplans(outer) ||
	    !groups_like(op, inner))
		return false;
	c->ops = lappend(c->ops, op);
	c->inner = lappend(c->inner, inner);
	c->outer = lappend(c->outer, outer);
	return true;
}

/* The subquery without the equalities, which must be all that ties it. */
static Query *free_subquery(Query *sub, Correlation *c)
{
	Query *result;
	ListCell *lc;

	if (sub->commandType != CMD_SELECT || sub->cteList != NIL || sub->setOperations != NULL ||
	    sub->rowMarks != NIL || sub->limitOffset != NULL || sub->hasWindowFuncs ||
	    sub->hasTargetSRFs || sub->groupClause != NIL || sub->groupingSets != NIL ||
	    sub->havingQual != NULL || sub->distinctClause != NIL ||
	    contain_volatile_functions((Node *)sub))
		return NULL;
	foreach (lc, make_ands_implicit((Expr *)sub->jointree->quals)) {
		Node *qual = lfirst(lc);

		if (!depends_on(qual, 1))
			c->rest = lappend(c->rest, qual);
		else if (!add_correlation(c, (OpExpr *)qual))
			return NULL;
	}
	if (c->ops == NIL)
		return NULL;
	result = copyObject(sub);
	result->jointree->quals = (Node *)make_ands_explicit(copyObject(c->rest));
	return herd_query_is_correlated(result) ? NULL : result;
}

/* -- conditions that hold for the other side --------------------------------------------------- */

static bool only_reference_tables(Query *query)
{
	HerdLevel level = { .query = query };
	HerdLeaves leaves = { 0 };
	ListCell *lc;

	herd_leaves_of_query(&level, NIL, &leaves);
	foreach (lc, leaves.leaves)
		if (((HerdLeaf *)lfirst(lc))->table->kind != HERD_TABLE_REFERENCE)
			return false;
	return !leaves.plain;
}

typedef struct Owner {
	int varno;
	bool sharded; /* it is, so subqueries of its conditions may be */
} Owner;

static bool foreign_walker(Node *node, void *context)
{
	const Owner *owner = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink)) {
		Query *sub = castNode(Query, ((SubLink *)node)->subselect);

		/* a value of a subquery would be computed again by each task */
		return ((SubLink *)node)->subLinkType == EXPR_SUBLINK ||
		       herd_query_is_correlated(sub) ||
		       (!owner->sharded && !only_reference_tables(sub)) ||
		       foreign_walker(((SubLink *)node)->testexpr, context);
	}
	if (IsA(node, Var))
		return ((Var *)node)->varlevelsup != 0 || ((Var *)node)->varno != owner->varno;
	return expression_tree_walker(node, foreign_walker, context);
}

/* Those of WHERE that speak of the relation alone, as one over a query of it alone. */
static List *conditions_of(Query *query, int varno, bool sharded)
{
	Owner owner = { .varno = varno, .sharded = sharded };
	List *own = NIL;
	ListCell *lc;

	foreach (lc, make_ands_implicit((Expr *)query->jointree->quals))
		if (depends_on(lfirst(lc), 0) && !foreign_walker(lfirst(lc), &owner) &&
		    !contain_volatile_functions(lfirst(lc)))
			own = lappend(own, lfirst(lc));
	own = copyObject(own);
	ChangeVarNodes((Node *)own, varno, 1, 0);
	return own;
}

static bool in_top_from(const Query *query, int varno)
{
	ListCell *lc;

	foreach (lc, query->jointree->fromlist)
		if (IsA(lfirst(lc), RangeTblRef) && ((RangeTblRef *)lfirst(lc))->rtindex == varno)
			return true;
	return false;
}

/* SELECT of the column over the relation with its conditions. */
static Query *select_column(Query *query, const Var *var, List *own)
{
	Query *select = herd_select_from(query, var->varno);
	Var *column = copyObject((Var *)var);

	column->varno = column->varnosyn = 1;
	column->varlevelsup = 0;
	select->targetList = list_make1(makeTargetEntry((Expr *)column, 1, pstrdup("k1"), false));
	select->jointree->quals = (Node *)make_ands_explicit(own);
	select->hasSubLinks = contain_subplans((Node *)own);
	return select;
}

/*
 * Each task looks for the values first: worth it when indexes then give the few rows that have
 * them. One row out of so many, and fewer.
 */
#define SELECTIVE 50
/* An aggregate needs all rows of its groups in one place, where EXISTS needs each value once. */
#define SELECTIVE_AGGREGATE 20

/* True if the conditions leave few of the rows of the relation. */
static bool is_selective(Query *query, const Var *var, const HerdTable *table, List *own,
			 bool aggregate)
{
	Query *select = select_column(query, var, copyObject(own));
	double least = aggregate ? SELECTIVE_AGGREGATE : SELECTIVE;

	return herd_estimate(select, NULL).rows * least <= herd_estimate_table_rows(table);
}

/* inner IN (SELECT outer FROM its relation WHERE the relation's conditions), or NULL. */
static Node *restriction(Query *query, const OpExpr *op, Node *inner, Node *outer, bool another,
			 bool aggregate)
{
	Var *var = (Var *)outer;
	const RangeTblEntry *rte;
	const HerdTable *table;
	bool moves = false;
	List *own;
	SubLink *link;
	Param *param;
	OpExpr *test;
	Oid opno = op->opno;

	if (!IsA(var, Var) || var->varlevelsup != 1 || var->varattno <= 0 ||
	    !in_top_from(query, var->varno))
		return NULL;
	rte = rt_fetch(var->varno, query->rtable);
	table = rte->rtekind == RTE_RELATION ? herd_table_get(rte->relid) : NULL;
	if (table == NULL || rte->tablesample != NULL || rte->securityQuals != NIL)
		return NULL;
	/* values of a sharded table have to travel: once is enough */
	if (table->kind == HERD_TABLE_HASH)
		moves = herd_enable_moves && rte->inh && !another && !herd_rights_read(query);
	if ((table->kind != HERD_TABLE_REFERENCE && !moves) ||
	    (own = conditions_of(query, var->varno, moves)) == NIL ||
	    !is_selective(query, var, table, own, aggregate))
		return NULL;
	if (linitial(op->args) == outer)
		opno = get_commutator(opno);
	if (!OidIsValid(opno))
		return NULL;
	param = makeNode(Param);
	param->paramkind = PARAM_SUBLINK;
	param->paramid = 1;
	param->paramtype = var->vartype;
	param->paramtypmod = var->vartypmod;
	param->paramcollid = var->varcollid;
	param->location = -1;
	test = (OpExpr *)make_opclause(opno, BOOLOID, false, copyObject((Expr *)inner),
				       (Expr *)param, InvalidOid, op->inputcollid);
	set_opfuncid(test);
	link = makeNode(SubLink);
	link->subLinkType = ANY_SUBLINK;
	link->testexpr = (Node *)test;
	link->operName = list_make1(makeString(pstrdup("=")));
	link->subselect = (Node *)select_column(query, var, own);
	link->location = -1;
	return (Node *)link;
}

/* -- the grouped subquery ---------------------------------------------------------------------- */

/* inner columns (k1..) in groups, then the values of the aggregate, if there is one. */
static Query *grouped(Query *query, Query *sub, const Correlation *c, TargetEntry *value)
{
	List *conditions = copyObject(c->rest);
	ListCell *op, *in, *out;

	sub->targetList = NIL;
	sub->limitCount = NULL;
	sub->sortClause = NIL;
	forthree(op, c->ops, in, c->inner, out, c->outer)
	{
		int pos = list_length(sub->targetList) + 1;
		SortGroupClause *clause = makeNode(SortGroupClause);
		TargetEntry *tle = makeTargetEntry(copyObject((Expr *)lfirst(in)), pos,
						   psprintf("k%d", pos), false);
		Node *only = restriction(query, lfirst(op), lfirst(in), lfirst(out),
					 sub->hasSubLinks, value != NULL);

		get_sort_group_operators(exprType(lfirst(in)), false, true, false, &clause->sortop,
					 &clause->eqop, NULL, &clause->hashable);
		clause->tleSortGroupRef = tle->ressortgroupref = pos;
		sub->groupClause = lappend(sub->groupClause, clause);
		sub->targetList = lappend(sub->targetList, tle);
		if (only != NULL) {
			conditions = lappend(conditions, only);
			sub->hasSubLinks = true;
		}
	}
	if (value != NULL) {
		value = flatCopyTargetEntry(value);
		value->resno = list_length(sub->targetList) + 1;
		value->resname = pstrdup("v");
		value->ressortgroupref = 0;
		sub->targetList = lappend(sub->targetList, value);
	}
	sub->jointree->quals = (Node *)make_ands_explicit(conditions);
	return sub;
}

static int add_subquery(Query *query, Query *sub, const char *name)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell *lc;

	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = sub;
	rte->alias = makeAlias(name, NIL);
	rte->eref = makeAlias(name, NIL);
	foreach (lc, sub->targetList)
		rte->eref->colnames =
			lappend(rte->eref->colnames,
				makeString(pstrdup(((TargetEntry *)lfirst(lc))->resname)));
	rte->inFromCl = true;
	query->rtable = lappend(query->rtable, rte);
	ref->rtindex = list_length(query->rtable);
	query->jointree->fromlist = lappend(query->jointree->fromlist, ref);
	return ref->rtindex;
}

static Var *column_of(const Query *sub, int varno, int pos)
{
	Node *expr = (Node *)((TargetEntry *)list_nth(sub->targetList, pos - 1))->expr;

	return makeVar(varno, pos, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);
}

/* The equality with the column of the grouped subquery; from the level that the subquery is in. */
static OpExpr *join_condition(const OpExpr *op, Node *inner, Var *column, bool pull_up)
{
	OpExpr *result = copyObject((OpExpr *)op);
	bool first = linitial(op->args) == inner;

	if (pull_up)
		IncrementVarSublevelsUp((Node *)result, -1, 1);
	if (first)
		linitial(result->args) = column;
	else
		lsecond(result->args) = column;
	return result;
}

/* -- scalar aggregates ------------------------------------------------------------------------- */

/* Built-in aggregates that give null for no rows. */
static bool null_without_rows(const Aggref *agg)
{
	static const char *const names[] = { "sum",     "avg",      "min",        "max",
					     "stddev",  "variance", "stddev_pop", "stddev_samp",
					     "var_pop", "var_samp", "bool_and",   "bool_or",
					     "every",   "bit_and",  "bit_or" };
	char *name;

	if (agg->agglevelsup != 0 || agg->aggfnoid >= FirstNormalObjectId ||
	    agg->aggkind != AGGKIND_NORMAL)
		return false;
	name = get_func_name(agg->aggfnoid);
	for (size_t i = 0; i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

typedef struct StandIn {
	Node *node; /* to be replaced; NULL: every aggregate */
	Node *by;
	bool failed;
	bool found;
} StandIn;

static Node *stand_in_mutator(Node *node, void *context)
{
	StandIn *cxt = context;

	if (node == NULL)
		return NULL;
	if (cxt->node == NULL && IsA(node, Aggref)) {
		Aggref *agg = (Aggref *)node;

		cxt->failed = cxt->failed || !null_without_rows(agg);
		cxt->found = true;
		return (Node *)makeVar(1, 1, agg->aggtype, -1, agg->aggcollid, 0);
	}
	if (node == cxt->node) {
		cxt->found = true;
		return copyObject(cxt->by);
	}
	return expression_tree_mutator(node, stand_in_mutator, context);
}

/* True if the expression is null when its aggregates are. */
static bool is_null_for_nothing(Node *expr)
{
	StandIn cxt = { 0 };
	Node *with = stand_in_mutator(expr, &cxt);

	return cxt.found && !cxt.failed && !contain_nonstrict_functions(with) &&
	       !contain_subplans(with);
}

static bool join_scalar(Query *query, ListCell *qual, SubLink *link, int number)
{
	Query *sub = castNode(Query, link->subselect);
	Correlation c = { 0 };
	TargetEntry *value = linitial(sub->targetList);
	Query *group = free_subquery(sub, &c);
	StandIn cxt = { .node = (Node *)link };
	ListCell *op, *in;
	List *quals = NIL;
	int varno, pos = 0;
	Node *with;

	if (group == NULL || !sub->hasAggs || sub->limitCount != NULL || value->resjunk ||
	    !is_null_for_nothing((Node *)value->expr))
		return false;
	group = grouped(query, group, &c, value);
	varno = list_length(query->rtable) + 1;
	cxt.by = (Node *)column_of(group, varno, list_length(group->targetList));
	/* a row without matches has a null there: it must not pass */
	with = stand_in_mutator(lfirst(qual), &cxt);
	if (!cxt.found || contain_subplans(with) || contain_nonstrict_functions(with))
		return false;
	(void)add_subquery(query, group, psprintf("grouped_%d", number));
	forboth(op, c.ops, in, c.inner)
	{
		pos++;
		quals = lappend(quals, join_condition(lfirst(op), lfirst(in),
						      column_of(group, varno, pos), true));
	}
	lfirst(qual) = make_ands_explicit(lappend(quals, with));
	return true;
}

static bool scalar_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink)) {
		*(SubLink **)context = (SubLink *)node;
		return true;
	}
	return expression_tree_walker(node, scalar_walker, context);
}

bool herd_join_scalars(Query *query)
{
	List *quals;
	bool changed = false;
	int number = 0;
	ListCell *lc;

	if (query->commandType != CMD_SELECT || !query->hasSubLinks || query->jointree == NULL ||
	    query->setOperations != NULL || query->rowMarks != NIL)
		return false;
	quals = make_ands_implicit((Expr *)query->jointree->quals);
	foreach (lc, quals) {
		SubLink *link = NULL;

		if (!IsA(lfirst(lc), OpExpr) || !scalar_walker(lfirst(lc), &link) ||
		    link->subLinkType != EXPR_SUBLINK)
			continue;
		changed = join_scalar(query, lc, link, ++number) || changed;
	}
	if (changed) {
		query->jointree->quals = (Node *)make_ands_explicit(quals);
		query->hasSubLinks = checkExprHasSubLink((Node *)query->targetList) ||
				     checkExprHasSubLink((Node *)query->jointree) ||
				     checkExprHasSubLink(query->havingQual);
	}
	return changed;
}

/* -- EXISTS ------------------------------------------------------------------------------------ */

/* LIMIT 1 and the like do not matter. */
static bool harmless_limit(Node *limit)
{
	return limit == NULL || (IsA(limit, Const) && !((Const *)limit)->constisnull &&
				 DatumGetInt64(((Const *)limit)->constvalue) > 0);
}

static void reduce_exists(Query *query, SubLink *link)
{
	Query *sub = castNode(Query, link->subselect);
	Correlation c = { 0 };
	Query *group, *select;
	ListCell *op, *in;
	List *quals = NIL;
	int pos = 0;

	if (sub->hasAggs || !harmless_limit(sub->limitCount) || herd_query_any_table(sub) == NULL ||
	    only_reference_tables(sub) || (group = free_subquery(sub, &c)) == NULL)
		return;
	group = grouped(query, group, &c, NULL);
	select = makeNode(Query);
	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->jointree = makeFromExpr(NIL, NULL);
	select->targetList = list_make1(
		makeTargetEntry((Expr *)makeBoolConst(true, false), 1, pstrdup("c1"), false));
	(void)add_subquery(select, group, "matches");
	forboth(op, c.ops, in, c.inner)
	{
		pos++;
		quals = lappend(quals, join_condition(lfirst(op), lfirst(in),
						      column_of(group, 1, pos), false));
	}
	select->jointree->quals = (Node *)make_ands_explicit(quals);
	link->subselect = (Node *)select;
}

void herd_reduce_exists(Query *query)
{
	ListCell *lc;

	if (query->commandType != CMD_SELECT || query->rowMarks != NIL)
		return;
	foreach (lc, herd_sublinks_of_query(query)) {
		SubLink *link = ((HerdSublink *)lfirst(lc))->sublink;

		if (link->subLinkType == EXISTS_SUBLINK)
			reduce_exists(query, link);
	}
}
