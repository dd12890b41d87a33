#include "conn/session.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "conn/rights.h"
#include "conn/secondary.h"
#include "conn/settings.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/ipc.h"
#include "txn/internal.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* Prepared statements kept on one connection. */
#define MAX_STATEMENTS 256
/* How long a cancelled command may take to end before its connection is given up. */
#define QUIESCE_TIMEOUT_MS 5000
#define CANCEL_AGAIN_MS 200
/* What a backend that is told to end still does for the nodes: it asks them to stop. */
#define DYING_TIMEOUT_MS 200
/* A thread that sends a cancel request is looked at so often. */
#define CANCEL_POLL_MS 5

/* -- the queue of what is outstanding ---------------------------------------------------------- */

static void expect_push(HerdConn *c, HerdCmd cmd, int task, bool rows, HerdStatement *st)
{
	uint32 used = c->expect_tail - c->expect_head;

	if (used == c->expect_size) {
		uint32 size = Max(c->expect_size * 2, 16);
		HerdExpect *bigger = MemoryContextAlloc(c->cxt, size * sizeof(*bigger));

		for (uint32 i = 0; i < used; i++)
			bigger[i] = c->expect[(c->expect_head + i) & (c->expect_size - 1)];
		if (c->expect)
			pfree(c->expect);
		c->expect = bigger;
		c->expect_size = size;
		c->expect_head = 0;
		c->expect_tail = used;
	}
	if (used == 0) {
		c->head_begun = false;
		c->busy_level = GetCurrentTransactionNestLevel();
	}
	c->expect[c->expect_tail++ & (c->expect_size - 1)] =
		(HerdExpect){ .cmd = cmd, .task = task, .rows = rows, .statement = st };
}

static HerdExpect *expect_front(HerdConn *c)
{
	Assert(c->expect_head != c->expect_tail);
	return &c->expect[c->expect_head & (c->expect_size - 1)];
}

static void forget_statement(HerdConn *c, HerdStatement *st)
{
	dlist_delete(&st->lru);
	c->nstatements--;
	pfree(st->sql);
	if (st->types)
		pfree(st->types);
	hash_search(c->statements, &st->hash, HASH_REMOVE, NULL);
}

static void expect_pop(HerdConn *c)
{
	HerdExpect *e = expect_front(c);

	if (e->statement && !e->statement->confirmed)
		forget_statement(c, e->statement);
	if (e->cmd == HERD_CMD_BLOCK)
		c->block_cmds--;
	c->expect_head++;
	c->head_begun = false;
}

/* -- sending ----------------------------------------------------------------------------------- */

static void sent_or_lost(HerdConn *c, int ok)
{
	/* Who is told of the loss is told when he reads. */
	if (!ok && !(c->tell_loss && PQstatus(c->pg) == CONNECTION_BAD))
		herd_conn_raise_lost(c);
}

static void send_command(HerdConn *c, HerdCmd cmd, const char *sql)
{
	expect_push(c, cmd, -1, false, NULL);
	herd_conn_log(c, sql);
	sent_or_lost(c, PQsendQueryParams(c->pg, sql, 0, NULL, NULL, NULL, NULL, 0));
}

void herd_conn_send_plain(HerdConn *c, const char *sql)
{
	send_command(c, HERD_CMD_SETUP, sql);
}

void herd_conn_send_plain_params(HerdConn *c, const char *sql, const HerdParams *params)
{
	expect_push(c, HERD_CMD_SETUP, -1, false, NULL);
	herd_conn_log(c, sql);
	sent_or_lost(c, PQsendQueryParams(c->pg, sql, params->n, params->types, params->values,
					  params->lengths, params->formats, 0));
}

void herd_conn_send_bind(HerdConn *c, const char *sql)
{
	send_command(c, HERD_CMD_BIND, sql);
	herd_conn_send_sync(c);
}

static const char *isolation_name(void)
{
	switch (XactIsoLevel) {
	case XACT_SERIALIZABLE:
		return "SERIALIZABLE";
	case XACT_REPEATABLE_READ:
		return "REPEATABLE READ";
	default:
		return "READ COMMITTED";
	}
}

