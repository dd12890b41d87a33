/*
 * proxy/pools_internal.h - what the files that work on pools share (pools.c, follow.c, repl.c).
 */
#pragma once
#include "proxy/pools.h"
#include "proxy/server.h"

const struct herd_database *herd_pool_conf(const struct herd_worker *w, const struct herd_pool *p);

/* follow.c: has its member failed, and is there a better one? */
bool herd_pool_leaves(const struct herd_worker *w, const struct herd_server *s,
		      const struct herd_database *conf);
/* Several members serve the pool: notes what is to be evened out between them. */
void herd_pool_balance(struct herd_worker *w, struct herd_pool *p);

/* The pool's lock is held in all of these. */
struct herd_pool_obs herd_pool_observe(const struct herd_worker *w, const struct herd_pool *p,
				       const struct herd_database *conf);
/* Those who wait try again: they may want another pool now. */
void herd_pool_send_away(struct herd_pool *p);
/* Connections of the database and user, all pools together. */
void herd_pool_count_total(struct herd_pool *p, int by);
/* From the count it is in to another one; NONE: it leaves the pool. */
void herd_pool_count_as(struct herd_pool *p, struct herd_server *s, enum herd_server_count kind);
/* Out of the idle list into the hands of a worker, which must adopt it. */
void herd_pool_take(struct herd_pool *p, struct herd_server *s, int worker);
/* Takes the client out of its queue and wakes its thread: it tries again. */
void herd_pool_notify(struct herd_pool *p, struct herd_client *c);

/* The lock is not held: closes an idle server to make room, if there is one. */
void herd_pool_evict_own(struct herd_worker *w, struct herd_pool *p);
