#include "plan/row_insert.h"

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
	int values; /* its relation that is a list of values */
	HerdBefore *before;
	TupleTableSlot *none; /* of no columns: what comes back */
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

HerdRowInsert *herd_row_insert_begin(Oid relid, List *columns)
{
	HerdRowInsert *insert = palloc0(sizeof(HerdRowInsert));

	insert->relid = relid;
	insert->columns = columns;
	insert->query = query_of(relid);
	insert->values = herd_insert_read_values(insert->query, columns);
	insert->before = herd_before_begin(relid, NIL);
	insert->none = MakeSingleTupleTableSlot(CreateTemplateTupleDesc(0), &TTSOpsVirtual);
	insert->memory = AllocSetContextCreate(CurrentMemoryContext, "herd inserted row",
					       ALLOCSET_DEFAULT_SIZES);
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

/* To the one shard, or all copies of it. */
static void write_row(const HerdRowInsert *insert, TupleTableSlot *row)
{
	const HerdTable *table = herd_table_get(insert->relid);
	int shard = shard_of(table, row);
	const HerdShard *place = &table->shards[shard];
	Query *query = copyObject(insert->query);
	HerdJob *job = palloc0(sizeof(HerdJob));
	HerdExec *exec;
	char *sql;

	rt_fetch(insert->values, query->rtable)->values_lists = list_make1(values_of(insert, row));
	sql = herd_template_fill(herd_deparse(query), shard);
	job->modifies = job->all_in_txn = job->code = true;
	job->rights = herd_rights_message_fired(NIL, NIL);
	job->reference_write = table->kind == HERD_TABLE_REFERENCE;
	job->tasks = palloc0(place->ngroups * sizeof(HerdTask));
	for (int i = 0; i < (job->reference_write ? place->ngroups : 1); i++) {
		uint64 *id = palloc(sizeof(uint64));

		*id = place->shardid;
		job->tasks[job->ntasks++] = (HerdTask){ .shardid = place->shardid,
							.groupid = place->groups[i],
							.lock_shards = list_make1(id),
							.sql = sql };
	}
	exec = herd_exec_begin(job);
	while (herd_exec_next(exec, insert->none))
		CHECK_FOR_INTERRUPTS();
	herd_exec_end(exec);
}

bool herd_row_insert(HerdRowInsert *insert, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(insert->memory);
	bool wanted = herd_before_insert(insert->before, row);

	if (wanted) {
		slot_getallattrs(row);
		write_row(insert, row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(insert->memory);
	return wanted;
}

void herd_row_insert_end(HerdRowInsert *insert)
{
	herd_before_end(insert->before);
	ExecDropSingleTupleTableSlot(insert->none);
	MemoryContextDelete(insert->memory);
}
