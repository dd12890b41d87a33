/*
 * sim/faults.c - what befalls machines, processes, networks and the store; each ends by itself.
 */
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

enum fault {
	KILL_AGENT = 0,
	KILL_SERVER,
	KILL_POSTMASTER,
	KILL_BOTH,
	FREEZE_AGENT,
	FREEZE_SOME, /* agent, guard, postmaster or the whole server, in every combination */
	FREEZE_HOST,
	LOSE_NODE,
	LOSE_DISK,
	FULL_DISK,
	SLOW_DISK,
	SLOW_NET,
	CUT_STORE,
	CUT_STORES, /* several at once */
	CUT_NODE,
	CUT_REST,
	STORE_DOWN,
	STORE_SLOW,
	STORE_FORGETS,
	N_FAULTS
};

static const struct {
	const char *text;
	int weight;
} faults[N_FAULTS] = {
	[KILL_AGENT] = { "agent is killed", 10 },
	[KILL_SERVER] = { "postgres is killed", 14 },
	[KILL_POSTMASTER] = { "postmaster is killed, its sessions are not", 8 },
	[KILL_BOTH] = { "agent and postgres are killed", 10 },
	[FREEZE_AGENT] = { "agent freezes", 20 },
	[FREEZE_SOME] = { "processes freeze", 16 },
	[FREEZE_HOST] = { "machine freezes", 10 },
	[LOSE_NODE] = { "machine is lost", 12 },
	[LOSE_DISK] = { "machine is lost with its disk", 3 },
	[FULL_DISK] = { "disk is full", 3 },
	[SLOW_DISK] = { "disk is slow", 6 },
	[SLOW_NET] = { "gets WAL late", 16 },
	[CUT_STORE] = { "cut from the store", 16 },
	[CUT_STORES] = { "some are cut from the store", 6 },
	[CUT_NODE] = { "cut from other members", 8 },
	[CUT_REST] = { "REST API does not answer", 6 },
	[STORE_DOWN] = { "store is down", 4 },
	[STORE_SLOW] = { "store is slow", 4 },
	[STORE_FORGETS] = { "store loses all leases", 1 },
};

enum { AGENT = 1, GUARD = 2, SERVER = 4, POSTMASTER = 8 };

static void on_thaw(struct sim *w, struct sim_event *e)
{
	sim_check_primaries(w, e->node);
}

