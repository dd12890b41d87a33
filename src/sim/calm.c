/*
 * sim/calm.c - one event after the other in a herd that is well, to see how long writes stop.
 */
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

enum { EVENTS = 4, SETTLE_MS = 25000 };

/* From one event to the next: the event's own length, and time to be well again. */
static int64_t interval(const struct sim_group *g)
{
	return 4 * g->config.ttl_ms + SETTLE_MS + 2 * g->config.loop_wait_ms;
}

static void record(struct sim *w, struct sim_group *g)
{
	if (g->kind == SIM_KIND_NONE)
		return;
	if (w->now - g->last_ack_at > g->gap_ms)
		g->gap_ms = w->now - g->last_ack_at;
	if (!sim_report_outage(&w->report, g->kind, g->gap_ms))
		sim_fail(w, "out of memory");
	g->kind = SIM_KIND_NONE;
	g->gap_ms = 0;
}

static void on_back(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	n->up = true;
	n->cut_store = w->store.down = false;
	sim_trace(w, "scene", "the event is over");
	sim_agent_start(w, e->node);
}

static int standby_of(const struct sim *w, int leader)
{
	for (int i = 0; i < w->n_nodes; i++)
		if (i != leader)
			return i;
	return -1;
}

static void freeze(struct sim *w, struct sim_node *n, int64_t until, bool host)
{
	n->frozen_until = until;
	if (!host)
		return;
	n->host_until = n->guard_until = n->pg.frozen_until = until;
}

static void lose(struct sim *w, int node)
{
	sim_agent_kill(w, node);
	sim_server_kill(w, node, false);
	w->nodes[node].up = false;
	w->nodes[node].guard_local = 0;
}

static void cause(struct sim *w, struct sim_group *g, enum sim_kind kind, int node)
{
	struct sim_node *n = &w->nodes[node];
	int64_t length = 2 * g->config.ttl_ms, until = w->now + length;

	switch (kind) {
	case SIM_KIND_SWITCHOVER:
		sim_switchover(w, g, NULL, false, 0);
		return;
	case SIM_KIND_RESTART:
		n->want_restart = true;
		sim_agent_wake(w, node, 1);
		return;
	case SIM_KIND_POSTGRES_KILLED:
		sim_server_kill(w, node, false);
		return;
	case SIM_KIND_AGENT_KILLED:
		sim_agent_kill(w, node);
		sim_agent_start_later(w, node, 2000);
		return;
	case SIM_KIND_AGENT_FROZEN:
		freeze(w, n, until, false);
		break;
	case SIM_KIND_MACHINE_FROZEN:
		freeze(w, n, until, true);
		break;
	case SIM_KIND_LEADER_CUT:
		n->cut_store = true;
		break;
	case SIM_KIND_STORE_DOWN:
		w->store.down = true;
		break;
	case SIM_KIND_STANDBY_LOST:
		node = standby_of(w, node);
		lose(w, node);
		break;
	default:
		lose(w, node);
	}
	sim_at(w, until, on_back, node, 0, 0);
}

static void on_event(struct sim *w, struct sim_event *e)
{
	static const char *const texts[SIM_KIND_NR] = {
		[SIM_KIND_SWITCHOVER] = "switchover",
		[SIM_KIND_RESTART] = "restart of the primary",
		[SIM_KIND_POSTGRES_KILLED] = "postgres is killed",
		[SIM_KIND_AGENT_KILLED] = "agent is killed",
		[SIM_KIND_AGENT_FROZEN] = "agent freezes",
		[SIM_KIND_MACHINE_LOST] = "machine is lost",
		[SIM_KIND_MACHINE_FROZEN] = "machine freezes",
		[SIM_KIND_LEADER_CUT] = "leader is cut from the store",
		[SIM_KIND_STORE_DOWN] = "store is down",
		[SIM_KIND_STANDBY_LOST] = "a standby's machine is lost",
	};
	struct sim_group *g = &w->groups[0];
	int leader = sim_leader(w, g);

	record(w, g);
	if (w->n_calm == EVENTS)
		return;
	sim_at(w, w->now + interval(g) + sim_fate(w, 0, g->config.loop_wait_ms), on_event, -1, 0,
	       0);
	int kind = 1 + (int)((w->seed * EVENTS + (uint64_t)w->n_calm++) % (SIM_KIND_NR - 1));

	if (leader < 0 || !sim_writable(&w->nodes[leader].pg) || sim_skipped(w))
		return;
	sim_trace(w, "EVENT", "%s (%s leads)", texts[kind], w->nodes[leader].name);
	w->report.n_faults++;
	g->kind = (enum sim_kind)kind;
	g->gap_ms = 0;
	cause(w, g, g->kind, leader);
}

void sim_calm_start(struct sim *w)
{
	struct sim_group *g = &w->groups[0];
	int64_t first = 15000 + 2 * g->config.ttl_ms + 2 * g->config.loop_wait_ms;

	/* The faults of the world at large stay out of it. */
	w->heal_at = first + EVENTS * (interval(g) + g->config.loop_wait_ms);
	w->end_at = w->heal_at + 5000;
	sim_at(w, first, on_event, -1, 0, 0);
}
