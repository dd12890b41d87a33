#include "proxy/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "proxy/conn_tls.h"
#include "proxy/tls.h"

enum {
	SMALL_RUN_BYTES = 4096, /* longer runs are sent from their place */
	RECORD_BYTES = 128      /* more than TLS adds to a short message */
};

void herd_conn_full(struct herd_conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				  .data.ptr = c };

	c->can_write = false;
	/* Reports at once if it can be written to again by now. */
	if (!c->out_watched && epoll_ctl(c->epfd, EPOLL_CTL_MOD, c->fd, &ev) == 0)
		c->out_watched = true;
}

void herd_conn_room(struct herd_conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c };

	if (c->out_watched && c->can_write && epoll_ctl(c->epfd, EPOLL_CTL_MOD, c->fd, &ev) == 0)
		c->out_watched = false;
}

void herd_conn_event(struct herd_conn *c, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->can_read = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		c->can_write = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->hung_up = true;
	/* TLS may need one direction to go on in the other. */
	if (c->tls) {
		if (events & ~(uint32_t)EPOLLOUT)
			c->drained = false;
		c->can_read = c->can_write = true;
	}
}

ssize_t herd_conn_read(struct herd_conn *c, void *data, size_t n)
{
	ssize_t got;

	if (c->tls) {
		got = herd_conn_tls_read(c, data, n);
		if (got <= 0)
			return got;
	} else {
		do
			got = recv(c->fd, data, n, 0);
		while (got < 0 && errno == EINTR);
		if (got < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				return -errno;
			c->can_read = false;
			return -EAGAIN;
		}
		/* A short read emptied the socket; a later arrival brings a new edge. */
		if ((size_t)got < n && !c->hung_up)
			c->can_read = false;
	}
	c->received += (uint64_t)got;
	return got;
}

static ssize_t write_some(struct herd_conn *c, const void *data, size_t n)
{
	ssize_t put;

	if (c->tls)
		return herd_conn_tls_write(c, data, n);
	do
		put = send(c->fd, data, n, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put >= 0)
		return put;
	if (errno != EAGAIN && errno != EWOULDBLOCK)
		return -errno;
	herd_conn_full(c);
	return -EAGAIN;
}

void herd_conn_flush(struct herd_conn *c)
{
	if (c->sealed && !herd_conn_tls_flush(c) && !c->broken)
		return;
	while (c->out_pos < c->out.len && c->can_write && !c->broken) {
		ssize_t put = write_some(c, c->out.data + c->out_pos, c->out.len - c->out_pos);

		if (put > 0) {
			c->out_pos += (size_t)put;
			c->sent += (uint64_t)put;
		} else if (put != -EAGAIN) {
			c->broken = true;
		}
	}
	if (c->broken || c->out_pos == c->out.len) {
		herd_buf_free(&c->out);
		c->out_pos = 0;
	}
}

int herd_conn_send(struct herd_conn *c, const void *data, size_t n)
{
	const char *p = data;

	herd_conn_settle(c);
	if (c->broken || c->fd < 0)
		return 0;
	while (n > 0 && !herd_conn_blocked(c) && c->can_write) {
		ssize_t put = write_some(c, p, n);

		if (put > 0) {
			p += put;
			n -= (size_t)put;
			c->sent += (uint64_t)put;
		} else if (put != -EAGAIN) {
			c->broken = true;
			return 0;
		}
	}
	if (n == 0)
		return 0;
	if (c->out_pos > 0) {
		herd_buf_consume(&c->out, c->out_pos);
		c->out_pos = 0;
	}
	herd_buf_add(&c->out, p, n);
	return herd_buf_ok(&c->out) ? 0 : -ENOMEM;
}

void herd_conn_sent(struct herd_conn *c, const void *data, size_t n, ssize_t put)
{
	if (c->tls) {
		herd_conn_tls_sent(c, data, n, put);
		return;
	}
	if (put == -EAGAIN) {
		herd_conn_full(c);
	} else if (put < 0) {
		c->broken = true;
	} else {
		c->sent += (uint64_t)put;
		data = (const char *)data + put;
		n -= (size_t)put;
	}
	/* Out of memory: a hole in the stream, nothing may follow it. */
	if (n > 0 && herd_conn_send(c, data, n) < 0)
		c->broken = true;
}

int herd_conn_send_buf(struct herd_conn *c, struct herd_buf *b)
{
	int rc = herd_buf_ok(b) ? herd_conn_send(c, herd_buf_str(b), b->len) : -ENOMEM;

	herd_buf_reset(b);
	return rc;
}

