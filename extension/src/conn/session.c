#include "conn/session.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "conn/budget.h"
#include "conn/login.h"
#include "conn/options.h"
#include "conn/secondary.h"
#include "exec/internal.h"
#include "guc.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port.h"
#include "stats/counters.h"
#include "storage/fd.h"
#include "txn/internal.h"
#include "txn/txn.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include <sys/socket.h>

dlist_head herd_conns = DLIST_STATIC_INIT(herd_conns);

static MemoryContext conns_cxt;

/* A secondary that could not be reached is left alone for so long, when there are others. */
#define AVOID_MS 5000

/* -- opening and closing ----------------------------------------------------------------------- */

/* required false: NULL when the node has its share of this server's connections already. */
static HerdConn *open_counted(const HerdNode *node, const char *user, bool required)
{
	const char *login = herd_login_for(node, user);
	MemoryContext cxt;
	HerdConn *c;

	if (!conns_cxt)
		conns_cxt = AllocSetContextCreate(TopMemoryContext, "pgherd connections",
						  ALLOCSET_DEFAULT_SIZES);
	cxt = AllocSetContextCreate(conns_cxt, "pgherd connection", ALLOCSET_SMALL_SIZES);
	c = MemoryContextAllocZero(cxt, sizeof(*c));
	c->cxt = cxt;
	c->groupid = node->groupid;
	c->nodeid = node->nodeid;
	c->host = MemoryContextStrdup(cxt, node->host);
	c->port = node->port;
	c->user = MemoryContextStrdup(cxt, user);
	c->bound = strcmp(login, user) == 0;
	c->pooled = herd_node_poolinfo(node->nodeid)[0] != '\0';
	c->standby = !node->primary;
	c->opened_at = GetCurrentTimestamp();
	c->polling = PGRES_POLLING_FAILED;
	c->busy_level = GetCurrentTransactionNestLevel();
	dlist_push_tail(&herd_conns, &c->link);
	if (!herd_budget_take(c, required)) {
		herd_conn_close(c);
		return NULL;
	}
	if (!AcquireExternalFD()) {
		herd_conn_close(c);
		ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("too many open files to connect to %s:%d", node->host, node->port),
			 errhint("Raise the limit on open files of the server.")));
	}
	c->fd_reserved = true;
	c->pg = herd_conn_connect(node, get_database_name(MyDatabaseId), login, true);
	if (!c->pg) {
		herd_conn_close(c);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	/* So that a refusal carries its SQLSTATE: connection errors have no fields of their own. */
	PQsetErrorVerbosity(c->pg, PQERRORS_VERBOSE);
	PQsetNoticeReceiver(c->pg, herd_conn_notice, c);
	if (PQstatus(c->pg) != CONNECTION_BAD)
		c->polling = PGRES_POLLING_WRITING;
	return c;
}

HerdConn *herd_conn_open(const HerdNode *node, const char *user)
{
	return open_counted(node, user, true);
}

HerdConn *herd_conn_open_extra(const HerdNode *node, const char *user)
{
	return open_counted(node, user, false);
}

static WaitEventSet *make_wait_set(HerdConn *c)
{
#if PG_VERSION_NUM >= 170000
	WaitEventSet *set = CreateWaitEventSet(NULL, 3);
#else
	WaitEventSet *set = CreateWaitEventSet(c->cxt, 3);
#endif

	AddWaitEventToSet(set, WL_SOCKET_READABLE, PQsocket(c->pg), NULL, NULL);
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	/* Not WL_EXIT_ON_PM_DEATH: leaving the process in a commit handler would be a PANIC. */
	AddWaitEventToSet(set, WL_POSTMASTER_DEATH, PGINVALID_SOCKET, NULL, NULL);
	return set;
}

void herd_conn_open_step(HerdConn *c)
{
	c->polling = PQconnectPoll(c->pg);
	if (c->polling != PGRES_POLLING_OK)
		return;
	PQsetErrorVerbosity(c->pg, PQERRORS_DEFAULT);
	if (PQsetnonblocking(c->pg, 1) != 0 || !PQenterPipelineMode(c->pg)) {
		c->polling = PGRES_POLLING_FAILED;
		return;
	}
	c->set = make_wait_set(c);
	if (!c->bound) {
		char *sql = herd_login_bind_sql(c->user);

		herd_conn_send_bind(c, sql);
		pfree(sql);
	}
}

char *herd_conn_open_error(const HerdConn *c)
{
	char *msg = pstrdup(PQerrorMessage(c->pg));
	int n = strlen(msg);

	while (n > 0 && msg[n - 1] == '\n')
		msg[--n] = '\0';
	return msg;
}

