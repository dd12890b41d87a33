#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "catalog/metadata.h"
#include "compat.h"
#include "conn/rights.h"
#include "deparse/casts.h"
#include "deparse/code.h"
#include "deparse/deparse.h"
#include "deparse/from.h"
#include "deparse/joins.h"
#include "deparse/names.h"
#include "deparse/rowid.h"
#include "move/move.h"
#include "plan/rights.h"

/* Their third argument is the number of the shard, as in HERD_READ_RESULT. */
#define SAMPLE_SEED "sample_seed"

typedef struct ExtractContext {
	List **evals;
	bool volatiles;  /* the target list of an INSERT: volatile values are computed here too */
	bool execparams; /* PARAM_EXEC may be read (expressions of a plan) */
} ExtractContext;

typedef struct Hole {
	int location;
	int length;
	Oid relid; /* a table, or an index; InvalidOid: the number of the shard, in a read_result */
} Hole;

static Node *extract_mutator(Node *node, void *context);

static bool has_nonconstant_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node)) {
	case T_Param:
		return ((Param *)node)->paramkind != PARAM_EXTERN;
	case T_Var:
		return ((Var *)node)->varno != OUTER_VAR; /* see plan/lift.h */
	case T_Aggref:
	case T_WindowFunc:
	case T_GroupingFunc:
	case T_SubLink:
	case T_SubPlan:
	case T_AlternativeSubPlan:
	case T_PlaceHolderVar:
	case T_CaseTestExpr:
	case T_CoerceToDomainValue:
	case T_SetToDefault:
	case T_CurrentOfExpr:
	case T_Query:
		return true;
	case T_FuncExpr:
		if (((FuncExpr *)node)->funcretset ||
		    herd_func_is_of_shards(((FuncExpr *)node)->funcid))
			return true;
		break;
	case T_OpExpr:
		if (((OpExpr *)node)->opretset)
			return true;
		break;
	default:
		break;
	}
	return expression_tree_walker(node, has_nonconstant_walker, context);
}

bool herd_expr_is_constant(Node *expr)
{
	return !has_nonconstant_walker(expr, NULL);
}

int herd_eval_add(List **evals, Expr *expr)
{
	ListCell *lc;
	int pos = 0;

	if (!contain_volatile_functions((Node *)expr)) {
		foreach (lc, *evals) {
			pos++;
			if (equal(lfirst(lc), expr))
				return pos;
		}
	}
	*evals = lappend(*evals, copyObject(expr));
	return list_length(*evals);
}

/*
 * A parameter of the text, under a cast that tells the other node its type: types have other OIDs
 * there, and an untyped parameter could be resolved otherwise than it was here.
 */
Node *herd_eval_param(List **evals, Expr *expr)
{
	Param *param = makeNode(Param);
	RelabelType *cast = makeNode(RelabelType);

	param->paramkind = PARAM_EXTERN;
	param->paramid = herd_eval_add(evals, expr);
	param->paramtype = exprType((Node *)expr);
	param->paramtypmod = exprTypmod((Node *)expr);
	param->paramcollid = exprCollation((Node *)expr);
	param->location = -1;

	cast->arg = (Expr *)param;
	cast->resulttype = param->paramtype;
	cast->resulttypmod = -1;
	cast->resultcollid = param->paramcollid;
	cast->relabelformat = COERCE_EXPLICIT_CAST;
	cast->location = -1;
	return (Node *)cast;
}

static bool type_can_travel(Oid type)
{
	return type != UNKNOWNOID && type != RECORDOID && get_typtype(type) != TYPTYPE_PSEUDO;
}

/* What the rows of an INSERT get is computed here; their expressions, not those of sublinks. */
static void extract_insert_values(Query *query, ExtractContext *cxt)
{
	ExtractContext sub = *cxt;
	ListCell *lc;

	sub.volatiles = query->jointree->fromlist == NIL;
	foreach (lc, query->targetList) {
		TargetEntry *tle = lfirst(lc);

		tle->expr = (Expr *)extract_mutator((Node *)tle->expr, &sub);
	}
	foreach (lc, query->rtable) {
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_VALUES)
			rte->values_lists =
				(List *)extract_mutator((Node *)rte->values_lists, &sub);
	}
}

