#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "guc.h"
#include "move/move.h"
#include "plan/leaves.h"
#include "plan/part.h"
#include "plan/rewrite.h"
#include "plan/route.h"
#include "stats/stats.h"

/* Counts that could overflow when added are not pushed down. */
#define LIMIT_MAX (PG_INT64_MAX / 4)

typedef struct Tier1 {
	HerdLevel level;
	List *facts;
	HerdPart part;
} Tier1;

/* The shards: those of the key's constants, if there are any. */
static void choose_shards(HerdRemote *remote, const Tier1 *t1)
{
	ListCell *lc;

	remote->anchor = t1->part.table->relid;
	remote->shards = HERD_SHARDS_ALL;
	for (int array = 0; array < 2; array++) {
		foreach (lc, t1->part.solid) {
			HerdFact *fact = herd_fact_constant(t1->facts, *(HerdTerm *)lfirst(lc),
							    t1->part.table, array);

			if (fact == NULL)
				continue;
			herd_remote_add_key(remote, t1->part.table, fact, false);
			remote->shards = array ? HERD_SHARDS_IN : HERD_SHARDS_KEY;
			return;
		}
	}
}

static bool has_extern_param_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return true;
	return expression_tree_walker(node, has_extern_param_walker, context);
}

typedef struct UniteContext {
	int sharded;      /* relations */
	int apart;        /* of them in subqueries that are not joined as if they were tables */
	int depth;        /* of such subqueries */
	double reference; /* rows of reference tables */
	bool inside;      /* a query */
	bool failed;
} UniteContext;

/* Of reference tables: each task of a node would read them again. */
#define MANY_REFERENCE_ROWS 20000

/* A subquery that only joins and selects. */
static bool is_simple(const Query *query)
{
	return !query->hasAggs && !query->hasWindowFuncs && !query->hasTargetSRFs &&
	       query->groupClause == NIL && query->groupingSets == NIL &&
	       query->havingQual == NULL && query->distinctClause == NIL &&
	       query->sortClause == NIL && query->limitCount == NULL &&
	       query->limitOffset == NULL && query->setOperations == NULL && query->cteList == NIL;
}

static bool unite_walker(Node *node, void *context)
{
	UniteContext *cxt = context;

	if (node == NULL || cxt->failed)
		return false;
	if (IsA(node, Var))
		cxt->failed = ((Var *)node)->varattno <= 0;
	if (IsA(node, RangeTblEntry)) {
		RangeTblEntry *rte = (RangeTblEntry *)node;
		const HerdTable *table =
			rte->rtekind == RTE_RELATION ? herd_table_get(rte->relid) : NULL;
		int number;

		if (table != NULL && table->kind == HERD_TABLE_HASH) {
			cxt->sharded++;
			cxt->apart += cxt->depth > 0;
			/* ONLY cannot be said of a union, which needs all columns */
			cxt->failed =
				cxt->failed || !rte->inh || !herd_rights_on_all_columns(rte->relid);
		}
		if (table != NULL && table->kind == HERD_TABLE_REFERENCE)
			cxt->reference += herd_estimate_table_rows(table);
		if (rte->tablesample != NULL ||
		    (herd_move_of_rte(rte, &number) && herd_planning_move(number)->key > 0))
			cxt->failed = true;
		return false;
	}
	if (IsA(node, Query)) {
		bool apart = cxt->inside && !is_simple((Query *)node);

		/* a union has no primary key that columns could depend on */
		if (((Query *)node)->rowMarks != NIL || ((Query *)node)->constraintDeps != NIL)
			cxt->failed = true;
		cxt->inside = true;
		cxt->depth += apart;
		query_tree_walker((Query *)node, unite_walker, context, QTW_EXAMINE_RTES_BEFORE);
		cxt->depth -= apart;
		return false;
	}
	cxt->depth += IsA(node, SubLink);
	expression_tree_walker(node, unite_walker, context);
	cxt->depth -= IsA(node, SubLink);
	return false;
}

/*
 * One task for several shards starts, plans and reads reference tables once, and groups what they
 * have in common. Its node joins shard with shard (plan/shardwise.h), but not with a subquery that
 * must be computed first.
 */
static void unite(HerdRemote *remote, Query *worker)
{
	UniteContext cxt = { 0 };

	if (worker->commandType != CMD_SELECT || herd_tasks_per_node < 0 || remote->in_txn)
		return;
	unite_walker((Node *)worker, &cxt);
	remote->unites = !cxt.failed && (cxt.sharded == 1 || cxt.apart == 0);
	remote->unites_all = remote->unites && cxt.reference >= MANY_REFERENCE_ROWS;
}

