/*
 * sim/store.c - the fake store: keys with versions, leases, requests that are lost, late or
 * answered twice as slow, as a network does it.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

static struct sim_key *find(struct sim_store *st, const char *key)
{
	for (size_t i = 0; i < st->n; i++)
		if (strcmp(st->keys[i].key, key) == 0)
			return &st->keys[i];
	return NULL;
}

const struct sim_key *sim_store_get(const struct sim *w, const char *key)
{
	return find((struct sim_store *)&w->store, key);
}

static struct sim_lease *lease_of(struct sim_store *st, int id)
{
	for (size_t i = 0; i < st->n_leases; i++)
		if (st->leases[i].id == id)
			return &st->leases[i];
	return NULL;
}

static void remove_key(struct sim_store *st, struct sim_key *k)
{
	free(k->key);
	free(k->value);
	memmove(k, k + 1, (size_t)(st->keys + st->n - (k + 1)) * sizeof(*k));
	st->n--;
	st->revision++;
}

static void put_key(struct sim_store *st, const char *key, const char *value, int lease)
{
	struct sim_key *k = find(st, key);

	if (!k) {
		size_t at = 0;

		assert(st->n < SIM_KEYS);
		while (at < st->n && strcmp(st->keys[at].key, key) < 0)
			at++;
		k = &st->keys[at];
		memmove(k + 1, k, (st->n - at) * sizeof(*k));
		*k = (struct sim_key){ .key = strdup(key) };
		st->n++;
	}
	herd_str_set(&k->value, value);
	k->lease = lease;
	k->version = ++st->revision;
}

static void expire(struct sim *w, struct sim_event *e)
{
	struct sim_store *st = &w->store;
	struct sim_lease *l = lease_of(st, (int)e->arg);

	if (!l)
		return;
	if (l->expires_ms > w->now || st->down) {
		int64_t at = l->expires_ms > w->now ? l->expires_ms : w->now + 200;

		sim_at(w, at + sim_rand(w, 0, 50), expire, -1, 0, l->id);
		return;
	}
	sim_trace(w, "store: lease %d of %s expires", l->id, w->nodes[l->owner].name);
	sim_check_expiry(w, l);
	for (size_t i = 0; i < st->n;) {
		if (st->keys[i].lease == l->id)
			remove_key(st, &st->keys[i]);
		else
			i++;
	}
	*l = st->leases[--st->n_leases];
	sim_agent_changed(w);
}

/* What a proxy does on seeing a handover: it acknowledges, mostly. */
static void proxy_acks(struct sim *w, struct sim_event *e)
{
	struct herd_scope *scope = sim_store_scope(w);
	const struct herd_cluster *c = herd_scope_group(scope, HERD_NO_GROUP);
	struct herd_proxy p = { .id = (char *)"p1" };

	if (!c || !c->handover.id || herd_proxy_set_ack(&p, "", c->handover.id) < 0)
		return;
	p.id = NULL;
	char *text = herd_proxy_print(&p);

	put_key(&w->store, "proxies/p1", text, 0);
	free(text);
	herd_proxy_clear(&p);
	sim_agent_changed(w);
}

static enum sim_result change(struct sim *w, const struct sim_request *r)
{
	struct sim_store *st = &w->store;
	struct sim_key *k = find(st, r->key);

	if (r->lease && !lease_of(st, r->lease))
		return SIM_LEASE_GONE;
	if (r->cond == HERD_IF_ABSENT && k)
		return SIM_CONFLICT;
	if (r->cond == HERD_IF_VERSION && (!k || k->version != r->version))
		return SIM_CONFLICT;
	if (r->value) {
		put_key(st, r->key, r->value, r->lease);
		if (strcmp(r->key, "status") == 0) {
			const struct herd_cluster *c =
				herd_scope_group(sim_store_scope(w), HERD_NO_GROUP);
			w->optime = c ? c->status.optime : 0;
		}
		if (strcmp(r->key, "handover") == 0 && w->with_proxy && sim_chance(w, 800))
			sim_at(w, w->now + sim_rand(w, 1, 40), proxy_acks, -1, 0, 0);
	} else if (k) {
		remove_key(st, k);
	}
	if (!herd_str_starts(r->key, "members/") && strcmp(r->key, "status") != 0)
		sim_tempt(w);
	sim_trace(w, "store: %s %s%s%.160s", w->nodes[r->node].name, r->value ? "" : "delete ",
		  r->key, r->value ? herd_str_starts(r->key, "members/") ? " ..." : r->value : "");
	sim_agent_changed(w);
	return SIM_OK;
}

