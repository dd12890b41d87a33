/*
 * wire/startup.h - the untyped packets at the start of a connection: startup, SSL, GSS, cancel.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
	HERD_STARTUP_MAX_BYTES = 10000, /* PostgreSQL's own limit */
	HERD_STARTUP_MAX_PARAMS = 128,
	HERD_PROTOCOL_MINOR = 2 /* the newest: cancel keys may be long */
};

enum herd_startup_kind {
	HERD_STARTUP_LOGIN = 0,
	HERD_STARTUP_SSL,
	HERD_STARTUP_GSS,
	HERD_STARTUP_CANCEL
};

/* Texts point into the packet. */
struct herd_startup {
	enum herd_startup_kind kind;
	uint32_t total; /* bytes of the packet */
	/* HERD_STARTUP_LOGIN */
	uint16_t minor;
	int nparams;
	struct {
		const char *name, *value;
	} params[HERD_STARTUP_MAX_PARAMS];
	/* HERD_STARTUP_CANCEL: key is 4 to 256 bytes (protocol 3.2), pid first */
	uint32_t cancel_pid;
	const uint8_t *cancel_key;
	uint32_t cancel_key_len;
};

/* 0, -EAGAIN (packet not complete), -EBADMSG, or -EPROTONOSUPPORT (a major version not ours). */
int herd_startup_parse(const void *data, size_t n, struct herd_startup *ret);
/* The value of a parameter or NULL. */
const char *herd_startup_get(const struct herd_startup *s, const char *name);

/* pairs: name, value, name, value, ..., NULL */
void herd_wr_startup(struct herd_buf *b, const char *const *pairs);
void herd_wr_ssl_request(struct herd_buf *b);
void herd_wr_cancel(struct herd_buf *b, uint32_t pid, const void *key, size_t key_len);
/*
 * NegotiateProtocolVersion: what we speak is 3.0 to 3.2; s names the minor version and the "_pq_."
 * parameters that the client asked for. Writes nothing when there is nothing to tell.
 */
void herd_wr_negotiate(struct herd_buf *b, const struct herd_startup *s);
