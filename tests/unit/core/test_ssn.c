/* synchronous_standby_names: what PostgreSQL takes, and what is no use to us. */
#include "fixture.h"

/* clang-format off */
static const struct {
	const char *text;
	enum herd_ssn_kind kind;
	int num;
	size_t n;
	const char *printed;
} rows[] = {
	{ "", HERD_SSN_NONE, 0, 0, "" },
	{ "  ", HERD_SSN_NONE, 0, 0, "" },
	{ "*", HERD_SSN_STAR, 1, 0, "*" },
	{ "a", HERD_SSN_FIRST, 1, 1, "a" },
	{ "\"a-1\"", HERD_SSN_FIRST, 1, 1, "\"a-1\"" },
	{ "b, a", HERD_SSN_FIRST, 1, 2, "1 (a,b)" },
	{ "2 (b,a)", HERD_SSN_FIRST, 2, 2, "2 (a,b)" },
	{ "FIRST 2 (a, \"B x\")", HERD_SSN_FIRST, 2, 2, "2 (\"B x\",a)" },
	{ "any 1 (a,b,c)", HERD_SSN_ANY, 1, 3, "ANY 1 (a,b,c)" },
	{ "ANY 1 (a)", HERD_SSN_ANY, 1, 1, "ANY 1 (a)" },
	{ "\"first\"", HERD_SSN_FIRST, 1, 1, "\"first\"" },
	{ "\"a\"\"b\"", HERD_SSN_FIRST, 1, 1, "\"a\"\"b\"" },
	{ "2 (*)", HERD_SSN_STAR, 2, 0, "*" },
	{ "ANY (a)", HERD_SSN_BAD, 0, 0, "" },
	{ "ANY 1 (a", HERD_SSN_BAD, 0, 0, "" },
	{ "ANY 0 (a)", HERD_SSN_BAD, 0, 0, "" },
	{ "a,,b", HERD_SSN_BAD, 0, 0, "" },
	{ "\"a", HERD_SSN_BAD, 0, 0, "" },
	{ "1 (a) b", HERD_SSN_BAD, 0, 0, "" },
};
/* clang-format on */

static void parse_and_print(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct herd_ssn s;

		herd_ssn_parse(rows[i].text, &s);
		assert_int_equal(s.kind, rows[i].kind);
		if (s.kind != HERD_SSN_BAD && s.kind != HERD_SSN_NONE) {
			assert_int_equal(s.num, rows[i].num);
			assert_int_equal(s.names.n, rows[i].n);
		}
		char *text = herd_ssn_print(&s);

		assert_string_equal(text, rows[i].printed);
		free(text);
		herd_ssn_clear(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(parse_and_print) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