static void send_as(HerdConn *c, HerdCmd cmd, const char *sql, const HerdParams *params,
		    bool binary, bool reusable, int task, bool rows);

static void make_room(HerdConn *c);
static void forget_outdated(HerdConn *c);

/* A command that leads to c->level: 1 in the block, more with savepoints. */
static void send_block(HerdConn *c, const char *sql, bool reusable)
{
	c->sure_level = Min(c->sure_level, c->level);
	c->block_cmds++;
	send_as(c, HERD_CMD_BLOCK, sql, NULL, false, reusable, c->level, false);
}

static void send_begin(HerdConn *c)
{
	StringInfoData sql;
	uint32 sent = c->expect_tail;

	/* DEALLOCATE takes a snapshot, after which no block can choose its isolation level. */
	forget_outdated(c);
	make_room(c);
	if (c->expect_tail != sent)
		herd_conn_send_sync(c);
	initStringInfo(&sql);
	appendStringInfo(&sql, "BEGIN ISOLATION LEVEL %s", isolation_name());
	if (XactReadOnly)
		appendStringInfoString(&sql, " READ ONLY");
	if (XactIsoLevel == XACT_SERIALIZABLE && XactDeferrable)
		appendStringInfoString(&sql, " DEFERRABLE");
	/* Counted before it is sent: when the answer is lost, the block must be assumed open. */
	c->level = 1;
	c->released = 0;
	c->sure_level = 0;
	c->begun_level = GetCurrentTransactionNestLevel();
	c->wrote_level = 0;
	c->only_holds = true;
	c->adopted = 0;
	c->acting = false;
	send_block(c, sql.data, true);
	pfree(sql.data);
}

static void send_savepoints(HerdConn *c)
{
	int level = GetCurrentTransactionNestLevel();
	bool sent = false;

	if (c->released > 0) {
		char *sql = psprintf("RELEASE SAVEPOINT herd_%d", c->released);

		c->level = c->released - 1;
		c->released = 0;
		send_block(c, sql, false);
		pfree(sql);
		sent = true;
	}
	Assert(c->level <= level);
	while (c->level < level) {
		char *sql = psprintf("SAVEPOINT herd_%d", c->level + 1);

		/* Counted before it is sent, as BEGIN is. */
		c->level++;
		send_block(c, sql, false);
		pfree(sql);
		sent = true;
	}
	/*
	 * A cancel request must not hit these commands, or what came before them in the block could
	 * not be kept. So they are to be answered at once, and not when the task after them ends.
	 */
	if (sent && c->begun_level < level)
		sent_or_lost(c, PQsendFlushRequest(c->pg));
}

void herd_conn_send_setup(HerdConn *c, bool in_block, bool writes)
{
	if (c->lost)
		herd_conn_raise_lost(c);
	Assert(!c->simple);
	if (writes)
		herd_session_writes();
	c->used = true;
	/* What fails after the savepoint can be undone with it. */
	if (c->level > 0)
		send_savepoints(c);
	herd_settings_send(c);
	if (in_block || c->level > 0) {
		if (c->level == 0)
			send_begin(c);
		send_savepoints(c);
		herd_conn_send_user(c);
		herd_settings_send_local(c);
		c->only_holds = c->only_holds && !writes;
		if (writes && c->wrote_level == 0)
			c->wrote_level = GetCurrentTransactionNestLevel();
	}
}

static void make_room(HerdConn *c)
{
	while (c->nstatements >= MAX_STATEMENTS) {
		HerdStatement *old = dlist_container(HerdStatement, lru, dlist_tail_node(&c->lru));
		char *sql;

		if (!old->confirmed)
			return; /* all of them are under way; the table may grow a little */
		sql = psprintf("DEALLOCATE herd_" UINT64_FORMAT, old->number);
		forget_statement(c, old);
		herd_conn_send_plain(c, sql);
		pfree(sql);
	}
}

/*
 * A statement that was prepared before a column of its table changed its type would fail on the
 * node ("cached plan must not change result type"). Those still under way are left: they were sent
 * under a lock of this transaction on their tables, and are forgotten when the next one is sent.
 */
