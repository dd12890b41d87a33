/* The tables of databases, users and pools: made on first use. When they go: see idle.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/hub.h"
#include "proxy/pools.h"
#include "proxy/split.h"

static struct herd_db *get(struct herd_px *px, const char *name, const char *listener,
			   bool fallback)
{
	char *key = herd_str_printf("%s\n%s", name, listener ? listener : "");
	struct herd_db *db = NULL;

	if (!key)
		return NULL;
	pthread_mutex_lock(&px->pools_lock);
	db = herd_map_get(px->dbs, key);
	if (db)
		goto out;
	db = calloc(1, sizeof(*db));
	if (!db)
		goto out;
	db->name = strdup(name);
	db->listener = herd_str_dup(listener);
	db->stats = aligned_alloc(64, sizeof(*db->stats) * (size_t)px->nworkers);
	db->routes = aligned_alloc(64, sizeof(*db->routes) * (size_t)px->nworkers);
	if (!db->name || !db->stats || !db->routes || (listener && !db->listener) ||
	    herd_map_put(px->dbs, key, db) < 0) {
		free(db->name);
		free(db->listener);
		free(db->stats);
		free(db->routes);
		free(db);
		db = NULL;
		goto out;
	}
	memset(db->stats, 0, sizeof(*db->stats) * (size_t)px->nworkers);
	memset(db->routes, 0, sizeof(*db->routes) * (size_t)px->nworkers);
	if (fallback)
		herd_info(px->log, "registered new auto-database: db=%s", name);
out:
	if (db)
		db->round = px->idle_round;
	pthread_mutex_unlock(&px->pools_lock);
	free(key);
	return db;
}

struct herd_db *herd_db_get(struct herd_px *px, const char *name, const char *listener)
{
	return get(px, name, listener, false);
}

struct herd_db *herd_db_enter(struct herd_px *px, const char *name, const char *listener,
			      const struct herd_database *conf)
{
	return get(px, name, listener, conf->fallback && !listener);
}

const struct herd_database *herd_db_conf(const struct herd_live *live, const struct herd_db *db)
{
	const struct herd_pconf *c = live->config;

	if (!db->listener)
		return herd_pconf_database(c, db->name);
	for (size_t i = 0; i < c->nlisteners; i++) {
		if (herd_str_eq(c->listeners[i].name, db->listener))
			return c->listeners[i].db;
	}
	return NULL;
}

const char *herd_db_server_name(const struct herd_db *db, const struct herd_database *conf)
{
	return conf->dbname ? conf->dbname : db->name;
}

struct herd_user_count *herd_user_count_get(struct herd_px *px, const char *user)
{
	pthread_mutex_lock(&px->pools_lock);
	struct herd_user_count *u = herd_map_get(px->users, user);

	if (!u) {
		u = calloc(1, sizeof(*u));
		if (u && herd_map_put(px->users, user, u) < 0) {
			free(u);
			u = NULL;
		}
	}
	pthread_mutex_unlock(&px->pools_lock);
	return u;
}

static struct herd_pool *new_pool(struct herd_px *px, struct herd_db *db, const char *user)
{
	struct herd_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->px = px;
	p->db = db;
	p->user = strdup(user);
	p->user_count = herd_user_count_get(px, user);
	p->times = herd_times_new(px->nworkers);
	if (!p->user || !p->user_count || !p->times) {
		free(p->user);
		free(p->times);
		free(p);
		return NULL;
	}
	pthread_mutex_init(&p->lock, NULL);
	for (int i = 0; i < HERD_MAX_WORKERS; i++) {
		herd_list_init(&p->idle[i]);
		herd_list_init(&p->waiting[i]);
	}
	herd_list_init(&p->welcoming);
	herd_list_init(&p->replicating);
	herd_list_init(&p->warm);
	herd_list_init(&p->all);
	herd_cancel_queue_init(&p->cancels);
	return p;
}

static struct herd_pool *find_pool(struct herd_px *px, struct herd_db *db, const char *user,
				   struct herd_pool *home)
{
	char *key = herd_str_printf("%s\n%s\n%s%s", db->name, db->listener ? db->listener : "",
				    user, home ? "\nreads" : "");
	struct herd_pool *p = NULL;

	if (!key)
		return NULL;
	pthread_mutex_lock(&px->pools_lock);
	p = herd_map_get(px->pools, key);
	if (!p) {
		p = new_pool(px, db, user);
		if (p)
			p->home = home;
		if (p && herd_map_put(px->pools, key, p) < 0)
			p = NULL;
	}
	if (p)
		p->round = db->round = px->idle_round;
	if (p && home)
		home->round = px->idle_round;
	pthread_mutex_unlock(&px->pools_lock);
	free(key);
	return p;
}

struct herd_pool *herd_pool_get(struct herd_px *px, struct herd_db *db, const char *user)
{
	return find_pool(px, db, user, NULL);
}

struct herd_pool *herd_pool_reads(struct herd_pool *home)
{
	return find_pool(home->px, home->db, home->user, home);
}

char *herd_db_label(const struct herd_db *db)
{
	return herd_str_printf("%s%s%s", db->name, db->listener ? "@" : "",
			       db->listener ? db->listener : "");
}

char *herd_pool_label(const struct herd_pool *p)
{
	return herd_str_printf("%s%s%s%s", p->db->name, p->db->listener ? "@" : "",
			       p->db->listener ? p->db->listener : "", p->home ? "/reads" : "");
}

const char *herd_pool_role(const struct herd_live *live, const struct herd_pool *p)
{
	const struct herd_database *conf = herd_db_conf(live, p->db);

	return conf && conf->cluster ? herd_route_role_name(herd_pool_route(p, conf)->role) : NULL;
}

void herd_pool_remember_keys(struct herd_pool *p, const struct herd_scram_keys *keys)
{
	pthread_mutex_lock(&p->lock);
	p->keys = *keys;
	p->have_keys = true;
	pthread_mutex_unlock(&p->lock);
}

void herd_pool_remember_password(struct herd_pool *p, const char *password)
{
	pthread_mutex_lock(&p->lock);
	herd_str_set(&p->password, password);
	pthread_mutex_unlock(&p->lock);
}

static int find_mode(const struct herd_live *live, const struct herd_pool *p)
{
	const struct herd_user *u = herd_pconf_user(live->config, p->user);
	const struct herd_database *d = herd_db_conf(live, p->db);

	if (u && u->pool_mode != HERD_MODE_UNSET)
		return u->pool_mode;
	if (d && d->pool_mode != HERD_MODE_UNSET)
		return d->pool_mode;
	return live->config->s.pool_mode;
}

/* Asked for several times in each transaction. */
int herd_pool_mode(const struct herd_live *live, struct herd_pool *p)
{
	enum { MODE_BITS = 8 };
	uint64_t known = atomic_load_explicit(&p->mode_as_of, memory_order_relaxed);

	if (known >> MODE_BITS != live->serial) {
		known = (uint64_t)live->serial << MODE_BITS | (uint64_t)find_mode(live, p);
		atomic_store_explicit(&p->mode_as_of, known, memory_order_relaxed);
	}
	return (int)(known & ((1U << MODE_BITS) - 1));
}

void herd_pool_free(void *pool)
{
	struct herd_pool *p = pool;

	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->cancels.lock);
	if (p->password)
		herd_str_wipe(p->password, strlen(p->password));
	herd_str_wipe(&p->keys, sizeof(p->keys));
	free(p->password);
	free(p->user);
	free(p->fail_text);
	free(p->held_why);
	herd_buf_free(&p->welcome);
	herd_vars_free(&p->defaults);
	free(p->times);
	free(p->times_then);
	free(p);
}

void herd_db_free(void *p)
{
	struct herd_db *db = p;

	free(db->name);
	free(db->listener);
	free(db->stats);
	free(db->routes);
	free(db);
}

void herd_pools_free(struct herd_px *px)
{
	size_t pos = 0;
	const char *key;
	void *value;

	while (herd_map_next(px->pools, &pos, &key, &value))
		herd_pool_free(value);
	pos = 0;
	while (herd_map_next(px->dbs, &pos, &key, &value))
		herd_db_free(value);
	pos = 0;
	while (herd_map_next(px->users, &pos, &key, &value))
		free(value);
	herd_hubs_free(px);
	herd_map_free(px->pools);
	herd_map_free(px->dbs);
	herd_map_free(px->users);
}
