#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "conn/options.h"
#include "guc.h"
#include "plan/bring.h"
#include "plan/decorrelate.h"
#include "plan/leaves.h"
#include "plan/order.h"
#include "plan/part.h"
#include "plan/rewrite.h"
#include "plan/route.h"
#include "plan/security.h"
#include "plan/sysattrs.h"
#include "stats/stats.h"

static Oid rows_function(void)
{
	Oid argtypes[1] = { INT4OID };
	List *name = list_make2(makeString("citus_internal"), makeString("remote_rows"));

	return LookupFuncName(name, 1, argtypes, false);
}

RangeTblEntry *herd_rows_rte(HerdPlanning *planning, HerdRows *rows, List *tlist)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblFunction *func = makeNode(RangeTblFunction);
	List *names = NIL;
	Const *number;
	ListCell *lc;

	planning->rows = lappend(planning->rows, rows);
	number = makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
			   Int32GetDatum(list_length(planning->rows) - 1), false, true);
	func->funcexpr = (Node *)makeFuncExpr(rows_function(), RECORDOID, list_make1(number),
					      InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	((FuncExpr *)func->funcexpr)->funcretset = true;
	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		Node *expr = (Node *)tle->expr;
		char *name = tle->resname ? tle->resname : psprintf("c%d", tle->resno);

		names = lappend(names, makeString(pstrdup(name)));
		func->funccolnames = lappend(func->funccolnames, makeString(pstrdup(name)));
		func->funccoltypes = lappend_oid(func->funccoltypes, exprType(expr));
		func->funccoltypmods = lappend_int(func->funccoltypmods, exprTypmod(expr));
		func->funccolcollations = lappend_oid(func->funccolcollations, exprCollation(expr));
		func->funccolcount++;
	}
	rte->rtekind = RTE_FUNCTION;
	rte->functions = list_make1(func);
	rte->eref = makeAlias("remote_rows", names);
	rte->inFromCl = true;
	return rte;
}

HerdRows *herd_rows_of_rte(RangeTblEntry *rte)
{
	RangeTblFunction *func;
	FuncExpr *expr;

	if (herd_planning_current == NULL || rte->rtekind != RTE_FUNCTION ||
	    list_length(rte->functions) != 1)
		return NULL;
	func = linitial(rte->functions);
	expr = (FuncExpr *)func->funcexpr;
	if (!IsA(expr, FuncExpr) || expr->funcresulttype != RECORDOID ||
	    expr->funcid != rows_function())
		return NULL;
	return list_nth(herd_planning_current->rows,
			DatumGetInt32(linitial_node(Const, expr->args)->constvalue));
}

/* OFFSET 0 keeps PostgreSQL from pulling the query up. */
void herd_fence(Query *query, HerdPlanning *planning)
{
	if (planning->fence && query->limitOffset == NULL)
		query->limitOffset = (Node *)makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
						       Int64GetDatum(0), false, FLOAT8PASSBYVAL);
}

/* SELECT of all columns of the rows; those of a table that are dropped are not asked for. */
static Query *select_rows(RangeTblEntry *rte, List *tlist)
{
	Query *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell *lc;
	AttrNumber attno = 0;

	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		Expr *expr = tle->expr;

		attno++;
		if (!IsA(expr, Const) || !castNode(Const, expr)->constisnull)
			expr = (Expr *)makeVar(1, attno, exprType((Node *)expr),
					       exprTypmod((Node *)expr),
					       exprCollation((Node *)expr), 0);
		query->targetList = lappend(query->targetList,
					    makeTargetEntry(expr, attno, tle->resname, false));
	}
	return query;
}

static List *visible_columns(List *tlist)
{
	List *result = NIL;
	ListCell *lc;

	foreach (lc, tlist)
		if (!((TargetEntry *)lfirst(lc))->resjunk)
			result = lappend(result, lfirst(lc));
	return result;
}

List *herd_columns_of_table(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	TupleDesc desc = RelationGetDescr(rel);
	List *tlist = NIL;

	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Expr *expr;

		if (att->attisdropped)
			expr = (Expr *)makeNullConst(INT4OID, -1, InvalidOid);
		else
			expr = (Expr *)makeVar(1, i + 1, att->atttypid, att->atttypmod,
					       att->attcollation, 0);
		tlist = lappend(
			tlist, makeTargetEntry(expr, i + 1, pstrdup(NameStr(att->attname)), false));
	}
	table_close(rel, NoLock);
	return tlist;
}

