/* One login by LDAP; blocks, so it runs on a helper thread. */
#include "proxy/ldapauth.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

#ifdef HERD_HAVE_LDAP
#include <ldap.h>

/* Wording of PgBouncer (and PostgreSQL), with what the library remembers of the last failure. */
__attribute__((format(printf, 4, 5))) static int failed(LDAP *ld, int code, struct herd_err *err,
							const char *what, ...)
{
	char *more = NULL;
	va_list args;

	va_start(args, what);
	char *said = herd_str_vprintf(what, args);

	va_end(args);
	if (ld)
		ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &more);
	herd_err_set(err, -EACCES, "%s: %s%s%s", said ? said : "LDAP", ldap_err2string(code),
		     more && *more ? ": " : "", more && *more ? more : "");
	if (more)
		ldap_memfree(more);
	free(said);
	return -EACCES;
}

/* "ldap://a:389 ldap://b:389": the library tries one after the other. */
static char *uris(const struct herd_ldap *l)
{
	const char *scheme = l->scheme ? l->scheme : "ldap";
	int port = l->port ? l->port : strcmp(scheme, "ldaps") == 0 ? LDAPS_PORT : LDAP_PORT;
	struct herd_buf b = { 0 };

	for (const char *p = l->server; *p;) {
		size_t n;

		p += strspn(p, " ");
		n = strcspn(p, " ");
		if (n > 0)
			herd_buf_printf(&b, "%s%s://%.*s:%d", b.len ? " " : "", scheme, (int)n, p,
					port);
		p += n;
	}
	return herd_buf_steal(&b);
}

static int open_ldap(const struct herd_ldap *l, int timeout_s, LDAP **ret, struct herd_err *err)
{
	struct timeval tv = { .tv_sec = timeout_s };
	int version = LDAP_VERSION3;
	char *where = uris(l);
	LDAP *ld = NULL;

	if (!where)
		return herd_err_set(err, -ENOMEM, "out of memory");
	int rc = ldap_initialize(&ld, where);

	free(where);
	if (rc != LDAP_SUCCESS)
		return failed(ld, rc, err, "could not initialize LDAP");
	ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &tv);
	ldap_set_option(ld, LDAP_OPT_TIMEOUT, &tv);
	ldap_set_option(ld, LDAP_OPT_RESTART, LDAP_OPT_ON);
	if (l->tls)
		rc = ldap_start_tls_s(ld, NULL, NULL);
	if (rc != LDAP_SUCCESS) {
		failed(ld, rc, err, "could not start LDAP TLS session with server \"%s\"",
		       l->server);
		ldap_unbind_ext_s(ld, NULL, NULL);
		return -EACCES;
	}
	*ret = ld;
	return 0;
}

static int bind_as(LDAP *ld, const char *dn, const char *password)
{
	struct berval cred = { .bv_val = (char *)(uintptr_t)password, .bv_len = strlen(password) };

	return ldap_sasl_bind_s(ld, dn, LDAP_SASL_SIMPLE, &cred, NULL, NULL, NULL);
}

/* The one entry that the search finds. Caller frees by ldap_memfree; NULL: err is set. */
static char *find_dn(LDAP *ld, const struct herd_ldap *l, const char *user, struct herd_err *err)
{
	char none[] = LDAP_NO_ATTRS;
	char *attributes[] = { none, NULL };
	LDAPMessage *found = NULL;
	char *dn = NULL;

	if (!herd_ldap_name_ok(user)) {
		herd_err_set(err, -EACCES,
			     "invalid character in user name for LDAP authentication");
		return NULL;
	}
	int rc = bind_as(ld, l->binddn ? l->binddn : "", l->bindpasswd ? l->bindpasswd : "");

	if (rc != LDAP_SUCCESS) {
		failed(ld, rc, err,
		       "could not perform initial LDAP bind for ldapbinddn \"%s\" on server \"%s\"",
		       l->binddn ? l->binddn : "", l->server);
		return NULL;
	}
	char *filter = herd_ldap_filter(l, user);

	if (!filter) {
		herd_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	rc = ldap_search_ext_s(ld, l->basedn, l->scope, filter, attributes, 0, NULL, NULL, NULL, 0,
			       &found);
	int n = rc == LDAP_SUCCESS ? ldap_count_entries(ld, found) : 0;

	if (rc != LDAP_SUCCESS)
		failed(ld, rc, err, "could not search LDAP for filter \"%s\" on server \"%s\"",
		       filter, l->server);
	else if (n == 0)
		herd_err_set(err, -EACCES,
			     "LDAP user \"%s\" does not exist: LDAP search for filter \"%s\" on "
			     "server \"%s\" returned no entries.",
			     user, filter, l->server);
	else if (n > 1)
		herd_err_set(err, -EACCES,
			     "LDAP user \"%s\" is not unique: LDAP search for filter \"%s\" on "
			     "server \"%s\" returned %d entries.",
			     user, filter, l->server, n);
	else
		dn = ldap_get_dn(ld, ldap_first_entry(ld, found));
	if (n == 1 && !dn)
		herd_err_set(
			err, -EACCES,
			"could not get dn for the first entry matching \"%s\" on server \"%s\"",
			filter, l->server);
	ldap_msgfree(found);
	free(filter);
	return dn;
}

int herd_ldap_login(const struct herd_ldap *l, const char *user, const char *password,
		    int timeout_s, struct herd_err *err)
{
	LDAP *ld = NULL;
	char *dn = NULL;
	int rc;

	/* A bind without a password succeeds for everybody. */
	if (*password == '\0')
		return herd_err_set(err, -EACCES, "empty password");
	rc = open_ldap(l, timeout_s, &ld, err);
	if (rc < 0)
		return rc;
	if (l->basedn) {
		char *found = find_dn(ld, l, user, err);

		dn = herd_str_dup(found);
		if (found)
			ldap_memfree(found);
		ldap_unbind_ext_s(ld, NULL, NULL);
		ld = NULL;
		/* A connection of its own: the bind for the search has left its mark on the first.
		 */
		if (!dn || open_ldap(l, timeout_s, &ld, err) < 0) {
			free(dn);
			return -EACCES;
		}
	} else {
		dn = herd_str_printf("%s%s%s", l->prefix ? l->prefix : "", user,
				     l->suffix ? l->suffix : "");
	}
	rc = dn ? bind_as(ld, dn, password) : LDAP_NO_MEMORY;
	if (rc != LDAP_SUCCESS)
		failed(ld, rc, err, "LDAP login failed for user %s on server %s", user, l->server);
	free(dn);
	ldap_unbind_ext_s(ld, NULL, NULL);
	return rc == LDAP_SUCCESS ? 0 : -EACCES;
}
#else
int herd_ldap_login(const struct herd_ldap *l, const char *user, const char *password,
		    int timeout_s, struct herd_err *err)
{
	(void)l;
	(void)user;
	(void)password;
	(void)timeout_s;
	return herd_err_set(err, -ENOTSUP, "this build has no LDAP");
}
#endif
