/*
 * SHOW FDS: all sockets, and to our own user's console at the unix socket their descriptors, too:
 * each goes beside the row that tells what it is for (SCM_RIGHTS). So a PgBouncer takes over
 * (-R): it says SUSPEND, SHOW FDS and SHUTDOWN.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "loop/loop.h"
#include "proxy/console.h"
#include "proxy/pools.h"
#include "proxy/repl.h"
#include "proxy/split.h"
#include "proxy/suspend.h"
#include "wire/msg.h"

enum { PATIENCE_MS = 5000 };

static const char *const fds_columns[] = {
	"fd:4",      "task",     "user",     "database",           "addr",
	"port:4",    "cancel:8", "link:4",   "client_encoding",    "std_strings",
	"datestyle", "timezone", "password", "scram_client_key:b", "scram_server_key:b",
	NULL
};

struct secrets {
	char *password;
	char client_key[2 * HERD_SCRAM_KEY_BYTES + 3], server_key[2 * HERD_SCRAM_KEY_BYTES + 3];
};

static void row_session(struct herd_row *row, const struct herd_px *px, const struct herd_vars *v,
			const struct secrets *secrets)
{
	static const char *const names[] = { "client_encoding", "standard_conforming_strings",
					     "datestyle", "timezone" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		herd_row_text(row, herd_vars_get(v, &px->vars, names[i]));
	herd_row_text(row, secrets->password);
	herd_row_text(row, *secrets->client_key ? secrets->client_key : NULL);
	herd_row_text(row, *secrets->server_key ? secrets->server_key : NULL);
}

static void hex(const uint8_t *data, char *ret)
{
	strcpy(ret, "\\x");
	for (int i = 0; i < HERD_SCRAM_KEY_BYTES; i++)
		sprintf(ret + 2 + 2 * i, "%02x", data[i]);
}

/* What the next process needs to open more servers; for nobody else. The pool is locked. */
static struct secrets secrets_of(struct herd_worker *w, const struct herd_result *r,
				 const struct herd_pool *p)
{
	const struct herd_database *conf = p ? herd_db_conf(w->live, p->db) : NULL;
	const struct herd_user *u = p ? herd_pconf_user(w->live->config, p->user) : NULL;
	struct secrets s = { 0 };

	if (!r->hands_out || !conf || conf->user)
		return s;
	if (p->password && !(u && u->password))
		s.password = herd_str_dup(p->password);
	if (p->have_keys) {
		hex(p->keys.client_key, s.client_key);
		hex(p->keys.server_key, s.server_key);
	}
	return s;
}

static void wipe(struct secrets *s)
{
	if (s->password)
		herd_str_wipe(s->password, strlen(s->password));
	free(s->password);
	herd_str_wipe(s, sizeof(*s));
}

static uint64_t number_of_key(const uint8_t *key)
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | key[i];
	return n;
}

/*
 * What another process can go on with: no TLS, nothing half read. A client of protocol 3.2 has a
 * longer key than there is room for; a server that is of use by itself must know no statement of
 * ours, whose names would meet those of the other process.
 */
static bool moves_client(const struct herd_client *c)
{
	return !c->conn.tls && (!c->server || !c->server->conn.tls) &&
	       (!c->w->suspended || (!c->long_key && !c->repl && herd_suspend_holds_client(c)));
}

static bool moves_server(struct herd_worker *w, const struct herd_server *s)
{
	if (s->conn.fd < 0 || s->conn.tls)
		return false;
	if (!w->suspended)
		return true;
	if (s->client)
		return !s->client->long_key && !s->client->conn.tls && !s->client->repl &&
		       herd_suspend_holds_server(s);
	return s->login_done && s->ready && s->tx == 'I' && !herd_held_oldest(&s->held) &&
	       !s->sets && !s->asks && !s->hub;
}

static void client_fd(struct herd_worker *w, struct herd_result *r, const struct herd_client *c)
{
	if (r->hands_out && !moves_client(c))
		return;
	struct herd_row row = herd_row_begin(r);
	struct herd_pool *p = c->split ? c->split->home : c->pool;

	if (p)
		pthread_mutex_lock(&p->lock);
	struct secrets secrets = secrets_of(w, r, p);

	if (p)
		pthread_mutex_unlock(&p->lock);

	herd_row_int(&row, c->conn.fd);
	herd_row_text(&row, "client");
	herd_row_text(&row, c->user);
	herd_row_text(&row, c->dbname);
	herd_row_text(&row, c->addr.host);
	herd_row_int(&row, c->addr.port);
	herd_row_int(&row, r->hands_out ? (int64_t)number_of_key(c->key) : 0);
	herd_row_int(&row, c->server ? c->server->conn.fd : 0);
	row_session(&row, w->px, &c->vars, &secrets);
	herd_row_end_fd(&row, c->conn.fd);
	wipe(&secrets);
}

