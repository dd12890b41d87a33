#include "proxy/pools.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/str.h"
#include "pool/route.h"
#include "proxy/client.h"
#include "proxy/handover.h"
#include "proxy/pools_internal.h"
#include "proxy/repl.h"
#include "proxy/server.h"
#include "proxy/topology.h"

enum { OTHER_THREAD_PATIENCE_US = 2000, SUSPECT_US = 2000000 };

const struct herd_database *herd_pool_conf(const struct herd_worker *w, const struct herd_pool *p)
{
	return herd_db_conf(w->live, p->db);
}

/* The pool's lock is held in all of the functions down to the next such line. */

static int *slot_of(struct herd_pool *p, enum herd_server_count kind)
{
	switch (kind) {
	case HERD_COUNT_OPENING:
		return &p->nopening;
	case HERD_COUNT_ACTIVE:
		return &p->nactive;
	case HERD_COUNT_IDLE:
		return &p->nidle;
	case HERD_COUNT_CLOSING:
		return &p->nclosing;
	case HERD_COUNT_WARM:
		return &p->nwarm;
	case HERD_COUNT_REPL:
		return &p->nrepl;
	case HERD_COUNT_HUB:
		return &p->nhub;
	case HERD_COUNT_NONE:
		break;
	}
	return NULL;
}

void herd_pool_count_total(struct herd_pool *p, int by)
{
	atomic_fetch_add(&p->db->nconns, by);
	atomic_fetch_add(&p->user_count->nconns, by);
}

void herd_pool_count_as(struct herd_pool *p, struct herd_server *s, enum herd_server_count kind)
{
	int *from = slot_of(p, s->counted), *to = slot_of(p, kind);

	if (from) {
		(*from)--;
		assert(*from >= 0);
	}
	if (to)
		(*to)++;
	if (!to && from)
		herd_pool_count_total(p, -1);
	s->counted = kind;
}

static int setting(int user, int db, int fallback)
{
	return user >= 0 ? user : db >= 0 ? db : fallback;
}

/* Servers that another process has of the pool while one takes over; they count as ours. */
static int elsewhere(const struct herd_pool *p)
{
	/* Who stays with the process that goes must not be left with nothing. */
	if (herd_leaving(p->px) && p->nidle + p->nactive + p->nopening == 0)
		return 0;
	return atomic_load(&p->elsewhere);
}

struct herd_pool_obs herd_pool_observe(const struct herd_worker *w, const struct herd_pool *p,
				       const struct herd_database *conf)
{
	const struct herd_settings *s = herd_worker_settings(w);
	const struct herd_user *u = herd_pconf_user(w->live->config, p->user);
	struct herd_pool_obs o = {
		.now_ms = w->now_us / 1000,
		.idle = p->nidle,
		.active = p->nactive,
		.opening = p->nopening,
		.closing = p->nclosing + elsewhere(p) +
			   p->nrepl, /* take room, and are for nobody else */
		.db_conns = atomic_load(&p->db->nconns),
		.user_conns = atomic_load(&p->user_count->nconns),
		.waiting = p->nwaiting,
		.paused = atomic_load(&p->px->paused_all) || atomic_load(&p->db->paused),
		.held = atomic_load(&p->held),
		.topology = conf->route.cluster != NULL,
		.pool_size = setting(u ? u->pool_size : -1, conf->pool_size, s->default_pool_size),
		.min_size = setting(-1, conf->min_pool_size, s->min_pool_size),
		.members = p->nclients > 0 ? atomic_load(&p->choices) : 0,
		.reserve_size = setting(u ? u->reserve_pool_size : -1, conf->reserve_pool_size,
					s->reserve_pool_size),
		.max_db_conns = setting(-1, conf->max_db_connections, s->max_db_connections),
		.max_user_conns =
			setting(u ? u->max_user_connections : -1, -1, s->max_user_connections),
		.reserve_timeout_ms = s->reserve_pool_timeout / 1000,
		.keep_min = !herd_leaving(p->px) && (p->nclients > 0 || conf->user != NULL),
		.last_fail_ms = p->last_fail_us / 1000,
		.retry_ms = s->server_login_retry / 1000,
		.fails_in_row = p->fails,
	};

	/* Logins need one server to learn what it reports. */
	if (p->nwelcoming > 0 && o.idle + o.active == 0)
		o.waiting++;
	/* Replicas that failed are tried without clients, who are served by the primary meanwhile.
	 */
	if (p->home && atomic_load(&p->troubled) && o.idle + o.active == 0)
		o.waiting++;
	for (int i = 0; i < p->px->nworkers; i++) {
		if (herd_list_empty(&p->waiting[i]))
			continue;
		struct herd_client *c =
			herd_container_of(p->waiting[i].next, struct herd_client, wait_node);
		int64_t waited = (w->now_us - c->wait_us) / 1000;

		if (waited > o.oldest_wait_ms)
			o.oldest_wait_ms = waited;
	}
	return o;
}

