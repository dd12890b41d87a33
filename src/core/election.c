/*
 * core/election.c - nobody holds the leader key: may we take it?
 *
 * Order of the checks as in Patroni. Members are asked once per attempt; what the decision was
 * based on is remembered, and the promotion looks again (leader.c).
 */
#include "base/str.h"
#include "core/step.h"
#include "model/lsn.h"

/* How long members that vanished together with the leader are waited for. */
enum { PEERS_MS = 3000 };

/* What a race that was lost, or cannot be run, says. */
static bool no(struct herd_step *s, const char *rule, const char *why)
{
	s->c->poll_use = HERD_POLL_NONE;
	s->c->poll_next_ms = s->o->now_ms + 500;
	herd_step_at(s, s->o->now_ms + 500);
	return herd_answer_regular(s, rule, "%s", why);
}

static const char not_healthiest[] =
	"following a different leader because i am not the healthiest node";

bool herd_poll_answered(const struct herd_step *s, enum herd_poll_use use)
{
	const struct herd_core *c = s->c;

	return c->poll_use == use && (c->poll_id < 0 || s->o->poll.id == c->poll_id);
}

bool herd_poll(struct herd_step *s, enum herd_poll_use use, const char *only)
{
	struct herd_core *c = s->c;
	const struct herd_cluster *cl = s->cl;
	int64_t now = s->o->now_ms;
	size_t n = 0;

	if (herd_poll_answered(s, use))
		return false;
	if (c->poll_use == use && now - c->poll_sent_ms < 3000) {
		herd_step_at(s, c->poll_sent_ms + 3000);
		return true;
	}
	if (now < c->poll_next_ms) {
		herd_step_at(s, c->poll_next_ms);
		return true;
	}
	const char **names = herd_plan_names(s->p, cl->n_members + cl->failsafe.n);

	for (size_t i = 0; names && i < cl->n_members; i++) {
		const char *name = cl->members[i].name;

		if (!herd_str_eq(name, s->o->name) && (!only || herd_str_eq(name, only)))
			names[n++] = herd_plan_text(s->p, "%s", name);
	}
	/* One that has lost the store may lead by the word of members. */
	for (size_t i = 0; names && use == HERD_POLL_RACE && i < cl->failsafe.n; i++) {
		const char *name = cl->failsafe.member[i].name;

		if (!herd_str_eq(name, s->o->name) && !herd_cluster_member(cl, name))
			names[n++] = herd_plan_text(s->p, "%s", name);
	}
	c->poll_use = use;
	c->poll_sent_ms = now;
	c->decided = false;
	c->decided_sync = cl->sync_key.version;
	c->decided_status = cl->status_key.version;
	c->decided_history = cl->history_key.version;
	if (n == 0) {
		c->poll_id = -1;
		return false;
	}
	struct herd_action *a = herd_plan_add(s, HERD_ACT_POLL, false);

	c->poll_id = ++c->last_id;
	a->id = c->poll_id;
	a->n_names = n;
	a->names = names;
	return true;
}

/* Answers of the current poll, none when nobody was there to be asked. */
static size_t answers(const struct herd_step *s, const struct herd_obs_answer **ret)
{
	*ret = s->o->poll.answers;
	return s->c->poll_id < 0 ? 0 : s->o->poll.n;
}

/* Is its WAL ahead of ours? A newer timeline is ahead of any position on an older one. */
static bool ahead(const struct herd_step *s, const struct herd_obs_answer *a)
{
	int64_t tl = s->o->pg.timeline;

	if (a->timeline > 0 && tl > 0 && a->timeline != tl)
		return a->timeline > tl;
	return a->lsn > herd_obs_lsn(s->o);
}

static bool same_place(const struct herd_step *s, const struct herd_obs_answer *a)
{
	return a->lsn == herd_obs_lsn(s->o) && !ahead(s, a);
}

static int priority_of(const struct herd_step *s, const char *name)
{
	const struct herd_member *m = herd_cluster_member(s->cl, name);

	return m ? herd_tags_failover_priority(&m->tags) : 1;
}

static bool could_lead(const struct herd_step *s, const struct herd_obs_answer *a)
{
	return a->reachable && a->running && a->in_recovery && !a->nofailover &&
	       !a->watchdog_failed && !a->stalled && priority_of(s, a->name) > 0;
}