static void extract_query(Query *query, ExtractContext *cxt)
{
	if (query->commandType == CMD_INSERT)
		extract_insert_values(query, cxt);
	query_tree_mutator(query, extract_mutator, cxt, QTW_DONT_COPY_QUERY);
}

static Node *extract_mutator(Node *node, void *context)
{
	ExtractContext *cxt = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query)) {
		ExtractContext sub = *cxt;

		sub.volatiles = false;
		extract_query((Query *)node, &sub);
		return node;
	}
	if (IsA(node, Const) || IsA(node, List) || IsA(node, TargetEntry))
		return expression_tree_mutator(node, extract_mutator, context);
	/* our own work from a first pass over the values of an INSERT */
	if (IsA(node, RelabelType) && IsA(((RelabelType *)node)->arg, Param) &&
	    ((Param *)((RelabelType *)node)->arg)->location == -1 &&
	    ((RelabelType *)node)->location == -1 &&
	    ((RelabelType *)node)->relabelformat == COERCE_EXPLICIT_CAST)
		return node;
	if (IsA(node, Param)) {
		Param *param = (Param *)node;

		if (param->paramkind == PARAM_EXTERN ||
		    (cxt->execparams && param->paramkind == PARAM_EXEC))
			return herd_eval_param(cxt->evals, (Expr *)param);
		return node;
	}
	if (IsA(node, Var) && ((Var *)node)->varno == OUTER_VAR)
		return herd_eval_param(cxt->evals, (Expr *)node);
	/* an expression, as far as exprType knows it */
	switch (nodeTag(node)) {
	case T_FuncExpr:
	case T_OpExpr:
	case T_DistinctExpr:
	case T_NullIfExpr:
	case T_ScalarArrayOpExpr:
	case T_BoolExpr:
	case T_RelabelType:
	case T_CoerceViaIO:
	case T_ArrayCoerceExpr:
	case T_CaseExpr:
	case T_ArrayExpr:
	case T_RowExpr:
	case T_CoalesceExpr:
	case T_MinMaxExpr:
	case T_SQLValueFunction:
	case T_NullTest:
	case T_BooleanTest:
	case T_CoerceToDomain:
	case T_NextValueExpr:
	case T_SubscriptingRef:
	case T_FieldSelect:
		if (contain_mutable_functions(node) && herd_expr_is_constant(node) &&
		    (cxt->volatiles || !contain_volatile_functions(node)) &&
		    type_can_travel(exprType(node)))
			return herd_eval_param(cxt->evals, (Expr *)node);
		break;
	default:
		break;
	}
	return expression_tree_mutator(node, extract_mutator, context);
}

void herd_evals_extract(Query *query, List **evals)
{
	ExtractContext cxt = { .evals = evals };

	extract_query(query, &cxt);
}

Node *herd_evals_extract_expr(Node *expr, List **evals)
{
	ExtractContext cxt = { .evals = evals, .execparams = true };

	return extract_mutator(expr, &cxt);
}

Node *herd_unless_null_row(Var *var, Expr *value)
{
	CaseExpr *expr = makeNode(CaseExpr);
	CaseWhen *when = makeNode(CaseWhen);
	NullTest *test = makeNode(NullTest);
	Var *tid = makeVar(var->varno, SelfItemPointerAttributeNumber, TIDOID, -1, InvalidOid,
			   var->varlevelsup);

	herd_copy_returned_row(tid, var);
	test->arg = (Expr *)tid;
	test->nulltesttype = IS_NOT_NULL;
	test->location = -1;
	when->expr = (Expr *)test;
	when->result = value;
	when->location = -1;
	expr->casetype = var->vartype;
	expr->casecollid = var->varcollid;
	expr->args = list_make1(when);
	expr->defresult = (Expr *)makeNullConst(var->vartype, -1, InvalidOid);
	expr->location = -1;
	return (Node *)expr;
}

/* A row of a table prints as a cast to the table's type, which a row of a shard does not have. */
static Node *expand_row(Var *var, Oid relid, bool real)
{
	Relation rel = table_open(relid, NoLock);
	TupleDesc desc = RelationGetDescr(rel);
	RowExpr *row = makeNode(RowExpr);

	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Var *column;

		if (att->attisdropped) {
			row->args = lappend(row->args, makeNullConst(INT4OID, -1, InvalidOid));
			continue;
		}
		column = makeVar(var->varno, att->attnum, att->atttypid, att->atttypmod,
				 att->attcollation, var->varlevelsup);
		herd_copy_returned_row(column, var);
		row->args = lappend(row->args, column);
	}
	row->row_typeid = var->vartype;
	row->row_format = COERCE_EXPLICIT_CAST;
	row->location = -1;
	table_close(rel, NoLock);
	return real ? herd_unless_null_row(var, (Expr *)row) : (Node *)row;
}

