/*
 * rest_restart.c - requests about the local server: restart (now, under conditions, scheduled) and
 * reinitialize.
 */
#define HERD_LOG_PART "patroni.api"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/rest_internal.h"
#include "base/json.h"
#include "base/str.h"
#include "model/time.h"
#include "model/value.h"

#define DEFAULT_TIMEOUT_S 300

void herd_rest_done_restart(struct herd_rest *r, bool ok)
{
	if (!r || !r->restart)
		return;
	herd_rest_text(r->restart, ok ? 200 : 503,
		       ok ? "restarted successfully" : "restart failed");
	r->restart = NULL;
	herd_timer_cancel(r->restart_timer);
}

static void on_restart_timeout(void *arg)
{
	herd_rest_done_restart(arg, false);
}

/* --- conditions ------------------------------------------------------------------------------- */

/* "15.4" is 150004, "9.6.3" is 90603. -EINVAL: no numbers; -ERANGE: too few or many of them. */
static int version_number(const char *text, int *ret)
{
	int64_t part[4];
	size_t n = 0;
	char *copy = herd_str_dup(text), *save = NULL;
	int rc = copy ? 0 : -ENOMEM;

	for (char *p = copy ? strtok_r(copy, ".", &save) : NULL; p && rc == 0;
	     p = strtok_r(NULL, ".", &save)) {
		if (n == 4)
			rc = -ERANGE;
		else if (herd_str_to_i64(p, &part[n++]) < 0 || part[n - 1] < 0 ||
			 part[n - 1] > 9999)
			rc = -EINVAL;
	}
	free(copy);
	if (rc < 0)
		return rc;
	if (n == 0)
		return -EINVAL;
	if (n < 2 || n > 3 || (n == 2 && part[0] < 10))
		return -ERANGE;
	*ret = (int)(n == 2 ? part[0] * 10000 + part[1]
			    : part[0] * 10000 + part[1] * 100 + part[2]);
	return 0;
}

static bool truthy(const json_t *v)
{
	return json_is_true(v) || (json_is_integer(v) && json_integer_value(v) != 0) ||
	       (json_is_string(v) && json_string_length(v) > 0);
}

/* Do the conditions of the request hold now? */
static bool restart_due(const struct herd_agent *a, const json_t *body)
{
	const char *role = herd_json_str(body, "role", NULL);
	const char *version = herd_json_str(body, "postgres_version", NULL);
	int below = 0;

	if (truthy(json_object_get(body, "restart_pending")) && !herd_rest_pending_restart(a))
		return false;
	if (version && version_number(version, &below) == 0 && a->st.server_version >= below)
		return false;
	return !role || strcmp(role, herd_rest_role(a)) == 0;
}

static bool one_of(const char *text, const char *const *list)
{
	for (; text && *list; list++)
		if (strcmp(text, *list) == 0)
			return true;
	return false;
}

/* Answers with 400 and returns false when a filter is no good. timeout becomes seconds. */
static bool check_words(struct herd_http_exchange *x, json_t *body)
{
	static const char *const known[] = { "schedule",         "role",
					     "postgres_version", "timeout",
					     "restart_pending",  NULL };
	static const char *const roles[] = { "primary", "standby_leader", "replica", NULL };
	const char *key;
	json_t *v;
	int64_t seconds;
	int number;

	json_object_foreach(body, key, v)
	{
		if (one_of(key, known))
			continue;
		herd_rest_refuse(x, 400, "Unknown filter for the scheduled restart: %s", key);
		return false;
	}
	v = json_object_get(body, "role");
	if (v && !one_of(json_string_value(v), roles)) {
		herd_rest_text(x, 400,
			       "PostgreSQL role should be either primary, standby_leader, or "
			       "replica");
		return false;
	}
	v = json_object_get(body, "postgres_version");
	if (v) {
		char *text = herd_value_text(v);
		int rc = text ? version_number(text, &number) : -EINVAL;

		if (rc < 0)
			herd_rest_refuse(x, 400,
					 rc == -ERANGE
						 ? "Invalid PostgreSQL version format: X.Y or "
						   "X.Y.Z is accepted: %s"
						 : "Invalid PostgreSQL version: %s",
					 text ? text : "");
		else
			json_object_set_new(body, "postgres_version", json_string(text));
		free(text);
		if (rc < 0)
			return false;
	}
	v = json_object_get(body, "timeout");
	if (!v)
		return true;
	if (herd_value_i64(v, HERD_UNIT_SECOND, &seconds) < 0 || seconds <= 0) {
		herd_rest_text(x, 400, "Timeout should be a positive number of seconds");
		return false;
	}
	json_object_set_new(body, "timeout", json_integer(seconds));
	return true;
}

/* --- scheduled -------------------------------------------------------------------------------- */

static void drop_schedule(struct herd_rest *r, const char *why)
{
	if (why)
		herd_info(r->a->log, "Abort: %s", why);
	json_decref(r->a->scheduled_restart);
	r->a->scheduled_restart = NULL;
	herd_timer_cancel(r->scheduled_timer);
}

static void on_scheduled(void *arg)
{
	struct herd_rest *r = arg;
	struct herd_agent *a = r->a;
	const struct herd_cluster *c = herd_agent_cluster(a);
	int64_t ms = 0;

	if (!a->scheduled_restart)
		return;
	herd_time_parse(herd_json_str(a->scheduled_restart, "schedule", ""), &ms, NULL);
	if (ms > herd_wall_ms()) {
		/* The clock was set back, or the timer is coarse. */
		herd_timer_set(r->scheduled_timer, ms - herd_wall_ms());
		return;
	}
	if (c && c->config.pause) {
		drop_schedule(r, "a scheduled restart came due in maintenance mode");
	} else if (!restart_due(a, a->scheduled_restart)) {
		drop_schedule(r, "the conditions of the scheduled restart are not satisfied");
	} else {
		herd_info(a->log, "Scheduled restart is due");
		a->want_restart = true;
		drop_schedule(r, NULL);
	}
	herd_agent_wake(a);
}

