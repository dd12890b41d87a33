/*
 * exec/standby.h - reads that may be answered by a standby of a group's primary.
 *
 * With citus.use_secondary_nodes = auto, a statement that only reads, and is no part of a
 * transaction that may write, goes to an active secondary of the group (in citus.cluster_name)
 * that has replayed what the primary had written no longer than citus.max_secondary_lag ago, and
 * whatever this session has written itself. How far that is, is asked of the primary once in that
 * time for all sessions of this server; whether the standby is there, it says itself in the same
 * message as the statement. A standby that is behind, on another timeline, lost, or in conflict
 * with its recovery is left alone for a while and the primary does the work.
 *
 * No clocks of two machines are compared, and a standby that is cut off from its primary is found
 * out: the primary's position moves on.
 */
#pragma once
#include "postgres.h"

#include "exec/run.h"

/* Shared memory; from _PG_init. */
extern void herd_standby_init(void);
/*
 * Before connections are made: gives pools of a read outside a block, as far as a standby may
 * answer them, a connection to one (Pool.standby, first, lsn, timeline).
 */
extern void herd_standby_choose(HerdExec *exec);
/* One more connection to the pool's standby, idle or begun, or NULL. */
extern HerdConn *herd_standby_extra(const Pool *pool);
