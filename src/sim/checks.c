/*
 * sim/checks.c - the safety invariants of the design, looked at whenever something happens that
 * could break them; and at the end, whether the herd has come back to life.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

/* How long a promise of /sync must have stood before a promotion is held to it. */
enum { PROMISE_MS = 8000 };

/* Beside two ttl: the longest until commits go on after the last fault. */
enum { LEADER_MS = 12000 };

/* A member's slot may go only that long after the member; agents learn of things a little late. */
enum { SLOT_SLACK_MS = 6000 };

static bool has(const struct sim_server *pg, const struct sim_ack *a)
{
	return a->place < pg->log.n && pg->log.rec[a->place].id == a->id;
}

static const struct herd_cluster *cluster(struct sim *w, const struct sim_group *g)
{
	return herd_scope_group(sim_store_scope(w), g->id);
}

/*
 * It can tell a client that a commit is done. Not while it is frozen; and a machine that stood
 * still gets a moment.
 */
static bool acknowledges(const struct sim *w, const struct sim_node *n)
{
	return n->up && sim_writable(&n->pg) && n->host_until + SIM_WAKE_MS <= w->now &&
	       n->pg.frozen_until <= w->now;
}

/* Invariant 1: no two servers of a group take writes. */
void sim_check_primaries(struct sim *w, int node)
{
	struct sim_group *g = sim_group_of(w, node);
	int first = -1, second = -1;

	for (int i = 0; i < w->n_nodes; i++) {
		if (w->nodes[i].group != w->nodes[node].group || !acknowledges(w, &w->nodes[i]))
			continue;
		second = first >= 0 ? i : second;
		first = first < 0 ? i : first;
	}
	if (g->overlap_since > 0)
		w->report.overlap_ms += w->now - g->overlap_since;
	g->overlap_since = second >= 0 ? w->now : 0;
	if (second >= 0 && g->exempt_until <= w->now)
		sim_fail(w, "two primaries: %s on timeline %u and %s on timeline %u",
			 w->nodes[first].name, w->nodes[first].pg.timeline, w->nodes[second].name,
			 w->nodes[second].pg.timeline);
}

/*
 * Invariant 4: a lease is over only when its holder has stopped. Unless all members have let it go
 * on: then its guard waits longer, and invariant 1 must hold all the same.
 */
void sim_check_expiry(struct sim *w, const struct sim_lease *l)
{
	struct sim_group *g = sim_group_of(w, l->owner);
	const struct sim_key *leader = sim_get(w, g, "leader");
	const struct sim_node *n = &w->nodes[l->owner];

	if ((g->config.failsafe_mode || n->plan.failsafe) && n->guard_local > sim_local(n, w->now))
		return;
	if (leader && leader->lease == l->id && acknowledges(w, &w->nodes[l->owner]) &&
	    g->exempt_until <= w->now)
		sim_fail(w, "the lease of %s expires while it takes writes",
			 w->nodes[l->owner].name);
}

/*
 * The promise of /sync, at any moment: mode on, each node in it has every acknowledged commit;
 * quorum, of any quorum + 1 voters one has it, so at most quorum lack it.
 */
static void check_holders(struct sim *w, struct sim_group *g, const struct herd_sync *sync)
{
	const struct sim_ack *last = g->n_acks > 0 ? &g->acks[g->n_acks - 1] : NULL;
	int lacking = 0;

	if (!last || last->lost || !sync->leader || g->config.synchronous_mode == HERD_SYNC_OFF ||
	    g->synced_since == 0 || w->now - g->synced_since < PROMISE_MS ||
	    g->exempt_until > w->now || g->forced_until > w->now)
		return;
	for (size_t i = 0; i < sync->standby.n; i++) {
		int n = sim_node_of(w, sync->standby.name[i]);

		/* A disk that was lost holds nothing, and cannot be elected. */
		if (n >= 0 && w->nodes[n].pg.data == HERD_DATA_VALID && !has(&w->nodes[n].pg, last))
			lacking++;
	}
	if (lacking > sync->quorum)
		sim_fail(w, "/sync promises commit %u at place %zu, but %d of its nodes lack it",
			 last->id, last->place, lacking);
}

