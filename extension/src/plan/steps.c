#include "plan/steps.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"

#include "attach/attach.h"
#include "catalog/metadata.h"
#include "plan/bring.h"
#include "plan/leaves.h"
#include "plan/rekey.h"
#include "plan/rewrite.h"

/* Of rows that a step keeps: one that no other plan of this backend has, nor one around this. */
static int last_number;

static Oid held_function(void)
{
	Oid types[1] = { INT4OID };

	return LookupFuncName(list_make2(makeString("citus_internal"), makeString("held_rows")), 1,
			      types, false);
}

bool herd_is_held(const RangeTblEntry *rte)
{
	const FuncExpr *call;

	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1)
		return false;
	call = (const FuncExpr *)linitial_node(RangeTblFunction, rte->functions)->funcexpr;
	return IsA(call, FuncExpr) && call->funcresulttype == RECORDOID &&
	       call->funcid >= FirstNormalObjectId && call->funcid == held_function();
}

static bool held_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return herd_is_held((RangeTblEntry *)node);
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, held_walker, context,
					 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, held_walker, context);
}

bool herd_reads_held(Query *query)
{
	return query_tree_walker(query, held_walker, NULL, QTW_EXAMINE_RTES_BEFORE);
}

/* held_rows(number) with the columns of the query in WITH. */
static RangeTblEntry *held_rte(const CommonTableExpr *cte, int number)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblFunction *func = makeNode(RangeTblFunction);
	Const *arg = makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(number), false,
			       true);
	FuncExpr *call = makeFuncExpr(held_function(), RECORDOID, list_make1(arg), InvalidOid,
				      InvalidOid, COERCE_EXPLICIT_CALL);

	call->funcretset = true;
	func->funcexpr = (Node *)call;
	func->funccolnames = copyObject(cte->ctecolnames);
	func->funccoltypes = list_copy(cte->ctecoltypes);
	func->funccoltypmods = list_copy(cte->ctecoltypmods);
	func->funccolcollations = list_copy(cte->ctecolcollations);
	func->funccolcount = list_length(cte->ctecolnames);
	rte->rtekind = RTE_FUNCTION;
	rte->functions = list_make1(func);
	rte->eref = makeAlias("held_rows", copyObject(cte->ctecolnames));
	rte->inFromCl = true;
	return rte;
}

static Query *select_held(const CommonTableExpr *cte, int number)
{
	Query *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell *name, *type, *typmod, *collation;

	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(held_rte(cte, number));
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	forfour(name, cte->ctecolnames, type, cte->ctecoltypes, typmod, cte->ctecoltypmods,
		collation, cte->ctecolcollations)
	{
		int pos = list_length(query->targetList) + 1;
		Var *var = makeVar(1, pos, lfirst_oid(type), lfirst_int(typmod),
				   lfirst_oid(collation), 0);

		query->targetList = lappend(
			query->targetList,
			makeTargetEntry((Expr *)var, pos, pstrdup(strVal(lfirst(name))), false));
	}
	return query;
}

typedef struct References {
	const CommonTableExpr *cte;
	Index depth;   /* of the query at hand below the one that has it in WITH */
	Query *become; /* what a reference becomes; NULL: they are only looked for */
} References;

static bool references_walker(Node *node, void *context)
{
	References *cxt = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry)) {
		RangeTblEntry *rte = (RangeTblEntry *)node;

		if (rte->rtekind != RTE_CTE || rte->ctelevelsup != cxt->depth ||
		    strcmp(rte->ctename, cxt->cte->ctename) != 0)
			return false;
		if (cxt->become == NULL)
			return true;
		rte->rtekind = RTE_SUBQUERY;
		rte->subquery = copyObject(cxt->become);
		rte->alias = copyObject(rte->eref);
		rte->security_barrier = false;
		rte->ctename = NULL;
		rte->ctelevelsup = 0;
		rte->self_reference = false;
		rte->coltypes = rte->coltypmods = rte->colcollations = NIL;
		return false;
	}
	if (IsA(node, Query)) {
		bool found;

		cxt->depth++;
		found = query_tree_walker((Query *)node, references_walker, context,
					  QTW_EXAMINE_RTES_AFTER);
		cxt->depth--;
		return found;
	}
	return expression_tree_walker(node, references_walker, context);
}

