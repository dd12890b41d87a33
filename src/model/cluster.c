#include "model/cluster.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

int herd_cluster_init(struct herd_cluster *c, int group, bool guard)
{
	*c = (struct herd_cluster){ .group = group };
	return herd_config_from_json(NULL, guard, &c->config);
}

static void key_clear(struct herd_key *k)
{
	free(k->lease);
}

void herd_cluster_clear(struct herd_cluster *c)
{
	struct herd_key *keys[] = { &c->initialize_key, &c->config_key,   &c->leader_key,
				    &c->status_key,     &c->failover_key, &c->sync_key,
				    &c->history_key,    &c->failsafe_key, &c->handover_key };

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		key_clear(keys[i]);
	for (size_t i = 0; i < c->n_members; i++) {
		herd_member_clear(&c->members[i]);
		key_clear(&c->member_keys[i]);
	}
	free(c->members);
	free(c->member_keys);
	free(c->initialize);
	free(c->leader);
	herd_config_clear(&c->config);
	herd_status_clear(&c->status);
	herd_failover_clear(&c->failover);
	herd_sync_clear(&c->sync);
	herd_history_clear(&c->history);
	herd_failsafe_clear(&c->failsafe);
	herd_handover_clear(&c->handover);
	*c = (struct herd_cluster){ 0 };
}

static void scope_free(struct herd_scope *s)
{
	for (size_t i = 0; i < s->n_groups; i++)
		herd_cluster_clear(&s->groups[i]);
	for (size_t i = 0; i < s->n_proxies; i++)
		herd_proxy_clear(&s->proxies[i]);
	for (size_t i = 0; i < s->n_problems; i++) {
		free(s->problems[i].key);
		free(s->problems[i].reason);
	}
	free(s->groups);
	free(s->proxies);
	free(s->problems);
	free(s);
}

struct herd_scope *herd_scope_ref(struct herd_scope *s)
{
	s->refs++;
	return s;
}

void herd_scope_unref(struct herd_scope *s)
{
	if (s && --s->refs == 0)
		scope_free(s);
}