void sim_acked(struct sim *w, int node, size_t place)
{
	const struct sim_server *pg = &w->nodes[node].pg;
	struct sim_group *g = sim_group_of(w, node);

	if (g->n_acks == g->cap_acks) {
		g->cap_acks = g->cap_acks ? g->cap_acks * 2 : 4096;
		g->acks = realloc(g->acks, g->cap_acks * sizeof(*g->acks));
		assert(g->acks);
	}
	sim_check_primaries(w, node);
	/* What a second primary or one that wakes up says counts for nothing. */
	bool late = g->overlap_since > 0 || !acknowledges(w, &w->nodes[node]) ||
		    (g->exempt_until > w->now && sim_leader(w, g) != node);

	g->acks[g->n_acks++] = (struct sim_ack){ pg->log.rec[place].id, place, late };
	w->report.n_commits++;
	w->report.n_lost += late;
	if (g->kind && w->now - g->last_ack_at > g->gap_ms)
		g->gap_ms = w->now - g->last_ack_at;
	g->last_ack_at = w->now;
	g->last_ack_node = node;
	if (g->leader_at == 0 && !w->faults) {
		g->leader_at = w->now;
		if (w->now - w->heal_at > w->report.slowest_heal_ms)
			w->report.slowest_heal_ms = w->now - w->heal_at;
	}
	const struct herd_cluster *c = cluster(w, g);

	if (c && herd_str_eq(c->sync.leader, w->nodes[node].name))
		check_holders(w, g, &c->sync);
}

/* |voters and those waited for| <= quorum + how many are waited for, see core/quorum.c. */
static void check_overlap(struct sim *w, int node, const struct herd_sync *sync)
{
	const struct sim_server *pg = &w->nodes[node].pg;
	const struct sim_group *g = sim_group_of(w, node);
	unsigned mask = pg->wait_num > 0 ? pg->wait_mask & ~(1u << node) : 0;
	int n = 0;

	if (!sim_writable(pg) || g->config.synchronous_mode != HERD_SYNC_QUORUM ||
	    g->synced_since == 0 || w->now - g->synced_since < PROMISE_MS ||
	    g->exempt_until > w->now || pg->wait_any || w->nodes[node].pg.frozen_until > w->now)
		return;
	for (size_t i = 0; i < sync->standby.n; i++) {
		int v = sim_node_of(w, sync->standby.name[i]);

		if (v >= 0)
			mask |= 1u << v;
	}
	for (int i = 0; i < w->n_nodes; i++)
		n += mask >> i & 1;
	/* With as many votes to get as there are voters nobody can be elected. */
	if (sync->quorum < (int)sync->standby.n && n > sync->quorum + pg->wait_num)
		sim_fail(w,
			 "%s: %d voters and synchronous nodes, but only a quorum of %d and %d that "
			 "commits wait for",
			 w->nodes[node].name, n, sync->quorum, pg->wait_num);
}

void sim_check_waits(struct sim *w, int node)
{
	const struct herd_cluster *c = cluster(w, sim_group_of(w, node));

	if (c && herd_str_eq(c->sync.leader, w->nodes[node].name))
		check_overlap(w, node, &c->sync);
}

/*
 * One that goes, and takes no writes any more, may act for the one it hands over to: as long as it
 * has the key, and while the handover is written (which may come later than the rest).
 */
static bool hands_over(struct sim *w, const struct sim_group *g, int node, const char *to)
{
	const struct herd_cluster *c = cluster(w, g);
	const char *name = w->nodes[node].name;

	if (!c || acknowledges(w, &w->nodes[node]))
		return false;
	return herd_str_eq(c->leader, name) || herd_str_eq(c->leader, to) ||
	       (herd_str_eq(c->handover.from, name) && herd_str_eq(c->handover.to, to));
}

