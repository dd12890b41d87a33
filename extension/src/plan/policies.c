#include "plan/policies.h"

#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/metadata.h"
#include "plan/leaves.h"
#include "plan/lift.h"
#include "plan/multiexpr.h"
#include "plan/rewrite.h"
#include "plan/rights.h"
#include "plan/sysattrs.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_check_policy);

/* -- relations that are read ------------------------------------------------------------------- */

/* System columns that the query reads become columns of the subquery. */
static void keep_system_columns(Query *query, int varno, Query *sub)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	List *attnos = herd_system_columns(query, varno);
	ListCell *lc;

	herd_system_columns_behind(query, varno, attnos, list_length(sub->targetList) + 1);
	foreach (lc, attnos) {
		const char *name;
		Oid type = herd_system_column_type(lfirst_int(lc), &name);
		Var *var = makeVar(1, lfirst_int(lc), type, -1, InvalidOid, 0);

		sub->targetList =
			lappend(sub->targetList,
				makeTargetEntry((Expr *)var, list_length(sub->targetList) + 1,
						pstrdup(name), false));
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(name)));
	}
}

static void keep_whole_row(Query *query, int varno, Query *sub)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	int attno = list_length(sub->targetList) + 1;
	Oid type = herd_whole_row_behind(query, varno, attno);

	if (!OidIsValid(type))
		return;
	sub->targetList = lappend(sub->targetList,
				  makeTargetEntry((Expr *)makeVar(1, 0, type, -1, InvalidOid, 0),
						  attno, pstrdup("whole"), false));
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("whole")));
}

/* Rows that are read with the rights of a view's owner are not moved to the shards; values are. */
static Node *as_values(Node *node, void *context)
{
	if (node == NULL || IsA(node, Query))
		return node;
	if (IsA(node, SubLink)) {
		SubLink *sublink = (SubLink *)node;
		Query *sub = castNode(Query, sublink->subselect);
		Node *values = NULL;

		if (sublink->subLinkType == ANY_SUBLINK && herd_rights_read(sub) &&
		    !herd_query_is_correlated(sub))
			values = herd_any_as_array(sublink);
		return values ? values : node;
	}
	return expression_tree_mutator(node, as_values, context);
}

void herd_policies_read(Query *query, int varno)
{
	RangeTblEntry *rte = rt_fetch(varno, query->rtable);
	Query *sub = herd_select_from(query, varno);
	RangeTblEntry *inner = linitial(sub->rtable);
	RowMarkClause *lock = herd_take_lock(query, varno);
	Node *quals = (Node *)make_ands_explicit(inner->securityQuals);

	ChangeVarNodes(quals, varno, 1, 0);
	quals = as_values(quals, NULL);
	sub->jointree->quals = quals;
	sub->hasSubLinks = checkExprHasSubLink(quals);
	inner->securityQuals = NIL;
	inner->lateral = false;
	inner->inFromCl = true;
	IncrementVarSublevelsUp((Node *)inner->tablesample, 1, 0);
	if (lock != NULL) {
		lock->rti = 1;
		sub->rowMarks = list_make1(lock);
		sub->hasForUpdate = true;
	}
	sub->targetList = herd_columns_of_table(rte->relid);
	herd_name_dropped(rte->eref);
	keep_system_columns(query, varno, sub);
	keep_whole_row(query, varno, sub);
	rte->securityQuals = NIL;
	rte->lateral = rte->lateral || rte->tablesample != NULL;
	herd_become_subquery(rte, sub, true);
}

/* Kinds of checks. */
#define INSERTS (1 << WCO_RLS_INSERT_CHECK)
#define UPDATES (1 << WCO_RLS_UPDATE_CHECK)
#define MEETS (1 << WCO_RLS_CONFLICT_CHECK)
#define MERGE_UPDATES (1 << WCO_RLS_MERGE_UPDATE_CHECK)
#define MERGE_DELETES (1 << WCO_RLS_MERGE_DELETE_CHECK)

/* -- rows that are written --------------------------------------------------------------------- */

static Node *replaced(Node *qual, Query *query, List *tlist, ReplaceVarsNoMatchOption otherwise)
{
	RangeTblEntry *rte = rt_fetch(query->resultRelation, query->rtable);
	bool sublinks = true;

	return ReplaceVarsFromTargetList(copyObject(qual), query->resultRelation, 0, rte, tlist,
#if PG_VERSION_NUM >= 180000
					 0,
#endif
					 otherwise, query->resultRelation, &sublinks);
}

