#include "proxy/doors.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/dial.h"
#include "proxy/systemd.h"

/* What opening a door needs to know. */
struct opener {
	struct herd_px *px;
	const struct herd_pconf *config;
	struct herd_doors_given *given;
	struct herd_err *err;
	bool taken; /* the last one was given to us */
};

static int add_door(struct opener *o, int fd, const struct sockaddr *sa, const char *listener,
		    const char *path, char *name)
{
	struct herd_px *px = o->px;

	if (px->ndoors == HERD_MAX_LISTENERS || !name) {
		close(fd);
		free(name);
		return herd_err_set(o->err, -E2BIG, "more than %d listening sockets",
				    HERD_MAX_LISTENERS);
	}
	struct herd_door *d = &px->doors[px->ndoors];

	*d = (struct herd_door){ .conn = { .kind = HERD_CONN_LISTENER, .fd = fd } };
	d->listener = herd_str_dup(listener);
	d->path = herd_str_dup(path);
	d->name = name;
	/* Until we are ready it is the other process's to end. */
	d->borrowed = o->taken;
	o->taken = false;
	herd_addr_of(sa, &d->addr);
	d->loopback = herd_dial_is_loopback(sa);
	px->ndoors++;
	return 0;
}

/* The socket of that name among those that were given to us, or -1. */
static int given_fd(struct opener *o, const char *name, const char *listener)
{
	struct herd_doors_given *g = o->given;

	for (int i = 0; g && name && i < g->n; i++) {
		int fd = g->door[i].fd;

		if (fd < 0 || !herd_str_eq(g->door[i].name, name) ||
		    !herd_str_eq(g->door[i].listener, listener))
			continue;
		g->door[i].fd = -1;
		o->taken = true;
		return fd;
	}
	return -1;
}

static int listen_at(struct opener *o, const struct addrinfo *ai)
{
	int on = 1, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (o->config->s.so_reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
	    listen(fd, o->config->s.listen_backlog) < 0) {
		int code = -errno;

		close(fd);
		return code;
	}
	return fd;
}

static int open_address(struct opener *o, const struct addrinfo *ai, const char *listener)
{
	struct herd_addr a;

	herd_addr_of(ai->ai_addr, &a);
	char *name = herd_str_printf("tcp %s:%d", a.host, a.port);
	int fd = given_fd(o, name, listener);

	if (fd < 0)
		fd = listen_at(o, ai);
	if (fd < 0) {
		free(name);
		return herd_err_set(o->err, fd, "could not listen on %s:%d: %s", a.host, a.port,
				    strerror(-fd));
	}
	return add_door(o, fd, ai->ai_addr, listener, NULL, name);
}

static int open_host(struct opener *o, const char *host, int port, const char *listener)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	char *service = herd_str_printf("%d", port);
	int rc, opened = 0;

	if (!service)
		return herd_err_set(o->err, -ENOMEM, "out of memory");
	bool any = strcmp(host, "*") == 0;

	rc = getaddrinfo(any ? NULL : host, service, &hints, &list);
	free(service);
	if (rc != 0)
		return herd_err_set(o->err, -EINVAL, "could not resolve listen address \"%s\": %s",
				    host, gai_strerror(rc));
	rc = 0;
	for (struct addrinfo *ai = list; ai && rc == 0; ai = ai->ai_next) {
		rc = open_address(o, ai, listener);
		/* A machine without IPv6 still listens on "*". */
		if (rc == -EAFNOSUPPORT && any)
			rc = 0;
		else if (rc == 0)
			opened++;
	}
	freeaddrinfo(list);
	if (rc == 0 && opened == 0)
		rc = herd_err_set(o->err, -EAFNOSUPPORT, "no address to listen on for \"%s\"",
				  host);
	return rc;
}

static int open_hosts(struct opener *o, const char *hosts, int port, const char *listener)
{
	char *copy = strdup(hosts), *save = NULL;
	int rc = copy ? 0 : herd_err_set(o->err, -ENOMEM, "out of memory");

	for (char *h = copy ? strtok_r(copy, ",", &save) : NULL; h && rc == 0;
	     h = strtok_r(NULL, ",", &save)) {
		h = herd_str_trim(h);
		if (*h)
			rc = open_host(o, h, port, listener);
	}
	free(copy);
	return rc;
}

/* Is somebody listening there? Then the file is not ours to replace. */
static bool in_use(const struct sockaddr_un *un, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool used = fd >= 0 && connect(fd, (const struct sockaddr *)un, len) == 0;

	if (fd >= 0)
		close(fd);
	return used;
}

