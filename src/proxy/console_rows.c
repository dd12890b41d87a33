/* Columns and rows of SHOW, in text and in binary. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/console.h"
#include "wire/msg.h"

enum {
	OID_TEXT = 25,
	OID_INT4 = 23,
	OID_INT8 = 20,
	OID_NUMERIC = 1700,
	OID_BYTEA = 17,
	NUMERIC_BASE = 10000
};

static enum herd_cell cell_of(const char *column)
{
	const char *colon = strchr(column, ':');

	if (!colon)
		return HERD_CELL_TEXT;
	return colon[1] == '4'   ? HERD_CELL_INT4
	       : colon[1] == 'n' ? HERD_CELL_NUMERIC
	       : colon[1] == 'b' ? HERD_CELL_BYTEA
				 : HERD_CELL_INT8;
}

static int count_columns(const struct herd_show *s)
{
	int n = 0;

	while (s->columns[n])
		n++;
	return n;
}

static bool in_binary(uint64_t binary, int column)
{
	return column < 64 && (binary >> column & 1);
}

void herd_show_columns(struct herd_buf *b, const struct herd_show *s, uint64_t binary)
{
	static const struct {
		uint32_t oid;
		int len;
	} types[] = { [HERD_CELL_TEXT] = { OID_TEXT, -1 },
		      [HERD_CELL_INT4] = { OID_INT4, 4 },
		      [HERD_CELL_INT8] = { OID_INT8, 8 },
		      [HERD_CELL_NUMERIC] = { OID_NUMERIC, -1 },
		      [HERD_CELL_BYTEA] = { OID_BYTEA, -1 } };
	size_t mark = herd_wr_begin(b, 'T');

	herd_wr_u16(b, (uint16_t)count_columns(s));
	for (int i = 0; s->columns[i]; i++) {
		const char *name = s->columns[i];
		enum herd_cell cell = cell_of(name);

		herd_buf_add(b, name, strcspn(name, ":"));
		herd_buf_addc(b, '\0');
		herd_wr_u32(b, 0);
		herd_wr_u16(b, 0);
		herd_wr_u32(b, types[cell].oid);
		herd_wr_u16(b, (uint16_t)types[cell].len);
		herd_wr_u32(b, UINT32_MAX);
		herd_wr_u16(b, in_binary(binary, i) ? 1 : 0);
	}
	herd_wr_end(b, mark);
}

struct herd_row herd_row_begin(struct herd_result *r)
{
	struct herd_row row = { .r = r };

	row.mark = herd_wr_begin(&row.b, 'D');
	herd_wr_u16(&row.b, (uint16_t)count_columns(r->show));
	return row;
}

void herd_row_text(struct herd_row *row, const char *v)
{
	row->n++;
	if (!v) {
		herd_wr_u32(&row->b, UINT32_MAX);
		return;
	}
	herd_wr_u32(&row->b, (uint32_t)strlen(v));
	herd_buf_addstr(&row->b, v);
}

/* A whole number as PostgreSQL sends a numeric: digits to the base of 10000, the highest first. */
static void add_numeric(struct herd_buf *b, int64_t v)
{
	uint64_t rest = v < 0 ? -(uint64_t)v : (uint64_t)v;
	uint16_t digit[5]; /* 2^64 has 20 decimal digits */
	int n = 0;

	for (; rest > 0; rest /= NUMERIC_BASE)
		digit[n++] = (uint16_t)(rest % NUMERIC_BASE);
	herd_wr_u32(b, (uint32_t)(8 + 2 * n));
	herd_wr_u16(b, (uint16_t)n);
	herd_wr_u16(b, (uint16_t)(n > 0 ? n - 1 : 0));
	herd_wr_u16(b, v < 0 ? 0x4000 : 0);
	herd_wr_u16(b, 0);
	while (n > 0)
		herd_wr_u16(b, digit[--n]);
}

void herd_row_int(struct herd_row *row, int64_t v)
{
	enum herd_cell cell = cell_of(row->r->show->columns[row->n]);
	bool binary = in_binary(row->r->binary, row->n);
	char text[24]; /* any int64 */

	if (!binary || cell == HERD_CELL_TEXT) {
		snprintf(text, sizeof(text), "%lld", (long long)v);
		herd_row_text(row, text);
		return;
	}
	row->n++;
	if (cell == HERD_CELL_INT4) {
		herd_wr_u32(&row->b, 4);
		herd_wr_u32(&row->b, (uint32_t)v);
	} else if (cell == HERD_CELL_INT8) {
		herd_wr_u32(&row->b, 8);
		herd_wr_u32(&row->b, (uint32_t)((uint64_t)v >> 32));
		herd_wr_u32(&row->b, (uint32_t)v);
	} else {
		add_numeric(&row->b, v);
	}
}

/* Room for one more, which is ours to close. The result is locked. */
static bool keep_fd(struct herd_result *r, int fd)
{
	int *more = realloc(r->fds, (r->nfds + 1) * sizeof(*more));

	if (!more)
		return false;
	r->fds = more;
	more[r->nfds] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (more[r->nfds] < 0)
		return false;
	r->nfds++;
	return true;
}

void herd_row_end_fd(struct herd_row *row, int fd)
{
	struct herd_result *r = row->r;

	assert(row->n == count_columns(r->show));
	herd_wr_end(&row->b, row->mark);
	pthread_mutex_lock(&r->lock);
	if (!r->hands_out || keep_fd(r, fd)) {
		herd_buf_add(&r->rows, herd_buf_str(&row->b), row->b.len);
		r->nrows++;
	}
	pthread_mutex_unlock(&r->lock);
	herd_buf_free(&row->b);
}

void herd_row_end(struct herd_row *row)
{
	herd_row_end_fd(row, -1);
}
