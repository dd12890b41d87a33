/*
 * plan/fast.h - router statements whose like has been planned in this session already.
 *
 * Applications that do not prepare send the same few statements with other constants in them. Of a
 * statement over one hash-distributed table with a constant for its key the plan is kept, with
 * parameters in the place of the constants of WHERE, SET and VALUES; the next one that differs in
 * nothing but these gets a copy of it. On the shard's node such statements run prepared, too.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

/* Plans the query as a router statement, or returns NULL. May change the query. */
typedef PlannedStmt *(*HerdRoutePlanner)(Query *query, int options);

/*
 * The plan of the query, or NULL: it is none of these statements, or not one for a single shard.
 * The query is then as it was.
 */
extern PlannedStmt *herd_fast_plan(Query *query, const char *source, int options,
				   HerdRoutePlanner planner);

/* Installs the callbacks that empty the cache; once from _PG_init. */
extern void herd_fast_init(void);
