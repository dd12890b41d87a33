/*
 * plan/merge_here.c - a MERGE whose rows are computed on this node.
 *
 * The source is read once and joined with the target here (or by shards, as any SELECT is): for
 * each pair the action is chosen and its values are computed. The rows go to the shards that they
 * belong to, and one MERGE for each shard finds the target's rows by ctid. A row that is updated to
 * another value of the distribution column goes to two shards: one deletes it, one inserts it.
 *
 * Nothing is locked while the rows are computed. Before the shards write, they lock the target's
 * rows; if one has been changed by somebody else since, the rows are computed again, as a statement
 * that had begun later would have. At REPEATABLE READ that is an error, as always there.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "compat.h"
#include "move/move.h"
#include "plan/bring.h"
#include "plan/merge_parts.h"
#include "plan/multiexpr.h"
#include "plan/rights.h"
#include "plan/route.h"

/* An action's number plus this: the row comes from another shard. */
enum { ARRIVES = 1000 };

typedef struct Map Map;

typedef struct Here {
	const HerdMergeParts *m;
	List *atts;       /* of int: columns of the target, without dropped ones */
	Bitmapset *given; /* those that some action gives values to */
	bool partitioned;
	bool by_row; /* this node checks what shards do not: plan/mergewise.h */
	bool rekeys; /* an action changes the distribution column */
	bool inserts;
	int tid; /* column of the pairs, as are table and source: the first one of it */
	int table;
	int source;
	int here; /* column of the source that is never null; 0: not needed */
	Query *pairs, *values, *rows;
	List *value_of; /* of int: columns of values for given, in the order of atts */
	List *sent;     /* the same in rows */
	List *of_lists; /* for each action, of TargetEntry: values for add_lists */
	int action;     /* in add_list */
	Map *map;
	int returned; /* where the source's columns begin in rows; 0: not there */
} Here;

/* -- expressions of the normal form over other relations --------------------------------------- */

struct Map {
	const Here *h;
	int depth;
	int target_rel, source_rel; /* where columns of the two are now */
	int target_base, source_base;
	Relids target_null, source_null;
};

static Const *int_const(int value)
{
	return makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(value), false, true);
}

static Var *mapped(const Map *map, int pos, Oid type, int32 typmod, Oid collation)
{
	Var *var = makeVar(map->target_rel, map->target_base + pos, type, typmod, collation,
			   map->depth);

#if PG_VERSION_NUM >= 160000
	var->varnullingrels = map->target_null;
#endif
	return var;
}

/* What stands for dropped columns is not looked at, but for IS NOT NULL. */
static Node *whole_row(const Map *map, Oid type)
{
	Relation rel = table_open(map->h->m->table->relid, NoLock);
	RowExpr *row = makeNode(RowExpr);
	int pos = 0;

	row->row_typeid = type;
	row->row_format = COERCE_IMPLICIT_CAST;
	row->location = -1;
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		Node *column = att->attisdropped
				       ? (Node *)int_const(0)
				       : (Node *)mapped(map, ++pos, att->atttypid, att->atttypmod,
							att->attcollation);

		row->args = lappend(row->args, column);
		row->colnames = lappend(row->colnames, makeString(pstrdup(NameStr(att->attname))));
	}
	table_close(rel, NoLock);
	return (Node *)row;
}

/* Of the target: the source has only columns of its own. */
static Node *system_column(const Map *map, const Var *var)
{
	const Here *h = map->h;
	int tid = list_length(h->atts) + 1;

	if (var->varattno == 0)
		return whole_row(map, var->vartype);
	if (var->varattno == SelfItemPointerAttributeNumber)
		return (Node *)mapped(map, tid, TIDOID, -1, InvalidOid);
	if (var->varattno == TableOidAttributeNumber && h->partitioned)
		return (Node *)makeRelabelType(
			(Expr *)mapped(map, tid + 1, REGCLASSOID, -1, InvalidOid), OIDOID, -1,
			InvalidOid, COERCE_IMPLICIT_CAST);
	if (var->varattno == TableOidAttributeNumber)
		return (Node *)makeConst(OIDOID, -1, InvalidOid, sizeof(Oid),
					 ObjectIdGetDatum(h->m->table->relid), false, true);
	herd_merge_refuse(h->m, "It reads system columns.", "Name other columns.");
}

