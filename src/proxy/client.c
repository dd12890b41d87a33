#include "proxy/client.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "pool/decide.h"
#include "proxy/admin.h"
#include "proxy/cancel.h"
#include "proxy/dial.h"
#include "proxy/doors.h"
#include "proxy/handover.h"
#include "proxy/hub.h"
#include "proxy/named.h"
#include "proxy/repl.h"
#include "proxy/session.h"
#include "proxy/split.h"
#include "proxy/tls.h"
#include "wire/msg.h"

enum { ACCEPT_BATCH = 64, LOGIN_MAX_BYTES = 64 * 1024, LOGIN_READ_BYTES = 2048 };

/* Their memory is kept for the next ones. None where a checker wants to see them freed. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SPARE_CLIENTS = 0 };
#else
enum { SPARE_CLIENTS = 32 };
#endif

/* Without descriptors: how long nobody is accepted, and how often that is said. */
enum { REST_US = 200 * 1000, REST_TELL_US = 5 * 1000 * 1000 };

const char *herd_client_state_name(const struct herd_client *c)
{
	switch (c->state) {
	case HERD_CLIENT_WAITING:
	case HERD_CLIENT_WELCOME:
		return "waiting";
	case HERD_CLIENT_IDLE:
	case HERD_CLIENT_ADMIN:
		return "idle";
	case HERD_CLIENT_CANCEL:
		return herd_cancel_state_name(c);
	case HERD_CLIENT_ACTIVE:
		return "active";
	default:
		return "login";
	}
}

void herd_client_log(const struct herd_client *c, enum herd_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);
	va_end(ap);
	if (!text)
		return;
	herd_log_at(c->w->px->log, level, "C-0x%llx: %s/%s@%s:%d %s", (unsigned long long)c->id,
		    c->dbname ? c->dbname : "(nodb)", c->user ? c->user : "(nouser)", c->addr.host,
		    c->addr.port, text);
	free(text);
}

void herd_client_wake(struct herd_client *c)
{
	herd_list_remove(&c->run_node);
	herd_list_push_back(&c->w->run, &c->run_node);
}

static struct herd_client *client_memory(struct herd_worker *w)
{
	struct herd_client *c;

	if (herd_list_empty(&w->spare))
		return calloc(1, sizeof(*c));
	c = herd_container_of(w->spare.next, struct herd_client, node);
	herd_list_remove(&c->node);
	w->nspare--;
	return c;
}

static struct herd_client *new_client(struct herd_worker *w)
{
	struct herd_client *c = client_memory(w);

	if (!c)
		return NULL;
	c->conn.kind = HERD_CONN_CLIENT;
	c->conn.fd = -1;
	c->w = w;
	c->connect_us = w->now_us;
	c->id = atomic_fetch_add(&w->px->next_id, 1) + 1;
	herd_list_init(&c->run_node);
	herd_list_init(&c->wait_node);
	herd_list_push_back(&w->clients, &c->node);
	return c;
}

struct herd_client *herd_client_internal(struct herd_worker *w, struct herd_db *db,
					 const char *user, const struct herd_internal *in)
{
	struct herd_client *c = new_client(w);

	if (!c)
		return NULL;
	c->internal = malloc(sizeof(*c->internal));
	c->db = db;
	c->user = strdup(user);
	c->dbname = strdup(db->name);
	c->pool = herd_pool_get(w->px, db, user);
	if (!c->internal || !c->user || !c->dbname || !c->pool) {
		herd_client_close(c, NULL);
		return NULL;
	}
	*c->internal = *in;
	c->state = HERD_CLIENT_IDLE;
	return c;
}

/* A descriptor that another worker accepted, on its way to the one with fewer clients. */
struct newcomer {
	struct herd_note note;
	struct herd_door *door;
	int fd;
	struct sockaddr_storage peer;
};

/* A door that is open everywhere, or by a path, says less than the connection does. */
static const struct herd_addr *place_of(const struct herd_door *d)
{
	bool any = strcmp(d->addr.host, "0.0.0.0") == 0 || strcmp(d->addr.host, "::") == 0;

	return any ? NULL : &d->addr;
}

