/*
 * attach/before.h - BEFORE row triggers that fire on the node that plans.
 *
 * A function that uses rows of other nodes cannot run on a shard, and what it returns decides what
 * is written. So each row is computed on the node that plans and meets the triggers of the table
 * there, all of them, in the order of their names; what remains of it is written to its shard,
 * whose BEFORE row triggers leave it alone (herd_rights_message_part), before the next row is
 * looked at: a function sees what the statement has done so far, as in PostgreSQL.
 */
#pragma once
#include "postgres.h"

#include "access/htup.h"
#include "executor/tuptable.h"
#include "nodes/parsenodes.h"

#include "commands/trigger.h"

/* -- attach/reach.c ---------------------------------------------------------------------------- */

typedef enum HerdReach {
	HERD_REACH_SHARD, /* it uses what is with the row, or on every node */
	HERD_REACH_MAYBE, /* it names co-located tables: who knows which rows of them */
	HERD_REACH_FAR    /* it names what may be on other nodes */
} HerdReach;

/*
 * What the function of a trigger on a distributed table, or one that a statement on it calls, uses,
 * by a look at its text. Far: a table that is not co-located, a reference table that it may write,
 * a table that is not known before it runs, or, if it is not volatile, the table itself.
 */
extern HerdReach herd_function_reaches(Oid function, Oid relid);
/* The farthest of the functions that an expression, or a query in it, calls. */
extern HerdReach herd_expr_reaches(Node *expr, Oid relid);

/* -- attach/before.c --------------------------------------------------------------------------- */

/* What BEFORE INSERT row triggers of the table reach. */
extern HerdReach herd_before_insert_reach(Oid relid);
/* What BEFORE row triggers that fire for the query itself, not its WITH, reach. */
extern HerdReach herd_before_reach(const Query *query);

/* True if there are BEFORE row triggers for the event: in a statement row by row all fire here. */
extern bool herd_before_any(Oid relid, int16 event);

typedef struct HerdBefore HerdBefore;

/* Lives in CurrentMemoryContext; the table stays locked. columns: as above. */
extern HerdBefore *herd_before_begin(Oid relid, const List *columns);
/*
 * The row, in a slot of the table's columns, as the triggers leave it. False: it is to be skipped.
 * before: the row as it is; its values live as long as the call.
 */
extern bool herd_before_insert(HerdBefore *before, TupleTableSlot *row);
extern bool herd_before_update(HerdBefore *before, HeapTuple old, TupleTableSlot *row);
extern bool herd_before_delete(HerdBefore *before, HeapTuple old);
extern void herd_before_end(HerdBefore *before);

/* On the shard: the triggers of this row have fired where the statement was planned. */
extern bool herd_before_done(const TriggerData *data);
/* On the shard: of this row, which ON CONFLICT DO UPDATE has found, they fire there:
 * plan/conflict.h */
extern bool herd_before_conflicts(const TriggerData *data);
/* On the shard: the statement is one row of another, which has not done all of its rows. */
extern bool herd_before_row_by_row(void);
