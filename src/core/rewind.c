/*
 * core/rewind.c - following another leader: whom, and whether our data still fits on its line.
 *
 * Data fits when it holds nothing that the leader's timeline does not. Once per reign (version of
 * the leader key) the leader's server is asked for its timeline history and compared.
 */
#include <string.h>

#include "base/str.h"
#include "core/step.h"

/* The place where the leader's history leaves our timeline; false: it never was on it. */
static bool fork_point(const struct herd_obs_probe *p, int64_t timeline, uint64_t *ret)
{
	for (size_t i = 0; p->history && i < p->history->n; i++) {
		if (p->history->line[i].timeline == timeline) {
			*ret = p->history->line[i].lsn;
			return true;
		}
	}
	return false;
}

/*
 * Two servers that were promoted apart may both call their timeline 2. Their histories then tell of
 * different places where it began.
 */
static bool same_past(const struct herd_history *ours, const struct herd_history *theirs,
		      int64_t tl)
{
	uint64_t fork;

	for (size_t i = 0; ours && i < ours->n; i++) {
		const struct herd_history_line *l = &ours->line[i];
		struct herd_obs_probe p = { .history = theirs };

		if (l->timeline < tl && (!fork_point(&p, l->timeline, &fork) || fork != l->lsn))
			return false;
	}
	return true;
}

/* The verdict on our data, given the leader's answer. UNKNOWN: cannot be said yet. */
static enum herd_verdict judge(const struct herd_step *s)
{
	const struct herd_obs_pg *pg = &s->o->pg;
	const struct herd_obs_probe *p = &s->o->probe;
	bool was_primary = !pg->in_recovery;
	int64_t tl = was_primary && pg->run == HERD_RUN_DOWN ? pg->checkpoint_tl : pg->timeline;
	uint64_t lsn = herd_obs_lsn(s->o), fork;

	if (!p->ok || p->in_recovery || p->timeline == 0 || tl == 0)
		return HERD_JUDGE_UNKNOWN;
	if (p->sysid != 0 && pg->sysid != 0 && p->sysid != pg->sysid)
		return HERD_JUDGE_UNKNOWN;
	if (tl > p->timeline || !same_past(pg->history, p->history, tl))
		return HERD_JUDGE_DIVERGED;
	/* A standby cluster may follow what has followed it: the timeline goes on. */
	if (tl == p->timeline)
		return was_primary && !s->cfg->standby_cluster ? HERD_JUDGE_DIVERGED
							       : HERD_JUDGE_GOOD;
	if (!fork_point(p, tl, &fork))
		return HERD_JUDGE_DIVERGED;
	/* Shut down as a primary and made a standby since, or known by its last checkpoint only. */
	if (!was_primary && pg->run == HERD_RUN_DOWN && pg->checkpoint_tl == tl &&
	    pg->checkpoint_lsn >= fork)
		return HERD_JUDGE_DIVERGED;
	if (!was_primary)
		return lsn > fork ? HERD_JUDGE_DIVERGED : HERD_JUDGE_GOOD;
	/*
	 * A primary that was shut down ends with its checkpoint record. The leader has all of it
	 * exactly when it left the timeline behind the record's start. After a crash the end is not
	 * known here; pg_rewind finds out.
	 */
	if (pg->control == HERD_CONTROL_SHUT_DOWN)
		return pg->checkpoint_lsn >= fork ? HERD_JUDGE_DIVERGED : HERD_JUDGE_GOOD;
	return HERD_JUDGE_DIVERGED;
}

/* Whose word counts: the leader's, in a standby cluster that of the primary outside; or nobody's.
 */
static const char *arbiter(const struct herd_step *s)
{
	if (s->cfg->standby_cluster)
		return s->cfg->standby_host ? HERD_REMOTE : NULL;
	return s->cl->leader;
}

/* A new reign, or another arbiter: what was found out before does not count. */
static void begin_judging(struct herd_step *s)
{
	struct herd_core *c = s->c;

	if (c->judged_version == s->cl->leader_key.version &&
	    c->judged_remote == s->cfg->standby_cluster)
		return;
	c->judged_version = s->cl->leader_key.version;
	c->judged_remote = s->cfg->standby_cluster;
	c->verdict = HERD_JUDGE_UNKNOWN;
	c->probe_id = 0;
	c->probe_failed = false;
	c->down_wait_ms = 0;
	c->rewound = false;
}

