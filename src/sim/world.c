/*
 * sim/world.c - the clock, the queue, the clients and the faults.
 */
#include "sim/world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

int64_t sim_rand(struct sim *w, int64_t lo, int64_t hi)
{
	return herd_rng_range(&w->rng, lo, hi);
}

bool sim_chance(struct sim *w, int permille)
{
	return herd_rng_chance(&w->rng, permille);
}

void sim_trace(struct sim *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->trace)
		return;
	printf("%7" PRId64 ".%03d  ", w->now / 1000, (int)(w->now % 1000));
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
	printf("seed %" PRIu64 ": at %" PRId64 ".%03d s: ", w->seed, w->now / 1000,
	       (int)(w->now % 1000));
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

bool sim_linked(const struct sim *w, int a, int b)
{
	return w->nodes[a].up && w->nodes[b].up && !w->nodes[a].cut[b] && !w->nodes[b].cut[a];
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

/* ---- clients and operators ---- */

static void on_client(struct sim *w, struct sim_event *e)
{
	for (int i = 0; i < w->n_nodes; i++)
		if (w->nodes[i].up)
			sim_server_write(w, i);
	sim_at(w, w->now + sim_rand(w, 20, 150), on_client, -1, 0, 0);
}

static void on_operator(struct sim *w, struct sim_event *e)
{
	const struct herd_cluster *c = herd_scope_group(sim_store_scope(w), HERD_NO_GROUP);

	if (!w->faults)
		return;
	sim_at(w, w->now + sim_rand(w, 3000, 20000), on_operator, -1, 0, 0);
	if (!c || !c->leader || w->n_nodes < 2 || c->failover_key.version || w->store.down)
		return;
	struct herd_failover f = { .leader = c->leader };

	if (sim_chance(w, 500))
		f.candidate = w->nodes[sim_rand(w, 0, w->n_nodes - 1)].name;
	char *text = herd_failover_print(&f);

	sim_store_put(w, "failover", text);
	free(text);
}

/* ---- faults; each ends by itself ---- */

enum fault {
	KILL_AGENT = 0,
	FREEZE_AGENT,
	KILL_SERVER,
	KILL_BOTH,
	LOSE_NODE,
	CUT_STORE,
	CUT_NODE,
	STORE_DOWN,
	SLOW_DISK,
	SLOW_NET,
	END_AGENT,
	N_FAULTS
};

static void on_mend(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	n->steady_since = w->now;
	switch ((enum fault)e->arg) {
	case KILL_AGENT:
	case KILL_BOTH:
	case LOSE_NODE:
		n->up = true;
		sim_agent_start(w, e->node);
		break;
	case CUT_STORE:
		n->cut_store = false;
		sim_trace(w, "%s: the way to the store is back", n->name);
		break;
	case CUT_NODE:
		memset(n->cut, 0, sizeof(n->cut));
		sim_trace(w, "%s: the ways to other nodes are back", n->name);
		break;
	case STORE_DOWN:
		w->store.down = false;
		sim_trace(w, "store: is back");
		break;
	case SLOW_DISK:
		n->slow = 1;
		break;
	case SLOW_NET:
		n->lag = n->usual_lag;
		break;
	default:
		break;
	}
}

/* Half of the faults hit the leader, where they hurt. */
static int victim(struct sim *w)
{
	const struct sim_key *leader = sim_store_get(w, "leader");
	int l = leader ? sim_node_of(w, leader->value) : -1;

	return l >= 0 && sim_chance(w, 500) ? l : (int)sim_rand(w, 0, w->n_nodes - 1);
}

static void inflict(struct sim *w, enum fault f, int node)
{
	struct sim_node *n = &w->nodes[node];
	int64_t ttl = w->config.ttl_ms;
	int64_t length = sim_rand(w, 50, sim_chance(w, 500) ? ttl / 2 : 3 * ttl);

	n->steady_since = w->now + length;
	switch (f) {
	case KILL_AGENT:
		sim_agent_kill(w, node);
		break;
	case FREEZE_AGENT:
		if (!n->agent_up || n->frozen_until > w->now)
			return;
		n->frozen_until = w->now + length;
		sim_trace(w, "%s: agent freezes for %" PRId64 " ms", n->name, length);
		break;
	case END_AGENT:
		sim_trace(w, "%s: agent is asked to end", n->name);
		n->want_exit = n->agent_up;
		sim_agent_wake(w, node, 0);
		break;
	case KILL_SERVER:
		sim_server_kill(w, node);
		break;
	case KILL_BOTH:
		sim_agent_kill(w, node);
		sim_server_kill(w, node);
		break;
	case LOSE_NODE:
		sim_trace(w, "%s: machine lost for %" PRId64 " ms", n->name, length);
		sim_agent_kill(w, node);
		sim_server_kill(w, node);
		n->up = false;
		n->guard_local = 0;
		break;
	case CUT_STORE:
		sim_trace(w, "%s: cut from the store for %" PRId64 " ms", n->name, length);
		n->cut_store = true;
		break;
	case CUT_NODE:
		sim_trace(w, "%s: cut from other nodes for %" PRId64 " ms", n->name, length);
		for (int i = 0; i < w->n_nodes; i++)
			n->cut[i] = i != node && sim_chance(w, 700);
		break;
	case STORE_DOWN:
		sim_trace(w, "store: down for %" PRId64 " ms", length);
		w->store.down = true;
		break;
	case SLOW_DISK:
		n->slow = (int)sim_rand(w, 2, 20);
		break;
	case SLOW_NET:
		sim_trace(w, "%s: gets WAL late for %" PRId64 " ms", n->name, length);
		n->lag = (int)sim_rand(w, 50, 3000);
		break;
	default:
		return;
	}
	sim_at(w, w->now + length, on_mend, node, 0, f);
}

/* A fault that takes its victim out of the game, mostly the leader. */
static void on_tempted(struct sim *w, struct sim_event *e)
{
	static const enum fault lethal[] = { KILL_AGENT, FREEZE_AGENT, KILL_SERVER, KILL_BOTH,
					     LOSE_NODE,  LOSE_NODE,    CUT_STORE };

	if (!w->faults)
		return;
	inflict(w, lethal[sim_rand(w, 0, 6)], victim(w));
	if (sim_chance(w, 300))
		inflict(w, lethal[sim_rand(w, 0, 6)], (int)sim_rand(w, 0, w->n_nodes - 1));
}

void sim_tempt(struct sim *w)
{
	if (w->faults && w->tempting && sim_chance(w, 80))
		sim_at(w, w->now + sim_rand(w, 0, sim_chance(w, 500) ? 20 : 500), on_tempted, -1, 0,
		       0);
}

static void on_fault(struct sim *w, struct sim_event *e)
{
	static const int weight[N_FAULTS] = {
		[KILL_AGENT] = 10, [FREEZE_AGENT] = 20, [KILL_SERVER] = 20, [KILL_BOTH] = 10,
		[LOSE_NODE] = 12,  [CUT_STORE] = 20,    [CUT_NODE] = 10,    [STORE_DOWN] = 4,
		[SLOW_DISK] = 6,   [SLOW_NET] = 20,     [END_AGENT] = 10,
	};
	int64_t pick = sim_rand(w, 0, 141);
	int f = 0;

	if (!w->faults)
		return;
	for (; f < N_FAULTS - 1 && pick >= weight[f]; f++)
		pick -= weight[f];
	inflict(w, (enum fault)f, victim(w));
	/* Mostly one after the other; sometimes at once. */
	sim_at(w, w->now + (sim_chance(w, 200) ? sim_rand(w, 0, 300) : sim_rand(w, 500, 12000)),
	       on_fault, -1, 0, 0);
}

static void on_heal(struct sim *w, struct sim_event *e)
{
	w->faults = false;
	w->store.down = false;
	for (int i = 0; i < w->n_nodes; i++) {
		struct sim_node *n = &w->nodes[i];

		n->up = true;
		n->cut_store = false;
		n->frozen_until = n->frozen_until > w->now ? w->now : n->frozen_until;
		n->slow = 1;
		n->lag = 0;
		n->steady_since = w->now;
		memset(n->cut, 0, sizeof(n->cut));
		sim_agent_start(w, i);
	}
	sim_trace(w, "everything is healed");
}

/* ---- a run ---- */

static char *random_config(struct sim *w)
{
	static const int ttls[] = { 3, 5, 10, 20 };
	static const char *const modes[] = { "false", "true", "\"quorum\"", "\"quorum\"" };
	static const int starts[] = { 300, 300, 0, 4 };
	int ttl = ttls[sim_rand(w, 0, 3)];

	return herd_str_printf("{\"ttl\":%d,\"loop_wait\":%d,\"retry_timeout\":%d,"
			       "\"maximum_lag_on_failover\":%d,\"synchronous_mode\":%s,"
			       "\"synchronous_mode_strict\":%s,\"synchronous_node_count\":%d,"
			       "\"primary_start_timeout\":%d,\"failsafe_mode\":%s,\"postgresql\":{"
			       "\"use_pg_rewind\":true}}",
			       ttl, ttl > 5 ? 2 : 1, ttl > 5 ? 3 : 1,
			       (int)sim_rand(w, 0, 20) * SIM_RECORD, modes[sim_rand(w, 0, 3)],
			       sim_chance(w, 200) ? "true" : "false", (int)sim_rand(w, 1, 2),
			       starts[sim_rand(w, 0, 3)], sim_chance(w, 400) ? "true" : "false");
}

static void build_node(struct sim *w, int i)
{
	struct sim_node *n = &w->nodes[i];

	n->index = i;
	snprintf(n->name, sizeof(n->name), "n%d", i + 1);
	n->rate = 1.0 + (double)sim_rand(w, -200, 200) / 10000;
	n->offset = sim_rand(w, 1000, 1000000);
	n->up = true;
	n->slow = 1;
	n->step_at = INT64_MAX;
	n->pg.following = -1;
	n->lag = n->usual_lag = sim_chance(w, 250) ? (int)sim_rand(w, 20, 1500) : 0;
	n->self.name = strdup(n->name);
	n->self.conn_url = herd_str_printf("postgres://10.0.0.%d:5432/postgres", i + 1);
	n->self.api_url = herd_str_printf("http://10.0.0.%d:8008/patroni", i + 1);
	n->self.version = strdup("4.1.0");
	n->self.checkpoint_after_promote = -1;
}

static void set_up(struct sim *w, const char *config)
{
	w->config_text = config ? strdup(config) : random_config(w);
	assert(w->config_text);
	int r = herd_config_parse(w->config_text, strlen(w->config_text), true, &w->config, NULL);

	assert(r == 0);
	(void)r;
	w->n_nodes = (int)sim_rand(w, 2, SIM_NODES);
	w->rewind = sim_chance(w, 800);
	w->with_proxy = sim_chance(w, 500);
	w->tempting = sim_chance(w, 700);
	w->max_timeline = 1;
	for (int i = 0; i < w->n_nodes; i++)
		build_node(w, i);
	/* The members know the configuration from their files, as with bootstrap.dcs. */
	sim_store_put(w, "config", w->config_text);
	if (w->with_proxy)
		sim_store_put(w, "proxies/p1", "{\"id\":\"p1\",\"acks\":{}}");
	for (int i = 0; i < w->n_nodes; i++)
		sim_agent_start(w, i);
	w->heal_at = 15000 + sim_rand(w, 20000, 60000);
	w->end_at = w->heal_at + 25000 + 3 * w->config.ttl_ms;
	sim_at(w, 1, on_client, -1, 0, 0);
	sim_at(w, sim_rand(w, 0, 15000), on_fault, -1, 0, 0);
	sim_at(w, sim_rand(w, 5000, 20000), on_operator, -1, 0, 0);
	sim_at(w, w->heal_at, on_heal, -1, 0, 0);
}

bool sim_run(struct sim *w, uint64_t seed, const char *config, bool trace)
{
	w->seed = seed;
	w->trace = trace;
	w->rng = herd_rng_seed(seed * 7919);
	w->faults = true;
	set_up(w, config);
	sim_trace(w, "%d nodes, %s", w->n_nodes, w->config_text);
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
	for (int i = 0; i < w->n_nodes; i++) {
		struct sim_node *n = &w->nodes[i];

		n->up = true;
		w->trace = false;
		sim_agent_kill(w, i);
		sim_server_free(&n->pg);
		herd_member_clear(&n->self);
		herd_history_clear(&n->probe_history);
	}
	for (size_t i = 0; i < w->n_events; i++)
		if (w->events[i].request)
			sim_request_unref(w->events[i].request);
	free(w->events);
	sim_store_free(&w->store);
	herd_config_clear(&w->config);
	free(w->config_text);
	free(w->acks);
}
