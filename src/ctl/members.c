/*
 * ctl/members.c - what is done to members one by one: restart, reload, reinit, flush.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "ctl/internal.h"
#include "model/time.h"

enum { REST_MS = 60000, RESTART_MS = 600000, POLL_MS = 1000 };

static const struct ctl_opt reload_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 'r', "role", NULL, CTL_ROLES, "Reload only members with this role." },
	{ '\0', "force", NULL, NULL, "Do not ask for confirmation at any point." },
	{ 0 },
};

static const struct ctl_opt restart_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 'r', "role", NULL, CTL_ROLES, "Restart only members with this role." },
	{ '\0', "any", NULL, NULL, "Restart a single member only." },
	{ '\0', "scheduled", NULL, "TEXT", "Timestamp of a scheduled restart (e.g. ISO 8601)." },
	{ '\0', "pg-version", NULL, "TEXT",
	  "Restart if the PostgreSQL version is less than provided (e.g. 9.5.2)." },
	{ '\0', "pending", NULL, NULL, "Restart if pending." },
	{ '\0', "timeout", NULL, "TEXT",
	  "Return error and fail over if the restart takes longer." },
	{ '\0', "force", NULL, NULL, "Do not ask for confirmation at any point." },
	{ 0 },
};

static const struct ctl_opt reinit_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ '\0', "force", NULL, NULL, "Do not ask for confirmation at any point." },
	{ '\0', "from-leader", NULL, NULL, "Get basebackup from leader." },
	{ '\0', "wait", NULL, NULL, "Wait until reinitialization completes." },
	{ 0 },
};

static const struct ctl_opt flush_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 'r', "role", NULL, CTL_ROLES, "Flush only members with this role." },
	{ '\0', "force", NULL, NULL, "Do not ask for confirmation at any point." },
	{ 0 },
};

struct job {
	struct ctl *c;
	const struct ctl_args *a;
	struct ctl_cluster k;
	const struct herd_member **members;
	size_t n;
	int group;
	bool force;
};

static int open_job(struct ctl *c, const struct ctl_args *a, struct job *j)
{
	*j = (struct job){ .c = c, .a = a, .force = ctl_args_has(a, "force") };
	if (ctl_group_option(c, a, false, &j->group) < 0)
		return -1;
	return ctl_open(c, ctl_args_word(a, 0), &j->k);
}

static int close_job(struct job *j, int rc)
{
	free(j->members);
	ctl_close(&j->k);
	return rc < 0 ? CTL_FAILED : CTL_OK;
}

/* Prints the members, and takes those that the words from 1 to words (exclusive) name. */
static int choose(struct job *j, const char *role, size_t words)
{
	const struct herd_member **all = NULL;

	if (!role)
		role = ctl_args_get(j->a, "role");
	/* Nobody to choose from: nothing to show. */
	if (ctl_choose(&j->k, j->group, role, j->a, 1, 1, &all) == 0)
		return -1;
	free(all);
	if (ctl_print_members(&j->k, j->group, CTL_PRETTY, false, false) < 0)
		return -1;
	j->n = ctl_choose(&j->k, j->group, role, j->a, 1, words, &j->members);
	return j->n > 0 ? 0 : -1;
}

static int confirm(struct job *j, const char *action, const char *when)
{
	struct herd_buf b = { 0 };
	int yes = 1;

	if (j->force)
		return 0;
	herd_buf_printf(&b, "Are you sure you want to %s%s%s members ", when ? "schedule " : "",
			action, when ? " of" : "");
	for (size_t i = 0; i < j->n; i++)
		herd_buf_printf(&b, "%s%s", i ? ", " : "", j->members[i]->name);
	if (when) {
		/* With a blank, as Python prints a time. */
		char *blank = herd_str_dup(when), *t = blank ? strchr(blank, 'T') : NULL;

		if (t)
			*t = ' ';
		herd_buf_printf(&b, " at %s", blank ? blank : when);
		free(blank);
	}
	herd_buf_addc(&b, '?');
	yes = ctl_confirm(herd_buf_str(&b));
	herd_buf_free(&b);
	if (yes == 0)
		return ctl_fail("Aborted %s%s", when ? "scheduled " : "", action);
	return yes < 0 ? -1 : 0;
}

