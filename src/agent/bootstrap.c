/*
 * bootstrap.c - the task that makes the first data directory of a cluster: initdb or a custom
 * method (which may restore a backup and recover it to a point in time), users, post_bootstrap.
 * Until it is whole the directory counts as empty, and only local superusers reach the server.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "agent/sharding.h"
#include "base/str.h"
#include "pg/initdb.h"

#define DAY_MS (24 * 3600 * 1000LL)
#define RECOVERY_POLL_MS 500
#define QUERY_MS 5000

/* What was made is put aside when its server has ended. */
static void fail_stopped(struct herd_agent *a, int rc, const struct herd_err *err)
{
	struct herd_err aside = HERD_ERR_INIT, why = HERD_ERR_INIT;

	if (rc < 0)
		herd_pg_kill(a->pg);
	if (herd_pg_datadir(a->pg, NULL) != HERD_PG_DATADIR_MISSING &&
	    herd_pg_move_aside(a->pg, "failed", &aside) < 0)
		herd_log_err(a->log, HERD_LOG_ERROR, &aside,
			     "could not move the data directory away");
	herd_err_clear(&aside);
	herd_err_set(&why, a->task.fail_rc, "%s", a->task.error ? a->task.error : "out of memory");
	herd_agent_task_finish(a, why.code, &why);
	herd_err_clear(&why);
}

static void fail(struct herd_agent *a, int rc, const struct herd_err *err)
{
	struct herd_pg_stop_opts o = {
		.mode = HERD_PG_IMMEDIATE,
		.timeout_ms = 1000,
		.escalate = true,
	};
	struct herd_err e = HERD_ERR_INIT;
	struct herd_agent_link *l = herd_agent_link_new(a, fail_stopped);
	const char *detail = err ? err->detail : NULL;
	char *text = herd_str_printf("%s%s%s", err ? herd_err_text(err) : strerror(-rc),
				     detail ? ": " : "", detail ? detail : "");

	a->task.fail_rc = rc;
	herd_str_set(&a->task.error, text);
	free(text);
	if (l)
		herd_agent_begun(l, herd_pg_stop(a->pg, &o, herd_agent_on_link, l, &e), &e);
	else
		fail_stopped(a, -ENOMEM, NULL);
}

static void stopped(struct herd_agent *a, int rc, const struct herd_err *err)
{
	char *mark = herd_agent_bootstrap_mark(a), *fresh = herd_agent_fresh_mark(a);

	if (rc == 0 && rename(mark, fresh) < 0)
		rc = -errno;
	if (rc < 0) {
		fail(a, rc, err);
	} else {
		herd_info(a->log, "initialized a new cluster");
		herd_agent_task_finish(a, 0, NULL);
	}
	free(mark);
	free(fresh);
}

static void sharded(struct herd_agent *a, int rc, const struct herd_err *err)
{
	if (rc < 0)
		fail(a, rc, err);
	else
		herd_agent_task_stop(a, stopped);
}

static void users(struct herd_agent *a, int rc, const struct herd_err *err)
{
	struct herd_agent_link *l;

	if (rc < 0) {
		fail(a, rc, err);
		return;
	}
	l = herd_agent_link_new(a, sharded);
	if (l)
		herd_sharding_bootstrap(a->sharding, herd_agent_on_link, l);
	else
		fail(a, -ENOMEM, NULL);
}

static void recovered(struct herd_agent *a)
{
	const char *script =
		herd_agent_config_str(a->cfg, "bootstrap.post_bootstrap",
				      herd_agent_config_str(a->cfg, "bootstrap.post_init", NULL));
	struct herd_err e = HERD_ERR_INIT;
	struct herd_agent_link *l = herd_agent_link_new(a, users);

	if (l)
		herd_agent_begun(
			l, herd_pg_post_bootstrap(a->pg, script, herd_agent_on_link, l, &e), &e);
	else
		fail(a, -ENOMEM, NULL);
}

/* --- recovery to its end ---------------------------------------------------------------------- */

struct recovery {
	struct herd_agent *a;
	int64_t task;
	struct herd_timer *timer;
	bool told;
};

static void recovery_free(struct recovery *r)
{
	herd_timer_free(r->timer);
	free(r);
}

static void on_recovery(void *arg, int rc, const struct herd_pg_rows *rows,
			const struct herd_err *err)
{
	struct recovery *r = arg;
	struct herd_agent *a = r->a;

	/* A task of another number has begun (or the agent ends): this one was given up. */
	if (rc == -ECANCELED || a->task.id != r->task || a->exiting) {
		recovery_free(r);
		return;
	}
	if (rc == 0 && !herd_pg_rows_bool(rows, 0, 0)) {
		recovery_free(r);
		recovered(a);
		return;
	}
	if (!r->told)
		herd_info(a->log, "waiting for end of recovery after bootstrap");
	r->told = true;
	herd_timer_set(r->timer, RECOVERY_POLL_MS);
}

static void ask_recovery(void *arg)
{
	struct recovery *r = arg;
	struct herd_agent *a = r->a;
	struct herd_err err = HERD_ERR_INIT;

	if (a->task.id != r->task || a->exiting) {
		recovery_free(r);
	} else if (herd_pg_pid(a->pg) == 0) {
		recovery_free(r);
		herd_err_set(&err, -ESRCH, "the server stopped before it had ended its recovery");
		herd_err_hint(&err, "See the server's log.");
		fail(a, err.code, &err);
		herd_err_clear(&err);
	} else if (herd_pg_query(herd_pg_session(a->pg), "SELECT pg_catalog.pg_is_in_recovery()", 0,
				 NULL, QUERY_MS, on_recovery, r) < 0) {
		herd_timer_set(r->timer, RECOVERY_POLL_MS);
	}
}

