#include "conn/moment.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "conn/adopt.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "utils/memutils.h"
#include "utils/snapshot.h"

/* A statement that this session has heard of in its transaction. */
typedef struct Known {
	HerdMoment moment;
	CommandId cid;
} Known;

static List *known;     /* of Known, in TopTransactionContext */
static HerdMoment told; /* what other nodes' statements are a part of; 0: of none */
static HerdMoment current, next;
static Snapshot current_snapshot; /* of the executor that runs */
static HerdMoment armed;
static const char *armed_text;

/* The moment whose triggers wait in this session, which works for another; 0: none. */
static HerdMoment waiting;
static SubTransactionId waiting_since;

/* Numbers of late moments are odd, so that every node knows. */
static bool is_late(HerdMoment moment)
{
	return (moment & 1) != 0;
}

static CommandId cid_of(HerdMoment moment)
{
	MemoryContext old;
	Known *new;
	ListCell *lc;

	foreach (lc, known)
		if (((Known *)lfirst(lc))->moment == moment)
			return ((Known *)lfirst(lc))->cid;
	old = MemoryContextSwitchTo(TopTransactionContext);
	new = palloc(sizeof(Known));
	new->moment = moment;
	new->cid = GetCurrentCommandId(false);
	known = lappend(known, new);
	MemoryContextSwitchTo(old);
	return new->cid;
}

/* -- the node that plans ----------------------------------------------------------------------- */

HerdMoment herd_moment_begin(bool late, CommandId *cid)
{
	static HerdMoment last;
	HerdMoment moment = current != 0 ? current : ++last * 2 + (late ? 1 : 0);

	*cid = cid_of(moment);
	return moment;
}

static List *groups_at(HerdMoment moment)
{
	List *groups = NIL;
	dlist_iter iter;

	dlist_foreach(iter, &herd_conns)
	{
		const HerdConn *c = dlist_container(HerdConn, link, iter.cur);

		if (c->used && c->main && c->moment == moment)
			groups = lappend_int(groups, c->groupid);
	}
	return groups;
}

void herd_moment_end(HerdMoment moment)
{
	List *groups = is_late(moment) && current != moment ? groups_at(moment) : NIL;
	const ListCell *lc;

	foreach (lc, groups) {
		HerdConn *c = herd_conn_main(lfirst_int(lc));

		herd_conn_send_moment(c, 0);
		herd_conn_send_sync(c);
	}
	foreach (lc, groups)
		herd_conn_finish(herd_conn_find_main(lfirst_int(lc)));
}

void herd_moment_give(HerdMoment moment)
{
	next = moment;
}

HerdMoment herd_moment_current(void)
{
	return current;
}

HerdMomentFrame herd_moment_enter(const QueryDesc *query)
{
	HerdMomentFrame outer = { current, current_snapshot };

	if (next != 0 || query->snapshot != current_snapshot)
		current = next;
	current_snapshot = query->snapshot;
	next = 0;
	return outer;
}

void herd_moment_leave(HerdMomentFrame outer)
{
	current = outer.moment;
	current_snapshot = outer.snapshot;
}

void herd_conn_send_moment(HerdConn *c, HerdMoment moment)
{
	char sql[80];

	/* outside a block nothing of this transaction has been written there */
	if (c->level == 0 || c->moment == moment)
		return;
	snprintf(sql, sizeof(sql), "SELECT citus_internal.part_of(" UINT64_FORMAT ")", moment);
	herd_conn_send_plain(c, sql);
	c->moment = moment;
}

/* -- the node of the shards -------------------------------------------------------------------- */

void herd_moment_arm(HerdMoment moment, const char *sql)
{
	armed = moment;
	armed_text = sql;
}

/* Triggers of parts queue up at this level of queries until the moment is over. */
static void wait_for_end(HerdMoment moment)
{
	AfterTriggerBeginQuery();
	waiting = moment;
	waiting_since = GetCurrentSubTransactionId();
}

static void fire_waiting(void)
{
	EState *estate = CreateExecutorState();

	waiting = 0;
	AfterTriggerEndQuery(estate);
	ExecCloseResultRelations(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
}

bool herd_moment_starts(QueryDesc *query, bool outermost, CommandId *cid, int *eflags)
{
	HerdMoment moment = 0;

	if (armed != 0 && query->sourceText != NULL && strcmp(query->sourceText, armed_text) == 0) {
		moment = armed;
		armed = 0;
		if (is_late(moment))
			*eflags |= EXEC_FLAG_SKIP_TRIGGERS;
	} else if (outermost) {
		moment = told;
		if (moment != 0 && moment == waiting)
			*eflags |= EXEC_FLAG_SKIP_TRIGGERS;
	}
	if (moment == 0 || query->snapshot == NULL || !query->snapshot->copied)
		return false;
	*cid = cid_of(moment);
	/* the copy is the statement's own */
	query->snapshot->curcid = *cid;
	return true;
}

void herd_moment_started(QueryDesc *query, CommandId cid)
{
	query->estate->es_output_cid = cid;
}

/* part_of(number): from now on, to the end of the transaction or the next; 0: of nothing. */
PG_FUNCTION_INFO_V1(herd_part_of);
PGDLLEXPORT Datum herd_part_of(PG_FUNCTION_ARGS)
{
	if (!herd_session_is_internal())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("only another node can say what a statement is a part of")));
	told = (HerdMoment)PG_GETARG_INT64(0);
	if (waiting != 0 && waiting != told)
		fire_waiting();
	if (told != 0)
		(void)cid_of(told);
	if (is_late(told) && waiting == 0)
		wait_for_end(told);
	PG_RETURN_VOID();
}

static void end_of_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	known = NIL;
	told = current = next = armed = waiting = 0;
	current_snapshot = NULL;
}

static void end_of_subtransaction(SubXactEvent event, SubTransactionId self,
				  SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	next = armed = 0;
	/* PostgreSQL forgets the level */
	if (waiting_since == self)
		waiting = 0;
}

void herd_moment_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}
