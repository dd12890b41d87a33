/*
 * sim/checks.c - the safety invariants of the design, looked at whenever something happens that
 * could break them; and at the end, whether the herd has come back to life.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

/* Invariant 1: no two servers take writes. */
void sim_check_primaries(struct sim *w)
{
	int first = -1;

	for (int i = 0; i < w->n_nodes; i++) {
		if (!sim_writable(&w->nodes[i].pg))
			continue;
		if (first >= 0)
			sim_fail(w, "two primaries: %s on timeline %u and %s on timeline %u",
				 w->nodes[first].name, w->nodes[first].pg.timeline,
				 w->nodes[i].name, w->nodes[i].pg.timeline);
		first = i;
	}
}

/*
 * Invariant 4: a lease is over only when its holder has stopped. Unless all members have let it go
 * on: then its guard waits longer, and invariant 1 must hold all the same.
 */
void sim_check_expiry(struct sim *w, const struct sim_lease *l)
{
	const struct sim_key *leader = sim_store_get(w, "leader");
	const struct sim_node *n = &w->nodes[l->owner];

	if (w->config.failsafe_mode && n->guard_local > sim_local(w, n, w->now))
		return;
	if (leader && leader->lease == l->id && sim_writable(&w->nodes[l->owner].pg))
		sim_fail(w, "the lease of %s expires while it takes writes",
			 w->nodes[l->owner].name);
}

void sim_acked(struct sim *w, int node, size_t place)
{
	const struct sim_server *pg = &w->nodes[node].pg;

	if (w->n_acks == w->cap_acks) {
		w->cap_acks = w->cap_acks ? w->cap_acks * 2 : 4096;
		w->acks = realloc(w->acks, w->cap_acks * sizeof(*w->acks));
		assert(w->acks);
	}
	w->acks[w->n_acks++] = (struct sim_ack){ pg->log.rec[place].id, place, false };
	w->last_ack_at = w->now;
}

/*
 * A commit is missing on the one that is promoted. Has another, that was well and could be asked
 * all the time, got it?
 */
static int passed_over(const struct sim *w, int node, const struct sim_ack *a)
{
	int64_t since = w->now - 6000;

	if (w->nodes[node].steady_since > since)
		return -1;
	for (int i = 0; i < w->n_nodes; i++) {
		const struct sim_node *n = &w->nodes[i];

		if (i != node && n->agent_up && n->steady_since <= since && n->up_since <= since &&
		    n->pg.run == HERD_RUN_RUNNING && n->pg.standby && n->pg.up_since <= since &&
		    n->task == HERD_TASK_NONE && sim_linked(w, i, node) && a->place < n->pg.log.n &&
		    n->pg.log.rec[a->place].id == a->id && n->lag == 0)
			return i;
	}
	return -1;
}

/*
 * Invariants 2 and 3, when a server becomes a primary: with synchronous mode it has every commit
 * that was acknowledged; after a handover too; else it misses at most what the lag limit allows
 * before the last published place, and what came after that.
 */
void sim_check_promotion(struct sim *w, int node)
{
	const struct sim_server *pg = &w->nodes[node].pg;
	const struct herd_cluster *c = herd_scope_group(sim_store_scope(w), HERD_NO_GROUP);
	bool handed = c && c->handover.id && c->handover.phase == HERD_HANDOVER_DONE &&
		      herd_str_eq(c->handover.to, w->nodes[node].name);
	int64_t limit = (int64_t)w->optime - w->config.maximum_lag_on_failover;

	for (size_t i = 0; i < w->n_acks; i++) {
		struct sim_ack *a = &w->acks[i];

		if (a->lost || (a->place < pg->log.n && pg->log.rec[a->place].id == a->id))
			continue;
		if (w->config.synchronous_mode != HERD_SYNC_OFF)
			sim_fail(w, "%s is promoted without acknowledged commit %u at place %zu",
				 w->nodes[node].name, a->id, a->place);
		else if (handed)
			sim_fail(w, "handover to %s loses acknowledged commit %u at place %zu",
				 w->nodes[node].name, a->id, a->place);
		else if ((int64_t)sim_lsn(a->place + 1) <= limit)
			sim_fail(w,
				 "failover to %s loses commit %u at place %zu, more than the lag "
				 "limit allows (published %llu)",
				 w->nodes[node].name, a->id, a->place,
				 (unsigned long long)w->optime);
		else if (passed_over(w, node, a) >= 0)
			sim_fail(w, "%s is promoted without commit %u, which %s has",
				 w->nodes[node].name, a->id,
				 w->nodes[passed_over(w, node, a)].name);
		a->lost = true;
		w->n_lost++;
	}
	w->n_handovers += handed;
}

/* After the healing: one leader that takes writes, and everybody follows it. */
void sim_check_end(struct sim *w)
{
	const struct sim_key *leader = sim_store_get(w, "leader");
	const struct herd_cluster *c = herd_scope_group(sim_store_scope(w), HERD_NO_GROUP);
	int l = leader ? sim_node_of(w, leader->value) : -1;

	if (l < 0 || !c) {
		sim_fail(w, "no leader at the end");
		return;
	}
	const struct sim_server *p = &w->nodes[l].pg;

	if (!sim_writable(p))
		sim_fail(w, "leader %s does not take writes at the end", w->nodes[l].name);
	for (int i = 0; i < w->n_nodes; i++) {
		const struct sim_server *s = &w->nodes[i].pg;

		if (i != l && (s->run != HERD_RUN_RUNNING || s->following != l || !s->streaming ||
			       s->log.n + 20 < p->log.n))
			sim_fail(w, "%s does not follow %s at the end", w->nodes[i].name,
				 w->nodes[l].name);
	}
	if (w->now - w->last_ack_at > 3000)
		sim_fail(w, "no commit was acknowledged at the end");
	if (w->config.synchronous_mode != HERD_SYNC_OFF && w->n_nodes > 1 &&
	    (!herd_str_eq(c->sync.leader, leader->value) || c->sync.standby.n == 0))
		sim_fail(w, "no synchronous standby at the end");
	if (c->handover.id)
		sim_fail(w, "a handover document is left at the end");
}
