/*
 * Advisory locks of the extension. The fourth field of the lock tag sets them apart from those of
 * users (1 and 2).
 */
#include "catalog/metadata.h"

#include "attempt.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include <signal.h>

/* How long a cancelled holder has to let go before it is terminated. */
#define TERMINATE_AFTER_MS 500

enum {
	LOCK_CLASS_GROUP = 21,
	LOCK_CLASS_SHARD = 22,
	LOCK_CLASS_CHANGES = 23,
	LOCK_CLASS_NODES = 24
};

static void group_tag(LOCKTAG *tag, int32 groupid)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, (uint32)groupid, LOCK_CLASS_GROUP);
}

void herd_group_lock(int32 groupid, bool exclusive)
{
	LOCKTAG tag;

	group_tag(&tag, groupid);
	(void)LockAcquire(&tag, exclusive ? ExclusiveLock : ShareLock, false, false);
}

void herd_group_unlock_shared(int32 groupid)
{
	LOCKTAG tag;

	group_tag(&tag, groupid);
	(void)LockRelease(&tag, ShareLock, false);
}

void herd_shard_lock(uint64 shardid, bool exclusive)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32)(shardid >> 32), (uint32)shardid,
			     LOCK_CLASS_SHARD);
	(void)LockAcquire(&tag, exclusive ? ExclusiveLock : ShareLock, false, false);
}

void herd_changes_lock(bool exclusive)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, LOCK_CLASS_CHANGES);
	(void)LockAcquire(&tag, exclusive ? ExclusiveLock : ShareLock, false, false);
}

bool herd_nodes_lock(bool wait)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, LOCK_CLASS_NODES);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

typedef struct Wait {
	const LOCKTAG *tag;
	int ms;
} Wait;

static void queue_for_lock(void *arg)
{
	const Wait *wait = arg;
	int level = herd_limit_lock_wait(wait->ms);

	(void)LockAcquire(wait->tag, ExclusiveLock, false, false);
	AtEOXact_GUC(true, level);
}

/* Queues for the lock, so that later statements line up behind us; false after ms. */
static bool lock_within(const LOCKTAG *tag, int ms)
{
	Wait wait = { .tag = tag, .ms = ms };
	ErrorData *error = herd_attempt(queue_for_lock, &wait);

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

static void signal_holders(const LOCKTAG *tag, int signo)
{
	int n;
	VirtualTransactionId *holders = GetLockConflicts(tag, ExclusiveLock, &n);

	for (int i = 0; i < n; i++) {
		PGPROC *proc = herd_backend_proc(herd_vxid_backend(holders[i]));

		if (proc && proc->pid != 0 && proc->pid != MyProcPid)
			(void)kill(proc->pid, signo);
	}
}

void herd_group_lock_force(int32 groupid, int cooldown_ms)
{
	LOCKTAG tag;

	group_tag(&tag, groupid);
	if (cooldown_ms < 0) {
		herd_group_lock(groupid, true);
		return;
	}
	/* lock_timeout 0 would wait for ever */
	if (lock_within(&tag, Max(cooldown_ms, 1)))
		return;
	for (int signo = SIGINT;; signo = SIGTERM) {
		CHECK_FOR_INTERRUPTS();
		signal_holders(&tag, signo);
		if (lock_within(&tag, TERMINATE_AFTER_MS))
			return;
	}
}

PG_FUNCTION_INFO_V1(herd_lock_group);
PGDLLEXPORT Datum herd_lock_group(PG_FUNCTION_ARGS)
{
	herd_group_lock_force(PG_GETARG_INT32(0), PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(herd_lock_shard);
PGDLLEXPORT Datum herd_lock_shard(PG_FUNCTION_ARGS)
{
	herd_shard_lock((uint64)PG_GETARG_INT64(0), true);
	PG_RETURN_VOID();
}

/* As LOCK TABLE asks it of a table. */
static void check_may_lock(uint64 shardid, bool exclusive)
{
	const HerdTable *table;
	int index;
	AclMode needs = exclusive ? ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE : ACL_SELECT;

	if (!herd_shard_find(shardid, &table, &index))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("shard " UINT64_FORMAT " does not exist", shardid)));
	if (pg_class_aclmask(table->relid, GetUserId(), needs, ACLMASK_ANY) == 0)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(table->relid));
}

static int compare_ids(const ListCell *a, const ListCell *b)
{
	uint64 one = *(uint64 *)lfirst(a), other = *(uint64 *)lfirst(b);

	return one < other ? -1 : one > other ? 1 : 0;
}

/* In the order of their ids, so that two callers do not wait for each other. */
PG_FUNCTION_INFO_V1(herd_lock_shards);
PGDLLEXPORT Datum herd_lock_shards(PG_FUNCTION_ARGS)
{
	int mode = PG_GETARG_INT32(0);
	bool exclusive = mode == ShareUpdateExclusiveLock || mode >= ShareRowExclusiveLock;
	List *ids = NIL;
	Datum *elems;
	bool *nulls;
	int n;
	ListCell *lc;

	if (mode < AccessShareLock || mode > AccessExclusiveLock)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("lock mode %d does not exist", mode),
				errhint("Modes are 1 (ACCESS SHARE) to 8 (ACCESS EXCLUSIVE).")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
			  TYPALIGN_DOUBLE, &elems, &nulls, &n);
	for (int i = 0; i < n; i++) {
		uint64 *id = palloc(sizeof(uint64));

		if (nulls[i])
			continue;
		*id = DatumGetUInt64(elems[i]);
		check_may_lock(*id, exclusive);
		ids = lappend(ids, id);
	}
	list_sort(ids, compare_ids);
	foreach (lc, ids)
		herd_shard_lock(*(uint64 *)lfirst(lc), exclusive);
	PG_RETURN_VOID();
}