void herd_name_dropped(Alias *names)
{
	ListCell *lc;

	foreach (lc, names->colnames)
		if (strVal(lfirst(lc))[0] == '\0')
			lfirst(lc) =
				makeString(psprintf("dropped_%d", foreach_current_index(lc) + 1));
}

/* System columns of the relation that the query reads become columns behind the others. */
static List *add_system_columns(Query *query, int varno, List *tlist, List **attnos)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	int natts = list_length(tlist);
	ListCell *lc;

	*attnos = herd_system_columns(query, varno);
	herd_system_columns_behind(query, varno, *attnos, natts + 1);
	foreach (lc, *attnos) {
		const char *name;
		Oid type = herd_system_column_type(lfirst_int(lc), &name);
		int resno = list_length(tlist) + 1;

		tlist = lappend(tlist,
				makeTargetEntry((Expr *)makeVar(1, resno, type, -1, InvalidOid, 0),
						resno, pstrdup(name), false));
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(name)));
	}
	return tlist;
}

static bool param_walker(Node *node, void *context)
{
	return node != NULL && (IsA(node, Param) || IsA(node, Var) ||
				expression_tree_walker(node, param_walker, context));
}

/*
 * A whole row as a column of the subquery: the planner would take it for the row that it keeps to
 * evaluate conditions again, which is a record; and system columns for columns of the row.
 */
static void add_whole_row(Query *query, int varno, Query *sub, int natts)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	int attno = list_length(sub->targetList) + 1;
	Oid type = herd_whole_row_behind(query, varno, attno);
	RowExpr *row = makeNode(RowExpr);
	ListCell *lc;

	if (!OidIsValid(type))
		return;
	foreach (lc, sub->targetList)
		if (foreach_current_index(lc) < natts)
			row->args =
				lappend(row->args, copyObject(lfirst_node(TargetEntry, lc)->expr));
	row->row_typeid = type;
	row->row_format = COERCE_IMPLICIT_CAST;
	row->location = -1;
	sub->targetList = lappend(sub->targetList,
				  makeTargetEntry((Expr *)row, attno, pstrdup("whole"), false));
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("whole")));
}

/*
 * What TABLESAMPLE computes from parameters and columns of items around: arguments of the function
 * in FROM, so that PostgreSQL sees to their values. plan/scan.c puts them back.
 */
static void take_sample(RangeTblEntry *rte, RangeTblEntry *rows)
{
	FuncExpr *func = (FuncExpr *)linitial_node(RangeTblFunction, rows->functions)->funcexpr;
	List *args;

	if (rte->tablesample == NULL || !param_walker((Node *)rte->tablesample, NULL))
		return;
	args = copyObject(rte->tablesample->args);
	if (rte->tablesample->repeatable != NULL)
		args = lappend(args, copyObject(rte->tablesample->repeatable));
	IncrementVarSublevelsUp((Node *)args, 1, 0);
	func->args = list_concat(func->args, args);
	rte->lateral = true;
}

RowMarkClause *herd_take_lock(Query *query, int varno)
{
	RowMarkClause *lock = NULL;
	ListCell *lc;

	foreach (lc, query->rowMarks)
		if (((RowMarkClause *)lfirst(lc))->rti == (Index)varno)
			lock = lfirst(lc);
	if (lock == NULL)
		return NULL;
	query->rowMarks = list_delete_ptr(query->rowMarks, lock);
	query->hasForUpdate = query->rowMarks != NIL;
	return lock;
}

void herd_become_subquery(RangeTblEntry *rte, Query *sub, bool barrier)
{
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = sub;
	rte->security_barrier = barrier;
	rte->tablesample = NULL;
	rte->relid = InvalidOid;
	rte->relkind = 0;
	rte->rellockmode = 0;
	rte->inh = false;
#if PG_VERSION_NUM >= 160000
	rte->perminfoindex = 0;
#else
	rte->requiredPerms = 0;
	rte->checkAsUser = InvalidOid;
	rte->selectedCols = rte->insertedCols = rte->updatedCols = NULL;
#endif
}

