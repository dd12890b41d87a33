/*
 * ingest/raw.h - COPY FROM by lines: each goes to its shard as it came.
 *
 * This node only looks for the ends of lines and for the distribution column; the nodes parse and
 * check the rows. Defaults of columns that the data does not have are computed here and put before
 * the line.
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"
#include "commands/copy.h"

/*
 * Whether that gives the same as parsing here. where: the analysed condition or NULL. Not after
 * anything was read.
 */
extern bool herd_copy_raw_possible(CopyFromState cstate, const HerdTable *table, Node *where);

/* Runs it; returns the rows inserted. *excluded: rows that where has kept out. */
extern uint64 herd_copy_raw(CopyFromState cstate, const HerdTable *table, Node *where,
			    uint64 *excluded);

/* The options of COPY commands for shards that do not depend on the format, ", FREEZE" or "". */
extern const char *herd_copy_common_options(CopyFromState cstate);
