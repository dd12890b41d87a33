/*
 * How many connections a statement uses.
 *
 * Every group starts with one. Another costs the node a process, so it has to be worth it: the
 * tasks that wait would take some multiple of the time in which a connection is opened, and the
 * last one that was added has made tasks end faster. With tasks that take long there is no time
 * to find out, and no need: the cost is small beside them.
 */
#include "conn/options.h"
#include "exec/run.h"
#include "exec/standby.h"
#include "guc.h"
#include "miscadmin.h"

/* How long it took to open a connection, in ms: what this backend has seen last. */
static double open_cost_ms = 5;

enum {
	WORTH_OPENINGS = 3, /* so many times its cost the remaining work must last */
	LONG_TASK_MS = 100  /* no evidence is waited for */
};

#define ENOUGH_FASTER 1.15

static double ms_since(TimestampTz then, TimestampTz now)
{
	return Max(now - then, 1) / 1000.0;
}

void herd_exec_start_growing(HerdExec *exec)
{
	TimestampTz now = 0;

	for (int i = 0; i < exec->npools; i++) {
		if (!exec->pools[i].parallel)
			continue;
		if (now == 0)
			now = GetCurrentTimestamp();
		exec->pools[i].grown_at = now;
	}
	if (now != 0)
		exec->next_start = herd_force_parallel
					   ? now
					   : TimestampTzPlusMilliseconds(now, herd_slow_start_ms);
	if (now != 0 && herd_force_parallel)
		herd_exec_grow(exec);
}

static bool wants_more(const Pool *pool)
{
	return pool->parallel && !pool->failed && herd_pool_waiting(pool) > 0 &&
	       pool->nworkers < herd_max_pool_size;
}

bool herd_exec_may_grow(const HerdExec *exec)
{
	for (int i = 0; i < exec->npools; i++) {
		if (wants_more(&exec->pools[i]))
			return true;
	}
	return false;
}

static bool is_worth_it(Pool *pool, TimestampTz now)
{
	int ended = pool->nended - pool->ended_then;
	double ms = ms_since(pool->grown_at, now), rate = ended / ms, task_ms;

	if (herd_force_parallel || pool->nended == 0)
		return true;
	task_ms = ended > 0 ? pool->nworkers / rate : ms;
	/* What is left ends before another connection would be of use. */
	if (task_ms * herd_pool_waiting(pool) / pool->nworkers < WORTH_OPENINGS * open_cost_ms)
		return false;
	if (task_ms >= LONG_TASK_MS)
		return true;
	if (ended < 2 * pool->nworkers)
		return false; /* too early to tell */
	if (pool->nworkers > 1 && rate < ENOUGH_FASTER * pool->rate_then) {
		pool->failed = true;
		return false;
	}
	return true;
}

/* False when there is none to be had. */
static bool add_one(HerdExec *exec, int pool)
{
	int32 groupid = exec->pools[pool].groupid;
	HerdConn *c = exec->pools[pool].standby ? herd_standby_extra(&exec->pools[pool])
						: herd_conn_take_idle(groupid);

	if (!c && !exec->pools[pool].standby) {
		MemoryContext old = MemoryContextSwitchTo(exec->cxt);
		const HerdNode *node = herd_conn_node(groupid);

		c = node ? herd_conn_open_extra(node, GetUserNameFromId(GetUserId(), false)) : NULL;
		MemoryContextSwitchTo(old);
	}
	if (!c) {
		exec->pools[pool].failed = true;
		return false;
	}
	herd_exec_add_worker(exec, pool, c);
	herd_exec_feed(exec, &exec->workers[exec->nworkers - 1]);
	return true;
}

/* One more connection for each group whose tasks wait, every so many milliseconds. */
void herd_exec_grow(HerdExec *exec)
{
	TimestampTz now = 0;

	for (int i = 0; i < exec->npools; i++) {
		if (!wants_more(&exec->pools[i]))
			continue;
		if (now == 0 && (now = GetCurrentTimestamp()) < exec->next_start)
			return;
		if (!is_worth_it(&exec->pools[i], now))
			continue;
		while (add_one(exec, i) && herd_force_parallel && wants_more(&exec->pools[i]))
			;
		exec->pools[i].rate_then = (exec->pools[i].nended - exec->pools[i].ended_then) /
					   ms_since(exec->pools[i].grown_at, now);
		exec->pools[i].ended_then = exec->pools[i].nended;
		exec->pools[i].grown_at = now;
	}
	if (now != 0)
		exec->next_start = TimestampTzPlusMilliseconds(now, Max(herd_slow_start_ms, 1));
}

void herd_exec_grown(HerdExec *exec, Worker *w)
{
	open_cost_ms = ms_since(w->conn->opened_at, GetCurrentTimestamp());
	herd_exec_feed(exec, w);
}
