#include "proxy/cancel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/str.h"
#include "proxy/admin.h"
#include "proxy/conn_tls.h"
#include "proxy/dial.h"
#include "proxy/handover.h"
#include "proxy/keys.h"
#include "proxy/tls.h"
#include "wire/msg.h"

/* How far a request's own connection has come. */
enum step { STEP_NONE = 0, STEP_CONNECTING, STEP_SSL, STEP_TLS, STEP_SENT };
enum { WAITING = 0, ACTIVE, DONE };

struct herd_cancel {
	struct herd_conn conn; /* first */
	_Atomic int refs;      /* who asked, and who carries */
	_Atomic int state;
	struct herd_worker *home;        /* of the client that asked; NULL: nobody waits */
	struct herd_note note;           /* to the worker that is next to act */
	struct herd_list node;           /* w->cancels of the worker that carries it */
	struct herd_list queue_node;     /* guarded by the queue, like the next two */
	struct herd_cancel_queue *queue; /* NULL: not found yet */
	bool queued, counted, login;
	struct herd_worker *carrier;
	int tried; /* workers that have looked for the client */
	int peer;  /* 0: for a server */
	struct herd_pool *pool;
	struct herd_server *server;
	struct herd_addr addr;
	bool wants_tls;
	char *tls_host;
	enum step step;
	struct herd_buf packet;
	uint8_t key[HERD_KEY_BYTES];
	uint8_t more[256]; /* what follows them */
	size_t more_len;
	int64_t since_us, dialed_us;
	uint64_t id;
	const char *why;
};

static void carry(struct herd_worker *w, struct herd_cancel *x);

void herd_cancel_queue_init(struct herd_cancel_queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	herd_list_init(&q->waiting);
}

static void free_cancel(void *p)
{
	struct herd_cancel *x = p;

	herd_str_wipe(x->key, sizeof(x->key));
	free(x->tls_host);
	free(x);
}

static void unref(struct herd_px *px, struct herd_cancel *x)
{
	/* Events that are waiting in a loop may still point to it. */
	if (atomic_fetch_sub(&x->refs, 1) == 1)
		herd_retire(px, x, free_cancel);
}

/* On the thread of the client that asked: it is told by the end of its connection. */
static void answered(struct herd_worker *w, struct herd_note *n)
{
	struct herd_cancel *x = herd_container_of(n, struct herd_cancel, note);

	herd_list_for_each(it, &w->askers)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, wait_node);

		if (c->cancel != x)
			continue;
		herd_client_close(c, x->why);
		break;
	}
	unref(w->px, x);
}

static void carry_note(struct herd_worker *w, struct herd_note *n)
{
	carry(w, herd_container_of(n, struct herd_cancel, note));
}

static void go(struct herd_cancel *x)
{
	x->note.fn = carry_note;
	herd_worker_post(x->carrier, &x->note);
}

/* Takes the next one out of the queue, whose lock is held. */
static struct herd_cancel *next_of(struct herd_cancel_queue *q)
{
	if (herd_list_empty(&q->waiting))
		return NULL;
	struct herd_cancel *x = herd_container_of(q->waiting.next, struct herd_cancel, queue_node);

	herd_list_remove(&x->queue_node);
	x->queued = false;
	x->counted = true;
	q->nwaiting--;
	q->nactive++;
	return x;
}

/* Leaves the queue, and lets the next one go. */
static void leave_queue(struct herd_worker *w, struct herd_cancel *x)
{
	struct herd_cancel_queue *q = x->queue;
	struct herd_cancel *next = NULL;

	if (!q)
		return;
	pthread_mutex_lock(&q->lock);
	if (x->queued) {
		herd_list_remove(&x->queue_node);
		q->nwaiting--;
	}
	if (x->login)
		q->nlogin--;
	if (x->counted) {
		q->nactive--;
		if (!atomic_load(&w->px->quit))
			next = next_of(q);
	}
	x->queued = x->counted = x->login = false;
	pthread_mutex_unlock(&q->lock);
	if (next)
		go(next);
}

static void finish(struct herd_worker *w, struct herd_cancel *x, const char *why)
{
	struct herd_server *s = x->server;

	herd_list_remove(&x->node);
	herd_conn_close(&x->conn);
	herd_buf_free(&x->packet);
	leave_queue(w, x);
	atomic_store(&x->state, DONE);
	x->why = why;
	x->server = NULL;
	if (s) {
		atomic_fetch_sub(&s->cancels, 1);
		if (atomic_load(&s->state) == HERD_SERVER_CANCELED &&
		    atomic_load(&s->cancels) == 0) {
			herd_pool_canceled(s, false);
			herd_server_release(w, s);
		}
	}
	if (!x->home || atomic_load(&w->px->quit)) {
		unref(w->px, x);
		return;
	}
	x->note.fn = answered;
	herd_worker_post(x->home, &x->note);
}

