/*
 * core/switchover.c - the planned change of leader, as the leader that goes sees it, and the
 * agent's own end.
 *
 * POLL: which candidate? CHECKPOINT: while serving, so that the shutdown is short. PREPARE: proxies
 * hold new work, running work gets its time (handover.acks, handover.transactions; skipped when no
 * proxy is registered). STOP: fast shutdown. CONFIRM: the candidate has the shutdown checkpoint, so
 * it has every byte. Then DONE is written and the key released: the candidate needs no election.
 * Until the release everything can be taken back: the server is started again as primary.
 */
#include <stdlib.h>

#include "base/str.h"
#include "core/step.h"
#include "model/lsn.h"

/* How long proxies may hold at most, beyond the waiting that is configured. */
enum { HOLD_MS = 30000 };
/* How long a fast shutdown may take before it is taken back. */
enum { STOP_MS = 60000 };
/* How long a candidate has to confirm the last bytes. */
enum { CONFIRM_MS = 5000 };
/* How long a candidate may take to connect again (a standby tries every 5 s). */
enum { STREAM_MS = 8000, EXIT_STREAM_MS = 2000 };
/* How long one that refuses connections is asked again. */
enum { SILENT_MS = 1000 };

/* The agent's own end, and no request of people, is behind it. */
static bool for_exit(const struct herd_step *s)
{
	return s->c->ho_failover < 0;
}

static const char *what(const struct herd_step *s)
{
	return for_exit(s) ? "shutdown" : "manual failover";
}

int64_t herd_stop_limit(const struct herd_step *s)
{
	return herd_sync_active(s) ? s->cfg->primary_stop_timeout_ms : 0;
}

/* It had its time. */
static void kill_server(struct herd_step *s)
{
	s->c->stop_killed = true;
	herd_stop(s, HERD_STOP_IMMEDIATE);
}

static void phase(struct herd_step *s, enum herd_ho ho)
{
	s->c->ho = ho;
	s->c->ho_ms = s->o->now_ms;
}

static void drop_request(struct herd_step *s)
{
	if (s->cl->failover_key.version && s->cl->failover_key.version == s->c->ho_failover)
		herd_delete(s, "failover", s->cl->failover_key.version);
}

static struct herd_action *announce(struct herd_step *s, enum herd_handover_phase p)
{
	const struct herd_core *c = s->c;
	struct herd_handover h = {
		.id = c->ho_id,
		.from = (char *)s->o->name,
		.to = c->ho_to,
		.phase = p,
		.deadline_ms = s->o->wall_ms + HOLD_MS + s->cfg->handover_acks_ms +
			       s->cfg->handover_transactions_ms,
	};

	/*
	 * Each word replaces the one that we have read: a request that was held up on its way must
	 * not bring a handover back that the next leader has long ended.
	 */
	return herd_put(s, "handover", herd_plan_keep(s->p, herd_handover_print(&h)),
			s->cl->handover_key.version);
}

/* Takes everything back. The document says so; a server that was stopped is started elsewhere. */
static bool abort_handover(struct herd_step *s, const char *why)
{
	struct herd_core *c = s->c;

	if (c->ho >= HERD_HO_PREPARE)
		announce(s, HERD_HANDOVER_ABORTED);
	drop_request(s);
	/* Its shutdown waits for standbys that do not listen; the sooner it is back, the better. */
	if (c->ho >= HERD_HO_STOP && s->o->pg.run == HERD_RUN_STOPPING && !s->o->want_exit)
		herd_stop(s, HERD_STOP_IMMEDIATE);
	phase(s, HERD_HO_NONE);
	c->poll_use = HERD_POLL_NONE;
	herd_step_at(s, s->o->now_ms + (s->o->want_exit ? 10 : 100));
	return herd_answer(s, "handover.abort", "%s: %s", what(s), why);
}

/* May this member take over by rule? Its state is asked for later. */
static bool allowed(const struct herd_step *s, const struct herd_member *m)
{
	const struct herd_failover *f = &s->cl->failover;

	if (herd_str_eq(m->name, s->o->name) || herd_tags_failover_priority(&m->tags) <= 0)
		return false;
	/* The handover ends only with one that has every byte, synchronous or not. */
	if (for_exit(s))
		return true;
	if (f->candidate && !herd_str_eq(f->candidate, m->name))
		return false;
	if (!herd_sync_active(s) || (f->candidate && !f->leader))
		return true;
	return herd_names_has(&s->cl->sync.standby, m->name);
}