/* A backup that is recovered takes reads long before it takes writes. */
static void started(struct herd_agent *a, int rc, const struct herd_err *err)
{
	struct recovery *r;

	if (rc < 0) {
		fail(a, rc, err);
		return;
	}
	if (!herd_pg_role_recovers(herd_pg_role(a->pg))) {
		recovered(a);
		return;
	}
	r = calloc(1, sizeof(*r));
	if (r)
		r->timer = herd_timer_new(a->loop, ask_recovery, r);
	if (!r || !r->timer) {
		free(r);
		fail(a, -ENOMEM, NULL);
		return;
	}
	r->a = a;
	r->task = a->task.id;
	ask_recovery(r);
}

/* --- the server of a bootstrap ---------------------------------------------------------------- */

/* bootstrap.pg_hba goes behind what initdb wrote, unless postgresql.pg_hba replaces the file. */
static void append_hba(struct herd_agent *a)
{
	json_t *lines = herd_agent_config_get(a->cfg, "bootstrap.pg_hba");
	char *path = herd_str_printf("%s/pg_hba.conf", herd_pg_config(a->pg)->data_dir);
	FILE *f;
	size_t i;
	json_t *line;

	if (json_is_array(lines) && !herd_agent_config_get(a->cfg, "postgresql.pg_hba") &&
	    (f = fopen(path, "ae"))) {
		json_array_foreach(lines, i, line) if (json_is_string(line))
			fprintf(f, "%s\n", json_string_value(line));
		fclose(f);
	}
	free(path);
}

/*
 * How the data of a custom method are recovered: by its recovery_conf, by what the method itself
 * left (keep_existing_recovery_conf), or not at all. The end of the recovery is a promotion.
 */
static int role_of(const struct herd_agent *a, struct herd_pg_role *ret)
{
	struct herd_pg_settings initdb = { 0 };
	struct herd_pg_method m = { 0 };
	struct herd_pg_role role = { .trust_only_hba = true };
	bool custom = false;
	int rc = herd_agent_bootstrap(a, &initdb, &m, &custom);

	if (rc == 0 && m.has_recovery_conf) {
		role.point_in_time = true;
		rc = herd_pg_settings_merge(&role.recovery, &m.recovery_conf);
		herd_pg_settings_remove(&role.recovery, "standby_mode");
		if (rc == 0 && !herd_pg_settings_get(&role.recovery, "recovery_target_action"))
			rc = herd_pg_settings_set(&role.recovery, "recovery_target_action",
						  "promote");
	} else if (rc == 0) {
		role.keep_recovery = custom && m.keep_existing_recovery_conf;
	}
	herd_pg_settings_clear(&initdb);
	herd_pg_method_clear(&m);
	if (rc < 0)
		herd_pg_role_clear(&role);
	else
		*ret = role;
	return rc;
}

static void made(struct herd_agent *a, int rc, const struct herd_err *err)
{
	struct herd_pg_role role = { 0 };
	struct herd_err e = HERD_ERR_INIT;
	struct herd_agent_link *l;
	char *mark;
	int fd;

	if (rc < 0) {
		fail(a, rc, err);
		return;
	}
	/* While the mark is there the directory counts as empty, also for a later agent. */
	mark = herd_agent_bootstrap_mark(a);
	fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	free(mark);
	if (fd >= 0)
		close(fd);
	append_hba(a);
	a->task.recovering = true;
	l = role_of(a, &role) == 0 ? herd_agent_link_new(a, started) : NULL;
	/* Recovery takes as long as there is WAL. */
	if (l)
		herd_agent_begun(l, herd_pg_start(a->pg, &role, DAY_MS, herd_agent_on_link, l, &e),
				 &e);
	else
		fail(a, -ENOMEM, NULL);
	herd_pg_role_clear(&role);
}

char *herd_agent_bootstrap_mark(const struct herd_agent *a)
{
	return herd_str_printf("%s/pgherd.bootstrap", herd_pg_config(a->pg)->data_dir);
}

char *herd_agent_fresh_mark(const struct herd_agent *a)
{
	return herd_str_printf("%s/pgherd.fresh", herd_pg_config(a->pg)->data_dir);
}

void herd_agent_begin_bootstrap(struct herd_agent *a)
{
	struct herd_pg_settings initdb = { 0 };
	struct herd_pg_method method = { 0 };
	struct herd_pg_bootstrap b = { .initdb = &initdb };
	struct herd_err err = HERD_ERR_INIT;
	struct herd_agent_link *l = herd_agent_link_new(a, made);
	bool custom = false;

	a->task.recovering = false;
	/* What an interrupted one has left is of no use to anybody. */
	if (herd_pg_datadir(a->pg, NULL) != HERD_PG_DATADIR_MISSING) {
		herd_pg_kill(a->pg);
		herd_pg_move_aside(a->pg, "failed", NULL);
	}
	herd_agent_bootstrap(a, &initdb, &method, &custom);
	b.method = custom ? &method : NULL;
	if (custom)
		herd_info(a->log, "Running custom bootstrap script: %s", method.command);
	if (l)
		herd_agent_begun(l, herd_pg_initdb(a->pg, &b, herd_agent_on_link, l, &err), &err);
	else
		herd_agent_task_finish(a, -ENOMEM, NULL);
	herd_pg_settings_clear(&initdb);
	herd_pg_method_clear(&method);
}
