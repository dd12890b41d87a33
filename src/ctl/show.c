/*
 * ctl/show.c - history, version and dsn.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "ctl/internal.h"

enum { REST_MS = 5000 };

static const struct ctl_opt history_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 'f', "format", NULL, CTL_FORMATS, "Output format." },
	{ 0 },
};

static const struct ctl_opt version_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 0 },
};

static const struct ctl_opt dsn_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 'r', "role", NULL, CTL_ROLES, "Give a dsn of any member with this role." },
	{ 'm', "member", NULL, "TEXT", "Generate a dsn for this member." },
	{ 0 },
};

static json_t *history_rows(const struct herd_history *h)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < h->n; i++) {
		const struct herd_history_line *l = &h->line[i];
		json_t *row = json_object();

		json_object_set_new(row, "TL", json_integer(l->timeline));
		json_object_set_new(row, "LSN", json_integer((json_int_t)l->lsn));
		json_object_set_new(row, "Reason", json_string(l->reason));
		if (l->time)
			json_object_set_new(row, "Timestamp", json_string(l->time));
		if (l->leader)
			json_object_set_new(row, "New Leader", json_string(l->leader));
		json_array_append_new(rows, row);
	}
	return rows;
}

static int run_history(struct ctl *c, const struct ctl_args *a)
{
	static const struct ctl_column cols[] = { { "TL", "TL", true },
						  { "LSN", "LSN", true },
						  { "Reason", "Reason", false },
						  { "Timestamp", "Timestamp", false },
						  { "New Leader", "New Leader", false } };
	const char *format = ctl_args_get(a, "format");
	enum ctl_format f = CTL_PRETTY;
	struct ctl_cluster k;
	int group;

	if (ctl_group_option(c, a, true, &group) < 0)
		return CTL_USAGE;
	if (format && ctl_format_parse(format, &f) < 0)
		return CTL_USAGE;
	if (ctl_open(c, ctl_args_word(a, 0), &k) < 0)
		return CTL_FAILED;
	const struct herd_cluster *g = ctl_group(&k, group);
	json_t *rows = g ? history_rows(&g->history) : NULL;
	char *text =
		rows ? ctl_table_print(f, NULL, cols, sizeof(cols) / sizeof(cols[0]), rows) : NULL;

	if (text)
		fputs(text, stdout);
	int rc = text ? CTL_OK : CTL_FAILED;

	free(text);
	json_decref(rows);
	ctl_close(&k);
	return rc;
}

/* 150004 is 15.4, 90603 is 9.6.3; malloc'd. */
static char *postgres_version(int64_t number)
{
	if (number >= 100000)
		return herd_str_printf("%" PRId64 ".%" PRId64, number / 10000, number % 10000);
	return herd_str_printf("%" PRId64 ".%" PRId64 ".%" PRId64, number / 10000,
			       number / 100 % 100, number % 100);
}

static void print_version(struct ctl *c, const struct herd_member *m)
{
	struct ctl_reply r;

	ctl_rest(c, m, "GET", "patroni", NULL, REST_MS, m->name, &r);
	json_t *v = r.status ? json_loads(r.body, 0, NULL) : NULL;
	const char *version = json_string_value(herd_json_path(v, "patroni.version"));
	int64_t number = herd_json_i64(v, "server_version", 0);
	char *postgres = number > 0 ? postgres_version(number) : NULL;

	if (version)
		printf("%s: Patroni %s%s%s\n", m->name, version, postgres ? " PostgreSQL " : "",
		       postgres ? postgres : "");
	else
		printf("%s: failed to get version: %s\n", m->name,
		       r.status ? r.body : herd_err_text(&r.err));
	free(postgres);
	json_decref(v);
	ctl_reply_clear(&r);
}

static bool is_named(const struct ctl_args *a, const char *name)
{
	for (size_t i = 1; i < ctl_args_words(a); i++)
		if (strcmp(ctl_args_word(a, i), name) == 0)
			return true;
	return false;
}

static int run_version(struct ctl *c, const struct ctl_args *a)
{
	struct ctl_cluster k;
	int group;

	if (ctl_group_option(c, a, false, &group) < 0)
		return CTL_USAGE;
	/* Who calls it by this name compares it with Patroni's versions. */
	printf("%s version %s\n", c->prog,
	       strcmp(c->prog, "patronictl") == 0 ? CTL_PATRONI_VERSION : PGHERD_VERSION);
	if (ctl_args_words(a) == 0)
		return CTL_OK;
	if (ctl_open(c, ctl_args_word(a, 0), &k) < 0)
		return CTL_FAILED;
	putchar('\n');
	for (size_t i = 0; i < k.scope->n_groups; i++) {
		const struct herd_cluster *g = &k.scope->groups[i];

		for (size_t m = 0; ctl_in_group(&k, g, group) && m < g->n_members; m++)
			if (ctl_args_words(a) == 1 || is_named(a, g->members[m].name))
				print_version(c, &g->members[m]);
	}
	ctl_close(&k);
	return CTL_OK;
}

static int run_dsn(struct ctl *c, const struct ctl_args *a)
{
	struct ctl_cluster k;
	int group;

	if (ctl_args_has(a, "role") && ctl_args_has(a, "member")) {
		ctl_fail("--role and --member are mutually exclusive options");
		return CTL_FAILED;
	}
	if (ctl_group_option(c, a, true, &group) < 0)
		return CTL_USAGE;
	if (ctl_open(c, ctl_args_word(a, 0), &k) < 0)
		return CTL_FAILED;
	const struct herd_member *m = ctl_pick(&k, group, a, "leader");

	if (m)
		printf("host=%s port=%d\n", m->host, m->port);
	ctl_close(&k);
	return m ? CTL_OK : CTL_FAILED;
}

const struct ctl_verb ctl_history = {
	"history", "[CLUSTER_NAME]", "Show the history of failovers/switchovers", history_opts, 0,
	1,         run_history,
};

const struct ctl_verb ctl_version = {
	"version",
	"[CLUSTER_NAME] [MEMBER_NAMES]...",
	"Show the version of this program, or of running members",
	version_opts,
	0,
	-1,
	run_version,
};

const struct ctl_verb ctl_dsn = {
	"dsn",
	"[CLUSTER_NAME]",
	"Generate a dsn for the provided member, defaults to a dsn of the leader",
	dsn_opts,
	0,
	1,
	run_dsn,
};
