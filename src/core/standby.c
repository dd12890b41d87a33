/*
 * core/standby.c - standby clusters: the group follows a primary outside, through the holder of the
 * leader key, which stays a standby. Nobody in it takes writes, so the key guards no data here: it
 * only says who streams from outside and whom the others follow.
 */
#include "base/str.h"
#include "core/step.h"

enum {
	FED_MS = 2000,     /* a WAL receiver that lasted so long really streams */
	STARVED_MS = 5000, /* without one: is it our data? */
	ASK_MS = 10000     /* between two such questions */
};

/*
 * No key of ours tells that the primary outside has changed or been replaced. A stream that lasts
 * proves that our data fit; without one it is asked now and then. True: they do not.
 */
bool herd_standby_diverged(struct herd_step *s)
{
	struct herd_core *c = s->c;
	int64_t now = s->o->now_ms;

	if (s->o->pg.streaming) {
		if (c->fed_ms == 0)
			c->fed_ms = now;
		if (now - c->fed_ms >= FED_MS)
			c->starved_ms = 0;
		if (c->starved_ms == 0)
			return false;
	} else {
		c->fed_ms = 0;
	}
	if (c->starved_ms == 0)
		c->starved_ms = now;
	herd_step_at(s, now + FED_MS);
	if (now - c->starved_ms < STARVED_MS)
		return false;
	if (c->verdict == HERD_JUDGE_GOOD && now - c->judged_ms >= ASK_MS)
		c->verdict = HERD_JUDGE_UNKNOWN;
	return !herd_judge_ask(s) && c->verdict == HERD_JUDGE_DIVERGED;
}

/*
 * The section was added while we lead as primary. Everything we have written is to be found by
 * whoever leads outside: through the stream, which the shutdown waits for, or through the archive.
 */
static bool demote(struct herd_step *s)
{
	if (s->busy || s->o->pg.run != HERD_RUN_RUNNING)
		return herd_answer_regular(s, "standby.wait",
					   "waiting to demote the cluster to a standby cluster");
	herd_stop(s, HERD_STOP_FAST);
	s->p->act[s->p->n - 1].archive = true;
	return herd_answer(s, "standby.demote",
			   "demoting self: the cluster becomes a standby cluster");
}

static bool restart(struct herd_step *s)
{
	herd_plan_add(s, HERD_ACT_RESTART, true);
	herd_plan_add(s, HERD_ACT_DONE_RESTART, false);
	return herd_answer(s, "standby.restart", "restarting the standby leader");
}

/* The regular life of a standby leader. */
static bool lead(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;

	c->standby_version = s->cl->leader_key.version;
	c->decided = false;
	herd_leader_tidy(s);
	if (s->cl->sync_key.version) {
		herd_delete(s, "sync", s->cl->sync_key.version);
		return herd_answer(s, "standby.sync",
				   "no synchronous replication in a standby cluster");
	}
	if (herd_publish_documents(s))
		return herd_answer(s, "standby.documents", "published the cluster's documents");
	herd_publish_status(s);
	if (herd_standby_diverged(s) && herd_repairable(s) && !s->busy) {
		herd_stop(s, HERD_STOP_FAST);
		return herd_answer(s, "standby.diverged",
				   "stopping because data has diverged from the remote primary");
	}
	if (!herd_str_eq(o->pg.following, HERD_REMOTE)) {
		herd_plan_add(s, HERD_ACT_FOLLOW, true)->member = HERD_REMOTE;
		return herd_answer(s, "standby.follow",
				   "following the remote primary of the standby cluster");
	}
	if (herd_keep_recovery(s, HERD_REMOTE))
		return true;
	if (o->pg.replay_paused && !s->cfg->pause)
		herd_plan_add(s, HERD_ACT_RESUME, true);
	herd_slots_step(s);
	if (o->want_restart && !s->busy)
		return restart(s);
	return herd_answer_regular(s, "standby",
				   "%sno action. I am (%s), the standby leader with the lock",
				   s->paused ? "PAUSE: " : "", o->name);
}

bool herd_rule_standby(struct herd_step *s)
{
	const struct herd_obs *o = s->o;

	if (!s->cfg->standby_cluster || !s->key_mine || o->pg.data != HERD_DATA_VALID)
		return false;
	if (!o->pg.in_recovery)
		return o->pg.run == HERD_RUN_DOWN ? false : demote(s);
	if (o->pg.run != HERD_RUN_RUNNING)
		return false;
	if (!s->holds) {
		herd_step_at(s, o->now_ms + 200);
		return herd_answer_regular(s, "standby.lease",
					   "waiting for the lease to be renewed");
	}
	if (!o->pg.queryable || s->busy)
		return herd_answer_regular(s, "standby.unknown", "updated leader lock");
	return lead(s);
}
