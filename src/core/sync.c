/*
 * core/sync.c - who is synchronous: /sync in the store and synchronous_standby_names on the leader.
 *
 * The promise of /sync (mode on): every listed node has every acknowledged commit. So a node leaves
 * /sync before commits stop waiting for it, and enters only after commits wait for it and it has
 * everything from before. One change per step; the next step sees what came of it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/step.h"
#include "model/lsn.h"

/* A setting counts as in force everywhere this long after it was seen in a session. */
enum { SETTLE_MS = 1000 };
/* How long a synchronous node may be away before the others stop waiting for it. */
enum { GRACE_MS = 1000 };
/* After this long without effect, an order or a write of /sync is repeated. */
enum { REORDER_MS = 500 };

bool herd_sync_active(const struct herd_step *s)
{
	return s->cfg->synchronous_mode != HERD_SYNC_OFF && s->cl->sync.leader &&
	       !s->cfg->standby_cluster;
}

static uint64_t confirmed_lsn(const struct herd_step *s, const struct herd_obs_sender *r)
{
	const struct herd_obs_pg *pg = &s->o->pg;

	return pg->remote_apply ? r->replay_lsn : pg->remote_write ? r->write_lsn : r->flush_lsn;
}

static const struct herd_obs_sender *sender_of(const struct herd_step *s, const char *member)
{
	for (size_t i = 0; i < s->o->pg.n_senders; i++)
		if (herd_str_ieq(s->o->pg.senders[i].application_name, member))
			return &s->o->pg.senders[i];
	return NULL;
}

/* It streams from us for the time being, but is going to stream from another standby. */
static bool cascades(const struct herd_step *s, const struct herd_member *m)
{
	const char *up = m->tags.replicatefrom;
	const struct herd_obs_sender *r =
		up && !herd_str_eq(up, s->o->name) ? sender_of(s, up) : NULL;

	return r && r->streaming && herd_cluster_member(s->cl, up);
}

/* A standby that could be synchronous now, with what decides between several. */
struct candidate {
	const char *name;
	int priority;
	bool nofailover, current, chosen;
	uint64_t lsn;
};

static int better(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->nofailover != y->nofailover)
		return x->nofailover ? 1 : -1;
	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	if (x->current != y->current)
		return x->current ? -1 : 1;
	/* Commits wait for it already: to and fro would cost each time what it has confirmed. */
	if (x->chosen != y->chosen)
		return x->chosen ? -1 : 1;
	if (x->lsn != y->lsn)
		return x->lsn > y->lsn ? -1 : 1;
	return strcmp(x->name, y->name);
}

static size_t candidates(const struct herd_step *s, struct candidate *list)
{
	const struct herd_cluster *cl = s->cl;
	struct herd_ssn ssn = { 0 };
	uint64_t best = 0;
	size_t n = 0, kept = 0;

	herd_ssn_parse(s->o->pg.ssn, &ssn);
	for (size_t i = 0; i < cl->n_members; i++) {
		const struct herd_member *m = &cl->members[i];
		const struct herd_obs_sender *r = sender_of(s, m->name);

		if (herd_str_eq(m->name, s->o->name) || m->state != HERD_STATE_RUNNING || !r ||
		    !r->streaming || herd_tags_sync_priority(&m->tags) <= 0 || cascades(s, m))
			continue;
		list[n++] = (struct candidate){
			.name = m->name,
			.priority = herd_tags_sync_priority(&m->tags),
			.nofailover = herd_tags_failover_priority(&m->tags) <= 0,
			.current = herd_names_has(&cl->sync.standby, m->name),
			.chosen = herd_names_has(&ssn.names, m->name),
			.lsn = confirmed_lsn(s, r),
		};
		best = list[n - 1].lsn > best ? list[n - 1].lsn : best;
	}
	if (n == 1)
		best = s->o->pg.flush_lsn;
	for (size_t i = 0; i < n; i++) {
		bool lags =
			s->cfg->maximum_lag_on_syncnode > 0 &&
			herd_lsn_lag(best, list[i].lsn) > (uint64_t)s->cfg->maximum_lag_on_syncnode;

		if (!lags)
			list[kept++] = list[i];
	}
	herd_ssn_clear(&ssn);
	qsort(list, kept, sizeof(*list), better);
	return kept;
}