static bool anybody_allowed(const struct herd_step *s)
{
	for (size_t i = 0; i < s->cl->n_members; i++)
		if (allowed(s, &s->cl->members[i]))
			return true;
	return false;
}

/* All of them will have everything, so what people prefer comes first. */
static bool better(const struct herd_step *s, const struct herd_obs_answer *a,
		   const struct herd_obs_answer *b)
{
	const struct herd_member *x = herd_cluster_member(s->cl, a->name);
	const struct herd_member *y = herd_cluster_member(s->cl, b->name);
	bool sx = herd_names_has(&s->cl->sync.standby, a->name);
	bool sy = herd_names_has(&s->cl->sync.standby, b->name);
	int px = herd_tags_failover_priority(&x->tags), py = herd_tags_failover_priority(&y->tags);

	if (herd_sync_active(s) && sx != sy)
		return sx;
	return px != py ? px > py : a->lsn > b->lsn;
}

/*
 * One that has not turned to our timeline yet does so when it connects, which is waited for. What
 * streams from another standby must be there.
 */
static bool off_timeline(const struct herd_step *s, const struct herd_member *m,
			 const struct herd_obs_answer *a)
{
	int64_t tl = s->o->pg.timeline;

	if (a->timeline == 0 || tl == 0)
		return false;
	return m->tags.replicatefrom || s->cfg->check_timeline || s->o->pg.in_recovery
		       ? a->timeline != tl
		       : a->timeline > tl;
}

/* The best of those who answered, or NULL. */
static const char *choose(const struct herd_step *s)
{
	const struct herd_obs_answer *best = NULL;

	for (size_t i = 0; i < s->o->poll.n; i++) {
		const struct herd_obs_answer *a = &s->o->poll.answers[i];
		const struct herd_member *m = herd_cluster_member(s->cl, a->name);

		if (!m || !allowed(s, m) || !a->reachable || !a->running || !a->in_recovery ||
		    a->nofailover || a->watchdog_failed || off_timeline(s, m, a) ||
		    herd_lsn_lag(herd_obs_lsn(s->o), a->lsn) >
			    (uint64_t)s->cfg->maximum_lag_on_failover)
			continue;
		if (!best || better(s, a, best))
			best = a;
	}
	return best ? best->name : NULL;
}

static bool refuse(struct herd_step *s, const char *why)
{
	if (s->c->ho != HERD_HO_NONE && for_exit(s))
		return abort_handover(s, why);
	s->c->ho_failover = s->cl->failover_key.version;
	drop_request(s);
	phase(s, HERD_HO_NONE);
	s->c->poll_use = HERD_POLL_NONE;
	herd_warn(s, "manual failover: %s", why);
	return herd_answer(s, "switchover.refuse", "manual failover: %s", why);
}

/* A scheduled one: false while its time has not come, or it was dropped (answered). */
static bool due(struct herd_step *s, bool *answered)
{
	const struct herd_failover *f = &s->cl->failover;
	int64_t delta = f->scheduled_ms - s->o->wall_ms;

	*answered = false;
	if (f->scheduled_ms == 0)
		return true;
	if (s->paused)
		return false;
	if (delta > 0) {
		herd_step_at(s, s->o->now_ms + delta);
		return false;
	}
	if (-delta > s->cfg->loop_wait_ms * 3 / 2) {
		*answered = refuse(s, "Found a stale failover value, cleaning up");
		return false;
	}
	return true;
}

/* The leader looks at /failover and begins. */
bool herd_rule_switchover(struct herd_step *s)
{
	const struct herd_failover *f = &s->cl->failover;
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;
	bool answered;

	if (!s->holds || o->pg.run != HERD_RUN_RUNNING || !o->pg.queryable ||
	    o->pg.in_recovery != s->cfg->standby_cluster || c->ho != HERD_HO_NONE)
		return false;
	if (s->cl->failover_key.bad)
		return refuse(s, "the failover document cannot be read");
	if (herd_failover_empty(f))
		return false;
	if (!due(s, &answered))
		return answered;
	if (herd_str_eq(f->candidate, o->name)) {
		if (f->leader && !herd_str_eq(f->leader, o->name))
			return false;
		return refuse(s, "I am already the leader, no need to failover");
	}
	if (f->leader && !herd_str_eq(f->leader, o->name)) {
		/* To anybody but the former leader: fulfilled, and cleared like ours above. */
		if (!f->candidate)
			return false;
		return refuse(s, "leader name does not match");
	}
	if (!anybody_allowed(s))
		return refuse(s, "no healthy members found, failover is not possible");
	c->ho_failover = s->cl->failover_key.version;
	c->poll_use = HERD_POLL_NONE;
	c->poll_next_ms = 0;
	phase(s, HERD_HO_POLL);
	herd_poll(s, HERD_POLL_HANDOVER, NULL);
	return herd_answer(s, "switchover.poll", "manual failover: asking the candidates");
}

