#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "exec/serial.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog/metadata.h"
#include "compat.h"
#include "ddl/utility.h"
#include "guc.h"
#include "move/move.h"
#include "plan/plan.h"
#include "plan/remote.h"

/* -- the statement of an EXPLAIN --------------------------------------------------------------- */

/* The next statement that is planned is that of an EXPLAIN. */
static bool explaining;

bool herd_explain_first(void)
{
	bool first = explaining;

	explaining = false;
	return first;
}

bool herd_utility_explain(HerdUtility *u)
{
	const ExplainStmt *stmt = castNode(ExplainStmt, u->stmt);

	/* a prepared statement may need no planning, and then others would be taken for it */
	if (castNode(Query, stmt->query)->commandType == CMD_UTILITY)
		return false;
	explaining = true;
	PG_TRY();
	{
		herd_utility_run(u);
	}
	PG_FINALLY();
	{
		explaining = false;
	}
	PG_END_TRY();
	return true;
}

/* -- what the nodes say ------------------------------------------------------------------------ */

/* The lines that the task's node gives for EXPLAIN with the options. */
static List *explain_there(const HerdJob *job, const HerdTask *task, const char *options)
{
	HerdJob *one = palloc0(sizeof(HerdJob));
	HerdTask *explain = palloc0(sizeof(HerdTask));
	TupleDesc desc = CreateTemplateTupleDesc(1);
	TupleTableSlot *slot;
	HerdExec *exec;
	List *lines = NIL;

	TupleDescInitEntry(desc, 1, "QUERY PLAN", TEXTOID, -1, 0);
	*explain = *task;
	explain->sql = psprintf("EXPLAIN (%s) %s", options, task->sql);
	if (herd_task_is_serial(job, task))
		explain->sql = herd_serial_text(explain->sql);
	one->ntasks = 1;
	one->tasks = explain;
	one->params = job->params;
	one->tupdesc = desc;
	one->modifies = job->modifies;
	one->rights = job->rights;
	/* one of several: the others must not be committed without it */
	one->all_in_txn = job->all_in_txn || job->modifies;
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	exec = herd_exec_begin(one);
	while (herd_exec_next(exec, slot)) {
		bool isnull;
		Datum line = slot_getattr(slot, 1, &isnull);

		if (!isnull)
			lines = lappend(lines, TextDatumGetCString(line));
		ExecClearTuple(slot);
	}
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
	return lines;
}

static const char *on_off(bool on)
{
	return on ? "on" : "off";
}

List *herd_explain_write(const HerdJob *job)
{
	List *plans = NIL;

	for (int i = 0; i < job->ntasks; i++) {
		job->stats[i].sent = GetCurrentTimestamp();
		plans = lappend(
			plans, explain_there(job, &job->tasks[i], "ANALYZE, BUFFERS, VERBOSE off"));
		job->stats[i].ended = GetCurrentTimestamp();
	}
	return plans;
}

/* A read that was executed is run once more, by itself, to see the times of its parts. */
static List *remote_plan(const HerdJob *job, const HerdTask *task, bool ran, const ExplainState *es)
{
	HerdJob read = *job;
	bool again = ran && !job->modifies && !job->all_in_txn;
	char *options =
		psprintf("COSTS %s, VERBOSE %s, BUFFERS %s", on_off(es->costs), on_off(es->verbose),
			 on_off(es->buffers && (again || !es->analyze)));

	if (again)
		options = psprintf("ANALYZE, TIMING %s, WAL %s, SUMMARY %s, %s", on_off(es->timing),
				   on_off(es->wal), on_off(es->summary), options);
	/* without ANALYZE nothing is written */
	read.modifies = false;
	return explain_there(&read, task, options);
}

static double milliseconds(const HerdTaskStats *stats)
{
	return (double)(stats->ended - stats->sent) / 1000.0;
}

static void explain_stats(const HerdTaskStats *stats, ExplainState *es)
{
	if (stats->ended == 0)
		return;
	if (es->format != EXPLAIN_FORMAT_TEXT) {
		ExplainPropertyInteger("Rows", NULL, stats->rows, es);
		ExplainPropertyInteger("Bytes", NULL, stats->bytes, es);
		if (es->timing)
			ExplainPropertyFloat("Time", "ms", milliseconds(stats), 3, es);
		return;
	}
	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfo(es->str, "Received: rows=" INT64_FORMAT " bytes=" INT64_FORMAT,
			 stats->rows, stats->bytes);
	if (es->timing)
		appendStringInfo(es->str, " time=%.3f ms", milliseconds(stats));
	appendStringInfoChar(es->str, '\n');
}

static void explain_task(const HerdJob *job, int number, bool ran, List *plans, ExplainState *es)
{
	const HerdTask *task = &job->tasks[number];
	const HerdNode *node = herd_node_primary(task->groupid);
	List *lines = plans ? list_nth(plans, number) : remote_plan(job, task, ran, es);
	ListCell *lc;

	ExplainOpenGroup("Task", NULL, true, es);
	if (es->format == EXPLAIN_FORMAT_TEXT) {
		appendStringInfoSpaces(es->str, es->indent * 2);
		appendStringInfoString(es->str, "->  Task\n");
		es->indent += 3;
	}
	ExplainPropertyText("Query", task->sql, es);
	if (node != NULL)
		ExplainPropertyText("Node", psprintf("host=%s port=%d", node->host, node->port),
				    es);
	if (ran && job->stats)
		explain_stats(&job->stats[number], es);
	if (es->format == EXPLAIN_FORMAT_TEXT) {
		foreach (lc, lines) {
			appendStringInfoSpaces(es->str, es->indent * 2);
			appendStringInfo(es->str, "%s\n", (char *)lfirst(lc));
		}
		es->indent -= 3;
	} else {
		ExplainPropertyList("Remote Plan", lines, es);
	}
	ExplainCloseGroup("Task", NULL, true, es);
}