void herd_judge_forget(struct herd_step *s)
{
	s->c->judged_version = 0;
	s->c->verdict = HERD_JUDGE_UNKNOWN;
	s->c->rewound = false;
}

bool herd_judge_ask(struct herd_step *s)
{
	struct herd_core *c = s->c;
	int64_t now = s->o->now_ms;
	const char *whom = arbiter(s);

	begin_judging(s);
	if (!whom)
		c->verdict = HERD_JUDGE_GOOD;
	if (c->verdict != HERD_JUDGE_UNKNOWN)
		return false;
	if (c->probe_id && s->o->probe.id == c->probe_id) {
		c->verdict = judge(s);
		c->judged_ms = now;
		c->probe_failed = !s->o->probe.ok;
		c->probe_id = 0;
		if (c->verdict != HERD_JUDGE_UNKNOWN)
			return false;
	}
	/* The one outside may be away for long. */
	int64_t again = !c->probe_failed ? 200 : s->cfg->standby_cluster ? 5000 : 2000;
	int64_t pause = c->probe_id ? 4000 : again;

	if (now - c->probe_sent_ms < pause) {
		herd_step_at(s, c->probe_sent_ms + pause);
		return true;
	}
	struct herd_action *a = herd_plan_add(s, HERD_ACT_PROBE, false);

	c->probe_id = ++c->last_id;
	c->probe_sent_ms = now;
	a->id = c->probe_id;
	a->member = herd_plan_text(s->p, "%s", whom);
	return true;
}

/* Does following from (transitively) lead back to us? */
static bool follows_us(const struct herd_step *s, const struct herd_member *from)
{
	for (size_t hops = 0; from && from->tags.replicatefrom; hops++) {
		const char *next = from->tags.replicatefrom;

		if (herd_str_eq(next, s->o->name) || hops > s->cl->n_members)
			return true;
		if (herd_str_eq(from->name, s->cl->leader))
			return false;
		from = herd_cluster_member(s->cl, next);
	}
	return false;
}

/*
 * Whom to stream from: the leader, or the running member that our tag names; the leader of a
 * standby cluster, and everybody while it has none, from outside. NULL: from nobody (nostream).
 */
static const char *upstream(const struct herd_step *s)
{
	const char *want = s->o->self->tags.replicatefrom;
	const struct herd_member *m = herd_cluster_member(s->cl, want);

	if (s->cfg->standby_cluster && (!s->cl->leader || s->key_mine || s->key_stale))
		return HERD_REMOTE;
	if (s->o->self->tags.nostream)
		return NULL;
	if (m && m->state == HERD_STATE_RUNNING && !herd_str_eq(want, s->o->name) &&
	    !follows_us(s, m))
		return m->name;
	return s->cl->leader;
}

bool herd_repairable(const struct herd_step *s)
{
	return s->o->rewind_possible || s->o->reclone_diverged || s->o->reclone_aside;
}

/* The server from which a rewind is made is not there yet, or not fit for it. */
static bool wait_for_source(struct herd_step *s)
{
	const struct herd_member *leader = herd_cluster_leader(s->cl);

	if (s->cfg->standby_cluster)
		return false;
	if (leader && leader->checkpoint_after_promote != 0 && leader->role == HERD_ROLE_PRIMARY)
		return false;
	herd_step_at(s, s->o->now_ms + 500);
	return herd_answer_regular(s, "rewind.wait", "Waiting for checkpoint on %s before rewind",
				   s->cl->leader);
}

/* The source said "not now": it is asked again, and its word on our data may change too. */
static bool try_again(struct herd_step *s)
{
	struct herd_core *c = s->c;

	if (s->o->now_ms - s->o->task.last_ms < 5000) {
		herd_step_at(s, s->o->task.last_ms + 5000);
		return herd_answer_regular(s, "rewind.again",
					   "waiting for the source of pg_rewind to be ready");
	}
	c->rewound = false;
	c->verdict = HERD_JUDGE_UNKNOWN;
	c->down_wait_ms = 0;
	return herd_answer(s, "rewind.again", "asking again whether data has diverged");
}

static void warn_of_divergence(struct herd_step *s)
{
	herd_warn(s, "data has diverged from the leader and can be neither rewound nor replaced; "
		     "reinitialize this member");
}

