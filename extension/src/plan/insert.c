#include "postgres.h"

#include "access/table.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "attach/attach.h"
#include "attach/before.h"
#include "catalog/metadata.h"
#include "conn/rights.h"
#include "deparse/code.h"
#include "plan/conflict.h"
#include "plan/remote.h"
#include "plan/rights.h"
#include "plan/rowwise.h"
#include "plan/security.h"
#include "stats/queries.h"

/* Rows of one INSERT statement per shard; a child with more rows is copied in, if that will do. */
#define BATCH_ROWS 500

typedef struct InsertState {
	CustomScanState css;
	Query *insert; /* reads relation values_index, a VALUES list to be filled */
	List *attnums;
	List *given; /* columns that the child gives, when triggers fire here; else attnums */
	HerdBefore *before;           /* these triggers, or NULL */
	HerdConflict *conflict;       /* what they need for ON CONFLICT DO UPDATE, or NULL */
	bool updating;                /* exec writes a row that was there */
	TupleTableSlot *whole, *sent; /* a row of the table, and of attnums: for them */
	int values_index;
	List *rights_relids, *rights_roles;
	int keypos; /* position of the key in a row; -1 if there is none */
	const HerdTable *table;
	HerdRemote remote; /* for its parameters */
	List *evals;
	ParamListInfo params;
	MemoryContext memory; /* of one batch */
	List **rows;          /* per shard: of List of Const */
	int nrows;
	HerdExec *exec;
	HerdShardWriter *writer;
	HerdFire *fire; /* statement triggers, or NULL */
	bool counts;
	bool child_done;
	bool ended;
	bool batched;
} InsertState;

static Node *insert_create_state(CustomScan *scan);

static const CustomScanMethods insert_methods = {
	.CustomName = "Herd Insert",
	.CreateCustomScanState = insert_create_state,
};

/* The statement as INSERT .. SELECT columns FROM an empty VALUES list at the end of the rtable. */
int herd_insert_read_values(Query *insert, List *attnums)
{
	Oid relid = rt_fetch(insert->resultRelation, insert->rtable)->relid;
	RangeTblEntry *values = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Relation rel = table_open(relid, NoLock);
	int index = list_length(insert->rtable) + 1;
	ListCell *lc;

	foreach (lc, insert->rtable) {
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION)
			continue;
		rte->rtekind = RTE_RESULT;
		rte->subquery = NULL;
		rte->values_lists = NIL;
	}
	insert->targetList = NIL;
	values->rtekind = RTE_VALUES;
	values->eref = makeAlias("*VALUES*", NIL);
	foreach (lc, attnums) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), lfirst_int(lc) - 1);
		int pos = foreach_current_index(lc) + 1;
		Var *var = makeVar(index, pos, att->atttypid, att->atttypmod, att->attcollation, 0);

		insert->targetList = lappend(
			insert->targetList, makeTargetEntry((Expr *)var, att->attnum,
							    pstrdup(NameStr(att->attname)), false));
		values->coltypes = lappend_oid(values->coltypes, att->atttypid);
		values->coltypmods = lappend_int(values->coltypmods, att->atttypmod);
		values->colcollations = lappend_oid(values->colcollations, att->attcollation);
		values->eref->colnames =
			lappend(values->eref->colnames, makeString(psprintf("column%d", pos)));
	}
	table_close(rel, NoLock);
	insert->rtable = lappend(insert->rtable, values);
	ref->rtindex = index;
	insert->jointree = makeFromExpr(list_make1(ref), NULL);
	insert->cteList = NIL;
	insert->hasTargetSRFs = insert->hasModifyingCTE = false;
	return index;
}

/* What can be stored in columns of the table. */
static List *stored_columns(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	List *columns = NIL;

	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (!att->attisdropped && !att->attgenerated)
			columns = lappend_int(columns, att->attnum);
	}
	table_close(rel, NoLock);
	return columns;
}

CustomScan *herd_insert_plan(Query *insert, List *attnums, Plan *child, List *returning)
{
	CustomScan *scan = makeNode(CustomScan);
	Oid relid = rt_fetch(insert->resultRelation, insert->rtable)->relid;
	List *given = attnums;
	List *evals = NIL;
	bool fires = herd_rowwise_wanted(insert);
	int index;

	/* a trigger may set any of them */
	if (fires)
		attnums = stored_columns(relid);
	index = herd_insert_read_values(insert, attnums);

	herd_evals_extract(insert, &evals);
	scan->methods = &insert_methods;
	scan->custom_plans = list_make1(child);
	scan->custom_exprs = evals;
	scan->custom_scan_tlist = returning;
	scan->custom_private = list_make5(insert, attnums, list_make1_int(index),
					  herd_rights_relids(), herd_rights_roles());
	scan->custom_private = lappend(scan->custom_private, fires ? given : NIL);
	if (herd_rights_relids() != NIL)
		herd_rights_check_values(insert);
	return scan;
}