/* A standby leader has nothing to finish: the key alone moves. */
static bool pass_on(struct herd_step *s)
{
	announce(s, HERD_HANDOVER_DONE)->wait = false;
	herd_release(s);
	phase(s, HERD_HO_RELEASED);
	return herd_answer(s, "switchover.pass-on", "manual failover: demoted myself, %s leads",
			   s->c->ho_to);
}

static bool on_poll(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const char *to;

	if (s->o->task.running != HERD_TASK_NONE && s->o->task.running != HERD_TASK_CHECKPOINT)
		return abort_handover(s, "another task has begun");
	if (herd_poll(s, HERD_POLL_HANDOVER, NULL)) {
		if (s->o->now_ms - c->ho_ms > CONFIRM_MS)
			return refuse(s, "no healthy members found, failover is not possible");
		return herd_answer(s, "switchover.poll", "%s: asking the candidates", what(s));
	}
	to = choose(s);
	c->poll_use = HERD_POLL_NONE;
	if (!to)
		return refuse(s, "no healthy members found, failover is not possible");
	free(c->ho_id);
	c->ho_id = herd_str_printf("%s-%llx-%lld", s->o->name, (unsigned long long)c->nonce,
				   (long long)++c->last_id);
	if (!c->ho_id || !herd_str_set(&c->ho_to, to)) {
		s->p->failed = true;
		return true;
	}
	c->ho_asked = false;
	if (s->cfg->standby_cluster)
		return pass_on(s);
	c->ho_checkpointing = !s->busy;
	if (!s->busy)
		herd_plan_add(s, HERD_ACT_CHECKPOINT, false);
	phase(s, HERD_HO_CHECKPOINT);
	herd_step_at(s, s->o->now_ms + 1000);
	return herd_answer(s, "switchover.checkpoint", "%s: checkpoint before demotion", what(s));
}

static bool begin_stop(struct herd_step *s)
{
	const struct herd_member *m = herd_cluster_member(s->cl, s->c->ho_to);

	/* Nothing has been lost yet when it died meanwhile. */
	if (!m || m->state != HERD_STATE_RUNNING)
		return abort_handover(s, "the candidate has gone");
	announce(s, HERD_HANDOVER_SHUTDOWN);
	s->c->stop_killed = false;
	herd_stop(s, HERD_STOP_FAST);
	phase(s, HERD_HO_STOP);
	return herd_answer(s, "switchover.stop", "%s: demoting myself", what(s));
}

/* The candidate is connected, or gets its WAL through another standby. */
static bool streams(const struct herd_step *s)
{
	const struct herd_member *m = herd_cluster_member(s->cl, s->c->ho_to);

	if (!m || m->tags.replicatefrom || s->o->pg.in_recovery)
		return true;
	for (size_t i = 0; i < s->o->pg.n_senders; i++)
		if (s->o->pg.senders[i].streaming &&
		    herd_str_ieq(s->o->pg.senders[i].application_name, m->name))
			return true;
	return false;
}

static bool on_checkpoint(struct herd_step *s)
{
	/* The step that follows the action may come before the task shows. */
	if (s->o->task.running == HERD_TASK_CHECKPOINT ||
	    (s->c->ho_checkpointing && s->o->now_ms - s->c->ho_ms < 1000 &&
	     !(s->o->task.last == HERD_TASK_CHECKPOINT && s->o->task.last_ms >= s->c->ho_ms)))
		return herd_answer_regular(s, "switchover.checkpoint",
					   "%s: checkpoint before demotion", what(s));
	if (s->busy)
		return abort_handover(s, "another task has begun");
	if (!streams(s)) {
		if (s->o->now_ms - s->c->ho_ms > (s->o->want_exit ? EXIT_STREAM_MS : STREAM_MS))
			return abort_handover(s, "the candidate does not receive WAL from me");
		herd_step_at(s, s->o->now_ms + 100);
		return herd_answer_regular(s, "switchover.stream",
					   "%s: waiting for %s to stream from me", what(s),
					   s->c->ho_to);
	}
	if (s->o->scope->n_proxies == 0)
		return begin_stop(s);
	announce(s, HERD_HANDOVER_PREPARE);
	phase(s, HERD_HO_PREPARE);
	return herd_answer(s, "switchover.prepare", "%s: asking proxies to hold", what(s));
}

