/*
 * plan/cursor.c - queries of cursors, and the writes to their current rows.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planmain.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "plan/cursor.h"
#include "plan/leaves.h"
#include "plan/rewrite.h"
#include "plan/route.h"
#include "plan/security.h"

/* -- the columns that find a row --------------------------------------------------------------- */

/* Those of the primary key; NULL: there is none, or it may be broken until the end. */
static Bitmapset *primary_key(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	Bitmapset *keys = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	Bitmapset *attnos = NULL;
	int member = -1;

	while (member = bms_next_member(keys, member), member >= 0)
		attnos = bms_add_member(attnos, member + FirstLowInvalidHeapAttributeNumber);
	table_close(rel, NoLock);
	return attnos;
}

/* Attribute numbers; NIL: its rows cannot be found again. */
static List *locating_columns(const HerdTable *table)
{
	bool partitioned = get_rel_relkind(table->relid) == RELKIND_PARTITIONED_TABLE;
	List *attnos = NIL;
	int attno = -1;

	if (table->kind == HERD_TABLE_REFERENCE) {
		Bitmapset *keys = primary_key(table->relid);

		while (attno = bms_next_member(keys, attno), attno >= 0)
			attnos = lappend_int(attnos, attno);
		return attnos;
	}
	if (table->kind == HERD_TABLE_HASH)
		attnos = list_make1_int(table->keyattno);
	if (partitioned && table->kind != HERD_TABLE_HASH)
		return NIL;
	attnos = lappend_int(attnos, SelfItemPointerAttributeNumber);
	return partitioned ? lappend_int(attnos, TableOidAttributeNumber) : attnos;
}

static Expr *column_var(Oid relid, int varno, AttrNumber attno)
{
	Oid type = OIDOID, collation = InvalidOid;
	int32 typmod = -1;
	Expr *var;

	if (attno > 0)
		get_atttypetypmodcoll(relid, attno, &type, &typmod, &collation);
	else if (attno == SelfItemPointerAttributeNumber)
		type = TIDOID;
	var = (Expr *)makeVar(varno, attno, type, typmod, collation, 0);
	if (attno == TableOidAttributeNumber)
		var = (Expr *)makeRelabelType(var, REGCLASSOID, -1, InvalidOid,
					      COERCE_EXPLICIT_CAST);
	return var;
}

/* -- writes ------------------------------------------------------------------------------------ */

static Oid function(const char *name, int nargs, const Oid *types)
{
	return LookupFuncName(list_make2(makeString("citus_internal"), makeString(pstrdup(name))),
			      nargs, types, false);
}

static Node *cursor_name(const CurrentOfExpr *current)
{
	Param *param;

	if (current->cursor_name != NULL)
		return (Node *)makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
					 CStringGetTextDatum(current->cursor_name), false, false);
	param = makeNode(Param);
	param->paramkind = PARAM_EXTERN;
	param->paramid = current->cursor_param;
	param->paramtype = REFCURSOROID;
	param->paramtypmod = -1;
	param->paramcollid = DEFAULT_COLLATION_OID;
	param->location = -1;
	return (Node *)makeRelabelType((Expr *)param, TEXTOID, -1, DEFAULT_COLLATION_OID,
				       COERCE_IMPLICIT_CAST);
}

static Node *oid_const(Oid value)
{
	return (Node *)makeConst(OIDOID, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(value),
				 false, true);
}

static Node *call(const char *name, Oid result, List *args)
{
	Oid types[4];
	int n = 0;
	ListCell *lc;

	foreach (lc, args)
		types[n++] = exprType(lfirst(lc));
	return (Node *)makeFuncExpr(function(name, n, types), result, args,
				    get_typcollation(result), DEFAULT_COLLATION_OID,
				    COERCE_EXPLICIT_CALL);
}

static Node *current_value(const CurrentOfExpr *current, Oid relid, AttrNumber attno, Oid type)
{
	Oid types[4] = { TEXTOID, OIDOID, INT4OID, ANYELEMENTOID };
	List *args = list_make4(cursor_name(current), oid_const(relid),
				makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
					  Int32GetDatum(attno), false, true),
				makeNullConst(type, -1, get_typcollation(type)));

	return (Node *)makeFuncExpr(function("cursor_value", 4, types), type, args,
				    get_typcollation(type), DEFAULT_COLLATION_OID,
				    COERCE_EXPLICIT_CALL);
}

static Node *equals(Expr *left, Node *right, Oid type, Oid collation)
{
	TypeCacheEntry *cache = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	Expr *op = make_opclause(cache->eq_opr, BOOLOID, false, left, (Expr *)right, InvalidOid,
				 collation);

	set_opfuncid((OpExpr *)op);
	return (Node *)op;
}

