#include "pool/route.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

static const char *const role_names[] = {
	[HERD_ROUTE_PRIMARY] = "primary",
	[HERD_ROUTE_REPLICA] = "replica",
	[HERD_ROUTE_ANY] = "any",
	[HERD_ROUTE_WORKERS] = "workers",
};

int herd_route_role_parse(const char *text, enum herd_route_role *ret)
{
	for (int i = 0; i < (int)(sizeof(role_names) / sizeof(role_names[0])); i++) {
		if (strcasecmp(text, role_names[i]) == 0)
			return *ret = (enum herd_route_role)i, 0;
	}
	if (strcasecmp(text, "master") == 0 || strcasecmp(text, "leader") == 0)
		return *ret = HERD_ROUTE_PRIMARY, 0;
	if (strcasecmp(text, "standby") == 0)
		return *ret = HERD_ROUTE_REPLICA, 0;
	return -EINVAL;
}

const char *herd_route_role_name(enum herd_route_role role)
{
	return role_names[role];
}

static struct herd_pick hold(const struct herd_topo_group *g, const char *why)
{
	return (struct herd_pick){ .kind = HERD_PICK_HOLD, .group = g, .why = why };
}

static struct herd_pick pick_primary(const struct herd_topo_group *g)
{
	const struct herd_topo_member *m;

	if (g->phase == HERD_HANDOVER_HOLD && herd_str_eq(g->leader, g->handover_from))
		return hold(g, "handover announced");
	if (!g->leader)
		return hold(g, "no leader");
	m = herd_topo_member(g, g->leader);
	if (!m)
		return hold(g, "leader has no member key");
	return (struct herd_pick){
		.kind = HERD_PICK_GO, .group = g, .member = m, .want_primary = true, .why = "leader"
	};
}

static bool balanced(const struct herd_topo_member *m)
{
	return m->running && !m->noloadbalance;
}

/* The turn-th of the candidates; any_role takes the leader in, too. */
static struct herd_pick pick_reader(const struct herd_topo_group *g, bool any_role, uint64_t turn)
{
	uint64_t n = 0;

	for (size_t i = 0; i < g->n; i++) {
		bool leads = herd_str_eq(g->members[i].name, g->leader);

		n += balanced(&g->members[i]) && (any_role || !leads);
	}
	if (n == 0)
		return hold(g, any_role ? "no running member" : "no running replica");
	turn %= n;
	for (size_t i = 0; i < g->n; i++) {
		const struct herd_topo_member *m = &g->members[i];
		bool leads = herd_str_eq(m->name, g->leader);

		if (!balanced(m) || (!any_role && leads))
			continue;
		if (turn-- == 0)
			return (struct herd_pick){ .kind = HERD_PICK_GO,
						   .group = g,
						   .member = m,
						   .want_standby = !any_role,
						   .why = any_role ? "member" : "replica" };
	}
	assert(!"a candidate was counted that is not there");
	return hold(g, "no running member");
}

static struct herd_pick pick_worker(const struct herd_topo *t, const struct herd_route *r,
				    uint64_t turn)
{
	uint64_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct herd_topo_group *g = &t->groups[i];

		n += g->group > 0 && herd_str_eq(g->scope, r->cluster) &&
		     pick_primary(g).kind == HERD_PICK_GO;
	}
	if (n == 0)
		return hold(NULL, "no worker group has a leader");
	turn %= n;
	for (size_t i = 0; i < t->n; i++) {
		const struct herd_topo_group *g = &t->groups[i];

		if (g->group <= 0 || !herd_str_eq(g->scope, r->cluster))
			continue;
		struct herd_pick p = pick_primary(g);

		if (p.kind == HERD_PICK_GO && turn-- == 0)
			return p;
	}
	assert(!"a worker was counted that is not there");
	return hold(NULL, "no worker group has a leader");
}

struct herd_pick herd_route_pick(const struct herd_topo *t, const struct herd_route *r,
				 uint64_t turn)
{
	assert(r->cluster);
	if (!t || t->n == 0)
		return hold(NULL, "no topology yet");
	if (r->role == HERD_ROUTE_WORKERS)
		return pick_worker(t, r, turn);

	const struct herd_topo_group *g = herd_topo_find(t, r->cluster, r->group);

	if (!g)
		return hold(NULL, "cluster or group is not known");
	if (r->role == HERD_ROUTE_PRIMARY)
		return pick_primary(g);
	return pick_reader(g, r->role == HERD_ROUTE_ANY, turn);
}

bool herd_route_fits(const struct herd_topo *t, const struct herd_route *r, const char *scope,
		     int group, const char *member)
{
	const struct herd_topo_group *g = herd_topo_find(t, scope, group);

	/* A store that lost everything says nothing about the servers: keep them. */
	if (!t || t->n == 0)
		return true;
	if (!g)
		return false;
	bool leads = herd_str_eq(g->leader, member);
	const struct herd_topo_member *m = herd_topo_member(g, member);

	switch (r->role) {
	case HERD_ROUTE_PRIMARY:
	case HERD_ROUTE_WORKERS:
		/* Between two leaders the old server may still be asked; it verifies or dies. */
		return leads || (!g->leader && m);
	case HERD_ROUTE_REPLICA:
		return m && !leads && balanced(m);
	case HERD_ROUTE_ANY:
		return m && balanced(m);
	}
	return false;
}

const struct herd_topo_member *herd_route_warm(const struct herd_topo *t,
					       const struct herd_route *r,
					       const struct herd_topo_group **group)
{
	for (size_t i = 0; t && i < t->n; i++) {
		const struct herd_topo_group *g = &t->groups[i];
		bool ours = r->role == HERD_ROUTE_WORKERS ? g->group > 0 : g->group == r->group;

		if (!ours || !herd_str_eq(g->scope, r->cluster) ||
		    (r->role != HERD_ROUTE_PRIMARY && r->role != HERD_ROUTE_WORKERS))
			continue;
		if (g->phase != HERD_HANDOVER_HOLD || !g->handover_to)
			continue;
		const struct herd_topo_member *m = herd_topo_member(g, g->handover_to);

		if (m) {
			*group = g;
			return m;
		}
	}
	return NULL;
}
