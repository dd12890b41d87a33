/*
 * core/failsafe.c - failsafe_mode: a leader that has lost the store goes on while all members let
 * it. Why this is safe stands in core.h.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/step.h"

/* How long one member may take to answer. */
enum { ANSWER_MS = 2000 };
/* Rounds that fail in a row before the lease's end is taken as it is. */
enum { TRIES = 2 };

/* What came of the round that is under way. */
static void take_answers(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs_failsafe *f = &s->o->failsafe;

	if (!c->fs_open || f->id != c->fs_id)
		return;
	c->fs_open = false;
	/* An answer that comes when the right has ended revives nothing. */
	if (!f->accepted || s->o->now_ms >= s->right.fast_ms) {
		c->fs_tries = f->refused ? TRIES : c->fs_tries + 1;
		/* The lease is over too, and there is no use in waiting for the deadline. */
		c->fs_lost |= s->failsafe && c->fs_tries >= TRIES && !s->o->dcs_ok &&
			      s->o->now_ms >= c->held.fast_ms;
		return;
	}
	c->fs_tries = 0;
	c->fs_ok_ms = c->fs_sent_ms;
	c->fs_ttl_ms = c->fs_sent_ttl_ms;
}

static void set_right(struct herd_step *s)
{
	struct herd_core *c = s->c;
	struct herd_lease_times t =
		herd_lease_times(c->fs_ok_ms, c->fs_ttl_ms, s->cfg->loop_wait_ms);

	s->right = c->held;
	s->failsafe = false;
	if (t.fast_ms <= c->held.fast_ms) {
		c->fs_ok_ms = 0;
		c->fs_lost = false;
	}
	if (c->fs_ok_ms == 0)
		return;
	s->right = t;
	s->failsafe = !c->fs_lost && s->o->now_ms < t.fast_ms && s->o->pg.data == HERD_DATA_VALID &&
		      !s->o->pg.in_recovery;
}

/* The members as they told us that they are: their keys are out of reach. */
static void show_places(struct herd_step *s)
{
	const struct herd_obs_failsafe *f = &s->o->failsafe;
	size_t size = s->cl->n_members * sizeof(*s->cl->members);
	char *block = malloc(size + 1);
	const char *kept = herd_plan_keep(s->p, block);

	if (kept != block)
		return;
	s->shown = *s->cl;
	s->shown.members = memcpy(block, s->cl->members, size);
	for (size_t i = 0; i < s->shown.n_members; i++) {
		struct herd_member *m = &s->shown.members[i];

		for (size_t k = 0; k < f->n; k++)
			if (f->accepts[k].lsn > 0 && herd_str_eq(f->accepts[k].name, m->name))
				m->xlog_location = f->accepts[k].lsn;
	}
	s->cl = &s->shown;
	s->cfg = &s->shown.config;
}

/* One who leads by our word is shown as the leader to all rules. */
static void show_leader(struct herd_step *s)
{
	const struct herd_obs_failsafe *f = &s->o->failsafe;

	s->shown = *s->cl;
	if (!herd_str_eq(s->shown.leader, f->leader))
		s->shown.leader_key = (struct herd_key){ 0 };
	s->shown.leader = (char *)f->leader;
	if (f->status) {
		s->shown.status.n_slots = f->status->n_slots;
		s->shown.status.slots = f->status->slots;
	}
	s->cl = &s->shown;
	s->cfg = &s->shown.config;
}

void herd_failsafe_look(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const struct herd_obs_failsafe *f = &o->failsafe;
	int64_t ttl = f->ttl_ms > s->cfg->ttl_ms ? f->ttl_ms : s->cfg->ttl_ms;

	set_right(s);
	take_answers(s);
	set_right(s);
	if (s->failsafe && !o->dcs_ok && f->n > 0)
		show_places(s);
	s->promised =
		f->leader && !herd_str_eq(f->leader, o->name) && o->now_ms < f->asked_ms + ttl;
	if (s->promised && (!s->cl->leader || !o->dcs_ok) && !s->key_mine)
		show_leader(s);
}

