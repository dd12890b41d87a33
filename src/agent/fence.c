/*
 * fence.c - what stops PostgreSQL when the agent cannot: the guard process and the watchdog device.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/guard.h"
#include "agent/internal.h"
#include "base/str.h"

#define GUARD_AGAIN_MS 10000 /* between attempts to start one that does not live */
#define GUARD_DEATHS 3       /* so often within that time: it does not live */

struct herd_fence {
	struct herd_guard *guard; /* NULL: off, or it never ran */
	struct herd_pidwatch *watch;
	struct herd_timer *again;
	int64_t started_ms;
	int deaths;
	bool lost; /* wanted, and not there */
	unsigned fired;
};

static bool required(const struct herd_agent *a, const char *key)
{
	return strcmp(herd_agent_config_str(a->cfg, key, "automatic"), "required") == 0;
}

/* --- the guard -------------------------------------------------------------------------------- */

static void say_started(struct herd_agent *a)
{
	char *missing = herd_guard_missing(a->fence->guard);
	int pid = (int)herd_guard_pid(a->fence->guard);

	if (missing)
		herd_info(a->log, "guard: process %d watches over PostgreSQL, but %s", pid,
			  missing);
	else
		herd_info(a->log,
			  "guard: process %d watches over PostgreSQL, locked in memory and at "
			  "real-time priority",
			  pid);
	free(missing);
}

/* The smallest ttl depends on the guard, and everything that was read has it worked in. */
static void set_lost(struct herd_agent *a, bool lost)
{
	struct herd_err err = HERD_ERR_INIT;

	if (a->fence->lost == lost)
		return;
	a->fence->lost = lost;
	if (lost && required(a, "guard.mode"))
		herd_error(a->log, "guard: it cannot be started and is required: this member "
				   "does not lead");
	else if (lost)
		herd_warning(a->log, "guard: it cannot be started; going on without, ttl is at "
				     "least 20 s");
	if (!required(a, "guard.mode") &&
	    herd_agent_config_set_guard(a->cfg, lost, herd_agent_warn, a, &err) < 0)
		herd_log_err(a->log, HERD_LOG_ERROR, &err, "configuration not changed");
	herd_err_clear(&err);
	a->view_revision = -1;
	a->exec.reread = true;
	if (a->watch)
		herd_agent_wake(a);
}

static void start_again(struct herd_agent *a);

static void on_guard_died(void *arg, pid_t pid)
{
	struct herd_agent *a = arg;
	struct herd_fence *f = a->fence;
	int64_t now = herd_now_ms();

	herd_pidwatch_free(f->watch);
	f->watch = NULL;
	f->deaths = now - f->started_ms < GUARD_AGAIN_MS ? f->deaths + 1 : 1;
	herd_warning(a->log, "guard: process %d ended, starting another", (int)pid);
	if (f->deaths < GUARD_DEATHS) {
		start_again(a);
	} else {
		set_lost(a, true);
		herd_timer_set(f->again, GUARD_AGAIN_MS);
	}
}

static void watch_guard(struct herd_agent *a)
{
	struct herd_fence *f = a->fence;
	int rc = herd_pidwatch_new(a->loop, herd_guard_pid(f->guard), on_guard_died, a, &f->watch);

	f->started_ms = herd_now_ms();
	/* It has gone already. */
	if (rc < 0)
		herd_timer_set(f->again, 0);
}

static int run_guard(struct herd_agent *a, struct herd_err *err)
{
	struct herd_fence *f = a->fence;

	if (f->guard)
		return herd_guard_restart(f->guard, err);
	return herd_guard_start(a->helper, herd_agent_config_str(a->cfg, "postgresql.data_dir", ""),
				&f->guard, err);
}

static void start_again(struct herd_agent *a)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_fence *f = a->fence;

	herd_pidwatch_free(f->watch);
	f->watch = NULL;
	if (run_guard(a, &err) < 0) {
		herd_log_err(a->log, HERD_LOG_ERROR, &err, "guard");
		set_lost(a, true);
		herd_timer_set(f->again, GUARD_AGAIN_MS);
	} else {
		say_started(a);
		watch_guard(a);
		set_lost(a, false);
	}
	herd_err_clear(&err);
}

static void on_again(void *arg)
{
	start_again(arg);
}

int herd_fence_start(struct herd_agent *a, struct herd_err *err)
{
	struct herd_fence *f = calloc(1, sizeof(*f));
	int rc;

	a->fence = f;
	a->helper = herd_helper_new(false);
	if (!f || !a->helper)
		return herd_err_set(err, -ENOMEM, "out of memory");
	if (!a->cfg->guard)
		return 0;
	rc = run_guard(a, err);
	if (rc < 0 && required(a, "guard.mode"))
		return rc;
	if (rc < 0) {
		herd_log_err(a->log, HERD_LOG_ERROR, err, "guard");
		herd_err_clear(err);
		set_lost(a, true);
	} else {
		f->fired = herd_guard_fired(f->guard);
		say_started(a);
	}
	return 0;
}

void herd_fence_begin(struct herd_agent *a)
{
	struct herd_fence *f = a->fence;

	f->again = herd_timer_new(a->loop, on_again, a);
	if (f->lost)
		herd_timer_set(f->again, GUARD_AGAIN_MS);
	else if (f->guard)
		watch_guard(a);
}

const char *herd_fence_guard_state(const struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	if (a->fence->lost)
		return "failed";
	if (!a->fence->guard)
		return "off";
	return c && c->config.pause ? "paused" : "on";
}

unsigned herd_fence_fired(const struct herd_agent *a)
{
	return a->fence->guard ? herd_guard_fired(a->fence->guard) : 0;
}

static void move_guard(struct herd_agent *a, const struct herd_plan *p)
{
	struct herd_fence *f = a->fence;

	if (!f->guard)
		return;
	if (f->fired != herd_guard_fired(f->guard)) {
		f->fired = herd_guard_fired(f->guard);
		herd_warning(a->log, "guard: PostgreSQL was stopped because the lease was not "
				     "renewed in time");
	}
	if (f->watch && herd_guard_hangs(f->guard)) {
		herd_warning(a->log, "guard: process %d does not answer, starting another",
			     (int)herd_guard_pid(f->guard));
		start_again(a);
	}
	if (p->guard_ms == HERD_GUARD_KEEP)
		return;
	if (p->guard_ms)
		herd_guard_arm(f->guard, herd_pg_pid(a->pg), p->guard_ms);
	else
		herd_guard_disarm(f->guard);
}

/* --- both ------------------------------------------------------------------------------------- */

void herd_fence_observe(struct herd_agent *a, struct herd_obs *obs)
{
	obs->guard = a->fence->guard && !a->fence->lost;
	obs->guard_failed = a->fence->lost && required(a, "guard.mode");
}

void herd_fence_move(struct herd_agent *a, const struct herd_plan *p)
{
	move_guard(a, p);
}

void herd_fence_free(struct herd_agent *a)
{
	struct herd_fence *f = a->fence;

	if (!f)
		return;
	herd_pidwatch_free(f->watch);
	herd_timer_free(f->again);
	herd_guard_free(f->guard);
	free(f);
	a->fence = NULL;
}
