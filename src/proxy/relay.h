/*
 * proxy/relay.h - inside the relay: from the client (relay_up.c) and from the server
 * (relay_down.c).
 */
#pragma once
#include "proxy/client.h"

enum {
	HERD_RELAY_WHOLE_BYTES = 16 * 1024, /* messages up to this size are forwarded whole */
	HERD_REPLAY_MAX_BYTES = 16 * 1024
};

/* After so many reads of one connection: do others want the thread, too? */
static inline bool herd_relay_had_turn(const struct herd_worker *w, int loops)
{
	return loops > 0 && loops == herd_worker_settings(w)->sbuf_loopcnt;
}

/* Received data: what was left of the last time, and as much new as there is. */
struct herd_chunk {
	char *data;
	size_t len;
	bool own;    /* lies in the connection's buffer */
	ssize_t got; /* as of herd_conn_read */
};
void herd_relay_read(struct herd_worker *w, struct herd_conn *c, struct herd_chunk *ret);
/* Keeps what was not used. 0 or -ENOMEM. */
int herd_relay_keep(struct herd_conn *c, const struct herd_chunk *chunk, size_t used);
/* Are named statements of this client mapped? */
bool herd_relay_maps(const struct herd_client *c);
/* Ends the link of an active server that must not be used any more: no statement is repeated. */
void herd_relay_cut(struct herd_worker *w, struct herd_server *s, const char *text);
/* Sends answers of our own whose turn has come. */
void herd_relay_fakes(struct herd_client *c);
