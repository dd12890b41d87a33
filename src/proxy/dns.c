#include "proxy/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/str.h"
#include "loop/loop.h"
#include "loop/names.h"
#include "proxy/pools.h"
#include "proxy/server.h"
#include "proxy/zones.h"

enum { MIN_TTL_US = 500 * 1000 };

/* Somebody waits on its worker. Only that one looks at fn; the note brings it there. */
struct herd_dns_wait {
	struct herd_note note;
	struct herd_list node; /* name.waits */
	struct herd_worker *w;
	void (*fn)(struct herd_worker *w, void *arg);
	void *arg;
};

struct name {
	struct herd_dns *dns;
	char *host;
	size_t n, turn;
	struct sockaddr_storage *addr;
	char *error; /* NULL: addr holds */
	bool known, asking;
	int64_t until_us;
	struct herd_list ask_node, waits;
};

struct herd_dns {
	struct herd_px *px;
	pthread_mutex_t lock; /* of all that follows, but for the main thread's own */
	struct herd_map *names;
	struct herd_list asks; /* struct name.ask_node: to be asked for */
	size_t queries;
	int fd; /* wakes the main thread */
	struct herd_zones *zones;

	struct herd_names *resolver;
	struct herd_io *io;
};

static void renew_zone(struct herd_px *px, const char *zone);

static void free_name(void *p)
{
	struct name *n = p;

	while (!herd_list_empty(&n->waits)) {
		struct herd_dns_wait *wait =
			herd_container_of(n->waits.next, struct herd_dns_wait, node);

		herd_list_remove(&wait->node);
		free(wait);
	}
	free(n->host);
	free(n->addr);
	free(n->error);
	free(n);
}

struct herd_dns *herd_dns_new(struct herd_px *px)
{
	struct herd_dns *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->px = px;
	d->names = herd_map_new(free_name);
	d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&d->lock, NULL);
	herd_list_init(&d->asks);
	d->zones = herd_zones_new(px, renew_zone);
	if (d->names && d->fd >= 0 && d->zones)
		return d;
	herd_dns_free(d);
	return NULL;
}

void herd_dns_free(struct herd_dns *d)
{
	if (!d)
		return;
	herd_map_free(d->names);
	herd_zones_free(d->zones);
	if (d->fd >= 0)
		close(d->fd);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* The lock is held. NULL when out of memory. */
static struct name *get(struct herd_dns *d, const char *host)
{
	struct name *n = herd_map_get(d->names, host);

	if (n)
		return n;
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->dns = d;
	n->host = strdup(host);
	herd_list_init(&n->ask_node);
	herd_list_init(&n->waits);
	if (!n->host || herd_map_put(d->names, host, n) < 0) {
		free_name(n);
		return NULL;
	}
	herd_zones_add(d->zones, host);
	return n;
}

/* The lock is held: the main thread is to ask. */
static void want(struct name *n)
{
	uint64_t one = 1;

	if (n->asking)
		return;
	n->asking = true;
	n->dns->queries++;
	herd_list_push_back(&n->dns->asks, &n->ask_node);
	/* When it fails the main thread is told already. */
	if (write(n->dns->fd, &one, sizeof(one)) < 0)
		return;
}

static void wait_over(struct herd_worker *w, struct herd_note *note)
{
	struct herd_dns_wait *wait = herd_container_of(note, struct herd_dns_wait, note);
	void (*fn)(struct herd_worker * w, void *arg) = wait->fn;
	void *arg = wait->arg;

	free(wait);
	if (fn)
		fn(w, arg);
}

void herd_dns_forget(struct herd_dns_wait *wait)
{
	if (wait)
		wait->fn = NULL;
}

int herd_dns_next(struct herd_worker *w, const char *host,
		  void (*fn)(struct herd_worker *w, void *arg), void *arg,
		  struct herd_dns_wait **wait, struct sockaddr_storage *ret, struct herd_err *err)
{
	struct herd_dns *d = w->px->dns;
	int rc = -ENOMEM;

	pthread_mutex_lock(&d->lock);
	struct name *n = get(d, host);

	if (n && n->known && w->now_us < n->until_us) {
		if (n->error) {
			rc = -EHOSTUNREACH;
		} else {
			*ret = n->addr[n->turn++ % n->n];
			rc = 0;
		}
	} else if (n) {
		struct herd_dns_wait *x = calloc(1, sizeof(*x));

		if (x) {
			*x = (struct herd_dns_wait){ .w = w, .fn = fn, .arg = arg };
			x->note.fn = wait_over;
			herd_list_push_back(&n->waits, &x->node);
			want(n);
			*wait = x;
			rc = -EINPROGRESS;
		}
	}
	pthread_mutex_unlock(&d->lock);
	if (rc == -EHOSTUNREACH)
		herd_err_set(err, rc, "server DNS lookup failed");
	else if (rc == -ENOMEM)
		herd_err_set(err, rc, "out of memory");
	return rc;
}

int herd_dns_peek(struct herd_worker *w, const char *host, struct sockaddr_storage *ret)
{
	struct herd_dns *d = w->px->dns;
	int rc = -EAGAIN;

	pthread_mutex_lock(&d->lock);
	struct name *n = get(d, host);

	if (n && n->n > 0) {
		*ret = n->addr[n->turn % n->n];
		rc = 0;
	} else if (n) {
		want(n);
	}
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static bool same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
	return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
		      &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr,
		      sizeof(struct in6_addr)) == 0;
}

