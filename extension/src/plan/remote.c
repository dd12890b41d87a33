#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "exec/serial.h"
#include "executor/executor.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/metadata.h"
#include "compat.h"
#include "conn/options.h"
#include "conn/rights.h"
#include "conn/secondary.h"
#include "guc.h"
#include "move/limit.h"
#include "move/move.h"
#include "plan/remote.h"
#include "plan/rights.h"
#include "stats/queries.h"
#include "stats/tenants.h"
#include "txn/ahead.h"
#include "txn/internal.h"

typedef struct RemoteState {
	CustomScanState css;
	HerdRemote *remote;
	List *evals; /* of ExprState */
	HerdExec *exec;
	MemoryContext memory; /* of one run */
	HerdJob *job;         /* of the last run */
	HerdTenant *tenant;   /* for whom it is, when that is counted */
	List *plans;          /* of a write that is explained: what the nodes say of each task */
	dlist_node link;      /* in reading, until it ends */
	MemoryContextCallback forget;
	bool listed;
	int level; /* nest level of transactions at which the plan was opened */
	ParamListInfo params;
	bool started;
	bool rescanned;
	bool done;
	uint64 processed;
	bool has_row; /* a child gives a row of values for the evals */
	bool counts;  /* a write that is not part of a larger plan: its rows count as the command's
		       */
} RemoteState;

static Node *remote_create_state(CustomScan *scan);

/* Reads that have not ended, of all plans that are open. */
static dlist_head reading = DLIST_STATIC_INIT(reading);

static const CustomScanMethods remote_methods = {
	.CustomName = "Herd Remote",
	.CreateCustomScanState = remote_create_state,
};

/* Where in the list of flags. */
enum { FLAG_REUSABLE = 5 };

/* All but the evals, which are expressions of a plan. */
static List *remote_to_list(const HerdRemote *remote)
{
	List *flags = list_make5_int(remote->tier, remote->command, remote->shards,
				     remote->null_key_fails, remote->in_txn);
	List *list;

	flags = lappend_int(flags, remote->reusable);
	flags = lappend_int(flags, remote->volatile_evals);
	flags = lappend_int(flags, remote->ntext);
	flags = lappend_int(flags, remote->unites);
	flags = lappend_int(flags, remote->explains);
	flags = lappend_int(flags, remote->packs);
	flags = lappend_int(flags, remote->unites_all);
	list = list_make5(flags, list_make1_oid(remote->anchor), remote->keys, remote->keyprocs,
			  remote->writes);
	list = lappend(list, herd_template_to_list(remote->tmpl));
	list = lappend(list, herd_rights_relids());
	list = lappend(list, herd_rights_roles());
	list = lappend(list, remote->verify ? herd_template_to_list(remote->verify) : NIL);
	list = lappend(list, remote->before ? herd_template_to_list(remote->before) : NIL);
	if (remote->fire != NULL)
		list = lappend(list, list_make3(list_make1_oid(remote->fire->relid),
						list_make3_int(remote->fire->command,
							       remote->fire->upserts,
							       remote->fire->merges),
						remote->fire->columns));
	return list;
}

static HerdFire *fire_from_list(List *list)
{
	HerdFire *fire = palloc0(sizeof(HerdFire));

	fire->relid = linitial_oid(linitial(list));
	fire->command = linitial_int(lsecond(list));
	fire->upserts = lsecond_int(lsecond(list));
	fire->merges = lthird_int(lsecond(list));
	fire->columns = lthird(list);
	return fire;
}

