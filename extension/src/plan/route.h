/*
 * plan/route.h - tier 0: statements that touch the shards of one group, sent whole.
 */
#pragma once
#include "postgres.h"

#include "nodes/params.h"
#include "nodes/parsenodes.h"

#include "plan/facts.h"
#include "plan/remote.h"

/*
 * The plan of a statement that one shard group can answer, or NULL. *needs_params is set when that
 * depends on values of parameters that bound does not have. The query is not changed.
 */
extern HerdRemote *herd_route(const Query *query, ParamListInfo bound, bool *needs_params);

/* Adds the constant of the fact as a key; extracted: its parameters are those of the text. */
extern void herd_remote_add_key(HerdRemote *remote, const HerdTable *table, const HerdFact *fact,
				bool extracted);

/* True when all keys belong to one shard of the anchor, as far as this can be known now. */
extern bool herd_remote_keys_meet(HerdRemote *remote, ParamListInfo bound, bool *needs_params);

/* The value of a constant expression, with the parameters of bound; NULL if it is not known. */
extern Const *herd_bound_value(Node *expr, ParamListInfo bound);

/* True if the query calls functions that may write, as far as their volatility tells. */
extern bool herd_query_may_write(Query *query);

/* True if rows with these columns (junk: also the resjunk ones) can come from another node. */
extern bool herd_columns_can_travel(List *tlist, bool junk);
