#include "deparse/code.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "attach/attach.h"
#include "catalog/metadata.h"

/* Not in C, and not of PostgreSQL itself. */
static bool is_users(Oid func, char *volatility)
{
	HeapTuple tuple;
	Form_pg_proc proc;
	bool found;

	if (func < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(func));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", func);
	proc = (Form_pg_proc)GETSTRUCT(tuple);
	found = proc->prolang != ClanguageId && proc->prolang != INTERNALlanguageId;
	*volatility = proc->provolatile;
	ReleaseSysCache(tuple);
	return found;
}

/* Functions of PostgreSQL that look at a setting, or at the time, besides their arguments. */
static bool looks_around(Oid func)
{
	switch (func) {
	case F_AGE_TIMESTAMP:
	case F_AGE_TIMESTAMPTZ:
	case F_CURRENT_SETTING_TEXT:
	case F_CURRENT_SETTING_TEXT_BOOL:
	case F_TO_TSVECTOR_TEXT:
	case F_TO_TSVECTOR_JSON:
	case F_TO_TSVECTOR_JSONB:
	case F_TO_TSQUERY_TEXT:
	case F_PLAINTO_TSQUERY_TEXT:
	case F_PHRASETO_TSQUERY_TEXT:
	case F_WEBSEARCH_TO_TSQUERY_TEXT:
	case F_TS_HEADLINE_TEXT_TSQUERY:
		return true;
	default:
		return false;
	}
}

static bool code_checker(Oid func, void *context)
{
	char volatility;

	return looks_around(func) || is_users(func, &volatility);
}

static bool code_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		ListCell *lc;

		foreach (lc, ((Query *)node)->rtable) {
			RangeTblEntry *rte = lfirst(lc);

			if (rte->rtekind == RTE_RELATION && herd_table_get(rte->relid) != NULL &&
			    herd_attach_has_code(rte->relid))
				return true;
		}
		return query_tree_walker((Query *)node, code_walker, context, 0);
	}
	if (check_functions_in_node(node, code_checker, context))
		return true;
	return expression_tree_walker(node, code_walker, context);
}

bool herd_query_has_code(Query *query)
{
	return code_walker((Node *)query, NULL);
}

/* Volatile functions of PostgreSQL whose value does not depend on where they run. */
static bool same_anywhere(Oid func)
{
	switch (func) {
#if PG_VERSION_NUM >= 170000
	case F_RANDOM_:
#else
	case F_RANDOM:
#endif
	case F_GEN_RANDOM_UUID:
	case F_CLOCK_TIMESTAMP:
	case F_TIMEOFDAY:
	case F_PG_SLEEP:
		return true;
	default:
		return false;
	}
}

static bool stays_checker(Oid func, void *context)
{
	char volatility;

	if (is_users(func, &volatility))
		return volatility != PROVOLATILE_IMMUTABLE;
	return func < FirstNormalObjectId && func_volatile(func) == PROVOLATILE_VOLATILE &&
	       !same_anywhere(func);
}

static bool stays_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, NextValueExpr) || check_functions_in_node(node, stays_checker, context))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, stays_walker, context, 0);
	return expression_tree_walker(node, stays_walker, context);
}

bool herd_expr_stays_here(Node *expr)
{
	return stays_walker(expr, NULL);
}

static bool session_checker(Oid func, void *context)
{
	return func < FirstNormalObjectId && stays_checker(func, context);
}

static bool session_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, NextValueExpr) || check_functions_in_node(node, session_checker, context))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, session_walker, context, 0);
	return expression_tree_walker(node, session_walker, context);
}

bool herd_expr_of_session(Node *expr)
{
	return session_walker(expr, NULL);
}

bool herd_volatile(Node *expr)
{
	return contain_volatile_functions(expr) || herd_expr_stays_here(expr);
}

bool herd_func_is_of_shards(Oid func)
{
	const char *name = func >= FirstNormalObjectId ? get_func_name(func) : NULL;

	return name != NULL && strcmp(name, "latest_rows") == 0 &&
	       get_func_namespace(func) == get_namespace_oid("citus_internal", true);
}
