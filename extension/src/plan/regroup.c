/*
 * plan/regroup.c - many groups off the key: the rows move to where their groups are.
 *
 * A query that groups (or counts DISTINCT values, or has windows) by something else than the
 * distribution column can be answered by groups of each shard that are combined here. When there
 * are almost as many of them as rows, that is all of the work once more, on one node. Then the
 * rows, with the columns that are needed, are cut by one of the grouping expressions and moved from
 * worker to worker: a group is in one part, and shards (of moved rows) answer the query as if that
 * were its distribution column. This is done for the query and for subqueries in its FROM.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/typcache.h"

#include "exec/internal.h"
#include "guc.h"
#include "move/move.h"
#include "plan/leaves.h"
#include "plan/part.h"
#include "plan/rewrite.h"
#include "plan/route.h"
#include "stats/stats.h"

enum {
	LEAST_ROWS = 100000,  /* fewer are combined here before moves have begun */
	SHARE_OF_ROWS = 4,    /* groups to combine for each so many rows, to make it worth it */
	VALUES_PER_SHARD = 8, /* of the expression that cuts, so that parts are even */
	TASKS_PER_NODE = 2    /* that group by themselves: about */
};

/* A query whose FROM is to be moved. */
typedef struct Block {
	Query *query;
	const HerdTable *table;
	Oid hash;
} Block;

typedef struct Search {
	HerdPlanning *planning;
	List *blocks; /* of Block */
} Search;

typedef struct Grouping {
	Query *query;
	HerdLevel level;
	List *facts;
	HerdPart part;
	List *exprs; /* rows may be cut by one of them */
	bool ships;  /* all rows would come here */
} Grouping;

/* -- by what ----------------------------------------------------------------------------------- */

static bool aggregates_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
		*(List **)context = lappend(*(List **)context, node);
	return expression_tree_walker(node, aggregates_walker, context);
}

static List *aggregates_of(Query *query)
{
	List *aggs = NIL;

	(void)aggregates_walker((Node *)query->targetList, &aggs);
	(void)aggregates_walker(query->havingQual, &aggs);
	return aggs;
}

static bool counts_distinct(const Aggref *agg)
{
	return agg->aggdistinct != NIL && agg->aggfnoid < FirstNormalObjectId &&
	       agg->agglevelsup == 0 && list_length(agg->args) == 1 &&
	       strcmp(get_func_name(agg->aggfnoid), "count") == 0;
}

/*
 * The one expression of all DISTINCT aggregates, if they count it; NULL also if it is the key,
 * which shards count. *others: there are others.
 */
static Node *counted_expression(const Grouping *g, List *aggs, bool *others)
{
	Node *found = NULL;
	ListCell *lc;

	*others = false;
	foreach (lc, aggs) {
		Aggref *agg = lfirst(lc);
		Node *expr;

		if (agg->aggdistinct == NIL)
			continue;
		expr = counts_distinct(agg) ? (Node *)linitial_node(TargetEntry, agg->args)->expr
					    : NULL;
		if (expr == NULL || (found != NULL && !equal(found, expr)))
			*others = true;
		else
			found = expr;
	}
	if (found != NULL && !*others && herd_part_is_key(&g->level, &g->part, g->facts, found))
		return NULL;
	return found;
}

static List *expressions_of(List *clauses, Query *query)
{
	return get_sortgrouplist_exprs(clauses, query->targetList);
}

/* Equal values are in one part, whatever node they come from. */
static bool can_cut(Node *expr, const HerdTable *table, Oid *hash)
{
	Oid type = exprType(expr);

	if (!contain_var_clause(expr) || contain_vars_of_level(expr, 1) || herd_volatile(expr) ||
	    contain_subplans(expr) || contain_agg_clause(expr) || contain_window_function(expr) ||
	    herd_expr_stays_here(expr) || !herd_type_is_portable(getBaseType(type)))
		return false;
	*hash = herd_key_hash_proc(table, type);
	if (!OidIsValid(*hash))
		*hash = lookup_type_cache(getBaseType(type), TYPECACHE_HASH_PROC)->hash_proc;
	return OidIsValid(*hash);
}

/* Rows with equal values of any of the expressions in the list must not be torn apart. */
static void intersect(List **exprs, bool *any, List *with)
{
	*exprs = *any ? list_intersection(*exprs, with) : with;
	*any = true;
}

static bool has_key(const Grouping *g, List *clauses)
{
	return herd_part_has_key(&g->level, &g->part, g->facts, clauses);
}

static bool windows_have_key(const Grouping *g)
{
	ListCell *lc;

	foreach (lc, g->query->windowClause)
		if (!has_key(g, ((WindowClause *)lfirst(lc))->partitionClause))
			return false;
	return true;
}

/*
 * Fills in what the query groups by. False: it does not, or there is nothing to gain. whole: its
 * answer must be complete in each shard; the query around it says nothing about that.
 */
