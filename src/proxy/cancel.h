/*
 * proxy/cancel.h - cancel requests: the keys of clients, and carrying a request to the server, or
 * to the peer, that it is meant for.
 *
 * A key of protocol 3.0 has 8 bytes: 46 random bits, the peer_id of the process that gave it (14
 * bits) and how often the request may still be handed on (2 bits). From protocol 3.2 on 28 more
 * bytes follow, which only this process (and the one that takes over from it) can compute.
 *
 * A request is looked up on one worker after the other; the one whose client it means carries it,
 * on a connection of its own. Who asked stays connected until it is delivered or given up. All
 * calls are for the worker's own thread.
 */
#pragma once
#include "proxy/client.h"
#include "wire/startup.h"

enum { HERD_KEY_BYTES = 8, HERD_KEY_MORE_BYTES = 28, HERD_KEY_HOPS = 3 };

struct herd_cancel;

/* Gives the client a key, by which requests find it. long_key: it speaks 3.2. 0 or -EIO, -ENOMEM.
 */
int herd_key_assign(struct herd_client *c);
/* The same with the key it had in a former process. 0 or -ENOMEM. */
int herd_key_restore(struct herd_client *c, const uint8_t key[HERD_KEY_BYTES]);
/* The body of BackendKeyData. */
void herd_key_write(const struct herd_client *c, struct herd_buf *b);
/* The client leaves; harmless when it has no key. */
void herd_key_forget(struct herd_client *c);
void herd_keys_free(struct herd_worker *w);
/* The peer that gave the key. */
int herd_key_peer(const uint8_t key[HERD_KEY_BYTES]);

/* A cancel request came in on this connection: takes the client over, until it is answered. */
void herd_cancel_take(struct herd_client *c, const struct herd_startup *s);
/* The same for a request that another process hands on; nobody waits for the outcome. */
void herd_cancel_inject(struct herd_worker *w, const struct herd_startup *s);
/* Who asked leaves. */
void herd_cancel_abandon(struct herd_client *c);
/* "active_cancel_req" or "waiting_cancel_req". */
const char *herd_cancel_state_name(const struct herd_client *c);

/* The connection that carries a request had an event. */
void herd_cancel_event(struct herd_worker *w, struct herd_conn *conn);
/* The server goes away: requests under way have nobody to report to. */
void herd_cancel_forget(struct herd_worker *w, struct herd_server *s);
/* Timeouts, and requests whose turn has come. */
void herd_cancel_janitor(struct herd_worker *w);
/* Gives all of them up: the worker ends. */
void herd_cancel_stop(struct herd_worker *w);

/* A connection that carries a request, for SHOW SERVERS. */
struct herd_cancel_info {
	const char *user, *database, *tls;
	const struct herd_conn *conn;
	const struct herd_addr *addr;
	uint64_t server; /* id of the server whose statement is to end; 0: none */
	int64_t since_us;
	uint64_t id;
};
void herd_cancel_each(struct herd_worker *w,
		      void (*fn)(void *arg, const struct herd_cancel_info *info), void *arg);

/* Requests on their way to a peer: made on first use, kept until the end. */
struct herd_peer_pool {
	int id;
	struct herd_cancel_queue queue;
};
void herd_peer_pools_each(struct herd_px *px, void (*fn)(const struct herd_peer_pool *p, void *arg),
			  void *arg);
size_t herd_peer_pools_count(struct herd_px *px);
void herd_peer_pools_free(struct herd_px *px);
