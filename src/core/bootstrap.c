/*
 * core/bootstrap.c - the first data directory of a group, and those of its replicas.
 *
 * The race is for the key initialize: an empty value attached to our lease means that we won it,
 * and it goes away by itself when we die. At the end it holds the system identifier, for ever.
 */
#include <string.h>

#include "base/str.h"
#include "core/step.h"

static const char *sysid_text(struct herd_step *s)
{
	return herd_plan_text(s->p, "%llu", (unsigned long long)s->o->pg.sysid);
}

static bool initialize_ours(const struct herd_step *s)
{
	return s->cl->initialize && s->cl->initialize[0] == '\0' && s->o->lease.id &&
	       herd_str_eq(s->cl->initialize_key.lease, s->o->lease.id);
}

static bool can_feed(const struct herd_step *s, const struct herd_member *m)
{
	return m->state == HERD_STATE_RUNNING && !herd_str_eq(m->name, s->o->name);
}

/*
 * A member to copy from: one that offers itself (any: all replicas at once must not ask the same
 * one), else the leader.
 */
static const char *clone_source(struct herd_step *s)
{
	const struct herd_cluster *cl = s->cl;
	const struct herd_member *leader = herd_cluster_leader(cl), *found = NULL;
	uint64_t pick = s->c->nonce + (uint64_t)s->o->now_ms, n = 0;

	for (size_t i = 0; i < cl->n_members && !s->o->reinit_from_leader; i++) {
		const struct herd_member *m = &cl->members[i];

		if (m->tags.clonefrom && m != leader && can_feed(s, m) &&
		    (++n == 1 || (pick >> (n & 31)) % n == 0))
			found = m;
	}
	if (found)
		return found->name;
	if (leader && can_feed(s, leader) &&
	    (leader->role == HERD_ROLE_PRIMARY || leader->role == HERD_ROLE_STANDBY_LEADER))
		return leader->name;
	return NULL;
}

/* Source NULL: by methods that need no server. */
static bool clone_from(struct herd_step *s, const char *source)
{
	struct herd_action *a = herd_plan_add(s, HERD_ACT_CLONE, true);
	const struct herd_obs *o = s->o;

	s->c->clone_ms = o->now_ms + 2000;
	herd_judge_forget(s);
	a->member = source ? herd_plan_text(s->p, "%s", source) : NULL;
	if (o->want_reinit)
		herd_plan_add(s, HERD_ACT_DONE_REINIT, false);
	if (!source)
		return herd_answer(s, "bootstrap.clone", "trying to bootstrap (without leader)");
	if (herd_str_eq(source, HERD_REMOTE))
		return herd_answer(s, "bootstrap.remote",
				   "trying to bootstrap a new standby leader");
	return herd_answer(s, "bootstrap.clone", "trying to bootstrap from %s '%s'",
			   herd_str_eq(source, s->cl->leader) ? "leader" : "replica", source);
}

static bool clone(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const char *source = s->cl->leader ? clone_source(s) : NULL;
	/* A leader that is there but not ready yet is waited for. */
	bool alone = !s->cl->leader && o->clone_without_leader;

	if ((!source && !alone) || o->now_ms < s->c->clone_ms) {
		herd_step_at(s, o->now_ms + (s->cl->leader ? 500 : 1000));
		return herd_answer_regular(s, "bootstrap.wait", "waiting for leader to bootstrap");
	}
	return clone_from(s, source);
}

/* The data directory is complete and shut down: publish it and take the key, in this order. */
static bool finish(struct herd_step *s)
{
	if (!s->cl->config_key.version)
		herd_put(s, "config",
			 herd_plan_text(s->p, "%s",
					s->o->bootstrap_config ? s->o->bootstrap_config : "{}"),
			 0);
	if (!s->key_mine) {
		if (s->cl->leader)
			return false;
		herd_take(s);
	}
	herd_put(s, "initialize", sysid_text(s), s->cl->initialize_key.version);
	return herd_answer(s, "bootstrap.finish", "initialized a new cluster");
}

bool herd_rule_bootstrap(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const struct herd_cluster *cl = s->cl;

	if (o->task.running == HERD_TASK_BOOTSTRAP) {
		if (!initialize_ours(s) || o->now_ms >= s->times.guard_ms) {
			herd_stop(s, HERD_STOP_IMMEDIATE);
			return herd_answer(
				s, "bootstrap.lost",
				"cancelled bootstrap because the initialize key was lost");
		}
		return herd_answer_regular(s, "bootstrap.run", "bootstrap in progress");
	}
	if (o->pg.data == HERD_DATA_VALID && initialize_ours(s) && o->pg.run == HERD_RUN_DOWN &&
	    !s->busy)
		return finish(s);
	if (o->pg.data == HERD_DATA_VALID || s->busy)
		return false;
	if (s->key_mine) {
		herd_release(s);
		return herd_answer(s, "bootstrap.release",
				   "released leader key because the data directory is empty");
	}
	if (cl->initialize && cl->initialize[0] != '\0')
		return clone(s);
	if (o->pg.data == HERD_DATA_BROKEN) {
		herd_warn(s, "the data directory is neither empty nor usable");
		return herd_answer_regular(s, "bootstrap.broken", "data directory is not usable");
	}
	if (!o->lease.id || o->now_ms >= s->times.fast_ms)
		return herd_answer(s, "bootstrap.lease", "waiting for a lease");
	if (initialize_ours(s)) {
		enum herd_task by = s->cfg->standby_cluster ? HERD_TASK_CLONE : HERD_TASK_BOOTSTRAP;

		if (o->task.last == by && !o->task.last_ok) {
			herd_delete(s, "initialize", cl->initialize_key.version);
			herd_plan_add(s, HERD_ACT_EXIT, false)->exit_code = 1;
			return herd_answer(s, "bootstrap.failed",
					   "removed initialize key after failed attempt to "
					   "bootstrap the cluster");
		}
		if (s->cfg->standby_cluster)
			return clone_from(s, HERD_REMOTE);
		herd_plan_add(s, HERD_ACT_BOOTSTRAP, true);
		return herd_answer(s, "bootstrap.initdb", "trying to bootstrap a new cluster");
	}
	/* Who may never lead would begin as a leader that nobody can follow. */
	if (cl->initialize || cl->leader || herd_tags_failover_priority(&o->self->tags) <= 0) {
		herd_step_at(s, o->now_ms + 1000);
		return herd_answer_regular(s, "bootstrap.wait", "waiting for leader to bootstrap");
	}
	herd_put(s, "initialize", "", 0)->on_lease = true;
	return herd_answer(s, "bootstrap.race", "trying to acquire the initialize key");
}

