#include "plan/rights.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "access/htup_details.h"
#include "attach/attach.h"
#include "catalog/metadata.h"
#include "compat.h"
#include "plan/rewrite.h"

Oid herd_relation_owner(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class)GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static bool has_policies(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	bool found = rel->rd_rel->relrowsecurity;

	table_close(rel, NoLock);
	return found;
}

static Oid counts_as(const List *perms, const RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return rte->perminfoindex == 0
		       ? InvalidOid
		       : list_nth_node(RTEPermissionInfo, perms, rte->perminfoindex - 1)
				 ->checkAsUser;
#else
	return rte->checkAsUser;
#endif
}

/* May the user do by himself what the statement does with the relation? */
static bool user_may(const List *perms, const RangeTblEntry *rte)
{
	RangeTblEntry *own = copyObject((RangeTblEntry *)rte);
#if PG_VERSION_NUM >= 160000
	RTEPermissionInfo *perm;

	if (rte->perminfoindex == 0)
		return true;
	perm = copyObject(list_nth_node(RTEPermissionInfo, perms, rte->perminfoindex - 1));
	perm->checkAsUser = InvalidOid;
	own->perminfoindex = 1;
	return ExecCheckPermissions(list_make1(own), list_make1(perm), false);
#else
	own->checkAsUser = InvalidOid;
	return ExecCheckRTPerms(list_make1(own), false);
#endif
}

static void add(HerdRights *rights, Oid relid, Oid role)
{
	rights->relids = lappend_oid(rights->relids, relid);
	rights->roles = lappend_oid(rights->roles, role);
}

/* How the roles of a statement use a table. */
typedef struct Use {
	bool foreign; /* one is not the user */
	bool same;    /* all are one role, which is: */
	Oid role;
	bool may;     /* the user may do all of it by himself */
	bool checked; /* policies count for one of them */
} Use;

static Use use_of(const List *rtes, const List *perms, Oid relid, bool policies)
{
	Use use = { .same = true, .may = true };
	const ListCell *lc;

	foreach (lc, rtes) {
		const RangeTblEntry *rte = lfirst(lc);
		Oid as;

		if (rte->relid != relid)
			continue;
		as = counts_as(perms, rte);
		use.checked = use.checked ||
			      (policies && check_enable_rls(relid, as, true) == RLS_ENABLED);
		if (!OidIsValid(as))
			as = GetUserId();
		use.foreign = use.foreign || as != GetUserId();
		use.same = use.same && (use.role == InvalidOid || use.role == as);
		use.role = as;
		use.may = use.may && user_may(perms, rte);
	}
	return use;
}

/*
 * On a table that several roles use in the statement the owner's rights count in shards, as this
 * node has checked those of each; where policies tell roles apart, this node has to apply them.
 */
static void look_at_table(HerdRights *rights, const List *rtes, const List *perms, Oid relid)
{
	bool policies = has_policies(relid);
	Use use = use_of(rtes, perms, relid, policies);

	if (use.checked && (!use.same || herd_attach_policies_far(relid))) {
		rights->here = lappend_oid(rights->here, relid);
		add(rights, relid, BOOTSTRAP_SUPERUSERID);
		return;
	}
	if (!use.foreign || (use.may && !policies))
		return;
	add(rights, relid, use.same ? use.role : herd_relation_owner(relid));
}

HerdRights herd_rights_of(const List *rtes, const List *perms)
{
	HerdRights rights = { 0 };
	List *seen = NIL, *tables = NIL;
	bool foreign = false;
	ListCell *lc;

	foreach (lc, rtes) {
		RangeTblEntry *rte = lfirst(lc);

		if (list_member_oid(seen, rte->relid))
			continue;
		seen = lappend_oid(seen, rte->relid);
		if (herd_table_get(rte->relid) != NULL)
			tables = lappend_oid(tables, rte->relid);
	}
	foreach (lc, rtes)
		foreign = foreign || OidIsValid(counts_as(perms, lfirst(lc)));
	foreach (lc, tables)
		if (foreign || has_policies(lfirst_oid(lc)))
			look_at_table(&rights, rtes, perms, lfirst_oid(lc));
	return rights;
}

