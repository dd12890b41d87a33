/*
 * plan/hub_move.c - how an item of FROM, or a subquery, becomes a move.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "move/move.h"
#include "plan/bring.h"
#include "plan/hub.h"
#include "plan/leaves.h"
#include "plan/part.h"
#include "plan/rewrite.h"
#include "plan/route.h"

const HerdMove *herd_planning_move(int number)
{
	ListCell *lc;

	foreach (lc, herd_planning_current->moves)
		if (((HerdMove *)lfirst(lc))->number == number)
			return lfirst(lc);
	elog(ERROR, "no move has the number %d", number);
	return NULL;
}

/* -- the conditions of an item alone ----------------------------------------------------------- */

static bool below(Node *jtnode, int varno)
{
	ListCell *lc;

	if (IsA(jtnode, RangeTblRef))
		return ((RangeTblRef *)jtnode)->rtindex == varno;
	if (IsA(jtnode, JoinExpr))
		return below(((JoinExpr *)jtnode)->larg, varno) ||
		       below(((JoinExpr *)jtnode)->rarg, varno);
	foreach (lc, ((FromExpr *)jtnode)->fromlist)
		if (below(lfirst(lc), varno))
			return true;
	return false;
}

static bool speaks_of_item(Node *clause, int varno)
{
	return herd_can_push(clause, varno) && !contain_subplans(clause);
}

/* What an OR says of the item in each of its arms; NULL: one of them says nothing of it. */
static Node *own_part_of_or(Node *clause, int varno)
{
	List *arms = NIL;
	ListCell *lc;

	if (!is_orclause(clause))
		return NULL;
	foreach (lc, ((BoolExpr *)clause)->args) {
		List *parts = NIL;
		ListCell *pl;

		foreach (pl, make_ands_implicit(lfirst(lc)))
			if (speaks_of_item(lfirst(pl), varno) &&
			    contain_vars_of_level(lfirst(pl), 0))
				parts = lappend(parts, lfirst(pl));
		if (parts == NIL)
			return NULL;
		arms = lappend(arms, make_ands_explicit(parts));
	}
	return (Node *)make_orclause(arms);
}

static void keep_own(Node *quals, int varno, List **own)
{
	ListCell *lc;

	foreach (lc, make_ands_implicit((Expr *)quals)) {
		Node *part;

		if (speaks_of_item(lfirst(lc), varno))
			*own = lappend(*own, lfirst(lc));
		else if ((part = own_part_of_or(lfirst(lc), varno)) != NULL)
			*own = lappend(*own, part);
	}
}

/* Conditions that every row of the item must meet to have an influence on the result. */
void herd_hub_own_conditions(Node *jtnode, int varno, List **own)
{
	ListCell *lc;

	if (IsA(jtnode, FromExpr)) {
		keep_own(((FromExpr *)jtnode)->quals, varno, own);
		foreach (lc, ((FromExpr *)jtnode)->fromlist)
			if (below(lfirst(lc), varno))
				herd_hub_own_conditions(lfirst(lc), varno, own);
	} else if (IsA(jtnode, JoinExpr)) {
		JoinExpr *join = (JoinExpr *)jtnode;
		bool left = below(join->larg, varno);
		bool nullable = join->jointype == JOIN_FULL ||
				join->jointype == (left ? JOIN_RIGHT : JOIN_LEFT);
		bool preserved = join->jointype == JOIN_FULL ||
				 join->jointype == (left ? JOIN_LEFT : JOIN_RIGHT);

		/* what stands above is asked of the null rows too */
		if (nullable)
			*own = NIL;
		if (!preserved)
			keep_own(join->quals, varno, own);
		herd_hub_own_conditions(left ? join->larg : join->rarg, varno, own);
	}
}

Oid herd_hub_column_type(Query *query, int varno, AttrNumber attno)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);

	if (rte->rtekind == RTE_RELATION)
		return get_atttype(rte->relid, attno);
	return exprType((Node *)get_tle_by_resno(rte->subquery->targetList, attno)->expr);
}

/* -- moving ------------------------------------------------------------------------------------ */

typedef struct Needed {
	Query *query;
	int varno;
	int depth;
	List *skip; /* conditions not to look into */
	Bitmapset *attnos;
	bool failed; /* a whole row, or a system column */
} Needed;

