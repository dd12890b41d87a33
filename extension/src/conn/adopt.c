#include "conn/adopt.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

/* Clocks of two nodes may be so far apart: as for commits, see txn/decide.c. */
#define MOST_AHEAD USECS_PER_DAY

static bool adopted;

bool herd_session_adopted(void)
{
	return adopted;
}

bool herd_session_is_internal(void)
{
	return application_name && strncmp(application_name, "citus_internal", 14) == 0;
}

void herd_conn_send_adopt(HerdConn *c)
{
	TimestampTz started = GetCurrentTransactionStartTimestamp();

	/* outside of a block what was adopted before has gone with its statement */
	if (c->level > 0 && c->adopted == started)
		return;
	c->adopted = started;
	herd_conn_send_plain(
		c, psprintf("SELECT citus_internal.adopt_session(" INT64_FORMAT ")", started));
}

static void forget(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		adopted = false;
}

void herd_adopt_init(void)
{
	RegisterXactCallback(forget, NULL);
}

/*
 * PostgreSQL gives parallel workers the time of their leader, and a build with assertions makes
 * sure that the caller is one. Nothing in between can fail.
 */
static void set_start(TimestampTz started)
{
	int worker = ParallelWorkerNumber;

	ParallelWorkerNumber = 0;
	SetParallelStartTimestamps(started, GetCurrentStatementStartTimestamp());
	ParallelWorkerNumber = worker;
}

/* adopt_session(start of the transaction, in microseconds) */
PG_FUNCTION_INFO_V1(herd_adopt_session);
PGDLLEXPORT Datum herd_adopt_session(PG_FUNCTION_ARGS)
{
	TimestampTz started = PG_GETARG_INT64(0);

	if (!herd_session_is_internal())
		ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("citus_internal.adopt_session is for sessions between nodes")));
	if (!IS_VALID_TIMESTAMP(started) || started > GetCurrentTimestamp() + MOST_AHEAD)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("start of the transaction is out of range"),
				errhint("The clocks of the nodes must not be a day apart.")));
	set_start(started);
	adopted = true;
	PG_RETURN_VOID();
}
