/*
 * attach/capture.h - rows that a write has changed come back for triggers that fire where it is
 * planned.
 *
 * Transition tables, and row triggers whose function uses rows of other nodes, cannot be had on a
 * shard. There a trigger writes the rows down as a message to the session that sent the statement:
 * a notice of the protocol with a mark that no user can set (herd_conn_notice takes it), or, on the
 * node that plans, directly. The session that plans keeps the messages, from herd_capture_begin on,
 * in a tuplestore of work_mem, and reads them when the shards have done their part.
 *
 * A message: "<shard id> <event> <kind> <length>:<trigger>", for a conflict the row's ctid in the
 * place of the trigger, then rows: 'b' (old and new), 'o'
 * (old) or 'n' (new) and the columns of each that are not dropped, in the order of the table, as
 * "<length>:<text>" or "-:" for a null.
 */
#pragma once
#include "postgres.h"

#include "commands/trigger.h"
#include "libpq-fe.h"

typedef enum HerdCaptureKind {
	HERD_CAPTURE_SET = 'S', /* the rows of a statement on one shard, for transition tables */
	HERD_CAPTURE_ROW = 'R', /* one row, for the row trigger that is named */
	HERD_CAPTURE_CONFLICT = 'C' /* one that ON CONFLICT DO UPDATE has found, and not changed */
} HerdCaptureKind;

/* Text of values in a form that every session reads alike; end with AtEOXact_GUC(true, level). */
extern int herd_capture_modes(void);

/* -- on the shard ------------------------------------------------------------------------------ */

/* The table of a shard by the number at the end of its name; InvalidOid when it is no shard. */
extern Oid herd_table_of_shard(Relation shard, uint64 *shardid);
/* True if somebody waits for rows: a session that works for another one, or one that plans. */
extern bool herd_capture_possible(void);
/* True if the statement came from this very session. */
extern bool herd_capture_in_process(void);
/* A row for the trigger of the table (its relation and row type are data's). */
extern void herd_capture_row(const TriggerData *data, uint64 shardid);
/* The same for plan/conflict.h: the row is where it is in the shard. */
extern void herd_capture_conflict(const TriggerData *data, uint64 shardid, ItemPointer place);

/* -- where the statement was planned ----------------------------------------------------------- */

typedef struct HerdCaptured HerdCaptured;

/* What comes from now on belongs to a statement on the table. Goes with the (sub)transaction. */
extern void herd_capture_begin(Oid relid);
/* A row of the table that has left its shard, if a statement waits: attach/leaving.h. */
extern void herd_capture_moved(Relation table, uint64 shardid, HeapTuple before, HeapTuple after);
/* No more comes: what came. NULL: it was not begun. */
extern HerdCaptured *herd_capture_end(Oid relid);
/* The next message, palloc'd, and the group that it is from; false at the end. */
extern bool herd_capture_next(HerdCaptured *captured, int32 *groupid, char **message);
extern void herd_capture_free(HerdCaptured *captured);
/*
 * Instead of herd_capture_end: the first message of a conflict, palloc'd, or NULL. What else came
 * is for the statement outside.
 */
extern char *herd_capture_end_conflict(Oid relid);

/* True if the notice was a message, which has been kept. */
extern bool herd_capture_notice(int32 groupid, const PGresult *res);
/* Raises when a message came that nobody waited for: a trigger is newer than the plan. */
extern void herd_capture_check(void);

/* -- where a row trigger fires (attach/place.c) ------------------------------------------------ */

typedef enum HerdPlace {
	HERD_PLACE_SHARD, /* its function reads and writes no tables */
	HERD_PLACE_TRY,   /* on the shard, if what it uses is there */
	HERD_PLACE_HERE   /* it speaks to listeners */
} HerdPlace;

extern HerdPlace herd_trigger_place(const Trigger *trigger);
/* The same of a function that a statement calls. */
extern HerdPlace herd_function_place(Oid function);
