/*
 * catalog/schemas.h - distributed schemas: all tables of one stand on one node (single-shard tables
 * of one colocation group). SQL functions in sql/45_single.sql; what CREATE and ALTER do about
 * them is in ddl/schemas.c.
 */
#pragma once
#include "postgres.h"

#include "nodes/pg_list.h"

/* The colocation group of the schema's tables; 0: it is an ordinary schema. */
extern uint32 herd_schema_colocation(Oid schema);

/* The schema becomes a distributed one, on all nodes; it has no tables yet that would have to move.
 */
extern void herd_schema_make(Oid schema);

/* Distributes a local table of a distributed schema, with its rows and partitions. */
extern void herd_schema_add_table(Oid relid);

/* The schema was dropped on this node. */
extern void herd_schema_forget(Oid schema);

/* The statement that tells another node of all distributed schemas, in a list of char *. */
extern List *herd_schema_commands(void);
