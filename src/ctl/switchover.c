/*
 * ctl/switchover.c - switchover and failover: the same questions, checks and words as patronictl's.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/str.h"
#include "ctl/internal.h"

/* The server answers after 2 * max(10 s, loop_wait) at the latest. */
enum { MIN_REST_MS = 60000 };

static const struct ctl_opt switchover_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ '\0', "leader", "primary", "TEXT", "The name of the current leader." },
	{ '\0', "candidate", NULL, "TEXT", "The name of the candidate." },
	{ '\0', "scheduled", NULL, "TEXT",
	  "Timestamp of a scheduled switchover in unambiguous format (e.g. ISO 8601)." },
	{ '\0', "force", NULL, NULL, "Do not ask for confirmation at any point." },
	{ 0 },
};

static const struct ctl_opt failover_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ '\0', "candidate", NULL, "TEXT", "The name of the candidate." },
	{ '\0', "force", NULL, NULL, "Do not ask for confirmation at any point." },
	{ 0 },
};

struct job {
	struct ctl *c;
	struct ctl_cluster k;
	const struct herd_cluster *g;
	const char *action; /* "switchover" or "failover" */
	bool planned;       /* a switchover */
	bool force;
	int group;
	char *candidate, *iso; /* NULL: any; at once */
};

static char *title_case(const char *word)
{
	char *text = strdup(word);

	if (text)
		text[0] = (char)toupper((unsigned char)text[0]);
	return text;
}

static int ask_group(struct job *j)
{
	if (!ctl_is_sharded(&j->k) || j->group != HERD_NO_GROUP)
		return 0;
	if (j->force)
		return ctl_fail("For Citus clusters the --group must be specified");
	for (;;) {
		char *text = ctl_prompt("Citus group", NULL);
		int64_t group;

		if (!text)
			return -1;
		if (herd_str_to_i64(text, &group) == 0 && group >= 0 && group <= INT32_MAX) {
			free(text);
			j->group = (int)group;
			return 0;
		}
		printf("Error: '%s' is not a valid integer.\n", text);
		free(text);
	}
}

static int check_leader(struct job *j, const char *named)
{
	char *asked = NULL;
	int rc = 0;

	if (!j->g->leader)
		return ctl_fail("This cluster has no leader");
	if (!named && !j->force) {
		asked = ctl_prompt(j->g->config.standby_cluster ? "Standby Leader" : "Primary",
				   j->g->leader);
		if (!asked)
			return -1;
		named = asked;
	}
	if (named && strcmp(named, j->g->leader) != 0)
		rc = ctl_fail("Member %s is not the leader of cluster %s", named, j->k.name);
	free(asked);
	return rc;
}

static bool may_lead(const struct herd_cluster *g, const struct herd_member *m)
{
	return !herd_str_eq(m->name, g->leader) && herd_tags_failover_priority(&m->tags) > 0;
}

/* As Python prints a list: ['a', 'b']. *n: how many. */
static char *candidate_list(const struct job *j, size_t *n)
{
	struct herd_buf b = { 0 };

	*n = 0;
	herd_buf_addc(&b, '[');
	for (size_t i = 0; i < j->g->n_members; i++) {
		if (!may_lead(j->g, &j->g->members[i]))
			continue;
		herd_buf_printf(&b, "%s'%s'", *n ? ", " : "", j->g->members[i].name);
		++*n;
	}
	herd_buf_addc(&b, ']');
	return herd_buf_steal(&b);
}

