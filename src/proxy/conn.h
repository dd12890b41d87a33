/*
 * proxy/conn.h - one socket with optional TLS, edge triggered: what may be read or written is
 * remembered, so a connection is registered once and most messages cost one recv and one send.
 *
 * A connection belongs to one thread at a time; only its fd's registration is touched by others.
 */
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/err.h"
#include "proxy/batch.h"

enum herd_conn_kind {
	HERD_CONN_LISTENER = 0,
	HERD_CONN_WAKE,
	HERD_CONN_CLIENT,
	HERD_CONN_SERVER,
	HERD_CONN_CANCEL
};

struct herd_conn {
	enum herd_conn_kind kind; /* first: epoll data points here */
	int fd;                   /* -1: none */
	int epfd;                 /* where it is registered; of use only while fd is not -1 */
	SSL *tls;                 /* NULL: plain */
	SSL *asked;               /* what it will be if the server agrees (conn_tls.h) */
	bool can_read, can_write, hung_up;
	bool out_watched;   /* epoll reports when it can be written to */
	bool raw_in;        /* in holds what TLS has to read first: it came with the first packet */
	bool broken;        /* an error on write: nothing more can be sent */
	bool drained;       /* of TLS: the socket is empty, OpenSSL may still hold something */
	struct herd_buf in; /* read, not consumed: at most one message unless the reader waits */
	struct herd_buf out; /* not yet sent, from out_pos on */
	size_t out_pos;
	struct herd_batch *batch;  /* holds bytes for it that go out with the others of this pass */
	struct herd_batch *corked; /* during a write of TLS: where its records may wait */
	struct herd_buf *sealed;   /* records of TLS not yet sent; NULL: none */
	const char *alert;         /* of TLS, that ended it; NULL: none */
	uint64_t received, sent;   /* bytes since the last look */
};

/* > 0: bytes; 0: end of file; -EAGAIN: nothing now; other negative errno: broken. */
ssize_t herd_conn_read(struct herd_conn *c, void *data, size_t n);
/* Sends or keeps; nothing is sent to a broken connection. 0 or -ENOMEM. */
int herd_conn_send(struct herd_conn *c, const void *data, size_t n);
/* Sends and empties the buffer. */
int herd_conn_send_buf(struct herd_conn *c, struct herd_buf *b);
/* Tries to send what is kept. */
void herd_conn_flush(struct herd_conn *c);
/* Something is kept: the peer does not read fast enough, stop feeding it. */
static inline bool herd_conn_blocked(const struct herd_conn *c)
{
	return c->out.len > c->out_pos || c->sealed;
}
/* The batch sent this much (or negative errno, 0: not tried) of n bytes: the rest is sent or kept.
 */
void herd_conn_sent(struct herd_conn *c, const void *data, size_t n, ssize_t put);
/* Nothing of it is in the batch of this thread any more: before another thread may touch it. */
static inline void herd_conn_settle(struct herd_conn *c)
{
	if (c->batch)
		herd_batch_flush(c->batch);
}
/*
 * The socket takes no more for now. Most clients never see this, so they are registered for reading
 * only until then: otherwise epoll would wake us for each new socket, just because it can be
 * written to.
 */
void herd_conn_full(struct herd_conn *c);
/* It was full once and takes what it gets again: epoll need not tell of it each time. */
void herd_conn_room(struct herd_conn *c);
/* Notes what epoll reported. */
void herd_conn_event(struct herd_conn *c, uint32_t events);
/* Starts TLS; 1: done, 0: in progress (call again on events), negative: failed, err says why. */
int herd_conn_handshake(struct herd_conn *c, struct herd_err *err);
/* Closes and frees all that it holds. */
void herd_conn_close(struct herd_conn *c);
/* Frees buffers that hold nothing: an idle connection costs no buffer. */
void herd_conn_trim(struct herd_conn *c);

/*
 * Collects what goes to one connection during one pass over received data: long unchanged runs are
 * sent from where they lie, short pieces are put together.
 */
struct herd_gather {
	struct herd_conn *to;
	struct herd_buf *aux;
	struct herd_batch *batch; /* NULL: everything is sent at once */
	const char *run;
	size_t run_len;
	bool failed;
};
void herd_gather_start(struct herd_gather *g, struct herd_conn *to, struct herd_buf *aux,
		       struct herd_batch *batch);
void herd_gather_add(struct herd_gather *g, const void *data, size_t n);
/* For writers: the buffer to append to, with all before it in place. */
struct herd_buf *herd_gather_buf(struct herd_gather *g);
/* Instead of the end: what was collected is not sent. */
void herd_gather_drop(struct herd_gather *g);
/* Sends all. 0 or -ENOMEM. */
int herd_gather_end(struct herd_gather *g);

/* An address as text: "127.0.0.1", "unix" with the port apart. */
struct herd_addr {
	char host[64]; /* numeric, INET6_ADDRSTRLEN is 46 */
	int port;
	sa_family_t family;
};
void herd_addr_of(const struct sockaddr *sa, struct herd_addr *ret);
