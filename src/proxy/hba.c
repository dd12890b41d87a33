#include "proxy/hba.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "proxy/ldapauth.h"
#include "proxy/settings.h"
#include "proxy/words.h"

enum { MAX_FIELDS = 32 };

enum own { OWN_NO = 0, OWN_HOST, OWN_NET };
enum conn_type { LOCAL, HOST, HOSTSSL, HOSTNOSSL };

struct line {
	struct line *next;
	enum conn_type type;
	struct herd_words databases, users;
	char *host;   /* a name, or the end of one from a dot on; NULL: addresses */
	enum own own; /* samehost, samenet */
	int family;   /* AF_UNSPEC: all addresses */
	uint8_t addr[16], mask[16];
	int method;
	char *map;              /* of names, NULL: none */
	struct herd_ldap *ldap; /* of method ldap */
};

struct herd_hba {
	struct line *first, **last;
	const char *path; /* while it is read */
};

/* PostgreSQL takes for a name whatever is no address; here it must at least look like one. */
static bool looks_like_name(const char *s)
{
	bool letter = false;

	for (const char *p = s; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("-._", *p))
			return false;
		letter |= isalpha((unsigned char)*p) != 0;
	}
	return letter;
}

static int parse_address(struct line *l, const char *addr, const char *mask)
{
	char *copy, *slash;
	int bits = -1, len, rc = -EINVAL;

	if (strcmp(addr, "all") == 0 || strcmp(addr, "samehost") == 0 ||
	    strcmp(addr, "samenet") == 0) {
		l->own = strcmp(addr, "all") == 0        ? OWN_NO
			 : strcmp(addr, "samehost") == 0 ? OWN_HOST
							 : OWN_NET;
		l->family = AF_UNSPEC;
		return 0;
	}
	copy = strdup(addr);
	if (!copy)
		return -ENOMEM;
	slash = strchr(copy, '/');
	if (slash) {
		*slash++ = '\0';
		char *end;

		bits = (int)strtol(slash, &end, 10);
		if (*end || end == slash)
			goto out;
	}
	if (inet_pton(AF_INET, copy, l->addr) == 1)
		l->family = AF_INET, len = 4;
	else if (inet_pton(AF_INET6, copy, l->addr) == 1)
		l->family = AF_INET6, len = 16;
	else if (bits < 0 && !mask && looks_like_name(copy))
		return l->host = copy, 0;
	else
		goto out;
	if (bits > len * 8 || (bits < 0 && !mask))
		goto out;
	if (bits < 0) {
		rc = inet_pton(l->family, mask, l->mask) == 1 ? 0 : -EINVAL;
		goto out;
	}
	for (int i = 0; i < bits; i++)
		l->mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
	rc = 0;
out:
	free(copy);
	return rc;
}

static void free_line(struct line *l)
{
	herd_words_free(&l->databases);
	herd_words_free(&l->users);
	free(l->map);
	free(l->host);
	herd_ldap_free(l->ldap);
	free(l);
}

static int method_of(const char *word)
{
	int method;

	if (strcmp(word, "reject") == 0)
		return HERD_AUTH_REJECT;
	if (strcmp(word, "peer") == 0)
		return HERD_AUTH_PEER;
	if (strcmp(word, "password") == 0)
		return HERD_AUTH_PLAIN;
	/* pam is for all connections or none, as in PgBouncer. */
	if (herd_settings_auth(word, &method) < 0 || method == HERD_AUTH_HBA ||
	    method == HERD_AUTH_ANY || method == HERD_AUTH_PAM)
		return -EINVAL;
	return method;
}

