/*
 * stats/queries.h - which statements reached shards, how often and of which key:
 * citus_stat_statements. Tracked in shared memory by query id, user, database and value of the
 * distribution column, while citus.stat_statements_track is "all" and PostgreSQL computes query
 * ids.
 */
#pragma once
#include "postgres.h"

#include "nodes/execnodes.h"
#include "nodes/params.h"

#include "plan/remote.h"

/* Settings and shared memory; from _PG_init. */
extern void herd_query_init(void);
/*
 * A plan's tasks are about to run; counted once for each execution of the statement. remote: NULL
 * for an INSERT of rows that are computed here; params: values of its evals.
 */
extern void herd_query_saw(const HerdRemote *remote, EState *estate, ParamListInfo params,
			   int ntasks);
/* citus.stat_statements_purge_interval; -1: never. */
extern int herd_query_purge_interval_ms(void);
/* In the maintenance worker: forgets what pg_stat_statements has forgotten, if it is there. */
extern void herd_query_purge(void);
