#include "wire/msg.h"

#include <errno.h>
#include <string.h>

int herd_msg_head_parse(const void *data, size_t n, struct herd_msg_head *ret)
{
	const uint8_t *p = data;

	if (n < HERD_MSG_HEAD_BYTES)
		return -EAGAIN;
	uint32_t len = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];

	if (len < 4 || len > INT32_MAX)
		return -EBADMSG;
	*ret = (struct herd_msg_head){ .type = (char)p[0], .len = len - 4 };
	return 0;
}

static bool take(struct herd_rd *r, size_t n)
{
	if (r->bad || herd_rd_left(r) < n)
		return r->bad = true, false;
	return true;
}

uint8_t herd_rd_u8(struct herd_rd *r)
{
	return take(r, 1) ? *r->p++ : 0;
}

uint16_t herd_rd_u16(struct herd_rd *r)
{
	if (!take(r, 2))
		return 0;
	r->p += 2;
	return (uint16_t)(r->p[-2] << 8 | r->p[-1]);
}

uint32_t herd_rd_u32(struct herd_rd *r)
{
	uint32_t hi = herd_rd_u16(r);
	uint32_t lo = herd_rd_u16(r);

	return r->bad ? 0 : hi << 16 | lo;
}

const char *herd_rd_str(struct herd_rd *r)
{
	const uint8_t *start = r->p;
	const uint8_t *zero = r->bad ? NULL : memchr(start, 0, herd_rd_left(r));

	if (!zero) {
		r->bad = true;
		return "";
	}
	r->p = zero + 1;
	return (const char *)start;
}

const void *herd_rd_bytes(struct herd_rd *r, size_t n)
{
	if (!take(r, n))
		return NULL;
	r->p += n;
	return r->p - n;
}

void herd_wr_u16(struct herd_buf *b, uint16_t v)
{
	const uint8_t raw[2] = { (uint8_t)(v >> 8), (uint8_t)v };

	herd_buf_add(b, raw, sizeof(raw));
}

void herd_wr_u32(struct herd_buf *b, uint32_t v)
{
	const uint8_t raw[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
				 (uint8_t)v };

	herd_buf_add(b, raw, sizeof(raw));
}

void herd_wr_str(struct herd_buf *b, const char *s)
{
	herd_buf_add(b, s, strlen(s) + 1);
}

size_t herd_wr_begin(struct herd_buf *b, char type)
{
	herd_buf_addc(b, type);
	size_t mark = b->len;

	herd_wr_u32(b, 0);
	return mark;
}

void herd_wr_end(struct herd_buf *b, size_t mark)
{
	if (!herd_buf_ok(b))
		return;
	uint32_t len = (uint32_t)(b->len - mark);

	for (int i = 0; i < 4; i++)
		b->data[mark + (size_t)i] = (char)(uint8_t)(len >> (24 - 8 * i));
}

void herd_wr_empty(struct herd_buf *b, char type)
{
	herd_buf_addc(b, type);
	herd_wr_u32(b, 4);
}

void herd_wr_query(struct herd_buf *b, const char *sql)
{
	size_t mark = herd_wr_begin(b, 'Q');

	herd_wr_str(b, sql);
	herd_wr_end(b, mark);
}

void herd_wr_parse_sql(struct herd_buf *b, const char *name, const char *sql)
{
	size_t mark = herd_wr_begin(b, 'P');

	herd_wr_str(b, name);
	herd_wr_str(b, sql);
	herd_wr_u16(b, 0);
	herd_wr_end(b, mark);
}

void herd_wr_execute(struct herd_buf *b)
{
	size_t mark = herd_wr_begin(b, 'E');

	herd_wr_str(b, "");
	herd_wr_u32(b, 0);
	herd_wr_end(b, mark);
	herd_wr_empty(b, 'S');
}

void herd_wr_auth(struct herd_buf *b, uint32_t code, const void *data, size_t n)
{
	size_t mark = herd_wr_begin(b, 'R');

	herd_wr_u32(b, code);
	herd_buf_add(b, data, n);
	herd_wr_end(b, mark);
}

void herd_wr_parameter(struct herd_buf *b, const char *name, const char *value)
{
	size_t mark = herd_wr_begin(b, 'S');

	herd_wr_str(b, name);
	herd_wr_str(b, value);
	herd_wr_end(b, mark);
}

void herd_wr_ready(struct herd_buf *b, char status)
{
	size_t mark = herd_wr_begin(b, 'Z');

	herd_buf_addc(b, status);
	herd_wr_end(b, mark);
}

void herd_wr_complete(struct herd_buf *b, const char *tag)
{
	size_t mark = herd_wr_begin(b, 'C');

	herd_wr_str(b, tag);
	herd_wr_end(b, mark);
}

void herd_wr_password(struct herd_buf *b, const char *text)
{
	size_t mark = herd_wr_begin(b, 'p');

	herd_wr_str(b, text);
	herd_wr_end(b, mark);
}

static void field(struct herd_buf *b, char code, const char *text)
{
	if (!text)
		return;
	herd_buf_addc(b, code);
	herd_wr_str(b, text);
}

void herd_wr_report(struct herd_buf *b, char type, const char *severity, const char *sqlstate,
		    const char *msg, const char *detail, const char *hint)
{
	size_t mark = herd_wr_begin(b, type);

	field(b, 'S', severity);
	field(b, 'V', severity);
	field(b, 'C', sqlstate);
	field(b, 'M', msg);
	field(b, 'D', detail);
	field(b, 'H', hint);
	herd_buf_addc(b, '\0');
	herd_wr_end(b, mark);
}

int herd_report_parse(const void *body, size_t n, struct herd_report *ret)
{
	struct herd_rd r = herd_rd_init(body, n);
	struct herd_report out = { "", "", "", "", "" };
	bool has_v = false;

	for (;;) {
		char code = (char)herd_rd_u8(&r);

		if (code == '\0')
			break;
		const char *text = herd_rd_str(&r);

		if (code == 'V')
			out.severity = text, has_v = true;
		else if (code == 'S' && !has_v)
			out.severity = text;
		else if (code == 'C')
			out.sqlstate = text;
		else if (code == 'M')
			out.msg = text;
		else if (code == 'D')
			out.detail = text;
		else if (code == 'H')
			out.hint = text;
	}
	if (!herd_rd_ok(&r))
		return -EBADMSG;
	*ret = out;
	return 0;
}
