#include "plan/conflict.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "attach/attach.h"
#include "attach/capture.h"
#include "attach/captured_row.h"
#include "catalog/metadata.h"
#include "compat.h"
#include "conn/rights.h"
#include "deparse/code.h"
#include "deparse/deparse.h"
#include "deparse/rowid.h"
#include "plan/rekey.h"
#include "plan/remote.h"
#include "plan/rowwise.h"

struct HerdConflict {
	const Query *insert;
	HerdBefore *before;
	List *relids, *roles;
	Relation rel;
	List *sets;        /* of int: columns that the statement sets */
	HerdRowwise parts; /* of a reference table: its keys */
	HerdRowReader *reader;
	TupleTableSlot *row; /* as it is to be */
};

/* What came from a shard. */
typedef struct Found {
	const HerdTable *table;
	int shard;
	ItemPointer place;
	HeapTuple old, new;
} Found;

static bool updates(const Query *insert)
{
	return insert->onConflict != NULL && insert->onConflict->action == ONCONFLICT_UPDATE;
}

List *herd_conflict_columns(const Query *insert)
{
	Oid relid = rt_fetch(insert->resultRelation, insert->rtable)->relid;
	List *columns = NIL;
	ListCell *lc;

	foreach (lc, updates(insert) ? insert->onConflict->onConflictSet : NIL) {
		const TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk && get_attgenerated(relid, tle->resno) == '\0')
			columns = lappend_int(columns, tle->resno);
	}
	return columns;
}

/* Its copies have the row in different places. */
static void take_keys(HerdConflict *conflict)
{
	TupleDesc desc = RelationGetDescr(conflict->rel);
	HerdRowwise *parts = &conflict->parts;

	parts->relid = RelationGetRelid(conflict->rel);
	parts->select = makeNode(Query);
	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Var *var;

		if (att->attisdropped)
			continue;
#if PG_VERSION_NUM >= 180000
		/* it is computed when it is read: the row of a trigger does not have it */
		if (att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
			continue;
#endif
		parts->atts = lappend_int(parts->atts, att->attnum);
		var = makeVar(1, att->attnum, att->atttypid, att->atttypmod, att->attcollation, 0);
		parts->select->targetList = lappend(
			parts->select->targetList,
			makeTargetEntry((Expr *)var, list_length(parts->atts), NULL, false));
	}
	herd_rowwise_take_keys(parts, false);
}

HerdConflict *herd_conflict_begin(const Query *insert, HerdBefore *before, List *relids,
				  List *roles)
{
	Oid relid = rt_fetch(insert->resultRelation, insert->rtable)->relid;
	HerdConflict *conflict;

	if (!updates(insert) || !herd_before_any(relid, TRIGGER_TYPE_UPDATE))
		return NULL;
	conflict = palloc0(sizeof(HerdConflict));
	conflict->insert = insert;
	conflict->before = before;
	conflict->relids = relids;
	conflict->roles = roles;
	conflict->rel = table_open(relid, NoLock);
	conflict->sets = herd_conflict_columns(insert);
	conflict->reader = herd_row_reader(conflict->rel);
	conflict->row = MakeSingleTupleTableSlot(
		CreateTupleDescCopyConstr(RelationGetDescr(conflict->rel)), &TTSOpsVirtual);
	if (herd_table_get(relid)->kind == HERD_TABLE_REFERENCE)
		take_keys(conflict);
	return conflict;
}

void herd_conflict_send(HerdConflict *conflict)
{
	herd_capture_begin(RelationGetRelid(conflict->rel));
}

/* -- what came --------------------------------------------------------------------------------- */

static void read_message(HerdConflict *conflict, const char *p, Found *found)
{
	uint64 shardid = herd_message_number(&p, ' ');
	int level = herd_capture_modes();
	char *place;

	if (!herd_shard_find(shardid, &found->table, &found->shard) ||
	    found->table->relid != RelationGetRelid(conflict->rel) || strlen(p) < 4)
		herd_message_malformed();
	/* event and kind: an update, of a conflict */
	p += 4;
	place = herd_message_text(&p);
	if (place == NULL || *p++ != 'b')
		herd_message_malformed();
	found->place = herd_row_id_at(
		found->table, found->shard,
		(ItemPointer)DatumGetPointer(DirectFunctionCall1(tidin, CStringGetDatum(place))));
	found->old = herd_row_read(conflict->reader, &p);
	found->new = herd_row_read(conflict->reader, &p);
	AtEOXact_GUC(true, level);
}

static void store_row(TupleTableSlot *row, HeapTuple tuple)
{
	ExecClearTuple(row);
	heap_deform_tuple(tuple, row->tts_tupleDescriptor, row->tts_values, row->tts_isnull);
	ExecStoreVirtualTuple(row);
}

