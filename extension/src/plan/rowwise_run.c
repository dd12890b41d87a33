/*
 * plan/rowwise_run.c - runs an UPDATE, DELETE or MERGE row by row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
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
#include "optimizer/optimizer.h"
#include "tcop/dest.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
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
#include "plan/policies.h"
#include "plan/rekey.h"
#include "plan/remote.h"
#include "plan/rights.h"
#include "plan/row_insert.h"
#include "plan/rowwise.h"

/* Which row of which shard: of a join each counts once. */
typedef struct RowKey {
	int32 shard;
	Oid partition;
	ItemPointerData tid;
} RowKey;

typedef struct RowwiseState {
	CustomScanState css;
	HerdRowwise parts; /* without select and exprs */
	PlannedStmt *select;
	List *rights_relids, *rights_roles; /* of Oid: plan/rights.h */
	HerdRemote remote;                  /* for the parameters of the text */
	List *evals, *quals, *values;       /* of ExprState */
	List *early;                        /* those of quals, then of values, computed ahead */
	int nearly;                         /* so many of early are of quals */
	Tuplestorestate *ahead; /* whether quals hold, and values, for each row; or NULL */
	TupleTableSlot *known;  /* of ahead */
	CmdType command;        /* of the row, as are sets and positions */
	List *sets, *positions;
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
	CmdType text_command;
	List *columns;
	MemoryContext text_memory;
	HerdExec *exec;
} RowwiseState;

/* In the plan. */
enum { MOVES = 1, UNIQUE = 2, PARTITIONED = 4 };

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
				       (parts->moves ? MOVES : 0) | (parts->unique ? UNIQUE : 0) |
					       (parts->partitioned ? PARTITIONED : 0)));
	scan->custom_private = lappend(scan->custom_private, parts->actions);
	scan->custom_private = lappend(scan->custom_private, list_make1_int(parts->code));
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
	parts->partitioned = (list_nth_int(numbers, 4) & PARTITIONED) != 0;
	parts->actions = list_nth(private, 11);
	parts->code = linitial_int(list_nth(private, 12));
	state->command = parts->command;
	state->sets = parts->sets;
	state->positions = parts->positions;
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

static int16 event_of(CmdType command)
{
	return command == CMD_INSERT   ? TRIGGER_TYPE_INSERT
	       : command == CMD_UPDATE ? TRIGGER_TYPE_UPDATE
	       : command == CMD_DELETE ? TRIGGER_TYPE_DELETE
				       : 0;
}

static void set_fire(RowwiseState *state)
{
	ListCell *lc;

	state->fire = (HerdFire){ .relid = state->parts.relid,
				  .command = state->parts.command,
				  .columns = list_copy(state->parts.sets) };
	foreach (lc, state->parts.actions) {
		const List *action = lfirst(lc);
		CmdType command = linitial_int(linitial(action));

		state->fire.merges |= event_of(command);
		if (command == CMD_UPDATE)
			state->fire.columns =
				list_concat_unique_int(state->fire.columns, lsecond(action));
	}
}

/* What the statement may do with a row: TRIGGER_TYPE_INSERT | .. */
static int16 events_of(const RowwiseState *state)
{
	return state->fire.merges | event_of(state->parts.command);
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
	set_fire(state);
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

static int shard_of(const RowwiseState *state, Datum key, bool isnull)
{
	if (state->table->kind != HERD_TABLE_HASH)
		return 0;
	if (isnull)
		herd_null_key_error(state->table);
	return herd_table_shard_index(state->table, herd_table_hash(state->table, key));
}

/* Where the row of the SELECT is. */
static int shard_of_row(const RowwiseState *state)
{
	int keypos = -1;
	ListCell *lc;

	foreach (lc, state->parts.atts)
		if (lfirst_int(lc) == state->table->keyattno)
			keypos = foreach_current_index(lc);
	return shard_of(state, keypos < 0 ? 0 : state->row->tts_values[keypos],
			keypos >= 0 && state->row->tts_isnull[keypos]);
}

/* True the first time that the row comes. */
static bool is_new(RowwiseState *state, int shard, HASHACTION action)
{
	int tid = list_length(state->parts.atts);
	RowKey key;
	bool found;

	if (state->seen == NULL)
		return true;
	memset(&key, 0, sizeof(key));
	key.shard = shard;
	key.tid = *(ItemPointer)DatumGetPointer(state->row->tts_values[tid]);
	if (state->parts.partitioned)
		key.partition = DatumGetObjectId(state->row->tts_values[tid + 1]);
	(void)hash_search(state->seen, &key, action, &found);
	return !found;
}

/* MERGE: a row that has been written already is not for another action. */
static void check_new(RowwiseState *state, int shard)
{
	if (!is_new(state, shard, HASH_FIND))
		ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("%s command cannot affect row a second time", "MERGE"),
			 errhint("Ensure that not more than one source row matches any one target "
				 "row.")));
}

