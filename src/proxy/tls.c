#include "proxy/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

const char *herd_tls_reason(unsigned long code)
{
	/* OpenSSL 3 has no words of its own for errors of the system. */
	return ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
				      : ERR_reason_error_string(code);
}

static int fail(SSL_CTX *ctx, struct herd_err *err, const char *what, const char *file)
{
	unsigned long code = ERR_get_error();
	const char *text = code ? herd_tls_reason(code) : NULL;

	ERR_clear_error();
	SSL_CTX_free(ctx);
	return herd_err_set(err, -EINVAL, "could not load %s \"%s\": %s", what, file,
			    text ? text : "unknown error");
}

static int bad(SSL_CTX *ctx, struct herd_err *err, const char *setting, const char *value)
{
	ERR_clear_error();
	SSL_CTX_free(ctx);
	return herd_err_set(err, -EINVAL, "invalid value \"%s\" for setting \"%s\"", value,
			    setting);
}

enum { TLS_VERSIONS = 4 };

/* tlsv1.0 to tlsv1.3, lowest first. */
static const struct {
	const char *name;
	int number;
	uint64_t off;
} versions[TLS_VERSIONS] = {
	{ "tlsv1.0", TLS1_VERSION, SSL_OP_NO_TLSv1 },
	{ "tlsv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1 },
	{ "tlsv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2 },
	{ "tlsv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3 },
};

/* A bit for each version that the word means; 0: none. */
static unsigned versions_of(const char *word)
{
	if (strcasecmp(word, "all") == 0 || strcasecmp(word, "legacy") == 0 ||
	    strcasecmp(word, "tlsv1") == 0)
		return 0xf;
	if (strcasecmp(word, "secure") == 0 || strcasecmp(word, "default") == 0)
		return 0xc;
	for (int i = 0; i < TLS_VERSIONS; i++) {
		if (strcasecmp(word, versions[i].name) == 0)
			return 1U << i;
	}
	return 0;
}

int herd_tls_protocols(const char *list, unsigned *ret)
{
	char *copy = strdup(*list ? list : "secure"), *save = NULL;
	unsigned on = 0;
	int rc = copy ? 0 : -ENOMEM;

	for (char *w = copy ? strtok_r(copy, ",: \t", &save) : NULL; w && rc == 0;
	     w = strtok_r(NULL, ",: \t", &save)) {
		bool not = *w == '!';
		unsigned bits = versions_of(w + not );

		if (bits == 0)
			rc = -EINVAL;
		/* A list that begins by taking away takes from all. */
		if (not &&on == 0)
			on = 0xf;
		on = not ? on & ~bits : on | bits;
	}
	free(copy);
	if (rc == 0 && on == 0)
		rc = -EINVAL;
	if (rc == 0)
		*ret = on;
	return rc;
}

static int set_protocols(SSL_CTX *ctx, const char *list)
{
	unsigned on;
	int lowest = 0, highest = 0;

	if (herd_tls_protocols(list, &on) < 0)
		return 0;
	for (int i = 0; i < TLS_VERSIONS; i++) {
		if (!(on & 1U << i)) {
			SSL_CTX_set_options(ctx, versions[i].off);
			continue;
		}
		if (!lowest)
			lowest = versions[i].number;
		highest = versions[i].number;
	}
	return SSL_CTX_set_min_proto_version(ctx, lowest) &&
	       SSL_CTX_set_max_proto_version(ctx, highest);
}

/* PgBouncer's shortcuts, else OpenSSL's own syntax; without: what is taken away of it. */
static int set_ciphers(SSL_CTX *ctx, const char *ciphers, const char *without)
{
	static const char *const usual[] = { "",       "default", "secure", "fast",
					     "normal", "compat",  "legacy" };
	const char *list = ciphers;

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
		if (strcasecmp(ciphers, usual[i]) == 0)
			list = OSSL_default_cipher_list();
	}
	if (strcasecmp(ciphers, "all") == 0 || strcasecmp(ciphers, "insecure") == 0)
		list = "ALL:!aNULL:!eNULL";
	if (list != ciphers && !*without && strcasecmp(ciphers, "all") != 0 &&
	    strcasecmp(ciphers, "insecure") != 0)
		return 1; /* the system's choice, from its openssl.cnf */
	char *text = herd_str_printf("%s%s", list, without);
	int ok = text ? SSL_CTX_set_cipher_list(ctx, text) : 0;

	free(text);
	return ok;
}

static void set_common(SSL_CTX *ctx)
{
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
}

/* Key exchange of clients: "none", "auto" or what it is called. */
static int set_exchange(SSL_CTX *ctx, const struct herd_settings *s, const char **wrong)
{
	const char *curve = s->client_tls_ecdhcurve, *dh = s->client_tls_dheparams;

	*wrong = "client_tls_ecdhcurve";
	if (strcasecmp(curve, "auto") != 0 && strcasecmp(curve, "none") != 0 && *curve &&
	    SSL_CTX_set1_groups_list(ctx, curve) != 1)
		return 0;
	*wrong = "client_tls_dheparams";
	if (strcasecmp(dh, "auto") == 0 || !*dh)
		SSL_CTX_set_dh_auto(ctx, 1);
	else if (strcasecmp(dh, "legacy") == 0)
		SSL_CTX_set_dh_auto(ctx, 2);
	else if (strcasecmp(dh, "none") != 0)
		return 0;
	return 1;
}

/* Both kinds of ephemeral keys may be off; TLS 1.3 has its own, which stay. */
static const char *without(const struct herd_settings *s)
{
	bool no_curve = strcasecmp(s->client_tls_ecdhcurve, "none") == 0;
	bool no_dh = strcasecmp(s->client_tls_dheparams, "none") == 0;

	return no_curve && no_dh ? ":!kEECDH:!kEDH" : no_curve ? ":!kEECDH" : no_dh ? ":!kEDH" : "";
}

/* PostgreSQL's rule: who names protocols names ours among them. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
		       const unsigned char *in, unsigned inlen, void *arg)
{
	static const unsigned char ours[] = "\x0apostgresql";

	(void)ssl;
	(void)arg;
	for (unsigned i = 0; i < inlen; i += 1U + in[i]) {
		if (in[i] == ours[0] && i + 1U + in[i] <= inlen &&
		    memcmp(in + i, ours, 1U + ours[0]) == 0) {
			*out = in + i + 1;
			*outlen = in[i];
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Where certificates are asked for but not demanded any is taken; what it is worth is remembered.
 */
static int take_any(int ok, X509_STORE_CTX *store)
{
	(void)ok;
	(void)store;
	return 1;
}

static int load_pair(SSL_CTX *ctx, const char *cert, const char *key, struct herd_err *err)
{
	int rc;

	if (*cert && SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return fail(ctx, err, "certificate", cert);
	if (!*key || SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1)
		return 0;
	rc = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH ? -EKEYREJECTED
										 : -EINVAL;
	fail(ctx, err, "key", key);
	if (err)
		err->code = rc;
	return rc;
}

static int load_client_ca(SSL_CTX *ctx, const struct herd_settings *s, struct herd_err *err)
{
	bool demanded = s->client_tls_sslmode >= HERD_SSL_VERIFY_CA;

	if (!*s->client_tls_ca_file) {
		if (!demanded)
			return 0;
		SSL_CTX_free(ctx);
		return herd_err_set(err, -EINVAL,
				    "client_tls_sslmode verify-ca and verify-full need "
				    "client_tls_ca_file");
	}
	if (SSL_CTX_load_verify_locations(ctx, s->client_tls_ca_file, NULL) != 1)
		return fail(ctx, err, "CA file", s->client_tls_ca_file);
	SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(s->client_tls_ca_file));
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (demanded ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
			   demanded ? NULL : take_any);
	return 0;
}

int herd_tls_for_clients(const struct herd_settings *s, SSL_CTX **ret, struct herd_err *err)
{
	const char *wrong;

	if (s->client_tls_sslmode == HERD_SSL_DISABLE) {
		*ret = NULL;
		return 0;
	}
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx)
		return herd_err_set(err, -ENOMEM, "out of memory");
	set_common(ctx);
	if (!set_protocols(ctx, s->client_tls_protocols))
		return bad(ctx, err, "client_tls_protocols", s->client_tls_protocols);
	if (!set_ciphers(ctx, s->client_tls_ciphers, without(s)))
		return bad(ctx, err, "client_tls_ciphers", s->client_tls_ciphers);
	if (*s->client_tls13_ciphers && !SSL_CTX_set_ciphersuites(ctx, s->client_tls13_ciphers))
		return bad(ctx, err, "client_tls13_ciphers", s->client_tls13_ciphers);
	if (!set_exchange(ctx, s, &wrong))
		return bad(ctx, err, wrong,
			   strcmp(wrong, "client_tls_ecdhcurve") == 0 ? s->client_tls_ecdhcurve
								      : s->client_tls_dheparams);
	int rc = load_pair(ctx, s->client_tls_cert_file, s->client_tls_key_file, err);

	if (rc == 0)
		rc = load_client_ca(ctx, s, err);
	if (rc < 0)
		return rc;
	SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
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
	set_common(ctx);
	if (!set_protocols(ctx, s->server_tls_protocols))
		return bad(ctx, err, "server_tls_protocols", s->server_tls_protocols);
	if (!set_ciphers(ctx, s->server_tls_ciphers, ""))
		return bad(ctx, err, "server_tls_ciphers", s->server_tls_ciphers);
	if (*s->server_tls13_ciphers && !SSL_CTX_set_ciphersuites(ctx, s->server_tls13_ciphers))
		return bad(ctx, err, "server_tls13_ciphers", s->server_tls13_ciphers);
	if (*s->server_tls_ca_file) {
		if (SSL_CTX_load_verify_locations(ctx, s->server_tls_ca_file, NULL) != 1)
			return fail(ctx, err, "CA file", s->server_tls_ca_file);
	} else if (s->server_tls_sslmode >= HERD_SSL_VERIFY_CA) {
		SSL_CTX_set_default_verify_paths(ctx);
	}
	int rc = load_pair(ctx, s->server_tls_cert_file, s->server_tls_key_file, err);

	if (rc < 0)
		return rc;
	if (s->server_tls_sslmode >= HERD_SSL_VERIFY_CA)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	*ret = ctx;
	return 0;
}

bool herd_tls_same_servers(const struct herd_settings *a, const struct herd_settings *b)
{
	return a->server_tls_sslmode == b->server_tls_sslmode &&
	       strcmp(a->server_tls_ca_file, b->server_tls_ca_file) == 0 &&
	       strcmp(a->server_tls_cert_file, b->server_tls_cert_file) == 0 &&
	       strcmp(a->server_tls_key_file, b->server_tls_key_file) == 0 &&
	       strcmp(a->server_tls_protocols, b->server_tls_protocols) == 0 &&
	       strcmp(a->server_tls_ciphers, b->server_tls_ciphers) == 0 &&
	       strcmp(a->server_tls13_ciphers, b->server_tls13_ciphers) == 0;
}

char *herd_tls_common_name(SSL *ssl)
{
	X509 *cert = SSL_get1_peer_certificate(ssl);
	X509_NAME *subject = cert ? X509_get_subject_name(cert) : NULL;
	int at = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
	unsigned char *utf8 = NULL;
	char *name = NULL;

	if (at >= 0 && SSL_get_verify_result(ssl) == X509_V_OK) {
		int n = ASN1_STRING_to_UTF8(
			&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));

		/* A zero inside would show another name to whoever reads it as C text. */
		if (n > 0 && memchr(utf8, 0, (size_t)n) == NULL)
			name = strndup((char *)utf8, (size_t)n);
		OPENSSL_free(utf8);
	}
	X509_free(cert);
	return name;
}

