/*
 * sim/observe.c - what an agent reads before a step: its server (a moment ago), the store (its last
 * view), and the answers of others.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

enum { STALLED_MS = 4000 }; /* probe.timeout and a look */

static size_t senders(struct sim *w, const struct sim_node *n, struct herd_obs_sender *list)
{
	size_t k = 0;

	if (n->pg.run != HERD_RUN_RUNNING)
		return 0;
	for (int i = 0; i < w->n_nodes; i++) {
		const struct sim_server *s = &w->nodes[i].pg;
		uint64_t lsn = sim_lsn(n->pg.confirmed[i]);

		if (i == n->index || s->following != n->index || !s->streaming ||
		    s->run != HERD_RUN_RUNNING || !sim_linked(w, i, n->index))
			continue;
		list[k++] = (struct herd_obs_sender){
			.application_name = w->nodes[i].name,
			.streaming = true,
			.sync = n->pg.wait_num > 0 && (n->pg.wait_mask >> i & 1),
			.write_lsn = lsn,
			.flush_lsn = lsn,
			.replay_lsn = lsn,
		};
	}
	return k;
}

/* A slot is active while the member of its name streams from here, and then has its place. */
static void slots(struct sim *w, struct sim_node *n)
{
	struct sim_server *s = &n->pg;
	struct herd_obs_pg *pg = &n->seen.pg;

	for (size_t i = 0; i < s->n_slots; i++) {
		struct sim_slot *slot = &s->slots[i];
		int m = slot->type == HERD_SLOT_PHYSICAL ? sim_node_of(w, slot->name) : -1;
		bool active =
			m >= 0 && w->nodes[m].pg.following == n->index && w->nodes[m].pg.streaming;

		if (active && s->confirmed[m] > slot->place)
			slot->place = s->confirmed[m];
		n->seen.slots[i] = (struct herd_obs_slot){
			.name = slot->name,
			.type = slot->type,
			.database = slot->database,
			.plugin = slot->plugin,
			.restart_lsn = sim_lsn(slot->place),
			.catalog_xmin = slot->type == HERD_SLOT_LOGICAL ? SIM_XMIN : 0,
			.active = active,
		};
	}
	pg->slots = n->seen.slots;
	pg->n_slots = s->n_slots;
	pg->slots_known = s->run == HERD_RUN_RUNNING;
}

/* What the progress probe says: it looks now and then, and takes its time. */
static const char *stalled(const struct sim *w, const struct sim_server *s)
{
	return s->stuck_since && w->now - s->stuck_since >= STALLED_MS ? "it stands still" : NULL;
}

static void look_at_progress(const struct sim *w, struct sim_server *s)
{
	bool stuck = s->run == HERD_RUN_RUNNING &&
		     (s->full || s->frozen_until > w->now || s->postmaster_until > w->now);

	if (!stuck)
		s->stuck_since = 0;
	else if (!s->stuck_since)
		s->stuck_since = w->now;
}

void sim_observe(struct sim *w, struct sim_node *n)
{
	struct sim_server *s = &n->pg;
	struct sim_seen *seen = &n->seen;
	uint64_t lsn = sim_lsn(s->log.n);

	/* It sees its postmaster's end at once, and ends what that left behind. */
	if (s->run == HERD_RUN_DOWN)
		sim_server_kill_orphans(w, n->index);
	if (seen->history_serial != s->history_serial) {
		seen->history_serial = s->history_serial;
		herd_history_clear(&seen->history);
		herd_history_copy(&s->history, &seen->history);
	}
	look_at_progress(w, s);
	seen->pg = (struct herd_obs_pg){
		.data = s->data,
		.run = s->run,
		.sysid = s->sysid,
		.fresh = s->fresh,
		.torn = s->marked && n->task != HERD_TASK_REWIND,
		.in_recovery = s->standby,
		.timeline = s->timeline,
		.flush_lsn = lsn,
		.receive_lsn = s->standby ? lsn : 0,
		.replay_lsn = s->standby ? lsn : 0,
		.control = s->control,
		.checkpoint_lsn = sim_lsn(s->checkpoint),
		.checkpoint_tl = s->checkpoint_tl,
		.down_since_ms = sim_local(n, s->down_since),
		.starting_since_ms = sim_local(n, s->starting_since),
		.crashed = s->crashed,
		.queryable = s->run == HERD_RUN_RUNNING && s->frozen_until <= w->now &&
			     !(w->faults && !w->opt->calm && sim_chance(w, 10)),
		.following = s->following >= 0 ? w->nodes[s->following].name : NULL,
		.streaming = s->streaming,
		.ssn = s->run == HERD_RUN_RUNNING ? (s->ssn_shown ? s->ssn_shown : "") : NULL,
		.history = s->history.n ? &seen->history : NULL,
		.logical = true,
		.max_slots = SIM_SLOTS,
		.feedback = n->feedback,
		.transactions = sim_chance(w, 300) ? 1 : 0,
		.stalled = stalled(w, s),
	};
	slots(w, n);
	seen->pg.n_senders = senders(w, n, seen->rows);
	seen->pg.senders = seen->rows;
}