static Node *map_mutator(Node *node, void *context)
{
	Map *map = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *)node)->varlevelsup == (Index)map->depth) {
		Var *var = copyObject((Var *)node);

		if (var->varattno <= 0)
			return system_column(map, var);
		if (var->varno == HERD_MERGE_TARGET) {
			int pos = 0;
			ListCell *lc;

			foreach (lc, map->h->atts)
				if (lfirst_int(lc) == var->varattno)
					pos = foreach_current_index(lc) + 1;
			var->varno = map->target_rel;
			var->varattno = map->target_base + pos;
		} else {
			var->varno = map->source_rel;
			var->varattno += map->source_base;
		}
#if PG_VERSION_NUM >= 160000
		var->varnullingrels = ((Var *)node)->varno == HERD_MERGE_TARGET ? map->target_null
										: map->source_null;
#endif
		var->varnosyn = var->varno;
		var->varattnosyn = var->varattno;
		return (Node *)var;
	}
	if (IsA(node, Query)) {
		Query *result;

		map->depth++;
		result = query_tree_mutator((Query *)node, map_mutator, context, 0);
		map->depth--;
		return (Node *)result;
	}
	return expression_tree_mutator(node, map_mutator, context);
}

Var *herd_merge_column(const Query *sub, int rel, int pos)
{
	Node *expr = (Node *)list_nth_node(TargetEntry, sub->targetList, pos - 1)->expr;

	return makeVar(rel, pos, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);
}

int herd_merge_add_column(Query *query, Node *expr)
{
	int pos = list_length(query->targetList) + 1;

	query->targetList = lappend(
		query->targetList, makeTargetEntry((Expr *)expr, pos, psprintf("c%d", pos), false));
	return pos;
}

static Node *compare(Oid func, Node *left, Node *right)
{
	return (Node *)makeFuncExpr(func, BOOLOID, list_make2(left, right), InvalidOid, InvalidOid,
				    COERCE_EXPLICIT_CALL);
}

static Node *is_null(Node *arg, bool null)
{
	NullTest *test = makeNode(NullTest);

	test->arg = (Expr *)arg;
	test->nulltesttype = null ? IS_NULL : IS_NOT_NULL;
	test->location = -1;
	return (Node *)test;
}

static CaseExpr *new_case(Oid type, int32 typmod, Oid collation, Node *otherwise)
{
	CaseExpr *expr = makeNode(CaseExpr);

	expr->casetype = type;
	expr->casecollid = collation;
	expr->defresult =
		otherwise ? (Expr *)otherwise : (Expr *)makeNullConst(type, typmod, collation);
	expr->location = -1;
	return expr;
}

static void add_when(CaseExpr *expr, Node *condition, Node *result)
{
	CaseWhen *when = makeNode(CaseWhen);

	when->expr = (Expr *)condition;
	when->result = (Expr *)result;
	when->location = -1;
	expr->args = lappend(expr->args, when);
}

Query *herd_merge_new_select(List *relations)
{
	Query *query = makeNode(Query);
	List *refs = NIL;

	for (int i = 1; i <= list_length(relations); i++) {
		RangeTblRef *ref = makeNode(RangeTblRef);

		ref->rtindex = i;
		refs = lappend(refs, ref);
	}
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = relations;
	query->jointree = makeFromExpr(refs, NULL);
	return query;
}

/* Its columns are computed once, also where they are used several times. */
static void fence(Query *query)
{
	if (query->hasSubLinks || contain_volatile_functions((Node *)query))
		query->limitOffset = (Node *)makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
						       Int64GetDatum(0), false, FLOAT8PASSBYVAL);
}

/* -- pairs: what matches, and which action it has ------------------------------------------------
 */

/* It is read on behalf of whoever merges; what he writes is checked for the statement. */
static void keep_role(const Here *h, Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	RTEPermissionInfo *perms = copyObject(getRTEPermissionInfo(h->m->query->rteperminfos, rte));

	perms->requiredPerms = ACL_SELECT;
	perms->insertedCols = perms->updatedCols = NULL;
	query->rteperminfos = list_make1(perms);
	rte->perminfoindex = 1;
#else
	rte->requiredPerms = ACL_SELECT;
	rte->insertedCols = rte->updatedCols = NULL;
#endif
}