/* The relation in FROM becomes a subquery over its rows, or over the replica that is here. */
static void rewrite_relation(Query *query, int varno, HerdPlanning *planning)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	const HerdTable *table = herd_table_get(rte->relid);
	HerdRows *rows;
	RangeTblEntry *function;
	List *tlist;
	Query *sub;

	rows = palloc0(sizeof(HerdRows));
	rows->rte = copyObject(rte);
	rows->lock = herd_take_lock(query, varno);
	rows->nrows = Max(herd_estimate_table_rows(table), 1);
	tlist = add_system_columns(query, varno, herd_columns_of_table(rte->relid), &rows->system);
	function = herd_rows_rte(planning, rows, tlist);
	take_sample(rte, function);
	sub = select_rows(function, tlist);
	if (planning->fence || rows->system != NIL)
		add_whole_row(query, varno, sub, list_length(tlist) - list_length(rows->system));
	/* rows of the function itself cannot be marked for EvalPlanQual, those of a subquery can */
	herd_become_subquery(rte, sub, planning->fence);
}

typedef struct InlineContext {
	const char *name;
	int depth;
	Query *sub;
	bool done;
} InlineContext;

/* What PostgreSQL does with a CTE that is read once, done early. */
static bool inline_walker(Node *node, void *context)
{
	InlineContext *cxt = context;

	if (node == NULL || cxt->done)
		return false;
	if (IsA(node, RangeTblEntry)) {
		RangeTblEntry *rte = (RangeTblEntry *)node;

		if (rte->rtekind == RTE_CTE && rte->ctelevelsup == (Index)cxt->depth &&
		    strcmp(rte->ctename, cxt->name) == 0) {
			if (cxt->depth > 0)
				IncrementVarSublevelsUp((Node *)cxt->sub, cxt->depth, 1);
			rte->rtekind = RTE_SUBQUERY;
			rte->subquery = cxt->sub;
			/* WITH name (column, ..) may name them otherwise than the query does */
			rte->alias = copyObject(rte->eref);
			rte->security_barrier = false;
			rte->ctename = NULL;
			rte->ctelevelsup = 0;
			rte->self_reference = false;
			rte->coltypes = rte->coltypmods = rte->colcollations = NIL;
			cxt->done = true;
		}
		return false;
	}
	if (IsA(node, Query)) {
		cxt->depth++;
		query_tree_walker((Query *)node, inline_walker, context, QTW_EXAMINE_RTES_AFTER);
		cxt->depth--;
		return false;
	}
	return expression_tree_walker(node, inline_walker, context);
}

void herd_inline_ctes(Query *query)
{
	List *kept = NIL;
	ListCell *lc;

	foreach (lc, query->cteList) {
		CommonTableExpr *cte = lfirst(lc);
		Query *sub = castNode(Query, cte->ctequery);
		InlineContext cxt = { .name = cte->ctename, .sub = sub };

		if (cte->cterefcount == 1 && !cte->cterecursive &&
		    cte->ctematerialized != CTEMaterializeAlways &&
		    sub->commandType == CMD_SELECT && sub->rowMarks == NIL &&
		    !contain_volatile_functions((Node *)sub)) {
			query_tree_walker(query, inline_walker, &cxt, QTW_EXAMINE_RTES_AFTER);
			if (cxt.done)
				continue;
		}
		kept = lappend(kept, cte);
	}
	query->cteList = kept;
}

static bool drop_unused_walker(Node *node, void *context)
{
	List *kept = NIL;
	ListCell *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, drop_unused_walker, context);
	foreach (lc, ((Query *)node)->cteList) {
		CommonTableExpr *cte = lfirst(lc);

		if (cte->cterefcount > 0 ||
		    castNode(Query, cte->ctequery)->commandType != CMD_SELECT)
			kept = lappend(kept, cte);
	}
	((Query *)node)->cteList = kept;
	return query_tree_walker((Query *)node, drop_unused_walker, context, 0);
}

void herd_drop_unused_ctes(Query *query)
{
	(void)drop_unused_walker((Node *)query, NULL);
}

static void replace_by_rows(Query *query, HerdRemote *remote, HerdPlanning *planning)
{
	HerdRows *rows = palloc0(sizeof(HerdRows));
	List *tlist = visible_columns(query->targetList);
	Query *sub;

	rows->nrows = herd_estimate(query, planning->bound).rows;
	rows->remote = remote;
	sub = select_rows(herd_rows_rte(planning, rows, tlist), tlist);
	sub->queryId = query->queryId;
	sub->stmt_location = query->stmt_location;
	sub->stmt_len = query->stmt_len;
	*query = *sub;
	herd_fence(query, planning);
}