/* "Success: ..." or "Failed: ..."; a refusal is no failure of the command, as in patronictl. */
static void report(const struct herd_member *m, const char *action, const struct ctl_reply *r)
{
	if (r->status == 200 || r->status == 202)
		printf("Success: %s%s %s member %s\n", action, r->status == 202 ? " scheduled" : "",
		       herd_str_eq(action, "restart") ? "on" : "for", m->name);
	else if (r->status == 0)
		printf("Failed: %s for member %s, %s\n", action, m->name, herd_err_text(&r->err));
	else
		printf("Failed: %s for member %s, status code=%d, (%s)\n", action, m->name,
		       r->status, r->body);
	fflush(stdout);
}

static int run_reload(struct ctl *c, const struct ctl_args *a)
{
	struct job j;
	int rc = -1;

	if (open_job(c, a, &j) == 0 && choose(&j, NULL, ctl_args_words(a)) == 0 &&
	    confirm(&j, "reload", NULL) == 0) {
		rc = 0;
		for (size_t i = 0; i < j.n; i++) {
			struct ctl_reply r;

			ctl_rest(c, j.members[i], "POST", "reload", NULL, REST_MS, "reload", &r);
			if (r.status == 202)
				printf("Reload request received for member %s and will be "
				       "processed within %d seconds\n",
				       j.members[i]->name,
				       (int)(ctl_group_of(&j.k, j.members[i])->config.loop_wait_ms /
					     1000));
			else if (r.status == 200)
				printf("No changes to apply on member %s\n", j.members[i]->name);
			else
				report(j.members[i], "reload", &r);
			ctl_reply_clear(&r);
		}
	}
	return close_job(&j, rc);
}

/* When, as ISO text; NULL: now. */
static int ask_when(struct job *j, char **iso)
{
	const char *text = ctl_args_get(j->a, "scheduled");
	char *asked = NULL;
	int64_t ms;
	int rc = 0;

	if (!text && !j->force) {
		time_t later = (time_t)(herd_wall_ms() / 1000) + 3600;
		char example[32] = "";
		struct tm tm;

		localtime_r(&later, &tm);
		strftime(example, sizeof(example), "%Y-%m-%dT%H:%M", &tm);
		char *question =
			herd_str_printf("When should the restart take place (e.g. %s) ", example);

		text = asked = question ? ctl_prompt(question, "now") : NULL;
		free(question);
		if (!asked)
			return -1;
	}
	if (text && ctl_when(text, iso, &ms) < 0)
		rc = ctl_fail("Unable to parse scheduled timestamp (%s). It should be in an "
			      "unambiguous format (e.g. ISO 8601)",
			      text);
	else if (*iso && ctl_group_of(&j->k, j->members[0])->config.pause)
		rc = ctl_fail("Can't schedule restart in the paused state");
	free(asked);
	return rc;
}

/* "15.4" or "9.6.3"; the members refuse anything else. */
static int check_version(const char *text)
{
	int parts = 0, first = 0;

	for (const char *p = text;; p++) {
		size_t len = strspn(p, "0123456789");

		if (len == 0 || len > 5)
			return ctl_fail("Invalid PostgreSQL version: %s", text);
		if (parts++ == 0)
			first = atoi(p);
		p += len;
		if (*p == '\0')
			break;
		if (*p != '.')
			return ctl_fail("Invalid PostgreSQL version: %s", text);
	}
	if (parts == 3 || (parts == 2 && first >= 10))
		return 0;
	return ctl_fail("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: %s", text);
}

static int restart_body(struct job *j, const char *iso, json_t *body)
{
	const char *version = ctl_args_get(j->a, "pg-version");
	const char *timeout = ctl_args_get(j->a, "timeout");
	char *asked = NULL;
	int rc = 0;

	if (!version && !j->force) {
		asked = ctl_prompt("Restart if the PostgreSQL version is less than provided (e.g. "
				   "9.5.2) ",
				   "");
		if (!asked)
			return -1;
		version = asked;
	}
	if (version && *version) {
		rc = check_version(version);
		json_object_set_new(body, "postgres_version", json_string(version));
	}
	free(asked);
	if (rc < 0)
		return rc;
	if (ctl_args_has(j->a, "pending"))
		json_object_set_new(body, "restart_pending", json_true());
	if (timeout)
		json_object_set_new(body, "timeout", json_string(timeout));
	if (iso)
		json_object_set_new(body, "schedule", json_string(iso));
	return 0;
}

/* --pending is a filter here, unless the restart comes later: then the member decides. */
static int filter_restart(struct job *j, bool later)
{
	size_t kept = 0;

	for (size_t i = 0; i < j->n; i++)
		if (later || !ctl_args_has(j->a, "pending") || j->members[i]->pending_restart)
			j->members[kept++] = j->members[i];
	j->n = kept;
	if (kept > 0 && ctl_args_has(j->a, "any")) {
		j->members[0] = j->members[(size_t)herd_wall_ms() % kept];
		j->n = 1;
	}
	return 0;
}