static bool all_acked(struct herd_step *s)
{
	const struct herd_scope *scope = s->o->scope;
	const char *group =
		s->o->group == HERD_NO_GROUP ? "" : herd_plan_text(s->p, "%d", s->o->group);

	for (size_t i = 0; i < scope->n_proxies; i++)
		if (!herd_str_eq(herd_proxy_ack(&scope->proxies[i], group), s->c->ho_id))
			return false;
	return true;
}

static bool on_prepare(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;
	int64_t waited;

	if (s->busy)
		return abort_handover(s, "another task has begun");
	if (!c->ho_asked) {
		if (herd_str_eq(s->cl->handover.id, c->ho_id)) {
			c->ho_asked = true;
			c->ho_ms = o->now_ms;
		} else if (o->now_ms - c->ho_ms > CONFIRM_MS) {
			return abort_handover(s, "the handover could not be announced");
		}
	}
	waited = o->now_ms - c->ho_ms;
	bool acked = c->ho_asked && (all_acked(s) || waited >= s->cfg->handover_acks_ms);
	bool idle = o->pg.transactions == 0 ||
		    waited >= s->cfg->handover_acks_ms + s->cfg->handover_transactions_ms;

	if (acked && idle)
		return begin_stop(s);
	herd_step_at(s, o->now_ms + 20);
	return herd_answer_regular(s, "switchover.wait", "%s: waiting for running transactions",
				   what(s));
}

/*
 * primary_stop_timeout: the shutdown took too long and was cut short. Synchronous standbys have
 * every commit, one of them goes on.
 */
static bool released_after_kill(struct herd_step *s)
{
	announce(s, HERD_HANDOVER_ABORTED);
	herd_release(s);
	phase(s, HERD_HO_RELEASED);
	s->c->poll_use = HERD_POLL_NONE;
	return herd_answer(s, "switchover.killed",
			   "%s: released leader key, postgres did not stop within "
			   "primary_stop_timeout",
			   what(s));
}

static bool on_stop(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;

	if (o->pg.control == HERD_CONTROL_SHUT_DOWN && o->pg.run != HERD_RUN_RUNNING) {
		phase(s, HERD_HO_CONFIRM);
		c->poll_use = HERD_POLL_NONE;
		c->poll_next_ms = 0;
		herd_poll(s, HERD_POLL_HANDOVER, c->ho_to);
		return herd_answer(s, "switchover.confirm",
				   "%s: waiting for %s to receive the shutdown "
				   "checkpoint",
				   what(s), c->ho_to);
	}
	if (o->pg.run == HERD_RUN_DOWN && !s->busy && c->stop_killed && herd_stop_limit(s) > 0)
		return released_after_kill(s);
	if (o->pg.run == HERD_RUN_DOWN && !s->busy)
		return abort_handover(s, "postgres did not shut down cleanly");
	if (o->pg.run == HERD_RUN_RUNNING && !s->busy && o->now_ms - c->ho_ms > 1000)
		return abort_handover(s, "postgres could not be stopped");
	int64_t limit = herd_stop_limit(s) > 0 ? herd_stop_limit(s) : STOP_MS;

	if (o->now_ms - c->ho_ms > limit && !c->stop_killed)
		kill_server(s);
	herd_step_at(s, c->ho_ms + limit + 1);
	herd_step_at(s, o->now_ms + 200);
	return herd_answer_regular(s, "switchover.stop", "updated leader lock during stop");
}

/*
 * The key goes over without a moment in which nobody has it, and without two more writes in a row:
 * it is put on the candidate's own lease, and /sync names it already, as it would do itself first.
 * Should only a part of this arrive, the candidate does the rest, or there is an election. False:
 * not possible.
 */
