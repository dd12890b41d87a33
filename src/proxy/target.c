#include "proxy/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "pool/health.h"
#include "proxy/dial.h"
#include "proxy/dns.h"

/* Hosts of lists by "host:port", and where lists without balancing stay. */
struct herd_targets {
	pthread_mutex_t lock;
	struct herd_map *hosts; /* struct herd_health */
	struct herd_map *stays; /* int: index in the list, by its text */
};

struct herd_targets *herd_targets_new(void)
{
	struct herd_targets *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->hosts = herd_map_new(free);
	t->stays = herd_map_new(free);
	if (t->hosts && t->stays)
		return t;
	herd_targets_free(t);
	return NULL;
}

void herd_targets_free(struct herd_targets *t)
{
	if (!t)
		return;
	herd_map_free(t->hosts);
	herd_map_free(t->stays);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static int count_hosts(const char *list)
{
	int n = 1;

	for (const char *c = list; *c; c++)
		n += *c == ',';
	return n;
}

/* The host at the index, malloc'd. */
static char *host_at(const char *list, int index)
{
	const char *p = list;

	while (index-- > 0)
		p = strchr(p, ',') + 1;
	return strndup(p, strcspn(p, ","));
}

/* The lock is held. NULL: nothing bad is known of it, or out of memory. */
static struct herd_health *health(struct herd_targets *t, const char *host, int port, bool make)
{
	char *key = herd_str_printf("%s:%d", host ? host : "", port);
	struct herd_health *h = key ? herd_map_get(t->hosts, key) : NULL;

	if (key && !h && make) {
		h = calloc(1, sizeof(*h));
		if (h && herd_map_put(t->hosts, key, h) < 0) {
			free(h);
			h = NULL;
		}
	}
	free(key);
	return h;
}

/* The lock is held. Until when the host at the index is left alone; 0: it is not. */
static int64_t out_until(struct herd_targets *t, const struct herd_database *conf, int index,
			 int64_t now_ms)
{
	char *host = host_at(conf->host, index);
	const struct herd_health *h = host ? health(t, host, conf->port, false) : NULL;
	int64_t until = h && herd_health_out(h, now_ms) ? h->until_ms : 0;

	free(host);
	return until;
}

/* The lock is held. From the given one on the first that is not out, else the first to be back. */
static int first_usable(struct herd_targets *t, const struct herd_database *conf, int n, int from,
			int64_t now_ms)
{
	int64_t soonest = INT64_MAX;
	int best = from;

	for (int i = 0; i < n; i++) {
		int at = (from + i) % n;
		int64_t until = out_until(t, conf, at, now_ms);

		if (until == 0)
			return at;
		if (until < soonest) {
			soonest = until;
			best = at;
		}
	}
	return best;
}

char *herd_target_pick(struct herd_worker *w, const struct herd_database *conf, uint64_t turn)
{
	struct herd_targets *t = w->px->targets;
	int n = count_hosts(conf->host), at;

	if (n == 1)
		return strdup(conf->host);
	pthread_mutex_lock(&t->lock);
	if (conf->round_robin) {
		at = first_usable(t, conf, n, (int)(turn % (uint64_t)n), w->now_us / 1000);
	} else {
		int *stay = herd_map_get(t->stays, conf->host);

		at = first_usable(t, conf, n, stay ? *stay : 0, w->now_us / 1000);
		if (!stay && (stay = malloc(sizeof(*stay))) &&
		    herd_map_put(t->stays, conf->host, stay) < 0) {
			free(stay);
			stay = NULL;
		}
		if (stay)
			*stay = at;
	}
	pthread_mutex_unlock(&t->lock);
	return host_at(conf->host, at);
}

/* A server of a list with several hosts; NULL: it is not. */
static const struct herd_database *listed(const struct herd_worker *w, const struct herd_server *s)
{
	const struct herd_database *conf = herd_db_conf(w->live, s->pool->db);

	return conf && conf->host && strchr(conf->host, ',') && s->target_host ? conf : NULL;
}

bool herd_target_failed(struct herd_worker *w, const struct herd_server *s, const char *state)
{
	const struct herd_database *conf = listed(w, s);
	struct herd_targets *t = w->px->targets;
	int64_t now_ms = w->now_us / 1000;
	bool other = false;

	/* Of the host, not of the user or the database. */
	if (!conf || (strncmp(state, "08", 2) != 0 && strncmp(state, "57P", 3) != 0 &&
		      strcmp(state, "53300") != 0))
		return false;
	pthread_mutex_lock(&t->lock);
	struct herd_health *h = health(t, s->target_host, conf->port, true);

	if (h)
		herd_health_failed(h, now_ms);
	for (int i = 0, n = count_hosts(conf->host); h && i < n; i++)
		other |= out_until(t, conf, i, now_ms) == 0;
	pthread_mutex_unlock(&t->lock);
	return other;
}

void herd_target_worked(struct herd_worker *w, const struct herd_server *s)
{
	const struct herd_database *conf = listed(w, s);
	struct herd_targets *t = w->px->targets;

	if (!conf)
		return;
	pthread_mutex_lock(&t->lock);
	struct herd_health *h = health(t, s->target_host, conf->port, false);

	if (h)
		herd_health_worked(h);
	pthread_mutex_unlock(&t->lock);
}

static void go_on(struct herd_worker *w, void *arg)
{
	struct herd_server *s = arg;
	struct herd_err err = HERD_ERR_INIT;

	s->lookup = NULL;
	if (herd_target_connect(w, s, &err) < 0)
		herd_server_failed(w, s, "08001", herd_err_text(&err));
	herd_err_clear(&err);
}

int herd_target_connect(struct herd_worker *w, struct herd_server *s, struct herd_err *err)
{
	const char *host = s->target_host;
	struct herd_addr numeric;
	int rc = 0;

	if (!herd_dial_is_address(host)) {
		struct sockaddr_storage ss;

		rc = herd_dns_next(w, host, go_on, s, &s->lookup, &ss, err);
		if (rc < 0)
			return rc == -EINPROGRESS ? 0 : rc;
		herd_addr_of((const struct sockaddr *)&ss, &numeric);
		host = numeric.host;
	}
	if (rc == 0)
		rc = herd_dial(w, host, s->target_port, &s->conn.fd, &s->addr, err);
	if (rc == 0) {
		rc = herd_worker_watch(w, &s->conn, true);
		if (rc < 0)
			herd_err_set(err, rc, "could not watch the connection");
	}
	return rc;
}
