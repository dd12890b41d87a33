/*
 * Background work: one launcher per server, one worker per database that has the extension.
 *
 * The launcher looks at the list of databases every few seconds and starts a worker where none
 * runs; a worker that finds no extension ends at once and is tried again later, so that CREATE
 * EXTENSION, DROP EXTENSION and new databases need no message. Commands that need a database for
 * themselves (DROP, RENAME, as a template) end its worker first.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/metadata.h"
#include "catalog/nodes.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "guc.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/autovacuum.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "stats/queries.h"
#include "stats/stats.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "txn/internal.h"
#include "txn/txn.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define WORKER_TYPE "pgherd maintenance"

enum { LAUNCHER_NAP_MS = 2000, WORKER_NAP_MS = 1000, PROBE_INTERVAL_MS = 8000 };

PGDLLEXPORT void herd_maintenance_launcher(Datum arg);
PGDLLEXPORT void herd_maintenance_worker(Datum arg);

/* -- launcher ---------------------------------------------------------------------------------- */

typedef struct Database {
	Oid oid;
	BackgroundWorkerHandle *handle; /* of the last worker started, NULL if it has ended */
	TimestampTz started_at;
	bool seen;
} Database;

static Database *databases; /* in TopMemoryContext */
static int ndatabases;

static Database *database_entry(Oid oid)
{
	for (int i = 0; i < ndatabases; i++) {
		if (databases[i].oid == oid)
			return &databases[i];
	}
	databases = databases ? repalloc(databases, (ndatabases + 1) * sizeof(Database))
			      : MemoryContextAlloc(TopMemoryContext, sizeof(Database));
	databases[ndatabases] = (Database){ .oid = oid };
	return &databases[ndatabases++];
}

static void list_databases(void)
{
	Relation rel;
	TableScanDesc scan;
	HeapTuple tuple;

	for (int i = 0; i < ndatabases; i++)
		databases[i].seen = false;
	StartTransactionCommand();
	(void)GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection))) {
		Form_pg_database form = (Form_pg_database)GETSTRUCT(tuple);

		if (form->datallowconn && !form->datistemplate)
			database_entry(form->oid)->seen = true;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	for (int i = ndatabases - 1; i >= 0; i--) {
		if (databases[i].seen)
			continue;
		if (databases[i].handle)
			pfree(databases[i].handle);
		databases[i] = databases[--ndatabases];
	}
}

static void start_worker(Database *db)
{
	BackgroundWorker worker = { .bgw_flags = BGWORKER_SHMEM_ACCESS |
						 BGWORKER_BACKEND_DATABASE_CONNECTION,
				    .bgw_start_time = BgWorkerStart_RecoveryFinished,
				    .bgw_restart_time = BGW_NEVER_RESTART,
				    .bgw_main_arg = ObjectIdGetDatum(db->oid),
				    .bgw_notify_pid = MyProcPid };
	MemoryContext old;

	strlcpy(worker.bgw_library_name, "pgherd", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "herd_maintenance_worker",
		sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, WORKER_TYPE, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, WORKER_TYPE, sizeof(worker.bgw_type));
	db->started_at = GetCurrentTimestamp();
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (!RegisterDynamicBackgroundWorker(&worker, &db->handle)) {
		db->handle = NULL;
		ereport(LOG, (errmsg("could not start a maintenance worker of pgherd"),
			      errhint("Raise max_worker_processes.")));
	}
	MemoryContextSwitchTo(old);
}

/* One at a time: databases without the extension must not make a storm of processes. */
static void start_one(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < ndatabases; i++) {
		Database *db = &databases[i];
		pid_t pid;

		if (db->handle && GetBackgroundWorkerPid(db->handle, &pid) == BGWH_STOPPED) {
			pfree(db->handle);
			db->handle = NULL;
		}
		if (!db->handle &&
		    (db->started_at == 0 ||
		     TimestampDifferenceExceeds(db->started_at, now, PROBE_INTERVAL_MS))) {
			start_worker(db);
			return;
		}
	}
}