static bool pass_key(struct herd_step *s, const char *to)
{
	const struct herd_cluster *cl = s->cl;
	struct herd_sync doc = { .leader = (char *)to };
	const char *lease = NULL;

	for (size_t i = 0; i < cl->n_members; i++)
		/* Patroni's members take a key for theirs only when they have written it. */
		if (herd_str_eq(cl->members[i].name, to) && cl->members[i].pgherd)
			lease = cl->member_keys[i].lease;
	if (!lease || !s->o->can_pass || s->cfg->standby_cluster ||
	    (cl->failsafe.n > 0 && !herd_failsafe_url(&cl->failsafe, to)))
		return false;
	if (herd_sync_active(s))
		herd_sync_put(s, &doc)->wait = s->o->want_exit;
	herd_pass(s, to, lease);
	return true;
}

static bool on_confirm(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;
	const char *to = c->ho_to;

	if (o->pg.run == HERD_RUN_RUNNING || o->pg.control != HERD_CONTROL_SHUT_DOWN)
		return abort_handover(s, "postgres was started meanwhile");
	if (herd_poll(s, HERD_POLL_HANDOVER, to)) {
		if (o->now_ms - c->ho_ms > CONFIRM_MS)
			return abort_handover(s, "the candidate does not answer");
		return herd_answer_regular(s, "switchover.confirm",
					   "%s: waiting for %s to receive the "
					   "shutdown checkpoint",
					   what(s), to);
	}
	const struct herd_obs_answer *a = c->poll_id > 0 && o->poll.n > 0 ? o->poll.answers : NULL;

	/* The whole herd may be going down. */
	if (o->want_exit && (!a || !a->reachable || !a->running))
		return abort_handover(s, "the candidate has gone");

	/* LSNs end at record borders: past the start of the last record is past its end. */
	if (a && a->reachable && a->running && a->in_recovery && a->lsn > o->pg.checkpoint_lsn) {
		/*
		 * Both at once: should the word be lost, there is an election. It counts only in
		 * its place: late, when another leads, it would be believed in that one's end.
		 */
		struct herd_action *done = announce(s, HERD_HANDOVER_DONE);

		done->wait = o->want_exit;
		done->cond = s->cl->handover_key.version ? HERD_IF_VERSION : HERD_IF_ABSENT;
		done->version = s->cl->handover_key.version;
		if (!pass_key(s, to))
			herd_release(s);
		phase(s, HERD_HO_RELEASED);
		c->poll_use = HERD_POLL_NONE;
		return herd_answer(s, "switchover.release", "%s: demoted myself, %s leads", what(s),
				   to);
	}
	c->poll_use = HERD_POLL_NONE;
	c->poll_next_ms = o->now_ms + 10;
	if (a && !a->reachable && o->now_ms - c->ho_ms > SILENT_MS)
		return abort_handover(s, "the candidate does not answer");
	if (o->now_ms - c->ho_ms > CONFIRM_MS)
		return abort_handover(s, "the candidate did not receive the shutdown checkpoint");
	herd_step_at(s, c->poll_next_ms);
	return herd_answer_regular(s, "switchover.confirm",
				   "%s: waiting for %s to receive the shutdown "
				   "checkpoint",
				   what(s), to);
}

/* A handover that was begun. */
bool herd_rule_handover(struct herd_step *s)
{
	struct herd_core *c = s->c;

	if (c->ho == HERD_HO_NONE)
		return false;
	if (!s->holds) {
		/* Released as planned, or lost: either way it is over for us. */
		phase(s, HERD_HO_NONE);
		c->poll_use = HERD_POLL_NONE;
		return false;
	}
	if (c->ho < HERD_HO_STOP) {
		if (s->o->pg.run != HERD_RUN_RUNNING)
			return abort_handover(s, "postgres went down");
		if (!for_exit(s) && s->cl->failover_key.version != c->ho_failover)
			return abort_handover(s, "the request was withdrawn");
	}
	switch (c->ho) {
	case HERD_HO_POLL:
		return on_poll(s);
	case HERD_HO_CHECKPOINT:
		return on_checkpoint(s);
	case HERD_HO_PREPARE:
		return on_prepare(s);
	case HERD_HO_STOP:
		return on_stop(s);
	case HERD_HO_CONFIRM:
		return on_confirm(s);
	default:
		return false;
	}
}

/*
 * A leader that ends hands over, as in a switchover. True: this goes on. Tried once: what comes of
 * it, the server is stopped in the end.
 */