void herd_conn_close(HerdConn *c)
{
	dlist_delete(&c->link);
	herd_conn_forget_cancel(c);
	if (c->set)
		FreeWaitEventSet(c->set);
	if (c->pg)
		PQfinish(c->pg);
	if (c->fd_reserved)
		ReleaseExternalFD();
	herd_budget_give_back(c);
	MemoryContextDelete(c->cxt);
}

/* -- which failures are worth waiting for ------------------------------------------------------ */

/* The SQLSTATE in a verbose message of libpq, "FATAL:  57P03: the ...", or "" without one. */
static void failure_sqlstate(const HerdConn *c, char *state)
{
	for (const char *p = PQerrorMessage(c->pg); (p = strstr(p, ":  ")); p++) {
		if (strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && p[8] == ':') {
			memcpy(state, p + 3, 5);
			state[5] = '\0';
			return;
		}
	}
	state[0] = '\0';
}

static bool failure_is_passing(const HerdConn *c)
{
	char state[6];

	failure_sqlstate(c, state);
	if (state[0])
		return strncmp(state, "57P", 3) == 0 || strcmp(state, "53300") == 0;
	/* Nobody answered, or hung up. A disagreement about TLS does not go away by waiting. */
	return strstr(PQerrorMessage(c->pg), "SSL") == NULL;
}

/* Recovery is no fault of a node that was chosen as a secondary. */
static bool in_recovery(const HerdConn *c)
{
	const char *value = PQparameterStatus(c->pg, "in_hot_standby");

	if (c->standby)
		return false;
	return value && strcmp(value, "on") == 0;
}

/* -- taking a connection ----------------------------------------------------------------------- */

/* Reads what waits on an idle connection; more than this is no last word. */
#define IDLE_READS 8

/* The peer may have closed it while it was idle; then nothing was lost and a new one will do. */
bool herd_conn_alive(HerdConn *c)
{
	char byte;
	ssize_t n;

	for (int i = 0; i < IDLE_READS; i++) {
		if (PQstatus(c->pg) != CONNECTION_OK || PQsocket(c->pg) < 0)
			return false;
		n = recv(PQsocket(c->pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
		if (n < 0)
			return (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) &&
			       !in_recovery(c);
		/*
		 * A parameter's new value, a notice, TLS housekeeping, or a last word before the
		 * end, which in TLS is a message, too.
		 */
		if (n == 0 || !PQconsumeInput(c->pg))
			return false;
		(void)PQisBusy(c->pg);
	}
	return PQstatus(c->pg) == CONNECTION_OK && !in_recovery(c);
}

static bool same_place(const HerdConn *c, const HerdNode *node, const char *user)
{
	return c->groupid == node->groupid && c->port == node->port &&
	       strcmp(c->host, node->host) == 0 && strcmp(c->user, user) == 0;
}

static HerdConn *take_cached(const HerdNode *node, const char *user)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &herd_conns)
	{
		HerdConn *c = dlist_container(HerdConn, link, iter.cur);

		if (c->used || c->owner || herd_conn_busy(c) || c->polling != PGRES_POLLING_OK)
			continue;
		if (c->standby != !node->primary || (c->standby && c->nodeid != node->nodeid))
			continue;
		if (c->groupid == node->groupid && !same_place(c, node, user) &&
		    strcmp(c->user, user) == 0) {
			herd_conn_close(c); /* the group has moved */
			continue;
		}
		if (!same_place(c, node, user))
			continue;
		if (!c->lost && c->bound && herd_conn_alive(c)) {
			herd_counter_add(HERD_COUNT_REUSED);
			return c;
		}
		herd_conn_close(c);
	}
	return NULL;
}

static void wait_open_step(HerdConn *c, long timeout_ms)
{
	int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT;
	int rc;

	events |= c->polling == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
	rc = WaitLatchOrSocket(MyLatch, events, PQsocket(c->pg), timeout_ms, PG_WAIT_EXTENSION);
	if (rc & WL_LATCH_SET) {
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (rc & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE))
		herd_conn_open_step(c);
}

typedef enum Opened {
	OPENED,
	OPENED_NOT_YET,
	OPENED_OTHERWISE, /* another login may do */
	OPENED_NEVER,
	OPENED_NO_PASSWORD
} Opened;

