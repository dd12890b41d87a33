/*
 * What is atomic:
 *  - A lone statement that writes through one connection runs in the node's own autocommit.
 *  - A transaction in which one connection wrote, and this server wrote nothing itself (it has no
 *    transaction id), is committed there by a plain COMMIT before the local commit, which has
 *    nothing left that could fail.
 *  - A transaction in which several wrote, and this server wrote nothing, is decided by the commit
 *    of one of them (txn/decide.h), the others are prepared: three writes to disk one after the
 *    other, and no other.
 *  - Otherwise every connection that wrote is prepared, a row for each goes into
 *    pg_dist_transaction, and the local commit decides for all of them; what this server wrote
 *    itself commits with that very step. COMMIT PREPARED may fail afterwards without harm.
 *  - PREPARE TRANSACTION does the same, and what decides is the user's COMMIT PREPARED.
 */
#include "txn/txn.h"

#include "access/transam.h"
#include "access/xact.h"
#include "conn/adopt.h"
#include "conn/session.h"
#include "exec/internal.h"
#include "guc.h"
#include "miscadmin.h"
#include "txn/decide.h"
#include "txn/internal.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* How long the end of a transaction waits for nodes to roll back; the others are given up. */
#define ROLLBACK_TIMEOUT_MS 2000
/* What is prepared holds its locks until recovery comes by: that is worth a longer wait. */
#define PREPARED_ROLLBACK_TIMEOUT_MS 5000
/* For a savepoint it waits longer, as the whole transaction is lost with a connection. */
#define SUB_ROLLBACK_TIMEOUT_MS 5000

/* Longest command of this file: a verb and a gid of five numbers. */
#define COMMAND_SIZE 160

static bool in_use;
static bool local_group_used;
static uint64 last_number;

void herd_txn_begin_use(void)
{
	in_use = true;
}

void herd_txn_use_local_group(void)
{
	local_group_used = true;
	in_use = true;
}

bool herd_txn_group_used(int32 groupid)
{
	dlist_iter iter;

	if (local_group_used && groupid == herd_local_group())
		return true;
	dlist_foreach(iter, &herd_conns)
	{
		HerdConn *c = dlist_container(HerdConn, link, iter.cur);

		if (c->used && c->groupid == groupid)
			return true;
	}
	return false;
}

/* Connections of this transaction; the loop body may not close c. */
#define foreach_used(c)                                                                            \
	for (dlist_node *node_ = herd_conns.head.next;                                             \
	     node_ && node_ != &herd_conns.head &&                                                 \
	     ((c) = dlist_container(HerdConn, link, node_), true);                                 \
	     node_ = node_->next)                                                                  \
		if ((c)->used)

/* -- commit ------------------------------------------------------------------------------------ */

/* Nothing may be under way when the transaction ends. */
static void settle(void)
{
	HerdConn *c;

	foreach_used(c)
	{
		if (c->polling == PGRES_POLLING_OK && herd_conn_busy(c) && !c->lost) {
			if (c->level > 0)
				herd_conn_finish(c);
			else
				herd_conn_quiesce(c, true);
		}
		if (c->lost && c->level > 0 && (c->wrote_level > 0 || IsolationUsesXactSnapshot()))
			herd_conn_raise_lost(c);
		/* COMMIT of a failed block would succeed, with ROLLBACK for its tag. */
		if (c->level > 0 && !c->lost && PQtransactionStatus(c->pg) != PQTRANS_INTRANS)
			ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction on node %s:%d has ended before its time",
					c->host, c->port)));
	}
}

static int count_writers(void)
{
	HerdConn *c;
	int n = 0;

	foreach_used(c) n += c->wrote_level > 0;
	return n;
}

static void left_block(HerdConn *c)
{
	c->level = 0;
	c->released = 0;
	c->sure_level = 0;
	c->wrote_level = 0;
	c->longest_wait = 0;
	c->moment = 0;
}

static void commit_readers(bool strict)
{
	HerdConn *c;

	foreach_used(c)
	{
		if (c->level > 0 && c->wrote_level == 0 && !c->lost)
			herd_conn_simple_start(c, "COMMIT");
	}
	foreach_used(c)
	{
		if (c->level == 0 || c->wrote_level > 0)
			continue;
		/* Only a serializable reader can spoil the transaction by failing here. */
		if (strict)
			herd_conn_simple_finish(c);
		else
			herd_conn_simple_wait(c, 0, HERD_CANCEL_FORWARD, NULL);
		left_block(c);
	}
}

