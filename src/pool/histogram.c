#include "pool/histogram.h"

uint64_t herd_histogram_floor(int bucket)
{
	if (bucket < 4)
		return (uint64_t)bucket;
	return (uint64_t)(4 + bucket % 4) << (bucket / 4 - 1);
}

void herd_histogram_read(const struct herd_histogram *h, struct herd_histogram_sum *add_to)
{
	for (int i = 0; i < HERD_HISTOGRAM_BUCKETS; i++) {
		uint64_t n = atomic_load_explicit(&h->n[i], memory_order_relaxed);

		add_to->n[i] += n;
		add_to->count += n;
	}
	add_to->sum_us += atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}

void herd_histogram_since(const struct herd_histogram_sum *now,
			  const struct herd_histogram_sum *before, struct herd_histogram_sum *ret)
{
	for (int i = 0; i < HERD_HISTOGRAM_BUCKETS; i++)
		ret->n[i] = now->n[i] - before->n[i];
	ret->count = now->count - before->count;
	ret->sum_us = now->sum_us - before->sum_us;
}

uint64_t herd_histogram_percentile(const struct herd_histogram_sum *s, double share)
{
	double want = share * (double)s->count;
	double below = 0;
	int last = 0;

	for (int i = 0; i < HERD_HISTOGRAM_BUCKETS; i++) {
		double here = (double)s->n[i];

		if (s->n[i] == 0)
			continue;
		last = i;
		if (below + here >= want) {
			uint64_t low = herd_histogram_floor(i);
			uint64_t width = herd_histogram_floor(i + 1) - low;

			return low + (uint64_t)((double)width * (want - below) / here);
		}
		below += here;
	}
	return s->count > 0 ? herd_histogram_floor(last + 1) : 0;
}

uint64_t herd_histogram_below(const struct herd_histogram_sum *s, uint64_t us)
{
	uint64_t n = 0;

	for (int i = 0; i < HERD_HISTOGRAM_BUCKETS && herd_histogram_floor(i) < us; i++)
		n += s->n[i];
	return n;
}
