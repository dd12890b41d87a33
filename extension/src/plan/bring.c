#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"

#include "guc.h"
#include "move/move.h"
#include "plan/bring.h"
#include "plan/leaves.h"
#include "plan/route.h"
#include "plan/steps.h"

typedef struct Bring {
	Query *query;
	const HerdTable *target;
	HerdPlanning *planning;
	List **moves;
} Bring;

/* Nothing in it is read but what is on every node. */
static bool is_everywhere(Query *query)
{
	HerdLevel level = { .query = query };
	HerdLeaves leaves = { 0 };
	ListCell *lc;

	herd_leaves_of_query(&level, NIL, &leaves);
	if (leaves.plain)
		return false;
	foreach (lc, leaves.leaves)
		if (((HerdLeaf *)lfirst(lc))->table->kind != HERD_TABLE_REFERENCE)
			return false;
	return true;
}

static bool send_item(Bring *b, int varno)
{
	HerdMove *move = herd_send_item(b->query, varno, b->target, b->planning);

	if (move != NULL)
		*b->moves = lappend(*b->moves, move);
	return move != NULL;
}

static bool bring_item(Bring *b, int varno)
{
	RangeTblEntry *rte = rt_fetch(varno, b->query->rtable);
	const HerdTable *table;

	if (varno == b->query->resultRelation)
		return true;
	if (rte->rtekind == RTE_RELATION) {
		table = herd_table_get(rte->relid);
		if (table != NULL && table->kind == HERD_TABLE_REFERENCE)
			return true;
		return rte->tablesample == NULL && rte->securityQuals == NIL && send_item(b, varno);
	}
	if (rte->rtekind != RTE_SUBQUERY)
		return rte->rtekind != RTE_NAMEDTUPLESTORE && !herd_is_held(rte);
	if (is_everywhere(rte->subquery) && !herd_volatile((Node *)rte->subquery))
		return true;
	/* operands of set operations must stay queries */
	if (b->query->setOperations == NULL && !rte->lateral && herd_stands_alone(rte->subquery))
		return send_item(b, varno);
	return herd_bring_tables(rte->subquery, b->target, b->planning, b->moves);
}

static bool bring_items(Bring *b, Node *jtnode)
{
	ListCell *lc;

	if (jtnode == NULL)
		return true;
	if (IsA(jtnode, RangeTblRef))
		return bring_item(b, ((RangeTblRef *)jtnode)->rtindex);
	if (IsA(jtnode, JoinExpr))
		return bring_items(b, ((JoinExpr *)jtnode)->larg) &&
		       bring_items(b, ((JoinExpr *)jtnode)->rarg);
	if (IsA(jtnode, SetOperationStmt))
		return bring_items(b, ((SetOperationStmt *)jtnode)->larg) &&
		       bring_items(b, ((SetOperationStmt *)jtnode)->rarg);
	foreach (lc, ((FromExpr *)jtnode)->fromlist)
		if (!bring_items(b, lfirst(lc)))
			return false;
	return true;
}

/* Rows come in no order: an array of ordered ones is made before. */
static void make_array_first(SubLink *sublink)
{
	Query *query = makeNode(Query);

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->hasSubLinks = true;
	query->jointree = makeFromExpr(NIL, NULL);
	query->targetList = list_make1(
		makeTargetEntry((Expr *)copyObject(sublink), 1, pstrdup("array"), false));
	sublink->subLinkType = EXPR_SUBLINK;
	sublink->subselect = (Node *)query;
}

bool herd_bring_sublink(SubLink *sublink, const HerdTable *target, HerdPlanning *planning,
			List **moves)
{
	Query *sub = castNode(Query, sublink->subselect);
	HerdMove *move;

	if (herd_rights_read(sub))
		return false;
	if (sublink->subLinkType == ARRAY_SUBLINK && sub->sortClause != NIL &&
	    herd_stands_alone(sub)) {
		make_array_first(sublink);
		sub = castNode(Query, sublink->subselect);
	}

	if (!herd_stands_alone(sub))
		return herd_bring_tables(sub, target, planning, moves);
	if (!herd_make_sendable(sublink, sub))
		return false;
	move = herd_move_subquery(planning, target, sub, 0, InvalidOid);
	sublink->subselect = (Node *)herd_select_moved(move, sub);
	*moves = lappend(*moves, move);
	return true;
}

