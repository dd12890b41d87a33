#include "conn/moment.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
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
static HerdMoment armed;
static const char *armed_text;

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

HerdMoment herd_moment_begin(CommandId *cid)
{
	static HerdMoment last;
	HerdMoment moment = current != 0 ? current : ++last;

	*cid = cid_of(moment);
	return moment;
}

void herd_moment_give(HerdMoment moment)
{
	next = moment;
}

HerdMoment herd_moment_current(void)
{
	return current;
}

HerdMoment herd_moment_enter(void)
{
	HerdMoment outer = current;

	current = next;
	next = 0;
	return outer;
}

void herd_moment_leave(HerdMoment outer)
{
	current = outer;
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

bool herd_moment_starts(QueryDesc *query, bool outermost, CommandId *cid)
{
	HerdMoment moment = 0;

	if (armed != 0 && query->sourceText != NULL && strcmp(query->sourceText, armed_text) == 0) {
		moment = armed;
		armed = 0;
	} else if (outermost) {
		moment = told;
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
	if (told != 0)
		(void)cid_of(told);
	PG_RETURN_VOID();
}

static void end_of_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	known = NIL;
	told = current = next = armed = 0;
}

static void end_of_subtransaction(SubXactEvent event, SubTransactionId self,
				  SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		next = armed = 0;
}

void herd_moment_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}
