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

/*
 * Can a client still be told that its commit is done? A fast shutdown ends sessions one by one, so
 * until its checkpoint; a postmaster that is gone may leave a session behind.
 */
bool sim_writable(const struct sim_server *pg)
{
	if (pg->standby)
		return false;
	return pg->orphans || pg->run == HERD_RUN_RUNNING ||
	       (pg->run == HERD_RUN_STOPPING && pg->control != HERD_CONTROL_SHUT_DOWN);
}

/* Stopped processes go on later with what they were about to do. */
static bool frozen(struct sim *w, struct sim_event *e, bool by_postmaster)
{
	const struct sim_server *pg = &w->nodes[e->node].pg;
	int64_t until = pg->frozen_until;

	if (by_postmaster && pg->postmaster_until > until)
		until = pg->postmaster_until;
	if (until <= w->now || e->life != pg->life)
		return false;
	sim_at(w, until, e->fn, e->node, e->life, e->arg);
	return true;
}

void sim_server_append(struct sim_server *pg, struct sim_record rec)
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
	if (pg->full)
		return;
	pg->checkpoint = pg->log.n;
	pg->checkpoint_tl = pg->timeline;
	sim_server_append(pg, (struct sim_record){ ++w->next_id | NOT_A_COMMIT, pg->timeline });
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
	    !sim_linked(w, node, from) || pg->frozen_until > w->now)
		return false;
	const struct sim_server *up = &w->nodes[from].pg;

	return (up->run == HERD_RUN_RUNNING || up->run == HERD_RUN_STOPPING || up->orphans) &&
	       up->frozen_until <= w->now && up->sysid == pg->sysid && prefix(pg, up);
}

static void try_acks(struct sim *w, int node)
{
	struct sim_server *pg = &w->nodes[node].pg;
	size_t upto = pg->log.n;

	if (!sim_writable(pg) || pg->frozen_until > w->now)
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

	if (frozen(w, e, false) || e->life != pg->life || !connected(w, e->node) || !pg->streaming)
		return;
	struct sim_server *up = &w->nodes[from].pg;

	if ((size_t)e->arg > up->confirmed[e->node])
		up->confirmed[e->node] = (size_t)e->arg;
	try_acks(w, from);
}

static void kick_followers(struct sim *w, int node);

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
	if (pg->run != HERD_RUN_RUNNING || !pg->standby || pg->frozen_until > w->now)
		return;
	pg->streaming = connected(w, e->node) && !pg->full;
	if (!pg->streaming)
		return;
	/* The chain only keeps the connection; WAL comes as slowly as it comes. */
	if (e->arg && was && w->nodes[e->node].lag > 0)
		return;
	struct sim_server *up = &w->nodes[pg->following].pg;

	size_t before = pg->log.n;

	if (!was)
		up->confirmed[e->node] = 0;
	while (pg->log.n < up->log.n)
		sim_server_append(pg, up->log.rec[pg->log.n]);
	if (pg->timeline != up->timeline || pg->history.n != up->history.n) {
		pg->timeline = up->timeline;
		pg->history_serial++;
		herd_history_clear(&pg->history);
		herd_history_copy(&up->history, &pg->history);
	}
	if (pg->log.n > before)
		kick_followers(w, e->node);
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
	pg->orphans = false;
	pg->streaming = pg->sending = false;
	pg->frozen_until = pg->postmaster_until = 0;
	pg->down_since = w->now;
	sim_agent_wake(w, node, sim_rand(w, 0, 5));
}

/* What the setting in the file means for commits. */
static void load_ssn(struct sim *w, struct sim_server *pg)
{
	struct herd_ssn ssn;

	herd_ssn_parse(pg->ssn, &ssn);
	pg->wait_mask = 0;
	pg->wait_any = ssn.kind == HERD_SSN_STAR;
	pg->wait_num = ssn.kind == HERD_SSN_NONE ? 0 : ssn.num;
	for (int i = 0; i < w->n_nodes; i++)
		if (ssn.kind == HERD_SSN_STAR || herd_names_has(&ssn.names, w->nodes[i].name))
			pg->wait_mask |= 1u << i;
	herd_ssn_clear(&ssn);
}

static void on_show_ssn(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (!frozen(w, e, true) && e->life == pg->life)
		pg->ssn_shown = pg->ssn;
}

static void on_load_ssn(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (frozen(w, e, true) || e->life != pg->life)
		return;
	load_ssn(w, pg);
	sim_check_waits(w, e->node);
	try_acks(w, e->node);
}

