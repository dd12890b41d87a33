/*
 * loop/resolve.h - host names to addresses, without making the loop wait: each question has a
 * thread of its own, since getaddrinfo cannot be asked otherwise.
 */
#pragma once
#include <stddef.h>

#include "base/err.h"
#include "loop/loop.h"

struct herd_resolve;

/*
 * n addresses as text ("192.0.2.1", "2001:db8::1"; without scope), valid during the call; n 0 with
 * err set when there are none or none came within the time.
 */
typedef void (*herd_resolve_fn)(void *arg, const char *const *addresses, size_t n,
				const struct herd_err *err);

/* NULL when out of memory or threads. fn is called once, from the loop, and frees the question. */
struct herd_resolve *herd_resolve_start(struct herd_loop *l, const char *host, int64_t timeout_ms,
					herd_resolve_fn fn, void *arg);
/* fn is not called any more. */
void herd_resolve_cancel(struct herd_resolve *r);
