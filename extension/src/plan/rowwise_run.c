/*
 * plan/rowwise_run.c - runs an UPDATE or DELETE row by row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "tcop/dest.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "attach/attach.h"
#include "attach/before.h"
#include "attach/capture.h"
#include "compat.h"
#include "conn/moment.h"
#include "conn/rights.h"
#include "deparse/code.h"
#include "deparse/deparse.h"
#include "exec/exec.h"
#include "plan/remote.h"
#include "plan/rights.h"
#include "plan/row_insert.h"
#include "plan/rowwise.h"

/* Which row of which shard: of a join each counts once. */
typedef struct RowKey {
	int32 shard;
	ItemPointerData tid;
} RowKey;

typedef struct RowwiseState {
	CustomScanState css;
	HerdRowwise parts; /* without select and exprs */
	PlannedStmt *select;
	List *rights_relids, *rights_roles; /* of Oid: plan/rights.h */
	HerdRemote remote;                  /* for the parameters of the text */
	List *evals, *quals, *values;       /* of ExprState */
	const HerdTable *table;
	Relation rel;
	HerdBefore *before; /* triggers, or NULL */
	HerdFire fire;      /* of the statement */
	bool fires, counts, started, ended;
	HerdRowInsert *arrivals; /* of rows that have left their shards; NULL: none yet */
	TupleTableSlot *left;    /* RETURNING and ctid of one that leaves */
	Tuplestorestate *rows;
	TupleTableSlot *row, *whole; /* of rows; of the table */
	HTAB *seen;                  /* of RowKey, or NULL */
	MemoryContext memory;        /* of one row */
	ParamListInfo params;
	Query *text; /* the last that was made, for these columns */
	List *columns;
	MemoryContext text_memory;
	HerdExec *exec;
} RowwiseState;

/* In the plan. */
enum { MOVES = 1, UNIQUE = 2 };

static Node *rowwise_create_state(CustomScan *scan);

static const CustomScanMethods rowwise_methods = {
	.CustomName = "Herd Rows",
	.CreateCustomScanState = rowwise_create_state,
};

CustomScan *herd_rowwise_plan(const HerdRowwise *parts, PlannedStmt *select, List *returning)
{
	CustomScan *scan = makeNode(CustomScan);

	scan->methods = &rowwise_methods;
	scan->custom_exprs = parts->exprs;
	scan->custom_scan_tlist = returning;
	scan->custom_private = list_make5(select, list_make1_oid(parts->relid), parts->atts,
					  parts->sets, parts->positions);
	scan->custom_private = lappend(scan->custom_private, parts->sent);
	scan->custom_private = lappend(scan->custom_private, parts->returning);
	scan->custom_private = lappend(scan->custom_private, herd_rights_relids());
	scan->custom_private = lappend(scan->custom_private, herd_rights_roles());
	scan->custom_private = lappend(scan->custom_private, parts->keys);
	scan->custom_private =
		lappend(scan->custom_private,
			list_make5_int(parts->nevals, parts->nquals, parts->command, parts->joins,
				       (parts->moves ? MOVES : 0) | (parts->unique ? UNIQUE : 0)));
	return scan;
}

static void read_plan(RowwiseState *state, const CustomScan *scan)
{
	List *private = scan->custom_private;
	List *numbers = list_nth(private, 10);
	HerdRowwise *parts = &state->parts;

	state->select = linitial(private);
	parts->relid = linitial_oid(lsecond(private));
	parts->atts = lthird(private);
	parts->sets = lfourth(private);
	parts->positions = list_nth(private, 4);
	parts->sent = list_nth(private, 5);
	parts->returning = list_nth(private, 6);
	state->rights_relids = list_nth(private, 7);
	state->rights_roles = list_nth(private, 8);
	parts->keys = list_nth(private, 9);
	parts->nevals = linitial_int(numbers);
	parts->nquals = lsecond_int(numbers);
	parts->command = lthird_int(numbers);
	parts->joins = lfourth_int(numbers);
	parts->moves = (list_nth_int(numbers, 4) & MOVES) != 0;
	parts->unique = (list_nth_int(numbers, 4) & UNIQUE) != 0;
}

