/*
 * plan/hub.c - joins of tables that do not meet in their shards: which rows are moved where.
 *
 * A hub is a column of the join. Items of FROM that have an equal column are cut by it (those whose
 * distribution column it is, and that are co-located, stay where they are), the others are sent to
 * every node. The hub that moves the fewest bytes wins, if shards can answer the query then: the
 * moved items take the places of the relations in a copy of the query, and tier 1 is asked again.
 * What shards cannot answer by themselves (grouped subqueries, tables of this node, subqueries in
 * WHERE that are not joined on the key) is computed here and sent to them.
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

#include "guc.h"
#include "move/move.h"
#include "plan/bring.h"
#include "plan/leaves.h"
#include "plan/part.h"
#include "plan/rewrite.h"
#include "plan/route.h"
#include "stats/stats.h"

enum {
	MOST_ITEMS = 16,
	MOST_TRIES = 6,
	ROW_BYTES = 16 /* what a row costs beside its bytes */
};

/* A row that is sent to all nodes is read by every shard there; as much as this share of a move. */
#define READ_COST 0.3

typedef struct FromItem {
	int varno;
	const HerdTable *table; /* of it, or one of those in the subquery; NULL: computed here */
	List *keys;             /* of HerdTerm: its columns that are the key of its shards */
	double bytes;           /* of the tables */
	double moved;           /* of what would be moved, as estimated */
} FromItem;

typedef enum Fate { STAYS, CUT, SENT } Fate;

typedef struct Choice {
	double cost;
	const HerdTable *target;
	Fate fates[MOST_ITEMS];
	AttrNumber columns[MOST_ITEMS]; /* of CUT */
} Choice;

typedef struct Search {
	Query *query;
	HerdLevel level;
	List *facts; /* also those of outer joins: good for finding columns, not for proofs */
	FromItem items[MOST_ITEMS];
	int nitems;
	ParamListInfo bound;
	bool any_size;
	bool failed;
} Search;

const HerdMove *herd_planning_move(int number)
{
	ListCell *lc;

	foreach (lc, herd_planning_current->moves)
		if (((HerdMove *)lfirst(lc))->number == number)
			return lfirst(lc);
	elog(ERROR, "no move has the number %d", number);
	return NULL;
}

/* -- items ------------------------------------------------------------------------------------- */

static double query_bytes(Query *query)
{
	HerdLevel level = { .query = query };
	HerdLeaves leaves = { 0 };
	double bytes = 0;
	ListCell *lc;

	herd_leaves_of_query(&level, NIL, &leaves);
	foreach (lc, leaves.leaves)
		bytes += herd_table_bytes(((HerdLeaf *)lfirst(lc))->table);
	return bytes;
}

static FromItem *add_item(Search *s, int varno, const HerdTable *table)
{
	FromItem *item;

	if (s->nitems == MOST_ITEMS) {
		s->failed = true;
		return NULL;
	}
	item = &s->items[s->nitems++];
	*item = (FromItem){ .varno = varno, .table = table };
	return item;
}

static void add_key(Search *s, FromItem *item, AttrNumber attno)
{
	HerdTerm *term = palloc0(sizeof(HerdTerm));

	term->query = s->query;
	term->varno = item->varno;
	term->attno = attno;
	item->keys = lappend(item->keys, term);
}

bool herd_stands_alone(Query *query)
{
	return query->commandType == CMD_SELECT && !query->hasModifyingCTE &&
	       query->rowMarks == NIL && !herd_query_is_correlated(query) &&
	       !herd_volatile((Node *)query) && herd_columns_can_travel(query->targetList, false);
}

static void add_subquery(Search *s, int varno, RangeTblEntry *rte)
{
	HerdLevel inner = { .query = rte->subquery, .up = &s->level };
	HerdPart part = herd_part_query(&inner, NIL);
	FromItem *item;
	ListCell *lc;

	if (part.kind == HERD_PART_RECURRING || herd_part_lateral_recurs(&s->level, rte, NIL))
		return;
	if (rte->lateral || (part.kind == HERD_PART_NONE && !herd_stands_alone(rte->subquery))) {
		s->failed = true;
		return;
	}
	if (part.kind == HERD_PART_NONE) {
		item = add_item(s, varno, NULL);
		if (item != NULL)
			item->bytes = query_bytes(rte->subquery);
		return;
	}
	item = add_item(s, varno, part.table);
	if (item == NULL)
		return;
	foreach (lc, part.outputs)
		add_key(s, item, lfirst_int(lc));
	item->bytes = query_bytes(rte->subquery);
}

