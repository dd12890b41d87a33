#include "attach/farkey.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "attach/attach.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "compat.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "ddl/shape.h"
#include "ddl/utility.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* -- which they are ---------------------------------------------------------------------------- */

static int position_of(HeapTuple con, AttrNumber array, AttrNumber column)
{
	bool isnull;
	Datum value = SysCacheGetAttr(CONSTROID, con, array, &isnull);
	Datum *elems;
	int n, found = -1;

	if (isnull)
		return -1;
	deconstruct_array(DatumGetArrayTypeP(value), INT2OID, sizeof(int16), true, TYPALIGN_SHORT,
			  &elems, NULL, &n);
	for (int i = 0; i < n && found < 0; i++)
		if (DatumGetInt16(elems[i]) == column)
			found = i;
	return found;
}

static bool changes_holder(const FormData_pg_constraint *con)
{
	return con->confdeltype == FKCONSTR_ACTION_SETNULL ||
	       con->confdeltype == FKCONSTR_ACTION_SETDEFAULT ||
	       con->confupdtype == FKCONSTR_ACTION_SETNULL ||
	       con->confupdtype == FKCONSTR_ACTION_SETDEFAULT ||
	       con->confupdtype == FKCONSTR_ACTION_CASCADE;
}

const char *herd_far_key_why(HeapTuple constraint, const HerdKeyHolder *holder)
{
	const FormData_pg_constraint *con = (Form_pg_constraint)GETSTRUCT(constraint);
	bool itself = con->confrelid == con->conrelid;
	const HerdTable *target = itself ? NULL : herd_table_get(con->confrelid);
	int position;

	if (target && target->kind == HERD_TABLE_REFERENCE)
		return NULL;
	if (target && holder->kind == HERD_TABLE_REFERENCE)
		return "A reference table refers to a table that is not one.";
	if (target && target->colocationid != holder->colocationid)
		return "The tables are not colocated.";
	if (holder->kind != HERD_TABLE_HASH)
		return NULL;
	position = position_of(constraint, Anum_pg_constraint_conkey, holder->keyattno);
	if (position < 0 || position != position_of(constraint, Anum_pg_constraint_confkey,
						    itself ? holder->keyattno : target->keyattno))
		return "It does not have the distribution columns of both tables at the same "
		       "position.";
	if (changes_holder(con))
		return "SET NULL, SET DEFAULT and ON UPDATE CASCADE would change the "
		       "distribution column.";
	return NULL;
}

const char *herd_far_key_refusal(HeapTuple constraint)
{
#if PG_VERSION_NUM >= 180000
	if (((Form_pg_constraint)GETSTRUCT(constraint))->conperiod)
		return "A foreign key between rows of different nodes cannot have a PERIOD.";
#endif
	return NULL;
}

bool herd_far_key_is(Oid constraintid)
{
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraintid));
	const HerdTable *table;
	Form_pg_constraint con;
	bool far = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	con = (Form_pg_constraint)GETSTRUCT(tuple);
	table = con->contype == CONSTRAINT_FOREIGN ? herd_table_get(con->conrelid) : NULL;
	if (table != NULL && herd_table_get(con->confrelid) != NULL) {
		HerdKeyHolder holder = { table->kind, table->keyattno, table->colocationid };

		far = herd_far_key_why(tuple, &holder) != NULL;
	}
	ReleaseSysCache(tuple);
	return far;
}

/* -- their triggers ---------------------------------------------------------------------------- */

/* Asks for rows that are referred to, when rows that refer are new. */
static bool checks(Oid function)
{
	return function == F_RI_FKEY_CHECK_INS || function == F_RI_FKEY_CHECK_UPD;
}

static bool acts(Oid function)
{
	switch (function) {
	case F_RI_FKEY_NOACTION_DEL:
	case F_RI_FKEY_RESTRICT_DEL:
	case F_RI_FKEY_CASCADE_DEL:
	case F_RI_FKEY_SETNULL_DEL:
	case F_RI_FKEY_SETDEFAULT_DEL:
	case F_RI_FKEY_NOACTION_UPD:
	case F_RI_FKEY_RESTRICT_UPD:
	case F_RI_FKEY_CASCADE_UPD:
	case F_RI_FKEY_SETNULL_UPD:
	case F_RI_FKEY_SETDEFAULT_UPD:
		return true;
	default:
		return false;
	}
}

bool herd_far_key_any(const Trigger *trigger)
{
	return trigger->tgisinternal && trigger->tgenabled != TRIGGER_DISABLED &&
	       (checks(trigger->tgfoid) || acts(trigger->tgfoid));
}

bool herd_far_key_trigger(const Trigger *trigger)
{
	return herd_far_key_any(trigger) && herd_far_key_is(trigger->tgconstraint);
}

