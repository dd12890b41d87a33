#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "deparse/deparse.h"
#include "plan/leaves.h"
#include "plan/lift.h"
#include "plan/rewrite.h"
#include "plan/steps.h"

static Node *lifted_column(List **tlist, SubLink *sublink)
{
	int pos = list_length(*tlist) + 1;
	Node *expr = (Node *)sublink;

	*tlist =
		lappend(*tlist, makeTargetEntry((Expr *)sublink, pos, psprintf("v%d", pos), false));
	return (Node *)makeVar(OUTER_VAR, pos, exprType(expr), exprTypmod(expr),
			       exprCollation(expr), 0);
}

/* ARRAY(SELECT ..) of what x IN (SELECT ..) compares with; NULL if it is not that simple. */
static SubLink *array_of_any(const SubLink *sublink)
{
	const OpExpr *test = (const OpExpr *)sublink->testexpr;
	Node *right;
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
	values = copyObject((SubLink *)sublink);
	values->subLinkType = ARRAY_SUBLINK;
	values->testexpr = NULL;
	values->operName = NIL;
	return values;
}

/* x = ANY (array) */
static Node *any_of_array(const SubLink *sublink, Node *array)
{
	const OpExpr *test = (const OpExpr *)sublink->testexpr;
	Oid type = get_array_type(exprType(lsecond(test->args)));
	ScalarArrayOpExpr *result = makeNode(ScalarArrayOpExpr);

	if (exprType(array) != type)
		array = (Node *)makeRelabelType((Expr *)array, type, -1, exprCollation(array),
						COERCE_IMPLICIT_CAST);
	result->opno = test->opno;
	result->opfuncid = get_opcode(test->opno);
	result->useOr = sublink->subLinkType == ANY_SUBLINK;
	result->inputcollid = test->inputcollid;
	result->args = list_make2(linitial(test->args), array);
	result->location = -1;
	return (Node *)result;
}

static Node *lift_any(List **tlist, SubLink *sublink)
{
	SubLink *values = array_of_any(sublink);

	return values ? any_of_array(sublink, lifted_column(tlist, values)) : NULL;
}

Node *herd_any_as_array(SubLink *sublink)
{
	SubLink *values = array_of_any(sublink);

	return values ? any_of_array(sublink, (Node *)values) : NULL;
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
		    (herd_query_any_table((Query *)sublink->subselect) == NULL &&
		     !herd_reads_held((Query *)sublink->subselect)))
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

typedef struct UsedContext {
	int varno;
	int depth;
	Bitmapset *columns;
	bool other; /* system columns or the whole row */
} UsedContext;

static bool used_walker(Node *node, void *context)
{
	UsedContext *cxt = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var)) {
		Var *var = (Var *)node;

		if (var->varno != cxt->varno || var->varlevelsup != (Index)cxt->depth)
			return false;
		if (var->varattno <= 0)
			cxt->other = true;
		else
			cxt->columns = bms_add_member(cxt->columns, var->varattno);
		return false;
	}
	if (IsA(node, Query)) {
		cxt->depth++;
		query_tree_walker((Query *)node, used_walker, context, 0);
		cxt->depth--;
		return false;
	}
	return expression_tree_walker(node, used_walker, context);
}

static Aggref *array_of(Var *column, Oid type)
{
	Oid any[1] = { ANYNONARRAYOID };
	Aggref *agg = makeNode(Aggref);

	agg->aggfnoid = LookupFuncName(
		list_make2(makeString("pg_catalog"), makeString("array_agg")), 1, any, false);
	agg->aggtype = type;
	agg->aggcollid = agg->inputcollid = column->varcollid;
	agg->aggargtypes = list_make1_oid(column->vartype);
	agg->args = list_make1(makeTargetEntry((Expr *)column, 1, NULL, false));
	agg->aggkind = AGGKIND_NORMAL;
	agg->aggsplit = AGGSPLIT_SIMPLE;
	agg->aggno = agg->aggtransno = -1;
	agg->location = -1;
	return agg;
}

