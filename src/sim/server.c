/*
 * sim/server.c - a fake PostgreSQL: WAL as a list of records, streaming with delays, commits that
 * wait for standbys, timelines, crash recovery, and the ways it starts and ends.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

/* Records that no client waits for: checkpoints, ends of recovery. */
#define NOT_A_COMMIT 0x80000000u

int64_t sim_disk(struct sim *w, int node, int64_t lo, int64_t hi)
{
	return sim_rand(w, lo, hi) * w->nodes[node].slow;
}

bool sim_writable(const struct sim_server *pg)
{
	return pg->run == HERD_RUN_RUNNING && !pg->standby;
}

static void append(struct sim_server *pg, struct sim_record rec)
{
	if (pg->log.n == pg->log.cap) {
		pg->log.cap = pg->log.cap ? pg->log.cap * 2 : 1024;
		pg->log.rec = realloc(pg->log.rec, pg->log.cap * sizeof(rec));
		assert(pg->log.rec);
	}
	pg->log.rec[pg->log.n++] = rec;
}

static void checkpoint_record(struct sim *w, struct sim_server *pg)
{
	pg->checkpoint = pg->log.n;
	pg->checkpoint_tl = pg->timeline;
	append(pg, (struct sim_record){ ++w->next_id | NOT_A_COMMIT, pg->timeline });
}

/* Is the log of a a prefix of that of b? */
static bool prefix(const struct sim_server *a, const struct sim_server *b)
{
	return a->log.n <= b->log.n &&
	       (a->log.n == 0 || a->log.rec[a->log.n - 1].id == b->log.rec[a->log.n - 1].id);
}

/* May this standby get WAL from the server it follows now? */
static bool connected(const struct sim *w, int node)
{
	const struct sim_server *pg = &w->nodes[node].pg;
	int from = pg->following;

	if (pg->run != HERD_RUN_RUNNING || !pg->standby || from < 0 || from == node ||
	    !sim_linked(w, node, from))
		return false;
	const struct sim_server *up = &w->nodes[from].pg;

	return (up->run == HERD_RUN_RUNNING || up->run == HERD_RUN_STOPPING) &&
	       up->sysid == pg->sysid && prefix(pg, up);
}

static void try_acks(struct sim *w, int node)
{
	struct sim_server *pg = &w->nodes[node].pg;
	size_t upto = pg->log.n;

	if (!sim_writable(pg))
		return;
	if (pg->wait_num > 0) {
		/* The wait_num-th largest confirmed place among those that count. */
		size_t place[SIM_NODES];
		int n = 0;

		for (int i = 0; i < w->n_nodes; i++) {
			const struct sim_server *s = &w->nodes[i].pg;
			bool counts = pg->wait_mask >> i & 1 && s->streaming &&
				      s->following == node && connected(w, i);
			size_t at = counts ? pg->confirmed[i] : 0;
			int k = n++;

			for (; k > 0 && place[k - 1] < at; k--)
				place[k] = place[k - 1];
			place[k] = at;
		}
		size_t sync = pg->wait_num <= n ? place[pg->wait_num - 1] : 0;

		upto = sync < upto ? sync : upto;
	}
	for (; pg->acked < upto; pg->acked++)
		if (!(pg->log.rec[pg->acked].id & NOT_A_COMMIT))
			sim_acked(w, node, pg->acked);
}

static void on_confirm(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;
	int from = pg->following;

	if (e->life != pg->life || !connected(w, e->node) || !pg->streaming)
		return;
	struct sim_server *up = &w->nodes[from].pg;

	if ((size_t)e->arg > up->confirmed[e->node])
		up->confirmed[e->node] = (size_t)e->arg;
	try_acks(w, from);
}