static void add_relation(Search *s, int varno, RangeTblEntry *rte)
{
	const HerdTable *table = herd_table_get(rte->relid);
	FromItem *item;

	if (table != NULL && table->kind == HERD_TABLE_REFERENCE)
		return;
	if (rte->tablesample != NULL || rte->securityQuals != NIL) {
		s->failed = true;
		return;
	}
	if (table != NULL && table->kind == HERD_TABLE_LOCAL)
		table = NULL;
	item = add_item(s, varno, table);
	if (item == NULL)
		return;
	item->bytes = table ? herd_table_bytes(table) : herd_local_bytes(rte->relid);
	if (table != NULL && table->kind == HERD_TABLE_HASH)
		add_key(s, item, table->keyattno);
}

static void collect_items(Search *s, Node *jtnode)
{
	ListCell *lc;

	if (IsA(jtnode, RangeTblRef)) {
		int varno = ((RangeTblRef *)jtnode)->rtindex;
		RangeTblEntry *rte = rt_fetch(varno, s->query->rtable);

		if (rte->rtekind == RTE_RELATION)
			add_relation(s, varno, rte);
		else if (rte->rtekind == RTE_SUBQUERY)
			add_subquery(s, varno, rte);
		else if (rte->rtekind != RTE_FUNCTION && rte->rtekind != RTE_VALUES)
			s->failed = true;
	} else if (IsA(jtnode, FromExpr)) {
		foreach (lc, ((FromExpr *)jtnode)->fromlist)
			collect_items(s, lfirst(lc));
	} else if (IsA(jtnode, JoinExpr)) {
		JoinExpr *join = (JoinExpr *)jtnode;

		herd_facts_of_quals(&s->level, join->quals, &s->facts);
		collect_items(s, join->larg);
		collect_items(s, join->rarg);
	}
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

static void keep_own(Node *quals, int varno, List **own)
{
	ListCell *lc;

	foreach (lc, make_ands_implicit((Expr *)quals))
		if (herd_can_push(lfirst(lc), varno) && !contain_subplans(lfirst(lc)))
			*own = lappend(*own, lfirst(lc));
}

/* Conditions that every row of the item must meet to have an influence on the result. */
static void own_conditions(Node *jtnode, int varno, List **own)
{
	ListCell *lc;

	if (IsA(jtnode, FromExpr)) {
		keep_own(((FromExpr *)jtnode)->quals, varno, own);
		foreach (lc, ((FromExpr *)jtnode)->fromlist)
			if (below(lfirst(lc), varno))
				own_conditions(lfirst(lc), varno, own);
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
		own_conditions(left ? join->larg : join->rarg, varno, own);
	}
}

static List *item_columns(Query *query, int varno);
static Query *select_local(Query *query, int varno, List *tlist, List *own);

/* -- choices ----------------------------------------------------------------------------------- */

static bool colocated(const HerdTable *a, const HerdTable *b)
{
	return a->relid == b->relid || (a->colocationid != 0 && a->colocationid == b->colocationid);
}

static bool key_is_hub(Search *s, const FromItem *item, HerdTerm hub, const HerdTable *target)
{
	ListCell *lc;

	foreach (lc, item->keys)
		if (herd_fact_connected(s->facts, *(HerdTerm *)lfirst(lc), hub, target))
			return true;
	return false;
}

/* A column of the item that equals the hub; 0: none. */
static AttrNumber column_at_hub(Search *s, const FromItem *item, HerdTerm hub,
				const HerdTable *target)
{
	ListCell *lc;

	if (hub.varno == item->varno)
		return hub.attno;
	foreach (lc, s->facts) {
		HerdFact *fact = lfirst(lc);

		for (int side = 0; side < 2; side++) {
			HerdTerm term = side ? fact->right : fact->left;

			if (term.expr == NULL && term.query == s->query &&
			    term.varno == item->varno && !fact->in_array &&
			    herd_fact_connected(s->facts, term, hub, target))
				return term.attno;
		}
	}
	return 0;
}

static Oid column_type(Query *query, int varno, AttrNumber attno)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);

	if (rte->rtekind == RTE_RELATION)
		return get_atttype(rte->relid, attno);
	return exprType((Node *)get_tle_by_resno(rte->subquery->targetList, attno)->expr);
}