/* worker: a copy that may be changed. */
static HerdRemote *make_remote(Query *worker, const Tier1 *t1)
{
	HerdRemote *remote = palloc0(sizeof(HerdRemote));

	remote->tier = 1;
	remote->command = worker->commandType;
	remote->in_txn = worker->rowMarks != NIL || herd_query_may_write(worker);
	unite(remote, worker);
	herd_evals_extract(worker, &remote->evals);
	remote->ntext = list_length(remote->evals);
	choose_shards(remote, t1);
	remote->volatile_evals = contain_volatile_functions((Node *)remote->evals);
	remote->reusable = has_extern_param_walker((Node *)remote->evals, NULL);
	remote->tmpl = herd_deparse(worker);
	return remote;
}

/* LIMIT for each shard: the rows that are skipped here must come too. */
static Node *worker_limit(Query *query)
{
	Node *limit = query->limitCount;
	Node *offset = query->limitOffset;
	int64 total;

	if (limit == NULL || contain_volatile_functions(limit) || !herd_expr_is_constant(limit))
		return NULL;
	if (offset == NULL)
		return copyObject(limit);
	if (query->limitOption == LIMIT_OPTION_WITH_TIES || !IsA(limit, Const) ||
	    !IsA(offset, Const) || ((Const *)limit)->constisnull || ((Const *)offset)->constisnull)
		return NULL;
	if (DatumGetInt64(((Const *)limit)->constvalue) > LIMIT_MAX ||
	    DatumGetInt64(((Const *)offset)->constvalue) > LIMIT_MAX)
		return NULL;
	total = DatumGetInt64(((Const *)limit)->constvalue) +
		DatumGetInt64(((Const *)offset)->constvalue);
	return (Node *)makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(total),
				 false, FLOAT8PASSBYVAL);
}

/* What the planner would say of the worker's query over all rows of the tables. */
static HerdEstimate estimate_worker(const Query *worker, const HerdPlanning *planning)
{
	Query whole = *worker;

	whole.limitCount = NULL;
	whole.limitOffset = NULL;
	whole.limitOption = LIMIT_OPTION_COUNT;
	whole.rowMarks = NIL;
	/* results of moves are not there yet: the tables that they are of are */
	if (planning->original != NULL) {
		whole.rtable = planning->original->rtable;
		whole.jointree = planning->original->jointree;
#if PG_VERSION_NUM >= 160000
		whole.rteperminfos = planning->original->rteperminfos;
#endif
	}
	return herd_estimate(&whole, planning->bound);
}

/* The number of values of each column, for the planner of what is done with them here. */
static void set_columns(HerdRows *rows, const Query *worker, const Query *named,
			const HerdEstimate *e)
{
	ListCell *lc;

	rows->ncolumns = list_length(worker->targetList);
	rows->columns = palloc0(Max(rows->ncolumns, 1) * sizeof(HerdRowsColumn));
	foreach (lc, worker->targetList) {
		TargetEntry *tle = lfirst(lc);
		HerdRowsColumn *column = &rows->columns[foreach_current_index(lc)];
		ListCell *ref;

		if (IsA(tle->expr, Var) && ((Var *)tle->expr)->varlevelsup == 0) {
			Var *var = (Var *)tle->expr;
			RangeTblEntry *rte = rt_fetch(var->varno, named->rtable);

			if (rte->rtekind == RTE_RELATION && var->varattno > 0) {
				column->relid = rte->relid;
				column->attno = var->varattno;
			}
		}
		foreach (ref, e->sort_refs)
			if (tle->ressortgroupref == (Index)lfirst_int(ref))
				column->distinct = e->distinct[foreach_current_index(ref)];
	}
}

/* parts: shards give states of groups, which several of them may have. */
static void estimate_rows(HerdRows *rows, const Query *worker, const Tier1 *t1, bool parts,
			  const HerdPlanning *planning)
{
	HerdEstimate e = estimate_worker(worker, planning);
	int nshards = t1->part.table->nshards;

	rows->nrows = e.rows;
	if (e.input > 0 && parts)
		rows->nrows = worker->groupClause == NIL
				      ? nshards
				      : nshards * herd_estimate_share(e.groups, e.input, nshards);
	if (worker->limitCount != NULL && IsA(worker->limitCount, Const) &&
	    !((Const *)worker->limitCount)->constisnull)
		rows->nrows = Min(rows->nrows,
				  (double)DatumGetInt64(((Const *)worker->limitCount)->constvalue) *
					  nshards);
	rows->nrows = Max(rows->nrows, 1);
	set_columns(rows, worker, planning->original ? planning->original : worker, &e);
}

