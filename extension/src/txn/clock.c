#include "txn/clock.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/metadata.h"
#include "catalog/namespace.h"
#include "compat.h"
#include "conn/conn.h"
#include "conn/session.h"
#include "fmgr.h"
#include "guc.h"
#include "libpq/pqformat.h"
#include "port/atomics.h"
#include "shared.h"
#include "txn/txn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

enum { COUNTER_BITS = 22, ASK_TIMEOUT_MS = 30000 };
#define COUNTER_MASK ((UINT64CONST(1) << COUNTER_BITS) - 1)
#define MS_MAX ((UINT64CONST(1) << 42) - 1)
/* The mark on disk is so far ahead, that one write serves for many readings. */
#define MARK_AHEAD_MS INT64CONST(10000)

typedef struct SharedClock {
	pg_atomic_uint64 last;   /* the latest time that was given, or heard of */
	pg_atomic_uint64 marked; /* milliseconds that a mark on disk covers */
} SharedClock;

static SharedClock *shared;

static void begin(void *memory)
{
	SharedClock *clock = memory;

	pg_atomic_init_u64(&clock->last, 0);
	pg_atomic_init_u64(&clock->marked, 0);
}

void herd_clock_init(void)
{
	herd_shared_struct("pgherd cluster clock", sizeof(SharedClock), 0, begin, (void **)&shared,
			   NULL);
}

/* -- readings ---------------------------------------------------------------------------------- */

static uint64 wall_ms(void)
{
	const int64 epoch_days = POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE;

	return (uint64)(GetCurrentTimestamp() / 1000 +
			epoch_days * SECS_PER_DAY * INT64CONST(1000));
}

/* The clock is at least there afterwards. */
static void advance(HerdClock to)
{
	uint64 last = pg_atomic_read_u64(&shared->last);

	while (last < to && !pg_atomic_compare_exchange_u64(&shared->last, &last, to))
		;
}

static Oid mark_sequence(void)
{
	return get_relname_relid("clock_mark", get_namespace_oid("citus_internal", false));
}

/* The first reading since the server has started goes on where the last ones may have ended. */
static void recall_mark(void)
{
	int64 mark = DatumGetInt64(
		DirectFunctionCall1(pg_sequence_last_value, ObjectIdGetDatum(mark_sequence())));

	advance((HerdClock)mark << COUNTER_BITS);
	pg_atomic_write_u64(&shared->marked, (uint64)mark);
}

static void mark_ahead(uint64 ms)
{
	if (RecoveryInProgress() || XactReadOnly)
		return;
	(void)DirectFunctionCall2(setval_oid, ObjectIdGetDatum(mark_sequence()),
				  Int64GetDatum((int64)ms + MARK_AHEAD_MS));
	pg_atomic_write_u64(&shared->marked, ms + MARK_AHEAD_MS);
}

static HerdClock next_time(void)
{
	uint64 last = pg_atomic_read_u64(&shared->last);
	uint64 next;

	do
		next = Max(wall_ms() << COUNTER_BITS, last + 1);
	while (!pg_atomic_compare_exchange_u64(&shared->last, &last, next));
	return next;
}

/*
 * A transaction that only reads leaves no mark: PostgreSQL lets it write nothing. Two sessions may
 * both mark; either mark covers what they give.
 */
static HerdClock read_clock(void)
{
	HerdClock now;

	if (pg_atomic_read_u64(&shared->marked) == 0)
		recall_mark();
	now = next_time();
	if (now >> COUNTER_BITS >= pg_atomic_read_u64(&shared->marked))
		mark_ahead(now >> COUNTER_BITS);
	return now;
}

PG_FUNCTION_INFO_V1(herd_clock_now);
PGDLLEXPORT Datum herd_clock_now(PG_FUNCTION_ARGS)
{
	return UInt64GetDatum(read_clock());
}

PG_FUNCTION_INFO_V1(herd_clock_advance);
PGDLLEXPORT Datum herd_clock_advance(PG_FUNCTION_ARGS)
{
	advance(DatumGetUInt64(PG_GETARG_DATUM(0)));
	(void)read_clock();
	PG_RETURN_VOID();
}

/* -- a time for a transaction over several nodes ----------------------------------------------- */

static bool parse_clock(const char *in, HerdClock *clock)
{
	unsigned long long ms, counter;
	int end = 0;

	if (sscanf(in, " ( %19llu , %19llu ) %n", &ms, &counter, &end) != 2 || end == 0 ||
	    in[end] != '\0' || strpbrk(in, "+-") || ms > MS_MAX || counter > COUNTER_MASK)
		return false;
	*clock = ((HerdClock)ms << COUNTER_BITS) | counter;
	return true;
}

static char *clock_text(HerdClock clock)
{
	return psprintf("(" UINT64_FORMAT "," UINT64_FORMAT ")", clock >> COUNTER_BITS,
			clock & COUNTER_MASK);
}

