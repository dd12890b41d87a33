#include "guc.h"

#include "conn/options.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include <limits.h>

int herd_shard_count = 32;
int herd_max_pool_size = 16;
int herd_max_cached_conns = 1;
int herd_node_connection_timeout_ms = 30000;
char *herd_node_conninfo;
char *herd_local_hostname;
bool herd_enable_ddl_propagation = true;
bool herd_enable_local_execution = true;
bool herd_enable_moves = true;
int herd_move_min_kb = 1024;
int herd_tasks_per_node;
bool herd_sequential_modify;
bool herd_log_remote_commands;
bool herd_explain_all_tasks;
int herd_recover_2pc_interval_ms = 60000;

static int multi_shard_modify_mode;

enum { MODIFY_PARALLEL = 0, MODIFY_SEQUENTIAL };

static const struct config_enum_entry modify_modes[] = {
	{ "parallel", MODIFY_PARALLEL, false },
	{ "sequential", MODIFY_SEQUENTIAL, false },
	{ NULL, 0, false },
};

static void assign_modify_mode(int newval, void *extra)
{
	herd_sequential_modify = newval == MODIFY_SEQUENTIAL;
}

/*
 * The settings that are acted on are defined one by one below. Those in the tables are part of the
 * surface: a configuration that sets them is accepted and their values are kept and shown, nothing
 * else reads them. docs/extension.md lists them.
 */
struct accepted_bool {
	const char *name;
	bool boot;
};
struct accepted_int {
	const char *name;
	int boot, min, max;
	int flags;
	GucContext context;
};
struct accepted_real {
	const char *name;
	double boot, min, max;
};
struct accepted_string {
	const char *name;
	const char *boot;
};
struct accepted_enum {
	const char *name;
	const char *values[8]; /* the first is the default */
};

/* clang-format off */
static const struct accepted_bool bools[] = {
	{ "citus.enable_metadata_sync", true },
	{ "citus.enable_schema_based_sharding", false },
	{ "citus.enable_local_reference_table_foreign_keys", true },
	{ "citus.use_citus_managed_tables", false },
	{ "citus.writable_standby_coordinator", false },
	{ "citus.explain_distributed_queries", true },
	{ "citus.all_modifications_commutative", false },
	{ "citus.enable_deadlock_prevention", true },
	{ "citus.enable_unsafe_triggers", false },
	{ "citus.allow_nested_distributed_execution", false },
	{ "citus.enable_create_role_propagation", true },
	{ "citus.enable_alter_role_propagation", true },
	{ "citus.enable_alter_role_set_propagation", true },
	{ "citus.enable_create_type_propagation", true },
	{ "citus.enable_alter_database_owner", true },
	{ "citus.enable_create_database_propagation", false },
	{ "citus.enable_repartitioned_insert_select", true },
	{ "citus.enable_single_hash_repartition_joins", false },
	{ "citus.enable_recurring_outer_join_pushdown", true },
	{ "citus.enable_fast_path_router_planner", true },
	{ "citus.enable_local_fast_path_query_optimization", true },
	{ "citus.enable_non_colocated_router_query_pushdown", false },
	{ "citus.enable_stat_counters", false },
	{ "citus.enable_change_data_capture", false },
	{ "citus.enable_cluster_clock", true },
	{ "citus.skip_jsonb_validation_in_copy", true },
	{ "citus.function_opens_transaction_block", true },
	{ "citus.select_opens_transaction_block", true },
	{ "citus.subquery_pushdown", true },
	{ "citus.enable_statistics_collection", false },
	{ "citus.override_table_visibility", true },
};