bool herd_rescuer_answered(const struct herd_step *s)
{
	const struct herd_obs_answer *list;
	size_t n = answers(s, &list);
	uint64_t optime = s->cl->status.optime;

	for (size_t i = 0; i < n; i++) {
		const struct herd_obs_answer *a = &list[i];
		bool lags =
			herd_lsn_lag(optime, a->lsn) > (uint64_t)s->cfg->maximum_lag_on_failover;

		if (!could_lead(s, a))
			continue;
		if (herd_sync_active(s) ? herd_names_has(&s->cl->sync.standby, a->name) : !lags)
			return true;
	}
	return false;
}

/*
 * Did our data leave the group's line? On an older timeline we must not be past the point where the
 * group left it: what lies behind that point was never anybody else's.
 */
static bool off_the_line(const struct herd_step *s)
{
	const struct herd_history *h = &s->cl->history;
	int64_t tl = s->o->pg.timeline;

	if (s->cl->history_key.bad)
		return false;
	for (size_t i = 0; tl > 0 && i < h->n; i++)
		if (h->line[i].timeline == tl)
			return herd_obs_lsn(s->o) > h->line[i].lsn;
	return false;
}

/* Checks that need nobody else. NULL: fit; else why not. */
static const char *unfit(struct herd_step *s, bool manual)
{
	const struct herd_obs *o = s->o;
	int64_t tl = herd_cluster_timeline(s->cl);
	uint64_t lag = herd_lsn_lag(s->cl->status.optime, herd_obs_lsn(o));

	if (herd_unfenced(o))
		return o->guard_failed
			       ? "following a different leader because the guard does not work"
			       : "following a different leader because the watchdog does not work";
	if (herd_tags_failover_priority(&o->self->tags) <= 0 && !manual)
		return "following a different leader because I am not allowed to promote";
	if (s->cl->sync_key.bad && s->cfg->synchronous_mode != HERD_SYNC_OFF)
		return not_healthiest;
	if (manual)
		return NULL;
	if (o->pg.stalled && s->cfg->probe_failover)
		return "following a different leader because postgres makes no progress here";
	/* The store's history is not that of the primary outside. */
	if (!s->cfg->standby_cluster && off_the_line(s))
		return not_healthiest;
	if (s->cfg->check_timeline && !s->cfg->standby_cluster &&
	    (o->pg.timeline == 0 || o->pg.timeline < tl))
		return not_healthiest;
	if (!herd_sync_active(s) && lag > (uint64_t)s->cfg->maximum_lag_on_failover)
		return not_healthiest;
	return NULL;
}

/* May this node win as far as synchronous replication is concerned, given the answers? */
static bool sync_allows(const struct herd_step *s)
{
	const struct herd_sync *sync = &s->cl->sync;
	const struct herd_obs_answer *list;
	size_t n = answers(s, &list);
	bool voter = herd_names_has(&sync->standby, s->o->name);
	int votes = voter ? 0 : -1;

	/* The leader of /sync has every commit that was ever acknowledged. */
	if (!herd_sync_active(s) || herd_str_ieq(sync->leader, s->o->name))
		return true;
	if (sync->quorum == 0)
		return voter;
	for (size_t i = 0; i < n; i++)
		if (list[i].reachable && list[i].running && list[i].lsn > 0 &&
		    herd_names_has(&sync->standby, list[i].name) && !ahead(s, &list[i]))
			votes++;
	return votes >= sync->quorum;
}

/*
 * Could this one, at the same place as we, get the votes it needs? If not, standing back for its
 * priority would leave the group without a leader.
 */
static bool could_win(const struct herd_step *s, const struct herd_obs_answer *a)
{
	const struct herd_sync *sync = &s->cl->sync;
	const struct herd_obs_answer *list;
	size_t n = answers(s, &list);
	int votes = herd_names_has(&sync->standby, s->o->name);

	if (!herd_sync_active(s) || sync->quorum == 0)
		return true;
	for (size_t i = 0; i < n; i++)
		votes += &list[i] != a && list[i].reachable && list[i].running && list[i].lsn > 0 &&
			 herd_names_has(&sync->standby, list[i].name) && !ahead(s, &list[i]);
	return votes >= sync->quorum;
}

