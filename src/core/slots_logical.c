/*
 * core/slots_logical.c - permanent logical slots. They begin on the primary. A standby copies the
 * primary's state (which takes a restart, slots are read at start only) and moves its own behind;
 * it is told when a client may go on with it after a promotion.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/step.h"
#include "model/lsn.h"

/* --- what a standby must keep ----------------------------------------------------------------- */

bool herd_slots_fed_by_stream(const struct herd_cluster *cl, const struct herd_tags *tags)
{
	/* The number of hops ends a circle of tags. */
	for (size_t hops = 0; tags && hops <= cl->n_members; hops++) {
		const struct herd_member *from = herd_cluster_member(cl, tags->replicatefrom);

		if (tags->nostream)
			return false;
		tags = from && !herd_str_eq(from->name, cl->leader) ? &from->tags : NULL;
	}
	return true;
}

/* Does this member keep permanent logical slots? */
static bool keeps_logical(const struct herd_cluster *cl, const struct herd_tags *tags)
{
	const struct herd_config *cfg = &cl->config;

	if (!cfg->use_slots || cfg->standby_cluster || herd_tags_failover_priority(tags) <= 0 ||
	    !herd_slots_fed_by_stream(cl, tags))
		return false;
	for (size_t i = 0; i < cfg->n_slots; i++)
		if (cfg->slots[i].type == HERD_SLOT_LOGICAL &&
		    cfg->slots[i].cluster_type != HERD_SLOT_STANDBY)
			return true;
	return false;
}

static bool need_feedback(const struct herd_cluster *cl, const char *name,
			  const struct herd_tags *tags, int depth)
{
	if (keeps_logical(cl, tags))
		return true;
	for (size_t i = 0; i < cl->n_members && depth > 0; i++) {
		const struct herd_member *m = &cl->members[i];

		if (herd_str_eq(m->tags.replicatefrom, name) && !herd_str_eq(m->name, cl->leader) &&
		    !herd_str_eq(m->name, name) && need_feedback(cl, m->name, &m->tags, depth - 1))
			return true;
	}
	return false;
}

bool herd_slots_need_feedback(const struct herd_cluster *cl, const char *name,
			      const struct herd_tags *tags)
{
	/* The depth ends a circle of tags. */
	return need_feedback(cl, name, tags, 8);
}

/* --- primary ---------------------------------------------------------------------------------- */

static void on_primary(struct herd_step *s, const struct herd_want_slot *w)
{
	struct herd_action *a;

	if (herd_slot_find(s, w->name))
		return;
	if (!s->o->pg.logical) {
		herd_warn(s,
			  "permanent logical replication slot \"%s\" cannot be created because "
			  "wal_level is not logical",
			  w->name);
		return;
	}
	a = herd_plan_add(s, HERD_ACT_SLOT_CREATE, false);
	a->slot = w->name;
	a->slot_type = HERD_SLOT_LOGICAL;
	a->database = herd_plan_text(s->p, "%s", w->conf->database);
	a->plugin = herd_plan_text(s->p, "%s", w->conf->plugin);
}

/* --- standby: is ours safe to go on with? ----------------------------------------------------- */

