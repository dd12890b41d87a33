/*
 * rest_access.c - who may call what changes something: the allowlist, client certificates, basic
 * authentication.
 *
 * Host names of the allowlist and of members are looked up when they are needed, beside the loop,
 * and remembered for a while; the request waits for them.
 */
#define HERD_LOG_PART "patroni.api"
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/rest_internal.h"
#include "base/str.h"
#include "loop/resolve.h"

enum { LOOKUP_MS = 3000, KNOWN_MS = 60000, UNKNOWN_MS = 5000, FORGET_MS = 600000 };

/* A host name and what it meant last. */
struct name {
	struct herd_list node;
	struct herd_rest *r;
	char *host;
	struct herd_resolve *asking;
	int64_t until_ms; /* the answer is good */
	struct herd_names addresses;
};

/* A request that waits for names. */
struct pending {
	struct herd_list node;
	struct herd_http_exchange *x;
	rest_handler fn;
	bool members;
};

enum verdict { ALLOWED, DENIED, WAIT };

static bool in_network(const char *peer, const char *entry)
{
	char *net = herd_str_dup(entry);
	char *slash = net ? strchr(net, '/') : NULL;
	unsigned char a[16], b[16];
	int family = strchr(peer, ':') ? AF_INET6 : AF_INET;
	int64_t bits = family == AF_INET ? 32 : 128;
	bool match = false;

	if (slash) {
		*slash = '\0';
		if (herd_str_to_i64(slash + 1, &bits) < 0 || bits < 0 ||
		    bits > (family == AF_INET ? 32 : 128))
			bits = -1;
	}
	if (net && bits >= 0 && inet_pton(family, peer, a) == 1 && inet_pton(family, net, b) == 1) {
		int whole = (int)bits / 8, rest = (int)bits % 8;

		match = memcmp(a, b, (size_t)whole) == 0 &&
			(rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
	}
	free(net);
	return match;
}

static bool is_address(const char *entry)
{
	unsigned char bytes[16];
	size_t len = strcspn(entry, "/");
	char *host = strndup(entry, len);
	bool yes = host &&
		   (inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1);

	free(host);
	return yes || entry[len] == '/';
}

static void name_free(struct name *n)
{
	herd_list_remove(&n->node);
	herd_resolve_cancel(n->asking);
	herd_names_clear(&n->addresses);
	free(n->host);
	free(n);
}

static void look_again(struct herd_rest *r);

static void on_addresses(void *arg, const char *const *addresses, size_t count,
			 const struct herd_err *err)
{
	struct name *n = arg;

	n->asking = NULL;
	herd_names_clear(&n->addresses);
	for (size_t i = 0; i < count; i++)
		herd_names_add(&n->addresses, addresses[i]);
	n->until_ms = herd_now_ms() + (count ? KNOWN_MS : UNKNOWN_MS);
	if (err)
		herd_log_err(n->r->a->log, HERD_LOG_WARNING, err, "REST access list");
	look_again(n->r);
}

static struct name *name_get(struct herd_rest *r, const char *host)
{
	struct name *n;

	herd_list_for_each(it, &r->names)
	{
		n = herd_container_of(it, struct name, node);
		if (strcmp(n->host, host) == 0)
			return n;
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->r = r;
	n->host = herd_str_dup(host);
	if (!n->host) {
		free(n);
		return NULL;
	}
	herd_list_push_back(&r->names, &n->node);
	return n;
}

static enum verdict match(struct herd_rest *r, const char *peer, const char *entry)
{
	struct name *n;

	if (is_address(entry))
		return in_network(peer, entry) ? ALLOWED : DENIED;
	n = name_get(r, entry);
	if (!n)
		return DENIED;
	if (!n->asking && n->until_ms <= herd_now_ms())
		n->asking = herd_resolve_start(r->a->loop, n->host, LOOKUP_MS, on_addresses, n);
	if (n->asking)
		return WAIT;
	for (size_t i = 0; i < n->addresses.n; i++)
		if (in_network(peer, n->addresses.name[i]))
			return ALLOWED;
	return DENIED;
}

/* The host of "http://host:port/patroni", malloc'd. */
static char *url_host(const char *url)
{
	const char *host = url ? strstr(url, "://") : NULL;

	if (!host)
		return NULL;
	host += 3;
	if (*host == '[')
		return strndup(host + 1, strcspn(host + 1, "]"));
	return strndup(host, strcspn(host, ":/"));
}

static enum verdict match_members(struct herd_rest *r, const char *peer)
{
	const struct herd_scope *s = r->a->scope;
	enum verdict all = DENIED;

	for (size_t g = 0; s && g < s->n_groups; g++) {
		const struct herd_cluster *c = &s->groups[g];

		for (size_t i = 0; i < c->n_members; i++) {
			char *host = url_host(c->members[i].api_url);
			enum verdict v = host && *host ? match(r, peer, host) : DENIED;

			free(host);
			if (v == ALLOWED)
				return v;
			if (v == WAIT)
				all = WAIT;
		}
	}
	return all;
}

static enum verdict judge(struct herd_rest *r, const char *peer, bool members)
{
	json_t *list = herd_agent_config_get(r->a->cfg, "restapi.allowlist");
	bool include =
		herd_agent_config_bool(r->a->cfg, "restapi.allowlist_include_members", false);
	enum verdict all = DENIED;
	size_t i;
	json_t *entry;

	/* Who asks in place of the store cannot be asked to be in it. */
	if (json_array_size(list) == 0 && (!include || !members))
		return ALLOWED;
	json_array_foreach(list, i, entry)
	{
		enum verdict v =
			json_is_string(entry) ? match(r, peer, json_string_value(entry)) : DENIED;

		if (v == ALLOWED)
			return v;
		if (v == WAIT)
			all = WAIT;
	}
	if (include) {
		enum verdict v = match_members(r, peer);

		if (v != DENIED)
			all = v;
	}
	return all;
}

/* "Basic <base64 of user:password>"; compared whole, in constant time. */
static bool password_ok(const char *header, const char *user, const char *password)
{
	char *plain = herd_str_printf("%s:%s", user, password);
	size_t n = plain ? strlen(plain) : 0;
	unsigned char *coded = calloc(1, (n + 2) / 3 * 4 + 1);
	bool ok = false;

	if (plain && coded && strncasecmp(header, "Basic ", 6) == 0) {
		EVP_EncodeBlock(coded, (const unsigned char *)plain, (int)n);
		ok = herd_str_equal_secret(header + 6, (const char *)coded);
	}
	if (plain)
		herd_str_wipe(plain, n);
	free(plain);
	free(coded);
	return ok;
}

/* The peer is in the list: certificate and password. */
static void admit_known(struct herd_rest *r, struct herd_http_exchange *x, rest_handler fn)
{
	const struct herd_agent_config *cfg = r->a->cfg;
	const char *user = herd_agent_config_str(cfg, "restapi.authentication.username", NULL);
	const char *password = herd_agent_config_str(cfg, "restapi.authentication.password", NULL);
	const char *verify = herd_agent_config_str(cfg, "restapi.verify_client", "none");
	const char *header = herd_http_header(x, "Authorization");

	if (herd_agent_config_str(cfg, "restapi.certfile", NULL) && strcmp(verify, "none") != 0 &&
	    !herd_http_peer_has_cert(x)) {
		herd_rest_text(x, 403, "client certificate required");
	} else if (user && password && !(header && password_ok(header, user, password))) {
		herd_http_set_header(x, "WWW-Authenticate", "Basic realm=\"Patroni\"");
		herd_rest_text(x, 401, header ? "not authenticated" : "no auth header received");
	} else {
		fn(r, x);
	}
}

static enum verdict admit(struct herd_rest *r, struct herd_http_exchange *x, rest_handler fn,
			  bool members)
{
	enum verdict v = judge(r, herd_http_peer(x), members);

	if (v == DENIED)
		herd_rest_text(x, 403, "Access is denied");
	else if (v == ALLOWED)
		admit_known(r, x, fn);
	return v;
}

static void look_again(struct herd_rest *r)
{
	herd_list_for_each_safe(it, &r->pending)
	{
		struct pending *p = herd_container_of(it, struct pending, node);

		if (admit(r, p->x, p->fn, p->members) != WAIT) {
			herd_list_remove(&p->node);
			free(p);
		}
	}
}

/* Names of members that went away long ago. */
static void forget(struct herd_rest *r)
{
	int64_t now = herd_now_ms();

	herd_list_for_each_safe(it, &r->names)
	{
		struct name *n = herd_container_of(it, struct name, node);

		if (!n->asking && n->until_ms + FORGET_MS < now)
			name_free(n);
	}
}

void herd_rest_admit(struct herd_rest *r, struct herd_http_exchange *x, rest_handler fn,
		     bool members)
{
	struct pending *p;

	forget(r);
	if (admit(r, x, fn, members) != WAIT)
		return;
	p = calloc(1, sizeof(*p));
	if (!p) {
		herd_rest_text(x, 503, "out of memory");
		return;
	}
	*p = (struct pending){ .x = x, .fn = fn, .members = members };
	herd_list_push_back(&r->pending, &p->node);
}

void herd_rest_forget_names(struct herd_rest *r)
{
	herd_list_for_each(it, &r->names) herd_container_of(it, struct name, node)->until_ms = 0;
}

void herd_rest_drop_pending(struct herd_rest *r)
{
	while (!herd_list_empty(&r->pending)) {
		struct pending *p = herd_container_of(r->pending.next, struct pending, node);

		herd_rest_text(p->x, 503, "the agent is shutting down");
		herd_list_remove(&p->node);
		free(p);
	}
	while (!herd_list_empty(&r->names))
		name_free(herd_container_of(r->names.next, struct name, node));
}
