/*
 * attach/captured_row.h - reads the messages of attach/capture.h.
 */
#pragma once
#include "postgres.h"

#include "access/htup.h"
#include "utils/relcache.h"

extern void herd_message_malformed(void);
/* Digits up to end, which is taken, too. */
extern uint64 herd_message_number(const char **p, char end);
/* "<length>:<text>"; NULL for "-:". */
extern char *herd_message_text(const char **p);

typedef struct HerdRowReader HerdRowReader;

/* For rows of the table, which stays open. Lives in CurrentMemoryContext. */
extern HerdRowReader *herd_row_reader(Relation rel);
/* Under herd_capture_modes. */
extern HeapTuple herd_row_read(HerdRowReader *reader, const char **p);
