/*
 * core/slots.c - replication slots: one for every other member, those that are permanent, and for a
 * while those of members that have gone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/step.h"
#include "model/lsn.h"

static const struct herd_obs_slot *existing(const struct herd_step *s, const char *name)
{
	for (size_t i = 0; i < s->o->pg.n_slots; i++)
		if (strcmp(s->o->pg.slots[i].name, name) == 0)
			return &s->o->pg.slots[i];
	return NULL;
}

static bool ignored(const struct herd_step *s, const struct herd_obs_slot *slot)
{
	for (size_t i = 0; i < s->cfg->n_ignore; i++) {
		const struct herd_slot_ignore *g = &s->cfg->ignore[i];

		if ((!g->name || strcmp(g->name, slot->name) == 0) &&
		    (!g->database || herd_str_eq(g->database, slot->database)) &&
		    (!g->plugin || herd_str_eq(g->plugin, slot->plugin)) &&
		    (g->type < 0 || g->type == (int)slot->type))
			return true;
	}
	return herd_str_starts(slot->name, "citus_shard_move_slot_") ||
	       herd_str_starts(slot->name, "citus_shard_split_slot_");
}

/* Slots are for those who lead or may come to lead; others keep them for who streams from them. */
static bool may_lead(const struct herd_step *s)
{
	return !s->o->pg.in_recovery || herd_tags_failover_priority(&s->o->self->tags) > 0;
}

static const struct herd_slot_config *permanent(const struct herd_step *s, const char *name)
{
	for (size_t i = 0; i < s->cfg->n_slots && may_lead(s); i++) {
		const struct herd_slot_config *p = &s->cfg->slots[i];
		bool here = p->cluster_type == HERD_SLOT_ANY_CLUSTER ||
			    (p->cluster_type == HERD_SLOT_STANDBY) == s->cfg->standby_cluster;

		if (here && strcmp(p->name, name) == 0)
			return p;
	}
	return NULL;
}

bool herd_slot_configured(const struct herd_step *s, const char *name)
{
	return permanent(s, name) != NULL;
}

static bool needs_slot(const struct herd_step *s, const struct herd_member *m)
{
	return !m->tags.nostream && !herd_str_eq(m->name, s->o->name) &&
	       (may_lead(s) || herd_str_eq(m->tags.replicatefrom, s->o->name));
}

/* Does the slot belong to a member that streams, or could, from here? */
static bool of_member(struct herd_step *s, const char *slot)
{
	for (size_t i = 0; i < s->cl->n_members; i++) {
		const struct herd_member *m = &s->cl->members[i];

		if (!needs_slot(s, m))
			continue;
		if (strcmp(herd_plan_keep(s->p, herd_slot_name(m->name)), slot) == 0)
			return true;
	}
	return false;
}

/* Members that vanished keep their slot for member_slots_ttl. */
static bool still_kept(struct herd_step *s, const char *slot)
{
	struct herd_core *c = s->c;

	for (size_t i = 0; i < c->n_gone; i++)
		if (strcmp(c->gone[i].name, slot) == 0)
			return s->o->now_ms - c->gone[i].seen_ms < s->cfg->member_slots_ttl_ms;
	/* One of an earlier leader's, or of a life before: its time begins now. */
	if (!may_lead(s) || strcmp(herd_plan_keep(s->p, herd_slot_name(s->o->name)), slot) == 0 ||
	    !herd_names_has(&s->cl->status.retain_slots, slot))
		return false;
	struct herd_gone_slot *grown = realloc(c->gone, (c->n_gone + 1) * sizeof(*grown));

	if (!grown)
		return true;
	c->gone = grown;
	grown[c->n_gone] = (struct herd_gone_slot){ strdup(slot), s->o->now_ms };
	c->n_gone += grown[c->n_gone].name != NULL;
	return s->cfg->member_slots_ttl_ms > 0;
}