static void begin_before(InsertState *state)
{
	Relation rel = table_open(state->table->relid, NoLock);
	TupleDesc whole = RelationGetDescr(rel);
	TupleDesc sent = CreateTemplateTupleDesc(list_length(state->attnums));
	ListCell *lc;

	foreach (lc, state->attnums)
		TupleDescCopyEntry(sent, foreach_current_index(lc) + 1, whole, lfirst_int(lc));
	state->whole = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(whole), &TTSOpsVirtual);
	state->sent = MakeSingleTupleTableSlot(sent, &TTSOpsVirtual);
	table_close(rel, NoLock);
	state->before =
		herd_before_begin(state->table->relid, herd_conflict_columns(state->insert));
	state->conflict = herd_conflict_begin(state->insert, state->before, state->rights_relids,
					      state->rights_roles);
}

static void insert_begin(CustomScanState *node, EState *estate, int eflags)
{
	InsertState *state = (InsertState *)node;
	CustomScan *scan = (CustomScan *)node->ss.ps.plan;
	Oid relid;
	ListCell *lc;

	state->insert = linitial(scan->custom_private);
	state->attnums = lsecond(scan->custom_private);
	state->values_index = linitial_int(lthird(scan->custom_private));
	state->rights_relids = lfourth(scan->custom_private);
	state->rights_roles = list_nth(scan->custom_private, 4);
	state->remote.evals = scan->custom_exprs;
	state->remote.ntext = list_length(scan->custom_exprs);
	state->evals = ExecInitExprList(scan->custom_exprs, &node->ss.ps);
	state->counts = estate->es_plannedstmt->planTree == (Plan *)scan;
	state->memory =
		AllocSetContextCreate(estate->es_query_cxt, "herd insert", ALLOCSET_DEFAULT_SIZES);
	relid = rt_fetch(state->insert->resultRelation, state->insert->rtable)->relid;
	state->table = herd_table_get(relid);
	if (state->table == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("relation with OID %u is not distributed anymore", relid)));
	state->fire = herd_fire_of(state->insert);
	state->keypos = -1;
	foreach (lc, state->attnums)
		if (lfirst_int(lc) == state->table->keyattno)
			state->keypos = foreach_current_index(lc);
	state->given = list_nth(scan->custom_private, 5);
	if (state->given != NIL && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		begin_before(state);
	state->rows = palloc0(state->table->nshards * sizeof(List *));
	node->custom_ps = list_make1(ExecInitNode(linitial(scan->custom_plans), estate, eflags));
}

static int row_shard(InsertState *state, TupleTableSlot *slot)
{
	bool isnull = true;
	Datum key = 0;

	if (state->table->kind != HERD_TABLE_HASH)
		return 0;
	if (state->keypos >= 0)
		key = slot_getattr(slot, state->keypos + 1, &isnull);
	if (isnull)
		herd_null_key_error(state->table);
	return herd_table_shard_index(state->table, herd_table_hash(state->table, key));
}

static void add_row(InsertState *state, TupleTableSlot *slot)
{
	int shard = row_shard(state, slot);
	MemoryContext old = MemoryContextSwitchTo(state->memory);
	List *row = NIL;

	slot_getallattrs(slot);
	for (int i = 0; i < list_length(state->attnums); i++) {
		Form_pg_attribute att = TupleDescAttr(slot->tts_tupleDescriptor, i);
		bool isnull = slot->tts_isnull[i];
		Datum value = slot->tts_values[i];

		if (!isnull && att->attlen == -1)
			value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		else if (!isnull)
			value = datumCopy(value, att->attbyval, att->attlen);
		row = lappend(row, makeConst(att->atttypid, -1, att->attcollation, att->attlen,
					     isnull ? (Datum)0 : value, isnull, att->attbyval));
	}
	state->rows[shard] = lappend(state->rows[shard], row);
	state->nrows++;
	MemoryContextSwitchTo(old);
}

/* The statement for the rows of one shard. */
static char *shard_sql(InsertState *state, int shard)
{
	Query *query = copyObject(state->insert);

	rt_fetch(state->values_index, query->rtable)->values_lists = state->rows[shard];
	return herd_template_fill(state->rights_relids != NIL ? herd_deparse_foreign(query)
							      : herd_deparse(query),
				  shard);
}

