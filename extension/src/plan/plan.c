#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "exec/serial.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/planmain.h"
#include "optimizer/planner.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif
#include "utils/lsyscache.h"

#include "agg/partial.h"
#include "catalog/metadata.h"
#include "conn/rights.h"
#include "ddl/local.h"
#include "move/load.h"
#include "move/move.h"
#include "move/pack.h"
#include "move/scan.h"
#include "plan/bring.h"
#include "plan/cursor.h"
#include "plan/fast.h"
#include "plan/generic.h"
#include "plan/hide.h"
#include "plan/leaves.h"
#include "plan/lift.h"
#include "plan/merge.h"
#include "plan/mergewise.h"
#include "plan/multiexpr.h"
#include "plan/plan.h"
#include "plan/rekey.h"
#include "plan/remote.h"
#include "plan/returning.h"
#include "plan/rewrite.h"
#include "plan/route.h"
#include "plan/rownull.h"
#include "plan/rowwise.h"
#include "plan/security.h"
#include "plan/shardwise.h"
#include "plan/srf.h"
#include "plan/steps.h"
#include "plan/try.h"
#include "plan/update_here.h"
#include "stats/stats.h"

/* Makes the plan cache take a plan with the values of parameters instead. */
#define GENERIC_PLAN_COST 1.0e9

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_remote_rows);

HerdPlanning *herd_planning_current;
static planner_hook_type next_planner;

/* Only a place for the planner's path: see plan/scan.c. */
Datum herd_remote_rows(PG_FUNCTION_ARGS)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("citus_internal.remote_rows cannot be called")));
	PG_RETURN_NULL();
}

static PlannedStmt *herd_planner(Query *parse, const char *source, int options,
				 ParamListInfo bound);

static PlannedStmt *plan_here(Query *query, const char *source, int options, ParamListInfo bound)
{
	if (next_planner)
		return next_planner(query, source, options, bound);
	return standard_planner(query, source, options, bound);
}

/* Relations of the statement, whose privileges are checked and whose locks are held. */
typedef struct Relations {
	List *rtes;
	List *perms; /* 16 and later: of RTEPermissionInfo */
} Relations;

/* From 16 on a view is its query and a relation in one. */
static bool is_checked(const RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	if (rte->rtekind == RTE_SUBQUERY && OidIsValid(rte->relid))
		return true;
#endif
	return rte->rtekind == RTE_RELATION;
}

static bool relations_walker(Node *node, void *context)
{
	Relations *rels = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		Query *query = (Query *)node;
		ListCell *lc;

		foreach (lc, query->rtable) {
			RangeTblEntry *rte = lfirst(lc);
			RangeTblEntry *flat;

			if (!is_checked(rte))
				continue;
			flat = copyObject(rte);
			flat->subquery = NULL;
			flat->tablesample = NULL;
			flat->securityQuals = NIL;
#if PG_VERSION_NUM >= 160000
			if (rte->perminfoindex != 0) {
				rels->perms = lappend(
					rels->perms,
					copyObject(getRTEPermissionInfo(query->rteperminfos, rte)));
				flat->perminfoindex = list_length(rels->perms);
			}
#endif
			rels->rtes = lappend(rels->rtes, flat);
		}
		return query_tree_walker(query, relations_walker, context, 0);
	}
	return expression_tree_walker(node, relations_walker, context);
}

static void add_relations(PlannedStmt *stmt, Relations *rels)
{
	ListCell *lc;

	foreach (lc, rels->rtes) {
		RangeTblEntry *rte = lfirst(lc);

#if PG_VERSION_NUM >= 160000
		if (rte->perminfoindex != 0)
			rte->perminfoindex += list_length(stmt->permInfos);
#endif
		stmt->rtable = lappend(stmt->rtable, rte);
		stmt->relationOids = list_append_unique_oid(stmt->relationOids, rte->relid);
	}
#if PG_VERSION_NUM >= 160000
	stmt->permInfos = list_concat(stmt->permInfos, rels->perms);
#endif
}

/*
 * The plan cache locks the relations of a plan, and knows when to make it anew, by what the
 * outermost plan says: it cannot see those that moves and steps run here. Their privileges are
 * checked when they start.
 */
static void add_inner(PlannedStmt *stmt, const PlannedStmt *inner)
{
	const ListCell *lc;

	stmt->transientPlan |= inner->transientPlan;
	stmt->invalItems = list_concat(stmt->invalItems, inner->invalItems);
	foreach (lc, inner->rtable) {
		RangeTblEntry *rte;

		if (lfirst_node(RangeTblEntry, lc)->rtekind != RTE_RELATION)
			continue;
		rte = makeNode(RangeTblEntry);
		rte->rtekind = RTE_RELATION;
		rte->relid = lfirst_node(RangeTblEntry, lc)->relid;
		rte->relkind = lfirst_node(RangeTblEntry, lc)->relkind;
		rte->rellockmode = lfirst_node(RangeTblEntry, lc)->rellockmode;
		rte->eref = copyObject(lfirst_node(RangeTblEntry, lc)->eref);
		stmt->rtable = lappend(stmt->rtable, rte);
	}
	stmt->relationOids = list_concat_unique_oid(stmt->relationOids, inner->relationOids);
}