static void saw(struct herd_step *s, const char *slot)
{
	struct herd_core *c = s->c;

	for (size_t i = 0; i < c->n_gone; i++) {
		if (strcmp(c->gone[i].name, slot) == 0) {
			c->gone[i].seen_ms = s->o->now_ms;
			return;
		}
	}
	struct herd_gone_slot *grown = realloc(c->gone, (c->n_gone + 1) * sizeof(*grown));

	if (!grown)
		return;
	c->gone = grown;
	grown[c->n_gone] = (struct herd_gone_slot){ strdup(slot), s->o->now_ms };
	c->n_gone += grown[c->n_gone].name != NULL;
}

static void create(struct herd_step *s, const char *name, const struct herd_slot_config *conf)
{
	struct herd_action *a = herd_plan_add(s, HERD_ACT_SLOT_CREATE, false);

	a->slot = name;
	if (!conf || conf->type == HERD_SLOT_PHYSICAL)
		return;
	a->slot_type = HERD_SLOT_LOGICAL;
	a->database = herd_plan_text(s->p, "%s", conf->database);
	a->plugin = herd_plan_text(s->p, "%s", conf->plugin);
}

/* A standby keeps slots where the leader's are, so that it can lead without a gap. */
static void advance(struct herd_step *s, const struct herd_obs_slot *slot)
{
	uint64_t to = herd_status_slot(&s->cl->status, slot->name);

	if (to > s->o->pg.replay_lsn)
		to = s->o->pg.replay_lsn;
	if (slot->active || slot->type != HERD_SLOT_PHYSICAL || to == 0 || slot->restart_lsn >= to)
		return;
	struct herd_action *a = herd_plan_add(s, HERD_ACT_SLOT_ADVANCE, false);

	a->slot = herd_plan_text(s->p, "%s", slot->name);
	a->lsn = to;
}

static void want_slot(struct herd_step *s, const char *name, const struct herd_slot_config *conf)
{
	const struct herd_obs_slot *slot = existing(s, name);

	if (!slot)
		create(s, name, conf);
	else if (s->o->pg.in_recovery && !slot->lost)
		advance(s, slot);
}

void herd_slots_step(struct herd_step *s)
{
	const struct herd_obs *o = s->o;
	bool standby = o->pg.in_recovery;
	const char *own = herd_plan_keep(s->p, herd_slot_name(o->name));

	if (!o->pg.slots_known)
		return;
	if (s->cfg->use_slots) {
		for (size_t i = 0; i < s->cl->n_members; i++) {
			const struct herd_member *m = &s->cl->members[i];

			if (!needs_slot(s, m))
				continue;
			const char *name = herd_plan_keep(s->p, herd_slot_name(m->name));

			saw(s, name);
			if (strcmp(name, own) != 0)
				want_slot(s, name, NULL);
		}
	}
	for (size_t i = 0; i < s->cfg->n_slots; i++) {
		const struct herd_slot_config *p = &s->cfg->slots[i];

		if (permanent(s, p->name) != p || strcmp(p->name, own) == 0)
			continue;
		/* Logical slots begin on a primary; copying them to standbys is not done here. */
		if (p->type == HERD_SLOT_PHYSICAL || !standby)
			want_slot(s, herd_plan_text(s->p, "%s", p->name), p);
	}
	for (size_t i = 0; i < o->pg.n_slots && !s->paused; i++) {
		const struct herd_obs_slot *slot = &o->pg.slots[i];
		const struct herd_slot_config *p = permanent(s, slot->name);
		bool wrong = p && (p->type != slot->type ||
				   (p->type == HERD_SLOT_LOGICAL &&
				    (!herd_str_eq(p->database, slot->database) ||
				     !herd_str_eq(p->plugin, slot->plugin))));
		bool wanted = (p && !wrong) || (s->cfg->use_slots && of_member(s, slot->name)) ||
			      still_kept(s, slot->name);

		if (slot->temporary || slot->active || slot->failover || ignored(s, slot))
			continue;
		if (wanted && !slot->lost)
			continue;
		herd_plan_add(s, HERD_ACT_SLOT_DROP, false)->slot =
			herd_plan_text(s->p, "%s", slot->name);
	}
}
