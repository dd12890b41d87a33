#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "ctl/internal.h"

struct reading {
	struct herd_dcs_view *view;
	struct herd_err err;
	bool done;
};

static void on_view(void *arg, enum herd_dcs_result result, struct herd_dcs_view *view,
		    const struct herd_err *err)
{
	struct reading *r = arg;

	if (result == HERD_DCS_OK)
		r->view = herd_dcs_view_ref(view);
	else
		herd_err_set(&r->err, -EIO, "%s",
			     err ? herd_err_text(err) : "the store cannot be reached");
	r->done = true;
}

static struct herd_scope *build(const struct herd_dcs_view *v)
{
	struct herd_kv *kv = calloc(v->n + 1, sizeof(*kv));
	struct herd_scope *s;

	if (!kv)
		return NULL;
	for (size_t i = 0; i < v->n; i++)
		kv[i] = (struct herd_kv){ v->kv[i].key, v->kv[i].value, v->kv[i].len,
					  v->kv[i].version, v->kv[i].lease };
	s = herd_scope_build(kv, v->n, v->revision, true);
	free(kv);
	return s;
}

int ctl_refresh(struct ctl_cluster *k)
{
	struct reading r = { 0 };
	int rc = 0;

	herd_dcs_read(k->dcs, "", on_view, &r);
	ctl_wait(k->ctl, &r.done, -1, "reading from the store");
	if (!r.view) {
		rc = ctl_fail_err(&r.err, "could not read the cluster");
	} else {
		herd_dcs_view_unref(k->view);
		herd_scope_unref(k->scope);
		k->view = r.view;
		k->scope = build(r.view);
		if (!k->scope)
			rc = ctl_fail("out of memory");
	}
	herd_err_clear(&r.err);
	return rc;
}

int ctl_open(struct ctl *c, const char *name, struct ctl_cluster *ret)
{
	struct herd_err err = HERD_ERR_INIT;

	*ret = (struct ctl_cluster){ .ctl = c };
	if (!name)
		name = herd_json_str(c->config, "scope", NULL);
	if (!name || !*name)
		return ctl_fail("no cluster is named, and the configuration has no scope");
	ret->name = strdup(name);
	if (!ret->name)
		return ctl_fail("out of memory");
	if (herd_dcs_open(c->loop, c->config, herd_json_str(c->config, "namespace", "service"),
			  name, &ret->dcs, &err) < 0) {
		ctl_fail_err(&err, NULL);
		herd_err_clear(&err);
		ctl_close(ret);
		return -1;
	}
	herd_dcs_set_timeout(ret->dcs, CTL_DCS_TIMEOUT_MS);
	if (ctl_refresh(ret) < 0) {
		ctl_close(ret);
		return -1;
	}
	return 0;
}

void ctl_close(struct ctl_cluster *k)
{
	herd_cluster_clear(&k->empty);
	herd_scope_unref(k->scope);
	herd_dcs_view_unref(k->view);
	herd_dcs_free(k->dcs);
	free(k->name);
	*k = (struct ctl_cluster){ 0 };
}

bool ctl_is_sharded(const struct ctl_cluster *k)
{
	return k->scope->n_groups > 0 &&
	       k->scope->groups[k->scope->n_groups - 1].group != HERD_NO_GROUP;
}

int ctl_group_option(struct ctl *c, const struct ctl_args *a, bool use_config, int *ret)
{
	const char *text = ctl_args_get(a, "group");
	int64_t group = HERD_NO_GROUP;

	if (!text && use_config)
		group = herd_json_i64(json_object_get(c->config, "citus"), "group", HERD_NO_GROUP);
	if (text && (herd_str_to_i64(text, &group) < 0 || group < 0 || group > INT32_MAX)) {
		ctl_fail("Invalid value for '--group': '%s' is not a valid group.", text);
		return -EINVAL;
	}
	*ret = (int)group;
	return 0;
}

const struct herd_cluster *ctl_group(struct ctl_cluster *k, int group)
{
	const struct herd_cluster *g;

	if (ctl_is_sharded(k) && group == HERD_NO_GROUP) {
		ctl_fail("For Citus clusters the --group must be specified");
		return NULL;
	}
	g = herd_scope_group(k->scope, group);
	if (g)
		return g;
	/* A cluster that is not there has no members, no leader and no configuration. */
	herd_cluster_clear(&k->empty);
	if (herd_cluster_init(&k->empty, group, true) < 0) {
		ctl_fail("out of memory");
		return NULL;
	}
	return &k->empty;
}

