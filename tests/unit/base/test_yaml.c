#include "base/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json.h"

/* clang-format off */
static const struct { const char *yaml, *json; } rows[] = {
	{ "", "{}" },
	{ "# nothing\n", "{}" },
	{ "---\n...\n", "null" },
	{ "a: 1\nb: [x, 'y', \"z\"]\n", "{\"a\":1,\"b\":[\"x\",\"y\",\"z\"]}" },
	{ "[yes, No, ON, off, True, FALSE, y, n, yEs]",
	  "[true,false,true,false,true,false,\"y\",\"n\",\"yEs\"]" },
	{ "['yes', \"no\", !!str on]", "[\"yes\",\"no\",\"on\"]" },
	{ "[~, null, NULL, nUll, '']", "[null,null,null,\"nUll\",\"\"]" },
	{ "a:\nb: ~\n", "{\"a\":null,\"b\":null}" },
	{ "[0, -0, +12, 1_000, 0644, 0x1F, 0b101, 1:30, -1:0:1]",
	  "[0,0,12,1000,420,31,5,90,-3601]" },
	{ "[08, 0o17, 1e3, 0b, 0x, 12a, 1:60, '1']",
	  "[\"08\",\"0o17\",\"1e3\",\"0b\",\"0x\",\"12a\",\"1:60\",\"1\"]" },
	{ "[1.5, -.5, .5, 1., 1.0e+3, 1e+3, 1:30.5]", "[1.5,\"-.5\",0.5,1.0,1000.0,\"1e+3\",90.5]" },
	{ "[.inf, -.INF, .nan, =]", "[\".inf\",\"-.INF\",\".nan\",\"=\"]" },
	{ "[9223372036854775807, -9223372036854775808, 9223372036854775808]",
	  "[9223372036854775807,-9223372036854775808,\"9223372036854775808\"]" },
	{ "[2026-11-22, 127.0.0.1, 127.0.0.1:8008, 30min, 16MB]",
	  "[\"2026-11-22\",\"127.0.0.1\",\"127.0.0.1:8008\",\"30min\",\"16MB\"]" },
	{ "a: &x {k: 1}\nb: *x\n", "{\"a\":{\"k\":1},\"b\":{\"k\":1}}" },
	{ "a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3\n", "{\"a\":{\"k\":1,\"l\":2},\"b\":{\"k\":1,\"l\":3}}" },
	{ "b: {l: 3, <<: [{k: 1, l: 2}, {k: 9, m: 8}]}", "{\"b\":{\"k\":1,\"m\":8,\"l\":3}}" },
	{ "a: 1\na: 2\n", "{\"a\":2}" },
	{ "1: x\non: y\n", "{\"1\":\"x\",\"on\":\"y\"}" },
	{ "a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}" },
	{ "- host all all 127.0.0.1/32 md5\n- x: \"\\u263a\"\n",
	  "[\"host all all 127.0.0.1/32 md5\",{\"x\":\"\xe2\x98\xba\"}]" },
	{ "!!int '12'", "12" },
	{ "!!float 12", "12.0" },
	{ "! 12", "\"12\"" },
};

static const struct { const char *yaml, *error; } bad[] = {
	{ "a: b: c", "t.yml: line 1 column 5: mapping values are not allowed in this context" },
	{ "a:\n\tb: 1", "t.yml: line 2 column 1: found character that cannot start any token" },
	{ "[a, b", "t.yml: line 2 column 1: did not find expected ',' or ']'" },
	{ "a: *x", "t.yml: line 1 column 4: alias without an anchor before it" },
	{ "a: &x [*x]", "t.yml: line 1 column 8: alias without an anchor before it" },
	{ "a: !foo 1", "t.yml: line 1 column 4: could not determine a value for the tag" },
	{ "a: !!int x", "t.yml: line 1 column 4: could not determine a value for the tag" },
	{ "a: !!set {x}", "t.yml: line 1 column 4: could not determine a constructor for the tag" },
	{ "? [a]\n: 1", "t.yml: line 1 column 3: found unhashable key" },
	{ "<<: 1", "t.yml: line 1 column 1: expected a mapping or a list of mappings for merging" },
	{ "a: \"x\\0y\"", "t.yml: line 1 column 4: a text cannot hold a NUL character" },
	{ "a: 1\n---\nb: 2\n", "t.yml: line 2 column 1: expected a single document" },
	{ "a: \xff", "t.yml: byte 3: invalid leading UTF-8 octet" },
};

