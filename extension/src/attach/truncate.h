/*
 * attach/truncate.h - AFTER TRUNCATE triggers fire when the shards are empty as well.
 *
 * PostgreSQL fires them at the end of the TRUNCATE of the shells, and BEFORE triggers at its begin,
 * where the shards still have their rows. So those of the first kind are switched off in the
 * catalog for the time of that statement, which has the tables for itself, and fired afterwards.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/* Before the shells are truncated: those that wait, for the two below. */
extern List *herd_truncate_begin(const TruncateStmt *stmt);
/* After it: the triggers are as they were. */
extern void herd_truncate_restore(List *waiting);
/* After the shards have been truncated: fires them. */
extern void herd_truncate_fire(List *waiting);
