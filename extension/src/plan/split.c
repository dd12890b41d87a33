#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "agg/partial.h"
#include "plan/rewrite.h"

typedef struct SplitContext {
	List *worker;
	int ngroups;  /* the first of worker are the GROUP BY expressions */
	List *groups; /* of SortGroupClause, for the worker: also the arguments of DISTINCT */
	Index maxref;
	bool regrouped; /* the worker's groups are finer than those of the query */
	bool (*is_key)(Node *, void *);
	void *key_context;
	bool failed;
} SplitContext;

/* How the results of one aggregate per shard become the result. */
typedef enum SplitKind {
	SPLIT_NONE,
	SPLIT_SAME, /* the same aggregate over the partial results */
	SPLIT_SUM,  /* sum of the partial sums */
	SPLIT_COUNT,
	SPLIT_AVG,
	SPLIT_STATE /* states of the aggregate, which are combined */
} SplitKind;

static const struct {
	const char *name;
	SplitKind kind;
} splits[] = {
	{ "count", SPLIT_COUNT },  { "sum", SPLIT_SUM },      { "avg", SPLIT_AVG },
	{ "min", SPLIT_SAME },     { "max", SPLIT_SAME },     { "bool_and", SPLIT_SAME },
	{ "bool_or", SPLIT_SAME }, { "every", SPLIT_SAME },   { "bit_and", SPLIT_SAME },
	{ "bit_or", SPLIT_SAME },  { "bit_xor", SPLIT_SAME },
};

/* The average of these types is their sum by their number, to the last digit. */
static bool average_is_quotient(const Aggref *agg)
{
	switch (linitial_oid(agg->aggargtypes)) {
	case INT2OID:
	case INT4OID:
	case INT8OID:
	case NUMERICOID:
	case FLOAT8OID:
		return true;
	default:
		return false;
	}
}

static SplitKind split_kind(const Aggref *agg)
{
	char *name;

	if (agg->aggkind != AGGKIND_NORMAL || agg->aggorder != NIL || agg->aggdistinct != NIL ||
	    agg->aggdirectargs != NIL || agg->agglevelsup != 0 || agg->aggvariadic)
		return SPLIT_NONE;
	name = agg->aggfnoid < FirstNormalObjectId ? get_func_name(agg->aggfnoid) : NULL;
	for (size_t i = 0; name != NULL && i < lengthof(splits); i++)
		if (strcmp(name, splits[i].name) == 0 &&
		    (splits[i].kind != SPLIT_AVG || average_is_quotient(agg)))
			return splits[i].kind;
	return herd_agg_can_split(agg) ? SPLIT_STATE : SPLIT_NONE;
}

bool herd_aggregate_splits(const Aggref *agg)
{
	return split_kind(agg) != SPLIT_NONE;
}

static Var *worker_column(SplitContext *cxt, Expr *expr)
{
	ListCell *lc;
	int resno = 0;
	char *name;

	foreach (lc, cxt->worker) {
		resno++;
		if (equal(((TargetEntry *)lfirst(lc))->expr, expr))
			return makeVar(1, resno, exprType((Node *)expr), exprTypmod((Node *)expr),
				       exprCollation((Node *)expr), 0);
	}
	resno++;
	name = psprintf("c%d", resno);
	cxt->worker =
		lappend(cxt->worker, makeTargetEntry((Expr *)copyObject(expr), resno, name, false));
	return makeVar(1, resno, exprType((Node *)expr), exprTypmod((Node *)expr),
		       exprCollation((Node *)expr), 0);
}

static Aggref *make_aggregate(const char *name, Expr *arg)
{
	Oid argtype = exprType((Node *)arg);
	List *qualified = list_make2(makeString("pg_catalog"), makeString(pstrdup(name)));
	Aggref *agg = makeNode(Aggref);

	agg->aggfnoid = LookupFuncName(qualified, 1, &argtype, false);
	agg->aggtype = get_func_rettype(agg->aggfnoid);
	agg->aggcollid = OidIsValid(get_typcollation(agg->aggtype)) ? exprCollation((Node *)arg)
								    : InvalidOid;
	agg->inputcollid = exprCollation((Node *)arg);
	agg->aggargtypes = list_make1_oid(argtype);
	agg->args = list_make1(makeTargetEntry(arg, 1, NULL, false));
	agg->aggkind = AGGKIND_NORMAL;
	agg->aggsplit = AGGSPLIT_SIMPLE;
	agg->aggno = agg->aggtransno = -1;
	agg->location = -1;
	return agg;
}

