#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/ini.h"
#include "base/json.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "base/str.h"

static void buf_grows_and_consumes(void **state)
{
	struct herd_buf b = { 0 };

	assert_string_equal(herd_buf_str(&b), "");
	for (int i = 0; i < 1000; i++)
		herd_buf_printf(&b, "%d,", i);
	assert_true(herd_buf_ok(&b));
	assert_int_equal(strncmp(b.data, "0,1,2,3,", 8), 0);
	size_t len = b.len;

	herd_buf_consume(&b, 4);
	assert_int_equal(b.len, len - 4);
	assert_int_equal(strncmp(b.data, "2,3,", 4), 0);
	assert_int_equal(b.data[b.len], '\0');
	char *text = herd_buf_steal(&b);

	assert_non_null(text);
	assert_null(b.data);
	free(text);
}

static void buf_refuses_absurd_sizes(void **state)
{
	struct herd_buf b = { 0 };

	herd_buf_addstr(&b, "abc");
	assert_false(herd_buf_reserve(&b, SIZE_MAX - 1));
	assert_false(herd_buf_ok(&b));
	assert_null(herd_buf_steal(&b));
}

static void map_puts_gets_removes(void **state)
{
	struct herd_map *m = herd_map_new(free);
	size_t pos = 0, seen = 0;
	const char *key;

	for (int i = 0; i < 500; i++) {
		char *k = herd_str_printf("key%d", i % 250);

		assert_int_equal(herd_map_put(m, k, herd_str_printf("%d", i)), 0);
		free(k);
	}
	assert_int_equal(herd_map_size(m), 250);
	assert_string_equal(herd_map_get(m, "key7"), "257");
	assert_null(herd_map_get(m, "key250"));
	assert_true(herd_map_remove(m, "key7"));
	assert_false(herd_map_remove(m, "key7"));
	while (herd_map_next(m, &pos, &key, NULL))
		seen++;
	assert_int_equal(seen, 249);
	herd_map_free(m);
}

static void list_keeps_order(void **state)
{
	struct item {
		int n;
		struct herd_list node;
	} items[3] = { { .n = 0 }, { .n = 1 }, { .n = 2 } };
	struct herd_list head;
	int want = 0;

	herd_list_init(&head);
	for (int i = 0; i < 3; i++)
		herd_list_push_back(&head, &items[i].node);
	herd_list_for_each_safe(it, &head)
	{
		struct item *item = herd_container_of(it, struct item, node);

		assert_int_equal(item->n, want++);
		herd_list_remove(it);
		herd_list_remove(it);
	}
	assert_true(herd_list_empty(&head));
}

static void str_numbers_and_booleans(void **state)
{
	static const struct {
		const char *text;
		int rc;
		int64_t n;
	} rows[] = {
		{ "0", 0, 0 },
		{ "-17", 0, -17 },
		{ "9223372036854775807", 0, INT64_MAX },
		{ "", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1x", -EINVAL, 0 },
		{ "9223372036854775808", -ERANGE, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int64_t n = 0;

		assert_int_equal(herd_str_to_i64(rows[i].text, &n), rows[i].rc);
		assert_int_equal(n, rows[i].n);
	}
	bool b = false;

	assert_int_equal(herd_str_to_bool("ON", &b), 0);
	assert_true(b);
	assert_int_equal(herd_str_to_bool("no", &b), 0);
	assert_false(b);
	assert_int_equal(herd_str_to_bool("2", &b), -EINVAL);
	assert_true(herd_str_equal_secret("secret", "secret"));
	assert_false(herd_str_equal_secret("secret", "secreT"));
	assert_false(herd_str_equal_secret("secret", ""));
	assert_false(herd_str_equal_secret("", "secret"));
	assert_true(herd_str_equal_secret("", ""));
}

static int collect(void *arg, const char *section, const char *key, const char *value,
		   struct herd_err *err)
{
	if (!key)
		return strcmp(section, "no") == 0 ? herd_err_set(err, -EINVAL, "refused") : 0;
	herd_buf_printf(arg, "[%s]%s=%s;", section ? section : "-", key, value);
	return strcmp(key, "bad") == 0 ? herd_err_set(err, -EINVAL, "refused") : 0;
}

static void ini_reads_sections(void **state)
{
	static const char *const broken[] = { "[no]", "\"a = 1", "\"\" = 1", "\"a\" b = 1",
					      "\"a\"" };
	struct herd_err err = HERD_ERR_INIT;
	struct herd_buf b = { 0 };

	assert_int_equal(
		herd_ini_parse("x", "a = 1\n; note\n[s t]\n b=x = y \n\n#c\n", collect, &b, &err),
		0);
	assert_string_equal(herd_buf_str(&b), "[]a=1;[s t]b=x = y;");
	herd_buf_reset(&b);
	assert_int_equal(herd_ini_parse("x", "[ s ] ; note\n[t] a=1\n\"b \"\"=c\" = d\n[u][v]\ne=",
					collect, &b, &err),
			 0);
	assert_string_equal(herd_buf_str(&b), "[t]a=1;[t]b \"=c=d;[v]e=;");
	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++)
		assert_int_equal(herd_ini_parse("x", broken[i], collect, &b, &err), -EINVAL);
	assert_int_equal(herd_ini_parse("x", "[s\n", collect, &b, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "x:1: "));
	assert_int_equal(herd_ini_parse("x", "\nbad=1\n", collect, &b, &err), -EINVAL);
	assert_string_equal(err.msg, "x:2: refused");
	assert_int_equal(herd_ini_parse("x", "=1\n", collect, &b, &err), -EINVAL);
	assert_int_equal(herd_ini_parse("x", "%include /nonexistent\n", collect, &b, &err),
			 -ENOENT);
	herd_err_clear(&err);
	herd_buf_free(&b);
}

static void ini_splits_conninfo(void **state)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_buf b = { 0 };

	assert_int_equal(
		herd_ini_conninfo(" host=h  password = 'it''s a' x= y=1", collect, &b, &err), 0);
	assert_string_equal(herd_buf_str(&b), "[-]host=h;[-]password=it's a;[-]x=y=1;");
	assert_int_equal(herd_ini_conninfo("a='b'c=d", collect, &b, &err), -EINVAL);
	assert_int_equal(herd_ini_conninfo("a='' b=c", collect, &b, &err), -EINVAL);
	assert_int_equal(herd_ini_conninfo("a=", collect, &b, &err), -EINVAL);
	assert_int_equal(herd_ini_conninfo("host", collect, &b, &err), -EINVAL);
	assert_int_equal(herd_ini_conninfo("a='b", collect, &b, &err), -EINVAL);
	herd_err_clear(&err);
	herd_buf_free(&b);
}

