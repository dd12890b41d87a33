#include "plan/generic.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "commands/prepare.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "tcop/pquery.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/portal.h"
#include "utils/rel.h"
#include "utils/relcache.h"

/* Names of the statements that conn/command.c prepares. */
#define OUR_PREFIX "herd_"

/*
 * The text, in its plan cache entry, of the statement that was planned last if it is one of these.
 * Only compared: the entry may be gone.
 */
static const char *planned;

static Var *column_of(Node *node)
{
	while (IsA(node, RelabelType))
		node = (Node *)((RelabelType *)node)->arg;
	return IsA(node, Var) && ((Var *)node)->varlevelsup == 0 ? (Var *)node : NULL;
}

/* True if one of the conditions, all of which hold, is column = value in the operator family. */
static bool ties_column(Node *quals, AttrNumber attno, Oid family)
{
	List *conditions = IsA(quals, BoolExpr) && ((BoolExpr *)quals)->boolop == AND_EXPR
				   ? ((BoolExpr *)quals)->args
				   : list_make1(quals);
	ListCell *lc;

	foreach (lc, conditions) {
		OpExpr *op = lfirst(lc);

		if (IsA(op, BoolExpr) && ((BoolExpr *)op)->boolop == AND_EXPR &&
		    ties_column((Node *)op, attno, family))
			return true;
		if (!IsA(op, OpExpr) || list_length(op->args) != 2 ||
		    get_op_opfamily_strategy(op->opno, family) != BTEqualStrategyNumber)
			continue;
		for (int i = 0; i < 2; i++) {
			Var *var = column_of(list_nth(op->args, i));

			if (var != NULL && var->varattno == attno &&
			    !contain_var_clause(list_nth(op->args, 1 - i)))
				return true;
		}
	}
	return false;
}

static bool index_is_tied(Oid indexid, Node *quals)
{
	Relation index = index_open(indexid, AccessShareLock);
	Form_pg_index form = index->rd_index;
	bool tied = form->indisunique && form->indisvalid &&
		    heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

	for (int i = 0; tied && i < form->indnkeyatts; i++)
		tied = form->indkey.values[i] > 0 &&
		       ties_column(quals, form->indkey.values[i], index->rd_opfamily[i]);
	index_close(index, AccessShareLock);
	return tied;
}

static bool finds_one_row(const RangeTblEntry *rte, Node *quals)
{
	Relation rel;
	List *indexes;
	ListCell *lc;
	bool found = false;

	if (quals == NULL)
		return false;
	rel = table_open(rte->relid, NoLock);
	indexes = RelationGetIndexList(rel);
	foreach (lc, indexes)
		found = found || index_is_tied(lfirst_oid(lc), quals);
	list_free(indexes);
	table_close(rel, NoLock);
	return found;
}

/* One plain table, without anything that adds conditions. */
static bool is_plain_table(const RangeTblEntry *rte)
{
	return rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_RELATION &&
	       rte->tablesample == NULL && rte->securityQuals == NIL &&
	       !(rte->inh && has_subclass(rte->relid));
}

static bool inserts_values(const Query *query)
{
	int i = 0;
	ListCell *lc;

	foreach (lc, query->rtable) {
		RangeTblEntry *rte = lfirst(lc);

		i++;
		if (i == query->resultRelation
			    ? !is_plain_table(rte)
			    : rte->rtekind != RTE_VALUES && (query->onConflict == NULL ||
							     query->onConflict->exclRelIndex != i))
			return false;
	}
	return true;
}

static bool needs_one_plan(const Query *query)
{
	if (query->hasSubLinks || query->hasTargetSRFs || query->cteList != NIL ||
	    query->setOperations != NULL || query->groupingSets != NIL || query->rtable == NIL)
		return false;
	switch (query->commandType) {
	case CMD_INSERT:
		return inserts_values(query);
	case CMD_SELECT:
	case CMD_UPDATE:
	case CMD_DELETE:
		return list_length(query->rtable) == 1 && is_plain_table(linitial(query->rtable)) &&
		       finds_one_row(linitial(query->rtable), query->jointree->quals);
	default:
		return false;
	}
}

void herd_generic_saw(const Query *query, const char *source, ParamListInfo bound)
{
	/* Without values the plan cache has made up its mind already. */
	planned = bound != NULL && needs_one_plan(query) ? source : NULL;
}

void herd_generic_keep(void)
{
	const char *name = planned && ActivePortal ? ActivePortal->prepStmtName : NULL;
	PreparedStatement *statement;

	if (name == NULL || strncmp(name, OUR_PREFIX, strlen(OUR_PREFIX)) != 0)
		return;
	statement = FetchPreparedStatement(name, false);
	if (statement != NULL && statement->plansource->query_string == planned)
		statement->plansource->cursor_options |= CURSOR_OPT_GENERIC_PLAN;
	planned = NULL;
}
