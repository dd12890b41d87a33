/* Who may come in, as far as it is a matter of text: hba and ident files, LDAP, TLS, replication.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "proxy/hba.h"
#include "proxy/ident.h"
#include "proxy/ldapauth.h"
#include "proxy/repl.h"
#include "proxy/tls.h"

static char dir[] = "/tmp/herd-access-XXXXXX";

static char *put(const char *name, const char *text)
{
	char *path = herd_str_printf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return path;
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const names[] = { "hba", "ident", "names", "more" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *path = herd_str_printf("%s/%s", dir, names[i]);

		unlink(path);
		free(path);
	}
	return rmdir(dir);
}

static void test_protocols(void **state)
{
	static const struct {
		const char *list;
		int rc;
		unsigned bits; /* tlsv1.0 is the lowest */
	} rows[] = {
		{ "secure", 0, 0xc },
		{ "", 0, 0xc },
		{ "ALL", 0, 0xf },
		{ "legacy", 0, 0xf },
		{ "tlsv1.3", 0, 8 },
		{ "tlsv1.2,tlsv1.3", 0, 0xc },
		{ "tlsv1.0 : tlsv1.1", 0, 3 },
		{ "all,!tlsv1.0", 0, 0xe },
		{ "!tlsv1.3", 0, 7 },
		{ "tlsv1.2,!tlsv1.2", -EINVAL, 0 },
		{ "tlsv1.4", -EINVAL, 0 },
		{ "secure,", 0, 0xc },
		{ "ssl3", -EINVAL, 0 },
		{ ",", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned bits = 0;

		assert_int_equal(herd_tls_protocols(rows[i].list, &bits), rows[i].rc);
		assert_int_equal(bits, rows[i].bits);
	}
}

static void test_replication_words(void **state)
{
	(void)state;
	assert_int_equal(herd_repl_parse("database"), HERD_REPL_LOGICAL);
	assert_int_equal(herd_repl_parse("true"), HERD_REPL_PHYSICAL);
	assert_int_equal(herd_repl_parse("ON"), HERD_REPL_PHYSICAL);
	assert_int_equal(herd_repl_parse("1"), HERD_REPL_PHYSICAL);
	assert_int_equal(herd_repl_parse("no"), 0);
	assert_int_equal(herd_repl_parse("0"), 0);
	assert_int_equal(herd_repl_parse(""), -EINVAL);
	assert_int_equal(herd_repl_parse("Database"), -EINVAL);
	assert_int_equal(herd_repl_parse("2"), -EINVAL);
}

static void test_ldap_filter(void **state)
{
	struct herd_ldap plain = { 0 }, named = { .searchattribute = "cn" };
	struct herd_ldap filter = { .searchfilter = "(|(uid=$username)(mail=$username))" };
	struct herd_ldap url = { .searchattribute = "uid", .searchfilter = "(x=y)", .url = true };
	static const struct {
		const char *want;
		int which;
	} rows[] = { { "(uid=me)", 0 },
		     { "(cn=me)", 1 },
		     { "(|(uid=me)(mail=me))", 2 },
		     { "(&(uid=me)(x=y))", 3 } };
	const struct herd_ldap *all[] = { &plain, &named, &filter, &url };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		char *got = herd_ldap_filter(all[rows[i].which], "me");

		assert_string_equal(got, rows[i].want);
		free(got);
	}
	assert_true(herd_ldap_name_ok("some.body@x"));
	assert_false(herd_ldap_name_ok("*"));
	assert_false(herd_ldap_name_ok("a)(uid=b"));
	assert_false(herd_ldap_name_ok("a\\b"));
}

static void test_ldap_options(void **state)
{
	static const char *const bad[] = {
		"",
		"ldapserver=a",
		"ldapbasedn=b",
		"ldapserver=a ldapprefix=b ldapbasedn=c",
		"ldapserver=a ldapbasedn=b ldapport=x",
		"ldapserver=a ldapbasedn=b ldapport=65536",
		"ldapserver=a ldapbasedn=b ldaptls=2",
		"ldapserver=a ldapbasedn=b ldapscheme=http",
		"ldapserver=a ldapbasedn=b nonsense=1",
		"ldapserver=a ldapbasedn=b word",
		"ldapserver=a ldapbasedn=\"b",
		"ldapserver=a ldapbasedn=b,c",
		"ldapurl=ftp://a/b",
	};
	struct herd_err err = HERD_ERR_INIT;
	struct herd_ldap *l = NULL;

	(void)state;
	if (!herd_ldap_built())
		skip();
	assert_int_equal(
		herd_ldap_parse("ldapurl=\"ldaps://h:7/dc=a,dc=b?cn?one?(x=y)\"", &l, &err), 0);
	assert_string_equal(l->server, "h");
	assert_string_equal(l->scheme, "ldaps");
	assert_string_equal(l->basedn, "dc=a,dc=b");
	assert_string_equal(l->searchattribute, "cn");
	assert_string_equal(l->searchfilter, "(x=y)");
	assert_int_equal(l->port, 7);
	herd_ldap_free(l);
	assert_int_equal(herd_ldap_parse("ldapserver=\"a b\" ldapsuffix=\", x\"", &l, &err), 0);
	assert_string_equal(l->server, "a b");
	assert_string_equal(l->suffix, ", x");
	herd_ldap_free(l);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(herd_ldap_parse(bad[i], &l, &err) < 0);
		assert_non_null(err.msg);
		herd_err_clear(&err);
	}
}

