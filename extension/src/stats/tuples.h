/*
 * stats/tuples.h - rows of pg_statistic for the planner's hook: between the files of stats/.
 */
#pragma once
#include "postgres.h"

#include "access/htup.h"
#include "nodes/pathnodes.h"
#include "utils/selfuncs.h"

/* Of a column of a shell, from the syscache; or NULL. */
extern HeapTuple herd_stats_of_column(Oid relid, AttrNumber attno);
/* Values of the column of a table with so many rows. */
extern double herd_stats_distinct(HeapTuple tuple, double rows);
/*
 * A copy of like with another number of distinct values; or, if that is NULL, one in which nothing
 * else is known. For VariableStatData, with herd_stats_free.
 */
extern HeapTuple herd_stats_tuple(HeapTuple like, AttrNumber attno, double distinct);
extern void herd_stats_free(HeapTuple tuple);

/* united.c: columns of shards that are read as one; false: the relation is something else. */
extern bool herd_united_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attno,
			      VariableStatData *out);
/* moved.c: columns of read_result, by their names; false as above. */
extern bool herd_moved_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attno,
			     VariableStatData *out);
