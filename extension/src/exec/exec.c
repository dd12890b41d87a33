#include "exec/exec.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "attach/capture.h"
#include "conn/adopt.h"
#include "conn/moment.h"
#include "conn/options.h"
#include "conn/rights.h"
#include "conn/session.h"
#include "conn/settings.h"
#include "exec/internal.h"
#include "exec/run.h"
#include "exec/serial.h"
#include "exec/standby.h"
#include "executor/executor.h"
#include "guc.h"
#include "miscadmin.h"
#include "move/limit.h"
#include "move/pack.h"
#include "stats/counters.h"
#include "txn/internal.h"
#include "txn/txn.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"

/* Tasks sent ahead on one connection while others could still take them. */
#define AHEAD_SHARED 2
/* A connection that is the only one of its group gets as much as this. */
#define AHEAD_ALONE 64

/* First half of the key of the lock that orders writes of a reference table: "herd". */
#define REFERENCE_LOCK_CLASS 0x68657264

HerdTask *herd_job_task_of(HerdJob *job, int32 groupid)
{
	for (int i = 0; i < job->ntasks; i++)
		if (job->tasks[i].groupid == groupid)
			return &job->tasks[i];
	job->tasks[job->ntasks] = (HerdTask){ .groupid = groupid };
	return &job->tasks[job->ntasks++];
}

void herd_job_add_write(HerdJob *job, const HerdShard *shard, int32 groupid, const char *sql)
{
	uint64 *id = palloc(sizeof(uint64));

	*id = shard->shardid;
	job->tasks[job->ntasks++] = (HerdTask){ .shardid = shard->shardid,
						.groupid = groupid,
						.lock_shards = list_make1(id),
						.sql = sql };
}

HerdJob *herd_job_write(const HerdTable *table, int shard, const char *sql)
{
	const HerdShard *place = &table->shards[shard];
	HerdJob *job = palloc0(sizeof(HerdJob));

	job->modifies = job->all_in_txn = true;
	job->reference_write = table->kind == HERD_TABLE_REFERENCE;
	job->tasks = palloc0(place->ngroups * sizeof(HerdTask));
	for (int i = 0; i < (job->reference_write ? place->ngroups : 1); i++)
		herd_job_add_write(job, place, place->groups[i], sql);
	return job;
}

/* -- life -------------------------------------------------------------------------------------- */

void herd_exec_workers_changed(HerdExec *exec)
{
	if (exec->set)
		FreeWaitEventSet(exec->set);
	exec->set = NULL;
}

/* Runs when the memory goes, also after an error, when nobody calls herd_exec_end. */
static void cleanup(void *arg)
{
	HerdExec *exec = arg;
	dlist_iter iter;

	herd_exec_workers_changed(exec);
	PQclear(exec->res);
	exec->res = NULL;
	/* not by way of the workers: some of their connections may be closed, and their memory gone
	 */
	dlist_foreach(iter, &herd_conns)
	{
		HerdConn *c = dlist_container(HerdConn, link, iter.cur);

		if (c->owner == exec)
			c->owner = NULL;
	}
}

static bool runs_here(int32 groupid)
{
	HerdConn *c;

	if (groupid != herd_local_group())
		return false;
	/* What went through a connection to ourselves stays there to the end of transaction. */
	c = herd_conn_find_main(groupid);
	if (c && c->level > 0)
		return false;
	return herd_enable_local_execution || !herd_node_primary(groupid);
}

static bool needs_block(const HerdJob *job, bool *lone)
{
	*lone = false;
	if (job->modifies) {
		*lone = !job->all_in_txn && herd_txn_lone_statement();
		return !(*lone && job->ntasks == 1);
	}
	return job->all_in_txn || IsolationUsesXactSnapshot() || herd_settings_need_block();
}

static Pool *pool_for(HerdExec *exec, int32 groupid)
{
	for (int i = 0; i < exec->npools; i++) {
		if (exec->pools[i].groupid == groupid)
			return &exec->pools[i];
	}
	exec->pools[exec->npools] =
		(Pool){ .groupid = groupid, .tasks = palloc(exec->job->ntasks * sizeof(int)) };
	return &exec->pools[exec->npools++];
}

