#include "attach/capture.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "attach/farkey.h"
#include "attach/leaving.h"
#include "catalog/metadata.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "conn/adopt.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"

/* In the notice's place for the name of a source file, which users cannot give. */
#define MARK "herd_capture"

/* Rows are sent when they are so many bytes. */
#define BLOCK_BYTES 32768

/* -- statements that wait ---------------------------------------------------------------------- */

struct HerdCaptured {
	dlist_node link; /* in waiting, while linked */
	bool linked;
	Oid relid;
	Tuplestorestate *store;
	TupleTableSlot *slot;
	MemoryContext memory; /* of this, the store and the slot */
	MemoryContextCallback gone;
};

/* The innermost statement first. */
static dlist_head waiting = DLIST_STATIC_INIT(waiting);
static bool nobody_waited;

static void unlink_waiting(void *arg)
{
	HerdCaptured *w = arg;

	if (w->linked)
		dlist_delete(&w->link);
	w->linked = false;
}

void herd_capture_begin(Oid relid)
{
	MemoryContext memory = AllocSetContextCreate(CurTransactionContext, "herd captured rows",
						     ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	ResourceOwner owner = CurrentResourceOwner;
	HerdCaptured *w = palloc0(sizeof(HerdCaptured));
	TupleDesc desc = CreateTemplateTupleDesc(2);

	TupleDescInitEntry(desc, 1, "groupid", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 2, "message", TEXTOID, -1, 0);
	w->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	w->relid = relid;
	w->memory = memory;
	/* it lives as long as its memory, whoever owns resources when the statement begins */
	CurrentResourceOwner = CurTransactionResourceOwner;
	w->store = tuplestore_begin_heap(false, false, work_mem);
	CurrentResourceOwner = owner;
	w->gone.func = unlink_waiting;
	w->gone.arg = w;
	MemoryContextRegisterResetCallback(memory, &w->gone);
	dlist_push_head(&waiting, &w->link);
	w->linked = true;
	MemoryContextSwitchTo(old);
}

HerdCaptured *herd_capture_end(Oid relid)
{
	dlist_iter iter;

	dlist_foreach(iter, &waiting)
	{
		HerdCaptured *w = dlist_container(HerdCaptured, link, iter.cur);

		if (w->relid == relid) {
			unlink_waiting(w);
			return w;
		}
	}
	return NULL;
}

bool herd_capture_next(HerdCaptured *captured, int32 *groupid, char **message)
{
	bool isnull;

	if (!tuplestore_gettupleslot(captured->store, true, false, captured->slot))
		return false;
	*groupid = DatumGetInt32(slot_getattr(captured->slot, 1, &isnull));
	*message = TextDatumGetCString(slot_getattr(captured->slot, 2, &isnull));
	/* a tuple from disk is the caller's memory */
	ExecClearTuple(captured->slot);
	return true;
}

void herd_capture_free(HerdCaptured *captured)
{
	ExecDropSingleTupleTableSlot(captured->slot);
	tuplestore_end(captured->store);
	MemoryContextDelete(captured->memory);
}

/* A message of a table that an outer statement waits for comes to the inner one: replay.c sees. */
static void keep(int32 groupid, const char *data, int len)
{
	HerdCaptured *w;
	Datum values[2];
	bool nulls[2] = { false, false };
	text *message;

	if (dlist_is_empty(&waiting)) {
		nobody_waited = true;
		return;
	}
	w = dlist_container(HerdCaptured, link, dlist_head_node(&waiting));
	message = cstring_to_text_with_len(data, len);
	values[0] = Int32GetDatum(groupid);
	values[1] = PointerGetDatum(message);
	tuplestore_putvalues(w->store, w->slot->tts_tupleDescriptor, values, nulls);
	pfree(message);
}

/* "<shard id> <event> <kind> .." */
static bool is_conflict(const char *message)
{
	const char *p = strchr(message, ' ');

	return p != NULL && strlen(p) > 3 && p[3] == HERD_CAPTURE_CONFLICT;
}

char *herd_capture_end_conflict(Oid relid)
{
	HerdCaptured *captured = herd_capture_end(relid);
	char *found = NULL, *message;
	int32 groupid;

	if (captured == NULL)
		return NULL;
	while (herd_capture_next(captured, &groupid, &message)) {
		if (!is_conflict(message))
			keep(groupid, message, strlen(message));
		else if (found == NULL)
			found = message;
	}
	herd_capture_free(captured);
	return found;
}

bool herd_capture_notice(int32 groupid, const PGresult *res)
{
	const char *file = PQresultErrorField(res, PG_DIAG_SOURCE_FILE);
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (file == NULL || message == NULL || strcmp(file, MARK) != 0)
		return false;
	keep(groupid, message, strlen(message));
	return true;
}

void herd_capture_check(void)
{
	if (!nobody_waited)
		return;
	nobody_waited = false;
	ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			errmsg("could not serialize access due to a trigger that was just made"),
			errhint("Run the statement again.")));
}

/* -- on the shard ------------------------------------------------------------------------------ */

