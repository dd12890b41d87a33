#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "conn/moment.h"
#include "exec/internal.h"
#include "move/limit.h"
#include "move/move.h"
#include "move/writer.h"
#include "plan/remote.h"
#include "stats/stats.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_execution_id);

enum { SIZE_TTL_MS = 60000 };

static char execution_id[64] = "none";

const char *herd_moves_new_id(void)
{
	static uint32 counter;

	snprintf(execution_id, sizeof(execution_id), "%d_%d_%llx_%u", herd_local_group(), MyProcPid,
		 (unsigned long long)GetCurrentTimestamp(), ++counter);
	return execution_id;
}

Datum herd_execution_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(execution_id));
}

/* -- in a query -------------------------------------------------------------------------------- */

static Oid internal_function(const char *name, int nargs, const Oid *types)
{
	return LookupFuncName(list_make2(makeString("citus_internal"), makeString(pstrdup(name))),
			      nargs, types, false);
}

static Oid read_function(void)
{
	Oid types[3] = { TEXTOID, INT4OID, INT4OID };

	return internal_function(HERD_READ_RESULT, 3, types);
}

static Const *int_const(int value)
{
	return makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(value), false, true);
}

RangeTblEntry *herd_move_rte(const HerdMove *move, const RangeTblEntry *item, List *tlist)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblFunction *func = makeNode(RangeTblFunction);
	FuncExpr *id = makeFuncExpr(internal_function("execution_id", 0, NULL), TEXTOID, NIL,
				    InvalidOid, DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);
	FuncExpr *read = makeFuncExpr(
		read_function(), RECORDOID,
		list_make3(id, int_const(move->number), int_const(move->key ? HERD_MOVE_SHARD : 0)),
		InvalidOid, DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);
	ListCell *lc;

	read->funcretset = true;
	func->funcexpr = (Node *)read;
	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		Node *expr = (Node *)tle->expr;

		/* those of the statement are in the alias */
		func->funccolnames = lappend(func->funccolnames,
					     makeString(herd_moved_column_name(
						     foreach_current_index(lc) + 1, item, expr)));
		func->funccoltypes = lappend_oid(func->funccoltypes, exprType(expr));
		func->funccoltypmods = lappend_int(func->funccoltypmods, exprTypmod(expr));
		func->funccolcollations = lappend_oid(func->funccolcollations, exprCollation(expr));
		func->funccolcount++;
	}
	rte->rtekind = RTE_FUNCTION;
	rte->functions = list_make1(func);
	rte->alias = makeAlias(item->eref->aliasname, NIL);
	rte->eref = makeAlias(item->eref->aliasname, copyObject(func->funccolnames));
	rte->inFromCl = true;
	return rte;
}

bool herd_move_of_rte(const RangeTblEntry *rte, int *number)
{
	FuncExpr *call;

	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1)
		return false;
	call = (FuncExpr *)linitial_node(RangeTblFunction, rte->functions)->funcexpr;
	if (!IsA(call, FuncExpr) || call->funcresulttype != RECORDOID ||
	    call->funcid < FirstNormalObjectId || call->funcid != read_function())
		return false;
	*number = DatumGetInt32(lsecond_node(Const, call->args)->constvalue);
	return true;
}

/* -- sizes ------------------------------------------------------------------------------------- */

typedef struct TableSize {
	Oid relid;
	TimestampTz asked;
	int32 relpages; /* of the shell at that time: ANALYZE changes it */
	double bytes;
} TableSize;

static HTAB *sizes;

static double sum_of_job(HerdJob *job)
{
	TupleTableSlot *slot;
	HerdExec *exec;
	double sum = 0;

	job->tupdesc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(job->tupdesc, 1, "n", INT8OID, -1, 0);
	slot = MakeSingleTupleTableSlot(job->tupdesc, &TTSOpsVirtual);
	exec = herd_exec_begin(job);
	while (herd_exec_next(exec, slot)) {
		bool isnull;

		sum += DatumGetInt64(slot_getattr(slot, 1, &isnull));
		ExecClearTuple(slot);
	}
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
	return sum;
}