void sim_obs(struct sim *w, struct sim_node *n, struct herd_obs *o)
{
	const struct sim_group *g = &w->groups[n->group];

	*o = (struct herd_obs){
		.now_ms = sim_local(n, w->now),
		.wall_ms = INT64_C(1700000000000) + w->now,
		.name = n->name,
		.group = g->id,
		.self = &n->self,
		.scope = n->scope,
		.view_ms = n->view_local_ms,
		.can_pass = w->can_pass,
		.dcs_ok = n->dcs_ok,
		.lease = { n->lease ? n->lease_text : NULL, n->lease_sent_local, n->lease_ttl,
			   n->lease_busy },
		.pg = n->seen.pg,
		.task = { n->task, sim_local(n, n->task_since), n->last_task, n->last_ok,
			  sim_local(n, n->last_task_at), n->failures, NULL },
		.poll = { n->poll_id, sim_local(n, n->poll_asked), n->poll_n, n->answers },
		.probe = n->probe,
		.asked_slots = { n->asked_id, true, n->asked_n, n->asked },
		.failsafe = { .id = n->fs_done_id,
			      .accepted = n->fs_yes,
			      .refused = n->fs_no,
			      .leader = n->fs_leader < 0 ? NULL : w->nodes[n->fs_leader].name,
			      .asked_ms = n->fs_asked_local,
			      .ttl_ms = n->fs_leader_ttl },
		.guard = w->opt->guard,
		.rewind_possible = w->rewind,
		.reclone_diverged = true,
		.bootstrap_config = g->config_text,
		.want_restart = n->want_restart,
		.want_reinit = n->want_reinit,
		.want_exit = n->want_exit,
	};
}

/* ---- questions ---- */

static void on_poll_end(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (sim_agent_absent(w, e) || sim_agent_frozen(w, e) || n->asking_id != e->arg)
		return;
	n->poll_id = n->asking_id;
	n->asking_id = 0;
	n->poll_n = n->asking_n;
	memcpy(n->answers, n->asking, sizeof(n->answers));
	sim_agent_wake(w, e->node, 0);
}

static struct herd_obs_answer ask(struct sim *w, int node, int other)
{
	const struct sim_node *m = &w->nodes[other];
	const struct sim_server *pg = &m->pg;

	if (!sim_linked(w, node, other) || !m->agent_up || m->frozen_until > w->now ||
	    m->cut_rest || w->nodes[node].cut_rest)
		return (struct herd_obs_answer){ .name = m->name };
	bool leads = m->plan.leader && sim_local(m, w->now) < m->plan.leader_until_ms;

	return (struct herd_obs_answer){
		.name = m->name,
		.reachable = true,
		.running = pg->run == HERD_RUN_RUNNING && pg->frozen_until <= w->now,
		.in_recovery = !leads && (pg->standby || pg->run == HERD_RUN_DOWN),
		.lsn = sim_lsn(pg->log.n),
		.timeline = pg->timeline,
		.nofailover = herd_tags_failover_priority(&m->self.tags) <= 0,
		.stalled = stalled(w, pg) != NULL,
	};
}

/* Answers come late sometimes, and then tell of the moment in which they were given. */
void sim_poll(struct sim *w, struct sim_node *n, const struct herd_action *a)
{
	bool all = true;

	n->asking_id = a->id;
	n->poll_asked = w->now;
	n->asking_n = 0;
	for (size_t i = 0; i < a->n_names; i++) {
		int other = sim_node_of(w, a->names[i]);

		if (other < 0 || n->asking_n == SIM_NODES)
			continue;
		n->asking[n->asking_n] = ask(w, n->index, other);
		all &= n->asking[n->asking_n].reachable;
		n->asking_n++;
	}
	int64_t took = !all                             ? 2000
		       : w->faults && sim_chance(w, 30) ? sim_rand(w, 10, 2000)
							: sim_rand(w, 1, 10);

	sim_at(w, w->now + took, on_poll_end, n->index, n->life, a->id);
}

static void on_slots_asked(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (sim_agent_absent(w, e) || sim_agent_frozen(w, e) || n->asking_slots_id != e->arg)
		return;
	n->asked_id = e->arg;
	sim_agent_wake(w, e->node, 0);
}

void sim_ask_slots(struct sim *w, struct sim_node *n, const struct herd_action *a)
{
	int other = sim_node_of(w, a->member);

	n->asking_slots_id = a->id;
	n->asked_id = 0;
	n->asked_n = 0;
	for (size_t i = 0; i < a->n_names && other >= 0 && sim_linked(w, n->index, other); i++) {
		const struct sim_slot *slot = sim_slot_find(&w->nodes[other].pg, a->names[i]);

		if (slot && n->asked_n < SIM_SLOTS)
			n->asked[n->asked_n++] = (struct herd_obs_slot){
				.name = slot->name,
				.catalog_xmin = SIM_XMIN,
			};
	}
	sim_at(w, w->now + sim_rand(w, 1, 30), on_slots_asked, n->index, n->life, a->id);
}