static void restart_one(struct job *j, const struct herd_member *m, const json_t *body, bool later)
{
	struct ctl_reply r;

	if (later && j->force && m->scheduled_restart) {
		ctl_rest(j->c, m, "DELETE", "restart", NULL, REST_MS, "restart", &r);
		report(m, "flush scheduled restart", &r);
		ctl_reply_clear(&r);
	}
	ctl_rest(j->c, m, "POST", "restart", body, RESTART_MS, "restart", &r);
	if (r.status == 409)
		printf("Failed: another restart is already scheduled on member %s\n", m->name);
	else
		report(m, "restart", &r);
	ctl_reply_clear(&r);
}

static int run_restart(struct ctl *c, const struct ctl_args *a)
{
	struct job j;
	json_t *body = json_object();
	char *iso = NULL;
	int rc = -1;

	if (open_job(c, a, &j) == 0 && choose(&j, NULL, ctl_args_words(a)) == 0 &&
	    ask_when(&j, &iso) == 0 && filter_restart(&j, iso != NULL) == 0 &&
	    confirm(&j, "restart", iso) == 0 && restart_body(&j, iso, body) == 0) {
		rc = 0;
		for (size_t i = 0; i < j.n; i++)
			restart_one(&j, j.members[i], body, iso != NULL);
	}
	free(iso);
	json_decref(body);
	return close_job(&j, rc);
}

/* "initdb already in progress": asks whether to cancel what runs, and tries by force. */
static int reinit_one(struct job *j, const struct herd_member *m)
{
	json_t *body = json_object();
	struct ctl_reply r;
	int yes = 0;

	json_object_set_new(body, "force", json_boolean(j->force));
	if (ctl_args_has(j->a, "from-leader"))
		json_object_set_new(body, "from_leader", json_true());
	ctl_rest(j->c, m, "POST", "reinitialize", body, REST_MS, "reinit", &r);
	if (r.status == 503 && strstr(r.body, "already in progress") && !j->force) {
		char *question = herd_str_printf(
			"%s. Do you want to cancel it and reinitialize anyway?", r.body);

		yes = question ? ctl_confirm(question) : 0;
		free(question);
	}
	if (yes > 0) {
		ctl_reply_clear(&r);
		json_object_set_new(body, "force", json_true());
		ctl_rest(j->c, m, "POST", "reinitialize", body, REST_MS, "reinit", &r);
	}
	report(m, "reinitialize", &r);
	bool started = r.status == 200;

	ctl_reply_clear(&r);
	json_decref(body);
	return started;
}

static bool is_rebuilt(struct ctl *c, const struct herd_member *m)
{
	struct ctl_reply r;

	ctl_rest(c, m, "GET", "patroni", NULL, REST_MS, NULL, &r);
	json_t *v = r.status ? json_loads(r.body, 0, NULL) : NULL;
	const char *state = herd_json_str(v, "state", "");
	bool rebuilt = strcmp(state, "running") == 0;

	json_decref(v);
	ctl_reply_clear(&r);
	return rebuilt;
}

static void wait_rebuilt(struct job *j, bool *started)
{
	size_t left = 0;

	for (size_t i = 0; i < j->n; i++)
		left += started[i];
	while (left > 0) {
		bool never = false;

		printf("Waiting for reinitialize to complete on: ");
		for (size_t i = 0, shown = 0; i < j->n; i++)
			if (started[i])
				printf("%s%s", shown++ ? ", " : "", j->members[i]->name);
		putchar('\n');
		fflush(stdout);
		herd_loop_run_until(j->c->loop, &never, 2 * POLL_MS);
		for (size_t i = 0; i < j->n; i++) {
			if (!started[i] || !is_rebuilt(j->c, j->members[i]))
				continue;
			printf("Reinitialize is completed on: %s\n", j->members[i]->name);
			started[i] = false;
			left--;
		}
	}
}

static int ask_member(struct job *j)
{
	struct herd_buf b = { 0 };
	int rc = 0;

	herd_buf_addstr(&b, "Which member do you want to reinitialize [");
	for (size_t i = 0; i < j->n; i++)
		herd_buf_printf(&b, "%s%s", i ? ", " : "", j->members[i]->name);
	herd_buf_addstr(&b, "]?");
	char *name = ctl_prompt(herd_buf_str(&b), "");
	const struct herd_member *found = NULL;

	for (size_t i = 0; name && i < j->n; i++)
		if (strcmp(j->members[i]->name, name) == 0)
			found = j->members[i];
	if (!name)
		rc = -1;
	else if (!found)
		rc = ctl_fail("%s is not a member of cluster", name);
	j->members[0] = found;
	j->n = 1;
	free(name);
	herd_buf_free(&b);
	return rc;
}

