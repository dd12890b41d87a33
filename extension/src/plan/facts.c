#include "postgres.h"

#include "access/hash.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "deparse/deparse.h"
#include "plan/facts.h"

static Node *strip_relabel(Node *expr)
{
	while (expr != NULL && IsA(expr, RelabelType))
		expr = (Node *)((RelabelType *)expr)->arg;
	return expr;
}

bool herd_term_of(const HerdLevel *level, Node *expr, HerdTerm *term)
{
	Node *node = strip_relabel(expr);

	memset(term, 0, sizeof(*term));
	while (node != NULL && IsA(node, Var) && ((Var *)node)->varno != OUTER_VAR) {
		Var *var = (Var *)node;
		RangeTblEntry *rte;

		for (Index up = var->varlevelsup; up > 0; up--) {
			if (level->up == NULL)
				return false;
			level = level->up;
		}
		if (var->varattno <= 0 || var->varno > (Index)list_length(level->query->rtable))
			return false;
		rte = rt_fetch(var->varno, level->query->rtable);
		if (rte->rtekind == RTE_JOIN) {
			node = strip_relabel(list_nth(rte->joinaliasvars, var->varattno - 1));
			continue;
		}
#if PG_VERSION_NUM >= 180000
		if (rte->rtekind == RTE_GROUP) {
			node = strip_relabel(list_nth(rte->groupexprs, var->varattno - 1));
			continue;
		}
#endif
		term->query = level->query;
		term->varno = var->varno;
		term->attno = var->varattno;
		return true;
	}
	if (expr == NULL || !herd_expr_is_constant(expr) || contain_volatile_functions(expr))
		return false;
	term->expr = expr;
	return true;
}

static void add_fact(List **facts, HerdFact fact)
{
	HerdFact *copy = palloc(sizeof(HerdFact));

	*copy = fact;
	*facts = lappend(*facts, copy);
}

static void fact_of_operator(const HerdLevel *level, OpExpr *op, List **facts)
{
	HerdFact fact = { .op = op->opno, .collation = op->inputcollid };
	HerdTerm left, right;
	Oid lefttype, righttype;

	if (list_length(op->args) != 2 || !herd_term_of(level, linitial(op->args), &left) ||
	    !herd_term_of(level, lsecond(op->args), &right) || (left.expr && right.expr))
		return;
	op_input_types(op->opno, &lefttype, &righttype);
	fact.left = left.expr ? right : left;
	fact.right = left.expr ? left : right;
	fact.type = left.expr ? lefttype : righttype;
	add_fact(facts, fact);
}

static void fact_of_array(const HerdLevel *level, ScalarArrayOpExpr *op, List **facts)
{
	HerdFact fact = { .op = op->opno, .collation = op->inputcollid, .in_array = true };
	Oid lefttype;

	if (!op->useOr || !herd_term_of(level, linitial(op->args), &fact.left) ||
	    !herd_term_of(level, lsecond(op->args), &fact.right) || fact.left.expr ||
	    !fact.right.expr)
		return;
	op_input_types(op->opno, &lefttype, &fact.type);
	add_fact(facts, fact);
}

void herd_facts_of_quals(const HerdLevel *level, Node *quals, List **facts)
{
	ListCell *lc;

	if (quals == NULL)
		return;
	if (IsA(quals, List)) {
		foreach (lc, (List *)quals)
			herd_facts_of_quals(level, lfirst(lc), facts);
	} else if (IsA(quals, BoolExpr) && ((BoolExpr *)quals)->boolop == AND_EXPR) {
		foreach (lc, ((BoolExpr *)quals)->args)
			herd_facts_of_quals(level, lfirst(lc), facts);
	} else if (IsA(quals, OpExpr)) {
		fact_of_operator(level, (OpExpr *)quals, facts);
	} else if (IsA(quals, ScalarArrayOpExpr)) {
		fact_of_array(level, (ScalarArrayOpExpr *)quals, facts);
	}
}

/* Output columns of a subquery that are columns inside of it. */
static void facts_of_outputs(const HerdLevel *level, int varno, Query *sub, List **facts)
{
	HerdLevel inner = { .query = sub, .up = level };
	ListCell *lc;

	if (sub->setOperations != NULL || sub->commandType != CMD_SELECT)
		return;
	foreach (lc, sub->targetList) {
		TargetEntry *tle = lfirst(lc);
		HerdFact fact = { .output = sub };

		if (tle->resjunk || !herd_term_of(&inner, (Node *)tle->expr, &fact.right))
			continue;
		if (fact.right.expr != NULL) {
			/* a constant column; with grouping sets it may be null */
			if (sub->groupingSets != NIL)
				continue;
			fact.type = exprType(fact.right.expr);
		}
		if (sub->groupingSets != NIL)
			continue;
		fact.left =
			(HerdTerm){ .query = level->query, .varno = varno, .attno = tle->resno };
		add_fact(facts, fact);
	}
	if (sub->jointree != NULL)
		herd_facts_of_from(&inner, (Node *)sub->jointree, facts);
}

