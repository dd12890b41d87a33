#include "proxy/bouncer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/keys.h"
#include "wire/msg.h"

enum { READ_BYTES = 16 * 1024, FDS_AT_A_TIME = 16, SUSPEND_S = 60, GONE_MS = 10000 };

/* A row of SHOW FDS, in the order of its columns. */
enum column {
	COL_FD,
	COL_TASK,
	COL_USER,
	COL_DATABASE,
	COL_ADDR,
	COL_PORT,
	COL_CANCEL,
	COL_LINK,
	COL_ENCODING,
	COL_STRINGS,
	COL_DATESTYLE,
	COL_TIMEZONE,
	COL_PASSWORD,
	COL_CLIENT_KEY,
	COL_SERVER_KEY,
	NCOLUMNS
};

struct row {
	int fd;             /* -1: used */
	char *at[NCOLUMNS]; /* NULL: null */
};

struct herd_bouncer {
	int listen_port;
	struct row *rows;
	size_t n;
	/* of reading */
	struct herd_buf in;
	int fds[4 * FDS_AT_A_TIME];
	size_t nfds;
};

static int number(const struct row *r, enum column c)
{
	return r->at[c] ? (int)strtol(r->at[c], NULL, 10) : 0;
}

static void free_row(struct row *r)
{
	if (r->fd >= 0)
		close(r->fd);
	for (int i = 0; i < NCOLUMNS; i++) {
		if (r->at[i])
			herd_str_wipe(r->at[i], strlen(r->at[i]));
		free(r->at[i]);
	}
}

void herd_bouncer_free(struct herd_bouncer *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n; i++)
		free_row(&b->rows[i]);
	for (size_t i = 0; i < b->nfds; i++)
		close(b->fds[i]);
	if (b->in.data)
		herd_str_wipe(b->in.data, b->in.cap);
	herd_buf_free(&b->in);
	free(b->rows);
	free(b);
}

/* One more piece of what it says, and the descriptors beside it. */
static int read_more(int sock, struct herd_bouncer *b)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int) * FDS_AT_A_TIME)];
	} control;
	struct iovec part;
	struct msghdr m = { .msg_iov = &part,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };

	if (!herd_buf_reserve(&b->in, READ_BYTES))
		return -ENOMEM;
	part = (struct iovec){ b->in.data + b->in.len, READ_BYTES };
	ssize_t got = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);

	if (got <= 0)
		return got == 0 ? -EPIPE : -errno;
	b->in.len += (size_t)got;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (b->nfds < sizeof(b->fds) / sizeof(b->fds[0]))
				b->fds[b->nfds++] = fd;
			else
				close(fd);
		}
	}
	return m.msg_flags & MSG_CTRUNC ? -EMFILE : 0;
}

static int take_row(struct herd_bouncer *b, const char *body, size_t n)
{
	struct herd_rd r = herd_rd_init(body, n);
	int columns = herd_rd_u16(&r);
	struct row row = { .fd = -1 };

	for (int i = 0; i < columns && i < NCOLUMNS; i++) {
		uint32_t len = herd_rd_u32(&r);
		const char *v = len == UINT32_MAX ? NULL : herd_rd_bytes(&r, len);

		row.at[i] = v ? strndup(v, len) : NULL;
	}
	if (!herd_rd_ok(&r) || columns <= COL_TIMEZONE || !row.at[COL_TASK] || b->nfds == 0) {
		free_row(&row);
		return -EBADMSG;
	}
	struct row *more = realloc(b->rows, (b->n + 1) * sizeof(*more));

	if (!more) {
		free_row(&row);
		return -ENOMEM;
	}
	row.fd = b->fds[0];
	memmove(b->fds, b->fds + 1, --b->nfds * sizeof(b->fds[0]));
	b->rows = more;
	b->rows[b->n++] = row;
	return 0;
}

static int say(int sock, const char *sql)
{
	struct herd_buf q = { 0 };

	herd_wr_query(&q, sql);
	int rc = send(sock, herd_buf_str(&q), q.len, MSG_NOSIGNAL) < 0 ? -errno : 0;

	herd_buf_free(&q);
	return rc;
}

/* One command, to ReadyForQuery. */
static int command(int sock, struct herd_bouncer *b, const char *sql, struct herd_err *err)
{
	struct herd_report e;
	struct herd_msg_head h = { 0, 0 };
	int rc = say(sock, sql), failed = 0;

	while (rc == 0 && h.type != 'Z') {
		rc = herd_msg_head_parse(herd_buf_str(&b->in), b->in.len, &h);
		size_t total = HERD_MSG_HEAD_BYTES + (size_t)h.len;

		if (rc == -EAGAIN || (rc == 0 && b->in.len < total)) {
			h.type = 0;
			rc = read_more(sock, b);
			continue;
		}
		const char *body = b->in.data + HERD_MSG_HEAD_BYTES;

		if (rc == 0 && h.type == 'D')
			rc = take_row(b, body, h.len);
		else if (rc == 0 && h.type == 'E' && herd_report_parse(body, h.len, &e) == 0)
			failed = herd_err_set(err, -EPERM, "the running PgBouncer refuses %s: %s",
					      sql, e.msg);
		if (rc == 0)
			herd_buf_consume(&b->in, total);
	}
	if (failed)
		return failed;
	return rc < 0 ? herd_err_set(err, rc, "the running PgBouncer does not answer %s: %s", sql,
				     strerror(-rc))
		      : 0;
}

