/*
 * pool/histogram.h - how long things take: counts in buckets that grow with the time, four to every
 * power of two, so that any percentile is known to a fifth.
 *
 * One thread adds, any thread reads. Microseconds.
 */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

enum { HERD_HISTOGRAM_BUCKETS = 132 }; /* up to 2.3 hours; what is longer is in the last one */

struct herd_histogram {
	_Atomic uint64_t n[HERD_HISTOGRAM_BUCKETS];
	_Atomic uint64_t sum_us;
};

static inline int herd_histogram_bucket(uint64_t us)
{
	if (us < 4)
		return (int)us;
	int power = 63 - __builtin_clzll(us);

	return power > 33 ? HERD_HISTOGRAM_BUCKETS - 1
			  : (power - 1) * 4 + (int)(us >> (power - 2) & 3);
}

static inline void herd_histogram_add(struct herd_histogram *h, int64_t us)
{
	uint64_t v = us > 0 ? (uint64_t)us : 0;
	_Atomic uint64_t *slot = &h->n[herd_histogram_bucket(v)];

	/* One writer: no locked instruction is needed. */
	atomic_store_explicit(slot, atomic_load_explicit(slot, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	atomic_store_explicit(&h->sum_us,
			      atomic_load_explicit(&h->sum_us, memory_order_relaxed) + v,
			      memory_order_relaxed);
}

/* The least time that goes into the bucket. */
uint64_t herd_histogram_floor(int bucket);

/* What several of them have counted. */
struct herd_histogram_sum {
	uint64_t n[HERD_HISTOGRAM_BUCKETS];
	uint64_t count, sum_us;
};
void herd_histogram_read(const struct herd_histogram *h, struct herd_histogram_sum *add_to);
/* What came since an earlier sum. */
void herd_histogram_since(const struct herd_histogram_sum *now,
			  const struct herd_histogram_sum *before, struct herd_histogram_sum *ret);
/* The time within which the share (0 to 1) of them is over, spread evenly over its bucket. */
uint64_t herd_histogram_percentile(const struct herd_histogram_sum *s, double share);
/* How many took at most so long; exact at the floor of a bucket. */
uint64_t herd_histogram_below(const struct herd_histogram_sum *s, uint64_t us);
