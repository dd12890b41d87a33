/*
 * plan/policies.h - policies that the planning node puts into the statement.
 *
 * Shards check the policies of their table themselves where they can. They cannot where a policy
 * reads rows of other nodes, and where several roles use the table in one statement. Of such tables
 * (HerdRights.here) a task reads and writes all rows, with a superuser's rights on the shard, and
 * the conditions that PostgreSQL's rewriter has found are part of the statement:
 *
 * - a relation in FROM becomes a subquery with them, which is a security barrier;
 * - on the target of UPDATE and DELETE they are part of WHERE, see plan/security.h;
 * - a new row is checked where its first value that is no distribution key is computed; where
 *   triggers or generated columns may change it still, in RETURNING.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/* The relation in FROM, with conditions, becomes a subquery that has them, in place. */
extern void herd_policies_read(Query *query, int varno);

/* An expression: the value, of a row that has passed the checks (of Expr). */
extern Expr *herd_when_checked(List *checks, Expr *value);

/* Checks of new rows of the target move from the list beside the statement into it, in place. */
extern void herd_policies_check(Query *query);