static int method(const struct herd_hba *h, const char *addr, bool tls, bool physical,
		  const char *db, const char *user)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr un = { .sa_family = AF_UNIX };
	const struct sockaddr *sa = &un;

	if (strchr(addr, ':')) {
		assert_int_equal(inet_pton(AF_INET6, addr, &in6.sin6_addr), 1);
		sa = (const struct sockaddr *)(const void *)&in6;
	} else if (*addr) {
		assert_int_equal(inet_pton(AF_INET, addr, &in.sin_addr), 1);
		sa = (const struct sockaddr *)(const void *)&in;
	}
	return herd_hba_find(h, sa, tls, physical, db, user, "").method;
}

static void test_hba(void **state)
{
	char *names = put("names", "two, \"th ree\" # and\n@more\n\n");
	char *more = put("more", "four\n");
	char *path = put("hba", "# all forms\n"
				"local all all peer\n"
				"hostssl all all 10.0.0.0/8 cert map=m\n"
				"hostnossl a,b one 10.1.0.0 255.255.0.0 md5\n"
				"host replication rep 127.0.0.1/32 scram-sha-256\n"
				"host \"replication\" x all trust\n"
				"host sameuser all ::1/128 password\n"
				"host all @names 2001:db8::/33 trust\n"
				"host db \"all\" all reject\n"
				"host db all 192.168.0.129/25 trust\n");
	struct herd_err err = HERD_ERR_INIT;
	struct herd_hba *h = NULL;

	(void)state;
	assert_int_equal(herd_hba_load(path, &h, &err), 0);
	assert_int_equal(method(h, "", false, false, "x", "y"), HERD_AUTH_PEER);
	assert_int_equal(method(h, "10.9.9.9", true, false, "x", "y"), HERD_AUTH_CERT);
	assert_int_equal(method(h, "10.1.2.3", false, false, "b", "one"), HERD_AUTH_MD5);
	assert_int_equal(method(h, "10.2.2.3", false, false, "b", "one"), HERD_AUTH_REJECT);
	assert_int_equal(method(h, "127.0.0.1", false, true, "b", "rep"), HERD_AUTH_SCRAM);
	assert_int_equal(method(h, "127.0.0.1", false, false, "replication", "rep"),
			 HERD_AUTH_REJECT);
	assert_int_equal(method(h, "127.0.0.1", false, false, "replication", "x"), HERD_AUTH_TRUST);
	assert_int_equal(method(h, "127.0.0.1", false, true, "replication", "x"), HERD_AUTH_REJECT);
	assert_int_equal(method(h, "::1", false, false, "me", "me"), HERD_AUTH_PLAIN);
	assert_int_equal(method(h, "::1", false, false, "me", "you"), HERD_AUTH_REJECT);
	assert_int_equal(method(h, "2001:db8:7fff::1", false, false, "d", "th ree"),
			 HERD_AUTH_TRUST);
	assert_int_equal(method(h, "2001:db8:7fff::1", false, false, "d", "four"), HERD_AUTH_TRUST);
	assert_int_equal(method(h, "2001:db8:8000::1", false, false, "d", "two"), HERD_AUTH_REJECT);
	assert_int_equal(method(h, "192.168.0.200", false, false, "db", "q"), HERD_AUTH_TRUST);
	assert_int_equal(method(h, "192.168.0.100", false, false, "db", "q"), HERD_AUTH_REJECT);
	assert_int_equal(method(NULL, "10.0.0.1", false, false, "db", "q"), HERD_AUTH_REJECT);
	herd_hba_free(h);
	free(names);
	free(more);
	free(path);
}

static void test_ident(void **state)
{
	char *path = put("ident", "m  root  admin\n"
				  "m  /^(.*)@example\\.com$  \\1\n"
				  "m  /^x-(.+)$  \"user \\1!\"\n"
				  "m  boss all\n"
				  "m  \"quoted all\" \"all\"\n"
				  "m  one /^u[0-9]$\n"
				  "n  root other\n");
	struct herd_err err = HERD_ERR_INIT;
	struct herd_ident *i = NULL;

	(void)state;
	assert_int_equal(herd_ident_load(path, &i, &err), 0);
	assert_true(herd_ident_may(i, "m", "root", "admin"));
	assert_false(herd_ident_may(i, "m", "root", "other"));
	assert_true(herd_ident_may(i, "n", "root", "other"));
	assert_true(herd_ident_may(i, "m", "ann@example.com", "ann"));
	assert_false(herd_ident_may(i, "m", "ann@example.com", "bob"));
	assert_false(herd_ident_may(i, "m", "ann@example.com.evil", "ann"));
	assert_false(herd_ident_may(i, "m", "ann@examplexcom", "ann"));
	assert_true(herd_ident_may(i, "m", "x-ann", "user ann!"));
	assert_true(herd_ident_may(i, "m", "boss", "anybody"));
	assert_true(herd_ident_may(i, "m", "quoted all", "all"));
	assert_false(herd_ident_may(i, "m", "quoted all", "anybody"));
	assert_true(herd_ident_may(i, "m", "one", "u7"));
	assert_false(herd_ident_may(i, "m", "one", "u77"));
	assert_false(herd_ident_may(i, "none", "root", "admin"));
	assert_false(herd_ident_may(NULL, "m", "root", "admin"));
	herd_ident_free(i);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocols),   cmocka_unit_test(test_replication_words),
		cmocka_unit_test(test_ldap_filter), cmocka_unit_test(test_ldap_options),
		cmocka_unit_test(test_hba),         cmocka_unit_test(test_ident),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