static Query *target_query(Here *h)
{
	RangeTblEntry *rte = copyObject(rt_fetch(HERD_MERGE_TARGET, h->m->query->rtable));
	Query *query = herd_merge_new_select(list_make1(rte));
	ListCell *lc;

	rte->inFromCl = true;
	if (h->by_row)
		keep_role(h, query, rte);
	else
		herd_drop_permissions(query, rte);
	if (h->by_row &&
	    (h->m->table->kind == HERD_TABLE_REFERENCE || herd_rights_here(h->m->table->relid)))
		rte->securityQuals = copyObject(h->m->security);
	foreach (lc, h->atts) {
		Oid type, collation;
		int32 typmod;

		get_atttypetypmodcoll(h->m->table->relid, lfirst_int(lc), &type, &typmod,
				      &collation);
		herd_merge_add_column(
			query, (Node *)makeVar(1, lfirst_int(lc), type, typmod, collation, 0));
	}
	herd_merge_add_column(query, (Node *)makeVar(1, SelfItemPointerAttributeNumber, TIDOID, -1,
						     InvalidOid, 0));
	if (h->partitioned)
		herd_merge_add_column(
			query,
			(Node *)makeRelabelType((Expr *)makeVar(1, TableOidAttributeNumber, OIDOID,
								-1, InvalidOid, 0),
						REGCLASSOID, -1, InvalidOid, COERCE_EXPLICIT_CAST));
	return query;
}

static JoinType join_type(const Here *h)
{
	if (h->m->by_source)
		return h->inserts ? JOIN_FULL : JOIN_RIGHT;
	return h->inserts ? JOIN_LEFT : JOIN_INNER;
}

/* source JOIN target ON .., as relation 3. */
static void join_them(Here *h, Query *query, Map *map)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	JoinExpr *join = makeNode(JoinExpr);
	Map inside = { .h = h, .target_rel = 2, .source_rel = 1 };

	join->jointype = join_type(h);
	join->larg = linitial(query->jointree->fromlist);
	join->rarg = lsecond(query->jointree->fromlist);
	join->quals = map_mutator(copyObject(herd_merge_on(h->m->query)), &inside);
	if (join->quals != NULL && IsA(join->quals, List))
		join->quals = (Node *)make_ands_explicit((List *)join->quals);
	join->rtindex = 3;
	rte->rtekind = RTE_JOIN;
	rte->jointype = join->jointype;
	rte->eref = makeAlias("unnamed_join", NIL);
	rte->inFromCl = true;
	for (int rel = 1; rel <= 2; rel++) {
		const Query *sub = rt_fetch(rel, query->rtable)->subquery;

		for (int pos = 1; pos <= list_length(sub->targetList); pos++) {
			rte->joinaliasvars =
				lappend(rte->joinaliasvars, herd_merge_column(sub, rel, pos));
			rte->eref->colnames = lappend(rte->eref->colnames,
						      makeString(psprintf("c%d_%d", rel, pos)));
			if (rel == 1)
				rte->joinleftcols = lappend_int(rte->joinleftcols, pos);
			else
				rte->joinrightcols = lappend_int(rte->joinrightcols, pos);
		}
	}
	query->rtable = lappend(query->rtable, rte);
	query->jointree->fromlist = list_make1(join);
	*map = inside;
	if (join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL)
		map->target_null = bms_make_singleton(3);
	if (join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL)
		map->source_null = bms_make_singleton(3);
}

static Var *joined_column(const Query *query, const Map *map, int rel, int pos)
{
	Var *var = herd_merge_column(rt_fetch(rel, query->rtable)->subquery, rel, pos);

#if PG_VERSION_NUM >= 160000
	var->varnullingrels = rel == 2 ? map->target_null : map->source_null;
#endif
	return var;
}

/* The number of the first action whose condition is met; 0: none, or DO NOTHING. */
static Node *which_action(const Here *h, Map *map, const Query *query)
{
	CaseExpr *expr = new_case(INT4OID, -1, InvalidOid, (Node *)int_const(0));
	int tid = list_length(h->atts) + 1;
	int number = 0;
	ListCell *lc;

	foreach (lc, h->m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		Node *condition = NULL;
		List *tests = list_make1(is_null((Node *)joined_column(query, map, 2, tid),
						 herd_merge_is_insert(action)));

		number++;
		if (h->here > 0 && !herd_merge_is_insert(action))
			tests = lappend(tests,
					is_null((Node *)joined_column(query, map, 1, h->here),
						herd_merge_is_by_source(action)));
		if (action->qual != NULL) {
			condition = copyObject(action->qual);
			if (IsA(condition, List))
				condition = (Node *)make_ands_explicit((List *)condition);
			tests = lappend(tests, map_mutator(condition, map));
		}
		add_when(expr, (Node *)make_ands_explicit(tests),
			 (Node *)int_const(action->commandType == CMD_NOTHING ? 0 : number));
	}
	return (Node *)expr;
}

