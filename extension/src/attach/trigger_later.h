/*
 * attach/trigger_later.h - constraint triggers that are DEFERRABLE: rows wait on the node that
 * plans.
 *
 * Their shards' triggers are not deferrable and give the rows back at once (attach/capture.h).
 * PostgreSQL's own queue looks rows up in the table when it fires, and there are none here, so
 * those that wait are kept here, whole: for the end of the transaction, or SET CONSTRAINTS ..
 * IMMEDIATE. What is rolled back with its subtransaction is forgotten; what a subtransaction has
 * fired that is rolled back waits again.
 */
#pragma once
#include "postgres.h"

#include "access/htup.h"
#include "commands/trigger.h"

/*
 * A row of the table (its shell, and one of its triggers) waits, if the trigger is deferred now;
 * false: it is not. event is 'I', 'U' or 'D'; old and new rows are copied, NULL for none.
 */
extern bool herd_trigger_keep(Relation table, const Trigger *trigger, char event, HeapTuple before,
			      HeapTuple after);

/* Fires those that do not have to wait any more (all: the transaction ends); true if there were. */
extern bool herd_trigger_fire_kept(bool all);

/* Callbacks; from _PG_init, after those of far keys: triggers fire before far keys are looked at.
 */
extern void herd_trigger_later_init(void);
