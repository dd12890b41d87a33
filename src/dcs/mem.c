/*
 * dcs/mem.c - a store in this process, for tests: versions, conditions, leases and watches as etcd
 * has them. Answers come from the loop, never from inside a call.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/str.h"
#include "dcs/dcs.h"
#include "dcs/view.h"
#include "loop/loop.h"

struct herd_dcs_mem {
	struct herd_loop *loop;
	struct herd_dcs_view *view; /* everything */
	struct herd_list leases, handles;
	int64_t next_lease;
	bool reachable, lost_replies;
};

struct lease {
	struct herd_list node;
	struct herd_dcs_mem *m;
	struct herd_timer *timer;
	int64_t ttl_ms;
	char *id;
};

struct handle {
	struct herd_dcs base; /* first */
	struct herd_list node;
	struct herd_dcs_mem *m;
	struct herd_list answers, watches;
};

enum answer_kind { ANSWER_VIEW, ANSWER_PUT, ANSWER_LEASE, ANSWER_DONE };

struct answer {
	struct herd_list node;
	struct herd_timer *timer;
	enum answer_kind kind;
	enum herd_dcs_result result;
	struct herd_dcs_view *view;
	int64_t number; /* version or sent_ms */
	char *text;     /* lease */
	union {
		herd_dcs_view_fn view;
		herd_dcs_put_fn put;
		herd_dcs_lease_fn lease;
		herd_dcs_done_fn done;
	} fn;
	void *arg;
};

struct herd_dcs_watch {
	struct herd_list node;
	struct handle *h;
	struct herd_timer *timer;
	char *prefix;
	herd_dcs_view_fn fn;
	void *arg;
};

static void answer_free(struct answer *a)
{
	herd_list_remove(&a->node);
	herd_timer_free(a->timer);
	herd_dcs_view_unref(a->view);
	free(a->text);
	free(a);
}

static void deliver(void *arg)
{
	struct answer *a = arg;
	struct herd_err err = HERD_ERR_INIT;
	const struct herd_err *why = NULL;

	if (a->result != HERD_DCS_OK) {
		herd_err_set(&err, -EIO, "the store did not do it (%d)", (int)a->result);
		why = &err;
	}
	/* The callback may free the handle and with it every answer that is listed. */
	herd_list_remove(&a->node);
	switch (a->kind) {
	case ANSWER_VIEW:
		a->fn.view(a->arg, a->result, a->view, why);
		break;
	case ANSWER_PUT:
		a->fn.put(a->arg, a->result, a->number, why);
		break;
	case ANSWER_LEASE:
		a->fn.lease(a->arg, a->result, a->text, a->number, why);
		break;
	case ANSWER_DONE:
		a->fn.done(a->arg, a->result, why);
		break;
	}
	answer_free(a);
	herd_err_clear(&err);
}

static struct answer *answer_new(struct handle *h, enum answer_kind kind,
				 enum herd_dcs_result result, void *arg)
{
	struct answer *a = calloc(1, sizeof(*a));

	assert(a);
	a->kind = kind;
	a->result = result;
	a->arg = arg;
	if (!h->m->reachable)
		a->result = h->m->lost_replies && kind == ANSWER_PUT ? HERD_DCS_UNKNOWN
								     : HERD_DCS_UNREACHABLE;
	a->timer = herd_timer_new(h->m->loop, deliver, a);
	herd_list_push_back(&h->answers, &a->node);
	herd_timer_set(a->timer, 0);
	return a;
}

static struct herd_dcs_view *below(const struct herd_dcs_mem *m, const char *prefix)
{
	struct herd_dcs_view *v = herd_dcs_view_new(m->view->n);

	assert(v);
	for (size_t i = 0; i < m->view->n; i++) {
		const struct herd_dcs_kv *kv = &m->view->kv[i];

		if (herd_str_starts(kv->key, prefix))
			herd_dcs_view_add(v, kv->key, kv->value, kv->len, kv->version, kv->lease);
	}
	v->revision = m->view->revision;
	v->read_ms = herd_now_ms();
	return v;
}

