/*
 * wire/auth.h - the arithmetic of password authentication: md5 and SCRAM-SHA-256, both sides.
 *
 * Draws no random numbers: nonces and salts come from the caller. Only libcrypto is called.
 * Passwords are taken as the bytes they are; SASLprep is the identity for ASCII, and PostgreSQL
 * itself falls back to the bytes where it does not apply.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
	HERD_MD5_TEXT_BYTES = 36, /* "md5", 32 digits, zero */
	HERD_SCRAM_KEY_BYTES = 32,
	HERD_SCRAM_SALT_BYTES = 16,
	HERD_SCRAM_SEED_BYTES = 16,
	HERD_SCRAM_NONCE_BYTES = 18, /* raw; 24 as text */
	HERD_SCRAM_SALT_MAX_BYTES = 256,
	HERD_SCRAM_BINDING_MAX_BYTES = 64
};
#define HERD_SCRAM_MECHANISM "SCRAM-SHA-256"
#define HERD_SCRAM_PLUS_MECHANISM "SCRAM-SHA-256-PLUS"

/* Ties a login to the TLS connection it goes over: the hash of the certificate (RFC 5929). */
struct herd_scram_binding {
	size_t len; /* 0: none can be had */
	uint8_t data[HERD_SCRAM_BINDING_MAX_BYTES];
};

/* "md5" + md5(password + user): what PostgreSQL stores. 0 or -EIO. */
int herd_md5_secret(const char *password, const char *user, char ret[HERD_MD5_TEXT_BYTES]);
/* What goes over the wire for a stored "md5..." text and a salt. 0, -EINVAL or -EIO. */
int herd_md5_response(const char *secret, const uint8_t salt[4], char ret[HERD_MD5_TEXT_BYTES]);
/* True for "md5" followed by 32 hexadecimal digits. */
bool herd_md5_is_secret(const char *text);

/* A stored SCRAM secret, or one derived from a password. */
struct herd_scram_secret {
	int iterations;
	size_t salt_len;
	uint8_t salt[HERD_SCRAM_SALT_MAX_BYTES];
	uint8_t stored_key[HERD_SCRAM_KEY_BYTES];
	uint8_t server_key[HERD_SCRAM_KEY_BYTES];
};

/* What is needed to log in somewhere that keeps the same secret. */
struct herd_scram_keys {
	uint8_t client_key[HERD_SCRAM_KEY_BYTES];
	uint8_t server_key[HERD_SCRAM_KEY_BYTES];
};

/* "SCRAM-SHA-256$iterations:salt$stored:server"; 0 or -EINVAL. */
int herd_scram_secret_parse(const char *text, struct herd_scram_secret *ret);
bool herd_scram_is_secret(const char *text);
/* Derives the secret (and, unless NULL, the keys). salt_len <= HERD_SCRAM_SALT_MAX_BYTES. 0, -EIO.
 */
int herd_scram_derive(const char *password, const void *salt, size_t salt_len, int iterations,
		      struct herd_scram_secret *ret, struct herd_scram_keys *keys);

/*
 * A salt for a user that does not exist: the same for the same name and seed, and otherwise like
 * those that are drawn. 0 or -EIO.
 */
int herd_scram_mock_salt(const uint8_t seed[HERD_SCRAM_SEED_BYTES], const char *user,
			 uint8_t ret[HERD_SCRAM_SALT_BYTES]);

/* One login as seen by the side that checks. Zero it before use; free it always. */
struct herd_scram_server {
	/* The caller's: what SCRAM-SHA-256-PLUS was offered with, and whether the client chose it.
	 */
	struct herd_scram_binding binding;
	bool plus;
	char *client_first_bare;
	char *server_first;
	char *nonce; /* the client's and ours, as text */
	char gs2;    /* 'n', 'y' or 'p' */
};

/*
 * Takes the client's first message (data of SASLInitialResponse) and appends ours.
 * 0, -EBADMSG (malformed), -EPROTONOSUPPORT (what it says of channel binding does not fit: somebody
 * may stand between), or -ENOMEM.
 */
int herd_scram_server_first(struct herd_scram_server *s, const struct herd_scram_secret *secret,
			    const void *data, size_t n, const uint8_t nonce[HERD_SCRAM_NONCE_BYTES],
			    struct herd_buf *out);
/*
 * Takes the client's final message. 0: authentic, the reply is in out and the client's key, which
 * opens servers that keep the same secret, in keys. -EACCES: wrong password. -EBADMSG, -ENOMEM.
 */
int herd_scram_server_final(struct herd_scram_server *s, const struct herd_scram_secret *secret,
			    const void *data, size_t n, struct herd_buf *out,
			    struct herd_scram_keys *keys);
void herd_scram_server_free(struct herd_scram_server *s);

/* One login as seen by the side that asks. Zero it before use; free it always. */
struct herd_scram_client {
	/*
	 * The caller's, before the first message. 'p': SCRAM-SHA-256-PLUS with the binding; 'y': we
	 * could, but the server did not offer it; 'n' or 0: we cannot.
	 */
	char gs2;
	struct herd_scram_binding binding;
	char *first_bare;
	char *nonce;
	char *server_first, *server_nonce;
	char *auth_message;
	uint8_t server_key[HERD_SCRAM_KEY_BYTES];
};

int herd_scram_client_first(struct herd_scram_client *c,
			    const uint8_t nonce[HERD_SCRAM_NONCE_BYTES], struct herd_buf *out);
/*
 * Takes the server's first message. *ret gets its salt and iterations, for herd_scram_derive, which
 * takes a while. 0, -EBADMSG or -ENOMEM.
 */
int herd_scram_client_challenge(struct herd_scram_client *c, const void *data, size_t n,
				struct herd_scram_secret *ret);
/*
 * Appends our final message. The keys were derived from the password, or captured from a login that
 * was checked by the same secret. 0, -EBADMSG, -EIO, -ENOMEM.
 */
int herd_scram_client_final(struct herd_scram_client *c, const struct herd_scram_keys *keys,
			    struct herd_buf *out);
/* Checks the server's signature. 0, -EACCES (not our server) or -EBADMSG. */
int herd_scram_client_verify(struct herd_scram_client *c, const void *data, size_t n);
void herd_scram_client_free(struct herd_scram_client *c);
