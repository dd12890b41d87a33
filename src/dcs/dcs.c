#include "dcs/dcs.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "dcs/etcd3.h"

void herd_dcs_free(struct herd_dcs *d)
{
	if (d)
		d->ops->free(d);
}

void herd_dcs_read(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn, void *arg)
{
	d->ops->read(d, prefix, fn, arg);
}

void herd_dcs_change(struct herd_dcs *d, const struct herd_dcs_change *c, herd_dcs_put_fn fn,
		     void *arg)
{
	d->ops->change(d, c, fn, arg);
}

void herd_dcs_lease_grant(struct herd_dcs *d, int64_t ttl_ms, herd_dcs_lease_fn fn, void *arg)
{
	d->ops->lease_grant(d, ttl_ms, fn, arg);
}

void herd_dcs_lease_renew(struct herd_dcs *d, const char *lease, herd_dcs_lease_fn fn, void *arg)
{
	d->ops->lease_renew(d, lease, fn, arg);
}

void herd_dcs_lease_revoke(struct herd_dcs *d, const char *lease, herd_dcs_done_fn fn, void *arg)
{
	d->ops->lease_revoke(d, lease, fn, arg);
}

struct herd_dcs_watch *herd_dcs_watch(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn,
				      void *arg)
{
	return d->ops->watch(d, prefix, fn, arg);
}

void herd_dcs_watch_free(struct herd_dcs *d, struct herd_dcs_watch *w)
{
	if (w)
		d->ops->watch_free(d, w);
}

void herd_dcs_set_timeout(struct herd_dcs *d, int64_t retry_timeout_ms)
{
	d->ops->set_timeout(d, retry_timeout_ms);
}

/* "/<namespace>/<scope>/" with runs of slashes collapsed, as Patroni makes it. */
static char *make_root(const char *namespace_, const char *scope)
{
	struct herd_buf b = { 0 };
	const char *parts[] = { "/", namespace_, "/", scope, "/" };

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		for (const char *p = parts[i]; *p; p++) {
			if (*p != '/' || b.len == 0 || b.data[b.len - 1] != '/')
				herd_buf_addc(&b, *p);
		}
	}
	return herd_buf_steal(&b);
}

/* One "host:port", "host" or a list of them separated by commas. */
static int add_hosts(struct herd_etcd3_opts *o, const char *text, struct herd_err *err)
{
	char *copy = strdup(text), *save = NULL;

	if (!copy)
		return herd_err_set(err, -ENOMEM, "out of memory");
	for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		word = herd_str_trim(word);
		if (*word == '\0')
			continue;
		/* An IPv6 address has colons of its own, inside brackets. */
		const char *bracket = strrchr(word, ']');
		bool port = strchr(bracket ? bracket : word, ':') != NULL;
		char *host = port ? strdup(word) : herd_str_printf("%s:%d", word, o->port);
		char **more = realloc(o->hosts, (o->nhosts + 1) * sizeof(*more));

		if (!host || !more) {
			free(host);
			free(copy);
			return herd_err_set(err, -ENOMEM, "out of memory");
		}
		o->hosts = more;
		o->hosts[o->nhosts++] = host;
	}
	free(copy);
	return 0;
}

static void free_hosts(struct herd_etcd3_opts *o)
{
	for (size_t i = 0; i < o->nhosts; i++)
		free(o->hosts[i]);
	free(o->hosts);
}

static int add_url(struct herd_etcd3_opts *o, const char *url, struct herd_err *err)
{
	const char *sep = strstr(url, "://");

	if (sep)
		o->https = strncmp(url, "https", 5) == 0;
	char *rest = strdup(sep ? sep + 3 : url);

	if (!rest)
		return herd_err_set(err, -ENOMEM, "out of memory");
	rest[strcspn(rest, "/")] = '\0';
	int rc = add_hosts(o, rest, err);

	free(rest);
	return rc;
}

static int add_host_setting(struct herd_etcd3_opts *o, const char *name, const json_t *v,
			    struct herd_err *err)
{
	size_t i;
	json_t *item;
	int rc = 0;

