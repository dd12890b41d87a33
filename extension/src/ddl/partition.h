/*
 * ddl/partition.h - partitioned tables whose partitions are distributed with them.
 *
 * A shard of a partitioned table is a partitioned table itself. Its partitions are the shards of
 * the table's partitions, which are co-located tables of their own in the metadata; so PostgreSQL
 * brings rows to partitions on the node of the shard, and each partition can be named like a table.
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"
#include "ddl/utility.h"
#include "nodes/pg_list.h"

/* The table and all below it, each after its parent (oids). */
extern List *herd_partition_tree(Oid relid);
/* The same the other way round. */
extern List *herd_partition_tree_up(Oid relid);

/* Raises when something below the partitioned table cannot be distributed with it. */
extern void herd_partition_check_tree(Oid relid);

/* ALTER TABLE parent ATTACH PARTITION .. for a partition, or its shard beside that of the parent.
 */
extern char *herd_partition_attach(Oid relid, uint64 shardid);

/* " PARTITION BY .." of a partitioned table, else "". */
extern const char *herd_partition_clause(Oid relid);

/* CREATE TABLE .. PARTITION OF a distributed table. */
extern bool herd_utility_create_partition(HerdUtility *u);
/* ALTER TABLE .. ATTACH and DETACH PARTITION, ALTER INDEX .. ATTACH PARTITION. */
extern bool herd_utility_alter_partition(HerdUtility *u);

/* Rows of pg_constraint of the tree (oids) with an index of their own or only in one table. */
extern List *herd_partition_constraints(Oid relid);