static void nap(long ms)
{
	if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
		      PG_WAIT_EXTENSION) &
	    WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending) {
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

void herd_maintenance_launcher(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	for (;;) {
		list_databases();
		start_one();
		nap(LAUNCHER_NAP_MS);
	}
}

/* -- worker ------------------------------------------------------------------------------------ */

static void begin_work(const char *what)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, what);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void end_work(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static bool extension_is_there(void)
{
	bool there;

	begin_work("looking for the extension");
	there = herd_enabled();
	end_work();
	return there;
}

static bool due(TimestampTz *next, int interval_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	if (interval_ms < 0 || now < *next)
		return false;
	*next = TimestampTzPlusMilliseconds(now, interval_ms);
	return true;
}

/* An error ends the process; the launcher starts another after a while. */
void herd_maintenance_worker(Datum arg)
{
	TimestampTz next_recovery = 0, next_sync = 0, next_look = 0;
	TimestampTz next_statistics = 0, next_purge = 0;
	int sync_interval = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	while (extension_is_there()) {
		if (due(&next_recovery, herd_recover_2pc_interval_ms)) {
			begin_work("recovering prepared transactions");
			herd_recover_prepared();
			end_work();
		}
		if (due(&next_sync, sync_interval)) {
			begin_work("bringing nodes up to date");
			sync_interval = herd_sync_pending_metadata() > 0
						? herd_metadata_sync_retry_ms
						: herd_metadata_sync_interval_ms;
			end_work();
		}
		if (due(&next_look, herd_deadlock_interval_ms())) {
			begin_work("looking for deadlocks");
			herd_deadlock_look();
			end_work();
		}
		if (due(&next_statistics, autovacuum_naptime * 1000)) {
			begin_work("looking at the statistics of shards");
			herd_stats_maintain();
			end_work();
		}
		if (due(&next_purge, herd_query_purge_interval_ms())) {
			begin_work("purging statistics of statements");
			herd_query_purge();
			end_work();
		}
		nap(herd_deadlock_interval_ms() < 0
			    ? WORKER_NAP_MS
			    : Min(WORKER_NAP_MS, herd_deadlock_interval_ms()));
	}
	proc_exit(0);
}

/* -- commands that need a database for themselves ---------------------------------------------- */

static const char *database_wanted_alone(Node *stmt)
{
	ListCell *lc;

	switch (nodeTag(stmt)) {
	case T_DropdbStmt:
		return ((DropdbStmt *)stmt)->dbname;
	case T_RenameStmt:
		return ((RenameStmt *)stmt)->renameType == OBJECT_DATABASE
			       ? ((RenameStmt *)stmt)->subname
			       : NULL;
	case T_CreatedbStmt:
		foreach (lc, ((CreatedbStmt *)stmt)->options) {
			DefElem *option = lfirst(lc);

			if (strcmp(option->defname, "template") == 0 && option->arg)
				return defGetString(option);
		}
		return NULL;
	default:
		return NULL;
	}
}

void herd_maintenance_leave_database(Node *stmt)
{
	const char *dbname = database_wanted_alone(stmt);
	char *sql;
	Oid user;
	int context;

	if (!dbname || RecoveryInProgress())
		return;
	sql = psprintf("SELECT pg_catalog.pg_terminate_backend(pid) FROM "
		       "pg_catalog.pg_stat_activity WHERE backend_type = '" WORKER_TYPE "' "
		       "AND datname = %s",
		       quote_literal_cstr(dbname));
	/* Whoever may not drop it has only ended a worker that comes back. */
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() == SPI_OK_CONNECT) {
		(void)SPI_execute(sql, false, 0);
		(void)SPI_finish();
	}
	PopActiveSnapshot();
	SetUserIdAndSecContext(user, context);
}

void herd_maintenance_init(void)
{
	BackgroundWorker worker = { .bgw_flags = BGWORKER_SHMEM_ACCESS |
						 BGWORKER_BACKEND_DATABASE_CONNECTION,
				    .bgw_start_time = BgWorkerStart_RecoveryFinished,
				    .bgw_restart_time = 5 };

	strlcpy(worker.bgw_library_name, "pgherd", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "herd_maintenance_launcher",
		sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "pgherd launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "pgherd launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