/* key: a value of the row, so that the call is not taken for a constant. */
static Expr *check_call(const WithCheckOption *check, Node *qual, Expr *key)
{
	Oid types[5] = { INT4OID, TEXTOID, TEXTOID, BOOLOID, ANYOID };
	List *name = list_make2(makeString("citus_internal"), makeString("check_policy"));
	Const *kind = makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(check->kind),
				false, true);
	Const *table = makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
				 CStringGetTextDatum(check->relname), false, false);
	Const *policy = makeNullConst(TEXTOID, -1, DEFAULT_COLLATION_OID);

	if (check->polname != NULL)
		policy = makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
				   CStringGetTextDatum(check->polname), false, false);
	return (Expr *)makeFuncExpr(LookupFuncName(name, 5, types, false), BOOLOID,
				    list_make5(kind, policy, table, qual, key), InvalidOid,
				    InvalidOid, COERCE_EXPLICIT_CALL);
}

Expr *herd_when_checked(List *checks, Expr *value)
{
	CaseExpr *choice = makeNode(CaseExpr);
	CaseWhen *when = makeNode(CaseWhen);

	when->expr = make_ands_explicit(checks);
	when->result = value;
	when->location = -1;
	choice->casetype = exprType((Node *)value);
	choice->casecollid = exprCollation((Node *)value);
	choice->args = list_make1(when);
	choice->defresult = (Expr *)makeNullConst(choice->casetype, exprTypmod((Node *)value),
						  choice->casecollid);
	choice->location = -1;
	return (Expr *)choice;
}

/* The key of the target, or its first column. */
static Var *key_of_target(Query *query)
{
	RangeTblEntry *rte = rt_fetch(query->resultRelation, query->rtable);
	const HerdTable *table = herd_table_get(rte->relid);
	AttrNumber attno = table->keyattno > 0 ? table->keyattno : 1;
	Oid type, collation;
	int32 typmod;

	while (get_atttype(rte->relid, attno) == InvalidOid)
		attno++;
	get_atttypetypmodcoll(rte->relid, attno, &type, &typmod, &collation);
	return makeVar(query->resultRelation, attno, type, typmod, collation, 0);
}

/* The check would see another row than the one that is stored. */
static void refuse(const Query *query)
{
	const char *name = get_rel_name(rt_fetch(query->resultRelation, query->rtable)->relid);

	if (query->commandType == CMD_MERGE)
		ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("MERGE into distributed table \"%s\" is not supported with %s",
				name,
				"policies that shards cannot check, and BEFORE row triggers or "
				"volatile values"),
			 errhint("Use INSERT, UPDATE and DELETE.")));
	ereport(ERROR,
		(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		 errmsg("INSERT with ON CONFLICT into distributed table \"%s\" is not supported",
			name),
		 errdetail("Its policies are checked where the statement is planned, and it has "
			   "BEFORE row triggers or volatile values."),
		 errhint("Use UPDATE, and INSERT without ON CONFLICT.")));
}

/* What generated columns become with the list, which is changed. */
static List *with_generated(Query *query, List *tlist, ReplaceVarsNoMatchOption otherwise)
{
	Relation rel = table_open(rt_fetch(query->resultRelation, query->rtable)->relid, NoLock);
	TupleDesc desc = RelationGetDescr(rel);
	List *given = NIL;
	ListCell *lc;

	foreach (lc, tlist) {
		const TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk && !TupleDescAttr(desc, tle->resno - 1)->attgenerated)
			given = lappend(given, lfirst(lc));
	}
	tlist = list_copy(given);
	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Node *value;

		if (att->attisdropped || att->attgenerated != ATTRIBUTE_GENERATED_STORED)
			continue;
		value = build_column_default(rel, att->attnum);
		ChangeVarNodes(value, 1, query->resultRelation, 0);
		value = replaced(value, query, given, otherwise);
		tlist = lappend(tlist, makeTargetEntry((Expr *)value, att->attnum,
						       pstrdup(NameStr(att->attname)), false));
	}
	table_close(rel, NoLock);
	return tlist;
}

/* Checks of these kinds over columns of the target, or what stands for these in tlist. */
static List *calls(Query *query, int kinds, List *tlist, ReplaceVarsNoMatchOption otherwise,
		   Expr *key)
{
	List *out = NIL;
	ListCell *lc;

	if (tlist != NIL)
		tlist = with_generated(query, tlist, otherwise);
	foreach (lc, query->withCheckOptions) {
		const WithCheckOption *check = lfirst(lc);
		Node *qual = check->qual;

		if ((kinds & (1 << check->kind)) == 0)
			continue;
		if (tlist != NIL)
			qual = replaced(qual, query, tlist, otherwise);
		if (contain_volatile_functions(qual) && !contain_volatile_functions(check->qual))
			refuse(query);
		out = lappend(out, check_call(check, copyObject(qual), copyObject(key)));
	}
	return out;
}

