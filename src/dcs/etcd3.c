#include "dcs/etcd3.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "dcs/etcd3_internal.h"
#include "dcs/view.h"

enum { DEFAULT_TIMEOUT_MS = 10000 };

json_t *etcd3_b64(const char *data, size_t len)
{
	unsigned char *text = malloc(4 * ((len + 2) / 3) + 1);

	if (!text)
		return NULL;
	int n = EVP_EncodeBlock(text, (const unsigned char *)data, (int)len);
	json_t *v = json_stringn((const char *)text, (size_t)n);

	free(text);
	return v;
}

char *etcd3_unb64(const json_t *v, size_t *len)
{
	const char *text = json_string_value(v);
	size_t n = json_string_length(v);

	if (!text || n % 4 != 0)
		return NULL;
	char *data = malloc(n / 4 * 3 + 1);
	int got = data ? EVP_DecodeBlock((unsigned char *)data, (const unsigned char *)text, (int)n)
		       : -1;

	if (got < 0) {
		free(data);
		return NULL;
	}
	/* EVP_DecodeBlock counts the padding as bytes. */
	for (size_t i = n; i > 0 && n - i < 2 && text[i - 1] == '='; i--)
		got--;
	data[got] = '\0';
	*len = (size_t)got;
	return data;
}

static json_t *b64_key(const struct etcd3 *e, const char *key)
{
	char *full = herd_str_printf("%s%s", e->root, key);
	json_t *v = full ? etcd3_b64(full, strlen(full)) : NULL;

	free(full);
	return v;
}

json_t *etcd3_range(const struct etcd3 *e, const char *prefix)
{
	char *end = herd_str_printf("%s%s", e->root, prefix);

	if (!end)
		return NULL;
	/* The root ends with a slash, so the last byte can be raised without overflow. */
	end[strlen(end) - 1]++;
	json_t *v = json_pack("{s:o, s:o}", "key", b64_key(e, prefix), "range_end",
			      etcd3_b64(end, strlen(end)));

	free(end);
	return v;
}

char *etcd3_relative_key(const struct etcd3 *e, const json_t *kv)
{
	size_t len, root = strlen(e->root);
	char *key = etcd3_unb64(json_object_get(kv, "key"), &len);

	if (!key || len <= root || strncmp(key, e->root, root) != 0 || strlen(key) != len) {
		free(key);
		return NULL;
	}
	memmove(key, key + root, len - root + 1);
	return key;
}

char *etcd3_lease_of(const json_t *kv)
{
	int64_t id = herd_json_i64(kv, "lease", 0);

	return id ? herd_str_printf("%" PRId64, id) : NULL;
}

struct herd_dcs_view *etcd3_view(const struct etcd3 *e, const json_t *reply, int64_t read_ms)
{
	const json_t *kvs = json_object_get(reply, "kvs");
	struct herd_dcs_view *v = herd_dcs_view_new(json_array_size(kvs));
	bool ok = v != NULL;
	json_t *kv;
	size_t i;

	json_array_foreach((json_t *)kvs, i, kv)
	{
		size_t len = 0;
		char *key = etcd3_relative_key(e, kv), *lease = etcd3_lease_of(kv);
		const json_t *raw = json_object_get(kv, "value");
		char *value = raw ? etcd3_unb64(raw, &len) : strdup("");

		if (ok && key && value)
			ok = herd_dcs_view_add(v, key, value, len,
					       herd_json_i64(kv, "mod_revision", 0), lease);
		free(key);
		free(value);
		free(lease);
	}
	if (!ok) {
		herd_dcs_view_unref(v);
		return NULL;
	}
	v->revision = herd_json_i64(json_object_get(reply, "header"), "revision", 0);
	v->read_ms = read_ms;
	return v;
}

static void read_done(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
		      const struct herd_err *err)
{
	struct herd_dcs_view *v =
		result == HERD_DCS_OK ? etcd3_view(r->e, reply, r->sent_ms) : NULL;
	struct herd_err oom = HERD_ERR_INIT;

	if (result == HERD_DCS_OK && !v) {
		herd_err_set(&oom, -ENOMEM, "out of memory");
		result = HERD_DCS_UNREACHABLE;
		err = &oom;
	}
	r->user_fn.view(r->user_arg, result, v, err);
	herd_dcs_view_unref(v);
	herd_err_clear(&oom);
}

