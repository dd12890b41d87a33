/*
 * plan/shardwise.h - joins of tables whose shards are read as one stay joins of shards.
 *
 * A task for several shards of a node reads (SELECT * FROM shard UNION ALL ..) for each table. For
 * PostgreSQL such relations have nothing to do with each other: it would hash all of one of them,
 * or look into each shard's index for each row. Here they are made known to it as partitioned by
 * their distribution column, so that its partitionwise join considers each shard with the one it is
 * co-located with, and any other way too; what it takes is a matter of cost. What such a join
 * needs to be right (conditions on the keys, outer joins) PostgreSQL proves itself.
 */
#pragma once
#include "postgres.h"

#include "optimizer/planner.h"

/* The plan of a query without distributed tables; plan: makes one of any query. */
extern PlannedStmt *herd_shardwise_plan(Query *query, const char *source, int options,
					ParamListInfo bound, planner_hook_type plan);

extern void herd_shardwise_init(void);