	if (json_is_string(v))
		return add_hosts(o, json_string_value(v), err);
	if (!json_is_array(v))
		return herd_err_set(err, -EINVAL, "%s must be a list or text with commas", name);
	json_array_foreach((json_t *)v, i, item)
	{
		if (!json_is_string(item))
			return herd_err_set(err, -EINVAL, "%s must be a list of text", name);
		rc = add_hosts(o, json_string_value(item), err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int open_etcd3(struct herd_loop *l, struct herd_etcd3_opts *o, const char *namespace_,
		      const char *scope, struct herd_dcs **ret, struct herd_err *err)
{
	char *root = make_root(namespace_, scope);
	int rc;

	if (o->nhosts == 0)
		rc = herd_err_set(err, -EINVAL, "no host of etcd is named");
	else if (!root)
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	else
		rc = herd_etcd3_open(l, o, root, ret, err);
	free(root);
	free_hosts(o);
	return rc;
}

static int open_section(struct herd_loop *l, const json_t *s, const char *name,
			const char *namespace_, const char *scope, struct herd_dcs **ret,
			struct herd_err *err)
{
	struct herd_etcd3_opts o = {
		.port = (int)herd_json_i64(s, "port", 2379),
		.https = strcmp(herd_json_str(s, "protocol", "http"), "https") == 0,
		.username = herd_json_str(s, "username", NULL),
		.password = herd_json_str(s, "password", NULL),
		.tls = { .cacert = herd_json_str(s, "cacert", NULL),
			 .cert = herd_json_str(s, "cert", NULL),
			 .key = herd_json_str(s, "key", NULL) },
	};
	const json_t *hosts = json_object_get(s, "hosts"), *host = json_object_get(s, "host");
	const char *url = herd_json_str(s, "url", NULL);
	int rc;

	if (!json_is_object(s))
		return herd_err_set(err, -EINVAL, "%s must be a map", name);
	for (const char *const *p = (const char *const[]){ "srv", "proxy", "use_proxies", NULL };
	     *p; p++) {
		if (json_object_get(s, *p) && !json_is_false(json_object_get(s, *p))) {
			herd_err_set(err, -ENOTSUP, "%s.%s is not available in this version", name,
				     *p);
			herd_err_hint(err, "Name the servers with %s.hosts.", name);
			return -ENOTSUP;
		}
	}
	if (hosts)
		rc = add_host_setting(&o, "hosts", hosts, err);
	else if (host)
		rc = add_host_setting(&o, "host", host, err);
	else if (url)
		rc = add_url(&o, url, err);
	else
		rc = herd_err_set(err, -EINVAL, "%s names neither hosts, host nor url", name);
	if (rc < 0) {
		free_hosts(&o);
		return rc;
	}
	return open_etcd3(l, &o, namespace_, scope, ret, err);
}

int herd_dcs_open(struct herd_loop *l, const struct json_t *config, const char *namespace_,
		  const char *scope, struct herd_dcs **ret, struct herd_err *err)
{
	static const char *const known[] = { "etcd3", "etcd" };
	static const char *const others[] = { "consul", "exhibitor", "kubernetes",
					      "raft",   "zookeeper", "consensus" };

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		const json_t *s = json_object_get(config, known[i]);

		if (s)
			return open_section(l, s, known[i], namespace_, scope, ret, err);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		if (json_object_get(config, others[i])) {
			herd_err_set(err, -ENOTSUP,
				     "section \"%s\" is not available in this version", others[i]);
			herd_err_hint(err, "Use an etcd (3.4 or later) with section etcd3.");
			return -ENOTSUP;
		}
	}
	herd_err_set(err, -EINVAL, "the configuration names no distributed configuration store");
	herd_err_hint(err, "Add a section etcd3 with hosts.");
	return -EINVAL;
}

int herd_dcs_open_url(struct herd_loop *l, const char *url, const char *namespace_,
		      const char *scope, struct herd_dcs **ret, struct herd_err *err)
{
	static const char *const schemes[] = { "etcd3://", "etcd://", "http://", "https://" };
	struct herd_etcd3_opts o = { .port = 2379 };
	bool known = strstr(url, "://") == NULL;

	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++)
		known |= herd_str_starts(url, schemes[i]);
	if (!known) {
		herd_err_set(err, -ENOTSUP, "store \"%.*s\" is not available in this version",
			     (int)strcspn(url, ":"), url);
		herd_err_hint(err, "Use etcd3://host:port.");
		return -ENOTSUP;
	}
	int rc = add_url(&o, url, err);

	if (rc < 0) {
		free_hosts(&o);
		return rc;
	}
	return open_etcd3(l, &o, namespace_, scope, ret, err);
}
