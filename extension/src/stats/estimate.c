/*
 * stats/estimate.c - PostgreSQL's planner over shells, as if the rows of the shards were in them.
 */
#include "stats/stats.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "optimizer/tlist.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "move/move.h"
#include "plan/rewrite.h"
#include "stats/tuples.h"

/* Of a shard, when nobody has looked: what PostgreSQL takes for a table that was never vacuumed. */
#define UNKNOWN_PAGES 10

static get_relation_info_hook_type next_info;
static get_relation_stats_hook_type next_stats;
static create_upper_paths_hook_type next_upper;

/* The query that is planned only to be estimated; NULL: none is. */
static HerdEstimate *estimating;

/* -- sizes of shells --------------------------------------------------------------------------- */

/* Rows by pages for a table that was never analyzed, as PostgreSQL guesses them. */
static double guessed_density(Oid relid)
{
	int32 width = get_relation_data_width(relid, NULL);

	width += MAXALIGN(SizeofHeapTupleHeader) + sizeof(ItemIdData);
	return (double)(BLCKSZ - SizeOfPageHeaderData) / width;
}

static void table_size(const HerdTable *table, double *pages, double *tuples)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table->relid));
	Form_pg_class form;
	double density;

	double bytes;

	*pages = *tuples = 0;
	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_class)GETSTRUCT(tuple);
	bytes = herd_table_known_bytes(table->relid);
	if (form->relpages > 0 && form->reltuples >= 0) {
		density = form->reltuples / (double)form->relpages;
		*pages = bytes >= 0 ? ceil(bytes / BLCKSZ) : form->relpages;
	} else {
		density = guessed_density(table->relid);
		*pages = bytes >= 0 ? ceil(bytes / BLCKSZ) : UNKNOWN_PAGES * table->nshards;
	}
	*tuples = rint(density * *pages);
	ReleaseSysCache(tuple);
}

double herd_estimate_table_rows(const HerdTable *table)
{
	double pages, tuples;

	table_size(table, &pages, &tuples);
	return tuples;
}

static void relation_info(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	const HerdTable *table;
	double pages;
	ListCell *lc;

	if (next_info)
		next_info(root, relid, inhparent, rel);
	if (estimating == NULL || (table = herd_table_get(relid)) == NULL)
		return;
	table_size(table, &pages, &rel->tuples);
	rel->pages = (BlockNumber)Min(pages, (double)MaxBlockNumber);
	foreach (lc, rel->indexlist) {
		IndexOptInfo *index = lfirst(lc);

		index->tuples = rel->tuples;
		index->pages = Max(1, rel->pages / 4);
	}
}

/* -- a query ----------------------------------------------------------------------------------- */

static void upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input,
			RelOptInfo *output, void *extra)
{
	Query *query = root->parse;
	List *exprs;
	int i = 0;
	ListCell *lc;

	if (next_upper)
		next_upper(root, stage, input, output, extra);
	if (estimating == NULL || stage != UPPERREL_GROUP_AGG || root->query_level != 1 ||
	    estimating->input != 0)
		return;
	estimating->input = input->rows;
	exprs = get_sortgrouplist_exprs(query->groupClause, query->targetList);
	estimating->groups =
		exprs == NIL ? 1 : estimate_num_groups(root, exprs, input->rows, NULL, NULL);
	estimating->distinct = palloc0((list_length(exprs) + 1) * sizeof(double));
	foreach (lc, exprs)
		estimating->distinct[i++] =
			estimate_num_groups(root, list_make1(lfirst(lc)), input->rows, NULL, NULL);
	foreach (lc, query->groupClause)
		estimating->sort_refs = lappend_int(
			estimating->sort_refs, ((SortGroupClause *)lfirst(lc))->tleSortGroupRef);
}

HerdEstimate herd_estimate(const Query *query, ParamListInfo bound)
{
	HerdEstimate *outer = estimating;
	HerdEstimate result = { 0 };
	PlannedStmt *stmt = NULL;

	estimating = &result;
	PG_TRY();
	{
		stmt = standard_planner(copyObject((Query *)query), "", 0, bound);
	}
	PG_FINALLY();
	{
		estimating = outer;
	}
	PG_END_TRY();
	result.rows = stmt->planTree->plan_rows;
	result.width = stmt->planTree->plan_width;
	return result;
}

