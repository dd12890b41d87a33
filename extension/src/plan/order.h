/*
 * plan/order.h - the order in which a subquery gives its rows.
 *
 * SQL has no order but that of the outermost ORDER BY. PostgreSQL though reads a subquery with an
 * ORDER BY in its order, its documentation says so of aggregates, and applications count on it:
 *
 *   SELECT array_agg(x) FROM (SELECT x FROM t ORDER BY y) s
 *   SELECT row_number() OVER (), * FROM (SELECT .. ORDER BY y) s
 *   SELECT * FROM (SELECT .. ORDER BY y) s LIMIT 10
 *
 * Shards answer such a query side by side, so the order is told to who needs it.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * For a SELECT from one subquery that is sorted: gives its ORDER BY to the query, or to the
 * aggregates whose result depends on the order. Changes query in place; to be called before it is
 * decided who runs it.
 *
 * Returns true when neither can say what is needed (window functions without an order, DISTINCT ON
 * without ORDER BY): then this node must read the sorted rows and do the rest.
 */
extern bool herd_keep_order(Query *query);
