/*
 * plan/update_here.h - UPDATE and DELETE whose rows are computed on this node.
 *
 * For what shards cannot compute: functions that change the session, as nextval, and volatile ones
 * beside tables of other nodes. The rows that WHERE selects, and what they become, are a SELECT of
 * this node; then they are written as those of a MERGE are (merge_here.c): found again by ctid,
 * locked, and computed anew when somebody else has changed them meanwhile.
 */
#pragma once
#include "postgres.h"

#include "plan/rewrite.h"

/* NULL: not possible. The target: a distributed table. */
extern HerdRemote *herd_update_here(const Query *update, HerdPlanning *planning);

/* True for an UPDATE or DELETE of which no other way is right. */
extern bool herd_update_calls_session(const Query *query);
