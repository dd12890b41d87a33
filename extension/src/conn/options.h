/*
 * conn/options.h - settings of connections and of the executor (citus.*), read-only elsewhere.
 */
#pragma once
#include "postgres.h"

extern int herd_node_hold_timeout_ms; /* citus.node_hold_timeout; 0: not at all */
extern int herd_max_shared_pool; /* citus.max_shared_pool_size; 0: max_connections, -1: no limit */
extern int herd_local_shared_pool;    /* citus.local_shared_pool_size; 0: half of max_connections */
extern int herd_cached_lifetime_ms;   /* citus.max_cached_connection_lifetime; -1: for ever */
extern int herd_slow_start_ms;        /* citus.executor_slow_start_interval */
extern bool herd_force_parallel;      /* citus.force_max_query_parallelization */
extern bool herd_binary_protocol;     /* citus.enable_binary_protocol */
extern bool herd_secondaries_only;    /* citus.use_secondary_nodes = always */
extern bool herd_secondaries_auto;    /* citus.use_secondary_nodes = auto */
extern int herd_max_secondary_lag_ms; /* citus.max_secondary_lag */
extern int herd_assignment_policy;    /* citus.task_assignment_policy: one of these */
enum { HERD_ASSIGN_GREEDY, HERD_ASSIGN_ROUND_ROBIN, HERD_ASSIGN_FIRST_REPLICA };
extern char *herd_cluster_name;       /* citus.cluster_name */
extern bool herd_propagate_set_local; /* citus.propagate_set_commands = local */
extern int herd_worker_min_messages;  /* citus.worker_min_messages: an elevel */
extern int herd_multi_task_log_level; /* citus.multi_task_query_log_level: an elevel, 0 off */

/* Defines them; from herd_guc_init. */
extern void herd_options_init(void);
