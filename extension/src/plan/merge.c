#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "move/move.h"
#include "plan/leaves.h"
#include "plan/merge.h"
#include "plan/part.h"
#include "plan/route.h"

#if PG_VERSION_NUM >= 170000
#define is_insert(a) ((a)->matchKind == MERGE_WHEN_NOT_MATCHED_BY_TARGET)
#define is_by_source(a) ((a)->matchKind == MERGE_WHEN_NOT_MATCHED_BY_SOURCE)
#define merge_on(query) ((query)->mergeJoinCondition)
#else
#define is_insert(a) (!(a)->matched)
#define is_by_source(a) false
#define merge_on(query) ((query)->jointree->quals)
#endif

/* Relations of the normal form. */
enum { TARGET = 1, SOURCE = 2 };

typedef struct Merge {
	Query *query;  /* in normal form: MERGE INTO target USING (subquery) ON .. */
	Query *source; /* the subquery */
	HerdLevel level;
	const HerdTable *table;
	HerdTerm key;
	HerdPart part;     /* of the source */
	List *own;         /* facts of the source alone: of rows without a match too */
	List *facts;       /* of pairs that match */
	AttrNumber column; /* of the source: equals the key of the row that it matches; 0: none */
	bool inserts;      /* rows without a match matter */
	bool by_source;    /* target rows without a match do */
	bool away;         /* new rows are inserted from this node */
	HerdPlanning *planning;
	List *moves;
} Merge;

static void refuse(const Merge *m, const char *detail, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("this MERGE into distributed table \"%s\" is not supported",
			       get_rel_name(m->table->relid)),
			errdetail("%s", detail), errhint("%s", hint)));
}

/* -- the normal form --------------------------------------------------------------------------- */

typedef struct NormalContext {
	int target;
	int depth;
	List *columns; /* of TargetEntry: what the statement needs of the source */
} NormalContext;

static int source_column(NormalContext *cxt, const Var *var)
{
	Var *column = copyObject((Var *)var);
	int pos = list_length(cxt->columns) + 1;
	ListCell *lc;

	column->varlevelsup = 0;
	foreach (lc, cxt->columns)
		if (equal(((TargetEntry *)lfirst(lc))->expr, column))
			return foreach_current_index(lc) + 1;
	cxt->columns = lappend(cxt->columns,
			       makeTargetEntry((Expr *)column, pos, psprintf("c%d", pos), false));
	return pos;
}

static Node *normal_mutator(Node *node, void *context)
{
	NormalContext *cxt = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var)) {
		Var *var = copyObject((Var *)node);

		if (var->varlevelsup != (Index)cxt->depth)
			return (Node *)var;
		if ((int)var->varno == cxt->target) {
			var->varno = TARGET;
		} else {
			var->varattno = source_column(cxt, var);
			var->varno = SOURCE;
		}
#if PG_VERSION_NUM >= 160000
		var->varnullingrels = NULL;
#endif
		var->varnosyn = var->varno;
		var->varattnosyn = var->varattno;
		return (Node *)var;
	}
	if (IsA(node, Query)) {
		Query *result;

		cxt->depth++;
		result = query_tree_mutator((Query *)node, normal_mutator, context, 0);
		cxt->depth--;
		return (Node *)result;
	}
	return expression_tree_mutator(node, normal_mutator, context);
}

static Query *source_query(const Query *parse, List *columns)
{
	Query *source = makeNode(Query);
	RangeTblEntry *nothing = makeNode(RangeTblEntry);

	nothing->rtekind = RTE_RESULT;
	nothing->eref = makeAlias("*RESULT*", NIL);
	source->commandType = CMD_SELECT;
	source->canSetTag = true;
	source->rtable = copyObject(parse->rtable);
	lfirst(list_nth_cell(source->rtable, parse->resultRelation - 1)) = nothing;
#if PG_VERSION_NUM >= 160000
	source->rteperminfos = copyObject(parse->rteperminfos);
#endif
	source->jointree = makeFromExpr(copyObject(parse->jointree->fromlist), NULL);
	source->cteList = copyObject(parse->cteList);
	source->hasModifyingCTE = parse->hasModifyingCTE;
	source->hasSubLinks = parse->hasSubLinks;
	if (columns == NIL)
		columns = list_make1(
			makeTargetEntry((Expr *)makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
							  Int32GetDatum(1), false, true),
					1, "c1", false));
	source->targetList = columns;
	return source;
}

