#include "proxy/linger.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "proxy/worker.h"

enum {
	ALONE = 8,           /* so many messages of the same client: no other is at work */
	YIELD_LONG_US = 100, /* strangers had the processor */
	PAUSE_FACTOR = 64,
	LONG = 4, /* waits beyond so many times spin_us are all the same */
	SPIN_MAX_US = 1000,
	SHARE = 8 /* of the last wait in what is usual */
};

/* Workers that are awake for nothing now, and how many may be (-1: not asked yet). */
static _Atomic int awake, awake_max = -1;

static int may_be_awake(void)
{
	int max = atomic_load_explicit(&awake_max, memory_order_relaxed);
	cpu_set_t set;

	if (max < 0) {
		max = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) / 2 : 0;
		atomic_store_explicit(&awake_max, max, memory_order_relaxed);
	}
	return max;
}

void herd_linger_init(struct herd_linger *l)
{
	/* Nothing is known: long. */
	*l = (struct herd_linger){ 0 };
	for (int i = 0; i <= HERD_AWAIT_CLIENT; i++)
		l->usual[i] = SPIN_MAX_US * LONG * SHARE;
}

void herd_linger_served(struct herd_linger *l, const void *client, enum herd_await awaits)
{
	l->alone = client == l->whom ? l->alone + (l->alone < ALONE) : 0;
	l->whom = client;
	l->awaits = awaits;
}

/* The one we wait for may wait for our processor. Not where a yield costs a slice of strangers. */
static void give_way(struct herd_linger *l, int64_t *now_us)
{
	int64_t begin = *now_us;

	if (begin < l->yield_after_us)
		return;
	sched_yield();
	*now_us = herd_clock_us();
	if (*now_us - begin > YIELD_LONG_US)
		l->yield_after_us = *now_us + (*now_us - begin) * PAUSE_FACTOR;
}

static int look(struct herd_linger *l, herd_linger_wait_fn wait, void *arg, int spin_us,
		int64_t *now_us)
{
	int64_t begin = *now_us;
	int n;

	give_way(l, now_us);
	do {
		n = wait(arg, 0);
		*now_us = herd_clock_us();
	} while (n == 0 && *now_us - begin < spin_us);
	l->awake_us += *now_us - begin;
	return n;
}

int herd_linger_wait(struct herd_linger *l, herd_linger_wait_fn wait, void *arg, int64_t timeout_us,
		     int spin_us, int64_t *now_us)
{
	uint32_t *usual = &l->usual[l->awaits];
	bool awaits = l->awaits != HERD_AWAIT_ANYBODY, looked = false;
	int n = 0;

	l->awaits = HERD_AWAIT_ANYBODY;
	if (!awaits || l->alone < ALONE || spin_us == 0 || timeout_us == 0) {
		n = wait(arg, timeout_us);
		*now_us = herd_clock_us();
		return n;
	}
	int64_t begin = *now_us = herd_clock_us();

	if (*usual <= (uint32_t)spin_us * SHARE) {
		looked = atomic_fetch_add(&awake, 1) < may_be_awake();
		if (looked)
			n = look(l, wait, arg, spin_us, now_us);
		atomic_fetch_sub(&awake, 1);
	}
	bool slept = n == 0;

	if (slept) {
		n = wait(arg, timeout_us);
		*now_us = herd_clock_us();
	}
	int64_t took = *now_us - begin, most = (int64_t)spin_us * LONG;

	if (took > most)
		took = most;
	else if (slept && !looked)
		took /= 2; /* the other half was the waking */
	*usual += (uint32_t)took - *usual / SHARE;
	return n;
}