bool herd_capture_in_process(void)
{
	return !dlist_is_empty(&waiting);
}

bool herd_capture_possible(void)
{
	return herd_capture_in_process() ||
	       (herd_session_adopted() && whereToSendOutput == DestRemote);
}

static void set_mode(const char *name, const char *value)
{
	(void)set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
				false);
}

int herd_capture_modes(void)
{
	int level = NewGUCNestLevel();

	if (DateStyle != USE_ISO_DATES)
		set_mode("datestyle", "ISO");
	if (IntervalStyle != INTSTYLE_POSTGRES)
		set_mode("intervalstyle", "postgres");
	if (extra_float_digits < 3)
		set_mode("extra_float_digits", "3");
	set_mode("search_path", "pg_catalog");
	return level;
}

/* Not as ereport does it: its level and its text are for users, and it would go to the log. */
static void send_message(const StringInfoData *message)
{
	StringInfoData out;

	if (herd_capture_in_process()) {
		keep(herd_local_group(), message->data, message->len);
		return;
	}
	pq_beginmessage(&out, 'N');
	pq_sendbyte(&out, PG_DIAG_SEVERITY);
	pq_sendstring(&out, "DEBUG");
	pq_sendbyte(&out, PG_DIAG_SEVERITY_NONLOCALIZED);
	pq_sendstring(&out, "DEBUG");
	pq_sendbyte(&out, PG_DIAG_SQLSTATE);
	pq_sendstring(&out, "00000");
	pq_sendbyte(&out, PG_DIAG_SOURCE_FILE);
	pq_sendstring(&out, MARK);
	pq_sendbyte(&out, PG_DIAG_MESSAGE_PRIMARY);
	/* lengths are those of this encoding, which all nodes have */
	pq_sendbytes(&out, message->data, message->len);
	pq_sendbyte(&out, '\0');
	pq_sendbyte(&out, '\0');
	pq_endmessage(&out);
}

static char event_letter(TriggerEvent event)
{
	return TRIGGER_FIRED_BY_INSERT(event) ? 'I' : TRIGGER_FIRED_BY_UPDATE(event) ? 'U' : 'D';
}

static void start_message(StringInfo out, uint64 shardid, TriggerEvent event, HerdCaptureKind kind,
			  const char *trigger)
{
	resetStringInfo(out);
	appendStringInfo(out, UINT64_FORMAT " %c %c %d:%s", shardid, event_letter(event), kind,
			 (int)strlen(trigger), trigger);
}

static void append_tuple(StringInfo out, TupleDesc desc, HeapTuple tuple)
{
	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool isnull, varlena;
		Datum value;
		Oid output;
		char *shown;

		if (att->attisdropped)
			continue;
		value = heap_getattr(tuple, i + 1, desc, &isnull);
		if (isnull) {
			appendStringInfoString(out, "-:");
			continue;
		}
		getTypeOutputInfo(att->atttypid, &output, &varlena);
		shown = OidOutputFunctionCall(output, value);
		appendStringInfo(out, "%d:", (int)strlen(shown));
		appendStringInfoString(out, shown);
	}
}

static void append_row(StringInfo out, TupleDesc desc, HeapTuple before, HeapTuple after)
{
	appendStringInfoChar(out, before == NULL ? 'n' : after == NULL ? 'o' : 'b');
	if (before != NULL)
		append_tuple(out, desc, before);
	if (after != NULL)
		append_tuple(out, desc, after);
}

void herd_capture_moved(Relation table, uint64 shardid, HeapTuple before, HeapTuple after)
{
	StringInfoData out;
	int level;

	if (!herd_capture_in_process())
		return;
	level = herd_capture_modes();
	initStringInfo(&out);
	start_message(&out, shardid, TRIGGER_EVENT_UPDATE, HERD_CAPTURE_SET, "");
	append_row(&out, RelationGetDescr(table), before, after);
	send_message(&out);
	pfree(out.data);
	AtEOXact_GUC(true, level);
}

static void capture_row(const TriggerData *data, uint64 shardid, HerdCaptureKind kind,
			const char *name)
{
	bool inserted = TRIGGER_FIRED_BY_INSERT(data->tg_event);
	int level = herd_capture_modes();
	StringInfoData out;

	initStringInfo(&out);
	start_message(&out, shardid, data->tg_event, kind, name);
	append_row(&out, RelationGetDescr(data->tg_relation), inserted ? NULL : data->tg_trigtuple,
		   inserted ? data->tg_trigtuple : data->tg_newtuple);
	AtEOXact_GUC(true, level);
	send_message(&out);
	pfree(out.data);
}

void herd_capture_row(const TriggerData *data, uint64 shardid)
{
	capture_row(data, shardid, HERD_CAPTURE_ROW, data->tg_trigger->tgname);
}

void herd_capture_conflict(const TriggerData *data, uint64 shardid, ItemPointer place)
{
	char *name = DatumGetCString(DirectFunctionCall1(tidout, PointerGetDatum(place)));

	capture_row(data, shardid, HERD_CAPTURE_CONFLICT, name);
}

