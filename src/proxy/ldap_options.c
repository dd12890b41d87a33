/* The options of LDAP authentication, from an hba line or auth_ldap_options. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "proxy/ldapauth.h"
#include "proxy/words.h"

#ifdef HERD_HAVE_LDAP
#include <ldap.h>
#endif

bool herd_ldap_built(void)
{
#ifdef HERD_HAVE_LDAP
	return true;
#else
	return false;
#endif
}

void herd_ldap_free(struct herd_ldap *l)
{
	if (!l)
		return;
	if (l->bindpasswd)
		herd_str_wipe(l->bindpasswd, strlen(l->bindpasswd));
	free(l->server);
	free(l->scheme);
	free(l->prefix);
	free(l->suffix);
	free(l->basedn);
	free(l->binddn);
	free(l->bindpasswd);
	free(l->searchattribute);
	free(l->searchfilter);
	free(l);
}

#ifdef HERD_HAVE_LDAP
static int take_url(struct herd_ldap *l, const char *text, struct herd_err *err)
{
	LDAPURLDesc *url = NULL;
	int rc = ldap_url_parse(text, &url);

	if (rc != LDAP_SUCCESS)
		return herd_err_set(err, -EINVAL, "could not parse LDAP URL \"%s\"", text);
	if (strcmp(url->lud_scheme, "ldap") != 0 && strcmp(url->lud_scheme, "ldaps") != 0) {
		rc = herd_err_set(err, -EINVAL, "unsupported LDAP URL scheme: %s", url->lud_scheme);
		ldap_free_urldesc(url);
		return rc;
	}
	bool ok = herd_str_set(&l->scheme, url->lud_scheme);

	if (url->lud_host && *url->lud_host)
		ok = ok && herd_str_set(&l->server, url->lud_host);
	l->port = url->lud_port;
	ok = ok && herd_str_set(&l->basedn, url->lud_dn ? url->lud_dn : "");
	if (url->lud_attrs && url->lud_attrs[0])
		ok = ok && herd_str_set(&l->searchattribute, url->lud_attrs[0]);
	l->scope = url->lud_scope == LDAP_SCOPE_DEFAULT ? LDAP_SCOPE_BASE : url->lud_scope;
	if (url->lud_filter)
		ok = ok && herd_str_set(&l->searchfilter, url->lud_filter);
	l->url = true;
	ldap_free_urldesc(url);
	return ok ? 0 : herd_err_set(err, -ENOMEM, "out of memory");
}
#else
static int take_url(struct herd_ldap *l, const char *text, struct herd_err *err)
{
	(void)l;
	(void)text;
	return herd_err_set(err, -ENOTSUP, "this build has no LDAP");
}
#endif

static int make(struct herd_ldap **l)
{
	if (*l)
		return 0;
	*l = calloc(1, sizeof(**l));
	if (!*l)
		return -ENOMEM;
#ifdef HERD_HAVE_LDAP
	(*l)->scope = LDAP_SCOPE_SUBTREE;
#endif
	return 0;
}

static int take_number(const char *name, const char *value, int max, int *ret, struct herd_err *err)
{
	int64_t n;

	if (herd_str_to_i64(value, &n) < 0 || n < 0 || n > max)
		return herd_err_set(err, -EINVAL, "invalid value \"%s\" for \"%s\"", value, name);
	*ret = (int)n;
	return 0;
}

int herd_ldap_option(struct herd_ldap **slot, const char *word, struct herd_err *err)
{
	static const struct {
		const char *name;
		size_t offset;
	} texts[] = {
		{ "ldapserver", offsetof(struct herd_ldap, server) },
		{ "ldapprefix", offsetof(struct herd_ldap, prefix) },
		{ "ldapsuffix", offsetof(struct herd_ldap, suffix) },
		{ "ldapbasedn", offsetof(struct herd_ldap, basedn) },
		{ "ldapbinddn", offsetof(struct herd_ldap, binddn) },
		{ "ldapbindpasswd", offsetof(struct herd_ldap, bindpasswd) },
		{ "ldapsearchattribute", offsetof(struct herd_ldap, searchattribute) },
		{ "ldapsearchfilter", offsetof(struct herd_ldap, searchfilter) },
		{ "ldapscheme", offsetof(struct herd_ldap, scheme) },
	};
	const char *eq = strchr(word, '='), *value = eq ? eq + 1 : NULL;
	char *name = eq ? strndup(word, (size_t)(eq - word)) : NULL;
	int rc = -ENOENT, number = 0;

	if (!eq)
		return -ENOENT;
	if (!name || make(slot) < 0) {
		free(name);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	struct herd_ldap *l = *slot;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(name, texts[i].name) != 0)
			continue;
		rc = herd_str_set((char **)(void *)((char *)l + texts[i].offset), value)
			     ? 0
			     : herd_err_set(err, -ENOMEM, "out of memory");
	}
	if (strcmp(name, "ldapport") == 0) {
		rc = take_number(name, value, 65535, &l->port, err);
	} else if (strcmp(name, "ldaptls") == 0) {
		rc = take_number(name, value, 1, &number, err);
		l->tls = number == 1;
	} else if (strcmp(name, "ldapurl") == 0) {
		rc = take_url(l, value, err);
	} else if (strcmp(name, "ldapscheme") == 0 && rc == 0 && strcmp(value, "ldap") != 0 &&
		   strcmp(value, "ldaps") != 0) {
		rc = herd_err_set(err, -EINVAL, "invalid ldapscheme value: \"%s\"", value);
	}
	free(name);
	return rc;
}

int herd_ldap_check(const struct herd_ldap *l, struct herd_err *err)
{
	if (!herd_ldap_built()) {
		herd_err_set(err, -ENOTSUP,
			     "authentication method \"ldap\" is not supported by this build");
		herd_err_hint(err, "Install libldap-dev and build again.");
		return -ENOTSUP;
	}
	if (!l || !l->server)
		return herd_err_set(err, -EINVAL,
				    "authentication method \"ldap\" requires argument "
				    "\"ldapserver\" to be set");
	if ((l->prefix || l->suffix) &&
	    (l->basedn || l->binddn || l->bindpasswd || l->searchattribute || l->searchfilter))
		return herd_err_set(
			err, -EINVAL,
			"cannot use ldapbasedn, ldapbinddn, ldapbindpasswd, "
			"ldapsearchattribute, ldapsearchfilter, or ldapurl together with "
			"ldapprefix");
	if (!l->prefix && !l->suffix && !l->basedn)
		return herd_err_set(err, -EINVAL,
				    "authentication method \"ldap\" requires argument "
				    "\"ldapbasedn\", \"ldapprefix\", or \"ldapsuffix\" to be set");
	if (l->searchattribute && l->searchfilter && !l->url)
		return herd_err_set(
			err, -EINVAL,
			"cannot use ldapsearchattribute together with ldapsearchfilter");
	return 0;
}

int herd_ldap_parse(const char *text, struct herd_ldap **ret, struct herd_err *err)
{
	struct herd_ldap *l = NULL;
	int rc = 0;

	while (rc == 0) {
		struct herd_words w = { 0 };

		rc = herd_words_next(&text, &w);
		if (rc == 0 && w.n == 0) {
			herd_words_free(&w);
			break;
		}
		if (rc < 0) {
			herd_err_set(err, rc, "a quote is not closed");
			break;
		}
		const char *word = herd_words_only(&w);

		rc = word ? herd_ldap_option(&l, word, err) : -ENOENT;
		if (rc == -ENOENT)
			rc = herd_err_set(err, -EINVAL, "unrecognized LDAP option: \"%s\"",
					  w.word[0].text);
		herd_words_free(&w);
	}
	if (rc == 0)
		rc = herd_ldap_check(l, err);
	if (rc < 0)
		herd_ldap_free(l);
	else
		*ret = l;
	return rc;
}

bool herd_ldap_name_ok(const char *user)
{
	return user[strcspn(user, "*()\\/")] == '\0';
}

char *herd_ldap_filter(const struct herd_ldap *l, const char *user)
{
	static const char mark[] = "$username";
	struct herd_buf b = { 0 };
	const char *p = l->searchfilter, *at;

	if (!p)
		return herd_str_printf("(%s=%s)", l->searchattribute ? l->searchattribute : "uid",
				       user);
	/* A URL's filter goes with its attribute: both must hold. */
	if (l->url && l->searchattribute)
		herd_buf_printf(&b, "(&(%s=%s)", l->searchattribute, user);
	while ((at = strstr(p, mark))) {
		herd_buf_add(&b, p, (size_t)(at - p));
		herd_buf_addstr(&b, user);
		p = at + sizeof(mark) - 1;
	}
	herd_buf_addstr(&b, p);
	if (l->url && l->searchattribute)
		herd_buf_addc(&b, ')');
	return herd_buf_steal(&b);
}
