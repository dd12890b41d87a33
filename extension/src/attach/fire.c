/*
 * Triggers for each statement: fired by the node that plans it, before and after the shards work.
 */
#include "attach/attach.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

bool herd_attach_has_code(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	bool found = rel->rd_rel->relrowsecurity;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		found = found || !rel->trigdesc->triggers[i].tgisinternal;
	table_close(rel, NoLock);
	return found;
}

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

static bool has_statement_triggers(const TriggerDesc *desc, const HerdFire *fire)
{
	if (desc == NULL)
		return false;
	switch (fire->command) {
	case CMD_INSERT:
		return desc->trig_insert_before_statement || desc->trig_insert_after_statement ||
		       (fire->upserts &&
			(desc->trig_update_before_statement || desc->trig_update_after_statement));
	case CMD_UPDATE:
		return desc->trig_update_before_statement || desc->trig_update_after_statement;
	case CMD_DELETE:
		return desc->trig_delete_before_statement || desc->trig_delete_after_statement;
	default:
		return false;
	}
}

bool herd_fire_wanted(const HerdFire *fire)
{
	Relation rel;
	bool wanted;

	if (!OidIsValid(fire->relid))
		return false;
	rel = table_open(fire->relid, NoLock);
	wanted = has_statement_triggers(rel->trigdesc, fire);
	table_close(rel, NoLock);
	return wanted;
}

static void fire_one(EState *estate, ResultRelInfo *target, CmdType command, bool before)
{
	switch (command) {
	case CMD_INSERT:
		if (before)
			ExecBSInsertTriggers(estate, target);
		else
			ExecASInsertTriggers(estate, target, NULL);
		break;
	case CMD_UPDATE:
		if (before)
			ExecBSUpdateTriggers(estate, target);
		else
			ExecASUpdateTriggers(estate, target, NULL);
		break;
	default:
		if (before)
			ExecBSDeleteTriggers(estate, target);
		else
			ExecASDeleteTriggers(estate, target, NULL);
		break;
	}
}

/* A range table with the target alone: triggers OF columns look there for what is set. */
static void set_target(EState *estate, const HerdFire *fire, Relation rel)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	Bitmapset *columns = NULL;
	ListCell *lc;

	foreach (lc, fire->columns)
		columns = bms_add_member(columns,
					 lfirst_int(lc) - FirstLowInvalidHeapAttributeNumber);
	rte->rtekind = RTE_RELATION;
	rte->relid = fire->relid;
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	{
		RTEPermissionInfo *perms = makeNode(RTEPermissionInfo);

		perms->relid = fire->relid;
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
	Relation rel = table_open(fire->relid, NoLock);
	ResultRelInfo *target = makeNode(ResultRelInfo);

	estate->es_snapshot = GetActiveSnapshot();
	set_target(estate, fire, rel);
	InitResultRelInfo(target, rel, 1, NULL, 0);
	AfterTriggerBeginQuery();
	fire_one(estate, target, fire->command, before);
	if (fire->upserts)
		fire_one(estate, target, CMD_UPDATE, before);
	AfterTriggerEndQuery(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	FreeExecutorState(estate);
	table_close(rel, NoLock);
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
