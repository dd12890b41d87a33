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

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "guc.h"
#include "move/move.h"
#include "plan/bring.h"
#include "plan/hub.h"
#include "plan/leaves.h"
#include "plan/part.h"
#include "plan/rewrite.h"
#include "plan/route.h"
#include "stats/stats.h"

enum {
	MOST_TRIES = 6,
	ROW_BYTES = 16 /* what a row costs beside its bytes */
};

/* A row that is sent to all nodes is read by every shard there; as much as this share of a move. */
#define READ_COST 0.3

typedef struct Search {
	Query *query;
	HerdLevel level;
	List *facts; /* also those of outer joins: good for finding columns, not for proofs */
	HerdHubItem items[HERD_HUB_ITEMS];
	int nitems;
	ParamListInfo bound;
	bool any_size;
	bool failed;
} Search;

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

static HerdHubItem *add_item(Search *s, int varno, const HerdTable *table)
{
	HerdHubItem *item;

	if (s->nitems == HERD_HUB_ITEMS) {
		s->failed = true;
		return NULL;
	}
	item = &s->items[s->nitems++];
	*item = (HerdHubItem){ .varno = varno, .table = table };
	return item;
}

static void add_key(Search *s, HerdHubItem *item, AttrNumber attno)
{
	HerdTerm *term = palloc0(sizeof(HerdTerm));

	term->query = s->query;
	term->varno = item->varno;
	term->attno = attno;
	item->keys = lappend(item->keys, term);
}

static bool moved_walker(Node *node, void *context)
{
	int number;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return herd_move_of_rte((RangeTblEntry *)node, &number);
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, moved_walker, context,
					 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, moved_walker, context);
}

bool herd_stands_alone(Query *query)
{
	/* this node has no rows that were moved to others */
	return query->commandType == CMD_SELECT && !query->hasModifyingCTE &&
	       query->rowMarks == NIL && !herd_query_is_correlated(query) &&
	       !herd_volatile((Node *)query) && !moved_walker((Node *)query, NULL) &&
	       herd_columns_can_travel(query->targetList, false);
}

