#include "attach/replay.h"

#include "access/table.h"
#include "attach/attach.h"
#include "attach/captured_row.h"
#include "attach/farkey.h"
#include "attach/trigger_later.h"
#include "catalog/metadata.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A table with the triggers that its rows are for. */
typedef struct Target {
	Relation rel;
	RelationData as_foreign; /* rel, where rows are queued */
	FormData_pg_class as_foreign_class;
	ResultRelInfo *info;
	ResultRelInfo *sets; /* for rows of transition tables, or NULL */
	List *savers;        /* of Saver: for rows of one trigger */
	TransitionCaptureState *tables;
	int16 came;  /* events of which sets came */
	int32 group; /* of a reference table: the node whose rows count */
	HerdRowReader *reader;
	TupleTableSlot *slot; /* of new rows */
} Target;

typedef struct Saver {
	char *name;
	ResultRelInfo *info;
} Saver;

struct HerdReplay {
	EState *estate;
	List *targets; /* the first is the statement's */
	MemoryContext memory;
	MemoryContext row; /* of one message */
};

/* -- the tables -------------------------------------------------------------------------------- */

static Target *add_target(HerdReplay *replay, ResultRelInfo *info, bool moves)
{
	MemoryContext old = MemoryContextSwitchTo(replay->memory);
	Target *t = palloc0(sizeof(Target));
	TupleDesc desc = RelationGetDescr(info->ri_RelationDesc);

	herd_far_key_prepare(info->ri_TrigDesc, moves);
	t->rel = info->ri_RelationDesc;
	t->info = info;
	t->group = HERD_INVALID_GROUP;
	t->reader = herd_row_reader(t->rel);
	t->slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	t->tables =
		MakeTransitionCaptureState(info->ri_TrigDesc, RelationGetRelid(t->rel), CMD_MERGE);
	replay->targets = lappend(replay->targets, t);
	MemoryContextSwitchTo(replay->estate->es_query_cxt);
	replay->estate->es_opened_result_relations =
		lappend(replay->estate->es_opened_result_relations, info);
	MemoryContextSwitchTo(old);
	return t;
}

static Target *target_of(HerdReplay *replay, Oid relid)
{
	ResultRelInfo *info;
	MemoryContext old;
	ListCell *lc;

	foreach (lc, replay->targets)
		if (RelationGetRelid(((Target *)lfirst(lc))->rel) == relid)
			return lfirst(lc);
	old = MemoryContextSwitchTo(replay->estate->es_query_cxt);
	info = makeNode(ResultRelInfo);
	InitResultRelInfo(info, table_open(relid, RowExclusiveLock), 0, NULL, 0);
	MemoryContextSwitchTo(old);
	return add_target(replay, info, false);
}

/* Rows of a foreign table are kept with the events; of any other they would be looked up. */
static void make_foreign(Target *t)
{
	if (t->info->ri_RelationDesc != t->rel)
		return;
	t->as_foreign = *t->rel;
	t->as_foreign_class = *t->rel->rd_rel;
	t->as_foreign_class.relkind = RELKIND_FOREIGN_TABLE;
	t->as_foreign.rd_rel = &t->as_foreign_class;
	t->info->ri_RelationDesc = &t->as_foreign;
}

/*
 * The target with no row triggers but those with transition tables, or, with a name, but that one:
 * its conditions have been asked on the shard.
 */
static ResultRelInfo *make_saver(HerdReplay *replay, Target *t, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(replay->memory);
	const TriggerDesc *all = t->info->ri_TrigDesc;
	TriggerDesc *desc = palloc0(sizeof(TriggerDesc));
	ResultRelInfo *info = makeNode(ResultRelInfo);
	int n = all ? all->numtriggers : 0;

	desc->triggers = palloc0(Max(n, 1) * sizeof(Trigger));
	for (int i = 0; i < n; i++) {
		const Trigger *from = &all->triggers[i];
		Trigger *trigger = &desc->triggers[desc->numtriggers];

		if (from->tgisinternal || !TRIGGER_FOR_ROW(from->tgtype) ||
		    !TRIGGER_FOR_AFTER(from->tgtype) ||
		    (name != NULL ? strcmp(from->tgname, name) != 0
				  : from->tgoldtable == NULL && from->tgnewtable == NULL))
			continue;
		*trigger = *from;
		/* it would have waited before it came here: attach/trigger_later.h */
		trigger->tgdeferrable = trigger->tginitdeferred = false;
		if (name != NULL) {
			trigger->tgqual = NULL;
			trigger->tgnattr = 0;
		}
		desc->numtriggers++;
		desc->trig_insert_after_row |= TRIGGER_FOR_INSERT(from->tgtype);
		desc->trig_update_after_row |= TRIGGER_FOR_UPDATE(from->tgtype);
		desc->trig_delete_after_row |= TRIGGER_FOR_DELETE(from->tgtype);
	}
	if (desc->numtriggers > 0)
		make_foreign(t);
	*info = *t->info;
	info->ri_TrigDesc = desc;
	info->ri_TrigWhenExprs = palloc0(Max(n, 1) * sizeof(ExprState *));
	info->ri_TrigOldSlot = info->ri_TrigNewSlot = NULL;
	MemoryContextSwitchTo(old);
	return info;
}

static ResultRelInfo *saver_of(HerdReplay *replay, Target *t, HerdCaptureKind kind,
			       const char *name)
{
	MemoryContext old;
	ListCell *lc;
	Saver *saver;

	if (kind == HERD_CAPTURE_SET) {
		if (t->sets == NULL)
			t->sets = make_saver(replay, t, NULL);
		return t->sets;
	}
	foreach (lc, t->savers)
		if (strcmp(((Saver *)lfirst(lc))->name, name) == 0)
			return ((Saver *)lfirst(lc))->info;
	old = MemoryContextSwitchTo(replay->memory);
	saver = palloc0(sizeof(Saver));
	saver->name = pstrdup(name);
	saver->info = make_saver(replay, t, name);
	t->savers = lappend(t->savers, saver);
	MemoryContextSwitchTo(old);
	return saver->info;
}