static void on_stream(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;
	bool was = pg->streaming;

	if (e->life != pg->life)
		return;
	/* One chain of events per life notices links that break or come back quietly. */
	if (e->arg)
		sim_at(w, w->now + sim_rand(w, 100, 500), on_stream, e->node, pg->life, 1);
	else
		pg->sending = false;
	if (pg->run != HERD_RUN_RUNNING || !pg->standby)
		return;
	pg->streaming = connected(w, e->node);
	if (!pg->streaming)
		return;
	/* The chain only keeps the connection; WAL comes as slowly as it comes. */
	if (e->arg && was && w->nodes[e->node].lag > 0)
		return;
	struct sim_server *up = &w->nodes[pg->following].pg;

	if (!was)
		up->confirmed[e->node] = 0;
	while (pg->log.n < up->log.n)
		append(pg, up->log.rec[pg->log.n]);
	if (pg->timeline != up->timeline) {
		pg->timeline = up->timeline;
		herd_history_clear(&pg->history);
		herd_history_copy(&up->history, &pg->history);
	}
	if (!was)
		sim_agent_wake(w, e->node, 1);
	sim_at(w, w->now + sim_rand(w, 0, 8), on_confirm, e->node, pg->life, (int64_t)pg->log.n);
}

static void kick(struct sim *w, int node, int64_t delay)
{
	struct sim_server *pg = &w->nodes[node].pg;

	if (pg->sending || pg->run != HERD_RUN_RUNNING || !pg->standby)
		return;
	pg->sending = true;
	sim_at(w, w->now + delay, on_stream, node, pg->life, 0);
}

static void kick_followers(struct sim *w, int node)
{
	for (int i = 0; i < w->n_nodes; i++)
		if (w->nodes[i].pg.following == node && i != node)
			kick(w, i, sim_rand(w, 0, 10) + sim_rand(w, 0, w->nodes[i].lag));
}

static void down(struct sim *w, int node, bool crashed)
{
	struct sim_server *pg = &w->nodes[node].pg;

	pg->life++;
	pg->run = HERD_RUN_DOWN;
	pg->crashed = crashed;
	pg->streaming = pg->sending = false;
	pg->down_since = w->now;
	sim_agent_wake(w, node, sim_rand(w, 0, 5));
}

/* What the setting in the file means for commits. */
static void load_ssn(struct sim *w, struct sim_server *pg)
{
	struct herd_ssn ssn;

	herd_ssn_parse(pg->ssn, &ssn);
	pg->wait_mask = 0;
	pg->wait_num = ssn.kind == HERD_SSN_NONE ? 0 : ssn.num;
	for (int i = 0; i < w->n_nodes; i++)
		if (ssn.kind == HERD_SSN_STAR || herd_names_has(&ssn.names, w->nodes[i].name))
			pg->wait_mask |= 1u << i;
	herd_ssn_clear(&ssn);
}

static void on_load_ssn(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (e->life != pg->life)
		return;
	load_ssn(w, pg);
	try_acks(w, e->node);
}

void sim_server_set_ssn(struct sim *w, int node, const char *text)
{
	struct sim_server *pg = &w->nodes[node].pg;

	herd_str_set(&pg->ssn, text);
	sim_tempt(w);
	sim_at(w, w->now + sim_rand(w, 0, 400), on_load_ssn, node, pg->life, 0);
}

static void on_started(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (e->life != pg->life || pg->run != HERD_RUN_STARTING)
		return;
	if (w->faults && sim_chance(w, 20)) {
		sim_trace(w, "%s: postgres fails to start", w->nodes[e->node].name);
		down(w, e->node, true);
		sim_agent_task_done(w, e->node, HERD_TASK_START, false);
		return;
	}
	pg->run = HERD_RUN_RUNNING;
	pg->up_since = w->now;
	pg->control = pg->standby ? HERD_CONTROL_ARCHIVE_RECOVERY : HERD_CONTROL_IN_PRODUCTION;
	pg->acked = pg->log.n;
	memset(pg->confirmed, 0, sizeof(pg->confirmed));
	load_ssn(w, pg);
	if (!pg->standby)
		checkpoint_record(w, pg);
	sim_trace(w, "%s: postgres runs as %s on timeline %u at %zu", w->nodes[e->node].name,
		  pg->standby ? "standby" : "primary", pg->timeline, pg->log.n);
	sim_check_primaries(w);
	sim_at(w, w->now + sim_rand(w, 0, 20), on_stream, e->node, pg->life, 1);
	kick_followers(w, e->node);
	sim_agent_task_done(w, e->node, HERD_TASK_START, true);
}