static RangeTblEntry *subquery_rte(Query *source)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	ListCell *lc;

	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = source;
	rte->eref = makeAlias("source", NIL);
	rte->alias = makeAlias("source", NIL);
	rte->inFromCl = true;
	foreach (lc, source->targetList)
		if (!((TargetEntry *)lfirst(lc))->resjunk)
			rte->eref->colnames =
				lappend(rte->eref->colnames,
					makeString(pstrdup(((TargetEntry *)lfirst(lc))->resname)));
	return rte;
}

static Node *values_mutator(Node *node, void *context)
{
	List *row = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *)node)->varlevelsup == 0)
		return copyObject(list_nth(row, ((Var *)node)->varattno - 1));
	return expression_tree_mutator(node, values_mutator, context);
}

/* A source of one row of VALUES is a SELECT of constants, as far as anything can be known of it. */
static void inline_values(Query *query)
{
	RangeTblRef *ref = query->jointree && list_length(query->jointree->fromlist) == 1
				   ? linitial(query->jointree->fromlist)
				   : NULL;
	RangeTblEntry *rte;

	if (ref == NULL || !IsA(ref, RangeTblRef) || query->setOperations != NULL)
		return;
	rte = rt_fetch(ref->rtindex, query->rtable);
	if (rte->rtekind == RTE_SUBQUERY)
		inline_values(rte->subquery);
	if (rte->rtekind != RTE_VALUES || list_length(rte->values_lists) != 1 ||
	    query->hasSubLinks || query->jointree->quals != NULL ||
	    contain_volatile_functions((Node *)rte->values_lists) || query->sortClause != NIL ||
	    query->groupClause != NIL || query->hasAggs || query->hasWindowFuncs)
		return;
	query->targetList =
		(List *)values_mutator((Node *)query->targetList, linitial(rte->values_lists));
	query->jointree->fromlist = NIL;
	query->rtable = NIL;
}

static Merge normal_form(const Query *parse, HerdPlanning *planning)
{
	NormalContext cxt = { .target = parse->resultRelation };
	RangeTblEntry *target = copyObject(rt_fetch(parse->resultRelation, parse->rtable));
	Merge m = { .planning = planning, .table = herd_table_get(target->relid) };
	Query *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Node *on = normal_mutator((Node *)merge_on(parse), &cxt);

	query->commandType = CMD_MERGE;
	query->canSetTag = true;
	query->mergeActionList = (List *)normal_mutator((Node *)parse->mergeActionList, &cxt);
	query->returningList = (List *)normal_mutator((Node *)parse->returningList, &cxt);
	query->resultRelation = TARGET;
	query->hasSubLinks = parse->hasSubLinks;
	m.source = source_query(parse, cxt.columns);
	herd_inline_ctes(m.source);
	inline_values(m.source);
	target->inFromCl = false;
	query->rtable = list_make2(target, subquery_rte(m.source));
#if PG_VERSION_NUM >= 160000
	query->rteperminfos = copyObject(parse->rteperminfos);
#endif
	ref->rtindex = SOURCE;
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	merge_on(query) = on;
#if PG_VERSION_NUM >= 170000
	query->mergeTargetRelation = TARGET;
	if (parse->mergeTargetRelation != parse->resultRelation)
		refuse(&m, "Its target is a view.", "Name the table below the view.");
#endif
	m.query = query;
	m.level.query = query;
	m.key = (HerdTerm){ .query = query, .varno = TARGET, .attno = m.table->keyattno };
	return m;
}

/* -- what is known ----------------------------------------------------------------------------- */

