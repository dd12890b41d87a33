/*
 * dcs/etcd3_config.c - section etcd3 of a configuration, in all its forms.
 */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "dcs/etcd3_internal.h"

enum { DEFAULT_PORT = 2379 };

bool etcd3_add_url(struct herd_etcd3_opts *o, const char *url)
{
	size_t len = strlen(url);
	char **more;
	char *copy;

	while (len > 0 && url[len - 1] == '/')
		len--;
	for (size_t i = 0; i < o->nurls; i++)
		if (strncmp(o->urls[i], url, len) == 0 && o->urls[i][len] == '\0')
			return true;
	more = realloc(o->urls, (o->nurls + 1) * sizeof(*more));
	copy = strndup(url, len);
	if (more)
		o->urls = more;
	if (!more || !copy) {
		free(copy);
		return false;
	}
	o->urls[o->nurls++] = copy;
	return true;
}

/* "host:port", "host", "[::1]:port", or a list of them separated by commas. */
static int add_hosts(struct herd_etcd3_opts *o, const char *scheme, const char *text, int port,
		     struct herd_err *err)
{
	char *copy = strdup(text), *save = NULL;
	bool ok = copy != NULL;

	for (char *word = ok ? strtok_r(copy, ",", &save) : NULL; word && ok;
	     word = strtok_r(NULL, ",", &save)) {
		word = herd_str_trim(word);
		if (*word == '\0')
			continue;
		/* An IPv6 address has colons of its own, inside brackets. */
		const char *bracket = strrchr(word, ']');
		bool has_port = strchr(bracket ? bracket : word, ':') != NULL;
		char *url = has_port ? herd_str_printf("%s://%s", scheme, word)
				     : herd_str_printf("%s://%s:%d", scheme, word, port);

		ok = url && etcd3_add_url(o, url);
		free(url);
	}
	free(copy);
	return ok ? 0 : herd_err_set(err, -ENOMEM, "out of memory");
}

static int add_host_setting(struct herd_etcd3_opts *o, const char *scheme, const char *name,
			    const json_t *v, int port, struct herd_err *err)
{
	size_t i;
	json_t *item;
	int rc = 0;

	if (json_is_string(v))
		return add_hosts(o, scheme, json_string_value(v), port, err);
	if (!json_is_array(v))
		return herd_err_set(err, -EINVAL, "%s must be a list or text with commas", name);
	json_array_foreach((json_t *)v, i, item)
	{
		if (!json_is_string(item))
			return herd_err_set(err, -EINVAL, "%s must be a list of text", name);
		if (rc == 0)
			rc = add_hosts(o, scheme, json_string_value(item), port, err);
	}
	return rc;
}