/* -- messages ---------------------------------------------------------------------------------- */

static void save_row(HerdReplay *replay, Target *t, ResultRelInfo *info, bool keeps, char event,
		     HeapTuple before, HeapTuple after)
{
	TransitionCaptureState *tables = keeps ? t->tables : NULL;
	TupleTableSlot *slot = after ? t->slot : NULL;

	if (after != NULL)
		ExecForceStoreHeapTuple(after, slot, false);
	if (event == 'I' && after != NULL)
		ExecARInsertTriggers(replay->estate, info, slot, NIL, tables);
	else if (event == 'D' && before != NULL)
		ExecARDeleteTriggers(replay->estate, info, NULL, before, tables, false);
	else if (event == 'U')
		ExecARUpdateTriggers(replay->estate, info, NULL, NULL, NULL, before, slot, NIL,
				     tables, false);
	else
		herd_message_malformed();
	ExecClearTuple(t->slot);
}

static int16 event_bit(char event)
{
	return event == 'I'   ? TRIGGER_TYPE_INSERT
	       : event == 'U' ? TRIGGER_TYPE_UPDATE
			      : TRIGGER_TYPE_DELETE;
}

/* The row is for a trigger that fires later. */
static bool waits(const Target *t, const char *name, char event, HeapTuple before, HeapTuple after)
{
	const TriggerDesc *desc = t->info->ri_TrigDesc;

	for (int i = 0; desc != NULL && name != NULL && i < desc->numtriggers; i++)
		if (!desc->triggers[i].tgisinternal && strcmp(desc->triggers[i].tgname, name) == 0)
			return herd_trigger_keep(t->rel, &desc->triggers[i], event, before, after);
	return false;
}

static void replay_message(HerdReplay *replay, int32 groupid, const char *p)
{
	uint64 shardid = herd_message_number(&p, ' ');
	const HerdTable *table;
	ResultRelInfo *info;
	char event, kind, *name;
	Target *t;
	int index;

	if (!herd_shard_find(shardid, &table, &index))
		herd_message_malformed();
	t = target_of(replay, table->relid);
	if (table->kind == HERD_TABLE_REFERENCE) {
		if (t->group == HERD_INVALID_GROUP)
			t->group = groupid;
		if (t->group != groupid)
			return;
	}
	event = p[0];
	kind = event && p[1] ? p[2] : '\0';
	if (kind == '\0' || p[3] != ' ')
		herd_message_malformed();
	p += 4;
	name = herd_message_text(&p);
	info = saver_of(replay, t, kind, name);
	if (kind == HERD_CAPTURE_SET)
		t->came |= event_bit(event);
	while (*p) {
		char which = *p++;
		HeapTuple before = NULL, after = NULL;

		if (which != 'n')
			before = herd_row_read(t->reader, &p);
		if (which != 'o')
			after = herd_row_read(t->reader, &p);
		if (kind == HERD_CAPTURE_SET || !waits(t, name, event, before, after))
			save_row(replay, t, info, kind == HERD_CAPTURE_SET, event, before, after);
	}
}

/* -- the whole --------------------------------------------------------------------------------- */

HerdReplay *herd_replay_begin(EState *estate, ResultRelInfo *info, bool moves)
{
	MemoryContext memory =
		AllocSetContextCreate(estate->es_query_cxt, "herd replay", ALLOCSET_DEFAULT_SIZES);
	HerdReplay *replay = MemoryContextAllocZero(memory, sizeof(HerdReplay));

	replay->estate = estate;
	replay->memory = memory;
	replay->row = AllocSetContextCreate(memory, "herd replayed row", ALLOCSET_DEFAULT_SIZES);
	(void)add_target(replay, info, moves);
	return replay;
}

TransitionCaptureState *herd_replay_tables(HerdReplay *replay)
{
	return ((Target *)linitial(replay->targets))->tables;
}

void herd_replay_rows(HerdReplay *replay, HerdCaptured *captured)
{
	int level = herd_capture_modes();

	for (;;) {
		MemoryContext old = MemoryContextSwitchTo(replay->row);
		int32 groupid;
		char *message;
		bool more = herd_capture_next(captured, &groupid, &message);

		CHECK_FOR_INTERRUPTS();
		if (more)
			replay_message(replay, groupid, message);
		MemoryContextSwitchTo(old);
		MemoryContextReset(replay->row);
		if (!more)
			break;
	}
	AtEOXact_GUC(true, level);
	herd_capture_free(captured);
}

void herd_replay_others(HerdReplay *replay)
{
	ListCell *lc;

	for_each_from(lc, replay->targets, 1)
	{
		Target *t = lfirst(lc);

		if (t->came & TRIGGER_TYPE_DELETE)
			ExecASDeleteTriggers(replay->estate, t->info, t->tables);
		if (t->came & TRIGGER_TYPE_UPDATE)
			ExecASUpdateTriggers(replay->estate, t->info, t->tables);
		if (t->came & TRIGGER_TYPE_INSERT)
			ExecASInsertTriggers(replay->estate, t->info, t->tables);
	}
}

void herd_replay_end(HerdReplay *replay)
{
	ListCell *lc;

	foreach (lc, replay->targets) {
		Target *t = lfirst(lc);

		ExecDropSingleTupleTableSlot(t->slot);
		t->info->ri_RelationDesc = t->rel;
		if (foreach_current_index(lc) > 0)
			table_close(t->rel, NoLock);
	}
}
