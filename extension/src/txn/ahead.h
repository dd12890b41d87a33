/*
 * txn/ahead.h - what a cursor has still to give, read before something is written.
 *
 * A query that is open sees what was there when it was opened. The rows that nodes send for it can
 * be kept as they come (herd_exec_settle), but a scan that is run again with other parameters, once
 * for each row of another one, would read what has been written meanwhile. Such a query is run to
 * its end and its rows are kept instead.
 */
#pragma once
#include "postgres.h"

#include "executor/execdesc.h"

typedef struct HerdAhead HerdAhead;

/* After ExecutorStart: remembers the query while it is open. Call it in its resource owner. */
extern void herd_ahead_opened(QueryDesc *query);
/* Before ExecutorEnd: gives back what is kept. */
extern void herd_ahead_ended(const QueryDesc *query);

/* Around ExecutorRun; NULL: it was not opened here. Raises when it could not be read to its end. */
extern HerdAhead *herd_ahead_enter(const QueryDesc *query);
extern void herd_ahead_leave(HerdAhead *open);
/* Instead of running the query, when its rows are kept: gives count of them (0: all). */
extern bool herd_ahead_give(HerdAhead *open, ScanDirection direction, uint64 count);

/* Keeps what the query has still to give; false if it is being run. */
extern bool herd_ahead_read(const EState *estate);
