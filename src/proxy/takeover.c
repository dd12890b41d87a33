/* The new process's side of an online restart. */
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/bouncer.h"
#include "proxy/handover.h"
#include "proxy/pools_internal.h"
#include "wire/msg.h"
#include "wire/startup.h"

enum { PATIENCE_S = 10, STMT_GAP = 1 << 20, MAX_ANSWER_BYTES = 1 << 16 };

struct herd_elder {
	struct herd_px *px;
	int sock, pid;
	bool reading; /* the thread was started */
	pthread_t thread;
	pthread_mutex_t lock; /* of sending, and gone */
	bool gone;
	struct herd_bouncer *bouncer; /* it is a PgBouncer; NULL: one of ours */
};

/* A connection to the socket of that name; -ENOENT: nobody is there. */
static int connect_socket(const char *dir, const char *name, struct herd_err *err)
{
	bool abstract = *dir == '@';
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char *path = herd_str_printf("%s/%s", abstract ? dir + 1 : dir, name);
	size_t n = path ? strlen(path) : 0;

	if (!path || n + 1 >= sizeof(un.sun_path)) {
		free(path);
		return herd_err_set(err, -ENAMETOOLONG, "unix socket path is too long");
	}
	memcpy(un.sun_path + abstract, path, n);
	free(path);
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return herd_err_set(err, -errno, "could not create a socket: %s", strerror(errno));
	if (connect(sock, (struct sockaddr *)&un,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1)) < 0) {
		int code = -errno;

		close(sock);
		return code == -ECONNREFUSED || code == -ENOENT
			       ? -ENOENT
			       : herd_err_set(err, code, "could not connect to \"%s\": %s", dir,
					      strerror(-code));
	}
	return sock;
}

static pid_t pid_of_file(const char *path)
{
	FILE *f = *path ? fopen(path, "re") : NULL;
	int pid = 0;

	if (f && fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	return pid;
}

/* The process of the pidfile, whatever port its socket is called by: listen_port was changed. */
static int connect_by_pid(const struct herd_settings *s)
{
	struct herd_err ignored = HERD_ERR_INIT;
	pid_t pid = pid_of_file(s->pidfile);
	DIR *dir = pid > 0 && *s->unix_socket_dir == '/' ? opendir(s->unix_socket_dir) : NULL;
	struct dirent *e;
	int sock = -ENOENT;

	while (dir && sock < 0 && (e = readdir(dir))) {
		struct ucred who = { 0 };
		socklen_t len = sizeof(who);

		if (!herd_str_starts(e->d_name, ".s.PGSQL.") || strstr(e->d_name, ".lock"))
			continue;
		sock = connect_socket(s->unix_socket_dir, e->d_name, &ignored);
		if (sock >= 0 &&
		    (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || who.pid != pid)) {
			close(sock);
			sock = -ENOENT;
		}
	}
	if (dir)
		closedir(dir);
	herd_err_clear(&ignored);
	return sock < 0 ? -ENOENT : sock;
}

static int connect_to(const struct herd_settings *s, struct herd_err *err)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	char name[32]; /* .s.PGSQL.65535 */

	if (!*s->unix_socket_dir)
		return herd_err_set(err, -EINVAL, "cannot reboot if unix dir not configured");
	snprintf(name, sizeof(name), ".s.PGSQL.%d", s->listen_port);
	int sock = connect_socket(s->unix_socket_dir, name, err);

	if (sock == -ENOENT)
		sock = connect_by_pid(s);
	if (sock >= 0)
		setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return sock;
}

/*
 * A PgBouncer's process. What the socket tells may be one before it, that listened first; a pidfile
 * is its own.
 */
static int pid_of_bouncer(const struct herd_settings *s, int sock)
{
	struct ucred who = { 0 };
	socklen_t len = sizeof(who);
	pid_t pid = pid_of_file(s->pidfile);

	if (pid > 0)
		return pid;
	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 ? 0 : (int)who.pid;
}