/* Printed by yaml.safe_dump(v, default_flow_style=False, allow_unicode=True, sort_keys=False). */
static const struct { const char *json, *yaml; } dumps[] = {
	{ "{}", "{}\n" },
	{ "{\"ttl\":30,\"a\":{\"b\":[1,\"x\",{\"k\":null}],\"c\":[],\"d\":{}}}",
	  "ttl: 30\na:\n  b:\n  - 1\n  - x\n  - k: null\n  c: []\n  d: {}\n" },
	{ "{\"on\":\"on\",\"1\":\"1\",\"e\":\"\",\"t\":true,\"f\":false}",
	  "'on': 'on'\n'1': '1'\ne: ''\nt: true\nf: false\n" },
	{ "[0.5,1.0,1e20,1e-7,100000.25,0.1]",
	  "- 0.5\n- 1.0\n- 1.0e+20\n- 1.0e-07\n- 100000.25\n- 0.1\n" },
	{ "[\"a: b\",\"- x\",\"#c\",\"it's\",\"2026-11-22\",\"x y\",\"*a\",\" lead\",\"~\",\"1:30\"]",
	  "- 'a: b'\n- '- x'\n- '#c'\n- it's\n- '2026-11-22'\n- x y\n- '*a'\n- ' lead'\n- '~'\n- '1:30'\n" },
	{ "[\"two\\nlines\",\"bell\\u0007\",\"\xc3\xa4\"]", "- 'two\n\n  lines'\n- \"bell\\a\"\n- \xc3\xa4\n" },
};
/* clang-format on */

static void parses(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_err err = HERD_ERR_INIT;
		json_t *v = herd_yaml_parse("t.yml", rows[i].yaml, strlen(rows[i].yaml), &err);

		if (!v)
			fail_msg("%s: %s", rows[i].yaml, herd_err_text(&err));
		char *text = herd_json_dump(v);

		assert_string_equal(text, rows[i].json);
		free(text);
		json_decref(v);
	}
}

static void refuses(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct herd_err err = HERD_ERR_INIT;
		json_t *v = herd_yaml_parse("t.yml", bad[i].yaml, strlen(bad[i].yaml), &err);

		if (v)
			fail_msg("accepted: %s", bad[i].yaml);
		assert_string_equal(herd_err_text(&err), bad[i].error);
		herd_err_clear(&err);
	}
}

static void prints(void **state)
{
	for (size_t i = 0; i < sizeof(dumps) / sizeof(dumps[0]); i++) {
		json_t *v = herd_json_parse(dumps[i].json, strlen(dumps[i].json), NULL);
		char *text = herd_yaml_dump(v);

		assert_string_equal(text, dumps[i].yaml);
		json_t *back = herd_yaml_parse("back", text, strlen(text), NULL);

		assert_true(json_equal(v, back));
		free(text);
		json_decref(v);
		json_decref(back);
	}
}

static void prints_flow(void **state)
{
	json_t *v = json_pack("{s:b,s:s,s:[i,i]}", "clonefrom", 1, "dc", "on", "l", 1, 2);
	char *text = herd_yaml_dump_flow(v);

	assert_string_equal(text, "{clonefrom: true, dc: 'on', l: [1, 2]}");
	free(text);
	json_decref(v);
}

/* Ten levels of ten aliases each would be 10^10 values. */
static void bounded(void **state)
{
	struct herd_buf b = { 0 };
	struct herd_err err = HERD_ERR_INIT;

	herd_buf_addstr(&b, "a0: &a0 x\n");
	for (int i = 1; i < 11; i++) {
		herd_buf_printf(&b, "a%d: &a%d [", i, i);
		for (int j = 0; j < 10; j++)
			herd_buf_printf(&b, "*a%d, ", i - 1);
		herd_buf_addstr(&b, "]\n");
	}
	assert_null(herd_yaml_parse("bomb", b.data, b.len, &err));
	assert_non_null(strstr(herd_err_text(&err), "aliases expand to too many values"));
	herd_err_clear(&err);
	herd_buf_reset(&b);
	for (int i = 0; i < 5000; i++)
		herd_buf_addc(&b, '[');
	assert_null(herd_yaml_parse("deep", b.data, b.len, &err));
	assert_non_null(strstr(herd_err_text(&err), "nested too deeply"));
	herd_err_clear(&err);
	herd_buf_free(&b);
}

static void missing_file(void **state)
{
	struct herd_err err = HERD_ERR_INIT;

	assert_null(herd_yaml_read("/nonexistent/x.yml", &err));
	assert_int_equal(err.code, -ENOENT);
	assert_string_equal(herd_err_text(&err), "could not open file \"/nonexistent/x.yml\": "
						 "No such file or directory");
	herd_err_clear(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses),  cmocka_unit_test(refuses),
		cmocka_unit_test(prints),  cmocka_unit_test(prints_flow),
		cmocka_unit_test(bounded), cmocka_unit_test(missing_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