static HerdRemote *remote_from_list(const List *list)
{
	HerdRemote *remote = palloc0(sizeof(HerdRemote));
	List *flags = linitial(list);

	remote->tier = linitial_int(flags);
	remote->command = lsecond_int(flags);
	remote->shards = lthird_int(flags);
	remote->null_key_fails = lfourth_int(flags);
	remote->in_txn = list_nth_int(flags, 4);
	remote->reusable = list_nth_int(flags, FLAG_REUSABLE);
	remote->volatile_evals = list_nth_int(flags, 6);
	remote->ntext = list_nth_int(flags, 7);
	remote->unites = list_nth_int(flags, 8);
	remote->explains = list_nth_int(flags, 9);
	remote->packs = list_nth_int(flags, 10);
	remote->unites_all = list_nth_int(flags, 11);
	remote->anchor = linitial_oid(lsecond(list));
	remote->keys = lthird(list);
	remote->keyprocs = lfourth(list);
	remote->writes = list_nth(list, 4);
	remote->tmpl = herd_template_from_list(list_nth(list, 5));
	remote->rights_relids = list_nth(list, 6);
	remote->rights_roles = list_nth(list, 7);
	if (list_nth(list, 8) != NULL)
		remote->verify = herd_template_from_list(list_nth(list, 8));
	if (list_nth(list, 9) != NULL)
		remote->before = herd_template_from_list(list_nth(list, 9));
	if (list_length(list) > 10)
		remote->fire = fire_from_list(list_nth(list, 10));
	return remote;
}

static List *move_to_list(const HerdMove *move)
{
	List *list = list_make4(list_make5_int(move->number, move->first_eval, move->nevals,
					       move->key, move->null_fails),
				list_make1_oid(move->target), makeString(move->hash),
				makeString(move->name));

	return lappend(list, move->producer ? (void *)remote_to_list(move->producer)
					    : (void *)move->local);
}

static HerdMove *move_from_list(const List *list)
{
	HerdMove *move = palloc0(sizeof(HerdMove));
	List *numbers = linitial(list);

	move->number = linitial_int(numbers);
	move->first_eval = lsecond_int(numbers);
	move->nevals = lthird_int(numbers);
	move->key = lfourth_int(numbers);
	move->null_fails = list_nth_int(numbers, 4);
	move->target = linitial_oid(lsecond(list));
	move->hash = strVal(lthird(list));
	move->name = strVal(lfourth(list));
	if (IsA(list_nth(list, 4), PlannedStmt))
		move->local = list_nth(list, 4);
	else
		move->producer = remote_from_list(list_nth(list, 4));
	return move;
}

CustomScan *herd_remote_plan(const HerdRemote *remote, List *scan_tlist)
{
	CustomScan *scan = makeNode(CustomScan);
	List *moves = NIL;
	ListCell *lc;

	foreach (lc, remote->moves)
		moves = lappend(moves, move_to_list(lfirst(lc)));
	scan->methods = &remote_methods;
	scan->custom_scan_tlist = scan_tlist;
	/* arguments that are defaults or have names are put in their places by this only */
	scan->custom_exprs = castNode(List, eval_const_expressions(NULL, (Node *)remote->evals));
	scan->custom_private = list_make2(remote_to_list(remote), moves);
	return scan;
}

void herd_remote_plan_once(CustomScan *scan)
{
	List *flags = linitial(linitial_node(List, scan->custom_private));

	lfirst_int(list_nth_cell(flags, FLAG_REUSABLE)) = false;
}

HerdRemote *herd_remote_from_plan(const CustomScan *scan)
{
	HerdRemote *remote = remote_from_list(linitial(scan->custom_private));
	ListCell *lc;

	remote->evals = scan->custom_exprs;
	foreach (lc, lsecond_node(List, scan->custom_private))
		remote->moves = lappend(remote->moves, move_from_list(lfirst(lc)));
	return remote;
}

static const HerdTable *anchor_table(const HerdRemote *remote)
{
	const HerdTable *table = herd_table_get(remote->anchor);

	if (table == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("relation with OID %u is not distributed anymore",
				       remote->anchor)));
	return table;
}