static int run_reinit(struct ctl *c, const struct ctl_args *a)
{
	struct job j;
	int rc = -1;

	if (open_job(c, a, &j) == 0 && choose(&j, "replica", ctl_args_words(a)) == 0 &&
	    (ctl_args_words(a) > 1 || j.force || ask_member(&j) == 0) &&
	    confirm(&j, "reinitialize", NULL) == 0) {
		bool *started = calloc(j.n, sizeof(*started));

		rc = started ? 0 : -1;
		for (size_t i = 0; started && i < j.n; i++)
			started[i] = reinit_one(&j, j.members[i]);
		if (started && ctl_args_has(a, "wait"))
			wait_rebuilt(&j, started);
		free(started);
	}
	return close_job(&j, rc);
}

static void flush_restart(struct job *j)
{
	for (size_t i = 0; i < j->n; i++) {
		const struct herd_member *m = j->members[i];
		struct ctl_reply r;

		if (!m->scheduled_restart) {
			printf("No scheduled restart for member %s\n", m->name);
			continue;
		}
		ctl_rest(j->c, m, "DELETE", "restart", NULL, REST_MS, "flush", &r);
		report(m, "flush scheduled restart", &r);
		ctl_reply_clear(&r);
	}
}

static int flush_switchover(struct job *j)
{
	const struct herd_cluster *g = ctl_group(&j->k, j->group);
	const struct herd_member *m = g ? herd_cluster_leader(g) : NULL;
	struct ctl_reply r = { 0 };
	int rc = 0;

	if (!g)
		return -1;
	if (!g->failover.scheduled_at) {
		puts("No pending scheduled switchover");
		return 0;
	}
	if (m)
		ctl_rest(j->c, m, "DELETE", "switchover", NULL, REST_MS, "flush", &r);
	if (r.status == 200 || r.status == 404) {
		printf("Success: %s\n", r.body);
	} else if (r.status != 0) {
		printf("Failed: member=%s, status_code=%d, (%s)\n", m->name, r.status, r.body);
	} else {
		struct herd_err err = HERD_ERR_INIT;

		if (ctl_change(&j->k, g->group, "failover", "{}", g->failover_key.version, &err) ==
		    HERD_DCS_OK)
			puts("Success: scheduled switchover deleted");
		else
			rc = ctl_fail_err(&err, "could not write the failover key");
		herd_err_clear(&err);
	}
	ctl_reply_clear(&r);
	return rc;
}

/* The last word is what to flush; the others are names. */
static int run_flush(struct ctl *c, const struct ctl_args *a)
{
	size_t words = ctl_args_words(a);
	const char *target = ctl_args_word(a, words - 1);
	bool restart = strcmp(target, "restart") == 0;
	struct job j;
	int rc = -1;

	if (!restart && strcmp(target, "switchover") != 0) {
		char *why = herd_str_printf("Invalid value for '{restart|switchover}': '%s' is not "
					    "one of 'restart', 'switchover'.",
					    target);
		int usage = ctl_usage_error(c->prog, &ctl_flush, why);

		free(why);
		return usage;
	}
	if (open_job(c, a, &j) == 0) {
		if (!restart) {
			rc = flush_switchover(&j);
		} else if (choose(&j, NULL, words - 1) == 0 && confirm(&j, "flush", NULL) == 0) {
			flush_restart(&j);
			rc = 0;
		}
	}
	return close_job(&j, rc);
}

const struct ctl_verb ctl_reload = {
	"reload",
	"CLUSTER_NAME [MEMBER_NAMES]...",
	"Reload cluster member configuration",
	reload_opts,
	1,
	-1,
	run_reload,
};

const struct ctl_verb ctl_restart = {
	"restart",
	"CLUSTER_NAME [MEMBER_NAMES]...",
	"Restart cluster member",
	restart_opts,
	1,
	-1,
	run_restart,
};

const struct ctl_verb ctl_reinit = {
	"reinit",
	"CLUSTER_NAME [MEMBER_NAMES]...",
	"Reinitialize cluster member",
	reinit_opts,
	1,
	-1,
	run_reinit,
};

const struct ctl_verb ctl_flush = {
	"flush",
	"CLUSTER_NAME [MEMBER_NAMES]... {restart|switchover}",
	"Discard scheduled events",
	flush_opts,
	2,
	-1,
	run_flush,
};
