/*
 * The function of the triggers of shards: calls the one of the table's own trigger.
 */
#include "attach/attach.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tupconvert.h"
#include "attach/before.h"
#include "attach/capture.h"
#include "attempt.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(herd_shard_trigger);

Oid herd_table_of_shard(Relation shard, uint64 *shardid)
{
	const char *name = RelationGetRelationName(shard);
	const char *number = strrchr(name, '_');
	const HerdTable *table;
	int index;

	if (number == NULL || !herd_shard_find(strtou64(number + 1, NULL, 10), &table, &index) ||
	    get_rel_namespace(table->relid) != RelationGetNamespace(shard) ||
	    strcmp(name,
		   herd_shard_name(get_rel_name(table->relid), table->shards[index].shardid)) != 0)
		return InvalidOid;
	*shardid = table->shards[index].shardid;
	return table->relid;
}

static const Trigger *trigger_of_table(Relation rel, const char *name)
{
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++) {
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (!trigger->tgisinternal && strcmp(trigger->tgname, name) == 0)
			return trigger;
	}
	return NULL;
}

/* A shard made after columns of the table were dropped numbers its columns otherwise. */
static HeapTuple convert(HeapTuple tuple, TupleDesc from, TupleDesc to)
{
	TupleConversionMap *map;

	if (tuple == NULL)
		return NULL;
	map = convert_tuples_by_name(from, to);
	return map == NULL ? tuple : execute_attr_map_tuple(tuple, map);
}

static TupleTableSlot *slot_of(HeapTuple tuple, TupleDesc desc)
{
	TupleTableSlot *slot;

	if (tuple == NULL)
		return NULL;
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	ExecStoreHeapTuple(tuple, slot, false);
	return slot;
}

static void drop_slot(TupleTableSlot *slot)
{
	if (slot != NULL)
		ExecDropSingleTupleTableSlot(slot);
}

/* The tuple that the trigger would return if it did nothing. */
static HeapTuple untouched(const TriggerData *data)
{
	return TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
}

/* What the trigger of the table is to see, without slots. */
static TriggerData data_of_table(const TriggerData *shard, Relation rel, const Trigger *trigger)
{
	TriggerData data = *shard;
	TupleDesc from = RelationGetDescr(shard->tg_relation), to = RelationGetDescr(rel);

	data.tg_relation = rel;
	data.tg_trigger = (Trigger *)trigger;
	data.tg_trigtuple = convert(shard->tg_trigtuple, from, to);
	data.tg_newtuple = convert(shard->tg_newtuple, from, to);
	data.tg_trigslot = data.tg_newslot = NULL;
	data.tg_oldtable = data.tg_newtable = NULL;
	return data;
}

/*
 * Calls the trigger of the table with the row as it would be in the table; what comes back is the
 * row for the shard, NULL to skip it.
 */
static HeapTuple call_trigger(const TriggerData *shard, Relation rel, const Trigger *trigger,
			      MemoryContext memory)
{
	LOCAL_FCINFO(call, 0);
	TriggerData data = data_of_table(shard, rel, trigger);
	TupleDesc from = RelationGetDescr(shard->tg_relation), to = RelationGetDescr(rel);
	HeapTuple result;
	FmgrInfo function;

	data.tg_trigslot = slot_of(data.tg_trigtuple, to);
	data.tg_newslot = slot_of(data.tg_newtuple, to);
	fmgr_info(trigger->tgfoid, &function);
	InitFunctionCallInfoData(*call, &function, 0, InvalidOid, (Node *)&data, NULL);
	result = (HeapTuple)DatumGetPointer(FunctionCallInvoke(call));
	if (call->isnull)
		ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger function %u returned null value", function.fn_oid)));
	if (result == data.tg_trigtuple)
		result = shard->tg_trigtuple;
	else if (result == data.tg_newtuple)
		result = shard->tg_newtuple;
	else
		result = convert(result, to, from);
	/* what the caller of a trigger frees must be where the caller of ours expects it */
	if (result != NULL && result != shard->tg_trigtuple && result != shard->tg_newtuple) {
		MemoryContext old = MemoryContextSwitchTo(memory);

		result = heap_copytuple(result);
		MemoryContextSwitchTo(old);
	}
	drop_slot(data.tg_trigslot);
	drop_slot(data.tg_newslot);
	return result;
}