static Oid function_named(char *name)
{
	return LookupFuncName(list_make2(makeString("citus_internal"), makeString(name)), 0, NULL,
			      false);
}

void herd_far_key_prepare(TriggerDesc *desc, bool all)
{
	for (int i = 0; desc != NULL && i < desc->numtriggers; i++) {
		Trigger *trigger = &desc->triggers[i];

		if (all ? !herd_far_key_any(trigger) : !herd_far_key_trigger(trigger))
			continue;
		trigger->tgfoid =
			function_named(checks(trigger->tgfoid) ? "far_key_check" : "far_key_act");
		trigger->tgtype &= ~TRIGGER_TYPE_ROW;
		trigger->tgdeferrable = trigger->tginitdeferred = false;
		if (TRIGGER_FOR_INSERT(trigger->tgtype)) {
			desc->trig_insert_after_statement = desc->trig_insert_new_table = true;
			trigger->tgnewtable = "herd_new";
		} else if (TRIGGER_FOR_DELETE(trigger->tgtype)) {
			desc->trig_delete_after_statement = desc->trig_delete_old_table = true;
			trigger->tgoldtable = "herd_old";
		} else {
			desc->trig_update_after_statement = desc->trig_update_old_table =
				desc->trig_update_new_table = true;
			trigger->tgoldtable = "herd_old";
			trigger->tgnewtable = "herd_new";
		}
	}
}

/* -- what shards have -------------------------------------------------------------------------- */

/* The events of which rows must come back. */
static int16 events_of(Oid relid)
{
	Relation rel = table_open(relid, AccessShareLock);
	int16 events = 0;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++) {
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		/* one that is disabled may be enabled */
		if (trigger->tgisinternal && (checks(trigger->tgfoid) || acts(trigger->tgfoid)) &&
		    herd_far_key_is(trigger->tgconstraint))
			events |= trigger->tgtype &
				  (TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE);
	}
	table_close(rel, NoLock);
	return events;
}

List *herd_far_key_shape(Oid relid, uint64 shardid, bool stale)
{
	static const struct {
		int16 event;
		const char *name, *when, *tables;
	} all[] = {
		{ TRIGGER_TYPE_INSERT, "herd_far_key_insert", "INSERT", "NEW TABLE AS herd_new" },
		{ TRIGGER_TYPE_UPDATE, "herd_far_key_update", "UPDATE",
		  "OLD TABLE AS herd_old NEW TABLE AS herd_new" },
		{ TRIGGER_TYPE_DELETE, "herd_far_key_delete", "DELETE", "OLD TABLE AS herd_old" },
	};
	int16 events = events_of(relid);
	char *shard = herd_shape_name(relid, shardid);
	List *out = NIL;

	for (int i = 0; i < lengthof(all); i++) {
		if (events & all[i].event)
			out = lappend(out,
				      psprintf("CREATE OR REPLACE TRIGGER %s AFTER %s ON %s "
					       "REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION "
					       "citus_internal.shard_transition()",
					       all[i].name, all[i].when, shard, all[i].tables));
		else if (stale)
			out = lappend(out, psprintf("DROP TRIGGER IF EXISTS %s ON %s", all[i].name,
						    shard));
	}
	return out;
}

List *herd_far_key_tables(List *constraints)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, constraints) {
		HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_constraint con;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for constraint %u", lfirst_oid(lc));
		con = (Form_pg_constraint)GETSTRUCT(tuple);
		out = list_concat_unique_oid(out, herd_partition_tree(con->conrelid));
		out = list_concat_unique_oid(out, herd_partition_tree(con->confrelid));
		ReleaseSysCache(tuple);
	}
	return out;
}

static List *shapes_of(List *tables, bool stale)
{
	List *out = NIL;
	ListCell *lc, *ls;

	foreach (lc, tables) {
		const HerdTable *table = herd_table_get(lfirst_oid(lc));

		if (table == NULL)
			continue;
		foreach (ls, herd_utility_local_shards(table))
			out = list_concat(out, herd_far_key_shape(table->relid,
								  *(uint64 *)lfirst(ls), stale));
	}
	return out;
}

List *herd_far_key_shapes(List *tables)
{
	return shapes_of(tables, true);
}

List *herd_far_key_shapes_around(Oid relid)
{
	List *tables = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT DISTINCT CASE conrelid WHEN %u THEN confrelid ELSE "
				   "conrelid END::oid FROM pg_constraint WHERE contype = 'f' AND "
				   "conrelid <> confrelid AND %u IN (conrelid, confrelid)",
				   relid, relid))
		tables = lappend_oid(tables, atooid(((char **)lfirst(lc))[0]));
	return shapes_of(tables, false);
}
