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
bool herd_dial_is_loopback(const struct sockaddr *addr);
/* Keepalive and buffer settings for a socket to a server, or of a client from another process. */
void herd_dial_tune(const struct herd_settings *set, int fd, const struct sockaddr *peer);
/*
 * The same for a listening socket: what it accepts inherits them (Linux does so), and a new client
 * costs no system call for it. Again after each reload.
 */
void herd_dial_tune_door(const struct herd_settings *set, int fd, const struct herd_addr *addr,
			 bool loopback);
/* What a client does not inherit from such a door. */
void herd_dial_tune_newcomer(const struct herd_settings *set, int fd, const struct sockaddr *peer,
			     bool door_is_loopback);
