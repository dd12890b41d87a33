#include "proxy/batch.h"

#include <assert.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/conn.h"

enum { MAX_SENDS = 64, DATA_BYTES = 64 * 1024 };

struct piece {
	struct herd_conn *conn;
	uint32_t at, len;
};

/* The rings that are shared with the kernel, which reads sq and writes cq. */
struct herd_batch {
	int fd;
	void *rings;
	size_t rings_bytes;
	struct io_uring_sqe *sqes;
	size_t sqes_bytes;
	_Atomic uint32_t *sq_tail, *cq_head, *cq_tail;
	uint32_t sq_mask, cq_mask;
	struct io_uring_cqe *cqes;

	uint32_t n, used;
	struct piece piece[MAX_SENDS];
	char data[DATA_BYTES];
};

static int map_rings(struct herd_batch *b, const struct io_uring_params *p)
{
	size_t sq = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	size_t cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);

	b->rings_bytes = sq > cq ? sq : cq;
	b->rings = mmap(NULL, b->rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			b->fd, IORING_OFF_SQ_RING);
	if (b->rings == MAP_FAILED)
		return -errno;
	b->sqes_bytes = p->sq_entries * sizeof(struct io_uring_sqe);
	b->sqes = mmap(NULL, b->sqes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		       b->fd, IORING_OFF_SQES);
	if (b->sqes == MAP_FAILED)
		return -errno;
	char *base = b->rings;
	uint32_t *array = (void *)(base + p->sq_off.array);

	b->sq_tail = (void *)(base + p->sq_off.tail);
	b->cq_head = (void *)(base + p->cq_off.head);
	b->cq_tail = (void *)(base + p->cq_off.tail);
	b->sq_mask = p->sq_entries - 1;
	b->cq_mask = p->cq_entries - 1;
	b->cqes = (void *)(base + p->cq_off.cqes);
	for (uint32_t i = 0; i < p->sq_entries; i++)
		array[i] = i;
	return 0;
}

int herd_batch_new(struct herd_batch **ret)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SUBMIT_ALL };
	struct herd_batch *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return -ENOMEM;
	b->rings = b->sqes = MAP_FAILED;
	b->fd = (int)syscall(SYS_io_uring_setup, MAX_SENDS, &p);
	rc = b->fd < 0 ? -errno : 0;
	/* One mapping for both rings came before the flag, so it need not be asked for. */
	if (rc == 0)
		rc = map_rings(b, &p);
	if (rc < 0) {
		herd_batch_free(b);
		return rc;
	}
	*ret = b;
	return 0;
}

void herd_batch_free(struct herd_batch *b)
{
	if (!b)
		return;
	if (b->sqes != MAP_FAILED)
		munmap(b->sqes, b->sqes_bytes);
	if (b->rings != MAP_FAILED)
		munmap(b->rings, b->rings_bytes);
	if (b->fd >= 0)
		close(b->fd);
	free(b);
}

bool herd_batch_add(struct herd_batch *b, struct herd_conn *c, const void *data, size_t n)
{
	struct piece *last = b->n > 0 ? &b->piece[b->n - 1] : NULL;

	if (n > HERD_BATCH_MAX_BYTES)
		return false;
	if (c->batch && (last->conn != c || b->used + n > DATA_BYTES))
		return false;
	if (b->n == MAX_SENDS || b->used + n > DATA_BYTES)
		herd_batch_flush(b);
	memcpy(b->data + b->used, data, n);
	if (c->batch) {
		last->len += (uint32_t)n;
	} else {
		b->piece[b->n++] = (struct piece){ .conn = c, .at = b->used, .len = (uint32_t)n };
		c->batch = b;
	}
	b->used += (uint32_t)n;
	return true;
}

static void submit(struct herd_batch *b)
{
	uint32_t tail = atomic_load_explicit(b->sq_tail, memory_order_relaxed);

	for (uint32_t i = 0; i < b->n; i++) {
		const struct piece *s = &b->piece[i];

		/* Not to wait makes it complete here and now, also when the socket is full. */
		b->sqes[(tail + i) & b->sq_mask] =
			(struct io_uring_sqe){ .opcode = IORING_OP_SEND,
					       .fd = s->conn->fd,
					       .addr = (uintptr_t)(b->data + s->at),
					       .len = s->len,
					       .msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT,
					       .user_data = i };
	}
	atomic_store_explicit(b->sq_tail, tail + b->n, memory_order_release);
}

/* How much each of them took, or its negative errno. Nothing is under way when it returns. */
static void collect(struct herd_batch *b, int32_t *result)
{
	uint32_t left = b->n, unsent = b->n;

	memset(result, 0, b->n * sizeof(*result));
	while (left > 0) {
		int rc = (int)syscall(SYS_io_uring_enter, b->fd, unsent, left,
				      IORING_ENTER_GETEVENTS, NULL, 0);
		uint32_t head = atomic_load_explicit(b->cq_head, memory_order_relaxed);
		uint32_t tail = atomic_load_explicit(b->cq_tail, memory_order_acquire);

		int error = rc < 0 ? errno : 0;

		if (rc > 0)
			unsent -= (uint32_t)rc;
		for (; head != tail; head++, left--) {
			const struct io_uring_cqe *e = &b->cqes[head & b->cq_mask];

			result[e->user_data] = e->res;
		}
		atomic_store_explicit(b->cq_head, head, memory_order_release);
		if (error == 0 || error == EINTR || error == EAGAIN || error == EBUSY)
			continue;
		/* Taken back before the kernel saw them: they are sent the ordinary way. */
		atomic_fetch_sub_explicit(b->sq_tail, unsent, memory_order_release);
		return;
	}
}

void herd_batch_flush(struct herd_batch *b)
{
	struct piece piece[MAX_SENDS];
	int32_t result[MAX_SENDS];
	uint32_t n = b->n;

	if (n == 0)
		return;
	if (n > 1) {
		submit(b);
		collect(b, result);
	} else {
		result[0] = 0;
	}
	memcpy(piece, b->piece, n * sizeof(*piece));
	b->n = b->used = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct herd_conn *c = piece[i].conn;

		c->batch = NULL;
		herd_conn_sent(c, b->data + piece[i].at, piece[i].len, result[i]);
	}
}
