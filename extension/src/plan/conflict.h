/*
 * plan/conflict.h - INSERT .. ON CONFLICT DO UPDATE whose BEFORE row triggers fire on the node that
 * plans (attach/before.h).
 *
 * A row goes to its shard, which looks for the one that it conflicts with, locks it, asks the
 * condition and computes the new values. Where the shard's BEFORE UPDATE triggers would fire, it
 * sends the row, old and new, instead (attach/capture.h), and leaves it as it is. The triggers fire
 * here, and what remains is written where the row is.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

#include "attach/before.h"
#include "exec/exec.h"

typedef struct HerdConflict HerdConflict;

/* Columns that the UPDATE sets, of int; NIL if there is none. */
extern List *herd_conflict_columns(const Query *insert);

/*
 * NULL: the statement has no such triggers. relids, roles: plan/rights.h. Lives in
 * CurrentMemoryContext, as long as before does.
 */
extern HerdConflict *herd_conflict_begin(const Query *insert, HerdBefore *before, List *relids,
					 List *roles);
/* A row is about to be sent to its shard. */
extern void herd_conflict_send(HerdConflict *conflict);
/* It was. NULL: it did not conflict, or a trigger skips it; else what is to be written then. */
extern HerdJob *herd_conflict_job(HerdConflict *conflict);
/* So many rows were written by it. */
extern void herd_conflict_written(uint64 rows);
extern void herd_conflict_end(HerdConflict *conflict);
