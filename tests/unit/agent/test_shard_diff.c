/* pg_dist_node against the store: which statements make them agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "agent/sharding_internal.h"
#include "base/str.h"

#define PRIMARY(port)                                                                              \
	"{\"conn_url\":\"postgres://h:" port                                                       \
	"/postgres\",\"state\":\"running\",\"role\":\"primary\"}"
#define REPLICA(port)                                                                              \
	"{\"conn_url\":\"postgres://h:" port                                                       \
	"/postgres\",\"state\":\"running\",\"role\":\"replica\"}"

static struct herd_kv kv(const char *key, const char *value)
{
	return (struct herd_kv){ key, value, strlen(value), 1, NULL };
}

static int diff(const struct herd_kv *keys, size_t n, const struct shard_node *nodes, size_t m,
		char **sql)
{
	struct herd_scope *scope = herd_scope_build(keys, n, 1, true);
	struct shard_nodes have = { 0 };
	struct herd_buf out = { 0 };
	int count;

	for (size_t i = 0; i < m; i++)
		assert_int_equal(herd_shard_nodes_add(&have, &nodes[i]), 0);
	count = herd_shard_diff(scope, &have, NULL, 0, 500, &out);
	*sql = herd_buf_steal(&out);
	herd_shard_nodes_clear(&have);
	herd_scope_unref(scope);
	return count;
}

static void test_poolinfo(void **state)
{
	struct herd_buf out = { 0 };

	(void)state;
	herd_shard_poolinfo(NULL, "pgherd", &out);
	herd_shard_poolinfo("", "pgherd", &out);
	assert_int_equal(out.len, 0);
	herd_shard_poolinfo("host=p dbname='w{group}", "citus", &out);
	assert_non_null(strstr(herd_buf_str(&out), "('host=p dbname=''w{group}', '{group}'"));
	assert_null(strstr(herd_buf_str(&out), "run_command_on_workers"));
	herd_buf_reset(&out);
	herd_shard_poolinfo("host=p", "pgherd", &out);
	assert_non_null(strstr(herd_buf_str(&out), "run_command_on_workers('DELETE"));
	herd_buf_free(&out);
}

static const struct shard_node both[] = {
	{ .id = 1, .group = 1, .host = "h", .port = 11, .primary = true },
	{ .id = 2, .group = 1, .host = "h", .port = 12 },
};

static void test_first(void **state)
{
	struct herd_kv keys[] = { kv("1/leader", "a"), kv("1/members/a", PRIMARY("11")),
				  kv("1/members/b", REPLICA("12")) };
	char *sql;

	assert_int_equal(diff(keys, 3, NULL, 0, &sql), 2);
	assert_non_null(strstr(sql, "citus_add_node('h', 11, 1, 'primary', 'default')"));
	assert_non_null(strstr(sql, "citus_add_node('h', 12, 1, 'secondary', 'default')"));
	free(sql);
	assert_int_equal(diff(keys, 3, both, 2, &sql), 0);
	free(sql);
}

/* The standby leads now: the primary's row keeps its id, the standby's goes to the old primary. */
static void test_moved(void **state)
{
	struct herd_kv keys[] = { kv("1/leader", "b"), kv("1/members/a", REPLICA("11")),
				  kv("1/members/b", PRIMARY("12")) };
	char *sql;

	assert_int_equal(diff(keys, 3, both, 2, &sql), 1);
	assert_string_equal(sql,
			    "SELECT pg_catalog.citus_update_node(2, 'h-demoted', 12, true, 500);\n"
			    "SELECT pg_catalog.citus_update_node(1, 'h', 12, true, 500);\n"
			    "SELECT pg_catalog.citus_update_node(2, 'h', 11, true, 500);\n");
	free(sql);
}

/* Nobody leads, or not yet writable: nothing is touched, in no group. */
static void test_unknown(void **state)
{
	struct herd_kv keys[] = { kv("0/leader", "c"), kv("0/members/c", PRIMARY("10")),
				  kv("0/members/d", REPLICA("9")),
				  kv("1/members/b", REPLICA("12")) };
	struct shard_node nodes[] = {
		{ .id = 3, .group = 0, .host = "h", .port = 10, .primary = true }, both[0], both[1]
	};
	char *sql;

	assert_int_equal(diff(keys, 4, nodes, 3, &sql), 0);
	assert_string_equal(sql, "");
	free(sql);
}

static void test_gone(void **state)
{
	struct herd_kv keys[] = { kv("1/leader", "a"), kv("1/members/a", PRIMARY("11")) };
	char *sql;

	assert_int_equal(diff(keys, 2, both, 2, &sql), 1);
	assert_string_equal(sql, "SELECT pg_catalog.citus_remove_node('h', 12);\n");
	free(sql);
	/* A row is reused for a standby at another address. */
	struct herd_kv moved[] = { kv("1/leader", "a"), kv("1/members/a", PRIMARY("11")),
				   kv("1/members/b", REPLICA("13")) };

	assert_int_equal(diff(moved, 3, both, 2, &sql), 1);
	assert_string_equal(sql, "SELECT pg_catalog.citus_update_node(2, 'h', 13, true, 500);\n");
	free(sql);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first), cmocka_unit_test(test_poolinfo),
		cmocka_unit_test(test_moved), cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
