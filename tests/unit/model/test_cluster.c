/* Members, the dynamic configuration, and the view of a scope built from keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/str.h"
#include "model/cluster.h"

static const char member_text[] =
	"{\"conn_url\":\"postgres://10.0.0.1:5433/postgres\",\"api_url\":\"http://10.0.0.1:8008/"
	"patroni\",\"state\":\"running\",\"role\":\"replica\",\"version\":\"4.1.0\","
	"\"tags\":{\"nofailover\":true,\"zone\":\"x\"},\"pending_restart\":true,"
	"\"pending_restart_reason\":{\"a\":{\"old_value\":\"1\",\"new_value\":\"2\"}},"
	"\"xlog_location\":67393608,\"replay_lsn\":67393600,\"receive_lsn\":67393608,"
	"\"replication_state\":\"streaming\",\"timeline\":3,\"pause\":true,\"pgherd\":{\"k\":1}}";

static void member(void **state)
{
	struct herd_member m = { 0 }, copy = { 0 };

	assert_int_equal(herd_member_parse("a", member_text, strlen(member_text), &m, NULL), 0);
	assert_string_equal(m.host, "10.0.0.1");
	assert_int_equal(m.port, 5433);
	assert_int_equal(m.state, HERD_STATE_RUNNING);
	assert_int_equal(m.role, HERD_ROLE_REPLICA);
	assert_int_equal(herd_tags_failover_priority(&m.tags), 0);
	assert_true(m.xlog_location == 67393608);
	assert_int_equal(m.checkpoint_after_promote, -1);
	char *text = herd_member_print(&m);

	assert_string_equal(text, member_text);
	free(text);
	assert_int_equal(herd_member_copy(&m, &copy), 0);
	herd_member_clear(&m);
	text = herd_member_print(&copy);
	assert_string_equal(text, member_text);
	free(text);
	herd_member_clear(&copy);
}

static void member_forms(void **state)
{
	static const struct {
		const char *url, *host;
		int port;
	} urls[] = {
		{ "postgres://h/postgres", "h", 5432 },
		{ "postgresql://u@h:1/x", "h", 1 },
		{ "postgres://[::1]:2/x", "::1", 2 },
		{ "postgres://[::1]", "::1", 5432 },
	};
	static const char *const bad[] = {
		"http://h",         "postgres://",          "postgres://:5/x",
		"postgres://h:0/x", "postgres://h:99999/x", "postgres://[::1/x",
		"postgres://h:x/y"
	};
	struct herd_member m = { 0 };
	char *host;
	int port;
	const char *ancient = "postgres://h:1/postgres?application_name=http://h:2/patroni";

	for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
		assert_int_equal(herd_conn_url_parse(urls[i].url, &host, &port), 0);
		assert_string_equal(host, urls[i].host);
		assert_int_equal(port, urls[i].port);
		free(host);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(herd_conn_url_parse(bad[i], &host, &port), -EINVAL);
	assert_int_equal(herd_member_parse("a", ancient, strlen(ancient), &m, NULL), 0);
	assert_string_equal(m.conn_url, "postgres://h:1/postgres");
	assert_string_equal(m.api_url, "http://h:2/patroni");
	herd_member_clear(&m);
	assert_int_equal(herd_member_parse("a", "[]", 2, &m, NULL), -EINVAL);
	assert_int_equal(herd_role_parse("master"), HERD_ROLE_PRIMARY);
	assert_int_equal(herd_member_state_parse("crashed"), 14);
}

/* clang-format off */
static const struct {
	const char *text;
	bool guard;
	int64_t ttl, wait, retry;
	size_t warnings;
} timing[] = {
	{ "{}", false, 30000, 10000, 10000, 0 },
	{ "{\"ttl\":10}", false, 20000, 1000, 9000, 2 },
	{ "{\"ttl\":20,\"loop_wait\":10,\"retry_timeout\":9}", false, 20000, 2000, 9000, 1 },
	{ "{\"ttl\":3,\"loop_wait\":1,\"retry_timeout\":1}", true, 3000, 1000, 1000, 0 },
	{ "{\"ttl\":2,\"loop_wait\":1,\"retry_timeout\":1}", true, 3000, 1000, 1000, 1 },
	{ "{\"ttl\":3,\"loop_wait\":1,\"retry_timeout\":1}", false, 20000, 1000, 3000, 2 },
	{ "{\"ttl\":\"30\",\"loop_wait\":\"10s\"}", false, 30000, 10000, 10000, 0 },
	{ "{\"ttl\":[],\"loop_wait\":\"x\",\"retry_timeout\":1e300}", false, 30000, 10000, 10000, 3 },
};
/* clang-format on */