/* door: NULL when another process accepted it. */
static struct herd_client *begin(struct herd_worker *w, char *listener, int port,
				 const struct herd_door *door, int fd,
				 const struct sockaddr_storage *peer)
{
	const struct herd_addr *at = door ? place_of(door) : NULL;
	struct herd_client *c = new_client(w);
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);

	if (!c) {
		atomic_fetch_sub(&w->nclients, 1);
		close(fd);
		return NULL;
	}
	c->conn.fd = fd;
	c->peer = *peer;
	c->listener = listener;
	herd_addr_of((const struct sockaddr *)peer, &c->addr);
	if (at)
		c->local = *at;
	else if (getsockname(fd, (struct sockaddr *)&local, &len) == 0)
		herd_addr_of((struct sockaddr *)&local, &c->local);
	if (peer->ss_family == AF_UNIX) {
		struct ucred cred;

		len = sizeof(cred);
		c->peer_uid = UINT32_MAX;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
			c->peer_uid = cred.uid;
		c->addr.port = c->local.port = port;
	}
	if (door)
		herd_dial_tune_newcomer(herd_worker_settings(w), fd, (const struct sockaddr *)peer,
					door->loopback);
	else
		herd_dial_tune(herd_worker_settings(w), fd, (const struct sockaddr *)peer);
	c->conn.can_write = true;
	if (herd_worker_watch(w, &c->conn, false) == 0)
		return c;
	herd_client_close(c, "could not watch the connection");
	return NULL;
}

struct herd_client *herd_client_adopt(struct herd_worker *w, int fd, const char *listener, int port)
{
	struct sockaddr_storage peer = { .ss_family = AF_UNIX };
	socklen_t len = sizeof(peer);
	char *known = NULL;

	for (int i = 0; i < w->px->ndoors && listener; i++) {
		if (herd_str_eq(w->px->doors[i].listener, listener))
			known = w->px->doors[i].listener;
	}
	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0 || (listener && !known)) {
		atomic_fetch_sub(&w->nclients, 1);
		close(fd);
		return NULL;
	}
	if (len <= sizeof(sa_family_t))
		peer.ss_family = AF_UNIX;
	return begin(w, known, port, NULL, fd, &peer);
}

static void enter(struct herd_worker *w, struct herd_door *d, int fd,
		  const struct sockaddr_storage *peer)
{
	struct herd_client *c = begin(w, d->listener, d->addr.port, d, fd, peer);

	/* With tcp_defer_accept it comes with its first packet. */
	if (!c || d->addr.family == AF_UNIX || w->suspended ||
	    herd_worker_settings(w)->tcp_defer_accept <= 0)
		return;
	c->conn.can_read = true;
	herd_client_run(w, c);
}

static void newcomer_note(struct herd_worker *w, struct herd_note *n)
{
	struct newcomer *nc = herd_container_of(n, struct newcomer, note);

	if (atomic_load(&w->px->quit))
		close(nc->fd);
	else
		enter(w, nc->door, nc->fd, &nc->peer);
	free(nc);
}

/* The worker with the fewest clients; the asking one when it is about as good. */
static struct herd_worker *least_busy(struct herd_worker *w)
{
	struct herd_worker *best = w;
	int fewest = atomic_load(&w->nclients) - 1;

	for (int i = 0; i < w->px->nworkers; i++) {
		int n = atomic_load(&w->px->workers[i].nclients);

		if (n < fewest) {
			fewest = n;
			best = &w->px->workers[i];
		}
	}
	return best;
}

/* A door that stays ready would keep the thread busy for nothing. */
static void cannot_accept(struct herd_worker *w, struct herd_door *d, int error)
{
	int64_t told = atomic_load(&w->px->rest_told_us);

	if (error == EINVAL)
		herd_worker_unwatch(w, &d->conn); /* was shut while we came to it */
	if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM)
		return;
	herd_doors_watch(w, false);
	w->rest_until_us = w->now_us + REST_US;
	if ((!told || w->now_us - told > REST_TELL_US) &&
	    atomic_compare_exchange_strong(&w->px->rest_told_us, &told, w->now_us))
		herd_warning(w->px->log, "accept() failed: %s, trying again every %d ms",
			     strerror(error), REST_US / 1000);
}

