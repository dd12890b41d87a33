/*
 * proxy/batch.h - what one pass of a worker sends, handed to the kernel in one system call.
 *
 * Small messages for plain sockets are copied here while the events of a pass are worked off, and
 * go out together through io_uring at its end. That spares the entries into the kernel, and the
 * thread is not put aside after each send for the peer that it has just woken: those run when all
 * are served.
 *
 * A batch belongs to one thread. A connection with bytes here has conn->batch set; whoever sends
 * otherwise, closes it or gives it to another thread flushes first.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct herd_batch;
struct herd_conn;

enum { HERD_BATCH_MAX_BYTES = 4096 }; /* longer ones are sent from where they lie */

/* 0; negative errno when the kernel has no io_uring for us. Used by the calling thread only. */
int herd_batch_new(struct herd_batch **ret);
void herd_batch_free(struct herd_batch *b);
/*
 * Takes a copy, sent at the next flush. False: send it yourself. The connection must be writable
 * and keep nothing back.
 */
bool herd_batch_add(struct herd_batch *b, struct herd_conn *c, const void *data, size_t n);
/* Sends all; what a connection does not take is kept by it. */
void herd_batch_flush(struct herd_batch *b);