static bool is_sharded(const FromItem *item)
{
	return item->table != NULL && item->table->kind == HERD_TABLE_HASH;
}

/* The largest item whose own key is the hub says where the rows go; else the largest of all. */
static const HerdTable *target_of(Search *s, HerdTerm hub)
{
	const FromItem *best = NULL;

	for (int i = 0; i < s->nitems; i++)
		if (is_sharded(&s->items[i]) &&
		    key_is_hub(s, &s->items[i], hub, s->items[i].table) &&
		    (best == NULL || s->items[i].bytes > best->bytes))
			best = &s->items[i];
	for (int i = 0; best == NULL && i < s->nitems; i++)
		if (is_sharded(&s->items[i]))
			best = &s->items[i];
	return best ? best->table : NULL;
}

/* The columns that are needed of the rows that meet the item's own conditions. */
static double moved_bytes(Search *s, const FromItem *item)
{
	RangeTblEntry *rte = rt_fetch(item->varno, s->query->rtable);
	List *needed = NIL, *own = NIL;
	HerdEstimate e;
	ListCell *lc;

	if (rte->rtekind == RTE_SUBQUERY) {
		e = herd_estimate(rte->subquery, s->bound);
	} else {
		foreach (lc, item_columns(s->query, item->varno)) {
			TargetEntry *tle = flatCopyTargetEntry(lfirst(lc));

			/* the planner wants them numbered without gaps */
			tle->resno = list_length(needed) + 1;
			if (IsA(tle->expr, Var))
				needed = lappend(needed, tle);
		}
		own_conditions((Node *)s->query->jointree, item->varno, &own);
		e = herd_estimate(select_local(s->query, item->varno, needed, own), s->bound);
	}
	return e.rows * (e.width + ROW_BYTES);
}

static bool choose(Search *s, HerdTerm hub, const HerdTable *target, int nnodes, Choice *choice)
{
	*choice = (Choice){ .target = target };
	if (target == NULL)
		return false;
	for (int i = 0; i < s->nitems; i++) {
		FromItem *item = &s->items[i];
		AttrNumber attno;

		if (is_sharded(item) && colocated(item->table, choice->target) &&
		    key_is_hub(s, item, hub, choice->target)) {
			choice->fates[i] = STAYS;
			continue;
		}
		attno = column_at_hub(s, item, hub, choice->target);
		if (attno > 0 &&
		    OidIsValid(herd_key_hash_proc(choice->target,
						  column_type(s->query, item->varno, attno)))) {
			choice->fates[i] = CUT;
			choice->columns[i] = attno;
			choice->cost += item->moved;
		} else {
			choice->fates[i] = SENT;
			choice->cost +=
				item->moved * (nnodes + READ_COST * choice->target->nshards);
		}
	}
	return true;
}

static int by_cost(const void *a, const void *b)
{
	const Choice *x = a, *y = b;

	return x->cost < y->cost ? -1 : x->cost > y->cost;
}

static bool add_choice(Search *s, HerdTerm hub, int nnodes, Choice *list, int n)
{
	if (!choose(s, hub, target_of(s, hub), nnodes, &list[n]))
		return false;
	for (int i = 0; i < n; i++)
		if (list[i].target == list[n].target &&
		    memcmp(list[i].fates, list[n].fates, sizeof(list[n].fates)) == 0 &&
		    memcmp(list[i].columns, list[n].columns, sizeof(list[n].columns)) == 0)
			return false;
	return true;
}

