/*
 * core/publish.c - what an agent tells the others: its member document; and, as leader, status,
 * history, and the documents that every cluster needs.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/step.h"
#include "model/lsn.h"
#include "model/time.h"

static enum herd_member_state state_of(const struct herd_step *s)
{
	const struct herd_obs *o = s->o;

	switch (o->task.running) {
	case HERD_TASK_BOOTSTRAP:
		return !o->task.custom      ? HERD_STATE_INITDB
		       : o->task.recovering ? HERD_STATE_BOOTSTRAP_STARTING
					    : HERD_STATE_CUSTOM_BOOTSTRAP;
	case HERD_TASK_CLONE:
		return HERD_STATE_CREATING_REPLICA;
	case HERD_TASK_RESTART:
		return HERD_STATE_RESTARTING;
	case HERD_TASK_START:
		return HERD_STATE_STARTING;
	case HERD_TASK_STOP:
		return HERD_STATE_STOPPING;
	default:
		break;
	}
	switch (o->pg.run) {
	case HERD_RUN_RUNNING:
		return HERD_STATE_RUNNING;
	case HERD_RUN_STARTING:
		return HERD_STATE_STARTING;
	case HERD_RUN_STOPPING:
		return HERD_STATE_STOPPING;
	default:
		break;
	}
	if (o->task.last == HERD_TASK_START && !o->task.last_ok)
		return HERD_STATE_START_FAILED;
	if (o->task.last == HERD_TASK_BOOTSTRAP && !o->task.last_ok)
		return o->task.custom ? HERD_STATE_CUSTOM_BOOTSTRAP_FAILED
				      : HERD_STATE_INITDB_FAILED;
	/* Paused, nobody is going to recover it: it is just not running. */
	return o->pg.crashed && !s->paused ? HERD_STATE_CRASHED : HERD_STATE_STOPPED;
}

static enum herd_role role_of(const struct herd_step *s)
{
	const struct herd_obs_pg *pg = &s->o->pg;

	if (s->o->task.running == HERD_TASK_PROMOTE)
		return HERD_ROLE_PROMOTED;
	if (pg->data != HERD_DATA_VALID)
		return HERD_ROLE_UNINITIALIZED;
	if (pg->in_recovery)
		return s->cfg->standby_cluster && s->holds ? HERD_ROLE_STANDBY_LEADER
							   : HERD_ROLE_REPLICA;
	return pg->run == HERD_RUN_DOWN && !s->key_mine ? HERD_ROLE_DEMOTED : HERD_ROLE_PRIMARY;
}

static void fill(const struct herd_step *s, struct herd_member *m)
{
	const struct herd_obs_pg *pg = &s->o->pg;
	bool known = pg->run == HERD_RUN_RUNNING && pg->queryable &&
		     (!s->busy || s->o->task.running == HERD_TASK_PROMOTE ||
		      s->o->task.running == HERD_TASK_CHECKPOINT);

	m->state = state_of(s);
	m->role = role_of(s);
	m->pause = s->paused;
	m->xlog_location = known ? herd_obs_lsn(s->o) : 0;
	m->replay_lsn = known && pg->in_recovery ? pg->replay_lsn : 0;
	m->receive_lsn = known && pg->in_recovery ? pg->receive_lsn : 0;
	m->timeline = known ? pg->timeline : 0;
	m->replication_state = !known || !pg->in_recovery ? NULL
			       : pg->streaming            ? (char *)"streaming"
			       : pg->archive              ? (char *)"in archive recovery"
							  : NULL;
	m->checkpoint_after_promote = m->role == HERD_ROLE_PRIMARY && pg->checkpoint_tl > 0 &&
						      pg->checkpoint_tl < pg->timeline
					      ? 0
					      : -1;
}

/* Equal but for the positions, which change all the time. */
static bool same_but_positions(const struct herd_member *a, const struct herd_member *b)
{
	struct herd_member x = *a, y = *b;

	x.xlog_location = x.replay_lsn = x.receive_lsn = 0;
	y.xlog_location = y.replay_lsn = y.receive_lsn = 0;
	char *tx = herd_member_print(&x), *ty = herd_member_print(&y);
	bool same = herd_str_eq(tx, ty);

	free(tx);
	free(ty);
	return same;
}

/* At once when something that matters changed, else per loop_wait. */
static void put_member(struct herd_step *s, const struct herd_member *m)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;
	size_t at = 0;

	while (at < s->cl->n_members && !herd_str_eq(s->cl->members[at].name, o->name))
		at++;
	bool published =
		at < s->cl->n_members && herd_str_eq(s->cl->member_keys[at].lease, o->lease.id);

	if (published && same_but_positions(&s->cl->members[at], m) &&
	    (o->now_ms - c->member_sent_ms < s->cfg->loop_wait_ms ||
	     s->cl->members[at].xlog_location == m->xlog_location))
		return;
	char *text = herd_member_print(m);

	/* The same was sent a moment ago and the view does not show it yet. */
	if (text && herd_str_eq(text, c->member_sent) && o->now_ms - c->member_sent_ms < 500) {
		free(text);
		return;
	}
	struct herd_action *a = herd_put(s, herd_plan_text(s->p, "members/%s", o->name),
					 herd_plan_keep(s->p, text), -1);

	a->wait = false;
	a->on_lease = true;
	herd_str_set(&c->member_sent, text);
	c->member_sent_ms = o->now_ms;
}

/* What a synchronous standby tells that is about to end. */
static json_t *no_sync(const json_t *tags)
{
	json_t *t = tags ? json_copy((json_t *)tags) : json_object();

	json_object_set_new(t, "nosync", json_true());
	json_object_set_new(t, "sync_priority", json_integer(0));
	return t;
}

