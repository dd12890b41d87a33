/*
 * ddl/shape.h - prints the definition of a table of this database as SQL for another node or for a
 * shard of it.
 *
 * Everything is printed fully qualified, so it can run under search_path = pg_catalog. shardid 0
 * stands for the shell table: same names, with defaults and identity. Otherwise names carry the
 * shard id and what only the shell needs (identity, defaults) is left out. Results are palloc'd;
 * lists hold char *.
 */
#pragma once
#include "postgres.h"

#include "access/attnum.h"
#include "nodes/pg_list.h"

/* schema.name, quoted, of the table or of its shard. */
extern char *herd_shape_name(Oid relid, uint64 shardid);

/* CREATE TABLE with columns and check constraints. */
extern char *herd_shape_create(Oid relid, uint64 shardid);
/*
 * The commands that make a shard on this node: its columns have the numbers that they have in the
 * table here, so that what is planned for the one reads the other.
 */
extern List *herd_shape_create_here(Oid relid, uint64 shardid);

/* Indexes, primary key, unique and exclusion constraints, replica identity, extended statistics. */
extern List *herd_shape_indexes(Oid relid, uint64 shardid);

/* One of the above for one index. */
extern char *herd_shape_index(Oid indexid, uint64 shardid);

/*
 * Foreign keys of the table to tables that are distributed as well. For a shard: to the shard that
 * the referenced table has on the same node.
 */
extern List *herd_shape_foreign_keys(Oid relid, uint64 shardid);

/* ALTER TABLE .. ADD CONSTRAINT for any constraint of a table. */
extern char *herd_shape_constraint(Oid constraintid, uint64 shardid);

/* A column as ADD COLUMN takes it, with its default. */
extern char *herd_shape_column(Oid relid, AttrNumber attno);

/* Owner and grants. */
extern List *herd_shape_privileges(Oid relid, uint64 shardid);

/* Sequences that defaults and identity columns of the table use (oids). */
extern List *herd_shape_sequences(Oid relid);

/* What gives another node those of them that are not of identity columns, with a range of its own.
 */
extern List *herd_shape_sequence_commands(Oid relid);

/* All that makes the shell table on another node: schema, sequences, table, indexes, keys. */
extern List *herd_shape_shell(Oid relid);

/* Name that an index, key or foreign key named name has on a shard. */
extern char *herd_shape_member_name(const char *name, uint64 shardid);

/* Prints with search_path = pg_catalog until herd_shape_end(level): returns level. */
extern int herd_shape_begin(void);
extern void herd_shape_end(int level);
