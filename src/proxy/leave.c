/* The elder's side of an online restart: a thread of its own sends, workers give it what is at
 * rest. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/admin.h"
#include "proxy/cancel.h"
#include "proxy/handover.h"
#include "proxy/pools_internal.h"
#include "proxy/session.h"
#include "proxy/split.h"
#include "proxy/systemd.h"
#include "wire/msg.h"

enum { EMPTY_TICKS = 3 };

struct herd_leave {
	struct herd_px *px;
	int sock, wake;
	pthread_t thread;
	pthread_mutex_t lock; /* the next three */
	struct herd_list queue;
	bool broken; /* the other side has gone */
	bool stop;
	_Atomic bool dead; /* the thread has ended */
	int empty;         /* ticks since the last client left; main thread */
};

static void poke(struct herd_leave *l)
{
	uint64_t one = 1;

	if (write(l->wake, &one, sizeof(one)) < 0)
		return; /* it is readable already */
}

/* Gives a record to the thread; what nobody takes any more comes back to life here. */
static void push(struct herd_px *px, struct herd_record *r)
{
	struct herd_leave *l = atomic_load(&px->leave);

	if (!r)
		return;
	if (!l) {
		herd_parcel_open(px, r);
		return;
	}
	pthread_mutex_lock(&l->lock);
	bool broken = l->broken;

	if (!broken)
		herd_list_push_back(&l->queue, &r->node);
	pthread_mutex_unlock(&l->lock);
	if (broken)
		herd_parcel_open(px, r);
	else
		poke(l);
}

/* --- the thread ------------------------------------------------------------------------------- */

static struct herd_record *hello(struct herd_px *px)
{
	struct herd_record *r = herd_record_new(HERD_RECORD_HELLO);

	if (!r)
		return NULL;
	herd_record_number(r, "pid", getpid());
	herd_record_add(r, "cancel_secret", px->cancel_secret, sizeof(px->cancel_secret));
	herd_record_number(r, "paused", atomic_load(&px->paused_all));
	pthread_mutex_lock(&px->stmts_lock);
	herd_record_number(r, "last_stmt", (int64_t)herd_stmts_last_id(px->stmts));
	pthread_mutex_unlock(&px->stmts_lock);
	for (int i = 0; i < px->ndoors; i++) {
		struct herd_buf b = { 0 };
		int fd = fcntl(px->doors[i].conn.fd, F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			continue;
		herd_wr_str(&b, px->doors[i].name);
		herd_wr_str(&b, px->doors[i].listener ? px->doors[i].listener : "");
		herd_record_add(r, "door", herd_buf_str(&b), b.len);
		herd_record_fd(r, fd);
		herd_buf_free(&b);
	}
	return r;
}

static void name_pool(struct herd_record *r, const struct herd_pool *p)
{
	herd_record_text(r, "db", p->db->name);
	herd_record_text(r, "listener", p->db->listener);
	herd_record_text(r, "user", p->user);
	herd_record_number(r, "reads", p->home != NULL);
}

static void push_pool(struct herd_pool *p, void *arg)
{
	struct herd_record *r = herd_record_new(HERD_RECORD_POOL);

	if (!r)
		return;
	name_pool(r, p);
	pthread_mutex_lock(&p->lock);
	herd_record_number(r, "servers", p->nidle + p->nactive + p->nopening + p->nclosing);
	herd_record_text(r, "password", p->password);
	if (p->have_keys)
		herd_record_add(r, "keys", &p->keys, sizeof(p->keys));
	pthread_mutex_unlock(&p->lock);
	herd_record_number(r, "paused", atomic_load(&p->db->paused));
	herd_record_number(r, "disabled", atomic_load(&p->db->disabled));
	push(arg, r);
}

/* A request for a client that has not moved yet. */
struct passed_cancel {
	struct herd_note note;
	uint8_t key[260];
	size_t n;
};

static void cancel_note(struct herd_worker *w, struct herd_note *n)
{
	struct passed_cancel *pc = herd_container_of(n, struct passed_cancel, note);
	struct herd_startup s = { .kind = HERD_STARTUP_CANCEL };

	for (int i = 0; i < 4; i++)
		s.cancel_pid = s.cancel_pid << 8 | pc->key[i];
	s.cancel_key = pc->key + 4;
	s.cancel_key_len = (uint32_t)pc->n - 4;
	if (!atomic_load(&w->px->quit))
		herd_cancel_inject(w, &s);
	free(pc);
}

static void take_cancel(struct herd_px *px, const struct herd_record *r)
{
	struct passed_cancel *pc = calloc(1, sizeof(*pc));
	struct herd_field f;

	if (!pc || !herd_record_find(r, "key", &f) || f.n < HERD_KEY_BYTES ||
	    f.n > sizeof(pc->key)) {
		free(pc);
		return;
	}
	memcpy(pc->key, f.data, f.n);
	pc->n = f.n;
	pc->note.fn = cancel_note;
	herd_worker_post(&px->workers[0], &pc->note);
}

/* The greeting, and the word that the other side is ready. Its process id or a negative errno. */
static int shake_hands(struct herd_leave *l)
{
	struct herd_record *r = hello(l->px), *answer = NULL;
	struct herd_buf b = { 0 };
	int rc = r ? 0 : -ENOMEM;

	herd_wr_complete(&b, "TAKEOVER");
	if (rc == 0 && send(l->sock, herd_buf_str(&b), b.len, MSG_NOSIGNAL) != (ssize_t)b.len)
		rc = -EPIPE;
	herd_buf_free(&b);
	if (rc == 0)
		rc = herd_record_send(l->sock, r);
	herd_record_free(r);
	if (rc == 0)
		rc = herd_record_recv(l->sock, &answer);
	if (rc == 0)
		rc = answer->type == HERD_RECORD_READY ? (int)herd_record_get(answer, "pid", 0)
						       : -EBADMSG;
	herd_record_free(answer);
	return rc;
}

/* Sends what is there. 0, 1 at the end, or a negative errno (the record is in the queue again). */
static int send_queue(struct herd_leave *l)
{
	for (;;) {
		pthread_mutex_lock(&l->lock);
		struct herd_list *n = herd_list_empty(&l->queue) ? NULL : l->queue.next;
		bool stop = l->stop;

		if (n)
			herd_list_remove(n);
		pthread_mutex_unlock(&l->lock);
		if (!n)
			return stop;
		struct herd_record *r = herd_container_of(n, struct herd_record, node);
		int rc = herd_record_send(l->sock, r);

		if (rc < 0) {
			pthread_mutex_lock(&l->lock);
			herd_list_push_front(&l->queue, &r->node);
			pthread_mutex_unlock(&l->lock);
			return rc;
		}
		herd_record_free(r);
	}
}

static int exchange(struct herd_leave *l)
{
	struct pollfd p[2] = { { .fd = l->sock, .events = POLLIN },
			       { .fd = l->wake, .events = POLLIN } };
	struct herd_record *r = NULL;
	uint64_t n;

	for (;;) {
		int rc = send_queue(l);

		if (rc != 0)
			return rc;
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents && read(l->wake, &n, sizeof(n)) < 0 && errno != EAGAIN)
			return -errno;
		if (!p[0].revents)
			continue;
		rc = herd_record_recv(l->sock, &r);
		if (rc < 0)
			return rc;
		bool over = r->type == HERD_RECORD_END;

		if (r->type == HERD_RECORD_CANCEL && !atomic_load(&l->px->quit))
			take_cancel(l->px, r);
		herd_record_free(r);
		if (over)
			return -ESHUTDOWN;
	}
}

