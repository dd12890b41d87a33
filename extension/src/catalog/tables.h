/*
 * catalog/tables.h - makes tables distributed and local again (SQL functions in sql/30_tables.sql).
 */
#pragma once
#include "postgres.h"

#include "nodes/primnodes.h"

#include "catalog/metadata.h"

/* Raises when the definition of relid cannot be kept by shards. keyattno 0: reference table. */
extern void herd_table_check(Oid relid, AttrNumber keyattno, HerdTableKind kind,
			     uint32 colocationid);

/* SELECT citus_internal.add_table_metadata(..) that describes table to another node. */
extern char *herd_table_metadata_sql(const HerdTable *table);

/*
 * Distributes a partition of a distributed table, or one that will be, and what is below it, like
 * the model. The caller holds the changes lock, exclusive.
 */
extern void herd_table_distribute_like(Oid relid, const HerdTable *model);

/*
 * Distributes a local table with one shard: beside the tables of the colocation group, else on
 * group, else (-1) where the group's number puts it. The caller checked that it may.
 */
extern void herd_table_distribute_single(Oid relid, uint32 colocationid, int32 group);

/* The name of table's key column, NULL when it has none. */
extern char *herd_table_key_name(const HerdTable *table);

/* Empties the local file of a table whose rows live in shards. */
extern void herd_table_truncate_local(Oid relid);

/* Creates (or completes) the shards of relid that are placed on this node. */
extern void herd_table_create_local_shards(Oid relid);

/* -- described.c ------------------------------------------------------------------------------- */

/* A column as pg_dist_partition.partkey has it, a Var node as text; false: the text is none. */
extern bool herd_key_parse(const char *node, Var *key);

/* Raises when the table lacks shards or placements, or what the next one asks for. */
extern void herd_table_check_described(Oid relid);

/* Raises unless the table's shards and key are those of the tables of the group; 0 is no group. */
extern void herd_table_check_colocation(const HerdTable *table, uint32 colocationid);