/* Closes it unless OPENED; *why is palloc'd. */
static Opened finish_open(HerdConn *c, const HerdNode *node, int timeout_ms, char **why)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	Opened result = OPENED_NEVER;

	while (c->polling == PGRES_POLLING_READING || c->polling == PGRES_POLLING_WRITING) {
		long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left <= 0) {
			*why = psprintf("The node did not answer within %d ms.", timeout_ms);
			herd_counter_add(HERD_COUNT_OPEN_FAILED);
			herd_conn_close(c);
			return OPENED_NOT_YET;
		}
		wait_open_step(c, left);
	}
	if (c->polling == PGRES_POLLING_OK) {
		if (!in_recovery(c)) {
			herd_counter_add(HERD_COUNT_OPENED);
			return OPENED;
		}
		*why = pstrdup("The node is in recovery.");
		result = OPENED_NOT_YET;
	} else {
		*why = herd_conn_open_error(c);
		if (PQconnectionNeedsPassword(c->pg))
			result = herd_login_instead(node, c->user) ? OPENED_OTHERWISE
								   : OPENED_NO_PASSWORD;
		else if (failure_is_passing(c))
			result = OPENED_NOT_YET;
	}
	herd_counter_add(HERD_COUNT_OPEN_FAILED);
	herd_conn_close(c);
	return result;
}

static void pause_before_retry(int attempt)
{
	long ms = Min(50L << Min(attempt, 3), 250L);

	if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
		      PG_WAIT_EXTENSION) &
	    WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * The group's primary, or with citus.use_secondary_nodes = always a secondary in this cluster,
 * under the group's lock; NULL when there is none at present.
 */
static const HerdNode *look_up(int32 groupid)
{
	herd_group_lock(groupid, false);
	/* Who held the lock may have moved the group. */
	AcceptInvalidationMessages();
	return herd_secondaries_only ? herd_secondary_of(groupid, true)
				     : herd_node_primary(groupid);
}

/* Gives the lock up for a moment: the one who brings the group back needs it. */
static void let_others(int32 groupid, int attempt)
{
	if (!herd_txn_group_used(groupid))
		herd_group_unlock_shared(groupid);
	pause_before_retry(attempt);
}

static TimestampTz hold_end(void)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), herd_node_hold_timeout_ms);
}

static const HerdNode *group_node(int32 groupid, TimestampTz deadline)
{
	for (int attempt = 0;; attempt++) {
		const HerdNode *node = look_up(groupid);

		if (node)
			return node;
		if (GetCurrentTimestamp() >= deadline)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("group %d has no active %s node", groupid,
					       herd_secondaries_only ? "secondary" : "primary"),
					errdetail("It was waited for as long as "
						  "citus.node_hold_timeout allows.")));
		let_others(groupid, attempt);
	}
}

static void raise_no_connection(const HerdNode *node, const char *user, const char *why,
				bool no_password)
{
	ereport(ERROR, (errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			errmsg("could not connect to node %s:%d", node->host, node->port),
			errdetail_internal("%s", why),
			no_password ? errhint("Between nodes role \"%s\" logs in with what "
					      "pg_dist_authinfo holds for it on this node: "
					      "(nodeid 0, '%s', 'password=..').",
					      user, user)
				    : 0));
}

/*
 * c: a connection to node, the group's, begun or ready. While nothing was sent to the group yet,
 * its lock, held once, is given up between attempts.
 */
static HerdConn *acquire(const HerdNode *node, const char *user, HerdConn *c)
{
	TimestampTz deadline = hold_end();

	for (int attempt = 0;; attempt++) {
		int32 groupid = node->groupid;
		char *why = NULL;
		Opened opened;

		if (c->polling == PGRES_POLLING_OK)
			return c;
		opened = finish_open(c, node, herd_node_connection_timeout_ms, &why);
		if (opened == OPENED)
			return c;
		if (opened == OPENED_OTHERWISE) {
			c = herd_conn_open(node, user);
			continue;
		}
		if (opened != OPENED_NOT_YET || GetCurrentTimestamp() >= deadline)
			raise_no_connection(node, user, why, opened == OPENED_NO_PASSWORD);
		if (!node->primary)
			herd_secondary_avoid(node->nodeid, AVOID_MS);
		let_others(groupid, attempt);
		node = group_node(groupid, deadline);
		c = take_cached(node, user);
		if (!c)
			c = herd_conn_open(node, user);
	}
}

HerdConn *herd_conn_try(const HerdNode *node, int timeout_ms)
{
	const char *user = GetUserNameFromId(GetUserId(), false);
	HerdConn *c = take_cached(node, user);
	char *why;

	herd_txn_begin_use();
	for (int attempt = 0; !c && attempt < 2; attempt++) {
		c = herd_conn_open_extra(node, user);
		if (!c)
			return NULL;
		switch (finish_open(c, node, timeout_ms, &why)) {
		case OPENED:
			break;
		case OPENED_OTHERWISE:
			c = NULL;
			break;
		default:
			ereport(DEBUG1, (errmsg_internal("could not connect to %s:%d: %s",
							 node->host, node->port, why)));
			return NULL;
		}
	}
	return c;
}

