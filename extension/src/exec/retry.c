/*
 * Connections that are lost in the middle of a statement, because a node fails, changes its leader
 * or ends the session.
 *
 * What has had no effect is done again: a read outside a block that has given no rows; everything
 * in a block that this statement itself has opened on the connection, as nothing of it was
 * prepared or committed; a write by itself when the server said that it ends the session instead
 * of carrying the command out. A write by itself whose connection just broke may have been
 * committed, and a block in which an earlier statement worked cannot be made again: these are
 * errors.
 */
#include "conn/options.h"
#include "conn/secondary.h"
#include "exec/run.h"
#include "utils/timestamp.h"

/* A standby that was lost, or is behind. */
#define AVOID_MS 1000

#define foreach_task_of(exec, w, t)                                                                \
	for (int t = 0; t < (exec)->job->ntasks; t++)                                              \
		if ((exec)->states[t].worker == (w) - (exec)->workers &&                           \
		    was_sent(exec, &(exec)->pools[(w)->pool], t))

/* Of this pool's tasks only; those that wait have not been sent. */
static bool was_sent(const HerdExec *exec, const Pool *pool, int task)
{
	if (exec->job->tasks[task].groupid != pool->groupid)
		return false;
	for (int i = pool->next; i < pool->ntasks; i++) {
		if (pool->tasks[i] == task)
			return false;
	}
	for (int i = 0; i < pool->nredo; i++) {
		if (pool->redo[i] == task)
			return false;
	}
	return true;
}

static bool can_retry(HerdExec *exec, const Worker *w)
{
	const HerdConn *c = w->conn;
	TimestampTz now = GetCurrentTimestamp();
	bool in_block = c->level > 0;

	if (exec->retry_until == 0)
		exec->retry_until = TimestampTzPlusMilliseconds(now, herd_node_hold_timeout_ms);
	if (now >= exec->retry_until)
		return false;
	if (in_block && (!w->fresh || exec->job->reference_write))
		return false;
	if (!in_block && exec->job->modifies && (!c->loss_had_no_effect || c->pooled))
		return false;
	foreach_task_of(exec, w, t)
	{
		if (exec->states[t].gave_rows && (in_block || !exec->states[t].ended))
			return false;
	}
	return true;
}

static void take_back_tasks(HerdExec *exec, Worker *w, bool in_block)
{
	Pool *pool = &exec->pools[w->pool];

	if (!pool->redo)
		pool->redo = MemoryContextAlloc(exec->cxt, pool->ntasks * sizeof(int));
	foreach_task_of(exec, w, t)
	{
		TaskState *state = &exec->states[t];

		if (state->ended && !in_block)
			continue;
		if (state->ended) {
			exec->outstanding++;
			pool->nended--;
		}
		exec->processed -= state->processed;
		*state = (TaskState){ .worker = -1 };
		pool->redo[pool->nredo++] = t;
	}
}

static bool feed_others(HerdExec *exec, int pool)
{
	bool any = false;

	for (int i = 0; i < exec->nworkers; i++) {
		Worker *w = &exec->workers[i];

		if (w->pool != pool || !w->conn || w->conn->polling != PGRES_POLLING_OK)
			continue;
		herd_exec_feed(exec, w);
		any = true;
	}
	return any;
}

void herd_exec_retry(HerdExec *exec, Worker *w)
{
	HerdConn *c = w->conn;
	bool in_block = c->level > 0;

	if (!can_retry(exec, w))
		herd_conn_raise_lost(c);
	ereport(DEBUG1, (errmsg_internal("connection to %s:%d was lost: trying again: %s", c->host,
					 c->port, c->loss ? c->loss : "")));
	take_back_tasks(exec, w, in_block);
	if (c->standby) {
		herd_secondary_avoid(c->nodeid, AVOID_MS);
		exec->pools[w->pool].standby = NULL;
	}
	w->conn = NULL;
	exec->pools[w->pool].nworkers--;
	herd_exec_workers_changed(exec);
	herd_conn_close(c);
	if (!feed_others(exec, w->pool))
		herd_exec_replace_worker(exec, w);
}