static void forget_outdated(HerdConn *c)
{
	uint64 now = herd_table_changes();
	dlist_mutable_iter iter;
	bool all = true;

	if (c->statements_of == now)
		return;
	dlist_foreach_modify(iter, &c->lru)
	{
		HerdStatement *st = dlist_container(HerdStatement, lru, iter.cur);
		char *sql;

		if (!st->confirmed) {
			all = false;
			continue;
		}
		sql = psprintf("DEALLOCATE herd_" UINT64_FORMAT, st->number);
		forget_statement(c, st);
		herd_conn_send_plain(c, sql);
		pfree(sql);
	}
	if (all)
		c->statements_of = now;
}

/* NULL when the slot is taken by another text of the same hash. */
static HerdStatement *statement_for(HerdConn *c, const char *sql, const HerdParams *params)
{
	int n = params ? params->n : 0;
	uint64 hash = hash_bytes_extended((const unsigned char *)sql, strlen(sql), 0);
	HerdStatement *st;
	bool found;

	if (n > 0)
		hash = hash_bytes_extended((const unsigned char *)params->types, n * sizeof(Oid),
					   hash);
	if (!c->statements) {
		HASHCTL ctl = { .keysize = sizeof(uint64),
				.entrysize = sizeof(HerdStatement),
				.hcxt = c->cxt };

		c->statements = hash_create("pgherd prepared statements", 64, &ctl,
					    HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		dlist_init(&c->lru);
		c->statements_of = herd_table_changes();
	}
	forget_outdated(c);
	st = hash_search(c->statements, &hash, HASH_FIND, NULL);
	if (st) {
		if (st->ntypes != n || strcmp(st->sql, sql) != 0 ||
		    (n > 0 && memcmp(st->types, params->types, n * sizeof(Oid)) != 0))
			return NULL;
		dlist_move_head(&c->lru, &st->lru);
		return st;
	}
	make_room(c);
	char *copy = MemoryContextStrdup(c->cxt, sql);
	Oid *types = n > 0 ? MemoryContextAlloc(c->cxt, n * sizeof(Oid)) : NULL;

	st = hash_search(c->statements, &hash, HASH_ENTER, &found);
	Assert(!found);
	st->sql = copy;
	st->ntypes = n;
	st->types = types;
	if (n > 0)
		memcpy(types, params->types, n * sizeof(Oid));
	st->number = ++c->statement_seq;
	st->confirmed = false;
	dlist_push_head(&c->lru, &st->lru);
	c->nstatements++;
	expect_push(c, HERD_CMD_PREPARE, -1, false, st);

	char name[32];

	snprintf(name, sizeof(name), "herd_" UINT64_FORMAT, st->number);
	sent_or_lost(c, PQsendPrepare(c->pg, name, sql, n, types));
	return st;
}

static void send_as(HerdConn *c, HerdCmd cmd, const char *sql, const HerdParams *params,
		    bool binary, bool reusable, int task, bool rows)
{
	HerdStatement *st = reusable ? statement_for(c, sql, params) : NULL;
	int n = params ? params->n : 0;
	const char *const *values = n > 0 ? params->values : NULL;
	const int *lengths = n > 0 ? params->lengths : NULL;
	const int *formats = n > 0 ? params->formats : NULL;

	herd_conn_log(c, sql);
	expect_push(c, cmd, task, rows, NULL);
	if (st) {
		char name[32];

		snprintf(name, sizeof(name), "herd_" UINT64_FORMAT, st->number);
		sent_or_lost(c,
			     PQsendQueryPrepared(c->pg, name, n, values, lengths, formats, binary));
	} else {
		sent_or_lost(c, PQsendQueryParams(c->pg, sql, n, n > 0 ? params->types : NULL,
						  values, lengths, formats, binary));
	}
}

void herd_conn_send(HerdConn *c, const char *sql, const HerdParams *params, bool binary,
		    bool reusable, int task, bool rows)
{
	send_as(c, HERD_CMD_TASK, sql, params, binary, reusable, task, rows);
}

void herd_conn_send_check(HerdConn *c, uint64 lsn, uint32 timeline)
{
	uint64 wire_lsn = pg_hton64(lsn);
	uint32 wire_timeline = pg_hton32(timeline);
	HerdParams params = { .n = 2,
			      .types = (Oid[]){ INT8OID, INT4OID },
			      .values =
				      (const char *[]){ (char *)&wire_lsn, (char *)&wire_timeline },
			      .lengths = (int[]){ sizeof(wire_lsn), sizeof(wire_timeline) },
			      .formats = (int[]){ 1, 1 } };

	send_as(c, HERD_CMD_CHECK, "SELECT citus_internal.check_standby($1, $2)", &params, true,
		true, -1, false);
}

void herd_conn_send_sync(HerdConn *c)
{
	expect_push(c, HERD_CMD_SYNC, -1, false, NULL);
	sent_or_lost(c, PQpipelineSync(c->pg));
}

bool herd_conn_flush(HerdConn *c)
{
	/* A failed write shows again when the answer is read, with the server's reason if any. */
	return PQflush(c->pg) == 1;
}

/* -- receiving --------------------------------------------------------------------------------- */

HerdReceived herd_conn_receive(HerdConn *c, int *task, PGresult **ret)
{
	while (herd_conn_busy(c)) {
		HerdExpect *e = expect_front(c);
		PGresult *res;

		if (!c->head_begun) {
			if (e->rows)
				PQsetSingleRowMode(c->pg);
			c->head_begun = true;
		}
		if (PQisBusy(c->pg) && PQstatus(c->pg) != CONNECTION_BAD)
			return HERD_RECEIVED_NOTHING;
		res = PQgetResult(c->pg);
		if (!res) {
			bool is_task = e->cmd == HERD_CMD_TASK;

			if (PQstatus(c->pg) == CONNECTION_BAD) {
				if (c->tell_loss)
					return HERD_RECEIVED_LOST;
				herd_conn_raise_lost(c);
			}
			*task = e->task;
			expect_pop(c);
			if (is_task)
				return HERD_RECEIVED_END;
			continue;
		}
		switch (PQresultStatus(res)) {
		case PGRES_PIPELINE_SYNC:
			PQclear(res);
			Assert(e->cmd == HERD_CMD_SYNC);
			expect_pop(c);
			break;
		case PGRES_COMMAND_OK:
		case PGRES_TUPLES_OK:
		case PGRES_SINGLE_TUPLE:
		case PGRES_EMPTY_QUERY:
			if (e->cmd == HERD_CMD_TASK) {
				*task = e->task;
				*ret = res;
				return HERD_RECEIVED_RESULT;
			}
			if (e->statement)
				e->statement->confirmed = true;
			if (e->cmd == HERD_CMD_BIND)
				c->bound = true;
			if (e->cmd == HERD_CMD_BLOCK)
				c->sure_level = e->task;
			PQclear(res);
			break;
		case PGRES_PIPELINE_ABORTED:
			PQclear(res);
			break;
		default:
			if (e->cmd == HERD_CMD_BIND)
				c->lost = true;
			if (c->tell_loss &&
			    (herd_conn_is_loss(c, res) || herd_conn_is_standbys(c, e->cmd, res))) {
				PQclear(res);
				return HERD_RECEIVED_LOST;
			}
			herd_conn_raise(c, res);
		}
	}
	return HERD_RECEIVED_NOTHING;
}

void herd_conn_consume(HerdConn *c)
{
	/* At the end of the stream the last words of the server may still wait to be parsed. */
	(void)PQconsumeInput(c->pg);
}

void herd_conn_wait(HerdConn *c)
{
	uint32 events = WL_SOCKET_READABLE;
	WaitEvent event;

	if (PQstatus(c->pg) == CONNECTION_BAD)
		return;
	if (herd_conn_flush(c))
		events |= WL_SOCKET_WRITEABLE;
	ModifyWaitEvent(c->set, 0, events, NULL);
	if (WaitEventSetWait(c->set, -1, &event, 1, PG_WAIT_EXTENSION) < 1)
		return;
	if (event.events & WL_POSTMASTER_DEATH)
		proc_exit(1);
	if (event.events & WL_LATCH_SET) {
		ResetLatch(MyLatch);
		herd_deadlock_check_mark();
		CHECK_FOR_INTERRUPTS();
	}
	if (event.events & WL_SOCKET_READABLE)
		herd_conn_consume(c);
}

void herd_conn_finish(HerdConn *c)
{
	int task;
	PGresult *res;

	c->tell_loss = false;
	while (herd_conn_busy(c)) {
		switch (herd_conn_receive(c, &task, &res)) {
		case HERD_RECEIVED_RESULT:
			PQclear(res);
			break;
		case HERD_RECEIVED_NOTHING:
			if (herd_conn_busy(c))
				herd_conn_wait(c);
			break;
		case HERD_RECEIVED_END:
		case HERD_RECEIVED_LOST:
			break;
		}
	}
}

/* A backend that must end does not wait for nodes any longer than this. */
static TimestampTz sooner_if_dying(TimestampTz deadline)
{
	static TimestampTz end;

	/* FATAL takes the flag back, and aborts while the process exits. */
	if (!ProcDiePending && !proc_exit_inprogress)
		return deadline;
	if (end == 0)
		end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DYING_TIMEOUT_MS);
	return deadline == 0 ? end : Min(deadline, end);
}