int herd_remote_key_shard(const HerdRemote *remote, Datum *values, bool *isnull, bool *null_key)
{
	const HerdTable *table = anchor_table(remote);
	ListCell *key;
	ListCell *proc;
	int found = -1;

	*null_key = false;
	forboth(key, remote->keys, proc, remote->keyprocs)
	{
		int i = lfirst_int(key) - 1;
		int32 hash;
		int index;

		if (isnull[i]) {
			*null_key = true;
			return 0;
		}
		hash = DatumGetInt32(
			OidFunctionCall1Coll(lfirst_oid(proc), table->keycollation, values[i]));
		index = herd_table_shard_index(table, hash);
		if (found >= 0 && index != found)
			elog(ERROR, "the values of the distribution columns belong to different "
				    "shards");
		found = index;
	}
	return found;
}

/* Shards of all elements that are in every array: a bool for each shard. */
static bool *shards_in_arrays(const HerdRemote *remote, const HerdTable *table,
			      ParamListInfo params)
{
	bool *wanted = palloc(table->nshards * sizeof(bool));
	ListCell *key;
	ListCell *proc;

	memset(wanted, true, table->nshards * sizeof(bool));
	forboth(key, remote->keys, proc, remote->keyprocs)
	{
		ParamExternData *param = &params->params[lfirst_int(key) - 1];
		bool *some = palloc0(table->nshards * sizeof(bool));
		ArrayType *array;
		Datum *elems;
		bool *nulls;
		int nelems = 0;
		int16 len;
		bool byval;
		char align;

		if (!param->isnull) {
			array = DatumGetArrayTypeP(param->value);
			get_typlenbyvalalign(ARR_ELEMTYPE(array), &len, &byval, &align);
			deconstruct_array(array, ARR_ELEMTYPE(array), len, byval, align, &elems,
					  &nulls, &nelems);
		}
		for (int i = 0; i < nelems; i++)
			if (!nulls[i])
				some[herd_table_shard_index(
					table, DatumGetInt32(OidFunctionCall1Coll(
						       lfirst_oid(proc), table->keycollation,
						       elems[i])))] = true;
		for (int i = 0; i < table->nshards; i++)
			wanted[i] = wanted[i] && some[i];
	}
	return wanted;
}

static void set_task(const HerdRemote *remote, HerdTask *task, const HerdTable *table, int index,
		     int32 groupid)
{
	ListCell *lc;

	task->shardid = table->shards[index].shardid;
	task->groupid = groupid;
	task->sql = herd_template_fill(remote->tmpl, index);
	foreach (lc, remote->writes) {
		const HerdTable *written = herd_table_get(lfirst_oid(lc));
		uint64 *id = palloc(sizeof(uint64));

		if (written == NULL)
			continue;
		*id = written->shards[written->kind == HERD_TABLE_HASH ? index : 0].shardid;
		task->lock_shards = lappend(task->lock_shards, id);
	}
}

/* Where a shard is read: here, if it is here. */
int32 herd_remote_shard_group(const HerdTable *table, int index)
{
	const HerdShard *shard = &table->shards[index];
	int32 local = herd_local_group();

	if (shard->ngroups == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("shard " UINT64_FORMAT " of table \"%s\" has no placement",
				       shard->shardid, get_rel_name(table->relid))));
	for (int i = 0; i < shard->ngroups; i++)
		if (shard->groups[i] == local)
			return local;
	return shard->groups[0];
}

/* The place of a statement of one task: of a reference table's, what the user's policy says. */
static int32 only_group(const HerdRemote *remote, const HerdTable *table, int index)
{
	const HerdShard *shard = &table->shards[index];

	if (shard->ngroups > 1 && herd_assignment_policy != HERD_ASSIGN_GREEDY &&
	    remote->writes == NIL && remote->moves == NIL && !remote->in_txn)
		return shard->groups[herd_assign_place(shard->ngroups, (int32)table->relid)];
	return herd_remote_shard_group(table, index);
}

static ParamListInfo text_params(const HerdRemote *remote, ParamListInfo params)
{
	ParamListInfo result;

	if (params == NULL || remote->ntext == 0)
		return NULL;
	result = makeParamList(remote->ntext);
	memcpy(result->params, params->params, remote->ntext * sizeof(ParamExternData));
	return result;
}

