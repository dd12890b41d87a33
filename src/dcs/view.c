#include "dcs/view.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

struct herd_dcs_view *herd_dcs_view_new(size_t n)
{
	struct herd_dcs_view *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->refs = 1;
	v->kv = calloc(n ? n : 1, sizeof(*v->kv));
	if (!v->kv) {
		free(v);
		return NULL;
	}
	return v;
}

bool herd_dcs_view_add(struct herd_dcs_view *v, const char *key, const char *value, size_t len,
		       int64_t version, const char *lease)
{
	struct herd_dcs_kv *kv = &v->kv[v->n];

	assert(v->n == 0 || strcmp(v->kv[v->n - 1].key, key) < 0);
	kv->key = strdup(key);
	kv->value = malloc(len + 1);
	kv->lease = herd_str_dup(lease);
	kv->len = len;
	kv->version = version;
	v->n++;
	if (!kv->key || !kv->value || (lease && !kv->lease))
		return false;
	memcpy(kv->value, value, len);
	kv->value[len] = '\0';
	return true;
}

struct herd_dcs_view *herd_dcs_view_with(const struct herd_dcs_view *v, const char *key,
					 const char *value, size_t len, int64_t version,
					 const char *lease)
{
	struct herd_dcs_view *c = herd_dcs_view_new(v->n + 1);
	bool ok = c != NULL, placed = value == NULL;

	for (size_t i = 0; ok && i < v->n; i++) {
		const struct herd_dcs_kv *kv = &v->kv[i];
		int order = strcmp(key, kv->key);

		if (!placed && order <= 0) {
			ok = herd_dcs_view_add(c, key, value, len, version, lease);
			placed = true;
		}
		if (ok && order != 0)
			ok = herd_dcs_view_add(c, kv->key, kv->value, kv->len, kv->version,
					       kv->lease);
	}
	if (ok && !placed)
		ok = herd_dcs_view_add(c, key, value, len, version, lease);
	if (!ok) {
		herd_dcs_view_unref(c);
		return NULL;
	}
	c->revision = version > v->revision ? version : v->revision;
	return c;
}

struct herd_dcs_view *herd_dcs_view_ref(struct herd_dcs_view *v)
{
	v->refs++;
	return v;
}

void herd_dcs_view_unref(struct herd_dcs_view *v)
{
	if (!v || --v->refs > 0)
		return;
	for (size_t i = 0; i < v->n; i++) {
		free(v->kv[i].key);
		free(v->kv[i].value);
		free(v->kv[i].lease);
	}
	free(v->kv);
	free(v);
}

static int compare_key(const void *key, const void *kv)
{
	return strcmp(key, ((const struct herd_dcs_kv *)kv)->key);
}

const struct herd_dcs_kv *herd_dcs_view_get(const struct herd_dcs_view *v, const char *key)
{
	return v->n ? bsearch(key, v->kv, v->n, sizeof(*v->kv), compare_key) : NULL;
}
