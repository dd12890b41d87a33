/*
 * Cancel requests to other nodes. libpq's PQcancel() connects and waits in the kernel, where no
 * interrupt reaches it: a node that is frozen or cut off would hold the backend with it. So it
 * runs in a thread of its own, which does nothing else and touches nothing of the backend's. All
 * nodes are asked at the same time.
 *
 * A request may arrive late. Until its thread has ended the connection takes no other command, or
 * the request could hit that one.
 */
#include "conn/session.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"

#include <pthread.h>
#include <signal.h>

/* Two threads at most know it, the backend and the one that asks; the last one frees it. */
struct HerdCancel {
	PGcancel *pg;
	pg_atomic_uint32 owners;
	pg_atomic_uint32 done;
};

enum { STACK_SIZE = 256 * 1024 };

static void release(struct HerdCancel *cancel)
{
	if (pg_atomic_sub_fetch_u32(&cancel->owners, 1) > 0)
		return;
	PQfreeCancel(cancel->pg);
	free(cancel);
}

static void *run(void *arg)
{
	struct HerdCancel *cancel = arg;
	char why[256]; /* libpq's own documented size */

	(void)PQcancel(cancel->pg, why, sizeof(why));
	pg_atomic_write_u32(&cancel->done, 1);
	release(cancel);
	return NULL;
}

/* The server's signals are for its own thread. */
static bool start_thread(struct HerdCancel *cancel)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	bool ok;

	if (pthread_attr_init(&attr) != 0)
		return false;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ok = pthread_create(&thread, &attr, run, cancel) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return ok;
}

/* NULL when it could not be started; not an error, as this runs in abort handlers. */
static struct HerdCancel *start(PGconn *pg)
{
	struct HerdCancel *cancel;

	if (PQstatus(pg) == CONNECTION_BAD || !(cancel = malloc(sizeof(*cancel))))
		return NULL;
	cancel->pg = PQgetCancel(pg);
	pg_atomic_init_u32(&cancel->owners, 2);
	pg_atomic_init_u32(&cancel->done, 0);
	if (cancel->pg && start_thread(cancel))
		return cancel;
	PQfreeCancel(cancel->pg);
	free(cancel);
	ereport(DEBUG1, (errmsg_internal("could not send a cancel request")));
	return NULL;
}

bool herd_conn_cancelling(const HerdConn *c)
{
	return c->cancel && pg_atomic_read_u32(&c->cancel->done) == 0;
}

void herd_conn_forget_cancel(HerdConn *c)
{
	if (c->cancel)
		release(c->cancel);
	c->cancel = NULL;
}

void herd_conn_cancel(HerdConn *c)
{
	/* The answer comes at once, see send_savepoints(). */
	if (c->block_cmds > 0 && c->begun_level < GetCurrentTransactionNestLevel() &&
	    !ProcDiePending && !proc_exit_inprogress)
		return;
	if (herd_conn_cancelling(c))
		return;
	herd_conn_forget_cancel(c);
	c->cancel = start(c->pg);
}

void herd_conn_cancel_session(PGconn *pg)
{
	struct HerdCancel *cancel = start(pg);

	if (cancel)
		release(cancel);
}