bool herd_key_is_not_null(const HerdTable *table)
{
	HeapTuple tup = SearchSysCache2(ATTNUM, ObjectIdGetDatum(table->relid),
					Int16GetDatum(table->keyattno));
	bool not_null = HeapTupleIsValid(tup) && ((Form_pg_attribute)GETSTRUCT(tup))->attnotnull;

	if (HeapTupleIsValid(tup))
		ReleaseSysCache(tup);
	return not_null;
}

void herd_null_key_error(const HerdTable *table)
{
	if (herd_key_is_not_null(table))
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
				errmsg("null value in column \"%s\" of relation \"%s\" violates "
				       "not-null constraint",
				       get_attname(table->relid, table->keyattno, false),
				       get_rel_name(table->relid))));
	ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
			errmsg("the distribution column of table \"%s\" cannot be null",
			       get_rel_name(table->relid))));
}

/* A node is as well busy with as many tasks as it has processors. */
static int tasks_per_node(int32 groupid)
{
	return herd_tasks_per_node > 0 ? herd_tasks_per_node : herd_node_processors(groupid);
}

/* The same for what repeats much of its work in each task. */
static int one_task(void)
{
	return Max(herd_tasks_per_node, 1);
}

/* Shards of one group share tasks, in even portions. */
static void set_united_tasks(const HerdRemote *remote, HerdJob *job, const HerdTable *table,
			     const bool *wanted)
{
	int32 *groups = palloc(table->nshards * sizeof(int32));
	int *shards = palloc(table->nshards * sizeof(int));

	for (int i = 0; i < table->nshards; i++)
		groups[i] = wanted == NULL || wanted[i] ? herd_remote_shard_group(table, i)
							: HERD_INVALID_GROUP;
	for (int first = 0; first < table->nshards; first++) {
		int32 group = groups[first];
		int n = 0, ntasks;

		if (group == HERD_INVALID_GROUP)
			continue;
		for (int i = first; i < table->nshards; i++) {
			if (groups[i] != group)
				continue;
			shards[n++] = i;
			groups[i] = HERD_INVALID_GROUP;
		}
		ntasks = Min(n, remote->unites_all ? one_task() : tasks_per_node(group));
		for (int i = 0; i < ntasks; i++) {
			int from = i * n / ntasks, to = (i + 1) * n / ntasks;

			job->tasks[job->ntasks++] =
				(HerdTask){ .shardid = table->shards[shards[from]].shardid,
					    .groupid = group,
					    .sql = herd_template_fill_many(
						    remote->tmpl, shards + from, to - from) };
		}
	}
}

HerdJob *herd_remote_job(const HerdRemote *remote, ParamListInfo params, TupleDesc tupdesc)
{
	const HerdTable *table = anchor_table(remote);
	HerdJob *job = palloc0(sizeof(HerdJob));
	bool *wanted = NULL;
	int first = 0;

	job->modifies = remote->writes != NIL;
	/* a trigger that comes after may still fail */
	job->all_in_txn = remote->in_txn || remote->fire != NULL;
	job->reusable = remote->reusable;
	job->packs = remote->packs;
	job->code = remote->tmpl->code;
	job->params = text_params(remote, params);
	job->tupdesc = tupdesc;
	if (remote->rights_relids != NIL)
		job->rights = herd_rights_message(remote->rights_relids, remote->rights_roles);
	if (remote->shards == HERD_SHARDS_REPLICAS) {
		const HerdShard *shard = &table->shards[0];

		job->reference_write = true;
		job->tasks = palloc0(shard->ngroups * sizeof(HerdTask));
		for (int i = 0; i < shard->ngroups; i++)
			set_task(remote, &job->tasks[job->ntasks++], table, 0, shard->groups[i]);
		return job;
	}
	if (remote->shards == HERD_SHARDS_ALL || remote->shards == HERD_SHARDS_IN) {
		job->tasks = palloc0(table->nshards * sizeof(HerdTask));
		if (remote->shards == HERD_SHARDS_IN)
			wanted = shards_in_arrays(remote, table, params);
		if (remote->unites) {
			set_united_tasks(remote, job, table, wanted);
			return job;
		}
		for (int i = 0; i < table->nshards; i++)
			if (wanted == NULL || wanted[i])
				set_task(remote, &job->tasks[job->ntasks++], table, i,
					 herd_remote_shard_group(table, i));
		return job;
	}
	if (remote->shards == HERD_SHARDS_KEY) {
		int n = params->numParams;
		Datum *values = palloc0((n + 1) * sizeof(Datum));
		bool *isnull = palloc0((n + 1) * sizeof(bool));
		bool null_key;

		for (int i = 0; i < n; i++) {
			values[i] = params->params[i].value;
			isnull[i] = params->params[i].isnull;
		}
		first = herd_remote_key_shard(remote, values, isnull, &null_key);
		if (null_key && remote->null_key_fails)
			herd_null_key_error(table);
	}
	job->ntasks = 1;
	job->tasks = palloc0(sizeof(HerdTask));
	set_task(remote, job->tasks, table, first, only_group(remote, table, first));
	return job;
}

