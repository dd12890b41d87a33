/*
 * plan/try.h - writes that shards may not be able to do.
 *
 * Code that a shard runs, triggers and functions, may use co-located tables: then it depends on the
 * rows whether they are there. The shards do the statement in a subtransaction; when they say that
 * rows are elsewhere, it is rolled back and done row by row from this node (plan/rowwise.h). A
 * session that has seen that once of a table does not try again.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

/* What is to be planned for writes to this table, whatever is known of it. */
extern bool herd_try_is_here(Oid relid);
extern bool herd_try_is_shard(Oid relid);

/* Plans a statement as one for shards: called between these. */
extern Oid herd_try_shards(Oid relid);
extern void herd_try_end(Oid outer);

/* Its plan, without targetlist; first: for shards; query: is planned if that fails. */
extern CustomScan *herd_try_plan(PlannedStmt *first, Query *query, Oid relid, List *columns);

/* Registers the CustomScan methods. */
extern void herd_try_init(void);