static void on_probe_end(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	int other = (int)(e->arg & 0xff);
	int64_t id = e->arg >> 8;

	if (sim_agent_absent(w, e) || sim_agent_frozen(w, e) || n->probing_id != id)
		return;
	n->probing_id = 0;
	n->probe = (struct herd_obs_probe){ .id = id };
	if (other < w->n_nodes && sim_linked(w, e->node, other) &&
	    w->nodes[other].pg.run == HERD_RUN_RUNNING &&
	    w->nodes[other].pg.frozen_until <= w->now) {
		const struct sim_server *pg = &w->nodes[other].pg;

		herd_history_clear(&n->probe_history);
		herd_history_copy(&pg->history, &n->probe_history);
		n->probe.name = w->nodes[other].name;
		n->probe.ok = true;
		n->probe.sysid = pg->sysid;
		n->probe.in_recovery = pg->standby;
		n->probe.timeline = pg->timeline;
		n->probe.history = &n->probe_history;
	}
	sim_agent_wake(w, e->node, 0);
}

void sim_probe(struct sim *w, struct sim_node *n, const struct herd_action *a)
{
	n->probing_id = a->id;
	sim_at(w, w->now + sim_rand(w, 1, 30), on_probe_end, n->index, n->life,
	       a->id << 8 | (sim_node_of(w, a->member) & 0xff));
}

/* ---- failsafe_mode: id << 8 | other node << 4 | word ---- */

static int64_t fs_arg(int64_t id, int other, enum herd_failsafe_word word)
{
	return id << 8 | other << 4 | (int64_t)word;
}

static int64_t fs_delay(struct sim *w)
{
	return sim_rand(w, 0, w->faults && !w->opt->calm && sim_chance(w, 20) ? 2000 : 3);
}

static void on_word(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	enum herd_failsafe_word word = (enum herd_failsafe_word)(e->arg & 0xf);

	if (sim_agent_absent(w, e) || sim_agent_frozen(w, e) || n->fs_id != e->arg >> 8 ||
	    n->fs_left == 0)
		return;
	n->fs_yes &= word == HERD_FAILSAFE_YES;
	n->fs_no |= word != HERD_FAILSAFE_YES;
	if (--n->fs_left > 0)
		return;
	n->fs_done_id = n->fs_id;
	sim_agent_wake(w, e->node, 0);
}

static void on_round_end(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (sim_agent_absent(w, e) || sim_agent_frozen(w, e) || n->fs_id != e->arg ||
	    n->fs_left == 0)
		return;
	n->fs_left = 0;
	n->fs_yes = false;
	n->fs_done_id = n->fs_id;
	sim_agent_wake(w, e->node, 0);
}

/* A question arrives. */
static void on_failsafe(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	struct sim_group *g = sim_group_of(w, e->node);
	int from = (int)(e->arg >> 4 & 0xf);
	const struct herd_cluster *c = n->scope ? herd_scope_group(n->scope, g->id) : NULL;

	if (sim_agent_absent(w, e) || !sim_linked(w, e->node, from) || n->cut_rest ||
	    w->nodes[from].cut_rest || sim_agent_frozen(w, e))
		return;
	int64_t now = sim_local(n, w->now);
	bool primary =
		(n->pg.run != HERD_RUN_DOWN && !n->pg.standby) || n->task == HERD_TASK_PROMOTE;
	enum herd_failsafe_word word =
		herd_failsafe_word(c ? c->config.failsafe_mode : g->config.failsafe_mode,
				   n->plan.leader && now < n->plan.leader_until_ms, primary);

	if (word == HERD_FAILSAFE_YES) {
		n->fs_leader = from;
		n->fs_asked_local = now;
		n->fs_leader_ttl = w->nodes[from].fs_ttl;
		n->plan_serial++;
		n->plan_at = n->plan.n;
		sim_agent_wake(w, e->node, 0);
	}
	sim_tempt(w, e->node);
	sim_at(w, w->now + fs_delay(w), on_word, from, w->nodes[from].life,
	       fs_arg(e->arg >> 8, e->node, word));
}

void sim_failsafe(struct sim *w, struct sim_node *n, const struct herd_action *a)
{
	n->fs_id = a->id;
	n->fs_ttl = a->ttl_ms;
	n->fs_left = a->n_names;
	n->fs_yes = true;
	n->fs_no = false;
	for (size_t i = 0; i < a->n_names; i++) {
		int other = sim_node_of(w, a->names[i]);

		if (other >= 0)
			sim_at(w, w->now + fs_delay(w), on_failsafe, other, w->nodes[other].life,
			       fs_arg(a->id, n->index, HERD_FAILSAFE_YES));
	}
	sim_at(w, w->now + a->timeout_ms, on_round_end, n->index, n->life, a->id);
}