/* "a%40b" to "a@b", in place. */
static void decode(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '%' && isxdigit((unsigned char)s[1]) && isxdigit((unsigned char)s[2])) {
			char hex[3] = { s[1], s[2], '\0' };

			*to++ = (char)strtol(hex, NULL, 16);
			s += 2;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Takes "user:password@" off the front of rest. */
static char *take_login(struct herd_etcd3_opts *o, char *rest)
{
	char *at = strrchr(rest, '@'), *colon;

	if (!at)
		return rest;
	*at = '\0';
	colon = strchr(rest, ':');
	if (colon) {
		*colon = '\0';
		decode(colon + 1);
		herd_str_set(&o->password, colon + 1);
		herd_str_wipe(colon + 1, strlen(colon + 1));
	}
	decode(rest);
	herd_str_set(&o->username, rest);
	return at + 1;
}

static int add_url(struct herd_etcd3_opts *o, const char *url, int port, struct herd_err *err)
{
	const char *sep = strstr(url, "://");
	const char *scheme = herd_str_starts(url, "https://") ? "https" : "http";
	char *rest = strdup(sep ? sep + 3 : url), *hosts;
	int rc;

	if (!rest)
		return herd_err_set(err, -ENOMEM, "out of memory");
	hosts = take_login(o, rest);
	hosts[strcspn(hosts, "/?")] = '\0';
	rc = add_hosts(o, scheme, hosts, port, err);
	free(rest);
	return rc;
}

static int add_srv(struct herd_etcd3_opts *o, const char *domain, const char *suffix,
		   struct herd_err *err)
{
	struct __res_state state = { 0 };
	int rc;

	if (res_ninit(&state) < 0)
		return herd_err_set(err, -EAGAIN, "the resolver cannot be used");
	rc = herd_etcd3_discover_srv(&state, domain, suffix, o, err);
	res_nclose(&state);
	return rc;
}

static const char *text_of(const json_t *s, const char *key)
{
	const char *text = herd_json_str(s, key, NULL);

	return text && *text ? text : NULL;
}

static int add_servers(const json_t *s, struct herd_etcd3_opts *o, struct herd_err *err)
{
	const char *protocol =
		strcmp(herd_json_str(s, "protocol", "http"), "https") == 0 ? "https" : "http";
	const char *proxy = text_of(s, "proxy"), *url = text_of(s, "url"), *srv = text_of(s, "srv");
	const json_t *hosts = json_object_get(s, "hosts"), *host = json_object_get(s, "host");
	int port = (int)herd_json_i64(s, "port", DEFAULT_PORT);

	if (!srv)
		srv = text_of(s, "discovery_srv");
	if (!srv)
		srv = text_of(s, "srv_domain");
	if (proxy)
		return add_url(o, proxy, port, err);
	if (url)
		return add_url(o, url, port, err);
	if (srv)
		return add_srv(o, srv, text_of(s, "srv_suffix"), err);
	if (hosts)
		return add_host_setting(o, protocol, "etcd3.hosts", hosts, port, err);
	if (host)
		return add_host_setting(o, protocol, "etcd3.host", host, port, err);
	herd_err_set(err, -EINVAL, "section etcd3 names no server");
	herd_err_hint(err, "Give one of hosts, host, url, srv, proxy.");
	return -EINVAL;
}

int herd_etcd3_opts_read(const json_t *s, struct herd_etcd3_opts *ret, struct herd_err *err)
{
	struct herd_etcd3_opts o = {
		.username = herd_str_dup(text_of(s, "username")),
		.password = herd_str_dup(text_of(s, "password")),
		.tls = { .cacert = herd_str_dup(text_of(s, "cacert")),
			 .cert = herd_str_dup(text_of(s, "cert")),
			 .key = herd_str_dup(text_of(s, "key")) },
		.fixed = text_of(s, "proxy") || herd_json_bool(s, "use_proxies", false),
	};
	int rc;

	if (!json_is_object(s))
		rc = herd_err_set(err, -EINVAL, "etcd3 must be a map");
	else
		rc = add_servers(s, &o, err);
	if (rc == 0 && o.nurls == 0)
		rc = herd_err_set(err, -EINVAL, "no host of etcd is named");
	if (rc < 0) {
		herd_etcd3_opts_clear(&o);
		return rc;
	}
	*ret = o;
	return 0;
}

int herd_etcd3_opts_read_url(const char *url, struct herd_etcd3_opts *ret, struct herd_err *err)
{
	struct herd_etcd3_opts o = { 0 };
	int rc = add_url(&o, url, DEFAULT_PORT, err);

	if (rc == 0 && o.nurls == 0)
		rc = herd_err_set(err, -EINVAL, "no host of etcd is named");
	if (rc < 0) {
		herd_etcd3_opts_clear(&o);
		return rc;
	}
	*ret = o;
	return 0;
}

void herd_etcd3_opts_clear(struct herd_etcd3_opts *o)
{
	for (size_t i = 0; i < o->nurls; i++)
		free(o->urls[i]);
	free(o->urls);
	free(o->username);
	if (o->password)
		herd_str_wipe(o->password, strlen(o->password));
	free(o->password);
	free((char *)o->tls.cacert);
	free((char *)o->tls.cert);
	free((char *)o->tls.key);
	*o = (struct herd_etcd3_opts){ 0 };
}