/* ctid = ANY (latest_rows(shard, ctid of the cursor's row)) */
static Node *is_latest(const CurrentOfExpr *current, Oid relid, Expr *var, Node *tid)
{
	ScalarArrayOpExpr *any = makeNode(ScalarArrayOpExpr);
	Node *shard = call("cursor_relation", TEXTOID,
			   list_make2(cursor_name(current), oid_const(relid)));

	any->opno = TIDEqualOperator;
	any->opfuncid = get_opcode(TIDEqualOperator);
	any->useOr = true;
	any->args = list_make2(var, call("latest_rows", TIDARRAYOID, list_make2(shard, tid)));
	any->location = -1;
	return (Node *)any;
}

static Node *is_current(const CurrentOfExpr *current, const HerdTable *table)
{
	List *tests = NIL;
	List *attnos = locating_columns(table);
	ListCell *lc;

	if (attnos == NIL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("WHERE CURRENT OF is not supported on table \"%s\"",
				       get_rel_name(table->relid)),
				errdetail("It is a reference table without a primary key, or a "
					  "partitioned table without a distribution column."),
				errhint("Name the row by its columns.")));
	foreach (lc, attnos) {
		AttrNumber attno = lfirst_int(lc);
		Expr *var = column_var(table->relid, current->cvarno, attno);
		Node *value;

		if (attno == TableOidAttributeNumber) {
			value = call("cursor_partition", TEXTOID,
				     list_make2(cursor_name(current), oid_const(table->relid)));
			/* is_table takes it as an OID, the text needs the cast to regclass */
			tests = lappend(
				tests,
				makeFuncExpr(function("is_table", 2, (Oid[]){ OIDOID, TEXTOID }),
					     BOOLOID, list_make2(var, value), InvalidOid,
					     DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL));
			continue;
		}
		value = current_value(current, table->relid, attno, exprType((Node *)var));
		if (attno == SelfItemPointerAttributeNumber) {
			tests = lappend(tests, is_latest(current, table->relid, var, value));
			continue;
		}
		tests = lappend(tests, equals(var, value, exprType((Node *)var),
					      exprCollation((Node *)var)));
	}
	return (Node *)make_ands_explicit(tests);
}

static Node *replace_mutator(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, CurrentOfExpr))
		return is_current((CurrentOfExpr *)node, context);
	return expression_tree_mutator(node, replace_mutator, context);
}

static bool current_of_walker(Node *node, void *context)
{
	return node != NULL && (IsA(node, CurrentOfExpr) ||
				expression_tree_walker(node, current_of_walker, context));
}

void herd_cursor_replace(Query *query)
{
	const HerdTable *table;
	ListCell *lc;

	foreach (lc, query->cteList)
		herd_cursor_replace(castNode(Query, ((CommonTableExpr *)lfirst(lc))->ctequery));
	if ((query->commandType != CMD_UPDATE && query->commandType != CMD_DELETE) ||
	    !current_of_walker(query->jointree->quals, NULL))
		return;
	table = herd_table_get(rt_fetch(query->resultRelation, query->rtable)->relid);
	if (table != NULL)
		query->jointree->quals = replace_mutator(query->jointree->quals, (void *)table);
}

/* -- queries of cursors ------------------------------------------------------------------------ */

/* Each of its rows is a row of each relation in FROM, or none. */
static bool has_rows_of_tables(const Query *query)
{
	return query->commandType == CMD_SELECT && query->setOperations == NULL &&
	       !query->hasAggs && query->groupClause == NIL && query->groupingSets == NIL &&
	       query->havingQual == NULL && !query->hasWindowFuncs &&
	       query->distinctClause == NIL && query->cteList == NIL && !query->hasTargetSRFs;
}