static List *used_nodes(void)
{
	List *used = NIL;
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		HerdNode *node = lfirst(lc);

		if (node->primary && node->active && node->groupid != herd_local_group() &&
		    herd_txn_group_used(node->groupid))
			used = lappend(used, node);
	}
	return used;
}

/* The same command on all of them; results in the order of the nodes. */
static List *ask(List *nodes, char *sql)
{
	List *sqls = NIL, *results;
	ListCell *n, *r;

	for (int i = 0; i < list_length(nodes); i++)
		sqls = lappend(sqls, sql);
	results = herd_remote_query_nodes_as(nodes, sqls, ASK_TIMEOUT_MS, herd_conn_superuser());
	forboth(n, nodes, r, results)
	{
		const HerdNode *node = lfirst(n);
		const HerdRemoteResult *result = lfirst(r);

		if (!result->ok || result->nrows != 1)
			ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
					errmsg("cannot read the clock of node \"%s:%d\"",
					       node->host, node->port),
					errdetail("%s", result->ok ? "It gave no time."
								   : result->message)));
	}
	return results;
}

static HerdClock latest(const List *results, HerdClock than)
{
	ListCell *lc;

	foreach (lc, results) {
		const HerdRemoteResult *result = lfirst(lc);
		HerdClock theirs;

		if (result->values[0] && parse_clock(result->values[0], &theirs))
			than = Max(than, theirs);
	}
	return than;
}

PG_FUNCTION_INFO_V1(herd_clock_of_transaction);
PGDLLEXPORT Datum herd_clock_of_transaction(PG_FUNCTION_ARGS)
{
	List *nodes;
	HerdClock clock;

	if (!herd_enable_cluster_clock) {
		ereport(WARNING, (errmsg("transaction has no cluster clock"),
				  errhint("Set citus.enable_cluster_clock to on.")));
		PG_RETURN_NULL();
	}
	nodes = used_nodes();
	clock = read_clock();
	if (nodes == NIL)
		return UInt64GetDatum(clock);
	clock = latest(ask(nodes, "SELECT pg_catalog.citus_get_node_clock()"), clock);
	advance(clock);
	(void)ask(nodes, psprintf("SELECT citus_internal.advance_clock('%s')", clock_text(clock)));
	return UInt64GetDatum(clock);
}

/* -- the type ---------------------------------------------------------------------------------- */

PG_FUNCTION_INFO_V1(herd_clock_in);
PGDLLEXPORT Datum herd_clock_in(PG_FUNCTION_ARGS)
{
	const char *in = PG_GETARG_CSTRING(0);
	HerdClock clock;

	if (!parse_clock(in, &clock))
		ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%s\"", "cluster_clock", in),
			 errdetail("It is (milliseconds,counter), of at most 42 and 22 "
				   "bits.")));
	return UInt64GetDatum(clock);
}

PG_FUNCTION_INFO_V1(herd_clock_out);
PGDLLEXPORT Datum herd_clock_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(clock_text(DatumGetUInt64(PG_GETARG_DATUM(0))));
}

PG_FUNCTION_INFO_V1(herd_clock_recv);
PGDLLEXPORT Datum herd_clock_recv(PG_FUNCTION_ARGS)
{
	return UInt64GetDatum((uint64)pq_getmsgint64((StringInfo)PG_GETARG_POINTER(0)));
}

PG_FUNCTION_INFO_V1(herd_clock_send);
PGDLLEXPORT Datum herd_clock_send(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint64(&buf, DatumGetUInt64(PG_GETARG_DATUM(0)));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(herd_clock_logical);
PGDLLEXPORT Datum herd_clock_logical(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64)(DatumGetUInt64(PG_GETARG_DATUM(0)) >> COUNTER_BITS));
}

static int compare(FunctionCallInfo fcinfo)
{
	HerdClock a = DatumGetUInt64(PG_GETARG_DATUM(0));
	HerdClock b = DatumGetUInt64(PG_GETARG_DATUM(1));

	return a < b ? -1 : a > b ? 1 : 0;
}

PG_FUNCTION_INFO_V1(herd_clock_cmp);
PGDLLEXPORT Datum herd_clock_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(fcinfo));
}

#define COMPARISON(name, op)                                                                       \
	PG_FUNCTION_INFO_V1(herd_clock_##name);                                                    \
	PGDLLEXPORT Datum herd_clock_##name(PG_FUNCTION_ARGS)                                      \
	{                                                                                          \
		PG_RETURN_BOOL(compare(fcinfo) op 0);                                              \
	}

COMPARISON(lt, <)
COMPARISON(le, <=)
COMPARISON(eq, ==)
COMPARISON(ne, !=)
COMPARISON(ge, >=)
COMPARISON(gt, >)
