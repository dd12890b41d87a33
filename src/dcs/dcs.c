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

/* Steals what is in o. */
static int open_etcd3(struct herd_loop *l, struct herd_etcd3_opts *o, const char *namespace_,
		      const char *scope, struct herd_dcs **ret, struct herd_err *err)
{
	char *root = make_root(namespace_, scope);
	int rc = root ? herd_etcd3_open(l, o, root, ret, err)
		      : herd_err_set(err, -ENOMEM, "out of memory");

	free(root);
	herd_etcd3_opts_clear(o);
	return rc;
}

/*
 * Patroni takes the first section of these in the order of their names. One that we do not speak
 * must not be passed over: another member would take it.
 */
static int refuse_others(const json_t *config, struct herd_err *err)
{
	static const char *const names[] = { "consensus", "consul",     "etcd", "etcd3",
					     "exhibitor", "kubernetes", "raft", "zookeeper" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!json_object_get(config, names[i]))
			continue;
		if (strcmp(names[i], "etcd3") == 0)
			return 0;
		if (strcmp(names[i], "etcd") == 0) {
			herd_err_set(
				err, -ENOTSUP,
				"section \"etcd\" means etcd's API v2, which is not supported");
			herd_err_hint(err, "With an etcd of 3.4 or later name the section etcd3; "
					   "v2 and v3 do not share their keys.");
		} else {
			herd_err_set(err, -ENOTSUP,
				     "section \"%s\" is not available in this version", names[i]);
			herd_err_hint(err, "Supported is etcd (3.4 or later) with section etcd3.");
		}
		return -ENOTSUP;
	}
	return 0;
}

int herd_dcs_open(struct herd_loop *l, const struct json_t *config, const char *namespace_,
		  const char *scope, struct herd_dcs **ret, struct herd_err *err)
{
	const json_t *section = json_object_get(config, "etcd3");
	struct herd_etcd3_opts o = { 0 };
	int rc = refuse_others(config, err);

	if (rc < 0)
		return rc;
	if (section) {
		rc = herd_etcd3_opts_read(section, &o, err);
		return rc < 0 ? rc : open_etcd3(l, &o, namespace_, scope, ret, err);
	}
	herd_err_set(err, -EINVAL, "the configuration names no distributed configuration store");
	herd_err_hint(err, "Add a section etcd3 with hosts.");
	return -EINVAL;
}

int herd_dcs_open_url(struct herd_loop *l, const char *url, const char *namespace_,
		      const char *scope, struct herd_dcs **ret, struct herd_err *err)
{
	static const char *const schemes[] = { "etcd3://", "etcd://", "http://", "https://" };
	struct herd_etcd3_opts o = { 0 };
	bool known = strstr(url, "://") == NULL;

	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++)
		known |= herd_str_starts(url, schemes[i]);
	if (!known) {
		herd_err_set(err, -ENOTSUP, "store \"%.*s\" is not available in this version",
			     (int)strcspn(url, ":"), url);
		herd_err_hint(err, "Use etcd3://host:port.");
		return -ENOTSUP;
	}
	int rc = herd_etcd3_opts_read_url(url, &o, err);

	return rc < 0 ? rc : open_etcd3(l, &o, namespace_, scope, ret, err);
}
