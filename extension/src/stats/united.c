/*
 * stats/united.c - what is known of columns of several shards that are read as one.
 *
 * A task for several shards reads (SELECT * FROM shard UNION ALL ..). PostgreSQL has no statistics
 * of such a relation and would take every column for one of 200 values. The statistics of the
 * shell, which every node has, describe the rows of all shards: those of a few of them are like
 * them.
 */
#include "stats/stats.h"

#include "access/htup_details.h"
#include "catalog/pg_statistic.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "stats/tuples.h"

const HerdTable *herd_united_table(Oid relid, int *index)
{
	char *name = get_rel_name(relid);
	char *digits = name ? strrchr(name, '_') : NULL;
	const HerdTable *table;

	if (digits == NULL || !herd_shard_find(strtoull(digits + 1, NULL, 10), &table, index) ||
	    get_rel_namespace(table->relid) != get_rel_namespace(relid) ||
	    strcmp(herd_shard_name(get_rel_name(table->relid), table->shards[*index].shardid),
		   name) != 0)
		return NULL;
	return table;
}

/* What the column of the first of the united relations is, and how many they are. */
static Var *first_column(PlannerInfo *root, const RangeTblEntry *rte, AttrNumber attno, int *n)
{
	Var *found = NULL;
	Index rti = 0;
	ListCell *lc;

	for (int i = 1; i < root->simple_rel_array_size && rti == 0; i++)
		if (root->simple_rte_array[i] == rte)
			rti = i;
	*n = 0;
	foreach (lc, root->append_rel_list) {
		AppendRelInfo *info = lfirst(lc);

		if (rti == 0 || info->parent_relid != rti)
			continue;
		if ((*n)++ == 0 && attno <= list_length(info->translated_vars))
			found = list_nth(info->translated_vars, attno - 1);
	}
	return found != NULL && IsA(found, Var) && found->varattno > 0 ? found : NULL;
}

bool herd_united_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attno,
		       VariableStatData *out)
{
	const HerdTable *table;
	const RangeTblEntry *shard;
	double distinct, rows;
	HeapTuple like;
	Oid relid;
	Var *var;
	int n, index;

	if (rte->rtekind != RTE_SUBQUERY || !rte->inh || attno <= 0 ||
	    (var = first_column(root, rte, attno, &n)) == NULL)
		return false;
	shard = planner_rt_fetch(var->varno, root);
	if (shard->rtekind != RTE_RELATION ||
	    (table = herd_united_table(shard->relid, &index)) == NULL || n > table->nshards)
		return false;
	relid = table->relid;
	attno = get_attnum(relid, get_attname(shard->relid, var->varattno, false));
	if (attno == InvalidAttrNumber)
		return false;
	like = herd_stats_of_column(relid, attno);
	if (!HeapTupleIsValid(like))
		return false;
	rows = herd_estimate_table_rows(table);
	distinct = herd_stats_distinct(like, rows);
	/* values of the key are in one shard each, others in many */
	if (attno == table->keyattno)
		distinct = distinct * n / table->nshards;
	else
		distinct = Min(distinct, rows * n / table->nshards);
	out->statsTuple = herd_stats_tuple(like, attno, Max(distinct, 1));
	out->freefunc = herd_stats_free;
	out->acl_ok = pg_class_aclcheck(shard->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	ReleaseSysCache(like);
	return true;
}