static int compare_shardids(const ListCell *a, const ListCell *b)
{
	uint64 x = *(const uint64 *)lfirst(a), y = *(const uint64 *)lfirst(b);

	return x < y ? -1 : x > y;
}

static void lock_shards(const HerdJob *job)
{
	List *all = NIL;
	ListCell *lc;

	for (int i = 0; i < job->ntasks; i++)
		all = list_concat(all, job->tasks[i].lock_shards);
	list_sort(all, compare_shardids);
	foreach (lc, all)
		herd_shard_lock(*(const uint64 *)lfirst(lc), false);
	list_free(all);
}

static void check_may_write(const HerdJob *job)
{
	if (!job->modifies)
		return;
	PreventCommandIfReadOnly("a write to a distributed table");
	if (herd_secondaries_only)
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				errmsg("cannot write to distributed tables while "
				       "citus.use_secondary_nodes is \"always\""),
				errhint("Set it to \"never\".")));
	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				errmsg("cannot write to distributed tables during recovery"),
				errhint("Connect to the primary of this node.")));
	if (IsInParallelMode())
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				errmsg("cannot write to distributed tables during a parallel "
				       "operation")));
}

static void split_tasks(HerdExec *exec)
{
	const HerdJob *job = exec->job;
	int32 last_group = HERD_INVALID_GROUP;
	bool here = false;

	for (int i = 0; i < job->ntasks; i++) {
		int32 groupid = job->tasks[i].groupid;

		if (groupid != last_group) {
			here = runs_here(groupid);
			last_group = groupid;
		}
		if (here) {
			herd_group_lock(groupid, false);
			exec->local_tasks[exec->nlocal++] = i;
		} else {
			Pool *pool = pool_for(exec, groupid);

			pool->tasks[pool->ntasks++] = i;
			exec->outstanding++;
		}
	}
}

/* -- sending ----------------------------------------------------------------------------------- */

/* The connection works for the execution from now on. */
static void employ(HerdExec *exec, Worker *w, HerdConn *c)
{
	w->conn = c;
	w->ahead = 0;
	w->fresh = c->level == 0;
	exec->pools[w->pool].nworkers++;
	c->owner = exec;
	c->used = true;
	/* all replicas of a reference table have the same to say */
	c->forward_notices = exec->first_reference_group == HERD_INVALID_GROUP ||
			     exec->first_reference_group == c->groupid;
	c->tell_loss = true;
	herd_exec_workers_changed(exec);
}

void herd_exec_add_worker(HerdExec *exec, int pool, HerdConn *c)
{
	if (exec->nworkers == exec->max_workers) {
		exec->max_workers *= 2;
		exec->workers = repalloc(exec->workers, exec->max_workers * sizeof(Worker));
	}
	exec->workers[exec->nworkers] = (Worker){ .pool = pool };
	employ(exec, &exec->workers[exec->nworkers++], c);
}

void herd_exec_replace_worker(HerdExec *exec, Worker *w)
{
	employ(exec, w, herd_conn_main(exec->pools[w->pool].groupid));
	herd_exec_feed(exec, w);
}

static const char *text_of_task(const HerdExec *exec, const Pool *pool, int task)
{
	const char *sql = exec->job->tasks[task].sql;

	if (exec->packs)
		sql = psprintf("SELECT " HERD_PACK_ROWS "(q.*) FROM (%s) q", sql);
	return pool->serial ? herd_serial_text(sql) : sql;
}

static void send_task(HerdExec *exec, Worker *w, int task)
{
	const HerdJob *job = exec->job;
	Pool *pool = &exec->pools[w->pool];
	const char *sql = text_of_task(exec, pool, task);

	exec->states[task] = (TaskState){ .worker = w - exec->workers };
	if (job->stats)
		job->stats[task] = (HerdTaskStats){ .sent = GetCurrentTimestamp() };
	herd_conn_send_setup(w->conn, pool->in_block, job->modifies);
	if (pool->lsn != 0 && w->conn->standby)
		herd_conn_send_check(w->conn, pool->lsn, pool->timeline);
	herd_conn_send_moment(w->conn, exec->moment);
	if (job->code)
		herd_conn_send_adopt(w->conn);
	if (job->rights != NULL)
		herd_conn_send_rights(w->conn, job->rights, sql);
	if (pool->in_block && !job->holds)
		w->conn->only_holds = false;
	herd_conn_send(w->conn, sql, exec->params,
		       exec->decoder && herd_decoder_binary(exec->decoder),
		       job->reusable && job->rights == NULL, task, exec->decoder != NULL);
	herd_conn_send_sync(w->conn);
	w->ahead++;
}

