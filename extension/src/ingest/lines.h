/*
 * ingest/lines.h - cuts COPY's text and CSV formats into lines and takes one field out of a line.
 *
 * Only what is needed to know where a row goes: the nodes parse the rows. What is a line end, a
 * quoted line end and the end of the data is decided as PostgreSQL decides it, with its errors. The
 * data must be in the encoding of this database: no byte of a longer character looks like ASCII.
 */
#pragma once
#include "postgres.h"

#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "lib/stringinfo.h"

typedef struct HerdLines {
	bool csv;
	char delim, quote, escape; /* escape: 0 when it is the quote */
	const char *null_print;
	int null_len;
	EolType eol;
	uint64 lineno;            /* of the last line end that was passed */
	const char *cr, *special; /* next ones in the current data; from a new start on: NULL */
} HerdLines;

typedef enum HerdLineFound {
	HERD_LINE_MORE, /* data ends inside a line */
	HERD_LINE_ROW,
	HERD_LINE_END /* of all data: a marker, or eof */
} HerdLineFound;

typedef struct HerdLine {
	const char *start;
	int len;       /* without the line end */
	int consumed;  /* with it */
	uint32 nlines; /* as COPY counts when lines end with newlines: 1 and those inside, */
	uint32 nfirst; /* and when this is the first one it reads */
	bool plain;    /* no backslash (text), no quote (CSV) in it */
} HerdLine;

extern void herd_lines_init(HerdLines *l, CopyFromState cstate);

/* The line that starts at data. eof: nothing comes after len. Counts it, unless MORE. */
extern HerdLineFound herd_lines_next(HerdLines *l, const char *data, int len, bool eof,
				     HerdLine *line);
/* Data was moved or read: what follows is not where it was. */
extern void herd_lines_moved(HerdLines *l);

/*
 * Field number (0..) of a line, de-escaped; *value is in the line or in buf, and not terminated.
 * Returns the fields that were found before it ended: number + 1 when the field exists.
 */
extern int herd_lines_field(const HerdLines *l, const HerdLine *line, int number, StringInfo buf,
			    const char **value, int *len, bool *isnull);

/* A value as a field of a line, with its delimiter behind it; NULL for null. */
extern void herd_lines_append(const HerdLines *l, StringInfo out, const char *value);
