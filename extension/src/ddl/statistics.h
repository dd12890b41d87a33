/*
 * ddl/statistics.h - extended statistics (CREATE STATISTICS) of distributed tables.
 *
 * Every node's table has them, for the plans of its statements, and every shard, for what runs
 * there; those of a shard bear its number in their name.
 */
#pragma once
#include "postgres.h"

#include "ddl/utility.h"

/* Commands (char *) that give the shard, or with shardid 0 the table elsewhere, what it has here.
 */
extern List *herd_statistics_shape(Oid relid, uint64 shardid);

/* CREATE, ALTER and DROP: true when the statement has been run. */
extern bool herd_statistics_utility(HerdUtility *u);
