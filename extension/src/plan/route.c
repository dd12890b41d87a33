#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "plan/leaves.h"
#include "plan/route.h"
#include "plan/security.h"

static Node *restore_params_mutator(Node *node, void *context)
{
	List *evals = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *)node)->paramkind == PARAM_EXTERN)
		return copyObject(list_nth(evals, ((Param *)node)->paramid - 1));
	return expression_tree_mutator(node, restore_params_mutator, context);
}

void herd_remote_add_key(HerdRemote *remote, const HerdTable *table, const HerdFact *fact,
			 bool extracted)
{
	Node *expr = fact->right.expr ? fact->right.expr : fact->left.expr;
	Node *node = expr;
	int pos = 0;

	if (extracted) {
		while (IsA(node, RelabelType))
			node = (Node *)((RelabelType *)node)->arg;
		if (IsA(node, Param))
			pos = ((Param *)node)->paramid;
		else
			expr = restore_params_mutator(expr, remote->evals);
	}
	if (pos == 0)
		pos = herd_eval_add(&remote->evals, (Expr *)expr);
	if (list_member_int(remote->keys, pos))
		return;
	remote->keys = lappend_int(remote->keys, pos);
	remote->keyprocs = lappend_oid(remote->keyprocs, herd_key_hash_proc(table, fact->type));
}

Const *herd_bound_value(Node *expr, ParamListInfo bound)
{
	PlannerGlobal glob = { .type = T_PlannerGlobal };
	PlannerInfo root = { .type = T_PlannerInfo };

	glob.boundParams = bound;
	root.glob = &glob;
	expr = estimate_expression_value(&root, copyObject(expr));
	return IsA(expr, Const) ? (Const *)expr : NULL;
}

static bool may_write_checker(Oid func, void *context)
{
	return func >= FirstNormalObjectId && func_volatile(func) == PROVOLATILE_VOLATILE;
}

static bool may_write_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, may_write_checker, context))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, may_write_walker, context, 0);
	return expression_tree_walker(node, may_write_walker, context);
}

bool herd_query_may_write(Query *query)
{
	return query_tree_walker(query, may_write_walker, NULL, 0);
}

bool herd_columns_can_travel(List *tlist, bool junk)
{
	ListCell *lc;

	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		Oid type = exprType((Node *)tle->expr);

		if ((tle->resjunk && !junk) || type == VOIDOID)
			continue;
		if (type == RECORDOID || type == RECORDARRAYOID ||
		    get_typtype(type) == TYPTYPE_PSEUDO)
			return false;
	}
	return true;
}

bool herd_remote_keys_meet(HerdRemote *remote, ParamListInfo bound, bool *needs_params)
{
	const HerdTable *table = herd_table_get(remote->anchor);
	int found = -1;
	ListCell *key;
	ListCell *proc;

	if (list_length(remote->keys) <= 1)
		return true;
	forboth(key, remote->keys, proc, remote->keyprocs)
	{
		int i = lfirst_int(key) - 1;
		Const *value;
		int index = 0;

		/* when the plan is run again the value may be another */
		if (contain_mutable_functions(list_nth(remote->evals, i)))
			return false;
		value = herd_bound_value(list_nth(remote->evals, i), bound);
		if (value == NULL) {
			*needs_params = true;
			return false;
		}
		if (!value->constisnull)
			index = herd_table_shard_index(
				table,
				DatumGetInt32(OidFunctionCall1Coll(
					lfirst_oid(proc), table->keycollation, value->constvalue)));
		if (found >= 0 && index != found)
			return false;
		found = index;
	}
	return true;
}

static bool route_reference_write(HerdRemote *remote, Query *query, List *leaves)
{
	ListCell *lc;

	foreach (lc, leaves) {
		HerdLeaf *leaf = lfirst(lc);

		if (leaf->table->kind != HERD_TABLE_REFERENCE)
			return false;
		if (leaf->written || !OidIsValid(remote->anchor))
			remote->anchor = leaf->table->relid;
	}
	remote->shards = HERD_SHARDS_REPLICAS;
	/* every replica must come to the same rows */
	return !contain_volatile_functions((Node *)query);
}

