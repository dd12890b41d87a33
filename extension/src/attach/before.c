#include "attach/before.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "attach/attach.h"
#include "catalog/metadata.h"
#include "catalog/pg_trigger.h"
#include "compat.h"
#include "conn/rights.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"
#include "txn/internal.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

struct HerdBefore {
	Relation rel;
	EState *estate;
	ResultRelInfo *info;
	EPQState epq; /* of no use: the rows are not those of a table here */
};

/* -- which ------------------------------------------------------------------------------------- */

/* UPDATE OF columns. */
static bool is_of(const Trigger *trigger, int16 events, const List *columns)
{
	if (trigger->tgnattr == 0 || (trigger->tgtype & events & ~TRIGGER_TYPE_UPDATE))
		return true;
	for (int i = 0; i < trigger->tgnattr; i++)
		if (list_member_int(columns, trigger->tgattr[i]))
			return true;
	return false;
}

static HerdReach reach_of(Oid relid, int16 events, const List *columns)
{
	const HerdTable *table = herd_table_get(relid);
	HerdReach reach = HERD_REACH_SHARD;
	Relation rel;
	int n;

	if (table == NULL || table->kind == HERD_TABLE_LOCAL)
		return reach;
	rel = table_open(relid, NoLock);
	n = rel->trigdesc != NULL ? rel->trigdesc->numtriggers : 0;
	/* those of a partition fire where rows are routed to it, on the shard */
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		n = 0;
	for (int i = 0; i < n; i++) {
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (!trigger->tgisinternal && trigger->tgenabled != TRIGGER_DISABLED &&
		    TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_BEFORE(trigger->tgtype) &&
		    (trigger->tgtype & events) && is_of(trigger, events, columns))
			reach = Max(reach, herd_function_reaches(trigger->tgfoid, relid));
	}
	table_close(rel, NoLock);
	return reach;
}

HerdReach herd_before_insert_reach(Oid relid)
{
	return reach_of(relid, TRIGGER_TYPE_INSERT, NIL);
}

bool herd_before_any(Oid relid, int16 event)
{
	Relation rel = table_open(relid, NoLock);
	bool found = false;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++) {
		int16 type = rel->trigdesc->triggers[i].tgtype;

		found = found ||
			(TRIGGER_FOR_ROW(type) && TRIGGER_FOR_BEFORE(type) && (type & event));
	}
	table_close(rel, NoLock);
	return found;
}

static int16 event_of(CmdType command)
{
	switch (command) {
	case CMD_INSERT:
		return TRIGGER_TYPE_INSERT;
	case CMD_UPDATE:
		return TRIGGER_TYPE_UPDATE;
	case CMD_DELETE:
		return TRIGGER_TYPE_DELETE;
	default:
		return 0;
	}
}

static List *columns_of(const List *tlist)
{
	List *columns = NIL;
	const ListCell *lc;

	foreach (lc, tlist)
		if (!lfirst_node(TargetEntry, lc)->resjunk)
			columns = lappend_int(columns, lfirst_node(TargetEntry, lc)->resno);
	return columns;
}

static bool upserts(const Query *query)
{
	return query->onConflict != NULL && query->onConflict->action == ONCONFLICT_UPDATE;
}

HerdReach herd_before_reach(const Query *query)
{
	List *columns = query->commandType == CMD_UPDATE ? columns_of(query->targetList) : NIL;
	int16 events = event_of(query->commandType);
	Oid relid;
	ListCell *lc;

	foreach (lc, query->mergeActionList) {
		const MergeAction *action = lfirst(lc);

		events |= event_of(action->commandType);
		if (action->commandType == CMD_UPDATE)
			columns = list_concat(columns, columns_of(action->targetList));
	}
	if (upserts(query)) {
		events |= TRIGGER_TYPE_UPDATE;
		columns = columns_of(query->onConflict->onConflictSet);
	}
	if (query->resultRelation == 0 || events == 0)
		return HERD_REACH_SHARD;
	relid = rt_fetch(query->resultRelation, query->rtable)->relid;
	return reach_of(relid, events, columns);
}

