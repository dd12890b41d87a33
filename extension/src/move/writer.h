/*
 * move/writer.h - a receiver of rows that cuts them into parts and hands them on in blocks.
 */
#pragma once
#include "postgres.h"

#include "executor/tuptable.h"
#include "tcop/dest.h"

#include "move/store.h"

typedef struct HerdWriter {
	DestReceiver pub;
	/* One block of a part; data is reused after the call. */
	void (*flush)(struct HerdWriter *w, int part, const HerdBlock *block, const char *data);
	void *arg;
	int nparts;
	int64 *rows, *bytes; /* handed on, by part */
	struct HerdWriterState *state;
} HerdWriter;

/*
 * key: column (1..) whose hash says the part, by mins, the lowest hash of each part ascending;
 * negative: the same, and a null there is an error; 0: one part. hash: as regprocedure takes it.
 * Memory: CurrentMemoryContext.
 */
extern HerdWriter *herd_writer_new(int key, const char *hash, const int32 *mins, int nparts);
/* Hands on what is left. */
extern void herd_writer_end(HerdWriter *w);
