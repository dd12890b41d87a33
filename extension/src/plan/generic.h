/*
 * plan/generic.h - statements of shards whose plan is the same for every value.
 *
 * PostgreSQL plans a prepared statement anew the first five times. A session of this extension has
 * a statement for each shard, so that a short one would be planned over and over. If it finds its
 * row by a unique index, or inserts values, there is nothing to learn from a value: its plan is
 * kept after the first time. plan_cache_mode of the server or the role is respected.
 */
#pragma once
#include "postgres.h"

#include "nodes/params.h"
#include "nodes/parsenodes.h"

/* The planner has been asked for a plan; bound: the values it is for, or NULL. */
extern void herd_generic_saw(const Query *query, const char *source, ParamListInfo bound);
/* The executor begins with a statement of its client. */
extern void herd_generic_keep(void);