static bool all_hold(List *quals, int n, ExprContext *econtext)
{
	for (int i = 0; i < n; i++) {
		bool isnull;
		Datum value = ExecEvalExprSwitchContext(list_nth(quals, i), econtext, &isnull);

		if (isnull || !DatumGetBool(value))
			return false;
	}
	return true;
}

static bool passes(RowwiseState *state, ExprContext *econtext)
{
	if (state->ahead != NULL && !DatumGetBool(state->known->tts_values[0]))
		return false;
	return all_hold(state->quals, list_length(state->quals), econtext);
}

static bool next_of_rows(RowwiseState *state)
{
	if (!tuplestore_gettupleslot(state->rows, true, false, state->row))
		return false;
	slot_getallattrs(state->row);
	return true;
}

/* -- what the statement's own changes do not concern ---------------------------------------------
 */

static bool is_early(const ExprState *expr)
{
	return !contain_volatile_functions((Node *)expr->expr);
}

/* Takes them from quals, but not from values, which are found by their place. */
static void choose_early(RowwiseState *state)
{
	List *late = NIL;
	ListCell *lc;

	foreach (lc, state->quals) {
		if (is_early(lfirst(lc)))
			state->early = lappend(state->early, lfirst(lc));
		else
			late = lappend(late, lfirst(lc));
	}
	state->quals = late;
	state->nearly = list_length(state->early);
	foreach (lc, state->values)
		if (is_early(lfirst(lc)))
			state->early = lappend(state->early, lfirst(lc));
}

static TupleDesc early_desc(const RowwiseState *state)
{
	int nvalues = list_length(state->early) - state->nearly;
	TupleDesc desc = CreateTemplateTupleDesc(1 + nvalues);

	TupleDescInitEntry(desc, 1, "holds", BOOLOID, -1, 0);
	for (int i = 0; i < nvalues; i++) {
		const ExprState *expr = list_nth(state->early, state->nearly + i);

		TupleDescInitEntry(desc, i + 2, "value", exprType((Node *)expr->expr), -1, 0);
	}
	return desc;
}

/* Values of rows that are not to be changed are not computed: that could fail. */
static void compute_early(RowwiseState *state, ExprContext *econtext)
{
	int natts = state->known->tts_tupleDescriptor->natts;
	Datum *values = palloc0(natts * sizeof(Datum));
	bool *isnull = palloc0(natts * sizeof(bool));
	bool holds = all_hold(state->early, state->nearly, econtext);

	values[0] = BoolGetDatum(holds);
	for (int i = 1; i < natts; i++) {
		isnull[i] = !holds;
		if (holds)
			values[i] = ExecEvalExprSwitchContext(
				list_nth(state->early, state->nearly + i - 1), econtext,
				&isnull[i]);
	}
	tuplestore_putvalues(state->ahead, state->known->tts_tupleDescriptor, values, isnull);
}

/*
 * Functions that are STABLE see what was there before the statement: they are asked for all rows
 * ere the first is written.
 */
static void look_ahead(RowwiseState *state)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;

	choose_early(state);
	if (state->early == NIL)
		return;
	state->ahead = tuplestore_begin_heap(false, false, work_mem);
	state->known = MakeSingleTupleTableSlot(early_desc(state), &TTSOpsMinimalTuple);
	while (next_of_rows(state)) {
		MemoryContext old = MemoryContextSwitchTo(state->memory);

		CHECK_FOR_INTERRUPTS();
		econtext->ecxt_outertuple = state->row;
		compute_early(state, econtext);
		ResetExprContext(econtext);
		MemoryContextSwitchTo(old);
		MemoryContextReset(state->memory);
	}
	tuplestore_rescan(state->rows);
}

