#define HERD_LOG_PART "pgherd.probe"
#include "agent/progress.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent/helper.h"
#include "agent/internal.h"
#include "agent/knock.h"
#include "base/str.h"
#include "pg/proc.h"

/* In the order of how much they explain: the first that is wrong is told. */
enum check { CHECK_WRITE = 0, CHECK_STOPPED, CHECK_WAL, CHECK_KNOCK, CHECK_ANSWER, CHECKS };

struct herd_progress {
	struct herd_agent *a;
	struct herd_timer *timer;
	int64_t since_ms[CHECKS]; /* wrong since; 0: right */
	char *why[CHECKS];
	char *stalled;
	/* The questions under way. */
	struct herd_knock *knock;
	int64_t knock_ms;
	pid_t writer;
	struct herd_pidwatch *writer_watch;
	int64_t writer_ms;
	struct herd_pg_session *session; /* for the WAL */
	bool asking;
	int64_t asked_ms;
	/* As found the last time. */
	uint64_t inserted;
	pid_t stopped;
};

static const char insert_sql[] =
	"SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_wal_flush_lsn(), "
	"EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE wait_event LIKE 'WAL%' "
	"AND wait_event_type IN ('LWLock', 'IO')) "
	"WHERE NOT pg_catalog.pg_is_in_recovery()";
/* Nobody but the local disk is waited for. */
static const char commit_sql[] =
	"SELECT pg_catalog.set_config('synchronous_commit', 'local', true), "
	"pg_catalog.pg_logical_emit_message(true, 'pgherd', '')";

static int64_t timeout_ms(const struct herd_progress *p)
{
	return 1000 * herd_agent_config_i64(p->a->cfg, "probe.timeout", 30);
}

static void right(struct herd_progress *p, enum check c)
{
	p->since_ms[c] = 0;
}

static void wrong(struct herd_progress *p, enum check c, int64_t since_ms, char *why)
{
	if (!p->since_ms[c])
		p->since_ms[c] = since_ms;
	free(p->why[c]);
	p->why[c] = why;
}

/* Nothing can be said without a server. */
static void forget(struct herd_progress *p)
{
	for (int c = 0; c < CHECKS; c++)
		if (c != CHECK_WRITE)
			right(p, (enum check)c);
	herd_knock_free(p->knock);
	p->knock = NULL;
	if (p->session)
		herd_pg_session_free(p->session);
	p->session = NULL;
	p->asking = false;
	p->inserted = 0;
	p->stopped = 0;
}

/* --- status queries --------------------------------------------------------------------------- */

void herd_progress_answered(struct herd_progress *p, bool ok)
{
	if (!p)
		return;
	if (ok)
		right(p, CHECK_ANSWER);
	else if (p->a->run == HERD_RUN_RUNNING)
		wrong(p, CHECK_ANSWER, herd_now_ms(), herd_str_dup("queries are not answered"));
}

/* --- a new connection ------------------------------------------------------------------------- */

static void on_knock(void *arg, bool answered)
{
	struct herd_progress *p = arg;

	p->knock = NULL;
	if (answered)
		right(p, CHECK_KNOCK);
	else
		wrong(p, CHECK_KNOCK, p->knock_ms, herd_str_dup("new connections are refused"));
}

static void knock(struct herd_progress *p, int64_t now)
{
	int rc;

	if (p->knock) {
		wrong(p, CHECK_KNOCK, p->knock_ms,
		      herd_str_dup("new connections are not answered"));
		return;
	}
	p->knock_ms = now;
	rc = herd_knock(p->a->pg, on_knock, p, &p->knock);
	if (rc == -ENOTSUP || rc == -ENOMEM)
		right(p, CHECK_KNOCK);
	else if (rc < 0)
		wrong(p, CHECK_KNOCK, now,
		      herd_str_printf("new connections are refused: %s", strerror(-rc)));
}

/* --- writing ---------------------------------------------------------------------------------- */

static void on_written(void *arg, pid_t pid)
{
	struct herd_progress *p = arg;
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	herd_pidwatch_free(p->writer_watch);
	p->writer_watch = NULL;
	p->writer = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		right(p, CHECK_WRITE);
	else if (WIFEXITED(status) && WEXITSTATUS(status) < 126)
		wrong(p, CHECK_WRITE, p->writer_ms,
		      herd_str_printf("the data directory cannot be written: %s",
				      strerror(WEXITSTATUS(status))));
}

static void write_test(struct herd_progress *p, int64_t now)
{
	const char *dir = herd_pg_config(p->a->pg)->data_dir;
	char *wal = herd_str_printf("%s/pg_wal", dir);
	const char *argv[] = { HERD_HELPER_WRITE, dir, NULL, NULL };
	struct stat one, other;

	if (p->writer) {
		wrong(p, CHECK_WRITE, p->writer_ms,
		      herd_str_dup("a write to the data directory does not end"));
	} else if (herd_pg_datadir(p->a->pg, NULL) != HERD_PG_DATADIR_VALID) {
		right(p, CHECK_WRITE);
	} else {
		if (wal && stat(dir, &one) == 0 && stat(wal, &other) == 0 &&
		    one.st_dev != other.st_dev)
			argv[2] = wal;
		p->writer_ms = now;
		if (herd_helper_spawn(p->a->helper, argv, NULL, 0, &p->writer, NULL) == 0 &&
		    herd_pidwatch_new(p->a->loop, p->writer, on_written, p, &p->writer_watch) < 0)
			on_written(p, p->writer);
	}
	free(wal);
}

