/*
 * plan/hub.h - what plan/hub.c, which decides what is moved, and plan/hub_move.c, which makes the
 * moves, share.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

#include "catalog/metadata.h"
#include "move/move.h"
#include "plan/rewrite.h"

enum { HERD_HUB_ITEMS = 16 };

typedef struct HerdHubItem {
	int varno;
	const HerdTable *table; /* of it, or one of those in the subquery; NULL: computed here */
	List *keys;             /* of HerdTerm: its columns that are the key of its shards */
	double bytes;           /* of the tables */
	double moved;           /* of what would be moved, as estimated */
} HerdHubItem;

typedef enum HerdHubFate { HERD_HUB_STAYS, HERD_HUB_CUT, HERD_HUB_SENT } HerdHubFate;

typedef struct HerdHubChoice {
	double cost;
	const HerdTable *target;
	HerdHubFate fates[HERD_HUB_ITEMS];
	AttrNumber columns[HERD_HUB_ITEMS]; /* of HERD_HUB_CUT */
} HerdHubChoice;

/* Conditions that every row of the item must meet to have an influence on the result. */
extern void herd_hub_own_conditions(Node *jtnode, int varno, List **own);
extern Oid herd_hub_column_type(Query *query, int varno, AttrNumber attno);
/*
 * Columns of the item in order; what nobody reads is null. NIL: it cannot be moved. done:
 * conditions (the nodes in the query) that nobody asks after the move.
 */
extern List *herd_hub_columns(Query *query, int varno, List *done);
/* SELECT of columns of a relation of this node. */
extern Query *herd_hub_select_local(Query *query, int varno, List *tlist, List *own);
/* A plan of the query as it is, run by itself before the statement. */
extern PlannedStmt *herd_hub_plan_alone(Query *query, const HerdPlanning *planning);
/* A move without source, appended to those of the planning. */
extern HerdMove *herd_hub_new_move(HerdPlanning *planning, const HerdTable *target,
				   const char *name);
/* Item number i of the choice becomes a move, in place. NULL: not possible. */
extern HerdMove *herd_hub_move_item(Query *query, const HerdHubChoice *choice, int i,
				    const HerdHubItem *item, HerdPlanning *planning);
/*
 * Subqueries in WHERE that shards cannot answer are answered before; those of a write, wherever
 * they stand, also by the shards over what is brought to them. Appends the moves. False: there is
 * one of which that is not possible.
 */
extern bool herd_hub_move_sublinks(Query *query, const HerdHubChoice *choice,
				   HerdPlanning *planning, List **moves);
