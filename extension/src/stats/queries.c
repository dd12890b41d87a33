#include "stats/queries.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "shared.h"
#include "stats/counters.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include <limits.h>

enum { KEY_SIZE = 64, TRACK_NONE = 0, TRACK_ALL = 1 };

typedef struct QueryKey {
	Oid userid;
	Oid database;
	uint64 queryid;
	bool has_key;
	char key[KEY_SIZE]; /* the value's text, cut off, filled with zeroes */
} QueryKey;

typedef struct QueryEntry {
	QueryKey key;
	pg_atomic_uint64 calls;
	TimestampTz made;
} QueryEntry;

static int track, max_entries = 50000, purge_interval = 10;
static HTAB *entries;
static LWLock *lock;

static const struct config_enum_entry track_modes[] = {
	{ "none", TRACK_NONE, false },
	{ "all", TRACK_ALL, false },
	{ NULL, 0, false },
};

void herd_query_init(void)
{
	DefineCustomEnumVariable("citus.stat_statements_track",
				 "Which statements citus_stat_statements has.",
				 "They need query ids: compute_query_id, or pg_stat_statements.",
				 &track, TRACK_NONE, track_modes, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("citus.stat_statements_max",
				"How many statements citus_stat_statements has at most.", NULL,
				&max_entries, 50000, 1000, 10000000, PGC_POSTMASTER, 0, NULL, NULL,
				NULL);
	DefineCustomIntVariable("citus.stat_statements_purge_interval",
				"How often statements that pg_stat_statements has forgotten are "
				"removed from citus_stat_statements, -1 for never.",
				NULL, &purge_interval, 10, -1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S,
				NULL, NULL, NULL);
	herd_shared_table("pgherd statements", max_entries, sizeof(QueryKey), sizeof(QueryEntry),
			  &entries, &lock);
}

/* -- counting ---------------------------------------------------------------------------------- */

/* A twentieth of all, the oldest ones; under the lock. */
static void make_room(void)
{
	int64 n = hash_get_num_entries(entries), i = 0;
	HASH_SEQ_STATUS seq;
	QueryEntry *e;
	TimestampTz first = PG_INT64_MAX, last = PG_INT64_MIN, until;

	hash_seq_init(&seq, entries);
	while ((e = hash_seq_search(&seq)) != NULL) {
		first = Min(first, e->made);
		last = Max(last, e->made);
	}
	until = first + (last - first) / 20;
	hash_seq_init(&seq, entries);
	while ((e = hash_seq_search(&seq)) != NULL) {
		if (e->made > until || i++ > n / 20)
			continue;
		hash_search(entries, &e->key, HASH_REMOVE, NULL);
	}
}

static void count(const QueryKey *key)
{
	QueryEntry *e;
	bool found;

	LWLockAcquire(lock, LW_SHARED);
	e = hash_search(entries, key, HASH_FIND, NULL);
	if (e)
		pg_atomic_fetch_add_u64(&e->calls, 1);
	LWLockRelease(lock);
	if (e)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (hash_get_num_entries(entries) >= max_entries)
		make_room();
	e = hash_search(entries, key, HASH_ENTER_NULL, &found);
	if (e && !found) {
		pg_atomic_init_u64(&e->calls, 0);
		e->made = GetCurrentTimestamp();
	}
	if (e)
		pg_atomic_fetch_add_u64(&e->calls, 1);
	LWLockRelease(lock);
}

/* Executions of plans with several scans that were counted, to the end of their memory. */
typedef struct Seen {
	struct Seen *next;
	const EState *estate;
	MemoryContextCallback gone;
} Seen;

static Seen *seen;

static void unsee(void *arg)
{
	for (Seen **link = &seen; *link; link = &(*link)->next) {
		if (*link == arg) {
			*link = (*link)->next;
			return;
		}
	}
}

static bool is_first_of(EState *estate)
{
	Seen *one;

	for (one = seen; one; one = one->next) {
		if (one->estate == estate)
			return false;
	}
	one = MemoryContextAllocZero(estate->es_query_cxt, sizeof(*one));
	one->estate = estate;
	one->next = seen;
	one->gone = (MemoryContextCallback){ .func = unsee, .arg = one };
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &one->gone);
	seen = one;
	return true;
}