static void make_pairs(Here *h)
{
	Query *source = copyObject(h->m->source);
	Query *query;
	Map map;

	if (h->m->by_source)
		h->here = herd_merge_add_column(source, makeBoolConst(true, false));
	query = herd_merge_new_select(
		list_make2(herd_merge_source_rte(source), herd_merge_source_rte(target_query(h))));
	query->hasSubLinks = h->m->query->hasSubLinks;
	join_them(h, query, &map);
	herd_merge_add_column(query, which_action(h, &map, query));
	for (int pos = 1; pos <= list_length(h->atts); pos++)
		herd_merge_add_column(query, (Node *)joined_column(query, &map, 2, pos));
	h->tid = herd_merge_add_column(
		query, (Node *)joined_column(query, &map, 2, list_length(h->atts) + 1));
	if (h->partitioned)
		h->table = herd_merge_add_column(
			query, (Node *)joined_column(query, &map, 2, list_length(h->atts) + 2));
	h->source = list_length(query->targetList);
	for (int pos = 1; pos <= list_length(h->m->source->targetList); pos++)
		herd_merge_add_column(query, (Node *)joined_column(query, &map, 1, pos));
	fence(query);
	h->pairs = query;
}

/* -- values: what the actions write ---------------------------------------------------------------
 */

static bool changes_key(const Here *h, const MergeAction *action)
{
	Node *value = (Node *)herd_merge_value(action->targetList, h->m->table->keyattno);

	return action->commandType == CMD_UPDATE && h->m->table->kind == HERD_TABLE_HASH &&
	       value != NULL &&
	       !(IsA(value, Var) && ((Var *)value)->varno == HERD_MERGE_TARGET &&
		 ((Var *)value)->varattno == h->m->table->keyattno &&
		 ((Var *)value)->varlevelsup == 0);
}

static Node *is_action(const Query *sub, int number)
{
	return compare(F_INT4EQ, (Node *)herd_merge_column(sub, 1, 1), (Node *)int_const(number));
}

static Node *value_of(Here *h, int index, Map *map)
{
	AttrNumber attno = list_nth_int(h->atts, index);
	int number = 0;
	CaseExpr *expr;
	Oid type, collation;
	int32 typmod;
	ListCell *lc;

	get_atttypetypmodcoll(h->m->table->relid, attno, &type, &typmod, &collation);
	expr = new_case(type, typmod, collation, NULL);
	foreach (lc, h->m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		Node *value = (Node *)herd_merge_value(action->targetList, attno);

		number++;
		if (value != NULL)
			value = map_mutator(copyObject(value), map);
		else if (changes_key(h, action))
			value = (Node *)herd_merge_column(h->pairs, 1, 2 + index);
		if (value != NULL && action->commandType != CMD_NOTHING)
			add_when(expr, is_action(h->pairs, number), value);
	}
	return expr->args != NIL ? (Node *)expr : (Node *)expr->defresult;
}

/* Asked only for rows of its action. */
static int add_list(void *context, Expr *expr)
{
	Here *h = context;
	CaseExpr *choice = new_case(exprType((Node *)expr), -1, exprCollation((Node *)expr), NULL);

	add_when(choice, is_action(h->pairs, h->action), map_mutator((Node *)expr, h->map));
	return herd_merge_add_column(h->values, (Node *)choice);
}

static void add_lists(Here *h, Map *map)
{
	ListCell *lc;

	h->map = map;
	foreach (lc, h->of_lists) {
		h->action = foreach_current_index(lc) + 1;
		if (lfirst(lc) == NIL)
			continue;
		lfirst(lc) = herd_multiexpr_bring(lfirst(lc), 1, add_list, h);
		h->values->hasSubLinks = true;
	}
}

/* Columns that are set as a list are no values of their own. */
static void take_lists(Here *h)
{
	ListCell *lc, *cl;

	foreach (lc, h->m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		List *plain = NIL, *lists = NIL;

		foreach (cl, action->targetList) {
			TargetEntry *tle = lfirst(cl);

			if (tle->resjunk || herd_multiexpr_any(list_make1(tle)))
				lists = lappend(lists, tle);
			else
				plain = lappend(plain, tle);
		}
		action->targetList = plain;
		h->of_lists = lappend(h->of_lists, lists);
	}
}

