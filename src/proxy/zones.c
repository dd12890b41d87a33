#include "proxy/zones.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "loop/zone.h"
#include "proxy/helpers.h"

struct zone {
	size_t names;
	uint32_t serial; /* 0: not known */
	bool due, told;  /* told: that the serial cannot be had */
};

struct herd_zones {
	struct herd_px *px;
	void (*renew)(struct herd_px *px, const char *zone);
	char *conf;
	pthread_mutex_t lock; /* of what follows */
	struct herd_map *zones;
	bool asking;
	int64_t checked_us; /* main thread */
};

struct question {
	struct herd_job job;
	struct herd_zones *zones;
	char *zone, *conf;
	uint32_t serial;
	int rc;
	struct herd_err err;
};

struct herd_zones *herd_zones_new(struct herd_px *px,
				  void (*renew)(struct herd_px *px, const char *zone))
{
	struct herd_zones *z = calloc(1, sizeof(*z));

	if (!z)
		return NULL;
	*z = (struct herd_zones){ .px = px, .renew = renew, .zones = herd_map_new(free) };
	pthread_mutex_init(&z->lock, NULL);
	if (z->zones)
		return z;
	herd_zones_free(z);
	return NULL;
}

void herd_zones_free(struct herd_zones *z)
{
	if (!z)
		return;
	herd_map_free(z->zones);
	free(z->conf);
	pthread_mutex_destroy(&z->lock);
	free(z);
}

int herd_zones_start(struct herd_zones *z, const char *resolv_conf)
{
	z->checked_us = herd_clock_us();
	z->conf = *resolv_conf ? strdup(resolv_conf) : NULL;
	return *resolv_conf && !z->conf ? -ENOMEM : 0;
}

const char *herd_zone_of(const char *host)
{
	const char *dot = strchr(host, '.');

	return dot && dot[1] ? dot + 1 : NULL;
}

void herd_zones_add(struct herd_zones *z, const char *host)
{
	const char *name = herd_zone_of(host);

	if (!name)
		return;
	pthread_mutex_lock(&z->lock);
	struct zone *zone = herd_map_get(z->zones, name);

	if (!zone && (zone = calloc(1, sizeof(*zone))) && herd_map_put(z->zones, name, zone) < 0) {
		free(zone);
		zone = NULL;
	}
	if (zone)
		zone->names++;
	pthread_mutex_unlock(&z->lock);
}

/* -- asking ------------------------------------------------------------------------------------ */

static void free_question(struct question *q)
{
	free(q->zone);
	free(q->conf);
	herd_err_clear(&q->err);
	free(q);
}

static void run(struct herd_job *j)
{
	struct question *q = herd_container_of(j, struct question, job);

	q->rc = herd_zone_serial(q->conf, q->zone, &q->serial, &q->err);
}

static void discard(struct herd_job *j)
{
	free_question(herd_container_of(j, struct question, job));
}

static void ask_next(struct herd_zones *z);

/* The lock is held. True: the names are to be looked up. */
static bool take_answer(struct herd_zones *z, struct zone *zone, const struct question *q)
{
	uint32_t before = zone->serial;

	if (q->rc < 0) {
		if (!zone->told)
			herd_warning(z->px->log,
				     "could not get the serial of zone %s: %s; its names are "
				     "looked up instead",
				     q->zone, herd_err_text(&q->err));
		zone->told = true;
		return true;
	}
	zone->told = false;
	zone->serial = q->serial;
	if (before == q->serial)
		return false;
	if (before != 0)
		herd_info(z->px->log, "zone '%s' serial changed: old=%u new=%u", q->zone, before,
			  q->serial);
	return true;
}

static void done(struct herd_worker *w, struct herd_job *j)
{
	struct question *q = herd_container_of(j, struct question, job);
	struct herd_zones *z = q->zones;
	bool renew;

	(void)w;
	pthread_mutex_lock(&z->lock);
	struct zone *zone = herd_map_get(z->zones, q->zone);

	renew = zone && take_answer(z, zone, q);
	z->asking = false;
	pthread_mutex_unlock(&z->lock);
	if (renew)
		z->renew(z->px, q->zone);
	free_question(q);
	ask_next(z);
}

static struct question *new_question(struct herd_zones *z, const char *zone)
{
	struct question *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->zones = z;
	q->zone = strdup(zone);
	q->conf = z->conf ? strdup(z->conf) : NULL;
	q->job.w = &z->px->workers[0];
	q->job.run = run;
	q->job.done = done;
	q->job.discard = discard;
	if (q->zone && (q->conf || !z->conf))
		return q;
	free_question(q);
	return NULL;
}

/* Of those that are due. The lock is held. */
static struct question *next_question(struct herd_zones *z)
{
	size_t pos = 0;
	const char *name;
	void *value;

	while (!z->asking && herd_map_next(z->zones, &pos, &name, &value)) {
		struct zone *zone = value;

		if (!zone->due)
			continue;
		zone->due = false;
		return new_question(z, name);
	}
	return NULL;
}

static void ask_next(struct herd_zones *z)
{
	pthread_mutex_lock(&z->lock);
	struct question *q = next_question(z);

	z->asking = z->asking || q;
	pthread_mutex_unlock(&z->lock);
	if (!q || herd_helpers_submit(z->px->helpers, &q->job) == 0)
		return;
	free_question(q);
	pthread_mutex_lock(&z->lock);
	z->asking = false;
	pthread_mutex_unlock(&z->lock);
}

void herd_zones_tick(struct herd_zones *z)
{
	int64_t period = atomic_load(&z->px->live)->config->s.dns_zone_check_period;
	int64_t now = herd_clock_us();
	size_t pos = 0;
	const char *name;
	void *value;

	if (period <= 0 || now - z->checked_us < period)
		return;
	z->checked_us = now;
	pthread_mutex_lock(&z->lock);
	while (herd_map_next(z->zones, &pos, &name, &value))
		((struct zone *)value)->due = true;
	pthread_mutex_unlock(&z->lock);
	ask_next(z);
}

/* -- showing ----------------------------------------------------------------------------------- */

size_t herd_zones_count(struct herd_zones *z)
{
	size_t n;

	pthread_mutex_lock(&z->lock);
	n = herd_map_size(z->zones);
	pthread_mutex_unlock(&z->lock);
	return n;
}

void herd_zones_each(struct herd_zones *z,
		     void (*fn)(void *arg, const char *zone, uint32_t serial, size_t names),
		     void *arg)
{
	size_t pos = 0;
	const char *name;
	void *value;

	pthread_mutex_lock(&z->lock);
	while (herd_map_next(z->zones, &pos, &name, &value)) {
		const struct zone *zone = value;

		fn(arg, name, zone->serial, zone->names);
	}
	pthread_mutex_unlock(&z->lock);
}