static bool may_hand_out(const struct herd_pool *p)
{
	return !atomic_load(&p->held) && !atomic_load(&p->px->paused_all) &&
	       !atomic_load(&p->db->paused);
}

static void dequeue(struct herd_pool *p, struct herd_client *c)
{
	assert(c->queued);
	herd_list_remove(&c->wait_node);
	c->queued = false;
	if (c->repl)
		p->nreplicating--;
	else if (c->wait_welcome)
		p->nwelcoming--;
	else
		p->nwaiting--;
	assert(p->nwaiting >= 0 && p->nwelcoming >= 0 && p->nreplicating >= 0);
}

/* Wakes the client's thread with a server, an error, or neither: try again. */
static void notify(struct herd_client *c, struct herd_server *s, const char *state,
		   const char *text)
{
	c->posted = true;
	c->given = s;
	c->note.fn = herd_pool_client_note;
	if (text) {
		c->fail_text = strdup(text);
		strncpy(c->fail_state, state, sizeof(c->fail_state) - 1);
	}
	herd_worker_post(c->w, &c->note);
}

void herd_pool_notify(struct herd_pool *p, struct herd_client *c)
{
	dequeue(p, c);
	notify(c, NULL, NULL, NULL);
}

static void fail_all(struct herd_pool *p, const char *state, const char *text)
{
	for (int i = 0; i < p->px->nworkers; i++) {
		while (!herd_list_empty(&p->waiting[i])) {
			struct herd_client *c = herd_container_of(p->waiting[i].next,
								  struct herd_client, wait_node);

			herd_list_remove(&c->wait_node);
			c->queued = false;
			p->nwaiting--;
			notify(c, NULL, state, text);
		}
	}
	while (!herd_list_empty(&p->welcoming)) {
		struct herd_client *c =
			herd_container_of(p->welcoming.next, struct herd_client, wait_node);

		herd_list_remove(&c->wait_node);
		c->queued = false;
		p->nwelcoming--;
		notify(c, NULL, state, text);
	}
}

void herd_pool_send_away(struct herd_pool *p)
{
	for (int i = 0; i < p->px->nworkers; i++) {
		while (!herd_list_empty(&p->waiting[i])) {
			struct herd_client *c = herd_container_of(p->waiting[i].next,
								  struct herd_client, wait_node);

			dequeue(p, c);
			notify(c, NULL, NULL, NULL);
		}
	}
}

/* The client that is next: this thread's, unless another thread's has waited longer by far. */
static struct herd_client *next_waiter(struct herd_pool *p, int self)
{
	struct herd_client *best = NULL;

	if (p->nwaiting == 0)
		return NULL;
	if (self >= 0 && !herd_list_empty(&p->waiting[self]))
		best = herd_container_of(p->waiting[self].next, struct herd_client, wait_node);
	for (int i = 0; i < p->px->nworkers; i++) {
		if (i == self || herd_list_empty(&p->waiting[i]))
			continue;
		struct herd_client *c =
			herd_container_of(p->waiting[i].next, struct herd_client, wait_node);
		int64_t patience = best && best->w->id == self ? OTHER_THREAD_PATIENCE_US : 0;

		if (!best || c->wait_us + patience < best->wait_us)
			best = c;
	}
	return best;
}

static struct herd_server *first_idle(struct herd_pool *p, int self, bool oldest)
{
	for (int k = 0; k < p->px->nworkers; k++) {
		struct herd_list *l = &p->idle[(self + k) % p->px->nworkers];

		if (!herd_list_empty(l))
			return herd_container_of(oldest ? l->prev : l->next, struct herd_server,
						 pool_node);
	}
	return NULL;
}

/*
 * Of what several members serve, or with server_round_robin, not the one used last but the one used
 * longest ago, also when another thread has it and it was left lying.
 */
