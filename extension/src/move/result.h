/*
 * move/result.h - rows kept on a node for the length of a transaction, in files of parts.
 *
 * A distributed statement that joins shards of different keys has rows written on the nodes that
 * have them (make_result), fetched by the nodes that need them (fetch_result), and read there like
 * a table (read_result). A result is named by the execution ("id") and a number ("move"). Its
 * directory is made by hold_results and removed at the end of the transaction that called it; the
 * others fail when it is not there. It is below pgsql_tmp, which the server empties when it starts.
 *
 * A file <move>.<part>.<group> is a sequence of blocks: two numbers (bytes that follow, rows in
 * them), then rows: a bitmap of the columns that are null, and for each other one its length and
 * bytes, as its type sends them; as text, when the type's bytes mean nothing on another node.
 */
#pragma once
#include "postgres.h"

/* Removes what the transaction holds at its end; once from _PG_init. */
extern void herd_result_init(void);