static void check_sync_write(struct sim *w, struct sim_group *g, const struct sim_request *r)
{
	struct herd_sync sync = { 0 };

	if (herd_sync_parse(r->value, strlen(r->value), &sync, NULL) < 0) {
		sim_fail(w, "%s writes a /sync that cannot be read: %s", w->nodes[r->node].name,
			 r->value);
		return;
	}
	if (herd_str_eq(sync.leader, w->nodes[r->node].name)) {
		check_holders(w, g, &sync);
		check_overlap(w, r->node, &sync);
	} else if (sync.leader && !hands_over(w, g, r->node, sync.leader)) {
		sim_fail(w, "%s writes a /sync of %s", w->nodes[r->node].name, sync.leader);
	}
	if (sync.leader && herd_names_has(&sync.standby, sync.leader))
		sim_fail(w, "/sync names its leader as a standby");
	herd_sync_clear(&sync);
}

static bool is_key(const struct sim_group *g, const char *key, const char *name)
{
	char *full = herd_cluster_key(g->id, name);
	bool same = herd_str_eq(full, key);

	free(full);
	return same;
}

/* A change that the store is about to make. */
void sim_check_change(struct sim *w, const struct sim_request *r)
{
	struct sim_group *g = sim_group_of(w, r->node);
	const struct sim_node *n = &w->nodes[r->node];
	const struct sim_key *leader = sim_get(w, g, "leader");

	if (is_key(g, r->key, "leader") && !r->value && leader &&
	    herd_str_eq(leader->value, n->name) && acknowledges(w, n) && g->exempt_until <= w->now)
		sim_fail(w, "%s gives up the leader key while it takes writes", n->name);
	if (is_key(g, r->key, "sync") && r->value)
		check_sync_write(w, g, r);
	if (r->value && is_key(g, r->key, "leader") && !herd_str_eq(r->value, n->name) &&
	    !hands_over(w, g, r->node, r->value))
		sim_fail(w, "%s takes the leader key for %s", n->name, r->value);
	if (sim_store_scope(w)->n_problems > 0)
		sim_fail(w, "a document cannot be read: %s: %s",
			 sim_store_scope(w)->problems[0].key,
			 sim_store_scope(w)->problems[0].reason);
}

/* The guard acts only on a server whose agent has not kept its lease. */
void sim_check_guard(struct sim *w, int node)
{
	const struct sim_node *n = &w->nodes[node];
	int64_t fresh = sim_local(n, w->now) - n->lease_sent_local;

	if (n->agent_up && n->lease && n->task != HERD_TASK_STOP && n->frozen_until <= w->now &&
	    !n->lease_busy && fresh < n->lease_ttl / 2 && w->now - n->steady_since > n->lease_ttl &&
	    w->now - n->up_since > n->lease_ttl)
		sim_fail(w,
			 "the guard of %s acts although its lease was renewed %" PRId64 " ms ago",
			 n->name, fresh);
}

/* A slot that somebody needs stays. */
void sim_check_drop(struct sim *w, int node, const struct sim_slot *slot)
{
	const struct sim_group *g = sim_group_of(w, node);
	const struct sim_node *n = &w->nodes[node];
	int64_t kept = g->config.member_slots_ttl_ms;
	int m = slot->type == HERD_SLOT_PHYSICAL ? sim_node_of(w, slot->name) : -1;

	if (strcmp(slot->name, "foreign") == 0 && g->config.n_ignore > 0)
		sim_fail(w, "%s drops slot %s, which ignore_slots names", n->name, slot->name);
	if (w->now - g->lag_since < SLOT_SLACK_MS + 2 * g->config.ttl_ms)
		return; /* other settings, a moment ago */
	for (size_t i = 0; i < g->config.n_slots && g->config.use_slots; i++)
		if (strcmp(g->config.slots[i].name, slot->name) == 0 &&
		    g->config.slots[i].type == slot->type &&
		    herd_tags_failover_priority(&n->self.tags) > 0)
			sim_fail(w, "%s drops the permanent slot %s at place %zu", n->name,
				 slot->name, slot->place);
	/* Without a time to live, only the one that a member streams from has a slot for it. */
	if (m < 0 || m == node || n->pg.standby || !g->config.use_slots ||
	    (kept == 0 && w->nodes[m].self.tags.replicatefrom) || w->nodes[m].group != n->group ||
	    n->frozen_until > 0 || herd_tags_failover_priority(&n->self.tags) <= 0)
		return;
	if (w->nodes[m].key_gone_at == 0 && w->nodes[m].key_since > 0 &&
	    w->now - w->nodes[m].key_since > SLOT_SLACK_MS)
		sim_fail(w, "%s drops the slot of %s, a member", n->name, slot->name);
	else if (w->nodes[m].key_gone_at > 0 &&
		 herd_names_has(&cluster(w, sim_group_of(w, node))->status.retain_slots,
				slot->name) &&
		 w->now - w->nodes[m].key_gone_at < kept - SLOT_SLACK_MS)
		sim_fail(w, "%s drops the slot of %s, which went only %" PRId64 " ms ago", n->name,
			 slot->name, w->now - w->nodes[m].key_gone_at);
}