RangeTblEntry *herd_distributed_rte(Var *var, List *queries)
{
	Query *query;
	RangeTblEntry *rte;

	if (var->varno <= 0 || var->varlevelsup >= (Index)list_length(queries))
		return NULL;
	query = list_nth(queries, var->varlevelsup);
	if (var->varno > list_length(query->rtable))
		return NULL;
	rte = rt_fetch(var->varno, query->rtable);
	return rte->rtekind == RTE_RELATION && herd_table_get(rte->relid) != NULL ? rte : NULL;
}

bool herd_is_excluded(const Var *var, List *queries)
{
	const Query *query = list_nth(queries, var->varlevelsup);

	return query->onConflict != NULL && query->onConflict->exclRelIndex == var->varno;
}

#if PG_VERSION_NUM >= 180000
/* A column of a view in RETURNING, of the old or new row, which may not be there. */
static Node *of_returned_row(const ReturningExpr *expr, List *queries)
{
	const Query *query = list_nth(queries, expr->retlevelsup);
	Var row = { .xpr.type = T_Var,
		    .varno = query->resultRelation,
		    .varlevelsup = expr->retlevelsup,
		    .varreturningtype = expr->retold ? VAR_RETURNING_OLD : VAR_RETURNING_NEW,
		    /* the row of a view is printed without its type */
		    .vartype = IsA(expr->retexpr, RowExpr) ? RECORDOID
							   : exprType((Node *)expr->retexpr),
		    .varcollid = exprCollation((Node *)expr->retexpr) };

	return herd_unless_null_row(&row, expr->retexpr);
}
#endif

/* Wherever MERGE lets its target be read there is a row of it; and there ctid cannot be. */
static bool is_merged(const Var *var, List *queries)
{
	const Query *query = list_nth(queries, var->varlevelsup);

	return query->commandType == CMD_MERGE && query->resultRelation == var->varno &&
	       !herd_returns_old(var);
}

static Node *expand_rows_mutator(Node *node, void *context)
{
	List *queries = context; /* innermost first */

	if (node == NULL)
		return NULL;
	if (IsA(node, Query)) {
		List *inner = lcons(node, list_copy(queries));

		query_tree_mutator((Query *)node, expand_rows_mutator, inner, QTW_DONT_COPY_QUERY);
		return node;
	}
	if (IsA(node, OpExpr) || IsA(node, ScalarArrayOpExpr))
		node = herd_compare_rows(node, queries);
#if PG_VERSION_NUM >= 180000
	if (IsA(node, ReturningExpr))
		return expression_tree_mutator(of_returned_row((ReturningExpr *)node, queries),
					       expand_rows_mutator, context);
#endif
	if (IsA(node, RelabelType) && ((RelabelType *)node)->resulttype == REGCLASSOID &&
	    IsA(((RelabelType *)node)->arg, Var)) {
		Var *var = (Var *)((RelabelType *)node)->arg;
		RangeTblEntry *rte = herd_distributed_rte(var, queries);

		if (rte != NULL && var->varattno == TableOidAttributeNumber)
			return herd_table_oid(var, rte->relid, REGCLASSOID,
					      is_merged(var, queries));
	}
	if (IsA(node, Var)) {
		Var *var = (Var *)node;
		RangeTblEntry *rte = herd_distributed_rte(var, queries);

		if (rte != NULL && var->varattno == TableOidAttributeNumber)
			return herd_table_oid(var, rte->relid, OIDOID, is_merged(var, queries));
		if (rte != NULL && herd_is_row_id(var, queries))
			return herd_row_id(var);
		if (rte != NULL && var->varattno == 0 &&
		    var->vartype == get_rel_type_id(rte->relid))
			return expand_row(var, rte->relid,
					  rte->relkind != RELKIND_COMPOSITE_TYPE &&
						  !herd_is_excluded(var, queries) &&
						  !is_merged(var, queries));
		return node;
	}
	if (IsA(node, RowExpr))
		return herd_named_row(
			(RowExpr *)expression_tree_mutator(node, expand_rows_mutator, context));
	return expression_tree_mutator(node, expand_rows_mutator, context);
}