bool herd_bring_tables(Query *query, const HerdTable *target, HerdPlanning *planning, List **moves)
{
	Bring b = { .query = query, .target = target, .planning = planning, .moves = moves };
	ListCell *lc;

	if (query->commandType != CMD_SELECT || query->rowMarks != NIL || query->hasModifyingCTE ||
	    herd_rights_read(query))
		return false;
	foreach (lc, query->cteList)
		if (!herd_bring_tables(castNode(Query, ((CommonTableExpr *)lfirst(lc))->ctequery),
				       target, planning, moves))
			return false;
	if (!bring_items(&b, (Node *)query->jointree) || !bring_items(&b, query->setOperations))
		return false;
	return herd_bring_sublinks(query, target, planning, moves);
}

static bool bring_laterals(Bring *b, Node *jtnode)
{
	ListCell *lc;

	if (IsA(jtnode, RangeTblRef)) {
		int varno = ((RangeTblRef *)jtnode)->rtindex;
		RangeTblEntry *rte = rt_fetch(varno, b->query->rtable);

		if (rte->rtekind != RTE_SUBQUERY || !rte->lateral)
			return true;
		return herd_bring_tables(rte->subquery, b->target, b->planning, b->moves);
	}
	if (IsA(jtnode, JoinExpr))
		return bring_laterals(b, ((JoinExpr *)jtnode)->larg) &&
		       bring_laterals(b, ((JoinExpr *)jtnode)->rarg);
	foreach (lc, ((FromExpr *)jtnode)->fromlist)
		if (!bring_laterals(b, lfirst(lc)))
			return false;
	return true;
}

bool herd_bring_laterals(Query *query, const HerdTable *target, HerdPlanning *planning,
			 List **moves)
{
	Bring b = { .query = query, .target = target, .planning = planning, .moves = moves };

	return bring_laterals(&b, (Node *)query->jointree);
}

/* -- WITH -------------------------------------------------------------------------------------- */

typedef struct Replace {
	const char *name;
	Index depth;
	const HerdMove *move;
	List *columns;
} Replace;

static bool replace_walker(Node *node, void *context)
{
	Replace *cxt = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry)) {
		RangeTblEntry *rte = (RangeTblEntry *)node;

		if (rte->rtekind == RTE_CTE && rte->ctelevelsup == cxt->depth &&
		    strcmp(rte->ctename, cxt->name) == 0)
			*rte = *herd_move_rte(cxt->move, rte, cxt->columns);
		return false;
	}
	if (IsA(node, Query)) {
		cxt->depth++;
		query_tree_walker((Query *)node, replace_walker, context, QTW_EXAMINE_RTES_BEFORE);
		cxt->depth--;
		return false;
	}
	return expression_tree_walker(node, replace_walker, context);
}

Query *herd_select_cte(const Query *query, const CommonTableExpr *cte)
{
	Query *select = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell *name, *type, *typmod, *collation;

	rte->rtekind = RTE_CTE;
	rte->ctename = pstrdup(cte->ctename);
	rte->coltypes = copyObject(cte->ctecoltypes);
	rte->coltypmods = copyObject(cte->ctecoltypmods);
	rte->colcollations = copyObject(cte->ctecolcollations);
	rte->eref = makeAlias(cte->ctename, copyObject(cte->ctecolnames));
	rte->inFromCl = true;
	ref->rtindex = 1;
	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->cteList = copyObject(query->cteList);
	select->hasRecursive = query->hasRecursive;
	select->rtable = list_make1(rte);
	select->jointree = makeFromExpr(list_make1(ref), NULL);
	forfour(name, cte->ctecolnames, type, cte->ctecoltypes, typmod, cte->ctecoltypmods,
		collation, cte->ctecolcollations)
	{
		int pos = list_length(select->targetList) + 1;
		Var *var = makeVar(1, pos, lfirst_oid(type), lfirst_int(typmod),
				   lfirst_oid(collation), 0);

		select->targetList = lappend(
			select->targetList,
			makeTargetEntry((Expr *)var, pos, pstrdup(strVal(lfirst(name))), false));
	}
	return select;
}