static void watch_tell(void *arg)
{
	struct herd_dcs_watch *w = arg;
	struct herd_dcs_view *v = below(w->h->m, w->prefix);
	struct herd_err err = HERD_ERR_INIT;

	if (w->h->m->reachable) {
		w->fn(w->arg, HERD_DCS_OK, v, NULL);
	} else {
		herd_err_set(&err, -EPIPE, "the store cannot be reached");
		w->fn(w->arg, HERD_DCS_UNREACHABLE, NULL, &err);
	}
	herd_dcs_view_unref(v);
	herd_err_clear(&err);
}

static void tell_watches(struct herd_dcs_mem *m, const char *key)
{
	herd_list_for_each(it, &m->handles)
	{
		struct handle *h = herd_container_of(it, struct handle, node);

		herd_list_for_each(jt, &h->watches)
		{
			struct herd_dcs_watch *w =
				herd_container_of(jt, struct herd_dcs_watch, node);

			if (!key || herd_str_starts(key, w->prefix))
				herd_timer_set(w->timer, 0);
		}
	}
}

static void store(struct herd_dcs_mem *m, const char *key, const char *value, const char *lease)
{
	int64_t version = m->view->revision + 1;
	struct herd_dcs_view *v =
		herd_dcs_view_with(m->view, key, value, value ? strlen(value) : 0, version, lease);

	assert(v);
	herd_dcs_view_unref(m->view);
	m->view = v;
	tell_watches(m, key);
}

static struct lease *find_lease(struct herd_dcs_mem *m, const char *id)
{
	herd_list_for_each(it, &m->leases)
	{
		struct lease *l = herd_container_of(it, struct lease, node);

		if (strcmp(l->id, id) == 0)
			return l;
	}
	return NULL;
}

static void lease_end(void *arg)
{
	struct lease *l = arg;
	struct herd_dcs_mem *m = l->m;

	for (size_t i = m->view->n; i-- > 0;) {
		const struct herd_dcs_kv *kv = &m->view->kv[i];

		if (herd_str_eq(kv->lease, l->id)) {
			char *key = strdup(kv->key);

			store(m, key, NULL, NULL);
			free(key);
		}
	}
	herd_list_remove(&l->node);
	herd_timer_free(l->timer);
	free(l->id);
	free(l);
}

static void mem_read(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn, void *arg)
{
	struct handle *h = (struct handle *)d;
	struct answer *a = answer_new(h, ANSWER_VIEW, HERD_DCS_OK, arg);

	a->fn.view = fn;
	if (a->result == HERD_DCS_OK)
		a->view = below(h->m, prefix);
}

static bool holds(const struct herd_dcs_mem *m, const struct herd_dcs_change *c)
{
	const struct herd_dcs_kv *kv = herd_dcs_view_get(m->view, c->key);

	switch (c->cond) {
	case HERD_DCS_ANY:
		return true;
	case HERD_DCS_ABSENT:
		return kv == NULL;
	case HERD_DCS_AT_VERSION:
		return kv ? kv->version == c->version : c->version == 0;
	case HERD_DCS_AT_VALUE:
		return kv && strcmp(kv->value, c->expect) == 0;
	}
	return false;
}

static void mem_change(struct herd_dcs *d, const struct herd_dcs_change *c, herd_dcs_put_fn fn,
		       void *arg)
{
	struct handle *h = (struct handle *)d;
	struct answer *a = answer_new(h, ANSWER_PUT, HERD_DCS_OK, arg);

	a->fn.put = fn;
	if (a->result == HERD_DCS_UNREACHABLE)
		return;
	enum herd_dcs_result result = HERD_DCS_OK;

	if (!holds(h->m, c))
		result = HERD_DCS_CONFLICT;
	else if (c->lease && !find_lease(h->m, c->lease))
		result = HERD_DCS_LEASE_GONE;
	else
		store(h->m, c->key, c->value, c->lease);
	if (a->result == HERD_DCS_OK)
		a->result = result;
	a->number = h->m->view->revision;
}

static void mem_grant(struct herd_dcs *d, int64_t ttl_ms, herd_dcs_lease_fn fn, void *arg)
{
	struct handle *h = (struct handle *)d;
	struct answer *a = answer_new(h, ANSWER_LEASE, HERD_DCS_OK, arg);

	a->fn.lease = fn;
	a->number = herd_now_ms();
	if (a->result != HERD_DCS_OK)
		return;
	struct lease *l = calloc(1, sizeof(*l));

	assert(l);
	l->m = h->m;
	l->ttl_ms = ttl_ms;
	l->id = herd_str_printf("%lld", (long long)++h->m->next_lease);
	l->timer = herd_timer_new(h->m->loop, lease_end, l);
	herd_timer_set(l->timer, ttl_ms);
	herd_list_push_back(&h->m->leases, &l->node);
	a->text = strdup(l->id);
}