/* Waits without acting on interrupts; false when it is over. */
static bool wait_quietly(HerdConn *c, TimestampTz deadline, HerdOnCancel *on_cancel)
{
	uint32 events = WL_SOCKET_READABLE;
	WaitEvent event;
	long timeout = -1;

	if (PQstatus(c->pg) == CONNECTION_BAD)
		return false;
	if (PQflush(c->pg) == 1)
		events |= WL_SOCKET_WRITEABLE;
	deadline = sooner_if_dying(deadline);
	if (deadline != 0) {
		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (timeout <= 0)
			return false;
	}
	ModifyWaitEvent(c->set, 0, events, NULL);
	if (WaitEventSetWait(c->set, timeout, &event, 1, PG_WAIT_EXTENSION) < 1)
		return true;
	if (event.events & WL_POSTMASTER_DEATH)
		return false;
	if (event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	if (*on_cancel != HERD_CANCEL_IGNORE && (QueryCancelPending || ProcDiePending)) {
		if (*on_cancel == HERD_CANCEL_GIVE_UP)
			return false;
		herd_conn_cancel(c);
		*on_cancel = HERD_CANCEL_IGNORE; /* once is enough */
		c->cancel_until =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), QUIESCE_TIMEOUT_MS);
	}
	if (event.events & WL_SOCKET_READABLE)
		(void)PQconsumeInput(c->pg);
	return true;
}