static int read_all(int sock, char *to, size_t n)
{
	while (n > 0) {
		ssize_t got = recv(sock, to, n, 0);

		if (got <= 0)
			return got == 0 ? -EPIPE : -errno;
		to += got;
		n -= (size_t)got;
	}
	return 0;
}

/* Reads messages up to one of that type; an error of the other side is ours. */
static int read_until(int sock, char type, struct herd_err *err)
{
	struct herd_buf b = { 0 };
	struct herd_report e;
	struct herd_msg_head h = { 0, 0 };
	int rc;

	do {
		char head[HERD_MSG_HEAD_BYTES];

		herd_buf_reset(&b);
		rc = read_all(sock, head, sizeof(head));
		if (rc == 0)
			rc = herd_msg_head_parse(head, sizeof(head), &h);
		if (rc == 0 && (h.len > MAX_ANSWER_BYTES || !herd_buf_reserve(&b, h.len)))
			rc = -EBADMSG;
		if (rc == 0)
			rc = read_all(sock, b.data, h.len);
		if (rc < 0)
			herd_err_set(err, rc, "the running process does not answer: %s",
				     strerror(-rc));
		else if (h.type == 'E' && herd_report_parse(b.data, h.len, &e) == 0)
			rc = herd_err_set(err, -EPERM, "the running process refuses: %s", e.msg);
	} while (rc == 0 && h.type != type);
	herd_buf_free(&b);
	return rc;
}

static int say(int sock, const struct herd_buf *b, struct herd_err *err)
{
	if (send(sock, herd_buf_str(b), b->len, MSG_NOSIGNAL) < 0)
		return herd_err_set(err, -errno, "could not talk to the running process: %s",
				    strerror(errno));
	return 0;
}

/* The console of the running process. */
static int log_in(int sock, struct herd_err *err)
{
	static const char *const pairs[] = { "user",      "pgbouncer",        "database",
					     "pgbouncer", "application_name", "takeover",
					     NULL };
	struct herd_buf b = { 0 };

	herd_wr_startup(&b, pairs);
	int rc = say(sock, &b, err);

	herd_buf_free(&b);
	return rc == 0 ? read_until(sock, 'Z', err) : rc;
}

/* Then its own language. -ENOSYS: it is a PgBouncer, which knows another one. */
static int ask(int sock, struct herd_record **ret, struct herd_err *err)
{
	struct herd_buf b = { 0 };

	herd_wr_query(&b, "TAKEOVER");
	int rc = say(sock, &b, err);

	herd_buf_free(&b);
	if (rc == 0)
		rc = read_until(sock, 'C', err);
	if (rc == -EPERM && strstr(herd_err_text(err), "invalid command")) {
		herd_err_clear(err);
		rc = read_until(sock, 'Z', err);
		return rc < 0 ? rc : -ENOSYS;
	}
	if (rc == 0 && (rc = herd_record_recv(sock, ret)) < 0)
		herd_err_set(err, rc, "the running process does not hand over: %s", strerror(-rc));
	return rc;
}

static void take_hello(struct herd_px *px, struct herd_record *r, struct herd_doors_given *doors)
{
	struct herd_field f;
	size_t pos = 0;

	if (herd_record_find(r, "cancel_secret", &f) && f.n == sizeof(px->cancel_secret))
		memcpy(px->cancel_secret, f.data, f.n);
	atomic_store(&px->paused_all, herd_record_get(r, "paused", 0) != 0);
	/* The elder goes on naming statements for a while; its names and ours must not meet. */
	herd_stmts_reserve(px->stmts, (uint64_t)herd_record_get(r, "last_stmt", 0) + STMT_GAP);
	while (herd_record_next(r, &pos, &f)) {
		struct herd_rd rd = herd_rd_init(f.data, f.n);

		if (strcmp(f.name, "door") != 0 || doors->n == r->nfds)
			continue;
		const char *name = herd_rd_str(&rd), *listener = herd_rd_str(&rd);

		doors->door[doors->n].fd = r->fds[doors->n];
		r->fds[doors->n] = -1;
		doors->door[doors->n].name = herd_str_dup(name);
		doors->door[doors->n].listener = *listener ? herd_str_dup(listener) : NULL;
		doors->n++;
	}
}