void sim_server_start(struct sim *w, int node, bool standby, int following)
{
	struct sim_server *pg = &w->nodes[node].pg;

	assert(pg->run == HERD_RUN_DOWN && pg->data == HERD_DATA_VALID);
	pg->standby = standby;
	pg->fresh = false;
	pg->following = following;
	pg->run = HERD_RUN_STARTING;
	pg->crashed = false;
	pg->starting_since = w->now;
	pg->life++;
	sim_at(w, w->now + sim_disk(w, node, 20, standby ? 300 : 800), on_started, node, pg->life,
	       0);
}

/* A fast shutdown waits for standbys that are connected to have the last record. */
static void on_drained(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;
	bool all = true;

	if (e->life != pg->life || pg->run != HERD_RUN_STOPPING)
		return;
	for (int i = 0; i < w->n_nodes; i++) {
		const struct sim_server *s = &w->nodes[i].pg;

		if (i != e->node && s->following == e->node && s->streaming && connected(w, i) &&
		    s->log.n < pg->log.n)
			all = false;
	}
	if (!all && w->now < e->arg) {
		sim_at(w, w->now + 5, on_drained, e->node, pg->life, e->arg);
		return;
	}
	down(w, e->node, false);
	sim_agent_task_done(w, e->node, HERD_TASK_STOP, true);
}

static void on_fast_stop(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (e->life != pg->life || pg->run != HERD_RUN_STOPPING)
		return;
	if (!pg->standby) {
		checkpoint_record(w, pg);
		pg->control = HERD_CONTROL_SHUT_DOWN;
		kick_followers(w, e->node);
	} else {
		pg->control = HERD_CONTROL_SHUT_DOWN_IN_RECOVERY;
	}
	sim_at(w, w->now + 5, on_drained, e->node, pg->life, w->now + 3000);
}

static void on_killed(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (e->life != pg->life)
		return;
	if (pg->run != HERD_RUN_DOWN)
		down(w, e->node, e->arg != 0);
	if (!e->arg)
		sim_agent_task_done(w, e->node, HERD_TASK_STOP, true);
}

void sim_server_stop(struct sim *w, int node, bool immediate)
{
	struct sim_server *pg = &w->nodes[node].pg;

	if (immediate || pg->run != HERD_RUN_RUNNING) {
		sim_at(w, w->now + sim_rand(w, 1, 30), on_killed, node, pg->life, 0);
		return;
	}
	pg->run = HERD_RUN_STOPPING;
	sim_at(w, w->now + sim_disk(w, node, 10, 150), on_fast_stop, node, pg->life, 0);
}

void sim_server_kill(struct sim *w, int node)
{
	struct sim_server *pg = &w->nodes[node].pg;

	if (pg->run == HERD_RUN_DOWN)
		return;
	sim_trace(w, "%s: postgres is killed", w->nodes[node].name);
	down(w, node, true);
	sim_agent_task_done(w, node, HERD_TASK_START, false);
	sim_agent_task_done(w, node, HERD_TASK_PROMOTE, false);
	sim_agent_task_done(w, node, HERD_TASK_CHECKPOINT, false);
	sim_agent_task_done(w, node, HERD_TASK_STOP, true);
}

static void on_promoted(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;
	struct herd_history_line line = { .timeline = pg->timeline,
					  .lsn = sim_lsn(pg->log.n),
					  .reason = (char *)"no recovery target specified" };

	if (e->life != pg->life || pg->run != HERD_RUN_RUNNING || !pg->standby)
		return;
	if (w->faults && sim_chance(w, 15)) {
		sim_agent_task_done(w, e->node, HERD_TASK_PROMOTE, false);
		return;
	}
	sim_check_promotion(w, e->node);
	herd_history_add(&pg->history, &line);
	pg->timeline = ++w->max_timeline;
	pg->standby = false;
	pg->streaming = false;
	pg->control = HERD_CONTROL_IN_PRODUCTION;
	append(pg, (struct sim_record){ ++w->next_id | NOT_A_COMMIT, pg->timeline });
	pg->acked = pg->log.n;
	load_ssn(w, pg);
	w->n_promotions++;
	sim_tempt(w);
	sim_trace(w, "%s: promoted to timeline %u at %zu", w->nodes[e->node].name, pg->timeline,
		  pg->log.n);
	sim_check_primaries(w);
	kick_followers(w, e->node);
	sim_agent_task_done(w, e->node, HERD_TASK_PROMOTE, true);
}