static const struct accepted_int ints[] = {
	{ "citus.shard_replication_factor", 1, 1, 1, 0, PGC_USERSET },
	{ "citus.max_client_connections", -1, -1, INT_MAX, 0, PGC_SUSET },
	{ "citus.max_intermediate_result_size", 1048576, -1, INT_MAX, GUC_UNIT_KB, PGC_USERSET },
	{ "citus.limit_clause_row_fetch_count", -1, -1, INT_MAX, 0, PGC_USERSET },
	{ "citus.background_task_queue_interval", 5000, -1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP },
	{ "citus.max_background_task_executors", 1, 1, 1000, 0, PGC_SIGHUP },
	{ "citus.max_background_task_executors_per_node", 1, 1, 128, 0, PGC_SIGHUP },
	{ "citus.max_rebalancer_logged_ignored_moves", 5, -1, INT_MAX, 0, PGC_USERSET },
	{ "citus.desired_percent_disk_available_after_move", 10, 0, 100, 0, PGC_USERSET },
	{ "citus.defer_shard_delete_interval", 15000, -1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP },
	{ "citus.logical_replication_timeout", 7200000, 0, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP },
	{ "citus.metadata_sync_interval", 60000, 1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP },
	{ "citus.metadata_sync_retry_interval", 5000, 1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP },
	{ "citus.repartition_join_bucket_count_per_node", 4, 1, INT_MAX, 0, PGC_SUSET },
	{ "citus.stat_tenants_limit", 100, 1, 10000, 0, PGC_POSTMASTER },
	{ "citus.stat_tenants_period", 60, 1, 86400, GUC_UNIT_S, PGC_USERSET },
	{ "citus.stat_statements_max", 50000, 1000, 10000000, 0, PGC_POSTMASTER },
	{ "citus.stat_statements_purge_interval", 10, -1, INT_MAX, GUC_UNIT_S, PGC_SIGHUP },
	{ "citus.values_materialization_threshold", 100, -1, INT_MAX, 0, PGC_USERSET },
	{ "citus.max_matview_size_to_auto_recreate", 1024, -1, INT_MAX, GUC_UNIT_MB, PGC_USERSET },
	{ "citus.remote_copy_flush_threshold", 8388608, 0, INT_MAX, GUC_UNIT_BYTE, PGC_USERSET },
	{ "citus.local_copy_flush_threshold", 524288, 1, INT_MAX, GUC_UNIT_BYTE, PGC_USERSET },
	{ "citus.copy_switchover_threshold", 4194304, 1, INT_MAX, GUC_UNIT_BYTE, PGC_USERSET },
	{ "citus.cpu_priority", 0, -20, 19, 0, PGC_SUSET },
	{ "citus.cpu_priority_for_logical_replication_senders", 10, -20, 19, 0, PGC_SUSET },
	{ "citus.max_high_priority_background_processes", 2, 0, 10000, 0, PGC_SUSET },
	{ "citus.rebalancer_by_disk_size_base_cost", 104857600, 0, INT_MAX, GUC_UNIT_BYTE, PGC_USERSET },
	{ "citus.max_worker_nodes_tracked", 2048, 8, INT_MAX, 0, PGC_POSTMASTER },
};

static const struct accepted_real reals[] = {
	{ "citus.count_distinct_error_rate", 0, 0, 1 },
	{ "citus.distributed_deadlock_detection_factor", 2, -1, 1000 },
	{ "citus.stat_tenants_untracked_sample_rate", 1, 0, 1 },
};

static const struct accepted_string strings[] = {
	{ "citus.show_shards_for_app_name_prefixes", "" },
	{ "citus.superuser", "" },
};

static const struct accepted_enum enums[] = {
	{ "citus.local_table_join_policy", { "auto", "never", "prefer-local", "prefer-distributed" } },
	{ "citus.explain_analyze_sort_method", { "execution-time", "taskId" } },
	{ "citus.metadata_sync_mode", { "transactional", "nontransactional" } },
	{ "citus.create_object_propagation", { "immediate", "deferred", "automatic" } },
	{ "citus.coordinator_aggregation_strategy", { "row-gather", "disabled" } },
	{ "citus.stat_tenants_track", { "none", "all" } },
	{ "citus.stat_statements_track", { "none", "all" } },
};
/* clang-format on */

static const char accepted_desc[] = "Accepted for compatibility.";

static void *guc_storage(Size size)
{
	return MemoryContextAllocZero(TopMemoryContext, size);
}

static void define_accepted(void)
{
	for (int i = 0; i < lengthof(bools); i++)
		DefineCustomBoolVariable(bools[i].name, accepted_desc, NULL,
					 guc_storage(sizeof(bool)), bools[i].boot, PGC_USERSET, 0,
					 NULL, NULL, NULL);
	for (int i = 0; i < lengthof(ints); i++)
		DefineCustomIntVariable(ints[i].name, accepted_desc, NULL, guc_storage(sizeof(int)),
					ints[i].boot, ints[i].min, ints[i].max, ints[i].context,
					ints[i].flags, NULL, NULL, NULL);
	for (int i = 0; i < lengthof(reals); i++)
		DefineCustomRealVariable(reals[i].name, accepted_desc, NULL,
					 guc_storage(sizeof(double)), reals[i].boot, reals[i].min,
					 reals[i].max, PGC_USERSET, 0, NULL, NULL, NULL);
	for (int i = 0; i < lengthof(strings); i++)
		DefineCustomStringVariable(strings[i].name, accepted_desc, NULL,
					   guc_storage(sizeof(char *)), strings[i].boot, PGC_SUSET,
					   0, NULL, NULL, NULL);
	for (int i = 0; i < lengthof(enums); i++) {
		struct config_enum_entry *entries =
			guc_storage((lengthof(enums[i].values) + 1) * sizeof(*entries));

		for (int v = 0; v < lengthof(enums[i].values) && enums[i].values[v]; v++) {
			entries[v].name = enums[i].values[v];
			entries[v].val = v;
		}
		DefineCustomEnumVariable(enums[i].name, accepted_desc, NULL,
					 guc_storage(sizeof(int)), 0, entries, PGC_USERSET, 0, NULL,
					 NULL, NULL);
	}
}