static void etcd3_read(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn, void *arg)
{
	struct etcd3 *e = (struct etcd3 *)d;
	struct etcd3_rpc *r = etcd3_rpc_start(e, "/v3/kv/range", etcd3_range(e, prefix),
					      ETCD3_REPEATABLE, read_done);

	assert(r); /* a machine without memory for one request runs no database */
	r->user_fn.view = fn;
	r->user_arg = arg;
}

static json_t *compare(const struct etcd3 *e, const struct herd_dcs_change *c)
{
	json_t *key = b64_key(e, c->key);
	char *version = NULL;
	json_t *v = NULL;

	switch (c->cond) {
	case HERD_DCS_ANY:
		json_decref(key);
		return json_array();
	case HERD_DCS_ABSENT:
		v = json_pack("[{s:o, s:s, s:s, s:s}]", "key", key, "target", "CREATE", "result",
			      "EQUAL", "create_revision", "0");
		break;
	case HERD_DCS_AT_VERSION:
		version = herd_str_printf("%" PRId64, c->version);
		v = json_pack("[{s:o, s:s, s:s, s:s}]", "key", key, "target", "MOD", "result",
			      "EQUAL", "mod_revision", version ? version : "0");
		break;
	case HERD_DCS_AT_VALUE:
		v = json_pack("[{s:o, s:s, s:s, s:o}]", "key", key, "target", "VALUE", "result",
			      "EQUAL", "value", etcd3_b64(c->expect, strlen(c->expect)));
		break;
	}
	free(version);
	return v;
}

static json_t *operation(const struct etcd3 *e, const struct herd_dcs_change *c)
{
	if (!c->value)
		return json_pack("[{s:{s:o}}]", "request_delete_range", "key", b64_key(e, c->key));
	json_t *put = json_pack("{s:o, s:o}", "key", b64_key(e, c->key), "value",
				etcd3_b64(c->value, strlen(c->value)));

	if (put && c->lease)
		json_object_set_new(put, "lease", json_string(c->lease));
	return json_pack("[{s:o}]", "request_put", put);
}

static void change_done(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
			const struct herd_err *err)
{
	struct herd_err conflict = HERD_ERR_INIT;
	int64_t version = 0;

	if (result == HERD_DCS_OK) {
		version = herd_json_i64(json_object_get(reply, "header"), "revision", 0);
		if (!json_is_true(json_object_get(reply, "succeeded"))) {
			herd_err_set(&conflict, -EAGAIN, "somebody else has changed the key");
			result = HERD_DCS_CONFLICT;
			err = &conflict;
		}
	}
	r->user_fn.put(r->user_arg, result, version, err);
	herd_err_clear(&conflict);
}

static void etcd3_change(struct herd_dcs *d, const struct herd_dcs_change *c, herd_dcs_put_fn fn,
			 void *arg)
{
	struct etcd3 *e = (struct etcd3 *)d;
	json_t *body =
		json_pack("{s:o, s:o}", "compare", compare(e, c), "success", operation(e, c));
	struct etcd3_rpc *r = etcd3_rpc_start(
		e, "/v3/kv/txn", body, c->cond == HERD_DCS_ANY ? ETCD3_REPEATABLE : ETCD3_CHANGE,
		change_done);

	assert(r);
	r->user_fn.put = fn;
	r->user_arg = arg;
}

static void grant_done(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
		       const struct herd_err *err)
{
	const char *id = herd_json_str(reply, "ID", NULL);

	r->user_fn.lease(r->user_arg, result == HERD_DCS_OK && !id ? HERD_DCS_UNKNOWN : result, id,
			 r->sent_ms, err);
}

static void etcd3_lease_grant(struct herd_dcs *d, int64_t ttl_ms, herd_dcs_lease_fn fn, void *arg)
{
	json_t *body = json_pack("{s:I}", "TTL", (json_int_t)((ttl_ms + 999) / 1000));
	struct etcd3_rpc *r = etcd3_rpc_start((struct etcd3 *)d, "/v3/lease/grant", body,
					      ETCD3_REPEATABLE, grant_done);

	assert(r);
	r->user_fn.lease = fn;
	r->user_arg = arg;
}