static struct herd_server *next_idle(const struct herd_worker *w, struct herd_pool *p, int self)
{
	bool spread = atomic_load(&p->choices) > 1;
	bool turns = spread || herd_worker_settings(w)->server_round_robin;
	struct herd_server *best = first_idle(p, self, turns);

	for (int i = 0; turns && best && i < p->px->nworkers; i++) {
		if (i == self || herd_list_empty(&p->idle[i]))
			continue;
		struct herd_server *s =
			herd_container_of(p->idle[i].prev, struct herd_server, pool_node);

		if (s->released_us + (spread ? OTHER_THREAD_PATIENCE_US : 0) < best->released_us)
			best = s;
	}
	return best;
}

/* Out of the idle list into the hands of a worker, which must adopt it. */
void herd_pool_take(struct herd_pool *p, struct herd_server *s, int worker)
{
	herd_list_remove(&s->pool_node);
	herd_pool_count_as(p, s, HERD_COUNT_ACTIVE);
	atomic_store(&s->state, HERD_SERVER_ACTIVE);
	atomic_store(&s->owner, worker);
}

/* Gives a server to a client of another worker. */
static void hand_over(struct herd_pool *p, struct herd_server *s, struct herd_client *c)
{
	atomic_store(&s->owner, c->w->id);
	dequeue(p, c);
	notify(c, s, NULL, NULL);
}

/* Idle servers to those who wait; happens after a hold, a pause or a test. */
static void match(struct herd_worker *w, struct herd_pool *p)
{
	while (p->nwaiting > 0 && p->nidle > 0 && may_hand_out(p)) {
		struct herd_client *c = next_waiter(p, w->id);
		struct herd_server *s = next_idle(w, p, c->w->id);

		herd_pool_take(p, s, c->w->id);
		hand_over(p, s, c);
	}
}

/* Here the locked functions end. */

static bool limits_reached_elsewhere(enum herd_pool_why why)
{
	return why == HERD_POOL_DB_FULL || why == HERD_POOL_USER_FULL;
}

struct evict {
	struct herd_worker *w;
	struct herd_pool *but;
	bool same_db;
	bool done;
};

static void evict_one(struct herd_pool *p, void *arg)
{
	struct evict *e = arg;

	if (e->done || p == e->but ||
	    (e->same_db ? p->db != e->but->db : p->user_count != e->but->user_count))
		return;
	pthread_mutex_lock(&p->lock);
	struct herd_server *s = p->nwaiting == 0 ? first_idle(p, e->w->id, true) : NULL;

	if (s)
		herd_pool_take(p, s, e->w->id);
	pthread_mutex_unlock(&p->lock);
	if (!s)
		return;
	e->done = true;
	herd_server_adopt(e->w, s);
	herd_server_drop(e->w, s, "evicted");
}

/* False: none is idle here. */
static bool drop_idle(struct herd_worker *w, struct herd_pool *p, bool oldest, const char *why)
{
	pthread_mutex_lock(&p->lock);
	struct herd_server *s = first_idle(p, w->id, oldest);

	if (s)
		herd_pool_take(p, s, w->id);
	pthread_mutex_unlock(&p->lock);
	if (!s)
		return false;
	herd_server_adopt(w, s);
	herd_server_drop(w, s, why);
	return true;
}

void herd_pool_evict_own(struct herd_worker *w, struct herd_pool *p)
{
	drop_idle(w, p, true, "evicted");
}

void herd_pool_kick(struct herd_worker *w, struct herd_pool *p)
{
	const struct herd_database *conf = herd_pool_conf(w, p);
	enum herd_pool_why why;
	int open = 0;

	if (!conf)
		return;
	pthread_mutex_lock(&p->lock);
	match(w, p);
	for (;;) {
		struct herd_pool_obs o = herd_pool_observe(w, p, conf);

		why = herd_pool_decide(&o);
		if (why != HERD_POOL_OPEN && why != HERD_POOL_OPEN_RESERVE)
			break;
		if (why == HERD_POOL_OPEN_RESERVE)
			herd_info(p->px->log, "taking connection from reserve_pool");
		p->nopening++;
		herd_pool_count_total(p, 1);
		open++;
	}
	bool replicating = p->nreplicating > 0;

	pthread_mutex_unlock(&p->lock);
	while (open-- > 0)
		herd_server_open(w, p, false);
	if (replicating)
		herd_repl_kick(w, p);
	if (limits_reached_elsewhere(why)) {
		struct evict e = { .w = w, .but = p, .same_db = why == HERD_POOL_DB_FULL };

		/* Also from within herd_pools_each: that lock is recursive. */
		herd_pools_each(p->px, evict_one, &e);
	}
}

