#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog/metadata.h"
#include "compat.h"
#include "guc.h"
#include "move/move.h"
#include "plan/remote.h"

/* The plan that the shard's server has for the task's text; a line each. */
static List *remote_plan(const HerdJob *job, const HerdTask *task, const ExplainState *es)
{
	HerdJob *one = palloc0(sizeof(HerdJob));
	HerdTask *explain = palloc0(sizeof(HerdTask));
	TupleDesc desc = CreateTemplateTupleDesc(1);
	TupleTableSlot *slot;
	HerdExec *exec;
	List *lines = NIL;

	TupleDescInitEntry(desc, 1, "QUERY PLAN", TEXTOID, -1, 0);
	explain->shardid = task->shardid;
	explain->groupid = task->groupid;
	explain->sql = psprintf("EXPLAIN (COSTS %s, VERBOSE %s) %s", es->costs ? "on" : "off",
				es->verbose ? "on" : "off", task->sql);
	one->ntasks = 1;
	one->tasks = explain;
	one->params = job->params;
	one->tupdesc = desc;
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

static void explain_task(const HerdJob *job, const HerdTask *task, ExplainState *es)
{
	const HerdNode *node = herd_node_primary(task->groupid);
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
	if (es->format == EXPLAIN_FORMAT_TEXT) {
		foreach (lc, remote_plan(job, task, es)) {
			appendStringInfoSpaces(es->str, es->indent * 2);
			appendStringInfo(es->str, "%s\n", (char *)lfirst(lc));
		}
		es->indent -= 3;
	} else {
		ExplainPropertyList("Remote Plan", remote_plan(job, task, es), es);
	}
	ExplainCloseGroup("Task", NULL, true, es);
}

/* Which items are moved first, and how. */
static void explain_moves(List *moves, ExplainState *es)
{
	List *lines = NIL;
	ListCell *lc;

	foreach (lc, moves) {
		const HerdMove *move = lfirst(lc);
		char *how = "to all nodes";

		if (move->key > 0)
			how = psprintf("by column %d to the shards of %s", move->key,
				       get_rel_name(move->target));
		lines = lappend(lines, psprintf("%s %s", move->name, how));
	}
	if (lines != NIL)
		ExplainPropertyList("Moved", lines, es);
}

void herd_explain_remote(const HerdRemote *remote, const HerdJob *job, ExplainState *es)
{
	static const char *const tiers[] = { "router", "all shards", "table" };
	int shown;

	Assert(remote->tier >= 0 && remote->tier < (int)lengthof(tiers));
	ExplainPropertyText("Tier", tiers[remote->tier], es);
	explain_moves(remote->moves, es);
	if (job == NULL) {
		/* to know the shard, sequences would have to be advanced or subqueries run */
		ExplainPropertyText("Query", remote->tmpl->text, es);
		return;
	}
	ExplainPropertyInteger("Task Count", NULL, job->ntasks, es);
	shown = herd_explain_all_tasks ? job->ntasks : Min(job->ntasks, 1);
	ExplainPropertyText("Tasks Shown",
			    shown == job->ntasks ? "All" : psprintf("One of %d", job->ntasks), es);
	ExplainOpenGroup("Tasks", "Tasks", false, es);
	for (int i = 0; i < shown; i++)
		explain_task(job, &job->tasks[i], es);
	ExplainCloseGroup("Tasks", "Tasks", false, es);
}
