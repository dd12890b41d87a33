/*
 * move/pack.h - the rows of a query in blocks, each one value, as they go to another node.
 *
 * SELECT citus_internal.pack_rows(q.*) FROM (query) q gives the rows of the query, many in each
 * bytea: a row by itself costs the protocol, and libpq, more than what is done with it. A block has
 * the number of its rows and columns, the types of the columns, and the rows (move/columns.h).
 */
#pragma once
#include "postgres.h"

#include "access/tupdesc.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

#define HERD_PACK_ROWS "citus_internal.pack_rows"

/* The query whose rows such a statement packs, or NULL: it is something else. */
extern Query *herd_packed_query(Query *query);
/* The plan of that statement, from the one of that query. */
extern PlannedStmt *herd_pack_plan(const Query *query, PlannedStmt *inner);

extern void herd_pack_init(void);

/*
 * The block at p: its rows, and in *rows their number. Raises when the block has other columns than
 * natts of these types (those below domains; InvalidOid: any).
 */
extern char *herd_pack_open(char *p, const char *end, int natts, const Oid *types, uint32 *rows);
