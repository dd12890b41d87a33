/*
 * agg/partial.h - aggregates whose states travel between nodes: when, and how they are called.
 */
#pragma once
#include "postgres.h"

#include "nodes/primnodes.h"

/* True if the aggregate can be computed by parts on several nodes, by partial_agg and combine_agg.
 */
extern bool herd_agg_can_split(const Aggref *agg);
/* True if the aggregate's arguments and result have types of their own, not polymorphic ones. */
extern bool herd_agg_plain_signature(Oid agg);
/* partial_agg for the aggregate: computed on the node of a shard; its type is bytea. */
extern Aggref *herd_agg_partial(const Aggref *agg);
/* combine_agg over a column of such states: has the type of the aggregate. */
extern Aggref *herd_agg_combine(const Aggref *agg, Var *states);
/* True if the statement calls combine_agg by itself: states are trusted, so only plans may. */
extern bool herd_agg_is_internal(Oid agg);