static void look_at_actions(Merge *m)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		m->inserts = m->inserts || (is_insert(action) && action->commandType == CMD_INSERT);
		m->by_source = m->by_source || is_by_source(action);
	}
}

static void look_at_source(Merge *m)
{
	HerdLevel inner = { .query = m->source, .up = NULL };

	m->own = m->facts = NIL;
	herd_facts_of_from(&m->level, linitial(m->query->jointree->fromlist), &m->own);
	m->facts = list_copy(m->own);
	herd_facts_of_quals(&m->level, merge_on(m->query), &m->facts);
	m->part = herd_part_query(&inner, NIL);
}

/* Without casts between integers, which keep the value or fail. */
static Node *strip_integer_cast(Node *expr)
{
	while (IsA(expr, FuncExpr) && list_length(((FuncExpr *)expr)->args) == 1) {
		switch (((FuncExpr *)expr)->funcid) {
		case F_INT4_INT8:
		case F_INT2_INT8:
		case F_INT2_INT4:
		case F_INT8_INT4:
		case F_INT8_INT2:
		case F_INT4_INT2:
			expr = linitial(((FuncExpr *)expr)->args);
			break;
		default:
			return expr;
		}
	}
	return expr;
}

static Expr *value_of(const List *tlist, AttrNumber attno)
{
	ListCell *lc;

	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk && tle->resno == attno)
			return tle->expr;
	}
	return NULL;
}

static bool is_column(const Merge *m, List *facts, Node *expr, HerdTerm column)
{
	HerdTerm term;

	return expr != NULL && herd_term_of(&m->level, strip_integer_cast(expr), &term) &&
	       term.expr == NULL && herd_fact_connected(facts, term, column, m->table);
}

/* Does every new row belong to the shard that the column of its source row says? */
static bool inserts_stay(const Merge *m, AttrNumber column)
{
	HerdTerm term = { .query = m->query, .varno = SOURCE, .attno = column };
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		if (!is_insert(action) || action->commandType != CMD_INSERT)
			continue;
		if (contain_volatile_functions((Node *)action->targetList) ||
		    !is_column(m, m->own, (Node *)value_of(action->targetList, m->table->keyattno),
			       term))
			return false;
	}
	return true;
}

static Oid source_type(const Merge *m, AttrNumber column)
{
	return exprType((Node *)get_tle_by_resno(m->source->targetList, column)->expr);
}

/* The column of the source by which it is, or can be, cut along the shards of the target. */
static void choose_column(Merge *m)
{
	for (AttrNumber i = 1; i <= list_length(m->source->targetList); i++) {
		HerdTerm term = { .query = m->query, .varno = SOURCE, .attno = i };
		bool stays;

		if (!herd_fact_connected(m->facts, m->key, term, m->table) ||
		    !OidIsValid(herd_key_hash_proc(m->table, source_type(m, i))))
			continue;
		stays = inserts_stay(m, i);
		if (m->column == 0 || stays)
			m->column = i;
		if (stays)
			return;
	}
}

/* Values of the key that rows are updated to must be those that they have. */
static void check_updates(const Merge *m)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		Node *value = (Node *)value_of(action->targetList, m->table->keyattno);

		if (action->commandType != CMD_UPDATE || value == NULL ||
		    is_column(m, is_by_source(action) ? m->own : m->facts, value, m->key))
			continue;
		ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the distribution column \"%s\" of table \"%s\" cannot be updated "
				"by MERGE",
				get_attname(m->table->relid, m->table->keyattno, false),
				get_rel_name(m->table->relid)),
			 errhint("Use UPDATE, or delete the row and insert it with its new "
				 "value.")));
	}
}

/* -- one shard --------------------------------------------------------------------------------- */

static bool add_constant_key(HerdRemote *remote, const Merge *m, List *facts, HerdTerm key)
{
	HerdFact *fact = herd_fact_constant(facts, key, m->table, false);

	if (fact != NULL)
		herd_remote_add_key(remote, m->table, fact, false);
	return fact != NULL;
}