static void add_key(QueryKey *key, const HerdRemote *remote, ParamListInfo params)
{
	const ParamExternData *value;
	Oid output;
	bool varlena;

	if (!remote || remote->shards != HERD_SHARDS_KEY || remote->keys == NIL || !params)
		return;
	value = &params->params[linitial_int(remote->keys) - 1];
	if (value->isnull)
		return;
	getTypeOutputInfo(value->ptype, &output, &varlena);
	key->has_key = true;
	strlcpy(key->key, OidOutputFunctionCall(output, value->value), KEY_SIZE);
}

void herd_query_saw(const HerdRemote *remote, EState *estate, ParamListInfo params, int ntasks)
{
	bool whole = estate->es_plannedstmt->planTree &&
		     IsA(estate->es_plannedstmt->planTree, CustomScan);
	QueryKey key;

	if (track == TRACK_NONE && !herd_counters_wanted())
		return;
	if (!whole && !is_first_of(estate))
		return;
	herd_counter_add(ntasks == 1 && whole ? HERD_COUNT_SINGLE_SHARD : HERD_COUNT_MULTI_SHARD);
	if (track == TRACK_NONE || estate->es_plannedstmt->queryId == 0)
		return;
	memset(&key, 0, sizeof(key));
	key.userid = GetUserId();
	key.database = MyDatabaseId;
	key.queryid = (uint64)estate->es_plannedstmt->queryId;
	if (whole)
		add_key(&key, remote, params);
	count(&key);
}

/* -- looking ----------------------------------------------------------------------------------- */

/* query_stats(): queryid, userid, dbid, partition_key, calls */
PG_FUNCTION_INFO_V1(herd_query_stats);
PGDLLEXPORT Datum herd_query_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
	HASH_SEQ_STATUS seq;
	QueryEntry *e;

	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(lock, LW_SHARED);
	hash_seq_init(&seq, entries);
	while ((e = hash_seq_search(&seq)) != NULL) {
		Datum values[5] = { Int64GetDatum((int64)e->key.queryid),
				    ObjectIdGetDatum(e->key.userid),
				    ObjectIdGetDatum(e->key.database),
				    PointerGetDatum(cstring_to_text(e->key.key)),
				    Int64GetDatum((int64)pg_atomic_read_u64(&e->calls)) };
		bool nulls[5] = { false, false, false, !e->key.has_key, false };

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	LWLockRelease(lock);
	return (Datum)0;
}

static int compare_ids(const void *a, const void *b)
{
	int64 x = *(const int64 *)a, y = *(const int64 *)b;

	return x < y ? -1 : x > y;
}

/* All, or those of this database whose query id is not in ids. */
static void forget(int64 *ids, int n, bool all)
{
	HASH_SEQ_STATUS seq;
	QueryEntry *e;

	qsort(ids, n, sizeof(int64), compare_ids);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&seq, entries);
	while ((e = hash_seq_search(&seq)) != NULL) {
		int64 id = (int64)e->key.queryid;

		if (all || (e->key.database == MyDatabaseId &&
			    !bsearch(&id, ids, n, sizeof(int64), compare_ids)))
			hash_search(entries, &e->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(lock);
}

PG_FUNCTION_INFO_V1(herd_query_stats_reset);
PGDLLEXPORT Datum herd_query_stats_reset(PG_FUNCTION_ARGS)
{
	int64 none;

	forget(&none, 0, true);
	PG_RETURN_VOID();
}

int herd_query_purge_interval_ms(void)
{
	if (purge_interval < 0 || track == TRACK_NONE)
		return -1;
	return (int)Min((int64)Max(purge_interval, 1) * 1000, INT_MAX);
}

void herd_query_purge(void)
{
	int64 *ids;
	uint64 n;

	if (!OidIsValid(get_extension_oid("pg_stat_statements", true)))
		return;
	SPI_connect();
	if (SPI_execute("SELECT id FROM citus_internal.known_query_ids() id", true, 0) !=
	    SPI_OK_SELECT)
		elog(ERROR, "could not read pg_stat_statements");
	n = SPI_processed;
	ids = palloc(Max(n, 1) * sizeof(int64));
	for (uint64 i = 0; i < n; i++) {
		bool isnull;

		ids[i] = DatumGetInt64(
			SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	forget(ids, n, false);
	SPI_finish();
}
