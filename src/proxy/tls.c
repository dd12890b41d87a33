#include "proxy/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

static int fail(SSL_CTX *ctx, struct herd_err *err, const char *what, const char *file)
{
	unsigned long code = ERR_get_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	SSL_CTX_free(ctx);
	return herd_err_set(err, -EINVAL, "could not load %s \"%s\": %s", what, file,
			    text ? text : "unknown error");
}

static int set_protocols(SSL_CTX *ctx, const char *list)
{
	int lowest = TLS1_2_VERSION;

	if (strcasecmp(list, "all") == 0 || strcasecmp(list, "legacy") == 0)
		lowest = TLS1_VERSION;
	else if (herd_pconf_in_list(list, "tlsv1.0"))
		lowest = TLS1_VERSION;
	else if (herd_pconf_in_list(list, "tlsv1.1"))
		lowest = TLS1_1_VERSION;
	else if (strcasecmp(list, "tlsv1.3") == 0)
		lowest = TLS1_3_VERSION;
	if (strcasecmp(list, "tlsv1.2") == 0)
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	return SSL_CTX_set_min_proto_version(ctx, lowest);
}

static int set_common(SSL_CTX *ctx, const char *protocols, const char *ciphers)
{
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	set_protocols(ctx, protocols);
	if (!*ciphers || strcasecmp(ciphers, "default") == 0 ||
	    strcasecmp(ciphers, "secure") == 0 || strcasecmp(ciphers, "fast") == 0)
		return 1;
	return SSL_CTX_set_cipher_list(ctx, ciphers);
}

int herd_tls_for_clients(const struct herd_settings *s, SSL_CTX **ret, struct herd_err *err)
{
	if (s->client_tls_sslmode == HERD_SSL_DISABLE) {
		*ret = NULL;
		return 0;
	}
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx)
		return herd_err_set(err, -ENOMEM, "out of memory");
	if (set_common(ctx, s->client_tls_protocols, s->client_tls_ciphers) != 1)
		return fail(ctx, err, "ciphers", s->client_tls_ciphers);
	if (SSL_CTX_use_certificate_chain_file(ctx, s->client_tls_cert_file) != 1)
		return fail(ctx, err, "certificate", s->client_tls_cert_file);
	if (SSL_CTX_use_PrivateKey_file(ctx, s->client_tls_key_file, SSL_FILETYPE_PEM) != 1)
		return fail(ctx, err, "key", s->client_tls_key_file);
	if (*s->client_tls_ca_file) {
		if (SSL_CTX_load_verify_locations(ctx, s->client_tls_ca_file, NULL) != 1)
			return fail(ctx, err, "CA file", s->client_tls_ca_file);
		SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(s->client_tls_ca_file));
	}
	if (s->client_tls_sslmode >= HERD_SSL_VERIFY_CA)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	else if (*s->client_tls_ca_file)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"pgherd", 6);
	*ret = ctx;
	return 0;
}

int herd_tls_for_servers(const struct herd_settings *s, SSL_CTX **ret, struct herd_err *err)
{
	if (s->server_tls_sslmode == HERD_SSL_DISABLE) {
		*ret = NULL;
		return 0;
	}
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return herd_err_set(err, -ENOMEM, "out of memory");
	if (set_common(ctx, s->server_tls_protocols, s->server_tls_ciphers) != 1)
		return fail(ctx, err, "ciphers", s->server_tls_ciphers);
	if (*s->server_tls_ca_file) {
		if (SSL_CTX_load_verify_locations(ctx, s->server_tls_ca_file, NULL) != 1)
			return fail(ctx, err, "CA file", s->server_tls_ca_file);
	} else if (s->server_tls_sslmode >= HERD_SSL_VERIFY_CA) {
		SSL_CTX_set_default_verify_paths(ctx);
	}
	if (*s->server_tls_cert_file &&
	    SSL_CTX_use_certificate_chain_file(ctx, s->server_tls_cert_file) != 1)
		return fail(ctx, err, "certificate", s->server_tls_cert_file);
	if (*s->server_tls_key_file &&
	    SSL_CTX_use_PrivateKey_file(ctx, s->server_tls_key_file, SSL_FILETYPE_PEM) != 1)
		return fail(ctx, err, "key", s->server_tls_key_file);
	if (s->server_tls_sslmode >= HERD_SSL_VERIFY_CA)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	*ret = ctx;
	return 0;
}

SSL *herd_tls_connect(SSL_CTX *ctx, int fd, const char *host, int sslmode)
{
	SSL *ssl = SSL_new(ctx);
	uint8_t raw[16];
	bool numeric =
		host && (inet_pton(AF_INET, host, raw) == 1 || inet_pton(AF_INET6, host, raw) == 1);

	if (!ssl)
		return NULL;
	SSL_set_fd(ssl, fd);
	SSL_set_connect_state(ssl);
	if (host && !numeric && *host != '/')
		SSL_set_tlsext_host_name(ssl, host);
	if (sslmode == HERD_SSL_VERIFY_FULL && host) {
		if (numeric)
			X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
		else
			SSL_set1_host(ssl, host);
	}
	return ssl;
}

SSL *herd_tls_accept(SSL_CTX *ctx, int fd)
{
	SSL *ssl = SSL_new(ctx);

	if (!ssl)
		return NULL;
	SSL_set_fd(ssl, fd);
	SSL_set_accept_state(ssl);
	return ssl;
}