/* Is anybody better placed? NULL: no. *healthier: only by its position, which people may waive. */
static const char *beaten(struct herd_step *s, bool *healthier)
{
	int mine = herd_tags_failover_priority(&s->o->self->tags);
	const struct herd_sync *sync = &s->cl->sync;
	const struct herd_failover *f = &s->cl->failover;
	const struct herd_obs_answer *list;
	size_t n = answers(s, &list);
	bool leaving = herd_str_eq(f->leader, s->o->name);

	for (size_t i = 0; i < n; i++) {
		const struct herd_obs_answer *a = &list[i];

		if (!a->reachable || !a->running)
			continue;
		if (!a->in_recovery)
			return herd_plan_text(s->p, "Primary (%s) is still alive", a->name);
		bool voter = herd_names_has(&sync->standby, a->name);

		if (herd_sync_active(s) && !voter)
			continue;
		if (a->nofailover && !voter)
			continue;
		if (ahead(s, a) && !(herd_sync_active(s) && a->nofailover)) {
			*healthier = true;
			return herd_plan_text(s->p,
					      "%s: Wal position of %s is ahead of my wal position",
					      not_healthiest, a->name);
		}
		if (leaving && could_lead(s, a) &&
		    s->o->now_ms - s->c->unlocked_ms <= s->cfg->ttl_ms) {
			*healthier = true;
			return not_healthiest;
		}
		if (same_place(s, a) && could_lead(s, a) && !herd_str_ieq(sync->leader, a->name) &&
		    priority_of(s, a->name) > mine && could_win(s, a))
			return herd_plan_text(s->p,
					      "%s: %s has equally tolerable WAL position and "
					      "priority %d, while this node has priority %d",
					      not_healthiest, a->name, priority_of(s, a->name),
					      mine);
	}
	return NULL;
}

static bool win(struct herd_step *s, const char *rule, const char *why)
{
	struct herd_core *c = s->c;

	c->poll_use = HERD_POLL_NONE;
	c->poll_next_ms = s->o->now_ms + 500;
	c->decided = true;
	c->decided_sync = s->cl->sync_key.version;
	c->decided_status = s->cl->status_key.version;
	c->decided_history = s->cl->history_key.version;
	herd_take(s);
	s->p->valid_ms = s->times.fast_ms;
	herd_step_at(s, s->o->now_ms + 500);
	return herd_answer(s, rule, "%s", why);
}

/* The one named by people is there and able: everybody else stands back, for a while. */
static bool candidate_comes(const struct herd_step *s, const char *candidate)
{
	const struct herd_obs_answer *list;
	size_t n = answers(s, &list);

	if (s->o->now_ms - s->c->unlocked_ms > s->cfg->ttl_ms)
		return false;
	for (size_t i = 0; i < n; i++)
		if (herd_str_eq(list[i].name, candidate) && could_lead(s, &list[i]))
			return !(s->cl->failover.leader && herd_sync_active(s)) ||
			       herd_names_has(&s->cl->sync.standby, candidate);
	return false;
}

/* Answers count for the state of the store in which they were asked for, and not for long. */
static void forget_old_answers(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_cluster *cl = s->cl;

	if (!herd_poll_answered(s, HERD_POLL_RACE))
		return;
	if (c->decided_sync != cl->sync_key.version ||
	    c->decided_status != cl->status_key.version ||
	    c->decided_history != cl->history_key.version || s->o->now_ms - c->poll_sent_ms > 4000)
		c->poll_use = HERD_POLL_NONE;
}

static void remember_peers(struct herd_step *s)
{
	const struct herd_cluster *cl = s->cl;
	struct herd_names *peers = &s->c->peers;

	for (size_t i = 0; i < peers->n;) {
		if (herd_cluster_member(cl, peers->name[i]) &&
		    !herd_str_eq(peers->name[i], cl->leader))
			i++;
		else
			herd_names_remove(peers, peers->name[i]);
	}
	for (size_t i = 0; i < cl->n_members; i++)
		if (!herd_str_eq(cl->members[i].name, cl->leader))
			herd_names_add(peers, cl->members[i].name);
}

void herd_race_watch(struct herd_step *s)
{
	struct herd_core *c = s->c;

	if (!s->o->scope)
		return;
	if (!s->cl->leader) {
		if (c->unlocked_ms == 0)
			c->unlocked_ms = s->o->now_ms;
		return;
	}
	c->unlocked_ms = 0;
	c->race_lsn = 0;
	c->race_ms = 0;
	remember_peers(s);
	if (c->poll_use == HERD_POLL_RACE)
		c->poll_use = HERD_POLL_NONE;
}