static int next_task(Pool *pool)
{
	if (pool->nredo > 0)
		return pool->redo[--pool->nredo];
	return pool->tasks[pool->next++];
}

void herd_exec_feed(HerdExec *exec, Worker *w)
{
	Pool *pool = &exec->pools[w->pool];
	int limit = pool->parallel ? AHEAD_SHARED : AHEAD_ALONE;

	if (!w->conn || w->conn->polling != PGRES_POLLING_OK)
		return;
	/* large ones, each for a processor: none waits behind another */
	if (pool->serial && pool->ntasks <= AHEAD_SHARED)
		limit = 1;
	while (herd_pool_waiting(pool) > 0 && w->ahead < limit)
		send_task(exec, w, next_task(pool));
}

/*
 * Replicas of a reference table must see conflicting writes in one order, whichever node they come
 * from. The replica of the lowest group is written first, under a lock held there to the end of
 * the transaction; plain INSERT .. VALUES does not look at other rows and only shares it.
 */
static char *reference_lock_sql(const HerdTask *task)
{
	bool plain = pg_strncasecmp(task->sql, "INSERT", 6) == 0 &&
		     !strstr(task->sql, "ON CONFLICT") && !strstr(task->sql, "SELECT");

	return psprintf("SELECT pg_catalog.pg_advisory_xact_lock%s(%d, %d)", plain ? "_shared" : "",
			REFERENCE_LOCK_CLASS, (int32)(uint32)task->shardid);
}

static int lowest_group_task(const HerdJob *job)
{
	int first = 0;

	for (int i = 1; i < job->ntasks; i++) {
		if (job->tasks[i].groupid < job->tasks[first].groupid)
			first = i;
	}
	return first;
}

static void lock_reference(HerdExec *exec)
{
	int first = lowest_group_task(exec->job);
	const HerdTask *task = &exec->job->tasks[first];
	char *sql = reference_lock_sql(task);

	exec->first_reference_group = task->groupid;
	if (exec->nlocal > 0 && exec->local_tasks[0] == first) {
		herd_local_exec(sql);
	} else {
		HerdConn *c = herd_conn_main(task->groupid);

		herd_conn_send_setup(c, true, true);
		herd_conn_send(c, sql, NULL, false, true, -1, false);
		herd_conn_send_sync(c);
		herd_conn_finish(c);
	}
	pfree(sql);
}

static void open_pools(HerdExec *exec, bool in_block, bool lone)
{
	int32 *groups = palloc((exec->npools + 1) * sizeof(int32));
	int ngroups = 0;
	bool one_each;

	if (herd_secondaries_auto && !in_block && !exec->job->modifies)
		herd_standby_choose(exec);
	for (int i = 0; i < exec->npools; i++) {
		if (!exec->pools[i].first)
			groups[ngroups++] = exec->pools[i].groupid;
	}
	herd_conn_main_all(groups, ngroups);
	one_each = in_block && !(exec->job->modifies && lone && !herd_sequential_modify &&
				 !IsolationUsesXactSnapshot());
	for (int i = 0; i < exec->npools; i++) {
		Pool *pool = &exec->pools[i];
		HerdConn *c = pool->first ? pool->first : herd_conn_claim_main(pool->groupid);
		bool in_use = c->level > 0 && !c->only_holds;

		pool->in_block = in_block || in_use;
		pool->parallel = !one_each && !in_use && pool->ntasks > 1;
		pool->serial = (pool->parallel || pool->ntasks == 1) &&
			       herd_task_is_serial(exec->job, &exec->job->tasks[pool->tasks[0]]);
		herd_exec_add_worker(exec, i, c);
	}
	herd_exec_start_growing(exec);
	pfree(groups);
}

static void prepare_values(void *arg)
{
	HerdExec *exec = arg;

	/* rights are given to a text as it is */
	exec->packs = exec->job->packs && exec->job->rights == NULL && exec->decoder &&
		      herd_decoder_pack(exec->decoder);
	exec->params = herd_encode_params(exec->job->params);
}

