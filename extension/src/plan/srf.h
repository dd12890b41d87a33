/*
 * plan/srf.h - functions in SQL that the planner would replace by their query.
 */
#pragma once
#include "postgres.h"

#include "nodes/params.h"
#include "nodes/parsenodes.h"

/*
 * The planner puts the query of a set-returning SQL function that is not volatile where the
 * function stands, after everything here has looked for tables. So this is done before, in place.
 * Gives what the plan depends on, for its invalItems.
 */
extern List *herd_inline_functions(Query *query, ParamListInfo bound);