static void init_exprs(RowwiseState *state, CustomScan *scan)
{
	int n = 0;
	ListCell *lc;

	state->remote.evals = list_copy_head(scan->custom_exprs, state->parts.nevals);
	state->remote.ntext = state->parts.nevals;
	foreach (lc, scan->custom_exprs) {
		ExprState *expr = ExecInitExpr(lfirst(lc), &state->css.ss.ps);

		if (n < state->parts.nevals)
			state->evals = lappend(state->evals, expr);
		else if (n < state->parts.nevals + state->parts.nquals)
			state->quals = lappend(state->quals, expr);
		else
			state->values = lappend(state->values, expr);
		n++;
	}
}

static void rowwise_begin(CustomScanState *node, EState *estate, int eflags)
{
	RowwiseState *state = (RowwiseState *)node;
	CustomScan *scan = (CustomScan *)node->ss.ps.plan;

	read_plan(state, scan);
	init_exprs(state, scan);
	state->counts = estate->es_plannedstmt->planTree == (Plan *)scan;
	state->table = herd_table_get(state->parts.relid);
	if (state->table == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("relation with OID %u is not distributed anymore",
				       state->parts.relid)));
	state->memory =
		AllocSetContextCreate(estate->es_query_cxt, "herd row", ALLOCSET_DEFAULT_SIZES);
	state->text_memory = AllocSetContextCreate(estate->es_query_cxt, "herd text of rows",
						   ALLOCSET_SMALL_SIZES);
	state->fire = (HerdFire){ .relid = state->parts.relid,
				  .command = state->parts.command,
				  .columns = state->parts.sets };
}

/* -- the rows ---------------------------------------------------------------------------------- */

/* All of them, before the first is written. */
static void read_rows(RowwiseState *state)
{
	EState *estate = state->css.ss.ps.state;
	DestReceiver *dest = CreateDestReceiver(DestTuplestore);
	QueryDesc *query;

	state->rows = tuplestore_begin_heap(false, false, work_mem);
	SetTuplestoreDestReceiverParams(dest, state->rows, CurrentMemoryContext, false, NULL, NULL);
	query = CreateQueryDesc(state->select, estate->es_sourceText, GetActiveSnapshot(),
				InvalidSnapshot, dest, estate->es_param_list_info,
				estate->es_queryEnv, 0);
	ExecutorStart(query, 0);
	state->row =
		MakeSingleTupleTableSlot(CreateTupleDescCopy(query->tupDesc), &TTSOpsMinimalTuple);
	herd_moment_give(herd_moment_current());
	herd_run_executor(query);
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	dest->rDestroy(dest);
}