static Expr *call_function(Oid func, Oid type, List *args)
{
	return (Expr *)makeFuncExpr(func, type, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* sum of bigint counts as bigint, 0 for none */
static Expr *combine_counts(Var *partial)
{
	CoalesceExpr *coalesce = makeNode(CoalesceExpr);
	Expr *sum = (Expr *)make_aggregate("sum", (Expr *)partial);

	coalesce->coalescetype = INT8OID;
	coalesce->args = list_make2(call_function(F_INT8_NUMERIC, INT8OID, list_make1(sum)),
				    makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
					      Int64GetDatum(0), false, FLOAT8PASSBYVAL));
	coalesce->location = -1;
	return (Expr *)coalesce;
}

static Expr *combine_sums(Var *partial, Oid type)
{
	Expr *sum = (Expr *)make_aggregate("sum", (Expr *)partial);

	if (exprType((Node *)sum) == type)
		return sum;
	Assert(type == INT8OID);
	return call_function(F_INT8_NUMERIC, INT8OID, list_make1(sum));
}

/* The other aggregate (sum, count) over the same rows. */
static Aggref *sibling_aggregate(const Aggref *agg, const char *name)
{
	Aggref *other = make_aggregate(name, ((TargetEntry *)linitial(agg->args))->expr);

	other->aggfilter = agg->aggfilter;
	return other;
}

static Aggref *count_of(const Aggref *agg)
{
	Aggref *other = (Aggref *)copyObject((Aggref *)agg);
	Oid any[1] = { ANYOID };

	other->aggfnoid = LookupFuncName(list_make2(makeString("pg_catalog"), makeString("count")),
					 1, any, false);
	other->aggtype = INT8OID;
	other->aggcollid = InvalidOid;
	return other;
}

static Expr *combine_average(SplitContext *cxt, const Aggref *agg)
{
	Oid argtype = linitial_oid(agg->aggargtypes);
	Var *sums, *counts;
	Expr *total, *number;

	sums = worker_column(cxt, (Expr *)sibling_aggregate(agg, "sum"));
	counts = worker_column(cxt, (Expr *)count_of(agg));
	total = (Expr *)make_aggregate("sum", (Expr *)sums);
	number = (Expr *)make_aggregate("sum", (Expr *)counts);
	/* without rows the total is null, and so is the quotient, whatever the number */
	if (argtype == FLOAT8OID)
		return call_function(F_FLOAT8DIV, FLOAT8OID,
				     list_make2(total, call_function(F_FLOAT8_NUMERIC, FLOAT8OID,
								     list_make1(number))));
	return call_function(F_NUMERIC_DIV, NUMERICOID, list_make2(total, number));
}

static bool is_count_of_keys(SplitContext *cxt, const Aggref *agg)
{
	return agg->aggfnoid < FirstNormalObjectId && agg->aggdistinct != NIL &&
	       agg->agglevelsup == 0 && list_length(agg->args) == 1 &&
	       strcmp(get_func_name(agg->aggfnoid), "count") == 0 &&
	       cxt->is_key((Node *)((TargetEntry *)linitial(agg->args))->expr, cxt->key_context);
}

/* A column by which the worker groups too, so that equal values come once from each shard. */
static Var *grouped_column(SplitContext *cxt, Expr *expr, const SortGroupClause *like)
{
	SortGroupClause *clause;
	TargetEntry *tle;
	Var *var = worker_column(cxt, expr);

	tle = list_nth_node(TargetEntry, cxt->worker, var->varattno - 1);
	if (tle->ressortgroupref != 0)
		return var;
	clause = copyObject((SortGroupClause *)like);
	clause->tleSortGroupRef = tle->ressortgroupref = ++cxt->maxref;
	cxt->groups = lappend(cxt->groups, clause);
	return var;
}

static SortGroupClause *boolean_clause(void)
{
	SortGroupClause *clause = makeNode(SortGroupClause);
	bool hashable;

	get_sort_group_operators(BOOLOID, false, true, false, &clause->sortop, &clause->eqop, NULL,
				 &hashable);
	clause->hashable = hashable;
	return clause;
}

/* DISTINCT: each shard sends every value once for each group; the aggregate is computed here. */
static Expr *combine_distinct(SplitContext *cxt, Aggref *agg)
{
	Aggref *same = copyObject(agg);
	ListCell *lc;

	/* without groups a shard sends a row also when it has none: it must not count */
	if (!contain_var_clause((Node *)agg->args)) {
		cxt->failed = true;
		return NULL;
	}
	foreach (lc, same->args) {
		TargetEntry *arg = lfirst(lc);
		SortGroupClause *clause;

		if (!contain_var_clause((Node *)arg->expr))
			continue;
		clause = arg->ressortgroupref == 0
				 ? NULL
				 : get_sortgroupref_clause_noerr(arg->ressortgroupref,
								 agg->aggdistinct);
		if (clause == NULL || get_typtype(exprType((Node *)arg->expr)) == TYPTYPE_PSEUDO) {
			cxt->failed = true;
			return NULL;
		}
		arg->expr = (Expr *)grouped_column(cxt, arg->expr, clause);
	}
	if (same->aggfilter != NULL && contain_var_clause((Node *)same->aggfilter))
		same->aggfilter = (Expr *)grouped_column(cxt, same->aggfilter, boolean_clause());
	return (Expr *)same;
}

static Expr *combine_aggregate(SplitContext *cxt, Aggref *agg)
{
	Aggref *same;

	if (!cxt->regrouped && is_count_of_keys(cxt, agg))
		return combine_counts(worker_column(cxt, (Expr *)agg));
	if (agg->aggdistinct != NIL && agg->aggkind == AGGKIND_NORMAL && agg->agglevelsup == 0)
		return combine_distinct(cxt, agg);
	switch (split_kind(agg)) {
	case SPLIT_COUNT:
		return combine_counts(worker_column(cxt, (Expr *)agg));
	case SPLIT_SUM:
		return combine_sums(worker_column(cxt, (Expr *)agg), agg->aggtype);
	case SPLIT_AVG:
		return combine_average(cxt, agg);
	case SPLIT_SAME:
		same = copyObject(agg);
		same->args = list_make1(
			makeTargetEntry((Expr *)worker_column(cxt, (Expr *)agg), 1, NULL, false));
		same->aggfilter = NULL;
		return (Expr *)same;
	case SPLIT_STATE:
		return (Expr *)herd_agg_combine(agg,
						worker_column(cxt, (Expr *)herd_agg_partial(agg)));
	case SPLIT_NONE:
		break;
	}
	cxt->failed = true;
	return NULL;
}

static Node *split_mutator(Node *node, void *context)
{
	SplitContext *cxt = context;
	ListCell *lc;
	int i = 0;

	if (node == NULL || cxt->failed)
		return NULL;
	if (!IsA(node, List) && !IsA(node, TargetEntry)) {
		foreach (lc, cxt->worker) {
			TargetEntry *tle = lfirst(lc);

			if (i++ >= cxt->ngroups)
				break;
			if (equal(tle->expr, node))
				return (Node *)worker_column(cxt, tle->expr);
		}
	}
	if (IsA(node, Aggref))
		return (Node *)combine_aggregate(cxt, (Aggref *)node);
	if (IsA(node, Var) || IsA(node, SubLink) ||
	    (IsA(node, GroupingFunc) && ((GroupingFunc *)node)->agglevelsup > 0)) {
		cxt->failed = true;
		return NULL;
	}
	return expression_tree_mutator(node, split_mutator, context);
}

static bool regroups_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
		return ((Aggref *)node)->aggdistinct != NIL &&
		       !is_count_of_keys(context, (Aggref *)node);
	return expression_tree_walker(node, regroups_walker, context);
}