static bool is_exclusion(Oid indexid)
{
	HeapTuple tup = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	bool result;

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for index %u", indexid);
	result = ((Form_pg_index)GETSTRUCT(tup))->indisexclusion;
	ReleaseSysCache(tup);
	return result;
}

/*
 * Constraints have other names on shards: name the columns of the constraint instead. Those that
 * exclude cannot be found by columns; their names become holes.
 */
static void name_conflict_columns(Query *query)
{
	OnConflictExpr *oc = query->onConflict;
	HeapTuple tup;
	Form_pg_constraint con;
	Datum keys;
	Datum *attnums;
	bool isnull;
	int natts;
	Relation rel;

	if (oc == NULL || !OidIsValid(oc->constraint))
		return;
	tup = SearchSysCache1(CONSTROID, ObjectIdGetDatum(oc->constraint));
	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for constraint %u", oc->constraint);
	con = (Form_pg_constraint)GETSTRUCT(tup);
	if (is_exclusion(con->conindid)) {
		ReleaseSysCache(tup);
		return;
	}
	keys = SysCacheGetAttr(CONSTROID, tup, Anum_pg_constraint_conkey, &isnull);
	deconstruct_array(DatumGetArrayTypeP(keys), INT2OID, 2, true, TYPALIGN_SHORT, &attnums,
			  NULL, &natts);
	rel = table_open(con->conrelid, NoLock);
	oc->arbiterElems = NIL;
	for (int i = 0; i < natts; i++) {
		InferenceElem *elem = makeNode(InferenceElem);
		Form_pg_attribute att =
			TupleDescAttr(RelationGetDescr(rel), DatumGetInt16(attnums[i]) - 1);

		elem->expr = (Node *)makeVar(query->resultRelation, att->attnum, att->atttypid,
					     att->atttypmod, att->attcollation, 0);
		oc->arbiterElems = lappend(oc->arbiterElems, elem);
	}
	table_close(rel, NoLock);
	oc->constraint = InvalidOid;
	ReleaseSysCache(tup);
}

/* CTEs of the query, seen from one level further down. */
static bool deepen_ctes_walker(Node *node, void *context)
{
	int *depth = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry)) {
		RangeTblEntry *rte = (RangeTblEntry *)node;

		if (rte->rtekind == RTE_CTE && rte->ctelevelsup >= (Index)*depth)
			rte->ctelevelsup++;
		return false;
	}
	if (IsA(node, Query)) {
		bool result;

		(*depth)++;
		result = query_tree_walker((Query *)node, deepen_ctes_walker, context,
					   QTW_EXAMINE_RTES_BEFORE);
		(*depth)--;
		return result;
	}
	return expression_tree_walker(node, deepen_ctes_walker, context);
}

void herd_deepen_ctes(Query *query)
{
	int depth = 1;

	query_tree_walker(query, deepen_ctes_walker, &depth, QTW_EXAMINE_RTES_BEFORE);
}

/*
 * After the rewriter the columns of an INSERT are in the order of the table, with defaults among
 * them, and those of its source are as they were written; the deparser takes them to be the same.
 * So the source becomes a subquery with exactly the columns of the target list.
 */
static void align_insert_source(Query *query)
{
	Query *source;
	RangeTblEntry *rte;
	int varno;
	int depth = 0;
	ListCell *lc;

	if (query->jointree->fromlist == NIL)
		return;
	varno = linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex;
	source = copyObject(query);
	source->commandType = CMD_SELECT;
	source->resultRelation = 0;
	source->onConflict = NULL;
	source->returningList = source->cteList = NIL;
	source->hasModifyingCTE = false;
	query_tree_walker(source, deepen_ctes_walker, &depth, QTW_EXAMINE_RTES_BEFORE);
	foreach (lc, source->targetList)
		((TargetEntry *)lfirst(lc))->resno = foreach_current_index(lc) + 1;
	foreach (lc, query->targetList) {
		TargetEntry *tle = lfirst(lc);
		Node *expr = (Node *)tle->expr;

		tle->expr = (Expr *)makeVar(varno, foreach_current_index(lc) + 1, exprType(expr),
					    exprTypmod(expr), exprCollation(expr), 0);
	}
	rte = rt_fetch(varno, query->rtable);
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = source;
	rte->values_lists = NIL;
	rte->eref = makeAlias("source", NIL);
	foreach (lc, source->targetList)
		rte->eref->colnames =
			lappend(rte->eref->colnames,
				makeString(psprintf("c%d", foreach_current_index(lc) + 1)));
	query->hasTargetSRFs = false;
}

