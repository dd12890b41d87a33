#include "deparse/names.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

static bool has_names(const RowExpr *row)
{
	ListCell *lc;

	if (row->row_typeid != RECORDOID || list_length(row->colnames) != list_length(row->args))
		return false;
	foreach (lc, row->colnames) {
		const char *plain = psprintf("f%d", foreach_current_index(lc) + 1);

		if (strcmp(strVal(lfirst(lc)), plain) != 0)
			return true;
	}
	return false;
}

static Query *select_from(RangeTblEntry *rte, List *tlist)
{
	Query *query = makeNode(Query);
	List *from = NIL;

	if (rte != NULL) {
		RangeTblRef *ref = makeNode(RangeTblRef);

		ref->rtindex = 1;
		from = list_make1(ref);
		query->rtable = list_make1(rte);
	}
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->targetList = tlist;
	query->jointree = makeFromExpr(from, NULL);
	return query;
}

/* SELECT values AS names, as an item of FROM. */
static RangeTblEntry *named_values(const RowExpr *row)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List *tlist = NIL;
	ListCell *arg, *name;

	forboth(arg, row->args, name, row->colnames)
	{
		Expr *value = copyObject((Expr *)lfirst(arg));

		IncrementVarSublevelsUp((Node *)value, 2, 0);
		tlist = lappend(tlist, makeTargetEntry(value, list_length(tlist) + 1,
						       pstrdup(strVal(lfirst(name))), false));
	}
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = select_from(NULL, tlist);
	rte->alias = makeAlias("named", NIL);
	rte->eref = makeAlias("named", copyObject(row->colnames));
	rte->inFromCl = true;
	return rte;
}

Node *herd_named_row(RowExpr *row)
{
	SubLink *link;
	Var *whole;

	if (!has_names(row) || contain_aggs_of_level((Node *)row, 0) ||
	    contain_windowfuncs((Node *)row) || expression_returns_set((Node *)row))
		return (Node *)row;
	whole = makeVar(1, InvalidAttrNumber, RECORDOID, -1, InvalidOid, 0);
	link = makeNode(SubLink);
	link->subLinkType = EXPR_SUBLINK;
	link->subselect = (Node *)select_from(
		named_values(row),
		list_make1(makeTargetEntry((Expr *)whole, 1, pstrdup("named"), false)));
	link->location = -1;
	return (Node *)link;
}

/* PostgreSQL's stand-in for the name of a column that a view got when it was replaced. */
#define NO_NAME "?column?"

void herd_name_columns(RangeTblEntry *rte)
{
	bool given = rte->alias != NULL && rte->alias->colnames != NIL;
	bool differs = false;
	ListCell *lc;
	int n = 0;

	if (rte->rtekind != RTE_SUBQUERY || given)
		return;
	foreach (lc, rte->subquery->targetList) {
		TargetEntry *tle = lfirst(lc);
		ListCell *name;

		if (tle->resjunk || n >= list_length(rte->eref->colnames))
			break;
		name = list_nth_cell(rte->eref->colnames, n++);
		if (tle->resname != NULL && strcmp(strVal(lfirst(name)), NO_NAME) == 0)
			lfirst(name) = makeString(pstrdup(tle->resname));
		differs = differs || tle->resname == NULL ||
			  strcmp(tle->resname, strVal(lfirst(name))) != 0;
	}
	if (differs)
		rte->alias = copyObject(rte->eref);
}

void herd_qualify_order(Query *query)
{
	RangeTblEntry *rte;
	ListCell *sort, *lc;

	if (query->commandType != CMD_SELECT || list_length(query->rtable) != 1)
		return;
	foreach (sort, list_concat_copy(query->sortClause, query->distinctClause)) {
		TargetEntry *by = get_sortgroupclause_tle(lfirst(sort), query->targetList);
		const Var *var = (const Var *)by->expr;
		char *name;

		if (!IsA(var, Var) || var->varlevelsup != 0 || var->varattno <= 0)
			continue;
		name = get_rte_attribute_name(linitial(query->rtable), var->varattno);
		foreach (lc, query->targetList) {
			TargetEntry *tle = lfirst(lc);

			if (tle->resjunk || tle->resname == NULL ||
			    strcmp(tle->resname, name) != 0 || equal(tle->expr, var))
				continue;
			rte = makeNode(RangeTblEntry);
			rte->rtekind = RTE_RESULT;
			rte->eref = makeAlias("*RESULT*", NIL);
			query->rtable = lappend(query->rtable, rte);
			return;
		}
	}
}