static int set_group(struct opener *o, const char *path)
{
	const char *name = o->config->s.unix_socket_group;
	int64_t id = -1;

	if (!*name)
		return 0;
	struct group *g = getgrnam(name);

	if (g)
		id = g->gr_gid;
	else if (herd_str_to_i64(name, &id) < 0 || id < 0)
		return herd_err_set(o->err, -ENOENT, "could not find unix_socket_group \"%s\"",
				    name);
	if (chown(path, (uid_t)-1, (gid_t)id) < 0)
		return herd_err_set(o->err, -errno, "could not change the group of \"%s\": %s",
				    path, strerror(errno));
	return 0;
}

static int bind_unix(struct opener *o, const char *path, bool abstract, struct sockaddr_un *un,
		     socklen_t len)
{
	if (!abstract && in_use(un, len))
		return herd_err_set(o->err, -EADDRINUSE, "unix socket \"%s\" is in use", path);
	if (!abstract)
		unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)un, len) < 0 ||
	    listen(fd, o->config->s.listen_backlog) < 0) {
		int rc = herd_err_set(o->err, -errno, "could not listen on unix socket \"%s\": %s",
				      path, strerror(errno));

		if (fd >= 0)
			close(fd);
		return rc;
	}
	int rc = abstract ? 0 : set_group(o, path);

	if (rc < 0) {
		close(fd);
		return rc;
	}
	if (!abstract)
		chmod(path, (mode_t)o->config->s.unix_socket_mode);
	return fd;
}

static int open_unix(struct opener *o, int port, const char *listener)
{
	const char *dir = o->config->s.unix_socket_dir;
	bool abstract = *dir == '@';
	char *path = herd_str_printf("%s/.s.PGSQL.%d", abstract ? dir + 1 : dir, port);
	char *name = herd_str_printf("unix %s/.s.PGSQL.%d", dir, port);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = path ? strlen(path) : 0;
	int rc;

	if (!path || !name) {
		rc = herd_err_set(o->err, -ENOMEM, "out of memory");
		goto fail;
	}
	if (n + 1 >= sizeof(un.sun_path)) {
		rc = herd_err_set(o->err, -ENAMETOOLONG, "unix socket path \"%s\" is too long",
				  path);
		goto fail;
	}
	memcpy(un.sun_path + abstract, path, n);
	rc = given_fd(o, name, listener);
	if (rc < 0)
		rc = bind_unix(o, path, abstract, &un,
			       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1));
	if (rc < 0)
		goto fail;
	rc = add_door(o, rc, (struct sockaddr *)&un, listener, abstract ? NULL : path, name);
	if (rc == 0)
		o->px->doors[o->px->ndoors - 1].addr.port = port;
	free(path);
	return rc;
fail:
	free(path);
	free(name);
	return rc;
}

/* "/run/x/.s.PGSQL.6432" -> 6432 */
static int port_of_path(const struct sockaddr_un *un)
{
	const char *dot = strrchr(un->sun_path + (un->sun_path[0] == '\0'), '.');
	int64_t port;

	return dot && herd_str_to_i64(dot + 1, &port) == 0 && port > 0 && port < 65536 ? (int)port
										       : 0;
}

/* A socket that the service manager opened; its port says what it is for. */
static int add_passed(struct opener *o, int fd)
{
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_storage ss;
	} a = { 0 };
	socklen_t len = sizeof(a) - 1;
	const char *listener = NULL;
	struct herd_addr addr;

	if (getsockname(fd, &a.sa, &len) < 0)
		return herd_err_set(o->err, -errno, "descriptor %d is not a listening socket", fd);
	herd_addr_of(&a.sa, &addr);
	if (a.sa.sa_family == AF_UNIX)
		addr.port = port_of_path(&a.un);
	for (size_t i = 0; i < o->config->nlisteners; i++) {
		if (o->config->listeners[i].port == addr.port)
			listener = o->config->listeners[i].name;
	}
	int rc = add_door(o, fd, &a.sa, listener, NULL,
			  herd_str_printf("passed %s:%d", addr.host, addr.port));

	if (rc == 0) {
		o->px->doors[o->px->ndoors - 1].addr = addr;
		o->px->doors[o->px->ndoors - 1].borrowed = true;
	}
	return rc;
}

/* One that is passed on and on: its address may be spelled in no setting of ours. */
static int add_passed_before(struct opener *o)
{
	int rc = 0;

	for (int i = 0; rc == 0 && o->given && i < o->given->n; i++) {
		int fd = o->given->door[i].fd;

		if (fd < 0 || !herd_str_starts(o->given->door[i].name, "passed "))
			continue;
		o->given->door[i].fd = -1;
		rc = add_passed(o, fd);
	}
	return rc;
}

