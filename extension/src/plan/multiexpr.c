#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

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

/* -- as an array ------------------------------------------------------------------------------- */

typedef struct Brought {
	int id; /* of the SubLink */
	Var *column;
} Brought;

typedef struct Bring {
	List *brought; /* of Brought */
} Bring;

static Expr *as_type(Expr *expr, Oid type)
{
	CoerceViaIO *coerce = makeNode(CoerceViaIO);

	coerce->arg = expr;
	coerce->resulttype = type;
	coerce->resultcollid = get_typcollation(type);
	coerce->coerceformat = COERCE_EXPLICIT_CAST;
	coerce->location = -1;
	return (Expr *)coerce;
}

/* (SELECT ARRAY[c1::text, ..] FROM (the subquery)): one value, NULL when there is no row. */
static Expr *as_array(const SubLink *original)
{
	Query *inner = castNode(Query, copyObject(original->subselect));
	Query *query = wrap(inner);
	ArrayExpr *array = makeNode(ArrayExpr);
	SubLink *own = makeNode(SubLink);
	ListCell *lc;

	array->array_typeid = TEXTARRAYOID;
	array->array_collid = DEFAULT_COLLATION_OID;
	array->element_typeid = TEXTOID;
	array->location = -1;
	foreach (lc, query->targetList)
		array->elements = lappend(array->elements,
					  as_type(lfirst_node(TargetEntry, lc)->expr, TEXTOID));
	query->targetList = list_make1(makeTargetEntry((Expr *)array, 1, "row", false));
	own->subLinkType = EXPR_SUBLINK;
	own->location = -1;
	own->subselect = (Node *)query;
	return (Expr *)own;
}

static Node *bring_mutator(Node *node, void *context)
{
	const Bring *bring = context;
	const Param *param = (const Param *)node;
	ListCell *lc;

	if (node == NULL)
		return NULL;
	if (!is_multiexpr(node))
		return expression_tree_mutator(node, bring_mutator, context);
	foreach (lc, bring->brought) {
		const Brought *one = lfirst(lc);
		SubscriptingRef *ref;

		if (one->id != param->paramid >> 16)
			continue;
		ref = makeNode(SubscriptingRef);
		ref->refcontainertype = TEXTARRAYOID;
		ref->refelemtype = ref->refrestype = TEXTOID;
		ref->reftypmod = -1;
		ref->refcollid = DEFAULT_COLLATION_OID;
		ref->refupperindexpr =
			list_make1(makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
					     Int32GetDatum(param->paramid & 0xFFFF), false, true));
		ref->refexpr = copyObject((Expr *)one->column);
		return (Node *)as_type((Expr *)ref, param->paramtype);
	}
	elog(ERROR, "no subquery for column %d of a list in SET", param->paramid);
}

List *herd_multiexpr_bring(List *tlist, int varno, int (*add)(void *context, Expr *expr),
			   void *context)
{
	Bring bring = { NIL };
	List *kept = NIL;
	ListCell *lc;

	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		SubLink *sublink = (SubLink *)tle->expr;
		Brought *one;

		if (!IsA(sublink, SubLink) || sublink->subLinkType != MULTIEXPR_SUBLINK) {
			kept = lappend(kept, tle);
			continue;
		}
		one = palloc(sizeof(Brought));
		one->id = sublink->subLinkId;
		one->column = makeVar(varno, add(context, as_array(sublink)), TEXTARRAYOID, -1,
				      DEFAULT_COLLATION_OID, 0);
		bring.brought = lappend(bring.brought, one);
	}
	return (List *)bring_mutator((Node *)kept, &bring);
}
