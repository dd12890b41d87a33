#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "pg/private.h"
#include "pg/proc.h"

enum {
	POLL_MS = 3,
	LEFTOVER_POLL_MS = 2,
	LEFTOVER_LIMIT_MS = 30000,
	IMMEDIATE_LIMIT_MS = 5000,
	MANY = 1024
};

static const char stopping[] = "stopping";

/* Sends SIGKILL to all processes of the directory but one; how many there are. */
static size_t kill_all(struct herd_pg *pg, pid_t except)
{
	pid_t pids[MANY];
	size_t n = herd_pg_proc_list(pg->cfg.data_dir, except, pids, MANY);

	for (size_t i = 0; i < n && i < MANY; i++)
		kill(pids[i], SIGKILL);
	return n;
}

static void poll_leftovers(struct herd_pg *pg)
{
	struct herd_err err = HERD_ERR_INIT;
	size_t n = kill_all(pg, 0);

	if (n == 0) {
		pg->leftover.next(pg, 0, NULL);
	} else if (herd_now_ms() - pg->leftover.began_ms >= LEFTOVER_LIMIT_MS) {
		herd_err_set(&err, -EBUSY, "%zu processes of a dead postmaster do not end", n);
		herd_err_hint(&err, "They may be waiting for a disk that does not answer.");
		pg->leftover.next(pg, err.code, &err);
		herd_err_clear(&err);
	} else {
		herd_pg_op_after(pg, LEFTOVER_POLL_MS, poll_leftovers);
	}
}

void herd_pg_stage_leftovers(struct herd_pg *pg, herd_pg_next_fn next)
{
	pg->leftover.began_ms = herd_now_ms();
	pg->leftover.next = next;
	poll_leftovers(pg);
}

void herd_pg_kill(struct herd_pg *pg)
{
	pid_t pid = herd_pg_pid(pg);

	/* Stopped first, so that it cannot start new children, and sees none of them die. */
	if (pid > 0) {
		pg->stopping = true;
		kill(pid, SIGSTOP);
	}
	kill_all(pg, pid);
	if (pid > 0)
		kill(pid, SIGKILL);
	kill_all(pg, pid);
}

static void stage_end(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	pg->op.on_exit = NULL;
	pg->stop.next(pg, rc, err);
}

static void after_exit(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	stage_end(pg, rc, err);
}

/* pg_control says "shut down" while the postmaster waits for its archiver and senders. */
static void look_at_control(struct herd_pg *pg)
{
	struct herd_pg_stop_stage *s = &pg->stop;
	struct herd_pg_controldata c;

	if (s->told_shut_down || s->opts.shut_down == NULL ||
	    herd_pg_control_peek(pg->cfg.data_dir, &c, NULL) < 0)
		return;
	if (c.state != HERD_PG_DB_SHUTDOWNED && c.state != HERD_PG_DB_SHUTDOWNED_IN_RECOVERY)
		return;
	s->told_shut_down = true;
	s->opts.shut_down(pg->op.arg, c.checkpoint_lsn, c.checkpoint_tli);
}

static void on_exit_while_stopping(struct herd_pg *pg)
{
	look_at_control(pg);
	herd_pg_stage_leftovers(pg, after_exit);
}

static int signal_of(enum herd_pg_stop_mode mode)
{
	return mode == HERD_PG_SMART ? SIGTERM : mode == HERD_PG_FAST ? SIGINT : SIGQUIT;
}

static void send_signal(struct herd_pg *pg)
{
	pg->stopping = true;
	pg->stop.signalled_ms = herd_now_ms();
	if (pg->pid > 0)
		kill(pg->pid, signal_of(pg->stop.mode));
}

static void escalate(struct herd_pg *pg)
{
	struct herd_pg_stop_stage *s = &pg->stop;

	if (s->mode != HERD_PG_IMMEDIATE) {
		herd_pg_notice(pg, "the server does not stop in time, stopping it immediately");
		s->mode = HERD_PG_IMMEDIATE;
		send_signal(pg);
	} else if (!s->killed) {
		herd_pg_notice(pg, "the server does not stop immediately, killing its processes");
		s->killed = true;
		herd_pg_kill(pg);
	}
}

