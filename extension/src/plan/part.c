#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"

#include "move/move.h"
#include "plan/leaves.h"
#include "plan/part.h"
#include "plan/rewrite.h"
#include "plan/steps.h"

static HerdPart part_none(const char *why)
{
	return (HerdPart){ .kind = HERD_PART_NONE, .why = why };
}

static List *add_term(List *terms, HerdTerm term)
{
	HerdTerm *copy = palloc(sizeof(HerdTerm));

	*copy = term;
	return lappend(terms, copy);
}

static bool terms_connected(List *facts, List *a, List *b, const HerdTable *table)
{
	ListCell *x;
	ListCell *y;

	foreach (x, a)
		foreach (y, b)
			if (herd_fact_connected(facts, *(HerdTerm *)lfirst(x),
						*(HerdTerm *)lfirst(y), table))
				return true;
	return false;
}

static bool parts_colocated(const HerdPart *a, const HerdPart *b)
{
	if (a->table->relid == b->table->relid)
		return true;
	return a->table->colocationid != 0 && a->table->colocationid == b->table->colocationid &&
	       a->table->nshards == b->table->nshards;
}

static HerdPart join_inner(HerdPart left, HerdPart right, List *facts)
{
	if (left.kind == HERD_PART_NONE || right.kind == HERD_PART_RECURRING)
		return left;
	if (right.kind == HERD_PART_NONE || left.kind == HERD_PART_RECURRING)
		return right;
	if (!parts_colocated(&left, &right))
		return part_none("joined tables that are not co-located");
	if (!terms_connected(facts, left.terms, right.terms, left.table))
		return part_none("tables that are not joined on their distribution columns");
	left.terms = list_concat_copy(left.terms, right.terms);
	left.solid = list_concat_copy(left.solid, right.solid);
	return left;
}

static HerdPart join_outer(HerdPart preserved, HerdPart nullable, List *facts, bool full)
{
	List *solid = preserved.solid;

	if (preserved.kind == HERD_PART_NONE)
		return preserved;
	if (nullable.kind == HERD_PART_NONE)
		return nullable;
	if (preserved.kind == HERD_PART_RECURRING && nullable.kind == HERD_PART_RECURRING)
		return preserved;
	/* each shard would preserve the recurring rows: they would be multiplied */
	if (preserved.kind == HERD_PART_RECURRING || (full && nullable.kind == HERD_PART_RECURRING))
		return part_none("an outer join that preserves rows of a reference table");
	if (nullable.kind == HERD_PART_RECURRING)
		return preserved;
	preserved = join_inner(preserved, nullable, facts);
	preserved.solid = full ? NIL : solid;
	return preserved;
}

static bool leaves_recur(const HerdLevel *level, List *facts, HerdLeaves *leaves)
{
	ListCell *lc;

	herd_leaves_of_query(level, facts, leaves);
	if (leaves->plain)
		return false;
	foreach (lc, leaves->leaves)
		if (((HerdLeaf *)lfirst(lc))->table->kind != HERD_TABLE_REFERENCE)
			return false;
	return true;
}

static bool query_is_plain_select(Query *query)
{
	return query->commandType == CMD_SELECT && query->rowMarks == NIL &&
	       query->cteList == NIL && !query->hasModifyingCTE;
}

static HerdPart part_subquery(const HerdLevel *level, int varno, Query *sub, List *facts)
{
	HerdLevel inner = { .query = sub, .up = level };
	HerdPart part = herd_part_query(&inner, herd_facts_for_subquery(facts, sub));
	ListCell *lc;

	part.terms = part.solid = NIL;
	foreach (lc, part.outputs) {
		HerdTerm term = { .query = level->query, .varno = varno, .attno = lfirst_int(lc) };

		part.terms = add_term(part.terms, term);
		part.solid = add_term(part.solid, term);
	}
	part.outputs = NIL;
	return part;
}

/* Cut along the shards of a table by one of its columns, which may be null; or whole everywhere. */
static HerdPart part_moved(const HerdLevel *level, int varno, int number)
{
	HerdPart part = { .kind = HERD_PART_RECURRING };
	const HerdMove *move = herd_planning_move(number);

	if (move->key == 0)
		return part;
	part.kind = HERD_PART_SHARDED;
	part.table = herd_table_get(move->target);
	part.terms = add_term(
		NIL, (HerdTerm){ .query = level->query, .varno = varno, .attno = move->key });
	if (move->null_fails || move->groups)
		part.solid = part.terms;
	return part;
}

bool herd_part_lateral_recurs(const HerdLevel *level, const RangeTblEntry *rte, List *facts)
{
	HerdLevel inner = { .query = rte->subquery, .up = level };
	HerdLeaves leaves = { 0 };

	return rte->lateral &&
	       (level->query->commandType == CMD_UPDATE ||
		level->query->commandType == CMD_DELETE) &&
	       query_is_plain_select(rte->subquery) && !herd_volatile((Node *)rte->subquery) &&
	       !herd_expr_stays_here((Node *)rte->subquery) && leaves_recur(&inner, facts, &leaves);
}

