#include "attach/trigger_later.h"

#include "access/relation.h"
#include "access/xact.h"
#include "attach/farkey_later.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Kept {
	Oid relid;
	Oid triggerid;
	Oid constraintid;
	Oid user; /* who made the row; PostgreSQL 18 fires for him */
	char event;
	int fired; /* level of the subtransaction that has fired it, 0: none */
	HeapTuple before, after;
} Kept;

static Kept *kept; /* in memory, of which all of it is, too */
static int n, room;
static bool any_fired;
static MemoryContext memory; /* a child of TopTransactionContext */
static int *starts;          /* of levels of subtransactions: what was there when they began */
static int nlevels;

static void forget(void)
{
	kept = NULL;
	starts = NULL;
	memory = NULL;
	n = room = nlevels = 0;
	any_fired = false;
}

/* Subtransactions that began before there was anything began with nothing. */
static void note_level(int level)
{
	int old = nlevels;

	if (level < nlevels)
		return;
	nlevels = Max(2 * level, 8);
	starts = starts ? repalloc(starts, nlevels * sizeof(int))
			: MemoryContextAlloc(memory, nlevels * sizeof(int));
	memset(starts + old, 0, (nlevels - old) * sizeof(int));
}

static void make_room(void)
{
	if (memory == NULL)
		memory = AllocSetContextCreate(TopTransactionContext, "herd deferred triggers",
					       ALLOCSET_DEFAULT_SIZES);
	note_level(GetCurrentTransactionNestLevel());
	if (n < room)
		return;
	room = Max(2 * room, 64);
	kept = kept ? repalloc_huge(kept, room * sizeof(Kept))
		    : MemoryContextAlloc(memory, room * sizeof(Kept));
}

bool herd_trigger_keep(Relation table, const Trigger *trigger, char event, HeapTuple before,
		       HeapTuple after)
{
	MemoryContext old;
	Kept *one;

	if (!trigger->tgdeferrable ||
	    !herd_far_key_waits(trigger->tgconstraint, trigger->tginitdeferred))
		return false;
	make_room();
	old = MemoryContextSwitchTo(memory);
	one = &kept[n++];
	one->relid = RelationGetRelid(table);
	one->triggerid = trigger->tgoid;
	one->constraintid = trigger->tgconstraint;
	one->user = GetUserId();
	one->event = event;
	one->fired = 0;
	one->before = before ? heap_copytuple(before) : NULL;
	one->after = after ? heap_copytuple(after) : NULL;
	MemoryContextSwitchTo(old);
	return true;
}

/* -- firing ------------------------------------------------------------------------------------ */

static TupleTableSlot *slot_of(HeapTuple tuple, Relation rel)
{
	TupleTableSlot *slot;

	if (tuple == NULL)
		return NULL;
	slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
	ExecStoreHeapTuple(tuple, slot, false);
	return slot;
}

static Trigger *trigger_of(Relation rel, Oid triggerid)
{
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		if (rel->trigdesc->triggers[i].tgoid == triggerid)
			return &rel->trigdesc->triggers[i];
	return NULL;
}

static void call(Relation rel, Trigger *trigger, const Kept *one)
{
	LOCAL_FCINFO(fcinfo, 0);
	TriggerData data = { .type = T_TriggerData,
			     .tg_relation = rel,
			     .tg_trigger = trigger,
			     .tg_trigtuple = one->before ? one->before : one->after,
			     .tg_newtuple = one->before ? one->after : NULL };
	FmgrInfo function;

	data.tg_event = TRIGGER_EVENT_ROW | TRIGGER_EVENT_AFTER |
			(one->event == 'I'   ? TRIGGER_EVENT_INSERT
			 : one->event == 'U' ? TRIGGER_EVENT_UPDATE
					     : TRIGGER_EVENT_DELETE);
	data.tg_trigslot = slot_of(data.tg_trigtuple, rel);
	data.tg_newslot = slot_of(data.tg_newtuple, rel);
	fmgr_info(trigger->tgfoid, &function);
	InitFunctionCallInfoData(*fcinfo, &function, 0, InvalidOid, (Node *)&data, NULL);
	(void)FunctionCallInvoke(fcinfo);
	if (data.tg_trigslot)
		ExecDropSingleTupleTableSlot(data.tg_trigslot);
	if (data.tg_newslot)
		ExecDropSingleTupleTableSlot(data.tg_newslot);
}

static void fire(const Kept *one)
{
	Relation rel = try_relation_open(one->relid, AccessShareLock);
	Trigger *trigger = rel ? trigger_of(rel, one->triggerid) : NULL;
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	if (PG_VERSION_NUM >= 180000 && user != one->user)
		SetUserIdAndSecContext(one->user, context | SECURITY_LOCAL_USERID_CHANGE);
	if (trigger != NULL && trigger->tgenabled != TRIGGER_DISABLED)
		call(rel, trigger, one);
	SetUserIdAndSecContext(user, context);
	if (rel != NULL)
		relation_close(rel, NoLock);
}

bool herd_trigger_fire_kept(bool all)
{
	MemoryContext row = NULL, old = CurrentMemoryContext;
	bool any = false;

	/* those that fire may add others, and move the array */
	for (int i = 0; i < n; i++) {
		Kept one = kept[i];

		if (one.fired || (!all && herd_far_key_waits(one.constraintid, true)))
			continue;
		CHECK_FOR_INTERRUPTS();
		if (!any)
			row = AllocSetContextCreate(old, "herd deferred trigger",
						    ALLOCSET_DEFAULT_SIZES);
		any = any_fired = true;
		kept[i].fired = GetCurrentTransactionNestLevel();
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(row);
		fire(&one);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
		PopActiveSnapshot();
	}
	if (row != NULL)
		MemoryContextDelete(row);
	return any;
}

/* -- ends -------------------------------------------------------------------------------------- */

/* What fires may make PostgreSQL's own triggers wait, and the other way round. */
static void fire_all(void)
{
	while (herd_trigger_fire_kept(true))
		AfterTriggerFireDeferred();
}

static void end_of_transaction(XactEvent event, void *arg)
{
	switch (event) {
	case XACT_EVENT_PRE_COMMIT:
	case XACT_EVENT_PRE_PREPARE:
		fire_all();
		break;
	case XACT_EVENT_COMMIT:
	case XACT_EVENT_PREPARE:
	case XACT_EVENT_ABORT:
		forget();
		break;
	default:
		break;
	}
}

static void end_of_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId above,
				  void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	if (memory == NULL)
		return;
	if (event == SUBXACT_EVENT_START_SUB) {
		note_level(level);
		starts[level] = n;
		return;
	}
	if (event == SUBXACT_EVENT_ABORT_SUB)
		n = level < nlevels ? Min(n, starts[level]) : n;
	if (!any_fired || (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	for (int i = 0; i < n; i++)
		if (kept[i].fired >= level)
			kept[i].fired = event == SUBXACT_EVENT_COMMIT_SUB ? level - 1 : 0;
}

void herd_trigger_later_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}
