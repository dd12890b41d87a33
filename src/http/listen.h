/*
 * http/listen.h - the socket and the certificates of server.c.
 */
#pragma once
#include <openssl/ssl.h>

#include "base/err.h"
#include "http/server.h"

/*
 * A listening socket (non-blocking) for "host:port"; backlog 0: the system's most; *port is what
 * was bound. Or a negative errno.
 */
int herd_http_listen(const char *address, int backlog, int *port, struct herd_err *err);
/* A server's context from the files in opts. */
int herd_http_tls_new(const struct herd_http_server_opts *opts, SSL_CTX **ret,
		      struct herd_err *err);
