#include "proxy/doors.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"

static int add_door(struct herd_px *px, int fd, const struct sockaddr *sa, const char *listener,
		    const char *path, struct herd_err *err)
{
	if (px->ndoors == HERD_MAX_LISTENERS) {
		close(fd);
		return herd_err_set(err, -E2BIG, "more than %d listening sockets",
				    HERD_MAX_LISTENERS);
	}
	struct herd_door *d = &px->doors[px->ndoors];

	d->conn = (struct herd_conn){ .kind = HERD_CONN_LISTENER, .fd = fd };
	d->listener = herd_str_dup(listener);
	d->path = herd_str_dup(path);
	herd_addr_of(sa, &d->addr);
	px->ndoors++;
	return 0;
}

static int open_address(struct herd_px *px, const struct herd_pconf *config,
			const struct addrinfo *ai, const char *listener, struct herd_err *err)
{
	int on = 1, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return herd_err_set(err, -errno, "could not create a socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (config->s.so_reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, config->s.listen_backlog) < 0) {
		int code = -errno;
		struct herd_addr a;

		herd_addr_of(ai->ai_addr, &a);
		close(fd);
		return herd_err_set(err, code, "could not listen on %s:%d: %s", a.host, a.port,
				    strerror(-code));
	}
	return add_door(px, fd, ai->ai_addr, listener, NULL, err);
}

static int open_host(struct herd_px *px, const struct herd_pconf *config, const char *host,
		     int port, const char *listener, struct herd_err *err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	char *service = herd_str_printf("%d", port);
	int rc, opened = 0;

	if (!service)
		return herd_err_set(err, -ENOMEM, "out of memory");
	bool any = strcmp(host, "*") == 0;

	rc = getaddrinfo(any ? NULL : host, service, &hints, &list);
	free(service);
	if (rc != 0)
		return herd_err_set(err, -EINVAL, "could not resolve listen address \"%s\": %s",
				    host, gai_strerror(rc));
	rc = 0;
	for (struct addrinfo *ai = list; ai && rc == 0; ai = ai->ai_next) {
		rc = open_address(px, config, ai, listener, err);
		/* A machine without IPv6 still listens on "*". */
		if (rc == -EAFNOSUPPORT && any)
			rc = 0;
		else if (rc == 0)
			opened++;
	}
	freeaddrinfo(list);
	if (rc == 0 && opened == 0)
		rc = herd_err_set(err, -EAFNOSUPPORT, "no address to listen on for \"%s\"", host);
	return rc;
}

static int open_hosts(struct herd_px *px, const struct herd_pconf *config, const char *hosts,
		      int port, const char *listener, struct herd_err *err)
{
	char *copy = strdup(hosts), *save = NULL;
	int rc = copy ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	for (char *h = copy ? strtok_r(copy, ",", &save) : NULL; h && rc == 0;
	     h = strtok_r(NULL, ",", &save)) {
		h = herd_str_trim(h);
		if (*h)
			rc = open_host(px, config, h, port, listener, err);
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

static int open_unix(struct herd_px *px, const struct herd_pconf *config, int port,
		     const char *listener, struct herd_err *err)
{
	const char *dir = config->s.unix_socket_dir;
	bool abstract = *dir == '@';
	char *path = herd_str_printf("%s/.s.PGSQL.%d", abstract ? dir + 1 : dir, port);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = path ? strlen(path) : 0;
	int fd = -1, rc = 0;

	if (!path)
		return herd_err_set(err, -ENOMEM, "out of memory");
	if (n + 1 >= sizeof(un.sun_path)) {
		rc = herd_err_set(err, -ENAMETOOLONG, "unix socket path \"%s\" is too long", path);
		goto out;
	}
	memcpy(un.sun_path + abstract, path, n);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);

	if (!abstract && in_use(&un, len)) {
		rc = herd_err_set(err, -EADDRINUSE, "unix socket \"%s\" is in use", path);
		goto out;
	}
	if (!abstract)
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&un, len) < 0 ||
	    listen(fd, config->s.listen_backlog) < 0) {
		rc = herd_err_set(err, -errno, "could not listen on unix socket \"%s\": %s", path,
				  strerror(errno));
		if (fd >= 0)
			close(fd);
		goto out;
	}
	if (!abstract) {
		struct group *g =
			*config->s.unix_socket_group ? getgrnam(config->s.unix_socket_group) : NULL;

		if (g && chown(path, (uid_t)-1, g->gr_gid) < 0)
			herd_warning(px->log, "could not change the group of \"%s\": %s", path,
				     strerror(errno));
		chmod(path, (mode_t)config->s.unix_socket_mode);
	}
	rc = add_door(px, fd, (struct sockaddr *)&un, listener, abstract ? NULL : path, err);
	if (rc == 0)
		px->doors[px->ndoors - 1].addr.port = port;
out:
	free(path);
	return rc;
}

int herd_doors_open(struct herd_px *px, const struct herd_pconf *config, struct herd_err *err)
{
	const struct herd_settings *s = &config->s;
	int rc = 0;

	/* Listeners come first: their address is the one that the DCS is told. */
	for (size_t i = 0; rc == 0 && i < config->nlisteners; i++) {
		const struct herd_listener *l = &config->listeners[i];
		const char *hosts = l->host ? l->host : s->listen_addr;

		if (*hosts)
			rc = open_hosts(px, config, hosts, l->port, l->name, err);
		if (rc == 0 && !l->host && *s->unix_socket_dir)
			rc = open_unix(px, config, l->port, l->name, err);
	}
	if (rc == 0 && *s->listen_addr && s->listen_port > 0)
		rc = open_hosts(px, config, s->listen_addr, s->listen_port, NULL, err);
	if (rc == 0 && *s->unix_socket_dir && s->listen_port > 0)
		rc = open_unix(px, config, s->listen_port, NULL, err);
	if (rc == 0 && px->ndoors == 0)
		rc = herd_err_set(err, -EINVAL,
				  "nowhere to listen on: neither listen_addr nor unix_socket_dir "
				  "nor [listeners] is set");
	return rc;
}

void herd_doors_shut(struct herd_px *px)
{
	for (int i = 0; i < px->ndoors; i++) {
		struct herd_door *d = &px->doors[i];

		/* A worker may be accepting: the descriptor itself stays until they are gone. */
		for (int k = 0; k < px->nworkers; k++)
			herd_worker_unwatch(&px->workers[k], &d->conn);
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
	}
	px->ndoors = 0;
}