ParamListInfo herd_remote_params(const HerdRemote *remote, List *exprs, ExprContext *econtext)
{
	ParamListInfo params;
	ListCell *lc;
	ListCell *expr;
	int i = 0;

	if (exprs == NIL)
		return NULL;
	params = makeParamList(list_length(exprs));
	forboth(lc, exprs, expr, remote->evals)
	{
		ParamExternData *param = &params->params[i++];

		param->ptype = exprType(lfirst(expr));
		param->pflags = PARAM_FLAG_CONST;
		param->value = ExecEvalExpr((ExprState *)lfirst(lc), econtext, &param->isnull);
	}
	return params;
}

static void unlist(void *arg)
{
	RemoteState *state = arg;

	if (state->listed)
		dlist_delete(&state->link);
	state->listed = false;
}

/* The state may go without its end, after an error. */
static void enlist(RemoteState *state, EState *estate)
{
	MemoryContextCallback forget = { .func = unlist, .arg = state };

	dlist_push_tail(&reading, &state->link);
	state->listed = true;
	state->forget = forget;
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &state->forget);
}

static void remote_begin(CustomScanState *node, EState *estate, int eflags)
{
	RemoteState *state = (RemoteState *)node;
	CustomScan *scan = (CustomScan *)node->ss.ps.plan;

	state->remote = herd_remote_from_plan(scan);
	state->level = GetCurrentTransactionNestLevel();
	state->evals = ExecInitExprList(state->remote->evals, &node->ss.ps);
	state->counts = estate->es_plannedstmt->planTree == (Plan *)scan;
	state->memory =
		AllocSetContextCreate(estate->es_query_cxt, "herd remote", ALLOCSET_SMALL_SIZES);
	if (scan->custom_plans != NIL) {
		node->custom_ps =
			list_make1(ExecInitNode(linitial(scan->custom_plans), estate, eflags));
		state->has_row = true;
	}
	if (state->remote->writes == NIL && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		enlist(state, estate);
	/* a write in a CTE runs to its end even if the statement does not read all its rows */
	if (state->remote->writes != NIL && !state->counts && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		estate->es_auxmodifytables = lcons(node, estate->es_auxmodifytables);
}

static bool explains_write(const RemoteState *state, const HerdJob *job)
{
	return state->remote->explains && state->css.ss.ps.instrument != NULL && state->counts &&
	       !job->reference_write;
}

/* Computes the parameters, and makes the moves. */
static HerdJob *make_job(RemoteState *state)
{
	const HerdRemote *remote = state->remote;
	TupleDesc desc = state->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor;
	const char *id = remote->moves != NIL ? pstrdup(herd_moves_new_id()) : NULL;
	HerdJob *job;

	state->params = herd_remote_params(remote, state->evals, state->css.ss.ps.ps_ExprContext);
	if (desc->natts == 0 && remote->command != CMD_SELECT)
		desc = NULL;
	job = herd_remote_job(remote, state->params, desc);
	if (remote->moves != NIL)
		herd_moves_run(remote->moves, id, job, state->params, state->css.ss.ps.state);
	return job;
}

/* Another statement for the same shards, with the same parameters: the sum of what it selects. */
static int64 run_apart(RemoteState *state, HerdTemplate *tmpl)
{
	HerdRemote remote = *state->remote;
	bool selects = tmpl == remote.verify;
	TupleDesc desc = CreateTemplateTupleDesc(selects ? 1 : 0);
	TupleTableSlot *slot;
	HerdExec *exec;
	int64 sum = 0;

	remote.tmpl = tmpl;
	remote.fire = NULL;
	if (selects)
		TupleDescInitEntry(desc, 1, "n", INT8OID, -1, 0);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	exec = herd_exec_begin(herd_remote_job(&remote, state->params, selects ? desc : NULL));
	while (herd_exec_next(exec, slot)) {
		bool isnull;

		sum += DatumGetInt64(slot_getattr(slot, 1, &isnull));
		ExecClearTuple(slot);
	}
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
	return sum;
}

/* So often rows may be changed by others while what is to be written to them is computed. */
#define MOST_TRIES 20

/* Rows were changed: what is to be written to them is computed anew, from what is there now. */
static HerdJob *again(RemoteState *state, int tries)
{
	HerdJob *job;

	if (IsolationUsesXactSnapshot() || tries >= MOST_TRIES)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not serialize access due to concurrent update")));
	CHECK_FOR_INTERRUPTS();
	PushActiveSnapshot(GetLatestSnapshot());
	/* newer, but what the statement itself has changed it does not see */
	GetActiveSnapshot()->curcid = state->css.ss.ps.state->es_snapshot->curcid;
	job = make_job(state);
	PopActiveSnapshot();
	return job;
}

static void remote_start(RemoteState *state)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	MemoryContext old;
	HerdJob *job;

	if (state->remote->fire != NULL)
		herd_fire(state->remote->fire, true);
	/* before the switch: what the child allocates lives as long as the child */
	if (state->has_row) {
		econtext->ecxt_outertuple = ExecProcNode(linitial(state->css.custom_ps));
		if (TupIsNull(econtext->ecxt_outertuple))
			elog(ERROR, "the subqueries of a write gave no row");
	}
	old = MemoryContextSwitchTo(state->memory);
	job = make_job(state);
	for (int tries = 0; state->remote->verify && run_apart(state, state->remote->verify);
	     tries++)
		job = again(state, tries);
	if (state->remote->before != NULL)
		(void)run_apart(state, state->remote->before);
	state->job = job;
	if (state->remote->tier == 2 && state->remote->writes == NIL && !state->counts)
		job->max_bytes = herd_result_read_limit();
	herd_query_saw(state->remote, state->css.ss.ps.state, state->params, job->ntasks);
	state->tenant = herd_tenant_begin(state->remote, state->params);
	if (state->css.ss.ps.instrument != NULL)
		job->stats = palloc0(Max(job->ntasks, 1) * sizeof(HerdTaskStats));
	if (explains_write(state, job))
		state->plans = herd_explain_write(job);
	else
		state->exec = herd_exec_begin(job);
	state->started = true;
	MemoryContextSwitchTo(old);
}

static bool exec_param_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *)node)->paramkind == PARAM_EXEC)
		return true;
	return expression_tree_walker(node, exec_param_walker, context);
}

