#include "wire/startup.h"

#include <errno.h>
#include <string.h>

#include "wire/msg.h"

enum {
	CODE_CANCEL = 80877102,
	CODE_SSL = 80877103,
	CODE_GSS = 80877104,
	PROTOCOL_3_0 = 3 << 16,
	CANCEL_KEY_MAX_BYTES = 256
};

static int parse_login(struct herd_rd *r, struct herd_startup *s)
{
	for (;;) {
		const char *name = herd_rd_str(r);

		if (!herd_rd_ok(r))
			return -EBADMSG;
		if (*name == '\0')
			break;
		const char *value = herd_rd_str(r);

		if (!herd_rd_ok(r) || s->nparams == HERD_STARTUP_MAX_PARAMS)
			return -EBADMSG;
		s->params[s->nparams].name = name;
		s->params[s->nparams].value = value;
		s->nparams++;
	}
	return herd_rd_left(r) == 0 ? 0 : -EBADMSG;
}

int herd_startup_parse(const void *data, size_t n, struct herd_startup *ret)
{
	struct herd_rd r = herd_rd_init(data, n);
	uint32_t len, code;

	if (n < 8) {
		/* Refuse a hopeless length before waiting for more of it. */
		len = n >= 4 ? herd_rd_u32(&r) : 8;
		return len < 8 || len > HERD_STARTUP_MAX_BYTES ? -EBADMSG : -EAGAIN;
	}
	len = herd_rd_u32(&r);
	code = herd_rd_u32(&r);
	if (len < 8 || len > HERD_STARTUP_MAX_BYTES)
		return -EBADMSG;
	if (n < len)
		return -EAGAIN;

	r = herd_rd_init((const uint8_t *)data + 8, len - 8);
	ret->total = len;
	ret->nparams = 0;
	ret->minor = 0;
	switch (code) {
	case CODE_SSL:
		ret->kind = HERD_STARTUP_SSL;
		return len == 8 ? 0 : -EBADMSG;
	case CODE_GSS:
		ret->kind = HERD_STARTUP_GSS;
		return len == 8 ? 0 : -EBADMSG;
	case CODE_CANCEL:
		ret->kind = HERD_STARTUP_CANCEL;
		ret->cancel_pid = herd_rd_u32(&r);
		ret->cancel_key_len = (uint32_t)herd_rd_left(&r);
		ret->cancel_key = r.p;
		if (!herd_rd_ok(&r) || ret->cancel_key_len < 4 ||
		    ret->cancel_key_len > CANCEL_KEY_MAX_BYTES)
			return -EBADMSG;
		return 0;
	default:
		if (code >> 16 != 3)
			return -EPROTONOSUPPORT;
		ret->kind = HERD_STARTUP_LOGIN;
		ret->minor = (uint16_t)code;
		return parse_login(&r, ret);
	}
}

const char *herd_startup_get(const struct herd_startup *s, const char *name)
{
	for (int i = 0; i < s->nparams; i++) {
		if (strcmp(s->params[i].name, name) == 0)
			return s->params[i].value;
	}
	return NULL;
}

static void fill_length(struct herd_buf *b, size_t mark)
{
	if (!herd_buf_ok(b))
		return;
	uint32_t len = (uint32_t)(b->len - mark);

	for (int i = 0; i < 4; i++)
		b->data[mark + (size_t)i] = (char)(uint8_t)(len >> (24 - 8 * i));
}

void herd_wr_startup(struct herd_buf *b, const char *const *pairs)
{
	size_t mark = b->len;

	herd_wr_u32(b, 0);
	herd_wr_u32(b, PROTOCOL_3_0);
	for (; *pairs; pairs++)
		herd_wr_str(b, *pairs);
	herd_buf_addc(b, '\0');
	fill_length(b, mark);
}

void herd_wr_ssl_request(struct herd_buf *b)
{
	herd_wr_u32(b, 8);
	herd_wr_u32(b, CODE_SSL);
}

void herd_wr_cancel(struct herd_buf *b, uint32_t pid, const void *key, size_t key_len)
{
	herd_wr_u32(b, (uint32_t)(12 + key_len)); /* length, code, pid */
	herd_wr_u32(b, CODE_CANCEL);
	herd_wr_u32(b, pid);
	herd_buf_add(b, key, key_len);
}

void herd_wr_negotiate(struct herd_buf *b, const struct herd_startup *s)
{
	uint32_t count = 0;

	for (int i = 0; i < s->nparams; i++)
		count += strncmp(s->params[i].name, "_pq_.", 5) == 0;
	if (s->minor <= HERD_PROTOCOL_MINOR && count == 0)
		return;
	size_t mark = herd_wr_begin(b, 'v');

	herd_wr_u32(b, PROTOCOL_3_0 |
			       (s->minor < HERD_PROTOCOL_MINOR ? s->minor : HERD_PROTOCOL_MINOR));
	herd_wr_u32(b, count);
	for (int i = 0; i < s->nparams; i++) {
		if (strncmp(s->params[i].name, "_pq_.", 5) == 0)
			herd_wr_str(b, s->params[i].name);
	}
	herd_wr_end(b, mark);
}
