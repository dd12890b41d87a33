#include "exec/standby.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_type.h"
#include "conn/options.h"
#include "conn/secondary.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "shared.h"
#include "storage/lwlock.h"
#include "txn/internal.h"
#include "utils/inval.h"

#include <time.h>

enum {
	MAX_SAMPLES = 256,
	/* A standby that has to be connected to is not waited for any longer than this. */
	OPEN_MS = 1000,
	AVOID_UNREACHABLE_MS = 5000
};

/* What the primary of a group had written at a moment. */
typedef struct Sample {
	Oid database;
	int32 groupid;
	TimeLineID timeline;
	XLogRecPtr lsn;
	int64 asked; /* monotonic clock, microseconds: when the question was sent; 0: unused */
} Sample;

typedef struct Samples {
	Sample of[MAX_SAMPLES];
} Samples;

static Samples *samples;
static LWLock *lock;

/* A session that wrote needs samples younger than that. */
static int64 not_before;
/* The question itself goes to primaries. */
static bool asking;

void herd_standby_init(void)
{
	herd_shared_struct("pgherd standbys", sizeof(Samples), 0, NULL, (void **)&samples, &lock);
}

/* Of this server's start, the same for all of its processes. */
static int64 clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
}

/* A copy of the group's sample; asked is 0 when there is none. */
static Sample read_sample(int32 groupid)
{
	Sample found = { 0 };

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < MAX_SAMPLES; i++) {
		if (samples->of[i].asked != 0 && samples->of[i].groupid == groupid &&
		    samples->of[i].database == MyDatabaseId) {
			found = samples->of[i];
			break;
		}
	}
	LWLockRelease(lock);
	return found;
}

/* Takes the place of the group's older one, or of the oldest of all. */
static void write_sample(const Sample *sample)
{
	Sample *place = NULL;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_SAMPLES; i++) {
		Sample *one = &samples->of[i];

		if (one->asked != 0 && one->groupid == sample->groupid &&
		    one->database == sample->database) {
			place = one;
			break;
		}
		if (!place || one->asked < place->asked)
			place = one;
	}
	if (place->groupid != sample->groupid || place->database != sample->database ||
	    place->asked < sample->asked)
		*place = *sample;
	LWLockRelease(lock);
}

/* -- asking the primaries ---------------------------------------------------------------------- */

static TupleDesc answer_desc(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(3);

	TupleDescInitEntry(desc, 1, "groupid", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 2, "lsn", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 3, "timeline", INT4OID, -1, 0);
	return desc;
}

/* Side by side. What a node in recovery says (0) is no answer. */
static void ask(Pool **pools, int npools)
{
	HerdJob job = { .reusable = true, .tupdesc = answer_desc() };
	TupleTableSlot *slot = MakeSingleTupleTableSlot(job.tupdesc, &TTSOpsVirtual);
	int64 now = clock_us();
	HerdExec *exec;

	job.tasks = palloc0(npools * sizeof(HerdTask));
	for (int i = 0; i < npools; i++)
		job.tasks[job.ntasks++] =
			(HerdTask){ .groupid = pools[i]->groupid,
				    .sql = psprintf("SELECT %d, lsn, timeline "
						    "FROM citus_internal.wal_position()",
						    pools[i]->groupid) };
	exec = herd_exec_begin(&job);
	while (herd_exec_next(exec, slot)) {
		Sample sample = { .database = MyDatabaseId,
				  .groupid = DatumGetInt32(slot->tts_values[0]),
				  .lsn = DatumGetInt64(slot->tts_values[1]),
				  .timeline = DatumGetInt32(slot->tts_values[2]),
				  .asked = now };

		for (int i = 0; i < npools; i++) {
			if (pools[i]->groupid != sample.groupid)
				continue;
			pools[i]->lsn = sample.lsn;
			pools[i]->timeline = sample.timeline;
		}
		if (sample.lsn != 0)
			write_sample(&sample);
	}
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
}

static void ask_primaries(Pool **pools, int npools)
{
	asking = true;
	PG_TRY();
	{
		ask(pools, npools);
	}
	PG_FINALLY();
	{
		asking = false;
	}
	PG_END_TRY();
}

/* -- choosing ---------------------------------------------------------------------------------- */

