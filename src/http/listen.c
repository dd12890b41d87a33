#include "http/listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"

/* "host:port", "[v6]:port", "*:port", ":port": cuts text in two. */
static int split_address(char *text, char **host, char **port)
{
	char *colon = strrchr(text, ':');
	size_t len;

	if (!colon || !colon[1])
		return -EINVAL;
	*colon = '\0';
	*host = text;
	*port = colon + 1;
	len = strlen(text);
	if (text[0] == '[' && len > 1 && text[len - 1] == ']') {
		text[len - 1] = '\0';
		*host = text + 1;
	}
	return 0;
}

static int bind_one(const struct addrinfo *ai, bool both_families, int backlog)
{
	int one = 1, zero = 0;
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, both_families ? &zero : &one,
			   sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 &&
	    listen(fd, backlog > 0 ? backlog : SOMAXCONN) == 0)
		return fd;
	int e = errno;

	close(fd);
	return -e;
}

static int port_of(int fd)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
		return 0;
	return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
					      : ((struct sockaddr_in *)&ss)->sin_port);
}

int herd_http_listen(const char *address, int backlog, int *port, struct herd_err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *list = NULL;
	char *copy = strdup(address), *host, *service;
	int rc;

	if (!copy)
		return herd_err_set(err, -ENOMEM, "out of memory");
	if (split_address(copy, &host, &service) < 0) {
		free(copy);
		herd_err_set(err, -EINVAL, "invalid address to listen on: \"%s\"", address);
		herd_err_hint(err, "Write it as host:port.");
		return -EINVAL;
	}
	bool any = !*host || strcmp(host, "*") == 0;
	int gai = getaddrinfo(any ? "::" : host, service, &hints, &list);

	rc = gai == 0 ? bind_one(list, any || strcmp(host, "::") == 0, backlog) : -EADDRNOTAVAIL;
	if (list)
		freeaddrinfo(list);
	if (any && (rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL)) {
		/* No IPv6 here. */
		gai = getaddrinfo("0.0.0.0", service, &hints, &list);
		if (gai == 0) {
			rc = bind_one(list, false, backlog);
			freeaddrinfo(list);
		}
	}
	free(copy);
	if (rc < 0)
		return herd_err_set(err, rc, "could not listen on \"%s\": %s", address,
				    gai ? gai_strerror(gai) : strerror(-rc));
	*port = port_of(rc);
	return rc;
}

static int tls_failed(struct herd_err *err, SSL_CTX *ctx, const char *what, const char *file)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	herd_err_set(err, -EINVAL, "could not load %s \"%s\": %s", what, file,
		     why ? why : "unknown error");
	ERR_clear_error();
	SSL_CTX_free(ctx);
	return -EINVAL;
}

static int give_password(char *buf, int size, int writing, void *password)
{
	size_t len = password ? strlen(password) : 0;

	if (len == 0 || len > (size_t)size)
		return -1;
	memcpy(buf, password, len);
	return (int)len;
}

int herd_http_tls_new(const struct herd_http_server_opts *o, SSL_CTX **ret, struct herd_err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	const char *keyfile = o->keyfile ? o->keyfile : o->certfile;

	if (!ctx)
		return herd_err_set(err, -ENOMEM, "out of memory");
	ERR_clear_error();
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_default_passwd_cb(ctx, give_password);
	SSL_CTX_set_default_passwd_cb_userdata(ctx, (void *)o->keyfile_password);
	if (SSL_CTX_use_certificate_chain_file(ctx, o->certfile) != 1)
		return tls_failed(err, ctx, "certificate file", o->certfile);
	if (SSL_CTX_use_PrivateKey_file(ctx, keyfile, SSL_FILETYPE_PEM) != 1)
		return tls_failed(err, ctx, "private key file", keyfile);
	/* The password is the caller's; it is not needed after the key is read. */
	SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
	if (o->cafile && SSL_CTX_load_verify_locations(ctx, o->cafile, NULL) != 1)
		return tls_failed(err, ctx, "certificate authority file", o->cafile);
	if (o->ciphers && SSL_CTX_set_cipher_list(ctx, o->ciphers) != 1)
		return tls_failed(err, ctx, "list of ciphers", o->ciphers);
	if (o->verify_client != HERD_HTTP_VERIFY_NONE)
		SSL_CTX_set_verify(ctx,
				   SSL_VERIFY_PEER | (o->verify_client == HERD_HTTP_VERIFY_REQUIRED
							      ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT
							      : 0),
				   NULL);
	*ret = ctx;
	return 0;
}