/*
 * A CTE may be read several times: its columns are not those of one row, only what is constant
 * in it is known of each reader's columns.
 */
static void facts_of_cte(const HerdLevel *level, int varno, RangeTblEntry *rte, List **facts)
{
	const HerdLevel *owner = level;
	List *inner = NIL;
	ListCell *lc;

	for (Index up = rte->ctelevelsup; up > 0; up--) {
		if (owner->up == NULL)
			return;
		owner = owner->up;
	}
	foreach (lc, owner->query->cteList) {
		CommonTableExpr *cte = lfirst(lc);
		Query *sub = (Query *)cte->ctequery;
		HerdLevel at = { .query = owner->query, .up = owner->up };
		ListCell *tl;

		if (strcmp(cte->ctename, rte->ctename) != 0 || cte->cterecursive ||
		    !IsA(sub, Query) || sub->commandType != CMD_SELECT)
			continue;
		facts_of_outputs(&at, -1, sub, &inner);
		foreach (tl, sub->targetList) {
			TargetEntry *tle = lfirst(tl);
			HerdTerm term = { .query = at.query, .varno = -1, .attno = tle->resno };
			ListCell *fl;

			foreach (fl, inner) {
				HerdFact *fact = lfirst(fl);
				HerdFact out = *fact;
				ListCell *cl;

				if (fact->right.expr == NULL || fact->in_array)
					continue;
				/* one step from the output to the constant is enough here */
				foreach (cl, inner) {
					HerdFact *map = lfirst(cl);

					if (map->output == sub && map->left.attno == term.attno &&
					    map->right.expr == NULL &&
					    map->right.query == fact->left.query &&
					    map->right.varno == fact->left.varno &&
					    map->right.attno == fact->left.attno) {
						out.left = (HerdTerm){ .query = level->query,
								       .varno = varno,
								       .attno = tle->resno };
						out.output = NULL;
						add_fact(facts, out);
					}
				}
			}
		}
	}
}

/*
 * On the nullable side of an outer join a fact means "or all of it is null": harmless as long as
 * it speaks of that side only, which a lateral subquery does not.
 */
static void facts_of_from(const HerdLevel *level, Node *jtnode, bool nullable, List **facts)
{
	ListCell *lc;

	if (jtnode == NULL)
		return;
	if (IsA(jtnode, RangeTblRef)) {
		int varno = ((RangeTblRef *)jtnode)->rtindex;
		RangeTblEntry *rte = rt_fetch(varno, level->query->rtable);

		if (rte->rtekind == RTE_SUBQUERY && !(nullable && rte->lateral))
			facts_of_outputs(level, varno, rte->subquery, facts);
		else if (rte->rtekind == RTE_CTE)
			facts_of_cte(level, varno, rte, facts);
	} else if (IsA(jtnode, FromExpr)) {
		FromExpr *from = (FromExpr *)jtnode;

		herd_facts_of_quals(level, from->quals, facts);
		foreach (lc, from->fromlist)
			facts_of_from(level, lfirst(lc), nullable, facts);
	} else if (IsA(jtnode, JoinExpr)) {
		JoinExpr *join = (JoinExpr *)jtnode;

		if (join->jointype == JOIN_INNER)
			herd_facts_of_quals(level, join->quals, facts);
		facts_of_from(level, join->larg,
			      nullable || join->jointype == JOIN_RIGHT ||
				      join->jointype == JOIN_FULL,
			      facts);
		facts_of_from(level, join->rarg,
			      nullable || join->jointype == JOIN_LEFT ||
				      join->jointype == JOIN_FULL,
			      facts);
	}
}

void herd_facts_of_from(const HerdLevel *level, Node *jtnode, List **facts)
{
	facts_of_from(level, jtnode, false, facts);
}

bool herd_output_filterable(Query *sub, int attno)
{
	TargetEntry *tle;
	ListCell *lc;

	if (sub->limitCount != NULL || sub->limitOffset != NULL || sub->setOperations != NULL ||
	    sub->groupingSets != NIL || sub->commandType != CMD_SELECT)
		return false;
	tle = get_tle_by_resno(sub->targetList, attno);
	if (tle == NULL)
		return false;
	if ((sub->groupClause != NIL || sub->hasAggs || sub->havingQual != NULL) &&
	    get_sortgroupref_clause_noerr(tle->ressortgroupref, sub->groupClause) == NULL)
		return false;
	if (sub->hasDistinctOn &&
	    get_sortgroupref_clause_noerr(tle->ressortgroupref, sub->distinctClause) == NULL)
		return false;
	foreach (lc, sub->windowClause) {
		WindowClause *wc = lfirst(lc);

		if (get_sortgroupref_clause_noerr(tle->ressortgroupref, wc->partitionClause) ==
		    NULL)
			return false;
	}
	return true;
}

