/*
 * proxy/ldapauth.h - authentication by an LDAP server, with the options of PostgreSQL's hba file.
 *
 * Two ways: simple bind as ldapprefix + user + ldapsuffix, or a search under ldapbasedn that must
 * find just one entry, and a bind as that.
 */
#pragma once
#include <stdbool.h>

#include "base/err.h"

/* The options of one hba line or of auth_ldap_options. Texts owned; NULL: not given. */
struct herd_ldap {
	char *server, *scheme, *prefix, *suffix, *basedn, *binddn, *bindpasswd;
	char *searchattribute, *searchfilter;
	int port; /* 0: the scheme's */
	int scope;
	bool tls, url;
};

/* False: this program was built without LDAP. */
bool herd_ldap_built(void);
/* Takes one "ldap...=value". -ENOENT: no such option; -EINVAL: err says what is wrong. */
int herd_ldap_option(struct herd_ldap **l, const char *word, struct herd_err *err);
/* All have been taken: do they make sense together? 0 or -EINVAL. */
int herd_ldap_check(const struct herd_ldap *l, struct herd_err *err);
/* All from one text of words, as auth_ldap_options has it. */
int herd_ldap_parse(const char *text, struct herd_ldap **ret, struct herd_err *err);
void herd_ldap_free(struct herd_ldap *l);

/* The filter of a search for the user. Caller frees; NULL when out of memory. */
char *herd_ldap_filter(const struct herd_ldap *l, const char *user);
/* May the name stand in a filter as it is? */
bool herd_ldap_name_ok(const char *user);

/* Blocks. 0: the password is right; else err says why not, for the log. */
int herd_ldap_login(const struct herd_ldap *l, const char *user, const char *password,
		    int timeout_s, struct herd_err *err);
