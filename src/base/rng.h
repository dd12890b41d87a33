/*
 * base/rng.h - a small seeded random generator (splitmix64). Same seed, same numbers, everywhere.
 * Not for secrets: those come from OpenSSL.
 */
#pragma once
#include <stdint.h>

struct herd_rng {
	uint64_t state;
};

static inline struct herd_rng herd_rng_seed(uint64_t seed)
{
	return (struct herd_rng){ seed };
}
uint64_t herd_rng_next(struct herd_rng *r);
/* Uniform in [lo, hi], lo <= hi. */
int64_t herd_rng_range(struct herd_rng *r, int64_t lo, int64_t hi);
/* True with probability permille / 1000. */
int herd_rng_chance(struct herd_rng *r, int permille);
