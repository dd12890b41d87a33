#include "base/rng.h"

#include <assert.h>

uint64_t herd_rng_next(struct herd_rng *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

int64_t herd_rng_range(struct herd_rng *r, int64_t lo, int64_t hi)
{
	assert(lo <= hi);
	uint64_t span = (uint64_t)hi - (uint64_t)lo + 1;
	uint64_t n = herd_rng_next(r);

	return (int64_t)((uint64_t)lo + (span ? n % span : n));
}

int herd_rng_chance(struct herd_rng *r, int permille)
{
	return herd_rng_range(r, 0, 999) < permille;
}
