/* What the health check paths answer, for every kind of node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "agent/health.h"

static const struct herd_health leader = { .leader = true,
					   .running = true,
					   .primary = true,
					   .dcs_known = true,
					   .live = true,
					   .maximum_lag = 1000 };
static const struct herd_health replica = { .running = true,
					    .dcs_known = true,
					    .live = true,
					    .replication_state = "streaming",
					    .leader_lsn = 5000,
					    .received_lsn = 4990,
					    .replayed_lsn = 4500,
					    .maximum_lag = 1000 };
static const struct herd_health down = { .dcs_known = true };

static const struct {
	const char *path;
	int leader, replica, down;
} rows[] = {
	{ "/", 200, 503, 503 },
	{ "/primary", 200, 503, 503 },
	{ "/master", 200, 503, 503 },
	{ "/read-write", 200, 503, 503 },
	{ "/leader", 200, 503, 503 },
	{ "/standby-leader", 503, 503, 503 },
	{ "/replica", 503, 200, 503 },
	{ "/read-only", 200, 200, 503 },
	{ "/health", 200, 200, 503 },
	{ "/sync", 503, 503, 503 },
	{ "/quorum", 503, 503, 503 },
	{ "/async", 503, 200, 503 },
	{ "/asynchronous", 503, 200, 503 },
	{ "/read-only-sync", 200, 503, 503 },
	{ "/read-only-quorum", 200, 503, 503 },
	{ "/liveness", 200, 200, 503 },
	{ "/readiness", 200, 200, 503 },
	{ "/nonsense", 503, 503, 503 },
	{ "", 503, 503, 503 },
};

static void test_paths(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(herd_health_answer(&leader, rows[i].path, NULL, 0),
				 rows[i].leader);
		assert_int_equal(herd_health_answer(&replica, rows[i].path, NULL, 0),
				 rows[i].replica);
		assert_int_equal(herd_health_answer(&down, rows[i].path, NULL, 0), rows[i].down);
	}
}

static int ask(const struct herd_health *h, const char *path, const char *name, const char *value)
{
	struct herd_health_param p = { name, value };

	return herd_health_answer(h, path, &p, 1);
}

static void test_params(void **state)
{
	assert_int_equal(ask(&replica, "/replica", "lag", "500"), 200);
	assert_int_equal(ask(&replica, "/replica", "lag", "499"), 503);
	assert_int_equal(ask(&replica, "/replica", "lag", "1kB"), 200);
	assert_int_equal(ask(&replica, "/replica", "lag", "many"), 200);
	assert_int_equal(ask(&replica, "/replica", "lag", "-1"), 503);
	assert_int_equal(ask(&leader, "/read-only", "lag", "0"), 200);
	assert_int_equal(ask(&replica, "/replica", "replication_state", "streaming"), 200);
	assert_int_equal(ask(&replica, "/replica", "replication_state", "x"), 503);
	assert_int_equal(ask(&replica, "/readiness", "lag", "100"), 503);
	assert_int_equal(ask(&replica, "/readiness", "mode", "write"), 200);
}

static void test_tags(void **state)
{
	json_t *tags = json_pack("{s:s,s:b,s:b}", "rack", "a", "ssd", 1, "noloadbalance", 0);
	struct herd_health h = replica;

	h.tags = tags;
	assert_int_equal(ask(&h, "/replica", "tag_rack", "a"), 200);
	assert_int_equal(ask(&h, "/replica", "tag_rack", "b"), 503);
	assert_int_equal(ask(&h, "/replica", "tag_ssd", "true"), 200);
	assert_int_equal(ask(&h, "/replica", "tag_none", "a"), 503);
	json_object_set_new(tags, "noloadbalance", json_true());
	assert_int_equal(herd_health_answer(&h, "/replica", NULL, 0), 503);
	json_decref(tags);
}

static void test_sync(void **state)
{
	struct herd_health h = replica;

	h.sync_standby = true;
	assert_int_equal(herd_health_answer(&h, "/sync", NULL, 0), 200);
	assert_int_equal(herd_health_answer(&h, "/async", NULL, 0), 503);
	assert_int_equal(herd_health_answer(&h, "/read-only-sync", NULL, 0), 200);
	h.dcs_known = false;
	assert_int_equal(herd_health_answer(&h, "/sync", NULL, 0), 503);
	/* In pause a primary stays one for its clients when the store is away. */
	h = leader;
	h.leader = h.dcs_known = false;
	assert_int_equal(herd_health_answer(&h, "/primary", NULL, 0), 503);
	h.paused = true;
	assert_int_equal(herd_health_answer(&h, "/primary", NULL, 0), 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_params),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_sync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