struct gone {
	const char *host;
	char text[64]; /* as in struct herd_addr */
};

/* Servers that were reached at an address which the name has no longer. */
static void leave_address(struct herd_pool *p, void *arg)
{
	const struct gone *g = arg;

	pthread_mutex_lock(&p->lock);
	herd_list_for_each(it, &p->all)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, all_node);

		/* Before, its worker is still writing where it goes. */
		if (atomic_load(&s->state) != HERD_SERVER_CONNECTING &&
		    herd_str_eq(s->target_host, g->host) && strcmp(s->addr.host, g->text) == 0)
			atomic_store(&s->close_needed, true);
	}
	pthread_mutex_unlock(&p->lock);
}

static void leave_addresses(struct herd_px *px, const char *host,
			    const struct sockaddr_storage *before, size_t nbefore,
			    const struct sockaddr_storage *now, size_t nnow)
{
	for (size_t i = 0; i < nbefore; i++) {
		struct gone g = { .host = host };
		struct herd_addr addr;
		size_t k = 0;

		while (k < nnow && !same(&before[i], &now[k]))
			k++;
		if (k < nnow)
			continue;
		herd_addr_of((const struct sockaddr *)&before[i], &addr);
		memcpy(g.text, addr.host, sizeof(g.text));
		herd_info(px->log, "host name %s has address %s no longer", host, g.text);
		herd_pools_each(px, leave_address, &g);
	}
}

static int64_t at_least(int64_t us)
{
	return us > MIN_TTL_US ? us : MIN_TTL_US;
}

/* The lock is held. What is known of the name from now on; gives back what was. */
static struct sockaddr_storage *store(struct name *n, enum herd_names_end end,
				      const struct sockaddr_storage *addr, size_t count,
				      const char *text, size_t *nbefore)
{
	const struct herd_settings *set = &atomic_load(&n->dns->px->live)->config->s;
	struct sockaddr_storage *copy = count > 0 ? malloc(count * sizeof(*copy)) : NULL;
	struct sockaddr_storage *before = NULL;

	*nbefore = 0;
	n->until_us = herd_clock_us() + at_least(copy ? set->dns_max_ttl : set->dns_nxdomain_ttl);
	n->known = true;
	if (copy) {
		memcpy(copy, addr, count * sizeof(*copy));
		before = n->addr;
		*nbefore = n->n;
		n->addr = copy;
		n->n = count;
		free(n->error);
		n->error = NULL;
	} else if (end == HERD_NAMES_NONE || n->n == 0) {
		/* When nobody could tell, what was true is the best guess. */
		herd_str_set(&n->error, text ? text : "out of memory");
	}
	return before;
}