/* Method and options: words[0 .. n). */
static int parse_method(struct line *l, const struct herd_words *words, int n, struct herd_err *err)
{
	const char *method = herd_words_only(&words[0]);

	if (!method)
		return herd_err_set(err, -EINVAL, "not a valid line");
	l->method = method_of(method);
	if (l->method < 0 || (l->method == HERD_AUTH_PEER && l->type != LOCAL))
		return herd_err_set(err, -EINVAL, "authentication method \"%s\" is not supported",
				    method);
	for (int i = 1; i < n; i++) {
		const char *option = herd_words_only(&words[i]);
		bool mapped = l->method == HERD_AUTH_PEER || l->method == HERD_AUTH_CERT;

		if (option && l->method == HERD_AUTH_LDAP) {
			int rc = herd_ldap_option(&l->ldap, option, err);

			if (rc == 0)
				continue;
			if (rc != -ENOENT)
				return rc;
		}

		if (!option || !mapped || !herd_str_starts(option, "map=") || !option[4])
			return herd_err_set(err, -EINVAL,
					    "option \"%s\" is not supported with method \"%s\"",
					    option ? option : "", method);
		if (!herd_str_set(&l->map, option + 4))
			return herd_err_set(err, -ENOMEM, "out of memory");
	}
	return l->method == HERD_AUTH_LDAP ? herd_ldap_check(l->ldap, err) : 0;
}

