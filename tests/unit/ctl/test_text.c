#include "ctl/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* clang-format off */
/* As Python's difflib.unified_diff prints them. */
static const struct { const char *before, *after, *diff; } diffs[] = {
	{ "a\nb\n", "a\nb\n", "" },
	{ "", "a\n", "--- \n+++ \n@@ -0,0 +1 @@\n+a\n" },
	{ "a\n", "", "--- \n+++ \n@@ -1 +0,0 @@\n-a\n" },
	{ "loop_wait: 10\nttl: 30\n", "loop_wait: 10\nttl: 20\n",
	  "--- \n+++ \n@@ -1,2 +1,2 @@\n loop_wait: 10\n-ttl: 30\n+ttl: 20\n" },
	{ "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", "1\nx\n3\n4\n5\n6\n7\n8\n9\n10\n11\ny\n",
	  "--- \n+++ \n@@ -1,5 +1,5 @@\n 1\n-2\n+x\n 3\n 4\n 5\n"
	  "@@ -9,4 +9,4 @@\n 9\n 10\n 11\n-12\n+y\n" },
	{ "1\n2\n3\n4\n5\n6\n", "1\nx\n3\n4\n5\ny\n6\n",
	  "--- \n+++ \n@@ -1,6 +1,7 @@\n 1\n-2\n+x\n 3\n 4\n 5\n+y\n 6\n" },
};

static const struct { const char *text, *iso; int64_t ms; int rc; } times[] = {
	{ "now", NULL, 0, 0 },
	{ "NOW", NULL, 0, 0 },
	{ "2026-11-22T05:04", "2026-11-22T05:04:00+01:00", 1795320240000, 0 },
	{ "2026-07-22 05:04:30.5", "2026-07-22T05:04:30.500000+02:00", 1784689470500, 0 },
	{ "2026-11-22T05:04Z", "2026-11-22T05:04:00+00:00", 1795323840000, 0 },
	{ "tomorrow", NULL, 0, -EINVAL },
	{ "", NULL, 0, -EINVAL },
};
/* clang-format on */

static void unified(void **state)
{
	for (size_t i = 0; i < sizeof(diffs) / sizeof(diffs[0]); i++) {
		char *text = ctl_diff(diffs[i].before, diffs[i].after);

		assert_string_equal(text, diffs[i].diff);
		free(text);
	}
}

static void when(void **state)
{
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		char *iso = NULL;
		int64_t ms = 0;

		assert_int_equal(ctl_when(times[i].text, &iso, &ms), times[i].rc);
		if (times[i].iso) {
			assert_string_equal(iso, times[i].iso);
			assert_int_equal(ms, times[i].ms);
		} else {
			assert_null(iso);
		}
		free(iso);
	}
}

static const struct ctl_opt opts[] = { { 'f', "format", NULL, "FORMAT", "" },
				       { 'W', "W", NULL, NULL, "" },
				       { '\0', "leader", "primary", "TEXT", "" },
				       { 0 } };

static struct ctl_args *parse(const char *line, bool *help, char **why)
{
	static char copy[256], *argv[16], *save;
	int argc = 0;

	strcpy(copy, line);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	return ctl_args_parse(opts, argc, argv, false, NULL, help, why);
}

static void arguments(void **state)
{
	bool help;
	char *why;
	struct ctl_args *a = parse("demo -Wf tsv --primary=x --leader y -- --format", &help, &why);

	assert_non_null(a);
	assert_true(ctl_args_has(a, "W"));
	assert_string_equal(ctl_args_get(a, "format"), "tsv");
	assert_string_equal(ctl_args_get(a, "leader"), "y");
	assert_string_equal(ctl_args_nth(a, "leader", 0), "x");
	assert_null(ctl_args_nth(a, "leader", 2));
	assert_int_equal(ctl_args_words(a), 2);
	assert_string_equal(ctl_args_word(a, 1), "--format");
	ctl_args_free(a);

	a = parse("-fjson", &help, &why);
	assert_string_equal(ctl_args_get(a, "format"), "json");
	ctl_args_free(a);
}

static void bad_arguments(void **state)
{
	static const struct {
		const char *line, *why;
	} bad[] = { { "--nothing", "No such option: --nothing" },
		    { "-x", "No such option: -x" },
		    { "-f", "Option '-f' requires an argument." },
		    { "--W=1", "Option '--W' does not take a value." },
		    { "-WWWWWWW", "Too many options in '-WWWWWWW'." } };
	bool help;
	char *why;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(parse(bad[i].line, &help, &why));
		assert_false(help);
		assert_string_equal(why, bad[i].why);
		free(why);
	}
	assert_null(parse("-f tsv --help", &help, &why));
	assert_true(help);
	assert_null(why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unified),
		cmocka_unit_test(when),
		cmocka_unit_test(arguments),
		cmocka_unit_test(bad_arguments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
