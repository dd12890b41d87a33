#include "pool/route.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
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

/* A number and a unit: sizes in bytes, times in milliseconds. */
static const struct {
	const char *unit;
	int64_t factor;
	bool time;
} lag_units[] = {
	{ "", 1, false },           { "B", 1, false },
	{ "kB", 1024, false },      { "MB", 1024 * 1024, false },
	{ "GB", 1 << 30, false },   { "TB", (int64_t)1 << 40, false },
	{ "ms", 1, true },          { "s", 1000, true },
	{ "min", 60 * 1000, true }, { "h", 3600 * 1000, true },
};

int herd_route_lag_parse(const char *text, struct herd_route *ret)
{
	char *end;

	errno = 0;
	double v = strtod(text, &end);

	if (end == text || errno || !(v >= 0))
		return -EINVAL;
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < sizeof(lag_units) / sizeof(lag_units[0]); i++) {
		if (strcasecmp(end, lag_units[i].unit) != 0)
			continue;
		v *= (double)lag_units[i].factor;
		if (v > 9e18)
			return -EINVAL;
		*(lag_units[i].time ? &ret->max_lag_ms : &ret->max_lag) = (int64_t)v;
		return 0;
	}
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
		return hold(g, g->no_leader ? g->no_leader : "no leader");
	m = herd_topo_member(g, g->leader);
	if (!m)
		return hold(g, "leader has no member key");
	return (struct herd_pick){ .kind = HERD_PICK_GO,
				   .group = g,
				   .member = m,
				   .want_primary = true,
				   .choices = 1,
				   .why = "leader" };
}

static bool balanced(const struct herd_topo_member *m)
{
	return m->running && !m->noloadbalance;
}

bool herd_route_lags(const struct herd_route *r, const struct herd_topo_member *m)
{
	if (r->max_lag > 0 && (m->lag < 0 || m->lag > r->max_lag))
		return true;
	return r->max_lag_ms > 0 && (m->lag_ms < 0 || m->lag_ms > r->max_lag_ms);
}

/* How good a candidate is: the lowest rank that somebody has is the one to choose from. */
enum rank { IN_ZONE = 0, ELSEWHERE, OUT, NEVER };

struct chooser {
	const struct herd_route *r;
	const struct herd_route_view *view;
	enum rank best;
	int n; /* of that rank */
	bool lagging, failing;
};

static struct herd_route_look look(const struct chooser *ch, const struct herd_topo_group *g,
				   const struct herd_topo_member *m)
{
	struct herd_route_look ret = { 0 };

	if (ch->view->look)
		ch->view->look(ch->view->arg, g, m, &ret);
	return ret;
}

static enum rank rank_reader(struct chooser *ch, const struct herd_topo_group *g,
			     const struct herd_topo_member *m)
{
	bool leads = herd_str_eq(m->name, g->leader);
	const char *zone = ch->view->zone;

	if (!balanced(m) || (leads && ch->r->role != HERD_ROUTE_ANY))
		return NEVER;
	if (!leads && herd_route_lags(ch->r, m)) {
		ch->lagging = true;
		return NEVER;
	}
	if (look(ch, g, m).out) {
		ch->failing = true;
		return OUT;
	}
	return zone && *zone && !herd_str_eq(zone, m->zone) ? ELSEWHERE : IN_ZONE;
}

/* Of workers each group has one candidate, its leader. */
static enum rank rank_worker(struct chooser *ch, const struct herd_topo_group *g,
			     const struct herd_topo_member *m)
{
	if (g->group <= 0 || !herd_str_eq(g->leader, m->name) ||
	    pick_primary(g).kind != HERD_PICK_GO)
		return NEVER;
	return look(ch, g, m).out ? OUT : IN_ZONE;
}

static enum rank rank_of(struct chooser *ch, const struct herd_topo_group *g,
			 const struct herd_topo_member *m)
{
	if (!herd_str_eq(g->scope, ch->r->cluster))
		return NEVER;
	if (ch->r->role == HERD_ROUTE_WORKERS)
		return rank_worker(ch, g, m);
	return g->group == ch->r->group ? rank_reader(ch, g, m) : NEVER;
}

static void survey(struct chooser *ch, const struct herd_topo *t)
{
	ch->best = NEVER;
	for (size_t i = 0; i < t->n; i++) {
		for (size_t k = 0; k < t->groups[i].n; k++) {
			enum rank rank = rank_of(ch, &t->groups[i], &t->groups[i].members[k]);

			if (rank < ch->best) {
				ch->best = rank;
				ch->n = 0;
			}
			ch->n += rank == ch->best && rank != NEVER;
		}
	}
}

/* Of two of the same rank: the one that this pool uses less, then the one that all use less. */
static bool less_used(const struct herd_route_look *a, const struct herd_route_look *b)
{
	if (a->own_conns != b->own_conns)
		return a->own_conns < b->own_conns;
	return a->all_conns < b->all_conns;
}

