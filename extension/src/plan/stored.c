#include "plan/stored.h"

TupleTableSlot *herd_stored_next(Tuplestorestate *rows, TupleTableSlot *stored,
				 TupleTableSlot *slot)
{
	int natts = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	if (!tuplestore_gettupleslot(rows, true, false, stored))
		return slot;
	slot_getallattrs(stored);
	memcpy(slot->tts_values, stored->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, stored->tts_isnull, natts * sizeof(bool));
	return ExecStoreVirtualTuple(slot);
}
