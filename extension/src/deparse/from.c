#include "deparse/from.h"

#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parsetree.h"

#include "compat.h"

/* Relations of the query that a LATERAL item refers to. */
static Bitmapset *references(const Query *query, Node *item)
{
	const RangeTblEntry *rte;

	if (!IsA(item, RangeTblRef))
		return NULL;
	rte = rt_fetch(((RangeTblRef *)item)->rtindex, query->rtable);
	if (!rte->lateral)
		return NULL;
	if (rte->rtekind == RTE_SUBQUERY)
		return pull_varnos_of_level(NULL, (Node *)rte->subquery, 1);
	return bms_union(pull_varnos(NULL, (Node *)rte->values_lists),
			 pull_varnos(NULL, (Node *)rte->functions));
}

void herd_order_from(Query *query)
{
	List *rest = query->jointree ? query->jointree->fromlist : NIL, *first = NIL;
	ListCell *lc;

	if (list_length(rest) < 2)
		return;
	rest = list_copy(rest);
	/* each turn takes the first that refers to none of those that remain */
	while (list_length(rest) > 1) {
		Node *next = NULL;

		foreach (lc, rest) {
			List *others = list_delete_ptr(list_copy(rest), lfirst(lc));
			FromExpr remain = { .type = T_FromExpr, .fromlist = others };

			if (!bms_overlap(references(query, lfirst(lc)),
					 herd_jointree_relids((Node *)&remain))) {
				next = lfirst(lc);
				break;
			}
		}
		if (next == NULL)
			return;
		first = lappend(first, next);
		rest = list_delete_ptr(rest, next);
	}
	query->jointree->fromlist = list_concat(first, rest);
}
