/*
 * move/columns.h - how the values of rows travel: as their types send them, or as text.
 */
#pragma once
#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"

typedef struct HerdColumn {
	bool binary;
	Oid ioparam;
	int32 typmod;
	FmgrInfo fn; /* send or output; receive or input */
} HerdColumn;

extern HerdColumn *herd_columns_of(TupleDesc desc, bool write);
