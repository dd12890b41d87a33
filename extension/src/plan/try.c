#include "plan/try.h"

#include "commands/explain.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "optimizer/planner.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "attempt.h"
#include "compat.h"
#include "conn/moment.h"
#include "plan/remote.h"
#include "plan/stored.h"

typedef struct TryState {
	CustomScanState css;
	PlannedStmt *first;
	Query *query;
	Oid relid;
	Tuplestorestate *rows;
	TupleTableSlot *stored;
	uint64 processed;
} TryState;

/* Tables of which shards have said that rows are elsewhere. */
static List *elsewhere; /* of Oid */
static Oid for_shards;

static Node *try_create_state(CustomScan *scan);

static const CustomScanMethods try_methods = {
	.CustomName = "Herd Try",
	.CreateCustomScanState = try_create_state,
};

bool herd_try_is_here(Oid relid)
{
	return list_member_oid(elsewhere, relid);
}

bool herd_try_is_shard(Oid relid)
{
	return for_shards == relid || herd_try_is_here(relid);
}

Oid herd_try_shards(Oid relid)
{
	Oid outer = for_shards;

	for_shards = relid;
	return outer;
}

void herd_try_end(Oid outer)
{
	for_shards = outer;
}

CustomScan *herd_try_plan(PlannedStmt *first, Query *query, Oid relid, List *columns)
{
	CustomScan *scan = makeNode(CustomScan);

	scan->methods = &try_methods;
	scan->custom_scan_tlist = columns;
	scan->custom_private = list_make3(first, query, list_make1_oid(relid));
	scan->scan.plan.plan_rows = first->planTree->plan_rows;
	scan->scan.plan.total_cost = first->planTree->total_cost;
	return scan;
}

static void try_begin(CustomScanState *node, EState *estate, int eflags)
{
	TryState *state = (TryState *)node;
	CustomScan *scan = (CustomScan *)node->ss.ps.plan;

	state->first = linitial(scan->custom_private);
	state->query = lsecond(scan->custom_private);
	state->relid = linitial_oid(lthird(scan->custom_private));
	state->stored = ExecInitExtraTupleSlot(
		estate, node->ss.ss_ScanTupleSlot->tts_tupleDescriptor, &TTSOpsMinimalTuple);
}

static void run(TryState *state, PlannedStmt *stmt)
{
	EState *estate = state->css.ss.ps.state;
	DestReceiver *dest = None_Receiver;
	QueryDesc *query;

	if (stmt->hasReturning) {
		dest = CreateDestReceiver(DestTuplestore);
		SetTuplestoreDestReceiverParams(dest, state->rows, CurrentMemoryContext, false,
						NULL, NULL);
	}
	query = CreateQueryDesc(stmt, estate->es_sourceText, GetActiveSnapshot(), InvalidSnapshot,
				dest, estate->es_param_list_info, estate->es_queryEnv, 0);
	ExecutorStart(query, 0);
	herd_moment_give(herd_moment_current());
	herd_run_executor(query);
	ExecutorFinish(query);
	state->processed = query->estate->es_processed;
	ExecutorEnd(query);
	FreeQueryDesc(query);
	if (dest != None_Receiver)
		dest->rDestroy(dest);
}

static void run_first(void *arg)
{
	TryState *state = arg;

	run(state, state->first);
}

static bool says_elsewhere(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED && error->message != NULL &&
	       strcmp(error->message, "code that runs on a shard cannot use rows of other nodes") ==
		       0;
}

/* The shards do it, or they cannot, which is remembered. */
static bool attempt(TryState *state)
{
	ErrorData *error = herd_attempt(run_first, state);
	MemoryContext old;

	if (error == NULL)
		return true;
	if (!says_elsewhere(error))
		ReThrowError(error);
	FreeErrorData(error);
	tuplestore_clear(state->rows);
	old = MemoryContextSwitchTo(TopMemoryContext);
	elsewhere = list_append_unique_oid(elsewhere, state->relid);
	MemoryContextSwitchTo(old);
	return false;
}

static void start(TryState *state)
{
	EState *estate = state->css.ss.ps.state;
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);

	state->rows = tuplestore_begin_heap(false, false, work_mem);
	if (herd_try_is_here(state->relid) || !attempt(state))
		run(state, pg_plan_query(copyObject(state->query), estate->es_sourceText, 0,
					 estate->es_param_list_info));
	estate->es_processed += state->processed;
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *try_next(ScanState *ss)
{
	TryState *state = (TryState *)ss;

	if (state->rows == NULL)
		start(state);
	if (ss->ss_ScanTupleSlot->tts_tupleDescriptor->natts == 0)
		return ExecClearTuple(ss->ss_ScanTupleSlot);
	return herd_stored_next(state->rows, state->stored, ss->ss_ScanTupleSlot);
}

static bool try_recheck(ScanState *ss, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *try_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, try_next, try_recheck);
}

static void try_end(CustomScanState *node)
{
	TryState *state = (TryState *)node;

	if (state->rows != NULL)
		tuplestore_end(state->rows);
	state->rows = NULL;
}

static void try_rescan(CustomScanState *node)
{
	elog(ERROR, "a write to shards cannot be run twice");
}

static void try_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	ExplainPropertyText("Tier", "on shards, if they have all that is used there", es);
}

static const CustomExecMethods try_exec_methods = {
	.CustomName = "Herd Try",
	.BeginCustomScan = try_begin,
	.ExecCustomScan = try_exec,
	.EndCustomScan = try_end,
	.ReScanCustomScan = try_rescan,
	.ExplainCustomScan = try_explain,
};

static Node *try_create_state(CustomScan *scan)
{
	TryState *state = (TryState *)newNode(sizeof(TryState), T_CustomScanState);

	state->css.methods = &try_exec_methods;
	return (Node *)state;
}

void herd_try_init(void)
{
	RegisterCustomScanMethods(&try_methods);
}