/* An INSERT into a view leaves the view's "excluded" behind, and the table's would get a number. */
static void name_excluded(Query *query)
{
	ListCell *lc;

	if (query->onConflict == NULL)
		return;
	foreach (lc, query->rtable) {
		RangeTblEntry *rte = lfirst(lc);

		if (foreach_current_index(lc) + 1 != query->onConflict->exclRelIndex &&
		    rte->alias != NULL && strcmp(rte->alias->aliasname, "excluded") == 0)
			rte->alias = makeAlias("replaced", NIL);
	}
}

/* Where an assignment of SET (column, ..) = (SELECT ..) stands in its list; 0 for any other. */
static int multi_assign_place(TargetEntry *tle)
{
	Node *expr = (Node *)tle->expr;

	for (;;) {
		expr = strip_implicit_coercions(expr);
		if (expr != NULL && IsA(expr, FieldStore))
			expr = linitial(((FieldStore *)expr)->newvals);
		else if (expr != NULL && IsA(expr, SubscriptingRef))
			expr = (Node *)((SubscriptingRef *)expr)->refassgnexpr;
		else
			break;
	}
	if (expr == NULL || !IsA(expr, Param) || ((Param *)expr)->paramkind != PARAM_MULTIEXPR)
		return 0;
	return ((Param *)expr)->paramid;
}

static int multi_assign_compare(const ListCell *a, const ListCell *b)
{
	return multi_assign_place(lfirst(a)) - multi_assign_place(lfirst(b));
}

/*
 * The rewriter has put the assignments into the order of the table's columns; the deparser takes
 * those of SET (column, ..) = (SELECT ..) to be in the order of the SELECT.
 */
static void order_multi_assigns(Query *query)
{
	List *first = NIL, *rest = NIL;
	ListCell *lc;

	foreach (lc, query->targetList)
		if (multi_assign_place(lfirst(lc)) != 0)
			first = lappend(first, lfirst(lc));
		else
			rest = lappend(rest, lfirst(lc));
	list_sort(first, multi_assign_compare);
	query->targetList = list_concat(first, rest);
}

/* Each shard has another seed: blocks of all would be chosen by their numbers alike. */
static Expr *seed_of_shard(Expr *seed)
{
	Oid types[3] = { FLOAT8OID, INT4OID, INT4OID };
	List *name = list_make2(makeString("citus_internal"), makeString(SAMPLE_SEED));
	Const *zero = makeConst(INT4OID, -1, InvalidOid, 4, Int32GetDatum(0), false, true);
	Const *shard =
		makeConst(INT4OID, -1, InvalidOid, 4, Int32GetDatum(HERD_MOVE_SHARD), false, true);

	return (Expr *)makeFuncExpr(LookupFuncName(name, 3, types, false), FLOAT8OID,
				    list_make3(seed, zero, shard), InvalidOid, InvalidOid,
				    COERCE_EXPLICIT_CALL);
}

/* UPDATE .. SET generated column = DEFAULT alone sets nothing: any column to what it is. */
static void set_something(Query *query)
{
	Oid relid = rt_fetch(query->resultRelation, query->rtable)->relid;
	Relation rel;
	ListCell *lc;

	foreach (lc, query->targetList)
		if (!((TargetEntry *)lfirst(lc))->resjunk)
			return;
	rel = table_open(relid, NoLock);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		Var *var;

		if (att->attisdropped || att->attgenerated != 0)
			continue;
		var = makeVar(query->resultRelation, att->attnum, att->atttypid, att->atttypmod,
			      att->attcollation, 0);
		query->targetList = lcons(makeTargetEntry((Expr *)var, att->attnum,
							  pstrdup(NameStr(att->attname)), false),
					  query->targetList);
		break;
	}
	table_close(rel, NoLock);
}

