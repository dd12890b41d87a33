/*
 * ingest/rows.h - COPY FROM row by row: parsed on this node, sent as values.
 *
 * For whatever ingest/raw.h cannot leave to the nodes: the binary format, other encodings, rows to
 * be skipped, conditions that only this node can judge.
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"
#include "commands/copy.h"

/* where: the analysed condition or NULL. Returns the rows inserted. */
extern uint64 herd_copy_rows(CopyFromState cstate, const HerdTable *table, Node *where);
/* True if rows must go this way, to meet BEFORE row triggers here: attach/before.h. */
extern bool herd_copy_fires(Oid relid);