/* The value with this number of those that are not in the SELECT. */
static Datum value_by_row(RowwiseState *state, int n, ExprContext *econtext, bool *isnull)
{
	ExprState *expr = list_nth(state->values, n);
	int column = 1;

	for (int i = state->nearly; i < list_length(state->early); i++, column++) {
		if (list_nth(state->early, i) != expr)
			continue;
		*isnull = state->known->tts_isnull[column];
		return state->known->tts_values[column];
	}
	return ExecEvalExprSwitchContext(expr, econtext, isnull);
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
	memset(whole->tts_isnull, true, whole->tts_tupleDescriptor->natts * sizeof(bool));
	if (old != NULL)
		heap_deform_tuple(old, RelationGetDescr(state->rel), whole->tts_values,
				  whole->tts_isnull);
	forboth(lc, state->sets, pos, state->positions)
	{
		int to = lfirst_int(lc) - 1, from = lfirst_int(pos) - 1;

		if (from < 0) {
			whole->tts_values[to] =
				value_by_row(state, n++, econtext, &whole->tts_isnull[to]);
		} else {
			whole->tts_values[to] = state->row->tts_values[from];
			whole->tts_isnull[to] = state->row->tts_isnull[from];
		}
	}
	ExecStoreVirtualTuple(whole);
}

/*
 * Columns that any action of a MERGE sets: triggers OF columns fire for all of them, whichever the
 * action.
 */
static List *stored_of_all(const RowwiseState *state)
{
	List *columns = NIL;
	ListCell *lc;

	foreach (lc, state->fire.columns)
		if (get_attgenerated(state->parts.relid, lfirst_int(lc)) == '\0')
			columns = lappend_int(columns, lfirst_int(lc));
	return columns;
}

