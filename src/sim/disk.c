/*
 * sim/disk.c - what lies in a data directory: made, copied, rewound, torn, wiped; and the
 * replication slots in it.
 */
#include <assert.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

static void on_bootstrapped(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	struct sim_server *pg = &n->pg;

	if (e->life != n->task_serial || n->task != HERD_TASK_BOOTSTRAP)
		return;
	if (w->faults && !w->opt->calm && sim_chance(w, 50)) {
		sim_agent_task_done(w, e->node, HERD_TASK_BOOTSTRAP, false);
		return;
	}
	pg->data = HERD_DATA_VALID;
	pg->fresh = true;
	pg->sysid = (uint64_t)sim_rand(w, 1, INT64_MAX);
	pg->standby = false;
	pg->timeline = 1;
	pg->control = HERD_CONTROL_SHUT_DOWN;
	pg->checkpoint = pg->log.n;
	pg->checkpoint_tl = 1;
	sim_server_append(pg, (struct sim_record){ ++w->next_id | 0x80000000u, 1 });
	sim_agent_task_done(w, e->node, HERD_TASK_BOOTSTRAP, true);
}

void sim_server_bootstrap(struct sim *w, int node)
{
	sim_at(w, w->now + sim_disk(w, node, 200, 900), on_bootstrapped, node,
	       w->nodes[node].task_serial, 0);
}

void sim_server_wipe(struct sim *w, int node)
{
	struct sim_server *pg = &w->nodes[node].pg;

	assert(pg->run == HERD_RUN_DOWN);
	pg->data = HERD_DATA_EMPTY;
	pg->torn = pg->marked = pg->fresh = pg->orphans = false;
	pg->log.n = 0;
	pg->sysid = 0;
	pg->timeline = 0;
	pg->checkpoint = 0;
	pg->checkpoint_tl = 0;
	pg->control = HERD_CONTROL_UNKNOWN;
	pg->n_slots = 0;
	pg->history_serial++;
	herd_history_clear(&pg->history);
	pg->ssn = sim_intern(w, "");
}

static void copy_all(struct sim *w, struct sim_server *pg, const struct sim_server *up)
{
	pg->log.n = 0;
	for (size_t i = 0; i < up->log.n; i++)
		sim_server_append(pg, up->log.rec[i]);
	pg->data = HERD_DATA_VALID;
	pg->torn = pg->marked = pg->fresh = false;
	pg->standby = true;
	pg->sysid = up->sysid;
	pg->timeline = up->timeline;
	pg->checkpoint = up->checkpoint;
	pg->checkpoint_tl = up->checkpoint_tl;
	pg->control = HERD_CONTROL_ARCHIVE_RECOVERY;
	pg->ssn = up->ssn;
	pg->n_slots = 0;
	pg->history_serial++;
	herd_history_clear(&pg->history);
	herd_history_copy(&up->history, &pg->history);
}

static void on_copied(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	struct sim_server *pg = &n->pg, *up;
	bool rewind = n->task == HERD_TASK_REWIND;
	int from = (int)e->arg;

	if (e->life != n->task_serial || (!rewind && n->task != HERD_TASK_CLONE))
		return;
	up = &w->nodes[from].pg;
	if (!sim_linked(w, e->node, from) || up->run != HERD_RUN_RUNNING || pg->full ||
	    up->frozen_until > w->now ||
	    (rewind && (up->standby || up->sysid != pg->sysid || pg->torn)) ||
	    (w->faults && !w->opt->calm && sim_chance(w, 50))) {
		/* A copy that fails is removed; a rewind that fails late leaves what cannot be
		 * used. */
		if (!rewind)
			sim_server_wipe(w, e->node);
		else if (sim_chance(w, 300))
			pg->torn = true;
		sim_agent_task_done(w, e->node, n->task, false);
		return;
	}
	copy_all(w, pg, up);
	sim_agent_task_done(w, e->node, n->task, true);
}

void sim_server_copy(struct sim *w, int node, int from, bool rewind)
{
	if (!rewind)
		sim_server_wipe(w, node);
	else
		w->nodes[node].pg.marked = true;
	sim_at(w, w->now + sim_disk(w, node, 100, 1000), on_copied, node,
	       w->nodes[node].task_serial, from);
}

void sim_server_copy_broke(struct sim *w, int node)
{
	struct sim_server *pg = &w->nodes[node].pg;

	if (w->nodes[node].task == HERD_TASK_CLONE)
		pg->data = sim_chance(w, 500) ? HERD_DATA_BROKEN : HERD_DATA_EMPTY;
	else if (sim_chance(w, 500))
		pg->torn = true;
	if (pg->torn || pg->data == HERD_DATA_BROKEN)
		sim_trace(w, w->nodes[node].name, "a copy broke off, its data is torn");
}

/* ---- slots ---- */

struct sim_slot *sim_slot_find(struct sim_server *pg, const char *name)
{
	for (size_t i = 0; i < pg->n_slots; i++)
		if (strcmp(pg->slots[i].name, name) == 0)
			return &pg->slots[i];
	return NULL;
}

void sim_slot_create(struct sim *w, int node, const struct herd_action *a)
{
	struct sim_server *pg = &w->nodes[node].pg;

	if (pg->run != HERD_RUN_RUNNING || sim_slot_find(pg, a->slot))
		return;
	if (pg->n_slots == SIM_SLOTS) {
		sim_fail(w, "%s makes more slots than anybody asked for: %s", w->nodes[node].name,
			 a->slot);
		return;
	}
	if (a->slot_type == HERD_SLOT_LOGICAL && pg->standby)
		return; /* PostgreSQL 15 refuses it */
	pg->slots[pg->n_slots++] = (struct sim_slot){
		.name = sim_intern(w, a->slot),
		.database = sim_intern(w, a->database),
		.plugin = sim_intern(w, a->plugin),
		.type = a->slot_type,
		.place = pg->log.n,
	};
}

/* The files of logical slots, put in place while the server is down. */
void sim_slots_copied(struct sim *w, int node)
{
	const struct sim_node *n = &w->nodes[node];
	struct sim_server *pg = &w->nodes[node].pg;

	for (size_t i = 0; i < n->copy_n; i++) {
		struct sim_slot *from = sim_slot_find(&w->nodes[n->copy_from].pg, n->copy[i]);
		struct sim_slot *to = sim_slot_find(pg, n->copy[i]);

		if (!from || !sim_linked(w, node, n->copy_from))
			continue;
		if (!to && pg->n_slots < SIM_SLOTS)
			to = &pg->slots[pg->n_slots++];
		if (to)
			*to = *from;
	}
}

void sim_slot_drop(struct sim *w, int node, const char *name)
{
	struct sim_server *pg = &w->nodes[node].pg;
	struct sim_slot *slot = sim_slot_find(pg, name);

	if (pg->run != HERD_RUN_RUNNING || !slot)
		return;
	sim_check_drop(w, node, slot);
	*slot = pg->slots[--pg->n_slots];
}

void sim_slot_advance(struct sim *w, int node, const char *name, uint64_t lsn)
{
	struct sim_server *pg = &w->nodes[node].pg;
	struct sim_slot *slot = sim_slot_find(pg, name);

	if (pg->run != HERD_RUN_RUNNING || !slot)
		return;
	if (lsn > sim_lsn(pg->log.n))
		sim_fail(w, "%s advances slot %s beyond its own WAL", w->nodes[node].name, name);
	if (lsn / SIM_RECORD > slot->place)
		slot->place = lsn / SIM_RECORD;
}