/*
 * Members that stood beside the leader until the end are gone from the store with it: mostly it is
 * the store that was away, and they come back with their keys. Without them nobody could be asked.
 */
static bool peers_missing(const struct herd_step *s)
{
	const struct herd_names *peers = &s->c->peers;

	if (s->o->now_ms - s->c->unlocked_ms >= PEERS_MS)
		return false;
	for (size_t i = 0; i < peers->n; i++)
		if (!herd_cluster_member(s->cl, peers->name[i]))
			return true;
	return false;
}

/*
 * No question is open then. The word of an earlier leader does not count: with synchronous
 * replication /sync names the last one, or already us.
 */
bool herd_handed_over(const struct herd_step *s)
{
	const struct herd_handover *h = &s->cl->handover;
	const char *last = s->cl->sync.leader;

	return h->id && h->phase == HERD_HANDOVER_DONE && herd_str_eq(h->to, s->o->name) &&
	       (!herd_sync_active(s) || herd_str_ieq(last, h->from) ||
		herd_str_ieq(last, s->o->name));
}

/*
 * primary_race_backoff: WAL still comes in, so there is still a leader somewhere; or what is on its
 * way should arrive before anybody compares.
 */
static bool still_receiving(struct herd_step *s)
{
	struct herd_core *c = s->c;
	uint64_t lsn = herd_obs_lsn(s->o);
	bool moved = c->race_lsn > 0 && lsn > c->race_lsn && s->o->pg.streaming;

	if (s->cfg->primary_race_backoff_ms == 0 || s->paused || s->cl->failover.candidate ||
	    s->cfg->standby_cluster ||
	    s->o->now_ms - c->unlocked_ms >= s->cfg->primary_race_backoff_ms)
		return false;
	/* Two looks, half a second apart, tell whether it moves. */
	if (c->race_ms > 0 && s->o->now_ms - c->race_ms < 500)
		return c->race_moved;
	c->race_moved = moved || c->race_lsn == 0;
	c->race_lsn = lsn;
	c->race_ms = s->o->now_ms;
	return c->race_moved;
}

bool herd_rule_race(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const struct herd_cluster *cl = s->cl;
	const struct herd_failover *f = &cl->failover;
	const char *why;

	if (cl->leader)
		return false;
	if (o->pg.run != HERD_RUN_RUNNING || !o->pg.in_recovery || !o->pg.queryable)
		return no(s, "race.not-running", "waiting for postgres before the leader race");
	if (!o->lease.id || o->now_ms >= s->times.fast_ms)
		return no(s, "race.lease", "waiting for a lease before the leader race");
	if (o->now_ms < s->c->no_race_before_ms)
		return no(s, "race.back-off", not_healthiest);
	bool manual = !f->leader && herd_str_eq(f->candidate, o->name);

	why = unfit(s, manual);
	if (why)
		return no(s, "race.unfit", why);
	if (herd_handed_over(s))
		return win(s, "race.handover", "acquiring the leader key that was handed over");
	if (s->paused && !herd_str_eq(f->candidate, o->name))
		return no(s, "race.paused", "PAUSE: no action, the cluster has no leader");
	if (still_receiving(s))
		return no(s, "race.receiving",
			  "Delaying leader race because WAL is still being received");
	if (peers_missing(s))
		return no(s, "race.members", "waiting for the other members to be seen again");
	forget_old_answers(s);
	if (herd_poll(s, HERD_POLL_RACE, NULL)) {
		s->p->rule = "race.poll";
		return true;
	}
	if (herd_failsafe_unsure(s))
		return no(s, "race.failsafe",
			  "waiting because a leader without access to DCS may still be running");
	bool healthier = false;

	why = beaten(s, &healthier);
	if (manual && (!why || healthier))
		return win(s, "race.manual", "manual failover: I am the candidate");
	if (!sync_allows(s))
		return no(s, "race.sync", not_healthiest);
	if (f->candidate && !herd_str_eq(f->candidate, o->name) && candidate_comes(s, f->candidate))
		return no(s, "race.candidate", "manual failover: waiting for the candidate");
	if (why)
		return no(s, "race.beaten", why);
	return win(s, "race.win", "acquiring the leader key");
}
