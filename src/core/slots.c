/*
 * core/slots.c - replication slots: one for every other member, those that are permanent, and for a
 * while those of members that have gone. First the list of what this node is to have, then what is
 * to be done about it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/step.h"
#include "model/lsn.h"

const struct herd_obs_slot *herd_slot_find(const struct herd_step *s, const char *name)
{
	for (size_t i = 0; i < s->o->pg.n_slots; i++)
		if (strcmp(s->o->pg.slots[i].name, name) == 0)
			return &s->o->pg.slots[i];
	return NULL;
}

bool herd_slot_matches(const struct herd_slot_config *conf, const struct herd_obs_slot *slot)
{
	if (!conf || conf->type == HERD_SLOT_PHYSICAL)
		return slot->type == HERD_SLOT_PHYSICAL;
	return slot->type == HERD_SLOT_LOGICAL && herd_str_eq(conf->database, slot->database) &&
	       herd_str_eq(conf->plugin, slot->plugin);
}

/* --- what is to be there ---------------------------------------------------------------------- */

static bool leads(const struct herd_step *s)
{
	return !s->o->pg.in_recovery || (s->cfg->standby_cluster && s->key_mine);
}

/* Slots are for those who lead or may come to lead; others keep them for who streams from them. */
static bool may_lead(const struct herd_step *s)
{
	return leads(s) || herd_tags_failover_priority(&s->o->self->tags) > 0;
}

static const struct herd_slot_config *permanent(const struct herd_step *s, const char *name)
{
	bool physical_only = s->cfg->standby_cluster ||
			     (!leads(s) && !herd_slots_fed_by_stream(s->cl, &s->o->self->tags));

	for (size_t i = 0; i < s->cfg->n_slots && may_lead(s) && s->cfg->use_slots; i++) {
		const struct herd_slot_config *p = &s->cfg->slots[i];
		bool here = p->cluster_type == HERD_SLOT_ANY_CLUSTER ||
			    (p->cluster_type == HERD_SLOT_STANDBY) == s->cfg->standby_cluster;

		if (p->type == HERD_SLOT_LOGICAL && physical_only)
			here = false;
		if (here && strcmp(p->name, name) == 0)
			return p;
	}
	return NULL;
}

bool herd_slot_configured(const struct herd_step *s, const char *name)
{
	return permanent(s, name) != NULL;
}

/* Is the member to stream from this node? */
static bool streams_here(const struct herd_step *s, const struct herd_member *m)
{
	const char *from = m->tags.replicatefrom;

	if (herd_str_eq(from, s->o->name))
		return !herd_str_eq(m->name, s->cl->leader);
	return leads(s) && (!from || !herd_cluster_member(s->cl, from));
}

static bool needs_slot(const struct herd_step *s, const struct herd_member *m)
{
	if (m->tags.nostream || herd_str_eq(m->name, s->o->name) || !s->cfg->use_slots)
		return false;
	/* Without time to live nothing is kept in advance for a change of leader. */
	if (s->cfg->member_slots_ttl_ms == 0)
		return streams_here(s, m);
	return may_lead(s) || herd_str_eq(m->tags.replicatefrom, s->o->name);
}

struct wants {
	struct herd_want_slot *v;
	size_t n;
};

static struct herd_want_slot *wanted(const struct wants *w, const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->v[i].name, name) == 0)
			return &w->v[i];
	return NULL;
}

static void want_member(struct herd_step *s, struct wants *w, const struct herd_member *m)
{
	const char *name = herd_plan_keep(s->p, herd_slot_name(m->name));
	uint64_t lsn = herd_status_slot(&s->cl->status, name);

	if (wanted(w, name)) {
		herd_warn(s, "Following cluster members share a replication slot name: %s", name);
		return;
	}
	/* The slot that the leader has for a cascading member stands still: its own word counts. */
	w->v[w->n++] = (struct herd_want_slot){
		.name = name,
		.lsn = m->xlog_location > lsn ? m->xlog_location : lsn,
		.streamed = streams_here(s, m),
	};
}

static void want_permanent(struct herd_step *s, struct wants *w, const char *own)
{
	for (size_t i = 0; i < s->cfg->n_slots; i++) {
		const struct herd_slot_config *p = &s->cfg->slots[i];

		if (permanent(s, p->name) != p)
			continue;
		if (wanted(w, p->name) || strcmp(p->name, own) == 0) {
			if (p->type == HERD_SLOT_LOGICAL)
				herd_warn(s,
					  "Permanent logical replication slot '%s' is conflicting "
					  "with physical replication slot for cluster member",
					  p->name);
			continue;
		}
		w->v[w->n++] = (struct herd_want_slot){
			.name = herd_plan_text(s->p, "%s", p->name),
			.conf = p,
			.lsn = herd_status_slot(&s->cl->status, p->name),
		};
	}
}