/* The key of a new row is a constant, or a column that is one. */
static bool add_insert_key(HerdRemote *remote, const Merge *m, const MergeAction *action)
{
	Node *value = (Node *)value_of(action->targetList, m->table->keyattno);
	HerdTerm term;
	HerdFact fact = { 0 };

	if (value == NULL || !herd_term_of(&m->level, strip_integer_cast(value), &term))
		return false;
	if (term.expr == NULL)
		return add_constant_key(remote, m, m->own, term);
	fact.right = term;
	fact.type = exprType(term.expr);
	if (!OidIsValid(herd_key_hash_proc(m->table, fact.type)))
		return false;
	herd_remote_add_key(remote, m->table, &fact, false);
	return true;
}

static bool sublinks_are_reference(const Merge *m)
{
	HerdPart nothing = { .kind = HERD_PART_RECURRING };

	return herd_part_bad_sublinks(&m->level, &nothing, m->own, NULL) == NIL;
}

static bool beside(const HerdTable *a, const HerdTable *b)
{
	return a->relid == b->relid ||
	       (a->kind == b->kind &&
		(a->kind == HERD_TABLE_LOCAL ||
		 (a->colocationid != 0 && a->colocationid == b->colocationid)));
}

/* Everything that the source reads is on the node of the one shard. */
static bool source_meets(HerdRemote *remote, const Merge *m)
{
	HerdLevel level = { .query = m->source };
	HerdLeaves leaves = { 0 };
	ListCell *lc;

	herd_leaves_of_query(&level, NIL, &leaves);
	if (leaves.plain || m->source->hasModifyingCTE)
		return false;
	foreach (lc, leaves.leaves) {
		HerdLeaf *leaf = lfirst(lc);
		HerdFact *fact;

		if (leaf->table->kind == HERD_TABLE_REFERENCE)
			continue;
		if (!beside(leaf->table, m->table))
			return false;
		if (leaf->table->kind != HERD_TABLE_HASH)
			continue;
		fact = herd_fact_constant(leaf->facts, leaf->key, leaf->table, false);
		if (fact == NULL)
			return false;
		herd_remote_add_key(remote, m->table, fact, false);
	}
	return true;
}

static bool has_volatile(const Merge *m)
{
	return contain_volatile_functions((Node *)m->query);
}

static bool meets_in_shard(HerdRemote *remote, const Merge *m)
{
	ListCell *lc;

	if (m->table->kind != HERD_TABLE_HASH) {
		remote->shards = HERD_SHARDS_FIRST;
		return source_meets(remote, m);
	}
	remote->shards = HERD_SHARDS_KEY;
	if (m->by_source || !add_constant_key(remote, m, m->facts, m->key) ||
	    !source_meets(remote, m))
		return false;
	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		if (is_insert(action) && action->commandType == CMD_INSERT &&
		    !add_insert_key(remote, m, action))
			return false;
	}
	return true;
}

static bool volatile_inserts(const Merge *m)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		if (is_insert(action) && contain_volatile_functions((Node *)action->targetList))
			return true;
	}
	return false;
}

/* -- the text for the shards ------------------------------------------------------------------- */

static Oid internal_function(const char *name, int nargs, const Oid *types)
{
	return LookupFuncName(list_make2(makeString("citus_internal"), makeString(pstrdup(name))),
			      nargs, types, false);
}

static bool key_is_not_null(const HerdTable *table)
{
	Relation rel = table_open(table->relid, NoLock);
	bool result = TupleDescAttr(RelationGetDescr(rel), table->keyattno - 1)->attnotnull;

	table_close(rel, NoLock);
	return result;
}

