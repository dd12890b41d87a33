/*
 * proxy/dial.h - opening sockets to servers.
 */
#pragma once
#include "proxy/server.h"

/*
 * Begins to connect to a numeric address, a name, or a directory with a socket ("/path", "@name").
 * 0: *fd is connecting (writable when done); negative errno with err. A name must be known already
 * (proxy/dns.h); else this is -EAGAIN, and it is asked for.
 */
int herd_dial(struct herd_worker *w, const char *host, int port, int *fd, struct herd_addr *addr,
	      struct herd_err *err);
/* Is it no name? */
bool herd_dial_is_address(const char *host);
/* Keepalive and buffer settings for a socket of a client or server. */
void herd_dial_tune(const struct herd_settings *set, int fd, const struct sockaddr *peer);