static void add_moved(PlannedStmt *stmt, const List *moves)
{
	const ListCell *lc;

	foreach (lc, moves) {
		const PlannedStmt *local = ((const HerdMove *)lfirst(lc))->local;

		if (local != NULL)
			add_inner(stmt, local);
	}
}

static const HerdTable *target_of(const Query *query)
{
	if (query->resultRelation == 0)
		return NULL;
	return herd_table_get(rt_fetch(query->resultRelation, query->rtable)->relid);
}

static bool changes_key(Query *query)
{
	const HerdTable *table = target_of(query);

	return table != NULL && query->commandType == CMD_UPDATE &&
	       herd_changes_key(query, query->targetList, table);
}

/* Writes in WITH, or beside it, that only statements by themselves can be. */
static bool needs_steps(Query *query)
{
	ListCell *lc;

	if (query->cteList != NIL && changes_key(query))
		return true;
	foreach (lc, query->cteList) {
		Query *sub = castNode(Query, ((CommonTableExpr *)lfirst(lc))->ctequery);

		if (changes_key(sub) || (sub->commandType == CMD_MERGE && target_of(sub) != NULL) ||
		    (target_of(sub) != NULL && herd_update_calls_session(sub)) ||
		    herd_returns_here(sub) || herd_rowwise_wanted(sub) || herd_rowwise_tried(sub))
			return true;
	}
	return false;
}

static void check_key_unchanged(Query *query, List *tlist, const HerdTable *table)
{
	if (herd_changes_key(query, tlist, table))
		ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the distribution column \"%s\" of table \"%s\" cannot be updated "
				"here",
				get_attname(table->relid, table->keyattno, false),
				get_rel_name(table->relid)),
			 errhint("Delete the row and insert it with its new value.")));
}

static void refuse_session(const HerdTable *table)
{
	ereport(ERROR,
		(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		 errmsg("a function that changes the session, like nextval, is not supported in an "
			"UPDATE or DELETE of distributed table \"%s\"",
			get_rel_name(table->relid)),
		 errhint("Call it in a statement of its own, and write its value.")));
}

/* What no tier can do, wherever it stands in the statement. */
static bool check_walker(Node *node, void *context)
{
	Query *query = (Query *)node;
	const HerdTable *target = NULL;

	if (node == NULL)
		return false;
	if (IsA(node, Aggref) && herd_agg_is_internal(((Aggref *)node)->aggfnoid))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("citus_internal.combine_agg can only be called by plans of "
				       "distributed queries")));
	if (!IsA(node, Query))
		return expression_tree_walker(node, check_walker, context);
	if (query->resultRelation != 0)
		target = herd_table_get(rt_fetch(query->resultRelation, query->rtable)->relid);
	if (target != NULL) {
		if (herd_update_calls_session(query) && context != query)
			refuse_session(target);
		if (query->commandType == CMD_UPDATE)
			check_key_unchanged(query, query->targetList, target);
		if (query->onConflict != NULL)
			check_key_unchanged(query, query->onConflict->onConflictSet, target);
	}
	return query_tree_walker(query, check_walker, NULL, 0);
}

static PlannedStmt *make_stmt(Query *parse, Plan *plan)
{
	PlannedStmt *stmt = makeNode(PlannedStmt);

	stmt->commandType = parse->commandType;
	stmt->queryId = parse->queryId;
	stmt->hasReturning = herd_returns_rows(parse);
	stmt->hasModifyingCTE = parse->hasModifyingCTE;
	stmt->canSetTag = parse->canSetTag;
	stmt->planTree = plan;
	stmt->stmt_location = parse->stmt_location;
	stmt->stmt_len = parse->stmt_len;
	return stmt;
}

/* A relation for EXPLAIN to take the names of columns from, and the columns of the rows. */
static List *row_columns(List *tlist, int varno, RangeTblEntry **rte)
{
	RangeTblEntry *names = makeNode(RangeTblEntry);
	List *columns = NIL;
	ListCell *lc;

	names->rtekind = RTE_VALUES;
	names->eref = makeAlias("remote_rows", NIL);
	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		Node *expr = (Node *)tle->expr;
		int pos = list_length(columns) + 1;
		Var *var;

		if (tle->resjunk)
			continue;
		var = makeVar(varno, pos, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);
		columns = lappend(columns, makeTargetEntry((Expr *)var, pos, tle->resname, false));
		names->eref->colnames =
			lappend(names->eref->colnames,
				makeString(tle->resname ? tle->resname : "?column?"));
	}
	*rte = names;
	return columns;
}

