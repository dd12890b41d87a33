#include "stats/tenants.h"

#include "catalog/metadata.h"
#include "common/pg_prng.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "shared.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

enum { VALUE_SIZE = 100, TRACK_NONE = 0, TRACK_ALL = 1 };
/* What a statement adds to the score, which is halved with each period. */
#define STATEMENT_SCORE INT64CONST(1000000000)

typedef struct TenantKey {
	Oid database;
	int32 colocationid;
	char value[VALUE_SIZE]; /* text, cut off, filled with zeroes */
} TenantKey;

typedef struct Count {
	int64 reads, statements, us;
} Count;

typedef struct TenantEntry {
	TenantKey key;
	TimestampTz begun; /* the period that `now` is about */
	Count now, last;
	int64 score;
} TenantEntry;

struct HerdTenant {
	TenantKey key;
	bool reads;
	TimestampTz begun;
};

static int track, limit = 100, period_s = 60;
static double sample_rate = 1;
static HTAB *entries;
static LWLock *lock;

static const struct config_enum_entry track_modes[] = {
	{ "none", TRACK_NONE, false },
	{ "all", TRACK_ALL, false },
	{ NULL, 0, false },
};

void herd_tenants_init(void)
{
	DefineCustomEnumVariable("citus.stat_tenants_track",
				 "Whether statements are counted by distribution value.", NULL,
				 &track, TRACK_NONE, track_modes, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("citus.stat_tenants_limit",
				"How many values citus_stat_tenants shows.", NULL, &limit, 100, 1,
				10000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("citus.stat_tenants_period",
				"Length of the periods of citus_stat_tenants.", NULL, &period_s, 60,
				1, 86400, PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomRealVariable("citus.stat_tenants_untracked_sample_rate",
				 "Share of the statements with a new value that make it tracked.",
				 NULL, &sample_rate, 1, 0, 1, PGC_USERSET, 0, NULL, NULL, NULL);
	herd_shared_table("pgherd tenants", limit * 2, sizeof(TenantKey), sizeof(TenantEntry),
			  &entries, &lock);
}

/* -- counting ---------------------------------------------------------------------------------- */

/* Brings an entry to the present period; under the lock. */
static void age(TenantEntry *e, TimestampTz now)
{
	int64 length = period_s * USECS_PER_SEC;
	int64 passed = (now - e->begun) / length;

	if (passed <= 0)
		return;
	e->last = passed == 1 ? e->now : (Count){ 0 };
	e->now = (Count){ 0 };
	e->score = passed >= 63 ? 0 : e->score >> passed;
	e->begun += passed * length;
}

static void drop_least(TimestampTz now)
{
	HASH_SEQ_STATUS seq;
	TenantEntry *e, *least = NULL;

	hash_seq_init(&seq, entries);
	while ((e = hash_seq_search(&seq)) != NULL) {
		age(e, now);
		if (!least || e->score < least->score)
			least = e;
	}
	if (least)
		hash_search(entries, &least->key, HASH_REMOVE, NULL);
}

/* Under the lock; NULL when it is not to be tracked. */
static TenantEntry *entry_of(const TenantKey *key, TimestampTz now)
{
	TenantEntry *e = hash_search(entries, key, HASH_FIND, NULL);
	bool found;

	if (e) {
		age(e, now);
		return e;
	}
	if (pg_prng_double(&pg_global_prng_state) >= sample_rate)
		return NULL;
	if (hash_get_num_entries(entries) >= limit * 2)
		drop_least(now);
	e = hash_search(entries, key, HASH_ENTER_NULL, &found);
	if (e) {
		e->begun = now;
		e->now = e->last = (Count){ 0 };
		e->score = 0;
	}
	return e;
}

HerdTenant *herd_tenant_begin(const HerdRemote *remote, ParamListInfo params)
{
	const ParamExternData *value;
	const HerdTable *table;
	HerdTenant *tenant;
	Oid output;
	bool varlena;

	if (track == TRACK_NONE || remote->shards != HERD_SHARDS_KEY || remote->keys == NIL ||
	    !params)
		return NULL;
	value = &params->params[linitial_int(remote->keys) - 1];
	table = herd_table_get(remote->anchor);
	if (value->isnull || !table)
		return NULL;
	tenant = palloc0(sizeof(*tenant));
	tenant->key.database = MyDatabaseId;
	tenant->key.colocationid = (int32)table->colocationid;
	getTypeOutputInfo(value->ptype, &output, &varlena);
	strlcpy(tenant->key.value, OidOutputFunctionCall(output, value->value), VALUE_SIZE);
	tenant->reads = remote->command == CMD_SELECT && remote->writes == NIL;
	tenant->begun = GetCurrentTimestamp();
	return tenant;
}

void herd_tenant_end(const HerdTenant *tenant)
{
	TimestampTz now = GetCurrentTimestamp();
	int64 us = now - tenant->begun;
	TenantEntry *e;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	e = entry_of(&tenant->key, now);
	if (e) {
		e->now.statements++;
		e->now.reads += tenant->reads;
		e->now.us += Max(us, 0);
		e->score += STATEMENT_SCORE;
	}
	LWLockRelease(lock);
}

/* -- looking ----------------------------------------------------------------------------------- */

/* tenant_stats(): those of this database */
PG_FUNCTION_INFO_V1(herd_tenant_stats);
PGDLLEXPORT Datum herd_tenant_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
	HASH_SEQ_STATUS seq;
	TenantEntry *e;

	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&seq, entries);
	while ((e = hash_seq_search(&seq)) != NULL) {
		Datum values[9];
		bool nulls[9] = { false };

		if (e->key.database != MyDatabaseId)
			continue;
		age(e, GetCurrentTimestamp());
		values[0] = Int32GetDatum(e->key.colocationid);
		values[1] = PointerGetDatum(cstring_to_text(e->key.value));
		values[2] = Int64GetDatum(e->now.reads);
		values[3] = Int64GetDatum(e->last.reads);
		values[4] = Int64GetDatum(e->now.statements);
		values[5] = Int64GetDatum(e->last.statements);
		values[6] = Float8GetDatum(e->now.us / 1e6);
		values[7] = Float8GetDatum(e->last.us / 1e6);
		values[8] = Int64GetDatum(e->score);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	LWLockRelease(lock);
	return (Datum)0;
}

PG_FUNCTION_INFO_V1(herd_tenant_stats_reset);
PGDLLEXPORT Datum herd_tenant_stats_reset(PG_FUNCTION_ARGS)
{
	HASH_SEQ_STATUS seq;
	TenantEntry *e;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&seq, entries);
	while ((e = hash_seq_search(&seq)) != NULL)
		if (e->key.database == MyDatabaseId)
			hash_search(entries, &e->key, HASH_REMOVE, NULL);
	LWLockRelease(lock);
	PG_RETURN_VOID();
}
