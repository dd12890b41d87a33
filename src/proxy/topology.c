#include "proxy/topology.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/feed.h"
#include "proxy/pools.h"

struct herd_topology {
	struct herd_px *px;
	pthread_mutex_t lock; /* guards the pointer only */
	struct herd_topo *now;
	_Atomic uint64_t serial;
	struct herd_feed *feed;
};

struct herd_topology *herd_topology_new(struct herd_px *px)
{
	struct herd_topology *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->px = px;
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

void herd_topology_free(struct herd_topology *t)
{
	if (!t)
		return;
	herd_feed_free(t->feed);
	herd_topo_unref(t->now);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void herd_topology_publish(struct herd_topology *t, struct herd_topo *snapshot)
{
	pthread_mutex_lock(&t->lock);
	struct herd_topo *old = t->now;

	snapshot->serial = atomic_load(&t->serial) + 1;
	t->now = snapshot;
	pthread_mutex_unlock(&t->lock);
	atomic_store(&t->serial, snapshot->serial);
	herd_topo_unref(old);
	herd_pools_topology(t->px);
}

struct herd_topo *herd_topology_get(struct herd_topology *t)
{
	pthread_mutex_lock(&t->lock);
	struct herd_topo *now = t->now ? herd_topo_ref(t->now) : NULL;

	pthread_mutex_unlock(&t->lock);
	return now;
}

uint64_t herd_topology_serial(struct herd_topology *t)
{
	return atomic_load(&t->serial);
}

bool herd_topology_fits(struct herd_topology *t, const struct herd_route *r, const char *scope,
			int group, const char *member)
{
	struct herd_topo *now = herd_topology_get(t);
	bool fits = scope && member && herd_route_fits(now, r, scope, group, member);

	herd_topo_unref(now);
	return fits;
}

bool herd_topology_held(struct herd_topology *t, const struct herd_route *r, const char **why)
{
	struct herd_topo *now = herd_topology_get(t);
	struct herd_pick pick = herd_route_pick(now, r, 0);

	*why = pick.why;
	herd_topo_unref(now);
	return pick.kind == HERD_PICK_HOLD;
}

bool herd_topology_warm(struct herd_topology *t, const struct herd_route *r)
{
	struct herd_topo *now = herd_topology_get(t);
	const struct herd_topo_group *g;
	bool warm = herd_route_warm(now, r, &g) != NULL;

	herd_topo_unref(now);
	return warm;
}

int herd_topology_start(struct herd_topology *t, struct herd_loop *loop, struct herd_err *err)
{
	return herd_feed_start(t->px, t, loop, &t->feed, err);
}

void herd_topology_stop(struct herd_topology *t)
{
	herd_feed_free(t->feed);
	t->feed = NULL;
}