/* Idle too long to be trusted? */
static bool wants_test(const struct herd_worker *w, const struct herd_server *s)
{
	const struct herd_settings *set = herd_worker_settings(w);

	return set->server_check_delay > 0 && *set->server_check_query &&
	       w->now_us - s->released_us > set->server_check_delay;
}

void herd_pool_suspect(struct herd_worker *w, struct herd_server *s, bool was_usable)
{
	struct herd_mate *m = s->mate;

	if (m && was_usable)
		atomic_store(&m->doubt_us, w->now_us);
	if (m)
		herd_topology_ask(w->px->topology);
	atomic_store(m ? &m->suspect_until_us : &s->pool->suspect_until_us, w->now_us + SUSPECT_US);
}

/*
 * When one server connection dies, all of them may be dying, and the news of an idle one is for the
 * thread that watches it. Whoever takes one meanwhile looks for itself: a statement sent to a dead
 * server would be an error that need not be. In a cluster a look is not enough: the backends of a
 * server that is stopped end one after the other, and one that still lives may be the next. There
 * only what was opened after the first death is used, since a server that stops lets nobody in.
 */
static bool looks_dead(const struct herd_worker *w, const struct herd_server *s)
{
	struct herd_mate *m = s->mate;
	char byte;

	if (w->now_us >= atomic_load(m ? &m->suspect_until_us : &s->pool->suspect_until_us))
		return false;
	if (m && s->opened_us <= atomic_load(&m->doubt_us))
		return true;
	return recv(s->conn.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	       (errno != EAGAIN && errno != EWOULDBLOCK);
}

/*
 * Nobody was there to refuse anything: whoever waits goes on waiting, up to query_wait_timeout, and
 * does not hear of a restart.
 */
static bool unreachable(const char *state)
{
	return strcmp(state, "08001") == 0 || strcmp(state, "57P03") == 0;
}

/* Refuses at once where an error is remembered (plain hosts only). */
static bool refuse_cached(struct herd_worker *w, struct herd_pool *p, struct herd_client *c)
{
	const struct herd_database *conf = herd_pool_conf(w, p);
	char *text = NULL;
	char state[6] = "08P01";

	if (!conf || conf->route.cluster)
		return false;
	pthread_mutex_lock(&p->lock);
	if (p->last_fail_us > 0 && p->fail_text && !unreachable(p->fail_state) &&
	    p->nidle + p->nactive == 0 &&
	    w->now_us - p->last_fail_us < herd_worker_settings(w)->server_login_retry) {
		text = herd_str_printf(
			"server login has been failing, cached error: %s (server_login_retry)",
			p->fail_text);
		memcpy(state, p->fail_state, sizeof(state));
	}
	pthread_mutex_unlock(&p->lock);
	if (!text)
		return false;
	herd_client_fail(c, state, "%s", text);
	free(text);
	return true;
}

static bool too_many_held(struct herd_worker *w, struct herd_pool *p, struct herd_client *c)
{
	int max = herd_worker_settings(w)->hold_max_clients;

	if (p->home || c->held_count || !atomic_load(&p->troubled))
		return false;
	/* Counted at once: many may come before the janitor does. */
	c->held_count = true;
	if (atomic_fetch_add(&p->px->nheld, 1) < max || max == 0)
		return false;
	herd_client_fail(c, "53300", "too many clients wait for a primary (hold_max_clients)");
	return true;
}

/* Links an idle server. The pool is locked; it is no more when there was one. */
static bool link_idle(struct herd_worker *w, struct herd_pool *p, struct herd_client *c)
{
	struct herd_server *s;

	while (p->nwaiting == 0 && p->nidle > 0 && may_hand_out(p)) {
		s = next_idle(w, p, w->id);
		herd_pool_take(p, s, w->id);
		pthread_mutex_unlock(&p->lock);
		if (herd_server_adopt(w, s) < 0) {
			herd_server_drop(w, s, "could not watch the connection");
		} else if (atomic_load(&s->close_needed)) {
			herd_server_drop(w, s, "obsolete connection");
		} else if (looks_dead(w, s)) {
			herd_server_drop(w, s, "server conn crashed?");
		} else if (!wants_test(w, s)) {
			s->client = c;
			c->server = s;
			return true;
		} else {
			/* One is on its way back to the pool, and to us, when it answers. */
			herd_server_test(w, s);
			pthread_mutex_lock(&p->lock);
			break;
		}
		pthread_mutex_lock(&p->lock);
	}
	return false;
}

bool herd_pool_try(struct herd_worker *w, struct herd_client *c)
{
	struct herd_pool *p = c->pool;

	pthread_mutex_lock(&p->lock);
	if (link_idle(w, p, c))
		return true;
	pthread_mutex_unlock(&p->lock);
	return false;
}

int herd_pool_checkout(struct herd_worker *w, struct herd_client *c)
{
	struct herd_pool *p = c->pool;

	assert(!c->server && !c->queued);
	pthread_mutex_lock(&p->lock);
	if (link_idle(w, p, c))
		return 1;
	c->wait_us = w->now_us;
	c->queued = true;
	c->wait_welcome = false;
	herd_list_push_back(&p->waiting[w->id], &c->wait_node);
	p->nwaiting++;
	pthread_mutex_unlock(&p->lock);
	c->state = HERD_CLIENT_WAITING;
	if (refuse_cached(w, p, c) || too_many_held(w, p, c))
		return 0;
	herd_pool_kick(w, p);
	return 0;
}

int herd_pool_welcome(struct herd_worker *w, struct herd_client *c)
{
	struct herd_pool *p = c->pool;

	pthread_mutex_lock(&p->lock);
	bool known = p->have_welcome;

	if (!known) {
		c->wait_us = w->now_us;
		c->queued = true;
		c->wait_welcome = true;
		herd_list_push_back(&p->welcoming, &c->wait_node);
		p->nwelcoming++;
	}
	pthread_mutex_unlock(&p->lock);
	if (known)
		return 1;
	c->state = HERD_CLIENT_WELCOME;
	if (refuse_cached(w, p, c) || too_many_held(w, p, c))
		return 0;
	herd_pool_kick(w, p);
	return 0;
}

bool herd_pool_leave(struct herd_worker *w, struct herd_client *c)
{
	(void)w;
	if (!c->pool)
		return false;
	pthread_mutex_lock(&c->pool->lock);
	bool queued = c->queued;

	if (queued)
		dequeue(c->pool, c);
	pthread_mutex_unlock(&c->pool->lock);
	return queued;
}

/* Runs on the client's thread: what the queue had for it. */
void herd_pool_client_note(struct herd_worker *w, struct herd_note *n)
{
	struct herd_client *c = herd_container_of(n, struct herd_client, note);

	pthread_mutex_lock(&c->pool->lock);
	struct herd_server *s = c->given;
	char *text = c->fail_text;

	c->posted = false;
	c->given = NULL;
	c->fail_text = NULL;
	pthread_mutex_unlock(&c->pool->lock);
	if (s && herd_server_adopt(w, s) < 0) {
		herd_server_drop(w, s, "could not watch the connection");
		s = NULL;
	} else if (s && looks_dead(w, s)) {
		herd_server_drop(w, s, "server conn crashed?");
		s = NULL;
	}
	if (c->state == HERD_CLIENT_CLOSED) {
		/* It left while the note was on its way. */
		if (s)
			herd_pool_put(w, s);
		herd_client_close(c, NULL);
	} else if (text) {
		herd_client_fail(c, c->fail_state, "%s", text);
	} else if (c->repl) {
		herd_repl_begin(c);
	} else if (c->state == HERD_CLIENT_WELCOME) {
		assert(!s);
		herd_login_finish(c);
	} else if (s && wants_test(w, s)) {
		herd_server_test(w, s);
		c->state = HERD_CLIENT_IDLE;
		herd_client_wake(c);
	} else if (s) {
		s->client = c;
		c->server = s;
		herd_relay_linked(c);
	} else {
		c->state = HERD_CLIENT_IDLE;
		herd_client_wake(c);
	}
	free(text);
}

static bool expired(const struct herd_worker *w, const struct herd_server *s,
		    const struct herd_database *conf)
{
	int64_t life = conf->server_lifetime >= 0 ? conf->server_lifetime
						  : herd_worker_settings(w)->server_lifetime;

	/* Zero: each server serves one client, once. */
	return life > 0 ? w->now_us - s->connected_us > life : s->used;
}

/* Why a server must not be used again, or NULL. */
static const char *unfit(const struct herd_worker *w, struct herd_pool *p, struct herd_server *s)
{
	const struct herd_database *conf = herd_pool_conf(w, p);

	if (!conf)
		return "database configuration changed";
	if (atomic_load(&p->px->paused_all) || atomic_load(&p->db->paused))
		return "pause mode";
	if (atomic_load(&s->close_needed))
		return "close_needed";
	if (expired(w, s, conf))
		return "server lifetime over";
	/* Asked once per server and snapshot: a release must not meet a lock of all threads. */
	if (conf->route.cluster && s->fits_serial != herd_topology_serial(p->px->topology)) {
		uint64_t serial = herd_topology_serial(p->px->topology);

		if (!herd_topology_fits(p->px->topology, herd_pool_route(p, conf), s->scope,
					s->group, s->member))
			return "no longer the right member";
		s->fits_serial = serial;
	}
	struct herd_mate *mate = s->mate;

	if (mate && atomic_compare_exchange_strong(&p->shed, &mate, NULL))
		return "evening out the members";
	return conf->route.cluster && herd_pool_leaves(w, s, conf) ? "its member fails" : NULL;
}

void herd_pool_put(struct herd_worker *w, struct herd_server *s)
{
	struct herd_pool *p = s->pool;
	const char *why = unfit(w, p, s);

	assert(atomic_load(&s->owner) == w->id);
	assert(!s->client);
	if (why) {
		herd_server_drop(w, s, why);
		herd_pool_kick(w, p);
		return;
	}
	if (herd_leaving(p->px) && herd_leave_server(w, s))
		return;
	s->released_us = w->now_us;
	herd_list_remove(&s->node);
	herd_conn_settle(&s->conn);
	herd_conn_trim(&s->conn);

	pthread_mutex_lock(&p->lock);
	p->last_fail_us = 0;
	p->fails = 0;
	atomic_store(&p->troubled, atomic_load(&p->held));
	struct herd_client *c = may_hand_out(p) ? next_waiter(p, w->id) : NULL;

	if (!c) {
		herd_pool_count_as(p, s, HERD_COUNT_IDLE);
		atomic_store(&s->state, HERD_SERVER_IDLE);
		atomic_store(&s->owner, -1);
		herd_list_push_front(&p->idle[w->id], &s->pool_node);
		pthread_mutex_unlock(&p->lock);
		return;
	}
	herd_pool_count_as(p, s, HERD_COUNT_ACTIVE);
	atomic_store(&s->state, HERD_SERVER_ACTIVE);
	if (c->w == w) {
		dequeue(p, c);
		pthread_mutex_unlock(&p->lock);
		herd_list_push_back(&w->servers, &s->node);
		s->client = c;
		c->server = s;
		herd_relay_linked(c);
		return;
	}
	hand_over(p, s, c);
	pthread_mutex_unlock(&p->lock);
}

void herd_pool_lost(struct herd_worker *w, struct herd_server *s, bool failed, const char *state,
		    const char *text)
{
	struct herd_pool *p = s->pool;
	const struct herd_database *conf = herd_pool_conf(w, p);
	bool cluster = conf && conf->route.cluster;

	if (herd_leaving(p->px))
		herd_leave_lost(s);
	pthread_mutex_lock(&p->lock);
	bool warm = s->counted == HERD_COUNT_WARM;

	herd_pool_count_as(p, s, HERD_COUNT_NONE);
	herd_list_remove(&s->pool_node);
	herd_list_remove(&s->all_node);
	if (failed && !warm) {
		p->last_fail_us = w->now_us;
		p->fails++;
		herd_str_set(&p->fail_text, text);
		memset(p->fail_state, 0, sizeof(p->fail_state));
		strncpy(p->fail_state, state, sizeof(p->fail_state) - 1);
		/* A cluster comes back: its clients wait, unless the error is about them. */
		if (cluster) {
			int64_t again = w->now_us + herd_pool_backoff_ms(p->fails) * 1000;

			atomic_store(&p->troubled, true);
			if (again < w->next_janitor_us)
				w->next_janitor_us = again;
		}
		/* A refused login is refused for all who wait, whatever still runs. */
		if (p->home)
			herd_pool_send_away(p);
		else if ((!cluster && !unreachable(state) &&
			  (p->nidle + p->nactive == 0 || strncmp(state, "28", 2) == 0)) ||
			 (cluster && strncmp(state, "08", 2) != 0 && !herd_hold_sqlstate(state)))
			fail_all(p, state, text);
	}
	pthread_mutex_unlock(&p->lock);
}

void herd_pool_greeting(struct herd_worker *w, struct herd_server *s)
{
	struct herd_pool *p = s->pool;

	(void)w;
	pthread_mutex_lock(&p->lock);
	herd_buf_reset(&p->welcome);
	herd_buf_add(&p->welcome, herd_buf_str(&s->params), s->params.len);
	herd_vars_free(&p->defaults);
	herd_vars_fill(&p->defaults, &s->vars, &p->px->vars);
	p->have_welcome = herd_buf_ok(&p->welcome);
	while (p->have_welcome && !herd_list_empty(&p->welcoming)) {
		struct herd_client *c =
			herd_container_of(p->welcoming.next, struct herd_client, wait_node);

		herd_list_remove(&c->wait_node);
		c->queued = false;
		p->nwelcoming--;
		notify(c, NULL, NULL, NULL);
	}
	pthread_mutex_unlock(&p->lock);
}

bool herd_pool_take_idle(struct herd_worker *w, struct herd_server *s)
{
	struct herd_pool *p = s->pool;
	bool mine;

	pthread_mutex_lock(&p->lock);
	mine = atomic_load(&s->owner) == -1 && atomic_load(&s->home) == w->id &&
	       (atomic_load(&s->state) == HERD_SERVER_IDLE ||
		atomic_load(&s->state) == HERD_SERVER_WARM);
	if (mine && atomic_load(&s->state) == HERD_SERVER_IDLE) {
		herd_pool_take(p, s, w->id);
		atomic_store(&s->state, HERD_SERVER_IDLE);
	} else if (mine) {
		herd_list_remove(&s->pool_node);
		atomic_store(&s->owner, w->id);
	}
	pthread_mutex_unlock(&p->lock);
	if (mine)
		herd_list_push_back(&w->servers, &s->node);
	return mine;
}

/* Idle servers of this worker's loop that are too old, or not needed. */
static struct herd_server *take_stale(struct herd_worker *w, struct herd_pool *p,
				      const struct herd_database *conf, const char **why)
{
	const struct herd_settings *set = herd_worker_settings(w);
	struct herd_pool_obs o =
		herd_pool_observe(w, p, conf ? conf : &(struct herd_database){ 0 });

	herd_list_for_each(it, &p->idle[w->id])
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, pool_node);
		int64_t idle_us = w->now_us - s->released_us;

		*why = unfit(w, p, s);
		if (*why && atomic_load(&s->close_needed))
			*why = "database configuration changed";
		if (!*why && set->server_idle_timeout > 0 && idle_us > set->server_idle_timeout &&
		    (!o.keep_min || o.idle + o.active + o.opening > o.min_size))
			*why = "server idle timeout";
		if (*why) {
			herd_pool_take(p, s, w->id);
			return s;
		}
	}
	return NULL;
}