/* -- transition tables of a shard -------------------------------------------------------------- */

typedef struct Source {
	Tuplestorestate *store; /* or NULL */
	TupleTableSlot *slot;
	TupleConversionMap *map; /* or NULL: the shard has the columns of the table */
} Source;

static void open_source(Source *source, Tuplestorestate *store, TupleDesc from, TupleDesc to)
{
	source->store = store;
	if (store == NULL)
		return;
	tuplestore_rescan(store);
	source->slot = MakeSingleTupleTableSlot(from, &TTSOpsMinimalTuple);
	source->map = convert_tuples_by_name(from, to);
}

/* In a context that outlives the row: the slot frees what came from disk when the next one comes.
 */
static bool fetch(Source *source)
{
	return source->store != NULL &&
	       tuplestore_gettupleslot(source->store, true, false, source->slot);
}

static HeapTuple tuple_of(const Source *source)
{
	HeapTuple tuple = ExecCopySlotHeapTuple(source->slot);

	return source->map ? execute_attr_map_tuple(tuple, source->map) : tuple;
}

static bool fires(const Trigger *trigger)
{
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		return trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA ||
		       trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
	return trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
	       trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
}

/* Of several triggers with transition tables for the event, only the first sends the rows. */
static bool is_first(Relation shard, const TriggerData *data)
{
	int16 events = data->tg_trigger->tgtype &
		       (TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE);

	for (int i = 0; i < shard->trigdesc->numtriggers; i++) {
		const Trigger *trigger = &shard->trigdesc->triggers[i];

		if (trigger->tgoid == data->tg_trigger->tgoid)
			return true;
		if (trigger->tgfoid == data->tg_trigger->tgfoid && (trigger->tgtype & events) &&
		    fires(trigger))
			return false;
	}
	return true;
}

static void send_set(const TriggerData *data, Relation table, uint64 shardid)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "herd rows", ALLOCSET_DEFAULT_SIZES);
	TupleDesc from = RelationGetDescr(data->tg_relation), to = RelationGetDescr(table);
	Source before = { 0 }, after = { 0 };
	StringInfoData out;
	int header;

	initStringInfo(&out);
	start_message(&out, shardid, data->tg_event, HERD_CAPTURE_SET, data->tg_trigger->tgname);
	header = out.len;
	open_source(&before, data->tg_oldtable, from, to);
	open_source(&after, data->tg_newtable, from, to);
	for (;;) {
		bool o = fetch(&before), n = fetch(&after);
		MemoryContext old = MemoryContextSwitchTo(memory);

		CHECK_FOR_INTERRUPTS();
		if (o || n)
			append_row(&out, to, o ? tuple_of(&before) : NULL,
				   n ? tuple_of(&after) : NULL);
		MemoryContextSwitchTo(old);
		MemoryContextReset(memory);
		if (out.len > header && (out.len >= BLOCK_BYTES || (!o && !n))) {
			send_message(&out);
			out.data[out.len = header] = '\0';
		}
		if (!o && !n)
			break;
	}
	if (before.slot)
		ExecDropSingleTupleTableSlot(before.slot);
	if (after.slot)
		ExecDropSingleTupleTableSlot(after.slot);
	MemoryContextDelete(memory);
	pfree(out.data);
}

/* Is there a trigger of the table that needs the rows? One of the shard may be left over. */
static bool is_needed(Relation table, const TriggerData *data)
{
	int16 event = TRIGGER_FIRED_BY_INSERT(data->tg_event)   ? TRIGGER_TYPE_INSERT
		      : TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? TRIGGER_TYPE_UPDATE
								: TRIGGER_TYPE_DELETE;

	for (int i = 0; table->trigdesc != NULL && i < table->trigdesc->numtriggers; i++) {
		const Trigger *trigger = &table->trigdesc->triggers[i];

		if ((trigger->tgtype & event) &&
		    (trigger->tgoldtable != NULL || trigger->tgnewtable != NULL ||
		     herd_far_key_trigger(trigger)))
			return true;
	}
	return false;
}

/*
 * For each statement on a shard of a table with transition tables. Who writes a shard by its name
 * fires no statement triggers of the table.
 */
PG_FUNCTION_INFO_V1(herd_shard_transition);
PGDLLEXPORT Datum herd_shard_transition(PG_FUNCTION_ARGS)
{
	const TriggerData *data = (TriggerData *)fcinfo->context;
	uint64 shardid;
	Relation table;
	Oid relid;
	int level;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("citus_internal.shard_transition is for triggers of shards")));
	relid = herd_table_of_shard(data->tg_relation, &shardid);
	if (!OidIsValid(relid) || !herd_capture_possible() || herd_leaving_runs() ||
	    !is_first(data->tg_relation, data))
		PG_RETURN_POINTER(NULL);
	table = table_open(relid, AccessShareLock);
	if (is_needed(table, data)) {
		level = herd_capture_modes();
		send_set(data, table, shardid);
		AtEOXact_GUC(true, level);
	}
	table_close(table, NoLock);
	PG_RETURN_POINTER(NULL);
}