static void make_values(Here *h)
{
	Query *query = herd_merge_new_select(list_make1(herd_merge_source_rte(h->pairs)));
	Map map = {
		.h = h, .target_rel = 1, .source_rel = 1, .target_base = 1, .source_base = h->source
	};

	query->hasSubLinks = h->m->query->hasSubLinks;
	query->jointree->quals =
		compare(F_INT4GT, (Node *)herd_merge_column(h->pairs, 1, 1), (Node *)int_const(0));
	for (int pos = 1; pos <= list_length(h->pairs->targetList); pos++)
		herd_merge_add_column(query, (Node *)herd_merge_column(h->pairs, 1, pos));
	for (int i = 0; i < list_length(h->atts); i++)
		if (bms_is_member(list_nth_int(h->atts, i), h->given))
			h->value_of = lappend_int(
				h->value_of, herd_merge_add_column(query, value_of(h, i, &map)));
	h->values = query;
	add_lists(h, &map);
	fence(query);
}

/* -- rows: what goes to which shard -------------------------------------------------------------
 */

static int position(const Here *h, AttrNumber attno)
{
	int pos = 0;
	ListCell *lc;

	foreach (lc, h->atts) {
		if (!bms_is_member(lfirst_int(lc), h->given))
			continue;
		if (lfirst_int(lc) == attno)
			return pos;
		pos++;
	}
	return -1;
}

static Node *old_key(const Here *h)
{
	ListCell *lc;

	foreach (lc, h->atts)
		if (lfirst_int(lc) == h->m->table->keyattno)
			return (Node *)herd_merge_column(h->values, 1,
							 2 + foreach_current_index(lc));
	elog(ERROR, "no distribution column");
	return NULL;
}

static Node *new_key(const Here *h)
{
	int pos = position(h, h->m->table->keyattno);

	return pos < 0 ? NULL
		       : (Node *)herd_merge_column(h->values, 1, list_nth_int(h->value_of, pos));
}

static Node *any_action(const Here *h, bool (*test)(const Here *, const MergeAction *))
{
	List *tests = NIL;
	int number = 0;
	ListCell *lc;

	foreach (lc, h->m->query->mergeActionList) {
		number++;
		if (test(h, lfirst(lc)))
			tests = lappend(tests, is_action(h->values, number));
	}
	return tests == NIL ? makeBoolConst(false, false) : (Node *)make_orclause(tests);
}

static bool inserts(const Here *h, const MergeAction *action)
{
	return herd_merge_is_insert(action) && action->commandType == CMD_INSERT;
}

/* The row's key is to become another. */
static Node *moves_away(const Here *h)
{
	TypeCacheEntry *type = lookup_type_cache(h->m->table->keytype, TYPECACHE_EQ_OPR);
	Node *equal =
		(Node *)make_opclause(type->eq_opr, BOOLOID, false, (Expr *)old_key(h),
				      (Expr *)new_key(h), InvalidOid, h->m->table->keycollation);
	BooleanTest *test = makeNode(BooleanTest);

	set_opfuncid((OpExpr *)equal);
	test->arg = (Expr *)equal;
	test->booltesttype = IS_NOT_TRUE;
	test->location = -1;
	return (Node *)make_ands_explicit(list_make2(any_action(h, changes_key), test));
}

static RangeTblEntry *twice(void)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_VALUES;
	rte->values_lists = list_make2(list_make1(int_const(0)), list_make1(int_const(1)));
	rte->coltypes = list_make1_oid(INT4OID);
	rte->coltypmods = list_make1_int(-1);
	rte->colcollations = list_make1_oid(InvalidOid);
	rte->alias = makeAlias("twice", list_make1(makeString("n")));
	rte->eref = copyObject(rte->alias);
	rte->inFromCl = true;
	return rte;
}