/*
 * What a rule has put in place of NEW or OLD would still be printed as that; so would what a join
 * gave a name to that is not in this query. (A name of a join in it is another matter: it hides
 * those below.)
 */
static void forget_rule(List *queries, Var *var)
{
	const Query *query = list_nth(queries, var->varlevelsup);

	if (var->varnosyn == 0 || var->varnosyn == (Index)var->varno ||
	    (var->varnosyn <= (Index)list_length(query->rtable) &&
	     rt_fetch(var->varnosyn, query->rtable)->rtekind == RTE_JOIN))
		return;
	var->varnosyn = var->varno;
	var->varattnosyn = var->varattno;
}

static bool prepare_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		Query *query = (Query *)node;
		/* what a rule has put there lacks the mark too */
		Bitmapset *items = herd_jointree_relids((Node *)query->jointree);
		ListCell *lc;

		herd_order_from(query);
		foreach (lc, query->rtable) {
			RangeTblEntry *rte = lfirst(lc);

			/* the source of an INSERT is not marked, and what is not is not printed */
			if (query->commandType == CMD_SELECT ||
			    (query->commandType != CMD_INSERT &&
			     bms_is_member(foreach_current_index(lc) + 1, items)))
				rte->inFromCl = true;
			if (rte->tablesample != NULL && rte->tablesample->repeatable != NULL)
				rte->tablesample->repeatable =
					seed_of_shard(rte->tablesample->repeatable);
			if (rte->rtekind == RTE_RELATION && rte->alias == NULL)
				rte->alias = makeAlias(get_rel_name(rte->relid), NIL);
			herd_name_columns(rte);
			if (rte->rtekind == RTE_VALUES && query->commandType != CMD_INSERT)
				herd_spell_values(rte);
			/* the node that reads the text makes it one */
			if (rte->rtekind == RTE_SUBQUERY && rte->security_barrier &&
			    herd_rights_relids() != NIL)
				rte->alias =
					makeAlias(HERD_BARRIER, copyObject(rte->eref->colnames));
		}
		/* the table below an updatable view bears the mark of the view's FROM; it is
		 * printed as the target already */
		if (query->commandType == CMD_UPDATE || query->commandType == CMD_DELETE)
			rt_fetch(query->resultRelation, query->rtable)->inFromCl = false;
		if (query->commandType == CMD_UPDATE) {
			order_multi_assigns(query);
			set_something(query);
		}
		/* the rewriter has written SEARCH and CYCLE out already */
		foreach (lc, query->cteList) {
			CommonTableExpr *cte = lfirst(lc);

			cte->search_clause = NULL;
			cte->cycle_clause = NULL;
		}
		foreach (lc, query->returningList)
			((TargetEntry *)lfirst(lc))->resjunk = false; /* checks: plan/security.h */
		name_conflict_columns(query);
		name_excluded(query);
		/* identity columns are filled here, and shards need not be declared identity */
		if (query->commandType == CMD_INSERT) {
			query->override = OVERRIDING_SYSTEM_VALUE;
			align_insert_source(query);
		}
		return query_tree_walker(query, prepare_walker, lcons(query, list_copy(context)),
					 0);
	}
	if (IsA(node, Var))
		forget_rule(context, (Var *)node);
	herd_spell_cast(node);
	return expression_tree_walker(node, prepare_walker, context);
}

static void hole_of_call(FuncCall *call, List **holes)
{
	A_Const *shard = list_length(call->args) == 3 ? lthird(call->args) : NULL;
	Hole *hole;

	if (shard == NULL || !IsA(shard, A_Const) || !IsA(&shard->val, Integer) ||
	    intVal(&shard->val) != HERD_MOVE_SHARD ||
	    (strcmp(strVal(llast(call->funcname)), HERD_READ_RESULT) != 0 &&
	     strcmp(strVal(llast(call->funcname)), HERD_IN_SHARD) != 0 &&
	     strcmp(strVal(llast(call->funcname)), HERD_ROW_ID) != 0 &&
	     strcmp(strVal(llast(call->funcname)), HERD_SHARD_TID) != 0 &&
	     strcmp(strVal(llast(call->funcname)), SAMPLE_SEED) != 0))
		return;
	hole = palloc0(sizeof(Hole));
	hole->location = shard->location;
	hole->length = strlen(CppAsString2(HERD_MOVE_SHARD));
	*holes = lappend(*holes, hole);
}