/* What the plan's node gives: its columns as they come, with the names of the statement's. */
static List *output_columns(List *tlist, List *columns)
{
	List *result = NIL;
	ListCell *lc;

	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		TargetEntry *out;
		Node *expr = (Node *)tle->expr;
		int pos = list_length(result) + 1;

		if (tle->resjunk)
			continue;
		out = makeTargetEntry((Expr *)makeVar(INDEX_VAR, pos, exprType(expr),
						      exprTypmod(expr), exprCollation(expr), 0),
				      pos, tle->resname, false);
		out->resorigtbl = tle->resorigtbl;
		out->resorigcol = tle->resorigcol;
		result = lappend(result, out);
	}
	return result;
}

static void prepare_evals(HerdRemote *remote)
{
	ListCell *lc;

	foreach (lc, remote->evals)
		lfirst(lc) = expression_planner(lfirst(lc));
}

/* The whole statement is what shards are sent. */
static PlannedStmt *plan_remote(Query *parse, HerdRemote *remote, Relations *rels, int options)
{
	List *tlist = parse->commandType == CMD_SELECT ? parse->targetList : parse->returningList;
	PlannedStmt *stmt = make_stmt(parse, NULL);
	RangeTblEntry *names;
	List *columns;
	CustomScan *scan;

	columns = row_columns(tlist, 1, &names);
	prepare_evals(remote);
	remote->fire = herd_fire_of(parse);
	remote->explains = parse->commandType != CMD_SELECT && herd_planning_current != NULL &&
			   herd_planning_current->explain;
	scan = herd_remote_plan(remote, columns);
	scan->scan.plan.targetlist = output_columns(tlist, columns);
	scan->scan.plan.plan_rows = 1;
	scan->scan.plan.total_cost = 1;
	stmt->planTree = &scan->scan.plan;
	stmt->rtable = list_make1(names);
	if ((options & CURSOR_OPT_SCROLL) && parse->commandType == CMD_SELECT)
		stmt->planTree = materialize_finished_plan(stmt->planTree);
	add_relations(stmt, rels);
	return stmt;
}

/* From so many rows on, nobody looks whether they belong to one shard: each look copies them. */
#define LONG_VALUES 100

/* The rows of an INSERT of many VALUES into a sharded table, or NULL. */
static RangeTblEntry *long_values(const Query *query)
{
	const HerdTable *table;
	RangeTblEntry *rte;
	RangeTblRef *ref;

	if (query->commandType != CMD_INSERT || query->cteList != NIL || query->hasSubLinks ||
	    list_length(query->jointree->fromlist) != 1)
		return NULL;
	ref = linitial(query->jointree->fromlist);
	if (!IsA(ref, RangeTblRef))
		return NULL;
	rte = rt_fetch(ref->rtindex, query->rtable);
	if (rte->rtekind != RTE_VALUES || list_length(rte->values_lists) < LONG_VALUES)
		return NULL;
	table = herd_table_get(rt_fetch(query->resultRelation, query->rtable)->relid);
	return table != NULL && table->kind == HERD_TABLE_HASH ? rte : NULL;
}

/* The rows of an INSERT are computed here and sent to their shards. */
static PlannedStmt *plan_insert(Query *parse, const char *source, int options, ParamListInfo bound,
				HerdPlanning *planning, Relations *rels)
{
	RangeTblEntry *values = long_values(parse);
	List *rows = values ? values->values_lists : NIL;
	Query *insert;
	Query *select;
	PlannedStmt *stmt;
	RangeTblEntry *names;
	List *attnums;
	List *columns;
	CustomScan *scan;
	ListCell *lc;

	/* The rows themselves are not copied: the planner may change what it is given. */
	if (values)
		values->values_lists = NIL;
	insert = copyObject(parse);
	select = copyObject(parse);
	if (values) {
		RangeTblRef *ref = linitial(select->jointree->fromlist);

		values->values_lists = rows;
		rt_fetch(ref->rtindex, select->rtable)->values_lists = rows;
	}
	if (herd_insert_asks(insert))
		ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("subqueries in ON CONFLICT are not supported when the rows of an "
				"INSERT belong to several shards")));
	attnums = herd_insert_to_select(select);
	herd_rewrite(select, planning);
	stmt = plan_here(select, source, options & ~CURSOR_OPT_SCROLL, bound);
	columns = row_columns(parse->returningList, list_length(stmt->rtable) + 1, &names);
	scan = herd_insert_plan(insert, attnums, stmt->planTree, columns);
	foreach (lc, scan->custom_exprs)
		lfirst(lc) = expression_planner(lfirst(lc));
	scan->scan.plan.targetlist = output_columns(parse->returningList, columns);
	scan->scan.plan.plan_rows = stmt->planTree->plan_rows;
	scan->scan.plan.total_cost = stmt->planTree->total_cost;
	stmt->planTree = &scan->scan.plan;
	stmt->commandType = CMD_INSERT;
	stmt->hasReturning = herd_returns_rows(parse);
	stmt->rtable = lappend(stmt->rtable, names);
	add_relations(stmt, rels);
	return stmt;
}

