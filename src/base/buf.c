#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_CAP = 64 };

void herd_buf_free(struct herd_buf *b)
{
	if (!b)
		return;
	free(b->data);
	*b = (struct herd_buf){ 0 };
}

void herd_buf_reset(struct herd_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

bool herd_buf_reserve(struct herd_buf *b, size_t n)
{
	if (b->failed || n > SIZE_MAX / 2 - b->len)
		return b->failed = true, false;
	size_t need = b->len + n + 1;

	if (need <= b->cap)
		return true;
	size_t cap = b->cap ? b->cap : MIN_CAP;

	while (cap < need)
		cap *= 2;
	char *data = realloc(b->data, cap);

	if (!data)
		return b->failed = true, false;
	b->data = data;
	b->cap = cap;
	b->data[b->len] = '\0';
	return true;
}

void herd_buf_add(struct herd_buf *b, const void *data, size_t len)
{
	if (len == 0 || !herd_buf_reserve(b, len))
		return;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void herd_buf_addstr(struct herd_buf *b, const char *s)
{
	herd_buf_add(b, s, strlen(s));
}

void herd_buf_addc(struct herd_buf *b, char c)
{
	herd_buf_add(b, &c, 1);
}

void herd_buf_printf(struct herd_buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !herd_buf_reserve(b, (size_t)n)) {
		b->failed = true;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void herd_buf_consume(struct herd_buf *b, size_t n)
{
	assert(n <= b->len);
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n + 1);
	b->len -= n;
}

const char *herd_buf_str(const struct herd_buf *b)
{
	return b->data ? b->data : "";
}

char *herd_buf_steal(struct herd_buf *b)
{
	char *data = b->failed ? NULL : b->data;

	if (b->failed)
		free(b->data);
	else if (!data)
		data = strdup("");
	*b = (struct herd_buf){ 0 };
	return data;
}
