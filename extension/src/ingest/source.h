/*
 * ingest/source.h - the bytes that a COPY FROM reads, as they come.
 */
#pragma once
#include "postgres.h"

#include "commands/copy.h"
#include "commands/copyfrom_internal.h"

typedef struct HerdSource {
	CopyFromState cstate;
	char *data; /* what is at hand: len bytes from pos on */
	int pos, len, size;
	bool eof;     /* nothing comes after it */
	uint64 bytes; /* handed out in all */
} HerdSource;

/* Continues where cstate has read to (whole lines, or the header of the binary format). */
extern void herd_source_begin(HerdSource *s, CopyFromState cstate);
/*
 * Moves what is at hand to the front and adds some, at least one byte unless the end has come: as
 * much as a client has sent in one message, or a buffer from a file.
 */
extern void herd_source_more(HerdSource *s);
/* Takes what the client still sends, to its end; what a file still has is left. */
extern void herd_source_drain(HerdSource *s);
