#include "conn/options.h"

#include "utils/guc.h"

#include <limits.h>

int herd_node_hold_timeout_ms = 60000;
int herd_max_shared_pool;
int herd_local_shared_pool;
int herd_cached_lifetime_ms = 600000;
int herd_slow_start_ms = 10;
bool herd_force_parallel;
bool herd_binary_protocol = true;
bool herd_secondaries_only;
bool herd_secondaries_auto;
int herd_max_secondary_lag_ms = 1000;
int herd_assignment_policy;
char *herd_cluster_name;
bool herd_propagate_set_local;
int herd_worker_min_messages = NOTICE;
int herd_multi_task_log_level;

static int use_secondary_nodes, propagate_set_commands;

static const struct config_enum_entry secondary_modes[] = {
	{ "never", 0, false },
	{ "always", 1, false },
	{ "auto", 2, false },
	{ NULL, 0, false },
};

static const struct config_enum_entry assignment_policies[] = {
	{ "greedy", HERD_ASSIGN_GREEDY, false },
	{ "round-robin", HERD_ASSIGN_ROUND_ROBIN, false },
	{ "first-replica", HERD_ASSIGN_FIRST_REPLICA, false },
	{ NULL, 0, false },
};

static const struct config_enum_entry propagate_modes[] = {
	{ "none", 0, false },
	{ "local", 1, false },
	{ NULL, 0, false },
};

static const struct config_enum_entry log_levels[] = {
	{ "off", 0, false },         { "debug5", DEBUG5, false },   { "debug4", DEBUG4, false },
	{ "debug3", DEBUG3, false }, { "debug2", DEBUG2, false },   { "debug1", DEBUG1, false },
	{ "debug", DEBUG2, true },   { "log", LOG, false },         { "info", INFO, false },
	{ "notice", NOTICE, false }, { "warning", WARNING, false }, { "error", ERROR, false },
	{ NULL, 0, false },
};

static void assign_secondaries(int newval, void *extra)
{
	herd_secondaries_only = newval == 1;
	herd_secondaries_auto = newval == 2;
}

static void assign_propagate(int newval, void *extra)
{
	herd_propagate_set_local = newval == 1;
}

static void define_pools(void)
{
	DefineCustomIntVariable(
		"citus.max_shared_pool_size",
		"Connections that all sessions of this server together open to one node.",
		"0 stands for max_connections, -1 for no limit.", &herd_max_shared_pool, 0, -1,
		INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("citus.local_shared_pool_size",
				"The same for connections of this server to itself.",
				"0 stands for half of max_connections, -1 for no limit.",
				&herd_local_shared_pool, 0, -1, INT_MAX, PGC_SIGHUP, 0, NULL, NULL,
				NULL);
	DefineCustomIntVariable(
		"citus.max_cached_connection_lifetime",
		"Age at which a connection to another node is closed when it is idle.", NULL,
		&herd_cached_lifetime_ms, 600000, -1, INT_MAX, PGC_USERSET, GUC_UNIT_MS, NULL, NULL,
		NULL);
	DefineCustomIntVariable("citus.executor_slow_start_interval",
				"Time between two further connections of a statement to a node.",
				NULL, &herd_slow_start_ms, 10, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
				NULL, NULL, NULL);
	DefineCustomBoolVariable("citus.force_max_query_parallelization",
				 "Opens as many connections as a statement may use at once.", NULL,
				 &herd_force_parallel, false, PGC_USERSET, 0, NULL, NULL, NULL);
}

static void define_results(void)
{
	DefineCustomBoolVariable("citus.enable_binary_protocol",
				 "Rows come from other nodes in binary where that is possible.",
				 NULL, &herd_binary_protocol, true, PGC_USERSET, 0, NULL, NULL,
				 NULL);
	DefineCustomEnumVariable("citus.worker_min_messages",
				 "Messages of other nodes below this level are not passed on.",
				 NULL, &herd_worker_min_messages, NOTICE, log_levels + 1,
				 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("citus.multi_task_query_log_level",
				 "Level at which statements for more than one shard are logged.",
				 NULL, &herd_multi_task_log_level, 0, log_levels, PGC_USERSET, 0,
				 NULL, NULL, NULL);
}

static void define_places(void)
{
	DefineCustomEnumVariable("citus.use_secondary_nodes",
				 "Whether reads go to secondary nodes instead of primaries.",
				 "With \"always\" nothing can be written; with \"auto\" they go "
				 "there when citus.max_secondary_lag allows it.",
				 &use_secondary_nodes, 0, secondary_modes, PGC_USERSET, 0, NULL,
				 assign_secondaries, NULL);
	DefineCustomIntVariable("citus.max_secondary_lag",
				"How old the rows that a secondary node gives may be.",
				"With citus.use_secondary_nodes = auto. 0: what was committed "
				"before a statement began is always seen.",
				&herd_max_secondary_lag_ms, 1000, 0, INT_MAX, PGC_USERSET,
				GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"citus.cluster_name",
		"nodecluster of the secondaries that serve this session's reads.", NULL,
		&herd_cluster_name, "default", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("citus.task_assignment_policy",
				 "Which of several places with the same rows is read.", NULL,
				 &herd_assignment_policy, HERD_ASSIGN_GREEDY, assignment_policies,
				 PGC_USERSET, 0, NULL, NULL, NULL);
}

void herd_options_init(void)
{
	define_pools();
	define_places();
	define_results();
	DefineCustomIntVariable(
		"citus.node_hold_timeout",
		"How long statements wait for a group that has no primary, if they have not begun "
		"there.",
		NULL, &herd_node_hold_timeout_ms, 60000, 0, 3600000, PGC_USERSET, GUC_UNIT_MS, NULL,
		NULL, NULL);
	DefineCustomEnumVariable("citus.propagate_set_commands",
				 "Whether SET LOCAL holds on other nodes as well.", NULL,
				 &propagate_set_commands, 0, propagate_modes, PGC_USERSET, 0, NULL,
				 assign_propagate, NULL);
}
