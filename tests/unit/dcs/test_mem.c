#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "dcs/dcs.h"
#include "loop/loop.h"
#include "tests/unit/dcs/store_tests.h"

static void mem_passes_the_common_tests(void **state)
{
	struct herd_loop *l = herd_loop_new();
	struct herd_dcs_mem *m = herd_dcs_mem_new(l);
	struct herd_dcs *a = herd_dcs_mem_open(m), *b = herd_dcs_mem_open(m);

	store_tests(l, a, b);
	herd_dcs_free(a);
	herd_dcs_free(b);
	herd_dcs_mem_free(m);
	herd_loop_free(l);
}

static void unreachable_and_lost_replies(void **state)
{
	struct herd_loop *l = herd_loop_new();
	struct herd_dcs_mem *m = herd_dcs_mem_new(l);
	struct herd_dcs *d = herd_dcs_mem_open(m);

	herd_dcs_mem_set_reachable(m, false, false);
	assert_int_equal(put(l, d, "k", "1", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_UNREACHABLE);
	herd_dcs_mem_set_reachable(m, false, true);
	assert_int_equal(put(l, d, "k", "2", HERD_DCS_ABSENT, 0, NULL, NULL), HERD_DCS_UNKNOWN);
	herd_dcs_mem_set_reachable(m, true, false);
	/* The change was made although its reply was lost. */
	assert_int_equal(put(l, d, "k", "3", HERD_DCS_ABSENT, 0, NULL, NULL), HERD_DCS_CONFLICT);
	herd_dcs_free(d);
	herd_dcs_mem_free(m);
	herd_loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mem_passes_the_common_tests),
		cmocka_unit_test(unreachable_and_lost_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
