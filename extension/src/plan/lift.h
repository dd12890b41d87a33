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
