/*
 * proxy/tls.h - the TLS contexts of a configuration: one for clients, one for servers.
 */
#pragma once
#include <openssl/ssl.h>

#include "base/err.h"
#include "proxy/config.h"

/* *ret is NULL when the mode is disable. SSL_CTX are counted by OpenSSL; free with SSL_CTX_free. */
int herd_tls_for_clients(const struct herd_settings *s, SSL_CTX **ret, struct herd_err *err);
int herd_tls_for_servers(const struct herd_settings *s, SSL_CTX **ret, struct herd_err *err);
/* A connection to a server; host is checked against the certificate in mode verify-full. */
SSL *herd_tls_connect(SSL_CTX *ctx, int fd, const char *host, int sslmode);
SSL *herd_tls_accept(SSL_CTX *ctx, int fd);