void (*herd_exec_before_write)(void);

HerdExec *herd_exec_begin(const HerdJob *job)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pgherd execution",
						  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	HerdExec *exec = palloc0(sizeof(*exec));
	bool in_block, lone;

	if (job->modifies && herd_exec_before_write)
		herd_exec_before_write();
	exec->cxt = cxt;
	exec->job = job;
	exec->moment = job->apart ? 0 : herd_moment_current();
	exec->resowner = CurrentResourceOwner;
	exec->row_cxt = AllocSetContextCreate(cxt, "pgherd row", ALLOCSET_SMALL_SIZES);
	exec->first_reference_group = HERD_INVALID_GROUP;
	exec->cleanup = (MemoryContextCallback){ .func = cleanup, .arg = exec };
	MemoryContextRegisterResetCallback(cxt, &exec->cleanup);

	check_may_write(job);
	if (herd_multi_task_log_level != 0 && job->ntasks > 1)
		ereport(herd_multi_task_log_level,
			(errmsg("the statement is for more than one shard"),
			 errdetail("It is divided into %d tasks.", job->ntasks)));
	in_block = needs_block(job, &lone);
	exec->pools = palloc(Max(job->ntasks, 1) * sizeof(Pool));
	exec->local_tasks = palloc(Max(job->ntasks, 1) * sizeof(int));
	exec->states = palloc0(Max(job->ntasks, 1) * sizeof(TaskState));
	lock_shards(job);
	split_tasks(exec);
	if (exec->outstanding > 0) {
		herd_txn_check_nested();
		exec->max_workers = exec->npools;
		exec->workers = palloc(exec->max_workers * sizeof(Worker));
		if (job->tupdesc)
			exec->decoder = herd_decoder_new(job->tupdesc);
		herd_in_server_encoding(prepare_values, exec);
		if (job->reference_write && job->ntasks > 1)
			lock_reference(exec);
		open_pools(exec, in_block, lone);
		for (int i = 0; i < exec->nworkers; i++)
			herd_exec_feed(exec, &exec->workers[i]);
	}
	MemoryContextSwitchTo(old);
	return exec;
}

/* -- receiving --------------------------------------------------------------------------------- */

static bool counts(const HerdExec *exec, int task)
{
	return exec->first_reference_group == HERD_INVALID_GROUP ||
	       exec->job->tasks[task].groupid == exec->first_reference_group;
}

static int64 bytes_of(const PGresult *res)
{
	int64 bytes = 0;

	for (int row = 0; row < PQntuples(res); row++)
		for (int column = 0; column < PQnfields(res); column++)
			bytes += PQgetlength(res, row, column);
	return bytes;
}

static void count_result(const HerdExec *exec, HerdTaskStats *stats, PGresult *res)
{
	if (PQresultStatus(res) != PGRES_SINGLE_TUPLE && PQntuples(res) == 0 && stats->rows == 0 &&
	    !exec->packs)
		stats->rows = strtoll(PQcmdTuples(res), NULL, 10);
	stats->rows += exec->packs ? herd_decoder_count(exec->decoder, res) : PQntuples(res);
	stats->bytes += bytes_of(res);
}

/* Takes over one result of a task; true when there are rows in exec->res. */
static bool take_result(HerdExec *exec, int task, PGresult *res)
{
	if (exec->job->stats)
		count_result(exec, &exec->job->stats[task], res);
	if (PQresultStatus(res) != PGRES_SINGLE_TUPLE && counts(exec, task)) {
		exec->states[task].processed = strtoull(PQcmdTuples(res), NULL, 10);
		exec->processed += exec->states[task].processed;
	}
	if (!exec->decoder || PQntuples(res) == 0 || !counts(exec, task)) {
		PQclear(res);
		return false;
	}
	if (exec->job->max_bytes > 0) {
		exec->bytes += bytes_of(res);
		if (exec->bytes > exec->job->max_bytes) {
			PQclear(res);
			herd_result_check_size(exec->bytes);
		}
	}
	exec->states[task].gave_rows = true;
	exec->res = res;
	exec->res_row = 0;
	return true;
}

