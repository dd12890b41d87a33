/*
 * core/step.c - the order of the rules, in one place: the first that answers decides.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/str.h"
#include "core/step.h"

static const struct {
	const char *name;
	bool (*rule)(struct herd_step *s);
} rules[] = {
	/* What keeps two primaries apart comes before everything. */
	{ "expired", herd_rule_expired },
	{ "no-view", herd_rule_no_view },
	{ "release-again", herd_rule_release_again },
	{ "regrant", herd_rule_regrant },
	{ "without-right", herd_rule_without_right },
	/* What people asked for. */
	{ "exit", herd_rule_exit },
	{ "pause", herd_rule_pause },
	{ "unfenced", herd_rule_unfenced },
	{ "handover", herd_rule_handover },
	{ "stalled", herd_rule_stalled },
	/* Work under way. */
	{ "task", herd_rule_task },
	{ "starting", herd_rule_starting },
	/* No usable data. */
	{ "bootstrap", herd_rule_bootstrap },
	{ "reinit", herd_rule_reinit },
	{ "sysid", herd_rule_sysid },
	/* No server. */
	{ "down-leader", herd_rule_down_leader },
	{ "down", herd_rule_down },
	/* A server that runs. */
	{ "race", herd_rule_race },
	{ "promote", herd_rule_promote },
	{ "switchover", herd_rule_switchover },
	{ "standby", herd_rule_standby },
	{ "leader", herd_rule_leader },
	{ "follow", herd_rule_follow },
};

struct herd_core *herd_core_new(uint64_t nonce)
{
	struct herd_core *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->nonce = nonce;
	c->first_ms = -1;
	if (herd_cluster_init(&c->empty, HERD_NO_GROUP, false) < 0) {
		free(c);
		return NULL;
	}
	return c;
}

void herd_core_free(struct herd_core *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_gone; i++)
		free(c->gone[i].name);
	free(c->gone);
	herd_slots_forget(c);
	herd_names_clear(&c->peers);
	herd_names_clear(&c->fs_maybe);
	free(c->ssn_text);
	free(c->ssn_ordered);
	free(c->ho_id);
	free(c->ho_to);
	free(c->member_sent);
	herd_cluster_clear(&c->empty);
	free(c);
}

/* Long work under way: the lock is kept fresh, nothing new begins. */
bool herd_rule_task(struct herd_step *s)
{
	static const char *const words[] = {
		[HERD_TASK_NONE] = "",
		[HERD_TASK_BOOTSTRAP] = "bootstrap",
		[HERD_TASK_CLONE] = "clone",
		[HERD_TASK_REWIND] = "rewind",
		[HERD_TASK_START] = "start",
		[HERD_TASK_STOP] = "stop",
		[HERD_TASK_RESTART] = "restart",
		[HERD_TASK_PROMOTE] = "promote",
		[HERD_TASK_CHECKPOINT] = "checkpoint",
		[HERD_TASK_SLOTS_COPY] = "copying of logical slots",
	};
	enum herd_task t = s->o->task.running;

	/* A checkpoint changes nothing; a start has a rule of its own; a lost bootstrap too. */
	if (t == HERD_TASK_NONE || t == HERD_TASK_CHECKPOINT || t == HERD_TASK_START ||
	    t == HERD_TASK_BOOTSTRAP)
		return false;
	/* The second half of a restart is a start. */
	if (t == HERD_TASK_RESTART && s->o->pg.run == HERD_RUN_STARTING)
		return false;
	if ((t == HERD_TASK_CLONE || t == HERD_TASK_REWIND) && s->key_mine) {
		herd_release(s);
		return herd_answer(s, "task.release", "released leader key during %s", words[t]);
	}
	if (s->o->reinit_force && !s->key_mine && !s->primary &&
	    (t == HERD_TASK_CLONE || t == HERD_TASK_REWIND || t == HERD_TASK_RESTART)) {
		herd_stop(s, HERD_STOP_IMMEDIATE);
		return herd_answer(s, "task.cancel", "reinitialize: cancelling %s", words[t]);
	}
	if (s->holds)
		return herd_answer_regular(s, "task.leader", "updated leader lock during %s",
					   words[t]);
	return herd_answer_regular(s, "task.wait", "%s in progress", words[t]);
}

void herd_start(struct herd_step *s, bool standby, const char *member)
{
	struct herd_action *a;

	assert(standby || s->holds || s->failsafe);
	a = herd_plan_add(s, HERD_ACT_START, true);
	a->standby = standby;
	a->member = member && !herd_str_eq(member, s->o->name) ? herd_plan_text(s->p, "%s", member)
							       : NULL;
}

