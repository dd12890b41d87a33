/*
 * proxy/keys.h - inside of cancel requests: what a key says, and whose it is.
 */
#pragma once
#include "proxy/cancel.h"

/* How often a request with it may still be handed on to a peer. */
int herd_key_hops(const uint8_t key[HERD_KEY_BYTES]);
void herd_key_set_hops(uint8_t key[HERD_KEY_BYTES], int hops);
/* This worker's client with that key, of which more is what follows its 8 bytes; NULL: none. */
struct herd_client *herd_key_find(struct herd_worker *w, const uint8_t key[HERD_KEY_BYTES],
				  const uint8_t *more, size_t more_len);