static PlannedStmt *plan_mergewise(Query *parse, const char *source, int options,
				   ParamListInfo bound, HerdPlanning *planning, Relations *rels);

/* Columns as a list from a subquery that cannot be asked for each of them. */
static bool sets_list(const Query *merge)
{
	ListCell *lc;

	foreach (lc, merge->mergeActionList)
		if (herd_multiexpr_any(lfirst_node(MergeAction, lc)->targetList))
			return true;
	return false;
}

/* What shards can do at once, and new rows that are computed here. */
static PlannedStmt *plan_merge(Query *parse, const char *source, int options, ParamListInfo bound,
			       HerdPlanning *planning, Relations *rels)
{
	Query *query = copyObject(parse);
	HerdMerge merge = { .by_row = sets_list(parse) };
	List *tlist;
	PlannedStmt *stmt;
	RangeTblEntry *names;
	List *columns;
	CustomScan *scan;
	ListCell *lc;

	if (!merge.by_row)
		merge = herd_merge(parse, planning);
	if (merge.by_row)
		return plan_mergewise(query, source, options, bound, planning, rels);
	if (merge.insert == NULL && merge.remote != NULL)
		return plan_remote(parse, merge.remote, rels, options);
	if (merge.insert == NULL) { /* all that it says is DO NOTHING */
		stmt = make_stmt(parse, (Plan *)makeNode(Result));
		((Result *)stmt->planTree)->resconstantqual =
			(Node *)list_make1(makeBoolConst(false, false));
		add_relations(stmt, rels);
		return stmt;
	}
	tlist = copyObject(merge.select->targetList);
	herd_rewrite(merge.select, planning);
	stmt = plan_here(merge.select, source, options & ~CURSOR_OPT_SCROLL, bound);
	columns = row_columns(tlist, list_length(stmt->rtable) + 1, &names);
	stmt->rtable = lappend(stmt->rtable, names);
	if (merge.remote != NULL) {
		prepare_evals(merge.remote);
		stmt->planTree = herd_hold_plan(stmt->planTree,
						&herd_remote_plan(merge.remote, NIL)->scan.plan,
						columns, output_columns(tlist, columns));
	}
	scan = herd_insert_plan(merge.insert, merge.attnums, stmt->planTree, NIL);
	foreach (lc, scan->custom_exprs)
		lfirst(lc) = expression_planner(lfirst(lc));
	scan->scan.plan.plan_rows = stmt->planTree->plan_rows;
	scan->scan.plan.total_cost = stmt->planTree->total_cost;
	stmt->planTree = &scan->scan.plan;
	stmt->commandType = CMD_MERGE;
	stmt->queryId = parse->queryId;
	stmt->hasReturning = false;
	add_relations(stmt, rels);
	return stmt;
}

static void refuse_write(Query *parse, const HerdTable *table, const char *why)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("this %s of distributed table \"%s\" cannot be sent to its shards",
			       parse->commandType == CMD_UPDATE ? "UPDATE" : "DELETE",
			       get_rel_name(table->relid)),
			errdetail("It would need %s.", why),
			errhint("Join the other tables on the distribution column, or compute "
				"their values "
				"in a statement before.")));
}

/* The write with the values that select gives, if there is one. */
static PlannedStmt *plan_behind(Query *parse, HerdRemote *remote, Query *select, const char *source,
				int options, ParamListInfo bound, HerdPlanning *planning,
				Relations *rels)
{
	PlannedStmt *stmt;
	CustomScan *scan;
	RangeTblEntry *names;
	List *columns;

	if (select == NULL)
		return plan_remote(parse, remote, rels, options);
	herd_rewrite(select, planning);
	stmt = plan_here(select, source, options & ~CURSOR_OPT_SCROLL, bound);
	columns = row_columns(parse->returningList, list_length(stmt->rtable) + 1, &names);
	prepare_evals(remote);
	remote->fire = herd_fire_of(parse);
	scan = herd_remote_plan(remote, columns);
	scan->custom_plans = list_make1(stmt->planTree);
	scan->scan.plan.targetlist = output_columns(parse->returningList, columns);
	scan->scan.plan.plan_rows = 1;
	scan->scan.plan.total_cost = stmt->planTree->total_cost + 1;
	stmt->planTree = &scan->scan.plan;
	stmt->commandType = parse->commandType;
	stmt->hasReturning = herd_returns_rows(parse);
	stmt->queryId = parse->queryId;
	stmt->rtable = lappend(stmt->rtable, names);
	add_relations(stmt, rels);
	return stmt;
}

