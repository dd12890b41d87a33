/* Buckets, percentiles, differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "pool/histogram.h"

static void every_time_has_its_bucket(void **state)
{
	(void)state;
	for (int i = 0; i < HERD_HISTOGRAM_BUCKETS; i++) {
		uint64_t floor = herd_histogram_floor(i), next = herd_histogram_floor(i + 1);

		assert_true(next > floor);
		assert_int_equal(herd_histogram_bucket(floor), i);
		assert_int_equal(herd_histogram_bucket(next - 1), i);
		/* Four to a power of two. */
		assert_true(floor < 4 || (next - floor) * 4 <= floor);
	}
	assert_int_equal(herd_histogram_bucket(UINT64_MAX), HERD_HISTOGRAM_BUCKETS - 1);
}

static void percentiles(void **state)
{
	struct herd_histogram *h = calloc(1, sizeof(*h));
	struct herd_histogram_sum s = { 0 }, before, since;

	(void)state;
	assert_non_null(h);
	assert_int_equal(herd_histogram_percentile(&s, 0.5), 0);
	for (int us = 1; us <= 1000; us++)
		herd_histogram_add(h, us);
	herd_histogram_add(h, -5); /* a clock that went back counts as nothing */
	herd_histogram_read(h, &s);
	assert_int_equal(s.count, 1001);
	assert_int_equal(s.sum_us, 500500);
	assert_in_range(herd_histogram_percentile(&s, 0.5), 490, 510);
	assert_in_range(herd_histogram_percentile(&s, 0.9), 880, 910);
	assert_in_range(herd_histogram_percentile(&s, 1), 1000, 1024);
	assert_int_equal(herd_histogram_below(&s, 512), 512);
	assert_int_equal(herd_histogram_below(&s, 1 << 20), 1001);
	before = s;
	for (int i = 0; i < 10; i++)
		herd_histogram_add(h, 1000000);
	memset(&s, 0, sizeof(s));
	herd_histogram_read(h, &s);
	herd_histogram_since(&s, &before, &since);
	assert_int_equal(since.count, 10);
	assert_in_range(herd_histogram_percentile(&since, 0.5), 900000, 1100000);
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_time_has_its_bucket),
		cmocka_unit_test(percentiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
