/*
 * txn/txn.h - one transaction over several nodes: BEGIN, savepoints, two-phase commit, recovery.
 *
 * Transaction ids on remote nodes are "citus_<group>_<pid>_<transaction number>_<connection
 * number>". Before COMMIT PREPARED a row per prepared transaction is written to
 * pg_dist_transaction in the transaction that decides, the local one or that of one of the nodes
 * (decide.h): recovery commits a prepared transaction that has a row and rolls back one of ours
 * that has none.
 */
#pragma once
#include "postgres.h"

/* Installs the transaction callbacks; called once from _PG_init. */
extern void herd_txn_init(void);
/* Resolves prepared transactions this node started. Returns how many were resolved. */
extern int herd_recover_prepared(void);
/* Registers the maintenance worker (launcher and one per database with the extension). */
extern void herd_maintenance_init(void);
/* True when this transaction has sent something to the group. */
extern bool herd_txn_group_used(int32 groupid);