static void janitor_pool(struct herd_pool *p, void *arg)
{
	struct herd_worker *w = arg;
	const struct herd_database *conf = herd_pool_conf(w, p);
	const char *why = NULL;

	for (;;) {
		pthread_mutex_lock(&p->lock);
		struct herd_server *s = take_stale(w, p, conf, &why);
		pthread_mutex_unlock(&p->lock);
		if (!s)
			break;
		herd_server_adopt(w, s);
		herd_server_drop(w, s, why);
	}
	if (conf && w->id == 0)
		herd_pool_balance(w, p);
	/* One is enough, but after a failure the one that failed comes first. */
	if (conf && (w->id == 0 || atomic_load(&p->troubled)))
		herd_pool_kick(w, p);
}

/* A database with a forced user keeps its minimum also before the first client. */
static void make_forced(struct herd_worker *w)
{
	const struct herd_pconf *conf = w->live->config;
	size_t pos = 0;
	const char *name;
	void *value;

	while (herd_map_next(conf->databases, &pos, &name, &value)) {
		const struct herd_database *d = value;

		if (!d->user || d->fallback ||
		    setting(-1, d->min_pool_size, conf->s.min_pool_size) <= 0)
			continue;
		struct herd_db *db = herd_db_get(w->px, name, NULL);

		if (db)
			herd_pool_get(w->px, db, d->user);
	}
}