static bool needed_walker(Node *node, void *context)
{
	Needed *cxt = context;

	if (node == NULL || list_member_ptr(cxt->skip, node))
		return false;
	if (IsA(node, Var)) {
		Var *var = (Var *)node;
		RangeTblEntry *rte;

		if (var->varlevelsup != (Index)cxt->depth)
			return false;
		rte = rt_fetch(var->varno, cxt->query->rtable);
		if (rte->rtekind == RTE_JOIN && var->varattno > 0) {
			int depth = cxt->depth;

			cxt->depth = 0;
			needed_walker(list_nth(rte->joinaliasvars, var->varattno - 1), cxt);
			cxt->depth = depth;
		} else if (rte->rtekind == RTE_JOIN) {
			cxt->failed = true;
		} else if (var->varno == cxt->varno) {
			cxt->failed = cxt->failed || var->varattno <= 0;
			if (var->varattno > 0)
				cxt->attnos = bms_add_member(cxt->attnos, var->varattno);
		}
		return false;
	}
	if (IsA(node, Query)) {
		cxt->depth++;
		query_tree_walker((Query *)node, needed_walker, cxt, 0);
		cxt->depth--;
		return false;
	}
	return expression_tree_walker(node, needed_walker, context);
}

List *herd_hub_columns(Query *query, int varno, List *done)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	Needed needed = { .query = query, .varno = varno, .skip = done };
	List *tlist = NIL;
	ListCell *lc;

	query_tree_walker(query, needed_walker, &needed, QTW_IGNORE_JOINALIASES);
	if (needed.failed)
		return NIL;
	if (rte->rtekind == RTE_SUBQUERY) {
		foreach (lc, rte->subquery->targetList)
			if (!((TargetEntry *)lfirst(lc))->resjunk)
				tlist = lappend(tlist, lfirst(lc));
		return tlist;
	}
	for (int i = 1; i <= list_length(rte->eref->colnames); i++) {
		Oid type = get_atttype(rte->relid, i), collation = InvalidOid;
		int32 typmod = -1;
		Expr *expr;

		if (OidIsValid(type))
			get_atttypetypmodcoll(rte->relid, i, &type, &typmod, &collation);
		if (OidIsValid(type) && bms_is_member(i, needed.attnos))
			expr = (Expr *)makeVar(varno, i, type, typmod, collation, 0);
		else
			expr = (Expr *)makeNullConst(OidIsValid(type) ? type : INT4OID, typmod,
						     collation);
		tlist = lappend(tlist, makeTargetEntry(expr, i, psprintf("c%d", i), false));
	}
	return tlist;
}

/*
 * Those of the item's own conditions that need not be asked again where its rows go: asked twice
 * they would also count twice for the estimates there. What a column of a join is compared with
 * stays, as it may say the shard of the other side.
 */
static List *done_conditions(Query *query, int varno, List *own)
{
	Needed joins = { .query = query, .varno = varno, .skip = own };
	List *done = NIL;
	ListCell *lc;

	needed_walker((Node *)query->jointree, &joins);
	foreach (lc, own) {
		Needed needed = { .query = query, .varno = varno };

		needed_walker(lfirst(lc), &needed);
		if (!joins.failed && !needed.failed && !bms_overlap(needed.attnos, joins.attnos))
			done = lappend(done, lfirst(lc));
	}
	return done;
}

static Node *without(Node *quals, List *done)
{
	List *left = NIL;
	ListCell *lc;

	foreach (lc, make_ands_implicit((Expr *)quals))
		if (!list_member_ptr(done, lfirst(lc)))
			left = lappend(left, lfirst(lc));
	return left != NIL ? (Node *)make_ands_explicit(left) : NULL;
}

static void drop_conditions(Node *jtnode, List *done)
{
	ListCell *lc;

	if (IsA(jtnode, FromExpr)) {
		((FromExpr *)jtnode)->quals = without(((FromExpr *)jtnode)->quals, done);
		foreach (lc, ((FromExpr *)jtnode)->fromlist)
			drop_conditions(lfirst(lc), done);
	} else if (IsA(jtnode, JoinExpr)) {
		JoinExpr *join = (JoinExpr *)jtnode;

		/* a join without a condition is printed as another one */
		if (without(join->quals, done) != NULL)
			join->quals = without(join->quals, done);
		drop_conditions(join->larg, done);
		drop_conditions(join->rarg, done);
	}
}

