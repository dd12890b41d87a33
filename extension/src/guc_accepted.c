/*
 * Settings of the surface that nothing reads: a configuration that sets them is accepted and their
 * values are kept and shown. Who gives one a value of his own is told once why it has no effect.
 */
#include "guc.h"

#include "nodes/parsenodes.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include <limits.h>

enum why {
	ALWAYS,    /* what it switches on is there in any case */
	EXACT,     /* it trades exactness for speed */
	ITSELF,    /* a choice that is made without it */
	NOT_THERE, /* it is about something that is not there */
};

static const char *const reasons[] = {
	[ALWAYS] = "What it switches is always done where it is sound.",
	[EXACT] = "Results are always exact.",
	[ITSELF] = "The choice is made by cost, or is not needed.",
	[NOT_THERE] = "What it is about is not there in this version.",
};

struct accepted_bool {
	const char *name;
	bool boot;
	enum why why;
};
struct accepted_int {
	const char *name;
	int boot, min, max;
	int flags;
	GucContext context;
	enum why why;
};
struct accepted_real {
	const char *name;
	double boot, min, max;
	enum why why;
};
struct accepted_string {
	const char *name;
	const char *boot;
	enum why why;
};
struct accepted_enum {
	const char *name;
	const char *values[4]; /* the first is the default */
	enum why why;
};

/* clang-format off */
static const struct accepted_bool bools[] = {
	{ "citus.enable_metadata_sync", true, ALWAYS },
	{ "citus.use_citus_managed_tables", false, NOT_THERE },
	{ "citus.writable_standby_coordinator", false, NOT_THERE },
	{ "citus.all_modifications_commutative", false, ITSELF },
	{ "citus.enable_deadlock_prevention", true, ITSELF },
	{ "citus.enable_unsafe_triggers", false, ALWAYS },
	{ "citus.allow_nested_distributed_execution", false, NOT_THERE },
	{ "citus.enable_create_database_propagation", false, NOT_THERE },
	{ "citus.enable_alter_database_owner", true, NOT_THERE },
	{ "citus.enable_single_hash_repartition_joins", false, ITSELF },
	{ "citus.enable_recurring_outer_join_pushdown", true, ALWAYS },
	{ "citus.enable_fast_path_router_planner", true, ALWAYS },
	{ "citus.enable_local_fast_path_query_optimization", true, ALWAYS },
	{ "citus.enable_non_colocated_router_query_pushdown", false, ALWAYS },
	{ "citus.enable_change_data_capture", false, NOT_THERE },
	{ "citus.skip_jsonb_validation_in_copy", true, ITSELF },
	{ "citus.function_opens_transaction_block", true, ALWAYS },
	{ "citus.select_opens_transaction_block", true, ITSELF },
	{ "citus.subquery_pushdown", true, ALWAYS },
	{ "citus.enable_statistics_collection", false, NOT_THERE },
};

static const struct accepted_int ints[] = {
	{ "citus.shard_replication_factor", 1, 1, 1, 0, PGC_USERSET, NOT_THERE },
	{ "citus.limit_clause_row_fetch_count", -1, -1, INT_MAX, 0, PGC_USERSET, EXACT },
	{ "citus.background_task_queue_interval", 5000, -1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NOT_THERE },
	{ "citus.max_background_task_executors", 1, 1, 1000, 0, PGC_SIGHUP, NOT_THERE },
	{ "citus.max_background_task_executors_per_node", 1, 1, 128, 0, PGC_SIGHUP, NOT_THERE },
	{ "citus.max_rebalancer_logged_ignored_moves", 5, -1, INT_MAX, 0, PGC_USERSET, NOT_THERE },
	{ "citus.desired_percent_disk_available_after_move", 10, 0, 100, 0, PGC_USERSET, NOT_THERE },
	{ "citus.defer_shard_delete_interval", 15000, -1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NOT_THERE },
	{ "citus.logical_replication_timeout", 7200000, 0, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NOT_THERE },
	{ "citus.repartition_join_bucket_count_per_node", 4, 1, INT_MAX, 0, PGC_SUSET, ITSELF },
	{ "citus.values_materialization_threshold", 100, -1, INT_MAX, 0, PGC_USERSET, ITSELF },
	{ "citus.max_matview_size_to_auto_recreate", 1024, -1, INT_MAX, GUC_UNIT_MB, PGC_USERSET, NOT_THERE },
	{ "citus.remote_copy_flush_threshold", 8388608, 0, INT_MAX, GUC_UNIT_BYTE, PGC_USERSET, ITSELF },
	{ "citus.local_copy_flush_threshold", 524288, 1, INT_MAX, GUC_UNIT_BYTE, PGC_USERSET, ITSELF },
	{ "citus.copy_switchover_threshold", 4194304, 1, INT_MAX, GUC_UNIT_BYTE, PGC_USERSET, ITSELF },
	{ "citus.cpu_priority", 0, -20, 19, 0, PGC_SUSET, NOT_THERE },
	{ "citus.cpu_priority_for_logical_replication_senders", 10, -20, 19, 0, PGC_SUSET, NOT_THERE },
	{ "citus.max_high_priority_background_processes", 2, 0, 10000, 0, PGC_SUSET, NOT_THERE },
	{ "citus.rebalancer_by_disk_size_base_cost", 104857600, 0, INT_MAX, GUC_UNIT_BYTE, PGC_USERSET, NOT_THERE },
	{ "citus.max_worker_nodes_tracked", 2048, 8, INT_MAX, 0, PGC_POSTMASTER, ITSELF },
};