/* The data directory gives way to a copy. */
static bool replace(struct herd_step *s, const char *source)
{
	struct herd_action *a;

	herd_judge_forget(s);
	if (!s->o->reclone_diverged) {
		herd_plan_add(s, HERD_ACT_WIPE, true)->value = "diverged";
		return herd_answer(
			s, "rewind.aside",
			"putting the data directory aside because data has diverged from "
			"the leader and cannot be rewound");
	}
	a = herd_plan_add(s, HERD_ACT_CLONE, true);
	a->member = herd_plan_text(s->p, "%s", source);
	return herd_answer(s, "rewind.reclone",
			   "reinitializing because data has diverged from the leader");
}

/* Our data has left the line: rewind it, or copy it anew. The server is down. */
static bool repair(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;
	const char *source = s->cfg->standby_cluster ? HERD_REMOTE : s->cl->leader;
	bool over = o->task.last == HERD_TASK_REWIND && c->rewound;

	if (over && o->task.last_ok) {
		c->rewound = false;
		c->verdict = HERD_JUDGE_GOOD;
		return false;
	}
	if (over && o->task.last_again)
		return try_again(s);
	if (o->rewind_possible && !over && !o->pg.torn) {
		if (wait_for_source(s))
			return true;
		c->rewound = true;
		herd_plan_add(s, HERD_ACT_REWIND, true)->member =
			herd_plan_text(s->p, "%s", source);
		return herd_answer(s, "rewind", "running pg_rewind from %s",
				   s->cfg->standby_cluster ? "the remote primary" : source);
	}
	if (o->reclone_diverged || o->reclone_aside)
		return replace(s, source);
	warn_of_divergence(s);
	c->verdict = HERD_JUDGE_GOOD;
	c->rewound = false;
	return false;
}

static bool start_standby(struct herd_step *s, const char *member)
{
	struct herd_core *c = s->c;
	int failures = s->o->task.last == HERD_TASK_START ? s->o->task.failures : 0;

	if (s->o->now_ms < c->retry_ms) {
		herd_step_at(s, c->retry_ms);
		return herd_answer_regular(s, "down.retry", "waiting before the next start");
	}
	c->retry_ms = s->o->now_ms + 500 + 1000 * (failures < 10 ? failures : 10);
	herd_start(s, true, member);
	if (s->o->want_restart)
		herd_plan_add(s, HERD_ACT_DONE_RESTART, false);
	return herd_answer(s, "down.standby", "starting as a secondary");
}

/* The server is down and is to follow: judged first, where that is needed. */
static bool come_up(struct herd_step *s, const char *target)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;
	bool waited = c->down_wait_ms > 0 && o->now_ms - c->down_wait_ms >= 10000;

	begin_judging(s);
	/* Half of the one and half of the other: it may even start, and be wrong. */
	if (o->pg.torn) {
		c->verdict = HERD_JUDGE_DIVERGED;
		if (repair(s))
			return true;
	}
	/* A standby whose place is known, and which starts, is judged when it runs. */
	bool plain = o->pg.in_recovery && o->pg.control != HERD_CONTROL_SHUT_DOWN &&
		     !(o->task.last == HERD_TASK_START && o->task.failures >= 3) &&
		     c->verdict != HERD_JUDGE_DIVERGED;

	if (!plain && !waited && herd_judge_ask(s)) {
		if (c->down_wait_ms == 0)
			c->down_wait_ms = o->now_ms;
		s->p->rule = "down.judge";
		return true;
	}
	if (!plain && c->verdict == HERD_JUDGE_DIVERGED && repair(s))
		return true;
	return start_standby(s, target);
}

/* No server, and the key is not ours. */
bool herd_rule_down(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;

	if (o->pg.run != HERD_RUN_DOWN || s->busy || s->key_mine)
		return false;
	if (!s->cl->leader || s->key_stale) {
		/* Somebody is about to take what we gave up. */
		if (c->released_ms > 0 && o->now_ms - c->released_ms < 2000) {
			herd_step_at(s, c->released_ms + 2000);
			return herd_answer_regular(s, "down.released",
						   "waiting for the new leader");
		}
		if (o->pg.torn)
			return herd_answer_regular(s, "down.torn",
						   "waiting for a leader to replace what pg_rewind "
						   "left half done");
		return start_standby(s, s->cfg->standby_cluster ? HERD_REMOTE : NULL);
	}
	return come_up(s, upstream(s));
}