void herd_insert_condition(Query *insert)
{
	Query *select;
	RangeTblEntry *rte;
	RangeTblRef *ref;
	List *names = NIL;
	ListCell *lc;

	if (insert->commandType != CMD_INSERT || insert->jointree->fromlist != NIL ||
	    insert->jointree->quals == NULL)
		return;
	select = makeNode(Query);
	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->jointree = makeFromExpr(NIL, insert->jointree->quals);
	select->hasSubLinks = insert->hasSubLinks;
	foreach (lc, insert->targetList) {
		TargetEntry *tle = flatCopyTargetEntry(lfirst(lc));
		Node *expr = (Node *)tle->expr;

		tle->resno = list_length(names) + 1;
		names = lappend(names, makeString(psprintf("c%d", tle->resno)));
		tle->resname = pstrdup(strVal(llast(names)));
		select->targetList = lappend(select->targetList, tle);
		((TargetEntry *)lfirst(lc))->expr =
			(Expr *)makeVar(list_length(insert->rtable) + 1, tle->resno, exprType(expr),
					exprTypmod(expr), exprCollation(expr), 0);
	}
	/* tables in WITH are one level further away */
	IncrementVarSublevelsUp((Node *)select, 1, 1);
	rte = makeNode(RangeTblEntry);
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = select;
	rte->alias = makeAlias("source", NIL);
	rte->eref = makeAlias("source", names);
	rte->inFromCl = true;
	insert->rtable = lappend(insert->rtable, rte);
	ref = makeNode(RangeTblRef);
	ref->rtindex = list_length(insert->rtable);
	insert->jointree = makeFromExpr(list_make1(ref), NULL);
}

List *herd_insert_to_select(Query *insert)
{
	List *attnums = NIL;
	ListCell *lc;

	insert->commandType = CMD_SELECT;
	insert->resultRelation = 0;
	insert->onConflict = NULL;
	insert->returningList = NIL;
	foreach (lc, insert->targetList) {
		TargetEntry *tle = lfirst(lc);

		if (tle->resjunk)
			continue;
		attnums = lappend_int(attnums, tle->resno);
		tle->resno = list_length(attnums);
	}
	return attnums;
}

Query *herd_select_from(const Query *query, int varno)
{
	Query *select = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	RangeTblEntry *rte = copyObject(rt_fetch(varno, query->rtable));

	ref->rtindex = 1;
	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->rtable = list_make1(rte);
	select->jointree = makeFromExpr(list_make1(ref), NULL);
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex != 0) {
		select->rteperminfos =
			list_make1(copyObject(getRTEPermissionInfo(query->rteperminfos, rte)));
		rte->perminfoindex = 1;
	}
#endif
	return select;
}

/* A reference table (or one of the coordinator, there) is read where the statement runs. */
/* Do columns of the one have the same numbers in the other? */
static bool same_columns(Oid one, Oid other)
{
	Relation rel = table_open(one, NoLock), shard = table_open(other, AccessShareLock);
	TupleDesc a = RelationGetDescr(rel), b = RelationGetDescr(shard);
	bool same = a->natts == b->natts;

	for (int i = 0; i < a->natts && same; i++)
		same = TupleDescAttr(a, i)->attisdropped == TupleDescAttr(b, i)->attisdropped &&
		       (TupleDescAttr(a, i)->attisdropped ||
			strcmp(NameStr(TupleDescAttr(a, i)->attname),
			       NameStr(TupleDescAttr(b, i)->attname)) == 0);
	table_close(shard, NoLock);
	table_close(rel, NoLock);
	return same;
}

/* The copy on this node, locked, of a table that has all its rows in each: InvalidOid for none. */
static Oid replica_of(const HerdTable *table)
{
	Oid relid = InvalidOid;

	if (!herd_enable_local_execution || table->nshards == 0 ||
	    (table->kind != HERD_TABLE_REFERENCE && table->kind != HERD_TABLE_LOCAL))
		return InvalidOid;
	for (int i = 0; i < table->shards[0].ngroups; i++)
		if (table->shards[0].groups[i] == herd_local_group())
			relid = get_relname_relid(herd_shard_name(get_rel_name(table->relid),
								  table->shards[0].shardid),
						  get_rel_namespace(table->relid));
	return OidIsValid(relid) && same_columns(table->relid, relid) ? relid : InvalidOid;
}

static bool read_here(Query *query, int varno, const HerdTable *table)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	Oid relid = replica_of(table);

	if (!OidIsValid(relid))
		return false;
	LockRelationOid(relid, rte->rellockmode);
	herd_name_replica(query, varno, rte->relid);
	rte = rt_fetch(varno, query->rtable);
	rte->relid = relid;
	herd_drop_permissions(query, rte); /* checked on the shell relation */
	return true;
}