static void json_patches_like_patroni(void **state)
{
	static const struct {
		const char *obj, *patch, *want;
		bool changed;
	} rows[] = {
		{ "{\"a\":1}", "{\"a\":\"1\"}", "{\"a\":1}", false },
		{ "{\"a\":1}", "{\"a\":null,\"b\":{\"c\":null,\"d\":2}}",
		  "{\"b\":{\"c\":null,\"d\":2}}", true },
		{ "{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{\"y\":3}}", "{\"a\":{\"x\":1,\"y\":3}}",
		  true },
		{ "{\"a\":true}", "{\"a\":\"True\"}", "{\"a\":true}", false },
		{ "{}", "{\"gone\":null}", "{}", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		json_t *obj = json_loads(rows[i].obj, 0, NULL);
		json_t *patch = json_loads(rows[i].patch, 0, NULL);

		assert_int_equal(herd_json_patch(obj, patch), rows[i].changed);
		char *text = herd_json_dump(obj);

		assert_string_equal(text, rows[i].want);
		free(text);
		json_decref(obj);
		json_decref(patch);
	}
}

static void json_keeps_64_bits(void **state)
{
	struct herd_err err = HERD_ERR_INIT;
	static const char text[] = "{\"sysid\":\"7197024670041272347\",\"n\":7197024670041272347}";
	json_t *v = herd_json_parse(text, strlen(text), &err);

	assert_int_equal(herd_json_i64(v, "sysid", 0), INT64_C(7197024670041272347));
	assert_int_equal(herd_json_i64(v, "n", 0), INT64_C(7197024670041272347));
	assert_int_equal(herd_json_i64(v, "none", 5), 5);
	json_decref(v);
	assert_null(herd_json_parse("{\"a\":", 5, &err));
	assert_non_null(strstr(err.msg, "invalid JSON"));
	herd_err_clear(&err);
}

static void rng_is_the_same_everywhere(void **state)
{
	struct herd_rng r = herd_rng_seed(1);

	assert_true(herd_rng_next(&r) == UINT64_C(10451216379200822465));
	for (int i = 0; i < 1000; i++) {
		int64_t n = herd_rng_range(&r, -3, 3);

		assert_in_range(n + 3, 0, 6);
	}
}

static void err_texts_are_owned(void **state)
{
	struct herd_err err = HERD_ERR_INIT;

	assert_int_equal(herd_err_set(&err, -EIO, "first %d", 1), -EIO);
	assert_int_equal(herd_err_set(&err, -EINVAL, "after: %s", err.msg), -EINVAL);
	assert_string_equal(err.msg, "after: first 1");
	assert_int_equal(herd_err_prefix(&err, "where"), -EINVAL);
	assert_string_equal(herd_err_text(&err), "where: after: first 1");
	herd_err_clear(&err);
	assert_int_equal(herd_err_set(NULL, -EIO, "nobody listens"), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buf_grows_and_consumes),
		cmocka_unit_test(buf_refuses_absurd_sizes),
		cmocka_unit_test(map_puts_gets_removes),
		cmocka_unit_test(list_keeps_order),
		cmocka_unit_test(str_numbers_and_booleans),
		cmocka_unit_test(ini_reads_sections),
		cmocka_unit_test(ini_splits_conninfo),
		cmocka_unit_test(json_patches_like_patroni),
		cmocka_unit_test(json_keeps_64_bits),
		cmocka_unit_test(rng_is_the_same_everywhere),
		cmocka_unit_test(err_texts_are_owned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