/* SELECT of columns of a relation of this node. */
Query *herd_hub_select_local(Query *query, int varno, List *tlist, List *own)
{
	Query *select = herd_select_from(query, varno);

	select->targetList = copyObject(tlist);
	select->jointree->quals = copyObject((Node *)make_ands_explicit(own));
	ChangeVarNodes((Node *)select->targetList, varno, 1, 0);
	ChangeVarNodes((Node *)select->jointree->quals, varno, 1, 0);
	return select;
}

PlannedStmt *herd_hub_plan_alone(Query *query, const HerdPlanning *planning)
{
	return planner(copyObject(query), "", 0, planning->bound);
}

/* How the rows come to be: by shards, or here. */
static bool set_source(HerdMove *move, Query *query, const HerdHubItem *item, List *tlist,
		       List *own, const HerdPlanning *planning)
{
	RangeTblEntry *rte = rt_fetch(item->varno, query->rtable);

	if (rte->rtekind == RTE_SUBQUERY && item->table == NULL) {
		move->local = herd_hub_plan_alone(rte->subquery, planning);
		return true;
	}
	if (rte->rtekind == RTE_SUBQUERY)
		move->producer = herd_tier1_read(rte->subquery);
	if (rte->rtekind == RTE_RELATION && item->table == NULL)
		move->local = herd_hub_plan_alone(
			herd_hub_select_local(query, item->varno, tlist, own), planning);
	else if (rte->rtekind == RTE_RELATION)
		move->producer =
			herd_read_table(copyObject(rte), item->varno, tlist, own, NULL, NIL);
	return move->local != NULL || (move->producer != NULL && !move->producer->in_txn);
}

HerdMove *herd_hub_new_move(HerdPlanning *planning, const HerdTable *target, const char *name)
{
	HerdMove *move = palloc0(sizeof(HerdMove));

	move->number = list_length(planning->moves) + 1;
	move->target = target->relid;
	move->hash = "";
	move->name = pstrdup(name);
	planning->moves = lappend(planning->moves, move);
	return move;
}

HerdMove *herd_hub_move_item(Query *query, const HerdHubChoice *choice, int i,
			     const HerdHubItem *item, HerdPlanning *planning)
{
	RangeTblEntry *rte = rt_fetch(item->varno, query->rtable);
	List *own = NIL, *done = NIL, *tlist;
	HerdMove *move;

	if (rte->rtekind == RTE_RELATION) {
		herd_hub_own_conditions((Node *)query->jointree, item->varno, &own);
		done = done_conditions(query, item->varno, own);
	}
	tlist = herd_hub_columns(query, item->varno, done);
	if (tlist == NIL || !herd_columns_can_travel(tlist, false))
		return NULL;
	move = herd_hub_new_move(planning, choice->target, rte->eref->aliasname);
	if (!set_source(move, query, item, tlist, own, planning))
		return NULL;
	drop_conditions((Node *)query->jointree, done);
	if (choice->fates[i] == HERD_HUB_CUT) {
		Oid proc = herd_key_hash_proc(
			choice->target,
			herd_hub_column_type(query, item->varno, choice->columns[i]));

		move->key = choice->columns[i];
		move->hash = format_procedure_qualified(proc);
	}
	lfirst(list_nth_cell(query->rtable, item->varno - 1)) = herd_move_rte(move, rte, tlist);
	return move;
}

HerdMove *herd_send_item(Query *query, int varno, const HerdTable *target, HerdPlanning *planning)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	HerdHubItem item = { .varno = varno };
	HerdHubChoice choice = { .target = target, .fates = { HERD_HUB_SENT } };

	if (rte->rtekind == RTE_RELATION)
		item.table = herd_table_get(rte->relid);
	if (item.table != NULL && item.table->kind == HERD_TABLE_LOCAL)
		item.table = NULL;
	return herd_hub_move_item(query, &choice, 0, &item, planning);
}

Query *herd_select_moved(const HerdMove *move, Query *sub)
{
	Query *select = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	RangeTblEntry like = { .type = T_RangeTblEntry, .eref = makeAlias("subquery", NIL) };
	List *columns = NIL;
	ListCell *lc;

	foreach (lc, sub->targetList)
		if (!((TargetEntry *)lfirst(lc))->resjunk)
			columns = lappend(columns, lfirst(lc));
	ref->rtindex = 1;
	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->rtable = list_make1(herd_move_rte(move, &like, columns));
	select->jointree = makeFromExpr(list_make1(ref), NULL);
	foreach (lc, columns) {
		TargetEntry *tle = lfirst(lc);
		Node *expr = (Node *)tle->expr;
		int pos = list_length(select->targetList) + 1;
		Var *var =
			makeVar(1, pos, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);

		select->targetList = lappend(
			select->targetList, makeTargetEntry((Expr *)var, pos, tle->resname, false));
	}
	return select;
}