/* Its pool is locked. */
static void server_fd(struct herd_worker *w, struct herd_result *r, const struct herd_server *s)
{
	uint64_t key = s->backend_pid;

	if (r->hands_out && !moves_server(w, s))
		return;
	struct herd_row row = herd_row_begin(r);
	struct secrets secrets = secrets_of(w, r, s->pool);

	for (uint32_t i = 0; r->hands_out && i < 4; i++)
		key = key << 8 | (i < s->cancel_key_len ? s->cancel_key[i] : 0);
	herd_row_int(&row, s->conn.fd);
	herd_row_text(&row, "server");
	herd_row_text(&row, s->pool->user);
	herd_row_text(&row, s->pool->db->name);
	herd_row_text(&row, s->addr.host);
	herd_row_int(&row, s->addr.port);
	herd_row_int(&row, (int64_t)key);
	herd_row_int(&row, s->client ? s->client->conn.fd : 0);
	row_session(&row, w->px, &s->vars, &secrets);
	herd_row_end_fd(&row, s->conn.fd);
	wipe(&secrets);
}

static void door_fd(struct herd_result *r, const struct herd_door *d)
{
	struct herd_row row = herd_row_begin(r);

	herd_row_int(&row, d->conn.fd);
	herd_row_text(&row, "pooler");
	herd_row_text(&row, NULL);
	herd_row_text(&row, NULL);
	herd_row_text(&row, d->addr.host);
	herd_row_int(&row, d->addr.port);
	herd_row_int(&row, 0);
	herd_row_int(&row, 0);
	for (int i = 0; i < 7; i++)
		herd_row_text(&row, NULL);
	herd_row_end_fd(&row, d->conn.fd);
}

static void idle_fds(struct herd_pool *p, void *arg)
{
	struct herd_show_arg *a = arg;

	pthread_mutex_lock(&p->lock);
	herd_list_for_each(it, &p->idle[a->w->id])
		server_fd(a->w, a->r, herd_container_of(it, struct herd_server, pool_node));
	pthread_mutex_unlock(&p->lock);
}

static void each_fds(struct herd_worker *w, struct herd_result *r)
{
	struct herd_show_arg a = { w, r };

	for (int i = 0; w->id == 0 && i < w->px->ndoors; i++)
		door_fd(r, &w->px->doors[i]);
	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (!c->internal && c->user && c->state != HERD_CLIENT_ADMIN)
			client_fd(w, r, c);
	}
	herd_list_for_each(it, &w->servers)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, node);

		pthread_mutex_lock(&s->pool->lock);
		server_fd(w, r, s);
		pthread_mutex_unlock(&s->pool->lock);
	}
	herd_pools_each(w->px, idle_fds, &a);
}

/* All of it, within a while; fd (-1: none) goes beside the first byte. */
static int send_with(int sock, const char *data, size_t n, int fd, int64_t until_us)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };

	while (n > 0) {
		struct iovec part = { (void *)(uintptr_t)data, n };
		struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };

		if (fd >= 0) {
			m.msg_control = &control;
			m.msg_controllen = CMSG_LEN(sizeof(int));
			control.head.cmsg_level = SOL_SOCKET;
			control.head.cmsg_type = SCM_RIGHTS;
			control.head.cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
		}
		ssize_t put = sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (put > 0) {
			fd = -1;
			data += put;
			n -= (size_t)put;
			continue;
		}
		struct pollfd p = { .fd = sock, .events = POLLOUT };
		int64_t left_ms = (until_us - herd_clock_us()) / 1000;

		if (put < 0 && errno == EINTR)
			continue;
		if ((put < 0 && errno != EAGAIN) || left_ms <= 0)
			return put < 0 && errno != EAGAIN ? -errno : -ETIMEDOUT;
		poll(&p, 1, (int)left_ms);
	}
	return 0;
}

int herd_fds_send(struct herd_client *c, struct herd_result *r)
{
	int64_t until_us = herd_clock_us() + (int64_t)PATIENCE_MS * 1000;
	const char *p = herd_buf_str(&r->rows);
	size_t left = r->rows.len, i = 0;
	struct herd_buf b = { 0 };
	struct herd_msg_head h;

	herd_conn_settle(&c->conn);
	if (herd_conn_blocked(&c->conn))
		return -EAGAIN;
	herd_show_columns(&b, r->show, 0);
	int rc = send_with(c->conn.fd, herd_buf_str(&b), b.len, -1, until_us);

	herd_buf_free(&b);
	for (; rc == 0 && i < r->nfds && herd_msg_head_parse(p, left, &h) == 0; i++) {
		size_t total = HERD_MSG_HEAD_BYTES + (size_t)h.len;

		rc = send_with(c->conn.fd, p, total, r->fds[i], until_us);
		p += total;
		left -= total;
	}
	return rc;
}

const struct herd_show herd_shows_fds[] = {
	{ "fds", fds_columns, NULL, each_fds, true },
	{ NULL, NULL, NULL, NULL, false },
};
