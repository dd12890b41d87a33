#include "model/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/str.h"

#define MEMBER(more)                                                                               \
	"{\"conn_url\":\"postgres://h:5432/postgres\",\"api_url\":\"http://h:8008/patroni\","      \
	"\"state\":\"running\",\"role\":\"replica\",\"timeline\":3," more "}"

struct kv {
	const char *key, *value;
};

/* A leader a and standbys b (as told) and c; extra: one more key, or NULL. */
static struct herd_scope *scope(const char *config, const char *b, const struct kv *extra)
{
	struct kv all[] = { { "config", config },
			    { "history", "[[2,100,\"x\"]]" },
			    { "leader", "a" },
			    { "members/a", "{\"conn_url\":\"postgres://h:5432/postgres\",\"state\":"
					   "\"running\",\"role\":\"primary\",\"timeline\":3,"
					   "\"xlog_location\":50000000}" },
			    { "members/b", b },
			    { "members/c", MEMBER("\"xlog_location\":50000000,"
						  "\"receive_lsn\":50000000") },
			    { "status", "{\"optime\":50000000}" },
			    { 0 } };
	struct herd_kv kv[8] = { 0 };
	size_t n = 0;
	bool put = !extra;

	for (struct kv *k = all; k->key; k++) {
		if (!put && strcmp(extra->key, k->key) < 0) {
			kv[n++] = (struct herd_kv){ extra->key, extra->value, strlen(extra->value),
						    1, NULL };
			put = true;
		}
		kv[n++] = (struct herd_kv){ k->key, k->value, strlen(k->value), 1, NULL };
	}
	if (!put)
		kv[n++] =
			(struct herd_kv){ extra->key, extra->value, strlen(extra->value), 1, NULL };
	struct herd_scope *s = herd_scope_build(kv, n, 1, true);

	assert_non_null(s);
	assert_int_equal(s->n_problems, 0);
	return s;
}

/* The codes of what is in b's way, "a b"; freed by the next call. */
static const char *codes(const char *config, const char *b, const struct kv *extra)
{
	static char text[200];
	struct herd_scope *s = scope(config, b, extra);
	json_t *doc = herd_explain(&s->groups[0], "b", NULL), *v;
	char *lines = herd_explain_text(doc);
	size_t i;

	text[0] = '\0';
	json_array_foreach(json_object_get(doc, "reasons"), i, v)
	{
		strcat(text, i ? " " : "");
		strcat(text, herd_json_str(v, "code", ""));
		assert_non_null(strstr(lines, herd_json_str(v, "text", "?")));
		assert_non_null(strstr(lines, herd_json_str(v, "remedy", "?")));
	}
	assert_int_equal(herd_json_bool(doc, "eligible", false), text[0] == '\0');
	free(lines);
	json_decref(doc);
	herd_scope_unref(s);
	return text;
}

#define GOOD MEMBER("\"xlog_location\":50000000,\"receive_lsn\":50000000")

static void reasons(void **state)
{
	struct kv sync = { "sync", "{\"leader\":\"a\",\"sync_standby\":\"c\"}" };
	struct kv both = { "sync", "{\"leader\":\"a\",\"sync_standby\":\"b,c\"}" };
	struct kv failsafe = { "failsafe", "{\"a\":\"http://h\"}" };

	assert_string_equal(codes("{}", GOOD, NULL), "");
	assert_string_equal(codes("{}", MEMBER("\"receive_lsn\":1,\"xlog_location\":1"), NULL),
			    "lag");
	assert_string_equal(codes("{}", MEMBER("\"tags\":{\"nofailover\":true}"), NULL),
			    "nofailover");
	assert_string_equal(codes("{}", MEMBER("\"tags\":{\"failover_priority\":0}"), NULL),
			    "failover_priority");
	assert_string_equal(codes("{\"pause\":true}", GOOD, NULL), "pause");
	assert_string_equal(codes("{}", "{\"state\":\"creating replica\"}", NULL), "state");
	assert_string_equal(codes("{\"synchronous_mode\":\"on\"}", GOOD, &sync), "sync");
	assert_string_equal(codes("{\"synchronous_mode\":\"on\"}", GOOD, &both), "");
	assert_string_equal(codes("{\"synchronous_mode\":\"quorum\"}", GOOD, &sync), "");
	assert_string_equal(codes("{}", GOOD, &sync), "");
	assert_string_equal(codes("{\"failsafe_mode\":true}", GOOD, &failsafe), "failsafe");
	assert_string_equal(codes("{\"check_timeline\":true}",
				  "{\"state\":\"running\",\"role\":\"replica\",\"timeline\":2}",
				  NULL),
			    "timeline");
	assert_string_equal(
		codes("{\"pause\":true}", MEMBER("\"tags\":{\"nofailover\":true}"), NULL),
		"nofailover pause");
}

