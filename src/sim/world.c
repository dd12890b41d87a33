/*
 * sim/world.c - the clock, the queue, and a run from its first event to its last.
 */
#include "sim/world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

int64_t sim_rand(struct sim *w, int64_t lo, int64_t hi)
{
	return herd_rng_range(&w->rng, lo, hi);
}

bool sim_chance(struct sim *w, int permille)
{
	return herd_rng_chance(&w->rng, permille);
}

int64_t sim_fate(struct sim *w, int64_t lo, int64_t hi)
{
	return herd_rng_range(&w->chaos, lo, hi);
}

bool sim_trace_on(const struct sim *w)
{
	return w->opt->trace;
}

void sim_trace(struct sim *w, const char *who, const char *fmt, ...)
{
	va_list ap;

	if (!w->opt->trace)
		return;
	printf("%4" PRId64 ".%03d  %-7s ", w->now / 1000, (int)(w->now % 1000), who);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void sim_fail(struct sim *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failed)
		return;
	w->failed = true;
	va_start(ap, fmt);
	char *what = herd_str_vprintf(fmt, ap);
	va_end(ap);
	w->failure = herd_str_printf("at %" PRId64 ".%03d s: %s", w->now / 1000,
				     (int)(w->now % 1000), what ? what : "out of memory");
	free(what);
	sim_trace(w, "CHECK", "did not hold: %s", w->failure ? w->failure : "");
}

bool sim_linked(const struct sim *w, int a, int b)
{
	const struct sim_node *x = &w->nodes[a], *y = &w->nodes[b];

	return x->up && y->up && !x->cut[b] && !y->cut[a] && x->host_until <= w->now &&
	       y->host_until <= w->now;
}

const char *sim_intern(struct sim *w, const char *text)
{
	if (!text)
		return NULL;
	for (size_t i = 0; i < w->n_interned; i++)
		if (strcmp(w->interned[i], text) == 0)
			return w->interned[i];
	if (w->n_interned == w->cap_interned) {
		w->cap_interned = w->cap_interned ? w->cap_interned * 2 : 32;
		w->interned = realloc(w->interned, w->cap_interned * sizeof(*w->interned));
		assert(w->interned);
	}
	char *copy = strdup(text);

	assert(copy);
	w->interned[w->n_interned++] = copy;
	return copy;
}

struct sim_group *sim_group_of(struct sim *w, int node)
{
	return &w->groups[w->nodes[node].group];
}

const struct sim_key *sim_get(const struct sim *w, const struct sim_group *g, const char *key)
{
	char name[64]; /* "1/failover": keys of ours */

	if (g->id == HERD_NO_GROUP)
		return sim_store_get(w, key);
	snprintf(name, sizeof(name), "%d/%s", g->id, key);
	return sim_store_get(w, name);
}

int sim_leader(const struct sim *w, const struct sim_group *g)
{
	const struct sim_key *k = sim_get(w, g, "leader");

	return k ? sim_node_of(w, k->value) : -1;
}

/* ---- the queue: a binary heap, equal times in order of entry ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->serial < b->serial;
}

static void push(struct sim *w, struct sim_event e)
{
	size_t i = w->n_events++;

	if (i == w->cap_events) {
		w->cap_events = w->cap_events ? w->cap_events * 2 : 1024;
		w->events = realloc(w->events, w->cap_events * sizeof(*w->events));
		assert(w->events);
	}
	e.serial = ++w->serial;
	for (; i > 0 && before(&e, &w->events[(i - 1) / 2]); i = (i - 1) / 2)
		w->events[i] = w->events[(i - 1) / 2];
	w->events[i] = e;
}

static struct sim_event pop(struct sim *w)
{
	struct sim_event top = w->events[0], last = w->events[--w->n_events];
	size_t i = 0;

	for (size_t k = 1; k < w->n_events; i = k, k = 2 * k + 1) {
		if (k + 1 < w->n_events && before(&w->events[k + 1], &w->events[k]))
			k++;
		if (!before(&w->events[k], &last))
			break;
		w->events[i] = w->events[k];
	}
	w->events[i] = last;
	return top;
}

void sim_at(struct sim *w, int64_t at, void (*fn)(struct sim *, struct sim_event *), int node,
	    int life, int64_t arg)
{
	assert(at >= w->now);
	push(w, (struct sim_event){ .at = at, .fn = fn, .node = node, .life = life, .arg = arg });
}

void sim_request_at(struct sim *w, int64_t at, void (*fn)(struct sim *, struct sim_event *),
		    struct sim_request *r)
{
	push(w, (struct sim_event){ .at = at, .fn = fn, .node = r->node, .request = r });
}

/* ---- a run ---- */

bool sim_run(struct sim *w, uint64_t seed, const struct sim_options *opt)
{
	w->seed = seed;
	w->opt = opt;
	w->rng = herd_rng_seed(seed * 7919);
	w->chaos = herd_rng_seed(seed * 104729 + 1);
	w->faults = true;
	sim_scene(w);
	while (!w->failed && w->n_events > 0 && w->events[0].at <= w->end_at) {
		struct sim_event e = pop(w);

		w->now = e.at;
		e.fn(w, &e);
	}
	if (!w->failed)
		sim_check_end(w);
	return !w->failed;
}

void sim_free(struct sim *w)
{
	static const struct sim_options quiet = { 0 };

	w->opt = &quiet;
	for (int i = 0; i < w->n_nodes; i++) {
		struct sim_node *n = &w->nodes[i];

		n->up = true;
		sim_agent_kill(w, i);
		sim_server_free(&n->pg);
		herd_member_clear(&n->self);
		herd_history_clear(&n->probe_history);
		herd_history_clear(&n->seen.history);
	}
	for (size_t i = 0; i < w->n_events; i++)
		if (w->events[i].request)
			sim_request_unref(w->events[i].request);
	for (int i = 0; i < w->n_groups; i++) {
		herd_config_clear(&w->groups[i].config);
		free(w->groups[i].config_text);
		free(w->groups[i].acks);
	}
	for (size_t i = 0; i < w->n_interned; i++)
		free(w->interned[i]);
	free(w->interned);
	free(w->events);
	free(w->failure);
	sim_store_free(&w->store);
	sim_report_clear(&w->report);
}
