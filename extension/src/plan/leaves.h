/*
 * plan/leaves.h - the relations that a query reads or writes, each with the facts known of it.
 */
#pragma once
#include "postgres.h"

#include "plan/facts.h"

typedef struct HerdLeaf {
	RangeTblEntry *rte;
	const HerdTable *table;
	HerdTerm key; /* of hash tables */
	List *facts;
	bool written;
} HerdLeaf;

typedef struct HerdLeaves {
	List *leaves; /* of HerdLeaf: relations in the metadata */
	bool plain;   /* something is read that other nodes do not have */
	bool outer;   /* reads columns or CTEs of a query around it */
} HerdLeaves;

/* facts: what holds around the query (NIL at the top). */
extern void herd_leaves_of_query(const HerdLevel *level, List *facts, HerdLeaves *out);

/* A SubLink in an expression of the query itself; positive: it must be true for a row to count. */
typedef struct HerdSublink {
	SubLink *sublink;
	bool positive;
} HerdSublink;

/* Of HerdSublink: those in the query's own expressions, not those in its subqueries. */
extern List *herd_sublinks_of_query(Query *query);

/* What holds for all relevant rows of the query, given what holds around it. */
extern List *herd_facts_of_query(const HerdLevel *level, List *around);

/* True if the query refers to columns, aggregates or CTEs of queries around it. */
extern bool herd_query_is_correlated(Query *query);

/* The first relation in the metadata, anywhere in the query; NULL if there is none. */
extern const HerdTable *herd_query_any_table(Query *query);
