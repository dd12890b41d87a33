/*
 * Tells a statement that is a transaction by itself from one that is a part of something.
 */
#include "postgres.h"

#include "access/xact.h"
#include "attach/leaving.h"
#include "catalog/metadata.h"
#include "compat.h"
#include "conn/adopt.h"
#include "conn/moment.h"
#include "conn/names.h"
#include "conn/settings.h"
#include "executor/executor.h"
#include "guc.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "plan/generic.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "txn/ahead.h"
#include "txn/held.h"
#include "txn/internal.h"
#include "txn/prepared.h"
#include "utils/portal.h"

/* As in libpq/libpq.h, which cannot be included where the GSSAPI headers are not installed. */
extern void pq_startmsgread(void);
extern void pq_endmsgread(void);
extern int pq_peekbyte(void);
#if PG_VERSION_NUM >= 170000
extern ssize_t pq_buffer_remaining_data(void);
#else
extern bool pq_buffer_has_data(void);
#endif

static ExecutorStart_hook_type prev_start;
static ExecutorRun_hook_type prev_run;
static ExecutorFinish_hook_type prev_finish;
static ExecutorEnd_hook_type prev_end;
static ProcessUtility_hook_type prev_utility;

/* How many executors and utility commands are on the stack. */
static int depth;
/* The outermost one runs a plan that is a single scan of ours. */
static bool lone_plan;
/* The outermost one is a SELECT that writes and locks nothing, as far as its plan says. */
static bool reading_plan;
/* The outermost one came as a simple query, in a message of its own. */
static bool simple_query;
/* Inside EXECUTE or EXPLAIN of the user, which do not count as a level. */
static bool wrapped;
/* Of the innermost executor that gives rows. */
static EState *running;

static bool is_lone_plan(const PlannedStmt *stmt)
{
	return stmt->planTree && IsA(stmt->planTree, CustomScan) && stmt->subplans == NIL &&
	       !stmt->hasModifyingCTE && ((const CustomScan *)stmt->planTree)->custom_plans == NIL;
}

/* exec_simple_query() hides its portal from pg_cursors, the extended protocol does not. */
static bool is_simple_query(void)
{
	return ActivePortal && !ActivePortal->visible;
}

static void enter(const PlannedStmt *stmt)
{
	if (depth == 0) {
		lone_plan = is_lone_plan(stmt);
		reading_plan = stmt->commandType == CMD_SELECT && !stmt->hasModifyingCTE &&
			       stmt->rowMarks == NIL;
		if (!wrapped)
			simple_query = is_simple_query();
	}
	depth++;
}

int herd_txn_command_begin(void)
{
	if (depth == 0)
		lone_plan = reading_plan = false;
	return depth++;
}

void herd_txn_command_end(int outer)
{
	depth = outer;
}

/*
 * Scans of ours do not open the tables that they stand for. As long as a query is open they are in
 * use all the same: ALTER TABLE and TRUNCATE of this session are refused then.
 */
static void use_tables(EState *estate)
{
	ListCell *lc;

	foreach (lc, estate->es_range_table) {
		const RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION && rte->relkind != RELKIND_VIEW &&
		    herd_table_get(rte->relid) != NULL)
			herd_range_table_relation(estate, foreach_current_index(lc) + 1);
	}
}