/* Subqueries that shards cannot answer run first, here; their values are sent with the write. */
static PlannedStmt *plan_lifted(Query *parse, const char *source, int options, ParamListInfo bound,
				HerdPlanning *planning, Relations *rels, bool sources)
{
	Query *query = copyObject(parse);
	const char *why = NULL;
	bool inlined;
	Query *select;
	HerdRemote *remote;

	herd_inline_ctes(query);
	inlined = list_length(query->cteList) < list_length(parse->cteList);
	select = herd_lift(query, sources);
	if (select == NULL && (sources || !inlined))
		return NULL;
	remote = herd_route(query, bound, &planning->needs_params);
	if (remote == NULL)
		remote = herd_tier1_write(query, bound, &why);
	if (remote == NULL)
		return NULL;
	return plan_behind(parse, remote, select, source, options, bound, planning, rels);
}

/* The same of an INSERT: one row, or only what ON CONFLICT asks and the rows by themselves. */
static PlannedStmt *plan_lifted_insert(Query *parse, const char *source, int options,
				       ParamListInfo bound, HerdPlanning *planning, Relations *rels)
{
	Query *query = copyObject(parse);
	PlannedStmt *stmt = plan_lifted(parse, source, options, bound, planning, rels, false);
	HerdRemote *remote = NULL;
	Query *select;

	if (stmt != NULL || query->cteList != NIL)
		return stmt;
	select = herd_lift_conflict(query);
	if (select != NULL)
		remote = herd_insert_moved_here(query, planning);
	if (remote == NULL)
		return NULL;
	return plan_behind(parse, remote, select, source, options, bound, planning, rels);
}

static PlannedStmt *plan_rowwise(Query *parse, const char *source, int options, ParamListInfo bound,
				 Relations *rels);
static PlannedStmt *plan_returning(Query *parse, const char *source, int options,
				   ParamListInfo bound, Relations *rels);

static PlannedStmt *plan_write(Query *parse, const char *source, int options, ParamListInfo bound,
			       HerdPlanning *planning, Relations *rels, const HerdTable *table)
{
	bool inserts = parse->commandType == CMD_INSERT;
	Query *whole = inserts && !herd_returns_subqueries(parse) ? NULL : copyObject(parse);
	HerdRemote *remote = NULL;
	PlannedStmt *stmt;
	const char *why = "rows to be computed on this node";

	if (!long_values(parse)) {
		remote = herd_tier1_write(parse, bound, &why);
		if (remote == NULL)
			remote = herd_write_moved(parse, planning, false);
	}
	if (remote == NULL && inserts)
		remote = herd_insert_moved_here(parse, planning);
	if (remote == NULL && inserts && herd_insert_asks(parse))
		remote = herd_write_brought(parse, planning);
	if (remote != NULL)
		return plan_remote(parse, remote, rels, options);
	if (inserts && herd_insert_asks(parse)) {
		stmt = plan_lifted_insert(parse, source, options, bound, planning, rels);
		if (stmt != NULL)
			return stmt;
	}
	if (inserts && whole == NULL)
		return plan_insert(parse, source, options, bound, planning, rels);
	if (herd_returns_subqueries(whole))
		return plan_returning(whole, source, options, bound, rels);
	for (int sources = 0; sources < 2; sources++) {
		stmt = plan_lifted(parse, source, options, bound, planning, rels, sources);
		if (stmt != NULL)
			return stmt;
	}
	remote = herd_write_moved(parse, planning, true);
	if (remote == NULL)
		remote = herd_write_brought(parse, planning);
	if (remote == NULL)
		remote = herd_update_here(parse, planning);
	if (remote != NULL)
		return plan_remote(parse, remote, rels, options);
	stmt = plan_rowwise(whole, source, options, bound, rels);
	if (stmt != NULL)
		return stmt;
	if (table->kind == HERD_TABLE_REFERENCE)
		why = "a volatile function, or a table that is not on every node";
	refuse_write(parse, table, why);
	return NULL;
}

static PlannedStmt *plan_distributed(Query *parse, const char *source, int options,
				     ParamListInfo bound, HerdPlanning *planning);
static void split_values(Query *parse);

/* A statement that is a part of another. */
static PlannedStmt *plan_inner(Query *query, const char *source, int options, ParamListInfo bound)
{
	HerdPlanning planning = { .bound = bound, .up = herd_planning_current };
	PlannedStmt *stmt = NULL;

	if (herd_query_any_table(query) == NULL)
		return plan_here(query, source, options, bound);
	herd_insert_condition(query);
	herd_planning_current = &planning;
	PG_TRY();
	{
		stmt = plan_distributed(query, source, options, bound, &planning);
	}
	PG_FINALLY();
	{
		herd_planning_current = planning.up;
	}
	PG_END_TRY();
	add_moved(stmt, planning.moves);
	return stmt;
}

