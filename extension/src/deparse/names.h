/*
 * deparse/names.h - names of columns that the text for a shard would lose.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"

/*
 * A row whose columns have names (x.* of a join with an alias) is printed as ROW(..), which calls
 * them f1, f2, ..: functions like row_to_json would tell. Returns (SELECT r FROM (SELECT .. AS
 * name, ..) r) instead, or row itself where nothing is lost or no subquery can stand.
 */
extern Node *herd_named_row(RowExpr *row);

/*
 * Columns of a view or of WITH may have been named otherwise than their query names them, and a
 * view that was replaced has more than those that read it knew.
 */
extern void herd_name_columns(RangeTblEntry *rte);

/*
 * A name in ORDER BY and DISTINCT ON is first of all that of a result, so a column of the only
 * relation that is called like another result has to be qualified. PostgreSQL qualifies where there
 * are several relations: the query gets one that is not in FROM and is not printed.
 */
extern void herd_qualify_order(Query *query);
