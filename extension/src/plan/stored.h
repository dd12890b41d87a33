/*
 * plan/stored.h - rows of a tuplestore as the rows of a scan.
 */
#pragma once
#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/tuplestore.h"

/*
 * The next row, in slot, or an empty slot. stored is a minimal-tuple slot of the same columns,
 * which holds what slot's values point to until the next call.
 */
extern TupleTableSlot *herd_stored_next(Tuplestorestate *rows, TupleTableSlot *stored,
					TupleTableSlot *slot);