void sim_server_promote(struct sim *w, int node)
{
	sim_at(w, w->now + sim_disk(w, node, 10, 200), on_promoted, node, w->nodes[node].pg.life,
	       0);
}

static void on_checkpoint(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (e->life != pg->life || pg->run != HERD_RUN_RUNNING)
		return;
	if (!pg->standby)
		checkpoint_record(w, pg);
	kick_followers(w, e->node);
	sim_agent_task_done(w, e->node, HERD_TASK_CHECKPOINT, true);
}

void sim_server_checkpoint(struct sim *w, int node)
{
	sim_at(w, w->now + sim_disk(w, node, 5, 300), on_checkpoint, node, w->nodes[node].pg.life,
	       0);
}

static void on_bootstrapped(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	struct sim_server *pg = &n->pg;

	if (e->life != n->task_serial || n->task != HERD_TASK_BOOTSTRAP)
		return;
	if (w->faults && sim_chance(w, 50)) {
		sim_agent_task_done(w, e->node, HERD_TASK_BOOTSTRAP, false);
		return;
	}
	pg->data = HERD_DATA_VALID;
	pg->fresh = true;
	pg->sysid = (uint64_t)sim_rand(w, 1, INT64_MAX);
	pg->standby = false;
	pg->timeline = 1;
	pg->control = HERD_CONTROL_SHUT_DOWN;
	checkpoint_record(w, pg);
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
	pg->log.n = 0;
	pg->sysid = 0;
	pg->timeline = 0;
	pg->checkpoint = 0;
	pg->checkpoint_tl = 0;
	pg->control = HERD_CONTROL_UNKNOWN;
	herd_history_clear(&pg->history);
	herd_str_set(&pg->ssn, "");
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
	if (!sim_linked(w, e->node, from) || up->run != HERD_RUN_RUNNING ||
	    (rewind && (up->standby || up->sysid != pg->sysid)) ||
	    (w->faults && sim_chance(w, 50))) {
		sim_agent_task_done(w, e->node, n->task, false);
		return;
	}
	pg->log.n = 0;
	for (size_t i = 0; i < up->log.n; i++)
		append(pg, up->log.rec[i]);
	pg->data = HERD_DATA_VALID;
	pg->standby = true;
	pg->fresh = false;
	pg->sysid = up->sysid;
	pg->timeline = up->timeline;
	pg->checkpoint = up->checkpoint;
	pg->checkpoint_tl = up->checkpoint_tl;
	pg->control = HERD_CONTROL_ARCHIVE_RECOVERY;
	herd_str_set(&pg->ssn, up->ssn);
	herd_history_clear(&pg->history);
	herd_history_copy(&up->history, &pg->history);
	sim_agent_task_done(w, e->node, n->task, true);
}

void sim_server_copy(struct sim *w, int node, int from, bool rewind)
{
	if (!rewind)
		sim_server_wipe(w, node);
	sim_at(w, w->now + sim_disk(w, node, 100, 1000), on_copied, node,
	       w->nodes[node].task_serial, from);
}

void sim_server_follow(struct sim *w, int node, int following)
{
	struct sim_server *pg = &w->nodes[node].pg;

	pg->following = following;
	pg->streaming = false;
	kick(w, node, sim_rand(w, 1, 30));
}

void sim_server_write(struct sim *w, int node)
{
	struct sim_server *pg = &w->nodes[node].pg;

	if (!sim_writable(pg))
		return;
	append(pg, (struct sim_record){ ++w->next_id, pg->timeline });
	try_acks(w, node);
	kick_followers(w, node);
}

void sim_server_free(struct sim_server *pg)
{
	free(pg->log.rec);
	free(pg->ssn);
	herd_history_clear(&pg->history);
}
