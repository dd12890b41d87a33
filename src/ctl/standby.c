/*
 * ctl/standby.c - demote-cluster and promote-cluster: the section standby_cluster comes or goes,
 * and the cluster's leader is waited for in its new role.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ctl/internal.h"

enum { REST_MS = 10000, POLL_MS = 1000, MIN_WAIT_MS = 60000 };

static const struct ctl_opt demote_opts[] = {
	{ '\0', "host", NULL, "TEXT", "Address of the remote node." },
	{ '\0', "port", NULL, "INTEGER", "Port of the remote node." },
	{ '\0', "restore-command", NULL, "TEXT",
	  "Command to restore WAL records from the remote primary." },
	{ '\0', "primary-slot-name", NULL, "TEXT",
	  "Name of the slot on the remote node to use for replication." },
	{ '\0', "force", NULL, NULL, "Do not ask for confirmation." },
	{ 0 },
};

static const struct ctl_opt promote_opts[] = {
	{ '\0', "force", NULL, NULL, "Do not ask for confirmation." },
	{ 0 },
};

struct change {
	struct ctl *c;
	struct ctl_cluster k;
	const char *verb, *noun, *done; /* demote, demotion, demoted */
	enum herd_role role;            /* of the leader in the end */
	json_t *section;                /* null: promote */
	char *leader;                   /* before */
};

/* The section that the options describe, or NULL after an error message. */
static json_t *section_of(const struct ctl_args *a)
{
	static const char *const names[][2] = { { "host", "host" },
						{ "restore-command", "restore_command" },
						{ "primary-slot-name", "primary_slot_name" } };
	const char *port = ctl_args_get(a, "port");
	json_t *v = json_object();
	int64_t n = 0;

	if (!ctl_args_get(a, "host") && !port && !ctl_args_get(a, "restore-command")) {
		ctl_fail("At least --host, --port or --restore-command should be specified");
		json_decref(v);
		return NULL;
	}
	if (port && (herd_str_to_i64(port, &n) < 0 || n < 1 || n > 65535)) {
		ctl_fail("Invalid value for '--port': '%s' is not a valid port.", port);
		json_decref(v);
		return NULL;
	}
	if (port)
		json_object_set_new(v, "port", json_integer(n));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *text = ctl_args_get(a, names[i][0]);

		if (text)
			json_object_set_new(v, names[i][1], json_string(text));
	}
	return v;
}

static int check(struct change *x, bool force)
{
	const struct herd_cluster *g = ctl_group(&x->k, HERD_NO_GROUP);
	const struct herd_member *leader;
	char *question;
	int sure;

	if (!g)
		return -1;
	leader = herd_cluster_leader(g);
	if (!leader)
		return ctl_fail("Cluster has no leader, %s is not possible", x->noun);
	if (leader->role == x->role)
		return ctl_fail("Cluster is already in the required state");
	if (!herd_str_set(&x->leader, leader->name))
		return ctl_fail("out of memory");
	puts("Current cluster topology");
	if (ctl_print_members(&x->k, HERD_NO_GROUP, CTL_PRETTY, false, false) < 0)
		return -1;
	if (force)
		return 0;
	question = herd_str_printf("Are you sure you want to %s %s cluster?", x->verb, x->k.name);
	sure = ctl_confirm(question ? question : "");
	free(question);
	if (sure < 0)
		return -1;
	return sure ? 0 : ctl_fail("Aborted cluster %s", x->noun);
}

static int patch(struct change *x)
{
	const struct herd_member *m = herd_cluster_leader(ctl_group(&x->k, HERD_NO_GROUP));
	json_t *body = json_pack("{s:O}", "standby_cluster", x->section);
	struct ctl_reply r;
	int rc = 0;

	ctl_rest(x->c, m, "PATCH", "config", body, REST_MS, "configuration", &r);
	if (r.status == 0)
		rc = ctl_fail("Failed to %s %s cluster: %s", x->verb, x->k.name,
			      herd_err_text(&r.err));
	else if (r.status != 200)
		rc = ctl_fail("Failed to %s %s cluster: /config PATCH status code=%d, (%s)",
			      x->verb, x->k.name, r.status, r.body);
	ctl_reply_clear(&r);
	json_decref(body);
	return rc;
}

/* A leader in the new role that runs; who led before must have come back from a demotion, too. */
static bool arrived(const struct change *x, const struct herd_cluster *g)
{
	const struct herd_member *leader = herd_cluster_leader(g);
	const struct herd_member *former = herd_cluster_member(g, x->leader);

	return leader && leader->role == x->role && leader->state == HERD_STATE_RUNNING &&
	       (json_is_null(x->section) || !former || former->state == HERD_STATE_RUNNING);
}

static int await(struct change *x)
{
	const struct herd_cluster *g = ctl_group(&x->k, HERD_NO_GROUP);
	int64_t limit = g ? 4 * g->config.loop_wait_ms : 0;
	int64_t end_ms = herd_now_ms() + (limit > MIN_WAIT_MS ? limit : MIN_WAIT_MS);
	char *now;

	while (g && !arrived(x, g)) {
		bool never = false;

		if (herd_now_ms() >= end_ms)
			return ctl_fail("The cluster was not %s in time; the change of its "
					"configuration stays, see the members' logs",
					x->done);
		herd_loop_run_until(x->c->loop, &never, POLL_MS);
		if (ctl_refresh(&x->k) < 0)
			return -1;
		g = ctl_group(&x->k, HERD_NO_GROUP);
	}
	if (!g)
		return -1;
	now = ctl_timestamp(5);
	printf("%s cluster is successfully %s\n", now ? now : "", x->done);
	free(now);
	return ctl_print_members(&x->k, HERD_NO_GROUP, CTL_PRETTY, false, false);
}

/* Takes the section. */
static int run(struct change *x, const struct ctl_args *a)
{
	int rc = -1;

	if (x->section && ctl_open(x->c, ctl_args_word(a, 0), &x->k) == 0) {
		rc = check(x, ctl_args_has(a, "force"));
		if (rc == 0)
			rc = patch(x);
		if (rc == 0)
			rc = await(x);
		ctl_close(&x->k);
	}
	free(x->leader);
	json_decref(x->section);
	return rc < 0 ? CTL_FAILED : CTL_OK;
}

static int run_demote(struct ctl *c, const struct ctl_args *a)
{
	struct change x = { .c = c,
			    .verb = "demote",
			    .noun = "demotion",
			    .done = "demoted",
			    .role = HERD_ROLE_STANDBY_LEADER,
			    .section = section_of(a) };

	return run(&x, a);
}

static int run_promote(struct ctl *c, const struct ctl_args *a)
{
	struct change x = { .c = c,
			    .verb = "promote",
			    .noun = "promotion",
			    .done = "promoted",
			    .role = HERD_ROLE_PRIMARY,
			    .section = json_null() };

	return run(&x, a);
}

const struct ctl_verb ctl_demote_cluster = {
	"demote-cluster",
	"[CLUSTER_NAME]",
	"Demote cluster to a standby cluster",
	demote_opts,
	0,
	1,
	run_demote,
};

const struct ctl_verb ctl_promote_cluster = {
	"promote-cluster",
	"[CLUSTER_NAME]",
	"Promote cluster, make it run standalone",
	promote_opts,
	0,
	1,
	run_promote,
};
