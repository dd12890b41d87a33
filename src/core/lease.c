/*
 * core/lease.c - the leader key and the lease it hangs on: who may lead, until when, and what a
 * server that takes writes has to do when it may not.
 */
#include <string.h>

#include "base/str.h"
#include "core/step.h"

struct herd_lease_times herd_lease_times(int64_t sent_ms, int64_t ttl_ms, int64_t loop_wait_ms)
{
	int64_t renew = ttl_ms / 3 < loop_wait_ms ? ttl_ms / 3 : loop_wait_ms;

	return (struct herd_lease_times){
		.renew_ms = sent_ms + renew,
		.fast_ms = sent_ms + ttl_ms * 8 / 12,
		.hard_ms = sent_ms + ttl_ms * 9 / 12,
		.guard_ms = sent_ms + ttl_ms * 10 / 12,
		.expiry_ms = sent_ms + ttl_ms,
	};
}

void herd_take(struct herd_step *s)
{
	struct herd_action *a = herd_plan_add(s, HERD_ACT_TAKE, true);

	a->key = herd_plan_keep(s->p, herd_cluster_key(s->o->group, "leader"));
	a->value = herd_plan_text(s->p, "%s", s->o->name);
	a->on_lease = true;
	/* A key of our own former life is moved onto the new lease without a moment in between. */
	a->cond = s->cl->leader_key.version ? HERD_IF_VERSION : HERD_IF_ABSENT;
	a->version = s->cl->leader_key.version;
}

/* We never lead under the key of this version again, whatever becomes of the request. */
static void give_up(struct herd_step *s)
{
	struct herd_core *c = s->c;

	if (s->cl->leader_key.version > c->released_version) {
		c->released_version = s->cl->leader_key.version;
		c->released_ms = s->o->now_ms;
	}
	c->decided = false;
	c->fs_ok_ms = 0;
}

static struct herd_action *change_leader(struct herd_step *s, enum herd_act act)
{
	struct herd_action *a = herd_plan_add(s, act, true);

	a->key = herd_plan_keep(s->p, herd_cluster_key(s->o->group, "leader"));
	a->cond = HERD_IF_VERSION;
	a->version = s->cl->leader_key.version;
	give_up(s);
	return a;
}

void herd_release(struct herd_step *s)
{
	change_leader(s, HERD_ACT_RELEASE);
}

void herd_pass(struct herd_step *s, const char *to, const char *lease)
{
	struct herd_action *a = change_leader(s, HERD_ACT_PASS);

	a->value = herd_plan_text(s->p, "%s", to);
	a->lease = herd_plan_text(s->p, "%s", lease);
}

void herd_stop(struct herd_step *s, enum herd_stop mode)
{
	struct herd_action *a = herd_plan_add(s, HERD_ACT_STOP, false);

	a->mode = mode;
	if (mode == HERD_STOP_IMMEDIATE)
		s->c->hard_stopped = true;
}

/* Stops at once, unless that was ordered already and is under way. */
static void stop_now(struct herd_step *s)
{
	bool under_way = s->c->hard_stopped && s->o->task.running == HERD_TASK_STOP;

	if (!under_way)
		herd_stop(s, HERD_STOP_IMMEDIATE);
	herd_step_at(s, s->o->now_ms + 100);
}

/*
 * The lease could not be renewed in time. First the polite stop, which lets standbys have the last
 * bytes, then the hard one; the guard comes after that and does not need us.
 */
bool herd_rule_expired(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const struct herd_lease_times *t = &s->right;
	const char *why = o->dcs_ok
				  ? "demoted self because failed to update leader lock in DCS"
				  : "demoted self because DCS is not accessible and I was a leader";

	bool had_right = s->key_mine || s->key_stale || (s->c->fs_ok_ms > 0 && !s->cl->leader);

	if (s->paused || !s->primary || !had_right)
		return false;
	if (t->expiry_ms == 0) {
		/* A former life's key: when its lease ends is not known. */
		if (o->dcs_ok)
			return false;
		stop_now(s);
		return herd_answer(s, "lease.unknown", "%s", why);
	}
	if (!herd_failsafe_lost(s) && o->now_ms < t->fast_ms)
		return false;
	if (o->now_ms >= t->hard_ms) {
		stop_now(s);
		return herd_answer(s, "lease.hard", "%s", why);
	}
	if (o->task.running != HERD_TASK_STOP)
		herd_stop(s, HERD_STOP_FAST);
	herd_step_at(s, t->hard_ms);
	return herd_answer(s, "lease.expired", "%s", why);
}