int herd_doors_open(struct herd_px *px, const struct herd_pconf *config,
		    struct herd_doors_given *given, struct herd_err *err)
{
	const struct herd_settings *s = &config->s;
	struct opener o = { px, config, given, err, false };
	int rc = 0, passed = given ? 0 : herd_systemd_sockets();

	for (int i = 0; rc == 0 && i < passed; i++)
		rc = add_passed(&o, 3 + i);
	if (rc == 0)
		rc = add_passed_before(&o);
	if (rc < 0 || px->ndoors > 0) {
		if (rc == 0 && *s->listen_addr)
			herd_info(px->log,
				  "sockets passed from service manager, listen_addr ignored");
		return rc;
	}
	/* Listeners come first: their address is the one that the DCS is told. */
	for (size_t i = 0; rc == 0 && i < config->nlisteners; i++) {
		const struct herd_listener *l = &config->listeners[i];
		const char *hosts = l->host ? l->host : s->listen_addr;

		if (*hosts)
			rc = open_hosts(&o, hosts, l->port, l->name);
		if (rc == 0 && !l->host && *s->unix_socket_dir)
			rc = open_unix(&o, l->port, l->name);
	}
	if (rc == 0 && *s->listen_addr && s->listen_port > 0)
		rc = open_hosts(&o, s->listen_addr, s->listen_port, NULL);
	if (rc == 0 && *s->unix_socket_dir && s->listen_port > 0)
		rc = open_unix(&o, s->listen_port, NULL);
	if (rc == 0 && px->ndoors == 0)
		rc = herd_err_set(err, -EINVAL,
				  "nowhere to listen on: neither listen_addr nor unix_socket_dir "
				  "nor [listeners] is set");
	herd_doors_tune(px, s);
	return rc;
}

void herd_doors_given_free(struct herd_doors_given *g)
{
	for (int i = 0; i < g->n; i++) {
		if (g->door[i].fd >= 0)
			close(g->door[i].fd);
		free(g->door[i].name);
		free(g->door[i].listener);
	}
	g->n = 0;
}

void herd_doors_tune(struct herd_px *px, const struct herd_settings *s)
{
	for (int i = 0; i < px->ndoors; i++) {
		struct herd_door *d = &px->doors[i];

		herd_dial_tune_door(s, d->conn.fd, &d->addr, d->loopback);
	}
}

void herd_doors_own(struct herd_px *px)
{
	int backlog = atomic_load(&px->live)->config->s.listen_backlog;

	for (int i = 0; i < px->ndoors; i++) {
		struct herd_door *d = &px->doors[i];

		/* Who connects to it is told our process id from now on (SO_PEERCRED). */
		if (d->addr.family == AF_UNIX)
			listen(d->conn.fd, backlog);
		if (!herd_str_starts(d->name, "passed "))
			d->borrowed = false;
	}
}

void herd_doors_leave(struct herd_px *px)
{
	atomic_store(&px->doors_away, true);
	for (int i = 0; i < px->ndoors; i++) {
		for (int k = 0; k < px->nworkers; k++)
			herd_worker_unwatch(&px->workers[k], &px->doors[i].conn);
	}
}

void herd_doors_return(struct herd_px *px)
{
	atomic_store(&px->doors_away, false);
	for (int k = 0; k < px->nworkers; k++)
		herd_doors_watch(&px->workers[k], true);
}

void herd_doors_watch(struct herd_worker *w, bool open)
{
	if (open && (atomic_load(&w->px->doors_away) || atomic_load(&w->host) != w))
		return;
	for (int i = 0; i < w->px->ndoors; i++) {
		struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE,
					  .data.ptr = &w->px->doors[i].conn };

		epoll_ctl(w->epfd, open ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, w->px->doors[i].conn.fd,
			  &ev);
	}
}

void herd_doors_shut(struct herd_px *px)
{
	for (int i = 0; i < px->ndoors; i++) {
		struct herd_door *d = &px->doors[i];

		/* A worker may be accepting: the descriptor itself stays until they are gone. */
		for (int k = 0; k < px->nworkers; k++)
			herd_worker_unwatch(&px->workers[k], &d->conn);
		if (d->borrowed || atomic_load(&px->leaving) || atomic_load(&px->given_away))
			continue;
		shutdown(d->conn.fd, SHUT_RDWR);
		if (d->path)
			unlink(d->path);
	}
}

void herd_doors_close(struct herd_px *px)
{
	herd_doors_shut(px);
	for (int i = 0; i < px->ndoors; i++) {
		close(px->doors[i].conn.fd);
		free(px->doors[i].listener);
		free(px->doors[i].path);
		free(px->doors[i].name);
	}
	px->ndoors = 0;
}
