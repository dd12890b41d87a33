#include "proxy/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "base/yaml.h"
#include "dcs/dcs.h"
#include "loop/loop.h"
#include "model/cluster.h"
#include "proxy/told.h"
#include "proxy/topology.h"
#include "proxy/worker.h"

enum { LEASE_MS = 15000, RENEW_MS = 5000, LEASE_RETRY_MS = 1000 };
/* How often members are asked when nothing depends on it, and when something does. */
enum { REST_SLOW_MS = 10000, REST_FAST_MS = 1000 };
/* A store that is away for less is not away; news of several members are told together. */
enum { LOST_PATIENCE_MS = 3000, GATHER_MS = 20 };

struct cluster {
	struct herd_feed *feed;
	char *name;
	struct herd_dcs *dcs; /* NULL: the members are the only source */
	struct herd_dcs_watch *watch;
	struct herd_told *rest;
	bool lag_matters;         /* a route has max_lag */
	int64_t lost_ms;          /* since when the watch is lost */
	struct herd_scope *scope; /* NULL before the first view */
	struct herd_timer *lease_timer;
	char *lease;
	bool lease_busy, put_busy, put_again;
	bool lost;     /* the watch reported an error that was logged */
	char *written; /* what proxies/<id> says */
};

struct herd_feed {
	struct herd_px *px;
	struct herd_topology *topology;
	struct herd_loop *loop;
	struct herd_log *log;
	char *id, *address;
	size_t n;
	struct cluster **cluster;
	struct herd_timer *deadline;
	struct herd_timer *gather;
};

static enum herd_topo_phase phase_of(const struct herd_cluster *c, int64_t wall_ms,
				     int64_t *next_ms)
{
	const struct herd_handover *h = &c->handover;

	if (!c->handover_key.version || c->handover_key.bad || !h->id)
		return HERD_HANDOVER_NONE;
	if (h->phase == HERD_HANDOVER_ABORTED)
		return HERD_HANDOVER_NONE;
	if (h->deadline_ms > 0 && wall_ms >= h->deadline_ms)
		return HERD_HANDOVER_NONE;
	if (h->deadline_ms > 0 && (*next_ms == 0 || h->deadline_ms < *next_ms))
		*next_ms = h->deadline_ms;
	return HERD_HANDOVER_HOLD;
}

static uint64_t position_of(const struct herd_member *m)
{
	return m->replay_lsn ? m->replay_lsn : m->xlog_location;
}

/* How far the group has written, as far as the store knows. */
static uint64_t end_of_wal(const struct herd_cluster *c)
{
	const struct herd_member *leader = herd_cluster_leader(c);
	uint64_t end = c->status.optime;

	return leader && leader->xlog_location > end ? leader->xlog_location : end;
}

static char *zone_of(const struct herd_member *m)
{
	const json_t *zone = json_object_get(m->tags.raw, "zone");

	return json_is_string(zone) ? herd_str_dup(json_string_value(zone)) : NULL;
}

static bool add_member(struct herd_topo_group *g, const struct herd_member *m, uint64_t end)
{
	struct herd_topo_member *t;
	uint64_t at = position_of(m);

	if (!m->host)
		return true;
	t = herd_topo_add_member(g, m->name, m->host, m->port);
	if (!t)
		return false;
	t->running = m->state == HERD_STATE_RUNNING;
	t->noloadbalance = m->tags.noloadbalance;
	t->standby = m->role != HERD_ROLE_PRIMARY;
	t->timeline = m->timeline;
	t->lsn = (int64_t)at;
	if (end > 0 && at > 0)
		t->lag = at < end ? (int64_t)(end - at) : 0;
	t->zone = zone_of(m);
	t->api_url = herd_str_dup(m->api_url);
	t->role = herd_str_dup(herd_role_text(m->role));
	t->state = herd_str_dup(m->replication_state ? m->replication_state : m->state_text);
	return true;
}

bool herd_feed_add(struct herd_topo *t, const char *name, const struct herd_scope *scope,
		   int64_t wall_ms, int64_t *next_ms)
{
	for (size_t i = 0; i < scope->n_groups; i++) {
		const struct herd_cluster *c = &scope->groups[i];
		struct herd_topo_group *g = herd_topo_add_group(t, name, c->group);

		if (!g)
			return false;
		g->leader = herd_str_dup(c->leader);
		g->leader_ver = c->leader_key.version;
		if (c->initialize && *c->initialize)
			g->system_id = herd_str_dup(c->initialize);
		g->phase = phase_of(c, wall_ms, next_ms);
		if (g->phase == HERD_HANDOVER_HOLD) {
			g->handover_id = herd_str_dup(c->handover.id);
			g->handover_from = herd_str_dup(c->handover.from);
			g->handover_to = herd_str_dup(c->handover.to);
		}
		for (size_t k = 0; k < c->n_members; k++) {
			if (!add_member(g, &c->members[k], end_of_wal(c)))
				return false;
		}
	}
	return true;
}