static Choice *all_choices(Search *s, int *n)
{
	int most = s->nitems * 4 + 2 * list_length(s->facts) + 1;
	Choice *list = palloc(most * sizeof(Choice));
	int nnodes = 0;
	ListCell *lc;

	foreach (lc, herd_nodes())
		nnodes += ((HerdNode *)lfirst(lc))->primary && ((HerdNode *)lfirst(lc))->active &&
			  ((HerdNode *)lfirst(lc))->shouldhaveshards;
	*n = 0;
	for (int i = 0; i < s->nitems; i++)
		foreach (lc, s->items[i].keys)
			if (*n < most - 1)
				*n += add_choice(s, *(HerdTerm *)lfirst(lc), nnodes, list, *n);
	foreach (lc, s->facts) {
		HerdFact *fact = lfirst(lc);

		if (fact->left.expr == NULL && fact->right.expr == NULL &&
		    fact->left.query == s->query && *n < most - 1)
			*n += add_choice(s, fact->left, nnodes, list, *n);
	}
	qsort(list, *n, sizeof(Choice), by_cost);
	return list;
}

/* -- moving ------------------------------------------------------------------------------------ */

typedef struct Needed {
	Query *query;
	int varno;
	int depth;
	Bitmapset *attnos;
	bool failed; /* a whole row, or a system column */
} Needed;

static bool needed_walker(Node *node, void *context)
{
	Needed *cxt = context;

	if (node == NULL)
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

/* Columns of the item in order; what nobody reads is null. NIL: it cannot be moved. */
static List *item_columns(Query *query, int varno)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	Needed needed = { .query = query, .varno = varno };
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

/* SELECT of columns of a relation of this node. */
static Query *select_local(Query *query, int varno, List *tlist, List *own)
{
	Query *select = herd_select_from(query, varno);

	select->targetList = copyObject(tlist);
	select->jointree->quals = copyObject((Node *)make_ands_explicit(own));
	ChangeVarNodes((Node *)select->targetList, varno, 1, 0);
	ChangeVarNodes((Node *)select->jointree->quals, varno, 1, 0);
	return select;
}

static PlannedStmt *plan_alone(Query *query, const HerdPlanning *planning)
{
	return planner(copyObject(query), "", 0, planning->bound);
}

/* How the rows come to be: by shards, or here. */
static bool set_source(HerdMove *move, Query *query, const FromItem *item, List *tlist,
		       const HerdPlanning *planning)
{
	RangeTblEntry *rte = rt_fetch(item->varno, query->rtable);
	List *own = NIL;

	if (rte->rtekind == RTE_SUBQUERY && item->table == NULL) {
		move->local = plan_alone(rte->subquery, planning);
		return true;
	}
	if (rte->rtekind == RTE_SUBQUERY)
		move->producer = herd_tier1_read(rte->subquery);
	own_conditions((Node *)query->jointree, item->varno, &own);
	if (rte->rtekind == RTE_RELATION && item->table == NULL)
		move->local = plan_alone(select_local(query, item->varno, tlist, own), planning);
	else if (rte->rtekind == RTE_RELATION)
		move->producer = herd_read_table(copyObject(rte), item->varno, tlist, own, NULL);
	return move->local != NULL || (move->producer != NULL && !move->producer->in_txn);
}

static HerdMove *new_move(HerdPlanning *planning, const HerdTable *target, const char *name)
{
	HerdMove *move = palloc0(sizeof(HerdMove));

	move->number = list_length(planning->moves) + 1;
	move->target = target->relid;
	move->hash = "";
	move->name = pstrdup(name);
	planning->moves = lappend(planning->moves, move);
	return move;
}

static HerdMove *move_item(Query *query, const Choice *choice, int i, const FromItem *item,
			   HerdPlanning *planning)
{
	RangeTblEntry *rte = rt_fetch(item->varno, query->rtable);
	List *tlist = item_columns(query, item->varno);
	HerdMove *move;

	if (tlist == NIL || !herd_columns_can_travel(tlist, false))
		return NULL;
	move = new_move(planning, choice->target, rte->eref->aliasname);
	if (!set_source(move, query, item, tlist, planning))
		return NULL;
	if (choice->fates[i] == CUT) {
		Oid proc = herd_key_hash_proc(choice->target,
					      column_type(query, item->varno, choice->columns[i]));

		move->key = choice->columns[i];
		move->hash = format_procedure_qualified(proc);
	}
	lfirst(list_nth_cell(query->rtable, item->varno - 1)) = herd_move_rte(move, rte, tlist);
	return move;
}

HerdMove *herd_send_item(Query *query, int varno, const HerdTable *target, HerdPlanning *planning)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	FromItem item = { .varno = varno };
	Choice choice = { .target = target, .fates = { SENT } };

	if (rte->rtekind == RTE_RELATION)
		item.table = herd_table_get(rte->relid);
	if (item.table != NULL && item.table->kind == HERD_TABLE_LOCAL)
		item.table = NULL;
	return move_item(query, &choice, 0, &item, planning);
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
static bool move_sublinks(Query *query, const Choice *choice, HerdPlanning *planning, List **moves)
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
		move = new_move(planning, choice->target, "subquery");
		move->local = plan_alone(sub, planning);
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
	move = new_move(planning, target, key ? "source" : "subquery");
	move->producer = herd_tier1_read(sub);
	if (move->producer != NULL && move->producer->in_txn)
		move->producer = NULL;
	if (move->producer == NULL)
		move->local = plan_alone(sub, planning);
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
	move = new_move(planning, target, "groups");
	move->producer = producer;
	move->key = 1;
	move->hash = format_procedure_qualified(hash);
	return move;
}