static void nothing_elsewhere(struct herd_pool *p, void *arg)
{
	(void)arg;
	atomic_store(&p->elsewhere, 0);
}

/* The other side has gone before it had everything: what is here goes on here. */
static void come_back(struct herd_leave *l, bool doors)
{
	struct herd_list rest;

	herd_list_init(&rest);
	atomic_store(&l->px->leaving, false);
	pthread_mutex_lock(&l->lock);
	l->broken = true;
	while (!herd_list_empty(&l->queue)) {
		struct herd_list *n = l->queue.next;

		herd_list_remove(n);
		herd_list_push_back(&rest, n);
	}
	pthread_mutex_unlock(&l->lock);
	while (!herd_list_empty(&rest)) {
		struct herd_list *n = rest.next;

		herd_list_remove(n);
		herd_parcel_open(l->px, herd_container_of(n, struct herd_record, node));
	}
	herd_pools_each(l->px, nothing_elsewhere, NULL);
	if (doors)
		herd_doors_return(l->px);
}

static void *give(void *arg)
{
	struct herd_leave *l = arg;
	struct herd_px *px = l->px;
	int pid = shake_hands(l);

	if (pid <= 0) {
		herd_warning(px->log, "the process that wanted to take over is gone: %s",
			     strerror(-pid));
		atomic_store(&l->dead, true);
		return NULL;
	}
	herd_info(px->log, "process %d takes over, handing connections to it", pid);
	char *text = herd_str_printf("MAINPID=%d", pid);

	if (text)
		herd_systemd_notify(text);
	free(text);
	herd_doors_leave(px);
	herd_pools_each(px, push_pool, px);
	push(px, herd_record_new(HERD_RECORD_BEGIN));
	atomic_store(&px->leaving, true);
	for (int i = 0; i < px->nworkers; i++)
		herd_worker_poke(&px->workers[i]);
	int rc = exchange(l);

	if (rc > 0) {
		struct herd_record end = { .type = HERD_RECORD_END };

		rc = herd_record_send(l->sock, &end);
	}
	if (rc < 0 && !atomic_load(&px->quit)) {
		herd_error(px->log, "the process that took over has gone (%s): going on without it",
			   strerror(-rc));
		come_back(l, rc != -ESHUTDOWN);
		/* It was told to end, and so are we: its listening sockets were ours. */
		if (rc == -ESHUTDOWN)
			herd_proxy_stop(px, HERD_STOP_CLIENTS);
	}
	atomic_store(&l->dead, true);
	return NULL;
}