/* A connection that was opened as an extra failed: not an error, the others go on. */
static void drop_extra(HerdExec *exec, Worker *w)
{
	Pool *pool = &exec->pools[w->pool];

	ereport(DEBUG1,
		(errmsg_internal("could not open one more connection to %s:%d: %s", w->conn->host,
				 w->conn->port, herd_conn_open_error(w->conn))));
	herd_conn_close(w->conn);
	w->conn = NULL;
	pool->nworkers--;
	pool->failed = true;
	herd_exec_workers_changed(exec);
}

/* Goes on with one worker as far as possible without waiting; true when rows are there. */
static bool advance(HerdExec *exec, Worker *w)
{
	int task;
	PGresult *res;

	for (;;) {
		if (!w->conn || w->conn->polling != PGRES_POLLING_OK)
			return false;
		switch (herd_conn_receive(w->conn, &task, &res)) {
		case HERD_RECEIVED_NOTHING:
			return false;
		case HERD_RECEIVED_RESULT:
			if (take_result(exec, task, res))
				return true;
			break;
		case HERD_RECEIVED_END:
			exec->outstanding--;
			exec->states[task].ended = true;
			if (exec->job->stats)
				exec->job->stats[task].ended = GetCurrentTimestamp();
			exec->pools[w->pool].nended++;
			w->ahead--;
			herd_exec_feed(exec, w);
			break;
		case HERD_RECEIVED_LOST:
			herd_exec_retry(exec, w);
			break;
		}
	}
}

static bool advance_all(HerdExec *exec)
{
	for (int i = 0; i < exec->nworkers; i++) {
		int n = (exec->next_worker + i) % exec->nworkers;

		if (advance(exec, &exec->workers[n])) {
			exec->next_worker = n;
			return true;
		}
	}
	return false;
}

static void make_wait_set(HerdExec *exec)
{
#if PG_VERSION_NUM >= 170000
	exec->set = CreateWaitEventSet(NULL, exec->nworkers + 2);
#else
	exec->set = CreateWaitEventSet(exec->cxt, exec->nworkers + 2);
#endif
	if (exec->set_positions)
		pfree(exec->set_positions);
	exec->set_positions = MemoryContextAlloc(exec->cxt, exec->nworkers * sizeof(int));
	AddWaitEventToSet(exec->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(exec->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < exec->nworkers; i++) {
		HerdConn *c = exec->workers[i].conn;

		exec->set_positions[i] = -1;
		if (c && PQsocket(c->pg) >= 0)
			exec->set_positions[i] =
				AddWaitEventToSet(exec->set, WL_SOCKET_READABLE, PQsocket(c->pg),
						  NULL, (void *)(intptr_t)(i + 1));
	}
}

static uint32 wanted_events(HerdConn *c)
{
	if (c->polling == PGRES_POLLING_WRITING)
		return WL_SOCKET_WRITEABLE;
	if (c->polling == PGRES_POLLING_READING)
		return WL_SOCKET_READABLE;
	return WL_SOCKET_READABLE | (herd_conn_flush(c) ? WL_SOCKET_WRITEABLE : 0);
}

static void handle_event(HerdExec *exec, const WaitEvent *event)
{
	Worker *w;

	if (event->events & WL_LATCH_SET) {
		ResetLatch(MyLatch);
		herd_deadlock_check_mark();
		CHECK_FOR_INTERRUPTS();
		return;
	}
	w = &exec->workers[(intptr_t)event->user_data - 1];
	if (!w->conn)
		return;
	if (w->conn->polling == PGRES_POLLING_OK) {
		if (event->events & WL_SOCKET_READABLE)
			herd_conn_consume(w->conn);
		return;
	}
	herd_conn_open_step(w->conn);
	herd_exec_workers_changed(exec); /* its socket may be another one now */
	if (w->conn->polling == PGRES_POLLING_FAILED) {
		herd_counter_add(HERD_COUNT_OPEN_FAILED);
		drop_extra(exec, w);
	} else if (w->conn->polling == PGRES_POLLING_OK) {
		herd_counter_add(HERD_COUNT_OPENED);
		herd_exec_grown(exec, w);
	} else {
		herd_exec_feed(exec, w);
	}
}

static void wait_all(HerdExec *exec)
{
	WaitEvent events[16];
	long timeout = -1;
	int n;

	if (herd_exec_may_grow(exec))
		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), exec->next_start);
	/* The common case needs no set of its own. */
	if (exec->nworkers == 1 && timeout < 0) {
		herd_conn_wait(exec->workers[0].conn);
		return;
	}
	for (int i = 0; i < exec->nworkers; i++) {
		HerdConn *c = exec->workers[i].conn;

		if (!c || c->polling != PGRES_POLLING_OK || PQstatus(c->pg) != CONNECTION_BAD)
			continue;
		if (herd_conn_busy(c))
			return; /* the next receive tells */
		/* it has done its part, and nobody asks it any more: the others are waited for */
		if (exec->set && exec->set_positions[i] >= 0)
			herd_exec_workers_changed(exec);
	}
	if (!exec->set)
		make_wait_set(exec);
	for (int i = 0; i < exec->nworkers; i++) {
		if (exec->set_positions[i] >= 0)
			ModifyWaitEvent(exec->set, exec->set_positions[i],
					wanted_events(exec->workers[i].conn), NULL);
	}
	n = WaitEventSetWait(exec->set, timeout, events, lengthof(events), PG_WAIT_EXTENSION);
	for (int i = 0; i < n; i++)
		handle_event(exec, &events[i]);
	herd_exec_grow(exec);
}