/* Remembers what is in force and since when, and our LSN once it is in force everywhere. */
static void watch_setting(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;

	if (!herd_str_eq(c->ssn_text, o->pg.ssn) || herd_sync_changing(s)) {
		herd_str_set(&c->ssn_text, o->pg.ssn);
		c->ssn_ms = o->now_ms;
		c->ssn_lsn = 0;
	}
	if (c->ssn_lsn == 0 && o->now_ms - c->ssn_ms >= SETTLE_MS)
		c->ssn_lsn = o->pg.flush_lsn;
	else if (c->ssn_lsn == 0)
		herd_step_at(s, c->ssn_ms + SETTLE_MS);
}

int herd_sync_confirmed(const struct herd_step *s, const struct herd_names *names)
{
	int n = 0;

	for (size_t i = 0; i < names->n && s->c->ssn_lsn > 0; i++) {
		const struct herd_obs_sender *r = sender_of(s, names->name[i]);

		n += r && r->streaming && r->sync && confirmed_lsn(s, r) >= s->c->ssn_lsn;
	}
	return n;
}

struct herd_action *herd_sync_put(struct herd_step *s, const struct herd_sync *doc)
{
	struct herd_core *c = s->c;
	struct herd_action *a = herd_put(s, "sync", herd_plan_keep(s->p, herd_sync_print(doc)),
					 s->cl->sync_key.version);

	if (!herd_sync_unsettled(s))
		c->sync_put_ms = s->o->now_ms;
	c->sync_put = true;
	c->sync_put_version = s->cl->sync_key.version;
	herd_step_at(s, s->o->now_ms + 200);
	return a;
}

bool herd_sync_unsettled(const struct herd_step *s)
{
	return s->c->sync_put && s->c->sync_put_version == s->cl->sync_key.version;
}

bool herd_sync_settle(struct herd_step *s)
{
	if (!herd_sync_unsettled(s))
		return false;
	/* A second write for the same version makes the first one's end certain. */
	if (s->o->now_ms - s->c->sync_put_ms >= REORDER_MS)
		herd_sync_put(s, &s->cl->sync);
	herd_step_at(s, s->o->now_ms + 100);
	return true;
}

void herd_sync_order(struct herd_step *s, const char *text)
{
	herd_plan_add(s, HERD_ACT_SET_SSN, true)->value = herd_plan_text(s->p, "%s", text);
	herd_str_set(&s->c->ssn_ordered, text);
	s->c->ssn_ordered_ms = s->o->now_ms;
}

bool herd_sync_changing(const struct herd_step *s)
{
	return s->c->ssn_ordered && !herd_str_eq(s->c->ssn_ordered, s->o->pg.ssn);
}

bool herd_sync_write(struct herd_step *s, const struct herd_names *standby, int quorum)
{
	struct herd_sync doc = { .leader = (char *)s->o->name,
				 .quorum = quorum,
				 .standby = standby ? *standby : (struct herd_names){ 0 } };

	herd_sync_put(s, &doc);
	return true;
}

bool herd_sync_set(struct herd_step *s, const struct herd_ssn *want)
{
	return herd_sync_set_text(s, herd_plan_keep(s->p, herd_ssn_print(want)));
}

const char *herd_sync_first(const struct herd_config *cfg)
{
	if (!cfg->synchronous_mode_strict)
		return "";
	return cfg->synchronous_mode == HERD_SYNC_QUORUM ? "ANY 1 (*)" : "*";
}

bool herd_sync_set_text(struct herd_step *s, const char *text)
{
	bool changing = herd_sync_changing(s);

	if (!changing && herd_str_eq(s->o->pg.ssn, text))
		return false;
	/* It was ordered; the server needs a moment to read it. */
	if (changing && herd_str_eq(s->c->ssn_ordered, text) &&
	    s->o->now_ms - s->c->ssn_ordered_ms < REORDER_MS) {
		herd_step_at(s, s->o->now_ms + 20);
		return true;
	}
	if (herd_sync_settle(s))
		return true;
	herd_sync_order(s, text);
	herd_step_at(s, s->o->now_ms + 200);
	return true;
}

/* Nobody to wait for: commits go on alone, or (strict) wait for anybody. */
static bool set_nobody(struct herd_step *s)
{
	struct herd_ssn none = { .kind = s->cfg->synchronous_mode_strict ? HERD_SSN_STAR
									 : HERD_SSN_NONE };

	if (s->cfg->synchronous_mode_strict && !herd_str_eq(s->o->pg.ssn, "*"))
		herd_warn(s, "No active replication connections from Patroni members and "
			     "synchronous_mode_strict is requested. Commits will be delayed.");
	return herd_sync_set(s, &none);
}