static bool leave_lead(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;

	if (c->ho != HERD_HO_NONE)
		return herd_rule_handover(s);
	if (c->exit_tried || !s->holds || o->pg.run != HERD_RUN_RUNNING || o->pg.in_recovery ||
	    s->cfg->standby_cluster || (s->busy && o->task.running != HERD_TASK_CHECKPOINT))
		return false;
	if (!o->pg.queryable && o->now_ms - c->exit_ms < CONFIRM_MS) {
		herd_step_at(s, o->now_ms + 200);
		return herd_answer_regular(s, "exit.look", "updated leader lock during stop");
	}
	c->exit_tried = true;
	c->ho_failover = -1;
	if (!o->pg.queryable || !anybody_allowed(s))
		return false;
	c->poll_use = HERD_POLL_NONE;
	c->poll_next_ms = 0;
	phase(s, HERD_HO_POLL);
	herd_poll(s, HERD_POLL_HANDOVER, NULL);
	return herd_answer(s, "exit.handover", "handing over the leader key before the shutdown");
}

static void stop_for_exit(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;
	int64_t limit = s->holds ? herd_stop_limit(s) : 0;

	if (c->exit_stop_ms == 0)
		c->exit_stop_ms = o->now_ms;
	if (o->task.running != HERD_TASK_STOP)
		herd_stop(s, HERD_STOP_FAST);
	else if (limit > 0 && o->now_ms - c->exit_stop_ms > limit && !c->stop_killed)
		kill_server(s);
	herd_step_at(s, o->now_ms + 200);
}

/*
 * A synchronous standby asks the leader, by its tags, to wait for others first: commits would hang
 * between its end and the moment when that is noticed.
 */
static bool leave_sync(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;

	if (s->key_mine || !s->cl->leader || herd_str_eq(s->cl->leader, o->name) || !o->dcs_ok ||
	    o->pg.run != HERD_RUN_RUNNING || !o->pg.in_recovery || !herd_sync_active(s) ||
	    !herd_names_has(&s->cl->sync.standby, o->name))
		return false;
	if (c->leave_ms == 0)
		c->leave_ms = o->now_ms;
	if (o->now_ms - c->leave_ms >= 2 * s->cfg->loop_wait_ms)
		return false;
	herd_step_at(s, c->leave_ms + 2 * s->cfg->loop_wait_ms);
	return herd_answer_regular(s, "exit.sync",
				   "waiting to be removed from the synchronous standbys");
}

/* The agent ends: the server is stopped, and the key released when others can go on without loss.
 */
bool herd_rule_exit(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	struct herd_core *c = s->c;

	if (!o->want_exit)
		return false;
	if (c->exit_ms == 0)
		c->exit_ms = o->now_ms;
	if (s->paused && c->ho == HERD_HO_NONE) {
		herd_plan_add(s, HERD_ACT_EXIT, false);
		return herd_answer(s, "exit.paused", "PAUSE: leaving postgres as it is");
	}
	if (leave_lead(s) || leave_sync(s))
		return true;
	if (o->task.running != HERD_TASK_NONE && o->task.running != HERD_TASK_STOP &&
	    o->pg.run == HERD_RUN_DOWN) {
		herd_stop(s, HERD_STOP_FAST);
		return herd_answer(s, "exit.task", "cancelling what runs");
	}
	if (o->pg.run != HERD_RUN_DOWN) {
		/* One that is just starting still has the word of its last shutdown. */
		bool clean = o->pg.control == HERD_CONTROL_SHUT_DOWN &&
			     o->pg.run == HERD_RUN_STOPPING && o->task.running == HERD_TASK_STOP;

		stop_for_exit(s);
		if (!clean || !s->holds || o->pg.run == HERD_RUN_RUNNING)
			return herd_answer_regular(s, "exit.stop", "stopping postgres");
	}
	bool ended = o->pg.control == HERD_CONTROL_SHUT_DOWN ||
		     (s->cfg->standby_cluster && o->pg.in_recovery) ||
		     (c->stop_killed && herd_stop_limit(s) > 0);

	if (s->holds && o->dcs_ok && ended && !c->exit_released) {
		c->exit_released = true;
		herd_release(s);
		return herd_answer(s, "exit.release", "Leader key released");
	}
	if (o->pg.run != HERD_RUN_DOWN)
		return herd_answer_regular(s, "exit.stop", "stopping postgres");
	herd_plan_add(s, HERD_ACT_EXIT, false);
	return herd_answer(s, "exit", "exiting");
}
