/*
 * core/leader.c - we hold the leader key: bring a fallen primary back, promote, and lead.
 */
#include <string.h>

#include "base/str.h"
#include "core/step.h"

/* How long two requests of the same moment may lie apart. */
enum { WORD_MS = 500 };

/* A handover document that names somebody else must not outlive the start of our reign. */
static void drop_foreign_handover(struct herd_step *s)
{
	const struct herd_cluster *cl = s->cl;

	if (cl->handover_key.version && !herd_str_eq(cl->handover.to, s->o->name))
		herd_delete(s, "handover", cl->handover_key.version);
}

/* Whoever asked for us asked in vain: the next leader must not begin the same again, nor wait. */
static void withdraw(struct herd_step *s)
{
	const struct herd_cluster *cl = s->cl;

	if (cl->failover_key.version && !cl->failover_key.bad &&
	    (!cl->failover.candidate || herd_str_eq(cl->failover.candidate, s->o->name)))
		herd_delete(s, "failover", cl->failover_key.version);
	if (cl->handover_key.version && herd_str_eq(cl->handover.to, s->o->name))
		herd_delete(s, "handover", cl->handover_key.version);
}

/* /sync must name us, and nobody else, before the first commit of our reign. True: it is written.
 */
static bool claim_sync(struct herd_step *s)
{
	const struct herd_cluster *cl = s->cl;
	struct herd_sync claim = { .leader = (char *)s->o->name };

	if (s->cfg->synchronous_mode == HERD_SYNC_OFF) {
		if (!cl->sync_key.version)
			return false;
		herd_delete(s, "sync", cl->sync_key.version);
		return true;
	}
	if (herd_str_eq(cl->sync.leader, s->o->name) && cl->sync.standby.n == 0 &&
	    cl->sync.quorum == 0 && !herd_sync_unsettled(s))
		return false;
	herd_sync_put(s, &claim);
	return true;
}

/* Giving up, when somebody else can do better. */
static bool rescue(struct herd_step *s)
{
	if (herd_poll(s, HERD_POLL_RESCUE, NULL)) {
		s->p->rule = "down.poll";
		return true;
	}
	bool rescuer = herd_rescuer_answered(s);

	s->c->poll_use = HERD_POLL_NONE;
	s->c->poll_next_ms = s->o->now_ms + 1000;
	if (!rescuer)
		return false;
	herd_release(s);
	return herd_answer(s, "down.release",
			   "removed leader key after trying and failing to start postgres");
}

/* No server, and the key is ours: start it again in place, or let another lead. */
bool herd_rule_down_leader(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;

	if (!s->key_mine || o->pg.run != HERD_RUN_DOWN || o->pg.data != HERD_DATA_VALID || s->busy)
		return false;
	if (c->crash_ms == 0)
		c->crash_ms = o->now_ms;
	if (s->cfg->standby_cluster)
		return herd_standby_down(s);
	if (!s->holds) {
		herd_step_at(s, o->now_ms + 200);
		return herd_answer_regular(s, "down.lease", "waiting for the lease to be renewed");
	}
	bool failed = o->task.last == HERD_TASK_START && !o->task.last_ok &&
		      o->task.last_ms >= c->crash_ms;
	bool late = o->now_ms - c->crash_ms >= s->cfg->primary_start_timeout_ms;

	if (o->pg.in_recovery && failed) {
		herd_release(s);
		return herd_answer(s, "down.standby-failed",
				   "released leader key because postgres cannot be started");
	}
	if ((failed || late) && rescue(s))
		return true;
	if (o->now_ms < c->retry_ms) {
		herd_step_at(s, c->retry_ms);
		return herd_answer_regular(s, "down.retry", "waiting before the next start");
	}
	/* A write that names another, on its way since a handover, must not come after this. */
	if (!o->pg.in_recovery && herd_sync_settle(s))
		return herd_answer_regular(s, "down.sync",
					   "waiting for the end of a write of /sync");
	c->retry_ms = failed ? o->now_ms + 1000 : o->now_ms + 100;
	drop_foreign_handover(s);
	/* The first primary of a group: nobody may be elected who has less than it. */
	if (!o->pg.in_recovery && !herd_str_ieq(s->cl->sync.leader, o->name) &&
	    !s->cl->sync_key.bad && s->cfg->synchronous_mode != HERD_SYNC_OFF)
		claim_sync(s);
	herd_start(s, o->pg.in_recovery, NULL);
	if (o->want_restart)
		herd_plan_add(s, HERD_ACT_DONE_RESTART, false);
	return herd_answer(s, "down.start", "%s",
			   o->pg.in_recovery ? "starting as a secondary"
			   : o->pg.fresh     ? "starting the new primary"
					     : "starting primary after failure");
}

