/*
 * txn/prepared.h - transactions that users prepare.
 *
 * PREPARE TRANSACTION prepares what nodes have of the transaction, under names like those of a
 * commit over several nodes, and writes a row for each to pg_dist_transaction. The rows appear with
 * COMMIT PREPARED, and the lock on the transaction's number stays with it while it is prepared,
 * also over a restart or in a standby that is promoted: so recovery (recover.c) leaves the nodes'
 * parts alone until the user has decided, and finishes then what could not be finished at once.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * Before COMMIT PREPARED or ROLLBACK PREPARED is run: the nodes' parts of the transaction, NIL for
 * other commands and when there are none.
 */
extern List *herd_prepared_parts(const Node *stmt);

/* When it has been run: does the same with the parts. What fails is left to recovery. */
extern void herd_prepared_finish(const Node *stmt, List *parts);