static int check_candidate(struct job *j, const char *named)
{
	size_t n;
	char *list = candidate_list(j, &n);
	int rc = 0;

	if (n == 0) {
		rc = ctl_fail("No candidates found to %s to", j->action);
	} else if (named) {
		j->candidate = strdup(named);
	} else if (!j->force) {
		char *question = herd_str_printf("Candidate %s", list ? list : "");

		j->candidate = ctl_prompt(question ? question : "Candidate", "");
		free(question);
		rc = j->candidate ? 0 : -1;
	}
	free(list);
	if (j->candidate && !*j->candidate) {
		free(j->candidate);
		j->candidate = NULL;
	}
	if (rc < 0)
		return rc;
	if (!j->candidate && !j->planned)
		return ctl_fail("Failover could be performed only to a specific candidate");
	if (!j->candidate)
		return 0;
	if (herd_str_eq(j->candidate, j->g->leader))
		return ctl_fail("Member %s is already the leader of cluster %s", j->candidate,
				j->k.name);
	const struct herd_member *m = herd_cluster_member(j->g, j->candidate);

	if (!m || !may_lead(j->g, m))
		return ctl_fail("Member %s does not exist in cluster %s or is tagged as nofailover",
				j->candidate, j->k.name);
	return 0;
}

static int check_async(struct job *j)
{
	if (j->planned || j->force || j->g->config.synchronous_mode == HERD_SYNC_OFF ||
	    !j->g->sync.leader || herd_names_has(&j->g->sync.standby, j->candidate))
		return 0;
	char *question = herd_str_printf(
		"Are you sure you want to failover to the asynchronous node %s?", j->candidate);
	int yes = question ? ctl_confirm(question) : -1;

	free(question);
	if (yes == 0)
		return ctl_fail("Aborting %s", j->action);
	return yes < 0 ? -1 : 0;
}

static int check_time(struct job *j, const char *named)
{
	char *asked = NULL;
	int64_t ms;
	int rc = 0;

	if (!j->planned)
		return 0;
	if (!named && !j->force) {
		time_t later = (time_t)(herd_wall_ms() / 1000) + 3600;
		char example[32] = "";
		struct tm tm;

		localtime_r(&later, &tm);
		strftime(example, sizeof(example), "%Y-%m-%dT%H:%M", &tm);
		char *question = herd_str_printf(
			"When should the switchover take place (e.g. %s ) ", example);

		asked = question ? ctl_prompt(question, "now") : NULL;
		free(question);
		if (!asked)
			return -1;
		named = asked;
	}
	if (named && ctl_when(named, &j->iso, &ms) < 0)
		rc = ctl_fail("Unable to parse scheduled timestamp (%s). It should be in an "
			      "unambiguous format (e.g. ISO 8601)",
			      named);
	else if (j->iso && j->g->config.pause)
		rc = ctl_fail("Can't schedule switchover in the paused state");
	free(asked);
	return rc;
}

static int check_sure(struct job *j)
{
	const char *leader = j->g->leader;
	char *question;

	if (j->force)
		return 0;
	if (j->iso)
		question = herd_str_printf(
			"Are you sure you want to schedule %s of cluster %s at %s%s%s?", j->action,
			j->k.name, j->iso, leader ? ", demoting current leader " : "",
			leader ? leader : "");
	else
		question = herd_str_printf("Are you sure you want to %s cluster %s%s%s?", j->action,
					   j->k.name, leader ? ", demoting current leader " : "",
					   leader ? leader : "");
	int yes = question ? ctl_confirm(question) : -1;

	free(question);
	if (yes == 0)
		return ctl_fail("Aborting %s%s", j->iso ? "scheduled " : "", j->action);
	return yes < 0 ? -1 : 0;
}

static void say_now(const char *text)
{
	char *now = ctl_timestamp(5);

	printf("%s %s\n", now ? now : "", text);
	fflush(stdout);
	free(now);
}

/* No member could be asked: the leader reads the wish from the store. */
static int write_wish(struct job *j)
{
	struct herd_failover f = { .leader = j->planned ? j->g->leader : NULL,
				   .candidate = j->candidate,
				   .scheduled_at = j->iso };
	struct herd_err err = HERD_ERR_INIT;
	char *text = herd_failover_print(&f);
	char *said =
		herd_str_printf("Could not %s using Patroni api, falling back to DCS", j->action);
	int rc = 0;

	say_now(said ? said : "");
	if (!text || ctl_change(&j->k, j->g->group, "failover", text, j->g->failover_key.version,
				&err) != HERD_DCS_OK) {
		rc = ctl_fail_err(&err, "could not write the failover key");
	} else {
		free(said);
		said = herd_str_printf("Initialized %s of cluster %s", j->action, j->k.name);
		say_now(said ? said : "");
	}
	herd_err_clear(&err);
	free(text);
	free(said);
	return rc;
}