/* -- firing ------------------------------------------------------------------------------------ */

HerdBefore *herd_before_begin(Oid relid, const List *columns)
{
	HerdBefore *before = palloc0(sizeof(HerdBefore));
	EState *estate = CreateExecutorState();
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);

	before->estate = estate;
	before->rel = table_open(relid, NoLock);
	before->info = makeNode(ResultRelInfo);
	herd_fire_set_target(estate, before->rel, columns);
	InitResultRelInfo(before->info, before->rel, 1, NULL, 0);
	estate->es_opened_result_relations =
		lappend(estate->es_opened_result_relations, before->info);
	MemoryContextSwitchTo(old);
	return before;
}

static bool has(const HerdBefore *before, int16 event)
{
	const TriggerDesc *desc = before->info->ri_TrigDesc;

	return desc != NULL && (event == TRIGGER_TYPE_INSERT   ? desc->trig_insert_before_row
				: event == TRIGGER_TYPE_UPDATE ? desc->trig_update_before_row
							       : desc->trig_delete_before_row);
}

/* The row outlives what the triggers need for it. */
static bool done(HerdBefore *before, TupleTableSlot *row, bool keep)
{
	if (keep && row != NULL)
		ExecMaterializeSlot(row);
	ResetPerTupleExprContext(before->estate);
	return keep;
}

bool herd_before_insert(HerdBefore *before, TupleTableSlot *row)
{
	before->estate->es_snapshot = GetActiveSnapshot();
	if (!has(before, TRIGGER_TYPE_INSERT))
		return true;
	return done(before, row, ExecBRInsertTriggers(before->estate, before->info, row));
}

bool herd_before_update(HerdBefore *before, HeapTuple old, TupleTableSlot *row)
{
	before->estate->es_snapshot = GetActiveSnapshot();
	if (!has(before, TRIGGER_TYPE_UPDATE))
		return true;
	return done(before, row,
		    herd_exec_before_update(before->estate, &before->epq, before->info, old, row));
}

bool herd_before_delete(HerdBefore *before, HeapTuple old)
{
	before->estate->es_snapshot = GetActiveSnapshot();
	if (!has(before, TRIGGER_TYPE_DELETE))
		return true;
	return done(before, NULL,
		    herd_exec_before_delete(before->estate, &before->epq, before->info, old));
}

void herd_before_end(HerdBefore *before)
{
	ExecResetTupleTable(before->estate->es_tupleTable, false);
	ExecCloseResultRelations(before->estate);
	FreeExecutorState(before->estate);
	table_close(before->rel, NoLock);
	pfree(before);
}

/* -- on the shard ------------------------------------------------------------------------------ */

bool herd_before_done(const TriggerData *data)
{
	const EState *estate = herd_txn_running();
	CmdType command = TRIGGER_FIRED_BY_INSERT(data->tg_event)   ? CMD_INSERT
			  : TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? CMD_UPDATE
								    : CMD_DELETE;

	return estate != NULL &&
	       (estate->es_plannedstmt->commandType == command ||
		estate->es_plannedstmt->commandType == CMD_MERGE) &&
	       herd_rights_part(estate->es_sourceText) != HERD_ROW_WHOLE;
}

bool herd_before_conflicts(const TriggerData *data)
{
	const EState *estate = herd_txn_running();

	return estate != NULL && TRIGGER_FIRED_BY_UPDATE(data->tg_event) &&
	       estate->es_plannedstmt->commandType == CMD_INSERT &&
	       herd_rights_part(estate->es_sourceText) == HERD_ROW_FIRED;
}

bool herd_before_row_by_row(void)
{
	const EState *estate = herd_txn_running();

	return estate != NULL && herd_rights_part(estate->es_sourceText) != HERD_ROW_WHOLE;
}
