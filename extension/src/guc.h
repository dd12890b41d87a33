/*
 * guc.h - the settings of the extension (citus.*), read-only outside guc.c.
 */
#pragma once
#include "postgres.h"

extern int herd_shard_count;                /* citus.shard_count, 1..64000 */
extern int herd_max_pool_size;              /* citus.max_adaptive_executor_pool_size */
extern int herd_max_cached_conns;           /* citus.max_cached_conns_per_worker */
extern int herd_node_connection_timeout_ms; /* citus.node_connection_timeout */
extern char *herd_node_conninfo;            /* citus.node_conninfo */
extern char *herd_local_hostname;           /* citus.local_hostname */
extern bool herd_enable_ddl_propagation;    /* citus.enable_ddl_propagation */
extern bool herd_enable_local_execution;    /* citus.enable_local_execution */
extern bool herd_enable_moves;              /* citus.enable_repartition_joins */
extern int herd_tasks_per_node;             /* citus.max_tasks_per_node */
extern int herd_move_min_kb;                /* citus.repartition_join_min_size */
extern bool herd_sequential_modify;         /* citus.multi_shard_modify_mode = sequential */
extern bool herd_log_remote_commands;       /* citus.log_remote_commands */
extern bool herd_explain_all_tasks;         /* citus.explain_all_tasks */
extern int herd_recover_2pc_interval_ms;    /* citus.recover_2pc_interval; -1 off */

/* Defines every setting of the surface; once from _PG_init. */
extern void herd_guc_init(void);