/* The member key on our lease. */
void herd_publish_member(struct herd_step *s)
{
	struct herd_member m = *s->o->self; /* texts are borrowed */
	json_t *leaving = NULL;

	if (!s->o->lease.id || !s->o->scope || !s->o->dcs_ok)
		return;
	fill(s, &m);
	if (s->c->leave_ms > 0)
		m.tags.raw = leaving = no_sync(m.tags.raw);
	put_member(s, &m);
	json_decref(leaving);
}

/* The leader's place in the WAL and that of its slots, once per loop_wait. */
void herd_publish_status(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;
	const struct herd_status *now = &s->cl->status;
	struct herd_status st = { .optime = herd_obs_lsn(o) };
	char *own;

	if (o->now_ms - c->status_sent_ms < s->cfg->loop_wait_ms && c->status_sent_ms > 0) {
		herd_step_at(s, c->status_sent_ms + s->cfg->loop_wait_ms);
		return;
	}
	herd_slots_inherit(s);
	/* Without time to live nobody keeps slots of members in advance. */
	for (size_t i = 0; i < o->pg.n_slots; i++)
		if (!o->pg.slots[i].temporary && o->pg.slots[i].restart_lsn > 0 &&
		    (s->cfg->member_slots_ttl_ms > 0 ||
		     herd_slot_configured(s, o->pg.slots[i].name)))
			herd_status_add_slot(&st, o->pg.slots[i].name, o->pg.slots[i].restart_lsn);
	own = herd_slot_name(o->name);
	if (own && s->cfg->use_slots)
		herd_status_add_slot(&st, own, st.optime);
	/* Ours too: whoever leads after us keeps it for our return. */
	if (own && s->cfg->use_slots && s->cfg->member_slots_ttl_ms > 0 &&
	    !herd_slot_configured(s, own))
		herd_names_add(&st.retain_slots, own);
	for (size_t i = 0; i < c->n_gone; i++)
		if (o->now_ms - c->gone[i].seen_ms < s->cfg->member_slots_ttl_ms &&
		    !herd_slot_configured(s, c->gone[i].name))
			herd_names_add(&st.retain_slots, c->gone[i].name);
	char *text = herd_status_print(&st), *old = herd_status_print(now);

	if (!s->cl->status_key.version || !herd_str_eq(text, old)) {
		herd_put(s, "status", herd_plan_text(s->p, "%s", text ? text : "{}"), -1)->wait =
			false;
		c->status_sent_ms = o->now_ms;
	}
	free(own);
	free(text);
	free(old);
	herd_status_clear(&st);
}

/* Does the store show the same changes of timeline? */
static bool same_line(const struct herd_history *local, size_t from, const struct herd_history *old)
{
	size_t n = local ? local->n - from : 0;

	if (n != old->n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (local->line[from + i].timeline != old->line[i].timeline ||
		    local->line[from + i].lsn != old->line[i].lsn)
			return false;
	return true;
}

/* PostgreSQL's word for the change, and what it cost. */
static char *reason_of(struct herd_step *s, const struct herd_history_line *line)
{
	uint64_t lost = herd_lsn_lag(s->c->promote_optime, line->lsn);

	if (lost == 0)
		return line->reason;
	return (char *)herd_plan_text(
		s->p, "%s; at least %llu bytes of WAL of the former leader are lost",
		line->reason ? line->reason : "", (unsigned long long)lost);
}

/* The lines of the server's own history, with times and names where the store knows them. */
static bool publish_history(struct herd_step *s)
{
	const struct herd_history *local = s->o->pg.history, *old = &s->cl->history;
	struct herd_history h = { 0 };
	size_t from = 0;
	bool ok = true;

	if (s->o->pg.timeline == 0 || (s->o->pg.timeline > 1 && !local))
		return false;
	if (s->cfg->max_timelines_history > 0 && local &&
	    local->n > (size_t)s->cfg->max_timelines_history)
		from = local->n - (size_t)s->cfg->max_timelines_history;
	if (s->cl->history_key.version && !s->cl->history_key.bad && same_line(local, from, old))
		return false;
	char *now = herd_time_print(s->o->wall_ms);

	for (size_t i = from; local && i < local->n && ok; i++) {
		struct herd_history_line line = local->line[i];

		line.time = line.leader = NULL;
		for (size_t k = 0; k < old->n; k++) {
			if (old->line[k].timeline == line.timeline &&
			    old->line[k].lsn == line.lsn) {
				line.time = old->line[k].time;
				line.leader = old->line[k].leader;
				line.reason = old->line[k].reason;
			}
		}
		if (i + 1 == local->n && !line.time) {
			line.time = now;
			line.leader = (char *)s->o->name;
			line.reason = reason_of(s, &line);
		}
		ok = herd_history_add(&h, &line) == 0;
	}
	herd_put(s, "history", herd_plan_keep(s->p, herd_history_print(&h)),
		 s->cl->history_key.version);
	free(now);
	herd_history_clear(&h);
	return true;
}

bool herd_publish_documents(struct herd_step *s)
{
	const struct herd_cluster *cl = s->cl;
	bool wrote = false;

	if (!cl->config_key.version) {
		herd_put(s, "config",
			 herd_plan_text(s->p, "%s",
					s->o->bootstrap_config ? s->o->bootstrap_config : "{}"),
			 0);
		wrote = true;
	}
	if (s->o->pg.sysid && (!cl->initialize || cl->initialize[0] == '\0')) {
		herd_put(s, "initialize",
			 herd_plan_text(s->p, "%llu", (unsigned long long)s->o->pg.sysid),
			 cl->initialize_key.version);
		wrote = true;
	}
	wrote |= herd_failsafe_publish(s);
	/* That of a standby cluster is the other cluster's. */
	return (!s->cfg->standby_cluster && publish_history(s)) || wrote;
}