/* Whom the key names, and whom it may name without our having seen it. NULL: nobody to be asked. */
static const char **to_ask(struct herd_step *s, size_t *n)
{
	const struct herd_cluster *cl = s->cl;
	const struct herd_names *maybe = &s->c->fs_maybe;
	const char **names = herd_plan_names(s->p, cl->failsafe.n + maybe->n);

	*n = 0;
	for (size_t i = 0; names && i < cl->failsafe.n; i++)
		if (!herd_str_eq(cl->failsafe.member[i].name, s->o->name))
			names[(*n)++] = herd_plan_text(s->p, "%s", cl->failsafe.member[i].name);
	for (size_t i = 0; names && s->c->fs_version == cl->failsafe_key.version && i < maybe->n;
	     i++)
		if (!herd_str_eq(maybe->name[i], s->o->name) &&
		    !herd_failsafe_url(&cl->failsafe, maybe->name[i]))
			names[(*n)++] = herd_plan_text(s->p, "%s", maybe->name[i]);
	return names;
}

/* Do we lead, in a way that others may confirm, and has the lease not been renewed in time? */
static bool need_word(const struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	const struct herd_lease_times *held = &s->c->held;
	bool right = s->key_mine || s->key_stale || s->failsafe;
	int64_t twelfth = (held->expiry_ms - held->fast_ms) / 4;

	if (!s->cfg->failsafe_mode || s->paused || !right || s->c->fs_lost || o->want_exit ||
	    o->now_ms >= s->right.fast_ms || o->pg.data != HERD_DATA_VALID || o->pg.in_recovery)
		return false;
	if (!s->cl->failsafe_key.version || s->cl->failsafe_key.bad ||
	    !herd_failsafe_url(&s->cl->failsafe, o->name))
		return false;
	return o->now_ms >= held->fast_ms - 3 * twelfth;
}

void herd_failsafe_ask(struct herd_step *s)
{
	struct herd_core *c = s->c;
	int64_t now = s->o->now_ms;
	int64_t due = c->fs_ok_ms ? s->right.renew_ms : 0;
	size_t n;

	if (!need_word(s)) {
		if (s->holds && s->cfg->failsafe_mode)
			herd_step_at(s, c->held.fast_ms -
						(c->held.expiry_ms - c->held.fast_ms) * 3 / 4);
		return;
	}
	/* A failed round is repeated at once, then with a pause. */
	if (c->fs_tries > 0)
		due = c->fs_sent_ms + (c->fs_tries < TRIES ? 0 : 500);
	if (c->fs_open && now < c->fs_sent_ms + ANSWER_MS + 500)
		return;
	if (now < due) {
		herd_step_at(s, due);
		return;
	}
	const char **names = to_ask(s, &n);

	if (!names)
		return;
	c->fs_sent_ms = now;
	c->fs_sent_ttl_ms = s->cfg->ttl_ms;
	if (n == 0) {
		c->fs_ok_ms = now;
		c->fs_ttl_ms = c->fs_sent_ttl_ms;
		c->fs_tries = 0;
		set_right(s);
		s->p->leader = true;
		s->p->leader_until_ms = s->right.expiry_ms;
		s->p->open_until_ms = s->right.fast_ms;
		s->p->failsafe = true;
		herd_step_at(s, s->right.renew_ms);
		return;
	}
	struct herd_action *a = herd_plan_add(s, HERD_ACT_FAILSAFE, false);

	c->fs_open = true;
	c->fs_id = ++c->last_id;
	a->id = c->fs_id;
	a->n_names = n;
	a->names = names;
	a->ttl_ms = c->fs_sent_ttl_ms;
	a->timeout_ms = s->right.fast_ms - now < ANSWER_MS ? s->right.fast_ms - now : ANSWER_MS;
}