static const struct accepted_real reals[] = {
	{ "citus.count_distinct_error_rate", 0, 0, 1, EXACT },
};

static const struct accepted_string strings[] = {
	{ "citus.superuser", "", ITSELF },
};

static const struct accepted_enum enums[] = {
	{ "citus.local_table_join_policy", { "auto", "never", "prefer-local", "prefer-distributed" }, ITSELF },
	{ "citus.metadata_sync_mode", { "transactional", "nontransactional" }, ITSELF },
	{ "citus.create_object_propagation", { "immediate", "deferred", "automatic" }, ITSELF },
	{ "citus.coordinator_aggregation_strategy", { "row-gather", "disabled" }, ITSELF },
};
/* clang-format on */

static const char accepted_desc[] = "Accepted for compatibility, without effect.";

static void *storage(Size size)
{
	return MemoryContextAllocZero(TopMemoryContext, size);
}

void herd_guc_define_accepted(void)
{
	for (int i = 0; i < lengthof(bools); i++)
		DefineCustomBoolVariable(bools[i].name, accepted_desc, NULL, storage(sizeof(bool)),
					 bools[i].boot, PGC_USERSET, 0, NULL, NULL, NULL);
	for (int i = 0; i < lengthof(ints); i++)
		DefineCustomIntVariable(ints[i].name, accepted_desc, NULL, storage(sizeof(int)),
					ints[i].boot, ints[i].min, ints[i].max, ints[i].context,
					ints[i].flags, NULL, NULL, NULL);
	for (int i = 0; i < lengthof(reals); i++)
		DefineCustomRealVariable(reals[i].name, accepted_desc, NULL,
					 storage(sizeof(double)), reals[i].boot, reals[i].min,
					 reals[i].max, PGC_USERSET, 0, NULL, NULL, NULL);
	for (int i = 0; i < lengthof(strings); i++)
		DefineCustomStringVariable(strings[i].name, accepted_desc, NULL,
					   storage(sizeof(char *)), strings[i].boot, PGC_SUSET, 0,
					   NULL, NULL, NULL);
	for (int i = 0; i < lengthof(enums); i++) {
		struct config_enum_entry *entries =
			storage((lengthof(enums[i].values) + 1) * sizeof(*entries));

		for (int v = 0; v < lengthof(enums[i].values) && enums[i].values[v]; v++) {
			entries[v].name = enums[i].values[v];
			entries[v].val = v;
		}
		DefineCustomEnumVariable(enums[i].name, accepted_desc, NULL, storage(sizeof(int)),
					 0, entries, PGC_USERSET, 0, NULL, NULL, NULL);
	}
}

/* -- saying so --------------------------------------------------------------------------------- */

/* Names that the user of this session has been told about, as bits of their place in a table. */
static uint32 told[5];

#define LOOK_IN(table, number)                                                                     \
	for (int i = 0; i < lengthof(table); i++) {                                                \
		StaticAssertStmt(lengthof(table) <= 32, "more than there are bits");               \
		if (guc_name_is((table)[i].name, name)) {                                          \
			*known = &told[number];                                                    \
			*bit = (uint32)1 << i;                                                     \
			return reasons[(table)[i].why];                                            \
		}                                                                                  \
	}

static bool guc_name_is(const char *ours, const char *name)
{
	return pg_strcasecmp(ours, name) == 0;
}

/* Why it has no effect; NULL when it is another setting. */
static const char *reason_of(const char *name, uint32 **known, uint32 *bit)
{
	LOOK_IN(bools, 0);
	LOOK_IN(ints, 1);
	LOOK_IN(reals, 2);
	LOOK_IN(strings, 3);
	LOOK_IN(enums, 4);
	return NULL;
}

void herd_guc_saw(const VariableSetStmt *stmt)
{
	uint32 *known, bit;
	const char *why, *now, *boot;

	if (stmt->kind != VAR_SET_VALUE || !stmt->name)
		return;
	why = reason_of(stmt->name, &known, &bit);
	if (!why || (*known & bit))
		return;
	now = GetConfigOption(stmt->name, true, false);
	boot = GetConfigOptionResetString(stmt->name);
	if (!now || !boot || strcmp(now, boot) == 0)
		return;
	*known |= bit;
	ereport(WARNING, (errmsg("setting \"%s\" has no effect", stmt->name),
			  errdetail_internal("%s", why)));
}