/*
 * Most come one at a time: the call that finds nobody more is spared, for the next pass hears of
 * those who wait. When it does, more are let in at once.
 */
static int accept_room(struct herd_worker *w)
{
	uint64_t pass = atomic_load_explicit(&w->passes, memory_order_relaxed);

	/* Zero: this is the first. It would stay zero for ever if the first pass brought somebody.
	 */
	w->accept_room = w->accept_room == 0 || pass - w->accept_pass > 1 ? 1
			 : w->accept_room < ACCEPT_BATCH                  ? w->accept_room * 2
									  : ACCEPT_BATCH;
	w->accept_pass = pass;
	return w->accept_room;
}

void herd_client_accept(struct herd_worker *w, struct herd_door *d)
{
	int room = accept_room(w);

	for (int i = 0; i < room; i++) {
		struct sockaddr_storage peer = { .ss_family = d->addr.family };
		socklen_t len = sizeof(peer);
		int fd = accept4(d->conn.fd, (struct sockaddr *)&peer, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			cannot_accept(w, d, errno);
			return;
		}
		if (len <= sizeof(sa_family_t))
			peer.ss_family = d->addr.family;
		struct herd_worker *to = least_busy(w);
		bool here = atomic_load(&to->host) == atomic_load(&w->host);
		struct newcomer *nc = here ? NULL : malloc(sizeof(*nc));

		if (!here && !nc)
			to = w;
		atomic_fetch_add(&to->nclients, 1);
		if (!nc) {
			enter(to, d, fd, &peer);
			continue;
		}
		*nc = (struct newcomer){ .door = d, .fd = fd, .peer = peer };
		nc->note.fn = newcomer_note;
		herd_worker_post(to, &nc->note);
	}
}

static void free_clients(struct herd_worker *w, struct herd_list *list, int keep)
{
	herd_list_for_each_safe(it, list)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		free(c->user);
		free(c->dbname);
		free(c->internal);
		free(c->fail_text);
		herd_split_free(c);
		herd_list_remove(&c->node);
		if (keep == 0) {
			free(c);
			continue;
		}
		keep--;
		memset(c, 0, sizeof(*c));
		herd_list_push_front(&w->spare, &c->node);
		w->nspare++;
	}
}

/* Two more: the pass under way when they closed, and one begun since for certain. */
static bool all_passed(const struct herd_worker *w)
{
	for (int i = 0; i < w->px->nworkers; i++) {
		if (atomic_load(&w->px->workers[i].passes) < w->gone_passes[i] + 2)
			return false;
	}
	return true;
}

void herd_client_sweep(struct herd_worker *w, bool all)
{
	if (!herd_list_empty(&w->going)) {
		if (!all && !all_passed(w))
			return;
		free_clients(w, &w->going, all ? 0 : SPARE_CLIENTS - w->nspare);
	}
	if (all)
		free_clients(w, &w->spare, 0);
	if (herd_list_empty(&w->gone))
		return;
	for (int i = 0; i < w->px->nworkers; i++)
		w->gone_passes[i] = atomic_load(&w->px->workers[i].passes);
	herd_list_splice(&w->going, &w->gone);
	if (all)
		free_clients(w, &w->going, 0);
}

static void let_go_of_server(struct herd_client *c)
{
	struct herd_server *s = c->server;

	if (!s || (c->split && herd_split_keep_server(c)) || herd_session_keep_server(c))
		return;
	bool clean =
		s->ready && s->tx == 'I' && herd_flight_idle(&s->flight) && !herd_server_midway(s);

	c->server = NULL;
	s->client = NULL;
	if (clean) {
		herd_server_release(c->w, s);
		return;
	}
	/* A long statement for nobody: stop it, so that the backend goes away soon. */
	herd_server_drop(c->w, s,
			 c->repl      ? "replication client was closed"
			 : c->cut_why ? c->cut_why
				      : "client disconnect while server was not ready");
	herd_pool_kick(c->w, c->pool);
}

