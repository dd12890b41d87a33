/*
 * wire/msg.h - messages of PostgreSQL's protocol 3: heads, a bounds-checked reader, writers.
 *
 * Nothing here trusts its input: a reader that runs over the end goes bad and returns zeroes, so a
 * caller reads all fields and checks once (herd_rd_ok). Writers append to a herd_buf.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { HERD_MSG_HEAD_BYTES = 5 };

/* The first five bytes of a typed message. len counts the body: what follows those five bytes. */
struct herd_msg_head {
	char type;
	uint32_t len;
};

/* 0, -EAGAIN (fewer than five bytes) or -EBADMSG (a length no message can have). */
int herd_msg_head_parse(const void *data, size_t n, struct herd_msg_head *ret);

struct herd_rd {
	const uint8_t *p, *end;
	bool bad;
};

static inline struct herd_rd herd_rd_init(const void *data, size_t n)
{
	return (struct herd_rd){ (const uint8_t *)data, (const uint8_t *)data + n, false };
}
uint8_t herd_rd_u8(struct herd_rd *r);
uint16_t herd_rd_u16(struct herd_rd *r);
uint32_t herd_rd_u32(struct herd_rd *r);
/* A zero-terminated text inside the message, "" when bad; never NULL. */
const char *herd_rd_str(struct herd_rd *r);
/* n bytes inside the message, NULL when bad. */
const void *herd_rd_bytes(struct herd_rd *r, size_t n);
static inline size_t herd_rd_left(const struct herd_rd *r)
{
	return (size_t)(r->end - r->p);
}
static inline bool herd_rd_ok(const struct herd_rd *r)
{
	return !r->bad;
}

void herd_wr_u16(struct herd_buf *b, uint16_t v);
void herd_wr_u32(struct herd_buf *b, uint32_t v);
/* With its terminating zero. */
void herd_wr_str(struct herd_buf *b, const char *s);
/* Starts a message and returns what herd_wr_end needs to fill in the length. */
size_t herd_wr_begin(struct herd_buf *b, char type);
void herd_wr_end(struct herd_buf *b, size_t mark);

/* Whole messages. */
void herd_wr_empty(struct herd_buf *b, char type); /* a message without a body */
void herd_wr_query(struct herd_buf *b, const char *sql);
/* Parse without types of parameters; name "" is the unnamed statement. */
void herd_wr_parse_sql(struct herd_buf *b, const char *name, const char *sql);
/* Execute of the unnamed portal, all rows, and Sync. */
void herd_wr_execute(struct herd_buf *b);
void herd_wr_auth(struct herd_buf *b, uint32_t code, const void *data, size_t n);
void herd_wr_parameter(struct herd_buf *b, const char *name, const char *value);
void herd_wr_ready(struct herd_buf *b, char status);
void herd_wr_complete(struct herd_buf *b, const char *tag);
/* The password message, type 'p', with a zero-terminated text. */
void herd_wr_password(struct herd_buf *b, const char *text);
/* type 'E' or 'N'; detail and hint may be NULL. */
void herd_wr_report(struct herd_buf *b, char type, const char *severity, const char *sqlstate,
		    const char *msg, const char *detail, const char *hint);

/* What an ErrorResponse or NoticeResponse says; texts point into the message, "" when absent. */
struct herd_report {
	const char *severity; /* not translated where the server sends it (field V) */
	const char *sqlstate;
	const char *msg;
	const char *detail;
	const char *hint;
};
/* body without head. 0 or -EBADMSG. */
int herd_report_parse(const void *body, size_t n, struct herd_report *ret);