static int ask_member(struct job *j)
{
	const struct herd_member *m = herd_cluster_leader(j->g);
	int64_t limit_ms = 4 * j->g->config.loop_wait_ms;
	json_t *body = json_object();
	struct ctl_reply r;
	int rc = 0;

	if (!m)
		m = herd_cluster_member(j->g, j->candidate ? j->candidate : "");
	if (j->planned)
		json_object_set_new(body, "leader", json_string(j->g->leader));
	if (j->candidate)
		json_object_set_new(body, "candidate", json_string(j->candidate));
	if (j->iso)
		json_object_set_new(body, "scheduled_at", json_string(j->iso));
	if (!m) {
		json_decref(body);
		return write_wish(j);
	}
	if (limit_ms < MIN_REST_MS)
		limit_ms = MIN_REST_MS;
	ctl_rest(j->c, m, "POST", j->action, body, limit_ms, j->action, &r);
	if (r.status == 501 && j->planned) {
		ctl_reply_clear(&r);
		ctl_rest(j->c, m, "POST", "failover", body, limit_ms, j->action, &r);
	}
	if (r.status == 200 || r.status == 202) {
		say_now(r.body);
	} else if (r.status == 0) {
		fprintf(stderr, "%s: %s\n", m->name, herd_err_text(&r.err));
		rc = write_wish(j);
	} else {
		char *title = title_case(j->action);

		printf("%s failed, details: %d, %s\n", title ? title : "", r.status, r.body);
		free(title);
		rc = 1;
	}
	ctl_reply_clear(&r);
	json_decref(body);
	return rc;
}

static int run_job(struct job *j, const struct ctl_args *a)
{
	puts("Current cluster topology");
	if (ctl_print_members(&j->k, j->group, CTL_PRETTY, false, false) < 0 || ask_group(j) < 0)
		return -1;
	j->g = ctl_group(&j->k, j->group);
	if (!j->g || (j->planned && check_leader(j, ctl_args_get(a, "leader")) < 0) ||
	    check_candidate(j, ctl_args_get(a, "candidate")) < 0 || check_async(j) < 0 ||
	    check_time(j, j->planned ? ctl_args_get(a, "scheduled") : NULL) < 0 ||
	    check_sure(j) < 0)
		return -1;
	int rc = ask_member(j);

	if (rc < 0)
		return -1;
	if (rc > 0)
		return 0;
	j->g = NULL;
	if (ctl_refresh(&j->k) < 0)
		return -1;
	return ctl_print_members(&j->k, j->group, CTL_PRETTY, false, false);
}

static int run(struct ctl *c, const struct ctl_args *a, bool planned)
{
	struct job j = { .c = c,
			 .action = planned ? "switchover" : "failover",
			 .planned = planned,
			 .force = ctl_args_has(a, "force") };

	if (ctl_group_option(c, a, false, &j.group) < 0)
		return CTL_USAGE;
	if (ctl_open(c, ctl_args_word(a, 0), &j.k) < 0)
		return CTL_FAILED;
	int rc = run_job(&j, a);

	free(j.candidate);
	free(j.iso);
	ctl_close(&j.k);
	return rc < 0 ? CTL_FAILED : CTL_OK;
}

static int run_switchover(struct ctl *c, const struct ctl_args *a)
{
	return run(c, a, true);
}

static int run_failover(struct ctl *c, const struct ctl_args *a)
{
	return run(c, a, false);
}

const struct ctl_verb ctl_switchover = {
	"switchover",   "[CLUSTER_NAME]", "Switchover to a replica", switchover_opts, 0, 1,
	run_switchover,
};

const struct ctl_verb ctl_failover = {
	"failover", "[CLUSTER_NAME]", "Failover to a replica", failover_opts, 0, 1, run_failover,
};