/* ON CONFLICT ON CONSTRAINT name: a hole for the name of the constraint's index. */
static void hole_of_conflict(InsertStmt *stmt, List **holes)
{
	InferClause *infer = stmt->onConflictClause ? stmt->onConflictClause->infer : NULL;
	Hole *hole;
	Oid relid;

	if (infer == NULL || infer->conname == NULL)
		return;
	relid = get_relname_relid(stmt->relation->relname,
				  get_namespace_oid(stmt->relation->schemaname, false));
	if (herd_table_get(relid) == NULL)
		return;
	hole = palloc(sizeof(Hole));
	hole->relid =
		get_constraint_index(get_relation_constraint_oid(relid, infer->conname, false));
	hole->location = infer->location + strlen("ON CONSTRAINT ");
	hole->length = strlen(quote_identifier(infer->conname));
	*holes = lappend(*holes, hole);
}

static bool hole_walker(Node *node, void *context)
{
	List **holes = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeVar)) {
		RangeVar *rv = (RangeVar *)node;
		Hole *hole;

		if (rv->schemaname == NULL)
			return false;
		hole = palloc(sizeof(Hole));
		/* whether the user may look into the schema is no matter below a view */
		hole->relid =
			get_relname_relid(rv->relname, get_namespace_oid(rv->schemaname, false));
		/* what quote_qualified_identifier printed; the schema stays in the text */
		hole->location = rv->location + strlen(quote_identifier(rv->schemaname)) + 1;
		hole->length = strlen(quote_identifier(rv->relname));
		if (herd_table_get(hole->relid) != NULL)
			*holes = lappend(*holes, hole);
		return false;
	}
	if (IsA(node, FuncCall))
		hole_of_call((FuncCall *)node, holes);
	if (IsA(node, InsertStmt))
		hole_of_conflict((InsertStmt *)node, holes);
	return raw_expression_tree_walker(node, hole_walker, context);
}

static int hole_compare(const ListCell *a, const ListCell *b)
{
	return ((Hole *)lfirst(a))->location - ((Hole *)lfirst(b))->location;
}

static HerdTemplate *cut_holes(const char *sql)
{
	HerdTemplate *tmpl = palloc0(sizeof(HerdTemplate));
	List *parsed = raw_parser(sql, RAW_PARSE_DEFAULT);
	List *holes = NIL;
	StringInfoData out;
	int done = 0;
	ListCell *lc;

	hole_walker(linitial_node(RawStmt, parsed)->stmt, &holes);
	list_sort(holes, hole_compare);
	initStringInfo(&out);
	foreach (lc, holes) {
		Hole *hole = lfirst(lc);

		/* the source of SET (a, b) = (..) hangs on each of its columns */
		if (hole->location < done)
			continue;
		appendBinaryStringInfo(&out, sql + done, hole->location - done);
		tmpl->offsets = lappend_int(tmpl->offsets, out.len);
		tmpl->relids = lappend_oid(tmpl->relids, hole->relid);
		done = hole->location + hole->length;
	}
	appendStringInfoString(&out, sql + done);
	tmpl->text = out.data;
	return tmpl;
}

/*
 * With only pg_catalog in the path every relation is printed with its schema. Constants are
 * printed so that they are read the same under any settings: those of the session may be others
 * when the text is used.
 */
static void set_for_print(void)
{
	static const char *const settings[][2] = { { "search_path", "pg_catalog" },
						   { "datestyle", "ISO" },
						   { "intervalstyle", "postgres" },
						   { "extra_float_digits", "3" } };

	for (int i = 0; i < lengthof(settings); i++)
		(void)set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
					GUC_ACTION_SAVE, true, 0, false);
}

static HerdTemplate *deparse(Query *query, bool foreign)
{
	int nest;
	char *sql;
	HerdTemplate *tmpl;

	query = (Query *)expand_rows_mutator((Node *)query, NIL);
	herd_fit_joins(query);
	prepare_walker((Node *)query, NULL);
	herd_qualify_order(query);
	nest = NewGUCNestLevel();
	set_for_print();
	if (foreign)
		query = herd_rights_spell_values(query);
	sql = pg_get_querydef(query, false);
	AtEOXact_GUC(true, nest);
	tmpl = cut_holes(sql);
	tmpl->code = herd_query_has_code(query);
	return tmpl;
}