static void fail(struct herd_worker *w, struct herd_cancel *x, const char *what)
{
	if (x->server)
		herd_server_log(w, x->server, HERD_LOG_WARNING, "cancel request failed: %s", what);
	else
		herd_warning(w->px->log, "cancel request to %s:%d failed: %s", x->addr.host,
			     x->addr.port, what);
	finish(w, x, "failed cancel request");
}

/* --- carrying --------------------------------------------------------------------------------- */

static void dial(struct herd_worker *w, struct herd_cancel *x, const char *host, int port)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_dial(w, host, port, &x->conn.fd, &x->addr, &err);

	if (rc == 0)
		rc = herd_worker_watch(w, &x->conn, true);
	x->dialed_us = w->now_us;
	x->step = STEP_CONNECTING;
	pthread_mutex_lock(&x->queue->lock);
	x->login = true;
	x->queue->nlogin++;
	pthread_mutex_unlock(&x->queue->lock);
	if (rc < 0)
		fail(w, x, err.msg ? err.msg : "could not watch the connection");
	herd_err_clear(&err);
}

static void carry_to_server(struct herd_worker *w, struct herd_cancel *x)
{
	struct herd_client *target = herd_key_find(w, x->key, x->more, x->more_len);
	struct herd_server *s = target ? target->server : NULL;

	if (!s) {
		if (target)
			herd_relay_cancel_queued(target);
		finish(w, x, "cancel request for idle client");
		return;
	}
	x->server = s;
	atomic_fetch_add(&s->cancels, 1);
	herd_wr_cancel(&x->packet, s->backend_pid, s->cancel_key, s->cancel_key_len);
	x->wants_tls = s->conn.tls != NULL;
	/* Not by name: the name may mean another server by now. */
	bool local = s->addr.family == AF_UNIX;

	x->tls_host = herd_str_dup(s->target_host);
	dial(w, x, local ? s->target_host : s->addr.host, s->addr.port);
}

static void carry_to_peer(struct herd_worker *w, struct herd_cancel *x)
{
	const struct herd_peer *p = herd_pconf_peer(w->live->config, x->peer);
	struct herd_buf rest = { 0 };

	if (!p) {
		finish(w, x, "cancel request for a peer that is not known any more");
		return;
	}
	herd_key_set_hops(x->key, herd_key_hops(x->key) - 1);
	herd_buf_add(&rest, x->key + 4, HERD_KEY_BYTES - 4);
	herd_buf_add(&rest, x->more, x->more_len);
	uint32_t pid = (uint32_t)x->key[0] << 24 | (uint32_t)x->key[1] << 16 |
		       (uint32_t)x->key[2] << 8 | x->key[3];

	herd_wr_cancel(&x->packet, pid, herd_buf_str(&rest), rest.len);
	herd_buf_free(&rest);
	dial(w, x, p->host, p->port);
}

static void carry(struct herd_worker *w, struct herd_cancel *x)
{
	if (atomic_load(&w->px->quit)) {
		finish(w, x, NULL);
		return;
	}
	atomic_store(&x->state, ACTIVE);
	if (x->peer)
		carry_to_peer(w, x);
	else
		carry_to_server(w, x);
}

static void send_packet(struct herd_worker *w, struct herd_cancel *x)
{
	pthread_mutex_lock(&x->queue->lock);
	x->queue->nlogin--;
	x->login = false;
	pthread_mutex_unlock(&x->queue->lock);
	x->step = STEP_SENT;
	if (herd_conn_send_buf(&x->conn, &x->packet) < 0)
		fail(w, x, "out of memory");
}

static void connected(struct herd_worker *w, struct herd_cancel *x)
{
	struct herd_buf b = { 0 };
	int code = 0;
	socklen_t len = sizeof(code);

	if (!x->conn.can_write)
		return;
	getsockopt(x->conn.fd, SOL_SOCKET, SO_ERROR, &code, &len);
	if (code != 0) {
		fail(w, x, strerror(code));
	} else if (x->wants_tls && w->live->server_tls) {
		x->step = STEP_SSL;
		x->conn.asked = herd_tls_connect(w->live->server_tls, x->conn.fd, x->tls_host,
						 herd_worker_settings(w)->server_tls_sslmode);
		if (!x->conn.asked) {
			fail(w, x, "out of memory");
			return;
		}
		herd_wr_ssl_request(&b);
		herd_conn_send_buf(&x->conn, &b);
		herd_buf_free(&b);
	} else {
		send_packet(w, x);
	}
}

