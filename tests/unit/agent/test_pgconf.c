/* Addresses as postgresql.listen and restapi.listen have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/internal.h"

static void addresses(void **state)
{
	static const struct {
		const char *text, *host;
		int port;
	} rows[] = {
		{ "127.0.0.1:5433", "127.0.0.1", 5433 },
		{ "127.0.0.1", "127.0.0.1", 5432 },
		{ "*:5433", "*", 5433 },
		{ "db1.example,db2.example:6000", "db1.example,db2.example", 6000 },
		{ "127.0.0.1,::1:6000", "127.0.0.1,::1", 6000 },
		{ "[::1]:6000", "::1", 6000 },
		{ "[::1]", "::1", 5432 },
		{ "::1", "::1", 5432 },
		{ "localhost,192.0.2.1", "localhost,192.0.2.1", 5432 },
		{ "", NULL, 0 },
		{ ":5433", NULL, 0 },
		{ "h:x", NULL, 0 },
		{ "h:70000", NULL, 0 },
		{ "h:-1", NULL, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *host = NULL;
		int port = 0;
		int rc = herd_agent_split_address(rows[i].text, 5432, &host, &port);

		if ((rc == 0) != (rows[i].host != NULL))
			fail_msg("%s: %d", rows[i].text, rc);
		if (rc == 0) {
			assert_string_equal(host, rows[i].host);
			assert_int_equal(port, rows[i].port);
		}
		free(host);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(addresses) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