static void says(const struct herd_cluster *c, const char *name, const char *words)
{
	struct herd_explain_local l = { .rule = "r",
					.why = "the reason",
					.guard = "on",
					.leads = true,
					.lease_ms = 1500,
					.dcs_ok = true,
					.task = "clone",
					.task_ms = 9000 };
	json_t *doc = herd_explain(c, name, &l);
	char *text = herd_explain_text(doc);

	if (!strstr(text, words))
		fail_msg("\"%s\" is not in\n%s", words, text);
	free(text);
	json_decref(doc);
}

static void words(void **state)
{
	struct herd_scope *s = scope("{}", MEMBER("\"tags\":{\"nofailover\":true}"), NULL);
	const struct herd_cluster *c = &s->groups[0];

	says(c, "a", "a is the leader: it holds the leader key.\n");
	says(c, "a", "if it went away now, c could take over\n");
	says(c, "a", "not b: it has the tag nofailover\n");
	says(c, "a", "lease: good for 1.5 s more\n");
	says(c, "b", "b is not the leader: a holds the leader key. It could not take over now:\n");
	says(c, "b", "its agent: the reason  [r]\n");
	says(c, "b", "under way: clone, for 9 s\n");
	says(c, "c", "It could take over now.\n");
	says(c, "x", "it is not registered in the store");
	herd_scope_unref(s);

	struct kv switchover = { "failover", "{\"leader\":\"a\",\"member\":\"b\","
					     "\"scheduled_at\":\"2036-01-01T00:00:00+00:00\"}" };

	s = scope("{}", MEMBER("\"receive_lsn\":50000000,\"tags\":{\"failover_priority\":5}"),
		  &switchover);
	says(&s->groups[0], "c", "b would go first: its failover_priority is 5, not 1\n");
	says(&s->groups[0], "a", "a switchover to b is scheduled at 2036-01-01T00:00:00+00:00\n");
	herd_scope_unref(s);
}

/* Whatever stands in the store. */
static void bad_documents(void **state)
{
	static const char *const bad[] = { "",
					   "x",
					   "{}",
					   "[]",
					   "null",
					   "{\"tags\":[1]}",
					   "{\"pgherd\":3,\"state\":4,\"timeline\":-1}",
					   "{\"receive_lsn\":-5,\"tags\":{\"nofailover\":{}}}" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct herd_kv kv[] = { { "failover", bad[i], strlen(bad[i]), 1, NULL },
					{ "leader", bad[i], strlen(bad[i]), 1, NULL },
					{ "members/b", bad[i], strlen(bad[i]), 1, NULL },
					{ "sync", bad[i], strlen(bad[i]), 1, NULL } };
		struct herd_scope *s = herd_scope_build(kv, 4, 1, true);

		assert_non_null(s);
		for (size_t g = 0; g < s->n_groups; g++) {
			json_t *doc = herd_explain(&s->groups[g], "b", NULL);
			char *text = herd_explain_text(doc);

			assert_non_null(text);
			free(text);
			json_decref(doc);
		}
		herd_scope_unref(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reasons),
		cmocka_unit_test(words),
		cmocka_unit_test(bad_documents),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