int herd_conn_handshake(struct herd_conn *c, struct herd_err *err)
{
	if (herd_conn_tls_prepare(c) < 0)
		return herd_err_set(err, -ENOMEM, "out of memory");
	ERR_clear_error();
	int rc = SSL_do_handshake(c->tls);

	if (rc == 1)
		return 1;
	int why = SSL_get_error(c->tls, rc);

	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return 0;
	unsigned long code = ERR_get_error();
	const char *text = code ? herd_tls_reason(code) : NULL;
	long peer = SSL_get_verify_result(c->tls);

	ERR_clear_error();
	if (!text)
		return herd_err_set(err, -ECONNRESET, "TLS handshake failed: connection closed");
	/* Expired, of another authority, or for another host: three different things to mend. */
	if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && peer != X509_V_OK)
		return herd_err_set(err, -EPROTO, "TLS handshake failed: %s: %s", text,
				    X509_verify_cert_error_string(peer));
	return herd_err_set(err, -EPROTO, "TLS handshake failed: %s", text);
}

void herd_conn_close(struct herd_conn *c)
{
	herd_conn_settle(c);
	if (c->tls)
		herd_conn_tls_close(c);
	SSL_free(c->asked);
	c->asked = NULL;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	herd_buf_free(&c->in);
	herd_buf_free(&c->out);
	c->out_pos = 0;
}

void herd_conn_trim(struct herd_conn *c)
{
	if (c->in.len == 0 && c->in.data)
		herd_buf_free(&c->in);
	if (!herd_conn_blocked(c) && c->out.data) {
		herd_buf_free(&c->out);
		c->out_pos = 0;
	}
}

void herd_gather_start(struct herd_gather *g, struct herd_conn *to, struct herd_buf *aux,
		       struct herd_batch *batch)
{
	herd_buf_reset(aux);
	*g = (struct herd_gather){ .to = to, .aux = aux, .batch = batch };
}

static void send_now(struct herd_gather *g, const void *data, size_t n)
{
	if (n > 0 && herd_conn_send(g->to, data, n) < 0)
		g->failed = true;
}

/* Moves the run into the buffer, or sends buffer and run when that saves a large copy. */
static void settle(struct herd_gather *g)
{
	if (g->run_len > SMALL_RUN_BYTES) {
		send_now(g, herd_buf_str(g->aux), g->aux->len);
		herd_buf_reset(g->aux);
		send_now(g, g->run, g->run_len);
	} else {
		herd_buf_add(g->aux, g->run, g->run_len);
	}
	g->run = NULL;
	g->run_len = 0;
}

void herd_gather_add(struct herd_gather *g, const void *data, size_t n)
{
	if (n == 0)
		return;
	if (g->run && g->run + g->run_len == (const char *)data) {
		g->run_len += n;
		return;
	}
	if (g->run)
		settle(g);
	g->run = data;
	g->run_len = n;
}

struct herd_buf *herd_gather_buf(struct herd_gather *g)
{
	if (g->run)
		settle(g);
	return g->aux;
}

/* The end of a turn: nothing follows soon, so it may wait for what others send. */
static void send_last(struct herd_gather *g, const void *data, size_t n)
{
	struct herd_conn *c = g->to;

	if (n == 0)
		return;
	if (c->tls && n <= HERD_BATCH_MAX_BYTES - RECORD_BYTES) {
		c->corked = g->batch;
		send_now(g, data, n);
		c->corked = NULL;
	} else if (!g->batch || c->tls || c->broken || c->fd < 0 || !c->can_write ||
		   herd_conn_blocked(c) || !herd_batch_add(g->batch, c, data, n)) {
		send_now(g, data, n);
	}
}

void herd_gather_drop(struct herd_gather *g)
{
	g->run = NULL;
	g->run_len = 0;
	herd_buf_reset(g->aux);
}

int herd_gather_end(struct herd_gather *g)
{
	if (g->run && g->aux->len == 0) {
		send_last(g, g->run, g->run_len);
	} else {
		if (g->run)
			settle(g);
		if (!herd_buf_ok(g->aux))
			g->failed = true;
		else
			send_last(g, herd_buf_str(g->aux), g->aux->len);
	}
	g->run = NULL;
	g->run_len = 0;
	herd_buf_reset(g->aux);
	return g->failed ? -ENOMEM : 0;
}

void herd_addr_of(const struct sockaddr *sa, struct herd_addr *ret)
{
	*ret = (struct herd_addr){ .family = sa->sa_family };
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		inet_ntop(AF_INET, &in->sin_addr, ret->host, sizeof(ret->host));
		ret->port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, ret->host, sizeof(ret->host));
		ret->port = ntohs(in6->sin6_port);
	} else {
		snprintf(ret->host, sizeof(ret->host), "unix");
	}
}