static bool only_local_reads(Query *query)
{
	HerdLevel level = { .query = query };
	HerdLeaves leaves = { 0 };
	ListCell *lc;

	if (!herd_enable_local_execution)
		return false;
	herd_leaves_of_query(&level, NIL, &leaves);
	foreach (lc, leaves.leaves) {
		HerdLeaf *leaf = lfirst(lc);

		if (!OidIsValid(replica_of(leaf->table)) ||
		    (leaf->table->shards[0].ngroups > 1 &&
		     herd_assignment_policy != HERD_ASSIGN_GREEDY))
			return false;
	}
	return true;
}

static bool rewrite_whole(Query *query, HerdPlanning *planning)
{
	HerdRemote *remote;

	if (query->commandType != CMD_SELECT || query->hasModifyingCTE ||
	    herd_query_is_correlated(query) || only_local_reads(query))
		return false;
	remote = herd_route(query, planning->bound, &planning->needs_params);
	if (remote != NULL) {
		replace_by_rows(query, remote, planning);
		return true;
	}
	herd_inline_ctes(query);
	if (herd_keep_order(query))
		return false;
	if (herd_rewrite_regrouped(query, planning) || herd_rewrite_tier1(query, planning))
		return true;
	if (herd_join_scalars(query) && herd_rewrite_tier1(query, planning))
		return true;
	return herd_rewrite_moved(query, planning);
}

static void rewrite_items(Query *query, Node *jtnode, HerdPlanning *planning)
{
	ListCell *lc;

	if (jtnode == NULL)
		return;
	if (IsA(jtnode, RangeTblRef)) {
		int varno = ((RangeTblRef *)jtnode)->rtindex;
		RangeTblEntry *rte = rt_fetch(varno, query->rtable);

		if (rte->rtekind == RTE_SUBQUERY) {
			herd_rewrite(rte->subquery, planning);
		} else if (rte->rtekind == RTE_RELATION && varno != query->resultRelation) {
			const HerdTable *table = herd_table_get(rte->relid);

			if (table != NULL &&
			    (query->rowMarks != NIL || !read_here(query, varno, table)))
				rewrite_relation(query, varno, planning);
		}
	} else if (IsA(jtnode, FromExpr)) {
		foreach (lc, ((FromExpr *)jtnode)->fromlist)
			rewrite_items(query, lfirst(lc), planning);
	} else if (IsA(jtnode, JoinExpr)) {
		rewrite_items(query, ((JoinExpr *)jtnode)->larg, planning);
		rewrite_items(query, ((JoinExpr *)jtnode)->rarg, planning);
	} else if (IsA(jtnode, SetOperationStmt)) {
		rewrite_items(query, ((SetOperationStmt *)jtnode)->larg, planning);
		rewrite_items(query, ((SetOperationStmt *)jtnode)->rarg, planning);
	}
}

void herd_rewrite(Query *query, HerdPlanning *planning)
{
	bool fence = planning->fence;
	ListCell *lc;

	if (herd_query_any_table(query) == NULL)
		return;
	if (!rewrite_whole(query, planning)) {
		/* rows beside those that are locked here are kept, to be joined with newer ones */
		planning->fence = fence || query->rowMarks != NIL;
		if (!only_local_reads(query))
			planning->tier = 2;
		herd_inline_ctes(query);
		foreach (lc, query->cteList) {
			CommonTableExpr *cte = lfirst(lc);

			/* those that write have become steps */
			herd_rewrite(castNode(Query, cte->ctequery), planning);
		}
		herd_reduce_exists(query);
		rewrite_items(query, (Node *)query->jointree, planning);
		rewrite_items(query, query->setOperations, planning);
	}
	foreach (lc, herd_sublinks_of_query(query))
		herd_rewrite(castNode(Query, ((HerdSublink *)lfirst(lc))->sublink->subselect),
			     planning);
	planning->fence = fence;
}

static bool locks_or_writes_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		Query *query = (Query *)node;

		if (query->commandType != CMD_SELECT || query->rowMarks != NIL)
			return true;
		return query_tree_walker(query, locks_or_writes_walker, context, 0);
	}
	return expression_tree_walker(node, locks_or_writes_walker, context);
}

bool herd_query_is_local_read(Query *query)
{
	return only_local_reads(query) && !locks_or_writes_walker((Node *)query, NULL);
}