static void start(RowwiseState *state)
{
	const HerdRowwise *parts = &state->parts;
	MemoryContext old = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);
	int16 event = parts->command == CMD_DELETE ? TRIGGER_TYPE_DELETE : TRIGGER_TYPE_UPDATE;

	state->started = true;
	state->rel = table_open(parts->relid, NoLock);
	if (herd_before_any(parts->relid, event))
		state->before = herd_before_begin(parts->relid, parts->sets);
	/* a trigger may change the distribution column, too */
	state->fire.moves = parts->moves || (parts->command == CMD_UPDATE && state->before != NULL);
	state->fires = herd_fire_wanted(&state->fire);
	if (state->fires)
		herd_fire(&state->fire, true);
	state->params =
		herd_remote_params(&state->remote, state->evals, state->css.ss.ps.ps_ExprContext);
	state->whole = MakeSingleTupleTableSlot(
		CreateTupleDescCopyConstr(RelationGetDescr(state->rel)), &TTSOpsVirtual);
	if (parts->joins) {
		HASHCTL ctl = { .keysize = sizeof(RowKey),
				.entrysize = sizeof(RowKey),
				.hcxt = CurrentMemoryContext };

		state->seen = hash_create("herd rows written", 256, &ctl,
					  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	read_rows(state);
	MemoryContextSwitchTo(old);
}

static int shard_of(const RowwiseState *state, Datum key, bool isnull)
{
	if (state->table->kind != HERD_TABLE_HASH)
		return 0;
	if (isnull)
		herd_null_key_error(state->table);
	return herd_table_shard_index(state->table, herd_table_hash(state->table, key));
}

/* True the first time that the row comes. */
static bool is_new(RowwiseState *state, int shard, ItemPointer tid)
{
	RowKey key;
	bool found;

	if (state->seen == NULL)
		return true;
	memset(&key, 0, sizeof(key));
	key.shard = shard;
	key.tid = *tid;
	(void)hash_search(state->seen, &key, HASH_ENTER, &found);
	return !found;
}

static bool passes(RowwiseState *state, ExprContext *econtext)
{
	ListCell *lc;

	foreach (lc, state->quals) {
		bool isnull;
		Datum value = ExecEvalExprSwitchContext(lfirst(lc), econtext, &isnull);

		if (isnull || !DatumGetBool(value))
			return false;
	}
	return true;
}

/* -- new values -------------------------------------------------------------------------------- */

static HeapTuple old_tuple(const RowwiseState *state)
{
	TupleDesc desc = RelationGetDescr(state->rel);
	Datum *values = palloc0(desc->natts * sizeof(Datum));
	bool *isnull = palloc(desc->natts * sizeof(bool));
	HeapTuple tuple;
	ListCell *lc;

	memset(isnull, true, desc->natts * sizeof(bool));
	foreach (lc, state->parts.atts) {
		values[lfirst_int(lc) - 1] = state->row->tts_values[foreach_current_index(lc)];
		isnull[lfirst_int(lc) - 1] = state->row->tts_isnull[foreach_current_index(lc)];
	}
	tuple = heap_form_tuple(desc, values, isnull);
	tuple->t_tableOid = state->parts.relid;
	return tuple;
}

static void set_values(RowwiseState *state, HeapTuple old, ExprContext *econtext)
{
	TupleTableSlot *whole = state->whole;
	ListCell *lc, *pos;
	int n = 0;

	ExecClearTuple(whole);
	heap_deform_tuple(old, RelationGetDescr(state->rel), whole->tts_values, whole->tts_isnull);
	forboth(lc, state->parts.sets, pos, state->parts.positions)
	{
		int to = lfirst_int(lc) - 1, from = lfirst_int(pos) - 1;

		if (from < 0) {
			whole->tts_values[to] = ExecEvalExprSwitchContext(
				list_nth(state->values, n++), econtext, &whole->tts_isnull[to]);
		} else {
			whole->tts_values[to] = state->row->tts_values[from];
			whole->tts_isnull[to] = state->row->tts_isnull[from];
		}
	}
	ExecStoreVirtualTuple(whole);
}

/* What the statement sets, and what triggers have set besides. */
static List *columns_to_set(const RowwiseState *state, HeapTuple old)
{
	TupleDesc desc = RelationGetDescr(state->rel);
	List *columns = list_copy(state->parts.sets);

	for (int i = 0; state->before != NULL && i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool isnull;
		Datum value;

		if (att->attisdropped || att->attgenerated || list_member_int(columns, i + 1))
			continue;
		value = heap_getattr(old, i + 1, desc, &isnull);
		if (isnull != state->whole->tts_isnull[i] ||
		    (!isnull && !datum_image_eq(value, state->whole->tts_values[i], att->attbyval,
						att->attlen)))
			columns = lappend_int(columns, i + 1);
	}
	return columns;
}

/* Where the row belongs with its new values. */
static int shard_wanted(const RowwiseState *state, int shard)
{
	AttrNumber key = state->table->keyattno;

	if (state->table->kind != HERD_TABLE_HASH ||
	    state->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return shard;
	/* the shard refuses it */
	if (state->whole->tts_isnull[key - 1] &&
	    TupleDescAttr(RelationGetDescr(state->rel), key - 1)->attnotnull)
		return shard;
	return shard_of(state, state->whole->tts_values[key - 1],
			state->whole->tts_isnull[key - 1]);
}

/* -- writing ----------------------------------------------------------------------------------- */

/* The row was locked, so nobody else can have changed it. */
static void row_gone(const RowwiseState *state)
{
	ereport(ERROR,
		(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
		 errmsg("tuple to be %s was already modified by an operation triggered by the "
			"current command",
			state->parts.command == CMD_UPDATE ? "updated" : "deleted"),
		 errhint("Consider using an AFTER trigger instead of a BEFORE trigger to propagate "
			 "changes to other rows.")));
}

static Query *text_for(RowwiseState *state, List *columns)
{
	HerdRowWrite write = { .relid = state->parts.relid,
			       .command = state->parts.command,
			       .sent = state->parts.sent,
			       .keys = state->parts.keys,
			       .unique = state->parts.unique,
			       .columns = columns };
	MemoryContext old;

	if (state->text != NULL && equal(columns, state->columns))
		return copyObject(state->text);
	MemoryContextReset(state->text_memory);
	old = MemoryContextSwitchTo(state->text_memory);
	write.columns = state->columns = list_copy(columns);
	state->text = herd_row_write_query(&write);
	state->text->returningList = copyObject(state->parts.returning);
	herd_name_returned_rows(state->text);
	MemoryContextSwitchTo(old);
	return copyObject(state->text);
}

static Const *value_const(Oid type, Datum value, bool isnull)
{
	int16 len;
	bool byval;

	get_typlenbyval(type, &len, &byval);
	if (!isnull && len == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	return makeConst(type, -1, get_typcollation(type), len, isnull ? (Datum)0 : value, isnull,
			 byval);
}

static List *values_of(const RowwiseState *state, const List *columns)
{
	int tid = list_length(state->parts.atts);
	List *values = list_make1(value_const(TIDOID, state->row->tts_values[tid], false));
	const ListCell *lc;

	foreach (lc, state->parts.sent) {
		const TargetEntry *tle = lfirst(lc);

		values = lappend(values, value_const(exprType((Node *)tle->expr),
						     state->row->tts_values[tle->resno - 1],
						     state->row->tts_isnull[tle->resno - 1]));
	}
	foreach (lc, columns) {
		int i = lfirst_int(lc) - 1;

		values = lappend(
			values,
			value_const(TupleDescAttr(RelationGetDescr(state->rel), i)->atttypid,
				    state->whole->tts_values[i], state->whole->tts_isnull[i]));
	}
	return values;
}

/* A job for one shard, or all copies of it. */
static HerdJob *job_of(const RowwiseState *state, int shard, Query *query)
{
	const HerdShard *place = &state->table->shards[shard];
	const char *sql = herd_template_fill(herd_deparse(query), shard);
	HerdJob *job = palloc0(sizeof(HerdJob));

	job->modifies = job->all_in_txn = true;
	job->code = herd_attach_has_code(state->parts.relid) || herd_query_has_code(query);
	job->reference_write = state->table->kind == HERD_TABLE_REFERENCE;
	job->tasks = palloc0(place->ngroups * sizeof(HerdTask));
	for (int i = 0; i < (job->reference_write ? place->ngroups : 1); i++) {
		uint64 *id = palloc(sizeof(uint64));

		*id = place->shardid;
		job->tasks[job->ntasks++] = (HerdTask){ .shardid = place->shardid,
							.groupid = place->groups[i],
							.lock_shards = list_make1(id),
							.sql = sql };
	}
	return job;
}

static char *rights_of(const RowwiseState *state, HerdRowPart part)
{
	return herd_rights_message_part(state->rights_relids, state->rights_roles, part);
}

static void send_row(RowwiseState *state, int shard, List *columns)
{
	TupleDesc desc = state->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor;
	Query *query = text_for(state, columns);
	HerdJob *job;

	*herd_row_write_values(query) = list_make1(values_of(state, columns));
	job = job_of(state, shard, query);
	job->params = state->params;
	job->tupdesc = desc->natts > 0 ? desc : NULL;
	if (state->before != NULL || state->rights_relids != NIL)
		job->rights =
			rights_of(state, state->before != NULL ? HERD_ROW_FIRED : HERD_ROW_WHOLE);
	state->exec = herd_exec_begin(job);
}

/* -- rows that leave their shard (attach/leaving.h) ----------------------------------------------
 */

static void begin_moves(RowwiseState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);
	TupleDesc desc = state->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor;
	TupleDesc left = CreateTemplateTupleDesc(desc->natts + 1);

	for (int i = 1; i <= desc->natts; i++)
		TupleDescCopyEntry(left, i, desc, i);
	TupleDescInitEntry(left, desc->natts + 1, "ctid", TIDOID, -1, 0);
	state->left = MakeSingleTupleTableSlot(left, &TTSOpsVirtual);
	state->arrivals = herd_row_insert_begin_moved(state->parts.relid);
	MemoryContextSwitchTo(old);
}

/* Keeps RETURNING of the row in the node's slot; its ctid. */
static ItemPointer store_returned(RowwiseState *state)
{
	TupleTableSlot *slot = state->css.ss.ss_ScanTupleSlot;
	ItemPointer tid = palloc(sizeof(ItemPointerData));

	ExecClearTuple(slot);
	slot_getallattrs(state->left);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++) {
		slot->tts_values[i] = state->left->tts_values[i];
		slot->tts_isnull[i] = state->left->tts_isnull[i];
	}
	ExecStoreVirtualTuple(slot);
	ExecMaterializeSlot(slot);
	*tid = *(ItemPointer)DatumGetPointer(
		state->left->tts_values[slot->tts_tupleDescriptor->natts]);
	return tid;
}

/* It gets its new values where it is. Returns where that is now. */
static ItemPointer write_leaving(RowwiseState *state, int shard, List *columns)
{
	Query *query = text_for(state, columns);
	Var *ctid = makeVar(1, SelfItemPointerAttributeNumber, TIDOID, -1, InvalidOid, 0);
	ItemPointer tid = NULL;
	HerdExec *exec;
	HerdJob *job;

	query->returningList =
		lappend(query->returningList,
			makeTargetEntry((Expr *)ctid, list_length(query->returningList) + 1,
					pstrdup("ctid"), false));
	*herd_row_write_values(query) = list_make1(values_of(state, columns));
	job = job_of(state, shard, query);
	job->params = state->params;
	job->tupdesc = state->left->tts_tupleDescriptor;
	job->rights = rights_of(state, HERD_ROW_LEAVING);
	exec = herd_exec_begin(job);
	while (herd_exec_next(exec, state->left))
		tid = store_returned(state);
	if (tid == NULL)
		row_gone(state);
	herd_exec_end(exec);
	return tid;
}

static void delete_left(RowwiseState *state, int shard, ItemPointer tid)
{
	HerdRowWrite write = { .relid = state->parts.relid, .command = CMD_DELETE };
	Query *query = herd_row_write_query(&write);
	TupleTableSlot *none = MakeSingleTupleTableSlot(CreateTemplateTupleDesc(0), &TTSOpsVirtual);
	HerdExec *exec;
	HerdJob *job;

	*herd_row_write_values(query) =
		list_make1(list_make1(value_const(TIDOID, PointerGetDatum(tid), false)));
	job = job_of(state, shard, query);
	job->code = true;
	/* the row has only just come to where it is now */
	job->apart = true;
	job->rights = herd_rights_message_part(NIL, NIL, HERD_ROW_MOVED);
	exec = herd_exec_begin(job);
	while (herd_exec_next(exec, none))
		CHECK_FOR_INTERRUPTS();
	if (herd_exec_processed(exec) == 0)
		row_gone(state);
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(none);
}

static void move_row(RowwiseState *state, int shard, HeapTuple before, List *columns)
{
	HeapTuple after;

	if (state->arrivals == NULL)
		begin_moves(state);
	delete_left(state, shard, write_leaving(state, shard, columns));
	after = herd_row_insert_moved(state->arrivals, state->whole);
	if (state->fires)
		herd_capture_moved(state->rel, state->table->shards[shard].shardid, before, after);
	if (state->counts)
		state->css.ss.ps.state->es_processed++;
}

/*
 * Sends the next row that is to be written; or has written it, moved: what it returns is in the
 * node's slot. False: there is none.
 */
static bool next_row(RowwiseState *state, bool *moved)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	const HerdRowwise *parts = &state->parts;
	int keypos = -1;
	ListCell *lc;

	*moved = false;
	foreach (lc, parts->atts)
		if (lfirst_int(lc) == state->table->keyattno)
			keypos = foreach_current_index(lc);
	for (;;) {
		MemoryContext old;
		HeapTuple before;
		List *columns = NIL;
		int shard;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(state->memory);
		ResetExprContext(econtext);
		if (!tuplestore_gettupleslot(state->rows, true, false, state->row))
			return false;
		slot_getallattrs(state->row);
		econtext->ecxt_outertuple = state->row;
		old = MemoryContextSwitchTo(state->memory);
		shard = shard_of(state, keypos < 0 ? 0 : state->row->tts_values[keypos],
				 keypos >= 0 && state->row->tts_isnull[keypos]);
		if (!passes(state, econtext) ||
		    !is_new(state, shard,
			    (ItemPointer)DatumGetPointer(
				    state->row->tts_values[list_length(parts->atts)]))) {
			MemoryContextSwitchTo(old);
			continue;
		}
		before = old_tuple(state);
		if (parts->command == CMD_UPDATE) {
			set_values(state, before, econtext);
			if (state->before != NULL &&
			    !herd_before_update(state->before, before, state->whole)) {
				MemoryContextSwitchTo(old);
				continue;
			}
			slot_getallattrs(state->whole);
			columns = columns_to_set(state, before);
			*moved = shard_wanted(state, shard) != shard;
		} else if (state->before != NULL && !herd_before_delete(state->before, before)) {
			MemoryContextSwitchTo(old);
			continue;
		}
		if (*moved)
			move_row(state, shard, before, columns);
		else
			send_row(state, shard, columns);
		MemoryContextSwitchTo(old);
		return true;
	}
}