void herd_pools_janitor(struct herd_worker *w)
{
	if (w->id == 0)
		make_forced(w);
	herd_pools_each(w->px, janitor_pool, w);
}

void herd_pools_each(struct herd_px *px, void (*fn)(struct herd_pool *p, void *arg), void *arg)
{
	size_t pos = 0;
	const char *key;
	void *value;

	pthread_mutex_lock(&px->pools_lock);
	while (herd_map_next(px->pools, &pos, &key, &value))
		fn(value, arg);
	pthread_mutex_unlock(&px->pools_lock);
}

static void count_server(const struct herd_server *s, int64_t used_us, struct herd_pool_counts *n)
{
	switch (atomic_load(&s->state)) {
	case HERD_SERVER_ACTIVE:
		n->sv_active++;
		break;
	case HERD_SERVER_IDLE:
		/* Its times are guarded by the pool's lock as long as nobody owns it. */
		if (atomic_load(&s->owner) == -1 && s->released_us < used_us)
			n->sv_used++;
		else
			n->sv_idle++;
		break;
	case HERD_SERVER_TESTED:
	case HERD_SERVER_RESET:
		n->sv_tested++;
		break;
	case HERD_SERVER_CANCELED:
		n->sv_canceled++;
		break;
	case HERD_SERVER_WARM:
		n->sv_warm++;
		break;
	default:
		n->sv_login++;
		break;
	}
}