/* Makes query read the rows of worker instead of its own FROM. */
static void read_rows(Query *query, Query *worker, const Tier1 *t1, bool parts,
		      HerdPlanning *planning)
{
	HerdRows *rows = palloc0(sizeof(HerdRows));
	RangeTblRef *ref = makeNode(RangeTblRef);
	List *tlist = copyObject(worker->targetList);

	estimate_rows(rows, worker, t1, parts, planning);
	rows->remote = make_remote(worker, t1);
	ref->rtindex = 1;
	query->rtable = list_make1(herd_rows_rte(planning, rows, tlist));
#if PG_VERSION_NUM >= 160000
	query->rteperminfos = NIL;
#endif
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	query->setOperations = NULL;
	query->rowMarks = NIL;
	query->hasForUpdate = false;
	herd_fence(query, planning);
	if (planning->tier < 1)
		planning->tier = 1;
}

/* Shards answer all but ORDER BY, LIMIT and DISTINCT, which are repeated over their rows. */
static void combine_whole(Query *query, const Tier1 *t1, HerdPlanning *planning)
{
	Query *worker = copyObject(query);
	List *tlist = NIL;
	ListCell *lc;

	worker->limitCount = worker_limit(query);
	worker->limitOffset = NULL;
	if (worker->limitCount == NULL) {
		worker->limitOption = LIMIT_OPTION_COUNT;
		if (!worker->hasDistinctOn)
			worker->sortClause = NIL;
	}
	foreach (lc, worker->targetList) {
		TargetEntry *tle = lfirst(lc);

		tle->resjunk = false;
		if (tle->resname == NULL)
			tle->resname = psprintf("c%d", tle->resno);
	}
	foreach (lc, query->targetList) {
		TargetEntry *tle = flatCopyTargetEntry(lfirst(lc));
		Node *expr = (Node *)tle->expr;

		tle->expr = (Expr *)makeVar(1, tle->resno, exprType(expr), exprTypmod(expr),
					    exprCollation(expr), 0);
		tlist = lappend(tlist, tle);
	}
	query->targetList = tlist;
	query->groupClause = NIL;
	query->groupingSets = NIL;
	query->havingQual = NULL;
	query->windowClause = NIL;
	query->hasAggs = query->hasWindowFuncs = query->hasTargetSRFs = query->hasSubLinks = false;
	read_rows(query, worker, t1, false, planning);
}

Query *herd_select_columns(const Query *query, List *tlist)
{
	Query *worker = copyObject((Query *)query);

	worker->targetList = tlist;
	worker->groupClause = worker->sortClause = worker->distinctClause = NIL;
	worker->groupingSets = worker->windowClause = NIL;
	worker->havingQual = worker->limitCount = worker->limitOffset = NULL;
	worker->hasAggs = worker->hasWindowFuncs = worker->hasTargetSRFs = false;
	worker->hasDistinctOn = false;
	worker->limitOption = LIMIT_OPTION_COUNT;
	return worker;
}

static bool is_key_callback(Node *expr, void *context)
{
	Tier1 *t1 = context;

	return herd_part_is_key(&t1->level, &t1->part, t1->facts, expr);
}

static bool combine_split(Query *query, Tier1 *t1, HerdPlanning *planning)
{
	HerdSplit split = { 0 };
	Query *worker;

	if (!herd_split_aggregates(query, &split, is_key_callback, t1))
		return false;
	worker = herd_select_columns(query, split.worker);
	worker->groupClause = split.groups;
	worker->hasAggs = query->hasAggs;
	query->targetList = split.targetlist;
	query->havingQual = split.having;
	/* HAVING or GROUP BY alone group too; aggregates stay aggregates */
	read_rows(query, worker, t1, true, planning);
	return true;
}

typedef struct PullContext {
	List **columns;
	int depth;
	bool failed;
} PullContext;

