/*
 * stats/counters.h - what this server has done for each database, since it started or was told to
 * forget: citus_stat_counters. Nothing is counted while citus.enable_stat_counters is off.
 */
#pragma once
#include "postgres.h"

typedef enum HerdCounter {
	HERD_COUNT_OPENED, /* connections to nodes */
	HERD_COUNT_OPEN_FAILED,
	HERD_COUNT_REUSED,       /* taken from the session's cache */
	HERD_COUNT_SINGLE_SHARD, /* statements of one task */
	HERD_COUNT_MULTI_SHARD,
	HERD_COUNTERS
} HerdCounter;

/* Setting and shared memory; from _PG_init. */
extern void herd_counters_init(void);
extern bool herd_counters_wanted(void);
/* Never raises. */
extern void herd_counter_add(HerdCounter counter);