/* -- writing ----------------------------------------------------------------------------------- */

/* What the statement sets, and what triggers have set besides. */
static List *columns_to_set(const HerdConflict *conflict, HeapTuple old)
{
	TupleDesc desc = RelationGetDescr(conflict->rel);
	List *columns = list_copy(conflict->sets);

	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool isnull;
		Datum value;

		if (att->attisdropped || att->attgenerated || list_member_int(columns, i + 1))
			continue;
		value = heap_getattr(old, i + 1, desc, &isnull);
		if (isnull != conflict->row->tts_isnull[i] ||
		    (!isnull && !datum_image_eq(value, conflict->row->tts_values[i], att->attbyval,
						att->attlen)))
			columns = lappend_int(columns, i + 1);
	}
	return columns;
}

static void check_key(const HerdConflict *conflict, const Found *found)
{
	const HerdTable *table = found->table;
	int key = table->keyattno - 1;

	if (table->kind != HERD_TABLE_HASH)
		return;
	if (conflict->row->tts_isnull[key]) {
		/* the shard refuses it */
		if (TupleDescAttr(RelationGetDescr(conflict->rel), key)->attnotnull)
			return;
		herd_null_key_error(table);
	}
	if (herd_table_shard_index(table, herd_table_hash(table, conflict->row->tts_values[key])) !=
	    found->shard)
		herd_rekey_refuse(table, "A BEFORE trigger changes it in ON CONFLICT DO UPDATE.");
}

static Const *value_const(TupleDesc desc, int i, Datum value, bool isnull)
{
	Form_pg_attribute att = TupleDescAttr(desc, i);

	if (!isnull && att->attlen == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	return makeConst(att->atttypid, -1, att->attcollation, att->attlen,
			 isnull ? (Datum)0 : value, isnull, att->attbyval);
}

static List *values_of(const HerdConflict *conflict, const Found *found, const List *columns)
{
	TupleDesc desc = RelationGetDescr(conflict->rel);
	List *values = list_make1(makeConst(TIDOID, -1, InvalidOid, sizeof(ItemPointerData),
					    PointerGetDatum(found->place), false, false));
	const ListCell *lc;

	foreach (lc, conflict->parts.keys) {
		bool isnull;
		Datum value = heap_getattr(found->old, lfirst_int(lc), desc, &isnull);

		values = lappend(values, value_const(desc, lfirst_int(lc) - 1, value, isnull));
	}
	foreach (lc, columns) {
		int i = lfirst_int(lc) - 1;

		values = lappend(values, value_const(desc, i, conflict->row->tts_values[i],
						     conflict->row->tts_isnull[i]));
	}
	return values;
}

static HerdJob *job_of(const HerdConflict *conflict, const Found *found)
{
	HerdRowWrite write = { .relid = RelationGetRelid(conflict->rel),
			       .command = CMD_UPDATE,
			       .sent = conflict->parts.sent,
			       .keys = conflict->parts.keys,
			       .unique = conflict->parts.unique,
			       .columns = columns_to_set(conflict, found->old) };
	Query *query = herd_row_write_query(&write);
	HerdJob *job;

	*herd_row_write_values(query) = list_make1(values_of(conflict, found, write.columns));
	query->returningList = copyObject(conflict->insert->returningList);
	ChangeVarNodes((Node *)query->returningList, conflict->insert->resultRelation,
		       query->resultRelation, 0);
	herd_copy_returning_names(query, conflict->insert);
	job = herd_job_write(found->table, found->shard,
			     herd_template_fill(herd_deparse(query), found->shard));
	job->code = true;
	/* the row may be newer than what the statement sees */
	job->apart = true;
	job->rights = herd_rights_message_part(conflict->relids, conflict->roles, HERD_ROW_FIRED);
	return job;
}

HerdJob *herd_conflict_job(HerdConflict *conflict)
{
	char *message = herd_capture_end_conflict(RelationGetRelid(conflict->rel));
	Found found;

	if (message == NULL)
		return NULL;
	read_message(conflict, message, &found);
	store_row(conflict->row, found.new);
	if (!herd_before_update(conflict->before, found.old, conflict->row))
		return NULL;
	slot_getallattrs(conflict->row);
	check_key(conflict, &found);
	return job_of(conflict, &found);
}

void herd_conflict_written(uint64 rows)
{
	if (rows == 0)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				errmsg("tuple to be updated was already modified by an operation "
				       "triggered by the current command"),
				errhint("Consider using an AFTER trigger instead of a BEFORE "
					"trigger to propagate changes to other rows.")));
}

void herd_conflict_end(HerdConflict *conflict)
{
	ExecDropSingleTupleTableSlot(conflict->row);
	table_close(conflict->rel, NoLock);
}