/* Mode on: every node of want has everything before it is published. */
static bool step_on(struct herd_step *s, const struct herd_names *want)
{
	const struct herd_sync *sync = &s->cl->sync;
	struct herd_names common = { 0 };
	struct herd_ssn ssn = { .kind = HERD_SSN_FIRST, .num = (int)want->n, .names = *want };
	bool done = true;

	/* A quorum's voters do not have everything each: begin anew. */
	if (sync->quorum > 0)
		return herd_sync_write(s, NULL, 0);
	for (size_t i = 0; i < sync->standby.n; i++)
		if (herd_names_has(want, sync->standby.name[i]))
			herd_names_add(&common, sync->standby.name[i]);
	if (common.n < sync->standby.n)
		herd_sync_write(s, &common, 0);
	else if (want->n == 0)
		done = set_nobody(s);
	else if (!herd_sync_set(s, &ssn)) {
		bool all = herd_sync_confirmed(s, want) == (int)want->n;

		done = sync->standby.n < want->n && all;
		if (done)
			herd_sync_write(s, want, 0);
		else if (sync->standby.n < want->n)
			herd_step_at(s, s->o->now_ms + 100);
	}
	herd_names_clear(&common);
	return done;
}

/* The mode is off: /sync goes, and the user's own setting comes back. */
static bool step_off(struct herd_step *s)
{
	const char *user = s->o->pg.user_ssn ? s->o->pg.user_ssn : "";

	if (s->cl->sync_key.version) {
		herd_delete(s, "sync", s->cl->sync_key.version);
		return true;
	}
	if (!s->o->pg.ssn || strcmp(s->o->pg.ssn, user) == 0)
		return false;
	herd_sync_order(s, user);
	return true;
}

static bool refuses(const struct herd_step *s, const char *name)
{
	const struct herd_member *m = herd_cluster_member(s->cl, name);

	return m && herd_tags_sync_priority(&m->tags) <= 0;
}

/*
 * The nodes wanted now. A node of /sync that has just gone keeps its place for a moment, so that a
 * reconnect does not take the protection away. False: wait.
 */
static bool choose(struct herd_step *s, struct herd_names *want)
{
	struct herd_core *c = s->c;
	const struct herd_sync *sync = &s->cl->sync;
	size_t n_members = s->cl->n_members;
	struct candidate *list = calloc(n_members + 1, sizeof(*list));
	size_t n = list ? candidates(s, list) : 0, count = n;
	bool missing = false;

	if (s->cfg->synchronous_mode == HERD_SYNC_ON &&
	    count > (size_t)s->cfg->synchronous_node_count)
		count = (size_t)s->cfg->synchronous_node_count;
	for (size_t i = 0; i < count; i++)
		herd_names_add(want, list[i].name);
	for (size_t i = 0; i < sync->standby.n; i++) {
		bool there = false;

		for (size_t k = 0; k < n; k++)
			there |= herd_str_ieq(list[k].name, sync->standby.name[i]);
		/* One that says itself that it must not be synchronous is not waited for. */
		missing |= !there && !refuses(s, sync->standby.name[i]);
	}
	free(list);
	if (!list || !missing) {
		c->missing_ms = 0;
		return list != NULL;
	}
	if (c->missing_ms == 0)
		c->missing_ms = s->o->now_ms;
	if (s->o->now_ms - c->missing_ms >= GRACE_MS)
		return true;
	herd_step_at(s, c->missing_ms + GRACE_MS);
	return false;
}

bool herd_sync_step(struct herd_step *s)
{
	const struct herd_cluster *cl = s->cl;
	struct herd_names want = { 0 };
	bool done = false;

	watch_setting(s);
	if (!s->o->pg.ssn)
		return false;
	if (s->cfg->synchronous_mode == HERD_SYNC_OFF || s->cfg->standby_cluster)
		return step_off(s);
	if (!herd_str_eq(cl->sync.leader, s->o->name))
		return herd_sync_write(s, NULL, 0);
	if (choose(s, &want))
		done = s->cfg->synchronous_mode == HERD_SYNC_ON ? step_on(s, &want)
								: herd_quorum_step(s, &want);
	herd_names_clear(&want);
	return done;
}
