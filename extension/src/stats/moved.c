/*
 * stats/moved.c - what is known of columns of rows that were moved here.
 *
 * read_result is a function to PostgreSQL: it knows how many rows there are, and takes every column
 * for one of 200 values. The node that plans the statement knows the number of values in the table
 * that they come from, and says it in the name of the column: c4_25.
 */
#include "stats/stats.h"

#include <math.h>

#include "catalog/pg_statistic.h"
#include "nodes/pg_list.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "move/scan.h"
#include "stats/tuples.h"

char *herd_moved_column_name(int pos, const RangeTblEntry *item, Node *expr)
{
	const HerdTable *table = item->rtekind == RTE_RELATION && OidIsValid(item->relid)
					 ? herd_table_get(item->relid)
					 : NULL;
	double distinct = 0;
	HeapTuple tuple;

	if (table != NULL && IsA(expr, Var) &&
	    HeapTupleIsValid(tuple = herd_stats_of_column(item->relid, ((Var *)expr)->varattno))) {
		distinct = herd_stats_distinct(tuple, herd_estimate_table_rows(table));
		ReleaseSysCache(tuple);
	}
	return distinct >= 1 ? psprintf("c%d_%.0f", pos, rint(distinct)) : psprintf("c%d", pos);
}

/* Rows of the relation; 0: not known. */
static double rows_of(PlannerInfo *root, const RangeTblEntry *rte)
{
	for (int i = 1; i < root->simple_rel_array_size; i++)
		if (root->simple_rte_array[i] == rte && root->simple_rel_array[i] != NULL)
			return root->simple_rel_array[i]->tuples;
	return 0;
}

bool herd_moved_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attno,
		      VariableStatData *out)
{
	double distinct, rows;
	const char *said;

	if (attno <= 0 || herd_read_result_call(rte) == NULL ||
	    attno > list_length(rte->eref->colnames) ||
	    (said = strchr(strVal(list_nth(rte->eref->colnames, attno - 1)), '_')) == NULL)
		return false;
	distinct = strtod(said + 1, NULL);
	rows = rows_of(root, rte);
	if (!(distinct >= 1) || rows < 1)
		return false;
	out->statsTuple = herd_stats_tuple(NULL, attno, Min(distinct, rows));
	out->freefunc = herd_stats_free;
	out->acl_ok = true;
	return true;
}
