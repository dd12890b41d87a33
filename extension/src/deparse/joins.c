#include "deparse/joins.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "compat.h"

/* Columns of an item that can be named, of int. */
static List *columns_of(const Query *query, Node *item)
{
	int varno =
		IsA(item, JoinExpr) ? ((JoinExpr *)item)->rtindex : ((RangeTblRef *)item)->rtindex;
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	List *columns = NIL;
	ListCell *lc;

	foreach (lc, rte->eref->colnames) {
		int attno = foreach_current_index(lc) + 1;

		if (strVal(lfirst(lc))[0] != '\0' &&
		    !(rte->rtekind == RTE_RELATION && get_rte_attribute_is_dropped(rte, attno)))
			columns = lappend_int(columns, attno);
	}
	return columns;
}

static bool misfit_walker(Node *node, void *context)
{
	const Query *query = context;

	if (node == NULL)
		return false;
	if (IsA(node, JoinExpr)) {
		JoinExpr *join = (JoinExpr *)node;
		const RangeTblEntry *rte = rt_fetch(join->rtindex, query->rtable);

		return list_length(rte->joinleftcols) !=
			       list_length(columns_of(query, join->larg)) ||
		       list_length(rte->joinrightcols) !=
			       list_length(columns_of(query, join->rarg)) ||
		       misfit_walker(join->larg, context) || misfit_walker(join->rarg, context);
	}
	if (IsA(node, FromExpr))
		return expression_tree_walker((Node *)((FromExpr *)node)->fromlist, misfit_walker,
					      context);
	return false;
}

/* -- columns of joins become those of their items ---------------------------------------------- */

typedef struct Plain {
	const Query *query;
	Index depth;
} Plain;

static Node *plain_mutator(Node *node, void *context)
{
	Plain *plain = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *)node)->varlevelsup == plain->depth &&
	    !IS_SPECIAL_VARNO(((Var *)node)->varno)) {
		Var *var = copyObject((Var *)node);
		const RangeTblEntry *rte = rt_fetch(var->varno, plain->query->rtable);
		Plain own = { .query = plain->query };
		Node *column = NULL;

		/* the name by which the user called it is that of a join */
		if (var->varnosyn > 0 &&
		    var->varnosyn <= (Index)list_length(plain->query->rtable) &&
		    rt_fetch(var->varnosyn, plain->query->rtable)->rtekind == RTE_JOIN) {
			var->varnosyn = (Index)var->varno;
			var->varattnosyn = var->varattno;
		}
		if (rte->rtekind == RTE_JOIN && var->varattno > 0)
			column = list_nth(rte->joinaliasvars, var->varattno - 1);
		if (column == NULL)
			return (Node *)var;
		column = plain_mutator(column, &own);
		IncrementVarSublevelsUp(column, (int)plain->depth, 0);
		return column;
	}
	if (IsA(node, Query)) {
		Query *query;

		plain->depth++;
		query = query_tree_mutator((Query *)node, plain_mutator, context,
					   QTW_IGNORE_JOINALIASES);
		plain->depth--;
		return (Node *)query;
	}
	return expression_tree_mutator(node, plain_mutator, context);
}

/* -- joins list what is there ------------------------------------------------------------------ */

static void add_columns(const Query *query, Node *item, RangeTblEntry *join, List **attnos)
{
	int varno =
		IsA(item, JoinExpr) ? ((JoinExpr *)item)->rtindex : ((RangeTblRef *)item)->rtindex;
	const RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	ListCell *lc;

	*attnos = columns_of(query, item);
	foreach (lc, *attnos) {
		int attno = lfirst_int(lc);

		/* the type is nobody's concern */
		join->joinaliasvars = lappend(join->joinaliasvars,
					      makeVar(varno, attno, INT4OID, -1, InvalidOid, 0));
		join->eref->colnames = lappend(
			join->eref->colnames, copyObject(list_nth(rte->eref->colnames, attno - 1)));
	}
}

static bool list_walker(Node *node, void *context)
{
	const Query *query = context;
	JoinExpr *join = (JoinExpr *)node;
	RangeTblEntry *rte;

	if (node == NULL)
		return false;
	if (IsA(node, FromExpr))
		return expression_tree_walker((Node *)((FromExpr *)node)->fromlist, list_walker,
					      context);
	if (!IsA(node, JoinExpr))
		return false;
	(void)list_walker(join->larg, context);
	(void)list_walker(join->rarg, context);
	join->isNatural = false;
	join->usingClause = NIL;
	join->join_using_alias = join->alias = NULL;
	rte = rt_fetch(join->rtindex, query->rtable);
	rte->alias = rte->join_using_alias = NULL;
	rte->joinmergedcols = 0;
	rte->joinaliasvars = rte->eref->colnames = NIL;
	add_columns(query, join->larg, rte, &rte->joinleftcols);
	add_columns(query, join->rarg, rte, &rte->joinrightcols);
	return false;
}

static bool fit_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		herd_fit_joins((Query *)node);
		return false;
	}
	return expression_tree_walker(node, fit_walker, context);
}

void herd_fit_joins(Query *query)
{
	Plain plain = { .query = query };

	if (misfit_walker((Node *)query->jointree, query)) {
		*query = *query_tree_mutator(query, plain_mutator, &plain, QTW_IGNORE_JOINALIASES);
		(void)list_walker((Node *)query->jointree, query);
	}
	(void)query_tree_walker(query, fit_walker, NULL, QTW_IGNORE_JOINALIASES);
}