static bool is_read_by(const CommonTableExpr *cte, Node *query)
{
	References cxt = { .cte = cte };

	return references_walker(query, &cxt);
}

/* It locks rows, and a subquery in an expression of the query reads it. */
static bool locks_for_sublink(Query *query, const CommonTableExpr *cte)
{
	ListCell *lc;

	if (castNode(Query, cte->ctequery)->rowMarks == NIL)
		return false;
	foreach (lc, herd_sublinks_of_query(query))
		if (is_read_by(cte, ((HerdSublink *)lfirst(lc))->sublink->subselect))
			return true;
	return false;
}

bool herd_steps_lock(Query *query)
{
	ListCell *lc;

	foreach (lc, query->cteList)
		if (locks_for_sublink(query, lfirst(lc)))
			return true;
	return false;
}

/*
 * Those that write, or lock for a subquery; those that one of these reads; with all, every one that
 * is read.
 */
static bool *choose(Query *query, bool all)
{
	const List *ctes = query->cteList;
	int n = list_length(ctes);
	bool *held = palloc0(n * sizeof(bool));

	/* each refers only to those before it */
	for (int i = n - 1; i >= 0; i--) {
		CommonTableExpr *cte = list_nth(ctes, i);

		if (castNode(Query, cte->ctequery)->commandType != CMD_SELECT ||
		    (all && cte->cterefcount > 0) || locks_for_sublink(query, cte))
			held[i] = true;
		for (int k = i + 1; k < n && !held[i]; k++)
			held[i] = held[k] &&
				  is_read_by(cte, ((CommonTableExpr *)list_nth(ctes, k))->ctequery);
	}
	return held;
}

static HerdStep *new_step(char *name, Query *query, int held)
{
	HerdStep *step = palloc0(sizeof(HerdStep));

	step->name = name;
	step->query = query;
	step->held = held;
	return step;
}

/* The query in WITH as a statement. */
static Query *stand_alone(CommonTableExpr *cte)
{
	Query *with;

	if (!cte->cterecursive)
		return castNode(Query, cte->ctequery);
	with = makeNode(Query);
	with->cteList = list_make1(cte);
	with->hasRecursive = true;
	return herd_select_cte(with, cte);
}

List *herd_steps_of(Query *query, bool all)
{
	List *steps = NIL;
	List *kept = NIL;
	List *ctes;
	bool *held;

	herd_inline_ctes(query);
	ctes = query->cteList;
	held = choose(query, all);
	for (int i = 0; i < list_length(ctes); i++) {
		CommonTableExpr *cte = list_nth(ctes, i);
		References cxt = { .cte = cte, .become = select_held(cte, ++last_number) };

		if (!held[i]) {
			kept = lappend(kept, cte);
			continue;
		}
		for (int k = i + 1; k < list_length(ctes); k++)
			references_walker(((CommonTableExpr *)list_nth(ctes, k))->ctequery, &cxt);
		query_tree_walker(query, references_walker, &cxt,
				  QTW_EXAMINE_RTES_AFTER | QTW_IGNORE_CTE_SUBQUERIES);
		steps = lappend(steps, new_step(cte->ctename, stand_alone(cte),
						cte->cterefcount > 0 ? last_number : -1));
	}
	query->cteList = kept;
	query->hasModifyingCTE = false;
	query->hasRecursive = query->hasRecursive && kept != NIL;
	return lappend(steps, new_step(NULL, query, -1));
}

static bool may_move_rows(const Query *query, const HerdTable *table)
{
	return query->commandType == CMD_MERGE ||
	       (query->commandType == CMD_UPDATE &&
		herd_changes_key(query, query->targetList, table));
}

bool herd_steps_wait(const List *steps)
{
	bool keys = false;
	int writes = 0;
	const ListCell *lc;

	foreach (lc, steps) {
		const Query *query = ((const HerdStep *)lfirst(lc))->query;
		const HerdTable *table;

		if (query->resultRelation == 0)
			continue;
		writes++;
		table = herd_table_get(rt_fetch(query->resultRelation, query->rtable)->relid);
		if (table == NULL)
			continue;
		if (herd_attach_has_code(table->relid) || may_move_rows(query, table))
			return false;
		keys = keys || herd_attach_has_keys(table->relid);
	}
	return keys && writes > 1;
}
