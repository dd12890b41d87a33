/*
 * plan/sysattrs.h - system columns of distributed tables where another node than the shard's reads
 * them.
 *
 * Rows that come from shards bring the system columns that the query reads, as columns behind those
 * of the table. tableoid is what this node calls the table or partition. Where a replica on this
 * node stands for the table, tableoid is still the table's.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/* Of int: system columns of the relation that the query and those in it read, ascending. */
extern List *herd_system_columns(Query *query, int varno);

/* The type of such a column, and its name. */
extern Oid herd_system_column_type(AttrNumber attno, const char **name);

/* In place: the n-th of attnos becomes column first + n (from 0) of the relation. */
extern void herd_system_columns_behind(Query *query, int varno, const List *attnos,
				       AttrNumber first);

/*
 * In place: the whole row becomes that column. Returns its type, InvalidOid when nothing reads it.
 */
extern Oid herd_whole_row_behind(Query *query, int varno, AttrNumber attno);

/* A copy of an expression of a plan, in which such columns are system columns again. */
extern Node *herd_system_columns_again(Node *expr, int varno, const List *attnos, AttrNumber first);

/* In place: tableoid of the relation is that of the table relid, null in null rows. */
extern void herd_name_replica(Query *query, int varno, Oid relid);