static bool move_all(Query *query, const Search *s, const Choice *choice, HerdPlanning *planning,
		     List **moves)
{
	for (int i = 0; i < s->nitems; i++) {
		HerdMove *move;

		if (choice->fates[i] == STAYS)
			continue;
		move = move_item(query, choice, i, &s->items[i], planning);
		if (move == NULL)
			return false;
		*moves = lappend(*moves, move);
	}
	return move_sublinks(query, choice, planning, moves) && *moves != NIL;
}

static bool try_choice(Query *query, const Search *s, const Choice *choice, HerdPlanning *planning)
{
	Query *copy = copyObject(query);
	int before = list_length(planning->moves);
	const Query *outer = planning->original;
	List *moves = NIL;
	bool ok;

	planning->original = query;
	ok = move_all(copy, s, choice, planning, &moves) && herd_rewrite_tier1(copy, planning);
	planning->original = outer;
	if (ok) {
		herd_moves_attach(((HerdRows *)llast(planning->rows))->remote, moves);
		*query = *copy;
	} else {
		planning->moves = list_truncate(planning->moves, before);
	}
	return ok;
}

/* Are the tables large enough for the round trips that moving takes? */
static bool worth_moving(Search *s)
{
	double all = 0;
	ListCell *lc;

	for (int i = 0; i < s->nitems; i++)
		all += s->items[i].bytes;
	foreach (lc, herd_sublinks_of_query(s->query))
		all += query_bytes(
			castNode(Query, ((HerdSublink *)lfirst(lc))->sublink->subselect));
	if (!s->any_size && all < herd_move_min_kb * 1024.0)
		return false;
	for (int i = 0; i < s->nitems; i++)
		s->items[i].moved = moved_bytes(s, &s->items[i]);
	return true;
}

bool herd_rewrite_moved(Query *query, HerdPlanning *planning)
{
	Search s = { .query = query, .level = { .query = query }, .bound = planning->bound };
	Choice *choices;
	int n;

	if (!herd_enable_moves || herd_rights_read(query) || query->commandType != CMD_SELECT ||
	    query->cteList != NIL || query->rowMarks != NIL || query->setOperations != NULL ||
	    herd_volatile((Node *)query->jointree))
		return false;
	s.facts = herd_facts_of_query(&s.level, NIL);
	collect_items(&s, (Node *)query->jointree);
	if (s.failed || s.nitems == 0 || (s.nitems == 1 && !query->hasSubLinks) ||
	    !worth_moving(&s))
		return false;
	choices = all_choices(&s, &n);
	for (int i = 0; i < n && i < MOST_TRIES; i++)
		if (try_choice(query, &s, &choices[i], planning))
			return true;
	return false;
}