static void handshake(struct herd_worker *w, struct herd_cancel *x)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_conn_handshake(&x->conn, &err);

	if (rc == 1)
		send_packet(w, x);
	else if (rc < 0)
		fail(w, x, herd_err_text(&err));
	herd_err_clear(&err);
}

static void ssl_answer(struct herd_worker *w, struct herd_cancel *x)
{
	int mode = herd_worker_settings(w)->server_tls_sslmode;
	char answer;
	ssize_t got = herd_conn_read(&x->conn, &answer, 1);

	if (got == -EAGAIN)
		return;
	if (got != 1) {
		fail(w, x, "server closed the connection");
	} else if (answer == 'S') {
		herd_conn_agreed(&x->conn);
		x->step = STEP_TLS;
		handshake(w, x);
	} else if (mode >= HERD_SSL_REQUIRE) {
		fail(w, x, "server refused SSL");
	} else {
		send_packet(w, x);
	}
}

/* The other side says nothing and closes when the signal was sent. */
static void wait_for_end(struct herd_worker *w, struct herd_cancel *x)
{
	char rest[64];

	herd_conn_flush(&x->conn);
	while (x->conn.can_read) {
		ssize_t got = herd_conn_read(&x->conn, rest, sizeof(rest));

		if (got == -EAGAIN)
			break;
		if (got <= 0) {
			finish(w, x, "cancel request was delivered");
			return;
		}
	}
	if (x->conn.broken)
		fail(w, x, "connection closed");
}

void herd_cancel_event(struct herd_worker *w, struct herd_conn *conn)
{
	struct herd_cancel *x = herd_container_of(conn, struct herd_cancel, conn);

	switch (x->step) {
	case STEP_NONE:
		break;
	case STEP_CONNECTING:
		connected(w, x);
		break;
	case STEP_SSL:
		ssl_answer(w, x);
		break;
	case STEP_TLS:
		handshake(w, x);
		break;
	case STEP_SENT:
		wait_for_end(w, x);
		break;
	}
}

/* --- whom it means, and waiting for its turn -------------------------------------------------- */

/* Connections of a pool and of its cancel requests together may be twice as many as pool_size. */
static int pool_room(struct herd_worker *w, struct herd_pool *p)
{
	const struct herd_database *conf = herd_db_conf(w->live, p->db);
	const struct herd_user *u = herd_pconf_user(w->live->config, p->user);
	int size = herd_worker_settings(w)->default_pool_size;

	if (conf && conf->pool_size >= 0)
		size = conf->pool_size;
	if (u && u->pool_size >= 0)
		size = u->pool_size;
	pthread_mutex_lock(&p->lock);
	int room = 2 * size - (p->nidle + p->nactive + p->nopening + p->nclosing);
	pthread_mutex_unlock(&p->lock);
	return room > 1 ? room : 1;
}

static int room_of(struct herd_worker *w, const struct herd_cancel *x)
{
	if (!x->peer)
		return pool_room(w, x->pool);
	const struct herd_peer *p = herd_pconf_peer(w->live->config, x->peer);

	return p && p->pool_size >= 0 ? p->pool_size : herd_worker_settings(w)->default_pool_size;
}

/* It is known who carries it: now, or when its turn comes. */
static void enqueue(struct herd_worker *w, struct herd_cancel *x, struct herd_cancel_queue *q)
{
	int room = room_of(w, x), max = herd_worker_settings(w)->max_client_conn;

	x->carrier = w;
	x->queue = q;
	herd_list_push_back(&w->cancels, &x->node);
	pthread_mutex_lock(&q->lock);
	bool now = q->nactive < room, full = !now && max > 0 && q->nwaiting >= max;

	if (now) {
		x->counted = true;
		q->nactive++;
	} else if (!full) {
		x->queued = true;
		herd_list_push_back(&q->waiting, &x->queue_node);
		q->nwaiting++;
	}
	pthread_mutex_unlock(&q->lock);
	if (now)
		carry(w, x);
	else if (full)
		finish(w, x, "too many cancel requests");
}