static void uncount(struct herd_client *c)
{
	struct herd_px *px = c->w->px;

	if (c->held_count)
		atomic_fetch_sub(&px->nheld, 1);
	c->held_count = false;
	if (c->internal)
		return;
	if (c->counted) {
		if (!c->console_login)
			atomic_fetch_sub(&px->nclients, 1);
		if (c->db)
			atomic_fetch_sub(&c->db->nclients, 1);
		if (c->user_count)
			atomic_fetch_sub(&c->user_count->nclients, 1);
		if (c->pool) {
			struct herd_pool *home = c->split ? c->split->home : c->pool;

			pthread_mutex_lock(&home->lock);
			home->nclients--;
			pthread_mutex_unlock(&home->lock);
		}
	}
	c->counted = false;
	atomic_fetch_sub(&c->w->nclients, 1);
}

void herd_client_closing(struct herd_client *c, const char *why)
{
	const struct herd_worker *w = c->w;

	if (why && c->conn.fd >= 0 && herd_worker_settings(w)->log_disconnections)
		herd_client_log(c, HERD_LOG_INFO, "closing because: %s (age=%llds)", why,
				(long long)((w->now_us - c->connect_us) / 1000000));
}

void herd_client_close(struct herd_client *c, const char *why)
{
	struct herd_worker *w = c->w;
	bool first = c->state != HERD_CLIENT_CLOSED;

	if (first) {
		herd_client_closing(c, why);
		herd_pool_leave(w, c);
		herd_key_forget(c);
		herd_cancel_abandon(c);
		c->state = HERD_CLIENT_CLOSED;
		uncount(c);
		herd_list_remove(&c->node);
		herd_list_remove(&c->run_node);
		herd_hub_leave(c);
		herd_session_close(c);
		let_go_of_server(c);
		herd_conn_close(&c->conn);
		herd_named_free(c);
		herd_vars_free(&c->vars);
		herd_buf_free(&c->replay);
		herd_login_free(c->login);
		c->login = NULL;
		herd_repl_free(c->repl);
		c->repl = NULL;
		herd_admin_close(c);
	}
	if (c->pool) {
		/* A note on its way still points here: it will come back to this function. */
		pthread_mutex_lock(&c->pool->lock);
		bool posted = c->posted;

		pthread_mutex_unlock(&c->pool->lock);
		if (posted)
			return;
	}
	herd_list_push_back(&w->gone, &c->node);
}

void herd_client_bad_header(struct herd_client *c, const void *data, size_t n)
{
	const uint8_t *p = data;
	char hex[2 * 8 + 1] = "";

	for (size_t i = 0; i < n && i < 8; i++)
		snprintf(hex + 2 * i, 3, "%02x", p[i]);
	herd_client_fail(c, "08P01", "bad packet header: '%s'", hex);
}

void herd_client_fail(struct herd_client *c, const char *sqlstate, const char *fmt, ...)
{
	struct herd_buf b = { 0 };
	va_list ap;

	if (c->state == HERD_CLIENT_CLOSED)
		return;
	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);
	va_end(ap);
	if (c->internal) {
		struct herd_internal in = *c->internal;

		herd_pool_leave(c->w, c);
		in.end(c, text ? text : "out of memory");
		free(text);
		return;
	}
	/* The log has it before the client does: who reads both is not surprised. */
	herd_client_closing(c, text ? text : "out of memory");
	if (herd_worker_settings(c->w)->log_pooler_errors)
		herd_client_log(c, HERD_LOG_WARNING, "pooler error: %s", text ? text : "");
	herd_login_say(c);
	herd_wr_report(&b, 'E', "FATAL", sqlstate && *sqlstate ? sqlstate : "08P01",
		       text ? text : "out of memory", NULL, NULL);
	herd_conn_send_buf(&c->conn, &b);
	herd_buf_free(&b);
	herd_client_close(c, NULL);
	free(text);
}

