/*
 * deparse/rowid.h - ctid and tableoid of rows of distributed tables in the text for a shard.
 *
 * Rows of two shards may have the same ctid. As others see it, ctid also holds the number of the
 * shard: in the upper bits of the line pointer's number, which are never used, and from the 129th
 * shard on in the upper bits of the block's. So it is one row's in all of the table, in whatever
 * way queries compare it. tableoid is that of the table, or of its partition, on this node.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "storage/itemptr.h"

#include "catalog/metadata.h"

#define HERD_ROW_ID "row_id"
#define HERD_SHARD_TID "shard_tid"

/* queries: innermost first. The relation of a Var if it is in the metadata, or NULL. */
extern RangeTblEntry *herd_distributed_rte(Var *var, List *queries);

/* The row that EXCLUDED names was never stored; below a rule its relation does not tell. */
extern bool herd_is_excluded(const Var *var, List *queries);

/* True for ctid of a table of several shards. */
extern bool herd_is_row_id(Var *var, List *queries);

/* What it is of a row that is at this place of the shard with this index. Palloc'd. */
extern ItemPointer herd_row_id_at(const HerdTable *table, int shard, ItemPointer place);

/* What stands for it in the text. */
extern Node *herd_row_id(Var *var);

/*
 * tableoid, as an OID of this node or (type) as regclass, whose name is the same everywhere. there:
 * no outer join can have made the row null.
 */
extern Node *herd_table_oid(Var *var, Oid relid, Oid type, bool there);

/*
 * ctid = value: the row can be found by its place in the shard. tableoid = 't'::regclass: the name
 * would be looked up on the node of the shard, where the table has another OID. Returns the
 * OpExpr or ScalarArrayOpExpr, or another one in its place.
 */
extern Node *herd_compare_rows(Node *node, List *queries);
