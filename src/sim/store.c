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

/* "0/leader": the group and the rest. NULL: of no group of ours. */
static struct sim_group *split(struct sim *w, const char *key, const char **rest)
{
	const char *slash = strchr(key, '/');

	for (int i = 0; i < w->n_groups; i++) {
		struct sim_group *g = &w->groups[i];

		if (g->id == HERD_NO_GROUP) {
			*rest = key;
			return g;
		}
		if (slash && atoi(key) == g->id && key[0] >= '0' && key[0] <= '9') {
			*rest = slash + 1;
			return g;
		}
	}
	return NULL;
}

static void member_seen(struct sim *w, const char *name, bool there)
{
	int i = sim_node_of(w, name);

	if (i < 0)
		return;
	struct sim_node *n = &w->nodes[i];

	if (there && (n->key_since == 0 || n->key_gone_at > 0))
		n->key_since = w->now;
	n->key_gone_at = there ? 0 : w->now;
}

static void config_seen(struct sim *w, struct sim_group *g, const char *text)
{
	struct herd_config c;

	if (herd_config_parse(text, strlen(text), w->opt->guard, &c, NULL) < 0)
		return;
	g->max_lag = g->config.maximum_lag_on_failover > c.maximum_lag_on_failover
			     ? g->config.maximum_lag_on_failover
			     : c.maximum_lag_on_failover;
	g->lag_since = w->now;
	if (c.synchronous_mode == HERD_SYNC_OFF)
		g->synced_since = 0;
	/* Nothing guards a paused herd, and what it left behind has to be found first. */
	if (w->opt->guard && (c.pause || g->config.pause))
		g->exempt_until = c.pause ? INT64_MAX : w->now + 20000 + 2 * c.ttl_ms;
	herd_config_clear(&g->config);
	g->config = c;
}

/* Keeps in mind what the checks need to know of the store's past. value NULL: the key went. */
static void noticed(struct sim *w, const char *key, const char *value)
{
	const char *rest;
	struct sim_group *g = split(w, key, &rest);

	if (!g)
		return;
	if (herd_str_starts(rest, "members/"))
		member_seen(w, rest + strlen("members/"), value != NULL);
	else if (strcmp(rest, "config") == 0 && value)
		config_seen(w, g, value);
	else if (strcmp(rest, "sync") == 0 && (!value || strstr(value, "\"leader\":null")))
		g->synced_since = 0;
	else if (strcmp(rest, "sync") == 0 && g->synced_since == 0 &&
		 g->config.synchronous_mode != HERD_SYNC_OFF)
		g->synced_since = w->now;
}

static void remove_key(struct sim *w, struct sim_key *k)
{
	struct sim_store *st = &w->store;

	noticed(w, k->key, NULL);
	free(k->key);
	free(k->value);
	memmove(k, k + 1, (size_t)(st->keys + st->n - (k + 1)) * sizeof(*k));
	st->n--;
	st->revision++;
}

static void put_key(struct sim *w, const char *key, const char *value, int lease)
{
	struct sim_store *st = &w->store;
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
	noticed(w, key, value);
}

static void drop_lease(struct sim *w, struct sim_lease *l)
{
	struct sim_store *st = &w->store;

	for (size_t i = 0; i < st->n;) {
		if (st->keys[i].lease == l->id)
			remove_key(w, &st->keys[i]);
		else
			i++;
	}
	*l = st->leases[--st->n_leases];
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
	sim_trace(w, "store", "lease %d of %s expires", l->id, w->nodes[l->owner].name);
	sim_check_expiry(w, l);
	drop_lease(w, l);
	sim_agent_changed(w);
}

/* As after a restore from a backup: no lease is known, and what hung on them is gone. */
void sim_store_forget_leases(struct sim *w)
{
	while (w->store.n_leases > 0)
		drop_lease(w, &w->store.leases[0]);
	sim_agent_changed(w);
}