/* Startup and password messages: read all there is, bounded. False: closed. */
static bool read_login(struct herd_client *c)
{
	while (c->conn.can_read && c->conn.in.len < LOGIN_MAX_BYTES) {
		/* By way of the scratch: large buffers that come and go between the clients that
		 * stay would leave holes in the heap. */
		ssize_t got = herd_conn_read(&c->conn, c->w->scratch, LOGIN_READ_BYTES);

		if (got == -EAGAIN)
			break;
		if (got <= 0) {
			/* Some send a cancel request and do not wait for its end. */
			c->eof = c->state == HERD_CLIENT_STARTUP && c->conn.in.len > 0;
			/* Not a word for who only looks whether anybody is here, as monitors do. */
			if (!c->eof)
				herd_client_close(c, c->conn.in.len > 0 ? "client unexpected eof"
									: NULL);
			return c->eof;
		}
		herd_buf_add(&c->conn.in, c->w->scratch, (size_t)got);
		herd_str_wipe(c->w->scratch, (size_t)got); /* it may be a password */
		if (!herd_buf_ok(&c->conn.in)) {
			herd_client_close(c, "out of memory");
			return false;
		}
	}
	return true;
}

static void password_messages(struct herd_client *c)
{
	struct herd_msg_head h;

	while (c->state == HERD_CLIENT_AUTH) {
		int rc = herd_msg_head_parse(herd_buf_str(&c->conn.in), c->conn.in.len, &h);

		if (rc == -EAGAIN)
			return;
		if (rc < 0 || h.type != 'p' || h.len > LOGIN_MAX_BYTES / 2) {
			herd_client_fail(c, "08P01",
					 "expected password response, got other packet");
			return;
		}
		size_t total = HERD_MSG_HEAD_BYTES + (size_t)h.len;

		if (c->conn.in.len < total)
			return;
		struct herd_buf msg = { 0 };

		herd_buf_add(&msg, c->conn.in.data, total);
		herd_str_wipe(c->conn.in.data, total);
		herd_buf_consume(&c->conn.in, total);
		if (herd_buf_ok(&msg))
			herd_login_message(c, msg.data + HERD_MSG_HEAD_BYTES, h.len);
		else
			herd_client_fail(c, "53200", "out of memory");
		if (msg.data)
			herd_str_wipe(msg.data, msg.cap);
		herd_buf_free(&msg);
	}
}

static void tls_handshake(struct herd_client *c)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_conn_handshake(&c->conn, &err);

	if (rc == 1 && c->direct_tls && !herd_tls_speaks_postgresql(c->conn.tls)) {
		herd_client_fail(c, "08P01",
				 "received direct SSL connection request without ALPN protocol "
				 "negotiation extension");
	} else if (rc == 1 && c->conn.raw_in) {
		/* Nobody has anything to say behind a hello before it was answered. */
		herd_client_close(c, "received data behind the TLS handshake");
	} else if (rc == 1) {
		c->state = HERD_CLIENT_STARTUP;
		c->conn.can_read = true;
	} else if (rc < 0) {
		/* The line that those know who look for it in PgBouncer's log. */
		herd_client_log(c, HERD_LOG_WARNING, "TLS handshake error: %s",
				herd_err_text(&err));
		herd_client_close(c, herd_err_text(&err));
	}
	herd_err_clear(&err);
}

void herd_client_run(struct herd_worker *w, struct herd_client *c)
{
	enum herd_client_state before;

	if (c->state == HERD_CLIENT_TLS)
		tls_handshake(c);
	do {
		before = c->state;
		switch (c->state) {
		case HERD_CLIENT_STARTUP:
			if (read_login(c) && !herd_login_direct_tls(c))
				herd_login_startup(c);
			if (c->eof && c->state == HERD_CLIENT_STARTUP)
				herd_client_close(c, "client unexpected eof");
			break;
		case HERD_CLIENT_AUTH:
			if (read_login(c))
				password_messages(c);
			break;
		case HERD_CLIENT_ADMIN:
			herd_admin_run(c);
			return;
		case HERD_CLIENT_IDLE:
		case HERD_CLIENT_ACTIVE:
			if (c->internal) {
				if (c->state == HERD_CLIENT_IDLE && !c->queued &&
				    herd_pool_checkout(w, c))
					herd_relay_linked(c);
				if (c->server && c->server->conn.can_read)
					herd_relay_from_server(w, c->server);
				return;
			}
			if (herd_leaving(w->px) && herd_leave_client(w, c))
				return;
			if (c->server && c->server->conn.can_read)
				herd_relay_from_server(w, c->server);
			if (c->state == HERD_CLIENT_IDLE || c->state == HERD_CLIENT_ACTIVE)
				herd_relay_from_client(c);
			if (c->state == HERD_CLIENT_IDLE)
				herd_conn_trim(&c->conn);
			return;
		default:
			return;
		}
	} while (c->state != before && c->state != HERD_CLIENT_CLOSED);
}

