/*
 * plan/row_insert.h - rows that meet the BEFORE INSERT triggers on this node and are written to
 * their shards one by one (attach/before.h), for COPY FROM.
 */
#pragma once
#include "postgres.h"

#include "executor/tuptable.h"
#include "nodes/pg_list.h"

typedef struct HerdRowInsert HerdRowInsert;

/* Lives in CurrentMemoryContext. columns: of int, all that are stored, of a distributed table. */
extern HerdRowInsert *herd_row_insert_begin(Oid relid, List *columns);
/* row: a slot of the table's columns, which is changed. False: a trigger has skipped it. */
extern bool herd_row_insert(HerdRowInsert *insert, TupleTableSlot *row);
extern void herd_row_insert_end(HerdRowInsert *insert);
