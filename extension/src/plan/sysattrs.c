#include "plan/sysattrs.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/heap.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"

#include "deparse/deparse.h"

typedef struct SystemContext {
	int varno;
	int depth;
	List *attnos;
	AttrNumber first;
	Oid relid;
} SystemContext;

static bool is_system(const Var *var, const SystemContext *cxt)
{
	return var->varno == cxt->varno && var->varlevelsup == (Index)cxt->depth &&
	       var->varattno < 0;
}

static bool walk(Node *node, bool (*walker)(Node *, void *), SystemContext *cxt)
{
	bool result;

	if (!IsA(node, Query))
		return expression_tree_walker(node, walker, (void *)cxt);
	cxt->depth++;
	result = query_tree_walker((Query *)node, walker, (void *)cxt, 0);
	cxt->depth--;
	return result;
}

static bool find_walker(Node *node, void *context)
{
	SystemContext *cxt = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var) && is_system((Var *)node, cxt))
		cxt->attnos = list_append_unique_int(cxt->attnos, ((Var *)node)->varattno);
	return walk(node, find_walker, cxt);
}

List *herd_system_columns(Query *query, int varno)
{
	SystemContext cxt = { .varno = varno };

	query_tree_walker(query, find_walker, &cxt, 0);
	list_sort(cxt.attnos, list_int_cmp);
	return cxt.attnos;
}

Oid herd_system_column_type(AttrNumber attno, const char **name)
{
	const FormData_pg_attribute *att = SystemAttributeDefinition(attno);

	*name = NameStr(att->attname);
	return att->atttypid;
}

static int place_of(const List *attnos, int attno)
{
	const ListCell *lc;

	foreach (lc, attnos)
		if (lfirst_int(lc) == attno)
			return foreach_current_index(lc);
	elog(ERROR, "system column %d is not among those that are read", attno);
}

static bool behind_walker(Node *node, void *context)
{
	SystemContext *cxt = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var) && is_system((Var *)node, cxt)) {
		Var *var = (Var *)node;

		var->varattno = cxt->first + place_of(cxt->attnos, var->varattno);
		var->varnosyn = var->varno;
		var->varattnosyn = var->varattno;
		return false;
	}
	return walk(node, behind_walker, cxt);
}

void herd_system_columns_behind(Query *query, int varno, const List *attnos, AttrNumber first)
{
	SystemContext cxt = { .varno = varno, .attnos = (List *)attnos, .first = first };

	query_tree_walker(query, behind_walker, &cxt, 0);
}

static bool whole_walker(Node *node, void *context)
{
	SystemContext *cxt = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var)) {
		Var *var = (Var *)node;

		if (var->varno != cxt->varno || var->varlevelsup != (Index)cxt->depth ||
		    var->varattno != 0)
			return false;
		var->varattno = cxt->first;
		var->varnosyn = var->varno;
		var->varattnosyn = var->varattno;
		cxt->relid = var->vartype;
		return false;
	}
	return walk(node, whole_walker, cxt);
}

Oid herd_whole_row_behind(Query *query, int varno, AttrNumber attno)
{
	SystemContext cxt = { .varno = varno, .first = attno };

	query_tree_walker(query, whole_walker, &cxt, 0);
	return cxt.relid;
}

static Node *again_mutator(Node *node, void *context)
{
	SystemContext *cxt = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *)node)->varno == cxt->varno &&
	    ((Var *)node)->varattno >= cxt->first) {
		Var *var = copyObject((Var *)node);

		var->varattno = list_nth_int(cxt->attnos, var->varattno - cxt->first);
		var->varnosyn = var->varno;
		var->varattnosyn = var->varattno;
		return (Node *)var;
	}
	return expression_tree_mutator(node, again_mutator, context);
}

Node *herd_system_columns_again(Node *expr, int varno, const List *attnos, AttrNumber first)
{
	SystemContext cxt = { .varno = varno, .attnos = (List *)attnos, .first = first };

	return attnos == NIL ? expr : again_mutator(expr, &cxt);
}

static Node *name_mutator(Node *node, void *context)
{
	SystemContext *cxt = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && is_system((Var *)node, cxt) &&
	    ((Var *)node)->varattno == TableOidAttributeNumber)
		return herd_unless_null_row(
			(Var *)node, (Expr *)makeConst(OIDOID, -1, InvalidOid, sizeof(Oid),
						       ObjectIdGetDatum(cxt->relid), false, true));
	if (IsA(node, Query)) {
		cxt->depth++;
		query_tree_mutator((Query *)node, name_mutator, context, QTW_DONT_COPY_QUERY);
		cxt->depth--;
		return node;
	}
	return expression_tree_mutator(node, name_mutator, context);
}

void herd_name_replica(Query *query, int varno, Oid relid)
{
	SystemContext cxt = { .varno = varno, .relid = relid };

	if (list_member_int(herd_system_columns(query, varno), TableOidAttributeNumber))
		query_tree_mutator(query, name_mutator, &cxt, QTW_DONT_COPY_QUERY);
}