/* What a proxy does on seeing handovers: it acknowledges, mostly. */
static void proxy_acks(struct sim *w, struct sim_event *e)
{
	struct herd_scope *scope = sim_store_scope(w);
	struct herd_proxy p = { 0 };
	bool any = false;

	for (int i = 0; i < w->n_groups; i++) {
		const struct herd_cluster *c = herd_scope_group(scope, w->groups[i].id);
		char group[12] = ""; /* an int */

		if (w->groups[i].id != HERD_NO_GROUP)
			snprintf(group, sizeof(group), "%d", w->groups[i].id);
		if (c && c->handover.id)
			any |= herd_proxy_set_ack(&p, group, c->handover.id) == 0;
	}
	if (any) {
		char *text = herd_proxy_print(&p);

		put_key(w, "proxies/p1", text, 0);
		free(text);
		sim_agent_changed(w);
	}
	herd_proxy_clear(&p);
}

static void written(struct sim *w, const struct sim_request *r)
{
	const char *rest = "";
	struct sim_group *g = split(w, r->key, &rest);
	bool quiet = herd_str_starts(rest, "members/");

	if (g && r->value && strcmp(rest, "status") == 0) {
		const struct herd_cluster *c = herd_scope_group(sim_store_scope(w), g->id);

		g->optime = c ? c->status.optime : 0;
		quiet = true;
	}
	if (r->value && strcmp(rest, "handover") == 0 && w->with_proxy && sim_chance(w, 800))
		sim_at(w, w->now + sim_rand(w, 1, 40), proxy_acks, -1, 0, 0);
	if (!quiet)
		sim_tempt(w, r->node);
	if (!quiet)
		sim_trace(w, "store", "%s %s %s%s%.200s", w->nodes[r->node].name,
			  r->value ? "writes" : "deletes", r->key, r->value ? " " : "",
			  r->value ? r->value : "");
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
	sim_check_change(w, r);
	if (r->value)
		put_key(w, r->key, r->value, r->lease);
	else if (k)
		remove_key(w, k);
	written(w, r);
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
		assert(st->n_leases < SIM_LEASES);
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
	const struct sim_node *n = &w->nodes[node];

	return w->store.down || n->cut_store || !n->up;
}

static int64_t delay(struct sim *w)
{
	if (w->store.slow_until > w->now)
		return sim_rand(w, 0, w->groups[0].config.retry_timeout_ms * 2 / 3);
	if (w->faults && !w->opt->calm && sim_chance(w, w->late))
		return sim_rand(w, 20, 4000);
	return sim_rand(w, 0, 3);
}

static bool lost(struct sim *w)
{
	return w->faults && !w->opt->calm && sim_chance(w, 5);
}

static void on_arrival(struct sim *w, struct sim_event *e)
{
	struct sim_request *r = e->request;

	if (!cut(w, r->node)) {
		r->result = execute(w, r);
		if (!lost(w)) {
			r->pending++;
			sim_request_at(w, w->now + delay(w), on_reply, r);
		}
	}
	sim_request_unref(r);
}

void sim_store_send(struct sim *w, struct sim_request *r)
{
	const struct herd_config *c = &sim_group_of(w, r->node)->config;

	r->pending = 1;
	sim_request_at(w, w->now + c->retry_timeout_ms, on_timeout, r);
	if (cut(w, r->node) || lost(w))
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
	st->scope = herd_scope_build(kv, st->n, st->revision, w->opt->guard);
	st->built_revision = st->revision;
	assert(st->scope);
	return st->scope;
}

void sim_store_put(struct sim *w, const struct sim_group *g, const char *key, const char *value)
{
	char *name = herd_cluster_key(g ? g->id : HERD_NO_GROUP, key);
	struct sim_key *k;

	assert(name);
	k = find(&w->store, name);
	if (value)
		put_key(w, name, value, 0);
	else if (k)
		remove_key(w, k);
	sim_trace(w, "people", "%s %s", name, value ? value : "deleted");
	free(name);
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
