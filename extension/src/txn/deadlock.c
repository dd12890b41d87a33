/*
 * Deadlocks over several nodes, which no node sees by itself.
 *
 * Every backend that works for another carries its global id (node id and process id) in its
 * application name, so "who waits for whom" of all nodes fits together to one graph over global
 * ids. Each node looks only when a session of its own has waited long enough, and cancels only its
 * own sessions: as all nodes see the same cycle and choose the same victim, the youngest
 * transaction in it, exactly one of them acts. The nodes are asked one after the other in time, so
 * a cycle counts only when it is still there in a second look.
 *
 * Cycles on one node are the business of PostgreSQL's own detector, which is faster.
 */
#include "txn/txn.h"

#include "access/xact.h"
#include "catalog/metadata.h"
#include "conn/conn.h"
#include "conn/session.h"
#include "executor/spi.h"
#include "guc.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "shared.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "txn/internal.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include <signal.h>

#define PIDS_PER_NODE INT64CONST(10000000000)

enum { QUERY_TIMEOUT_MS = 5000, SECOND_LOOK_MS = 100 };

/* -- the mark on the victim -------------------------------------------------------------------- */

/* One per backend slot: its statement was chosen to end a deadlock. */
static pg_atomic_uint32 *victims;

#if PG_VERSION_NUM >= 170000
#define proc_slot(proc) GetNumberFromPGProc(proc)
#else
#define proc_slot(proc) ((proc)->pgprocno)
#endif

static void begin(void *memory)
{
	pg_atomic_uint32 *all = memory;

	for (int i = 0; i < MaxBackends; i++)
		pg_atomic_init_u32(&all[i], 0);
}

static pg_atomic_uint32 *mark_of(PGPROC *proc)
{
	return victims && proc && proc_slot(proc) < MaxBackends ? &victims[proc_slot(proc)] : NULL;
}

void herd_deadlock_clear_mark(void)
{
	pg_atomic_uint32 *mark = mark_of(MyProc);

	if (mark && pg_atomic_read_u32(mark) != 0)
		pg_atomic_write_u32(mark, 0);
}

static bool take_mark(void)
{
	pg_atomic_uint32 *mark = mark_of(MyProc);

	if (!mark || pg_atomic_read_u32(mark) == 0)
		return false;
	pg_atomic_write_u32(mark, 0);
	return true;
}

static void raise_deadlock(void)
{
	ereport(ERROR, (errcode(ERRCODE_T_R_DEADLOCK_DETECTED), errmsg("deadlock detected"),
			errdetail("Transactions on several nodes wait for each other; this one is "
				  "the youngest of them."),
			errhint("Try the transaction again.")));
}

void herd_deadlock_check_mark(void)
{
	if (!QueryCancelPending || InterruptHoldoffCount > 0 || !take_mark())
		return;
	QueryCancelPending = false;
	raise_deadlock();
}

void herd_deadlock_rename_cancel(void)
{
	if (geterrcode() != ERRCODE_QUERY_CANCELED || !take_mark())
		return;
	FlushErrorState();
	raise_deadlock();
}

void herd_deadlock_init(void)
{
	herd_shared_struct("pgherd deadlock victims", 0, sizeof(pg_atomic_uint32), begin,
			   (void **)&victims, NULL);
}

/* -- the graph --------------------------------------------------------------------------------- */

typedef struct Edge {
	int64 waiter;
	int64 blocker;
	double started; /* of the waiter's transaction, seconds */
} Edge;

typedef struct Graph {
	int n;
	Edge *edges;
} Graph;

static void add_edges(Graph *g, const HerdRemoteResult *r)
{
	if (!r->ok || r->nrows == 0)
		return;
	g->edges = g->edges ? repalloc(g->edges, (g->n + r->nrows) * sizeof(Edge))
			    : palloc(r->nrows * sizeof(Edge));
	for (int i = 0; i < r->nrows; i++) {
		char **row = &r->values[i * r->ncols];

		g->edges[g->n++] = (Edge){ .waiter = strtoll(row[0], NULL, 10),
					   .blocker = strtoll(row[1], NULL, 10),
					   .started = strtod(row[2], NULL) };
	}
}

/* A backend blocked by a prepared transaction has no blocker here: that one waits for nobody. */
static char *edges_query(const HerdNode *node)
{
	return psprintf(
		"WITH b AS (SELECT pid, COALESCE(pg_catalog.substring(application_name, "
		"'^citus_internal gpid=([0-9]{1,18})$')::pg_catalog.int8, %d * " INT64_FORMAT
		"::pg_catalog.int8 + pid) AS gpid, xact_start, wait_event_type "
		"FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database()), "
		"e AS (SELECT pid, gpid, xact_start, "
		"pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid)) AS blocker FROM b "
		"WHERE wait_event_type = 'Lock') "
		"SELECT e.gpid, b.gpid, pg_catalog.date_part('epoch', e.xact_start) "
		"FROM e JOIN b ON b.pid = e.blocker WHERE e.gpid <> b.gpid "
		"AND e.xact_start IS NOT NULL",
		node->nodeid, PIDS_PER_NODE);
}

