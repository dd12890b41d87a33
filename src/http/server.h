/*
 * http/server.h - an HTTP(S) server on the loop (evhttp) with limits: size of head and body, time
 * for a request to be complete, number of connections.
 *
 * The time counts from the connection's begin or its last answer, however slowly bytes drip in;
 * while the handler keeps an exchange it does not count. When all connections are taken, the one
 * that has said nothing for longest makes room.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"

enum herd_http_verify {
	HERD_HTTP_VERIFY_NONE,
	HERD_HTTP_VERIFY_OPTIONAL,
	HERD_HTTP_VERIFY_REQUIRED
};

struct herd_http_server_opts {
	const char *address; /* "127.0.0.1:8008", "[::]:8008", "*:8008", "host:port" */
	const char *certfile, *keyfile, *keyfile_password, *cafile, *ciphers; /* NULL: plain HTTP */
	enum herd_http_verify verify_client;
	size_t max_body;     /* 0: 1 MiB */
	int64_t timeout_ms;  /* 0: 30 s */
	int max_connections; /* 0: 512 */
	int backlog;         /* of connections not accepted yet; 0: the system's most */
};

struct herd_http_exchange; /* one request and its reply */

/* Answer now, or keep the exchange and answer later (exactly once). */
typedef void (*herd_http_handler)(void *arg, struct herd_http_exchange *x);

struct herd_http_server;
int herd_http_server_new(struct herd_loop *l, const struct herd_http_server_opts *opts,
			 herd_http_handler fn, void *arg, struct herd_http_server **ret,
			 struct herd_err *err);
/*
 * Certificates and settings of TLS are read again, for new connections (certfile NULL: plain from
 * now on); the old ones stay when that fails.
 */
int herd_http_server_reload_tls(struct herd_http_server *s,
				const struct herd_http_server_opts *opts, struct herd_err *err);
/* Headers of every answer that has a body; those that were added last come first. */
void herd_http_server_clear_headers(struct herd_http_server *s);
void herd_http_server_add_header(struct herd_http_server *s, const char *name, const char *value);
void herd_http_server_free(struct herd_http_server *s);
/* The port that was bound (for port 0). */
int herd_http_server_port(const struct herd_http_server *s);

/* "GET", "OPTIONS", ...; "" when it is none that HTTP knows (answer 501). */
const char *herd_http_method(const struct herd_http_exchange *x);
const char *herd_http_path(const struct herd_http_exchange *x); /* decoded, without the query */
const char *herd_http_query(const struct herd_http_exchange *x, const char *name); /* or NULL */
/* Walks all query parameters; *pos starts at 0. */
bool herd_http_query_next(const struct herd_http_exchange *x, size_t *pos, const char **name,
			  const char **value);
const char *herd_http_header(const struct herd_http_exchange *x, const char *name); /* or NULL */
const char *herd_http_body(const struct herd_http_exchange *x, size_t *len);
const char *herd_http_peer(const struct herd_http_exchange *x); /* IP address */
bool herd_http_peer_has_cert(const struct herd_http_exchange *x);
void herd_http_set_header(struct herd_http_exchange *x, const char *name, const char *value);
/*
 * Ends the exchange. content_type NULL: no body. Also right when the client has gone away or the
 * server was freed in the meantime: then nothing is sent.
 */
void herd_http_reply(struct herd_http_exchange *x, int status, const char *content_type,
		     const char *body, size_t len);