/* When a member was last there. Later than what was known, never earlier. */
static void saw(struct herd_step *s, const char *slot, int64_t ms)
{
	struct herd_core *c = s->c;

	for (size_t i = 0; i < c->n_gone; i++) {
		if (strcmp(c->gone[i].name, slot) == 0) {
			if (ms > c->gone[i].seen_ms)
				c->gone[i].seen_ms = ms;
			return;
		}
	}
	struct herd_gone_slot *grown = realloc(c->gone, (c->n_gone + 1) * sizeof(*grown));

	if (!grown)
		return;
	c->gone = grown;
	grown[c->n_gone] = (struct herd_gone_slot){ strdup(slot), ms };
	c->n_gone += grown[c->n_gone].name != NULL;
}

void herd_slots_inherit(struct herd_step *s)
{
	const struct herd_names *retain = &s->cl->status.retain_slots;
	const char *own = herd_plan_keep(s->p, herd_slot_name(s->o->name));
	struct herd_core *c = s->c;

	if (!s->cfg->use_slots || !may_lead(s))
		return;
	for (size_t i = 0; i < s->cl->n_members; i++)
		if (needs_slot(s, &s->cl->members[i]))
			saw(s, herd_plan_keep(s->p, herd_slot_name(s->cl->members[i].name)),
			    s->o->now_ms);
	/* One of an earlier leader's, or of a life before: its time begins now. */
	for (size_t i = 0; i < retain->n; i++) {
		/* Others go by the leader's word for as long as it is said. */
		bool known = false;

		for (size_t k = 0; k < c->n_gone && leads(s); k++)
			known |= strcmp(c->gone[k].name, retain->name[i]) == 0;
		if (!known && strcmp(retain->name[i], own) != 0)
			saw(s, retain->name[i], s->o->now_ms);
	}
}

/* Members that vanished keep their slot for member_slots_ttl. */
static void want_retained(struct herd_step *s, struct wants *w, const char *own)
{
	struct herd_core *c = s->c;

	if (!s->cfg->use_slots || !may_lead(s))
		return;
	herd_slots_inherit(s);
	for (size_t i = 0; i < c->n_gone; i++) {
		const char *name = c->gone[i].name;

		if (s->o->now_ms - c->gone[i].seen_ms >= s->cfg->member_slots_ttl_ms ||
		    wanted(w, name) || strcmp(name, own) == 0)
			continue;
		w->v[w->n++] = (struct herd_want_slot){
			.name = herd_plan_text(s->p, "%s", name),
			.lsn = herd_status_slot(&s->cl->status, name),
		};
	}
}

static bool list(struct herd_step *s, struct wants *w)
{
	const char *own = herd_plan_keep(s->p, herd_slot_name(s->o->name));
	size_t most =
		s->cl->n_members + s->cfg->n_slots + s->c->n_gone + s->cl->status.retain_slots.n;

	*w = (struct wants){ calloc(most + 1, sizeof(*w->v)), 0 };
	if (!w->v)
		return false;
	for (size_t i = 0; i < s->cl->n_members; i++) {
		if (!needs_slot(s, &s->cl->members[i]))
			continue;
		want_member(s, w, &s->cl->members[i]);
		if (w->n > 0)
			saw(s, w->v[w->n - 1].name, s->o->now_ms);
	}
	want_permanent(s, w, own);
	want_retained(s, w, own);
	return true;
}

/* --- what is to be done ----------------------------------------------------------------------- */

static bool ignored(const struct herd_step *s, const struct herd_obs_slot *slot)
{
	for (size_t i = 0; i < s->cfg->n_ignore; i++) {
		const struct herd_slot_ignore *g = &s->cfg->ignore[i];

		if ((!g->name || strcmp(g->name, slot->name) == 0) &&
		    (!g->database || herd_str_eq(g->database, slot->database)) &&
		    (!g->plugin || herd_str_eq(g->plugin, slot->plugin)) &&
		    (g->type == HERD_SLOT_ANY_TYPE || g->type == (int)slot->type))
			return true;
	}
	/* The work of a move or split of shards that runs right now. */
	return !s->o->pg.in_recovery && (herd_str_starts(slot->name, "citus_shard_move_slot_") ||
					 herd_str_starts(slot->name, "citus_shard_split_slot_"));
}