/* --- on the workers --------------------------------------------------------------------------- */

static void set_blocking(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, on ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

int herd_leave_begin(struct herd_client *c, struct herd_err *err)
{
	struct herd_px *px = c->w->px;
	struct herd_leave *l;

	if (c->addr.family != AF_UNIX || c->peer_uid != getuid())
		return herd_err_set(err, -EPERM,
				    "only a process of the same user may take over, by the unix "
				    "socket");
	if (atomic_load(&px->stop) != HERD_STOP_NO)
		return herd_err_set(err, -ESHUTDOWN, "pooler is shutting down");
	if (atomic_load(&px->suspended))
		return herd_err_set(err, -EBUSY, "pooler is suspended");
	if (atomic_load(&px->leave))
		return herd_err_set(err, -EBUSY, "another process is taking over");
	l = calloc(1, sizeof(*l));
	if (!l)
		return herd_err_set(err, -ENOMEM, "out of memory");
	l->px = px;
	herd_list_init(&l->queue);
	pthread_mutex_init(&l->lock, NULL);
	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* From here on the socket is the thread's, which may wait. */
	l->sock = c->conn.fd;
	set_blocking(l->sock, true);
	struct herd_leave *none = NULL;
	bool first = l->wake >= 0 && atomic_compare_exchange_strong(&px->leave, &none, l);

	if (!first || pthread_create(&l->thread, NULL, give, l) != 0) {
		if (first)
			atomic_store(&px->leave, NULL);
		set_blocking(l->sock, false);
		pthread_mutex_destroy(&l->lock);
		close(l->wake);
		free(l);
		return herd_err_set(err, -EBUSY, "another process is taking over");
	}
	herd_worker_unwatch(c->w, &c->conn);
	c->conn.fd = -1;
	herd_client_close(c, NULL);
	return 0;
}

static bool server_at_rest(struct herd_server *s)
{
	herd_conn_settle(&s->conn);
	return !s->conn.tls && s->conn.fd >= 0 && s->login_done && s->ready && !s->conn.broken &&
	       !s->conn.hung_up && s->pass_left == 0 && s->conn.in.len == 0 &&
	       !herd_conn_blocked(&s->conn) && herd_flight_idle(&s->flight) &&
	       atomic_load(&s->cancels) == 0 && !s->hub && !s->sets_sent && !s->probing &&
	       !s->vars_sent && s->restoring == 0;
}

/*
 * Can all that its session consists of be told? What one server alone has, what it listens to, and
 * statements that will change its session cannot: it stays.
 */
static bool session_at_rest(const struct herd_client *c)
{
	const struct herd_kept *k = c->kept;
	const struct herd_split *sp = c->split;

	if (k && (k->s.pins || k->s.nchannels > 0 || k->s.nsent > 0 || k->s.nchanges > 0 ||
		  k->hub || k->opaque || (k->texts && herd_map_size(k->texts) > 0) ||
		  (k->portals && herd_map_size(k->portals) > 0)))
		return false;
	if (!sp)
		return true;
	if (c->server || sp->asking || sp->blocked || sp->inject || sp->again || sp->skip)
		return false;
	/* Of a request that waits nothing was sent: all that is noted of it is found anew. */
	return c->state == HERD_CLIENT_WAITING ||
	       (!sp->in_batch && !sp->begin && sp->dirty == HERD_CLEAN);
}

/* May it leave as it is? A waiting client leaves its queue first. */
static bool client_at_rest(struct herd_worker *w, struct herd_client *c)
{
	herd_conn_settle(&c->conn);
	if (c->conn.tls || c->conn.fd < 0 || c->internal || c->repl || c->conn.broken ||
	    c->conn.hung_up || c->pass_left > 0 || c->copy_over || herd_conn_blocked(&c->conn) ||
	    !session_at_rest(c))
		return false;
	switch (c->state) {
	case HERD_CLIENT_STARTUP:
		return c->conn.in.len == 0 && !c->conn.can_read;
	case HERD_CLIENT_IDLE:
		return !c->server;
	case HERD_CLIENT_ACTIVE:
		return c->server && c->conn.in.len == 0 && server_at_rest(c->server) &&
		       !atomic_load(&c->server->close_needed);
	case HERD_CLIENT_WAITING:
		if (!herd_pool_leave(w, c))
			return false;
		c->state = HERD_CLIENT_IDLE;
		return true;
	case HERD_CLIENT_ADMIN:
		return c->conn.in.len == 0 && herd_admin_resting(c);
	default:
		return false;
	}
}

/* Idle servers that nobody here needs any more. */
static void leave_idle(struct herd_worker *w, struct herd_pool *p)
{
	for (;;) {
		struct herd_server *s = NULL;

		pthread_mutex_lock(&p->lock);
		bool surplus = p->nidle + p->nactive + p->nopening > p->nclients &&
			       p->nwaiting + p->nwelcoming == 0;

		for (int i = 0; surplus && !s && i < w->px->nworkers; i++) {
			if (!herd_list_empty(&p->idle[i]))
				s = herd_container_of(p->idle[i].next, struct herd_server,
						      pool_node);
		}
		if (s)
			herd_pool_take(p, s, w->id);
		pthread_mutex_unlock(&p->lock);
		if (!s)
			return;
		herd_server_adopt(w, s);
		if (server_at_rest(s))
			push(w->px, herd_parcel_server(w, s));
		else
			herd_server_drop(w, s, "another process took over");
	}
}

bool herd_leave_client(struct herd_worker *w, struct herd_client *c)
{
	struct herd_pool *p = c->pool;

	if (!client_at_rest(w, c))
		return false;
	struct herd_record *r = herd_parcel_client(w, c);

	push(w->px, r);
	if (p)
		leave_idle(w, p);
	return r != NULL;
}

bool herd_leave_server(struct herd_worker *w, struct herd_server *s)
{
	struct herd_pool *p = s->pool;

	if (!server_at_rest(s))
		return false;
	pthread_mutex_lock(&p->lock);
	bool needed = p->nidle + p->nactive + p->nopening + p->nclosing - 1 < p->nclients ||
		      p->nwaiting + p->nwelcoming > 0;
	pthread_mutex_unlock(&p->lock);
	if (needed)
		return false;
	push(w->px, herd_parcel_server(w, s));
	return true;
}

void herd_leave_lost(struct herd_server *s)
{
	/* One that was parcelled is counted where it arrives. */
	bool moves = s->login_done && s->conn.fd < 0;
	struct herd_record *r = moves ? NULL : herd_record_new(HERD_RECORD_GONE);

	if (!r)
		return;
	name_pool(r, s->pool);
	push(s->pool->px, r);
}

static void leave_pool(struct herd_pool *p, void *arg)
{
	leave_idle(arg, p);
}

void herd_leave_janitor(struct herd_worker *w)
{
	if (!herd_leaving(w->px))
		return;
	herd_list_for_each_safe(it, &w->clients)
		herd_leave_client(w, herd_container_of(it, struct herd_client, node));
	herd_pools_each(w->px, leave_pool, w);
}

/* --- on the main thread ----------------------------------------------------------------------- */

static void free_retired(void *p)
{
	struct herd_leave *l = p;

	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void free_leave(struct herd_px *px)
{
	struct herd_leave *l = atomic_load(&px->leave);

	pthread_join(l->thread, NULL);
	while (!herd_list_empty(&l->queue)) {
		struct herd_record *r = herd_container_of(l->queue.next, struct herd_record, node);

		herd_list_remove(&r->node);
		herd_record_free(r);
	}
	close(l->sock);
	close(l->wake);
	/* Workers may be about to look at it. */
	atomic_store(&px->leave, NULL);
	herd_retire(px, l, free_retired);
}

bool herd_leave_over(struct herd_px *px)
{
	struct herd_leave *l = atomic_load(&px->leave);
	int left = 0;

	if (!l)
		return false;
	if (atomic_load(&l->dead)) {
		free_leave(px);
		return false;
	}
	if (!herd_leaving(px))
		return false;
	for (int i = 0; i < px->nworkers; i++)
		left += atomic_load(&px->workers[i].nclients);
	/* Nor before the one before us, whose clients come to us first. */
	l->empty = left > 0 || herd_takeover_pending(px) ? 0 : l->empty + 1;
	return l->empty >= EMPTY_TICKS;
}

void herd_leave_end(struct herd_px *px)
{
	struct herd_leave *l = atomic_load(&px->leave);

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_mutex_unlock(&l->lock);
	/* It may be waiting for a word that never comes. */
	if (!herd_leaving(px))
		shutdown(l->sock, SHUT_RDWR);
	poke(l);
	free_leave(px);
}