/* No shard would mind a null in the distribution column. */
static void require_keys(const Merge *m)
{
	Oid types[2] = { ANYELEMENTOID, TEXTOID };
	ListCell *lc;

	if (m->table->kind != HERD_TABLE_HASH || key_is_not_null(m->table))
		return;
	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		TargetEntry *tle;
		Const *name;

		if (!is_insert(action) || action->commandType != CMD_INSERT)
			continue;
		tle = get_tle_by_resno(action->targetList, m->table->keyattno);
		if (tle == NULL)
			continue;
		name = makeConst(TEXTOID, -1, InvalidOid, -1,
				 CStringGetTextDatum(get_rel_name(m->table->relid)), false, false);
		tle->expr = (Expr *)makeFuncExpr(
			internal_function("require_key", 2, types), exprType((Node *)tle->expr),
			list_make2(tle->expr, name), exprCollation((Node *)tle->expr), InvalidOid,
			COERCE_EXPLICIT_CALL);
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

/* Fills in what does not depend on which shards they are; the keys are there already. */
static HerdRemote *finish(HerdRemote *remote, Merge *m)
{
	List *keys = remote->evals;
	List *evals = NIL;
	int shift;
	ListCell *lc;

	require_keys(m);
	remote->command = CMD_MERGE;
	remote->anchor = m->table->relid;
	remote->writes = list_make1_oid(m->table->relid);
	remote->in_txn = herd_query_may_write(m->query);
	herd_evals_extract(m->query, &evals);
	remote->ntext = shift = list_length(evals);
	/* those of the text come first */
	remote->evals = list_concat(evals, keys);
	foreach (lc, remote->keys)
		lfirst_int(lc) += shift;
	remote->volatile_evals = contain_volatile_functions((Node *)remote->evals);
	remote->reusable = has_extern_param_walker((Node *)remote->evals, NULL);
	remote->tmpl = herd_deparse(m->query);
	herd_moves_attach(remote, m->moves);
	return remote;
}

static HerdRemote *to_one_shard(Merge *m)
{
	HerdRemote *remote = palloc0(sizeof(HerdRemote));

	if (volatile_inserts(m) || !sublinks_are_reference(m))
		return NULL;
	if (m->table->kind == HERD_TABLE_REFERENCE) {
		/* every replica must come to the same rows */
		if (m->part.kind != HERD_PART_RECURRING || has_volatile(m))
			return NULL;
		remote->shards = HERD_SHARDS_REPLICAS;
		return finish(remote, m);
	}
	if (!meets_in_shard(remote, m))
		return NULL;
	remote->anchor = m->table->relid;
	if (remote->shards == HERD_SHARDS_KEY &&
	    !herd_remote_keys_meet(remote, m->planning->bound, &m->planning->needs_params))
		return NULL;
	return finish(remote, m);
}

/* -- the source beside the target -------------------------------------------------------------- */

static bool colocated(const HerdTable *a, const HerdTable *b)
{
	return a->relid == b->relid || (a->colocationid != 0 && a->colocationid == b->colocationid);
}

/* An output of the source that is the key of its shards, and of the target rows it matches. */
static bool lies_beside(Merge *m)
{
	ListCell *lc;

	if (m->part.kind != HERD_PART_SHARDED || m->table->kind != HERD_TABLE_HASH ||
	    !colocated(m->part.table, m->table))
		return false;
	foreach (lc, m->part.outputs) {
		HerdTerm term = { .query = m->query, .varno = SOURCE, .attno = lfirst_int(lc) };

		if (herd_fact_connected(m->facts, m->key, term, m->table)) {
			if (m->inserts && !m->away && !inserts_stay(m, lfirst_int(lc)))
				m->away = true;
			m->column = lfirst_int(lc);
			return true;
		}
	}
	return false;
}

/* Each shard takes the rows that would match in it, of those that all have. */
static void filter_by_shard(Merge *m)
{
	Oid types[3] = { REGCLASSOID, ANYOID, INT4OID };
	TargetEntry *tle = get_tle_by_resno(m->source->targetList, m->column);
	Query *outer = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Node *expr = (Node *)tle->expr;
	List *args;
	ListCell *lc;

	args = list_make3(
		makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid),
			  ObjectIdGetDatum(m->table->relid), false, true),
		makeVar(1, m->column, exprType(expr), exprTypmod(expr), exprCollation(expr), 0),
		makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(HERD_MOVE_SHARD),
			  false, true));
	ref->rtindex = 1;
	outer->commandType = CMD_SELECT;
	outer->canSetTag = true;
	outer->rtable = list_make1(subquery_rte(m->source));
	outer->jointree = makeFromExpr(
		list_make1(ref),
		(Node *)makeFuncExpr(internal_function(HERD_IN_SHARD, 3, types), BOOLOID, args,
				     InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
	foreach (lc, m->source->targetList) {
		Node *column = (Node *)((TargetEntry *)lfirst(lc))->expr;
		int pos = foreach_current_index(lc) + 1;
		Var *var = makeVar(1, pos, exprType(column), exprTypmod(column),
				   exprCollation(column), 0);

		outer->targetList =
			lappend(outer->targetList,
				makeTargetEntry((Expr *)var, pos, psprintf("c%d", pos), false));
	}
	rt_fetch(SOURCE, m->query->rtable)->subquery = outer;
}

static void move_source(Merge *m, AttrNumber column)
{
	RangeTblEntry *rte = rt_fetch(SOURCE, m->query->rtable);
	HerdMove *move;

	if (!herd_columns_can_travel(m->source->targetList, false))
		refuse(m, "Its source has columns that cannot be sent to other nodes.",
		       "Name the columns of the source instead of its rows.");
	move = herd_move_subquery(m->planning, m->table, m->source, column,
				  column ? herd_key_hash_proc(m->table, source_type(m, column))
					 : InvalidOid);
	rte->subquery = herd_select_moved(move, m->source);
	m->moves = lappend(m->moves, move);
}

/* Subqueries that shards cannot answer by themselves are answered before. */
static void move_sublinks(Merge *m)
{
	HerdPart part = { .kind = HERD_PART_RECURRING };
	HerdTerm term = { .query = m->query, .varno = SOURCE, .attno = m->column };
	List *bad;
	ListCell *lc;

	if (m->table->kind == HERD_TABLE_HASH) {
		part.kind = HERD_PART_SHARDED;
		part.table = m->table;
		part.terms = list_make1(&m->key);
		if (m->column > 0)
			part.terms = lappend(part.terms, &term);
	}
	bad = herd_part_bad_sublinks(&m->level, &part, m->own, NULL);
	foreach (lc, bad) {
		SubLink *sublink = ((HerdSublink *)lfirst(lc))->sublink;
		Query *sub = castNode(Query, sublink->subselect);
		HerdMove *move;

		if (!herd_stands_alone(sub))
			refuse(m,
			       "It has a subquery that is not joined on the distribution column.",
			       "Put what the subquery gives into the source.");
		move = herd_move_subquery(m->planning, m->table, sub, 0, InvalidOid);
		sublink->subselect = (Node *)herd_select_moved(move, sub);
		m->moves = lappend(m->moves, move);
	}
}

static void drop_inserts(Query *query)
{
	List *kept = NIL;
	ListCell *lc;

	foreach (lc, query->mergeActionList)
		if (!is_insert((MergeAction *)lfirst(lc)))
			kept = lappend(kept, lfirst(lc));
	query->mergeActionList = kept;
}

static bool does_something(const Query *query)
{
	ListCell *lc;

	foreach (lc, query->mergeActionList)
		if (((MergeAction *)lfirst(lc))->commandType != CMD_NOTHING)
			return true;
	return false;
}

/* One shard is enough if nothing can happen in another. */
static void choose_shards(HerdRemote *remote, const Merge *m)
{
	bool inserts = m->inserts && !m->away;
	HerdTerm term = { .query = m->query, .varno = SOURCE, .attno = m->column };

	remote->shards = HERD_SHARDS_ALL;
	remote->tier = 1;
	if (m->table->kind != HERD_TABLE_HASH || m->by_source || (inserts && m->column == 0))
		return;
	if (inserts ? add_constant_key(remote, m, m->own, term)
		    : add_constant_key(remote, m, m->facts, m->key))
		remote->shards = HERD_SHARDS_KEY;
}

static HerdRemote *to_all_shards(Merge *m)
{
	HerdRemote *remote = palloc0(sizeof(HerdRemote));
	bool beside_it = lies_beside(m);

	if (m->away)
		drop_inserts(m->query);
	if (!does_something(m->query))
		return NULL;
	if (contain_volatile_functions((Node *)merge_on(m->query)) ||
	    (m->table->kind == HERD_TABLE_REFERENCE &&
	     contain_volatile_functions((Node *)m->query->mergeActionList)))
		refuse(m, "It has a volatile function.",
		       "Compute its values in the source of the MERGE.");
	choose_shards(remote, m);
	move_sublinks(m);
	if (m->table->kind != HERD_TABLE_HASH) {
		remote->shards = m->table->kind == HERD_TABLE_REFERENCE ? HERD_SHARDS_REPLICAS
									: HERD_SHARDS_FIRST;
		move_source(m, 0);
	} else if (beside_it) {
		/* it is where it belongs */
	} else if (m->part.kind == HERD_PART_RECURRING &&
		   !contain_volatile_functions((Node *)m->source)) {
		if (m->inserts && !m->away)
			filter_by_shard(m);
	} else {
		move_source(m, m->column);
	}
	return finish(remote, m);
}

/* -- new rows of this node --------------------------------------------------------------------- */

/* Vars of the source belong to the query around that of the target. */
static Node *outward_mutator(Node *node, void *context)
{
	int *depth = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var)) {
		Var *var = copyObject((Var *)node);

		if (var->varlevelsup == (Index)*depth && var->varno == SOURCE) {
			var->varno = var->varnosyn = 1;
			var->varlevelsup++;
		}
		return (Node *)var;
	}
	if (IsA(node, Query)) {
		Query *result;

		(*depth)++;
		result = query_tree_mutator((Query *)node, outward_mutator, context, 0);
		(*depth)--;
		return (Node *)result;
	}
	return expression_tree_mutator(node, outward_mutator, context);
}

