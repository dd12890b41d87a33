/*
 * plan/lift.h - subqueries of a write that shards cannot answer are answered before it.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * Replaces the subqueries in expressions of the query that depend on nothing around them by
 * columns of a row (Vars of OUTER_VAR) and gives the SELECT of that row; NULL if there are none.
 * sources: also what stands in FROM or USING beside the target and is not a reference table; it
 * becomes arrays in that row, and WITH moves there. The query is changed in place.
 */
extern Query *herd_lift(Query *query, bool sources);

/* The same of ON CONFLICT only. */
extern Query *herd_lift_conflict(Query *insert);

/*
 * x IN (SELECT ..), which depends on nothing around it, as x = ANY (ARRAY(SELECT ..)): its rows are
 * read once, where the statement is planned, and shards get them as a value. NULL if it is not that
 * simple.
 */
extern Node *herd_any_as_array(SubLink *sublink);
