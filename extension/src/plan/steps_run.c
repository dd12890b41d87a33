/*
 * plan/steps_run.c - runs the steps of a statement, and keeps their rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "tcop/dest.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "conn/moment.h"
#include "plan/remote.h"
#include "plan/steps.h"
#include "plan/stored.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_held_rows);

typedef struct StepsState {
	CustomScanState css;
	List *plans;   /* of PlannedStmt */
	List *queries; /* of QueryDesc that have run, kept for EXPLAIN */
	List *numbers; /* of each step: under which others read its rows; -1: nobody does */
	bool late;     /* triggers of shards wait for the end */
	Tuplestorestate **rows;   /* of each step that is read */
	struct StepsState *outer; /* one of whose steps this is, while it runs */
	Tuplestorestate *result;  /* of the last; NULL: it gives none, or has not run */
	TupleTableSlot *stored;
	bool done;
} StepsState;

/* Whose rows held_rows gives. */
static StepsState *running;

static Node *steps_create_state(CustomScan *scan);

static const CustomScanMethods steps_methods = {
	.CustomName = "Herd Steps",
	.CreateCustomScanState = steps_create_state,
};

CustomScan *herd_steps_plan(const List *steps, List *columns, bool late)
{
	CustomScan *scan = makeNode(CustomScan);
	List *plans = NIL, *names = NIL, *numbers = NIL;
	const ListCell *lc;

	foreach (lc, steps) {
		HerdStep *step = lfirst(lc);

		plans = lappend(plans, step->plan);
		names = lappend(names, makeString(step->name ? step->name : ""));
		numbers = lappend_int(numbers, step->held);
		scan->scan.plan.total_cost += step->plan->planTree->total_cost;
		scan->scan.plan.plan_rows = step->plan->planTree->plan_rows;
	}
	scan->methods = &steps_methods;
	scan->custom_scan_tlist = columns;
	scan->custom_private = list_make4(plans, names, numbers, makeBoolean(late));
	return scan;
}

/* -- rows of a step ---------------------------------------------------------------------------- */

static Tuplestorestate *rows_of(int number)
{
	for (StepsState *state = running; state != NULL; state = state->outer)
		for (int i = 0; i < list_length(state->numbers); i++)
			if (list_nth_int(state->numbers, i) == number && state->rows[i] != NULL)
				return state->rows[i];
	return NULL;
}

/* held_rows(number): for the statements of plan/steps.c only. */
Datum herd_held_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
	Tuplestorestate *from = rows_of(PG_GETARG_INT32(0));
	TupleTableSlot *slot;

	if (from == NULL || rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
	    rsinfo->expectedDesc == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("citus_internal.held_rows cannot be called")));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	slot = MakeSingleTupleTableSlot(rsinfo->setDesc, &TTSOpsMinimalTuple);
	tuplestore_rescan(from);
	while (tuplestore_gettupleslot(from, true, false, slot)) {
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(rsinfo->setResult, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	return (Datum)0;
}

static DestReceiver *receiver(StepsState *state, Tuplestorestate **store)
{
	DestReceiver *dest = CreateDestReceiver(DestTuplestore);

	*store = tuplestore_begin_heap(false, false, work_mem);
	SetTuplestoreDestReceiverParams(dest, *store, CurrentMemoryContext, false, NULL, NULL);
	return dest;
}

/* -- running ----------------------------------------------------------------------------------- */

static void run_step(StepsState *state, PlannedStmt *plan, DestReceiver *dest, HerdMoment moment,
		     CommandId cid)
{
	EState *estate = state->css.ss.ps.state;
	QueryDesc *query = CreateQueryDesc(plan, estate->es_sourceText, estate->es_snapshot,
					   InvalidSnapshot, dest, estate->es_param_list_info,
					   estate->es_queryEnv, estate->es_instrument);
	bool last = plan == llast(state->plans);

	/* triggers AFTER a row of a table of this node come at the end of the whole, as always */
	ExecutorStart(query, EXEC_FLAG_SKIP_TRIGGERS);
	query->estate->es_output_cid = cid;
	herd_moment_give(moment);
	herd_run_executor(query);
	ExecutorFinish(query);
	if (last && estate->es_plannedstmt->commandType != CMD_SELECT)
		estate->es_processed += query->estate->es_processed;
	state->queries = lappend(state->queries, query);
	if (estate->es_instrument != 0)
		return;
	state->queries = list_delete_last(state->queries);
	ExecutorEnd(query);
	FreeQueryDesc(query);
}

static void run_steps(StepsState *state)
{
	StepsState *volatile outer = running;
	CommandId cid;
	HerdMoment moment = herd_moment_begin(state->late, &cid);
	MemoryContext old = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);

	state->rows = palloc0(list_length(state->plans) * sizeof(Tuplestorestate *));
	state->outer = running;
	running = state;
	PG_TRY();
	{
		for (int i = 0; i < list_length(state->plans); i++) {
			PlannedStmt *plan = list_nth(state->plans, i);
			DestReceiver *dest = None_Receiver;

			if (list_nth_int(state->numbers, i) >= 0)
				dest = receiver(state, &state->rows[i]);
			else if (plan == llast(state->plans) &&
				 (plan->commandType == CMD_SELECT || plan->hasReturning))
				dest = receiver(state, &state->result);
			run_step(state, plan, dest, moment, cid);
			if (dest != None_Receiver)
				dest->rDestroy(dest);
		}
		herd_moment_end(moment);
	}
	PG_FINALLY();
	{
		running = outer;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
}

static void steps_begin(CustomScanState *node, EState *estate, int eflags)
{
	StepsState *state = (StepsState *)node;

	state->plans = linitial(((CustomScan *)node->ss.ps.plan)->custom_private);
	state->numbers = lthird(((CustomScan *)node->ss.ps.plan)->custom_private);
	state->late = boolVal(lfourth(((CustomScan *)node->ss.ps.plan)->custom_private));
	state->stored = ExecInitExtraTupleSlot(
		estate, node->ss.ss_ScanTupleSlot->tts_tupleDescriptor, &TTSOpsMinimalTuple);
}

static TupleTableSlot *steps_next(ScanState *ss)
{
	StepsState *state = (StepsState *)ss;

	if (!state->done) {
		run_steps(state);
		state->done = true;
	}
	if (state->result == NULL)
		return ExecClearTuple(ss->ss_ScanTupleSlot);
	return herd_stored_next(state->result, state->stored, ss->ss_ScanTupleSlot);
}

static bool steps_recheck(ScanState *ss, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *steps_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, steps_next, steps_recheck);
}

