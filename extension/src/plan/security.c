#include "plan/security.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif
#include "rewrite/rewriteManip.h"
#include "rewrite/rowsecurity.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/typcache.h"

#include "catalog/metadata.h"
#include "plan/policies.h"
#include "plan/rights.h"

/* Values of a failing row are shown up to this length, as PostgreSQL does. */
#define SHOWN_LENGTH 64

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_check_option);

static bool has_policies(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	bool found = rel->rd_rel->relrowsecurity;

	table_close(rel, NoLock);
	return found;
}

/* first, and the others; what could tell something of its arguments only where first is true. */
static Node *guarded(Node *first, Node *others)
{
	List *all = list_make1(first), *leaky = NIL;
	CaseExpr *choice;
	CaseWhen *when;
	ListCell *lc;

	foreach (lc, make_ands_implicit((Expr *)others)) {
		if (contain_leaked_vars(lfirst(lc)))
			leaky = lappend(leaky, lfirst(lc));
		else
			all = lappend(all, lfirst(lc));
	}
	if (leaky == NIL)
		return (Node *)make_ands_explicit(all);
	choice = makeNode(CaseExpr);
	when = makeNode(CaseWhen);
	when->expr = (Expr *)copyObject(first);
	when->result = make_ands_explicit(leaky);
	when->location = -1;
	choice->casetype = BOOLOID;
	choice->args = list_make1(when);
	choice->defresult = (Expr *)makeBoolConst(false, false);
	choice->location = -1;
	return (Node *)make_ands_explicit(lappend(all, choice));
}

/* Conditions of policies come first, then those of security barrier views. */
static int all_policies(Query *query, RangeTblEntry *rte)
{
	List *quals, *checks;
	bool enabled, sublinks;

	if (!has_policies(rte->relid))
		return 0;
	get_row_security_policies(query, rte, query->resultRelation, &quals, &checks, &enabled,
				  &sublinks);
	return list_length(quals);
}

static int count_policies(Query *query, RangeTblEntry *rte)
{
	return herd_rights_here(rte->relid) ? 0 : all_policies(query, rte);
}

/* What stands behind so many policies, each to be asked before the next; or NULL. */
static Node *conditions_of_views(RangeTblEntry *rte, int policies)
{
	Node *first = NULL;
	ListCell *lc;

	foreach (lc, rte->securityQuals) {
		Node *qual = lfirst(lc);

		if (foreach_current_index(lc) < policies)
			continue;

		/* each is a condition or a list of them that are to be asked before the next */
		if (IsA(qual, List))
			qual = (Node *)make_ands_explicit((List *)qual);
		first = first ? guarded(first, qual) : qual;
	}
	return first;
}

/* What shards do not know of: not the policies, if they have these. */
static void security_of_target(Query *query, RangeTblEntry *rte)
{
	Node *first = conditions_of_views(rte, count_policies(query, rte));

	rte->securityQuals = NIL;
	if (first == NULL)
		return;
	query->hasSubLinks = query->hasSubLinks || checkExprHasSubLink(first);
	query->jointree->quals = guarded(first, query->jointree->quals);
}

/* A view without a WHERE has one that is empty. */
static bool is_view_check(const WithCheckOption *check)
{
	return check->kind == WCO_VIEW_CHECK && check->qual != NULL;
}

/* The names of the columns that the statement gives values to, as an array. */
static Const *given_columns(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	RTEPermissionInfo *perms = rte->perminfoindex
					   ? getRTEPermissionInfo(query->rteperminfos, rte)
					   : makeNode(RTEPermissionInfo);
	Bitmapset *given = bms_union(perms->insertedCols, perms->updatedCols);
#else
	Bitmapset *given = bms_union(rte->insertedCols, rte->updatedCols);
#endif
	Datum *names = palloc((bms_num_members(given) + 1) * sizeof(Datum));
	int n = 0, member = -1;

	while ((member = bms_next_member(given, member)) >= 0) {
		AttrNumber attno = member + FirstLowInvalidHeapAttributeNumber;

		if (attno > 0)
			names[n++] = CStringGetTextDatum(get_attname(rte->relid, attno, false));
	}
	return makeConst(
		TEXTARRAYOID, -1, DEFAULT_COLLATION_OID, -1,
		PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT)), false,
		false);
}

static Expr *check_call(Query *query, const WithCheckOption *check)
{
	Oid types[4] = { TEXTOID, BOOLOID, RECORDOID, TEXTARRAYOID };
	List *name = list_make2(makeString("citus_internal"), makeString("check_option"));
	RangeTblEntry *rte = rt_fetch(query->resultRelation, query->rtable);
	Var *row =
		makeVar(query->resultRelation, 0, get_rel_type_id(rte->relid), -1, InvalidOid, 0);
	Const *view = makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
				CStringGetTextDatum(check->relname), false, false);
	Node *qual = check->qual;
	FuncExpr *call;

	if (IsA(qual, List))
		qual = (Node *)make_ands_explicit((List *)qual);
	call = makeFuncExpr(LookupFuncName(name, 4, types, false), BOOLOID,
			    list_make4(view, copyObject(qual), row, given_columns(query, rte)),
			    InvalidOid, DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);
	return (Expr *)call;
}