/* How long a restart may take with primary_start_timeout = 0. */
enum { RESTART_MS = 300000 };

/* A server that starts: wait, but a leader not for ever. */
bool herd_rule_starting(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;

	if (o->pg.run != HERD_RUN_STARTING && o->task.running != HERD_TASK_START)
		return false;
	if (s->key_mine) {
		int64_t limit = s->cfg->primary_start_timeout_ms;

		/* No time at all is meant for what fell, not for what people restart. */
		if (o->task.running == HERD_TASK_RESTART && limit == 0)
			limit = RESTART_MS;
		if (c->crash_ms == 0)
			c->crash_ms = o->now_ms;
		if (o->now_ms - c->crash_ms >= limit && !s->paused &&
		    o->task.running != HERD_TASK_STOP) {
			if (herd_poll(s, HERD_POLL_RESCUE, NULL))
				return s->p->rule = "starting.poll", true;
			bool rescuer = herd_rescuer_answered(s);

			c->poll_use = HERD_POLL_NONE;
			c->poll_next_ms = o->now_ms + 1000;
			if (rescuer) {
				herd_stop(s, HERD_STOP_IMMEDIATE);
				return herd_answer(s, "starting.late",
						   "demoting self because postgres did not start "
						   "within primary_start_timeout");
			}
		}
		return herd_answer_regular(s, "starting.leader",
					   "updated leader lock during start");
	}
	return herd_answer_regular(s, "starting", "start in progress");
}

/*
 * Was the key won by a decision that still holds? A take whose reply was lost can succeed long
 * after its reasons: another leader may have come and gone, and /sync may name others.
 */
static bool entitled(const struct herd_step *s)
{
	const struct herd_core *c = s->c;
	const struct herd_cluster *cl = s->cl;
	bool same = c->decided && c->decided_status == cl->status_key.version &&
		    c->decided_history == cl->history_key.version;
	/* Our own write before the promotion, or a change that leaves us in. */
	bool ours = herd_str_ieq(cl->sync.leader, s->o->name);

	/* The cluster was a standby cluster under this very key: nobody else can have led. */
	if (c->standby_version > 0 && c->standby_version == cl->leader_key.version)
		return true;
	if (!same)
		return false;
	return c->decided_sync == cl->sync_key.version || !herd_sync_active(s) || ours ||
	       (cl->sync.quorum == 0 && herd_names_has(&cl->sync.standby, s->o->name));
}

/* The key was passed to us, and the word that we have everything is on its way beside it. */
static bool awaits_word(struct herd_step *s)
{
	const struct herd_handover *h = &s->cl->handover;
	struct herd_core *c = s->c;

	if (!h->id || h->phase != HERD_HANDOVER_SHUTDOWN || !herd_str_eq(h->to, s->o->name)) {
		c->passed_ms = 0;
		return false;
	}
	if (c->passed_ms == 0)
		c->passed_ms = s->o->now_ms;
	herd_step_at(s, s->o->now_ms + 50);
	return s->o->now_ms - c->passed_ms < WORD_MS;
}

/* The setting with which a new primary begins: it has no synchronous standby yet. */
static bool first_ssn(struct herd_step *s)
{
	const char *want = s->o->pg.user_ssn ? s->o->pg.user_ssn : "";

	if (s->cfg->synchronous_mode != HERD_SYNC_OFF)
		want = herd_sync_first(s->cfg);
	if (s->o->pg.ssn && strcmp(s->o->pg.ssn, want) == 0 && !herd_sync_changing(s))
		return false;
	herd_sync_order(s, want);
	return true;
}