static void config(void **state)
{
	struct herd_config c;

	for (size_t i = 0; i < sizeof(timing) / sizeof(*timing); i++) {
		assert_int_equal(herd_config_parse(timing[i].text, strlen(timing[i].text),
						   timing[i].guard, &c, NULL),
				 0);
		assert_int_equal(c.ttl_ms, timing[i].ttl);
		assert_int_equal(c.loop_wait_ms, timing[i].wait);
		assert_int_equal(c.retry_timeout_ms, timing[i].retry);
		assert_int_equal(c.warnings.n, timing[i].warnings);
		assert_true(c.loop_wait_ms + 2 * c.retry_timeout_ms <= c.ttl_ms);
		herd_config_clear(&c);
	}
	const char *text =
		"{\"synchronous_mode\":\"quorum\",\"pause\":\"on\",\"member_slots_ttl\":\"1h\","
		"\"slots\":{\"a\":null,\"b\":{\"type\":\"logical\",\"database\":\"d\",\"plugin\":"
		"\"pgoutput\"},\"c\":{\"type\":\"logical\"}},\"ignore_slots\":[{\"name\":\"x\"},{}]"
		","
		"\"standby_cluster\":{\"host\":\"h\"},\"postgresql\":{\"use_pg_rewind\":true}}";

	assert_int_equal(herd_config_parse(text, strlen(text), false, &c, NULL), 0);
	assert_int_equal(c.synchronous_mode, HERD_SYNC_OFF); /* of a standby cluster */
	assert_true(c.pause && c.use_slots && c.standby_cluster);
	assert_int_equal(c.member_slots_ttl_ms, 3600000);
	assert_int_equal(c.n_slots, 2);
	assert_int_equal(c.slots[1].type, HERD_SLOT_LOGICAL);
	assert_int_equal(c.n_ignore, 2); /* {} is for every slot */
	herd_config_clear(&c);
	assert_int_equal(herd_config_parse("[]", 2, false, &c, NULL), -EINVAL);
}

static void standby_cluster_section(void **state)
{
	/* clang-format off */
	static const struct { const char *text; bool active; const char *host, *port, *slot; size_t warnings; } rows[] = {
		{ "{\"host\":\"h\"}", true, "h", "5432", NULL, 0 },
		{ "{\"host\":\"a,b\",\"port\":\"1,2\",\"primary_slot_name\":\"s\"}", true, "a,b", "1,2", "s", 0 },
		{ "{\"port\":5433}", true, "localhost", "5433", NULL, 0 },
		{ "{\"restore_command\":\"cp\"}", true, NULL, "5432", NULL, 0 },
		{ "{\"host\":\"h\",\"port\":99999}", true, "h", "5432", NULL, 1 },
		{ "{\"host\":\"h\",\"port\":\"1,\"}", true, "h", "5432", NULL, 1 },
		{ "{\"port\":\"x\"}", false, NULL, "5432", NULL, 1 },
		{ "{}", false, NULL, "5432", NULL, 0 },
		{ "{\"primary_slot_name\":\"s\"}", false, NULL, "5432", "s", 0 },
		{ "7", false, NULL, NULL, NULL, 0 },
	};
	/* clang-format on */

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = herd_str_printf("{\"standby_cluster\":%s}", rows[i].text);
		struct herd_config c;

		assert_int_equal(herd_config_parse(text, strlen(text), false, &c, NULL), 0);
		assert_int_equal(c.standby_cluster, rows[i].active);
		assert_true(herd_str_eq(c.standby_host, rows[i].host));
		assert_true(herd_str_eq(c.standby_port, rows[i].port));
		assert_true(herd_str_eq(c.standby_slot, rows[i].slot));
		assert_int_equal(c.warnings.n, rows[i].warnings);
		herd_config_clear(&c);
		free(text);
	}
}

static void permanent_slots(void **state)
{
	/* clang-format off */
	static const struct { const char *text; size_t n, warnings; int type; } rows[] = {
		{ "{\"slots\":{\"a\":0}}", 1, 0, HERD_SLOT_PHYSICAL },
		{ "{\"slots\":{\"a\":{}}}", 1, 0, HERD_SLOT_PHYSICAL },
		{ "{\"slots\":{\"a\":\"\"}}", 1, 0, HERD_SLOT_PHYSICAL },
		{ "{\"slots\":{\"a\":1}}", 0, 1, 0 },
		{ "{\"slots\":{\"a\":\"physical\"}}", 0, 1, 0 },
		{ "{\"slots\":{\"A\":0}}", 0, 1, 0 },
		{ "{\"slots\":{\"a-b\":0}}", 0, 1, 0 },
		{ "{\"slots\":{\"\":0}}", 0, 1, 0 },
		{ "{\"slots\":{\"a\":{\"type\":\"physical\"}}}", 1, 0, HERD_SLOT_PHYSICAL },
		{ "{\"slots\":{\"a\":{\"type\":\"other\"}}}", 0, 1, 0 },
		{ "{\"slots\":{\"a\":{\"database\":\"d\",\"plugin\":\"p\"}}}", 1, 0, HERD_SLOT_LOGICAL },
		{ "{\"slots\":{\"a\":{\"database\":\"d\"}}}", 1, 0, HERD_SLOT_PHYSICAL },
		{ "{\"slots\":{\"a\":{\"type\":\"logical\",\"database\":\"d\"}}}", 0, 1, 0 },
		{ "{\"permanent_slots\":{\"a\":0}}", 1, 0, HERD_SLOT_PHYSICAL },
		{ "{\"permanent_replication_slots\":{\"a\":0},\"slots\":{\"b\":0,\"c\":0}}", 2, 0,
		  HERD_SLOT_PHYSICAL },
		{ "{\"slots\":[1,2]}", 0, 0, 0 },
		{ "{\"slots\":\"x\"}", 0, 0, 0 },
	};
	/* clang-format on */
	struct herd_config c;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(
			herd_config_parse(rows[i].text, strlen(rows[i].text), false, &c, NULL), 0);
		assert_int_equal(c.n_slots, rows[i].n);
		assert_int_equal(c.warnings.n, rows[i].warnings);
		if (c.n_slots)
			assert_int_equal(c.slots[0].type, rows[i].type);
		herd_config_clear(&c);
	}
}