void herd_client_event(struct herd_worker *w, struct herd_client *c)
{
	if (c->state == HERD_CLIENT_CLOSED)
		return;
	if (c->conn.can_write && herd_conn_blocked(&c->conn))
		herd_conn_flush(&c->conn);
	if (c->conn.broken || (c->conn.hung_up && (c->state == HERD_CLIENT_WAITING ||
						   c->state == HERD_CLIENT_WELCOME ||
						   c->state == HERD_CLIENT_LOOKUP))) {
		herd_client_close(c, "client unexpected eof");
		return;
	}
	herd_client_run(w, c);
}

static int64_t limit(int64_t user, int64_t fallback)
{
	return user >= 0 ? user : fallback;
}

static void check_waiting(struct herd_client *c, const struct herd_user *u)
{
	struct herd_worker *w = c->w;
	const struct herd_settings *set = herd_worker_settings(w);
	const struct herd_database *conf = c->db ? herd_db_conf(w->live, c->db) : NULL;
	int64_t timeout =
		limit(u ? u->query_wait_timeout : -1,
		      conf ? limit(conf->query_wait_timeout, set->query_wait_timeout) : 0);

	if (!conf) {
		herd_client_fail(c, "3D000", "no such database: %s", c->dbname);
		return;
	}
	if (c->split)
		herd_split_check_wait(c);
	if (c->state != HERD_CLIENT_WAITING && c->state != HERD_CLIENT_WELCOME)
		return;
	bool held = atomic_load(&c->pool->troubled);
	struct herd_wait_obs o = { .waited_ms = (w->now_us - c->wait_us) / 1000,
				   .query_wait_timeout_ms = timeout / 1000,
				   .hold_timeout_ms = set->hold_timeout / 1000,
				   .held = held };

	if (held != c->held_count) {
		atomic_fetch_add(&w->px->nheld, held ? 1 : -1);
		c->held_count = held;
	}
	int64_t query = limit(u ? u->query_timeout : -1, set->query_timeout);

	if (!held && c->state == HERD_CLIENT_WELCOME && set->client_login_timeout > 0 &&
	    w->now_us - c->connect_us > set->client_login_timeout) {
		herd_client_fail(c, "08P01", "client_login_timeout (server down)");
		return;
	}
	if (!held && !c->internal && query > 0 && w->now_us - c->wait_us > query) {
		herd_client_fail(c, "08P01", "query_timeout");
		return;
	}
	switch (herd_wait_decide(&o)) {
	case HERD_WAIT_TIMEOUT:
		herd_client_fail(c, "08P01", "query_wait_timeout");
		return;
	case HERD_WAIT_HOLD_TIMEOUT:
		herd_client_fail(c, "57P03", "no usable server for database \"%s\" within %lld s",
				 c->dbname, (long long)(set->hold_timeout / 1000000));
		return;
	case HERD_WAIT_ON:
		break;
	}
	if (!c->notified && !c->internal && c->state == HERD_CLIENT_WAITING &&
	    set->query_wait_notify > 0 && w->now_us - c->wait_us > set->query_wait_notify) {
		struct herd_buf b = { 0 };

		c->notified = true;
		herd_wr_report(&b, 'N', "NOTICE", "00000",
			       "No server connection available in postgres backend, client being "
			       "queued",
			       NULL, NULL);
		herd_conn_send_buf(&c->conn, &b);
		herd_buf_free(&b);
	}
}