/* Not the value of the key, that says the shard, if there is another. */
static void check_in(Query *query, List *tlist, List *checks)
{
	RangeTblEntry *rte = rt_fetch(query->resultRelation, query->rtable);
	AttrNumber key = herd_table_get(rte->relid)->keyattno;
	TargetEntry *chosen = NULL;
	ListCell *lc;

	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk && (chosen == NULL || chosen->resno == key))
			chosen = tle;
	}
	if (checks == NIL || chosen == NULL)
		return;
	chosen->expr = herd_when_checked(checks, chosen->expr);
	query->hasSubLinks = query->hasSubLinks || checkExprHasSubLink((Node *)checks);
}

/* RETURNING sees the row as it was stored. */
static void check_in_returning(Query *query, List *checks)
{
	TargetEntry *first = query->returningList ? linitial(query->returningList) : NULL;

	if (checks == NIL)
		return;
	if (first != NULL)
		first->expr = herd_when_checked(checks, first->expr);
	else
		query->returningList = list_make1(
			makeTargetEntry(make_ands_explicit(checks), 1, "check_policy", true));
	query->hasSubLinks = query->hasSubLinks || checkExprHasSubLink((Node *)checks);
}

/* Could the row that is stored be another than the statement says? */
static bool changes_on_the_way(const Query *query, int16 events)
{
	Oid relid = rt_fetch(query->resultRelation, query->rtable)->relid;
	Relation rel = table_open(relid, NoLock);
	bool found = false;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers && !found; i++) {
		int16 type = rel->trigdesc->triggers[i].tgtype;

		found = TRIGGER_FOR_ROW(type) && TRIGGER_FOR_BEFORE(type) && (type & events);
	}
	table_close(rel, NoLock);
	return found;
}

/* A relation of no columns and rows, that nothing refers to, in the place of one that moved. */
static RangeTblEntry *nothing(void)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RESULT;
	rte->eref = makeAlias("nothing", NIL);
	return rte;
}

/* INSERT .. SELECT columns FROM (what it inserts), so that each value is computed once. */
static void insert_from_subquery(Query *insert)
{
	Query *sub = copyObject(insert);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List *attnums, *names = NIL;
	ListCell *lc;

	sub->withCheckOptions = NIL;
	attnums = herd_insert_to_select(sub);
	foreach (lc, sub->rtable) {
		bool target = foreach_current_index(lc) + 1 == insert->resultRelation;

		if (target || (insert->onConflict != NULL &&
			       foreach_current_index(lc) + 1 == insert->onConflict->exclRelIndex))
			lfirst(lc) = nothing();
		else
			lfirst(list_nth_cell(insert->rtable, foreach_current_index(lc))) =
				nothing();
	}
	insert->targetList = insert->cteList = NIL;
	insert->hasModifyingCTE = insert->hasTargetSRFs = false;
	foreach (lc, sub->targetList) {
		TargetEntry *tle = lfirst(lc);
		Node *expr = (Node *)tle->expr;
		AttrNumber attno;
		Var *var;

		if (tle->resjunk)
			continue;
		attno = list_nth_int(attnums, tle->resno - 1);
		var = makeVar(list_length(insert->rtable) + 1, tle->resno, exprType(expr),
			      exprTypmod(expr), exprCollation(expr), 0);
		names = lappend(names, makeString(psprintf("c%d", tle->resno)));
		insert->targetList =
			lappend(insert->targetList,
				makeTargetEntry((Expr *)var, attno, tle->resname, false));
	}
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = sub;
	rte->inFromCl = true;
	rte->alias = makeAlias("new_rows", copyObject(names));
	rte->eref = makeAlias("new_rows", names);
	insert->rtable = lappend(insert->rtable, rte);
	ref->rtindex = list_length(insert->rtable);
	insert->jointree = makeFromExpr(list_make1(ref), NULL);
}

static void check_insert(Query *query)
{
	OnConflictExpr *conflict = query->onConflict;
	Expr *key = (Expr *)key_of_target(query);
	List *checks, *tlist;

	if (conflict != NULL &&
	    changes_on_the_way(query, conflict->action == ONCONFLICT_UPDATE
					      ? TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE
					      : TRIGGER_TYPE_INSERT))
		refuse(query);
	if (changes_on_the_way(query, TRIGGER_TYPE_INSERT)) {
		check_in_returning(query, calls(query, INSERTS, NIL, 0, key));
		return;
	}
	insert_from_subquery(query);
	tlist = copyObject(query->targetList);
	check_in(query, query->targetList,
		 calls(query, INSERTS, tlist, REPLACEVARS_SUBSTITUTE_NULL,
		       lfirst_node(TargetEntry, list_head(tlist))->expr));
	if (conflict == NULL || conflict->action != ONCONFLICT_UPDATE)
		return;
	tlist = copyObject(conflict->onConflictSet);
	checks = calls(query, MEETS, NIL, 0, key);
	checks = list_concat(checks, calls(query, UPDATES, tlist, REPLACEVARS_CHANGE_VARNO, key));
	check_in(query, conflict->onConflictSet, checks);
}