static void publish(struct herd_feed *f);

static void on_put(void *arg, enum herd_dcs_result result, int64_t version,
		   const struct herd_err *err);

/* What proxies/<id> of this cluster must say. */
static char *acks_of(const struct cluster *c)
{
	struct herd_proxy p = { .id = c->feed->id, .address = c->feed->address };
	struct herd_topo *t = herd_topology_get(c->feed->topology);
	char *text = NULL;

	for (size_t i = 0; t && i < t->n; i++) {
		const struct herd_topo_group *g = &t->groups[i];
		char *group = g->group < 0 ? strdup("") : herd_str_printf("%d", g->group);

		if (group && strcmp(g->scope, c->name) == 0 && g->phase == HERD_HANDOVER_HOLD)
			herd_proxy_set_ack(&p, group, g->handover_id);
		free(group);
	}
	herd_topo_unref(t);
	text = herd_proxy_print(&p);
	p.id = p.address = NULL;
	herd_proxy_clear(&p);
	return text;
}

/* Writes our key when it does not say yet what it must. */
static void write_acks(struct cluster *c)
{
	char *text, *key;

	if (!c->lease)
		return;
	if (c->put_busy) {
		c->put_again = true;
		return;
	}
	text = acks_of(c);
	if (!text || herd_str_eq(text, c->written)) {
		free(text);
		return;
	}
	key = herd_str_printf("proxies/%s", c->feed->id);
	if (key) {
		struct herd_dcs_change change = {
			.key = key, .value = text, .cond = HERD_DCS_ANY, .lease = c->lease
		};

		c->put_busy = true;
		herd_str_set(&c->written, text);
		herd_dcs_change(c->dcs, &change, on_put, c);
	}
	free(key);
	free(text);
}

static void on_put(void *arg, enum herd_dcs_result result, int64_t version,
		   const struct herd_err *err)
{
	struct cluster *c = arg;

	(void)version;
	c->put_busy = false;
	if (result != HERD_DCS_OK) {
		herd_log_err(c->feed->log, HERD_LOG_WARNING, err,
			     "could not write our key of cluster \"%s\"", c->name);
		herd_str_set(&c->written, NULL);
		if (result == HERD_DCS_LEASE_GONE)
			herd_str_set(&c->lease, NULL);
		herd_timer_set(c->lease_timer, LEASE_RETRY_MS);
		return;
	}
	if (c->put_again) {
		c->put_again = false;
		write_acks(c);
	}
}

static void on_lease(void *arg, enum herd_dcs_result result, const char *lease, int64_t sent_ms,
		     const struct herd_err *err)
{
	struct cluster *c = arg;

	(void)sent_ms;
	c->lease_busy = false;
	if (result == HERD_DCS_OK) {
		if (!herd_str_eq(c->lease, lease)) {
			herd_str_set(&c->lease, lease);
			herd_str_set(&c->written, NULL);
		}
		write_acks(c);
		herd_timer_set(c->lease_timer, RENEW_MS);
		return;
	}
	if (result == HERD_DCS_LEASE_GONE)
		herd_str_set(&c->lease, NULL);
	else
		herd_log_err(c->feed->log, HERD_LOG_DEBUG, err, "lease of cluster \"%s\"", c->name);
	herd_timer_set(c->lease_timer, LEASE_RETRY_MS);
}

static void on_lease_timer(void *arg)
{
	struct cluster *c = arg;

	if (c->lease_busy)
		return;
	c->lease_busy = true;
	if (c->lease)
		herd_dcs_lease_renew(c->dcs, c->lease, on_lease, c);
	else
		herd_dcs_lease_grant(c->dcs, LEASE_MS, on_lease, c);
}

static void set_pace(struct cluster *c)
{
	bool fast = c->lost || !c->dcs || !c->scope || c->lag_matters;

	herd_told_pace(c->rest, fast ? REST_FAST_MS : REST_SLOW_MS);
}

