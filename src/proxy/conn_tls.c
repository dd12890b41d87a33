#include "proxy/conn_tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/tls.h"

/* What OpenSSL calls for our kind of BIO: a table of functions, made once and never changed. */
static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static ssize_t raw_send(struct herd_conn *c, const void *data, size_t n)
{
	ssize_t put;

	do
		put = send(c->fd, data, n, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		herd_conn_full(c);
		return -EAGAIN;
	}
	return put < 0 ? -errno : put;
}

bool herd_conn_tls_flush(struct herd_conn *c)
{
	size_t done = 0;

	while (c->sealed && c->can_write && !c->broken && done < c->sealed->len) {
		ssize_t put = raw_send(c, c->sealed->data + done, c->sealed->len - done);

		if (put >= 0)
			done += (size_t)put;
		else if (put != -EAGAIN)
			c->broken = true;
	}
	if (!c->sealed)
		return true;
	if (done < c->sealed->len && !c->broken) {
		herd_buf_consume(c->sealed, done);
		return false;
	}
	herd_buf_free(c->sealed);
	free(c->sealed);
	c->sealed = NULL;
	return !c->broken;
}

void herd_conn_tls_sent(struct herd_conn *c, const void *data, size_t n, ssize_t put)
{
	size_t done = 0;

	/* Not tried, or in part: on from there. */
	while (put >= 0 && (done += (size_t)put) < n)
		put = raw_send(c, (const char *)data + done, n - done);
	if (put == -EAGAIN)
		herd_conn_full(c);
	else if (put < 0)
		c->broken = true;
	if (done == n || c->broken)
		return;
	/* What comes later may not pass it. A record lost would end the session anyway. */
	if (!c->sealed)
		c->sealed = calloc(1, sizeof(*c->sealed));
	if (c->sealed)
		herd_buf_add(c->sealed, (const char *)data + done, n - done);
	if (!c->sealed || !herd_buf_ok(c->sealed))
		c->broken = true;
}

static int bio_write(BIO *b, const char *data, int n)
{
	struct herd_conn *c = BIO_get_data(b);

	BIO_clear_retry_flags(b);
	if (c->corked && !c->sealed && herd_batch_add(c->corked, c, data, (size_t)n))
		return n;
	herd_conn_settle(c);
	if (!herd_conn_tls_flush(c)) {
		if (!c->broken)
			BIO_set_retry_write(b);
		return -1;
	}
	ssize_t put = raw_send(c, data, (size_t)n);

	if (put >= 0)
		return (int)put;
	if (put == -EAGAIN)
		BIO_set_retry_write(b);
	return -1;
}

/* What was read before it was known to be TLS. */
static int take_raw(struct herd_conn *c, char *data, int n)
{
	size_t len = c->in.len < (size_t)n ? c->in.len : (size_t)n;

	memcpy(data, c->in.data, len);
	herd_buf_consume(&c->in, len);
	c->raw_in = c->in.len > 0;
	return (int)len;
}

static int bio_read(BIO *b, char *data, int n)
{
	struct herd_conn *c = BIO_get_data(b);
	ssize_t got = -1;

	BIO_clear_retry_flags(b);
	if (c->raw_in)
		return take_raw(c, data, n);
	errno = EAGAIN;
	while (!c->drained && (got = recv(c->fd, data, (size_t)n, 0)) < 0 && errno == EINTR)
		continue;
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		c->drained = true;
		BIO_set_retry_read(b);
		return -1;
	}
	/* A short read emptied the socket; a later arrival brings a new edge. */
	if (got < n && !c->hung_up)
		c->drained = true;
	errno = got < 0 ? errno : 0;
	return (int)got;
}

static long bio_ctrl(BIO *b, int cmd, long number, void *data)
{
	(void)b;
	(void)number;
	(void)data;
	return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *b)
{
	BIO_set_init(b, 1);
	return 1;
}

static void make_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pgherd");

	if (!m || !BIO_meth_set_write(m, bio_write) || !BIO_meth_set_read(m, bio_read) ||
	    !BIO_meth_set_ctrl(m, bio_ctrl) || !BIO_meth_set_create(m, bio_create)) {
		BIO_meth_free(m);
		return;
	}
	method = m;
}

int herd_conn_tls_prepare(struct herd_conn *c)
{
	BIO *is = SSL_get_rbio(c->tls);

	pthread_once(&method_once, make_method);
	if (is && BIO_get_data(is) == c)
		return 0;
	BIO *b = method ? BIO_new(method) : NULL;

	if (!b)
		return -ENOMEM;
	BIO_set_data(b, c);
	SSL_set_bio(c->tls, b, b);
	SSL_set_read_ahead(c->tls, 1);
	return 0;
}

static ssize_t result(struct herd_conn *c, int rc, bool reading)
{
	switch (SSL_get_error(c->tls, rc)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		if (reading)
			c->can_read = false;
		else
			c->can_write = false;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		return -errno;
	default:
		/*
		 * A peer that closes without goodbye is an end of file to us. In TLS 1.3 a server
		 * refuses our certificate only after the handshake, by an alert.
		 */
		if (reading && ERR_GET_REASON(ERR_peek_error()) >= SSL_AD_REASON_OFFSET)
			c->alert = herd_tls_reason(ERR_peek_error());
		ERR_clear_error();
		return reading ? 0 : -EPIPE;
	}
}

ssize_t herd_conn_tls_read(struct herd_conn *c, void *data, size_t n)
{
	size_t total = 0;

	/* One call gives one record at most. */
	do {
		ERR_clear_error();
		errno = 0;
		int rc = SSL_read(c->tls, (char *)data + total, (int)(n - total));

		if (rc > 0) {
			total += (size_t)rc;
			continue;
		}
		/* An end or error behind what was read is met again by the next call. */
		ssize_t why = result(c, rc, true);

		return total > 0 ? (ssize_t)total : why;
	} while (total < n && SSL_has_pending(c->tls));
	if (total < n && c->drained && !SSL_has_pending(c->tls))
		c->can_read = false;
	return (ssize_t)total;
}

ssize_t herd_conn_tls_write(struct herd_conn *c, const void *data, size_t n)
{
	ERR_clear_error();
	errno = 0;
	int rc = SSL_write(c->tls, data, (int)(n > INT32_MAX ? INT32_MAX : n));

	if (rc > 0)
		return rc;
	ssize_t put = result(c, rc, false);

	return put == 0 ? -EPIPE : put;
}

void herd_conn_agreed(struct herd_conn *c)
{
	c->tls = c->asked;
	c->asked = NULL;
}

void herd_conn_tls_close(struct herd_conn *c)
{
	if (c->sealed)
		herd_buf_free(c->sealed);
	free(c->sealed);
	c->sealed = NULL;
	SSL_free(c->tls);
	c->tls = NULL;
}