static Graph collect_graph(void)
{
	List *nodes = NIL, *sqls = NIL;
	Graph g = { 0 };
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (!node->primary || !node->active)
			continue;
		nodes = lappend(nodes, (void *)node);
		sqls = lappend(sqls, edges_query(node));
	}
	foreach (lc,
		 herd_remote_query_nodes_as(nodes, sqls, QUERY_TIMEOUT_MS, herd_conn_superuser()))
		add_edges(&g, lfirst(lc));
	return g;
}

/* Whether to can be reached from here; seen marks edges that were followed already. */
static bool reaches(const Graph *g, int64 from, int64 to, bool *seen)
{
	for (int i = 0; i < g->n; i++) {
		if (seen[i] || g->edges[i].waiter != from)
			continue;
		seen[i] = true;
		if (g->edges[i].blocker == to || reaches(g, g->edges[i].blocker, to, seen))
			return true;
	}
	return false;
}

static bool in_cycle(const Graph *g, int64 gpid)
{
	bool *seen = palloc0(Max(g->n, 1) * sizeof(bool));
	bool found;

	check_stack_depth();
	found = reaches(g, gpid, gpid, seen);
	pfree(seen);
	return found;
}

/* A transaction is as old as the oldest of its sessions that wait. */
static double started_at(const Graph *g, int64 gpid)
{
	double started = 0;

	for (int i = 0; i < g->n; i++) {
		if (g->edges[i].waiter == gpid && (started == 0 || g->edges[i].started < started))
			started = g->edges[i].started;
	}
	return started;
}

/* 0 when nobody waits in a circle. */
static int64 choose_victim(const Graph *g)
{
	int64 victim = 0;
	double youngest = 0;

	for (int i = 0; i < g->n; i++) {
		int64 gpid = g->edges[i].waiter;
		double started = started_at(g, gpid);

		if (gpid == victim || started < youngest ||
		    (started == youngest && gpid < victim) || !in_cycle(g, gpid))
			continue;
		victim = gpid;
		youngest = started;
	}
	return victim;
}

/* -- acting ------------------------------------------------------------------------------------ */

/* Cheap and local: only a session of ours that waits for a node can be ours to cancel. */
static bool somebody_waits(void)
{
	bool waits = false;

	if (SPI_connect() != SPI_OK_CONNECT)
		return false;
	if (SPI_execute("SELECT 1 FROM pg_catalog.pg_stat_activity WHERE state = 'active' "
			"AND wait_event_type IN ('Extension', 'Lock') "
			"AND datname = pg_catalog.current_database() "
			"AND backend_type = 'client backend' "
			"AND application_name NOT LIKE 'citus\\_internal%' "
			"AND query_start < pg_catalog.clock_timestamp() - "
			"pg_catalog.current_setting('deadlock_timeout')::pg_catalog.interval "
			"LIMIT 1",
			true, 1) == SPI_OK_SELECT)
		waits = SPI_processed > 0;
	SPI_finish();
	return waits;
}

static void cancel_victim(int64 gpid)
{
	const HerdNode *self = herd_node_primary(herd_local_group());
	int pid = (int)(gpid % PIDS_PER_NODE);
	PGPROC *proc;
	pg_atomic_uint32 *mark;

	if (!self || gpid / PIDS_PER_NODE != self->nodeid)
		return;
	proc = BackendPidGetProc(pid);
	mark = mark_of(proc);
	if (!mark || proc->databaseId != MyDatabaseId)
		return;
	ereport(LOG,
		(errmsg("canceling process %d to end a deadlock between transactions on several "
			"nodes",
			pid)));
	pg_atomic_write_u32(mark, 1);
	(void)kill(pid, SIGINT);
}

void herd_deadlock_look(void)
{
	Graph g;
	int64 victim;

	if (!somebody_waits())
		return;
	g = collect_graph();
	victim = choose_victim(&g);
	if (victim == 0)
		return;
	pg_usleep(SECOND_LOOK_MS * 1000L);
	CHECK_FOR_INTERRUPTS();
	g = collect_graph();
	if (choose_victim(&g) == victim)
		cancel_victim(victim);
}

int herd_deadlock_interval_ms(void)
{
	if (herd_deadlock_factor <= 0)
		return -1;
	return (int)Max(herd_deadlock_factor * DeadlockTimeout, 100);
}
