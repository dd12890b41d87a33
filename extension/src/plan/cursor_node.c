/*
 * plan/cursor_node.c - the node that remembers where the current row of a cursor came from.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/extensible.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "plan/cursor.h"

typedef struct CursorState {
	CustomScanState css;
	bool locks;
	int ncolumns;
	HerdCursorColumn *columns; /* all null before the first row, and after the last */
	int *positions;            /* of the columns in the rows of the child */
	MemoryContext row;         /* of the values */
} CursorState;

static Node *cursor_create_state(CustomScan *scan);

static const CustomScanMethods cursor_methods = {
	.CustomName = "Herd Cursor",
	.CreateCustomScanState = cursor_create_state,
};

Plan *herd_cursor_node(Plan *child, List *columns, List *targetlist, List *carried, bool locks)
{
	CustomScan *scan = makeNode(CustomScan);

	scan->methods = &cursor_methods;
	scan->flags = ExecSupportsBackwardScan(child) ? CUSTOMPATH_SUPPORT_BACKWARD_SCAN : 0;
	scan->custom_plans = list_make1(child);
	scan->custom_scan_tlist = columns;
	scan->custom_private = list_make2(list_make1_int(locks), carried);
	scan->scan.plan.targetlist = targetlist;
	scan->scan.plan.startup_cost = child->startup_cost;
	scan->scan.plan.total_cost = child->total_cost;
	scan->scan.plan.plan_rows = child->plan_rows;
	scan->scan.plan.plan_width = child->plan_width;
	scan->scan.plan.extParam = bms_copy(child->extParam);
	scan->scan.plan.allParam = bms_copy(child->allParam);
	return &scan->scan.plan;
}

static void forget(CursorState *state)
{
	for (int i = 0; i < state->ncolumns; i++)
		state->columns[i].isnull = true;
	MemoryContextReset(state->row);
}

static void cursor_begin(CustomScanState *node, EState *estate, int eflags)
{
	CursorState *state = (CursorState *)node;
	CustomScan *scan = (CustomScan *)node->ss.ps.plan;
	List *carried = lsecond(scan->custom_private);
	ListCell *lc;

	state->locks = linitial_int(linitial(scan->custom_private));
	state->columns = palloc0(list_length(carried) * sizeof(HerdCursorColumn));
	state->positions = palloc0(list_length(carried) * sizeof(int));
	foreach (lc, carried) {
		List *numbers = lfirst(lc);
		HerdCursorColumn *column = &state->columns[state->ncolumns];

		column->relid = linitial_oid(linitial(numbers));
		column->attno = linitial_int(lsecond(numbers));
		state->positions[state->ncolumns++] = lsecond_int(lsecond(numbers));
	}
	state->row = AllocSetContextCreate(estate->es_query_cxt, "herd cursor row",
					   ALLOCSET_SMALL_SIZES);
	forget(state);
	node->custom_ps = list_make1(ExecInitNode(linitial(scan->custom_plans), estate, eflags));
}

static void remember(CursorState *state, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(state->row);

	for (int i = 0; i < state->ncolumns; i++) {
		HerdCursorColumn *column = &state->columns[i];
		Form_pg_attribute att =
			TupleDescAttr(slot->tts_tupleDescriptor, state->positions[i] - 1);
		Datum value = slot_getattr(slot, state->positions[i], &column->isnull);

		column->type = att->atttypid;
		if (!column->isnull)
			column->value = datumCopy(value, att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *cursor_exec(CustomScanState *node)
{
	CursorState *state = (CursorState *)node;
	TupleTableSlot *result = node->ss.ps.ps_ResultTupleSlot;
	TupleTableSlot *slot = ExecProcNode(linitial(node->custom_ps));
	int natts = result->tts_tupleDescriptor->natts;

	ExecClearTuple(result);
	forget(state);
	if (TupIsNull(slot))
		return NULL;
	slot_getallattrs(slot);
	remember(state, slot);
	memcpy(result->tts_values, slot->tts_values, natts * sizeof(Datum));
	memcpy(result->tts_isnull, slot->tts_isnull, natts * sizeof(bool));
	return ExecStoreVirtualTuple(result);
}

static void cursor_end(CustomScanState *node)
{
	ExecEndNode(linitial(node->custom_ps));
}

static void cursor_rescan(CustomScanState *node)
{
	PlanState *child = linitial(node->custom_ps);

	forget((CursorState *)node);
	if (node->ss.ps.chgParam != NULL)
		UpdateChangedParamSet(child, node->ss.ps.chgParam);
	if (child->chgParam == NULL)
		ExecReScan(child);
}

static const CustomExecMethods cursor_exec_methods = {
	.CustomName = "Herd Cursor",
	.BeginCustomScan = cursor_begin,
	.ExecCustomScan = cursor_exec,
	.EndCustomScan = cursor_end,
	.ReScanCustomScan = cursor_rescan,
};

bool herd_cursor_columns(const PlanState *top, const HerdCursorColumn **columns, int *n,
			 bool *locks)
{
	const CursorState *state = (const CursorState *)top;

	if (!IsA(top, CustomScanState) || state->css.methods != &cursor_exec_methods)
		return false;
	*columns = state->columns;
	*n = state->ncolumns;
	*locks = state->locks;
	return true;
}

static Node *cursor_create_state(CustomScan *scan)
{
	CursorState *state = (CursorState *)newNode(sizeof(CursorState), T_CustomScanState);

	state->css.methods = &cursor_exec_methods;
	return (Node *)state;
}

void herd_cursor_init(void)
{
	RegisterCustomScanMethods(&cursor_methods);
}