/* A slot that PostgreSQL (17 and later) keeps on all nodes by itself. */
static bool of_postgresql(const struct herd_step *s, const struct herd_obs_slot *slot)
{
	return slot->failover && (slot->synced || !s->o->pg.in_recovery);
}

static void drop(struct herd_step *s, const struct herd_obs_slot *slot)
{
	herd_plan_add(s, HERD_ACT_SLOT_DROP, false)->slot = herd_plan_text(s->p, "%s", slot->name);
}

static void create(struct herd_step *s, const struct herd_want_slot *w)
{
	struct herd_action *a = herd_plan_add(s, HERD_ACT_SLOT_CREATE, false);

	a->slot = w->name;
	if (!w->conf || w->conf->type == HERD_SLOT_PHYSICAL)
		return;
	a->slot_type = HERD_SLOT_LOGICAL;
	a->database = herd_plan_text(s->p, "%s", w->conf->database);
	a->plugin = herd_plan_text(s->p, "%s", w->conf->plugin);
}

static void drop_unwanted(struct herd_step *s, const struct wants *w)
{
	for (size_t i = 0; i < s->o->pg.n_slots; i++) {
		const struct herd_obs_slot *slot = &s->o->pg.slots[i];
		const struct herd_want_slot *want = wanted(w, slot->name);

		if (slot->temporary || slot->active || of_postgresql(s, slot))
			continue;
		/* What a demoted primary has left stands in the way of PostgreSQL's own copy. */
		if (want && slot->failover && s->o->pg.slot_sync)
			drop(s, slot);
		else if (want && (slot->lost || !herd_slot_matches(want->conf, slot)))
			drop(s, slot);
		else if (!want && !ignored(s, slot))
			drop(s, slot);
	}
}

/* A slot that nobody uses here keeps what its last user has left: an xmin that never moves again.
 */
static bool stale_xmin(const struct herd_want_slot *w, const struct herd_obs_slot *slot)
{
	return slot->has_xmin && !w->streamed && !w->conf;
}

/* A node keeps slots where their users are, so that it can lead without a gap. */
static void advance(struct herd_step *s, const struct herd_want_slot *w,
		    const struct herd_obs_slot *slot)
{
	uint64_t end = s->o->pg.in_recovery ? s->o->pg.replay_lsn : s->o->pg.flush_lsn;
	uint64_t to = w->lsn < end ? w->lsn : end;

	if (slot->active || w->streamed || to == 0 || slot->restart_lsn >= to)
		return;
	struct herd_action *a = herd_plan_add(s, HERD_ACT_SLOT_ADVANCE, false);

	a->slot = w->name;
	a->lsn = to;
}

static bool is_member(struct herd_step *s, const char *slot)
{
	for (size_t i = 0; i < s->cl->n_members; i++) {
		char *name = herd_slot_name(s->cl->members[i].name);
		bool same = herd_str_eq(name, slot);

		free(name);
		if (same)
			return true;
	}
	return false;
}

static void physical(struct herd_step *s, const struct herd_want_slot *w)
{
	const struct herd_obs_slot *slot = herd_slot_find(s, w->name);
	/* A leader's own slots are where they belong; what it keeps for others moves with those. */
	bool elsewhere = !leads(s) || is_member(s, w->name);

	if (!slot) {
		create(s, w);
		return;
	}
	if (slot->type != HERD_SLOT_PHYSICAL || slot->lost)
		return;
	/* One that holds back no WAL is of no use. */
	if (!slot->active && !slot->temporary && !s->paused &&
	    (slot->restart_lsn == 0 || (elsewhere && stale_xmin(w, slot)))) {
		drop(s, slot);
		create(s, w);
	} else if (elsewhere) {
		advance(s, w, slot);
	}
}

void herd_slots_step(struct herd_step *s)
{
	struct wants w;

	/* Without a view there are no settings either: every slot would look like nobody's. */
	if (!s->o->pg.slots_known || !s->o->scope)
		return;
	if (!list(s, &w)) {
		s->p->failed = true;
		return;
	}
	if (!s->paused)
		drop_unwanted(s, &w);
	for (size_t i = 0; i < w.n; i++)
		if (!w.v[i].conf || w.v[i].conf->type == HERD_SLOT_PHYSICAL)
			physical(s, &w.v[i]);
	herd_slots_logical(s, w.v, w.n);
	free(w.v);
}