HerdTemplate *herd_deparse(Query *query)
{
	return deparse(query, herd_rights_relids() != NIL);
}

HerdTemplate *herd_deparse_foreign(Query *query)
{
	return deparse(query, true);
}

static const HerdTable *table_of_hole(Oid relid)
{
	const HerdTable *table = herd_table_get(relid);

	if (table == NULL || table->relname == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("relation with OID %u is not distributed anymore", relid)));
	return table;
}

static const char *shard_in_text(const HerdTable *table, int index)
{
	if (index < 0 || index >= table->nshards)
		elog(ERROR, "table \"%s\" has no shard %d", table->relname, index);
	return table->shards[index].name;
}

/* The name that the index has for the shard. */
static const char *index_in_text(Oid indexid, int index)
{
	const HerdTable *table = table_of_hole(IndexGetRelation(indexid, false));

	if (table->kind != HERD_TABLE_HASH)
		index = 0;
	if (index < 0 || index >= table->nshards)
		elog(ERROR, "table \"%s\" has no shard %d", table->relname, index);
	return quote_identifier(
		herd_shard_name(get_rel_name(indexid), table->shards[index].shardid));
}

/* The schema stands before the hole already; it is needed before each shard. */
static void append_union(StringInfo sql, const HerdTable *table, const int *shards, int nshards)
{
	char *schema = psprintf(
		"%s.", quote_identifier(get_namespace_name(get_rel_namespace(table->relid))));
	int start = sql->len - strlen(schema);

	if (start < 0 || strcmp(sql->data + start, schema) != 0)
		elog(ERROR, "the name of table \"%s\" is not qualified",
		     get_rel_name(table->relid));
	sql->len = start;
	for (int i = 0; i < nshards; i++)
		appendStringInfo(sql, "%sSELECT * FROM %s%s", i ? " UNION ALL " : "(", schema,
				 shard_in_text(table, shards[i]));
	appendStringInfoChar(sql, ')');
}

char *herd_template_fill_many(const HerdTemplate *tmpl, const int *shards, int nshards)
{
	StringInfoData sql;
	ListCell *off;
	ListCell *rel;
	int done = 0;

	initStringInfo(&sql);
	forboth(off, tmpl->offsets, rel, tmpl->relids)
	{
		const HerdTable *table;

		appendBinaryStringInfo(&sql, tmpl->text + done, lfirst_int(off) - done);
		done = lfirst_int(off);
		if (!OidIsValid(lfirst_oid(rel))) {
			Assert(nshards == 1);
			appendStringInfo(&sql, "%d", shards[0]);
			continue;
		}
		if (get_rel_relkind(lfirst_oid(rel)) == RELKIND_INDEX ||
		    get_rel_relkind(lfirst_oid(rel)) == RELKIND_PARTITIONED_INDEX) {
			Assert(nshards == 1);
			appendStringInfoString(&sql, index_in_text(lfirst_oid(rel), shards[0]));
			continue;
		}
		table = table_of_hole(lfirst_oid(rel));
		if (table->kind != HERD_TABLE_HASH)
			appendStringInfoString(&sql, shard_in_text(table, 0));
		else if (nshards == 1)
			appendStringInfoString(&sql, shard_in_text(table, shards[0]));
		else
			append_union(&sql, table, shards, nshards);
	}
	appendStringInfoString(&sql, tmpl->text + done);
	return sql.data;
}

char *herd_template_fill(const HerdTemplate *tmpl, int shardindex)
{
	return herd_template_fill_many(tmpl, &shardindex, 1);
}

List *herd_template_to_list(const HerdTemplate *tmpl)
{
	return list_make4(makeString(pstrdup(tmpl->text)), tmpl->offsets, tmpl->relids,
			  makeInteger(tmpl->code));
}

HerdTemplate *herd_template_from_list(List *list)
{
	HerdTemplate *tmpl = palloc0(sizeof(HerdTemplate));

	tmpl->text = strVal(linitial(list));
	tmpl->offsets = lsecond(list);
	tmpl->relids = lthird(list);
	tmpl->code = intVal(lfourth(list)) != 0;
	return tmpl;
}