static void on_mend(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	n->steady_since = w->now;
	switch ((enum fault)e->arg) {
	case LOSE_NODE:
	case LOSE_DISK:
		n->up = true;
		sim_agent_start(w, e->node);
		break;
	case KILL_AGENT:
	case KILL_BOTH:
		sim_agent_start(w, e->node);
		break;
	case CUT_STORE:
	case CUT_STORES:
		n->cut_store = false;
		sim_trace(w, n->name, "the way to the store is back");
		break;
	case CUT_NODE:
		memset(n->cut, 0, sizeof(n->cut));
		sim_trace(w, n->name, "the ways to other members are back");
		break;
	case CUT_REST:
		n->cut_rest = false;
		break;
	case STORE_DOWN:
		w->store.down = false;
		sim_trace(w, "store", "is back");
		break;
	case FULL_DISK:
		n->pg.full = false;
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

/* Half of the faults hit a leader, where they hurt. */
static int victim(struct sim *w)
{
	bool leader = sim_fate(w, 0, 1);
	int any = (int)sim_fate(w, 0, w->n_nodes - 1);
	int l = leader ? sim_leader(w, sim_group_of(w, any)) : -1;

	return l >= 0 ? l : any;
}

static void beyond_promise(struct sim *w, int node, int64_t until)
{
	struct sim_group *g = sim_group_of(w, node);

	until += 2 * g->config.ttl_ms;
	if (g->exempt_until < until)
		g->exempt_until = until;
}

static void freeze(struct sim *w, struct sim_node *n, unsigned who, int64_t until)
{
	sim_trace(w, n->name, "frozen:%s%s%s%s", who & AGENT ? " agent" : "",
		  who & GUARD ? " guard" : "", who & SERVER ? " postgres" : "",
		  who & POSTMASTER ? " postmaster" : "");
	if (who & AGENT && n->agent_up && n->frozen_until < until)
		n->frozen_until = until;
	if (who & GUARD && n->guard_until < until)
		n->guard_until = until;
	if (who & SERVER && n->pg.run != HERD_RUN_DOWN && n->pg.frozen_until < until)
		n->pg.frozen_until = until;
	if (who & POSTMASTER && n->pg.run != HERD_RUN_DOWN && n->pg.postmaster_until < until)
		n->pg.postmaster_until = until;
	/* Nobody is left who could stop it: only a hardware watchdog would. */
	if (n->host_until > w->now)
		return;
	if (n->frozen_until > w->now && n->guard_until > w->now)
		beyond_promise(w, n->index, until);
	if (!n->agent_up && n->guard_until > w->now)
		beyond_promise(w, n->index, until);
}

/* Would the group be left without anybody who may lead by rule? */
static bool irreplaceable(struct sim *w, int node)
{
	struct sim_group *g = sim_group_of(w, node);
	const struct herd_cluster *c = herd_scope_group(sim_store_scope(w), g->id);
	bool found = false;

	if (!c || g->exempt_until > w->now || w->opt->members)
		return true;
	for (int i = 0; i < w->n_nodes; i++) {
		const struct sim_node *n = &w->nodes[i];

		if (n->group != w->nodes[node].group || i == node)
			continue;
		if (n->pg.data != HERD_DATA_VALID || n->pg.torn || n->absent || n->self.tags.raw)
			return true;
		if (g->config.synchronous_mode == HERD_SYNC_OFF)
			found |= n->pg.streaming && n->lag == 0;
		else
			found |= herd_names_has(&c->sync.standby, n->name) &&
				 (int)c->sync.standby.n > c->sync.quorum &&
				 (c->sync.quorum == 0 || c->sync.standby.n > 1);
	}
	return !found || sim_leader(w, g) != node;
}

static void lose(struct sim *w, int node, bool disk)
{
	struct sim_node *n = &w->nodes[node];

	disk = disk && !irreplaceable(w, node);
	sim_agent_kill(w, node);
	sim_server_kill(w, node, false);
	n->up = false;
	n->guard_local = 0;
	n->guard_until = n->host_until = 0;
	if (disk) {
		sim_trace(w, n->name, "its disk is gone");
		sim_server_wipe(w, node);
		n->pg.data = sim_fate(w, 0, 1) ? HERD_DATA_EMPTY : HERD_DATA_BROKEN;
	}
}

static void befall_store(struct sim *w, enum fault f, int64_t until)
{
	if (f == STORE_DOWN) {
		w->store.down = true;
	} else if (f == STORE_SLOW) {
		w->store.slow_until = until;
	} else {
		for (int i = 0; i < w->n_groups; i++)
			if (w->groups[i].exempt_until < w->now + w->groups[i].config.ttl_ms)
				w->groups[i].exempt_until = w->now + w->groups[i].config.ttl_ms;
		sim_store_forget_leases(w);
	}
}

static void befall(struct sim *w, enum fault f, int node, int64_t until, unsigned mask)
{
	struct sim_node *n = &w->nodes[node];

	switch (f) {
	case KILL_AGENT:
		sim_agent_kill(w, node);
		/* A guard that cannot run, and nobody beside it. */
		if (n->guard_until > w->now)
			beyond_promise(w, node, n->guard_until);
		break;
	case KILL_SERVER:
	case KILL_POSTMASTER:
		sim_server_kill(w, node, f == KILL_POSTMASTER);
		break;
	case KILL_BOTH:
		sim_agent_kill(w, node);
		sim_server_kill(w, node, false);
		break;
	case FREEZE_AGENT:
		freeze(w, n, AGENT, until);
		break;
	case FREEZE_SOME:
		freeze(w, n, (mask & 15) ? mask & 15 : AGENT, until);
		sim_at(w, until, on_thaw, node, 0, 0);
		break;
	case FREEZE_HOST:
		n->host_until = until;
		freeze(w, n, AGENT | SERVER, until);
		n->guard_until = until;
		sim_at(w, until + SIM_WAKE_MS, on_thaw, node, 0, 0);
		break;
	case LOSE_NODE:
	case LOSE_DISK:
		lose(w, node, f == LOSE_DISK);
		break;
	case FULL_DISK:
		n->pg.full = true;
		sim_server_kill(w, node, false);
		break;
	case SLOW_DISK:
		n->slow = 2 + (int)(mask % 19);
		break;
	case SLOW_NET:
		n->lag = 50 + (int)(mask % 2950);
		break;
	case CUT_STORE:
		n->cut_store = true;
		break;
	case CUT_NODE:
		for (int i = 0; i < w->n_nodes; i++)
			n->cut[i] = i != node && (mask >> (i % 16) & 1);
		break;
	case CUT_REST:
		n->cut_rest = true;
		break;
	default:
		befall_store(w, f, until);
	}
}

static void inflict(struct sim *w, enum fault f)
{
	int64_t ttl = w->groups[0].config.ttl_ms;
	int64_t length = sim_fate(w, 50, sim_fate(w, 0, 1) ? ttl / 2 : 3 * ttl);
	unsigned mask = (unsigned)sim_fate(w, 0, 0xffffff);
	int node = victim(w);
	struct sim_node *n = &w->nodes[node];

	if (sim_skipped(w) || n->absent || !n->up || n->host_until > w->now)
		return;
	/* What is frozen goes on by itself: nobody can wake it earlier. */
	if (w->now + length > w->heal_at)
		length = w->heal_at - w->now;
	sim_trace(w, "FAULT", "%d: %s: %s (%" PRId64 " ms)", w->n_inflicted,
		  f >= STORE_DOWN ? "store" : n->name, faults[f].text, length);
	w->report.n_faults++;
	n->steady_since = w->now + length;
	if (f != CUT_STORES) {
		befall(w, f, node, w->now + length, mask);
		sim_at(w, w->now + length, on_mend, node, 0, f);
		return;
	}
	for (int i = 0; i < w->n_nodes; i++) {
		if (!(mask >> i & 1) && i != node)
			continue;
		w->nodes[i].steady_since = w->now + length;
		befall(w, CUT_STORE, i, w->now + length, mask);
		sim_at(w, w->now + length, on_mend, i, 0, CUT_STORE);
	}
}

bool sim_skipped(struct sim *w)
{
	int id = ++w->n_inflicted;

	for (size_t i = 0; i < w->opt->n_skip; i++)
		if (w->opt->skip[i] == id)
			return true;
	return false;
}

/* A fault that takes its victim out of the game, mostly the leader. */
static void on_tempted(struct sim *w, struct sim_event *e)
{
	static const enum fault lethal[] = {
		KILL_AGENT, FREEZE_AGENT,    KILL_SERVER, KILL_BOTH,
		LOSE_NODE,  KILL_POSTMASTER, CUT_STORE,   FREEZE_HOST
	};

	if (!w->faults)
		return;
	inflict(w, lethal[sim_fate(w, 0, 7)]);
	if (sim_fate(w, 0, 2) == 0)
		inflict(w, lethal[sim_fate(w, 0, 7)]);
}

void sim_tempt(struct sim *w, int node)
{
	if (w->faults && w->tempting && !w->opt->calm && sim_chance(w, 70))
		sim_at(w, w->now + sim_rand(w, 0, sim_chance(w, 500) ? 20 : 500), on_tempted, node,
		       0, 0);
}

static void on_fault(struct sim *w, struct sim_event *e)
{
	int64_t total = 0, pick;
	int f = 0;

	if (!w->faults)
		return;
	for (int i = 0; i < N_FAULTS; i++)
		total += faults[i].weight;
	pick = sim_fate(w, 0, total - 1);
	for (; f < N_FAULTS - 1 && pick >= faults[f].weight; f++)
		pick -= faults[f].weight;
	inflict(w, (enum fault)f);
	/* Mostly one after the other; sometimes at once. */
	sim_at(w, w->now + (sim_fate(w, 0, 4) == 0 ? sim_fate(w, 0, 300) : sim_fate(w, 500, 12000)),
	       on_fault, -1, 0, 0);
}

void sim_faults_start(struct sim *w)
{
	sim_at(w, sim_fate(w, 0, 15000), on_fault, -1, 0, 0);
}
