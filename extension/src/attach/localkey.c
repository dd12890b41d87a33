#include "attach/localkey.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "attach/capture.h"
#include "attach/farkey.h"
#include "catalog/metadata.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "ddl/utility.h"
#include "miscadmin.h"
#include "plan/rights.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static object_access_hook_type next_access;
static List *made; /* constraints of the command that runs, in TopTransactionContext */

/* Of a table that other nodes do not know; those of its partitions follow from its own. */
static bool is_local(Oid constraintid)
{
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraintid));
	Form_pg_constraint con;
	bool local;

	if (!HeapTupleIsValid(tuple))
		return false;
	con = (Form_pg_constraint)GETSTRUCT(tuple);
	local = !OidIsValid(con->conparentid) && herd_table_get(con->conrelid) == NULL;
	ReleaseSysCache(tuple);
	return local;
}

List *herd_local_keys(Oid target)
{
	Relation rel = table_open(target, AccessShareLock);
	List *out = NIL;

	/* in the order in which PostgreSQL would fire the triggers */
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++) {
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgisinternal && OidIsValid(trigger->tgconstraint) &&
		    trigger->tgconstrrelid != target &&
		    !list_member_oid(out, trigger->tgconstraint) && is_local(trigger->tgconstraint))
			out = lappend_oid(out, trigger->tgconstraint);
	}
	table_close(rel, NoLock);
	return out;
}

List *herd_local_key_shape(Oid relid, uint64 shardid)
{
	const HerdTable *table = herd_table_get(relid);
	char *shard;

	if (herd_local_group() != HERD_COORDINATOR_GROUP || table == NULL ||
	    table->kind != HERD_TABLE_REFERENCE || herd_local_keys(relid) == NIL)
		return NIL;
	shard = herd_shape_name(relid, shardid);
	return list_make2(
		psprintf("CREATE OR REPLACE TRIGGER herd_local_key_delete AFTER DELETE ON %s "
			 "REFERENCING OLD TABLE AS herd_old FOR EACH STATEMENT EXECUTE FUNCTION "
			 "citus_internal.local_key_act()",
			 shard),
		psprintf("CREATE OR REPLACE TRIGGER herd_local_key_update AFTER UPDATE ON %s "
			 "REFERENCING OLD TABLE AS herd_old NEW TABLE AS herd_new FOR EACH "
			 "STATEMENT EXECUTE FUNCTION citus_internal.local_key_act()",
			 shard));
}

PG_FUNCTION_INFO_V1(herd_local_key_act);
PGDLLEXPORT Datum herd_local_key_act(PG_FUNCTION_ARGS)
{
	const TriggerData *data = (TriggerData *)fcinfo->context;
	uint64 shardid;
	ListCell *lc;
	Oid relid;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("citus_internal.local_key_act is for triggers of shards")));
	relid = herd_table_of_shard(data->tg_relation, &shardid);
	if (OidIsValid(relid))
		foreach (lc, herd_local_keys(relid))
			herd_far_key_act_on(lfirst_oid(lc), data, data->tg_relation);
	PG_RETURN_POINTER(NULL);
}

/* -- new foreign keys -------------------------------------------------------------------------- */

static void saw_constraint(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	MemoryContext old;

	if (next_access)
		next_access(access, class, object, sub, arg);
	if (access != OAT_POST_CREATE || class != ConstraintRelationId || !IsTransactionState() ||
	    herd_ddl_applying())
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	made = lappend_oid(made, object);
	MemoryContextSwitchTo(old);
}

/* The reference table that the foreign key of a table outside of the metadata refers to, or 0. */
static Oid reference_of(Oid constraintid)
{
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraintid));
	const HerdTable *table = NULL;
	Form_pg_constraint con;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	con = (Form_pg_constraint)GETSTRUCT(tuple);
	if (con->contype == CONSTRAINT_FOREIGN && herd_table_get(con->conrelid) == NULL)
		table = herd_table_get(con->confrelid);
	ReleaseSysCache(tuple);
	return table && table->kind == HERD_TABLE_REFERENCE ? table->relid : InvalidOid;
}

/* The owner of the reference table gives the triggers: he of the new table may only refer to it. */
void herd_local_key_after_command(void)
{
	List *constraints = made;
	ListCell *lc, *ls;
	int context;
	Oid user;

	made = NIL;
	foreach (lc, constraints) {
		Oid relid = reference_of(lfirst_oid(lc));

		if (!OidIsValid(relid))
			continue;
		GetUserIdAndSecContext(&user, &context);
		SetUserIdAndSecContext(herd_relation_owner(relid),
				       context | SECURITY_LOCAL_USERID_CHANGE);
		foreach (ls, herd_utility_local_shards(herd_table_get(relid)))
			herd_ddl_run(NULL, herd_local_key_shape(relid, *(uint64 *)lfirst(ls)));
		SetUserIdAndSecContext(user, context);
	}
	list_free(constraints);
}

static void end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
		made = NIL;
}

void herd_local_key_init(void)
{
	next_access = object_access_hook;
	object_access_hook = saw_constraint;
	RegisterXactCallback(end_of_transaction, NULL);
}
