/*
 * plan/merge.h - MERGE into a distributed table.
 *
 * Where source rows lie beside the target rows that they match, the statement goes to the shards as
 * it is; a source that does not is moved there: cut by the column that ON compares with the
 * distribution column, or, if there is none, sent to every node. New rows that belong to another
 * shard than the source row they come from are computed on this node, before anything is changed,
 * and inserted when the shards have done the rest.
 */
#pragma once
#include "postgres.h"

#include "nodes/plannodes.h"

#include "plan/rewrite.h"

typedef struct HerdMerge {
	HerdRemote *remote; /* what shards do; NULL: nothing but inserts */
	Query *insert;      /* NULL, or: INSERT of rows of this node, */
	Query *select;      /* which this gives (with shell relations), */
	List *attnums;      /* for these columns, in order */
	bool by_row;        /* none of these: it is one for plan/mergewise.h */
} HerdMerge;

/* Raises when the statement cannot be done right. Target: a distributed table. */
extern HerdMerge herd_merge(const Query *parse, HerdPlanning *planning);

/*
 * Gives the rows of first, all read before the write second (of herd_remote_plan) is run. columns,
 * targetlist: as in any CustomScan.
 */
extern Plan *herd_hold_plan(Plan *first, Plan *second, List *columns, List *targetlist);
/* Registers its CustomScan methods. */
extern void herd_hold_init(void);
