/*
 * store_tests.h - what every backend of dcs.h must do; run against mem in the unit tests and
 * against a real etcd in tests/it.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "base/str.h"
#include "dcs/dcs.h"
#include "loop/loop.h"

enum { ANSWER_MS = 20000 };

struct answer {
	bool done;
	enum herd_dcs_result result;
	int64_t version;
	char *lease;
	struct herd_dcs_view *view;
	int calls;
};

static inline void keep_put(void *arg, enum herd_dcs_result r, int64_t version,
			    const struct herd_err *err)
{
	struct answer *a = arg;

	assert_true((r == HERD_DCS_OK) == (err == NULL));
	a->done = true;
	a->result = r;
	a->version = version;
}

static inline void keep_lease(void *arg, enum herd_dcs_result r, const char *lease, int64_t sent_ms,
			      const struct herd_err *err)
{
	struct answer *a = arg;

	a->done = true;
	a->result = r;
	if (r == HERD_DCS_OK) {
		assert_in_range(herd_now_ms() - sent_ms, 0, ANSWER_MS);
		herd_str_set(&a->lease, lease);
	}
}

static inline void keep_done(void *arg, enum herd_dcs_result r, const struct herd_err *err)
{
	struct answer *a = arg;

	a->done = true;
	a->result = r;
}

static inline void keep_view(void *arg, enum herd_dcs_result r, struct herd_dcs_view *v,
			     const struct herd_err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->done = true;
	a->result = r;
	if (v) {
		herd_dcs_view_unref(a->view);
		a->view = herd_dcs_view_ref(v);
	}
}

static inline enum herd_dcs_result put(struct herd_loop *l, struct herd_dcs *d, const char *key,
				       const char *value, enum herd_dcs_cond cond, int64_t version,
				       const char *lease, int64_t *ret)
{
	struct answer a = { 0 };
	struct herd_dcs_change c = {
		.key = key, .value = value, .cond = cond, .version = version, .lease = lease
	};

	herd_dcs_change(d, &c, keep_put, &a);
	assert_false(a.done);
	assert_true(herd_loop_run_until(l, &a.done, ANSWER_MS));
	if (ret)
		*ret = a.version;
	return a.result;
}

static inline enum herd_dcs_result put_at_value(struct herd_loop *l, struct herd_dcs *d,
						const char *key, const char *value,
						const char *expect)
{
	struct answer a = { 0 };
	struct herd_dcs_change c = {
		.key = key, .value = value, .cond = HERD_DCS_AT_VALUE, .expect = expect
	};

	herd_dcs_change(d, &c, keep_put, &a);
	assert_true(herd_loop_run_until(l, &a.done, ANSWER_MS));
	return a.result;
}

static inline struct herd_dcs_view *read_all(struct herd_loop *l, struct herd_dcs *d,
					     const char *prefix)
{
	struct answer a = { 0 };

	herd_dcs_read(d, prefix, keep_view, &a);
	assert_true(herd_loop_run_until(l, &a.done, ANSWER_MS));
	assert_int_equal(a.result, HERD_DCS_OK);
	return a.view;
}

static inline const char *value_of(const struct herd_dcs_view *v, const char *key)
{
	const struct herd_dcs_kv *kv = herd_dcs_view_get(v, key);

	return kv ? kv->value : NULL;
}

static inline void conditions(struct herd_loop *l, struct herd_dcs *a, struct herd_dcs *b)
{
	int64_t v1 = 0, v2 = 0;

	assert_int_equal(put(l, a, "k", "1", HERD_DCS_ABSENT, 0, NULL, &v1), HERD_DCS_OK);
	assert_int_equal(put(l, b, "k", "2", HERD_DCS_ABSENT, 0, NULL, NULL), HERD_DCS_CONFLICT);
	assert_int_equal(put(l, b, "k", "2", HERD_DCS_AT_VERSION, v1, NULL, &v2), HERD_DCS_OK);
	assert_true(v2 > v1);
	assert_int_equal(put(l, a, "k", "3", HERD_DCS_AT_VERSION, v1, NULL, NULL),
			 HERD_DCS_CONFLICT);
	assert_int_equal(put_at_value(l, a, "k", "3", "1"), HERD_DCS_CONFLICT);
	assert_int_equal(put_at_value(l, a, "k", "3", "2"), HERD_DCS_OK);
	assert_int_equal(put_at_value(l, a, "none", "3", "2"), HERD_DCS_CONFLICT);
	assert_int_equal(put(l, a, "k", NULL, HERD_DCS_AT_VERSION, v1, NULL, NULL),
			 HERD_DCS_CONFLICT);
	assert_int_equal(put_at_value(l, a, "k", NULL, "3"), HERD_DCS_OK);
	struct herd_dcs_view *v = read_all(l, b, "");

	assert_null(value_of(v, "k"));
	herd_dcs_view_unref(v);
}

static inline void views(struct herd_loop *l, struct herd_dcs *a)
{
	assert_int_equal(put(l, a, "2/leader", "x", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	assert_int_equal(put(l, a, "2/config", "{\"a\":\"\\u00e4\"}", HERD_DCS_ANY, 0, NULL, NULL),
			 HERD_DCS_OK);
	assert_int_equal(put(l, a, "1/empty", "", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	struct herd_dcs_view *v = read_all(l, a, "2/");

	assert_int_equal(v->n, 2);
	assert_string_equal(v->kv[0].key, "2/config");
	assert_string_equal(v->kv[1].value, "x");
	herd_dcs_view_unref(v);
	v = read_all(l, a, "");
	assert_int_equal(v->n, 3);
	assert_string_equal(value_of(v, "1/empty"), "");
	assert_null(herd_dcs_view_get(v, "1"));
	herd_dcs_view_unref(v);
}

static inline void leases(struct herd_loop *l, struct herd_dcs *a, struct herd_dcs *b,
			  int64_t ttl_ms)
{
	struct answer g = { 0 }, r = { 0 }, never = { 0 };

	herd_dcs_lease_grant(a, ttl_ms, keep_lease, &g);
	assert_true(herd_loop_run_until(l, &g.done, ANSWER_MS));
	assert_int_equal(g.result, HERD_DCS_OK);
	assert_int_equal(put(l, a, "leader", "me", HERD_DCS_ABSENT, 0, g.lease, NULL), HERD_DCS_OK);
	struct herd_dcs_view *v = read_all(l, b, "");

	assert_string_equal(herd_dcs_view_get(v, "leader")->lease, g.lease);
	herd_dcs_view_unref(v);
	/* Renewed, it lives beyond its first end; then it dies and takes the key along. */
	herd_loop_run_until(l, &never.done, ttl_ms * 2 / 3);
	herd_dcs_lease_renew(a, g.lease, keep_lease, &r);
	assert_true(herd_loop_run_until(l, &r.done, ANSWER_MS));
	assert_int_equal(r.result, HERD_DCS_OK);
	herd_loop_run_until(l, &never.done, ttl_ms * 2 / 3);
	v = read_all(l, b, "");
	assert_non_null(herd_dcs_view_get(v, "leader"));
	herd_dcs_view_unref(v);
	for (int i = 0; i < 50; i++) {
		v = read_all(l, b, "");
		bool gone = herd_dcs_view_get(v, "leader") == NULL;

		herd_dcs_view_unref(v);
		if (gone)
			break;
		assert_true(i < 49);
		herd_loop_run_until(l, &never.done, ttl_ms / 10);
	}
	r.done = false;
	herd_dcs_lease_renew(a, g.lease, keep_lease, &r);
	assert_true(herd_loop_run_until(l, &r.done, ANSWER_MS));
	assert_int_equal(r.result, HERD_DCS_LEASE_GONE);
	assert_int_equal(put(l, a, "leader", "me", HERD_DCS_ABSENT, 0, g.lease, NULL),
			 HERD_DCS_LEASE_GONE);
	free(g.lease);
	free(r.lease);
}

