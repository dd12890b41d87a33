#include "plan/rownull.h"

#include "access/table.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/rel.h"

#include "catalog/metadata.h"
#include "compat.h"

/* A test for each column; NULL: none was dropped. */
static Node *tests_of_columns(const NullTest *test, Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	TupleDesc desc = RelationGetDescr(rel);
	List *tests = NIL;
	bool dropped = false;

	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		NullTest *own = copyObject((NullTest *)test);
		Var *var = (Var *)own->arg;

		dropped = dropped || att->attisdropped;
		if (att->attisdropped)
			continue;
		var->varattno = var->varattnosyn = att->attnum;
		var->vartype = att->atttypid;
		var->vartypmod = att->atttypmod;
		var->varcollid = att->attcollation;
		own->argisrow = false;
		tests = lappend(tests, own);
	}
	table_close(rel, NoLock);
	return dropped ? (Node *)make_ands_explicit(tests) : NULL;
}

/* The relation whose whole row is tested, if it is a distributed table. queries: inner ones first.
 */
static Oid tested_table(const NullTest *test, List *queries)
{
	const Var *var = (const Var *)test->arg;
	const RangeTblEntry *rte;

	if (!test->argisrow || !IsA(var, Var) || var->varattno != InvalidAttrNumber ||
	    var->varlevelsup >= (Index)list_length(queries))
		return InvalidOid;
	rte = rt_fetch(var->varno, list_nth_node(Query, queries, var->varlevelsup)->rtable);
	if (rte->rtekind != RTE_RELATION || herd_table_get(rte->relid) == NULL)
		return InvalidOid;
	return rte->relid;
}

static Node *spell_mutator(Node *node, void *context)
{
	List *queries = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, NullTest)) {
		Oid relid = tested_table((NullTest *)node, queries);
		Node *tests = OidIsValid(relid) ? tests_of_columns((NullTest *)node, relid) : NULL;

		if (tests != NULL)
			return tests;
	}
	if (IsA(node, Query))
		return (Node *)query_tree_mutator((Query *)node, spell_mutator,
						  lcons(node, list_copy(queries)), 0);
	return expression_tree_mutator(node, spell_mutator, context);
}

static bool row_test_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, NullTest) && ((NullTest *)node)->argisrow &&
	    IsA(((NullTest *)node)->arg, Var))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, row_test_walker, context, 0);
	return expression_tree_walker(node, row_test_walker, context);
}

void herd_spell_row_tests(Query *query)
{
	if (query_tree_walker(query, row_test_walker, NULL, 0))
		*query = *query_tree_mutator(query, spell_mutator, list_make1(query), 0);
}