static void define_limits(void)
{
	DefineCustomIntVariable("citus.shard_count", "Shards of a new distributed table.", NULL,
				&herd_shard_count, 32, 1, 64000, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("citus.max_adaptive_executor_pool_size",
				"Connections a statement opens to one node at most.", NULL,
				&herd_max_pool_size, 16, 1, INT_MAX, PGC_USERSET, 0, NULL, NULL,
				NULL);
	DefineCustomIntVariable("citus.max_cached_conns_per_worker",
				"Connections kept to each node between transactions.", NULL,
				&herd_max_cached_conns, 1, 0, INT_MAX, PGC_USERSET, 0, NULL, NULL,
				NULL);
	DefineCustomIntVariable("citus.node_connection_timeout",
				"How long a node that does not answer is waited for.", NULL,
				&herd_node_connection_timeout_ms, 30000, 10, 3600000, PGC_USERSET,
				GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("citus.recover_2pc_interval",
				"Time between recoveries of prepared transactions, -1 for never.",
				NULL, &herd_recover_2pc_interval_ms, 60000, -1, 604800000,
				PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void define_behaviour(void)
{
	DefineCustomBoolVariable(
		"citus.enable_ddl_propagation", "Applies DDL on distributed objects to all nodes.",
		NULL, &herd_enable_ddl_propagation, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("citus.enable_local_execution",
				 "Runs tasks on shards of this node without a connection.", NULL,
				 &herd_enable_local_execution, true, PGC_USERSET, 0, NULL, NULL,
				 NULL);
	DefineCustomBoolVariable("citus.enable_repartition_joins",
				 "Moves rows between nodes for joins of tables that do not meet in "
				 "their shards.",
				 "When off, such tables are read through the node that plans.",
				 &herd_enable_moves, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("citus.repartition_join_min_size",
				"Smaller joins are computed on the node that plans.", NULL,
				&herd_move_min_kb, 1024, 0, INT_MAX, PGC_USERSET, GUC_UNIT_KB, NULL,
				NULL, NULL);
	DefineCustomIntVariable("citus.max_tasks_per_node",
				"Tasks into which a query of many shards is divided on each node.",
				"0: as many as this server has processors. -1: one for each shard.",
				&herd_tasks_per_node, 0, -1, INT_MAX, PGC_USERSET, 0, NULL, NULL,
				NULL);
	DefineCustomBoolVariable("citus.log_remote_commands", "Logs what is sent to other nodes.",
				 NULL, &herd_log_remote_commands, false, PGC_USERSET, 0, NULL, NULL,
				 NULL);
	DefineCustomBoolVariable("citus.explain_all_tasks",
				 "EXPLAIN shows every task instead of one.", NULL,
				 &herd_explain_all_tasks, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("citus.multi_shard_modify_mode",
				 "Whether a statement writes to shards of a node in parallel.",
				 NULL, &multi_shard_modify_mode, MODIFY_PARALLEL, modify_modes,
				 PGC_USERSET, 0, NULL, assign_modify_mode, NULL);
	DefineCustomStringVariable("citus.node_conninfo",
				   "Connection parameters used between nodes.", NULL,
				   &herd_node_conninfo, "sslmode=prefer", PGC_SIGHUP,
				   GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"citus.local_hostname", "Name under which this node reaches itself.", NULL,
		&herd_local_hostname, "localhost", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("citus.version", "Version of the extension.", NULL,
				   guc_storage(sizeof(char *)), "13.2.0", PGC_INTERNAL, 0, NULL,
				   NULL, NULL);
}

void herd_guc_init(void)
{
	define_limits();
	define_behaviour();
	herd_options_init();
	define_accepted();
	MarkGUCPrefixReserved("citus");
}
