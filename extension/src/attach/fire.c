/*
 * Triggers that the node fires that plans a statement, before and after the shards work.
 */
#include "attach/attach.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "attach/capture.h"
#include "attach/farkey.h"
#include "attach/replay.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "partitioning/partdesc.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

bool herd_attach_row_triggers(Oid relid, int16 event)
{
	Relation rel = table_open(relid, NoLock);
	bool found = false;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++) {
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		found = found || (!trigger->tgisinternal && (trigger->tgtype & event) &&
				  TRIGGER_FOR_ROW(trigger->tgtype));
	}
	table_close(rel, NoLock);
	return found;
}

static int16 events_of(const HerdFire *fire)
{
	switch (fire->command) {
	case CMD_INSERT:
		return fire->upserts ? TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE
				     : TRIGGER_TYPE_INSERT;
	case CMD_UPDATE:
		return TRIGGER_TYPE_UPDATE;
	case CMD_DELETE:
		return TRIGGER_TYPE_DELETE;
	case CMD_MERGE:
		return fire->merges;
	default:
		return 0;
	}
}

/* Does it fire on this node, or may it? */
static bool fires_here(const Trigger *trigger)
{
	if (trigger->tgisinternal)
		return herd_far_key_trigger(trigger);
	if (trigger->tgenabled == TRIGGER_DISABLED)
		return false;
	if (!TRIGGER_FOR_ROW(trigger->tgtype) || trigger->tgoldtable || trigger->tgnewtable)
		return true;
	return TRIGGER_FOR_AFTER(trigger->tgtype) &&
	       (trigger->tgdeferrable || herd_trigger_place(trigger) != HERD_PLACE_SHARD);
}

/* What a foreign key does to the table that has it: 0 when it only refuses. */
static int16 acts(const Trigger *trigger)
{
	switch (trigger->tgisinternal ? trigger->tgfoid : InvalidOid) {
	case F_RI_FKEY_CASCADE_DEL:
		return TRIGGER_TYPE_DELETE;
	case F_RI_FKEY_CASCADE_UPD:
	case F_RI_FKEY_SETNULL_DEL:
	case F_RI_FKEY_SETNULL_UPD:
	case F_RI_FKEY_SETDEFAULT_DEL:
	case F_RI_FKEY_SETDEFAULT_UPD:
		return TRIGGER_TYPE_UPDATE;
	default:
		return 0;
	}
}

typedef bool (*TriggerTest)(const Trigger *trigger);

static bool any_trigger(Oid relid, int16 events, TriggerTest test, List *above);

/* Tables whose rows change with those of rel. */
static bool any_of_others(Relation rel, int16 events, TriggerTest test, List *above)
{
	bool found = false;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) {
		PartitionDesc parts = RelationGetPartitionDesc(rel, true);

		for (int i = 0; i < parts->nparts && !found; i++)
			found = any_trigger(parts->oids[i], events, test, above);
	}
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers && !found; i++) {
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if ((trigger->tgtype & events) && acts(trigger) != 0 &&
		    OidIsValid(trigger->tgconstrrelid))
			found = any_trigger(trigger->tgconstrrelid, acts(trigger), test, above);
	}
	return found;
}

static bool any_trigger(Oid relid, int16 events, TriggerTest test, List *above)
{
	LOCKMODE lock = above != NIL ? AccessShareLock : NoLock;
	bool found = false;
	Relation rel;

	if (list_member_oid(above, relid))
		return false;
	rel = table_open(relid, lock);
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers && !found; i++) {
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		found = (trigger->tgtype & events) && test(trigger);
	}
	if (!found)
		found = any_of_others(rel, events, test, lappend_oid(list_copy(above), relid));
	table_close(rel, lock);
	return found;
}

/* Far keys have their rows from the shards as triggers of users have. */
static bool is_users(const Trigger *trigger)
{
	return !trigger->tgisinternal || herd_far_key_trigger(trigger);
}

