#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/file.h"
#include "pg/private.h"
#include "pg/proc.h"

enum { POLL_FAST_MS = 1, POLL_MS = 10, FAST_FOR_MS = 2000, WAKE_MS = 10, WAKE_MAX_MS = 1000 };

/*
 * A startup process that gets the order while it waits for a WAL receiver it has just asked for
 * takes note of it, and then sleeps out wal_retrieve_retry_interval (5 s by default) before it
 * looks at the order again (WaitForWALToBecomeAvailable). SIGHUP wakes it; it has read its settings
 * just now.
 */
static void wake_startup(struct herd_pg *pg, int64_t waited)
{
	pid_t pid;

	if (waited < pg->start.wake_ms)
		return;
	pg->start.wake_ms = waited + (waited < WAKE_MAX_MS ? waited : WAKE_MAX_MS);
	pid = herd_pg_proc_titled(pg->cfg.data_dir, "startup");
	if (pid > 0)
		kill(pid, SIGHUP);
}

/*
 * pg_control says "in production" from the moment when transactions are allowed: to look at it
 * costs microseconds, while a connection could be refused just then.
 */
static void poll_promoted(struct herd_pg *pg)
{
	int64_t waited = herd_now_ms() - pg->start.began_ms;
	struct herd_err err = HERD_ERR_INIT;
	struct herd_pg_controldata c;

	if (herd_pg_control_peek(pg->cfg.data_dir, &c, NULL) == 0 &&
	    c.state == HERD_PG_DB_IN_PRODUCTION) {
		pg->role.standby = false;
		herd_pg_op_end(pg, 0, NULL);
		return;
	}
	if (pg->start.timeout_ms > 0 && waited >= pg->start.timeout_ms) {
		herd_err_set(&err, -ETIMEDOUT, "the server was not promoted within %lld ms",
			     (long long)pg->start.timeout_ms);
		herd_pg_op_end(pg, err.code, &err);
		herd_err_clear(&err);
		return;
	}
	wake_startup(pg, waited);
	herd_pg_op_after(pg, waited < FAST_FOR_MS ? POLL_FAST_MS : POLL_MS, poll_promoted);
}

static void on_exit_while_promoting(struct herd_pg *pg)
{
	struct herd_err err = HERD_ERR_INIT;

	herd_err_set(&err, -ESRCH, "the server stopped while it was promoted");
	herd_pg_op_end(pg, err.code, &err);
	herd_err_clear(&err);
}

static int order(struct herd_pg *pg, struct herd_err *err)
{
	char *path = herd_str_printf("%s/promote", pg->cfg.data_dir);
	int rc = path != NULL ? herd_pg_file_write(path, "", 0, 0600, NULL, err)
			      : herd_err_set(err, -ENOMEM, "out of memory");

	free(path);
	if (rc == 0 && kill(pg->pid, SIGUSR1) < 0)
		rc = herd_err_set(err, -errno, "could not signal process %d: %s", (int)pg->pid,
				  strerror(errno));
	return rc;
}

int herd_pg_promote(struct herd_pg *pg, int64_t timeout_ms, herd_pg_done_fn done, void *arg,
		    struct herd_err *err)
{
	struct herd_pg_controldata c;
	int rc;

	if (herd_pg_phase(pg) != HERD_PG_PHASE_RUNNING)
		return herd_err_set(err, -ESRCH, "could not promote: the server is not running");
	rc = herd_pg_control_peek(pg->cfg.data_dir, &c, err);
	if (rc == 0)
		rc = herd_pg_op_begin(pg, "promoting", done, arg, err);
	if (rc < 0)
		return rc;
	/* A primary already: there is nothing to order, and a promote file would lie there. */
	if (c.state != HERD_PG_DB_IN_PRODUCTION) {
		rc = order(pg, err);
		if (rc < 0) {
			herd_pg_op_drop(pg);
			return rc;
		}
	}
	pg->op.on_exit = on_exit_while_promoting;
	pg->start.began_ms = herd_now_ms();
	pg->start.timeout_ms = timeout_ms;
	pg->start.wake_ms = WAKE_MS;
	herd_pg_op_after(pg, 0, poll_promoted);
	return 0;
}