/* A plan that is open sees what was there when it was opened: also one that is not begun yet. */
static void settle(RemoteState *state)
{
	ResourceOwner owner = CurrentResourceOwner;
	bool repeated = state->rescanned || exec_param_walker((Node *)state->remote->evals, NULL);

	if (repeated && herd_ahead_read(state->css.ss.ps.state))
		return;
	if (state->done)
		return;
	if (!state->started) {
		/* its parameters are not known before the plan gets there */
		if (repeated)
			return;
		CurrentResourceOwner = TopTransactionResourceOwner;
		remote_start(state);
		CurrentResourceOwner = owner;
	}
	herd_exec_settle(state->exec);
}

static void settle_others(void)
{
	const EState *writer = herd_txn_running();
	dlist_iter iter;

	dlist_foreach(iter, &reading)
	{
		RemoteState *state = dlist_container(RemoteState, link, iter.cur);

		if (state->css.ss.ps.state != writer)
			settle(state);
	}
}

static TupleTableSlot *remote_next(ScanState *ss)
{
	RemoteState *state = (RemoteState *)ss;
	TupleTableSlot *slot = ss->ss_ScanTupleSlot;

	ExecClearTuple(slot);
	if (state->done)
		return slot;
	if (!state->started)
		remote_start(state);
	/* A rollback to the savepoint would throw away what nodes are sending. */
	if (state->exec != NULL && GetCurrentTransactionNestLevel() > state->level)
		herd_exec_settle(state->exec);
	if (state->exec != NULL && herd_exec_next(state->exec, slot))
		return slot;
	state->done = true;
	if (state->exec == NULL)
		return ExecClearTuple(slot);
	state->processed = herd_exec_processed(state->exec);
	if (state->counts && state->remote->command != CMD_SELECT)
		ss->ps.state->es_processed += state->processed;
	if (state->remote->fire != NULL)
		herd_fire(state->remote->fire, false);
	return ExecClearTuple(slot);
}