/* For txn.c: where a write waited long, others probably wait for its locks. */
static void note_wait(HerdConn *c, TimestampTz since)
{
	int64 waited = GetCurrentTimestamp() - since;

	c->longest_wait = Max(c->longest_wait, waited);
}

/* Rows into exec->res; false when all tasks on other nodes have ended. */
static bool fetch_remote(HerdExec *exec)
{
	TimestampTz since = exec->job->modifies ? GetCurrentTimestamp() : 0;

	PQclear(exec->res);
	exec->res = NULL;
	while (exec->outstanding > 0) {
		if (advance_all(exec))
			return true;
		CHECK_FOR_INTERRUPTS();
		if (exec->outstanding > 0)
			wait_all(exec);
	}
	/* What follows the last task is the end of its pipeline. */
	for (int i = 0; i < exec->nworkers; i++) {
		HerdConn *c = exec->workers[i].conn;

		if (c && c->owner == exec && c->polling == PGRES_POLLING_OK) {
			/* A write outside a block is committed only now, a read is through. */
			if (exec->job->modifies || c->level > 0)
				herd_conn_finish(c);
			else
				herd_conn_quiesce(c, false);
			if (exec->job->modifies)
				note_wait(c, since);
			c->owner = NULL;
		}
	}
	return false;
}

/* -- rows -------------------------------------------------------------------------------------- */

static Tuplestorestate *own_store(HerdExec *exec)
{
	if (!exec->store) {
		MemoryContext old_cxt = MemoryContextSwitchTo(exec->cxt);
		ResourceOwner old_owner = CurrentResourceOwner;

		/* Its files must live as long as the execution, not as long as who asked. */
		CurrentResourceOwner = exec->resowner;
		exec->store = tuplestore_begin_heap(false, false, work_mem);
		if (exec->job->tupdesc)
			exec->store_slot =
				MakeSingleTupleTableSlot(exec->job->tupdesc, &TTSOpsMinimalTuple);
		CurrentResourceOwner = old_owner;
		MemoryContextSwitchTo(old_cxt);
	}
	return exec->store;
}

static void run_local(HerdExec *exec)
{
	int task = exec->local_tasks[exec->next_local++];
	bool count = counts(exec, task);
	TimestampTz sent = exec->job->stats ? GetCurrentTimestamp() : 0;
	uint64 n;

	herd_moment_arm(exec->moment, exec->job->tasks[task].sql);
	n = herd_local_run(exec->job, &exec->job->tasks[task],
			   exec->job->tupdesc && count ? own_store(exec) : NULL);

	if (count)
		exec->processed += n;
	if (exec->job->stats)
		exec->job->stats[task] =
			(HerdTaskStats){ .rows = n, .sent = sent, .ended = GetCurrentTimestamp() };
	exec->stored = exec->store != NULL;
}

