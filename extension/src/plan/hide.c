#include "plan/hide.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/metadata.h"
#include "conn/adopt.h"

PG_FUNCTION_INFO_V1(herd_shard_is_hidden_sql);

static bool hide = true;
static char *shown_to = NULL;

/* One beginning out of the list, as application_name is compared: as it is, blanks within too. */
static bool begins(const char *prefix, int len)
{
	if (len == 1 && *prefix == '*')
		return true;
	return len > 0 && application_name && strncmp(application_name, prefix, len) == 0;
}

static bool shown_here(void)
{
	const char *p = shown_to;

	while (*p != '\0') {
		int len;

		p += strspn(p, " \t,");
		len = (int)strcspn(p, ",");
		while (len > 0 && isspace((unsigned char)p[len - 1]))
			len--;
		if (begins(p, len))
			return true;
		p += strcspn(p, ",");
	}
	return false;
}

static bool hides(void)
{
	return hide && !herd_session_is_internal() && !shown_here();
}

/* "..._102008": 102008; 0 when the name has no such end. */
static uint64 shard_of_name(const char *name)
{
	const char *end = name + strlen(name), *p = end;
	uint64 id = 0;

	while (p > name && isdigit((unsigned char)p[-1]))
		p--;
	if (p == end || end - p > 18 || p == name || p[-1] != '_')
		return 0;
	for (; p < end; p++)
		id = id * 10 + (uint64)(*p - '0');
	return id;
}

static bool is_shard(Form_pg_class rel)
{
	uint64 id = shard_of_name(NameStr(rel->relname));
	const HerdTable *table;
	char *parent, *name;
	int i;
	bool same;

	if (id == 0 || !herd_shard_find(id, &table, &i) || table->relid == rel->oid ||
	    get_rel_namespace(table->relid) != rel->relnamespace)
		return false;
	parent = get_rel_name(table->relid);
	if (parent == NULL)
		return false;
	name = herd_shard_name(parent, id);
	same = strcmp(name, NameStr(rel->relname)) == 0;
	pfree(name);
	pfree(parent);
	return same;
}

static bool relation_is_shard(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class rel;
	bool result = false, index;

	if (!HeapTupleIsValid(tuple))
		return false;
	rel = (Form_pg_class)GETSTRUCT(tuple);
	index = rel->relkind == RELKIND_INDEX || rel->relkind == RELKIND_PARTITIONED_INDEX;
	if (!index)
		result = is_shard(rel);
	ReleaseSysCache(tuple);
	if (index) {
		Oid table = IndexGetRelation(relid, true);

		result = OidIsValid(table) && relation_is_shard(table);
	}
	return result;
}

/* The condition that herd_hide_shards adds: asked when it runs, for plans are kept. */
PGDLLEXPORT Datum herd_shard_is_hidden_sql(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);

	PG_RETURN_BOOL(relid >= FirstNormalObjectId && hides() && relation_is_shard(relid));
}

static Oid condition(void)
{
	Oid argument = OIDOID;

	return LookupFuncName(
		list_make2(makeString("citus_internal"), makeString("shard_is_hidden")), 1,
		&argument, true);
}

static Expr *not_hidden(Oid func, int varno)
{
	Var *oid = makeVar(varno, Anum_pg_class_oid, OIDOID, -1, InvalidOid, 0);
	Expr *call = (Expr *)makeFuncExpr(func, BOOLOID, list_make1(oid), InvalidOid, InvalidOid,
					  COERCE_EXPLICIT_CALL);

	return makeBoolExpr(NOT_EXPR, list_make1(call), -1);
}

static bool hide_walker(Node *node, Oid *func)
{
	Query *query = (Query *)node;
	ListCell *lc;
	int varno = 0;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, hide_walker, func);
	foreach (lc, query->rtable) {
		RangeTblEntry *rte = lfirst(lc);

		varno++;
		if (rte->rtekind != RTE_RELATION || rte->relid != RelationRelationId ||
		    varno == query->resultRelation)
			continue;
		if (!OidIsValid(*func))
			*func = condition();
		if (!OidIsValid(*func))
			return true;
		rte->securityQuals = lappend(rte->securityQuals, not_hidden(*func, varno));
	}
	return query_tree_walker(query, hide_walker, func, 0);
}

void herd_hide_shards(Query *query, const char *source)
{
	Oid func = InvalidOid;

	/* Only what the client sent: functions and the extension itself have texts of their own. */
	if (source != NULL && source == debug_query_string && herd_enabled() && hides())
		hide_walker((Node *)query, &func);
}

void herd_hide_init(void)
{
	DefineCustomBoolVariable("citus.override_table_visibility",
				 "Hides shards from the tables that clients list.", NULL, &hide,
				 true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("citus.show_shards_for_app_name_prefixes",
				   "Beginnings of the application names that see shards.",
				   "Separated by commas; * stands for all.", &shown_to, "",
				   PGC_USERSET, 0, NULL, NULL, NULL);
}