static HerdConn *claim(HerdConn *c)
{
	if (c->lost)
		herd_conn_raise_lost(c);
	if (c->owner)
		herd_exec_keep_rows(c->owner);
	if (c->settle)
		c->settle(c);
	/* A COPY runs outside pipeline mode and has nothing in the queue of expected results. */
	herd_conn_simple_finish(c);
	if (herd_conn_busy(c))
		herd_conn_finish(c);
	return c;
}

static HerdConn *find_main(int32 groupid, const char *user)
{
	dlist_iter iter;

	HerdConn *own = NULL;

	dlist_foreach(iter, &herd_conns)
	{
		HerdConn *c = dlist_container(HerdConn, link, iter.cur);

		if (!c->main || c->groupid != groupid)
			continue;
		/* what one role did in the transaction another one sees: conn/rights.h */
		if (c->level > 0)
			return c;
		if (strcmp(c->user, user) == 0)
			own = c;
	}
	return own;
}

HerdConn *herd_conn_find_main(int32 groupid)
{
	return find_main(groupid, GetUserNameFromId(GetUserId(), false));
}

HerdConn *herd_conn_main(int32 groupid)
{
	herd_conn_main_all(&groupid, 1);
	return herd_conn_claim_main(groupid);
}

HerdConn *herd_conn_claim_main(int32 groupid)
{
	return claim(herd_conn_find_main(groupid));
}

void herd_conn_main_all(const int32 *groupids, int ngroups)
{
	const char *user = GetUserNameFromId(GetUserId(), false);
	HerdConn **started = palloc0((ngroups + 1) * sizeof(*started));
	const HerdNode **nodes = palloc0((ngroups + 1) * sizeof(*nodes));

	herd_txn_begin_use();
	for (int i = 0; i < ngroups; i++) {
		HerdConn *c = find_main(groupids[i], user);

		/* It had no part in the transaction: another will do. */
		if (c && c->lost && c->level == 0 && !c->owner) {
			herd_conn_close(c);
			c = NULL;
		}
		if (c) {
			/* A rolled back savepoint may have taken the lock with it. */
			herd_group_lock(groupids[i], false);
			continue;
		}
		nodes[i] = group_node(groupids[i], hold_end());
		started[i] = take_cached(nodes[i], user);
		if (!started[i])
			started[i] = herd_conn_open(nodes[i], user);
		/* Taken, so that a second group on the same node cannot take it too. */
		started[i]->used = started[i]->main = true;
	}
	for (int i = 0; i < ngroups; i++) {
		HerdConn *c = started[i];

		if (!c)
			continue;
		c->used = c->main = false;
		c = acquire(nodes[i], user, c);
		c->used = c->main = true;
	}
	pfree(started);
	pfree(nodes);
}

const HerdNode *herd_conn_node(int32 groupid)
{
	return look_up(groupid);
}

HerdConn *herd_conn_take_idle(int32 groupid)
{
	return take_cached(group_node(groupid, hold_end()), GetUserNameFromId(GetUserId(), false));
}

HerdConn *herd_conn_take_idle_to(const HerdNode *node)
{
	return take_cached(node, GetUserNameFromId(GetUserId(), false));
}

/* -- the cache --------------------------------------------------------------------------------- */

void herd_conn_trim_cache(void)
{
	TimestampTz now = GetCurrentTimestamp();
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &herd_conns)
	{
		HerdConn *c = dlist_container(HerdConn, link, iter.cur);
		int before = 0;
		dlist_iter other;

		dlist_foreach(other, &herd_conns)
		{
			HerdConn *o = dlist_container(HerdConn, link, other.cur);

			if (o == c)
				break;
			before += o->nodeid == c->nodeid;
		}
		if (c->lost || c->polling != PGRES_POLLING_OK || herd_conn_busy(c) ||
		    PQstatus(c->pg) != CONNECTION_OK ||
		    PQtransactionStatus(c->pg) != PQTRANS_IDLE || !c->bound ||
		    before >= herd_max_cached_conns || !herd_budget_allows_idle(c) ||
		    (herd_cached_lifetime_ms >= 0 &&
		     TimestampDifferenceExceeds(c->opened_at, now, herd_cached_lifetime_ms)))
			herd_conn_close(c);
	}
}

char *herd_conn_superuser(void)
{
	return GetUserNameFromId(herd_extension_owner(), false);
}