/* A grant when there is no lease (or its ttl is to change), a renewal when it is due. */
static void keep_lease(struct herd_step *s)
{
	const struct herd_obs_lease *l = &s->o->lease;

	if (l->busy || !s->o->scope)
		return;
	if (!l->id || l->ttl_ms != s->cfg->ttl_ms) {
		struct herd_action *a = herd_plan_add(s, HERD_ACT_LEASE_GRANT, true);

		a->ttl_ms = s->cfg->ttl_ms;
		herd_step_at(s, s->o->now_ms + 1000);
		return;
	}
	if (s->o->now_ms >= s->times.renew_ms)
		herd_plan_add(s, HERD_ACT_LEASE_RENEW, false);
	else
		herd_step_at(s, s->times.renew_ms);
}

static void look(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;

	s->cl = herd_scope_group(o->scope, o->group);
	if (!s->cl)
		s->cl = &c->empty;
	s->cfg = &s->cl->config;
	if ((!s->cl->config_key.version || s->cl->config_key.bad) && o->bootstrap)
		s->cfg = o->bootstrap;
	s->paused = s->cfg->pause;
	s->busy = o->task.running != HERD_TASK_NONE;
	s->primary = (o->pg.run != HERD_RUN_DOWN && !o->pg.in_recovery) ||
		     o->task.running == HERD_TASK_PROMOTE;
	if (c->first_ms < 0)
		c->first_ms = o->now_ms;
	if (o->lease.id)
		s->times =
			herd_lease_times(o->lease.sent_ms, o->lease.ttl_ms, s->cfg->loop_wait_ms);
	if (herd_str_eq(s->cl->leader, o->name)) {
		bool ours = o->lease.id && herd_str_eq(s->cl->leader_key.lease, o->lease.id) &&
			    s->cl->leader_key.version != o->lease.adopted_version;

		s->key_stale = !ours;
		s->key_mine = ours && s->cl->leader_key.version > c->released_version;
	}
	s->holds = s->key_mine && o->now_ms < s->times.fast_ms;
	if (s->key_mine)
		c->held = s->times;
	herd_failsafe_look(s);
	if (o->now_ms < s->right.fast_ms || !s->primary)
		c->hard_stopped = false;
	if (o->pg.run == HERD_RUN_RUNNING)
		c->crash_ms = 0;
	/* A server that starts anew may have other slots, and holds nothing back on the primary. */
	if (o->pg.run != HERD_RUN_RUNNING || !o->pg.in_recovery ||
	    o->task.running == HERD_TASK_SLOTS_COPY)
		herd_slots_forget(c);
	herd_race_watch(s);
}

/* The guard's deadline: whenever the server takes writes, or this plan makes it do so. */
static void set_limits(struct herd_step *s)
{
	struct herd_plan *p = s->p;
	bool opens = false;

	for (size_t i = 0; i < p->n; i++) {
		const struct herd_action *a = &p->act[i];

		opens |= a->act == HERD_ACT_PROMOTE || (a->act == HERD_ACT_START && !a->standby);
	}
	assert(!opens || s->holds || s->failsafe);
	if (opens)
		p->valid_ms = s->right.fast_ms;
	if (s->paused)
		return;
	/* One that was begun and cannot be seen yet: the agent may freeze just now. */
	enum herd_task t = s->o->task.running;
	bool begun = s->primary ||
		     ((t == HERD_TASK_START || t == HERD_TASK_RESTART) && !s->o->pg.in_recovery);

	if (opens || (begun && (s->key_mine || s->failsafe))) {
		p->guard_ms = s->right.guard_ms;
		herd_step_at(s,
			     s->right.fast_ms > s->o->now_ms ? s->right.fast_ms : s->right.hard_ms);
	} else if (begun) {
		/* It is being stopped, or looked at: the agent may freeze before it has done so. */
		p->guard_ms = HERD_GUARD_KEEP;
	}
}

void herd_core_step(struct herd_core *c, const struct herd_obs *obs, struct herd_plan *plan)
{
	struct herd_step s = { .c = c, .o = obs, .p = plan };

	herd_plan_clear(plan);
	look(&s);
	plan->next_ms = obs->now_ms + s.cfg->loop_wait_ms;
	plan->leader = s.holds || s.failsafe;
	plan->leader_until_ms = s.right.expiry_ms;
	plan->open_until_ms = s.right.fast_ms;
	plan->failsafe = s.failsafe || s.promised;
	keep_lease(&s);
	herd_failsafe_ask(&s);
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		if (rules[i].rule(&s))
			break;
	if (s.paused && *plan->why && !herd_str_starts(plan->why, "PAUSE: "))
		plan->why = herd_plan_text(plan, "PAUSE: %s", plan->why);
	herd_publish_member(&s);
	set_limits(&s);
	/* A deadline in the past means "now", but never a loop without a pause. */
	if (plan->next_ms <= obs->now_ms)
		plan->next_ms = obs->now_ms + 10;
	if (plan->failed)
		plan->n = 0;
}