/* We hold the key and run as a standby. */
bool herd_rule_promote(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;

	if (!s->holds || o->pg.run != HERD_RUN_RUNNING || !o->pg.in_recovery || s->busy ||
	    s->cfg->standby_cluster)
		return false;
	if (herd_unfenced(o) || (o->task.last == HERD_TASK_PROMOTE && !o->task.last_ok &&
				 o->task.last_ms >= c->promote_ms && c->promote_ms > 0)) {
		c->no_race_before_ms = o->now_ms + s->cfg->ttl_ms;
		c->promote_ms = 0;
		withdraw(s);
		herd_release(s);
		return herd_answer(s, "promote.failed",
				   "released leader key because the promotion failed");
	}
	if (s->promised) {
		herd_release(s);
		return herd_answer(s, "promote.promised",
				   "released leader key because %s leads without DCS",
				   o->failsafe.leader);
	}
	/* It may be promoted already: the last word of a standby is not its state. */
	if (!o->pg.queryable) {
		herd_step_at(s, o->now_ms + 20);
		return herd_answer_regular(s, "promote.look", "updated leader lock");
	}
	bool right = entitled(s) || herd_handed_over(s);

	if (!right && awaits_word(s))
		return herd_answer_regular(s, "promote.word",
					   "waiting for the word of the leader that hands over");
	if (!right) {
		herd_release(s);
		return herd_answer(s, "promote.outdated",
				   "Postponing promotion because synchronous replication state was "
				   "updated by somebody else");
	}
	bool waits = claim_sync(s);

	waits |= first_ssn(s);
	if (waits)
		return herd_answer(s, "promote.prepare",
				   "promoted self to leader by acquiring session lock");
	if (o->now_ms - o->lease.sent_ms >= o->lease.ttl_ms / 2) {
		herd_step_at(s, o->now_ms + 50);
		return herd_answer(s, "promote.lease", "waiting for the lease to be renewed");
	}
	drop_foreign_handover(s);
	herd_slots_warn_unsafe(s);
	herd_plan_add(s, HERD_ACT_PROMOTE, true);
	c->promote_ms = o->now_ms;
	c->promote_optime = s->cl->status.optime;
	return herd_answer(s, "promote", "promoted self to leader by acquiring session lock");
}

/* What people or former leaders left lying and what has been fulfilled. */
void herd_leader_tidy(struct herd_step *s)
{
	const struct herd_cluster *cl = s->cl;
	const struct herd_failover *f = &cl->failover;
	bool fulfilled = herd_str_eq(f->candidate, s->o->name) ||
			 (f->leader && !f->candidate && !herd_str_eq(f->leader, s->o->name));

	if (cl->failover_key.version && !cl->failover_key.bad && fulfilled)
		herd_delete(s, "failover", cl->failover_key.version);
	if (s->c->ho == HERD_HO_NONE && cl->handover_key.version)
		herd_delete(s, "handover", cl->handover_key.version);
}

/* The regular life of a leader. */
bool herd_rule_leader(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;

	if (!s->key_mine)
		return false;
	if (!s->holds) {
		herd_step_at(s, o->now_ms + 200);
		return herd_answer_regular(s, "leader.lease",
					   "waiting for the lease to be renewed");
	}
	if (!o->pg.queryable || o->pg.in_recovery || o->pg.run != HERD_RUN_RUNNING)
		return herd_answer_regular(s, "leader.unknown", "updated leader lock");
	c->decided = false;
	herd_leader_tidy(s);
	if (herd_publish_documents(s))
		return herd_answer(s, "leader.documents", "published the cluster's documents");
	herd_publish_status(s);
	if (herd_sync_step(s))
		return herd_answer(s, "leader.sync", "updated the synchronous standbys");
	herd_slots_step(s);
	if (o->want_restart && !s->busy) {
		herd_plan_add(s, HERD_ACT_RESTART, true);
		herd_plan_add(s, HERD_ACT_DONE_RESTART, false);
		return herd_answer(s, "leader.restart", "restarting the primary");
	}
	/* Replicas rewind only from a leader whose control file knows its timeline. */
	if (o->pg.checkpoint_tl > 0 && o->pg.checkpoint_tl < o->pg.timeline && !s->busy)
		herd_plan_add(s, HERD_ACT_CHECKPOINT, false);
	return herd_answer_regular(s, "leader", "no action. I am (%s), the leader with the lock",
				   o->name);
}