static double ask_bytes(const HerdTable *table)
{
	char *schema = get_namespace_name(get_rel_namespace(table->relid));
	char *relname = get_rel_name(table->relid);
	HerdJob job = { .tasks = palloc0(Max(table->nshards, 1) * sizeof(HerdTask)) };

	for (int i = 0; i < table->nshards; i++) {
		char *name = quote_literal_cstr(quote_qualified_identifier(
			schema, herd_shard_name(relname, table->shards[i].shardid)));
		HerdTask *task;

		if (table->shards[i].ngroups == 0)
			continue;
		task = herd_job_task_of(&job, table->shards[i].groups[0]);
		task->sql = task->sql ? psprintf("%s, %s", task->sql, name) : name;
	}
	for (int i = 0; i < job.ntasks; i++)
		job.tasks[i].sql = psprintf(
			"SELECT coalesce(pg_catalog.sum(pg_catalog.pg_relation_size(r) + "
			"coalesce((SELECT pg_catalog.sum(pg_catalog.pg_relation_size("
			"p.relid)) FROM pg_catalog.pg_partition_tree(r) p WHERE p.relid "
			"OPERATOR(pg_catalog.<>) r), 0)), 0)::pg_catalog.int8 FROM (SELECT "
			"pg_catalog.to_regclass(n) AS r FROM pg_catalog.unnest(ARRAY[%s]) "
			"n) s",
			job.tasks[i].sql);
	return job.ntasks > 0 ? sum_of_job(&job) : 0;
}

static int32 shell_pages(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	int32 pages = 0;

	if (HeapTupleIsValid(tuple)) {
		pages = ((Form_pg_class)GETSTRUCT(tuple))->relpages;
		ReleaseSysCache(tuple);
	}
	return pages;
}

double herd_table_known_bytes(Oid relid)
{
	TableSize *size = sizes ? hash_search(sizes, &relid, HASH_FIND, NULL) : NULL;

	if (size == NULL || size->relpages != shell_pages(relid) ||
	    TimestampDifferenceExceeds(size->asked, GetCurrentTimestamp(), SIZE_TTL_MS))
		return -1;
	return size->bytes;
}

double herd_table_bytes(const HerdTable *table)
{
	Oid relid = table->relid;
	double bytes = herd_table_known_bytes(relid);
	TableSize *size;

	if (bytes >= 0)
		return bytes;
	if (sizes == NULL) {
		HASHCTL ctl = { .keysize = sizeof(Oid),
				.entrysize = sizeof(TableSize),
				.hcxt = TopMemoryContext };

		sizes = hash_create("pgherd sizes of tables", 32, &ctl,
				    HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	bytes = ask_bytes(table);
	size = hash_search(sizes, &relid, HASH_ENTER, NULL);
	size->asked = GetCurrentTimestamp();
	size->relpages = shell_pages(relid);
	size->bytes = bytes;
	return bytes;
}

double herd_local_bytes(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	double bytes = 0;

	if (RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		bytes = (double)RelationGetNumberOfBlocks(rel) * BLCKSZ;
	table_close(rel, NoLock);
	return bytes;
}

/* -- at run time ------------------------------------------------------------------------------- */

/* Which parts of a move have rows on which group. */
typedef struct Made {
	int32 groupid;
	bool *parts;
} Made;

static List *groups_of(const HerdJob *job, List *groups)
{
	for (int i = 0; i < job->ntasks; i++)
		groups = list_append_unique_int(groups, job->tasks[i].groupid);
	return groups;
}

/* Directories on all nodes that take part, for as long as this transaction lasts. */
static void hold(const char *id, List *groups)
{
	HerdJob job = { .all_in_txn = true, .holds = true };
	ListCell *lc;

	job.tasks = palloc0(list_length(groups) * sizeof(HerdTask));
	foreach (lc, groups) {
		HerdTask *task = &job.tasks[job.ntasks++];

		task->groupid = lfirst_int(lc);
		task->sql =
			psprintf("SELECT citus_internal.hold_results(%s)", quote_literal_cstr(id));
	}
	(void)sum_of_job(&job);
}

static ParamListInfo some_params(ParamListInfo all, int first, int n)
{
	ParamListInfo params = n > 0 ? makeParamList(n) : NULL;

	if (n > 0)
		memcpy(params->params, all->params + first, n * sizeof(ParamExternData));
	return params;
}

static char *text_of_mins(const HerdMove *move, const HerdTable *table)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	for (int i = 0; move->key > 0 && i < table->nshards; i++)
		appendStringInfo(&out, "%s%d", i ? "," : "", table->shards[i].hashmin);
	appendStringInfoChar(&out, '}');
	return out.data;
}

static char *text_of_params(ParamListInfo params)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; params != NULL && i < params->numParams; i++)
		appendStringInfo(&out, ", $%d::%s", i + 1,
				 format_type_extended(params->params[i].ptype, -1,
						      FORMAT_TYPE_FORCE_QUALIFY));
	return out.data;
}