static struct herd_kv kv(const char *key, const char *value, int64_t version, const char *lease)
{
	return (struct herd_kv){ key, value, strlen(value), version, lease };
}

static void scope(void **state)
{
	struct herd_kv list[] = {
		kv("0/config", "{\"ttl\":20}", 1, NULL),
		kv("0/history", "[[1,100,\"x\"]]", 2, NULL),
		kv("0/leader", "a", 3, "77"),
		kv("0/members/a", member_text, 4, "77"),
		kv("0/members/b", "{{", 5, "78"),
		kv("0/sync", "what", 6, NULL),
		kv("007/leader", "x", 6, NULL),
		kv("12/initialize", "", 7, "5"),
		kv("12/optime/leader", "500", 8, NULL),
		kv("99999999999/leader", "x", 9, NULL),
		kv("proxies/p", "{\"acks\":{\"0\":\"i\"}}", 10, "9"),
		kv("strange", "x", 11, NULL),
	};
	struct herd_scope *s = herd_scope_build(list, sizeof(list) / sizeof(*list), 11, false);

	assert_non_null(s);
	assert_int_equal(s->n_groups, 2);
	assert_int_equal(s->n_problems, 2);
	assert_string_equal(s->problems[0].key, "0/members/b");
	const struct herd_cluster *c = herd_scope_group(s, 0);

	assert_string_equal(c->leader, "a");
	assert_string_equal(c->leader_key.lease, "77");
	assert_int_equal(c->leader_key.version, 3);
	assert_int_equal(c->n_members, 1);
	assert_non_null(herd_cluster_leader(c));
	assert_true(c->sync_key.bad);
	assert_int_equal(herd_cluster_timeline(c), 2);
	assert_int_equal(c->config.ttl_ms, 20000);
	c = herd_scope_group(s, 12);
	assert_string_equal(c->initialize, "");
	assert_true(c->status.optime == 500);
	assert_int_equal(herd_cluster_timeline(c), 0);
	assert_null(herd_scope_group(s, HERD_NO_GROUP));
	assert_int_equal(s->n_proxies, 1);
	herd_scope_unref(herd_scope_ref(s));
	herd_scope_unref(s);
	char *key = herd_cluster_key(12, "leader");

	assert_string_equal(key, "12/leader");
	free(key);
}

/* Whatever stands in the store, reading it does not crash and gives a view. */
static void damaged(void **state)
{
	static const char *const keys[] = { "config",        "failover",   "failsafe", "handover",
					    "history",       "initialize", "leader",   "members/a",
					    "optime/leader", "proxies/p",  "status",   "sync" };
	struct herd_rng rng = herd_rng_seed(1);

	for (int round = 0; round < 3000; round++) {
		struct herd_kv list[sizeof(keys) / sizeof(*keys)];
		char text[sizeof(keys) / sizeof(*keys)][512];

		for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
			size_t len = (size_t)herd_rng_range(&rng, 0, sizeof(member_text) - 1);

			memcpy(text[i], member_text, len);
			for (int k = 0; k < 3 && len > 0; k++)
				text[i][herd_rng_range(&rng, 0, (int64_t)len - 1)] =
					"{}[]\",:0e-x"[herd_rng_range(&rng, 0, 10)];
			text[i][len] = '\0';
			list[i] = (struct herd_kv){ keys[i], text[i], len, 1, NULL };
		}
		struct herd_scope *s =
			herd_scope_build(list, sizeof(keys) / sizeof(*keys), 1, true);

		assert_non_null(s);
		herd_scope_unref(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(member),          cmocka_unit_test(member_forms),
		cmocka_unit_test(config),          cmocka_unit_test(standby_cluster_section),
		cmocka_unit_test(permanent_slots), cmocka_unit_test(scope),
		cmocka_unit_test(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