/* A listening socket, by the name that our own settings would give it (doors.c). */
static void take_door(struct row *r, struct herd_doors_given *doors)
{
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_storage ss;
	} a = { 0 };
	socklen_t len = sizeof(a) - 1;
	struct herd_addr addr;

	if (doors->n == HERD_MAX_LISTENERS || getsockname(r->fd, &a.sa, &len) < 0)
		return;
	char *name;

	if (a.sa.sa_family == AF_UNIX) {
		name = *a.un.sun_path ? herd_str_printf("unix %s", a.un.sun_path)
				      : herd_str_printf("unix @%s", a.un.sun_path + 1);
	} else {
		herd_addr_of(&a.sa, &addr);
		name = herd_str_printf("tcp %s:%d", addr.host, addr.port);
	}
	if (!name)
		return;
	doors->door[doors->n].fd = r->fd;
	doors->door[doors->n].name = name;
	doors->door[doors->n].listener = NULL;
	doors->n++;
	r->fd = -1;
}

int herd_bouncer_take(int sock, const struct herd_settings *s, struct herd_bouncer **ret,
		      struct herd_doors_given *doors, struct herd_err *err)
{
	struct timeval patience = { .tv_sec = SUSPEND_S };
	struct herd_bouncer *b = calloc(1, sizeof(*b));

	if (!b)
		return herd_err_set(err, -ENOMEM, "out of memory");
	b->listen_port = s->listen_port;
	/* It waits for its own suspend_timeout, at most. */
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	int rc = command(sock, b, "SUSPEND", err);

	if (rc == 0)
		rc = command(sock, b, "SHOW FDS", err);
	if (rc < 0) {
		herd_bouncer_free(b);
		return rc;
	}
	for (size_t i = 0; i < b->n; i++) {
		if (strcmp(b->rows[i].at[COL_TASK], "pooler") == 0)
			take_door(&b->rows[i], doors);
	}
	*ret = b;
	return 0;
}

static void put_key(struct herd_record *r, const char *name, uint64_t key, int n)
{
	uint8_t bytes[8];

	for (int i = 0; i < n; i++)
		bytes[i] = (uint8_t)(key >> (8 * (n - 1 - i)));
	herd_record_add(r, name, bytes, (size_t)n);
}

static void put_var(struct herd_record *r, const char *field, const char *name, const char *value)
{
	struct herd_buf b = { 0 };

	if (!value)
		return;
	herd_wr_str(&b, name);
	herd_wr_str(&b, value);
	herd_record_add(r, field, herd_buf_str(&b), b.len);
	herd_buf_free(&b);
}

static void put_vars(struct herd_record *r, const char *field, const struct row *row)
{
	put_var(r, field, "client_encoding", row->at[COL_ENCODING]);
	put_var(r, field, "standard_conforming_strings", row->at[COL_STRINGS]);
	put_var(r, field, "DateStyle", row->at[COL_DATESTYLE]);
	put_var(r, field, "TimeZone", row->at[COL_TIMEZONE]);
}

static uint64_t key_of(const struct row *row)
{
	/* Beyond 2^63 some write it with a sign, some without: strtoull reads both. */
	return row->at[COL_CANCEL] ? strtoull(row->at[COL_CANCEL], NULL, 10) : 0;
}

/* The server of a client that is in a transaction, or has it for the session. */
static void put_server(struct herd_record *r, const struct row *client, struct row *server)
{
	const char *addr = server->at[COL_ADDR] ? server->at[COL_ADDR] : "";
	bool local = strncmp(addr, "unix", 4) == 0;

	herd_record_text(r, "s.db", client->at[COL_DATABASE]);
	herd_record_text(r, "s.user", server->at[COL_USER]);
	herd_record_text(r, "s.host", addr);
	herd_record_number(r, "s.target_port", number(server, COL_PORT));
	herd_record_text(r, "s.addr", addr);
	herd_record_number(r, "s.family", local ? AF_UNIX : strchr(addr, ':') ? AF_INET6 : AF_INET);
	herd_record_number(r, "s.port", number(server, COL_PORT));
	herd_record_number(r, "s.pid", (int64_t)(key_of(server) >> 32));
	put_key(r, "s.key", key_of(server) & UINT32_MAX, 4);
	herd_record_number(r, "s.tx", 'T');
	herd_record_number(r, "s.foreign", 1);
	put_vars(r, "s.var", server);
	herd_record_fd(r, server->fd);
	server->fd = -1;
}

