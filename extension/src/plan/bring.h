/*
 * plan/bring.h - what a subquery of a write reads comes to the nodes of the target.
 *
 * A subquery that is tied to the target by other columns than the distribution column is run by the
 * shards, over copies of the tables it reads: the rows and columns that it may need, all of them on
 * every node that has shards of the target. They are read before anything is written. So rows are
 * locked, and conditions asked again of rows that others have changed, as on one node.
 */
#pragma once
#include "postgres.h"

#include "plan/rewrite.h"

/*
 * Replaces, in place and in all that is below the query, tables that are not on every node, and
 * subqueries that can be answered by themselves, by moves to the shards of target, which are
 * appended. False: something cannot be moved (system columns, whole rows, row locks, writes); the
 * query is of no use then.
 */
extern bool herd_bring_tables(Query *query, const HerdTable *target, HerdPlanning *planning,
			      List **moves);

/* The same for a subquery of an expression; one that stands alone is answered before. */
extern bool herd_bring_sublink(SubLink *sublink, const HerdTable *target, HerdPlanning *planning,
			       List **moves);

/* The same for all subqueries in the query's own expressions that are not over such tables only. */
extern bool herd_bring_sublinks(Query *query, const HerdTable *target, HerdPlanning *planning,
				List **moves);

/* The same for subqueries in FROM of the write that refer to other items of it. */
extern bool herd_bring_laterals(Query *query, const HerdTable *target, HerdPlanning *planning,
				List **moves);

/* WITH of the write itself: each of its queries is run once, here. False: one of them writes. */
extern bool herd_bring_ctes(Query *query, const HerdTable *target, HerdPlanning *planning,
			    List **moves);

/*
 * Subqueries in the query's own expressions get their own copies of what they read of its WITH, in
 * place. False: a query of it writes, is volatile, or is hidden by one of the same name there.
 */
extern bool herd_adopt_ctes(Query *query);

/* SELECT of all columns of one of the queries in its WITH, of which the new one has copies. */
extern Query *herd_select_cte(const Query *query, const CommonTableExpr *cte);

/* True if there are subqueries in ON CONFLICT or RETURNING of an INSERT. */
extern bool herd_insert_asks(const Query *insert);

/*
 * A write of a table without a distribution column, whose sources are elsewhere; NULL: not
 * possible.
 */
extern HerdRemote *herd_write_brought(const Query *original, HerdPlanning *planning);

/* plan/hub_move.c: the item becomes a move of all its rows that matter. NULL: not possible. */
extern struct HerdMove *herd_send_item(Query *query, int varno, const HerdTable *target,
				       HerdPlanning *planning);
