/*
 * plan/decorrelate.h - subqueries in WHERE that are tied to the query by equalities.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * Scalar aggregates of conditions in WHERE become grouped subqueries in FROM, in place, where that
 * gives the same rows. True if something has changed. Subqueries that shards can answer must not be
 * given: they are faster as they are.
 */
extern bool herd_join_scalars(Query *query);

/* What EXISTS and NOT EXISTS look into becomes the values they look for, each once; in place. */
extern void herd_reduce_exists(Query *query);