static void mem_renew(struct herd_dcs *d, const char *id, herd_dcs_lease_fn fn, void *arg)
{
	struct handle *h = (struct handle *)d;
	struct answer *a = answer_new(h, ANSWER_LEASE, HERD_DCS_OK, arg);
	struct lease *l = find_lease(h->m, id);

	a->fn.lease = fn;
	a->number = herd_now_ms();
	a->text = strdup(id);
	if (a->result != HERD_DCS_OK)
		return;
	if (l)
		herd_timer_set(l->timer, l->ttl_ms);
	else
		a->result = HERD_DCS_LEASE_GONE;
}

static void mem_revoke(struct herd_dcs *d, const char *id, herd_dcs_done_fn fn, void *arg)
{
	struct handle *h = (struct handle *)d;
	struct answer *a = answer_new(h, ANSWER_DONE, HERD_DCS_OK, arg);
	struct lease *l = find_lease(h->m, id);

	a->fn.done = fn;
	if (a->result == HERD_DCS_OK && l)
		lease_end(l);
}

static struct herd_dcs_watch *mem_watch(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn,
					void *arg)
{
	struct handle *h = (struct handle *)d;
	struct herd_dcs_watch *w = calloc(1, sizeof(*w));

	assert(w);
	w->h = h;
	w->fn = fn;
	w->arg = arg;
	w->prefix = strdup(prefix);
	w->timer = herd_timer_new(h->m->loop, watch_tell, w);
	herd_list_push_back(&h->watches, &w->node);
	herd_timer_set(w->timer, 0);
	return w;
}

static void mem_watch_free(struct herd_dcs *d, struct herd_dcs_watch *w)
{
	herd_list_remove(&w->node);
	herd_timer_free(w->timer);
	free(w->prefix);
	free(w);
}

static void mem_set_timeout(struct herd_dcs *d, int64_t ms)
{
	/* Nothing here takes time. */
}

static void mem_free(struct herd_dcs *d)
{
	struct handle *h = (struct handle *)d;

	while (!herd_list_empty(&h->watches))
		mem_watch_free(d, herd_container_of(h->watches.next, struct herd_dcs_watch, node));
	while (!herd_list_empty(&h->answers))
		answer_free(herd_container_of(h->answers.next, struct answer, node));
	herd_list_remove(&h->node);
	free(h);
}

struct herd_dcs_mem *herd_dcs_mem_new(struct herd_loop *l)
{
	struct herd_dcs_mem *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->loop = l;
	m->reachable = true;
	m->view = herd_dcs_view_new(0);
	herd_list_init(&m->leases);
	herd_list_init(&m->handles);
	return m;
}

void herd_dcs_mem_free(struct herd_dcs_mem *m)
{
	if (!m)
		return;
	assert(herd_list_empty(&m->handles));
	while (!herd_list_empty(&m->leases))
		lease_end(herd_container_of(m->leases.next, struct lease, node));
	herd_dcs_view_unref(m->view);
	free(m);
}

struct herd_dcs *herd_dcs_mem_open(struct herd_dcs_mem *m)
{
	static const struct herd_dcs_ops ops = {
		.caps = HERD_DCS_CAP_WATCH | HERD_DCS_CAP_LEASE_SHARED,
		.free = mem_free,
		.read = mem_read,
		.change = mem_change,
		.lease_grant = mem_grant,
		.lease_renew = mem_renew,
		.lease_revoke = mem_revoke,
		.watch = mem_watch,
		.watch_free = mem_watch_free,
		.set_timeout = mem_set_timeout,
	};
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->base.ops = &ops;
	h->m = m;
	herd_list_init(&h->answers);
	herd_list_init(&h->watches);
	herd_list_push_back(&m->handles, &h->node);
	return &h->base;
}

void herd_dcs_mem_set_reachable(struct herd_dcs_mem *m, bool reachable, bool lost_replies)
{
	m->reachable = reachable;
	m->lost_replies = lost_replies;
	tell_watches(m, NULL);
}