/* What the statement sets, and what triggers have set besides. */
static List *columns_to_set(const RowwiseState *state, HeapTuple old)
{
	TupleDesc desc = RelationGetDescr(state->rel);
	List *columns =
		state->parts.command == CMD_MERGE && old != NULL
			? list_concat_unique_int(list_copy(state->sets), stored_of_all(state))
			: list_copy(state->sets);

	for (int i = 0; state->before != NULL && i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool isnull = true;
		Datum value = 0;

		if (att->attisdropped || att->attgenerated || list_member_int(columns, i + 1))
			continue;
		if (old != NULL)
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
	int wanted;

	if (state->table->kind != HERD_TABLE_HASH)
		return shard;
	/* the shard refuses it */
	if (state->whole->tts_isnull[key - 1] &&
	    TupleDescAttr(RelationGetDescr(state->rel), key - 1)->attnotnull)
		return shard;
	wanted = shard_of(state, state->whole->tts_values[key - 1],
			  state->whole->tts_isnull[key - 1]);
	if (wanted != shard && state->parts.partitioned)
		herd_rekey_refuse(state->table, "The table is partitioned, and the statement is "
						"run row by row.");
	return wanted;
}

/* -- writing ----------------------------------------------------------------------------------- */

/*
 * A row that MERGE finds but may not change is an error, which UPDATE and DELETE do not make of it.
 * One of a reference table is not locked where it was read.
 */
static void refuse_by_policy(const RowwiseState *state)
{
	if (state->table->kind == HERD_TABLE_REFERENCE)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not serialize access due to concurrent update")));
	if (!list_member_oid(state->rights_relids, state->parts.relid) &&
	    check_enable_rls(state->parts.relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("target row violates row-level security policy (USING "
				       "expression) for table \"%s\"",
				       RelationGetRelationName(state->rel))));
}

/* The row was locked, so nobody else can have changed it. */
static void row_gone(const RowwiseState *state)
{
	if (state->parts.command == CMD_MERGE)
		refuse_by_policy(state);
	ereport(ERROR,
		(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
		 errmsg("tuple to be %s was already modified by an operation triggered by the "
			"current command",
			state->parts.command == CMD_MERGE    ? "updated or deleted"
			: state->parts.command == CMD_UPDATE ? "updated"
							     : "deleted"),
		 errhint("Consider using an AFTER trigger instead of a BEFORE trigger to propagate "
			 "changes to other rows.")));
}

static Query *text_for(RowwiseState *state, List *columns)
{
	HerdRowWrite write = { .relid = state->parts.relid,
			       .command = state->command,
			       .sent = state->parts.sent,
			       .keys = state->parts.keys,
			       .unique = state->parts.unique,
			       .partitioned = state->parts.partitioned,
			       .columns = columns };
	MemoryContext old;

	if (state->text != NULL && state->text_command == state->command &&
	    equal(columns, state->columns))
		return copyObject(state->text);
	MemoryContextReset(state->text_memory);
	old = MemoryContextSwitchTo(state->text_memory);
	write.columns = state->columns = list_copy(columns);
	state->text = herd_row_write_query(&write);
	state->text_command = state->command;
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
	List *values = list_make1(
		value_const(TIDOID, state->row->tts_values[tid], state->row->tts_isnull[tid]));
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

static HerdJob *job_of(const RowwiseState *state, int shard, Query *query)
{
	HerdJob *job =
		herd_job_write(state->table, shard, herd_template_fill(herd_deparse(query), shard));

	job->code = herd_attach_has_code(state->parts.relid) || herd_query_has_code(query);
	return job;
}

/* -- locks of MERGE -----------------------------------------------------------------------------
 */

/* So often rows may be changed by others while what is to be written to them is computed. */
#define MOST_TRIES 20

/* For each shard, a list of values for herd_row_lock_query; how many there are. */
static uint64 rows_to_lock(RowwiseState *state, List **rows)
{
	int tid = list_length(state->parts.atts);
	uint64 n = 0;

	while (tuplestore_gettupleslot(state->rows, true, false, state->row)) {
		int shard;
		List *values;

		slot_getallattrs(state->row);
		if (state->row->tts_isnull[tid])
			continue;
		shard = shard_of_row(state);
		values = list_make1(value_const(
			TIDOID,
			datumCopy(state->row->tts_values[tid], false, sizeof(ItemPointerData)),
			false));
		if (state->parts.partitioned)
			values = lappend(
				values,
				value_const(REGCLASSOID, state->row->tts_values[tid + 1], false));
		rows[shard] = lappend(rows[shard], values);
		n++;
	}
	tuplestore_rescan(state->rows);
	return n;
}

static uint64 lock_in_shard(const RowwiseState *state, int shard, List *rows)
{
	Query *query = herd_row_lock_query(state->parts.relid, state->parts.partitioned);
	TupleDesc desc = CreateTemplateTupleDesc(1);
	TupleTableSlot *slot;
	HerdExec *exec;
	HerdJob *job;
	uint64 n = 0;

	*herd_row_write_values(query) = rows;
	TupleDescInitEntry(desc, 1, "n", INT8OID, -1, 0);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	job = job_of(state, shard, query);
	job->code = true;
	job->tupdesc = desc;
	job->rights = herd_rights_message_part(NIL, NIL, HERD_ROW_MOVED);
	exec = herd_exec_begin(job);
	while (herd_exec_next(exec, slot)) {
		bool isnull;

		n += DatumGetInt64(slot_getattr(slot, 1, &isnull));
		ExecClearTuple(slot);
	}
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
	return n;
}

/* True: they are all as they were read, and nobody else can change them now. */
static bool lock_rows(RowwiseState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->memory);
	List **rows = palloc0(state->table->nshards * sizeof(List *));
	uint64 n = rows_to_lock(state, rows);

	for (int i = 0; i < state->table->nshards; i++)
		if (rows[i] != NIL)
			n -= lock_in_shard(state, i, rows[i]);
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->memory);
	return n == 0;
}

/* Rows are computed again as long as others change them meanwhile. */
static void read_and_lock(RowwiseState *state)
{
	read_rows(state);
	/* the copies that rows of a reference table are read from are not known */
	if (state->table->kind == HERD_TABLE_REFERENCE)
		return;
	for (int tries = 0; !lock_rows(state); tries++) {
		if (IsolationUsesXactSnapshot() || tries >= MOST_TRIES)
			ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
		CHECK_FOR_INTERRUPTS();
		tuplestore_end(state->rows);
		ExecDropSingleTupleTableSlot(state->row);
		PushActiveSnapshot(GetLatestSnapshot());
		/* newer, but what the statement itself has changed it does not see */
		GetActiveSnapshot()->curcid = state->css.ss.ps.state->es_snapshot->curcid;
		read_rows(state);
		PopActiveSnapshot();
	}
}

