/*
 * fence.c - what stops PostgreSQL when the agent cannot: the guard process and the watchdog device.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guard.h"
#include "agent/internal.h"
#include "agent/watchdog.h"
#include "base/str.h"
#include "pg/proc.h"

#define GUARD_AGAIN_MS 10000 /* between attempts to start one that does not live */
#define SAFEPOINT_MS 100     /* between looks for clients of a server that stops */
#define GUARD_DEATHS 3       /* so often within that time: it does not live */

struct herd_fence {
	struct herd_guard *guard; /* NULL: off, or it never ran */
	struct herd_pidwatch *watch;
	struct herd_timer *again;
	int64_t started_ms;
	int deaths;
	bool lost; /* wanted, and not there */
	unsigned fired;
	struct herd_watchdog *dog; /* NULL: not active */
	struct herd_timer *safepoint;
	char *dog_why;           /* it could not be activated */
	int dog_asked;           /* for this timeout */
	int64_t dog_deadline_ms; /* of the plan for which it was pinged */
	int64_t dog_again_ms;
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

static void on_safepoint(void *arg);

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
	f->safepoint = herd_timer_new(a->loop, on_safepoint, a);
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

bool herd_fence_guard_failed(const struct herd_agent *a)
{
	return a->fence->lost && required(a, "guard.mode");
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

/* --- the watchdog ----------------------------------------------------------------------------- */

struct settings {
	const char *device;
	bool off, required, testing;
	int timeout; /* seconds */
	int slack;   /* of it, when every renewal takes a whole loop_wait; negative: impossible */
};

/* ttl is so small only with the guard, and Patroni's default margin does not go with it. */
static struct settings watchdog_settings(const struct herd_agent *a)
{
	int ttl = (int)herd_agent_config_i64(a->cfg, "ttl", 30);
	int margin =
		(int)herd_agent_config_i64(a->cfg, "watchdog.safety_margin", ttl < 20 ? -1 : 5);
	struct settings s = {
		.device = herd_agent_config_str(a->cfg, "watchdog.device", "/dev/watchdog"),
		.off = strcmp(herd_agent_config_str(a->cfg, "watchdog.mode", "automatic"), "off") ==
		       0,
		.required = required(a, "watchdog.mode"),
		.testing = strcmp(herd_agent_config_str(a->cfg, "watchdog.driver", "default"),
				  "testing") == 0,
		.timeout = margin < 0 ? ttl / 2 : ttl - margin,
	};

	s.slack = s.timeout - (int)herd_agent_config_i64(a->cfg, "loop_wait", 10);
	if (s.timeout < 1)
		s.slack = -1;
	return s;
}

static void close_watchdog(struct herd_agent *a, bool stop)
{
	struct herd_fence *f = a->fence;

	if (!f->dog)
		return;
	if (stop && !herd_watchdog_stoppable(f->dog))
		herd_warning(a->log,
			     "watchdog: the device cannot be stopped, the machine will be reset "
			     "after %d seconds",
			     herd_watchdog_timeout(f->dog));
	herd_watchdog_close(f->dog, stop);
	f->dog = NULL;
	herd_timer_cancel(f->safepoint);
	herd_info(a->log, "watchdog: disabled");
}

/* Said once per reason: it is tried again with every step. */
static void say_failed(struct herd_agent *a, const struct settings *s, const char *why)
{
	if (herd_str_eq(a->fence->dog_why, why))
		return;
	herd_str_set(&a->fence->dog_why, why);
	herd_log_at(a->log, s->required ? HERD_LOG_ERROR : HERD_LOG_DEBUG,
		    "watchdog: could not be activated: %s", why);
}

/* What can be said without opening it. NULL: nothing speaks against it. */
static char *unusable(const struct settings *s)
{
	if (s->slack < 0)
		return herd_str_printf("a timeout of %d seconds leaves no time for loop_wait; give "
				       "a larger ttl or a smaller safety_margin",
				       s->timeout);
	if (access(s->device, W_OK) < 0)
		return herd_str_printf("\"%s\": %s", s->device, strerror(errno));
	return NULL;
}

static int set_dog_timeout(struct herd_agent *a, const struct settings *s, struct herd_err *err)
{
	struct herd_fence *f = a->fence;
	int rc = herd_watchdog_set_timeout(f->dog, s->timeout, err);
	int actual = herd_watchdog_timeout(f->dog);

	f->dog_asked = s->timeout;
	if (rc == 0 && actual > s->timeout && s->required)
		return herd_err_set(err, -ERANGE,
				    "its timeout is %d seconds and cannot be set to %d", actual,
				    s->timeout);
	if (rc == 0 && actual != s->timeout)
		herd_warning(a->log, "watchdog: the device took %d seconds for %d", actual,
			     s->timeout);
	return rc;
}

static void ping(struct herd_agent *a, int64_t deadline)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_fence *f = a->fence;

	if (deadline == f->dog_deadline_ms)
		return;
	f->dog_deadline_ms = deadline;
	if (herd_watchdog_ping(f->dog, &err) < 0) {
		herd_log_err(a->log, HERD_LOG_ERROR, &err, "watchdog");
		herd_watchdog_close(f->dog, false);
		f->dog = NULL;
	}
	herd_err_clear(&err);
}

static bool open_watchdog(struct herd_agent *a, const struct settings *s)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_fence *f = a->fence;
	char *why = unusable(s);
	int rc = why ? -EINVAL : herd_watchdog_open(s->device, s->testing, &f->dog, &err);