/* Until the pidfd says that the postmaster is gone. */
static void watch_stop(struct herd_pg *pg)
{
	struct herd_pg_stop_stage *s = &pg->stop;
	int64_t now = herd_now_ms(), next;
	int64_t limit = s->mode == HERD_PG_IMMEDIATE && s->opts.escalate ? IMMEDIATE_LIMIT_MS
									 : s->opts.timeout_ms;
	struct herd_err err = HERD_ERR_INIT;

	look_at_control(pg);
	if (limit > 0 && now - s->signalled_ms >= limit) {
		if (!s->opts.escalate) {
			herd_err_set(&err, -ETIMEDOUT, "the server did not stop within %lld ms",
				     (long long)limit);
			stage_end(pg, err.code, &err);
			herd_err_clear(&err);
			return;
		}
		escalate(pg);
		limit = IMMEDIATE_LIMIT_MS;
	}
	next = limit > 0 ? s->signalled_ms + limit - now : 1000;
	if (s->opts.shut_down != NULL && !s->told_shut_down)
		next = POLL_MS;
	herd_pg_op_after(pg, next > 0 ? next : POLL_MS, watch_stop);
}

static void begin_stop(struct herd_pg *pg)
{
	pid_t pid = herd_pg_pid(pg);

	if (herd_pg_exit_pending(pg)) {
		herd_pg_op_after(pg, 1, begin_stop);
		return;
	}
	if (pid == 0) {
		herd_pg_stage_leftovers(pg, after_exit);
		return;
	}
	pg->op.on_exit = on_exit_while_stopping;
	send_signal(pg);
	watch_stop(pg);
}

static void after_checkpoint(void *arg, int rc, const struct herd_pg_rows *rows,
			     const struct herd_err *err)
{
	struct herd_pg *pg = arg;

	if (rc == -ECANCELED)
		return;
	if (rc < 0)
		herd_pg_notice(pg, "checkpoint before the shutdown failed: %s", herd_err_text(err));
	begin_stop(pg);
}

/* A session of the operation's own, without the server's statement timeout. */
static int checkpoint(struct herd_pg *pg, int64_t timeout_ms, herd_pg_query_fn fn,
		      struct herd_err *err)
{
	char *conninfo = herd_pg_local_conninfo(pg, &pg->cfg.superuser, NULL, NULL);
	struct herd_pg_session_opts opts = { .conninfo = conninfo,
					     .statement_timeout_ms = -1,
					     .name = "Patroni checkpoint" };
	int rc = conninfo != NULL ? herd_pg_session_new(pg->loop, &opts, &pg->op.session, err)
				  : herd_err_set(err, -ENOMEM, "out of memory");

	if (conninfo != NULL)
		herd_str_wipe(conninfo, strlen(conninfo));
	free(conninfo);
	if (rc == 0 && herd_pg_query(pg->op.session, "CHECKPOINT", 0, NULL, timeout_ms, fn, pg) < 0)
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	return rc;
}

static void begin_stage(struct herd_pg *pg)
{
	if (pg->stop.opts.checkpoint && herd_pg_phase(pg) == HERD_PG_PHASE_RUNNING &&
	    checkpoint(pg, pg->stop.opts.timeout_ms, after_checkpoint, NULL) == 0)
		return;
	begin_stop(pg);
}

void herd_pg_stage_stop(struct herd_pg *pg, const struct herd_pg_stop_opts *opts,
			herd_pg_next_fn next)
{
	pg->stop = (struct herd_pg_stop_stage){
		.opts = *opts, .mode = opts->mode, .began_ms = herd_now_ms(), .next = next
	};
	herd_pg_op_after(pg, 0, begin_stage);
}

int herd_pg_stop(struct herd_pg *pg, const struct herd_pg_stop_opts *opts, herd_pg_done_fn done,
		 void *arg, struct herd_err *err)
{
	int rc;

	/* A stop that runs gives way to a harder one only. */
	if (pg->op.name != NULL &&
	    (strcmp(pg->op.name, stopping) != 0 || opts->mode > pg->stop.mode))
		herd_pg_cancel(pg);
	rc = herd_pg_op_begin(pg, stopping, done, arg, err);
	if (rc == 0)
		herd_pg_stage_stop(pg, opts, herd_pg_op_finish);
	return rc;
}

static void checkpoint_done(void *arg, int rc, const struct herd_pg_rows *rows,
			    const struct herd_err *err)
{
	struct herd_pg *pg = arg;

	if (rc != -ECANCELED)
		herd_pg_op_end(pg, rc, err);
}

int herd_pg_checkpoint(struct herd_pg *pg, int64_t timeout_ms, herd_pg_done_fn done, void *arg,
		       struct herd_err *err)
{
	int rc = herd_pg_op_begin(pg, "checkpointing", done, arg, err);

	if (rc == 0) {
		rc = checkpoint(pg, timeout_ms, checkpoint_done, err);
		if (rc < 0)
			herd_pg_op_drop(pg);
	}
	return rc;
}