static HerdPart part_item(const HerdLevel *level, int varno, List *facts)
{
	RangeTblEntry *rte = rt_fetch(varno, level->query->rtable);
	HerdPart part = { .kind = HERD_PART_RECURRING };
	int move;

	switch (rte->rtekind) {
	case RTE_RELATION:
		part.table = herd_table_get(rte->relid);
		if (part.table == NULL)
			return part_none("a table that is not distributed");
		if (part.table->kind == HERD_TABLE_REFERENCE)
			return part;
		if (part.table->kind != HERD_TABLE_HASH)
			return part_none("a table without a distribution column");
		part.kind = HERD_PART_SHARDED;
		part.terms = add_term(NIL, (HerdTerm){ .query = level->query,
						       .varno = varno,
						       .attno = part.table->keyattno });
		part.solid = part.terms;
		return part;
	case RTE_SUBQUERY:
		if (herd_part_lateral_recurs(level, rte, facts))
			return part;
		return part_subquery(level, varno, rte->subquery, facts);
	case RTE_FUNCTION:
		if (herd_move_of_rte(rte, &move))
			return part_moved(level, varno, move);
		if (herd_is_held(rte))
			return part_none("rows that are kept on this node");
		if (herd_volatile((Node *)rte->functions))
			return part_none("a volatile function in FROM");
		return part;
	case RTE_VALUES:
		if (herd_volatile((Node *)rte->values_lists))
			return part_none("a volatile function in VALUES");
		return part;
	case RTE_TABLEFUNC:
		if (herd_volatile((Node *)rte->tablefunc))
			return part_none("a volatile function in FROM");
		return part;
	case RTE_RESULT:
		return part;
	default:
		return part_none("a common table expression");
	}
}

HerdPart herd_part_from(const HerdLevel *level, Node *jtnode, List *facts)
{
	HerdPart part = { .kind = HERD_PART_RECURRING };
	ListCell *lc;

	if (IsA(jtnode, RangeTblRef))
		return part_item(level, ((RangeTblRef *)jtnode)->rtindex, facts);
	if (IsA(jtnode, FromExpr)) {
		foreach (lc, ((FromExpr *)jtnode)->fromlist)
			part = join_inner(part, herd_part_from(level, lfirst(lc), facts), facts);
		return part;
	}
	if (IsA(jtnode, JoinExpr)) {
		JoinExpr *join = (JoinExpr *)jtnode;
		List *on = list_copy(facts);
		HerdPart left = herd_part_from(level, join->larg, facts);
		HerdPart right = herd_part_from(level, join->rarg, facts);

		herd_facts_of_quals(level, join->quals, &on);
		switch (join->jointype) {
		case JOIN_INNER:
			return join_inner(left, right, on);
		case JOIN_LEFT:
			return join_outer(left, right, on, false);
		case JOIN_RIGHT:
			return join_outer(right, left, on, false);
		case JOIN_FULL:
			return join_outer(left, right, on, true);
		default:
			break;
		}
	}
	return part_none("an unknown kind of join");
}

bool herd_part_is_key(const HerdLevel *level, const HerdPart *part, List *facts, Node *expr)
{
	HerdTerm term;
	ListCell *lc;

	if (!herd_term_of(level, expr, &term) || term.expr != NULL)
		return false;
	foreach (lc, part->solid)
		if (herd_fact_connected(facts, term, *(HerdTerm *)lfirst(lc), part->table))
			return true;
	return false;
}

bool herd_part_has_key(const HerdLevel *level, const HerdPart *part, List *facts, List *clauses)
{
	ListCell *lc;

	foreach (lc, clauses) {
		TargetEntry *tle = get_sortgroupclause_tle(lfirst(lc), level->query->targetList);

		if (herd_part_is_key(level, part, facts, (Node *)tle->expr))
			return true;
	}
	return false;
}

static bool sublink_ok(const HerdLevel *level, const HerdPart *part, List *facts,
		       HerdSublink *found)
{
	HerdLevel inner = { .query = castNode(Query, found->sublink->subselect), .up = level };
	HerdLeaves leaves = { 0 };
	List *inside = list_copy(facts);
	ListCell *lc;
	ListCell *tl;

	if (found->positive)
		herd_facts_of_any(level, found->sublink, &inside);
	herd_leaves_of_query(&inner, inside, &leaves);
	if (leaves.plain || inner.query->rowMarks != NIL)
		return false;
	foreach (lc, leaves.leaves) {
		HerdLeaf *leaf = lfirst(lc);
		bool tied = false;

		if (leaf->table->kind == HERD_TABLE_REFERENCE)
			continue;
		if (leaf->table->kind != HERD_TABLE_HASH || part->kind != HERD_PART_SHARDED ||
		    (leaf->table->relid != part->table->relid &&
		     (leaf->table->colocationid == 0 ||
		      leaf->table->colocationid != part->table->colocationid)))
			return false;
		foreach (tl, part->terms)
			if (herd_fact_connected(leaf->facts, leaf->key, *(HerdTerm *)lfirst(tl),
						part->table))
				tied = true;
		if (!tied)
			return false;
	}
	return !herd_volatile((Node *)inner.query);
}

