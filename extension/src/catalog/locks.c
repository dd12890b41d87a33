/*
 * Advisory locks of the extension. The fourth field of the lock tag sets them apart from those of
 * users (1 and 2).
 */
#include "catalog/metadata.h"

#include "miscadmin.h"
#include "storage/lock.h"

enum { LOCK_CLASS_GROUP = 21, LOCK_CLASS_SHARD = 22 };

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
