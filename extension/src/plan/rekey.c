/*
 * plan/rekey.c - an UPDATE of the distribution column: rows leave their shard and come to another.
 *
 * UPDATE t SET k = .. WHERE .. becomes INSERT INTO t (WITH q AS (DELETE FROM t WHERE .. RETURNING
 * the new rows) SELECT * FROM q): one transaction, and the row versions that DELETE locked.
 */
#include "postgres.h"

#include "access/table.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "attach/attach.h"
#include "attach/farkey.h"
#include "compat.h"
#include "deparse/code.h"
#include "plan/multiexpr.h"
#include "plan/rekey.h"

void herd_rekey_refuse(const HerdTable *table, const char *why)
{
	ereport(ERROR,
		(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		 errmsg("the distribution column \"%s\" of table \"%s\" cannot be updated here",
			get_attname(table->relid, table->keyattno, false),
			get_rel_name(table->relid)),
		 errdetail("%s", why),
		 errhint("Delete the row and insert it with its new value.")));
}

bool herd_changes_key(const Query *query, List *tlist, const HerdTable *table)
{
	ListCell *lc;

	if (table->kind != HERD_TABLE_HASH)
		return false;
	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);
		Var *var = (Var *)tle->expr;

		if (!tle->resjunk && tle->resno == table->keyattno &&
		    !(IsA(var, Var) && var->varno == query->resultRelation &&
		      var->varattno == table->keyattno && var->varlevelsup == 0))
			return true;
	}
	return false;
}

static bool any_trigger(Oid relid, bool (*test)(const Trigger *trigger))
{
	Relation rel = table_open(relid, NoLock);
	bool found = false;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		found = found || test(&rel->trigdesc->triggers[i]);
	table_close(rel, NoLock);
	return found;
}

/* Would the end of a row be noticed by rows that refer to it? */
static bool is_referred_to(const Trigger *trigger)
{
	return RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_PK ||
	       herd_far_key_trigger(trigger);
}

/* Would it change rows that refer to it, or be noticed elsewhere? */
static bool deletes_more(const Trigger *trigger)
{
	return trigger->tgfoid == F_RI_FKEY_CASCADE_DEL ||
	       trigger->tgfoid == F_RI_FKEY_SETNULL_DEL ||
	       trigger->tgfoid == F_RI_FKEY_SETDEFAULT_DEL || herd_far_key_trigger(trigger);
}

static bool foreign_var_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *)node)->varno != *(int *)context || ((Var *)node)->varattno <= 0 ||
		       herd_returns_old((Var *)node);
	return IsA(node, SubLink) || expression_tree_walker(node, foreign_var_walker, context);
}

bool herd_rekey_is_noticed(const HerdTable *table)
{
	return any_trigger(table->relid, is_referred_to) || herd_attach_has_code(table->relid);
}

void herd_rekey_check(const HerdTable *table)
{
	if (any_trigger(table->relid, deletes_more))
		herd_rekey_refuse(table,
				  "A foreign key acts, or is checked, when a row of the table is "
				  "deleted.");
	if (herd_attach_has_code(table->relid))
		herd_rekey_refuse(
			table, "The table has triggers or row-level security, for which a row that "
			       "moves would be deleted and inserted.");
}

bool herd_rekey_by_row(const Query *update, const HerdTable *table)
{
	int target = update->resultRelation;

	return herd_multiexpr_any(update->targetList) ||
	       herd_volatile((Node *)update->targetList) ||
	       foreign_var_walker((Node *)update->returningList, &target) ||
	       herd_rekey_is_noticed(table);
}

static void check(const Query *update, const HerdTable *table)
{
	int target = update->resultRelation;

	if (herd_multiexpr_any(update->targetList))
		herd_rekey_refuse(table,
				  "A list of columns is set from a subquery with LIMIT, WITH or a "
				  "volatile function.");
	if (contain_volatile_functions((Node *)update->targetList))
		herd_rekey_refuse(table, "The new values come from a volatile function.");
	if (foreign_var_walker((Node *)update->returningList, &target))
		herd_rekey_refuse(table,
				  "RETURNING names something else than columns of the new row.");
	if (update->hasModifyingCTE || update->withCheckOptions != NIL)
		herd_rekey_refuse(table,
				  "The UPDATE has a write in its WITH clause or a check option.");
	herd_rekey_check(table);
}