int herd_takeover_begin(struct herd_px *px, const struct herd_pconf *config,
			struct herd_doors_given *doors, struct herd_err *err)
{
	struct timeval forever = { 0, 0 };
	struct herd_record *r = NULL;
	int sock = connect_to(&config->s, err);

	if (sock < 0)
		return sock;
	struct herd_bouncer *bouncer = NULL;
	int rc = log_in(sock, err);

	if (rc == 0)
		rc = ask(sock, &r, err);
	if (rc == -ENOSYS)
		rc = herd_bouncer_take(sock, &config->s, &bouncer, doors, err);
	else if (rc == 0 && r->type != HERD_RECORD_HELLO)
		rc = herd_err_set(err, -EBADMSG, "the running process speaks another language");
	struct herd_elder *e = rc == 0 ? calloc(1, sizeof(*e)) : NULL;

	if (rc == 0 && !e)
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	if (rc < 0) {
		herd_bouncer_free(bouncer);
		herd_record_free(r);
		close(sock);
		return rc;
	}
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
	e->px = px;
	e->sock = sock;
	e->bouncer = bouncer;
	e->pid = bouncer ? pid_of_bouncer(&config->s, sock) : (int)herd_record_get(r, "pid", 0);
	pthread_mutex_init(&e->lock, NULL);
	px->elder = e;
	atomic_store(&px->doors_away, true);
	if (r)
		take_hello(px, r, doors);
	herd_record_free(r);
	return 0;
}

/* --- what comes ------------------------------------------------------------------------------- */

static struct herd_pool *pool_of(struct herd_px *px, const struct herd_record *r)
{
	const char *name = herd_record_str(r, "db"), *user = herd_record_str(r, "user");
	struct herd_db *db = name ? herd_db_get(px, name, herd_record_str(r, "listener")) : NULL;
	struct herd_pool *p = db && user ? herd_pool_get(px, db, user) : NULL;

	return p && herd_record_get(r, "reads", 0) ? herd_pool_reads(p) : p;
}

static void take_pool(struct herd_px *px, const struct herd_record *r)
{
	struct herd_pool *p = pool_of(px, r);
	const char *password = herd_record_str(r, "password");
	struct herd_field f;

	if (!p)
		return;
	if (password)
		herd_pool_remember_password(p, password);
	if (herd_record_find(r, "keys", &f) && f.n == sizeof(struct herd_scram_keys)) {
		struct herd_scram_keys keys;

		memcpy(&keys, f.data, sizeof(keys));
		herd_pool_remember_keys(p, &keys);
		herd_str_wipe(&keys, sizeof(keys));
	}
	if (herd_record_get(r, "paused", 0))
		atomic_store(&p->db->paused, true);
	if (herd_record_get(r, "disabled", 0))
		atomic_store(&p->db->disabled, true);
	atomic_store(&p->elsewhere, (int)herd_record_get(r, "servers", 0));
}

static void take_gone(struct herd_px *px, const struct herd_record *r)
{
	struct herd_pool *p = pool_of(px, r);

	/* The elder may have opened some that it had not counted. */
	if (p && atomic_load(&p->elsewhere) > 0)
		atomic_fetch_sub(&p->elsewhere, 1);
}

static void nothing_elsewhere(struct herd_pool *p, void *arg)
{
	(void)arg;
	atomic_store(&p->elsewhere, 0);
}

