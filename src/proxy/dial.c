#include "proxy/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/dns.h"
#include "wire/startup.h"

bool herd_dial_is_loopback(const struct sockaddr *addr)
{
	const struct sockaddr_in *in = (const void *)addr;
	const struct sockaddr_in6 *in6 = (const void *)addr;

	if (addr->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	return addr->sa_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == 127;
}

/*
 * Nothing is congested on the way to ourselves, and a congestion control that paces (BBR) costs
 * some hundred nanoseconds a packet.
 */
static void tune_loopback(int fd, const struct sockaddr *peer)
{
	if (herd_dial_is_loopback(peer))
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

static void tune_buffers(const struct herd_settings *set, int fd)
{
	if (set->tcp_socket_buffer <= 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &set->tcp_socket_buffer, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &set->tcp_socket_buffer, sizeof(int));
}

static bool over_ip(const struct sockaddr *peer)
{
	return peer->sa_family == AF_INET || peer->sa_family == AF_INET6;
}

void herd_dial_tune(const struct herd_settings *set, int fd, const struct sockaddr *peer)
{
	int on = 1;

	if (!over_ip(peer))
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	tune_loopback(fd, peer);
	tune_buffers(set, fd);
	if (set->tcp_user_timeout > 0)
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &set->tcp_user_timeout, sizeof(int));
	if (!set->tcp_keepalive)
		return;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (set->tcp_keepcnt > 0)
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &set->tcp_keepcnt, sizeof(int));
	if (set->tcp_keepidle > 0)
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &set->tcp_keepidle, sizeof(int));
	if (set->tcp_keepintvl > 0)
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &set->tcp_keepintvl, sizeof(int));
}

/* A setting of 0 means the system's, which a reload may have to bring back. */
static void set_tcp(int fd, int option, int value, int fresh)
{
	socklen_t len = sizeof(value);

	if (value > 0 || getsockopt(fresh, IPPROTO_TCP, option, &value, &len) == 0)
		setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
}

void herd_dial_tune_door(const struct herd_settings *set, int fd, const struct herd_addr *addr,
			 bool loopback)
{
	int on = 1, keepalive = set->tcp_keepalive != 0, fresh;

	if (addr->family == AF_UNIX)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &set->tcp_defer_accept, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, sizeof(keepalive));
	if (loopback)
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
	fresh = socket(addr->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	set_tcp(fd, TCP_USER_TIMEOUT, set->tcp_user_timeout, fresh);
	set_tcp(fd, TCP_KEEPCNT, set->tcp_keepcnt, fresh);
	set_tcp(fd, TCP_KEEPIDLE, set->tcp_keepidle, fresh);
	set_tcp(fd, TCP_KEEPINTVL, set->tcp_keepintvl, fresh);
	if (fresh >= 0)
		close(fresh);
}

void herd_dial_tune_newcomer(const struct herd_settings *set, int fd, const struct sockaddr *peer,
			     bool door_is_loopback)
{
	if (!over_ip(peer))
		return;
	if (!door_is_loopback)
		tune_loopback(fd, peer);
	tune_buffers(set, fd);
}

static int unix_address(const char *host, int port, struct sockaddr_un *un, socklen_t *len,
			struct herd_err *err)
{
	char *path = herd_str_printf("%s/.s.PGSQL.%d", *host == '@' ? host + 1 : host, port);

	if (!path)
		return herd_err_set(err, -ENOMEM, "out of memory");
	size_t skip = *host == '@' ? 1 : 0, n = strlen(path);

	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	if (n + skip >= sizeof(un->sun_path)) {
		free(path);
		return herd_err_set(err, -ENAMETOOLONG, "unix socket path is too long");
	}
	memcpy(un->sun_path + skip, path, n);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + skip + n + (skip ? 0 : 1));
	free(path);
	return 0;
}

static void set_port(struct sockaddr_storage *ss, int port)
{
	if (ss->ss_family == AF_INET)
		((struct sockaddr_in *)(void *)ss)->sin_port = htons((uint16_t)port);
	else if (ss->ss_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)ss)->sin6_port = htons((uint16_t)port);
}

/* A numeric address; this never asks anybody. */
static bool numeric(const char *host, struct sockaddr_storage *ss, socklen_t *len)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICHOST };
	struct addrinfo *ai = NULL;

	if (getaddrinfo(host, NULL, &hints, &ai) != 0)
		return false;
	memset(ss, 0, sizeof(*ss));
	memcpy(ss, ai->ai_addr, ai->ai_addrlen);
	*len = ai->ai_addrlen;
	freeaddrinfo(ai);
	return true;
}

bool herd_dial_is_address(const char *host)
{
	struct sockaddr_storage ss;
	socklen_t len;

	return *host == '/' || *host == '@' || numeric(host, &ss, &len);
}

static int find(struct herd_worker *w, const char *host, int port, struct sockaddr_storage *ss,
		socklen_t *len, struct herd_err *err)
{
	if (!numeric(host, ss, len)) {
		if (herd_dns_peek(w, host, ss) < 0)
			return herd_err_set(err, -EAGAIN,
					    "the address of host name \"%s\" is not known yet",
					    host);
		*len = ss->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						 : sizeof(struct sockaddr_in);
	}
	set_port(ss, port);
	return 0;
}

int herd_dial(struct herd_worker *w, const char *host, int port, int *fd, struct herd_addr *addr,
	      struct herd_err *err)
{
	struct sockaddr_storage ss;
	socklen_t len = 0;
	int rc;

	if (*host == '/' || *host == '@')
		rc = unix_address(host, port, (struct sockaddr_un *)(void *)&ss, &len, err);
	else
		rc = find(w, host, port, &ss, &len, err);
	if (rc < 0)
		return rc;
	int sock = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return herd_err_set(err, -errno, "could not create a socket: %s", strerror(errno));
	herd_dial_tune(herd_worker_settings(w), sock, (struct sockaddr *)&ss);
	herd_addr_of((struct sockaddr *)&ss, addr);
	if (ss.ss_family == AF_UNIX)
		addr->port = port;
	if (connect(sock, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS) {
		rc = -errno;
		close(sock);
		return herd_err_set(err, rc, "connect failed: %s", strerror(-rc));
	}
	*fd = sock;
	return 0;
}