/* Which items are moved first, and how; and how much that was. */
static void explain_moves(List *moves, bool ran, ExplainState *es)
{
	List *lines = NIL;
	ListCell *lc;

	foreach (lc, moves) {
		const HerdMove *move = lfirst(lc);
		char *how = "to all nodes";

		if (move->key > 0)
			how = psprintf("by column %d to the shards of %s", move->key,
				       get_rel_name(move->target));
		if (ran)
			how = psprintf("%s (rows=%.0f bytes=%.0f)", how, move->rows, move->bytes);
		lines = lappend(lines, psprintf("%s %s", move->name, how));
	}
	if (lines != NIL)
		ExplainPropertyList("Moved", lines, es);
}

static void explain_node(const HerdNode *node, const HerdTaskStats *sum, int ntasks,
			 ExplainState *es)
{
	char *name = psprintf("host=%s port=%d", node->host, node->port);

	ExplainOpenGroup("Node", NULL, true, es);
	if (es->format == EXPLAIN_FORMAT_TEXT) {
		appendStringInfoSpaces(es->str, es->indent * 2);
		appendStringInfo(es->str,
				 "Node %s: tasks=%d rows=" INT64_FORMAT " bytes=" INT64_FORMAT,
				 name, ntasks, sum->rows, sum->bytes);
		if (es->timing)
			appendStringInfo(es->str, " time=%.3f ms", milliseconds(sum));
		appendStringInfoChar(es->str, '\n');
	} else {
		ExplainPropertyText("Node", name, es);
		ExplainPropertyInteger("Tasks", NULL, ntasks, es);
		explain_stats(sum, es);
	}
	ExplainCloseGroup("Node", NULL, true, es);
}

/* What came from each node, from the first task that was sent to the last that ended. */
static void explain_nodes(const HerdJob *job, ExplainState *es)
{
	List *groups = NIL;
	ListCell *lc;

	for (int i = 0; i < job->ntasks; i++)
		groups = list_append_unique_int(groups, job->tasks[i].groupid);
	ExplainOpenGroup("Nodes", "Nodes", false, es);
	foreach (lc, groups) {
		const HerdNode *node = herd_node_primary(lfirst_int(lc));
		HerdTaskStats sum = { 0 };
		int ntasks = 0;

		for (int i = 0; i < job->ntasks; i++) {
			const HerdTaskStats *one = &job->stats[i];

			if (job->tasks[i].groupid != lfirst_int(lc) || one->ended == 0)
				continue;
			ntasks++;
			sum.rows += one->rows;
			sum.bytes += one->bytes;
			sum.sent = sum.sent == 0 ? one->sent : Min(sum.sent, one->sent);
			sum.ended = Max(sum.ended, one->ended);
		}
		if (node != NULL && ntasks > 0)
			explain_node(node, &sum, ntasks, es);
	}
	ExplainCloseGroup("Nodes", "Nodes", false, es);
}

static const HerdTaskStats *sorted_stats;

static int by_time(const void *a, const void *b)
{
	double x = milliseconds(&sorted_stats[*(const int *)a]);
	double y = milliseconds(&sorted_stats[*(const int *)b]);

	return x > y ? -1 : x < y;
}

/* The tasks in the order in which they are shown: the slowest first, when there are times. */
static int *order_of_tasks(const HerdJob *job, bool ran)
{
	int *order = palloc(Max(job->ntasks, 1) * sizeof(int));

	for (int i = 0; i < job->ntasks; i++)
		order[i] = i;
	if (ran && job->stats && herd_explain_sort == HERD_EXPLAIN_BY_TIME) {
		sorted_stats = job->stats;
		qsort(order, job->ntasks, sizeof(int), by_time);
	}
	return order;
}

void herd_explain_remote(const HerdRemote *remote, const HerdJob *job, bool ran, List *plans,
			 ExplainState *es)
{
	static const char *const tiers[] = { "router", "all shards", "table" };
	int shown;
	int *order;

	Assert(remote->tier >= 0 && remote->tier < (int)lengthof(tiers));
	ExplainPropertyText("Tier", tiers[remote->tier], es);
	explain_moves(remote->moves, ran, es);
	if (!herd_explain_distributed) {
		if (job != NULL)
			ExplainPropertyInteger("Task Count", NULL, job->ntasks, es);
		return;
	}
	if (job == NULL) {
		/* to know the shard, sequences would have to be advanced or subqueries run */
		ExplainPropertyText("Query", remote->tmpl->text, es);
		return;
	}
	ExplainPropertyInteger("Task Count", NULL, job->ntasks, es);
	shown = herd_explain_all_tasks ? job->ntasks : Min(job->ntasks, 1);
	ExplainPropertyText("Tasks Shown",
			    shown == job->ntasks ? "All" : psprintf("One of %d", job->ntasks), es);
	if (ran && job->stats)
		explain_nodes(job, es);
	order = order_of_tasks(job, ran);
	ExplainOpenGroup("Tasks", "Tasks", false, es);
	for (int i = 0; i < shown; i++)
		explain_task(job, order[i], ran, plans, es);
	ExplainCloseGroup("Tasks", "Tasks", false, es);
}