/* --- WAL -------------------------------------------------------------------------------------- */

static void on_commit(void *arg, int rc, const struct herd_pg_rows *rows,
		      const struct herd_err *err)
{
	struct herd_progress *p = arg;

	if (rc == -ECANCELED)
		return;
	p->asking = false;
	if (rc == 0)
		right(p, CHECK_WAL);
	else
		wrong(p, CHECK_WAL, p->asked_ms,
		      herd_str_printf("WAL is not flushed: %s", herd_err_text(err)));
}

static void on_inserted(void *arg, int rc, const struct herd_pg_rows *rows,
			const struct herd_err *err)
{
	struct herd_progress *p = arg;
	uint64_t inserted = rc == 0 ? herd_pg_rows_lsn(rows, 0, 0) : 0;
	uint64_t flushed = rc == 0 ? herd_pg_rows_lsn(rows, 0, 1) : 0;
	bool waits = rc == 0 && herd_pg_rows_bool(rows, 0, 2);
	uint64_t before = p->inserted;

	if (rc == -ECANCELED)
		return;
	p->asking = false;
	p->inserted = inserted;
	/*
	 * What was inserted a while ago is not flushed, or somebody waits and nothing is inserted.
	 * A transaction that waits for its client looks the same; a commit tells.
	 */
	bool odd = before && (flushed < before || (waits && inserted == before));

	if (!inserted || (!odd && !p->since_ms[CHECK_WAL])) {
		if (rc == 0)
			right(p, CHECK_WAL);
		return;
	}
	p->asking =
		herd_pg_query(p->session, commit_sql, 0, NULL, timeout_ms(p), on_commit, p) == 0;
}

static void look_at_wal(struct herd_progress *p, int64_t now)
{
	if (p->asking) {
		wrong(p, CHECK_WAL, p->asked_ms, herd_str_dup("WAL is not flushed"));
		return;
	}
	if (!p->session &&
	    herd_pg_session_local(p->a->pg, "pgherd probe", NULL, &p->session, NULL) < 0)
		return;
	p->asked_ms = now;
	p->asking =
		herd_pg_query(p->session, insert_sql, 0, NULL, timeout_ms(p), on_inserted, p) == 0;
}

/* --- processes -------------------------------------------------------------------------------- */

static void look_at_processes(struct herd_progress *p, int64_t now)
{
	char *title = NULL;
	pid_t pid = herd_pg_proc_stopped(herd_pg_config(p->a->pg)->data_dir, &title);

	if (pid && pid == p->stopped)
		wrong(p, CHECK_STOPPED, now,
		      herd_str_printf("process %d is stopped (%s)", (int)pid, title ? title : ""));
	else
		right(p, CHECK_STOPPED);
	p->stopped = pid;
	free(title);
}

/* --- all of it -------------------------------------------------------------------------------- */

const char *herd_progress_stalled(const struct herd_progress *p)
{
	return p ? p->stalled : NULL;
}

static void judge(struct herd_progress *p, int64_t now)
{
	const char *found = NULL;

	for (int c = 0; c < CHECKS && !found; c++)
		if (p->since_ms[c] && now - p->since_ms[c] >= timeout_ms(p))
			found = p->why[c];
	if (herd_str_eq(found, p->stalled))
		return;
	if (found)
		herd_error(p->a->log, "PostgreSQL makes no progress: %s", found);
	else
		herd_info(p->a->log, "PostgreSQL makes progress again");
	herd_str_set(&p->stalled, found);
	herd_agent_wake(p->a);
}

static bool busy(const struct herd_agent *a)
{
	return a->task.running != HERD_TASK_NONE && a->task.running != HERD_TASK_CHECKPOINT;
}

static void on_timer(void *arg)
{
	struct herd_progress *p = arg;
	struct herd_agent *a = p->a;
	int64_t now = herd_now_ms();
	bool off = strcmp(herd_agent_config_str(a->cfg, "probe.mode", "report"), "off") == 0;

	herd_timer_set(p->timer, timeout_ms(p) / 3);
	if (off || busy(a) || a->run != HERD_RUN_RUNNING) {
		forget(p);
	} else {
		knock(p, now);
		look_at_processes(p, now);
		if (!a->st.in_recovery)
			look_at_wal(p, now);
		else
			right(p, CHECK_WAL);
	}
	if (off)
		right(p, CHECK_WRITE);
	else
		write_test(p, now);
	judge(p, now);
}

struct herd_progress *herd_progress_new(struct herd_agent *a)
{
	struct herd_progress *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->a = a;
	p->timer = herd_timer_new(a->loop, on_timer, p);
	if (!p->timer) {
		free(p);
		return NULL;
	}
	herd_timer_set(p->timer, 1000);
	return p;
}

void herd_progress_free(struct herd_progress *p)
{
	if (!p)
		return;
	forget(p);
	herd_timer_free(p->timer);
	/* A writer that hangs is left alone: it cannot be killed either. */
	herd_pidwatch_free(p->writer_watch);
	for (int c = 0; c < CHECKS; c++)
		free(p->why[c]);
	free(p->stalled);
	free(p);
}