bool herd_failsafe_lost(const struct herd_step *s)
{
	return s->c->fs_lost;
}

static void remember(struct herd_step *s, const struct herd_failsafe *f)
{
	struct herd_core *c = s->c;

	if (c->fs_version != s->cl->failsafe_key.version)
		herd_names_clear(&c->fs_maybe);
	c->fs_version = s->cl->failsafe_key.version;
	for (size_t i = 0; i < f->n; i++)
		if (herd_names_add(&c->fs_maybe, f->member[i].name) < 0)
			s->p->failed = true;
}

bool herd_failsafe_publish(struct herd_step *s)
{
	const struct herd_cluster *cl = s->cl;
	struct herd_failsafe f = { 0 };
	bool write;

	if (!s->cfg->failsafe_mode) {
		if (!cl->failsafe_key.version)
			return false;
		herd_delete(s, "failsafe", cl->failsafe_key.version);
		return true;
	}
	for (size_t i = 0; i < cl->n_members; i++)
		if (cl->members[i].api_url &&
		    herd_failsafe_add(&f, cl->members[i].name, cl->members[i].api_url) < 0)
			s->p->failed = true;
	/* Our own key may be on its way: without us there would be nobody who may lead. */
	if (s->o->self->api_url && !herd_failsafe_url(&f, s->o->name) &&
	    herd_failsafe_add(&f, s->o->name, s->o->self->api_url) < 0)
		s->p->failed = true;
	char *text = herd_failsafe_print(&f), *old = herd_failsafe_print(&cl->failsafe);

	write = !cl->failsafe_key.version || !herd_str_eq(text, old);
	if (write) {
		remember(s, &f);
		herd_put(s, "failsafe", herd_plan_text(s->p, "%s", text ? text : "{}"),
			 cl->failsafe_key.version);
	}
	free(text);
	free(old);
	herd_failsafe_clear(&f);
	return write;
}

/* Do all that the key names, but for us, say that they do not lead? unable: nor can they. */
static bool nobody_leads(const struct herd_step *s, bool unable)
{
	const struct herd_failsafe *f = &s->cl->failsafe;
	const struct herd_obs_poll *p = &s->o->poll;

	for (size_t i = 0; i < f->n; i++) {
		bool said = herd_str_eq(f->member[i].name, s->o->name);

		for (size_t k = 0; s->c->poll_id > 0 && k < p->n; k++) {
			const struct herd_obs_answer *a = &p->answers[k];

			said |= herd_str_eq(a->name, f->member[i].name) && a->reachable &&
				a->in_recovery && !(unable && a->running && !a->nofailover);
		}
		if (!said)
			return false;
	}
	return true;
}

bool herd_failsafe_unsure(struct herd_step *s)
{
	const struct herd_failsafe *f = &s->cl->failsafe;
	struct herd_core *c = s->c;

	if (f->n == 0 || herd_failsafe_url(f, s->o->name)) {
		/* A leader has to ask us, and we remember our word. */
		c->fs_outside_ms = c->fs_idle_ms = 0;
		return s->o->now_ms < c->first_ms + s->cfg->ttl_ms && !nobody_leads(s, false);
	}
	/* Those in the key come first: they have their time to come up. */
	if (!nobody_leads(s, true)) {
		c->fs_outside_ms = 0;
		if (!nobody_leads(s, false))
			c->fs_idle_ms = 0;
		else if (c->fs_idle_ms == 0)
			c->fs_idle_ms = s->o->now_ms;
		/* Not for ever: they may be waiting for us, who have more WAL or priority. */
		return c->fs_idle_ms == 0 || s->o->now_ms - c->fs_idle_ms < 2 * s->cfg->ttl_ms;
	}
	if (c->fs_outside_ms == 0)
		c->fs_outside_ms = s->o->now_ms;
	return s->o->now_ms - c->fs_outside_ms < s->cfg->ttl_ms;
}
