#include "proxy/topology.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/str.h"
#include "loop/loop.h"
#include "proxy/feed.h"
#include "proxy/pools.h"

struct herd_topology {
	struct herd_px *px;
	pthread_mutex_t lock; /* guards the pointer only */
	struct herd_topo *now;
	_Atomic uint64_t serial;
	struct herd_feed *feed;
	struct herd_mates *mates;
	int ask_fd; /* wakes the main thread */
	_Atomic bool asked, reconfigured;
	struct herd_loop *loop;
	struct herd_io *ask_io;
};

struct herd_topology *herd_topology_new(struct herd_px *px)
{
	struct herd_topology *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->px = px;
	t->ask_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	t->mates = herd_mates_new();
	if (!t->mates || t->ask_fd < 0) {
		herd_mates_free(t->mates);
		if (t->ask_fd >= 0)
			close(t->ask_fd);
		free(t);
		return NULL;
	}
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

void herd_topology_free(struct herd_topology *t)
{
	if (!t)
		return;
	herd_feed_free(t->feed);
	herd_topo_unref(t->now);
	herd_mates_free(t->mates);
	close(t->ask_fd);
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
	bool same = herd_topo_same_leads(old, snapshot);

	atomic_store(&t->serial, snapshot->serial);
	herd_topo_unref(old);
	if (same)
		herd_pools_members(t->px);
	else
		herd_pools_topology(t->px);
}

struct herd_topo *herd_topology_get(struct herd_topology *t)
{
	pthread_mutex_lock(&t->lock);
	struct herd_topo *now = t->now ? herd_topo_ref(t->now) : NULL;

	pthread_mutex_unlock(&t->lock);
	return now;
}

struct herd_mates *herd_topology_mates(struct herd_topology *t)
{
	return t->mates;
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

static struct herd_pick pick_for(struct herd_topology *t, const struct herd_topo *now,
				 const struct herd_route *r, const char *zone)
{
	struct herd_mates_view mates = { .mates = t->mates };
	struct herd_route_view view = { .zone = zone, .look = herd_mates_look, .arg = &mates };

	return herd_route_pick(now, r, &view);
}

bool herd_topology_held(struct herd_topology *t, const struct herd_route *r, char **why)
{
	struct herd_topo *now = herd_topology_get(t);
	struct herd_pick pick = pick_for(t, now, r, NULL);

	*why = herd_str_dup(pick.why);
	herd_topo_unref(now);
	return pick.kind == HERD_PICK_HOLD;
}

int herd_topology_choices(struct herd_topology *t, const struct herd_route *r, const char *zone)
{
	struct herd_topo *now = herd_topology_get(t);
	struct herd_pick pick = pick_for(t, now, r, zone);

	herd_topo_unref(now);
	return pick.choices;
}

bool herd_topology_favours(struct herd_topology *t, const struct herd_route *r, const char *zone,
			   const char *scope, int group, const char *member)
{
	struct herd_mates_view mates = { .mates = t->mates };
	struct herd_route_view view = { .zone = zone, .look = herd_mates_look, .arg = &mates };
	struct herd_topo *now = herd_topology_get(t);
	bool favours = now && herd_route_favours(now, r, &view, scope, group, member);

	herd_topo_unref(now);
	return favours;
}

bool herd_topology_warm(struct herd_topology *t, const struct herd_route *r)
{
	struct herd_topo *now = herd_topology_get(t);
	const struct herd_topo_group *g;
	bool warm = herd_route_warm(now, r, &g) != NULL;

	herd_topo_unref(now);
	return warm;
}

void herd_topology_ask(struct herd_topology *t)
{
	/* One is enough for all that ask before it is read. */
	if (!atomic_exchange(&t->asked, true))
		eventfd_write(t->ask_fd, 1);
}

void herd_topology_config(struct herd_topology *t)
{
	atomic_store(&t->reconfigured, true);
	herd_topology_ask(t);
}

/* A cluster that is new in the configuration, of a process that may have followed none. */
static void reconfigure(struct herd_topology *t)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = t->feed ? herd_feed_reload(t->feed, &err)
			 : herd_feed_start(t->px, t, t->loop, &t->feed, &err);

	if (rc < 0)
		herd_log_err(t->px->log, HERD_LOG_ERROR, &err, "cannot follow a cluster");
	herd_err_clear(&err);
}

static void on_asked(void *arg, int events)
{
	struct herd_topology *t = arg;
	eventfd_t n;

	(void)events;
	eventfd_read(t->ask_fd, &n);
	atomic_store(&t->asked, false);
	if (atomic_exchange(&t->reconfigured, false))
		reconfigure(t);
	if (t->feed)
		herd_feed_ask(t->feed);
}

int herd_topology_start(struct herd_topology *t, struct herd_loop *loop, struct herd_err *err)
{
	t->loop = loop;
	t->ask_io = herd_io_new(loop, t->ask_fd, on_asked, t);
	if (!t->ask_io)
		return herd_err_set(err, -ENOMEM, "out of memory");
	herd_io_want(t->ask_io, HERD_IO_READ);
	return herd_feed_start(t->px, t, loop, &t->feed, err);
}

void herd_topology_stop(struct herd_topology *t)
{
	herd_io_free(t->ask_io);
	t->ask_io = NULL;
	herd_feed_free(t->feed);
	t->feed = NULL;
}
