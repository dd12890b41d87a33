/*
 * plan/row_insert.h - rows that are written to their shards one by one: those that meet the BEFORE
 * INSERT triggers on this node (attach/before.h), for COPY FROM, and those that have left another
 * shard (attach/leaving.h).
 */
#pragma once
#include "postgres.h"

#include "access/htup.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"

typedef struct HerdRowInsert HerdRowInsert;

/* Lives in CurrentMemoryContext. columns: of int, all that are stored, of a distributed table. */
extern HerdRowInsert *herd_row_insert_begin(Oid relid, List *columns);
/* row: a slot of the table's columns, which is changed. False: a trigger has skipped it. */
extern bool herd_row_insert(HerdRowInsert *insert, TupleTableSlot *row);
/* For rows that come from other shards: no triggers, rights and policies are met. */
extern HerdRowInsert *herd_row_insert_begin_moved(Oid relid);
/* row: as above. Returns the row as it is in its shard, in the table's columns. */
extern HeapTuple herd_row_insert_moved(HerdRowInsert *insert, TupleTableSlot *row);
extern void herd_row_insert_end(HerdRowInsert *insert);
