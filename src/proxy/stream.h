/*
 * proxy/stream.h - long answers in small pieces: reads fewer, larger ones.
 *
 * PostgreSQL sends a COPY or a large result in pieces of 8 kB. A proxy that is faster than that
 * wakes up for each of them, to receive and to send it. When a server has sent much since its last
 * ReadyForQuery, and was read empty each time, its socket reports only when more has gathered
 * (SO_RCVLOWAT), or is looked at after some hundred microseconds: that is what the end of such an
 * answer may be late. The first megabyte of an answer is never held up. Where little comes in
 * that time nothing is gathered for another megabyte.
 *
 * TCP only: for unix sockets the kernel does not look at the mark.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct herd_server;
struct herd_worker;

/* Of one server connection; zero but for the node, which is initialized. */
struct herd_stream {
	struct herd_list node; /* w->streams, while it gathers */
	int64_t until_us;      /* it is looked at then */
	uint32_t bytes;        /* since the last ReadyForQuery or since it was given up */
	uint32_t shorts;       /* reads that emptied the socket, the same */
	uint32_t took;         /* bytes since it was last looked at */
	bool gathers;
};

/* Before that nothing is held up. */
enum { HERD_STREAM_LONG_BYTES = 1024 * 1024 };

/* In the midst of a long answer: more will come by itself. */
static inline bool herd_stream_long(const struct herd_stream *st)
{
	return st->bytes >= HERD_STREAM_LONG_BYTES;
}
/* got (> 0) bytes were read for its client. */
void herd_stream_read(struct herd_worker *w, struct herd_server *s, int64_t got);
/* The answer is over, or the client takes no more for now: what comes is told at once. */
void herd_stream_end(struct herd_server *s);
/* Reads from those that it is time for. */
void herd_streams_run(struct herd_worker *w);
/* When the next one is to be looked at, if that is before until_us; else until_us. */
int64_t herd_streams_next(const struct herd_worker *w, int64_t until_us);
