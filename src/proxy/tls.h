/*
 * proxy/tls.h - the TLS contexts of a configuration: one for clients, one for servers.
 */
#pragma once
#include <openssl/ssl.h>

#include "base/err.h"
#include "proxy/config.h"
#include "wire/auth.h"

/*
 * *ret is NULL when the mode is disable. SSL_CTX are counted by OpenSSL; free with SSL_CTX_free.
 * -EKEYREJECTED: key and certificate do not belong together; other negative errno.
 */
int herd_tls_for_clients(const struct herd_settings *s, SSL_CTX **ret, struct herd_err *err);
int herd_tls_for_servers(const struct herd_settings *s, SSL_CTX **ret, struct herd_err *err);
/* What OpenSSL's code stands for; NULL: it has no words for it. */
const char *herd_tls_reason(unsigned long code);
/* A connection to a server; host is checked against the certificate in mode verify-full. */
SSL *herd_tls_connect(SSL_CTX *ctx, int fd, const char *host, int sslmode);
SSL *herd_tls_accept(SSL_CTX *ctx, int fd);
/* "tlsv1.2,tlsv1.3", "secure", "all", "!tlsv1.0", ...: a bit for each of 1.0 to 1.3. 0 or -EINVAL.
 */
int herd_tls_protocols(const char *list, unsigned *ret);
/* Would connections to servers be the same under both? The contents of files are not looked at. */
bool herd_tls_same_servers(const struct herd_settings *a, const struct herd_settings *b);
/* The common name of a certificate that was found good, NULL: there is none. Caller frees. */
char *herd_tls_common_name(SSL *ssl);
/*
 * "TLSv1.3/TLS_AES_256_GCM_SHA384", nothing while the handshake lasts; NULL when out of memory.
 * Caller frees.
 */
char *herd_tls_text(SSL *ssl);
/*
 * The binding of type tls-server-end-point to a connection: the hash of the server's certificate,
 * which is our own towards clients. Empty where there is none.
 */
void herd_tls_binding(SSL *ssl, bool ours, struct herd_scram_binding *ret);
/* Was our protocol agreed upon by ALPN? */
bool herd_tls_speaks_postgresql(SSL *ssl);