bool herd_rights_here(Oid relid)
{
	return herd_planning_current && list_member_oid(herd_planning_current->rights.here, relid);
}

List *herd_rights_relids(void)
{
	return herd_planning_current ? herd_planning_current->rights.relids : NIL;
}

List *herd_rights_roles(void)
{
	return herd_planning_current ? herd_planning_current->rights.roles : NIL;
}

bool herd_rights_on_all_columns(Oid relid)
{
	Oid role = GetUserId();
	ListCell *rel, *as;

	forboth(rel, herd_rights_relids(), as, herd_rights_roles())
	{
		if (lfirst_oid(rel) == relid)
			role = lfirst_oid(as);
	}
	return pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK;
}

static bool read_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		Query *query = (Query *)node;
		ListCell *lc;

		foreach (lc, query->rtable) {
			RangeTblEntry *rte = lfirst(lc);

			if (rte->rtekind == RTE_RELATION &&
			    foreach_current_index(lc) + 1 != query->resultRelation &&
			    list_member_oid(herd_rights_relids(), rte->relid))
				return true;
		}
		return query_tree_walker(query, read_walker, context, 0);
	}
	return expression_tree_walker(node, read_walker, context);
}

bool herd_rights_read(Query *query)
{
	return herd_rights_relids() != NIL && read_walker((Node *)query, NULL);
}

/* Reading a value of a composite type with a domain in it runs the domain's checks, for one. */
static bool is_plain(Oid type)
{
	Oid element = get_element_type(type);

	if (OidIsValid(element))
		type = element;
	if (type < FirstNormalObjectId)
		return true;
	return get_typtype(type) == TYPTYPE_BASE || get_typtype(type) == TYPTYPE_ENUM;
}

/* May the value be text in the statement, which becomes the type when the statement runs? */
static bool comes_from_text(Oid type)
{
	Oid func;

	return find_coercion_pathway(type, TEXTOID, COERCION_EXPLICIT, &func) ==
	       COERCION_PATH_COERCEVIAIO;
}

static bool values_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Const) || IsA(node, Param)) {
		Oid type = exprType(node);

		if ((IsA(node, Const) && (((Const *)node)->constisnull || comes_from_text(type))) ||
		    is_plain(type))
			return false;
		ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a value of type %s cannot be used with tables below a view of "
				"another user",
				format_type_be(type)),
			 errhint("Create the view with security_invoker, or make the value in the "
				 "statement from values of built-in types.")));
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, values_walker, context, 0);
	return expression_tree_walker(node, values_walker, context);
}

void herd_rights_check_values(Query *query)
{
	values_walker((Node *)query, NULL);
}

static Node *spell_mutator(Node *node, void *context)
{
	Const *value = (Const *)node;
	CoerceViaIO *cast;
	Oid output;
	bool varlena;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *)query_tree_mutator((Query *)node, spell_mutator, context, 0);
	if (!IsA(node, Const) || value->constisnull || is_plain(value->consttype))
		return expression_tree_mutator(node, spell_mutator, context);
	getTypeOutputInfo(value->consttype, &output, &varlena);
	cast = makeNode(CoerceViaIO);
	cast->arg = (Expr *)makeConst(
		TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
		CStringGetTextDatum(OidOutputFunctionCall(output, value->constvalue)), false,
		false);
	cast->resulttype = value->consttype;
	cast->resultcollid = value->constcollid;
	cast->coerceformat = COERCE_EXPLICIT_CAST;
	cast->location = -1;
	return (Node *)cast;
}

Query *herd_rights_spell_values(Query *query)
{
	herd_rights_check_values(query);
	return castNode(Query, spell_mutator((Node *)query, NULL));
}

bool herd_rights_foreign(const Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	Oid as = counts_as(query->rteperminfos, rte);
#else
	Oid as = counts_as(NIL, rte);
#endif

	return OidIsValid(as) && as != GetUserId();
}