	if (rc == 0)
		rc = set_dog_timeout(a, s, &err);
	if (rc < 0) {
		say_failed(a, s, why ? why : herd_err_text(&err));
		herd_watchdog_close(f->dog, true);
		f->dog = NULL;
		f->dog_again_ms = herd_now_ms() + (s->required ? 1000 : 10000);
	} else {
		herd_str_set(&f->dog_why, NULL);
		f->dog_deadline_ms = 0;
		herd_info(a->log,
			  "watchdog: %s activated with %d second timeout, timing slack %d seconds",
			  s->device, herd_watchdog_timeout(f->dog),
			  s->slack + herd_watchdog_timeout(f->dog) - s->timeout);
		if (!herd_watchdog_stoppable(f->dog))
			herd_warning(a->log, "watchdog: the device cannot be stopped once it runs");
	}
	herd_err_clear(&err);
	free(why);
	return rc == 0;
}

/*
 * While PostgreSQL is stopped the lease may end: nothing is wrong with that once no client is
 * served, and a long shutdown checkpoint must not reset the machine.
 */
static void on_safepoint(void *arg)
{
	struct herd_agent *a = arg;

	if (!a->fence->dog || a->task.running != HERD_TASK_STOP)
		return;
	if (herd_pg_proc_has_clients(herd_pg_config(a->pg)->data_dir))
		herd_timer_set(a->fence->safepoint, SAFEPOINT_MS);
	else
		close_watchdog(a, true);
}

/* False: it is required, and the plan must not run without. */
static bool move_watchdog(struct herd_agent *a, const struct herd_plan *p)
{
	struct settings s = watchdog_settings(a);
	struct herd_fence *f = a->fence;
	bool stopping = a->task.running == HERD_TASK_STOP;

	if (p->guard_ms == HERD_GUARD_KEEP)
		return true;
	if (p->guard_ms == 0 || s.off) {
		close_watchdog(a, true);
		return true;
	}
	if (!f->dog && !stopping && (s.required || herd_now_ms() >= f->dog_again_ms))
		open_watchdog(a, &s);
	if (f->dog && f->dog_asked != s.timeout) {
		struct herd_err err = HERD_ERR_INIT;

		if (set_dog_timeout(a, &s, &err) < 0) {
			herd_log_err(a->log, HERD_LOG_ERROR, &err, "watchdog");
			close_watchdog(a, true);
		}
		herd_err_clear(&err);
	}
	if (f->dog)
		ping(a, p->guard_ms);
	if (f->dog && stopping)
		herd_timer_set(f->safepoint, 0);
	return f->dog || stopping || !s.required;
}

bool herd_fence_watchdog_failed(const struct herd_agent *a)
{
	struct settings s = watchdog_settings(a);
	char *why;

	if (!s.required || a->fence->dog || a->task.running == HERD_TASK_STOP)
		return false;
	why = unusable(&s);
	free(why);
	return why != NULL || herd_now_ms() < a->fence->dog_again_ms;
}

/* --- both ------------------------------------------------------------------------------------- */

void herd_fence_observe(struct herd_agent *a, struct herd_obs *obs)
{
	obs->guard = a->fence->guard && !a->fence->lost;
	obs->watchdog_failed = herd_fence_watchdog_failed(a);
	obs->guard_failed = herd_fence_guard_failed(a);
}

bool herd_fence_move(struct herd_agent *a, const struct herd_plan *p)
{
	move_guard(a, p);
	return move_watchdog(a, p);
}

void herd_fence_free(struct herd_agent *a)
{
	struct herd_fence *f = a->fence;

	if (!f)
		return;
	herd_pidwatch_free(f->watch);
	herd_timer_free(f->again);
	herd_timer_free(f->safepoint);
	/* Like the guard: with a deadline it is still needed. */
	herd_watchdog_close(f->dog, f->dog_deadline_ms == 0);
	herd_guard_free(f->guard);
	free(f->dog_why);
	free(f);
	a->fence = NULL;
}
