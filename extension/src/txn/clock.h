/*
 * txn/clock.h - a hybrid logical clock: times of several nodes that can be ordered.
 *
 * A time is 42 bits of milliseconds since 1970 and a counter of 22 bits. Each reading of a node's
 * clock is later than all before it on the node, whatever the machine's clock does, and across
 * restarts. citus_get_transaction_clock() moves the clocks of all nodes that the transaction has
 * used to the latest among them: what begins there afterwards has a later time.
 */
#pragma once
#include "postgres.h"

/* Compared as a number. */
typedef uint64 HerdClock;

/* The memory that the server's processes share; once from _PG_init. */
extern void herd_clock_init(void);