/* The least used one of the best rank; the turn says where to begin. */
static struct herd_pick pick_least(struct chooser *ch, const struct herd_topo *t)
{
	struct herd_pick pick = { .kind = HERD_PICK_HOLD };
	struct herd_route_look least = { 0 };
	int first = (int)(ch->view->turn % (uint64_t)ch->n), at = 0, distance = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct herd_topo_group *g = &t->groups[i];

		for (size_t k = 0; k < g->n; k++) {
			const struct herd_topo_member *m = &g->members[k];

			if (rank_of(ch, g, m) != ch->best)
				continue;
			struct herd_route_look l = look(ch, g, m);
			int d = (at++ - first + ch->n) % ch->n;

			if (pick.member && !less_used(&l, &least) &&
			    (less_used(&least, &l) || d > distance))
				continue;
			bool leads = herd_str_eq(m->name, g->leader);

			pick = (struct herd_pick){ .kind = HERD_PICK_GO,
						   .group = g,
						   .member = m,
						   .choices = ch->n,
						   .why = leads ? "leader" : "replica" };
			least = l;
			distance = d;
		}
	}
	assert(pick.member);
	pick.want_primary = ch->r->role == HERD_ROUTE_WORKERS;
	pick.want_standby = ch->r->role == HERD_ROUTE_REPLICA;
	return pick;
}

static struct herd_pick nobody(const struct chooser *ch, const struct herd_topo_group *g)
{
	switch (ch->r->role) {
	case HERD_ROUTE_WORKERS:
		return hold(NULL, "no worker group has a leader");
	case HERD_ROUTE_ANY:
		return hold(g, "no running member");
	default:
		return hold(g, ch->lagging ? "no replica within max_lag" : "no running replica");
	}
}

struct herd_pick herd_route_pick(const struct herd_topo *t, const struct herd_route *r,
				 const struct herd_route_view *view)
{
	static const struct herd_route_view nothing = { 0 };
	struct chooser ch = { .r = r, .view = view ? view : &nothing };

	assert(r->cluster);
	if (!t || t->n == 0)
		return hold(NULL, "no topology yet");
	const struct herd_topo_group *g = herd_topo_find(t, r->cluster, r->group);

	if (!g && r->role != HERD_ROUTE_WORKERS)
		return hold(NULL, "cluster or group is not known");
	if (r->role == HERD_ROUTE_PRIMARY)
		return pick_primary(g);
	survey(&ch, t);
	if (ch.best >= OUT && r->role == HERD_ROUTE_REPLICA && r->fallback_primary) {
		struct herd_pick p = pick_primary(g);

		if (p.kind == HERD_PICK_GO)
			return p;
	}
	return ch.best == NEVER ? nobody(&ch, g) : pick_least(&ch, t);
}

bool herd_route_favours(const struct herd_topo *t, const struct herd_route *r,
			const struct herd_route_view *view, const char *scope, int group,
			const char *member)
{
	struct chooser ch = { .r = r, .view = view };
	const struct herd_topo_group *g = herd_topo_find(t, scope, group);
	const struct herd_topo_member *m = herd_topo_member(g, member);

	if (!m || r->role == HERD_ROUTE_PRIMARY)
		return true;
	survey(&ch, t);
	if (ch.best >= OUT && r->role == HERD_ROUTE_REPLICA && r->fallback_primary)
		return true;
	return ch.best == NEVER || rank_of(&ch, g, m) == ch.best;
}

static bool knows_scope(const struct herd_topo *t, const char *scope)
{
	for (size_t i = 0; i < t->n; i++) {
		if (herd_str_eq(t->groups[i].scope, scope))
			return true;
	}
	return false;
}

bool herd_route_fits(const struct herd_topo *t, const struct herd_route *r, const char *scope,
		     int group, const char *member)
{
	const struct herd_topo_group *g = herd_topo_find(t, scope, group);

	/* A store that lost everything says nothing about the servers: keep them. */
	if (!t || t->n == 0)
		return true;
	if (!g)
		return !knows_scope(t, scope);
	bool leads = herd_str_eq(g->leader, member);
	const struct herd_topo_member *m = herd_topo_member(g, member);

	switch (r->role) {
	case HERD_ROUTE_PRIMARY:
	case HERD_ROUTE_WORKERS:
		/* Between two leaders the old server may still be asked; it verifies or dies. */
		return leads || (!g->leader && m);
	case HERD_ROUTE_REPLICA:
		/* One that stands in for the replicas is given up when they are favoured again. */
		if (leads)
			return r->fallback_primary;
		return m && balanced(m) && !herd_route_lags(r, m);
	case HERD_ROUTE_ANY:
		return m && balanced(m) && (leads || !herd_route_lags(r, m));
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
