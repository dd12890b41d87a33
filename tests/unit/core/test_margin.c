/*
 * The margin between the guard's deadline and the end of the lease, for every ttl: what error of
 * the clock and what delay of the scheduler it covers (docs/simulator.md has the table).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/core.h"

enum {
	KILL_MS = 250, /* from SIGQUIT to SIGKILL, see agent/guard.c */
	PPM = 500,     /* the most by which a clock is slewed */
	SCHEDULE_MS = 200,
};

/* When the guard acts, in the store's time, if our clock runs that much too slowly. */
static int64_t true_ms(int64_t local_ms, int64_t ppm)
{
	return local_ms + local_ms * ppm / (1000000 - ppm) + 1;
}

static void guard_acts_before_the_lease_ends(void **state)
{
	for (int64_t ttl = 3; ttl <= 300; ttl++) {
		struct herd_lease_times t = herd_lease_times(0, ttl * 1000, 1000);

		assert_int_equal(t.expiry_ms, ttl * 1000);
		assert_true(true_ms(t.guard_ms, PPM) + KILL_MS + SCHEDULE_MS < t.expiry_ms);
		/* A clock that is off by 16% alone does no harm. */
		assert_true(true_ms(t.guard_ms, 160000) < t.expiry_ms);
	}
}

/* The agent stops by itself before the guard has to, and renews long before both. */
static void steps_are_in_order(void **state)
{
	for (int64_t ttl = 3; ttl <= 300; ttl++) {
		for (int64_t loop_wait = 1; loop_wait <= 30; loop_wait++) {
			struct herd_lease_times t =
				herd_lease_times(0, ttl * 1000, loop_wait * 1000);

			assert_true(t.renew_ms <= ttl * 1000 / 3 && t.renew_ms > 0);
			assert_true(t.renew_ms < t.fast_ms && t.fast_ms < t.hard_ms);
			assert_true(t.hard_ms < t.guard_ms && t.guard_ms < t.expiry_ms);
		}
	}
}

/* Counted from when the renewal was sent: what the store has taken until it was granted is ours. */
static void counted_from_sending(void **state)
{
	struct herd_lease_times a = herd_lease_times(0, 5000, 1000);
	struct herd_lease_times b = herd_lease_times(123456, 5000, 1000);

	assert_int_equal(b.guard_ms - a.guard_ms, 123456);
	assert_int_equal(b.expiry_ms - a.expiry_ms, 123456);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guard_acts_before_the_lease_ends),
		cmocka_unit_test(steps_are_in_order),
		cmocka_unit_test(counted_from_sending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
