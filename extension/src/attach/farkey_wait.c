/*
 * Rows that refer and are as good as committed, before rows that they refer to end.
 *
 * Who makes a row that refers has the other row locked, on its node. A commit over several nodes
 * may let go of that lock a moment before it is done on the node of the new row, where it is
 * prepared then. Who waited for the lock would not see the row; so he waits there for what is
 * prepared.
 */
#include "attach/farkey_wait.h"

#include "catalog/pg_type.h"
#include "exec/exec.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"

PG_FUNCTION_INFO_V1(herd_wait_for_prepared);

/* wait_for_prepared(): how many transactions of nodes it was. */
PGDLLEXPORT Datum herd_wait_for_prepared(PG_FUNCTION_ARGS)
{
	uint64 n;

	SPI_connect();
	if (SPI_execute("SELECT transaction FROM pg_catalog.pg_prepared_xacts WHERE database = "
			"pg_catalog.current_database() AND gid LIKE 'citus\\_%'",
			false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read prepared transactions");
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++) {
		bool isnull;
		Datum xid = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		XactLockTableWait(DatumGetTransactionId(xid), NULL, NULL, XLTW_None);
	}
	SPI_finish();
	PG_RETURN_INT64((int64)n);
}

void herd_far_key_wait(const HerdTable *table)
{
	TupleDesc desc = CreateTemplateTupleDesc(1);
	int most = 0;
	HerdJob *job = palloc0(sizeof(HerdJob));
	TupleTableSlot *slot;
	HerdExec *exec;

	for (int i = 0; i < table->nshards; i++)
		most += table->shards[i].ngroups;
	TupleDescInitEntry(desc, 1, "n", INT8OID, -1, 0);
	job->tupdesc = desc;
	job->tasks = palloc0(most * sizeof(HerdTask));
	for (int i = 0; i < table->nshards; i++) {
		for (int j = 0; j < table->shards[i].ngroups; j++) {
			HerdTask *task = herd_job_task_of(job, table->shards[i].groups[j]);

			task->shardid = HERD_INVALID_SHARD;
			task->sql = "SELECT citus_internal.wait_for_prepared()";
		}
	}
	job->all_in_txn = true;
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	exec = herd_exec_begin(job);
	while (herd_exec_next(exec, slot))
		CHECK_FOR_INTERRUPTS();
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
}