static Node *pull_mutator(Node *node, void *context)
{
	PullContext *cxt = context;

	if (node == NULL)
		return NULL;
	if (cxt->depth == 0 && *cxt->columns != NIL && !IsA(node, List) &&
	    equal(linitial_node(TargetEntry, *cxt->columns)->expr, node))
		return (Node *)makeVar(1, 1, exprType(node), exprTypmod(node), exprCollation(node),
				       0);
	if (IsA(node, Var)) {
		Var *var = (Var *)node;
		Var *column;
		ListCell *lc;
		int resno = 0;

		if (var->varlevelsup != (Index)cxt->depth)
			return copyObject(node);
		if (var->varattno <= 0 || var->vartype == RECORDOID ||
		    get_typtype(var->vartype) == TYPTYPE_PSEUDO) {
			cxt->failed = true;
			return copyObject(node);
		}
		column = copyObject(var);
		column->varlevelsup = 0;
		foreach (lc, *cxt->columns) {
			resno++;
			if (equal(((TargetEntry *)lfirst(lc))->expr, column))
				return (Node *)makeVar(1, resno, var->vartype, var->vartypmod,
						       var->varcollid, cxt->depth);
		}
		resno++;
		*cxt->columns =
			lappend(*cxt->columns, makeTargetEntry((Expr *)column, resno,
							       psprintf("c%d", resno), false));
		return (Node *)makeVar(1, resno, var->vartype, var->vartypmod, var->varcollid,
				       cxt->depth);
	}
	if (IsA(node, Query)) {
		Query *result;

		cxt->depth++;
		result = query_tree_mutator((Query *)node, pull_mutator, context, 0);
		cxt->depth--;
		return (Node *)result;
	}
	return expression_tree_mutator(node, pull_mutator, context);
}

bool herd_pull_columns(Query *query, List **columns)
{
	PullContext cxt = { .columns = columns };
	List *tlist = (List *)pull_mutator((Node *)query->targetList, &cxt);
	Node *having = pull_mutator(query->havingQual, &cxt);
	List *windows = (List *)pull_mutator((Node *)query->windowClause, &cxt);

	if (cxt.failed)
		return false;
	query->targetList = tlist;
	query->havingQual = having;
	query->windowClause = windows;
	return true;
}

/* Shards send the columns of the rows that pass WHERE; all else is done with them here. */
static bool combine_columns(Query *query, const Tier1 *t1, HerdPlanning *planning)
{
	List *columns = NIL;
	Query *original = copyObject(query);

	if (!herd_pull_columns(query, &columns))
		return false;
	if (columns == NIL)
		columns = list_make1(
			makeTargetEntry((Expr *)makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
							  Int32GetDatum(1), false, true),
					1, "c1", false));
	read_rows(query, herd_select_columns(original, columns), t1, false, planning);
	return true;
}

/* Sublinks of the target list and HAVING may stay here, those of FROM and WHERE may not. */
static bool sublinks_below_ok(Query *query, const Tier1 *t1)
{
	return herd_part_sublinks_ok(&t1->level, &t1->part, t1->facts, (Node *)query->jointree);
}

static bool windows_keyed(Query *query, const Tier1 *t1)
{
	ListCell *lc;

	foreach (lc, query->windowClause)
		if (!herd_part_has_key(&t1->level, &t1->part, t1->facts,
				       ((WindowClause *)lfirst(lc))->partitionClause))
			return false;
	return true;
}

static bool rewrite_setop(Query *query, Tier1 *t1, HerdPlanning *planning)
{
	Query *flat = palloc(sizeof(Query));
	HerdLevel level = { .query = flat };

	*flat = *query;
	flat->limitCount = flat->limitOffset = NULL;
	t1->part = herd_part_query(&level, NIL);
	if (t1->part.kind != HERD_PART_SHARDED || !herd_columns_can_travel(query->targetList, true))
		return false;
	t1->part.solid = NIL;
	/* names of output columns are all that ORDER BY may use */
	combine_whole(query, t1, planning);
	return true;
}

/* Each shard locks its rows. A replica of a reference table is one of several: not there. */
static bool locks_are_of_shards(const Query *query)
{
	ListCell *lc;

	foreach (lc, query->rowMarks) {
		RowMarkClause *mark = lfirst(lc);
		RangeTblEntry *rte = rt_fetch(mark->rti, query->rtable);
		const HerdTable *table =
			rte->rtekind == RTE_RELATION ? herd_table_get(rte->relid) : NULL;

		if (table == NULL || table->kind != HERD_TABLE_HASH)
			return false;
	}
	return true;
}

