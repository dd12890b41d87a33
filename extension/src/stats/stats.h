/*
 * stats/stats.h - what the planner knows of distributed tables.
 *
 * The rows are in the shards, so the shell table would look empty to PostgreSQL's planner. ANALYZE
 * therefore takes a sample of the rows of all shards, as large as PostgreSQL's own of a plain
 * table, and lets PostgreSQL's functions make pg_statistic (and extended statistics) of the shell
 * from it; pg_class of the shell gets the sums of the shards. gather.c does this, on every node.
 * estimate.c lets the planner use it.
 */
#pragma once
#include "postgres.h"

#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "nodes/pathnodes.h"

#include "catalog/metadata.h"

/* -- gather.c ---------------------------------------------------------------------------------- */

typedef struct HerdShardSums {
	double pages;
	double tuples; /* negative: no shard was ever vacuumed or analyzed */
} HerdShardSums;

/*
 * pages and tuples of the shell become the sums of the shards'; with rows, its statistics too.
 * Does nothing when another session is at it and wait is false. Raises what reading a shard raises.
 */
extern void herd_stats_gather(const HerdTable *table, bool rows, bool wait);

/*
 * Gathers again for tables whose shards autovacuum has found changed. For the maintenance worker,
 * as often as autovacuum looks (autovacuum_naptime).
 */
extern void herd_stats_maintain(void);

/* -- estimate.c -------------------------------------------------------------------------------- */

/* What PostgreSQL's planner thinks of a query over shells, as if they had the rows. */
typedef struct HerdEstimate {
	double rows;
	double width;     /* bytes of a row */
	double input;     /* rows before GROUP BY; 0: the query does not group */
	double groups;    /* of all GROUP BY expressions together, before HAVING */
	List *sort_refs;  /* of int: the ressortgroupref of each GROUP BY expression */
	double *distinct; /* and its number of values, in this order */
} HerdEstimate;

/* The query is not changed. It may refer to results of moves, not to rows read by this node. */
extern HerdEstimate herd_estimate(const Query *query, ParamListInfo bound);

/* Rows of the table, as the planner sees them. */
extern double herd_estimate_table_rows(const HerdTable *table);

/* Groups seen by each of nshards parts of rows that are spread at random. */
extern double herd_estimate_share(double groups, double rows, int nshards);

extern void herd_estimate_init(void);

/*
 * stats/moved.c: the name of the column at a position (1..) of rows of item that are moved, from
 * which the node that plans over them learns the number of values of expr. palloc'd.
 */
extern char *herd_moved_column_name(int pos, const RangeTblEntry *item, Node *expr);

/* stats/united.c: the table that the relation is a shard of, and which; or NULL. */
extern const HerdTable *herd_united_table(Oid relid, int *index);
