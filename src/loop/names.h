/*
 * loop/names.h - host names to addresses by asking DNS servers from the loop (libevent's evdns),
 * for those who bring a resolv.conf of their own or ask often. /etc/hosts comes first.
 *
 * All calls and callbacks are for the loop's thread.
 */
#pragma once
#include <stddef.h>
#include <sys/socket.h>

#include "base/err.h"
#include "loop/loop.h"

enum { HERD_NAMES_MAX = 64 }; /* addresses of one name; more are passed over */

struct herd_names;

/* conf NULL: /etc/resolv.conf. 0 or negative errno with err: the file cannot be used. */
int herd_names_new(struct herd_loop *l, const char *conf, struct herd_names **ret,
		   struct herd_err *err);
/* Questions under way are answered with an error. NULL is a no-op. */
void herd_names_free(struct herd_names *n);

enum herd_names_end {
	HERD_NAMES_FOUND = 0,
	HERD_NAMES_NONE,  /* there is no such name, or it has no address */
	HERD_NAMES_FAILED /* nobody could tell */
};
/* addr: n addresses without port, valid during the call; text says what went wrong. */
typedef void (*herd_names_fn)(void *arg, enum herd_names_end end,
			      const struct sockaddr_storage *addr, size_t n, const char *text);
/* fn is called once, maybe before this returns. */
void herd_names_ask(struct herd_names *n, const char *host, herd_names_fn fn, void *arg);