/* query: parse, as it was before it was changed for any way to plan it as a whole. */
static PlannedStmt *plan_steps(Query *parse, Query *query, const char *source, int options,
			       ParamListInfo bound, Relations *rels)
{
	List *tlist = parse->commandType == CMD_SELECT ? parse->targetList : parse->returningList;
	List *steps = herd_steps_of(query, changes_key(query));
	PlannedStmt *stmt = make_stmt(parse, NULL);
	RangeTblEntry *names;
	List *columns = row_columns(tlist, 1, &names);
	bool late = herd_steps_wait(steps);
	CustomScan *scan;
	ListCell *lc;

	foreach (lc, steps) {
		HerdStep *step = lfirst(lc);

		step->query->queryId = 0;
		step->plan =
			plan_inner(step->query, source,
				   options & ~(CURSOR_OPT_SCROLL | CURSOR_OPT_PARALLEL_OK), bound);
	}
	scan = herd_steps_plan(steps, columns, late);
	scan->scan.plan.targetlist = output_columns(tlist, columns);
	stmt->planTree = &scan->scan.plan;
	stmt->rtable = list_make1(names);
	add_relations(stmt, rels);
	foreach (lc, steps)
		add_inner(stmt, ((HerdStep *)lfirst(lc))->plan);
	return stmt;
}

static PlannedStmt *plan_returning(Query *parse, const char *source, int options,
				   ParamListInfo bound, Relations *rels)
{
	return plan_steps(parse, herd_return_here(parse), source, options, bound, rels);
}

static PlannedStmt *plan_parts(Query *parse, HerdRowwise *parts, const char *source, int options,
			       ParamListInfo bound, Relations *rels)
{
	PlannedStmt *stmt, *select;
	RangeTblEntry *names;
	List *columns;
	CustomScan *scan;

	select = plan_inner(parts->select, source,
			    options & ~(CURSOR_OPT_SCROLL | CURSOR_OPT_PARALLEL_OK), bound);
	stmt = make_stmt(parse, NULL);
	columns = row_columns(parse->returningList, 1, &names);
	scan = herd_rowwise_plan(parts, select, columns);
	scan->scan.plan.targetlist = output_columns(parse->returningList, columns);
	scan->scan.plan.plan_rows = select->planTree->plan_rows;
	scan->scan.plan.total_cost = select->planTree->total_cost;
	stmt->planTree = &scan->scan.plan;
	stmt->rtable = list_make1(names);
	add_relations(stmt, rels);
	add_inner(stmt, select);
	return stmt;
}

/* NULL: not possible. */
static PlannedStmt *plan_rowwise(Query *parse, const char *source, int options, ParamListInfo bound,
				 Relations *rels)
{
	HerdRowwise parts;

	split_values(parse);
	if (!herd_rowwise(parse, &parts))
		return NULL;
	return plan_parts(parse, &parts, source, options, bound, rels);
}

static PlannedStmt *plan_mergewise(Query *parse, const char *source, int options,
				   ParamListInfo bound, HerdPlanning *planning, Relations *rels)
{
	HerdRowwise parts;

	herd_mergewise(parse, planning, &parts);
	return plan_parts(parse, &parts, source, options, bound, rels);
}

/* original: parse with its WITH, if that writes. */
static PlannedStmt *plan_try(Query *parse, Query *original, const char *source, int options,
			     ParamListInfo bound, Relations *rels)
{
	Query *query = original != NULL ? original : copyObject(parse);
	Oid relid = rt_fetch(parse->resultRelation, parse->rtable)->relid;
	Oid outer = herd_try_shards(relid);
	PlannedStmt *stmt = make_stmt(parse, NULL);
	PlannedStmt *volatile first = NULL;
	RangeTblEntry *names;
	List *columns = row_columns(parse->returningList, 1, &names);
	CustomScan *scan;

	PG_TRY();
	{
		first = plan_inner(copyObject(query), source,
				   options & ~(CURSOR_OPT_SCROLL | CURSOR_OPT_PARALLEL_OK), bound);
	}
	PG_FINALLY();
	{
		herd_try_end(outer);
	}
	PG_END_TRY();
	scan = herd_try_plan(first, query, relid, columns);
	scan->scan.plan.targetlist = output_columns(parse->returningList, columns);
	stmt->planTree = &scan->scan.plan;
	stmt->rtable = list_make1(names);
	add_relations(stmt, rels);
	add_inner(stmt, first);
	return stmt;
}

static bool extern_param_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return ((Param *)node)->paramkind == PARAM_EXTERN;
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, extern_param_walker, context, 0);
	return expression_tree_walker(node, extern_param_walker, context);
}