static Expr *new_value(const Query *update, Form_pg_attribute att)
{
	ListCell *lc;

	foreach (lc, update->targetList) {
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk && tle->resno == att->attnum)
			return copyObject(tle->expr);
	}
	return (Expr *)makeVar(update->resultRelation, att->attnum, att->atttypid, att->atttypmod,
			       att->attcollation, 0);
}

static CommonTableExpr *deleted_rows(const Query *update, List *columns)
{
	CommonTableExpr *cte = makeNode(CommonTableExpr);
	Query *del = copyObject((Query *)update);
	ListCell *lc;

	del->commandType = CMD_DELETE;
	del->targetList = NIL;
	del->returningList = columns;
	del->canSetTag = false;
	cte->ctename = "moved_rows";
	cte->ctematerialized = CTEMaterializeDefault;
	cte->ctequery = (Node *)del;
	cte->cterefcount = 1;
	cte->location = -1;
	foreach (lc, columns) {
		TargetEntry *tle = lfirst(lc);

		cte->ctecolnames = lappend(cte->ctecolnames, makeString(tle->resname));
		cte->ctecoltypes = lappend_oid(cte->ctecoltypes, exprType((Node *)tle->expr));
		cte->ctecoltypmods = lappend_int(cte->ctecoltypmods, exprTypmod((Node *)tle->expr));
		cte->ctecolcollations =
			lappend_oid(cte->ctecolcollations, exprCollation((Node *)tle->expr));
	}
	return cte;
}

static RangeTblEntry *cte_item(CommonTableExpr *cte)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_CTE;
	rte->ctename = cte->ctename;
	rte->coltypes = copyObject(cte->ctecoltypes);
	rte->coltypmods = copyObject(cte->ctecoltypmods);
	rte->colcollations = copyObject(cte->ctecolcollations);
	rte->eref = makeAlias(cte->ctename, copyObject(cte->ctecolnames));
	rte->inFromCl = true;
	return rte;
}

Query *herd_rekey(const Query *update, const HerdTable *table)
{
	Query *insert = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Relation rel = table_open(table->relid, NoLock);
	TupleDesc desc = RelationGetDescr(rel);
	List *columns = NIL;
	CommonTableExpr *cte;

	check(update, table);
	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		char *name = pstrdup(NameStr(att->attname));
		int pos = list_length(columns) + 1;
		Var *var;

		if (att->attisdropped || att->attgenerated)
			continue;
		columns =
			lappend(columns, makeTargetEntry(new_value(update, att), pos, name, false));
		var = makeVar(2, pos, att->atttypid, att->atttypmod, att->attcollation, 0);
		insert->targetList = lappend(
			insert->targetList, makeTargetEntry((Expr *)var, att->attnum, name, false));
	}
	table_close(rel, NoLock);
	cte = deleted_rows(update, columns);
	ref->rtindex = 2;
	insert->commandType = CMD_INSERT;
	insert->canSetTag = update->canSetTag;
	insert->queryId = update->queryId;
	insert->stmt_location = update->stmt_location;
	insert->stmt_len = update->stmt_len;
	insert->resultRelation = 1;
	insert->cteList = list_make1(cte);
	insert->hasModifyingCTE = true;
	insert->rtable = list_make2(copyObject(rt_fetch(update->resultRelation, update->rtable)),
				    cte_item(cte));
	linitial_node(RangeTblEntry, insert->rtable)->inFromCl = false;
#if PG_VERSION_NUM >= 160000
	insert->rteperminfos = copyObject(update->rteperminfos);
#endif
	insert->jointree = makeFromExpr(list_make1(ref), NULL);
	insert->returningList = copyObject(update->returningList);
	herd_copy_returning_names(insert, update);
	ChangeVarNodes((Node *)insert->returningList, update->resultRelation, 1, 0);
	return insert;
}