double herd_estimate_share(double groups, double rows, int nshards)
{
	double share = rows / Max(nshards, 1);

	groups = Max(groups, 1);
	return clamp_row_est(groups * (1 - exp(-share / groups)));
}

/* -- columns of rows that come from shards ----------------------------------------------------- */

void herd_stats_free(HeapTuple tuple)
{
	heap_freetuple(tuple);
}

static void release_tuple(HeapTuple tuple)
{
	ReleaseSysCache(tuple);
}

HeapTuple herd_stats_of_column(Oid relid, AttrNumber attno)
{
	return SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid), Int16GetDatum(attno),
			       BoolGetDatum(false));
}

HeapTuple herd_stats_tuple(HeapTuple like, AttrNumber attno, double distinct)
{
	Datum values[Natts_pg_statistic] = { 0 };
	bool nulls[Natts_pg_statistic] = { false };
	Relation catalog;
	HeapTuple tuple;

	catalog = RelationIdGetRelation(StatisticRelationId);
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++) {
		nulls[Anum_pg_statistic_stanumbers1 - 1 + i] = true;
		nulls[Anum_pg_statistic_stavalues1 - 1 + i] = true;
	}
	values[Anum_pg_statistic_staattnum - 1] = Int16GetDatum(attno);
	values[Anum_pg_statistic_stawidth - 1] = Int32GetDatum(8);
	values[Anum_pg_statistic_stadistinct - 1] = Float4GetDatum((float4)distinct);
	if (HeapTupleIsValid(like)) {
		bool replaces[Natts_pg_statistic] = { false };

		replaces[Anum_pg_statistic_stadistinct - 1] = true;
		tuple = heap_modify_tuple(like, RelationGetDescr(catalog), values, nulls, replaces);
	} else {
		tuple = heap_form_tuple(RelationGetDescr(catalog), values, nulls);
	}
	RelationClose(catalog);
	return tuple;
}

double herd_stats_distinct(HeapTuple tuple, double rows)
{
	double distinct = ((Form_pg_statistic)GETSTRUCT(tuple))->stadistinct;

	return distinct < 0 ? -distinct * rows : distinct; /* a share of them */
}

static bool relation_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attno,
			   VariableStatData *out)
{
	HerdRows *rows = rte->rtekind == RTE_FUNCTION ? herd_rows_of_rte(rte) : NULL;

	if (rows == NULL || attno <= 0)
		return herd_united_stats(root, rte, attno, out) ||
		       herd_moved_stats(root, rte, attno, out) ||
		       (next_stats != NULL && next_stats(root, rte, attno, out));
	/* operators that are not leakproof see values only for those who may read the table */
	out->acl_ok = true;
	if (rows->rte != NULL) {
		out->statsTuple = herd_stats_of_column(rows->rte->relid, attno);
		out->freefunc = release_tuple;
		out->acl_ok =
			pg_class_aclcheck(rows->rte->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	} else if (rows->columns != NULL && attno <= rows->ncolumns) {
		const HerdRowsColumn *c = &rows->columns[attno - 1];
		HeapTuple like =
			OidIsValid(c->relid) ? herd_stats_of_column(c->relid, c->attno) : NULL;
		const HerdTable *table = OidIsValid(c->relid) ? herd_table_get(c->relid) : NULL;
		double distinct = c->distinct;

		if (OidIsValid(c->relid))
			out->acl_ok =
				pg_class_aclcheck(c->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
		if (distinct <= 0 && HeapTupleIsValid(like) && table != NULL)
			distinct = herd_stats_distinct(like, herd_estimate_table_rows(table));
		if (distinct > 0) {
			out->statsTuple = herd_stats_tuple(like, attno, distinct);
			out->freefunc = herd_stats_free;
		}
		if (HeapTupleIsValid(like))
			ReleaseSysCache(like);
	}
	return true;
}

void herd_estimate_init(void)
{
	next_info = get_relation_info_hook;
	get_relation_info_hook = relation_info;
	next_stats = get_relation_stats_hook;
	get_relation_stats_hook = relation_stats;
	next_upper = create_upper_paths_hook;
	create_upper_paths_hook = upper_paths;
}