static void make_rows(Here *h)
{
	List *relations = list_make1(herd_merge_source_rte(h->values));
	Node *arrives = NULL;
	Node *code = (Node *)herd_merge_column(h->values, 1, 1);
	Node *tid = (Node *)herd_merge_column(h->values, 1, h->tid);
	Query *query;

	if (h->rekeys)
		relations = lappend(relations, twice());
	query = herd_merge_new_select(relations);
	if (h->rekeys) {
		CaseExpr *expr = new_case(INT4OID, -1, InvalidOid, copyObject(code));

		arrives = compare(F_INT4EQ, (Node *)makeVar(2, 1, INT4OID, -1, InvalidOid, 0),
				  (Node *)int_const(1));
		query->jointree->quals = (Node *)make_orclause(
			list_make2(make_notclause((Expr *)copyObject(arrives)), moves_away(h)));
		add_when(expr, copyObject(arrives),
			 (Node *)makeFuncExpr(F_INT4PL, INT4OID,
					      list_make2(code, int_const(ARRIVES)), InvalidOid,
					      InvalidOid, COERCE_EXPLICIT_CALL));
		add_when(expr, moves_away(h),
			 (Node *)makeFuncExpr(F_INT4UM, INT4OID, list_make1(copyObject(code)),
					      InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
		code = (Node *)expr;
		expr = new_case(TIDOID, -1, InvalidOid, tid);
		add_when(expr, copyObject(arrives), (Node *)makeNullConst(TIDOID, -1, InvalidOid));
		tid = (Node *)expr;
	}
	if (h->m->table->kind != HERD_TABLE_HASH) {
		herd_merge_add_column(query, (Node *)int_const(0));
	} else if (new_key(h) == NULL) {
		herd_merge_add_column(query, old_key(h));
	} else {
		CaseExpr *key =
			new_case(h->m->table->keytype, -1, exprCollation(old_key(h)), old_key(h));

		add_when(key, any_action(h, inserts), new_key(h));
		if (h->rekeys)
			add_when(key, arrives, new_key(h));
		herd_merge_add_column(query, (Node *)key);
	}
	herd_merge_add_column(query, tid);
	herd_merge_add_column(query, code);
	herd_merge_add_column(query, h->partitioned
					     ? (Node *)herd_merge_column(h->values, 1, h->table)
					     : (Node *)makeNullConst(REGCLASSOID, -1, InvalidOid));
	for (int i = 0; i < list_length(h->value_of); i++)
		h->sent = lappend_int(
			h->sent,
			herd_merge_add_column(
				query, (Node *)herd_merge_column(h->values, 1,
								 list_nth_int(h->value_of, i))));
	if (h->m->query->returningList != NIL) {
		h->returned = list_length(query->targetList);
		for (int pos = 1; pos <= list_length(h->m->source->targetList); pos++)
			herd_merge_add_column(
				query, (Node *)herd_merge_column(h->values, 1, h->source + pos));
	}
	h->rows = query;
}

/* -- what the shards are told -------------------------------------------------------------------
 */

static char *rows_text(const Here *h, const HerdMove *move)
{
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	appendStringInfo(&out,
			 "citus_internal." HERD_READ_RESULT
			 "(citus_internal.execution_id(), %d, %d) AS herd_rows(",
			 move->number, move->key ? HERD_MOVE_SHARD : 0);
	foreach (lc, h->rows->targetList) {
		TargetEntry *tle = lfirst(lc);

		appendStringInfo(&out, "%sc%d %s", tle->resno > 1 ? ", " : "", tle->resno,
				 format_type_extended(exprType((Node *)tle->expr), -1,
						      FORMAT_TYPE_TYPEMOD_GIVEN |
							      FORMAT_TYPE_FORCE_QUALIFY));
	}
	appendStringInfoChar(&out, ')');
	return out.data;
}

static char *target_name(const Here *h)
{
	Oid relid = h->m->table->relid;

	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
					  get_rel_name(relid));
}

/* The row of the target that a row is for; rows: "herd_rows" or what has its columns. */
static char *same_row(const Here *h, const char *rows)
{
	return psprintf("herd_target.ctid = %s.c2%s", rows,
			h->partitioned ? psprintf(" AND pg_catalog.oideq(herd_target.tableoid::"
						  "pg_catalog.regclass, %s.c4)",
						  rows)
				       : "");
}

static Query *analyzed(const char *sql)
{
	RawStmt *raw = linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT));

	return parse_analyze_fixedparams(raw, sql, NULL, 0, NULL);
}

static void append_values(StringInfo out, const Here *h, const MergeAction *action, bool sets)
{
	StringInfoData names, values;
	int n = 0;
	ListCell *lc;

	initStringInfo(&names);
	initStringInfo(&values);
	foreach (lc, h->atts) {
		AttrNumber attno = lfirst_int(lc);
		const char *name = quote_identifier(get_attname(h->m->table->relid, attno, false));
		int pos = position(h, attno);
		int column;

		if (pos < 0 ||
		    (action != NULL && herd_merge_value(action->targetList, attno) == NULL))
			continue;
		column = list_nth_int(h->sent, pos);
		if (sets) {
			appendStringInfo(out, "%s%s = herd_rows.c%d", n++ ? ", " : "", name,
					 column);
			continue;
		}
		appendStringInfo(&names, "%s%s", n ? ", " : "", name);
		appendStringInfo(&values, "%sherd_rows.c%d", n++ ? ", " : "", column);
	}
	if (!sets && n == 0)
		appendStringInfoString(out, "DEFAULT VALUES");
	else if (!sets)
		appendStringInfo(out, "(%s) VALUES (%s)", names.data, values.data);
}