static bool may_read(const Query *query, RangeTblEntry *rte)
{
	return !herd_rights_foreign(query, rte) &&
	       pg_class_aclcheck(rte->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/* Relations of the query (of int) whose current row a write may ask for. */
static List *located_relations(const Query *query)
{
	List *varnos = NIL;
	List *found = NIL;
	ListCell *lc;

	if (query->rowMarks != NIL) {
		foreach (lc, query->rowMarks)
			varnos = lappend_int(varnos, lfirst_node(RowMarkClause, lc)->rti);
	} else if (list_length(query->jointree->fromlist) == 1 &&
		   IsA(linitial(query->jointree->fromlist), RangeTblRef)) {
		RangeTblRef *ref = linitial(query->jointree->fromlist);

		varnos = list_make1_int(ref->rtindex);
	}
	foreach (lc, varnos) {
		RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->rtable);
		const HerdTable *table =
			rte->rtekind == RTE_RELATION ? herd_table_get(rte->relid) : NULL;

		if (table != NULL && rte->tablesample == NULL && may_read(query, rte) &&
		    locating_columns(table) != NIL)
			found = lappend_int(found, lfirst_int(lc));
	}
	return found;
}

/* Adds the columns after those of the client and before what is only sorted by. */
static List *carry(Query *query, const List *varnos)
{
	List *shown = NIL;
	List *junk = NIL;
	List *carried = NIL;
	const ListCell *lc;
	ListCell *col;

	foreach (lc, query->targetList) {
		TargetEntry *tle = lfirst(lc);

		if (tle->resjunk)
			junk = lappend(junk, tle);
		else
			shown = lappend(shown, tle);
	}
	foreach (lc, varnos) {
		int varno = lfirst_int(lc);
		Oid relid = rt_fetch(varno, query->rtable)->relid;

		foreach (col, locating_columns(herd_table_get(relid))) {
			int pos = list_length(shown) + 1;

			shown = lappend(shown,
					makeTargetEntry(column_var(relid, varno, lfirst_int(col)),
							pos, psprintf("herd_%d", pos), false));
			carried =
				lappend(carried, list_make2(list_make1_oid(relid),
							    list_make2_int(lfirst_int(col), pos)));
		}
	}
	foreach (lc, junk) {
		TargetEntry *tle = lfirst(lc);

		shown = lappend(shown, tle);
		tle->resno = list_length(shown);
	}
	query->targetList = shown;
	return carried;
}

/* Will the rows come from shards that answer the whole query? Only they know system columns. */
static bool answers_whole(const Query *query, ParamListInfo bound)
{
	Query *copy = copyObject((Query *)query);
	HerdPlanning planning = { .bound = bound, .up = herd_planning_current };
	bool answers;

	herd_planning_current = &planning;
	PG_TRY();
	{
		herd_prepare_security(copy);
		answers = herd_query_is_local_read(copy) ||
			  herd_route(copy, bound, &planning.needs_params) != NULL ||
			  (!query->hasSubLinks && herd_rewrite_tier1(copy, &planning));
	}
	PG_FINALLY();
	{
		herd_planning_current = planning.up;
	}
	PG_END_TRY();
	return answers;
}

Query *herd_cursor_locate(const Query *query, ParamListInfo bound, List **carried)
{
	List *varnos;
	Query *located;

	if (!has_rows_of_tables(query))
		return NULL;
	varnos = located_relations(query);
	if (varnos == NIL)
		return NULL;
	located = copyObject((Query *)query);
	*carried = carry(located, varnos);
	return answers_whole(located, bound) ? located : NULL;
}

void herd_cursor_plan(PlannedStmt *stmt, const Query *query, List *carried, bool scroll)
{
	RangeTblEntry *names = makeNode(RangeTblEntry);
	List *columns = NIL;
	List *targetlist = NIL;
	ListCell *lc;

	names->rtekind = RTE_VALUES;
	names->eref = makeAlias("cursor_rows", NIL);
	foreach (lc, query->targetList) {
		TargetEntry *tle = lfirst(lc);
		Node *expr = (Node *)tle->expr;
		int pos = list_length(columns) + 1;
		TargetEntry *out;

		if (tle->resjunk)
			continue;
		columns = lappend(
			columns, makeTargetEntry((Expr *)makeVar(list_length(stmt->rtable) + 1, pos,
								 exprType(expr), exprTypmod(expr),
								 exprCollation(expr), 0),
						 pos, tle->resname, false));
		names->eref->colnames =
			lappend(names->eref->colnames,
				makeString(tle->resname ? tle->resname : "?column?"));
		out = makeTargetEntry((Expr *)makeVar(INDEX_VAR, pos, exprType(expr),
						      exprTypmod(expr), exprCollation(expr), 0),
				      pos, tle->resname, false);
		out->resorigtbl = tle->resorigtbl;
		out->resorigcol = tle->resorigcol;
		targetlist = lappend(targetlist, out);
	}
	if (scroll && !ExecSupportsBackwardScan(stmt->planTree))
		stmt->planTree = materialize_finished_plan(stmt->planTree);
	stmt->planTree = herd_cursor_node(stmt->planTree, columns, targetlist, carried,
					  query->rowMarks != NIL);
	stmt->rtable = lappend(stmt->rtable, names);
}