#if PG_VERSION_NUM >= 170000
/* MERGE: a row that is deleted is not checked. */
static Expr *unless_deleted(Expr *check)
{
	MergeSupportFunc *name = makeNode(MergeSupportFunc);
	Const *deleted = makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
				   CStringGetTextDatum("DELETE"), false, false);
	FuncExpr *is;

	name->msftype = TEXTOID;
	name->msfcollid = DEFAULT_COLLATION_OID;
	name->location = -1;
	is = makeFuncExpr(F_TEXTEQ, BOOLOID, list_make2(name, deleted), InvalidOid,
			  DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);
	return make_orclause(list_make2(is, check));
}
#else
#define unless_deleted(check) (check)
#endif

/* RETURNING sees the row as it was stored, as a check option does. */
static void checks_of_target(Query *query)
{
	ListCell *lc;

	foreach (lc, query->withCheckOptions) {
		WithCheckOption *check = lfirst(lc);
		TargetEntry *first = query->returningList ? linitial(query->returningList) : NULL;
		Expr *call;

		if (!is_view_check(check))
			continue;
		call = check_call(query, check);
		if (query->commandType == CMD_MERGE)
			call = unless_deleted(call);
		if (first != NULL)
			first->expr = herd_when_checked(list_make1(call), first->expr);
		else
			query->returningList =
				list_make1(makeTargetEntry(call, 1, "check_option", true));
	}
	query->withCheckOptions = NIL;
}

/*
 * Rows that the conditions of views hide match nothing, and are no target rows without a match. The
 * policies stay for who reads the target on this node.
 */
static void security_of_merged(Query *query, RangeTblEntry *rte)
{
	int policies = all_policies(query, rte);
#if PG_VERSION_NUM >= 170000
	Node *first = conditions_of_views(rte, policies);

	if (first != NULL) {
		query->hasSubLinks = query->hasSubLinks || checkExprHasSubLink(first);
		query->mergeJoinCondition = guarded(first, query->mergeJoinCondition);
		query->jointree->quals = make_and_qual(query->jointree->quals, copyObject(first));
	}
#endif
	rte->securityQuals = list_copy_head(rte->securityQuals, policies);
}

static void prepare_query(Query *query)
{
	ListCell *lc;
	bool written = false;

	foreach (lc, query->rtable) {
		RangeTblEntry *rte = lfirst(lc);
		const HerdTable *table;

		if (rte->rtekind != RTE_RELATION || (table = herd_table_get(rte->relid)) == NULL)
			continue;
		if (foreach_current_index(lc) + 1 == query->resultRelation) {
			written = true;
			if (query->commandType == CMD_MERGE)
				security_of_merged(query, rte);
			else if (rte->securityQuals != NIL)
				security_of_target(query, rte);
		} else if (herd_rights_here(rte->relid)) {
			if (rte->securityQuals != NIL)
				herd_policies_read(query, foreach_current_index(lc) + 1);
		} else if (table->kind == HERD_TABLE_HASH ||
			   table->kind == HERD_TABLE_SINGLE_SHARD) {
			rte->securityQuals = NIL;
		}
	}
	if (!written)
		return;
	if (herd_rights_here(rt_fetch(query->resultRelation, query->rtable)->relid))
		herd_policies_check(query);
	checks_of_target(query);
}

static bool prepare_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		prepare_query((Query *)node);
		return query_tree_walker((Query *)node, prepare_walker, context, 0);
	}
	return expression_tree_walker(node, prepare_walker, context);
}

void herd_prepare_security(Query *query)
{
	prepare_walker((Node *)query, NULL);
}

bool herd_returns_rows(const Query *query)
{
	ListCell *lc;

	foreach (lc, query->returningList)
		if (!((TargetEntry *)lfirst(lc))->resjunk)
			return true;
	return false;
}

/* As in PostgreSQL, whether or not there are rows for an action. */
static void look_at_actions(HerdFire *fire, const Query *merge)
{
	ListCell *lc;

	foreach (lc, merge->mergeActionList) {
		const MergeAction *action = lfirst(lc);
		ListCell *cl;

		if (action->commandType == CMD_INSERT)
			fire->merges |= TRIGGER_TYPE_INSERT;
		if (action->commandType == CMD_DELETE)
			fire->merges |= TRIGGER_TYPE_DELETE;
		if (action->commandType != CMD_UPDATE)
			continue;
		fire->merges |= TRIGGER_TYPE_UPDATE;
		foreach (cl, action->targetList)
			fire->columns = list_append_unique_int(fire->columns,
							       lfirst_node(TargetEntry, cl)->resno);
	}
}