/* The row as triggers leave it, or NULL: it is to be skipped. */
static TupleTableSlot *fire_before(InsertState *state, TupleTableSlot *slot)
{
	TupleTableSlot *whole = state->whole, *sent = state->sent;
	int natts = whole->tts_tupleDescriptor->natts;
	ListCell *lc;

	slot_getallattrs(slot);
	ExecClearTuple(whole);
	memset(whole->tts_values, 0, natts * sizeof(Datum));
	memset(whole->tts_isnull, true, natts * sizeof(bool));
	foreach (lc, state->given) {
		int from = foreach_current_index(lc), to = lfirst_int(lc) - 1;

		whole->tts_values[to] = slot->tts_values[from];
		whole->tts_isnull[to] = slot->tts_isnull[from];
	}
	ExecStoreVirtualTuple(whole);
	if (!herd_before_insert(state->before, whole))
		return NULL;
	slot_getallattrs(whole);
	ExecClearTuple(sent);
	foreach (lc, state->attnums) {
		int to = foreach_current_index(lc), from = lfirst_int(lc) - 1;

		sent->tts_values[to] = whole->tts_values[from];
		sent->tts_isnull[to] = whole->tts_isnull[from];
	}
	return ExecStoreVirtualTuple(sent);
}

static void send_batch(InsertState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->memory);
	HerdJob *job = palloc0(sizeof(HerdJob));
	const HerdTable *table = state->table;
	TupleDesc desc = state->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor;

	job->modifies = true;
	job->all_in_txn = state->fire != NULL || state->before != NULL;
	job->params = state->params;
	job->code = herd_attach_has_code(state->table->relid) || herd_query_has_code(state->insert);
	job->tupdesc = desc->natts > 0 ? desc : NULL;
	if (state->before != NULL)
		job->rights = herd_rights_message_part(state->rights_relids, state->rights_roles,
						       HERD_ROW_FIRED);
	else if (state->rights_relids != NIL)
		job->rights = herd_rights_message(state->rights_relids, state->rights_roles);
	if (table->kind == HERD_TABLE_REFERENCE) {
		const HerdShard *shard = &table->shards[0];
		char *sql = shard_sql(state, 0);

		job->reference_write = true;
		job->tasks = palloc0(shard->ngroups * sizeof(HerdTask));
		for (int i = 0; i < shard->ngroups; i++)
			herd_job_add_write(job, shard, shard->groups[i], sql);
	} else {
		job->tasks = palloc0(table->nshards * sizeof(HerdTask));
		for (int i = 0; i < table->nshards; i++)
			if (state->rows[i] != NIL)
				herd_job_add_write(job, &table->shards[i],
						   table->shards[i].groups[0], shard_sql(state, i));
	}
	herd_query_saw(NULL, state->css.ss.ps.state, NULL, job->ntasks);
	if (state->conflict != NULL)
		herd_conflict_send(state->conflict);
	state->exec = herd_exec_begin(job);
	MemoryContextSwitchTo(old);
}

/* The row that was sent has found another one. */
static void send_update(InsertState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->memory);
	HerdJob *job = herd_conflict_job(state->conflict);
	TupleDesc desc = state->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor;

	state->updating = job != NULL;
	if (job != NULL) {
		job->params = state->params;
		job->tupdesc = desc->natts > 0 ? desc : NULL;
		state->exec = herd_exec_begin(job);
	}
	MemoryContextSwitchTo(old);
}

static void count_rows(InsertState *state, uint64 n)
{
	if (state->counts)
		state->css.ss.ps.state->es_processed += n;
}

/* All of its rows have come. */
static void end_exec(InsertState *state)
{
	bool updated = state->updating;

	count_rows(state, herd_exec_processed(state->exec));
	if (updated)
		herd_conflict_written(herd_exec_processed(state->exec));
	herd_exec_end(state->exec);
	state->exec = NULL;
	state->updating = false;
	if (state->conflict != NULL && !updated)
		send_update(state);
}

/* Without conflicts to resolve and rows to return, many rows go faster by COPY. */
static bool can_copy(InsertState *state)
{
	return state->before == NULL && state->rights_relids == NIL &&
	       state->insert->onConflict == NULL && state->insert->returningList == NIL &&
	       state->table->kind == HERD_TABLE_HASH &&
	       check_enable_rls(state->table->relid, InvalidOid, true) != RLS_ENABLED;
}