static bool find_grouping(Grouping *g, bool whole)
{
	Query *query = g->query;
	List *aggs = aggregates_of(query);
	bool any = false, others;
	Node *counted = counted_expression(g, aggs, &others);
	ListCell *lc;

	if (query->groupingSets != NIL || query->hasTargetSRFs || query->constraintDeps != NIL)
		return false;
	if (query->hasAggs || query->groupClause != NIL || query->havingQual != NULL) {
		if (has_key(g, query->groupClause))
			return false;
		any = true;
		g->exprs = expressions_of(query->groupClause, query);
		foreach (lc, aggs)
			g->ships = g->ships || (((Aggref *)lfirst(lc))->aggdistinct == NIL &&
						!herd_aggregate_splits(lfirst(lc)));
		if (counted != NULL && !others && !whole && !g->ships && query->windowClause == NIL)
			g->exprs = lappend(g->exprs, counted);
	} else if (windows_have_key(g) &&
		   (query->distinctClause == NIL || has_key(g, query->distinctClause))) {
		return false;
	}
	foreach (lc, query->windowClause) {
		g->ships = g->ships || !query->hasAggs;
		intersect(&g->exprs, &any,
			  expressions_of(((WindowClause *)lfirst(lc))->partitionClause, query));
	}
	if (query->distinctClause != NIL && (whole || !any))
		intersect(&g->exprs, &any, expressions_of(query->distinctClause, query));
	return any;
}

/* -- whether ----------------------------------------------------------------------------------- */

/* For tests: everything that can be moved is. */
static bool forced(void)
{
	return herd_move_min_kb == 0;
}

static bool is_small(Query *query)
{
	HerdLevel level = { .query = query };
	HerdLeaves leaves = { 0 };
	double most = 0;
	ListCell *lc;

	herd_leaves_of_query(&level, NIL, &leaves);
	foreach (lc, leaves.leaves)
		most = Max(most, herd_estimate_table_rows(((HerdLeaf *)lfirst(lc))->table));
	return most < LEAST_ROWS;
}

static int count_groups(const HerdTable *table)
{
	List *groups = NIL;

	for (int i = 0; i < table->nshards; i++)
		if (table->shards[i].ngroups > 0)
			groups = list_append_unique_int(groups, table->shards[i].groups[0]);
	return list_length(groups);
}

/* SELECT the expressions GROUP BY all of them: as the shards would, if nothing is moved. */
static Query *grouped_by(const Query *query, List *exprs)
{
	List *tlist = NIL;
	List *groups = NIL;
	Query *result;
	ListCell *lc;

	foreach (lc, exprs) {
		int pos = list_length(tlist) + 1;
		SortGroupClause *clause = makeNode(SortGroupClause);
		TargetEntry *tle = makeTargetEntry(copyObject((Expr *)lfirst(lc)), pos,
						   psprintf("c%d", pos), false);

		get_sort_group_operators(exprType(lfirst(lc)), false, true, false, &clause->sortop,
					 &clause->eqop, NULL, &clause->hashable);
		clause->tleSortGroupRef = tle->ressortgroupref = pos;
		groups = lappend(groups, clause);
		tlist = lappend(tlist, tle);
	}
	result = herd_select_columns(query, tlist);
	result->groupClause = groups;
	return result;
}

static bool worth_moving(const HerdEstimate *e, int nnodes)
{
	int tasks = TASKS_PER_NODE * nnodes;
	double combined = tasks * herd_estimate_share(e->groups, e->input, tasks);

	return combined >= LEAST_ROWS && combined * SHARE_OF_ROWS >= e->input;
}

/* The expression with the most values, if moving is cheaper than combining here. */
static Node *best_expression(const Grouping *g, const HerdPlanning *planning, Oid *hash)
{
	double most = forced() ? 0 : VALUES_PER_SHARD * g->part.table->nshards;
	List *exprs = NIL;
	Node *best = NULL;
	HerdEstimate e;
	ListCell *lc;

	foreach (lc, g->exprs)
		if (can_cut(lfirst(lc), g->part.table, hash))
			exprs = lappend(exprs, lfirst(lc));
	if (exprs == NIL)
		return NULL;
	e = herd_estimate(grouped_by(g->query, exprs), planning->bound);
	if (e.distinct == NULL)
		return NULL;
	if (!forced() &&
	    (e.input < LEAST_ROWS || (!g->ships && !worth_moving(&e, count_groups(g->part.table)))))
		return NULL;
	foreach (lc, exprs) {
		double values = e.distinct[foreach_current_index(lc)];

		if (values < most)
			continue;
		most = values;
		best = lfirst(lc);
	}
	return best != NULL && can_cut(best, g->part.table, hash) ? best : NULL;
}

/* -- how --------------------------------------------------------------------------------------- */