HerdFire *herd_fire_of(const Query *query)
{
	HerdFire fire = { .command = query->commandType };
	HerdFire *result;
	RangeTblEntry *rte;
	ListCell *lc;

	if (query->resultRelation == 0 || query->commandType == CMD_SELECT)
		return NULL;
	rte = rt_fetch(query->resultRelation, query->rtable);
	if (herd_table_get(rte->relid) == NULL)
		return NULL;
	fire.relid = rte->relid;
	fire.upserts = query->onConflict != NULL && query->onConflict->action == ONCONFLICT_UPDATE;
	if (fire.command == CMD_MERGE)
		look_at_actions(&fire, query);
	if (!herd_fire_wanted(&fire))
		return NULL;
	foreach (lc, fire.command == CMD_MERGE ? NIL
		     : fire.upserts            ? query->onConflict->onConflictSet
					       : query->targetList)
		if (!((TargetEntry *)lfirst(lc))->resjunk && fire.command != CMD_DELETE)
			fire.columns =
				lappend_int(fire.columns, ((TargetEntry *)lfirst(lc))->resno);
	result = palloc(sizeof(HerdFire));
	*result = fire;
	return result;
}

bool herd_ctes_fire(const Query *query)
{
	ListCell *lc;

	foreach (lc, query->cteList) {
		Query *sub = castNode(Query, ((CommonTableExpr *)lfirst(lc))->ctequery);

		if (herd_fire_of(sub) != NULL)
			return true;
	}
	return false;
}

static bool is_given(const char *column, ArrayType *given)
{
	Datum *names;
	bool *nulls;
	int n;

	deconstruct_array(given, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (strcmp(TextDatumGetCString(names[i]), column) == 0)
			return true;
	return false;
}

static void append_shown(StringInfo out, Datum value, bool isnull, Oid type)
{
	char *shown = "null";
	bool varlena;
	Oid output;
	int len;

	if (!isnull) {
		getTypeOutputInfo(type, &output, &varlena);
		shown = OidOutputFunctionCall(output, value);
	}
	len = strlen(shown);
	appendStringInfo(out, "%s%.*s%s", out->len > 0 ? ", " : "",
			 len > SHOWN_LENGTH ? pg_mbcliplen(shown, len, SHOWN_LENGTH) : len, shown,
			 len > SHOWN_LENGTH ? "..." : "");
}

/*
 * "(1, abc, null)", or "(a, b) = (1, abc)" of the columns that the user may read or has given; NULL
 * when nothing may be shown.
 */
static char *shown_row(HeapTupleHeader header, ArrayType *given)
{
	Oid type = HeapTupleHeaderGetTypeId(header), relid = get_typ_typrelid(type);
	TupleDesc desc = lookup_rowtype_tupdesc(type, HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = { .t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header };
	bool all = OidIsValid(relid) &&
		   pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	StringInfoData names, values;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		char *name = NameStr(att->attname);
		bool isnull;
		Datum value = heap_getattr(&tuple, i + 1, desc, &isnull);

		if (att->attisdropped ||
		    !(all || is_given(name, given) ||
		      (OidIsValid(relid) && pg_attribute_aclcheck(relid, att->attnum, GetUserId(),
								  ACL_SELECT) == ACLCHECK_OK)))
			continue;
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", name);
		append_shown(&values, value, isnull, att->atttypid);
	}
	ReleaseTupleDesc(desc);
	if ((OidIsValid(relid) && check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED) ||
	    values.len == 0)
		return NULL;
	return all ? psprintf("(%s)", values.data)
		   : psprintf("(%s) = (%s)", names.data, values.data);
}

/* check_option(view, condition, row, columns given): raises unless the condition is true. */
PGDLLEXPORT Datum herd_check_option(PG_FUNCTION_ARGS)
{
	char *shown;

	if (!PG_ARGISNULL(1) && PG_GETARG_BOOL(1))
		PG_RETURN_BOOL(true);
	shown = PG_ARGISNULL(2) || PG_ARGISNULL(3)
			? NULL
			: shown_row(PG_GETARG_HEAPTUPLEHEADER(2), PG_GETARG_ARRAYTYPE_P(3));
	ereport(ERROR, (errcode(ERRCODE_WITH_CHECK_OPTION_VIOLATION),
			errmsg("new row violates check option for view \"%s\"",
			       PG_ARGISNULL(0) ? "?" : text_to_cstring(PG_GETARG_TEXT_PP(0))),
			shown ? errdetail("Failing row contains %s.", shown) : 0));
}