/* NOT EXISTS (SELECT FROM target WHERE on) */
static Expr *without_match(const Merge *m, Node *on)
{
	Query *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	RangeTblEntry *target = copyObject(rt_fetch(TARGET, m->query->rtable));
	SubLink *exists = makeNode(SubLink);
	int depth = 0;

	ref->rtindex = 1;
	target->inFromCl = true;
#if PG_VERSION_NUM >= 160000
	target->perminfoindex = 0; /* checked on the statement's own relations */
#else
	target->requiredPerms = 0;
#endif
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(target);
	query->jointree = makeFromExpr(list_make1(ref), outward_mutator(on, &depth));
	query->hasSubLinks = m->query->hasSubLinks;
	query->targetList =
		list_make1(makeTargetEntry((Expr *)makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
							     Int32GetDatum(1), false, true),
					   1, "c1", false));
	exists->subLinkType = EXISTS_SUBLINK;
	exists->subselect = (Node *)query;
	exists->location = -1;
	return make_notclause((Expr *)exists);
}

static Node *as_first_relation(Node *node)
{
	ListCell *lc;

	node = copyObject(node);
	foreach (lc, pull_vars_of_level(node, 0)) {
		Var *var = lfirst(lc);

		Assert(var->varno == SOURCE);
		var->varno = var->varnosyn = 1;
	}
	return node;
}