static void start(RowwiseState *state)
{
	const HerdRowwise *parts = &state->parts;
	MemoryContext old = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);
	int16 events = events_of(state);

	state->started = true;
	state->rel = table_open(parts->relid, NoLock);
	/* those of partitions fire where rows are routed to them, on the shard */
	if (!parts->partitioned && herd_before_any(parts->relid, events))
		state->before = herd_before_begin(parts->relid, state->fire.columns);
	/* a trigger may change the distribution column, too */
	state->fire.moves =
		parts->moves || ((events & TRIGGER_TYPE_UPDATE) && state->before != NULL);
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
	if (parts->command == CMD_MERGE)
		read_and_lock(state);
	else
		read_rows(state);
	look_ahead(state);
	MemoryContextSwitchTo(old);
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
	Expr *ctid = (Expr *)makeVar(1, SelfItemPointerAttributeNumber, TIDOID, -1, InvalidOid, 0);
	ItemPointer tid = NULL;
	HerdExec *exec;
	HerdJob *job;

	/* nothing but the check option of a view */
	if (query->returningList != NIL && state->left->tts_tupleDescriptor->natts == 1) {
		ctid = herd_when_checked(
			list_make1(linitial_node(TargetEntry, query->returningList)->expr), ctid);
		query->returningList = NIL;
	}
	query->returningList = lappend(query->returningList,
				       makeTargetEntry(ctid, list_length(query->returningList) + 1,
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

/* -- one row after the other ------------------------------------------------------------------- */

/* The action of MERGE that the row is for. */
static void choose_action(RowwiseState *state)
{
	int number = DatumGetInt32(state->row->tts_values[state->parts.code - 1]);
	const List *action = list_nth(state->parts.actions, number - 1);

	state->command = linitial_int(linitial(action));
	state->sets = lsecond(action);
	state->positions = lthird(action);
}

static bool insert_row(RowwiseState *state, ExprContext *econtext)
{
	set_values(state, NULL, econtext);
	if (state->before != NULL && !herd_before_insert(state->before, state->whole))
		return false;
	slot_getallattrs(state->whole);
	send_row(state,
		 state->table->kind != HERD_TABLE_HASH
			 ? 0
			 : shard_of(state, state->whole->tts_values[state->table->keyattno - 1],
				    state->whole->tts_isnull[state->table->keyattno - 1]),
		 columns_to_set(state, NULL));
	return true;
}

static bool change_row(RowwiseState *state, ExprContext *econtext, bool *moved)
{
	bool merges = state->parts.command == CMD_MERGE;
	int shard = shard_of_row(state);
	List *columns = NIL;
	HeapTuple before;

	if (merges)
		check_new(state, shard);
	else if (!passes(state, econtext) || !is_new(state, shard, HASH_ENTER))
		return false;
	before = old_tuple(state);
	if (state->command == CMD_UPDATE) {
		set_values(state, before, econtext);
		if (state->before != NULL &&
		    !herd_before_update(state->before, before, state->whole))
			return false;
		slot_getallattrs(state->whole);
		columns = columns_to_set(state, before);
		*moved = shard_wanted(state, shard) != shard;
	} else if (state->before != NULL && !herd_before_delete(state->before, before)) {
		return false;
	}
	if (merges)
		(void)is_new(state, shard, HASH_ENTER);
	if (*moved)
		move_row(state, shard, before, columns);
	else
		send_row(state, shard, columns);
	return true;
}

/*
 * Sends the next row that is to be written; or has written it, moved: what it returns is in the
 * node's slot. False: there is none.
 */
static bool next_row(RowwiseState *state, bool *moved)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	bool done = false;

	*moved = false;
	while (!done) {
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(state->memory);
		ResetExprContext(econtext);
		if (!next_of_rows(state))
			return false;
		if (state->ahead != NULL) {
			(void)tuplestore_gettupleslot(state->ahead, true, false, state->known);
			slot_getallattrs(state->known);
		}
		econtext->ecxt_outertuple = state->row;
		old = MemoryContextSwitchTo(state->memory);
		if (state->parts.command == CMD_MERGE)
			choose_action(state);
		done = state->command == CMD_INSERT ? insert_row(state, econtext)
						    : change_row(state, econtext, moved);
		MemoryContextSwitchTo(old);
	}
	return true;
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
	if (state->ahead != NULL) {
		ExecDropSingleTupleTableSlot(state->known);
		tuplestore_end(state->ahead);
	}
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