static Query *merge_query(const Here *h, const char *rows)
{
	StringInfoData out;
	int number = 0;
	ListCell *lc;

	initStringInfo(&out);
	appendStringInfo(&out, "MERGE INTO %s AS herd_target USING %s ON %s", target_name(h), rows,
			 same_row(h, "herd_rows"));
	foreach (lc, h->m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		number++;
		if (action->commandType == CMD_NOTHING)
			continue;
		appendStringInfo(&out, " WHEN %sMATCHED AND herd_rows.c3 = %d THEN ",
				 action->commandType == CMD_INSERT ? "NOT " : "", number);
		if (action->commandType == CMD_DELETE) {
			appendStringInfoString(&out, "DELETE");
		} else if (action->commandType == CMD_UPDATE) {
			appendStringInfoString(&out, "UPDATE SET ");
			append_values(&out, h, action, true);
		} else {
			appendStringInfoString(&out, "INSERT ");
			append_values(&out, h, action, false);
		}
	}
	if (h->rekeys) {
		appendStringInfo(&out, " WHEN NOT MATCHED AND herd_rows.c3 > %d THEN INSERT ",
				 ARRIVES);
		append_values(&out, h, NULL, false);
	}
	return analyzed(out.data);
}

/* The same of an UPDATE or DELETE. */
static Query *plain_query(const Here *h, const char *rows)
{
	StringInfoData out;

	initStringInfo(&out);
	if (h->m->plain == CMD_DELETE) {
		appendStringInfo(&out, "DELETE FROM %s AS herd_target USING %s", target_name(h),
				 rows);
	} else {
		appendStringInfo(&out, "UPDATE %s AS herd_target SET ", target_name(h));
		append_values(&out, h, linitial(h->m->query->mergeActionList), true);
		appendStringInfo(&out, " FROM %s", rows);
	}
	appendStringInfo(&out, " WHERE %s", same_row(h, "herd_rows"));
	return analyzed(out.data);
}

#if PG_VERSION_NUM >= 170000
static Node *code_is(int number)
{
	return compare(F_INT4EQ, (Node *)makeVar(HERD_MERGE_SOURCE, 3, INT4OID, -1, InvalidOid, 0),
		       (Node *)int_const(number));
}

static Node *text_const(const char *value)
{
	return (Node *)makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum(value),
				 false, false);
}

/* The name of the action that a row is for: a row that arrives was updated. */
static Node *action_name(const Here *h)
{
	CaseExpr *expr = new_case(TEXTOID, -1, DEFAULT_COLLATION_OID, text_const("UPDATE"));
	int number = 0;
	ListCell *lc;

	foreach (lc, h->m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		number++;
		if (action->commandType == CMD_DELETE)
			add_when(expr, code_is(number), text_const("DELETE"));
		else if (action->commandType == CMD_INSERT)
			add_when(expr, code_is(number), text_const("INSERT"));
	}
	return expr->args != NIL ? (Node *)expr : (Node *)expr->defresult;
}
#endif

static Node *returning_mutator(Node *node, void *context)
{
	const Here *h = context;

	if (node == NULL)
		return NULL;
#if PG_VERSION_NUM >= 170000
	if (IsA(node, MergeSupportFunc))
		return action_name(h);
#endif
	if (IsA(node, Var) && ((Var *)node)->varno == HERD_MERGE_SOURCE) {
		Var *var = copyObject((Var *)node);

		var->varattno = var->varattnosyn = var->varattno + h->returned;
		return (Node *)var;
	}
	if (IsA(node, Var) && herd_returns_old((Var *)node) && h->rekeys)
		herd_merge_refuse(h->m,
				  "RETURNING reads the old row, which is deleted where it was when "
				  "it moves.",
				  "Read it in a statement before.");
	return expression_tree_mutator(node, returning_mutator, context);
}

/* How many of the target's rows are not as they were read; those that are get locked. */
static Query *verify_query(const Here *h, const char *rows)
{
	char *wanted = psprintf("SELECT DISTINCT c2, c4::pg_catalog.oid AS c4 FROM %s "
				"WHERE c2 IS NOT NULL",
				rows);

	return analyzed(
		psprintf("SELECT (SELECT count(*) FROM (%s) herd_wanted) - (SELECT count(*) "
			 "FROM (SELECT 1 FROM %s AS herd_target, (%s) AS herd_rows WHERE %s "
			 "FOR UPDATE OF herd_target) herd_locked)",
			 wanted, target_name(h), wanted, same_row(h, "herd_rows")));
}