/* -- writes ------------------------------------------------------------------------------------ */

static bool target_stays(const Search *s, const Choice *choice)
{
	for (int i = 0; i < s->nitems; i++)
		if (s->items[i].varno == s->query->resultRelation)
			return choice->fates[i] == STAYS;
	return false;
}

/* UPDATE and DELETE: what they are joined with comes to the shards of the target. */
static bool move_sources(Query *query, HerdPlanning *planning, const HerdTable *table,
			 bool any_size, List **moves)
{
	Search s = { .query = query,
		     .level = { .query = query },
		     .bound = planning->bound,
		     .any_size = any_size };
	HerdTerm key = { .query = query, .varno = query->resultRelation, .attno = table->keyattno };
	Choice choice;

	if (any_size && !(herd_bring_ctes(query, table, planning, moves) &&
			  herd_bring_laterals(query, table, planning, moves)))
		return false;
	s.facts = herd_facts_of_query(&s.level, NIL);
	collect_items(&s, (Node *)query->jointree);
	if (s.failed || !worth_moving(&s) || !choose(&s, key, table, 1, &choice) ||
	    !target_stays(&s, &choice))
		return false;
	return move_all(query, &s, &choice, planning, moves);
}

/* INSERT .. SELECT: rows that shards compute are cut along the shards of the target. */
static bool move_rows(Query *query, HerdPlanning *planning, const HerdTable *table, List **moves)
{
	RangeTblRef *ref = linitial(query->jointree->fromlist);
	TargetEntry *tle = get_tle_by_resno(query->targetList, table->keyattno);
	HerdLevel level = { .query = query };
	Search s = { .query = query, .level = level, .bound = planning->bound };
	Choice choice = { .target = table, .fates = { CUT } };
	HerdTerm term;
	HerdMove *move;

	if (!IsA(ref, RangeTblRef) ||
	    rt_fetch(ref->rtindex, query->rtable)->rtekind != RTE_SUBQUERY || tle == NULL ||
	    !herd_term_of(&level, (Node *)tle->expr, &term) || term.expr != NULL ||
	    term.varno != ref->rtindex ||
	    !OidIsValid(herd_key_hash_proc(table, column_type(query, term.varno, term.attno))))
		return false;
	collect_items(&s, (Node *)ref);
	if (s.failed || s.nitems != 1 || s.items[0].table == NULL || !worth_moving(&s))
		return false;
	choice.columns[0] = term.attno;
	move = move_item(query, &choice, 0, &s.items[0], planning);
	if (move == NULL)
		return false;
	move->null_fails = true;
	*moves = list_make1(move);
	return true;
}

/* The rows of an INSERT as a query: the columns it gives, in the order of attnums. */
static Query *rows_of_insert(const Query *insert, List **attnums)
{
	Query *select = copyObject((Query *)insert);

	*attnums = herd_insert_to_select(select);
	return select;
}

/* INSERT .. SELECT columns FROM what was moved. */
static void insert_moved(Query *insert, const HerdMove *move, List *tlist, List *attnums)
{
	RangeTblEntry like = { .type = T_RangeTblEntry, .eref = makeAlias("rows", NIL) };
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell *lc;

	if (insert->jointree->fromlist != NIL) {
		ListCell *cell;

		ref->rtindex = linitial_node(RangeTblRef, insert->jointree->fromlist)->rtindex;
		cell = list_nth_cell(insert->rtable, ref->rtindex - 1);
		lfirst(cell) = herd_move_rte(move, lfirst(cell), tlist);
	} else {
		insert->rtable = lappend(insert->rtable, herd_move_rte(move, &like, tlist));
		ref->rtindex = list_length(insert->rtable);
	}
	insert->jointree = makeFromExpr(list_make1(ref), NULL);
	insert->targetList = insert->cteList = NIL;
	insert->hasModifyingCTE = insert->hasTargetSRFs = false;
	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		Node *expr = (Node *)tle->expr;
		AttrNumber attno = list_nth_int(attnums, tle->resno - 1);
		Var *var = makeVar(ref->rtindex, tle->resno, exprType(expr), exprTypmod(expr),
				   exprCollation(expr), 0);

		insert->targetList =
			lappend(insert->targetList,
				makeTargetEntry((Expr *)var, attno, tle->resname, false));
	}
}

