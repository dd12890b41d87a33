/*
 * plan/cursor.h - WHERE CURRENT OF a cursor over distributed tables.
 *
 * A query of a cursor whose rows are rows of distributed tables carries, unseen by the client, what
 * finds each of them again: the distribution column and ctid; of reference tables, whose replicas
 * have other ctids, the primary key. The topmost node of its plan ("Herd Cursor") remembers that of
 * the row it gave last. UPDATE and DELETE ask for it when they are executed, as parameters of their
 * text, and go to the one shard of the row.
 */
#pragma once
#include "postgres.h"

#include "nodes/params.h"
#include "nodes/plannodes.h"

/* Replaces WHERE CURRENT OF, in place, wherever the query writes to a distributed table. */
extern void herd_cursor_replace(Query *query);

/*
 * A copy of the query of a cursor (CURSOR_OPT_FAST_PLAN) with the columns that find its rows again,
 * or NULL when that is not possible or not needed. carried: for herd_cursor_plan. The query is not
 * changed.
 */
extern Query *herd_cursor_locate(const Query *query, ParamListInfo bound, List **carried);

/* Makes the plan of what herd_cursor_locate gave that of the query. scroll: as CURSOR_OPT_SCROLL.
 */
extern void herd_cursor_plan(PlannedStmt *stmt, const Query *query, List *carried, bool scroll);

/* Registers the CustomScan methods. */
extern void herd_cursor_init(void);

/* A column (system columns too) of the current row that the cursor has of the table. */
typedef struct HerdCursorColumn {
	Oid relid;
	AttrNumber attno;
	Oid type;
	Datum value; /* lives as long as the row is the current one */
	bool isnull;
} HerdCursorColumn;

struct PlanState;

/*
 * plan/cursor_node.c: the columns that the topmost node of a plan remembers; false if it is none of
 * ours. locks: the cursor has FOR UPDATE or the like.
 */
extern bool herd_cursor_columns(const struct PlanState *top, const HerdCursorColumn **columns,
				int *n, bool *locks);

/* plan/cursor_node.c: puts the node above the plan. carried: of lists (OID, attribute number, its
 * position in the rows of child). */
extern Plan *herd_cursor_node(Plan *child, List *columns, List *targetlist, List *carried,
			      bool locks);