static void on_answer(void *arg, enum herd_names_end end, const struct sockaddr_storage *addr,
		      size_t count, const char *text)
{
	struct name *n = arg;
	struct herd_dns *d = n->dns;
	struct sockaddr_storage *before;
	size_t nbefore;

	if (end != HERD_NAMES_FOUND)
		herd_warning(d->px->log, "DNS lookup failed: %s: %s", n->host, text);
	pthread_mutex_lock(&d->lock);
	before = store(n, end, addr, count, text, &nbefore);
	n->asking = false;
	d->queries--;
	while (!herd_list_empty(&n->waits)) {
		struct herd_dns_wait *wait =
			herd_container_of(n->waits.next, struct herd_dns_wait, node);

		herd_list_remove(&wait->node);
		herd_worker_post(wait->w, &wait->note);
	}
	pthread_mutex_unlock(&d->lock);
	if (before)
		leave_addresses(d->px, n->host, before, nbefore, addr, count);
	free(before);
}

static void on_wake(void *arg, int events)
{
	struct herd_dns *d = arg;
	uint64_t drained;

	(void)events;
	if (read(d->fd, &drained, sizeof(drained)) < 0)
		return;
	for (;;) {
		pthread_mutex_lock(&d->lock);
		struct name *n = NULL;

		if (!herd_list_empty(&d->asks)) {
			n = herd_container_of(d->asks.next, struct name, ask_node);
			herd_list_remove(&n->ask_node);
		}
		pthread_mutex_unlock(&d->lock);
		if (!n)
			return;
		herd_names_ask(d->resolver, n->host, on_answer, n);
	}
}

int herd_dns_start(struct herd_dns *d, struct herd_loop *loop, const char *resolv_conf,
		   struct herd_err *err)
{
	int rc = herd_names_new(loop, *resolv_conf ? resolv_conf : NULL, &d->resolver, err);

	if (rc < 0)
		return rc;
	d->io = herd_io_new(loop, d->fd, on_wake, d);
	if (!d->io)
		return herd_err_set(err, -ENOMEM, "out of memory");
	herd_io_want(d->io, HERD_IO_READ);
	rc = herd_zones_start(d->zones, resolv_conf);
	return rc < 0 ? herd_err_set(err, rc, "out of memory") : 0;
}

void herd_dns_stop(struct herd_dns *d)
{
	herd_io_free(d->io);
	herd_names_free(d->resolver);
	d->io = NULL;
	d->resolver = NULL;
}

void herd_dns_tick(struct herd_dns *d)
{
	herd_zones_tick(d->zones);
}

static void renew_zone(struct herd_px *px, const char *zone)
{
	struct herd_dns *d = px->dns;
	size_t pos = 0;
	const char *host;
	void *value;

	pthread_mutex_lock(&d->lock);
	while (herd_map_next(d->names, &pos, &host, &value))
		if (herd_str_eq(herd_zone_of(host), zone))
			want(value);
	pthread_mutex_unlock(&d->lock);
}

struct herd_dns_counts herd_dns_count(struct herd_dns *d)
{
	size_t zones = herd_zones_count(d->zones);

	pthread_mutex_lock(&d->lock);
	struct herd_dns_counts n = { .names = herd_map_size(d->names),
				     .zones = zones,
				     .queries = d->queries };

	pthread_mutex_unlock(&d->lock);
	return n;
}

void herd_dns_each_name(struct herd_dns *d, int64_t now_us,
			void (*fn)(void *arg, const char *host, int64_t ttl_us, const char *addrs),
			void *arg)
{
	size_t pos = 0;
	const char *key;
	void *value;

	pthread_mutex_lock(&d->lock);
	while (herd_map_next(d->names, &pos, &key, &value)) {
		const struct name *n = value;
		struct herd_buf b = { 0 };

		for (size_t i = 0; i < n->n && !n->error; i++) {
			struct herd_addr addr;

			herd_addr_of((const struct sockaddr *)&n->addr[i], &addr);
			herd_buf_addstr(&b, i > 0 ? "," : "");
			herd_buf_addstr(&b, addr.host);
		}
		fn(arg, n->host, n->known && n->until_us > now_us ? n->until_us - now_us : 0,
		   herd_buf_str(&b));
		herd_buf_free(&b);
	}
	pthread_mutex_unlock(&d->lock);
}

void herd_dns_each_zone(struct herd_dns *d,
			void (*fn)(void *arg, const char *zone, uint32_t serial, size_t names),
			void *arg)
{
	herd_zones_each(d->zones, fn, arg);
}