void sim_server_set_ssn(struct sim *w, int node, const char *text)
{
	struct sim_server *pg = &w->nodes[node].pg;

	pg->ssn = sim_intern(w, text ? text : "");
	sim_tempt(w, node);
	sim_at(w, w->now + sim_rand(w, 0, 20), on_show_ssn, node, pg->life, 0);
	sim_at(w, w->now + sim_rand(w, 0, 400), on_load_ssn, node, pg->life, 0);
}

static void started(struct sim *w, int node, bool ok)
{
	sim_agent_task_done(w, node, HERD_TASK_START, ok);
	sim_agent_task_done(w, node, HERD_TASK_RESTART, ok);
	sim_agent_task_done(w, node, HERD_TASK_SLOTS_COPY, ok);
}

static void on_started(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (frozen(w, e, true) || e->life != pg->life || pg->run != HERD_RUN_STARTING)
		return;
	if ((w->faults && !w->opt->calm && sim_chance(w, 20)) || pg->full || pg->torn) {
		sim_trace(w, w->nodes[e->node].name, "postgres fails to start%s",
			  pg->torn   ? ": its data is torn"
			  : pg->full ? ": the disk is full"
				     : "");
		down(w, e->node, true);
		started(w, e->node, false);
		return;
	}
	pg->run = HERD_RUN_RUNNING;
	pg->up_since = w->now;
	pg->control = pg->standby ? HERD_CONTROL_ARCHIVE_RECOVERY : HERD_CONTROL_IN_PRODUCTION;
	pg->acked = pg->log.n;
	memset(pg->confirmed, 0, sizeof(pg->confirmed));
	load_ssn(w, pg);
	pg->ssn_shown = pg->ssn;
	if (!pg->standby)
		checkpoint_record(w, pg);
	sim_trace(w, w->nodes[e->node].name, "postgres runs as %s on timeline %u at %zu",
		  pg->standby ? "standby" : "primary", pg->timeline, pg->log.n);
	sim_check_primaries(w, e->node);
	sim_at(w, w->now + sim_rand(w, 0, 20), on_stream, e->node, pg->life, 1);
	kick_followers(w, e->node);
	started(w, e->node, true);
}

void sim_server_start(struct sim *w, int node, bool standby, int following)
{
	struct sim_server *pg = &w->nodes[node].pg;

	assert(pg->run == HERD_RUN_DOWN && pg->data == HERD_DATA_VALID);
	sim_server_kill_orphans(w, node);
	if (pg->torn && pg->marked)
		sim_fail(w, "%s starts what a rewind has left half done", w->nodes[node].name);
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

	if (frozen(w, e, true) || e->life != pg->life || pg->run != HERD_RUN_STOPPING)
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
	bool copies = w->nodes[e->node].task == HERD_TASK_SLOTS_COPY;
	bool again = w->nodes[e->node].task == HERD_TASK_RESTART || copies;

	down(w, e->node, false);
	if (copies)
		sim_slots_copied(w, e->node);
	if (again)
		sim_server_start(w, e->node, w->nodes[e->node].restart_standby, pg->following);
	else
		sim_agent_task_done(w, e->node, HERD_TASK_STOP, true);
}

