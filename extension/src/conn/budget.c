#include "conn/budget.h"

#include "conn/options.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "shared.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "txn/internal.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

#include <limits.h>

enum { HOST_SIZE = 128, MAX_SHARES = 512, WAIT_MS = 1000 };

typedef struct ShareKey {
	char host[HOST_SIZE]; /* cut off, filled with zeroes */
	int32 port;
} ShareKey;

typedef struct HerdShare {
	ShareKey key;
	int count;
	int waiting;            /* sessions, for less */
	ConditionVariable less; /* count has become smaller */
} HerdShare;

static HTAB *shares;
static LWLock *lock;
static HerdShare *waits_for; /* counted there in waiting */

void herd_budget_init(void)
{
	herd_shared_table("pgherd connections", MAX_SHARES, sizeof(ShareKey), sizeof(HerdShare),
			  &shares, &lock);
}

/* -- counting ---------------------------------------------------------------------------------- */

static int limit_for(const HerdConn *c)
{
	bool here = c->groupid == herd_local_group();
	int limit = here ? herd_local_shared_pool : herd_max_shared_pool;

	if (limit < 0)
		return INT_MAX;
	if (limit > 0)
		return limit;
	return Max(here ? MaxConnections / 2 : MaxConnections, 1);
}

/* What optional and idle connections leave to those that are needed. */
static int spare_limit(const HerdConn *c)
{
	int limit = limit_for(c);

	return limit == INT_MAX ? limit : limit - Max(limit / 10, 1);
}

static void count_as_waiting(HerdShare *share)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (waits_for != NULL)
		waits_for->waiting--;
	waits_for = share;
	if (waits_for != NULL)
		waits_for->waiting++;
	LWLockRelease(lock);
}

static void give_back_all(int code, Datum arg)
{
	dlist_iter iter;

	ConditionVariableCancelSleep();
	if (waits_for != NULL)
		count_as_waiting(NULL);
	dlist_foreach(iter, &herd_conns)
		herd_budget_give_back(dlist_container(HerdConn, link, iter.cur));
}

/* NULL when the table is full: then nothing is counted. */
static HerdShare *share_of(const HerdConn *c)
{
	ShareKey key;
	HerdShare *share;
	bool found;

	memset(&key, 0, sizeof(key));
	strlcpy(key.host, c->host, sizeof(key.host));
	key.port = c->port;
	share = hash_search(shares, &key, HASH_ENTER_NULL, &found);
	if (share && !found) {
		share->count = share->waiting = 0;
		ConditionVariableInit(&share->less);
	}
	return share;
}

static bool try_take(HerdConn *c, int limit, HerdShare **share)
{
	bool taken;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	*share = share_of(c);
	taken = !*share || (*share)->count < limit;
	if (taken && *share) {
		(*share)->count++;
		c->share = *share;
	}
	LWLockRelease(lock);
	return taken;
}

static bool transaction_holds_any(void)
{
	dlist_iter iter;

	dlist_foreach(iter, &herd_conns)
	{
		if (dlist_container(HerdConn, link, iter.cur)->used)
			return true;
	}
	return false;
}

/* Idle connections of this very backend, to whatever node, are no reason to wait. */
static bool close_an_idle_one(const HerdConn *for_whom)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &herd_conns)
	{
		HerdConn *c = dlist_container(HerdConn, link, iter.cur);

		if (c != for_whom && c->share && c->port == for_whom->port &&
		    strcmp(c->host, for_whom->host) == 0 && !c->used && !c->owner &&
		    !herd_conn_busy(c)) {
			herd_conn_close(c);
			return true;
		}
	}
	return false;
}

static void wait_for_one(HerdConn *c, HerdShare *share)
{
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), herd_node_connection_timeout_ms);

	ConditionVariablePrepareToSleep(&share->less);
	while (!try_take(c, limit_for(c), &share)) {
		herd_deadlock_check_mark();
		if (GetCurrentTimestamp() >= deadline) {
			ConditionVariableCancelSleep();
			ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_CONNECTIONS),
				 errmsg("too many connections from this server to node %s:%d",
					c->host, c->port),
				 errhint("Raise citus.max_shared_pool_size, or lower "
					 "citus.max_adaptive_executor_pool_size.")));
		}
		(void)ConditionVariableTimedSleep(&share->less, WAIT_MS, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

bool herd_budget_take(HerdConn *c, bool required)
{
	static bool registered;
	HerdShare *share;

	if (!registered) {
		before_shmem_exit(give_back_all, (Datum)0);
		registered = true;
	}
	if (try_take(c, required ? limit_for(c) : spare_limit(c), &share))
		return true;
	if (!required)
		return false;
	while (close_an_idle_one(c)) {
		if (try_take(c, limit_for(c), &share))
			return true;
	}
	if (transaction_holds_any())
		return try_take(c, INT_MAX, &share);
	count_as_waiting(share);
	PG_TRY();
	{
		wait_for_one(c, share);
	}
	PG_CATCH();
	{
		count_as_waiting(NULL);
		herd_conn_close(c);
		PG_RE_THROW();
	}
	PG_END_TRY();
	count_as_waiting(NULL);
	return true;
}

void herd_budget_give_back(HerdConn *c)
{
	HerdShare *share = c->share;

	if (!share)
		return;
	c->share = NULL;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	share->count--;
	LWLockRelease(lock);
	ConditionVariableSignal(&share->less);
}

bool herd_budget_allows_idle(const HerdConn *c)
{
	bool allowed;

	if (!c->share)
		return true;
	LWLockAcquire(lock, LW_SHARED);
	allowed = c->share->count <= spare_limit(c) && c->share->waiting == 0;
	LWLockRelease(lock);
	return allowed;
}

/* citus_remote_connection_stats(): hostname, port, database_name, connection_count_to_node. */
PG_FUNCTION_INFO_V1(herd_connection_stats);
PGDLLEXPORT Datum herd_connection_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
	HASH_SEQ_STATUS seq;
	HerdShare *share;

	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(lock, LW_SHARED);
	hash_seq_init(&seq, shares);
	while ((share = hash_seq_search(&seq))) {
		Datum values[3] = { CStringGetTextDatum(share->key.host),
				    Int32GetDatum(share->key.port), Int32GetDatum(share->count) };
		bool nulls[3] = { false };

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	LWLockRelease(lock);
	return (Datum)0;
}