/* What is decided elsewhere, or may be, is not ours to roll back. */
static void leave_to_recovery(void)
{
	HerdConn *c;

	foreach_used(c)
	{
		c->gid = NULL;
		c->prepare_sent = false;
	}
}

/*
 * Ends the block of a writer by sql, whose last command is COMMIT. The answer is waited for even
 * when the user cancels (the cancel is passed on): to say "cancelled" of a transaction that has
 * committed would be a lie.
 */
static void commit_on(HerdConn *c, const char *sql)
{
	PGresult *error;

	herd_conn_log(c, sql);
	herd_conn_simple_start(c, sql);
	switch (herd_conn_simple_wait(c, 0, HERD_CANCEL_FORWARD, &error)) {
	case HERD_DONE:
		left_block(c);
		break;
	case HERD_REFUSED:
		herd_conn_raise(c, error);
	case HERD_UNKNOWN:
		PQclear(error);
		leave_to_recovery();
		ereport(ERROR, (errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
				errmsg("connection to node %s:%d was lost while it committed",
				       c->host, c->port),
				errdetail("The transaction may or may not have been committed.")));
	}
}

static uint64 new_number(void)
{
	/* Unique over restarts and failovers, unlike process ids and counters that start at one. */
	last_number = Max(last_number + 1, (uint64)GetCurrentTimestamp());
	herd_txn_lock_number(MyProcPid, last_number);
	return last_number;
}

/* decider: the one that is not prepared, or NULL. */
static void prepare_writers(uint64 number, const HerdConn *decider)
{
	char at[16] = "";
	char sql[COMMAND_SIZE];
	HerdConn *c;
	int i = 0;

	if (decider)
		snprintf(at, sizeof(at), "_%d", decider->groupid);
	foreach_used(c)
	{
		if (c->wrote_level == 0 || c == decider)
			continue;
		c->gid = MemoryContextStrdup(TopTransactionContext,
					     psprintf("citus_%d_%d_" UINT64_FORMAT "_%d%s",
						      herd_local_group(), MyProcPid, number, ++i,
						      at));
		c->prepare_sent = true;
		snprintf(sql, sizeof(sql), "PREPARE TRANSACTION '%s'", c->gid);
		herd_conn_log(c, sql);
		herd_conn_simple_start(c, sql);
	}
	foreach_used(c)
	{
		if (c->gid)
			herd_conn_simple_finish(c);
	}
}

static void record_prepared(void)
{
	HerdConn *c;

	PushActiveSnapshot(GetTransactionSnapshot());
	foreach_used(c)
	{
		if (c->gid)
			herd_txn_record(c->groupid, c->gid);
	}
	PopActiveSnapshot();
}

static HerdConn *nth_writer(int n)
{
	HerdConn *c;

	foreach_used(c)
	{
		if (c->wrote_level > 0 && n-- == 0)
			return c;
	}
	return NULL;
}

/* It is decided; what fails here is left to recovery. */
static void commit_prepared(void)
{
	TimestampTz deadline;
	char sql[COMMAND_SIZE];
	HerdConn *c;

	foreach_used(c)
	{
		if (!c->gid || c->lost)
			continue;
		snprintf(sql, sizeof(sql), "COMMIT PREPARED '%s'", c->gid);
		herd_conn_log(c, sql);
		herd_conn_simple_start(c, sql);
	}
	deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), herd_node_connection_timeout_ms);
	foreach_used(c)
	{
		PGresult *error;

		if (!c->gid)
			continue;
		if (herd_conn_simple_wait(c, deadline, HERD_CANCEL_GIVE_UP, &error) != HERD_DONE)
			ereport(WARNING,
				(errmsg("could not finish prepared transaction \"%s\" on %s:%d",
					c->gid, c->host, c->port),
				 errdetail("It is committed and will be finished by recovery.")));
		PQclear(error);
		left_block(c);
	}
}

/*
 * The decider lets its locks go a write to disk earlier than the others: it is to be the one that
 * others wait for. That is guessed from how long a write of this transaction took there; without
 * such waits it is now this one, now that, so that the work is spread over the nodes.
 */
