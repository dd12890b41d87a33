/* A change of topology, as the pools see it: hold, release, close, and warm connections. */
#include <stdlib.h>

#include "proxy/client.h"
#include "proxy/pools_internal.h"
#include "proxy/relay.h"
#include "proxy/server.h"
#include "proxy/topology.h"

void herd_pool_warm(struct herd_worker *w, struct herd_server *s)
{
	struct herd_pool *p = s->pool;

	herd_list_remove(&s->node);
	pthread_mutex_lock(&p->lock);
	atomic_store(&s->state, HERD_SERVER_WARM);
	atomic_store(&s->owner, -1);
	herd_list_push_front(&p->warm, &s->pool_node);
	pthread_mutex_unlock(&p->lock);
	(void)w;
}

/* A warm server of this worker whose member may lead by now. */
static struct herd_server *take_warm(struct herd_worker *w, struct herd_pool *p)
{
	herd_list_for_each(it, &p->warm)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, pool_node);

		if (atomic_load(&s->home) != w->id)
			continue;
		herd_list_remove(&s->pool_node);
		atomic_store(&s->owner, w->id);
		herd_pool_count_as(p, s, HERD_COUNT_OPENING);
		return s;
	}
	return NULL;
}

/* How many more warm connections the announced handover wants. */
static int warm_wanted(struct herd_worker *w, struct herd_pool *p, const struct herd_database *conf)
{
	int want = p->nactive + p->nidle + p->nwaiting;
	struct herd_pool_obs o = herd_pool_observe(w, p, conf);

	if (want > o.pool_size)
		want = o.pool_size;
	if (want == 0 && p->nclients > 0)
		want = 1;
	return want > p->nwarm ? want - p->nwarm : 0;
}

/* One worker's part of a change of topology, for one pool. */
static void follow(struct herd_pool *p, void *arg)
{
	struct herd_worker *w = arg;
	const struct herd_database *conf = herd_pool_conf(w, p);
	struct herd_server *s;
	int warm = 0;

	if (!conf || !conf->route.cluster)
		return;
	for (;;) {
		pthread_mutex_lock(&p->lock);
		s = NULL;
		herd_list_for_each(it, &p->idle[w->id])
		{
			struct herd_server *i =
				herd_container_of(it, struct herd_server, pool_node);

			if (!herd_topology_fits(p->px->topology, herd_pool_route(p, conf), i->scope,
						i->group, i->member) ||
			    herd_pool_leaves(w, i, conf)) {
				s = i;
				herd_pool_take(p, s, w->id);
				break;
			}
		}
		pthread_mutex_unlock(&p->lock);
		if (!s)
			break;
		herd_server_adopt(w, s);
		herd_server_drop(w, s, "no longer the right member");
	}
	while (!atomic_load(&p->held)) {
		pthread_mutex_lock(&p->lock);
		s = take_warm(w, p);
		pthread_mutex_unlock(&p->lock);
		if (!s)
			break;
		herd_list_push_back(&w->servers, &s->node);
		herd_server_verify(w, s);
	}
	if (w->id != 0)
		return;
	if (atomic_load(&p->held) &&
	    herd_topology_warm(p->px->topology, herd_pool_route(p, conf))) {
		pthread_mutex_lock(&p->lock);
		warm = warm_wanted(w, p, conf);
		p->nwarm += warm;
		herd_pool_count_total(p, warm);
		pthread_mutex_unlock(&p->lock);
	}
	while (warm-- > 0)
		herd_server_open(w, p, true);
	herd_pool_kick(w, p);
}

/*
 * Connections in use whose server does not lead any more, because another one does: what runs there
 * may be acknowledged by a server that is on its own. Readers are left to end what they do.
 */
static void cut_stale(struct herd_worker *w)
{
	herd_list_for_each_safe(it, &w->servers)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, node);
		const struct herd_database *conf = herd_pool_conf(w, s->pool);

		if (atomic_load(&s->state) != HERD_SERVER_ACTIVE || !s->client ||
		    !s->want_primary || !conf || !conf->route.cluster ||
		    herd_topology_fits(w->px->topology, &conf->route, s->scope, s->group,
				       s->member))
			continue;
		herd_server_log(w, s, HERD_LOG_WARNING, "in use, and another server leads now");
		herd_relay_cut(w, s,
			       "terminating connection because the server does not lead any more");
	}
}

static void follow_note(struct herd_worker *w, struct herd_note *n)
{
	free(n);
	cut_stale(w);
	herd_pools_each(w->px, follow, w);
}

/* What set_held is told: the configuration, and whether it is the topology that changed. */
struct herd_news {
	const struct herd_live *live;
	bool snapshot;
};