/*
 * Is there anything to copy from? A leader that died a moment ago still has its key, and our data
 * may be the last that there is.
 */
static bool source_is_there(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;

	if (c->reinit_probe_id > 0 && o->probe.id == c->reinit_probe_id) {
		c->reinit_probe_id = 0;
		c->reinit_source = o->probe.ok;
	}
	if (c->reinit_source)
		return true;
	int64_t pause = c->reinit_probe_id > 0 ? 4000 : 1000;

	if (c->reinit_ms > 0 && o->now_ms - c->reinit_ms < pause) {
		herd_step_at(s, c->reinit_ms + pause);
		return false;
	}
	struct herd_action *a = herd_plan_add(s, HERD_ACT_PROBE, false);

	c->reinit_ms = o->now_ms;
	c->reinit_probe_id = a->id = ++c->last_id;
	a->member = herd_plan_text(s->p, "%s", s->cl->leader);
	return false;
}

/* POST /reinitialize: stop hard, empty, copy again. Never the leader. */
bool herd_rule_reinit(struct herd_step *s)
{
	const struct herd_obs *o = s->o;

	if (!o->want_reinit) {
		s->c->reinit_source = false;
		s->c->reinit_ms = s->c->reinit_probe_id = 0;
		return false;
	}
	if (s->key_mine || s->primary || !s->cl->leader || herd_str_eq(s->cl->leader, o->name)) {
		herd_plan_add(s, HERD_ACT_DONE_REINIT, false);
		herd_warn(s, "reinitialize refused: %s",
			  s->cl->leader ? "I am the leader" : "the cluster has no leader");
		return false;
	}
	if (s->busy)
		return false;
	if (o->pg.data == HERD_DATA_VALID && !source_is_there(s))
		return herd_answer_regular(s, "reinit.ask",
					   "reinitialize: waiting for the server of %s to answer",
					   s->cl->leader);
	if (o->pg.run != HERD_RUN_DOWN) {
		herd_stop(s, HERD_STOP_IMMEDIATE);
		return herd_answer(s, "reinit.stop", "reinitialize: stopping the server");
	}
	return clone(s);
}

/* Is this data directory of this cluster? */
bool herd_rule_sysid(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const struct herd_cluster *cl = s->cl;

	if (o->pg.data != HERD_DATA_VALID || o->pg.sysid == 0)
		return false;
	if (cl->initialize && cl->initialize[0] != '\0') {
		const char *mine = sysid_text(s);

		if (herd_str_eq(cl->initialize, mine))
			return false;
		/* Our own bootstrap came too late: nobody has ever used what it made. */
		if (o->pg.fresh && o->pg.run == HERD_RUN_DOWN && !s->busy && !s->key_mine) {
			herd_plan_add(s, HERD_ACT_WIPE, true);
			return herd_answer(s, "sysid.fresh",
					   "removing a new data directory: another node has "
					   "bootstrapped the cluster");
		}
		if (s->paused) {
			herd_warn(s, "system ID has changed while in paused mode: %s != %s",
				  cl->initialize, mine);
			return herd_answer_regular(s, "sysid.paused",
						   "PAUSE: system ID mismatch, no action");
		}
		herd_plan_add(s, HERD_ACT_EXIT, false)->exit_code = 1;
		return herd_answer(s, "sysid.mismatch",
				   "system ID mismatch, node %s belongs to a different cluster: "
				   "%s != %s",
				   o->name, cl->initialize, mine);
	}
	if (cl->initialize && o->pg.fresh && !initialize_ours(s)) {
		herd_step_at(s, o->now_ms + 1000);
		return herd_answer_regular(s, "sysid.wait", "waiting for leader to bootstrap");
	}
	/* The store has lost (or never had) the key: whoever has data may put it back. */
	if (!cl->initialize && !cl->leader && o->lease.id) {
		herd_put(s, "initialize", sysid_text(s), 0);
		return herd_answer(s, "sysid.write", "wrote the initialize key");
	}
	if (!cl->initialize && s->holds) {
		herd_put(s, "initialize", sysid_text(s), 0);
		return herd_answer(s, "sysid.write", "wrote the initialize key");
	}
	return false;
}