void herd_rest_check_schedule(struct herd_rest *r)
{
	struct herd_agent *a = r->a;
	const char *of = herd_json_str(a->scheduled_restart, "postmaster_start_time", NULL);
	int64_t ms = 0;

	if (!a->scheduled_restart)
		return;
	if (of && a->run == HERD_RUN_RUNNING && a->st_known && a->st.start_time &&
	    strcmp(of, a->st.start_time) != 0) {
		drop_schedule(r, "the server was restarted since a restart was scheduled");
		return;
	}
	herd_time_parse(herd_json_str(a->scheduled_restart, "schedule", ""), &ms, NULL);
	herd_timer_set(r->scheduled_timer, ms > herd_wall_ms() ? ms - herd_wall_ms() : 0);
}

static void schedule_restart(struct herd_rest *r, struct herd_http_exchange *x, json_t *body)
{
	struct herd_agent *a = r->a;
	const struct herd_cluster *c = herd_agent_cluster(a);
	json_t *doc;
	char *iso;

	if (c && c->config.pause) {
		herd_rest_text(x, 500, "Can't schedule restart in the paused state");
		return;
	}
	iso = herd_rest_schedule(x, json_object_get(body, "schedule"), "restart");
	if (!iso)
		return;
	if (a->scheduled_restart) {
		herd_rest_text(x, 409, "Another restart is already scheduled");
		free(iso);
		return;
	}
	doc = json_pack("{s:s}", "schedule", iso);
	json_object_update_missing(doc, body);
	if (a->st_known && a->st.start_time)
		json_object_set_new(doc, "postmaster_start_time", json_string(a->st.start_time));
	a->scheduled_restart = doc;
	if (!r->scheduled_timer)
		r->scheduled_timer = herd_timer_new(a->loop, on_scheduled, r);
	herd_rest_check_schedule(r);
	herd_rest_text(x, 202, "Restart scheduled");
	free(iso);
	herd_agent_wake(a);
}

void herd_rest_delete_restart(struct herd_rest *r, struct herd_http_exchange *x)
{
	if (!r->a->scheduled_restart) {
		herd_rest_text(x, 404, "no restarts are scheduled");
		return;
	}
	drop_schedule(r, NULL);
	herd_rest_text(x, 200, "scheduled restart deleted");
	herd_agent_wake(r->a);
}

/* --- now -------------------------------------------------------------------------------------- */

static void restart_now(struct herd_rest *r, struct herd_http_exchange *x, int64_t timeout_s)
{
	struct herd_agent *a = r->a;

	if (a->task.running != HERD_TASK_NONE || r->restart) {
		herd_rest_refuse(x, 503, "%s already in progress",
				 r->restart ? "restart" : herd_agent_task_text(a->task.running));
	} else if (a->run == HERD_RUN_STARTING) {
		herd_rest_text(x, 503, "postgres is still starting");
	} else {
		r->restart = x;
		if (!r->restart_timer)
			r->restart_timer = herd_timer_new(a->loop, on_restart_timeout, r);
		herd_timer_set(r->restart_timer, 1000 * timeout_s);
		a->want_restart = true;
		herd_agent_wake(a);
	}
}

void herd_rest_restart(struct herd_rest *r, struct herd_http_exchange *x)
{
	struct herd_agent *a = r->a;
	json_t *body = herd_rest_body(x, true);
	int64_t timeout = herd_agent_config_i64(a->cfg, "primary_start_timeout", DEFAULT_TIMEOUT_S);

	if (!body || !check_words(x, body)) {
		json_decref(body);
		return;
	}
	if (json_object_get(body, "schedule"))
		schedule_restart(r, x, body);
	else if (!restart_due(a, body))
		herd_rest_text(x, 503, "restart conditions are not satisfied");
	else
		restart_now(r, x,
			    herd_json_i64(body, "timeout", timeout ? timeout : DEFAULT_TIMEOUT_S));
	json_decref(body);
}

void herd_rest_reinitialize(struct herd_rest *r, struct herd_http_exchange *x)
{
	struct herd_agent *a = r->a;
	const struct herd_cluster *c = herd_agent_cluster(a);
	json_t *body = herd_rest_body(x, true);
	bool force = truthy(json_object_get(body, "force"));
	/* The documentation writes it with a dash. */
	bool from_leader = truthy(json_object_get(body, "from_leader")) ||
			   truthy(json_object_get(body, "from-leader"));

	if (!body)
		return;
	json_decref(body);
	if (!c || !c->leader) {
		herd_rest_text(x, 503, "Cluster has no leader, can not reinitialize");
	} else if (strcmp(c->leader, a->name) == 0) {
		herd_rest_text(x, 503, "I am the leader, can not reinitialize");
	} else if (!force && (a->task.running != HERD_TASK_NONE || a->want_reinit)) {
		herd_rest_refuse(x, 503, "%s already in progress",
				 a->want_reinit ? "reinitialize"
						: herd_agent_task_text(a->task.running));
	} else {
		a->want_reinit = true;
		a->reinit_force = force;
		a->reinit_from_leader = from_leader;
		herd_rest_text(x, 200, "reinitialize started");
		herd_agent_wake(a);
	}
}