static void set_held(struct herd_pool *p, void *arg)
{
	const struct herd_news *news = arg;
	const struct herd_database *conf = herd_db_conf(news->live, p->db);
	char *why = NULL;

	if (!conf || !conf->route.cluster)
		return;
	bool held = herd_topology_held(p->px->topology, herd_pool_route(p, conf), &why);
	int choices = herd_pool_route(p, conf)->role == HERD_ROUTE_PRIMARY
			      ? 1
			      : herd_topology_choices(p->px->topology, herd_pool_route(p, conf),
						      news->live->config->s.zone);

	pthread_mutex_lock(&p->lock);
	bool was = atomic_load(&p->held);

	if (held && !was)
		p->held_since_us = herd_clock_us();
	free(p->held_why);
	p->held_why = why;
	atomic_store(&p->choices, choices);
	atomic_store(&p->held, held);
	/* What failed with the former leader says nothing about the new one. */
	if (news->snapshot || held != was) {
		p->fails = 0;
		p->last_fail_us = 0;
		atomic_store(&p->troubled, held);
	}
	if (p->home && held)
		herd_pool_send_away(p);
	pthread_mutex_unlock(&p->lock);
	if (held != was && !p->home)
		herd_info(p->px->log, "pool %s/%s: %s: %s", p->db->name, p->user,
			  held ? "holding clients" : "releasing clients", why ? why : "");
	else if (held != was)
		herd_info(p->px->log, "pool %s/%s: reads go to %s: %s", p->db->name, p->user,
			  held ? "the primary" : "replicas", why ? why : "");
}

static void tell(struct herd_px *px, bool snapshot)
{
	struct herd_news news = { atomic_load(&px->live), snapshot };

	herd_pools_each(px, set_held, &news);
	for (int i = 0; i < px->nworkers; i++) {
		struct herd_note *n = calloc(1, sizeof(*n));

		if (!n)
			continue; /* the janitor comes by anyway */
		n->fn = follow_note;
		herd_worker_post(&px->workers[i], n);
	}
}

void herd_pools_topology(struct herd_px *px)
{
	tell(px, true);
}

void herd_pools_members(struct herd_px *px)
{
	tell(px, false);
}

bool herd_pool_leaves(const struct herd_worker *w, const struct herd_server *s,
		      const struct herd_database *conf)
{
	return s->mate && atomic_load(&s->mate->leave) &&
	       !herd_topology_favours(w->px->topology, herd_pool_route(s->pool, conf),
				      herd_worker_settings(w)->zone, s->scope, s->group, s->member);
}

enum { BALANCED_MEMBERS = 32 }; /* of more, the rest is left as it is */

struct share {
	struct herd_mate *mate;
	int n;
};

/* How many connections the pool has to each member. The pool's lock is held. */
static int shares_of(const struct herd_pool *p, struct share *shares)
{
	int n = 0;

	herd_list_for_each(it, &p->all)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, all_node);
		int i = 0;

		if (!s->mate)
			continue;
		while (i < n && shares[i].mate != s->mate)
			i++;
		if (i == n && n == BALANCED_MEMBERS)
			continue;
		if (i == n)
			shares[n++] = (struct share){ .mate = s->mate };
		shares[i].n++;
	}
	return n;
}

/* The member that has more of the pool's connections than it should; NULL: none. */
static struct herd_mate *overloaded(struct herd_worker *w, struct herd_pool *p,
				    const struct herd_database *conf, int choices)
{
	struct share shares[BALANCED_MEMBERS], *most = NULL, *least = NULL;

	pthread_mutex_lock(&p->lock);
	int n = shares_of(p, shares);

	pthread_mutex_unlock(&p->lock);
	for (int i = 0; i < n; i++) {
		struct herd_mate *m = shares[i].mate;

		if (!herd_topology_favours(w->px->topology, herd_pool_route(p, conf),
					   herd_worker_settings(w)->zone, m->scope, m->group,
					   m->member))
			return m;
		if (!most || shares[i].n > most->n)
			most = &shares[i];
		if (!least || shares[i].n < least->n)
			least = &shares[i];
	}
	if (!most || choices == 0)
		return NULL;
	return most->n - (n < choices ? 0 : least->n) >= 2 ? most->mate : NULL;
}

void herd_pool_balance(struct herd_worker *w, struct herd_pool *p)
{
	const struct herd_database *conf = herd_pool_conf(w, p);

	if (!conf || !conf->route.cluster || herd_pool_route(p, conf)->role == HERD_ROUTE_PRIMARY)
		return;
	int choices = herd_topology_choices(w->px->topology, herd_pool_route(p, conf),
					    herd_worker_settings(w)->zone);

	atomic_store(&p->choices, choices);
	atomic_store(&p->shed, overloaded(w, p, conf, choices));
}