/* The store is away and all members agree: what a leader does without it. */
static bool lead_failsafe(struct herd_step *s)
{
	const struct herd_obs *o = s->o;

	if (o->pg.run == HERD_RUN_DOWN && !s->busy && o->now_ms >= s->c->retry_ms) {
		s->c->retry_ms = o->now_ms + 1000;
		herd_start(s, false, NULL);
		return herd_answer(s, "failsafe.start", "starting primary after failure");
	}
	if (o->pg.run == HERD_RUN_RUNNING && o->pg.queryable && !s->busy)
		herd_slots_step(s);
	return herd_answer_regular(s, "failsafe",
				   "continue to run as a leader because failsafe mode is enabled "
				   "and all members are accessible");
}

/* Nothing that needs the store can be decided while nothing, or nothing new, is known of it. */
bool herd_rule_no_view(struct herd_step *s)
{
	const struct herd_obs *o = s->o;

	if (o->scope && o->dcs_ok)
		return false;
	herd_step_at(s, o->now_ms + 1000);
	/* The first read is still under way: a server that ran before us may be lawful. */
	if (!o->scope && o->dcs_ok) {
		s->p->guard_ms = HERD_GUARD_KEEP;
		return herd_answer_regular(s, "view.first", "waiting for the first view");
	}
	if (o->want_exit)
		return herd_rule_exit(s);
	if (s->failsafe)
		return lead_failsafe(s);
	if (!s->paused && s->primary && !s->key_mine && !s->key_stale) {
		stop_now(s);
		return herd_answer(s, "view.primary",
				   "demoted self because DCS is not accessible and I was a leader");
	}
	if (s->promised && o->pg.run == HERD_RUN_RUNNING && o->pg.queryable && o->pg.in_recovery &&
	    !s->busy)
		herd_slots_step(s);
	/* Serving reads needs no store; a server that comes back as a standby harms nobody. */
	if (o->scope && !s->paused && o->pg.run == HERD_RUN_DOWN && !s->busy && !o->pg.fresh &&
	    !o->pg.torn && (!s->key_mine || o->now_ms >= s->right.expiry_ms || s->c->fs_lost) &&
	    o->pg.data == HERD_DATA_VALID && o->now_ms >= s->c->retry_ms) {
		s->c->retry_ms = o->now_ms + 5000;
		herd_start(s, true, s->promised ? s->cl->leader : NULL);
		return herd_answer(s, "view.standby", "starting as a secondary");
	}
	return herd_answer_regular(s, "view.none", "DCS is not accessible");
}

/* A key that was given up but is still there: the reply was lost, or it has not come yet. */
bool herd_rule_release_again(struct herd_step *s)
{
	if (!s->o->lease.id || !herd_str_eq(s->cl->leader, s->o->name) ||
	    !herd_str_eq(s->cl->leader_key.lease, s->o->lease.id) ||
	    s->cl->leader_key.version > s->c->released_version)
		return false;
	herd_release(s);
	herd_step_at(s, s->o->now_ms + 200);
	return herd_answer(s, "lease.release", "released leader key");
}

/*
 * The key of our former life (the agent was restarted, or has a new lease). As primary, running or
 * fallen, we move it onto our lease: it never lapses, so nobody else can have led meanwhile. As
 * anything else we had won it and not used it: let it go and race again.
 */
bool herd_rule_regrant(struct herd_step *s)
{
	const struct herd_obs *o = s->o;

	if (!s->key_stale)
		return false;
	herd_step_at(s, o->now_ms + 500);
	/* A lease comes with the next step. Until then we follow nobody, least of all ourselves. */
	if (!o->lease.id || o->now_ms >= s->times.fast_ms)
		return o->pg.run == HERD_RUN_RUNNING &&
		       herd_answer_regular(s, "lease.wait-stale", "waiting for a lease");
	/* A promotion under way is a primary, too: a new ttl may have come with a new lease. */
	if (o->pg.data == HERD_DATA_VALID &&
	    (s->primary || !o->pg.in_recovery || s->cfg->standby_cluster) &&
	    s->cl->leader_key.version > s->c->released_version) {
		herd_take(s);
		s->p->guard_ms = HERD_GUARD_KEEP;
		return herd_answer(s, "lease.regrant", "acquired session lock as a leader");
	}
	herd_release(s);
	return herd_answer(s, "lease.stale", "released leader key of a former session");
}