/* Who makes a table with the name of a shard may fire what he could have made a trigger of. */
static bool may_fire(Relation shard, Relation rel, const Trigger *trigger)
{
	Oid owner = shard->rd_rel->relowner;

	return owner == rel->rd_rel->relowner || herd_may_execute(trigger->tgfoid, owner);
}

/* -- AFTER triggers whose function uses what this node does not have --------------------------- */

/* A function that went away once is not tried again in this session. */
static List *went; /* of Oid */

/* The error says that something is not here, which may be where the statement was planned. */
static bool is_elsewhere(int code)
{
	return code == ERRCODE_FEATURE_NOT_SUPPORTED || code == ERRCODE_UNDEFINED_TABLE ||
	       code == ERRCODE_UNDEFINED_FUNCTION || code == ERRCODE_UNDEFINED_OBJECT ||
	       code == ERRCODE_UNDEFINED_SCHEMA || code == ERRCODE_UNDEFINED_COLUMN;
}

typedef struct Call {
	const TriggerData *shard;
	Relation rel;
	const Trigger *trigger;
	MemoryContext memory;
} Call;

static void call(void *arg)
{
	const Call *one = arg;

	(void)call_trigger(one->shard, one->rel, one->trigger, one->memory);
}

/* Calls the function; false, and nothing done: it needs what is elsewhere. */
static bool try_trigger(const TriggerData *shard, Relation rel, const Trigger *trigger)
{
	Call one = {
		.shard = shard, .rel = rel, .trigger = trigger, .memory = CurrentMemoryContext
	};
	ErrorData *error = herd_attempt(call, &one);

	if (error == NULL)
		return true;
	if (!is_elsewhere(error->sqlerrcode))
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

/* Replicas would each do what the function does. */
static bool is_reference(Oid relid)
{
	const HerdTable *table = herd_table_get(relid);

	return table != NULL && table->kind == HERD_TABLE_REFERENCE;
}

/* What an AFTER trigger returns is ignored. Rows of those that may wait, wait elsewhere. */
static void call_after(const TriggerData *shard, Relation rel, const Trigger *trigger,
		       uint64 shardid)
{
	HerdPlace place = herd_trigger_place(trigger);
	TriggerData data;
	MemoryContext old;

	if ((place == HERD_PLACE_SHARD && !trigger->tgdeferrable) || !herd_capture_possible()) {
		(void)call_trigger(shard, rel, trigger, CurrentMemoryContext);
		return;
	}
	if (place == HERD_PLACE_TRY && !trigger->tgdeferrable && !herd_capture_in_process() &&
	    !herd_before_row_by_row() && !is_reference(RelationGetRelid(rel)) &&
	    !list_member_oid(went, trigger->tgfoid)) {
		if (try_trigger(shard, rel, trigger))
			return;
		old = MemoryContextSwitchTo(TopMemoryContext);
		went = list_append_unique_oid(went, trigger->tgfoid);
		MemoryContextSwitchTo(old);
	}
	data = data_of_table(shard, rel, trigger);
	herd_capture_row(&data, shardid);
}

/* The node that plans writes the row: NULL, to skip it here. */
static HeapTuple send_conflict(const TriggerData *shard, Relation rel, const Trigger *trigger,
			       uint64 shardid)
{
	TriggerData data = data_of_table(shard, rel, trigger);

	herd_capture_conflict(&data, shardid, &shard->tg_trigtuple->t_self);
	return NULL;
}

PGDLLEXPORT Datum herd_shard_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *)fcinfo->context;
	const Trigger *trigger;
	HeapTuple result;
	uint64 shardid;
	Oid relid;
	Relation rel;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("citus_internal.shard_trigger is for triggers of shards")));
	result = untouched(data);
	relid = herd_table_of_shard(data->tg_relation, &shardid);
	if (!OidIsValid(relid))
		return PointerGetDatum(result);
	rel = table_open(relid, AccessShareLock);
	trigger = trigger_of_table(rel, data->tg_trigger->tgname);
	/* gone with its function, by CASCADE: the shard has not heard of it */
	if (trigger != NULL && may_fire(data->tg_relation, rel, trigger)) {
		if (TRIGGER_FIRED_AFTER(data->tg_event))
			call_after(data, rel, trigger, shardid);
		else if (herd_before_conflicts(data))
			result = send_conflict(data, rel, trigger, shardid);
		else if (!herd_before_done(data))
			result = call_trigger(data, rel, trigger, CurrentMemoryContext);
	}
	table_close(rel, NoLock);
	return PointerGetDatum(result);
}