static bool contains_node_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (node == context)
		return true;
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, contains_node_walker, context);
}

List *herd_part_bad_sublinks(const HerdLevel *level, const HerdPart *part, List *facts, Node *node)
{
	List *bad = NIL;
	ListCell *lc;

	foreach (lc, herd_sublinks_of_query(level->query)) {
		HerdSublink *found = lfirst(lc);

		if ((node == NULL || contains_node_walker(node, found->sublink)) &&
		    !sublink_ok(level, part, facts, found))
			bad = lappend(bad, found);
	}
	return bad;
}

bool herd_part_sublinks_ok(const HerdLevel *level, const HerdPart *part, List *facts, Node *node)
{
	return herd_part_bad_sublinks(level, part, facts, node) == NIL;
}

static HerdPart part_setop(const HerdLevel *level, Node *node, List *facts)
{
	SetOperationStmt *op;
	HerdPart left, right;

	if (IsA(node, RangeTblRef)) {
		int varno = ((RangeTblRef *)node)->rtindex;
		RangeTblEntry *rte = rt_fetch(varno, level->query->rtable);
		HerdLevel inner = { .query = rte->subquery, .up = level };

		return herd_part_query(&inner, facts);
	}
	op = castNode(SetOperationStmt, node);
	left = part_setop(level, op->larg, facts);
	right = part_setop(level, op->rarg, facts);
	if (left.kind == HERD_PART_NONE)
		return left;
	if (right.kind == HERD_PART_NONE)
		return right;
	if (left.kind != right.kind)
		return part_none("a set operation over a distributed and a reference table");
	if (left.kind == HERD_PART_RECURRING)
		return left;
	if (!parts_colocated(&left, &right))
		return part_none("a set operation over tables that are not co-located");
	left.outputs = list_intersection_int(left.outputs, right.outputs);
	if (!(op->op == SETOP_UNION && op->all) && left.outputs == NIL)
		return part_none("a set operation without the distribution column");
	return left;
}

HerdPart herd_part_query(const HerdLevel *level, List *around)
{
	Query *query = level->query;
	List *facts = herd_facts_of_query(level, around);
	HerdPart part;
	ListCell *lc;

	if (!query_is_plain_select(query))
		return part_none("a subquery with row locks or common table expressions");
	if (query->setOperations != NULL)
		part = part_setop(level, query->setOperations, facts);
	else
		part = herd_part_from(level, (Node *)query->jointree, facts);
	if (part.kind == HERD_PART_NONE)
		return part;
	if (herd_expr_stays_here((Node *)query))
		return part_none("a function that is to run on this node");
	if (query->limitCount != NULL || query->limitOffset != NULL)
		return part_none("LIMIT or OFFSET in a subquery");
	if (part.kind == HERD_PART_RECURRING) {
		HerdLeaves leaves = { 0 };

		if (!leaves_recur(level, around, &leaves))
			return part_none("a subquery over reference tables with one over others");
		/* different nodes could give different rows */
		if (herd_volatile((Node *)query) || query->hasWindowFuncs || query->hasDistinctOn)
			return part_none("a volatile subquery over reference tables");
		return part;
	}
	if (query->setOperations != NULL)
		return part;
	if (!herd_part_sublinks_ok(level, &part, facts, NULL))
		return part_none("a subquery in an expression that is not joined on the "
				 "distribution column");
	if ((query->hasAggs || query->groupClause != NIL || query->havingQual != NULL ||
	     query->groupingSets != NIL) &&
	    (query->groupingSets != NIL ||
	     !herd_part_has_key(level, &part, facts, query->groupClause)))
		return part_none("a subquery that groups by something else than the distribution "
				 "column");
	if (query->distinctClause != NIL &&
	    !herd_part_has_key(level, &part, facts, query->distinctClause))
		return part_none("DISTINCT without the distribution column in a subquery");
	foreach (lc, query->windowClause)
		if (!herd_part_has_key(level, &part, facts,
				       ((WindowClause *)lfirst(lc))->partitionClause))
			return part_none("a window that is not partitioned by the distribution "
					 "column");
	foreach (lc, query->targetList) {
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk && herd_part_is_key(level, &part, facts, (Node *)tle->expr))
			part.outputs = lappend_int(part.outputs, tle->resno);
	}
	return part;
}
