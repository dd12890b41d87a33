/*
 * txn/ahead.c - what a cursor has still to give, read before something is written.
 */
#include "txn/ahead.h"

#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

struct HerdAhead {
	dlist_node link;
	QueryDesc *query;
	ResourceOwner owner;
	int active; /* executors of it on the stack */
	Portal portal;
	bool whole;            /* it can go backward: from the first row on */
	bool failed;           /* before all rows were kept */
	Tuplestorestate *rows; /* all that it has still to give */
	TupleTableSlot *slot;
	MemoryContextCallback forget;
};

static dlist_head opened = DLIST_STATIC_INIT(opened);

static void forget(void *arg)
{
	dlist_delete(&((HerdAhead *)arg)->link);
}

void herd_ahead_opened(QueryDesc *query)
{
	MemoryContext cxt = query->estate->es_query_cxt;
	HerdAhead *open = MemoryContextAllocZero(cxt, sizeof(HerdAhead));

	open->query = query;
	open->owner = CurrentResourceOwner;
	open->portal = ActivePortal;
	open->whole = (query->estate->es_top_eflags & EXEC_FLAG_BACKWARD) != 0;
	open->forget.func = forget;
	open->forget.arg = open;
	dlist_push_head(&opened, &open->link);
	MemoryContextRegisterResetCallback(cxt, &open->forget);
}

static HerdAhead *find(const EState *estate)
{
	dlist_iter iter;

	dlist_foreach(iter, &opened)
	{
		HerdAhead *open = dlist_container(HerdAhead, link, iter.cur);

		if (open->query->estate == estate)
			return open;
	}
	return NULL;
}

void herd_ahead_ended(const QueryDesc *query)
{
	HerdAhead *open = find(query->estate);

	if (open == NULL || open->rows == NULL)
		return;
	ExecDropSingleTupleTableSlot(open->slot);
	tuplestore_end(open->rows);
	open->rows = NULL;
}

HerdAhead *herd_ahead_enter(const QueryDesc *query)
{
	HerdAhead *open = find(query->estate);

	if (open == NULL)
		return NULL;
	if (open->failed)
		ereport(ERROR, (errcode(ERRCODE_INVALID_CURSOR_STATE),
				errmsg("the query of the cursor has failed"),
				errdetail("It was read to its end before rows of distributed "
					  "tables were written.")));
	open->active++;
	return open;
}

void herd_ahead_leave(HerdAhead *open)
{
	if (open != NULL)
		open->active--;
}

bool herd_ahead_give(HerdAhead *open, ScanDirection direction, uint64 count)
{
	DestReceiver *dest;
	uint64 given = 0;

	if (open == NULL || open->rows == NULL || open->active > 1)
		return false;
	/* it may have been rewound, by a FETCH or to hold all its rows, which nobody tells */
	if (open->whole && (open->portal->atStart || open->portal->holdStore != NULL))
		tuplestore_rescan(open->rows);
	dest = open->query->dest;
	dest->rStartup(dest, open->query->operation, open->query->tupDesc);
	while (!ScanDirectionIsNoMovement(direction) && (count == 0 || given < count) &&
	       tuplestore_gettupleslot(open->rows, ScanDirectionIsForward(direction), false,
				       open->slot)) {
		CHECK_FOR_INTERRUPTS();
		if (!dest->receiveSlot(open->slot, dest))
			break;
		given++;
	}
	dest->rShutdown(dest);
	open->query->estate->es_processed = given;
	return true;
}

static void run(QueryDesc *query, DestReceiver *dest, ScanDirection direction, uint64 count)
{
	DestReceiver *own = query->dest;

	query->dest = dest;
	PG_TRY();
	{
#if PG_VERSION_NUM >= 180000
		ExecutorRun(query, direction, count);
#else
		ExecutorRun(query, direction, count, false);
#endif
	}
	PG_FINALLY();
	{
		query->dest = own;
	}
	PG_END_TRY();
}

static void keep(HerdAhead *open)
{
	QueryDesc *query = open->query;
	MemoryContext cxt = query->estate->es_query_cxt;
	MemoryContext old = MemoryContextSwitchTo(cxt);
	Tuplestorestate *rows = tuplestore_begin_heap(open->whole, false, work_mem);
	DestReceiver *dest = CreateTuplestoreDestReceiver();

	open->slot = MakeSingleTupleTableSlot(query->tupDesc, &TTSOpsMinimalTuple);
	MemoryContextSwitchTo(old);
	SetTuplestoreDestReceiverParams(dest, rows, cxt, false, NULL, NULL);
	if (open->whole)
		ExecutorRewind(query);
	run(query, dest, ForwardScanDirection, 0);
	dest->rDestroy(dest);
	if (open->whole && open->portal->atEnd)
		while (tuplestore_advance(rows, true))
			;
	else if (open->whole)
		(void)tuplestore_skiptuples(rows, open->portal->portalPos, true);
	open->rows = rows;
}

bool herd_ahead_read(const EState *estate)
{
	HerdAhead *open = find(estate);
	ResourceOwner owner = CurrentResourceOwner;

	if (open == NULL || open->active > 0 || open->portal == NULL ||
	    open->portal->queryDesc != open->query)
		return false;
	if (open->rows != NULL || open->failed)
		return true;
	CurrentResourceOwner = open->owner;
	PG_TRY();
	{
		PushActiveSnapshot(open->query->snapshot);
		keep(open);
		PopActiveSnapshot();
	}
	PG_CATCH();
	{
		open->failed = true;
		CurrentResourceOwner = owner;
		PG_RE_THROW();
	}
	PG_END_TRY();
	CurrentResourceOwner = owner;
	return true;
}
