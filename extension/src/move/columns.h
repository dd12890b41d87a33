/*
 * move/columns.h - how the values of rows travel: as their types send them, or as text.
 *
 * A row is a bitmap of the columns that are null, and for each other one its length and bytes.
 */
#pragma once
#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"
#include "lib/stringinfo.h"

/* Types whose bytes are made here, without a call; the rest is called. */
typedef enum HerdColumnKind {
	HERD_COLUMN_TEXT, /* output and input functions */
	HERD_COLUMN_CALL, /* send and receive functions */
	HERD_COLUMN_1,    /* bool */
	HERD_COLUMN_2,    /* by value, in network byte order */
	HERD_COLUMN_4,
	HERD_COLUMN_8,
	HERD_COLUMN_BYTES /* text and the like, where nothing is converted */
} HerdColumnKind;

typedef struct HerdColumn {
	HerdColumnKind kind;
	Oid type; /* under a domain */
	Oid ioparam;
	int32 typmod;
	FmgrInfo fn; /* send or output; receive or input */
} HerdColumn;

/* In CurrentMemoryContext; write: for herd_row_put. */
extern HerdColumn *herd_columns_of(TupleDesc desc, bool write);

/* Appends a row. What functions allocate is left in CurrentMemoryContext. */
extern void herd_row_put(StringInfo out, HerdColumn *columns, int natts, const Datum *values,
			 const bool *isnull);
/*
 * Reads the row at p and returns what follows it; raises when it goes beyond end, where a zero byte
 * must stand. The bytes are changed for a moment. Values by reference: in CurrentMemoryContext.
 */
extern char *herd_row_get(char *p, char *end, HerdColumn *columns, int natts, Datum *values,
			  bool *isnull);
