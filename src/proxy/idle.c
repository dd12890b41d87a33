/*
 * Databases made by the entry "*" go when they were idle for autodb_idle_timeout, those that the
 * configuration names no longer go at once, and pools after pool_idle_timeout.
 *
 * Clients hold pointers to both without counting. So a round goes like this: what looks idle is
 * noted; every worker marks what its clients refer to; what neither was marked nor looked up since
 * is taken out of the tables, and freed when all threads have gone on (herd_retire).
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/idle.h"
#include "proxy/pools.h"

enum { EVERY_US = 500 * 1000 };

struct round {
	uint64_t number;
	int64_t now_us;
};

static bool pool_busy(struct herd_pool *p)
{
	pthread_mutex_lock(&p->lock);
	bool busy = p->nclients > 0 || p->nwaiting > 0 || p->nwelcoming > 0 ||
		    p->nreplicating > 0 || !herd_list_empty(&p->all);
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_lock(&p->cancels.lock);
	busy |= p->cancels.nwaiting > 0 || p->cancels.nactive > 0;
	pthread_mutex_unlock(&p->cancels.lock);
	return busy;
}

/* px->pools_lock is held in what follows. */

/* Of the pools that belong together, does one do anything? */
static bool family_busy(struct herd_px *px, const struct herd_db *db, const struct herd_pool *home)
{
	size_t pos = 0;
	const char *key;
	void *value;

	while (herd_map_next(px->pools, &pos, &key, &value)) {
		struct herd_pool *p = value;

		if (p->db == db && (!home || p == home || p->home == home) && pool_busy(p))
			return true;
	}
	return false;
}

/* How long it may be idle; negative: for ever. */
static int64_t db_patience(const struct herd_live *live, const struct herd_db *db)
{
	const struct herd_database *conf = herd_db_conf(live, db);

	if (strcmp(db->name, "pgbouncer") == 0 || atomic_load(&db->paused) ||
	    atomic_load(&db->disabled) || atomic_load(&db->pinned))
		return -1;
	if (!conf)
		return 0;
	if (!conf->fallback || db->listener || live->config->s.autodb_idle_timeout == 0)
		return -1;
	return live->config->s.autodb_idle_timeout;
}

static bool db_over(struct herd_px *px, const struct herd_live *live, struct herd_db *db,
		    int64_t now_us)
{
	int64_t patience = db_patience(live, db);

	if (patience < 0 || atomic_load(&db->nclients) > 0 || atomic_load(&db->nconns) > 0 ||
	    family_busy(px, db, NULL))
		db->idle_since_us = 0;
	else if (db->idle_since_us == 0)
		db->idle_since_us = now_us;
	return db->idle_since_us > 0 && now_us - db->idle_since_us >= patience;
}

static bool pool_over(struct herd_px *px, const struct herd_live *live, struct herd_pool *p,
		      int64_t now_us)
{
	int64_t patience = live->config->s.pool_idle_timeout;

	if (patience == 0 || p->home || atomic_load(&p->db->pinned) || family_busy(px, p->db, p))
		p->idle_since_us = 0;
	else if (p->idle_since_us == 0)
		p->idle_since_us = now_us;
	return p->idle_since_us > 0 && now_us - p->idle_since_us >= patience;
}

/* Is there anything that may have to go? */
static bool any_over(struct herd_px *px, const struct herd_live *live, int64_t now_us)
{
	size_t pos = 0;
	const char *key;
	void *value;
	bool any = false;

	while (herd_map_next(px->dbs, &pos, &key, &value))
		any |= db_over(px, live, value, now_us);
	pos = 0;
	while (herd_map_next(px->pools, &pos, &key, &value))
		any |= pool_over(px, live, value, now_us);
	return any;
}

/* One entry of a table at a time: walking it does not allow for more. */
static bool drop_pool(struct herd_px *px, const struct herd_db *db, const struct herd_pool *home)
{
	size_t pos = 0;
	const char *key;
	void *value;

	while (herd_map_next(px->pools, &pos, &key, &value)) {
		struct herd_pool *p = value;
		char *copy;

		if (p->db != db || (home && p != home && p->home != home))
			continue;
		copy = strdup(key);
		if (!copy)
			return false;
		herd_map_remove(px->pools, copy);
		free(copy);
		herd_retire(px, p, herd_pool_free);
		return true;
	}
	return false;
}

static bool drop_one_db(struct herd_px *px, const struct herd_live *live, const struct round *r)
{
	size_t pos = 0;
	const char *key;
	void *value;

	while (herd_map_next(px->dbs, &pos, &key, &value)) {
		struct herd_db *db = value;
		char *copy;

		if (db->round >= r->number || !db_over(px, live, db, r->now_us))
			continue;
		copy = strdup(key);
		if (!copy)
			return false;
		while (drop_pool(px, db, NULL))
			;
		herd_info(px->log,
			  "dropping database '%s' as it does not exist anymore or inactive "
			  "auto-database",
			  db->name);
		herd_map_remove(px->dbs, copy);
		free(copy);
		herd_retire(px, db, herd_db_free);
		return true;
	}
	return false;
}

static bool drop_one_pool(struct herd_px *px, const struct herd_live *live, const struct round *r)
{
	size_t pos = 0;
	const char *key;
	void *value;

	while (herd_map_next(px->pools, &pos, &key, &value)) {
		struct herd_pool *p = value;

		if (p->round < r->number && pool_over(px, live, p, r->now_us)) {
			herd_info(px->log, "dropping idle pool %s/%s", p->db->name, p->user);
			const struct herd_db *db = p->db;

			while (drop_pool(px, db, p))
				;
			return true;
		}
	}
	return false;
}

/* Here those end. */

static void mark_each(struct herd_worker *w, void *arg)
{
	struct round *r = arg;

	pthread_mutex_lock(&w->px->pools_lock);
	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (c->db)
			c->db->round = r->number;
		if (c->pool)
			c->pool->round = c->pool->db->round = r->number;
		if (c->pool && c->pool->home)
			c->pool->home->round = r->number;
	}
	pthread_mutex_unlock(&w->px->pools_lock);
}

static void mark_done(struct herd_worker *w, void *arg)
{
	struct round *r = arg;

	pthread_mutex_lock(&w->px->pools_lock);
	while (drop_one_db(w->px, w->live, r))
		;
	while (drop_one_pool(w->px, w->live, r))
		;
	pthread_mutex_unlock(&w->px->pools_lock);
	w->px->idle_running = false;
	free(r);
}

void herd_idle_janitor(struct herd_worker *w)
{
	struct herd_px *px = w->px;

	if (w->id != 0 || px->idle_running || w->now_us < px->idle_next_us)
		return;
	px->idle_next_us = w->now_us + EVERY_US;
	pthread_mutex_lock(&px->pools_lock);
	bool any = any_over(px, w->live, w->now_us);
	/* Whatever is looked up from now on has this number. */
	uint64_t number = any ? ++px->idle_round : 0;

	pthread_mutex_unlock(&px->pools_lock);
	struct round *r = any ? malloc(sizeof(*r)) : NULL;

	if (!r)
		return;
	*r = (struct round){ .number = number, .now_us = w->now_us };
	px->idle_running = true;
	if (herd_worker_fanout(w, mark_each, mark_done, r) < 0) {
		px->idle_running = false;
		free(r);
	}
}
