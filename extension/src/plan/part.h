/*
 * plan/part.h - can a query be answered shard by shard?
 */
#pragma once
#include "postgres.h"

#include "plan/facts.h"

typedef enum HerdPartKind {
	HERD_PART_NONE,      /* no: the union of the shards' answers is something else */
	HERD_PART_RECURRING, /* the same rows for every shard: reference tables, VALUES, functions
			      */
	HERD_PART_SHARDED    /* the rows of the shards are disjoint, together they are the rows */
} HerdPartKind;

typedef struct HerdPart {
	HerdPartKind kind;
	const HerdTable *table; /* one of the tables (all are co-located) when SHARDED */
	List *terms;     /* of HerdTerm: columns that are the key of the row's shard, or null */
	List *solid;     /* those of them that are never null, or whose nulls share a shard */
	List *outputs;   /* of int: output columns of a query that are in solid */
	const char *why; /* of NONE: what stood in the way, for the hint of an error */
} HerdPart;

/* The from items of a query with their conditions; facts: of the query. */
extern HerdPart herd_part_from(const HerdLevel *level, Node *jtnode, List *facts);

/*
 * True for a LATERAL subquery of an UPDATE or DELETE over what every node has: it is run for each
 * row of a shard, and may have a LIMIT and windows.
 */
extern bool herd_part_lateral_recurs(const HerdLevel *level, const RangeTblEntry *rte, List *facts);

/* A whole query as an item of FROM. */
extern HerdPart herd_part_query(const HerdLevel *level, List *around);

/* True if the expression is (by the facts) the never-null key of the row's shard. */
extern bool herd_part_is_key(const HerdLevel *level, const HerdPart *part, List *facts, Node *expr);

/* True if one of the sort group clauses is the key. */
extern bool herd_part_has_key(const HerdLevel *level, const HerdPart *part, List *facts,
			      List *clauses);

/* Of HerdSublink: those in node that the shard cannot answer. */
extern List *herd_part_bad_sublinks(const HerdLevel *level, const HerdPart *part, List *facts,
				    Node *node);

/* True if every sublink of the query (or only of node, if not NULL) can be answered in the shard.
 */
extern bool herd_part_sublinks_ok(const HerdLevel *level, const HerdPart *part, List *facts,
				  Node *node);