static RangeTblEntry *subquery_rte(Query *sub)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List *names = NIL;
	ListCell *lc;

	foreach (lc, sub->targetList)
		names = lappend(names, makeString(pstrdup(((TargetEntry *)lfirst(lc))->resname)));
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = sub;
	rte->alias = makeAlias("moved", NIL);
	rte->eref = makeAlias("moved", names);
	rte->inFromCl = true;
	return rte;
}

/* FROM and WHERE become one subquery; its first column is the expression. */
static bool wrap(Query *query, Node *expr)
{
	List *columns =
		list_make1(makeTargetEntry(copyObject((Expr *)expr), 1, pstrdup("c1"), false));
	Query *before = copyObject(query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Query *sub;

	if (!herd_pull_columns(query, &columns))
		return false;
	sub = herd_select_columns(before, columns);
	sub->hasSubLinks = checkExprHasSubLink((Node *)sub->jointree);
	ref->rtindex = 1;
	query->rtable = list_make1(subquery_rte(sub));
#if PG_VERSION_NUM >= 160000
	query->rteperminfos = NIL;
#endif
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	query->hasSubLinks = checkExprHasSubLink((Node *)query->targetList) ||
			     checkExprHasSubLink(query->havingQual);
	return true;
}

static bool find_blocks(Query *query, Search *s, bool whole);

static bool find_below(Query *query, Node *jtnode, Search *s)
{
	ListCell *lc;

	if (IsA(jtnode, RangeTblRef)) {
		RangeTblEntry *rte = rt_fetch(((RangeTblRef *)jtnode)->rtindex, query->rtable);

		return rte->rtekind != RTE_SUBQUERY ||
		       (!rte->lateral && find_blocks(rte->subquery, s, true));
	}
	if (IsA(jtnode, JoinExpr))
		return find_below(query, ((JoinExpr *)jtnode)->larg, s) &&
		       find_below(query, ((JoinExpr *)jtnode)->rarg, s);
	foreach (lc, ((FromExpr *)jtnode)->fromlist)
		if (!find_below(query, lfirst(lc), s))
			return false;
	return true;
}

/* False: something in it cannot be answered by shards whatever is moved, or need not. */
static bool find_blocks(Query *query, Search *s, bool whole)
{
	Grouping g = { .query = query, .level = { .query = query } };
	Block *block;
	Node *expr;
	Oid hash;

	if (query->commandType != CMD_SELECT || query->cteList != NIL || query->rowMarks != NIL ||
	    query->setOperations != NULL || (whole && query->limitCount != NULL) ||
	    herd_volatile((Node *)query->jointree))
		return false;
	g.facts = herd_facts_of_query(&g.level, NIL);
	g.part = herd_part_from(&g.level, (Node *)query->jointree, g.facts);
	if (g.part.kind == HERD_PART_NONE)
		return find_below(query, (Node *)query->jointree, s);
	if (g.part.kind == HERD_PART_RECURRING || !find_grouping(&g, whole))
		return true;
	if ((!forced() && is_small(query)) ||
	    (expr = best_expression(&g, s->planning, &hash)) == NULL || !wrap(query, expr))
		return false;
	block = palloc(sizeof(Block));
	*block = (Block){ .query = query, .table = g.part.table, .hash = hash };
	s->blocks = lappend(s->blocks, block);
	return true;
}

static bool move_blocks(const Search *s, List **moves)
{
	const HerdTable *target = ((Block *)linitial(s->blocks))->table;
	ListCell *lc;

	foreach (lc, s->blocks) {
		const Block *block = lfirst(lc);
		RangeTblEntry *rte = linitial(block->query->rtable);
		HerdMove *move = herd_move_columns(s->planning, target, rte->subquery, block->hash);

		if (move == NULL)
			return false;
		move->groups = true;
		*moves = lappend(*moves, move);
		linitial(block->query->rtable) =
			herd_move_rte(move, rte, rte->subquery->targetList);
	}
	return true;
}

bool herd_rewrite_regrouped(Query *query, HerdPlanning *planning)
{
	Search s = { .planning = planning };
	int before = list_length(planning->moves);
	const Query *outer = planning->original;
	List *moves = NIL;
	Query *copy;
	bool ok;

	if (!herd_enable_moves || herd_rights_read(query) || (!forced() && is_small(query)))
		return false;
	copy = copyObject(query);
	if (!find_blocks(copy, &s, false) || s.blocks == NIL)
		return false;
	/* the same query, with what is moved still in it */
	planning->original = copyObject(copy);
	ok = move_blocks(&s, &moves) && herd_rewrite_tier1(copy, planning);
	planning->original = outer;
	if (ok) {
		herd_moves_attach(((HerdRows *)llast(planning->rows))->remote, moves);
		*query = *copy;
	} else {
		planning->moves = list_truncate(planning->moves, before);
	}
	return ok;
}