void herd_pool_canceled(struct herd_server *s, bool yes)
{
	struct herd_pool *p = s->pool;

	pthread_mutex_lock(&p->lock);
	herd_pool_count_as(p, s, yes ? HERD_COUNT_CLOSING : HERD_COUNT_ACTIVE);
	pthread_mutex_unlock(&p->lock);
}

struct herd_pool_counts herd_pool_count(struct herd_pool *p, int64_t now_us, int64_t check_delay_us)
{
	struct herd_pool_counts n = { 0 };
	int64_t used_us = check_delay_us > 0 ? now_us - check_delay_us : INT64_MIN;

	pthread_mutex_lock(&p->lock);
	n.cl_waiting = p->nwaiting + p->nreplicating;
	n.cl_active = p->home ? p->nactive : p->nclients - n.cl_waiting;
	herd_list_for_each(it, &p->all)
		count_server(herd_container_of(it, struct herd_server, all_node), used_us, &n);
	for (int i = 0; i < p->px->nworkers; i++) {
		if (herd_list_empty(&p->waiting[i]))
			continue;
		struct herd_client *c =
			herd_container_of(p->waiting[i].next, struct herd_client, wait_node);

		if (now_us - c->wait_us > n.maxwait_us)
			n.maxwait_us = now_us - c->wait_us;
	}
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_lock(&p->cancels.lock);
	n.cl_active_cancel = p->cancels.nactive;
	n.cl_waiting_cancel = p->cancels.nwaiting;
	n.sv_active_cancel = p->cancels.nactive;
	pthread_mutex_unlock(&p->cancels.lock);
	return n;
}

void herd_pool_drain(struct herd_worker *w, struct herd_pool *p)
{
	bool paused = atomic_load(&p->px->paused_all) || atomic_load(&p->db->paused);

	while (drop_idle(w, p, false, paused ? "pause mode" : "close_needed"))
		;
}

static struct herd_server *any_parked(struct herd_pool *p)
{
	struct herd_server *s = first_idle(p, 0, false);

	if (!s && !herd_list_empty(&p->warm))
		s = herd_container_of(p->warm.next, struct herd_server, pool_node);
	return s;
}

static void close_parked(struct herd_pool *p, void *arg)
{
	struct herd_worker *w = arg;
	struct herd_server *s;

	while ((s = any_parked(p))) {
		herd_list_remove(&s->pool_node);
		atomic_store(&s->owner, w->id);
		herd_list_push_back(&w->servers, &s->node);
		herd_server_drop(w, s, NULL);
	}
}

void herd_pools_close(struct herd_worker *w)
{
	herd_pools_each(w->px, close_parked, w);
}