bool herd_make_sendable(SubLink *sublink, Query *sub)
{
	ListCell *lc;

	if (sublink->subLinkType == EXISTS_SUBLINK && sub->limitCount == NULL &&
	    sub->rowMarks == NIL && sub->commandType == CMD_SELECT)
		sub->limitCount = (Node *)makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
						    Int64GetDatum(1), false, true);
	foreach (lc, sub->targetList)
		if (!((TargetEntry *)lfirst(lc))->resjunk)
			return true;
	if (sub->targetList != NIL || sub->setOperations != NULL)
		return false;
	sub->targetList = list_make1(
		makeTargetEntry((Expr *)makeBoolConst(true, false), 1, pstrdup("exists"), false));
	return true;
}

/*
 * Subqueries in WHERE that shards cannot answer are answered before; those of a write, wherever
 * they stand, also by the shards over what is brought to them.
 */
bool herd_hub_move_sublinks(Query *query, const HerdHubChoice *choice, HerdPlanning *planning,
			    List **moves)
{
	HerdLevel level = { .query = query };
	List *facts = herd_facts_of_query(&level, NIL);
	HerdPart part = herd_part_from(&level, (Node *)query->jointree, facts);
	bool writes = query->commandType != CMD_SELECT;
	ListCell *lc;

	if (part.kind != HERD_PART_SHARDED)
		return false;
	foreach (lc, herd_part_bad_sublinks(&level, &part, facts,
					    writes ? NULL : (Node *)query->jointree)) {
		SubLink *sublink = ((HerdSublink *)lfirst(lc))->sublink;
		Query *sub = castNode(Query, sublink->subselect);
		HerdMove *move;

		if (writes && herd_bring_sublink(sublink, choice->target, planning, moves))
			continue;
		if (writes || !herd_stands_alone(sub) || !herd_make_sendable(sublink, sub))
			return false;
		move = herd_hub_new_move(planning, choice->target, "subquery");
		move->local = herd_hub_plan_alone(sub, planning);
		sublink->subselect = (Node *)herd_select_moved(move, sub);
		*moves = lappend(*moves, move);
	}
	return true;
}

void herd_moves_attach(HerdRemote *remote, List *moves)
{
	ListCell *lc;

	foreach (lc, moves) {
		HerdMove *move = lfirst(lc);

		if (move->producer == NULL)
			continue;
		move->first_eval = list_length(remote->evals);
		move->nevals = list_length(move->producer->evals);
		remote->evals = list_concat(remote->evals, move->producer->evals);
	}
	remote->moves = moves;
	remote->volatile_evals =
		remote->volatile_evals || contain_volatile_functions((Node *)remote->evals);
}

HerdMove *herd_move_subquery(HerdPlanning *planning, const HerdTable *target, Query *sub, int key,
			     Oid hash)
{
	HerdMove *move;

	if (herd_rights_read(sub))
		ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("rows that are read with the rights of a view's owner cannot be "
				"moved to the shards of table \"%s\"",
				get_rel_name(target->relid)),
			 errhint("Put them into a table before, or create the view with "
				 "security_invoker.")));
	move = herd_hub_new_move(planning, target, key ? "source" : "subquery");
	move->producer = herd_tier1_read(sub);
	if (move->producer != NULL && move->producer->in_txn)
		move->producer = NULL;
	if (move->producer == NULL)
		move->local = herd_hub_plan_alone(sub, planning);
	move->key = key;
	if (key)
		move->hash = format_procedure_qualified(hash);
	return move;
}

HerdMove *herd_move_columns(HerdPlanning *planning, const HerdTable *target, Query *sub, Oid hash)
{
	HerdRemote *producer = herd_tier1_read(sub);
	HerdMove *move;

	if (producer == NULL || producer->in_txn)
		return NULL;
	move = herd_hub_new_move(planning, target, "groups");
	move->producer = producer;
	move->key = 1;
	move->hash = format_procedure_qualified(hash);
	return move;
}
