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
bool herd_enable_local_reference_keys = true;
bool herd_enable_moves = true;
int herd_move_min_kb = 1024;
int herd_tasks_per_node;
bool herd_sequential_modify;
bool herd_log_remote_commands;
bool herd_explain_all_tasks;
int herd_recover_2pc_interval_ms = 60000;
bool herd_explain_distributed = true;
bool herd_repartitioned_insert = true;
bool herd_propagate_create_role = true;
bool herd_propagate_alter_role = true;
bool herd_propagate_alter_role_set = true;
bool herd_propagate_create_type = true;
bool herd_schema_based_sharding = false;
bool herd_enable_cluster_clock = true;
int herd_metadata_sync_interval_ms = 5000;
int herd_metadata_sync_retry_ms = 5000;
double herd_deadlock_factor = 2;
int herd_explain_sort = HERD_EXPLAIN_BY_TIME;
int herd_max_intermediate_kb = HERD_INTERMEDIATE_DEFAULT_KB;

static int multi_shard_modify_mode;

enum { MODIFY_PARALLEL = 0, MODIFY_SEQUENTIAL };

static const struct config_enum_entry modify_modes[] = {
	{ "parallel", MODIFY_PARALLEL, false },
	{ "sequential", MODIFY_SEQUENTIAL, false },
	{ NULL, 0, false },
};

static const struct config_enum_entry explain_orders[] = {
	{ "execution-time", HERD_EXPLAIN_BY_TIME, false },
	{ "taskId", HERD_EXPLAIN_BY_TASK, false },
	{ NULL, 0, false },
};

static void assign_modify_mode(int newval, void *extra)
{
	herd_sequential_modify = newval == MODIFY_SEQUENTIAL;
}

static void *guc_storage(Size size)
{
	return MemoryContextAllocZero(TopMemoryContext, size);
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

static void define_bool(const char *name, const char *what, bool *value)
{
	DefineCustomBoolVariable(name, what, NULL, value, *value, PGC_USERSET, 0, NULL, NULL, NULL);
}

static void define_propagation(void)
{
	define_bool("citus.enable_create_role_propagation",
		    "CREATE ROLE and DROP ROLE reach all nodes.", &herd_propagate_create_role);
	define_bool("citus.enable_alter_role_propagation", "ALTER ROLE reaches all nodes.",
		    &herd_propagate_alter_role);
	define_bool("citus.enable_alter_role_set_propagation",
		    "ALTER ROLE .. SET reaches all nodes.", &herd_propagate_alter_role_set);
	define_bool("citus.enable_schema_based_sharding",
		    "CREATE SCHEMA makes a distributed schema.", &herd_schema_based_sharding);
	define_bool("citus.enable_cluster_clock",
		    "Transactions can have a time that orders them over nodes.",
		    &herd_enable_cluster_clock);
	define_bool("citus.enable_create_type_propagation", "CREATE TYPE reaches all nodes.",
		    &herd_propagate_create_type);
}

static void define_maintenance(void)
{
	DefineCustomIntVariable("citus.metadata_sync_interval",
				"How often nodes that missed a change of the nodes are looked for.",
				NULL, &herd_metadata_sync_interval_ms, 5000, 1, INT_MAX, PGC_SIGHUP,
				GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("citus.metadata_sync_retry_interval",
				"The same as long as one of them could not be told.", NULL,
				&herd_metadata_sync_retry_ms, 5000, 1, INT_MAX, PGC_SIGHUP,
				GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomRealVariable("citus.distributed_deadlock_detection_factor",
				 "Distributed deadlocks are looked for after so many times "
				 "deadlock_timeout, -1 for never.",
				 NULL, &herd_deadlock_factor, 2, -1, 1000, PGC_SIGHUP, 0, NULL,
				 NULL, NULL);
}

static void define_results(void)
{
	DefineCustomEnumVariable("citus.explain_analyze_sort_method",
				 "Order in which EXPLAIN ANALYZE shows tasks.", NULL,
				 &herd_explain_sort, HERD_EXPLAIN_BY_TIME, explain_orders,
				 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"citus.max_intermediate_result_size",
		"Largest result of a part of a statement that is sent to other nodes.",
		"-1 for no limit. A value other than the default also limits what "
		"is read to the node that plans for a join there.",
		&herd_max_intermediate_kb, HERD_INTERMEDIATE_DEFAULT_KB, -1, INT_MAX, PGC_USERSET,
		GUC_UNIT_KB, NULL, NULL, NULL);
	define_bool("citus.enable_repartitioned_insert_select",
		    "INSERT .. SELECT moves rows from node to node.", &herd_repartitioned_insert);
	define_bool("citus.explain_distributed_queries", "EXPLAIN shows what runs on the shards.",
		    &herd_explain_distributed);
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
	DefineCustomBoolVariable(
		"citus.enable_local_reference_table_foreign_keys",
		"Adds local tables that reference tables refer to to the metadata.", NULL,
		&herd_enable_local_reference_keys, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("citus.enable_repartition_joins",
				 "Moves rows between nodes for joins of tables that do not meet in "
				 "their shards.",
				 "When off, such tables are read through the node that plans.",
				 &herd_enable_moves, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("citus.repartition_join_min_size",
				"Smaller joins are computed on the node that plans.", NULL,
				&herd_move_min_kb, 1024, 0, INT_MAX, PGC_USERSET, GUC_UNIT_KB, NULL,
				NULL, NULL);
	DefineCustomIntVariable(
		"citus.max_tasks_per_node",
		"Tasks into which a query of many shards is divided on each node.",
		"0: as many as this server has processors, shared by nodes of one host. "
		"-1: one for each shard.",
		&herd_tasks_per_node, 0, -1, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
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
	define_propagation();
	define_maintenance();
	define_results();
	herd_options_init();
	herd_guc_define_accepted();
}