bool herd_rewrite_tier1(Query *query, HerdPlanning *planning)
{
	Tier1 t1 = { .level = { .query = query } };
	bool grouped = query->hasAggs || query->groupClause != NIL || query->havingQual != NULL ||
		       query->groupingSets != NIL;
	bool volatile_above;
	ListCell *lc;

	if (query->commandType != CMD_SELECT || query->cteList != NIL ||
	    !locks_are_of_shards(query))
		return false;
	if (query->setOperations != NULL)
		return rewrite_setop(query, &t1, planning);
	t1.facts = herd_facts_of_query(&t1.level, NIL);
	t1.part = herd_part_from(&t1.level, (Node *)query->jointree, t1.facts);
	if (t1.part.kind != HERD_PART_SHARDED || herd_volatile((Node *)query->jointree) ||
	    !sublinks_below_ok(query, &t1))
		return false;
	foreach (lc, query->rtable) {
		RangeTblEntry *rte = lfirst(lc);

		if (contain_subplans((Node *)rte->functions) ||
		    contain_subplans((Node *)rte->values_lists))
			return false;
	}
	volatile_above =
		herd_volatile((Node *)query->targetList) || herd_volatile(query->havingQual);
	if (!volatile_above && herd_columns_can_travel(query->targetList, true) &&
	    (!grouped || (query->groupingSets == NIL &&
			  herd_part_has_key(&t1.level, &t1.part, t1.facts, query->groupClause))) &&
	    windows_keyed(query, &t1) &&
	    herd_part_sublinks_ok(&t1.level, &t1.part, t1.facts, NULL)) {
		combine_whole(query, &t1, planning);
		return true;
	}
	if (grouped && combine_split(query, &t1, planning))
		return true;
	return combine_columns(query, &t1, planning);
}

HerdRemote *herd_tier1_read(Query *subquery)
{
	Query *worker = copyObject(subquery);
	Tier1 t1 = { .level = { .query = worker } };

	if (worker->commandType != CMD_SELECT || worker->limitCount != NULL ||
	    worker->limitOffset != NULL || herd_volatile((Node *)worker) ||
	    herd_query_is_correlated(worker) || !herd_columns_can_travel(worker->targetList, true))
		return NULL;
	t1.part = herd_part_query(&t1.level, NIL);
	if (t1.part.kind != HERD_PART_SHARDED)
		return NULL;
	t1.part.solid = NIL;
	return make_remote(worker, &t1);
}

HerdRemote *herd_tier1_write(Query *original, ParamListInfo bound, const char **why)
{
	Query *query = copyObject(original);
	Tier1 t1 = { .level = { .query = query } };
	RangeTblEntry *rte = rt_fetch(query->resultRelation, query->rtable);
	const HerdTable *table = herd_table_get(rte->relid);
	HerdTerm key = { .query = query, .varno = query->resultRelation, .attno = table->keyattno };
	HerdRemote *remote;
	bool tied = false;
	ListCell *lc;

	*why = "rows to be computed on this node";
	if (table->kind != HERD_TABLE_HASH || query->cteList != NIL || query->rowMarks != NIL ||
	    !herd_columns_can_travel(query->returningList, false))
		return NULL;
	t1.facts = herd_facts_of_query(&t1.level, NIL);
	t1.part = herd_part_from(&t1.level, (Node *)query->jointree, t1.facts);
	if (t1.part.kind == HERD_PART_NONE)
		*why = t1.part.why;
	if (t1.part.kind != HERD_PART_SHARDED)
		return NULL;
	if (table->relid != t1.part.table->relid &&
	    (table->colocationid == 0 || table->colocationid != t1.part.table->colocationid)) {
		*why = "tables that are not co-located";
		return NULL;
	}
	foreach (lc, t1.part.solid)
		tied = tied || herd_fact_connected(t1.facts, key, *(HerdTerm *)lfirst(lc), table);
	if (!tied) {
		*why = "a source that is not joined on the distribution column";
		return NULL;
	}
	if (!herd_part_sublinks_ok(&t1.level, &t1.part, t1.facts, NULL)) {
		*why = "a subquery that is not joined on the distribution column";
		return NULL;
	}
	/* defaults like nextval are computed on this node */
	if (query->commandType == CMD_INSERT && herd_volatile((Node *)query))
		return NULL;
	remote = make_remote(query, &t1);
	remote->anchor = table->relid;
	remote->writes = list_make1_oid(table->relid);
	return remote;
}
