#include "postgres.h"

#include "attach/farkey_later.h"
#include "attach/localkey.h"
#include "attach/trigger_later.h"
#include "catalog/metadata.h"
#include "conn/admission.h"
#include "conn/adopt.h"
#include "conn/budget.h"
#include "conn/login.h"
#include "conn/moment.h"
#include "conn/names.h"
#include "conn/rights.h"
#include "conn/settings.h"
#include "ddl/ddl.h"
#include "exec/standby.h"
#include "fmgr.h"
#include "guc.h"
#include "miscadmin.h"
#include "move/result.h"
#include "plan/plan.h"
#include "shared.h"
#include "stats/counters.h"
#include "stats/queries.h"
#include "stats/tenants.h"
#include "txn/clock.h"
#include "txn/held.h"
#include "txn/txn.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* Hooks of libraries that come later are asked first, and so see whole statements. */
static void require_first(void)
{
	char *copy = pstrdup(shared_preload_libraries_string);
	List *names = NIL;
	const char *name;

	if (!SplitDirectoriesString(copy, ',', &names) || names == NIL)
		return;
	name = last_dir_separator(linitial(names)) ? last_dir_separator(linitial(names)) + 1
						   : linitial(names);
	if (strncmp(name, "pgherd", 6) != 0 && strncmp(name, "citus", 5) != 0)
		ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("pgherd must be the first of shared_preload_libraries"),
			 errdetail("It is \"%s\".", shared_preload_libraries_string),
			 errhint("Put pgherd at the beginning of the list and start the server "
				 "again.")));
	list_free_deep(names);
	pfree(copy);
}

void _PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("pgherd must be loaded when the server starts"),
				errhint("Add pgherd to shared_preload_libraries in the server's "
					"configuration "
					"and restart it.")));

	require_first();
	herd_guc_init();
	herd_metadata_init();
	herd_budget_init();
	herd_standby_init();
	herd_counters_init();
	herd_query_init();
	herd_tenants_init();
	herd_admission_init();
	herd_login_init();
	herd_settings_init();
	herd_names_init();
	herd_txn_init();
	herd_ddl_init();
	herd_maintenance_init();
	herd_plan_init();
	herd_result_init();
	herd_adopt_init();
	herd_held_init();
	herd_moment_init();
	herd_clock_init();
	herd_far_key_init();
	herd_trigger_later_init();
	herd_local_key_init();
	herd_rights_init();
	herd_shared_init();
	MarkGUCPrefixReserved("citus");
}