static bool remote_recheck(ScanState *ss, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *remote_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, remote_next, remote_recheck);
}

static void remote_stop(RemoteState *state)
{
	if (state->exec != NULL)
		herd_exec_end(state->exec);
	if (state->tenant != NULL)
		herd_tenant_end(state->tenant);
	state->tenant = NULL;
	state->exec = NULL;
	state->started = state->done = false;
	MemoryContextReset(state->memory);
}

static void remote_end(CustomScanState *node)
{
	unlist(node);
	remote_stop((RemoteState *)node);
	if (node->custom_ps != NIL)
		ExecEndNode(linitial(node->custom_ps));
}

static void remote_rescan(CustomScanState *node)
{
	RemoteState *state = (RemoteState *)node;

	if (state->remote->writes != NIL && state->started)
		elog(ERROR, "a write to shards cannot be run twice");
	state->rescanned = true;
	remote_stop(state);
	ExecScanReScan(&node->ss);
}

static void remote_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	RemoteState *state = (RemoteState *)node;
	HerdJob *job = NULL;

	if (es->analyze && state->started) {
		job = state->job;
	} else if (!state->remote->volatile_evals && !state->has_row) {
		ParamListInfo params =
			herd_remote_params(state->remote, state->evals, node->ss.ps.ps_ExprContext);

		job = herd_remote_job(state->remote, params, NULL);
	}
	herd_explain_remote(state->remote, job, es->analyze && state->started, state->plans, es);
}

static const CustomExecMethods remote_exec_methods = {
	.CustomName = "Herd Remote",
	.BeginCustomScan = remote_begin,
	.ExecCustomScan = remote_exec,
	.EndCustomScan = remote_end,
	.ReScanCustomScan = remote_rescan,
	.ExplainCustomScan = remote_explain,
};

bool herd_is_remote_scan(const PlanState *state)
{
	return IsA(state, CustomScanState) &&
	       ((const CustomScanState *)state)->methods == &remote_exec_methods;
}

uint64 herd_remote_processed(const PlanState *state)
{
	Assert(herd_is_remote_scan(state));
	return ((const RemoteState *)state)->processed;
}

static Node *remote_create_state(CustomScan *scan)
{
	RemoteState *state = (RemoteState *)newNode(sizeof(RemoteState), T_CustomScanState);

	state->css.methods = &remote_exec_methods;
	return (Node *)state;
}

void herd_remote_init(void)
{
	herd_exec_before_write = settle_others;
	RegisterCustomScanMethods(&remote_methods);
}
