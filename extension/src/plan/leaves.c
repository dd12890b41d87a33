#include "postgres.h"

#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"

#include "plan/leaves.h"
#include "plan/steps.h"

typedef struct SublinkContext {
	List *found;
	List *positive; /* of SubLink */
} SublinkContext;

static bool sublink_walker(Node *node, void *context)
{
	SublinkContext *cxt = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink)) {
		HerdSublink *found = palloc(sizeof(HerdSublink));

		found->sublink = (SubLink *)node;
		found->positive = list_member_ptr(cxt->positive, node);
		cxt->found = lappend(cxt->found, found);
		return sublink_walker(((SubLink *)node)->testexpr, context);
	}
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, sublink_walker, context);
}

static void positive_quals(Node *quals, List **positive)
{
	ListCell *lc;

	if (quals == NULL)
		return;
	if (IsA(quals, List)) {
		foreach (lc, (List *)quals)
			positive_quals(lfirst(lc), positive);
	} else if (IsA(quals, BoolExpr) && ((BoolExpr *)quals)->boolop == AND_EXPR) {
		foreach (lc, ((BoolExpr *)quals)->args)
			positive_quals(lfirst(lc), positive);
	} else if (IsA(quals, SubLink)) {
		*positive = lappend(*positive, quals);
	}
}

static void positive_sublinks(Node *jtnode, List **positive)
{
	ListCell *lc;

	if (jtnode == NULL)
		return;
	if (IsA(jtnode, FromExpr)) {
		positive_quals(((FromExpr *)jtnode)->quals, positive);
		foreach (lc, ((FromExpr *)jtnode)->fromlist)
			positive_sublinks(lfirst(lc), positive);
	} else if (IsA(jtnode, JoinExpr) && ((JoinExpr *)jtnode)->jointype == JOIN_INNER) {
		positive_quals(((JoinExpr *)jtnode)->quals, positive);
		positive_sublinks(((JoinExpr *)jtnode)->larg, positive);
		positive_sublinks(((JoinExpr *)jtnode)->rarg, positive);
	}
}

List *herd_sublinks_of_query(Query *query)
{
	SublinkContext cxt = { 0 };

	if (!query->hasSubLinks)
		return NIL;
	positive_sublinks((Node *)query->jointree, &cxt.positive);
	query_tree_walker(query, sublink_walker, &cxt,
			  QTW_IGNORE_RT_SUBQUERIES | QTW_IGNORE_CTE_SUBQUERIES);
	return cxt.found;
}

/* The value an INSERT gives to the key of the table. */
static void facts_of_insert(const HerdLevel *level, List **facts)
{
	Query *query = level->query;
	RangeTblEntry *rte = rt_fetch(query->resultRelation, query->rtable);
	const HerdTable *table = herd_table_get(rte->relid);
	ListCell *lc;

	if (table == NULL || table->kind != HERD_TABLE_HASH)
		return;
	foreach (lc, query->targetList) {
		TargetEntry *tle = lfirst(lc);
		HerdFact fact = { 0 };
		HerdFact *copy;

		if (tle->resno != table->keyattno ||
		    !herd_term_of(level, (Node *)tle->expr, &fact.right))
			continue;
		fact.left = (HerdTerm){ .query = query,
					.varno = query->resultRelation,
					.attno = table->keyattno };
		fact.type = exprType((Node *)tle->expr);
		copy = palloc(sizeof(HerdFact));
		*copy = fact;
		*facts = lappend(*facts, copy);
	}
}

List *herd_facts_of_query(const HerdLevel *level, List *around)
{
	List *facts = list_copy(around);

	herd_facts_of_from(level, (Node *)level->query->jointree, &facts);
	if (level->query->commandType == CMD_INSERT)
		facts_of_insert(level, &facts);
	return facts;
}

static void add_leaf(const HerdLevel *level, int varno, List *facts, HerdLeaves *out)
{
	RangeTblEntry *rte = rt_fetch(varno, level->query->rtable);
	const HerdTable *table = herd_table_get(rte->relid);
	HerdLeaf *leaf;

	if (table == NULL) {
		out->plain = true;
		return;
	}
	leaf = palloc0(sizeof(HerdLeaf));
	leaf->rte = rte;
	leaf->table = table;
	leaf->key = (HerdTerm){ .query = level->query, .varno = varno, .attno = table->keyattno };
	leaf->facts = facts;
	leaf->written = varno == level->query->resultRelation;
	out->leaves = lappend(out->leaves, leaf);
}