static bool next_stored(HerdExec *exec, TupleTableSlot *slot)
{
	int natts = slot->tts_tupleDescriptor->natts;

	if (!exec->store_slot)
		return false;
	if (!tuplestore_gettupleslot(exec->store, true, false, exec->store_slot)) {
		tuplestore_clear(exec->store);
		exec->stored = false;
		return false;
	}
	slot_getallattrs(exec->store_slot);
	memcpy(slot->tts_values, exec->store_slot->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, exec->store_slot->tts_isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	return true;
}

static bool has_row(HerdExec *exec)
{
	return exec->res && herd_decoder_has_row(exec->decoder, exec->res, &exec->res_row);
}

typedef struct RowWork {
	HerdExec *exec;
	Datum *values;
	bool *isnull;
} RowWork;

static void decode_work(void *arg)
{
	RowWork *w = arg;

	herd_decoder_row(w->exec->decoder, w->exec->res, &w->exec->res_row, w->values, w->isnull);
}

static void decode_row(HerdExec *exec, MemoryContext cxt, Datum *values, bool *isnull)
{
	RowWork work = { .exec = exec, .values = values, .isnull = isnull };
	MemoryContext old;

	MemoryContextReset(cxt);
	old = MemoryContextSwitchTo(cxt);
	herd_in_server_encoding(decode_work, &work);
	MemoryContextSwitchTo(old);
}

bool herd_exec_next(HerdExec *exec, TupleTableSlot *slot)
{
	if (slot)
		ExecClearTuple(slot);
	for (;;) {
		herd_deadlock_check_mark();
		CHECK_FOR_INTERRUPTS();
		if (exec->stored && slot && next_stored(exec, slot))
			return true;
		if (has_row(exec)) {
			decode_row(exec, exec->row_cxt, slot->tts_values, slot->tts_isnull);
			ExecStoreVirtualTuple(slot);
			return true;
		}
		if (exec->next_local < exec->nlocal)
			run_local(exec);
		else if (!fetch_remote(exec)) {
			herd_capture_check();
			return false;
		}
	}
}

void herd_exec_keep_rows(HerdExec *exec)
{
	int natts = exec->job->tupdesc ? exec->job->tupdesc->natts : 0;
	Datum *values = palloc(Max(natts, 1) * sizeof(Datum));
	bool *isnull = palloc(Max(natts, 1) * sizeof(bool));
	Tuplestorestate *store = own_store(exec);
	/* Not row_cxt: the row last given out may still be looked at. */
	MemoryContext cxt =
		AllocSetContextCreate(exec->cxt, "pgherd kept row", ALLOCSET_SMALL_SIZES);

	do {
		while (has_row(exec)) {
			decode_row(exec, cxt, values, isnull);
			tuplestore_putvalues(store, exec->job->tupdesc, values, isnull);
			exec->stored = true;
		}
	} while (fetch_remote(exec));
	MemoryContextDelete(cxt);
	pfree(values);
	pfree(isnull);
}

void herd_exec_settle(HerdExec *exec)
{
	if (exec->settled)
		return;
	herd_exec_keep_rows(exec);
	while (exec->next_local < exec->nlocal)
		run_local(exec);
	exec->settled = true;
}

uint64 herd_exec_processed(const HerdExec *exec)
{
	return exec->processed;
}

/* A write is never left half done because nobody wanted to see its rows. */
static void complete_write(HerdExec *exec)
{
	do {
		while (exec->next_local < exec->nlocal)
			run_local(exec);
	} while (fetch_remote(exec));
}

void herd_exec_end(HerdExec *exec)
{
	if (exec->job->modifies)
		complete_write(exec);
	for (int i = 0; i < exec->nworkers; i++) {
		HerdConn *c = exec->workers[i].conn;

		if (!c || c->owner != exec)
			continue;
		c->owner = NULL;
		if (c->polling != PGRES_POLLING_OK)
			herd_conn_close(c);
		else if (c->level > 0)
			herd_conn_finish(c); /* a cancel would break the block it is in */
		else
			herd_conn_quiesce(c, true);
	}
	if (exec->store)
		tuplestore_end(exec->store);
	if (exec->store_slot)
		ExecDropSingleTupleTableSlot(exec->store_slot);
	MemoryContextDelete(exec->cxt);
}
