/*
 * plan/facts.h - which columns of a query are equal, to each other or to a constant.
 *
 * A fact holds for every row that can have an influence on the result of the query it was found
 * for: the WHERE clause and the conditions of inner joins, seen through subqueries; the condition
 * of an outer join only inside its nullable side. Facts are kept in Lists; a list that holds in a
 * query holds in everything below it.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"

#include "catalog/metadata.h"

/* A query and those around it; Vars with varlevelsup n belong to the n-th above. */
typedef struct HerdLevel {
	Query *query;
	const struct HerdLevel *up;
} HerdLevel;

/* A column (expr NULL), or an expression that is constant for the statement. */
typedef struct HerdTerm {
	Query *query;
	int varno;
	int attno;
	Node *expr;
} HerdTerm;

typedef struct HerdFact {
	HerdTerm left, right;
	Oid op;        /* InvalidOid: the same value, by construction */
	Oid collation; /* input collation of op */
	Oid type;      /* op's input type on the side of the constant, if one is */
	bool in_array; /* right is an array and left equals one of its elements */
	Query *output; /* left is an output column of this query in FROM, right a column in it */
} HerdFact;

/* The column, through join aliases and binary-compatible casts, or the constant; false if neither.
 */
extern bool herd_term_of(const HerdLevel *level, Node *expr, HerdTerm *term);

/* Facts of an AND-list. */
extern void herd_facts_of_quals(const HerdLevel *level, Node *quals, List **facts);

/* Facts that hold for every row that comes out of the from item. */
extern void herd_facts_of_from(const HerdLevel *level, Node *jtnode, List **facts);

/* Facts for the inside of a subquery in FROM: without its outputs where they cannot go down. */
extern List *herd_facts_for_subquery(List *facts, Query *subquery);

/* Facts for x IN (SELECT ..) inside of the subquery; only if the sublink must be true. */
extern void herd_facts_of_any(const HerdLevel *level, SubLink *sublink, List **facts);

/* The fact that ties the key column to a constant (which is .right), or to an array. */
extern HerdFact *herd_fact_constant(List *facts, HerdTerm key, const HerdTable *table,
				    bool in_array);

/* True if the columns are equal, in the sense of the table's hash. */
extern bool herd_fact_connected(List *facts, HerdTerm a, HerdTerm b, const HerdTable *table);

/* The hash function of the table's operator family for a value of this type. */
extern Oid herd_key_hash_proc(const HerdTable *table, Oid type);

/* True if the output column of the subquery may be filtered inside of it. */
extern bool herd_output_filterable(Query *subquery, int attno);