/*
 * A commit is missing on the one that is promoted. Has another, that was well and could be asked
 * all the time, got it?
 */
static int passed_over(const struct sim *w, int node, const struct sim_ack *a)
{
	int64_t since = w->now - 6000;

	if (w->nodes[node].steady_since > since || w->store.slow_until > since)
		return -1;
	for (int i = 0; i < w->n_nodes; i++) {
		const struct sim_node *n = &w->nodes[i];

		if (i != node && n->group == w->nodes[node].group && n->agent_up &&
		    n->steady_since <= since && n->up_since <= since &&
		    n->pg.run == HERD_RUN_RUNNING && n->pg.standby && n->pg.up_since <= since &&
		    n->task == HERD_TASK_NONE && sim_linked(w, i, node) && !n->cut_rest &&
		    has(&n->pg, a) && n->lag == 0 && herd_tags_failover_priority(&n->self.tags) > 0)
			return i;
	}
	return -1;
}

static void check_missing(struct sim *w, int node, const struct sim_ack *a, bool handed)
{
	struct sim_group *g = sim_group_of(w, node);
	int64_t lag =
		w->now - g->lag_since < 30000 ? g->max_lag : g->config.maximum_lag_on_failover;
	bool synced = g->synced_since > 0 && w->now - g->synced_since > PROMISE_MS;
	const char *name = w->nodes[node].name;

	if (g->exempt_until > w->now || g->forced_until > w->now)
		return;
	if (synced)
		sim_fail(w, "%s is promoted without acknowledged commit %u at place %zu", name,
			 a->id, a->place);
	else if (handed)
		sim_fail(w, "handover to %s loses acknowledged commit %u at place %zu", name, a->id,
			 a->place);
	else if (g->config.synchronous_mode != HERD_SYNC_OFF)
		return; /* the mode has just been switched on or off */
	else if ((int64_t)sim_lsn(a->place + 1) <= (int64_t)g->optime - lag)
		sim_fail(w,
			 "failover to %s loses commit %u at place %zu, more than the lag limit "
			 "allows (published %llu)",
			 name, a->id, a->place, (unsigned long long)g->optime);
	else if (passed_over(w, node, a) >= 0)
		sim_fail(w, "%s is promoted without commit %u, which %s has", name, a->id,
			 w->nodes[passed_over(w, node, a)].name);
}

/*
 * Invariants 2 and 3, when a server becomes a primary: with synchronous mode it has every commit
 * that was acknowledged; after a handover too; else it misses at most what the lag limit allows
 * before the last published place, and what came after that.
 */
void sim_check_promotion(struct sim *w, int node)
{
	struct sim_group *g = sim_group_of(w, node);
	const struct sim_server *pg = &w->nodes[node].pg;
	const struct herd_cluster *c = cluster(w, g);
	int leader = sim_leader(w, g);
	bool handed = c && c->handover.id && c->handover.phase == HERD_HANDOVER_DONE &&
		      herd_str_eq(c->handover.to, w->nodes[node].name);

	/* A machine that stood still may finish what it was at before its guard has acted. */
	bool excused = w->nodes[node].host_until + SIM_WAKE_MS > w->now;

	if (!excused && leader != node && g->exempt_until <= w->now)
		sim_fail(w, "%s is promoted, but the leader key is %s", w->nodes[node].name,
			 leader < 0 ? "free" : w->nodes[leader].name);
	for (size_t i = 0; i < g->n_acks; i++) {
		struct sim_ack *a = &g->acks[i];

		if (a->lost || has(pg, a))
			continue;
		if (!excused)
			check_missing(w, node, a, handed);
		a->lost = true;
		w->report.n_lost++;
	}
	w->report.n_handovers += handed;
}