bool herd_attach_has_code(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	bool found = rel->rd_rel->relrowsecurity;

	table_close(rel, NoLock);
	return found ||
	       any_trigger(relid, TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE,
			   is_users, NIL);
}

static bool is_key(const Trigger *trigger)
{
	return RI_FKey_trigger_type(trigger->tgfoid) != RI_TRIGGER_NONE;
}

bool herd_attach_has_keys(Oid relid)
{
	return any_trigger(relid, TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE,
			   is_key, NIL);
}

bool herd_fire_wanted(const HerdFire *fire)
{
	if (!OidIsValid(fire->relid))
		return false;
	return any_trigger(fire->relid, events_of(fire), fires_here, NIL) ||
	       (fire->moves && any_trigger(fire->relid, events_of(fire), herd_far_key_any, NIL));
}

static void fire_before(EState *estate, ResultRelInfo *target, int16 events)
{
	if (events & TRIGGER_TYPE_INSERT)
		ExecBSInsertTriggers(estate, target);
	if (events & TRIGGER_TYPE_UPDATE)
		ExecBSUpdateTriggers(estate, target);
	if (events & TRIGGER_TYPE_DELETE)
		ExecBSDeleteTriggers(estate, target);
}

static void fire_after(EState *estate, ResultRelInfo *target, int16 events,
		       TransitionCaptureState *tables)
{
	if (events & TRIGGER_TYPE_DELETE)
		ExecASDeleteTriggers(estate, target, tables);
	if (events & TRIGGER_TYPE_UPDATE)
		ExecASUpdateTriggers(estate, target, tables);
	if (events & TRIGGER_TYPE_INSERT)
		ExecASInsertTriggers(estate, target, tables);
}

/* Triggers OF columns look there for what is set. */
void herd_fire_set_target(EState *estate, Relation rel, const List *set)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	Bitmapset *columns = NULL;
	const ListCell *lc;

	foreach (lc, set)
		columns = bms_add_member(columns,
					 lfirst_int(lc) - FirstLowInvalidHeapAttributeNumber);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	{
		RTEPermissionInfo *perms = makeNode(RTEPermissionInfo);

		perms->relid = RelationGetRelid(rel);
		perms->updatedCols = columns;
		rte->perminfoindex = 1;
#if PG_VERSION_NUM >= 180000
		ExecInitRangeTable(estate, list_make1(rte), list_make1(perms), NULL);
#else
		ExecInitRangeTable(estate, list_make1(rte), list_make1(perms));
#endif
	}
#else
	rte->updatedCols = columns;
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

void herd_fire(const HerdFire *fire, bool before)
{
	EState *estate = CreateExecutorState();
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	Relation rel = table_open(fire->relid, NoLock);
	ResultRelInfo *target = makeNode(ResultRelInfo);
	HerdReplay *replay = NULL;
	HerdCaptured *captured = NULL;

	estate->es_snapshot = GetActiveSnapshot();
	herd_fire_set_target(estate, rel, fire->columns);
	InitResultRelInfo(target, rel, 1, NULL, 0);
	if (!before)
		captured = herd_capture_end(fire->relid);
	AfterTriggerBeginQuery();
	if (before) {
		fire_before(estate, target, events_of(fire));
	} else {
		replay = herd_replay_begin(estate, target, fire->moves);
		if (captured != NULL)
			herd_replay_rows(replay, captured);
		fire_after(estate, target, events_of(fire), herd_replay_tables(replay));
		herd_replay_others(replay);
	}
	AfterTriggerEndQuery(estate);
	if (replay != NULL)
		herd_replay_end(replay);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	MemoryContextSwitchTo(old);
	FreeExecutorState(estate);
	table_close(rel, NoLock);
	if (before)
		herd_capture_begin(fire->relid);
}

void herd_fire_alone(const HerdFire *fire, bool before)
{
	if (!herd_fire_wanted(fire))
		return;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	herd_fire(fire, before);
	PopActiveSnapshot();
}
