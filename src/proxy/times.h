/*
 * proxy/times.h - per pool, how long clients waited for a server, and queries and transactions
 * took.
 *
 * Counted per worker without sharing, from clock readings that are taken anyway.
 */
#pragma once
#include "pool/histogram.h"

struct herd_pool;

enum herd_time { HERD_TIME_WAIT = 0, HERD_TIME_QUERY, HERD_TIME_XACT, HERD_TIME_NR };

/* Of one worker. */
struct herd_times {
	_Alignas(64) struct herd_histogram of[HERD_TIME_NR];
};
struct herd_times *herd_times_new(int nworkers); /* NULL when out of memory; free() */

struct herd_times_sum {
	struct herd_histogram_sum of[HERD_TIME_NR];
};
void herd_times_read(const struct herd_pool *p, struct herd_times_sum *ret);
/* A stats period is over. px->pools_lock is held, as for the next. */
void herd_times_period(struct herd_pool *p);
/* What came in this period and the one before it: recent, and enough to be worth a percentile. */
void herd_times_recent(const struct herd_pool *p, struct herd_times_sum *ret);
const char *herd_time_name(enum herd_time t);