static void *receive(void *arg)
{
	struct herd_elder *e = arg;
	struct herd_record *r = NULL;
	bool end = false, open = false;

	while (!end && herd_record_recv(e->sock, &r) == 0) {
		switch (r->type) {
		case HERD_RECORD_POOL:
			take_pool(e->px, r);
			break;
		case HERD_RECORD_GONE:
			take_gone(e->px, r);
			break;
		case HERD_RECORD_FRESH:
		case HERD_RECORD_CLIENT:
		case HERD_RECORD_SERVER:
			herd_parcel_open(e->px, r);
			r = NULL;
			break;
		case HERD_RECORD_BEGIN:
			/* Not before: pools would be filled twice. */
			open = true;
			herd_doors_return(e->px);
			break;
		case HERD_RECORD_END:
			end = true;
			break;
		default:
			break;
		}
		herd_record_free(r);
		r = NULL;
	}
	pthread_mutex_lock(&e->lock);
	e->gone = true;
	pthread_mutex_unlock(&e->lock);
	herd_pools_each(e->px, nothing_elsewhere, NULL);
	if (!open)
		herd_doors_return(e->px);
	if (!atomic_load(&e->px->quit))
		herd_info(e->px->log, "process %d %s", e->pid,
			  end ? "has handed everything over" : "has gone");
	return NULL;
}

/* The same, of a PgBouncer. */
static void *finish_bouncer(void *arg)
{
	struct herd_elder *e = arg;

	herd_bouncer_finish(e->bouncer, e->px, e->sock, e->pid, take_pool);
	pthread_mutex_lock(&e->lock);
	e->gone = true;
	pthread_mutex_unlock(&e->lock);
	herd_doors_return(e->px);
	return NULL;
}

void herd_takeover_ready(struct herd_px *px)
{
	struct herd_elder *e = px->elder;

	if (e && e->bouncer) {
		herd_doors_own(px);
		herd_info(px->log, "taking over from process %d, a PgBouncer", e->pid);
		e->reading = pthread_create(&e->thread, NULL, finish_bouncer, e) == 0;
		return;
	}
	struct herd_record *r = e ? herd_record_new(HERD_RECORD_READY) : NULL;

	if (!r)
		return;
	herd_record_number(r, "pid", getpid());
	herd_doors_own(px);
	if (herd_record_send(e->sock, r) == 0)
		e->reading = pthread_create(&e->thread, NULL, receive, e) == 0;
	herd_record_free(r);
	herd_info(px->log, "taking over from process %d", e->pid);
}

bool herd_takeover_cancel(struct herd_px *px, const void *key, size_t n)
{
	struct herd_elder *e = px->elder;
	struct herd_record *r = e ? herd_record_new(HERD_RECORD_CANCEL) : NULL;
	bool sent = false;

	if (!r)
		return false;
	herd_record_add(r, "key", key, n);
	pthread_mutex_lock(&e->lock);
	/* The elder reads all the time: a few bytes do not have to wait. */
	if (!e->gone && !e->bouncer)
		sent = herd_record_send(e->sock, r) == 0;
	pthread_mutex_unlock(&e->lock);
	herd_record_free(r);
	return sent;
}

void herd_takeover_stop(struct herd_px *px)
{
	struct herd_elder *e = px->elder;
	struct herd_record end = { .type = HERD_RECORD_END };

	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	if (!e->gone && e->reading && !e->bouncer)
		herd_record_send(e->sock, &end);
	pthread_mutex_unlock(&e->lock);
	shutdown(e->sock, SHUT_RDWR);
	if (e->reading)
		pthread_join(e->thread, NULL);
	e->reading = false;
}

void herd_takeover_free(struct herd_px *px)
{
	struct herd_elder *e = px->elder;

	if (!e)
		return;
	herd_bouncer_free(e->bouncer);
	close(e->sock);
	pthread_mutex_destroy(&e->lock);
	free(e);
	px->elder = NULL;
}

bool herd_takeover_pending(const struct herd_px *px)
{
	struct herd_elder *e = px->elder;

	if (!e)
		return false;
	pthread_mutex_lock(&e->lock);
	bool pending = !e->gone;

	pthread_mutex_unlock(&e->lock);
	return pending;
}

int herd_takeover_pid(const struct herd_px *px)
{
	return px->elder ? px->elder->pid : 0;
}
