#include "conn/conn.h"

#include "catalog/metadata.h"
#include "commands/dbcommands.h"
#include "conn/options.h"
#include "conn/secondary.h"
#include "conn/session.h"
#include "exec/internal.h"
#include "miscadmin.h"
#include "txn/internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* -- inside the distributed transaction -------------------------------------------------------- */

static bool is_here(int32 groupid)
{
	HerdConn *c;

	if (groupid != herd_local_group())
		return false;
	c = herd_conn_find_main(groupid);
	return !(c && c->level > 0);
}

bool herd_remote_in_use(int32 groupid)
{
	HerdConn *c = herd_conn_find_main(groupid);

	return c && c->level > 0 && !c->lost && PQstatus(c->pg) == CONNECTION_OK;
}

static void start(HerdConn *c, const char *sql)
{
	if (herd_secondaries_only)
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				errmsg("cannot change other nodes while "
				       "citus.use_secondary_nodes is \"always\""),
				errhint("Set it to \"never\".")));
	herd_conn_send_setup(c, true, true);
	if (herd_conn_busy(c)) {
		herd_conn_send_sync(c);
		herd_conn_finish(c);
	}
	herd_conn_log(c, sql);
	herd_conn_simple_start(c, sql);
}

void herd_remote_exec(int32 groupid, const char *sql)
{
	HerdConn *c;

	if (is_here(groupid)) {
		herd_group_lock(groupid, false);
		herd_local_exec(sql);
		return;
	}
	c = herd_conn_main(groupid);
	start(c, sql);
	herd_conn_simple_finish(c);
}

void herd_remote_exec_list(int32 groupid, List *sqls)
{
	ListCell *lc;

	foreach (lc, sqls)
		herd_remote_exec(groupid, lfirst(lc));
}

void herd_remote_exec_groups(List *groupids, const char *sql)
{
	int32 *groups = palloc((list_length(groupids) + 1) * sizeof(int32));
	HerdConn **conns = palloc((list_length(groupids) + 1) * sizeof(*conns));
	bool here = false;
	int n = 0;
	ListCell *lc;

	foreach (lc, groupids) {
		if (is_here(lfirst_int(lc)))
			here = true;
		else
			groups[n++] = lfirst_int(lc);
	}
	herd_conn_main_all(groups, n);
	for (int i = 0; i < n; i++)
		conns[i] = herd_conn_main(groups[i]);
	for (int i = 0; i < n; i++)
		start(conns[i], sql);
	if (here)
		herd_remote_exec(herd_local_group(), sql);
	for (int i = 0; i < n; i++)
		herd_conn_simple_finish(conns[i]);
	pfree(groups);
	pfree(conns);
}

/* -- sessions of their own --------------------------------------------------------------------- */

typedef enum ProbeState { PROBE_CONNECTING, PROBE_RUNNING, PROBE_DONE } ProbeState;

typedef struct Probe {
	PGconn *pg;
	ProbeState state;
	PostgresPollingStatusType polling;
	const char *sql;
	PGresult *last; /* of the last statement, or the first error */
	HerdRemoteResult *result;
} Probe;

static char *one_line_end(const char *msg)
{
	char *copy = pstrdup(msg ? msg : "");
	int n = strlen(copy);

	while (n > 0 && copy[n - 1] == '\n')
		copy[--n] = '\0';
	return copy;
}

static void probe_fail(Probe *p, const char *message)
{
	p->result->ok = false;
	p->result->message = one_line_end(message);
	p->state = PROBE_DONE;
}

static void probe_take_result(Probe *p)
{
	HerdRemoteResult *r = p->result;
	PGresult *res = p->last;
	const char *primary;

	p->state = PROBE_DONE;
	if (!res) {
		probe_fail(p, PQerrorMessage(p->pg));
		return;
	}
	switch (PQresultStatus(res)) {
	case PGRES_COMMAND_OK:
	case PGRES_EMPTY_QUERY:
	case PGRES_TUPLES_OK:
		break;
	default:
		primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
		probe_fail(p, primary ? primary : PQresultErrorMessage(res));
		return;
	}
	r->ok = true;
	r->message = pstrdup(PQcmdStatus(res));
	r->nrows = PQntuples(res);
	r->ncols = PQnfields(res);
	r->values = palloc0(Max(r->nrows * r->ncols, 1) * sizeof(char *));
	for (int i = 0; i < r->nrows * r->ncols; i++) {
		if (!PQgetisnull(res, i / r->ncols, i % r->ncols))
			r->values[i] = pstrdup(PQgetvalue(res, i / r->ncols, i % r->ncols));
	}
}

static void probe_read(Probe *p)
{
	(void)PQconsumeInput(p->pg);
	while (!PQisBusy(p->pg) || PQstatus(p->pg) == CONNECTION_BAD) {
		PGresult *res = PQgetResult(p->pg);

		if (!res) {
			probe_take_result(p);
			return;
		}
		if (PQresultStatus(res) == PGRES_COPY_IN)
			(void)PQputCopyEnd(p->pg, "COPY is not possible here");
		if (p->last && PQresultStatus(p->last) == PGRES_FATAL_ERROR) {
			PQclear(res);
		} else {
			PQclear(p->last);
			p->last = res;
		}
		if (PQresultStatus(p->last) == PGRES_COPY_OUT ||
		    PQresultStatus(p->last) == PGRES_COPY_BOTH) {
			probe_fail(p, "COPY is not possible here");
			return;
		}
	}
}