static Node *condition_of(const MergeAction *action)
{
	if (action->qual == NULL)
		return makeBoolConst(true, false);
	if (IsA(action->qual, List))
		return (Node *)make_ands_explicit((List *)action->qual);
	return action->qual;
}

/* CASE WHEN condition of the first action THEN its value .. END; attno 0: whether it inserts. */
static Expr *by_action(const Merge *m, AttrNumber attno, Oid type, int32 typmod, Oid collation)
{
	CaseExpr *expr = makeNode(CaseExpr);
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		CaseWhen *when = makeNode(CaseWhen);
		Expr *value = value_of(action->targetList, attno);

		if (!is_insert(action))
			continue;
		if (attno == 0)
			value = (Expr *)makeBoolConst(action->commandType == CMD_INSERT, false);
		else if (value == NULL)
			value = (Expr *)makeNullConst(type, typmod, collation);
		when->expr = (Expr *)condition_of(action);
		when->result = value;
		when->location = -1;
		if (action->qual == NULL && expr->args == NIL)
			return (Expr *)as_first_relation((Node *)value);
		expr->args = lappend(expr->args, when);
	}
	expr->casetype = type;
	expr->casecollid = collation;
	expr->defresult = (Expr *)makeNullConst(type, typmod, collation);
	expr->location = -1;
	return (Expr *)as_first_relation((Node *)expr);
}