/* Nobody here has the key; a client that is still with the former process may. */
static void give_up(struct herd_worker *w, struct herd_cancel *x)
{
	uint8_t key[HERD_KEY_BYTES + sizeof(x->more)];

	memcpy(key, x->key, HERD_KEY_BYTES);
	memcpy(key + HERD_KEY_BYTES, x->more, x->more_len);
	finish(w, x,
	       herd_takeover_cancel(w->px, key, HERD_KEY_BYTES + x->more_len)
		       ? "cancel request was passed to the former process"
		       : "failed cancel request");
}

static void look_note(struct herd_worker *w, struct herd_note *n);

/* Asks this worker, then the others. */
static void look(struct herd_worker *w, struct herd_cancel *x)
{
	struct herd_px *px = w->px;
	struct herd_client *target = herd_key_find(w, x->key, x->more, x->more_len);

	if (atomic_load(&px->quit)) {
		finish(w, x, NULL);
	} else if (!target) {
		if (++x->tried == px->nworkers) {
			give_up(w, x);
			return;
		}
		x->note.fn = look_note;
		herd_worker_post(&px->workers[(w->id + 1) % px->nworkers], &x->note);
	} else if (target->state == HERD_CLIENT_ADMIN) {
		herd_admin_cancel(target);
		finish(w, x, "cancel request for console client");
	} else if (!target->server) {
		herd_relay_cancel_queued(target);
		finish(w, x, "cancel request for idle client");
	} else {
		x->pool = target->pool;
		enqueue(w, x, &x->pool->cancels);
	}
}

static void look_note(struct herd_worker *w, struct herd_note *n)
{
	look(w, herd_container_of(n, struct herd_cancel, note));
}

static struct herd_peer_pool *peer_pool(struct herd_px *px, int id)
{
	char key[16]; /* of a peer_id */

	snprintf(key, sizeof(key), "%d", id);
	pthread_mutex_lock(&px->pools_lock);
	if (!px->peers)
		px->peers = herd_map_new(NULL);
	struct herd_peer_pool *p = px->peers ? herd_map_get(px->peers, key) : NULL;

	if (!p && px->peers) {
		p = calloc(1, sizeof(*p));
		if (p) {
			p->id = id;
			herd_cancel_queue_init(&p->queue);
		}
		if (p && herd_map_put(px->peers, key, p) < 0) {
			free(p);
			p = NULL;
		}
	}
	pthread_mutex_unlock(&px->pools_lock);
	return p;
}

static void route(struct herd_worker *w, struct herd_cancel *x)
{
	int peer = herd_key_peer(x->key);
	struct herd_peer_pool *p = NULL;

	if (peer == herd_worker_settings(w)->peer_id || !herd_pconf_peer(w->live->config, peer)) {
		look(w, x);
		return;
	}
	if (herd_key_hops(x->key) == 0) {
		herd_warning(w->px->log, "cancel request was handed on too often, dropping it");
		finish(w, x, "failed cancel request");
		return;
	}
	p = peer_pool(w->px, peer);
	x->peer = peer;
	if (p)
		enqueue(w, x, &p->queue);
	else
		finish(w, x, "out of memory");
}

static struct herd_cancel *new_cancel(struct herd_worker *w, const struct herd_startup *s)
{
	struct herd_cancel *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->conn.kind = HERD_CONN_CANCEL;
	x->conn.fd = -1;
	x->since_us = w->now_us;
	x->id = atomic_fetch_add(&w->px->next_id, 1) + 1;
	herd_list_init(&x->node);
	herd_list_init(&x->queue_node);
	atomic_init(&x->refs, 1);
	for (int i = 0; i < 4; i++)
		x->key[i] = (uint8_t)(s->cancel_pid >> (24 - 8 * i));
	memcpy(x->key + 4, s->cancel_key, 4);
	x->more_len = s->cancel_key_len - 4;
	memcpy(x->more, s->cancel_key + 4, x->more_len);
	return x;
}

void herd_cancel_take(struct herd_client *c, const struct herd_startup *s)
{
	struct herd_cancel *x = new_cancel(c->w, s);

	if (!x) {
		herd_client_close(c, "out of memory");
		return;
	}
	x->home = c->w;
	atomic_store(&x->refs, 2);
	c->cancel = x;
	c->state = HERD_CLIENT_CANCEL;
	herd_list_push_back(&c->w->askers, &c->wait_node);
	herd_buf_free(&c->conn.in);
	route(c->w, x);
}

void herd_cancel_inject(struct herd_worker *w, const struct herd_startup *s)
{
	struct herd_cancel *x = new_cancel(w, s);

	if (x)
		look(w, x);
}

