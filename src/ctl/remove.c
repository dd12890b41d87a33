#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ctl/internal.h"

static const struct ctl_opt remove_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 'f', "format", NULL, CTL_FORMATS, "Output format." },
	{ 0 },
};

static int must_type(const char *question, const char *answer, const char *otherwise)
{
	char *typed = ctl_prompt(question, NULL);

	if (!typed)
		return -1;
	bool same = strcmp(typed, answer) == 0;

	free(typed);
	return same ? 0 : ctl_fail("%s", otherwise);
}

static int confirm(const struct ctl_cluster *k, const struct herd_cluster *g)
{
	char *aware =
		herd_str_printf("You are about to remove all information in DCS for %s, please "
				"type: \"Yes I am aware\"",
				k->name);
	int rc = must_type("Please confirm the cluster name to remove", k->name,
			   "Cluster names specified do not match");

	if (rc == 0)
		rc = aware ? must_type(aware, "Yes I am aware",
				       "You did not exactly type \"Yes I am aware\"")
			   : -1;
	free(aware);
	if (rc == 0 && g->leader)
		rc = must_type("This cluster currently is healthy. Please specify the leader name "
			       "to continue",
			       g->leader, "You did not specify the current leader of the cluster");
	return rc;
}

static int remove_keys(struct ctl_cluster *k, const struct herd_cluster *g)
{
	char *prefix = herd_cluster_key(g->group, "");
	int rc = prefix ? 0 : -1;

	for (size_t i = 0; rc == 0 && i < k->view->n; i++) {
		struct herd_err err = HERD_ERR_INIT;

		if (herd_str_starts(k->view->kv[i].key, prefix) &&
		    ctl_change(k, HERD_NO_GROUP, k->view->kv[i].key, NULL, -1, &err) != HERD_DCS_OK)
			rc = ctl_fail_err(&err, "could not remove a key");
		herd_err_clear(&err);
	}
	free(prefix);
	return rc;
}

static int run_remove(struct ctl *c, const struct ctl_args *a)
{
	const char *format = ctl_args_get(a, "format");
	enum ctl_format f = CTL_PRETTY;
	struct ctl_cluster k;
	int group, rc = -1;

	if (ctl_group_option(c, a, false, &group) < 0)
		return CTL_USAGE;
	if (format && ctl_format_parse(format, &f) < 0)
		return CTL_USAGE;
	if (ctl_open(c, ctl_args_word(a, 0), &k) < 0)
		return CTL_FAILED;
	const struct herd_cluster *g = ctl_group(&k, group);

	if (g && ctl_print_members(&k, group, f, false, false) == 0 && confirm(&k, g) == 0)
		rc = remove_keys(&k, g);
	ctl_close(&k);
	return rc < 0 ? CTL_FAILED : CTL_OK;
}

const struct ctl_verb ctl_remove = {
	"remove", "CLUSTER_NAME", "Remove cluster from DCS", remove_opts, 1, 1, run_remove,
};