/* The column as writers take it: negative when they must refuse a null, as no shard would. */
static int cut_by(const HerdMove *move, const HerdTable *table)
{
	return move->null_fails && !herd_key_is_not_null(table) ? -move->key : move->key;
}

static HerdJob *producing_job(const HerdMove *move, const char *id, const HerdTable *table,
			      ParamListInfo all)
{
	ParamListInfo params = some_params(all, move->first_eval, move->nevals);
	HerdJob *job = herd_remote_job(move->producer, params, NULL);
	char *mins = text_of_mins(move, table);
	char *args = text_of_params(job->params);

	for (int i = 0; i < job->ntasks; i++)
		job->tasks[i].sql = psprintf(
			"SELECT %d, part, rows, bytes FROM citus_internal.make_result(%s, %d, %d, "
			"%s, %d, %s, %s, 0%s)",
			job->tasks[i].groupid, quote_literal_cstr(id), move->number, i,
			quote_literal_cstr(job->tasks[i].sql), cut_by(move, table),
			quote_literal_cstr(move->hash), quote_literal_cstr(mins), args);
	job->reusable = false;
	job->tupdesc = CreateTemplateTupleDesc(4);
	TupleDescInitEntry(job->tupdesc, 1, "groupid", INT4OID, -1, 0);
	TupleDescInitEntry(job->tupdesc, 2, "part", INT4OID, -1, 0);
	TupleDescInitEntry(job->tupdesc, 3, "rows", INT8OID, -1, 0);
	TupleDescInitEntry(job->tupdesc, 4, "bytes", INT8OID, -1, 0);
	return job;
}

static List *produce(HerdJob *job, int nparts, HerdMove *move)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(job->tupdesc, &TTSOpsVirtual);
	HerdExec *exec = herd_exec_begin(job);
	List *all = NIL;
	ListCell *lc;

	foreach (lc, groups_of(job, NIL)) {
		Made *made = palloc0(sizeof(*made));

		made->groupid = lfirst_int(lc);
		made->parts = palloc0(nparts * sizeof(bool));
		all = lappend(all, made);
	}
	while (herd_exec_next(exec, slot)) {
		bool isnull;
		int32 groupid = DatumGetInt32(slot_getattr(slot, 1, &isnull));
		int32 part = DatumGetInt32(slot_getattr(slot, 2, &isnull));

		move->rows += DatumGetInt64(slot_getattr(slot, 3, &isnull));
		move->bytes += DatumGetInt64(slot_getattr(slot, 4, &isnull));
		if (move->key == 0)
			herd_result_check_size((int64)move->bytes);
		if (part < 0 || part >= nparts)
			elog(ERROR, "a node made part %d of %d", part, nparts);
		foreach (lc, all)
			if (((Made *)lfirst(lc))->groupid == groupid)
				((Made *)lfirst(lc))->parts[part] = true;
		ExecClearTuple(slot);
	}
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
	return all;
}

/* The parts that a group needs from another, as an array; NULL: none. */
static char *parts_between(const HerdMove *move, const HerdTable *table, const Made *from,
			   int32 groupid)
{
	StringInfoData out;
	int nparts = move->key > 0 ? table->nshards : 1;
	bool any = false;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	for (int i = 0; i < nparts; i++) {
		if (!from->parts[i] ||
		    (move->key > 0 && herd_remote_shard_group(table, i) != groupid))
			continue;
		appendStringInfo(&out, "%s%d", any ? "," : "", i);
		any = true;
	}
	appendStringInfoChar(&out, '}');
	return any ? out.data : NULL;
}

static void add_fetches(HerdJob *fetch, const HerdMove *move, const char *id,
			const HerdTable *table, List *made, List *readers)
{
	ListCell *to;
	ListCell *lc;

	foreach (to, readers) {
		foreach (lc, made) {
			const Made *from = lfirst(lc);
			char *parts;

			if (from->groupid == lfirst_int(to) ||
			    (parts = parts_between(move, table, from, lfirst_int(to))) == NULL)
				continue;
			fetch->tasks[fetch->ntasks++] = (HerdTask){
				.groupid = lfirst_int(to),
				.sql = psprintf("SELECT citus_internal.fetch_result(%s, %d, %s, "
						"%d)",
						quote_literal_cstr(id), move->number,
						quote_literal_cstr(parts), from->groupid)
			};
		}
	}
}