/* So many rows make up for the round trips. */
#define MANY_ROWS 500

static bool may_be_many(const Query *insert)
{
	RangeTblRef *ref;
	RangeTblEntry *rte;

	if (list_length(insert->jointree->fromlist) != 1)
		return false;
	ref = linitial(insert->jointree->fromlist);
	if (!IsA(ref, RangeTblRef))
		return false;
	rte = rt_fetch(ref->rtindex, insert->rtable);
	return rte->rtekind != RTE_VALUES || list_length(rte->values_lists) > MANY_ROWS;
}

HerdRemote *herd_insert_moved_here(Query *original, HerdPlanning *planning)
{
	const HerdTable *table =
		herd_table_get(rt_fetch(original->resultRelation, original->rtable)->relid);
	bool updates =
		original->onConflict != NULL && original->onConflict->action == ONCONFLICT_UPDATE;
	bool asks = herd_insert_asks(original);
	List *attnums = NIL;
	int before = list_length(planning->moves);
	HerdRemote *remote = NULL;
	const char *why;
	List *moves;
	HerdMove *move;
	Query *select;
	Query *insert;
	int key;

	if (!herd_enable_moves || table->kind != HERD_TABLE_HASH ||
	    (original->onConflict == NULL && original->returningList == NIL) ||
	    (!asks && !may_be_many(original)))
		return NULL;
	select = rows_of_insert(original, &attnums);
	key = list_member_int(attnums, table->keyattno) ? 0 : -1;
	while (key >= 0 && list_nth_int(attnums, key) != table->keyattno)
		key++;
	if (key < 0 || !herd_columns_can_travel(select->targetList, false))
		return NULL;
	move = new_move(planning, table, "rows");
	move->local = plan_alone(select, planning);
	move->key = key + 1;
	move->hash = format_procedure_qualified(herd_key_hash_proc(table, table->keytype));
	move->null_fails = true;
	insert = copyObject(original);
	insert_moved(insert, move, select->targetList, attnums);
	moves = list_make1(move);
	if ((updates || asks || move->local->planTree->plan_rows > MANY_ROWS) &&
	    (!asks || herd_bring_sublinks(insert, table, planning, &moves)))
		remote = herd_tier1_write(insert, planning->bound, &why);
	if (remote != NULL)
		herd_moves_attach(remote, moves);
	else
		planning->moves = list_truncate(planning->moves, before);
	return remote;
}

HerdRemote *herd_write_moved(Query *original, HerdPlanning *planning, bool any_size)
{
	Query *query = copyObject(original);
	const HerdTable *table =
		herd_table_get(rt_fetch(query->resultRelation, query->rtable)->relid);
	int before = list_length(planning->moves);
	const char *why = NULL;
	List *moves = NIL;
	HerdRemote *remote = NULL;
	bool moved = false;

	herd_inline_ctes(query);
	if (!herd_enable_moves || herd_rights_read(query) || table->kind != HERD_TABLE_HASH ||
	    (query->cteList != NIL && (!any_size || query->commandType == CMD_INSERT)) ||
	    query->rowMarks != NIL || query->setOperations != NULL ||
	    herd_volatile((Node *)query->jointree) ||
	    (query->commandType == CMD_INSERT && herd_volatile((Node *)query)))
		return NULL;
	if (query->commandType == CMD_UPDATE || query->commandType == CMD_DELETE)
		moved = move_sources(query, planning, table, any_size, &moves);
	else if (herd_repartitioned_insert && query->commandType == CMD_INSERT &&
		 list_length(query->jointree->fromlist) == 1)
		moved = move_rows(query, planning, table, &moves);
	if (moved)
		remote = herd_tier1_write(query, planning->bound, &why);
	if (remote != NULL)
		herd_moves_attach(remote, moves);
	else
		planning->moves = list_truncate(planning->moves, before);
	return remote;
}