/* The connection is idle, but a request to cancel it may still be on its way. */
static bool outlive_cancel(HerdConn *c, TimestampTz deadline)
{
	while (herd_conn_cancelling(c)) {
		if (GetCurrentTimestamp() >= sooner_if_dying(deadline))
			return false;
		pg_usleep(CANCEL_POLL_MS * 1000L);
	}
	herd_conn_forget_cancel(c);
	return true;
}

static void give_up(HerdConn *c)
{
	c->lost = true;
	c->simple = false;
	while (c->expect_head != c->expect_tail)
		expect_pop(c);
}

/* One result of a command that nobody wants. */
static void discard(HerdConn *c, PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);

	PQclear(res);
	switch (status) {
	case PGRES_COMMAND_OK:
		if (!c->simple && expect_front(c)->cmd == HERD_CMD_BLOCK)
			c->sure_level = expect_front(c)->task;
		break;
	case PGRES_COPY_IN:
		(void)PQputCopyEnd(c->pg, "the statement was aborted");
		break;
	case PGRES_COPY_OUT:
	case PGRES_COPY_BOTH:
		give_up(c);
		break;
	case PGRES_PIPELINE_SYNC:
		if (c->expect_head != c->expect_tail)
			expect_pop(c);
		break;
	default:
		break;
	}
}

/* Waits for input; with cancel, asks again now and then, as a request may come too early. */
static bool wait_for_end(HerdConn *c, TimestampTz deadline, bool cancel)
{
	HerdOnCancel on_cancel = HERD_CANCEL_IGNORE;
	TimestampTz again = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CANCEL_AGAIN_MS);

	if (!cancel || again > deadline)
		return wait_quietly(c, deadline, &on_cancel);
	if (!wait_quietly(c, again, &on_cancel))
		return false;
	if (GetCurrentTimestamp() >= again)
		herd_conn_cancel(c);
	return true;
}