static void check_active(struct herd_client *c, const struct herd_user *u)
{
	const struct herd_settings *set = herd_worker_settings(c->w);
	int64_t now = c->w->now_us;
	int64_t query = limit(u ? u->query_timeout : -1, set->query_timeout);
	int64_t idle = limit(u ? u->idle_transaction_timeout : -1, set->idle_transaction_timeout);
	int64_t xact = limit(u ? u->transaction_timeout : -1, set->transaction_timeout);

	if (query > 0 && c->in_query && now - c->query_us > query)
		c->cut_why = "query timeout";
	else if (xact > 0 && c->in_xact && now - c->xact_us > xact)
		c->cut_why = "transaction timeout";
	else if (idle > 0 && c->server->ready && c->server->tx != 'I' &&
		 now - c->server->request_us > idle)
		c->cut_why = "idle transaction timeout";
	if (c->cut_why)
		herd_client_fail(c, "08P01", "%s", c->cut_why);
	else if (set->pin_timeout > 0 && herd_session_pinned(c) && c->server->ready &&
		 c->server->tx == 'I' && now - c->server->request_us > set->pin_timeout)
		herd_client_fail(c, "08P01", "pin_timeout");
}

static void check(struct herd_client *c)
{
	const struct herd_settings *set = herd_worker_settings(c->w);
	const struct herd_user *u = c->user ? herd_pconf_user(c->w->live->config, c->user) : NULL;
	int64_t now = c->w->now_us;

	if (c->held_count && c->state != HERD_CLIENT_WAITING && c->state != HERD_CLIENT_WELCOME) {
		atomic_fetch_sub(&c->w->px->nheld, 1);
		c->held_count = false;
	}
	switch (c->state) {
	case HERD_CLIENT_STARTUP:
	case HERD_CLIENT_TLS:
	case HERD_CLIENT_AUTH:
	case HERD_CLIENT_LOOKUP:
		if (set->client_login_timeout > 0 &&
		    now - c->connect_us > set->client_login_timeout)
			herd_client_fail(c, "08P01", "client_login_timeout");
		break;
	case HERD_CLIENT_WAITING:
	case HERD_CLIENT_WELCOME:
		if (atomic_load(&c->w->px->stop) == HERD_STOP_SERVERS && !c->internal)
			herd_client_fail(c, "57P01", "server shutting down");
		else
			check_waiting(c, u);
		break;
	case HERD_CLIENT_ACTIVE:
		if (c->server && !c->internal)
			check_active(c, u);
		break;
	case HERD_CLIENT_IDLE: {
		if (c->kept)
			herd_hub_flush(c);
		if (c->state == HERD_CLIENT_CLOSED)
			break;
		if (c->split)
			herd_split_settle(c);
		int64_t idle = limit(u ? u->client_idle_timeout : -1, set->client_idle_timeout);
		int64_t since = c->query_us > c->connect_us ? c->query_us : c->connect_us;

		if (idle > 0 && !c->internal && now - since > idle)
			herd_client_fail(c, "08P01", "client_idle_timeout");
		else if (atomic_load(&c->w->px->stop) == HERD_STOP_SERVERS && !c->internal)
			herd_client_fail(c, "57P01", "server shutting down");
		break;
	}
	case HERD_CLIENT_ADMIN:
		herd_admin_check(c);
		break;
	case HERD_CLIENT_CANCEL: /* see herd_cancel_janitor */
	case HERD_CLIENT_CLOSED:
		break;
	}
}

void herd_client_janitor(struct herd_worker *w)
{
	if (w->rest_until_us && w->now_us >= w->rest_until_us) {
		w->rest_until_us = 0;
		if (!w->suspended && atomic_load(&w->px->stop) == HERD_STOP_NO &&
		    !atomic_load(&w->px->leaving))
			herd_doors_watch(w, true);
	}
	herd_list_for_each_safe(it, &w->clients)
		check(herd_container_of(it, struct herd_client, node));
}