static void copy_rows(InsertState *state, PlanState *child, TupleTableSlot *slot)
{
	HerdShardWriter *writer = herd_shard_writer_begin(state->table->relid, state->attnums);
	int natts = list_length(state->attnums);
	Datum *values = palloc(natts * sizeof(Datum));
	bool *isnull = palloc(natts * sizeof(bool));

	for (int i = 0; i < state->table->nshards; i++) {
		ListCell *lc;

		foreach (lc, state->rows[i]) {
			ListCell *cl;

			foreach (cl, (List *)lfirst(lc)) {
				Const *value = lfirst(cl);

				values[foreach_current_index(cl)] = value->constvalue;
				isnull[foreach_current_index(cl)] = value->constisnull;
			}
			herd_shard_writer_put(writer, values, isnull);
		}
	}
	for (; !TupIsNull(slot); slot = ExecProcNode(child)) {
		slot_getallattrs(slot);
		herd_shard_writer_put(writer, slot->tts_values, slot->tts_isnull);
		ResetExprContext(state->css.ss.ps.ps_ExprContext);
	}
	count_rows(state, herd_shard_writer_end(writer));
}

/* Takes rows from the child until the batch is full; false when there is nothing to send. */
static bool fill_batch(InsertState *state)
{
	PlanState *child = linitial(state->css.custom_ps);

	MemoryContextReset(state->memory);
	memset(state->rows, 0, state->table->nshards * sizeof(List *));
	state->nrows = 0;
	while (!state->child_done) {
		TupleTableSlot *slot = ExecProcNode(child);

		if (TupIsNull(slot)) {
			state->child_done = true;
		} else if (state->nrows == BATCH_ROWS && !state->batched && can_copy(state)) {
			copy_rows(state, child, slot);
			state->child_done = true;
			return false;
		} else if (state->before != NULL) {
			slot = fire_before(state, slot);
			if (slot == NULL)
				continue;
			add_row(state, slot);
			break;
		} else {
			add_row(state, slot);
			if (state->nrows == BATCH_ROWS && !can_copy(state))
				break;
		}
	}
	state->batched = true;
	return state->nrows > 0;
}

static TupleTableSlot *insert_next(ScanState *ss)
{
	InsertState *state = (InsertState *)ss;
	TupleTableSlot *slot = ss->ss_ScanTupleSlot;

	ExecClearTuple(slot);
	if (state->ended)
		return slot;
	if (state->fire != NULL && !state->batched && !state->child_done && state->exec == NULL)
		herd_fire(state->fire, true);
	if (state->params == NULL && state->evals != NIL)
		state->params =
			herd_remote_params(&state->remote, state->evals, ss->ps.ps_ExprContext);
	for (;;) {
		if (state->exec != NULL) {
			if (herd_exec_next(state->exec, slot))
				return slot;
			end_exec(state);
			continue;
		}
		if (!fill_batch(state)) {
			state->ended = true;
			if (state->fire != NULL)
				herd_fire(state->fire, false);
			return ExecClearTuple(slot);
		}
		send_batch(state);
	}
}

static bool insert_recheck(ScanState *ss, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *insert_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, insert_next, insert_recheck);
}

static void insert_end(CustomScanState *node)
{
	InsertState *state = (InsertState *)node;

	if (state->exec != NULL)
		herd_exec_end(state->exec);
	state->exec = NULL;
	if (state->conflict != NULL)
		herd_conflict_end(state->conflict);
	if (state->before != NULL) {
		herd_before_end(state->before);
		ExecDropSingleTupleTableSlot(state->whole);
		ExecDropSingleTupleTableSlot(state->sent);
	}
	ExecEndNode(linitial(node->custom_ps));
}

static void insert_rescan(CustomScanState *node)
{
	elog(ERROR, "a write to shards cannot be run twice");
}

static void insert_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	InsertState *state = (InsertState *)node;

	ExplainPropertyText("Tier", "rows through this node", es);
	ExplainPropertyText("Table", get_rel_name(state->table->relid), es);
}

static const CustomExecMethods insert_exec_methods = {
	.CustomName = "Herd Insert",
	.BeginCustomScan = insert_begin,
	.ExecCustomScan = insert_exec,
	.EndCustomScan = insert_end,
	.ReScanCustomScan = insert_rescan,
	.ExplainCustomScan = insert_explain,
};

static Node *insert_create_state(CustomScan *scan)
{
	InsertState *state = (InsertState *)newNode(sizeof(InsertState), T_CustomScanState);

	state->css.methods = &insert_exec_methods;
	return (Node *)state;
}

void herd_insert_init(void)
{
	RegisterCustomScanMethods(&insert_methods);
}