#if PG_VERSION_NUM >= 180000
/* GROUP BY expressions as they were before 18: in place, not as columns of a relation. */
static bool flatten_groups_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		Query *query = (Query *)node;

		if (query->hasGroupRTE) {
			query->targetList =
				(List *)flatten_group_exprs(NULL, query, (Node *)query->targetList);
			query->havingQual = flatten_group_exprs(NULL, query, query->havingQual);
			query->hasGroupRTE = false;
			Assert(llast_node(RangeTblEntry, query->rtable)->rtekind == RTE_GROUP);
			query->rtable = list_delete_last(query->rtable);
		}
		return query_tree_walker(query, flatten_groups_walker, context, 0);
	}
	return expression_tree_walker(node, flatten_groups_walker, context);
}
#endif

/* New values that are read by another query than the one that writes them. */
static void split_values(Query *parse)
{
	ListCell *lc;
	List *split = NIL;

	if (parse->commandType == CMD_UPDATE && herd_multiexpr_any(parse->targetList)) {
		split = herd_multiexpr_split(parse->targetList);
		if (split != NIL)
			parse->targetList = split;
	}
	foreach (lc, parse->mergeActionList) {
		MergeAction *action = lfirst(lc);

		if (!herd_multiexpr_any(action->targetList))
			continue;
		split = herd_multiexpr_split(action->targetList);
		if (split != NIL)
			action->targetList = split;
	}
}

static PlannedStmt *plan_distributed(Query *parse, const char *source, int options,
				     ParamListInfo bound, HerdPlanning *planning)
{
	Relations rels = { 0 };
	const HerdTable *target;
	Query *original = NULL;
	HerdRemote *remote;
	PlannedStmt *stmt;
	bool parameters = query_tree_walker(parse, extern_param_walker, NULL, 0);

#if PG_VERSION_NUM >= 180000
	flatten_groups_walker((Node *)parse, NULL);
#endif
	herd_spell_row_tests(parse);
	relations_walker((Node *)parse, &rels);
	if (herd_returns_here(parse))
		return plan_returning(parse, source, options, bound, &rels);
	if (needs_steps(parse))
		return plan_steps(parse, copyObject(parse), source, options, bound, &rels);
	if (parse->hasModifyingCTE || (parse->resultRelation != 0 && herd_steps_lock(parse)))
		original = copyObject(parse);
	planning->rights = herd_rights_of(rels.rtes, rels.perms);
	herd_prepare_security(parse);
	target = target_of(parse);
	if (target != NULL && parse->commandType == CMD_MERGE)
		split_values(parse);
	if (target != NULL && parse->commandType == CMD_UPDATE &&
	    herd_changes_key(parse, parse->targetList, target)) {
		Query *insert;

		if (herd_returns_subqueries(parse))
			return plan_returning(parse, source, options, bound, &rels);
		split_values(parse);
		if (original == NULL && herd_rekey_by_row(parse, target)) {
			stmt = plan_rowwise(parse, source, options, bound, &rels);
			if (stmt != NULL)
				return stmt;
		}
		if (herd_volatile((Node *)parse->targetList) || herd_update_calls_session(parse)) {
			remote = herd_update_here(parse, planning);
			if (remote != NULL)
				return plan_remote(parse, remote, &rels, options);
		}
		insert = herd_rekey(parse, target);
		stmt = plan_steps(insert, copyObject(insert), source, options, bound, &rels);
		stmt->commandType = CMD_UPDATE;
		return stmt;
	}
	check_walker((Node *)parse, parse);
	if (herd_query_is_local_read(parse)) {
		herd_rewrite(parse, planning);
		stmt = plan_here(parse, source, options, bound);
		add_relations(stmt, &rels);
		return stmt;
	}
	if (herd_returns_subqueries(parse) &&
	    (herd_rowwise_tried(parse) || herd_rowwise_wanted(parse) ||
	     herd_update_calls_session(parse)))
		return plan_returning(parse, source, options, bound, &rels);
	if (herd_rowwise_tried(parse))
		return plan_try(parse, original, source, options, bound, &rels);
	if (herd_rowwise_wanted(parse)) {
		if (original != NULL)
			return plan_steps(parse, original, source, options, bound, &rels);
		if (parse->commandType == CMD_INSERT)
			return plan_insert(parse, source, options, bound, planning, &rels);
		if (parse->commandType == CMD_MERGE)
			return plan_mergewise(parse, source, options, bound, planning, &rels);
		stmt = plan_rowwise(parse, source, options, bound, &rels);
		if (stmt != NULL)
			return stmt;
	}
	if (target != NULL && herd_update_calls_session(parse)) {
		if (original != NULL)
			return plan_steps(parse, original, source, options, bound, &rels);
		original = copyObject(parse);
		remote = herd_update_here(parse, planning);
		if (remote != NULL)
			return plan_remote(parse, remote, &rels, options);
		stmt = plan_rowwise(original, source, options, bound, &rels);
		if (stmt == NULL)
			refuse_session(target);
		return stmt;
	}
	remote = target != NULL && (parse->commandType == CMD_MERGE || long_values(parse))
			 ? NULL
			 : herd_route(parse, bound, &planning->needs_params);
	if (remote != NULL)
		return plan_remote(parse, remote, &rels, options);
	if (original != NULL)
		return plan_steps(parse, original, source, options, bound, &rels);
	if (target != NULL && parse->commandType == CMD_MERGE && herd_returns_subqueries(parse)) {
		stmt = plan_returning(parse, source, options, bound, &rels);
	} else if (target != NULL && parse->commandType == CMD_MERGE) {
		stmt = plan_merge(parse, source, options, bound, planning, &rels);
	} else if (target != NULL) {
		stmt = plan_write(parse, source, options, bound, planning, &rels, target);
	} else {
		planning->fence = parse->commandType != CMD_SELECT || parse->rowMarks != NIL;
		herd_rewrite(parse, planning);
		stmt = plan_here(parse, source, options, bound);
		add_relations(stmt, &rels);
	}
	if (planning->needs_params && parameters && bound == NULL)
		stmt->planTree->total_cost += GENERIC_PLAN_COST;
	return stmt;
}

