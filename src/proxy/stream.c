#include "proxy/stream.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "proxy/server.h"
#include "proxy/suspend.h"
#include "proxy/worker.h"

enum {
	SHORTS = 8,
	GATHER_BYTES = 128 * 1024,
	LEAST_BYTES = 16 * 1024, /* less is not worth waiting for */
	LATE_US = 250
};

/* The kernel makes the receive buffer large enough for it. */
static bool mark(struct herd_server *s, int bytes)
{
	return setsockopt(s->conn.fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes)) == 0;
}

void herd_stream_end(struct herd_server *s)
{
	struct herd_stream *st = &s->stream;

	st->bytes = st->shorts = 0;
	if (!st->gathers)
		return;
	st->gathers = false;
	herd_list_remove(&st->node);
	/* Reports at once when something is there. */
	if (s->conn.fd >= 0 && !mark(s, 1))
		s->conn.broken = true;
}

void herd_stream_read(struct herd_worker *w, struct herd_server *s, int64_t got)
{
	struct herd_stream *st = &s->stream;

	if (st->gathers) {
		st->took += (uint32_t)got;
		st->until_us = w->now_us + LATE_US;
		return;
	}
	if (!herd_stream_long(st)) {
		st->bytes += (uint32_t)got;
		return;
	}
	if (s->conn.can_read || got >= GATHER_BYTES || ++st->shorts < SHORTS ||
	    s->addr.family == AF_UNIX)
		return;
	if (!mark(s, GATHER_BYTES))
		return;
	st->gathers = true;
	herd_conn_room(&s->client->conn);
	st->until_us = w->now_us + LATE_US;
	herd_list_push_back(&w->streams, &st->node);
}

static struct herd_server *first_due(const struct herd_worker *w)
{
	herd_list_for_each(it, &w->streams)
	{
		struct herd_stream *st = herd_container_of(it, struct herd_stream, node);

		if (st->until_us <= w->now_us)
			return herd_container_of(st, struct herd_server, stream);
	}
	return NULL;
}

void herd_streams_run(struct herd_worker *w)
{
	struct herd_server *s;

	/* Anew each time: what one brings may end others. */
	while ((s = first_due(w))) {
		struct herd_stream *st = &s->stream;

		st->until_us = w->now_us + LATE_US;
		st->took = 0;
		if (!(w->suspended && herd_suspend_holds_server(s))) {
			herd_conn_event(&s->conn, EPOLLIN);
			herd_server_event(w, s);
		}
		/* Closed it is kept for this pass at least. */
		if (st->gathers && st->took < LEAST_BYTES)
			herd_stream_end(s);
	}
}

int64_t herd_streams_next(const struct herd_worker *w, int64_t until_us)
{
	herd_list_for_each(it, &w->streams)
	{
		const struct herd_stream *st = herd_container_of(it, struct herd_stream, node);

		if (st->until_us < until_us)
			until_us = st->until_us;
	}
	return until_us;
}