static bool volatile_in_aggregates_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
		return herd_volatile(node) || contain_subplans(node);
	return expression_tree_walker(node, volatile_in_aggregates_walker, context);
}

bool herd_split_aggregates(Query *query, HerdSplit *split, bool (*is_key)(Node *, void *),
			   void *context)
{
	SplitContext cxt = { .is_key = is_key, .key_context = context };
	ListCell *lc;

	if (query->hasTargetSRFs ||
	    volatile_in_aggregates_walker((Node *)query->targetList, NULL) ||
	    volatile_in_aggregates_walker(query->havingQual, NULL))
		return false;
	foreach (lc, query->groupClause) {
		SortGroupClause *clause = lfirst(lc);
		TargetEntry *tle = get_sortgroupclause_tle(clause, query->targetList);
		TargetEntry *column;
		Oid type = exprType((Node *)tle->expr);

		if (herd_volatile((Node *)tle->expr) || contain_subplans((Node *)tle->expr) ||
		    type == RECORDOID || get_typtype(type) == TYPTYPE_PSEUDO)
			return false;
		column = makeTargetEntry(copyObject(tle->expr), list_length(cxt.worker) + 1,
					 psprintf("c%d", list_length(cxt.worker) + 1), false);
		column->ressortgroupref = clause->tleSortGroupRef;
		cxt.worker = lappend(cxt.worker, column);
		cxt.ngroups++;
	}
	cxt.groups = copyObject(query->groupClause);
	foreach (lc, query->targetList)
		cxt.maxref = Max(cxt.maxref, ((TargetEntry *)lfirst(lc))->ressortgroupref);
	/* a key that is in several of the finer groups would be counted in each */
	cxt.regrouped = query->groupingSets != NIL ||
			regroups_walker((Node *)query->targetList, &cxt) ||
			regroups_walker(query->havingQual, &cxt);
	split->targetlist = (List *)split_mutator((Node *)query->targetList, &cxt);
	split->having = split_mutator(query->havingQual, &cxt);
	split->worker = cxt.worker;
	split->groups = cxt.groups;
	foreach (lc, cxt.worker) {
		Oid type = exprType((Node *)((TargetEntry *)lfirst(lc))->expr);

		if (type == RECORDOID || get_typtype(type) == TYPTYPE_PSEUDO)
			return false;
	}
	return !cxt.failed;
}
