/*
 * attach/named.h - SET CONSTRAINTS with names, on shards.
 *
 * Keys of a shard have names of their own, with its number; its constraint triggers have those of
 * the table. Where the user names a constraint of a table, the node of each shard is told the name
 * of the shard's. A key that a partition has from its partitioned table has no name there that is
 * known here: only the partitioned table's own can be set.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/* Oids: those of the first schema that has one of the name, as PostgreSQL finds them. */
extern List *herd_constraints_named(const RangeVar *name);

/* RangeVars: what shards of the group have for the constraints that the statement names. */
extern List *herd_constraints_of_shards(const ConstraintsSetStmt *stmt, int32 group);

/* Groups that have any shard of the tables of those constraints. */
extern List *herd_constraints_groups(const ConstraintsSetStmt *stmt);

/* SET CONSTRAINTS for them. */
extern char *herd_constraints_text(List *names, bool deferred);
