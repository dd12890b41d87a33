#include "agent/knock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"

struct herd_knock {
	int fd;
	bool asked;
	struct herd_io *io;
	herd_knock_fn fn;
	void *arg;
};

void herd_knock_free(struct herd_knock *k)
{
	if (!k)
		return;
	herd_io_free(k->io);
	if (k->fd >= 0)
		close(k->fd);
	free(k);
}

static void end(struct herd_knock *k, bool answered)
{
	herd_knock_fn fn = k->fn;
	void *arg = k->arg;

	herd_knock_free(k);
	fn(arg, answered);
}

static void on_ready(void *arg, int events)
{
	/* SSLRequest: its length, then the number that stands for it. */
	static const unsigned char request[8] = { 0, 0, 0, 8, 4, 210, 22, 47 };
	struct herd_knock *k = arg;
	char byte;

	if (!k->asked) {
		int error = 0;
		socklen_t len = sizeof(error);

		if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error ||
		    send(k->fd, request, sizeof(request), MSG_NOSIGNAL) != sizeof(request)) {
			end(k, false);
			return;
		}
		k->asked = true;
		herd_io_want(k->io, HERD_IO_READ);
		return;
	}
	ssize_t n = recv(k->fd, &byte, 1, 0);

	if (n > 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || n == 0)
		end(k, n > 0);
}

static int unix_address(const char *dir, const char *port, struct sockaddr_storage *ret,
			socklen_t *len)
{
	struct sockaddr_un *un = (struct sockaddr_un *)ret;

	un->sun_family = AF_UNIX;
	if (snprintf(un->sun_path, sizeof(un->sun_path), "%s/.s.PGSQL.%s", dir, port) >=
	    (int)sizeof(un->sun_path))
		return -ENAMETOOLONG;
	*len = sizeof(*un);
	return 0;
}

static int address(struct herd_pg *pg, struct sockaddr_storage *ret, socklen_t *len)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				  .ai_socktype = SOCK_STREAM };
	char *text = herd_pg_local_conninfo(pg, &herd_pg_config(pg)->superuser, NULL, NULL);
	struct herd_pg_settings words = { 0 };
	struct addrinfo *found = NULL;
	int rc = text ? herd_pg_conninfo_parse(text, &words, NULL) : -ENOMEM;
	const char *host = herd_pg_settings_get(&words, "host");
	const char *numeric = herd_pg_settings_get(&words, "hostaddr");
	const char *port = herd_pg_settings_get(&words, "port");

	memset(ret, 0, sizeof(*ret));
	if (rc == 0 && !numeric && (!host || host[0] == '/')) {
		rc = unix_address(host ? host : "/var/run/postgresql", port, ret, len);
	} else if (rc == 0) {
		if (getaddrinfo(numeric ? numeric : host, port, &hints, &found) != 0) {
			rc = -ENOTSUP;
		} else {
			memcpy(ret, found->ai_addr, found->ai_addrlen);
			*len = found->ai_addrlen;
			freeaddrinfo(found);
		}
	}
	herd_pg_settings_clear(&words);
	if (text)
		herd_str_wipe(text, strlen(text));
	free(text);
	return rc;
}

int herd_knock(struct herd_pg *pg, herd_knock_fn fn, void *arg, struct herd_knock **ret)
{
	struct herd_knock *k = calloc(1, sizeof(*k));
	struct sockaddr_storage addr;
	socklen_t len = 0;
	int rc = k ? address(pg, &addr, &len) : -ENOMEM;

	if (rc < 0) {
		free(k);
		return rc;
	}
	k->fn = fn;
	k->arg = arg;
	k->fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (k->fd < 0 ||
	    (connect(k->fd, (struct sockaddr *)&addr, len) < 0 && errno != EINPROGRESS))
		rc = -errno;
	if (rc == 0) {
		k->io = herd_io_new(herd_pg_loop(pg), k->fd, on_ready, k);
		rc = k->io ? 0 : -ENOMEM;
	}
	if (rc < 0) {
		herd_knock_free(k);
		return rc;
	}
	herd_io_want(k->io, HERD_IO_WRITE);
	*ret = k;
	return 0;
}
