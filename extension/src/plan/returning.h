/*
 * plan/returning.h - writes of distributed tables whose RETURNING shards cannot compute.
 *
 * Their nodes have no sequence for nextval, what a function does to the session is not seen here,
 * and functions may use rows of other nodes. Such a list is computed on this node, from columns
 * that the write returns, when all is written.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/* True for a write that is to be planned so. */
extern bool herd_returns_here(const Query *query);

/* True for one that has subqueries there, which can be planned so when all else fails. */
extern bool herd_returns_subqueries(const Query *query);

/*
 * WITH the write RETURNING what the list reads, SELECT the list; the WITH of the write becomes that
 * of the SELECT. A new query; the write is left as it was.
 */
extern Query *herd_return_here(const Query *write);