/* A block that is open in the group, by itself or to hold results, has to be used. */
static bool group_is_held(int32 groupid)
{
	HerdConn *c = herd_conn_find_main(groupid);

	return c && c->level > 0;
}

/* Sets lsn and timeline where a sample will do; the others are left 0. */
static void use_sample(Pool *pool)
{
	Sample sample = read_sample(pool->groupid);

	if (sample.asked <= not_before ||
	    clock_us() - sample.asked > herd_max_secondary_lag_ms * INT64CONST(1000))
		return;
	pool->lsn = sample.lsn;
	pool->timeline = sample.timeline;
}

static void connect_to(Pool *pool)
{
	pool->first = herd_conn_try(pool->standby, Min(OPEN_MS, herd_node_connection_timeout_ms));
	if (pool->first)
		return;
	herd_secondary_avoid(pool->standby->nodeid, AVOID_UNREACHABLE_MS);
	pool->standby = NULL;
	pool->lsn = 0;
}

void herd_standby_choose(HerdExec *exec)
{
	Pool **unknown;
	int nunknown = 0;

	if (asking || herd_session_writes_now() || !herd_txn_only_reads())
		return;
	if (herd_session_wrote())
		not_before = clock_us();
	unknown = palloc(exec->npools * sizeof(*unknown));
	for (int i = 0; i < exec->npools; i++) {
		Pool *pool = &exec->pools[i];

		if (group_is_held(pool->groupid))
			continue;
		herd_group_lock(pool->groupid, false);
		AcceptInvalidationMessages();
		pool->standby = herd_secondary_of(pool->groupid, false);
		if (!pool->standby)
			continue;
		use_sample(pool);
		if (pool->lsn == 0)
			unknown[nunknown++] = pool;
	}
	if (nunknown > 0)
		ask_primaries(unknown, nunknown);
	for (int i = 0; i < exec->npools; i++) {
		Pool *pool = &exec->pools[i];

		if (pool->standby && pool->lsn != 0)
			connect_to(pool);
		else
			pool->standby = NULL;
	}
	pfree(unknown);
}

HerdConn *herd_standby_extra(const Pool *pool)
{
	HerdConn *c = herd_conn_take_idle_to(pool->standby);

	if (!c)
		c = herd_conn_open_extra(pool->standby, GetUserNameFromId(GetUserId(), false));
	return c;
}

/* -- the other side ---------------------------------------------------------------------------- */

/*
 * Where the log ends after everything that is visible, as replay counts: at a page's beginning the
 * next record starts behind the header, but the last one ended before it.
 */
static XLogRecPtr wal_end(void)
{
	XLogRecPtr end = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(end, wal_segment_size) == SizeOfXLogLongPHD)
		return end - SizeOfXLogLongPHD;
	if (end % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return end - SizeOfXLogShortPHD;
	return end;
}

/* wal_position(): zeroes on a standby. */
PG_FUNCTION_INFO_V1(herd_wal_position);
PGDLLEXPORT Datum herd_wal_position(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Datum values[2] = { Int64GetDatum(0), Int32GetDatum(0) };
	bool nulls[2] = { false, false };

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!RecoveryInProgress()) {
		values[0] = Int64GetDatum((int64)wal_end());
		values[1] = Int32GetDatum((int32)GetWALInsertionTimeLine());
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/* check_standby(lsn, timeline): raises unless this is a standby that has replayed so much. */
PG_FUNCTION_INFO_V1(herd_check_standby);
PGDLLEXPORT Datum herd_check_standby(PG_FUNCTION_ARGS)
{
	XLogRecPtr wanted = (XLogRecPtr)PG_GETARG_INT64(0);
	TimeLineID wanted_tli = (TimeLineID)PG_GETARG_INT32(1);
	TimeLineID tli = 0;
	XLogRecPtr replayed;

	if (!RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("this server is no standby")));
	replayed = GetXLogReplayRecPtr(&tli);
	if (tli != wanted_tli || replayed < wanted)
		ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this standby has not replayed what is to be read"),
			 errdetail("It is at %X/%X of timeline %u, and should be at %X/%X of "
				   "timeline %u.",
				   LSN_FORMAT_ARGS(replayed), tli, LSN_FORMAT_ARGS(wanted),
				   wanted_tli)));
	PG_RETURN_VOID();
}