/* A primary that does not hold the key. */
bool herd_rule_without_right(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const struct herd_cluster *cl = s->cl;
	int64_t tl = herd_cluster_timeline(cl);

	if (s->paused || !s->primary || s->key_mine || s->key_stale)
		return false;
	/* After its shutdown checkpoint it serves nobody; it only has to end. */
	if (o->task.running == HERD_TASK_STOP && o->pg.run == HERD_RUN_STOPPING &&
	    o->pg.control == HERD_CONTROL_SHUT_DOWN)
		return false;
	if (cl->leader) {
		stop_now(s);
		return herd_answer(
			s, "lease.other",
			"demoting self because I do not have the lock and I was a leader");
	}
	/* The lease ended while members let us go on: nobody else can have had the key since. */
	if (s->failsafe) {
		herd_step_at(s, o->now_ms + 500);
		if (!o->lease.id || o->now_ms >= s->times.fast_ms)
			return herd_answer_regular(s, "failsafe.lease", "waiting for a lease");
		herd_take(s);
		return herd_answer(s, "failsafe.retake", "acquired session lock as a leader");
	}
	/*
	 * Nobody has the key. Where a guard watches, a lawful primary never comes here except that
	 * somebody deleted the key while our lease lives: then nobody else can have led.
	 */
	bool lease_lives = o->lease.id && o->now_ms < s->times.fast_ms;
	bool was_leader = s->c->held.expiry_ms > o->now_ms;
	bool synced = !herd_sync_active(s) || herd_str_ieq(cl->sync.leader, o->name);
	bool current = tl == 0 || o->pg.timeline == 0 || o->pg.timeline >= tl;

	if (o->pg.run == HERD_RUN_RUNNING && lease_lives && (was_leader || !o->guard) && synced &&
	    current && !herd_unfenced(o) && !o->want_exit && o->task.running == HERD_TASK_NONE) {
		herd_take(s);
		s->p->guard_ms = HERD_GUARD_KEEP;
		herd_step_at(s, o->now_ms + 500);
		return herd_answer(s, "lease.retake", "acquired session lock as a leader");
	}
	if (!o->guard && !o->lease.id && o->now_ms - s->c->first_ms < s->cfg->retry_timeout_ms)
		return herd_answer(s, "lease.wait", "waiting for a lease");
	stop_now(s);
	return herd_answer(s, "lease.none",
			   "demoting self because I do not have the lock and I was a leader");
}

static bool of_this_cluster(struct herd_step *s)
{
	return s->cl->initialize &&
	       herd_str_eq(s->cl->initialize,
			   herd_plan_text(s->p, "%llu", (unsigned long long)s->o->pg.sysid));
}

/* A primary after which others have led must not lead again because they are away just now. */
static bool left_behind(const struct herd_step *s)
{
	const struct herd_obs_pg *pg = &s->o->pg;

	return (pg->timeline > 0 && pg->timeline < herd_cluster_timeline(s->cl)) ||
	       (herd_sync_active(s) && !herd_str_ieq(s->cl->sync.leader, s->o->name));
}

static bool pause_primary(struct herd_step *s)
{
	const struct herd_obs *o = s->o;

	if (s->key_mine && s->cl->initialize && !of_this_cluster(s)) {
		herd_release(s);
		return herd_answer(s, "pause.sysid",
				   "PAUSE: released leader key because of a system ID mismatch");
	}
	if (s->key_mine) {
		herd_publish_documents(s);
		herd_publish_status(s);
		/* Commits must not wait for ever for a standby that went while paused. */
		if (s->holds && o->pg.queryable && herd_sync_step(s))
			return herd_answer(s, "pause.sync",
					   "PAUSE: updated the synchronous standbys");
		herd_slots_step(s);
		return herd_answer_regular(s, "pause.leader",
					   "PAUSE: no action. I am (%s), the leader with the lock",
					   o->name);
	}
	if (s->cl->leader && !s->key_stale) {
		herd_warn(s, "%s holds the leader lock, and this node runs as a primary too",
			  s->cl->leader);
		return herd_answer_regular(s, "pause.other",
					   "PAUSE: continue to run as primary without lock");
	}
	if (!of_this_cluster(s) || !o->lease.id || s->key_mine || left_behind(s))
		return herd_answer_regular(s, "pause.foreign",
					   "PAUSE: continue to run as primary without lock");
	herd_take(s);
	herd_step_at(s, o->now_ms + 1000);
	return herd_answer(s, "pause.take", "PAUSE: acquired session lock as a leader");
}

