#include <stdlib.h>

#include "pg/private.h"

/* The role of a follow or restart, kept while the server stops. */
struct restart {
	struct herd_pg_role role;
	int64_t timeout_ms;
};

static void restart_free(void *state)
{
	struct restart *r = state;

	if (r != NULL)
		herd_pg_role_clear(&r->role);
	free(r);
}

static void stopped(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	struct restart *r = pg->op.state;

	if (rc < 0)
		herd_pg_op_end(pg, rc, err);
	else
		herd_pg_stage_start(pg, &r->role, r->timeout_ms, herd_pg_op_finish);
}

static int begin(struct herd_pg *pg, const char *name, const struct herd_pg_role *role,
		 int64_t timeout_ms, herd_pg_done_fn done, void *arg, struct herd_err *err)
{
	struct restart *r;
	int rc = herd_pg_op_begin(pg, name, done, arg, err);

	if (rc < 0)
		return rc;
	r = calloc(1, sizeof(*r));
	pg->op.state = r;
	pg->op.free_state = restart_free;
	if (r == NULL || herd_pg_role_copy(role, &r->role) < 0) {
		herd_pg_op_drop(pg);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	r->timeout_ms = timeout_ms;
	return 0;
}

int herd_pg_restart(struct herd_pg *pg, const struct herd_pg_role *role, int64_t timeout_ms,
		    herd_pg_done_fn done, void *arg, struct herd_err *err)
{
	struct herd_pg_stop_opts opts = { .mode = HERD_PG_FAST };
	int rc = begin(pg, "restarting", role, timeout_ms, done, arg, err);

	if (rc == 0)
		herd_pg_stage_stop(pg, &opts, stopped);
	return rc;
}

static void reloaded(struct herd_pg *pg)
{
	herd_pg_op_end(pg, 0, NULL);
}

/* primary_conninfo and primary_slot_name can be changed by a reload since PostgreSQL 13. */
static bool needs_restart(struct herd_pg *pg)
{
	struct herd_pg_controldata c;

	return herd_pg_major(pg) < 13 || herd_pg_control_peek(pg->cfg.data_dir, &c, NULL) < 0 ||
	       (c.state != HERD_PG_DB_IN_ARCHIVE_RECOVERY && c.state != HERD_PG_DB_STARTUP &&
		c.state != HERD_PG_DB_SHUTDOWNED_IN_RECOVERY);
}

int herd_pg_follow(struct herd_pg *pg, const struct herd_pg_role *role, int64_t timeout_ms,
		   herd_pg_done_fn done, void *arg, struct herd_err *err)
{
	struct herd_pg_stop_opts opts = { .mode = HERD_PG_FAST };
	enum herd_pg_phase phase = herd_pg_phase(pg);
	int rc;

	if (!role->standby)
		return herd_err_set(err, -EINVAL, "only a standby can follow");
	rc = begin(pg, "following", role, timeout_ms, done, arg, err);
	if (rc < 0)
		return rc;
	if (phase == HERD_PG_PHASE_STOPPED) {
		herd_pg_stage_start(pg, role, timeout_ms, herd_pg_op_finish);
		return 0;
	}
	if (phase == HERD_PG_PHASE_STOPPING || needs_restart(pg)) {
		herd_pg_stage_stop(pg, &opts, stopped);
		return 0;
	}
	rc = herd_pg_reload(pg, role, false, err);
	if (rc < 0)
		herd_pg_op_drop(pg);
	else if (phase == HERD_PG_PHASE_STARTING)
		herd_pg_stage_ready(pg, timeout_ms, herd_pg_op_finish);
	else
		herd_pg_op_after(pg, 0, reloaded);
	return rc;
}
