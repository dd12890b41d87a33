/* The keys of cancel requests, and finding the client that has one. */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/keys.h"

enum { FIRST_BUCKETS = 64, PEER_BYTE = 6 };

static uint32_t bucket_of(const struct herd_keys *k, const uint8_t key[HERD_KEY_BYTES])
{
	uint32_t n;

	/* What the client tells anybody (its "process id"); the rest is compared as a secret. */
	memcpy(&n, key, sizeof(n));
	n *= 2654435761u;
	return (n ^ n >> 16) & (k->cap - 1);
}

static int grow(struct herd_keys *k)
{
	struct herd_keys more = { .cap = k->cap ? 2 * k->cap : FIRST_BUCKETS };

	more.bucket = calloc(more.cap, sizeof(struct herd_client *));
	if (!more.bucket)
		return -ENOMEM;
	for (uint32_t i = 0; i < k->cap; i++) {
		struct herd_client *next;

		for (struct herd_client *c = k->bucket[i]; c; c = next) {
			uint32_t at = bucket_of(&more, c->key);

			next = c->key_next;
			c->key_next = more.bucket[at];
			more.bucket[at] = c;
		}
	}
	free(k->bucket);
	k->bucket = more.bucket;
	k->cap = more.cap;
	return 0;
}

int herd_key_restore(struct herd_client *c, const uint8_t key[HERD_KEY_BYTES])
{
	struct herd_keys *k = &c->w->keys;

	/* A table that cannot grow is only slower. */
	if (k->count >= k->cap && grow(k) < 0 && k->cap == 0)
		return -ENOMEM;
	memcpy(c->key, key, HERD_KEY_BYTES);
	uint32_t at = bucket_of(k, c->key);

	c->key_next = k->bucket[at];
	k->bucket[at] = c;
	k->count++;
	c->keyed = true;
	return 0;
}

int herd_key_assign(struct herd_client *c)
{
	uint8_t key[HERD_KEY_BYTES];
	int peer = herd_worker_settings(c->w)->peer_id;

	if (herd_worker_random(c->w, key, PEER_BYTE) < 0)
		return -EIO;
	key[0] &= 0x7f; /* drivers take the first four bytes for a number with a sign */
	key[PEER_BYTE] = (uint8_t)(peer >> 6);
	key[PEER_BYTE + 1] = (uint8_t)(peer << 2 | HERD_KEY_HOPS);
	return herd_key_restore(c, key);
}

void herd_key_forget(struct herd_client *c)
{
	struct herd_keys *k = &c->w->keys;

	if (!c->keyed)
		return;
	c->keyed = false;
	for (struct herd_client **p = &k->bucket[bucket_of(k, c->key)]; *p; p = &(*p)->key_next) {
		if (*p != c)
			continue;
		*p = c->key_next;
		k->count--;
		return;
	}
}

void herd_keys_free(struct herd_worker *w)
{
	free(w->keys.bucket);
	w->keys = (struct herd_keys){ 0 };
}

int herd_key_peer(const uint8_t key[HERD_KEY_BYTES])
{
	return key[PEER_BYTE] << 6 | key[PEER_BYTE + 1] >> 2;
}

int herd_key_hops(const uint8_t key[HERD_KEY_BYTES])
{
	return key[PEER_BYTE + 1] & 3;
}

void herd_key_set_hops(uint8_t key[HERD_KEY_BYTES], int hops)
{
	key[PEER_BYTE + 1] = (uint8_t)((key[PEER_BYTE + 1] & ~3) | hops);
}

/* The part of a long key that is computed. */
static bool more_bytes(const struct herd_px *px, const uint8_t key[HERD_KEY_BYTES],
		       uint8_t ret[HERD_KEY_MORE_BYTES])
{
	uint8_t mac[EVP_MAX_MD_SIZE], fresh[HERD_KEY_BYTES];
	unsigned len = 0;

	memcpy(fresh, key, HERD_KEY_BYTES);
	herd_key_set_hops(fresh, HERD_KEY_HOPS); /* the same after any number of hops */
	if (!HMAC(EVP_sha256(), px->cancel_secret, sizeof(px->cancel_secret), fresh, sizeof(fresh),
		  mac, &len) ||
	    len < HERD_KEY_MORE_BYTES)
		return false;
	memcpy(ret, mac, HERD_KEY_MORE_BYTES);
	return true;
}

void herd_key_write(const struct herd_client *c, struct herd_buf *b)
{
	uint8_t more[HERD_KEY_MORE_BYTES];

	herd_buf_add(b, c->key, HERD_KEY_BYTES);
	if (c->long_key && more_bytes(c->w->px, c->key, more))
		herd_buf_add(b, more, sizeof(more));
}

struct herd_client *herd_key_find(struct herd_worker *w, const uint8_t key[HERD_KEY_BYTES],
				  const uint8_t *more, size_t more_len)
{
	uint8_t full[HERD_KEY_BYTES], want[HERD_KEY_MORE_BYTES];

	memcpy(full, key, HERD_KEY_BYTES);
	herd_key_set_hops(full, HERD_KEY_HOPS);
	for (struct herd_client *c = w->keys.cap ? w->keys.bucket[bucket_of(&w->keys, full)] : NULL;
	     c; c = c->key_next) {
		if (CRYPTO_memcmp(c->key, c->strange_key ? key : full, HERD_KEY_BYTES) != 0)
			continue;
		if (!c->long_key)
			return more_len == 0 ? c : NULL;
		if (more_len == HERD_KEY_MORE_BYTES && more_bytes(w->px, full, want) &&
		    CRYPTO_memcmp(more, want, sizeof(want)) == 0)
			return c;
		return NULL;
	}
	return NULL;
}
