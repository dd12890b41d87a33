/*
 * plan/lookup.h - a plan node that reads the one shard of several that can have a key.
 *
 * For each row of a nested loop, PostgreSQL's Append of index scans would look into the index of
 * every shard. This node computes the hash of the key first.
 */
#pragma once
#include "postgres.h"

#include "nodes/pathnodes.h"

#include "catalog/metadata.h"

/*
 * Adds to rel, which stands for these shards of table, a path for each Append of parameterised
 * scans that look up the key in all of them. Not when the indexes (in shards[]) do not ascend.
 */
extern void herd_lookup_paths(PlannerInfo *root, RelOptInfo *rel, const HerdTable *table,
			      const int *indexes, int n);

extern void herd_lookup_init(void);
