/*
 * plan/hold.c - rows that are read before a write and used after it.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "utils/tuplestore.h"

#include "plan/merge.h"
#include "plan/remote.h"
#include "plan/stored.h"

typedef struct HoldState {
	CustomScanState css;
	Tuplestorestate *rows;
	TupleTableSlot *stored;
} HoldState;

static Node *hold_create_state(CustomScan *scan);

static const CustomScanMethods hold_methods = {
	.CustomName = "Herd Hold",
	.CreateCustomScanState = hold_create_state,
};

Plan *herd_hold_plan(Plan *first, Plan *second, List *columns, List *targetlist)
{
	CustomScan *scan = makeNode(CustomScan);

	scan->methods = &hold_methods;
	scan->custom_plans = list_make2(first, second);
	scan->custom_scan_tlist = columns;
	scan->scan.plan.targetlist = targetlist;
	scan->scan.plan.plan_rows = first->plan_rows;
	scan->scan.plan.startup_cost = scan->scan.plan.total_cost =
		first->total_cost + second->total_cost;
	return &scan->scan.plan;
}

static void hold_begin(CustomScanState *node, EState *estate, int eflags)
{
	CustomScan *scan = (CustomScan *)node->ss.ps.plan;
	ListCell *lc;

	foreach (lc, scan->custom_plans)
		node->custom_ps =
			lappend(node->custom_ps, ExecInitNode(lfirst(lc), estate, eflags));
	((HoldState *)node)->stored = ExecInitExtraTupleSlot(
		estate, node->ss.ss_ScanTupleSlot->tts_tupleDescriptor, &TTSOpsMinimalTuple);
}

/* All rows of the first, then the second to its end. */
static void hold_run(HoldState *state)
{
	PlanState *first = linitial(state->css.custom_ps);
	PlanState *second = lsecond(state->css.custom_ps);
	MemoryContext old = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);
	TupleTableSlot *slot;

	state->rows = tuplestore_begin_heap(false, false, work_mem);
	MemoryContextSwitchTo(old);
	while (slot = ExecProcNode(first), !TupIsNull(slot)) {
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(state->rows, slot);
	}
	while (slot = ExecProcNode(second), !TupIsNull(slot))
		CHECK_FOR_INTERRUPTS();
	state->css.ss.ps.state->es_processed += herd_remote_processed(second);
}

static TupleTableSlot *hold_next(ScanState *ss)
{
	HoldState *state = (HoldState *)ss;

	if (state->rows == NULL)
		hold_run(state);
	return herd_stored_next(state->rows, state->stored, ss->ss_ScanTupleSlot);
}

static bool hold_recheck(ScanState *ss, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *hold_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, hold_next, hold_recheck);
}

static void hold_end(CustomScanState *node)
{
	HoldState *state = (HoldState *)node;
	ListCell *lc;

	if (state->rows != NULL)
		tuplestore_end(state->rows);
	state->rows = NULL;
	foreach (lc, node->custom_ps)
		ExecEndNode(lfirst(lc));
}

static void hold_rescan(CustomScanState *node)
{
	elog(ERROR, "a write to shards cannot be run twice");
}

static const CustomExecMethods hold_exec_methods = {
	.CustomName = "Herd Hold",
	.BeginCustomScan = hold_begin,
	.ExecCustomScan = hold_exec,
	.EndCustomScan = hold_end,
	.ReScanCustomScan = hold_rescan,
};

static Node *hold_create_state(CustomScan *scan)
{
	HoldState *state = (HoldState *)newNode(sizeof(HoldState), T_CustomScanState);

	state->css.methods = &hold_exec_methods;
	return (Node *)state;
}

void herd_hold_init(void)
{
	RegisterCustomScanMethods(&hold_methods);
}