static void on_fast_stop(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (frozen(w, e, true) || e->life != pg->life || pg->run != HERD_RUN_STOPPING)
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

/* The processes are gone, whoever ended them: so is what the agent was waiting for. */
static void ended(struct sim *w, int node)
{
	started(w, node, false);
	sim_agent_task_done(w, node, HERD_TASK_PROMOTE, false);
	sim_agent_task_done(w, node, HERD_TASK_CHECKPOINT, false);
	sim_agent_task_done(w, node, HERD_TASK_STOP, true);
}

static void on_killed(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (e->life == pg->life && (pg->run != HERD_RUN_DOWN || pg->orphans))
		down(w, e->node, e->arg != 0);
	if (pg->run == HERD_RUN_DOWN)
		ended(w, e->node);
}

/* How long SIGQUIT takes; a server that does not listen to it gets SIGKILL after the limit. */
static int64_t quit_ms(struct sim *w, struct sim_server *pg, int64_t limit)
{
	bool deaf = pg->frozen_until > w->now || sim_chance(w, 20);
	int64_t ms = deaf ? limit + sim_rand(w, 0, 30) : sim_rand(w, 1, 30);

	/* What cannot even take a signal cannot answer clients either. */
	if (deaf && pg->frozen_until < w->now + ms)
		pg->frozen_until = w->now + ms;
	return ms;
}

void sim_server_stop(struct sim *w, int node, bool immediate)
{
	struct sim_server *pg = &w->nodes[node].pg;

	if (immediate || pg->run != HERD_RUN_RUNNING) {
		sim_at(w, w->now + quit_ms(w, pg, 1000), on_killed, node, pg->life, 0);
		return;
	}
	pg->run = HERD_RUN_STOPPING;
	sim_at(w, w->now + sim_disk(w, node, 10, 150), on_fast_stop, node, pg->life, 0);
}

void sim_server_restart(struct sim *w, int node)
{
	w->nodes[node].restart_standby = w->nodes[node].pg.standby;
	sim_server_stop(w, node, false);
}

void sim_server_guard_kill(struct sim *w, int node)
{
	struct sim_server *pg = &w->nodes[node].pg;

	sim_at(w, w->now + quit_ms(w, pg, 250), on_killed, node, pg->life, 1);
}

static void on_orphans_end(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;

	if (e->life == pg->life)
		pg->orphans = false;
}

void sim_server_kill_orphans(struct sim *w, int node)
{
	struct sim_server *pg = &w->nodes[node].pg;

	if (!pg->orphans)
		return;
	sim_trace(w, w->nodes[node].name, "what a dead postmaster left behind is killed");
	pg->orphans = false;
}

void sim_server_kill(struct sim *w, int node, bool orphans)
{
	struct sim_server *pg = &w->nodes[node].pg;
	bool writes = sim_writable(pg);

	if (pg->run == HERD_RUN_DOWN && !pg->orphans)
		return;
	sim_trace(w, w->nodes[node].name, "postgres is killed%s",
		  orphans && writes ? ", a session of it lives on" : "");
	down(w, node, true);
	if (orphans && writes) {
		pg->orphans = true;
		sim_at(w, w->now + sim_rand(w, 100, 20000), on_orphans_end, node, pg->life, 0);
	}
	ended(w, node);
}

/* Has another begun the timeline of this number at the same place? */
static bool taken(const struct sim *w, int node, uint64_t lsn)
{
	const struct sim_node *n = &w->nodes[node];

	for (int i = 0; i < w->n_nodes; i++) {
		const struct sim_server *s = &w->nodes[i].pg;

		if (i == node || w->nodes[i].group != n->group)
			continue;
		for (size_t k = 0; k < s->history.n; k++)
			if (s->history.line[k].lsn == lsn &&
			    (k + 1 < s->history.n ? s->history.line[k + 1].timeline
						  : s->timeline) == n->pg.timeline)
				return true;
	}
	return false;
}

static void on_promoted(struct sim *w, struct sim_event *e)
{
	struct sim_server *pg = &w->nodes[e->node].pg;
	struct herd_history_line line = { .timeline = pg->timeline,
					  .lsn = sim_lsn(pg->log.n),
					  .reason = (char *)"no recovery target specified" };

	if (frozen(w, e, true) || e->life != pg->life || pg->run != HERD_RUN_RUNNING ||
	    !pg->standby)
		return;
	if ((w->faults && !w->opt->calm && sim_chance(w, 15)) || pg->full) {
		sim_agent_task_done(w, e->node, HERD_TASK_PROMOTE, false);
		return;
	}
	sim_check_promotion(w, e->node);
	herd_history_add(&pg->history, &line);
	pg->history_serial++;
	/*
	 * Its own next number. Two that were promoted from the very same place cannot be told apart
	 * by anybody (PostgreSQL's own weakness): that is left out.
	 */
	pg->timeline++;
	while (taken(w, e->node, line.lsn))
		pg->timeline++;
	pg->standby = false;
	pg->streaming = false;
	pg->control = HERD_CONTROL_IN_PRODUCTION;
	sim_server_append(pg, (struct sim_record){ ++w->next_id | NOT_A_COMMIT, pg->timeline });
	pg->acked = pg->log.n;
	load_ssn(w, pg);
	w->report.n_promotions++;
	sim_tempt(w, e->node);
	sim_trace(w, w->nodes[e->node].name, "promoted to timeline %u at %zu", pg->timeline,
		  pg->log.n);
	sim_check_primaries(w, e->node);
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

	if (frozen(w, e, false) || e->life != pg->life || pg->run != HERD_RUN_RUNNING)
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

	if (!sim_writable(pg) || pg->frozen_until > w->now || pg->full)
		return;
	sim_server_append(pg, (struct sim_record){ ++w->next_id, pg->timeline });
	try_acks(w, node);
	kick_followers(w, node);
}

void sim_server_free(struct sim_server *pg)
{
	free(pg->log.rec);
	herd_history_clear(&pg->history);
}