static bool is_task(const struct row *row, const char *task)
{
	return row->fd >= 0 && strcmp(row->at[COL_TASK], task) == 0;
}

static struct row *linked_server(struct herd_bouncer *b, const struct row *client)
{
	int link = number(client, COL_LINK);

	for (size_t i = 0; link > 0 && i < b->n; i++) {
		if (is_task(&b->rows[i], "server") && number(&b->rows[i], COL_FD) == link)
			return &b->rows[i];
	}
	return NULL;
}

static void put_client(struct herd_bouncer *b, struct herd_px *px, struct row *row)
{
	struct herd_record *r = herd_record_new(HERD_RECORD_CLIENT);
	struct row *server = linked_server(b, row);

	if (!r)
		return;
	herd_record_text(r, "user", row->at[COL_USER]);
	herd_record_text(r, "dbname", row->at[COL_DATABASE]);
	herd_record_number(r, "port", b->listen_port);
	put_key(r, "key", key_of(row), HERD_KEY_BYTES);
	herd_record_number(r, "strange_key", 1);
	put_vars(r, "var", row);
	herd_record_fd(r, row->fd);
	row->fd = -1;
	if (server)
		put_server(r, row, server);
	herd_parcel_open(px, r);
}

static bool unhex(const char *text, uint8_t ret[HERD_SCRAM_KEY_BYTES])
{
	if (!text || strncmp(text, "\\x", 2) != 0 || strlen(text) != 2 + 2 * HERD_SCRAM_KEY_BYTES)
		return false;
	for (int i = 0; i < HERD_SCRAM_KEY_BYTES; i++) {
		unsigned v;

		if (sscanf(text + 2 + 2 * i, "%2x", &v) != 1)
			return false;
		ret[i] = (uint8_t)v;
	}
	return true;
}

static void put_secrets(struct herd_px *px, const struct row *row,
			void (*pool)(struct herd_px *px, const struct herd_record *r))
{
	struct herd_scram_keys keys;
	bool have_keys = unhex(row->at[COL_CLIENT_KEY], keys.client_key) &&
			 unhex(row->at[COL_SERVER_KEY], keys.server_key);
	const char *password = row->at[COL_PASSWORD];
	struct herd_record *r = NULL;

	if (row->at[COL_USER] && row->at[COL_DATABASE] && (have_keys || (password && *password)))
		r = herd_record_new(HERD_RECORD_POOL);
	if (r) {
		herd_record_text(r, "db", row->at[COL_DATABASE]);
		herd_record_text(r, "user", row->at[COL_USER]);
		if (password && *password)
			herd_record_text(r, "password", password);
		if (have_keys)
			herd_record_add(r, "keys", &keys, sizeof(keys));
		pool(px, r);
		herd_str_wipe(r->fields.data, r->fields.len);
		herd_record_free(r);
	}
	herd_str_wipe(&keys, sizeof(keys));
}

/* It takes the pidfile with it, which is ours by now. */
static void keep_pidfile(struct herd_px *px)
{
	const char *path = atomic_load(&px->live)->config->s.pidfile;

	if (!*path || access(path, F_OK) == 0)
		return;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0) {
		herd_warning(px->log, "could not write pidfile \"%s\" again: %s", path,
			     strerror(errno));
		return;
	}
	dprintf(fd, "%d\n", (int)getpid());
	close(fd);
}

/* It says no more, and then it has gone. */
static void wait_for_end(int sock, int pid)
{
	static const struct timespec nap = { .tv_nsec = 10 * 1000 * 1000 };
	char rest[256];

	while (recv(sock, rest, sizeof(rest), 0) > 0)
		;
	for (int ms = 0; ms < GONE_MS && pid > 0 && kill(pid, 0) == 0; ms += 10)
		nanosleep(&nap, NULL);
}

void herd_bouncer_finish(struct herd_bouncer *b, struct herd_px *px, int sock, int pid,
			 void (*pool)(struct herd_px *px, const struct herd_record *r))
{
	static const char terminate[] = { 'X', 0, 0, 0, 4 };
	size_t clients = 0;

	say(sock, "SHUTDOWN");
	wait_for_end(sock, pid);
	keep_pidfile(px);
	for (size_t i = 0; i < b->n; i++) {
		if (is_task(&b->rows[i], "client") || is_task(&b->rows[i], "server"))
			put_secrets(px, &b->rows[i], pool);
	}
	for (size_t i = 0; i < b->n; i++) {
		struct row *row = &b->rows[i];

		/* One that was not logged in yet has no database. */
		if (!is_task(row, "client") || !row->at[COL_DATABASE] || !row->at[COL_USER])
			continue;
		put_client(b, px, row);
		clients++;
	}
	for (size_t i = 0; i < b->n; i++) {
		if (is_task(&b->rows[i], "server"))
			(void)!send(b->rows[i].fd, terminate, sizeof(terminate),
				    MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	herd_info(px->log, "took %zu clients over from PgBouncer", clients);
}