static bool xid_follows(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

static struct herd_logical_slot *known(struct herd_core *c, const char *name)
{
	for (size_t i = 0; i < c->n_logical; i++)
		if (strcmp(c->logical[i].name, name) == 0)
			return &c->logical[i];
	return NULL;
}

static void remember(struct herd_core *c, const char *name)
{
	struct herd_logical_slot *grown;

	if (known(c, name))
		return;
	grown = realloc(c->logical, (c->n_logical + 1) * sizeof(*grown));
	if (!grown)
		return;
	c->logical = grown;
	grown[c->n_logical] = (struct herd_logical_slot){ .name = strdup(name) };
	c->n_logical += grown[c->n_logical].name != NULL;
}

void herd_slots_forget(struct herd_core *c)
{
	for (size_t i = 0; i < c->n_logical; i++)
		free(c->logical[i].name);
	free(c->logical);
	c->logical = NULL;
	c->n_logical = 0;
	c->slots_ask_id = 0;
}

/* The slot on the primary by which this node's WAL, and its feedback, comes: of the first of those
 * that stand between. */
static const char *slot_on_primary(struct herd_step *s)
{
	const char *name = s->o->name, *from = s->o->self->tags.replicatefrom;

	for (int i = 0; i < 8; i++) {
		const struct herd_member *m = herd_cluster_member(s->cl, from);

		if (!m || herd_str_eq(m->name, name) || herd_str_eq(m->name, s->cl->leader))
			break;
		name = m->name;
		from = m->tags.replicatefrom;
	}
	return herd_plan_keep(s->p, herd_slot_name(name));
}

static uint32_t asked_xmin(const struct herd_step *s, const char *name)
{
	const struct herd_obs_asked_slots *q = &s->o->asked_slots;

	for (size_t i = 0; i < q->n; i++)
		if (strcmp(q->slots[i].name, name) == 0)
			return q->slots[i].catalog_xmin;
	return 0;
}

/*
 * Rows of the catalogs that our slot may need were kept on the primary only since our feedback
 * holds them there, by our physical slot. So: when that is in force the primary's own logical slot
 * says from where on everything is kept (primary_xmin); ours is good when it needs nothing older
 * than what our feedback asks for, and that has passed primary_xmin.
 */
static bool is_safe(struct herd_logical_slot *l, const struct herd_obs_slot *slot,
		    uint32_t feedback, uint32_t on_primary)
{
	if (l->primary_xmin == 0)
		l->primary_xmin = on_primary;
	return l->primary_xmin != 0 && slot->catalog_xmin != 0 &&
	       !xid_follows(l->primary_xmin, feedback) &&
	       !xid_follows(feedback, slot->catalog_xmin);
}

static void ask(struct herd_step *s)
{
	struct herd_core *c = s->c;
	struct herd_action *a;
	size_t n = 0;

	if (c->slots_ask_ms > 0 && s->o->now_ms - c->slots_ask_ms < s->cfg->loop_wait_ms) {
		herd_step_at(s, c->slots_ask_ms + s->cfg->loop_wait_ms);
		return;
	}
	a = herd_plan_add(s, HERD_ACT_SLOTS_ASK, false);
	c->slots_ask_ms = s->o->now_ms;
	c->slots_ask_id = a->id = ++c->last_id;
	a->member = herd_plan_text(s->p, "%s", s->cl->leader);
	a->names = herd_plan_names(s->p, c->n_logical + 1);
	if (!a->names)
		return;
	a->names[n++] = slot_on_primary(s);
	for (size_t i = 0; i < c->n_logical; i++)
		if (!c->logical[i].safe)
			a->names[n++] = herd_plan_text(s->p, "%s", c->logical[i].name);
	a->n_names = n;
}

bool herd_slots_judge(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs_asked_slots *q = &s->o->asked_slots;
	bool answered = c->slots_ask_id > 0 && q->id == c->slots_ask_id && q->ok;
	uint32_t feedback = answered ? asked_xmin(s, slot_on_primary(s)) : 0;
	bool waiting = false, said = false;

	for (size_t i = 0; i < c->n_logical; i++) {
		struct herd_logical_slot *l = &c->logical[i];
		const struct herd_obs_slot *slot = herd_slot_find(s, l->name);

		if (l->safe || !slot)
			continue;
		if (feedback && is_safe(l, slot, feedback, asked_xmin(s, l->name))) {
			l->safe = true;
			said = herd_answer(s, "follow.slot-safe",
					   "Logical slot %s is safe to be used after a failover",
					   l->name);
		}
		waiting |= !l->safe;
	}
	if (answered)
		c->slots_ask_id = 0;
	if (waiting && s->cl->leader && !herd_str_eq(s->cl->leader, s->o->name))
		ask(s);
	return said;
}

void herd_slots_warn_unsafe(struct herd_step *s)
{
	const struct herd_core *c = s->c;
	const char *names = "";

	for (size_t i = 0; i < c->n_logical; i++)
		if (!c->logical[i].safe && herd_slot_find(s, c->logical[i].name))
			names = herd_plan_text(s->p, "%s%s%s", names, *names ? ", " : "",
					       c->logical[i].name);
	if (*names)
		herd_warn(s,
			  "Logical replication slots that might be unsafe to use after promote: %s",
			  names);
}

/* --- standby: copies -------------------------------------------------------------------------- */

static void advance(struct herd_step *s, const struct herd_want_slot *w,
		    const struct herd_obs_slot *slot)
{
	uint64_t to = w->lsn < s->o->pg.replay_lsn ? w->lsn : s->o->pg.replay_lsn;
	struct herd_action *a;

	if (slot->active || slot->restart_lsn >= to)
		return;
	a = herd_plan_add(s, HERD_ACT_SLOT_ADVANCE, false);
	a->slot = w->name;
	a->slot_type = HERD_SLOT_LOGICAL;
	a->database = herd_plan_text(s->p, "%s", w->conf->database);
	a->lsn = to;
}

/* Slots that the primary has (its status says so) and we have not, or have beyond repair. */
static bool to_copy(const struct herd_step *s, const struct herd_want_slot *w)
{
	const struct herd_obs_slot *slot = herd_slot_find(s, w->name);

	if (!w->conf || w->conf->type != HERD_SLOT_LOGICAL || w->lsn == 0)
		return false;
	return !slot || (slot->stuck && !slot->active && herd_slot_matches(w->conf, slot));
}

/* A restart with more slots than it has room for would fail, and never end to fail. */
static bool have_room(struct herd_step *s, size_t more)
{
	if (!s->o->pg.logical) {
		herd_warn(s,
			  "permanent logical replication slots cannot be copied because wal_level "
			  "is not logical");
		return false;
	}
	if (s->o->pg.n_slots + more > (size_t)s->o->pg.max_slots) {
		herd_warn(s, "permanent logical replication slots cannot be copied because "
			     "max_replication_slots is too low");
		return false;
	}
	return true;
}

static void copy(struct herd_step *s, const struct herd_want_slot *want, size_t n)
{
	const struct herd_obs *o = s->o;
	struct herd_action *a;
	const char **names;
	size_t count = 0, more = 0;
	/* What was in vain is not likely to be better a moment later. */
	int64_t again =
		o->task.last_ms +
		(!o->task.last_ok && s->cfg->loop_wait_ms < 5000 ? 5000 : s->cfg->loop_wait_ms);

	for (size_t i = 0; i < n; i++) {
		if (!to_copy(s, &want[i]))
			continue;
		count++;
		more += !herd_slot_find(s, want[i].name);
	}
	if (count == 0 || s->busy || s->paused || !o->dcs_ok || o->want_restart ||
	    !o->pg.streaming || !s->cl->leader || herd_str_eq(s->cl->leader, o->name) ||
	    !have_room(s, more))
		return;
	if (o->task.last == HERD_TASK_SLOTS_COPY && o->now_ms < again) {
		herd_step_at(s, again);
		return;
	}
	names = herd_plan_names(s->p, count);
	if (!names)
		return;
	a = herd_plan_add(s, HERD_ACT_SLOTS_COPY, true);
	a->names = names;
	a->member = herd_plan_text(s->p, "%s", s->cl->leader);
	for (size_t i = 0; i < n; i++)
		if (to_copy(s, &want[i]))
			names[a->n_names++] = want[i].name;
}

void herd_slots_logical(struct herd_step *s, const struct herd_want_slot *want, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct herd_want_slot *w = &want[i];
		const struct herd_obs_slot *slot = herd_slot_find(s, w->name);

		if (!w->conf || w->conf->type != HERD_SLOT_LOGICAL)
			continue;
		if (!s->o->pg.in_recovery) {
			on_primary(s, w);
		} else if (slot && herd_slot_matches(w->conf, slot) && !slot->lost &&
			   !slot->synced && !slot->stuck) {
			remember(s->c, w->name);
			advance(s, w, slot);
		}
	}
	if (s->o->pg.in_recovery)
		copy(s, want, n);
}
