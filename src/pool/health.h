/*
 * pool/health.h - when a replica that fails is left alone, and when it is tried again.
 *
 * Pure. A member that could not be used is out for a second, then for two, four... up to a minute;
 * the first success readmits it. Milliseconds, monotonic.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct herd_health {
	int fails;        /* in a row */
	int64_t until_ms; /* it is out until then; 0: it is not */
};

/* It failed. True when it was in until now: those that use it must hear of it. */
bool herd_health_failed(struct herd_health *h, int64_t now_ms);
/* It worked. True when it was out, or on probation. */
bool herd_health_worked(struct herd_health *h);
static inline bool herd_health_out(const struct herd_health *h, int64_t now_ms)
{
	return now_ms < h->until_ms;
}

/* The pause after so many failures in a row. */
int64_t herd_health_pause_ms(int fails);