/* Finds the shard group; false when there is not one. */
static bool choose_group(HerdRemote *remote, List *leaves)
{
	const HerdTable *first = NULL;
	bool references = true;
	ListCell *lc;

	foreach (lc, leaves) {
		HerdLeaf *leaf = lfirst(lc);
		HerdFact *fact;

		if (leaf->table->kind == HERD_TABLE_REFERENCE) {
			if (!OidIsValid(remote->anchor))
				remote->anchor = leaf->table->relid;
			continue;
		}
		references = false;
		if (first == NULL)
			first = leaf->table;
		if (leaf->table->kind != first->kind ||
		    (leaf->table->relid != first->relid && first->kind != HERD_TABLE_LOCAL &&
		     (first->colocationid == 0 ||
		      first->colocationid != leaf->table->colocationid)))
			return false;
		if (leaf->written || remote->anchor == InvalidOid ||
		    herd_table_get(remote->anchor)->kind == HERD_TABLE_REFERENCE)
			remote->anchor = leaf->table->relid;
		if (leaf->table->kind != HERD_TABLE_HASH)
			continue;
		fact = herd_fact_constant(leaf->facts, leaf->key, leaf->table, false);
		if (fact == NULL)
			return false;
		herd_remote_add_key(remote, leaf->table, fact, true);
	}
	if (references || first->kind != HERD_TABLE_HASH)
		remote->shards = HERD_SHARDS_FIRST;
	else
		remote->shards = HERD_SHARDS_KEY;
	return true;
}

static bool has_row_marks_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		if (((Query *)node)->rowMarks != NIL)
			return true;
		return query_tree_walker((Query *)node, has_row_marks_walker, context, 0);
	}
	return expression_tree_walker(node, has_row_marks_walker, context);
}

static bool has_extern_param_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return ((Param *)node)->paramkind == PARAM_EXTERN;
	return expression_tree_walker(node, has_extern_param_walker, context);
}

/*
 * SEARCH BREADTH FIRST: the rewriter has made fields of a record without a name of it, which
 * cannot be printed again.
 */
static bool breadth_first_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CommonTableExpr)) {
		CTESearchClause *search = ((CommonTableExpr *)node)->search_clause;

		if (search != NULL && search->search_breadth_first)
			return true;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, breadth_first_walker, context, 0);
	return expression_tree_walker(node, breadth_first_walker, context);
}

/* An INSERT from a query, which may have no rows: its shard says so if there is one. */
static bool shard_refuses_null(const Query *insert)
{
	const HerdTable *table =
		herd_table_get(rt_fetch(insert->resultRelation, insert->rtable)->relid);

	return insert->jointree->fromlist != NIL && table != NULL && table->keyattno != 0 &&
	       herd_key_is_not_null(table);
}

HerdRemote *herd_route(const Query *original, ParamListInfo bound, bool *needs_params)
{
	HerdRemote *remote = palloc0(sizeof(HerdRemote));
	Query *query = copyObject((Query *)original);
	HerdLevel level = { .query = query };
	HerdLeaves leaves = { 0 };
	RangeTblEntry *target =
		query->resultRelation ? rt_fetch(query->resultRelation, query->rtable) : NULL;
	bool locks = has_row_marks_walker((Node *)query, NULL);
	bool writes_reference = false;
	ListCell *lc;

	/* a local table, or a view with INSTEAD OF triggers */
	if (target != NULL && herd_table_get(target->relid) == NULL)
		return NULL;
	if (!herd_columns_can_travel(query->commandType == CMD_SELECT ? query->targetList

								      : query->returningList,
				     false) ||
	    breadth_first_walker((Node *)query, NULL))
		return NULL;
	herd_evals_extract(query, &remote->evals);
	remote->ntext = list_length(remote->evals);
	herd_leaves_of_query(&level, NIL, &leaves);
	if (leaves.plain || leaves.leaves == NIL || herd_ctes_fire(query))
		return NULL;
	/* a write may do with what the node of its rows has; a read need not */
	if (query->commandType == CMD_SELECT && herd_expr_stays_here((Node *)query))
		return NULL;
	/* the values of several rows are computed here, one by one */
	if (query->commandType == CMD_INSERT && query->jointree->fromlist != NIL &&
	    herd_volatile((Node *)query))
		return NULL;
	remote->command = query->commandType;
	foreach (lc, leaves.leaves) {
		HerdLeaf *leaf = lfirst(lc);

		if (!leaf->written)
			continue;
		remote->writes = list_append_unique_oid(remote->writes, leaf->table->relid);
		if (leaf->table->kind == HERD_TABLE_REFERENCE)
			writes_reference = true;
	}
	if (!writes_reference && !choose_group(remote, leaves.leaves))
		return NULL;
	/* row locks on reference tables are for all replicas */
	if (writes_reference || (locks && remote->shards == HERD_SHARDS_FIRST &&
				 herd_table_get(remote->anchor)->kind == HERD_TABLE_REFERENCE)) {
		remote->anchor = InvalidOid;
		if (!route_reference_write(remote, query, leaves.leaves))
			return NULL;
	}
	if (remote->shards == HERD_SHARDS_KEY &&
	    !herd_remote_keys_meet(remote, bound, needs_params))
		return NULL;
	remote->null_key_fails = query->commandType == CMD_INSERT && !shard_refuses_null(query);
	remote->in_txn = locks || herd_query_may_write(query);
	remote->volatile_evals = contain_volatile_functions((Node *)remote->evals);
	remote->reusable = has_extern_param_walker((Node *)remote->evals, NULL);
	remote->tmpl = herd_deparse(query);
	return remote;
}