bool herd_bring_ctes(Query *query, const HerdTable *target, HerdPlanning *planning, List **moves)
{
	bool several = list_length(query->cteList) > 1;
	ListCell *lc;

	if (query->hasModifyingCTE)
		return false;
	foreach (lc, query->cteList) {
		CommonTableExpr *cte = lfirst(lc);
		Replace cxt = { .name = cte->ctename };
		Query *select = herd_select_cte(query, cte);
		HerdMove *move;

		/* one that others of them read is run again for each */
		if (herd_rights_read(castNode(Query, cte->ctequery)) ||
		    (several && contain_volatile_functions(cte->ctequery)) ||
		    castNode(Query, cte->ctequery)->rowMarks != NIL ||
		    !herd_columns_can_travel(select->targetList, false))
			return false;
		move = herd_move_subquery(planning, target, select, 0, InvalidOid);
		*moves = lappend(*moves, move);
		cxt.move = move;
		cxt.columns = select->targetList;
		query_tree_walker(query, replace_walker, &cxt,
				  QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_CTE_SUBQUERIES);
	}
	query->cteList = NIL;
	query->hasRecursive = false;
	return true;
}

typedef struct Adopt {
	int depth;
	bool found;
} Adopt;

static bool adopt_walker(Node *node, void *context)
{
	Adopt *cxt = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry)) {
		RangeTblEntry *rte = (RangeTblEntry *)node;

		if (rte->rtekind == RTE_CTE && (int)rte->ctelevelsup == cxt->depth + 1) {
			rte->ctelevelsup--;
			cxt->found = true;
		}
		return false;
	}
	if (IsA(node, Query)) {
		cxt->depth++;
		query_tree_walker((Query *)node, adopt_walker, context, QTW_EXAMINE_RTES_BEFORE);
		cxt->depth--;
		return false;
	}
	return expression_tree_walker(node, adopt_walker, context);
}

bool herd_adopt_ctes(Query *query)
{
	ListCell *lc;

	if (query->cteList == NIL)
		return true;
	if (query->hasModifyingCTE || contain_volatile_functions((Node *)query->cteList))
		return false;
	foreach (lc, herd_sublinks_of_query(query)) {
		Query *sub = castNode(Query, ((HerdSublink *)lfirst(lc))->sublink->subselect);
		Adopt cxt = { 0 };

		query_tree_walker(sub, adopt_walker, &cxt, QTW_EXAMINE_RTES_BEFORE);
		if (!cxt.found)
			continue;
		if (sub->cteList != NIL)
			return false;
		sub->cteList = copyObject(query->cteList);
		sub->hasRecursive = query->hasRecursive;
	}
	return true;
}

bool herd_insert_asks(const Query *insert)
{
	return contain_subplans((Node *)insert->returningList) ||
	       contain_subplans((Node *)insert->onConflict);
}

bool herd_bring_sublinks(Query *query, const HerdTable *target, HerdPlanning *planning,
			 List **moves)
{
	ListCell *lc;

	foreach (lc, herd_sublinks_of_query(query)) {
		SubLink *sublink = ((HerdSublink *)lfirst(lc))->sublink;
		Query *sub = castNode(Query, sublink->subselect);

		if (!(is_everywhere(sub) && !herd_volatile((Node *)sub)) &&
		    !herd_bring_sublink(sublink, target, planning, moves))
			return false;
	}
	return true;
}

/* -- targets without a distribution column ----------------------------------------------------- */

HerdRemote *herd_write_brought(const Query *original, HerdPlanning *planning)
{
	Query *query = copyObject((Query *)original);
	const HerdTable *table =
		herd_table_get(rt_fetch(query->resultRelation, query->rtable)->relid);
	Bring b = { .query = query, .target = table, .planning = planning };
	int before = list_length(planning->moves);
	HerdRemote *remote = NULL;
	List *moves = NIL;
	bool ok;

	if (!herd_enable_moves || herd_rights_read(query) || table->kind == HERD_TABLE_HASH ||
	    query->rowMarks != NIL || query->setOperations != NULL)
		return NULL;
	b.moves = &moves;
	herd_inline_ctes(query);
	ok = herd_bring_ctes(query, table, planning, &moves) &&
	     bring_items(&b, (Node *)query->jointree) &&
	     herd_bring_sublinks(query, table, planning, &moves);
	if (ok && moves != NIL)
		remote = herd_route(query, planning->bound, &planning->needs_params);
	if (remote != NULL)
		herd_moves_attach(remote, moves);
	else
		planning->moves = list_truncate(planning->moves, before);
	return remote;
}