static void add_subquery(Search *s, int varno, RangeTblEntry *rte)
{
	HerdLevel inner = { .query = rte->subquery, .up = &s->level };
	HerdPart part = herd_part_query(&inner, NIL);
	HerdHubItem *item;
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
	HerdHubItem *item;

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

/* -- choices ----------------------------------------------------------------------------------- */

static bool colocated(const HerdTable *a, const HerdTable *b)
{
	return a->relid == b->relid || (a->colocationid != 0 && a->colocationid == b->colocationid);
}

static bool key_is_hub(Search *s, const HerdHubItem *item, HerdTerm hub, const HerdTable *target)
{
	ListCell *lc;

	foreach (lc, item->keys)
		if (herd_fact_connected(s->facts, *(HerdTerm *)lfirst(lc), hub, target))
			return true;
	return false;
}

/* A column of the item that equals the hub; 0: none. */
static AttrNumber column_at_hub(Search *s, const HerdHubItem *item, HerdTerm hub,
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

static bool is_sharded(const HerdHubItem *item)
{
	return item->table != NULL && item->table->kind == HERD_TABLE_HASH;
}

/* The largest item whose own key is the hub says where the rows go; else the largest of all. */
static const HerdTable *target_of(Search *s, HerdTerm hub)
{
	const HerdHubItem *best = NULL;

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
static double moved_bytes(Search *s, const HerdHubItem *item)
{
	RangeTblEntry *rte = rt_fetch(item->varno, s->query->rtable);
	List *needed = NIL, *own = NIL;
	HerdEstimate e;
	ListCell *lc;

	if (rte->rtekind == RTE_SUBQUERY) {
		e = herd_estimate(rte->subquery, s->bound);
	} else {
		foreach (lc, herd_hub_columns(s->query, item->varno, NIL)) {
			TargetEntry *tle = flatCopyTargetEntry(lfirst(lc));

			/* the planner wants them numbered without gaps */
			tle->resno = list_length(needed) + 1;
			if (IsA(tle->expr, Var))
				needed = lappend(needed, tle);
		}
		herd_hub_own_conditions((Node *)s->query->jointree, item->varno, &own);
		e = herd_estimate(herd_hub_select_local(s->query, item->varno, needed, own),
				  s->bound);
	}
	return e.rows * (e.width + ROW_BYTES);
}

static bool choose(Search *s, HerdTerm hub, const HerdTable *target, int nnodes,
		   HerdHubChoice *choice)
{
	*choice = (HerdHubChoice){ .target = target };
	if (target == NULL)
		return false;
	for (int i = 0; i < s->nitems; i++) {
		HerdHubItem *item = &s->items[i];
		AttrNumber attno;

		if (is_sharded(item) && colocated(item->table, choice->target) &&
		    key_is_hub(s, item, hub, choice->target)) {
			choice->fates[i] = HERD_HUB_STAYS;
			continue;
		}
		attno = column_at_hub(s, item, hub, choice->target);
		if (attno > 0 &&
		    OidIsValid(herd_key_hash_proc(
			    choice->target, herd_hub_column_type(s->query, item->varno, attno)))) {
			choice->fates[i] = HERD_HUB_CUT;
			choice->columns[i] = attno;
			choice->cost += item->moved;
		} else {
			choice->fates[i] = HERD_HUB_SENT;
			choice->cost +=
				item->moved * (nnodes + READ_COST * choice->target->nshards);
		}
	}
	return true;
}

static int by_cost(const void *a, const void *b)
{
	const HerdHubChoice *x = a, *y = b;

	return x->cost < y->cost ? -1 : x->cost > y->cost;
}

static bool add_choice(Search *s, HerdTerm hub, int nnodes, HerdHubChoice *list, int n)
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

static HerdHubChoice *all_choices(Search *s, int *n)
{
	int most = s->nitems * 4 + 2 * list_length(s->facts) + 1;
	HerdHubChoice *list = palloc(most * sizeof(HerdHubChoice));
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
	qsort(list, *n, sizeof(HerdHubChoice), by_cost);
	return list;
}

/* -- the query over what was moved ------------------------------------------------------------- */

static bool move_all(Query *query, const Search *s, const HerdHubChoice *choice,
		     HerdPlanning *planning, List **moves)
{
	for (int i = 0; i < s->nitems; i++) {
		HerdMove *move;

		if (choice->fates[i] == HERD_HUB_STAYS)
			continue;
		move = herd_hub_move_item(query, choice, i, &s->items[i], planning);
		if (move == NULL)
			return false;
		*moves = lappend(*moves, move);
	}
	return herd_hub_move_sublinks(query, choice, planning, moves) && *moves != NIL;
}

static bool try_choice(Query *query, const Search *s, const HerdHubChoice *choice,
		       HerdPlanning *planning)
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
	HerdHubChoice *choices;
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

static bool target_stays(const Search *s, const HerdHubChoice *choice)
{
	for (int i = 0; i < s->nitems; i++)
		if (s->items[i].varno == s->query->resultRelation)
			return choice->fates[i] == HERD_HUB_STAYS;
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
	HerdHubChoice choice;

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
	HerdHubChoice choice = { .target = table, .fates = { HERD_HUB_CUT } };
	HerdTerm term;
	HerdMove *move;

	if (!IsA(ref, RangeTblRef) ||
	    rt_fetch(ref->rtindex, query->rtable)->rtekind != RTE_SUBQUERY || tle == NULL ||
	    !herd_term_of(&level, (Node *)tle->expr, &term) || term.expr != NULL ||
	    term.varno != ref->rtindex ||
	    !OidIsValid(
		    herd_key_hash_proc(table, herd_hub_column_type(query, term.varno, term.attno))))
		return false;
	collect_items(&s, (Node *)ref);
	if (s.failed || s.nitems != 1 || s.items[0].table == NULL || !worth_moving(&s))
		return false;
	choice.columns[0] = term.attno;
	move = herd_hub_move_item(query, &choice, 0, &s.items[0], planning);
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
	insert = copyObject(original);
	if (asks && !herd_adopt_ctes(insert))
		return NULL;
	move = herd_hub_new_move(planning, table, "rows");
	move->local = herd_hub_plan_alone(select, planning);
	move->key = key + 1;
	move->hash = format_procedure_qualified(herd_key_hash_proc(table, table->keytype));
	move->null_fails = true;
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