/* What goes to other nodes while a plan of this node runs. */
typedef struct Outgoing {
	const char *id;
	HerdMove *move;
	const HerdTable *table;
	List *readers;
	int64 bytes;
	const EState *asker;
} Outgoing;

static void send_block(HerdWriter *w, int part, const HerdBlock *block, const char *data)
{
	Outgoing *out = w->arg;
	HerdJob job = { .params = makeParamList(1) };
	ListCell *lc;

	out->bytes += block->bytes;
	/* rows of an INSERT are on their way to where they stay */
	if (!out->move->null_fails)
		herd_result_check_size(out->bytes);

	job.tasks = palloc0(list_length(out->readers) * sizeof(HerdTask));
	job.params->params[0] = (ParamExternData){ .value = PointerGetDatum(herd_result_wrap(
							   part, herd_local_group(), block, data)),
						   .pflags = PARAM_FLAG_CONST,
						   .ptype = BYTEAOID };
	foreach (lc, out->readers) {
		if (out->move->key > 0 &&
		    herd_remote_shard_group(out->table, part) != lfirst_int(lc))
			continue;
		job.tasks[job.ntasks].groupid = lfirst_int(lc);
		job.tasks[job.ntasks++].sql =
			psprintf("SELECT citus_internal.store_block(%s, %d, $1)",
				 quote_literal_cstr(out->id), out->move->number);
	}
	if (job.ntasks > 0)
		(void)sum_of_job(&job);
}

static int32 *mins_of(const HerdTable *table)
{
	int32 *mins = palloc(table->nshards * sizeof(int32));

	for (int i = 0; i < table->nshards; i++)
		mins[i] = table->shards[i].hashmin;
	return mins;
}

static void produce_here(void *arg)
{
	Outgoing *out = arg;
	const HerdMove *move = out->move;
	HerdWriter *w = herd_writer_new(cut_by(move, out->table), move->hash, mins_of(out->table),
					move->key > 0 ? out->table->nshards : 1);
	QueryDesc *query;

	w->flush = send_block;
	w->arg = out;
	query = CreateQueryDesc(move->local, "", GetActiveSnapshot(), InvalidSnapshot, &w->pub,
				out->asker->es_param_list_info, out->asker->es_queryEnv, 0);
	ExecutorStart(query, 0);
	herd_moment_give(herd_moment_current());
	herd_run_executor(query);
	ExecutorFinish(query);
	herd_writer_end(w);
	for (int i = 0; i < w->nparts; i++) {
		out->move->rows += w->rows[i];
		out->move->bytes += w->bytes[i];
	}
	ExecutorEnd(query);
	FreeQueryDesc(query);
}

static const HerdTable *target_of(const HerdMove *move)
{
	const HerdTable *table = herd_table_get(move->target);

	if (table == NULL)
		ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("relation with OID %u is not distributed anymore", move->target)));
	return table;
}

void herd_moves_run(List *moves, const char *id, const HerdJob *job, ParamListInfo params,
		    const EState *asker)
{
	List *readers = groups_of(job, NIL);
	List *groups = list_copy(readers);
	List *producing = NIL;
	HerdJob fetch = { 0 };
	int most = 0;
	ListCell *lc;
	ListCell *pl;

	foreach (lc, moves) {
		const HerdMove *move = lfirst(lc);
		HerdJob *one = move->producer ? producing_job(move, id, target_of(move), params)
					      : palloc0(sizeof(HerdJob));

		producing = lappend(producing, one);
		groups = groups_of(one, groups);
		most += list_length(readers) * list_length(groups_of(one, NIL));
	}
	hold(id, groups);
	fetch.tasks = palloc0(Max(most, 1) * sizeof(HerdTask));
	forboth(lc, moves, pl, producing)
	{
		HerdMove *move = lfirst(lc);
		Outgoing out = { .id = id,
				 .move = move,
				 .table = target_of(move),
				 .readers = readers,
				 .asker = asker };

		move->rows = move->bytes = 0;
		if (move->producer == NULL) {
			herd_in_server_encoding(produce_here, &out);
			continue;
		}
		add_fetches(&fetch, move, id, out.table,
			    produce(lfirst(pl), move->key > 0 ? out.table->nshards : 1, move),
			    readers);
	}
	if (fetch.ntasks > 0)
		(void)sum_of_job(&fetch);
}