List *herd_facts_for_subquery(List *facts, Query *sub)
{
	List *kept = NIL;
	ListCell *lc;

	foreach (lc, facts) {
		HerdFact *fact = lfirst(lc);

		if (fact->output == sub && !herd_output_filterable(sub, fact->left.attno))
			continue;
		kept = lappend(kept, fact);
	}
	return kept;
}

void herd_facts_of_any(const HerdLevel *level, SubLink *sublink, List **facts)
{
	Query *sub = castNode(Query, sublink->subselect);
	HerdLevel inner = { .query = sub, .up = level };
	OpExpr *op = (OpExpr *)sublink->testexpr;
	HerdFact fact = { 0 };
	Param *param;
	TargetEntry *tle;

	if (sublink->subLinkType != ANY_SUBLINK || op == NULL || !IsA(op, OpExpr) ||
	    list_length(op->args) != 2)
		return;
	param = (Param *)strip_relabel(lsecond(op->args));
	if (param == NULL || !IsA(param, Param) || param->paramkind != PARAM_SUBLINK ||
	    !herd_output_filterable(sub, param->paramid) ||
	    !herd_term_of(level, linitial(op->args), &fact.right))
		return;
	tle = get_tle_by_resno(sub->targetList, param->paramid);
	if (tle == NULL || !herd_term_of(&inner, (Node *)tle->expr, &fact.left) ||
	    fact.left.expr != NULL)
		return;
	fact.op = op->opno;
	fact.collation = op->inputcollid;
	if (fact.right.expr != NULL) {
		Oid righttype;

		op_input_types(op->opno, &fact.type, &righttype);
	}
	add_fact(facts, fact);
}

static bool same_column(const HerdTerm *a, const HerdTerm *b)
{
	return a->expr == NULL && b->expr == NULL && a->query == b->query && a->varno == b->varno &&
	       a->attno == b->attno;
}

static Oid key_opfamily(const HerdTable *table)
{
	return lookup_type_cache(getBaseType(table->keytype), TYPECACHE_HASH_OPFAMILY)->hash_opf;
}

Oid herd_key_hash_proc(const HerdTable *table, Oid type)
{
	Oid proc = InvalidOid;
	Oid family = key_opfamily(table);
	TypeCacheEntry *entry;

	if (OidIsValid(type) && OidIsValid(family))
		proc = get_opfamily_proc(family, getBaseType(type), getBaseType(type),
					 HASHSTANDARD_PROC);
	if (OidIsValid(proc))
		return proc;
	entry = lookup_type_cache(getBaseType(type), TYPECACHE_HASH_PROC | TYPECACHE_HASH_OPFAMILY);
	return entry->hash_opf == family ? entry->hash_proc : InvalidOid;
}

/* Equal under the fact's operator means equal hashes. */
static bool fact_keeps_hash(const HerdFact *fact, const HerdTable *table)
{
	if (!OidIsValid(fact->op))
		return true;
	if (get_op_opfamily_strategy(fact->op, key_opfamily(table)) != HTEqualStrategyNumber)
		return false;
	if (OidIsValid(fact->collation) && fact->collation != table->keycollation &&
	    (!get_collation_isdeterministic(fact->collation) ||
	     (OidIsValid(table->keycollation) &&
	      !get_collation_isdeterministic(table->keycollation))))
		return false;
	return true;
}

/*
 * Breadth first from start over facts that keep the hash. Ends at a constant (goal NULL), whose
 * fact is returned, or at the column goal.
 */
static HerdFact *search(List *facts, HerdTerm start, const HerdTerm *goal, const HerdTable *table,
			bool in_array)
{
	int n = list_length(facts);
	bool *used = palloc0((n + 1) * sizeof(bool));
	HerdTerm *queue = palloc((n + 1) * sizeof(HerdTerm));
	int head = 0, tail = 0;

	queue[tail++] = start;
	while (head < tail) {
		HerdTerm at = queue[head++];
		ListCell *lc;
		int i = -1;

		foreach (lc, facts) {
			HerdFact *fact = lfirst(lc);
			HerdTerm *next;

			if (used[++i] || !fact_keeps_hash(fact, table))
				continue;
			if (same_column(&fact->left, &at))
				next = &fact->right;
			else if (same_column(&fact->right, &at))
				next = &fact->left;
			else
				continue;
			used[i] = true;
			if (goal != NULL && same_column(next, goal))
				return fact;
			if (next->expr == NULL) {
				queue[tail++] = *next;
			} else if (goal == NULL && fact->in_array == in_array &&
				   OidIsValid(herd_key_hash_proc(table, fact->type))) {
				return fact;
			}
		}
	}
	return NULL;
}

HerdFact *herd_fact_constant(List *facts, HerdTerm key, const HerdTable *table, bool in_array)
{
	return search(facts, key, NULL, table, in_array);
}

bool herd_fact_connected(List *facts, HerdTerm a, HerdTerm b, const HerdTable *table)
{
	return same_column(&a, &b) || search(facts, a, &b, table, false) != NULL;
}