static TupleTableSlot *rowwise_next(ScanState *ss)
{
	RowwiseState *state = (RowwiseState *)ss;
	TupleTableSlot *slot = ss->ss_ScanTupleSlot;
	bool moved;

	ExecClearTuple(slot);
	if (state->ended)
		return slot;
	if (!state->started)
		start(state);
	for (;;) {
		if (state->exec != NULL) {
			if (herd_exec_next(state->exec, slot))
				return slot;
			if (herd_exec_processed(state->exec) == 0)
				row_gone(state);
			if (state->counts)
				ss->ps.state->es_processed++;
			herd_exec_end(state->exec);
			state->exec = NULL;
		}
		if (!next_row(state, &moved)) {
			state->ended = true;
			if (state->fires)
				herd_fire(&state->fire, false);
			return ExecClearTuple(slot);
		}
		if (moved && state->parts.returning != NIL)
			return slot;
	}
}

static bool rowwise_recheck(ScanState *ss, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *rowwise_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, rowwise_next, rowwise_recheck);
}

static void rowwise_end(CustomScanState *node)
{
	RowwiseState *state = (RowwiseState *)node;

	if (state->exec != NULL)
		herd_exec_end(state->exec);
	state->exec = NULL;
	if (!state->started)
		return;
	if (state->before != NULL)
		herd_before_end(state->before);
	if (state->arrivals != NULL) {
		herd_row_insert_end(state->arrivals);
		ExecDropSingleTupleTableSlot(state->left);
	}
	ExecDropSingleTupleTableSlot(state->row);
	ExecDropSingleTupleTableSlot(state->whole);
	tuplestore_end(state->rows);
	table_close(state->rel, NoLock);
}

static void rowwise_rescan(CustomScanState *node)
{
	elog(ERROR, "a write to shards cannot be run twice");
}

static void rowwise_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	RowwiseState *state = (RowwiseState *)node;

	ExplainPropertyText("Tier", "row by row from this node", es);
	ExplainPropertyText("Table", get_rel_name(state->table->relid), es);
}

static const CustomExecMethods rowwise_exec_methods = {
	.CustomName = "Herd Rows",
	.BeginCustomScan = rowwise_begin,
	.ExecCustomScan = rowwise_exec,
	.EndCustomScan = rowwise_end,
	.ReScanCustomScan = rowwise_rescan,
	.ExplainCustomScan = rowwise_explain,
};

static Node *rowwise_create_state(CustomScan *scan)
{
	RowwiseState *state = (RowwiseState *)newNode(sizeof(RowwiseState), T_CustomScanState);

	state->css.methods = &rowwise_exec_methods;
	return (Node *)state;
}

void herd_rowwise_init(void)
{
	RegisterCustomScanMethods(&rowwise_methods);
}