void herd_tls_binding(SSL *ssl, bool ours, struct herd_scram_binding *ret)
{
	X509 *cert = ours ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
	unsigned int len = sizeof(ret->data);
	int hash = NID_undef;

	ret->len = 0;
	if (!cert || !X509_get_signature_info(cert, &hash, NULL, NULL, NULL))
		return;
	/* Hashes that are no good any more are not used for this, says RFC 5929. */
	if (hash == NID_md5 || hash == NID_sha1)
		hash = NID_sha256;
	const EVP_MD *md = hash == NID_undef ? NULL : EVP_get_digestbynid(hash);

	if (md && X509_digest(cert, md, ret->data, &len) == 1)
		ret->len = len;
}

char *herd_tls_text(SSL *ssl)
{
	/* Before it has chosen a session, OpenSSL's own questions read what is not there. */
	if (!SSL_is_init_finished(ssl))
		return strdup("");
	int nid = SSL_get_negotiated_group(ssl);
	const char *group = nid != NID_undef ? OBJ_nid2sn(nid) : NULL;

	return herd_str_printf("%s/%s%s%s", SSL_get_version(ssl), SSL_get_cipher_name(ssl),
			       group ? "/ECDH=" : "", group ? group : "");
}

bool herd_tls_speaks_postgresql(SSL *ssl)
{
	const unsigned char *name = NULL;
	unsigned len = 0;

	SSL_get0_alpn_selected(ssl, &name, &len);
	return len > 0;
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