bool herd_standby_down(struct herd_step *s)
{
	const struct herd_obs *o = s->o;

	if (o->pg.in_recovery && o->task.last == HERD_TASK_START && !o->task.last_ok &&
	    o->task.failures >= 3 && s->cl->n_members > 1) {
		herd_release(s);
		return herd_answer(s, "down.standby-failed",
				   "released leader key because postgres cannot be started");
	}
	if (come_up(s, HERD_REMOTE) && s->p->rule && strcmp(s->p->rule, "down.standby") == 0)
		return herd_answer(s, "standby.start",
				   "starting as a standby leader because i had the session lock");
	return true;
}

/*
 * What the server goes by is what we would write: somebody may have changed it (ALTER SYSTEM), or
 * logical slots ask for hot_standby_feedback. A server that does not take it is not asked all the
 * time.
 */
bool herd_keep_recovery(struct herd_step *s, const char *target)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;
	bool feedback = o->pg.feedback != herd_slots_need_feedback(s->cl, o->name, &o->self->tags);
	bool differs = o->pg.recovery_differs &&
		       (c->recovery_ms == 0 || o->now_ms - c->recovery_ms >= s->cfg->loop_wait_ms);

	if (!feedback && !differs)
		return false;
	if (differs)
		c->recovery_ms = o->now_ms;
	if (differs && o->pg.recovery_restart && !s->paused) {
		herd_plan_add(s, HERD_ACT_RESTART, true);
		return herd_answer(s, "follow.restart-settings",
				   "restarting for settings of recovery that have changed");
	}
	herd_plan_add(s, HERD_ACT_FOLLOW, true)->member =
		target ? herd_plan_text(s->p, "%s", target) : NULL;
	return herd_answer_regular(s, "follow.settings",
				   "no action. I am (%s), a secondary, and following a %sleader "
				   "(%s)",
				   o->name, s->cfg->standby_cluster ? "standby " : "",
				   s->cl->leader);
}

/* Said once for each new leader: people look for it in the log of the one that did not win. */
static const char *why_not_me(struct herd_step *s)
{
	const struct herd_member *m = herd_cluster_leader(s->cl);
	int mine = herd_tags_failover_priority(&s->o->self->tags);
	int theirs = m ? herd_tags_failover_priority(&m->tags) : mine;

	if (mine <= 0)
		return "following a different leader because I am not allowed to promote";
	if (theirs <= mine)
		return "following new leader after its promotion";
	return herd_plan_text(s->p,
			      "following a different leader because %s has equally tolerable WAL "
			      "position and priority %d, while this node has priority %d",
			      m->name, theirs, mine);
}

/* A standby that runs while another leads. */
bool herd_rule_follow(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const char *target = upstream(s);

	if (!s->cl->leader || o->pg.run != HERD_RUN_RUNNING || !o->pg.queryable || s->busy)
		return herd_answer_regular(s, "follow.wait", "no action. I am (%s), waiting",
					   o->name);
	bool off = s->cfg->standby_cluster
			   ? herd_standby_diverged(s)
			   : !herd_judge_ask(s) && s->c->verdict == HERD_JUDGE_DIVERGED;

	if (off && s->paused)
		herd_warn(s, "data has diverged from the leader: nothing is done about it while "
			     "paused");
	if (off && !s->paused && herd_repairable(s)) {
		herd_stop(s, HERD_STOP_FAST);
		return herd_answer(s, "follow.diverged",
				   "stopping because data has diverged from the leader");
	}
	if (off)
		warn_of_divergence(s);
	if (!herd_str_eq(o->pg.following, target)) {
		herd_plan_add(s, HERD_ACT_FOLLOW, true)->member =
			target ? herd_plan_text(s->p, "%s", target) : NULL;
		return herd_answer(s, "follow.new", "%s", why_not_me(s));
	}
	if (herd_keep_recovery(s, target))
		return true;
	if (o->pg.replay_paused && !s->paused)
		herd_plan_add(s, HERD_ACT_RESUME, true);
	herd_slots_step(s);
	if (o->want_restart) {
		herd_plan_add(s, HERD_ACT_RESTART, true);
		herd_plan_add(s, HERD_ACT_DONE_RESTART, false);
		return herd_answer(s, "follow.restart", "restarting");
	}
	if (!s->paused && herd_slots_judge(s))
		return true;
	return herd_answer_regular(
		s, "follow", "no action. I am (%s), a secondary, and following a %sleader (%s)",
		o->name, s->cfg->standby_cluster ? "standby " : "", s->cl->leader);
}