void herd_cancel_abandon(struct herd_client *c)
{
	struct herd_cancel *x = c->cancel;

	if (!x)
		return;
	herd_list_remove(&c->wait_node);
	c->cancel = NULL;
	unref(c->w->px, x);
}

const char *herd_cancel_state_name(const struct herd_client *c)
{
	return atomic_load(&c->cancel->state) == WAITING ? "waiting_cancel_req"
							 : "active_cancel_req";
}

void herd_cancel_forget(struct herd_worker *w, struct herd_server *s)
{
	if (atomic_load(&s->cancels) == 0)
		return;
	herd_list_for_each(it, &w->cancels)
	{
		struct herd_cancel *x = herd_container_of(it, struct herd_cancel, node);

		if (x->server == s)
			x->server = NULL;
	}
}

/* Room may have come from connections that the pool gave up. */
static void try_start(struct herd_worker *w, struct herd_cancel *x)
{
	int room = room_of(w, x);

	pthread_mutex_lock(&x->queue->lock);
	struct herd_cancel *next = x->queued && x->queue->nactive < room ? next_of(x->queue) : NULL;
	pthread_mutex_unlock(&x->queue->lock);
	if (next)
		go(next);
}

void herd_cancel_janitor(struct herd_worker *w)
{
	const struct herd_settings *set = herd_worker_settings(w);
	int64_t wait = set->cancel_wait_timeout, connect = set->server_connect_timeout;

	herd_list_for_each_safe(it, &w->cancels)
	{
		struct herd_cancel *x = herd_container_of(it, struct herd_cancel, node);

		pthread_mutex_lock(&x->queue->lock);
		bool queued = x->queued;

		if (queued && wait > 0 && w->now_us - x->since_us > wait) {
			herd_list_remove(&x->queue_node);
			x->queue->nwaiting--;
			x->queued = false;
		}
		bool late = queued && !x->queued;
		pthread_mutex_unlock(&x->queue->lock);
		if (late)
			finish(w, x, "cancel_wait_timeout");
		else if (queued)
			try_start(w, x);
		else if (x->step != STEP_NONE && connect > 0 && w->now_us - x->dialed_us > connect)
			fail(w, x, "connect timeout");
	}
}

void herd_cancel_stop(struct herd_worker *w)
{
	while (!herd_list_empty(&w->cancels)) {
		struct herd_cancel *x =
			herd_container_of(w->cancels.next, struct herd_cancel, node);

		x->server = NULL;
		finish(w, x, NULL);
	}
}

/* --- what is shown ---------------------------------------------------------------------------- */

void herd_cancel_each(struct herd_worker *w,
		      void (*fn)(void *arg, const struct herd_cancel_info *info), void *arg)
{
	herd_list_for_each(it, &w->cancels)
	{
		struct herd_cancel *x = herd_container_of(it, struct herd_cancel, node);
		struct herd_cancel_info info = {
			.user = x->pool ? x->pool->user : "(nouser)",
			.database = x->pool ? x->pool->db->name : "(nodb)",
			.tls = x->conn.tls ? SSL_get_version(x->conn.tls) : "",
			.conn = &x->conn,
			.addr = &x->addr,
			.server = x->server ? x->server->id : 0,
			.since_us = x->dialed_us,
			.id = x->id,
		};

		if (x->step != STEP_NONE)
			fn(arg, &info);
	}
}

void herd_peer_pools_each(struct herd_px *px, void (*fn)(const struct herd_peer_pool *p, void *arg),
			  void *arg)
{
	size_t pos = 0;
	const char *key;
	void *value;

	pthread_mutex_lock(&px->pools_lock);
	while (px->peers && herd_map_next(px->peers, &pos, &key, &value))
		fn(value, arg);
	pthread_mutex_unlock(&px->pools_lock);
}

size_t herd_peer_pools_count(struct herd_px *px)
{
	pthread_mutex_lock(&px->pools_lock);
	size_t n = px->peers ? herd_map_size(px->peers) : 0;
	pthread_mutex_unlock(&px->pools_lock);
	return n;
}

void herd_peer_pools_free(struct herd_px *px)
{
	size_t pos = 0;
	const char *key;
	void *value;

	while (px->peers && herd_map_next(px->peers, &pos, &key, &value)) {
		struct herd_peer_pool *p = value;

		pthread_mutex_destroy(&p->queue.lock);
		free(p);
	}
	herd_map_free(px->peers);
	px->peers = NULL;
}