static enum sim_result execute(struct sim *w, struct sim_request *r)
{
	struct sim_store *st = &w->store;
	struct sim_lease *l;

	switch (r->op) {
	case SIM_READ:
		r->scope = herd_scope_ref(sim_store_scope(w));
		return SIM_OK;
	case SIM_CHANGE:
		return change(w, r);
	case SIM_GRANT:
		assert(st->n_leases < 64);
		l = &st->leases[st->n_leases++];
		*l = (struct sim_lease){ ++st->next_lease, r->node, r->ttl_ms, w->now + r->ttl_ms };
		r->lease = l->id;
		sim_at(w, l->expires_ms + sim_rand(w, 0, 300), expire, -1, 0, l->id);
		return SIM_OK;
	case SIM_RENEW:
		l = lease_of(st, r->lease);
		if (!l)
			return SIM_LEASE_GONE;
		l->expires_ms = w->now + l->ttl_ms;
		return SIM_OK;
	}
	return SIM_UNKNOWN;
}

void sim_request_unref(struct sim_request *r)
{
	if (--r->pending > 0)
		return;
	free(r->key);
	free(r->value);
	herd_scope_unref(r->scope);
	free(r);
}

static void finish(struct sim *w, struct sim_request *r, enum sim_result result)
{
	if (r->done)
		return;
	r->done = true;
	r->result = result;
	sim_agent_answer(w, r);
}

static void on_reply(struct sim *w, struct sim_event *e)
{
	finish(w, e->request, e->request->result);
	sim_request_unref(e->request);
}

static void on_timeout(struct sim *w, struct sim_event *e)
{
	finish(w, e->request, SIM_UNKNOWN);
	sim_request_unref(e->request);
}

static bool cut(struct sim *w, int node)
{
	return w->store.down || w->nodes[node].cut_store || !w->nodes[node].up;
}

static int64_t delay(struct sim *w)
{
	if (w->faults && sim_chance(w, 15))
		return sim_rand(w, 20, 4000);
	return sim_rand(w, 0, 3);
}

static void on_arrival(struct sim *w, struct sim_event *e)
{
	struct sim_request *r = e->request;

	if (!cut(w, r->node)) {
		r->result = execute(w, r);
		if (!(w->faults && sim_chance(w, 5))) {
			r->pending++;
			sim_request_at(w, w->now + delay(w), on_reply, r);
		}
	}
	sim_request_unref(r);
}

void sim_store_send(struct sim *w, struct sim_request *r)
{
	r->pending = 1;
	sim_request_at(w, w->now + w->config.retry_timeout_ms, on_timeout, r);
	if (cut(w, r->node) || (w->faults && sim_chance(w, 5)))
		return;
	r->pending++;
	sim_request_at(w, w->now + delay(w), on_arrival, r);
}

struct herd_scope *sim_store_scope(struct sim *w)
{
	struct sim_store *st = &w->store;
	struct herd_kv kv[SIM_KEYS];
	char leases[SIM_KEYS][16];

	if (st->scope && st->built_revision == st->revision)
		return st->scope;
	for (size_t i = 0; i < st->n; i++) {
		struct sim_key *k = &st->keys[i];

		snprintf(leases[i], sizeof(leases[i]), "%d", k->lease);
		kv[i] = (struct herd_kv){ k->key, k->value, strlen(k->value), k->version,
					  k->lease ? leases[i] : NULL };
	}
	herd_scope_unref(st->scope);
	st->scope = herd_scope_build(kv, st->n, st->revision, true);
	st->built_revision = st->revision;
	assert(st->scope);
	return st->scope;
}

void sim_store_put(struct sim *w, const char *key, const char *value)
{
	put_key(&w->store, key, value, 0);
	sim_trace(w, "operator: %s %s", key, value);
	sim_agent_changed(w);
}

void sim_store_free(struct sim_store *st)
{
	for (size_t i = 0; i < st->n; i++) {
		free(st->keys[i].key);
		free(st->keys[i].value);
	}
	herd_scope_unref(st->scope);
}