static inline void revoking(struct herd_loop *l, struct herd_dcs *a)
{
	struct answer g = { 0 }, r = { 0 };

	herd_dcs_lease_grant(a, 10000, keep_lease, &g);
	assert_true(herd_loop_run_until(l, &g.done, ANSWER_MS));
	assert_int_equal(put(l, a, "members/a", "{}", HERD_DCS_ANY, 0, g.lease, NULL), HERD_DCS_OK);
	herd_dcs_lease_revoke(a, g.lease, keep_done, &r);
	assert_true(herd_loop_run_until(l, &r.done, ANSWER_MS));
	assert_int_equal(r.result, HERD_DCS_OK);
	struct herd_dcs_view *v = read_all(l, a, "members/");

	assert_int_equal(v->n, 0);
	herd_dcs_view_unref(v);
	free(g.lease);
}

/* Until the watch shows key with value (NULL: absent). */
static inline void wait_watch(struct herd_loop *l, struct answer *a, const char *key,
			      const char *value)
{
	int64_t end_ms = herd_now_ms() + ANSWER_MS;

	while (!a->view || !herd_str_eq(value_of(a->view, key), value)) {
		a->done = false;
		assert_true(herd_now_ms() < end_ms);
		herd_loop_run_until(l, &a->done, 1000);
	}
}

static inline void watching(struct herd_loop *l, struct herd_dcs *a, struct herd_dcs *b)
{
	struct answer w = { 0 };
	struct herd_dcs_watch *watch = herd_dcs_watch(a, "w/", keep_view, &w);

	assert_true(herd_loop_run_until(l, &w.done, ANSWER_MS));
	assert_int_equal(w.result, HERD_DCS_OK);
	assert_int_equal(w.view->n, 0);
	assert_int_equal(put(l, b, "w/x", "1", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "w/x", "1");
	assert_int_equal(put(l, b, "w/a", "2", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	assert_int_equal(put(l, b, "other", "2", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "w/a", "2");
	assert_int_equal(w.view->n, 2);
	assert_int_equal(put(l, b, "w/x", NULL, HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "w/x", NULL);
	assert_int_equal(w.view->n, 1);
	herd_dcs_watch_free(a, watch);
	herd_dcs_view_unref(w.view);
}

static inline void store_tests(struct herd_loop *l, struct herd_dcs *a, struct herd_dcs *b)
{
	conditions(l, a, b);
	views(l, a);
	leases(l, a, b, 2000);
	revoking(l, a);
	watching(l, a, b);
}
