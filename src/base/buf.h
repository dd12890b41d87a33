/*
 * base/buf.h - a growing byte buffer, always followed by a NUL that len does not count.
 *
 * Appending never reports an error: when memory runs out the buffer is marked failed and stays
 * as it was, so a caller checks once, at the end (herd_buf_ok). A zeroed struct is an empty buffer.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct herd_buf {
	char *data; /* NULL while nothing was appended */
	size_t len;
	size_t cap;
	bool failed;
};

void herd_buf_free(struct herd_buf *b);
/* Keeps the memory. */
void herd_buf_reset(struct herd_buf *b);
/* Room for n more bytes (and the NUL); false when out of memory. */
bool herd_buf_reserve(struct herd_buf *b, size_t n);
void herd_buf_add(struct herd_buf *b, const void *data, size_t len);
void herd_buf_addstr(struct herd_buf *b, const char *s);
void herd_buf_addc(struct herd_buf *b, char c);
void herd_buf_printf(struct herd_buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Drops n bytes at the front (n <= len). */
void herd_buf_consume(struct herd_buf *b, size_t n);
static inline bool herd_buf_ok(const struct herd_buf *b)
{
	return !b->failed;
}
/* The text so far, never NULL; owned by the buffer. */
const char *herd_buf_str(const struct herd_buf *b);
/* Takes the text out (malloc'd, "" when empty, NULL when failed) and leaves the buffer empty. */
char *herd_buf_steal(struct herd_buf *b);