static bool given_by_any(const Merge *m, AttrNumber attno)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList)
		if (is_insert((MergeAction *)lfirst(lc)) &&
		    value_of(((MergeAction *)lfirst(lc))->targetList, attno) != NULL)
			return true;
	return false;
}

static bool volatile_conditions(const Merge *m)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList)
		if (is_insert((MergeAction *)lfirst(lc)) &&
		    contain_volatile_functions(((MergeAction *)lfirst(lc))->qual))
			return true;
	return contain_volatile_functions((Node *)merge_on(m->query));
}

/* SELECT the new rows FROM source WHERE NOT EXISTS (..) AND an action inserts them. */
static void rows_to_insert(const Merge *m, HerdMerge *result)
{
	Query *select = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Relation rel = table_open(m->table->relid, NoLock);
	Expr *inserts = by_action(m, 0, BOOLOID, -1, InvalidOid);

	ref->rtindex = 1;
	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->hasSubLinks = true;
	select->rtable = list_make1(subquery_rte(copyObject(m->source)));
	select->jointree = makeFromExpr(list_make1(ref),
					(Node *)make_ands_explicit(list_make2(
						without_match(m, merge_on(m->query)), inserts)));
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		int pos = list_length(result->attnums) + 1;

		if (att->attisdropped || att->attgenerated || !given_by_any(m, att->attnum))
			continue;
		result->attnums = lappend_int(result->attnums, att->attnum);
		select->targetList =
			lappend(select->targetList,
				makeTargetEntry(by_action(m, att->attnum, att->atttypid,
							  att->atttypmod, att->attcollation),
						pos, pstrdup(NameStr(att->attname)), false));
	}
	table_close(rel, NoLock);
	result->select = select;
}

static Query *insert_query(const Query *parse)
{
	Query *insert = makeNode(Query);
	RangeTblEntry *target = copyObject(rt_fetch(parse->resultRelation, parse->rtable));

	target->inFromCl = false;
	insert->commandType = CMD_INSERT;
	insert->canSetTag = true;
	insert->resultRelation = 1;
	insert->rtable = list_make1(target);
#if PG_VERSION_NUM >= 160000
	insert->rteperminfos = copyObject(parse->rteperminfos);
#endif
	return insert;
}

HerdMerge herd_merge(const Query *parse, HerdPlanning *planning)
{
	HerdMerge result = { 0 };
	Merge m = normal_form(parse, planning);

	look_at_actions(&m);
	look_at_source(&m);
	if (m.table->kind == HERD_TABLE_HASH) {
		check_updates(&m);
		choose_column(&m);
	}
	result.remote = to_one_shard(&m);
	if (result.remote != NULL)
		return result;
	if (m.table->kind == HERD_TABLE_HASH)
		m.away = m.inserts && (m.column == 0 || !inserts_stay(&m, m.column));
	else
		m.away = m.inserts && volatile_inserts(&m);
	(void)lies_beside(&m); /* may find that rows are away */
	if (m.away) {
		if (parse->returningList != NIL)
			refuse(&m,
			       "Its new rows belong to other shards than the rows of its source.",
			       "Leave out RETURNING.");
		if (volatile_conditions(&m) || m.source->hasModifyingCTE ||
		    contain_volatile_functions((Node *)m.source))
			refuse(&m,
			       "Its new rows belong to other shards than the rows of its source, "
			       "which come from a volatile function or a writing WITH query.",
			       "Put the rows of the source into a table before.");
		rows_to_insert(&m, &result);
		result.insert = insert_query(parse);
	}
	result.remote = to_all_shards(&m);
	return result;
}