/* A HerdRoutePlanner. */
static PlannedStmt *plan_router(Query *query, int options)
{
	Relations rels = { 0 };
	bool needs_params = false;
	HerdRemote *remote;

	relations_walker((Node *)query, &rels);
	check_walker((Node *)query, query);
	if (herd_update_calls_session(query) || herd_rowwise_wanted(query) ||
	    herd_rowwise_tried(query) || herd_returns_here(query))
		return NULL;
	remote = herd_route(query, NULL, &needs_params);
	return remote ? plan_remote(query, remote, &rels, options) : NULL;
}

/* The query of a cursor carries what finds its current row: NULL if it has none of a table. */
static PlannedStmt *plan_cursor(Query *parse, const char *source, int options, ParamListInfo bound)
{
	List *carried = NIL;
	Query *located = herd_cursor_locate(parse, bound, &carried);
	PlannedStmt *stmt;

	if (located == NULL)
		return NULL;
	stmt = herd_planner(located, source, options & ~(CURSOR_OPT_FAST_PLAN | CURSOR_OPT_SCROLL),
			    bound);
	herd_cursor_plan(stmt, parse, carried, options & CURSOR_OPT_SCROLL);
	return stmt;
}

static PlannedStmt *herd_planner(Query *parse, const char *source, int options, ParamListInfo bound)
{
	HerdPlanning planning = { .bound = bound,
				  .up = herd_planning_current,
				  .explain = herd_explain_first() };
	PlannedStmt *stmt = NULL;
	List *depends;

	herd_rights_planning();
	depends = herd_inline_functions(parse, bound);
	if (herd_ddl_shells_only() || herd_query_any_table(parse) == NULL) {
		Query *packed = herd_packed_query(parse);

		if (herd_serial_is_wanted(source))
			options &= ~CURSOR_OPT_PARALLEL_OK;
		herd_hide_shards(parse, source);
		herd_generic_saw(parse, source, bound);
		if (packed != NULL)
			return herd_pack_plan(parse, herd_shardwise_plan(packed, source, options,
									 bound, plan_here));
		stmt = herd_load_plan(parse);
		return stmt != NULL ? stmt
				    : herd_shardwise_plan(parse, source, options, bound, plan_here);
	}
	herd_drop_unused_ctes(parse);
	herd_insert_condition(parse);
	herd_cursor_replace(parse);
	if (options & CURSOR_OPT_FAST_PLAN)
		stmt = plan_cursor(parse, source, options, bound);
	if (stmt != NULL) {
		stmt->invalItems = list_concat(stmt->invalItems, depends);
		return stmt;
	}
	/* its plans know nothing of functions */
	if (depends == NIL)
		stmt = herd_fast_plan(parse, source, options, plan_router);
	if (stmt != NULL)
		return stmt;
	herd_planning_current = &planning;
	PG_TRY();
	{
		stmt = plan_distributed(parse, source, options, bound, &planning);
	}
	PG_FINALLY();
	{
		herd_planning_current = planning.up;
	}
	PG_END_TRY();
	add_moved(stmt, planning.moves);
	/* what its tasks may read: plan/rights.h */
	stmt->dependsOnRole = true;
	stmt->invalItems = list_concat(stmt->invalItems, depends);
	return stmt;
}

void herd_plan_init(void)
{
	next_planner = planner_hook;
	planner_hook = herd_planner;
	herd_remote_init();
	herd_insert_init();
	herd_hold_init();
	herd_cursor_init();
	herd_steps_init();
	herd_rowwise_init();
	herd_try_init();
	herd_load_init();
	herd_result_scan_init();
	herd_pack_init();
	herd_scan_init();
	herd_shardwise_init();
	herd_estimate_init();
	herd_fast_init();
	herd_hide_init();
}