static void leaves_of_from(const HerdLevel *level, Node *jtnode, List *facts, HerdLeaves *out)
{
	ListCell *lc;

	if (jtnode == NULL)
		return;
	if (IsA(jtnode, RangeTblRef)) {
		int varno = ((RangeTblRef *)jtnode)->rtindex;
		RangeTblEntry *rte = rt_fetch(varno, level->query->rtable);

		if (rte->rtekind == RTE_RELATION) {
			add_leaf(level, varno, facts, out);
		} else if (rte->rtekind == RTE_SUBQUERY) {
			HerdLevel inner = { .query = rte->subquery, .up = level };

			herd_leaves_of_query(&inner, herd_facts_for_subquery(facts, rte->subquery),
					     out);
		} else if (rte->rtekind == RTE_NAMEDTUPLESTORE || herd_is_held(rte)) {
			out->plain = true;
		}
	} else if (IsA(jtnode, FromExpr)) {
		foreach (lc, ((FromExpr *)jtnode)->fromlist)
			leaves_of_from(level, lfirst(lc), facts, out);
	} else if (IsA(jtnode, JoinExpr)) {
		JoinExpr *join = (JoinExpr *)jtnode;
		List *inside = facts;

		if (join->jointype == JOIN_LEFT || join->jointype == JOIN_RIGHT) {
			inside = list_copy(facts);
			herd_facts_of_quals(level, join->quals, &inside);
		}
		leaves_of_from(level, join->larg, join->jointype == JOIN_RIGHT ? inside : facts,
			       out);
		leaves_of_from(level, join->rarg, join->jointype == JOIN_LEFT ? inside : facts,
			       out);
	}
}

static void leaves_of_setop(const HerdLevel *level, Node *node, List *facts, HerdLeaves *out)
{
	if (node == NULL)
		return;
	if (IsA(node, SetOperationStmt)) {
		leaves_of_setop(level, ((SetOperationStmt *)node)->larg, facts, out);
		leaves_of_setop(level, ((SetOperationStmt *)node)->rarg, facts, out);
	} else {
		leaves_of_from(level, node, facts, out);
	}
}

void herd_leaves_of_query(const HerdLevel *level, List *around, HerdLeaves *out)
{
	Query *query = level->query;
	List *facts = herd_facts_of_query(level, around);
	ListCell *lc;

	foreach (lc, query->cteList) {
		CommonTableExpr *cte = lfirst(lc);
		HerdLevel inner = { .query = castNode(Query, cte->ctequery), .up = level };

		herd_leaves_of_query(&inner, around, out);
	}
	if (query->commandType == CMD_INSERT)
		add_leaf(level, query->resultRelation, facts, out);
	leaves_of_from(level, (Node *)query->jointree, facts, out);
	leaves_of_setop(level, query->setOperations, facts, out);
	foreach (lc, herd_sublinks_of_query(query)) {
		HerdSublink *found = lfirst(lc);
		HerdLevel inner = { .query = castNode(Query, found->sublink->subselect),
				    .up = level };
		List *inside = list_copy(facts);

		if (found->positive)
			herd_facts_of_any(level, found->sublink, &inside);
		herd_leaves_of_query(&inner, inside, out);
	}
}

static bool correlated_walker(Node *node, int *depth)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *)node)->varlevelsup > (Index)*depth;
	if (IsA(node, Aggref) && ((Aggref *)node)->agglevelsup > (Index)*depth)
		return true;
	if (IsA(node, GroupingFunc) && ((GroupingFunc *)node)->agglevelsup > (Index)*depth)
		return true;
	if (IsA(node, RangeTblEntry)) {
		RangeTblEntry *rte = (RangeTblEntry *)node;

		return rte->rtekind == RTE_CTE && rte->ctelevelsup > (Index)*depth;
	}
	if (IsA(node, Query)) {
		bool result;

		(*depth)++;
		result = query_tree_walker((Query *)node, correlated_walker, depth,
					   QTW_EXAMINE_RTES_BEFORE);
		(*depth)--;
		return result;
	}
	return expression_tree_walker(node, correlated_walker, depth);
}

bool herd_query_is_correlated(Query *query)
{
	int depth = 0;

	return query_tree_walker(query, correlated_walker, &depth, QTW_EXAMINE_RTES_BEFORE);
}

static bool table_walker(Node *node, void *context)
{
	const HerdTable **table = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry)) {
		RangeTblEntry *rte = (RangeTblEntry *)node;

		if (rte->rtekind == RTE_RELATION)
			*table = herd_table_get(rte->relid);
		return *table != NULL;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, table_walker, context,
					 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, table_walker, context);
}

const HerdTable *herd_query_any_table(Query *query)
{
	const HerdTable *table = NULL;
	ListCell *lc;

	/* the common case of a statement over a few relations, without a walk of expressions */
	foreach (lc, query->rtable) {
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION && (table = herd_table_get(rte->relid)) != NULL)
			return table;
		if (rte->rtekind == RTE_SUBQUERY &&
		    (table = herd_query_any_table(rte->subquery)) != NULL)
			return table;
	}
	foreach (lc, query->cteList) {
		Query *sub = (Query *)((CommonTableExpr *)lfirst(lc))->ctequery;

		if (IsA(sub, Query) && (table = herd_query_any_table(sub)) != NULL)
			return table;
	}
	if (query->hasSubLinks)
		query_tree_walker(query, table_walker, &table, QTW_EXAMINE_RTES_BEFORE);
	return table;
}
