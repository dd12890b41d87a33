/*
 * plan/rownull.h - whole rows of tables that have lost columns, compared with NULL.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * Writes "row IS [NOT] NULL" of distributed tables with dropped columns out as one test for each
 * column, in place, in all of the query. What stands for such a row while it is planned has nulls
 * where the table had those columns, and PostgreSQL would look at these, too.
 */
extern void herd_spell_row_tests(Query *query);
