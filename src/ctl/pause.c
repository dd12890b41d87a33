#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "ctl/internal.h"

enum { REST_MS = 10000, POLL_MS = 1000 };

static const struct ctl_opt pause_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ '\0', "wait", NULL, NULL, "Wait until it is applied on all nodes." },
	{ 0 },
};

/* Names of those who have not followed yet; "" when all have. */
static char *laggards(const struct herd_cluster *g, bool pause)
{
	struct herd_buf b = { 0 };

	for (size_t i = 0; i < g->n_members; i++)
		if (g->members[i].pause != pause)
			herd_buf_printf(&b, "%s%s", b.len ? ", " : "", g->members[i].name);
	return herd_buf_steal(&b);
}

static int wait_all(struct ctl *c, struct ctl_cluster *k, int group, bool pause)
{
	const struct herd_cluster *g = ctl_group(k, group);
	int64_t end_ms = herd_now_ms() + (g ? g->config.loop_wait_ms : 0) + POLL_MS;

	printf("'%s' request sent, waiting until it is recognized by all nodes\n",
	       pause ? "pause" : "resume");
	fflush(stdout);
	for (;;) {
		bool never = false;

		if (ctl_refresh(k) < 0 || !(g = ctl_group(k, group)))
			return -1;
		char *names = laggards(g, pause);

		if (!names || !*names) {
			free(names);
			return 0;
		}
		if (herd_now_ms() >= end_ms) {
			printf("Failed: waiting for members %s\n", names);
			free(names);
			return 1;
		}
		free(names);
		herd_loop_run_until(c->loop, &never, POLL_MS);
	}
}

/* Any member can write it; the leader is asked first. 1: refused. */
static int ask_members(struct ctl *c, const struct herd_cluster *g, bool pause)
{
	json_t *body = json_pack("{s:o}", "pause", pause ? json_true() : json_null());
	int rc = -1;

	for (int turn = 0; turn < 2 && rc < 0; turn++) {
		for (size_t i = 0; i < g->n_members && rc < 0; i++) {
			const struct herd_member *m = &g->members[i];
			struct ctl_reply r;

			if (herd_str_eq(m->name, g->leader) != (turn == 0))
				continue;
			ctl_rest(c, m, "PATCH", "config", body, REST_MS, "configuration", &r);
			if (r.status == 200) {
				rc = 0;
			} else if (r.status != 0) {
				printf("Failed: %s cluster management status code=%d, (%s)\n",
				       pause ? "pause" : "resume", r.status, r.body);
				rc = 1;
			} else {
				fprintf(stderr, "%s: %s\n", m->name, herd_err_text(&r.err));
			}
			ctl_reply_clear(&r);
		}
	}
	json_decref(body);
	return rc < 0 ? ctl_fail("Can not find accessible cluster member") : rc;
}

static int toggle(struct ctl *c, const struct ctl_args *a, struct ctl_cluster *k, int group,
		  bool pause)
{
	const struct herd_cluster *g = ctl_group(k, group);

	if (!g)
		return -1;
	if (g->config.pause == pause)
		return ctl_fail("Cluster is %s paused", pause ? "already" : "not");
	int rc = ask_members(c, g, pause);

	if (rc == 0 && ctl_args_has(a, "wait"))
		rc = wait_all(c, k, group, pause);
	if (rc == 0)
		printf("Success: cluster management is %s\n", pause ? "paused" : "resumed");
	return rc;
}

static int run(struct ctl *c, const struct ctl_args *a, bool pause)
{
	struct ctl_cluster k;
	int group;

	if (ctl_group_option(c, a, true, &group) < 0)
		return CTL_USAGE;
	if (ctl_open(c, ctl_args_word(a, 0), &k) < 0)
		return CTL_FAILED;
	int rc = toggle(c, a, &k, group, pause);

	ctl_close(&k);
	return rc < 0 ? CTL_FAILED : CTL_OK;
}

static int run_pause(struct ctl *c, const struct ctl_args *a)
{
	return run(c, a, true);
}

static int run_resume(struct ctl *c, const struct ctl_args *a)
{
	return run(c, a, false);
}

const struct ctl_verb ctl_pause = {
	"pause", "[CLUSTER_NAME]", "Disable auto failover", pause_opts, 0, 1, run_pause,
};

const struct ctl_verb ctl_resume = {
	"resume", "[CLUSTER_NAME]", "Resume auto failover", pause_opts, 0, 1, run_resume,
};