void herd_conn_quiesce(HerdConn *c, bool cancel)
{
	herd_conn_quiesce_until(
		c, cancel, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), QUIESCE_TIMEOUT_MS));
}

void herd_conn_quiesce_until(HerdConn *c, bool cancel, TimestampTz deadline)
{
	c->settle = NULL; /* its owner is being aborted */
	if (!herd_conn_busy(c) || c->lost)
		return;
	if (cancel)
		herd_conn_cancel(c);
	while (herd_conn_busy(c)) {
		PGresult *res;

		if (PQstatus(c->pg) == CONNECTION_BAD) {
			give_up(c);
			break;
		}
		if (PQisBusy(c->pg)) {
			if (!wait_for_end(c, deadline, cancel)) {
				give_up(c);
				if (cancel)
					herd_conn_cancel(c); /* nothing is kept there any more */
				break;
			}
			continue;
		}
		res = PQgetResult(c->pg);
		if (res) {
			discard(c, res);
		} else if (c->simple) {
			c->simple = false;
			if (!PQenterPipelineMode(c->pg))
				c->lost = true;
		} else {
			expect_pop(c);
			/* Beyond the next Sync waits another command, which was not cancelled. */
			if (cancel && c->expect_tail - c->expect_head > 1)
				herd_conn_cancel(c);
		}
	}
	if (!outlive_cancel(c, deadline))
		c->lost = true;
	c->owner = NULL;
}

/* -- simple queries ---------------------------------------------------------------------------- */

void herd_conn_simple_start(HerdConn *c, const char *sql)
{
	Assert(!herd_conn_busy(c));
	c->busy_level = GetCurrentTransactionNestLevel();
	if (!PQexitPipelineMode(c->pg) || !PQsendQuery(c->pg, sql)) {
		c->lost = true;
		return;
	}
	c->simple = true;
	(void)PQflush(c->pg);
}

HerdOutcome herd_conn_simple_wait(HerdConn *c, TimestampTz deadline, HerdOnCancel on_cancel,
				  PGresult **error)
{
	HerdOutcome outcome = HERD_DONE;

	if (error)
		*error = NULL;
	c->cancel_until = 0;
	while (c->simple) {
		PGresult *res;

		if (PQisBusy(c->pg) && PQstatus(c->pg) != CONNECTION_BAD) {
			if (!wait_quietly(c, deadline ? deadline : c->cancel_until, &on_cancel) &&
			    PQstatus(c->pg) != CONNECTION_BAD)
				give_up(c);
			continue;
		}
		res = PQgetResult(c->pg);
		if (!res) {
			c->simple = false;
			if (PQstatus(c->pg) == CONNECTION_BAD || !PQenterPipelineMode(c->pg))
				c->lost = true;
		} else if (PQresultStatus(res) == PGRES_FATAL_ERROR) {
			if (PQresultErrorField(res, PG_DIAG_SQLSTATE))
				outcome = HERD_REFUSED;
			if (error && !*error)
				*error = res;
			else
				PQclear(res);
		} else {
			discard(c, res);
		}
	}
	if (c->cancel_until != 0 && !c->lost && !outlive_cancel(c, c->cancel_until))
		c->lost = true;
	/* A server that says goodbye in the middle has not refused, it is gone. */
	return c->lost ? HERD_UNKNOWN : outcome;
}

void herd_conn_simple_finish(HerdConn *c)
{
	while (c->simple) {
		PGresult *res;

		if (PQisBusy(c->pg) && PQstatus(c->pg) != CONNECTION_BAD) {
			herd_conn_wait(c);
			continue;
		}
		res = PQgetResult(c->pg);
		if (!res) {
			c->simple = false;
			if (!PQenterPipelineMode(c->pg))
				c->lost = true;
		} else if (PQresultStatus(res) == PGRES_FATAL_ERROR) {
			herd_conn_raise(c, res);
		} else {
			discard(c, res);
		}
	}
	if (c->lost)
		herd_conn_raise_lost(c);
}
