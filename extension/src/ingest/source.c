#include "ingest/source.h"

#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* Room for new data, at least. */
#define READ_BYTES (64 * 1024)

/* As in libpq/libpq.h, which cannot be included where the GSSAPI headers are not installed. */
#define SMALL_MESSAGE_LIMIT 10000
#define LARGE_MESSAGE_LIMIT (MaxAllocSize - 1)
extern void pq_startmsgread(void);
extern int pq_getbyte(void);
extern int pq_getmessage(StringInfo s, int maxlen);

static void append(HerdSource *s, const char *data, int n)
{
	if (s->len + n > s->size) {
		s->size = s->len + n;
		s->data = repalloc_huge(s->data, s->size);
	}
	memcpy(s->data + s->len, data, n);
	s->len += n;
}

void herd_source_begin(HerdSource *s, CopyFromState cstate)
{
	memset(s, 0, sizeof(*s));
	s->cstate = cstate;
	s->size = 2 * READ_BYTES;
	s->data = palloc(s->size);
	/* Text that needs no conversion is in raw_buf, read up to the index of input_buf. */
	if (!cstate->opts.binary && cstate->input_buf == cstate->raw_buf)
		cstate->raw_buf_index = cstate->input_buf_index;
	append(s, cstate->raw_buf + cstate->raw_buf_index, RAW_BUF_BYTES(cstate));
	s->bytes = cstate->bytes_processed;
	if (cstate->copy_src == COPY_FRONTEND && !cstate->raw_reached_eof) {
		StringInfo msg = cstate->fe_msgbuf;

		append(s, msg->data + msg->cursor, msg->len - msg->cursor);
		s->bytes += msg->len - msg->cursor;
		msg->cursor = msg->len;
	}
	s->eof = cstate->raw_reached_eof;
}

/* The next message with data of a client into its buffer; false at the end. */
static bool next_message(StringInfo msg)
{
	for (;;) {
		int type, limit;

		HOLD_CANCEL_INTERRUPTS();
		pq_startmsgread();
		type = pq_getbyte();
		if (type == EOF)
			ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
					errmsg("unexpected EOF on client connection with an open "
					       "transaction")));
		switch (type) {
		case 'd': /* CopyData */
			limit = LARGE_MESSAGE_LIMIT;
			break;
		case 'c': /* CopyDone */
		case 'f': /* CopyFail */
		case 'H': /* Flush */
		case 'S': /* Sync */
			limit = SMALL_MESSAGE_LIMIT;
			break;
		default:
			ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("unexpected message type 0x%02X during COPY from stdin",
					type)));
		}
		if (pq_getmessage(msg, limit))
			ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
					errmsg("unexpected EOF on client connection with an open "
					       "transaction")));
		RESUME_CANCEL_INTERRUPTS();
		switch (type) {
		case 'd':
			return true;
		case 'c':
			return false;
		case 'f':
			ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("COPY from stdin failed: %s", pq_getmsgstring(msg))));
		default:
			break; /* Flush and Sync mean nothing here */
		}
	}
}

static void read_file(HerdSource *s)
{
	CopyFromState cstate = s->cstate;
	size_t n;

	if (s->size - s->len < READ_BYTES) {
		s->size = Max((Size)s->size * 2, (Size)s->len + READ_BYTES);
		s->data = repalloc_huge(s->data, s->size);
	}
	pgstat_report_wait_start(WAIT_EVENT_COPY_FILE_READ);
	n = fread(s->data + s->len, 1, s->size - s->len, cstate->copy_file);
	pgstat_report_wait_end();
	if (ferror(cstate->copy_file))
		ereport(ERROR,
			(errcode_for_file_access(), errmsg("could not read from COPY file: %m")));
	s->eof = n == 0;
	s->len += n;
	s->bytes += n;
}

void herd_source_more(HerdSource *s)
{
	CopyFromState cstate = s->cstate;
	int before;

	if (s->pos > 0) {
		memmove(s->data, s->data + s->pos, s->len - s->pos);
		s->len -= s->pos;
		s->pos = 0;
	}
	before = s->len;
	while (!s->eof && s->len == before) {
		CHECK_FOR_INTERRUPTS();
		if (cstate->copy_src == COPY_FILE) {
			read_file(s);
		} else if (next_message(cstate->fe_msgbuf)) {
			append(s, cstate->fe_msgbuf->data, cstate->fe_msgbuf->len);
			s->bytes += cstate->fe_msgbuf->len;
		} else {
			s->eof = true;
		}
	}
}

void herd_source_drain(HerdSource *s)
{
	if (s->cstate->copy_src != COPY_FRONTEND)
		return;
	while (!s->eof) {
		s->pos = s->len;
		herd_source_more(s);
	}
	s->pos = s->len;
}
