#include "pool/topo.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

struct herd_topo *herd_topo_new(void)
{
	struct herd_topo *t = calloc(1, sizeof(*t));

	if (t)
		atomic_init(&t->refs, 1);
	return t;
}

struct herd_topo *herd_topo_ref(struct herd_topo *t)
{
	int refs = atomic_fetch_add(&t->refs, 1);

	assert(refs > 0);
	(void)refs;
	return t;
}

static void free_group(struct herd_topo_group *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct herd_topo_member *m = &g->members[i];

		free(m->name);
		free(m->host);
		free(m->role);
		free(m->state);
		free(m->zone);
		free(m->api_url);
	}
	free(g->members);
	free(g->scope);
	free(g->leader);
	free(g->no_leader);
	free(g->system_id);
	free(g->handover_id);
	free(g->handover_from);
	free(g->handover_to);
}

void herd_topo_unref(struct herd_topo *t)
{
	if (!t)
		return;
	int refs = atomic_fetch_sub(&t->refs, 1);

	assert(refs > 0);
	if (refs > 1)
		return;
	for (size_t i = 0; i < t->n; i++)
		free_group(&t->groups[i]);
	free(t->groups);
	free(t);
}

struct herd_topo_group *herd_topo_add_group(struct herd_topo *t, const char *scope, int group)
{
	struct herd_topo_group *groups = realloc(t->groups, (t->n + 1) * sizeof(*groups));

	if (!groups)
		return NULL;
	t->groups = groups;
	groups[t->n] = (struct herd_topo_group){ .scope = strdup(scope), .group = group };
	if (!groups[t->n].scope)
		return NULL;
	return &groups[t->n++];
}

struct herd_topo_member *herd_topo_add_member(struct herd_topo_group *g, const char *name,
					      const char *host, int port)
{
	struct herd_topo_member *members = realloc(g->members, (g->n + 1) * sizeof(*members));

	if (!members)
		return NULL;
	g->members = members;
	struct herd_topo_member *m = &members[g->n];

	*m = (struct herd_topo_member){
		.name = strdup(name), .host = strdup(host), .port = port, .lag = -1, .lag_ms = -1
	};
	if (!m->name || !m->host) {
		free(m->name);
		free(m->host);
		return NULL;
	}
	g->n++;
	return m;
}

bool herd_topo_same_leads(const struct herd_topo *a, const struct herd_topo *b)
{
	if (!a || !b || a->n != b->n)
		return a == b;
	for (size_t i = 0; i < a->n; i++) {
		const struct herd_topo_group *g = &a->groups[i];
		const struct herd_topo_group *h = herd_topo_find(b, g->scope, g->group);

		if (!h || !herd_str_eq(g->leader, h->leader) || g->leader_ver != h->leader_ver ||
		    g->phase != h->phase || !herd_str_eq(g->handover_id, h->handover_id))
			return false;
	}
	return true;
}

const struct herd_topo_group *herd_topo_find(const struct herd_topo *t, const char *scope,
					     int group)
{
	for (size_t i = 0; t && i < t->n; i++) {
		if (t->groups[i].group == group && herd_str_eq(t->groups[i].scope, scope))
			return &t->groups[i];
	}
	return NULL;
}

const struct herd_topo_member *herd_topo_member(const struct herd_topo_group *g, const char *name)
{
	for (size_t i = 0; g && name && i < g->n; i++) {
		if (herd_str_eq(g->members[i].name, name))
			return &g->members[i];
	}
	return NULL;
}
