#include "attach/truncate.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "compat.h"
#include "ddl/local.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Waiting {
	Oid relid;
	char *name;
	char enabled;
} Waiting;

static List *truncated_by(const TruncateStmt *stmt)
{
	List *out = NIL, *more;
	ListCell *lc;

	foreach (lc, stmt->relations) {
		const RangeVar *name = lfirst_node(RangeVar, lc);
		Oid relid = RangeVarGetRelid(name, NoLock, true);

		if (OidIsValid(relid))
			out = list_concat_unique_oid(
				out, name->inh ? find_all_inheritors(relid, NoLock, NULL)
					       : list_make1_oid(relid));
	}
	if (stmt->behavior != DROP_CASCADE)
		return out;
	while ((more = heap_truncate_find_FKs(out)) != NIL)
		out = list_concat(out, more);
	return out;
}

/* Those of the tables that have such triggers; without locks. */
static List *with_triggers(List *relids)
{
	StringInfoData in;
	List *found = NIL, *out = NIL;
	ListCell *lc;

	if (relids == NIL)
		return NIL;
	initStringInfo(&in);
	foreach (lc, relids)
		appendStringInfo(&in, "%s%u", in.len ? ", " : "", lfirst_oid(lc));
	foreach (lc, herd_sql_rows("SELECT tgrelid FROM pg_trigger WHERE tgrelid IN (%s) AND "
				   "NOT tgisinternal AND tgenabled <> 'D' AND tgtype & %d = %d",
				   in.data, TRIGGER_TYPE_TRUNCATE | TRIGGER_TYPE_BEFORE,
				   TRIGGER_TYPE_TRUNCATE))
		found = lappend_oid(found, atooid(((char **)lfirst(lc))[0]));
	foreach (lc, relids)
		if (list_member_oid(found, lfirst_oid(lc)))
			out = lappend_oid(out, lfirst_oid(lc));
	return out;
}

/* Of Waiting: the triggers of one table. */
static List *waiting_of(Oid relid)
{
	Relation rel = relation_open(relid, AccessExclusiveLock);
	List *out = NIL;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++) {
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (!trigger->tgisinternal && trigger->tgenabled != TRIGGER_DISABLED &&
		    TRIGGER_FOR_TRUNCATE(trigger->tgtype) && TRIGGER_FOR_AFTER(trigger->tgtype)) {
			Waiting *w = palloc(sizeof(Waiting));

			w->relid = relid;
			w->name = pstrdup(trigger->tgname);
			w->enabled = trigger->tgenabled;
			out = lappend(out, w);
		}
	}
	relation_close(rel, NoLock);
	return out;
}

static void enable(const Waiting *w, char enabled)
{
	Relation rel = relation_open(w->relid, NoLock);

	herd_enable_trigger(rel, w->name, enabled, AccessExclusiveLock);
	relation_close(rel, NoLock);
	CommandCounterIncrement();
}

List *herd_truncate_begin(const TruncateStmt *stmt)
{
	List *waiting = NIL;
	ListCell *lc;

	foreach (lc, with_triggers(truncated_by(stmt)))
		/* who may not truncate it locks nothing, and gets PostgreSQL's error */
		if (pg_class_aclcheck(lfirst_oid(lc), GetUserId(), ACL_TRUNCATE) == ACLCHECK_OK)
			waiting = list_concat(waiting, waiting_of(lfirst_oid(lc)));
	foreach (lc, waiting)
		enable(lfirst(lc), TRIGGER_DISABLED);
	return waiting;
}

void herd_truncate_restore(List *waiting)
{
	ListCell *lc;

	foreach (lc, waiting)
		enable(lfirst(lc), ((Waiting *)lfirst(lc))->enabled);
}

static List *queue(EState *estate, List *waiting)
{
	List *rels = NIL;
	Oid last = InvalidOid;
	ListCell *lc;

	foreach (lc, waiting) {
		const Waiting *w = lfirst(lc);
		ResultRelInfo *info;

		if (w->relid == last)
			continue;
		last = w->relid;
		info = makeNode(ResultRelInfo);
		rels = lappend(rels, relation_open(last, NoLock));
		InitResultRelInfo(info, llast(rels), 0, NULL, 0);
		estate->es_opened_result_relations =
			lappend(estate->es_opened_result_relations, info);
		ExecASTruncateTriggers(estate, info);
	}
	return rels;
}

void herd_truncate_fire(List *waiting)
{
	EState *estate;
	List *rels;
	ListCell *lc;

	if (waiting == NIL)
		return;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	estate = CreateExecutorState();
	estate->es_snapshot = GetActiveSnapshot();
	AfterTriggerBeginQuery();
	rels = queue(estate, waiting);
	AfterTriggerEndQuery(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	FreeExecutorState(estate);
	foreach (lc, rels)
		relation_close(lfirst(lc), NoLock);
	PopActiveSnapshot();
}
