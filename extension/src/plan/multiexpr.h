/*
 * plan/multiexpr.h - SET (a, b) = (SELECT ..) as an expression for each column.
 *
 * PostgreSQL computes such a subquery once for a row and refers to its columns by parameters of the
 * statement, which mean nothing once the new values are read by another query.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/* True if the list has values that come from columns of one subquery. */
extern bool herd_multiexpr_any(List *tlist);

/*
 * A copy of the list in which each of these values is a subquery of its own. NIL: the subquery has
 * a volatile function or a LIMIT, so that it could give another row the second time.
 */
extern List *herd_multiexpr_split(List *tlist);

/*
 * For values that are computed row by row: adds each subquery as a value of its own, the texts of
 * its columns in an array, to what add takes (which returns the number of the column), and gives
 * the list with expressions over these columns of the rows, which are Vars of varno.
 */
extern List *herd_multiexpr_bring(List *tlist, int varno, int (*add)(void *context, Expr *expr),
				  void *context);