static void check_follower(struct sim *w, int node, int leader)
{
	const struct sim_node *n = &w->nodes[node];
	const struct sim_server *s = &n->pg, *p = &w->nodes[leader].pg;

	if (s->run != HERD_RUN_RUNNING || !s->standby || !s->streaming || s->log.n + 30 < p->log.n)
		sim_fail(w, "%s does not follow %s at the end", n->name, w->nodes[leader].name);
	else if (s->following != leader && !n->self.tags.replicatefrom)
		sim_fail(w, "%s follows %s at the end instead of %s", n->name,
			 s->following < 0 ? "nobody" : w->nodes[s->following].name,
			 w->nodes[leader].name);
}

static void check_slots_end(struct sim *w, struct sim_group *g, int leader)
{
	struct sim_server *p = &w->nodes[leader].pg;

	for (int i = 0; i < w->n_nodes && g->config.use_slots; i++)
		if (i != leader && &w->groups[w->nodes[i].group] == g &&
		    w->nodes[i].pg.following == leader && !sim_slot_find(p, w->nodes[i].name))
			sim_fail(w, "leader %s has no slot for %s at the end",
				 w->nodes[leader].name, w->nodes[i].name);
	for (size_t k = 0; k < g->config.n_slots && g->config.use_slots; k++)
		if (!sim_slot_find(p, g->config.slots[k].name))
			sim_fail(w, "leader %s lacks the permanent slot %s at the end",
				 w->nodes[leader].name, g->config.slots[k].name);
	if (sim_slot_find(p, "stray"))
		sim_fail(w, "leader %s keeps a slot of nobody", w->nodes[leader].name);
}

/* After the healing: one leader that takes writes, and everybody follows it. */
static void check_group_end(struct sim *w, struct sim_group *g)
{
	const struct herd_cluster *c = cluster(w, g);
	int leader = sim_leader(w, g), could_sync = 0;

	if (leader < 0 || !c) {
		sim_fail(w, "no leader at the end");
		return;
	}
	if (!sim_writable(&w->nodes[leader].pg))
		sim_fail(w, "leader %s does not take writes at the end", w->nodes[leader].name);
	for (int i = 0; i < w->n_nodes; i++) {
		if (i == leader || &w->groups[w->nodes[i].group] != g)
			continue;
		check_follower(w, i, leader);
		could_sync += herd_tags_sync_priority(&w->nodes[i].self.tags) > 0 &&
			      w->nodes[i].pg.following == leader;
	}
	/* Strict, and nobody who may be synchronous: commits wait, as they are told to. */
	bool waits = g->config.synchronous_mode != HERD_SYNC_OFF &&
		     g->config.synchronous_mode_strict && could_sync == 0;

	if (w->now - g->last_ack_at > 3000 && !waits)
		sim_fail(w, "no commit was acknowledged at the end");
	if (g->config.synchronous_mode != HERD_SYNC_OFF && could_sync > 0 &&
	    g->config.maximum_lag_on_syncnode <= 0 &&
	    (!herd_str_eq(c->sync.leader, w->nodes[leader].name) || c->sync.standby.n == 0))
		sim_fail(w, "no synchronous standby at the end");
	/* A lease may have to end first, a server to recover, a copy to be made, and a race to be
	 * lost. */
	if (g->leader_at - w->heal_at > 2 * g->config.ttl_ms + LEADER_MS && !waits)
		sim_fail(w, "no commit for %" PRId64 " ms after everything was healed",
			 g->leader_at - w->heal_at);
	if (c->handover.id)
		sim_fail(w, "a handover document is left at the end");
	if (c->failover.leader || c->failover.candidate)
		sim_fail(w, "a failover request is left at the end");
	check_slots_end(w, g, leader);
}

void sim_check_end(struct sim *w)
{
	for (int i = 0; i < w->n_groups; i++)
		check_group_end(w, &w->groups[i]);
}