/* The groups of one cluster, by the store and by the members. False when out of memory. */
static bool add_cluster_groups(struct cluster *c, struct herd_topo *t, int64_t wall, int64_t *next)
{
	size_t first = t->n;

	/* Until a cluster was read once, nothing is said about it, unless members can be found. */
	if (!c->scope)
		return herd_told_add(c->rest, t);
	if (!herd_feed_add(t, c->name, c->scope, wall, next))
		return false;
	for (size_t i = first; i < t->n; i++) {
		if (c->lost && herd_now_ms() - c->lost_ms >= LOST_PATIENCE_MS)
			herd_told_judge(c->rest, &t->groups[i], true);
		herd_told_overlay(c->rest, &t->groups[i]);
	}
	return true;
}

static void publish(struct herd_feed *f)
{
	struct herd_topo *t = herd_topo_new();
	int64_t wall = herd_wall_ms(), next = 0;
	bool ok = t != NULL;

	for (size_t i = 0; ok && i < f->n; i++) {
		ok = add_cluster_groups(f->cluster[i], t, wall, &next);
	}
	if (!ok) {
		herd_topo_unref(t);
		herd_error(f->log, "out of memory: the topology stays as it was");
		return;
	}
	herd_topology_publish(f->topology, t);
	for (size_t i = 0; i < f->n; i++)
		write_acks(f->cluster[i]);
	if (next > 0)
		herd_timer_set(f->deadline, next - wall + 1);
}

static void on_deadline(void *arg)
{
	publish(arg);
}

static void on_rest(void *arg)
{
	struct cluster *c = arg;

	herd_timer_set(c->feed->gather, GATHER_MS);
}

/* Tells the poller whom the store knows. */
static void tell_rest(struct cluster *c)
{
	for (size_t i = 0; i < c->scope->n_groups; i++) {
		const struct herd_cluster *g = &c->scope->groups[i];

		for (size_t k = 0; k < g->n_members; k++) {
			const struct herd_member *m = &g->members[k];

			if (m->host)
				herd_told_know(c->rest, g->group, m->name, m->host, m->port,
					       m->api_url);
		}
	}
	herd_told_sweep(c->rest);
	set_pace(c);
}

static void on_view(void *arg, enum herd_dcs_result result, struct herd_dcs_view *view,
		    const struct herd_err *err)
{
	struct cluster *c = arg;

	if (result != HERD_DCS_OK) {
		if (!c->lost)
			herd_log_err(c->feed->log, HERD_LOG_WARNING, err,
				     "lost the DCS for cluster \"%s\", going on with what is known",
				     c->name);
		if (!c->lost)
			c->lost_ms = herd_now_ms();
		c->lost = true;
		set_pace(c);
		return;
	}
	if (c->lost)
		herd_info(c->feed->log, "the DCS answers again for cluster \"%s\"", c->name);
	c->lost = false;
	struct herd_kv *kv = calloc(view->n ? view->n : 1, sizeof(*kv));
	struct herd_scope *scope;

	for (size_t i = 0; kv && i < view->n; i++)
		kv[i] = (struct herd_kv){ .key = view->kv[i].key,
					  .value = view->kv[i].value,
					  .len = view->kv[i].len,
					  .version = view->kv[i].version,
					  .lease = view->kv[i].lease };
	scope = kv ? herd_scope_build(kv, view->n, view->revision, true) : NULL;
	free(kv);
	if (!scope) {
		herd_error(c->feed->log, "out of memory: the topology stays as it was");
		return;
	}
	herd_scope_unref(c->scope);
	c->scope = scope;
	tell_rest(c);
	publish(c->feed);
}

/* An agent's configuration file says how to reach the store: TLS, user and password. */
static int open_by_file(struct herd_feed *f, const struct herd_settings *set, struct cluster *c,
			struct herd_err *err)
{
	json_t *v = herd_yaml_read(set->dcs, err);

	if (!v)
		return err->code < 0 ? err->code : -EINVAL;
	int rc = herd_dcs_open(f->loop, v, set->nspace, c->name, &c->dcs, err);

	json_decref(v);
	return rc;
}

static int open_dcs(struct herd_feed *f, const struct herd_settings *set, struct cluster *c,
		    struct herd_err *err)
{
	if (!*set->dcs && *set->rest)
		return 0;
	if (!*set->dcs) {
		herd_err_set(err, -EINVAL, "cluster \"%s\" needs the setting \"dcs\"", c->name);
		herd_err_hint(err, "[pgherd] dcs = etcd3://host:port names the agents' store; rest "
				   "= host:port their REST API, where there is no such store.");
		return -EINVAL;
	}
	int rc = *set->dcs == '/'
			 ? open_by_file(f, set, c, err)
			 : herd_dcs_open_url(f->loop, set->dcs, set->nspace, c->name, &c->dcs, err);

	if (rc == 0)
		herd_dcs_set_timeout(c->dcs, set->dcs_timeout / 1000);
	return rc;
}

