/*
 * plan/steps.h - a statement that writes in WITH, as several statements of one moment.
 *
 * Each query in WITH that writes, or that such a one reads, becomes a statement by itself, planned
 * as if it stood alone. Its rows are kept on this node (in work_mem, then in a file) and the
 * statements after it read them from there. All are run one after the other, each to its end, and
 * none sees what another has changed: see conn/moment.h. The last is the statement itself.
 */
#pragma once
#include "postgres.h"

#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

typedef struct HerdStep {
	char *name;   /* in WITH, for EXPLAIN */
	Query *query; /* then: its plan is */
	PlannedStmt *plan;
	int held; /* under this number others read its rows; -1: nobody does */
} HerdStep;

/*
 * Of HerdStep; the query is changed and becomes the last. all: the queries in WITH that do not
 * write, too.
 */
extern List *herd_steps_of(Query *query, bool all);

/*
 * True if a query in WITH locks rows for subqueries in expressions: it is to be run once, and to
 * its end, before the rest.
 */
extern bool herd_steps_lock(Query *query);

/*
 * True if foreign keys look at what several of the steps write, and nothing else does: they can
 * wait on the shards for the end of the last step. Before the steps are planned.
 */
extern bool herd_steps_wait(const List *steps);

/*
 * A CustomScan without targetlist, which runs the plans; columns: of the rows of the last. late:
 * triggers of shards fire at the end.
 */
extern CustomScan *herd_steps_plan(const List *steps, List *columns, bool late);

/* True if the item is the rows of another step: no other node has them. */
extern bool herd_is_held(const RangeTblEntry *rte);
/* True if such an item is anywhere in the query. */
extern bool herd_reads_held(Query *query);

extern void herd_steps_init(void);