static int parse_type(struct line *l, const struct herd_words *w)
{
	static const char *const types[] = { "local", "host", "hostssl", "hostnossl", NULL };

	for (int i = 0; types[i]; i++) {
		if (w->n == 1 && herd_words_have(w, types[i], false)) {
			l->type = (enum conn_type)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* The fields w[0 .. n) of a line; takes the lists of names out of them. */
static int parse_fields(struct line *l, struct herd_words *w, int n, struct herd_err *err)
{
	int at = 3;

	if (n < 4 || parse_type(l, &w[0]) < 0)
		return herd_err_set(err, -EINVAL, "not a valid line");
	if (l->type != LOCAL) {
		const char *addr = herd_words_only(&w[3]);
		bool has_mask = n > 5 && addr && !strchr(addr, '/') &&
				(strchr(addr, ':') || !looks_like_name(addr));
		const char *mask = has_mask ? herd_words_only(&w[4]) : NULL;

		at = has_mask ? 5 : 4;
		if (!addr || at >= n || parse_address(l, addr, mask) < 0)
			return herd_err_set(err, -EINVAL, "not a valid line");
	}
	for (size_t i = 0; i < w[2].n; i++) {
		if (w[2].word[i].text[0] == '+' && !w[2].word[i].quoted)
			return herd_err_set(err, -EINVAL, "groups (\"%s\") are not supported",
					    w[2].word[i].text);
	}
	l->databases = w[1];
	l->users = w[2];
	w[1] = w[2] = (struct herd_words){ 0 };
	return parse_method(l, w + at, n - at, err);
}

static int parse_line(void *arg, const char *text, struct herd_err *err)
{
	struct herd_hba *h = arg;
	struct herd_words w[MAX_FIELDS] = { 0 };
	struct line *l = calloc(1, sizeof(*l));
	int n = 0, rc = l ? 0 : -ENOMEM;

	while (rc == 0 && n < MAX_FIELDS) {
		rc = herd_words_next(&text, &w[n]);
		if (rc < 0 || w[n].n == 0)
			break;
		n++;
	}
	if (rc < 0)
		herd_err_set(err, rc, rc == -ENOMEM ? "out of memory" : "a quote is not closed");
	if (rc == 0 && n > 2)
		rc = herd_words_expand(&w[1], h->path, err);
	if (rc == 0 && n > 2)
		rc = herd_words_expand(&w[2], h->path, err);
	if (rc == 0 && n > 0)
		rc = parse_fields(l, w, n, err);
	if (rc == 0 && n > 0) {
		*h->last = l;
		h->last = &l->next;
	} else if (l) {
		free_line(l);
	}
	for (int i = 0; i < n; i++)
		herd_words_free(&w[i]);
	return rc;
}

int herd_hba_load(const char *path, struct herd_hba **ret, struct herd_err *err)
{
	struct herd_hba *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return herd_err_set(err, -ENOMEM, "out of memory");
	h->last = &h->first;
	h->path = path;
	rc = herd_words_lines(path, parse_line, h, err);
	h->path = NULL;
	if (rc < 0)
		herd_hba_free(h);
	else
		*ret = h;
	return rc;
}

void herd_hba_free(struct herd_hba *h)
{
	if (!h)
		return;
	for (struct line *l = h->first, *next; l; l = next) {
		next = l->next;
		free_line(l);
	}
	free(h);
}

/* The bytes of an address; *len 0: none of IP. */
static const uint8_t *bytes_of(const struct sockaddr *sa, int *len)
{
	*len = sa && sa->sa_family == AF_INET ? 4 : sa && sa->sa_family == AF_INET6 ? 16 : 0;
	if (*len == 4)
		return (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
	if (*len == 16)
		return ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr;
	return NULL;
}

static bool same(const uint8_t *a, const uint8_t *b, const uint8_t *mask, int len)
{
	for (int i = 0; i < len; i++) {
		if ((a[i] & mask[i]) != (b[i] & mask[i]))
			return false;
	}
	return true;
}

/* Is it one of this machine's own addresses, or in one of its nets? */
static bool is_own(enum own own, const struct sockaddr *sa)
{
	static const uint8_t whole[16] = { 255, 255, 255, 255, 255, 255, 255, 255,
					   255, 255, 255, 255, 255, 255, 255, 255 };
	int len, n;
	const uint8_t *addr = bytes_of(sa, &len);
	struct ifaddrs *all = NULL;
	bool found = false;

	if (!addr || getifaddrs(&all) < 0)
		return false;
	for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
		const uint8_t *a = bytes_of(i->ifa_addr, &n), *mask = whole;

		if (!a || n != len)
			continue;
		if (own == OWN_NET) {
			mask = bytes_of(i->ifa_netmask, &n);
			if (!mask || n != len)
				continue;
		}
		found = same(addr, a, mask, len);
	}
	freeifaddrs(all);
	return found;
}

static bool name_fits(const char *pattern, const char *host)
{
	size_t n = strlen(pattern), len = strlen(host);

	if (*pattern == '.')
		return len > n && strcasecmp(host + len - n, pattern) == 0;
	return strcasecmp(host, pattern) == 0;
}

static bool address_fits(const struct line *l, const struct sockaddr *sa, const char *host)
{
	int len;
	const uint8_t *addr = bytes_of(sa, &len);

	if (l->host)
		return !host || name_fits(l->host, host);
	if (l->own != OWN_NO)
		return is_own(l->own, sa);
	if (l->family == AF_UNSPEC)
		return true;
	return l->family == sa->sa_family && same(addr, l->addr, l->mask, len);
}

static bool type_fits(const struct line *l, const struct sockaddr *sa, bool tls)
{
	bool local = sa->sa_family == AF_UNIX;

	switch (l->type) {
	case LOCAL:
		return local;
	case HOST:
		return !local;
	case HOSTSSL:
		return !local && tls;
	case HOSTNOSSL:
		return !local && !tls;
	}
	return false;
}

/* The field's keywords are no names unless they are quoted. */
static bool database_fits(const struct line *l, bool replication, const char *database,
			  const char *user)
{
	static const char *const keywords[] = { "all", "sameuser", "samerole", "samegroup",
						"replication" };
	bool found = false;

	if (replication)
		return herd_words_have(&l->databases, "replication", true);
	if (herd_words_have(&l->databases, "all", true) ||
	    (herd_words_have(&l->databases, "sameuser", true) && strcmp(database, user) == 0))
		return true;
	for (size_t i = 0; i < l->databases.n && !found; i++) {
		const struct herd_word *w = &l->databases.word[i];
		bool keyword = false;

		for (size_t k = 0; k < sizeof(keywords) / sizeof(keywords[0]); k++)
			keyword |= !w->quoted && strcmp(w->text, keywords[k]) == 0;
		found = !keyword && strcmp(w->text, database) == 0;
	}
	return found;
}

struct herd_hba_answer herd_hba_find(const struct herd_hba *h, const struct sockaddr *sa, bool tls,
				     bool replication, const char *database, const char *user,
				     const char *host)
{
	for (const struct line *l = h ? h->first : NULL; l; l = l->next) {
		if (!type_fits(l, sa, tls))
			continue;
		if (!database_fits(l, replication, database, user) ||
		    !(herd_words_have(&l->users, "all", true) ||
		      herd_words_have(&l->users, user, false)))
			continue;
		if (l->type != LOCAL && !address_fits(l, sa, host))
			continue;
		return (struct herd_hba_answer){ .method = l->method,
						 .map = l->map,
						 .ldap = l->ldap,
						 .asks_name = l->host && !host };
	}
	return (struct herd_hba_answer){ .method = HERD_AUTH_REJECT, .no_line = true };
}
