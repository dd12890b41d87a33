#include "stats/counters.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "shared.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

enum { MAX_DATABASES = 128 };

typedef struct Counters {
	Oid database; /* InvalidOid: unused */
	TimestampTz reset;
	pg_atomic_uint64 count[HERD_COUNTERS];
} Counters;

static bool enabled;
static Counters *all;
static LWLock *lock; /* of database and reset */

static void begin(void *memory)
{
	Counters *counters = memory;

	for (int i = 0; i < MAX_DATABASES; i++)
		for (int c = 0; c < HERD_COUNTERS; c++)
			pg_atomic_init_u64(&counters[i].count[c], 0);
}

void herd_counters_init(void)
{
	DefineCustomBoolVariable("citus.enable_stat_counters",
				 "Counts connections and statements for citus_stat_counters.", NULL,
				 &enabled, false, PGC_SUSET, 0, NULL, NULL, NULL);
	herd_shared_struct("pgherd counters", MAX_DATABASES * sizeof(Counters), 0, begin,
			   (void **)&all, &lock);
}

bool herd_counters_wanted(void)
{
	return enabled;
}

/* Of a database; NULL when it has none, and none can be made. */
static Counters *counters_of(Oid database, bool make)
{
	Counters *found = NULL;

	LWLockAcquire(lock, make ? LW_EXCLUSIVE : LW_SHARED);
	for (int i = 0; i < MAX_DATABASES && !found; i++) {
		if (all[i].database == database)
			found = &all[i];
		else if (all[i].database == InvalidOid) {
			if (!make)
				break;
			all[i].database = database;
			found = &all[i];
		}
	}
	LWLockRelease(lock);
	return found;
}

void herd_counter_add(HerdCounter counter)
{
	static Counters *mine;

	if (!enabled)
		return;
	if (!mine)
		mine = counters_of(MyDatabaseId, true);
	if (mine)
		pg_atomic_fetch_add_u64(&mine->count[counter], 1);
}

/* stat_counters(): a row for each database of which something was counted. */
PG_FUNCTION_INFO_V1(herd_stat_counters);
PGDLLEXPORT Datum herd_stat_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < MAX_DATABASES && all[i].database != InvalidOid; i++) {
		Datum values[HERD_COUNTERS + 2];
		bool nulls[HERD_COUNTERS + 2] = { false };

		values[0] = ObjectIdGetDatum(all[i].database);
		for (int c = 0; c < HERD_COUNTERS; c++)
			values[c + 1] = Int64GetDatum((int64)pg_atomic_read_u64(&all[i].count[c]));
		values[HERD_COUNTERS + 1] = TimestampTzGetDatum(all[i].reset);
		nulls[HERD_COUNTERS + 1] = all[i].reset == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	LWLockRelease(lock);
	return (Datum)0;
}

/* stat_counters_reset(database) */
PG_FUNCTION_INFO_V1(herd_stat_counters_reset);
PGDLLEXPORT Datum herd_stat_counters_reset(PG_FUNCTION_ARGS)
{
	Counters *one = counters_of(PG_GETARG_OID(0), false);

	if (!one)
		PG_RETURN_VOID();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int c = 0; c < HERD_COUNTERS; c++)
		pg_atomic_write_u64(&one->count[c], 0);
	one->reset = GetCurrentTimestamp();
	LWLockRelease(lock);
	PG_RETURN_VOID();
}