static HerdConn *choose_decider(uint64 number, int writers)
{
	HerdConn *chosen = nth_writer((int)(number % writers));
	HerdConn *c;

	foreach_used(c)
	{
		if (c->wrote_level > 0 && c->longest_wait > chosen->longest_wait)
			chosen = c;
	}
	return chosen;
}

static void commit_by_decider(int writers)
{
	uint64 number = new_number();
	HerdConn *decider = choose_decider(number, writers);
	StringInfoData sql;
	HerdConn *c;

	/* Once others are prepared, a decider that is gone leaves them to recovery. */
	if (!herd_conn_alive(decider))
		herd_conn_raise_lost(decider);
	prepare_writers(number, decider);
	initStringInfo(&sql);
	foreach_used(c)
	{
		if (c->gid)
			herd_decide_append(&sql, c->groupid, c->gid);
	}
	appendStringInfoString(&sql, "COMMIT");
	commit_on(decider, sql.data);
	pfree(sql.data);
	commit_prepared();
	leave_to_recovery();
}

static void pre_commit(void)
{
	bool wrote_here;
	int writers;

	settle();
	writers = count_writers();
	commit_readers(XactIsoLevel == XACT_SERIALIZABLE);
	wrote_here = TransactionIdIsValid(GetTopTransactionIdIfAny());
	if (writers > 0 && wrote_here) {
		prepare_writers(new_number(), NULL);
		record_prepared();
	} else if (writers > 1) {
		commit_by_decider(writers);
	} else if (writers == 1) {
		commit_on(nth_writer(0), "COMMIT");
	}
}

/* -- abort ------------------------------------------------------------------------------------- */

/* What undoes the connection's part, or NULL when there is nothing to undo. */
static const char *undo_command(HerdConn *c, char *buf)
{
	switch (PQtransactionStatus(c->pg)) {
	case PQTRANS_INTRANS:
	case PQTRANS_INERROR:
		return "ROLLBACK";
	case PQTRANS_IDLE:
		if (!c->prepare_sent)
			return NULL;
		/* It may have been refused; then this is an error without consequence. */
		snprintf(buf, COMMAND_SIZE, "ROLLBACK PREPARED '%s'", c->gid);
		return buf;
	default:
		c->lost = true;
		return NULL;
	}
}

static void abort_all(void)
{
	TimestampTz deadline;
	char buf[COMMAND_SIZE];
	bool prepared = false;
	HerdConn *c;

	foreach_used(c)
	{
		c->owner = NULL;
		if (c->polling != PGRES_POLLING_OK)
			c->lost = true;
		else if (herd_conn_busy(c))
			herd_conn_cancel(c); /* all of them, before any is waited for */
	}
	foreach_used(c) prepared = prepared || c->prepare_sent;
	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
					       prepared ? PREPARED_ROLLBACK_TIMEOUT_MS
							: ROLLBACK_TIMEOUT_MS);
	foreach_used(c) herd_conn_quiesce_until(c, true, deadline);
	foreach_used(c)
	{
		const char *sql = c->lost ? NULL : undo_command(c, buf);

		if (c->level > 0)
			herd_settings_forget(c);
		if (sql)
			herd_conn_simple_start(c, sql);
	}
	foreach_used(c)
	{
		if (c->simple)
			herd_conn_simple_wait(c, deadline, HERD_CANCEL_IGNORE, NULL);
	}
}

static void end_transaction(void)
{
	HerdConn *c;

	foreach_used(c)
	{
		left_block(c);
		c->used = c->main = c->acting = false;
		c->owner = NULL;
		c->gid = NULL;
		c->prepare_sent = false;
		c->forward_notices = false;
	}
	in_use = false;
	local_group_used = false;
	herd_deadlock_clear_mark();
	herd_conn_trim_cache();
}

/*
 * PREPARE TRANSACTION of a user: what nodes wrote is prepared first, and decided with ours by
 * COMMIT PREPARED (txn/prepared.h). In a session of another node only what was read for it can end
 * here.
 */
static void pre_prepare(void)
{
	bool internal = herd_session_adopted() || herd_session_is_internal();

	settle();
	commit_readers(IsolationIsSerializable());
	if (count_writers() == 0)
		return;
	if (internal)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot PREPARE the session of a node that has written to "
				       "other nodes")));
	prepare_writers(new_number(), NULL);
	record_prepared();
}