static void free_cluster(struct cluster *c)
{
	if (c->dcs && c->watch)
		herd_dcs_watch_free(c->dcs, c->watch);
	herd_dcs_free(c->dcs);
	herd_told_free(c->rest);
	herd_timer_free(c->lease_timer);
	herd_scope_unref(c->scope);
	free(c->lease);
	free(c->written);
	free(c->name);
	free(c);
}

static int add_cluster(struct herd_feed *f, const struct herd_settings *set,
		       const struct herd_route *route, struct herd_err *err)
{
	const char *name = route->cluster;
	bool lag_matters = route->max_lag > 0 || route->max_lag_ms > 0;

	for (size_t i = 0; i < f->n; i++) {
		struct cluster *known = f->cluster[i];

		if (strcmp(known->name, name) != 0)
			continue;
		known->lag_matters |= lag_matters;
		set_pace(known);
		return 0;
	}
	struct cluster **grown = realloc(f->cluster, (f->n + 1) * sizeof(struct cluster *));
	struct cluster *c = calloc(1, sizeof(*c));

	if (grown)
		f->cluster = grown;
	if (!grown || !c) {
		free(c);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	c->feed = f;
	c->lag_matters = lag_matters;
	c->name = strdup(name);
	c->lease_timer = herd_timer_new(f->loop, on_lease_timer, c);
	f->cluster[f->n++] = c;
	int rc = c->name && c->lease_timer ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	if (rc == 0)
		rc = herd_told_new(f->loop, f->log, set, name, on_rest, c, &c->rest, err);
	if (rc == 0)
		rc = open_dcs(f, set, c, err);
	if (rc < 0) {
		free_cluster(f->cluster[--f->n]);
		return rc;
	}
	set_pace(c);
	if (!c->dcs)
		return 0;
	c->watch = herd_dcs_watch(c->dcs, "", on_view, c);
	if (!c->watch)
		return herd_err_set(err, -ENOMEM, "out of memory");
	herd_timer_set(c->lease_timer, 0);
	return 0;
}

static char *make_id(const struct herd_settings *set)
{
	char host[256];

	if (*set->proxy_id)
		return strdup(set->proxy_id);
	if (gethostname(host, sizeof(host)) < 0)
		strcpy(host, "localhost");
	host[sizeof(host) - 1] = '\0';
	return herd_str_printf("%s-%d-%d", host, set->listen_port, (int)getpid());
}

int herd_feed_reload(struct herd_feed *f, struct herd_err *err)
{
	const struct herd_pconf *conf = atomic_load(&f->px->live)->config;
	size_t pos = 0;
	const char *key;
	void *value;
	int rc = 0;

	while (rc == 0 && herd_map_next(conf->databases, &pos, &key, &value)) {
		const struct herd_database *d = value;

		if (d->cluster)
			rc = add_cluster(f, &conf->s, &d->route, err);
	}
	for (size_t i = 0; rc == 0 && i < conf->nlisteners; i++)
		rc = add_cluster(f, &conf->s, &conf->listeners[i].db->route, err);
	return rc;
}

void herd_feed_ask(struct herd_feed *f)
{
	for (size_t i = 0; i < f->n; i++)
		herd_told_ask(f->cluster[i]->rest);
}

int herd_feed_start(struct herd_px *px, struct herd_topology *t, struct herd_loop *loop,
		    struct herd_feed **ret, struct herd_err *err)
{
	const struct herd_pconf *conf = atomic_load(&px->live)->config;
	struct herd_feed *f = calloc(1, sizeof(*f));
	int rc = 0;

	if (!f)
		return herd_err_set(err, -ENOMEM, "out of memory");
	f->px = px;
	f->topology = t;
	f->loop = loop;
	f->log = px->log;
	f->id = make_id(&conf->s);
	f->address = px->ndoors > 0 ? herd_str_printf("%s:%d", px->doors[0].addr.host,
						      px->doors[0].addr.port)
				    : strdup("");
	f->deadline = herd_timer_new(loop, on_deadline, f);
	f->gather = herd_timer_new(loop, on_deadline, f);
	if (!f->id || !f->address || !f->deadline || !f->gather)
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = herd_feed_reload(f, err);
	if (rc < 0 || f->n == 0) {
		herd_feed_free(f);
		f = NULL;
	}
	*ret = f;
	return rc;
}

void herd_feed_free(struct herd_feed *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++)
		free_cluster(f->cluster[i]);
	free(f->cluster);
	herd_timer_free(f->deadline);
	herd_timer_free(f->gather);
	free(f->id);
	free(f->address);
	free(f);
}