static int add_problem(struct herd_scope *s, const char *key, const struct herd_err *err)
{
	struct herd_problem *grown = realloc(s->problems, (s->n_problems + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->problems = grown;
	grown[s->n_problems++] = (struct herd_problem){ strdup(key), strdup(herd_err_text(err)) };
	return 0;
}

/* The group of a key and the rest of the key; HERD_NO_GROUP when it has none. */
static int split_group(const char *key, const char **rest)
{
	int64_t group = 0;
	const char *s = key;

	for (; *s >= '0' && *s <= '9' && group <= INT32_MAX; s++)
		group = group * 10 + (*s - '0');
	if (s == key || *s != '/' || group > INT32_MAX || (*key == '0' && s != key + 1)) {
		*rest = key;
		return HERD_NO_GROUP;
	}
	*rest = s + 1;
	return (int)group;
}

static struct herd_cluster *group_of(struct herd_scope *s, int group, bool guard)
{
	size_t at = 0;

	while (at < s->n_groups && s->groups[at].group < group)
		at++;
	if (at < s->n_groups && s->groups[at].group == group)
		return &s->groups[at];
	struct herd_cluster *grown = realloc(s->groups, (s->n_groups + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	s->groups = grown;
	struct herd_cluster fresh;

	if (herd_cluster_init(&fresh, group, guard) < 0)
		return NULL;
	memmove(grown + at + 1, grown + at, (s->n_groups - at) * sizeof(*grown));
	grown[at] = fresh;
	s->n_groups++;
	return &grown[at];
}

static int add_member(struct herd_cluster *c, const char *name, const struct herd_kv *kv,
		      struct herd_err *err)
{
	struct herd_member *members = realloc(c->members, (c->n_members + 1) * sizeof(*members));

	if (!members)
		return -ENOMEM;
	c->members = members;
	struct herd_key *keys = realloc(c->member_keys, (c->n_members + 1) * sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	c->member_keys = keys;
	int r = herd_member_parse(name, kv->value, kv->len, &members[c->n_members], err);

	if (r < 0)
		return r;
	keys[c->n_members] = (struct herd_key){ .version = kv->version };
	c->n_members++;
	return herd_str_set(&keys[c->n_members - 1].lease, kv->lease) ? 0 : -ENOMEM;
}

static int read_config(struct herd_cluster *c, const struct herd_kv *kv, bool guard,
		       struct herd_err *err)
{
	struct herd_config fresh;
	int r = herd_config_parse(kv->value, kv->len, guard, &fresh, err);

	if (r < 0)
		return r;
	herd_config_clear(&c->config);
	c->config = fresh;
	return 0;
}

/* optime/leader is older than status and counts only where there is none. */
static int read_legacy_optime(struct herd_cluster *c, const struct herd_kv *kv,
			      struct herd_err *err)
{
	return c->status_key.version ? 0 : herd_status_parse(kv->value, kv->len, &c->status, err);
}

/* Which document the key is: fills where it stands and parses it. */
static int read_key(struct herd_cluster *c, const char *key, const struct herd_kv *kv, bool guard,
		    struct herd_err *err)
{
	struct herd_key *at = NULL;
	int r = 0;

	if (herd_str_starts(key, "members/"))
		return key[8] ? add_member(c, key + 8, kv, err) : 0;
	if (strcmp(key, "optime/leader") == 0)
		return read_legacy_optime(c, kv, err);
	if (strcmp(key, "initialize") == 0) {
		at = &c->initialize_key;
		r = herd_str_set(&c->initialize, kv->value) ? 0 : -ENOMEM;
	} else if (strcmp(key, "leader") == 0) {
		at = &c->leader_key;
		r = herd_str_set(&c->leader, kv->value) ? 0 : -ENOMEM;
	} else if (strcmp(key, "config") == 0) {
		at = &c->config_key;
		r = read_config(c, kv, guard, err);
	} else if (strcmp(key, "status") == 0) {
		at = &c->status_key;
		herd_status_clear(&c->status);
		r = herd_status_parse(kv->value, kv->len, &c->status, err);
	} else if (strcmp(key, "failover") == 0) {
		at = &c->failover_key;
		r = herd_failover_parse(kv->value, kv->len, &c->failover, err);
	} else if (strcmp(key, "sync") == 0) {
		at = &c->sync_key;
		r = herd_sync_parse(kv->value, kv->len, &c->sync, err);
	} else if (strcmp(key, "history") == 0) {
		at = &c->history_key;
		r = herd_history_parse(kv->value, kv->len, &c->history, err);
	} else if (strcmp(key, "failsafe") == 0) {
		at = &c->failsafe_key;
		r = herd_failsafe_parse(kv->value, kv->len, &c->failsafe, err);
	} else if (strcmp(key, "handover") == 0) {
		at = &c->handover_key;
		r = herd_handover_parse(kv->value, kv->len, &c->handover, err);
	} else {
		return 0;
	}
	at->version = kv->version;
	at->bad = r == -EINVAL;
	if (!herd_str_set(&at->lease, kv->lease))
		return -ENOMEM;
	return r;
}

static int read_proxy(struct herd_scope *s, const struct herd_kv *kv, struct herd_err *err)
{
	struct herd_proxy *grown = realloc(s->proxies, (s->n_proxies + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->proxies = grown;
	int r = herd_proxy_parse(kv->key + 8, kv->value, kv->len, &grown[s->n_proxies], err);

	if (r == 0)
		s->n_proxies++;
	return r;
}

static bool known_key(const char *key)
{
	static const char *const known[] = { "initialize", "leader",       "config",  "status",
					     "failover",   "sync",         "history", "failsafe",
					     "handover",   "optime/leader" };

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(key, known[i]) == 0)
			return true;
	return herd_str_starts(key, "members/");
}

struct herd_scope *herd_scope_build(const struct herd_kv *kv, size_t n, int64_t revision,
				    bool guard)
{
	struct herd_scope *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return NULL;
	s->refs = 1;
	s->revision = revision;
	for (size_t i = 0; i < n && r != -ENOMEM; i++) {
		struct herd_err err = HERD_ERR_INIT;
		const char *rest;
		int group = split_group(kv[i].key, &rest);

		if (group == HERD_NO_GROUP && herd_str_starts(rest, "proxies/") && rest[8]) {
			r = read_proxy(s, &kv[i], &err);
		} else if (known_key(rest)) {
			struct herd_cluster *c = group_of(s, group, guard);

			r = c ? read_key(c, rest, &kv[i], guard, &err) : -ENOMEM;
		}
		if (r == -EINVAL)
			r = add_problem(s, kv[i].key, &err);
		herd_err_clear(&err);
	}
	if (r == -ENOMEM) {
		scope_free(s);
		return NULL;
	}
	return s;
}

const struct herd_cluster *herd_scope_group(const struct herd_scope *s, int group)
{
	for (size_t i = 0; s && i < s->n_groups; i++)
		if (s->groups[i].group == group)
			return &s->groups[i];
	return NULL;
}

const struct herd_member *herd_cluster_member(const struct herd_cluster *c, const char *name)
{
	for (size_t i = 0; name && i < c->n_members; i++)
		if (strcmp(c->members[i].name, name) == 0)
			return &c->members[i];
	return NULL;
}

const struct herd_member *herd_cluster_leader(const struct herd_cluster *c)
{
	return herd_cluster_member(c, c->leader);
}

int64_t herd_cluster_timeline(const struct herd_cluster *c)
{
	return c->history_key.version && !c->history_key.bad ? herd_history_timeline(&c->history)
							     : 0;
}

char *herd_cluster_key(int group, const char *key)
{
	return group == HERD_NO_GROUP ? strdup(key) : herd_str_printf("%d/%s", group, key);
}