static void probe_step(Probe *p)
{
	if (p->state == PROBE_RUNNING) {
		(void)PQflush(p->pg);
		probe_read(p);
		return;
	}
	p->polling = PQconnectPoll(p->pg);
	if (p->polling == PGRES_POLLING_FAILED) {
		probe_fail(p, PQerrorMessage(p->pg));
	} else if (p->polling == PGRES_POLLING_OK) {
		if (PQsetnonblocking(p->pg, 1) != 0 || !PQsendQuery(p->pg, p->sql)) {
			probe_fail(p, PQerrorMessage(p->pg));
			return;
		}
		p->state = PROBE_RUNNING;
		(void)PQflush(p->pg);
	}
}

static uint32 probe_events(Probe *p)
{
	if (p->state == PROBE_CONNECTING)
		return p->polling == PGRES_POLLING_READING ? WL_SOCKET_READABLE
							   : WL_SOCKET_WRITEABLE;
	return WL_SOCKET_READABLE | (PQflush(p->pg) == 1 ? WL_SOCKET_WRITEABLE : 0);
}

/* One wait for whatever happens first; sockets of connection attempts change, so no set is kept. */
static void probe_wait(Probe *probes, int n, long timeout_ms)
{
	WaitEvent events[16];
	int got;
#if PG_VERSION_NUM >= 170000
	WaitEventSet *set = CreateWaitEventSet(CurrentResourceOwner, n + 2);
#else
	WaitEventSet *set = CreateWaitEventSet(CurrentMemoryContext, n + 2);
#endif

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < n; i++) {
		if (probes[i].state != PROBE_DONE && PQsocket(probes[i].pg) >= 0)
			AddWaitEventToSet(set, probe_events(&probes[i]), PQsocket(probes[i].pg),
					  NULL, &probes[i]);
	}
	got = WaitEventSetWait(set, timeout_ms, events, lengthof(events), PG_WAIT_EXTENSION);
	FreeWaitEventSet(set);
	for (int i = 0; i < got; i++) {
		if (events[i].events & WL_LATCH_SET) {
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		} else if (events[i].user_data) {
			probe_step(events[i].user_data);
		}
	}
}

static void probe_run(Probe *probes, int n, int timeout_ms)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	for (;;) {
		long left = -1;
		int open = 0;

		for (int i = 0; i < n; i++) {
			/* A socket that closed by itself is in no wait set. */
			if (probes[i].state == PROBE_RUNNING && PQsocket(probes[i].pg) < 0)
				probe_step(&probes[i]);
			open += probes[i].state != PROBE_DONE;
		}
		if (open == 0)
			return;
		if (timeout_ms > 0) {
			left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
			if (left <= 0)
				break;
		}
		probe_wait(probes, n, left);
	}
	for (int i = 0; i < n; i++) {
		char *msg;

		if (probes[i].state == PROBE_DONE)
			continue;
		msg = psprintf("no answer within %d ms", timeout_ms);
		if (probes[i].state == PROBE_RUNNING)
			herd_conn_cancel_session(probes[i].pg);
		probe_fail(&probes[i], msg);
	}
}

static void probe_open(Probe *p, const HerdNode *node, const char *dbname, const char *user,
		       const char *sql)
{
	p->sql = sql;
	p->result = palloc0(sizeof(*p->result));
	p->polling = PGRES_POLLING_WRITING;
	p->pg = herd_conn_connect(node, dbname, user, false);
	if (!p->pg)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (PQstatus(p->pg) == CONNECTION_BAD)
		probe_fail(p, PQerrorMessage(p->pg));
}

static List *query_nodes(const HerdNode **nodes, const char **sqls, int n, const char *dbname,
			 const char *user, int timeout_ms)
{
	Probe *probes = palloc0(Max(n, 1) * sizeof(*probes));
	List *results = NIL;

	herd_session_writes(); /* perhaps */
	PG_TRY();
	{
		for (int i = 0; i < n; i++)
			probe_open(&probes[i], nodes[i], dbname, user, sqls[i]);
		probe_run(probes, n, timeout_ms);
	}
	PG_FINALLY();
	{
		for (int i = 0; i < n; i++) {
			/* A user can cancel a long command; the nodes must not go on without us. */
			if (probes[i].state == PROBE_RUNNING)
				herd_conn_cancel_session(probes[i].pg);
			PQclear(probes[i].last);
			PQfinish(probes[i].pg);
		}
	}
	PG_END_TRY();
	for (int i = 0; i < n; i++)
		results = lappend(results, probes[i].result);
	return results;
}

HerdRemoteResult *herd_remote_query(const char *host, int port, const char *dbname, const char *sql,
				    int timeout_ms, bool superuser)
{
	HerdNode node = { .host = unconstify(char *, host), .port = port };
	const HerdNode *nodes[] = { &node };
	const char *user =
		superuser ? herd_conn_superuser() : GetUserNameFromId(GetUserId(), false);
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		const HerdNode *known = lfirst(lc);

		if (known->port == port && strcmp(known->host, host) == 0)
			node.nodeid = known->nodeid;
	}
	if (!dbname)
		dbname = get_database_name(MyDatabaseId);
	return linitial(query_nodes(nodes, &sql, 1, dbname, user, timeout_ms));
}

List *herd_remote_query_nodes(List *nodes, List *sqls, int timeout_ms)
{
	return herd_remote_query_nodes_as(nodes, sqls, timeout_ms,
					  GetUserNameFromId(GetUserId(), false));
}

List *herd_remote_query_nodes_as(List *nodes, List *sqls, int timeout_ms, const char *user)
{
	int n = list_length(nodes);
	const HerdNode **node = palloc(Max(n, 1) * sizeof(*node));
	const char **sql = palloc(Max(n, 1) * sizeof(*sql));

	Assert(list_length(sqls) == n);
	for (int i = 0; i < n; i++) {
		node[i] = list_nth(nodes, i);
		sql[i] = list_nth(sqls, i);
	}
	return query_nodes(node, sql, n, get_database_name(MyDatabaseId), user, timeout_ms);
}