static void renew_done(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
		       const struct herd_err *err)
{
	struct herd_err gone = HERD_ERR_INIT;
	const json_t *inner = json_object_get(reply, "result");

	/* The gateway leaves a TTL of zero out: that is how it says that the lease is gone. */
	if (result == HERD_DCS_OK && herd_json_i64(inner, "TTL", 0) <= 0) {
		herd_err_set(&gone, -ENOENT, "the lease has expired");
		result = HERD_DCS_LEASE_GONE;
		err = &gone;
	}
	r->user_fn.lease(r->user_arg, result, r->text, r->sent_ms, err);
	herd_err_clear(&gone);
}

static void etcd3_lease_renew(struct herd_dcs *d, const char *lease, herd_dcs_lease_fn fn,
			      void *arg)
{
	struct etcd3_rpc *r =
		etcd3_rpc_start((struct etcd3 *)d, "/v3/lease/keepalive",
				json_pack("{s:s}", "ID", lease), ETCD3_REPEATABLE, renew_done);

	assert(r);
	r->user_fn.lease = fn;
	r->user_arg = arg;
	r->text = strdup(lease);
}

static void revoke_done(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
			const struct herd_err *err)
{
	/* A lease that is gone is what was wanted. */
	if (result == HERD_DCS_LEASE_GONE)
		result = HERD_DCS_OK;
	r->user_fn.done(r->user_arg, result, result == HERD_DCS_OK ? NULL : err);
}

static void etcd3_lease_revoke(struct herd_dcs *d, const char *lease, herd_dcs_done_fn fn,
			       void *arg)
{
	struct etcd3_rpc *r =
		etcd3_rpc_start((struct etcd3 *)d, "/v3/lease/revoke",
				json_pack("{s:s}", "ID", lease), ETCD3_REPEATABLE, revoke_done);

	assert(r);
	r->user_fn.done = fn;
	r->user_arg = arg;
}

static void etcd3_set_timeout(struct herd_dcs *d, int64_t retry_timeout_ms)
{
	((struct etcd3 *)d)->timeout_ms = retry_timeout_ms;
}

static void etcd3_free(struct herd_dcs *d)
{
	struct etcd3 *e = (struct etcd3 *)d;

	while (!herd_list_empty(&e->watches))
		etcd3_watch_free(d, etcd3_watch_of(e->watches.next));
	while (!herd_list_empty(&e->rpcs))
		etcd3_rpc_free(herd_container_of(e->rpcs.next, struct etcd3_rpc, node));
	herd_http_client_free(e->http);
	for (size_t i = 0; i < e->nslots; i++)
		free(e->urls[i]);
	free(e->urls);
	free(e->root);
	free(e->username);
	if (e->password)
		herd_str_wipe(e->password, strlen(e->password));
	free(e->password);
	free(e->token);
	free(e->cluster_id);
	free(e);
}

static const struct herd_dcs_ops ops = {
	.caps = HERD_DCS_CAP_WATCH | HERD_DCS_CAP_LEASE_SHARED,
	.free = etcd3_free,
	.read = etcd3_read,
	.change = etcd3_change,
	.lease_grant = etcd3_lease_grant,
	.lease_renew = etcd3_lease_renew,
	.lease_revoke = etcd3_lease_revoke,
	.watch = etcd3_watch,
	.watch_free = etcd3_watch_free,
	.set_timeout = etcd3_set_timeout,
};

int herd_etcd3_open(struct herd_loop *l, const struct herd_etcd3_opts *o, const char *root,
		    struct herd_dcs **ret, struct herd_err *err)
{
	struct etcd3 *e = calloc(1, sizeof(*e));
	bool ok = e != NULL;

	if (ok) {
		e->base.ops = &ops;
		e->loop = l;
		e->timeout_ms = DEFAULT_TIMEOUT_MS;
		herd_list_init(&e->rpcs);
		herd_list_init(&e->watches);
		e->http = herd_http_client_new(l, &o->tls);
		e->urls = calloc(o->nurls, sizeof(*e->urls));
		e->root = strdup(root);
		ok = e->http && e->urls && e->root && herd_str_set(&e->username, o->username) &&
		     herd_str_set(&e->password, o->password);
	}
	for (size_t i = 0; ok && i < o->nurls; i++) {
		e->urls[i] = strdup(o->urls[i]);
		ok = e->urls[i] != NULL;
		e->nslots++;
	}
	if (ok) {
		e->nurls = e->nconfigured = e->nslots;
		e->fixed = o->fixed;
	}
	if (!ok) {
		if (e)
			etcd3_free(&e->base);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	*ret = &e->base;
	return 0;
}