static Query *before_query(const Here *h, const char *rows)
{
	return analyzed(psprintf("DELETE FROM %s AS herd_target USING %s WHERE %s AND "
				 "herd_rows.c3 < 0",
				 target_name(h), rows, same_row(h, "herd_rows")));
}

static HerdRemote *make_remote(Here *h)
{
	const HerdMergeParts *m = h->m;
	bool hashed = m->table->kind == HERD_TABLE_HASH;
	HerdRemote *remote = palloc0(sizeof(HerdRemote));
	HerdMove *move = herd_move_subquery(m->planning, m->table, h->rows, hashed ? 1 : 0,
					    hashed ? herd_key_hash_proc(m->table, m->table->keytype)
						   : InvalidOid);
	List *moves = list_make1(move);
	char *rows = rows_text(h, move);
	bool plain = m->plain && !h->rekeys;
	Query *query = plain ? plain_query(h, rows) : merge_query(h, rows);
	Query *verify = verify_query(h, rows);
	Query *before = h->rekeys ? before_query(h, rows) : NULL;

	move->null_fails = hashed;
	if (m->query->returningList != NIL) {
		query->returningList =
			(List *)returning_mutator((Node *)m->query->returningList, (Here *)h);
		herd_copy_returning_names(query, m->query);
	}
	remote->tier = 1;
	remote->command = plain ? m->plain : CMD_MERGE;
	remote->anchor = m->table->relid;
	remote->shards = hashed ? HERD_SHARDS_ALL : HERD_SHARDS_FIRST;
	remote->writes = list_make1_oid(m->table->relid);
	remote->in_txn = true;
	herd_evals_extract(query, &remote->evals);
	herd_evals_extract(verify, &remote->evals);
	if (before != NULL)
		herd_evals_extract(before, &remote->evals);
	remote->ntext = list_length(remote->evals);
	remote->volatile_evals = contain_volatile_functions((Node *)remote->evals);
	remote->tmpl = herd_deparse(query);
	remote->verify = herd_deparse(verify);
	remote->before = before ? herd_deparse(before) : NULL;
	herd_moves_attach(remote, moves);
	return remote;
}

static void look_at(Here *h)
{
	const HerdTable *table = h->m->table;
	Relation rel = table_open(table->relid, NoLock);
	bool all = false;
	ListCell *lc;

	foreach (lc, h->m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		h->inserts = h->inserts || inserts(h, action);
		h->rekeys = h->rekeys || changes_key(h, action);
		all = all || changes_key(h, action);
	}
	h->partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		bool given = all;

		if (att->attisdropped)
			continue;
		h->atts = lappend_int(h->atts, att->attnum);
		foreach (lc, h->m->query->mergeActionList)
			given = given || herd_merge_value(((MergeAction *)lfirst(lc))->targetList,
							  att->attnum) != NULL;
		if (given && !att->attgenerated)
			h->given = bms_add_member(h->given, att->attnum);
	}
	table_close(rel, NoLock);
}

void herd_merge_values(const HerdMergeParts *m, HerdMergeValues *values)
{
	Here h = { .m = m, .by_row = true };
	ListCell *lc;

	if (m->source->hasModifyingCTE)
		herd_merge_refuse(m, "A query in its WITH clause writes.",
				  "Put the rows of the source into a table before.");
	take_lists(&h);
	look_at(&h);
	make_pairs(&h);
	make_values(&h);
	*values = (HerdMergeValues){ .query = h.values,
				     .atts = h.atts,
				     .value_of = h.value_of,
				     .lists = h.of_lists,
				     .tid = h.tid,
				     .table = h.table,
				     .source = h.source };
	foreach (lc, h.atts)
		if (bms_is_member(lfirst_int(lc), h.given))
			values->given = lappend_int(values->given, lfirst_int(lc));
}

HerdRemote *herd_merge_here(const HerdMergeParts *m)
{
	Here h = { .m = m };

	if (m->source->hasModifyingCTE)
		herd_merge_refuse(m, "A query in its WITH clause writes.",
				  "Put the rows of the source into a table before.");
	look_at(&h);
	make_pairs(&h);
	make_values(&h);
	make_rows(&h);
	if (!herd_columns_can_travel(h.rows->targetList, false))
		herd_merge_refuse(m, "Its source has columns that cannot be sent to other nodes.",
				  "Name the columns of the source instead of its rows.");
	return make_remote(&h);
}
