/*
 * ctl/explain.c - why a member is or is not the leader: its agent's own word, or what the store
 * says when the agent does not answer (or is Patroni, which does not know the question).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"
#include "ctl/internal.h"
#include "model/explain.h"

enum { REST_MS = 3000 };

static const struct ctl_opt explain_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ '\0', "cluster", NULL, "TEXT", "Name of the cluster; the scope of the configuration." },
	{ 'f', "format", NULL, "[pretty|json|yaml|yml]", "Output format." },
	{ 0 },
};

static json_t *ask(struct ctl *c, const struct herd_member *m, char **why)
{
	struct ctl_reply r;

	ctl_rest(c, m, "GET", "explain", NULL, REST_MS, m->name, &r);
	json_t *doc = r.status == 200 ? json_loads(r.body, 0, NULL) : NULL;

	if (!json_is_string(json_object_get(doc, "summary"))) {
		json_decref(doc);
		doc = NULL;
		*why = r.status == 0 ? herd_str_printf("its agent does not answer: %s",
						       herd_err_text(&r.err))
				     : herd_str_printf(
					       "its agent (Patroni %s) does not know the question",
					       m->version ? m->version : "");
	}
	ctl_reply_clear(&r);
	return doc;
}

/* The member's document; the store's view of it when it does not answer. */
static json_t *explain(struct ctl *c, const struct herd_cluster *g, const char *name)
{
	const struct herd_member *m = herd_cluster_member(g, name);
	char *why = NULL;
	json_t *doc = m ? ask(c, m, &why) : NULL;

	if (doc)
		return doc;
	doc = herd_explain(g, name, NULL);
	if (doc && why)
		json_object_set_new(doc, "not_asked", json_string(why));
	free(why);
	return doc;
}

static void print(const json_t *doc)
{
	char *text = herd_explain_text(doc);
	const char *why = herd_json_str(doc, "not_asked", NULL);

	if (text)
		fputs(text, stdout);
	if (why)
		printf("  %s; this is what the store says\n", why);
	free(text);
}

static json_t *explain_all(struct ctl *c, struct ctl_cluster *k, const struct ctl_args *a,
			   int group)
{
	json_t *list = json_array();

	for (size_t i = 0; i < k->scope->n_groups; i++) {
		const struct herd_cluster *g = &k->scope->groups[i];

		/* The leader first. */
		for (int turn = 0; ctl_in_group(k, g, group) && turn < 2; turn++) {
			for (size_t m = 0; m < g->n_members; m++) {
				const char *name = g->members[m].name;
				bool named = ctl_args_words(a) == 0;

				for (size_t w = 0; w < ctl_args_words(a); w++)
					named |= strcmp(ctl_args_word(a, w), name) == 0;
				if (named && herd_str_eq(name, g->leader) == (turn == 0))
					json_array_append_new(list, explain(c, g, name));
			}
		}
	}
	return list;
}

static int run_explain(struct ctl *c, const struct ctl_args *a)
{
	const char *format = ctl_args_get(a, "format");
	enum ctl_format f = CTL_PRETTY;
	struct ctl_cluster k;
	int group, rc = CTL_OK;
	size_t i;
	json_t *list, *doc;

	if (ctl_group_option(c, a, false, &group) < 0 ||
	    (format && ctl_format_parse(format, &f) < 0))
		return CTL_USAGE;
	if (ctl_open(c, ctl_args_get(a, "cluster"), &k) < 0)
		return CTL_FAILED;
	list = explain_all(c, &k, a, group);
	if (json_array_size(list) < (ctl_args_words(a) ? ctl_args_words(a) : 1)) {
		rc = CTL_FAILED;
		ctl_fail(ctl_args_words(a) ? "No %s among provided members"
					   : "%s cluster doesn't have any members",
			 ctl_args_words(a) ? "any" : k.name);
	} else if (f == CTL_PRETTY) {
		json_array_foreach(list, i, doc)
		{
			if (i > 0)
				putchar('\n');
			print(doc);
		}
	} else {
		char *text = f == CTL_JSON
				     ? json_dumps(list, JSON_INDENT(2) | JSON_REAL_PRECISION(6))
				     : herd_yaml_dump(list);

		if (text)
			printf("%s%s", text, f == CTL_JSON ? "\n" : "");
		free(text);
	}
	json_decref(list);
	ctl_close(&k);
	return rc;
}

const struct ctl_verb ctl_explain = {
	"explain",
	"[MEMBER_NAMES]...",
	"Tell why a member is or is not the leader",
	explain_opts,
	0,
	-1,
	run_explain,
};
