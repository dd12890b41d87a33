/*
 * http/client.h - HTTP requests on the loop (libcurl's multi interface): the DCS, members' REST.
 *
 * One client keeps connections open and reuses them. Every request has a time limit and a body
 * limit; the callback is called exactly once unless the request is cancelled.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"

struct herd_http_tls {
	const char *cacert, *cert, *key, *key_password; /* NULL when unused; copied */
	bool insecure;                                  /* no verification of the server */
};

struct herd_http_client;
struct herd_http_client *herd_http_client_new(struct herd_loop *l, const struct herd_http_tls *tls);
/* For connections that are made from now on. */
void herd_http_client_set_tls(struct herd_http_client *c, const struct herd_http_tls *tls);
/* Cancels what is under way. */
void herd_http_client_free(struct herd_http_client *c);

struct herd_http_response {
	int status;       /* 0: no answer, err says why */
	const char *body; /* NUL-terminated, len bytes */
	size_t len;
	const struct herd_err *err;
	bool maybe_sent; /* no answer, but the server may have acted on the request */
	void *handle;    /* for herd_http_response_header */
};

/* A header of the answer, or NULL. For use within on_done; valid until the next call. */
const char *herd_http_response_header(const struct herd_http_response *resp, const char *name);

struct herd_http_request {
	const char *method; /* "GET" ... */
	const char *url;
	const char *body;            /* NULL: none */
	const char *content_type;    /* NULL: application/json */
	const char *user, *password; /* basic authentication; NULL: none */
	const char *const *headers;  /* "Name: value" ..., NULL at the end; may be NULL */
	int64_t timeout_ms;          /* whole request; 0: endless (streams) */
	int64_t connect_timeout_ms;  /* 0: as timeout_ms */
	size_t max_body;             /* 0: 16 MiB */
	/* Streams: called with each piece as it comes; the response's body is then empty. */
	void (*on_data)(void *arg, const char *data, size_t len);
	void (*on_done)(void *arg, const struct herd_http_response *resp);
	void *arg;
};

struct herd_http_call;
/* All strings are copied. NULL only when out of memory; other failures come through on_done. */
struct herd_http_call *herd_http_send(struct herd_http_client *c,
				      const struct herd_http_request *r);
/* on_done is not called any more. */
void herd_http_cancel(struct herd_http_call *call);