/* Nobody has led since our server did: it has all that there is. */
static bool was_last_primary(struct herd_step *s)
{
	const struct herd_obs_pg *pg = &s->o->pg;

	return !pg->in_recovery && of_this_cluster(s) &&
	       pg->checkpoint_tl >= herd_cluster_timeline(s->cl) &&
	       (!herd_sync_active(s) || herd_str_ieq(s->cl->sync.leader, s->o->name));
}

/* Paused, and no server runs here. */
static bool pause_down(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	/*
	 * A copy that was asked for, a rewind, and the stop of a switchover end with a server
	 * that runs.
	 */
	bool made = o->task.last_ok &&
		    (o->task.last == HERD_TASK_CLONE || o->task.last == HERD_TASK_REWIND ||
		     o->task.last == HERD_TASK_STOP);

	/* People want it started: the last primary as such, for which it needs the lock. */
	if (o->want_restart && (s->key_mine || s->cl->leader || !was_last_primary(s)))
		return false;
	if (o->want_restart && o->lease.id && o->now_ms < s->times.fast_ms) {
		herd_take(s);
		return herd_answer(s, "pause.take-down", "acquired session lock as a leader");
	}
	if (made && s->cl->leader && !s->key_stale)
		return false;
	if (s->key_mine || s->key_stale) {
		herd_release(s);
		return herd_answer(s, "pause.release",
				   "PAUSE: removed leader lock because postgres is not running");
	}
	return herd_answer_regular(s, "pause.down", "PAUSE: postgres is not running");
}

/* Paused, nothing is started, stopped, promoted or removed, except what people ask for by name. */
bool herd_rule_pause(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const struct herd_failover *f = &s->cl->failover;
	bool asked = f->candidate && f->scheduled_ms == 0 &&
		     (s->holds || herd_str_eq(f->candidate, o->name));

	if (!s->paused || o->want_exit || s->c->ho != HERD_HO_NONE || o->want_reinit ||
	    o->pg.data == HERD_DATA_EMPTY)
		return false;
	if (o->pg.run == HERD_RUN_DOWN && !s->busy)
		return pause_down(s);
	if (asked || o->want_restart)
		return false;
	if (s->busy)
		return herd_answer_regular(s, "pause.task", "PAUSE: no action, a task runs");
	if (o->pg.run == HERD_RUN_RUNNING && !o->pg.in_recovery)
		return pause_primary(s);
	if (s->cfg->standby_cluster && s->key_mine && o->pg.run == HERD_RUN_RUNNING)
		return false; /* herd_rule_standby knows of pauses */
	if (s->key_mine || s->key_stale) {
		herd_release(s);
		return herd_answer(s, "pause.release",
				   "PAUSE: released leader key because it is not primary");
	}
	/* A standby follows whoever leads, also now. */
	if (s->cl->leader && o->pg.run == HERD_RUN_RUNNING)
		return false;
	return herd_answer_regular(s, "pause.standby", "PAUSE: no action. I am (%s), a secondary",
				   o->name);
}

/* Who must be stopped by others in need, and cannot be, does not lead. */
bool herd_rule_unfenced(struct herd_step *s)
{
	const char *what = s->o->guard_failed ? "guard" : "watchdog";

	if (s->paused || !s->key_mine || !herd_unfenced(s->o))
		return false;
	if (s->primary) {
		stop_now(s);
		return herd_answer(s, "unfenced.stop",
				   "Demoting self because %s could not be activated", what);
	}
	herd_release(s);
	s->c->no_race_before_ms = s->o->now_ms + s->cfg->ttl_ms;
	return herd_answer(s, "unfenced.release",
			   "Not promoting self because %s could not be activated", what);
}