bool ctl_has_role(const struct herd_cluster *g, const struct herd_member *m, const char *role)
{
	bool leader = herd_str_eq(g->leader, m->name);

	if (!role || strcmp(role, "any") == 0)
		return true;
	if (strcmp(role, "leader") == 0)
		return leader;
	if (strcmp(role, "primary") == 0)
		return leader && !g->config.standby_cluster;
	if (strcmp(role, "standby-leader") == 0)
		return leader && g->config.standby_cluster;
	return !leader;
}

bool ctl_in_group(const struct ctl_cluster *k, const struct herd_cluster *g, int group)
{
	if (!ctl_is_sharded(k) || group != HERD_NO_GROUP)
		return g->group == group;
	return g->group != HERD_NO_GROUP;
}

const struct herd_cluster *ctl_group_of(const struct ctl_cluster *k, const struct herd_member *m)
{
	for (size_t i = 0; i < k->scope->n_groups; i++) {
		const struct herd_cluster *g = &k->scope->groups[i];

		if (m >= g->members && m < g->members + g->n_members)
			return g;
	}
	return NULL;
}

static const struct herd_member *find_member(const struct ctl_cluster *k, int group,
					     const char *name, const char *role)
{
	for (size_t i = 0; i < k->scope->n_groups; i++) {
		const struct herd_cluster *g = &k->scope->groups[i];
		const struct herd_member *m =
			ctl_in_group(k, g, group) ? herd_cluster_member(g, name) : NULL;

		if (m && ctl_has_role(g, m, role))
			return m;
	}
	return NULL;
}

static size_t count_members(const struct ctl_cluster *k)
{
	size_t n = 0;

	for (size_t i = 0; i < k->scope->n_groups; i++)
		n += k->scope->groups[i].n_members;
	return n;
}

size_t ctl_choose(const struct ctl_cluster *k, int group, const char *role,
		  const struct ctl_args *a, size_t from, size_t to, const struct herd_member ***ret)
{
	const struct herd_member **list = calloc(count_members(k) + 1, sizeof(*list));
	size_t n = 0, all = 0;

	for (size_t i = 0; list && i < k->scope->n_groups; i++) {
		const struct herd_cluster *g = &k->scope->groups[i];

		for (size_t m = 0; ctl_in_group(k, g, group) && m < g->n_members; m++) {
			bool named = from >= to;

			if (!ctl_has_role(g, &g->members[m], role))
				continue;
			for (size_t w = from; w < to && !named; w++)
				named = strcmp(ctl_args_word(a, w), g->members[m].name) == 0;
			all++;
			if (named)
				list[n++] = &g->members[m];
		}
	}
	if (n > 0) {
		*ret = list;
		return n;
	}
	if (!list)
		ctl_fail("out of memory");
	else if (all == 0)
		ctl_fail("%s cluster doesn't have any members", k->name);
	else
		ctl_fail("No %s among provided members", role ? role : "any");
	free(list);
	return 0;
}

const struct herd_member *ctl_pick(const struct ctl_cluster *k, int group, const struct ctl_args *a,
				   const char *default_role)
{
	const char *name = ctl_args_get(a, "member"), *role = ctl_args_get(a, "role");
	const struct herd_member *found = NULL;

	if (name) {
		found = find_member(k, group, name, NULL);
	} else {
		/* Of a sharded cluster, the group that takes queries. */
		const struct herd_cluster *g = herd_scope_group(
			k->scope, ctl_is_sharded(k) && group == HERD_NO_GROUP ? 0 : group);

		for (size_t i = 0; g && !found && i < g->n_members; i++)
			if (ctl_has_role(g, &g->members[i], role ? role : default_role))
				found = &g->members[i];
	}
	if (!found || !found->host) {
		ctl_fail("Can not find a suitable member");
		return NULL;
	}
	return found;
}

struct changing {
	enum herd_dcs_result result;
	struct herd_err *err;
	bool done;
};

static void on_change(void *arg, enum herd_dcs_result result, int64_t version,
		      const struct herd_err *err)
{
	struct changing *ch = arg;

	ch->result = result;
	if (err)
		herd_err_set(ch->err, -EIO, "%s", herd_err_text(err));
	ch->done = true;
}

enum herd_dcs_result ctl_change(struct ctl_cluster *k, int group, const char *key,
				const char *value, int64_t version, struct herd_err *err)
{
	char *full = herd_cluster_key(group, key);
	struct changing ch = { .err = err };
	struct herd_dcs_change change = {
		.key = full,
		.value = value,
		.cond = version > 0    ? HERD_DCS_AT_VERSION
			: version == 0 ? HERD_DCS_ABSENT
				       : HERD_DCS_ANY,
		.version = version,
	};

	if (!full)
		return HERD_DCS_UNREACHABLE;
	herd_dcs_change(k->dcs, &change, on_change, &ch);
	ctl_wait(k->ctl, &ch.done, -1, "writing to the store");
	free(full);
	return ch.result;
}