/* Type of a column of a relation, subquery or CTE. */
static void column_type(RangeTblEntry *rte, int attno, Oid *type, int32 *typmod, Oid *collation)
{
	List *columns = NIL;
	ListCell *lc;

	if (rte->rtekind == RTE_RELATION) {
		get_atttypetypmodcoll(rte->relid, attno, type, typmod, collation);
	} else if (rte->rtekind == RTE_CTE) {
		*type = list_nth_oid(rte->coltypes, attno - 1);
		*typmod = list_nth_int(rte->coltypmods, attno - 1);
		*collation = list_nth_oid(rte->colcollations, attno - 1);
	} else {
		foreach (lc, rte->subquery->targetList)
			if (!((TargetEntry *)lfirst(lc))->resjunk)
				columns = lappend(columns, ((TargetEntry *)lfirst(lc))->expr);
		*type = exprType(list_nth(columns, attno - 1));
		*typmod = exprTypmod(list_nth(columns, attno - 1));
		*collation = exprCollation(list_nth(columns, attno - 1));
	}
}

/* unnest(array) as a column of ROWS FROM (..) */
static RangeTblFunction *unnest_column(Node *array, Oid type, Oid collation)
{
	RangeTblFunction *func = makeNode(RangeTblFunction);
	FuncExpr *expr = makeFuncExpr(F_UNNEST_ANYARRAY, type, list_make1(array), collation,
				      collation, COERCE_EXPLICIT_CALL);

	expr->funcretset = true;
	func->funcexpr = (Node *)expr;
	func->funccolcount = 1;
	return func;
}

/*
 * Adds the column to the arrays (relation index of select) and gives the array as a column of the
 * row of values; NULL if its type cannot go through an array.
 */
static Node *lift_column(RangeTblEntry *rte, int attno, Query *arrays, Query *select, int index,
			 Oid *type, Oid *collation)
{
	int pos = list_length(arrays->targetList) + 1;
	int out = list_length(select->targetList) + 1;
	int32 typmod;
	Oid array_type;
	Expr *expr;

	column_type(rte, attno, type, &typmod, collation);
	array_type = get_array_type(*type);
	/* unnest makes columns of a row type's fields */
	if (!OidIsValid(array_type) || OidIsValid(get_element_type(*type)) ||
	    type_is_rowtype(*type))
		return NULL;
	expr = (Expr *)array_of(makeVar(1, attno, *type, typmod, *collation, 0), array_type);
	arrays->targetList = lappend(arrays->targetList,
				     makeTargetEntry(expr, pos, psprintf("c%d", pos), false));
	expr = (Expr *)makeVar(index, pos, array_type, -1, *collation, 0);
	select->targetList = lappend(select->targetList,
				     makeTargetEntry(expr, out, psprintf("v%d", out), false));
	return (Node *)makeVar(OUTER_VAR, out, array_type, -1, *collation, 0);
}

/* The item as the only relation of a subquery of select, which is two levels further down. */
static void read_item(RangeTblEntry *rte, Query *arrays)
{
	RangeTblEntry *source = copyObject(rte);
	RangeTblRef *ref = makeNode(RangeTblRef);

	if (source->rtekind == RTE_SUBQUERY)
		herd_deepen_ctes(source->subquery);
	else if (source->rtekind == RTE_CTE)
		source->ctelevelsup++;
		/* privileges are checked on the statement's own relations */
#if PG_VERSION_NUM >= 160000
	source->perminfoindex = 0;
#else
	source->requiredPerms = 0;
#endif
	if (source->rtekind == RTE_RELATION)
		herd_drop_permissions(arrays, source);
	source->inFromCl = true;
	ref->rtindex = 1;
	arrays->commandType = CMD_SELECT;
	arrays->canSetTag = true;
	arrays->hasAggs = true;
	arrays->rtable = list_make1(source);
	arrays->jointree = makeFromExpr(list_make1(ref), NULL);
}

static void add_subquery(Query *select, Query *sub)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell *lc;

	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = sub;
	rte->eref = makeAlias("arrays", NIL);
	rte->inFromCl = true;
	foreach (lc, sub->targetList)
		rte->eref->colnames = lappend(rte->eref->colnames,
					      makeString(((TargetEntry *)lfirst(lc))->resname));
	select->rtable = lappend(select->rtable, rte);
	ref->rtindex = list_length(select->rtable);
	select->jointree->fromlist = lappend(select->jointree->fromlist, ref);
}