static void executor_start(QueryDesc *query, int eflags)
{
	CommandId cid = 0;
	bool part = herd_moment_starts(query, depth == 0, &cid, &eflags);

	if (depth == 0)
		herd_generic_keep();
	enter(query->plannedstmt);
	PG_TRY();
	{
		if (prev_start)
			prev_start(query, eflags);
		else
			standard_ExecutorStart(query, eflags);
	}
	PG_FINALLY();
	{
		depth--;
	}
	PG_END_TRY();
	if (part)
		herd_moment_started(query, cid);
	herd_leaving_started(query);
	if (query->operation == CMD_SELECT && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		use_tables(query->estate);
	/* rows that a lone scan has not given yet can be kept by itself */
	if (query->operation == CMD_SELECT && !is_lone_plan(query->plannedstmt))
		herd_ahead_opened(query);
}

#if PG_VERSION_NUM >= 180000
#define RUN_PARAMS QueryDesc *query, ScanDirection direction, uint64 count
#define RUN_ARGS query, direction, count
#else
#define RUN_PARAMS QueryDesc *query, ScanDirection direction, uint64 count, bool once
#define RUN_ARGS query, direction, count, once
#endif

static void executor_run(RUN_PARAMS)
{
	EState *outer = running;
	HerdAhead *open = herd_ahead_enter(query);
	HerdMomentFrame outer_moment = herd_moment_enter(query);

	enter(query->plannedstmt);
	running = query->estate;
	PG_TRY();
	{
		if (herd_ahead_give(open, direction, count))
			;
		else if (prev_run)
			prev_run(RUN_ARGS);
		else
			standard_ExecutorRun(RUN_ARGS);
	}
	PG_FINALLY();
	{
		herd_ahead_leave(open);
		herd_moment_leave(outer_moment);
		running = outer;
		depth--;
	}
	PG_END_TRY();
}

static void executor_finish(QueryDesc *query)
{
	EState *outer = running;

	enter(query->plannedstmt);
	running = query->estate;
	PG_TRY();
	{
		if (prev_finish)
			prev_finish(query);
		else
			standard_ExecutorFinish(query);
	}
	PG_FINALLY();
	{
		running = outer;
		depth--;
	}
	PG_END_TRY();
}

static void executor_end(QueryDesc *query)
{
	herd_ahead_ended(query);
	if (prev_end)
		prev_end(query);
	else
		standard_ExecutorEnd(query);
}

#define UTILITY_PARAMS                                                                             \
	PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context,      \
		ParamListInfo params, QueryEnvironment *env, DestReceiver *dest,                   \
		QueryCompletion *qc
#define UTILITY_ARGS pstmt, query, read_only, context, params, env, dest, qc

static void chain_utility(UTILITY_PARAMS)
{
	if (prev_utility)
		prev_utility(UTILITY_ARGS);
	else
		standard_ProcessUtility(UTILITY_ARGS);
}

static void counted_utility(UTILITY_PARAMS)
{
	depth++;
	PG_TRY();
	{
		chain_utility(UTILITY_ARGS);
	}
	PG_FINALLY();
	{
		depth--;
	}
	PG_END_TRY();
}

static void wrapped_utility(UTILITY_PARAMS)
{
	simple_query = is_simple_query();
	wrapped = true;
	PG_TRY();
	{
		chain_utility(UTILITY_ARGS);
	}
	PG_FINALLY();
	{
		wrapped = false;
	}
	PG_END_TRY();
}

/* What waits for it on shards of this node fails with their names. */
static void set_constraints(UTILITY_PARAMS)
{
	MemoryContext memory = CurrentMemoryContext;

	PG_TRY();
	{
		counted_utility(UTILITY_ARGS);
		herd_settings_saw(pstmt->utilityStmt);
	}
	PG_CATCH();
	{
		herd_names_rethrow(memory);
	}
	PG_END_TRY();
}

static void process_utility(UTILITY_PARAMS)
{
	Node *stmt = pstmt->utilityStmt;
	bool sets = IsA(stmt, VariableSetStmt) || IsA(stmt, DiscardStmt);
	List *parts = herd_prepared_parts(stmt);

	if (context == PROCESS_UTILITY_TOPLEVEL)
		herd_maintenance_leave_database(stmt);
	if (depth == 0 && !wrapped && (IsA(stmt, ExecuteStmt) || IsA(stmt, ExplainStmt)))
		wrapped_utility(UTILITY_ARGS);
	else if (IsA(stmt, ConstraintsSetStmt))
		set_constraints(UTILITY_ARGS);
	else
		counted_utility(UTILITY_ARGS);
	if (sets)
		herd_settings_saw(stmt);
	if (parts != NIL)
		herd_prepared_finish(stmt, parts);
	if (IsA(stmt, DeclareCursorStmt) &&
	    (castNode(DeclareCursorStmt, stmt)->options & CURSOR_OPT_HOLD))
		herd_held_declared(castNode(DeclareCursorStmt, stmt)->portalname);
	if (IsA(stmt, VariableSetStmt) && context == PROCESS_UTILITY_TOPLEVEL)
		herd_guc_saw((VariableSetStmt *)stmt);
}

/*
 * In the extended protocol statements share a transaction until Sync, so the next message decides.
 * Drivers send it together with Execute; when it is not there yet, more may come.
 */
static bool sync_follows(void)
{
	bool sync;

	if (!MyProcPort)
		return false;
#if PG_VERSION_NUM >= 170000
	if (pq_buffer_remaining_data() <= 0)
		return false;
#else
	if (!pq_buffer_has_data())
		return false;
#endif
	pq_startmsgread();
	sync = pq_peekbyte() == 'S';
	pq_endmsgread();
	return sync;
}

/* True when more statements may follow in this transaction. */
static bool in_block(void)
{
	return depth != 1 || IsTransactionBlock() || IsSubTransaction();
}

bool herd_txn_lone_statement(void)
{
	if (in_block() || !lone_plan || MyBackendType != B_BACKEND || !ActivePortal)
		return false;
	if (MyXactFlags & XACT_FLAGS_PIPELINING)
		return false;
	return simple_query || sync_follows();
}

bool herd_txn_only_reads(void)
{
	if (XactIsoLevel != XACT_READ_COMMITTED || MyBackendType != B_BACKEND)
		return false;
	if (XactReadOnly)
		return true;
	if (in_block() || !reading_plan || !ActivePortal || (MyXactFlags & XACT_FLAGS_PIPELINING) ||
	    TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return false;
	return simple_query || sync_follows();
}

EState *herd_txn_running(void)
{
	return running;
}

void herd_txn_check_nested(void)
{
	if (depth < 2 || !herd_session_adopted())
		return;
	ereport(ERROR,
		(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		 errmsg("code that runs on a shard cannot use rows of other nodes"),
		 errdetail("A trigger or a function is run where the row is; there its statements "
			   "reach shards of the same node and read reference tables."),
		 errhint("Let it use rows with the same value of the distribution column in "
			 "co-located tables.")));
}

void herd_txn_statement_init(void)
{
	prev_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	prev_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	prev_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
	prev_end = ExecutorEnd_hook;
	ExecutorEnd_hook = executor_end;
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