static void xact_callback(XactEvent event, void *arg)
{
	if (!in_use)
		return;
	switch (event) {
	case XACT_EVENT_PRE_COMMIT:
		pre_commit();
		break;
	case XACT_EVENT_PRE_PREPARE:
		pre_prepare();
		break;
	case XACT_EVENT_COMMIT:
		commit_prepared();
		end_transaction();
		break;
	case XACT_EVENT_ABORT:
		abort_all();
		end_transaction();
		break;
	case XACT_EVENT_PREPARE:
		leave_to_recovery();
		end_transaction();
		break;
	case XACT_EVENT_PARALLEL_COMMIT:
	case XACT_EVENT_PARALLEL_ABORT:
	case XACT_EVENT_PARALLEL_PRE_COMMIT:
		break;
	}
}

/* -- subtransactions --------------------------------------------------------------------------- */

static void commit_sub(int level)
{
	HerdConn *c;

	foreach_used(c)
	{
		/* RELEASE goes out with the next command; most transactions end before that. */
		if (c->level >= level && (c->released == 0 || c->released > level))
			c->released = level;
		if (c->wrote_level >= level)
			c->wrote_level = level - 1;
		if (c->busy_level >= level)
			c->busy_level = level - 1;
		if (c->begun_level >= level)
			c->begun_level = level - 1;
	}
}

/*
 * The node has not set the savepoint: somebody there cancelled the command, or one before it
 * failed. What it has done in the block before cannot be kept then; if there is nothing of that
 * kind, the block ends and the next command begins another.
 */
static void undo_without_savepoint(HerdConn *c, int level)
{
	if (c->begun_level < level) {
		c->loss = "The node could not set a savepoint. What the transaction had done "
			  "there before cannot be kept.";
		c->lost = true;
		c->level = level - 1;
		c->released = 0;
		return;
	}
	if (PQtransactionStatus(c->pg) != PQTRANS_IDLE)
		herd_conn_simple_start(c, "ROLLBACK");
	left_block(c);
}

static void rollback_sub_start(HerdConn *c, int level, TimestampTz deadline)
{
	char sql[COMMAND_SIZE];

	if (c->busy_level >= level) {
		c->owner = NULL;
		if (c->polling != PGRES_POLLING_OK)
			c->lost = true;
		herd_conn_quiesce_until(c, true, deadline);
	}
	/* Not touched since the subtransaction began: what is due for RELEASE came before it. */
	if (c->level < level || (c->released > 0 && c->released <= level))
		return;
	herd_settings_forget(c);
	if (!c->lost && c->sure_level < level) {
		undo_without_savepoint(c, level);
		return;
	}
	if (!c->lost) {
		snprintf(sql, sizeof(sql),
			 "ROLLBACK TO SAVEPOINT herd_%d; RELEASE SAVEPOINT herd_%d", level, level);
		herd_conn_simple_start(c, sql);
	}
	c->level = c->sure_level = level - 1;
	c->begun_level = Min(c->begun_level, c->level);
	c->released = 0;
	if (c->wrote_level >= level)
		c->wrote_level = 0;
}

static void abort_sub(int level)
{
	TimestampTz deadline;
	HerdConn *c;

	foreach_used(c)
	{
		if (c->busy_level >= level && c->polling == PGRES_POLLING_OK && herd_conn_busy(c))
			herd_conn_cancel(c); /* all of them, before any is waited for */
	}
	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SUB_ROLLBACK_TIMEOUT_MS);
	foreach_used(c) rollback_sub_start(c, level, deadline);
	foreach_used(c)
	{
		/* not a COPY that was under way before the subtransaction */
		if (c->simple && !c->settle &&
		    herd_conn_simple_wait(c, deadline, HERD_CANCEL_IGNORE, NULL) != HERD_DONE)
			c->lost = true;
	}
	foreach_used(c)
	{
		if (c->owner)
			continue; /* of an execution outside the subtransaction */
		if (c->polling != PGRES_POLLING_OK || PQstatus(c->pg) == CONNECTION_BAD)
			c->lost = true;
		/* Nothing of this transaction was lost with it: another may take its place. */
		if (c->lost && c->level == 0)
			c->used = c->main = false;
	}
}

static void subxact_callback(SubXactEvent event, SubTransactionId self, SubTransactionId parent,
			     void *arg)
{
	if (!in_use)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		commit_sub(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		abort_sub(GetCurrentTransactionNestLevel());
}

void herd_txn_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	herd_txn_statement_init();
	herd_deadlock_init();
}
