/*
 * attach/leaving.h - rows that leave their shard because their distribution column is updated.
 *
 * Such a row is written three times. First it gets its new values in the shard where it is: there
 * the rights, policies, constraints and triggers of an UPDATE meet it. Then it is deleted there and
 * inserted in its new shard, which nobody notices. Foreign keys and transition tables are left out
 * on the shards: the node that plans has both rows and does what they need (herd_fire with moves).
 */
#pragma once
#include "postgres.h"

#include "executor/execdesc.h"

/* On the node of the shard, when the executor has started: takes away what is done elsewhere. */
extern void herd_leaving_started(QueryDesc *query);
/* True if what runs is the first of the three. */
extern bool herd_leaving_runs(void);