/* SELECT array_agg(column), .. FROM the item; and the item becomes unnest(array, ..). */
static bool lift_item(Query *query, int varno, Query *select)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	UsedContext used = { .varno = varno };
	Query *arrays = makeNode(Query);
	RangeTblEntry *functions = makeNode(RangeTblEntry);
	int index = list_length(select->rtable) + 1;

	query_tree_walker(query, used_walker, &used, 0);
	/* without columns only the number of rows counts, and arrays do not tell it */
	if (used.other || used.columns == NULL || rte->lateral || rte->tablesample != NULL)
		return false;
	functions->rtekind = RTE_FUNCTION;
	functions->eref = copyObject(rte->eref);
	herd_name_dropped(functions->eref);
	functions->inFromCl = true;
	for (int attno = 1; attno <= list_length(rte->eref->colnames); attno++) {
		Oid type = INT4OID;
		Oid collation = InvalidOid;
		Node *array;

		if (bms_is_member(attno, used.columns))
			array = lift_column(rte, attno, arrays, select, index, &type, &collation);
		else
			array = (Node *)makeNullConst(INT4ARRAYOID, -1, InvalidOid);
		if (array == NULL)
			return false;
		functions->functions =
			lappend(functions->functions, unnest_column(array, type, collation));
	}
	read_item(rte, arrays);
	add_subquery(select, arrays);
	*rte = *functions;
	return true;
}

static bool lift_items(Query *query, Node *jtnode, Query *select)
{
	ListCell *lc;

	if (IsA(jtnode, RangeTblRef)) {
		int varno = ((RangeTblRef *)jtnode)->rtindex;
		RangeTblEntry *rte = rt_fetch(varno, query->rtable);
		const HerdTable *table;

		if (varno == query->resultRelation)
			return true;
		if (rte->rtekind == RTE_RELATION) {
			table = herd_table_get(rte->relid);
			return (table != NULL && table->kind == HERD_TABLE_REFERENCE) ||
			       lift_item(query, varno, select);
		}
		if (rte->rtekind == RTE_SUBQUERY || rte->rtekind == RTE_CTE)
			return lift_item(query, varno, select);
		return true;
	}
	if (IsA(jtnode, JoinExpr))
		return lift_items(query, ((JoinExpr *)jtnode)->larg, select) &&
		       lift_items(query, ((JoinExpr *)jtnode)->rarg, select);
	foreach (lc, ((FromExpr *)jtnode)->fromlist)
		if (!lift_items(query, lfirst(lc), select))
			return false;
	return true;
}

static bool reads_cte_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *)node)->rtekind == RTE_CTE;
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, reads_cte_walker, context,
					 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, reads_cte_walker, context);
}

static Query *select_of(List *tlist)
{
	Query *select = makeNode(Query);

	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->jointree = makeFromExpr(NIL, NULL);
	select->targetList = tlist;
	select->hasSubLinks = tlist != NIL;
	return select;
}

Query *herd_lift_conflict(Query *insert)
{
	List *tlist = NIL;

	insert->onConflict = (OnConflictExpr *)lift_mutator((Node *)insert->onConflict, &tlist);
	return tlist != NIL ? select_of(tlist) : NULL;
}

Query *herd_lift(Query *query, bool sources)
{
	List *tlist = NIL;
	Query *select;

	if (query->hasSubLinks) {
		query->targetList = (List *)lift_mutator((Node *)query->targetList, &tlist);
		query->returningList = (List *)lift_mutator((Node *)query->returningList, &tlist);
		query->jointree = (FromExpr *)lift_mutator((Node *)query->jointree, &tlist);
		query->onConflict =
			(OnConflictExpr *)lift_mutator((Node *)query->onConflict, &tlist);
	}
	select = select_of(tlist);
	if (sources) {
		select->cteList = query->cteList;
		select->hasModifyingCTE = query->hasModifyingCTE;
		select->hasRecursive = query->hasRecursive;
		query->cteList = NIL;
		query->hasModifyingCTE = query->hasRecursive = false;
		if (!lift_items(query, (Node *)query->jointree, select) ||
		    query_tree_walker(query, reads_cte_walker, NULL, QTW_EXAMINE_RTES_BEFORE))
			return NULL;
	}
	return select->targetList != NIL ? select : NULL;
}
