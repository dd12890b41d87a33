#include "plan/row_insert.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "attach/before.h"
#include "catalog/metadata.h"
#include "compat.h"
#include "conn/rights.h"
#include "deparse/deparse.h"
#include "exec/exec.h"
#include "plan/remote.h"

struct HerdRowInsert {
	Oid relid;
	List *columns;
	Query *query;
	int values;           /* its relation that is a list of values */
	HerdBefore *before;   /* NULL: rows that come from other shards */
	TupleTableSlot *back; /* what comes back: nothing, or all columns that are not dropped */
	MemoryContext memory; /* of one row */
};

static Query *query_of(Oid relid)
{
	Query *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	Relation rel = table_open(relid, NoLock);

	rte->rtekind = RTE_RELATION;
	rte->relid = relid;
	rte->relkind = RELKIND_RELATION;
	rte->rellockmode = RowExclusiveLock;
	rte->eref = makeAlias(RelationGetRelationName(rel), NIL);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		rte->eref->colnames = lappend(
			rte->eref->colnames,
			makeString(att->attisdropped ? "" : pstrdup(NameStr(att->attname))));
	}
	table_close(rel, NoLock);
	query->commandType = CMD_INSERT;
	query->canSetTag = true;
	query->override = OVERRIDING_SYSTEM_VALUE;
	query->rtable = list_make1(rte);
	herd_drop_permissions(query, rte);
	query->resultRelation = 1;
	query->jointree = makeFromExpr(NIL, NULL);
	return query;
}

static HerdRowInsert *begin(Oid relid, List *columns)
{
	HerdRowInsert *insert = palloc0(sizeof(HerdRowInsert));

	insert->relid = relid;
	insert->columns = columns;
	insert->query = query_of(relid);
	insert->values = herd_insert_read_values(insert->query, columns);
	insert->memory = AllocSetContextCreate(CurrentMemoryContext, "herd inserted row",
					       ALLOCSET_DEFAULT_SIZES);
	return insert;
}

HerdRowInsert *herd_row_insert_begin(Oid relid, List *columns)
{
	HerdRowInsert *insert = begin(relid, columns);

	insert->before = herd_before_begin(relid, NIL);
	insert->back = MakeSingleTupleTableSlot(CreateTemplateTupleDesc(0), &TTSOpsVirtual);
	return insert;
}

HerdRowInsert *herd_row_insert_begin_moved(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	TupleDesc desc = RelationGetDescr(rel), back;
	List *stored = NIL, *returning = NIL;
	HerdRowInsert *insert;
	ListCell *lc;

	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (!att->attgenerated)
			stored = lappend_int(stored, att->attnum);
		returning = lappend(
			returning,
			makeTargetEntry((Expr *)makeVar(1, att->attnum, att->atttypid,
							att->atttypmod, att->attcollation, 0),
					list_length(returning) + 1, pstrdup(NameStr(att->attname)),
					false));
	}
	insert = begin(relid, stored);
	insert->query->returningList = returning;
	back = CreateTemplateTupleDesc(list_length(returning));
	foreach (lc, returning)
		TupleDescCopyEntry(back, foreach_current_index(lc) + 1, desc,
				   ((Var *)lfirst_node(TargetEntry, lc)->expr)->varattno);
	insert->back = MakeSingleTupleTableSlot(back, &TTSOpsVirtual);
	table_close(rel, NoLock);
	return insert;
}

static List *values_of(const HerdRowInsert *insert, TupleTableSlot *row)
{
	List *values = NIL;
	const ListCell *lc;

	foreach (lc, insert->columns) {
		Form_pg_attribute att = TupleDescAttr(row->tts_tupleDescriptor, lfirst_int(lc) - 1);
		Datum value = row->tts_values[att->attnum - 1];
		bool isnull = row->tts_isnull[att->attnum - 1];

		if (!isnull && att->attlen == -1)
			value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		values = lappend(values,
				 makeConst(att->atttypid, -1, att->attcollation, att->attlen,
					   isnull ? (Datum)0 : value, isnull, att->attbyval));
	}
	return values;
}

static int shard_of(const HerdTable *table, TupleTableSlot *row)
{
	int key = table->keyattno - 1;

	if (table->kind != HERD_TABLE_HASH)
		return 0;
	if (row->tts_isnull[key])
		herd_null_key_error(table);
	return herd_table_shard_index(table, herd_table_hash(table, row->tts_values[key]));
}

static HeapTuple tuple_of(const HerdRowInsert *insert, TupleDesc desc)
{
	Datum *values = palloc0(desc->natts * sizeof(Datum));
	bool *isnull = palloc(desc->natts * sizeof(bool));
	HeapTuple tuple;
	ListCell *lc;

	memset(isnull, true, desc->natts * sizeof(bool));
	foreach (lc, insert->query->returningList) {
		int to = ((Var *)lfirst_node(TargetEntry, lc)->expr)->varattno - 1;

		values[to] = slot_getattr(insert->back, foreach_current_index(lc) + 1, &isnull[to]);
	}
	tuple = heap_form_tuple(desc, values, isnull);
	tuple->t_tableOid = insert->relid;
	return tuple;
}

/* To the one shard, or all copies of it. Returns the row that comes back, or NULL. */
static HeapTuple write_row(const HerdRowInsert *insert, TupleTableSlot *row)
{
	const HerdTable *table = herd_table_get(insert->relid);
	int shard = shard_of(table, row);
	Query *query = copyObject(insert->query);
	HerdJob *job;
	HeapTuple tuple = NULL;
	HerdExec *exec;

	rt_fetch(insert->values, query->rtable)->values_lists = list_make1(values_of(insert, row));
	job = herd_job_write(table, shard, herd_template_fill(herd_deparse(query), shard));
	job->code = true;
	job->rights = herd_rights_message_part(NIL, NIL,
					       insert->before ? HERD_ROW_FIRED : HERD_ROW_MOVED);
	if (insert->query->returningList != NIL)
		job->tupdesc = insert->back->tts_tupleDescriptor;
	exec = herd_exec_begin(job);
	while (herd_exec_next(exec, insert->back)) {
		CHECK_FOR_INTERRUPTS();
		if (job->tupdesc != NULL)
			tuple = tuple_of(insert, row->tts_tupleDescriptor);
	}
	herd_exec_end(exec);
	return tuple;
}

bool herd_row_insert(HerdRowInsert *insert, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(insert->memory);
	bool wanted = herd_before_insert(insert->before, row);

	if (wanted) {
		slot_getallattrs(row);
		(void)write_row(insert, row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(insert->memory);
	return wanted;
}

HeapTuple herd_row_insert_moved(HerdRowInsert *insert, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(insert->memory);
	HeapTuple tuple = write_row(insert, row);

	MemoryContextSwitchTo(old);
	tuple = heap_copytuple(tuple);
	MemoryContextReset(insert->memory);
	return tuple;
}

void herd_row_insert_end(HerdRowInsert *insert)
{
	if (insert->before)
		herd_before_end(insert->before);
	ExecDropSingleTupleTableSlot(insert->back);
	MemoryContextDelete(insert->memory);
}
