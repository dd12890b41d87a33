/*
 * guc.h - the settings of the extension (citus.*), read-only outside guc.c.
 */
#pragma once
#include "postgres.h"

extern int herd_shard_count;                  /* citus.shard_count, 1..64000 */
extern int herd_max_pool_size;                /* citus.max_adaptive_executor_pool_size */
extern int herd_max_cached_conns;             /* citus.max_cached_conns_per_worker */
extern int herd_node_connection_timeout_ms;   /* citus.node_connection_timeout */
extern char *herd_node_conninfo;              /* citus.node_conninfo */
extern char *herd_local_hostname;             /* citus.local_hostname */
extern bool herd_enable_ddl_propagation;      /* citus.enable_ddl_propagation */
extern bool herd_enable_local_execution;      /* citus.enable_local_execution */
extern bool herd_enable_local_reference_keys; /* citus.enable_local_reference_table_foreign_keys */
extern bool herd_enable_moves;                /* citus.enable_repartition_joins */
extern int herd_tasks_per_node;               /* citus.max_tasks_per_node */
extern int herd_move_min_kb;                  /* citus.repartition_join_min_size */
extern bool herd_sequential_modify;           /* citus.multi_shard_modify_mode = sequential */
extern bool herd_log_remote_commands;         /* citus.log_remote_commands */
extern bool herd_explain_all_tasks;           /* citus.explain_all_tasks */
extern int herd_recover_2pc_interval_ms;      /* citus.recover_2pc_interval; -1 off */

extern bool herd_explain_distributed; /* citus.explain_distributed_queries */
extern int herd_explain_sort;         /* citus.explain_analyze_sort_method: one of */
enum { HERD_EXPLAIN_BY_TIME, HERD_EXPLAIN_BY_TASK };
extern bool herd_repartitioned_insert;     /* citus.enable_repartitioned_insert_select */
extern bool herd_propagate_create_role;    /* citus.enable_create_role_propagation */
extern bool herd_propagate_alter_role;     /* citus.enable_alter_role_propagation */
extern bool herd_propagate_alter_role_set; /* citus.enable_alter_role_set_propagation */
extern bool herd_propagate_create_type;    /* citus.enable_create_type_propagation */
extern int herd_metadata_sync_interval_ms; /* citus.metadata_sync_interval */
extern int herd_metadata_sync_retry_ms;    /* citus.metadata_sync_retry_interval */
extern bool herd_enable_cluster_clock;     /* citus.enable_cluster_clock */
extern bool herd_schema_based_sharding;    /* citus.enable_schema_based_sharding */
extern double herd_deadlock_factor;        /* citus.distributed_deadlock_detection_factor */
extern int herd_max_intermediate_kb;       /* citus.max_intermediate_result_size; -1: no limit */
#define HERD_INTERMEDIATE_DEFAULT_KB 1048576

/* Those that nothing reads (guc_accepted.c); from herd_guc_init. */
extern void herd_guc_define_accepted(void);
struct VariableSetStmt;
/* A SET that was executed: warns once when it is about one of those. */
extern void herd_guc_saw(const struct VariableSetStmt *stmt);

/* Defines every setting of the surface; once from _PG_init. */
extern void herd_guc_init(void);