static void check_update(Query *query)
{
	Expr *key = (Expr *)key_of_target(query);
	List *tlist = copyObject(query->targetList);

	if (changes_on_the_way(query, TRIGGER_TYPE_UPDATE) ||
	    contain_volatile_functions((Node *)tlist) || herd_multiexpr_any(tlist))
		check_in_returning(query, calls(query, UPDATES, NIL, 0, key));
	else
		check_in(query, query->targetList,
			 calls(query, UPDATES, tlist, REPLACEVARS_CHANGE_VARNO, key));
}

/* Rows that an action is for, and may not change, are an error. */
static void check_target_row(Query *query, MergeAction *action, int kinds)
{
	List *checks = calls(query, kinds, NIL, 0, (Expr *)key_of_target(query));
	Expr *all;

	if (checks == NIL)
		return;
	all = make_ands_explicit(checks);
	query->hasSubLinks = query->hasSubLinks || checkExprHasSubLink((Node *)checks);
	if (action->qual == NULL)
		action->qual = (Node *)all;
	else
		action->qual = (Node *)herd_when_checked(
			IsA(action->qual, List) ? (List *)action->qual : list_make1(action->qual),
			all);
}

/* The conditions of the actions are looked at, and their values computed, on this node. */
static void check_merge(Query *query)
{
	Expr *key = (Expr *)key_of_target(query);
	ListCell *lc;

	foreach (lc, query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		bool inserts = action->commandType == CMD_INSERT;
		List *tlist;

		if (action->commandType == CMD_DELETE)
			check_target_row(query, action, MERGE_DELETES);
		if (action->commandType == CMD_UPDATE)
			check_target_row(query, action, MERGE_UPDATES);
		if (!inserts && action->commandType != CMD_UPDATE)
			continue;
		if (changes_on_the_way(query, inserts ? TRIGGER_TYPE_INSERT : TRIGGER_TYPE_UPDATE))
			refuse(query);
		if (herd_multiexpr_any(action->targetList))
			action->targetList = herd_multiexpr_split(action->targetList);
		if (action->targetList == NIL)
			refuse(query);
		tlist = copyObject(action->targetList);
		check_in(query, action->targetList,
			 inserts ? calls(query, INSERTS, tlist, REPLACEVARS_SUBSTITUTE_NULL,
					 linitial_node(TargetEntry, tlist)->expr)
				 : calls(query, UPDATES, tlist, REPLACEVARS_CHANGE_VARNO, key));
	}
}

void herd_policies_check(Query *query)
{
	List *others = NIL;
	ListCell *lc;

	foreach (lc, query->withCheckOptions)
		if (lfirst_node(WithCheckOption, lc)->kind == WCO_VIEW_CHECK)
			others = lappend(others, lfirst(lc));
	if (list_length(others) == list_length(query->withCheckOptions))
		return;
	if (query->commandType == CMD_INSERT)
		check_insert(query);
	else if (query->commandType == CMD_MERGE)
		check_merge(query);
	else
		check_update(query);
	query->withCheckOptions = others;
}

static bool is_of_target(WCOKind kind)
{
	return kind == WCO_RLS_MERGE_UPDATE_CHECK || kind == WCO_RLS_MERGE_DELETE_CHECK;
}

static const char *violation(WCOKind kind)
{
	return kind == WCO_RLS_CONFLICT_CHECK || is_of_target(kind) ? " (USING expression)" : "";
}

/* check_policy(kind, policy, table, condition, value of the row): raises unless it is true. */
PGDLLEXPORT Datum herd_check_policy(PG_FUNCTION_ARGS)
{
	WCOKind kind = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	const char *row = is_of_target(kind) ? "target row" : "new row";
	const char *how = violation(kind);
	const char *table = PG_ARGISNULL(2) ? "?" : text_to_cstring(PG_GETARG_TEXT_PP(2));

	if (!PG_ARGISNULL(3) && PG_GETARG_BOOL(3))
		PG_RETURN_BOOL(true);
	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("%s violates row-level security policy%s for table \"%s\"",
				       row, how, table)));
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("%s violates row-level security policy \"%s\"%s for table \"%s\"",
			       row, text_to_cstring(PG_GETARG_TEXT_PP(1)), how, table)));
}