static void steps_end(CustomScanState *node)
{
	StepsState *state = (StepsState *)node;
	ListCell *lc;

	foreach (lc, state->queries) {
		ExecutorEnd(lfirst(lc));
		FreeQueryDesc(lfirst(lc));
	}
	state->queries = NIL;
	for (int i = 0; state->rows != NULL && i < list_length(state->plans); i++)
		if (state->rows[i] != NULL)
			tuplestore_end(state->rows[i]);
	state->rows = NULL;
	if (state->result != NULL)
		tuplestore_end(state->result);
	state->result = NULL;
}

static void steps_rescan(CustomScanState *node)
{
	if (((StepsState *)node)->done)
		elog(ERROR, "a write to shards cannot be run twice");
}

/* -- EXPLAIN ----------------------------------------------------------------------------------- */

static void explain_step(StepsState *state, int number, const char *name, ExplainState *es)
{
	EState *estate = state->css.ss.ps.state;
	ExplainState own = *es;
	QueryDesc *query;

	/* said once, for the whole */
	own.settings = false;
	ExplainOpenGroup("Step", NULL, true, &own);
	ExplainPropertyText("Step", name[0] ? name : "the statement", &own);
	own.indent += own.format == EXPLAIN_FORMAT_TEXT ? 1 : 0;
	if (number < list_length(state->queries)) {
		ExplainPrintPlan(&own, list_nth(state->queries, number));
	} else {
		query = CreateQueryDesc(list_nth(state->plans, number), estate->es_sourceText,
					estate->es_snapshot, InvalidSnapshot, None_Receiver,
					estate->es_param_list_info, estate->es_queryEnv, 0);
		ExecutorStart(query, EXEC_FLAG_EXPLAIN_ONLY);
		ExplainPrintPlan(&own, query);
		ExecutorEnd(query);
		FreeQueryDesc(query);
	}
	own.indent -= own.format == EXPLAIN_FORMAT_TEXT ? 1 : 0;
	ExplainCloseGroup("Step", NULL, true, &own);
}

static void steps_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	StepsState *state = (StepsState *)node;
	List *names = lsecond(((CustomScan *)node->ss.ps.plan)->custom_private);
	ListCell *lc;

	ExplainOpenGroup("Steps", "Steps", false, es);
	foreach (lc, names)
		explain_step(state, foreach_current_index(lc), strVal(lfirst(lc)), es);
	ExplainCloseGroup("Steps", "Steps", false, es);
}

static const CustomExecMethods steps_exec_methods = {
	.CustomName = "Herd Steps",
	.BeginCustomScan = steps_begin,
	.ExecCustomScan = steps_exec,
	.EndCustomScan = steps_end,
	.ReScanCustomScan = steps_rescan,
	.ExplainCustomScan = steps_explain,
};

static Node *steps_create_state(CustomScan *scan)
{
	StepsState *state = (StepsState *)newNode(sizeof(StepsState), T_CustomScanState);

	state->css.methods = &steps_exec_methods;
	return (Node *)state;
}

void herd_steps_init(void)
{
	RegisterCustomScanMethods(&steps_methods);
}
